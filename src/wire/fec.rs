//! Repair packets (SMPTE ST 2022-1, which grew out of Pro-MPEG Code of Practice 3 and RFC 2733).
//!
//! A repair packet is an RTP packet of type 96 with a header of 16 bytes and the XOR of some media packets. What the XOR
//! covers is [`Parity`]: of each packet the flags, type and time stamp of its RTP header, the number of bytes behind that
//! header, and those bytes, as if all were as long as the longest. Which packets those are, [`FecHeader`] says.
//!
//! Two things of real senders are not in the standard's tables: the flags (padding, extension, sources, marker) of the RTP
//! header are XORs too and not flags of the repair packet, so its payload always begins behind 12 bytes; and its SSRC is 0.

use super::rtp::{HEADER_BYTES, RtpHeader};

/// Payload type of repair packets.
pub const PAYLOAD_TYPE: u8 = 96;
/// Bytes of the header behind RTP's.
pub const FEC_HEADER_BYTES: usize = 16;
/// Longest media packet that is protected or restored, in bytes with its RTP header: what one Ethernet frame carries.
pub const PACKET_BYTES_MAX: usize = 1500;

/// Which way the packets of one repair packet lie in the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Every L-th packet; sent on the stream's port + 2.
    Column,
    /// Packets in a row; sent on the stream's port + 4.
    Row,
}

/// The header of a repair packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FecHeader {
    /// Sequence number of the first packet (SNBase, its low 16 bits).
    pub base: u16,
    /// Which way its packets lie.
    pub direction: Direction,
    /// Sequence numbers from one packet to the next, not 0: L of a column, 1 of a row.
    pub offset: u8,
    /// How many packets, not 0 (NA): D of a column, L of a row.
    pub count: u8,
}

impl FecHeader {
    /// Reads the header of a whole datagram; `None`: too short, not RTP, or another scheme than XOR of whole packets.
    pub fn parse(datagram: &[u8]) -> Option<FecHeader> {
        let (rtp, rest) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        let ([b0, b1, _, _, extended, m0, m1, m2, _, _, _, _, kind, offset, count, _], _) =
            rest.split_first_chunk::<FEC_HEADER_BYTES>()?;
        // E says that this header is there; N, type and index are 0 for XOR, and the mask belongs to RFC 2733.
        let xor = extended & 0x80 != 0 && kind & !0x40 == 0 && [m0, m1, m2] == [&0, &0, &0];
        if rtp.first()? >> 6 != 2 || !xor || *offset == 0 || *count == 0 {
            return None;
        }
        Some(FecHeader {
            base: u16::from_be_bytes([*b0, *b1]),
            direction: if kind & 0x40 == 0 { Direction::Column } else { Direction::Row },
            offset: *offset,
            count: *count,
        })
    }
}

/// The XOR of media packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parity {
    /// Padding, extension and number of sources.
    flags: u8,
    /// Marker and payload type.
    kind: u8,
    timestamp: u32,
    /// Of the bytes behind the header.
    length: u16,
    payload: Vec<u8>,
}

impl Parity {
    /// The XOR of nothing, with room for the longest packet.
    pub fn new() -> Parity {
        Parity { payload: Vec::with_capacity(PACKET_BYTES_MAX - HEADER_BYTES), ..Parity::default() }
    }

    /// Back to the XOR of nothing; the room stays.
    pub fn clear(&mut self) {
        self.payload.clear();
        let payload = std::mem::take(&mut self.payload);
        *self = Parity { payload, ..Parity::default() };
    }

    /// Adds a media packet, or takes it away again. One without an RTP header, or longer than [`PACKET_BYTES_MAX`], is not
    /// added; the answer is whether it was.
    pub fn add(&mut self, packet: &[u8]) -> bool {
        let Some((head, payload)) = packet.split_first_chunk::<HEADER_BYTES>() else { return false };
        if packet.len() > PACKET_BYTES_MAX {
            return false;
        }
        let [b0, b1, _, _, t0, t1, t2, t3, _, _, _, _] = *head;
        self.flags ^= b0 & 0x3F;
        self.kind ^= b1;
        self.timestamp ^= u32::from_be_bytes([t0, t1, t2, t3]);
        // At most PACKET_BYTES_MAX.
        self.length ^= payload.len() as u16;
        self.xor(payload);
        true
    }

    /// Becomes what the repair packet `datagram` carries; its header says of which packets that is the XOR.
    pub fn load(&mut self, datagram: &[u8]) -> Option<FecHeader> {
        let header =
            FecHeader::parse(datagram).filter(|_| datagram.len() <= PACKET_BYTES_MAX + FEC_HEADER_BYTES)?;
        let (&[f0, f1, ..], rest) = datagram.split_first_chunk::<HEADER_BYTES>()?;
        let (&[_, _, l0, l1, kind, _, _, _, t0, t1, t2, t3, ..], payload) =
            rest.split_first_chunk::<FEC_HEADER_BYTES>()?;
        self.clear();
        self.flags = f0 & 0x3F;
        self.kind = f1 & 0x80 | kind & 0x7F;
        self.timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
        self.length = u16::from_be_bytes([l0, l1]);
        self.xor(payload);
        Some(header)
    }

