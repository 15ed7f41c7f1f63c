//! Subscribers by the thousand: each thread drives its share on one io_uring ring.
//!
//! Every message of every subscriber is counted, put in sequence and timed: the parsers read headers and stamps and skip
//! the rest, so that receiving costs little more than the kernel's copy. Only verified subscribers hash payloads.

mod ring;
mod socket;
mod subscriber;
mod worker;

use crate::arrivals::Arrivals;
use crate::clock::now_ns;
use crate::meter::{Faults, Totals};
use crate::setup::Setups;
use crate::target::Target;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
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
    /// Stops reading for good so many ns after it should have begun, but not before its first frame.
    Stalls(u64),
}

/// A subscriber that comes and goes.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// How long it stays behind its first video frame, ns.
    pub life_ns: u64,
    /// How long it waits for that frame, counted from when it should have begun, ns.
    pub patience_ns: u64,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to play; subscribers take turns.
    pub targets: Vec<Target>,
    /// Local addresses to connect from, in turn; the kernel's choice without any.
    pub from: Vec<IpAddr>,
    /// Streams that the subscribers share evenly; with more than one, stream names are numbered.
    pub streams: usize,
    /// Subscribers.
    pub count: usize,
    /// Connections begun per second, whatever becomes of those before.
    pub ramp_per_s: f64,
    /// Whether they leave by themselves; without it all stay until the end.
    pub visit: Option<Visit>,
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
    /// Parts of the window with totals of their own: when each ends, ascending, the last where the window closes.
    pub phases: Vec<u64>,
    /// When everybody leaves.
    pub end_ns: u64,
}

impl Plan {
    /// `count` subscribers of `targets`, measured until `end_ns` of the clock: healthy ones that come at once, from where the
    /// kernel chooses, and stay, on one thread. Whoever wants it otherwise says so.
    pub fn new(targets: Vec<Target>, count: usize, end_ns: u64) -> Self {
        Self {
            targets,
            from: Vec::new(),
            streams: 1,
            count,
            ramp_per_s: f64::INFINITY,
            visit: None,
            verify: 0,
            stalled: (0, 0),
            slow: (0, 0.0),
            threads: 1,
            window: (0, end_ns),
            phases: vec![end_ns],
            end_ns,
        }
    }

    fn pace(&self, index: usize) -> Pace {
        let (stalled, after_ns) = self.stalled;
        let (slow, rate) = self.slow;
        match index {
            i if i < stalled => Pace::Stalls(after_ns),
            i if i < stalled + slow => Pace::Slow(rate),
            _ => Pace::Healthy,
        }
    }

    /// Moves the window, its phases and the end `by_ns` later.
    pub fn shift(&mut self, by_ns: u64) {
        self.window = (self.window.0 + by_ns, self.window.1 + by_ns);
        self.phases.iter_mut().for_each(|ends| *ends += by_ns);
        self.end_ns += by_ns;
    }

    /// The phase of the window that `now` lies in.
    fn phase(&self, now: u64) -> Option<usize> {
        if now < self.window.0 {
            return None;
        }
        self.phases.iter().position(|&ends| now < ends)
    }

