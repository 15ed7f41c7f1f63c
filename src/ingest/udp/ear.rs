//! One socket of an input: opened, joined, and opened again when its interface comes back or is another one.
//!
//! The kernel forgets memberships with an interface that is removed, and a switch forgets them with a port that went down;
//! so whoever has joined joins again, by a new socket, when the interface is there again.

use super::origin::Origin;
use crate::media::Mono;
use crate::shard::interfaces::{self, Interface};
use crate::shard::listen::{Listen, Watch, listen};
use crate::shard::{Io, Request};
use std::net::SocketAddr;
use std::time::Duration;

/// Pause between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Within which the core has closed a socket.
const CLOSED: Duration = Duration::from_millis(100);

/// What comes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Media,
    Repair,
}

#[derive(Debug)]
enum State {
    Shut { again_at: Mono },
    Open { watch: Watch, dropped: u32, index: Option<u32>, up: bool },
}

/// What is around a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    /// The machine's interfaces, as of the last look at them.
    pub links: &'a [Interface],
    /// They have changed since this was asked for last.
    pub changed: bool,
    /// What is asked of the kernel as a buffer.
    pub buffer_bytes: u32,
    /// The input's stream, for the log.
    pub stream: &'a str,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Ear {
    /// What the core calls it.
    pub number: u32,
    /// Whose it is.
    pub origin: usize,
    pub used_for: Use,
    address: SocketAddr,
    state: State,
    /// What was said last about why it is shut.
    said: String,
    /// It was open before.
    known: bool,
}

impl Ear {
    pub fn new(number: u32, origin: usize, used_for: Use, address: SocketAddr) -> Ear {
        let state = State::Shut { again_at: Mono::ZERO };
        Ear { number, origin, used_for, address, state, said: String::new(), known: false }
    }

    /// When [`Ear::look`] is due, interfaces aside.
    pub fn deadline(&self) -> Mono {
        match self.state {
            State::Shut { again_at } => again_at,
            State::Open { .. } => Mono::NEVER,
        }
    }

    /// Opens what is to be opened; `changed`: something is new about the interfaces.
    pub fn look(&mut self, now: Mono, around: Around<'_>, origin: &Origin, io: &mut Io) {
        let Around { links, changed, buffer_bytes, stream } = around;
        let wanted = origin.from.interface.as_deref();
        let interface = wanted.map(|text| interfaces::find(links, text));
        if let State::Open { index, up, .. } = &mut self.state
            && changed
            && let Some(found) = interface
        {
            let is_up = found.is_some_and(|found| found.is_up() && found.has_carrier());
            let was_up = std::mem::replace(up, is_up);
            let came_back = is_up && !was_up;
            if found.map(|found| found.index) == *index && !came_back {
                return;
            }
            io.ask(Request::Hush(self.number));
            self.tell_buffer(0, origin);
            // Not before the old socket is closed: a second member of a group sends no report, and a port is taken.
            self.state = State::Shut { again_at: now + CLOSED };
        }
        if !matches!(self.state, State::Shut { again_at } if now >= again_at) {
            return;
        }
        let (index, up) = match (wanted, interface) {
            (Some(text), Some(None)) => {
                return self.fail(now, format!("there is no interface {text}"), origin, stream);
            }
            (_, Some(Some(found))) => (Some(found.index), found.is_up() && found.has_carrier()),
            _ => (None, true),
        };
        // To an address of this machine any sender may send; who is meant is looked at with each datagram.
        let source = origin.from.source.filter(|_| self.address.ip().is_multicast());
        let what = Listen { address: self.address, interface: index, source, buffer_bytes };
        match listen(&what) {
            Ok(listening) => {
                let (got, place) = (listening.buffer_bytes, origin.from.place());
                self.tell_buffer(got, origin);
                let again = std::mem::replace(&mut self.known, true);
                // The sockets of an origin come and go together.
                if again && self.used_for == Use::Media {
                    origin.metrics.rejoins.inc();
                }
                let port = self.address.port();
                tracing::info!(stream, origin = %place, port, receive_buffer_bytes = got, "input: listening");
                if got < buffer_bytes {
                    tracing::warn!(
                        stream, origin = %place, asked = buffer_bytes, got,
                        "input: the kernel gives a smaller receive buffer; raise net.core.rmem_max"
                    );
                }
                self.said.clear();
                self.state = State::Open { watch: listening.watch, dropped: 0, index, up };
                io.ask(Request::Listen { number: self.number, socket: listening.socket });
            }
            Err(error) => self.fail(now, error.to_string(), origin, stream),
        }
    }

    /// The page shows the buffer of the media.
    fn tell_buffer(&self, bytes: u32, origin: &Origin) {
        if self.used_for == Use::Media {
            origin.metrics.buffer_bytes.set(bytes.into());
        }
    }

    fn fail(&mut self, now: Mono, why: String, origin: &Origin, stream: &str) {
        origin.metrics.socket_errors.inc();
        self.state = State::Shut { again_at: now + AGAIN };
        if why != self.said {
            tracing::warn!(stream, origin = %origin.from.place(), %why, "input: cannot listen; trying again every second");
            self.said = why;
        }
    }

    /// The core says that the socket failed.
    pub fn failed(&mut self, now: Mono, error: i32, closed: bool, origin: &Origin, stream: &str) {
        let why = std::io::Error::from_raw_os_error(error).to_string();
        if closed {
            self.tell_buffer(0, origin);
            return self.fail(now, why, origin, stream);
        }
        origin.metrics.socket_errors.inc();
        if why != self.said {
            tracing::warn!(stream, origin = %origin.from.place(), %why, "input: a receive failed; going on");
            self.said = why;
        }
    }

    /// Counts what found no room, once a second.
    pub fn publish(&mut self, origin: &Origin) {
        if let State::Open { watch, dropped, .. } = &mut self.state
            && let Ok(all) = watch.dropped()
        {
            origin.metrics.kernel_drops.add(all.wrapping_sub(std::mem::replace(dropped, all)).into());
        }
    }
}
