//! The whole gateway under a seed: sessions, streams, logs, cursors, the lag policy and the engine's bookkeeping run as
//! they are, on simulated cores, with simulated sockets (`shard::engine::sim`) and a clock that jumps.
//!
//! A seed decides the configuration, who publishes and watches, what comes to inputs and what of it is lost, how they read and leave, in which order the cores run,
//! and what the kernel does. Checked: every viewer's bytes, order, gaps and times (`clients::Audit`); after every turn,
//! that what is being sent is held; whenever all cores sleep, that nothing was left for one of them; at the end, that
//! every viewer was let go, every gap was counted, and nothing is left.
//!
//! `HEADGATE_SIM_SEEDS` is a number of seeds to run, `HEADGATE_SIM_SEED` the one to run again.

mod clients;
mod inputs;
mod scenes;
mod ts;

use super::gateway::{Gateway, Surroundings};
use super::shared;
use crate::config::{Config, Flush};
use crate::control::MediaPages;
use crate::edge::admission::Admission;
use crate::edge::auth::Gate;
use crate::edge::budget::Role;
use crate::edge::shed::Level;
use crate::fanout::stream::CoreId;
use crate::ingest::udp;
use crate::media::Mono;
use crate::observe::{CoreSlot, DisconnectReason, Protocol};
use crate::shard::core::{Core, Shared};
use crate::shard::engine::Backend;
use crate::shard::engine::sim::{LISTENERS, Rng, Sim, World};
use crate::shard::mailbox::Command;
use crate::shard::planted::{Bug, plant};
use clients::{End, Pace, Publisher, Viewer};
use inputs::Inputs;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 200;
/// How long publishers come and go, in microseconds.
const PLAY_US: u64 = 2_500_000;
/// Time after the last publisher in which every viewer must be let go: grace, stall and linger, and before those what a
/// viewer still gets that is just not slow enough to have stalled.
const REST_US: u64 = 70_000_000;
/// Time in which what is kept for a while after that must be gone.
const LINGER_US: u64 = 8_000_000;
/// Within which rivals for a name come.
const RIVALS_US: u64 = 1500;
/// Connections that the door takes when a crowd of those who say nothing comes, half of them of that kind; and the crowd.
const ROOM_IN_A_CROWD: u32 = 40;
const SILENT: u64 = 60;
/// Addresses that clients come from.
const ADDRESSES: usize = 5;
/// Turns within which a core drains on which nobody is but inputs.
const DRAIN_TURNS: usize = 10;
/// Turns after which a run is taken for one that spins.
const TURNS_MAX: u32 = 3_000_000;

struct SimCore {
    core: Core<Sim, Gateway>,
    slot: CoreSlot,
    asleep: bool,
}

struct Run {
    world: Rc<RefCell<World>>,
    shared: Arc<Shared>,
    cores: Vec<SimCore>,
    publishers: Vec<Publisher>,
    viewers: Vec<Viewer>,
    /// Who has not begun yet: publishers, viewers.
    unborn: (Vec<Publisher>, Vec<Viewer>),
    door: Arc<Admission>,
    /// Levels of overload still to come, the first last; there are none in most runs.
    levels: Vec<(u64, Level)>,
    /// Whether there were any.
    sheds: bool,
    inputs: Inputs,
    surroundings: Arc<Surroundings>,
    config: Arc<Config>,
    /// When those come who say nothing, the last first, and the connections of those who have.
    silent: (Vec<u64>, Vec<usize>),
    turns: u32,
}

fn config(rng: &mut Rng) -> Config {
    let mut config = Config::default();
    let fanout = &mut config.fanout;
    fanout.flush = rng.pick(&[Flush::Frame, Flush::Video, Flush::Interval]);
    fanout.flush_ms = rng.pick(&[5, 40, 350]);
    fanout.phases = rng.pick(&[1, 3, 8]);
    // A lag below the interval would make everybody skip.
    fanout.max_lag_ms = rng.pick(&[400, 1000, 3000]);
    fanout.gop_max_bytes = rng.pick(&[1 << 20, 32 << 20]);
    fanout.stall_timeout_ms = 2000;
    fanout.play_wait_ms = 1500;
    config.publish.republish_grace_ms = rng.pick(&[50, 400]);
    config.publish.takeover_after_ms = 0;
    config.limits.connections_per_core = 64;
    // With one, every newcomer under another name displaces the stream that was left, or is refused.
    config.limits.streams = rng.pick(&[1, 1, 1 << 14]);
    // Everybody is counted by address, and nobody turned away for it.
    config.limits.exempt.clear();
    config.limits.connections_per_s_per_address = 1000;
    config.limits.connections_burst_per_address = 1000;
    config.limits.viewers_per_address = 1000;
    config.limits.publishers_per_address = 1000;
    config
}

