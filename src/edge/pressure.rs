//! From what is measured to pressures: how much of each resource is used, where 1 is all of it.

use super::shed::Level;
use crate::media::Mono;
use std::time::Duration;

/// Bits a second are means over about this.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// `used` of `all`; nothing if there is no bound.
pub fn part(used: f64, all: f64) -> f64 {
    if all > 0.0 { used / all } else { 0.0 }
}

/// The pressure of a loop's lag, where the first level begins at `bound`, the second at twice and the third at five
/// times as much; in between it grows evenly. Nothing if there is no bound.
pub fn of_lag(lag: Duration, bound: Duration) -> f64 {
    /// Lag as a multiple of the bound, and its pressure.
    const POINTS: [(f64, f64); 5] = [
        (0.0, 0.0),
        (1.0, Level::RefuseViewers.threshold()),
        (2.0, Level::DropSlowest.threshold()),
        (5.0, Level::StopAccepting.threshold()),
        (10.0, 1.0),
    ];
    let lag = part(lag.as_secs_f64(), bound.as_secs_f64());
    let between = POINTS.windows(2).find_map(|pair| match pair {
        [(from, low), (to, high)] if lag < *to => Some(low + (high - low) * (lag - from) / (to - from)),
        _ => None,
    });
    between.unwrap_or(1.0)
}

/// The pressure of file descriptors, of which there may be `max`: `connections` hold one each, of which there may be
/// `connections_max`, and `others` are held by the rest of the process.
///
/// A full house holds nearly all of them, as it should, and one that is not full leaves many to the rest. So it is the
/// smaller one of what is used of all, and of what the rest uses of what the house would leave; both are 1 at the end.
pub fn of_descriptors(others: u64, connections: u64, connections_max: u64, max: u64) -> f64 {
    let all = part((others + connections) as f64, max as f64);
    all.min(part(others as f64, max.saturating_sub(connections_max).max(1) as f64))
}

/// A growing count as a rate a second, over the last second.
#[derive(Debug)]
pub struct Rate {
    /// Counts, the oldest first; one more than the window has.
    looks: [(Mono, u64); RATE_LOOKS],
}

/// Readings of a [`Rate`], a quarter of the window apart.
const RATE_LOOKS: usize = 5;

impl Rate {
    /// How often to look.
    pub const EVERY: Duration =
        Duration::from_micros(RATE_WINDOW.as_micros() as u64 / (RATE_LOOKS as u64 - 1));

    /// Begins at `count`.
    pub fn new(now: Mono, count: u64) -> Rate {
        Rate { looks: [(now, count); RATE_LOOKS] }
    }

    /// Takes the count of now and says how many came a second; what came in less than the window counts as if it had
    /// come in the window.
    pub fn look(&mut self, now: Mono, count: u64) -> f64 {
        self.looks.rotate_left(1);
        if let Some(newest) = self.looks.last_mut() {
            *newest = (now, count);
        }
        let (since, before) = self.looks.first().copied().unwrap_or((now, count));
        count.saturating_sub(before) as f64 / now.since(since).max(RATE_WINDOW).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_meets_the_levels() {
        let bound = Duration::from_millis(50);
        for (lag_ms, pressure) in [
            (0, 0.0),
            (25, 0.425),
            (50, 0.85),
            (75, 0.885),
            (100, 0.92),
            (175, 0.945),
            (250, 0.97),
            (500, 1.0),
        ] {
            let found = of_lag(Duration::from_millis(lag_ms), bound);
            assert!((found - pressure).abs() < 1e-9, "{lag_ms} ms: {found}");
        }
        assert_eq!(of_lag(Duration::from_secs(60), bound), 1.0);
        assert_eq!(of_lag(Duration::from_secs(60), Duration::ZERO), 0.0, "no bound");
    }

    #[test]
    fn a_rate_is_of_the_last_second() {
        let start = Mono::from_micros(7_000_000);
        let mut rate = Rate::new(start, 1000);
        let mut look = |ms: u64, count: u64| rate.look(start + Duration::from_millis(ms), count);
        assert_eq!(look(250, 1100), 100.0, "a burst counts as a second's");
        assert_eq!(look(500, 1200), 200.0);
        assert_eq!(look(750, 1300), 300.0);
        assert_eq!(look(1000, 1400), 400.0);
        assert_eq!(look(1250, 1400), 300.0);
        // A reader that was late.
        assert_eq!(look(4500, 1400 + 500), 700.0 / 4.0);
    }

    #[test]
    fn a_full_house_needs_no_more_descriptors() {
        let level = |others: u64, connections: u64| {
            let pressure = of_descriptors(others, connections, 900, 1000);
            Level::ALL.into_iter().filter(|level| pressure >= level.threshold()).max().unwrap_or_default()
        };
        assert_eq!(level(80, 900), Level::Open, "98 % of all");
        assert_eq!(
            level(200, 100),
            Level::Open,
            "they were open when the process began, and there are many left"
        );
        assert_eq!(level(90, 900), Level::RefuseViewers);
        assert_eq!(level(100, 880), Level::StopAccepting);
        assert_eq!(level(200, 790), Level::StopAccepting);
        assert_eq!(of_descriptors(5, 0, 0, 0), 0.0, "no bound");
        assert_eq!(of_descriptors(10, 0, 10, 10), 1.0);
    }

    #[test]
    fn parts() {
        assert_eq!((part(5.0, 10.0), part(5.0, 0.0)), (0.5, 0.0));
    }
}
