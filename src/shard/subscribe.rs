//! The subscribers of this core: which logs they read, where they start, how they leave.

use super::conn::{Flight, NONE, Role, State, hot};
use super::core::Core;
use super::engine::{Backend, Key};
use super::mailbox::Command;
use super::{Answer, App, PlayRefused, Preface, Request};
use crate::fanout::directory::{StreamId, StreamName, StreamStats};
use crate::fanout::log::{Feed, JoinPoint, LogId, LogKey, LogSnapshot, Pos};
use crate::fanout::stream::CoreId;
use crate::fanout::view::View;
use crate::media::Mono;
use crate::media::config_set::ConfigSet;
use crate::observe::DisconnectReason;
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Players of one log that are let in in one turn: each costs a send or two.
const JOINERS_PER_TURN: usize = 64;
/// Over the budget of pinned bytes, readers that are within this of the slowest go together.
const PIN_SWEEP: Duration = Duration::from_secs(1);

/// Subscribers of one phase, and how many of them this sweep still has to visit.
#[derive(Debug, Default)]
pub(super) struct Phase {
    pub members: Vec<u32>,
    pub next: usize,
    pub todo: usize,
}

/// A log as this core reads it, with everybody who reads it.
#[derive(Debug)]
pub(super) struct Reader {
    pub name: StreamName,
    pub key: LogKey,
    pub stream: StreamId,
    home: CoreId,
    stats: Arc<StreamStats>,
    /// `None` until the home has answered.
    pub view: Option<View>,
    pub phases: Vec<Phase>,
    pub slot_rung: u64,
    pub queued: bool,
    /// Connections that wait for the view or a join point.
    pub joiners: Vec<Key>,
    /// Connections that wait for a join point to change to this log.
    pub changers: Vec<Key>,
    /// Connections whose [`Role::Player`] names this reader as the next: changers, and those whose change is planned.
    pub expected: u32,
    /// The join point that nobody on those lists waits for any more.
    pub settled: Option<Pos>,
    /// The newest configuration seen here.
    newest: Option<Arc<ConfigSet>>,
    /// Prefaces of the newest join point: of a start, of a resumption.
    prefaces: [Option<(Pos, Bytes)>; 2],
    goodbye: Option<Bytes>,
}

impl Reader {
    /// Whoever reads it is visited by the next sweep.
    pub fn all_have_a_turn(&mut self) {
        self.phases.iter_mut().for_each(|phase| phase.todo = phase.members.len());
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Readers {
    list: Vec<Option<Reader>>,
    free: Vec<u32>,
    by_key: HashMap<(StreamName, LogKey), u32>,
    by_log: HashMap<LogId, u32>,
    /// Names that nobody publishes yet, and who waits.
    wanted: HashMap<StreamName, HashSet<Key>>,
    /// Readers with sends to make, in turn.
    pub queue: VecDeque<u32>,
    /// Connections whose turn the sweep may have missed, each once ([`hot::LATER`]).
    later: VecDeque<Key>,
    /// Readers with more joiners than one turn lets in.
    crowds: VecDeque<u32>,
}

impl Readers {
    pub fn get(&mut self, at: u32) -> Option<&mut Reader> {
        self.list.get_mut(at as usize)?.as_mut()
    }

    pub fn pinned_bytes(&self) -> u64 {
        self.list.iter().flatten().filter_map(|r| r.view.as_ref()).map(View::pinned_evicted_bytes).sum()
    }

    /// Bytes of the lists of subscribers.
    pub fn bytes(&self) -> usize {
        let members =
            |r: &Reader| r.phases.iter().map(|p| p.members.capacity() * size_of::<u32>()).sum::<usize>();
        let waiting = |r: &Reader| (r.joiners.capacity() + r.changers.capacity()) * size_of::<Key>();
        self.list.iter().flatten().map(|r| members(r) + waiting(r)).sum()
    }

    /// Readers that are open.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.list.iter().flatten().count()
    }

    /// Players that wait for a name.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.wanted.values().map(HashSet::len).sum()
    }

    fn insert(&mut self, reader: Reader) -> u32 {
        let name = (reader.name.clone(), reader.key);
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.list.push(None);
                (self.list.len() - 1) as u32
            }
        };
        self.by_key.insert(name, at);
        if let Some(place) = self.list.get_mut(at as usize) {
            *place = Some(reader);
        }
        at
    }
}

