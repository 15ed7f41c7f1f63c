//! From a captured frame to a UDP datagram: Ethernet with VLAN tags, Linux cooked captures, raw IP, loopback; IPv4 and
//! IPv6. Checksums are not looked at: captures on the sending host have none yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a frame begins with (the registry of link types at tcpdump.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// BSD loopback: four bytes with the address family.
    Null,
    /// Ethernet.
    Ethernet,
    /// An IP packet as it is.
    Raw,
    /// Linux "any" interface.
    LinuxCooked,
    /// The same, second form.
    LinuxCooked2,
    /// One that is not read.
    Other(u16),
}

impl LinkType {
    /// From the number in a file.
    pub fn from_number(number: u16) -> LinkType {
        match number {
            0 | 108 => LinkType::Null,
            1 => LinkType::Ethernet,
            12 | 101 | 228 | 229 => LinkType::Raw,
            113 => LinkType::LinuxCooked,
            276 => LinkType::LinuxCooked2,
            other => LinkType::Other(other),
        }
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// IPv4 time to live, IPv6 hop limit.
    pub ttl: u8,
    /// Differentiated services code point.
    pub dscp: u8,
    /// What it carries; shorter than what was sent if the capture cut the frame.
    pub payload: &'a [u8],
    /// The capture, or the sender, cut it: payload is missing.
    pub cut: bool,
    /// Index of the device that a capture on all of them saw it on; 0: not told.
    pub device: u32,
    /// It was sent by the capturing host. Told by cooked captures only.
    pub outgoing: bool,
}

/// Why a frame is no [`Datagram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// Its link type is [`LinkType::Other`].
    Link,
    /// It is a part of a UDP datagram that was sent in several IP packets.
    Fragment,
    /// It is something else than UDP, or it is cut in a header.
    Other,
}

/// Packet type of cooked captures: sent by the host itself.
const OUTGOING: u8 = 4;

impl<'a> Datagram<'a> {
    /// Reads a frame.
    pub fn parse(link: LinkType, frame: &'a [u8]) -> Result<Datagram<'a>, NotRead> {
        let (mut device, mut outgoing) = (0, false);
        let packet = match link {
            LinkType::Ethernet => frame.get(12..).and_then(behind_ethernet),
            LinkType::LinuxCooked => {
                outgoing = frame.get(1) == Some(&OUTGOING);
                frame.get(14..).and_then(behind_ethernet)
            }
            LinkType::LinuxCooked2 => {
                let index = frame.get(4..).and_then(|bytes| bytes.first_chunk());
                device = index.map_or(0, |bytes| u32::from_be_bytes(*bytes));
                outgoing = frame.get(10) == Some(&OUTGOING);
                frame.get(20..)
            }
            LinkType::Null => frame.get(4..),
            LinkType::Raw => Some(frame),
            LinkType::Other(_) => return Err(NotRead::Link),
        };
        let datagram = ip(packet.ok_or(NotRead::Other)?)?;
        Ok(Datagram { device, outgoing, ..datagram })
    }
}

/// What follows the type, and any VLAN tags in front of it.
fn behind_ethernet(mut bytes: &[u8]) -> Option<&[u8]> {
    /// Provider and customer tags, and one of a monitoring port.
    const TAGS_MAX: usize = 3;
    for _ in 0..=TAGS_MAX {
        let (kind, rest) = bytes.split_first_chunk()?;
        match u16::from_be_bytes(*kind) {
            0x0800 | 0x86DD => return Some(rest),
            0x8100 | 0x88A8 | 0x9100 => bytes = rest.get(2..)?,
            _ => return None,
        }
    }
    None
}

const UDP: u8 = 17;
/// The IPv6 extension header of a fragment.
const FRAGMENT: u8 = 44;

fn ip(bytes: &[u8]) -> Result<Datagram<'_>, NotRead> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => {
            let header: &[u8; 20] = bytes.first_chunk().ok_or(NotRead::Other)?;
            let header_bytes = usize::from(header[0] & 0x0F) * 4;
            if header_bytes < header.len() || header[9] != UDP {
                return Err(NotRead::Other);
            }
            if u16::from_be_bytes([header[6], header[7]]) & 0x3FFF != 0 {
                return Err(NotRead::Fragment);
            }
            // A length of 0 comes from segmentation offload: then the frame's own counts.
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let end = if length == 0 { bytes.len() } else { length.min(bytes.len()) };
            let from = IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15]));
            let to = IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19]));
            udp(bytes.get(header_bytes..end), from, to, header[8], header[1] >> 2)
        }
        Some(6) => {
            let header: &[u8; 40] = bytes.first_chunk().ok_or(NotRead::Other)?;
            // Other extension headers in front of media are unheard of.
            match header[6] {
                UDP => {}
                FRAGMENT => return Err(NotRead::Fragment),
                _ => return Err(NotRead::Other),
            }
            let address = |at: usize| {
                let bytes = header.get(at..).and_then(|bytes| bytes.first_chunk::<16>());
                bytes.map(|bytes| IpAddr::V6(Ipv6Addr::from(*bytes))).ok_or(NotRead::Other)
            };
            let class = (header[0] << 4) | (header[1] >> 4);
            udp(bytes.get(40..), address(8)?, address(24)?, header[7], class >> 2)
        }
        _ => Err(NotRead::Other),
    }
}

