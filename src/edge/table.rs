//! What is known of each address: how many connections it has, and how fast it came.
//!
//! One table for all cores, because an address comes to any of them; divided into parts with a mutex each, taken when
//! a connection comes, plays, publishes or goes. Bounded in entries and bytes. The hash is seeded (SipHash), so that
//! nobody can choose addresses that meet in one place.
//!
//! An address without a connection is forgotten as soon as its pace is paid for, when room is looked for: it then has
//! nothing that a new entry would not have. If a part is full, the address that has been without a connection for
//! longest makes room. If all of its addresses have connections, a new one is let in and not counted: a million live
//! addresses are a crowd, not one greedy peer, and the budgets still hold. How often that happened is counted.

use super::address::Block;
use super::pace::Pace;
use crate::media::Mono;
use crossbeam::utils::CachePadded;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts of the table: many more than cores, so that two rarely want one.
const PARTS: usize = 64;
/// Addresses of all parts together.
pub const ENTRIES_MAX: usize = 1 << 20;
/// Memory of all parts together, in bytes.
pub const BYTES_MAX: usize = 64 << 20;
/// Addresses of one part; a power of two, like every capacity on the way there.
const PART_ENTRIES_MAX: usize = ENTRIES_MAX / PARTS;
/// Heads of chains that a part begins with.
const HEADS_MIN: usize = 16;
/// Forgettable addresses that make room for one that comes: more than one, so that the table gets smaller.
const FORGET_PER_ENTRY: usize = 2;
/// No entry.
const NONE: u32 = u32::MAX;

const _: () = assert!(ENTRIES_MAX * (size_of::<Entry>() + size_of::<u32>()) <= BYTES_MAX);
const _: () = assert!(PART_ENTRIES_MAX.is_power_of_two() && PART_ENTRIES_MAX < NONE as usize);

/// One address.
#[derive(Clone, Copy, Debug)]
struct Entry {
    block: Block,
    paid_at: Mono,
    connections: u32,
    viewers: u32,
    publishers: u32,
    /// The next in the chain of its hash, or of free entries.
    chain: u32,
    /// Neighbours among those without a connection.
    older: u32,
    newer: u32,
}

/// Where an address with a connection is; stays valid until [`Table::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    part: u8,
    entry: u32,
}

const _: () = assert!(PARTS <= 1 << u8::BITS);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is counted here.
    At(Place),
    /// Its address comes faster than it may.
    TooFast,
    /// There is no room, and nothing that could make any: it is not counted.
    Untracked,
}

/// What the table has and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Addresses in it.
    pub entries: u64,
    /// Memory that it holds.
    pub bytes: u64,
    /// Addresses that had to make room although their pace was not yet paid for, since the start.
    pub evicted: u64,
    /// Connections that were not counted, since the start.
    pub untracked: u64,
}

/// See the module's description.
#[derive(Debug)]
pub struct Table {
    parts: Box<[CachePadded<Mutex<Part>>]>,
    hasher: RandomState,
}

impl Default for Table {
    fn default() -> Self {
        Table::with_part_entries(PART_ENTRIES_MAX)
    }
}

impl Table {
    fn with_part_entries(entries_max: usize) -> Table {
        let parts = (0..PARTS).map(|_| CachePadded::new(Mutex::new(Part::new(entries_max)))).collect();
        Table { parts, hasher: RandomState::new() }
    }

