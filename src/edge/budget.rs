//! What the process takes in all, by what a connection is.
//!
//! Viewers leave a tenth to publishers, and whoever has not said yet what it wants has a tenth: no crowd of viewers keeps
//! a publisher out, and silent connections cannot take the places of either. When the tenth of the silent ones is full a
//! newcomer takes the place of the oldest of them (`shard/silent.rs`); one address has only a few of these places
//! ([`super::admission::FRESH_PER_ADDRESS`]). The sum of all is bounded by the tables of the cores.

use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Part of the budget that viewers leave to publishers.
const PUBLISHERS_KEEP: u32 = 10;
/// Part of the budget for connections that neither publish nor play.
const FRESH_PART: u32 = 10;
/// But so many at least, because a small budget is filled by a burst that is over in a moment; or half of the budget.
const FRESH_MIN: u32 = 1024;

/// What a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Neither publishes nor plays, yet or any more.
    Fresh,
    /// Plays, or waits for its stream.
    Viewer,
    /// Publishes.
    Publisher,
    /// Reads a page; the control thread bounds these.
    Page,
    /// Was turned away, and stays for a moment to hear why.
    Leaving,
}

impl Role {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them.
    pub const ALL: [Role; Role::COUNT] =
        [Role::Fresh, Role::Viewer, Role::Publisher, Role::Page, Role::Leaving];
}

/// A number for each [`Role`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerRole<T>([T; Role::COUNT]);

impl<T> PerRole<T> {
    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T> std::ops::Index<Role> for PerRole<T> {
    type Output = T;

    fn index(&self, role: Role) -> &T {
        // A role's number is below their count.
        &self.0[role as usize]
    }
}

impl<T> std::ops::IndexMut<Role> for PerRole<T> {
    fn index_mut(&mut self, role: Role) -> &mut T {
        &mut self.0[role as usize]
    }
}

/// Counts of the whole process. The atomics are touched when a connection comes, changes its role and goes.
#[derive(Debug)]
pub struct Budget {
    viewers_max: u32,
    fresh_max: u32,
    counts: PerRole<CachePadded<AtomicU32>>,
}

impl Budget {
    /// A budget of `connections` in all.
    pub fn new(connections: u32) -> Budget {
        Budget {
            viewers_max: (connections - connections / PUBLISHERS_KEEP).max(1),
            fresh_max: (connections / FRESH_PART).max(FRESH_MIN.min(connections / 2)).max(1),
            counts: PerRole::default(),
        }
    }

    /// How many fresh ones there may be.
    pub fn fresh_max(&self) -> u32 {
        self.fresh_max
    }

    /// How many there are of `role` now.
    pub fn count(&self, role: Role) -> u32 {
        self.counts[role].load(Relaxed)
    }

    /// Viewers, as a part of those that there may be.
    pub fn viewers_part(&self) -> f64 {
        f64::from(self.count(Role::Viewer)) / f64::from(self.viewers_max)
    }

    /// A connection that wants to be of `role` takes its place, if there is one; always for all but fresh ones and
    /// viewers, which alone have a bound here.
    pub fn take(&self, role: Role) -> bool {
        let max = match role {
            Role::Fresh => self.fresh_max,
            Role::Viewer => self.viewers_max,
            Role::Publisher | Role::Page | Role::Leaving => u32::MAX,
        };
        let next = |count: u32| (count < max).then(|| count.saturating_add(1));
        self.counts[role].fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// A connection that was something else is of `role`, place or not.
    pub fn take_anyway(&self, role: Role) {
        self.counts[role].fetch_add(1, Relaxed);
    }

    /// A connection of `role` gives its place up.
    pub fn give(&self, role: Role) {
        self.counts[role].fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        // (connections, fresh, viewers)
        for (connections, fresh, viewers) in [
            (100_000, 10_000, 90_000),
            (18_000, 1800, 16_200),
            (4096, 1024, 3687),
            (100, 50, 90),
            (1, 1, 1),
            (0, 1, 1),
        ] {
            let budget = Budget::new(connections);
            let taken = |role| (0..200_000).take_while(|_| budget.take(role)).count();
            assert_eq!((taken(Role::Fresh), taken(Role::Viewer)), (fresh, viewers), "{connections}");
            assert!(budget.take(Role::Publisher), "no crowd keeps a publisher out");
            budget.give(Role::Viewer);
            assert!(budget.take(Role::Viewer) && !budget.take(Role::Viewer));
            budget.take_anyway(Role::Fresh);
            assert_eq!(budget.count(Role::Fresh), fresh as u32 + 1);
            budget.give(Role::Fresh);
            assert!(!budget.take(Role::Fresh), "who came back has taken a place");
        }
    }
}
