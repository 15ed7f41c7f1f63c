//! FLV: file header, tag headers, trailers (FLV file format, annex E.2 to E.4).
//!
//! What must stay true: a tag is written as header, body, trailer, so that every tag boundary of a run is a place to
//! join. Not here: what stands in a body (`media::tag`).

mod reader;
pub use reader::{FlvError, FlvItem, FlvReader, TAG_BODY_BYTES_MAX};

/// Bytes of the file header with the PreviousTagSize0 behind it.
pub const FILE_HEADER_BYTES: usize = 13;
/// Bytes of a tag header.
pub const TAG_HEADER_BYTES: usize = 11;
/// Bytes of a trailer (PreviousTagSize).
pub const TRAILER_BYTES: usize = 4;
/// Largest body that the 24-bit size field can tell, in bytes.
pub const TAG_SIZE_MAX: u32 = 0xff_ffff;

/// The start of an FLV byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Audio tags follow. A true flag without tags makes players wait for ever.
    pub has_audio: bool,
    /// Video tags follow; the same warning.
    pub has_video: bool,
}

impl FileHeader {
    /// Header of 9 bytes and the PreviousTagSize0.
    pub const fn encode(has_audio: bool, has_video: bool) -> [u8; FILE_HEADER_BYTES] {
        let flags = (has_audio as u8) << 2 | has_video as u8;
        [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
    }
}

/// TagType of an FLV tag; equal to the RTMP message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TagType {
    /// Type 8.
    Audio = 8,
    /// Type 9.
    Video = 9,
    /// Type 18.
    Script = 18,
}

impl TagType {
    /// The type with this number, if FLV defines it.
    pub const fn from_number(number: u8) -> Option<TagType> {
        match number {
            8 => Some(TagType::Audio),
            9 => Some(TagType::Video),
            18 => Some(TagType::Script),
            _ => None,
        }
    }
}

/// What precedes a tag's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagHeader {
    /// Audio, video or script.
    pub tag_type: TagType,
    /// Bytes of the body, at most [`TAG_SIZE_MAX`].
    pub size: u32,
    /// Milliseconds, modulo 2^32; FLV stores the upper eight bits apart.
    pub timestamp_ms: u32,
}

impl TagHeader {
    /// The header's bytes. The stream id is always 0.
    pub const fn encode(&self) -> [u8; TAG_HEADER_BYTES] {
        debug_assert!(self.size <= TAG_SIZE_MAX);
        let [_, s0, s1, s2] = self.size.to_be_bytes();
        let [high, t0, t1, t2] = self.timestamp_ms.to_be_bytes();
        [self.tag_type as u8, s0, s1, s2, t0, t1, t2, high, 0, 0, 0]
    }

    /// The trailer that follows the body.
    pub const fn trailer(&self) -> [u8; TRAILER_BYTES] {
        (self.size + TAG_HEADER_BYTES as u32).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_match_the_format() {
        assert_eq!(FileHeader::encode(true, true), *b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
        assert_eq!(FileHeader::encode(true, false)[4], 4);
        assert_eq!(FileHeader::encode(false, true)[4], 1);
        let header = TagHeader { tag_type: TagType::Video, size: 0x01_0203, timestamp_ms: 0xa1b2_c3d4 };
        assert_eq!(header.encode(), [9, 1, 2, 3, 0xb2, 0xc3, 0xd4, 0xa1, 0, 0, 0]);
        assert_eq!(header.trailer(), [0, 1, 2, 0x0e]);
    }
}
