//! FLV bytes in any cuts to tags.

use super::{FileHeader, TAG_HEADER_BYTES, TRAILER_BYTES, TagHeader, TagType};
use bytes::{Buf, Bytes, BytesMut};

/// Largest tag body that is read, in bytes: a 4K keyframe at a very high bitrate is a quarter of it.
pub const TAG_BODY_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// Largest DataOffset of a file header, in bytes. Version 1 says 9; a larger one is skipped.
const DATA_OFFSET_MAX: u32 = 1024;
/// Bytes of the file header without PreviousTagSize0.
const FILE_HEADER_ONLY: usize = 9;
/// Set in a tag's type byte if the body is encrypted.
const FILTER_BIT: u8 = 0x20;
/// The rest of the type byte above the five bits of the type is reserved.
const TYPE_MASK: u8 = 0x1f;

/// One step of an FLV stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlvItem {
    /// The file header; once, first.
    Header(FileHeader),
    /// One tag and its body of [`TagHeader::size`] bytes.
    Tag(TagHeader, Bytes),
}

/// A stream that is not FLV, or one beyond the bound. `at` counts bytes from the start of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// The first bytes are not `FLV` and version 1, or DataOffset is absurd.
    #[error("not an FLV file header")]
    NotFlv,
    /// A tag type that FLV does not define, which mostly means that the stream lost its framing.
    #[error("tag type {tag_type} at byte {at} is unknown")]
    TagType {
        /// Where the tag starts.
        at: u64,
        /// The type byte as found.
        tag_type: u8,
    },
    /// An encrypted tag.
    #[error("tag at byte {at} is encrypted")]
    Encrypted {
        /// Where the tag starts.
        at: u64,
    },
    /// A body larger than the reader's bound.
    #[error("tag at byte {at} has {size} bytes, more than {max}")]
    TooLarge {
        /// Where the tag starts.
        at: u64,
        /// Bytes of the body.
        size: u32,
        /// The bound in bytes.
        max: u32,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    FileHeader,
    /// Bytes to skip between file header and first tag.
    Skip(usize),
    TagHeader,
    Body(TagHeader),
    Failed(FlvError),
}

/// An incremental reader: [`push`](FlvReader::push) bytes, take items until [`next_item`](FlvReader::next_item) says
/// `None`. Then it holds at most one incomplete tag.
///
/// Trailers are counted when they are wrong, not believed: several writers leave them zero.
#[derive(Debug)]
pub struct FlvReader {
    buffer: BytesMut,
    state: State,
    /// Bytes taken from the buffer so far.
    at: u64,
    body_bytes_max: u32,
    wrong_trailers: u64,
}

impl Default for FlvReader {
    fn default() -> FlvReader {
        FlvReader::new()
    }
}

impl FlvReader {
    /// A reader that accepts bodies up to [`TAG_BODY_BYTES_MAX`].
    pub fn new() -> FlvReader {
        FlvReader::with_limit(TAG_BODY_BYTES_MAX)
    }

    /// A reader that accepts bodies up to `body_bytes_max` bytes.
    pub fn with_limit(body_bytes_max: u32) -> FlvReader {
        FlvReader {
            buffer: BytesMut::new(),
            state: State::FileHeader,
            at: 0,
            body_bytes_max,
            wrong_trailers: 0,
        }
    }

    /// Adds bytes as they came. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Failed(_)) {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete item; `None` means more bytes are needed.
    ///
    /// # Errors
    /// [`FlvError`], for good: the same error is returned from then on.
    pub fn next_item(&mut self) -> Result<Option<FlvItem>, FlvError> {
        let result = self.step();
        if let Err(error) = result {
            self.state = State::Failed(error);
            self.buffer = BytesMut::new();
        }
        result
    }

    /// How many trailers did not tell the size of the tag before them.
    pub fn wrong_trailers(&self) -> u64 {
        self.wrong_trailers
    }

    fn step(&mut self) -> Result<Option<FlvItem>, FlvError> {
        loop {
            match self.state {
                State::FileHeader => {
                    let Some(head) = self.take(FILE_HEADER_ONLY) else {
                        return if b"FLV\x01".starts_with(&self.buffer[..self.buffer.len().min(4)]) {
                            Ok(None)
                        } else {
                            Err(FlvError::NotFlv)
                        };
                    };
                    let [b'F', b'L', b'V', 1, flags, o0, o1, o2, o3] = head[..] else {
                        return Err(FlvError::NotFlv);
                    };
                    let data_offset = u32::from_be_bytes([o0, o1, o2, o3]);
                    if !(FILE_HEADER_ONLY as u32..=DATA_OFFSET_MAX).contains(&data_offset) {
                        return Err(FlvError::NotFlv);
                    }
                    self.state = State::Skip(data_offset as usize - FILE_HEADER_ONLY + TRAILER_BYTES);
                    let header = FileHeader { has_audio: flags & 4 != 0, has_video: flags & 1 != 0 };
                    return Ok(Some(FlvItem::Header(header)));
                }
                State::Skip(bytes) => {
                    if self.take(bytes).is_none() {
                        return Ok(None);
                    }
                    self.state = State::TagHeader;
                }
                State::TagHeader => {
                    let at = self.at;
                    let Some(head) = self.take(TAG_HEADER_BYTES) else { return Ok(None) };
                    let [first, s0, s1, s2, t0, t1, t2, high, ..] = head[..] else { return Ok(None) };
                    if first & FILTER_BIT != 0 {
                        return Err(FlvError::Encrypted { at });
                    }
                    let Some(tag_type) = TagType::from_number(first & TYPE_MASK) else {
                        return Err(FlvError::TagType { at, tag_type: first });
                    };
                    let size = u32::from_be_bytes([0, s0, s1, s2]);
                    if size > self.body_bytes_max {
                        return Err(FlvError::TooLarge { at, size, max: self.body_bytes_max });
                    }
                    let timestamp_ms = u32::from_be_bytes([high, t0, t1, t2]);
                    self.state = State::Body(TagHeader { tag_type, size, timestamp_ms });
                }
                State::Body(header) => {
                    let size = header.size as usize;
                    let Some(mut body) = self.take(size + TRAILER_BYTES) else { return Ok(None) };
                    let trailer = body.split_off(size);
                    self.wrong_trailers += u64::from(trailer[..] != header.trailer());
                    self.state = State::TagHeader;
                    return Ok(Some(FlvItem::Tag(header, body)));
                }
                State::Failed(error) => return Err(error),
            }
        }
    }

