//! Opus: identification header (RFC 7845 section 5.1).

/// Opus is always decoded at this rate, whatever the header's input rate says; samples a second.
pub const SAMPLE_RATE_HZ: u32 = 48_000;

/// The channel count of an `OpusHead`; an empty one stands for the default, stereo.
pub fn channels(head: &[u8]) -> Option<u32> {
    match head {
        [] => Some(2),
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', version, channels, ..] if version >> 4 == 0 => {
            (*channels > 0).then_some(u32::from(*channels))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        assert_eq!(channels(b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"), Some(2), "ffmpeg 9");
        assert_eq!((channels(b""), channels(b"OpusHead\x01\x06")), (Some(2), Some(6)));
        assert_eq!((channels(b"OpusHead\x10\x02"), channels(b"OpusHead\x01\0")), (None, None));
        assert_eq!(channels(b"OpusHead\x01"), None);
    }
}
