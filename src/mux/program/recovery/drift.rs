//! How much the source's crystal is off, found from the least delay of each window, and by how much the line is bent for it.

use super::{BILLION, LATENCY, SECOND};
use crate::mux::ticker::MS;
use std::collections::VecDeque;

/// Time that one point of the loop stands for.
pub(super) const WINDOW: i64 = 10 * SECOND;
/// Points that are looked back on: eight minutes.
const POINTS_MAX: usize = 48;
/// Points that it takes to believe in a slope.
const POINTS_MIN: usize = 12;
/// A point that is off by more is a step of the path (another route, a buffer that fills), not of the clock.
const STEP: i64 = 10 * MS;
/// The most that a crystal is off.
const FREQUENCY_PPB_MAX: i64 = 200_000;
/// Change of the followed frequency in a window.
const FREQUENCY_STEP_PPB: i64 = 2_000;
/// Delay is corrected at this rate at most: 30 ppm (ISO/IEC 13818-1 section 2.4.2.1).
const STEER_PPB_MAX: i64 = 30_000;
/// Time in which the correction would take back the whole error.
const STEER_SECONDS: i64 = 300;

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Drift {
    /// When, and the delay: of past windows.
    points: VecDeque<(i64, i64)>,
    pub frequency_ppb: i64,
}

impl Drift {
    pub fn new() -> Drift {
        Drift { points: VecDeque::with_capacity(POINTS_MAX), frequency_ppb: 0 }
    }

    pub fn heap_bytes(&self) -> usize {
        self.points.capacity() * size_of::<(i64, i64)>()
    }

    /// What was seen is of no use any more; the frequency is still the best that is known.
    pub fn begin(&mut self) {
        self.points.clear();
    }

    /// Another clock.
    pub fn forget(&mut self) {
        self.begin();
        self.frequency_ppb = 0;
    }

    /// A window is over whose least delay was `delay`, seen at `at`; `lead` is what the line gives that one. Returns the slope
    /// that the line should have from here on.
    pub fn turn(&mut self, at: i64, delay: i64, lead: i64) -> i64 {
        if let Some(&(last_at, last)) = self.points.back() {
            let expected = last + (at - last_at).saturating_mul(self.frequency_ppb) / BILLION;
            let step = delay - expected;
            if step.abs() > STEP {
                self.points.iter_mut().for_each(|point| point.1 += step);
            }
        }
        if self.points.len() >= POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back((at, delay));
        if let Some(slope) = slope_ppb(&self.points) {
            let change = slope.clamp(-FREQUENCY_PPB_MAX, FREQUENCY_PPB_MAX) - self.frequency_ppb;
            self.frequency_ppb += change.clamp(-FREQUENCY_STEP_PPB, FREQUENCY_STEP_PPB);
        }
        // What the line gives the least delay, against what it should.
        let steer = (LATENCY - lead).saturating_mul(BILLION / SECOND) / STEER_SECONDS;
        self.frequency_ppb + steer.clamp(-STEER_PPB_MAX, STEER_PPB_MAX)
    }
}

/// Least squares through points, in parts in 10^9; `None`: too few.
fn slope_ppb(points: &VecDeque<(i64, i64)>) -> Option<i64> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let &(at0, delay0) = points.front()?;
    // Relative to the first, so that no digits are lost however long it runs.
    let relative = || points.iter().map(|(at, delay)| ((at - at0) as f64, (delay - delay0) as f64));
    let count = points.len() as f64;
    let (sum_x, sum_y) = relative().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (xx, xy) = relative().fold((0.0, 0.0), |(xx, xy), (x, y)| {
        (xx + (x - mean_x) * (x - mean_x), xy + (x - mean_x) * (y - mean_y))
    });
    (xx > 0.0).then(|| (xy / xx * BILLION as f64) as i64)
}
