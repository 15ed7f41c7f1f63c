//! Capture files: pcap (the libpcap format) and pcapng, both byte orders, micro- and nanoseconds. A machine: bytes in,
//! records out.

use super::link::LinkType;

/// Bytes of the largest record or block; libpcap's own limit of a snapshot is 256 KiB.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Interfaces of one pcapng section.
const INTERFACES_MAX: usize = 256;

/// Why a file cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The first bytes are those of no known format.
    #[error("not a pcap or pcapng file")]
    Magic,
    /// A length that cannot be.
    #[error("damaged at byte {offset}: {expected}")]
    Damaged {
        /// Bytes in front of the damaged block.
        offset: u64,
        /// What should be there.
        expected: &'static str,
    },
}

/// One captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was captured, in nanoseconds since 1970; 0 if the file does not say.
    pub time_ns: u64,
    /// What it begins with.
    pub link: LinkType,
    /// The frame, as much as was captured.
    pub frame: &'a [u8],
}

/// Reads a capture file.
#[derive(Clone, Debug, Default)]
pub struct CaptureReader {
    buffer: Vec<u8>,
    start: usize,
    dropped: u64,
    format: Option<Format>,
}

#[derive(Clone, Debug)]
enum Format {
    Pcap { big: bool, nanos: bool, link: LinkType },
    PcapNg { big: bool, interfaces: Vec<Interface> },
}

/// A pcapng interface: its link, and how long a tick of its clock is.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    /// Ticks in a second.
    resolution: u64,
}

/// Bytes of a pcap file's header and of a record's.
const PCAP_HEAD: usize = 24;
const PCAP_RECORD_HEAD: usize = 16;
/// Type of the pcapng block that begins a section; the same in both byte orders.
const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

impl CaptureReader {
    /// An empty one.
    pub fn new() -> CaptureReader {
        CaptureReader::default()
    }

    /// Whether a file that begins with these bytes is a capture; four are enough.
    pub fn knows(head: &[u8]) -> bool {
        let Some(magic) = head.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else { return false };
        magic == SECTION || pcap_magic(magic).is_some()
    }

