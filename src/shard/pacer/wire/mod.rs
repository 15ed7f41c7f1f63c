//! The pacer's face to the kernel: datagrams in, one call a tick.
//!
//! Datagrams lie in slots, a fixed number of buffers that never move. A slot belongs to the kernel from the call that
//! hands it over until all its sends are over, and is written by nobody meanwhile. Sends never wait for room in a
//! socket: what the kernel does not take at once is late for a receiver that plays by a clock, and counts as an error.

mod place;
mod plain;
mod slots;
mod uring;

pub(super) use plain::Plain;
pub(super) use uring::Uring;

use super::To;
use crate::media::Mono;
use crate::shard::engine::clock;
use socket2::SockAddr;
use std::io;

/// Largest datagram, in bytes: an Ethernet frame's worth, which FEC packets (1344) need most of.
pub const SLOT_BYTES: usize = 1472;
/// Slots: datagrams that one call hands over. A tick of 200 channels at 4 Mbit/s has 76; one that has more than there are
/// takes another call.
const SLOTS: usize = 1024;

/// A place that datagrams go to.
#[derive(Debug)]
pub(super) struct Target {
    /// Which of the wire's sockets.
    pub socket: u32,
    pub address: SockAddr,
}

/// A send that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    slot: u32,
    skip: u16,
    target: u32,
}

/// The end of one send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub target: u32,
    /// Bytes, or an error number.
    pub result: Result<u32, i32>,
}

/// See the module's description.
pub(super) trait Wire {
    /// The time.
    fn now(&self) -> Mono {
        clock()
    }
    /// Lays a datagram of so many bytes, which `write` writes, into a slot for each of `to`, whose numbers count from target
    /// `first`.
    fn lay(&mut self, bytes: usize, first: u32, to: &[To], write: &mut dyn FnMut(&mut [u8]));
    /// Hands over what was laid down, and waits until `until`.
    fn go(&mut self, until: Mono) -> io::Result<()>;
    /// The next send that is over.
    fn next(&mut self) -> Option<Sent>;
}

#[cfg(test)]
mod tests;
