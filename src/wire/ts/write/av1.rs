//! AV1 (AOM, "Carriage of AV1 in MPEG-2 TS", section 3.2): each unit behind a start code, with emulation prevention
//! bytes; each key frame behind its sequence header.
//!
//! Temporal delimiters are left out, as section 3.1 allows: a temporal unit begins where its PES packet does, and mpegts.js
//! 1.8 fails over a delimiter that comes before the first sequence header.

use crate::wire::av1::obu::{self, Head, Obu, kind};
use crate::wire::av1::{SequenceHeader, sequence_header};

/// In front of every unit.
const START_CODE: [u8; 3] = [0, 0, 1];
/// What keeps two zeros apart from a byte that would make a start code of them.
const PREVENTION: [u8; 1] = [3];
/// Bytes of an `av1C` record in front of its units.
const RECORD_HEAD_BYTES: usize = 4;

/// How a track's temporal units become a byte stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Av1 {
    /// The record's units.
    config: Vec<u8>,
}

impl Av1 {
    /// As an `av1C` record says (AV1 ISOBMFF binding section 2.3). `None` if it is not one.
    pub fn of_record(record: &[u8]) -> Option<Av1> {
        let (head, units) = record.split_at_checked(RECORD_HEAD_BYTES)?;
        (head.first() == Some(&0x81)).then(|| Av1 { config: units.into() })
    }

    /// Hands the byte stream of one temporal unit to `put`, in parts. `key` says that decoding can begin here. Units
    /// behind one that lies about its size are left out. False if `put` said so, or if there is nothing to decode.
    pub fn convert(&self, unit: &[u8], key: bool, mut put: impl FnMut(&[u8]) -> bool) -> bool {
        let (mut own, mut any) = (false, false);
        for obu in obu::obus(unit) {
            own |= obu.kind == kind::SEQUENCE_HEADER;
            any |= matches!(obu.kind, kind::FRAME | kind::FRAME_HEADER);
        }
        any && (!key || own || put_units(&self.config, &mut put)) && put_units(unit, &mut put)
    }
}

/// All units but delimiters, and tile lists, which must not be there (section 3.1).
fn put_units(bytes: &[u8], put: &mut impl FnMut(&[u8]) -> bool) -> bool {
    obu::obus(bytes)
        .filter(|obu| !matches!(obu.kind, kind::TEMPORAL_DELIMITER | kind::TILE_LIST))
        .all(|obu| put_unit(bytes, &obu, put))
}

fn put_unit(bytes: &[u8], unit: &Obu, put: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let (header, payload) = (bytes.get(unit.header.clone()), bytes.get(unit.payload.clone()));
    let (Some(header), Some(payload)) = (header, payload) else { return false };
    let Some(head) = Head::new(header, payload.len()) else { return false };
    let mut zeros = 0;
    put(&START_CODE)
        && put_escaped(head.as_slice(), &mut zeros, put)
        && put_escaped(payload, &mut zeros, put)
        // Two zeros at the end would be part of the next start code.
        && (zeros < 2 || put(&PREVENTION))
}

/// `zeros`: how many are in front.
fn put_escaped(bytes: &[u8], zeros: &mut u32, put: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *zeros >= 2 && *byte <= 3 {
            if !put(bytes.get(from..at).unwrap_or_default()) || !put(&PREVENTION) {
                return false;
            }
            (from, *zeros) = (at, 0);
        }
        *zeros = if *byte == 0 { *zeros + 1 } else { 0 };
    }
    put(bytes.get(from..).unwrap_or_default())
}

