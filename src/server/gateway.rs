//! The protocols on a core: who a connection is, and which part of the house answers it.

mod rtmp;

use super::refusals;
use crate::config::Transport;
use crate::control::MediaPages;
use crate::edge::admission::{Admission, Visit};
use crate::edge::auth::Gate;
use crate::edge::shed::Level;
use crate::egress::{self, http_flv, http_live, http_ts};
use crate::fanout::directory::StreamName;
use crate::fanout::log::{Format, LogKey};
use crate::ingest::udp::{self, Refusal};
use crate::media::Mono;
use crate::observe::log::{Limiters, shown};
use crate::observe::{DisconnectReason, Protocol, RefuseReason};
use crate::proto::http::{self, HeadReader, HttpError, Medium, RequestHead, Route};
use crate::shard::engine::Datagram;
use crate::shard::{Answer, App, Io, PlayRefused, Preface, Request, ResidentId, Shedding, connection_bytes};
use bytes::Bytes;
use rtmp::Rtmp;
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
    /// Streams that come as datagrams, of all cores.
    pub inputs: Vec<udp::Plan>,
    /// Groups that are watched by their address.
    pub relays: Arc<udp::Relays>,
}

/// The [`App`] of a core.
#[derive(Debug)]
pub struct Gateway {
    core: u16,
    connections: u64,
    surroundings: Arc<Surroundings>,
    shared: Arc<crate::shard::core::Shared>,
}

