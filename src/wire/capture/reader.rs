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
    /// When it was captured, in nanoseconds since 1970; simple packets of pcapng do not say.
    pub time_ns: Option<u64>,
    /// Place of the interface among those of its section of a pcapng file; 0 in a pcap file.
    pub interface: u32,
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
    /// Bytes that are passed over as they come: the rest of a block that holds no frame.
    skip: u64,
    /// Where in the file that block begins.
    skip_from: u64,
    /// Frames whose interface is not known.
    unread: u64,
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
    /// Seconds that its times are counted from.
    offset_s: i64,
}

/// Where in the buffer a frame is, and what its block says about it.
struct Found {
    time_ns: Option<u64>,
    interface: u32,
    link: LinkType,
    from: usize,
    captured: usize,
}

/// Bytes of a pcap file's header and of a record's.
const PCAP_HEAD: usize = 24;
const PCAP_RECORD_HEAD: usize = 16;
/// Type of the pcapng block that begins a section; the same in both byte orders.
const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
/// The form of [`ENHANCED_PACKET`] before 2004; old captures have it.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// Types of blocks that hold no frame and may be of any size: names, statistics, secrets, and what a maker defines.
const WITHOUT_FRAMES: [u32; 5] = [4, 5, 10, 0x0BAD, 0x4000_0BAD];

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

    /// Frames that were passed over because their interface was not announced, or is one too many.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Where the file is damaged if it ends here: in a block that should go on for more than a frame may be long.
    /// `None`: it is not, or cut off in a record.
    pub fn damaged_at_end(&self) -> Option<u64> {
        (self.skip > 0).then_some(self.skip_from)
    }

    /// The next frame; `None`: more bytes are needed. An error is final.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        loop {
            if self.skip > 0 {
                let here =
                    (self.buffer.len() - self.start).min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.start += here;
                self.skip -= here as u64;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
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
                    let time_ns = Some(u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * scale);
                    let at = self.start + PCAP_RECORD_HEAD;
                    self.start = at + length;
                    let frame = self.buffer.get(at..at + length).unwrap_or_default();
                    return Ok(Some(Record { time_ns, interface: 0, link, frame }));
                }
                Some(Format::PcapNg { .. }) => {
                    let Some((kind, at, length)) = self.block()? else { return Ok(None) };
                    let Some(found) = self.contents(kind, at, length) else { continue };
                    let Found { time_ns, interface, link, from, captured } = found;
                    let frame = self.buffer.get(from..from + captured).unwrap_or_default();
                    return Ok(Some(Record { time_ns, interface, link, frame }));
                }
            }
        }
    }

    /// Takes the next pcapng block: its type, and where in the buffer its contents are. One that is known to hold no
    /// frame may be of any size; what does not fit the buffer is passed over, and has no contents.
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
        if length < AROUND || length % 4 != 0 {
            return Err(self.damaged("the length of a block"));
        }
        if length > BLOCK_BYTES_MAX {
            // A length of another type is more likely to be damaged than to be true.
            if !WITHOUT_FRAMES.contains(&kind) {
                return Err(self.damaged("a block of at most 1 MiB"));
            }
            (self.skip, self.skip_from) = (length as u64, self.dropped + self.start as u64);
            return Ok(Some((kind, self.start, 0)));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let at = self.start + 8;
        self.start += length;
        Ok(Some((kind, at, length - AROUND)))
    }

    /// The frame of a block, if it holds one.
    fn contents(&mut self, kind: u32, at: usize, length: usize) -> Option<Found> {
        let body = self.buffer.get(at..at + length)?;
        let Some(Format::PcapNg { big, interfaces }) = &mut self.format else { return None };
        let big = *big;
        match kind {
            INTERFACE if interfaces.len() < INTERFACES_MAX && body.len() >= 8 => {
                // A number of 16 bits: the low ones of the first word, whose other half is reserved.
                let word = number(body, 0, big);
                let link = LinkType::from_number(if big { (word >> 16) as u16 } else { word as u16 });
                let (resolution, offset_s) = time_options(body.get(8..).unwrap_or_default(), big);
                interfaces.push(Interface { link, resolution, offset_s });
                None
            }
            ENHANCED_PACKET | PACKET if body.len() >= 20 => {
                let word = number(body, 0, big);
                let interface = match (kind, big) {
                    (ENHANCED_PACKET, _) => word,
                    // Of 16 bits, before a count of drops.
                    (_, true) => word >> 16,
                    (_, false) => word & 0xFFFF,
                };
                let Some(known) = interfaces.get(interface as usize) else {
                    self.unread += 1;
                    return None;
                };
                let ticks = u64::from(number(body, 4, big)) << 32 | u64::from(number(body, 8, big));
                let captured = (number(body, 12, big) as usize).min(length - 20);
                Some(Found {
                    time_ns: Some(known.time_ns(ticks)),
                    interface,
                    link: known.link,
                    from: at + 20,
                    captured,
                })
            }
            SIMPLE_PACKET if body.len() >= 4 => {
                let Some(known) = interfaces.first() else {
                    self.unread += 1;
                    return None;
                };
                let captured = (number(body, 0, big) as usize).min(length - 4);
                Some(Found { time_ns: None, interface: 0, link: known.link, from: at + 4, captured })
            }
            _ => None,
        }
    }

    fn damaged(&self, expected: &'static str) -> CaptureError {
        CaptureError::Damaged { offset: self.dropped + self.start as u64, expected }
    }
}

