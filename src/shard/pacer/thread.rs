//! The pacer's thread: its loop, and the ticks.

use super::feed::{Source, sources};
use super::pace::{Pace, Step};
use super::wire::{Plain, Target, Uring, Wire};
use super::{Channel, Outlet, TICK, To, Tray, WATCH};
use crate::fanout::log::LogId;
use crate::fanout::stream::CoreId;
use crate::media::Mono;
use crate::observe::{PacerSlot, PacerTimes};
use crate::shard::core::Shared;
use crate::shard::outbox::Outbox;
use crate::shard::runtime::{Engine, pin};
use socket2::SockAddr;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Commands of one tick.
const COMMANDS_PER_TICK: usize = 256;
/// Bytes of logs that channels are fed for each millisecond that has passed: a fourth of what a thread copies in it, and
/// twice what 250 channels of 4 Mbit/s send. Keyframes of many channels, or sources that all come at once, are then spread
/// over ticks, for which channels have time: what they are fed leaves some tenths of a second later.
const FEED_BYTES_PER_MS: usize = 256 << 10;
/// Milliseconds that count after a stall.
const FEED_MS_MAX: u128 = 16;

/// A channel with what the pacer keeps of it.
pub(super) struct Lane<C> {
    pub channel: C,
    /// Number of its first address among all channels'.
    first: u32,
    pace: Pace,
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
    pub(super) sources: Vec<Source>,
    /// The source of each log that is followed: asked with every mark and every piece of news.
    pub(super) by_log: HashMap<LogId, usize>,
    pub(super) outbox: Outbox,
    /// Kept for its memory.
    pub(super) marked: Vec<LogId>,
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
        let sources = sources(lanes.iter().map(|lane| lane.channel.source()));
        Pacer {
            id,
            shared,
            wire,
            sources,
            by_log: HashMap::new(),
            lanes,
            outbox: Outbox::default(),
            marked: Vec::new(),
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
        self.lanes.iter_mut().for_each(|lane| lane.channel.end());
        Ok(())
    }

    /// One tick; returns when the next one is due.
    pub(super) fn tick(&mut self) -> Mono {
        let now = self.wire.now();
        self.times.record_lateness_us(now.micros_since(self.tick_at));
        self.observed.ticks.inc();
        while let Some(sent) = self.wire.next() {
            let Some(lane) =
                self.owners.get(sent.target as usize).and_then(|at| self.lanes.get_mut(*at as usize))
            else {
                continue;
            };
            lane.channel.sent(sent.target - lane.first, sent.result);
        }
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
        for at in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            let due = lane.channel.due(now);
            let datagrams = match lane.pace.step(now, due) {
                Step::Write(datagrams) => datagrams,
                Step::FallBehind(datagrams) => {
                    lane.channel.fell_behind(now);
                    datagrams
                }
                Step::Jump => {
                    lane.channel.jump(now);
                    continue;
                }
            };
            let (wire, first) = (&mut self.wire, lane.first);
            let mut lay = |datagram: &[u8], to: &[To]| wire.lay(datagram, first, to);
            let mut tray = Tray::new(&mut lay, utc_s);
            for _ in 0..datagrams {
                lane.channel.write(now, &mut tray);
            }
        }
    }

    fn second(&mut self) {
        self.times.publish(&self.observed.times);
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        self.observed.cpu_seconds.set(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9);
    }
}
