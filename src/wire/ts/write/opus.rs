//! Opus (the draft "Encapsulation of Opus in MPEG transport streams" that ffmpeg and GStreamer follow): a control header
//! in front of every packet, a code for the channels in the descriptor.

/// Longest control header: prefix and a size of 65 279 bytes, more than any Opus packet has.
const HEADER_BYTES_MAX: usize = 2 + 256;
/// 11 bits of prefix, no trimming, no extension.
const PREFIX: [u8; 2] = [0x7F, 0xE0];

/// A control header.
#[derive(Clone, Copy, Debug)]
pub struct ControlHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl ControlHeader {
    /// In front of one packet of `packet` bytes. `None` beyond 65 279.
    pub fn new(packet: usize) -> Option<ControlHeader> {
        let mut bytes = [0xFF; HEADER_BYTES_MAX];
        [bytes[0], bytes[1]] = PREFIX;
        // A run of 255, then what is left.
        *bytes.get_mut(PREFIX.len() + packet / 255)? = (packet % 255) as u8;
        Some(ControlHeader { bytes, len: PREFIX.len() + packet / 255 + 1 })
    }

    /// As it is written.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// `channel_config_code` of an `OpusHead` (an empty one stands for stereo): the channel count of mapping family 0, and
/// of family 1 with the streams and the order that the code implies. `None` for everything else.
pub fn channel_config(head: &[u8]) -> Option<u8> {
    /// Coupled streams and order for 3 channels and more.
    const IMPLIED: [(u8, &[u8]); 6] = [
        (1, &[0, 2, 1]),
        (2, &[0, 1, 2, 3]),
        (2, &[0, 4, 1, 2, 3]),
        (2, &[0, 4, 1, 2, 3, 5]),
        (3, &[0, 4, 1, 2, 3, 5, 6]),
        (3, &[0, 6, 1, 2, 3, 4, 5, 7]),
    ];
    let channels = u8::try_from(crate::wire::opus::channels(head)?).ok()?;
    match (channels, head.get(18..)) {
        // Family 0 is what a head that ends early means.
        (1 | 2, None | Some([] | [0 | 1, ..])) => Some(channels),
        (3..=8, Some([1, streams, coupled, order @ ..])) => {
            let implied = IMPLIED.get(usize::from(channels) - 3)?;
            (streams + coupled == channels && *coupled == implied.0 && order == implied.1).then_some(channels)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_runs_of_255() {
        for (packet, expected) in [
            (0, &[0x7F, 0xE0, 0][..]),
            (254, &[0x7F, 0xE0, 254]),
            (255, &[0x7F, 0xE0, 255, 0]),
            // As ffmpeg's file has it, but for its trimming.
            (404, &[0x7F, 0xE0, 0xFF, 0x95]),
        ] {
            assert_eq!(ControlHeader::new(packet).unwrap().as_slice(), expected, "{packet}");
        }
        assert_eq!(ControlHeader::new(65_024 + 255).map(|header| header.len), Some(258));
        assert!(ControlHeader::new(65_280).is_none());
    }

    #[test]
    fn channel_codes() {
        let head = |channels: u8, mapping: &[u8]| {
            [b"OpusHead\x01", &[channels][..], b"\x38\x01\x80\xbb\0\0\0\0", mapping].concat()
        };
        assert_eq!(channel_config(b""), Some(2));
        assert_eq!(channel_config(&head(1, &[0])), Some(1));
        assert_eq!(channel_config(&head(2, &[0])), Some(2));
        assert_eq!(channel_config(&head(6, &[1, 4, 2, 0, 4, 1, 2, 3, 5])), Some(6));
        assert_eq!(channel_config(&head(6, &[1, 4, 2, 0, 1, 2, 3, 4, 5])), None, "another order");
        assert_eq!(channel_config(&head(3, &[0])), None, "family 0 has two");
        assert_eq!(channel_config(&head(4, &[255, 4, 0, 0, 1, 2, 3])), None, "discrete channels");
        assert_eq!(channel_config(b"junk"), None);
    }
}
