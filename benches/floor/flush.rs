//! When subscribers look: the gateway's flush rules, in their plainest form.

use clap::ValueEnum;
use headgate_load::media::Profile;

/// Two moves are at least this far apart in mode "video".
const MIN_GAP_NS: u64 = 12_000_000;
/// Audio waits at least this long for a video frame to ride with, in mode "video".
const AUDIO_WAIT_NS: u64 = 40_000_000;

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Every frame at once.
    Frame,
    /// Every video frame, audio with it.
    Video,
    /// Everything gathers for an interval.
    Interval,
}

/// The rule with its clock.
pub struct Flush {
    mode: Mode,
    interval_ns: u64,
    slots: usize,
    audio_wait_ns: u64,
    has_video: bool,
    last_ns: u64,
    due_ns: Option<u64>,
    /// Interval mode: the next slot and its time.
    slot: usize,
    slot_ns: u64,
}

impl Flush {
    /// A rule for a stream of this profile; slots exist in interval mode only.
    pub fn new(mode: Mode, interval_ns: u64, slots: usize, profile: &Profile) -> Self {
        let frame_ns = if profile.fps > 0.0 { (1.25e9 / profile.fps) as u64 } else { 0 };
        Self {
            mode,
            interval_ns: interval_ns.max(1_000_000),
            slots: slots.max(1),
            audio_wait_ns: AUDIO_WAIT_NS.max(frame_ns).min(100_000_000),
            has_video: profile.fps > 0.0,
            last_ns: 0,
            due_ns: None,
            slot: 0,
            slot_ns: 0,
        }
    }

    /// Starts the interval's clock.
    pub fn start(&mut self, now_ns: u64) {
        self.slot_ns = now_ns;
    }

    /// A frame was appended.
    pub fn on_frame(&mut self, now_ns: u64, video: bool) {
        let due = match self.mode {
            Mode::Interval => return,
            Mode::Frame => now_ns,
            Mode::Video if video => now_ns.max(self.last_ns + MIN_GAP_NS),
            Mode::Video if self.has_video => now_ns + self.audio_wait_ns,
            Mode::Video => now_ns + AUDIO_WAIT_NS,
        };
        self.due_ns = Some(self.due_ns.map_or(due, |old| old.min(due)));
    }

    /// When something is due next.
    pub fn next_ns(&self) -> Option<u64> {
        if self.mode == Mode::Interval { Some(self.slot_ns) } else { self.due_ns }
    }

    /// Calls `flush` with every slot that is due.
    pub fn take_due(&mut self, now_ns: u64, mut flush: impl FnMut(usize)) {
        while self.next_ns().is_some_and(|at| at <= now_ns) {
            if self.mode == Mode::Interval {
                flush(self.slot);
                self.slot = (self.slot + 1) % self.slots;
                self.slot_ns += self.interval_ns / self.slots as u64;
            } else {
                (0..self.slots).for_each(&mut flush);
                self.last_ns = now_ns;
                self.due_ns = None;
            }
        }
    }
}
