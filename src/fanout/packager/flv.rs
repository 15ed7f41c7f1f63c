//! Entries as FLV tags, each with its trailer, so that a reader may start or skip at any entry (FLV v10.1, E.4.1).

use crate::fanout::log::LogWriter;
use crate::media::{Frame, Kind};
use crate::wire::flv::{TAG_HEADER_BYTES, TRAILER_BYTES, TagHeader, TagType};
use bytes::Bytes;

fn header(kind: Kind, dts_ms: u32, len: usize) -> TagHeader {
    let tag_type = match kind {
        Kind::Audio => TagType::Audio,
        Kind::Video => TagType::Video,
        Kind::Data => TagType::Script,
    };
    TagHeader { tag_type, size: len as u32, timestamp_ms: dts_ms }
}

/// Writes the entry of `frame` without committing it.
pub fn pack(log: &mut LogWriter, frame: &Frame) -> bool {
    let header = header(frame.kind, frame.dts_ms, frame.body.len());
    log.reserve(TAG_HEADER_BYTES + frame.body.len() + TRAILER_BYTES)
        && log.put(&header.encode())
        && log.put(&frame.body)
        && log.put(&header.trailer())
}

/// The frame of an entry.
pub fn unpack(entry: &Bytes) -> Option<(Kind, u32, Bytes)> {
    let (head, rest) = entry.split_first_chunk::<TAG_HEADER_BYTES>()?;
    let [number, s0, s1, s2, t0, t1, t2, t3, ..] = *head;
    let kind = match TagType::from_number(number)? {
        TagType::Audio => Kind::Audio,
        TagType::Video => Kind::Video,
        TagType::Script => Kind::Data,
    };
    let size = u32::from_be_bytes([0, s0, s1, s2]) as usize;
    if rest.len() != size + TRAILER_BYTES {
        return None;
    }
    let body = entry.slice(TAG_HEADER_BYTES..TAG_HEADER_BYTES + size);
    Some((kind, u32::from_be_bytes([t3, t0, t1, t2]), body))
}

/// Appends one tag with its trailer.
pub fn append(kind: Kind, dts_ms: u32, body: &[u8], out: &mut Vec<u8>) {
    let header = header(kind, dts_ms, body.len());
    out.extend(header.encode());
    out.extend(body);
    out.extend(header.trailer());
}
