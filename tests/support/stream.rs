//! A transport stream made packet by packet from the tables of the standard, for tests that break it. It shares no line
//! with `src/`: a reader and a writer by one hand agree on their mistakes.

use std::collections::{HashMap, VecDeque};

/// Bits a second of the whole multiplex.
pub const RATE: u64 = 4_000_000;
pub const VIDEO: u16 = 0x100;
pub const AUDIO: u16 = 0x101;
pub const PMT: u16 = 0x1000;
pub const SDT: u16 = 0x11;

/// One packet, and what it was made for: `psi`, `video`, `audio`, `pcr`, `null`.
#[derive(Clone)]
pub struct Packet {
    pub bytes: [u8; 188],
    pub what: &'static str,
}

impl Packet {
    pub fn pid(&self) -> u16 {
        u16::from(self.bytes[1] & 0x1F) << 8 | u16::from(self.bytes[2])
    }

    pub fn starts(&self) -> bool {
        self.bytes[1] & 0x40 != 0
    }
}

/// Ticks of 27 MHz at which packet `n` begins.
pub fn ticks(n: usize) -> u64 {
    n as u64 * 188 * 8 * 27_000_000 / RATE
}

/// Packet that is sent at this time.
pub fn at_ms(ms: u64) -> usize {
    (ms * RATE / 1000 / 188 / 8) as usize
}

fn crc(bytes: &[u8]) -> u32 {
    let mut register = 0xFFFF_FFFFu32;
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1)) {
        let out = register >> 31 == 1;
        register <<= 1;
        if out != bit {
            register ^= 0x04C1_1DB7;
        }
    }
    register
}

/// A long section with its CRC, the only one of its table.
pub fn section(table_id: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    numbered_section(table_id, extension, version, (0, 0), body)
}

/// A long section with its CRC; `numbers`: its own and the last.
pub fn numbered_section(
    table_id: u8,
    extension: u16,
    version: u8,
    numbers: (u8, u8),
    body: &[u8],
) -> Vec<u8> {
    let length = body.len() + 9;
    let mut bytes = vec![table_id, 0xB0 | (length >> 8) as u8, length as u8];
    bytes.extend([(extension >> 8) as u8, extension as u8, 0xC1 | version << 1, numbers.0, numbers.1]);
    bytes.extend(body);
    let sum = crc(&bytes);
    bytes.extend([24, 16, 8, 0].map(|shift| (sum >> shift) as u8));
    bytes
}

/// A packet with a whole section; its counter is set later.
pub fn section_packet(pid: u16, section: &[u8]) -> [u8; 188] {
    let mut bytes = [0xFF; 188];
    bytes[..5].copy_from_slice(&[0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10, 0]);
    bytes[5..5 + section.len()].copy_from_slice(section);
    bytes
}

pub fn pat() -> Vec<u8> {
    section(0, 1, 0, &[0, 1, 0xE0 | (PMT >> 8) as u8, PMT as u8])
}

pub fn pmt() -> Vec<u8> {
    pmt_with_clock(0, VIDEO)
}

/// The program map with another PCR PID.
pub fn pmt_with_clock(version: u8, pcr_pid: u16) -> Vec<u8> {
    let video = [0x1B, 0xE1, 0x00, 0xF0, 0];
    let audio = [0x0F, 0xE1, 0x01, 0xF0, 6, 0x0A, 4, b'd', b'e', b'u', 0];
    let head = [0xE0 | (pcr_pid >> 8) as u8, pcr_pid as u8, 0xF0, 0];
    section(2, 1, version, &[&head[..], &video, &audio].concat())
}

pub fn sdt() -> Vec<u8> {
    let names = b"\x48\x0f\x01\x05Tests\x07\x15Eins \xC3\xA4";
    let mut names = names.to_vec();
    names[1] = names.len() as u8 - 2;
    names[9] = names.len() as u8 - 10;
    let mut body = vec![0, 1, 0xFF, 0, 1, 0xFC, 0x80, names.len() as u8];
    body.extend(names);
    section(0x42, 1, 0, &body)
}

/// Six bytes of an adaptation field.
pub fn pcr_bytes(ticks: u64) -> [u8; 6] {
    let (base, extension) = (ticks / 300 % (1 << 33), ticks % 300);
    let value = base << 15 | 0x3F << 9 | extension;
    [40, 32, 24, 16, 8, 0].map(|shift| (value >> shift) as u8)
}

/// Sets the PCR of a packet made here as `pcr`.
pub fn set_pcr(packet: &mut Packet, ticks: u64) {
    assert_eq!(packet.what, "pcr");
    packet.bytes[6..12].copy_from_slice(&pcr_bytes(ticks));
}

