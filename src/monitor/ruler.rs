//! Distances between tables, and when one is too long.

use super::indicator::Occurrence;
use crate::media::Mono;

/// What arrival may add to a distance where nothing better than it is known, in microseconds: the jitter that DVB allows a
/// network (TS 102 034: 40 ms from peak to peak).
const JITTER_US: u64 = 40_000;
/// What a table may wait for its turn between other packets, in microseconds: who sends one each 500 ms is right.
const WAIT_US: u64 = 5_000;

/// Where something was in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub at: Mono,
    /// Packets in front of it.
    pub packet: u64,
}

impl From<Occurrence> for Mark {
    fn from(found: Occurrence) -> Mark {
        Mark { at: found.at, packet: found.packet }
    }
}

/// What distances are measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ruler {
    /// Packets of so many microseconds each: a constant rate. What the network delays or bunches together is not held
    /// against the sender.
    Packets(f64),
    /// Times of arrival.
    Arrival,
    /// Nothing: all that came has the same time.
    None,
}

impl Ruler {
    /// Microseconds from one to the other.
    pub fn distance_us(self, from: Mark, to: Mark) -> u64 {
        match self {
            Ruler::Packets(us) => (to.packet.saturating_sub(from.packet) as f64 * us) as u64,
            Ruler::Arrival => to.at.micros_since(from.at),
            Ruler::None => 0,
        }
    }

    /// Whether one is further behind the other than allowed.
    pub fn is_late(self, from: Mark, to: Mark, limit_us: u64) -> bool {
        let slack_us = match self {
            Ruler::Packets(_) => WAIT_US,
            Ruler::Arrival | Ruler::None => JITTER_US,
        };
        self.distance_us(from, to) > limit_us + slack_us
    }

    /// Whether one is closer behind the other than allowed.
    pub fn is_early(self, from: Mark, to: Mark, limit_us: u64) -> bool {
        self != Ruler::None && self.distance_us(from, to) < limit_us
    }
}
