//! The log's bytes, read packet by packet.

mod codecs;

use super::*;
use crate::fanout::log::{Format, LogId, LogKey};
use crate::fanout::packager::{self, Packager};
use crate::fanout::segment::{Entry, flags};
use crate::media::{ConfigSet, Mono, TrackTable};
use std::sync::Arc;

const AVC: &[u8] =
    &[0x17, 0, 0, 0, 0, 1, 0x42, 0, 0x1E, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0, 0x1E, 1, 0, 2, 0x68, 0xCE];
const AAC: &[u8] = &[0xAF, 0, 0x11, 0x90];
const KEY: &[u8] = &[0x17, 1, 0, 0, 80, 0, 0, 0, 2, 0x65, 0x88];
const INTER: &[u8] = &[0x27, 1, 0, 0, 0, 0, 0, 0, 2, 0x41, 0x9A];
const SOUND: &[u8] = &[0xAF, 1, 0x21, 0x10, 0x05];

/// One packet, as far as the tests look.
#[derive(Clone, Debug, PartialEq)]
struct Packet {
    pid: u16,
    start: bool,
    counter: u8,
    discontinuity: bool,
    random_access: bool,
    pcr: Option<u64>,
    payload: Vec<u8>,
}

fn packets(bytes: &[u8]) -> Vec<Packet> {
    assert_eq!(bytes.len() % 188, 0, "whole packets");
    let read = |p: &[u8]| {
        assert_eq!(p[0], 0x47);
        let field = if p[3] & 0x20 != 0 { 1 + usize::from(p[4]) } else { 0 };
        let flags = if field > 1 { p[5] } else { 0 };
        let base = |p: &[u8]| p.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)) >> 7;
        Packet {
            pid: u16::from_be_bytes([p[1] & 0x1F, p[2]]),
            start: p[1] & 0x40 != 0,
            counter: p[3] & 15,
            discontinuity: flags & 0x80 != 0,
            random_access: flags & 0x40 != 0,
            pcr: (flags & 0x10 != 0).then(|| base(&p[6..11])),
            payload: if p[3] & 0x10 != 0 { p[4 + field..].to_vec() } else { Vec::new() },
        }
    };
    bytes.chunks(188).map(read).collect()
}

/// A log that is written frame by frame, with the configuration that a stream would have.
struct Bench {
    table: TrackTable,
    log: LogWriter,
    packager: Packager,
}

impl Bench {
    fn new(variant: Variant) -> Bench {
        let key = LogKey { format: Format::Ts, variant };
        Bench { table: TrackTable::new(), log: LogWriter::new(LogId(0)), packager: Packager::new(key, "cam") }
    }

    fn config(&mut self, kind: Kind, body: &[u8]) -> Arc<ConfigSet> {
        let frame = frame(kind, 0, body);
        self.table.observe(&frame, &tag::inspect(kind, body).unwrap());
        self.table.snapshot()
    }

    /// Whether the entry of a frame is a join point, and its packets; `None` if it has none.
    fn frame(&mut self, kind: Kind, dts_ms: u32, body: &[u8]) -> Option<(bool, Vec<Packet>)> {
        let config = self.config(kind, body);
        let tag = tag::inspect(kind, body).unwrap();
        let about =
            About { config: &config, newest: &config, config_epoch: config.epoch, join: tag.is_join_video() };
        match self.packager.pack(&mut self.log, &frame(kind, dts_ms, body), about) {
            Packed::Nothing => None,
            Packed::TooLarge => panic!("too large"),
            Packed::Entry { join } => {
                let flags = if join { flags::JOIN } else { 0 };
                let at = self.log.committed();
                let entry = Entry { flags, dts_ms, ..Entry::default() };
                assert!(self.log.commit(Mono::ZERO, entry, join.then_some(config)));
                let snapshot = self.log.snapshot();
                let segment = snapshot.segments.last().unwrap();
                let index = if at.seg == segment.seq() { at.entry } else { 0 };
                let range = (segment.start_of(index).unwrap(), segment.entry(index).unwrap().end);
                Some((join, packets(segment.bytes(range.0, range.1).unwrap())))
            }
        }
    }

    fn seam(&self) -> Vec<Packet> {
        packets(&self.log.newest_join().unwrap().seam)
    }
}

