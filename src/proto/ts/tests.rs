//! Programs made by hand: what comes out of them, and what of broken ones.

use super::*;
use crate::media::{Codec, Packet as Tagged, tag};
use crate::wire::ts::write::packet::{Adaptation, Counter, UnitWriter, write_section};
use crate::wire::ts::write::pes::PesHeader;
use crate::wire::ts::write::section::{Component, pat, pmt};
use proptest::prelude::*;
use std::collections::HashMap;

const PICTURES: u16 = 0x100;
const SOUND: u16 = 0x101;
const MAP: u16 = 0x1000;

const SPS: &[u8] = &[0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x05, 0x07, 0xC4];
const PPS: &[u8] = &[0x68, 0xCE, 0x3C, 0x80];
const IDR: &[u8] = &[0x65, 0x88, 0x84, 0x21, 0xA0];
const INTER: &[u8] = &[0x41, 0x9A, 0x24, 0x6C];

/// NAL units behind start codes.
fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
}

/// The same behind lengths.
fn lengths(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes(), *nal].concat()).collect()
}

/// A frame of ADTS: AAC-LC, 48 kHz, two channels.
fn adts(payload: &[u8]) -> Vec<u8> {
    let size = (7 + payload.len()) as u32;
    let head =
        [0xFF, 0xF1, 0x4C, 0x80 | (size >> 11) as u8, (size >> 3) as u8, (size << 5) as u8 | 0x1F, 0xFC];
    [&head, payload].concat()
}

fn component(stream_type: u8, pid: u16) -> Component {
    Component { stream_type, pid, descriptors: Vec::new() }
}

/// A sender, and what listens to it.
struct Bench {
    demux: Demux,
    counters: HashMap<u16, Counter>,
    at_us: u64,
    /// What is sent instead of each packet; none for a packet that is lost.
    spoil: fn(u64, [u8; 188]) -> Option<[u8; 188]>,
    sent: u64,
}

impl Bench {
    fn new(program: u16) -> Bench {
        let spoil = |_, packet| Some(packet);
        Bench { demux: Demux::new(Options { program, ..Options::default() }, Mono::ZERO), counters: HashMap::new(), at_us: 0, spoil, sent: 0 }
    }

    /// With pictures of H.264 and sound of AAC announced.
    fn ready() -> Bench {
        let mut bench = Bench::new(0);
        bench.tables(&[(1, MAP)], 0, &[component(0x1B, PICTURES), component(0x0F, SOUND)]);
        bench.outputs();
        bench
    }

    fn now(&self) -> Mono {
        Mono::from_micros(self.at_us)
    }

    fn send(&mut self, bytes: &[u8]) {
        for packet in bytes.chunks(188) {
            self.at_us += 1000;
            self.sent += 1;
            if let Some(packet) = (self.spoil)(self.sent, packet.try_into().unwrap()) {
                self.demux.handle_datagram(self.now(), &packet);
            }
        }
    }

    fn section(&mut self, pid: u16, section: &[u8]) {
        let mut out = Vec::new();
        let counter = self.counters.entry(pid).or_default();
        assert!(write_section(pid, counter, section, &mut |part: &[u8]| {
            out.extend_from_slice(part);
            true
        }));
        self.send(&out);
    }

    fn tables(&mut self, programs: &[(u16, u16)], version: u8, components: &[Component]) {
        self.section(0, &pat(1, version, programs).unwrap());
        for (number, pid) in programs {
            self.section(*pid, &pmt(*number, version, PICTURES, components).unwrap());
        }
    }

    /// A unit with these bytes.
    fn unit(&mut self, pid: u16, random_access: bool, unit: &[u8]) {
        let mut out = Vec::new();
        let says = Adaptation { random_access, ..Adaptation::default() };
        let counter = self.counters.entry(pid).or_default();
        let mut writer = UnitWriter::new(pid, counter, says, unit.len());
        assert!(writer.write(unit, &mut |part: &[u8]| {
            out.extend_from_slice(part);
            true
        }));
        self.send(&out);
    }

    fn pes(&mut self, pid: u16, pts: u64, dts: u64, payload: &[u8]) {
        let stream_id = if pid == PICTURES { 0xE0 } else { 0xC0 };
        let header = PesHeader { stream_id, pts, dts }.encode(payload.len()).unwrap();
        self.unit(pid, false, &[header.as_slice(), payload].concat());
    }

