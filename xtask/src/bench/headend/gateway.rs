//! The gateway with its channels and their sources, and what it needs for them.

use super::super::lab::{INTERFACE, Lab, Running};
use super::super::product::{Page, quantile};
use super::super::run::{METRICS_URL, RTMP_PORT, STREAM, rtmp_url, words};
use super::{WARM_UP_S, group, nominal_per_s};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

/// Publishers, at most; each is the source of many channels.
const SOURCES: usize = 8;
/// What each sends of pictures, as a share of the channel's rate; with sound, headers and tables it leaves a tenth of nulls.
const PICTURES: f64 = 0.8;
/// How long channels may take to find their sources.
const SOURCES_TIMEOUT: Duration = Duration::from_secs(15);
/// Seconds from there to what is measured: the first group of pictures has gone through.
const SETTLE_S: f64 = 4.0;
/// The thread that is measured.
const THREAD: &str = "pacer";
/// Histogram of its ticks.
const LATENESS: &str = "headgate_pacer_lateness_seconds";

/// A gateway whose channels run. Field order is that of the end: publishers first.
pub struct Gateway<'a> {
    _publishers: Running,
    server: Running,
    lab: &'a Lab,
    channels: usize,
    bitrate_bps: u64,
}

/// Processor time, ns, by the scheduler's own counters.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    /// Of the pacer's thread.
    pacer_ns: u64,
    /// In which that was ready but something else had its processor.
    waited_ns: u64,
    /// Of all threads.
    process_ns: u64,
}

/// Counters at one moment.
struct Mark {
    cpu: Cpu,
    cpu_at: Instant,
    page: Value,
    /// When the page was made, and how far that may be off.
    page_at: Instant,
    page_error: Duration,
}

fn config(channels: usize, bitrate_bps: u64, cpu: usize) -> String {
    let mut text = format!(
        "[listen]\nrtmp = \"127.0.0.1:{RTMP_PORT}\"\nhttp = \"127.0.0.1:8080\"\nadmin = \"127.0.0.1:1985\"\n\n\
         [headend]\ninterface = \"{INTERFACE}\"\ncore = {cpu}\n"
    );
    for n in 0..channels {
        let (to, source, id) = (group(n), n % SOURCES, n + 1);
        let _ = write!(
            text,
            "\n[[channel]]\nname = \"ch{n}\"\nsource = \"live/{STREAM}_{source}\"\nto = [\"udp://{to}\"]\n\
             bitrate = {bitrate_bps}\nservice_id = {id}\n"
        );
    }
    text
}

impl<'a> Gateway<'a> {
    /// Starts it with so many channels of this rate, whose sources last for `seconds` of work; ready when all of them are on the
    /// air.
    pub fn start(lab: &'a Lab, (channels, bitrate_bps): (usize, u64), seconds: f64) -> Result<Self> {
        let (cpu, load_cpu) = lab.cpus();
        let file = lab.dir.join("headend.toml");
        fs::write(&file, config(channels, bitrate_bps, cpu))?;
        let (file, cores) = (file.to_string_lossy(), load_cpu.to_string());
        // The process may use both; its cores and its pacer are pinned each to its own.
        let args = ["run", "-c", &file, "--cores", &cores];
        let server = lab.serve("headgate", lab.server()?, &args, RTMP_PORT, &lab.server_cpus(true))?;
        let seconds = SOURCES_TIMEOUT.as_secs_f64() + SETTLE_S + seconds + 30.0;
        let url = rtmp_url(STREAM);
        let (streams, bits) = (channels.min(SOURCES), bitrate_bps as f64 * PICTURES);
        let media = format!("--bitrate {bits:.0} --audio-bitrate 128k");
        let publish = format!("publish --url {url} --streams {streams} {media} --seconds {seconds}");
        let publishers = lab.load("publishers", &words(&publish))?;
        let this = Self { _publishers: publishers, server, lab, channels, bitrate_bps };
        this.wait()?;
        std::thread::sleep(Duration::from_secs_f64(SETTLE_S));
        Ok(this)
    }