fn frame(kind: Kind, dts_ms: u32, body: &[u8]) -> Frame {
    let (first_byte_at, complete_at) = (Mono::ZERO, Mono::ZERO);
    Frame { kind, dts_ms, body: body.to_vec().into(), first_byte_at, complete_at }
}

fn pids(packets: &[Packet]) -> Vec<u16> {
    packets.iter().map(|packet| packet.pid).collect()
}

#[test]
fn a_keyframe_brings_its_tables_and_clock() {
    let mut bench = Bench::new(Variant::FULL);
    assert!(bench.frame(Kind::Video, 0, AVC).is_none() && bench.frame(Kind::Audio, 0, AAC).is_none());
    let (join, key) = bench.frame(Kind::Video, 1000, KEY).unwrap();
    assert!(join);
    assert_eq!(pids(&key), [0, 0x1000, 0x11, 0x100]);
    // The PMT: version 0, PCR on 0x100, H.264 there and AAC on 0x200 with its language.
    assert_eq!(key[1].payload[6..13], [0xC1, 0, 0, 0xE1, 0, 0xF0, 0]);
    assert_eq!(
        key[1].payload[13..29],
        [0x1B, 0xE1, 0, 0xF0, 0, 0x0F, 0xE2, 0, 0xF0, 6, 10, 4, 117, 110, 100, 0]
    );
    assert!(key[2].payload.windows(13).any(|part| part == b"\x08headgate\x03cam"), "{:?}", key[2]);
    let picture = &key[3];
    assert!(picture.start && picture.random_access && !picture.discontinuity);
    // One second of origin, less 300 ms; PTS 80 ms behind DTS.
    assert_eq!(picture.pcr, Some((1000 - 300 + 1000) * 90));
    let es: &[u8] = &[
        0, 0, 0, 1, 9, 0xF0, 0, 0, 0, 1, 0x67, 0x42, 0, 0x1E, 0, 0, 0, 1, 0x68, 0xCE, 0, 0, 0, 1, 0x65, 0x88,
    ];
    assert_eq!(picture.payload[..9], [0, 0, 1, 0xE0, 0, es.len() as u8 + 13, 0x84, 0xC0, 10]);
    assert_eq!(&picture.payload[19..], es);
    let (join, sound) = bench.frame(Kind::Audio, 1010, SOUND).unwrap();
    assert!(!join && pids(&sound) == [0x200] && !sound[0].random_access);
    assert_eq!(sound[0].payload[14..], [0xFF, 0xF1, 0x4C, 0x80, 1, 0x5F, 0xFC, 0x21, 0x10, 0x05]);
    // 24 ms may pass until the next frame: a PCR of its own is due, with the counter of the last packet.
    let (_, sound) = bench.frame(Kind::Audio, 1020, SOUND).unwrap();
    assert_eq!(pids(&sound), [0x100, 0x200]);
    assert_eq!((sound[0].pcr, sound[0].counter, &*sound[0].payload), (Some(1720 * 90), 0, &[][..]));
    assert_eq!(sound[1].counter, 1);
    let (join, inter) = bench.frame(Kind::Video, 1040, INTER).unwrap();
    assert!(!join && pids(&inter) == [0x100]);
    assert_eq!((inter[0].counter, inter[0].random_access, inter[0].pcr), (1, false, Some(1740 * 90)));
}

#[test]
fn tables_come_again_in_time_and_names_less_often() {
    let mut bench = Bench::new(Variant::FULL);
    bench.config(Kind::Video, AVC);
    let (mut tables, mut names) = (Vec::new(), Vec::new());
    for n in 0..100 {
        let (_, packets) = bench.frame(Kind::Video, n * 40, if n == 0 { KEY } else { INTER }).unwrap();
        let pids = pids(&packets);
        assert_eq!(pids.contains(&0), pids.contains(&0x1000));
        tables.extend(pids.contains(&0).then_some(n * 40));
        names.extend(pids.contains(&0x11).then_some(n * 40));
    }
    let widest = |times: &[u32]| times.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    assert!(widest(&tables) <= 100 && tables.len() <= 55, "{tables:?}");
    assert!(widest(&names) <= 1000 && names.len() <= 7, "{names:?}");
}

