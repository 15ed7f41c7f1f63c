//! Sync frames of AC-3 and E-AC-3 (ETSI TS 102 366, sections 4.3 and E.1.2), as far as length, time and channels.

/// Bytes that are needed to read the beginning of a frame.
pub const HEADER_BYTES: usize = 6;
/// The sync word.
const SYNC: [u8; 2] = [0x0B, 0x77];
/// Samples of a block; a frame of AC-3 has six.
const BLOCK_SAMPLES: u32 = 256;
/// Sampling frequencies by `fscod`.
const FREQUENCIES_HZ: [u32; 3] = [48_000, 44_100, 32_000];
/// Kilobits a second by half the `frmsizecod` (table 4.1 of A/52, 5.18).
const KILOBITS: [u32; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// The highest `bsid` of AC-3, and of E-AC-3.
const BSID_MAX: (u8, u8) = (10, 16);

/// The beginning of a sync frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ac3Header {
    /// E-AC-3.
    pub enhanced: bool,
    /// Bytes of the frame.
    pub frame_bytes: usize,
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Samples of the frame; 0 of one that completes the frame before it (a dependent substream, or another program).
    pub samples: u32,
}

impl Ac3Header {
    /// Reads the header that `bytes` begins with. `None`: it is none, or less than [`HEADER_BYTES`].
    pub fn parse(bytes: &[u8]) -> Option<Ac3Header> {
        let &[s0, s1, b2, b3, b4, b5] = bytes.first_chunk()?;
        if [s0, s1] != SYNC {
            return None;
        }
        let bsid = b5 >> 3;
        if bsid <= BSID_MAX.0 {
            let rate = *FREQUENCIES_HZ.get(usize::from(b4 >> 6))?;
            let code = u32::from(b4 & 0x3F);
            let kilobits = *KILOBITS.get(code as usize / 2)?;
            // Words of 16 bits in 1536 samples; at 44.1 kHz every other code has one more.
            let words = kilobits * 96_000 / rate + if rate == 44_100 { code & 1 } else { 0 };
            let (frame_bytes, samples) = (words as usize * 2, 6 * BLOCK_SAMPLES);
            // Half and quarter rates (bsid 9 and 10) have the same lengths.
            let sample_rate_hz = rate >> bsid.saturating_sub(8);
            return Some(Ac3Header { enhanced: false, frame_bytes, sample_rate_hz, samples });
        }
        if bsid > BSID_MAX.1 {
            return None;
        }
        let (stream_type, substream) = (b2 >> 6, b2 >> 3 & 7);
        if stream_type == 3 {
            return None;
        }
        let frame_bytes = (usize::from(b2 & 7) << 8 | usize::from(b3)) * 2 + 2;
        let (sample_rate_hz, blocks) = match b4 >> 6 {
            3 => (*FREQUENCIES_HZ.get(usize::from(b4 >> 4 & 3))? / 2, 6),
            code => (*FREQUENCIES_HZ.get(usize::from(code))?, [1, 2, 3, 6][usize::from(b4 >> 4 & 3)]),
        };
        let completes = stream_type == 1 || substream != 0;
        let samples = if completes { 0 } else { blocks * BLOCK_SAMPLES };
        (frame_bytes >= HEADER_BYTES).then_some(Ac3Header {
            enhanced: true,
            frame_bytes,
            sample_rate_hz,
            samples,
        })
    }
}

/// Whether `bytes`, too few to tell, may be the beginning of a frame.
pub fn may_begin(bytes: &[u8]) -> bool {
    bytes.len() < HEADER_BYTES && SYNC.iter().zip(bytes).all(|(sync, byte)| sync == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        for (what, bytes, expected) in [
            ("192 kb/s at 48 kHz", [0x0B, 0x77, 0, 0, 0x14, 0x40], Some((false, 768, 48_000, 1536))),
            ("448 kb/s at 48 kHz", [0x0B, 0x77, 0, 0, 0x1E, 0x40], Some((false, 1792, 48_000, 1536))),
            // 69 words and 70 words (A/52 table 5.18).
            ("32 kb/s at 44.1 kHz", [0x0B, 0x77, 0, 0, 0x40, 0x40], Some((false, 138, 44_100, 1536))),
            ("with a word more", [0x0B, 0x77, 0, 0, 0x41, 0x40], Some((false, 140, 44_100, 1536))),
            ("E-AC-3 of 384 words", [0x0B, 0x77, 0x01, 0x7F, 0x3F, 0x86], Some((true, 768, 48_000, 1536))),
            ("its dependent substream", [0x0B, 0x77, 0x41, 0x7F, 0x3F, 0x86], Some((true, 768, 48_000, 0))),
            ("one block", [0x0B, 0x77, 0x00, 0x7F, 0x0F, 0x86], Some((true, 256, 48_000, 256))),
            ("24 kHz", [0x0B, 0x77, 0x00, 0x7F, 0xCF, 0x86], Some((true, 256, 24_000, 1536))),
            ("a reserved frequency", [0x0B, 0x77, 0, 0, 0xD4, 0x40], None),
            ("a reserved rate", [0x0B, 0x77, 0, 0, 0x26, 0x40], None),
            ("a reserved type", [0x0B, 0x77, 0xC1, 0x7F, 0x3F, 0x86], None),
            ("a later version", [0x0B, 0x77, 0x01, 0x7F, 0x3F, 0xF6], None),
            ("no sync word", [0x0B, 0x78, 0, 0, 0x14, 0x40], None),
        ] {
            let header = Ac3Header::parse(&bytes);
            let told = header.map(|h| (h.enhanced, h.frame_bytes, h.sample_rate_hz, h.samples));
            assert_eq!(told, expected, "{what}");
        }
        assert_eq!(Ac3Header::parse(&[0x0B, 0x77, 0, 0, 0x14]), None);
    }
}
