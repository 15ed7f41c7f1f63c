//! Sources of every kind against a host that ticks each millisecond.

use super::*;
use crate::wire::ts::pid;

const MS: i64 = 1_000_000;
const DELAY: Duration = Duration::from_millis(200);

/// A source of constant rate: a PCR in every 20th packet.
struct Source {
    next: u64,
    /// Nanoseconds between packets by its clock.
    packet_ns: i64,
    /// Its clock is fast by so many parts of a million.
    ppm: i64,
    pcr_at: u64,
    counter: u8,
}

impl Source {
    fn new() -> Source {
        Source { next: 0, packet_ns: 376_000, ppm: 0, pcr_at: 0, counter: 0 }
    }

    /// The next packet and when it leaves the source.
    fn packet(&mut self) -> (i64, [u8; 188]) {
        let n = self.next;
        self.next += 1;
        let left_ns = n as i64 * self.packet_ns;
        let mut packet = [n as u8; 188];
        packet[..4].copy_from_slice(&[0x47, 1, 0, 0x10 | self.counter]);
        packet[8..16].copy_from_slice(&n.to_be_bytes());
        self.counter = (self.counter + 1) & 15;
        if n.is_multiple_of(20) {
            let ticks = (left_ns + left_ns / 1_000_000 * self.ppm) as u64 * 27 / 1000;
            let pcr = (self.pcr_at + ticks) % (CLOCK_MODULUS * 300);
            let bytes = (pcr / 300) << 15 | 0x7E00 | (pcr % 300);
            packet[3] |= 0x20;
            packet[4..6].copy_from_slice(&[7, 0x10]);
            packet[6..12].copy_from_slice(&bytes.to_be_bytes()[2..]);
            packet[16..24].copy_from_slice(&n.to_be_bytes());
        }
        (left_ns, packet)
    }
}

/// Datagrams, each with the millisecond it left in.
type Sent = Vec<(i64, Vec<u8>)>;

fn mono(ns: i64) -> Mono {
    Mono::from_micros(ns as u64 / 1000)
}

/// Runs a source for `seconds`; `moved`: by how much packet n is late on its way, `None` if it is lost. Returns what was fed,
/// and every datagram with the millisecond it left in.
fn run(
    source: &mut Source,
    seconds: i64,
    mut moved: impl FnMut(u64) -> Option<i64>,
) -> (Vec<[u8; 188]>, Sent, Replay) {
    let mut replay = Replay::new(Mono::ZERO, DELAY);
    let (mut fed, mut sent, mut waiting) = (Vec::new(), Vec::new(), VecDeque::new());
    let mut last = 0;
    for ms in 0..seconds * 1000 {
        while waiting.back().is_none_or(|(at, _)| *at <= (ms + 2000) * MS) {
            let n = source.next;
            let (left, packet) = source.packet();
            match moved(n) {
                Some(late) => {
                    last = (left + late).max(last);
                    waiting.push_back((last, packet));
                }
                None => last = last.max(left),
            }
        }
        while let Some((at, packet)) = waiting.front().copied().filter(|(at, _)| *at <= ms * MS) {
            waiting.pop_front();
            replay.feed(mono(at), &packet);
            fed.push(packet);
        }
        // Nobody asks before there is something to do.
        let due = if mono(ms * MS) < replay.next_at() { 0 } else { replay.due(mono(ms * MS)) };
        // More would be left out as late by a second.
        assert!(due * replay.spacing_ns() < 1_000_000_000, "{due} at {ms}");
        for _ in 0..due {
            let mut out = [0; DATAGRAM_BYTES];
            assert!(replay.write(&mut out));
            sent.push((ms, out.to_vec()));
        }
    }
    (fed, sent, replay)
}

