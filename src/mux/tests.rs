//! The PID map and what a source may say of itself. Whole channels are held to their gates in `tests/mux/`.

use super::*;
use crate::wire::ts::SYNC_BYTE;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::section::Assembler;
use crate::wire::ts::stream_type::{AAC_ADTS, H264, PRIVATE};
use crate::wire::ts::tables::{self, Pmt};
use crate::wire::ts::write::packet::{Counter, write_section};
use crate::wire::ts::write::section::{self, Component};

/// A source that says of itself what it is told to.
struct Bench {
    mux: Mux,
    counters: [Counter; 2],
    now_ms: u64,
}

impl Bench {
    fn new(service: Service) -> Bench {
        Bench::of(Multiplex { services: vec![service], ..Multiplex::default() })
    }

    fn of(multiplex: Multiplex) -> Bench {
        Bench { mux: Mux::new(multiplex, Mono::ZERO), counters: [Counter::default(); 2], now_ms: 200 }
    }

    /// Tables of a program with these tracks; then a second of output.
    fn tell(&mut self, tracks: &[(u8, u16)]) {
        let component =
            |&(stream_type, pid): &(u8, u16)| Component { stream_type, pid, descriptors: Vec::new() };
        self.tell_all(tracks.iter().map(component).collect());
    }

    /// The same of tracks with descriptors.
    fn tell_all(&mut self, components: Vec<Component>) {
        let map = section::pmt(7, 0, 0x1FFF, &components).unwrap();
        let pat = section::pat(1, 0, &[(0, 0x10), (7, 0x30)]).unwrap();
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| {
            bytes.extend_from_slice(part);
            true
        };
        let [first, second] = &mut self.counters;
        assert!(write_section(0, first, &pat, &mut put) && write_section(0x30, second, &map, &mut put));
        self.mux.feed(0, Mono::from_micros(self.now_ms * 1000), &bytes);
        self.now_ms += 1000;
    }

    /// Unit `n` of sound on PID 0x51: a packet, each 20 ms.
    fn sound(&mut self, n: u8) {
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..13].copy_from_slice(&[
            0x47,
            0x40,
            0x51,
            0x10 | n & 15,
            0,
            0,
            1,
            0xC0,
            0,
            178,
            0x80,
            0x80,
            5,
        ]);
        let time = u16::from(n) * 1800;
        packet[13..18].copy_from_slice(&[0x21, 0, 1, (time >> 7) as u8, (time << 1) as u8 | 1]);
        self.mux.feed(0, Mono::from_micros(self.now_ms * 1000), &packet);
    }

    /// The PMT that is sent now: PID of the clock, and of each track its type and PID.
    fn sent(&mut self) -> (u16, Vec<(u8, u16)>) {
        let (mut assembler, mut out, mut found) = (Assembler::new(), [0; DATAGRAM_BYTES], None);
        while self.mux.written() < self.mux.position(Mono::from_micros(self.now_ms * 1000)) {
            self.mux.write(&mut out, 0);
            for bytes in out.as_chunks().0 {
                let packet = Packet::parse(bytes);
                if packet.pid != self.mux.multiplex.services[0].pmt_pid {
                    continue;
                }
                assembler.push(&packet, |section| {
                    assert!(section.table_id() == tables::PMT && section.crc_ok());
                    let map = Pmt::parse(section).unwrap();
                    let tracks = map.streams().map(|stream| (stream.stream_type, stream.pid)).collect();
                    found = Some((map.pcr_pid, tracks));
                });
            }
        }
        found.unwrap()
    }
}

