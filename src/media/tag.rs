//! What an FLV tag body says about itself, legacy and Enhanced, read once a frame without allocating.
//!
//! Lives here: the header grammar of message types 8, 9 and 18. Follows the FLV file format (annex E.4) and Enhanced
//! RTMP v2 ("Enhanced Video", "Enhanced Audio"). Not here: what stands inside a payload (`wire`), which configuration
//! is current ([`TrackTable`](super::track::TrackTable)).
//!
//! What must stay true: offsets of an accepted tag lie inside its body, and a body with an unknown codec is carried,
//! not refused; only structure that contradicts itself is an error.

use super::{codec::Codec, frame::Kind};
use std::ops::Range;

mod tracks;
pub use tracks::{TrackPart, Tracks};

/// ModEx prefixes in one tag, a count. One kind of ModEx exists; eight leave room and keep the loop short.
pub const MODEX_MAX: usize = 8;

/// Role of a tag, whatever its codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// Sequence header: decoder configuration, no picture and no sound.
    Config,
    /// Coded media.
    Frames,
    /// End of sequence.
    End,
    /// Video packet type 4: an AMF0 pair such as `colorInfo`.
    Metadata,
    /// Audio packet type 4: channel order and mapping.
    Channels,
    /// Video frame type 5: a seek command, without codec or media.
    Command,
    /// AMF0 script tag.
    Script,
    /// A packet type that the specification reserves; carried untouched.
    Reserved(u8),
}

/// How a multitrack tag lays out its tracks (AvMultitrackType).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Multitrack {
    /// One track that is not the default one, without a size.
    OneTrack,
    /// Several tracks of one codec.
    ManyTracks,
    /// Several tracks, each with its own FourCC.
    ManyTracksManyCodecs,
}

/// The header of one tag body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Audio, video or data.
    pub kind: Kind,
    /// Codec; of the first track if a multitrack tag names several. An enhanced command names none: four zero bytes.
    pub codec: Codec,
    /// What the tag is for.
    pub packet: Packet,
    /// Whether the frame-type bits say key (or generated key) frame; encoders set them on sequence headers too, so
    /// ask [`is_join_video`](Tag::is_join_video) before starting a decoder.
    pub keyframe: bool,
    /// Presentation minus decoding time in milliseconds; of the default track, else the first, in a multitrack tag.
    pub cts_ms: i32,
    /// Added to the presentation time only, 0..=999_999 nanoseconds (ModEx TimestampOffsetNano).
    pub presentation_offset_ns: u32,
    /// Whether the header is an Enhanced RTMP one.
    pub enhanced: bool,
    /// Whether a [`Packet::Config`] holds an MPEG-2 TS descriptor instead of the codec's own record.
    pub mpeg2ts: bool,
    /// Layout of the tracks; `None` means that the tag is about track 0 alone.
    pub multitrack: Option<Multitrack>,
    /// Whether the tag concerns track 0.
    pub default_track: bool,
    /// Where the payload, or the first track of a multitrack tag, starts in the body.
    parts_at: usize,
    /// Whether each track of a multitrack tag starts with a composition time if its codec has one.
    cts_in_parts: bool,
}

/// A body whose structure contradicts itself. `at` is a byte offset in the body. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The body ends too early.
    #[error("tag body ends at byte {at}, where {expected} was expected")]
    Truncated {
        /// Length of the body.
        at: usize,
        /// The missing field.
        expected: &'static str,
    },
    /// A size field says more than the body holds.
    #[error("size at byte {at} claims {claimed} bytes, {left} are left")]
    Overlong {
        /// Where the size field stands.
        at: usize,
        /// What it says, in bytes.
        claimed: usize,
        /// What follows it, in bytes.
        left: usize,
    },
    /// The packet type inside a multitrack tag is Multitrack or ModEx.
    #[error("packet type {packet_type} at byte {at} cannot stand inside a multitrack tag")]
    Nested {
        /// Where it stands.
        at: usize,
        /// The raw packet type.
        packet_type: u8,
    },
    /// An AvMultitrackType that is not defined, so that the rest cannot be divided.
    #[error("multitrack type {form} at byte {at} is reserved")]
    ReservedMultitrack {
        /// Where it stands.
        at: usize,
        /// The raw value, 3..=15.
        form: u8,
    },
    /// More than [`MODEX_MAX`] ModEx prefixes.
    #[error("more than {MODEX_MAX} ModEx prefixes at byte {at}")]
    ModExChain {
        /// Where the first one too many stands.
        at: usize,
    },
}

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

/// Whether a variant with `audio`, `video` and `strip` (without video Metadata and audio MultichannelConfig, which
/// some browser players reject) carries `tag`, a tag of `kind`. Script tags always travel.
pub fn wanted(tag: &Tag, kind: Kind, audio: bool, video: bool, strip: bool) -> bool {
    match kind {
        Kind::Audio => audio && !(strip && tag.packet == Packet::Channels),
        Kind::Video => video && !(strip && tag.packet == Packet::Metadata),
        Kind::Data => true,
    }
}

impl Tag {
    /// Whether a decoder of the default video track can start here: a coded keyframe. Sequence headers, end of
    /// sequence, metadata and commands are not, whatever their frame-type bits say.
    pub fn is_join_video(&self) -> bool {
        self.kind == Kind::Video && self.packet == Packet::Frames && self.keyframe && self.default_track
    }

    /// The tracks inside `body`, which must be the body this tag was read from; in another body the iteration ends
    /// early. A command has none.
    pub fn tracks<'a>(&self, body: &'a [u8]) -> Tracks<'a> {
        Tracks::new(*self, body)
    }

    /// Where the payload stands in a body of `len` bytes if the tag is not a multitrack one; else empty.
    pub fn payload(&self, len: usize) -> Range<usize> {
        let start = if self.multitrack.is_some() { len } else { self.parts_at.min(len) };
        start..len
    }

    /// A tag about track 0 with the payload at `parts_at`.
    const fn plain(kind: Kind, codec: Codec, packet: Packet, parts_at: usize) -> Tag {
        Tag {
            kind,
            codec,
            packet,
            keyframe: false,
            cts_ms: 0,
            presentation_offset_ns: 0,
            enhanced: false,
            mpeg2ts: false,
            multitrack: None,
            default_track: true,
            parts_at,
            cts_in_parts: false,
        }
    }
}

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

fn byte(body: &[u8], at: usize, expected: &'static str) -> Result<u8, TagError> {
    body.get(at).copied().ok_or(TagError::Truncated { at: body.len(), expected })
}

fn fourcc(body: &[u8], at: usize) -> Result<[u8; 4], TagError> {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk::<4>());
    bytes.copied().ok_or(TagError::Truncated { at: body.len(), expected: "a FourCC" })
}

fn signed24(body: &[u8], at: usize) -> Result<i32, TagError> {
    match body.get(at..).and_then(|rest| rest.first_chunk::<3>()) {
        Some(&[a, b, c]) => Ok(i32::from_be_bytes([a, b, c, 0]) >> 8),
        None => Err(TagError::Truncated { at: body.len(), expected: "the composition time" }),
    }
}

#[cfg(test)]
mod tests;