    fn key(&mut self, ticks: u64) {
        self.pes(PICTURES, ticks, ticks, &annex_b(&[&[9, 0xF0], SPS, PPS, IDR]));
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.demux.poll_output()).collect()
    }

    /// Times of the frames that came out, in ms: role, decoding time, composition offset.
    fn times(&mut self) -> Vec<(Role, u32, i32)> {
        let frames = self.outputs().into_iter().filter_map(|output| match output {
            Output::Frame(role, frame) => Some((role, frame)),
            Output::Event(_) => None,
        });
        frames
            .map(|(role, frame)| {
                let tag = tag::inspect(frame.kind, &frame.body).unwrap();
                (role, frame.dts_ms, tag.cts_ms)
            })
            .collect()
    }
}

/// Body of each frame that came out, without its head.
fn payloads(outputs: &[Output]) -> Vec<(Tagged, Vec<u8>)> {
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Frame(_, frame) => Some(frame),
        Output::Event(_) => None,
    });
    frames
        .map(|frame| {
            let tag = tag::inspect(frame.kind, &frame.body).unwrap();
            (tag.packet, frame.body[tag.payload(frame.body.len())].to_vec())
        })
        .collect()
}

#[test]
fn pictures_get_lengths_and_a_record() {
    let mut bench = Bench::ready();
    bench.key(90_000);
    bench.pes(PICTURES, 90_000 + 7200, 90_000 + 3600, &annex_b(&[&[9, 0xF0], &[6, 5, 1, 0x80], INTER]));
    let outputs = bench.outputs();
    let record =
        [&[1, SPS[1], SPS[2], SPS[3], 0xFF, 0xE1, 0, SPS.len() as u8], SPS, &[1, 0, PPS.len() as u8], PPS];
    assert_eq!(
        payloads(&outputs),
        [
            (Tagged::Config, record.concat()),
            (Tagged::Frames, lengths(&[IDR])),
            (Tagged::Frames, lengths(&[&[6, 5, 1, 0x80], INTER])),
        ]
    );
}

#[test]
fn hevc_has_its_own_record_and_head() {
    let mut bench = Bench::new(0);
    bench.tables(&[(1, MAP)], 0, &[component(0x24, PICTURES)]);
    let vps: &[u8] =
        &[0x40, 1, 0x0C, 1, 0xFF, 0xFF, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3C, 0x95, 0x98, 9];
    let sps: &[u8] = &[
        0x42, 1, 1, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3C, 0xA0, 0x0A, 8, 0x0B, 0x9F, 0x79,
        0x65, 0x79, 0x24, 0xCA, 0xE0, 0x10, 0, 0, 6, 0x40, 0, 0, 0xBB, 0x50, 0x80,
    ];
    let (pps, idr): (&[u8], &[u8]) = (&[0x44, 1, 0xC1, 0x73, 0xD1, 0x89], &[0x26, 1, 0xAF, 0x12, 0x34]);
    bench.pes(PICTURES, 0, 0, &annex_b(&[&[0x46, 1, 0x50], vps, sps, pps, idr]));
    let outputs = bench.outputs();
    let frames: Vec<_> = payloads(&outputs);
    let [(Tagged::Config, record), (Tagged::Frames, picture)] = frames.as_slice() else {
        panic!("{frames:?}")
    };
    assert_eq!((record[0], record[22], picture), (1, 3, &lengths(&[idr])));
    for set in [vps, sps, pps] {
        assert!(record.windows(set.len()).any(|part| part == set), "{set:?} in {record:?}");
    }
}

