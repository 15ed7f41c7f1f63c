//! `[relay]`: groups that anyone may watch by their address (`/udp/GROUP:PORT`), joined while somebody does.

use super::headend::{Headend, Origin, Transport};
use super::network::Network;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// Groups at a time at most: each has its sockets and its demultiplexer.
pub const GROUPS_MAX: u32 = 256;

/// Groups that anyone may watch by their address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Which; empty: none.
    pub allow: Vec<Allowed>,
    /// Interface to join them on, by name or address; `None`: that of `[headend]`.
    pub interface: Option<String>,
    /// Groups at a time, of the whole process.
    pub groups: u32,
    /// Seconds that a group stays joined behind its last viewer.
    pub linger_s: u64,
}

impl Default for Relay {
    fn default() -> Relay {
        Relay { allow: Vec::new(), interface: None, groups: 16, linger_s: 10 }
    }
}

/// Addresses and ports that may be watched: `239.255.0.0/16:5000-5999`, `[ff15::/32]:5000`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Allowed {
    network: Network,
    ports: RangeInclusive<u16>,
}

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Allowed, String> {
        let form =
            || format!("`{text}` is not NETWORK:PORTS; write 239.255.0.0/16:5000-5999 or [ff15::/32]:5000");
        let (network, ports) = text.rsplit_once(':').ok_or_else(form)?;
        let bare = network.strip_prefix('[').and_then(|network| network.strip_suffix(']'));
        if bare.is_none() && network.contains(':') {
            return Err(form());
        }
        let network: Network = bare.unwrap_or(network).parse()?;
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(form);
        let ports = port(first)?..=port(last)?;
        if ports.is_empty() {
            return Err(form());
        }
        Ok(Allowed { network, ports })
    }
}

impl Allowed {
    /// Whether `address` is among them. An address of one machine only is if groups are not: `0.0.0.0/0` means groups.
    fn has(&self, address: SocketAddr) -> bool {
        let groups =
            [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1))];
        let with_groups = groups.into_iter().any(|group| self.network.contains(group));
        self.network.contains(address.ip())
            && self.ports.contains(&address.port())
            && (address.ip().is_multicast() || !with_groups)
    }
}

/// Why a group cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRelayed {
    /// What was written is no place; what it should be, for people.
    Malformed(String),
    /// It is on no list.
    Forbidden,
}

impl Relay {
    /// Whether anything may be watched.
    pub fn is_on(&self) -> bool {
        !self.allow.is_empty()
    }

    /// The place behind `/udp/` or `/rtp/`: `GROUP:PORT` or `SOURCE@GROUP:PORT`.
    ///
    /// # Errors
    /// It is none, or may not be watched.
    pub fn origin(&self, transport: Transport, place: &str, headend: &Headend) -> Result<Origin, NotRelayed> {
        let (source, target) = place.split_once('@').unwrap_or(("", place));
        // What else a URL of an input may say is the operator's to say.
        if target.contains(['@', '#', '?', '/']) || source.contains(['#', '?', '/']) {
            return Err(NotRelayed::Malformed("write GROUP:PORT or SOURCE@GROUP:PORT".to_owned()));
        }
        let interface = self.interface.clone().or_else(|| headend.interface.clone());
        let shared = Headend { interface, ..headend.clone() };
        let url = format!("{}://@{source}@{target}", transport.as_str());
        let origin = Origin::relayed(&url, &shared).map_err(NotRelayed::Malformed)?;
        match self.allow.iter().any(|allowed| allowed.has(origin.address)) {
            true => Ok(origin),
            false => Err(NotRelayed::Forbidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(allow: &[&str]) -> Relay {
        let allow = allow.iter().map(|text| Allowed::try_from((*text).to_owned()).unwrap()).collect();
        Relay { allow, interface: Some("eth1".to_owned()), ..Relay::default() }
    }

    #[test]
    fn what_is_listed_may_be_watched() {
        let relay = relay(&[
            "239.255.0.0/16:5000-5999",
            "232.0.0.0/8:7000",
            "[ff15::/16]:5000",
            "10.9.0.2/32:6000",
            "0.0.0.0/0:8000",
        ]);
        for (place, found) in [
            ("239.255.1.1:5000", Ok("udp://eth1@239.255.1.1:5000")),
            ("239.255.1.1:5999", Ok("udp://eth1@239.255.1.1:5999")),
            ("10.9.0.7@232.1.1.1:7000", Ok("udp://eth1@10.9.0.7@232.1.1.1:7000")),
            ("[ff15::7]:5000", Ok("udp://eth1@[ff15::7]:5000")),
            ("10.9.0.2:6000", Ok("udp://10.9.0.2:6000")),
            ("239.1.1.1:8000", Ok("udp://eth1@239.1.1.1:8000")),
            ("239.255.1.1:6000", Err(NotRelayed::Forbidden)),
            ("239.254.1.1:5000", Err(NotRelayed::Forbidden)),
            ("127.0.0.1:8000", Err(NotRelayed::Forbidden)),
            ("169.254.1.1:8000", Err(NotRelayed::Forbidden)),
            ("10.9.0.3:6000", Err(NotRelayed::Forbidden)),
        ] {
            let got =
                relay.origin(Transport::Udp, place, &Headend::default()).map(|origin| origin.to_string());
            assert_eq!(got, found.map(str::to_owned), "{place}");
        }
        for place in [
            "",
            "239.255.1.1",
            "eth0@239.255.1.1:5000",
            "239.255.1.1:5000#fec",
            "a@b@c",
            "224.0.0.1:8000",
            "232.1.1.1:7000",
            "239.255.1.1:5000/x",
        ] {
            let got = relay.origin(Transport::Udp, place, &Headend::default());
            assert!(matches!(got, Err(NotRelayed::Malformed(_))), "{place}: {got:?}");
        }
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        for text in [
            "",
            "239.1.1.1",
            "239.1.1.1:0",
            "239.1.1.1:9-5",
            "239.1.1.1/33:5000",
            "ff15::/32:5000",
            "239.1.1.1:a",
        ] {
            assert!(Allowed::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
