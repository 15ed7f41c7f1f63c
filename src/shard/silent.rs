//! Connections that neither publish nor play, in the order in which they came: when there are more of these than may be,
//! the oldest gives its place to the newcomer. Whoever wants something says so within a moment; those that stand there
//! cannot keep it out.

use super::App;
use super::conn::{Role, State};
use super::core::Core;
use super::engine::{Backend, Key};
use crate::media::Mono;
use crate::observe::{DisconnectReason, RefuseReason};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The queue is cleaned up at this length, and then at twice what was left.
const CLEAN_AT_MIN: usize = 256;

/// Some have begun to publish or play since, or are gone: these are passed over.
#[derive(Debug)]
pub(super) struct Silent {
    keys: VecDeque<Key>,
    clean_at: usize,
}

impl Default for Silent {
    fn default() -> Self {
        Silent { keys: VecDeque::new(), clean_at: CLEAN_AT_MIN }
    }
}

impl Silent {
    /// Memory of the queue.
    pub fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<Key>()
    }
}

impl<B: Backend, A: App> Core<B, A> {
    /// The connection has come, or neither publishes nor plays any more.
    pub(super) fn falls_silent(&mut self, key: Key) {
        if self.silent.keys.len() >= self.silent.clean_at {
            let mut keys = std::mem::take(&mut self.silent.keys);
            keys.retain(|key| self.is_silent(*key));
            self.silent = Silent { clean_at: CLEAN_AT_MIN.max(2 * keys.len()), keys };
        }
        self.silent.keys.push_back(key);
    }

    fn is_silent(&mut self, key: Key) -> bool {
        let Some(slot) = self.conns.get(key).filter(|slot| slot.hot.state == State::Open) else {
            return false;
        };
        slot.cold.as_ref().is_some_and(|cold| matches!(cold.role, Role::None) && cold.detach.is_none())
    }

    /// A connection from `address` was refused: closes the oldest one that keeps it out, if that is on this core.
    pub(super) fn give_way(&mut self, now: Mono, reason: RefuseReason, address: SocketAddr) -> bool {
        let anyone = match reason {
            RefuseReason::Unauthenticated => true,
            RefuseReason::AddressSilent => false,
            _ => return false,
        };
        let mut at = 0;
        while let Some(key) = self.silent.keys.get(at).copied() {
            let silent = self.is_silent(key);
            let found = silent && (anyone || self.is_neighbour(key, address));
            if found || !silent && at == 0 {
                self.silent.keys.remove(at);
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

    fn is_neighbour(&mut self, key: Key, address: SocketAddr) -> bool {
        let cold = self.conns.get(key).and_then(|slot| slot.cold.as_ref());
        cold.is_some_and(|cold| self.app.are_neighbours(&cold.peer, address))
    }
}
