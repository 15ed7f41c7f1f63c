//! Sends: one step of one subscriber, and the sweep over all that have something to get.

use super::App;
use super::change::{CHANGE_WAIT, Leaving};
use super::conn::{Flight, Role, State, hot};
use super::core::{BATCH_US, Core};
use super::engine::{Backend, Key};
use super::planted::{Bug, is_planted};
use super::timers::Timer;
use crate::fanout::view::{Cursor, Run, Step};
use crate::media::Mono;
use crate::observe::{DisconnectReason, Protocol, Stage};

/// Estimated cost of a send, and of a byte of it, in microseconds.
const SEND_US: f64 = 2.0;
const BYTE_US: f64 = 0.000_25;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Did {
    Nothing,
    /// Handed this many bytes to the kernel.
    Sent(usize),
}

impl<B: Backend, A: App> Core<B, A> {
    /// Visits subscribers of flushed logs, log by log in turn, until a batch is full. Returns whether some are left.
    pub(super) fn sweep(&mut self, now: Mono) -> bool {
        // Half for those who go on, or those who begin would wait until everybody else has caught up.
        let mut spent = self.go_on(now, 0.0, BATCH_US / 2.0);
        while spent < BATCH_US
            && let Some(at) = self.readers.queue.pop_front()
        {
            let mut phase = 0;
            while let Some(slot) = next_member(self.readers.get(at), &mut phase) {
                let Some(hot) = self.conns.at(slot).map(|s| &s.hot) else { continue };
                let key = Key { slot, generation: hot.generation };
                spent += cost(self.advance(now, key));
                if spent >= BATCH_US {
                    break;
                }
            }
            let Some(reader) = self.readers.get(at) else { continue };
            if reader.phases.iter().any(|p| p.todo > 0) {
                self.readers.queue.push_back(at);
            } else {
                reader.queued = false;
            }
        }
        self.go_on(now, spent, BATCH_US);
        self.readers.wait_for_sweep()
    }

    /// Steps connections whose send is over and that have more to get, until `most` is spent; returns what is spent.
    fn go_on(&mut self, now: Mono, mut spent: f64, most: f64) -> f64 {
        while spent < most
            && let Some(key) = self.next_later()
        {
            spent += cost(self.advance(now, key));
        }
        spent
    }

    /// Sends the next thing of a connection, if nothing is in flight.
    pub(super) fn step(&mut self, now: Mono, key: Key) {
        self.advance(now, key);
    }

    fn advance(&mut self, now: Mono, key: Key) -> Did {
        let lag_max_us = self.shared.limits.lag_max.as_micros() as u64;
        // Each round either sends, or changes the place to send from, which happens at most a few times.
        for _ in 0..4 {
            let Some(slot) = self.conns.get(key) else { return Did::Nothing };
            if slot.hot.flight != Flight::No {
                slot.hot.set(hot::WANT, true);
                return Did::Nothing;
            }
            slot.hot.set(hot::WANT, false);
            if slot.hot.is(hot::SIDE) || slot.hot.state != State::Open {
                match self.send_own(now, key) {
                    Some(did) => return did,
                    None => continue,
                }
            }
            if !slot.hot.is(hot::JOINED) {
                return Did::Nothing;
            }
            let (at, cursor) = (slot.hot.reader, slot.hot.cursor);
            let (paused, resume) = (slot.hot.is(hot::PAUSED), slot.hot.is(hot::RESUME));
            let Some(view) = self.readers.get(at).and_then(|r| r.view.as_mut()) else { return Did::Nothing };
            let unfit = view.unfit().is_some();
            if paused && !view.ended() {
                return if unfit { self.leave_unfit(now, key) } else { Did::Nothing };
            }
            if paused {
                return self.end_subscription(now, key);
            }
            // After a pause the newest join point is the place to go on, however short the pause was.
            let step =
                if resume { view.decide(cursor, view.limit(), 0) } else { view.step(cursor, lag_max_us) };
            match step {
                Step::Send(run) => return self.send_run(now, key, run),
                Step::Skip(join) => {
                    let Some(at_join) = view.cursor_at(join.pos) else { return Did::Nothing };
                    if !resume {
                        self.note_skip(key);
                    }
                    self.skip(key, at_join, &join);
                }
                Step::Wait if view.ended() => {
                    // What it had not got is gone, and no keyframe comes any more.
                    self.note_skip(key);
                    return self.end_subscription(now, key);
                }
                Step::Idle if view.ended() => return self.end_subscription(now, key),
                Step::Idle | Step::Wait if unfit => return self.leave_unfit(now, key),
                Step::Idle | Step::Wait => return Did::Nothing,
            }
        }
        Did::Nothing
    }

    fn note_skip(&mut self, key: Key) {
        if let Some(cold) = self.conns.get(key).and_then(|s| s.cold.as_ref()) {
            self.observed.metrics.lag_skips[cold.protocol].inc();
        }
    }

