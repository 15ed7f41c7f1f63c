//! The last numbers of an RTP sender: which of them came, and which gaps may still fill.

use crate::media::Mono;

/// RTP packets a second that everything here is made for: 80 Mbit/s, seven packets of 188 bytes in each.
const PACKETS_A_SECOND: u64 = 80_000_000 / (7 * 188 * 8);
/// Numbers behind the newest of which is known whether they came: the longest skew of two legs (SMPTE ST 2022-7).
pub(super) const WINDOW: u64 = 4096;
const _: () = assert!(WINDOW >= PACKETS_A_SECOND * 450 / 1000, "450 ms, class C");
/// Gaps that may still fill, at a time; beyond it the oldest is lost.
const GAPS_MAX: usize = 512;
/// What has not come by then is lost, in microseconds: the longest reordering buffer that receivers use.
pub(super) const LATE_US: u64 = 100_000;
const _: () =
    assert!(GAPS_MAX as u64 >= PACKETS_A_SECOND * LATE_US / 1_000_000 / 2, "two paths in turn, one late");
/// Numbers of the sender before they begin again.
const TURN: u64 = 1 << 16;
/// Turns of them that an outage may last: six days of 80 Mbit/s. A clock that jumps makes it no longer.
const TURNS_MAX: f64 = 65_536.0;
/// Time from which the pace of a sender is known well enough for that, in microseconds.
const PACE_US: u64 = 1_000_000;

/// Numbers are without end here: the lower 16 bits are the sender's.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// What was before the first is nobody's loss.
    pub first: u64,
    first_at: Mono,
    pub newest: u64,
    pub newest_at: Mono,
    /// Bit n: of the numbers that end in n, the newest has come.
    came: [u64; WINDOW as usize / 64],
    gaps: [Gap; GAPS_MAX],
    /// Gaps in use, the oldest first.
    open: usize,
    /// The last packet from behind, if nothing new has come since.
    pub behind: Option<u16>,
}

/// Packets that will not come any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub packets: u64,
    /// How long nothing came in their place, in microseconds.
    pub over_us: u64,
}

impl std::ops::AddAssign for Lost {
    fn add_assign(&mut self, more: Lost) {
        self.packets += more.packets;
        self.over_us += more.over_us;
    }
}

/// Numbers that were skipped.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    first: u64,
    /// Behind the last.
    end: u64,
    /// How many have not come yet, and how long nothing came in front of `since`.
    missing: Lost,
    since: Mono,
}

impl Window {
    /// Begins with a first number.
    pub fn new(at: Mono, sequence: u16) -> Window {
        // Far from 0, so that there are numbers behind the first.
        let number = 1 << 32 | u64::from(sequence);
        let mut window = Window {
            first: number,
            first_at: at,
            newest: number,
            newest_at: at,
            came: [0; WINDOW as usize / 64],
            gaps: [Gap::default(); GAPS_MAX],
            open: 0,
            behind: None,
        };
        window.mark(number);
        window
    }

    /// How many packets were sent since the newest came, going by the pace until then, if the last of them is so many
    /// numbers ahead. `None`: the time that has passed does not explain that many.
    pub fn sent(&self, at: Mono, ahead: u16) -> Option<u64> {
        let known_us = self.newest_at.micros_since(self.first_at);
        if known_us < PACE_US {
            return None;
        }
        let pace = (self.newest - self.first).max(1) as f64 / known_us as f64;
        let expected = at.micros_since(self.newest_at) as f64 * pace;
        let turns = ((expected - f64::from(ahead)) / TURN as f64).round().clamp(0.0, TURNS_MAX);
        let sent = u64::from(ahead) + turns as u64 * TURN;
        // Where numbers may have begun again nearly every one is near what is expected: then the pace must fit.
        let (least, most) = if turns == 0.0 { (0.5, 2.0) } else { (0.875, 1.125) };
        (expected * least..=expected * most).contains(&(sent as f64)).then_some(sent)
    }

    /// Goes on to a number in front; returns what is lost because there is no place for another gap.
    pub fn advance(&mut self, at: Mono, ahead: u64) -> Lost {
        let before = self.newest;
        let over_us = at.micros_since(self.newest_at);
        self.newest += ahead;
        (self.newest_at, self.behind) = (at, None);
        let mut lost = Lost::default();
        if ahead > 1 {
            if self.open == GAPS_MAX {
                lost = self.remove(0);
            }
            if let Some(gap) = self.gaps.get_mut(self.open) {
                let missing = Lost { packets: ahead - 1, over_us };
                *gap = Gap { first: before + 1, end: self.newest, missing, since: at };
                self.open += 1;
            }
        }
        if ahead >= WINDOW {
            self.came.fill(0);
        } else {
            self.clear(before + 1, self.newest);
        }
        self.mark(self.newest);
        lost
    }

    /// Notes that a number came; whether it is the first time.
    pub fn mark(&mut self, number: u64) -> bool {
        let Some(word) = self.came.get_mut((number % WINDOW / 64) as usize) else { return false };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Numbers from `first` to `last`, less than a window of them, have not come.
    fn clear(&mut self, first: u64, last: u64) {
        let mut next = first;
        while next <= last {
            let bits = (64 - next % 64).min(last + 1 - next);
            if let Some(word) = self.came.get_mut((next % WINDOW / 64) as usize) {
                *word &= !(u64::MAX >> (64 - bits) << (next % 64));
            }
            next += bits;
        }
    }

    /// A number comes late; whether a gap waited for it.
    pub fn fill(&mut self, number: u64) -> bool {
        let open = self.gaps.get_mut(..self.open).unwrap_or_default();
        let at = open.partition_point(|gap| gap.end <= number);
        let Some(gap) = open.get_mut(at).filter(|gap| gap.first <= number) else { return false };
        gap.missing.packets -= 1;
        if gap.missing.packets == 0 {
            self.remove(at);
        }
        true
    }

    /// Takes out a gap that will not fill any more; returns what is missing in it.
    pub fn give_up(&mut self, at: Mono) -> Option<Lost> {
        let oldest = self.gaps.iter().take(self.open).next()?;
        let due = at.micros_since(oldest.since) >= LATE_US || self.newest - oldest.first >= WINDOW;
        due.then(|| self.remove(0))
    }

    /// What is missing in all gaps that may still fill.
    pub fn missing(&self) -> Lost {
        let mut all = Lost::default();
        self.gaps.iter().take(self.open).for_each(|gap| all += gap.missing);
        all
    }

    /// Takes out a gap; returns what is missing in it.
    fn remove(&mut self, at: usize) -> Lost {
        let missing = self.gaps.get(at).map_or(Lost::default(), |gap| gap.missing);
        if let Some(behind) = self.gaps.get_mut(at..self.open) {
            behind.rotate_left(1);
            self.open -= 1;
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many are skipped, from wherever in a word: none of them has come, and what was before has.
    #[test]
    fn what_is_skipped_has_not_come() {
        for ahead in (1..200).chain([WINDOW - 65, WINDOW - 2, WINDOW - 1, WINDOW, 3 * WINDOW]) {
            for begin in [0, 1, 62, 63, 4090] {
                let mut window = Window::new(Mono::ZERO, begin);
                assert!((0..WINDOW + 7).all(|_| window.advance(Mono::ZERO, 1) == Lost::default()));
                let before = window.newest;
                window.advance(Mono::ZERO, ahead);
                assert!(!window.mark(window.newest));
                for number in (window.newest - WINDOW + 1)..window.newest {
                    assert_eq!(window.mark(number), number > before, "{number}, {ahead} ahead of {before}");
                }
            }
        }
    }
}
