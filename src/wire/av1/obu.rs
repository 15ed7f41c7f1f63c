//! Open bitstream units (AV1 section 5.3): where they begin and end, and whether one shows a picture.
//!
//! Units come in the low-overhead format (section 5.2), in which each tells its size, but for the last of a run, which
//! may end where the bytes do.

use crate::wire::bits::BitReader;
use std::ops::Range;

/// `obu_type` (section 6.2.2).
pub mod kind {
    /// Sequence header.
    pub const SEQUENCE_HEADER: u8 = 1;
    /// Temporal delimiter: a temporal unit begins.
    pub const TEMPORAL_DELIMITER: u8 = 2;
    /// Frame header, whose tiles follow in units of their own.
    pub const FRAME_HEADER: u8 = 3;
    /// Frame header and tiles.
    pub const FRAME: u8 = 6;
    /// Tile list, for pictures out of order; no stream that is played has it.
    pub const TILE_LIST: u8 = 8;
}

/// `obu_extension_flag` in the first byte.
const EXTENDED: u8 = 0x04;
/// `obu_has_size_field` in the first byte.
const HAS_SIZE: u8 = 0x02;
/// `obu_forbidden_bit` in the first byte.
const FORBIDDEN: u8 = 0x80;
/// `frame_type` of a frame that decoding can begin with (section 6.8.2).
const KEY_FRAME: u32 = 0;

/// One unit and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obu {
    /// `obu_type`, see [`kind`].
    pub kind: u8,
    /// Header, with its extension and without the size.
    pub header: Range<usize>,
    /// What the header is in front of.
    pub payload: Range<usize>,
    /// Whether it tells its size.
    pub has_size: bool,
}

impl Obu {
    /// Reads the unit that begins at `at`. `None`: none does, or it is longer than what is there.
    pub fn parse(bytes: &[u8], at: usize) -> Option<Obu> {
        let rest = bytes.get(at..)?;
        let first = *rest.first()?;
        if first & FORBIDDEN != 0 {
            return None;
        }
        let header_bytes = if first & EXTENDED != 0 { 2 } else { 1 };
        let behind = rest.get(header_bytes..)?;
        let has_size = first & HAS_SIZE != 0;
        let (size, size_bytes) = if has_size {
            let (size, payload) = leb128(behind)?;
            (size, behind.len() - payload.len())
        } else {
            (behind.len(), 0)
        };
        let header = at..at + header_bytes;
        let begin = header.end + size_bytes;
        let end = begin.checked_add(size).filter(|end| *end <= bytes.len())?;
        Some(Obu { kind: first >> 3 & 0x0F, header, payload: begin..end, has_size })
    }
}

/// The units of `bytes`, up to the first that is none.
pub fn obus(bytes: &[u8]) -> impl Iterator<Item = Obu> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let obu = Obu::parse(bytes, at)?;
        at = obu.payload.end;
        Some(obu)
    })
}

/// Bytes of a size of 32 bits.
pub const SIZE_BYTES_MAX: usize = 5;
/// Bytes in front of a unit's payload: header, extension, size.
const HEAD_BYTES_MAX: usize = 2 + SIZE_BYTES_MAX;

/// What stands in front of a unit's payload.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    /// With the size, whatever `header` (one byte or two) says of one. `None`: that is no header, or no size.
    pub fn new(header: &[u8], payload_bytes: usize) -> Option<Head> {
        let (first, extension) = header.split_first()?;
        let mut head = Head { bytes: [0; HEAD_BYTES_MAX], len: 0 };
        head.push(first | HAS_SIZE)?;
        extension.iter().try_for_each(|byte| head.push(*byte))?;
        let mut value = u32::try_from(payload_bytes).ok()?;
        while value >= 0x80 {
            head.push((value & 0x7F) as u8 | 0x80)?;
            value >>= 7;
        }
        head.push(value as u8)?;
        Some(head)
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        Some(())
    }

    /// As it is written.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Appends a whole unit with its size. False: there is no such unit.
