//! What a session tells the application, what the application decides, and why a session ends.

use super::capabilities::PlayerCapabilities;
use crate::media::Frame;
use std::fmt;

/// Something the application must know. [`Event::Publish`] and [`Event::Play`] wait for a decision.
#[derive(Debug)]
pub enum Event {
    /// The peer wants to publish: answer with `accept_publish` or `reject_publish`.
    Publish(PublishRequest),
    /// The peer wants to play: answer with `accept_play` or `reject_play`.
    Play(PlayRequest),
    /// A frame of the accepted publisher, its time as the publisher sent it.
    Frame(Frame),
    /// The publisher has ended its stream in an orderly way. Frames behind it are dropped.
    Unpublish(StopCause),
    /// The player has ended its stream.
    PlayStopped(StopCause),
    /// The player pauses or goes on; the status is already answered.
    Pause {
        /// Whether media must stop.
        paused: bool,
    },
    /// The player wants audio, or no more.
    ReceiveAudio(bool),
    /// The player wants video, or no more.
    ReceiveVideo(bool),
    /// The session is over: send what output is pending, then close. The last event.
    Closed(CloseReason),
}

/// A publisher's wish. The name of the stream is (`app`, `stream`).
#[derive(Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// All path components but the last, joined by `/`, valid and not empty.
    pub app: String,
    /// The last path component, valid and not empty.
    pub stream: String,
    /// The parameters behind `?` of app and name, joined by `&`, as sent. May hold tokens: never log it.
    pub query: String,
    /// `flashVer`: what the client calls itself, at most 64 characters, none of them control; may be empty.
    pub client: String,
}

/// A player's wish. The name of the stream is (`app`, `stream`).
#[derive(Clone, PartialEq, Eq)]
pub struct PlayRequest {
    /// As in [`PublishRequest`].
    pub app: String,
    /// As in [`PublishRequest`].
    pub stream: String,
    /// As in [`PublishRequest`].
    pub query: String,
    /// As in [`PublishRequest`].
    pub client: String,
    /// Where to start in milliseconds; `None` is live, which clients say by any negative number or by nothing.
    pub start_ms: Option<u32>,
    /// What the player can decode.
    pub capabilities: PlayerCapabilities,
}

/// Without the query, which may hold tokens.
impl fmt::Debug for PublishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PublishRequest { app, stream, client, query: _ } = self;
        write!(f, "PublishRequest({app}/{stream} by {client:?})")
    }
}

/// Without the query, which may hold tokens.
impl fmt::Debug for PlayRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlayRequest { app, stream, client, start_ms, capabilities, query: _ } = self;
        write!(f, "PlayRequest({app}/{stream} by {client:?}, {start_ms:?}, {capabilities:?})")
    }
}

/// What a session did since it was last asked that nobody else can count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands with bytes at their end that cannot be read; what stands before them holds.
    pub commands_mended: u64,
    /// Bytes of messages that were copied out of aggregates, a second time.
    pub split_bytes: u64,
}

/// How a peer ended its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// `deleteStream`.
    DeleteStream,
    /// `closeStream`.
    CloseStream,
    /// `FCUnpublish`.
    FcUnpublish,
}

/// Why a publisher is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishRefusal {
    /// Somebody publishes under the name. (That it is not allowed the session sees, and says itself.)
    NameTaken,
    /// Wrong or missing key.
    Unauthorized,
    /// A limit of ours: which, for people.
    Unavailable(&'static str),
}

/// Why a player is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlayRefusal {
    /// It asked for what there is not behind the stream's name; what there is, for people.
    Option(String),
    /// Nobody publishes the stream.
    StreamNotFound,
    /// Wrong or missing token.
    Unauthorized,
    /// The player says that it cannot decode the stream.
    UnsupportedCodec,
    /// A limit of ours, or shutting down.
    Busy,
}

/// Whose fault the end of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke the protocol, or speaks another one.
    Protocol,
    /// The peer hit a limit.
    Limit,
    /// The application said no.
    Refused,
    /// Nobody's: an orderly end.
    Nobody,
}

