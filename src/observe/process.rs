//! The process as the kernel sees it, under the names that every Prometheus client library uses.

use super::families::Families;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

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
    families.gauge("process_open_fds", "Number of open file descriptors.", open_descriptors() as f64);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(max) = field(&limits, "Max open files") {
        families.gauge("process_max_fds", "Maximum number of open file descriptors.", max);
    }
}

/// Resident memory in bytes.
pub(super) fn resident_bytes() -> Option<f64> {
    Some(field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")? * 1024.0)
}

/// Open file descriptors. Kernels since 6.2 say how many there are as the folder's size; before, they are counted one
/// by one.
pub fn open_descriptors() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).map(|folder| folder.len()) {
        Ok(0) | Err(_) => {
            // The handle that lists the folder is one of its entries.
            fs::read_dir(FOLDER).map_or(0, |entries| (entries.count() as u64).saturating_sub(1))
        }
        Ok(count) => count,
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
}
