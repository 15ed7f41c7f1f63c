//! AV1: `av1C` record (AV1 ISOBMFF binding section 2.3), sequence header (AV1 section 5.5) and open bitstream units.

pub mod obu;
mod sequence;

pub use sequence::{SequenceHeader, av1c};

/// What an `av1C` record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Av1Config {
    /// `seq_profile`: 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `seq_level_idx_0`.
    pub level_idx: u8,
    /// High tier.
    pub high_tier: bool,
    /// Bits a sample.
    pub bit_depth: u8,
    /// Largest frame in pixels, if a sequence header stands in the record.
    pub size: Option<(u32, u32)>,
}

impl Av1Config {
    /// Reads an `av1C` record; the OBUs in it are optional.
    pub fn parse(record: &[u8]) -> Option<Av1Config> {
        let (&[marker, levels, flags, _], obus) = record.split_first_chunk::<4>()?;
        if marker != 0x81 {
            return None;
        }
        let profile = levels >> 5;
        let bit_depth = match (flags & 0x40 != 0, flags & 0x20 != 0) {
            (false, _) => 8,
            (true, true) if profile == 2 => 12,
            (true, _) => 10,
        };
        let size = sequence_header(obus).and_then(SequenceHeader::parse).map(|header| header.size);
        Some(Av1Config { profile, level_idx: levels & 0x1f, high_tier: flags & 0x80 != 0, bit_depth, size })
    }

    /// Profile, level and depth as people write them, such as `Main 4.0 10 bit`.
    pub fn profile_text(&self) -> String {
        let profile =
            ["Main", "High", "Professional"].get(usize::from(self.profile)).unwrap_or(&"unknown profile");
        let tier = if self.high_tier { " High tier" } else { "" };
        let (major, minor) = (2 + self.level_idx / 4, self.level_idx % 4);
        // 31 means: no limits.
        let level = if self.level_idx == 31 { "max".to_owned() } else { format!("{major}.{minor}") };
        format!("{profile} {level}{tier} {} bit", self.bit_depth)
    }
}

/// The payload of the first sequence header among `obus`.
pub fn sequence_header(obus: &[u8]) -> Option<&[u8]> {
    let found = obu::obus(obus).find(|obu| obu.kind == obu::kind::SEQUENCE_HEADER)?;
    obus.get(found.payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SVT-AV1 of ffmpeg 9.
    const SVT: [u8; 17] =
        [0x81, 0, 0x0d, 0, 0x0a, 0x0b, 2, 0, 0, 5, 0x21, 0xe7, 0xf6, 0x60, 0x17, 0xc0, 0x12];

    #[test]
    fn record_from_the_wild() {
        let config = Av1Config::parse(&SVT).unwrap();
        assert_eq!(config.size, Some((320, 180)));
        assert_eq!(config.profile_text(), "Main 2.0 8 bit");
        let bare = Av1Config::parse(&[0x81, 0x28, 0xcc, 0]).unwrap();
        assert_eq!((bare.profile_text().as_str(), bare.size), ("High 4.0 High tier 10 bit", None));
        assert_eq!(Av1Config::parse(&[0x80, 0, 0, 0]), None);
        // A temporal delimiter before the sequence header is skipped.
        let delimited = [&SVT[..4], &[0x12, 0], &SVT[4..]].concat();
        assert_eq!(Av1Config::parse(&delimited), Some(config));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            Av1Config::parse(&[&SVT[..4], &tail].concat());
        }
    }
}
