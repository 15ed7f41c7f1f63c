use super::receiver::{HEAP_BYTES_MAX, LEGS};
use super::*;
use crate::config::Fec;
use crate::media::Mono;
use crate::wire::capture::{CaptureReader, Datagram};
use crate::wire::fec::{Direction, FecHeader};
use crate::wire::rtp::RtpPacket;
use std::time::Duration;

const OPTIONS: Options = Options { wait: Duration::from_millis(60), fec: true };
/// Microseconds from packet to packet: some 4 Mbit/s.
const STEP_US: u64 = 2632;

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// `count` packets of one sender from `first` on, of different lengths and contents.
fn packets(ssrc: u32, first: u16, count: usize) -> Vec<Vec<u8>> {
    let (mut sender, mut dice) = (Sender::new(ssrc, first), Dice(u64::from(ssrc) | 1));
    (0..count as u64)
        .map(|n| {
            let mut packet = sender.header(n * STEP_US * 27).to_vec();
            let whole = if n % 11 == 3 { 1 } else { 2 };
            for _ in 0..whole {
                packet.push(0x47);
                packet.extend((1..188).map(|_| dice.roll(256) as u8));
            }
            packet
        })
        .collect()
}

fn sequence(packet: &[u8]) -> u16 {
    RtpPacket::parse(packet).unwrap().sequence
}

/// What a receiver has given out.
#[derive(Default)]
struct Given {
    payloads: Vec<Vec<u8>>,
    lost: u64,
    restarts: usize,
    /// The longest that a packet waited, in microseconds.
    waited_us: u64,
}

impl Given {
    fn take(&mut self, receiver: &mut Receiver, now: Mono) {
        while let Some(packet) = receiver.pop(now) {
            self.payloads.push(packet.payload.to_vec());
            self.lost += packet.lost;
            self.restarts += usize::from(packet.restart);
            self.waited_us = self.waited_us.max(now.micros_since(packet.at));
        }
        assert!(receiver.deadline(now) > now, "what is due was done");
    }
}

/// Datagrams in the order they come: when, on which path, and what (a repair packet has none).
type Arrivals = Vec<(u64, Option<usize>, Vec<u8>)>;

/// Gives `arrivals` to a receiver as time goes by, each deadline at its time, and lets all waits end.
fn receive(options: Options, arrivals: &Arrivals) -> (Given, Tally) {
    let (mut receiver, mut given) = (Receiver::new(options), Given::default());
    let mut last = 0;
    for (at, leg, datagram) in arrivals {
        let now = Mono::from_micros(*at);
        loop {
            let due = receiver.deadline(Mono::from_micros(last));
            if due >= now {
                break;
            }
            last = due.as_micros();
            given.take(&mut receiver, due);
        }
        last = *at;
        match leg {
            Some(leg) => receiver.push(*leg, now, datagram),
            None => receiver.push_fec(now, datagram),
        }
        given.take(&mut receiver, now);
    }
    given.take(&mut receiver, Mono::from_micros(last + 60_000_000));
    assert!(receiver.heap_bytes() <= HEAP_BYTES_MAX);
    let tally = *receiver.tally();
    assert_eq!((tally.delivered, tally.lost + tally.overrun), (given.payloads.len() as u64, given.lost));
    (given, tally)
}

/// The stream and its repair packets as a sender emits them; what `drops` says of a datagram's index is not there.
fn protected(
    media: &[Vec<u8>],
    fec: Fec,
    mut drops: impl FnMut(Option<Direction>, usize) -> bool,
) -> Arrivals {
    let (mut encoder, mut arrivals) = (FecEncoder::new(fec, 0xFFFE, 7), Arrivals::new());
    for (n, packet) in media.iter().enumerate() {
        let at = n as u64 * STEP_US;
        if !drops(None, n) {
            arrivals.push((at, Some(0), packet.clone()));
        }
        encoder.push(packet, |direction, repair| {
            if !drops(Some(direction), n) {
                arrivals.push((at + 100, None, repair.to_vec()));
            }
        });
    }
    arrivals
}

fn fec(columns: u8, rows: u8, row_packets: bool, staggered: bool) -> Fec {
    Fec { columns, rows, row_packets, staggered }
}

