//! The place of measurement: a network namespace of its own, binaries, pinned processes, and their end.

mod link;

use super::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
pub use link::{INTERFACE, Link, VIEWER};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names of our namespaces begin so; the process id follows.
const NAMESPACE: &str = "headgate-bench-";
/// The same of those of viewers.
const VIEWERS: &str = "headgate-viewers-";
/// The namespace's loopback has an Ethernet's MTU. At the default 65536 receivers acknowledge late, the work moves to the
/// load's core, and every server looks several times better than on a network.
const MTU: &str = "1500";
/// The namespace's congestion control, so that results do not depend on what the machine is set to.
pub const CONGESTION: &str = "cubic";
/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where binaries come from and where they run.
pub struct Lab {
    namespace: Namespace,
    /// For configs and logs.
    pub dir: PathBuf,
    load: PathBuf,
    floor: Option<PathBuf>,
    paced: Option<PathBuf>,
    server: Option<PathBuf>,
    /// What the binaries were built from.
    pub commit: String,
    server_cpu: usize,
    load_cpu: usize,
    /// How far everything is.
    pub progress: Progress,
}

/// Binaries that were built elsewhere.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Binaries {
    /// Use this headgate instead of building one.
    #[arg(long = "server-bin", value_name = "FILE")]
    server: Option<PathBuf>,
    /// Use this headgate-load instead of building one.
    #[arg(long = "load-bin", value_name = "FILE")]
    load: Option<PathBuf>,
    /// Use this floor instead of building one.
    #[arg(long = "floor-bin", value_name = "FILE")]
    floor: Option<PathBuf>,
    /// Use this bare paced loop instead of building one.
    #[arg(long = "paced-bin", value_name = "FILE")]
    paced: Option<PathBuf>,
}

/// What is built beside the load, unless it is given.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// headgate itself.
    pub server: bool,
    /// The floor of fan-out.
    pub floor: bool,
    /// The bare paced loop, the floor of channels.
    pub paced: bool,
}

impl Binaries {
    /// The commit that building takes, marked if sources differ from it; nothing is known of binaries that were given.
    fn commit(&self) -> String {
        if [&self.server, &self.load, &self.floor, &self.paced].into_iter().any(Option::is_some) {
            return "unknown (binaries were given)".to_owned();
        }
        let git = |args: &[&str]| {
            let output = Command::new("git").args(args).current_dir(crate::root()).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
        match git(&["status", "--porcelain", "--", ".", ":!docs"]) {
            Some(changed) if changed.is_empty() => commit,
            _ => format!("{commit} with changes"),
        }
    }
}

struct Namespace(String);

impl Namespace {
    fn add(prefix: &str) -> Result<Self> {
        let this = Self(format!("{prefix}{}", std::process::id()));
        checked(Command::new("ip").args(["netns", "add", &this.0]))
            .context("a network namespace needs root and the package iproute2")?;
        Ok(this)
    }