    /// Which target subscriber `number` plays, and from which local address.
    fn route(&self, number: usize) -> (usize, Option<IpAddr>) {
        let targets = self.targets.len().max(1);
        // Every target is played from every address.
        (number % targets, self.from.get(number / targets % self.from.len().max(1)).copied())
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
#[derive(Default)]
pub struct Outcome {
    /// Messages and latency within each phase of the window, healthy subscribers only.
    pub phases: Vec<Totals>,
    /// Faults of healthy subscribers, whole run.
    pub faults: Faults,
    /// Healthy subscribers that got frames without any fault, and all others.
    pub clean: (u64, u64),
    /// Faults of verified ones.
    pub verified: Faults,
    /// Bytes received within the window, protocol included, by all.
    pub wire_bytes: u64,
    /// What became of all connections, by target.
    pub setups: Vec<Setups>,
    /// Times the provided buffers ran out; costs a turn, loses nothing.
    pub buffer_shortages: u64,
    /// Of every healthy subscriber that stayed: stream, next video and next audio sequence.
    pub ends: Vec<(u32, Option<u32>, Option<u32>)>,
}

impl Outcome {
    fn new(plan: &Plan) -> Self {
        Self {
            phases: plan.phases.iter().map(|_| Totals::default()).collect(),
            setups: plan.targets.iter().map(|_| Setups::default()).collect(),
            ..Self::default()
        }
    }

    /// All phases of the window together.
    pub fn totals(&self) -> Totals {
        let mut whole = Totals::default();
        self.phases.iter().for_each(|phase| whole.add(phase));
        whole
    }

    /// The connections of all targets together.
    pub fn all_setups(&self) -> Setups {
        let mut all = Setups::default();
        self.setups.iter().for_each(|setups| all.add(setups));
        all
    }

    fn add(&mut self, other: Outcome) {
        self.phases.iter_mut().zip(&other.phases).for_each(|(mine, theirs)| mine.add(theirs));
        self.setups.iter_mut().zip(&other.setups).for_each(|(mine, theirs)| mine.add(theirs));
        self.faults.add(&other.faults);
        self.verified.add(&other.verified);
        self.clean = (self.clean.0 + other.clean.0, self.clean.1 + other.clean.1);
        self.wire_bytes += other.wire_bytes;
        self.buffer_shortages += other.buffer_shortages;
        self.ends.extend(other.ends);
    }
}

/// Running subscribers.
pub struct Players {
    outcome: Outcome,
    threads: Vec<JoinHandle<Result<Outcome>>>,
    /// Counters of the moment.
    pub live: Arc<Live>,
}

/// Starts the plan's subscribers now.
pub fn start(plan: &Plan) -> Result<Players> {
    ensure!(!plan.targets.is_empty(), "there is nothing to play");
    let live = Arc::new(Live::default());
    let addresses = plan.targets.iter().map(Target::resolve).collect::<Result<Vec<_>>>()?;
    let arrivals = Arrivals::new(now_ns(), plan.ramp_per_s, plan.count);
    let threads = (0..plan.threads.max(1))
        .map(|thread| {
            let (plan, live, addresses) = (plan.clone(), live.clone(), addresses.clone());
            std::thread::Builder::new()
                .name(format!("play-{thread}"))
                .spawn(move || worker::run(&plan, thread, &addresses, arrivals, &live))
                .context("cannot start a thread")
        })
        .collect::<Result<_>>()?;
    Ok(Players { outcome: Outcome::new(plan), threads, live })
}

impl Players {
    /// Whether all of them have come and gone.
    pub fn are_gone(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the plan's end and adds up what everybody got.
    pub fn finish(mut self) -> Result<Outcome> {
        for thread in self.threads {
            let part = thread.join().map_err(|_| anyhow::anyhow!("a subscriber thread panicked"))??;
            self.outcome.add(part);
        }
        Ok(self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn plan() -> Plan {
        let target = |url: &str| url.parse().unwrap();
        Plan {
            from: (2..5).map(|last| IpAddr::from([127, 0, 0, last])).collect(),
            window: (10, 40),
            phases: vec![20, 35, 40],
            ..Plan::new(vec![target("rtmp://h/live/s"), target("http://h/live/s.flv")], 100, 50)
        }
    }

    #[test]
    fn half_of_them_play_each_target_and_each_from_every_address() {
        let plan = plan();
        let pairs: BTreeSet<_> = (0..6).map(|number| plan.route(number)).collect();
        assert_eq!(pairs.len(), 6);
        assert_eq!((0..100).filter(|&number| plan.route(number).0 == 0).count(), 50);
        assert_eq!(Plan { from: Vec::new(), ..plan }.route(7), (1, None));
    }

    #[test]
    fn phases_fill_the_window() {
        let plan = plan();
        let rows = [
            (9, None),
            (10, Some(0)),
            (19, Some(0)),
            (20, Some(1)),
            (35, Some(2)),
            (39, Some(2)),
            (40, None),
        ];
        rows.iter().for_each(|&(now, phase)| assert_eq!(plan.phase(now), phase, "at {now}"));
    }
}