impl Run {
    fn new(seed: u64) -> Run {
        let world = World::new(seed);
        let mut rng = Rng::new(seed ^ 0xdead_beef);
        let mut config = config(&mut rng);
        // Draws of its own: what else a seed does stays what it was.
        let mut of_inputs = Rng::new(seed ^ 0x1009_0a7a);
        if of_inputs.chance(50) {
            config.inputs = Config::parse(&inputs::tables(&mut of_inputs), "a seed").expect("inputs").inputs;
            // Now and then who is there keeps the name.
            config.publish.takeover_after_ms = of_inputs.pick(&[0, 300]);
        }
        let count = rng.within(1..4) as usize;
        tracing::info!(?config.fanout, ?config.publish, cores = count, "a seed's gateway");
        let plan = |input| udp::Plan::new(input, &config.headend, count as CoreId);
        let plans: Vec<udp::Plan> = config.inputs.iter().map(plan).collect();
        let relays = Arc::new(udp::Relays::new(&config, 1, Arc::default()));
        let shared = Arc::new(shared(&config, (&plans, &relays), count, 1000, || ()).expect("eventfds"));
        let handshake = Duration::from_secs(10);
        let crowd = rng.chance(25);
        let door = Admission::new(&config.limits, if crowd { ROOM_IN_A_CROWD } else { 1 << 20 });
        let now_us = world.borrow().now_us;
        let inputs = Inputs::new(&config, &plans, (now_us, now_us + PLAY_US), &mut of_inputs);
        let config = Arc::new(config);
        let gate = Gate::new(config.clone());
        let surroundings = Arc::new(Surroundings {
            gate,
            door: door.clone(),
            limiters: Arc::default(),
            pages: MediaPages::unserved(),
            handshake,
            retry_after_s: 5,
            inputs: plans,
            relays,
        });
        let core = |id: usize| {
            let id = id as CoreId;
            let slot = CoreSlot::default();
            let backend = Sim::new(world.clone(), shared.bells.eventfd(id).expect("an eventfd"));
            let app = Gateway::new(id, surroundings.clone(), shared.clone());
            let mut core = Core::new(id, shared.clone(), backend, app, LISTENERS, slot.clone());
            core.move_in();
            SimCore { core, slot, asleep: false }
        };
        let cores = (0..count).map(core).collect();
        let (unborn, levels) = (cast(now_us, &mut rng), levels(now_us, &mut rng));
        let (publishers, viewers, sheds) = (Vec::new(), Vec::new(), !levels.is_empty());
        let mut silent: Vec<u64> =
            (0..if crowd { SILENT } else { 0 }).map(|_| now_us + rng.within(0..PLAY_US)).collect();
        silent.sort_unstable_by_key(|at_us| std::cmp::Reverse(*at_us));
        let silent = (silent, Vec::new());
        Run {
            world,
            shared,
            cores,
            publishers,
            viewers,
            unborn,
            door,
            levels,
            sheds,
            inputs,
            surroundings,
            config,
            silent,
            turns: 0,
        }
    }

    /// A connection of core and room by chance, to listener `listener`.
    fn connect(&mut self, listener: usize) -> usize {
        let at = self.world.borrow_mut().rng.within(0..self.cores.len() as u64) as usize;
        self.connect_to(at, listener)
    }

    fn connect_to(&mut self, at: usize, listener: usize) -> usize {
        let mut world = self.world.borrow_mut();
        let room = world.rng.pick(&[3000, 40_000, 250_000]);
        let (pipe, socket) = world.connect(room).expect("a descriptor");
        let address = ([192, 0, 2, (pipe % ADDRESSES) as u8], 1000 + pipe as u16).into();
        self.cores[at].core.backend_mut().connect(listener, socket, address);
        pipe
    }

