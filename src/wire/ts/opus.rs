//! Opus (the draft "Encapsulation of Opus in MPEG transport streams"), read: control headers, and the channels that the
//! descriptor's code stands for.

use super::descriptor::Descriptors;

/// Tag of DVB's extension descriptor, and of the one of these that says how many channels there are.
const EXTENSION: [u8; 2] = [0x7F, 0x80];
/// `OpusHead` without a mapping table.
const HEAD_BYTES: usize = 19;

/// One packet in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// The Opus packet.
    pub packet: &'a [u8],
    /// Bytes of header and packet.
    pub bytes: usize,
}

impl<'a> Unit<'a> {
    /// Reads the control header that `bytes` begins with, and the packet behind it. `None`: it is none, or not whole.
    pub fn parse(bytes: &'a [u8]) -> Option<Unit<'a>> {
        let (&[b0, b1], mut rest) = bytes.split_first_chunk()?;
        // Eleven bits of prefix, two flags of trimming, one of an extension, two that are reserved.
        if b0 != 0x7F || b1 & 0xE0 != 0xE0 {
            return None;
        }
        let mut size = 0;
        loop {
            let (byte, behind) = rest.split_first()?;
            (size, rest) = (size + usize::from(*byte), behind);
            if *byte < 0xFF {
                break;
            }
        }
        for flag in [0x10, 0x08] {
            if b1 & flag != 0 {
                rest = rest.get(2..)?;
            }
        }
        if b1 & 0x04 != 0 {
            let (length, behind) = rest.split_first()?;
            rest = behind.get(usize::from(*length)..)?;
        }
        let (packet, behind) = rest.split_at_checked(size)?;
        Some(Unit { packet, bytes: bytes.len() - behind.len() })
    }
}

/// `channel_config_code` of a stream's descriptors.
pub fn channel_code(descriptors: Descriptors<'_>) -> Option<u8> {
    let [tag, extension] = EXTENSION;
    let bodies = descriptors.into_iter().filter(|(found, _)| *found == tag);
    bodies.map(|(_, body)| body).find_map(|body| match *body {
        [found, code, ..] if found == extension => Some(code),
        _ => None,
    })
}

/// The `OpusHead` (RFC 7845 section 5.1) of a channel code. `None`: a code that stands for no layout of one stream of
/// sound.
pub fn head(code: u8) -> Option<Vec<u8>> {
    /// Coupled streams and order by channels, as Vorbis orders them.
    const LAYOUTS: [(u8, &[u8]); 8] = [
        (0, &[0]),
        (1, &[0, 1]),
        (1, &[0, 2, 1]),
        (2, &[0, 1, 2, 3]),
        (2, &[0, 4, 1, 2, 3]),
        (2, &[0, 4, 1, 2, 3, 5]),
        (3, &[0, 4, 1, 2, 3, 5, 6]),
        (3, &[0, 6, 1, 2, 3, 4, 5, 7]),
    ];
    let (coupled, order) = LAYOUTS.get(usize::from(code.checked_sub(1)?))?;
    let mut head = Vec::with_capacity(HEAD_BYTES + 2 + order.len());
    // Version 1, no pre-skip that the stream would tell of, 48 kHz, no gain.
    head.extend(b"OpusHead\x01");
    head.push(code);
    head.extend(0u16.to_le_bytes());
    head.extend(crate::wire::opus::SAMPLE_RATE_HZ.to_le_bytes());
    head.extend([0, 0]);
    if code <= 2 {
        head.push(0);
    } else {
        head.extend([1, code - coupled, *coupled]);
        head.extend(*order);
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::write::opus::{ControlHeader, channel_config};

    #[test]
    fn units() {
        for size in [0, 3, 254, 255, 600] {
            let packet = vec![7; size];
            let header = ControlHeader::new(size).unwrap();
            let mut bytes = [header.as_slice(), &packet].concat();
            let whole = bytes.len();
            bytes.extend([0x7F, 0xE0]);
            assert_eq!(Unit::parse(&bytes), Some(Unit { packet: &packet, bytes: whole }), "{size}");
            assert_eq!(Unit::parse(&bytes[..whole - 1]), None, "{size}");
        }
        // Trimmed at both ends, with an extension.
        let trimmed = [0x7F, 0xFC, 2, 1, 0x38, 0, 9, 1, 0xAA, 5, 6];
        assert_eq!(Unit::parse(&trimmed), Some(Unit { packet: &[5, 6], bytes: 11 }));
        assert_eq!(Unit::parse(&[0x7F, 0xC0, 0]), None);
        assert_eq!(Unit::parse(&[0x7F, 0xE0, 0xFF]), None);
    }

    #[test]
    fn heads_are_those_whose_code_they_have() {
        for code in 1..=8 {
            let head = head(code).unwrap();
            assert_eq!(channel_config(&head), Some(code), "{code}");
        }
        assert_eq!(head(2).unwrap(), b"OpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0");
        assert_eq!((head(0), head(9), head(0x82)), (None, None, None));
    }

    #[test]
    fn codes() {
        let bytes = [5, 4, b'O', b'p', b'u', b's', 0x7F, 2, 0x06, 1, 0x7F, 2, 0x80, 6];
        assert_eq!(channel_code(Descriptors::new(&bytes)), Some(6));
        assert_eq!(channel_code(Descriptors::new(&bytes[..10])), None);
    }
}
