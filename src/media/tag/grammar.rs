//! The header grammar: bytes of a tag body to a [`Tag`] (FLV annex E.4.2 and E.4.3; Enhanced RTMP v2, "ExVideoTagHeader"
//! and "ExAudioTagHeader").

use super::{Multitrack, Packet, Tag, TagError, tracks};
use crate::media::{codec::Codec, frame::Kind};

/// ModEx prefixes in one tag, a count. One kind of ModEx exists; eight leave room and keep the loop short.
pub const MODEX_MAX: usize = 8;

/// Reads the header of `body`, an FLV tag body of `kind`.
///
/// # Errors
/// [`TagError`] if the header is cut short or sizes lie. Unknown codecs and reserved packet types are no errors.
pub fn inspect(kind: Kind, body: &[u8]) -> Result<Tag, TagError> {
    let first = byte(body, 0, "the tag header")?;
    match kind {
        Kind::Video if first & 0x80 != 0 => enhanced_video(body, first),
        Kind::Video => legacy_video(body, first),
        Kind::Audio if first >> 4 == 9 => enhanced_audio(body, first),
        Kind::Audio => legacy_audio(body, first),
        Kind::Data => Ok(Tag::plain(Kind::Data, Codec::Script, Packet::Script, 0)),
    }
}

/// FrameType of a video command.
const FRAME_TYPE_COMMAND: u8 = 5;

/// FrameType 1 is a keyframe, 4 one that a server made.
const fn is_key(frame_type: u8) -> bool {
    matches!(frame_type, 1 | 4)
}

fn legacy_video(body: &[u8], first: u8) -> Result<Tag, TagError> {
    let frame_type = first >> 4;
    let codec = Codec::from_video_id(first & 0x0f);
    let mut tag = Tag::plain(Kind::Video, codec, Packet::Frames, 1);
    tag.keyframe = is_key(frame_type);
    if frame_type == FRAME_TYPE_COMMAND {
        byte(body, 1, "the video command")?;
        tag.packet = Packet::Command;
        return Ok(tag);
    }
    if !matches!(codec, Codec::H264 | Codec::Hevc) {
        return Ok(tag);
    }
    let packet_type = byte(body, 1, "the AVC packet type")?;
    if packet_type == 2 {
        // Some encoders leave out the composition time of an end of sequence.
        tag.packet = Packet::End;
        tag.parts_at = body.len().min(5);
        return Ok(tag);
    }
    let cts_ms = signed24(body, 2)?;
    tag.parts_at = 5;
    match packet_type {
        0 => tag.packet = Packet::Config,
        1 => tag.cts_ms = cts_ms,
        other => tag.packet = Packet::Reserved(other),
    }
    Ok(tag)
}

fn legacy_audio(body: &[u8], first: u8) -> Result<Tag, TagError> {
    let codec = Codec::from_sound_format(first >> 4);
    let mut tag = Tag::plain(Kind::Audio, codec, Packet::Frames, 1);
    if codec == Codec::Aac {
        tag.packet = match byte(body, 1, "the AAC packet type")? {
            0 => Packet::Config,
            1 => Packet::Frames,
            other => Packet::Reserved(other),
        };
        tag.parts_at = 2;
    }
    Ok(tag)
}

/// Raw packet types of Enhanced RTMP; those above 2 differ between audio and video.
mod packet_type {
    pub const SEQUENCE_START: u8 = 0;
    pub const CODED_FRAMES: u8 = 1;
    pub const SEQUENCE_END: u8 = 2;
    pub const MOD_EX: u8 = 7;
    pub mod video {
        pub const CODED_FRAMES_X: u8 = 3;
        pub const METADATA: u8 = 4;
        pub const MPEG2TS_SEQUENCE_START: u8 = 5;
        pub const MULTITRACK: u8 = 6;
    }
    pub mod audio {
        pub const MULTICHANNEL_CONFIG: u8 = 4;
        pub const MULTITRACK: u8 = 5;
    }
}

fn enhanced_video(body: &[u8], first: u8) -> Result<Tag, TagError> {
    let frame_type = (first >> 4) & 0x07;
    let (raw, at, presentation_offset_ns) = mod_ex(body, first & 0x0f)?;
    // Metadata is sent with any frame type; ffmpeg chooses 5.
    let mut tag = if raw != packet_type::video::METADATA && frame_type == FRAME_TYPE_COMMAND {
        byte(body, at, "the video command")?;
        Tag::plain(Kind::Video, Codec::Unknown([0; 4]), Packet::Command, at)
    } else {
        after_mod_ex(Kind::Video, body, raw, at, packet_type::video::MULTITRACK)?
    };
    tag.keyframe = is_key(frame_type);
    tag.presentation_offset_ns = presentation_offset_ns;
    tag.enhanced = true;
    Ok(tag)
}

fn enhanced_audio(body: &[u8], first: u8) -> Result<Tag, TagError> {
    let (raw, at, presentation_offset_ns) = mod_ex(body, first & 0x0f)?;
    let mut tag = after_mod_ex(Kind::Audio, body, raw, at, packet_type::audio::MULTITRACK)?;
    tag.presentation_offset_ns = presentation_offset_ns;
    tag.enhanced = true;
    Ok(tag)
}

