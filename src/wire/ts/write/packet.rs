//! Packets (ISO/IEC 13818-1 section 2.4.3): a unit, which is a PES packet or a section, is cut into them.

use crate::wire::ts::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS, SYNC_BYTE};

/// Sync byte, PID, flags and counter.
const HEADER_BYTES: usize = 4;
/// What a packet without adaptation field carries.
pub const PAYLOAD_BYTES_MAX: usize = PACKET_BYTES - HEADER_BYTES;
/// Fills what is left of a packet, in adaptation fields and behind sections.
const STUFFING: [u8; PAYLOAD_BYTES_MAX] = [0xFF; PAYLOAD_BYTES_MAX];
/// Length, flags and PCR of an adaptation field.
const FIELD_BYTES_MAX: usize = 8;

/// `continuity_counter` of one PID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter(u8);

impl Counter {
    /// For the next packet with payload.
    fn take(&mut self) -> u8 {
        let value = self.0;
        self.0 = (value + 1) & 0x0F;
        value
    }

    /// What a packet without payload repeats: the value of the last one that had some.
    const fn last(self) -> u8 {
        self.0.wrapping_sub(1) & 0x0F
    }
}

/// What an adaptation field says, stuffing aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adaptation {
    /// Counters may jump here; on the PID with the PCR, the clock too.
    pub discontinuity: bool,
    /// A decoder can start with what follows.
    pub random_access: bool,
    /// What follows matters more than the rest (`elementary_stream_priority_indicator`).
    pub priority: bool,
    /// Program clock reference in ticks of 27 MHz, modulo 2^33 x 300.
    pub pcr: Option<u64>,
}

impl Adaptation {
    /// Bytes of the field with its length byte; 0 if there is nothing to say.
    const fn bytes(&self) -> usize {
        match (self.pcr, self.discontinuity || self.random_access || self.priority) {
            (Some(_), _) => FIELD_BYTES_MAX,
            (None, true) => 2,
            (None, false) => 0,
        }
    }
}

/// The head of a packet: everything in front of stuffing and payload.
struct Head {
    bytes: [u8; HEADER_BYTES + FIELD_BYTES_MAX],
    len: usize,
    stuffing: usize,
}

impl Head {
    /// `field` is what the adaptation field takes, its length byte and stuffing included: 0 or at least
    /// `says.bytes()`, at most 184.
    fn new(pid: u16, start: bool, counter: u8, says: &Adaptation, field: usize) -> Head {
        let control = match (field, PAYLOAD_BYTES_MAX - field) {
            (0, _) => 0x10,
            (_, 0) => 0x20,
            _ => 0x30,
        };
        let [high, low] = (pid & 0x1FFF).to_be_bytes();
        let flags = u8::from(says.discontinuity) << 7
            | u8::from(says.random_access) << 6
            | u8::from(says.priority) << 5
            | u8::from(says.pcr.is_some()) << 4;
        let pcr = says.pcr.unwrap_or(0);
        let (base, extension) = (pcr / PCR_TICKS % CLOCK_MODULUS, pcr % PCR_TICKS);
        // 33 bits of base, 6 reserved ones, 9 bits of extension.
        let [_, _, p0, p1, p2, p3, p4, p5] = (base << 15 | 0x3F << 9 | extension).to_be_bytes();
        let start = if start { 0x40 } else { 0 };
        let length = field.saturating_sub(1) as u8;
        let said = says.bytes().max(if field > 1 { 2 } else { 1 }).min(field);
        Head {
            bytes: [SYNC_BYTE, start | high, low, control | counter, length, flags, p0, p1, p2, p3, p4, p5],
            len: HEADER_BYTES + said,
            stuffing: field - said,
        }
    }

    fn write(&self, put: &mut impl FnMut(&[u8]) -> bool) -> bool {
        self.bytes.get(..self.len).is_some_and(&mut *put)
            && (self.stuffing == 0 || STUFFING.get(..self.stuffing).is_some_and(put))
    }
}

