//! Sections (ISO/IEC 13818-1 section 2.4.4): put together from packets, within bounds that no stream moves.

use super::{PIDS, crc::crc32, packet::Packet};

/// Bytes of the longest section: 12 bits of length, of which the highest values are not allowed (section 2.4.4.11).
pub const SECTION_BYTES_MAX: usize = 4096;
/// Sections that may be unfinished at a time, each on a PID of its own; beyond it one of them is dropped. A multiplex of
/// satellite television has some 200 PIDs with sections.
pub const OPEN_SECTIONS_MAX: usize = 480;
/// Attack T1 names 4 MiB for everything; half of that leaves room for what is made of sections.
const _: () = assert!(OPEN_SECTIONS_MAX * SECTION_BYTES_MAX < 2 << 20);

/// `table_id` of stuffing behind the last section of a packet.
const STUFFING: u8 = 0xFF;
/// Bytes in front of what `section_length` counts.
const LENGTH_END: usize = 3;
/// No counter was seen on this PID.
const UNKNOWN: u8 = 0xFF;
/// The PID has no unfinished section.
const CLOSED: u16 = u16::MAX;

/// One whole section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    bytes: &'a [u8],
}

impl<'a> Section<'a> {
    /// A section of exactly these bytes; `None` if the length in them is another.
    pub fn new(bytes: &'a [u8]) -> Option<Section<'a>> {
        (length_of(bytes)? == bytes.len()).then_some(Section { bytes })
    }

    /// All its bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// `table_id`.
    pub fn table_id(self) -> u8 {
        self.byte(0)
    }

    /// `section_syntax_indicator`: it has an extension, a version, numbers and a CRC.
    pub fn is_long(self) -> bool {
        self.byte(1) & 0x80 != 0
    }

    /// `table_id_extension`: the transport stream of a PAT, the program of a PMT, the service of an EIT. 0 for short ones.
    pub fn extension(self) -> u16 {
        if self.is_long() { u16::from_be_bytes([self.byte(3), self.byte(4)]) } else { 0 }
    }

    /// `version_number`, 5 bits.
    pub fn version(self) -> u8 {
        self.byte(5) >> 1 & 0x1F
    }

    /// `current_next_indicator`: it applies now.
    pub fn is_current(self) -> bool {
        self.byte(5) & 1 != 0
    }

    /// `section_number`.
    pub fn number(self) -> u8 {
        self.byte(6)
    }

    /// `last_section_number`.
    pub fn last_number(self) -> u8 {
        self.byte(7)
    }

    /// Its last four bytes, which are its CRC where it has one: different contents, different sum.
    pub fn crc(self) -> u32 {
        self.bytes.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Whether the CRC fits. Short sections have none, but for the time offset table.
    pub fn crc_ok(self) -> bool {
        !(self.is_long() || self.table_id() == super::tables::TOT) || crc32(self.bytes) == 0
    }

    /// What stands between the header and the CRC.
    pub fn body(self) -> &'a [u8] {
        let (head, tail) = match (self.is_long(), self.table_id()) {
            (true, _) => (8, 4),
            (false, super::tables::TOT) => (LENGTH_END, 4),
            (false, _) => (LENGTH_END, 0),
        };
        self.bytes.get(head..self.bytes.len().saturating_sub(tail)).unwrap_or_default()
    }

    fn byte(self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }
}

/// Bytes of the section that begins with `bytes`; `None` before its third.
fn length_of(bytes: &[u8]) -> Option<usize> {
    let [_, high, low, ..] = *bytes else { return None };
    Some(LENGTH_END + usize::from(u16::from_be_bytes([high & 0x0F, low])))
}

/// Puts the sections of any number of PIDs together.
///
/// A packet that is lost or comes twice is seen by its counter: the section that it belonged to is dropped, or its copy
/// ignored. Sections that one packet holds as a whole are told from where they are; only those that span packets are
/// copied.
#[derive(Clone, Debug)]
pub struct Assembler {
    /// Last counter by PID.
    counters: Box<[u8; PIDS]>,
    /// Index into `open` by PID.
    slots: Box<[u16; PIDS]>,
    open: Vec<Open>,
    /// Slots without a section; their buffers are kept.
    free: Vec<u16>,
    /// The slot that is taken next when there is none free: each gets its turn.
    hand: usize,
    dropped: u64,
}

/// An unfinished section.
#[derive(Clone, Debug, Default)]
struct Open {
    pid: u16,
    bytes: Vec<u8>,
}

impl Default for Assembler {
    fn default() -> Assembler {
        Assembler {
            counters: Box::new([UNKNOWN; PIDS]),
            slots: Box::new([CLOSED; PIDS]),
            open: Vec::new(),
            free: Vec::new(),
            hand: 0,
            dropped: 0,
        }
    }
}

impl Assembler {
    /// An empty one.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Sections that were begun and could not be finished.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes held in unfinished sections and for further ones.
    pub fn heap_bytes(&self) -> usize {
        let fixed = PIDS * (size_of::<u8>() + size_of::<u16>());
        let indices = self.free.capacity() * size_of::<u16>();
        let buffers: usize = self.open.iter().map(|open| open.bytes.capacity()).sum();
        fixed + indices + buffers + self.open.capacity() * size_of::<Open>()
    }

