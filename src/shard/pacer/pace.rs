//! How many datagrams of a channel may leave in one tick.
//!
//! What is due leaves at its tick. What a stall has delayed follows at most twice as fast as the rate and in bursts of at
//! most four datagrams, because receivers have buffers for the network's jitter, not for ours. What is late by more than a
//! second is left out: it would be a second of double rate for every second of the stall.
//!
//! A channel has credit in nanoseconds of its own sending time. It grows twice as fast as time, up to a bound; a datagram
//! takes what it lasts.

use super::TICK;
use crate::media::Mono;

/// Datagrams of one burst, at any rate that needs no more in a tick when it is doubled (21 Mbit/s).
const BURST: u64 = 4;
/// How much faster than the rate late datagrams follow.
const CATCH_UP: u64 = 2;
/// What is later than this is left out, in nanoseconds.
const LATE_NS_MAX: u64 = 1_000_000_000;
const TICK_NS: u64 = TICK.as_nanos() as u64;

/// What to do in a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write so many datagrams.
    Write(u64),
    /// The same, and the channel has fallen behind just now.
    FallBehind(u64),
    /// Leave out everything that is due.
    Jump,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Pace {
    datagram_ns: u64,
    credit_ns: u64,
    at: Mono,
    behind: bool,
}

impl Pace {
    /// A channel whose datagrams are `datagram_ns` apart, from `now` on.
    pub fn new(datagram_ns: u64, now: Mono) -> Pace {
        let mut pace = Pace { datagram_ns: datagram_ns.max(1), credit_ns: 0, at: now, behind: false };
        pace.credit_ns = pace.credit_max();
        pace
    }

    fn credit_max(&self) -> u64 {
        // Above those rates a tick's worth, and what is left over of one.
        (BURST * self.datagram_ns).max(CATCH_UP * TICK_NS + self.datagram_ns)
    }

    /// Datagrams are `datagram_ns` apart from now on: the rate of a channel that passes packets on is its source's.
    pub fn at(&mut self, datagram_ns: u64) {
        self.datagram_ns = datagram_ns.max(1);
    }

