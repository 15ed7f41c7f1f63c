//! A frame: one timed message of a stream.
//!
//! The body is an FLV tag body (legacy or Enhanced), unchanged from the publisher, so that RTMP and FLV outputs are
//! bit-exact. Inputs in other formats build such a body; packagers of other formats look inside it.

use super::time::Mono;
use bytes::Bytes;

/// What a frame carries; the FLV tag types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// FLV tag and RTMP message type 8.
    Audio,
    /// FLV tag and RTMP message type 9.
    Video,
    /// FLV script tag and RTMP AMF0 data message, type 18; `@setDataFrame` is already stripped.
    Data,
}

/// One timed message of a stream.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Audio, video or data.
    pub kind: Kind,
    /// Decoding time in milliseconds, modulo 2^32; the publisher's own until the stream rebases it.
    pub dts_ms: u32,
    /// FLV tag body, never empty.
    pub body: Bytes,
    /// When the first byte of the message was read from the socket.
    pub first_byte_at: Mono,
    /// When the message was complete.
    pub complete_at: Mono,
}
