//! What every attack and every fault is held to: the process stays up, a control beside it loses nothing, memory stays
//! near where it was by the product's own accounting and by the kernel's, the right reasons are counted exactly, and the
//! log tells no secret.

use super::control::{Control, Progress};
use super::metrics::{Metrics, label};
use super::publisher::Raise;
use super::server::{Config, LIMIT, Server};
use super::{poll, poll_for, skip};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

/// What a trial may add to the product's memory, by its own accounting, in bytes.
pub const MEMORY_BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// What it may add to the process's resident memory at the peak, by the kernel's accounting, in bytes. The product's own
/// gauges are measured once a second, so what is taken and given back within that shows here alone. Most rows were seen to
/// take 0 to 13 MB and none that is not allowed to keep media more than 21 MB; R2, whose publishers fill their bound of
/// 8 MiB, took 46 MB, and readers that stop under a cap of memory 43 MB. The rest is for the allocator, which keeps what was freed in arenas of its own.
pub const RESIDENT_BYTES_MAX: u64 = 64 << 20;
/// The key that opens the app `live` of a trial; it must never show in the log.
pub const SECRET: &str = "s3cret-0f-the-trial";
/// The product's own accounting.
const MEMORY: [&str; 3] = ["headgate_connection_memory_bytes", "headgate_log_bytes", "headgate_pinned_bytes"];
/// Connections whose memory a core measures in one round; those of a crowd take it several.
const MEASURED_IN_A_ROUND: u64 = 1024;
/// What must come back to where it was.
const PRESENT: [&str; 4] =
    ["headgate_connections", "headgate_streams", "headgate_publishers", "headgate_subscribers"];
/// The same when nobody but the control is there: a publisher and two viewers.
const CONTROL_ALONE: [f64; 4] = [3.0, 1.0, 1.0, 2.0];
/// What is counted exactly, with the word in front of the reason.
const COUNTED: [(&str, &str); 3] = [
    ("headgate_disconnects_total", "protocol"),
    ("headgate_connections_refused_total", "refused"),
    ("headgate_frames_dropped_total", "dropped"),
];

/// Counts by reason: `rtmp input_limit`, `http_flv stalled`, `refused limit`, `dropped malformed`.
pub type Counts = BTreeMap<String, u64>;

/// The server's books at one moment.
#[derive(Clone, Debug)]
pub struct Books {
    counts: Counts,
    present: [f64; 4],
    /// Bytes, by the product's own accounting.
    pub memory: f64,
}

impl Books {
    /// Out of a scrape.
    pub fn of(metrics: &Metrics) -> Books {
        let mut counts = Counts::new();
        for (metric, word) in COUNTED {
            for (series, value) in metrics.series(metric) {
                let first = label(series, word).unwrap_or(word);
                let reason = label(series, "reason").expect("a reason");
                *counts.entry(format!("{first} {reason}")).or_default() += value as u64;
            }
        }
        Books {
            counts,
            present: PRESENT.map(|gauge| metrics.sum(gauge, &[])),
            memory: MEMORY.iter().map(|gauge| metrics.sum(gauge, &[])).sum(),
        }
    }

    /// What has risen since `before`.
    pub fn rises(&self, before: &Books) -> Counts {
        let risen = |(name, now): (&String, &u64)| {
            let rise = now - before.counts.get(name).copied().unwrap_or(0);
            (rise > 0).then(|| (name.clone(), rise))
        };
        self.counts.iter().filter_map(risen).collect()
    }
}

/// Counts as a test writes them; what does not happen is left out, as in what has risen.
pub fn counts(rows: &[(&str, u64)]) -> Counts {
    rows.iter().filter(|(_, count)| *count > 0).map(|&(reason, count)| (reason.to_owned(), count)).collect()
}

/// A server with a control beside it.
#[derive(Debug)]
pub struct Trial {
    pub server: Server,
    control: Control,
    /// Counts at the end of the last work, after which nobody but the control was there.
    settled: Mutex<Option<Counts>>,
}

impl Trial {
    /// Starts both. Whoever publishes or plays in the app `live` must show [`SECRET`]; other apps are open.
    pub fn begin(config: Config) -> Trial {
        Self::begin_over(config, |server| server.rtmp.ip())
    }

    /// Like [`Trial::begin`]; the control reaches the server at another address.
    pub fn begin_over(config: Config, address: impl Fn(&Server) -> IpAddr) -> Trial {
        let key = format!("{SECRET:?}");
        let config = config.set("apps.live.publish_key", &key).set("apps.live.play_token", &key);
        let server = config.start();
        let at = |port: SocketAddr| SocketAddr::new(address(&server), port.port());
        let control = Control::attach_at(at(server.rtmp), at(server.http), SECRET);
        let trial = Trial { server, control, settled: Mutex::new(None) };
        trial.settle();
        trial
    }

    /// The books now.
    pub fn books(&self) -> Books {
        Books::of(&self.server.metrics())
    }

    /// How far the control is.
    pub fn progress(&self) -> Progress {
        self.control.progress()
    }

