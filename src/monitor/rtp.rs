//! RTP sequence numbers: what is lost, what comes twice, what comes late, and who sends (RFC 3550 appendix A.1).

use super::window::{WINDOW, Window};
use crate::media::Mono;
use crate::wire::rtp::RtpPacket;

/// A larger step forward must be explained by the time that has passed (RFC 3550 appendix A.1).
const DROPOUT_MAX: u16 = 3000;
/// What a second leg may be behind the first, in microseconds (SMPTE ST 2022-7: 450 ms in class C, with some reserve). Who
/// is behind for longer is no leg, but has begun anew.
const SKEW_US: u64 = 500_000;
/// A sender that returns within that time after another one took over sends beside it; also how often that is told.
const RIVAL_US: u64 = 1_000_000;

/// The sequence of one sender, and whether there is another.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    window: Option<Window>,
    pub packets: u64,
    pub lost: u64,
    pub reordered: u64,
    pub duplicates: u64,
    /// Packets of another sender, or far from the sequence, that no second one confirmed.
    pub strays: u64,
    /// Times that a sender began: another SSRC, or a step that is no loss.
    pub restarts: u64,
    pub ssrc: u32,
    pub payload_type: u8,
    /// Who has sent with another SSRC last.
    rival: Option<Rival>,
    /// Whose place was taken, and when.
    replaced: Option<(u32, Mono)>,
    /// When two senders at a time were told of.
    contested_at: Option<Mono>,
    /// Numbers of gaps that can fill no more, and are not told yet.
    abandoned: u64,
}

#[derive(Clone, Copy, Debug)]
struct Rival {
    ssrc: u32,
    /// The number that would follow.
    next: u16,
    /// The sender itself has sent since.
    answered: bool,
}

/// What a packet is to the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The next, or one that skips some.
    Next,
    /// Late, and new.
    Late {
        /// It was counted as lost.
        regained: bool,
    },
    /// It has come before.
    Duplicate,
    /// Another sender's, or far from the sequence: nothing in it belongs to the stream unless the next follows on it.
    Stray {
        /// Two senders send at the same time; told once in a while.
        contested: bool,
    },
    /// A sender begins, and this is its second packet.
    Restart,
}

impl Sequence {
    /// A packet; [`Sequence::give_up`] is to be asked after each.
    pub fn observe(&mut self, at: Mono, packet: &RtpPacket<'_>) -> Place {
        self.packets += 1;
        let Some(window) = &mut self.window else {
            self.begin(at, packet);
            return Place::Next;
        };
        if packet.ssrc != self.ssrc {
            return self.stranger(at, packet);
        }
        if let Some(rival) = &mut self.rival {
            rival.answered = true;
        }
        let ahead = packet.sequence.wrapping_sub(window.newest as u16);
        if ahead != 0 && (ahead < DROPOUT_MAX || window.explains(at, ahead)) {
            self.abandoned += window.advance(at, u64::from(ahead));
            return Place::Next;
        }
        let behind = u64::from(ahead.wrapping_neg());
        let follows = window.behind_next.replace(packet.sequence.wrapping_add(1)) == Some(packet.sequence);
        if follows && (behind >= WINDOW || at.micros_since(window.newest_at) > SKEW_US) {
            return self.restart(at, packet);
        }
        if behind >= WINDOW {
            self.strays += 1;
            return Place::Stray { contested: false };
        }
        let number = window.newest - behind;
        if !window.mark(number) {
            self.duplicates += 1;
            return Place::Duplicate;
        }
        self.reordered += 1;
        let regained = !window.fill(number) && number >= window.first;
        self.lost -= u64::from(regained).min(self.lost);
        Place::Late { regained }
    }

    /// A gap that will not fill any more: how many packets are lost in it. To be asked until there is none.
    pub fn give_up(&mut self, at: Mono) -> Option<u64> {
        let lost = match std::mem::take(&mut self.abandoned) {
            0 => self.window.as_mut()?.give_up(at)?,
            abandoned => abandoned,
        };
        self.lost += lost;
        Some(lost)
    }

    /// A packet with another SSRC. It takes over if a second one follows on it and the sender is silent meanwhile.
    fn stranger(&mut self, at: Mono, packet: &RtpPacket<'_>) -> Place {
        let next = packet.sequence.wrapping_add(1);
        let before = self.rival.replace(Rival { ssrc: packet.ssrc, next, answered: false });
        let mut contested = false;
        if let Some(before) = before.filter(|it| it.ssrc == packet.ssrc && it.next == packet.sequence) {
            let returns = self
                .replaced
                .is_some_and(|(ssrc, since)| ssrc == packet.ssrc && at.micros_since(since) <= RIVAL_US);
            if !before.answered && !returns {
                self.replaced = Some((self.ssrc, at));
                return self.restart(at, packet);
            }
            contested = self.contested_at.is_none_or(|told| at.micros_since(told) >= RIVAL_US);
            if contested {
                self.contested_at = Some(at);
            }
        }
        self.strays += 1;
        Place::Stray { contested }
    }