    /// Forgets what was seen on a PID, because packets of it were lost or it means something else now.
    pub fn reset(&mut self, pid: u16) {
        if let Some(counter) = self.counters.get_mut(usize::from(pid)) {
            *counter = UNKNOWN;
        }
        self.close(pid, true);
    }

    /// Reads a packet of a PID that carries sections. `tell` gets each section that ends in it, in order. Packets with
    /// `error` set or scrambled payload must not come here.
    pub fn push(&mut self, packet: &Packet<'_>, mut tell: impl FnMut(Section<'_>)) {
        let pid = packet.pid;
        let Some(counter) = self.counters.get_mut(usize::from(pid)) else { return };
        if !packet.has_payload {
            return;
        }
        let before = std::mem::replace(counter, packet.continuity);
        if before == packet.continuity && !packet.discontinuity() {
            return;
        }
        if before != UNKNOWN && (before + 1) & 0x0F != packet.continuity {
            self.close(pid, true);
        }
        if !packet.unit_start {
            self.extend(pid, packet.payload, &mut tell);
            return;
        }
        let Some((&pointer, rest)) = packet.payload.split_first() else {
            self.close(pid, true);
            return;
        };
        // A pointer past the end leaves nothing to trust.
        let Some((tail, mut rest)) = rest.split_at_checked(usize::from(pointer)) else {
            self.close(pid, true);
            return;
        };
        self.extend(pid, tail, &mut tell);
        // What did not end where the next one begins never will.
        self.close(pid, true);
        while rest.first().is_some_and(|table_id| *table_id != STUFFING) {
            match length_of(rest) {
                Some(length) if length > SECTION_BYTES_MAX => {
                    self.dropped += 1;
                    return;
                }
                Some(length) if length <= rest.len() => {
                    let (whole, behind) = rest.split_at(length);
                    tell(Section { bytes: whole });
                    rest = behind;
                }
                _ => {
                    self.begin(pid, rest);
                    return;
                }
            }
        }
    }

