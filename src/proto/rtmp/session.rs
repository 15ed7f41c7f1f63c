//! The session machine: handshake, messages, acknowledgements, pings, deadlines. What commands mean stands in
//! `commands`, what becomes of media in `media_messages`, the application's verbs in `decisions`.

use super::capabilities::PlayerCapabilities;
use super::event::{CloseReason, Event, Tally};
use super::status::{self, Level};
use crate::media::Mono;
use crate::wire::rtmp::chunk::{ChunkError, ChunkReader, Message};
use crate::wire::rtmp::control::{Control, UserControl};
use crate::wire::rtmp::handshake::{HandshakeError, ServerHandshake};
use crate::wire::rtmp::{CHUNK_SIZE_DEFAULT, type_id};
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::Duration;

/// Bytes kept while a publish or play waits for its decision. Clients wait for the answer before they send media;
/// some send metadata at once.
pub const HELD_BYTES_MAX: usize = 256 << 10;
/// Bytes of answers that may wait to be sent; the handshake's are 3 KiB, all later ones far less.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Room for events that a publisher's session keeps between calls.
const EVENTS_KEPT_MAX: usize = 64;

/// What a session is told about its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Chunk size that we announce and use, in bytes. 128 announces nothing.
    pub chunk_size_out: u32,
    /// Window after which we ask the peer to acknowledge, and after which we acknowledge unless it asks otherwise.
    pub window_ack_bytes: u32,
    /// Time from accept to connect.
    pub handshake_timeout_ms: u32,
    /// Time from connect to publish or play; also how long a peer that ended its stream may stay.
    pub request_timeout_ms: u32,
    /// Time between our pings.
    pub ping_interval_ms: u32,
    /// A peer from which nothing came for this long is gone.
    pub silence_timeout_ms: u32,
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            chunk_size_out: 65536,
            window_ack_bytes: 2_500_000,
            handshake_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
            ping_interval_ms: 30_000,
            silence_timeout_ms: 75_000,
        }
    }
}

/// What connect told; needed until play is accepted, or for a publisher to publish again.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) app: String,
    pub(super) client: String,
    pub(super) capabilities: PlayerCapabilities,
    /// How many times it has published since then.
    pub(super) publishes: u8,
    pub(super) publishes_from: Mono,
}

/// Where the conversation stands.
#[derive(Debug)]
pub(super) enum Phase {
    Handshake(Box<ServerHandshake>),
    /// Waiting for connect.
    Connect,
    /// Waiting for publish or play.
    Idle(Box<Connected>),
    DecidingPublish(Box<Connected>),
    DecidingPlay,
    Publishing(Box<Connected>),
    Playing,
    /// The peer ended its stream; it is expected to hang up. A publisher may publish again.
    Ended(Option<Box<Connected>>),
    Closed,
}

/// The server's side of one RTMP connection, without the connection.
///
/// After every `handle_…`, `accept_…` and `reject_…` drain [`poll_event`](Self::poll_event) and
/// [`take_output`](Self::take_output), and look at [`deadline`](Self::deadline). Events are bounded by the input of one
/// call: at most one for each two bytes.
#[derive(Debug)]
pub struct ServerSession {
    pub(super) config: SessionConfig,
    pub(super) phase: Phase,
    pub(super) reader: ChunkReader,
    pub(super) out: Vec<u8>,
    /// Input behind a publish or play that waits for its decision.
    held: Vec<u8>,
    events: VecDeque<Event>,
    last_input_at: Mono,
    pub(super) next_ping_at: Mono,
    pub(super) phase_ends_at: Mono,
    bytes_in: u64,
    acked_bytes: u64,
    ack_window_bytes: u32,
    announced_window_bytes: u32,
    dropped_messages: u64,
    pub(super) tally: Tally,
    detail: Option<Box<str>>,
    /// The peer connected with object encoding 3 and gets its replies in messages of type 17.
    pub(super) replies_in_amf3: bool,
    pub(super) reconnects: bool,
}

impl ServerSession {
    /// A session for a connection accepted at `now`. `random_seed` feeds the padding of the handshake.
    pub fn new(config: SessionConfig, now: Mono, random_seed: [u8; 32]) -> ServerSession {
        ServerSession {
            config,
            phase: Phase::Handshake(Box::new(ServerHandshake::new(random_seed))),
            reader: ChunkReader::new(),
            out: Vec::new(),
            held: Vec::new(),
            events: VecDeque::new(),
            last_input_at: now,
            next_ping_at: Mono::NEVER,
            phase_ends_at: now + ms(config.handshake_timeout_ms),
            bytes_in: 0,
            acked_bytes: 0,
            ack_window_bytes: config.window_ack_bytes,
            announced_window_bytes: config.window_ack_bytes,
            dropped_messages: 0,
            tally: Tally::default(),
            detail: None,
            replies_in_amf3: false,
            reconnects: false,
        }
    }