    /// `due` datagrams are due at `now`. Need not be called while none are.
    pub fn step(&mut self, now: Mono, due: u64) -> Step {
        let passed_ns = now.micros_since(self.at).saturating_mul(1000);
        self.at = self.at.max(now);
        self.credit_ns =
            passed_ns.saturating_mul(CATCH_UP).saturating_add(self.credit_ns).min(self.credit_max());
        if due.saturating_mul(self.datagram_ns) > LATE_NS_MAX {
            self.behind = false;
            return Step::Jump;
        }
        let rested = self.credit_ns == self.credit_max();
        let datagrams = due.min(self.credit_ns / self.datagram_ns);
        self.credit_ns -= datagrams * self.datagram_ns;
        if datagrams < due {
            let fell_behind = !std::mem::replace(&mut self.behind, true);
            return if fell_behind { Step::FallBehind(datagrams) } else { Step::Write(datagrams) };
        }
        // With little credit left one that is a tick late belongs to the same stall.
        self.behind &= !rested;
        Step::Write(datagrams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nanoseconds of a datagram of 1316 bytes.
    fn datagram_ns(bitrate_bps: u64) -> u64 {
        1316 * 8 * 1_000_000_000 / bitrate_bps
    }

    /// Ticks of a second, in which the thread is held up from `from_ms` for `stall_ms`. Returns what left in each, the
    /// times it fell behind, and the jumps.
    fn second(bitrate_bps: u64, from_ms: u64, stall_ms: u64) -> (Vec<(u64, u64)>, u32, u32) {
        let ns = datagram_ns(bitrate_bps);
        let mut pace = Pace::new(ns, Mono::ZERO);
        let (mut written, mut left, mut behind, mut jumps) = (0, Vec::new(), 0, 0);
        for ms in (0..=from_ms).chain(from_ms + stall_ms..from_ms + stall_ms + 3000) {
            let position = ms * 1_000_000 / ns;
            match pace.step(Mono::from_micros(ms * 1000), position - written) {
                Step::Write(n) => (left.push((ms, n)), written += n).1,
                Step::FallBehind(n) => (left.push((ms, n)), written += n, behind += 1).1,
                Step::Jump => (written = position, jumps += 1).0,
            }
        }
        (left, behind, jumps)
    }

    #[test]
    fn what_is_due_leaves_at_its_tick() {
        for bitrate_bps in [100_000, 2_000_000, 4_000_000, 8_000_000, 20_000_000, 60_000_000, 200_000_000] {
            let (left, behind, jumps) = second(bitrate_bps, 1000, 1);
            assert_eq!((behind, jumps), (0, 0), "{bitrate_bps}");
            let per_tick = 1_000_000u64.div_ceil(datagram_ns(bitrate_bps));
            assert!(left.iter().all(|(_, n)| *n <= per_tick), "{bitrate_bps}: {left:?}");
        }
    }

    #[test]
    fn after_a_stall_they_follow_at_twice_the_rate_and_in_small_bursts() {
        for bitrate_bps in [2_000_000, 8_000_000, 20_000_000, 40_000_000] {
            for stall_ms in [20, 100, 900] {
                let (left, behind, jumps) = second(bitrate_bps, 500, stall_ms);
                assert_eq!((behind, jumps), (1, 0), "{bitrate_bps} {stall_ms}");
                let most = BURST.max(2_000_000 / datagram_ns(bitrate_bps) + 1);
                assert!(left.iter().all(|(_, n)| *n <= most), "{bitrate_bps} {stall_ms}");
                // In any 50 ms of it: twice the rate, and the one burst.
                let rate = 50_000_000 / datagram_ns(bitrate_bps);
                for from in 0..left.len() - 50 {
                    let sum: u64 = left[from..from + 50].iter().map(|(_, n)| n).sum();
                    assert!(sum <= 2 * rate + most + 1, "{bitrate_bps} {stall_ms}: {sum} in 50 ms");
                }
                // Caught up after as long again, and a little.
                let all: u64 =
                    left.iter().filter(|(ms, _)| *ms <= 500 + 2 * stall_ms + 20).map(|(_, n)| n).sum();
                let due = (500 + 2 * stall_ms + 20) * 1_000_000 / datagram_ns(bitrate_bps);
                assert!(all.abs_diff(due) <= 1, "{bitrate_bps} {stall_ms}: {all} of {due}");
            }
        }
    }

    /// Also where there is something due in every tick, or where nobody asks in ticks that have nothing.
    #[test]
    fn each_stall_is_told() {
        for (bitrate_bps, idle_ticks) in [(4_000_000, true), (4_000_000, false), (40_000_000, true)] {
            let ns = datagram_ns(bitrate_bps);
            let mut pace = Pace::new(ns, Mono::ZERO);
            let (mut written, mut behind) = (0, 0);
            for ms in (0..200).chain(250..800).chain(850..1400) {
                let due = ms * 1_000_000 / ns - written;
                if due == 0 && !idle_ticks {
                    continue;
                }
                match pace.step(Mono::from_micros(ms * 1000), due) {
                    Step::Write(n) => written += n,
                    Step::FallBehind(n) => (written += n, behind += 1).0,
                    Step::Jump => unreachable!(),
                }
            }
            assert_eq!(behind, 2, "{bitrate_bps} {idle_ticks}");
        }
    }

    #[test]
    fn more_than_a_second_is_left_out() {
        let (left, behind, jumps) = second(4_000_000, 500, 5000);
        assert_eq!((behind, jumps), (0, 1));
        assert!(left.iter().all(|(_, n)| *n <= 1));
    }

    #[test]
    fn a_clock_that_does_not_move_gives_no_credit() {
        let mut pace = Pace::new(1_000_000, Mono::ZERO);
        assert_eq!(pace.step(Mono::ZERO, 100), Step::FallBehind(4));
        assert_eq!(pace.step(Mono::ZERO, 96), Step::Write(0));
        assert_eq!(pace.step(Mono::from_micros(1000), 97), Step::Write(2));
    }
}
