//! The headers of one sender.

use crate::wire::rtp::{HEADER_BYTES, MP2T, RtpHeader};
use crate::wire::ts::PCR_TICKS;

/// One stream of RTP packets around a transport stream (RFC 2250 section 2).
#[derive(Clone, Debug)]
pub struct Sender {
    ssrc: u32,
    sequence: u16,
    marker: bool,
}

impl Sender {
    /// A sender that begins with `first_sequence`. Both it and `ssrc` are to be random, so that no other sender has them
    /// (RFC 3550 sections 5.1 and 8.1).
    pub fn new(ssrc: u32, first_sequence: u16) -> Sender {
        Sender { ssrc, sequence: first_sequence, marker: false }
    }

    /// The clock that the next header is written by does not continue the one before: the marker says so.
    pub fn discontinuity(&mut self) {
        self.marker = true;
    }

    /// The header of the next packet; `time_27mhz` is when the first byte behind it is due, in ticks of the clock that the
    /// stream's PCRs count.
    pub fn header(&mut self, time_27mhz: u64) -> [u8; HEADER_BYTES] {
        let header = RtpHeader {
            marker: std::mem::take(&mut self.marker),
            payload_type: MP2T,
            sequence: self.sequence,
            // 32 bits of 90 kHz: round every 13 hours.
            timestamp: (time_27mhz / PCR_TICKS) as u32,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        header.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtp::RtpPacket;

    #[test]
    fn numbers_go_round_and_a_jump_is_marked_once() {
        let mut sender = Sender::new(0x0102_0304, 0xFFFE);
        let mut seen = Vec::new();
        for (at, jump) in [(0, false), (300 * 7 + 299, true), (300 << 32, false)] {
            if jump {
                sender.discontinuity();
            }
            let bytes = sender.header(at);
            let packet = RtpPacket::parse(&bytes).unwrap();
            assert_eq!((packet.payload_type, packet.ssrc), (33, 0x0102_0304));
            seen.push((packet.sequence, packet.timestamp, packet.marker));
        }
        assert_eq!(seen, [(0xFFFE, 0, false), (0xFFFF, 7, true), (0, 0, false)]);
    }
}
