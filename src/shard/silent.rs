//! Connections that neither publish nor play, in the order in which they came: when there are more of these than may be,
//! the oldest gives its place to the newcomer. Whoever wants something says so within a moment; those that stand there
//! cannot keep it out.

use super::App;
use super::conn::{Role, State, hot};
use super::core::Core;
use super::engine::{Backend, Key};
use crate::media::Mono;
use crate::observe::{DisconnectReason, RefuseReason};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The queue is cleaned up at this length, and then at twice what was left.
const CLEAN_AT_MIN: usize = 256;
/// How many are looked at for one of a certain address, some 10 us.
const LOOKED_AT_MAX: usize = 1024;
/// Connections of a core that are kept free: a place is free a moment behind the close of who had it.
const PLACES_KEPT: u32 = 16;
/// Of a small table this part at most.
const PLACES_KEPT_PART: u32 = 8;

/// Some have begun to publish or play since, or are gone: these are passed over.
#[derive(Debug)]
pub(super) struct Silent {
    /// With the number that it had got: another one means that it fell silent again, and stands further behind.
    queue: VecDeque<(Key, u32)>,
    clean_at: usize,
    next: u32,
}

impl Default for Silent {
    fn default() -> Self {
        Silent { queue: VecDeque::new(), clean_at: CLEAN_AT_MIN, next: 0 }
    }
}

impl Silent {
    /// Memory of the queue.
    pub fn bytes(&self) -> usize {
        self.queue.capacity() * size_of::<(Key, u32)>()
    }
}

impl<B: Backend, A: App> Core<B, A> {
    /// The connection has come, or neither publishes nor plays any more.
    pub(super) fn falls_silent(&mut self, key: Key) {
        if self.conns.get(key).is_some_and(|slot| slot.hot.is(hot::RESIDENT)) {
            return;
        }
        if self.silent.queue.len() >= self.silent.clean_at {
            let mut queue = std::mem::take(&mut self.silent.queue);
            queue.retain(|(key, number)| self.is_silent(*key, *number));
            self.silent.clean_at = CLEAN_AT_MIN.max(2 * queue.len());
            self.silent.queue = queue;
        }
        let number = self.silent.next;
        self.silent.next = number.wrapping_add(1);
        if let Some(cold) = self.conns.get(key).and_then(|slot| slot.cold.as_mut()) {
            cold.silent = number;
            self.silent.queue.push_back((key, number));
        }
    }

    fn is_silent(&mut self, key: Key, number: u32) -> bool {
        let Some(slot) = self.conns.get(key).filter(|slot| slot.hot.state == State::Open) else {
            return false;
        };
        slot.cold.as_ref().is_some_and(|cold| {
            matches!(cold.role, Role::None) && cold.detach.is_none() && cold.silent == number
        })
    }

    /// A connection from `address` was refused: closes the oldest one that keeps it out, if that is on this core.
    pub(super) fn give_way(&mut self, now: Mono, reason: RefuseReason, address: SocketAddr) -> bool {
        match reason {
            RefuseReason::Unauthenticated => self.displace(now, |_, _| true),
            RefuseReason::AddressSilent => self.displace(now, |app, peer| app.are_neighbours(peer, address)),
            _ => false,
        }
    }

    /// Keeps some places of the core free for who comes next.
    pub(super) fn keep_places(&mut self, now: Mono) {
        let max = self.shared.limits.connections;
        let kept = PLACES_KEPT.min(max / PLACES_KEPT_PART);
        if kept > 0 && self.conns.used() + kept > max {
            self.displace(now, |_, _| true);
        }
    }

    /// Closes the oldest that is silent and `meant`; false if there is none.
    fn displace(&mut self, now: Mono, meant: impl Fn(&A, &A::Peer) -> bool) -> bool {
        let mut at = 0;
        while at < LOOKED_AT_MAX
            && let Some((key, number)) = self.silent.queue.get(at).copied()
        {
            let silent = self.is_silent(key, number);
            let cold = self.conns.get(key).and_then(|slot| slot.cold.as_ref());
            let found = silent && cold.is_some_and(|cold| meant(&self.app, &cold.peer));
            if found || !silent && at == 0 {
                self.silent.queue.remove(at);
            } else {
                at += 1;
            }
            if found {
                self.close(now, key, DisconnectReason::Displaced);
                return true;
            }
        }
        false
    }
}
