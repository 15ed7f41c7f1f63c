//! The io_uring backend: a ring of its own on the core's thread, beside the runtime's.
//!
//! Registered sockets, multishot receives into a provided buffer ring, sends with `MSG_WAITALL` (the kernel retries a
//! short send itself, so a subscriber costs one completion a send). The ring's descriptor sits in an `AsyncFd`:
//! readiness is cleared first and completions drained after, so none is missed. `DEFER_TASKRUN` would hang there: its
//! completions are only posted by a wait with GETEVENTS, which epoll never makes.
//!
//! Unsafe, and why it is sound: (1) the buffer ring and its buffers are mapped for the ring's life and unmapped after
//! the ring is closed; a buffer's bytes are read only between its completion and its recycling. (2) Submission
//! entries name memory that outlives them: send bytes by the caller's contract, the timer's `Timespec` and the bell's
//! word because they are boxed here and dropped after the ring. (3) On drop everything is cancelled and reaped; if
//! that does not end, the process aborts: nothing is freed under the kernel.

use super::{
    Backend, BackendStats, Buffer, Completion, GENERATION_BITS, Key, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS,
};
use crate::media::Mono;
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed, TimeoutFlags, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// Entries of the submission queue: a batch of sends with room to spare.
const SUBMISSION_ENTRIES: u32 = 1024;
/// Entries of the completion queue; the kernel keeps aside what does not fit, and we count how often.
const COMPLETION_ENTRIES: u32 = 16 << 10;
/// How long a drop waits for the kernel to give everything back.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);
const BUFFER_GROUP: u16 = 0;

/// Kinds of operation, in the lowest byte of `user_data`.
mod kind {
    pub const RECEIVE: u8 = 1;
    pub const SEND: u8 = 2;
    pub const TIMER: u8 = 3;
    pub const BELL: u8 = 4;
    pub const YIELD: u8 = 5;
    pub const CANCEL: u8 = 6;
}

fn user_data(key: Key, kind: u8) -> u64 {
    (u64::from(key.slot) << 32) | (u64::from(key.generation) << 8) | u64::from(kind)
}

fn key_of(user_data: u64) -> Key {
    Key { slot: (user_data >> 32) as u32, generation: (user_data >> 8) as u32 & ((1 << GENERATION_BITS) - 1) }
}

/// The provided buffers: a ring of descriptors and the memory they name, in one mapping each.
struct Buffers {
    ring: Mapping,
    memory: Mapping,
    tail: u16,
}

/// An anonymous private mapping.
struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Mapping> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choosing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start: start.cast(), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; the kernel's side was closed before (point 1).
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

impl Buffers {
    fn new() -> io::Result<Buffers> {
        let count = usize::from(RECEIVE_BUFFERS);
        Ok(Buffers {
            ring: Mapping::new(count * size_of::<BufRingEntry>())?,
            memory: Mapping::new(count * RECEIVE_BUFFER_BYTES)?,
            tail: 0,
        })
    }

    fn at(&self, id: u16) -> *mut u8 {
        let id = usize::from(id % RECEIVE_BUFFERS);
        // SAFETY: `id` is below the number of buffers in the mapping.
        unsafe { self.memory.start.add(id * RECEIVE_BUFFER_BYTES) }
    }

