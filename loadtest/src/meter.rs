//! Accounting: what one subscriber got, exactly; what all got together, with latency.

use crate::media::{AUDIO_STAMP_AT, PREFIX_LEN, TYPE_AUDIO, TYPE_VIDEO, VIDEO_STAMP_AT};
use crate::stamp::{Fnv, Kind, STAMP_LEN, Stamp, sum_matches};
use hdrhistogram::Histogram;

/// Longest latency that is told apart, in us.
const LATENCY_MAX_US: u64 = 60_000_000;

/// A message on its way in: type and length are known, the payload arrives in pieces of any size.
#[derive(Debug)]
pub struct Incoming {
    /// Message type (8 audio, 9 video).
    pub kind: u8,
    /// Length of the payload in bytes.
    pub len: u32,
    got: u32,
    prefix: [u8; PREFIX_LEN],
    body: Option<Fnv>,
}

impl Default for Incoming {
    fn default() -> Self {
        Self { kind: 0, len: 0, got: 0, prefix: [0; PREFIX_LEN], body: None }
    }
}

impl Incoming {
    /// A message whose payload comes next; `verify` makes it hash every byte.
    pub fn begin(&mut self, kind: u8, len: u32, verify: bool) {
        self.kind = kind;
        self.len = len;
        self.got = 0;
        self.body = verify.then(Fnv::default);
    }

    /// Bytes of payload still missing.
    pub fn missing(&self) -> u32 {
        self.len - self.got
    }

    /// Whether some of the payload is still missing.
    pub fn is_open(&self) -> bool {
        self.got < self.len
    }

    fn stamp_at(&self) -> usize {
        if self.kind == TYPE_AUDIO { AUDIO_STAMP_AT } else { VIDEO_STAMP_AT }
    }

    /// Takes in payload: the whole of `piece`, which is at most [`Self::missing`] long.
    pub fn feed(&mut self, piece: &[u8]) {
        let at = self.got as usize;
        if let Some(room) = self.prefix.get_mut(at..) {
            let n = room.len().min(piece.len());
            room[..n].copy_from_slice(&piece[..n]);
        }
        if let Some(fnv) = self.body.as_mut() {
            let body_at = if self.kind == TYPE_AUDIO { AUDIO_STAMP_AT } else { VIDEO_STAMP_AT } + STAMP_LEN;
            fnv.feed(piece.get(body_at.saturating_sub(at)..).unwrap_or_default());
        }
        self.got += piece.len() as u32;
    }

    /// The front of the payload, as far as the message reaches.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix[..PREFIX_LEN.min(self.len as usize)]
    }

    fn stamp(&self) -> Option<Stamp> {
        Stamp::decode(self.prefix().get(self.stamp_at()..)?)
    }

    /// Whether the sum fits; `None` when the message was not hashed.
    fn intact(&self) -> Option<bool> {
        let body = self.body?.value();
        Some(self.prefix().get(self.stamp_at()..).is_some_and(|stamp| sum_matches(stamp, body)))
    }

    /// A sequence header, metadata or anything else that is no frame.
    fn is_config(&self) -> bool {
        match self.kind {
            TYPE_VIDEO => self.prefix().get(1) != Some(&1),
            TYPE_AUDIO => self.len < 2 || (self.prefix[0] >> 4 == 10 && self.prefix[1] == 0),
            _ => true,
        }
    }
}

/// What went wrong on the way, counted over the whole run, warm-up included.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Faults {
    /// Times a sequence jumped ahead.
    pub gaps: u64,
    /// Frames missing in those jumps.
    pub missing: u64,
    /// Frames that came again or late.
    pub repeats: u64,
    /// Times the common order of audio and video went backwards.
    pub reordered: u64,
    /// Runs of video (at the start or behind a gap) that began without a keyframe.
    pub no_keyframe: u64,
    /// Frames of another stream, or with a length or sum that does not fit.
    pub damaged: u64,
    /// Frames without a stamp: somebody else's stream.
    pub unstamped: u64,
}

impl Faults {
    /// Adds another subscriber's.
    pub fn add(&mut self, other: &Faults) {
        self.gaps += other.gaps;
        self.missing += other.missing;
        self.repeats += other.repeats;
        self.reordered += other.reordered;
        self.no_keyframe += other.no_keyframe;
        self.damaged += other.damaged;
        self.unstamped += other.unstamped;
    }

    /// Whether a subscriber saw one gapless run from a keyframe.
    pub fn is_clean(&self) -> bool {
        self.gaps + self.missing + self.repeats + self.reordered + self.no_keyframe + self.damaged == 0
    }
}

/// One subscriber's account.
#[derive(Debug, Default)]
pub struct Meter {
    /// Which stream it should get.
    pub stream: u32,
    /// Whether every byte of every frame is summed.
    pub verify: bool,
    /// What went wrong.
    pub faults: Faults,
    /// Frames received: video, audio.
    pub frames: (u64, u64),
    /// Arrival of the first video frame (without video: of the first frame), ns; 0 before it.
    pub first_frame_ns: u64,
    next_video: Option<u32>,
    next_audio: Option<u32>,
    last_stream_seq: Option<u32>,
    awaits_key: bool,
}

/// Totals of many subscribers within the measured window.
pub struct Totals {
    /// Video messages.
    pub video: u64,
    /// Audio messages.
    pub audio: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Latency of video messages, us.
    pub video_us: Histogram<u64>,
    /// Latency of audio messages, us.
    pub audio_us: Histogram<u64>,
}

impl Default for Totals {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("constant bounds are valid");
        Self { video: 0, audio: 0, payload_bytes: 0, video_us: histogram(), audio_us: histogram() }
    }
}