    /// Does `work` and holds the server to `expected`: these reasons have risen by exactly so much, and memory is back.
    /// Returns how much more memory there was at the peak, in bytes.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn expect(&self, expected: &Counts, work: impl FnOnce()) -> Result<f64, String> {
        self.expect_told(|| {
            work();
            expected.clone()
        })
    }

    /// Like [`Trial::expect`], where only the work can tell what is to be counted.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn expect_told(&self, work: impl FnOnce() -> Counts) -> Result<f64, String> {
        let (before, peak) = (self.books(), Peak::default());
        std::thread::scope(|scope| {
            let _over = Raise(&peak.over);
            scope.spawn(|| self.watch(&peak));
            self.judge(&before, work, || peak.connections.load(Ordering::Relaxed))
        })?;
        Ok(peak.bytes.load(Ordering::Relaxed) as f64 - before.memory)
    }

    /// Like [`Trial::expect_told`], where nobody can ask the server for its books while the work is done.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn expect_unseen(&self, work: impl FnOnce() -> Counts) -> Result<(), String> {
        self.judge(&self.books(), work, || 0)
    }

    /// Does the work and looks at what it has left. `connections` tells how many there have been at a time.
    fn judge(
        &self,
        before: &Books,
        work: impl FnOnce() -> Counts,
        connections: impl Fn() -> u64,
    ) -> Result<(), String> {
        let resident = self.forget_peak();
        let expected = work();
        poll_for(LIMIT, || self.books(), |now| now.rises(before) == expected);
        // What fits at one moment may be one too many at the next: what counts is what stands when all are gone.
        self.settle();
        // From here on no reading is from before that. It may still have to fall: deadlines stay until they are due.
        self.await_rounds(2 + connections() / MEASURED_IN_A_ROUND);
        let more = |now: &Books| now.memory - before.memory;
        let after = poll_for(LIMIT, || self.books(), |now| more(now) <= MEMORY_BYTES_MAX);
        let risen = after.rises(before);
        if risen != expected {
            return Err(format!("counted {risen:?}, not {expected:?}"));
        }
        if more(&after) > MEMORY_BYTES_MAX {
            return Err(format!("{} bytes more than before", more(&after)));
        }
        if let Some(resident) = resident {
            let resident = self.resident_peak().saturating_sub(resident);
            println!("at the peak {resident} bytes of resident memory more than before");
            if resident > RESIDENT_BYTES_MAX {
                return Err(format!("{resident} bytes of resident memory more at the peak"));
            }
        }
        *self.settled.lock().unwrap() = Some(after.counts);
        Ok(())
    }

    /// Waits until only the control is left.
    pub fn settle(&self) {
        let last = poll_for(LIMIT, || self.books(), |now| now.present == CONTROL_ALONE);
        assert_eq!(last.present, CONTROL_ALONE, "{PRESENT:?}");
    }

    /// Waits until every core has measured its gauges `count` times more. A core does so once a second, and hands the times
    /// of its turns over behind that; of two rounds the second began later than this call, whatever was under way.
    pub fn await_rounds(&self, count: u64) {
        let turns = || -> Vec<f64> {
            let metrics = self.server.metrics();
            metrics.series("headgate_loop_lag_seconds_count").map(|(_, turns)| turns).collect()
        };
        let mut last = turns();
        assert!(!last.is_empty(), "cores count their turns");
        let mut rounds = vec![0; last.len()];
        poll("the gauges to be measured", LIMIT + Duration::from_secs(count), || {
            for ((last, now), rounds) in last.iter_mut().zip(turns()).zip(&mut rounds) {
                *rounds += u64::from(*last != now);
                *last = now;
            }
            rounds.iter().all(|&rounds| rounds >= count).then_some(())
        });
    }

    /// The most resident memory of the process since its start or since it was forgotten, in bytes.
    fn resident_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Makes the kernel begin the peak anew at what is resident now; returns it. A peak of earlier work would hide a lower
    /// one: `None` (and a reported skip) where the kernel does not forget.
    fn forget_peak(&self) -> Option<u64> {
        static TOLD: Once = Once::new();
        // "5" resets the peak (Documentation/filesystems/proc.rst), if the kernel was built with page monitoring.
        match std::fs::write(format!("/proc/{}/clear_refs", self.server.id()), "5") {
            Ok(()) => Some(self.resident_peak()),
            Err(error) => {
                let why = format!("the kernel does not begin a process's peak of memory anew: {error}");
                TOLD.call_once(|| skip("no-clear-refs", &why));
                None
            }
        }
    }

    /// Keeps the highest of what the books say, until it is over.
    fn watch(&self, peak: &Peak) {
        while !peak.over.load(Ordering::Relaxed) {
            let books = self.books();
            peak.bytes.fetch_max(books.memory as u64, Ordering::Relaxed);
            peak.connections.fetch_max(books.present[0] as u64, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until only the control is left, and ends both; the control must have lost nothing. Returns the log, which holds no panic and no secret.
    pub fn finish(self) -> String {
        self.settle();
        if let Some(settled) = self.settled.lock().unwrap().take() {
            assert_eq!(self.books().counts, settled, "counted behind the end of the work");
        }
        self.control.finish();
        let log = self.server.stop();
        assert!(!log.contains(SECRET), "a key in the log:\n{log}");
        log
    }
}

/// The most that was seen while work was done, and until it was measured to its end.
#[derive(Debug, Default)]
struct Peak {
    over: AtomicBool,
    /// Memory by the product's own accounting, in bytes.
    bytes: AtomicU64,
    connections: AtomicU64,
}

#[test]
fn books_know_reasons() {
    let page = |refused| {
        format!(
            "headgate_disconnects_total{{protocol=\"rtmp\",reason=\"stalled\"}} 3\n\
             headgate_connections_refused_total{{reason=\"limit\"}} {refused}\n\
             headgate_log_bytes 7\nheadgate_connections 2\n"
        )
    };
    let [before, after] = [1, 4].map(|refused| Books::of(&Metrics::parse(&page(refused))));
    assert_eq!(before.memory, 7.0);
    assert_eq!(after.counts, counts(&[("rtmp stalled", 3), ("refused limit", 4)]));
    assert_eq!(after.rises(&before), counts(&[("refused limit", 3)]));
}
