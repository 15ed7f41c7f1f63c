//! Distances between tables, and when one is too long.

use super::indicator::Occurrence;
use crate::media::Mono;

/// What arrival may add to a distance where nothing better than it is known, in microseconds: the jitter that DVB
/// allows a network (TS 102 034: 40 ms from peak to peak).
const JITTER_US: u64 = 40_000;
/// What a table may wait for its turn between other packets, in microseconds, and in packets where those are long: who
/// sends one each 500 ms is right.
const WAIT_US: u64 = 5_000;
const WAIT_PACKETS: f64 = 2.0;

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
    /// Times of arrival from the network.
    Arrival,
    /// Times that no network has touched: those of a file.
    Clock,
    /// Nothing: all that came has the same time.
    None,
}

impl Ruler {
    /// Microseconds from one to the other.
    pub fn distance_us(self, from: Mark, to: Mark) -> u64 {
        match self {
            Ruler::Packets(us) => (to.packet.saturating_sub(from.packet) as f64 * us) as u64,
            Ruler::Arrival | Ruler::Clock => to.at.micros_since(from.at),
            Ruler::None => 0,
        }
    }

    /// Whether one is further behind the other than allowed.
    pub fn is_late(self, from: Mark, to: Mark, limit_us: u64) -> bool {
        let by_time = to.at.micros_since(from.at);
        match self {
            Ruler::Packets(us) => {
                let slack_us = WAIT_US.max((WAIT_PACKETS * us) as u64);
                // The rate may have changed on the way: then packets are worth something else now, and time disagrees.
                self.distance_us(from, to) > limit_us + slack_us && by_time + JITTER_US > limit_us
            }
            // A file's times are drawn evenly between clocks that may be far apart.
            Ruler::Arrival | Ruler::Clock => by_time > limit_us + JITTER_US,
            Ruler::None => false,
        }
    }

    /// Whether one is closer behind the other than allowed. Arrival cannot tell: what comes in one datagram was not
    /// sent at one time.
    pub fn is_early(self, from: Mark, to: Mark, limit_us: u64) -> bool {
        matches!(self, Ruler::Packets(_) | Ruler::Clock) && self.distance_us(from, to) < limit_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ruler, packets and milliseconds from one mark to the other, whether they are further apart than 500 ms, and
    /// whether they are closer than 25 ms.
    #[test]
    fn late_and_early() {
        for (what, ruler, packets, ms, late, early) in [
            ("4 Mbit/s", Ruler::Packets(376.0), 1330, 500, false, false),
            ("4 Mbit/s, and it waits for too long", Ruler::Packets(376.0), 1350, 508, true, false),
            ("4 Mbit/s, brought together", Ruler::Packets(376.0), 1350, 470, true, false),
            ("128 kbit/s, behind two other packets", Ruler::Packets(11_750.0), 44, 517, false, false),
            ("128 kbit/s, behind three", Ruler::Packets(11_750.0), 45, 529, true, false),
            ("faster than it was", Ruler::Packets(1000.0), 1000, 400, false, false),
            ("close together", Ruler::Packets(376.0), 40, 100, false, true),
            ("by arrival, delayed", Ruler::Arrival, 10, 540, false, false),
            ("by arrival", Ruler::Arrival, 10, 541, true, false),
            ("by arrival, in one datagram", Ruler::Arrival, 3, 0, false, false),
            ("in a file", Ruler::Clock, 10, 541, true, false),
            ("in a file, close together", Ruler::Clock, 10, 24, false, true),
            ("all at one time", Ruler::None, 9999, 0, false, false),
        ] {
            let from = Mark { at: Mono::ZERO, packet: 7 };
            let to = Mark { at: Mono::from_micros(ms * 1000), packet: 7 + packets };
            let found = (ruler.is_late(from, to, 500_000), ruler.is_early(from, to, 25_000));
            assert_eq!(found, (late, early), "{what}");
        }
    }
}