/// Packets of a unit of `bytes` whose first packet says `first`.
pub const fn packets_of(bytes: usize, first: &Adaptation) -> usize {
    let room = PAYLOAD_BYTES_MAX - first.bytes();
    if bytes <= room { 1 } else { 1 + (bytes - room).div_ceil(PAYLOAD_BYTES_MAX) }
}

/// Writes one PES packet, whose length is known, part by part. The last packet is filled by its adaptation field.
#[derive(Debug)]
pub struct UnitWriter<'c> {
    pid: u16,
    counter: &'c mut Counter,
    first: Adaptation,
    start: bool,
    /// Bytes of the unit that are not in a packet yet, and those that the current packet still takes.
    left: usize,
    room: usize,
}

impl<'c> UnitWriter<'c> {
    /// A unit of `bytes` on `pid`; its first packet says `first`.
    pub fn new(pid: u16, counter: &'c mut Counter, first: Adaptation, bytes: usize) -> UnitWriter<'c> {
        UnitWriter { pid, counter, first, start: true, left: bytes, room: 0 }
    }

    /// Hands the next `part`, with the packet headers that fall into it, to `put`. False if `put` said so, or if this is
    /// more than was announced.
    #[must_use]
    pub fn write(&mut self, mut part: &[u8], put: &mut impl FnMut(&[u8]) -> bool) -> bool {
        while !part.is_empty() {
            if self.room == 0 && !self.begin(put) {
                return false;
            }
            let (now, later) = part.split_at(part.len().min(self.room));
            if !put(now) {
                return false;
            }
            self.room -= now.len();
            part = later;
        }
        true
    }

    /// Whether all that was announced came.
    pub const fn is_whole(&self) -> bool {
        self.left == 0 && self.room == 0
    }

    fn begin(&mut self, put: &mut impl FnMut(&[u8]) -> bool) -> bool {
        if self.left == 0 {
            return false;
        }
        let (says, start) = (std::mem::take(&mut self.first), std::mem::take(&mut self.start));
        self.room = self.left.min(PAYLOAD_BYTES_MAX - says.bytes());
        self.left -= self.room;
        Head::new(self.pid, start, self.counter.take(), &says, PAYLOAD_BYTES_MAX - self.room).write(put)
    }
}

/// Writes a packet without payload, which says `says` (a PCR between frames, a discontinuity) and does not count.
#[must_use]
pub fn write_adaptation(
    pid: u16,
    counter: Counter,
    says: &Adaptation,
    put: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    Head::new(pid, false, counter.last(), says, PAYLOAD_BYTES_MAX).write(put)
}

/// Packets of a section of `bytes`.
pub const fn packets_of_section(bytes: usize) -> usize {
    (1 + bytes).div_ceil(PAYLOAD_BYTES_MAX)
}

/// Writes a section into packets of its own, the rest of the last one stuffed (section 2.4.4).
#[must_use]
pub fn write_section(
    pid: u16,
    counter: &mut Counter,
    section: &[u8],
    put: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let total = packets_of_section(section.len()) * PAYLOAD_BYTES_MAX;
    let filling = total - 1 - section.len();
    let mut unit = UnitWriter::new(pid, counter, Adaptation::default(), total);
    // The pointer field: the section begins at once.
    unit.write(&[0], put)
        && unit.write(section, put)
        && STUFFING.get(..filling).is_some_and(|filling| unit.write(filling, put))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(first: Adaptation, payload: &[u8], counter: &mut Counter) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |part: &[u8]| {
            out.extend(part);
            true
        };
        let mut writer = UnitWriter::new(0x100, counter, first, payload.len());
        for part in payload.chunks(50) {
            assert!(writer.write(part, &mut put));
        }
        assert!(writer.is_whole() && !writer.write(&[0], &mut put), "more than was announced");
        out
    }

