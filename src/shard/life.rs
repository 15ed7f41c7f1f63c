//! The life of a connection: with deadlines, finished politely or aborted, released when the kernel is done.

use super::App;
use super::conn::{Flight, Role, State, hot};
use super::core::Core;
use super::engine::{Backend, Key};
use super::timers::Timer;
use crate::media::Mono;
use crate::observe::DisconnectReason;
use std::time::Duration;

/// How long a closed side waits for the peer's end of stream.
const LINGER: Duration = Duration::from_secs(2);
/// The same while the process ends: the kernel has the last words and delivers them, with or without a process; this is for
/// peers that talk on, whose words would make the close a reset.
const LINGER_AT_DRAIN: Duration = Duration::from_millis(500);

impl<B: Backend, A: App> Core<B, A> {
    /// Makes sure that the timer queue has an entry for the connection's next deadline.
    pub(super) fn arm(&mut self, key: Key) {
        let stall = self.shared.limits.stall;
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        let mut at = match slot.hot.state {
            State::Open => self.app.deadline(&cold.peer),
            State::Finishing | State::Lingering => cold.linger_until,
            State::Closing | State::Free => return,
        };
        match &cold.role {
            Role::Publisher { silent_at, .. } => at = at.min(*silent_at),
            Role::Player { give_up_at, .. } => at = at.min(*give_up_at),
            Role::Socket { again_at, .. } => at = at.min(*again_at),
            Role::None => {}
        }
        // A connection that is going has its linger time; the stall's, long past, would be due again at once, for ever.
        if slot.hot.state == State::Open && slot.hot.flight != Flight::No {
            at = at.min(slot.hot.sent_at + stall);
        }
        if at < cold.timer_at {
            cold.timer_at = at;
            self.timers.push(at, Timer::Connection(key));
        }
    }

    pub(super) fn connection_due(&mut self, now: Mono, key: Key) {
        let limits = self.shared.limits;
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        if cold.timer_at > now {
            return;
        }
        cold.timer_at = Mono::NEVER;
        let stalled = slot.hot.flight != Flight::No && now >= slot.hot.sent_at + limits.stall;
        match (&cold.role, slot.hot.state) {
            (_, State::Free) => {}
            (_, State::Finishing | State::Lingering) if now >= cold.linger_until => {
                self.abort(now, key);
            }
            (_, State::Open) if stalled => self.close(now, key, DisconnectReason::Stalled),
            (Role::Publisher { silent_at, .. }, State::Open) if now >= *silent_at => {
                self.close(now, key, DisconnectReason::PublisherSilent);
            }
            (Role::Player { give_up_at, .. }, State::Open) if now >= *give_up_at => self.give_up(now, key),
            (Role::Socket { again_at, .. }, State::Open) if now >= *again_at => self.listen_again(key),
            (_, State::Open) if now >= self.app.deadline(&cold.peer) => {
                self.ask(now, key, |app, peer, io| app.timeout(peer, now, io));
            }
            _ => {}
        }
        if self.conns.get(key).is_some_and(|s| s.hot.is(hot::SIDE) && s.hot.state == State::Open) {
            self.step(now, key);
        }
        self.watch_stall(now, key);
        self.arm(key);
    }

    /// Subscribers are looked at once a stall timeout, so that a send needs no timer of its own.
    pub(super) fn watch_stall(&mut self, now: Mono, key: Key) {
        let stall = self.shared.limits.stall;
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        if slot.hot.state == State::Open && slot.hot.flight == Flight::No && cold.timer_at > now + stall {
            cold.timer_at = now + stall;
            self.timers.push(now + stall, Timer::Connection(key));
        }
    }

    /// Ends a connection after what waits is sent.
    pub(super) fn finish(&mut self, now: Mono, key: Key, reason: DisconnectReason) {
        let Some(slot) = self.conns.get(key) else { return };
        if slot.hot.state != State::Open {
            return;
        }
        let Some(cold) = &mut slot.cold else { return };
        if slot.hot.is(hot::RESIDENT) || matches!(cold.role, Role::Socket { .. }) {
            // Nobody waits for its last words.
            return self.close(now, key, reason);
        }
        cold.reason = reason;
        cold.linger_until = now + LINGER;
        self.app.leaving(&mut cold.peer);
        slot.hot.state = State::Finishing;
        self.leave_role(now, key);
        self.arm(key);
        self.step(now, key);
    }

