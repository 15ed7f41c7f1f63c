//! Runs as a sender makes them, before readers that begin, skip, and stay over a seam.

use super::*;
use crate::fanout::log::{JoinPoint, LogId, LogKey, Retention, Variant};
use crate::fanout::packager::{self, Packager as Any};
use crate::fanout::segment::{Entry, flags};
use crate::media::TrackTable;
use crate::wire::ts::write::packet::{Adaptation, Counter, UnitWriter, write_section};
use crate::wire::ts::write::section::{Component, pat, pmt};
use std::time::Duration;

const MAP: u16 = 0x1000;
const PICTURES: u16 = 0x100;
const SOUND: u16 = 0x101;
/// In no table.
const PRIVATE: u16 = 0x222;

/// A sender of one program.
#[derive(Default)]
struct Sender {
    counters: [Counter; 5],
    out: Vec<u8>,
}

impl Sender {
    fn tables(&mut self, video: bool) -> &mut Sender {
        let component = |stream_type, pid| Component { stream_type, pid, descriptors: vec![0xFE; 120] };
        let mut components = vec![component(0x04, SOUND)];
        if video {
            components.push(component(0x02, PICTURES));
        }
        let map = pmt(7, 0, SOUND, &components).unwrap();
        let (out, [first, second, ..]) = (&mut self.out, &mut self.counters);
        let mut put = |part: &[u8]| {
            out.extend_from_slice(part);
            true
        };
        assert!(write_section(0, first, &pat(1, 0, &[(7, MAP)]).unwrap(), &mut put));
        assert!(write_section(MAP, second, &map, &mut put));
        self
    }

    /// A unit of two packets.
    fn unit(&mut self, pid: u16, random_access: bool) -> &mut Sender {
        let at = [PICTURES, SOUND, PRIVATE].iter().position(|known| *known == pid).unwrap() + 2;
        let says = Adaptation { random_access, ..Adaptation::default() };
        let out = &mut self.out;
        let mut put = |part: &[u8]| {
            out.extend_from_slice(part);
            true
        };
        let unit = [&[0, 0, 1, 0xE0][..], &[pid as u8; 250]].concat();
        assert!(UnitWriter::new(pid, &mut self.counters[at], says, unit.len()).write(&unit, &mut put));
        self
    }

    fn null(&mut self) -> &mut Sender {
        self.out.extend([0x47, 0x1F, 0xFF, 0x10]);
        self.out.extend([0xA5; 184]);
        self
    }

    fn run(&mut self, ms: u64) -> Run {
        let at = Mono::from_micros(ms * 1000);
        Run { packets: std::mem::take(&mut self.out).into(), first_byte_at: at, complete_at: at }
    }
}

/// A log of this format.
struct Bench {
    log: LogWriter,
    packager: Packager,
    joins: Vec<JoinPoint>,
}

impl Bench {
    fn new() -> Bench {
        Bench { log: LogWriter::new(LogId(0)), packager: Packager::default(), joins: Vec::new() }
    }

    fn take(&mut self, run: &Run) {
        self.packager.divide(run);
        let config = TrackTable::new().snapshot();
        while let Some(packed) = self.packager.pack(&mut self.log, run) {
            let Packed::Entry { join } = packed else { panic!("{packed:?}") };
            let entry = Entry { flags: if join { flags::JOIN } else { 0 }, ..Entry::default() };
            assert!(self.log.commit(run.complete_at, entry, join.then(|| config.clone())));
            if join {
                self.joins.push(self.log.newest_join().unwrap().clone());
            }
        }
    }

    /// What stands in the log from a place on.
    fn from(&self, join: &JoinPoint) -> Vec<u8> {
        let mut out = Vec::new();
        for segment in self.log.snapshot().segments.iter().filter(|s| s.seq() >= join.pos.seg) {
            let first = if segment.seq() == join.pos.seg { join.pos.entry } else { 0 };
            let from = segment.start_of(first).unwrap();
            let to = segment.entry(segment.published() - 1).unwrap().end;
            out.extend_from_slice(segment.bytes(from, to).unwrap());
        }
        out
    }
}

fn pids(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|packet| Packet::parse(packet).pid).collect()
}

/// Fails where a counter goes wrong that nothing announced, as a receiver would see it.
#[track_caller]
fn counters_hold(bytes: &[u8]) {
    let mut last = std::collections::HashMap::new();
    for (at, packet) in bytes.as_chunks().0.iter().map(Packet::parse).enumerate() {
        let before = last.insert(packet.pid, packet.continuity);
        if packet.pid == 0x1FFF || packet.discontinuity() {
            continue;
        }
        let expected = before.map(|before: u8| (before + u8::from(packet.has_payload)) & 0x0F);
        assert!(expected.is_none_or(|e| e == packet.continuity), "packet {at}: {packet:?} behind {before:?}");
    }
}

