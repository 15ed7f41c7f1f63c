//! RTP sequence numbers: what is lost, what comes twice, what comes late, and who sends (RFC 3550 appendix A.1).

use super::window::{Lost, WINDOW, Window};
use crate::media::Mono;
use crate::wire::rtp::RtpPacket;

/// A larger step forward must be explained by the time that has passed (RFC 3550 appendix A.1).
const DROPOUT_MAX: u16 = 3000;
/// What a second leg may be behind the first, in microseconds (SMPTE ST 2022-7: 450 ms in class C, with some reserve).
/// Who is behind for longer is no leg, but has begun anew.
const SKEW_US: u64 = 500_000;
/// A sender that returns within that time after another one took over sends beside it; who is quiet for longer has
/// gone. Also how often two at a time are told of.
const RIVAL_US: u64 = 1_000_000;
/// Who took over and has been quiet for that long may have gone again, in microseconds: no burst is longer.
const QUIET_US: u64 = 100_000;
/// Other senders that are told apart; a group has one, or a few by mistake.
const RIVALS_MAX: usize = 4;
/// Two packets that are no further apart, in numbers, confirm each other, in whatever order their paths bring them.
const NEAR: u16 = 16;

/// The sequence of one sender, and whether there is another.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    window: Option<Window>,
    pub packets: u64,
    pub lost: u64,
    pub reordered: u64,
    /// Packets that have come before, or belong in front of the first.
    pub duplicates: u64,
    /// Packets of another sender, or far from the sequence, that no second one confirmed.
    pub strays: u64,
    /// Times that a sender began: another SSRC, or a step that is no loss.
    pub restarts: u64,
    pub ssrc: u32,
    pub payload_type: u8,
    /// When the sender was heard last, and the number of that packet among all.
    heard: (Mono, u64),
    /// Who has sent with another SSRC, or far from the sequence.
    rivals: [Option<Rival>; RIVALS_MAX],
    /// Whose place was taken, and when.
    replaced: Option<(u32, Mono)>,
    /// When two senders at a time were told of.
    contested_at: Option<Mono>,
    /// Of gaps that can fill no more, and are not told yet.
    abandoned: Lost,
}

/// The last packet of somebody else.
#[derive(Clone, Copy, Debug)]
struct Rival {
    ssrc: u32,
    sequence: u16,
    /// When it came, and its number among all.
    at: Mono,
    packet: u64,
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
    /// It has come before, or belongs in front of the first: a second leg (SMPTE ST 2022-7) that is behind brings what
    /// was sent before anything was heard, and what follows it in the stream has been read.
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
            self.begin(at, packet, packet.sequence);
            return Place::Next;
        };
        if packet.ssrc != self.ssrc {
            return self.stranger(at, packet);
        }
        let ahead = packet.sequence.wrapping_sub(window.newest as u16);
        let sent = match ahead {
            0 => None,
            // Also behind a long pause: a sender that was stopped goes on where it was.
            1..DROPOUT_MAX => Some(u64::from(ahead)),
            _ => window.sent(at, ahead),
        };
        if let Some(sent) = sent {
            self.abandoned += window.advance(at, sent);
            self.heard = (at, self.packets);
            return Place::Next;
        }
        let behind = u64::from(ahead.wrapping_neg());
        if behind >= WINDOW {
            return self.stranger(at, packet);
        }
        self.heard = (at, self.packets);
        let before = window.behind.replace(packet.sequence).filter(|it| is_near(*it, packet.sequence));
        if before.is_some() && at.micros_since(window.newest_at) > SKEW_US {
            return self.restart(at, packet, before);
        }
        let number = window.newest - behind;
        if number < window.first || !window.mark(number) {
            self.duplicates += 1;
            return Place::Duplicate;
        }
        self.reordered += 1;
        let regained = !window.fill(number);
        self.lost -= u64::from(regained).min(self.lost);
        Place::Late { regained }
    }

    /// A gap that will not fill any more, and what is lost in it. To be asked until there is none.
    pub fn give_up(&mut self, at: Mono) -> Option<Lost> {
        let lost = match std::mem::take(&mut self.abandoned) {
            Lost { packets: 0, .. } => self.window.as_mut()?.give_up(at)?,
            abandoned => abandoned,
        };
        self.lost += lost.packets;
        Some(lost)
    }

    /// A packet with another SSRC, or far from the sequence. It takes over if a second one confirms it and the sender
    /// is silent meanwhile, or has been for long.
    fn stranger(&mut self, at: Mono, packet: &RtpPacket<'_>) -> Place {
        let quiet_us = at.micros_since(self.heard.0);
        let returns = self
            .replaced
            .is_some_and(|(ssrc, since)| ssrc == packet.ssrc && at.micros_since(since) <= RIVAL_US);
        let fresh = |rival: &Rival| at.micros_since(rival.at) <= RIVAL_US;
        let known = self.rivals.iter().position(|rival| rival.is_some_and(|it| it.ssrc == packet.ssrc));
        let free = || self.rivals.iter().position(|rival| !rival.as_ref().is_some_and(fresh));
        let slot = known.or_else(free).and_then(|place| self.rivals.get_mut(place));
        // Without a slot there are many others, and each of them is one too many.
        let (mut answered, mut near) = (true, Some(packet.sequence));
        if let Some(slot) = slot {
            let rival = Rival { ssrc: packet.ssrc, sequence: packet.sequence, at, packet: self.packets };
            let before = slot.replace(rival).filter(|it| it.ssrc == packet.ssrc && fresh(it));
            answered = before.is_some_and(|it| self.heard.1 > it.packet);
            near = before.map(|it| it.sequence).filter(|it| is_near(*it, packet.sequence));
        }
        if quiet_us > RIVAL_US || (near.is_some() && !answered && (!returns || quiet_us > QUIET_US)) {
            self.replaced = Some((self.ssrc, at));
            return self.restart(at, packet, near);
        }
        self.strays += 1;
        let contested = near.is_some()
            && answered
            && self.contested_at.is_none_or(|told| at.micros_since(told) >= RIVAL_US);
        if contested {
            self.contested_at = Some(at);
        }
        Place::Stray { contested }
    }

    /// A sender begins with this packet, which the one `before` may have announced.
    fn restart(&mut self, at: Mono, packet: &RtpPacket<'_>, before: Option<u16>) -> Place {
        self.restarts += 1;
        // The sequence begins with the later of them: a stray does not come again, and is not missing.
        let ahead = before.map_or(0, |before| before.wrapping_sub(packet.sequence));
        let is_later = (1..=NEAR).contains(&ahead);
        self.begin(at, packet, packet.sequence.wrapping_add(if is_later { ahead } else { 0 }));
        Place::Restart
    }

    fn begin(&mut self, at: Mono, packet: &RtpPacket<'_>, first: u16) {
        (self.ssrc, self.payload_type, self.heard) = (packet.ssrc, packet.payload_type, (at, self.packets));
        if let Some(before) = self.window.replace(Window::new(at, first)) {
            self.abandoned += before.missing();
        }
    }
}

