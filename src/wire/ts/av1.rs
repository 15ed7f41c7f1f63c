//! AV1 (AOM, "Carriage of AV1 in MPEG-2 TS", section 3.2), read: units behind start codes become units again.

use super::annexb::{behind_zeros, start_code};
use crate::wire::av1::obu::{self, Obu};

/// Bytes of a start code.
const START_CODE_BYTES: usize = 3;
/// `obu_type` that is reserved: in plain form it is what zeros look like.
const RESERVED: u8 = 0;

/// What stands in a PES packet, unit by unit. Earlier drafts had no start codes, so what does not begin with one is read as
/// plain units, each of which tells its size. Where something stands that is no unit, that is the last.
#[derive(Clone, Debug)]
pub struct Units<'a> {
    rest: &'a [u8],
    coded: bool,
    ended: bool,
}

impl<'a> Units<'a> {
    /// Over a whole payload.
    pub fn new(payload: &'a [u8]) -> Units<'a> {
        let zeros = payload.iter().take_while(|byte| **byte == 0).count();
        // More zeros than two: start codes of four bytes, and what other byte streams put in front of theirs.
        let coded = zeros >= 2 && payload.get(zeros) == Some(&1);
        let begin = if coded { zeros + 1 } else { 0 };
        Units { rest: payload.get(begin..).unwrap_or_default(), coded, ended: false }
    }
}

impl<'a> Iterator for Units<'a> {
    type Item = Unit<'a>;

    fn next(&mut self) -> Option<Unit<'a>> {
        if self.ended {
            return None;
        }
        let (bytes, rest) = if self.coded {
            let code = start_code(self.rest, 0);
            self.ended = code.is_none();
            let (bytes, rest) = self.rest.split_at_checked(code.unwrap_or(self.rest.len()))?;
            (bytes, rest.get(START_CODE_BYTES..).unwrap_or_default())
        } else {
            let end = plain(self.rest, 0).map_or(self.rest.len(), |unit| unit.payload.end);
            self.ended = end == self.rest.len();
            self.rest.split_at_checked(end)?
        };
        self.rest = rest;
        Some(Unit { bytes, coded: self.coded })
    }
}

/// The plain unit that begins at `at`.
fn plain(bytes: &[u8], at: usize) -> Option<Obu> {
    Obu::parse(bytes, at).filter(|unit| unit.has_size && unit.kind != RESERVED)
}

/// Where a unit should stand.
#[derive(Clone, Copy, Debug)]
pub struct Unit<'a> {
    bytes: &'a [u8],
    coded: bool,
}

impl Unit<'_> {
    /// How many bytes [`Unit::append`] appends at most.
    pub fn bytes_max(&self) -> usize {
        self.bytes.len() + obu::SIZE_BYTES_MAX
    }

    /// Appends the unit as it was before it got a start code and emulation prevention bytes, with its size. Returns where in
    /// `out` it stands. `None`: it is no unit, and nothing was appended.
    pub fn append(&self, out: &mut Vec<u8>) -> Option<Obu> {
        let begin = out.len();
        out.reserve(self.bytes_max());
        let unit = if self.coded {
            unescape(self.bytes, out);
            let unit = Obu::parse(out, begin);
            // Zeros behind the end are what other byte streams put in front of start codes.
            unit.filter(|unit| out.iter().skip(unit.payload.end).all(|byte| *byte == 0))
        } else {
            out.extend_from_slice(self.bytes);
            plain(out, begin)
        };
        out.truncate(unit.as_ref().map_or(begin, |unit| unit.payload.end));
        obu::with_size(unit?, out)
    }
}

/// Appends `bytes` without the 3 of each 00 00 03.
fn unescape(bytes: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    while let Some(at) = behind_zeros(bytes, from, |byte| byte == 3) {
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Type and contents of all units; `None` if something is none.
    fn units(payload: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
        let mut out = vec![7; 3];
        let found = Units::new(payload)
            .map(|unit| {
                let (begin, unit) = (out.len(), unit.append(&mut out)?);
                // Where it begins it can be read again, with its size.
                assert_eq!(Obu::parse(&out, begin), Some(unit.clone()));
                assert!(unit.has_size && unit.header.start == begin && unit.payload.end == out.len());
                Some((unit.kind, out[unit.payload].to_vec()))
            })
            .collect();
        assert_eq!(out[..3], [7; 3], "what stood there before");
        found
    }

    #[test]
    fn both_forms() {
        let expected = Some(vec![(2, vec![]), (6, vec![0, 0, 1, 0]), (5, vec![9])]);
        // The last tells no size; the second ends in a zero, which belongs to it.
        let coded = [0, 0, 1, 0x12, 0, 0, 0, 1, 0x32, 4, 0, 0, 3, 1, 0, 0, 0, 1, 0x28, 9];
        assert_eq!(units(&coded), expected);
        assert_eq!(units(&[0x12, 0, 0x32, 4, 0, 0, 1, 0, 0x2A, 1, 9]), expected);
        // Start codes of four bytes.
        let two = Some(vec![(2, vec![]), (5, vec![9])]);
        assert_eq!(units(&[0, 0, 1, 0x12, 0, 0, 0, 0, 1, 0x2A, 1, 9]), two);
        assert_eq!(units(&[0, 0, 0, 1, 0x12, 0, 0, 0, 0, 1, 0x2A, 1, 9]), two, "and in front of the first");
        assert_eq!(units(&[0, 0, 0, 0, 0, 1, 0x12, 0, 0, 0, 1, 0x2A, 1, 9]), two, "and more zeros");
        for (what, bytes) in [
            ("longer than it is", &[0, 0, 1, 0x32, 4, 1, 2][..]),
            ("something behind its end", &[0, 0, 1, 0x32, 1, 1, 2]),
            ("an empty one", &[0, 0, 1, 0, 0, 1, 0x12, 0]),
            ("plain, and cut", &[0x12, 0, 0x32, 4]),
            ("plain, and without a size", &[0x12, 0, 0x28, 9]),
            ("plain, and reserved, without a size", &[0, 5, 6]),
            ("plain, and reserved", &[2, 1, 6]),
            ("zeros", &[0; 40]),
            ("a start code and nothing", &[0, 0, 1]),
            ("a start code and nothing at the end", &[0, 0, 1, 0x12, 0, 0, 0, 1]),
            ("nothing", &[]),
        ] {
            assert_eq!(units(bytes), None, "{what}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(prop_oneof![3 => 0u8..4, 1 => any::<u8>()], 0..80)) {
            units(&bytes);
            units(&[&[0, 0, 1], &bytes[..]].concat());
        }
    }
}