#[test]
fn counters_run_on_and_seams_lead_up_to_them() {
    let mut bench = Bench::new(Variant::FULL);
    bench.config(Kind::Video, AVC);
    bench.config(Kind::Audio, AAC);
    let large = |head: &[u8], len: usize| {
        let nal = vec![0x41; len];
        [head, &(len as u32).to_be_bytes(), &nal].concat()
    };
    let mut counters = std::collections::BTreeMap::new();
    for n in 0..200u32 {
        let ms = n * 20;
        let entry = match n % 10 {
            0 => bench.frame(Kind::Video, ms, &large(&KEY[..5], 1 + n as usize * 37)),
            i if i % 2 == 0 => bench.frame(Kind::Video, ms, &large(&INTER[..5], 1 + n as usize * 11)),
            _ => bench.frame(Kind::Audio, ms, SOUND),
        };
        let (join, packets) = entry.unwrap();
        assert_eq!(join, n % 10 == 0);
        if join {
            let seam = bench.seam();
            assert_eq!(pids(&seam), [0, 0x1000, 0x11, 0x100, 0x200]);
            for packet in seam {
                assert!(packet.discontinuity && packet.payload.is_empty());
                let last = counters.get(&packet.pid).copied().unwrap_or(15);
                assert_eq!(packet.counter, last, "of PID {:#x} in front of frame {n}", packet.pid);
            }
        }
        for packet in packets {
            let last = counters.entry(packet.pid).or_insert(15);
            let expected = if packet.payload.is_empty() { *last } else { (*last + 1) & 15 };
            assert_eq!(packet.counter, expected, "PID {:#x} in frame {n}", packet.pid);
            *last = packet.counter;
        }
    }
}

#[test]
fn without_pictures_one_joins_where_the_tables_are() {
    for variant in [Variant::FULL, Variant { video: false, ..Variant::FULL }] {
        let mut bench = Bench::new(variant);
        bench.config(Kind::Audio, AAC);
        if !variant.video {
            bench.config(Kind::Video, AVC);
        }
        let mut joins = Vec::new();
        for n in 0..50 {
            let (join, packets) = bench.frame(Kind::Audio, n * 21, SOUND).unwrap();
            joins.extend(join.then_some(n * 21));
            assert_eq!(join, packets[0].pid == 0);
            let sound = packets.last().unwrap();
            assert!(sound.pid == 0x200 && sound.pcr.is_some() && sound.random_access);
        }
        assert!(joins.len() > 10 && joins.len() < 15 && joins[0] == 0, "{joins:?}");
    }
}

#[test]
fn a_new_configuration_is_a_new_version_at_once() {
    let version = |packets: &[Packet]| {
        packets.iter().find(|packet| packet.pid == 0x1000).map(|pmt| pmt.payload[6] >> 1 & 31)
    };
    let mut bench = Bench::new(Variant::FULL);
    bench.config(Kind::Video, AVC);
    let (_, key) = bench.frame(Kind::Video, 0, KEY).unwrap();
    assert_eq!(version(&key), Some(0));
    // Sound comes late, in the middle of a GOP.
    bench.config(Kind::Audio, AAC);
    let (join, sound) = bench.frame(Kind::Audio, 10, SOUND).unwrap();
    assert_eq!((join, version(&sound), pids(&sound)), (false, Some(2), vec![0, 0x1000, 0x200]));
    // Metadata is no news here.
    bench.config(Kind::Data, b"\x02\0\x0aonMetaData\x05");
    let (_, inter) = bench.frame(Kind::Video, 20, INTER).unwrap();
    assert_eq!(version(&inter), None);
    // Another picture size.
    let mut avc = AVC.to_vec();
    avc[16] = 0x1F;
    bench.config(Kind::Video, &avc);
    let (_, key) = bench.frame(Kind::Video, 40, KEY).unwrap();
    assert_eq!(version(&key), Some(4));
    // Another publisher, which says the same in three steps.
    bench.table.reset();
    for (kind, body) in
        [(Kind::Data, &b"\x02\0\x0aonMetaData\x05"[..]), (Kind::Video, AVC), (Kind::Audio, AAC)]
    {
        assert!(bench.frame(kind, 50, body).is_none());
    }
    let (_, key) = bench.frame(Kind::Video, 60, KEY).unwrap();
    assert_eq!(version(&key), Some(6));
    // The log without pictures never has a version of the full one.
    let mut sound = Bench::new(Variant { video: false, ..Variant::FULL });
    sound.config(Kind::Audio, AAC);
    assert_eq!(version(&sound.frame(Kind::Audio, 0, SOUND).unwrap().1), Some(1));
}