    /// The next `len` bytes once they are there.
    fn take(&mut self, len: usize) -> Option<Bytes> {
        if self.buffer.remaining() < len {
            return None;
        }
        self.at += len as u64;
        Some(self.buffer.split_to(len).freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tag(tag_type: TagType, timestamp_ms: u32, body: &[u8]) -> Vec<u8> {
        let header = TagHeader { tag_type, size: body.len() as u32, timestamp_ms };
        [&header.encode()[..], body, &header.trailer()].concat()
    }

    fn stream() -> Vec<u8> {
        [
            FileHeader::encode(true, true).to_vec(),
            tag(TagType::Script, 0, b"\x02\0\x0aonMetaData"),
            tag(TagType::Video, 0xffff_ffff, &[0x17, 1, 0, 0, 0]),
            tag(TagType::Audio, 0x0100_0000, &[]),
        ]
        .concat()
    }

    fn read(pieces: &[&[u8]]) -> (Vec<FlvItem>, Result<(), FlvError>, u64) {
        let mut reader = FlvReader::with_limit(1000);
        let mut items = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.next_item() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(error) => return (items, Err(error), reader.wrong_trailers()),
                }
            }
        }
        (items, Ok(()), reader.wrong_trailers())
    }

    #[test]
    fn any_cut_gives_the_same_tags() {
        let stream = stream();
        let whole = read(&[&stream]);
        assert_eq!((whole.0.len(), whole.1, whole.2), (4, Ok(()), 0));
        assert_eq!(whole.0[0], FlvItem::Header(FileHeader { has_audio: true, has_video: true }));
        let FlvItem::Tag(header, body) = &whole.0[2] else { panic!("{:?}", whole.0[2]) };
        assert_eq!((header.timestamp_ms, &body[..]), (0xffff_ffff, &[0x17, 1, 0, 0, 0][..]));
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes), whole);
        for cut in 0..stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(read(&[a, b]), whole, "cut at {cut}");
            assert!(read(&[a]).0.len() < 4, "incomplete at {cut}");
        }
    }

    #[test]
    fn errors_name_their_place() {
        let stream = stream();
        let with = |at: usize, value: u8| {
            let mut bytes = stream.clone();
            bytes[at] = value;
            read(&[&bytes]).1
        };
        assert_eq!(with(0, b'f'), Err(FlvError::NotFlv));
        assert_eq!(with(3, 2), Err(FlvError::NotFlv));
        assert_eq!(with(8, 8), Err(FlvError::NotFlv), "DataOffset inside the header");
        assert_eq!(with(5, 1), Err(FlvError::NotFlv), "DataOffset of 16 MiB");
        assert_eq!(with(13, 10), Err(FlvError::TagType { at: 13, tag_type: 10 }));
        assert_eq!(with(13, 0x29), Err(FlvError::Encrypted { at: 13 }));
        assert_eq!(with(15, 4), Err(FlvError::TooLarge { at: 13, size: 0x040d, max: 1000 }));
        assert_eq!(read(&[b"GE"]).1, Err(FlvError::NotFlv), "refused before nine bytes are there");
        let mut reader = FlvReader::new();
        reader.push(b"HTTP");
        assert_eq!(reader.next_item(), Err(FlvError::NotFlv));
        reader.push(&stream);
        assert_eq!(reader.next_item(), Err(FlvError::NotFlv), "an error stays");
    }

    #[test]
    fn wrong_trailers_are_counted_and_long_headers_skipped() {
        let mut bytes = stream();
        let last = bytes.len() - 1;
        bytes[last] = 0;
        assert_eq!(read(&[&bytes]).2, 1);
        let mut long = FileHeader::encode(false, true).to_vec();
        long[8] = 12;
        long.extend([1, 2, 3]);
        long.extend(tag(TagType::Video, 7, &[0x22]));
        assert_eq!(read(&[&long]).0.len(), 2);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            for bytes in [tail.clone(), [&FileHeader::encode(true, true)[..], &tail].concat()] {
                let (a, b) = bytes.split_at(cut.min(bytes.len()));
                prop_assert_eq!(read(&[a, b]), read(&[&bytes]));
            }
        }
    }
}