/// Five bytes of a lone PTS.
fn pts_bytes(pts: u64) -> [u8; 5] {
    let part = |shift: u32, bits: u32| (pts >> shift & ((1 << bits) - 1)) as u8;
    [0x21 | part(30, 3) << 1, part(22, 8), part(15, 7) << 1 | 1, part(7, 8), part(0, 7) << 1 | 1]
}

fn media(pid: u16, start: Option<(u8, u64)>) -> [u8; 188] {
    let mut bytes = [0x5A; 188];
    bytes[..4].copy_from_slice(&[0x47, (pid >> 8) as u8, pid as u8, 0x10]);
    if let Some((stream_id, pts)) = start {
        bytes[1] |= 0x40;
        bytes[4..13].copy_from_slice(&[0, 0, 1, stream_id, 0, 0, 0x84, 0x80, 5]);
        bytes[13..18].copy_from_slice(&pts_bytes(pts));
    }
    bytes
}

/// `seconds` of [`Clean`], its clock from 0 on.
pub fn clean(seconds: u64) -> Vec<Packet> {
    Clean::from(0).take(at_ms(seconds * 1000)).collect()
}

/// A constant rate without end: PAT and PMT each 100 ms, SDT each second, a PCR each 35 ms, 25 pictures a second of ten
/// packets, sound each 64 ms, half a second in front of the clock, and nulls.
pub struct Clean {
    /// Ticks of 27 MHz at which the clock begins.
    origin: u64,
    n: usize,
    queue: VecDeque<(&'static str, [u8; 188])>,
    /// When each kind is due next, in milliseconds.
    due: [u64; 5],
    counters: HashMap<u16, u8>,
}

impl Clean {
    pub fn from(origin: u64) -> Clean {
        Clean { origin, n: 0, queue: VecDeque::new(), due: [0; 5], counters: HashMap::new() }
    }
}

impl Iterator for Clean {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        let n = self.n;
        self.n += 1;
        let now_ms = ticks(n) / 27_000;
        let pts = (self.origin / 300 + now_ms * 90 + 45_000) % (1 << 33);
        for (entry, interval) in [100, 100, 1000, 40, 64].into_iter().enumerate() {
            if now_ms < self.due[entry] {
                continue;
            }
            self.due[entry] += interval;
            let queue = &mut self.queue;
            match entry {
                0 => queue.push_back(("psi", section_packet(0, &pat()))),
                1 => queue.push_back(("psi", section_packet(PMT, &pmt()))),
                2 => queue.push_back(("psi", section_packet(SDT, &sdt()))),
                3 => {
                    queue.push_back(("video", media(VIDEO, Some((0xE0, pts)))));
                    (1..10).for_each(|_| queue.push_back(("video", media(VIDEO, None))));
                }
                _ => {
                    queue.push_back(("audio", media(AUDIO, Some((0xC0, pts)))));
                    queue.push_back(("audio", media(AUDIO, None)));
                }
            }
        }
        let (what, bytes) = if n.is_multiple_of(at_ms(35)) {
            let mut bytes = [0xFF; 188];
            bytes[..6].copy_from_slice(&[0x47, 0x01, 0x00, 0x20, 183, 0x10]);
            bytes[6..12].copy_from_slice(&pcr_bytes(self.origin + ticks(n)));
            ("pcr", bytes)
        } else {
            self.queue.pop_front().unwrap_or_else(|| {
                let mut bytes = [0xFF; 188];
                bytes[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
                ("null", bytes)
            })
        };
        let mut packet = Packet { bytes, what };
        count(&mut self.counters, &mut packet);
        Some(packet)
    }
}

/// Sets all counters as a multiplexer would.
pub fn count_up(packets: &mut [Packet]) {
    let mut counters = HashMap::new();
    packets.iter_mut().for_each(|packet| count(&mut counters, packet));
}

fn count(counters: &mut HashMap<u16, u8>, packet: &mut Packet) {
    if packet.what == "null" {
        return;
    }
    let counter = counters.entry(packet.pid()).or_insert(0);
    if packet.bytes[3] & 0x10 != 0 {
        *counter = (*counter + 1) & 0x0F;
    }
    packet.bytes[3] = packet.bytes[3] & 0xF0 | *counter;
}

/// All bytes.
pub fn bytes(packets: &[Packet]) -> Vec<u8> {
    packets.iter().flat_map(|packet| packet.bytes).collect()
}

/// An RTP header in front of packets.
pub fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, 33, (sequence >> 8) as u8, sequence as u8, 0, 0, 0, 0, 1, 2, 3, 4];
    bytes.extend(payload);
    bytes
}
