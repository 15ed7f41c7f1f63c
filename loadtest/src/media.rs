//! What a synthetic publisher sends: H.264 and AAC in FLV message bodies, on an absolute schedule.
//!
//! The headers are valid (avcC, AudioSpecificConfig, length-prefixed NAL units); the payload bytes are arbitrary and the
//! same in every frame of a kind, so that making a frame means patching a stamp into a template.

use crate::clock::SECOND_NS;
use crate::stamp::{Fnv, Kind, STAMP_LEN, Stamp};

/// Where the stamp stands in a video message: 5 bytes of tag header, 4 of NAL length, 1 of NAL header.
pub const VIDEO_STAMP_AT: usize = 10;
/// Where the stamp stands in an audio message: behind the 2 bytes of tag header.
pub const AUDIO_STAMP_AT: usize = 2;
/// Bytes at the front of a message that hold any stamp.
pub const PREFIX_LEN: usize = VIDEO_STAMP_AT + STAMP_LEN;
/// FLV and RTMP message type of audio.
pub const TYPE_AUDIO: u8 = 8;
/// FLV and RTMP message type of video.
pub const TYPE_VIDEO: u8 = 9;

/// The load's shape.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Audio and video together, bits per second of message payload.
    pub bitrate_bps: f64,
    /// The audio's part of that.
    pub audio_bps: f64,
    /// Video frames per second; 0 is a stream without video.
    pub fps: f64,
    /// Audio frames per second; 0 is a stream without audio.
    pub audio_fps: f64,
    /// Frames from keyframe to keyframe.
    pub gop: u32,
    /// Size of a keyframe in inter frames; 1 makes all frames equal.
    pub key_ratio: f64,
}

impl Default for Profile {
    /// 2.5 Mbit/s, 30 fps, GOP 60, keyframes eightfold, 128 kbit/s AAC at 46.875 frames/s.
    fn default() -> Self {
        Self { bitrate_bps: 2.5e6, audio_bps: 128e3, fps: 30.0, audio_fps: 46.875, gop: 60, key_ratio: 8.0 }
    }
}

impl Profile {
    /// Bytes of a message of this kind.
    pub fn payload_len(&self, kind: Kind) -> usize {
        let audio_bps = if self.audio_fps > 0.0 { self.audio_bps } else { 0.0 };
        let gop = f64::from(self.gop.max(1));
        let inter = (self.bitrate_bps - audio_bps).max(0.0) / 8.0 / self.fps.max(1e-3) * gop
            / (gop - 1.0 + self.key_ratio.max(1e-3));
        match kind {
            Kind::Key => ((inter * self.key_ratio) as usize).max(PREFIX_LEN),
            Kind::Inter => (inter as usize).max(PREFIX_LEN),
            Kind::Audio => {
                ((audio_bps / 8.0 / self.audio_fps.max(1e-3)) as usize).max(AUDIO_STAMP_AT + STAMP_LEN)
            }
        }
    }

    /// Messages per second, audio and video.
    pub fn messages_per_second(&self) -> f64 {
        self.fps + self.audio_fps
    }
}

/// One frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When, in ns since the stream's start.
    pub at_ns: u64,
    /// What.
    pub kind: Kind,
    /// Sequence within its track.
    pub track_seq: u32,
    /// Sequence within the stream.
    pub stream_seq: u32,
}

impl Due {
    /// The frame's timestamp on the wire, ms since the stream's start.
    pub fn timestamp_ms(&self) -> u32 {
        (self.at_ns / 1_000_000) as u32
    }
}

/// Endless iterator over a stream's frames in sending order. Frame `n` of a track is due at `n / rate`, without drift.
#[derive(Clone, Debug)]
pub struct Schedule {
    profile: Profile,
    video: u32,
    audio: u32,
}

impl Schedule {
    /// From the stream's first frame on.
    pub fn new(profile: Profile) -> Self {
        Self { profile, video: 0, audio: 0 }
    }

    fn due(count: u32, rate: f64) -> Option<u64> {
        (rate > 0.0).then(|| (f64::from(count) * SECOND_NS as f64 / rate) as u64)
    }

    /// When the next frame is due, ns since the stream's start; `None` for a stream without tracks.
    pub fn peek_ns(&self) -> Option<u64> {
        let video = Self::due(self.video, self.profile.fps);
        let audio = Self::due(self.audio, self.profile.audio_fps);
        video.into_iter().chain(audio).min()
    }

    /// Frames handed out so far: video, audio.
    pub fn sent(&self) -> (u32, u32) {
        (self.video, self.audio)
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let at_ns = self.peek_ns()?;
        let stream_seq = self.video + self.audio;
        if Self::due(self.video, self.profile.fps) == Some(at_ns) {
            let track_seq = self.video;
            self.video += 1;
            let kind =
                if track_seq.is_multiple_of(self.profile.gop.max(1)) { Kind::Key } else { Kind::Inter };
            return Some(Due { at_ns, kind, track_seq, stream_seq });
        }
        let track_seq = self.audio;
        self.audio += 1;
        Some(Due { at_ns, kind: Kind::Audio, track_seq, stream_seq })
    }
}

struct Template {
    payload: Vec<u8>,
    stamp_at: usize,
    body_hash: u32,
}