    fn restart(&mut self, at: Mono, packet: &RtpPacket<'_>) -> Place {
        self.restarts += 1;
        self.begin(at, packet);
        Place::Restart
    }

    fn begin(&mut self, at: Mono, packet: &RtpPacket<'_>) {
        (self.ssrc, self.payload_type, self.rival) = (packet.ssrc, packet.payload_type, None);
        if let Some(before) = self.window.replace(Window::new(at, packet.sequence)) {
            self.abandoned += before.missing();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::LATE_US;
    use super::*;

    /// What was counted, and how often losses were told.
    #[derive(Debug, Default, PartialEq)]
    struct Counted {
        lost: u64,
        told: usize,
        reordered: u64,
        duplicates: u64,
        strays: u64,
        restarts: u64,
        contested: usize,
    }

    /// Packets as (microseconds, SSRC, number).
    fn run(packets: impl IntoIterator<Item = (u64, u8, u16)>) -> Counted {
        let (mut sequence, mut counted, mut now) = (Sequence::default(), Counted::default(), Mono::ZERO);
        for (us, ssrc, number) in packets {
            let [high, low] = number.to_be_bytes();
            let bytes = [0x80, 33, high, low, 0, 0, 0, 0, 0, 0, 0, ssrc];
            now = Mono::from_micros(us);
            let place = sequence.observe(now, &RtpPacket::parse(&bytes).unwrap());
            counted.contested += usize::from(place == Place::Stray { contested: true });
            counted.told += std::iter::from_fn(|| sequence.give_up(now)).count();
        }
        now = now + std::time::Duration::from_micros(LATE_US);
        counted.told += std::iter::from_fn(|| sequence.give_up(now)).count();
        let Sequence { lost, reordered, duplicates, strays, restarts, .. } = sequence;
        Counted { lost, reordered, duplicates, strays, restarts, ..counted }
    }

    /// One sender, a packet each millisecond.
    fn each_ms(numbers: impl IntoIterator<Item = u16>) -> Counted {
        run(numbers.into_iter().zip(1..).map(|(number, ms)| (ms * 1000, 7, number)))
    }

    #[test]
    fn lost_late_and_twice() {
        let late = |by: usize| {
            let mut numbers: Vec<u16> = (0..1000).collect();
            let number = numbers.remove(100);
            numbers.insert(100 + by, number);
            numbers
        };
        let none = Counted::default;
        for (what, numbers, expected) in [
            ("in order, over the end", (65_500..=65_535).chain(0..50).collect::<Vec<u16>>(), none()),
            ("one missing", vec![1, 2, 4, 5], Counted { lost: 1, told: 1, ..none() }),
            (
                "one missing long ago",
                [1].into_iter().chain(3..9000).collect(),
                Counted { lost: 1, told: 1, ..none() },
            ),
            ("swapped", vec![1, 3, 2, 4], Counted { reordered: 1, ..none() }),
            ("late by 70", late(70), Counted { reordered: 1, ..none() }),
            ("late by more than is waited", late(300), Counted { reordered: 1, told: 1, ..none() }),
            (
                "before the first",
                vec![10, 9, 11, 13, 14],
                Counted { reordered: 1, lost: 1, told: 1, ..none() },
            ),
            (
                "before the first, behind a loss",
                [10].into_iter().chain(12..300).chain([9]).collect(),
                Counted { reordered: 1, lost: 1, told: 1, ..none() },
            ),
            ("twice", vec![1, 2, 2, 3, 1], Counted { duplicates: 2, ..none() }),
            ("a burst", (0..100).chain(300..400).collect(), Counted { lost: 200, told: 1, ..none() }),
            ("two", (0..10).chain(20..30).chain(40..50).collect(), Counted { lost: 20, told: 2, ..none() }),
            (
                "a burst of thousands",
                (0..100).chain(3000..8000).collect(),
                Counted { lost: 2900, told: 1, ..none() },
            ),
            ("every other", (0..2000).step_by(2).collect(), Counted { lost: 999, told: 999, ..none() }),
            (
                "a sender that begins far away",
                (0..100).chain(30_000..30_100).collect(),
                Counted { strays: 1, restarts: 1, ..none() },
            ),
            (
                "one far away",
                (0..100).chain([30_000]).chain(100..200).collect(),
                Counted { strays: 1, ..none() },
            ),
        ] {
            assert_eq!(each_ms(numbers), expected, "{what}");
        }
    }

    /// Two paths, one 3.5 ms longer than the other: something is always missing, nothing for long.
    #[test]
    fn steady_reordering_loses_nothing() {
        let mut packets: Vec<(u64, u8, u16)> =
            (0..5000).map(|n| (n * 1000 + if n % 2 == 0 { 3500 } else { 0 }, 7, n as u16)).collect();
        packets.sort();
        let counted = run(packets);
        assert_eq!((counted.lost, counted.told, counted.duplicates), (0, 0, 0));
        assert!(counted.reordered > 2000, "{counted:?}");
    }

    #[test]
    fn a_second_leg_is_no_second_sender() {
        for behind in [1, 80, 400, 450] {
            // One leg loses a packet, the other has it.
            let first = (0..2000u64).filter(|n| *n != 900).map(|n| (n * 1000, 7, n as u16));
            let second = (0..2000u64).map(|n| ((n + behind) * 1000 + 1, 7, n as u16));
            let mut packets: Vec<_> = first.chain(second).collect();
            packets.sort();
            let counted = run(packets);
            let told = usize::from(behind >= 100);
            let expected = Counted { duplicates: 1999, reordered: 1, told, ..Counted::default() };
            assert_eq!(counted, expected, "{behind} behind");
        }
        // The first ends, and the second goes on alone from where it is.
        let first = (0..1000u64).map(|n| (n * 1000, 7, n as u16));
        let second = (0..3000u64).map(|n| ((n + 450) * 1000, 7, n as u16));
        let mut packets: Vec<_> = first.chain(second).collect();
        packets.sort();
        assert_eq!(run(packets), Counted { duplicates: 1000, ..Counted::default() });
    }

    #[test]
    fn a_sender_that_begins_anew_behind() {
        // The same SSRC and numbers that have come: taken for a leg until it is behind for longer than one may be.
        let counted = each_ms((0..1000).chain(200..3000));
        assert_eq!((counted.lost, counted.restarts, counted.strays), (0, 1, 0), "{counted:?}");
        assert!((490..510).contains(&counted.duplicates), "{counted:?}");
    }

    #[test]
    fn outages_are_losses() {
        for (lost, from) in [(5000u64, 0), (40_000, 0), (5000, 63_000)] {
            let number = |n: u64| (from + n) as u16;
            let before = (0..2000).map(|n| (n * 1000, 7, number(n)));
            let behind = (2000 + lost..3000 + lost).map(|n| (n * 1000, 7, number(n)));
            assert_eq!(run(before.chain(behind)), Counted { lost, told: 1, ..Counted::default() });
        }
    }

    #[test]
    fn senders() {
        let none = Counted::default;
        let sends = |ssrc: u8, from_ms: u64, until_ms: u64| {
            // Each has numbers of its own.
            (from_ms..until_ms)
                .map(move |ms| (ms * 1000 + u64::from(ssrc), ssrc, ms as u16 + u16::from(ssrc) * 9000))
        };
        let both = |one: Vec<(u64, u8, u16)>| {
            let mut packets = one;
            packets.sort();
            run(packets)
        };
        let takes_over = sends(1, 0, 1000).chain(sends(2, 1000, 2000)).collect();
        assert_eq!(both(takes_over), Counted { strays: 1, restarts: 1, ..none() });
        let one_stray = sends(1, 0, 1000).chain(sends(2, 500, 501)).collect();
        assert_eq!(both(one_stray), Counted { strays: 1, ..none() });
        let beside = sends(1, 0, 5000).chain(sends(2, 0, 5000)).collect();
        let expected = Counted { strays: 5000, contested: 5, ..none() };
        assert_eq!(both(beside), expected, "one by one");
        let bursts = both(
            (sends(1, 0, 5000).chain(sends(2, 0, 5000)))
                .map(|(us, ssrc, number)| (us.next_multiple_of(20_000) + u64::from(ssrc), ssrc, number))
                .collect(),
        );
        assert!((1..=5).contains(&bursts.restarts) && (4..=6).contains(&bursts.contested), "{bursts:?}");
        // Gaps that were open when the sender went are lost.
        let gap =
            sends(1, 0, 1000).filter(|packet| packet.0 / 1000 != 998).chain(sends(2, 1000, 2000)).collect();
        assert_eq!(both(gap), Counted { lost: 1, told: 1, strays: 1, restarts: 1, ..none() });
    }
}
