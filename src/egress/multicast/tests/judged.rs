//! What a channel says of what it sends itself: each fault by its indicator, and nothing of what is right.

use super::*;
use crate::egress::multicast::judge::Judge;

/// Datagrams of a channel without a source and when each leaves, for five seconds.
fn without_a_source() -> Vec<(Mono, Vec<u8>)> {
    let mut bench = Bench::new(&["udp://127.0.0.1:5000"]);
    (1..=5000).for_each(|ms| bench.tick(ms));
    let datagrams = bench.laid.into_iter().map(|(_, bytes)| bytes);
    bench.left.into_iter().zip(datagrams).collect()
}

/// What its judge raises of these.
fn raised(datagrams: &[(Mono, Vec<u8>)]) -> Vec<&'static str> {
    let about = about(&Config::parse(
        "[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 4000000\nto = [\"udp://127.0.0.1:5000\"]\n",
        "a test",
    )
    .unwrap()
    .channels[0]);
    let slot = ChannelSlot::new(about, &indicators());
    let mut judge = Judge::new(false);
    for (at, datagram) in datagrams {
        judge.datagram(*at, datagram.as_chunks().0);
    }
    judge.watch(Mono::from_micros(5_000_000), &slot);
    slot.indicators.iter().filter(|(_, count)| count.get() > 0).map(|(name, _)| *name).collect()
}

/// A packet from the second second on.
fn late<'a>(
    datagrams: &'a mut [(Mono, Vec<u8>)],
    fits: impl Fn(&[u8]) -> bool + 'a,
) -> impl Iterator<Item = &'a mut [u8]> {
    let late = datagrams.iter_mut().filter(|(at, _)| *at > Mono::from_micros(2_000_000));
    late.flat_map(|(_, bytes)| bytes.chunks_mut(188)).filter(move |packet| fits(packet))
}

const NULL: u16 = 0x1FFF;

fn is(pid: u16) -> impl Fn(&[u8]) -> bool {
    move |packet| u16::from_be_bytes([packet[1], packet[2]]) & NULL == pid
}

fn has_clock(packet: &[u8]) -> bool {
    packet[3] & 0x20 != 0 && packet[4] > 6 && packet[5] & 0x10 != 0
}

/// Makes a null packet of one.
fn blank(packet: &mut [u8]) {
    packet[1..4].copy_from_slice(&[0x1F, 0xFF, 0x10]);
}

type Fault = fn(&mut [(Mono, Vec<u8>)]);

/// What might be wrong with what leaves, made by hand, and what must be raised.
const FAULTS: &[(&str, Fault, &str)] = &[
    ("one sync byte", |d| late(d, is(NULL)).next().unwrap()[0] = 0x46, "1.2"),
    ("two sync bytes", |d| d[900].1.chunks_mut(188).skip(2).take(2).for_each(|packet| packet[0] = 0), "1.1"),
    ("a scrambled PAT", |d| late(d, is(0)).next().unwrap()[3] |= 0x80, "1.3"),
    ("no PAT any more", |d| late(d, is(0)).for_each(blank), "1.3"),
    (
        "a counter that stands still",
        |d| {
            let mut pats = late(d, is(0));
            let first = pats.next().unwrap()[3];
            pats.take(2).for_each(|packet| packet[3] = first);
        },
        "1.4",
    ),
    ("no program map any more", |d| late(d, is(0x1000)).for_each(blank), "1.5"),
    ("the transport error bit", |d| late(d, is(0x11)).next().unwrap()[1] |= 0x80, "2.1"),
    ("a wrong sum", |d| late(d, is(0x1000)).next().unwrap()[20] ^= 1, "2.2"),
    (
        "a clock that is left out once",
        |d| {
            let clock = late(d, has_clock).next().unwrap();
            (clock[4], clock[5]) = (7, 0);
        },
        "2.3a",
    ),
    ("a clock that steps", |d| late(d, has_clock).for_each(|packet| packet[7] ^= 0x10), "2.3b"),
    (
        "a clock that is 600 ns off",
        |d| {
            let clock = late(d, has_clock).find(|packet| packet[10] & 1 == 0 && packet[11] < 128).unwrap();
            clock[11] += 16;
        },
        "2.4",
    ),
    ("a scrambled program map", |d| late(d, is(0x1000)).for_each(|packet| packet[3] |= 0x80), "1.5"),
    ("no SDT any more", |d| late(d, is(0x11)).for_each(blank), "3.2"),
    (
        "a PID that nobody names",
        |d| {
            late(d, is(NULL)).enumerate().for_each(|(n, packet)| {
                packet[1..4].copy_from_slice(&[0x02, 0x34, 0x10 | (n % 16) as u8]);
            })
        },
        "3.4",
    ),
    (
        "nothing for a while",
        |d| {
            let late = d.iter_mut().filter(|(at, _)| *at > Mono::from_micros(2_000_000));
            late.for_each(|(at, _)| *at = *at + Duration::from_millis(700));
        },
        "silence",
    ),
];

#[test]
fn what_is_wrong_with_what_leaves_is_raised() {
    let clean = without_a_source();
    let usual = raised(&clean);
    for (name, fault, indicator) in FAULTS {
        let mut datagrams = clean.clone();
        fault(&mut datagrams);
        let found: Vec<_> = raised(&datagrams).into_iter().filter(|id| !usual.contains(id)).collect();
        assert_eq!(found, [*indicator], "{name}");
    }
    assert_eq!(usual, [""; 0]);
}
