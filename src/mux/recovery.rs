//! The source's clock on the clock of the multiplex: a line from its decoding times to those that are sent.
//!
//! A unit that came at `a` with decoding time `d` says `a - d`; the least of many is the one that nothing held up. At a
//! beginning (the first unit, a seam, a discontinuity) units are collected for [`SETTLE`] and the line is laid so that the
//! slowest track is [`LATENCY`] in front of its decoding times. From then on it is bent, never broken:
//!
//! - each [`WINDOW`] gives one point, the least delay in it; the slope through the last points is what the source's crystal
//!   is off, and is followed by at most [`FREQUENCY_STEP_PPB`] more a window, up to [`FREQUENCY_PPB_MAX`];
//! - on top of that, delay that is too long or too short is taken back at no more than [`STEER_PPB_MAX`], which no decoder
//!   sees.
//!
//! What must stay true: all tracks have one line; it is continuous between two beginnings; a beginning needs a reason, and
//! two of them are [`ANCHOR_GAP`] apart unless the owner asks; one stamp that is broken is no reason. Times are in ticks of
//! 27 MHz.

use super::ticker::{MS, SECOND};
use crate::wire::ts::pes::wrapping_distance;
use crate::wire::ts::{CLOCK_MODULUS, PCR_TICKS};
use std::collections::VecDeque;

/// Tracks that are listened to.
pub(super) const TRACKS_MAX: usize = 32;
/// Time from the arrival of a unit that nothing held up to its decoding: what pictures of many packets can be spread
/// over, and what arrivals may vary by.
pub(super) const LATENCY: i64 = 750 * MS;
/// A unit is begun no later than that before its decoding (operations: PTS 0.2 to 0.9 s in front of the PCR).
pub(super) const LEAD_MIN: i64 = 205 * MS;
/// A unit whose decoding is further away than that does not belong to what came before it.
pub(super) const EARLY_MAX: i64 = 3 * SECOND;
/// Time that a beginning collects units for.
const SETTLE: i64 = 200 * MS;
/// A track that is slower than the first one by more is not waited for.
const SKEW_MAX: i64 = 1500 * MS;
/// Time after which a track that sends nothing is not listened for.
const HEARD: i64 = SECOND;
/// Time without any unit after which one that is late begins anew instead of being dropped.
pub(super) const SILENCE: i64 = 500 * MS;
/// Units of a track that are late for that long are not a stall of the network: the source is later now.
const LATE_RUN: i64 = SECOND;
/// Decoding times that go back by more are another timeline.
const BACK_MAX: i64 = 100 * MS;
/// Least time between two beginnings that nobody asked for: sources that jump all the time are dropped, not followed.
const ANCHOR_GAP: i64 = 2 * SECOND;
/// A beginning is moved later by at most that much to have the timeline go on behind the units before it: sources differ
/// in latency by that.
const SHIFT_MAX: i64 = SECOND;
/// But not so much that a track would come closer to [`EARLY_MAX`] than this.
const EARLY_ROOM: i64 = 250 * MS;
/// Units of a source whose stamps leap that follow one another are closer than that.
const STEP_MAX: i64 = SECOND;

/// Time that one point of the loop stands for.
const WINDOW: i64 = 10 * SECOND;
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

const BILLION: i64 = 1_000_000_000;

/// A line from source time to mux time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pivot: i64,
    /// Mux time less source time at the pivot.
    offset: i64,
    slope_ppb: i64,
}

impl Line {
    /// Mux time of a source time.
    pub fn at(self, source: i64) -> i64 {
        source + self.offset + (source - self.pivot).saturating_mul(self.slope_ppb) / BILLION
    }

    /// The same line up to `pivot`, and on from there with another slope.
    fn bend(self, pivot: i64, slope_ppb: i64) -> Line {
        Line { pivot, offset: self.at(pivot) - pivot, slope_ppb }
    }
}

/// What becomes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It waits for the line.
    Settling,
    /// It has a place on this one.
    On(Line),
    /// It is too late to be sent.
    Late,
    /// It is further in the future than anything that is kept.
    Early,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Settling { since: i64 },
    Running(Line),
}

