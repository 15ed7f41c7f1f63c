//! AV1 (AOM, "Carriage of AV1 in MPEG-2 TS", section 3.2), read: units behind start codes become units again.

use super::annexb::start_code;
use crate::wire::av1::obu::{self, Obu};
use std::ops::Range;

/// Bytes of a start code.
const START_CODE_BYTES: usize = 3;

/// Hands header and contents of each unit of a PES packet to `tell`: as they were before they got start codes and
/// emulation prevention bytes. Earlier drafts had neither, so what does not begin with a start code is read as plain
/// units. `scratch` is kept for its memory. False: what stands there is no unit; those before it were told.
pub fn read(payload: &[u8], scratch: &mut Vec<u8>, mut tell: impl FnMut(&Obu, &[u8])) -> bool {
    if start_code(payload, 0) != Some(0) {
        let end = obu::obus(payload).map(|obu| (obu.payload.end, tell(&obu, payload)).0).last();
        return end == Some(payload.len());
    }
    start_coded(payload).all(|range| {
        unescape(payload.get(range).unwrap_or_default(), scratch);
        let unit = Obu::parse(scratch, 0);
        // Zeros behind the end are what other byte streams put in front of start codes.
        let whole = unit.filter(|unit| scratch.iter().skip(unit.payload.end).all(|byte| *byte == 0));
        whole.map(|unit| tell(&unit, scratch)).is_some()
    })
}

/// What stands behind each start code.
fn start_coded(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut next = start_code(bytes, 0);
    std::iter::from_fn(move || {
        let begin = next? + START_CODE_BYTES;
        next = start_code(bytes, begin);
        Some(begin..next.unwrap_or(bytes.len()))
    })
}

/// Without the 3 of each 00 00 03.
fn unescape(bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut zeros = 0;
    for byte in bytes {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Type and contents of all units; `None` if something is none.
    fn units(payload: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
        let (mut found, mut scratch) = (Vec::new(), Vec::new());
        let whole = read(payload, &mut scratch, |unit, bytes| {
            found.push((unit.kind, bytes[unit.payload.clone()].to_vec()));
        });
        whole.then_some(found)
    }

    #[test]
    fn both_forms() {
        let expected = Some(vec![(2, vec![]), (6, vec![0, 0, 1, 0]), (5, vec![9])]);
        // The last tells no size; the second ends in a zero, which belongs to it.
        let coded = [0, 0, 1, 0x12, 0, 0, 0, 1, 0x32, 4, 0, 0, 3, 1, 0, 0, 0, 1, 0x28, 9];
        assert_eq!(units(&coded), expected);
        assert_eq!(units(&[0x12, 0, 0x32, 4, 0, 0, 1, 0, 0x28, 9]), expected);
        // Start codes of four bytes.
        assert_eq!(units(&[0, 0, 1, 0x12, 0, 0, 0, 0, 1, 0x2A, 1, 9]), Some(vec![(2, vec![]), (5, vec![9])]));
        for (what, bytes) in [
            ("longer than it is", &[0, 0, 1, 0x32, 4, 1, 2][..]),
            ("something behind its end", &[0, 0, 1, 0x32, 1, 1, 2]),
            ("an empty one", &[0, 0, 1, 0, 0, 1, 0x12, 0]),
            ("plain, and cut", &[0x12, 0, 0x32, 4]),
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
