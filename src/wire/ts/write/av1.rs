//! AV1 (AOM, "Carriage of AV1 in MPEG-2 TS", section 3.2): each unit behind a start code, with emulation prevention
//! bytes; each key frame behind its sequence header.
//!
//! Temporal delimiters are left out, as section 3.1 allows: a temporal unit begins where its PES packet does, and mpegts.js
//! 1.8 fails over a delimiter that comes before the first sequence header.

use crate::wire::av1::obu::{self, Head, kind};
use crate::wire::av1::{SequenceHeader, sequence_header};
use crate::wire::ts::annexb::behind_zeros;

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
        self.coded(unit, key).is_some_and(|mut units| units.all(|unit| unit.put(&mut put)))
    }

    /// Bytes that [`Av1::convert`] makes of `unit`; `None` if there is nothing to decode.
    pub fn bytes(&self, unit: &[u8], key: bool) -> Option<usize> {
        Some(self.coded(unit, key)?.map(|unit| unit.bytes()).sum())
    }

    /// What is written of a temporal unit. A key frame has its sequence header in front of it, be it the record's, and behind
    /// that what else the record has, such as the range of brightness, unless it has that itself. `None`: there is no frame.
    fn coded<'a>(&'a self, unit: &'a [u8], key: bool) -> Option<impl Iterator<Item = Coded<'a>>> {
        let frame = obu::obus(unit).find(|obu| matches!(obu.kind, kind::FRAME | kind::FRAME_HEADER))?;
        let own = obu::obus(unit).find(|obu| obu.kind == kind::SEQUENCE_HEADER);
        let own = own.filter(|own| own.payload.end <= frame.header.start);
        let (front, back) = unit.split_at_checked(own.as_ref().map_or(0, |own| own.payload.end))?;
        let config = if key { self.config.as_slice() } else { &[] };
        let is_new = move |of: &Coded<'_>| {
            own.is_none() || of.kind != kind::SEQUENCE_HEADER && !coded(unit).any(|unit| unit.is(of))
        };
        Some(coded(front).chain(coded(config).filter(is_new)).chain(coded(back)))
    }
}

/// A unit of a byte stream.
struct Coded<'a> {
    kind: u8,
    head: Head,
    payload: &'a [u8],
}

/// All units but delimiters, and tile lists, which must not be there (section 3.1).
fn coded(bytes: &[u8]) -> impl Iterator<Item = Coded<'_>> {
    obu::obus(bytes).filter(|obu| !matches!(obu.kind, kind::TEMPORAL_DELIMITER | kind::TILE_LIST)).filter_map(
        |obu| {
            let (header, payload) = (bytes.get(obu.header)?, bytes.get(obu.payload)?);
            Some(Coded { kind: obu.kind, head: Head::new(header, payload.len())?, payload })
        },
    )
}

impl Coded<'_> {
    /// Whether it is the same as `other`.
    fn is(&self, other: &Coded<'_>) -> bool {
        (self.kind, self.payload) == (other.kind, other.payload)
    }

    /// Whether it ends with two zeros that would be part of the next start code; its payload from `from` on is behind the last
    /// prevention. Heads need none inside: neither their first byte nor the last of a size is 0, but for an empty payload's.
    fn ends_in_zeros(&self, from: usize) -> bool {
        let end = if self.payload.is_empty() { Some(self.head.as_slice()) } else { self.payload.get(from..) };
        end.is_some_and(|end| end.ends_with(&[0, 0]))
    }

    fn put(&self, put: &mut impl FnMut(&[u8]) -> bool) -> bool {
        if !put(&START_CODE) || !put(self.head.as_slice()) {
            return false;
        }
        let mut from = 0;
        while let Some(at) = behind_zeros(self.payload, from, |byte| byte <= 3) {
            if !put(self.payload.get(from..at).unwrap_or_default()) || !put(&PREVENTION) {
                return false;
            }
            from = at;
        }
        put(self.payload.get(from..).unwrap_or_default()) && (!self.ends_in_zeros(from) || put(&PREVENTION))
    }

    fn bytes(&self) -> usize {
        let (mut from, mut preventions) = (0, 0);
        while let Some(at) = behind_zeros(self.payload, from, |byte| byte <= 3) {
            (from, preventions) = (at, preventions + 1);
        }
        preventions += usize::from(self.ends_in_zeros(from));
        START_CODE.len() + self.head.as_slice().len() + self.payload.len() + preventions * PREVENTION.len()
    }
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
        let av1 = Av1::of_record(&RECORD).unwrap();
        let whole = av1.convert(unit, key, |part| {
            out.extend(part);
            true
        });
        assert_eq!(av1.bytes(unit, key), whole.then_some(out.len()), "{unit:02x?}");
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
        let behind = [&frame[..], &RECORD[4..]].concat();
        assert_eq!(converted(&behind, true), Some([&key[..], &header].concat()), "too late");
        // An empty unit whose extension is zero ends in two zeros.
        let empty = [&frame[..], &[0x7E, 0, 0]].concat();
        assert_eq!(converted(&empty, false), Some([&coded[..], &[0, 0, 1, 0x7E, 0, 0, 3]].concat()));
        assert_eq!(converted(&[0x12, 0], true), None, "nothing to decode");
        assert_eq!(converted(&RECORD[4..], true), None, "a header alone");
        assert_eq!(converted(&[0x42, 1, 7], true), None, "a tile list");
        // Without a size it gets one; what begins like a start code is kept apart, and so are zeros at the end.
        let bare = [0x30, 0x10, 0, 0, 1, 0, 0, 0, 0];
        let expected = [0, 0, 1, 0x32, 8, 0x10, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3];
        assert_eq!(converted(&bare, false), Some(expected.to_vec()));
    }

    /// Metadata of the record, here of its brightest pixels, goes behind whichever header is in front.
    #[test]
    fn what_else_the_record_has_is_kept() {
        let (light, frame) = ([0x2A, 6, 1, 3, 0xE8, 1, 0x90, 0x80], [0x32, 2, 0x10, 0xAA]);
        let sequence = &RECORD[4..];
        let av1 = Av1::of_record(&[&RECORD, &light[..]].concat()).unwrap();
        let expected = [&[0, 0, 1][..], sequence, &[0, 0, 1], &light, &[0, 0, 1], &frame].concat();
        for (what, unit) in [
            ("neither", frame.to_vec()),
            ("its own header", [sequence, &frame].concat()),
            ("both, and a delimiter", [&[0x12, 0], sequence, &light, &frame].concat()),
        ] {
            let mut out: Vec<u8> = Vec::new();
            assert!(av1.convert(&unit, true, |part| (out.extend(part), true).1), "{what}");
            assert_eq!(out, expected, "{what}");
            assert_eq!(av1.bytes(&unit, true), Some(expected.len()), "{what}");
        }
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
            let mut again = Vec::new();
            prop_assert!(av1::Units::new(&coded).all(|unit| unit.append(&mut again).is_some()));
            prop_assert_eq!(again, unit);
        }

        #[test]
        fn arbitrary_bytes_never_panic(record in proptest::collection::vec(any::<u8>(), 0..40), unit in proptest::collection::vec(any::<u8>(), 0..60)) {
            descriptor_body(&record);
            let record = [&[0x81, 0, 0, 0], &record[..]].concat();
            let (av1, mut bytes) = (Av1::of_record(&record).unwrap(), 0);
            let whole = av1.convert(&unit, true, |part| (bytes += part.len(), true).1);
            prop_assert_eq!(av1.bytes(&unit, true), whole.then_some(bytes));
        }
    }
}
