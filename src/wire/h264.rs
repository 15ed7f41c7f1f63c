//! H.264: decoder configuration record (ISO/IEC 14496-15 section 5.3.3.1) and sequence parameter set (H.264 section
//! 7.3.2.1.1), as far as profile, level, picture size and what it takes to tell fields apart.

mod units;

use super::bits::BitReader;
pub use units::{avcc, has_recovery_point, pps_ids, pps_of_slice};

/// `num_ref_frames_in_pic_order_cnt_cycle` at most (section 7.4.2.1.1).
const REF_FRAMES_IN_CYCLE_MAX: u32 = 255;

/// What a sequence parameter set says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`.
    pub profile_idc: u8,
    /// The byte of constraint flags, set0 in its highest bit.
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level_idc: u8,
    /// Pixels after cropping.
    pub width: u32,
    /// Pixels after cropping.
    pub height: u32,
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u8,
    /// `chroma_format_idc`, 0 to 3.
    pub chroma_format: u8,
    /// Bits of a sample: luma, chroma.
    pub bit_depths: (u8, u8),
    /// `separate_colour_plane_flag`.
    pub separate_planes: bool,
    /// Bits of `frame_num` in a slice header.
    pub frame_num_bits: u8,
    /// `frame_mbs_only_flag`: there are no fields.
    pub frames_only: bool,
}

/// The first sequence parameter set NAL unit in an `avcC` record.
pub fn sps_of_avcc(record: &[u8]) -> Option<&[u8]> {
    let [1, _, _, _, _, count, rest @ ..] = record else { return None };
    if count & 0x1f == 0 {
        return None;
    }
    let (&len, rest) = rest.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(len)))
}

