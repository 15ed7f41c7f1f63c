//! When readers should look: the rule that moves `flushed` after `committed` (design, section 4). Pure.

use crate::media::Mono;
use std::time::Duration;

/// Audio never waits longer than this for a video frame to ride with.
const AUDIO_WAIT_MAX: Duration = Duration::from_millis(100);
/// A frame interval above this is a pause, not a frame rate.
const FRAME_INTERVAL_MAX_US: u64 = 1_000_000;

/// What decides that readers should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every frame at once.
    Frame,
    /// A video frame, with the audio that came before it.
    Video,
    /// Everything gathers for `flush`; readers are spread over `phases` slots of it.
    Interval {
        /// Number of slots, at least 1.
        phases: u32,
    },
}

/// The rule of all logs of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The mode.
    pub mode: Mode,
    /// How long audio waits, and the interval's length.
    pub flush: Duration,
    /// Two moves are at least this far apart in mode `Video`.
    pub min_gap: Duration,
}

impl Rule {
    /// Number of groups that subscribers are spread over.
    pub fn phases(&self) -> u32 {
        match self.mode {
            Mode::Interval { phases } => phases.max(1),
            _ => 1,
        }
    }

    /// Length of one slot of the interval.
    pub fn slot(&self) -> Duration {
        (self.flush / self.phases()).max(Duration::from_millis(1))
    }

    /// Number of the slot that `now` lies in, counted from the clock's origin.
    pub fn slot_at(&self, now: Mono) -> u64 {
        now.as_micros() / self.slot().as_micros() as u64
    }
}

/// The state of the rule for one stream.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    last_move: Mono,
    due: Mono,
    last_video: Option<Mono>,
    frame_interval_us: u64,
    /// Slots of the interval that are still to be rung after the last frame.
    slots_left: u32,
}

impl Default for Flush {
    fn default() -> Self {
        Flush {
            last_move: Mono::ZERO,
            due: Mono::NEVER,
            last_video: None,
            frame_interval_us: 0,
            slots_left: 0,
        }
    }
}

impl Flush {
    /// A frame was committed.
    pub fn frame(&mut self, rule: &Rule, now: Mono, video: bool) {
        if video {
            if let Some(last) = self.last_video {
                let interval = now.micros_since(last).min(FRAME_INTERVAL_MAX_US);
                self.frame_interval_us = match self.frame_interval_us {
                    0 => interval,
                    mean => (mean * 7 + interval) / 8,
                };
            }
            self.last_video = Some(now);
        }
        let due = match rule.mode {
            Mode::Frame => now,
            Mode::Video if video => (self.last_move + rule.min_gap).max(now),
            Mode::Video => now + self.audio_wait(rule, now),
            Mode::Interval { phases } => {
                // One more than there are: a reader that looks a moment too early still sees every slot rung.
                self.slots_left = phases.max(1) + 1;
                let slot_us = rule.slot().as_micros() as u64;
                Mono::from_micros((now.as_micros() / slot_us + 1) * slot_us)
            }
        };
        self.due = self.due.min(due);
    }

    fn audio_wait(&self, rule: &Rule, now: Mono) -> Duration {
        let video_flows = self
            .last_video
            .is_some_and(|v| now.micros_since(v) <= FRAME_INTERVAL_MAX_US && self.frame_interval_us > 0);
        if !video_flows {
            return rule.flush;
        }
        rule.flush.max(Duration::from_micros(self.frame_interval_us * 5 / 4)).min(AUDIO_WAIT_MAX)
    }

    /// When the next move is due; `Mono::NEVER` if nothing waits.
    pub fn due(&self) -> Mono {
        self.due
    }

    /// Readers should look at `now`, though no frame asks for it; in an interval, all slots from then on.
    pub fn wake(&mut self, rule: &Rule, now: Mono) {
        if let Mode::Interval { phases } = rule.mode {
            self.slots_left = phases.max(1) + 1;
        }
        self.due = self.due.min(now);
    }

    /// The move was made (or, in an interval, its slot rung).
    pub fn done(&mut self, rule: &Rule, now: Mono) {
        self.last_move = now;
        if self.slots_left > 0 && now < self.due {
            // A move out of turn rings no slot.
            return;
        }
        self.slots_left = self.slots_left.saturating_sub(1);
        self.due = Mono::NEVER;
        if self.slots_left > 0 {
            let slot_us = rule.slot().as_micros() as u64;
            self.due = Mono::from_micros((now.as_micros() / slot_us + 1) * slot_us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Mono = |ms| Mono::from_micros(ms * 1000);

    fn rule(mode: Mode, flush_ms: u64) -> Rule {
        Rule { mode, flush: Duration::from_millis(flush_ms), min_gap: Duration::from_millis(12) }
    }

    #[test]
    fn due_times() {
        // (mode, frames as (ms, video), when the move is due in ms)
        type Row = (Mode, &'static [(u64, bool)], u64);
        let rows: &[Row] = &[
            (Mode::Frame, &[(100, false)], 100),
            (Mode::Video, &[(100, true)], 100),
            (Mode::Video, &[(100, false)], 140),
            (Mode::Video, &[(100, false), (110, true)], 110),
            (Mode::Interval { phases: 1 }, &[(100, true)], 120),
            (Mode::Interval { phases: 4 }, &[(101, true)], 110),
        ];
        for (mode, frames, due) in rows {
            let rule = rule(*mode, 40);
            let mut flush = Flush::default();
            for &(ms, video) in *frames {
                flush.frame(&rule, MS(ms), video);
            }
            assert_eq!(flush.due(), MS(*due), "{mode:?} {frames:?}");
        }
    }

    #[test]
    fn two_video_frames_keep_the_gap() {
        let rule = rule(Mode::Video, 40);
        let mut flush = Flush::default();
        flush.frame(&rule, MS(100), true);
        flush.done(&rule, MS(100));
        assert_eq!(flush.due(), Mono::NEVER);
        flush.frame(&rule, MS(105), true);
        assert_eq!(flush.due(), MS(112));
    }

    #[test]
    fn audio_waits_for_a_slow_video_but_not_for_ever() {
        let rule = rule(Mode::Video, 40);
        let mut flush = Flush::default();
        for ms in [0, 66, 132] {
            flush.frame(&rule, MS(ms), true);
            flush.done(&rule, MS(ms));
        }
        flush.frame(&rule, MS(140), false);
        let wait = flush.due().micros_since(MS(140));
        assert!((70_000..=100_000).contains(&wait), "{wait}");
    }

    #[test]
    fn each_slot_is_rung_once_after_the_last_frame() {
        let rule = rule(Mode::Interval { phases: 4 }, 40);
        let mut flush = Flush::default();
        flush.frame(&rule, MS(1), true);
        let mut rung = Vec::new();
        while flush.due() != Mono::NEVER {
            let now = flush.due();
            rung.push(rule.slot_at(now) % 4);
            flush.done(&rule, now);
        }
        rung.sort_unstable();
        rung.dedup();
        assert_eq!(rung, [0, 1, 2, 3]);
    }
}
