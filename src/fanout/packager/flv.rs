//! Entries as FLV tags, each with its trailer, so that a reader may start or skip at any entry (FLV v10.1, E.4.1).

use crate::fanout::log::LogWriter;
use crate::media::{Frame, Kind};
use crate::wire::flv::{TAG_HEADER_BYTES, TRAILER_BYTES, TagHeader, trailer};

/// FLV tag type of a frame (FLV v10.1, E.4.1).
fn tag_type(kind: Kind) -> u8 {
    match kind {
        Kind::Audio => 8,
        Kind::Video => 9,
        Kind::Data => 18,
    }
}

fn header(kind: Kind, dts_ms: u32, len: usize) -> TagHeader {
    TagHeader { tag_type: tag_type(kind), size: len as u32, timestamp_ms: dts_ms }
}

/// Writes the entry of `frame` without committing it.
pub fn pack(log: &mut LogWriter, frame: &Frame) -> bool {
    let len = frame.body.len();
    log.reserve(TAG_HEADER_BYTES + len + TRAILER_BYTES)
        && log.put(&header(frame.kind, frame.dts_ms, len).encode())
        && log.put(&frame.body)
        && log.put(&trailer(len as u32))
}

/// The frame of an entry.
pub fn unpack(bytes: &[u8]) -> Option<(Kind, u32, Vec<u8>)> {
    let (head, rest) = bytes.split_first_chunk::<TAG_HEADER_BYTES>()?;
    let head = TagHeader::decode(head).ok()?;
    let kind = match head.tag_type {
        8 => Kind::Audio,
        9 => Kind::Video,
        18 => Kind::Data,
        _ => return None,
    };
    let (body, _) = rest.split_at_checked(head.size as usize).filter(|(_, t)| t.len() == TRAILER_BYTES)?;
    Some((kind, head.timestamp_ms, body.into()))
}

/// Appends one tag with its trailer.
pub fn append(kind: Kind, dts_ms: u32, body: &[u8], out: &mut Vec<u8>) {
    out.extend(header(kind, dts_ms, body.len()).encode());
    out.extend(body);
    out.extend(trailer(body.len() as u32));
}
