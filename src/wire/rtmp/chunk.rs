//! Reading the chunk stream (section 5.3).
//!
//! Each payload byte is copied from the read buffer to its message's own buffer, which is then frozen. What must stay
//! true: memory follows bytes that have arrived, never a length that was announced beyond one step; all partial messages
//! together stay within a bound in number and in bytes. All three are set by the [`Limits`] in force. A buffer doubles up
//! to exactly the announced length, so a finished message holds no spare room.
//!
//! Corners of real peers: the extended timestamp of type 3 chunks is there (Flash, librtmp, ffmpeg) or is not (old
//! encoders), which only a look at its value tells; a first chunk of type 1 on a new chunk stream counts as message
//! stream 0; a partial message that goes on with a header other than type 3 is continued if length and type agree.

use super::control::{Control, ControlError};
use super::{CHUNK_SIZE_DEFAULT, TIMESTAMP_EXTENDED, type_id};
use bytes::Bytes;
use stream::{ChunkStream, Header};

mod stream;

/// Longest message that is neither audio, video, data nor aggregate, whoever sends it, in bytes. Commands with long tokens
/// are a few kilobytes.
pub const COMMAND_BYTES_MAX: u32 = 64 << 10;

/// What a peer may make the reader hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Limits {
    /// Chunk streams that have a header to inherit from, a count; real peers use at most eight.
    pub chunk_streams: usize,
    /// Messages that are begun and not finished, a count; real peers interleave two or three.
    pub partial_messages: usize,
    /// Largest message, in bytes; see also [`COMMAND_BYTES_MAX`].
    pub message_bytes: u32,
    /// Buffer space taken with the first byte of a message, in bytes. A message up to this size never moves.
    pub reserve_bytes: usize,
    /// Buffer space of all partial messages, in bytes.
    pub outstanding_bytes: usize,
}

impl Limits {
    /// A peer that is not known yet: it sends commands, and some publishers metadata.
    pub const STRANGER: &'static Limits = &Limits {
        chunk_streams: 64,
        partial_messages: 32,
        message_bytes: COMMAND_BYTES_MAX,
        reserve_bytes: 4 << 10,
        outstanding_bytes: 256 << 10,
    };
    /// An accepted publisher: a 4K intra frame at a high rate is 1 to 4 MiB, and audio may come in between.
    pub const PUBLISHER: &'static Limits = &Limits {
        chunk_streams: 64,
        partial_messages: 32,
        message_bytes: 7 << 20,
        reserve_bytes: 256 << 10,
        outstanding_bytes: 8 << 20,
    };
    /// An accepted player: there are thousands, and they send short commands.
    pub const PLAYER: &'static Limits = &Limits {
        chunk_streams: 16,
        partial_messages: 16,
        message_bytes: 4 << 10,
        reserve_bytes: 256,
        outstanding_bytes: 8 << 10,
    };

    const fn is_sound(&self) -> bool {
        self.message_bytes < 1 << 24 // the wire's length field has 24 bits
            && self.reserve_bytes <= self.message_bytes as usize
            // the largest message leaves room for others, and all that may be open for their first step
            && self.message_bytes as usize + self.reserve_bytes <= self.outstanding_bytes
            && self.partial_messages * self.reserve_bytes <= self.outstanding_bytes
            && self.partial_messages <= self.chunk_streams
    }

    /// Largest message of type `type_id`, in bytes.
    const fn message_bytes_of(&self, type_id: u8) -> u32 {
        let large = matches!(
            type_id,
            type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF0 | type_id::DATA_AMF3 | type_id::AGGREGATE
        );
        if large || self.message_bytes < COMMAND_BYTES_MAX { self.message_bytes } else { COMMAND_BYTES_MAX }
    }
}

const _: () =
    assert!(Limits::STRANGER.is_sound() && Limits::PUBLISHER.is_sound() && Limits::PLAYER.is_sound());

/// Longest header: basic 3, message 11, extended timestamp 4.
const HEADER_BYTES_MAX: usize = 18;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Chunk stream it came on, 2..=65599.
    pub csid: u32,
    /// Absolute time in milliseconds, modulo 2^32, as the peer sent it.
    pub timestamp_ms: u32,
    /// Message type.
    pub type_id: u8,
    /// Message stream.
    pub stream_id: u32,
    /// The body.
    pub payload: Bytes,
    /// The stamp that the caller gave with the first byte of the message's first chunk.
    pub first_byte_at_us: u64,
}

