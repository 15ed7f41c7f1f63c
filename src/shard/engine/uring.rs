//! The io_uring backend: the ring of the core's thread.
//!
//! The core's thread waits in this ring and nowhere else: connections, bytes, sends over, other cores' bells and the
//! next deadline all end the one wait. Registered sockets, multishot receives into a provided buffer ring, sends with `MSG_WAITALL` (the kernel retries a short send itself, so a subscriber costs one completion a send).
//!
//! Unsafe, and why it is sound: (1) the buffer ring and its buffers are mapped for the ring's life and unmapped after
//! the ring is closed; a buffer's bytes are read only between its completion and its recycling. (2) Submission
//! entries name memory that outlives them: the bytes of sends, by the caller's contract, and the message head of
//! datagrams, which is freed after the ring. (3) On drop everything is
//! cancelled and reaped; if that does not end, the process aborts: nothing is freed under the kernel.

use super::{
    Backend, BackendStats, Buffer, Completion, Datagram, GENERATION_BITS, Key, RECEIVE_BUFFER_BYTES,
    RECEIVE_BUFFERS, accept, clock,
};
use crate::media::Mono;
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

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
    pub const LISTENER: u8 = 3;
    pub const BELL: u8 = 4;
    pub const CANCEL: u8 = 5;
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

/// An anonymous private mapping, its pages there from the start: what a core takes does not creep up with its traffic,
/// and no receive waits for the kernel to clear one.
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
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
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

/// What the kernel may still use; dropped together, or leaked together.
struct Kernel {
    /// First, so that it is closed before its buffers are unmapped.
    ring: IoUring,
    buffers: Buffers,
    /// What is wanted in front of a datagram: the sender's address.
    head: libc::msghdr,
}

/// A head that asks for the sender's address and nothing else.
fn head() -> libc::msghdr {
    // SAFETY: a structure of numbers and pointers, for which zero is a value: none.
    let mut head: libc::msghdr = unsafe { std::mem::zeroed() };
    head.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    head
}

/// The address in `name`, as the kernel writes it (`struct sockaddr_in`, `sockaddr_in6`); an IPv4 one that came to an
/// IPv6 socket as such.
fn address(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => Some((Ipv4Addr::from(*name.get(4..)?.first_chunk::<4>()?), port).into()),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?);
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => (ip, port).into(),
                None => SocketAddrV6::new(ip, port, 0, scope).into(),
            })
        }
        _ => None,
    }
}

/// See the module's description.
pub struct Uring {
    kernel: Option<Box<Kernel>>,
    sockets: Vec<Option<OwnedFd>>,
    listeners: Vec<OwnedFd>,
    bell: OwnedFd,
    collected: VecDeque<Completion>,
    outstanding: u64,
    /// The kernel ended the bell's poll by itself; it is asked for again.
    bell_ended: bool,
    /// Completions that the kernel keeps aside were seen at the last look.
    overflowing: bool,
    wait_flags: EnterFlags,
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
    let needed = [
        opcode::Recv::CODE,
        opcode::RecvMsgMulti::CODE,
        opcode::Send::CODE,
        opcode::PollAdd::CODE,
        opcode::AsyncCancel2::CODE,
    ];
    if !needed.iter().all(|code| probe.is_supported(*code)) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel's io_uring lacks an operation"));
    }
    Ok(())
}

/// A ring whose completions are posted when its thread asks for them (Linux 6.1), or at least not by interrupting it.
fn build(submission: u32, completion: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_taskrun_flag().setup_cqsize(completion);
    let deferred = builder.clone().setup_defer_taskrun().build(submission);
    deferred.or_else(|_| builder.setup_coop_taskrun().build(submission))
}

