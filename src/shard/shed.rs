//! What a core does when load is shed ([`Shedding`]): it leaves connections in the kernel's queue, and closes its
//! slowest viewers.

use super::App;
use super::conn::{Flight, State, hot};
use super::core::Core;
use super::engine::{Backend, Key};
use crate::media::Mono;
use crate::observe::DisconnectReason;
use std::time::Duration;

/// Part of a core's viewers that is closed in one second, one at least.
const SLOWEST_PART: usize = 100;
/// A send that has gone on for less is no sign of a slow viewer, however old what it carries: somebody begins, with a
/// whole group of pictures.
const SEND_PATIENCE: Duration = Duration::from_millis(100);
/// Part of `pin_budget_bytes` that slow viewers may keep alive while the slowest are closed.
const PIN_BUDGET_PART: u64 = 4;

/// What load is shed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shedding {
    /// Close the slowest viewers, and let the others keep less alive.
    pub slowest: bool,
    /// Of them those too who keep up.
    pub anyone: bool,
    /// Accept nobody.
    pub closed: bool,
}

impl<B: Backend, A: App> Core<B, A> {
    /// Takes connections again or leaves them in the queue, when that has changed.
    pub(super) fn follow_shedding(&mut self) {
        let before = std::mem::replace(&mut self.shedding, self.app.shedding());
        if before.closed && !self.shedding.closed {
            (0..self.accepting.len()).for_each(|listener| self.look_at_listener(listener));
        }
    }

    /// Evicted bytes that slow readers may hold now.
    pub(super) fn pin_budget_bytes(&self) -> u64 {
        let budget = self.shared.limits.pin_budget_bytes;
        if self.shedding.slowest { budget / PIN_BUDGET_PART } else { budget }
    }

    /// Once a second, while the slowest are to go: closes a hundredth of the viewers, one at least. Unless anyone may be
    /// meant, these are among those that are behind by more than half of what would make them skip.
    pub(super) fn close_slowest(&mut self, now: Mono) {
        if !self.shedding.slowest {
            return;
        }
        let behind_us = self.shared.limits.lag_max.as_micros() as u64 / 2;
        let (mut viewers, mut slow): (usize, Vec<(u64, Key)>) = (0, Vec::new());
        for key in self.conns.keys() {
            let Some(slot) = self.conns.get(key) else { continue };
            if !slot.hot.is(hot::JOINED) || slot.hot.state != State::Open {
                continue;
            }
            viewers += 1;
            let (at, cursor) = (slot.hot.reader, slot.hot.cursor);
            let slack = slot.hot.flight == Flight::Run && now >= slot.hot.sent_at + SEND_PATIENCE;
            if !slack && !self.shedding.anyone {
                continue;
            }
            let Some(view) = self.readers.get(at).and_then(|reader| reader.log.view.as_ref()) else {
                continue;
            };
            let lag_us = if slack { view.lag_us(cursor) } else { 0 };
            if lag_us > behind_us || self.shedding.anyone {
                slow.push((lag_us, key));
            }
        }
        slow.sort_unstable_by_key(|(lag_us, _)| std::cmp::Reverse(*lag_us));
        slow.truncate((viewers / SLOWEST_PART).max(1));
        for (_, key) in slow {
            self.close(now, key, DisconnectReason::Slowest);
        }
    }
}