/// Why the chunk stream cannot be read on. The connection is lost: there is no way to find the next chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The first chunk of a chunk stream leaves out fields that it has nothing to inherit from.
    #[error("chunk of type {fmt} on chunk stream {csid}, which has no header yet")]
    NothingToInherit {
        /// The chunk type, 2 or 3.
        fmt: u8,
        /// The chunk stream.
        csid: u32,
    },
    /// A new message began while another was unfinished on the same chunk stream.
    #[error("chunk stream {csid}: a message of another length or type begins inside an unfinished one")]
    Interrupted {
        /// The chunk stream.
        csid: u32,
    },
    /// A control message that could not be read.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// More than [`Limits::chunk_streams`].
    #[error("too many chunk streams")]
    TooManyChunkStreams,
    /// More than [`Limits::partial_messages`].
    #[error("too many unfinished messages")]
    TooManyPartial,
    /// Longer than [`Limits::message_bytes`], or a command longer than [`COMMAND_BYTES_MAX`].
    #[error("message of {length} bytes")]
    MessageTooLong {
        /// The announced length.
        length: u32,
    },
    /// Partial messages need more than [`Limits::outstanding_bytes`].
    #[error("too many bytes in unfinished messages")]
    TooMuchOutstanding,
}

/// The chunk whose payload is being read.
#[derive(Clone, Copy, Debug)]
struct Body {
    /// Index into `streams`.
    stream: u32,
    left: u32,
}

/// The incremental reader of one direction of a connection.
#[derive(Debug)]
pub struct ChunkReader {
    streams: Vec<ChunkStream>,
    body: Option<Body>,
    chunk_size: u32,
    limits: &'static Limits,
    /// Bytes of a header that is not whole, and bytes that were looked at but turned out to be payload.
    pending: [u8; HEADER_BYTES_MAX],
    pending_len: u8,
    pending_since_us: u64,
    /// Capacity of all partial payloads.
    outstanding_bytes: usize,
    copied_bytes: u64,
}

impl Default for ChunkReader {
    fn default() -> ChunkReader {
        ChunkReader::new()
    }
}

impl ChunkReader {
    /// A reader behind the handshake: chunk size 128, [`Limits::STRANGER`].
    pub fn new() -> ChunkReader {
        ChunkReader {
            streams: Vec::new(),
            body: None,
            chunk_size: CHUNK_SIZE_DEFAULT,
            limits: Limits::STRANGER,
            pending: [0; HEADER_BYTES_MAX],
            pending_len: 0,
            pending_since_us: 0,
            outstanding_bytes: 0,
            copied_bytes: 0,
        }
    }

    /// Puts other limits in force, for what comes from here on.
    pub fn set_limits(&mut self, limits: &'static Limits) {
        self.limits = limits;
    }

    /// Payload bytes copied into message buffers so far.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// The peer's current chunk size in bytes.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Heap bytes held, partial messages included.
    pub fn heap_bytes(&self) -> usize {
        self.streams.capacity() * size_of::<ChunkStream>() + self.outstanding_bytes
    }

    /// Forgets all chunk streams and frees their memory; the counters stay. There is no reading on behind it.
    pub fn clear(&mut self) {
        self.streams = Vec::new();
        self.body = None;
        self.pending_len = 0;
        self.outstanding_bytes = 0;
    }

    /// Gives back what is held for growth.
    pub fn shrink(&mut self) {
        self.streams.shrink_to_fit();
    }

    /// Reads on in `input`, received at `now_us`, up to the end of a message or of the input. Returns the bytes
    /// consumed and the message. Call again with the rest until no message comes: then all of the input is consumed.
    ///
    /// Set Chunk Size and Abort take effect here, and are returned like any other message.
    pub fn read(&mut self, now_us: u64, input: &[u8]) -> Result<(usize, Option<Message>), ChunkError> {
        let mut used = 0;
        loop {
            if let Some(body) = self.body {
                let (taken, message) = self.read_body(body, &input[used..])?;
                used += taken;
                if message.is_some() || self.body.is_some() {
                    return Ok((used, message));
                }
            } else {
                let (taken, header, since_us) = self.read_header(now_us, &input[used..]);
                used += taken;
                let Some(header) = header else { return Ok((used, None)) };
                if let Some(message) = self.begin_chunk(header, since_us)? {
                    return Ok((used, Some(message)));
                }
            }
        }
    }

