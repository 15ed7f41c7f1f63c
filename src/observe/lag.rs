//! How late the cores' loops are: the time that one turn in a hundred takes, over the last few seconds.

use super::histogram::Times;
use super::registry::Registry;
use std::time::Duration;

/// Looks, about a second apart, that a window spans: long enough that one slow turn is no verdict.
const LOOKS: usize = 3;
/// Turns that must have been so slow: a core that does little has no hundred turns to speak of.
const TURNS_MIN: u64 = 3;

/// What each core's turns took at the last few looks.
#[derive(Debug, Default)]
pub struct LoopLag {
    cores: Vec<Window>,
}

/// Totals since the start, the oldest first.
#[derive(Debug, Default)]
struct Window(Vec<Times>);

impl LoopLag {
    /// The lag of the slowest core; to be asked about once a second, which is how often cores publish their times.
    pub fn look(&mut self, registry: &Registry) -> Duration {
        self.cores.resize_with(registry.cores.len(), Window::default);
        let lags = self.cores.iter_mut().zip(&registry.cores);
        let worst = lags.map(|(window, core)| window.look(core.histograms.turns())).max();
        Duration::from_micros(worst.unwrap_or_default())
    }
}

impl Window {
    /// Takes the totals of now; microseconds that the slowest turns of the window took at least.
    fn look(&mut self, totals: Times) -> u64 {
        let lag = self.0.first().map_or(0, |oldest| totals.since(oldest).slowest_us(TURNS_MIN));
        if self.0.len() == LOOKS {
            self.0.remove(0);
        }
        self.0.push(totals);
        lag
    }
}

#[cfg(test)]
mod tests {
    use super::super::CoreHistograms;
    use super::*;

    #[test]
    fn slow_turns_count_when_there_are_some_of_them() {
        let registry = Registry::new(&[0, 1]);
        let (mut lag, mut core) = (LoopLag::default(), CoreHistograms::new());
        // Before the first look, which has nothing to compare with.
        (0..10).for_each(|_| core.record_turn_us(900_000));
        assert!(core.publish(&registry.cores[1].histograms));
        assert_eq!(lag.look(&registry), Duration::ZERO);
        // (turns of 1 ms, turns of 60 ms, lag in ms about)
        for (row, (quick, slow, ms)) in [
            (1000, 2, 1),
            // Together with those of the row before they are three, of too many; with fewer turns beside they are enough.
            (1000, 1, 1),
            (1000, 30, 60),
            (1000, 0, 60),
            (1000, 0, 60),
            // Out of the window.
            (1000, 0, 1),
            (0, 0, 1),
            (0, 0, 1),
            (0, 0, 0),
            (0, 2, 0),
            (0, 1, 60),
        ]
        .into_iter()
        .enumerate()
        {
            (0..quick).for_each(|_| core.record_turn_us(1000));
            (0..slow).for_each(|_| core.record_turn_us(60_000));
            assert!(core.publish(&registry.cores[1].histograms));
            let found = lag.look(&registry).as_micros() as f64 / 1000.0;
            assert!((found - f64::from(ms)).abs() <= f64::from(ms) * 0.02, "row {row}: {found} ms");
        }
    }
}
