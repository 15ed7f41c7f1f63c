//! RTMP players: may they, which log, and the status messages around it.

use super::wanted;
use crate::edge::auth::Gate;
use crate::fanout::directory::StreamName;
use crate::fanout::log::{Format, LogKey};
use crate::fanout::packager;
use crate::media::config_set::ConfigSet;
use crate::media::{Codec, Kind, Mono};
use crate::proto::rtmp::{PlayRefusal, PlayRequest, PlayerCapabilities, ServerSession, status};
use crate::shard::{Io, PlayRefused, Preface, Request};
use bytes::Bytes;

/// Announced by the session; what logs are written with.
const CHUNK_SIZE: u32 = packager::rtmp::CHUNK_SIZE as u32;

/// What receiveAudio and receiveVideo have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receive {
    /// Audio is wanted.
    pub audio: bool,
    /// Video is wanted.
    pub video: bool,
}

impl Receive {
    /// Where every player begins.
    pub const ALL: Receive = Receive { audio: true, video: true };

    fn anything(self) -> bool {
        self.audio || self.video
    }
}

/// A player that was let in.
#[derive(Debug)]
pub struct Player {
    /// The stream.
    pub name: StreamName,
    key: LogKey,
    receive: Receive,
    /// Kept until the stream's codecs are known.
    capabilities: Option<Box<PlayerCapabilities>>,
}

impl Player {
    /// A play request: asks the core for the log, or refuses at once.
    pub fn play(
        request: PlayRequest,
        receive: Receive,
        gate: &Gate,
        session: &mut ServerSession,
        now: Mono,
        io: &mut Io,
    ) -> Option<Player> {
        if !gate.may_play(&request.app, &request.query) {
            session.reject_play(now, PlayRefusal::Unauthorized);
            return None;
        }
        let name = StreamName::new(&request.app, &request.stream);
        let (mut key, first) = wanted(Format::Rtmp, &request.app, &request.query, gate);
        if receive.anything() {
            (key.variant.audio, key.variant.video) = (receive.audio, receive.video);
        }
        io.ask(Request::Play { name: name.clone(), key, first: first.filter(|_| receive == Receive::ALL) });
        if !receive.anything() {
            io.ask(Request::Pause(true));
        }
        let capabilities = request.capabilities.is_enhanced().then(|| Box::new(request.capabilities));
        Some(Player { name, key, receive, capabilities })
    }

    /// Bytes held on the heap, the shared name not counted.
    pub fn heap_bytes(&self) -> usize {
        self.capabilities.as_ref().map_or(0, |c| size_of::<PlayerCapabilities>() + c.heap_bytes())
    }

    /// The first byte may go: accepts, unless the player said that it cannot decode what the stream has. A player
    /// that says nothing gets everything.
    pub fn playing(&mut self, config: Option<&ConfigSet>, session: &mut ServerSession, now: Mono) {
        let unsupported = self.capabilities.take().is_some_and(|capabilities| {
            let codecs = config.into_iter().flat_map(ConfigSet::default_codecs);
            codecs.filter(|(_, codec)| !is_legacy(*codec)).any(|(kind, codec)| match (kind, codec.fourcc()) {
                (Kind::Video, Some(code)) => !capabilities.accepts_video(code),
                (Kind::Audio, Some(code)) => !capabilities.accepts_audio(code),
                _ => false,
            })
        });
        if unsupported {
            session.reject_play(now, PlayRefusal::UnsupportedCodec);
        } else {
            session.accept_play(now);
        }
    }

    /// receiveAudio and receiveVideo: another variant from its next join point; nothing at all is a pause.
    pub fn receive(&mut self, receive: Receive, io: &mut Io) {
        let was = std::mem::replace(&mut self.receive, receive);
        if !receive.anything() {
            return io.ask(Request::Pause(true));
        }
        (self.key.variant.audio, self.key.variant.video) = (receive.audio, receive.video);
        io.ask(Request::Switch(self.key));
        if !was.anything() {
            io.ask(Request::Pause(false));
        }
    }
}

/// Codecs that every RTMP player had before Enhanced RTMP; its lists say nothing about them.
fn is_legacy(codec: Codec) -> bool {
    matches!(codec, Codec::H264 | Codec::Aac | Codec::Mp3)
}

/// There is nothing to play.
pub fn refused(why: PlayRefused, session: &mut ServerSession, now: Mono) {
    let refusal = match why {
        PlayRefused::NotFound => PlayRefusal::StreamNotFound,
        PlayRefused::TooManyVariants => PlayRefusal::Busy,
    };
    session.reject_play(now, refusal);
}

/// Status (at the start), metadata and headers in front of a join point.
pub fn preface(preface: &Preface<'_>) -> Bytes {
    let mut out = Vec::new();
    if preface.start {
        status::play_started(preface.name.stream(), CHUNK_SIZE, &mut out);
    }
    let (join, variant) = (preface.join, preface.key.variant);
    packager::configuration(Format::Rtmp, &join.config, variant, join.dts_ms, &mut out);
    out.into()
}

/// End of stream.
pub fn goodbye(name: &StreamName) -> Bytes {
    let mut out = Vec::new();
    status::play_ended(name.stream(), CHUNK_SIZE, &mut out);
    out.into()
}
