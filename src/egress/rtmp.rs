//! RTMP players: may they, which log, and the status messages around it.

use super::wanted;
use crate::edge::admission::Visit;
use crate::edge::auth::Gate;
use crate::fanout::directory::StreamName;
use crate::fanout::log::{Format, LogKey};
use crate::fanout::packager;
use crate::media::config_set::ConfigSet;
use crate::media::{Codec, Kind, Mono};
use crate::observe::DisconnectReason;
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
    /// The player's own pause, which what it wants to receive does not end.
    paused: bool,
    /// Kept until the stream's codecs are known.
    capabilities: Option<Box<PlayerCapabilities>>,
}

impl Player {
    /// A play request: asks the core for the log.
    ///
    /// # Errors
    /// It is refused at once; the connection ends with this reason.
    pub fn play(
        request: PlayRequest,
        receive: Receive,
        gate: &Gate,
        visit: &mut Visit,
        session: &mut ServerSession,
        now: Mono,
        io: &mut Io,
    ) -> Result<Player, DisconnectReason> {
        if !gate.may_play(&request.app, &request.query) {
            session.reject_play(now, PlayRefusal::Unauthorized);
            return Err(DisconnectReason::Unauthorized);
        }
        let (mut key, first) = match wanted(Format::Rtmp, &request.app, &request.query, gate) {
            Ok(wanted) => wanted,
            Err(told) => {
                session.reject_play(now, PlayRefusal::Option(told));
                return Err(DisconnectReason::ProtocolError);
            }
        };
        if let Err(reason) = visit.play() {
            session.reject_play(now, PlayRefusal::Busy);
            return Err(reason);
        }
        let name = StreamName::new(&request.app, &request.stream);
        if receive.anything() {
            (key.variant.audio, key.variant.video) = (receive.audio, receive.video);
        }
        io.ask(Request::Play { name: name.clone(), key, first: first.filter(|_| receive == Receive::ALL) });
        if !receive.anything() {
            io.ask(Request::Pause(true));
        }
        let capabilities = request.capabilities.is_enhanced().then(|| Box::new(request.capabilities));
        Ok(Player { name, key, receive, paused: false, capabilities })
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
        let was = self.is_still();
        self.receive = receive;
        if receive.anything() {
            (self.key.variant.audio, self.key.variant.video) = (receive.audio, receive.video);
            io.ask(Request::Switch(self.key));
        }
        self.tell(was, io);
    }

    /// pause: holds whatever is wanted.
    pub fn pause(&mut self, paused: bool, io: &mut Io) {
        let was = self.is_still();
        self.paused = paused;
        self.tell(was, io);
    }

    /// Whether nothing is to be sent.
    fn is_still(&self) -> bool {
        self.paused || !self.receive.anything()
    }

    fn tell(&self, was_still: bool, io: &mut Io) {
        if self.is_still() != was_still {
            io.ask(Request::Pause(!was_still));
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
        PlayRefused::TooManyVariants | PlayRefused::TooManyWait | PlayRefused::CoreFull => PlayRefusal::Busy,
        PlayRefused::Codecs(_) => PlayRefusal::UnsupportedCodec,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::log::Variant;

    #[test]
    fn a_pause_and_a_wish_for_nothing_do_not_end_each_other() {
        const NONE: [bool; 0] = [];
        const NOTHING: Receive = Receive { audio: false, video: false };
        let key = LogKey { format: Format::Rtmp, variant: Variant::FULL };
        let mut player = Player {
            name: StreamName::new("live", "a"),
            key,
            receive: Receive::ALL,
            paused: false,
            capabilities: None,
        };
        let mut asked = |act: &dyn Fn(&mut Player, &mut Io)| {
            let mut io = Io::default();
            act(&mut player, &mut io);
            let pause = |r: &Request| if let Request::Pause(on) = r { Some(*on) } else { None };
            io.requests.iter().filter_map(pause).collect::<Vec<_>>()
        };
        assert_eq!(asked(&|p, io| p.receive(NOTHING, io)), [true]);
        assert_eq!(asked(&|p, io| p.pause(false, io)), NONE, "still nothing is wanted");
        assert_eq!(asked(&|p, io| p.pause(true, io)), NONE);
        assert_eq!(asked(&|p, io| p.receive(Receive::ALL, io)), NONE, "still paused");
        assert_eq!(asked(&|p, io| p.pause(false, io)), [false]);
    }
}
