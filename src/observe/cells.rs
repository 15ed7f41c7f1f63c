//! Cells with one writer: the core they belong to. A reader on another thread sees each cell whole, and each counter
//! never fall; two cells are not read at one moment.
//!
//! A write is a relaxed load and a relaxed store, two plain moves on every machine; `fetch_add` would lock the bus
//! for a value that nobody else writes. Two writers would lose counts, so a cell is never shared between cores.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A count that only grows (modulo 2^64).
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only on the owning core.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one. Only on the owning core.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls. One core's share may be negative where something begins on one core and ends on
/// another; the sum over all cores is the value.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative. Only on the owning core.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Adds one. Only on the owning core.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one off. Only on the owning core.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Replaces the value. Only on the owning core.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// This core's share.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// A measured fraction or time, replaced as a whole.
#[derive(Debug, Default)]
pub struct Ratio(AtomicU64);

impl Ratio {
    /// Replaces the value. Only on the owning core.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// The last value set; 0 before.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}
