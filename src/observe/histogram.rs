//! Latency histograms: recorded per core without sharing, merged by the scraper.

use super::labels::{PerProtocol, PerStage, Protocol, Stage};
use hdrhistogram::Histogram;
use std::sync::{Mutex, MutexGuard};

/// Largest recorded time, microseconds; longer ones count as this (60 s).
const MAX_US: u64 = 60_000_000;
/// Decimal digits kept of a value: an error of at most 1 %, and 20 KB a histogram.
const DIGITS: u8 = 2;

/// One distribution of microseconds with its exact sum.
#[derive(Clone, Debug)]
pub(super) struct Times {
    histogram: Histogram<u64>,
    /// Microseconds, wrapping like a counter.
    sum_us: u64,
}

impl Default for Times {
    fn default() -> Self {
        // The arguments are constants that the library accepts; a test makes one.
        let histogram = Histogram::new_with_bounds(1, MAX_US, DIGITS).expect("valid histogram bounds");
        Self { histogram, sum_us: 0 }
    }
}

impl Times {
    #[inline]
    pub(super) fn record(&mut self, us: u64, n: u64) {
        let us = us.min(MAX_US);
        self.histogram.saturating_record_n(us, n);
        self.sum_us = self.sum_us.wrapping_add(us.wrapping_mul(n));
    }

    pub(super) fn add(&mut self, other: &Times) {
        // Equal bounds on both sides: the library has nothing to refuse.
        if !other.histogram.is_empty() && self.histogram.add(&other.histogram).is_ok() {
            self.sum_us = self.sum_us.wrapping_add(other.sum_us);
        }
    }

    pub(super) fn clear(&mut self) {
        if !self.histogram.is_empty() {
            self.histogram.reset();
            self.sum_us = 0;
        }
    }

    /// What was recorded after `earlier`, an older state of the same totals.
    pub(super) fn since(&self, earlier: &Times) -> Times {
        let mut times = self.clone();
        // Equal bounds on both sides, and a total never falls: the library has nothing to refuse.
        if times.histogram.subtract(&earlier.histogram).is_ok() {
            times.sum_us = times.sum_us.wrapping_sub(earlier.sum_us);
        }
        times
    }

    /// Microseconds that the slowest hundredth took at least, `values_min` values however; 0 if there are fewer.
    pub(super) fn slowest_us(&self, values_min: u64) -> u64 {
        let count = self.histogram.len();
        let slowest = (count / 100).max(values_min);
        match count.checked_sub(slowest) {
            Some(quicker) => self.histogram.value_at_quantile((quicker + 1) as f64 / count.max(1) as f64),
            None => 0,
        }
    }

    /// Recorded values.
    pub(super) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Sum of the recorded values in seconds.
    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// How many values are at most `us`; values within 1 % above it count as equal to it.
    pub(super) fn count_up_to(&self, us: u64) -> u64 {
        self.histogram.count_between(0, us)
    }
}

/// All histograms of the data path.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) stages: PerStage<PerProtocol<Times>>,
    pub(super) fanout: PerProtocol<Times>,
    pub(super) turns: Times,
}

impl Set {
    /// Adds everything recorded in `other`.
    pub(super) fn add(&mut self, other: &Set) {
        for (stage, table) in self.stages.iter_mut() {
            table.iter_mut().for_each(|(protocol, times)| times.add(&other.stages[stage][protocol]));
        }
        self.fanout.iter_mut().for_each(|(protocol, times)| times.add(&other.fanout[protocol]));
        self.turns.add(&other.turns);
    }

    fn clear(&mut self) {
        self.stages.iter_mut().for_each(|(_, table)| table.iter_mut().for_each(|(_, times)| times.clear()));
        self.fanout.iter_mut().for_each(|(_, times)| times.clear());
        self.turns.clear();
    }
}

/// The histograms one core records into; nobody else sees them. About 260 KB.
#[derive(Debug, Default)]
pub struct CoreHistograms {
    set: Set,
    /// Whether anything was recorded since the last hand-over.
    dirty: bool,
}

impl CoreHistograms {
    /// Empty histograms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that `stage` took `us` microseconds.
    #[inline]
    pub fn record_us(&mut self, stage: Stage, protocol: Protocol, us: u64) {
        self.dirty = true;
        self.set.stages[stage][protocol].record(us, 1);
    }

    /// Records `us` microseconds from a complete frame to its acceptance by the kernel for one subscriber.
    #[inline]
    pub fn record_fanout_us(&mut self, protocol: Protocol, us: u64) {
        self.dirty = true;
        self.set.fanout[protocol].record(us, 1);
    }

    /// Records that one turn of the core's loop took `us` microseconds: how long whatever became ready in it waited.
    #[inline]
    pub fn record_turn_us(&mut self, us: u64) {
        self.dirty = true;
        self.set.turns.record(us, 1);
    }

    /// Hands everything recorded so far to the scraper's side and starts again; to be called about once a second.
    /// Never waits: returns false, keeping what it has, when the scraper is reading just now. Costs some ten
    /// microseconds.
    pub fn publish(&mut self, shared: &SharedHistograms) -> bool {
        if !self.dirty {
            return true;
        }
        let Ok(mut total) = shared.0.try_lock() else { return false };
        total.add(&self.set);
        drop(total);
        self.set.clear();
        self.dirty = false;
        true
    }
}

/// Where one core leaves its histograms for the scraper; totals since the start.
#[derive(Debug, Default)]
pub struct SharedHistograms(Mutex<Set>);

impl SharedHistograms {
    /// Adds the totals to `sum`.
    pub(super) fn add_to(&self, sum: &mut Set) {
        sum.add(&self.locked());
    }

    /// This core's turns alone.
    pub(super) fn turns(&self) -> Times {
        self.locked().turns.clone()
    }

    fn locked(&self) -> MutexGuard<'_, Set> {
        // A set is whole after every step; a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_adds_up_once() {
        let shared = SharedHistograms::default();
        let mut core = CoreHistograms::new();
        for us in [0, 90, 100, 101, 1001, u64::MAX] {
            core.record_us(Stage::Send, Protocol::Rtmp, us);
        }
        assert!(core.publish(&shared) && core.publish(&shared));
        (0..3).for_each(|_| core.record_us(Stage::Send, Protocol::Rtmp, 500));
        assert!(core.publish(&shared));
        let mut sum = Set::default();
        shared.add_to(&mut sum);
        let times = &sum.stages[Stage::Send][Protocol::Rtmp];
        assert_eq!(times.count(), 9);
        // 1001 us lies within 1 % of 1000 us.
        assert_eq!([90, 100, 500, 1000, MAX_US].map(|us| times.count_up_to(us)), [2, 3, 7, 8, 9]);
        assert_eq!(sum.stages[Stage::Send][Protocol::HttpFlv].count(), 0);
    }

    #[test]
    fn a_reading_scraper_is_not_waited_for() {
        let shared = SharedHistograms::default();
        let mut core = CoreHistograms::new();
        core.record_fanout_us(Protocol::HttpFlv, 7);
        let held = shared.0.lock().unwrap();
        assert!(!core.publish(&shared));
        drop(held);
        assert!(core.publish(&shared));
        let mut sum = Set::default();
        shared.add_to(&mut sum);
        assert_eq!(
            (sum.fanout[Protocol::HttpFlv].count(), sum.fanout[Protocol::HttpFlv].sum_seconds()),
            (1, 7e-6)
        );
    }
}