    /// Clients whose moment has come.
    fn clients(&mut self) -> Result<(), String> {
        let now_us = self.world.borrow().now_us;
        while let Some((_, level)) = self.levels.pop_if(|(at_us, _)| *at_us <= now_us) {
            tracing::info!(now_us, ?level, "overload");
            self.door.set_level(Mono::from_micros(now_us), level);
            self.door.set_relief(level == Level::StopAccepting && now_us.is_multiple_of(2));
            (0..self.cores.len()).for_each(|core| _ = self.shared.bells.ring(core as CoreId));
        }
        while self.unborn.0.last().is_some_and(|p| p.next_at() <= now_us) {
            let Some(mut publisher) = self.unborn.0.pop() else { break };
            publisher.pipe = self.connect(0);
            publisher.begin(&mut self.world.borrow_mut());
            tracing::info!(now_us, ?publisher, "a publisher comes");
            self.publishers.push(publisher);
        }
        while self.unborn.1.last().is_some_and(|v| v.next_at() <= now_us) {
            let Some(mut viewer) = self.unborn.1.pop() else { break };
            viewer.pipe = self.connect(viewer.listener());
            viewer.begin(&mut self.world.borrow_mut());
            tracing::info!(now_us, pipe = viewer.pipe, pace = ?viewer.pace, name = viewer.name, "a viewer comes");
            self.viewers.push(viewer);
        }
        while self.silent.0.pop_if(|at_us| *at_us <= now_us).is_some() {
            let number = self.silent.1.len();
            let pipe = self.connect(number % LISTENERS);
            // Some begin, and never go on.
            let begun: &[u8] = [&b""[..], b"GET /", b"\x03\0\0"][number % 3];
            self.world.borrow_mut().pipes[pipe].to_server.extend(begun);
            self.silent.1.push(pipe);
        }
        let mut world = self.world.borrow_mut();
        self.inputs.step(&self.shared, &mut world)?;
        self.publishers.iter_mut().filter(|p| p.next_at() <= now_us).for_each(|p| p.step(&mut world));
        for (at, viewer) in self.viewers.iter_mut().enumerate().filter(|(_, v)| v.next_at() <= now_us) {
            let stepped = viewer.step(&mut world);
            stepped.map_err(|error| format!("viewer {at} ({:?}, {}): {error}", viewer.pace, viewer.name))?;
        }
        Ok(())
    }

