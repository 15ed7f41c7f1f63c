//! One core: its thread, its sockets, the streams that live on it and the subscribers it serves.
//!
//! [`engine`] moves bytes and knows no stream; [`core`] is the loop that joins it with the fan-out: `publish` has the
//! streams that live here, `subscribe` who reads which log, `change` how a reader goes to another, `sweep` the sends,
//! `life` how a connection begins and ends, `residents` those who are there from the start and listen to datagrams, `shed` what is given
//! up when the machine is at its end. [`bells`] and [`mailbox`] are all that cores share. What a connection says
//! is the [`App`]'s business: the shard asks it for nothing but the next step.
//!
//! What must stay true: nothing here blocks, locks or allocates per frame and subscriber; a core's sockets, streams
//! and subscribers are touched by its own thread only; every connection ends with a reason that is counted.

mod accept;
pub mod bells;
mod change;
#[cfg(test)]
mod check;
pub mod conn;
pub mod core;
pub mod engine;
mod following;
pub mod interfaces;
mod life;
pub mod links;
pub mod listen;
pub mod mailbox;
pub mod marks;
pub mod outbox;
pub mod pacer;
pub(crate) mod planted;
mod publish;
mod readers;
mod reading;
mod residents;
pub mod runtime;
mod shed;
mod silent;
pub mod sockopt;
mod subscribe;
mod sweep;
mod timers;

pub use conn::connection_bytes;
pub use shed::Shedding;

use crate::fanout::directory::StreamName;
use crate::fanout::log::{JoinPoint, LogKey};
use crate::media::config_set::ConfigSet;
use crate::media::{Demand, Frame, Mono, Run};
use crate::observe::{DisconnectReason, Protocol, RefuseReason};
use bytes::Bytes;
use engine::Datagram;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Number of a resident, of all cores.
pub type ResidentId = u32;

/// What a connection asks of its core; applied in order after the callback that made it.
#[derive(Debug)]
pub enum Request {
    /// Claim a name. Answered with [`Answer::Publishing`] or [`Answer::PublishRefused`].
    Publish {
        /// The name.
        name: StreamName,
        /// The publisher has a transport stream of its own: it sends runs while this says that somebody reads them.
        runs: Option<Demand>,
    },
    /// A frame of the claimed stream.
    Frame(Frame),
    /// Packets of the claimed stream, as they came.
    Run(Run),
    /// So many bytes of the claimed stream came of which there are no frames, and which nobody reads.
    Alive(u64),
    /// The publisher is done; the connection stays.
    Unpublish,
    /// Send this log from its newest join point. Answered with [`Answer::Playing`] when the first byte may go, or
    /// [`Answer::PlayRefused`].
    Play {
        /// The stream; it may not exist yet.
        name: StreamName,
        /// The log.
        key: LogKey,
        /// Begin with this log at once, and change to `key` at its next join point.
        first: Option<LogKey>,
    },
    /// Change to another log of the stream at its next join point.
    Switch(LogKey),
    /// Stop sending media; or go on, at the newest join point if time has passed.
    Pause(bool),
    /// Stop being a subscriber; the connection stays.
    StopPlaying,
    /// Something that only the protocol sees was done so often.
    Count(Counted, u64),
    /// Send what is waiting, then close.
    Close(DisconnectReason),
    /// Leave this core: the socket and what was read go to [`App::detached`]. Only before any other role.
    Detach(Bytes),
}

/// What a core counts for the protocols on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Commands of RTMP with unreadable bytes at their end.
    CommandsMended,
    /// Bytes copied out of messages that hold several.
    SplitBytes,
}

/// What a core tells a connection.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The name is claimed; frames may come.
    Publishing,
    /// The name is not to be had.
    PublishRefused(crate::fanout::directory::Refused),
    /// The first byte of the subscription follows.
    Playing,
    /// There is nothing to send.
    PlayRefused(PlayRefused),
    /// A resident has lost its stream, and stays: nothing came of it for too long, or another publisher took it over.
    Deposed(DisconnectReason),
}

/// Why a subscription did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayRefused {
    /// No such stream, or no join point, within the wait.
    NotFound,
    /// Too many variants of the stream are open.
    TooManyVariants,
    /// Too many players wait for streams that are not there.
    TooManyWait,
    /// What is left of the core's connections is for publishers.
    CoreFull,
    /// The format carries no track of the stream; why, for people.
    Codecs(&'static str),
}

/// What goes in front of a run of entries.
#[derive(Clone, Copy, Debug)]
pub struct Preface<'a> {
    /// The stream.
    pub name: &'a StreamName,
    /// The log.
    pub key: LogKey,
    /// Where the run starts.
    pub join: &'a JoinPoint,
    /// The newest configuration this core knows; it may be ahead of the join point's.
    pub newest: &'a ConfigSet,
    /// Whether the subscription starts here; else only configuration is to be sent again.
    pub start: bool,
}

/// Where callbacks leave bytes and requests.
#[derive(Debug, Default)]
pub struct Io {
    /// Bytes to be sent before anything else, at an entry boundary.
    pub out: Vec<u8>,
    /// In order.
    pub requests: Vec<Request>,
}

