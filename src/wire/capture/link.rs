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
}

impl<'a> Datagram<'a> {
    /// Reads a frame; `None`: it is no UDP, it is a fragment, or it is cut in a header.
    pub fn parse(link: LinkType, frame: &'a [u8]) -> Option<Datagram<'a>> {
        ip(match link {
            LinkType::Ethernet => behind_ethernet(frame.get(12..)?)?,
            LinkType::LinuxCooked => behind_ethernet(frame.get(14..)?)?,
            LinkType::LinuxCooked2 => frame.get(20..)?,
            LinkType::Null => frame.get(4..)?,
            LinkType::Raw => frame,
            LinkType::Other(_) => return None,
        })
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

fn ip(bytes: &[u8]) -> Option<Datagram<'_>> {
    match bytes.first()? >> 4 {
        4 => {
            let header: &[u8; 20] = bytes.first_chunk()?;
            let header_bytes = usize::from(header[0] & 0x0F) * 4;
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3FFF;
            if header_bytes < header.len() || header[9] != UDP || fragment != 0 {
                return None;
            }
            // A length of 0 comes from segmentation offload: then the frame's own counts.
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let end = if length == 0 { bytes.len() } else { length.min(bytes.len()) };
            let address = |at: usize| {
                let bytes = header.get(at..)?.first_chunk::<4>()?;
                Some(IpAddr::V4(Ipv4Addr::from(*bytes)))
            };
            udp(bytes.get(header_bytes..end)?, address(12)?, address(16)?, header[8], header[1] >> 2)
        }
        6 => {
            let header: &[u8; 40] = bytes.first_chunk()?;
            // Extension headers in front of media are unheard of.
            if header[6] != UDP {
                return None;
            }
            let address = |at: usize| {
                let bytes = header.get(at..)?.first_chunk::<16>()?;
                Some(IpAddr::V6(Ipv6Addr::from(*bytes)))
            };
            let class = (header[0] << 4) | (header[1] >> 4);
            udp(bytes.get(40..)?, address(8)?, address(24)?, header[7], class >> 2)
        }
        _ => None,
    }
}

fn udp(bytes: &[u8], from: IpAddr, to: IpAddr, ttl: u8, dscp: u8) -> Option<Datagram<'_>> {
    let (&[s0, s1, d0, d1, l0, l1, _, _], rest) = bytes.split_first_chunk()?;
    let length = match u16::from_be_bytes([l0, l1]) {
        0 => rest.len(),
        length => usize::from(length).checked_sub(8)?,
    };
    Some(Datagram {
        source: SocketAddr::new(from, u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new(to, u16::from_be_bytes([d0, d1])),
        ttl,
        dscp,
        payload: rest.get(..length.min(rest.len()))?,
        cut: length > rest.len(),
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
        for (link, head) in [
            (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0][..]),
            (1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xA8, 0, 1, 0x81, 0, 0, 7, 8, 0]),
            (113, &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
            (276, &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]),
            (0, &[2, 0, 0, 0]),
            (101, &[]),
        ] {
            // Ethernet pads short frames.
            let frame = [head, &packet, &[0; 9]].concat();
            let datagram = Datagram::parse(LinkType::from_number(link), &frame).unwrap();
            assert_eq!(datagram.destination, "239.1.2.3:5000".parse().unwrap(), "{link}");
            assert_eq!((datagram.ttl, datagram.dscp, datagram.cut), (16, 34, false));
            assert_eq!(datagram.payload, b"hello");
        }
        assert_eq!(Datagram::parse(LinkType::from_number(105), &packet), None);
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
        let packet = ipv4(b"hello");
        for (what, at, byte) in
            [("TCP", 9, 6), ("a fragment", 7, 5), ("a short header", 0, 0x44), ("IPv5", 0, 0x55)]
        {
            let mut packet = packet.clone();
            packet[at] = byte;
            assert_eq!(Datagram::parse(LinkType::Raw, &packet), None, "{what}");
        }
        (0..28).for_each(|end| assert_eq!(Datagram::parse(LinkType::Raw, &packet[..end]), None));
    }
}