#[test]
fn every_packet_is_there_as_it_came_and_places_begin_entries() {
    let (mut bench, mut sender, mut sent) = (Bench::new(), Sender::default(), Vec::new());
    for n in 0..20u64 {
        if n % 4 == 0 {
            sender.tables(true);
        }
        sender.unit(PRIVATE, false).unit(PICTURES, n % 10 == 5).unit(SOUND, true).null();
        let run = sender.run(n * 40);
        sent.extend_from_slice(&run.packets);
        bench.take(&run);
    }
    let all = bench
        .log
        .snapshot()
        .segments
        .iter()
        .map(|s| s.bytes(0, s.entry(s.published() - 1).unwrap().end).unwrap().to_vec())
        .collect::<Vec<_>>()
        .concat();
    assert!(all == sent, "as it came");
    assert_eq!(bench.joins.len(), 2, "pictures decide, not sound");
    for join in &bench.joins {
        let log = bench.from(join);
        let first = Packet::parse(log.first_chunk().unwrap());
        assert!(first.pid == PICTURES && first.adaptation.unwrap().random_access);
        // The PAT, and the two packets of the map.
        let begins = [&join.opening()[..], &log].concat();
        assert_eq!(pids(&join.opening()), [0, MAP, MAP]);
        counters_hold(&begins);
    }
    // A reader that was at the beginning comes to the last place.
    let join = bench.joins.last().unwrap();
    let skipped = [&sent[..188 * 12], &join.seam, &bench.from(join)].concat();
    counters_hold(&skipped);
    assert!(join.seam.ends_with(&join.opening()));
}

#[test]
fn a_table_whose_next_copy_has_begun_is_followed_all_the_same() {
    let (mut bench, mut sender) = (Bench::new(), Sender::default());
    bench.take(&sender.tables(true).run(0));
    let again = sender.tables(true).run(40);
    // Of the second copy of the map, the first of two packets, then the pictures.
    let (head, tail) = again.packets.split_at(2 * 188);
    let key = sender.unit(PICTURES, true).run(40);
    let all = [head, &key.packets, tail].concat();
    bench.take(&Run { packets: all.into(), ..again });
    let join = bench.joins.last().unwrap();
    counters_hold(&[&join.opening()[..], &bench.from(join)].concat());
    counters_hold(&[&join.seam[..], &bench.from(join)].concat());
}

#[test]
fn without_pictures_a_pat_is_a_place_twice_a_second() {
    let (mut bench, mut sender) = (Bench::new(), Sender::default());
    for n in 0..40 {
        bench.take(&sender.unit(SOUND, true).tables(false).run(n * 100));
    }
    assert_eq!(bench.joins.len(), 8, "one in five");
    for join in &bench.joins {
        assert_eq!(pids(&bench.from(join))[0], 0);
        counters_hold(&[&join.opening()[..], &bench.from(join)].concat());
    }
}

#[test]
fn pictures_that_never_say_so_are_waited_for_and_then_not() {
    let (mut bench, mut sender) = (Bench::new(), Sender::default());
    for n in 0..100 {
        bench.take(&sender.tables(true).unit(PICTURES, n == 80).run(n * 100));
        // The first PAT at which five seconds have passed since the first picture; then each half second, until one says so.
        let expected = if n < 50 { 0 } else { 1 + (n.min(80) - 50) / 5 + u64::from(n >= 80) };
        assert_eq!(bench.joins.len() as u64, expected, "at {n}");
    }
}

#[test]
fn another_sender_is_announced_where_its_packets_come() {
    let (mut bench, mut sender, mut other) = (Bench::new(), Sender::default(), Sender::default());
    bench.take(&sender.tables(true).unit(PICTURES, true).unit(SOUND, false).unit(PRIVATE, false).run(0));
    // Its counters are elsewhere, and its first packets come in two runs.
    for _ in 0..3 {
        other.tables(true).unit(PICTURES, false).unit(SOUND, false).unit(SOUND, false);
    }
    other.run(0);
    bench.take(&Run::seam(Mono::ZERO));
    let first = other.tables(true).unit(PICTURES, true).run(40);
    let second = other.unit(SOUND, false).null().run(80);
    bench.take(&first);
    bench.take(&second);
    let log = bench.from(&bench.joins[0].clone());
    counters_hold(&log);
    let added = log.as_chunks().0.iter().filter(|p| Packet::parse(p).discontinuity()).count();
    assert_eq!(added, 4, "PAT, map, pictures, sound");
    assert_eq!(bench.joins.len(), 2);
    // Nothing else was changed.
    let kept: Vec<u8> =
        log.as_chunks().0.iter().filter(|p| !Packet::parse(p).discontinuity()).flatten().copied().collect();
    assert!(kept.ends_with(&[&first.packets[..], &second.packets].concat()));
}