    /// Gives buffer `id` to the kernel.
    fn provide(&mut self, id: u16) {
        let base = self.ring.start.cast::<BufRingEntry>();
        let address = self.at(id) as u64;
        // SAFETY: the mapping holds RECEIVE_BUFFERS entries and the index is below that; entry fields below `tail`
        // are not read by the kernel until the tail is stored (Release), and `tail` lies in entry 0's reserved field,
        // which the setters do not touch.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail % RECEIVE_BUFFERS));
            entry.set_addr(address);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(base).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

/// The ring's descriptor, for `AsyncFd`; closed by the ring, not by this.
struct RingFd(RawFd);

impl AsRawFd for RingFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// What the kernel may still use; dropped together, or leaked together.
struct Kernel {
    ring: IoUring,
    buffers: Buffers,
    timer: Box<Timespec>,
    bell_word: Box<u64>,
}

/// See the module's description.
pub struct Uring {
    /// Dropped before the ring.
    readiness: Option<AsyncFd<RingFd>>,
    kernel: Option<Box<Kernel>>,
    sockets: Vec<Option<OwnedFd>>,
    collected: VecDeque<Completion>,
    outstanding: u64,
    bell: OwnedFd,
    /// The bell's read has completed and is to be asked for again.
    bell_rung: bool,
    /// Timeouts in the kernel, with their numbers, the earliest last.
    timers: Vec<(Mono, u32)>,
    timer_number: u32,
    /// A no-op is under way that will be told as a wake.
    yielding: bool,
    /// Completions that the kernel keeps aside were seen at the last look.
    overflowing: bool,
    stats: BackendStats,
}

/// Whether this kernel and its policy allow what the backend needs, with the reason if not.
pub fn probe() -> io::Result<()> {
    // Declared in this order so that the ring is closed before its buffers are unmapped, also on an error.
    let mut buffers = Buffers::new()?;
    let mut ring = build(8, 16)?;
    ring.submitter().register_files_sparse(1)?;
    register(&mut ring, &mut buffers)?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [opcode::Recv::CODE, opcode::Send::CODE, opcode::Timeout::CODE, opcode::AsyncCancel2::CODE];
    if !needed.iter().all(|code| probe.is_supported(*code)) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's io_uring lacks an operation"));
    }
    Ok(())
}

fn build(submission: u32, completion: u32) -> io::Result<IoUring> {
    IoUring::builder().setup_single_issuer().setup_coop_taskrun().setup_cqsize(completion).build(submission)
}

fn register(ring: &mut IoUring, buffers: &mut Buffers) -> io::Result<()> {
    // SAFETY: the ring mapping is page aligned, holds RECEIVE_BUFFERS entries and outlives the ring (point 1).
    unsafe {
        ring.submitter().register_buf_ring_with_flags(
            buffers.ring.start as u64,
            RECEIVE_BUFFERS,
            BUFFER_GROUP,
            0,
        )?;
    }
    for id in 0..RECEIVE_BUFFERS {
        buffers.provide(id);
    }
    Ok(())
}

impl Uring {
    /// A ring for at most `slots` sockets; `bell` is the eventfd that other cores ring. Must be called inside a
    /// tokio runtime of this thread.
    pub fn new(slots: u32, bell: OwnedFd) -> io::Result<Uring> {
        // In this order: see `probe`.
        let mut buffers = Buffers::new()?;
        let mut ring = build(SUBMISSION_ENTRIES, COMPLETION_ENTRIES)?;
        ring.submitter().register_files_sparse(slots)?;
        register(&mut ring, &mut buffers)?;
        let fd = RingFd(ring.as_raw_fd());
        // SAFETY: the ring, which owns the descriptor, is closed after this registration is dropped (`drop`).
        let readiness = Some(unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)? });
        let kernel = Kernel { ring, buffers, timer: Box::new(Timespec::new()), bell_word: Box::new(0) };
        let mut uring = Uring {
            readiness,
            kernel: Some(Box::new(kernel)),
            sockets: Vec::new(),
            collected: VecDeque::new(),
            outstanding: 0,
            bell,
            bell_rung: false,
            timers: Vec::new(),
            timer_number: 0,
            yielding: false,
            overflowing: false,
            stats: BackendStats::default(),
        };
        uring.arm_bell();
        Ok(uring)
    }

    fn arm_bell(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let word: *mut u64 = &mut *kernel.bell_word;
        let read = opcode::Read::new(Fd(self.bell.as_raw_fd()), word.cast(), size_of::<u64>() as u32);
        self.push(read.build().user_data(u64::from(kind::BELL)));
    }

    /// Every entry names memory that lives until its completion: see the module's point 2.
    fn push(&mut self, entry: squeue::Entry) {
        self.outstanding += 1;
        loop {
            let Some(kernel) = &mut self.kernel else { return };
            // SAFETY: point 2.
            if unsafe { kernel.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.stats.submission_full += 1;
            match kernel.ring.submit() {
                Ok(_) => {}
                // The kernel wants its completions taken first.
                Err(error) if passing(&error) => self.drain(),
                Err(error) => {
                    // The ring itself is broken; nothing on this core can go on.
                    tracing::error!(%error, "io_uring refuses submissions");
                    std::process::abort();
                }
            }
        }
    }

    /// Counts the times that the completion queue was too small. Returns whether the kernel keeps completions aside,
    /// which come with the next system call after room was made.
    fn overflows(&mut self) -> bool {
        let Some(kernel) = &mut self.kernel else { return false };
        let overflowing = kernel.ring.submission().cq_overflow();
        self.stats.completion_overflow += u64::from(overflowing && !self.overflowing);
        self.overflowing = overflowing;
        overflowing
    }

    fn drain(&mut self) {
        self.overflows();
        let Some(kernel) = &mut self.kernel else { return };
        let mut completions = kernel.ring.completion();
        if completions.overflow() > 0 {
            // The kernel had no memory to keep them in. Whose they were is unknown: their slots would never be free.
            tracing::error!(lost = completions.overflow(), "io_uring lost completions");
            std::process::abort();
        }
        for entry in &mut completions {
            let (result, flags) = (entry.result(), entry.flags());
            let key = key_of(entry.user_data());
            let last = !cqueue::more(flags);
            if last {
                self.outstanding -= 1;
            }
            let completion = match entry.user_data() as u8 {
                kind::RECEIVE => match (result, cqueue::buffer_select(flags)) {
                    (1.., Some(id)) => {
                        let buffer = Buffer { id, len: (result as u32).min(RECEIVE_BUFFER_BYTES as u32) };
                        Completion::Received { key, buffer, last }
                    }
                    (_, buffer) => {
                        if let Some(id) = buffer {
                            kernel.buffers.provide(id);
                        }
                        if !last {
                            continue;
                        }
                        match -result {
                            ..=0 => Completion::ReceiveEnded { key, error: None },
                            libc::ENOBUFS => Completion::ReceiveStarved { key },
                            error => Completion::ReceiveEnded { key, error: Some(error) },
                        }
                    }
                },
                kind::SEND => Completion::Sent {
                    key,
                    result: if result < 0 { Err(-result) } else { Ok(result as u32) },
                },
                kind::BELL => {
                    self.bell_rung = true;
                    Completion::Woken
                }
                kind::TIMER => {
                    self.timers.retain(|(_, number)| *number != key.slot);
                    Completion::Woken
                }
                kind::YIELD => {
                    self.yielding = false;
                    Completion::Woken
                }
                _ => continue,
            };
            self.collected.push_back(completion);
        }
    }
}

