//! The mark in every synthetic frame, by which a subscriber knows which frame it is, when it was sent, and that it is whole.
//!
//! 32 bytes, big-endian, right behind the frame's tag header ([`crate::media::VIDEO_STAMP_AT`],
//! [`crate::media::AUDIO_STAMP_AT`]):
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `HGL1` |
//! | 4 | 1 | kind |
//! | 5 | 3 | stream index |
//! | 8 | 4 | sequence within the track, from 0 |
//! | 12 | 4 | sequence within the stream (both tracks, in sending order), from 0 |
//! | 16 | 8 | sending time, ns of `CLOCK_MONOTONIC` |
//! | 24 | 4 | length of the whole message payload |
//! | 28 | 4 | FNV-1a of bytes 0..28, xor FNV-1a of everything behind the stamp |

/// Length of a stamp in bytes.
pub const STAMP_LEN: usize = 32;

const MAGIC: [u8; 4] = *b"HGL1";
const FNV_START: u32 = 0x811c_9dc5;
const FNV_PRIME: u32 = 0x0100_0193;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A video keyframe.
    Key,
    /// A video frame that needs the ones before it.
    Inter,
    /// An audio frame.
    Audio,
}

/// A decoded stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What the frame is.
    pub kind: Kind,
    /// Which of the publisher's streams it belongs to (24 bits).
    pub stream: u32,
    /// Sequence within the track.
    pub track_seq: u32,
    /// Sequence within the stream, over both tracks.
    pub stream_seq: u32,
    /// Sending time in ns of `CLOCK_MONOTONIC`.
    pub sent_ns: u64,
    /// Length of the message payload in bytes.
    pub payload_len: u32,
}

/// FNV-1a, 32 bits, fed piece by piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(FNV_START)
    }
}

impl Fnv {
    /// Takes in more bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.0 = (self.0 ^ u32::from(b)).wrapping_mul(FNV_PRIME);
        }
    }

    /// The hash of everything fed so far.
    pub fn value(self) -> u32 {
        self.0
    }

    /// The hash of `bytes` alone.
    pub fn of(bytes: &[u8]) -> u32 {
        let mut fnv = Self::default();
        fnv.feed(bytes);
        fnv.value()
    }
}

impl Stamp {
    /// The stamp's bytes for a frame whose bytes behind the stamp hash to `body_hash`.
    pub fn encode(&self, body_hash: u32) -> [u8; STAMP_LEN] {
        let mut out = [0u8; STAMP_LEN];
        out[0..4].copy_from_slice(&MAGIC);
        let kind = match self.kind {
            Kind::Key => 1u32,
            Kind::Inter => 2,
            Kind::Audio => 3,
        };
        out[4..8].copy_from_slice(&(kind << 24 | self.stream & 0xff_ffff).to_be_bytes());
        out[8..12].copy_from_slice(&self.track_seq.to_be_bytes());
        out[12..16].copy_from_slice(&self.stream_seq.to_be_bytes());
        out[16..24].copy_from_slice(&self.sent_ns.to_be_bytes());
        out[24..28].copy_from_slice(&self.payload_len.to_be_bytes());
        let sum = Fnv::of(&out[..28]) ^ body_hash;
        out[28..32].copy_from_slice(&sum.to_be_bytes());
        out
    }

    /// Reads a stamp from the front of `bytes`; `None` when there is none. The sum is not checked, see [`sum_matches`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_LEN] = bytes.first_chunk()?;
        if bytes[0..4] != MAGIC {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Key,
            2 => Kind::Inter,
            3 => Kind::Audio,
            _ => return None,
        };
        let u32_at = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Some(Self {
            kind,
            stream: u32_at(4) & 0xff_ffff,
            track_seq: u32_at(8),
            stream_seq: u32_at(12),
            sent_ns: u64::from(u32_at(16)) << 32 | u64::from(u32_at(20)),
            payload_len: u32_at(24),
        })
    }
}

/// Whether the sum in `stamp` (its 32 bytes) fits them and a body that hashes to `body_hash`.
pub fn sum_matches(stamp: &[u8], body_hash: u32) -> bool {
    let Some(stamp) = stamp.first_chunk::<STAMP_LEN>() else { return false };
    Fnv::of(&stamp[..28]) ^ body_hash == u32::from_be_bytes([stamp[28], stamp[29], stamp[30], stamp[31]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Stamp {
        Stamp {
            kind: Kind::Inter,
            stream: 0x01_0203,
            track_seq: 7,
            stream_seq: 19,
            sent_ns: 0x0102_0304_0506_0708,
            payload_len: 4065,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Stamp::decode(&sample().encode(5)), Some(sample()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let body = Fnv::of(b"body");
        let good = sample().encode(body);
        assert!(sum_matches(&good, body));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!sum_matches(&bad, body), "bit {bit}");
        }
        assert!(!sum_matches(&good, Fnv::of(b"bodY")));
    }

    #[test]
    fn short_or_foreign_bytes_have_no_stamp() {
        assert_eq!(Stamp::decode(&sample().encode(0)[..31]), None);
        assert_eq!(Stamp::decode(&[0; STAMP_LEN]), None);
    }
}
