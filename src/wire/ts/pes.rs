//! PES headers (ISO/IEC 13818-1 section 2.4.3.6) and their clock of 33 bits.

use super::CLOCK_MODULUS;

/// The beginning of a PES packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PesHeader {
    /// `stream_id`: 0xE0 to 0xEF video, 0xC0 to 0xDF audio, 0xBD private data with a full header.
    pub stream_id: u8,
    /// Bytes behind the length field; 0: until the next packet starts, allowed for video only.
    pub length: u16,
    /// `PES_scrambling_control`; 0: in the clear.
    pub scrambling: u8,
    /// `data_alignment_indicator`.
    pub aligned: bool,
    /// Presentation time in ticks of 90 kHz, 33 bits.
    pub pts: Option<u64>,
    /// Decoding time in ticks of 90 kHz, 33 bits; present where it differs from the presentation time.
    pub dts: Option<u64>,
    /// Bytes from the start code to the elementary stream.
    pub header_bytes: usize,
}

impl PesHeader {
    /// Reads the header at the start of a payload with `unit_start`. `None`: it is no PES packet, or the payload ends in
    /// front of the header's end (a header never spans packets in practice, and its times always stand in the first).
    pub fn parse(payload: &[u8]) -> Option<PesHeader> {
        let [0, 0, 1, stream_id, l0, l1, rest @ ..] = payload else { return None };
        let length = u16::from_be_bytes([*l0, *l1]);
        let mut header = PesHeader {
            stream_id: *stream_id,
            length,
            scrambling: 0,
            aligned: false,
            pts: None,
            dts: None,
            header_bytes: 6,
        };
        if !has_flags(*stream_id) {
            return Some(header);
        }
        let [flags, which, count, times @ ..] = rest else { return None };
        if flags >> 6 != 0b10 {
            return None;
        }
        header.scrambling = flags >> 4 & 3;
        header.aligned = flags & 0x04 != 0;
        header.header_bytes = 9 + usize::from(*count);
        let times = times.get(..usize::from(*count))?;
        let time = |at: usize, prefix: u8| {
            times.get(at..).and_then(|bytes| bytes.first_chunk()).and_then(|bytes| time(bytes, prefix))
        };
        match which >> 6 {
            0b10 => header.pts = time(0, 0b0010),
            0b11 => (header.pts, header.dts) = (time(0, 0b0011), time(5, 0b0001)),
            _ => {}
        }
        Some(header)
    }
}

/// Whether packets with this `stream_id` have flags and times (table 2-21).
fn has_flags(stream_id: u8) -> bool {
    // Stream map, padding, private 2, ECM, EMM, DSM-CC, H.222.1 type E, directory.
    !matches!(stream_id, 0xBC | 0xBE | 0xBF | 0xF0 | 0xF1 | 0xF2 | 0xF8 | 0xFF)
}

/// A time of 33 bits in five bytes, with its four-bit prefix and three marker bits. Encoders that get the prefix of a lone
/// PTS wrong (0011) are in use, so that only the marker bits are required.
fn time(bytes: &[u8; 5], prefix: u8) -> Option<u64> {
    let [b0, b1, b2, b3, b4] = bytes.map(u64::from);
    let marked = b0 & b2 & b4 & 1 == 1;
    // The two prefixes of a PTS are 001x; a DTS has 0001.
    let prefix_ok = (b0 >> 4) as u8 == prefix || (prefix & 0b0010 != 0 && b0 >> 5 == 0b001);
    (marked && prefix_ok).then_some((b0 >> 1 & 7) << 30 | b1 << 22 | (b2 >> 1) << 15 | b3 << 7 | b4 >> 1)
}

/// Signed distance from `from` to `to` on a clock that wraps at `modulus`: the shorter way round.
pub fn wrapping_distance(from: u64, to: u64, modulus: u64) -> i64 {
    let forward = (to % modulus + modulus - from % modulus) % modulus;
    if forward > modulus / 2 { forward as i64 - modulus as i64 } else { forward as i64 }
}

/// Makes times of 33 bits endless. Each is taken for the nearest to the one before, so a jump of up to 13 hours in either
/// direction is understood as what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwrap {
    last: Option<i64>,
}

impl Unwrap {
    /// The endless time, in the same ticks. The first is as it stands.
    pub fn unwrap_time(&mut self, time: u64) -> i64 {
        let time = time % CLOCK_MODULUS;
        let endless = match self.last {
            None => time as i64,
            Some(last) => {
                let from = last.rem_euclid(CLOCK_MODULUS as i64) as u64;
                last.saturating_add(wrapping_distance(from, time, CLOCK_MODULUS))
            }
        };
        self.last = Some(endless);
        endless
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let both =
            [0, 0, 1, 0xE0, 0, 0, 0x84, 0xC0, 10, 0x31, 0, 1, 0xAF, 0xC9, 0x11, 0, 1, 0x76, 0x39, 0xAA];
        let header = PesHeader::parse(&both).unwrap();
        assert_eq!(
            (header.stream_id, header.length, header.aligned, header.header_bytes),
            (0xE0, 0, true, 19)
        );
        assert_eq!((header.pts, header.dts), (Some(0x57E4), Some(0x3B1C)));
        let lone = [0, 0, 1, 0xC0, 0, 20, 0x80, 0x80, 5, 0x2F, 0xFF, 0xFF, 0xFF, 0xFF];
        let header = PesHeader::parse(&lone).unwrap();
        assert_eq!((header.pts, header.dts, header.length), (Some(CLOCK_MODULUS - 1), None, 20));
        let padding = PesHeader::parse(&[0, 0, 1, 0xBE, 0, 2, 0xFF, 0xFF]).unwrap();
        assert_eq!((padding.pts, padding.header_bytes), (None, 6));
    }

    #[test]
    fn what_is_no_header() {
        for (what, bytes) in [
            ("empty", &[][..]),
            ("no start code", &[0, 0, 2, 0xE0, 0, 0, 0x80, 0, 0]),
            ("MPEG-1 flags", &[0, 0, 1, 0xE0, 0, 0, 0x40, 0, 0]),
            ("cut before the flags", &[0, 0, 1, 0xE0, 0, 0, 0x80]),
            ("cut in the times", &[0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1]),
        ] {
            assert_eq!(PesHeader::parse(bytes), None, "{what}");
        }
        // No marker, wrong prefix, no room: a header without a time.
        for (count, b0) in [(5, 0x20), (5, 0x81), (4, 0x21)] {
            let bytes = [0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, count, b0, 0, 1, 0, 1];
            assert_eq!(PesHeader::parse(&bytes).map(|header| header.pts), Some(None), "{count} {b0:#x}");
        }
    }

    #[test]
    fn the_clock_wraps() {
        let mut clock = Unwrap::default();
        let end = CLOCK_MODULUS;
        let times = [end - 9000, end - 1, 0, 3000, end - 3000, 5, end / 2];
        let endless = times.map(|time| clock.unwrap_time(time) - end as i64);
        assert_eq!(endless, [-9000, -1, 0, 3000, -3000, 5, end as i64 / 2]);
        assert_eq!(wrapping_distance(10, 5, 100), -5);
        assert_eq!(wrapping_distance(95, 5, 100), 10);
    }
}
