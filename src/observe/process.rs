//! The process as the kernel sees it, under the names that every Prometheus client library uses.

use super::families::Families;
use std::fs;
use std::io;
use std::path::Path;
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
    if let Some(open) = counted_descriptors().or_else(|| listed_descriptors().ok()) {
        families.gauge("process_open_fds", "Number of open file descriptors.", open as f64);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(max) = field(&limits, "Max open files") {
        families.gauge("process_max_fds", "Maximum number of open file descriptors.", max);
    }
}

/// Resident memory in bytes; none if the kernel does not say.
///
/// # Errors
/// As of [`read`].
pub(super) fn resident_bytes() -> io::Result<Option<f64>> {
    let status = read(Path::new("/proc/self/status"))?;
    Ok(status.and_then(|status| field(&status, "VmRSS:")).map(|kib| kib * 1024.0))
}

/// A file of the kernel's; none if there is no such file, or nobody may read it.
///
/// # Errors
/// There is no descriptor left to read it with.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_out_of_descriptors(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Lists the descriptors of the process so often at most, where listing is the only way to count them: with 100 000
/// connections it takes a tenth of a second.
const LIST_EVERY: Duration = Duration::from_secs(10);

const DESCRIPTORS: &str = "/proc/self/fd";

/// Open file descriptors, if the kernel counts them: since 6.2 they are the folder's size.
fn counted_descriptors() -> Option<u64> {
    fs::metadata(DESCRIPTORS).ok().map(|folder| folder.len()).filter(|count| *count > 0)
}

/// Open file descriptors, one by one, which takes one itself.
fn listed_descriptors() -> io::Result<u64> {
    // The handle that lists the folder is one of its entries.
    Ok((fs::read_dir(DESCRIPTORS)?.count() as u64).saturating_sub(1))
}

/// How many file descriptors are no connections; none where nobody can say, because there is no such folder.
#[derive(Debug)]
pub struct OtherDescriptors {
    /// None if there was no descriptor left to count them with.
    count: Option<u64>,
    /// When they may be listed again, on the caller's clock.
    list_at: Duration,
}

impl Default for OtherDescriptors {
    fn default() -> Self {
        OtherDescriptors { count: Some(0), list_at: Duration::ZERO }
    }
}

impl OtherDescriptors {
    /// Counts them, while `connections` of the descriptors are connections; on kernels that do not count (before 6.2)
    /// once in ten seconds. `now` is the time since any fixed origin. None if there is no descriptor left to count with:
    /// all are used.
    pub fn look(&mut self, now: Duration, connections: u64) -> Option<u64> {
        self.look_with(now, connections, counted_descriptors(), listed_descriptors)
    }

    fn look_with(
        &mut self,
        now: Duration,
        connections: u64,
        counted: Option<u64>,
        list: impl FnOnce() -> io::Result<u64>,
    ) -> Option<u64> {
        if let Some(open) = counted {
            self.count = Some(open.saturating_sub(connections));
        } else if now >= self.list_at {
            match list() {
                Ok(open) => {
                    self.count = Some(open.saturating_sub(connections));
                    self.list_at = now + LIST_EVERY;
                }
                // Again at the next look: it costs nothing as long as it fails.
                Err(error) if is_out_of_descriptors(&error) => self.count = None,
                Err(_) => self.count = self.count.or(Some(0)),
            }
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
                Ok(1000 * lists)
            })
        };
        assert_eq!(look(1, 900, None), Some(100));
        assert_eq!(look(10, 0, None), Some(100), "those that went were connections");
        assert_eq!(look(11, 900, None), Some(1100));
        let counted = (look(12, 900, Some(950)), look(13, 30, Some(20)));
        assert_eq!(counted, (Some(50), Some(0)), "a kernel that counts");
        assert_eq!(lists, 2);
    }

    #[test]
    fn without_a_descriptor_to_count_with_all_are_used() {
        let second = Duration::from_secs;
        let mut other = OtherDescriptors::default();
        let failed = |code| move || Err(io::Error::from_raw_os_error(code));
        assert_eq!(other.look_with(second(1), 900, None, || Ok(1000)), Some(100));
        assert_eq!(other.look_with(second(11), 900, None, failed(libc::EMFILE)), None);
        assert_eq!(other.look_with(second(12), 900, None, failed(libc::EMFILE)), None, "still");
        assert_eq!(other.look_with(second(13), 900, None, || Ok(950)), Some(50), "at the next look");
        assert_eq!(other.look_with(second(23), 900, None, failed(libc::EACCES)), Some(50));
        let mut without_proc = OtherDescriptors::default();
        assert_eq!(without_proc.look_with(second(1), 900, None, failed(libc::ENOENT)), Some(0));
    }

    #[test]
    fn both_ways_count_the_same() {
        let Some(counted) = counted_descriptors() else { return };
        // Other tests open and close theirs meanwhile.
        assert!(listed_descriptors().unwrap().abs_diff(counted) < 200);
    }
}
