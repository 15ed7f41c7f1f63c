//! The tracks inside one tag: a single one, or the parts of a multitrack tag (Enhanced RTMP v2, "Multitrack").

use super::{
    Multitrack, Packet, Tag, TagError,
    grammar::{byte, fourcc, signed24},
};
use crate::media::codec::Codec;
use crate::media::track::TRACKS_PER_KIND_MAX;
use std::ops::Range;

/// One track's share of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackPart {
    /// Track number; 0 is the default track.
    pub track_id: u8,
    /// Its codec.
    pub codec: Codec,
    /// Presentation minus decoding time in milliseconds.
    pub cts_ms: i32,
    /// Its payload in the tag body, after any composition time.
    pub payload: Range<usize>,
}

/// Iterator over the tracks of one tag; from [`Tag::tracks`].
#[derive(Clone, Debug)]
pub struct Tracks<'a> {
    tag: Tag,
    body: &'a [u8],
    /// Where the next part starts; the body's length when none is left.
    at: usize,
    /// A tag without multitrack header has exactly one part, which may be empty.
    single_left: bool,
}

impl<'a> Tracks<'a> {
    pub(super) fn new(tag: Tag, body: &'a [u8]) -> Tracks<'a> {
        let single_left = tag.multitrack.is_none() && tag.packet != Packet::Command;
        Tracks { tag, body, at: tag.parts_at, single_left }
    }
}

impl Iterator for Tracks<'_> {
    type Item = TrackPart;

    fn next(&mut self) -> Option<TrackPart> {
        let Some(form) = self.tag.multitrack else {
            let payload = self.tag.payload(self.body.len());
            return std::mem::take(&mut self.single_left).then_some(TrackPart {
                track_id: 0,
                codec: self.tag.codec,
                cts_ms: self.tag.cts_ms,
                payload,
            });
        };
        if self.at >= self.body.len() {
            return None;
        }
        // `inspect` has validated its body; an error here means that another body was handed in.
        let (part, next) = part(&self.tag, form, self.body, self.at).ok()?;
        self.at = next;
        Some(part)
    }
}

/// Walks all parts of a multitrack tag and fills in what the tag says about them.
pub(super) fn validate(tag: &mut Tag, body: &[u8]) -> Result<(), TagError> {
    let Some(form) = tag.multitrack else { return Ok(()) };
    let (first, mut at) = part(tag, form, body, tag.parts_at)?;
    let mut default = (first.track_id == 0).then_some(first.cts_ms);
    let mut count = 1;
    while at < body.len() {
        if count == TRACKS_PER_KIND_MAX {
            return Err(TagError::TooManyTracks { at });
        }
        count += 1;
        let (next, after) = part(tag, form, body, at)?;
        if next.track_id == 0 && default.is_none() {
            default = Some(next.cts_ms);
        }
        at = after;
    }
    tag.codec = first.codec;
    tag.default_track = default.is_some();
    tag.cts_ms = default.unwrap_or(first.cts_ms);
    Ok(())
}

/// Reads the part that starts at `at`: `[FourCC] trackId [size u24] payload`. Returns it and where the next starts.
fn part(tag: &Tag, form: Multitrack, body: &[u8], mut at: usize) -> Result<(TrackPart, usize), TagError> {
    let mut codec = tag.codec;
    if form == Multitrack::ManyTracksManyCodecs {
        codec = Codec::from_fourcc(fourcc(body, at)?);
        at += 4;
    }
    let track_id = byte(body, at, "a track number")?;
    at += 1;
    let end = if form == Multitrack::OneTrack {
        body.len()
    } else {
        let Some(&[a, b, c]) = body.get(at..).and_then(|rest| rest.first_chunk::<3>()) else {
            return Err(TagError::Truncated { at: body.len(), expected: "a track size" });
        };
        let claimed = u32::from_be_bytes([0, a, b, c]) as usize;
        let left = body.len() - (at + 3);
        if claimed > left {
            return Err(TagError::Overlong { at, claimed, left });
        }
        at += 3;
        at + claimed
    };
    let mut cts_ms = 0;
    if tag.cts_in_parts && codec.has_composition_time() {
        // Read within the part only: a short one must not borrow from its neighbour.
        cts_ms = signed24(body.get(..end).unwrap_or_default(), at)?;
        at += 3;
    }
    Ok((TrackPart { track_id, codec, cts_ms, payload: at..end }, end))
}