    /// When a client does something next.
    fn next_client(&self) -> u64 {
        let unborn =
            [self.unborn.0.last().map(Publisher::next_at), self.unborn.1.last().map(Viewer::next_at)];
        let born =
            self.publishers.iter().map(Publisher::next_at).chain(self.viewers.iter().map(Viewer::next_at));
        let level = self.levels.last().map(|(at_us, _)| *at_us);
        let silent = self.silent.0.last().copied();
        let inputs = std::iter::once(self.inputs.next_at());
        born.chain(unborn.into_iter().flatten())
            .chain(level)
            .chain(silent)
            .chain(inputs)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Runs clients and cores up to a moment.
    fn until(&mut self, end_us: u64) -> Result<(), String> {
        while self.world.borrow().now_us < end_us {
            self.clients()?;
            let now_us = self.world.borrow().now_us;
            let due = |c: &SimCore| c.core.wakes_at().as_micros() <= now_us;
            let awake = |c: &SimCore| !c.asleep || due(c) || c.core.backend().is_ready();
            let awake: Vec<usize> = (0..self.cores.len()).filter(|at| awake(&self.cores[*at])).collect();
            if awake.is_empty() {
                if let Some(at) = self.cores.iter().position(|c| c.core.misses_a_bell()) {
                    return Err(format!("core {at} sleeps on what was left for it"));
                }
                let wakes = self.cores.iter().map(|c| c.core.wakes_at().as_micros());
                let next = wakes.min().unwrap_or(u64::MAX).min(self.next_client()).min(end_us);
                let mut world = self.world.borrow_mut();
                world.now_us = next.max(world.now_us);
                continue;
            }
            let at = self.world.borrow_mut().rng.pick(&awake);
            self.turn(at)?;
            let mut world = self.world.borrow_mut();
            world.now_us += world.rng.within(1..120);
        }
        Ok(())
    }

    fn turn(&mut self, at: usize) -> Result<(), String> {
        self.turns += 1;
        if self.turns > TURNS_MAX {
            return Err("the cores spin".to_owned());
        }
        let SimCore { core, asleep, .. } = &mut self.cores[at];
        if *asleep {
            self.shared.bells.awake(at as CoreId);
        }
        let now = core.backend().now();
        let more = core.turn(now).map_err(|error| error.to_string())?;
        core.check()?;
        *asleep = core.rest(more);
        // Who has stopped publishing is silent again, place or not.
        let (silent, most) = (self.door.count(Role::Fresh), self.door.fresh_max());
        if silent as usize > most as usize + self.publishers.len() {
            return Err(format!("{silent} connections neither publish nor play, of at most {most}"));
        }
        Ok(())
    }

    /// For who looks at one seed.
    fn show_counters(&self) {
        for (at, core) in self.cores.iter().enumerate() {
            let metrics = &core.slot.metrics;
            tracing::info!(core = at, frames = ?metrics.frames, dropped = ?metrics.frames_dropped, skips = ?metrics.lag_skips);
        }
        for viewer in &self.viewers {
            tracing::info!(pipe = viewer.pipe, over = viewer.over, audit = ?viewer.audit);
        }
    }

    fn play(&mut self) -> Result<(), String> {
        let begin_us = self.world.borrow().now_us;
        self.until(begin_us + PLAY_US + REST_US)?;
        self.check_viewers()?;
        self.until(begin_us + PLAY_US + REST_US + LINGER_US)?;
        for core in &mut self.cores {
            core.core.check_empty()?;
        }
        let left = (Role::ALL.map(|role| self.door.count(role)), self.door.counted());
        if left != ([0; Role::COUNT], 0) {
            return Err(format!("nobody is there, and the door counts {left:?}"));
        }
        if self.door.table_stats().entries == 0 && !self.viewers.is_empty() {
            return Err("no address was counted".to_owned());
        }
        self.check_counters()?;
        for at in 0..self.cores.len() {
            let sent = self.shared.mailboxes.send(at as CoreId, Command::Drain);
            sent.map_err(|_| "a full mailbox".to_owned())?;
            // What the kernel still does for a socket is over in some turns.
            let mut drains = || -> Result<bool, String> {
                self.turn(at)?;
                Ok(self.cores[at].core.drained(Mono::from_micros(self.world.borrow().now_us)))
            };
            if !(0..DRAIN_TURNS)
                .map(|_| drains())
                .find(|drained| *drained != Ok(false))
                .unwrap_or(Ok(false))?
            {
                return Err(format!("core {at} does not drain"));
            }
        }
        Ok(())
    }

    fn check_viewers(&self) -> Result<(), String> {
        if let Some(pipe) = self.silent.1.iter().find(|pipe| !self.world.borrow().pipes[**pipe].closed) {
            return Err(format!("connection {pipe} says nothing and is never let go"));
        }
        for (at, viewer) in self.viewers.iter().enumerate() {
            let who = format!("viewer {at} ({:?}, {})", viewer.pace, viewer.name);
            // A slow one may still read what its own end holds.
            if !viewer.over && !self.world.borrow().pipes[viewer.pipe].closed {
                return Err(format!("{who} is never let go"));
            }
            // Under overload it may have been closed, and publishers come when the door opens, in any order.
            let Some((publisher, _)) = viewer.audit.last[0]
                .filter(|_| viewer.pace == Pace::Fast && !viewer.audit.fickle && !self.sheds)
            else {
                continue;
            };
            let Some(last) = self.publishers.iter().find(|p| p.number == publisher) else { continue };
            // A new publisher may have cut it short.
            let later = |p: &&Publisher| p.number != last.number && p.from_us + RIVALS_US > last.from_us;
            let cut = self.publishers.iter().filter(later).any(|p| p.name == last.name)
                || self.inputs.publish(&self.config, &last.name);
            let (pictures, sounds) = (last.pictures.wrapping_sub(1), last.sounds.wrapping_sub(1));
            let whole = [Some((publisher, pictures)), Some((publisher, sounds))];
            // Who came, or skipped, to the last keyframe may be behind the last sound.
            let [picture, sound] = viewer.audit.last;
            let heard = sound.is_some_and(|(of, _)| of == publisher) && !viewer.audit.behind_key;
            if !cut && last.end != End::Reset && (picture != whole[0] || heard && sound != whole[1]) {
                return Err(format!("{who} ends at {:?}, the publisher at {whole:?}", viewer.audit.last));
            }
        }
        Ok(())
    }

    fn check_counters(&self) -> Result<(), String> {
        let total = |cell: &dyn Fn(&CoreSlot) -> u64| self.cores.iter().map(|c| cell(&c.slot)).sum::<u64>();
        let accepted = total(&|slot| slot.metrics.connections_accepted.get());
        let ended = total(&|slot| {
            slot.metrics.disconnects.iter().flat_map(|(_, by)| by.iter()).map(|(_, n)| n.get()).sum()
        });
        let refused = total(&|slot| slot.metrics.connections_refused.iter().map(|(_, n)| n.get()).sum());
        if accepted != ended + refused {
            return Err(format!("{accepted} accepted, {ended} ended, {refused} refused"));
        }
        let skips = total(&|slot| slot.metrics.lag_skips.iter().map(|(_, n)| n.get()).sum());
        let gaps: u64 = self.viewers.iter().map(|v| u64::from(v.audit.skips)).sum();
        if gaps > skips {
            return Err(format!("viewers saw {gaps} gaps, {skips} are counted"));
        }
        Ok(())
    }
}

/// Now and then the machine is said to be at its end, up to four times and for a while, but not for ever.
fn levels(now_us: u64, rng: &mut Rng) -> Vec<(u64, Level)> {
    if !rng.chance(25) {
        return Vec::new();
    }
    let mut at_us: Vec<u64> = (0..rng.within(1..5)).map(|_| now_us + rng.within(0..PLAY_US)).collect();
    at_us.sort_unstable();
    let some = at_us.into_iter().map(|at_us| (at_us, rng.pick(&Level::ALL)));
    let mut levels: Vec<_> = some.chain([(now_us + PLAY_US, Level::Open)]).collect();
    levels.reverse();
    levels
}

/// Who comes, the first last.
fn cast(now_us: u64, rng: &mut Rng) -> (Vec<Publisher>, Vec<Viewer>) {
    let names = &["a", "b"][..rng.within(1..3) as usize];
    let (mut publishers, mut viewers) = (Vec::new(), Vec::new());
    for name in names {
        let mut from_us = now_us + rng.within(0..300_000);
        while from_us < now_us + PLAY_US - 200_000 {
            let until_us = (from_us + rng.within(100_000..1_500_000)).min(now_us + PLAY_US);
            let number = publishers.len() as u16;
            publishers.push(Publisher::new(number, name, usize::MAX, (from_us, until_us), rng));
            // Now and then several want the name at once, and most of them lose it again at once.
            for rival in 0..if rng.chance(25) { rng.within(1..4) } else { 0 } {
                let at_us = from_us + rng.within(0..RIVALS_US);
                let number = number + 1 + rival as u16;
                publishers.push(Publisher::new(number, name, usize::MAX, (at_us, until_us), rng));
            }
            // Within the grace, after it, or before the other is gone.
            from_us = match rng.within(0..3) {
                0 => until_us + rng.within(1000..40_000),
                1 => until_us + rng.within(100_000..600_000),
                _ => until_us.saturating_sub(rng.within(1000..90_000)).max(from_us + 60_000),
            };
        }
        for _ in 0..rng.within(1..6) {
            let at_us = now_us + rng.within(0..PLAY_US);
            let later = at_us + rng.within(0..1_000_000);
            let pace = match rng.within(0..8) {
                0 => Pace::Slow(rng.within(1..200)),
                1 => Pace::Stalls(later),
                2 => Pace::Pauses(later, later + rng.within(100_000..1_500_000)),
                3 => Pace::Resets(later),
                _ => Pace::Fast,
            };
            let viewer = Viewer::new(name, usize::MAX, pace, rng.chance(50), at_us);
            let viewer = if rng.chance(33) { viewer.over_ts() } else { viewer };
            viewers.push(if rng.chance(25) { viewer.with_whims(rng) } else { viewer });
        }
    }
    publishers.sort_by_key(|p| std::cmp::Reverse(p.next_at()));
    viewers.sort_by_key(|v| std::cmp::Reverse(v.next_at()));
    (publishers, viewers)
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Frames that viewers got.
    frames: u64,
    /// Packets of transport streams among these.
    packets: u64,
    /// Streams that made room.
    displaced: u64,
    /// Connections that made room, because they said nothing.
    silenced: u64,
    /// Frames of inputs that viewers got.
    of_inputs: u64,
    /// Times that an input went to its backup, that it lost its name, and that it did not get it.
    failovers: u64,
    deposed: u64,
    refused: u64,
}

impl std::iter::Sum for Seen {
    fn sum<I: Iterator<Item = Seen>>(all: I) -> Seen {
        all.fold(Seen::default(), |sum, one| Seen {
            frames: sum.frames + one.frames,
            packets: sum.packets + one.packets,
            displaced: sum.displaced + one.displaced,
            silenced: sum.silenced + one.silenced,
            of_inputs: sum.of_inputs + one.of_inputs,
            failovers: sum.failovers + one.failovers,
            deposed: sum.deposed + one.deposed,
            refused: sum.refused + one.refused,
        })
    }
}

/// Plays one seed; what it found, or how much happened.
fn play(seed: u64) -> Result<Seen, String> {
    let result = std::panic::catch_unwind(|| {
        let mut run = Run::new(seed);
        let result = run.play();
        run.show_counters();
        let frames = run.viewers.iter().map(|v| u64::from(v.audit.frames)).sum();
        let displaced = run.cores.iter().map(|c| c.slot.metrics.streams_displaced.get()).sum();
        let packets = run.viewers.iter().map(Viewer::packets).sum();
        let silenced = run.cores.iter().flat_map(|c| {
            Protocol::ALL.map(|p| c.slot.metrics.disconnects[p][DisconnectReason::Displaced].get())
        });
        let silenced = silenced.sum();
        let of_inputs = run.viewers.iter().map(|v| u64::from(v.audit.of_inputs)).sum();
        let metrics = || run.surroundings.inputs.iter().map(|plan| &plan.slot().metrics);
        let failovers = metrics().flat_map(|m| m.failovers.iter()).map(|(_, n)| n.get()).sum();
        let deposed = metrics().map(|m| m.deposed.get()).sum();
        let refused = metrics().map(|m| m.claims_refused.get()).sum();
        result.map(|()| Seen { frames, packets, displaced, silenced, of_inputs, failovers, deposed, refused })
    });
    let panicked = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    };
    result.unwrap_or_else(|panic| Err(panicked(panic)))
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("HEADGATE_SIM_SEED") {
        Some(seed) => {
            show_log();
            seed..seed + 1
        }
        None => 0..number("HEADGATE_SIM_SEEDS").unwrap_or(SEEDS),
    }
}

