//! AAC in ADTS (ISO/IEC 14496-3 section 1.A.2.2), read.

use crate::wire::aac::FREQUENCIES_HZ;

/// Bytes of a header without CRC; as many are needed to read one.
pub const HEADER_BYTES: usize = 7;
/// Samples of a block.
const BLOCK_SAMPLES: u32 = 1024;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdtsHeader {
    /// `profile`: the audio object type less 1.
    pub profile: u8,
    /// `sampling_frequency_index`, one that stands for a frequency.
    pub frequency_index: u8,
    /// `channel_configuration`; 0: a program config element in the frame tells.
    pub channel_configuration: u8,
    /// Bytes of the header with its CRC, if it has one.
    pub header_bytes: usize,
    /// Bytes of the frame, header included; at least the header's.
    pub frame_bytes: usize,
    /// Blocks of 1024 samples, 1 to 4.
    pub blocks: u8,
}

impl AdtsHeader {
    /// Reads the header that `bytes` begins with. `None`: it is none, or less than [`HEADER_BYTES`].
    pub fn parse(bytes: &[u8]) -> Option<AdtsHeader> {
        let &[b0, b1, b2, b3, b4, b5, b6] = bytes.first_chunk()?;
        // The sync word, and the layer, which is always 0.
        if b0 != 0xFF || b1 & 0xF6 != 0xF0 {
            return None;
        }
        let header = AdtsHeader {
            profile: b2 >> 6,
            frequency_index: b2 >> 2 & 0x0F,
            channel_configuration: (b2 & 1) << 2 | b3 >> 6,
            header_bytes: if b1 & 1 == 1 { HEADER_BYTES } else { HEADER_BYTES + 2 },
            frame_bytes: usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5),
            blocks: (b6 & 3) + 1,
        };
        let known = usize::from(header.frequency_index) < FREQUENCIES_HZ.len();
        (known && header.frame_bytes >= header.header_bytes).then_some(header)
    }

    /// Samples a second of the core coder.
    pub fn sample_rate_hz(&self) -> u32 {
        FREQUENCIES_HZ.get(usize::from(self.frequency_index)).copied().unwrap_or(FREQUENCIES_HZ[3])
    }

    /// Samples of the frame, at [`AdtsHeader::sample_rate_hz`].
    pub fn samples(&self) -> u32 {
        u32::from(self.blocks) * BLOCK_SAMPLES
    }

    /// The AudioSpecificConfig that says the same. SBR and PS are not told: decoders find them in the frames.
    pub fn config(&self) -> [u8; 2] {
        let config = (u16::from(self.profile) + 1) << 11
            | u16::from(self.frequency_index) << 7
            | u16::from(self.channel_configuration) << 3;
        config.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::write::adts::Adts;

    #[test]
    fn reads_what_is_written() {
        for config in [[0x11, 0x90], [0x12, 0x10], [0x11, 0xB0], [0x14, 0x08]] {
            let written = Adts::of_config(&config).unwrap().header(100).unwrap();
            let header = AdtsHeader::parse(&written).unwrap();
            assert_eq!(header.config(), config);
            assert_eq!((header.header_bytes, header.frame_bytes, header.samples()), (7, 107, 1024));
        }
        // ffmpeg's: 48 kHz, stereo, 137 bytes.
        let header = AdtsHeader::parse(&[0xFF, 0xF1, 0x4C, 0x80, 0x11, 0x3F, 0xFC]).unwrap();
        assert_eq!((header.sample_rate_hz(), header.frame_bytes), (48_000, 137));
        let with_crc = AdtsHeader::parse(&[0xFF, 0xF0, 0x4C, 0x80, 0x11, 0x3F, 0xFD]).unwrap();
        assert_eq!((with_crc.header_bytes, with_crc.samples()), (9, 2048));
    }

    #[test]
    fn what_is_none() {
        for (what, bytes) in [
            ("layer", [0xFF, 0xF3, 0x4C, 0x80, 0x11, 0x3F, 0xFC]),
            ("frequency", [0xFF, 0xF1, 0x74, 0x80, 0x11, 0x3F, 0xFC]),
            ("shorter than its header", [0xFF, 0xF1, 0x4C, 0x80, 0x00, 0xDF, 0xFC]),
            ("sync", [0xFE, 0xF1, 0x4C, 0x80, 0x11, 0x3F, 0xFC]),
        ] {
            assert_eq!(AdtsHeader::parse(&bytes), None, "{what}");
        }
        assert_eq!(AdtsHeader::parse(&[0xFF, 0xF1, 0x4C, 0x80, 0x11, 0x3F]), None);
    }
}
