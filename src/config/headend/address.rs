//! Which multicast addresses are good for what (RFC 5771, RFC 2365, RFC 4607, RFC 4541, RFC 4291 section 2.7).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of an IPv4 group that its Ethernet address keeps (RFC 1112 section 6.4); 32 groups share each.
const V4_MAC_BITS: u32 = 23;

/// Whether only a receiver that names the sender can join `group` (RFC 4607 section 1): 232/8, ff3x::/32.
pub fn is_source_specific(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[0] == 232,
        IpAddr::V6(group) => group.segments()[0] & 0xFFF0 == 0xFF30 && group.segments()[1] == 0,
    }
}

/// Why no stream may be sent to or received from `group` whatever the network.
pub fn reserved(group: IpAddr) -> Option<&'static str> {
    match group {
        IpAddr::V4(group) if group.octets()[..3] == [224, 0, 0] => {
            Some("224.0.0.0/24 belongs to routing protocols and is not forwarded")
        }
        IpAddr::V6(group) if group.is_multicast() && matches!(group.segments()[0] & 0xF, 0..=2) => {
            Some("its scope is one interface or one link, which is not forwarded")
        }
        _ => None,
    }
}

/// Whether `group` has the Ethernet address of one of 224.0.0.0/24, which snooping switches send to every port (RFC 4541
/// section 2.1.2): x.0.0.y and x.128.0.y.
pub fn is_flooded(group: IpAddr) -> bool {
    let IpAddr::V4(group) = group else { return false };
    let [_, second, third, _] = group.octets();
    group.is_multicast() && second & 0x7F == 0 && third == 0
}

/// Whether `group` lies where a network's own streams belong: 232/8, 239.192/14 and 239.255/16 (RFC 4607, RFC 2365
/// section 6); IPv6 with the source-specific flag, or scopes from the site's (5) to the organisation's (8).
pub fn is_recommended(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => match v4.octets() {
            [232, ..] | [239, 255, ..] => true,
            [239, second, ..] => second & 0xFC == 192,
            _ => false,
        },
        IpAddr::V6(v6) => is_source_specific(group) || matches!(v6.segments()[0] & 0xF, 5..=8),
    }
}

/// The Ethernet address of a group (RFC 1112 section 6.4, RFC 2464 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupMac([u8; 6]);

impl GroupMac {
    /// The address that frames to `group` have.
    pub fn of(group: IpAddr) -> GroupMac {
        match group {
            IpAddr::V4(group) => {
                let [_, b, c, d] = (group.to_bits() & ((1 << V4_MAC_BITS) - 1)).to_be_bytes();
                GroupMac([0x01, 0x00, 0x5E, b, c, d])
            }
            IpAddr::V6(group) => {
                let [.., a, b, c, d] = group.octets();
                GroupMac([0x33, 0x33, a, b, c, d])
            }
        }
    }
}

impl fmt::Display for GroupMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Where a stream for `to` is announced (RFC 2974 section 3): the highest address of the administrative scope, or the
/// global group.
pub fn announcement_group(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(to) => match to.octets() {
            [239, 255, ..] => Ipv4Addr::new(239, 255, 255, 255).into(),
            [239, second, ..] if second & 0xFC == 192 => Ipv4Addr::new(239, 195, 255, 255).into(),
            _ => Ipv4Addr::new(224, 2, 127, 254).into(),
        },
        IpAddr::V6(to) => {
            let scope = if to.is_multicast() { to.segments()[0] & 0xF } else { 0xE };
            Ipv6Addr::new(0xFF00 | scope, 0, 0, 0, 0, 0, 2, 0x7FFE).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges() {
        for (group, specific, refused, flooded, recommended) in [
            ("224.0.0.1", false, true, true, false),
            ("224.0.1.1", false, false, false, false),
            ("224.128.0.5", false, false, true, false),
            ("232.1.1.1", true, false, false, true),
            ("232.0.0.1", true, false, true, true),
            ("233.255.255.1", false, false, false, false),
            ("239.128.0.7", false, false, true, false),
            ("239.127.0.7", false, false, false, false),
            ("239.1.1.1", false, false, false, false),
            ("239.191.1.1", false, false, false, false),
            ("239.192.1.1", false, false, false, true),
            ("239.195.255.255", false, false, false, true),
            ("239.196.1.1", false, false, false, false),
            ("239.255.1.1", false, false, false, true),
            ("ff02::1", false, true, false, false),
            ("ff11::1", false, true, false, false),
            ("ff15::1", false, false, false, true),
            ("ff3e::1", true, false, false, true),
            ("ff3e:30:2001:db8::1", false, false, false, false),
            ("ff1e::1", false, false, false, false),
        ] {
            let group = ip(group);
            assert_eq!(
                (
                    is_source_specific(group),
                    reserved(group).is_some(),
                    is_flooded(group),
                    is_recommended(group)
                ),
                (specific, refused, flooded, recommended),
                "{group}"
            );
        }
        assert!(!is_flooded(ip("10.0.0.1")));
    }

    #[test]
    fn ethernet_addresses_and_announcements() {
        for (group, mac, announced) in [
            ("224.129.2.3", "01:00:5e:01:02:03", "224.2.127.254"),
            ("239.1.2.3", "01:00:5e:01:02:03", "224.2.127.254"),
            ("239.255.2.3", "01:00:5e:7f:02:03", "239.255.255.255"),
            ("239.193.2.3", "01:00:5e:41:02:03", "239.195.255.255"),
            ("ff15::1:2:3", "33:33:00:02:00:03", "ff05::2:7ffe"),
        ] {
            assert_eq!(GroupMac::of(ip(group)).to_string(), mac, "{group}");
            assert_eq!(announcement_group(ip(group)), ip(announced), "{group}");
        }
    }
}