/// What is known of a track of pictures or sound.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    video: bool,
    /// When the last unit came, and its decoding time.
    last: Option<(i64, i64)>,
    /// Decoding time of the last one that had a place.
    good: Option<i64>,
    /// What the last one said, if it was on another timeline: it takes two to believe that.
    odd: Option<u64>,
    /// Least delay since the beginning, while it settles.
    settling: Option<i64>,
    /// Least delay in this window, with when it was seen.
    window: Option<(i64, i64)>,
    late_since: Option<i64>,
}

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    state: State,
    /// Endless decoding time of the last unit of the first track, in ticks of 90 kHz: where wrapped ones are near.
    base: Option<i64>,
    tracks: [Heard; TRACKS_MAX],
    /// When any unit came.
    heard_at: Option<i64>,
    /// Until then nobody listened.
    deaf_until: i64,
    begun_at: i64,
    window_from: i64,
    /// When, and the delay: of past windows.
    points: VecDeque<(i64, i64)>,
    frequency_ppb: i64,
    jumps: u64,
}

impl Recovery {
    pub fn new() -> Recovery {
        Recovery {
            state: State::Idle,
            base: None,
            tracks: [Heard::default(); TRACKS_MAX],
            heard_at: None,
            deaf_until: i64::MIN / 2,
            begun_at: i64::MIN / 2,
            window_from: 0,
            points: VecDeque::with_capacity(POINTS_MAX),
            frequency_ppb: 0,
            jumps: 0,
        }
    }

    /// What the source's clock was found to be off, in parts in 10^9: positive, if it is slow.
    pub fn frequency_ppb(&self) -> i64 {
        self.frequency_ppb
    }

    /// Beginnings that nobody asked for.
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// What is looked at for each datagram.
    pub fn reads(&self) -> *const u8 {
        (&raw const self.state).cast()
    }

    /// Units wait for the line.
    pub fn is_settling(&self) -> bool {
        matches!(self.state, State::Settling { .. })
    }

    pub fn heap_bytes(&self) -> usize {
        self.points.capacity() * size_of::<(i64, i64)>()
    }

    /// Nobody listened until `now`: that nothing was heard does not mean that nothing came.
    pub fn held_up(&mut self, now: i64) {
        self.deaf_until = now;
    }

    /// What comes next does not continue what came: another clock, as far as anybody knows.
    pub fn seam(&mut self) {
        let jumps = self.jumps;
        *self =
            Recovery { heard_at: self.heard_at, points: std::mem::take(&mut self.points), ..Recovery::new() };
        self.points.clear();
        self.jumps = jumps;
    }

    /// A time of 33 bits and 90 kHz near those of the first track.
    pub fn endless(&self, time: u64) -> i64 {
        let ticks = match self.base {
            None => (time % CLOCK_MODULUS) as i64,
            Some(base) => {
                let from = base.rem_euclid(CLOCK_MODULUS as i64) as u64;
                base + wrapping_distance(from, time % CLOCK_MODULUS, CLOCK_MODULUS)
            }
        };
        ticks * PCR_TICKS as i64
    }

    /// A unit of a track of pictures or sound came. Its decoding time is one of 33 bits; [`Recovery::endless`] understands it
    /// and its neighbours afterwards.
    pub fn hear(&mut self, now: i64, track: usize, video: bool, time: u64) -> Place {
        let mut decoding = self.endless(time);
        let silent = self.heard_at.is_none_or(|at| now - at.max(self.deaf_until) > SILENCE);
        let Some(heard) = self.tracks.get_mut(track) else { return Place::Early };
        heard.video = video;
        heard.last = Some((now, decoding));
        self.heard_at = Some(now);
        let is_master = self.is_master(now, track);
        let line = match self.state {
            State::Running(line) => line,
            State::Idle => {
                self.begin(now);
                return self.settle_with(track, now, decoding);
            }
            State::Settling { .. } => return self.settle_with(track, now, decoding),
        };
        let lead = line.at(decoding) - now;
        let (late, early) = (lead < LEAD_MIN, lead > EARLY_MAX);
        if !late && !early {
            if is_master {
                self.base = Some(decoding / PCR_TICKS as i64);
            }
            self.keep(track, now, decoding);
            if now - self.window_from >= WINDOW {
                self.turn(now, decoding);
            }
            return Place::On(line);
        }
        let other = self.is_elsewhere(track, early, time, decoding);
        let run = self.late_for(track, now, late) >= LATE_RUN && self.near_master(now, now - decoding);
        let other = is_master && (other || silent);
        if (other || (late && run)) && now - self.begun_at >= ANCHOR_GAP {
            // Times begin where this one stands, so that no number of jumps adds up.
            self.base = Some((time % CLOCK_MODULUS) as i64);
            decoding = self.endless(time);
            self.jumps += 1;
            self.begin(now);
            return self.settle_with(track, now, decoding);
        }
        if late { Place::Late } else { Place::Early }
    }

