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

/// Samples of a packet at [`SAMPLE_RATE_HZ`] (RFC 6716 section 3.1): its first byte tells the length of a frame and, with
/// the second, how many there are. `None`: it is empty, or longer than 120 ms.
pub fn samples(packet: &[u8]) -> Option<u32> {
    let first = *packet.first()?;
    let frame = match first >> 3 {
        config @ 0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        config @ 12..=15 => [480, 960][usize::from(config & 1)],
        config => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3F),
    };
    let samples = frame * frames;
    (1..=5760).contains(&samples).then_some(samples)
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
    #[test]
    fn durations() {
        for (packet, expected) in [
            (&[0xFC, 1][..], Some(960)),
            (&[0xE0], Some(120)),
            (&[0x18], Some(2880)),
            (&[0x61], Some(960)),
            (&[0x0B, 0x03], Some(2880)),
            (&[0x1B, 0x3F], None),
            (&[0xFF], None),
            (&[0xFF, 0], None),
            (&[], None),
        ] {
            assert_eq!(samples(packet), expected, "{packet:02x?}");
        }
    }
}