fn udp(bytes: Option<&[u8]>, from: IpAddr, to: IpAddr, ttl: u8, dscp: u8) -> Result<Datagram<'_>, NotRead> {
    let (&[s0, s1, d0, d1, l0, l1, _, _], rest) =
        bytes.and_then(|bytes| bytes.split_first_chunk()).ok_or(NotRead::Other)?;
    let length = match u16::from_be_bytes([l0, l1]) {
        0 => rest.len(),
        length => usize::from(length).checked_sub(8).ok_or(NotRead::Other)?,
    };
    Ok(Datagram {
        source: SocketAddr::new(from, u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new(to, u16::from_be_bytes([d0, d1])),
        ttl,
        dscp,
        payload: rest.get(..length.min(rest.len())).unwrap_or_default(),
        cut: length > rest.len(),
        device: 0,
        outgoing: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet from 10.0.0.1:1000 to 239.1.2.3:5000 with `payload`.
    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let length = (28 + payload.len()) as u8;
        let mut bytes =
            vec![0x45, 34 << 2, 0, length, 0, 0, 0x40, 0, 16, UDP, 0, 0, 10, 0, 0, 1, 239, 1, 2, 3];
        bytes.extend([0x03, 0xE8, 0x13, 0x88, 0, length - 20, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn links() {
        let packet = ipv4(b"hello");
        for (link, head, device, outgoing) in [
            (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0][..], 0, false),
            (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xA8, 0, 1, 0x81, 0, 0, 7, 8, 0], 0, false),
            (113, &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], 0, false),
            (113, &[0, 4, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], 0, true),
            (276, &[8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0], 3, false),
            (276, &[8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 0, 0, 0, 0, 0, 0, 0, 0], 3, true),
            (0, &[2, 0, 0, 0], 0, false),
            (101, &[], 0, false),
        ] {
            // Ethernet pads short frames.
            let frame = [head, &packet, &[0; 9]].concat();
            let datagram = Datagram::parse(LinkType::from_number(link), &frame).unwrap();
            assert_eq!(datagram.source, "10.0.0.1:1000".parse().unwrap(), "{link}");
            assert_eq!(datagram.destination, "239.1.2.3:5000".parse().unwrap(), "{link}");
            assert_eq!((datagram.ttl, datagram.dscp, datagram.cut), (16, 34, false));
            assert_eq!((datagram.device, datagram.outgoing), (device, outgoing), "{link}");
            assert_eq!(datagram.payload, b"hello");
        }
        assert_eq!(Datagram::parse(LinkType::from_number(105), &packet), Err(NotRead::Link));
    }

    #[test]
    fn ipv6_cut_frames_and_others() {
        let mut bytes = vec![0x68, 0x80, 0, 0, 0, 11, UDP, 5];
        bytes.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend("ff0e::9".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([0x03, 0xE8, 0x13, 0x88, 0, 11, 0, 0, b'a', b'b', b'c']);
        let datagram = Datagram::parse(LinkType::Raw, &bytes).unwrap();
        assert_eq!((datagram.destination.to_string().as_str(), datagram.dscp), ("[ff0e::9]:5000", 34));
        assert_eq!((datagram.payload, datagram.ttl), (&b"abc"[..], 5));
        let cut = Datagram::parse(LinkType::Raw, &bytes[..50]).unwrap();
        assert_eq!((cut.payload, cut.cut), (&b"ab"[..], true));
        bytes[6] = FRAGMENT;
        assert_eq!(Datagram::parse(LinkType::Raw, &bytes), Err(NotRead::Fragment));
        let packet = ipv4(b"hello");
        for (what, at, byte, why) in [
            ("TCP", 9, 6, NotRead::Other),
            ("the first fragment", 6, 0x20, NotRead::Fragment),
            ("another fragment", 7, 5, NotRead::Fragment),
            ("a short header", 0, 0x44, NotRead::Other),
            ("IPv5", 0, 0x55, NotRead::Other),
        ] {
            let mut packet = packet.clone();
            packet[at] = byte;
            assert_eq!(Datagram::parse(LinkType::Raw, &packet), Err(why), "{what}");
        }
        (0..28).for_each(|end| {
            assert_eq!(Datagram::parse(LinkType::Raw, &packet[..end]), Err(NotRead::Other), "{end}");
        });
    }
}
