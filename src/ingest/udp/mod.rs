//! Streams that come as transport streams in datagrams, by UDP or RTP, to groups or to addresses of this machine.
//!
//! An [`Input`] is a resident of one core: the publisher of its stream, fed by the sockets of its origins. What lives here:
//! the sockets of all of them, for a thread that may wait ([`Ears`]), who is listened to and the live monitor (`origin`), packets
//! to frames (`path`) and as they came (`passage`), which origin is on air (`air`). A [`Plan`] is what one is made of.
//!
//! What must stay true:
//! - All origins are listened to all the time, so that a backup is at hand; one at a time is published.
//! - A stream begins, and goes to another origin, with a frame that can be begun with, behind its configuration.
//! - Viewers stay over a change of origin like over a publisher that comes back: one clock, one seam.
//! - An input gives up nothing: sockets, joins and names are tried again every second, and what is wrong is said once.
//! - Memory is bounded whatever comes: a demultiplexer and, with RTP, a receiver a path; a monitor an origin.

mod air;
mod ear;
mod origin;
mod passage;
mod path;
mod relay;
#[cfg(test)]
mod tests;
mod view;

use crate::config::{self, Headend};
use crate::fanout::directory::{Refused, StreamName};
use crate::fanout::stream::CoreId;
use crate::media::{Demand, Frame, Mono};
use crate::observe::{DatagramRefusal, DisconnectReason, InputAbout, InputEvent, InputSlot, Notes};
use crate::proto::rtp_ts;
use crate::proto::ts::{self, Event, Output, Role};
use crate::shard::engine::Datagram;
use crate::shard::{Answer, Io, Request};
pub use relay::{Refusal, Relay, Relays};

use air::{Air, Start};
pub use ear::Ears;
use ear::Use;
use origin::{Heard, Origin};
use passage::Keep;
use path::{Path, Turn};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

/// How often figures are brought to the page.
const SECOND: Duration = Duration::from_secs(1);
/// Shortest time between two lines about what a program consists of: a sender can change that ten times a second.
const PROGRAM_LINES: Duration = Duration::from_secs(10);
/// How far ahead of that those about what is left out may be: a map tells of some of it, and frames a moment later of more.
const LEFT_OUT_AHEAD: Duration = Duration::from_secs(20);

/// An input that hears of no time for so long, of which monitors want to hear each 10 ms, was held up: what came waits.
const HELD_UP: Duration = Duration::from_millis(100);
/// An input that hears of no time for so long, of which it hears every second, was not run.
const STOOD_STILL: Duration = Duration::from_millis(1500);
/// How soon behind a line that a path is there it may have one that it is not.
const PATH_LINES: Duration = Duration::from_secs(1);

/// What an input is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    config: config::Input,
    buffer_bytes: u32,
    /// AV1 is read.
    av1: bool,
    core: CoreId,
    slot: InputSlot,
    /// Somebody watches it by its address.
    relay: bool,
}