#[test]
fn sound_of_several_frames_and_frames_of_several_packets() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.outputs();
    let frames: Vec<Vec<u8>> = (1..=4).map(|n| adts(&[n; 300])).collect();
    // Two and a half in the first packet; the third ends in the second, whose own time is that of the fourth.
    let (front, back) = frames[2].split_at(100);
    bench.pes(SOUND, 90_000, 90_000, &[&frames[0][..], &frames[1], front].concat());
    bench.pes(SOUND, 90_000 + 5760, 90_000 + 5760, &[back, &frames[3]].concat());
    let outputs = bench.outputs();
    let expected = (1..=4).map(|n| (Tagged::Frames, vec![n; 300]));
    assert_eq!(
        payloads(&outputs),
        std::iter::once((Tagged::Config, vec![0x11, 0x90])).chain(expected).collect::<Vec<_>>()
    );
    let times: Vec<u32> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Frame(Role::Sound, frame) => Some(frame.dts_ms),
            _ => None,
        })
        .collect();
    // 1024 samples are 1920 ticks.
    assert_eq!(times, [1000, 1021, 1042, 1064]);
    assert_eq!(bench.demux.tally().resyncs, 0);
}

/// A lost packet takes its unit with it: pictures go on behind one that others may refer to, not behind a keyframe.
#[test]
fn a_lost_packet_is_a_lost_frame() {
    let mut bench = Bench::ready();
    let long = |head: &[u8]| [head, &[0x55; 400]].concat();
    let picture = |nal: &[u8]| annex_b(&[&[9, 0xF0], &long(nal)]);
    bench.key(0);
    bench.pes(PICTURES, 3600, 3600, &picture(INTER));
    // The middle one of the next picture's three.
    assert_eq!(bench.sent, 6);
    bench.spoil = |n, packet| (n != 8).then_some(packet);
    for n in 2..5 {
        bench.pes(PICTURES, 3600 * n, 3600 * n, &picture(INTER));
    }
    let times = bench.times();
    assert_eq!(times.iter().map(|time| time.1).collect::<Vec<_>>(), [0, 0, 40, 120, 160], "{times:?}");
    let tally = *bench.demux.tally();
    assert_eq!((tally.lost, tally.damaged, tally.before_keyframe), (1, 1, 0), "{tally:?}");
}

#[test]
fn behind_a_lost_keyframe_nothing_goes_on() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.times();
    let key = annex_b(&[&[9, 0xF0], SPS, PPS, &[IDR, &[0x55; 600]].concat()]);
    let header = PesHeader { stream_id: 0xE0, pts: 3600, dts: 3600 }.encode(key.len()).unwrap();
    bench.spoil = |n, packet| (n != 5).then_some(packet);
    assert_eq!(bench.sent, 3);
    bench.unit(PICTURES, true, &[header.as_slice(), &key].concat());
    for n in 2..4 {
        bench.pes(PICTURES, 3600 * n, 3600 * n, &annex_b(&[INTER]));
    }
    bench.key(3600 * 4);
    assert_eq!(bench.times(), [(Role::Key, 160, 0)]);
    assert_eq!(bench.demux.tally().before_keyframe, 2);
}

/// Who loses the first packet of a unit cannot know what it was. Nothing goes on before a keyframe.
#[test]
fn a_unit_without_its_begin_may_have_been_a_keyframe() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.times();
    assert_eq!(bench.sent, 3);
    // The first of three, and one of the next unit, which changes nothing.
    bench.spoil = |n, packet| (n != 4 && n != 8).then_some(packet);
    let long = annex_b(&[&[9, 0xF0], SPS, PPS, &[IDR, &[0x55; 400]].concat()]);
    bench.pes(PICTURES, 3600, 3600, &long);
    assert_eq!((bench.sent, bench.demux.tally().damaged), (6, 1));
    bench.pes(PICTURES, 7200, 7200, &annex_b(&[&[INTER, &[0x55; 400]].concat()]));
    bench.pes(PICTURES, 10_800, 10_800, &annex_b(&[INTER]));
    bench.key(14_400);
    bench.pes(PICTURES, 18_000, 18_000, &annex_b(&[INTER]));
    assert_eq!(bench.times(), [(Role::Key, 160, 0), (Role::Picture, 200, 0)]);
    assert_eq!((bench.demux.tally().damaged, bench.demux.tally().before_keyframe), (2, 1));
}