impl Io {
    /// Asks for something.
    pub fn ask(&mut self, request: Request) {
        self.requests.push(request);
    }
}

/// The protocols on top of a core.
pub trait App: 'static {
    /// The state of one connection.
    type Peer;
    /// A connection was accepted by listener `listener`.
    ///
    /// # Errors
    /// It is not welcome: the core closes it and counts the reason.
    fn accepted(
        &mut self,
        now: Mono,
        listener: usize,
        address: SocketAddr,
    ) -> Result<Self::Peer, RefuseReason>;
    /// Whether `address` counts as that of the peer.
    fn are_neighbours(&self, peer: &Self::Peer, address: SocketAddr) -> bool;
    /// A connection was closed at accept, whoever refused it.
    fn turned_away(&mut self, now: Mono, address: SocketAddr, reason: RefuseReason);
    /// What load the core is to shed; asked once a turn.
    fn shedding(&self) -> Shedding;
    /// Bytes came.
    fn input(&mut self, peer: &mut Self::Peer, now: Mono, bytes: &[u8], io: &mut Io);
    /// Who lives on this core from its start to its end, without a socket of its own: asked once. Sockets come by
    /// [`mailbox::Command::Listen`], under the same number.
    fn residents(&mut self, now: Mono) -> Vec<(ResidentId, Self::Peer)>;
    /// What stands in the record of a socket that a resident listens to. It is asked for its protocol and size, and told
    /// nothing.
    fn socket(&self) -> Self::Peer;
    /// A datagram came to socket `number` of a resident.
    fn datagram(
        &mut self,
        resident: &mut Self::Peer,
        now: Mono,
        number: u32,
        datagram: Datagram<'_>,
        io: &mut Io,
    );
    /// An answer to a request.
    fn answer(&mut self, peer: &mut Self::Peer, now: Mono, answer: Answer, io: &mut Io);
    /// [`App::deadline`] has passed.
    fn timeout(&mut self, peer: &mut Self::Peer, now: Mono, io: &mut Io);
    /// When to call [`App::timeout`]; `Mono::NEVER` for not.
    fn deadline(&self, peer: &Self::Peer) -> Mono;
    /// What the connection speaks, as far as is known.
    fn protocol(&self, peer: &Self::Peer) -> Protocol;
    /// Bytes of user memory that the peer holds beyond its own size. Not the stream's name: the core has counted it.
    fn heap_bytes(&self, peer: &Self::Peer) -> usize;
    /// Bytes in front of the entries; shared by all subscribers that start there.
    fn preface(&mut self, preface: Preface<'_>) -> Bytes;
    /// Bytes behind the last entry of a stream that ended.
    fn goodbye(&mut self, name: &StreamName, key: LogKey) -> Bytes;
    /// The connection is to end, and stays until its peer has taken what is left for it.
    fn leaving(&mut self, peer: &mut Self::Peer);
    /// The socket of a connection that asked to leave, with what was read of it.
    ///
    /// # Errors
    /// Nobody took it, and it is closed; the core counts the reason.
    fn detached(
        &mut self,
        peer: Self::Peer,
        now: Mono,
        socket: OwnedFd,
        read: Bytes,
    ) -> Result<(), RefuseReason>;
    /// Viewers of a stream on this core are let go, because its publisher sends nothing any more that their format carries.
    fn let_go(&mut self, now: Mono, name: &StreamName, why: &'static str);
    /// A stream has ended: its publisher did not come back in time, or it made room for another one.
    fn stream_ended(&mut self, now: Mono, name: &StreamName, displaced: bool);
    /// The connection is gone.
    fn closed(&mut self, peer: Self::Peer, now: Mono, reason: DisconnectReason);
}

/// Part of a core's connections that viewers leave to publishers, one at least.
const CONNECTIONS_KEEP: u32 = 10;

/// Times and bounds of a core.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of one core.
    pub connections: u32,
    /// Places that a core has beside these, which residents and their sockets alone take.
    pub reserved: u32,
    /// A subscriber behind more than this skips.
    pub lag_max: Duration,
    /// A send that is not over after this ends the connection.
    pub stall: Duration,
    /// A player waits this long for its stream.
    pub play_wait: Duration,
    /// A publisher that sends no picture and no sound for this long is closed.
    pub silence: Duration,
    /// A stream without publisher lives this long.
    pub grace: Duration,
    /// A publisher that was silent for this long loses its name to a new one.
    pub takeover: Duration,
    /// What a subscriber may send us in 10 s, in bytes.
    pub inbound_bytes: u32,
    /// Evicted bytes that slow readers may hold on one core; beyond, the slowest is closed.
    pub pin_budget_bytes: u64,
    /// `TCP_NOTSENT_LOWAT` of every subscriber, in bytes.
    pub notsent_lowat_bytes: u32,
}

impl Limits {
    /// Records of one core, of connections and of what is reserved.
    pub fn records(&self) -> u32 {
        self.connections.saturating_add(self.reserved)
    }

    /// Viewers of one core: the kernel deals connections unevenly, and a core full of viewers would turn publishers away.
    pub fn connections_for_viewers(&self) -> u32 {
        let kept = self.connections / CONNECTIONS_KEEP;
        self.connections - kept.max(u32::from(self.connections > 1))
    }
}