    fn new() -> Result<Self> {
        remove_stale();
        let this = Self::add(NAMESPACE)?;
        checked(Command::new("ip").args(["-n", &this.0, "link", "set", "lo", "mtu", MTU, "up"]))?;
        // By route: a container may forbid to write sysctls.
        for to in ["127.0.0.0/8", "127.0.0.1"] {
            let route = ["table", "local", "local", to, "dev", "lo", "proto", "kernel", "scope", "host"];
            let mut command = Command::new("ip");
            command.args(["-n", &this.0, "route", "replace"]).args(route);
            checked(command.args(["src", "127.0.0.1", "congctl", CONGESTION]))?;
        }
        Ok(this)
    }
}

impl Namespace {
    /// A pinned command inside; it is killed when this program dies, however that happens.
    fn command(&self, cpus: &str, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", &self.0, "taskset", "-c", cpus]);
        command.arg(program).stdin(Stdio::null());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Namespaces of runs that were killed.
fn remove_stale() {
    let Ok(output) = Command::new("ip").args(["netns", "list"]).output() else { return };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let pid = [NAMESPACE, VIEWERS].iter().find_map(|prefix| name.strip_prefix(prefix));
        let Some(pid) = pid else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A process that ends with this value.
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Its process id; `ip` and `taskset` replace themselves, so this is the program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it says that it failed.
    pub fn finish(&mut self) -> Result<()> {
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        ensure!(status.success(), "{} failed: {status}", self.name);
        Ok(())
    }

    /// Whether it has ended by itself, without waiting.
    ///
    /// # Errors
    /// When it said that it failed.
    pub fn has_ended(&mut self) -> Result<bool> {
        let status = self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?;
        ensure!(status.is_none_or(|status| status.success()), "{} failed: {status:?}", self.name);
        Ok(status.is_some())
    }
}

impl Running {
    /// Tells it to end and waits for that, unless it has ended: its number may be another's by then. Whether it was told.
    fn end(&mut self) -> bool {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return false;
        }
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).stderr(Stdio::null()).status();
        let since = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if since.elapsed() > STOP_TIMEOUT {
                eprintln!("{} did not end by itself", self.name);
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn checked(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// Builds a release artifact and returns its executable.
fn build(what: &[&str], target: &str) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--message-format=json-render-diagnostics"]).args(what);
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cannot build {target}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == target)
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .with_context(|| format!("cargo built no executable {target}"))
}

impl Lab {
    /// Makes the namespace and builds what is wanted and not given.
    pub fn new(
        binaries: &Binaries,
        wanted: Wanted,
        (server_cpu, load_cpu): (usize, usize),
        planned_s: f64,
    ) -> Result<Self> {
        // Before they are built: what is committed while they are measured is not in them.
        let commit = binaries.commit();
        let given = |file: &Option<PathBuf>| file.as_ref().map(|f| f.canonicalize()).transpose();
        let made = |file: &Option<PathBuf>, wanted: bool, what: &[&str], target: &str| match given(file)? {
            None if wanted => build(what, target).map(Some),
            found => Ok(found),
        };
        let load = made(&binaries.load, true, &["-p", "headgate-load"], "headgate-load")?;
        let load = load.context("headgate-load was not built")?;
        let bench = |name| ["-p", "headgate", "--bench", name];
        let floor = made(&binaries.floor, wanted.floor, &bench("floor"), "floor")?;
        let paced = made(&binaries.paced, wanted.paced, &bench("paced"), "paced")?;
        let server =
            made(&binaries.server, wanted.server, &["-p", "headgate", "--bin", "headgate"], "headgate")?;
        let dir = std::env::temp_dir().join(format!("headgate-bench-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        // Where the scheduler shares processors out between sessions, ours goes first: whatever else runs disturbs less. It
        // is a courtesy to the numbers, no condition; `server_wait` shows what remained.
        let _ = fs::write("/proc/self/autogroup", "-20");
        let (namespace, progress) = (Namespace::new()?, Progress::new(planned_s));
        Ok(Self { namespace, dir, load, floor, paced, server, commit, server_cpu, load_cpu, progress })
    }

    /// headgate, if it was built.
    pub fn server(&self) -> Result<&Path> {
        self.server.as_deref().context("no server was built")
    }

    /// The server's processors as a list: its own, and the load's if it runs on `both`.
    pub fn server_cpus(&self, both: bool) -> String {
        if both { format!("{},{}", self.server_cpu, self.load_cpu) } else { self.server_cpu.to_string() }
    }

    /// The floor.
    pub fn floor(&self) -> Result<&Path> {
        self.floor.as_deref().context("no floor was built")
    }

    /// The bare paced loop.
    pub fn paced(&self) -> Result<&Path> {
        self.paced.as_deref().context("no paced loop was built")
    }

    /// The server's processor, and the load's.
    pub fn cpus(&self) -> (usize, usize) {
        (self.server_cpu, self.load_cpu)
    }

    /// A pinned command inside the namespace; it is killed when this program dies, however that happens.
    fn command(&self, cpus: &str, program: &Path) -> Command {
        self.namespace.command(cpus, program)
    }

    /// A command inside the namespace, unpinned: `ss` and the like.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace.0, program]).stdin(Stdio::null());
        command
    }

    /// Starts a server on processors `cpus` and waits until it listens on `port`.
    pub fn serve(&self, name: &str, program: &Path, args: &[&str], port: u16, cpus: &str) -> Result<Running> {
        let log = |kind: &str| File::create(self.dir.join(format!("{name}.{kind}")));
        let mut command = self.command(cpus, program);
        command.args(args).stdout(log("out")?).stderr(log("err")?);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut running = Running { child, name: name.to_owned() };
        let since = Instant::now();
        loop {
            if let Some(status) = running.child.try_wait()? {
                bail!("{name} ended at once ({status}); see {}", self.dir.display());
            }
            let found = self.inside("ss").args(["-Hltn", &format!("sport = :{port}")]).output()?;
            if !found.stdout.is_empty() {
                return Ok(running);
            }
            ensure!(since.elapsed() < START_TIMEOUT, "{name} does not listen on port {port}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts headgate-load on the load's processor; its JSON comes with [`Self::finish_load`].
    pub fn start_load(&self, args: &[String]) -> Result<Child> {
        let mut command = self.command(&self.load_cpu.to_string(), &self.load);
        command.args(args).stdout(Stdio::piped()).stderr(File::create(self.dir.join("load.err"))?);
        command.spawn().context("cannot start headgate-load")
    }

    /// Starts headgate-load on the load's processor, to run beside others; what it prints comes with [`Self::printed`] and
    /// [`Self::result`] under `name`.
    pub fn load(&self, name: &str, args: &[String]) -> Result<Running> {
        self.start(name, self.command(&self.load_cpu.to_string(), &self.load), args)
    }

    /// Starts any program on processor `cpu`, like [`Self::load`].
    pub fn run_on(&self, cpu: usize, name: &str, program: &Path, args: &[String]) -> Result<Running> {
        self.start(name, self.command(&cpu.to_string(), program), args)
    }

    fn start(&self, name: &str, mut command: Command, args: &[String]) -> Result<Running> {
        let file = |kind: &str| File::create(self.dir.join(format!("{name}.{kind}")));
        command.args(args).stdout(file("json")?).stderr(file("err")?);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Running { child, name: name.to_owned() })
    }

    /// A link from here to viewers in a namespace of their own.
    ///
    /// # Errors
    /// The kernel has no such links.
    pub fn link(&self) -> Result<Link<'_>> {
        Link::new(self)
    }

    /// What the load of this name has printed so far.
    pub fn printed(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(format!("{name}.json"))).unwrap_or_default()
    }

    /// The JSON that the load of this name ended with.
    ///
    /// # Errors
    /// When it printed none.
    pub fn result(&self, name: &str) -> Result<serde_json::Value> {
        serde_json::from_str(&self.printed(name)).with_context(|| format!("{name} printed no JSON"))
    }

    /// The gateway's page of metrics now, as headgate-load reads it.
    pub fn scrape(&self, url: &str) -> Result<serde_json::Value> {
        let load = self.load.to_string_lossy();
        let output = self.inside(&load).args(["scrape", "--url", url]).output()?;
        ensure!(output.status.success(), "cannot read {url}");
        serde_json::from_slice(&output.stdout).context("headgate-load printed no JSON")
    }

    /// Waits for headgate-load and parses what it printed.
    pub fn finish_load(&self, load: Child) -> Result<serde_json::Value> {
        let output = load.wait_with_output()?;
        if !output.status.success() {
            let err = fs::read_to_string(self.dir.join("load.err")).unwrap_or_default();
            bail!("headgate-load failed: {}", err.lines().last().unwrap_or_default());
        }
        fs::write(self.dir.join("load.json"), &output.stdout)?;
        serde_json::from_slice(&output.stdout).context("headgate-load printed no JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(program: &str, args: &[&str]) -> Running {
        let child = Command::new(program).args(args).spawn().unwrap();
        Running { child, name: program.to_owned() }
    }

    /// What is said of it once it is over.
    fn end(mut process: Running) -> Result<bool> {
        loop {
            match process.has_ended() {
                Ok(false) => std::thread::sleep(Duration::from_millis(5)),
                said => return said,
            }
        }
    }

    #[test]
    fn an_end_is_told_from_a_failure() {
        assert!(end(running("true", &[])).unwrap());
        let failed = end(running("false", &[])).unwrap_err().to_string();
        assert!(failed.starts_with("false failed"), "{failed}");
        assert!(!running("sleep", &["60"]).has_ended().unwrap());
    }

    #[test]
    fn who_has_ended_is_told_nothing() {
        let mut ended = running("true", &[]);
        ended.finish().unwrap();
        assert!(!ended.end());
        let mut sleeps = running("sleep", &["60"]);
        assert!(sleeps.end() && !sleeps.end());
    }
}
