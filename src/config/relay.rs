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

/// Addresses and ports that may be watched: `239.255.0.0/16:5000-5999`, `[ff15::/32]:5000`; of some senders alone, who have to
/// be named then: `10.9.0.0/24@232.0.0.0/8:5000`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Allowed {
    /// Whose; `None`: whoever sends.
    sources: Option<Network>,
    network: Network,
    ports: RangeInclusive<u16>,
}

impl TryFrom<String> for Allowed {
    type Error = String;

    fn try_from(text: String) -> Result<Allowed, String> {
        let form =
            || format!("`{text}` is not NETWORK:PORTS; write 239.255.0.0/16:5000-5999 or [ff15::/32]:5000");
        let (sources, group) = match text.split_once('@') {
            Some((sources, group)) => (Some(sources.parse()?), group),
            None => (None, text.as_str()),
        };
        let (network, ports) = group.rsplit_once(':').ok_or_else(form)?;
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
        Ok(Allowed { sources, network, ports })
    }
}

impl Allowed {
    /// Whether `address` is among them, with this source or from whoever sends. An address of one machine only is if groups are
    /// not: `0.0.0.0/0` means groups; one that every machine has must stand there itself.
    fn has(&self, source: Option<IpAddr>, address: SocketAddr) -> bool {
        let groups =
            [IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1))];
        let with_groups = groups.into_iter().any(|group| self.network.contains(group));
        let ip = address.ip();
        let from_them = match (self.sources, source) {
            (Some(sources), Some(source)) => sources.contains(source),
            (None, None) => true,
            _ => false,
        };
        from_them
            && self.network.contains(ip)
            && self.ports.contains(&address.port())
            && (ip.is_multicast() || !with_groups)
            && (!is_everybodys(ip) || self.network.is_single())
    }
}

/// Whether each machine has it, or means its link by it: unspecified, loopback and link-local addresses.
fn is_everybodys(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_unspecified()
        || ip.is_loopback()
        || match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
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
        if target.is_empty()
            || target.starts_with(':')
            || target.contains(['@', '#', '?', '/'])
            || source.contains(['#', '?', '/'])
        {
            return Err(NotRelayed::Malformed("write GROUP:PORT or SOURCE@GROUP:PORT".to_owned()));
        }
        let interface = self.interface.clone().or_else(|| headend.interface.clone());
        let shared = Headend { interface, ..headend.clone() };
        let url = format!("{}://@{source}@{target}", transport.as_str());
        let origin = Origin::relayed(&url, &shared).map_err(NotRelayed::Malformed)?;
        match self.allow.iter().any(|allowed| allowed.has(origin.source, origin.address)) {
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
            "10.9.0.0/24@232.0.0.0/8:7000",
            "127.0.0.0/8:9000",
            "127.0.0.3/32:9000",
            "169.254.0.0/16:9000",
            "[fe80::/16]:9000",
            "0.0.0.0/8:9000",
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
            ("127.0.0.3:9000", Ok("udp://127.0.0.3:9000")),
            ("127.0.0.1:9000", Err(NotRelayed::Forbidden)),
            ("169.254.1.1:9000", Err(NotRelayed::Forbidden)),
            ("0.0.0.0:9000", Err(NotRelayed::Forbidden)),
            // A source that is on no list would have a socket of its own.
            ("10.9.0.7@239.255.1.1:5000", Err(NotRelayed::Forbidden)),
            ("10.9.1.7@232.1.1.1:7000", Err(NotRelayed::Forbidden)),
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
            ":5000",
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
            "eth0@239.1.1.1:5000",
            "10.9.0.1@",
        ] {
            assert!(Allowed::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