    /// Ends a connection because the process ends. Viewers, and whoever is being told something, get what waits for them
    /// and may hang up. To all others (a publisher does not read, somebody who has asked for nothing has nothing to read)
    /// a close says it all: lingering would only hold up the end until they stop sending.
    pub(super) fn dismiss(&mut self, now: Mono, key: Key) {
        self.say_goodbye(key);
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        let told = slot.hot.flight != Flight::No || !cold.out.is_empty();
        let reads = told || matches!(cold.role, Role::Player { .. });
        match slot.hot.state {
            State::Open if reads => self.finish(now, key, DisconnectReason::Shutdown),
            State::Open => self.close(now, key, DisconnectReason::Shutdown),
            State::Lingering => {
                cold.linger_until = cold.linger_until.min(now + LINGER_AT_DRAIN);
                self.arm(key);
            }
            State::Finishing | State::Closing | State::Free => {}
        }
    }

    /// Ends a connection at once. A resident stays, and loses its stream.
    pub(super) fn close(&mut self, now: Mono, key: Key, reason: DisconnectReason) {
        if self.depose(now, key, reason) {
            return;
        }
        let Some(slot) = self.conns.get(key) else { return };
        if let (State::Open, Some(cold)) = (slot.hot.state, &mut slot.cold) {
            cold.reason = reason;
            self.app.leaving(&mut cold.peer);
        }
        self.leave_role(now, key);
        self.abort(now, key);
    }

    pub(super) fn abort(&mut self, now: Mono, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        if slot.hot.state != State::Closing {
            slot.hot.state = State::Closing;
            if slot.outstanding() {
                self.backend.abort(key);
            }
        }
        self.release(now, key);
    }

    /// Nothing waits any more in a connection that finishes: shut down our side.
    pub(super) fn shut_down(&mut self, now: Mono, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        slot.hot.state = State::Lingering;
        if let Some(cold) = &mut slot.cold {
            cold.linger_until = now + if self.draining.is_some() { LINGER_AT_DRAIN } else { LINGER };
        }
        self.backend.end_writes(key.slot);
        self.receive(key);
        self.arm(key);
    }

    /// Frees the slot if the connection is closing and the kernel is done with it, or lets it leave the core.
    pub(super) fn release(&mut self, now: Mono, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        if slot.outstanding() {
            return;
        }
        let Some(cold) = &mut slot.cold else { return };
        let detach = cold.detach.take();
        if detach.is_none() && slot.hot.state != State::Closing {
            return;
        }
        let resident = slot.hot.is(hot::RESIDENT) || matches!(cold.role, Role::Socket { .. });
        let socket = self.backend.detach(key.slot);
        let Some(cold) = self.conns.remove(key.slot) else { return };
        if resident {
            // Neither it nor its sockets are connections.
            return;
        }
        self.observed.metrics.connections.dec();
        match (detach, socket) {
            (Some(read), Some(socket)) => match self.app.detached(cold.peer, now, socket, read) {
                Ok(()) => self.observed.metrics.disconnects[cold.protocol][DisconnectReason::Page].inc(),
                Err(reason) => self.observed.metrics.connections_refused[reason].inc(),
            },
            (_, socket) => {
                drop(socket);
                self.observed.metrics.disconnects[cold.protocol][cold.reason].inc();
                self.app.closed(cold.peer, now, cold.reason);
            }
        }
    }

    /// Whatever the connection was to a stream, it is no more.
    pub(super) fn leave_role(&mut self, now: Mono, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        match slot.cold.as_ref().map(|c| &c.role) {
            Some(Role::Publisher { .. }) => self.unpublish(now, key),
            Some(Role::Player { .. }) => self.leave(key),
            _ => {}
        }
    }
}