fn payloads(media: &[Vec<u8>]) -> Vec<Vec<u8>> {
    media.iter().map(|packet| RtpPacket::parse(packet).unwrap().payload.to_vec()).collect()
}

#[test]
fn in_order_nothing_waits_and_nothing_is_counted() {
    let media = packets(1, 65_000, 2000);
    let arrivals: Arrivals =
        media.iter().enumerate().map(|(n, packet)| (n as u64 * STEP_US, Some(0), packet.clone())).collect();
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert_eq!(given.payloads, payloads(&media));
    let mut clean = Tally { datagrams: 2000, delivered: 2000, ..Tally::default() };
    clean.legs[0].packets = 2000;
    assert_eq!((tally, given.waited_us), (clean, 0));
}

/// Each arrangement of the standard, and each place of a burst in two matrices.
#[test]
fn a_burst_as_long_as_a_row_is_repaired() {
    for (l, d, rows, staggered) in [
        (5, 5, true, false),
        (8, 8, true, true),
        (10, 10, false, false),
        (20, 5, false, true),
        (4, 20, false, false),
        (5, 20, true, true),
        (1, 4, false, false),
    ] {
        let matrix = usize::from(l) * usize::from(d);
        let media = packets(2, 65_500, 6 * matrix);
        // A staggered column begins in its own row.
        let whole = protected(&media, fec(l, d, rows, staggered), |_, _| false);
        for start in 2 * matrix..3 * matrix {
            let burst = &media[start..start + usize::from(l)];
            let lost = |datagram: &Vec<u8>| burst.contains(datagram);
            let arrivals =
                whole.iter().filter(|(_, leg, datagram)| leg.is_none() || !lost(datagram)).cloned().collect();
            let (given, tally) = receive(OPTIONS, &arrivals);
            assert_eq!((tally.lost, tally.repaired), (0, l.into()), "{l}x{d} {rows} {staggered} at {start}");
            assert!(given.payloads == payloads(&media), "{l}x{d} {rows} {staggered} at {start}");
        }
    }
}

/// Repair packets take as much of the link at any time: no two columns end together.
#[test]
fn columns_leave_one_by_one() {
    for (l, d, staggered) in
        [(5, 5, false), (5, 5, true), (4, 10, false), (4, 10, true), (20, 5, false), (20, 5, true)]
    {
        let (media, mut encoder) = (packets(20, 0, 1000), FecEncoder::new(fec(l, d, false, staggered), 0, 0));
        let mut after = Vec::new();
        for (n, packet) in media.iter().enumerate() {
            encoder.push(packet, |_, _| after.push(n));
        }
        let matrix = usize::from(l) * usize::from(d);
        after.retain(|n| (2 * matrix..4 * matrix).contains(n));
        assert_eq!(after.len(), 2 * usize::from(l), "{l}x{d} {staggered}");
        if staggered {
            // As many in every row, but for a whole number.
            let in_row = |row: usize| after.iter().filter(|n| *n / usize::from(l) == row).count();
            let rows = 2 * usize::from(d)..4 * usize::from(d);
            assert!(
                rows.clone().all(|row| in_row(row) <= usize::from(l).div_ceil(d.into())),
                "{l}x{d}: {after:?}"
            );
        } else {
            assert!(after.windows(2).all(|two| two[1] - two[0] == usize::from(d)), "{l}x{d}: {after:?}");
        }
    }
}

#[test]
fn repair_packets_of_another_sender_repair_nothing() {
    let (one, other) = (packets(21, 0, 60), packets(22, 0, 60));
    let mut row = Vec::new();
    let mut encoder = FecEncoder::new(fec(5, 5, true, false), 0, 0);
    for packet in &one {
        encoder.push(packet, |direction, repair| {
            if direction == Direction::Row && FecHeader::parse(repair).unwrap().base == 50 {
                row = repair.to_vec();
            }
        });
    }
    let media = one[..50].iter().chain(&other[..3]).chain(&other[4..]);
    let mut arrivals: Arrivals =
        media.enumerate().map(|(n, packet)| (n as u64 * STEP_US, Some(0), packet.clone())).collect();
    // It waits for packets that are never sent.
    arrivals.insert(50, (50 * STEP_US - 1, None, row));
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert_eq!((tally.restarts, tally.repaired, tally.lost), (1, 0, 1));
    assert_eq!(
        given.payloads,
        [payloads(&one[..50]), payloads(&other[1..3]), payloads(&other[4..])].concat()
    );
}

