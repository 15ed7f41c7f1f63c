//! The protocols on a core: who a connection is, and which part of the house answers it.

use crate::control::MediaPages;
use crate::edge::auth::Gate;
use crate::egress::rtmp::Receive;
use crate::egress::{self, http_flv};
use crate::fanout::directory::{Directory, StreamName};
use crate::fanout::log::{Format, LogKey};
use crate::ingest;
use crate::media::Mono;
use crate::observe::{DisconnectReason, Protocol, RefuseReason, log::clean};
use crate::proto::http::{self, Route};
use crate::proto::rtmp::{CloseReason, Event, Fault, ServerSession, SessionConfig};
use crate::shard::{Answer, App, Io, Preface, Request, connection_bytes};
use bytes::Bytes;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Index of a listener: what is spoken there.
pub const LISTENERS: [Protocol; 2] = [Protocol::Rtmp, Protocol::HttpFlv];

/// What all cores' gateways share.
#[derive(Debug)]
pub struct Surroundings {
    /// Who may.
    pub gate: Gate,
    /// Takes over requests for pages.
    pub pages: MediaPages,
    /// Time for an HTTP request; in RTMP for handshake and connect, and again from there to publish or play.
    pub handshake: Duration,
}

/// The [`App`] of a core.
#[derive(Debug)]
pub struct Gateway {
    core: u16,
    connections: u64,
    surroundings: Arc<Surroundings>,
    shared: Arc<crate::shard::core::Shared>,
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    id: u64,
    address: SocketAddr,
    since: Mono,
    speech: Speech,
}

#[derive(Debug)]
enum Speech {
    Rtmp(Box<Rtmp>),
    /// The head of a request, not complete.
    HttpHead(Vec<u8>),
    /// Its request is answered, or on the way to be; it has nothing more to say.
    HttpDone,
}

#[derive(Debug)]
struct Rtmp {
    session: ServerSession,
    publishing: Option<StreamName>,
    player: Option<egress::rtmp::Player>,
    /// What the player wants to receive; it may say so before play.
    receive: Receive,
}

impl Rtmp {
    fn hear_receive(&mut self, io: &mut Io) {
        if let Some(player) = &mut self.player {
            player.receive(self.receive, io);
        }
    }
}

/// User memory of one HTTP-FLV viewer, idle or stalled, in bytes: record and box, and nothing else but its stream's name.
const HTTP_VIEWER_BYTES_MAX: usize = 1 << 10;
/// User memory of one RTMP player, idle or stalled, in bytes.
const RTMP_PLAYER_BYTES_MAX: usize = 2 << 10;
/// The longest stream name with its counts.
const NAME_BYTES: usize = 2 * crate::proto::rtmp::name::NAME_BYTES_MAX + 32;
/// What a playing session holds on the heap: a few chunk streams.
const SESSION_HEAP_BYTES: usize = 600;

const _: () = assert!(connection_bytes::<Peer>() + NAME_BYTES <= HTTP_VIEWER_BYTES_MAX);
const _: () = assert!(
    connection_bytes::<Peer>() + size_of::<Rtmp>() + SESSION_HEAP_BYTES + NAME_BYTES <= RTMP_PLAYER_BYTES_MAX
);

impl Gateway {
    /// The gateway of core `core`.
    pub fn new(
        core: u16,
        surroundings: Arc<Surroundings>,
        shared: Arc<crate::shard::core::Shared>,
    ) -> Gateway {
        Gateway { core, connections: 0, surroundings, shared }
    }

    fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// Hears out an RTMP session: events to requests, answers to bytes.
    fn hear(&self, id: u64, address: SocketAddr, rtmp: &mut Rtmp, now: Mono, io: &mut Io) {
        let gate = &self.surroundings.gate;
        while let Some(event) = rtmp.session.poll_event() {
            match event {
                Event::Publish(request) => {
                    let app = clean(&request.app);
                    let (stream, client) = (clean(&request.stream), clean(&request.client));
                    rtmp.publishing = ingest::rtmp::publish(&request, gate, &mut rtmp.session, now, io);
                    match rtmp.publishing {
                        Some(_) => {
                            tracing::info!(conn = id, peer = %address, %app, %stream, %client, "publish")
                        }
                        None => {
                            tracing::warn!(conn = id, peer = %address, %app, %stream, "publish refused: wrong key");
                        }
                    }
                }
                Event::Play(request) => {
                    let (app, stream) =
                        (clean(&request.app).into_owned(), clean(&request.stream).into_owned());
                    rtmp.player =
                        egress::rtmp::Player::play(request, rtmp.receive, gate, &mut rtmp.session, now, io);
                    match rtmp.player {
                        Some(_) => tracing::debug!(conn = id, peer = %address, app, stream, "play"),
                        None => {
                            tracing::warn!(conn = id, peer = %address, app, stream, "play refused: wrong token")
                        }
                    }
                }
                Event::Frame(frame) => io.ask(Request::Frame(frame)),
                Event::Unpublish(cause) => {
                    tracing::info!(conn = id, ?cause, "unpublish");
                    rtmp.publishing = None;
                    io.ask(Request::Unpublish);
                }
                Event::PlayStopped(_) => {
                    rtmp.player = None;
                    io.ask(Request::StopPlaying);
                }
                Event::Pause { paused } => {
                    if let Some(player) = &mut rtmp.player {
                        player.pause(paused, io);
                    }
                }
                Event::ReceiveAudio(on) => {
                    rtmp.receive.audio = on;
                    rtmp.hear_receive(io);
                }
                Event::ReceiveVideo(on) => {
                    rtmp.receive.video = on;
                    rtmp.hear_receive(io);
                }
                Event::Closed(reason) => {
                    let detail = rtmp.session.close_detail().map(clean).unwrap_or_default();
                    let failed = reason.fault() != Fault::Nobody;
                    // Anyone can cause any number of strangers' errors; refused keys and names were logged before.
                    match rtmp.publishing.is_some() && failed {
                        true => {
                            tracing::warn!(conn = id, peer = %address, reason = reason.as_str(), %detail, "publisher's session closed")
                        }
                        false => {
                            tracing::debug!(conn = id, peer = %address, reason = reason.as_str(), %detail, "session closed")
                        }
                    }
                    io.ask(Request::Close(disconnect_reason(reason)));
                }
            }
        }
        rtmp.session.take_output(&mut io.out);
    }

    fn http(&self, speech: &mut Speech, bytes: &[u8], io: &mut Io) {
        let Speech::HttpHead(head) = speech else { return };
        head.extend(bytes);
        match http::parse(head) {
            Ok(None) => {}
            Ok(Some((request, _))) => match request.route() {
                Route::Flv { app, stream, .. } => {
                    http_flv::request(&request, app, stream, &self.surroundings.gate, self.directory(), io);
                    *speech = Speech::HttpDone;
                }
                Route::Page => {
                    let read = std::mem::take(head);
                    *speech = Speech::HttpDone;
                    io.ask(Request::Detach(read.into()));
                }
            },
            Err(error) => {
                io.out.extend(http::error_head(error.status(), None, &error.to_string()));
                io.ask(Request::Close(DisconnectReason::ProtocolError));
                *speech = Speech::HttpDone;
            }
        }
    }
}

