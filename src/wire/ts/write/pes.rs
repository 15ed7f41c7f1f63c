//! PES headers (ISO/IEC 13818-1 section 2.4.3.6).

use crate::wire::ts::CLOCK_MODULUS;

/// `stream_id`: all of a kind share one, since each has a PID of its own.
pub mod stream_id {
    /// MPEG audio and AAC.
    pub const AUDIO: u8 = 0xC0;
    /// Video.
    pub const VIDEO: u8 = 0xE0;
    /// Private stream 1: AC-3, E-AC-3, Opus, AV1.
    pub const PRIVATE_1: u8 = 0xBD;
}

/// Longest header written here: with PTS and DTS.
pub const HEADER_BYTES_MAX: usize = 19;
/// Bytes up to and with `PES_packet_length`, which do not count in it.
const PREFIX_BYTES: usize = 6;

/// The header of a PES packet that holds one access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PesHeader {
    /// One of [`stream_id`].
    pub stream_id: u8,
    /// Presentation time in ticks of 90 kHz; its low 33 bits count.
    pub pts: u64,
    /// Decoding time likewise; left out where it equals `pts`.
    pub dts: u64,
}

/// Bytes of a header.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl Encoded {
    /// As they are written.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl PesHeader {
    /// The header in front of `payload` bytes. `None` if they are more than a PES packet of this stream may hold: only
    /// one of video may be of unknown length, which is written where the length does not fit.
    pub fn encode(&self, payload: usize) -> Option<Encoded> {
        let whole = self.encode_video(payload);
        let told = whole.bytes.get(4..6) != Some(&[0, 0]) || self.stream_id == stream_id::VIDEO;
        told.then_some(whole)
    }

    /// The same of a stream of pictures that has another identifier: where the length does not fit, none is told.
    pub fn encode_video(&self, payload: usize) -> Encoded {
        let (pts, dts) = (self.pts % CLOCK_MODULUS, self.dts % CLOCK_MODULUS);
        let both = pts != dts;
        let times = if both { 10 } else { 5 };
        let [high, low] = u16::try_from(3 + times + payload).unwrap_or(0).to_be_bytes();
        let (flags, mark) = if both { (0xC0, 3) } else { (0x80, 2) };
        let (p, d) = (timestamp(mark, pts), timestamp(1, dts));
        // 0x84: the payload begins with an access unit.
        let bytes = [
            0,
            0,
            1,
            self.stream_id,
            high,
            low,
            0x84,
            flags,
            times as u8,
            p[0],
            p[1],
            p[2],
            p[3],
            p[4],
            d[0],
            d[1],
            d[2],
            d[3],
            d[4],
        ];
        Encoded { bytes, len: PREFIX_BYTES + 3 + times }
    }
}

/// The lowest 33 bits of `ticks` (90 kHz) in five bytes behind a mark of four bits, a marker bit behind each part
/// (ISO/IEC 13818-1 section 2.4.3.7).
pub const fn timestamp(mark: u8, ticks: u64) -> [u8; 5] {
    [
        mark << 4 | (ticks >> 29) as u8 & 0x0E | 1,
        (ticks >> 22) as u8,
        (ticks >> 14) as u8 | 1,
        (ticks >> 7) as u8,
        (ticks << 1) as u8 | 1,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_ffmpeg_but_for_length_and_alignment() {
        // From its H.264 file: PTS 133200, DTS 126000, length 0.
        let seen = [0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 0x0A, 0x31, 0, 9, 0x10, 0xA1, 0x11, 0, 7, 0xD8, 0x61];
        let header = PesHeader { stream_id: stream_id::VIDEO, pts: 133_200, dts: 126_000 };
        let mut long = header.encode(70_000).unwrap();
        assert_eq!(long.bytes[6], 0x84);
        long.bytes[6] = 0x80;
        assert_eq!(long.as_slice(), seen);
        assert_eq!(header.encode(100).unwrap().as_slice()[4..6], [0, 113]);
        // From its AC-3 file: PTS only, 2304 bytes.
        let seen = [0, 0, 1, 0xBD, 9, 8, 0x80, 0x80, 5, 0x21, 0, 7, 0xD8, 0x61];
        let mut sound =
            PesHeader { stream_id: stream_id::PRIVATE_1, pts: 126_000, dts: 126_000 }.encode(2304).unwrap();
        sound.bytes[6] = 0x80;
        assert_eq!(sound.as_slice(), seen);
    }

    #[test]
    fn only_video_may_be_longer_than_its_length_field() {
        let of = |stream_id| PesHeader { stream_id, pts: 0, dts: 0 };
        assert!(
            of(stream_id::AUDIO).encode(65_527).is_some() && of(stream_id::AUDIO).encode(65_528).is_none()
        );
        assert_eq!(of(stream_id::VIDEO).encode(65_528).unwrap().as_slice()[4..6], [0, 0]);
        assert_eq!(of(stream_id::PRIVATE_1).encode_video(65_528).as_slice()[3..6], [0xBD, 0, 0]);
    }

    #[test]
    fn times_wrap_at_33_bits() {
        let at = |ticks| timestamp(2, ticks);
        assert_eq!(at((1 << 33) - 1), [0x2F, 0xFF, 0xFF, 0xFF, 0xFF]);
        let wrapped = PesHeader { stream_id: 0xC0, pts: 1 << 33, dts: 0 }.encode(1).unwrap();
        assert_eq!(wrapped.as_slice()[7..], [0x80, 5, 0x21, 0, 1, 0, 1]);
    }
}