#[test]
fn random_losses_are_repaired_with_their_repair_packets_lost_too() {
    for (seed, (l, d, staggered), percent) in [
        (3, (5, 5, false), 1),
        (4, (10, 10, false), 1),
        (5, (8, 8, true), 1),
        (6, (10, 10, true), 2),
        (7, (4, 6, false), 3),
    ] {
        let media = packets(3, 64_000, 4000);
        let mut dice = Dice(seed);
        let mut dropped = 0;
        let arrivals = protected(&media, fec(l, d, true, staggered), |kind, n| {
            // The ends have no whole matrix around them.
            let drop = (200..3700).contains(&n) && dice.roll(100) < percent;
            dropped += u64::from(drop && kind.is_none());
            drop
        });
        let (given, tally) = receive(OPTIONS, &arrivals);
        assert!(dropped > 20, "{dropped}");
        assert_eq!((tally.lost, tally.repaired), (0, dropped), "{l}x{d} {staggered}");
        assert!(given.payloads == payloads(&media));
    }
}

/// Neither rows nor columns alone can repair this; going back and forth does.
#[test]
fn repairs_make_repairs_possible() {
    let media = packets(4, 10, 200);
    // In the matrix from 50 on, 5x5: a staircase, each step shared by a row and a column.
    let steps = [50, 51, 56, 57, 62, 63, 68, 69, 74];
    let lost = |kind: Option<Direction>, n: usize| kind.is_none() && steps.contains(&n);
    let (given, tally) = receive(OPTIONS, &protected(&media, fec(5, 5, true, false), lost));
    assert_eq!((tally.repaired, tally.lost), (9, 0));
    assert!(given.payloads == payloads(&media));
    // Without columns' help four in a rectangle stay lost, and only they.
    let corners = |kind: Option<Direction>, n: usize| kind.is_none() && [51, 53, 61, 63].contains(&n);
    let (given, tally) = receive(OPTIONS, &protected(&media, fec(5, 5, true, false), corners));
    assert_eq!((tally.repaired, tally.lost, given.payloads.len()), (0, 4, 196));
}

#[test]
fn a_loss_is_given_up_when_nothing_can_repair_it_any_more() {
    let media = packets(5, 0, 400);
    let plain: Arrivals =
        (0..400).filter(|n| *n != 100).map(|n| (n as u64 * STEP_US, Some(0), media[n].clone())).collect();
    let (given, tally) = receive(OPTIONS, &plain);
    assert_eq!((tally.lost, given.payloads.len()), (1, 399));
    assert!((55_000..=60_000).contains(&given.waited_us), "{}", given.waited_us);
    // With repair packets it is waited for them: two matrices and a row.
    let all =
        |kind: Option<Direction>, n: usize| kind.is_none() && [100, 105, 110, 101, 106, 111].contains(&n);
    let (given, tally) = receive(OPTIONS, &protected(&media, fec(5, 5, true, false), all));
    assert_eq!((tally.lost, tally.repaired), (6, 0));
    assert!((100_000..=56 * STEP_US).contains(&given.waited_us), "{}", given.waited_us);
    // If the stream stops with it, no longer than a receiver may wait.
    let mut receiver = Receiver::new(OPTIONS);
    for (at, leg, datagram) in
        protected(&media[..120], fec(5, 5, true, false), |kind, n| kind.is_none() && n >= 110 && n != 118)
    {
        let now = Mono::from_micros(at);
        match leg {
            Some(leg) => receiver.push(leg, now, &datagram),
            None => receiver.push_fec(now, &datagram),
        }
        while receiver.pop(now).is_some() {}
    }
    let end = Mono::from_micros(119 * STEP_US);
    assert_eq!(receiver.deadline(end).as_micros(), 118 * STEP_US + 2_000_000);
}