impl Interface {
    /// Nanoseconds since 1970. Damaged times stay within what 64 bits can say.
    fn time_ns(&self, ticks: u64) -> u64 {
        let ns = i128::from(ticks) * 1_000_000_000 / i128::from(self.resolution);
        let offset_ns = i128::from(self.offset_s) * 1_000_000_000;
        (ns + offset_ns).clamp(0, i128::from(u64::MAX)) as u64
    }
}

/// Ticks in a second by an interface's options (without that option, microseconds), and the seconds that are added.
fn time_options(mut options: &[u8], big: bool) -> (u64, i64) {
    const RESOLUTION: u32 = 9;
    const OFFSET: u32 = 14;
    const DEFAULT: u64 = 1_000_000;
    let (mut resolution, mut offset_s) = (DEFAULT, 0);
    while options.len() >= 4 {
        let word = number(options, 0, big);
        let (code, length) = if big { (word >> 16, word & 0xFFFF) } else { (word & 0xFFFF, word >> 16) };
        let length = length as usize;
        match (code, options.get(4)) {
            (0, _) => break,
            (RESOLUTION, Some(power)) if length >= 1 => {
                let (base, exponent) = if power & 0x80 != 0 { (2u64, power & 0x7F) } else { (10, *power) };
                resolution = base.checked_pow(u32::from(exponent)).unwrap_or(DEFAULT);
            }
            (OFFSET, _) if length == 8 => {
                if let Some(bytes) = options.get(4..).and_then(|bytes| bytes.first_chunk()) {
                    offset_s = if big { i64::from_be_bytes(*bytes) } else { i64::from_le_bytes(*bytes) };
                }
            }
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    (resolution, offset_s)
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

    type Seen = Vec<(Option<u64>, u32, LinkType, Vec<u8>)>;

    fn read(file: &[u8], piece: usize) -> (Seen, Option<CaptureError>) {
        let (mut reader, mut seen) = (CaptureReader::new(), Vec::new());
        for bytes in file.chunks(piece) {
            reader.push(bytes);
            loop {
                match reader.next_record() {
                    Ok(Some(r)) => seen.push((r.time_ns, r.interface, r.link, r.frame.to_vec())),
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
                let first = (Some(5_000_000_000 + 7 * scale), 0, LinkType::Ethernet, b"abc".to_vec());
                assert_eq!(seen, [first, (Some(6_000_000_000), 0, LinkType::Ethernet, vec![])]);
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
                    // Nanoseconds, counted from a second before 1970.
                    let offset = if big { (-1i64).to_be_bytes() } else { (-1i64).to_le_bytes() };
                    let b = b.u16s(&[1, 0]).u32s(&[0]).u16s(&[9, 1]).raw(&[9, 0, 0, 0]);
                    b.u16s(&[14, 8]).raw(&offset).u16s(&[0, 0])
                })
                .block(5, |b| b.raw(b"statistics"))
                // Names and keys may be larger than any frame.
                .block(0x0BAD, |b| b.raw(&vec![6; BLOCK_BYTES_MAX + 8]))
                .block(ENHANCED_PACKET, |b| b.u32s(&[1, 1, 2, 3, 99]).raw(b"abc"))
                .block(ENHANCED_PACKET, |b| b.u32s(&[0, 0, 2, 1, 1]).raw(b"d"))
                .block(ENHANCED_PACKET, |b| b.u32s(&[2, 0, 2, 1, 1]).raw(b"?"))
                .block(SIMPLE_PACKET, |b| b.u32s(&[2]).raw(b"ef"))
                .block(PACKET, |b| b.u16s(&[1, 77]).u32s(&[0, 3, 1, 1]).raw(b"g"))
                .out;
            assert!(CaptureReader::knows(&file));
            for piece in [97, 1 << 18, file.len()] {
                let (seen, error) = read(&file, piece);
                assert_eq!(error, None);
                let expected = [
                    (Some((1 << 32) + 2 - 1_000_000_000), 1, LinkType::Ethernet, b"abc".to_vec()),
                    (Some(2000), 0, LinkType::LinuxCooked, b"d".to_vec()),
                    (None, 0, LinkType::LinuxCooked, b"ef".to_vec()),
                    (Some(0), 1, LinkType::Ethernet, b"g".to_vec()),
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
        let large = Bytes { big: true, out: Vec::new() }
            .block(SECTION, |b| b.u32s(&[0x1A2B_3C4D, 1, u32::MAX, u32::MAX]))
            .u32s(&[ENHANCED_PACKET, 1 << 21, 0])
            .out;
        assert!(matches!(read(&large, 4).1, Some(CaptureError::Damaged { offset: 28, .. })));
        // An unknown type, or a known one that is longer than the file.
        let begin = || {
            let section = Bytes { big: true, out: Vec::new() };
            section.block(SECTION, |b| b.u32s(&[0x1A2B_3C4D, 1, u32::MAX, u32::MAX]))
        };
        let unknown = begin().u32s(&[0x0600, 0xFF00_0000, 0]).raw(&[0; 5000]).out;
        assert!(matches!(read(&unknown, 4).1, Some(CaptureError::Damaged { offset: 28, .. })));
        for (length, damaged_at) in [(0xFF00_0000, Some(28)), ((1 << 20) + 4, None)] {
            let file = begin().u32s(&[5, length, 0]).raw(&[0; 1 << 20]).out;
            let mut reader = CaptureReader::new();
            for bytes in file[..28 + file.len().min((1 << 20) + 4)].chunks(999) {
                reader.push(bytes);
                assert_eq!(reader.next_record(), Ok(None));
            }
            assert_eq!(reader.damaged_at_end(), damaged_at, "{length}");
        }
        let short = Bytes { big: true, out: Vec::new() }.u32s(&[SECTION, 11, 0x1A2B_3C4D]).out;
        assert!(matches!(read(&short, 4).1, Some(CaptureError::Damaged { offset: 0, .. })));
        let order = Bytes { big: true, out: Vec::new() }.u32s(&[SECTION, 28, 0]).out;
        assert!(matches!(read(&order, 4).1, Some(CaptureError::Damaged { offset: 0, .. })));
    }
}
