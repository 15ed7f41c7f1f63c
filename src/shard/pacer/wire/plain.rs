//! The wire by plain system calls, where io_uring is refused: `sendmmsg` for each run of datagrams of one socket, and
//! `clock_nanosleep` to the next tick.

use super::slots::Slots;
use super::{Asked, Sent, Target, To, Wire};
use crate::media::Mono;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Datagrams of one call; more of one socket take another.
const RUN: usize = 16;

/// See the module's description.
pub(in crate::shard::pacer) struct Plain {
    sockets: Vec<OwnedFd>,
    /// Number of the socket, and the address as the kernel reads it.
    targets: Vec<(u32, SocketAddrAny)>,
    /// Stands for an address that there is not.
    nowhere: SocketAddrAny,
    slots: Slots,
    asked: VecDeque<Asked>,
    sent: VecDeque<Sent>,
}

impl Plain {
    pub fn new(sockets: Vec<OwnedFd>, targets: Vec<Target>) -> Plain {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let any = |target: &Target| (target.socket, target.address.as_socket().unwrap_or(nowhere).as_any());
        let (targets, nowhere) = (targets.iter().map(any).collect(), nowhere.as_any());
        // A tick's worth; kept from then on.
        let (asked, sent) = (VecDeque::with_capacity(super::SLOTS), VecDeque::with_capacity(super::SLOTS));
        Plain { sockets, targets, nowhere, slots: Slots::new(), asked, sent }
    }

    fn address(&self, target: u32) -> &SocketAddrAny {
        self.targets.get(target as usize).map_or(&self.nowhere, |(_, address)| address)
    }

    /// Hands over everything.
    fn send_all(&mut self) {
        while let Some(first) = self.asked.front() {
            let socket_of = |asked: &Asked| self.targets.get(asked.target as usize).map(|target| target.0);
            let socket = socket_of(first);
            let run = self.asked.iter().take(RUN).take_while(|asked| socket_of(asked) == socket).count();
            let taken = self.send_run(socket, run);
            // The call tells the error of its first datagram only, and nothing of those behind a failed one.
            let (over, failed) = match taken {
                Ok(taken) => (taken.clamp(1, run), None),
                Err(error) => (1, Some(error.raw_os_error())),
            };
            for asked in self.asked.drain(..over) {
                let len = self.slots.get(asked.slot, asked.skip).len() as u32;
                self.slots.release(asked.slot);
                self.sent.push_back(Sent { target: asked.target, result: failed.map_or(Ok(len), Err) });
            }
        }
    }

    /// One call for the first `run` datagrams asked for; how many were taken.
    fn send_run(&self, socket: Option<u32>, run: usize) -> Result<usize, Errno> {
        let socket = socket.and_then(|socket| self.sockets.get(socket as usize)).ok_or(Errno::BADF)?;
        // Behind the run its last datagram stands again; the call does not see it.
        let at = |n: usize| self.asked.get(n.min(run - 1)).copied().unwrap_or_default();
        let addresses: [&SocketAddrAny; RUN] = std::array::from_fn(|n| self.address(at(n).target));
        let bytes: [[IoSlice<'_>; 1]; RUN] =
            std::array::from_fn(|n| [IoSlice::new(self.slots.get(at(n).slot, at(n).skip))]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; RUN] =
            std::array::from_fn(|_| Default::default());
        let mut n = 0usize..;
        let mut messages = controls.each_mut().map(|control| {
            let n = n.next().unwrap_or(0);
            MMsgHdr::new_with_addr(addresses[n], &bytes[n], control)
        });
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmmsg(socket, messages.get_mut(..run).unwrap_or_default(), flags)
    }
}

impl Wire for Plain {
    fn lay(&mut self, bytes: usize, first: u32, to: &[To], write: &mut dyn FnMut(&mut [u8])) {
        if !self.slots.has_room() {
            self.send_all();
        }
        match self.slots.lay(bytes, to.len() as u16, write) {
            Some(slot) => self.asked.extend(to.iter().map(|to| Asked {
                slot,
                skip: to.skip,
                target: first + to.address,
            })),
            None => {
                let refused = |to: &To| Sent { target: first + to.address, result: Err(libc::ENOBUFS) };
                self.sent.extend(to.iter().map(refused));
            }
        }
    }

    fn go(&mut self, until: Mono) -> io::Result<()> {
        self.send_all();
        let us = until.as_micros();
        let at = Timespec { tv_sec: (us / 1_000_000) as i64, tv_nsec: (us % 1_000_000 * 1000) as i64 };
        while let Err(error) = clock_nanosleep_absolute(ClockId::Monotonic, &at) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }
}
