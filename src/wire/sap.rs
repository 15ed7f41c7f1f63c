//! Announcements of sessions (SAP, RFC 2974): what is sent, where the times between come from.
//!
//! Authentication, encryption and compression are left out, as everybody does.

use super::sdp::origin_line;
use std::net::IpAddr;
use std::time::Duration;

/// Port of all announcement groups (section 3).
pub const PORT: u16 = 9875;
/// Announcements of a new session that come quickly: one may be lost, and a viewer waits for it.
pub const QUICK: u32 = 3;
/// Time between the quick ones.
const QUICK_GAP: Duration = Duration::from_secs(1);
/// Shortest time between two announcements of a session (section 3.1).
const GAP_S_MIN: u64 = 300;
/// Bits a second that all announcements of one group may take together (section 3.1).
const GROUP_BPS: u64 = 4000;
/// What stands between the header and the description.
const PAYLOAD_TYPE: &[u8] = b"application/sdp\0";
/// Version 1.
const VERSION: u8 = 0x20;
/// The origin is an IPv6 address.
const ADDRESS_V6: u8 = 0x10;
/// The session ends.
const DELETE: u8 = 0x04;

/// The datagram that announces the session `description`, sent from `origin`.
pub fn announce(origin: IpAddr, description: &str) -> Vec<u8> {
    packet(0, origin, hash(description), description)
}

/// The datagram that ends the session which [`announce`] announced: its payload is the line that identifies the session
/// (section 6). A receiver that takes every description for a new session takes none from it.
pub fn delete(origin: IpAddr, description: &str) -> Vec<u8> {
    packet(DELETE, origin, hash(description), &format!("{}\r\n", origin_line(description)))
}

/// How long to wait after announcement number `sent` (from 1) of a session, where `sessions` of our own with
/// `packet_bytes` each (UDP and IP included) share the group. `random` is any number: it spreads the announcements of all
/// senders by a third either way (section 3.1).
pub fn gap(sent: u32, sessions: usize, packet_bytes: usize, random: u32) -> Duration {
    if sent < QUICK {
        return QUICK_GAP;
    }
    let bits = 8 * (sessions as u64).saturating_mul(packet_bytes as u64);
    let seconds = (bits / GROUP_BPS).max(GAP_S_MIN);
    // From two thirds to four thirds.
    let span_ms = seconds * 2000 / 3;
    Duration::from_millis(span_ms + u64::from(random) % span_ms.max(1))
}

fn packet(kind: u8, origin: IpAddr, hash: u16, payload: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + PAYLOAD_TYPE.len() + payload.len());
    let family = if origin.is_ipv6() { ADDRESS_V6 } else { 0 };
    // No words of authentication.
    out.extend([VERSION | family | kind, 0]);
    out.extend(hash.to_be_bytes());
    match origin {
        IpAddr::V4(origin) => out.extend(origin.octets()),
        IpAddr::V6(origin) => out.extend(origin.octets()),
    }
    out.extend(PAYLOAD_TYPE);
    out.extend(payload.as_bytes());
    out
}

/// The message identifier: another one as soon as the description changes, and never 0, which receivers refuse (FNV-1a of 32
/// bits, folded).
fn hash(description: &str) -> u16 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = description.bytes().fold(0x811C_9DC5, step);
    ((hash >> 16 ^ hash & 0xFFFF) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::capture::{CaptureReader, Datagram};

    /// Announcement and end as ffmpeg sends them: what we make of its description differs in the hash, and in what an end says.
    #[test]
    fn announcements_agree_with_another() {
        let mut reader = CaptureReader::new();
        reader.push(include_bytes!("../../tests/vectors/sap_announce.pcap"));
        let mut seen = 0;
        while let Some(record) = reader.next_record().unwrap() {
            let datagram = Datagram::parse(record.link, record.frame).unwrap();
            assert_eq!(datagram.destination.port(), PORT);
            let at = datagram.payload.windows(3).position(|three| three == b"v=0").unwrap();
            let description = std::str::from_utf8(&datagram.payload[at..]).unwrap();
            let origin = "10.77.0.1".parse().unwrap();
            let (announced, ended) = (announce(origin, description), delete(origin, description));
            let theirs = [&datagram.payload[..2], &announced[2..4], &datagram.payload[4..]].concat();
            match datagram.payload[0] & DELETE {
                0 => assert_eq!(announced, theirs),
                _ => assert_eq!(ended, [&theirs[..at], b"o=- 0 0 IN IP4 127.0.0.1\r\n"].concat()),
            }
            assert_eq!(announced[2..4], ended[2..4]);
            seen += 1;
        }
        assert!(seen >= 2);
    }

    #[test]
    fn headers() {
        let v6 = announce("2001:db8::7".parse().unwrap(), "v=0\r\n");
        assert_eq!((v6[0], v6[1], v6.len()), (0x30, 0, 4 + 16 + 16 + 5));
        assert_eq!(v6[4..8], [0x20, 1, 0x0D, 0xB8]);
        assert_eq!(&v6[20..], b"application/sdp\0v=0\r\n");
        assert_ne!(hash("o=- 1 1"), hash("o=- 1 2"));
        assert_eq!(hash(""), 0x811C ^ 0x9DC5);
        // Some three of these would be 0.
        assert!((0..200_000).all(|version| hash(&format!("o=- 1 {version}")) != 0));
    }

    #[test]
    fn times_between() {
        let s = Duration::from_secs;
        for (sent, sessions, random, expected) in [
            (1, 1, 0, s(1)),
            (2, 1, 7, s(1)),
            (3, 1, 0, s(200)),
            (3, 1, u32::MAX, Duration::from_millis(200_000 + u64::from(u32::MAX) % 200_000)),
            (100, 1, 199_999, Duration::from_millis(399_999)),
            // 1000 sessions of 500 bytes at 4 kbit/s are 1000 s.
            (3, 1000, 0, Duration::from_millis(666_666)),
        ] {
            assert_eq!(gap(sent, sessions, 500, random), expected, "{sent} {sessions}");
        }
    }
}
