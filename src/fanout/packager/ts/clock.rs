//! The time of a log: what its stamps count from, and what is due.
//!
//! Everything is measured in stream time, so that the log's bytes depend on the frames alone. When the next frame comes
//! is not known; the largest recent step from one to the next stands for it.

use crate::wire::ts::{CLOCK_MODULUS, PCR_TICKS};

/// Ticks of 90 kHz in a millisecond.
const TICKS_PER_MS: i64 = 90;
/// Stream time 0 in ticks of 90 kHz: one second, so that a PCR in front of it is not negative.
const ORIGIN: i64 = 90_000;
/// How far the PCR runs ahead of decoding times. It is what a track may come later than another one and still be in
/// time, and what a player that follows the PCR adds to its latency.
const LEAD: i64 = 300 * TICKS_PER_MS;
/// PAT and PMT come at least this often, in ms (TR 101 290 raises its alarm at 500).
const TABLES_MS: u32 = 100;
/// So does the SDT (alarm at 2000).
const NAMES_MS: u32 = 1000;
/// So does the PCR (receivers of DVB alarm at 40, MPEG at 100).
const PCR_MS: u32 = 40;
/// Before anything is known of how often frames come: those of AAC at 44.1 kHz.
const STEP_MS: u32 = 24;
/// The largest step is that of the last one to two spans of this length, in ms.
const SPAN_MS: u32 = 500;

const _: () = assert!(LEAD < ORIGIN);

/// See the module's description.
#[derive(Debug)]
pub(super) struct Clock {
    /// The latest decoding time of any frame, in ms.
    newest: Option<u32>,
    /// The largest steps of `newest` in this span and in the one before, in ms.
    steps_ms: (u32, u32),
    /// When this span began.
    since: u32,
    tables_at: Option<u32>,
    names_at: Option<u32>,
    pcr_at: Option<u32>,
}

impl Default for Clock {
    fn default() -> Clock {
        let steps_ms = (STEP_MS, STEP_MS);
        Clock { newest: None, steps_ms, since: 0, tables_at: None, names_at: None, pcr_at: None }
    }
}

impl Clock {
    /// A frame comes.
    pub(super) fn advance(&mut self, dts_ms: u32) {
        let Some(newest) = self.newest else {
            (self.newest, self.since) = (Some(dts_ms), dts_ms);
            return;
        };
        let step = dts_ms.wrapping_sub(newest);
        // Frames of different tracks need not come in order.
        if (1..=i32::MAX as u32).contains(&step) {
            self.newest = Some(dts_ms);
            if dts_ms.wrapping_sub(self.since) >= SPAN_MS {
                (self.since, self.steps_ms) = (dts_ms, (0, self.steps_ms.0));
            }
            // A pause is no measure of what follows.
            if step <= PCR_MS {
                self.steps_ms.0 = self.steps_ms.0.max(step);
            }
        }
    }

    /// Whether what was last written at `at` must come again before the next frame does.
    fn is_due(&self, at: Option<u32>, interval_ms: u32) -> bool {
        let (Some(newest), Some(at)) = (self.newest, at) else { return true };
        let step_ms = self.steps_ms.0.max(self.steps_ms.1);
        newest.wrapping_sub(at).saturating_add(step_ms) > interval_ms
    }

    pub(super) fn tables_due(&self) -> bool {
        self.is_due(self.tables_at, TABLES_MS)
    }

    /// The SDT only comes along with the others: so much earlier.
    pub(super) fn names_due(&self) -> bool {
        self.is_due(self.names_at, NAMES_MS - TABLES_MS)
    }

    pub(super) fn pcr_due(&self) -> bool {
        self.is_due(self.pcr_at, PCR_MS)
    }

    /// The PCR of now in ticks of 27 MHz.
    pub(super) fn pcr(&self) -> u64 {
        modulo(ORIGIN - LEAD + i64::from(self.newest.unwrap_or(0)) * TICKS_PER_MS) * PCR_TICKS
    }

    /// Notes what the frame at hand has with it.
    pub(super) fn written(&mut self, tables: bool, names: bool, pcr: bool) {
        for (at, written) in
            [(&mut self.tables_at, tables), (&mut self.names_at, names), (&mut self.pcr_at, pcr)]
        {
            if written {
                *at = self.newest;
            }
        }
    }
}

/// PTS and DTS in ticks of 90 kHz, modulo 2^33. A picture that is to be shown before it is decoded, which some encoders
/// stamp, is decoded when it is shown.
pub(super) fn times(dts_ms: u32, cts_ms: i32, offset_ns: u32) -> (u64, u64) {
    let dts = ORIGIN + i64::from(dts_ms) * TICKS_PER_MS;
    let pts = dts + i64::from(cts_ms) * TICKS_PER_MS + i64::from(offset_ns) * 9 / 100_000;
    (modulo(pts), modulo(dts.min(pts)))
}

/// 2^32 ms are a multiple of the modulus, so a stream time that wraps goes on here.
fn modulo(ticks: i64) -> u64 {
    ticks.rem_euclid(CLOCK_MODULUS as i64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        assert_eq!(times(0, 0, 0), (90_000, 90_000));
        assert_eq!(times(40, 80, 500_000), (90_000 + 120 * 90 + 45, 90_000 + 40 * 90));
        assert_eq!(times(40, -20, 0), (90_000 + 20 * 90, 90_000 + 20 * 90));
        // 49.7 days: the next millisecond is one millisecond later.
        let (last, next) = (times(u32::MAX, 0, 0).0, times(0, 0, 0).0);
        assert_eq!((next + CLOCK_MODULUS - last) % CLOCK_MODULUS, 90);
        let mut clock = Clock::default();
        clock.advance(0);
        assert_eq!(clock.pcr(), (90_000 - 27_000) * 300);
    }

    /// The largest distance of PCRs when one is written wherever it is due.
    fn widest(frames: &[u32]) -> u32 {
        let (mut clock, mut last, mut widest) = (Clock::default(), None, 0);
        for &at in frames {
            clock.advance(at);
            if clock.pcr_due() {
                widest = widest.max(last.map_or(0, |last| at.max(last) - last));
                last = Some(at);
                clock.written(false, false, true);
            }
        }
        widest
    }

    #[test]
    fn what_is_due_comes_in_time() {
        let every = |tenths: u32| (0..500).map(move |i| i * tenths / 10).collect::<Vec<_>>();
        let mut both = [every(400), every(213)].concat();
        both.retain(|at| *at <= 10_000);
        both.sort();
        for (what, frames) in [
            ("AAC", every(213)),
            ("AC-3", every(320)),
            ("25 pictures", every(400)),
            ("30 pictures", every(333)),
            ("60 pictures", every(167)),
            ("pictures and sound", both),
        ] {
            assert!(widest(&frames) <= PCR_MS, "{what}: {}", widest(&frames));
        }
    }

    #[test]
    fn frames_of_the_past_do_not_turn_it_back() {
        let mut clock = Clock::default();
        for (at, now) in [(100, 100), (60, 100), (u32::MAX - 5, 100), (140, 140)] {
            clock.advance(at);
            assert_eq!(clock.newest, Some(now));
        }
    }
}
