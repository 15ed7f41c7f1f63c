//! The last numbers of an RTP sender: which of them came, and which gaps may still fill.

use crate::media::Mono;

/// Numbers behind the newest of which is known whether they came: the longest skew of two legs (SMPTE ST 2022-7: 450 ms)
/// at 80 Mbit/s.
pub(super) const WINDOW: u64 = 4096;
/// Gaps that may still fill, at a time; beyond it the oldest is lost.
const GAPS_MAX: usize = 32;
/// What has not come by then is lost, in microseconds: the longest reordering buffer that receivers use.
pub(super) const LATE_US: u64 = 100_000;
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
    /// What would follow a packet from behind, if that was the last one.
    pub behind_next: Option<u16>,
}

/// Numbers that were skipped.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    first: u64,
    /// Behind the last.
    end: u64,
    /// How many have not come yet.
    missing: u64,
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
            behind_next: None,
        };
        window.mark(number);
        window
    }

    /// Whether so many packets may have been sent since the newest came, going by the pace until then.
    pub fn explains(&self, at: Mono, ahead: u16) -> bool {
        let known_us = self.newest_at.micros_since(self.first_at);
        let sent = (self.newest - self.first).max(1);
        let each_us = known_us as f64 / sent as f64;
        known_us >= PACE_US && at.micros_since(self.newest_at) as f64 >= f64::from(ahead) * each_us / 2.0
    }

    /// Goes on to a number in front; returns how many are lost because there is no place for another gap.
    pub fn advance(&mut self, at: Mono, ahead: u64) -> u64 {
        let before = self.newest;
        self.newest += ahead;
        (self.newest_at, self.behind_next) = (at, None);
        let mut lost = 0;
        if ahead > 1 {
            if self.open == GAPS_MAX {
                lost = self.remove(0);
            }
            if let Some(place) = self.gaps.get_mut(self.open) {
                *place = Gap { first: before + 1, end: self.newest, missing: ahead - 1, since: at };
                self.open += 1;
            }
        }
        if ahead >= WINDOW {
            self.came.fill(0);
        } else {
            (before + 1..self.newest).for_each(|skipped| self.clear(skipped));
        }
        self.clear(self.newest);
        self.mark(self.newest);
        lost
    }

    /// Notes that a number came; whether it is the first time.
    pub fn mark(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        let Some(word) = self.came.get_mut(word) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        if let Some(word) = self.came.get_mut(word) {
            *word &= !bit;
        }
    }

    /// A number comes late; whether a gap waited for it.
    pub fn fill(&mut self, number: u64) -> bool {
        let mut open = self.gaps.iter_mut().take(self.open);
        let Some(at) = open.position(|gap| (gap.first..gap.end).contains(&number)) else { return false };
        if let Some(gap) = self.gaps.get_mut(at) {
            gap.missing -= 1;
            if gap.missing == 0 {
                self.remove(at);
            }
        }
        true
    }

    /// Takes out a gap that will not fill any more; returns how many are missing in it.
    pub fn give_up(&mut self, at: Mono) -> Option<u64> {
        let oldest = self.gaps.iter().take(self.open).next()?;
        let due = at.micros_since(oldest.since) >= LATE_US || self.newest - oldest.first >= WINDOW;
        due.then(|| self.remove(0))
    }

    /// What is missing in all gaps that may still fill.
    pub fn missing(&self) -> u64 {
        self.gaps.iter().take(self.open).map(|gap| gap.missing).sum()
    }

    /// Takes out a gap; returns what is missing in it.
    fn remove(&mut self, at: usize) -> u64 {
        let missing = self.gaps.get(at).map_or(0, |gap| gap.missing);
        if let Some(behind) = self.gaps.get_mut(at..self.open) {
            behind.rotate_left(1);
            self.open -= 1;
        }
        missing
    }
}

/// Word and bit of a number in the window.
fn place(number: u64) -> (usize, u64) {
    ((number % WINDOW / 64) as usize, 1 << (number % 64))
}