    /// Takes all of `bytes`, received at `now`.
    pub fn handle_input(&mut self, now: Mono, bytes: &[u8]) {
        if self.is_closed() {
            return;
        }
        self.last_input_at = now;
        self.bytes_in += bytes.len() as u64;
        if self.is_deciding() {
            self.hold(bytes);
            return;
        }
        self.parse(now, bytes);
        self.acknowledge();
        if self.out.len() > OUTPUT_BYTES_MAX {
            self.out = Vec::new(); // the peer does not read; nothing more will reach it
            self.close(CloseReason::OutputOverflow);
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.is_closed() {
            return;
        }
        if now >= self.phase_ends_at {
            self.close(match self.phase {
                Phase::Handshake(_) | Phase::Connect => CloseReason::HandshakeTimeout,
                // Who has published may do so again; who has played may not, and is done.
                Phase::Ended(None) => CloseReason::ClientDone,
                _ => CloseReason::RequestTimeout,
            });
        } else if now >= self.silence_ends_at() {
            self.close(CloseReason::Silent);
        } else if now >= self.next_ping_at {
            self.next_ping_at = now + ms(self.config.ping_interval_ms);
            Control::User(UserControl::PingRequest(stamp_ms(now))).write(&mut self.out);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; [`Mono::NEVER`] once closed.
    pub fn deadline(&self) -> Mono {
        if self.is_closed() {
            return Mono::NEVER;
        }
        self.phase_ends_at.min(self.next_ping_at).min(self.silence_ends_at())
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && (!self.is_publishing() || self.events.capacity() > EVENTS_KEPT_MAX) {
            self.events = VecDeque::new();
        }
        event
    }

    /// Appends the bytes to be sent to `out`.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.out);
        if !self.is_publishing() {
            self.out = Vec::new();
        }
    }

    /// Whether there are bytes to be sent.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether a publish or play waits for its decision; reading on only fills the bounded buffer behind it.
    pub fn is_deciding(&self) -> bool {
        matches!(self.phase, Phase::DecidingPublish(_) | Phase::DecidingPlay)
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Bytes received so far, handshake included.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Message payload bytes copied so far: once each.
    pub fn copied_bytes(&self) -> u64 {
        self.reader.copied_bytes()
    }

    /// Messages that led to nothing: without body, of unknown type, or media of a peer that does not publish.
    pub fn dropped_messages(&self) -> u64 {
        self.dropped_messages
    }

    /// Takes what is to be counted.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// What exactly was wrong, if a closed session knows more than its reason. Short, but a name in it is as the peer sent
    /// it: for a log that escapes.
    pub fn close_detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Heap bytes held, frames in undrained events not counted.
    pub fn heap_bytes(&self) -> usize {
        let phase = match &self.phase {
            Phase::Handshake(handshake) => size_of::<ServerHandshake>() + handshake.heap_bytes(),
            Phase::Idle(connected)
            | Phase::DecidingPublish(connected)
            | Phase::Publishing(connected)
            | Phase::Ended(Some(connected)) => {
                size_of::<Connected>()
                    + connected.app.capacity()
                    + connected.client.capacity()
                    + connected.capabilities.heap_bytes()
            }
            Phase::Connect | Phase::DecidingPlay | Phase::Playing | Phase::Ended(None) | Phase::Closed => 0,
        };
        let detail = self.detail.as_ref().map_or(0, |detail| detail.len());
        let events = self.events.capacity() * size_of::<Event>();
        phase + detail + events + self.reader.heap_bytes() + self.out.capacity() + self.held.capacity()
    }

    pub(super) fn is_publishing(&self) -> bool {
        matches!(self.phase, Phase::Publishing(_))
    }

    pub(super) fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn count_dropped(&mut self) {
        self.dropped_messages += 1;
    }

    /// Appends `onStatus` on the stream.
    pub(super) fn status(&mut self, level: Level, code: &str, description: &str) {
        status::on_status(level, code, description, self.config.chunk_size_out, &mut self.out);
    }

    /// Ends the session and frees all but its pending output.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.phase = Phase::Closed;
            self.reader.clear();
            self.held = Vec::new();
            self.events.push_back(Event::Closed(reason));
        }
    }

    /// Ends the session and keeps what was wrong for the log.
    pub(super) fn close_with(&mut self, reason: CloseReason, detail: impl Display) {
        if !self.is_closed() {
            self.detail = Some(detail.to_string().into());
            self.close(reason);
        }
    }

    fn silence_ends_at(&self) -> Mono {
        self.last_input_at + ms(self.config.silence_timeout_ms)
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.held.len() + bytes.len() > HELD_BYTES_MAX {
            self.close(CloseReason::InputOverflow);
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    /// Parses what was held while a decision was due.
    pub(super) fn resume(&mut self, now: Mono) {
        let held = std::mem::take(&mut self.held);
        self.parse(now, &held);
        self.acknowledge();
    }

    fn parse(&mut self, now: Mono, mut bytes: &[u8]) {
        if let Phase::Handshake(handshake) = &mut self.phase {
            match handshake.read(stamp_ms(now), bytes, &mut self.out) {
                Ok((_, false)) => return,
                Ok((used, true)) => {
                    bytes = &bytes[used..];
                    self.phase = Phase::Connect;
                }
                Err(error) => {
                    let reason = match error {
                        HandshakeError::Encrypted(_) => CloseReason::RtmpeUnsupported,
                        HandshakeError::Version(_) => CloseReason::NotRtmp,
                    };
                    return self.close_with(reason, error);
                }
            }
        }
        loop {
            if self.is_deciding() {
                return self.hold(bytes);
            }
            if self.is_closed() {
                return;
            }
            match self.reader.read(now.as_micros(), bytes) {
                Ok((used, Some(message))) => {
                    bytes = &bytes[used..];
                    self.message(now, message);
                }
                Ok((_, None)) => return,
                Err(error) => return self.close_with(chunk_reason(&error), error),
            }
        }
    }

    fn message(&mut self, now: Mono, message: Message) {
        match message.type_id {
            type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF0 | type_id::DATA_AMF3 => {
                self.media(now, message)
            }
            type_id::AGGREGATE => self.aggregate(now, message),
            type_id::COMMAND_AMF0 => self.command(now, &message.payload),
            type_id::COMMAND_AMF3 => match message.payload.split_first() {
                Some((0, values)) => self.command(now, values),
                _ => self.close_with(CloseReason::MessageSyntax, "AMF3 command without its leading zero"),
            },
            type_id => match Control::decode(type_id, &message.payload) {
                Ok(Some(control)) => self.control(control),
                Ok(None) => self.count_dropped(),
                Err(error) => self.close_with(CloseReason::MessageSyntax, error),
            },
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::WindowAckSize(bytes) if bytes > 0 => self.ack_window_bytes = bytes,
            Control::SetPeerBandwidth { window_bytes, .. } if window_bytes != self.announced_window_bytes => {
                self.announced_window_bytes = window_bytes;
                Control::WindowAckSize(window_bytes).write(&mut self.out);
            }
            Control::User(UserControl::PingRequest(stamp)) => {
                Control::User(UserControl::PingResponse(stamp)).write(&mut self.out);
            }
            // chunk size and abort are the reader's; acknowledgements, buffer lengths and pongs only show life
            _ => {}
        }
    }

    /// Acknowledges once a window has come, at most once a call.
    fn acknowledge(&mut self) {
        let due = self.bytes_in - self.acked_bytes >= u64::from(self.ack_window_bytes);
        if due && !matches!(self.phase, Phase::Handshake(_) | Phase::Closed) {
            self.acked_bytes = self.bytes_in;
            Control::Ack(self.bytes_in as u32).write(&mut self.out); // modulo 2^32, as the field is defined
        }
    }

    /// Before SetChunkSize is announced in the answer to connect, nothing longer than 128 bytes is written.
    pub(super) fn announce(&mut self) {
        let bytes = self.config.window_ack_bytes;
        Control::WindowAckSize(bytes).write(&mut self.out);
        Control::SetPeerBandwidth { window_bytes: bytes, limit: 2 }.write(&mut self.out);
        if self.config.chunk_size_out != CHUNK_SIZE_DEFAULT {
            Control::SetChunkSize(self.config.chunk_size_out).write(&mut self.out);
        }
    }
}

fn chunk_reason(error: &ChunkError) -> CloseReason {
    match error {
        ChunkError::NothingToInherit { .. } | ChunkError::Interrupted { .. } => CloseReason::ChunkSyntax,
        ChunkError::Control(_) => CloseReason::MessageSyntax,
        ChunkError::TooManyChunkStreams => CloseReason::TooManyChunkStreams,
        ChunkError::MessageTooLong { .. } => CloseReason::MessageTooLong,
        ChunkError::TooManyPartial | ChunkError::TooMuchOutstanding => CloseReason::TooMuchOutstanding,
    }
}

pub(super) fn ms(milliseconds: u32) -> Duration {
    Duration::from_millis(u64::from(milliseconds))
}

/// A time for fields of the protocol: milliseconds modulo 2^32.
fn stamp_ms(now: Mono) -> u32 {
    (now.as_micros() / 1000) as u32
}

#[cfg(test)]
mod tests;
