//! Deadlines of one core in one heap. Whoever comes due looks at its own deadline, so an entry that comes early or again
//! does nothing: a nearer deadline is pushed beside the old one, which is not searched for.

use super::engine::Key;
use crate::fanout::directory::StreamId;
use crate::media::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Connection(Key),
    Stream(StreamId),
    /// A listener that is to be tried again.
    Accept(usize),
    Second,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Reverse<Mono>,
    timer: Timer,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Entry>,
}

impl Timers {
    pub fn push(&mut self, at: Mono, timer: Timer) {
        if at != Mono::NEVER {
            self.heap.push(Entry { at: Reverse(at), timer });
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Entry>()
    }

    pub fn next_at(&self) -> Mono {
        self.heap.peek().map_or(Mono::NEVER, |e| e.at.0)
    }

    /// Takes all that are due. What is pushed while they are handled waits for the next turn, however early it is:
    /// otherwise a deadline that renews itself would hold the core.
    pub fn take_due(&mut self, now: Mono) -> Vec<Timer> {
        let mut due = Vec::new();
        while self.next_at() <= now {
            due.extend(self.heap.pop().map(|e| e.timer));
        }
        due
    }
}