#[test]
fn what_is_overtaken_is_put_in_order() {
    let media = packets(6, 65_400, 1000);
    let mut dice = Dice(11);
    let mut arrivals: Arrivals = media
        .iter()
        .enumerate()
        .map(|(n, packet)| (n as u64 * STEP_US + dice.roll(50_000), Some(0), packet.clone()))
        .collect();
    // The first fixes where the stream begins.
    arrivals[0].0 = 0;
    for n in (10..1000).step_by(97) {
        let twice = (arrivals[n].0 + 5000, Some(0), media[n].clone());
        arrivals.push(twice);
    }
    arrivals.sort_by_key(|(at, ..)| *at);
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert!(given.payloads == payloads(&media));
    assert_eq!((tally.lost, tally.duplicates, tally.late, tally.restarts), (0, 11, 0, 0));
    assert!(tally.reordered > 300 && tally.legs[0].lost == 0, "{tally:?}");
    assert!(given.waited_us <= 60_000, "{}", given.waited_us);
    // One that is later than the window is lost, and late.
    let mut arrivals: Arrivals =
        media.iter().enumerate().map(|(n, packet)| (n as u64 * STEP_US, Some(0), packet.clone())).collect();
    arrivals[500].0 += 70_000;
    arrivals.sort_by_key(|(at, ..)| *at);
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert_eq!((tally.lost, tally.late, given.payloads.len()), (1, 1, 999));
}

/// Two paths, of which each loses what the other does not, and is up to the budget behind.
#[test]
fn two_paths_lose_nothing_together() {
    let media = packets(7, 65_000, 3000);
    for (skew_ms, options) in [(10, 10), (45, 50), (440, 450)] {
        let mut dice = Dice(13);
        let mut arrivals = Arrivals::new();
        let mut dropped = [0; LEGS];
        for (n, packet) in media.iter().enumerate() {
            let at = n as u64 * STEP_US;
            // 1 % on either, bursts of 50 in turn, one path cut for good and the other for a while.
            let lost = match n {
                2900.. => 1,
                1500..1800 => 0,
                300.. if n % 200 < 50 => n / 200 % LEGS,
                _ if dice.roll(100) < 2 => dice.roll(2) as usize,
                _ => LEGS,
            };
            for (leg, dropped) in dropped.iter_mut().enumerate() {
                match lost == leg {
                    // The first packets fix where the stream begins.
                    true if n > 0 => *dropped += 1,
                    _ => arrivals.push((at + leg as u64 * skew_ms * 1000, Some(leg), packet.clone())),
                }
            }
        }
        arrivals.sort_by_key(|(at, ..)| *at);
        let (given, tally) = receive(Options { wait: Duration::from_millis(options), fec: false }, &arrivals);
        assert_eq!((tally.lost, tally.late, tally.duplicates, tally.restarts), (0, 0, 0, 0), "{tally:?}");
        assert!(given.payloads == payloads(&media));
        assert!(tally.merged > 20, "{tally:?}");
        let came = [3000 - dropped[0], 3000 - dropped[1]];
        assert_eq!(tally.legs.map(|leg| leg.packets), came);
        // What is behind its last packet a path cannot know of.
        assert_eq!(tally.legs.map(|leg| leg.lost), [dropped[0], dropped[1] - 100]);
        assert!(tally.legs[1].behind_us_max / 1000 == skew_ms && tally.legs[0].behind_us_max == 0);
    }
}

