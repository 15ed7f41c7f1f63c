//! What is changed in a packet on its way: PID, counter, clock, and the times of a PES header. Nothing else is.

use crate::wire::ts::packet::Packet;
use crate::wire::ts::write::pes::timestamp;
use crate::wire::ts::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS, SYNC_BYTE, pid};

type Bytes = [u8; PACKET_BYTES];

/// Bytes of a PCR in an adaptation field.
const PCR_BYTES: usize = 6;
/// First byte of the PCR, if there is one.
const PCR_AT: usize = 6;

/// A packet that only fills.
pub(super) const NULL: Bytes = {
    let mut bytes = [0xFF; PACKET_BYTES];
    bytes[0] = SYNC_BYTE;
    bytes[1] = (pid::NULL >> 8) as u8;
    bytes[2] = (pid::NULL & 0xFF) as u8;
    bytes[3] = 0x10;
    bytes
};

/// Copies a packet, in two pieces: what is longer than 128 bytes would be a call, seven times a datagram.
pub(super) fn copy(to: &mut Bytes, from: &Bytes) {
    const HALF: usize = PACKET_BYTES / 2;
    let (Some(first), Some(last)) = (from.first_chunk::<HALF>(), from.last_chunk::<HALF>()) else { return };
    if let Some(to) = to.first_chunk_mut() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut() {
        *to = *last;
    }
}

/// PID and counter; no error, in the clear. Start of a unit, priority and what the packet consists of stay.
pub(super) fn head(packet: &mut Bytes, pid: u16, counter: u8) {
    let [high, low] = (pid & 0x1FFF).to_be_bytes();
    packet[1] = packet[1] & 0x60 | high;
    packet[2] = low;
    packet[3] = packet[3] & 0x30 | counter & 0x0F;
}

/// Takes out what the source said of its counters and its clock: `discontinuity_indicator`, and the PCR, which becomes
/// `pcr` or, if that is `None`, goes. Tells whether the packet has a PCR now.
pub(super) fn adaptation(packet: &mut Bytes, pcr: Option<u64>) -> bool {
    let length = usize::from(packet[4]);
    if packet[3] & 0x20 == 0 || length == 0 {
        return false;
    }
    packet[5] &= 0x7F;
    if packet[5] & 0x10 == 0 || length < 1 + PCR_BYTES {
        return false;
    }
    if let Some(pcr) = pcr {
        packet[PCR_AT..PCR_AT + PCR_BYTES].copy_from_slice(&pcr_bytes(pcr));
        return true;
    }
    packet[5] &= 0xEF;
    // What follows moves up; what becomes free is stuffing.
    let end = (5 + length).min(PACKET_BYTES);
    if let Some(field) = packet.get_mut(PCR_AT..end) {
        field.copy_within(PCR_BYTES.., 0);
        let free = field.len() - PCR_BYTES;
        if let Some(free) = field.get_mut(free..) {
            free.fill(0xFF);
        }
    }
    false
}

/// A packet with nothing but a PCR. It repeats the counter of the last packet with payload. `announce`: the clock begins
/// here.
pub(super) fn clock(packet: &mut Bytes, pid: u16, counter: u8, pcr: u64, announce: bool) {
    *packet = [0xFF; PACKET_BYTES];
    packet[0] = SYNC_BYTE;
    packet[1] = 0;
    packet[3] = 0x20;
    packet[4] = (PACKET_BYTES - 5) as u8;
    packet[5] = 0x10 | u8::from(announce) << 7;
    packet[PCR_AT..PCR_AT + PCR_BYTES].copy_from_slice(&pcr_bytes(pcr));
    head(packet, pid, counter);
}

/// Puts other times into the PES header that begins in this packet, as many as it has. Ticks of 90 kHz, modulo 2^33.
pub(super) fn times(packet: &mut Bytes, pts: u64, dts: u64) {
    let payload = PACKET_BYTES - Packet::parse(packet).payload.len();
    let Some(header) = packet.get_mut(payload..) else { return };
    let Some(which) = header.get(7).map(|flags| flags >> 6) else { return };
    let mut put = |at: usize, mark: u8, ticks: u64| {
        if let Some(field) = header.get_mut(at..at + 5) {
            field.copy_from_slice(&timestamp(mark, ticks));
        }
    };
    match which {
        0b10 => put(9, 0b0010, pts),
        0b11 => {
            put(9, 0b0011, pts);
            put(14, 0b0001, dts);
        }
        _ => {}
    }
}

/// Mux time in ticks of 27 MHz as a time of 33 bits and 90 kHz.
pub(super) fn ticks_90k(clock: u64, time: i64) -> u64 {
    let scale = PCR_TICKS as i64;
    let sum = (clock % super::ticker::MODULUS) as i64 + time;
    (sum.div_euclid(scale)).rem_euclid(CLOCK_MODULUS as i64) as u64
}

