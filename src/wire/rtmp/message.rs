//! Writing messages as chunks (section 5.3), and splitting aggregate messages (section 7.1.6).

use super::TIMESTAMP_EXTENDED;
use bytes::Bytes;

/// The header of a message that we send: always type 0 first, type 3 behind, so that the bytes of a message depend
/// on nothing that was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// Chunk stream, 2..=63 (the one-byte form of the basic header).
    pub csid: u8,
    /// Absolute time in milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// Payload bytes, below 2^24.
    pub length: u32,
    /// Message type, see [`super::type_id`].
    pub type_id: u8,
    /// Message stream.
    pub stream_id: u32,
}

impl MessageHeader {
    /// The header of the first chunk and its length: 12 bytes, 16 with an extended timestamp.
    pub fn encode_type0(&self) -> ([u8; 16], usize) {
        debug_assert!((2..=63).contains(&self.csid) && self.length < 1 << 24);
        let [_, t0, t1, t2] = self.timestamp_ms.min(TIMESTAMP_EXTENDED).to_be_bytes();
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream_id.to_le_bytes(); // the one little-endian field of the protocol
        let [e0, e1, e2, e3] = self.timestamp_ms.to_be_bytes();
        let bytes = [self.csid & 0x3f, t0, t1, t2, l0, l1, l2, self.type_id, s0, s1, s2, s3, e0, e1, e2, e3];
        (bytes, if self.is_extended() { 16 } else { 12 })
    }

    /// The header of the chunks behind the first and its length: 1 byte, 5 with the extended timestamp repeated
    /// (which Flash, librtmp and ffmpeg require, against the letter of older texts).
    pub fn encode_type3(&self) -> ([u8; 5], usize) {
        let [e0, e1, e2, e3] = self.timestamp_ms.to_be_bytes();
        ([0xc0 | self.csid & 0x3f, e0, e1, e2, e3], if self.is_extended() { 5 } else { 1 })
    }

    /// Bytes of the whole message on the wire at `chunk_size`.
    pub fn encoded_len(&self, chunk_size: u32) -> usize {
        let continuations = self.length.div_ceil(chunk_size.max(1)).saturating_sub(1) as usize;
        self.encode_type0().1 + self.length as usize + continuations * self.encode_type3().1
    }

    fn is_extended(&self) -> bool {
        self.timestamp_ms >= TIMESTAMP_EXTENDED
    }
}

/// Appends `payload` as one message in chunks of at most `chunk_size` bytes. `header.length` must be its length.
pub fn write_message(out: &mut Vec<u8>, header: &MessageHeader, payload: &[u8], chunk_size: u32) {
    debug_assert_eq!(header.length as usize, payload.len());
    out.reserve(header.encoded_len(chunk_size));
    let (first, first_len) = header.encode_type0();
    let (next, next_len) = header.encode_type3();
    out.extend_from_slice(&first[..first_len]);
    for (index, chunk) in payload.chunks(chunk_size.max(1) as usize).enumerate() {
        if index > 0 {
            out.extend_from_slice(&next[..next_len]);
        }
        out.extend_from_slice(chunk);
    }
}

/// Messages in one aggregate, a count; servers that make them put half a second of media in one.
pub const AGGREGATE_ITEMS_MAX: usize = 1024;

/// One message out of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AggregateItem {
    /// Message type: audio, video or data.
    pub type_id: u8,
    /// Absolute time: the aggregate's plus this tag's distance from the first tag.
    pub timestamp_ms: u32,
    /// The body, copied: what is kept of it must not keep the whole aggregate.
    pub payload: Bytes,
}

/// An aggregate that is not divided, or not further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// A tag's header or length does not fit the aggregate's size.
    #[error("aggregate message: tag at byte {offset} does not fit")]
    Misfit {
        /// Offset of the tag.
        offset: usize,
    },
    /// More than [`AGGREGATE_ITEMS_MAX`] messages.
    #[error("aggregate message: more than {AGGREGATE_ITEMS_MAX} tags")]
    TooMany,
}

/// The messages of an aggregate: FLV tags (11-byte header, body, 4-byte back pointer). A missing last back pointer is
/// forgiven. Ends after the first error.
#[derive(Debug)]
pub struct AggregateItems {
    payload: Bytes,
    pos: usize,
    timestamp_ms: u32,
    first_tag_ms: Option<u32>,
    count: usize,
}

impl AggregateItems {
    /// Iterates over `payload`, the body of an aggregate sent at `timestamp_ms`.
    pub fn new(payload: Bytes, timestamp_ms: u32) -> AggregateItems {
        AggregateItems { payload, pos: 0, timestamp_ms, first_tag_ms: None, count: 0 }
    }
}

