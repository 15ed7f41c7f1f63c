//! Subscribers by the thousand: each thread drives its share on one io_uring ring.
//!
//! Every message of every subscriber is counted, put in sequence and timed: the parsers read headers and stamps and skip
//! the rest, so that receiving costs little more than the kernel's copy. Only verified subscribers hash payloads.

mod ring;
mod subscriber;
mod worker;

use crate::clock::now_ns;
use crate::meter::{Faults, Totals};
use crate::target::Target;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

/// How a subscriber reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as bytes come; only these enter the totals.
    Healthy,
    /// At most so many bytes per second.
    Slow(f64),
    /// Stops reading for good so many ns after its first bytes.
    Stalls(u64),
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to play.
    pub target: Target,
    /// Streams that the subscribers share evenly; with more than one, stream names are numbered.
    pub streams: usize,
    /// Subscribers.
    pub count: usize,
    /// Connections begun per second.
    pub ramp_per_s: f64,
    /// How many healthy ones are verified byte by byte.
    pub verify: usize,
    /// How many stall, and after how many ns.
    pub stalled: (usize, u64),
    /// How many are slow, and their bytes per second.
    pub slow: (usize, f64),
    /// Threads.
    pub threads: usize,
    /// The measured window, ns of the clock.
    pub window: (u64, u64),
    /// When everybody leaves.
    pub end_ns: u64,
}

impl Plan {
    fn pace(&self, index: usize) -> Pace {
        let (stalled, after_ns) = self.stalled;
        let (slow, rate) = self.slow;
        match index {
            i if i < stalled => Pace::Stalls(after_ns),
            i if i < stalled + slow => Pace::Slow(rate),
            _ => Pace::Healthy,
        }
    }

    /// Subscribers that read as fast as they can.
    pub fn healthy(&self) -> usize {
        self.count.saturating_sub(self.stalled.0 + self.slow.0)
    }
}

/// Counters for the live line, added to once per turn of a worker.
#[derive(Debug, Default)]
pub struct Live {
    /// Subscribers connected now.
    pub connected: AtomicU64,
    /// Messages received.
    pub messages: AtomicU64,
    /// Bytes received.
    pub wire_bytes: AtomicU64,
    /// Subscribers that ended before their time.
    pub disconnects: AtomicU64,
}

impl Live {
    fn add(cell: &AtomicU64, n: u64) {
        cell.fetch_add(n, Ordering::Relaxed);
    }
}

/// What the subscribers got.
pub struct Outcome {
    /// Messages and latency within the window, healthy subscribers only.
    pub totals: Totals,
    /// Faults of healthy subscribers, whole run.
    pub faults: Faults,
    /// Healthy subscribers that got frames without any fault, and all others.
    pub clean: (u64, u64),
    /// Faults of verified ones.
    pub verified: Faults,
    /// Bytes received within the window, protocol included, by all.
    pub wire_bytes: u64,
    /// Begin of connecting to first video frame, us.
    pub first_frame_us: Histogram<u64>,
    /// Subscribers that ended before their time, by reason.
    pub disconnects: BTreeMap<String, u64>,
    /// Times the provided buffers ran out; costs a turn, loses nothing.
    pub buffer_shortages: u64,
    /// Of every healthy subscriber: stream, next video and next audio sequence.
    pub ends: Vec<(u32, Option<u32>, Option<u32>)>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            totals: Totals::default(),
            faults: Faults::default(),
            clean: (0, 0),
            verified: Faults::default(),
            wire_bytes: 0,
            first_frame_us: Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds are valid"),
            disconnects: BTreeMap::new(),
            buffer_shortages: 0,
            ends: Vec::new(),
        }
    }
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.totals.add(&other.totals);
        self.faults.add(&other.faults);
        self.verified.add(&other.verified);
        self.clean = (self.clean.0 + other.clean.0, self.clean.1 + other.clean.1);
        self.wire_bytes += other.wire_bytes;
        // Both were made with the same bounds.
        let _ = self.first_frame_us.add(&other.first_frame_us);
        for (reason, count) in other.disconnects {
            *self.disconnects.entry(reason).or_default() += count;
        }
        self.buffer_shortages += other.buffer_shortages;
        self.ends.extend(other.ends);
    }
}

/// Running subscribers.
pub struct Players {
    threads: Vec<JoinHandle<Result<Outcome>>>,
    /// Counters of the moment.
    pub live: Arc<Live>,
}

/// Starts the plan's subscribers now.
pub fn start(plan: &Plan) -> Result<Players> {
    let live = Arc::new(Live::default());
    let address = plan.target.resolve()?;
    let start_ns = now_ns();
    let threads = (0..plan.threads.max(1))
        .map(|thread| {
            let (plan, live) = (plan.clone(), live.clone());
            std::thread::Builder::new()
                .name(format!("play-{thread}"))
                .spawn(move || worker::run(&plan, thread, address, start_ns, &live))
                .context("cannot start a thread")
        })
        .collect::<Result<_>>()?;
    Ok(Players { threads, live })
}

impl Players {
    /// Waits for the plan's end and adds up what everybody got.
    pub fn finish(self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for thread in self.threads {
            let part = thread.join().map_err(|_| anyhow::anyhow!("a subscriber thread panicked"))??;
            outcome.add(part);
        }
        Ok(outcome)
    }
}