/// Errors of a submission that another try, after completions were taken, gets over.
fn passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EINTR | libc::EAGAIN))
}

impl Backend for Uring {
    fn attach(&mut self, slot: u32, socket: OwnedFd) -> io::Result<()> {
        let kernel = self.kernel.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        kernel.ring.submitter().register_files_update(slot, &[socket.as_raw_fd()])?;
        let at = slot as usize;
        if self.sockets.len() <= at {
            self.sockets.resize_with(at + 1, || None);
        }
        if let Some(place) = self.sockets.get_mut(at) {
            *place = Some(socket);
        }
        Ok(())
    }

    fn detach(&mut self, slot: u32) -> Option<OwnedFd> {
        let socket = self.sockets.get_mut(slot as usize)?.take()?;
        if let Some(kernel) = &self.kernel
            && let Err(error) = kernel.ring.submitter().register_files_update(slot, &[-1])
        {
            tracing::warn!(%error, slot, "cannot unregister a socket");
        }
        Some(socket)
    }

    fn socket(&self, slot: u32) -> Option<BorrowedFd<'_>> {
        Some(self.sockets.get(slot as usize)?.as_ref()?.as_fd())
    }

    fn receive_once(&mut self, key: Key) {
        let entry = opcode::Recv::new(Fixed(key.slot), std::ptr::null_mut(), RECEIVE_BUFFER_BYTES as u32)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry.user_data(user_data(key, kind::RECEIVE)));
    }

    fn receive_many(&mut self, key: Key) {
        let entry = opcode::RecvMulti::new(Fixed(key.slot), BUFFER_GROUP).build();
        self.push(entry.user_data(user_data(key, kind::RECEIVE)));
    }

    unsafe fn send(&mut self, key: Key, bytes: *const [u8]) {
        let entry = opcode::Send::new(Fixed(key.slot), bytes.cast::<u8>(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.push(entry.user_data(user_data(key, kind::SEND)));
    }

    fn abort(&mut self, key: Key) {
        if let Some(socket) = self.socket(key.slot) {
            // Fails on a socket that is gone already, which is as good.
            let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::fd(Fixed(key.slot)).all()).build();
        self.push(cancel.user_data(user_data(key, kind::CANCEL)));
    }

    fn wake_at(&mut self, at: Mono) {
        // One that is earlier serves as well; a later one stays for its own time.
        if at == Mono::NEVER || self.timers.last().is_some_and(|(earliest, _)| *earliest <= at) {
            return;
        }
        let Some(kernel) = &mut self.kernel else { return };
        let us = at.as_micros();
        // The kernel copies the time when it takes the entry. If the box is written again before that, both timers
        // fire at the newer time, which is the earlier one.
        *kernel.timer = Timespec::new().sec(us / 1_000_000).nsec((us % 1_000_000) as u32 * 1000);
        let timeout = opcode::Timeout::new(&*kernel.timer).flags(TimeoutFlags::ABS).build();
        self.timer_number = self.timer_number.wrapping_add(1);
        self.timers.push((at, self.timer_number));
        let number = Key { slot: self.timer_number, generation: 0 };
        self.push(timeout.user_data(user_data(number, kind::TIMER)));
    }

    fn yield_once(&mut self) {
        self.yielding = true;
        self.push(opcode::Nop::new().build().user_data(u64::from(kind::YIELD)));
    }

    fn submit(&mut self) -> io::Result<()> {
        if !self.collected.is_empty() && !self.yielding {
            // Taken early, by a full submission queue, or left by a turn: no readiness will tell of them.
            self.yield_once();
        }
        let overflowing = self.overflows();
        if let Some(kernel) = &mut self.kernel {
            let waiting = !kernel.ring.submission().is_empty();
            if (waiting || overflowing)
                && let Err(error) = kernel.ring.submit()
                && !passing(&error)
            {
                return Err(error);
            }
        }
        Ok(())
    }

    fn collect(&mut self) -> io::Result<()> {
        self.drain();
        if std::mem::take(&mut self.bell_rung) {
            self.arm_bell();
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.collected.pop_front()
    }

    fn bytes(&self, buffer: &Buffer) -> &[u8] {
        match &self.kernel {
            // SAFETY: the completion gave this buffer to us until `recycle`, which takes the only handle (point 1);
            // the kernel has written its first `len` bytes.
            Some(kernel) => unsafe {
                std::slice::from_raw_parts(kernel.buffers.at(buffer.id), buffer.len as usize)
            },
            None => &[],
        }
    }

    fn recycle(&mut self, buffer: Buffer) {
        if let Some(kernel) = &mut self.kernel {
            kernel.buffers.provide(buffer.id);
        }
    }

    async fn ready(&self) -> io::Result<()> {
        // Never by `yield_now`: the runtime's own ring submits only when the thread truly waits. What was collected already
        // is told of by the no-op of `submit`.
        match &self.readiness {
            Some(readiness) => readiness.readable().await?.clear_ready(),
            None => return Err(io::ErrorKind::NotConnected.into()),
        }
        Ok(())
    }

    fn stats(&self) -> BackendStats {
        self.stats
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.push(opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(u64::from(kind::CANCEL)));
        self.readiness = None;
        let Some(mut kernel) = self.kernel.take() else { return };
        let deadline = Instant::now() + REAP_TIMEOUT;
        while self.outstanding > 0 && Instant::now() < deadline {
            let pause = Timespec::from(Duration::from_millis(50));
            let args = io_uring::types::SubmitArgs::new().timespec(&pause);
            if let Err(error) = kernel.ring.submitter().submit_with_args(1, &args)
                && !matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                )
            {
                break;
            }
            let finished = kernel.ring.completion().filter(|c| !cqueue::more(c.flags())).count() as u64;
            self.outstanding = self.outstanding.saturating_sub(finished);
        }
        if self.outstanding > 0 {
            // The memory they name belongs to others too: it must not be freed under the kernel.
            tracing::error!(outstanding = self.outstanding, "the kernel keeps operations; aborting");
            std::process::abort();
        }
    }
}
