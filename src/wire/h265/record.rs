//! The decoder configuration record of HEVC, written from parameter sets (ISO/IEC 14496-15 section 8.3.3.1).

use super::{NAL_SPS, Sps};
use crate::wire::bits::BitReader;

/// NAL unit type of a video parameter set.
const NAL_VPS: u8 = 32;
/// NAL unit type of a picture parameter set.
const NAL_PPS: u8 = 34;

/// The identifier of a parameter set NAL unit with its header of two bytes: what one of the same kind and identifier
/// replaces. `None`: it is none, or cannot be read.
pub fn set_id(nal: &[u8]) -> Option<u8> {
    let [first, _, rest @ ..] = nal else { return None };
    match first >> 1 & 0x3F {
        NAL_VPS => Some(rest.first()? >> 4),
        NAL_SPS => Some(Sps::parse(nal)?.id),
        NAL_PPS => BitReader::of_nal(rest).ue().filter(|id| *id < 64).map(|id| id as u8),
        _ => None,
    }
}

/// The `hvcC` record of these parameter sets, with lengths of four bytes. `None`: a kind is missing, or the first
/// sequence parameter set cannot be read, or one is too long.
pub fn hvcc(vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let first = Sps::parse(sps.first()?)?;
    let (luma, chroma) = first.more_bits;
    let mut record = vec![1];
    record.extend(first.general);
    // No bound of segmentation, and so nothing of parallelism; no frame rate.
    record.extend([0xF0, 0, 0xFC, 0xFC | first.chroma_format, 0xF8 | luma, 0xF8 | chroma, 0, 0]);
    record.push((first.sub_layers + 1).min(7) << 3 | u8::from(first.nested) << 2 | 3);
    record.push(3);
    for (kind, sets) in [(NAL_VPS, vps), (NAL_SPS, sps), (NAL_PPS, pps)] {
        if sets.is_empty() {
            return None;
        }
        // All of the kind stand here, and none in the pictures.
        record.push(0x80 | kind);
        record.extend(u16::try_from(sets.len()).ok()?.to_be_bytes());
        for set in sets {
            record.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
            record.extend(*set);
        }
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::h265::HevcConfig;
    use crate::wire::hex;
    use proptest::prelude::*;

    /// Of x265 in ffmpeg 9.
    const VPS: &str = "40010c01ffff01600000030090000003000003003c959409";
    const SPS: &str = "42010101600000030090000003000003003ca00a080c1f3e595952930bc05a7080000003008000000c84";
    const PPS: &str = "4401c173d189";

    #[test]
    fn the_record_says_what_the_encoder_said() {
        let (vps, sps, pps) = (hex(VPS), hex(SPS), hex(PPS));
        let record = hvcc(&[&vps], &[&sps], &[&pps]).unwrap();
        // ffmpeg's own, but for the flag that all sets are here.
        assert_eq!(record[..22], hex("0101600000009000000000003cf000fcfdf8f800000f"));
        let config = HevcConfig::parse(&record).unwrap();
        assert_eq!((config.size, config.profile_text().as_str()), (Some((320, 180)), "Main 2.0"));
        assert_eq!(record.len(), 23 + 3 * 5 + vps.len() + sps.len() + pps.len());
        assert_eq!(hvcc(&[], &[&sps], &[&pps]), None);
        assert_eq!(hvcc(&[&vps], &[&pps], &[&sps]), None);
        assert_eq!(
            [set_id(&vps), set_id(&sps), set_id(&pps), set_id(&[0x26, 1])],
            [Some(0), Some(0), Some(0), None]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 31u8..36, tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let nal = [&[kind << 1, 1], &tail[..]].concat();
            set_id(&nal);
            hvcc(&[&nal], &[&nal], &[&nal]);
        }
    }
}