impl Template {
    fn new(kind: Kind, len: usize) -> Self {
        let mut payload = Vec::with_capacity(len);
        match kind {
            Kind::Key | Kind::Inter => {
                payload.extend_from_slice(&[if kind == Kind::Key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
                payload.extend_from_slice(&((len - 9) as u32).to_be_bytes());
                payload.push(if kind == Kind::Key { 0x65 } else { 0x41 });
            }
            Kind::Audio => payload.extend_from_slice(&[0xaf, 1]),
        }
        let stamp_at = payload.len();
        payload.resize(stamp_at + STAMP_LEN, 0);
        // xorshift without zero bytes: nothing in it can look like a start code.
        let mut x = 0x9e37_79b9u32 ^ len as u32;
        while payload.len() < len {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            payload.push(x as u8 | 1);
        }
        let body_hash = Fnv::of(&payload[stamp_at + STAMP_LEN..]);
        Self { payload, stamp_at, body_hash }
    }
}

/// Makes message bodies: one template a kind, patched with each frame's stamp.
pub struct Frames {
    key: Template,
    inter: Template,
    audio: Template,
}

impl Frames {
    /// Templates of the profile's sizes.
    pub fn new(profile: &Profile) -> Self {
        let template = |kind| Template::new(kind, profile.payload_len(kind));
        Self { key: template(Kind::Key), inter: template(Kind::Inter), audio: template(Kind::Audio) }
    }

    /// The body of frame `due` of stream `stream`, stamped with `sent_ns`.
    pub fn payload(&mut self, due: &Due, stream: u32, sent_ns: u64) -> &[u8] {
        let template = match due.kind {
            Kind::Key => &mut self.key,
            Kind::Inter => &mut self.inter,
            Kind::Audio => &mut self.audio,
        };
        let stamp = Stamp {
            kind: due.kind,
            stream,
            track_seq: due.track_seq,
            stream_seq: due.stream_seq,
            sent_ns,
            payload_len: template.payload.len() as u32,
        };
        let at = template.stamp_at;
        template.payload[at..at + STAMP_LEN].copy_from_slice(&stamp.encode(template.body_hash));
        &template.payload
    }
}

/// The message type of a frame of this kind.
pub fn message_type(kind: Kind) -> u8 {
    if kind == Kind::Audio { TYPE_AUDIO } else { TYPE_VIDEO }
}

/// AVC sequence header: constrained baseline 3.1, 1280x720, one SPS and one PPS (ISO/IEC 14496-15, 5.3.3.1).
pub const AVC_CONFIG: &[u8] = &[
    0x17, 0x00, 0x00, 0x00, 0x00, 0x01, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0x00, 0x09, 0x67, 0x42, 0xc0, 0x1f,
    0xda, 0x01, 0x40, 0x16, 0xe4, 0x01, 0x00, 0x04, 0x68, 0xce, 0x3c, 0x80,
];

/// AAC sequence header: AAC-LC, 48 kHz, stereo (ISO/IEC 14496-3, 1.6.2.1).
pub const AAC_CONFIG: &[u8] = &[0xaf, 0, 0x11, 0x90];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::sum_matches;

    #[test]
    fn a_gop_weighs_what_the_bitrate_says() {
        let profile = Profile::default();
        let bytes: usize = Schedule::new(profile)
            .take_while(|due| due.at_ns < 2 * SECOND_NS)
            .map(|due| profile.payload_len(due.kind))
            .sum();
        let bps = bytes as f64 * 4.0;
        assert!((bps / profile.bitrate_bps - 1.0).abs() < 0.005, "{bps}");
        let ratio = profile.payload_len(Kind::Key) as f64 / profile.payload_len(Kind::Inter) as f64;
        assert!((ratio - 8.0).abs() < 0.01, "{ratio}");
    }

    #[test]
    fn the_schedule_has_both_rates_and_one_order() {
        let dues: Vec<Due> =
            Schedule::new(Profile::default()).take_while(|d| d.at_ns < 10 * SECOND_NS).collect();
        assert_eq!(dues.iter().filter(|d| d.kind == Kind::Audio).count(), 469);
        assert_eq!(dues.iter().filter(|d| d.kind == Kind::Key).count(), 5);
        assert_eq!(dues.iter().filter(|d| d.kind == Kind::Inter).count(), 295);
        assert!(dues.windows(2).all(|w| w[0].at_ns <= w[1].at_ns && w[0].stream_seq + 1 == w[1].stream_seq));
    }

    #[test]
    fn stamped_bodies_carry_valid_headers_and_sums() {
        let profile = Profile::default();
        let mut frames = Frames::new(&profile);
        for due in Schedule::new(profile).take(200) {
            let at = if due.kind == Kind::Audio { AUDIO_STAMP_AT } else { VIDEO_STAMP_AT };
            let body = frames.payload(&due, 3, 42);
            let stamp = Stamp::decode(&body[at..]).unwrap();
            assert_eq!((stamp.kind, stamp.payload_len as usize), (due.kind, body.len()));
            assert!(sum_matches(&body[at..], Fnv::of(&body[at + STAMP_LEN..])));
            if due.kind != Kind::Audio {
                let nal = u32::from_be_bytes([body[5], body[6], body[7], body[8]]) as usize;
                assert_eq!(nal, body.len() - 9);
            }
        }
    }

    #[test]
    fn audio_only_and_video_only() {
        let silent = Profile { audio_fps: 0.0, ..Profile::default() };
        assert!(Schedule::new(silent).take(100).all(|d| d.kind != Kind::Audio));
        let blind = Profile { fps: 0.0, ..Profile::default() };
        assert!(Schedule::new(blind).take(100).all(|d| d.kind == Kind::Audio));
    }
}
