//! The pacer: one thread that sends channels' datagrams by the clock, away from the cores that serve viewers.
//!
//! A core's turn may take milliseconds under thousands of viewers, and each of them would be jitter in every receiver of
//! a channel. So channels have a thread of their own. To the cores it is one core more, behind the real ones: it has a
//! mailbox and marks, follows logs like they do (`shard/following`), and is the home of no stream.
//!
//! Its loop: every millisecond of the monotonic clock (an absolute time, so that lateness does not add up) it takes what
//! the kernel and the other cores say, feeds the channels what their logs have gained, lets each write the datagrams that
//! are due, and hands all of them to the kernel in one call, which also waits for the next tick (`wire`). It ticks
//! whether or not a stream is there, because a channel never stops; and therefore it never says that it sleeps, so no
//! core pays for waking it: what is left for it waits a millisecond at most.
//!
//! What a channel is, is not known here: see [`Channel`]. Nothing is allocated per tick or datagram: only a copy of each entry
//! of a log, for all of its channels. What is looked at in every tick, and for every datagram that the kernel took, stands side
//! by side for all channels: most of them have nothing to do in most ticks, and their own memory would have to come from far.

mod ahead;
mod feed;
mod pace;
#[cfg(test)]
mod tests;
mod thread;
mod wire;

pub use ahead::{Ahead, fetch};
pub use thread::Start;
pub use wire::SLOT_BYTES;

use crate::fanout::directory::StreamName;
use crate::fanout::log::{JoinPoint, LogKey};
use crate::media::Mono;
use bytes::Bytes;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Time between two ticks. Shorter ones would cost a wake-up each for less than one datagram of most channels; with
/// longer ones a burst at 20 Mbit/s would be more than two.
pub const TICK: Duration = Duration::from_millis(1);
/// How often [`Channel::watch`] is called: what it looks for must be found within half a second.
pub const WATCH: Duration = Duration::from_millis(100);

/// What has become of a source of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// There is no stream of that name.
    NoStream,
    /// The stream is there and is followed; what it has comes by [`Channel::feed`].
    Found,
    /// The stream has no log that can be sent; why, for people.
    Refused(&'static str),
    /// The stream has ended.
    Ended,
    /// The pacer fell behind, and goes on at the newest place where one can begin.
    Skipped,
}

/// A socket of a channel and the addresses that it sends to.
#[derive(Debug)]
pub struct Outlet {
    /// A UDP socket, whole with its options.
    pub socket: OwnedFd,
    /// Where it sends to.
    pub addresses: Vec<SocketAddr>,
}

/// One address of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct To {
    /// Number of the address among all of the channel's outlets, in their order.
    pub address: u32,
    /// Bytes at the beginning that this address does not get.
    pub skip: u16,
}

/// Datagrams that the kernel took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Their number.
    pub datagrams: u64,
    /// Their bytes, without UDP's and IP's headers.
    pub bytes: u64,
}

/// An output by the clock: packets of the logs of one stream or several go in, datagrams come out.
pub trait Channel {
    /// The streams that it sends; below, `source` is a place in this list.
    fn sources(&self) -> &[StreamName];
    /// The log of each that the channel is made from: one of a transport stream.
    fn log(&self) -> LogKey;
    /// Nanoseconds between two datagrams at its rate, or between the next two.
    fn datagram_ns(&self) -> u64;
    /// The clock starts: datagram 0 is due at `at`.
    fn begin(&mut self, at: Mono);
    /// An entry of a source's log: the packets of one frame, whole, which was complete on this host at `came_at`. All channels
    /// of a source get the same bytes, which they may keep.
    fn feed(&mut self, source: usize, now: Mono, came_at: Mono, packets: &Bytes);
    /// Whether it may begin with what came at `came_at`, or waits for the next place.
    fn begins(&self, now: Mono, came_at: Mono) -> bool;
    /// What is fed next of a source does not follow on what was: it begins at `join`, and came at `came_at`.
    fn seam(&mut self, source: usize, now: Mono, came_at: Mono, join: &JoinPoint);
    /// News of a source.
    fn heard(&mut self, source: usize, now: Mono, heard: Heard);
    /// Datagrams that are due by `now` and are not written yet. Not asked before [`Channel::next_at`].
    fn due(&mut self, now: Mono) -> u64;
    /// When the next datagram is due; a time that has passed while that is not known.
    fn next_at(&self) -> Mono;
    /// [`Channel::write`] follows soon: asks ([`fetch`]) for what it will read.
    fn ahead(&self, _what: Ahead) {}
    /// Writes the next datagram.
    fn write(&mut self, now: Mono, tray: &mut Tray<'_>);
    /// Leaves out what is due by `now` but the newest of it: it was held up for too long.
    fn jump(&mut self, now: Mono);
    /// Datagrams are late, and follow at twice the rate, or what is left of it beside bursts.
    fn fell_behind(&mut self, now: Mono);
    /// The kernel has taken datagrams, whole, since the last time: told before [`Channel::watch`].
    fn sent(&mut self, taken: Taken);
    /// The kernel has not taken a datagram for address `address`: an error number.
    fn refused(&mut self, address: u32, error: i32);
    /// Called every [`WATCH`].
    fn watch(&mut self, now: Mono);
    /// The process is going down: nothing is written behind this.
    fn end(&mut self);
}

/// What takes datagrams.
pub trait Lay {
    /// A datagram of so many bytes, at most [`SLOT_BYTES`], for each of `to`; `write` writes all of them, and is called once.
    fn lay(&mut self, bytes: usize, to: &[To], write: &mut dyn FnMut(&mut [u8]));
}

/// Anything that is to be told of datagrams.
impl<F: FnMut(&[u8], &[To])> Lay for F {
    fn lay(&mut self, bytes: usize, to: &[To], write: &mut dyn FnMut(&mut [u8])) {
        let mut room = [0; SLOT_BYTES];
        let Some(room) = room.get_mut(..bytes) else { return };
        write(room);
        self(room, to);
    }
}

/// Where a channel lays its datagrams; they leave together at the end of the tick.
pub struct Tray<'a> {
    lay: &'a mut dyn Lay,
    utc_s: u64,
}

impl<'a> Tray<'a> {
    /// A tray whose datagrams go to `lay` with who gets them; it is `utc_s` seconds after 1970.
    pub fn new(lay: &'a mut dyn Lay, utc_s: u64) -> Tray<'a> {
        Tray { lay, utc_s }
    }

    /// Lays down a datagram of at most [`SLOT_BYTES`] for each of `to`.
    pub fn send(&mut self, datagram: &[u8], to: &[To]) {
        self.write(datagram.len(), to, |room| room.copy_from_slice(datagram));
    }

    /// Lays down a datagram of so many bytes for each of `to`, which `write` writes where the kernel will read it, or, if there
    /// is no room, for nobody.
    pub fn write(&mut self, bytes: usize, to: &[To], mut write: impl FnMut(&mut [u8])) {
        self.lay.lay(bytes, to, &mut write);
    }

    /// Seconds of UTC since 1970, for what tells the time of day.
    pub fn utc_s(&self) -> u64 {
        self.utc_s
    }
}