/// Behind a pause without loss all is well; behind one with loss a keyframe may be missing.
#[test]
fn a_pause_is_doubted_if_it_lost_something() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.demux.doubt();
    bench.pes(PICTURES, 3600, 3600, &annex_b(&[INTER]));
    assert_eq!(bench.times().len(), 3, "nothing was lost");
    bench.demux.doubt();
    bench.spoil = |n, packet| (n != 5).then_some(packet);
    bench.key(7200);
    bench.pes(PICTURES, 10_800, 10_800, &annex_b(&[INTER]));
    bench.key(14_400);
    assert_eq!(bench.times(), [(Role::Key, 160, 0)]);
}

#[test]
fn clocks_wrap_and_go_on() {
    let mut bench = Bench::ready();
    let wrap = 1u64 << 33;
    bench.key(wrap - 3600);
    // In the order of decoding, shown later: the presentation has wrapped, the decoding has not.
    bench.pes(PICTURES, wrap + 3600, wrap - 900, &annex_b(&[INTER]));
    bench.pes(PICTURES, wrap, wrap + 2700, &annex_b(&[INTER]));
    let last = ((wrap - 3600) / 90) as u32;
    let times = bench.times();
    let expected = [
        (Role::Config, last, 0),
        (Role::Key, last, 0),
        (Role::Picture, last + 30, 50),
        (Role::Picture, last + 70, -30),
    ];
    assert_eq!(times, expected);
}

#[test]
fn times_that_are_missing_follow_on() {
    let mut bench = Bench::ready();
    bench.key(90_000);
    // No times at all.
    bench.unit(
        PICTURES,
        false,
        &[&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0][..], &annex_b(&[&[9, 0xF0], INTER])].concat(),
    );
    // A presentation time alone is the decoding time.
    bench.pes(PICTURES, 97_200, 97_200, &annex_b(&[&[9, 0xF0], INTER]));
    assert_eq!(bench.times().iter().map(|time| time.1).collect::<Vec<_>>(), [1000, 1000, 1040, 1080]);
    // Nothing tells when the first one is.
    let mut bench = Bench::ready();
    bench.unit(
        PICTURES,
        false,
        &[&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0][..], &annex_b(&[SPS, PPS, IDR])].concat(),
    );
    bench.unit(SOUND, false, &[&[0, 0, 1, 0xC0, 0, 17, 0x80, 0, 0][..], &adts(&[1; 7])].concat());
    bench.key(90_000);
    assert_eq!(bench.times().len(), 2);
    assert_eq!(bench.demux.tally().untimed, 2);
}

#[test]
fn a_new_map_is_applied_and_what_stays_stays() {
    let mut bench = Bench::ready();
    bench.key(0);
    assert_eq!(bench.times().len(), 2);
    bench.tables(&[(1, MAP)], 1, &[component(0x1B, PICTURES), component(0x03, 0x102)]);
    let events = bench.outputs();
    assert!(
        matches!(events.as_slice(), [Output::Event(Event::Program { number: 1, carried: 2 })]),
        "{events:?}"
    );
    // Its configuration was told and is not told again.
    bench.key(3600);
    assert_eq!(bench.times(), [(Role::Key, 40, 0)]);
    // The sound that left is not read any more.
    bench.pes(SOUND, 3600, 3600, &adts(&[1; 10]));
    assert_eq!(bench.times(), []);
    // The same again is nothing new; a map that counts only from some later moment on is none yet.
    bench.tables(&[(1, MAP)], 1, &[component(0x1B, PICTURES), component(0x03, 0x102)]);
    let mut later = pmt(1, 2, PICTURES, &[component(0x0F, SOUND)]).unwrap();
    later[5] &= 0xFE;
    let end = later.len() - 4;
    let sum = crate::wire::ts::crc::crc32(&later[..end]);
    later.truncate(end);
    later.extend(sum.to_be_bytes());
    bench.section(MAP, &later);
    assert!(bench.outputs().is_empty());
}

/// Attack T2: maps without end.
#[test]
fn maps_that_change_all_the_time_are_applied_ten_times_a_second() {
    let mut bench = Bench::new(0);
    for n in 0..1000u16 {
        bench.tables(&[(1, MAP)], (n % 32) as u8, &[component(0x1B, 0x100 + n)]);
    }
    let applied = bench.outputs().len();
    // Two seconds, and what may come ahead.
    assert!((25..=31).contains(&applied), "{applied}");
    assert!(bench.demux.heap_bytes() < 100_000, "{}", bench.demux.heap_bytes());
}