    /// Adds the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.dropped += self.start as u64;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None`: more bytes are needed. An error is final.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        loop {
            match &mut self.format {
                None => {
                    let rest = self.buffer.get(self.start..).unwrap_or_default();
                    let Some(magic) = rest.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
                        return Ok(None);
                    };
                    if magic == SECTION {
                        self.format = Some(Format::PcapNg { big: false, interfaces: Vec::new() });
                        continue;
                    }
                    let (big, nanos) = pcap_magic(magic).ok_or(CaptureError::Magic)?;
                    if rest.len() < PCAP_HEAD {
                        return Ok(None);
                    }
                    // The upper bits say how long a frame check sequence is.
                    let link = LinkType::from_number(number(rest, 20, big) as u16);
                    self.format = Some(Format::Pcap { big, nanos, link });
                    self.start += PCAP_HEAD;
                }
                Some(Format::Pcap { big, nanos, link }) => {
                    let (big, nanos, link) = (*big, *nanos, *link);
                    let rest = self.buffer.get(self.start..).unwrap_or_default();
                    if rest.len() < PCAP_RECORD_HEAD {
                        return Ok(None);
                    }
                    let length = number(rest, 8, big) as usize;
                    if length > BLOCK_BYTES_MAX {
                        return Err(self.damaged("a record of at most 1 MiB"));
                    }
                    if rest.len() < PCAP_RECORD_HEAD + length {
                        return Ok(None);
                    }
                    let (seconds, fraction) = (number(rest, 0, big), number(rest, 4, big));
                    let scale = if nanos { 1 } else { 1000 };
                    let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * scale;
                    let at = self.start + PCAP_RECORD_HEAD;
                    self.start = at + length;
                    let frame = self.buffer.get(at..at + length).unwrap_or_default();
                    return Ok(Some(Record { time_ns, link, frame }));
                }
                Some(Format::PcapNg { .. }) => {
                    let Some((kind, at, length)) = self.block()? else { return Ok(None) };
                    let Some((time_ns, link, from, captured)) = self.contents(kind, at, length) else {
                        continue;
                    };
                    let end = at + length;
                    let frame = self.buffer.get(from..(from + captured).min(end)).unwrap_or_default();
                    return Ok(Some(Record { time_ns, link, frame }));
                }
            }
        }
    }

    /// Takes the next pcapng block: its type, and where in the buffer its contents are.
    fn block(&mut self) -> Result<Option<(u32, usize, usize)>, CaptureError> {
        /// Type and length in front, the length once more behind.
        const AROUND: usize = 12;
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        if rest.len() < AROUND {
            return Ok(None);
        }
        let Some(Format::PcapNg { big, interfaces }) = &mut self.format else { return Ok(None) };
        if number(rest, 0, true) == SECTION {
            // The section's byte order stands behind the length, which is written in it.
            *big = match number(rest, 8, true) {
                0x1A2B_3C4D => true,
                0x4D3C_2B1A => false,
                _ => return Err(self.damaged("a section's byte order")),
            };
            interfaces.clear();
        }
        let (kind, length) = (number(rest, 0, *big), number(rest, 4, *big) as usize);
        if !(AROUND..=BLOCK_BYTES_MAX).contains(&length) || length % 4 != 0 {
            return Err(self.damaged("a block of at most 1 MiB"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let at = self.start + 8;
        self.start += length;
        Ok(Some((kind, at, length - AROUND)))
    }

    /// What a block says: a frame's time, link, place in the buffer and length.
    fn contents(&mut self, kind: u32, at: usize, length: usize) -> Option<(u64, LinkType, usize, usize)> {
        let body = self.buffer.get(at..at + length)?;
        let Some(Format::PcapNg { big, interfaces }) = &mut self.format else { return None };
        let big = *big;
        match kind {
            INTERFACE if interfaces.len() < INTERFACES_MAX && body.len() >= 8 => {
                // A number of 16 bits: the low ones of the first word, whose other half is reserved.
                let word = number(body, 0, big);
                let link = LinkType::from_number(if big { (word >> 16) as u16 } else { word as u16 });
                let resolution = resolution(body.get(8..).unwrap_or_default(), big);
                interfaces.push(Interface { link, resolution });
                None
            }
            ENHANCED_PACKET if body.len() >= 20 => {
                let interface = interfaces.get(number(body, 0, big) as usize)?;
                let ticks = u64::from(number(body, 4, big)) << 32 | u64::from(number(body, 8, big));
                let ns = u128::from(ticks) * 1_000_000_000 / u128::from(interface.resolution);
                let captured = number(body, 12, big) as usize;
                Some((ns as u64, interface.link, at + 20, captured.min(length - 20)))
            }
            SIMPLE_PACKET if body.len() >= 4 => {
                let captured = number(body, 0, big) as usize;
                Some((0, interfaces.first()?.link, at + 4, captured.min(length - 4)))
            }
            _ => None,
        }
    }

    fn damaged(&self, expected: &'static str) -> CaptureError {
        CaptureError::Damaged { offset: self.dropped + self.start as u64, expected }
    }
}

/// Ticks in a second by an interface's options; without that option, microseconds.
fn resolution(mut options: &[u8], big: bool) -> u64 {
    const RESOLUTION: u32 = 9;
    const DEFAULT: u64 = 1_000_000;
    while options.len() >= 4 {
        let word = number(options, 0, big);
        let (code, length) = if big { (word >> 16, word & 0xFFFF) } else { (word & 0xFFFF, word >> 16) };
        let length = length as usize;
        match (code, options.get(4)) {
            (0, _) => break,
            (RESOLUTION, Some(power)) if length >= 1 => {
                let (base, exponent) = if power & 0x80 != 0 { (2u64, power & 0x7F) } else { (10, *power) };
                return base.checked_pow(u32::from(exponent)).unwrap_or(DEFAULT);
            }
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    DEFAULT
}

/// Byte order and whether fractions are nanoseconds, by the magic read as big-endian.
fn pcap_magic(magic: u32) -> Option<(bool, bool)> {
    Some(match magic {
        0xA1B2_C3D4 => (true, false),
        0xD4C3_B2A1 => (false, false),
        0xA1B2_3C4D => (true, true),
        0x4D3C_B2A1 => (false, true),
        _ => return None,
    })
}

/// A number of 32 bits; 0 past the end.
fn number(bytes: &[u8], at: usize, big: bool) -> u32 {
    match bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
        Some(bytes) if big => u32::from_be_bytes(*bytes),
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes {
        big: bool,
        out: Vec<u8>,
    }

    impl Bytes {
        fn u32s(mut self, values: &[u32]) -> Bytes {
            let big = self.big;
            self.out.extend(values.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }));
            self
        }

        fn u16s(mut self, values: &[u16]) -> Bytes {
            let big = self.big;
            self.out.extend(values.iter().flat_map(|v| if big { v.to_be_bytes() } else { v.to_le_bytes() }));
            self
        }

        fn raw(mut self, bytes: &[u8]) -> Bytes {
            self.out.extend(bytes);
            self
        }

        fn block(self, kind: u32, body: impl FnOnce(Bytes) -> Bytes) -> Bytes {
            let mut body = body(Bytes { big: self.big, out: Vec::new() }).out;
            body.resize(body.len().next_multiple_of(4), 0);
            let length = body.len() as u32 + 12;
            self.u32s(&[kind, length]).raw(&body).u32s(&[length])
        }
    }

    type Seen = Vec<(u64, LinkType, Vec<u8>)>;

    fn read(file: &[u8], piece: usize) -> (Seen, Option<CaptureError>) {
        let (mut reader, mut seen) = (CaptureReader::new(), Vec::new());
        for bytes in file.chunks(piece) {
            reader.push(bytes);
            loop {
                match reader.next_record() {
                    Ok(Some(record)) => seen.push((record.time_ns, record.link, record.frame.to_vec())),
                    Ok(None) => break,
                    Err(error) => return (seen, Some(error)),
                }
            }
        }
        (seen, None)
    }

    #[test]
    fn pcap_in_every_form() {
        for (magic, big, scale) in [
            (0xA1B2_C3D4, true, 1000),
            (0xA1B2_C3D4, false, 1000),
            (0xA1B2_3C4D, true, 1),
            (0xA1B2_3C4D, false, 1),
        ] {
            let file = Bytes { big, out: Vec::new() }
                .u32s(&[magic, 0x0002_0004, 0, 0, 65535, 1])
                .u32s(&[5, 7, 3, 60])
                .raw(b"abc")
                .u32s(&[6, 0, 0, 0])
                .out;
            assert!(CaptureReader::knows(&file));
            for piece in [1, 7, file.len()] {
                let (seen, error) = read(&file, piece);
                assert_eq!(error, None);
                let first = (5_000_000_000 + 7 * scale, LinkType::Ethernet, b"abc".to_vec());
                assert_eq!(seen, [first, (6_000_000_000, LinkType::Ethernet, vec![])]);
            }
        }
    }

    #[test]
    fn pcapng_in_both_orders() {
        for big in [true, false] {
            let file = Bytes { big, out: Vec::new() }
                .block(SECTION, |b| b.u32s(&[0x1A2B_3C4D, 1, u32::MAX, u32::MAX]))
                .block(INTERFACE, |b| b.u16s(&[113, 0]).u32s(&[0]))
                .block(INTERFACE, |b| {
                    b.u16s(&[1, 0]).u32s(&[0]).u16s(&[9, 1]).raw(&[9, 0, 0, 0]).u16s(&[0, 0])
                })
                .block(5, |b| b.raw(b"statistics"))
                .block(ENHANCED_PACKET, |b| b.u32s(&[1, 1, 2, 3, 99]).raw(b"abc"))
                .block(ENHANCED_PACKET, |b| b.u32s(&[0, 0, 2, 1, 1]).raw(b"d"))
                .block(ENHANCED_PACKET, |b| b.u32s(&[2, 0, 2, 1, 1]).raw(b"?"))
                .block(SIMPLE_PACKET, |b| b.u32s(&[2]).raw(b"ef"))
                .out;
            assert!(CaptureReader::knows(&file));
            for piece in [1, 13, file.len()] {
                let (seen, error) = read(&file, piece);
                assert_eq!(error, None);
                let expected = [
                    ((1 << 32) + 2, LinkType::Ethernet, b"abc".to_vec()),
                    (2000, LinkType::LinuxCooked, b"d".to_vec()),
                    (0, LinkType::LinuxCooked, b"ef".to_vec()),
                ];
                assert_eq!(seen, expected, "an interface that was not announced has no frames");
            }
        }
    }

    #[test]
    fn damage_is_told() {
        assert_eq!(read(b"GIF89a", 6).1, Some(CaptureError::Magic));
        assert!(!CaptureReader::knows(b"GIF89a") && !CaptureReader::knows(b"\xA1"));
        let huge = Bytes { big: true, out: Vec::new() }
            .u32s(&[0xA1B2_C3D4, 0, 0, 0, 0, 1])
            .u32s(&[0, 0, u32::MAX, 0])
            .out;
        assert!(matches!(read(&huge, 4).1, Some(CaptureError::Damaged { offset: 24, .. })));
        let short = Bytes { big: true, out: Vec::new() }.u32s(&[SECTION, 11, 0x1A2B_3C4D]).out;
        assert!(matches!(read(&short, 4).1, Some(CaptureError::Damaged { offset: 0, .. })));
        let order = Bytes { big: true, out: Vec::new() }.u32s(&[SECTION, 28, 0]).out;
        assert!(matches!(read(&order, 4).1, Some(CaptureError::Damaged { offset: 0, .. })));
    }
}