impl<B: Backend, A: App> Core<B, A> {
    /// A connection wants to be a subscriber.
    pub(super) fn play(&mut self, now: Mono, key: Key, name: StreamName, log: LogKey, first: Option<LogKey>) {
        let give_up_at = now + self.shared.limits.play_wait;
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        if slot.hot.state != State::Open || !matches!(cold.role, Role::None) {
            return;
        }
        if slot.hot.flight == Flight::Run {
            return self.close(now, key, DisconnectReason::ProtocolError);
        }
        cold.role = Role::Player {
            name: name.clone(),
            key: first.unwrap_or(log),
            target: log,
            give_up_at,
            next: None,
            asked_at: now,
            leave: None,
        };
        cold.inbound_since = now;
        self.observed.metrics.subscribers[cold.protocol].inc();
        self.seek(now, key, name);
        self.watch_stall(now, key);
        self.arm(key);
    }

    /// Finds the log for a player, and the one it wants beyond that, or lets it wait for the name.
    fn seek(&mut self, now: Mono, key: Key, name: StreamName) {
        let Some(Role::Player { key: log, target, .. }) = self.role(key) else { return };
        let (log, target) = (*log, *target);
        if !self.wait_at(now, &name, log, key, false) {
            self.readers.wanted.entry(name).or_default().insert(key);
        } else if log != target {
            self.switch(now, key, target);
        }
    }

    pub(super) fn role(&mut self, key: Key) -> Option<&mut Role> {
        Some(&mut self.conns.get(key)?.cold.as_mut()?.role)
    }

    /// Puts a connection on the list of those who wait to join a log, or to change to it. The log is asked for at its
    /// home if need be. False if there is no such stream.
    pub(super) fn wait_at(
        &mut self,
        now: Mono,
        name: &StreamName,
        log: LogKey,
        conn: Key,
        change: bool,
    ) -> bool {
        let known = self.readers.by_key.get(&(name.clone(), log)).copied();
        let Some(at) = known.or_else(|| self.new_reader(now, name, log)) else { return false };
        if change && let Some(Role::Player { next, .. }) = self.role(conn) {
            *next = Some(at);
        }
        let Some(reader) = self.readers.get(at) else { return false };
        if change {
            reader.changers.push(conn);
            reader.expected += 1;
        } else {
            reader.joiners.push(conn);
        }
        reader.settled = None;
        if known.is_some() {
            self.settle(now, at);
            self.abandon(at);
            return true;
        }
        // Only now, with somebody on the list, may the answer come.
        let (stream, home) = (reader.stream, reader.home);
        if home == self.id {
            self.subscribed(now, stream, name.clone(), log, home);
        } else {
            self.tell(home, Command::Subscribe { stream, name: name.clone(), key: log, reader: self.id });
        }
        true
    }

    /// A reader without a view. `None` if there is no such stream.
    fn new_reader(&mut self, now: Mono, name: &StreamName, key: LogKey) -> Option<u32> {
        let (stream, home, stats) = self.shared.directory.find(name)?;
        let phases = (0..self.shared.rule.phases()).map(|_| Phase::default()).collect();
        Some(self.readers.insert(Reader {
            name: name.clone(),
            key,
            stream,
            home,
            stats,
            view: None,
            phases,
            slot_rung: self.shared.rule.slot_at(now),
            queued: false,
            joiners: Vec::new(),
            changers: Vec::new(),
            expected: 0,
            newest: None,
            settled: None,
            prefaces: [None, None],
            goodbye: None,
        }))
    }

    pub(super) fn opened(&mut self, now: Mono, name: StreamName, key: LogKey, snapshot: LogSnapshot) {
        let Some(at) = self.readers.by_key.get(&(name, key)).copied() else { return };
        let Some(reader) = self.readers.get(at) else { return };
        if reader.view.is_some() {
            return;
        }
        let id = snapshot.shared.id;
        reader.newest = snapshot.join.as_ref().map(|j| j.config.clone());
        reader.view = Some(View::new(snapshot));
        self.readers.by_log.insert(id, at);
        self.look(now, id);
    }