    /// The next header if it is whole; else keeps all of `input`, which then is shorter than a header.
    fn read_header(&mut self, now_us: u64, input: &[u8]) -> (usize, Option<Header>, u64) {
        let old = usize::from(self.pending_len);
        if old == 0 {
            if let Some((header, len)) = self.parse_header(input) {
                return (len, Some(header), now_us);
            }
            self.pending_since_us = now_us;
        }
        let added = input.len().min(HEADER_BYTES_MAX - old);
        self.pending[old..old + added].copy_from_slice(&input[..added]);
        match self.parse_header(&self.pending[..old + added]) {
            Some((header, len)) if len < old => {
                // an extended timestamp was expected and is not there: what was looked at is payload
                self.pending.copy_within(len..old, 0);
                self.pending_len = (old - len) as u8;
                (0, Some(header), self.pending_since_us)
            }
            Some((header, len)) => {
                self.pending_len = 0;
                (len - old, Some(header), self.pending_since_us)
            }
            None => {
                self.pending_len = (old + added) as u8;
                (added, None, now_us)
            }
        }
    }

    /// Section 5.3.1. `None`: more bytes are needed to tell.
    fn parse_header(&self, bytes: &[u8]) -> Option<(Header, usize)> {
        let &first = bytes.first()?;
        let (csid, mut pos) = match first & 0x3f {
            0 => (64 + u32::from(*bytes.get(1)?), 2),
            1 => (64 + u32::from(*bytes.get(1)?) + 256 * u32::from(*bytes.get(2)?), 3),
            small => (u32::from(small), 1),
        };
        let fmt = first >> 6;
        let mut header = Header { fmt, csid, time: 0, extended: None, length: 0, type_id: 0, stream_id: 0 };
        if fmt == 3 {
            header.extended = self.repeated_timestamp(csid, &bytes[pos..])?;
            pos += if header.extended.is_some() { 4 } else { 0 };
            return Some((header, pos));
        }
        let len = [11, 7, 3][usize::from(fmt)];
        let fields = bytes.get(pos..pos + len)?;
        pos += len;
        if let &[t0, t1, t2, ..] = fields {
            header.time = u32::from_be_bytes([0, t0, t1, t2]);
        }
        if let &[_, _, _, l0, l1, l2, type_id, ref stream_id @ ..] = fields {
            header.length = u32::from_be_bytes([0, l0, l1, l2]);
            header.type_id = type_id;
            if let Some(stream_id) = stream_id.first_chunk() {
                header.stream_id = u32::from_le_bytes(*stream_id);
            }
        }
        if header.time == TIMESTAMP_EXTENDED {
            header.time = u32::from_be_bytes(*bytes.get(pos..)?.first_chunk()?);
            header.extended = Some(header.time);
            pos += 4;
        }
        Some((header, pos))
    }

    /// Whether a type 3 chunk on `csid` repeats the extended timestamp: it does if its first bytes are that number
    /// (or the message's absolute time, which some servers repeat in its place), else they are payload.
    /// `None`: more bytes are needed to tell.
    fn repeated_timestamp(&self, csid: u32, bytes: &[u8]) -> Option<Option<u32>> {
        let Some(stream) = self.streams.iter().find(|s| s.csid == csid) else { return Some(None) };
        let Some(extended) = stream.extended else { return Some(None) };
        let seen = &bytes[..bytes.len().min(4)];
        let fits = |number: u32| number.to_be_bytes().starts_with(seen);
        match fits(extended) || (stream.partial && fits(stream.timestamp_ms)) {
            false => Some(None),
            true if seen.len() < 4 => None,
            true => Some(Some(extended)),
        }
    }

