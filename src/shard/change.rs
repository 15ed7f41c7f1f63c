//! A subscriber changes to another log of its stream (receiveVideo, `?join=live`): it leaves the one right before the
//! frame at which it enters the other, so that no frame is lost and none comes twice.

use super::App;
use super::conn::{Role, hot};
use super::core::Core;
use super::engine::{Backend, Key};
use crate::fanout::log::{JoinPoint, LogKey, Pos};
use crate::fanout::segment::Entry;
use crate::media::Mono;
use crate::observe::DisconnectReason;
use std::time::Duration;

/// A change of log waits this long to hear that the old log has nothing more before the frame it changes at.
pub(super) const CHANGE_WAIT: Duration = Duration::from_millis(200);
/// How a connection with a planned change of log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// There is no plan (any more).
    No,
    /// Send what lies before this position first.
    After(Pos),
    /// Wait for the next flush.
    Wait,
    /// Change now.
    Now,
}

impl<B: Backend, A: App> Core<B, A> {
    /// Asks for a change to another log of the same stream at its next join point.
    pub(super) fn switch(&mut self, now: Mono, key: Key, log: LogKey) {
        let (name, before, stay) = match self.role(key) {
            Some(Role::Player { name, key: current, target, next, asked_at, leave, .. }) => {
                (*target, *leave, *asked_at) = (log, None, now);
                (name.clone(), next.take(), *current == log)
            }
            _ => return,
        };
        if let Some(before) = before {
            if let Some(reader) = self.readers.get(before) {
                reader.changers.retain(|k| *k != key);
                reader.expected = reader.expected.saturating_sub(1);
            }
            self.abandon(before);
        }
        // What it reads may have ended, and the name may be published anew: that is another stream.
        let slot = self.conns.get(key);
        let reading = slot.filter(|s| s.hot.is(hot::JOINED)).map(|s| s.hot.reader);
        let reading = reading.and_then(|at| self.readers.get(at)).map(|r| r.stream);
        let other = reading.is_some_and(|id| self.shared.directory.find(&name).is_some_and(|f| f.0 != id));
        if !stay && !other {
            // False: the stream is gone or not there yet; `seek` asks again when it comes.
            let _there = self.wait_at(now, &name, log, key, true);
        }
    }

    /// A connection no longer names this reader as its next.
    pub(super) fn unexpect(&mut self, at: u32) {
        if let Some(reader) = self.readers.get(at) {
            reader.expected = reader.expected.saturating_sub(1);
        }
    }

    pub(super) fn forget_change(&mut self, key: Key) {
        if let Some(Role::Player { next, leave, .. }) = self.role(key) {
            (*next, *leave) = (None, None);
        }
    }

    /// The other log has a join point: if it is young enough, plan to leave this one right before it.
    pub(super) fn plan_change(&mut self, now: Mono, key: Key, at: u32, join: &JoinPoint, first: Entry) {
        let Some(slot) = self.conns.get(key) else { return };
        let joined = slot.hot.is(hot::JOINED);
        let Some(Role::Player { next, asked_at, .. }) = slot.cold.as_ref().map(|c| &c.role) else { return };
        let asked_at = *asked_at;
        if *next != Some(at) {
            return;
        }
        if first.complete_us < asked_at.as_micros() {
            if let Some(reader) = self.readers.get(at) {
                reader.changers.push(key);
            }
            return;
        }
        if !joined {
            // The log to begin with has nothing to begin with: begin here. Off the lists first, while the role still
            // names that log.
            self.leave_lists(key);
            if let Some(Role::Player { key: current, target, next, .. }) = self.role(key) {
                (*current, *next) = (*target, None);
            }
            self.join(now, key, at, join);
            self.unexpect(at);
            return self.abandon(at);
        }
        let Some(slot) = self.conns.get(key) else { return };
        let Some(Role::Player { leave, .. }) = slot.cold.as_mut().map(|c| &mut c.role) else { return };
        *leave = Some((first, join.clone()));
        slot.hot.set(hot::SIDE, true);
        self.step(now, key);
    }

    /// Whether a connection with a planned change goes on in its old log, up to which position.
    pub(super) fn leaving(&mut self, now: Mono, key: Key) -> Leaving {
        let Some(slot) = self.conns.get(key) else { return Leaving::No };
        let (at, cursor) = (slot.hot.reader, slot.hot.cursor);
        let Some(Role::Player { leave, next, asked_at, .. }) = slot.cold.as_mut().map(|c| &mut c.role) else {
            return Leaving::No;
        };
        let (Some(first), next) = (leave.as_ref().map(|(first, _)| *first), *next) else {
            return Leaving::No;
        };
        let Some(view) = self.readers.get(at).and_then(|r| r.view.as_mut()) else { return Leaving::Now };
        if view.passed(cursor.pos, first.number) {
            // A send was under way across that frame: the next join point, then.
            (*leave, *asked_at) = (None, Mono::from_micros(first.complete_us + 1));
            if let Some(reader) = next.and_then(|next| self.readers.get(next)) {
                reader.changers.push(key);
                reader.settled = None;
            }
            return Leaving::No;
        }
        if view.refresh() {
            // This look was everybody's, not only this connection's.
            if self.shared.rule.phases() == 1
                && let Some(reader) = self.readers.get(at)
            {
                reader.all_have_a_turn();
            }
            self.enqueue(at);
        }
        let Some(view) = self.readers.get(at).and_then(|r| r.view.as_ref()) else { return Leaving::Now };
        let until = view.first_since(cursor.pos, first.number);
        let known = until < view.limit() || view.ended();
        if cursor.pos < until && !view.drained(cursor) {
            return Leaving::After(until);
        }
        // What both logs hold is flushed together, but another core may hear of one first.
        let waited = now.since(Mono::from_micros(first.complete_us)) >= CHANGE_WAIT;
        if known || waited { Leaving::Now } else { Leaving::Wait }
    }

    /// The last entry before the change is sent: go over.
    pub(super) fn change(&mut self, now: Mono, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        let old = slot.hot.reader;
        let Some(Role::Player { key: current, target, next, leave, .. }) =
            slot.cold.as_mut().map(|c| &mut c.role)
        else {
            return;
        };
        let (Some(at), Some((_, join))) = (next.take(), leave.take()) else { return };
        *current = *target;
        self.unexpect(at);
        self.leave_members(key);
        let preface = self.preface(at, &join, false);
        if let Some(cold) = self.conns.get(key).and_then(|s| s.cold.as_mut()) {
            cold.preface = Some(preface);
        }
        if !self.enter(key, at, &join) {
            self.close(now, key, DisconnectReason::Lag);
        }
        // Its publisher may have turned to what this log does not carry since the change was planned.
        self.settle(now, at);
        self.abandon(old);
    }
}
