//! Entries as RTMP messages in chunks: type 0 header, the stream's own time, message stream 1, type 3 headers with
//! the extended timestamp repeated (RTMP 1.0, section 5.3.1). No header depends on the entry before, so a reader may
//! start or skip at any entry.

use crate::fanout::log::LogWriter;
use crate::media::{Frame, Kind};
use crate::wire::rtmp::message::{MessageHeader, write_message};
use crate::wire::rtmp::{STREAM_ID, TIMESTAMP_EXTENDED, csid, type_id};
use bytes::Bytes;

/// The chunk size that is announced before the first entry, in bytes.
pub const CHUNK_SIZE: usize = 65_536;

/// Chunk stream and message type of a frame.
fn ids(kind: Kind) -> (u8, u8) {
    match kind {
        Kind::Audio => (csid::AUDIO, type_id::AUDIO),
        Kind::Video => (csid::VIDEO, type_id::VIDEO),
        Kind::Data => (csid::STREAM, type_id::DATA_AMF0),
    }
}

fn header(kind: Kind, dts_ms: u32, len: usize) -> MessageHeader {
    let (csid, type_id) = ids(kind);
    MessageHeader { csid, timestamp_ms: dts_ms, length: len as u32, type_id, stream_id: STREAM_ID }
}

/// Writes the entry of `frame` without committing it.
pub fn pack(log: &mut LogWriter, frame: &Frame) -> bool {
    let header = header(frame.kind, frame.dts_ms, frame.body.len());
    let ((first, first_len), (next, next_len)) = (header.encode_type0(), header.encode_type3());
    let (Some(first), Some(next)) = (first.get(..first_len), next.get(..next_len)) else { return false };
    let splits = frame.body.len().saturating_sub(1) / CHUNK_SIZE;
    if !log.reserve(first.len() + splits * next.len() + frame.body.len()) || !log.put(first) {
        return false;
    }
    frame.body.chunks(CHUNK_SIZE).enumerate().all(|(i, chunk)| (i == 0 || log.put(next)) && log.put(chunk))
}

/// The frame of an entry. A body of more than one chunk has to be put together again.
pub fn unpack(entry: &Bytes) -> Option<(Kind, u32, Bytes)> {
    let (head, mut rest) = entry.split_first_chunk::<12>()?;
    let [basic, t0, t1, t2, l0, l1, l2, type_id, ..] = *head;
    let kind = [Kind::Audio, Kind::Video, Kind::Data].into_iter().find(|k| ids(*k) == (basic, type_id))?;
    let len = u32::from_be_bytes([0, l0, l1, l2]) as usize;
    let mut dts_ms = u32::from_be_bytes([0, t0, t1, t2]);
    let extended = dts_ms == TIMESTAMP_EXTENDED;
    if extended {
        let (time, behind) = rest.split_first_chunk::<4>()?;
        dts_ms = u32::from_be_bytes(*time);
        rest = behind;
    }
    if len <= CHUNK_SIZE {
        return (rest.len() == len).then(|| (kind, dts_ms, entry.slice(entry.len() - len..)));
    }
    let mut body = Vec::with_capacity(len.min(entry.len()));
    let next_len = if extended { 5 } else { 1 };
    while body.len() < len {
        if !body.is_empty() {
            rest = rest.get(next_len..)?;
        }
        let (chunk, behind) = rest.split_at_checked(CHUNK_SIZE.min(len - body.len()))?;
        body.extend(chunk);
        rest = behind;
    }
    rest.is_empty().then(|| (kind, dts_ms, body.into()))
}

/// Appends one message in chunks of [`CHUNK_SIZE`].
pub fn append(kind: Kind, dts_ms: u32, body: &[u8], out: &mut Vec<u8>) {
    write_message(out, &header(kind, dts_ms, body.len()), body, CHUNK_SIZE as u32);
}