impl Plan {
    /// What `config` says, for one of `cores` cores: always the same one, because it follows from the name.
    pub fn new(config: &config::Input, headend: &Headend, cores: CoreId) -> Plan {
        let from = config.from.iter().map(|origin| origin.to_string()).collect();
        let about = InputAbout { stream: config.stream.clone(), from, merged: config.merge };
        let slot = InputSlot::new(about, &origin::RTP_FATES, &origin::TS_FAULTS, &origin::indicators());
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&config.stream);
        let core = (hash % u64::from(cores.max(1))) as CoreId;
        Plan {
            config: config.clone(),
            buffer_bytes: headend.receive_buffer_bytes,
            av1: headend.av1,
            core,
            slot,
            relay: false,
        }
    }

    /// What a group is made of that is watched by its address, as the stream `name`, on core `core`.
    fn relay(name: &StreamName, origin: config::Origin, headend: &Headend, core: CoreId) -> Plan {
        let config = config::Input::relayed(name.to_string(), origin);
        Plan { core, relay: true, ..Plan::new(&config, headend, 1) }
    }

    /// The core that it lives on.
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// Where it is counted.
    pub fn slot(&self) -> &InputSlot {
        &self.slot
    }

    /// How many sockets it has.
    pub fn sockets(&self) -> u32 {
        ear::count(&self.config)
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Input {
    config: config::Input,
    name: StreamName,
    slot: InputSlot,
    origins: Vec<Origin>,
    paths: Vec<Path>,
    air: Air,
    /// Whether somebody reads the packets as they came.
    demand: Demand,
    /// The path on air has handed them down since it was put there, or since they were wanted.
    handing: bool,
    /// Nothing of it is made into frames.
    relay: bool,
    /// What is on air was put there for its packets: no frame of it came yet.
    frameless: bool,
    /// The name was not to be had, and that was said.
    refused: bool,
    /// Of each path it was said that there is nothing to take.
    no_program: Vec<Option<&'static str>>,
    /// Of each path, when it may have a line again about its program, and about whether it comes.
    program_line_at: Vec<Mono>,
    path_line_at: Vec<Mono>,
    /// Of each path the last line was that it comes.
    said_alive: Vec<bool>,
    notes: Notes,
    /// When the lines about what each path leaves out would have been, one each [`PROGRAM_LINES`].
    left_out_until: Vec<Mono>,
    now: Mono,
    second_at: Mono,
}

impl Input {
    /// An input that listens to nothing yet.
    pub fn new(plan: &Plan, now: Mono) -> Input {
        let (config, slot) = (plan.config.clone(), plan.slot.clone());
        let ms = Duration::from_millis;
        let failover = ms(config.failover_ms);
        let wait = if config.merge { config.reorder_ms.max(config.skew_ms) } else { config.reorder_ms };
        let fec = config.from.iter().any(|origin| origin.fec);
        let options = rtp_ts::Options { wait: ms(wait), fec };
        let read = ts::Options { program: config.program, av1: plan.av1, all: config.passes };
        let paths = if config.merge { 1 } else { config.from.len() };
        let (app, stream) = config.stream.rsplit_once('/').unwrap_or(("", &config.stream));
        let origins = config.from.iter().zip(&slot.origins);
        Input {
            name: StreamName::new(app, stream),
            origins: origins.map(|(from, m)| Origin::new(from.clone(), m.clone(), failover, now)).collect(),
            paths: (0..paths).map(|_| Path::new(read, failover, options, now).relayed(plan.relay)).collect(),
            air: Air::new(failover, config.revert_after_s.map(Duration::from_secs), now),
            demand: Demand::default(),
            handing: false,
            relay: plan.relay,
            frameless: false,
            refused: false,
            no_program: vec![None; paths],
            program_line_at: vec![Mono::ZERO; paths],
            path_line_at: vec![Mono::ZERO; paths],
            said_alive: vec![false; paths],
            notes: Notes::default(),
            left_out_until: vec![Mono::ZERO; paths],
            now,
            second_at: now + SECOND,
            config,
            slot,
        }
    }

    /// The path that an origin's datagrams go to, and as which leg.
    fn path_of(&self, origin: usize) -> (usize, usize) {
        if self.config.merge { (0, origin) } else { (origin, 0) }
    }

    /// A datagram came to socket `number`.
    pub fn handle_datagram(&mut self, now: Mono, number: u32, datagram: Datagram<'_>, io: &mut Io) {
        self.wake(now);
        let (origin, used_for) = ear::place_of(number);
        let (at, leg) = self.path_of(origin);
        let keep = self.keep(at);
        let (Some(origin), Some(path)) = (self.origins.get_mut(origin), self.paths.get_mut(at)) else {
            return;
        };
        path.keep(keep);
        let turn = match used_for {
            Use::Repair if origin.hear_repair(&datagram) => path.repair(now, datagram.payload),
            Use::Repair => Turn::No,
            Use::Media => {
                let heard = origin.hear(now, &datagram, &self.config.stream);
                if origin.take_change() && !self.config.merge {
                    path.interrupt(now);
                }
                match heard {
                    Heard::Packets => path.packets(now, datagram.payload),
                    Heard::Stitched => path.packets(now, origin.stitched()),
                    Heard::Rtp => path.rtp(leg, now, datagram.payload),
                    Heard::Nothing => Turn::No,
                }
            }
        };
        self.turned(at, turn);
        self.drain(now, at, io);
    }

    /// The core's answer.
    pub fn handle_answer(&mut self, now: Mono, answer: &Answer) {
        let stream = &self.config.stream;
        match answer {
            Answer::Publishing => {
                self.refused = false;
                let at = self.air.current();
                let origin =
                    at.and_then(|at| self.origins.get(at)).map(|origin| origin.from.place().to_string());
                self.slot.metrics.on_air.set(1);
                self.slot.metrics.origin.set(at.map_or(-1, |at| at as i64));
                tracing::info!(stream, origin, "input: on air");
                self.note("on_air", None, at);
            }
            Answer::PublishRefused(why) => {
                self.off_air();
                self.slot.metrics.claims_refused.inc();
                self.air.refused(now);
                if !std::mem::replace(&mut self.refused, true) {
                    let why = match why {
                        Refused::NameTaken => "another publisher has its name",
                        Refused::TooManyStreams => {
                            "there are as many streams as there may be (limits.streams)"
                        }
                    };
                    tracing::warn!(stream, why, "input: not published; trying again every second");
                    self.note("refused", Some(why), None);
                }
            }
            Answer::Deposed(reason) => {
                self.off_air();
                self.slot.metrics.deposed.inc();
                match reason {
                    DisconnectReason::PublisherSilent => self.air.silent(now),
                    _ => self.air.refused(now),
                }
                tracing::warn!(stream, %reason, "input: off air");
                self.note("off_air", Some(reason.as_str()), None);
            }
            Answer::Playing | Answer::PlayRefused(_) => {}
        }
    }

    /// It is `now`. A core that stood still has not read what others have sent meanwhile: it cannot know who is silent.
    fn wake(&mut self, now: Mono) {
        let gap = now.since(self.now);
        if gap >= HELD_UP {
            self.origins.iter_mut().for_each(|origin| origin.held_up(now));
        }
        if gap >= STOOD_STILL {
            self.air.wait(now);
        }
        self.now = now;
    }

    /// [`Input::deadline`] has passed.
    pub fn handle_timeout(&mut self, now: Mono, io: &mut Io) {
        self.wake(now);
        for at in 0..self.paths.len() {
            let keep = self.keep(at);
            let turn = self.paths.get_mut(at).map_or(Turn::No, |path| {
                path.keep(keep);
                path.look(now)
            });
            self.turned(at, turn);
            self.tell_path(at);
            self.drain(now, at, io);
        }
        let stream = self.config.stream.as_str();
        self.origins.iter_mut().for_each(|origin| origin.look(now, stream));
        if now >= self.second_at {
            self.second_at = now + SECOND;
            self.publish(now);
            self.live(io);
        }
    }

    /// When [`Input::handle_timeout`] is due.
    pub fn deadline(&self) -> Mono {
        let paths = self.paths.iter().map(|path| path.deadline(self.now));
        let origins = self.origins.iter().map(Origin::deadline);
        paths.chain(origins).fold(self.second_at, Mono::min)
    }

    /// The stream that it publishes.
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// Whether somebody reads what it passes on.
    fn is_read(&self) -> bool {
        self.demand.is_there()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let paths: usize = self.paths.iter().map(Path::heap_bytes).sum();
        paths + self.origins.iter().map(Origin::heap_bytes).sum::<usize>()
    }

    fn publish(&mut self, now: Mono) {
        self.notes.enter(&self.slot.diary);
        self.slot.metrics.alive.set(self.paths.iter().any(Path::is_alive).into());
        self.origins.iter_mut().for_each(|origin| origin.publish(now));
        for (path, origin) in self.paths.iter().zip(&mut self.origins) {
            origin.publish_path(&path.rtp_tally(), path.demux().tally());
        }
    }

    /// Notes for lists what has happened.
    fn note(&mut self, what: &'static str, cause: Option<&'static str>, origin: Option<usize>) {
        self.notes.add(InputEvent { at_us: self.now.as_micros(), what, cause, origin });
        self.notes.enter(&self.slot.diary);
    }

    fn off_air(&self) {
        self.slot.metrics.on_air.set(0);
        self.slot.metrics.origin.set(-1);
    }

    /// Notes what has become of a path.
    fn turned(&mut self, at: usize, turn: Turn) {
        match turn {
            Turn::No => return,
            Turn::Came => self.note("came", None, Some(at)),
            Turn::Lost => self.note("lost", None, Some(at)),
        }
        self.tell_path(at);
    }

    /// Says how a path does, if it is otherwise than was said last. One that comes and goes all the time has a line now and
    /// then, and how it does at the end of that is said.
    fn tell_path(&mut self, at: usize) {
        let Input { paths, origins, said_alive, path_line_at, .. } = self;
        let (Some(path), Some(origin)) = (paths.get(at), origins.get(at)) else { return };
        let (Some(said), Some(line_at)) = (said_alive.get_mut(at), path_line_at.get_mut(at)) else { return };
        let alive = path.is_alive();
        if *said == alive || self.now < *line_at {
            return;
        }
        *said = alive;
        let (stream, origin, on_air) =
            (&self.config.stream, origin.from.place(), self.air.current() == Some(at));
        if alive {
            *line_at = self.now + PATH_LINES;
            tracing::info!(stream, %origin, "input: its program comes");
        } else if on_air {
            tracing::warn!(stream, %origin, "input: nothing comes from the origin on air");
        } else {
            tracing::warn!(stream, %origin, "input: nothing comes from an origin");
        }
    }

    /// Takes what path `at` has brought.
    fn drain(&mut self, now: Mono, at: usize, io: &mut Io) {
        while let Some(output) = self.paths.get_mut(at).and_then(Path::poll_output) {
            match output {
                Output::Frame(..) if self.relay => {}
                Output::Frame(role, frame) => self.frame(now, at, role, frame, io),
                Output::Event(event) => self.event(now, at, event),
            }
        }
        if self.paths.get_mut(at).is_some_and(|path| path.begins_passing(now)) {
            let start = self.start(now, at);
            if start != Start::No {
                self.begin(at, start, None, io);
                self.frameless = true;
            }
        }
        self.hand_down(now, at, io);
    }

    /// What path `at` is to do with packets that are passed on.
    fn keep(&self, at: usize) -> Keep {
        match (self.demand.is_there(), self.air.current() == Some(at)) {
            (false, _) => Keep::No,
            (true, true) => Keep::All,
            (true, false) => Keep::SincePlace,
        }
    }

    /// Hands down what path `at` passes on, if it is on air and somebody reads it.
    fn hand_down(&mut self, now: Mono, at: usize, io: &mut Io) {
        if self.air.current() != Some(at) {
            return;
        }
        let wanted = self.demand.is_there();
        let Some(path) = self.paths.get_mut(at).filter(|_| wanted) else {
            self.handing = false;
            return;
        };
        if !std::mem::replace(&mut self.handing, true) {
            path.tables(now).into_iter().for_each(|run| io.ask(Request::Run(run)));
        }
        while let Some(run) = path.next_run(now) {
            io.ask(Request::Run(run));
        }
        path.keep(Keep::All);
    }

    /// Tells the core that what is on air lives though no frame of it comes.
    fn live(&mut self, io: &mut Io) {
        let on_air = self.air.current().filter(|_| self.frameless);
        if let Some(bytes) = on_air.and_then(|at| self.paths.get_mut(at)).and_then(Path::take_bytes) {
            io.ask(Request::Alive(if self.handing { 0 } else { bytes }));
        }
    }

    /// What the air makes of something to begin with of path `at`.
    fn start(&self, now: Mono, at: usize) -> Start {
        let health = |n: usize| self.paths.get(n).map(|path| path.health(now)).unwrap_or_default();
        self.air.start(now, at, health)
    }

    fn frame(&mut self, now: Mono, at: usize, role: Role, frame: Frame, io: &mut Io) {
        let Some(path) = self.paths.get_mut(at) else { return };
        if path.begins(now, role) {
            let start = self.start(now, at);
            if start != Start::No {
                self.begin(at, start, Some(&frame), io);
            }
        }
        if self.air.current() == Some(at) {
            self.frameless = false;
            io.ask(Request::Frame(frame));
        }
    }

    /// Puts path `at` on air; `frame`, if that is what it begins with, comes behind its configuration.
    fn begin(&mut self, at: usize, start: Start, frame: Option<&Frame>, io: &mut Io) {
        if let Start::Switch(reason) = start {
            let place = |at: usize| self.origins.get(at).map(|origin| origin.from.place().to_string());
            let (from, to) = (self.air.current().and_then(place), place(at));
            tracing::warn!(stream = self.config.stream, from, to, %reason, "input: another origin is put on air");
            self.slot.metrics.failovers[reason].inc();
            self.note("switched", Some(reason.as_str()), Some(at));
            io.ask(Request::Unpublish);
        }
        self.air.put(at);
        let runs = self.config.passes.then(|| self.demand.clone());
        io.ask(Request::Publish { name: self.name.clone(), runs });
        (self.handing, self.frameless) = (false, false);
        let (Some(path), Some(frame)) = (self.paths.get(at), frame) else { return };
        for (kind, body) in path.demux().configs() {
            io.ask(Request::Frame(Frame { kind, body, ..frame.clone() }));
        }
    }

    fn event(&mut self, now: Mono, at: usize, event: Event) {
        let Some(origin) = self.origins.get(at) else { return };
        let (stream, origin) = (&self.config.stream, origin.from.place());
        let missing = self.no_program.get_mut(at);
        let Some(line_at) = self.program_line_at.get_mut(at) else { return };
        match event {
            Event::Program { number, carried } => {
                missing.into_iter().for_each(|missing| *missing = None);
                if now >= *line_at {
                    *line_at = now + PROGRAM_LINES;
                    tracing::info!(stream, %origin, program = number, streams = carried, "input: program");
                }
            }
            Event::NotCarried => {
                let (Some(path), Some(until)) = (self.paths.get(at), self.left_out_until.get_mut(at)) else {
                    return;
                };
                if *until <= now + LEFT_OUT_AHEAD {
                    *until = now.max(*until) + PROGRAM_LINES;
                    let left_out = left_out(path.demux().left_out());
                    tracing::warn!(stream, %origin, left_out, "input: not carried, because frames have no place for it");
                }
            }
            Event::NoProgram { announced } => {
                self.slot.metrics.no_program.inc();
                let path = self.paths.get(at);
                let silent = path.is_none_or(|path| path.demux().tally().packets == 0);
                let alive = path.is_some_and(|path| path.health(now).alive);
                let foreign = self
                    .origins
                    .get(at)
                    .is_some_and(|origin| origin.metrics.refused[DatagramRefusal::NotTs].get() > 0);
                let why = match announced {
                    _ if silent && foreign => "what comes is no transport stream",
                    _ if silent => "no packet came yet",
                    true if !alive => "nothing of it comes any more",
                    true => "its map is missing or names nothing that can be carried",
                    false => "no table names it",
                };
                // Before the sender begins there is another reason than behind it.
                let Some(said) = missing.filter(|said| **said != Some(why)) else { return };
                if said.is_none() || now >= *line_at {
                    (*said, *line_at) = (Some(why), now + PROGRAM_LINES);
                    let program = self.config.program;
                    tracing::warn!(stream, %origin, program, why, "input: no program to take");
                    self.note("no_program", Some(why), Some(at));
                }
            }
        }
    }
}

/// Streams that are not carried, as a line of the log has them: `teletext (PID 45), DVB subtitles (PID 46)`.
fn left_out(streams: &[(u16, &'static str)]) -> String {
    let each: Vec<String> = streams.iter().map(|(pid, what)| format!("{what} (PID {pid})")).collect();
    each.join(", ")
}
