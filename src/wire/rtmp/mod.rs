//! RTMP syntax (Adobe "RTMP specification 1.0", 2012): handshake, chunk stream, messages, control messages.
//!
//! Bytes to messages and back, no policy: what a command means is `proto::rtmp`'s business. Every reader here is
//! incremental ("need more bytes" is not an error) and bounded by the constants of its file.
//! Stamps of arrival are opaque microseconds ([`chunk::Message::first_byte_at_us`]), because this layer knows no clock.

pub mod chunk;
pub mod control;
pub mod handshake;
pub mod message;

/// Message type ids (sections 5.4 and 7.1).
pub mod type_id {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACK: u8 = 3;
    /// User Control.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3.
    pub const DATA_AMF3: u8 = 15;
    /// Command in AMF3: one byte 0, then AMF0 values.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0.
    pub const DATA_AMF0: u8 = 18;
    /// Command in AMF0.
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate: FLV tags in one message.
    pub const AGGREGATE: u8 = 22;
}

/// Chunk stream ids that our side writes to; 2 is the specification's, the others are custom.
pub mod csid {
    /// Protocol and user control (section 5.4).
    pub const CONTROL: u8 = 2;
    /// Commands of the connection.
    pub const COMMAND: u8 = 3;
    /// Audio.
    pub const AUDIO: u8 = 4;
    /// Status and data of the stream.
    pub const STREAM: u8 = 5;
    /// Video.
    pub const VIDEO: u8 = 6;
}

/// Chunk size of both directions until Set Chunk Size (section 5.4.1), in bytes.
pub const CHUNK_SIZE_DEFAULT: u32 = 128;
/// The message stream that createStream always answers; media and status travel on it.
pub const STREAM_ID: u32 = 1;
/// A 24-bit timestamp field of this value announces an extended timestamp (section 5.3.1.3).
pub const TIMESTAMP_EXTENDED: u32 = 0xff_ffff;
