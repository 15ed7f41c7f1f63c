//! The bytes: a ring that is mapped twice in a row, so that every range of it is contiguous.

use anyhow::{Result, ensure};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// 4 MiB: 13 s of the default load, more than any subscriber that still counts is behind.
const RING_LEN: usize = 4 << 20;

/// An append-only log whose newest [`RING_LEN`] bytes are kept. Offsets are logical and never wrap.
pub struct Log {
    base: *mut u8,
    end: u64,
}

impl Log {
    /// An empty log.
    pub fn new() -> Result<Self> {
        // SAFETY: the name is a C string; the result is checked before it is owned.
        let file = unsafe {
            let fd = libc::memfd_create(c"floor".as_ptr(), libc::MFD_CLOEXEC);
            ensure!(fd >= 0, "memfd_create: {}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let map = |at: *mut u8, len: usize, flags, fd| {
            // SAFETY: either a fresh mapping (null address) or one laid over our own reservation with MAP_FIXED.
            let base =
                unsafe { libc::mmap(at.cast(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
            if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(base.cast::<u8>()) }
        };
        // SAFETY: plain system call on our own descriptor.
        ensure!(unsafe { libc::ftruncate(file.as_raw_fd(), RING_LEN as libc::off_t) } == 0, "ftruncate");
        let base = map(std::ptr::null_mut(), 2 * RING_LEN, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        let shared = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_POPULATE;
        map(base, RING_LEN, shared, file.as_raw_fd())?;
        // SAFETY: RING_LEN lies inside the reservation of twice that.
        map(unsafe { base.add(RING_LEN) }, RING_LEN, shared, file.as_raw_fd())?;
        Ok(Self { base, end: 0 })
    }

    /// Where the next byte goes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends; a tag is at most a few 100 KiB.
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= RING_LEN);
        // SAFETY: the offset is below RING_LEN and the length at most RING_LEN, so the range lies within both mappings.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(self.end).cast_mut(), bytes.len()) };
        self.end += bytes.len() as u64;
    }

    /// Whether everything from `offset` on is still here, with room for the frames of one turn.
    pub fn holds(&self, offset: u64) -> bool {
        self.end - offset < (RING_LEN - (RING_LEN >> 2)) as u64
    }

    /// The address of the byte at `offset`; up to RING_LEN bytes from there are contiguous.
    pub fn at(&self, offset: u64) -> *const u8 {
        // SAFETY: the remainder is below RING_LEN, inside the mapping.
        unsafe { self.base.add((offset % RING_LEN as u64) as usize) }
    }
}
