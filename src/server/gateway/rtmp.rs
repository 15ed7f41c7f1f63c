//! RTMP: what a session says becomes requests to the core, what the core answers becomes the session's.

use super::{Gateway, Guest};
use crate::egress;
use crate::egress::rtmp::{Player, Receive};
use crate::fanout::directory::{Refused, StreamName};
use crate::ingest;
use crate::media::Mono;
use crate::observe::DisconnectReason;
use crate::observe::log::shown;
use crate::proto::rtmp::{
    CloseReason, Event, Fault, PlayRequest, PublishRequest, ServerSession, SessionConfig, Tally,
};
use crate::shard::{Answer, Counted, Io, PlayRefused, Request};
use std::time::Duration;

/// By how much silence may last longer than a stall.
const STALL_MARGIN: Duration = Duration::from_secs(10);

/// One RTMP connection.
#[derive(Debug)]
pub(super) struct Rtmp {
    pub(super) session: ServerSession,
    pub(super) publishing: Option<StreamName>,
    /// It has begun to publish before: what it begins from now on, over and over perhaps, is not worth a line.
    pub(super) published: bool,
    /// What the publisher says it is, until its line is written.
    client: Option<Box<str>>,
    player: Option<Player>,
    /// What the player wants to receive; it may say so before play.
    receive: Receive,
    /// Why it was turned away, where the session knows less.
    refused: Option<DisconnectReason>,
}

impl Rtmp {
    /// A connection that has `handshake` for handshake and connect, and as long again to publish or play. Who takes
    /// nothing hears no ping either, and is closed behind `stall`, for that.
    pub(super) fn new(now: Mono, handshake: Duration, stall: Duration) -> Box<Rtmp> {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let config = SessionConfig::default();
        let config = SessionConfig {
            handshake_timeout_ms: ms(handshake),
            request_timeout_ms: ms(handshake),
            silence_timeout_ms: config.silence_timeout_ms.max(ms(stall + STALL_MARGIN)),
            ..config
        };
        Box::new(Rtmp {
            session: ServerSession::new(config, now, random_seed()),
            publishing: None,
            published: false,
            client: None,
            player: None,
            receive: Receive::ALL,
            refused: None,
        })
    }

    /// Bytes on the heap, its own included.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Rtmp>() + self.session.heap_bytes() + self.player.as_ref().map_or(0, Player::heap_bytes)
    }

    /// Hears the session out: events to requests, answers to bytes.
    pub(super) fn hear(&mut self, gateway: &Gateway, guest: &mut Guest, now: Mono, io: &mut Io) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Publish(request) => self.publish(&request, gateway, guest, now, io),
                Event::Play(request) => self.play(request, gateway, guest, now, io),
                Event::Frame(frame) => io.ask(Request::Frame(frame)),
                Event::Unpublish(cause) => {
                    tracing::debug!(conn = guest.id, ?cause, "unpublish");
                    self.publishing = None;
                    guest.visit.idle();
                    io.ask(Request::Unpublish);
                }
                Event::PlayStopped(_) => {
                    self.player = None;
                    guest.visit.idle();
                    io.ask(Request::StopPlaying);
                }
                Event::Pause { paused } => {
                    if let Some(player) = &mut self.player {
                        player.pause(paused, io);
                    }
                }
                Event::ReceiveAudio(on) => {
                    self.receive.audio = on;
                    self.hear_receive(io);
                }
                Event::ReceiveVideo(on) => {
                    self.receive.video = on;
                    self.hear_receive(io);
                }
                Event::Closed(reason) => self.closed(reason, gateway, guest, now, io),
            }
        }
        let Tally { commands_mended, split_bytes } = self.session.take_tally();
        for (what, count) in [(Counted::CommandsMended, commands_mended), (Counted::SplitBytes, split_bytes)]
        {
            if count > 0 {
                io.ask(Request::Count(what, count));
            }
        }
        self.session.take_output(&mut io.out);
    }

    fn publish(
        &mut self,
        request: &PublishRequest,
        gateway: &Gateway,
        guest: &mut Guest,
        now: Mono,
        io: &mut Io,
    ) {
        let (gate, directory) = (&gateway.surroundings.gate, &gateway.shared.directory);
        let (asked, client) = (format!("{}/{}", request.app, request.stream), shown(&request.client));
        let (visit, session) = (&mut guest.visit, &mut self.session);
        match ingest::rtmp::publish(request, gate, directory, visit, session, now, io) {
            Ok(name) => {
                self.publishing = Some(name);
                tracing::debug!(conn = guest.id, peer = %guest.address, stream = &*shown(&asked), client = &*client, "publish asked for");
                self.client = (!self.published).then(|| client.into());
            }
            Err(reason) => {
                self.refused = Some(reason);
                gateway.note(now, guest, "publish", &shown(&asked), reason);
            }
        }
    }

    fn play(&mut self, request: PlayRequest, gateway: &Gateway, guest: &mut Guest, now: Mono, io: &mut Io) {
        let asked = format!("{}/{}", request.app, request.stream);
        let (gate, visit, session) = (&gateway.surroundings.gate, &mut guest.visit, &mut self.session);
        match Player::play(request, self.receive, gate, visit, session, now, io) {
            Ok(player) => {
                self.player = Some(player);
                tracing::debug!(conn = guest.id, peer = %guest.address, stream = &*shown(&asked), "play");
            }
            Err(reason) => {
                self.refused = Some(reason);
                gateway.note(now, guest, "play", &shown(&asked), reason);
            }
        }
    }

    fn hear_receive(&mut self, io: &mut Io) {
        if let Some(player) = &mut self.player {
            player.receive(self.receive, io);
        }
    }

    fn closed(&self, reason: CloseReason, gateway: &Gateway, guest: &Guest, now: Mono, io: &mut Io) {
        let detail = self.session.close_detail().unwrap_or_default();
        let (conn, address, failed) = (guest.id, guest.address, reason.fault() != Fault::Nobody);
        // Anyone can cause any number of strangers' errors; refused keys and names were logged before.
        let line = match self.publishing.is_some() && failed {
            true => gateway.surroundings.limiters.broken.ask(now.since(Mono::ZERO)),
            false => None,
        };
        if let Some(suppressed) = line {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::warn!(conn, peer = %address, reason = reason.as_str(), detail, suppressed, "publisher's session closed");
        } else {
            tracing::debug!(conn, peer = %address, reason = reason.as_str(), detail, "session closed");
        }
        io.ask(Request::Close(self.refused.unwrap_or_else(|| disconnect_reason(reason))));
    }

    /// The core's answer to what was asked.
    pub(super) fn answer(
        &mut self,
        gateway: &Gateway,
        guest: &mut Guest,
        now: Mono,
        answer: Answer,
        io: &mut Io,
    ) {
        match answer {
            Answer::Publishing => {
                let client = self.client.take();
                if let Some(name) = self.publishing.as_ref().filter(|_| !self.published) {
                    self.published = true;
                    let name = name.to_string();
                    tracing::info!(conn = guest.id, peer = %guest.address, stream = &*shown(&name), client, "publish");
                }
                self.session.accept_publish(now);
            }
            Answer::PublishRefused(why) => {
                let name = self.publishing.take().map(|name| name.to_string()).unwrap_or_default();
                let reason = match why {
                    Refused::NameTaken => DisconnectReason::NameTaken,
                    Refused::TooManyStreams => DisconnectReason::Limit,
                };
                gateway.note(now, guest, "publish", &shown(&name), reason);
                ingest::rtmp::refused(why, &mut self.session, now);
            }
            Answer::Playing => {
                if let Some(player) = &mut self.player {
                    let found = gateway.shared.directory.find(&player.name);
                    let config = found.and_then(|(_, _, stats)| stats.config());
                    player.playing(config.as_deref(), &mut self.session, now);
                }
            }
            Answer::PlayRefused(why) => {
                if why == PlayRefused::CoreFull {
                    let name = self.player.as_ref().map(|player| player.name.to_string()).unwrap_or_default();
                    self.refused = Some(DisconnectReason::Budget);
                    gateway.note(now, guest, "play", &shown(&name), DisconnectReason::Budget);
                }
                egress::rtmp::refused(why, &mut self.session, now);
            }
            Answer::Deposed(_) => {}
        }
        self.hear(gateway, guest, now, io);
    }
}