    /// The line of units whose time is not heard: tracks that may pause, and units without a time of their own.
    pub fn place(&self, now: i64, decoding: i64) -> Place {
        let line = match self.state {
            // Without pictures or sound there is nothing that they could belong to.
            State::Idle => return Place::Late,
            State::Settling { .. } => return Place::Settling,
            State::Running(line) => line,
        };
        match line.at(decoding) - now {
            lead if lead < LEAD_MIN => Place::Late,
            lead if lead > EARLY_MAX => Place::Early,
            _ => Place::On(line),
        }
    }

    /// Time passes: the line, once enough was collected. `first`: earliest decoding time that waits for it; `floor`: mux
    /// time that it should not come before.
    pub fn settle(&mut self, now: i64, first: Option<i64>, floor: Option<i64>) -> Option<Line> {
        let State::Settling { since } = self.state else { return None };
        if now - since < SETTLE {
            return None;
        }
        let master =
            self.master(now).and_then(|track| self.tracks.get(track)).and_then(|track| track.settling);
        let delays = || self.tracks.iter().filter_map(|track| track.settling);
        let master = master.or_else(|| delays().min())?;
        let near = || delays().filter(|delay| (delay - master).abs() <= SKEW_MAX);
        let (fastest, slowest) = (near().min().unwrap_or(master), near().max().unwrap_or(master));
        let offset = slowest + LATENCY;
        let missing = first.zip(floor).map_or(0, |(first, floor)| floor - (first + offset));
        let most = SHIFT_MAX.min(EARLY_MAX - EARLY_ROOM - LATENCY - (slowest - fastest));
        let shift = if (0..=most).contains(&missing) { missing } else { 0 };
        let line = Line { pivot: now - slowest, offset: offset + shift, slope_ppb: self.frequency_ppb };
        self.state = State::Running(line);
        self.window_from = now;
        Some(line)
    }

    fn begin(&mut self, now: i64) {
        self.state = State::Settling { since: now };
        self.begun_at = now;
        self.points.clear();
        for track in &mut self.tracks {
            *track = Heard { video: track.video, last: track.last, ..Heard::default() };
        }
    }

    fn settle_with(&mut self, track: usize, now: i64, decoding: i64) -> Place {
        if self.base.is_none() || self.is_master(now, track) {
            self.base = Some(decoding / PCR_TICKS as i64);
        }
        if let Some(heard) = self.tracks.get_mut(track) {
            heard.good = Some(decoding);
            let delay = now - decoding;
            // One that is far from those before it is on another timeline than they are, and so is what follows it.
            let same = heard.settling.filter(|least| (delay - least).abs() <= SKEW_MAX);
            heard.settling = Some(same.map_or(delay, |least| least.min(delay)));
        }
        Place::Settling
    }

    /// Whether a unit that is too early, or late, is the second in a row on another timeline.
    fn is_elsewhere(&mut self, track: usize, early: bool, time: u64, decoding: i64) -> bool {
        let Some(heard) = self.tracks.get_mut(track) else { return false };
        let is_odd = early || heard.good.is_some_and(|good| decoding < good - BACK_MAX);
        let before = std::mem::replace(&mut heard.odd, is_odd.then_some(time));
        // Stamps that are broken do not follow one another.
        let near =
            |before| wrapping_distance(before, time, CLOCK_MODULUS).abs() <= STEP_MAX / PCR_TICKS as i64;
        is_odd && before.is_some_and(near)
    }

    /// Whether all others go by this track.
    pub fn is_master(&self, now: i64, track: usize) -> bool {
        self.master(now) == Some(track)
    }