    /// Keeps the beginning of a section whose end is in a later packet.
    fn begin(&mut self, pid: u16, bytes: &[u8]) {
        if self.free.is_empty() && self.open.len() >= OPEN_SECTIONS_MAX {
            // None is free, so the one at the hand is in use.
            let victim = self.open.get(self.hand).map(|open| open.pid);
            self.hand = (self.hand + 1) % OPEN_SECTIONS_MAX;
            if let Some(victim) = victim {
                self.close(victim, true);
            }
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.open.push(Open::default());
            (self.open.len() - 1) as u16
        });
        if let (Some(open), Some(place)) =
            (self.open.get_mut(usize::from(slot)), self.slots.get_mut(usize::from(pid)))
        {
            open.pid = pid;
            open.bytes.clear();
            open.bytes.extend_from_slice(bytes);
            *place = slot;
        }
    }

    /// Adds to the unfinished section of a PID, if there is one.
    fn extend(&mut self, pid: u16, more: &[u8], tell: &mut impl FnMut(Section<'_>)) {
        let slot = self.slots.get(usize::from(pid)).copied().unwrap_or(CLOSED);
        let Some(open) = self.open.get_mut(usize::from(slot)) else { return };
        // First as much as tells the length, then no byte more than that.
        let mut more = more;
        let missing = LENGTH_END.saturating_sub(open.bytes.len()).min(more.len());
        let (head, rest) = more.split_at(missing);
        open.bytes.extend_from_slice(head);
        more = rest;
        let Some(length) = length_of(&open.bytes) else { return };
        if length > SECTION_BYTES_MAX {
            self.close(pid, true);
            return;
        }
        let missing = length.saturating_sub(open.bytes.len()).min(more.len());
        open.bytes.reserve_exact(length.saturating_sub(open.bytes.len()));
        open.bytes.extend_from_slice(more.get(..missing).unwrap_or_default());
        if open.bytes.len() >= length {
            if let Some(section) = Section::new(&open.bytes) {
                tell(section);
            }
            self.close(pid, false);
        }
    }

    fn close(&mut self, pid: u16, unfinished: bool) {
        let Some(place) = self.slots.get_mut(usize::from(pid)) else { return };
        let slot = std::mem::replace(place, CLOSED);
        if slot == CLOSED {
            return;
        }
        self.dropped += u64::from(unfinished);
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::PACKET_BYTES;

    /// A packet of PID 0x20 with this counter and payload, filled up with stuffing.
    fn packet(pid: u16, continuity: u8, start: bool, payload: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xFF; PACKET_BYTES];
        let [high, low] = pid.to_be_bytes();
        bytes[..4].copy_from_slice(&[0x47, high | u8::from(start) << 6, low, 0x10 | continuity & 0x0F]);
        bytes[4..4 + payload.len()].copy_from_slice(payload);
        bytes
    }

    fn section(table_id: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![table_id, 0x30 | (length >> 8) as u8, length as u8];
        bytes.extend((0..length).map(|n| n as u8));
        bytes
    }

    fn run(packets: &[[u8; PACKET_BYTES]]) -> (Vec<(u8, usize)>, u64) {
        let (mut assembler, mut seen) = (Assembler::new(), Vec::new());
        for bytes in packets {
            assembler.push(&Packet::parse(bytes), |section| {
                assert!(section.body().iter().enumerate().all(|(n, byte)| *byte == n as u8));
                seen.push((section.table_id(), section.bytes().len()));
            });
        }
        (seen, assembler.dropped())
    }

    #[test]
    fn whole_spanning_and_several() {
        let two = [&[0][..], &section(1, 50), &section(2, 60)].concat();
        assert_eq!(run(&[packet(32, 0, true, &two)]), (vec![(1, 53), (2, 63)], 0));

        let long = [&[0][..], &section(3, 400)].concat();
        let pieces = [
            packet(32, 14, true, &long[..184]),
            packet(32, 15, false, &long[184..368]),
            packet(32, 0, true, &[&[36][..], &long[368..], &section(4, 10)].concat()),
        ];
        assert_eq!(run(&pieces), (vec![(3, 403), (4, 13)], 0));
        // The same with each packet sent twice, which is allowed once.
        assert_eq!(run(&pieces.map(|bytes| [bytes, bytes]).concat()), (vec![(3, 403), (4, 13)], 0));
        // Without the one in the middle only what begins behind it is there.
        assert_eq!(run(&[pieces[0], pieces[2]]), (vec![(4, 13)], 1));
        // The start of the next section cuts one that is longer than what came.
        let cut = [pieces[0], packet(32, 15, true, &[&[0][..], &section(5, 9)].concat())];
        assert_eq!(run(&cut), (vec![(5, 12)], 1));
    }

    #[test]
    fn a_header_may_be_cut_anywhere() {
        for cut in 1..4 {
            let filler = section(1, 183 - 3 - cut);
            let next = section(2, 20);
            let packets = [
                packet(32, 0, true, &[&[0][..], &filler, &next[..cut]].concat()),
                packet(32, 1, false, &next[cut..]),
            ];
            assert_eq!(run(&packets).0, [(1, filler.len()), (2, 23)], "after {cut}");
        }
    }

    #[test]
    fn nonsense_is_dropped() {
        assert_eq!(run(&[packet(32, 0, true, &[200, 1, 2])]), (vec![], 0), "pointer past the end");
        assert_eq!(run(&[packet(32, 0, true, &[0, 1, 0xFF, 0xFF])]), (vec![], 1), "longer than allowed");
        assert_eq!(run(&[packet(32, 0, false, &section(1, 9))]), (vec![], 0), "no start yet");
        assert!(Section::new(&[1, 0, 5, 0]).is_none() && Section::new(&[1, 0]).is_none());
        let empty = Section::new(&[0x70, 0x80, 0]).unwrap();
        assert_eq!(
            (empty.extension(), empty.version(), empty.crc_ok(), empty.body()),
            (0, 0, false, &[][..])
        );
    }

    /// T1: sections of the greatest length, begun on every PID and never finished.
    #[test]
    fn t1_unfinished_sections_are_bounded() {
        let mut assembler = Assembler::new();
        let filler = [0x42; 184];
        for round in 0..25u8 {
            for pid in 0..PIDS as u16 {
                let bytes = match round {
                    0 => packet(pid, 0, true, &[&[0, 0x42, 0x3F, 0xFD][..], &filler[4..]].concat()),
                    _ => packet(pid, round, false, &filler),
                };
                assembler.push(&Packet::parse(&bytes), |_| {});
            }
            assert!(assembler.heap_bytes() <= 2 << 20, "{}", assembler.heap_bytes());
        }
        // The PIDs that came last are still whole, and all others can begin again.
        let mut seen = 0;
        let small = [&[0][..], &section(0, 30)].concat();
        for pid in 0..PIDS as u16 {
            assembler.push(&Packet::parse(&packet(pid, 9, true, &small)), |_| seen += 1);
        }
        assert_eq!(seen, PIDS);
    }
}
