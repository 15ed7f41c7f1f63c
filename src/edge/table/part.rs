//! One part of the table: entries in one vector, chained by hash, and those without a connection in the order in which
//! they lost their last one. Nothing moves while it is in use, so an index is as good as a name.

use super::super::address::Block;
use super::super::budget::{PerRole, Role};
use super::super::pace::Pace;
use crate::media::Mono;
use std::hash::{BuildHasher, RandomState};

/// Heads of chains that a part begins with.
const HEADS_MIN: usize = 16;
/// Forgettable addresses that make room for one that comes: more than one, so that what is forgettable
/// goes by and by. The memory stays, for the next crowd: it is bounded.
const FORGET_PER_ENTRY: usize = 2;
/// No entry.
const NONE: u32 = u32::MAX;

/// One address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    block: Block,
    paid_at: Mono,
    /// Connections, by what they are.
    pub connections: PerRole<u32>,
    /// The next in the chain of its hash, or of free entries.
    chain: u32,
    /// Neighbours among those without a connection.
    older: u32,
    newer: u32,
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.connections.iter().all(|count| *count == 0)
    }
}

/// Why a connection may not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    TooFast,
    TooMany,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Part {
    pub entries: Vec<Entry>,
    entries_max: usize,
    pub used: usize,
    /// First entries of the chains, by the low bits of the hash; as many as a power of two.
    heads: Vec<u32>,
    /// First of the free entries.
    free: u32,
    /// Ends of the list of those without a connection.
    oldest: u32,
    newest: u32,
    pub evicted: u64,
    pub untracked: u64,
}

impl Part {
    pub fn new(entries_max: usize) -> Part {
        Part {
            entries: Vec::new(),
            entries_max,
            used: 0,
            heads: Vec::new(),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            evicted: 0,
            untracked: 0,
        }
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.heads.capacity() * size_of::<u32>()
    }

    fn at(&mut self, entry: u32) -> Option<&mut Entry> {
        self.entries.get_mut(entry as usize)
    }

    fn head(&mut self, hash: u64) -> Option<&mut u32> {
        let chain = hash as usize & self.heads.len().checked_sub(1)?;
        self.heads.get_mut(chain)
    }

    /// The entry of `block`, whose hash is `hash`.
    pub fn find(&mut self, hash: u64, block: Block) -> Option<u32> {
        let mut at = *self.head(hash)?;
        loop {
            let entry = self.entries.get(at as usize)?;
            if entry.block == block {
                return Some(at);
            }
            at = entry.chain;
        }
    }

    /// Makes an entry without a connection, the newest of these.
    pub fn insert(&mut self, now: Mono, hash: u64, block: Block, hasher: &RandomState) -> Option<u32> {
        for _ in 0..FORGET_PER_ENTRY {
            let oldest = self.oldest;
            match self.at(oldest) {
                Some(entry) if entry.paid_at <= now => self.remove(oldest, hasher),
                _ => break,
            }
        }
        if self.free == NONE && self.entries.len() >= self.entries_max && self.oldest != NONE {
            self.remove(self.oldest, hasher);
            self.evicted += 1;
        }
        let new = Entry {
            block,
            paid_at: Mono::ZERO,
            connections: PerRole::default(),
            chain: NONE,
            older: NONE,
            newer: NONE,
        };
        let at = match self.free {
            NONE if self.entries.len() < self.entries_max => {
                self.entries.push(new);
                (self.entries.len() - 1) as u32
            }
            free => {
                let entry = self.at(free)?;
                let next = std::mem::replace(entry, new).chain;
                self.free = next;
                free
            }
        };
        self.used += 1;
        match self.entries.len() > self.heads.len() {
            // Puts the new one in as well.
            true => self.grow(hasher),
            false => self.chain(hash, at),
        }
        self.rest(at);
        Some(at)
    }

    /// More chains; called while no entry is free.
    fn grow(&mut self, hasher: &RandomState) {
        let len = (self.heads.len() * 2).max(HEADS_MIN);
        self.heads.reserve_exact(len - self.heads.len());
        self.heads.clear();
        self.heads.resize(len, NONE);
        for at in 0..self.entries.len() {
            let Some(block) = self.entries.get(at).map(|entry| entry.block) else { return };
            self.chain(hasher.hash_one(block), at as u32);
        }
    }

    /// Puts an entry at the front of its chain.
    fn chain(&mut self, hash: u64, at: u32) {
        let Some(head) = self.head(hash) else { return };
        let next = std::mem::replace(head, at);
        if let Some(entry) = self.at(at) {
            entry.chain = next;
        }
    }

    /// Forgets an entry without a connection.
    fn remove(&mut self, at: u32, hasher: &RandomState) {
        self.unrest(at);
        let (free, hash, next) = match self.at(at) {
            Some(entry) => (at, hasher.hash_one(entry.block), entry.chain),
            None => return,
        };
        match self.head(hash) {
            Some(head) if *head == at => *head = next,
            Some(head) => {
                let mut before = *head;
                while let Some(entry) = self.at(before) {
                    if entry.chain == at {
                        entry.chain = next;
                        break;
                    }
                    before = entry.chain;
                }
            }
            None => return,
        }
        let waiting = std::mem::replace(&mut self.free, free);
        if let Some(entry) = self.at(at) {
            entry.chain = waiting;
        }
        self.used -= 1;
    }

    /// Puts an entry at the newest end of those without a connection.
    fn rest(&mut self, at: u32) {
        let newest = std::mem::replace(&mut self.newest, at);
        if let Some(entry) = self.at(at) {
            (entry.older, entry.newer) = (newest, NONE);
        }
        match self.at(newest) {
            Some(entry) => entry.newer = at,
            None => self.oldest = at,
        }
    }

    /// Takes an entry out of those without a connection.
    fn unrest(&mut self, at: u32) {
        let Some(&mut Entry { older, newer, .. }) = self.at(at) else { return };
        match self.at(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
        match self.at(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
    }

    /// Whether a connection may come, with at most `fresh_max` that say nothing; counts it if so.
    pub fn enter(&mut self, now: Mono, at: u32, pace: Pace, fresh_max: u32) -> Result<(), TurnedAway> {
        let Some(entry) = self.at(at) else { return Err(TurnedAway::TooMany) };
        let idle = entry.is_idle();
        let mut paid_at = entry.paid_at;
        let answer = match pace.admits(&mut paid_at, now) {
            false => Err(TurnedAway::TooFast),
            true if entry.connections[Role::Fresh] >= fresh_max => Err(TurnedAway::TooMany),
            true => {
                entry.connections[Role::Fresh] += 1;
                entry.paid_at = paid_at;
                Ok(())
            }
        };
        if idle {
            self.unrest(at);
            if answer.is_err() {
                // Whoever is refused just now is the last that may be forgotten.
                self.rest(at);
            }
        }
        answer
    }

    /// A connection that was `role` goes.
    pub fn leave(&mut self, at: u32, role: Role) {
        let Some(entry) = self.at(at) else { return };
        let count = &mut entry.connections[role];
        *count = count.saturating_sub(1);
        if entry.is_idle() {
            self.rest(at);
        }
    }
}
