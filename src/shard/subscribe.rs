//! The subscribers of this core: where they start, how they leave.

use super::conn::{Flight, NONE, Role, State, hot};
use super::core::Core;
use super::engine::{Backend, Key};
use super::{Answer, App, PlayRefused, Request};
use crate::fanout::directory::StreamName;
use crate::fanout::log::{Format, JoinPoint, LogKey, Variant};
use crate::media::config_set::ConfigSet;
use crate::media::{Codec, Kind, Mono};
use crate::observe::DisconnectReason;
use std::sync::atomic::Ordering;

/// Players that may wait for names nobody publishes, on all cores together.
const WAITING_MAX: usize = 10_000;

/// Whoever asks for a transport stream gets the publisher's own, if it has one that is passed on: which of the two, only who
/// publishes tells. As it comes, it comes in one piece. LATM is made on request only, and of AAC: of a stream whose sound is
/// `other`, what is asked for in either form is the same log.
fn transport((log, target): (LogKey, LogKey), asked: LogKey, passes: bool, other: bool) -> (LogKey, LogKey) {
    let latm = asked.variant.latm && !other;
    let made = |log: LogKey| LogKey { variant: Variant { latm, ..log.variant }, ..log };
    match (target.format, passes) {
        (Format::Ts, true) if !latm => {
            let own = LogKey { format: Format::Pass, variant: Variant::FULL };
            (own, own)
        }
        (Format::Ts, _) => (made(log), made(target)),
        (Format::Pass, false) => {
            let made = made(LogKey { format: Format::Ts, variant: asked.variant });
            (made, made)
        }
        _ => (log, target),
    }
}

/// Whether the sound of a stream is known, and none of it is AAC.
fn is_other_sound(config: &ConfigSet) -> bool {
    let mut sounds = config.tracks().filter(|track| track.kind == Kind::Audio).peekable();
    sounds.peek().is_some() && sounds.all(|track| track.codec != Codec::Aac)
}

impl<B: Backend, A: App> Core<B, A> {
    /// A connection wants to be a subscriber.
    pub(super) fn play(&mut self, now: Mono, key: Key, name: StreamName, log: LogKey, first: Option<LogKey>) {
        let give_up_at = now + self.shared.limits.play_wait;
        let Some(slot) = self.conns.get(key) else { return };
        if slot.hot.state != State::Open
            || !slot.cold.as_ref().is_some_and(|cold| matches!(cold.role, Role::None))
        {
            return;
        }
        if slot.hot.flight == Flight::Run {
            return self.close(now, key, DisconnectReason::ProtocolError);
        }
        let players: i64 = self.observed.metrics.subscribers.iter().map(|(_, count)| count.get()).sum();
        if players >= self.shared.limits.connections_for_viewers().into() {
            return self.refuse(now, key, PlayRefused::CoreFull);
        }
        let Some(cold) = self.conns.get(key).and_then(|slot| slot.cold.as_mut()) else { return };
        cold.role = Role::Player {
            name: name.clone(),
            key: first.unwrap_or(log),
            target: log,
            asked: log,
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
    pub(super) fn seek(&mut self, now: Mono, key: Key, name: StreamName) {
        let stats = self.shared.directory.find(&name).map(|(_, _, stats)| stats);
        let Some(Role::Player { key: log, target, asked, .. }) = self.role(key) else { return };
        if let Some(stats) = stats {
            let passes = stats.passes.load(Ordering::Relaxed);
            let other = asked.variant.latm && stats.config().is_some_and(|config| is_other_sound(&config));
            (*log, *target) = transport((*log, *target), *asked, passes, other);
        }
        let (log, target) = (*log, *target);
        if !self.wait_at(now, &name, log, key, false) {
            let most = WAITING_MAX / usize::from(self.shared.mailboxes.cores()).max(1);
            if !self.readers.wanted.insert(name, key, most) {
                self.refuse(now, key, PlayRefused::TooManyWait);
            }
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
        let known = self.readers.find(name, log);
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
        let (stream, home, subscription) =
            (reader.log.stream, reader.log.home, reader.log.subscription(self.id));
        if home == self.id {
            self.subscribed(now, stream, name.clone(), log, home);
        } else {
            self.tell(home, subscription);
        }
        true
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

    /// The subscription begins at `join`.
    pub(super) fn join(&mut self, now: Mono, key: Key, at: u32, join: &JoinPoint) {
        self.ask(now, key, |app, peer, io| app.answer(peer, now, Answer::Playing, io));
        // What the client sent behind its request was heard just now: it may have stopped, or asked for another log.
        let log = self.readers.get(at).map(|r| r.log.key);
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
            if let Some(viewers) = protocol.and_then(|p| reader.log.stats.viewers.get(p.index())) {
                viewers.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.step(now, key);
    }

    /// Puts the connection's cursor at `join` and the connection on the reader's list. False if that place is evicted.
    #[must_use]
    pub(super) fn enter(&mut self, key: Key, at: u32, join: &JoinPoint) -> bool {
        let Some(reader) = self.readers.get(at) else { return false };
        let Some(cursor) = reader.log.view.as_ref().and_then(|v| v.cursor_at(join.pos)) else { return false };
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

    /// A player has waited long enough.
    pub(super) fn give_up(&mut self, now: Mono, key: Key) {
        self.refuse(now, key, PlayRefused::NotFound);
    }

    pub(super) fn refuse(&mut self, now: Mono, key: Key, why: PlayRefused) {
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
                PlayRefused::TooManyVariants | PlayRefused::TooManyWait => DisconnectReason::Limit,
                PlayRefused::CoreFull => DisconnectReason::Budget,
                PlayRefused::Codecs(_) => DisconnectReason::UnsupportedCodec,
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
            && let Some(viewers) = reader.log.stats.viewers.get(protocol.index())
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
        self.readers.wanted.remove(&name, key);
        if let Some(next) = next
            && let Some(reader) = self.readers.get(next)
        {
            reader.changers.retain(|k| *k != key);
        }
        if let Some(at) = self.readers.find(&name, log)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_transport_stream_somebody_gets() {
        let key = |format, latm, av1| LogKey { format, variant: Variant { latm, av1, ..Variant::FULL } };
        let pass = key(Format::Pass, false, false);
        let (adts, latm) = (key(Format::Ts, false, true), key(Format::Ts, true, true));
        for (what, at, asked, passes, other, expected) in [
            ("what is made", adts, adts, false, false, adts),
            ("the publisher's own", adts, adts, true, false, pass),
            ("made again with all that was asked for", pass, adts, false, false, adts),
            ("LATM", latm, latm, false, false, latm),
            ("LATM, which is never passed", latm, latm, true, false, latm),
            ("no AAC, so no LATM", latm, latm, false, true, adts),
            ("no AAC, and the publisher's own", latm, latm, true, true, pass),
            ("another publisher, with AAC", adts, latm, false, false, latm),
            ("the same behind one that passed", pass, latm, false, false, latm),
            ("a channel that passes", pass, pass, false, false, key(Format::Ts, false, false)),
        ] {
            assert_eq!(transport((at, at), asked, passes, other), (expected, expected), "{what}");
        }
        // Until pictures join, the log of the sound; and other formats are nobody's concern.
        let first = |log: LogKey| LogKey { variant: Variant { video: false, ..log.variant }, ..log };
        assert_eq!(transport((first(latm), latm), latm, false, true), (first(adts), adts));
        let flv = key(Format::Flv, false, false);
        assert_eq!(transport((first(flv), flv), flv, true, false), (first(flv), flv));
    }
}