    fn part(&self, part: usize) -> Option<MutexGuard<'_, Part>> {
        Some(self.parts.get(part)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection of `block` comes.
    pub fn enter(&self, now: Mono, block: Block, pace: Pace) -> Entered {
        let hash = self.hasher.hash_one(block);
        // The low bits choose the chain.
        let index = (hash >> 32) as usize % PARTS;
        let Some(mut part) = self.part(index) else { return Entered::Untracked };
        let Some(entry) = part.find(hash, block).or_else(|| part.insert(now, hash, block, &self.hasher))
        else {
            part.untracked += 1;
            return Entered::Untracked;
        };
        match part.enter(now, entry, pace) {
            true => Entered::At(Place { part: index as u8, entry }),
            false => Entered::TooFast,
        }
    }

    /// A connection there becomes a viewer; false if its address has `max` of them.
    pub fn add_viewer(&self, place: Place, max: u32) -> bool {
        self.change(place, |entry| &mut entry.viewers, |count| (count < max).then_some(count + 1))
    }

    /// A connection there becomes a publisher; false if its address has `max` of them.
    pub fn add_publisher(&self, place: Place, max: u32) -> bool {
        self.change(place, |entry| &mut entry.publishers, |count| (count < max).then_some(count + 1))
    }

    /// A connection there is no viewer any more.
    pub fn remove_viewer(&self, place: Place) {
        self.change(place, |entry| &mut entry.viewers, |count| count.checked_sub(1));
    }

    /// A connection there is no publisher any more.
    pub fn remove_publisher(&self, place: Place) {
        self.change(place, |entry| &mut entry.publishers, |count| count.checked_sub(1));
    }

    fn change(
        &self,
        place: Place,
        cell: fn(&mut Entry) -> &mut u32,
        to: impl Fn(u32) -> Option<u32>,
    ) -> bool {
        let Some(mut part) = self.part(usize::from(place.part)) else { return false };
        let Some(count) = part.entries.get_mut(place.entry as usize).map(cell) else { return false };
        match to(*count) {
            Some(new) => *count = new,
            None => return false,
        }
        true
    }

    /// A connection there goes; it is neither viewer nor publisher any more.
    pub fn leave(&self, place: Place) {
        if let Some(mut part) = self.part(usize::from(place.part)) {
            part.leave(place.entry);
        }
    }

    /// What the table has and did; looks at each part for a moment.
    pub fn stats(&self) -> TableStats {
        let mut sum = TableStats::default();
        for part in (0..PARTS).filter_map(|part| self.part(part)) {
            sum.entries += part.used as u64;
            sum.bytes += part.bytes() as u64;
            sum.evicted += part.evicted;
            sum.untracked += part.untracked;
        }
        sum
    }
}

#[derive(Debug)]
struct Part {
    entries: Vec<Entry>,
    entries_max: usize,
    used: usize,
    /// First entries of the chains, by the low bits of the hash; as many as a power of two.
    heads: Vec<u32>,
    /// First of the free entries.
    free: u32,
    /// Ends of the list of those without a connection.
    oldest: u32,
    newest: u32,
    evicted: u64,
    untracked: u64,
}

impl Part {
    fn new(entries_max: usize) -> Part {
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

    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.heads.capacity() * size_of::<u32>()
    }

    fn at(&mut self, entry: u32) -> Option<&mut Entry> {
        self.entries.get_mut(entry as usize)
    }

    fn head(&mut self, hash: u64) -> Option<&mut u32> {
        let chain = hash as usize & self.heads.len().checked_sub(1)?;
        self.heads.get_mut(chain)
    }

    fn find(&mut self, hash: u64, block: Block) -> Option<u32> {
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
    fn insert(&mut self, now: Mono, hash: u64, block: Block, hasher: &RandomState) -> Option<u32> {
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
            connections: 0,
            viewers: 0,
            publishers: 0,
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

    /// Whether a connection may come; counts it if so.
    fn enter(&mut self, now: Mono, at: u32, pace: Pace) -> bool {
        let Some(entry) = self.at(at) else { return false };
        let admitted = pace.admits(&mut entry.paid_at, now);
        let idle = entry.connections == 0;
        if admitted {
            entry.connections += 1;
        }
        if idle {
            self.unrest(at);
            if !admitted {
                // Whoever is refused just now is the last that may be forgotten.
                self.rest(at);
            }
        }
        admitted
    }

    fn leave(&mut self, at: u32) {
        let Some(entry) = self.at(at) else { return };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 {
            self.rest(at);
        }
    }
}

#[cfg(test)]
mod tests;