/// Calls with which one turn lets the kernel bring what is ready. Since 6.13 it takes 20 pieces of deferred work a call (a
/// send whose socket has room again, bytes that came) and leaves the others for the next one: with one call a turn a busy
/// core would fall behind ever more, with the processor not even full.
const TASK_WORK_ROUNDS: usize = 16;

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
    /// A ring of this thread for at most `slots` sockets; `bell` is the eventfd that other cores ring.
    pub fn new(slots: u32, listeners: Vec<OwnedFd>, bell: OwnedFd) -> io::Result<Uring> {
        // In this order: see `probe`.
        let mut buffers = Buffers::new()?;
        let mut ring = build(SUBMISSION_ENTRIES, COMPLETION_ENTRIES)?;
        ring.submitter().register_files_sparse(slots)?;
        register(&mut ring, &mut buffers)?;
        for listener in &listeners {
            rustix::io::ioctl_fionbio(listener, true)?;
        }
        let mut wait_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // Where the kernel can tell (Linux 6.15): a core that waits for viewers is idle, not held up by a disk.
        wait_flags.set(EnterFlags::NO_IOWAIT, ring.params().is_feature_no_iowait());
        let mut uring = Uring {
            kernel: Some(Box::new(Kernel { ring, buffers, head: head() })),
            sockets: Vec::new(),
            listeners,
            bell,
            collected: VecDeque::new(),
            outstanding: 0,
            bell_ended: false,
            overflowing: false,
            wait_flags,
            stats: BackendStats::default(),
        };
        uring.arm_bell();
        Ok(uring)
    }

    /// Each ring completes the poll once more; nobody reads the eventfd, whose count has room for 2^64 rings.
    fn arm_bell(&mut self) {
        let poll = opcode::PollAdd::new(Fd(self.bell.as_raw_fd()), libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(u64::from(kind::BELL)));
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
                    self.bell_ended |= last;
                    Completion::Woken
                }
                kind::LISTENER => Completion::Knocked { listener: key.slot as usize },
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

    fn receive_datagrams(&mut self, key: Key) {
        let Some(kernel) = &self.kernel else { return };
        // Boxed with the ring: it stays where it is.
        let entry = opcode::RecvMsgMulti::new(Fixed(key.slot), &raw const kernel.head, BUFFER_GROUP).build();
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

    fn watch_listener(&mut self, listener: usize) {
        let Some(socket) = self.listeners.get(listener) else { return };
        let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLIN as u32).build();
        let key = Key { slot: listener as u32, generation: 0 };
        self.push(poll.user_data(user_data(key, kind::LISTENER)));
    }

    fn accept(&mut self, listener: usize) -> io::Result<(OwnedFd, SocketAddr)> {
        accept(self.listeners.get(listener).ok_or(io::ErrorKind::NotFound)?)
    }

    fn close_listener(&mut self, listener: usize) {
        if let Some(socket) = self.listeners.get(listener) {
            // Fails only on a listener that is gone.
            let _gone = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
        }
    }

    fn submit(&mut self) -> io::Result<()> {
        for _ in 0..TASK_WORK_ROUNDS {
            let overflowing = self.overflows();
            let Some(kernel) = &mut self.kernel else { return Ok(()) };
            let submission = kernel.ring.submission();
            let asked = !submission.is_empty() || submission.taskrun() || overflowing;
            drop(submission);
            if !asked {
                return Ok(());
            }
            match kernel.ring.submit() {
                Err(error) if passing(&error) => return Ok(()),
                answer => answer?,
            };
            // What came must not fill the queue for what comes next.
            self.drain();
        }
        Ok(())
    }

    fn wait(&mut self, until: Mono) -> io::Result<()> {
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        if !self.collected.is_empty() || self.bell_ended || !kernel.ring.completion().is_empty() {
            return Ok(());
        }
        let pause = Timespec::from(Duration::from_micros(until.micros_since(clock())));
        let args = if until == Mono::NEVER { SubmitArgs::new() } else { SubmitArgs::new().timespec(&pause) };
        // What the kernel would not take a moment ago goes along.
        let left = kernel.ring.submission().len() as u32;
        // SAFETY: `args` and what it points to live through the call, and its size is the one that EXT_ARG stands for.
        match unsafe { kernel.ring.submitter().enter(left, 1, self.wait_flags.bits(), Some(&args)) } {
            Err(error) if error.raw_os_error() != Some(libc::ETIME) && !passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn collect(&mut self) -> io::Result<()> {
        self.drain();
        if std::mem::take(&mut self.bell_ended) {
            self.arm_bell();
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.collected.pop_front()
    }

    fn datagram(&self, buffer: &Buffer) -> Option<Datagram<'_>> {
        let (kernel, bytes) = (self.kernel.as_ref()?, self.bytes(buffer));
        let out = RecvMsgOut::parse(bytes, &kernel.head).ok()?;
        let cut = out.is_payload_truncated();
        // The parser's slices are of its own life; the bytes are the same.
        let payload = bytes.get(bytes.len() - out.payload_data().len()..)?;
        Some(Datagram { from: address(out.name_data())?, payload, cut })
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

    fn stats(&self) -> BackendStats {
        self.stats
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.push(opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(u64::from(kind::CANCEL)));
        let Some(mut kernel) = self.kernel.take() else { return };
        let deadline = Instant::now() + REAP_TIMEOUT;
        while self.outstanding > 0 && Instant::now() < deadline {
            let pause = Timespec::from(Duration::from_millis(50));
            let args = SubmitArgs::new().timespec(&pause);
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