    #[test]
    fn heads_are_those_of_ffmpeg() {
        // The first packet of its H.264 file: PID 0x100, start, PCR 63000 x 300, random access.
        let says = Adaptation { random_access: true, pcr: Some(63_000 * 300), ..Adaptation::default() };
        let out = unit(says, &[7; 400], &mut Counter::default());
        assert_eq!(out[..12], [0x47, 0x41, 0x00, 0x30, 7, 0x50, 0, 0, 0x7B, 0x0C, 0x7E, 0]);
        assert_eq!(out[188..192], [0x47, 0x01, 0x00, 0x11]);
        // The last one: 400 - 176 - 184 = 40 bytes of payload behind 144 of adaptation field.
        assert_eq!(out[376..383], [0x47, 0x01, 0x00, 0x32, 143, 0, 0xFF]);
        assert_eq!((out.len(), out[563]), (564, 7));
    }

    #[test]
    fn one_byte_short_is_a_field_of_length_zero() {
        let out = unit(Adaptation::default(), &[9; 183], &mut Counter(15));
        assert_eq!(out[..6], [0x47, 0x41, 0x00, 0x3F, 0, 9]);
        assert_eq!(out.len(), 188);
    }

    #[test]
    fn a_packet_without_payload_repeats_the_counter() {
        let mut counter = Counter::default();
        unit(Adaptation::default(), &[1; 184 * 3], &mut counter);
        let mut out: Vec<u8> = Vec::new();
        let says = Adaptation { discontinuity: true, ..Adaptation::default() };
        assert!(write_adaptation(0x1FFF, counter, &says, &mut |part: &[u8]| {
            out.extend(part);
            true
        }));
        assert_eq!(out[..7], [0x47, 0x1F, 0xFF, 0x22, 183, 0x80, 0xFF]);
        assert_eq!(out.len(), 188);
    }

    #[test]
    fn pcr_wraps() {
        let says = |pcr| Adaptation { pcr: Some(pcr), ..Adaptation::default() };
        let at = |pcr: u64| Head::new(0, false, 0, &says(pcr), 184).bytes[6..12].to_vec();
        assert_eq!(at(0), [0, 0, 0, 0, 0x7E, 0]);
        assert_eq!(at((1 << 33) * 300), at(0));
        assert_eq!(at((1 << 33) * 300 - 1), [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x2B]);
    }

    #[test]
    fn sections_start_at_once_and_are_stuffed() {
        for (len, packets) in [(16, 1), (183, 1), (184, 2), (1021, 6)] {
            let section: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (mut out, mut counter) = (Vec::new(), Counter::default());
            assert!(write_section(0x1000, &mut counter, &section, &mut |part: &[u8]| {
                out.extend(part);
                true
            }));
            assert_eq!((out.len(), packets_of_section(len)), (packets * 188, packets));
            assert_eq!(out[..5], [0x47, 0x50, 0x00, 0x10, 0]);
            let payload: Vec<u8> = out.chunks(188).flat_map(|packet| packet[4..].to_vec()).collect();
            assert_eq!(payload[1..=len], section);
            assert!(payload[len + 1..].iter().all(|byte| *byte == 0xFF));
        }
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(len in 1usize..2000, random_access: bool, pcr in proptest::option::of(0u64..1 << 41)) {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let first = Adaptation { random_access, pcr, ..Adaptation::default() };
            let out = unit(first, &payload, &mut Counter(3));
            prop_assert_eq!(out.len(), packets_of(len, &first) * 188);
            let mut read: Vec<u8> = Vec::new();
            for (at, packet) in out.chunks(188).enumerate() {
                prop_assert_eq!((packet[0], packet[1] & 0x40 != 0), (0x47, at == 0));
                prop_assert_eq!(usize::from(packet[3] & 15), (3 + at) % 16);
                let field = if packet[3] & 0x20 != 0 { 1 + usize::from(packet[4]) } else { 0 };
                read.extend(&packet[4 + field..]);
            }
            prop_assert_eq!(read, payload);
        }
    }
}