    /// The track that all others go by: the first of video, else of audio, that is there.
    fn master(&self, now: i64) -> Option<usize> {
        let there = |heard: &Heard| heard.last.is_some_and(|(at, _)| now - at <= HEARD);
        let all = || self.tracks.iter().enumerate().filter(|(_, heard)| there(heard));
        let master = all().find(|(_, heard)| heard.video).or_else(|| all().next());
        master.map(|(track, _)| track)
    }

    /// Whether a delay is one that a track may have beside the master.
    fn near_master(&self, now: i64, delay: i64) -> bool {
        let master = self.master(now).and_then(|track| self.tracks.get(track)).and_then(|heard| heard.last);
        master.is_some_and(|(at, decoding)| (delay - (at - decoding)).abs() <= SKEW_MAX)
    }

    /// For how long a track has been late.
    fn late_for(&mut self, track: usize, now: i64, late: bool) -> i64 {
        let Some(heard) = self.tracks.get_mut(track).filter(|_| late) else { return 0 };
        now - *heard.late_since.get_or_insert(now)
    }

    /// Notes the delay of a unit in time.
    fn keep(&mut self, track: usize, now: i64, decoding: i64) {
        let Some(heard) = self.tracks.get_mut(track) else { return };
        (heard.late_since, heard.good, heard.odd) = (None, Some(decoding), None);
        let delay = now - decoding;
        if heard.window.is_none_or(|(least, _)| delay < least) {
            heard.window = Some((delay, now));
        }
    }

    /// A window is over: a point, and the line bends where it is now.
    fn turn(&mut self, now: i64, decoding: i64) {
        self.window_from = now;
        let State::Running(line) = self.state else { return };
        let seen = self.tracks.iter_mut().filter_map(|heard| heard.window.take());
        let Some((delay, at)) = seen.max() else { return };
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
        let missing = LATENCY - (line.at(at - delay) - at);
        let steer = missing.saturating_mul(BILLION / SECOND) / STEER_SECONDS;
        let slope = self.frequency_ppb + steer.clamp(-STEER_PPB_MAX, STEER_PPB_MAX);
        self.state = State::Running(line.bend(decoding, slope));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A source with frames each 40 ms of its own clock, which is `ppm` fast, and what its units were given.
    struct Source {
        recovery: Recovery,
        ppm: f64,
        n: i64,
        /// When the first frame was made, and what its stamp was.
        origin: (i64, i64),
        seed: u64,
        line: Option<Line>,
        /// When the last frame came: none overtakes another.
        came: i64,
    }

    impl Source {
        fn new(ppm: f64) -> Source {
            let origin = (SECOND, 90_000);
            Source { recovery: Recovery::new(), ppm, n: 0, origin, seed: 1, line: None, came: 0 }
        }

        fn random(&mut self, below: i64) -> i64 {
            self.seed =
                self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.seed >> 33) as i64 % below.max(1)
        }

        /// The next frame, up to `jitter` late and `delay` behind; its decoding time in mux time, and when it came.
        fn frame(&mut self, delay: i64, jitter: i64) -> (Place, i64, Option<i64>) {
            let made = (self.n * 40 * MS) as f64 / (1.0 + self.ppm / 1e6);
            let late = self.random(jitter);
            let now = self.came.max(self.origin.0 + made as i64 + delay + late);
            self.came = now;
            let stamp = (self.origin.1 + self.n * 3600).rem_euclid(CLOCK_MODULUS as i64) as u64;
            self.n += 1;
            self.line = self.recovery.settle(now, None, None).or(self.line);
            let place = self.recovery.hear(now, 0, true, stamp);
            let out = match place {
                Place::On(line) => Some(line.at(self.recovery.endless(stamp))),
                _ => None,
            };
            (place, now, out)
        }

        /// The next `count` frames, whatever becomes of them.
        fn frames(&mut self, count: usize, delay: i64, jitter: i64) {
            for _ in 0..count {
                self.frame(delay, jitter);
            }
        }
    }

