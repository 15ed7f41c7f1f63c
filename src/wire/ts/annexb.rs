//! The byte stream format of H.264 (annex B) and HEVC (annex B): NAL units behind start codes, and where an access unit
//! ends (H.264 section 7.4.1.2.3, HEVC section 7.4.2.4.4).

/// What a NAL unit is to the access unit it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nal {
    /// Access unit delimiter.
    Delimiter,
    /// Video parameter set (HEVC).
    Vps,
    /// Sequence parameter set.
    Sps,
    /// Picture parameter set.
    Pps,
    /// Supplemental information in front of a picture.
    Sei,
    /// A slice of a picture.
    Slice {
        /// The picture is a random access point by its type: IDR, or IRAP in HEVC.
        random_access: bool,
        /// It is the picture's first.
        first: bool,
    },
    /// Stands in front of a picture if one has been: where it comes behind slices, a new access unit begins.
    Prefix,
    /// Anything else: belongs to where it stands.
    Other,
}

impl Nal {
    /// Whether it begins a new access unit behind the slices of another.
    pub fn begins_unit(self) -> bool {
        match self {
            Nal::Delimiter | Nal::Vps | Nal::Sps | Nal::Pps | Nal::Sei | Nal::Prefix => true,
            Nal::Slice { first, .. } => first,
            Nal::Other => false,
        }
    }

    /// What a NAL unit of H.264 is (table 7-1).
    pub fn of_h264(nal: &[u8]) -> Nal {
        let Some(first) = nal.first() else { return Nal::Other };
        match first & 0x1F {
            // `first_mb_in_slice` is 0: the code is a single 1.
            kind @ (1 | 2 | 5) => Nal::Slice {
                random_access: kind == 5,
                first: nal.get(1).is_some_and(|byte| byte & 0x80 != 0),
            },
            3 | 4 => Nal::Slice { random_access: false, first: false },
            6 => Nal::Sei,
            7 => Nal::Sps,
            8 => Nal::Pps,
            9 => Nal::Delimiter,
            14..=18 => Nal::Prefix,
            _ => Nal::Other,
        }
    }

    /// What a NAL unit of HEVC is (table 7-1). Of enhancement layers nothing begins an access unit or is a set that the
    /// base layer needs.
    pub fn of_hevc(nal: &[u8]) -> Nal {
        let [first, second, rest @ ..] = nal else { return Nal::Other };
        let (kind, layer) = (first >> 1 & 0x3F, (first & 1) << 5 | second >> 3);
        if layer > 0 {
            return Nal::Other;
        }
        match kind {
            0..=31 => Nal::Slice {
                random_access: (16..=23).contains(&kind),
                first: rest.first().is_some_and(|byte| byte & 0x80 != 0),
            },
            32 => Nal::Vps,
            33 => Nal::Sps,
            34 => Nal::Pps,
            35 => Nal::Delimiter,
            39 => Nal::Sei,
            41..=44 | 48..=55 => Nal::Prefix,
            _ => Nal::Other,
        }
    }
}

/// The NAL units of a byte stream as ranges, without start codes and trailing zeros; empty ones are left out, and so is
/// what stands in front of the first start code.
#[derive(Clone, Debug)]
pub struct Nals<'a> {
    bytes: &'a [u8],
    /// Where the next NAL unit begins; `None`: there is none.
    next: Option<usize>,
}

impl<'a> Nals<'a> {
    /// Over a whole byte stream.
    pub fn new(bytes: &'a [u8]) -> Nals<'a> {
        Nals { bytes, next: start_code(bytes, 0).map(|at| at + 3) }
    }
}

impl Iterator for Nals<'_> {
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.next?;
            let code = start_code(self.bytes, begin);
            self.next = code.map(|at| at + 3);
            let mut end = code.unwrap_or(self.bytes.len());
            // `trailing_zero_8bits`, or the first zero of a start code of four bytes: no NAL unit ends with one.
            while end > begin && self.bytes.get(end - 1) == Some(&0) {
                end -= 1;
            }
            if end > begin {
                return Some(begin..end);
            }
        }
    }
}

