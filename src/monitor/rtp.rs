//! RTP sequence numbers: what is lost, what comes twice, what comes late.

use crate::media::Mono;
use crate::wire::rtp::RtpPacket;

/// Packets behind the newest that may still come.
const WINDOW: u32 = u64::BITS;
/// What has not come by then is lost, in microseconds: the longest reordering buffer that receivers use.
const LATE_US: u64 = 100_000;
/// A larger step is a new sender, not a loss (RFC 3550 appendix A.1).
const DROPOUT_MAX: u16 = 3000;

/// The sequence of one sender.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    state: Option<State>,
    pub packets: u64,
    pub lost: u64,
    pub reordered: u64,
    pub duplicates: u64,
    /// New senders: another SSRC, or a step that is no loss.
    pub restarts: u64,
    pub ssrc: u32,
    pub payload_type: u8,
}

#[derive(Clone, Copy, Debug)]
struct State {
    newest: u16,
    /// Bit n: the packet n behind the newest has come, or is counted as lost.
    settled: u64,
    /// The same, but only come.
    came: u64,
    /// When a number was first skipped that is not settled.
    open_since: Option<Mono>,
}

/// What a packet is to the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The next, with so many given up now because they are too far behind it.
    Next { lost: u64 },
    /// Late, or after a restart: whatever it is, it is new.
    Late,
    /// It has come before.
    Duplicate,
    /// A new sender begins.
    Restart,
}

impl Sequence {
    pub fn observe(&mut self, at: Mono, packet: &RtpPacket<'_>) -> Place {
        self.packets += 1;
        self.payload_type = packet.payload_type;
        let Some(state) = &mut self.state else {
            self.begin(packet);
            return Place::Next { lost: 0 };
        };
        let ahead = packet.sequence.wrapping_sub(state.newest);
        let behind = u32::from(state.newest.wrapping_sub(packet.sequence));
        if packet.ssrc != self.ssrc || (ahead >= DROPOUT_MAX && behind >= WINDOW) {
            self.restarts += 1;
            self.begin(packet);
            return Place::Restart;
        }
        if behind < WINDOW {
            let bit = 1 << behind;
            if state.came & bit != 0 {
                self.duplicates += 1;
                return Place::Duplicate;
            }
            self.reordered += 1;
            // It was given up too early.
            self.lost -= u64::from(state.settled & bit != 0).min(self.lost);
            state.came |= bit;
            state.settled |= bit;
            if state.settled == u64::MAX {
                state.open_since = None;
            }
            return Place::Late;
        }
        // What leaves the window unsettled, and what never was in it.
        let leaving = u32::from(ahead).min(WINDOW);
        let left = !state.settled & mask_of_oldest(leaving);
        let lost = u64::from(left.count_ones()) + u64::from(u32::from(ahead).saturating_sub(WINDOW));
        self.lost += lost;
        state.settled = state.settled.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
        state.came = state.came.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
        state.newest = packet.sequence;
        if state.settled == u64::MAX {
            state.open_since = None;
        } else if ahead > 1 {
            state.open_since.get_or_insert(at);
        }
        Place::Next { lost }
    }

    /// Gives up what has been missing for too long; returns how many packets that were.
    pub fn settle(&mut self, at: Mono) -> u64 {
        let Some(state) = &mut self.state else { return 0 };
        if state.open_since.is_none_or(|since| at.micros_since(since) < LATE_US) {
            return 0;
        }
        let lost = u64::from((!state.settled).count_ones());
        (state.settled, state.open_since) = (u64::MAX, None);
        self.lost += lost;
        lost
    }

    fn begin(&mut self, packet: &RtpPacket<'_>) {
        self.ssrc = packet.ssrc;
        // What was before the first is nobody's loss.
        self.state = Some(State { newest: packet.sequence, settled: u64::MAX, came: 1, open_since: None });
    }
}

/// The bits of the `count` oldest packets of the window.
fn mask_of_oldest(count: u32) -> u64 {
    if count == 0 { 0 } else { u64::MAX << (WINDOW - count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(numbers: impl IntoIterator<Item = u16>) -> Sequence {
        let mut sequence = Sequence::default();
        let mut now = 0;
        for number in numbers {
            let [high, low] = number.to_be_bytes();
            let bytes = [0x80, 33, high, low, 0, 0, 0, 0, 0, 0, 0, 7];
            now += 1000;
            sequence.observe(Mono::from_micros(now), &RtpPacket::parse(&bytes).unwrap());
        }
        sequence.settle(Mono::from_micros(now + LATE_US));
        sequence
    }

    #[test]
    fn lost_late_and_twice() {
        for (what, numbers, expected) in [
            ("in order, over the end", (65_500..=65_535).chain(0..50).collect(), (0, 0, 0, 0)),
            ("one missing", vec![1, 2, 4, 5], (1, 0, 0, 0)),
            ("one missing long ago", [1, 2].into_iter().chain(4..200).collect(), (1, 0, 0, 0)),
            ("swapped", vec![1, 3, 2, 4], (0, 1, 0, 0)),
            ("late by many", [1].into_iter().chain(3..40).chain([2]).chain(40..200).collect(), (0, 1, 0, 0)),
            ("twice", vec![1, 2, 2, 3, 1], (0, 0, 2, 0)),
            ("a burst", (0..100).chain(300..400).collect(), (200, 0, 0, 0)),
            ("a burst within the window", (0..100).chain(140..400).collect(), (40, 0, 0, 0)),
            ("a new sender", (0..100).chain(30_000..30_100).collect(), (0, 0, 0, 1)),
            ("one that begins earlier", (10_000..10_100).chain(2000..2100).collect(), (0, 0, 0, 1)),
        ] {
            let s = run(numbers);
            assert_eq!((s.lost, s.reordered, s.duplicates, s.restarts), expected, "{what}");
        }
    }

    #[test]
    fn what_is_given_up_and_comes_is_late() {
        let mut sequence = Sequence::default();
        let packet = |number: u8, ssrc: u8| [0x80, 33, 0, number, 0, 0, 0, 0, 0, 0, 0, ssrc];
        let mut observe = |ms: u64, bytes: [u8; 12]| {
            let at = Mono::from_micros(ms * 1000);
            let lost = sequence.settle(at);
            let place = sequence.observe(at, &RtpPacket::parse(&bytes).unwrap());
            (lost, place, sequence.lost)
        };
        observe(0, packet(1, 7));
        assert_eq!(observe(1, packet(3, 7)), (0, Place::Next { lost: 0 }, 0));
        assert_eq!(observe(100, packet(4, 7)), (0, Place::Next { lost: 0 }, 0));
        assert_eq!(observe(101, packet(5, 7)), (1, Place::Next { lost: 0 }, 1));
        assert_eq!(observe(102, packet(2, 7)), (0, Place::Late, 0));
        assert_eq!(observe(103, packet(6, 8)), (0, Place::Restart, 0), "another source");
    }
}