#[test]
fn another_sender_is_believed_with_its_second_packet() {
    let all = |parts: &[&[Vec<u8>]]| -> Arrivals {
        let packets = parts.iter().flat_map(|part| part.iter());
        packets.enumerate().map(|(n, packet)| (n as u64 * STEP_US, Some(0), packet.clone())).collect()
    };
    let one = packets(8, 1000, 100);
    for (what, other, lost, stale) in [
        ("another source", packets(9, 1100, 100), 1, 0),
        ("the same source, far ahead", packets(8, 9000, 100), 1, 0),
        ("the same source, far behind", packets(8, 60_000, 100), 1, 0),
        // All its numbers have been seen.
        ("the same source, from the start", packets(8, 1000, 100), 63, 63),
    ] {
        let (given, tally) = receive(OPTIONS, &all(&[&one, &other]));
        assert_eq!((tally.restarts, tally.lost, given.restarts), (1, 0, 1), "{what}");
        assert_eq!(
            (tally.foreign, tally.duplicates),
            (1 - u64::from(stale > 0), stale + u64::from(stale > 0)),
            "{what}"
        );
        assert_eq!(given.payloads, [payloads(&one), payloads(&other[lost..])].concat(), "{what}");
    }
    // What is held back behind a gap comes out before the new sender, without waiting.
    let held = [&one[..50], &one[52..100]].concat();
    let other = packets(9, 5, 100);
    let (given, tally) =
        receive(Options { wait: Duration::from_secs(10), fec: false }, &all(&[&held, &other]));
    assert_eq!((tally.restarts, tally.lost), (1, 2));
    assert_eq!(given.payloads, [payloads(&held), payloads(&other[1..])].concat());
    // A second sender beside the first one is not mixed in.
    let mixed: Arrivals = (0..100)
        .flat_map(|n| {
            [
                (n as u64 * STEP_US, Some(0), one[n].clone()),
                (n as u64 * STEP_US + 9, Some(0), other[n].clone()),
            ]
        })
        .collect();
    let (given, tally) = receive(OPTIONS, &mixed);
    assert_eq!((tally.foreign, tally.restarts, tally.lost), (100, 0, 0));
    assert_eq!(given.payloads, payloads(&one));
}

#[test]
fn a_long_loss_is_a_number() {
    let media = packets(10, 0, 4000);
    for (gap, lost) in [(1400, 1400), (1499, 1499), (1501, 1502)] {
        let arrivals: Arrivals = (0..4000)
            .filter(|n| !(100..100 + gap).contains(n))
            .map(|n| (n as u64 * STEP_US, Some(0), media[n].clone()))
            .collect();
        let (given, tally) = receive(OPTIONS, &arrivals);
        // Beyond that it counts as a new sender, whose first packet is not believed.
        let restarts = u64::from(gap > 1500);
        assert_eq!((tally.restarts, tally.lost), (restarts, if restarts == 0 { lost } else { 0 }), "{gap}");
        assert_eq!(given.payloads.len() as u64, 4000 - lost, "{gap}");
    }
}

/// A caller that does not take what is there loses the oldest, and no memory.
#[test]
fn who_does_not_take_loses_the_oldest() {
    let (media, mut receiver) = (packets(11, 0, 5000), Receiver::new(OPTIONS));
    for packet in &media {
        receiver.push(0, Mono::ZERO, packet);
    }
    let mut given = Given::default();
    given.take(&mut receiver, Mono::ZERO);
    assert_eq!(given.payloads, payloads(&media[5000 - 4096..]));
    assert_eq!((receiver.tally().overrun, given.lost), (904, 904));
    assert!(receiver.heap_bytes() <= HEAP_BYTES_MAX * 2 / 3);
}

#[test]
fn what_is_no_packet_is_counted() {
    let media = packets(12, 0, 2);
    let mut receiver = Receiver::new(OPTIONS);
    let long = [&media[0][..], &[0; 1500]].concat();
    for datagram in [&[][..], b"x", &media[0][..11], &media[0][12..], &long] {
        receiver.push(5, Mono::ZERO, datagram);
        receiver.push_fec(Mono::ZERO, datagram);
        assert_eq!(receiver.pop(Mono::ZERO), None);
    }
    assert_eq!((receiver.tally().malformed, receiver.tally().repair_refused), (5, 5));
    assert_eq!(receiver.deadline(Mono::ZERO), Mono::NEVER);
}