/// Where the next 00 00 01 stands, from `from` on.
pub(super) fn start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match *bytes.get(at..)?.first_chunk::<3>()? {
            [0, 0, 1] => return Some(at),
            [_, _, 0] => at += 1,
            // A byte that is not 0 can only be the last of a start code, and of this one it is not.
            _ => at += 3,
        }
    }
}

/// Where behind two zeros the next byte stands that `is` one to be looked for; what stands before `from` counts for nothing.
/// `is` must not say so of a byte beyond 3: those are passed over by threes.
pub(super) fn behind_zeros(bytes: &[u8], from: usize, is: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = from;
    loop {
        match *bytes.get(at..)?.first_chunk::<3>()? {
            [0, 0, last @ 0..=3] if is(last) => return Some(at + 2),
            [_, _, 0] => at += 1,
            _ => at += 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(bytes: &[u8]) -> Vec<&[u8]> {
        Nals::new(bytes).map(|range| &bytes[range]).collect()
    }

    #[test]
    fn start_codes_of_both_lengths() {
        assert_eq!(split(&[0, 0, 0, 1, 9, 0xF0, 0, 0, 1, 0x65, 1, 2]), [&[9, 0xF0][..], &[0x65, 1, 2]]);
        assert_eq!(split(&[7, 7, 0, 0, 1, 5, 0, 0, 0, 0, 0, 1, 6, 0, 0]), [&[5][..], &[6]]);
        assert_eq!(split(&[0, 0, 1, 0, 0, 1, 5]), [&[5][..]], "an empty one");
        assert_eq!(split(&[0, 0, 1, 1, 0, 3, 0, 0, 2, 1]), [&[1, 0, 3, 0, 0, 2, 1][..]]);
        assert!(split(&[0, 0]).is_empty() && split(&[0, 0, 1]).is_empty());
    }

    #[test]
    fn kinds() {
        let slice = |random_access, first| Nal::Slice { random_access, first };
        for (nal, kind) in [
            (&[0x65, 0x88][..], slice(true, true)),
            (&[0x41, 0x9A], slice(false, true)),
            (&[0x41, 0x5A], slice(false, false)),
            (&[0x09, 0xF0], Nal::Delimiter),
            (&[0x67], Nal::Sps),
            (&[0x68], Nal::Pps),
            (&[0x06], Nal::Sei),
            (&[0x0C], Nal::Other),
            (&[], Nal::Other),
        ] {
            assert_eq!(Nal::of_h264(nal), kind, "{nal:02x?}");
        }
        for (nal, kind) in [
            (&[0x26, 1, 0x80][..], slice(true, true)),
            (&[0x2A, 1, 0x80], slice(true, true)),
            (&[0x02, 1, 0x00], slice(false, false)),
            (&[0x02, 9, 0x80], Nal::Other),
            (&[0x40, 1], Nal::Vps),
            (&[0x46, 1], Nal::Delimiter),
            (&[0x50, 1], Nal::Other),
            (&[0x26], Nal::Other),
        ] {
            assert_eq!(Nal::of_hevc(nal), kind, "{nal:02x?}");
        }
        assert!(Nal::Sei.begins_unit() && !Nal::Other.begins_unit() && !slice(true, false).begins_unit());
    }

    /// Byte by byte, without a jump.
    fn slowly(bytes: &[u8]) -> Vec<&[u8]> {
        let starts: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&[0, 0, 1])).collect();
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
        let pieces = starts.iter().zip(ends).map(|(start, end)| &bytes[(start + 3).min(end)..end]);
        let trimmed = pieces.map(|piece| {
            let zeros = piece.iter().rev().take_while(|byte| **byte == 0).count();
            &piece[..piece.len() - zeros]
        });
        trimmed.filter(|piece| !piece.is_empty()).collect()
    }

    proptest! {
        #[test]
        fn the_search_misses_nothing(bytes in proptest::collection::vec(prop_oneof![3 => 0u8..3, 1 => any::<u8>()], 0..200)) {
            prop_assert_eq!(split(&bytes), slowly(&bytes));
        }
    }
}