#[test]
fn a_track_that_sends_first_behind_the_join_point_is_announced_there() {
    let mut bench = Bench::new(Variant::FULL);
    let then = bench.config(Kind::Video, AVC);
    let mp3 = &[0x2F, 0xFF, 0xFB, 0x50, 0x00];
    let now = bench.config(Kind::Audio, mp3);
    // From a backlog: the picture, with the configuration of its time, is packed when the sound is known already.
    let mut changed = AVC.to_vec();
    changed[16] = 0x1F;
    let later = bench.config(Kind::Video, &changed);
    for (newest, what) in [(&now, "sound"), (&later, "sound and another picture size")] {
        let mut packager = super::Packager::new(Variant::FULL, "cam");
        let mut log = LogWriter::new(LogId(0));
        let about = About { config: &then, newest, config_epoch: then.epoch, join: true };
        let packed = packager.pack(&mut log, &frame(Kind::Video, 0, KEY), about);
        assert_eq!(packed, Packed::Entry { join: true });
        assert!(log.commit(Mono::ZERO, Entry { flags: flags::JOIN, ..Entry::default() }, Some(then.clone())));
        let about = About { config: newest, newest, config_epoch: newest.epoch, join: false };
        assert_eq!(
            packager.pack(&mut log, &frame(Kind::Audio, 5, mp3), about),
            Packed::Entry { join: false }
        );
        assert!(log.commit(Mono::ZERO, Entry::default(), None));
        let segment = log.snapshot().segments[0].clone();
        let read = packets(segment.bytes(0, segment.entry(1).unwrap().end).unwrap());
        let pmts: Vec<_> = read.iter().filter(|packet| packet.pid == 0x1000).collect();
        assert!(pmts[0].payload.windows(3).any(|part| part == [3, 0xE2, 0]), "{what}");
        // The picture has its own parameter sets, not those of the next one.
        assert!(read[3].payload.windows(4).any(|part| part == [0x67, 0x42, 0, 0x1E]), "{what}");
        assert_eq!(pmts.len(), if what == "sound" { 1 } else { 2 }, "{what}");
    }
}

#[test]
fn every_track_has_its_pid() {
    let mut bench = Bench::new(Variant::FULL);
    bench.config(Kind::Video, AVC);
    bench.config(Kind::Audio, AAC);
    bench.config(Kind::Audio, b"\x95\x00Opus\x03");
    let (_, key) = bench.frame(Kind::Video, 0, KEY).unwrap();
    let pmt = &key[1].payload;
    let opus: &[u8] = &[6, 0xE2, 3, 0xF0, 16, 5, 4, b'O', b'p', b'u', b's', 0x7F, 2, 0x80, 2, 10, 4];
    assert!(pmt.windows(opus.len()).any(|part| part == opus), "{pmt:02x?}");
    // One message with two sounds: two PES packets in one entry.
    let both = b"\x95\x21mp4a\x00\0\0\x02\xab\xcdOpus\x03\0\0\x03\x01\x02\x03";
    let (_, sound) = bench.frame(Kind::Audio, 10, both).unwrap();
    assert_eq!(pids(&sound), [0x200, 0x203]);
    assert_eq!(sound[1].payload[..4], [0, 0, 1, 0xBD]);
    assert_eq!(sound[1].payload[14..], [0x7F, 0xE0, 3, 1, 2, 3]);
}