    /// Moves the cursor to a join point; sends what belongs there, and configuration again if it changed since.
    fn skip(&mut self, key: Key, cursor: Cursor, join: &crate::fanout::log::JoinPoint) {
        let Some(slot) = self.conns.get(key) else { return };
        slot.hot.cursor = cursor;
        slot.hot.set(hot::RESUME, false);
        if slot.hot.config_epoch == join.config.epoch && join.seam.is_empty() {
            return;
        }
        slot.hot.config_epoch = join.config.epoch;
        let at = slot.hot.reader;
        let preface = self.preface(at, join, false);
        if let Some(slot) = self.conns.get(key)
            && let Some(cold) = &mut slot.cold
        {
            cold.preface = Some(preface);
            slot.hot.set(hot::SIDE, true);
        }
    }

    /// Everything of an ended stream is sent.
    fn end_subscription(&mut self, now: Mono, key: Key) -> Did {
        self.say_goodbye(key);
        self.finish(now, key, DisconnectReason::StreamEnded);
        // A goodbye, or the end of our direction: a system call either way.
        Did::Sent(0)
    }

    /// Everything is sent of a log that has nothing more for anybody. Who is about to change to another may find it there.
    fn leave_unfit(&mut self, now: Mono, key: Key) -> Did {
        if !matches!(self.role(key), Some(Role::Player { next: None, .. })) {
            return Did::Nothing;
        }
        self.finish(now, key, DisconnectReason::UnsupportedCodec);
        Did::Sent(0)
    }

    /// Appends the end of the subscription to what the connection has to send.
    pub(super) fn say_goodbye(&mut self, key: Key) {
        let Some(at) = self.conns.get(key).filter(|s| s.hot.is(hot::JOINED)).map(|s| s.hot.reader) else {
            return;
        };
        let goodbye = self.goodbye(at);
        if let Some(slot) = self.conns.get(key)
            && let Some(cold) = &mut slot.cold
        {
            cold.out.extend(goodbye);
        }
    }

    /// What the connection itself has to send: replies, then a preface; then a change of log. `None`: look again.
    fn send_own(&mut self, now: Mono, key: Key) -> Option<Did> {
        let slot = self.conns.get(key)?;
        if matches!(slot.hot.state, State::Closing | State::Free) {
            return Some(Did::Nothing);
        }
        let cold = slot.cold.as_mut()?;
        let own = if !cold.out.is_empty() {
            Some(std::mem::take(&mut cold.out).into())
        } else {
            cold.preface.take().filter(|p| !p.is_empty())
        };
        if let Some(bytes) = own {
            cold.sending = bytes;
            let bytes: *const [u8] = &*cold.sending;
            (slot.hot.flight, slot.hot.sent_at) = (Flight::Own, now);
            // SAFETY: `sending` is not touched before the completion, and the box holding it is dropped only when
            // nothing is outstanding (`release`) or the backend has gone.
            unsafe { self.backend.send(key, bytes) };
            self.arm(key);
            return Some(Did::Sent(bytes.len()));
        }
        match slot.hot.state {
            State::Open => {}
            State::Finishing => {
                self.shut_down(now, key);
                return Some(Did::Nothing);
            }
            _ => return Some(Did::Nothing),
        }
        match self.leaving(now, key) {
            Leaving::No => self.conns.get(key)?.hot.set(hot::SIDE, false),
            Leaving::Wait => {
                // The old log may have nothing more to say: look again by the clock.
                let at = now + CHANGE_WAIT;
                let cold = self.conns.get(key)?.cold.as_mut()?;
                if at < cold.timer_at {
                    cold.timer_at = at;
                    self.timers.push(at, Timer::Connection(key));
                }
                return Some(Did::Nothing);
            }
            Leaving::Now => self.change(now, key),
            Leaving::After(until) => {
                let slot = self.conns.get(key)?;
                let (at, cursor, paused) = (slot.hot.reader, slot.hot.cursor, slot.hot.is(hot::PAUSED));
                let view = self.readers.get(at).and_then(|r| r.view.as_ref())?;
                return match view.decide(cursor, until, u64::MAX) {
                    Step::Send(run) if !paused => Some(self.send_run(now, key, run)),
                    // Paused, or evicted: nothing of the old log is wanted any more.
                    _ => {
                        self.change(now, key);
                        None
                    }
                };
            }
        }
        None
    }

    fn send_run(&mut self, now: Mono, key: Key, run: Run) -> Did {
        let Some(slot) = self.conns.get(key) else { return Did::Nothing };
        let at = slot.hot.reader;
        let Some(view) = self.readers.get(at).and_then(|r| r.view.as_mut()) else { return Did::Nothing };
        let Some(bytes) = view.bytes(&run) else { return Did::Nothing };
        let bytes: *const [u8] = bytes;
        if !is_planted(Bug::EarlyEviction) {
            view.pin(run.seg);
        }
        let more = view.normalise(run.next) < view.normalise(view.limit());
        let Some(slot) = self.conns.get(key) else { return Did::Nothing };
        slot.hot.depart(&run, now);
        // What the bound of a send left over goes on when this one is through, whatever phase it is.
        slot.hot.set(hot::WANT, more);
        slot.hot.set(hot::RESUME, false);
        // SAFETY: the segment is pinned in its view until `sent`, and a view with pins is not dropped (`abandon`);
        // published bytes do not change (`fanout::segment`).
        unsafe { self.backend.send(key, bytes) };
        Did::Sent(bytes.len())
    }

