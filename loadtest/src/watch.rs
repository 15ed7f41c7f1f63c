//! What the measured window costs: processor time of a watched process and of ourselves, and how much of the machine was
//! stolen; and what the process holds at one moment.

use crate::clock::now_ns;
use serde::Serialize;
use std::fs;

/// Ticks of `/proc/stat` per second on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    at_ns: u64,
    /// Processor time of the watched process, and time in which it was ready but had no processor.
    watched_ns: Option<(u64, u64)>,
    own_ns: u64,
    /// Per processor: all ticks, busy ticks, stolen ticks.
    ticks: Vec<(u64, u64, u64)>,
}

/// What lies between two samples.
#[derive(Clone, Debug, Serialize)]
pub struct Window {
    /// Length in seconds.
    pub seconds: f64,
    /// Processor seconds of the watched process, if one was named and lived.
    pub watched_cpu_seconds: Option<f64>,
    /// Seconds in which its threads were ready to run while something else had their processor.
    pub watched_wait_seconds: Option<f64>,
    /// Processor seconds of this process.
    pub own_cpu_seconds: f64,
    /// Part of each processor's time that the host gave to others, 0 to 1.
    pub steal: Vec<f64>,
    /// Part of each processor's time that was not idle, 0 to 1.
    pub busy: Vec<f64>,
}

/// Processor time of all threads that process `pid` has or had, and the time that those it has waited in the run queue,
/// ns, from the scheduler's own counters (not from ticks).
pub fn process_cpu_ns(pid: u32) -> Option<(u64, u64)> {
    let mut clock = 0;
    // SAFETY: `clock` is a valid, writable clock id for the duration of the call.
    let found = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    (found == 0).then_some(())?;
    Some((clock_ns(clock)?, run_queue_ns(pid)?))
}

fn run_queue_ns(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread that ends between listing and reading is missed; servers under test keep theirs.
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    }
    Some(sum)
}

fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid, writable timespec for the duration of the call.
    let read = unsafe { libc::clock_gettime(clock, &mut ts) };
    (read == 0).then_some(ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64)
}

fn own_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID).expect("every process has this clock")
}

/// Per processor: all, busy and stolen ticks, from the text of `/proc/stat`.
fn parse_ticks(stat: &str) -> Vec<(u64, u64, u64)> {
    let processors = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "));
    let row = |line: &str| {
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        let n: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|w| w.parse().ok()).collect();
        let all: u64 = n.iter().sum();
        let idle = n.get(3).copied().unwrap_or(0) + n.get(4).copied().unwrap_or(0);
        (all, all - idle, n.get(7).copied().unwrap_or(0))
    };
    processors.map(row).collect()
}

impl Sample {
    /// The counters now; `pid` is the process to watch.
    pub fn take(pid: Option<u32>) -> Self {
        Self {
            at_ns: now_ns(),
            watched_ns: pid.and_then(process_cpu_ns),
            own_ns: own_cpu_ns(),
            ticks: parse_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default()),
        }
    }

    /// What happened since `start`.
    pub fn since(&self, start: &Sample) -> Window {
        let seconds = (self.at_ns - start.at_ns) as f64 / 1e9;
        let watched = || self.watched_ns.zip(start.watched_ns);
        let both = || self.ticks.iter().zip(&start.ticks);
        let part =
            |now: u64, then: u64| (now.saturating_sub(then)) as f64 / (seconds * TICKS_PER_SECOND).max(1e-9);
        Window {
            seconds,
            watched_cpu_seconds: watched().map(|(now, then)| now.0.saturating_sub(then.0) as f64 / 1e9),
            watched_wait_seconds: watched().map(|(now, then)| now.1.saturating_sub(then.1) as f64 / 1e9),
            own_cpu_seconds: (self.own_ns - start.own_ns) as f64 / 1e9,
            steal: both().map(|(now, then)| part(now.2, then.2)).collect(),
            busy: both().map(|(now, then)| part(now.1, then.1)).collect(),
        }
    }
}

/// What a process holds at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Holdings {
    /// Anonymous and shared memory that is resident: everything but file pages, bytes.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Holdings {
    /// Those of process `pid`; `None` when it is gone or may not be looked at.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Self { resident_bytes: resident_bytes(&status)?, descriptors })
    }
}

/// RssAnon and RssShmem of `/proc/PID/status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((field("RssAnon:")? + field("RssShmem:").unwrap_or(0)) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_each_processor() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 0 0 0 10 0 0 0 0 0 0\nintr 5\n";
        assert_eq!(parse_ticks(stat), [(36, 27, 8), (10, 0, 0)]);
    }

    #[test]
    fn file_pages_are_not_counted() {
        let status = "VmRSS:\t 900 kB\nRssAnon:\t     300 kB\nRssFile:\t 500 kB\nRssShmem:\t 100 kB\n";
        assert_eq!(resident_bytes(status), Some(400 * 1024));
        assert_eq!(resident_bytes("VmRSS: 1 kB\n"), None);
    }

    #[test]
    fn an_open_file_is_a_descriptor() {
        let pid = std::process::id();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close theirs at the same time.
        assert!(Holdings::of(pid).unwrap().descriptors > files.len());
    }

    #[test]
    fn own_time_is_seen_both_ways() {
        let before = Sample::take(Some(std::process::id()));
        let mut x = 1u64;
        while own_cpu_ns() - before.own_ns < 20_000_000 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1);
        }
        let window = Sample::take(Some(std::process::id())).since(&before);
        assert!(window.own_cpu_seconds >= 0.02, "{x}");
        // From outside as from within, though other tests' threads end meanwhile.
        assert!(window.watched_cpu_seconds.is_some_and(|s| s >= 0.02), "{window:?}");
    }
}