impl Totals {
    /// Adds another thread's.
    pub fn add(&mut self, other: &Totals) {
        self.video += other.video;
        self.audio += other.audio;
        self.payload_bytes += other.payload_bytes;
        // Both were made with the same bounds.
        let _ = self.video_us.add(&other.video_us);
        let _ = self.audio_us.add(&other.audio_us);
    }
}

impl Meter {
    /// An account of a subscriber of `stream`.
    pub fn new(stream: u32, verify: bool) -> Self {
        Self { stream, verify, ..Self::default() }
    }

    /// Takes in a complete message that was read at `now_ns`; counts it in `totals` while the window is open.
    pub fn message(&mut self, message: &Incoming, now_ns: u64, totals: Option<&mut Totals>) {
        if message.is_config() {
            return;
        }
        let audio = message.kind == TYPE_AUDIO;
        if self.first_frame_ns == 0 && !audio {
            self.first_frame_ns = now_ns;
        }
        if audio {
            self.frames.1 += 1
        } else {
            self.frames.0 += 1
        }
        let stamp = message.stamp();
        match &stamp {
            Some(stamp) => self.account(message, stamp),
            None => self.faults.unstamped += 1,
        }
        let Some(totals) = totals else { return };
        totals.payload_bytes += u64::from(message.len);
        if audio {
            totals.audio += 1
        } else {
            totals.video += 1
        }
        if let Some(stamp) = stamp {
            let us = (now_ns.saturating_sub(stamp.sent_ns) / 1000).max(1);
            if audio { totals.audio_us.saturating_record(us) } else { totals.video_us.saturating_record(us) }
        }
    }

    fn account(&mut self, message: &Incoming, stamp: &Stamp) {
        let audio = stamp.kind == Kind::Audio;
        if stamp.stream != self.stream
            || stamp.payload_len != message.len
            || audio != (message.kind == TYPE_AUDIO)
            || message.intact() == Some(false)
        {
            self.faults.damaged += 1;
            return;
        }
        if self.last_stream_seq.is_some_and(|last| stamp.stream_seq < last) {
            self.faults.reordered += 1;
        }
        self.last_stream_seq = Some(stamp.stream_seq);
        let next = if audio { &mut self.next_audio } else { &mut self.next_video };
        let first = next.is_none();
        let expected = next.unwrap_or(stamp.track_seq);
        *next = Some(stamp.track_seq.wrapping_add(1));
        if stamp.track_seq > expected {
            self.faults.gaps += 1;
            self.faults.missing += u64::from(stamp.track_seq - expected);
            self.awaits_key |= !audio;
        } else if stamp.track_seq < expected {
            self.faults.repeats += 1;
        }
        if !audio {
            if (first || self.awaits_key) && stamp.kind != Kind::Key {
                self.faults.no_keyframe += 1;
            }
            self.awaits_key = false;
        }
    }

    /// The sequences that would come next: video, audio; `None` before the first frame of a track.
    pub fn next(&self) -> (Option<u32>, Option<u32>) {
        (self.next_video, self.next_audio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Due, Frames, Profile, Schedule, message_type};

    fn play(dues: &[Due], verify: bool, damage: Option<usize>) -> Meter {
        let mut frames = Frames::new(&Profile::default());
        let mut meter = Meter::new(0, verify);
        for (i, due) in dues.iter().enumerate() {
            let mut body = frames.payload(due, 0, 1).to_vec();
            if damage == Some(i) {
                let last = body.len() - 1;
                body[last] ^= 1;
            }
            let mut message = Incoming::default();
            message.begin(message_type(due.kind), body.len() as u32, verify);
            // Pieces that cut through header, stamp and body.
            for piece in body.chunks(7 + i % 50) {
                message.feed(piece);
            }
            assert!(!message.is_open());
            meter.message(&message, 2, None);
        }
        meter
    }

    fn dues(count: usize) -> Vec<Due> {
        Schedule::new(Profile::default()).take(count).collect()
    }

    #[test]
    fn a_clean_run_is_clean() {
        let meter = play(&dues(400), true, None);
        assert!(meter.faults.is_clean(), "{:?}", meter.faults);
        assert_eq!(meter.frames.0 + meter.frames.1, 400);
        assert_eq!(meter.next(), (Some(meter.frames.0 as u32), Some(meter.frames.1 as u32)));
    }

    #[test]
    fn each_fault_is_seen() {
        let all = dues(300);
        let mut lost = all.clone();
        let at = lost.iter().rposition(|d| d.kind == Kind::Inter).unwrap() - 30;
        let at = at + lost[at..].iter().position(|d| d.kind == Kind::Inter).unwrap();
        lost.remove(at);
        let faults = play(&lost, false, None).faults;
        assert_eq!((faults.gaps, faults.missing, faults.no_keyframe), (1, 1, 1));

        let mut twice = all.clone();
        twice.insert(50, twice[49]);
        assert_eq!(play(&twice, false, None).faults.repeats, 1);

        let mut swapped = all.clone();
        let at =
            swapped.windows(2).position(|w| w[0].kind != Kind::Audio && w[1].kind == Kind::Audio).unwrap();
        swapped.swap(at, at + 1);
        assert_eq!(play(&swapped, false, None).faults.reordered, 1);

        assert_eq!(play(&all[2..], false, None).faults.no_keyframe, 1);
        assert_eq!(play(&all, true, Some(9)).faults.damaged, 1);
        assert_eq!(play(&all, false, Some(9)).faults.damaged, 0, "only verified subscribers hash bodies");
    }
}
