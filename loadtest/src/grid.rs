//! What a receiver of constant rate sees: when datagrams came beside when their rate wants them.
//!
//! A stream of constant rate has a grid: datagram `n` belongs at `n` times its own length. Where the grid lies is not known to
//! a receiver, and a delay that is the same for all is no fault, so it is laid where it fits: half of all datagrams come
//! before their places, half behind them.

use serde::Serialize;

/// Bytes of a datagram of seven transport stream packets.
pub const DATAGRAM_BYTES: u64 = 7 * 188;
/// Datagrams closer than this are one run: a receiver has no time between them.
const RUN_GAP_NS: u64 = 100_000;
/// A run counts as one in time if its first datagram is late by less than this many datagrams' time: behind a late tick two
/// of them are due at once, three are not.
const IN_TIME_DATAGRAMS: f64 = 1.5;
/// Later than this is late, in ns.
const LATE_NS: i64 = 5_000_000;
/// Length of the window in which most datagrams are looked for, in ns.
const BUSY_NS: u64 = 100_000_000;
/// Length of an interval of MDI (RFC 4445), in ns.
const INTERVAL_NS: u64 = 1_000_000_000;

/// A datagram that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the stream.
    pub index: u64,
    /// When it came, ns of any clock.
    pub at_ns: u64,
}

/// The grid of one rate.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    bitrate_bps: u64,
}

/// How far arrivals are from their grid, us.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Deviation {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

impl Deviation {
    /// Of so many distances in ns; `None` without any.
    pub fn of(mut distances_ns: Vec<u64>) -> Option<Self> {
        distances_ns.sort_unstable();
        let at = |q: f64| {
            let place = (distances_ns.len() as f64 * q).ceil() as usize;
            distances_ns.get(place.max(1) - 1).map(|ns| *ns as f64 / 1e3)
        };
        Some(Self { p50: at(0.5)?, p99: at(0.99)?, p999: at(0.999)?, max: at(1.0)? })
    }
}

/// What is said of one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Datagrams that came.
    pub datagrams: u64,
    /// Those that did not.
    pub missing: u64,
    /// From their places, either way.
    pub deviation_us: Deviation,
    /// Delay factor of MDI, ms: the median and the largest of all whole seconds.
    pub df_p50_ms: f64,
    /// See above.
    pub df_max_ms: f64,
    /// Longest time without a datagram, ms.
    pub longest_gap_ms: f64,
    /// Datagrams of the longest run closer than 100 us.
    pub longest_run: u64,
    /// Those of the longest one whose first datagram was in time: what was sent ahead, not after.
    pub longest_run_in_time: u64,
    /// Part of the datagrams later than 5 ms.
    pub late_ratio: f64,
    /// Most datagrams in 100 ms.
    pub busiest_100ms: u64,
    /// What the rate has in 100 ms.
    pub nominal_100ms: f64,
}

impl Grid {
    /// The grid of datagrams of [`DATAGRAM_BYTES`] at a rate above 0.
    pub fn new(bitrate_bps: u64) -> Self {
        Self { bitrate_bps: bitrate_bps.max(1) }
    }

    /// When datagram `index` belongs, ns behind datagram 0.
    pub fn at_ns(&self, index: u64) -> u64 {
        let bits = u128::from(index) * u128::from(DATAGRAM_BYTES) * 8;
        (bits * 1_000_000_000 / u128::from(self.bitrate_bps)) as u64
    }

    /// A datagram's time, ns.
    pub fn datagram_ns(&self) -> f64 {
        DATAGRAM_BYTES as f64 * 8e9 / self.bitrate_bps as f64
    }

    /// How late arrivals are on the grid that begins at the clock's 0, ns, in the order given.
    fn delays(&self, arrivals: &[Arrival]) -> Vec<i64> {
        arrivals.iter().map(|arrival| arrival.at_ns as i64 - self.at_ns(arrival.index) as i64).collect()
    }

    /// Distances of arrivals from the grid that fits best, ns.
    pub fn distances(&self, arrivals: &[Arrival]) -> Vec<u64> {
        let delays = self.delays(arrivals);
        let Some(middle) = median(&delays) else { return Vec::new() };
        delays.iter().map(|delay| delay.abs_diff(middle)).collect()
    }