/// Why a session ended; a bounded set, used as a metrics label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The first byte is not RTMP's.
    NotRtmp,
    /// The peer wants RTMPE.
    RtmpeUnsupported,
    /// The chunk stream cannot be read.
    ChunkSyntax,
    /// A command, control or aggregate message cannot be read.
    MessageSyntax,
    /// A command other than connect came first.
    CommandBeforeConnect,
    /// App or stream name is empty, too long or has forbidden characters.
    InvalidName,
    /// Handshake and connect took too long.
    HandshakeTimeout,
    /// Neither publish nor play came in time.
    RequestTimeout,
    /// Nothing came for long, not even the answer to a ping.
    Silent,
    /// Too many chunk streams.
    TooManyChunkStreams,
    /// A message above the size limit.
    MessageTooLong,
    /// Too many unfinished messages, or too many bytes in them.
    TooMuchOutstanding,
    /// Too many bytes sent before publish or play was answered.
    InputOverflow,
    /// The peer asks faster than it reads the answers.
    OutputOverflow,
    /// [`PublishRefusal::NameTaken`].
    PublishNameTaken,
    /// [`PublishRefusal::Unauthorized`].
    PublishUnauthorized,
    /// [`PublishRefusal::Unavailable`].
    PublishUnavailable,
    /// [`PlayRefusal::StreamNotFound`].
    PlayNotFound,
    /// [`PlayRefusal::Unauthorized`].
    PlayUnauthorized,
    /// [`PlayRefusal::UnsupportedCodec`].
    PlayUnsupportedCodec,
    /// [`PlayRefusal::Busy`].
    PlayBusy,
    /// [`PlayRefusal::Option`].
    PlayOption,
    /// The peer ended its stream and did not hang up by itself.
    ClientDone,
}

impl CloseReason {
    /// All reasons, for tables and metrics.
    pub const ALL: [CloseReason; 23] = [
        CloseReason::NotRtmp,
        CloseReason::RtmpeUnsupported,
        CloseReason::ChunkSyntax,
        CloseReason::MessageSyntax,
        CloseReason::CommandBeforeConnect,
        CloseReason::InvalidName,
        CloseReason::HandshakeTimeout,
        CloseReason::RequestTimeout,
        CloseReason::Silent,
        CloseReason::TooManyChunkStreams,
        CloseReason::MessageTooLong,
        CloseReason::TooMuchOutstanding,
        CloseReason::InputOverflow,
        CloseReason::OutputOverflow,
        CloseReason::PublishNameTaken,
        CloseReason::PublishUnauthorized,
        CloseReason::PublishUnavailable,
        CloseReason::PlayNotFound,
        CloseReason::PlayUnauthorized,
        CloseReason::PlayUnsupportedCodec,
        CloseReason::PlayBusy,
        CloseReason::PlayOption,
        CloseReason::ClientDone,
    ];

    /// The label: snake_case, stable.
    pub fn as_str(self) -> &'static str {
        self.label_and_fault().0
    }

    /// Whose fault it is.
    pub fn fault(self) -> Fault {
        self.label_and_fault().1
    }

    fn label_and_fault(self) -> (&'static str, Fault) {
        use Fault::*;
        match self {
            CloseReason::NotRtmp => ("not_rtmp", Protocol),
            CloseReason::RtmpeUnsupported => ("rtmpe_unsupported", Protocol),
            CloseReason::ChunkSyntax => ("chunk_syntax", Protocol),
            CloseReason::MessageSyntax => ("message_syntax", Protocol),
            CloseReason::CommandBeforeConnect => ("command_before_connect", Protocol),
            CloseReason::InvalidName => ("invalid_name", Protocol),
            CloseReason::HandshakeTimeout => ("handshake_timeout", Limit),
            CloseReason::RequestTimeout => ("request_timeout", Limit),
            CloseReason::Silent => ("silent", Limit),
            CloseReason::TooManyChunkStreams => ("too_many_chunk_streams", Limit),
            CloseReason::MessageTooLong => ("message_too_long", Limit),
            CloseReason::TooMuchOutstanding => ("too_much_outstanding", Limit),
            CloseReason::InputOverflow => ("input_overflow", Limit),
            CloseReason::OutputOverflow => ("output_overflow", Limit),
            CloseReason::PublishNameTaken => ("publish_name_taken", Refused),
            CloseReason::PublishUnauthorized => ("publish_unauthorized", Refused),
            CloseReason::PublishUnavailable => ("publish_unavailable", Refused),
            CloseReason::PlayNotFound => ("play_not_found", Refused),
            CloseReason::PlayUnauthorized => ("play_unauthorized", Refused),
            CloseReason::PlayUnsupportedCodec => ("play_unsupported_codec", Refused),
            CloseReason::PlayBusy => ("play_busy", Refused),
            CloseReason::PlayOption => ("play_option", Protocol),
            CloseReason::ClientDone => ("client_done", Nobody),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_do_not_reach_the_log() {
        let [app, stream, query, client] = ["live", "cam", "token=s3cret", "OBS"].map(str::to_owned);
        let publish = PublishRequest { app, stream, query, client };
        let play = PlayRequest {
            app: publish.app.clone(),
            stream: publish.stream.clone(),
            query: publish.query.clone(),
            client: publish.client.clone(),
            start_ms: None,
            capabilities: PlayerCapabilities::default(),
        };
        for text in [format!("{:?}", Event::Publish(publish)), format!("{:?}", Event::Play(play))] {
            assert!(text.contains("live/cam") && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn labels_are_distinct_and_snake_case() {
        let mut labels: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), CloseReason::ALL.len());
    }
}
