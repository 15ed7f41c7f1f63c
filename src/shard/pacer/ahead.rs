//! A word to the processor of what is read soon.
//!
//! Between two datagrams of a channel all the others have theirs, and the kernel sends them: what a channel needs is in no
//! near cache by then, and waiting for it, line after line, takes longer than what is done with it. Which channels are next is
//! known, so their memory is asked for while the one in front is at work.
//!
//! Unsafe, and why it is sound: a prefetch is a hint. It may name any address, reads nothing that a program can see, and
//! does not fault.

/// How much of what it reads a channel asks for, when its turn comes near: each is found by what was asked for before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// What stands in the channel itself.
    Own,
    /// What that refers to.
    First,
    /// What that refers to.
    Second,
    /// What that refers to.
    Third,
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for so many bytes from an address on, which need not be any.
#[inline]
pub fn fetch(first: *const u8, bytes: usize) {
    (0..bytes).step_by(LINE).for_each(|at| line(first.wrapping_add(at)));
    // The last line, where the first does not begin with `first`.
    line(first.wrapping_add(bytes.saturating_sub(1)));
}

#[inline]
fn line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: see the module's description; SSE is part of every processor of this architecture.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    // Elsewhere there is no stable way, and things are as they would be without.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
