//! Two paths of one sender, and senders that change.

use super::*;
use crate::proto::rtp_ts::receiver::LEGS;

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
fn another_sender_is_believed_when_it_goes_on() {
    // A tenth of a second between two senders.
    let all = |parts: &[&[Vec<u8>]]| -> Arrivals {
        let at = |part: usize, n: usize| (n + part * 140) as u64 * STEP_US;
        let part = |(part, packets): (usize, &&[Vec<u8>])| -> Arrivals {
            packets.iter().enumerate().map(|(n, packet)| (at(part, n), Some(0), packet.clone())).collect()
        };
        parts.iter().enumerate().flat_map(part).collect()
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

/// A second sender on the same address comes in bursts between the packets of the first, as encoders do; a path is behind
/// by more than is remembered. Neither is anything while the first goes on.
#[test]
fn who_is_there_is_not_talked_down() {
    let (one, other) = (packets(23, 1000, 2000), packets(24, 40_000, 2000));
    let mut arrivals = Arrivals::new();
    for (n, packet) in one.iter().enumerate() {
        let at = n as u64 * STEP_US;
        arrivals.push((at, Some(0), packet.clone()));
        if n % 16 == 7 {
            arrivals.extend(other[n..n + 8].iter().map(|packet| (at + 9, Some(0), packet.clone())));
        }
    }
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert_eq!((tally.restarts, tally.foreign, tally.lost), (0, 1000, 0));
    assert_eq!(given.payloads, payloads(&one));

    let media = packets(25, 0, 10_000);
    let behind = 5000;
    let arrivals: Arrivals = (0..media.len())
        .flat_map(|n| {
            let at = n as u64 * 100;
            let late = n.checked_sub(behind).map(|late| (at + 9, Some(1), media[late].clone()));
            [Some((at, Some(0), media[n].clone())), late].into_iter().flatten()
        })
        .collect();
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert_eq!((tally.restarts, tally.lost, tally.foreign), (0, 0, 5000));
    assert!(given.payloads == payloads(&media));
}

/// A sender begins again on two paths that are apart: while one brings the old numbers and the other the new ones, and when
/// both bring new ones in turn.
#[test]
fn a_sender_that_begins_again_is_believed_over_two_paths() {
    const SKEW: usize = 17;
    for (what, other) in [("another source", packets(27, 7, 400)), ("a jump", packets(26, 30_000, 400))] {
        let one = packets(26, 65_000, 400);
        let all = [&one[..], &other[..]].concat();
        let arrivals: Arrivals = (0..all.len() + SKEW)
            .flat_map(|n| {
                let at = n as u64 * STEP_US;
                let ahead = all.get(n).map(|packet| (at, Some(0), packet.clone()));
                let late = n.checked_sub(SKEW).map(|late| (at + 9, Some(1), all[late].clone()));
                [ahead, late].into_iter().flatten()
            })
            .collect();
        let (given, tally) = receive(Options { wait: Duration::from_millis(50), fec: false }, &arrivals);
        assert_eq!((tally.restarts, given.restarts, tally.lost), (1, 1, 0), "{what}: {tally:?}");
        // The old one's last packet on the later path, a tenth of a second, and no more.
        let missed = all.len() - given.payloads.len();
        assert!((1..60).contains(&missed), "{what}: {missed}");
        let kept = [payloads(&one), payloads(&other[missed..])].concat();
        assert!(given.payloads == kept, "{what}");
    }
}

/// What a network sends a second time in one go is no sender that begins again.
#[test]
fn a_burst_of_copies_is_no_new_sender() {
    let media = packets(28, 0, 600);
    let mut arrivals: Arrivals =
        media.iter().enumerate().map(|(n, packet)| (n as u64 * STEP_US, Some(0), packet.clone())).collect();
    let copies = media[100..300].iter().map(|packet| (300 * STEP_US - 1, Some(0), packet.clone()));
    arrivals.splice(300..300, copies);
    let (given, tally) = receive(OPTIONS, &arrivals);
    assert_eq!((tally.duplicates, tally.restarts, tally.lost), (200, 0, 0));
    assert!(given.payloads == payloads(&media));
}

/// A path that is later than the wait brings what was given up: it came there, and does not begin anything.
#[test]
fn what_comes_too_late_has_come_on_its_path() {
    let media = packets(29, 0, 1000);
    let late_us = 300_000;
    let mut arrivals = Arrivals::new();
    for (n, packet) in media.iter().enumerate() {
        let at = n as u64 * STEP_US;
        if !(400..550).contains(&n) && n < 550 {
            arrivals.push((at, Some(0), packet.clone()));
        }
        arrivals.push((at + late_us, Some(1), packet.clone()));
    }
    arrivals.push((550 * STEP_US, Some(0), media[550].clone()));
    arrivals.sort_by_key(|(at, ..)| *at);
    let (given, tally) = receive(Options { wait: Duration::from_millis(10), fec: false }, &arrivals);
    assert_eq!(tally.restarts, 0, "{tally:?}");
    assert_eq!((tally.legs[1].packets, tally.legs[1].lost), (1000, 0), "{tally:?}");
    assert_eq!(tally.late, tally.lost, "{tally:?}");
    assert_eq!(given.payloads.len() as u64 + tally.lost, 1000);
}
