//! One chunk stream: how headers inherit from each other, and what a message's header becomes.

use super::Message;
use bytes::Bytes;

/// One chunk header as it stands on the wire. Fields that its type leaves out are zero.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) fmt: u8,
    pub(super) csid: u32,
    pub(super) time: u32,
    pub(super) extended: Option<u32>,
    pub(super) length: u32,
    pub(super) type_id: u8,
    pub(super) stream_id: u32,
}

/// The state of one chunk stream: what its next header may inherit, and its unfinished message.
#[derive(Debug)]
pub(super) struct ChunkStream {
    pub(super) csid: u32,
    /// Time of the current or last message.
    pub(super) timestamp_ms: u32,
    /// What a type 3 chunk that begins a message adds.
    pub(super) delta_ms: u32,
    /// The extended timestamp field of the last header, if it had one.
    pub(super) extended: Option<u32>,
    pub(super) length: u32,
    pub(super) type_id: u8,
    pub(super) stream_id: u32,
    /// Whether a message is unfinished.
    pub(super) partial: bool,
    pub(super) payload: Vec<u8>,
    pub(super) first_byte_at_us: u64,
}

impl ChunkStream {
    pub(super) fn new(csid: u32) -> ChunkStream {
        ChunkStream {
            csid,
            timestamp_ms: 0,
            delta_ms: 0,
            extended: None,
            length: 0,
            type_id: 0,
            stream_id: 0,
            partial: false,
            payload: Vec::new(),
            first_byte_at_us: 0,
        }
    }

    pub(super) fn begin_message(&mut self, header: &Header, since_us: u64) {
        if header.fmt == 0 {
            self.stream_id = header.stream_id;
        }
        if header.fmt <= 1 {
            self.length = header.length;
            self.type_id = header.type_id;
        }
        match header.fmt {
            0 => {
                self.timestamp_ms = header.time;
                // a type 3 message behind it: the specification adds the time itself, peers in the wild nothing
                self.delta_ms = 0;
            }
            1 | 2 => {
                self.delta_ms = header.time;
                self.timestamp_ms = self.timestamp_ms.wrapping_add(header.time);
            }
            _ => self.timestamp_ms = self.timestamp_ms.wrapping_add(self.delta_ms),
        }
        if header.fmt <= 2 {
            self.extended = header.extended;
        }
        self.first_byte_at_us = since_us;
    }

    pub(super) fn message(&self, payload: Bytes) -> Message {
        Message {
            csid: self.csid,
            timestamp_ms: self.timestamp_ms,
            type_id: self.type_id,
            stream_id: self.stream_id,
            payload,
            first_byte_at_us: self.first_byte_at_us,
        }
    }
}
