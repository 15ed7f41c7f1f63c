//! The loop of one core.
//!
//! Order of a turn: completions (bytes in, frames appended, sends over), commands of other cores, deadlines (flushes
//! among them), some of the connections that wait, then sends, at most 300 us of estimated work. A core that has nothing
//! left to do waits in its backend, and nowhere else.

use super::accept::Accepting;
use super::bells::Bells;
use super::conn::{Role, State, Table, hot};
use super::engine::{Backend, BackendStats, Completion, Key};
use super::mailbox::{Command, Mailboxes};
use super::outbox::Outbox;
use super::planted::{Bug, is_planted};
use super::publish::Homes;
use super::readers::Readers;
use super::residents::Residents;
use super::shed::Shedding;
use super::silent::Silent;
use super::timers::{Timer, Timers};
use super::{App, Counted, Io, Limits, Request};
use crate::fanout::directory::Directory;
use crate::fanout::flush::Rule;
use crate::fanout::log::{LogId, Retention};
use crate::fanout::stream::CoreId;
use crate::media::Mono;
use crate::observe::{CopyStage, CoreHistograms, CoreSlot, DisconnectReason};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Estimated work of one batch of sends, in microseconds; then reads get their turn.
pub(super) const BATCH_US: f64 = 300.0;
/// Completions of one turn.
const COMPLETIONS_PER_TURN: usize = 1024;
/// Commands of one turn.
const COMMANDS_PER_TURN: usize = 256;
/// The window of [`Limits::inbound_bytes`].
const INBOUND_WINDOW: Duration = Duration::from_secs(10);
/// Waiting replies of a subscriber, in bytes: a handful of status messages. More means that it asks without reading.
const SIDE_BYTES_MAX: usize = 2 << 10;
/// Waiting bytes of a connection that is not a subscriber.
const OUT_BYTES_MAX: usize = 64 << 10;
/// Pages of connection records whose memory is added up in one turn, once a second: 1024 records, 0.1 to 0.2 ms.
const MEASURED_PAGES: usize = 4;
/// How often a core gives unused memory back: what a crowd has left would stay until the next one.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(10);
/// How long a draining core waits for its connections.
const DRAIN: Duration = Duration::from_secs(3);

/// What all cores share.
#[derive(Debug)]
pub struct Shared {
    /// Name -> stream.
    pub directory: Directory,
    /// Wake-ups.
    pub bells: Bells,
    /// Commands.
    pub mailboxes: Mailboxes,
    /// Times and bounds.
    pub limits: Limits,
    /// The flush rule of all streams.
    pub rule: Rule,
    /// Retention of all logs.
    pub keep: Retention,
    /// Gives the calling thread's unused memory back to the system.
    pub give_back: fn(),
}

/// See the module's description.
pub struct Core<B: Backend, A: App> {
    pub(super) id: CoreId,
    pub(super) shared: Arc<Shared>,
    pub(super) backend: B,
    pub(super) app: A,
    pub(super) conns: Table<A::Peer>,
    pub(super) homes: Homes,
    pub(super) readers: Readers,
    pub(super) timers: Timers,
    pub(super) observed: CoreSlot,
    pub(super) histograms: CoreHistograms,
    pub(super) outbox: Outbox,
    /// Logs that have ended: free when their readers have been told so.
    pub(super) ended_logs: Vec<LogId>,
    /// Kept for the next flush.
    pub(super) spare_logs: Vec<LogId>,
    pub(super) accepting: Vec<Accepting>,
    pub(super) silent: Silent,
    starved: Vec<Key>,
    pub(super) residents: Residents,
    pub(super) spare_io: Io,
    backend_stats: BackendStats,
    pub(super) draining: Option<Mono>,
    pub(super) shedding: Shedding,
    busy_us: u64,
    second_at: Mono,
    turn_us_max: u64,
    give_back_at: Mono,
}

impl<B: Backend, A: App> Core<B, A> {
    /// A core without connections, whose backend has `listeners` listeners.
    pub fn new(
        id: CoreId,
        shared: Arc<Shared>,
        backend: B,
        app: A,
        listeners: usize,
        observed: CoreSlot,
    ) -> Core<B, A> {
        let now = backend.now();
        let mut timers = Timers::default();
        timers.push(now + Duration::from_secs(1), Timer::Second);
        let mut core = Core {
            id,
            conns: Table::new(shared.limits.connections, shared.limits.reserved),
            homes: Homes::default(),
            readers: Readers::default(),
            shared,
            backend,
            app,
            timers,
            observed,
            histograms: CoreHistograms::new(),
            outbox: Outbox::default(),
            ended_logs: Vec::new(),
            spare_logs: Vec::new(),
            accepting: (0..listeners).map(|_| Accepting::default()).collect(),
            silent: Silent::default(),
            starved: Vec::new(),
            residents: Residents::default(),
            spare_io: Io::default(),
            backend_stats: BackendStats::default(),
            draining: None,
            shedding: Shedding::default(),
            busy_us: 0,
            second_at: now,
            turn_us_max: 0,
            give_back_at: now + GIVE_BACK_EVERY,
        };
        (0..listeners).for_each(|listener| core.look_at_listener(listener));
        core
    }

