//! The synchronisation primitives of [`super::segment`], in one place so that the model checker can swap them
//! (`loom/` compiles `segment.rs` against its own `sync`).

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicU32, Ordering};

/// `std::cell::UnsafeCell` with the closure interface of the model checker's.
#[derive(Debug)]
#[repr(transparent)]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// A pointer for reading.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// A pointer for writing.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