fn disconnect_reason(reason: CloseReason) -> DisconnectReason {
    use CloseReason as R;
    match reason {
        R::HandshakeTimeout | R::RequestTimeout => DisconnectReason::HandshakeTimeout,
        R::Silent => DisconnectReason::IdleTimeout,
        R::PublishNameTaken => DisconnectReason::NameTaken,
        R::PublishUnauthorized | R::PlayUnauthorized => DisconnectReason::Unauthorized,
        R::PlayNotFound => DisconnectReason::NotFound,
        R::InvalidName => DisconnectReason::InvalidName,
        R::PlayUnsupportedCodec => DisconnectReason::UnsupportedCodec,
        R::ClientDone => DisconnectReason::ClientClosed,
        other => match other.fault() {
            Fault::Protocol => DisconnectReason::ProtocolError,
            Fault::Limit => DisconnectReason::InputLimit,
            // What is left are the refusals of a full node.
            Fault::Refused => DisconnectReason::Limit,
            Fault::Nobody => DisconnectReason::ClientClosed,
        },
    }
}

/// Bytes that a peer cannot guess, for the handshake.
fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    // 32 bytes never come short once the kernel's pool is filled, which it is long before a network is up.
    let _len = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator must see from the counter alone whether the node is full or a peer is strange.
    #[test]
    fn reasons_are_told_apart() {
        use CloseReason as R;
        use DisconnectReason as D;
        for reason in R::ALL {
            let expected = match reason {
                R::TooManyChunkStreams
                | R::MessageTooLong
                | R::TooMuchOutstanding
                | R::InputOverflow
                | R::OutputOverflow => D::InputLimit,
                R::PublishUnavailable | R::PlayBusy => D::Limit,
                R::InvalidName => D::InvalidName,
                R::HandshakeTimeout | R::RequestTimeout => D::HandshakeTimeout,
                R::NotRtmp
                | R::RtmpeUnsupported
                | R::ChunkSyntax
                | R::MessageSyntax
                | R::CommandBeforeConnect
                | R::PlayOption => D::ProtocolError,
                R::PublishNameTaken => D::NameTaken,
                R::PublishUnauthorized | R::PlayUnauthorized => D::Unauthorized,
                R::PlayNotFound => D::NotFound,
                R::PlayUnsupportedCodec => D::UnsupportedCodec,
                R::Silent => D::IdleTimeout,
                R::ClientDone => D::ClientClosed,
            };
            assert_eq!(disconnect_reason(reason), expected, "{}", reason.as_str());
        }
    }
}
