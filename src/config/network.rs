//! Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Bits before the IPv4 address in `::ffff:0:0/96` (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Addresses that share their first bits: `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    base: IpAddr,
    /// How many bits are shared: at most 32 or 128.
    bits: u8,
}

impl Network {
    /// All IPv4 addresses of this machine itself.
    pub const LOOPBACK_V4: Network = Network { base: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8 };
    /// The IPv6 address of this machine itself.
    pub const LOOPBACK_V6: Network = Network { base: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 };

    /// Whether `address` is one of them. An IPv4 address in an IPv6 socket (`::ffff:10.0.0.1`) is an IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - u32::from(self.bits)).unwrap_or_default() == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differ = base.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - u32::from(self.bits)).unwrap_or_default() == 0
            }
            _ => false,
        }
    }
}

impl Network {
    /// Whether it is one address.
    pub fn is_single(self) -> bool {
        self.bits == if self.base.is_ipv4() { 32 } else { 128 }
    }
}

/// The network of `bits` in which `address` lies.
fn around(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let (base, length) = match text.split_once('/') {
            Some((base, length)) => (base, Some(length)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| format!("`{text}` is not a network"))?;
        let most: u8 = if base.is_ipv4() { 32 } else { 128 };
        let bits = match length {
            None => most,
            Some(length) => match length.parse() {
                // The integer's own parser takes a sign.
                Ok(bits) if bits <= most && length.bytes().all(|b| b.is_ascii_digit()) => bits,
                _ => return Err(format!("`/{length}` is not a length of 0 to {most} bits")),
            },
        };
        // Addresses are compared as what they are; no IPv6 network has any of these.
        if let (IpAddr::V4(mapped), IpAddr::V6(_)) = (base.to_canonical(), base)
            && let Some(bits) = bits.checked_sub(MAPPED_BITS)
        {
            return Err(format!(
                "`{text}` is an IPv4 network: write `{}/{bits}`",
                around(mapped.into(), bits)
            ));
        }
        let first = around(base, bits);
        if first != base {
            return Err(format!("`{text}` has bits behind its length: the network is `{first}/{bits}`"));
        }
        Ok(Network { base, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "a00::", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("2001:db8:8000::/33", "2001:db8:ffff::1", true),
            ("2001:db8:8000::/33", "2001:db8:7fff::1", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network} {address}");
        }
        assert_eq!(Network::LOOPBACK_V4, "127.0.0.0/8".parse().unwrap());
        assert_eq!(Network::LOOPBACK_V6, "::1/128".parse().unwrap());
    }

    #[test]
    fn what_is_not_a_network_is_told_why() {
        for (text, why) in [
            ("10.0.0.1/8", "the network is `10.0.0.0/8`"),
            ("2001:db8::1/64", "the network is `2001:db8::/64`"),
            ("::ffff:10.0.0.0/104", "write `10.0.0.0/8`"),
            ("::ffff:10.1.2.3/104", "write `10.0.0.0/8`"),
            ("::ffff:10.1.2.3", "write `10.1.2.3/32`"),
            ("::ffff:0:0/96", "write `0.0.0.0/0`"),
            ("::ffff:10.0.0.0/95", "the network is `::fffe:0:0/95`"),
            ("10.0.0.0/33", "0 to 32"),
            ("::/129", "0 to 128"),
            ("10.0.0.0/-1", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0/8", "not a network"),
            ("localhost", "not a network"),
            ("", "not a network"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