/// Skips ModEx prefixes. Returns the packet type after them, where its fields start, and the nanosecond offset.
fn mod_ex(body: &[u8], first_type: u8) -> Result<(u8, usize, u32), TagError> {
    let (mut raw, mut at, mut offset_ns) = (first_type, 1, 0);
    let mut prefixes = 0;
    while raw == packet_type::MOD_EX {
        if prefixes == MODEX_MAX {
            return Err(TagError::ModExChain { at });
        }
        prefixes += 1;
        let size_at = at;
        let mut size = usize::from(byte(body, at, "the ModEx size")?) + 1;
        at += 1;
        if size == 256 {
            // 255 announces a size of two bytes.
            let (high, low) = (byte(body, at, "the ModEx size")?, byte(body, at + 1, "the ModEx size")?);
            size = usize::from(u16::from_be_bytes([high, low])) + 1;
            at += 2;
        }
        let left = body.len() - at;
        let data = body.get(at..at + size).ok_or(TagError::Overlong { at: size_at, claimed: size, left })?;
        at += size;
        let next = byte(body, at, "the ModEx type")?;
        at += 1;
        if next >> 4 == 0
            && let [a, b, c, ..] = *data
        {
            // Out of range means nothing that could be honoured; the nearest legal value is closest to what was meant.
            offset_ns = u32::from_be_bytes([0, a, b, c]).min(999_999);
        }
        raw = next & 0x0f;
    }
    Ok((raw, at, offset_ns))
}

/// The part of the grammar that audio and video share: multitrack header, FourCC, then the tracks, all validated.
fn after_mod_ex(kind: Kind, body: &[u8], raw: u8, at: usize, multitrack_type: u8) -> Result<Tag, TagError> {
    let mut tag = Tag::plain(kind, Codec::Unknown([0; 4]), Packet::Frames, at);
    let mut inner = raw;
    if raw == multitrack_type {
        let head = byte(body, at, "the multitrack type")?;
        tag.multitrack = Some(match head >> 4 {
            0 => Multitrack::OneTrack,
            1 => Multitrack::ManyTracks,
            2 => Multitrack::ManyTracksManyCodecs,
            form => return Err(TagError::ReservedMultitrack { at, form }),
        });
        inner = head & 0x0f;
        if inner == multitrack_type || inner == packet_type::MOD_EX {
            return Err(TagError::Nested { at, packet_type: inner });
        }
        tag.parts_at = at + 1;
    }
    if tag.multitrack != Some(Multitrack::ManyTracksManyCodecs) {
        tag.codec = Codec::from_fourcc(fourcc(body, tag.parts_at)?);
        tag.parts_at += 4;
    }
    (tag.packet, tag.mpeg2ts) = packet(kind, inner);
    tag.cts_in_parts = kind == Kind::Video && inner == packet_type::CODED_FRAMES;
    if tag.multitrack.is_some() {
        tracks::validate(&mut tag, body)?;
    } else if tag.cts_in_parts && tag.codec.has_composition_time() {
        tag.cts_ms = signed24(body, tag.parts_at)?;
        tag.parts_at += 3;
    }
    Ok(tag)
}

/// The role of a raw enhanced packet type, and whether it is a configuration in MPEG-2 TS form.
fn packet(kind: Kind, raw: u8) -> (Packet, bool) {
    let packet = match (kind, raw) {
        (_, packet_type::SEQUENCE_START) => Packet::Config,
        (_, packet_type::CODED_FRAMES) => Packet::Frames,
        (_, packet_type::SEQUENCE_END) => Packet::End,
        (Kind::Video, packet_type::video::CODED_FRAMES_X) => Packet::Frames,
        (Kind::Video, packet_type::video::METADATA) => Packet::Metadata,
        (Kind::Video, packet_type::video::MPEG2TS_SEQUENCE_START) => return (Packet::Config, true),
        (Kind::Audio, packet_type::audio::MULTICHANNEL_CONFIG) => Packet::Channels,
        (_, other) => Packet::Reserved(other),
    };
    (packet, false)
}

pub(super) fn byte(body: &[u8], at: usize, expected: &'static str) -> Result<u8, TagError> {
    body.get(at).copied().ok_or(TagError::Truncated { at: body.len(), expected })
}

pub(super) fn fourcc(body: &[u8], at: usize) -> Result<[u8; 4], TagError> {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.copied().ok_or(TagError::Truncated { at: body.len(), expected: "a FourCC" })
}

pub(super) fn signed24(body: &[u8], at: usize) -> Result<i32, TagError> {
    match body.get(at..).and_then(|rest| rest.first_chunk::<3>()) {
        Some(&[a, b, c]) => Ok(i32::from_be_bytes([a, b, c, 0]) >> 8),
        None => Err(TagError::Truncated { at: body.len(), expected: "the composition time" }),
    }
}