#[test]
fn the_program_that_is_asked_for_is_taken() {
    for (wanted, taken) in [(0, Some(1)), (2, Some(2)), (7, None)] {
        let mut bench = Bench::new(wanted);
        bench.tables(&[(1, MAP), (2, MAP + 1)], 0, &[component(0x1B, PICTURES)]);
        let number = bench.outputs().into_iter().find_map(|output| match output {
            Output::Event(Event::Program { number, .. }) => Some(number),
            _ => None,
        });
        assert_eq!(number, taken, "{wanted}");
        let announced = wanted != 7;
        // Nothing is said while all is well.
        let now = bench.now() + NO_PROGRAM;
        assert!(bench.demux.deadline() <= now);
        bench.demux.handle_timeout(now);
        let events = bench.outputs();
        assert!(
            matches!(events.as_slice(), [Output::Event(Event::NoProgram { announced: a })] if *a == announced),
            "{wanted}: {events:?}"
        );
    }
}

/// A PAT that names a map which does not come any more; and the map, when it is back, although nothing in it is new.
#[test]
fn a_map_that_stops_is_missed() {
    let mut bench = Bench::ready();
    for _ in 0..6 {
        bench.at_us += 1_000_000;
        bench.section(0, &pat(1, 0, &[(1, MAP)]).unwrap());
    }
    assert!(bench.demux.deadline() <= bench.now());
    bench.demux.handle_timeout(bench.now());
    let events = bench.outputs();
    assert!(matches!(events.as_slice(), [Output::Event(Event::NoProgram { announced: true })]), "{events:?}");
    for expected in [1, 0] {
        bench.tables(&[(1, MAP)], 0, &[component(0x1B, PICTURES), component(0x0F, SOUND)]);
        let events = bench.outputs();
        let told = Output::Event(Event::Program { number: 1, carried: 2 });
        assert_eq!(format!("{events:?}"), format!("{:?}", vec![told; expected]));
    }
    assert!(bench.demux.deadline() > bench.now());
}

#[test]
fn what_is_scrambled_is_counted_and_left_out() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.times();
    bench.spoil = |_, mut packet| {
        packet[3] |= 0x80;
        Some(packet)
    };
    bench.key(3600);
    assert_eq!((bench.times(), bench.demux.tally().scrambled), (vec![], 1));
    // Or in the PES packet alone, whose header says so.
    bench.spoil = |_, packet| Some(packet);
    let header = PesHeader { stream_id: 0xE0, pts: 7200, dts: 7200 }.encode(20).unwrap();
    let mut unit = [header.as_slice(), &[0; 20]].concat();
    unit[6] |= 0x20;
    bench.unit(PICTURES, false, &unit);
    assert_eq!((bench.times(), bench.demux.tally().scrambled), (vec![], 2));
}

#[test]
fn streams_that_cannot_be_carried_are_named() {
    let mut bench = Bench::new(0);
    bench.tables(
        &[(1, MAP)],
        0,
        &[component(0x02, 0x110), component(0x1B, PICTURES), component(0x1B, 0x111)],
    );
    let events: Vec<Event> = bench
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Frame(..) => None,
        })
        .collect();
    assert!(
        matches!(
            events.as_slice(),
            [
                Event::NotCarried { pid: 0x110, .. },
                Event::NotCarried { pid: 0x111, what: "H.264" },
                Event::Program { carried: 1, .. }
            ]
        ),
        "{events:?}"
    );
}

/// Attack T3: a unit that never ends.
#[test]
fn memory_is_bounded() {
    let mut bench = Bench::ready();
    bench.key(0);
    let endless = |pid: u16| {
        let [high, low] = pid.to_be_bytes();
        move |n: usize| {
            let mut packet = [0x55; 188];
            packet[..4].copy_from_slice(&[
                0x47,
                high | if n == 0 { 0x40 } else { 0 },
                low,
                0x10 | ((n + 1) & 15) as u8,
            ]);
            if n == 0 {
                packet[4..13].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0]);
            }
            packet
        }
    };
    let packet = endless(PICTURES);
    for n in 0..2 * PICTURE_BYTES_MAX / 184 {
        bench.demux.handle_datagram(bench.now(), &packet(n));
        assert!(bench.demux.heap_bytes() <= 2 * PICTURE_BYTES_MAX + (2 << 20));
    }
    assert_eq!(bench.demux.tally().too_large, 1);
    assert!(bench.demux.heap_bytes() < 1 << 20, "given back");
    // The next keyframe is taken as ever.
    bench.times();
    bench.key(90_000);
    assert_eq!(bench.times(), [(Role::Key, 1000, 0)]);
}

