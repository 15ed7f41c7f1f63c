//! The sends, in two forms.

use anyhow::{Context, Result};
use headgate_load::clock;
use headgate_load::grid::DATAGRAM_BYTES;
use io_uring::types::{Fixed, TimeoutFlags, Timespec};
use io_uring::{IoUring, opcode, squeue};
use socket2::{SockAddr, Socket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Entries of the submission queue; a tick that has more takes another submission.
const SUBMISSION_ENTRIES: u32 = 2048;
/// Entries of the completion queue.
const COMPLETION_ENTRIES: u32 = 8192;
/// Datagrams of one socket in one call.
const RUN: usize = 4;
/// `user_data` of the timeout; sends have none.
const TIMEOUT: u64 = 1;
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;

/// What every datagram holds: seven null packets.
static DATAGRAM: [u8; DATAGRAM_BYTES as usize] = datagram();

const fn datagram() -> [u8; DATAGRAM_BYTES as usize] {
    let mut bytes = [0xff; DATAGRAM_BYTES as usize];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = 0x47;
        bytes[at + 1] = 0x1f;
        bytes[at + 3] = 0x10;
        at += 188;
    }
    bytes
}

/// How datagrams leave.
pub trait Wire {
    /// A datagram for target `n`.
    fn lay(&mut self, n: usize) -> Result<()>;
    /// Sends what was laid down and waits until `until_ns`; how many the kernel did not take.
    fn go(&mut self, until_ns: u64) -> Result<u64>;
}

/// One submission a tick. Field order matters: the ring is closed before what its entries name is freed.
pub struct Uring {
    ring: IoUring,
    until: Box<Timespec>,
    targets: Box<[SockAddr]>,
    _sockets: Vec<Socket>,
    outstanding: usize,
    errors: u64,
}

impl Uring {
    /// A ring of this thread.
    pub fn new(sockets: Vec<Socket>, targets: Vec<SockAddr>) -> Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)
            .context("cannot make an io_uring ring")?;
        let descriptors: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&descriptors).context("cannot register files")?;
        let (until, targets) = (Box::new(Timespec::new()), targets.into_boxed_slice());
        Ok(Self { ring, until, targets, _sockets: sockets, outstanding: 0, errors: 0 })
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        // SAFETY: entries name the static datagram, and addresses and a time that live as long as the ring; the time is
        // written only between timeouts.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit(0)?;
        }
        self.outstanding += 1;
        Ok(())
    }

    fn submit(&mut self, completions: usize) -> Result<()> {
        match self.ring.submit_and_wait(completions) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINTR | libc::EAGAIN)) => {
                return Err(error).context("io_uring_enter");
            }
            _ => {}
        }
        for entry in self.ring.completion() {
            self.outstanding -= 1;
            self.errors += u64::from(entry.user_data() != TIMEOUT && entry.result() < 0);
        }
        Ok(())
    }
}

impl Wire for Uring {
    fn lay(&mut self, n: usize) -> Result<()> {
        let Some(to) = self.targets.get(n) else { return Ok(()) };
        let send = opcode::Send::new(Fixed(n as u32), DATAGRAM.as_ptr(), DATAGRAM.len() as u32)
            .flags(FLAGS)
            .dest_addr(to.as_ptr().cast())
            .dest_addr_len(to.len())
            .build();
        self.push(&send)
    }

    fn go(&mut self, until_ns: u64) -> Result<u64> {
        *self.until = Timespec::from(Duration::from_nanos(until_ns));
        let timeout = opcode::Timeout::new(&raw const *self.until).flags(TimeoutFlags::ABS).build();
        self.push(&timeout.user_data(TIMEOUT))?;
        while self.outstanding > 0 {
            self.submit(self.outstanding)?;
        }
        Ok(std::mem::take(&mut self.errors))
    }
}

/// A call for each socket.
pub struct Each {
    sockets: Vec<Socket>,
    targets: Vec<SockAddr>,
    /// The socket of the datagrams that were laid down last, and how many.
    run: (usize, usize),
    errors: u64,
}

impl Each {
    /// Plain calls.
    pub fn new(sockets: Vec<Socket>, targets: Vec<SockAddr>) -> Self {
        Self { sockets, targets, run: (0, 0), errors: 0 }
    }

    fn send(&mut self) {
        let (n, count) = std::mem::take(&mut self.run);
        let (Some(socket), Some(to), true) = (self.sockets.get(n), self.targets.get(n), count > 0) else {
            return;
        };
        let mut piece =
            libc::iovec { iov_base: DATAGRAM.as_ptr().cast_mut().cast(), iov_len: DATAGRAM.len() };
        // SAFETY: integers, and pointers that may be null.
        let mut head: libc::mmsghdr = unsafe { std::mem::zeroed() };
        head.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
        head.msg_hdr.msg_namelen = to.len();
        (head.msg_hdr.msg_iov, head.msg_hdr.msg_iovlen) = (&raw mut piece, 1);
        let mut heads = [head; RUN];
        let count = count.min(RUN);
        // SAFETY: `count` headers are there, and what they name lives through the call, which only reads it.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), heads.as_mut_ptr(), count as u32, FLAGS) };
        self.errors += (count - usize::try_from(sent).unwrap_or(0).min(count)) as u64;
    }
}

impl Wire for Each {
    fn lay(&mut self, n: usize) -> Result<()> {
        if self.run.0 != n || self.run.1 == RUN {
            self.send();
        }
        self.run = (n, self.run.1 + 1);
        Ok(())
    }

    fn go(&mut self, until_ns: u64) -> Result<u64> {
        self.send();
        clock::sleep_until(until_ns);
        Ok(std::mem::take(&mut self.errors))
    }
}
