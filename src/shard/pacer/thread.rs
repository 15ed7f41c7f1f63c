//! The pacer's thread: its loop, and the ticks.

use super::feed::{Index, Made, Source, sources};
use super::pace::{Pace, Step};
use super::wire::{Plain, Target, Uring, Wire};
use super::{Ahead, Channel, Lay, Outlet, TICK, Taken, To, Tray, WATCH};
use crate::fanout::log::LogId;
use crate::fanout::stream::CoreId;
use crate::media::Mono;
use crate::observe::{PacerSlot, PacerTimes};
use crate::shard::core::Shared;
use crate::shard::outbox::Outbox;
use crate::shard::runtime::{Engine, pin};
use socket2::SockAddr;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Commands of one tick.
const COMMANDS_PER_TICK: usize = 256;
/// Bytes of logs that are copied for channels for each millisecond that has passed: a fourth of what a thread copies in it, and
/// twice what 250 channels of 4 Mbit/s send, were each source sent by one. Keyframes of many channels, or sources that all come at once, are then spread
/// over ticks, for which channels have time: what they are fed leaves some tenths of a second later.
const FEED_BYTES_PER_MS: usize = 256 << 10;
/// What a channel is asked to ask for, five turns before its own, four, and so on.
const AHEAD: [Ahead; 5] = [Ahead::Own, Ahead::First, Ahead::Second, Ahead::Third, Ahead::Fourth];
/// Milliseconds that count after a stall.
const FEED_MS_MAX: u128 = 16;

/// A channel with what the pacer keeps of it.
pub(super) struct Lane<C> {
    pub channel: C,
    /// Number of its first address among all channels'.
    first: u32,
    pace: Pace,
}

/// A lane's way to the wire.
struct Desk<'a> {
    wire: &'a mut dyn Wire,
    first: u32,
}

impl Lay for Desk<'_> {
    fn lay(&mut self, bytes: usize, to: &[To], write: &mut dyn FnMut(&mut [u8])) {
        self.wire.lay(bytes, self.first, to, write);
    }
}

/// What the pacer's thread starts with.
pub struct Start<C> {
    /// Its number: that of the first core that does not exist.
    pub id: CoreId,
    /// CPU to run on; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    /// Whether sends go by io_uring.
    pub engine: Engine,
    /// Shared with the cores.
    pub shared: Arc<Shared>,
    /// The channels, each with its sockets.
    pub channels: Vec<(C, Vec<Outlet>)>,
    /// Counters.
    pub observed: Arc<PacerSlot>,
}

impl<C: Channel> Start<C> {
    /// Paces on this thread until it is told to stop.
    ///
    /// # Errors
    /// The CPU or the ring cannot be had, or the ring breaks.
    pub fn run(self) -> io::Result<()> {
        if let Some(cpu) = self.cpu {
            pin(cpu)?;
        }
        let (mut sockets, mut targets, mut lanes) = (Vec::new(), Vec::new(), Vec::new());
        for (channel, outlets) in self.channels {
            let first = targets.len() as u32;
            for outlet in outlets {
                let socket = sockets.len() as u32;
                sockets.push(outlet.socket);
                let target = |address| Target { socket, address: SockAddr::from(address) };
                targets.extend(outlet.addresses.into_iter().map(target));
            }
            lanes.push((channel, first));
        }
        let addresses = targets.len();
        let wire: Box<dyn Wire> = match self.engine {
            Engine::Uring => Box::new(Uring::new(sockets, targets)?),
            Engine::Epoll => Box::new(Plain::new(sockets, targets)),
        };
        Pacer::new(self.id, self.shared, wire, lanes, addresses, self.observed).run()
    }
}

/// See the module's description.
pub(super) struct Pacer<C> {
    pub(super) id: CoreId,
    pub(super) shared: Arc<Shared>,
    pub(super) wire: Box<dyn Wire>,
    pub(super) lanes: Vec<Lane<C>>,
    /// When each lane's next datagram is due.
    pub(super) next_at: Vec<Mono>,
    /// Lanes that have something due; kept for its memory.
    due: Vec<u32>,
    /// What the kernel took of each lane since it was told.
    taken: Vec<Taken>,
    pub(super) sources: Vec<Source>,
    pub(super) index: Index,
    pub(super) outbox: Outbox,
    /// Kept for its memory.
    pub(super) marked: Vec<LogId>,
    /// Entries that channels are just given; kept for its memory.
    pub(super) made: Vec<Made>,
    pub(super) draining: bool,
    /// The source that is fed first.
    pub(super) feed_from: usize,
    fed_at: Mono,
    /// The lane of each address.
    owners: Vec<u32>,
    /// When the next tick is due.
    tick_at: Mono,
    watch_at: Mono,
    second_at: Mono,
    times: PacerTimes,
    observed: Arc<PacerSlot>,
}

