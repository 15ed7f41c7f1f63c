//! The thread of a core: pinning, listeners, the choice of the engine.

use super::App;
use super::core::{Core, Shared};
use super::engine::{Backend, epoll::Epoll, uring, uring::Uring};
use super::sockopt::set_notsent_lowat;
use crate::fanout::stream::CoreId;
use crate::observe::CoreSlot;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// A peer that acknowledges nothing for this long is gone, or that keeps its window shut: so it is more, where the stall
/// timeout is, for that one has a reason to count.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// By how much it is more.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(10);
/// Keepalive: first probe, distance, count. Whoever is sent nothing (the stream is silent, or not there yet) is missed
/// after as long as one who acknowledges nothing.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);
const _: () =
    assert!(KEEPALIVE.0.as_secs() + KEEPALIVE.1.as_secs() * KEEPALIVE.2 as u64 == USER_TIMEOUT.as_secs());

/// Which engine the cores run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

/// Why io_uring cannot be used here, if so.
pub fn uring_refusal() -> Option<io::Error> {
    uring::probe().err()
}

/// A listener that shares its address with those of the other cores.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Options of every accepted socket. A failure leaves a slower connection, not a broken one.
pub(super) fn prepare_socket(socket: &OwnedFd, limits: &super::Limits) {
    let socket_ref = socket2::SockRef::from(socket);
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = socket2::TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    let done = socket_ref
        .set_tcp_nodelay(true)
        .and_then(|()| socket_ref.set_tcp_keepalive(&keepalive))
        .and_then(|()| {
            socket_ref.set_tcp_user_timeout(Some(USER_TIMEOUT.max(limits.stall + USER_TIMEOUT_MARGIN)))
        })
        .and_then(|()| set_notsent_lowat(socket, limits.notsent_lowat_bytes));
    if let Err(error) = done {
        tracing::debug!(%error, "a socket option is refused");
    }
}

/// What a core's thread starts with.
pub struct Start<F> {
    /// Number of the core, from 0.
    pub id: CoreId,
    /// CPU to run on.
    pub cpu: usize,
    /// Which engine.
    pub engine: Engine,
    /// Its listeners; the index is given to [`App::accepted`].
    pub listeners: Vec<TcpListener>,
    /// Shared by all cores.
    pub shared: Arc<Shared>,
    /// Counters.
    pub observed: CoreSlot,
    /// Makes the protocols, on the core's thread.
    pub app: F,
}

impl<A: App, F: FnOnce() -> A> Start<F> {
    /// Runs the core on this thread until it is drained.
    pub fn run(mut self) -> io::Result<()> {
        pin(self.cpu)?;
        let bell = self.shared.bells.eventfd(self.id)?;
        let listeners: Vec<OwnedFd> = self.listeners.drain(..).map(OwnedFd::from).collect();
        let count = listeners.len();
        match self.engine {
            Engine::Uring => {
                let uring = Uring::new(self.shared.limits.records(), listeners, bell)?;
                self.serve(uring, count)
            }
            Engine::Epoll => self.serve(Epoll::new(listeners, bell)?, count),
        }
    }

    fn serve(self, backend: impl Backend, listeners: usize) -> io::Result<()> {
        let app = (self.app)();
        Core::new(self.id, self.shared, backend, app, listeners, self.observed).run()
    }
}

/// The CPUs this process may use.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

pub(super) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)?;
    Ok(())
}

/// Raises the descriptor limit as far as it goes; returns it.
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum.unwrap_or(u64::MAX);
    }
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_share_an_address() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        assert!(listen(address).is_ok());
        assert!(TcpListener::bind(address).is_err(), "a stranger does not");
    }
}
