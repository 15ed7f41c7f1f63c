//! The source's clock on the clock of the multiplex: a line from its decoding times to those that are sent.
//!
//! A unit that came at `a` with decoding time `d` says `a - d`; the least of many is the one that nothing held up. At a
//! beginning (the first unit, a seam, a discontinuity) units are collected for [`SETTLE`] and the line is laid so that the
//! slowest track is [`LATENCY`] in front of its decoding times. From then on it is bent, never broken:
//!
//! - each [`WINDOW`] gives one point, the least delay in it; the slope through the last points is what the source's crystal
//!   is off, and is followed step by step (`drift`);
//! - on top of that, delay that is too long or too short is taken back so slowly that no decoder sees it.
//!
//! What must stay true: all tracks have one line; it is continuous between two beginnings; a beginning needs a reason, and
//! two of them are [`ANCHOR_GAP`] apart unless the owner asks; one stamp that is broken is no reason. Times are in ticks of
//! 27 MHz.

mod drift;
mod heard;
mod line;

pub(in crate::mux) use line::Line;

use crate::mux::ticker::{MS, SECOND};
use crate::wire::ts::pes::wrapping_distance;
use crate::wire::ts::{CLOCK_MODULUS, PCR_TICKS};
use drift::{Drift, WINDOW};
use heard::Heard;

/// Tracks that are listened to.
pub(in crate::mux) const TRACKS_MAX: usize = 32;
/// Time from the arrival of a unit that nothing held up to its decoding: what pictures of many packets can be spread
/// over, and what arrivals may vary by.
pub(in crate::mux) const LATENCY: i64 = 750 * MS;
/// A unit is begun no later than that before its decoding (operations: PTS 0.2 to 0.9 s in front of the PCR).
pub(in crate::mux) const LEAD_MIN: i64 = 205 * MS;
/// A unit whose decoding is further away than that does not belong to what came before it.
pub(in crate::mux) const EARLY_MAX: i64 = 3 * SECOND;
/// Time that a beginning collects units for.
const SETTLE: i64 = 200 * MS;
/// A track that is slower than the first one by more is not waited for.
const SKEW_MAX: i64 = 1500 * MS;
/// Time after which a track that sends nothing is not listened for.
const HEARD: i64 = SECOND;
/// Time without any unit after which one that is late begins anew instead of being dropped.
pub(in crate::mux) const SILENCE: i64 = 500 * MS;
/// Units of a track that are late for that long are not a stall of the network: the source is later now.
const LATE_RUN: i64 = SECOND;
/// Least time between two beginnings that nobody asked for: sources that jump all the time are dropped, not followed.
const ANCHOR_GAP: i64 = 2 * SECOND;
/// A beginning is moved later by at most that much to have the timeline go on behind the units before it: sources differ
/// in latency by that.
const SHIFT_MAX: i64 = SECOND;
/// But not so much that a track would come closer to [`EARLY_MAX`] than this.
const EARLY_ROOM: i64 = 250 * MS;

const BILLION: i64 = 1_000_000_000;

/// What becomes of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mux) enum Place {
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

/// See the module's description.
#[derive(Clone, Debug)]
pub(in crate::mux) struct Recovery {
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
    drift: Drift,
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
            drift: Drift::new(),
            jumps: 0,
        }
    }

    /// What the source's clock was found to be off, in parts in 10^9: positive, if it is slow.
    pub fn frequency_ppb(&self) -> i64 {
        self.drift.frequency_ppb
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
        self.drift.heap_bytes()
    }

    /// Nobody listened until `now`: that nothing was heard does not mean that nothing came.
    pub fn held_up(&mut self, now: i64) {
        self.deaf_until = now;
    }

    /// What comes next does not continue what came: another clock, as far as anybody knows.
    pub fn seam(&mut self) {
        self.drift.forget();
        (self.state, self.base) = (State::Idle, None);
        self.tracks = [Heard::default(); TRACKS_MAX];
        (self.deaf_until, self.begun_at, self.window_from) = (i64::MIN / 2, i64::MIN / 2, 0);
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
            if let Some(heard) = self.tracks.get_mut(track) {
                heard.keep(now, decoding);
            }
            if now - self.window_from >= WINDOW {
                self.turn(now, decoding);
            }
            return Place::On(line);
        }
        let Some(heard) = self.tracks.get_mut(track) else { return Place::Early };
        let other = heard.is_elsewhere(early, time, decoding);
        let run = heard.late_for(now, late) >= LATE_RUN && self.near_master(now, now - decoding);
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
        let line = Line { pivot: now - slowest, offset: offset + shift, slope_ppb: self.drift.frequency_ppb };
        self.state = State::Running(line);
        self.window_from = now;
        Some(line)
    }

    fn begin(&mut self, now: i64) {
        self.state = State::Settling { since: now };
        self.begun_at = now;
        self.drift.begin();
        self.tracks.iter_mut().for_each(Heard::begin);
    }

    fn settle_with(&mut self, track: usize, now: i64, decoding: i64) -> Place {
        if self.base.is_none() || self.is_master(now, track) {
            self.base = Some(decoding / PCR_TICKS as i64);
        }
        if let Some(heard) = self.tracks.get_mut(track) {
            heard.settle(now, decoding);
        }
        Place::Settling
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

    /// A window is over: the line bends where it is now.
    fn turn(&mut self, now: i64, decoding: i64) {
        self.window_from = now;
        let State::Running(line) = self.state else { return };
        let seen = self.tracks.iter_mut().filter_map(|heard| heard.window.take());
        let Some((delay, at)) = seen.max() else { return };
        let slope_ppb = self.drift.turn(at, delay, line.at(at - delay) - at);
        self.state = State::Running(line.bend(decoding, slope_ppb));
    }
}

#[cfg(test)]
mod tests;