    fn wait(&self) -> Result<()> {
        let since = Instant::now();
        loop {
            let page = self.lab.scrape(METRICS_URL)?;
            let up = Page::new(&page).and_then(|page| page.sum("headgate_channel_source_up", ""));
            if up == Some(self.channels as f64) {
                return Ok(());
            }
            ensure!(
                since.elapsed() < SOURCES_TIMEOUT,
                "{} of {} channels have no source",
                self.channels as f64 - up.unwrap_or(0.0),
                self.channels
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What it needs in a window of `seconds`, once the viewers are there.
    pub fn measure(&self, seconds: f64) -> Result<Value> {
        std::thread::sleep(Duration::from_secs_f64(WARM_UP_S));
        // The page costs the gateway something, so it is read outside.
        let page = self.page()?;
        let opens = self.mark(Some(page))?;
        let left = seconds - opens.cpu_at.duration_since(opens.page_at).as_secs_f64();
        std::thread::sleep(Duration::from_secs_f64(left.max(0.0)));
        let closes = self.mark(None)?;
        let mut row = numbers(&opens, &closes, (self.channels, self.bitrate_bps))
            .context("the page of metrics lacks channels")?;
        row["seconds"] = json!(seconds);
        Ok(row)
    }

    fn page(&self) -> Result<(Value, Instant, Duration)> {
        let asked = Instant::now();
        let page = self.lab.scrape(METRICS_URL)?;
        // The answer was made somewhere in that time.
        let half = asked.elapsed() / 2;
        Ok((page, asked + half, half))
    }

    fn mark(&self, page: Option<(Value, Instant, Duration)>) -> Result<Mark> {
        let (cpu, cpu_at) = (Cpu::of(self.server.pid())?, Instant::now());
        let (page, page_at, page_error) = page.map_or_else(|| self.page(), Ok)?;
        Ok(Mark { cpu, cpu_at, page, page_at, page_error })
    }
}

impl Cpu {
    /// Process `pid`, a gateway with a pacer.
    fn of(pid: u32) -> Result<Self> {
        let (mut cpu, mut found) = (Self::default(), false);
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("the gateway has ended")?.flatten() {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            // A thread that ends just now is missed.
            let Some((ran_ns, waited_ns)) = ran_and_waited(&read("schedstat")) else { continue };
            cpu.process_ns += ran_ns;
            if read("comm").trim() == THREAD {
                (cpu.pacer_ns, cpu.waited_ns, found) = (ran_ns, waited_ns, true);
            }
        }
        ensure!(found, "the gateway has no pacer");
        Ok(cpu)
    }
}

/// The first two numbers of a thread's `schedstat`.
fn ran_and_waited(schedstat: &str) -> Option<(u64, u64)> {
    let mut numbers = schedstat.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The row of a window.
fn numbers(opens: &Mark, closes: &Mark, (channels, bitrate_bps): (usize, u64)) -> Option<Value> {
    let (before, after) = (Page::new(&opens.page)?, Page::new(&closes.page)?);
    let cpu_s = closes.cpu_at.duration_since(opens.cpu_at).as_secs_f64();
    let page_s = closes.page_at.duration_since(opens.page_at).as_secs_f64();
    if cpu_s <= 0.0 || page_s <= 0.0 {
        return None;
    }
    let per_s = |of: fn(&Cpu) -> u64| of(&closes.cpu).saturating_sub(of(&opens.cpu)) as f64 / 1e9 / cpu_s;
    let core = per_s(|cpu| cpu.pacer_ns);
    let grown = |name: &str| Some(after.sum(name, "")? - before.sum(name, "")?);
    let channel = |name: &str| grown(&format!("headgate_channel_{name}_total"));
    let late_us = |q: f64| quantile(&before, &after, LATENESS, "", q).map(|s| s * 1e6);
    let rate = channel("sent_datagrams")? / page_s;
    let buckets = after.buckets(LATENESS, "").into_iter().zip(before.buckets(LATENESS, ""));
    // Infinity is no number of JSON.
    let buckets = buckets.map(|((bound, now), (_, then))| {
        json!([if bound.is_finite() { json!(bound) } else { json!("+Inf") }, now - then])
    });
    Some(json!({
        "channels": channels,
        "bitrate_bps": bitrate_bps,
        "core": core,
        // Published once a second, so it is coarse in a short window.
        "core_by_metric": grown("headgate_pacer_cpu_seconds_total")? / page_s,
        "process_core": per_s(|cpu| cpu.process_ns),
        "waited": per_s(|cpu| cpu.waited_ns),
        "datagrams_per_s": rate,
        "of_nominal": rate / nominal_per_s(channels, bitrate_bps),
        "of_nominal_error": (opens.page_error + closes.page_error).as_secs_f64() / page_s,
        "us_per_datagram": core * 1e6 / rate,
        "ticks_per_s": grown("headgate_pacer_ticks_total")? / page_s,
        "late_p50_us": late_us(0.5),
        "late_p99_us": late_us(0.99),
        "late_buckets_s": buckets.collect::<Vec<Value>>(),
        // A series of a reason that never came is not on the page.
        "send_errors": channel("send_errors").unwrap_or(0.0),
        "catch_ups": channel("catch_ups")?,
        "jumps": channel("jumps")?,
        "units_dropped": channel("units_dropped")?,
        "units_late": channel("units_late")?,
        "source_losses": channel("source_losses")?,
        "null_ratio": after.sum("headgate_channel_null_ratio", "")? / channels as f64,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 4_000_000;

    #[test]
    fn every_channel_has_a_group_and_a_source() {
        let text = config(200, RATE, 0);
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("[[channel]]"), count("live/bench_0\"")), (200, 25));
        assert!(text.contains("\"udp://239.255.1.199:5000\""), "{text}");
    }

    fn page(ran: f64, sent: f64, late: [u64; 2]) -> Value {
        json!({
            "headgate_pacer_cpu_seconds_total": ran,
            "headgate_pacer_ticks_total": 1000.0 * ran,
            "headgate_channel_sent_datagrams_total{channel=\"a\"}": sent,
            "headgate_channel_sent_datagrams_total{channel=\"b\"}": sent,
            "headgate_channel_catch_ups_total{channel=\"a\"}": 1.0,
            "headgate_channel_jumps_total{channel=\"a\"}": 0.0,
            "headgate_channel_units_dropped_total{channel=\"a\"}": 0.0,
            "headgate_channel_units_late_total{channel=\"a\"}": 0.0,
            "headgate_channel_source_losses_total{channel=\"a\"}": 0.0,
            "headgate_channel_null_ratio{channel=\"a\"}": 0.10,
            "headgate_channel_null_ratio{channel=\"b\"}": 0.06,
            "headgate_pacer_lateness_seconds_bucket{le=\"0.001\"}": late[0],
            "headgate_pacer_lateness_seconds_bucket{le=\"+Inf\"}": late[1],
        })
    }

    #[test]
    fn a_thread_says_how_long_it_ran_and_waited() {
        assert_eq!(ran_and_waited("123 45 6\n"), Some((123, 45)));
        assert_eq!(ran_and_waited(""), None);
        let own = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        assert!(ran_and_waited(&own).is_some(), "{own}");
        assert!(Cpu::of(std::process::id()).unwrap_err().to_string().contains("no pacer"));
    }

    #[test]
    fn a_window_is_what_lies_between_its_ends() {
        let start = Instant::now();
        let mark = |s: u64, (pacer_ns, process_ns), page| {
            let cpu = Cpu { pacer_ns, waited_ns: s * 10_000_000, process_ns };
            let at = start + Duration::from_secs(s);
            Mark { cpu, cpu_at: at, page, page_at: at, page_error: Duration::from_millis(s) }
        };
        let opens = mark(1, (1_000_000_000, 5_000_000_000), page(1.0, 1000.0, [50, 60]));
        let closes = mark(11, (5_000_000_000, 11_000_000_000), page(5.0, 4800.0, [9050, 9061]));
        let row = numbers(&opens, &closes, (2, RATE)).unwrap();
        assert_eq!((row["core"].as_f64(), row["process_core"].as_f64()), (Some(0.4), Some(0.6)));
        assert_eq!((row["core_by_metric"].as_f64(), row["waited"].as_f64()), (Some(0.4), Some(0.01)));
        assert_eq!(row["datagrams_per_s"], 760.0);
        assert!((row["of_nominal"].as_f64().unwrap() - 1.0).abs() < 1e-3);
        assert!((row["of_nominal_error"].as_f64().unwrap() - 0.0012).abs() < 1e-9);
        assert!((row["us_per_datagram"].as_f64().unwrap() - 0.4e6 / 760.0).abs() < 1e-9);
        assert_eq!((row["catch_ups"].as_f64(), row["send_errors"].as_f64()), (Some(0.0), Some(0.0)));
        assert!((row["null_ratio"].as_f64().unwrap() - 0.08).abs() < 1e-9);
        assert_eq!(row["late_buckets_s"], json!([[0.001, 9000.0], ["+Inf", 9001.0]]));
        assert!(
            numbers(&opens, &mark(1, (0, 0), page(1.0, 1.0, [0, 0])), (2, RATE)).is_none(),
            "no time has passed"
        );
        assert!(numbers(&opens, &mark(9, (0, 0), json!({})), (2, RATE)).is_none(), "there are no channels");
    }
}
