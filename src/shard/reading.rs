//! The logs that this core reads: opened at their home, fed with its news, looked at when they are flushed, let go of
//! when nobody reads them.

use super::conn::{Flight, Role, State, hot};
use super::core::Core;
use super::engine::{Backend, Key};
use super::mailbox::{Command, NotOpened};
use super::readers::{Phase, Reader, Waiting};
use super::{App, PlayRefused, Preface};
use crate::fanout::directory::{StreamId, StreamName};
use crate::fanout::log::{Feed, JoinPoint, LogId, LogKey, LogSnapshot};
use crate::fanout::stream::NoLog;
use crate::fanout::view::View;
use crate::media::Mono;
use crate::media::config_set::ConfigSet;
use crate::observe::DisconnectReason;
use bytes::Bytes;
use std::time::Duration;

/// Players of one log that are let in in one turn: each costs a send or two.
const JOINERS_PER_TURN: usize = 64;
/// Over the budget of pinned bytes, readers that are within this of the slowest go together.
const PIN_SWEEP: Duration = Duration::from_secs(1);

impl<B: Backend, A: App> Core<B, A> {
    /// A reader without a view. `None` if there is no such stream.
    pub(super) fn new_reader(&mut self, now: Mono, name: &StreamName, key: LogKey) -> Option<u32> {
        let (stream, home, stats) = self.shared.directory.watch(name)?;
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
            crowded: false,
            newest: None,
            settled: None,
            prefaces: [None, None],
            goodbye: None,
        }))
    }

    pub(super) fn opened(&mut self, now: Mono, name: StreamName, key: LogKey, snapshot: LogSnapshot) {
        let Some(at) = self.readers.find(&name, key) else { return };
        let Some(reader) = self.readers.get(at) else { return };
        if reader.view.is_some() {
            return;
        }
        let id = snapshot.shared.id;
        reader.newest = snapshot.join.as_ref().map(|j| j.config.clone());
        reader.view = Some(View::new(snapshot));
        self.readers.opened(at, id);
        self.look(now, id);
    }

    pub(super) fn refused(&mut self, now: Mono, name: StreamName, key: LogKey, why: NotOpened) {
        let Some(at) = self.readers.find(&name, key) else { return };
        let Some(reader) = self.readers.get(at) else { return };
        if reader.view.is_some() {
            return;
        }
        let waiting = reader.take_waiting();
        self.drop_reader(at);
        let why = match why {
            NotOpened::Refused(NoLog::TooMany) => PlayRefused::TooManyVariants,
            NotOpened::Refused(NoLog::Codecs(why)) => PlayRefused::Codecs(why),
            NotOpened::Gone => {
                let Waiting { joiners, changers } = waiting;
                for conn in changers {
                    self.forget_change(conn);
                    if let Some(Role::Player { target, .. }) = self.role(conn) {
                        let target = *target;
                        self.switch(now, conn, target);
                    }
                }
                joiners.into_iter().for_each(|conn| self.seek(now, conn, name.clone()));
                return;
            }
        };
        self.deny(now, &name, waiting, why);
    }

    /// Those who wait for a log do not get it.
    fn deny(&mut self, now: Mono, name: &StreamName, waiting: Waiting, why: PlayRefused) {
        let Waiting { joiners, changers } = waiting;
        for conn in changers {
            self.forget_change(conn);
            // Refused the log to begin with too, it would wait for nothing.
            if self.waits_for_nothing(conn, name) {
                self.refuse(now, conn, why);
            } else {
                // The log that it reads may have nothing more for it either: nobody rings for that.
                self.step_later(conn);
            }
        }
        for conn in joiners {
            // Without a log to begin with it begins with the one it wants, at that one's next join point.
            let goes_on = matches!(why, PlayRefused::Codecs(_))
                && matches!(self.role(conn), Some(Role::Player { next: Some(_), .. }));
            if !goes_on {
                self.refuse(now, conn, why);
            }
        }
    }

    /// The publisher sends nothing that the format of reader `at` carries: who waits for it is refused, who reads it has a turn
    /// to send what is left and [goes](Core::leave_unfit).
    fn let_go(&mut self, now: Mono, at: u32, why: &'static str) {
        let Some(reader) = self.readers.get(at) else { return };
        let (name, waiting) = (reader.name.clone(), reader.take_waiting());
        reader.expected = reader.expected.saturating_sub(waiting.changers.len() as u32);
        reader.all_have_a_turn();
        self.enqueue(at);
        self.deny(now, &name, waiting, PlayRefused::Codecs(why));
    }

    /// Whether a player has nothing, and nothing to come.
    fn waits_for_nothing(&mut self, conn: Key, name: &StreamName) -> bool {
        let joined = self.conns.get(conn).is_none_or(|slot| slot.hot.is(hot::JOINED));
        let key = match self.role(conn) {
            Some(Role::Player { key, .. }) => *key,
            _ => return false,
        };
        // A reader that others still hold may have refused it before.
        let at = self.readers.find(name, key);
        let view = at.and_then(|at| self.readers.get(at)).map(|reader| reader.view.as_ref());
        !joined && view.is_none_or(|view| view.is_some_and(|view| view.unfit().is_some()))
    }

    /// A name has its first publisher.
    pub(super) fn published(&mut self, now: Mono, name: &StreamName) {
        for key in self.readers.wanted.take(name) {
            self.seek(now, key, name.clone());
        }
    }

    /// News from a log's home.
    pub(super) fn news(&mut self, now: Mono, stream: StreamId, log: LogId, news: Vec<Feed>) {
        let Some(at) = self.readers.find_log(log) else { return };
        // The id may serve another stream by now.
        let Some(reader) = self.readers.get(at).filter(|r| r.stream == stream) else { return };
        let Some(view) = &mut reader.view else { return };
        let mut ended = false;
        let watched = reader.phases.iter().any(|phase| !phase.members.is_empty());
        for piece in news {
            ended |= matches!(piece, Feed::End);
            if let Feed::Unfit(Some(unfit)) = &piece
                && watched
            {
                self.app.let_go(now, &reader.name, unfit.why);
            }
            if let Feed::Join(Some(join)) = &piece {
                reader.newest = Some(join.config.clone());
            }
            view.feed(piece);
        }
        if ended {
            // The name may be published anew at once: that is another stream.
            self.readers.forget_name(at);
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
        let Some(at) = self.readers.find_log(log) else { return };
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

    /// Lets the next of a crowd of joiners in.
    pub(super) fn let_in(&mut self, now: Mono) {
        for _ in 0..self.readers.crowds.len() {
            let Some(at) = self.readers.crowds.pop_front() else { return };
            if let Some(reader) = self.readers.get(at) {
                reader.crowded = false;
            }
            self.settle(now, at);
            self.abandon(at);
        }
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
    pub(super) fn settle(&mut self, now: Mono, at: u32) {
        let Some(reader) = self.readers.get(at) else { return };
        let Some(view) = &reader.view else { return };
        if let Some(why) = view.unfit() {
            return self.let_go(now, at, why);
        }
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
            if !std::mem::replace(&mut reader.crowded, true) {
                self.readers.crowds.push_back(at);
            }
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

    fn drop_reader(&mut self, at: u32) {
        if let Some((name, stream)) = self.readers.remove(at) {
            self.shared.directory.unwatch(&name, stream);
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
        if self.readers.iter().any(reads) {
            return;
        }
        match self.shared.directory.home_of(stream) {
            Some(home) if home == self.id => self.unsubscribed(now, stream, log, home),
            Some(home) => self.tell(home, Command::Unsubscribe { stream, log, reader: self.id }),
            None => {}
        }
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
