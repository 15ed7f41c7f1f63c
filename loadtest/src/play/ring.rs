//! An io_uring ring with one group of provided receive buffers (io_uring_register_buf_ring(3)).

use anyhow::{Context, Result};
use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::alloc::{self, Layout};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// Receive buffers: few enough to stay in the processor's cache, enough for all completions of one turn.
const BUFFERS: u16 = 128;
/// Bytes of one: a whole send of the server (128 KiB) in two or three.
const BUFFER_LEN: usize = 64 * 1024;
const GROUP: u16 = 0;
const PAGE: usize = 4096;
const SQ_ENTRIES: u32 = 4096;
const CQ_ENTRIES: u32 = 16384;

/// What a completion says.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The number given at submission.
    pub user_data: u64,
    /// Bytes, or a negated errno.
    pub result: i32,
    /// The provided buffer that holds them; goes back with [`Ring::give_back`].
    pub buffer: Option<u16>,
    /// Whether the operation goes on by itself.
    pub more: bool,
}

struct Block {
    at: *mut u8,
    layout: Layout,
}

impl Block {
    fn new(len: usize) -> Result<Self> {
        let layout = Layout::from_size_align(len, PAGE).context("a buffer is too large")?;
        // SAFETY: the layout has a size above zero.
        let at = unsafe { alloc::alloc_zeroed(layout) };
        anyhow::ensure!(!at.is_null(), "no memory for receive buffers");
        Ok(Self { at, layout })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, freed only here.
        unsafe { alloc::dealloc(self.at, self.layout) };
    }
}

/// The ring. Field order matters: the ring is closed before its buffers are freed.
pub struct Ring {
    uring: IoUring,
    entries: Block,
    data: Block,
    tail: u16,
}

impl Ring {
    /// A ring for the calling thread alone.
    pub fn new() -> Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(CQ_ENTRIES)
            .build(SQ_ENTRIES)
            .context(
                "cannot make an io_uring ring (kernel 6.1 or newer, not forbidden by sysctl or seccomp)",
            )?;
        let entries = Block::new(usize::from(BUFFERS) * size_of::<BufRingEntry>())?;
        let data = Block::new(usize::from(BUFFERS) * BUFFER_LEN)?;
        // SAFETY: `entries` is page-aligned, holds BUFFERS entries, and lives as long as the ring.
        unsafe { uring.submitter().register_buf_ring_with_flags(entries.at as u64, BUFFERS, GROUP, 0) }
            .context("cannot register receive buffers")?;
        let mut ring = Self { uring, entries, data, tail: 0 };
        (0..BUFFERS).for_each(|id| ring.give_back(id));
        Ok(ring)
    }

    /// The first `len` bytes of buffer `id`.
    pub fn buffer(&self, id: u16, len: usize) -> &[u8] {
        let at = usize::from(id % BUFFERS) * BUFFER_LEN;
        // SAFETY: the range lies within `data`; the kernel writes to a buffer only between `give_back` and the
        // completion that names it, and `give_back` needs `&mut self`, so no slice is alive then.
        unsafe { std::slice::from_raw_parts(self.data.at.add(at), len.min(BUFFER_LEN)) }
    }

    /// Lets the kernel fill buffer `id` again.
    pub fn give_back(&mut self, id: u16) {
        let base = self.entries.at.cast::<BufRingEntry>();
        let slot = usize::from(self.tail % BUFFERS);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `slot` is below BUFFERS, the number of entries behind `base`; the kernel reads an entry only after
        // the tail passed it. The tail is a u16 inside the first entry, aligned, and only this thread stores to it.
        unsafe {
            let entry = &mut *base.add(slot);
            entry.set_addr(self.data.at.add(usize::from(id % BUFFERS) * BUFFER_LEN) as u64);
            entry.set_len(BUFFER_LEN as u32);
            entry.set_bid(id % BUFFERS);
            AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()).store(self.tail, Ordering::Release);
        }
    }

    fn push(&mut self, entry: squeue::Entry) -> Result<()> {
        loop {
            // SAFETY: every entry made below refers to provided buffers or to an address that outlives the ring.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.uring.submit().context("io_uring_enter")?;
        }
    }

    /// Connects `fd` to `address`.
    ///
    /// # Safety
    /// `address` must stay where it is until the completion was seen.
    pub unsafe fn connect(&mut self, fd: RawFd, address: &socket2::SockAddr, user_data: u64) -> Result<()> {
        let connect = opcode::Connect::new(Fd(fd), address.as_ptr().cast(), address.len());
        self.push(connect.build().user_data(user_data))
    }

    /// Receives from `fd` until it ends, every time into a buffer of the group.
    pub fn receive_all(&mut self, fd: RawFd, user_data: u64) -> Result<()> {
        self.push(opcode::RecvMulti::new(Fd(fd), GROUP).build().user_data(user_data))
    }

    /// Receives from `fd` once, at most `len` bytes.
    pub fn receive_once(&mut self, fd: RawFd, len: u32, user_data: u64) -> Result<()> {
        let receive =
            opcode::Recv::new(Fd(fd), std::ptr::null_mut(), len.min(BUFFER_LEN as u32)).buf_group(GROUP);
        self.push(receive.build().flags(squeue::Flags::BUFFER_SELECT).user_data(user_data))
    }

    /// Submits, waits for a completion or `timeout`, and moves all completions to the end of `done`.
    pub fn turn(&mut self, timeout: Duration, done: &mut Vec<Done>) -> Result<()> {
        let timeout = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timeout);
        match self.uring.submitter().submit_with_args(1, &args) {
            Ok(_) => {}
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) => {}
            Err(e) => return Err(e).context("io_uring_enter"),
        }
        done.extend(self.uring.completion().map(|entry| Done {
            user_data: entry.user_data(),
            result: entry.result(),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        }));
        Ok(())
    }

    /// Gives up a ring whose operations may still write: its buffers are never freed.
    pub fn leak(self) {
        std::mem::forget(self);
    }
}