/// 33 bits of 90 kHz, 6 reserved, 9 bits of 27 MHz (ISO/IEC 13818-1 section 2.4.3.5).
fn pcr_bytes(pcr: u64) -> [u8; PCR_BYTES] {
    let (base, extension) = (pcr / PCR_TICKS % CLOCK_MODULUS, pcr % PCR_TICKS);
    let [_, _, bytes @ ..] = (base << 15 | 0x3F << 9 | extension).to_be_bytes();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::pes::PesHeader;

    fn parse(bytes: &Bytes) -> Packet<'_> {
        Packet::parse(bytes)
    }

    #[test]
    fn a_null_is_a_null() {
        assert_eq!((parse(&NULL).pid, parse(&NULL).payload.len(), NULL[4]), (0x1FFF, 184, 0xFF));
    }

    #[test]
    fn head_keeps_what_a_packet_is() {
        let mut bytes = [0x47; PACKET_BYTES];
        bytes[1..4].copy_from_slice(&[0xFF, 0xFF, 0xFF]);
        head(&mut bytes, 0x0123, 0x1E);
        assert_eq!(bytes[1..4], [0x61, 0x23, 0x3E]);
    }

    #[test]
    fn clocks() {
        let mut bytes = NULL;
        clock(&mut bytes, 0x123, 9, 300 * 7 + 5, true);
        let view = parse(&bytes);
        assert_eq!((view.pid, view.continuity, view.has_payload, view.malformed), (0x123, 9, false, false));
        assert_eq!((view.pcr(), view.discontinuity()), (Some(300 * 7 + 5), true));
        clock(&mut bytes, 0x123, 9, super::super::ticker::MODULUS - 1, false);
        assert_eq!((parse(&bytes).pcr(), parse(&bytes).discontinuity()), (Some((1 << 33) * 300 - 1), false));
    }

    #[test]
    fn the_sources_clock_is_replaced_or_goes() {
        // Discontinuity, random access, PCR, private data of two bytes, one of stuffing.
        let mut field = vec![0x47, 0x41, 0, 0x30, 11, 0xD2, 1, 2, 3, 4, 5, 6, 2, 8, 9, 0xFF];
        field.resize(PACKET_BYTES, 0xAA);
        let original: Bytes = field.try_into().unwrap();
        let mut bytes = original;
        assert!(adaptation(&mut bytes, Some(77)));
        let view = parse(&bytes);
        assert_eq!((view.pcr(), view.discontinuity()), (Some(77), false));
        let mut bytes = original;
        assert!(!adaptation(&mut bytes, None));
        let view = parse(&bytes);
        let said = view.adaptation.unwrap();
        assert_eq!((said.pcr, said.discontinuity, said.random_access), (None, false, true));
        assert_eq!((said.private_data, view.payload.len()), (Some(&[8, 9][..]), 172));
        assert_eq!(bytes[9..16], [0xFF; 7]);
        // Fields that promise a PCR and have no room for it are none.
        for length in 0..7 {
            let mut bytes = original;
            bytes[4] = length;
            let before = bytes;
            assert!(!adaptation(&mut bytes, Some(77)), "{length}");
            assert_eq!(bytes[6..], before[6..], "{length}");
        }
    }

    #[test]
    fn times_of_every_header() {
        let end = CLOCK_MODULUS - 1;
        for (flags, count, expected) in
            [(0x80, 5, (Some(end), None)), (0xC0, 10, (Some(end), Some(5))), (0x00, 0, (None, None))]
        {
            let mut bytes = [0xAA; PACKET_BYTES];
            bytes[..13].copy_from_slice(&[0x47, 0x41, 0, 0x10, 0, 0, 1, 0xE0, 0, 0, 0x84, flags, count]);
            bytes[13..23].copy_from_slice(&[0x21, 0, 1, 0, 1, 0x11, 0, 1, 0, 1]);
            times(&mut bytes, end, 5);
            let header = PesHeader::parse(parse(&bytes).payload).unwrap();
            assert_eq!((header.pts, header.dts), expected, "{flags:#x}");
            assert!(bytes[23..].iter().all(|byte| *byte == 0xAA));
        }
        // A payload that ends inside of the header: nothing to change, and nothing breaks.
        for field in 170..=183 {
            let mut bytes = [0xC0; PACKET_BYTES];
            bytes[..5].copy_from_slice(&[0x47, 0x41, 0, 0x30, field]);
            bytes[5] = 0;
            times(&mut bytes, 1, 1);
        }
    }

    #[test]
    fn times_of_the_mux_wrap() {
        assert_eq!(ticks_90k(0, 3000), 10);
        assert_eq!(ticks_90k(super::super::ticker::MODULUS - 300, 600), 1);
        assert_eq!(ticks_90k(0, -1), CLOCK_MODULUS - 1);
    }
}
