//! AV1: `av1C` record (AV1 ISOBMFF binding section 2.3) and sequence header OBU (AV1 section 5.5).

use super::bits::BitReader;

/// OBU type of a sequence header.
const OBU_SEQUENCE_HEADER: u8 = 1;

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
        let size = sequence_header(obus).and_then(max_frame_size);
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

/// The payload of the first sequence header OBU.
fn sequence_header(mut obus: &[u8]) -> Option<&[u8]> {
    loop {
        let (&header, rest) = obus.split_first()?;
        let rest = if header & 0x04 != 0 { rest.get(1..)? } else { rest };
        let (size, rest) = if header & 0x02 != 0 { leb128(rest)? } else { (rest.len(), rest) };
        let (payload, rest) = rest.split_at_checked(size)?;
        if header >> 3 & 0x0f == OBU_SEQUENCE_HEADER {
            return Some(payload);
        }
        obus = rest;
    }
}

/// Section 4.10.5, limited to 32 bits. Returns the value and what follows it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(u32::try_from(value).ok()?).ok()?, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Section 5.5.1, up to `max_frame_height_minus_1`.
fn max_frame_size(payload: &[u8]) -> Option<(u32, u32)> {
    let mut r = BitReader::new(payload);
    r.skip(3 + 1)?; // seq_profile, still_picture
    if r.bit()? {
        r.skip(5)?; // reduced_still_picture_header: seq_level_idx only
    } else {
        let mut buffer_delay_bits = None;
        if r.bit()? {
            r.skip(32 + 32)?; // num_units_in_display_tick, time_scale
            if r.bit()? {
                r.ue()?; // num_ticks_per_picture_minus_1
            }
            if r.bit()? {
                buffer_delay_bits = Some(r.bits(5)? + 1);
                r.skip(32 + 5 + 5)?; // rest of decoder_model_info
            }
        }
        let display_delay = r.bit()?;
        for _ in 0..=r.bits(5)? {
            r.skip(12)?; // operating_point_idc
            if r.bits(5)? > 7 {
                r.skip(1)?; // seq_tier
            }
            if let Some(bits) = buffer_delay_bits
                && r.bit()?
            {
                r.skip(2 * bits + 1)?; // operating_parameters_info
            }
            if display_delay && r.bit()? {
                r.skip(4)?; // initial_display_delay_minus_1
            }
        }
    }
    let (width_bits, height_bits) = (r.bits(4)? + 1, r.bits(4)? + 1);
    Some((r.bits(width_bits)? + 1, r.bits(height_bits)? + 1))
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
            max_frame_size(&tail);
            Av1Config::parse(&[&SVT[..4], &tail].concat());
        }
    }
}