impl<C: Channel> Pacer<C> {
    /// A pacer of `channels`, each with the number of its first address among `addresses`.
    pub(super) fn new(
        id: CoreId,
        shared: Arc<Shared>,
        wire: Box<dyn Wire>,
        channels: Vec<(C, u32)>,
        addresses: usize,
        observed: Arc<PacerSlot>,
    ) -> Pacer<C> {
        let now = wire.now();
        let count = channels.len() as u64;
        let mut owners = vec![0; addresses];
        let mut lanes = Vec::with_capacity(channels.len());
        for (at, (mut channel, first)) in channels.into_iter().enumerate() {
            owners.iter_mut().skip(first as usize).for_each(|owner| *owner = at as u32);
            // Spread over the time of one datagram: channels of one rate would be due in the same tick for ever.
            let phase_us = channel.datagram_ns() * at as u64 / count.max(1) / 1000;
            channel.begin(now + Duration::from_micros(phase_us));
            let pace = Pace::new(channel.datagram_ns(), now);
            lanes.push(Lane { channel, first, pace });
        }
        let next_at = lanes.iter().map(|lane| lane.channel.next_at()).collect();
        let (sources, index) = sources(lanes.iter().map(|lane| (lane.channel.sources(), lane.channel.log())));
        Pacer {
            id,
            shared,
            wire,
            sources,
            index,
            taken: vec![Taken::default(); lanes.len()],
            lanes,
            next_at,
            due: Vec::new(),
            outbox: Outbox::default(),
            marked: Vec::new(),
            made: Vec::new(),
            draining: false,
            feed_from: 0,
            fed_at: now,
            owners,
            tick_at: now,
            watch_at: now,
            second_at: now + Duration::from_secs(1),
            times: PacerTimes::default(),
            observed,
        }
    }

    /// Runs until drained.
    fn run(mut self) -> io::Result<()> {
        let now = self.wire.now();
        (0..self.sources.len()).for_each(|at| self.seek(now, at));
        while !self.draining {
            let until = self.tick();
            self.wire.go(until)?;
        }
        self.answers();
        self.tell_taken();
        self.lanes.iter_mut().for_each(|lane| lane.channel.end());
        Ok(())
    }

    /// Takes what the kernel says of datagrams.
    fn answers(&mut self) {
        while let Some(sent) = self.wire.next() {
            let Some(owner) = self.owners.get(sent.target as usize).map(|owner| *owner as usize) else {
                continue;
            };
            match (sent.result, self.taken.get_mut(owner), self.lanes.get_mut(owner)) {
                (Ok(bytes), Some(taken), _) => {
                    taken.datagrams += 1;
                    taken.bytes += u64::from(bytes);
                }
                (Err(error), _, Some(lane)) => lane.channel.refused(sent.target - lane.first, error),
                _ => {}
            }
        }
    }

    /// Tells channels what the kernel has taken.
    fn tell_taken(&mut self) {
        for (lane, taken) in self.lanes.iter_mut().zip(&mut self.taken) {
            lane.channel.sent(std::mem::take(taken));
        }
    }

    /// One tick; returns when the next one is due.
    pub(super) fn tick(&mut self) -> Mono {
        let now = self.wire.now();
        self.times.record_lateness_us(now.micros_since(self.tick_at));
        self.observed.ticks.inc();
        self.answers();
        for _ in 0..COMMANDS_PER_TICK {
            let Some(command) = self.shared.mailboxes.take(self.id) else { break };
            self.command(now, command);
        }
        self.take_marks();
        let passed_ms = now.since(self.fed_at).as_millis().clamp(1, FEED_MS_MAX);
        self.fed_at = now;
        self.feed(now, FEED_BYTES_PER_MS * passed_ms as usize);
        if !self.draining {
            self.write(now);
        }
        if now >= self.watch_at {
            self.watch_at = now + WATCH;
            self.ask_again(now);
            self.tell_taken();
            self.lanes.iter_mut().for_each(|lane| lane.channel.watch(now));
        }
        if now >= self.second_at {
            self.second_at = now + Duration::from_secs(1);
            self.second();
        }
        self.outbox.post(&self.shared.mailboxes);
        let rung = self.outbox.ring(&self.shared.bells, self.id);
        self.observed.doorbells.add(rung);
        // The next one of the grid that is still to come.
        let passed = self.wire.now().micros_since(self.tick_at) / TICK.as_micros() as u64;
        self.tick_at = self.tick_at + TICK * (passed.min(u64::from(u32::MAX - 1)) as u32 + 1);
        self.tick_at
    }

    /// Lets every channel write what may leave now.
    fn write(&mut self, now: Mono) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let utc_s = since.map_or(0, |since| since.as_secs());
        let due = self.next_at.iter().enumerate().filter(|(_, at)| **at <= now);
        self.due.clear();
        self.due.extend(due.map(|(at, _)| at as u32));
        for turn in 0..self.due.len() + AHEAD.len() {
            for (at, what) in AHEAD.into_iter().enumerate() {
                let near = turn.checked_sub(at).and_then(|turn| self.due.get(turn));
                if let Some(lane) = near.and_then(|at| self.lanes.get(*at as usize)) {
                    lane.channel.ahead(what);
                }
            }
            let Some(at) = turn.checked_sub(AHEAD.len()).and_then(|turn| self.due.get(turn)) else {
                continue;
            };
            let (lane, next_at) = (self.lanes.get_mut(*at as usize), self.next_at.get_mut(*at as usize));
            let Some((lane, next_at)) = lane.zip(next_at) else { continue };
            let due = lane.channel.due(now);
            lane.pace.at(lane.channel.datagram_ns());
            let datagrams = match lane.pace.step(now, due) {
                Step::Write(datagrams) => datagrams,
                Step::FallBehind(datagrams) => {
                    lane.channel.fell_behind(now);
                    datagrams
                }
                Step::Jump => {
                    lane.channel.jump(now);
                    0
                }
            };
            let mut desk = Desk { wire: &mut *self.wire, first: lane.first };
            let mut tray = Tray::new(&mut desk, utc_s);
            for _ in 0..datagrams {
                lane.channel.write(now, &mut tray);
            }
            *next_at = lane.channel.next_at();
        }
    }

    fn second(&mut self) {
        self.times.publish(&self.observed.times);
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        self.observed.cpu_seconds.set(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
    }
}
