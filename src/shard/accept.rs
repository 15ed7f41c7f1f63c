//! How connections come to a core: taken from its listeners, refused, or given a slot; and what happens when the kernel
//! has none to give.

use super::App;
use super::conn::{Cold, Role};
use super::core::Core;
use super::engine::Backend;
use super::timers::Timer;
use crate::media::Mono;
use crate::observe::{DisconnectReason, RefuseReason};
use bytes::Bytes;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Pause after an accept that failed: out of descriptors or memory, which time alone can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One listener.
#[derive(Debug, Default)]
pub(super) struct Accepting {
    /// The backend was asked and has not said that it is over.
    asked: bool,
    /// Failures in a row.
    failures: u64,
}

impl<B: Backend, A: App> Core<B, A> {
    /// Takes connections of `listener`.
    pub(super) fn accept(&mut self, listener: usize) {
        if let Some(accepting) = self.accepting.get_mut(listener)
            && !accepting.asked
            && self.draining.is_none()
            && !self.shedding.closed
        {
            accepting.asked = true;
            self.backend.accept(listener);
        }
    }

    pub(super) fn close_listeners(&mut self) {
        (0..self.accepting.len()).for_each(|listener| self.backend.close_listener(listener));
    }

    pub(super) fn accept_ended(&mut self, now: Mono, listener: usize, error: i32) {
        let Some(accepting) = self.accepting.get_mut(listener) else { return };
        accepting.asked = false;
        if self.draining.is_some() {
            return;
        }
        match error {
            // Told to stop, and perhaps to go on before this was heard; or a connection that was gone before it was taken.
            libc::ECANCELED | libc::ECONNABORTED | libc::EPROTO | libc::EINTR => self.accept(listener),
            _ => {
                self.observed.metrics.accept_errors.inc();
                accepting.failures += 1;
                if accepting.failures == 1 {
                    let error = std::io::Error::from_raw_os_error(error);
                    tracing::warn!(core = self.id, listener, %error, "accept failed; trying again and again");
                }
                self.timers.push(now + ACCEPT_PAUSE, Timer::Accept(listener));
            }
        }
    }

    pub(super) fn accepted(&mut self, now: Mono, listener: usize, socket: OwnedFd, address: SocketAddr) {
        if let Some(accepting) = self.accepting.get_mut(listener)
            && accepting.failures > 0
        {
            let failures = std::mem::take(&mut accepting.failures);
            tracing::info!(core = self.id, listener, failures, "accepting again");
        }
        self.observed.metrics.connections_accepted.inc();
        if self.draining.is_some() {
            self.observed.metrics.connections_refused[RefuseReason::Draining].inc();
            return;
        }
        let peer = match self.app.accepted(now, listener, address) {
            Ok(peer) => peer,
            Err(reason) => {
                self.observed.metrics.connections_refused[reason].inc();
                return;
            }
        };
        let protocol = self.app.protocol(&peer);
        let cold = Cold {
            peer,
            role: Role::None,
            protocol,
            out: Vec::new(),
            preface: None,
            sending: Bytes::new(),
            timer_at: Mono::NEVER,
            linger_until: Mono::NEVER,
            reason: DisconnectReason::ClientClosed,
            inbound_since: now,
            inbound_bytes: 0,
            detach: None,
        };
        let Some(key) = self.conns.insert(cold) else {
            self.observed.metrics.connections_refused[RefuseReason::Limit].inc();
            return;
        };
        super::runtime::prepare_socket(&socket, self.shared.limits.notsent_lowat_bytes);
        if let Err(error) = self.backend.attach(key.slot, socket) {
            tracing::warn!(%error, peer = %address, "cannot take a connection");
            self.observed.metrics.connections_refused[RefuseReason::Descriptors].inc();
            self.conns.remove(key.slot);
            return;
        }
        self.observed.metrics.connections.inc();
        self.receive(key);
        self.arm(key);
    }
}
