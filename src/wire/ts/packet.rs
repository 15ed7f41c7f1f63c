//! One transport packet (ISO/IEC 13818-1 section 2.4.3): header, adaptation field, payload.

use super::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS};

/// Bytes of the header in front of the adaptation field or the payload.
const HEADER_BYTES: usize = 4;

/// A view of one packet. Any 188 bytes have one: what the adaptation field breaks is told by [`Packet::malformed`], and
/// the sync byte is the business of [`super::framing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// `transport_error_indicator`: a demodulator gave up on this packet, nothing in it is to be trusted.
    pub error: bool,
    /// `payload_unit_start_indicator`.
    pub unit_start: bool,
    /// Packet identifier, 13 bits.
    pub pid: u16,
    /// `transport_scrambling_control`; 0: in the clear.
    pub scrambling: u8,
    /// `continuity_counter`, 4 bits.
    pub continuity: u8,
    /// `adaptation_field_control` says that there is payload, which is what makes the counter count.
    pub has_payload: bool,
    /// The adaptation field, if there is one and it is whole.
    pub adaptation: Option<Adaptation<'a>>,
    /// What follows it; empty without payload, or if the packet is malformed.
    pub payload: &'a [u8],
    /// The adaptation field is longer than the packet or shorter than what its flags promise, or the reserved
    /// `adaptation_field_control` 0 is used.
    pub malformed: bool,
}

/// An adaptation field (section 2.4.3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adaptation<'a> {
    /// `discontinuity_indicator`: the counter, or the clock if this packet has a PCR, may jump here.
    pub discontinuity: bool,
    /// `random_access_indicator`.
    pub random_access: bool,
    /// Program clock reference in ticks of 27 MHz, below 2^33 * 300.
    pub pcr: Option<u64>,
    /// Countdown to a splicing point, in packets.
    pub splice_countdown: Option<i8>,
    /// `transport_private_data`.
    pub private_data: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// Reads a packet, whatever its first byte is.
    #[inline]
    pub fn parse(bytes: &'a [u8; PACKET_BYTES]) -> Packet<'a> {
        let [_, b1, b2, b3, ..] = *bytes;
        let mut packet = Packet {
            error: b1 & 0x80 != 0,
            unit_start: b1 & 0x40 != 0,
            pid: u16::from_be_bytes([b1 & 0x1F, b2]),
            scrambling: b3 >> 6,
            continuity: b3 & 0x0F,
            has_payload: b3 & 0x10 != 0,
            adaptation: None,
            payload: &[],
            malformed: b3 & 0x30 == 0,
        };
        let mut rest = &bytes[HEADER_BYTES..];
        if b3 & 0x20 != 0 {
            match Adaptation::parse(rest, packet.has_payload) {
                Some((adaptation, payload)) => {
                    packet.adaptation = Some(adaptation);
                    rest = payload;
                }
                None => packet.malformed = true,
            }
        }
        if packet.has_payload && !packet.malformed {
            packet.payload = rest;
        }
        packet
    }

    /// The PCR, if the packet has one.
    pub fn pcr(&self) -> Option<u64> {
        self.adaptation.and_then(|adaptation| adaptation.pcr)
    }

    /// `discontinuity_indicator`.
    pub fn discontinuity(&self) -> bool {
        self.adaptation.is_some_and(|adaptation| adaptation.discontinuity)
    }
}

