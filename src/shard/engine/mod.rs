//! The engine's face to the kernel: operations out, completions in.
//!
//! A [`Backend`] owns the sockets of one core, by slot. It knows nothing of streams and subscribers, so the part that
//! does (`super::core`) runs against io_uring, epoll or a simulation. Rules of the face:
//!
//! - at most one receive and one send are outstanding for a slot; each ends in exactly one last completion;
//! - datagrams are received whole, each in a buffer of its own, with who sent it; an empty one is one too;
//! - bytes given to [`Backend::send`] stay in place until its completion has been taken;
//! - a slot's socket is released only when nothing is outstanding for it.

pub mod epoll;
#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
pub mod uring;

use crate::media::Mono;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Receive buffers of a core; they return in the turn that filled them, so few serve many sockets.
pub const RECEIVE_BUFFERS: u16 = 256;
/// Size of one, in bytes.
pub const RECEIVE_BUFFER_BYTES: usize = 16 << 10;
/// Bits of a generation that travel through the kernel.
pub const GENERATION_BITS: u32 = 24;

/// A socket in its slot; the generation tells completions of a former occupant apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Index of the connection's record.
    pub slot: u32,
    /// Counts occupants, modulo 2^[`GENERATION_BITS`].
    pub generation: u32,
}

/// A filled receive buffer, to be given back with [`Backend::recycle`].
#[derive(Debug)]
#[must_use = "a buffer that is not recycled is lost to the core"]
pub struct Buffer {
    id: u16,
    len: u32,
}

/// What a buffer of [`Backend::receive_datagrams`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// What is in it; it may be nothing.
    pub payload: &'a [u8],
    /// It was longer than a buffer, and the rest is lost.
    pub cut: bool,
}

/// What the kernel says.
#[derive(Debug)]
pub enum Completion {
    /// Bytes came. `last` says that the receive is over (it was for one buffer, or the kernel stopped it).
    Received {
        /// Whose.
        key: Key,
        /// The bytes.
        buffer: Buffer,
        /// No further completion of this receive comes.
        last: bool,
    },
    /// The receive is over: end of stream, or an error number.
    ReceiveEnded {
        /// Whose.
        key: Key,
        /// `None` is the peer's end of stream.
        error: Option<i32>,
    },
    /// No buffer was free; the receive is over and to be asked for again next turn.
    ReceiveStarved {
        /// Whose.
        key: Key,
    },
    /// The send is over: bytes taken by the kernel, or an error number.
    Sent {
        /// Whose.
        key: Key,
        /// Fewer bytes than asked for only if the socket failed in between.
        result: Result<u32, i32>,
    },
    /// Connections wait at a listener, or it is broken; to be watched again when they are taken.
    Knocked {
        /// Index of the listener.
        listener: usize,
    },
    /// Another core rang: look around.
    Woken,
}

/// Counters that only the backend can see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// The submission queue was full and had to be submitted early.
    pub submission_full: u64,
    /// Times that completions did not fit their queue and the kernel had to keep some aside.
    pub completion_overflow: u64,
}

/// Takes a connection from a listener that does not block. An IPv4 address is told as such also where it came to an IPv6
/// socket; one that is gone already is unspecified.
fn accept(listener: &OwnedFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let (socket, any) = rustix::net::acceptfrom_with(listener, rustix::net::SocketFlags::CLOEXEC)?;
    let address = any.and_then(|any| SocketAddr::try_from(any).ok());
    let mut address = address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
    address.set_ip(address.ip().to_canonical());
    Ok((socket, address))
}

/// Microseconds of CLOCK_MONOTONIC.
pub fn clock() -> Mono {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Mono::from_micros(t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1000)
}

/// See the module's description.
pub trait Backend {
    /// The time, for everything that happens on this core.
    fn now(&self) -> Mono {
        clock()
    }
    /// Gives the backend a connected socket for `slot`.
    fn attach(&mut self, slot: u32, socket: OwnedFd) -> io::Result<()>;
    /// Takes it back; nothing may be outstanding.
    fn detach(&mut self, slot: u32) -> Option<OwnedFd>;
    /// The socket of `slot`.
    fn socket(&self, slot: u32) -> Option<std::os::fd::BorrowedFd<'_>>;
    /// Asks for one buffer of bytes.
    fn receive_once(&mut self, key: Key);
    /// Asks for bytes until told otherwise.
    fn receive_many(&mut self, key: Key);
    /// Asks for datagrams until told otherwise; [`Backend::datagram`] reads their buffers.
    fn receive_datagrams(&mut self, key: Key);
    /// Sends all of `bytes`.
    ///
    /// # Safety
    /// `bytes` must stay valid and unchanged until the completion [`Completion::Sent`] of `key` has been taken, or
    /// the backend is dropped.
    unsafe fn send(&mut self, key: Key, bytes: *const [u8]);
    /// Ends our direction: what was sent arrives, and then the end of stream.
    fn end_writes(&mut self, slot: u32) {
        if let Some(socket) = self.socket(slot) {
            // Fails if the peer is gone already; then its end of stream is here too.
            let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
    }
    /// Ends both directions: outstanding operations complete soon.
    fn abort(&mut self, key: Key);
    /// Makes sure that [`Completion::Knocked`] comes once when connections wait at `listener`.
    fn watch_listener(&mut self, listener: usize);
    /// Takes a connection that waits at `listener`: `WouldBlock` if there is none.
    fn accept(&mut self, listener: usize) -> io::Result<(OwnedFd, SocketAddr)>;
    /// Lets nobody connect to `listener` any more.
    fn close_listener(&mut self, listener: usize);
    /// Hands what was asked for to the kernel.
    fn submit(&mut self) -> io::Result<()>;
    /// Waits until there are completions, but not beyond `until`. Returns at once if some wait already.
    fn wait(&mut self, until: Mono) -> io::Result<()>;
    /// Collects completions for [`Backend::next`].
    fn collect(&mut self) -> io::Result<()>;
    /// The next completion that was collected.
    fn next(&mut self) -> Option<Completion>;
    /// The datagram of a buffer; `None` if the kernel wrote no head in front of it.
    fn datagram(&self, buffer: &Buffer) -> Option<Datagram<'_>>;
    /// The bytes of a buffer.
    fn bytes(&self, buffer: &Buffer) -> &[u8];
    /// Gives a buffer back.
    fn recycle(&mut self, buffer: Buffer);
    /// See [`BackendStats`].
    fn stats(&self) -> BackendStats;
}
