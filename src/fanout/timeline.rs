//! Stream time: the publisher's timestamps, rebased so that a stream starts at 0 and never steps back.
//!
//! One offset for all tracks of a publisher. It changes when a publisher returns (the viewers' clock goes on) and
//! when the publisher's clock jumps: forwards by more than [`JUMP_MS`], or backwards by more than [`STEP_BACK_MS`].
//! After a jump each track keeps the old offset until it jumps itself, so that interleaved tracks do not see-saw.

use crate::media::{Kind, Mono};

/// A larger step forwards inside a session is a jump of the publisher's clock, in ms.
pub const JUMP_MS: i32 = 10_000;
/// A larger step backwards on one track is a jump; a smaller one is jitter and is held at the last time. In ms.
pub const STEP_BACK_MS: i32 = 500;
/// Two tracks whose new times lie this close jumped together, in ms.
const TOGETHER_MS: u32 = JUMP_MS.unsigned_abs();
/// The distance to the next frame where nothing better is known, in ms.
const FRAME_MS_DEFAULT: u32 = 33;

/// What happened to a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// Shifted by the track's offset.
    Kept,
    /// The offset was set anew: the publisher's clock jumped.
    Rebased,
    /// A small step back, held at the track's last time.
    Held,
}

#[derive(Clone, Copy, Debug, Default)]
struct TrackClock {
    /// Last timestamp as the publisher sent it.
    raw: u32,
    /// Last stream time; before the track's first frame the stream's start, 0.
    mapped: u32,
    /// To be added to `raw`.
    offset: u32,
    started: bool,
}

/// The clock of one stream.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Audio, video.
    tracks: [TrackClock; 2],
    /// Newest stream time of any track; none before the first frame.
    newest: Option<u32>,
    newest_at: Mono,
    frame_ms: u32,
}

