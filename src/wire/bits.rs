//! Bits of codec headers, most significant first, with Exp-Golomb codes (H.264 section 9.1, H.265 section 9.2).

/// Reads bits from a slice. Every read answers `None` once the bytes are used up.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits of the first byte that are used, 0..=7.
    used: u32,
    /// `Some`: the bytes are a NAL unit, and this many zero bytes precede the next one.
    nal_zeros: Option<u32>,
}

impl<'a> BitReader<'a> {
    /// Over bytes as they are.
    pub fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, used: 0, nal_zeros: None }
    }

    /// Over a NAL unit: emulation prevention bytes (the 3 of `00 00 03`) are skipped.
    pub fn of_nal(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, used: 0, nal_zeros: Some(0) }
    }

    /// One bit.
    pub fn bit(&mut self) -> Option<bool> {
        if let Some(zeros) = self.nal_zeros
            && self.used == 0
            && zeros >= 2
            && self.bytes.first() == Some(&3)
        {
            self.bytes = self.bytes.get(1..)?;
            self.nal_zeros = Some(0);
        }
        let byte = *self.bytes.first()?;
        let bit = byte >> (7 - self.used) & 1 == 1;
        self.used += 1;
        if self.used == 8 {
            self.used = 0;
            self.bytes = self.bytes.get(1..)?;
            self.nal_zeros = self.nal_zeros.map(|zeros| if byte == 0 { zeros + 1 } else { 0 });
        }
        Some(bit)
    }

    /// An unsigned number of `count` bits, at most 32.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        (0..count).try_fold(0, |value, _| Some(value << 1 | u32::from(self.bit()?)))
    }

    /// Leaves out `count` bits.
    pub fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.bit().map(drop))
    }

    /// Bits that are left, emulation prevention bytes included.
    pub fn left(&self) -> usize {
        self.bytes.len() * 8 - self.used as usize
    }

    /// Unsigned Exp-Golomb, `ue(v)`; also AV1's `uvlc()`. `None` above 32 bits.
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// Signed Exp-Golomb, `se(v)`.
    pub fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        // A code is at most 2^32 - 2, so its half and the rounding fit.
        let magnitude = (code / 2 + code % 2) as i32;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb() {
        // 1 010 011 00100 00101 1: the codes 0, 1, 2, 3, 4, 0.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1100_0000];
        let mut unsigned = BitReader::new(&bytes);
        assert_eq!([0; 6].map(|_| unsigned.ue().unwrap()), [0, 1, 2, 3, 4, 0]);
        let mut signed = BitReader::new(&bytes);
        assert_eq!([0; 6].map(|_| signed.se().unwrap()), [0, 1, -1, 2, -2, 0]);
        let longest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(BitReader::new(&longest).ue(), Some(u32::MAX - 1));
        assert_eq!(BitReader::new(&longest).se(), Some(-i32::MAX));
        assert_eq!(BitReader::new(&[0; 8]).ue(), None);
    }

    #[test]
    fn ends_and_emulation_prevention() {
        let mut reader = BitReader::new(&[0xa5]);
        assert_eq!((reader.bits(3), reader.left()), (Some(5), 5));
        assert_eq!((reader.bits(5), reader.bit(), reader.bits(0)), (Some(5), None, Some(0)));
        let mut nal = BitReader::of_nal(&[1, 0, 0, 3, 1, 0, 0, 3, 0, 3]);
        assert_eq!((nal.bits(32), nal.bits(32)), (Some(0x0100_0001), Some(0x0000_0003)));
        assert_eq!(BitReader::new(&[0, 0, 3]).bits(24), Some(3), "only NAL units have it");
    }
}