/// Who has a record of a core.
#[derive(Debug)]
pub enum Peer {
    /// A connection.
    Guest(Connection),
    /// A stream that comes as datagrams.
    Input(Box<udp::Input>),
    /// A seat for groups that are watched by their address.
    Relay(Box<udp::Relay>),
    /// A socket of one.
    Socket,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
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
    fn note(&self, now: Mono, guest: &Guest, what: &str, name: &str, reason: DisconnectReason) {
        refusals::request(&self.surroundings.limiters, now, guest, what, name, reason);
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
                        let name = format!("{app}/{stream}");
                        self.note(now, guest, "play", &shown(&name), reason);
                    }
                    *speech = Speech::HttpDone(http_live::protocol(medium));
                }
                Route::Group { scheme, place, .. } => {
                    let (app, rtp) = (scheme, scheme == Transport::Rtp.as_str());
                    *speech = Speech::HttpDone(Protocol::HttpTs);
                    let transport = if rtp { Transport::Rtp } else { Transport::Udp };
                    self.group(now, guest, &request, (app, transport, place), io);
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

impl Gateway {
    /// Somebody wants to watch a group by its address.
    fn group(
        &self,
        now: Mono,
        guest: &mut Guest,
        head: &RequestHead,
        (app, transport, place): (&str, Transport, &str),
        io: &mut Io,
    ) {
        let Surroundings { gate, relays, retry_after_s, .. } = &*self.surroundings;
        // Nobody joins a group for who may not watch, or does not want to.
        let directory = &self.shared.directory;
        let terms = http_live::Terms { gate, directory, retry_after_s: *retry_after_s };
        let admitted = http_live::admit(head, (Medium::Ts, app, place), &terms, &mut guest.visit, io);
        let (key, first) = match admitted {
            Ok(Some(wanted)) => wanted,
            Ok(None) => return,
            Err(reason) => return self.note(now, guest, "play", &shown(&format!("{app}/{place}")), reason),
        };
        let refuse = |status, again, why: &str, reason, io: &mut Io| {
            http_live::refuse(head, status, again, why, reason, io);
            self.note(now, guest, "play", &shown(&format!("{app}/{place}")), reason);
        };
        match relays.ask(now, transport, place) {
            Ok(name) => io.ask(Request::Play { name, key, first }),
            Err(Refusal::NotFound(why)) => refuse(404, None, &why, DisconnectReason::NotFound, io),
            Err(Refusal::Forbidden) => {
                let why = "this group is on no list of those that may be watched here (relay.allow)";
                refuse(403, None, why, DisconnectReason::Unauthorized, io);
            }
            Err(Refusal::Full) => {
                let why = "as many groups are watched as may be (relay.groups), try again later";
                refuse(503, Some(*retry_after_s), why, DisconnectReason::Budget, io);
            }
        }
    }
}

impl Connection {
    fn protocol(&self) -> Protocol {
        match self.speech {
            Speech::Rtmp(_) => Protocol::Rtmp,
            Speech::HttpHead(_) => Protocol::HttpFlv,
            Speech::HttpDone(protocol) => protocol,
        }
    }
}

impl App for Gateway {
    type Peer = Peer;

    fn accepted(&mut self, now: Mono, listener: usize, address: SocketAddr) -> Result<Peer, RefuseReason> {
        let visit = self.surroundings.door.enter(now, address.ip())?;
        self.connections += 1;
        let id = (u64::from(self.core) << 48) | self.connections;
        let speech = match LISTENERS.get(listener) {
            Some(Protocol::Rtmp) => {
                Speech::Rtmp(Rtmp::new(now, self.surroundings.handshake, self.shared.limits.stall))
            }
            _ => Speech::HttpHead(Box::default()),
        };
        tracing::debug!(conn = id, peer = %address, "accepted");
        Ok(Peer::Guest(Connection { guest: Guest { id, address, visit }, since: now, speech }))
    }

    fn are_neighbours(&self, peer: &Peer, address: SocketAddr) -> bool {
        let Peer::Guest(peer) = peer else { return false };
        self.surroundings.door.are_neighbours(peer.guest.address.ip(), address.ip())
    }

    fn turned_away(&mut self, now: Mono, address: SocketAddr, reason: RefuseReason) {
        refusals::connection(&self.surroundings.limiters, now, address, reason);
    }

    fn shedding(&self) -> Shedding {
        let door = &self.surroundings.door;
        let level = door.level();
        Shedding {
            slowest: level >= Level::DropSlowest,
            anyone: door.relief(),
            closed: level >= Level::StopAccepting,
        }
    }

    fn input(&mut self, peer: &mut Peer, now: Mono, bytes: &[u8], io: &mut Io) {
        let Peer::Guest(peer) = peer else { return };
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                rtmp.session.handle_input(now, bytes);
                rtmp.hear(self, &mut peer.guest, now, io);
            }
            speech => self.http(&mut peer.guest, speech, bytes, now, io),
        }
    }

    fn residents(&mut self, now: Mono) -> Vec<(ResidentId, Peer)> {
        let Surroundings { inputs, relays, .. } = &*self.surroundings;
        let own = (0..).zip(inputs).filter(|(_, plan)| plan.core() == self.core);
        let own = own.map(|(number, plan)| (number, Peer::Input(Box::new(udp::Input::new(plan, now)))));
        let seats = relays.residents(self.core, inputs.len() as ResidentId, now);
        own.chain(seats.map(|(number, seat)| (number, Peer::Relay(Box::new(seat))))).collect()
    }

    fn socket(&self) -> Peer {
        Peer::Socket
    }

    fn datagram(&mut self, resident: &mut Peer, now: Mono, number: u32, datagram: Datagram<'_>, io: &mut Io) {
        match resident {
            Peer::Input(input) => input.handle_datagram(now, number, datagram, io),
            Peer::Relay(relay) => relay.handle_datagram(now, number, datagram, io),
            Peer::Guest(_) | Peer::Socket => {}
        }
    }

    fn answer(&mut self, peer: &mut Peer, now: Mono, answer: Answer, io: &mut Io) {
        let peer = match peer {
            Peer::Guest(peer) => peer,
            Peer::Input(input) => return input.handle_answer(now, &answer),
            Peer::Relay(relay) => return relay.handle_answer(now, &answer),
            Peer::Socket => return,
        };
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => rtmp.answer(self, &mut peer.guest, now, answer, io),
            _ => match answer {
                Answer::PlayRefused(why) => {
                    if why == PlayRefused::CoreFull {
                        self.note(now, &peer.guest, "play", "over HTTP", DisconnectReason::Budget);
                    }
                    http_live::refused(why, self.surroundings.retry_after_s, io);
                }
                Answer::Playing => {
                    let protocol = peer.protocol();
                    tracing::debug!(conn = peer.guest.id, peer = %peer.guest.address, %protocol, "play")
                }
                Answer::Publishing | Answer::PublishRefused(_) | Answer::Deposed(_) => {}
            },
        }
    }

    fn timeout(&mut self, peer: &mut Peer, now: Mono, io: &mut Io) {
        let peer = match peer {
            Peer::Guest(peer) => peer,
            Peer::Input(input) => return input.handle_timeout(now, io),
            Peer::Relay(relay) => return relay.handle_timeout(now, io),
            Peer::Socket => return,
        };
        match &mut peer.speech {
            Speech::Rtmp(rtmp) => {
                rtmp.session.handle_timeout(now);
                rtmp.hear(self, &mut peer.guest, now, io);
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
        let peer = match peer {
            Peer::Guest(peer) => peer,
            Peer::Input(input) => return input.deadline(),
            Peer::Relay(relay) => return relay.deadline(),
            Peer::Socket => return Mono::NEVER,
        };
        match &peer.speech {
            Speech::Rtmp(rtmp) => rtmp.session.deadline(),
            Speech::HttpHead(_) => peer.since + self.surroundings.handshake,
            Speech::HttpDone(_) => Mono::NEVER,
        }
    }

    fn protocol(&self, peer: &Peer) -> Protocol {
        match peer {
            Peer::Guest(peer) => peer.protocol(),
            Peer::Input(_) | Peer::Relay(_) | Peer::Socket => Protocol::Udp,
        }
    }

    fn heap_bytes(&self, peer: &Peer) -> usize {
        let peer = match peer {
            Peer::Guest(peer) => peer,
            Peer::Input(input) => return size_of::<udp::Input>() + input.heap_bytes(),
            Peer::Relay(relay) => return size_of::<udp::Relay>() + relay.heap_bytes(),
            Peer::Socket => return 0,
        };
        match &peer.speech {
            Speech::Rtmp(rtmp) => rtmp.heap_bytes(),
            Speech::HttpHead(reader) => size_of::<HeadReader>() + reader.heap_bytes(),
            Speech::HttpDone(_) => 0,
        }
    }

    fn preface(&mut self, preface: Preface<'_>) -> Bytes {
        match preface.key.format {
            Format::Rtmp => egress::rtmp::preface(&preface),
            Format::Flv => http_flv::preface(&preface),
            Format::Ts | Format::Pass => http_ts::preface(&preface),
        }
    }

    fn goodbye(&mut self, name: &StreamName, key: LogKey) -> Bytes {
        match key.format {
            Format::Rtmp => egress::rtmp::goodbye(name),
            Format::Flv | Format::Ts | Format::Pass => Bytes::new(),
        }
    }

    fn leaving(&mut self, peer: &mut Peer) {
        if let Peer::Guest(peer) = peer {
            peer.guest.visit.leave();
        }
    }

    fn detached(&mut self, peer: Peer, now: Mono, socket: OwnedFd, read: Bytes) -> Result<(), RefuseReason> {
        let Peer::Guest(Connection { guest: Guest { address, visit, .. }, .. }) = peer else { return Ok(()) };
        let served = self.surroundings.pages.serve(socket.into(), read.into(), visit);
        served.inspect_err(|reason| self.turned_away(now, address, *reason))
    }

    fn let_go(&mut self, now: Mono, name: &StreamName, why: &'static str) {
        refusals::let_go(&self.surroundings.limiters, now, name, why);
    }

    fn stream_ended(&mut self, now: Mono, name: &StreamName, displaced: bool) {
        refusals::ended(&self.surroundings.limiters, now, name, displaced);
    }

    fn closed(&mut self, peer: Peer, now: Mono, reason: DisconnectReason) {
        let Peer::Guest(peer) = peer else { return };
        let seconds = now.since(peer.since).as_millis() as f64 / 1000.0;
        match &peer.speech {
            Speech::Rtmp(rtmp) if rtmp.published => {
                let stream = rtmp.publishing.as_ref().map(|n| shown(&n.to_string()).into_owned());
                tracing::info!(conn = peer.guest.id, peer = %peer.guest.address, stream, %reason, seconds, "publisher closed");
            }
            _ => {
                tracing::debug!(conn = peer.guest.id, peer = %peer.guest.address, %reason, seconds, "closed")
            }
        }
    }
}