/// Sequences of headers whose repair packets cannot be true: nothing comes of them, and nothing grows.
#[test]
fn lies_of_repair_packets_are_survived() {
    let media = packets(13, 0, 1000);
    let mut dice = Dice(17);
    let (mut receiver, mut given) = (Receiver::new(OPTIONS), Given::default());
    for (n, packet) in media.iter().enumerate() {
        let now = Mono::from_micros(n as u64 * STEP_US);
        if n % 7 != 3 {
            receiver.push(0, now, packet);
        }
        for _ in 0..8 {
            let mut lie: Vec<u8> = (0..28 + dice.roll(1400)).map(|_| dice.roll(256) as u8).collect();
            lie[0] = 0x80;
            lie[12..14].copy_from_slice(&((n as u64 + dice.roll(60)) as u16).wrapping_sub(40).to_be_bytes());
            (lie[14], lie[16]) = ((dice.roll(5)) as u8, 0xA1);
            lie[17..20].fill(0);
            (lie[24], lie[25], lie[26]) = (0, 1 + dice.roll(20) as u8, 1 + dice.roll(20) as u8);
            receiver.push_fec(now, &lie);
        }
        given.take(&mut receiver, now);
        assert!(receiver.heap_bytes() < HEAP_BYTES_MAX / 8);
    }
    given.take(&mut receiver, Mono::from_micros(60_000_000));
    let tally = receiver.tally();
    assert!(tally.repair_refused > 0 && tally.delivered + tally.lost == 1000, "{tally:?}");
    assert!(given.payloads.len() >= 857, "{tally:?}");
}

/// The stream of tests/vectors/rtp_mp2t_fec_5x5.pcap, by port: media, columns, rows.
fn capture() -> [Vec<Vec<u8>>; 3] {
    let mut reader = CaptureReader::new();
    reader.push(include_bytes!("../../../tests/vectors/rtp_mp2t_fec_5x5.pcap"));
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    while let Some(record) = reader.next_record().unwrap() {
        let datagram = Datagram::parse(record.link, record.frame).unwrap();
        let kind = usize::from(datagram.destination.port() - 5004) / 2;
        found[kind].push(datagram.payload.to_vec());
    }
    assert_eq!(found.each_ref().map(Vec::len), [46, 5, 9]);
    found
}

/// What ffmpeg sends is what we send, byte by byte but for the RTP header's number and time, and in the same place.
#[test]
fn the_encoder_agrees_with_another() {
    let [media, columns, rows] = capture();
    let mut encoder = FecEncoder::new(fec(5, 5, true, false), 0x0B07, 0x0518);
    let (mut ours, mut after) = ([Vec::new(), Vec::new()], Vec::new());
    for packet in &media {
        encoder.push(packet, |direction, repair| match direction {
            Direction::Column => {
                ours[0].push(repair.to_vec());
                after.push(sequence(packet));
            }
            Direction::Row => ours[1].push(repair.to_vec()),
        });
    }
    for (ours, theirs) in ours.iter().zip([&columns, &rows]) {
        assert!(ours.len() >= theirs.len() - 1 && ours.len() > 3);
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(
                (&ours[..4], &ours[8..]),
                (&theirs[..4], &theirs[8..]),
                "{:?}",
                FecHeader::parse(theirs)
            );
        }
    }
    assert_eq!(after[..4], [0x0710, 0x0715, 0x071A, 0x071F]);
}

/// Any packet of the first matrix, any two, and any burst of five: what ffmpeg sends repairs them.
#[test]
fn the_receiver_repairs_from_what_another_sends() {
    let [media, columns, rows] = capture();
    let check = |missing: &[usize]| {
        let mut receiver = Receiver::new(OPTIONS);
        let mut given = Given::default();
        let now = Mono::from_micros(1);
        for (n, packet) in media.iter().enumerate().filter(|(n, _)| !missing.contains(n)) {
            receiver.push(0, now, packet);
            given.take(&mut receiver, now);
            if n == 0 {
                // Those of rows that are not sent yet wait as well.
                rows.iter().for_each(|row| receiver.push_fec(now, row));
            }
        }
        columns.iter().for_each(|column| receiver.push_fec(now, column));
        given.take(&mut receiver, now);
        assert_eq!(
            (receiver.tally().repaired, receiver.tally().lost),
            (missing.len() as u64, 0),
            "{missing:?}"
        );
        assert!(given.payloads == payloads(&media), "{missing:?}");
    };
    for first in 1..25 {
        check(&[first]);
        (first + 1..25).for_each(|second| check(&[first, second]));
        check(&(first..(first + 5).min(25)).collect::<Vec<_>>());
    }
}
