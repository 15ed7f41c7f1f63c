//! The protocols on a core: who a connection is, and which part of the house answers it.

use super::refusals;
use crate::control::MediaPages;
use crate::edge::admission::{Admission, Visit};
use crate::edge::auth::Gate;
use crate::edge::shed::Level;
use crate::egress::rtmp::Receive;
use crate::egress::{self, http_flv, http_live, http_ts};
use crate::fanout::directory::{Refused, StreamName};
use crate::fanout::log::{Format, LogKey};
use crate::ingest;
use crate::media::Mono;
use crate::observe::log::{Limiters, clean};
use crate::observe::{DisconnectReason, Protocol, RefuseReason};
use crate::proto::http::{self, HeadReader, HttpError, Route};
use crate::proto::rtmp::{CloseReason, Event, Fault, ServerSession, SessionConfig};
use crate::shard::{Answer, App, Io, Preface, Request, Shedding, connection_bytes};
use bytes::Bytes;
use std::fmt::Display;
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
    /// How many.
    pub door: Arc<Admission>,
    /// Of what strangers cause as often as they like, one line a second is logged.
    pub limiters: Arc<Limiters>,
    /// Takes over requests for pages.
    pub pages: MediaPages,
    /// Time for an HTTP request; in RTMP for handshake and connect, and again from there to publish or play.
    pub handshake: Duration,
    /// When a viewer for whom there is no room or no stream may ask again, in seconds.
    pub retry_after_s: u32,
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
    guest: Guest,
    since: Mono,
    speech: Speech,
}

/// Who it is.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) id: u64,
    pub(super) address: SocketAddr,
    visit: Visit,
}

#[derive(Debug)]
enum Speech {
    Rtmp(Box<Rtmp>),
    /// The head of a request, not complete. Boxed, because viewers do not need it any more.
    HttpHead(Box<HeadReader>),
    /// Its request is answered, or on the way to be; it has nothing more to say. What it is counted as.
    HttpDone(Protocol),
}

#[derive(Debug)]
struct Rtmp {
    session: ServerSession,
    publishing: Option<StreamName>,
    /// It has begun to publish before: what it begins from now on, over and over perhaps, is not worth a line.
    published: bool,
    /// What the publisher says it is, until its line is written.
    client: Option<Box<str>>,
    player: Option<egress::rtmp::Player>,
    /// What the player wants to receive; it may say so before play.
    receive: Receive,
    /// Why it was turned away, where the session knows less.
    refused: Option<DisconnectReason>,
}

impl Rtmp {
    fn hear_receive(&mut self, io: &mut Io) {
        if let Some(player) = &mut self.player {
            player.receive(self.receive, io);
        }
    }
}