    /// Runs until drained.
    pub fn run(mut self) -> io::Result<()> {
        self.move_in();
        loop {
            let began = self.backend.now();
            let more = self.turn(began)?;
            if self.drained(began) {
                return Ok(());
            }
            // The ring's sends are carried out here.
            self.backend.submit()?;
            let ended = self.backend.now();
            self.busy_us += ended.micros_since(began);
            self.turn_us_max = self.turn_us_max.max(ended.micros_since(began));
            self.histograms.record_turn_us(ended.micros_since(began));
            if self.rest(more) {
                self.backend.wait(self.timers.next_at())?;
                self.shared.bells.awake(self.id);
            }
        }
    }

    /// Whether the core is to wait, and others must ring from now on.
    pub(crate) fn rest(&self, more: bool) -> bool {
        let Shared { bells, mailboxes, .. } = &*self.shared;
        let level = || self.app.shedding() != self.shedding;
        !more && bells.sleep(self.id, || !mailboxes.is_empty(self.id) || level())
    }

    /// One turn; returns whether there is more to do at once.
    pub(crate) fn turn(&mut self, now: Mono) -> io::Result<bool> {
        self.backend.collect()?;
        self.observed.metrics.turns.inc();
        self.follow_shedding();
        let mut more = false;
        for key in std::mem::take(&mut self.starved) {
            self.receive(key);
        }
        let mut budget = COMPLETIONS_PER_TURN;
        while let Some(completion) = self.backend.next() {
            self.complete(now, completion);
            budget -= 1;
            if budget == 0 {
                more = true;
                break;
            }
        }
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.shared.mailboxes.take(self.id) else { break };
            self.command(now, command);
        }
        self.take_marks(now);
        for timer in self.timers.take_due(now) {
            match timer {
                Timer::Connection(key) => self.connection_due(now, key),
                Timer::Stream(id) => self.stream_due(now, id),
                Timer::Accept(listener) => self.look_at_listener(listener),
                Timer::Second => self.second(now),
            }
        }
        more |= self.take_connections(now);
        self.let_in(now);
        self.post();
        // A later clock: what this turn took so far is no part of a send.
        let now = self.backend.now();
        more |= self.sweep(now);
        self.ring();
        more |=
            !self.starved.is_empty() || !self.outbox.is_empty() || !self.shared.mailboxes.is_empty(self.id);
        Ok(more)
    }

    fn complete(&mut self, now: Mono, completion: Completion) {
        match completion {
            Completion::Received { key, buffer, last } => {
                if let Some(slot) = self.conns.get(key)
                    && last
                {
                    slot.hot.set(hot::RECEIVING, false);
                }
                self.input(now, key, buffer);
                if last {
                    self.receive(key);
                    self.release(now, key);
                }
            }
            Completion::ReceiveEnded { key, error } => {
                let Some(slot) = self.conns.get(key) else { return };
                slot.hot.set(hot::RECEIVING, false);
                let open = slot.hot.state == State::Open;
                if open && slot.cold.as_ref().is_some_and(|cold| matches!(cold.role, Role::Socket { .. })) {
                    return self.socket_stumbled(now, key, error);
                }
                match error {
                    _ if slot.hot.state != State::Open => {
                        self.close(now, key, DisconnectReason::ClientClosed)
                    }
                    None => self.close(now, key, DisconnectReason::ClientClosed),
                    Some(libc::ECONNRESET | libc::EPIPE) => {
                        self.close(now, key, DisconnectReason::ClientClosed);
                    }
                    Some(_) => self.close(now, key, DisconnectReason::IoError),
                }
            }
            Completion::ReceiveStarved { key } => {
                self.observed.metrics.receive_buffers_exhausted.inc();
                if let Some(slot) = self.conns.get(key) {
                    slot.hot.set(hot::RECEIVING, false);
                    self.starved.push(key);
                }
                self.release(now, key);
            }
            Completion::Sent { key, result } => self.sent(now, key, result),
            Completion::Knocked { listener } => self.knocked(listener),
            Completion::Woken => {}
        }
    }

    fn input(&mut self, now: Mono, key: Key, buffer: super::engine::Buffer) {
        let mut flooded = false;
        if let Some(Role::Socket { of, number, .. }) = self.role(key) {
            let (of, number) = (*of, *number);
            return self.datagram(now, of, number, buffer);
        }
        if let Some(slot) = self.conns.get(key)
            && let (State::Open, Some(cold)) = (slot.hot.state, &mut slot.cold)
        {
            let mut io = std::mem::take(&mut self.spare_io);
            let bytes = self.backend.bytes(&buffer);
            let protocol = self.app.protocol(&cold.peer);
            cold.protocol = protocol;
            self.observed.metrics.ingest_bytes[protocol].add(bytes.len() as u64);
            if matches!(cold.role, Role::Player { .. }) {
                if now.since(cold.inbound_since) > INBOUND_WINDOW {
                    (cold.inbound_since, cold.inbound_bytes) = (now, 0);
                }
                cold.inbound_bytes = cold.inbound_bytes.saturating_add(bytes.len() as u32);
                flooded = cold.inbound_bytes > self.shared.limits.inbound_bytes;
            }
            self.app.input(&mut cold.peer, now, bytes, &mut io);
            self.backend.recycle(buffer);
            self.apply(now, key, io);
        } else {
            self.backend.recycle(buffer);
        }
        if flooded {
            self.close(now, key, DisconnectReason::InboundFlood);
        }
    }

    /// Carries out what a callback left: bytes first, then requests in order.
    pub(super) fn apply(&mut self, now: Mono, key: Key, mut io: Io) {
        let mut overflow = None;
        if let Some(slot) = self.conns.get(key)
            && let Some(cold) = &mut slot.cold
        {
            cold.protocol = self.app.protocol(&cold.peer);
            if !io.out.is_empty() {
                cold.out.append(&mut io.out);
                slot.hot.set(hot::SIDE, true);
                let subscriber = matches!(cold.role, Role::Player { .. }) && slot.hot.is(hot::JOINED);
                let (most, reason) = match subscriber {
                    true => (SIDE_BYTES_MAX, DisconnectReason::InboundFlood),
                    false => (OUT_BYTES_MAX, DisconnectReason::InputLimit),
                };
                overflow = (cold.out.len() > most).then_some(reason);
            }
        }
        let mut requests = std::mem::take(&mut io.requests);
        self.spare_io = io;
        for request in requests.drain(..) {
            match request {
                Request::Publish { name, runs } => self.publish(now, key, name, runs),
                Request::Frame(frame) => self.frame(now, key, frame),
                Request::Run(run) => self.run_of(now, key, Some(run), 0),
                Request::Alive(bytes) => self.run_of(now, key, None, bytes),
                Request::Unpublish => {
                    self.unpublish(now, key);
                    self.falls_silent(key);
                }
                Request::Play { name, key: log, first } => self.play(now, key, name, log, first),
                Request::Switch(log) => self.switch(now, key, log),
                Request::Pause(paused) => self.pause(now, key, paused),
                Request::StopPlaying => {
                    self.leave(key);
                    self.falls_silent(key);
                }
                Request::Count(what, count) => match what {
                    Counted::CommandsMended => self.observed.metrics.commands_mended.add(count),
                    Counted::SplitBytes => {
                        self.observed.metrics.payload_copied_bytes[CopyStage::Split].add(count);
                    }
                },
                Request::Close(reason) => self.finish(now, key, reason),
                Request::Detach(read) => {
                    if let Some(slot) = self.conns.get(key)
                        && let Some(cold) = &mut slot.cold
                    {
                        cold.detach = Some(read);
                    }
                }
            }
        }
        if self.spare_io.requests.capacity() == 0 {
            self.spare_io.requests = requests;
        }
        if let Some(reason) = overflow {
            self.close(now, key, reason);
        }
        self.arm(key);
        self.step(now, key);
        self.release(now, key);
    }

    /// Asks a connection's peer for something and applies it.
    pub(super) fn ask(&mut self, now: Mono, key: Key, f: impl FnOnce(&mut A, &mut A::Peer, &mut Io)) {
        let mut io = std::mem::take(&mut self.spare_io);
        match self.conns.get(key) {
            Some(slot) if slot.hot.state == State::Open => {
                if let Some(cold) = &mut slot.cold {
                    f(&mut self.app, &mut cold.peer, &mut io);
                }
            }
            _ => return,
        }
        self.apply(now, key, io);
    }

    /// Asks for bytes, of the kind that the connection's role wants, if none is outstanding.
    pub(super) fn receive(&mut self, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &slot.cold else { return };
        let wanted = matches!(slot.hot.state, State::Open | State::Finishing | State::Lingering);
        let has_socket = !slot.hot.is(hot::RESIDENT);
        if !wanted || !has_socket || slot.hot.is(hot::RECEIVING) || cold.detach.is_some() {
            return;
        }
        slot.hot.set(hot::RECEIVING, true);
        match cold.role {
            Role::None if slot.hot.state == State::Open => self.backend.receive_once(key),
            Role::Socket { .. } => self.backend.receive_datagrams(key),
            _ => self.backend.receive_many(key),
        }
    }

    fn command(&mut self, now: Mono, command: Command) {
        match command {
            Command::Subscribe { stream, name, key, reader } => {
                self.subscribed(now, stream, name, key, reader)
            }
            Command::Unsubscribe { stream, log, reader } if reader == self.id => {
                self.unsubscribe_again(now, stream, log);
            }
            Command::Unsubscribe { stream, log, reader } => self.unsubscribed(now, stream, log, reader),
            Command::Opened { name, key, snapshot } => self.opened(now, name, key, snapshot),
            Command::Refused { name, key, why } => self.refused(now, name, key, why),
            Command::News { stream, log, news } => self.news(now, stream, log, news),
            Command::Published(name) => self.published(now, &name),
            Command::Surrender { stream, to, epoch } => self.surrender(now, stream, to, epoch),
            Command::Arrive { stream, hosted } => self.arrive(now, stream, hosted),
            Command::Superseded { stream, epoch } => self.superseded(now, stream, epoch),
            Command::Displaced { stream } => self.displaced(now, stream),
            Command::Listen(id, socket) => self.listen(now, id, socket),
            Command::Hush(id) => self.hush(now, id),
            // That is the clerk's.
            Command::SocketFailed { .. } => {}
            Command::Drain => {
                self.close_listeners();
                self.draining = Some(now + DRAIN);
                for key in self.conns.keys() {
                    self.dismiss(now, key);
                }
            }
        }
    }

    pub(crate) fn drained(&self, now: Mono) -> bool {
        self.draining.is_some_and(|until| self.conns.is_empty() || now >= until)
    }

    /// Sends a command, now or as soon as its box has room.
    pub(super) fn tell(&mut self, to: CoreId, command: Command) {
        self.outbox.tell(&self.shared.mailboxes, to, command);
    }

    fn post(&mut self) {
        if self.outbox.post(&self.shared.mailboxes) {
            // Whoever gets an id next tells its readers behind this.
            self.ended_logs.drain(..).for_each(|log| self.shared.directory.free_log(log));
        }
    }

    fn ring(&mut self) {
        if !is_planted(Bug::LostWakeUp) {
            let rung = self.outbox.ring(&self.shared.bells, self.id);
            self.observed.metrics.doorbells.add(rung);
        }
    }

    fn second(&mut self, now: Mono) {
        self.timers.push(now + Duration::from_secs(1), Timer::Second);
        let elapsed = now.micros_since(self.second_at).max(1);
        let metrics = self.observed.metrics.clone();
        metrics.busy.set(self.busy_us as f64 / elapsed as f64);
        metrics.loop_lag_seconds.set(self.turn_us_max as f64 / 1e6);
        (self.busy_us, self.turn_us_max, self.second_at) = (0, 0, now);
        let stats = self.backend.stats();
        metrics.ring_sqe_overflows.add(stats.submission_full - self.backend_stats.submission_full);
        metrics.ring_cqe_overflows.add(stats.completion_overflow - self.backend_stats.completion_overflow);
        self.backend_stats = stats;
        metrics.streams.set(self.homes.len() as i64);
        metrics.log_bytes.set(self.homes.held_bytes() as i64);
        metrics.pinned_bytes.set(self.readers.pinned_bytes() as i64);
        metrics.waiting_players.set(self.readers.wanted.players() as i64);
        let app = &self.app;
        self.conns.measure(MEASURED_PAGES, |peer| app.heap_bytes(peer));
        let memory = self.conns.bytes() + self.timers.bytes() + self.readers.bytes() + self.silent.bytes();
        metrics.connection_memory_bytes.set(memory as i64);
        self.enforce_pin_budget(now);
        self.close_slowest(now);
        if now >= self.give_back_at {
            self.give_back_at = now + GIVE_BACK_EVERY;
            (self.shared.give_back)();
        }
        self.histograms.publish(&self.observed.histograms);
    }
}