impl<'a> Adaptation<'a> {
    /// Reads the field at the start of `bytes`, with what follows it.
    fn parse(bytes: &'a [u8], before_payload: bool) -> Option<(Adaptation<'a>, &'a [u8])> {
        let (&length, rest) = bytes.split_first()?;
        let length = usize::from(length);
        // With payload at least one byte of it must remain; without, the field must fill the packet. Encoders exist that
        // make it shorter there, and nothing depends on it.
        if length > rest.len() - usize::from(before_payload) {
            return None;
        }
        let (mut field, payload) = rest.split_at(length);
        let mut adaptation = Adaptation::default();
        // An empty field is one byte of stuffing.
        let Some(flags) = take(&mut field, 1).map(|bytes| bytes[0]) else {
            return Some((adaptation, payload));
        };
        adaptation.discontinuity = flags & 0x80 != 0;
        adaptation.random_access = flags & 0x40 != 0;
        if flags & 0x10 != 0 {
            adaptation.pcr = Some(clock_reference(take(&mut field, 6)?));
        }
        if flags & 0x08 != 0 {
            take(&mut field, 6)?;
        }
        if flags & 0x04 != 0 {
            adaptation.splice_countdown = Some(take(&mut field, 1)?[0] as i8);
        }
        if flags & 0x02 != 0 {
            let count = take(&mut field, 1)?[0];
            adaptation.private_data = Some(take(&mut field, usize::from(count))?);
        }
        Some((adaptation, payload))
    }
}

/// Takes `count` bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// A PCR of six bytes: 33 bits of 90 kHz, 6 reserved, 9 bits of 27 MHz (section 2.4.3.5). An extension above 299 is not
/// allowed and counts as it stands, within the clock's range.
fn clock_reference(bytes: &[u8]) -> u64 {
    let value = bytes.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    ((value >> 15) * PCR_TICKS + (value & 0x1FF)) % (CLOCK_MODULUS * PCR_TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(head: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xAA; PACKET_BYTES];
        bytes[..head.len()].copy_from_slice(head);
        bytes
    }

    #[test]
    fn header_fields() {
        let bytes = packet(&[0x47, 0x41, 0x00, 0x15]);
        let view = Packet::parse(&bytes);
        assert_eq!((view.pid, view.unit_start, view.error, view.scrambling), (0x100, true, false, 0));
        assert_eq!((view.continuity, view.has_payload, view.payload.len()), (5, true, 184));
        let bytes = packet(&[0x47, 0x9F, 0xFF, 0xD0]);
        let view = Packet::parse(&bytes);
        assert_eq!((view.pid, view.error, view.scrambling), (0x1FFF, true, 3));
    }

    #[test]
    fn adaptation_fields() {
        for (what, head, pcr, payload, malformed) in [
            (
                "PCR alone",
                &[0x47, 0, 0, 0x20, 183, 0x10, 0, 0, 0, 0, 0xFE, 0x2B][..],
                Some(300 + 43),
                0,
                false,
            ),
            (
                "PCR and payload",
                &[0x47, 0, 0, 0x30, 7, 0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0],
                Some(((1 << 33) - 1) * 300),
                176,
                false,
            ),
            ("one byte of stuffing", &[0x47, 0, 0, 0x30, 0], None, 183, false),
            ("all but one byte", &[0x47, 0, 0, 0x30, 182, 0], None, 1, false),
            ("no byte of payload left", &[0x47, 0, 0, 0x30, 183, 0], None, 0, true),
            ("longer than the packet", &[0x47, 0, 0, 0x20, 184, 0], None, 0, true),
            ("as long as can be said", &[0x47, 0, 0, 0x30, 255, 0xFF], None, 0, true),
            ("no room for the PCR", &[0x47, 0, 0, 0x30, 6, 0x10, 0, 0, 0, 0, 0], None, 0, true),
            ("no room for private data", &[0x47, 0, 0, 0x30, 3, 0x02, 9, 0], None, 0, true),
            ("reserved control", &[0x47, 0, 0, 0x00], None, 0, true),
        ] {
            let bytes = packet(head);
            let view = Packet::parse(&bytes);
            assert_eq!((view.pcr(), view.payload.len(), view.malformed), (pcr, payload, malformed), "{what}");
        }
    }

    #[test]
    fn flags_and_private_data() {
        let bytes = packet(&[0x47, 0, 0, 0x30, 6, 0xC6, 0xFE, 2, 8, 9, 0xFF]);
        let adaptation = Packet::parse(&bytes).adaptation.unwrap();
        assert!(adaptation.discontinuity && adaptation.random_access);
        assert_eq!((adaptation.splice_countdown, adaptation.private_data), (Some(-2), Some(&[8, 9][..])));
    }
}
