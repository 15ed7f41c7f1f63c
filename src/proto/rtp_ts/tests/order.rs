//! The order of packets, and what is missing in it.

use super::*;

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

/// Whatever comes, in whatever order, by a clock that stands still, leaps and goes back: what is given out is in order, each
/// number once or lost, and nothing grows.
#[test]
fn anything_at_any_time_is_given_in_order() {
    for seed in 1..=8 {
        let mut dice = Dice(seed * 7919);
        let fec = seed % 2 == 0;
        let wait = Duration::from_millis([0, 10, 60, 450][(seed / 2 % 4) as usize]);
        let mut receiver = Receiver::new(Options { wait, fec });
        let media = [packets(1, 65_000, 3000), packets(2, 64_900, 3000)];
        let mut repairs: [Vec<Vec<u8>>; 2] = Default::default();
        for (media, repairs) in media.iter().zip(&mut repairs) {
            let mut encoder = FecEncoder::new(self::fec(5, 5, true, false), 0, 0);
            media.iter().for_each(|packet| encoder.push(packet, |_, repair| repairs.push(repair.to_vec())));
        }
        let (mut at, mut now, mut before, mut given, mut lost) = (0usize, 1u64 << 40, None, 0, 0);
        for n in 0..8_000 {
            // Mostly on by one, at times anywhere, from either sender.
            at = match dice.roll(200) {
                0 => dice.roll(3000) as usize,
                1..4 => (at + dice.roll(100) as usize) % 3000,
                4..8 => at.saturating_sub(dice.roll(20) as usize),
                _ => (at + 1) % 3000,
            };
            now = match dice.roll(300) {
                0 => now + dice.roll(10_000_000),
                1 => now.saturating_sub(dice.roll(10_000_000)),
                _ => now + dice.roll(5000),
            };
            let (clock, who) = (Mono::from_micros(now), usize::from(dice.roll(40) == 0));
            match dice.roll(5) {
                0 => {
                    let nearby = at * 2 / 5 + dice.roll(20) as usize;
                    let Some(repair) = repairs[who].get(nearby) else { continue };
                    let mut repair = repair.clone();
                    if dice.roll(4) == 0 {
                        repair[12 + dice.roll(16) as usize] = dice.roll(256) as u8;
                    }
                    receiver.push_fec(clock, &repair);
                }
                leg => receiver.push(leg as usize % 2, clock, &media[who][at]),
            }
            let mut pops = 0;
            while let Some(packet) = receiver.pop(clock) {
                if let Some(before) = before.filter(|_| !packet.restart) {
                    assert_eq!(u64::from(packet.sequence.wrapping_sub(before)), (packet.lost + 1) % 65_536);
                }
                (before, pops) = (Some(packet.sequence), pops + 1);
                (given, lost) = (given + 1, lost + packet.lost);
            }
            assert!(pops <= 8192 && receiver.deadline(clock) > clock, "what is due was done");
            assert!(n % 500 > 0 || receiver.heap_bytes() <= HEAP_BYTES_MAX);
        }
        let tally = receiver.tally();
        assert!(tally.delivered == given && tally.lost + tally.overrun >= lost && given > 1000, "{tally:?}");
        assert!(tally.restarts > 0 && tally.duplicates > 0, "{tally:?}");
    }
}