    /// Applies a header. Returns the message if it has no payload.
    fn begin_chunk(&mut self, header: Header, since_us: u64) -> Result<Option<Message>, ChunkError> {
        let Header { fmt, csid, .. } = header;
        let index = match self.streams.iter().position(|s| s.csid == csid) {
            Some(index) => index,
            None if fmt >= 2 => return Err(ChunkError::NothingToInherit { fmt, csid }),
            None if self.streams.len() >= self.limits.chunk_streams => {
                return Err(ChunkError::TooManyChunkStreams);
            }
            None => {
                self.streams.push(ChunkStream::new(csid));
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[index];
        if stream.partial {
            if fmt < 2 && (header.length, header.type_id) != (stream.length, stream.type_id) {
                return Err(ChunkError::Interrupted { csid });
            }
        } else {
            stream.begin_message(&header, since_us);
            if stream.length > self.limits.message_bytes_of(stream.type_id) {
                return Err(ChunkError::MessageTooLong { length: stream.length });
            }
            if stream.length == 0 {
                return Ok(Some(stream.message(Bytes::new())));
            }
            stream.partial = true;
            if self.streams.iter().filter(|s| s.partial).count() > self.limits.partial_messages {
                return Err(ChunkError::TooManyPartial);
            }
        }
        let stream = &self.streams[index];
        let left = (stream.length - stream.payload.len() as u32).min(self.chunk_size);
        self.body = Some(Body { stream: index as u32, left });
        Ok(None)
    }

    /// Makes room for more payload: one step at first, then as much again as is there, at most what the message still
    /// needs and what the bound still allows.
    fn reserve(&mut self, index: usize) -> Result<(), ChunkError> {
        let ChunkStream { payload, length, .. } = &mut self.streams[index];
        let held = payload.capacity();
        let wanted = (2 * held).max(self.limits.reserve_bytes).min(*length as usize);
        let allowed = self.limits.outstanding_bytes.saturating_sub(self.outstanding_bytes - held);
        let room = wanted.min(allowed);
        if room <= payload.len() {
            return Err(ChunkError::TooMuchOutstanding);
        }
        payload.reserve_exact(room - payload.len());
        self.outstanding_bytes = self.outstanding_bytes - held + payload.capacity();
        Ok(())
    }

    /// Takes payload from the pending bytes, then from `input`, to the end of the chunk or the input.
    fn read_body(&mut self, mut body: Body, input: &[u8]) -> Result<(usize, Option<Message>), ChunkError> {
        let index = body.stream as usize;
        if self.pending_len > 0 {
            let pending = self.pending;
            let len = usize::from(self.pending_len).min(body.left as usize);
            self.append(index, &pending[..len])?;
            body.left -= len as u32;
            self.pending.copy_within(len.., 0);
            self.pending_len -= len as u8;
        }
        let len = input.len().min(body.left as usize);
        self.append(index, &input[..len])?;
        body.left -= len as u32;
        self.body = (body.left > 0).then_some(body);
        let stream = &mut self.streams[index];
        if body.left > 0 || stream.payload.len() < stream.length as usize {
            return Ok((len, None));
        }
        stream.partial = false;
        self.outstanding_bytes -= stream.payload.capacity();
        let payload = std::mem::take(&mut stream.payload);
        let message = stream.message(payload.into());
        self.apply_control(&message)?;
        Ok((len, Some(message)))
    }

    fn append(&mut self, index: usize, mut bytes: &[u8]) -> Result<(), ChunkError> {
        self.copied_bytes += bytes.len() as u64;
        loop {
            let payload = &mut self.streams[index].payload;
            let (now, later) = bytes.split_at(bytes.len().min(payload.capacity() - payload.len()));
            payload.extend_from_slice(now);
            if later.is_empty() {
                return Ok(());
            }
            self.reserve(index)?;
            bytes = later;
        }
    }

    fn apply_control(&mut self, message: &Message) -> Result<(), ChunkError> {
        if !matches!(message.type_id, type_id::SET_CHUNK_SIZE | type_id::ABORT) {
            return Ok(());
        }
        match Control::decode(message.type_id, &message.payload)? {
            Some(Control::SetChunkSize(size)) => self.chunk_size = size,
            Some(Control::Abort { csid }) => {
                if let Some(stream) = self.streams.iter_mut().find(|s| s.csid == csid) {
                    stream.partial = false;
                    self.outstanding_bytes -= stream.payload.capacity();
                    stream.payload = Vec::new();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
