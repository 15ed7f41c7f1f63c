//! Bodies of FLV tags: what a track's configuration and frames look like in the media model (FLV annex E.4, Enhanced RTMP
//! v2). Track 0 of AAC, MP3 and H.264 has the legacy headers, which every player reads.

use crate::media::Codec;
use bytes::Bytes;

/// Raw packet types that audio and video share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Config = 0,
    Frames = 1,
}

/// Head of a picture's body: [`Vec`] with room for `payload` bytes more.
pub(super) fn video_head(codec: Codec, role: Role, key: bool, cts_ms: i32, payload: usize) -> Vec<u8> {
    let frame_type: u8 = if key || role == Role::Config { 1 } else { 2 };
    let [_, c0, c1, c2] = cts_ms.to_be_bytes();
    let mut body = Vec::with_capacity(8 + payload);
    match codec.fourcc().filter(|_| codec != Codec::H264) {
        None => body.extend([frame_type << 4 | 7, role as u8, c0, c1, c2]),
        Some(fourcc) => {
            body.push(0x80 | frame_type << 4 | role as u8);
            body.extend(fourcc);
            if role == Role::Frames && codec.has_composition_time() {
                body.extend([c0, c1, c2]);
            }
        }
    }
    body
}

/// A sound's body. `legacy` is the first byte of codecs that FLV itself has.
pub(super) fn audio(codec: Codec, legacy: Option<u8>, track: u8, role: Role, payload: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(8 + payload.len());
    match (track, legacy, codec.fourcc()) {
        (0, Some(first), _) => {
            body.push(first);
            if codec == Codec::Aac {
                body.push(role as u8);
            }
        }
        (0, None, fourcc) => {
            body.push(0x90 | role as u8);
            body.extend(fourcc.unwrap_or_default());
        }
        (track, _, fourcc) => {
            // Multitrack, of one track.
            body.extend([0x95, role as u8]);
            body.extend(fourcc.unwrap_or_default());
            body.push(track);
        }
    }
    body.extend_from_slice(payload);
    body.into()
}

/// Byte 0 of a legacy MP3 tag (FLV annex E.4.2.1): the nearest rate that it can say; the frames say the true one.
pub(super) fn mp3_head(sample_rate_hz: u32, mono: bool) -> u8 {
    let (format, rate) = match sample_rate_hz {
        8_000 => (14, 0),
        0..=11_999 => (2, 1),
        12_000..=31_999 => (2, 2),
        _ => (2, 3),
    };
    format << 4 | rate << 2 | 2 | u8::from(!mono)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Kind, Packet, tag};

    #[test]
    fn bodies_are_read_as_what_they_are() {
        for (codec, key, enhanced) in
            [(Codec::H264, true, false), (Codec::H264, false, false), (Codec::Hevc, true, true)]
        {
            let mut body = video_head(codec, Role::Frames, key, -80, 4);
            body.extend([0, 0, 0, 0]);
            let tag = tag::inspect(Kind::Video, &body).unwrap();
            assert_eq!((tag.codec, tag.packet, tag.keyframe), (codec, Packet::Frames, key));
            assert_eq!((tag.cts_ms, tag.enhanced, tag.payload(body.len()).len()), (-80, enhanced, 4));
            let config = video_head(codec, Role::Config, false, 0, 0);
            assert_eq!(tag::inspect(Kind::Video, &config).unwrap().packet, Packet::Config);
        }
        for (codec, legacy, track) in [
            (Codec::Aac, Some(0xAF), 0),
            (Codec::Aac, Some(0xAF), 2),
            (Codec::Mp3, Some(0x2F), 0),
            (Codec::Ac3, None, 0),
            (Codec::Opus, None, 1),
        ] {
            let body = audio(codec, legacy, track, Role::Frames, &[1, 2]);
            let tag = tag::inspect(Kind::Audio, &body).unwrap();
            assert_eq!((tag.codec, tag.packet), (codec, Packet::Frames));
            let part = tag.tracks(&body).next().unwrap();
            assert_eq!((part.track_id, &body[part.payload]), (track, &[1, 2][..]));
        }
        assert_eq!(
            [mp3_head(48_000, false), mp3_head(24_000, true), mp3_head(8_000, true)],
            [0x2F, 0x2A, 0xE2]
        );
    }
}