fn disconnect_reason(reason: CloseReason) -> DisconnectReason {
    use CloseReason as R;
    match reason {
        R::HandshakeTimeout | R::RequestTimeout => DisconnectReason::HandshakeTimeout,
        R::Silent => DisconnectReason::IdleTimeout,
        R::PublishBadName => DisconnectReason::NameTaken,
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

impl App for Gateway {
    type Peer = Peer;

    fn accepted(&mut self, now: Mono, listener: usize, address: SocketAddr) -> Peer {
        self.connections += 1;
        let id = (u64::from(self.core) << 48) | self.connections;
        let speech = match LISTENERS.get(listener) {
            Some(Protocol::Rtmp) => {
                let ms = self.surroundings.handshake.as_millis() as u32;
                let config = SessionConfig {
                    handshake_timeout_ms: ms,
                    request_timeout_ms: ms,
                    ..SessionConfig::default()
                };
                let session = ServerSession::new(config, now, random_seed());
                Speech::Rtmp(Box::new(Rtmp {
                    session,
                    publishing: None,
                    player: None,
                    receive: Receive::ALL,
                }))
            }
            _ => Speech::HttpHead(Vec::new()),
        };
        tracing::debug!(conn = id, peer = %address, "accepted");
        Peer { id, address, since: now, speech }
    }

    fn input(&mut self, peer: &mut Peer, now: Mono, bytes: &[u8], io: &mut Io) {
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                rtmp.session.handle_input(now, bytes);
                self.hear(peer.id, peer.address, rtmp, now, io);
            }
            speech => self.http(speech, bytes, io),
        }
    }

    fn answer(&mut self, peer: &mut Peer, now: Mono, answer: Answer, io: &mut Io) {
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                match answer {
                    Answer::Publishing => rtmp.session.accept_publish(now),
                    Answer::PublishRefused(why) => {
                        let stream = rtmp.publishing.take().map(|n| clean(&n.to_string()).into_owned());
                        tracing::warn!(conn = peer.id, peer = %peer.address, stream, ?why, "publish refused");
                        ingest::rtmp::refused(why, &mut rtmp.session, now);
                    }
                    Answer::Playing => {
                        if let Some(player) = &mut rtmp.player {
                            let found = self.shared.directory.find(&player.name);
                            let config = found.and_then(|(_, _, stats)| stats.config());
                            player.playing(config.as_deref(), &mut rtmp.session, now);
                        }
                    }
                    Answer::PlayRefused(why) => egress::rtmp::refused(why, &mut rtmp.session, now),
                }
                self.hear(peer.id, peer.address, rtmp, now, io);
            }
            _ => match answer {
                Answer::PlayRefused(why) => http_flv::refused(why, io),
                Answer::Playing => tracing::debug!(conn = peer.id, peer = %peer.address, "play http-flv"),
                Answer::Publishing | Answer::PublishRefused(_) => {}
            },
        }
    }

    fn timeout(&mut self, peer: &mut Peer, now: Mono, io: &mut Io) {
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                rtmp.session.handle_timeout(now);
                self.hear(peer.id, peer.address, rtmp, now, io);
            }
            Speech::HttpHead(_) => {
                io.out.extend(http::error_head(408, None, "the request did not arrive in time"));
                io.ask(Request::Close(DisconnectReason::HandshakeTimeout));
                peer.speech = Speech::HttpDone;
            }
            Speech::HttpDone => {}
        }
    }

    fn deadline(&self, peer: &Peer) -> Mono {
        match &peer.speech {
            Speech::Rtmp(rtmp) => rtmp.session.deadline(),
            Speech::HttpHead(_) => peer.since + self.surroundings.handshake,
            Speech::HttpDone => Mono::NEVER,
        }
    }

    fn protocol(&self, peer: &Peer) -> Protocol {
        match peer.speech {
            Speech::Rtmp(_) => Protocol::Rtmp,
            _ => Protocol::HttpFlv,
        }
    }

    fn heap_bytes(&self, peer: &Peer) -> usize {
        match &peer.speech {
            Speech::Rtmp(rtmp) => {
                let player = rtmp.player.as_ref().map_or(0, egress::rtmp::Player::heap_bytes);
                size_of::<Rtmp>() + rtmp.session.heap_bytes() + player
            }
            Speech::HttpHead(head) => head.capacity(),
            Speech::HttpDone => 0,
        }
    }

    fn preface(&mut self, preface: Preface<'_>) -> Bytes {
        match preface.key.format {
            Format::Rtmp => egress::rtmp::preface(&preface),
            Format::Flv => http_flv::preface(&preface),
        }
    }

    fn goodbye(&mut self, name: &StreamName, key: LogKey) -> Bytes {
        match key.format {
            Format::Rtmp => egress::rtmp::goodbye(name),
            Format::Flv => Bytes::new(),
        }
    }

    fn detached(&mut self, peer: Peer, socket: OwnedFd, read: Bytes) -> Result<(), RefuseReason> {
        if self.surroundings.pages.serve(socket.into(), read.into()) {
            return Ok(());
        }
        tracing::debug!(conn = peer.id, peer = %peer.address, "too many page requests: connection closed");
        Err(RefuseReason::Pages)
    }

    fn closed(&mut self, peer: Peer, now: Mono, reason: DisconnectReason) {
        let seconds = now.since(peer.since).as_secs_f32();
        match &peer.speech {
            Speech::Rtmp(rtmp) if rtmp.publishing.is_some() => {
                let stream = rtmp.publishing.as_ref().map(|n| clean(&n.to_string()).into_owned());
                tracing::info!(conn = peer.id, peer = %peer.address, stream, %reason, seconds, "publisher closed");
            }
            _ => tracing::debug!(conn = peer.id, peer = %peer.address, %reason, seconds, "closed"),
        }
    }
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
                | R::CommandBeforeConnect => D::ProtocolError,
                R::PublishBadName => D::NameTaken,
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