/// A unit's only packet on `pid`, which says that one can begin with it.
fn access(pid: u16, counter: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0xFF; PACKET_BYTES];
    let [high, low] = pid.to_be_bytes();
    let head = [0x47, 0x40 | high, low, 0x30 | (counter & 15) as u8, 1, 0x40, 0, 0, 1, 0xE0];
    packet[..head.len()].copy_from_slice(&head);
    packet
}

#[test]
fn memory_and_work_are_bounded_whatever_comes() {
    let (mut bench, mut sender) = (Bench::new(), Sender::default());
    let keep =
        Retention { gop_bytes_max: 1 << 20, gop_age_max: Duration::from_secs(1), lag_max: Duration::ZERO };
    let (mut places, mut leads) = (0, 0);
    for n in 0..400u64 {
        let mut packets = sender.tables(true).run(0).packets.to_vec();
        // Each packet of each PID says that one can begin with it, and PIDs are ever others.
        for k in 0..240u64 {
            packets.extend(access(PICTURES, n * 240 + k));
            packets.extend(access((0x300 + (n * 7 + k) % 4000) as u16, n));
        }
        let at = Mono::from_micros(n * 10_000);
        bench.take(&Run { packets: packets.into(), first_byte_at: at, complete_at: at });
        places += bench.joins.len();
        leads += bench.joins.drain(..).map(|join| join.seam.len()).sum::<usize>();
        bench.log.flush(at);
        bench.log.evict(at, keep);
    }
    assert_eq!(places, 40, "in four seconds");
    assert!(leads > 40 * 200 * PACKET_BYTES && leads < 40 * 300 * PACKET_BYTES, "{leads} bytes");
    assert!(bench.packager.heap_bytes() < 4 << 20, "{} bytes", bench.packager.heap_bytes());
}

#[test]
fn a_picture_is_one_place() {
    let (mut bench, mut sender) = (Bench::new(), Sender::default());
    bench.take(&sender.tables(true).unit(PICTURES, true).run(0));
    // The same picture says so again, long after it has begun.
    let mut again = access(PICTURES, 2);
    again[1] &= !0x40;
    bench.take(&Run { packets: again.to_vec().into(), ..sender.null().run(1000) });
    assert_eq!(bench.joins.len(), 1);
}

#[test]
fn pictures_that_say_so_seldom_are_waited_for() {
    let (mut bench, mut sender) = (Bench::new(), Sender::default());
    for n in 0..500u64 {
        // Each eight seconds, and after a while no more.
        bench.take(&sender.tables(true).unit(PICTURES, n % 80 == 0 && n < 200).run(n * 100));
        let expected = (n.min(160) / 80 + 1) + if n < 320 { 0 } else { 1 + (n - 320) / 5 };
        assert_eq!(bench.joins.len() as u64, expected, "at {n}");
    }
}

#[test]
fn who_was_silent_for_long_is_forgotten() {
    let (mut bench, mut sender) = (Bench::new(), Sender::default());
    bench.take(&sender.tables(true).unit(PICTURES, true).unit(PRIVATE, false).run(0));
    bench.take(&sender.tables(true).unit(PICTURES, true).run(59_000));
    assert!(pids(&bench.joins.last().unwrap().seam).contains(&PRIVATE));
    bench.take(&sender.tables(true).unit(PICTURES, true).run(61_000));
    assert!(!pids(&bench.joins.last().unwrap().seam).contains(&PRIVATE));
    // With too many, those go that were silent.
    let mut crowd = Vec::new();
    for n in 0..300u64 {
        crowd.extend(access(0x300 + n as u16, 0));
        crowd.extend(access(SOUND, n));
    }
    bench.take(&Run { packets: crowd.into(), ..sender.null().run(62_000) });
    bench.take(&sender.tables(true).unit(PICTURES, true).run(63_000));
    assert!(pids(&bench.joins.last().unwrap().seam).contains(&SOUND));
}

#[test]
fn frames_are_none_of_its_business() {
    let key = LogKey { format: crate::fanout::log::Format::Pass, variant: Variant::FULL };
    let (mut any, mut log) = (Any::new(key, "a"), LogWriter::new(LogId(0)));
    let config = TrackTable::new().snapshot();
    let about = packager::About { config: &config, newest: &config, config_epoch: 1, join: true };
    let frame = crate::media::Frame {
        kind: crate::media::Kind::Video,
        dts_ms: 0,
        body: Bytes::from_static(&[0x17, 1, 0, 0, 0, 1]),
        first_byte_at: Mono::ZERO,
        complete_at: Mono::ZERO,
    };
    assert_eq!(any.pack(&mut log, &frame, about), Packed::Nothing);
}
