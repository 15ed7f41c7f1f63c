//! A channel at a constant rate, made packet by packet for a judge to pass: tables, a clock, pictures with B-frames as
//! H.264 sends them, sound in PES packets of a known length, and nulls.

use super::judge::{Channel, Program, Stream};
use std::collections::VecDeque;

pub const VIDEO: u16 = 0x100;
pub const AUDIO: u16 = 0x101;
pub const PMT: u16 = 0x1000;
/// Bits a second.
pub const RATE: u64 = 2_000_000;
/// Long enough for two TDTs to be missing.
pub const SECONDS: u64 = 12;

pub type Packet = [u8; 188];

/// What can be set; [`Default`] misses no gate.
#[derive(Clone, Debug)]
pub struct Maker {
    /// Of the clock against the nominal rate, in parts per million of the rate.
    pub ppm: f64,
    /// Between PCRs, in ms.
    pub pcr_ms: u64,
    /// Value of the first PCR, in ticks of 27 MHz.
    pub origin: u64,
    /// DTS of a picture in front of the clock when its first packet is due, in ms.
    pub lead_ms: u64,
    /// 0x1B or 0x24.
    pub video_type: u8,
}

impl Default for Maker {
    fn default() -> Maker {
        // The clock and the times begin anew within the capture.
        let origin = (1 << 33) * 300 - 5 * 27_000_000;
        Maker { ppm: 0.0, pcr_ms: 35, origin, lead_ms: 600, video_type: 0x1B }
    }
}

/// What was ordered.
pub fn channel() -> Channel {
    let program = Program {
        number: 7,
        pmt_pid: PMT,
        pcr_pid: VIDEO,
        streams: vec![Stream::new(VIDEO, 0x1B), Stream::new(AUDIO, 0x0F)],
        service: Some(("Judges".to_owned(), "Über 7".to_owned())),
    };
    Channel { nit: true, ..Channel::single(RATE, program) }
}

/// Number of the packet that is sent at this time.
pub fn at_ms(ms: u64) -> usize {
    (ms * RATE / 1_504_000) as usize
}

/// PID of a packet.
pub fn pid(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1F, packet[2]])
}

pub fn null() -> Packet {
    let mut packet = [0xFF; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
    packet
}

/// Counts up on each PID.
pub fn count(packets: &mut [Packet]) {
    let mut counters = std::collections::HashMap::new();
    for packet in packets.iter_mut().filter(|packet| pid(packet) != 0x1FFF) {
        let counter: &mut u8 = counters.entry(pid(packet)).or_insert(15);
        if packet[3] & 0x10 != 0 {
            *counter = (*counter + 1) % 16;
        }
        packet[3] = packet[3] & 0xF0 | *counter;
    }
}

/// The sum of a section, by its polynomial, bit by bit.
pub fn sum(bytes: &[u8]) -> [u8; 4] {
    let mut rest = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| u32::from(byte >> n & 1))) {
        let out = rest >> 31 ^ bit;
        rest = rest << 1 ^ (0x04C1_1DB7 * out);
    }
    rest.to_be_bytes()
}

/// A packet with a long section.
pub fn table(pid: u16, table_id: u8, extension: u16, body: &[u8]) -> Packet {
    let mut section = vec![table_id, 0xB0, body.len() as u8 + 9];
    section.extend(extension.to_be_bytes());
    section.extend([0xC1, 0, 0]);
    section.extend(body);
    section.extend(sum(&section));
    single(pid, &section)
}

/// A packet with whatever section.
pub fn single(pid: u16, section: &[u8]) -> Packet {
    let mut packet = [0xFF; 188];
    packet[..5].copy_from_slice(&[0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10, 0]);
    packet[5..5 + section.len()].copy_from_slice(section);
    packet
}

fn pat() -> Packet {
    table(0, 0, 1, &[0, 7, 0xF0, 0])
}

pub fn pmt(video_type: u8, body: &[u8]) -> Packet {
    let streams = [&[0xE1, 0, 0xF0, 0, video_type, 0xE1, 0, 0xF0, 0][..], body].concat();
    table(PMT, 2, 7, &streams)
}

/// Sound of this type on its PID, as in a PMT.
pub const SOUND: [u8; 5] = [0x0F, 0xE1, 1, 0xF0, 0];

pub fn sdt(name: &[u8]) -> Packet {
    let mut names = vec![1, 6];
    names.extend(b"Judges");
    names.push(name.len() as u8);
    names.extend(name);
    let mut body = vec![0, 1, 0xFF, 0, 7, 0xFC, 0x80, names.len() as u8 + 2, 0x48, names.len() as u8];
    body.extend(names);
    table(0x11, 0x42, 1, &body)
}

fn nit() -> Packet {
    table(0x10, 0x40, 1, &[0xF0, 4, 0x40, 2, b'n', b't', 0xF0, 6, 0, 1, 0, 1, 0xF0, 0])
}

fn tdt() -> Packet {
    single(0x14, &[0x70, 0x70, 5, 0xC0, 0x79, 0x12, 0x45, 0x00])
}

/// Six bytes of an adaptation field.
pub fn pcr(ticks: u64) -> [u8; 6] {
    let [base, extension] = [ticks / 300 % (1 << 33), ticks % 300];
    let bits = base << 15 | 0x7E00 | extension;
    std::array::from_fn(|n| (bits >> (40 - 8 * n)) as u8)
}

