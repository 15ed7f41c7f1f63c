//! The sends, in two forms: plain and batched on a ring.

use crate::log::Log;
use anyhow::{Context, Result, ensure};
use io_uring::types::{Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A send covers at most this much, as in the gateway.
const SEND_MAX: u64 = 128 * 1024;
/// Unsent bytes that the kernel takes, as in the gateway.
static NOTSENT_LOWAT: u32 = 16 * 1024;
const SQ_ENTRIES: u32 = 1024;
const EVENTS: usize = 256;

/// How bytes leave.
pub enum Backend {
    /// send(2), with an epoll instance for the sockets that are full.
    Epoll(OwnedFd),
    /// Sends on a ring; a full socket is the kernel's business.
    Uring(Box<IoUring>),
}

impl Backend {
    /// The plain form.
    pub fn epoll() -> Result<Self> {
        // SAFETY: the result is checked before it is owned.
        unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            ensure!(fd >= 0, "epoll_create1: {}", io::Error::last_os_error());
            Ok(Self::Epoll(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The batched form for `files` sockets.
    pub fn uring(files: usize) -> Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_cqsize(16 * SQ_ENTRIES)
            .build(SQ_ENTRIES)
            .context("cannot make an io_uring ring")?;
        ring.submitter().register_files_sparse(files.max(1) as u32).context("cannot register files")?;
        Ok(Self::Uring(Box::new(ring)))
    }
}

struct Subscriber {
    socket: TcpStream,
    cursor: u64,
    /// Bytes of the send on its way; 0 when there is none.
    in_flight: u64,
    /// In the ready queue, or full and waiting for room.
    waits: bool,
    dead: bool,
}

/// All sockets and their cursors.
pub struct Subscribers {
    backend: Backend,
    all: Vec<Subscriber>,
    flushed: Vec<u64>,
    ready: VecDeque<u32>,
    batch: usize,
    dead: usize,
    sends: u64,
    bytes: u64,
}

impl Subscribers {
    /// Nobody yet. Subscriber `i` belongs to phase slot `i % slots`.
    pub fn new(backend: Backend, slots: usize, batch: usize) -> Self {
        let flushed = vec![0; slots.max(1)];
        let (all, ready) = (Vec::new(), VecDeque::new());
        Self {
            backend,
            all,
            flushed,
            ready,
            batch: batch.clamp(1, SQ_ENTRIES as usize),
            dead: 0,
            sends: 0,
            bytes: 0,
        }
    }

    /// Takes in a socket that starts at `cursor`.
    pub fn add(&mut self, socket: TcpStream, cursor: u64) -> Result<()> {
        socket.set_nodelay(true)?;
        // SAFETY: the option's value is a u32 that lives through the call.
        let rc = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_NOTSENT_LOWAT,
                (&raw const NOTSENT_LOWAT).cast(),
                size_of::<u32>() as libc::socklen_t,
            )
        };
        ensure!(rc == 0, "TCP_NOTSENT_LOWAT: {}", io::Error::last_os_error());
        let index = self.all.len();
        match &self.backend {
            Backend::Epoll(epoll) => {
                let mut event =
                    libc::epoll_event { events: (libc::EPOLLOUT | libc::EPOLLET) as u32, u64: index as u64 };
                // SAFETY: both descriptors are open and `event` is valid for the call.
                let rc = unsafe {
                    libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &mut event)
                };
                ensure!(rc == 0, "epoll_ctl: {}", io::Error::last_os_error());
            }
            Backend::Uring(ring) => {
                ring.submitter().register_files_update(index as u32, &[socket.as_raw_fd()])?;
            }
        }
        self.all.push(Subscriber { socket, cursor, in_flight: 0, waits: false, dead: false });
        Ok(())
    }

    /// How many ever came.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// How many are still there.
    pub fn alive(&self) -> usize {
        self.all.len() - self.dead
    }

    /// Sends and bytes so far.
    pub fn sent(&self) -> (u64, u64) {
        (self.sends, self.bytes)
    }

    /// Slot `slot` may send up to `end`.
    pub fn flush(&mut self, slot: usize, end: u64) {
        let slots = self.flushed.len();
        let Some(flushed) = self.flushed.get_mut(slot) else { return };
        *flushed = end;
        for index in (slot..self.all.len()).step_by(slots) {
            enqueue(&mut self.all[index], index, end, &mut self.ready);
        }
    }

    /// One batch of sends; without any, waits for `timeout` or until a full socket has room.
    pub fn turn(&mut self, log: &Log, timeout: impl FnOnce() -> Duration) -> Result<()> {
        match self.backend {
            Backend::Epoll(_) => self.turn_epoll(log, timeout),
            Backend::Uring(_) => self.turn_uring(log, timeout),
        }
    }

    /// The next ready subscriber and what it sends: index, offset, length.
    fn next(&mut self, log: &Log) -> Option<(usize, u64, u64)> {
        loop {
            let index = self.ready.pop_front()? as usize;
            let end = self.flushed[index % self.flushed.len()];
            let subscriber = &mut self.all[index];
            subscriber.waits = false;
            if !log.holds(subscriber.cursor) {
                self.bury(index);
            } else if !subscriber.dead && subscriber.cursor < end {
                return Some((index, subscriber.cursor, (end - subscriber.cursor).min(SEND_MAX)));
            }
        }
    }

    fn bury(&mut self, index: usize) {
        let subscriber = &mut self.all[index];
        if !std::mem::replace(&mut subscriber.dead, true) {
            self.dead += 1;
            let _ = subscriber.socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// A send of `index` ended with `result`: bytes or a negated errno.
    fn sent_some(&mut self, index: usize, result: i64) {
        let end = self.flushed[index % self.flushed.len()];
        self.sends += 1;
        let Ok(n) = u64::try_from(result) else { return self.bury(index) };
        self.bytes += n;
        let subscriber = &mut self.all[index];
        subscriber.cursor += n;
        enqueue(subscriber, index, end, &mut self.ready);
    }

    fn turn_epoll(&mut self, log: &Log, timeout: impl FnOnce() -> Duration) -> Result<()> {
        for _ in 0..self.batch {
            let Some((index, offset, len)) = self.next(log) else { break };
            let fd = self.all[index].socket.as_raw_fd();
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: `len` is at most SEND_MAX, and that much is readable from any address that the log gives.
            let n = unsafe { libc::send(fd, log.at(offset).cast(), len as usize, flags) };
            if n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
                self.all[index].waits = true;
                continue;
            }
            if n >= 0 && (n as u64) < len {
                // Full: the kernel promises an event when there is room.
                self.all[index].waits = true;
            }
            self.sent_some(index, n as i64);
        }
        let timeout = if self.ready.is_empty() { timeout() } else { Duration::ZERO };
        let Backend::Epoll(epoll) = &self.backend else { return Ok(()) };
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        };
        // SAFETY: `events` holds EVENTS entries, the timeout is valid, a null mask changes nothing.
        let n = unsafe {
            libc::epoll_pwait2(
                epoll.as_raw_fd(),
                events.as_mut_ptr(),
                EVENTS as i32,
                &timeout,
                std::ptr::null(),
            )
        };
        for event in events.iter().take(usize::try_from(n).unwrap_or(0)) {
            let index = event.u64 as usize;
            let end = self.flushed[index % self.flushed.len()];
            let subscriber = &mut self.all[index];
            // An event for one that is queued already does no harm: it finds nothing to send the second time.
            subscriber.waits = false;
            enqueue(subscriber, index, end, &mut self.ready);
        }
        Ok(())
    }

    fn turn_uring(&mut self, log: &Log, timeout: impl FnOnce() -> Duration) -> Result<()> {
        for _ in 0..self.batch {
            let Some((index, offset, len)) = self.next(log) else { break };
            self.all[index].in_flight = len;
            let send = opcode::Send::new(Fixed(index as u32), log.at(offset), len as u32)
                .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                .build()
                .user_data(index as u64);
            let Backend::Uring(ring) = &mut self.backend else { return Ok(()) };
            // SAFETY: the bytes stay mapped for the process's life; a batch is at most the queue's length, and every
            // turn submits all of it.
            unsafe { ring.submission().push(&send) }.context("submission queue")?;
        }
        let timeout = if self.ready.is_empty() { timeout() } else { Duration::ZERO };
        let Backend::Uring(ring) = &mut self.backend else { return Ok(()) };
        let timeout = Timespec::from(timeout);
        let submitted = if self.ready.is_empty() && ring.submission().is_empty() {
            ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
        } else {
            ring.submit()
        };
        match submitted {
            Ok(_) => {}
            Err(e) if matches!(e.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {}
            Err(e) => return Err(e).context("io_uring_enter"),
        }
        let done: Vec<(usize, i64)> =
            ring.completion().map(|entry| (entry.user_data() as usize, i64::from(entry.result()))).collect();
        for (index, result) in done {
            self.all[index].in_flight = 0;
            self.sent_some(index, result);
        }
        Ok(())
    }
}

fn enqueue(subscriber: &mut Subscriber, index: usize, end: u64, ready: &mut VecDeque<u32>) {
    if !subscriber.waits && !subscriber.dead && subscriber.in_flight == 0 && subscriber.cursor < end {
        subscriber.waits = true;
        ready.push_back(index as u32);
    }
}