/// One seed alone is played to be looked at: with the gateway's log.
fn show_log() {
    let shown = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time();
    // Fails if another test of this process did the same.
    let _already = shown.with_writer(std::io::stderr).try_init();
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let play_some = |first: usize| {
        let run = |seed| {
            play(seed).unwrap_or_else(|error| {
                panic!("seed {seed}: {error}\n  again: cargo xtask sim --seed {seed}")
            })
        };
        seeds.clone().skip(first).step_by(threads).map(run).sum::<Seen>()
    };
    let seen: Seen = std::thread::scope(|scope| {
        let play_some = &play_some;
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || play_some(first))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a seed that breaks nothing")).sum()
    });
    println!("{count} seeds: {seen:?}");
    assert!(seen.frames > 20 * count, "{} frames: the simulation shows nothing", seen.frames);
    assert!(seen.packets > 20 * count || count < SEEDS, "{} packets: nobody watches HTTP-TS", seen.packets);
    assert!(seen.of_inputs > 5 * count || count < SEEDS, "{} frames: nobody watches inputs", seen.of_inputs);
    let turns = [seen.failovers, seen.deposed, seen.refused];
    assert!(turns.iter().all(|turns| *turns > 0) || count < SEEDS, "{turns:?}: inputs have no adventures");
    assert!(seen.silenced > 0 || count < SEEDS, "nobody who says nothing has made room for another");
}

/// The first seed that finds a planted bug, and what it says.
fn found(bug: Bug) -> (u64, String) {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| play(seed).err().map(|error| (seed, error)));
    plant(None);
    found.unwrap_or_else(|| panic!("{bug:?} is not found within {SEEDS} seeds"))
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::EarlyEviction, Bug::LostWakeUp, Bug::DoubledOffset] {
        let (seed, error) = found(bug);
        println!("{bug:?}: seed {seed}: {error}");
    }
}
