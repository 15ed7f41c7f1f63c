//! What there is to say about datagrams, whatever is in them.

use super::mdi::Mdi;
use super::rtp::Sequence;
use crate::media::Mono;

/// Sizes of datagrams that are told apart: one is right, a few are a sign of something.
const SIZES_MAX: usize = 8;

/// The datagrams of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Network {
    pub datagrams: u64,
    pub sizes: [(usize, u64); SIZES_MAX],
    pub other_sizes: u64,
    pub foreign: u64,
    /// Packets that two datagrams share.
    pub cut_packets: u64,
    last_at: Option<Mono>,
    pub gap_us_max: u64,
    pub mdi: Mdi,
    pub rtp: Sequence,
    /// Packets of the last RTP payload: what a lost one had.
    pub packets_each: u64,
}

impl Network {
    /// A datagram of that many bytes.
    pub fn count(&mut self, at: Mono, bytes: usize) {
        self.datagrams += 1;
        if let Some(before) = self.last_at.replace(at) {
            self.gap_us_max = self.gap_us_max.max(at.micros_since(before));
        }
        match self.sizes.iter_mut().find(|(size, count)| *size == bytes || *count == 0) {
            Some(entry) => *entry = (bytes, entry.1 + 1),
            None => self.other_sizes += 1,
        }
    }
}
