//! The checker's primitives under the names of headgate's `fanout/sync.rs`.

pub use loom::cell::UnsafeCell;
pub use loom::sync::Arc;
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The checker's `AtomicBool`, with stores made by swapping.
///
/// The checker orders two stores to one atomic only where one happens before the other. That is too little beside a
/// swap: one thread stores A, another swaps A for B, the first stores C. The swap stands right behind A, so the order is
/// A, B, C; but the checker lets a third look find B after C, and reports a lost wake-up that cannot be. A swap reads
/// the newest value and so takes its place behind it. Loads may still return any old value they are allowed to.
#[derive(Debug, Default)]
pub struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    /// As the standard one.
    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    /// As the standard one; see the type.
    pub fn store(&self, value: bool, order: Ordering) {
        self.0.swap(value, order);
    }

    /// As the standard one.
    pub fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }
}
