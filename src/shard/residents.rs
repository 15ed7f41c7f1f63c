//! Residents: records that are there from a core's start to its end, have no socket of their own, and listen to any number
//! of datagram sockets. An input is one: its stream's publisher, like a connection that publishes, fed by sockets that come
//! and go with the network.
//!
//! A resident is a record like any other, so that everything which publishers go through (claims, takeovers, a stream that
//! moves) is the same for it. What differs stands here: what would close a connection [deposes](Core::depose) it; each
//! of its sockets has a record too, so that the kernel's completions find their generation, and what comes there is told to
//! the resident. The places of both are reserved: a core full of viewers has them.
//!
//! **No core opens such a socket.** Opening, joining and leaving wait for the kernel's network lock, which somebody who
//! configures a thousand interfaces holds for as long as that takes. A thread beside the cores does it, the clerk: sockets
//! come from it whole, and what is wrong with them goes back to it, as commands.

use super::conn::{Cold, Role, State, hot};
use super::core::Core;
use super::engine::{Backend, Buffer, Key};
use super::mailbox::{Command, SocketId};
use super::{Answer, App, ResidentId};
use crate::media::Mono;
use crate::observe::DisconnectReason;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Pause after a receive that failed: the interface is gone, which time alone can mend.
const AGAIN: Duration = Duration::from_millis(100);

/// Who lives on a core, and what listens for them.
#[derive(Debug, Default)]
pub(super) struct Residents {
    keys: Vec<(ResidentId, Key)>,
    /// Each with its own record.
    sockets: Vec<(SocketId, Key)>,
}

impl<B: Backend, A: App> Core<B, A> {
    /// Takes the residents in, before the first turn.
    pub(crate) fn move_in(&mut self) {
        let now = self.backend.now();
        for (resident, peer) in self.app.residents(now) {
            let protocol = self.app.protocol(&peer);
            let Some(key) = self.conns.insert_kept(Cold::new(peer, Role::None, protocol, now)) else {
                // Whoever counted them has counted wrong.
                return tracing::error!(core = self.id, resident, "no place is reserved for an input");
            };
            self.residents.keys.push((resident, key));
            self.arm(key);
        }
    }

    /// A resident loses its stream; false if it is none, or is to go with the core.
    pub(super) fn depose(&mut self, now: Mono, key: Key, reason: DisconnectReason) -> bool {
        let resident = self.conns.get(key).is_some_and(|slot| slot.hot.is(hot::RESIDENT));
        if !resident || self.draining.is_some() {
            return false;
        }
        self.leave_role(now, key);
        self.ask(now, key, |app, peer, io| app.answer(peer, now, Answer::Deposed(reason), io));
        true
    }

    /// Receives from `socket` for a resident; what cannot be is told to who has sent it.
    pub(super) fn listen(&mut self, now: Mono, id: SocketId, socket: OwnedFd) {
        // While the core drains nobody comes any more.
        if self.draining.is_some() {
            return;
        }
        let of = self.residents.keys.iter().find(|(resident, _)| *resident == id.resident);
        // No place was reserved for it when the core started.
        let Some((_, of)) = of.copied() else { return self.complain(id, libc::EMFILE, true) };
        self.hush(now, id);
        let peer = self.app.socket();
        let protocol = self.app.protocol(&peer);
        let role = Role::Socket { of, number: id.number, again_at: Mono::NEVER };
        let error = match self.conns.insert_kept(Cold::new(peer, role, protocol, now)) {
            None => libc::EMFILE,
            Some(key) => match self.backend.attach(key.slot, socket) {
                Ok(()) => {
                    self.residents.sockets.push((id, key));
                    return self.receive(key);
                }
                Err(error) => {
                    self.conns.remove(key.slot);
                    error.raw_os_error().unwrap_or(libc::EIO)
                }
            },
        };
        self.complain(id, error, true);
    }

    /// Tells the clerk of a socket that failed.
    fn complain(&mut self, id: SocketId, error: i32, closed: bool) {
        if let Some(clerk) = self.shared.mailboxes.clerk() {
            self.tell(clerk, Command::SocketFailed { id, error, closed });
        }
    }

    /// Closes a socket of a resident, whichever of that number is open.
    pub(super) fn hush(&mut self, now: Mono, id: SocketId) {
        let its = |(known, _): &(SocketId, Key)| (known.resident, known.number) == (id.resident, id.number);
        if let Some(at) = self.residents.sockets.iter().position(its) {
            let (_, key) = self.residents.sockets.swap_remove(at);
            self.close(now, key, DisconnectReason::ClientClosed);
        }
    }

    /// A datagram came for a resident.
    pub(super) fn datagram(&mut self, now: Mono, of: Key, number: u32, buffer: Buffer) {
        let mut io = std::mem::take(&mut self.spare_io);
        let slot = self.conns.get(of).filter(|slot| slot.hot.state == State::Open);
        if let (Some(cold), Some(datagram)) =
            (slot.and_then(|slot| slot.cold.as_mut()), self.backend.datagram(&buffer))
        {
            let bytes = datagram.payload.len() as u64;
            self.observed.metrics.ingest_bytes[cold.protocol].add(bytes);
            self.app.datagram(&mut cold.peer, now, number, datagram, &mut io);
        }
        self.backend.recycle(buffer);
        self.apply(now, of, io);
    }

    /// A receive of a socket is over: an empty datagram does that on some kernels, and an error, which the clerk hears of.
    pub(super) fn socket_stumbled(&mut self, now: Mono, key: Key, error: Option<i32>) {
        let Some(error) = error else { return self.receive(key) };
        let Some(Role::Socket { again_at, .. }) = self.role(key) else { return };
        *again_at = now + AGAIN;
        self.arm(key);
        let its = self.residents.sockets.iter().find(|(.., known)| *known == key).copied();
        if let Some((id, _)) = its {
            self.complain(id, error, false);
        }
    }

    /// Asks for datagrams again after an error.
    pub(super) fn listen_again(&mut self, key: Key) {
        if let Some(Role::Socket { again_at, .. }) = self.role(key) {
            *again_at = Mono::NEVER;
        }
        self.receive(key);
    }
}
