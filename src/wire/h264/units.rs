//! NAL units beside the sequence parameter set, as far as a stream must be understood to be put into records and frames.

use super::{Sps, is_high};
use crate::wire::bits::BitReader;

/// Bytes of supplemental information that are looked through; encoders' own notes have up to 700.
const SEI_BYTES_MAX: usize = 4096;

/// `pic_parameter_set_id` and `seq_parameter_set_id` of a picture parameter set NAL unit (section 7.3.2.2).
pub fn pps_ids(nal: &[u8]) -> Option<(u8, u8)> {
    let mut r = BitReader::of_nal(nal.get(1..)?);
    let (id, of) = (r.ue()?, r.ue()?);
    (of < 32).then_some(())?;
    Some((u8::try_from(id).ok()?, of as u8))
}

/// `pic_parameter_set_id` of a slice NAL unit (section 7.3.3), with a reader that stands behind it.
pub fn pps_of_slice(nal: &[u8]) -> Option<(u8, BitReader<'_>)> {
    let mut r = BitReader::of_nal(nal.get(1..)?);
    r.ue()?; // first_mb_in_slice
    r.ue()?; // slice_type
    let id = u8::try_from(r.ue()?).ok()?;
    Some((id, r))
}

/// Whether a supplemental information NAL unit has a recovery point message (section D.1.8).
pub fn has_recovery_point(nal: &[u8]) -> bool {
    const RECOVERY_POINT: u32 = 6;
    let Some(messages) = nal.get(1..nal.len().min(SEI_BYTES_MAX)) else { return false };
    let mut r = BitReader::of_nal(messages);
    let number = |r: &mut BitReader<'_>| {
        let mut value = 0;
        loop {
            let byte = r.bits(8)?;
            value += byte;
            if byte < 255 {
                return Some(value);
            }
        }
    };
    // What is left at the end is a stop bit, and then less than a message.
    while let (Some(kind), Some(bytes)) = (number(&mut r), number(&mut r)) {
        if kind == RECOVERY_POINT {
            return true;
        }
        if r.skip(bytes.saturating_mul(8)).is_none() {
            return false;
        }
    }
    false
}

/// The `avcC` record of these parameter sets, with lengths of four bytes. `None`: there is no set that can be read, or
/// more than a record holds.
pub fn avcc(sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let first = Sps::parse(sps.first()?)?;
    if sps.len() > 31 || pps.is_empty() || pps.len() > 255 {
        return None;
    }
    let mut record = vec![1, first.profile_idc, first.constraints, first.level_idc, 0xFF];
    for (count, sets) in [(0xE0 | sps.len() as u8, sps), (pps.len() as u8, pps)] {
        record.push(count);
        for set in sets {
            record.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
            record.extend(*set);
        }
    }
    if is_high(first.profile_idc) {
        let (luma, chroma) = first.bit_depths;
        record.extend([0xFC | first.chroma_format, 0xF8 | (luma - 8), 0xF8 | (chroma - 8), 0]);
    }
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::h264::sps_of_avcc;
    use crate::wire::hex;
    use proptest::prelude::*;

    /// A record from the wild, taken apart and put together again.
    #[test]
    fn records_are_written_as_ffmpeg_writes_them() {
        let record =
            hex("0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000468efbcb0fdf8f800");
        let sps = sps_of_avcc(&record).unwrap();
        let pps = &record[8 + sps.len() + 3..record.len() - 4];
        assert_eq!((pps[0], pps_ids(pps)), (0x68, Some((0, 0))));
        assert_eq!(avcc(&[sps], &[pps]), Some(record.clone()));
        assert_eq!((avcc(&[], &[pps]), avcc(&[sps], &[]), avcc(&[pps], &[sps])), (None, None, None));
    }

    #[test]
    fn recovery_points() {
        for (nal, found) in [
            (&[6, 6, 1, 0xC4, 0x80][..], true),
            // Behind a message of 258 bytes, and behind another.
            (&[&[6, 5, 0xFF, 3][..], &[1; 258], &[6, 1, 0xC4, 0x80]].concat(), true),
            (&[6, 1, 2, 9, 9, 5, 1, 9, 0x80], false),
            // Behind a message of four zeros, which are written with a byte between them.
            (&[6, 0, 4, 0, 0, 3, 0, 0, 6, 1, 0xC4, 0x80], true),
            (&[6, 0xFF, 0xFF], false),
            (&[6], false),
        ] {
            assert_eq!(has_recovery_point(nal), found, "{nal:02x?}");
        }
    }

    /// Interlaced, 1920x1080: both fields of a frame, a frame, and nonsense.
    #[test]
    fn fields() {
        let record = hex("0164002affe100176764002aad846924924924924084687234ca03c0227ed0");
        let sps = Sps::parse(sps_of_avcc(&record).unwrap()).unwrap();
        assert!(!sps.frames_only);
        let field = |tail: &str| {
            // first_mb 0, slice type 7, parameter set 0, then frame_num.
            let bits =
                format!("1 0001000 1 {:0width$b} {tail} 1111111", 5, width = usize::from(sps.frame_num_bits));
            let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
            let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |byte, (i, bit)| byte | bit << (7 - i));
            let nal: Vec<u8> = std::iter::once(0x41).chain(bits.chunks(8).map(byte)).collect();
            let (id, reader) = pps_of_slice(&nal).unwrap();
            assert_eq!(id, 0);
            sps.field_of(reader)
        };
        assert_eq!([field("10"), field("11"), field("00")], [Some((5, false)), Some((5, true)), None]);
        assert!(pps_of_slice(&[0x41]).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            pps_ids(&bytes);
            has_recovery_point(&bytes);
            avcc(&[&bytes], &[&bytes]);
            if let Some((_, reader)) = pps_of_slice(&bytes) {
                let sps = Sps::parse(&hex("6764000cacd941419f9f011000000300100000030320f1429960")).unwrap();
                Sps { frames_only: false, ..sps }.field_of(reader);
            }
        }
    }
}
