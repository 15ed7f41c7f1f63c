//! How far a measurement is and how long it still takes.

use std::cell::Cell;
use std::time::Instant;

/// Planned and finished seconds; the estimate follows what runs really took.
pub struct Progress {
    planned_s: f64,
    done_s: Cell<f64>,
    began: Instant,
}

impl Progress {
    /// Before the first run; `planned_s` is the sum of all [`super::run::Load::planned_seconds`].
    pub fn new(planned_s: f64) -> Self {
        Self { planned_s, done_s: Cell::new(0.0), began: Instant::now() }
    }

    /// A run that was planned to take `seconds` has ended.
    pub fn done(&self, seconds: f64) {
        self.done_s.set((self.done_s.get() + seconds).min(self.planned_s));
    }

    /// What stands in front of a line: part done and time left.
    pub fn line(&self) -> String {
        let left = remaining_s(self.planned_s, self.done_s.get(), self.began.elapsed().as_secs_f64());
        let percent = 100.0 * self.done_s.get() / self.planned_s.max(1.0);
        format!("[{percent:3.0} %, {:2.0}:{:02.0} left]", (left / 60.0).floor(), (left % 60.0).floor())
    }
}

/// Seconds left: the plan's, stretched by what the finished part took against its plan.
fn remaining_s(planned_s: f64, done_s: f64, elapsed_s: f64) -> f64 {
    let stretch = if done_s > 0.0 { elapsed_s / done_s } else { 1.0 };
    (planned_s - done_s).max(0.0) * stretch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_runs_stretch_the_estimate() {
        assert_eq!(remaining_s(100.0, 0.0, 0.0), 100.0);
        assert_eq!(remaining_s(100.0, 25.0, 50.0), 150.0);
        assert_eq!(remaining_s(100.0, 120.0, 50.0), 0.0);
    }
}