/// The first packet's number of each datagram is what it should be, and it left when it should, but for `tolerance` ms.
#[track_caller]
fn even(sent: &[(i64, Vec<u8>)], packet_ns: i64, delay_ms: i64, tolerance: i64) {
    for (ms, datagram) in sent {
        let at = if datagram[3] & 0x20 != 0 { 16 } else { 8 };
        let n = u64::from_be_bytes(datagram[at..at + 8].try_into().unwrap()) as i64;
        let due = n * packet_ns / MS + delay_ms;
        assert!((ms - due).abs() <= tolerance, "packet {n} at {ms}, not {due}");
    }
}

#[track_caller]
fn exact(fed: &[[u8; 188]], sent: &[(i64, Vec<u8>)]) {
    let sent: Vec<u8> = sent.iter().flat_map(|(_, datagram)| datagram).copied().collect();
    assert!(fed.as_flattened().starts_with(&sent), "as it came");
    assert!(sent.len() > fed.len() * 188 / 2);
}

#[test]
fn jitter_is_not_sent_on() {
    let (mut source, mut seed) = (Source::new(), 1u64);
    // Near the end of its range: the clock wraps on the way.
    source.pcr_at = CLOCK_MODULUS * 300 - 27_000_000 * 3;
    let (fed, sent, replay) = run(&mut source, 20, |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((seed >> 33) as i64 % (40 * MS))
    });
    exact(&fed, &sent);
    // Packets do not overtake, so most are as late as the latest before them.
    let later: Vec<(i64, Vec<u8>)> = sent.iter().filter(|(ms, _)| *ms > 3000).cloned().collect();
    even(&later, 376_000, 237, 5);
    assert_eq!((replay.counts().late, replay.counts().clock_jumps), (0, 0));
}

#[test]
fn a_source_that_is_fast_or_slow_is_followed() {
    for ppm in [-30, 30] {
        let mut source = Source { ppm, ..Source::new() };
        let (fed, sent, replay) = run(&mut source, 120, |_| Some(0));
        exact(&fed, &sent);
        even(&sent, 376_000, 200, 5);
        assert_eq!(replay.counts().late, 0, "{ppm}");
    }
}

#[test]
fn without_a_clock_packets_leave_as_they_came() {
    let mut source = Source::new();
    // Bursts each 40 ms.
    let mut replay = Replay::new(Mono::ZERO, DELAY);
    for ms in 0..2000 {
        if ms % 40 == 0 {
            let packets: Vec<u8> = (0..105)
                .flat_map(|_| {
                    let mut packet = source.packet().1;
                    packet[3] &= 0xDF;
                    packet
                })
                .collect();
            replay.feed(mono(ms * MS), &packets);
        }
        let due = replay.due(mono(ms * MS));
        assert_eq!(due, if ms >= 200 && ms % 40 == 0 { 15 } else { 0 }, "at {ms}");
        for _ in 0..due {
            assert!(replay.spacing_ns() >= 100_000, "no burst beyond four times the rate");
            assert!(replay.write(&mut [0; DATAGRAM_BYTES]));
        }
    }
}

#[test]
fn a_gap_is_a_gap_and_what_follows_is_in_time() {
    let mut source = Source::new();
    // Three seconds are lost on the way.
    let (_, sent, replay) = run(&mut source, 12, |n| (!(8000..16_000).contains(&n)).then_some(0));
    // Packets that fill no datagram wait for those behind the gap.
    let across = 1 + sent.windows(2).position(|two| two[1].0 - two[0].0 > 2000).expect("a gap");
    even(&[&sent[..across], &sent[across + 1..]].concat(), 376_000, 200, 30);
    let gap = sent.windows(2).map(|two| two[1].0 - two[0].0).max().unwrap();
    assert!((2900..3100).contains(&gap), "{gap}");
    assert_eq!(replay.counts().clock_jumps, 0, "the clock has gone on");
}

