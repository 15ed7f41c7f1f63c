//! Programs made by hand: what comes out of them, and what of broken ones.

mod av1;
mod bounds;
mod losses;
mod pictures;
mod programs;
mod sound;
mod times;

use super::*;
use crate::media::{Codec, Packet as Tagged, Tag, tag};
use crate::wire::ts::write::packet::{Adaptation, Counter, UnitWriter, write_section};
use crate::wire::ts::write::pes::PesHeader;
use crate::wire::ts::write::section::{Component, pat, pmt};
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
        Bench::of(Options { program, ..Options::default() })
    }

    fn of(options: Options) -> Bench {
        let (demux, spoil) = (Demux::new(options, Mono::ZERO), |_, packet| Some(packet));
        Bench { demux, counters: HashMap::new(), at_us: 0, spoil, sent: 0 }
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