impl Iterator for AggregateItems {
    type Item = Result<AggregateItem, AggregateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.pos;
        let rest = self.payload.get(offset..)?;
        if rest.is_empty() {
            return None;
        }
        self.pos = self.payload.len(); // ends here unless the tag is whole
        self.count += 1;
        if self.count > AGGREGATE_ITEMS_MAX {
            return Some(Err(AggregateError::TooMany));
        }
        let Some(&[type_id, l0, l1, l2, t0, t1, t2, t3, _, _, _]) = rest.first_chunk::<11>() else {
            return Some(Err(AggregateError::Misfit { offset }));
        };
        let len = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let tag_ms = u32::from_be_bytes([t3, t0, t1, t2]);
        let body = offset + 11;
        if self.payload.len() - body < len {
            return Some(Err(AggregateError::Misfit { offset }));
        }
        self.pos = (body + len + 4).min(self.payload.len());
        let first_ms = *self.first_tag_ms.get_or_insert(tag_ms);
        Some(Ok(AggregateItem {
            type_id,
            timestamp_ms: self.timestamp_ms.wrapping_add(tag_ms.wrapping_sub(first_ms)),
            payload: Bytes::copy_from_slice(self.payload.get(body..body + len)?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(timestamp_ms: u32, length: u32) -> MessageHeader {
        MessageHeader { csid: 6, timestamp_ms, length, type_id: 9, stream_id: 1 }
    }

    #[test]
    fn extended_timestamps_begin_at_0xffffff() {
        let rows = [
            (0xfffffe, 12, 1, vec![6, 0xff, 0xff, 0xfe, 0, 0, 3, 9, 1, 0, 0, 0]),
            (0xffffff, 16, 5, vec![6, 0xff, 0xff, 0xff, 0, 0, 3, 9, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff]),
            (0x01000000, 16, 5, vec![6, 0xff, 0xff, 0xff, 0, 0, 3, 9, 1, 0, 0, 0, 1, 0, 0, 0]),
        ];
        for (timestamp_ms, len0, len3, want) in rows {
            let (bytes, len) = header(timestamp_ms, 3).encode_type0();
            assert_eq!((len, &bytes[..len]), (len0, &want[..]));
            let (bytes, len) = header(timestamp_ms, 3).encode_type3();
            assert_eq!((len, bytes[0]), (len3, 0xc6));
        }
    }

    #[test]
    fn messages_are_chunked() {
        let rows = [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2)];
        for (length, continuations) in rows {
            let payload = vec![7; length];
            let (mut out, header) = (vec![], header(0x01000000, length as u32));
            write_message(&mut out, &header, &payload, 4);
            assert_eq!(out.len(), 16 + length + 5 * continuations);
            assert_eq!(out.len(), header.encoded_len(4));
        }
    }

    #[test]
    fn aggregates_split_with_relative_times() {
        let tag = |type_id: u8, ms: u32, body: &[u8]| {
            let [t3, t0, t1, t2] = ms.to_be_bytes();
            let mut tag = vec![type_id, 0, 0, body.len() as u8, t0, t1, t2, t3, 0, 0, 0];
            tag.extend_from_slice(body);
            tag.extend_from_slice(&(tag.len() as u32).to_be_bytes());
            tag
        };
        let whole = [tag(9, 0x01000000, b"v1"), tag(8, 0x01000015, b"a"), tag(9, 0x01000028, b"")].concat();
        let item = |type_id, timestamp_ms, body: &'static [u8]| {
            Ok(AggregateItem { type_id, timestamp_ms, payload: Bytes::from_static(body) })
        };
        let want = vec![item(9, 500, b"v1"), item(8, 521, b"a"), item(9, 540, b"")];
        let split =
            |bytes: &[u8]| AggregateItems::new(Bytes::copy_from_slice(bytes), 500).collect::<Vec<_>>();
        assert_eq!(split(&whole), want);
        assert_eq!(split(&whole[..whole.len() - 4]), want, "the last back pointer may be missing");
        let cut = split(&whole[..20]);
        assert_eq!(cut, vec![item(9, 500, b"v1"), Err(AggregateError::Misfit { offset: 17 })]);
        assert_eq!(split(b""), vec![]);
    }

    #[test]
    fn aggregates_are_bounded_and_let_go() {
        let tags = |count: usize, len: usize| {
            let [_, l0, l1, l2] = (len as u32).to_be_bytes();
            let tag = [&[8, l0, l1, l2, 0, 0, 0, 0, 0, 0, 0][..], &vec![7; len], &[0; 4]].concat();
            Bytes::from(tag.repeat(count))
        };
        let last = |payload: &Bytes| {
            let items: Vec<_> = AggregateItems::new(payload.clone(), 0).collect();
            (items.len(), items.last().unwrap().clone().map(|item| item.payload.len()))
        };
        assert_eq!(last(&tags(AGGREGATE_ITEMS_MAX, 1)), (1024, Ok(1)));
        assert_eq!(last(&tags(AGGREGATE_ITEMS_MAX + 1, 1)), (1025, Err(AggregateError::TooMany)));
        let intra = 4 << 20;
        assert_eq!(last(&tags(1, intra)), (1, Ok(intra)), "its size is that of a message");
        let whole = tags(2, 5);
        let kept = AggregateItems::new(whole.clone(), 0).next().unwrap().unwrap().payload;
        assert!(whole.is_unique() && kept.len() == 5, "an item does not hold the aggregate");
    }
}