    /// Judges what came, in the order of coming. `None` if that is less than two datagrams.
    pub fn judge(&self, arrivals: &[Arrival]) -> Option<Verdict> {
        let [first, .., last] = arrivals else { return None };
        let delays = self.delays(arrivals);
        let middle = median(&delays)?;
        let late = delays.iter().filter(|delay| **delay - middle > LATE_NS).count();
        let in_time_ns = (IN_TIME_DATAGRAMS * self.datagram_ns()) as i64;
        let gap_ns = |pair: &[Arrival]| pair[1].at_ns.saturating_sub(pair[0].at_ns);
        let (mut longest_run, mut longest_run_in_time, mut begins) = (1, 1, 0);
        for (n, pair) in arrivals.windows(2).enumerate() {
            if gap_ns(pair) >= RUN_GAP_NS {
                begins = n + 1;
            }
            let run = (n + 2 - begins) as u64;
            longest_run = longest_run.max(run);
            if delays.get(begins).is_some_and(|delay| delay - middle < in_time_ns) {
                longest_run_in_time = longest_run_in_time.max(run);
            }
        }
        let mut df_ms = self.delay_factors_ms(arrivals);
        df_ms.sort_by(f64::total_cmp);
        Some(Verdict {
            datagrams: arrivals.len() as u64,
            missing: (last.index - first.index + 1).saturating_sub(arrivals.len() as u64),
            deviation_us: Deviation::of(self.distances(arrivals))?,
            df_p50_ms: df_ms.get(df_ms.len() / 2).copied().unwrap_or(0.0),
            df_max_ms: df_ms.last().copied().unwrap_or(0.0),
            longest_gap_ms: arrivals.windows(2).map(gap_ns).max().unwrap_or(0) as f64 / 1e6,
            longest_run,
            longest_run_in_time,
            late_ratio: late as f64 / arrivals.len() as f64,
            busiest_100ms: busiest(arrivals),
            nominal_100ms: BUSY_NS as f64 / self.datagram_ns(),
        })
    }

    /// The delay factor of each whole second (RFC 4445): how far a buffer that drains at the rate swings, between what it
    /// holds right before an arrival and right behind one.
    fn delay_factors_ms(&self, arrivals: &[Arrival]) -> Vec<f64> {
        let Some(start_ns) = arrivals.first().map(|first| first.at_ns) else { return Vec::new() };
        let second = |arrival: &Arrival| arrival.at_ns.saturating_sub(start_ns) / INTERVAL_NS;
        let whole = arrivals.last().map_or(0, second);
        let seconds =
            arrivals.chunk_by(|a, b| second(a) == second(b)).filter(|part| second(&part[0]) < whole);
        let factor = |part: &[Arrival]| {
            let delays = self.delays(part);
            let swing_ns = delays.iter().max()?.abs_diff(*delays.iter().min()?);
            Some((swing_ns as f64 + self.datagram_ns()) / 1e6)
        };
        seconds.filter_map(factor).collect()
    }
}