pub fn append(header: &[u8], payload: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(head) = Head::new(header, payload.len()) else { return false };
    out.extend_from_slice(head.as_slice());
    out.extend_from_slice(payload);
    true
}

/// Gives `unit`, which ends where `out` does, a size if it has none. Returns where it stands then; `None`: it is longer than
/// a size can say, and is gone.
pub fn with_size(unit: Obu, out: &mut Vec<u8>) -> Option<Obu> {
    if unit.has_size {
        return Some(unit);
    }
    let head = out.get(unit.header.clone()).and_then(|header| Head::new(header, unit.payload.len()));
    let Some(head) = head else {
        out.truncate(unit.header.start);
        return None;
    };
    let payload =
        unit.header.start + head.as_slice().len()..out.len() - unit.header.len() + head.as_slice().len();
    out.splice(unit.header.clone(), head.as_slice().iter().copied());
    Some(Obu { payload, has_size: true, ..unit })
}

/// What a frame header says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// It is shown, or shows one that was decoded before: a temporal unit has one of these in each layer.
    pub shown: bool,
    /// A key frame that is shown at once: decoding can begin here.
    pub key: bool,
}

impl FrameHead {
    /// Reads the beginning of a frame header or frame unit's payload (section 5.9.2). `still`: the sequence header has
    /// `reduced_still_picture_header`.
    pub fn parse(payload: &[u8], still: bool) -> Option<FrameHead> {
        if still {
            return Some(FrameHead { shown: true, key: true });
        }
        let mut r = BitReader::new(payload);
        if r.bit()? {
            return Some(FrameHead { shown: true, key: false });
        }
        let (frame_type, shown) = (r.bits(2)?, r.bit()?);
        Some(FrameHead { shown, key: shown && frame_type == KEY_FRAME })
    }
}

/// Section 4.10.5, limited to 32 bits. Returns the value and what follows it.
pub(super) fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(u32::try_from(value).ok()?).ok()?, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_and_their_ends() {
        // A delimiter, a frame with an extension, one without a size.
        let bytes = [0x12, 0, 0x36, 0x08, 2, 0xAA, 0xBB, 0x30, 1, 2, 3];
        let found: Vec<_> =
            obus(&bytes).map(|obu| (obu.kind, obu.header, obu.payload, obu.has_size)).collect();
        let expected = [(2, 0..1, 2..2, true), (6, 2..4, 5..7, true), (6, 7..8, 8..11, false)];
        assert_eq!(found, expected);
        for (what, bytes) in [
            ("the forbidden bit", &[0x92, 0][..]),
            ("a size that lies", &[0x32, 5, 1, 2]),
            ("no extension", &[0x36]),
            ("a size without an end", &[0x32, 0xFF, 0xFF]),
        ] {
            assert_eq!(Obu::parse(bytes, 0), None, "{what}");
        }
    }

    #[test]
    fn what_is_shown() {
        let head = |shown, key| Some(FrameHead { shown, key });
        for (what, payload, still, expected) in [
            ("a key frame", &[0b0001_0000][..], false, head(true, true)),
            ("one that is kept for later", &[0b0000_0000], false, head(false, false)),
            ("one that refers to others", &[0b0011_0000], false, head(true, false)),
            ("one from before", &[0b1000_0000], false, head(true, false)),
            ("a still picture", &[], true, head(true, true)),
            ("nothing", &[], false, None),
        ] {
            assert_eq!(FrameHead::parse(payload, still), expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn what_is_appended_is_read(payload in proptest::collection::vec(any::<u8>(), 0..300), extended: bool) {
            let header: &[u8] = if extended { &[0x34, 0x08] } else { &[0x30] };
            let mut bytes = Vec::new();
            prop_assert!(append(header, &payload, &mut bytes));
            let obu = Obu::parse(&bytes, 0).unwrap();
            prop_assert!(obu.has_size && obu.header == (0..header.len()) && obu.payload.end == bytes.len());
            prop_assert_eq!(&bytes[obu.payload], payload.as_slice());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let end = obus(&bytes).last().map_or(0, |obu| obu.payload.end);
            prop_assert!(end <= bytes.len());
        }
    }
}
