//! H.264 and HEVC as byte streams (H.264 and H.265 annex B): length-prefixed NAL units become start-coded ones, each
//! picture behind an access unit delimiter, each random access point behind its parameter sets.

/// In front of every NAL unit. The short form would do between slices; four bytes are right everywhere.
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    H264,
    Hevc,
}

/// What a NAL unit is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nal {
    Delimiter,
    /// A parameter set; which, as a bit.
    Set(u8),
    /// A slice of a picture that decoding can begin with.
    RandomAccess,
    Other,
}

impl Syntax {
    /// The delimiter with its start code. It says that the picture may hold slices of any type.
    const fn delimiter(self) -> &'static [u8] {
        match self {
            Syntax::H264 => &[0, 0, 0, 1, 0x09, 0xF0],
            Syntax::Hevc => &[0, 0, 0, 1, 0x46, 0x01, 0x50],
        }
    }

    /// The bits of all parameter sets that a picture needs.
    const fn all_sets(self) -> u8 {
        match self {
            Syntax::H264 => 0b110,
            Syntax::Hevc => 0b111,
        }
    }

    /// By the first byte of a NAL unit (H.264 table 7-1, H.265 table 7-1).
    const fn class(self, first: u8) -> Nal {
        match self {
            Syntax::H264 => match first & 0x1F {
                5 => Nal::RandomAccess,
                7 => Nal::Set(0b010),
                8 => Nal::Set(0b100),
                9 => Nal::Delimiter,
                _ => Nal::Other,
            },
            Syntax::Hevc => match first >> 1 & 0x3F {
                16..=23 => Nal::RandomAccess,
                32 => Nal::Set(0b001),
                33 => Nal::Set(0b010),
                34 => Nal::Set(0b100),
                35 => Nal::Delimiter,
                _ => Nal::Other,
            },
        }
    }
}

/// How a track's access units become a byte stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnexB {
    syntax: Syntax,
    /// Bytes of the length in front of each NAL unit: 1 to 4.
    length_bytes: usize,
    /// The record's parameter sets (and HEVC's SEI messages), each behind a start code.
    parameter_sets: Vec<u8>,
}

impl AnnexB {
    /// As an `avcC` record says (ISO/IEC 14496-15 section 5.3.3.1). `None` if it is not one.
    pub fn of_avcc(record: &[u8]) -> Option<AnnexB> {
        let [1, _, _, _, lengths, count, rest @ ..] = record else { return None };
        let mut parameter_sets = Vec::new();
        let rest = append_sets(count & 0x1F, rest, &mut parameter_sets)?;
        let (count, rest) = rest.split_first()?;
        append_sets(*count, rest, &mut parameter_sets)?;
        Some(AnnexB { syntax: Syntax::H264, length_bytes: length_bytes(*lengths), parameter_sets })
    }

    /// As an `hvcC` record says (section 8.3.3.1). `None` if it is not one.
    pub fn of_hvcc(record: &[u8]) -> Option<AnnexB> {
        let (head, mut rest) = record.split_first_chunk::<23>()?;
        if head[0] != 1 {
            return None;
        }
        let mut parameter_sets = Vec::new();
        for _ in 0..head[22] {
            let [_, n0, n1, nals @ ..] = rest else { return None };
            rest = nals;
            for _ in 0..u16::from_be_bytes([*n0, *n1]) {
                rest = append_sets(1, rest, &mut parameter_sets)?;
            }
        }
        Some(AnnexB { syntax: Syntax::Hevc, length_bytes: length_bytes(head[21]), parameter_sets })
    }

    /// Hands the byte stream of one access unit to `put`, in parts. `key` says that decoding can begin here, even if no
    /// NAL unit does (intra refresh). What stands behind a length that lies is left out. False if `put` said so, or if
    /// there is nothing to decode.
    pub fn convert(&self, unit: &[u8], key: bool, mut put: impl FnMut(&[u8]) -> bool) -> bool {
        let (mut sets, mut random_access, mut any) = (0, key, false);
        for nal in self.nals(unit) {
            match nal.first().map(|first| self.syntax.class(*first)) {
                Some(Nal::Set(bit)) => sets |= bit,
                Some(Nal::RandomAccess) => (random_access, any) = (true, true),
                Some(Nal::Other) => any = true,
                Some(Nal::Delimiter) | None => {}
            }
        }
        // Those of the stream itself, where all are there, are newer than the record.
        let own = sets == self.syntax.all_sets();
        any && put(self.syntax.delimiter())
            && (!random_access || own || put(&self.parameter_sets))
            && self.nals(unit).all(|nal| match nal.first().map(|first| self.syntax.class(*first)) {
                Some(Nal::Delimiter) | None => true,
                Some(_) => put(&START_CODE) && put(nal),
            })
    }

    /// The NAL units of an access unit, up to the first length that lies.
    fn nals<'a>(&self, mut unit: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let length_bytes = self.length_bytes;
        std::iter::from_fn(move || {
            let (length, rest) = unit.split_at_checked(length_bytes)?;
            let length = length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
            let (nal, rest) = rest.split_at_checked(length)?;
            unit = rest;
            Some(nal)
        })
    }
}

