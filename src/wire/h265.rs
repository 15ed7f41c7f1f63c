//! H.265: decoder configuration record (ISO/IEC 14496-15 section 8.3.3.1) and sequence parameter set (H.265 section
//! 7.3.2.2), as far as profile, level and picture size.

mod record;

use super::bits::BitReader;
pub use record::{hvcc, set_id};

/// NAL unit type of a video parameter set.
const NAL_VPS: u8 = 32;
/// NAL unit type of a sequence parameter set.
const NAL_SPS: u8 = 33;

/// What an `hvcC` record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HevcConfig {
    /// `general_profile_idc`.
    pub profile_idc: u8,
    /// High tier.
    pub high_tier: bool,
    /// `general_level_idc`: thirty times the level.
    pub level_idc: u8,
    /// Pixels after the conformance window, if a sequence parameter set stands in the record.
    pub size: Option<(u32, u32)>,
}

impl HevcConfig {
    /// Reads an `hvcC` record; one whose parameter sets are broken still tells profile and level.
    pub fn parse(record: &[u8]) -> Option<HevcConfig> {
        let (head, arrays) = record.split_first_chunk::<23>()?;
        if head[0] != 1 {
            return None;
        }
        let size = find_sps(arrays, head[22]).and_then(sps_size);
        Some(HevcConfig {
            profile_idc: head[1] & 0x1f,
            high_tier: head[1] & 0x20 != 0,
            level_idc: head[12],
            size,
        })
    }

    /// What a video or sequence parameter set says (sections 7.3.2.1, 7.3.2.2, 7.3.3), a NAL unit with its header of two bytes;
    /// it may be cut behind the level. The size is left out. `None`: it is no such set, or ends sooner.
    pub fn of_set(nal: &[u8]) -> Option<HevcConfig> {
        let mut r = BitReader::of_nal(nal.get(2..)?);
        // Ids, layers and their order, and 16 reserved bits in the one; an id, layers and their order in the other.
        r.skip(match nal.first()? >> 1 & 0x3F {
            NAL_VPS => 32,
            NAL_SPS => 8,
            _ => return None,
        })?;
        r.skip(2)?; // general_profile_space
        let (high_tier, profile_idc) = (r.bit()?, r.bits(5)? as u8);
        r.skip(32 + 48)?; // compatibility and constraint flags
        Some(HevcConfig { profile_idc, high_tier, level_idc: r.bits(8)? as u8, size: None })
    }

    /// Profile, level and tier as people write them, such as `Main 10 5.1 High tier`.
    pub fn profile_text(&self) -> String {
        let profile = match self.profile_idc {
            1 => "Main",
            2 => "Main 10",
            3 => "Main Still Picture",
            4 => "Range Extensions",
            9 => "Screen Content Coding",
            _ => "unknown profile",
        };
        let tier = if self.high_tier { " High tier" } else { "" };
        format!("{profile} {}.{}{tier}", self.level_idc / 30, self.level_idc % 30 / 3)
    }
}

/// The first sequence parameter set in the record's arrays.
fn find_sps(mut arrays: &[u8], count: u8) -> Option<&[u8]> {
    for _ in 0..count {
        let [kind, n0, n1, rest @ ..] = arrays else { return None };
        arrays = rest;
        for _ in 0..u16::from_be_bytes([*n0, *n1]) {
            let (&len, rest) = arrays.split_first_chunk::<2>()?;
            let (nal, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(len)))?;
            if kind & 0x3f == NAL_SPS {
                return Some(nal);
            }
            arrays = rest;
        }
    }
    None
}

/// What a sequence parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sps {
    /// `sps_max_sub_layers_minus1`.
    sub_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    nested: bool,
    /// Profile space, tier, profile, compatibility and constraint flags, level, as they stand.
    general: [u8; 12],
    id: u8,
    chroma_format: u8,
    /// Pixels after the conformance window.
    size: (u32, u32),
    /// Bits of a sample beyond eight: luma, chroma. 0 where the set ends early.
    more_bits: (u8, u8),
}

impl Sps {
    /// Reads a NAL unit with its header of two bytes.
    fn parse(nal: &[u8]) -> Option<Sps> {
        let mut r = BitReader::of_nal(nal.get(2..)?);
        r.skip(4)?; // sps_video_parameter_set_id
        let sub_layers = r.bits(3)?; // sps_max_sub_layers_minus1
        let nested = r.bit()?;
        let mut general = [0; 12];
        for byte in &mut general {
            *byte = r.bits(8)? as u8;
        }
        if sub_layers > 0 {
            let mut present = [(false, false); 8];
            for (layer, flags) in (0..8).zip(&mut present) {
                // Two bits each; those beyond the sub-layers are reserved.
                let bits = (r.bit()?, r.bit()?);
                if layer < sub_layers {
                    *flags = bits;
                }
            }
            for (profile, level) in present {
                r.skip(if profile { 88 } else { 0 } + if level { 8 } else { 0 })?;
            }
        }
        let id = r.ue().filter(|id| *id < 16)? as u8;
        let chroma_format = r.ue()?;
        let separate_planes = chroma_format == 3 && r.bit()?;
        let (mut width, mut height) = (r.ue()?, r.ue()?);
        if r.bit()? {
            let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
            let unit_x = if !separate_planes && matches!(chroma_format, 1 | 2) { 2 } else { 1 };
            let unit_y = if !separate_planes && chroma_format == 1 { 2 } else { 1 };
            width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
            height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
        }
        let mut more_bits = || r.ue().unwrap_or(0).min(7) as u8;
        Some(Sps {
            sub_layers: sub_layers as u8,
            nested,
            general,
            id,
            chroma_format: chroma_format.min(3) as u8,
            size: (width, height),
            more_bits: (more_bits(), more_bits()),
        })
    }
}

/// Picture size in a sequence parameter set NAL unit with its header of two bytes.
fn sps_size(nal: &[u8]) -> Option<(u32, u32)> {
    Some(Sps::parse(nal)?.size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;
    use proptest::prelude::*;

    /// x265 of ffmpeg 9: header, VPS and SPS arrays (its PPS and SEI arrays cut off).
    const X265: &str = "0101600000009000000000003cf000fcfdf8f800000f0220000100184001\
                        0c01ffff01600000030090000003000003003c959409210001002a420101\
                        01600000030090000003000003003ca00a080c1f3e595952930bc05a7080\
                        000003008000000c84";

    #[test]
    fn record_from_the_wild() {
        let record = hex(X265);
        let config = HevcConfig::parse(&record).unwrap();
        assert_eq!(config.size, Some((320, 180)));
        assert_eq!(config.profile_text(), "Main 2.0");
        let cut = HevcConfig::parse(&record[..60]).unwrap();
        assert_eq!((cut.level_idc, cut.size), (60, None));
        assert_eq!(HevcConfig::parse(&record[..22]), None);
        let high = HevcConfig { profile_idc: 2, high_tier: true, level_idc: 153, size: None };
        assert_eq!(high.profile_text(), "Main 10 5.1 High tier");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            HevcConfig::parse(&tail);
            sps_size(&tail);
            let mut record = hex(X265);
            record.truncate(22);
            record.extend(&tail);
            HevcConfig::parse(&record);
        }
    }
}
