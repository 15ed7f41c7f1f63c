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

mod part;

use super::address::Block;
use super::budget::Role;
use super::pace::Pace;
use crate::media::Mono;
use crossbeam::utils::CachePadded;
use part::{Entry, Part, TurnedAway};
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

const _: () = assert!(ENTRIES_MAX * (size_of::<Entry>() + size_of::<u32>()) <= BYTES_MAX);
const _: () = assert!(PART_ENTRIES_MAX.is_power_of_two() && PART_ENTRIES_MAX < u32::MAX as usize);

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
    /// Its address has as many that say nothing as it may.
    TooMany,
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

    /// A connection of `block` comes, of which `fresh_max` may be fresh.
    pub fn enter(&self, now: Mono, block: Block, pace: Pace, fresh_max: u32) -> Entered {
        let hash = self.hasher.hash_one(block);
        // The low bits choose the chain.
        let index = (hash >> 32) as usize % PARTS;
        let Some(mut part) = self.part(index) else { return Entered::Untracked };
        let Some(entry) = part.find(hash, block).or_else(|| part.insert(now, hash, block, &self.hasher))
        else {
            part.untracked += 1;
            return Entered::Untracked;
        };
        match part.enter(now, entry, pace, fresh_max) {
            Ok(()) => Entered::At(Place { part: index as u8, entry }),
            Err(TurnedAway::TooFast) => Entered::TooFast,
            Err(TurnedAway::TooMany) => Entered::TooMany,
        }
    }

    /// A connection there that was `old` becomes `new`; false if its address has `max` of these.
    pub fn turn(&self, place: Place, old: Role, new: Role, max: u32) -> bool {
        let Some(mut part) = self.part(usize::from(place.part)) else { return false };
        let Some(entry) = part.entries.get_mut(place.entry as usize) else { return false };
        if entry.connections[new] >= max {
            return false;
        }
        entry.connections[new] += 1;
        let count = &mut entry.connections[old];
        *count = count.saturating_sub(1);
        true
    }

    /// A connection there goes that was `role`.
    pub fn leave(&self, place: Place, role: Role) {
        if let Some(mut part) = self.part(usize::from(place.part)) {
            part.leave(place.entry, role);
        }
    }

    /// Connections of all addresses.
    #[cfg(test)]
    pub fn connections(&self) -> u64 {
        let of = |part: MutexGuard<'_, Part>| {
            part.entries
                .iter()
                .flat_map(|entry| entry.connections.iter())
                .map(|count| u64::from(*count))
                .sum::<u64>()
        };
        (0..PARTS).filter_map(|part| self.part(part)).map(of).sum()
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

#[cfg(test)]
mod tests;