    pub(super) fn refused(&mut self, now: Mono, name: StreamName, key: LogKey, gone: bool) {
        let Some(at) = self.readers.by_key.get(&(name.clone(), key)).copied() else { return };
        let Some(reader) = self.readers.get(at) else { return };
        if reader.view.is_some() {
            return;
        }
        let joiners = std::mem::take(&mut reader.joiners);
        let changers = std::mem::take(&mut reader.changers);
        self.drop_reader(at);
        for conn in changers {
            self.forget_change(conn);
            if gone && let Some(Role::Player { target, .. }) = self.role(conn) {
                let target = *target;
                self.switch(now, conn, target);
            }
        }
        for conn in joiners {
            if gone {
                self.seek(now, conn, name.clone());
            } else {
                self.refuse(now, conn, PlayRefused::TooManyVariants);
            }
        }
    }

    /// A name has its first publisher.
    pub(super) fn published(&mut self, now: Mono, name: &StreamName) {
        let Some(waiting) = self.readers.wanted.remove(name) else { return };
        for key in waiting {
            self.seek(now, key, name.clone());
        }
    }

    /// News from a log's home.
    pub(super) fn news(&mut self, now: Mono, stream: StreamId, log: LogId, news: Vec<Feed>) {
        let Some(at) = self.readers.by_log.get(&log).copied() else { return };
        // The id may serve another stream by now.
        let Some(reader) = self.readers.get(at).filter(|r| r.stream == stream) else { return };
        let Some(view) = &mut reader.view else { return };
        let mut ended = false;
        for piece in news {
            ended |= matches!(piece, Feed::End);
            if let Feed::Join(Some(join)) = &piece {
                reader.newest = Some(join.config.clone());
            }
            view.feed(piece);
        }
        if ended {
            // The name may be published anew at once: that is another stream.
            let name = (reader.name.clone(), reader.key);
            self.readers.by_key.remove(&name);
        }
        // The mark may have been taken before the news came.
        self.look(now, log);
    }

    /// Takes the marks that other cores left.
    pub(super) fn take_marks(&mut self, now: Mono) {
        let mut logs = Vec::new();
        self.shared.bells.take(self.id, |log| logs.push(log));
        for log in logs {
            self.look(now, log);
        }
    }

    /// A log was flushed: whoever reads it gets a turn.
    pub(super) fn look(&mut self, now: Mono, log: LogId) {
        let rule = self.shared.rule;
        let Some(at) = self.readers.by_log.get(&log).copied() else { return };
        let Some(reader) = self.readers.get(at) else { return };
        let Some(view) = &mut reader.view else { return };
        let moved = view.refresh();
        let ended = view.ended();
        let phases = rule.phases() as u64;
        if phases == 1 || ended {
            if moved || ended {
                reader.all_have_a_turn();
            }
        } else {
            // The turn may have begun just before the slot that the home rings in.
            let slot = rule.slot_at(now.max(view.shared().flushed_at()));
            let from = reader.slot_rung.max(slot.saturating_sub(phases)) + 1;
            for rung in from..=slot {
                if let Some(phase) = reader.phases.get_mut((rung % phases) as usize) {
                    phase.todo = phase.members.len();
                }
            }
            reader.slot_rung = slot;
        }
        self.enqueue(at);
        self.settle(now, at);
        self.abandon(at);
    }

    /// Gives a connection a turn in the next sweep.
    pub(super) fn step_later(&mut self, key: Key) {
        if let Some(slot) = self.conns.get(key)
            && !slot.hot.is(hot::LATER)
        {
            slot.hot.set(hot::LATER, true);
            self.readers.later.push_back(key);
        }
    }

    /// The next connection that [`Core::step_later`] was asked for.
    pub(super) fn next_later(&mut self) -> Option<Key> {
        let key = self.readers.later.pop_front()?;
        if let Some(slot) = self.conns.get(key) {
            slot.hot.set(hot::LATER, false);
        }
        Some(key)
    }

    /// Lets the next of a crowd of joiners in.
    pub(super) fn let_in(&mut self, now: Mono) {
        for _ in 0..self.readers.crowds.len() {
            let Some(at) = self.readers.crowds.pop_front() else { return };
            self.settle(now, at);
            self.abandon(at);
        }
    }

    /// Whether connections wait for a sweep.
    pub(super) fn sweep_waits(&self) -> bool {
        let Readers { later, queue, crowds, .. } = &self.readers;
        !later.is_empty() || !queue.is_empty() || !crowds.is_empty()
    }

