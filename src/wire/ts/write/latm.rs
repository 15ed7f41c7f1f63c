//! AAC in LOAS/LATM (ISO/IEC 14496-3 sections 1.7.2 and 1.7.3): each frame an element of an audio sync stream that tells
//! the configuration itself, so that one can begin with any.
//!
//! What is written is what broadcasters write and every receiver reads: version 0, one program with one layer, one frame
//! an element. That version tells no length of the configuration, so what stands behind its core (the sync extension, by
//! which SBR is signalled to those who look) is left out: decoders find SBR in the frames.

use crate::wire::aac::AacConfig;
use crate::wire::ts::latm::{HEADER_BYTES, NotLatm, config_bits};

/// The sync word of a LOAS element, eleven bits, in front of thirteen with its length.
const SYNC: u32 = 0x2B7 << 13;
/// Longest element, without its sync word and length.
const ELEMENT_BYTES_MAX: usize = (1 << 13) - 1;
/// Bits in front of the configuration: `useSameStreamMux` and `audioMuxVersion` 0, `allStreamsSameTimeFraming` 1, then
/// one frame, one program, one layer.
const FRONT: (u32, u32) = (0b0010_0000_0000_0000, 16);
/// Bits behind it: frames tell their length, fullness of a variable rate, no other data, no sum.
const BACK: (u32, u32) = (0b0_0011_1111_1100, 13);
/// Bytes of a configuration that are taken over: hierarchical SBR with two explicit frequencies has 13.
const CONFIG_BYTES_MAX: usize = 16;
/// Bytes that are put at once.
const PIECE_BYTES: usize = 256;

/// Why AAC cannot be told in LATM, for people.
const fn reason(why: NotLatm) -> &'static str {
    match why {
        NotLatm::Malformed | NotLatm::NotYet => "the AAC configuration cannot be read",
        NotLatm::Unsupported => "this AAC profile or channel layout is not written to LATM",
    }
}

/// How a track's frames become LOAS elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latm {
    config: [u8; CONFIG_BYTES_MAX],
    /// Bits of the core of `config`.
    config_bits: u32,
    /// `profile_and_level` of the AAC descriptor (table 1.14).
    profile_and_level: u8,
}

impl Latm {
    /// As an AudioSpecificConfig says.
    ///
    /// # Errors
    /// LATM as it is written here cannot say it; why, for people.
    pub fn of_config(record: &[u8]) -> Result<Latm, &'static str> {
        let bits = config_bits(record).map_err(reason)?;
        let bytes = bits.div_ceil(8) as usize;
        let mut config = [0; CONFIG_BYTES_MAX];
        match (config.get_mut(..bytes), record.get(..bytes)) {
            (Some(to), Some(from)) => to.copy_from_slice(from),
            _ => return Err(reason(NotLatm::Unsupported)),
        }
        let profile_and_level =
            AacConfig::parse(record).map_or(NO_PROFILE, |config| profile_and_level(&config));
        Ok(Latm { config, config_bits: bits, profile_and_level })
    }

    /// What the AAC descriptor of DVB says (EN 300 468 annex H.2.1).
    pub fn profile_and_level(&self) -> u8 {
        self.profile_and_level
    }

    /// Bytes of the element that [`Latm::convert`] makes of a frame of so many; `None` if that is too long for one.
    pub fn bytes(&self, frame_bytes: usize) -> Option<usize> {
        self.behind_length(frame_bytes).map(|bytes| HEADER_BYTES + bytes)
    }

    /// What the element tells as its length.
    fn behind_length(&self, frame_bytes: usize) -> Option<usize> {
        let head_bits = FRONT.1 + self.config_bits + BACK.1;
        // Length and frame are moved by the same number of bits, so the last byte ends where the head's last does.
        let bytes = (head_bits as usize).div_ceil(8) + length_bytes(frame_bytes) + frame_bytes;
        (bytes <= ELEMENT_BYTES_MAX).then_some(bytes)
    }

    /// Hands the element of one frame to `put`, in parts. False if `put` said so, or if the frame is too long for one.
    pub fn convert(&self, frame: &[u8], put: impl FnMut(&[u8]) -> bool) -> bool {
        let Some(bytes) = self.behind_length(frame.len()) else { return false };
        let mut out = Bits { put, piece: [0; PIECE_BYTES], len: 0, held: 0, held_bits: 0, whole: true };
        out.bits(SYNC | bytes as u32, 24);
        out.bits(FRONT.0, FRONT.1);
        let mut left = self.config_bits;
        for byte in self.config {
            let take = left.min(8);
            out.bits(u32::from(byte) >> (8 - take), take);
            left -= take;
        }
        out.bits(BACK.0, BACK.1);
        (1..length_bytes(frame.len())).for_each(|_| out.bits(0xFF, 8));
        out.bits((frame.len() % 255) as u32, 8);
        frame.iter().for_each(|byte| out.bits(u32::from(*byte), 8));
        out.finish()
    }
}

/// Bytes of the length of a frame: 255 for each whole 255, then the rest.
const fn length_bytes(frame_bytes: usize) -> usize {
    frame_bytes / 255 + 1
}

/// `profile_and_level` that says nothing (table 1.14).
const NO_PROFILE: u8 = 0xFE;