#[test]
fn pids_are_given_by_kind_and_number() {
    let close = Service { pmt_pid: 100, video_pid: 101, audio_pid: 102, data_pid: 110, ..Service::default() };
    let mut bench = Bench::new(close);
    assert_eq!(bench.sent(), (101, vec![]), "before there is a source");
    bench.tell(&[(AAC_ADTS, 0x51), (H264, 0x50), (AAC_ADTS, 0x52), (PRIVATE, 0x60), (0x86, 0x61)]);
    let all = vec![(H264, 101), (AAC_ADTS, 102), (AAC_ADTS, 103), (PRIVATE, 110)];
    assert_eq!(bench.sent(), (101, all.clone()));
    assert_eq!(bench.mux.tally().tracks_left_out, 1, "sections");
    // Sound that goes leaves its place, and the next one that comes has it.
    bench.tell(&[(H264, 0x50), (AAC_ADTS, 0x52), (PRIVATE, 0x60)]);
    assert_eq!(bench.sent(), (101, vec![(H264, 101), (AAC_ADTS, 103), (PRIVATE, 110)]));
    bench.tell(&[(H264, 0x50), (AAC_ADTS, 0x52), (AAC_ADTS, 0x99), (PRIVATE, 0x60)]);
    assert_eq!(bench.sent(), (101, all.clone()));
    // Another source, with PIDs of its own.
    bench.mux.seam(0, Mono::from_micros(bench.now_ms * 1000));
    bench.tell(&[(H264, 0x150), (AAC_ADTS, 0x151), (AAC_ADTS, 0x152), (PRIVATE, 0x153)]);
    assert_eq!(bench.sent(), (101, all.clone()));
    // Nothing that could be carried: what was stays.
    bench.tell(&[(0x86, 0x61)]);
    assert_eq!(bench.sent(), (101, all));
    // The second picture is behind all places of sound and data.
    bench.tell(&[(H264, 0x150), (H264, 0x160)]);
    assert_eq!(bench.sent(), (101, vec![(H264, 101), (H264, 126)]));
    // Without pictures the first sound has the clock.
    bench.tell(&[(AAC_ADTS, 0x151)]);
    assert_eq!(bench.sent(), (102, vec![(AAC_ADTS, 102)]));
}

/// A channel that has run for long and one that begins now find the same source, and number it alike.
#[test]
fn a_seam_numbers_tracks_as_a_beginning_does() {
    let languages = vec![*b"deu", *b"eng"];
    let service = Service { languages, ..Service::default() };
    let sound = |pid: u16, language: &[u8; 3]| Component {
        stream_type: AAC_ADTS,
        pid,
        descriptors: [&[0x0A, 4][..], language, &[0]].concat(),
    };
    let place = |bench: &Bench, pid: u16| {
        let all = bench.mux.programs[0].tracks.iter();
        all.filter(|track| track.source_pid == Some(pid)).map(|track| track.pid).collect::<Vec<_>>()
    };
    let mut old = Bench::new(service.clone());
    old.tell_all(vec![sound(0x201, b"swe")]);
    old.tell_all(vec![sound(0x200, b"nor"), sound(0x201, b"swe")]);
    assert_eq!((place(&old, 0x200), place(&old, 0x201)), (vec![0x201], vec![0x200]), "it stays where it is");
    let mut new = Bench::new(service);
    new.tell_all(vec![sound(0x200, b"nor"), sound(0x201, b"swe")]);
    // The map is the same as before the seam.
    old.mux.seam(0, Mono::from_micros(old.now_ms * 1000));
    old.tell_all(vec![sound(0x200, b"nor"), sound(0x201, b"swe")]);
    for bench in [&old, &new] {
        assert_eq!((place(bench, 0x200), place(bench, 0x201)), (vec![0x200], vec![0x201]));
    }
    assert_eq!(old.sent(), new.sent());
}

/// What else has a PID is passed over; which PID a number has is the same whatever comes first.
#[test]
fn close_pids_do_not_silence_tracks() {
    let close = Service {
        video_pid: 0x100,
        audio_pid: 0x101,
        data_pid: 0x102,
        pcr_pid: Some(0x104),
        ..Service::default()
    };
    let all = [
        (H264, 0x50),
        (AAC_ADTS, 0x51),
        (AAC_ADTS, 0x52),
        (AAC_ADTS, 0x53),
        (PRIVATE, 0x54),
        (PRIVATE, 0x55),
    ];
    let expected = vec![
        (H264, 0x100),
        (AAC_ADTS, 0x101),
        (AAC_ADTS, 0x103),
        (AAC_ADTS, 0x105),
        (PRIVATE, 0x102),
        (PRIVATE, 0x113),
    ];
    for first in 0..all.len() {
        let mut bench = Bench::new(close.clone());
        bench.tell(&all[first..=first]);
        bench.mux.seam(0, Mono::from_micros(bench.now_ms * 1000));
        bench.tell(&all);
        assert_eq!(bench.sent(), (0x104, expected.clone()), "{first}");
        assert_eq!(bench.mux.tally().tracks_left_out, 0);
    }
}