    pub(super) fn enqueue(&mut self, at: u32) {
        if let Some(reader) = self.readers.get(at)
            && !reader.queued
            && reader.phases.iter().any(|p| p.todo > 0)
        {
            reader.queued = true;
            self.readers.queue.push_back(at);
        }
    }

    /// Lets joiners and changers in if there is a join point.
    fn settle(&mut self, now: Mono, at: u32) {
        let Some(reader) = self.readers.get(at) else { return };
        let Some(view) = &reader.view else { return };
        if reader.joiners.is_empty() && reader.changers.is_empty() {
            return;
        }
        if view.ended() {
            for key in std::mem::take(&mut reader.joiners) {
                self.refuse(now, key, PlayRefused::NotFound);
            }
            return;
        }
        let Some(join) = view.join().filter(|j| reader.settled != Some(j.pos)).cloned() else { return };
        let Some(born) = view.entry(join.pos) else { return };
        reader.settled = Some(join.pos);
        // It stays while they are let in, whatever the first of them does.
        reader.expected += 1;
        let later = reader.joiners.split_off(reader.joiners.len().min(JOINERS_PER_TURN));
        let joiners = std::mem::replace(&mut reader.joiners, later);
        if !reader.joiners.is_empty() {
            reader.settled = None;
            self.readers.crowds.push_back(at);
        }
        let Some(reader) = self.readers.get(at) else { return };
        let changers = std::mem::take(&mut reader.changers);
        for key in joiners {
            self.join(now, key, at, &join);
        }
        for key in changers {
            self.plan_change(now, key, at, &join, born);
        }
        self.unexpect(at);
    }

