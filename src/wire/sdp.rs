//! The description of a transport stream on a group (RFC 8866; source filters RFC 4570, MP2T in RTP RFC 2250 and 3551).
//!
//! One media line and no more: players read such a description themselves and hand others to a library, or nowhere. For the
//! same reason it says nothing of FEC: the streams of SMPTE ST 2022-1 have their ports by convention, and the one standard
//! that could name them (RFC 6015 with RFC 5956) has a media line for columns and none for rows.

use super::rtp::MP2T;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// Longest text of a field, in bytes, so that an announcement stays below 1 KiB (RFC 2974 section 5).
const TEXT_BYTES_MAX: usize = 160;

/// What there is to say about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description<'a> {
    /// Name of the session; whatever it holds, it stays in its line.
    pub name: &'a str,
    /// Group that players show it in (`x-plgroup`), if it is not empty.
    pub group: &'a str,
    /// Number of the session: unlike those of all others of `origin`, and the same until it ends.
    pub session: u64,
    /// Grows when anything here changes.
    pub version: u64,
    /// The sender's own address.
    pub origin: IpAddr,
    /// Where the stream is sent.
    pub address: SocketAddr,
    /// Whether it is in RTP.
    pub rtp: bool,
    /// Time to live, told for IPv4 groups.
    pub ttl: u8,
    /// The only sender, if receivers are to join it (source-specific multicast).
    pub source: Option<IpAddr>,
    /// Bits a second of IP packets; 0 if that is not known.
    pub bitrate_bps: u64,
}

/// Writes the description, each line with CR LF.
pub fn describe(of: &Description<'_>) -> String {
    let Description { session, version, origin, address, .. } = of;
    let (ip, port) = (address.ip(), address.port());
    let mut text = String::with_capacity(512);
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a string never fails.
        let _always = write!(text, "{line}\r\n");
    };
    line(format_args!("v=0"));
    line(format_args!("o=- {session} {version} IN {} {origin}", family(*origin)));
    line(format_args!("s={}", one_line(of.name).unwrap_or_else(|| "-".to_owned())));
    match of.ttl {
        // IPv6 has no time to live here, and one machine needs none (RFC 8866 section 5.7).
        ttl if ip.is_multicast() && ip.is_ipv4() => line(format_args!("c=IN IP4 {ip}/{ttl}")),
        _ => line(format_args!("c=IN {} {ip}", family(ip))),
    }
    if of.bitrate_bps > 0 {
        line(format_args!("b=AS:{}", of.bitrate_bps.div_ceil(1000)));
    }
    line(format_args!("t=0 0"));
    if let Some(source) = of.source {
        line(format_args!("a=source-filter: incl IN {} {ip} {source}", family(ip)));
    }
    if let Some(group) = one_line(of.group) {
        line(format_args!("a=x-plgroup:{group}"));
    }
    line(format_args!("a=recvonly"));
    match of.rtp {
        true => {
            line(format_args!("m=video {port} RTP/AVP {MP2T}"));
            line(format_args!("a=rtpmap:{MP2T} MP2T/90000"));
        }
        // No standard names it; this is what players read.
        false => line(format_args!("m=video {port} udp {MP2T}")),
    }
    text
}

/// The line of `description` that identifies the session, without its end.
pub fn origin_line(description: &str) -> &str {
    description.lines().find(|line| line.starts_with("o=")).unwrap_or_default()
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IP4" } else { "IP6" }
}

/// `text` as a part of one line; `None` if nothing is left of it.
fn one_line(text: &str) -> Option<String> {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let shown: String =
        text.get(..end).unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let shown = shown.trim();
    (!shown.is_empty()).then(|| shown.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> Description<'static> {
        Description {
            name: "Erstes",
            group: "News",
            session: 7,
            version: 9,
            origin: "10.0.0.7".parse().unwrap(),
            address: "232.1.1.1:5004".parse().unwrap(),
            rtp: true,
            ttl: 16,
            source: "10.0.0.7".parse().ok(),
            bitrate_bps: 4_200_001,
        }
    }

    #[test]
    fn a_description_line_by_line() {
        let expected = "v=0\r\no=- 7 9 IN IP4 10.0.0.7\r\ns=Erstes\r\nc=IN IP4 232.1.1.1/16\r\nb=AS:4201\r\nt=0 0\r\n\
                        a=source-filter: incl IN IP4 232.1.1.1 10.0.0.7\r\na=x-plgroup:News\r\na=recvonly\r\n\
                        m=video 5004 RTP/AVP 33\r\na=rtpmap:33 MP2T/90000\r\n";
        assert_eq!(describe(&channel()), expected);
        assert_eq!(origin_line(expected), "o=- 7 9 IN IP4 10.0.0.7");
        let v6 = Description {
            group: "",
            origin: "2001:db8::7".parse().unwrap(),
            address: "[ff15::1]:5000".parse().unwrap(),
            rtp: false,
            source: None,
            ..channel()
        };
        let expected = "v=0\r\no=- 7 9 IN IP6 2001:db8::7\r\ns=Erstes\r\nc=IN IP6 ff15::1\r\nb=AS:4201\r\nt=0 0\r\n\
                        a=recvonly\r\nm=video 5000 udp 33\r\n";
        assert_eq!(describe(&v6), expected);
        let one = Description { address: "192.0.2.1:5000".parse().unwrap(), ..channel() };
        assert!(describe(&one).contains("\r\nc=IN IP4 192.0.2.1\r\n"));
    }

    #[test]
    fn no_name_adds_a_line() {
        let long = "ü".repeat(500);
        for (name, shown) in [
            ("a\r\nm=video 1 RTP/AVP 33", "s=a  m=video 1 RTP/AVP 33"),
            ("\u{0}a\u{85}b\t\u{7f}", "s=a b"),
            ("", "s=-"),
            ("\r\n", "s=-"),
            (long.as_str(), &format!("s={}", "ü".repeat(80))),
        ] {
            let text = describe(&Description { name, group: name, ..channel() });
            assert!(text.lines().any(|line| line == shown), "{text}");
            assert!(text.len() < 1000 && text.matches("\r\n").count() == text.lines().count(), "{text}");
            assert!(text.lines().all(|line| line.get(1..2) == Some("=")), "{text}");
        }
    }
}