    /// A send is over.
    pub(super) fn sent(&mut self, now: Mono, key: Key, result: Result<u32, i32>) {
        let Some(slot) = self.conns.get(key) else { return };
        let flight = std::mem::replace(&mut slot.hot.flight, Flight::No);
        let (want, sent_at, oldest, at) =
            (slot.hot.is(hot::WANT), slot.hot.sent_at, slot.hot.oldest, slot.hot.reader);
        let Some(cold) = &mut slot.cold else { return };
        let protocol = cold.protocol;
        let mut more = want;
        let whole;
        match flight {
            Flight::No => return,
            Flight::Own => {
                let sending = std::mem::take(&mut cold.sending);
                whole = result.is_ok_and(|sent| sent as usize == sending.len());
                more = true;
            }
            Flight::Run => {
                let start = slot.hot.cursor;
                let (run_to, run_next) = (slot.hot.run_to, slot.hot.run_next);
                let left = slot.hot.member == super::conn::NONE;
                let doubled = if is_planted(Bug::DoubledOffset) { run_to - start.offset } else { 0 };
                slot.hot.cursor = Cursor { pos: run_next, offset: run_to + doubled };
                if left {
                    slot.hot.reader = super::conn::NONE;
                }
                whole = result.is_ok_and(|sent| sent == run_to - start.offset);
                if whole {
                    self.observe_send(now, protocol, sent_at, oldest, at);
                }
                if let Some(view) = self.readers.get(at).and_then(|r| r.view.as_mut())
                    && !is_planted(Bug::EarlyEviction)
                {
                    view.unpin(start.pos.seg);
                }
                if left {
                    self.abandon(at);
                }
            }
        }
        if let Ok(sent) = result {
            self.observed.metrics.egress_bytes[protocol].add(u64::from(sent));
            self.observed.metrics.sends[protocol].inc();
        }
        match result {
            Err(libc::EPIPE | libc::ECONNRESET) => self.close(now, key, DisconnectReason::ClientClosed),
            Err(_) => self.close(now, key, DisconnectReason::IoError),
            // The kernel sends on until all is sent or the socket fails.
            Ok(_) if !whole => self.close(now, key, DisconnectReason::ClientClosed),
            Ok(_) if more || !self.caught_up(key) => self.step_later(key),
            Ok(_) => {}
        }
        self.release(now, key);
    }

    /// Whether the connection waits for the next flush (of its phase); anything else is sent on at once.
    fn caught_up(&mut self, key: Key) -> bool {
        let phases = self.shared.rule.phases();
        let Some(slot) = self.conns.get(key) else { return true };
        if slot.hot.is(hot::SIDE) || slot.hot.state != State::Open {
            return false;
        }
        let (at, cursor) = (slot.hot.reader, slot.hot.cursor);
        let Some(view) = self.readers.get(at).and_then(|r| r.view.as_ref()) else { return true };
        // Nothing will ring for what is left of a log that goes on no more.
        let over = view.ended() || view.unfit().is_some();
        !over && (phases > 1 || view.drained(cursor))
    }

    fn observe_send(&mut self, now: Mono, protocol: Protocol, sent_at: Mono, oldest: Mono, at: u32) {
        self.histograms.record_us(Stage::Send, protocol, now.micros_since(sent_at));
        if oldest == Mono::NEVER {
            return;
        }
        self.histograms.record_fanout_us(protocol, now.micros_since(oldest));
        if let Some(view) = self.readers.get(at).and_then(|r| r.view.as_ref()) {
            let flushed_at = view.shared().flushed_at();
            if flushed_at <= sent_at && flushed_at >= oldest {
                self.histograms.record_us(Stage::Flush, protocol, flushed_at.micros_since(oldest));
                self.histograms.record_us(Stage::Dispatch, protocol, sent_at.micros_since(flushed_at));
            }
        }
    }
}

fn cost(did: Did) -> f64 {
    match did {
        Did::Nothing => 0.05,
        Did::Sent(bytes) => SEND_US + bytes as f64 * BYTE_US,
    }
}

/// The next member that this sweep has not visited.
fn next_member(reader: Option<&mut super::readers::Reader>, phase: &mut usize) -> Option<u32> {
    let reader = reader?;
    loop {
        let list = reader.phases.get_mut(*phase)?;
        if list.todo == 0 || list.members.is_empty() {
            list.todo = 0;
            *phase += 1;
            continue;
        }
        if list.next >= list.members.len() {
            list.next = 0;
        }
        list.todo -= 1;
        list.next += 1;
        return list.members.get(list.next - 1).copied();
    }
}