/// Table 1.14 for the profiles AAC, HE AAC and HE AAC v2: of their levels 2, 4 and 5 the lowest that covers rate and
/// channels.
fn profile_and_level(config: &AacConfig) -> u8 {
    // Levels 2, 4 and 5 of each profile: their numbers, less that of level 2.
    let level = match (config.channels, config.sample_rate_hz) {
        (0..=2, 0..=48_000) => 0,
        (0..=6, 0..=48_000) => 1,
        (0..=6, 0..=96_000) => 2,
        _ => return NO_PROFILE,
    };
    match (config.object_type, config.sbr, config.ps) {
        (2, false, _) => 0x29 + level,
        (2, true, false) => 0x2C + [0, 2, 3].get(usize::from(level)).copied().unwrap_or(3),
        (2, true, true) => 0x30 + [0, 2, 3].get(usize::from(level)).copied().unwrap_or(3),
        _ => NO_PROFILE,
    }
}

/// Bits that go on as bytes.
struct Bits<P> {
    put: P,
    piece: [u8; PIECE_BYTES],
    len: usize,
    /// Bits that make no byte yet, at the low end.
    held: u32,
    held_bits: u32,
    whole: bool,
}

impl<P: FnMut(&[u8]) -> bool> Bits<P> {
    /// The lowest `count` bits of `value`, at most 24.
    fn bits(&mut self, value: u32, count: u32) {
        self.held = self.held << count | value & ((1 << count) - 1);
        self.held_bits += count;
        while self.held_bits >= 8 {
            self.held_bits -= 8;
            self.byte((self.held >> self.held_bits) as u8);
        }
        self.held &= (1 << self.held_bits) - 1;
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.piece.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
        if self.len == PIECE_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let piece = self.piece.get(..self.len).unwrap_or_default();
        self.whole = self.whole && (self.put)(piece);
        self.len = 0;
    }

    /// Fills the last byte with zeros. False if something was not taken.
    fn finish(mut self) -> bool {
        if self.held_bits > 0 {
            self.byte((self.held << (8 - self.held_bits)) as u8);
        }
        self.flush();
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::latm::{self, Loas};

    fn element(config: &[u8], frame: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let latm = Latm::of_config(config).unwrap();
        let whole = latm.convert(frame, |part| {
            out.extend(part);
            true
        });
        assert_eq!(latm.bytes(frame.len()), whole.then_some(out.len()));
        whole.then_some(out)
    }

    #[test]
    fn an_element_bit_by_bit() {
        // 0 0 1 000000 0000 000 | LC, 48 kHz, stereo | 000 11111111 0 0 | 3, then the frame, all moved by five bits.
        let expected = "01010110111 0000000001010 0010000000000000 0001000110010000 0001111111100 00000011 00000001 00000010 00000100 000";
        let bits: Vec<u8> = expected.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        let bytes: Vec<u8> = bits.chunks(8).map(|c| c.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
        assert_eq!(element(&[0x11, 0x90], &[1, 2, 4]), Some(bytes));
    }

    #[test]
    fn what_is_written_is_read() {
        for config in [&[0x11, 0x90][..], &[0x12, 0x08], &[0x2B, 0x11, 0x88, 0x00], &[0x11, 0xB0]] {
            for bytes in [1, 254, 255, 256, 800, 8100] {
                let frame: Vec<u8> = (0..bytes).map(|n| (n * 7) as u8).collect();
                let element = element(config, &frame).unwrap();
                let loas = Loas::parse(&element).unwrap();
                assert_eq!(loas.bytes, element.len(), "{config:02x?} {bytes}");
                let (mut mux, mut found) = (None, Vec::new());
                latm::read(loas.element, &mut mux, |_, frame| found.push(frame.to_vec())).unwrap();
                assert_eq!(found, [frame]);
                assert_eq!(mux.unwrap().config, config);
            }
        }
        assert_eq!(element(&[0x11, 0x90], &[0; 8192]), None);
        let refuses = |part: usize| {
            let mut parts = 0;
            Latm::of_config(&[0x11, 0x90]).unwrap().convert(&[7; 1000], |_| (parts += 1, parts != part).1)
        };
        assert!(!refuses(1) && !refuses(4) && refuses(9));
    }

    #[test]
    fn configurations() {
        // What signals SBR behind the core is left out.
        let (with, without) = ([0x11, 0x90, 0x56, 0xE5, 0], [0x11, 0x90]);
        assert_eq!(element(&with, &[1]), element(&without, &[1]));
        for (config, expected) in [
            (&[0x11, 0x90][..], Ok(0x29)),
            (&[0x11, 0xB0], Ok(0x2A)),
            (&[0x10, 0x30], Ok(0x2B)),
            (&[0x2B, 0x11, 0x88, 0x00], Ok(0x2C)),
            (&[0xEB, 0x09, 0x88, 0x00], Ok(0x30)),
            (&[0x0A, 0x10], Ok(0xFE)),
            (&[0x11, 0x80, 0x04, 0xC4, 0x01, 0x00, 0x20, 0x00], Err(reason(NotLatm::Unsupported))),
            (&[0xF8, 0xE6, 0x20, 0x00], Err(reason(NotLatm::Unsupported))),
            (&[0x11], Err(reason(NotLatm::Malformed))),
        ] {
            let told = Latm::of_config(config).map(|latm| latm.profile_and_level());
            assert_eq!(told, expected, "{config:02x?}");
        }
    }
}