    /// Drift of up to 100 ppm over hours with jitter: no jump, no step, and the lead stays.
    #[test]
    fn drift_is_followed_without_a_step() {
        for ppm in [-100.0, -29.0, 0.0, 31.0, 100.0] {
            let mut source = Source::new(ppm);
            let (mut last, mut leads) = (None::<i64>, (i64::MAX, i64::MIN));
            for n in 0..25 * 3600 * 3 {
                let (place, now, out) = source.frame(0, 60 * MS);
                let Some(out) = out else {
                    assert!(n < 10, "{ppm} ppm, frame {n}: {place:?}");
                    continue;
                };
                if let Some(last) = last.replace(out) {
                    let off = (out - last - 40 * MS).abs();
                    // 230 ppm of 40 ms, and the roundings.
                    assert!(off <= 40 * MS * 230 / 1_000_000 + 310, "{ppm} ppm, frame {n}: {off}");
                }
                leads = (leads.0.min(out - now), leads.1.max(out - now));
            }
            assert_eq!(source.recovery.jumps(), 0);
            assert!(leads.0 > LATENCY - 120 * MS && leads.1 < LATENCY + 60 * MS, "{ppm} ppm: {leads:?}");
            let found = source.recovery.frequency_ppb() as f64 / 1e3;
            assert!((found + ppm).abs() < 5.0, "{ppm} ppm: {found}");
        }
    }

    #[test]
    fn a_longer_path_is_no_drift() {
        let mut source = Source::new(0.0);
        for n in 0..25 * 1800 {
            let delay = if n < 25 * 600 { 0 } else { 80 * MS };
            source.frame(delay, 5 * MS);
            assert!(source.recovery.frequency_ppb().abs() < 10_000, "{}", source.recovery.frequency_ppb());
        }
        assert_eq!(source.recovery.jumps(), 0);
    }

    #[test]
    fn stamps_that_wrap_are_no_discontinuity() {
        let mut source = Source::new(0.0);
        source.origin.1 = CLOCK_MODULUS as i64 - 90_000;
        let outs: Vec<i64> = (0..100).filter_map(|_| source.frame(0, 0).2).collect();
        assert!(outs.len() > 90 && outs.windows(2).all(|two| two[1] - two[0] == 40 * MS));
    }

    #[test]
    fn what_begins_anew_and_what_is_dropped() {
        // Frames of two seconds are lost on the way; after the pause the source is where it was: nothing new.
        let mut source = Source::new(0.0);
        source.frames(100, 0, 0);
        source.n += 50;
        assert!(matches!(source.frame(0, 0).0, Place::On(_)));
        // It comes two seconds late for good, after silence: at once.
        let begins = |source: &mut Source, delay: i64| {
            (0..50).position(|_| matches!(source.frame(delay, 0).0, Place::Settling))
        };
        source.frames(100, 0, 0);
        assert_eq!(begins(&mut source, 2 * SECOND), Some(0));
        assert_eq!(source.recovery.jumps(), 1);
        source.frames(100, 2 * SECOND, 0);
        // Another timeline, forward and back, or as far as can be: with the second unit.
        for by in [90_000 * 60, -90_000 * 3600, 1 << 32] {
            source.origin.1 += by;
            assert_eq!(begins(&mut source, 2 * SECOND), Some(1), "{by}");
            source.frames(100, 2 * SECOND, 0);
        }
        assert_eq!(source.recovery.jumps(), 4);
        // One that jumps with each unit is dropped, and tried where it has been late for long.
        for n in 0..250 {
            source.origin.1 += 90_000 * 600 * (n % 3 + 1);
            source.frame(2 * SECOND, 0);
        }
        assert!(source.recovery.jumps() < 4 + 5, "{}", source.recovery.jumps());
    }

    /// A stamp of a master that is broken: it is dropped, and nothing else is.
    #[test]
    fn one_broken_stamp_is_no_timeline() {
        for broken in [90_000 * 3600, -90_000 * 3600, 1 << 32, 90_000 * 4] {
            let mut source = Source::new(0.0);
            source.frames(100, 0, 0);
            for _ in 0..20 {
                source.origin.1 += broken;
                assert!(matches!(source.frame(0, 0).0, Place::Early | Place::Late), "{broken}");
                source.origin.1 -= broken;
                assert!(matches!(source.frame(0, 0).0, Place::On(_)), "{broken}");
            }
            // Two of them that have nothing to do with one another.
            for more in [broken, broken * 2 / 3] {
                source.origin.1 += more;
                assert!(matches!(source.frame(0, 0).0, Place::Early | Place::Late), "{broken}");
                source.origin.1 -= more;
            }
            assert!((0..50).all(|_| matches!(source.frame(0, 0).0, Place::On(_))), "{broken}");
            assert_eq!(source.recovery.jumps(), 0);
        }
    }

