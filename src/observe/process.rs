//! The process as the kernel sees it, under the names that every Prometheus client library uses.

use super::families::Families;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Ticks a second in `/proc/PID/stat`: part of Linux' interface to programs, the same on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds `process_*`; a value the kernel does not give is left out.
pub(super) fn collect(families: &mut Families, started: SystemTime) {
    let start = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    families.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        start,
    );
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kib) = field(&status, "VmRSS:") {
        families.gauge("process_resident_memory_bytes", "Resident memory size in bytes.", kib * 1024.0);
    }
    if let Some(threads) = field(&status, "Threads:") {
        families.gauge("process_threads", "Number of threads of the process.", threads);
    }
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
        let help = "Total user and system CPU time spent in seconds.";
        families.counters("process_cpu_seconds_total", help, [(vec![], seconds)]);
    }
    let open = counted_descriptors().unwrap_or_else(listed_descriptors);
    families.gauge("process_open_fds", "Number of open file descriptors.", open as f64);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(max) = field(&limits, "Max open files") {
        families.gauge("process_max_fds", "Maximum number of open file descriptors.", max);
    }
}

/// Resident memory in bytes.
pub(super) fn resident_bytes() -> Option<f64> {
    Some(field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")? * 1024.0)
}

/// Lists the descriptors of the process so often at most, where listing is the only way to count them: with 100 000
/// connections it takes a tenth of a second.
const LIST_EVERY: Duration = Duration::from_secs(10);

const DESCRIPTORS: &str = "/proc/self/fd";

/// Open file descriptors, if the kernel counts them: since 6.2 they are the folder's size.
fn counted_descriptors() -> Option<u64> {
    fs::metadata(DESCRIPTORS).ok().map(|folder| folder.len()).filter(|count| *count > 0)
}

/// Open file descriptors, one by one.
fn listed_descriptors() -> u64 {
    // The handle that lists the folder is one of its entries.
    fs::read_dir(DESCRIPTORS).map_or(0, |entries| (entries.count() as u64).saturating_sub(1))
}

/// How many file descriptors are no connections.
#[derive(Debug, Default)]
pub struct OtherDescriptors {
    count: u64,
    /// When they may be listed again, on the caller's clock.
    list_at: Duration,
}

impl OtherDescriptors {
    /// Counts them, while `connections` of the descriptors are connections; on kernels that do not count (before 6.2)
    /// once in ten seconds. `now` is the time since any fixed origin.
    pub fn look(&mut self, now: Duration, connections: u64) -> u64 {
        self.look_with(now, connections, counted_descriptors(), listed_descriptors)
    }

    fn look_with(
        &mut self,
        now: Duration,
        connections: u64,
        counted: Option<u64>,
        list: impl FnOnce() -> u64,
    ) -> u64 {
        let open = counted.or_else(|| {
            let due = now >= self.list_at;
            due.then(|| {
                self.list_at = now + LIST_EVERY;
                list()
            })
        });
        if let Some(open) = open {
            self.count = open.saturating_sub(connections);
        }
        self.count
    }
}

/// The first number after `name` at the start of a line.
pub(super) fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// utime and stime, fields 14 and 15; the second field is a name in brackets that may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut ticks = rest.split_whitespace().skip(11).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(field("Name:\tx\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12.0));
        assert_eq!(field("Max open files            20000  20000 files\n", "Max open files"), Some(20000.0));
        assert_eq!((cpu_seconds(""), field("", "VmRSS:")), (None, None));
    }

    #[test]
    fn descriptors_are_not_listed_all_the_time() {
        let second = Duration::from_secs;
        let (mut other, mut lists) = (OtherDescriptors::default(), 0);
        let mut look = |at: u64, connections: u64, counted: Option<u64>| {
            other.look_with(second(at), connections, counted, || {
                lists += 1;
                1000 * lists
            })
        };
        assert_eq!(look(1, 900, None), 100);
        assert_eq!(look(10, 0, None), 100, "those that went were connections");
        assert_eq!(look(11, 900, None), 1100);
        assert_eq!((look(12, 900, Some(950)), look(13, 30, Some(20))), (50, 0), "a kernel that counts");
        assert_eq!(lists, 2);
    }

    #[test]
    fn both_ways_count_the_same() {
        let Some(counted) = counted_descriptors() else { return };
        // Other tests open and close theirs meanwhile.
        assert!(listed_descriptors().abs_diff(counted) < 200);
    }
}
