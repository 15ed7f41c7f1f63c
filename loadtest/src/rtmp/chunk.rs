//! Chunk streams (RTMP 1.0, section 5.3): writing whole messages, reading any server's headers without keeping media payload.

use crate::media::{TYPE_AUDIO, TYPE_VIDEO};
use crate::meter::Incoming;

/// Chunk size that this side announces.
pub const CHUNK_SIZE: usize = 65536;
/// Chunk size before anything is announced.
const CHUNK_SIZE_START: usize = 128;
/// Chunk streams a server may use; real ones use four.
const STREAMS_MAX: usize = 64;
/// Longest command or control message that is read.
const CONTROL_MAX: u32 = 64 * 1024;
const EXTENDED: u32 = 0xff_ffff;

/// Appends one message to `out`: a full header, then chunks of `chunk_size` with type 3 headers between.
pub fn write(
    out: &mut Vec<u8>,
    csid: u8,
    kind: u8,
    stream_id: u32,
    timestamp_ms: u32,
    payload: &[u8],
    chunk_size: usize,
) {
    let ts = timestamp_ms.min(EXTENDED).to_be_bytes();
    let len = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[csid & 0x3f, ts[1], ts[2], ts[3], len[1], len[2], len[3], kind]);
    out.extend_from_slice(&stream_id.to_le_bytes());
    let extended = timestamp_ms >= EXTENDED;
    let mut first = true;
    for piece in payload.chunks(chunk_size.max(1)) {
        if !std::mem::take(&mut first) {
            out.push(0xc0 | csid & 0x3f);
        }
        if extended {
            out.extend_from_slice(&timestamp_ms.to_be_bytes());
        }
        out.extend_from_slice(piece);
    }
}

/// Bytes that break the chunk stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

#[derive(Debug, Default)]
struct ChunkStream {
    csid: u32,
    message: Incoming,
    /// Command or control payload; media keeps nothing.
    body: Vec<u8>,
    kind: u8,
    len: u32,
    extended: bool,
    started: bool,
}