    /// Sound whose first unit is of another timeline is waited for as the others say.
    #[test]
    fn one_that_is_left_of_before_does_not_settle() {
        for left in [3600 * SECOND, -3600 * SECOND] {
            let mut recovery = Recovery::new();
            for n in 0..4i64 {
                let (now, made) = (SECOND + n * 40 * MS, (900_000 + n * 3600) as u64);
                recovery.hear(now, 0, true, made);
                let sound = made - 36_000;
                let sound =
                    if n == 0 { (sound as i64 + left / 300).rem_euclid(1 << 33) as u64 } else { sound };
                recovery.hear(now, 1, false, sound);
            }
            let line = recovery.settle(SECOND + SETTLE, None, None).unwrap();
            assert_eq!(line.at(900_000 * 300), SECOND + LATENCY + 400 * MS, "{left}");
        }
    }

    #[test]
    fn lateness_that_lasts_is_followed_and_that_passes_is_not() {
        let mut source = Source::new(0.0);
        source.frames(200, 0, 0);
        // For 0.8 s everything comes 0.6 s late, without a pause that is long enough to count as one.
        source.frames(5, 300 * MS, 0);
        for _ in 0..20 {
            assert_eq!(source.frame(600 * MS, 0).0, Place::Late);
        }
        // What was held up comes at once.
        source.frames(5, 0, 0);
        assert!((0..100).all(|_| matches!(source.frame(0, 0).0, Place::On(_))));
        assert_eq!(source.recovery.jumps(), 0);
        source.frames(5, 300 * MS, 0);
        let places: Vec<Place> = (0..60).map(|_| source.frame(600 * MS, 0).0).collect();
        assert_eq!(places.iter().position(|place| *place == Place::Settling), Some(25));
        assert!(matches!(places[59], Place::On(_)));
    }

    /// Sound that comes later than pictures is waited for; one that has another clock is not.
    #[test]
    fn the_slowest_track_sets_the_delay() {
        for (behind, waits) in [(400 * MS, true), (1400 * MS, true), (9 * SECOND, false)] {
            let mut recovery = Recovery::new();
            let mut lines = Vec::new();
            for n in 0..100i64 {
                let now = 20 * SECOND + n * 40 * MS;
                lines.extend(recovery.settle(now, None, None));
                recovery.hear(now, 0, true, (n * 3600 + 900_000) as u64);
                recovery.hear(now, 1, false, (n * 3600 + 900_000 - behind / 300) as u64);
            }
            let [line] = lines[..] else { panic!("{lines:?}") };
            let lead = line.at(900_000 * 300) - 20 * SECOND;
            assert_eq!(lead, if waits { LATENCY + behind } else { LATENCY }, "{behind}");
        }
    }

    /// Units of a backlog come at once: the newest is what is live.
    #[test]
    fn a_backlog_is_not_kept() {
        let mut recovery = Recovery::new();
        for n in 0..50u64 {
            assert_eq!(recovery.hear(SECOND, 0, true, n * 3600), Place::Settling);
        }
        let line = recovery.settle(SECOND + SETTLE, Some(0), None).unwrap();
        assert_eq!(line.at(49 * 3600 * 300), SECOND + LATENCY);
    }

    #[test]
    fn what_follows_closely_goes_on_behind_it() {
        for (floor, shift) in [(0, 0), (100, 100), (1000, 1000), (1001, 0)] {
            let mut recovery = Recovery::new();
            recovery.hear(SECOND, 0, true, 0);
            let floor = SECOND + LATENCY + floor * MS;
            let line = recovery.settle(SECOND + SETTLE, Some(0), Some(floor)).unwrap();
            assert_eq!(line.at(0), SECOND + LATENCY + shift * MS);
        }
    }

    #[test]
    fn no_time_overflows() {
        let mut recovery = Recovery::new();
        let mut seed = 7u64;
        for n in 0..200_000i64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let now = n * 30 * MS;
            recovery.hear(now, (seed >> 60) as usize * 3, seed & 1 == 0, seed >> 20);
            let endless = recovery.endless(seed >> 7);
            recovery.settle(now, Some(endless), Some(now));
        }
        assert!(recovery.endless(0).abs() < 1 << 50);
    }
}
