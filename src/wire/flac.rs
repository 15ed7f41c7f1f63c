//! FLAC: STREAMINFO (RFC 9639 section 8.2) in the three forms that Enhanced FLV publishers send.

/// Bytes of the STREAMINFO content.
const STREAMINFO_BYTES: usize = 34;

/// What a STREAMINFO block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Samples a second and channel.
    pub sample_rate_hz: u32,
    /// 1..=8.
    pub channels: u32,
    /// 4..=32.
    pub bits_per_sample: u32,
}

impl StreamInfo {
    /// Reads `fLaC` with a metadata block (as specified), a metadata block, or its bare content (as ffmpeg sends).
    pub fn parse(config: &[u8]) -> Option<StreamInfo> {
        let block = config.strip_prefix(b"fLaC").unwrap_or(config);
        let info = if block.len() == STREAMINFO_BYTES {
            block
        } else {
            // Block type 0 in the low seven bits, then the content's size.
            let (&[kind, s0, s1, s2], content) = block.split_first_chunk::<4>()?;
            if kind & 0x7f != 0 || u32::from_be_bytes([0, s0, s1, s2]) as usize != STREAMINFO_BYTES {
                return None;
            }
            content
        };
        // Block and frame size bounds take ten bytes; then rate (20 bits), channels - 1 (3), bits - 1 (5).
        let fields = u32::from_be_bytes(*info.get(10..)?.first_chunk::<4>()?);
        let sample_rate_hz = fields >> 12;
        let (channels, bits_per_sample) = ((fields >> 9 & 7) + 1, (fields >> 4 & 31) + 1);
        (sample_rate_hz > 0).then_some(StreamInfo { sample_rate_hz, channels, bits_per_sample })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms() {
        // ffmpeg 9: 48 kHz, 2 channels, 32 bits.
        let mut bare = vec![4, 0, 4, 0, 0, 7, 0xcf, 0, 0x0f, 5, 0x0b, 0xb8, 3, 0xf0];
        bare.resize(STREAMINFO_BYTES, 0);
        let block = [&[0x80, 0, 0, 34][..], &bare].concat();
        let magic = [b"fLaC", &block[..]].concat();
        let expected = StreamInfo { sample_rate_hz: 48_000, channels: 2, bits_per_sample: 32 };
        for form in [&bare, &block, &magic] {
            assert_eq!(StreamInfo::parse(form), Some(expected), "{form:02x?}");
        }
        assert_eq!(StreamInfo::parse(&block[..20]), Some(expected), "the MD5 may be cut off");
        assert_eq!(
            StreamInfo::parse(&[[0x81, 0, 0, 34].to_vec(), bare.clone()].concat()),
            None,
            "padding block"
        );
        assert_eq!((StreamInfo::parse(b""), StreamInfo::parse(b"fLaC")), (None, None));
    }
}