/// Stream type 6 is what its descriptors say: what waits is not sent as something else.
#[test]
fn another_coding_of_the_same_type_is_another_track() {
    let of = |descriptors: &[u8]| {
        vec![Component { stream_type: PRIVATE, pid: 0x51, descriptors: descriptors.to_vec() }]
    };
    for (next, ended) in [(&b"\x6A\x01\0"[..], 1), (b"\x05\x04Opus\x0A\x04deu\0", 0)] {
        let mut bench = Bench::new(Service::default());
        bench.tell_all(of(b"\x05\x04Opus"));
        bench.sent();
        for n in 0..12 {
            bench.sound(n);
            bench.now_ms += 20;
        }
        assert!(bench.mux.programs[0].tracks[0].units.iter().all(|unit| unit.placed));
        let before = bench.mux.queued_packets();
        bench.tell_all(of(next));
        assert_eq!(bench.mux.queued_packets(), if ended == 1 { 0 } else { before }, "{next:?}");
        assert_eq!(bench.mux.programs[0].tracks[0].revision > bench.mux.carousel.sent(0), ended == 1);
    }
}

/// What ends with its track is counted, and so is what a seam leaves without a time.
#[test]
fn nothing_is_dropped_silently() {
    let mut bench = Bench::new(Service::default());
    bench.tell(&[(AAC_ADTS, 0x51)]);
    bench.sound(0);
    assert_eq!((bench.mux.queued_packets(), bench.mux.tally().units_ended), (1, 0));
    bench.mux.seam(0, Mono::from_micros(bench.now_ms * 1000));
    assert_eq!((bench.mux.queued_packets(), bench.mux.tally().units_ended), (0, 1));
    bench.sound(1);
    bench.tell(&[(H264, 0x50)]);
    assert_eq!((bench.mux.queued_packets(), bench.mux.tally().units_ended), (0, 2));
}

#[test]
fn more_tracks_than_there_are_places() {
    let mut bench = Bench::new(Service::default());
    let many: Vec<(u8, u16)> =
        (0..150).map(|n| ([H264, AAC_ADTS, PRIVATE][n % 3], 0x400 + n as u16)).collect();
    bench.tell(&many);
    let (_, tracks) = bench.sent();
    assert_eq!((tracks.len(), bench.mux.tally().tracks_left_out), (32, 150 - 32));
}

#[test]
fn any_multiplex_is_sent_without_a_panic() {
    let with = |service: Service| vec![service, Service::default()];
    for multiplex in [
        Multiplex { rate_bps: 0, ..Multiplex::default() },
        Multiplex {
            services: with(Service { pmt_pid: 0x1FFF, ..Service::default() }),
            ..Multiplex::default()
        },
        Multiplex {
            rate_bps: u64::MAX,
            clock: u64::MAX,
            services: with(Service { video_pid: 0xFFFF, rate_bps: Some(u64::MAX), ..Service::default() }),
            ..Multiplex::default()
        },
        Multiplex {
            nit: true,
            network_name: "n".repeat(1000),
            services: with(Service { name: "ü".repeat(1000), rate_bps: Some(0), ..Service::default() }),
            ..Multiplex::default()
        },
        Multiplex { services: Vec::new(), ..Multiplex::default() },
        Multiplex { services: vec![Service::default(); 40], ..Multiplex::default() },
    ] {
        let mut bench = Bench::of(multiplex);
        bench.tell(&[(H264, 0x150), (AAC_ADTS, 0x151)]);
        bench.mux.feed(1000, Mono::ZERO, &[0; PACKET_BYTES]);
        bench.mux.seam(1000, Mono::ZERO);
        let mut out = [0; DATAGRAM_BYTES];
        for _ in 0..200 {
            bench.mux.write(&mut out, u64::MAX);
        }
        assert!(out.chunks(PACKET_BYTES).all(|packet| packet[0] == SYNC_BYTE));
        assert!(bench.mux.heap_bytes() > 0 && bench.mux.clock() > 0);
    }
}
