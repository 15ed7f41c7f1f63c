//! The real binary on free ports.

use super::metrics::Metrics;
use super::process::Process;
use super::sandbox::{Restriction, restrict};
use super::{http, poll};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// How long the server may take to start or to stop.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A configuration under construction: section -> key -> TOML value.
#[derive(Clone, Debug)]
pub struct Config {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    tables: String,
    arguments: Vec<String>,
    restriction: Option<Restriction>,
    wrapper: Vec<String>,
    reached_at: Option<IpAddr>,
}

/// Ports of this process: below the ephemeral range, so that no outgoing connection takes one.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// A local address that nobody listens on.
pub fn free_address() -> SocketAddr {
    let base = 20_000 + (std::process::id() % 100) as u16 * 100;
    loop {
        let port = base + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 2000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

impl Config {
    /// Free ports, a short grace (a test that ends a stream waits for it), much time for viewers, a log of every detail.
    pub fn new() -> Config {
        let config = Config {
            sections: BTreeMap::new(),
            tables: String::new(),
            arguments: Vec::new(),
            restriction: None,
            wrapper: Vec::new(),
            reached_at: None,
        };
        config
            .set("listen.rtmp", &format!("{:?}", free_address().to_string()))
            .set("listen.http", &format!("{:?}", free_address().to_string()))
            .set("listen.admin", &format!("{:?}", free_address().to_string()))
            .set("publish.republish_grace_ms", "500")
            .set("log.level", "\"debug\"")
            // The machine that runs the tests may be busy, and leave viewers behind for seconds: none of their business.
            .set("overload.loop_lag_ms", "0")
            .set("fanout.max_lag_ms", "15_000")
            .set("fanout.stall_timeout_ms", "30_000")
    }

    /// Sets `section.key` (the last dot divides) to a TOML value.
    pub fn set(mut self, path: &str, value: &str) -> Config {
        let (section, key) = path.rsplit_once('.').expect("section.key");
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a table of which there may be many, as it stands in the file.
    pub fn table(mut self, text: &str) -> Config {
        self.tables = self.tables + text + "\n";
        self
    }

    /// Adds command-line arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Config {
        self.arguments.extend(arguments.iter().map(|&a| a.to_owned()));
        self
    }

    /// Starts the server under a restriction.
    pub fn restricted(mut self, restriction: Restriction) -> Config {
        self.restriction = Some(restriction);
        self
    }

    /// Starts the server through a program that ends by executing it, such as `prlimit` or `ip netns exec`.
    pub fn wrapped(mut self, wrapper: &[&str]) -> Config {
        self.wrapper = wrapper.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// Listens on every address on the ports that are chosen already; the tests reach it at `ip`.
    pub fn reached_at(mut self, ip: IpAddr) -> Config {
        for key in ["rtmp", "http", "admin"] {
            let port = self.address(key).port();
            self = self.set(&format!("listen.{key}"), &format!("\"0.0.0.0:{port}\""));
        }
        self.reached_at = Some(ip);
        self
    }

    fn address(&self, key: &str) -> SocketAddr {
        let address: SocketAddr = self.sections["listen"][key].trim_matches('"').parse().expect("address");
        self.reached_at.map_or(address, |ip| SocketAddr::new(ip, address.port()))
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let section = |(name, keys): (&String, &BTreeMap<String, String>)| {
            let lines: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            format!("[{name}]\n{lines}")
        };
        self.sections.iter().map(section).collect::<String>() + &self.tables
    }

    /// Starts the process without waiting for it to be ready. The folder holds the file.
    pub fn spawn(&self) -> (Process, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(CONFIG_FILE);
        std::fs::write(&file, self.text()).unwrap();
        let mut words = self.wrapper.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_headgate")]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).args(["run", "-c"]).arg(&file).args(&self.arguments);
        // A backtrace for a mistake of the user's would show.
        command.env("RUST_BACKTRACE", "1").env_remove("RUST_LOG");
        if let Some(restriction) = self.restriction {
            restrict(&mut command, restriction);
        }
        (Process::spawn("headgate", &mut command), folder)
    }

    /// Starts the server without waiting for it to be ready.
    pub fn launch(&self) -> Server {
        let (process, folder) = self.spawn();
        let [rtmp, http, admin] = ["rtmp", "http", "admin"].map(|key| self.address(key));
        Server { rtmp, http, admin, process, folder }
    }

    /// Starts the server and waits until it is ready.
    pub fn start(&self) -> Server {
        self.launch().until_ready(LIMIT)
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub rtmp: SocketAddr,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    process: Process,
    folder: tempfile::TempDir,
}

/// Name of the config file in the server's folder.
const CONFIG_FILE: &str = "headgate.toml";

impl Server {
    /// Waits until it is ready.
    pub fn until_ready(mut self, limit: Duration) -> Server {
        poll("/readyz", limit, || {
            if let Some(status) = self.process.wait(Duration::ZERO) {
                panic!("headgate ended at its start with {status}:\n{}", self.process.output.text());
            }
            std::net::TcpStream::connect(self.admin).ok()?;
            (http::get(self.admin, "/readyz").0 == 200).then_some(())
        });
        self
    }

    /// With the defaults of [`Config::new`].
    pub fn start() -> Server {
        Config::new().start()
    }

    /// `rtmp://…/live/NAME`
    pub fn rtmp_url(&self, name: &str) -> String {
        format!("rtmp://{}/live/{name}", self.rtmp)
    }

    /// `http://…/live/NAME.flv`
    pub fn flv_url(&self, name: &str) -> String {
        format!("http://{}/live/{name}.flv", self.http)
    }

    /// Scrapes the metrics page.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.metrics_page())
    }

    /// The metrics page as text.
    pub fn metrics_page(&self) -> String {
        let (status, page) = http::get(self.admin, "/metrics");
        assert_eq!(status, 200, "/metrics");
        page
    }

    /// Waits until the metrics satisfy a condition.
    pub fn await_metrics(&self, what: &str, holds: impl Fn(&Metrics) -> bool) {
        poll(what, LIMIT, || holds(&self.metrics()).then_some(()));
    }

    /// Waits until frames of a publisher have arrived.
    pub fn await_stream(&self) {
        self.await_metrics("frames", |metrics| metrics.sum("headgate_frames_total", &[]) > 0.0);
    }

    /// Waits until so many subscribers are there, waiting ones included.
    pub fn await_subscribers(&self, count: usize) {
        self.await_metrics(&format!("{count} subscribers"), |metrics| {
            metrics.sum("headgate_subscribers", &[]) == count as f64
        });
    }

    /// Waits until the publisher's connection is gone.
    pub fn await_no_publisher(&self) {
        self.await_metrics("no publisher", |metrics| metrics.sum("headgate_publishers", &[]) == 0.0);
    }

    /// Replaces `old` by `new` in the config file, makes the server read it again, and waits until it says so.
    pub fn reload(&self, old: &str, new: &str) {
        let file = self.folder.path().join(CONFIG_FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(&file, text.replace(old, new)).unwrap();
        let said = |log: &str| log.matches("reload").count();
        let before = said(&self.log());
        self.process.signal(libc::SIGHUP);
        poll("a reload", LIMIT, || (said(&self.log()) > before).then_some(()));
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Ends it without warning (SIGKILL), and waits until it is gone.
    pub fn kill(mut self) {
        self.process.signal(libc::SIGKILL);
        assert!(self.process.wait(LIMIT).is_some(), "it outlives SIGKILL");
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        self.process.output.text()
    }

    /// Drains by SIGTERM: the exit code must be 0 and nothing may have panicked. Returns the log.
    pub fn stop(mut self) -> String {
        self.process.signal(libc::SIGTERM);
        let status = self.process.wait(LIMIT);
        let log = self.log();
        assert!(status.is_some_and(|status| status.success()), "exit after SIGTERM: {status:?}\n{log}");
        assert!(!log.contains("panicked at"), "a panic:\n{log}");
        log
    }
}

/// Counters that tell on which side of the server something was lost.
const TELLING: [&str; 6] = [
    "headgate_frames_total",
    "headgate_frames_dropped_total",
    "headgate_ingest_bytes_total",
    "headgate_egress_bytes_total",
    "headgate_lag_skips_total",
    "headgate_disconnects_total",
];

impl Server {
    /// For the report of a failed test; says nothing if the server does not answer any more.
    fn print_counters(&self) {
        let admin = self.admin;
        // A thread of its own: it may panic where this one must not, for the second time.
        let Ok((200, page)) = std::thread::spawn(move || http::get(admin, "/metrics")).join() else { return };
        let telling =
            |line: &&str| TELLING.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
        eprintln!("---- counters ----");
        page.lines().filter(telling).for_each(|line| eprintln!("{line}"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("HEADGATE_TEST_LOG").is_some() {
            let log = self.log();
            let tail = log.char_indices().rev().nth(16_000).map_or(0, |(at, _)| at);
            eprintln!("---- log of headgate {} ----\n{}", self.rtmp, &log[tail..]);
            self.print_counters();
        }
    }
}