/// Whether two packets are close together, and not one that comes twice.
fn is_near(one: u16, other: u16) -> bool {
    one != other && one.wrapping_sub(other).min(other.wrapping_sub(one)) <= NEAR
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
                Counted { duplicates: 1, lost: 1, told: 1, ..none() },
            ),
            (
                "before the first, behind a loss",
                [10].into_iter().chain(12..300).chain([9]).collect(),
                Counted { duplicates: 1, lost: 1, told: 1, ..none() },
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

    /// Two paths, one longer than the other: something is always missing, nothing for long. In microseconds the
    /// distance of packets and what the longer path adds; the second row is 80 Mbit/s.
    #[test]
    fn steady_reordering_loses_nothing() {
        for (each_us, longer_us) in [(1000, 3500), (131, 10_000), (131, 95_000)] {
            let late = |n: u64| if n.is_multiple_of(2) && n > 0 { longer_us } else { 0 };
            let mut packets: Vec<_> = (0..5000).map(|n| (n * each_us + late(n), 7, n as u16)).collect();
            packets.sort();
            let counted = run(packets);
            assert_eq!((counted.lost, counted.told, counted.duplicates), (0, 0, 0), "{longer_us}");
            assert!(counted.reordered > 2000, "{counted:?}");
        }
    }

    #[test]
    fn a_second_leg_is_no_second_sender() {
        for behind in [1, 80, 400, 450] {
            // One leg loses a packet, the other has it.
            let first = (0..2000u64).filter(|n| *n != 900).map(|n| (n * 1000, 7, n as u16));
            // Both were there before they were joined: the second brings what was sent before the first was heard.
            let second =
                (0..2000 + behind).map(|n| (n * 1000 + 1, 7, (n as u16).wrapping_sub(behind as u16)));
            let mut packets: Vec<_> = first.chain(second).collect();
            packets.sort();
            let counted = run(packets);
            let told = usize::from(behind >= 100);
            let duplicates = 1999 + behind;
            let expected = Counted { duplicates, reordered: 1, told, ..Counted::default() };
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
        for (lost, from) in [(5000u64, 0), (40_000, 0), (5000, 63_000), (100_000, 0), (400_000, 0)] {
            let number = |n: u64| (from + n) as u16;
            let before = (0..2000).map(|n| (n * 1000, 7, number(n)));
            let behind = (2000 + lost..3000 + lost).map(|n| (n * 1000, 7, number(n)));
            assert_eq!(run(before.chain(behind)), Counted { lost, told: 1, ..Counted::default() });
        }
    }

    /// The same SSRC, but a number that neither the pause nor the pace explains.
    #[test]
    fn a_sender_that_begins_anew_after_a_pause() {
        let before = (0..2000u64).map(|n| (n * 1000, 7, n as u16));
        for begin in [9000u16, 22_000] {
            // Behind the pause two paths bring it out of order all the time.
            let behind = (0..2000u64).map(|n| (62_000_000 + n * 1000, 7, begin + (n as u16 ^ 1)));
            let counted = run(before.clone().chain(behind));
            assert_eq!((counted.lost, counted.restarts, counted.strays), (0, 1, 0), "{begin}: {counted:?}");
        }
        // Who was stopped goes on where it was, and has lost nothing.
        let paused = (0..2000u64).map(|n| (n * 1000 + if n < 1500 { 0 } else { 200_000_000 }, 7, n as u16));
        assert_eq!(run(paused), Counted::default());
    }

    #[test]
    fn senders() {
        let none = Counted::default;
        let sends = |ssrc: u8, from_ms: u64, until_ms: u64| {
            // Each has numbers of its own.
            (from_ms..until_ms).map(move |ms| {
                (
                    ms * 1000 + u64::from(ssrc),
                    ssrc,
                    (ms as u16).wrapping_add(u16::from(ssrc).wrapping_mul(9000)),
                )
            })
        };
        let both = |one: Vec<(u64, u8, u16)>| {
            let mut packets = one;
            packets.sort();
            run(packets)
        };
        let takes_over = sends(1, 0, 1000).chain(sends(2, 1000, 2000)).collect();
        assert_eq!(both(takes_over), Counted { strays: 1, restarts: 1, ..none() });
        // Two that were given the same SSRC are far apart by their numbers.
        let same = sends(1, 0, 5000).chain(sends(2, 0, 5000).map(|(us, _, number)| (us, 1, number)));
        assert_eq!(both(same.collect()), Counted { strays: 5000, contested: 5, ..none() });
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
        // Two others take turns, beside a third or behind it.
        let turns = |from_ms: u64| {
            let turn = |ssrc: u8| {
                sends(ssrc, from_ms, 5000).filter(move |it| it.0 / 1000 % 2 == u64::from(ssrc % 2))
            };
            turn(2).chain(turn(3))
        };
        let three = both(sends(1, 0, 5000).chain(turns(0)).collect());
        assert_eq!(three, Counted { strays: 5000, contested: 5, ..none() }, "three");
        let three = both(sends(1, 0, 2000).chain(turns(2000)).collect());
        assert_eq!((three.restarts, three.contested), (1, 3), "two of them behind the first: {three:?}");
        let crowd = (2..102).flat_map(|ssrc| sends(ssrc, 1000 + u64::from(ssrc), 1001 + u64::from(ssrc)));
        let crowd = both(sends(1, 0, 2000).chain(crowd).collect());
        assert_eq!(crowd, Counted { strays: 100, contested: 1, ..none() }, "a hundred");
        // The path of the one that takes over brings it out of order all the time.
        let swapped =
            sends(2, 1000, 5000).map(|(us, ssrc, number)| (us, ssrc, ((number - 19_000) ^ 1) + 19_000));
        let takes_over = both(sends(1, 0, 1000).chain(swapped).collect());
        assert_eq!(
            (takes_over.strays, takes_over.restarts, takes_over.contested),
            (1, 1, 0),
            "{takes_over:?}"
        );
        // One packet of another, each half second, behind the end of the first.
        let slow = sends(2, 1000, 5000).filter(|it| it.0 / 1000 % 500 == 0).enumerate();
        let slow = slow.map(|(n, (us, ssrc, _))| (us, ssrc, n as u16 * 100));
        let counted = both(sends(1, 0, 1000).chain(slow).collect());
        assert_eq!((counted.strays, counted.restarts), (2, 1), "{counted:?}");
        // There and back, and the second is gone.
        let back = sends(1, 0, 1000).chain(sends(2, 1000, 1300)).chain(sends(1, 1300, 3000));
        let counted = both(back.collect());
        assert_eq!((counted.restarts, counted.contested), (2, 0), "{counted:?}");
        assert!((50..150).contains(&counted.strays), "{counted:?}");
        // Gaps that were open when the sender went are lost.
        let gap =
            sends(1, 0, 1000).filter(|packet| packet.0 / 1000 != 998).chain(sends(2, 1000, 2000)).collect();
        assert_eq!(both(gap), Counted { lost: 1, told: 1, strays: 1, restarts: 1, ..none() });
    }
}
