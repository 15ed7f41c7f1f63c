//! A line from source time to mux time, in ticks of 27 MHz.

use super::BILLION;

/// A line from source time to mux time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mux) struct Line {
    pub pivot: i64,
    /// Mux time less source time at the pivot.
    pub offset: i64,
    pub slope_ppb: i64,
}

impl Line {
    /// Mux time of a source time.
    pub fn at(self, source: i64) -> i64 {
        source + self.offset + (source - self.pivot).saturating_mul(self.slope_ppb) / BILLION
    }

    /// The same line up to `pivot`, and on from there with another slope.
    pub fn bend(self, pivot: i64, slope_ppb: i64) -> Line {
        Line { pivot, offset: self.at(pivot) - pivot, slope_ppb }
    }
}