#[test]
fn a_clock_that_jumps_is_taken_anew_and_one_that_always_does_is_not_believed() {
    for (every, jumps) in [(10_000u64, 1), (20, 4)] {
        let mut source = Source::new();
        let mut replay = Replay::new(Mono::ZERO, DELAY);
        let (mut out, mut written) = ([0; DATAGRAM_BYTES], 0);
        for ms in 0..6000 {
            while source.next as i64 * source.packet_ns <= ms * MS {
                if source.next.is_multiple_of(every) && source.next > 0 {
                    source.pcr_at += 27_000_000 * 77;
                }
                replay.feed(mono(ms * MS), &source.packet().1);
            }
            for _ in 0..replay.due(mono(ms * MS)) {
                assert!(replay.write(&mut out));
                written += 1;
            }
            assert!(replay.queue.len() < 900, "{} wait at {ms}", replay.queue.len());
        }
        assert!(written > 2100, "{written}");
        let counted = replay.counts().clock_jumps;
        assert!(if jumps == 1 { counted == 1 } else { counted <= jumps }, "{counted} jumps");
    }
}

#[test]
fn what_is_late_by_too_much_is_left_out() {
    let mut source = Source::new();
    let mut replay = Replay::new(Mono::ZERO, DELAY);
    while source.next < 5000 {
        let (at, packet) = source.packet();
        replay.feed(mono(at), &packet);
    }
    let now = mono(2000 * MS);
    let due = replay.due(now);
    assert!((680..=690).contains(&due), "{due}");
    assert_eq!((replay.skip(now), replay.due(now)), (due - 1, 1));
    let mut out = [0; DATAGRAM_BYTES];
    assert!(replay.write(&mut out));
    even(&[(2000, out.to_vec())], 376_000, 200, 5);
}

#[test]
fn a_seam_lets_what_waited_go() {
    let mut source = Source::new();
    let mut replay = Replay::new(Mono::ZERO, DELAY);
    (0..30).for_each(|_| replay.feed(Mono::ZERO, &source.packet().1));
    assert_eq!(replay.timed, 21, "those behind the PCR wait for the next");
    replay.seam();
    assert_eq!((replay.timed, replay.due(mono(DELAY.as_nanos() as i64 + 8 * MS))), (30, 4));
    assert!(replay.clock.is_none());
}

#[test]
fn memory_is_bounded() {
    let mut replay = Replay::new(Mono::ZERO, DELAY);
    let mut packet = [0x47; 188];
    packet[1..4].copy_from_slice(&[0x1F, 0xFF, 0x10]);
    for _ in 0..PACKETS_MAX + 7 {
        replay.feed(Mono::ZERO, &packet);
    }
    assert_eq!((replay.queue.len(), replay.counts().overrun), (PACKETS_MAX, 7));
    assert_eq!(Packet::parse(&packet).pid, pid::NULL);
    assert!(replay.heap_bytes() <= 30 << 20, "{}", replay.heap_bytes());
}

#[test]
fn a_way_that_is_longer_for_good_is_paced_again() {
    // From two seconds on everything takes 300 ms more: more than the delay, and less than what a clock may be astray.
    let (fed, sent, replay) = run(&mut Source::new(), 30, |n| Some(if n < 5300 { 0 } else { 300 * MS }));
    exact(&fed, &sent);
    assert_eq!(replay.counts().clock_jumps, 1);
    let later: Vec<(i64, Vec<u8>)> = sent.iter().filter(|(ms, _)| *ms > 8000).cloned().collect();
    even(&later, 376_000, 500, 5);
    // Not for long as they came.
    assert!(replay.counts().late < 5 * 2660, "{}", replay.counts().late);
}

#[test]
fn another_source_is_not_doubted_for_the_last_one() {
    let mut source = Source::new();
    let mut replay = Replay::new(Mono::ZERO, DELAY);
    for _ in 0..2000 {
        if source.next.is_multiple_of(20) {
            source.pcr_at += 27_000_000 * 77;
        }
        let (at, packet) = source.packet();
        replay.feed(mono(at), &packet);
    }
    assert!(replay.doubt_until > 0 && replay.clock.is_none());
    replay.seam();
    for _ in 0..200 {
        let (at, packet) = source.packet();
        replay.feed(mono(at), &packet);
    }
    assert!(replay.clock.is_some());
}