fn median(values: &[i64]) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// Most arrivals in [`BUSY_NS`].
fn busiest(arrivals: &[Arrival]) -> u64 {
    let (mut from, mut most) = (0, 0);
    for (n, arrival) in arrivals.iter().enumerate() {
        while arrivals.get(from).is_some_and(|first| arrival.at_ns.saturating_sub(first.at_ns) >= BUSY_NS) {
            from += 1;
        }
        most = most.max((n + 1).saturating_sub(from));
    }
    most as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT_4: Grid = Grid { bitrate_bps: 4_000_000 };
    const MS: u64 = 1_000_000;

    /// Datagrams of ten seconds, each late by `late_ns` of its place.
    fn arrivals(late_ns: impl Fn(u64) -> u64) -> Vec<Arrival> {
        (0..3800).map(|n| Arrival { index: n, at_ns: 7 * MS + MBIT_4.at_ns(n) + late_ns(n) }).collect()
    }

    #[test]
    fn the_grid_does_not_drift() {
        assert_eq!(MBIT_4.at_ns(1), 2_632_000);
        let odd = Grid::new(3_000_001);
        // A day of it, to the nanosecond of the exact quotient.
        let n = 24 * 3600 * 3_000_001 / (DATAGRAM_BYTES * 8);
        assert_eq!(
            u128::from(odd.at_ns(n)),
            u128::from(n) * u128::from(DATAGRAM_BYTES) * 8_000_000_000 / 3_000_001
        );
    }

    #[test]
    fn what_comes_by_the_clock_has_no_fault() {
        let verdict = MBIT_4.judge(&arrivals(|_| 0)).unwrap();
        assert_eq!(verdict.deviation_us, Deviation { p50: 0.0, p99: 0.0, p999: 0.0, max: 0.0 });
        assert_eq!((verdict.datagrams, verdict.missing), (3800, 0));
        // The least that it can be: one datagram's own time.
        assert_eq!((verdict.df_p50_ms, verdict.df_max_ms), (2.632, 2.632));
        assert_eq!((verdict.longest_run, verdict.longest_run_in_time), (1, 1));
        assert_eq!(verdict.late_ratio, 0.0);
        assert_eq!(verdict.busiest_100ms, 38);
        assert!((verdict.longest_gap_ms - 2.632).abs() < 1e-9);
    }

    #[test]
    fn ticks_of_a_millisecond_are_half_a_millisecond_around_the_median() {
        let to_tick = |n: u64| MBIT_4.at_ns(n).next_multiple_of(MS) - MBIT_4.at_ns(n);
        let verdict = MBIT_4.judge(&arrivals(to_tick)).unwrap();
        assert!((245.0..255.0).contains(&verdict.deviation_us.p50), "{verdict:?}");
        assert!(verdict.deviation_us.max <= 504.0, "{verdict:?}");
        assert_eq!(verdict.longest_run, 1);
    }

    #[test]
    fn frames_in_one_piece_are_bursts_that_deviate() {
        // All of 40 ms at its end, as a sender does that does not pace.
        let verdict =
            MBIT_4.judge(&arrivals(|n| MBIT_4.at_ns(n).next_multiple_of(40 * MS) - MBIT_4.at_ns(n)));
        let verdict = verdict.unwrap();
        assert!(verdict.longest_run >= 15 && verdict.deviation_us.p50 > 9_000.0, "{verdict:?}");
        assert!(verdict.df_max_ms > 40.0, "{verdict:?}");
    }

    #[test]
    fn what_follows_a_stall_is_not_in_time() {
        // 21 ms of silence, behind which everything comes at once.
        let silent = 1000..1008;
        let end = MBIT_4.at_ns(silent.end);
        let stalled = arrivals(|n| if silent.contains(&n) { end - MBIT_4.at_ns(n) } else { 0 });
        let verdict = MBIT_4.judge(&stalled).unwrap();
        assert_eq!((verdict.longest_run, verdict.longest_run_in_time), (9, 1));
        assert!((verdict.deviation_us.max - 8.0 * 2632.0).abs() < 1.0, "{verdict:?}");
        assert!((verdict.df_max_ms - 9.0 * 2.632).abs() < 1e-6, "{verdict:?}");
        assert_eq!(verdict.df_p50_ms, 2.632);
        assert!((verdict.late_ratio - 7.0 / 3800.0).abs() < 1e-9, "{verdict:?}");
        assert_eq!(verdict.busiest_100ms, 38 + 8);
    }

    #[test]
    fn what_is_sent_ahead_is_in_time() {
        // Three in the place of the first of them, every twenty.
        let ahead = |n: u64| match n % 20 {
            at @ 1..=2 => Arrival { index: n, at_ns: 7 * MS + MBIT_4.at_ns(n - at) + at * 1000 },
            _ => Arrival { index: n, at_ns: 7 * MS + MBIT_4.at_ns(n) },
        };
        let verdict = MBIT_4.judge(&(0..3800).map(ahead).collect::<Vec<_>>()).unwrap();
        assert_eq!(verdict.longest_run_in_time, 3, "{verdict:?}");
    }

    #[test]
    fn what_is_missing_moves_nothing() {
        let mut some = arrivals(|_| 0);
        some.drain(1000..1010);
        let verdict = MBIT_4.judge(&some).unwrap();
        assert_eq!((verdict.missing, verdict.deviation_us.max), (10, 0.0));
        assert!((verdict.longest_gap_ms - 11.0 * 2.632).abs() < 1e-9);
        assert_eq!(MBIT_4.judge(&some[..1]), None);
        assert_eq!(MBIT_4.judge(&[]), None);
    }
}