    /// The subscription begins at `join`.
    pub(super) fn join(&mut self, now: Mono, key: Key, at: u32, join: &JoinPoint) {
        self.ask(now, key, |app, peer, io| app.answer(peer, now, Answer::Playing, io));
        // What the client sent behind its request was heard just now: it may have stopped, or asked for another log.
        let log = self.readers.get(at).map(|r| r.key);
        let Some(slot) = self.conns.get(key) else { return };
        let waits = !slot.hot.is(hot::JOINED) && slot.hot.state == State::Open;
        match slot.cold.as_ref().map(|c| &c.role) {
            Some(Role::Player { key: wanted, .. }) if waits && Some(*wanted) == log => {}
            _ => return,
        }
        let preface = self.preface(at, join, true);
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        if let Role::Player { give_up_at, .. } = &mut cold.role {
            *give_up_at = Mono::NEVER;
        }
        cold.preface = Some(preface);
        slot.hot.set(hot::SIDE | hot::JOINED, true);
        if !self.enter(key, at, join) {
            return self.close(now, key, DisconnectReason::Lag);
        }
        if let Some(reader) = self.readers.get(at) {
            let protocol = self.conns.get(key).and_then(|s| s.cold.as_ref()).map(|c| c.protocol);
            if let Some(viewers) = protocol.and_then(|p| reader.stats.viewers.get(p.index())) {
                viewers.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.step(now, key);
    }

    /// Puts the connection's cursor at `join` and the connection on the reader's list. False if that place is evicted.
    #[must_use]
    pub(super) fn enter(&mut self, key: Key, at: u32, join: &JoinPoint) -> bool {
        let Some(reader) = self.readers.get(at) else { return false };
        let Some(cursor) = reader.view.as_ref().and_then(|v| v.cursor_at(join.pos)) else { return false };
        let phases = reader.phases.iter_mut().enumerate();
        let Some((index, phase)) = phases.min_by_key(|(_, phase)| phase.members.len()) else { return false };
        let Some(slot) = self.conns.get(key) else { return false };
        if slot.hot.flight == Flight::Run || slot.hot.member != NONE {
            // Its completion must find the reader that it is pinned in.
            return false;
        }
        if phase.todo > 0 {
            // Or the sweep that is under way would visit it in place of an older member.
            phase.todo += 1;
        }
        slot.hot.member = phase.members.len() as u32;
        phase.members.push(key.slot);
        (slot.hot.reader, slot.hot.phase, slot.hot.cursor) = (at, index as u8, cursor);
        slot.hot.config_epoch = join.config.epoch;
        true
    }

    /// What goes in front of `join`, built once for all who start (or resume) there.
    pub(super) fn preface(&mut self, at: u32, join: &JoinPoint, start: bool) -> Bytes {
        let Some(reader) = self.readers.get(at) else { return Bytes::new() };
        let Some(place) = reader.prefaces.get_mut(usize::from(!start)) else { return Bytes::new() };
        if let Some((pos, bytes)) = place
            && *pos == join.pos
        {
            return bytes.clone();
        }
        let newest: &ConfigSet = reader.newest.as_deref().unwrap_or(&join.config);
        let bytes = self.app.preface(Preface { name: &reader.name, key: reader.key, join, newest, start });
        *place = Some((join.pos, bytes.clone()));
        bytes
    }

    /// What follows the last entry.
    pub(super) fn goodbye(&mut self, at: u32) -> Bytes {
        let Some(reader) = self.readers.get(at) else { return Bytes::new() };
        let (app, name, key) = (&mut self.app, &reader.name, reader.key);
        reader.goodbye.get_or_insert_with(|| app.goodbye(name, key)).clone()
    }

    /// A player has waited long enough.
    pub(super) fn give_up(&mut self, now: Mono, key: Key) {
        self.refuse(now, key, PlayRefused::NotFound);
    }

    fn refuse(&mut self, now: Mono, key: Key, why: PlayRefused) {
        if let Some(Role::Player { give_up_at, .. }) =
            self.conns.get(key).and_then(|s| s.cold.as_mut()).map(|c| &mut c.role)
        {
            *give_up_at = Mono::NEVER;
        }
        self.leave(key);
        self.ask(now, key, |app, peer, io| {
            app.answer(peer, now, Answer::PlayRefused(why), io);
            let reason = match why {
                PlayRefused::NotFound => DisconnectReason::NotFound,
                PlayRefused::TooManyVariants => DisconnectReason::Limit,
            };
            io.ask(Request::Close(reason));
        });
    }

    pub(super) fn pause(&mut self, now: Mono, key: Key, paused: bool) {
        let Some(slot) = self.conns.get(key) else { return };
        slot.hot.set(hot::PAUSED, paused);
        slot.hot.set(hot::RESUME, !paused);
        self.step(now, key);
    }

    /// The connection is no subscriber any more; a send that is in flight goes on.
    pub(super) fn leave(&mut self, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        let joined = slot.hot.is(hot::JOINED);
        let at = slot.hot.reader;
        let Some(cold) = &mut slot.cold else { return };
        if !matches!(cold.role, Role::Player { .. }) {
            return;
        }
        let protocol = cold.protocol;
        cold.preface = None;
        self.observed.metrics.subscribers[protocol].dec();
        if joined
            && let Some(reader) = self.readers.get(at)
            && let Some(viewers) = reader.stats.viewers.get(protocol.index())
        {
            viewers.fetch_sub(1, Ordering::Relaxed);
        }
        self.leave_lists(key);
        if joined {
            self.leave_members(key);
        }
        let Some(slot) = self.conns.get(key) else { return };
        slot.hot.set(hot::JOINED | hot::PAUSED | hot::RESUME | hot::WANT, false);
        if slot.hot.flight != Flight::Run {
            slot.hot.reader = NONE;
        }
        let role = slot.cold.as_mut().map(|c| std::mem::take(&mut c.role));
        if let Some(Role::Player { next: Some(next), .. }) = role {
            self.unexpect(next);
            self.abandon(next);
        }
        self.abandon(at);
    }

    /// Takes the connection off the lists of those who wait.
    pub(super) fn leave_lists(&mut self, key: Key) {
        let Some(Role::Player { name, key: log, next, .. }) =
            self.conns.get(key).and_then(|s| s.cold.as_ref()).map(|c| &c.role)
        else {
            return;
        };
        let (name, log, next) = (name.clone(), *log, *next);
        if let Some(waiting) = self.readers.wanted.get_mut(&name) {
            waiting.remove(&key);
            if waiting.is_empty() {
                self.readers.wanted.remove(&name);
            }
        }
        if let Some(next) = next
            && let Some(reader) = self.readers.get(next)
        {
            reader.changers.retain(|k| *k != key);
        }
        if let Some(at) = self.readers.by_key.get(&(name, log)).copied()
            && let Some(reader) = self.readers.get(at)
        {
            reader.joiners.retain(|k| *k != key);
            self.abandon(at);
        }
    }

    /// Takes the connection off its phase.
    pub(super) fn leave_members(&mut self, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        let (at, phase, member) = (slot.hot.reader, slot.hot.phase, slot.hot.member as usize);
        slot.hot.member = NONE;
        let Some(phase) = self.readers.get(at).and_then(|r| r.phases.get_mut(usize::from(phase))) else {
            return;
        };
        if phase.members.get(member) != Some(&key.slot) {
            return;
        }
        phase.members.swap_remove(member);
        phase.todo = phase.todo.min(phase.members.len());
        if let Some(moved) = phase.members.get(member).copied()
            && let Some(slot) = self.conns.at(moved)
        {
            slot.hot.member = member as u32;
            // The sweep may have been past this place but not past its old one.
            slot.hot.set(hot::WANT, true);
            let generation = slot.hot.generation;
            self.step_later(Key { slot: moved, generation });
        }
    }

    /// Drops a reader that nobody uses.
    pub(super) fn abandon(&mut self, at: u32) {
        let own = self.id;
        let Some(reader) = self.readers.get(at) else { return };
        let used = !reader.joiners.is_empty()
            || reader.expected > 0
            || reader.phases.iter().any(|p| !p.members.is_empty());
        let Some(view) = &reader.view else { return };
        if used || view.pinned() {
            return;
        }
        let (stream, home, log) = (reader.stream, reader.home, view.shared().id);
        let ended = view.ended();
        // The stream may have moved since.
        let home = self.shared.directory.find(&reader.name).filter(|f| f.0 == stream).map_or(home, |f| f.1);
        // The id may serve another log by now.
        if self.readers.by_log.get(&log) == Some(&at) {
            self.readers.by_log.remove(&log);
        }
        self.drop_reader(at);
        if ended {
            return;
        }
        if home == own {
            self.unsubscribed(self.backend.now(), stream, log, own);
        } else {
            self.tell(home, Command::Unsubscribe { stream, log, reader: own });
        }
    }

    /// The home that was told of an abandoned log has given the stream away: tell the new one, unless the stream is
    /// read here again.
    pub(super) fn unsubscribe_again(&mut self, now: Mono, stream: StreamId, log: LogId) {
        let reads = |reader: &Reader| {
            reader.stream == stream && reader.view.as_ref().is_none_or(|view| view.shared().id == log)
        };
        if self.readers.list.iter().flatten().any(reads) {
            return;
        }
        match self.shared.directory.home_of(stream) {
            Some(home) if home == self.id => self.unsubscribed(now, stream, log, home),
            Some(home) => self.tell(home, Command::Unsubscribe { stream, log, reader: self.id }),
            None => {}
        }
    }

    fn drop_reader(&mut self, at: u32) {
        let Some(reader) = self.readers.list.get_mut(at as usize).and_then(Option::take) else { return };
        let name = (reader.name, reader.key);
        if self.readers.by_key.get(&name) == Some(&at) {
            self.readers.by_key.remove(&name);
        }
        self.readers.queue.retain(|queued| *queued != at);
        self.readers.free.push(at);
    }

    /// Readers whose slow members hold more evicted memory than the budget lose the slowest of them.
    pub(super) fn enforce_pin_budget(&mut self, now: Mono) {
        let budget = self.pin_budget_bytes();
        if self.readers.pinned_bytes() <= budget {
            return;
        }
        let mut reading: Vec<(Mono, Key)> = Vec::new();
        for key in self.conns.keys() {
            let Some(slot) = self.conns.get(key) else { continue };
            let (at, seg, sent_at) = (slot.hot.reader, slot.hot.cursor.pos.seg, slot.hot.sent_at);
            let reads = slot.hot.flight == Flight::Run && slot.hot.state == State::Open;
            let view = self.readers.get(at).and_then(|r| r.view.as_ref());
            if reads && view.is_some_and(|view| view.evicted(seg)) {
                reading.push((sent_at, key));
            }
        }
        let Some(slowest) = reading.iter().map(|(sent_at, _)| *sent_at).min() else { return };
        for (_, key) in reading.into_iter().filter(|(sent_at, _)| *sent_at <= slowest + PIN_SWEEP) {
            self.close(now, key, DisconnectReason::Lag);
        }
    }
}
