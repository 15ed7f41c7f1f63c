//! When connections should begin: an open loop, whose pace nobody can hold up.
//!
//! A generator that waits for one connection before it begins the next asks a slow server fewer questions, and so measures
//! it as fast (coordinated omission). Here every moment is fixed before the first connection, and whatever is late, the
//! server or this process, is counted from that moment on.

use crate::clock::SECOND_NS;

/// Moments at even distances.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals {
    start_ns: u64,
    rate_per_s: f64,
    count: usize,
}

/// Slowest pace that is told from none at all: one in 1000 s.
const RATE_MIN: f64 = 1e-3;

impl Arrivals {
    /// `count` arrivals, `rate_per_s` a second, the first at `start_ns`.
    pub fn new(start_ns: u64, rate_per_s: f64, count: usize) -> Self {
        Self { start_ns, rate_per_s: rate_per_s.max(RATE_MIN), count }
    }

    /// When arrival `number` is due; `None` behind the last.
    pub fn due_ns(&self, number: usize) -> Option<u64> {
        // From the start each time, not from the arrival before: rounding never adds up.
        let offset = number as f64 / self.rate_per_s * SECOND_NS as f64;
        (number < self.count).then_some(self.start_ns + offset as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_a_second_for_thirty_seconds() {
        let arrivals = Arrivals::new(5, 1000.0, 30_000);
        assert_eq!(arrivals.due_ns(0), Some(5));
        assert_eq!(arrivals.due_ns(1), Some(1_000_005));
        assert_eq!(arrivals.due_ns(29_999), Some(29_999_000_005));
        assert_eq!(arrivals.due_ns(30_000), None);
    }

    #[test]
    fn a_pace_that_does_not_divide_a_second_does_not_drift() {
        let arrivals = Arrivals::new(0, 7.0, 1_000_000);
        assert_eq!(arrivals.due_ns(7 * 10_000), Some(10_000 * SECOND_NS));
        let gaps = (1..1000).map(|n| arrivals.due_ns(n).unwrap() - arrivals.due_ns(n - 1).unwrap());
        assert!(gaps.into_iter().all(|gap| gap.abs_diff(SECOND_NS / 7) <= 1));
    }
}