/// User memory of one HTTP viewer, idle or stalled, in bytes: record and box, and nothing else but its stream's name.
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

    /// Logs that `guest` was turned away.
    fn note(&self, now: Mono, guest: &Guest, what: &str, name: impl Display, reason: DisconnectReason) {
        refusals::request(&self.surroundings.limiters, now, guest, what, name, reason);
    }

    /// Hears out an RTMP session: events to requests, answers to bytes.
    fn hear(&self, guest: &mut Guest, rtmp: &mut Rtmp, now: Mono, io: &mut Io) {
        let (gate, id, address) = (&self.surroundings.gate, guest.id, guest.address);
        while let Some(event) = rtmp.session.poll_event() {
            match event {
                Event::Publish(request) => {
                    let app = clean(&request.app);
                    let (stream, client) = (clean(&request.stream), clean(&request.client));
                    let (visit, session) = (&mut guest.visit, &mut rtmp.session);
                    match ingest::rtmp::publish(
                        &request,
                        gate,
                        &self.shared.directory,
                        visit,
                        session,
                        now,
                        io,
                    ) {
                        Ok(name) => {
                            rtmp.publishing = Some(name);
                            tracing::debug!(conn = id, peer = %address, %app, %stream, %client, "publish asked for");
                            rtmp.client = (!rtmp.published).then(|| client.into());
                        }
                        Err(reason) => {
                            rtmp.refused = Some(reason);
                            guest.visit.leave();
                            self.note(now, guest, "publish", format_args!("{app}/{stream}"), reason);
                        }
                    }
                }
                Event::Play(request) => {
                    let (app, stream) =
                        (clean(&request.app).into_owned(), clean(&request.stream).into_owned());
                    let (visit, session) = (&mut guest.visit, &mut rtmp.session);
                    match egress::rtmp::Player::play(request, rtmp.receive, gate, visit, session, now, io) {
                        Ok(player) => {
                            rtmp.player = Some(player);
                            tracing::debug!(conn = id, peer = %address, app, stream, "play");
                        }
                        Err(reason) => {
                            rtmp.refused = Some(reason);
                            guest.visit.leave();
                            self.note(now, guest, "play", format_args!("{app}/{stream}"), reason);
                        }
                    }
                }
                Event::Frame(frame) => io.ask(Request::Frame(frame)),
                Event::Unpublish(cause) => {
                    tracing::debug!(conn = id, ?cause, "unpublish");
                    rtmp.publishing = None;
                    guest.visit.idle();
                    io.ask(Request::Unpublish);
                }
                Event::PlayStopped(_) => {
                    rtmp.player = None;
                    guest.visit.idle();
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
                    let reason = rtmp.refused.unwrap_or_else(|| disconnect_reason(reason));
                    io.ask(Request::Close(reason));
                }
            }
        }
        rtmp.session.take_output(&mut io.out);
    }

    fn http(&self, guest: &mut Guest, speech: &mut Speech, bytes: &[u8], now: Mono, io: &mut Io) {
        let Speech::HttpHead(reader) = speech else { return };
        match reader.read(bytes) {
            Ok(None) => {}
            Ok(Some(request)) => match request.route() {
                Route::Live { medium, app, stream, .. } => {
                    let Surroundings { gate, retry_after_s, .. } = &*self.surroundings;
                    let directory = &self.shared.directory;
                    let terms = http_live::Terms { gate, directory, retry_after_s: *retry_after_s };
                    let (visit, asked) = (&mut guest.visit, (medium, app, stream));
                    if let Err(reason) = http_live::request(&request, asked, &terms, visit, io) {
                        guest.visit.leave();
                        let name = format!("{app}/{stream}");
                        self.note(now, guest, "play", clean(&name), reason);
                    }
                    *speech = Speech::HttpDone(http_live::protocol(medium));
                }
                Route::Page => {
                    let read = std::mem::take(reader).into_bytes();
                    *speech = Speech::HttpDone(Protocol::HttpFlv);
                    io.ask(Request::Detach(read.into()));
                }
            },
            Err(error) => {
                tracing::debug!(conn = guest.id, peer = %guest.address, %error, "request refused");
                io.out.extend(http::error_head(error.status(), None, &error.to_string()));
                io.ask(Request::Close(match error {
                    HttpError::Name(_) => DisconnectReason::InvalidName,
                    _ => DisconnectReason::ProtocolError,
                }));
                *speech = Speech::HttpDone(Protocol::HttpFlv);
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

    fn accepted(&mut self, now: Mono, listener: usize, address: SocketAddr) -> Result<Peer, RefuseReason> {
        let visit = self.surroundings.door.enter(now, address.ip()).inspect_err(|reason| {
            refusals::connection(&self.surroundings.limiters, now, address, *reason);
        })?;
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
                    published: false,
                    client: None,
                    player: None,
                    receive: Receive::ALL,
                    refused: None,
                }))
            }
            _ => Speech::HttpHead(Box::default()),
        };
        tracing::debug!(conn = id, peer = %address, "accepted");
        Ok(Peer { guest: Guest { id, address, visit }, since: now, speech })
    }

    fn shedding(&self) -> Shedding {
        let level = self.surroundings.door.level();
        Shedding { slowest: level >= Level::DropSlowest, closed: level >= Level::StopAccepting }
    }

    fn input(&mut self, peer: &mut Peer, now: Mono, bytes: &[u8], io: &mut Io) {
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                rtmp.session.handle_input(now, bytes);
                self.hear(&mut peer.guest, rtmp, now, io);
            }
            speech => self.http(&mut peer.guest, speech, bytes, now, io),
        }
    }

    fn answer(&mut self, peer: &mut Peer, now: Mono, answer: Answer, io: &mut Io) {
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                match answer {
                    Answer::Publishing => {
                        let client = rtmp.client.take();
                        if let Some(name) = rtmp.publishing.as_ref().filter(|_| !rtmp.published) {
                            rtmp.published = true;
                            let (conn, address, name) = (peer.guest.id, peer.guest.address, name.to_string());
                            let stream = clean(&name);
                            tracing::info!(conn, peer = %address, %stream, client, "publish");
                        }
                        rtmp.session.accept_publish(now);
                    }
                    Answer::PublishRefused(why) => {
                        let name = rtmp.publishing.take().map(|name| name.to_string()).unwrap_or_default();
                        let reason = match why {
                            Refused::NameTaken => DisconnectReason::NameTaken,
                            Refused::TooManyStreams => DisconnectReason::Limit,
                        };
                        self.note(now, &peer.guest, "publish", clean(&name), reason);
                        peer.guest.visit.leave();
                        ingest::rtmp::refused(why, &mut rtmp.session, now);
                    }
                    Answer::Playing => {
                        if let Some(player) = &mut rtmp.player {
                            let found = self.shared.directory.find(&player.name);
                            let config = found.and_then(|(_, _, stats)| stats.config());
                            player.playing(config.as_deref(), &mut rtmp.session, now);
                        }
                    }
                    Answer::PlayRefused(why) => {
                        peer.guest.visit.leave();
                        egress::rtmp::refused(why, &mut rtmp.session, now);
                    }
                }
                self.hear(&mut peer.guest, rtmp, now, io);
            }
            _ => match answer {
                Answer::PlayRefused(why) => {
                    peer.guest.visit.leave();
                    http_live::refused(why, self.surroundings.retry_after_s, io);
                }
                Answer::Playing => {
                    let protocol = self.protocol(peer);
                    tracing::debug!(conn = peer.guest.id, peer = %peer.guest.address, %protocol, "play")
                }
                Answer::Publishing | Answer::PublishRefused(_) => {}
            },
        }
    }

    fn timeout(&mut self, peer: &mut Peer, now: Mono, io: &mut Io) {
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                rtmp.session.handle_timeout(now);
                self.hear(&mut peer.guest, rtmp, now, io);
            }
            Speech::HttpHead(_) => {
                io.out.extend(http::error_head(408, None, "the request did not arrive in time"));
                io.ask(Request::Close(DisconnectReason::HandshakeTimeout));
                peer.speech = Speech::HttpDone(Protocol::HttpFlv);
            }
            Speech::HttpDone(_) => {}
        }
    }

    fn deadline(&self, peer: &Peer) -> Mono {
        match &peer.speech {
            Speech::Rtmp(rtmp) => rtmp.session.deadline(),
            Speech::HttpHead(_) => peer.since + self.surroundings.handshake,
            Speech::HttpDone(_) => Mono::NEVER,
        }
    }

    fn protocol(&self, peer: &Peer) -> Protocol {
        match peer.speech {
            Speech::Rtmp(_) => Protocol::Rtmp,
            Speech::HttpHead(_) => Protocol::HttpFlv,
            Speech::HttpDone(protocol) => protocol,
        }
    }

    fn heap_bytes(&self, peer: &Peer) -> usize {
        match &peer.speech {
            Speech::Rtmp(rtmp) => {
                let player = rtmp.player.as_ref().map_or(0, egress::rtmp::Player::heap_bytes);
                size_of::<Rtmp>() + rtmp.session.heap_bytes() + player
            }
            Speech::HttpHead(reader) => size_of::<HeadReader>() + reader.heap_bytes(),
            Speech::HttpDone(_) => 0,
        }
    }

    fn preface(&mut self, preface: Preface<'_>) -> Bytes {
        match preface.key.format {
            Format::Rtmp => egress::rtmp::preface(&preface),
            Format::Flv => http_flv::preface(&preface),
            Format::Ts => http_ts::preface(&preface),
        }
    }

    fn goodbye(&mut self, name: &StreamName, key: LogKey) -> Bytes {
        match key.format {
            Format::Rtmp => egress::rtmp::goodbye(name),
            Format::Flv | Format::Ts => Bytes::new(),
        }
    }

    fn detached(&mut self, peer: Peer, socket: OwnedFd, read: Bytes) -> Result<(), RefuseReason> {
        let Guest { id, address, visit } = peer.guest;
        self.surroundings.pages.serve(socket.into(), read.into(), visit).inspect_err(|_| {
            tracing::debug!(conn = id, peer = %address, "too many page requests: connection closed");
        })
    }

    fn closed(&mut self, peer: Peer, now: Mono, reason: DisconnectReason) {
        let seconds = now.since(peer.since).as_secs_f32();
        match &peer.speech {
            Speech::Rtmp(rtmp) if rtmp.published => {
                let stream = rtmp.publishing.as_ref().map(|n| clean(&n.to_string()).into_owned());
                tracing::info!(conn = peer.guest.id, peer = %peer.guest.address, stream, %reason, seconds, "publisher closed");
            }
            _ => {
                tracing::debug!(conn = peer.guest.id, peer = %peer.guest.address, %reason, seconds, "closed")
            }
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
