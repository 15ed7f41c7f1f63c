//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1) with both ways to signal SBR and PS.

use super::bits::BitReader;

/// Sampling frequencies by index (table 1.18); 15 announces 24 bits instead.
pub const FREQUENCIES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Audio object types.
mod object_type {
    pub const SBR: u32 = 5;
    pub const PS: u32 = 29;
    pub const ESCAPE: u32 = 31;
}

/// What an AudioSpecificConfig says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// Object type of the core coder: 2 is LC.
    pub object_type: u32,
    /// Samples a second at the decoder's output, so twice the core's with SBR.
    pub sample_rate_hz: u32,
    /// Samples a second of the core coder.
    pub core_sample_rate_hz: u32,
    /// Channels of the core coder; PS makes two of one.
    pub channels: u32,
    /// `channelConfiguration` as it stands: 0 where a program config element tells the channels.
    pub channel_configuration: u32,
    /// Spectral band replication is signalled.
    pub sbr: bool,
    /// Parametric stereo is signalled.
    pub ps: bool,
}

impl AacConfig {
    /// Reads an AudioSpecificConfig.
    pub fn parse(bytes: &[u8]) -> Option<AacConfig> {
        let mut r = BitReader::new(bytes);
        let mut object_type = object_type(&mut r)?;
        let core_sample_rate_hz = frequency(&mut r)?;
        let channel_configuration = r.bits(4)?;
        let (mut sample_rate_hz, mut sbr, mut ps) = (core_sample_rate_hz, false, false);
        if matches!(object_type, object_type::SBR | object_type::PS) {
            // Explicit, hierarchical: the extension comes first.
            (sbr, ps) = (true, object_type == object_type::PS);
            sample_rate_hz = frequency(&mut r)?;
            object_type = self::object_type(&mut r)?;
        }
        let mut channels = channels(channel_configuration);
        if matches!(object_type, 1..=4 | 6 | 7 | 17 | 19..=23) {
            r.skip(1)?; // frameLengthFlag
            if r.bit()? {
                r.skip(14)?; // coreCoderDelay
            }
            let extension = r.bit()?;
            if channel_configuration == 0 {
                channels = program_channels(&mut r);
            } else if !sbr && !extension && object_type == 2 {
                // Explicit, backward compatible: behind a sync word at the end, where old decoders do not look.
                (sample_rate_hz, sbr, ps) =
                    sync_extension(&mut r).unwrap_or((core_sample_rate_hz, false, false));
            }
        }
        let channels = channels?;
        Some(AacConfig {
            object_type,
            sample_rate_hz,
            core_sample_rate_hz,
            channels,
            channel_configuration,
            sbr,
            ps,
        })
    }

    /// Profile as people write it, such as `LC` or `HE v2`.
    pub fn profile_text(&self) -> String {
        match (self.object_type, self.sbr, self.ps) {
            (2, true, true) => "HE v2".to_owned(),
            (2, true, false) => "HE".to_owned(),
            (1, ..) => "Main".to_owned(),
            (2, ..) => "LC".to_owned(),
            (3, ..) => "SSR".to_owned(),
            (4, ..) => "LTP".to_owned(),
            (23, ..) => "LD".to_owned(),
            (39, ..) => "ELD".to_owned(),
            (42, ..) => "xHE".to_owned(),
            (other, ..) => format!("object type {other}"),
        }
    }
}

fn object_type(r: &mut BitReader<'_>) -> Option<u32> {
    match r.bits(5)? {
        object_type::ESCAPE => Some(32 + r.bits(6)?),
        plain => Some(plain),
    }
}

fn frequency(r: &mut BitReader<'_>) -> Option<u32> {
    match r.bits(4)? {
        15 => r.bits(24),
        index => FREQUENCIES_HZ.get(index as usize).copied(),
    }
}

/// Channels of a channelConfiguration (table 1.19); 0 means that a program config element tells.
const fn channels(configuration: u32) -> Option<u32> {
    match configuration {
        1..=6 => Some(configuration),
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        13 => Some(24),
        _ => None,
    }
}

/// Channels of a program config element (section 4.4.1.1).
fn program_channels(r: &mut BitReader<'_>) -> Option<u32> {
    r.skip(4 + 2 + 4)?; // element_instance_tag, object_type, sampling_frequency_index
    let (front, side, back, lfe) = (r.bits(4)?, r.bits(4)?, r.bits(4)?, r.bits(2)?);
    r.skip(3 + 4)?; // associated data and coupling elements
    for mixdown_bits in [4, 4, 3] {
        if r.bit()? {
            r.skip(mixdown_bits)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        // A pair or a single channel, and its tag.
        channels += 1 + u32::from(r.bit()?);
        r.skip(4)?;
    }
    Some(channels)
}

/// Output rate, SBR and PS behind the sync word `0x2b7`; `None` if it is not there or says "absent".
fn sync_extension(r: &mut BitReader<'_>) -> Option<(u32, bool, bool)> {
    if r.bits(11)? != 0x2b7 || object_type(r)? != object_type::SBR || !r.bit()? {
        return None;
    }
    let rate = frequency(r)?;
    let ps = r.bits(11) == Some(0x548) && r.bit() == Some(true);
    Some((rate, true, ps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn configs() {
        // Bytes, profile, output rate, core rate, channels.
        for (bytes, profile, rate, core, channels) in [
            // ffmpeg 9: SBR marked absent behind the sync word.
            (&[0x11, 0x90, 0x56, 0xe5, 0x00][..], "LC", 48_000, 48_000, 2),
            (&[0x12, 0x10], "LC", 44_100, 44_100, 2),
            // Backward-compatible SBR, then with PS.
            (&[0x13, 0x90, 0x56, 0xe5, 0xa0], "HE", 44_100, 22_050, 2),
            (&[0x13, 0x88, 0x56, 0xe5, 0xa5, 0x48, 0x80], "HE v2", 44_100, 22_050, 1),
            // Hierarchical SBR and PS.
            (&[0x2b, 0x92, 0x08, 0x00], "HE", 44_100, 22_050, 2),
            (&[0xeb, 0x8a, 0x08, 0x00], "HE v2", 44_100, 22_050, 1),
            // 7.1, and an explicit 24-bit rate of 47 999 Hz.
            (&[0x11, 0xb8], "LC", 48_000, 48_000, 8),
            (&[0x17, 0x80, 0x5d, 0xbf, 0x88, 0x00], "LC", 47_999, 47_999, 1),
            // Program config element: one front pair, one LFE.
            (&[0x11, 0x80, 0x04, 0xc4, 0x01, 0x00, 0x20, 0x00], "LC", 48_000, 48_000, 3),
        ] {
            let config = AacConfig::parse(bytes).unwrap_or_else(|| panic!("{bytes:02x?}"));
            assert_eq!(config.profile_text(), profile, "{bytes:02x?}");
            let got = (config.sample_rate_hz, config.core_sample_rate_hz, config.channels);
            assert_eq!(got, (rate, core, channels), "{bytes:02x?}");
        }
        assert_eq!((AacConfig::parse(&[]), AacConfig::parse(&[0x12])), (None, None));
        assert_eq!(AacConfig::parse(&[0x16, 0x90]), None, "frequency index 13 is reserved");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            AacConfig::parse(&bytes);
        }
    }
}
