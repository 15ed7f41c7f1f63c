//! The wire by a small io_uring of the pacer's thread: all datagrams of a tick, and the wait for the next one, are one
//! system call.
//!
//! The wait is an absolute timeout in the same ring: a relative one would begin when the sends are through, and the call
//! returns when they and it are over. Sends carry `MSG_DONTWAIT`, so each is over when the call has looked at it.
//!
//! Unsafe, and why it is sound: submission entries name memory that outlives them. (1) A datagram's slot is an allocation
//! of its own; from `lay` until its last completion nothing writes it (`super::slots` gives out only slots without
//! sends), and it is freed with the wire only. (2) Addresses and the timeout's time stand in boxes that are never
//! replaced; the time is written only while no timeout is armed. (3) On drop the timeout is cancelled and everything
//! reaped; if that does not end, the process aborts: nothing is freed under the kernel.

use super::place::Place;
use super::slots::Slots;
use super::{Asked, SLOTS, Sent, Target, To, Wire};
use crate::media::Mono;
use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, TimeoutFlags, Timespec};
use io_uring::{IoUring, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Entries of the submission queue: a tick of 200 channels at 4 Mbit/s and some more. One that has more takes another call
/// for each so many, which costs less than queues that are too long for the cache: each entry is a line of it.
const SUBMISSION_ENTRIES: u32 = 256;
/// Entries of the completion queue: what is submitted at most before completions are taken, with room to spare.
const COMPLETION_ENTRIES: u32 = 1024;
const _: () = assert!(COMPLETION_ENTRIES >= 2 * SUBMISSION_ENTRIES);
/// How long a drop waits for the kernel to give everything back.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);
/// `user_data` of the timeout and of its cancellation; sends have their target above their slot, which is far lower.
const TIMEOUT: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// See the module's description.
pub(in crate::shard::pacer) struct Uring {
    /// First, so that it is closed before what its entries name is freed.
    ring: IoUring,
    /// Kept open; the ring has them registered.
    _sockets: Vec<OwnedFd>,
    targets: Box<[Place]>,
    until: Box<Timespec>,
    slots: Slots,
    /// Sends of this tick. Entries are made of them behind all datagrams: an entry is read as soon as it is written, and
    /// with a datagram in front of it the processor would wait until that is in the cache.
    asked: Vec<Asked>,
    /// Entries without their completion, the timeout among them.
    outstanding: usize,
    armed: bool,
    sent: VecDeque<Sent>,
}

impl Uring {
    /// A ring of this thread.
    pub fn new(sockets: Vec<OwnedFd>, targets: Vec<Target>) -> io::Result<Uring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_cqsize(COMPLETION_ENTRIES);
        // As the cores' rings are set up (`engine::uring`): Linux 6.1, or before.
        let deferred = builder.clone().setup_defer_taskrun().build(SUBMISSION_ENTRIES);
        let ring = deferred.or_else(|_| builder.setup_coop_taskrun().build(SUBMISSION_ENTRIES))?;
        let descriptors: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        if !descriptors.is_empty() {
            ring.submitter().register_files(&descriptors)?;
        }
        Ok(Uring {
            ring,
            _sockets: sockets,
            targets: targets.iter().map(Place::of).collect(),
            until: Box::new(Timespec::new()),
            slots: Slots::new(),
            asked: Vec::with_capacity(SLOTS),
            outstanding: 0,
            armed: false,
            sent: VecDeque::with_capacity(SLOTS),
        })
    }

    /// Every entry names memory that lives until its completion: see the module's description.
    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        // SAFETY: points 1 and 2.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.submit(0)?;
        }
        self.outstanding += 1;
        Ok(())
    }

    /// Hands over what was pushed, and waits until `completions` wait.
    fn submit(&mut self, completions: usize) -> io::Result<()> {
        let done = self.ring.submit_and_wait(completions);
        // What came must not fill the queue for what comes next.
        self.reap();
        match done {
            Err(error) if !passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn reap(&mut self) {
        for entry in self.ring.completion() {
            self.outstanding = self.outstanding.saturating_sub(1);
            match entry.user_data() {
                TIMEOUT => self.armed = false,
                CANCEL => {}
                send => {
                    self.slots.release(send as u32);
                    let result = entry.result();
                    let result = if result < 0 { Err(-result) } else { Ok(result as u32) };
                    self.sent.push_back(Sent { target: (send >> 32) as u32, result });
                }
            }
        }
    }

    /// Makes entries of what was asked for.
    fn send_all(&mut self) {
        let mut asked = std::mem::take(&mut self.asked);
        for Asked { slot, target, skip } in asked.drain(..) {
            if let Err(error) = self.send(slot, target, skip) {
                // The ring is broken, which the tick's own call says too; this entry was never handed over.
                self.slots.release(slot);
                self.sent.push_back(Sent { target, result: Err(error.raw_os_error().unwrap_or(libc::EIO)) });
            }
        }
        self.asked = asked;
    }

    fn send(&mut self, slot: u32, target: u32, skip: u16) -> io::Result<()> {
        let Some(Place { socket, address }) = self.targets.get(target as usize) else {
            self.slots.release(slot);
            self.sent.push_back(Sent { target, result: Err(libc::EDESTADDRREQ) });
            return Ok(());
        };
        let bytes = self.slots.get(slot, skip);
        let entry = opcode::Send::new(Fixed(*socket), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
            .dest_addr(address.as_ptr())
            .dest_addr_len(address.len())
            .build();
        self.push(entry.user_data(u64::from(target) << 32 | u64::from(slot)))
    }
}

/// Errors of a submission that another try, after completions were taken, gets over.
fn passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINTR | libc::EAGAIN))
}

impl Wire for Uring {
    fn lay(&mut self, bytes: usize, first: u32, to: &[To], write: &mut dyn FnMut(&mut [u8])) {
        if !self.slots.has_room() {
            self.send_all();
            // What is wrong with it the tick's own call says too.
            let _ = self.submit(0);
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
        if !self.armed {
            *self.until = Timespec::from(Duration::from_micros(until.as_micros()));
            let timeout = opcode::Timeout::new(&raw const *self.until).flags(TimeoutFlags::ABS).build();
            self.push(timeout.user_data(TIMEOUT))?;
            self.armed = true;
        }
        while self.armed {
            self.submit(self.outstanding)?;
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(CANCEL);
        let mut broken = self.push(cancel).is_err();
        let deadline = Instant::now() + REAP_TIMEOUT;
        while self.outstanding > 0 && !broken && Instant::now() < deadline {
            let pause = Timespec::from(Duration::from_millis(50));
            let args = SubmitArgs::new().timespec(&pause);
            let done = self.ring.submitter().submit_with_args(1, &args);
            broken = done.is_err_and(|error| !passing(&error) && error.raw_os_error() != Some(libc::ETIME));
            self.reap();
        }
        if self.outstanding > 0 {
            tracing::error!(outstanding = self.outstanding, "the kernel keeps datagrams; aborting");
            std::process::abort();
        }
    }
}
