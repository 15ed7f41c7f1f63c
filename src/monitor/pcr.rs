//! Program clock references: whether they step, and what is kept about those of one PID.

use super::fit::{Fit, Verdict};
use crate::media::Mono;
use crate::wire::ts::{CLOCK_MODULUS, PCR_TICKS, pes::wrapping_distance};

/// Ticks of the PCR's clock in a second.
pub const TICKS_PER_SECOND: u64 = 27_000_000;
/// Values of a PCR.
const MODULUS: u64 = CLOCK_MODULUS * PCR_TICKS;
/// Ticks that a PCR may advance without a further look (TR 101 290, 2.3.b).
const STEP_TICKS: i64 = TICKS_PER_SECOND as i64 / 10;
/// Ticks that the first interval may have: nothing is known yet that it could be held against.
const FIRST_TICKS: f64 = TICKS_PER_SECOND as f64;
/// Intervals whose rate is remembered to tell a late PCR from a stepping one.
const RATES: usize = 16;

/// What a PCR is to the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// There is none before, or the last one is to be forgotten.
    First,
    /// It goes on. That may be later than allowed.
    Continuous {
        /// Advance, in ticks of 27 MHz.
        ticks: u64,
        /// Packets from one to the other.
        packets: u64,
    },
    /// It steps, and says so.
    Announced,
    /// It steps.
    Jump,
}

/// Tells late from stepping.
///
/// TR 101 290 raises 2.3.b for any difference outside 0 to 100 ms, so that a PCR that is merely late raises it with
/// 2.3.a. Here a difference above 100 ms is a step only if neither the packets nor the time that have passed explain
/// it.
#[derive(Clone, Debug, Default)]
pub struct PcrClock {
    last: Option<(u64, u64, Option<Mono>)>,
    /// Ticks per packet of recent intervals.
    rates: [f32; RATES],
    known: usize,
    next: usize,
}

impl PcrClock {
    /// The next PCR with its packet's number, and when it arrived, where that is more than a conclusion from PCRs.
    pub fn step(&mut self, pcr: u64, packet: u64, at: Option<Mono>, announced: bool) -> Step {
        let Some((last, last_packet, last_at)) = self.last.replace((pcr, packet, at)) else {
            return Step::First;
        };
        if announced {
            return Step::Announced;
        }
        let ticks = wrapping_distance(last, pcr, MODULUS);
        let packets = packet.saturating_sub(last_packet);
        let elapsed = at.zip(last_at).map(|(at, last_at)| at.micros_since(last_at));
        if ticks < 0 || (ticks > STEP_TICKS && !self.explains(ticks as f64, packets as f64, elapsed)) {
            return Step::Jump;
        }
        if let Some(rate) = self.rates.get_mut(self.next)
            && packets > 0
            && ticks > 0
        {
            *rate = (ticks as f64 / packets as f64) as f32;
            self.next = (self.next + 1) % RATES;
            self.known = (self.known + 1).min(RATES);
        }
        Step::Continuous { ticks: ticks as u64, packets }
    }

    fn explains(&self, ticks: f64, packets: f64, elapsed_us: Option<u64>) -> bool {
        let by_time = elapsed_us.is_some_and(|us| (ticks - us as f64 * 27.0).abs() <= ticks / 4.0);
        let rates = self.rates.iter().take(self.known).map(|rate| f64::from(*rate));
        let (slowest, fastest) = rates.fold((0.0f64, f64::MAX), |(s, f), rate| (s.max(rate), f.min(rate)));
        let by_packets = if self.known == 0 {
            ticks <= FIRST_TICKS
        } else {
            // A constant rate explains exactly what it explains; a variable one may be slower than it ever was.
            let slack = if slowest < fastest * 1.02 { 1.1 } else { 4.0 };
            ticks <= packets * slowest * slack
        };
        by_time || by_packets
    }

    /// The next PCR begins anew: what was between is not known.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The last PCR, with its packet's number and its time.
    pub fn last(&self) -> Option<(u64, u64, Option<Mono>)> {
        self.last
    }
}

/// All that is kept about the PCRs of one PID.
#[derive(Clone, Debug)]
pub(super) struct PcrTrack {
    pub pid: u16,
    pub clock: PcrClock,
    pub fit: Fit,
    pub count: u64,
    /// Continuous intervals, the longest and all together, in ticks.
    pub intervals: u64,
    pub interval_max: u64,
    pub interval_sum: u64,
    /// Packets and ticks of those in which none is known to be missing.
    whole_packets: u64,
    whole_ticks: u64,
    /// Intervals above 40 ms, whatever the limit is.
    pub above_40_ms: u64,
    /// PCRs that were held against a constant rate, and the largest distance from it, in ticks.
    pub judged: u64,
    pub worst: f64,
    /// When the last one came, or since when one is due.
    pub since: Mono,
    /// That none comes has been raised.
    pub absence_told: bool,
    /// Packets were lost since the last one.
    pub damaged: bool,
}

