//! What the process takes in all, by what a connection is.
//!
//! Viewers leave a tenth to publishers, and whoever has not said yet what it wants has a tenth: neither a crowd of
//! viewers nor one of silent connections keeps a publisher out. The sum of all is bounded by the tables of the cores.

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
}

/// Counts of the whole process. The atomics are touched when a connection comes, changes its role and goes.
#[derive(Debug)]
pub struct Budget {
    viewers_max: u32,
    fresh_max: u32,
    fresh: CachePadded<AtomicU32>,
    viewers: CachePadded<AtomicU32>,
    publishers: CachePadded<AtomicU32>,
}

impl Budget {
    /// A budget of `connections` in all.
    pub fn new(connections: u32) -> Budget {
        Budget {
            viewers_max: (connections - connections / PUBLISHERS_KEEP).max(1),
            fresh_max: (connections / FRESH_PART).max(FRESH_MIN.min(connections / 2)).max(1),
            fresh: CachePadded::default(),
            viewers: CachePadded::default(),
            publishers: CachePadded::default(),
        }
    }

    fn cell(&self, role: Role) -> &AtomicU32 {
        match role {
            Role::Fresh => &self.fresh,
            Role::Viewer => &self.viewers,
            Role::Publisher => &self.publishers,
        }
    }

    /// How many there are of `role` now.
    pub fn count(&self, role: Role) -> u32 {
        self.cell(role).load(Relaxed)
    }

    /// A connection that wants to be of `role` takes its place, if there is one; always for publishers.
    pub fn take(&self, role: Role) -> bool {
        let max = match role {
            Role::Fresh => self.fresh_max,
            Role::Viewer => self.viewers_max,
            Role::Publisher => u32::MAX,
        };
        let next = |count: u32| (count < max).then(|| count.saturating_add(1));
        self.cell(role).fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// A connection that was something else is `Fresh` again, place or not.
    pub fn take_back(&self) {
        self.fresh.fetch_add(1, Relaxed);
    }

    /// A connection of `role` gives its place up.
    pub fn give(&self, role: Role) {
        self.cell(role).fetch_sub(1, Relaxed);
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
            budget.take_back();
            assert_eq!(budget.count(Role::Fresh), fresh as u32 + 1);
            budget.give(Role::Fresh);
            assert!(!budget.take(Role::Fresh), "who came back has taken a place");
        }
    }
}