/// What a complete message was.
#[derive(Debug)]
pub enum Message<'a> {
    /// Audio or video.
    Media(&'a Incoming),
    /// Anything else: type and payload.
    Other(u8, &'a [u8]),
}

/// Reads a chunk stream in pieces of any size.
#[derive(Debug)]
pub struct Reader {
    verify: bool,
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    /// The chunk whose payload comes next: index into `streams`, bytes left.
    current: Option<(usize, usize)>,
    head: [u8; 18],
    head_len: usize,
}

impl Reader {
    /// A reader behind the handshake; `verify` hashes every media payload.
    pub fn new(verify: bool) -> Self {
        let (streams, current) = (Vec::new(), None);
        Self { verify, chunk_size: CHUNK_SIZE_START, streams, current, head: [0; 18], head_len: 0 }
    }

    /// Takes in bytes and calls `on_message` for every message that they complete. SetChunkSize is obeyed here.
    pub fn input<E: From<Broken>>(
        &mut self,
        mut bytes: &[u8],
        mut on_message: impl FnMut(Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let Some((index, left)) = self.current else {
                bytes = self.header(bytes)?;
                continue;
            };
            let n = bytes.len().min(left);
            let (piece, rest) = bytes.split_at(n);
            bytes = rest;
            let stream = &mut self.streams[index];
            let media = matches!(stream.kind, TYPE_AUDIO | TYPE_VIDEO);
            stream.message.feed(piece);
            if !media {
                stream.body.extend_from_slice(piece);
            }
            self.current = (n < left).then_some((index, left - n));
            if stream.message.is_open() {
                continue;
            }
            if media {
                on_message(Message::Media(&stream.message))?;
                continue;
            }
            if let (1, Some(size)) = (stream.kind, stream.body.first_chunk()) {
                self.chunk_size = (u32::from_be_bytes(*size) & 0x7fff_ffff).max(1) as usize;
            }
            on_message(Message::Other(stream.kind, &stream.body))?;
        }
        Ok(())
    }

    /// Gathers a chunk's header; returns the bytes behind it, or none when it is still incomplete.
    fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let old = self.head_len;
        let n = bytes.len().min(self.head.len() - old);
        self.head[old..old + n].copy_from_slice(&bytes[..n]);
        let have = old + n;
        let Some(used) = self.parse_header(have)? else {
            self.head_len = have;
            return Ok(&bytes[n..]);
        };
        self.head_len = 0;
        Ok(&bytes[used - old..])
    }

    /// Parses the first `have` bytes of `head`; the header's length when it is complete.
    fn parse_header(&mut self, have: usize) -> Result<Option<usize>, Broken> {
        let head = &self.head[..have];
        let Some(&first) = head.first() else { return Ok(None) };
        let format = first >> 6;
        let (basic, csid) = match (first & 0x3f, head.get(1), head.get(2)) {
            (0, Some(&low), _) => (2, 64 + u32::from(low)),
            (1, Some(&low), Some(&high)) => (3, 64 + u32::from(low) + 256 * u32::from(high)),
            (0 | 1, ..) => return Ok(None),
            (small, ..) => (1, u32::from(small)),
        };
        let fields_len = [11, 7, 3, 0][usize::from(format)];
        let Some(fields) = head.get(basic..basic + fields_len) else { return Ok(None) };
        let index = match self.streams.iter().position(|s| s.csid == csid) {
            Some(index) => index,
            None if self.streams.len() < STREAMS_MAX => {
                self.streams.push(ChunkStream { csid, ..ChunkStream::default() });
                self.streams.len() - 1
            }
            None => return Err(Broken("too many chunk streams")),
        };
        let stream = &mut self.streams[index];
        let extended = match fields.first_chunk::<3>() {
            Some(&[a, b, c]) => u32::from_be_bytes([0, a, b, c]) == EXTENDED,
            None => stream.extended,
        };
        let used = basic + fields_len + if extended { 4 } else { 0 };
        if have < used {
            return Ok(None);
        }
        if let Some(&[a, b, c, kind]) = fields.get(3..).and_then(|f| f.first_chunk::<4>()) {
            (stream.len, stream.kind) = (u32::from_be_bytes([0, a, b, c]), kind);
            stream.started = true;
        }
        stream.extended = extended;
        if !stream.started {
            return Err(Broken("a chunk stream begins without a message length"));
        }
        if !stream.message.is_open() {
            if stream.len == 0 {
                // Nothing follows, so nothing would complete it; an empty message says nothing to a player either.
                return Ok(Some(used));
            }
            if !matches!(stream.kind, TYPE_AUDIO | TYPE_VIDEO) && stream.len > CONTROL_MAX {
                return Err(Broken("a command is too long"));
            }
            stream.body.clear();
            stream.message.begin(stream.kind, stream.len, self.verify);
        } else if format != 3 {
            return Err(Broken("a message begins inside another on its chunk stream"));
        }
        self.current = Some((index, self.chunk_size.min(stream.message.missing() as usize)));
        Ok(Some(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], cut: usize) -> Result<Vec<(u8, usize)>, Broken> {
        let mut reader = Reader::new(false);
        let mut seen = Vec::new();
        for piece in bytes.chunks(cut) {
            reader.input(piece, |message| {
                seen.push(match message {
                    Message::Media(m) => (m.kind, m.len as usize),
                    Message::Other(kind, body) => (kind, body.len()),
                });
                Ok::<_, Broken>(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn messages_come_out_whatever_the_cuts() {
        let mut wire = Vec::new();
        write(&mut wire, 3, 20, 0, 0, &[1; 300], 128);
        write(&mut wire, 2, 1, 0, 0, &4096u32.to_be_bytes(), 128);
        write(&mut wire, 6, 9, 1, 40, &[2; 9000], 4096);
        write(&mut wire, 6, 9, 1, 0x0100_0000, &[3; 9000], 4096);
        // Type 1 on a two-byte chunk stream id, after a type 0; then a type 3 that repeats it.
        wire.extend_from_slice(&[0, 9, 0, 0, 5, 0, 0, 2, 8, 1, 0, 0, 0, 0xaf, 1]);
        wire.extend_from_slice(&[0x40, 9, 0, 0, 5, 0, 0, 3, 8, 0xaf, 1, 2]);
        wire.extend_from_slice(&[0xc0, 9, 0xaf, 1, 2]);
        let all = [(20, 300), (1, 4), (9, 9000), (9, 9000), (8, 2), (8, 3), (8, 3)];
        for cut in (1..200).chain([1000, wire.len()]) {
            assert_eq!(read(&wire, cut).unwrap(), all, "cut {cut}");
        }
    }

    #[test]
    fn interleaved_chunk_streams() {
        let (mut video, mut audio) = (Vec::new(), Vec::new());
        write(&mut video, 6, 9, 1, 0, &[2; 200], 128);
        write(&mut audio, 4, 8, 1, 0, &[3; 50], 128);
        let cut = 12 + 128;
        let wire = [&video[..cut], &audio, &video[cut..]].concat();
        assert_eq!(read(&wire, 13).unwrap(), [(8, 50), (9, 200)]);
    }

    #[test]
    fn broken_streams_are_refused() {
        assert!(read(&[0xc6], 1).is_err());
        assert!(read(&[6, 0, 0, 0, 0xff, 0xff, 0xff, 20, 0, 0, 0, 0], 12).is_err());
    }
}
