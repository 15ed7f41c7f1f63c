//! What is known of one track of pictures or sound: what it said last, and how long it took.

use super::{SECOND, SKEW_MAX};
use crate::mux::ticker::MS;
use crate::wire::ts::pes::wrapping_distance;
use crate::wire::ts::{CLOCK_MODULUS, PCR_TICKS};

/// Decoding times that go back by more are another timeline.
const BACK_MAX: i64 = 100 * MS;
/// Units of a source whose stamps leap that follow one another are closer than that.
const STEP_MAX: i64 = SECOND;

/// See the module's description.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub video: bool,
    /// When the last unit came, and its decoding time.
    pub last: Option<(i64, i64)>,
    /// Decoding time of the last one that had a place.
    good: Option<i64>,
    /// What the last one said, if it was on another timeline: it takes two to believe that.
    odd: Option<u64>,
    /// Least delay since the beginning, while it settles.
    pub settling: Option<i64>,
    /// Least delay in this window, with when it was seen.
    pub window: Option<(i64, i64)>,
    late_since: Option<i64>,
}

impl Heard {
    /// All of it begins anew, but for what kind it is and when it came.
    pub fn begin(&mut self) {
        *self = Heard { video: self.video, last: self.last, ..Heard::default() };
    }

    /// A unit came while it settles.
    pub fn settle(&mut self, now: i64, decoding: i64) {
        self.good = Some(decoding);
        let delay = now - decoding;
        // One that is far from those before it is on another timeline than they are, and so is what follows it.
        let same = self.settling.filter(|least| (delay - least).abs() <= SKEW_MAX);
        self.settling = Some(same.map_or(delay, |least| least.min(delay)));
    }

    /// A unit came in time.
    pub fn keep(&mut self, now: i64, decoding: i64) {
        (self.late_since, self.good, self.odd) = (None, Some(decoding), None);
        let delay = now - decoding;
        if self.window.is_none_or(|(least, _)| delay < least) {
            self.window = Some((delay, now));
        }
    }

    /// Whether a unit that is too early, or late, is the second in a row on another timeline. `time`: as it says it.
    pub fn is_elsewhere(&mut self, early: bool, time: u64, decoding: i64) -> bool {
        let is_odd = early || self.good.is_some_and(|good| decoding < good - BACK_MAX);
        let before = std::mem::replace(&mut self.odd, is_odd.then_some(time));
        // Stamps that are broken do not follow one another.
        let near =
            |before| wrapping_distance(before, time, CLOCK_MODULUS).abs() <= STEP_MAX / PCR_TICKS as i64;
        is_odd && before.is_some_and(near)
    }

    /// For how long it has been late.
    pub fn late_for(&mut self, now: i64, late: bool) -> i64 {
        if late { now - *self.late_since.get_or_insert(now) } else { 0 }
    }
}