impl PcrTrack {
    /// Of a PID that a program map names from `at` on: a PCR is due, though none may ever come.
    pub fn new(pid: u16, at: Mono) -> PcrTrack {
        PcrTrack {
            pid,
            clock: PcrClock::default(),
            fit: Fit::default(),
            count: 0,
            intervals: 0,
            interval_max: 0,
            interval_sum: 0,
            whole_packets: 0,
            whole_ticks: 0,
            above_40_ms: 0,
            judged: 0,
            worst: 0.0,
            since: at,
            absence_told: false,
            damaged: false,
        }
    }

    /// A PCR; tells whether it steps without saying so, how long its interval was if it is continuous (in ticks), and
    /// how exact it is. `nulls`: null packets of the stream in front of it.
    pub fn observe(
        &mut self,
        pcr: u64,
        packet: u64,
        at: Mono,
        announced: bool,
        nulls: u64,
    ) -> (Step, Verdict) {
        self.count += 1;
        self.since = at;
        let step = self.clock.step(pcr, packet, Some(at), announced);
        let Step::Continuous { ticks, packets } = step else {
            self.fit.restart(nulls);
            self.damaged = false;
            return (step, Verdict::Unknown);
        };
        self.interval_sum += ticks;
        self.intervals += 1;
        self.interval_max = self.interval_max.max(ticks);
        self.above_40_ms += u64::from(ticks > TICKS_PER_SECOND / 25);
        if std::mem::take(&mut self.damaged) {
            // Positions mean nothing where packets are missing.
            self.fit.restart(nulls);
            return (step, Verdict::Unknown);
        }
        let verdict = self.fit.judge(packets, ticks, nulls);
        if verdict != Verdict::Shifted {
            self.whole_packets += packets;
            self.whole_ticks += ticks;
        }
        if let Verdict::Exact(off) | Verdict::Off(off) = verdict {
            self.judged += 1;
            self.worst = self.worst.max(off.abs());
        }
        (step, verdict)
    }

    /// Tells what a time stamp will read.
    pub fn reads(&self, mut tell: impl FnMut(*const u8, usize)) {
        tell((&raw const self.clock.last).cast(), size_of_val(&self.clock.last));
        tell(self.fit.reads(), 1);
        tell((&raw const self.since).cast(), 1);
    }

    /// The rate of the whole multiplex by this clock, in bits a second.
    pub fn mux_rate_bps(&self) -> Option<f64> {
        let bits = self.whole_packets as f64 * super::PACKET_BITS as f64;
        (self.whole_ticks > 0).then(|| bits * TICKS_PER_SECOND as f64 / self.whole_ticks as f64)
    }

    /// The clock's value at a later packet, in ticks.
    pub fn at(&self, packet: u64, at: Mono) -> Option<u64> {
        let (pcr, since, _) = self.clock.last()?;
        let ahead = match self.fit.ticks_per_packet() {
            Some(ticks) => packet.saturating_sub(since) as f64 * ticks,
            None => at.micros_since(self.since) as f64 * 27.0,
        };
        Some((pcr + ahead as u64) % MODULUS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = TICKS_PER_SECOND / 1000;

    fn steps(rows: &[(u64, u64)]) -> Vec<Step> {
        let mut clock = PcrClock::default();
        rows.iter().map(|(ms, packet)| clock.step(ms * MS % MODULUS, *packet, None, false)).collect()
    }

    fn ends_with_jump(rows: &[(u64, u64)]) -> bool {
        steps(rows).last() == Some(&Step::Jump)
    }

    #[test]
    fn late_is_not_stepping() {
        let regular = [(0, 0), (40, 100), (80, 200), (120, 300)];
        let after = |ms: u64, packet: u64| [&regular[..], &[(120 + ms, 300 + packet)]].concat();
        for (what, rows, jump) in [
            ("on time", after(40, 100), false),
            ("late, and so are the packets", after(110, 275), false),
            ("nothing explains 110 ms", after(110, 100), true),
            ("seconds", after(5000, 100), true),
            ("the same again", after(0, 1), false),
            ("a gap at the start", vec![(0, 0), (900, 10)], false),
            ("a step at the start", vec![(0, 0), (1100, 10)], true),
            ("a variable rate that slows down", vec![(0, 0), (40, 100), (80, 120), (300, 170)], false),
        ] {
            assert_eq!(ends_with_jump(&rows), jump, "{what}");
        }
        assert!(ends_with_jump(&[(5000, 0), (4999, 1)]), "backwards");
        let wrap = MODULUS / MS;
        assert!(!ends_with_jump(&[(wrap - 20, 0), (wrap + 20, 1)]), "the end of the clock is no step");
    }

    #[test]
    fn time_explains_and_an_announcement_excuses() {
        let mut clock = PcrClock::default();
        let at = |ms: u64| Some(Mono::from_micros(ms * 1000));
        for n in 0..5 {
            clock.step(n * 40 * MS, n * 100, at(n * 40), false);
        }
        assert!(
            matches!(clock.step(1160 * MS, 450, at(1170), false), Step::Continuous { .. }),
            "datagrams lost"
        );
        assert_eq!(clock.step(9000 * MS, 500, at(1200), true), Step::Announced);
        assert_eq!(clock.step(19_000 * MS, 600, at(1240), false), Step::Jump);
        clock.forget();
        assert_eq!(clock.step(0, 700, at(1280), false), Step::First);
    }
}
