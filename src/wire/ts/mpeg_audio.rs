//! Frame headers of MPEG audio, layers I to III (ISO/IEC 11172-3 section 2.4.2.3, ISO/IEC 13818-3 section 2.4.2.3; the
//! version 2.5 that encoders added).

/// Bytes of a header.
pub const HEADER_BYTES: usize = 4;

/// Kilobits a second by index: version 1 layers I, II and III, then the lower versions' layer I and the other two.
const KILOBITS: [[u16; 15]; 5] = [
    [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpegAudioHeader {
    /// 1 to 3.
    pub layer: u8,
    /// Bytes of the frame with its header.
    pub frame_bytes: usize,
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Samples of the frame.
    pub samples: u32,
    /// One channel.
    pub mono: bool,
}

impl MpegAudioHeader {
    /// Reads the header that `bytes` begins with. `None`: it is none, less than [`HEADER_BYTES`], or of a free rate,
    /// whose frames have no length.
    pub fn parse(bytes: &[u8]) -> Option<MpegAudioHeader> {
        let &[b0, b1, b2, b3] = bytes.first_chunk()?;
        if b0 != 0xFF || b1 & 0xE0 != 0xE0 {
            return None;
        }
        // 0: 2.5, 2: 2, 3: 1.
        let version = b1 >> 3 & 3;
        let layer = 4 - (b1 >> 1 & 3);
        if version == 1 || layer == 4 {
            return None;
        }
        let halved = version != 3;
        let table = match (halved, layer) {
            (false, layer) => usize::from(layer) - 1,
            (true, 1) => 3,
            (true, _) => 4,
        };
        let kilobits = u32::from(*KILOBITS.get(table)?.get(usize::from(b2 >> 4))?);
        let base = *[44_100, 48_000, 32_000].get(usize::from(b2 >> 2 & 3))?;
        let sample_rate_hz = match version {
            3 => base,
            2 => base / 2,
            _ => base / 4,
        };
        if kilobits == 0 {
            return None;
        }
        let padding = u32::from(b2 >> 1 & 1);
        let samples = match (layer, halved) {
            (1, _) => 384,
            (3, true) => 576,
            _ => 1152,
        };
        let slots = samples / 8 * kilobits * 1000 / sample_rate_hz;
        // A slot of layer I has four bytes.
        let frame_bytes = if layer == 1 { (slots / 4 + padding) * 4 } else { slots + padding } as usize;
        Some(MpegAudioHeader { layer, frame_bytes, sample_rate_hz, samples, mono: b3 >> 6 == 3 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        for (what, bytes, expected) in [
            ("MP3 of 128 kb/s", [0xFF, 0xFB, 0x90, 0x00], Some((3, 417, 44_100, 1152, false))),
            ("padded", [0xFF, 0xFB, 0x92, 0xC0], Some((3, 418, 44_100, 1152, true))),
            ("MP3 of MPEG-2, 64 kb/s", [0xFF, 0xF3, 0x84, 0x00], Some((3, 192, 24_000, 576, false))),
            ("MP3 of 2.5, 8 kHz", [0xFF, 0xE3, 0x18, 0x00], Some((3, 72, 8_000, 576, false))),
            ("MP2 of 192 kb/s", [0xFF, 0xFD, 0xA4, 0x00], Some((2, 576, 48_000, 1152, false))),
            ("layer I", [0xFF, 0xFF, 0xC4, 0x00], Some((1, 384, 48_000, 384, false))),
            ("a free rate", [0xFF, 0xFB, 0x00, 0x00], None),
            ("no rate", [0xFF, 0xFB, 0xF0, 0x00], None),
            ("no frequency", [0xFF, 0xFB, 0x9C, 0x00], None),
            ("no layer: ADTS", [0xFF, 0xF1, 0x4C, 0x80], None),
            ("no version", [0xFF, 0xEB, 0x90, 0x00], None),
        ] {
            let header = MpegAudioHeader::parse(&bytes);
            let told = header.map(|h| (h.layer, h.frame_bytes, h.sample_rate_hz, h.samples, h.mono));
            assert_eq!(told, expected, "{what}");
        }
    }
}
