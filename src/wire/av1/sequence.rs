//! Sequence header (AV1 section 5.5): what a decoder must know before the first frame.

use super::obu::{self, kind};
use crate::wire::bits::BitReader;

/// `color_primaries` and `transfer_characteristics` that matter here (section 6.4.2).
mod color {
    pub const BT_709: u32 = 1;
    pub const UNSPECIFIED: u32 = 2;
    pub const SRGB_TRANSFER: u32 = 13;
    pub const IDENTITY: u32 = 0;
    /// Primaries of wide gamut: BT.2020, and P3 of cinemas and of displays.
    pub const WIDE: [u32; 3] = [9, 11, 12];
    /// Those of television and film.
    pub const NARROW: [u32; 4] = [1, 5, 6, 7];
    /// Transfer functions of high dynamic range: PQ and HLG.
    pub const HIGH: [u32; 2] = [16, 18];
    /// Those of standard range: of television, displays, and of BT.2020 without either.
    pub const STANDARD: [u32; 8] = [1, 4, 5, 6, 7, 13, 14, 15];
}

/// `select_screen_content_tools`, `select_integer_mv`: each frame tells.
const SELECT: u32 = 2;

/// What a sequence header says, as far as records and descriptors repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceHeader {
    /// `seq_profile`: 0 Main, 1 High, 2 Professional.
    pub profile: u8,
    /// `reduced_still_picture_header`: frames have no header of their own.
    pub still: bool,
    /// `seq_level_idx[0]`; 31 stands for no limits.
    pub level_idx: u8,
    /// `seq_tier[0]`.
    pub high_tier: bool,
    /// Largest frame in pixels.
    pub size: (u32, u32),
    /// `high_bitdepth`.
    pub high_bitdepth: bool,
    /// `twelve_bit`.
    pub twelve_bit: bool,
    /// `mono_chrome`.
    pub monochrome: bool,
    /// `subsampling_x` and `subsampling_y`.
    pub subsampling: (bool, bool),
    /// `chroma_sample_position`.
    pub chroma_position: u8,
    /// `hdr_wcg_idc` of an AV1 video descriptor (Carriage of AV1 in MPEG-2 TS, section 2.2.2): 0 standard, 1 wide gamut,
    /// 2 high dynamic range and wide gamut, 3 not told.
    pub hdr_wcg_idc: u8,
}

impl SequenceHeader {
    /// Reads the payload of a sequence header unit.
    pub fn parse(payload: &[u8]) -> Option<SequenceHeader> {
        let mut r = BitReader::new(payload);
        let profile = r.bits(3)?;
        r.skip(1)?; // still_picture
        let still = r.bit()?;
        let (level_idx, high_tier) = if still { (r.bits(5)?, false) } else { operating_points(&mut r)? };
        let (width_bits, height_bits) = (r.bits(4)? + 1, r.bits(4)? + 1);
        let size = (r.bits(width_bits)? + 1, r.bits(height_bits)? + 1);
        if !still && r.bit()? {
            r.skip(4 + 3)?; // lengths of frame ids
        }
        r.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
        if !still {
            tools(&mut r)?;
        }
        r.skip(3)?; // enable_superres, enable_cdef, enable_restoration
        let mut header = SequenceHeader {
            profile: profile as u8,
            still,
            level_idx: level_idx as u8,
            high_tier,
            size,
            high_bitdepth: r.bit()?,
            twelve_bit: false,
            monochrome: false,
            subsampling: (true, true),
            chroma_position: 0,
            hdr_wcg_idc: 3,
        };
        header.color_config(&mut r)?;
        Some(header)
    }

    /// Section 5.5.2, behind `high_bitdepth`.
    fn color_config(&mut self, r: &mut BitReader<'_>) -> Option<()> {
        self.twelve_bit = self.profile == 2 && self.high_bitdepth && r.bit()?;
        self.monochrome = self.profile != 1 && r.bit()?;
        let (primaries, transfer, matrix) = if r.bit()? {
            (r.bits(8)?, r.bits(8)?, r.bits(8)?)
        } else {
            (color::UNSPECIFIED, color::UNSPECIFIED, color::UNSPECIFIED)
        };
        let (wide, narrow) = (color::WIDE.contains(&primaries), color::NARROW.contains(&primaries));
        let (high, standard) = (color::HIGH.contains(&transfer), color::STANDARD.contains(&transfer));
        self.hdr_wcg_idc = match (wide, high) {
            (true, true) => 2,
            (true, false) if standard => 1,
            (false, false) if narrow && standard => 0,
            _ => 3,
        };
        if self.monochrome {
            return r.skip(1); // color_range
        }
        if (primaries, transfer, matrix) == (color::BT_709, color::SRGB_TRANSFER, color::IDENTITY) {
            self.subsampling = (false, false);
            return r.skip(1); // separate_uv_delta_q
        }
        r.skip(1)?; // color_range
        self.subsampling = match self.profile {
            0 => (true, true),
            1 => (false, false),
            _ if self.twelve_bit => {
                let x = r.bit()?;
                (x, x && r.bit()?)
            }
            _ => (true, false),
        };
        if self.subsampling == (true, true) {
            self.chroma_position = r.bits(2)? as u8;
        }
        r.skip(1) // separate_uv_delta_q
    }