/// The contents of an AV1 video descriptor (section 2.2): the head of an `av1C` record, with two bits of its last byte
/// for the range of brightness and colours, which the record's sequence header tells. `None` if it is no such record.
pub fn descriptor_body(record: &[u8]) -> Option<[u8; RECORD_HEAD_BYTES]> {
    /// `hdr_wcg_idc` that says nothing.
    const NOT_TOLD: u8 = 3;
    let (&[marker, levels, flags, delay], units) = record.split_first_chunk::<RECORD_HEAD_BYTES>()?;
    let told = sequence_header(units).and_then(SequenceHeader::parse);
    let range = told.map_or(NOT_TOLD, |header| header.hdr_wcg_idc);
    Some([marker, levels, flags, range << 6 | delay & 0x1F])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::av1;
    use proptest::prelude::*;

    /// SVT-AV1 by ffmpeg 9.
    const RECORD: [u8; 17] =
        [0x81, 0, 0x0d, 0, 0x0a, 0x0b, 2, 0, 0, 5, 0x21, 0xe7, 0xf6, 0x60, 0x17, 0xc0, 0x12];

    fn converted(unit: &[u8], key: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let whole = Av1::of_record(&RECORD).unwrap().convert(unit, key, |part| {
            out.extend(part);
            true
        });
        whole.then_some(out)
    }

    #[test]
    fn units_get_start_codes_and_key_frames_their_header() {
        let frame = [0x32, 3, 0x10, 0xAA, 0xBB];
        let coded = [&[0, 0, 1][..], &frame].concat();
        assert_eq!(converted(&frame, false).as_ref(), Some(&coded));
        assert_eq!(converted(&[&[0x12, 0][..], &frame].concat(), false), Some(coded.clone()), "no delimiter");
        // 00 00 05 needs no prevention, 02 00 00 does not begin with zeros.
        let header = [&[0, 0, 1][..], &RECORD[4..]].concat();
        let key = [&header[..], &coded].concat();
        assert_eq!(converted(&frame, true).as_ref(), Some(&key));
        let own = [&RECORD[4..], &frame].concat();
        assert_eq!(converted(&own, true).as_ref(), Some(&key), "its own is as good");
        assert_eq!(converted(&[0x12, 0], true), None, "nothing to decode");
        assert_eq!(converted(&[0x42, 1, 7], true), None, "a tile list");
        // Without a size it gets one; what begins like a start code is kept apart, and so are zeros at the end.
        let bare = [0x30, 0x10, 0, 0, 1, 0, 0, 0, 0];
        let expected = [0, 0, 1, 0x32, 8, 0x10, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3];
        assert_eq!(converted(&bare, false), Some(expected.to_vec()));
    }

    #[test]
    fn the_descriptor_is_the_head_of_the_record() {
        assert_eq!(descriptor_body(&RECORD), Some([0x81, 0, 0x0D, 0xC0]), "no colours are told");
        assert_eq!(descriptor_body(&[0x81, 0x28, 0xCC, 0x13]), Some([0x81, 0x28, 0xCC, 0xD3]));
        assert_eq!((descriptor_body(&RECORD[..3]), Av1::of_record(&[0x80, 0, 0, 0])), (None, None));
    }

    proptest! {
        #[test]
        fn nothing_looks_like_a_start_code_and_all_is_read_again(
            payload in proptest::collection::vec(prop_oneof![4 => 0u8..5, 1 => any::<u8>()], 0..200),
        ) {
            let mut unit = Vec::new();
            obu::append(&[kind::FRAME << 3], &payload, &mut unit);
            let coded = converted(&unit, false).unwrap();
            let body = &coded[3..];
            for at in 0..body.len() {
                prop_assert!(!matches!(body[at..], [0, 0, 0..=2, ..]), "{:02x?}", body);
                prop_assert!(!matches!(body[at..], [0, 0, 3, 4..=255, ..]), "{:02x?}", body);
            }
            let (mut found, mut scratch) = (Vec::new(), Vec::new());
            let whole = av1::read(&coded, &mut scratch, |obu, bytes| found.push((obu.kind, bytes[obu.payload.clone()].to_vec())));
            prop_assert!(whole);
            prop_assert_eq!(found, [(kind::FRAME, payload)]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(record in proptest::collection::vec(any::<u8>(), 0..40), unit in proptest::collection::vec(any::<u8>(), 0..60)) {
            descriptor_body(&record);
            let record = [&[0x81, 0, 0, 0], &record[..]].concat();
            Av1::of_record(&record).unwrap().convert(&unit, true, |_| true);
        }
    }
}