/// Whether `profile_idc` has chroma format and bit depths of its own, in the parameter set and behind a record's lists.
fn is_high(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

impl Sps {
    /// What a slice NAL unit says of its field; `None`: it is a frame, or cannot be read.
    pub fn field_of(&self, mut slice: BitReader<'_>) -> Option<(u32, bool)> {
        if self.frames_only {
            return None;
        }
        if self.separate_planes {
            slice.skip(2)?;
        }
        let frame_num = slice.bits(u32::from(self.frame_num_bits))?;
        let (field, bottom) = (slice.bit()?, slice.bit()?);
        field.then_some((frame_num, bottom))
    }

    /// Reads a NAL unit of type 7, header byte included.
    pub fn parse(nal: &[u8]) -> Option<Sps> {
        let (header, payload) = nal.split_first()?;
        if header & 0x1f != 7 {
            return None;
        }
        let mut r = BitReader::of_nal(payload);
        let (profile_idc, constraints, level_idc) = (r.bits(8)? as u8, r.bits(8)? as u8, r.bits(8)? as u8);
        let id = r.ue().filter(|id| *id < 32)? as u8;
        let (mut chroma_format, mut separate_planes, mut bit_depths) = (1, false, (8, 8));
        if is_high(profile_idc) {
            chroma_format = r.ue()?;
            if chroma_format == 3 {
                separate_planes = r.bit()?;
            }
            bit_depths = (r.ue()?.min(6) as u8 + 8, r.ue()?.min(6) as u8 + 8);
            r.skip(1)?; // qpprime_y_zero_transform_bypass_flag
            if r.bit()? {
                let lists = if chroma_format == 3 { 12 } else { 8 };
                for list in 0..lists {
                    if r.bit()? {
                        skip_scaling_list(&mut r, if list < 6 { 16 } else { 64 })?;
                    }
                }
            }
        }
        let frame_num_bits = r.ue().filter(|bits| *bits <= 12)? as u8 + 4;
        match r.ue()? {
            0 => drop(r.ue()?), // log2_max_pic_order_cnt_lsb_minus4
            1 => {
                r.skip(1)?; // delta_pic_order_always_zero_flag
                r.se()?; // offset_for_non_ref_pic
                r.se()?; // offset_for_top_to_bottom_field
                let count = r.ue()?; // num_ref_frames_in_pic_order_cnt_cycle
                if count > REF_FRAMES_IN_CYCLE_MAX {
                    return None;
                }
                for _ in 0..count {
                    r.se()?; // offset_for_ref_frame
                }
            }
            _ => {}
        }
        r.ue()?; // max_num_ref_frames
        r.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let width_mbs = r.ue()?.checked_add(1)?;
        let height_units = r.ue()?.checked_add(1)?;
        let frame_mbs_only = r.bit()?;
        if !frame_mbs_only {
            r.skip(1)?; // mb_adaptive_frame_field_flag
        }
        r.skip(1)?; // direct_8x8_inference_flag
        let fields = if frame_mbs_only { 1 } else { 2 };
        let (mut width, mut height) = (width_mbs.checked_mul(16)?, height_units.checked_mul(16 * fields)?);
        if r.bit()? {
            let (left, right, top, bottom) = (r.ue()?, r.ue()?, r.ue()?, r.ue()?);
            let subsampled = !separate_planes;
            let unit_x = if subsampled && matches!(chroma_format, 1 | 2) { 2 } else { 1 };
            let unit_y = fields * if subsampled && chroma_format == 1 { 2 } else { 1 };
            width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
            height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
        }
        Some(Sps {
            profile_idc,
            constraints,
            level_idc,
            width,
            height,
            id,
            chroma_format: chroma_format.min(3) as u8,
            bit_depths,
            separate_planes,
            frame_num_bits,
            frames_only: frame_mbs_only,
        })
    }

    /// Profile and level as people write them, such as `High 4.1`.
    pub fn profile_text(&self) -> String {
        let set = |flag: u32| self.constraints >> (7 - flag) & 1 == 1;
        let profile = match self.profile_idc {
            66 if set(1) => "Constrained Baseline",
            66 => "Baseline",
            77 => "Main",
            88 => "Extended",
            100 if set(4) && set(5) => "Constrained High",
            100 => "High",
            110 => "High 10",
            122 => "High 4:2:2",
            244 => "High 4:4:4 Predictive",
            44 => "CAVLC 4:4:4 Intra",
            other => {
                return format!("profile {other}, level {}.{}", self.level_idc / 10, self.level_idc % 10);
            }
        };
        if self.level_idc == 11 && set(3) && matches!(self.profile_idc, 66 | 77 | 88) {
            return format!("{profile} 1b");
        }
        format!("{profile} {}.{}", self.level_idc / 10, self.level_idc % 10)
    }
}

/// Section 7.3.2.1.1.1: reads past one list.
fn skip_scaling_list(r: &mut BitReader<'_>, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            // Out of the legal -128..=127 means garbage.
            let delta = i32::from(i8::try_from(r.se()?).ok()?);
            next = (last + delta).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;
    use proptest::prelude::*;

    #[test]
    fn records_from_the_wild() {
        for (who, record, size, profile) in [
            (
                "x264 of ffmpeg 9",
                "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000468efbcb0fdf8f800",
                (320, 180),
                "High 1.2",
            ),
            (
                "x264enc of GStreamer 1.22",
                "01f4000dffe1001c67f4000d90d9640a37e7c05a83030320000003002000000651e2854901000668ebcc448440",
                (160, 90),
                "High 4:4:4 Predictive 1.3",
            ),
            // Interlaced 1920x1080 (34 map units of two fields, cropped by two units of four lines), with scaling
            // lists and picture order count type 1.
            (
                "by hand",
                "0164002affe100176764002aad846924924924924084687234ca03c0227ed0",
                (1920, 1080),
                "High 4.2",
            ),
        ] {
            let record = hex(record);
            let sps = Sps::parse(sps_of_avcc(&record).expect(who)).expect(who);
            assert_eq!((sps.width, sps.height), size, "{who}");
            assert_eq!(sps.profile_text(), profile, "{who}");
        }
    }

    #[test]
    fn profile_texts() {
        let any = Sps::parse(&hex("6764000cacd941419f9f011000000300100000030320f1429960")).expect("of x264");
        for (profile_idc, constraints, level_idc, text) in [
            (66, 0x40, 31, "Constrained Baseline 3.1"),
            (66, 0x10, 11, "Baseline 1b"),
            (100, 0x0c, 40, "Constrained High 4.0"),
            (1, 0, 52, "profile 1, level 5.2"),
        ] {
            assert_eq!(Sps { profile_idc, constraints, level_idc, ..any }.profile_text(), text);
        }
    }

    #[test]
    fn a_reference_cycle_is_bounded() {
        let ue = |n: u32| format!("{:0width$b}", n + 1, width = 2 * (n + 1).ilog2() as usize + 1);
        let sps = |count: u32| {
            // Baseline 3.0, picture order count type 1, one macroblock.
            let cycle = "1".repeat(count as usize);
            let bits =
                format!("010000100000000000011110 1 1 010 0 1 1 {} {cycle} 1 0 1 1 1 1 0 0 1", ue(count));
            let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
            let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |byte, (i, bit)| byte | bit << (7 - i));
            let nal: Vec<u8> = std::iter::once(0x67).chain(bits.chunks(8).map(byte)).collect();
            Sps::parse(&nal).map(|sps| (sps.width, sps.height))
        };
        assert_eq!([sps(0), sps(255), sps(256)], [Some((16, 16)), Some((16, 16)), None]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            sps_of_avcc(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = 0x67;
            }
            if let Some(second) = bytes.get_mut(1) {
                *second = if *second & 1 == 0 { 100 } else { 66 };
            }
            Sps::parse(&bytes);
        }
    }
}
