//! What pictures say of the decoder that they need, where a unit begins that one can start with.
//!
//! Only the first packet of the unit is looked at: parameter sets stand in front of everything but the delimiter, and what
//! is asked of them is in their first bytes. One that has them further behind says nothing.

use crate::wire::av1::obu::kind::SEQUENCE_HEADER;
use crate::wire::av1::{Av1Config, SequenceHeader};
use crate::wire::h264::Sps;
use crate::wire::h265::HevcConfig;
use crate::wire::ts::annexb::{Nal, Nals};
use crate::wire::ts::descriptor::Descriptors;
use crate::wire::ts::tstd::Buffers;
use crate::wire::ts::{av1, stream_type};

/// The buffers of a stream with this type and these descriptors, of which `bytes` is the beginning of a unit. `None`: it does
/// not say; `Some(None)`: it says a level that there is not, or that has no bounds.
pub(super) fn buffers(stream_type: u8, descriptors: &[u8], bytes: &[u8]) -> Option<Option<Buffers>> {
    let find = |kind: fn(&[u8]) -> Nal, wanted: Nal| {
        Nals::new(bytes).filter_map(|range| bytes.get(range)).find(|nal| kind(nal) == wanted)
    };
    let hevc = || {
        // Both say it, and the first of them is sooner whole.
        let set = find(Nal::of_hevc, Nal::Vps).or_else(|| find(Nal::of_hevc, Nal::Sps))?;
        Some(Buffers::of_hevc(&HevcConfig::of_set(set)?))
    };
    match stream_type {
        stream_type::H264 => Some(Buffers::of_h264(&Sps::parse(find(Nal::of_h264, Nal::Sps)?)?)),
        stream_type::HEVC => hevc(),
        stream_type::PRIVATE => match &Descriptors::new(descriptors).registration()? {
            b"HEVC" => hevc(),
            b"AV01" => {
                let mut room = Vec::new();
                let header = av1::Units::new(bytes).find_map(|unit| {
                    room.clear();
                    let unit = unit.append(&mut room).filter(|unit| unit.kind == SEQUENCE_HEADER)?;
                    room.get(unit.payload).and_then(SequenceHeader::parse)
                });
                Some(Buffers::of_av1(&Av1Config::parse(&header?.record_head())?))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    const DELIMITER: &str = "0000000109f0";
    /// Of x264, High 1.2.
    const SPS: &str = "000000016764000cacd941419f9f011000000300100000030320f1429960";
    /// Of x265, Main 3.1.
    const VPS: &str = "0000000140010c01ffff01600000030090000003000003005d959809";

    fn bps(kind: u8, descriptors: &[u8], bytes: &str) -> Option<Option<u64>> {
        buffers(kind, descriptors, &hex(bytes)).map(|found| found.map(|found| found.transport_bps))
    }

    #[test]
    fn of_h264() {
        let whole = format!("{DELIMITER}{SPS}00000165888400");
        assert_eq!(bps(stream_type::H264, &[], &whole), Some(Some(384_000 * 1500 / 1000)));
        assert_eq!(bps(stream_type::H264, &[], &whole.replace("64000c", "640021")), Some(None), "no level");
        for none in [DELIMITER, &whole[..30], "00000165888400", ""] {
            assert_eq!(bps(stream_type::H264, &[], none), None, "{none}");
        }
        assert_eq!(bps(stream_type::MPEG2_VIDEO, &[], &whole), None);
    }

    #[test]
    fn of_hevc() {
        let sps = VPS.replace("40010c01ffff01", "42010101").replace("959809", "a0028080");
        let named = [5, 4, b'H', b'E', b'V', b'C'];
        for (set, kind, said) in [
            (VPS, stream_type::HEVC, &[][..]),
            (VPS, stream_type::PRIVATE, &named),
            (&sps, stream_type::HEVC, &[]),
        ] {
            let whole = format!("00000001460150{set}000001260180");
            assert_eq!(bps(kind, said, &whole), Some(Some(11_000_000)), "{set}");
            let (cut, _) = whole.split_once("5d").unwrap();
            assert_eq!(bps(kind, said, cut), None, "{set}");
        }
        assert_eq!(bps(stream_type::PRIVATE, &[], VPS), None, "nobody says what it is");
    }

    #[test]
    fn of_av1() {
        let named = [5, 4, b'A', b'V', b'0', b'1'];
        // Temporal delimiter, sequence header of libaom (Main 2.0), plain and behind start codes, a frame that is cut.
        let plain = "12000a0b0200000521e7f66017c01232ff";
        let coded = "0000011200000001 0a0b020000030521e7f66017c012 00000132ff";
        for bytes in [plain, coded] {
            assert_eq!(bps(stream_type::PRIVATE, &named, bytes), Some(Some(1_650_000)), "{bytes}");
        }
        assert_eq!(bps(stream_type::PRIVATE, &named, "120032ff"), None);
    }
}