    /// The first four bytes of an `av1C` record (AV1 ISOBMFF binding section 2.3), without a presentation delay.
    pub fn record_head(&self) -> [u8; 4] {
        let (x, y) = self.subsampling;
        let flags = [self.high_tier, self.high_bitdepth, self.twelve_bit, self.monochrome, x, y];
        let flags = flags.into_iter().fold(0, |byte, flag| byte << 1 | u8::from(flag));
        [0x81, self.profile << 5 | self.level_idx, flags << 2 | self.chroma_position, 0]
    }
}

/// The `av1C` record of a stream with this sequence header, given as the payload of its unit; `None` if it cannot be read.
pub fn av1c(payload: &[u8]) -> Option<Vec<u8>> {
    let mut record = SequenceHeader::parse(payload)?.record_head().to_vec();
    obu::append(&[kind::SEQUENCE_HEADER << 3], payload, &mut record).then_some(record)
}

/// From `timing_info_present_flag` to the last operating point: level and tier of the first.
fn operating_points(r: &mut BitReader<'_>) -> Option<(u32, bool)> {
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
    let mut first = None;
    for _ in 0..=r.bits(5)? {
        r.skip(12)?; // operating_point_idc
        let level_idx = r.bits(5)?;
        let high_tier = level_idx > 7 && r.bit()?;
        first.get_or_insert((level_idx, high_tier));
        if let Some(bits) = buffer_delay_bits
            && r.bit()?
        {
            r.skip(2 * bits + 1)?; // operating_parameters_info
        }
        if display_delay && r.bit()? {
            r.skip(4)?; // initial_display_delay_minus_1
        }
    }
    first
}

/// From `enable_interintra_compound` to `order_hint_bits_minus_1`.
fn tools(r: &mut BitReader<'_>) -> Option<()> {
    r.skip(4)?; // interintra, masked compound, warped motion, dual filter
    let order_hint = r.bit()?;
    if order_hint {
        r.skip(2)?; // enable_jnt_comp, enable_ref_frame_mvs
    }
    let screen_content = if r.bit()? { SELECT } else { r.bits(1)? };
    if screen_content > 0 && !r.bit()? {
        r.skip(1)?; // seq_force_integer_mv
    }
    if order_hint {
        r.skip(3)?; // order_hint_bits_minus_1
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The record of SVT-AV1 by ffmpeg 9: 320x180, 4:2:0 of 8 bits.
    const SVT: [u8; 17] =
        [0x81, 0, 0x0d, 0, 0x0a, 0x0b, 2, 0, 0, 5, 0x21, 0xe7, 0xf6, 0x60, 0x17, 0xc0, 0x12];

    #[test]
    fn the_record_of_svt_is_made_again() {
        let svt = SVT;
        let header = SequenceHeader::parse(&svt[6..]).unwrap();
        assert_eq!((header.size, header.level_idx, header.still), ((320, 180), 0, false));
        assert_eq!(header.subsampling, (true, true));
        assert_eq!(av1c(&svt[6..]).as_deref(), Some(&svt[..]));
        assert_eq!(av1c(&svt[6..12]), None);
    }

    #[test]
    fn range_and_gamut() {
        for (primaries, transfer, expected) in [
            (1, 1, 0),
            (6, 6, 0),
            (1, 13, 0),
            (9, 14, 1),
            (12, 13, 1),
            (9, 16, 2),
            (9, 18, 2),
            (11, 16, 2),
            (12, 16, 2),
            (9, 2, 3),
            (2, 16, 3),
            (1, 16, 3),
            (2, 2, 3),
        ] {
            let mut header = SequenceHeader::parse(&SVT[6..]).unwrap();
            // Not monochrome; described; matrix 1; the rest of the fields are 0.
            let bits: u32 = 0b01 << 30 | primaries << 22 | transfer << 14 | 1 << 6;
            header.color_config(&mut BitReader::new(&[&bits.to_be_bytes()[..], &[0]].concat())).unwrap();
            assert_eq!(header.hdr_wcg_idc, expected, "{primaries} {transfer}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(record) = av1c(&payload) {
                let said = crate::wire::av1::Av1Config::parse(&record).unwrap();
                let header = SequenceHeader::parse(&payload).unwrap();
                prop_assert_eq!(said.size, Some(header.size));
                prop_assert_eq!(said.profile, header.profile);
            }
        }
    }
}
