//! The RTP header (RFC 3550 section 5.1), and transport streams in it (RFC 2250 section 2).

use super::ts::SYNC_BYTE;

/// Payload type of a transport stream.
pub const MP2T: u8 = 33;
/// Bytes of the header without sources and extension.
pub const HEADER_BYTES: usize = 12;

/// The header that senders here write: version 2 without padding, extension and sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker; in RFC 2250 the time stamp jumps here.
    pub marker: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Time stamp; 90 kHz for a transport stream.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// The bytes in front of the payload.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = self.ssrc.to_be_bytes();
        let kind = u8::from(self.marker) << 7 | self.payload_type & 0x7F;
        [0x80, kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }
}

/// One RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// Marker; in RFC 2250 the time stamp jumps here.
    pub marker: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Time stamp; 90 kHz for a transport stream.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// What it carries, without padding.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads a datagram; `None`: another version, or the header, the extension or the padding is longer than it.
    pub fn parse(datagram: &'a [u8]) -> Option<RtpPacket<'a>> {
        let (&[b0, b1, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3], mut payload) =
            datagram.split_first_chunk()?;
        if b0 >> 6 != 2 {
            return None;
        }
        payload = payload.get(usize::from(b0 & 0x0F) * 4..)?;
        if b0 & 0x10 != 0 {
            let ([_, _, w0, w1], rest) = payload.split_first_chunk()?;
            payload = rest.get(usize::from(u16::from_be_bytes([*w0, *w1])) * 4..)?;
        }
        if b0 & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            payload = payload.get(..payload.len().checked_sub(padding.max(1))?)?;
        }
        Some(RtpPacket {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            payload,
        })
    }

    /// Reads a datagram that may be RTP around a transport stream or the transport stream itself: byte 0 tells, because
    /// 0x47 is version 1. Whole packets with a sync byte in front count as a stream whatever the payload type says.
    pub fn around_ts(datagram: &'a [u8]) -> Option<RtpPacket<'a>> {
        let packet = RtpPacket::parse(datagram)?;
        (packet.payload_type == MP2T || packet.payload.first() == Some(&SYNC_BYTE)).then_some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [0x80, 0xA1, 0x12, 0x34, 0, 0, 0, 9, 1, 2, 3, 4, 0x47, 0x1F];

    #[test]
    fn what_is_written_is_read() {
        let header =
            RtpHeader { marker: true, payload_type: MP2T, sequence: 0x1234, timestamp: 9, ssrc: 0x0102_0304 };
        assert_eq!(header.to_bytes(), PLAIN[..HEADER_BYTES]);
    }

    #[test]
    fn plain_and_with_everything() {
        let packet = RtpPacket::around_ts(&PLAIN).unwrap();
        assert_eq!((packet.marker, packet.payload_type, packet.sequence), (true, 33, 0x1234));
        assert_eq!((packet.timestamp, packet.ssrc, packet.payload), (9, 0x0102_0304, &[0x47, 0x1F][..]));
        let mut full = PLAIN.to_vec();
        full[0] = 0xB1;
        full.splice(12..12, [9, 9, 9, 9, 0xBE, 0xDE, 0, 1, 7, 7, 7, 7]);
        full.extend([0, 0, 3]);
        assert_eq!(RtpPacket::around_ts(&full).map(|packet| packet.payload), Some(&[0x47, 0x1F][..]));
    }

    #[test]
    fn what_is_none() {
        for (what, at, byte) in
            [("version 1", 0, 0x47), ("sources past the end", 0, 0x8F), ("extension", 0, 0x90)]
        {
            let mut bytes = PLAIN;
            bytes[at] = byte;
            assert_eq!(RtpPacket::parse(&bytes), None, "{what}");
        }
        let mut padded = PLAIN;
        (padded[0], padded[13]) = (0xA0, 3);
        assert_eq!(RtpPacket::parse(&padded), None, "more padding than payload");
        assert_eq!(RtpPacket::parse(&PLAIN[..11]), None);
        let mut audio = PLAIN;
        (audio[1], audio[12]) = (0x60, 0);
        assert_eq!(RtpPacket::around_ts(&audio), None, "another payload");
    }
}