#[test]
fn what_cannot_be_carried_is_left_out_or_refused() {
    let sequence = |kind: Kind, fourcc: &[u8]| {
        let head: u8 = 0x90;
        (kind, [&[head], fourcc, b"\x81\0\0\0\0\0\0\0\0\0\0\0\0"].concat())
    };
    let refusal = |bodies: &[(Kind, Vec<u8>)], variant| {
        let mut bench = Bench::new(variant);
        for (kind, body) in bodies {
            bench.config(*kind, body);
        }
        let config = bench.table.snapshot();
        packager::refusal(LogKey { format: Format::Ts, variant }, &config)
    };
    let (vp9, flac) = (sequence(Kind::Video, b"vp09"), sequence(Kind::Audio, b"fLaC"));
    let (av1, ac3) = (sequence(Kind::Video, b"av01"), (Kind::Audio, b"\x90ac-3".to_vec()));
    let full = Variant::FULL;
    let why = refusal(&[vp9.clone(), flac.clone()], full).unwrap();
    assert_eq!(why, "no specification says how MPEG-TS carries VP9");
    assert!(refusal(&[av1], full).is_some_and(|why| why.contains("AV1")));
    assert_eq!(refusal(&[vp9.clone(), ac3.clone()], full), None, "the sound is");
    assert_eq!(refusal(&[], full), None, "nobody knows yet");
    assert_eq!(refusal(&[(Kind::Video, AVC.to_vec()), flac.clone()], full), None);
    let sound = Variant { video: false, ..full };
    assert!(
        refusal(&[(Kind::Video, AVC.to_vec()), flac.clone()], sound).is_some_and(|why| why.contains("FLAC"))
    );
    assert_eq!(refusal(&[(Kind::Video, AVC.to_vec())], sound), None, "there may be sound later");
    assert!(refusal(std::slice::from_ref(&vp9), sound).is_some(), "the whole is refused, so is a part");
    // Pictures that are left out do not keep the sound from being joined.
    let mut bench = Bench::new(full);
    bench.config(vp9.0, &vp9.1);
    bench.config(ac3.0, &ac3.1);
    assert!(bench.frame(Kind::Video, 0, b"\x91vp09\x82\x49\x83\x42").is_none());
    let (join, sound) = bench.frame(Kind::Audio, 0, b"\x91ac-3\x0b\x77\x01").unwrap();
    assert!(join && pids(&sound) == [0, 0x1000, 0x11, 0x200], "{sound:?}");
    assert_eq!(sound[1].payload[13..19], [0x81, 0xE2, 0, 0xF0, 12, 5]);
}

#[test]
fn frames_that_are_no_pictures_write_nothing() {
    let mut bench = Bench::new(Variant::FULL);
    bench.config(Kind::Video, AVC);
    for body in [&[0x17, 1, 0, 0, 0][..], &[0x17, 1, 0, 0, 0, 0, 0, 9, 9, 1], &[0x57, 0], &[0x17, 2, 0, 0, 0]]
    {
        assert!(bench.frame(Kind::Video, 0, body).is_none(), "{body:?}");
    }
    // Sound without its configuration, and one larger than a PES packet.
    assert!(bench.frame(Kind::Audio, 0, SOUND).is_none());
    bench.config(Kind::Audio, AAC);
    assert!(bench.frame(Kind::Audio, 0, &[&[0xAF, 1][..], &[0; 9000]].concat()).is_none());
    let (join, key) = bench.frame(Kind::Video, 0, KEY).unwrap();
    assert!(join && key.iter().all(|packet| packet.counter == 0), "nothing was counted");
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    fn body() -> impl Strategy<Value = (bool, Vec<u8>)> {
        let heads: Vec<(bool, &[u8])> = vec![
            (true, AVC),
            (true, KEY),
            (true, &[0x27, 1, 0, 0, 0]),
            (true, b"\x90hvc1\x01"),
            (true, b"\x91hvc1\0\0\0"),
            (true, b"\x96\x21avc1\0"),
            (true, b"\x90av01\x81\0\x0d\0"),
            (true, b"\x91av01\x32\x03"),
            (false, AAC),
            (false, SOUND),
            (false, b"\x90OpusOpusHead\x01"),
            (false, b"\x91Opus"),
            (false, b"\x95\x21Opus"),
            (false, &[0x2F]),
        ];
        let tail = proptest::collection::vec(any::<u8>(), 0..400);
        (proptest::sample::select(heads), tail)
            .prop_map(|((video, head), tail)| (video, [head, &tail].concat()))
    }

    proptest! {
        /// Whatever comes, only whole packets go out, counted without a gap.
        #[test]
        fn frames_become_whole_packets(bodies in proptest::collection::vec((body(), any::<u32>()), 1..40), latm: bool) {
            let mut bench = Bench::new(Variant { av1: true, latm, ..Variant::FULL });
            let mut counters = std::collections::BTreeMap::new();
            for ((video, body), dts_ms) in bodies {
                let kind = if video { Kind::Video } else { Kind::Audio };
                if tag::inspect(kind, &body).is_err() {
                    continue;
                }
                let Some((join, packets)) = bench.frame(kind, dts_ms, &body) else { continue };
                prop_assert!(!join || packets[0].pid == 0);
                for packet in packets {
                    let last = counters.entry(packet.pid).or_insert(15);
                    let expected = if packet.payload.is_empty() { *last } else { (*last + 1) & 15 };
                    prop_assert_eq!(packet.counter, expected);
                    *last = packet.counter;
                }
            }
        }
    }
}
