//! RTP headers in front of a transport stream (RFC 2250, RFC 3550 section 5.1).

use crate::wire::ts::PCR_TICKS;

/// Bytes of a header without extras.
pub(super) const RTP_BYTES: usize = 12;
/// Version 2, nothing else.
const FIRST: u8 = 0x80;
/// Payload type of MPEG-2 transport streams (RFC 3551 table 5).
const MP2T: u8 = 33;

/// The headers of one sender.
#[derive(Debug)]
pub(super) struct Headers {
    ssrc: u32,
    sequence: u16,
}

impl Headers {
    /// A sender whose identity and first number come from `seed`, as both are to be unlike those of others.
    pub fn new(seed: u64) -> Headers {
        Headers { ssrc: (seed >> 32) as u32, sequence: seed as u16 }
    }

    /// The next header; `clock` is when the first byte behind it is due, in ticks of 27 MHz.
    pub fn next(&mut self, clock: u64) -> [u8; RTP_BYTES] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = ((clock / PCR_TICKS) as u32).to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        self.sequence = self.sequence.wrapping_add(1);
        [FIRST, MP2T, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let mut headers = Headers::new(0x0102_0304_0000_FFFF);
        assert_eq!(headers.next(300 * 7), [0x80, 33, 0xFF, 0xFF, 0, 0, 0, 7, 1, 2, 3, 4]);
        assert_eq!(headers.next(300 << 32)[..8], [0x80, 33, 0, 0, 0, 0, 0, 0]);
    }
}