/// A packet of nothing but the smallest pictures: what comes of it is bounded.
#[test]
fn pictures_of_one_packet_are_bounded() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.times();
    let many = annex_b(&[INTER]).repeat(7000);
    let before = bench.demux.heap_bytes();
    bench.pes(PICTURES, 3600, 3600, &many);
    assert!(bench.demux.heap_bytes() >= before + 64 * size_of::<Output>(), "what waits counts");
    assert_eq!((bench.times().len(), bench.demux.tally().too_large), (64, 1));
    bench.pes(PICTURES, 7200, 7200, &annex_b(&[INTER]));
    assert_eq!(bench.times().len(), 1, "and the next one goes on");
}

#[test]
fn a_flush_ends_what_waits_and_an_interruption_asks_for_a_keyframe() {
    let mut bench = Bench::ready();
    bench.key(0);
    let open =
        [&[0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0x1C, 0x21][..], &annex_b(&[INTER])].concat();
    bench.unit(PICTURES, false, &open);
    assert_eq!(bench.times().len(), 2);
    bench.demux.flush(bench.now());
    assert_eq!(bench.times(), [(Role::Picture, 40, 0)]);
    bench.pes(PICTURES, 5400, 5400, &annex_b(&[INTER]));
    assert_eq!(bench.times(), [(Role::Picture, 60, 0)]);
    bench.demux.interrupt(bench.now());
    bench.pes(PICTURES, 7200, 7200, &annex_b(&[INTER]));
    bench.key(10_800);
    assert_eq!(bench.times(), [(Role::Key, 120, 0)]);
    let told: Vec<Kind> = bench.demux.configs().map(|(kind, _)| kind).collect();
    assert_eq!(told, [Kind::Video]);
    let (_, body) = bench.demux.configs().next().unwrap();
    assert_eq!(tag::inspect(Kind::Video, &body).unwrap().codec, Codec::H264);
}

/// The sets of the source before are not in the record of the next one; and no set makes a record impossible.
#[test]
fn sets_are_those_of_the_source() {
    let mut bench = Bench::ready();
    // With number 1 instead of 0.
    let other: &[u8] = &[0x68, 0x5B, 0xC7, 0x80];
    bench.pes(PICTURES, 0, 0, &annex_b(&[SPS, PPS, other, IDR]));
    let holds = |outputs: &[Output]| {
        let frames = payloads(outputs);
        let (Tagged::Config, record) = &frames[0] else { panic!("{frames:?}") };
        record.windows(other.len()).any(|part| part == other)
    };
    assert!(holds(&bench.outputs()));
    bench.demux.interrupt(bench.now());
    bench.key(3600);
    assert!(!holds(&bench.outputs()));
    // All numbers that there are: one more than a record can count.
    let many: Vec<Vec<u8>> = (0..256u32)
        .map(|id| {
            // ue(id), ue(0), and ones.
            let (code, bits) = (id + 1, (id + 1).ilog2());
            let word = (u64::from(code) << 1 | 1) << (64 - 2 * bits - 2) | 0xFF << (64 - 2 * bits - 10);
            [&[0x68][..], &word.to_be_bytes()[..4]].concat()
        })
        .collect();
    let sets: Vec<&[u8]> = std::iter::once(SPS).chain(many.iter().map(Vec::as_slice)).chain([IDR]).collect();
    bench.pes(PICTURES, 7200, 7200, &annex_b(&sets));
    assert_eq!(bench.times(), [(Role::Config, 80, 0), (Role::Key, 80, 0)]);
    assert_eq!(bench.demux.tally().too_large, 1);
}

