//! Repair packets: what they bring back, and what they must not.

use super::*;
use crate::wire::fec::FecHeader;

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
    // The other one begins a tenth of a second later.
    let at = |n: usize| if n < 50 { n } else { n + 40 } as u64 * STEP_US;
    let mut arrivals: Arrivals =
        media.enumerate().map(|(n, packet)| (at(n), Some(0), packet.clone())).collect();
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

/// Repair packets of what is not sent yet do not push out those that are needed; copies take one place.
#[test]
fn repair_packets_from_nowhere_take_no_place() {
    let media = packets(30, 0, 400);
    let whole = protected(&media, fec(10, 10, false, false), |kind, n| kind.is_none() && n == 215);
    let mut lie = whole.iter().find(|(_, leg, _)| leg.is_none()).unwrap().2.clone();
    let mut arrivals = Arrivals::new();
    let mut lies = 0;
    for (n, arrival) in whole.into_iter().enumerate() {
        let at = arrival.0;
        if arrival.1.is_none() {
            // The same on the other path.
            arrivals.push(arrival.clone());
        }
        arrivals.push(arrival);
        if (150..400).contains(&n) {
            for _ in 0..4 {
                lies += 1;
                lie[12..14].copy_from_slice(&(1800 + lies % 97_u16).to_be_bytes());
                arrivals.push((at, None, lie.clone()));
            }
        }
    }
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert_eq!((tally.repaired, tally.lost, tally.repair_refused), (1, 0, 1000), "{tally:?}");
    assert!(given.payloads == payloads(&media));
}

/// One header of a large matrix does not make every later loss wait for it.
#[test]
fn a_matrix_that_is_no_longer_sent_is_not_waited_for() {
    let media = packets(31, 0, 4000);
    let mut arrivals = protected(&media, fec(4, 4, false, false), |kind, n| {
        // Four corners: nothing repairs them.
        kind.is_none() && n > 3000 && [0, 4].contains(&(n % 400))
    });
    let mut large = arrivals.iter().find(|(_, leg, _)| leg.is_none()).unwrap().2.clone();
    (large[25], large[26]) = (10, 10);
    arrivals.insert(40, (arrivals[40].0, None, large));
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert!(tally.lost > 0, "{tally:?}");
    assert!(given.waited_us <= 60_000.max(40 * STEP_US), "{}", given.waited_us);
}

/// A number that does not follow begins a matrix of its own: no repair packet mixes what is before and behind the gap.
#[test]
fn a_gap_in_what_is_sent_begins_a_matrix() {
    for (rows, staggered) in [(true, false), (true, true), (false, false)] {
        let mut media = packets(32, 65_500, 300);
        media.drain(117..120);
        let mut mixed = 0;
        let (mut encoder, mut repairs) = (FecEncoder::new(fec(5, 5, rows, staggered), 0, 0), 0);
        for packet in &media {
            encoder.push(packet, |_, repair| {
                let header = FecHeader::parse(repair).unwrap();
                let numbers: Vec<u16> = (0..u16::from(header.count))
                    .map(|n| header.base.wrapping_add(n * u16::from(header.offset)))
                    .collect();
                let there = |number: &u16| media.iter().any(|packet| sequence(packet) == *number);
                mixed += usize::from(!numbers.iter().all(there));
                repairs += 1;
            });
        }
        assert_eq!(mixed, 0, "{rows} {staggered}");
        assert!(repairs > 40, "{rows} {staggered}: {repairs}");
    }
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
