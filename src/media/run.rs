//! A run: whole packets of a transport stream exactly as a publisher got them, for outputs that pass them on.
//!
//! It is no [`Frame`](super::Frame): it has no body that a tag could be read from, no time of its own, and no packager of
//! frames ever sees it. A publisher that has packets hands down both, frames always and runs while they are wanted
//! ([`Demand`]): copying what nobody reads would be the dearest thing that an input does.

use super::time::Mono;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module's description.
#[derive(Clone, Debug)]
pub struct Run {
    /// Whole packets of 188 bytes. None at all: what follows does not go on with what was.
    pub packets: Bytes,
    /// When the first byte was read from the socket.
    pub first_byte_at: Mono,
    /// When the packets were there, in order.
    pub complete_at: Mono,
}

impl Run {
    /// A place in the stream behind which nothing continues: another sender, another encoder.
    pub fn seam(now: Mono) -> Run {
        Run { packets: Bytes::new(), first_byte_at: now, complete_at: now }
    }

    /// Whether this is [`Run::seam`].
    pub fn is_seam(&self) -> bool {
        self.packets.is_empty()
    }
}

/// Whether somebody reads a publisher's runs: written by the stream's home, read by the publisher, mostly on one core.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<AtomicBool>);

impl Demand {
    /// Whether runs are wanted.
    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs are wanted from now on, or no more.
    pub fn set(&self, wanted: bool) {
        self.0.store(wanted, Ordering::Relaxed);
    }
}