/// The same counter with other bytes is sixteen packets later, and not the same packet again.
#[test]
fn packets_that_come_again_are_the_same() {
    let mut bench = Bench::ready();
    bench.key(0);
    let before = bench.counters.clone();
    bench.pes(PICTURES, 3600, 3600, &annex_b(&[INTER]));
    bench.counters = before;
    bench.pes(PICTURES, 3600, 3600, &annex_b(&[INTER]));
    assert_eq!((bench.times().len(), bench.demux.tally().repeated, bench.demux.tally().lost), (3, 1, 0));
    let after = bench.counters.clone();
    bench.pes(PICTURES, 7200, 7200, &annex_b(&[INTER]));
    bench.counters = after;
    bench.pes(PICTURES, 10_800, 10_800, &annex_b(&[INTER]));
    assert_eq!((bench.times().len(), bench.demux.tally().repeated, bench.demux.tally().lost), (2, 1, 1));
}

/// What looks like the begin of a frame in the middle of one is none.
#[test]
fn a_frame_is_found_by_two_headers() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.outputs();
    let (one, two) = (adts(&[1; 300]), adts(&[2; 300]));
    let half = [&[0x55; 50][..], &adts(&[])[..3], &adts(&[0; 60])[3..27]].concat();
    bench.pes(SOUND, 90_000, 90_000, &[&half[..], &one, &two].concat());
    let frames = |bench: &mut Bench| -> Vec<Vec<u8>> {
        let frames = payloads(&bench.outputs());
        frames.into_iter().filter(|frame| frame.0 == Tagged::Frames).map(|frame| frame.1).collect()
    };
    assert_eq!(frames(&mut bench), [vec![1; 300], vec![2; 300]]);
    assert_eq!(bench.demux.tally().resyncs, 1);
    // The second header may be that of the next packet.
    bench.pes(SOUND, 93_840, 93_840, &[&half[..], &one].concat());
    assert_eq!(frames(&mut bench), [[0; 0]; 0]);
    bench.pes(SOUND, 95_760, 95_760, &two);
    assert_eq!(frames(&mut bench), [vec![1; 300], vec![2; 300]]);
    assert_eq!(bench.demux.tally().resyncs, 2);
}

#[test]
fn a_picture_is_not_shown_hours_later() {
    let mut bench = Bench::ready();
    bench.key(0);
    // Three hours; FLV has room for 2 h 19 min.
    bench.pes(PICTURES, 3600 + 3 * 3600 * 90_000, 3600, &annex_b(&[INTER]));
    bench.pes(PICTURES, 7200 + 2 * 3600 * 90_000, 7200, &annex_b(&[INTER]));
    let times = bench.times();
    assert_eq!(times[2..], [(Role::Picture, 40, 0), (Role::Picture, 80, 7_200_000)]);
    assert_eq!(bench.demux.tally().malformed, 1);
}

proptest! {
    /// Packets whose PIDs are read and whose insides are anything.
    #[test]
    fn nothing_panics(
        packets in proptest::collection::vec(
            (0usize..3, any::<bool>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 184)), 0..60
        ),
        kind in prop::sample::select(vec![(0x1Bu8, 0x0Fu8), (0x24, 0x11), (0x1B, 0x03), (0x24, 0x81)]),
    ) {
        let mut bench = Bench::new(0);
        bench.tables(&[(1, MAP)], 0, &[component(kind.0, PICTURES), component(kind.1, SOUND)]);
        for (which, start, flags, payload) in packets {
            let [high, low] = [PICTURES, SOUND, 0][which].to_be_bytes();
            let mut packet = [0; 188];
            packet[..4].copy_from_slice(&[0x47, high | if start { 0x40 } else { 0 }, low, flags & 0x3F]);
            packet[4..].copy_from_slice(&payload);
            if start && which < 2 {
                packet[4..13].copy_from_slice(&[0, 0, 1, 0xE0, 0, flags, 0x80, flags, flags >> 4]);
            }
            bench.demux.handle_datagram(bench.now(), &packet);
            for output in bench.outputs() {
                if let Output::Frame(_, frame) = output {
                    prop_assert!(tag::inspect(frame.kind, &frame.body).is_ok());
                }
            }
        }
        bench.demux.interrupt(bench.now());
        prop_assert!(bench.demux.heap_bytes() <= 2 * PICTURE_BYTES_MAX + (2 << 20));
    }
}