/// The value of a PCR that was made here.
pub fn pcr_of(packet: &Packet) -> Option<u64> {
    let has = packet[3] & 0x20 != 0 && packet[4] == 183 && packet[5] & 0x10 != 0;
    let bits = packet[6..12].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    has.then_some((bits >> 15) * 300 + (bits & 0x1FF))
}

fn stamp(prefix: u8, time: u64) -> [u8; 5] {
    let time = time % (1 << 33);
    let high = prefix << 4 | (time >> 29) as u8 & 0x0E | 1;
    [high, (time >> 22) as u8, (time >> 14) as u8 | 1, (time >> 7) as u8, (time << 1) as u8 | 1]
}

/// Packets of a PES packet; the last is filled up by its adaptation field.
fn pes(pid: u16, bytes: &[u8], indicated: bool) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let first = packets.is_empty();
        let flags = if first && indicated { 0x40 } else { 0 };
        let room = if flags != 0 { 182 } else { 184 };
        let (now, later) = rest.split_at(room.min(rest.len()));
        let mut packet = [0xFF; 188];
        packet[..4].copy_from_slice(&[
            0x47,
            (pid >> 8) as u8 | if first { 0x40 } else { 0 },
            pid as u8,
            0x10,
        ]);
        if now.len() < 184 {
            packet[3] |= 0x20;
            packet[4] = 183 - now.len() as u8;
            if now.len() < 183 {
                packet[5] = flags;
            }
        }
        packet[188 - now.len()..].copy_from_slice(now);
        packets.push(packet);
        rest = later;
    }
    packets
}

impl Maker {
    /// Twelve seconds.
    pub fn make(&self) -> Vec<Packet> {
        let total = at_ms(SECONDS * 1000);
        let ticks = |n: usize| n as f64 * 1504.0 * 27e6 / (RATE as f64 * (1.0 + self.ppm / 1e6));
        let mut packets: Vec<Packet> = Vec::with_capacity(total);
        // PCR, PAT, PMT, SDT, NIT, TDT, picture, sound: when each is due next, in ms.
        let mut due = [0, 0, 10, 20, 30, 40, 0, 15];
        let every = [self.pcr_ms, 90, 90, 900, 5000, 5000, 40, 64];
        let (mut clock, mut tables, mut media) = (None, VecDeque::new(), VecDeque::new());
        let (mut picture, mut sound) = (0, 0);
        for n in 0..total {
            let now = ticks(n);
            let ms = (now / 27_000.0) as u64;
            for entry in 0..due.len() {
                if ms < due[entry] {
                    continue;
                }
                due[entry] += every[entry];
                match entry {
                    0 => clock = Some(()),
                    1 => tables.push_back(pat()),
                    2 => tables.push_back(pmt(self.video_type, &SOUND)),
                    3 => tables.push_back(sdt("\u{15}Über 7".as_bytes())),
                    4 => tables.push_back(nit()),
                    5 => tables.push_back(tdt()),
                    6 => {
                        media.extend(self.picture(picture));
                        picture += 1;
                    }
                    _ => {
                        media.extend(self.sound(sound));
                        sound += 1;
                    }
                }
            }
            packets.push(if clock.take().is_some() {
                let mut packet = [0xFF; 188];
                packet[..6].copy_from_slice(&[0x47, 1, 0, 0x20, 183, 0x10]);
                packet[6..12].copy_from_slice(&pcr(self.origin + now.round() as u64));
                packet
            } else {
                tables.pop_front().or_else(|| media.pop_front()).unwrap_or_else(null)
            });
        }
        count(&mut packets);
        packets
    }

    /// The `n`th picture; each 25th is an IDR, and of those between every third waits for two others.
    fn picture(&self, n: u64) -> Vec<Packet> {
        let dts = self.origin / 300 + (n * 40 + self.lead_ms) * 90;
        let (key, pts) = (n.is_multiple_of(25), dts + [40, 120, 40][n as usize % 3] * 90);
        let mut unit = vec![0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 10];
        unit.extend(stamp(3, pts));
        unit.extend(stamp(1, dts));
        let nals: &[&[u8]] = match (self.video_type, key) {
            (0x1B, true) => &[&[0x09, 0x10], &[0x67, 0x42, 0xC0, 0x1E], &[0x68, 0xCE], &[0x65, 0x88]],
            (0x1B, false) => &[&[0x09, 0x30], &[0x41, 0x9A]],
            (_, true) => &[&[0x46, 1, 0x10], &[0x40, 1, 2], &[0x42, 1, 2], &[0x44, 1, 2], &[0x26, 1, 0x80]],
            (_, false) => &[&[0x46, 1, 0x50], &[0x02, 1, 0x80]],
        };
        for nal in nals {
            unit.extend([0, 0, 0, 1]);
            unit.extend(*nal);
        }
        let slice = if key { 12_000 } else { 2500 + n as usize % 3 * 700 };
        unit.resize(unit.len() + slice, 0xA5);
        pes(VIDEO, &unit, key)
    }

    fn sound(&self, n: u64) -> Vec<Packet> {
        let pts = self.origin / 300 + (n * 64 + 15 + 500) * 90;
        let length = 700 + n as usize % 50;
        let said = (length as u16 + 8).to_be_bytes();
        let mut unit = vec![0, 0, 1, 0xC0, said[0], said[1], 0x80, 0x80, 5];
        unit.extend(stamp(2, pts));
        unit.extend([0xFF, 0xF1, 0x50, 0x80]);
        unit.resize(14 + length, 0x5A);
        pes(AUDIO, &unit, false)
    }
}