/// `a - b` on the circle of 2^32 ms.
fn diff(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Timeline {
    /// A publisher came (back): its first frame continues at the later of one frame behind the newest time and the
    /// time that has passed.
    pub fn republish(&mut self) {
        for track in &mut self.tracks {
            track.started = false;
        }
    }

    /// Newest stream time in ms, where frames without a time of their own (metadata, headers) are placed.
    pub fn now_ms(&self) -> u32 {
        self.newest.unwrap_or(0)
    }

    /// The stream time of a media frame. `Kind::Data` and headers do not belong here.
    pub fn map(&mut self, now: Mono, kind: Kind, raw: u32) -> (u32, Mapped) {
        let index = usize::from(kind == Kind::Video);
        let other = self.tracks[1 - index];
        let mut track = self.tracks[index];
        let step = diff(raw, track.raw);
        let mut outcome = Mapped::Kept;
        if !track.started || !(-STEP_BACK_MS..=JUMP_MS).contains(&step) {
            let jumped = track.started;
            let with_other = other.started && diff(raw, other.raw).unsigned_abs() < TOGETHER_MS;
            if with_other && (!jumped || other.offset != track.offset) {
                track.offset = other.offset;
            } else {
                track.offset = self.restart(now).wrapping_sub(raw);
            }
            track.started = true;
            if jumped {
                outcome = Mapped::Rebased;
            }
        }
        let mut mapped = raw.wrapping_add(track.offset);
        if let Some(newest) = self.newest {
            // Never behind the track's last time, or the stream's start. Both are measured from the newest time: a last
            // time more than half the circle (24.8 days) ago, as of a track that comes late, looks like the future.
            let behind = diff(newest, mapped);
            if behind > 0 && behind as u32 > newest.wrapping_sub(track.mapped) {
                mapped = track.mapped;
                if outcome == Mapped::Kept {
                    outcome = Mapped::Held;
                }
            }
        }
        if step > 0 && step < 1000 && index == 1 {
            self.frame_ms = step as u32;
        }
        track.raw = raw;
        track.mapped = mapped;
        self.tracks[index] = track;
        if self.newest.is_none_or(|n| diff(mapped, n) > 0) {
            self.newest = Some(mapped);
            self.newest_at = now;
        }
        (mapped, outcome)
    }

    /// Where a new offset continues.
    fn restart(&self, now: Mono) -> u32 {
        let Some(newest) = self.newest else { return 0 };
        let frame = if self.frame_ms == 0 { FRAME_MS_DEFAULT } else { self.frame_ms };
        let elapsed = (now.micros_since(self.newest_at) / 1000) as u32;
        newest.wrapping_add(frame.max(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Audio, Video};

    /// Feeds (ms of arrival, kind, raw) and returns stream times.
    fn run(timeline: &mut Timeline, rows: &[(u64, Kind, u32)]) -> Vec<u32> {
        rows.iter().map(|&(at, kind, raw)| timeline.map(Mono::from_micros(at * 1000), kind, raw).0).collect()
    }

    #[test]
    fn rows() {
        type Row = (&'static str, &'static [(u64, Kind, u32)], &'static [u32]);
        let rows: &[Row] = &[
            ("starts at 0", &[(0, Video, 5_000_000), (33, Video, 5_000_033)], &[0, 33]),
            ("tracks share the offset", &[(0, Audio, 100), (0, Video, 400), (20, Audio, 120)], &[0, 300, 20]),
            ("an earlier second track starts at 0", &[(0, Audio, 100), (0, Video, 60)], &[0, 0]),
            ("wraps", &[(0, Video, u32::MAX - 9), (20, Video, 10)], &[0, 20]),
            (
                "small step back is held",
                &[(0, Video, 1000), (33, Video, 1033), (40, Video, 1013)],
                &[0, 33, 33],
            ),
            (
                "jump forwards: all tracks follow, none see-saws",
                &[
                    (0, Video, 0),
                    (0, Audio, 0),
                    (40, Video, 40),
                    (80, Video, 100_000),
                    (80, Audio, 60),
                    (100, Audio, 100_020),
                    (120, Video, 100_040),
                ],
                &[0, 0, 40, 80, 60, 100, 120],
            ),
            (
                "jump back",
                &[(0, Video, 60_000), (40, Video, 60_040), (80, Video, 0), (120, Video, 40)],
                &[0, 40, 80, 120],
            ),
        ];
        for (name, input, want) in rows {
            assert_eq!(run(&mut Timeline::default(), input), *want, "{name}");
        }
    }

    #[test]
    fn a_track_that_comes_after_weeks_is_not_held_back() {
        // Beyond half the circle, where the stream's start and old times look like the future.
        const LATE: u32 = (1 << 31) + 5000;
        let (at, half, mid) = (u64::from(LATE), u64::from(LATE / 2), LATE / 2);
        let rows: &[(u64, Kind, u32)] = &[
            (0, Video, 0),
            (half, Video, mid),
            (at, Video, LATE),
            (at, Audio, LATE - 10),
            (at, Audio, LATE + 10),
        ];
        assert_eq!(run(&mut Timeline::default(), rows), [0, mid, LATE, LATE - 10, LATE + 10]);
        let rows = &[(0, Video, 0), (0, Audio, 0), (half, Video, mid), (at, Video, LATE), (at, Audio, LATE)];
        assert_eq!(run(&mut Timeline::default(), rows), [0, 0, mid, LATE, LATE + 33]);
        const HALF: u32 = 1 << 31;
        let at = u64::from(HALF);
        let across = [(0, Video, 0), (at - 5, Video, HALF - 5), (at, Audio, HALF + 5)];
        assert_eq!(run(&mut Timeline::default(), &across), [0, HALF - 5, HALF + 5]);
    }

    #[test]
    fn half_the_circle_apart_is_not_together() {
        // As far from the other track as a time can be: the one distance without a positive counterpart.
        let rows: [(u64, Kind, u32); 4] =
            [(0, Audio, 0), (40, Video, 1 << 31), (60, Audio, 20), (80, Video, (1 << 31) + 40)];
        assert_eq!(run(&mut Timeline::default(), &rows), [0, 40, 20, 80]);
    }

    #[test]
    fn r8_any_clock_becomes_one_line() {
        const HALF: u32 = 1 << 31;
        let ms = |raw: &[u32]| {
            let rows: Vec<_> = raw.iter().zip(0..).map(|(raw, n)| (n * 40, Video, *raw)).collect();
            run(&mut Timeline::default(), &rows)
        };
        // wraps, jumps back, jumps by half the circle, stands still, runs backwards
        assert_eq!(ms(&[u32::MAX - 39, 0, 40, 80]), [0, 40, 80, 120]);
        assert_eq!(ms(&[1_000_000, 0, 40, 80]), [0, 40, 80, 120]);
        assert_eq!(ms(&[0, HALF, HALF + 40, 0]), [0, 40, 80, 120]);
        assert_eq!(ms(&[HALF, 0, HALF, 0]), [0, 40, 80, 120]);
        assert_eq!(ms(&[7, 7, 7, 7]), [0; 4]);
        assert_eq!(ms(&[120, 80, 40, 0]), [0; 4]);
    }

    #[test]
    fn a_returning_publisher_continues_behind_the_gap() {
        let mut timeline = Timeline::default();
        run(&mut timeline, &[(0, Video, 0), (40, Video, 40)]);
        timeline.republish();
        assert_eq!(
            run(&mut timeline, &[(5040, Video, 0), (5040, Audio, 0), (5080, Video, 40)]),
            [5040, 5040, 5080]
        );
    }

    #[test]
    fn never_steps_back_whatever_comes() {
        let mut timeline = Timeline::default();
        let (mut state, mut last) = (1u64, [0u32; 2]);
        for i in 0..20_000u64 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let kind = if state >> 63 == 0 { Audio } else { Video };
            let raw = if state % 50 == 0 { (state >> 20) as u32 } else { (i * 20) as u32 };
            let (mapped, _) = timeline.map(Mono::from_micros(i * 20_000), kind, raw);
            let slot = &mut last[usize::from(kind == Video)];
            assert!(diff(mapped, *slot) >= 0, "step back at {i}");
            *slot = mapped;
        }
    }
}
