//! The thread of a core: pinning, the runtime, listeners, the choice of the engine.

use super::App;
use super::core::{Accepted, Core, Shared};
use super::engine::{epoll::Epoll, uring, uring::Uring};
use crate::fanout::stream::CoreId;
use crate::observe::CoreSlot;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Pause after a failed accept: out of descriptors, which time alone can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Entries of the runtime's own ring: accepts only.
const RUNTIME_ENTRIES: u32 = 64;
/// A peer that acknowledges nothing for this long is gone; longer than any stall timeout that is of use.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// Keepalive: first probe, distance, count.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

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
pub(super) fn prepare_socket(socket: &OwnedFd, notsent_lowat_bytes: u32) {
    let socket_ref = socket2::SockRef::from(socket);
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = socket2::TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    let done = socket_ref
        .set_tcp_nodelay(true)
        .and_then(|()| socket_ref.set_tcp_keepalive(&keepalive))
        .and_then(|()| socket_ref.set_tcp_user_timeout(Some(USER_TIMEOUT)))
        .and_then(|()| set_notsent_lowat(socket, notsent_lowat_bytes));
    if let Err(error) = done {
        tracing::debug!(%error, "a socket option is refused");
    }
}

fn set_notsent_lowat(socket: &OwnedFd, bytes: u32) -> io::Result<()> {
    let value = bytes as libc::c_int;
    // SAFETY: `value` is an int that lives through the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
    pub fn run(self) -> io::Result<()> {
        pin(self.cpu)?;
        match self.engine {
            Engine::Uring => {
                let mut ring = tokio_uring::uring_builder();
                ring.setup_single_issuer().setup_coop_taskrun();
                tokio_uring::builder().entries(RUNTIME_ENTRIES).uring_builder(&ring).start(self.serve_uring())
            }
            Engine::Epoll => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                tokio::task::LocalSet::new().block_on(&runtime, self.serve_epoll())
            }
        }
    }

    async fn serve_uring(self) -> io::Result<()> {
        let accepted = Rc::new(Accepted::default());
        let backend = Uring::new(self.shared.limits.connections, self.shared.bells.eventfd(self.id)?)?;
        for (index, listener) in self.listeners.into_iter().enumerate() {
            let (accepted, observed) = (accepted.clone(), self.observed.clone());
            accepted.watch(listener.try_clone()?.into());
            tokio_uring::spawn(async move {
                let listener = tokio_uring::net::TcpListener::from_std(listener);
                loop {
                    // The runtime's stream closes its descriptor; the engine's is a duplicate.
                    let socket = listener.accept().await.and_then(|(stream, address)| {
                        // SAFETY: `stream` keeps the descriptor open through this expression.
                        let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
                        Ok((fd.try_clone_to_owned()?, address))
                    });
                    if !take(socket, index, &accepted, &observed).await {
                        return;
                    }
                }
            });
        }
        let app = (self.app)();
        Core::new(self.id, self.shared, backend, app, accepted, self.observed).run().await
    }

    async fn serve_epoll(self) -> io::Result<()> {
        let accepted = Rc::new(Accepted::default());
        let backend = Epoll::new(self.shared.bells.eventfd(self.id)?)?;
        for (index, listener) in self.listeners.into_iter().enumerate() {
            let (accepted, observed) = (accepted.clone(), self.observed.clone());
            listener.set_nonblocking(true)?;
            accepted.watch(listener.try_clone()?.into());
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::task::spawn_local(async move {
                loop {
                    let socket = listener
                        .accept()
                        .await
                        .and_then(|(stream, address)| Ok((OwnedFd::from(stream.into_std()?), address)));
                    if !take(socket, index, &accepted, &observed).await {
                        return;
                    }
                }
            });
        }
        let app = (self.app)();
        Core::new(self.id, self.shared, backend, app, accepted, self.observed).run().await
    }
}

/// Hands an accepted socket to the engine. Returns whether to go on.
async fn take(
    socket: io::Result<(OwnedFd, SocketAddr)>,
    listener: usize,
    accepted: &Accepted,
    observed: &CoreSlot,
) -> bool {
    match socket {
        Ok((socket, address)) => accepted.push(listener, socket, address),
        Err(_) if accepted.stopped() => {}
        Err(error) => {
            observed.metrics.accept_errors.inc();
            tracing::warn!(%error, "accept failed; pausing");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
    !accepted.stopped()
}

/// The CPUs this process may use.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

fn pin(cpu: usize) -> io::Result<()> {
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
