//! What an FLV tag body says about itself, legacy and Enhanced, read once a frame without allocating.
//!
//! Lives here: the header grammar of message types 8, 9 and 18. Follows the FLV file format (annex E.4) and Enhanced
//! RTMP v2 ("Enhanced Video", "Enhanced Audio"). Not here: what stands inside a payload (`wire`), which configuration
//! is current ([`TrackTable`](super::track::TrackTable)).
//!
//! What must stay true: offsets of an accepted tag lie inside its body, and a body with an unknown codec is carried,
//! not refused; only structure that contradicts itself is an error.

use super::{codec::Codec, frame::Kind, track::TRACKS_PER_KIND_MAX};
use std::ops::Range;

mod grammar;
mod tracks;
pub use grammar::{MODEX_MAX, inspect};
pub use tracks::{TrackPart, Tracks};

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
    /// More parts in a multitrack tag than a stream may have tracks of a kind.
    #[error("more than {TRACKS_PER_KIND_MAX} tracks in one tag at byte {at}")]
    TooManyTracks {
        /// Where the first one too many stands.
        at: usize,
    },
}

impl Tag {
    /// Whether a decoder of the default video track can start here: a coded keyframe. Sequence headers, end of
    /// sequence, metadata and commands are not, whatever their frame-type bits say.
    pub fn is_join_video(&self) -> bool {
        self.kind == Kind::Video && self.is_coded() && self.keyframe && self.default_track
    }

    /// Whether the tag is one for coded pictures or sound: not headers, metadata or commands. Whether there are any in it
    /// is asked with [`brings_media`](Tag::brings_media).
    pub fn is_coded(&self) -> bool {
        self.kind != Kind::Data && self.packet == Packet::Frames
    }

    /// Whether the tag, read from `body`, brings coded pictures or sound: not headers, metadata, commands or nothing.
    pub fn brings_media(&self, body: &[u8]) -> bool {
        self.is_coded() && self.tracks(body).any(|track| !track.payload.is_empty())
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

#[cfg(test)]
mod tests;