    /// Writes the repair packet over `out`.
    pub fn write(&self, header: FecHeader, sequence: u16, timestamp: u32, out: &mut Vec<u8>) {
        let rtp = RtpHeader {
            marker: self.kind & 0x80 != 0,
            payload_type: PAYLOAD_TYPE,
            sequence,
            timestamp,
            ssrc: 0,
        };
        let [_, rest @ ..] = rtp.to_bytes();
        out.clear();
        out.push(0x80 | self.flags);
        out.extend(rest);
        out.extend(header.base.to_be_bytes());
        out.extend(self.length.to_be_bytes());
        out.extend([0x80 | self.kind, 0, 0, 0]);
        out.extend(self.timestamp.to_be_bytes());
        let kind = if header.direction == Direction::Row { 0x40 } else { 0 };
        out.extend([kind, header.offset, header.count, 0]);
        out.extend(&self.payload);
    }

    /// Writes the packet that is left, when all others of a repair packet were taken away, over `out`; false if it cannot be
    /// one.
    pub fn restore(&self, sequence: u16, ssrc: u32, out: &mut Vec<u8>) -> bool {
        let Some(payload) = self.payload.get(..usize::from(self.length)) else { return false };
        let rtp = RtpHeader {
            marker: self.kind & 0x80 != 0,
            payload_type: self.kind & 0x7F,
            sequence,
            timestamp: self.timestamp,
            ssrc,
        };
        let [_, rest @ ..] = rtp.to_bytes();
        out.clear();
        out.push(0x80 | self.flags);
        out.extend(rest);
        out.extend(payload);
        true
    }

    fn xor(&mut self, bytes: &[u8]) {
        if self.payload.len() < bytes.len() {
            self.payload.resize(bytes.len(), 0);
        }
        for (sum, byte) in self.payload.iter_mut().zip(bytes) {
            *sum ^= byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first row packet of `tests/vectors/rtp_mp2t_fec_5x5.pcap`, without its payload.
    const ROW: [u8; 28] = [
        0x80, 0x60, 0x05, 0x18, 0xc2, 0xe7, 0xd6, 0x41, 0, 0, 0, 0, 0x06, 0xf7, 0x04, 0x68, 0xa1, 0, 0, 0,
        0xc2, 0xe8, 0x24, 0x51, 0x40, 0x01, 0x05, 0x00,
    ];

    #[test]
    fn a_header_from_the_wild() {
        let expected = FecHeader { base: 0x06F7, direction: Direction::Row, offset: 1, count: 5 };
        assert_eq!(FecHeader::parse(&ROW), Some(expected));
        let mut parity = Parity::new();
        assert_eq!(parity.load(&ROW), Some(expected));
        let mut again = Vec::new();
        parity.write(expected, 0x0518, 0xC2E7_D641, &mut again);
        assert_eq!(again, ROW);
    }

    #[test]
    fn what_is_no_header() {
        for (what, at, byte) in [
            ("no RTP", 0, 0x47),
            ("not extended", 16, 0x21),
            ("a mask", 18, 1),
            ("another code", 24, 0x48),
            ("an index", 24, 0x41),
            ("a reserved bit", 24, 0x80),
            ("no offset", 25, 0),
            ("no packets", 26, 0),
        ] {
            let mut bytes = ROW;
            bytes[at] = byte;
            assert_eq!(FecHeader::parse(&bytes), None, "{what}");
        }
        assert_eq!(FecHeader::parse(&ROW[..27]), None);
        assert_eq!(Parity::new().load(&[&ROW[..], &[0; 1500]].concat()), None, "longer than any");
    }

    #[test]
    fn the_one_that_is_missing_is_restored_whatever_is_in_it() {
        let packet = |first: u8, kind: u8, sequence: u8, time: u8, payload: &[u8]| {
            [&[first, kind, 0, sequence, 0, 0, 0, time, 1, 2, 3, 4], payload].concat()
        };
        let packets = [
            packet(0x80, 33, 1, 9, b"short"),
            packet(0xB1, 0x80 | 33, 2, 7, b"the longest of all"),
            packet(0x80, 33, 3, 200, b""),
            packet(0x80, 33, 4, 4, b"longer"),
        ];
        let header = FecHeader { base: 1, direction: Direction::Row, offset: 1, count: 4 };
        let (mut sum, mut repair) = (Parity::new(), Vec::new());
        assert!(packets.iter().all(|packet| sum.add(packet)));
        sum.write(header, 77, 0, &mut repair);
        for missing in &packets {
            let (mut left, mut restored) = (Parity::new(), Vec::new());
            assert_eq!(left.load(&repair), Some(header));
            assert!(packets.iter().filter(|packet| *packet != missing).all(|packet| left.add(packet)));
            assert!(left.restore(u16::from(missing[3]), 0x0102_0304, &mut restored));
            assert_eq!(&restored, missing);
        }
        sum.clear();
        assert_eq!(sum, Parity::default());
        assert!(!sum.add(&[0x80; 11]) && !sum.add(&[0x80; 1501]) && sum.add(&[0x80; 1500]));
        // A length that is longer than anything that came is a lie, or more than one packet is missing.
        let (mut lie, mut out) = (Parity::new(), Vec::new());
        lie.load(&ROW).unwrap();
        assert!(!lie.restore(1, 2, &mut out));
    }
}