/// `lengthSizeMinusOne` stands in the two low bits.
fn length_bytes(byte: u8) -> usize {
    usize::from(byte & 3) + 1
}

/// Appends `count` NAL units, each behind its length of two bytes, to `out`; returns what follows.
fn append_sets<'a>(count: u8, mut from: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    for _ in 0..count {
        let (length, rest) = from.split_first_chunk::<2>()?;
        let (nal, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        out.extend(START_CODE);
        out.extend(nal);
        from = rest;
    }
    Some(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AVCC: [u8; 17] = [1, 0x42, 0, 0x1E, 0xFF, 0xE1, 0, 3, 0x67, 0x42, 0xAA, 1, 0, 2, 0x68, 0xCE, 0xFD];
    const SETS: [u8; 13] = [0, 0, 0, 1, 0x67, 0x42, 0xAA, 0, 0, 0, 1, 0x68, 0xCE];

    fn unit(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect()
    }

    fn converted(of: &AnnexB, unit: &[u8], key: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let whole = of.convert(unit, key, |part| {
            out.extend(part);
            true
        });
        whole.then_some(out)
    }

    #[test]
    fn h264() {
        let of = AnnexB::of_avcc(&AVCC).unwrap();
        let aud: &[u8] = &[0, 0, 0, 1, 9, 0xF0];
        let slice = |nal: &[u8]| [&START_CODE[..], nal].concat();
        let (idr, inter): (&[u8], &[u8]) = (&[0x65, 0x88], &[0x41, 0x9A]);
        for (what, nals, key, expected) in [
            ("a picture", vec![inter], false, [aud, &slice(inter)].concat()),
            ("an IDR picture", vec![idr], false, [aud, &SETS, &slice(idr)].concat()),
            ("intra refresh", vec![inter], true, [aud, &SETS, &slice(inter)].concat()),
            (
                "sets of its own",
                vec![&[0x67, 1], &[0x68, 2], idr],
                true,
                [aud, &slice(&[0x67, 1]), &slice(&[0x68, 2]), &slice(idr)].concat(),
            ),
            (
                "half of them",
                vec![&[0x68, 2], idr],
                true,
                [aud, &SETS, &slice(&[0x68, 2]), &slice(idr)].concat(),
            ),
            ("one delimiter", vec![&[9, 0x10], &[], inter], false, [aud, &slice(inter)].concat()),
        ] {
            assert_eq!(converted(&of, &unit(&nals), key), Some(expected), "{what}");
        }
        assert_eq!(converted(&of, &[0, 0, 0, 9, 1], true), None, "nothing whole");
        assert_eq!(converted(&of, &unit(&[&[9, 0xF0]]), true), None, "nothing to decode");
        let lies = [unit(&[inter]), vec![0, 0, 1, 0, 7]].concat();
        assert_eq!(converted(&of, &lies, false), Some([aud, &slice(inter)].concat()));
    }

    #[test]
    fn hevc() {
        let mut record = vec![1; 21];
        // Lengths of two bytes; arrays: VPS and SPS, PPS, one SEI.
        record.extend([0xFD, 4]);
        for nal in [[0x40, 1], [0x42, 2], [0x44, 3], [0x4E, 4]] {
            record.extend([nal[0] >> 1, 0, 1, 0, 2, nal[0], nal[1]]);
        }
        let of = AnnexB::of_hvcc(&record).unwrap();
        let sets = [0, 0, 0, 1, 0x40, 1, 0, 0, 0, 1, 0x42, 2, 0, 0, 0, 1, 0x44, 3, 0, 0, 0, 1, 0x4E, 4];
        let aud = [0, 0, 0, 1, 0x46, 1, 0x50];
        let cra = [0, 3, 0x2A, 1, 0xAA];
        let slice = [0, 0, 0, 1, 0x2A, 1, 0xAA];
        assert_eq!(converted(&of, &cra, false), Some([&aud[..], &sets, &slice].concat()));
        assert_eq!(converted(&of, &[0, 3, 0x02, 1, 0xBB], false).unwrap()[7..], [0, 0, 0, 1, 2, 1, 0xBB]);
        assert_eq!(AnnexB::of_hvcc(&record[..30]), None);
    }

    #[test]
    fn records_that_are_none() {
        for record in [&[][..], &[2, 0, 0, 0, 0xFF, 0xE0, 0], &AVCC[..10], &AVCC[..15]] {
            assert_eq!(AnnexB::of_avcc(record), None, "{record:?}");
        }
        let bare = AnnexB::of_avcc(&[1, 0x42, 0, 0x1E, 0xFC, 0xE0, 0]).unwrap();
        assert_eq!((bare.length_bytes, bare.parameter_sets.len()), (1, 0), "all sets come in the stream");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            record in proptest::collection::vec(any::<u8>(), 0..60),
            unit in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let record = [&[1], &record[..]].concat();
            for of in [AnnexB::of_avcc(&record), AnnexB::of_hvcc(&record), AnnexB::of_avcc(&AVCC)].iter().flatten() {
                of.convert(&unit, true, |_| true);
            }
        }
    }
}
