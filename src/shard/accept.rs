//! How connections come to a core: taken from its listeners, refused, or given a slot; and what happens when the kernel
//! has none to give.

use super::App;
use super::conn::{Cold, Role};
use super::core::Core;
use super::engine::Backend;
use super::timers::Timer;
use crate::media::Mono;
use crate::observe::RefuseReason;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Pause after an accept that failed: out of descriptors or memory, which time alone can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections taken from one listener in one turn: each costs some system calls, and streams are not to wait for a crowd
/// at the door. The others stay in the kernel's queue, which takes no descriptors.
const ACCEPTS_PER_TURN: usize = 32;

/// One listener.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    /// The backend will say when connections wait.
    watched: bool,
    /// Connections may wait.
    knocked: bool,
    /// Failures in a row.
    failures: u64,
}

impl<B: Backend, A: App> Core<B, A> {
    /// The backend watches `listener` no more: connections wait.
    pub(super) fn knocked(&mut self, listener: usize) {
        if let Some(accepting) = self.accepting.get_mut(listener) {
            (accepting.watched, accepting.knocked) = (false, true);
        }
    }

    /// Looks at `listener` in this turn.
    pub(super) fn look_at_listener(&mut self, listener: usize) {
        if let Some(accepting) = self.accepting.get_mut(listener) {
            accepting.knocked = true;
        }
    }

    pub(super) fn close_listeners(&mut self) {
        (0..self.accepting.len()).for_each(|listener| self.backend.close_listener(listener));
    }

    /// Takes connections that wait, unless nobody is to be let in now. Returns whether more may wait.
    pub(super) fn take_connections(&mut self, now: Mono) -> bool {
        if self.draining.is_some() || self.shedding.closed {
            return false;
        }
        for listener in 0..self.accepting.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                let Some(accepting) = self.accepting.get_mut(listener).filter(|a| a.knocked) else { break };
                let error = match self.backend.accept(listener) {
                    Ok((socket, address)) => {
                        self.accepted(now, listener, socket, address);
                        continue;
                    }
                    Err(error) => error,
                };
                match error.raw_os_error() {
                    // A connection that was gone before it was taken.
                    Some(libc::ECONNABORTED | libc::EPROTO | libc::EINTR) => continue,
                    _ => accepting.knocked = false,
                }
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    self.observed.metrics.accept_errors.inc();
                    accepting.failures += 1;
                    if accepting.failures == 1 {
                        tracing::warn!(core = self.id, listener, %error, "accept failed; trying again and again");
                    }
                    self.timers.push(now + ACCEPT_PAUSE, Timer::Accept(listener));
                } else if !std::mem::replace(&mut accepting.watched, true) {
                    self.backend.watch_listener(listener);
                }
            }
        }
        self.accepting.iter().any(|accepting| accepting.knocked)
    }

    pub(super) fn accepted(&mut self, now: Mono, listener: usize, socket: OwnedFd, address: SocketAddr) {
        if let Some(accepting) = self.accepting.get_mut(listener)
            && accepting.failures > 0
        {
            let failures = std::mem::take(&mut accepting.failures);
            tracing::info!(core = self.id, listener, failures, "accepting again");
        }
        self.observed.metrics.connections_accepted.inc();
        if let Err(reason) = self.admit(now, listener, socket, address) {
            self.observed.metrics.connections_refused[reason].inc();
            self.app.turned_away(now, address, reason);
        }
    }

    fn admit(
        &mut self,
        now: Mono,
        listener: usize,
        socket: OwnedFd,
        address: SocketAddr,
    ) -> Result<(), RefuseReason> {
        let peer = match self.app.accepted(now, listener, address) {
            Err(reason) if self.give_way(now, reason, address) => {
                self.app.accepted(now, listener, address)?
            }
            answer => answer?,
        };
        // For who may come in alone: others must not close anybody.
        self.keep_places(now);
        let protocol = self.app.protocol(&peer);
        let cold = Cold::new(peer, Role::None, protocol, now);
        let key = self.conns.insert(cold).ok_or(RefuseReason::Limit)?;
        super::runtime::prepare_socket(&socket, &self.shared.limits);
        if let Err(error) = self.backend.attach(key.slot, socket) {
            tracing::debug!(%error, peer = %address, "cannot take a connection");
            self.conns.remove(key.slot);
            return Err(RefuseReason::Descriptors);
        }
        self.observed.metrics.connections.inc();
        self.falls_silent(key);
        self.receive(key);
        self.arm(key);
        Ok(())
    }
}
