//! What every attack and every fault is held to: the process stays up, a control beside it loses nothing, memory stays
//! near where it was by the product's own accounting and by the kernel's, the right reasons are counted exactly, and the
//! log tells no secret.

use super::control::Control;
use super::metrics::{Metrics, label};
use super::server::{Config, LIMIT, Server};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a trial may add to the product's memory, by its own accounting, in bytes.
pub const MEMORY_BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// What it may add to the process's resident memory at the peak, by the kernel's accounting, in bytes. The product's own
/// gauges are measured once a second, so what is taken and given back within that shows here alone. Most rows were seen to
/// take 0 to 13 MB and none that is not allowed to keep media more than 21 MB; R2, whose publishers fill their bound of
/// 8 MiB beside each other, took 46 MB. The rest is for the allocator, which keeps what was freed in arenas of its own.
pub const RESIDENT_BYTES_MAX: u64 = 64 << 20;
/// The key that opens the app `live` of a trial; it must never show in the log.
pub const SECRET: &str = "s3cret-0f-the-trial";
/// The product's own accounting.
const MEMORY: [&str; 3] = ["headgate_connection_memory_bytes", "headgate_log_bytes", "headgate_pinned_bytes"];
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

/// Counts as a test writes them.
pub fn counts(rows: &[(&str, u64)]) -> Counts {
    rows.iter().map(|&(reason, count)| (reason.to_owned(), count)).collect()
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
        // A machine that is shared with other tests may leave the control's viewers behind for seconds.
        let config = config.or_set("fanout.max_lag_ms", "15_000").or_set("fanout.stall_timeout_ms", "30_000");
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

    /// Does `work` and holds the server to `expected`: these reasons have risen by exactly so much, and memory is back.
    /// Returns how much more memory there was at the peak, in bytes.
    ///
    /// # Errors
    /// What is otherwise.
    pub fn expect(&self, expected: &Counts, work: impl FnOnce()) -> Result<f64, String> {
        let before = self.books();
        let resident = self.forget_peak();
        let peak = self.peak_while(work);
        let more = |now: &Books| now.memory - before.memory;
        // Connections that have gone are forgotten by the accounting at its next round.
        let fits = |now: &Books| now.rises(&before) == *expected && more(now) <= MEMORY_BYTES_MAX;
        poll_for(|| self.books(), fits);
        // What fits at one moment may be one too many at the next: what counts is what stands when all are gone.
        self.settle();
        let after = self.books();
        let risen = after.rises(&before);
        if risen != *expected {
            return Err(format!("counted {risen:?}, not {expected:?}"));
        }
        if more(&after) > MEMORY_BYTES_MAX {
            return Err(format!("{} bytes more than before", more(&after)));
        }
        let resident = self.resident_peak().saturating_sub(resident);
        println!("at the peak {resident} bytes of resident memory more than before");
        if resident > RESIDENT_BYTES_MAX {
            return Err(format!("{resident} bytes of resident memory more at the peak"));
        }
        *self.settled.lock().unwrap() = Some(after.counts);
        Ok(peak - before.memory)
    }

    /// Waits until only the control is left.
    pub fn settle(&self) {
        let last = poll_for(|| self.books(), |now| now.present == CONTROL_ALONE);
        assert_eq!(last.present, CONTROL_ALONE, "{PRESENT:?}");
    }

    /// The most resident memory of the process since its start or since it was forgotten, in bytes.
    fn resident_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Makes the kernel begin the peak anew at what is resident now; returns it. A peak of earlier work would hide a lower one.
    fn forget_peak(&self) -> u64 {
        // "5" resets the peak (Documentation/filesystems/proc.rst). A kernel built without it goes on with the old one.
        let _kept = std::fs::write(format!("/proc/{}/clear_refs", self.server.id()), "5");
        self.resident_peak()
    }

    /// The most memory, by the product's own accounting, while `work` is done.
    fn peak_while(&self, work: impl FnOnce()) -> f64 {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut peak = 0f64;
                while !done.load(Ordering::Relaxed) {
                    peak = peak.max(self.books().memory);
                    std::thread::sleep(Duration::from_millis(50));
                }
                peak
            });
            let raise = super::publisher::Raise(&done);
            work();
            drop(raise);
            watch.join().unwrap()
        })
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

/// The first answer that fits, or the last one within the limit: the caller says what is wrong with it.
fn poll_for<T>(ask: impl Fn() -> T, fits: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = ask();
        if fits(&answer) || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
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
