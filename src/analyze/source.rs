//! What people type: a path, or a URL as players and headends write it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a transport stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file: packets, or a capture of the network.
    File(PathBuf),
    /// A group or a port of this machine.
    Live(LiveSource),
}

/// `udp://` or `rtp://`; both take either, because datagrams tell by themselves what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveSource {
    /// As it was written.
    pub text: String,
    /// The group, or the address to bind.
    pub address: SocketAddr,
    /// The interface to join on, by name or by its address.
    pub interface: Option<Interface>,
    /// The only sender that is meant (source-specific multicast).
    pub sender: Option<IpAddr>,
}

/// What stands in front of `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// A device.
    Name(String),
    /// An address: of a device if this machine has it, of the sender otherwise.
    Address(IpAddr),
    /// An address that can only be one of a device.
    Local(IpAddr),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        match text.split_once("://") {
            Some(("udp" | "rtp", rest)) => live(text, rest).map(Source::Live),
            Some(("file", path)) => Ok(Source::File(PathBuf::from(path))),
            Some((scheme, _)) => {
                Err(format!("`{scheme}://` is not understood; a path, udp:// or rtp:// is expected"))
            }
            None => Ok(Source::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Live(live) => f.write_str(&live.text),
        }
    }
}

/// Which datagrams of a capture are meant: `[SOURCE@]ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The only sender that is meant; `None`: all, as a receiver gets them that joins without a source.
    pub source: Option<IpAddr>,
    /// Where they go.
    pub destination: SocketAddr,
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Group, String> {
        let (source, destination) = match text.rsplit_once('@') {
            Some((source, destination)) => (Some(source.trim_matches(['[', ']'])), destination),
            None => (None, text),
        };
        let wrong = |what: &str| format!("`{what}` is not understood; [SOURCE@]ADDRESS:PORT is expected");
        Ok(Group {
            source: source.map(|ip| ip.parse().map_err(|_| wrong(ip))).transpose()?,
            destination: destination.parse().map_err(|_| wrong(destination))?,
        })
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Some(IpAddr::V6(source)) => write!(f, "[{source}]@{}", self.destination),
            Some(source) => write!(f, "{source}@{}", self.destination),
            None => self.destination.fmt(f),
        }
    }
}

fn live(text: &str, rest: &str) -> Result<LiveSource, String> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A path behind the port means nothing; players write a slash there.
    let place = place.strip_suffix('/').unwrap_or(place);
    let (front, target) = place.rsplit_once('@').unwrap_or(("", place));
    let target = match target.strip_prefix(':') {
        Some(port) => format!("{}:{port}", Ipv4Addr::UNSPECIFIED),
        None => target.to_owned(),
    };
    let address: SocketAddr = target.parse().map_err(|_| {
        format!("`{target}` is not ADDRESS:PORT; names are not looked up, IPv6 stands in [ ]")
    })?;
    let interface = match front {
        "" => None,
        front => Some(
            front
                .trim_matches(['[', ']'])
                .parse()
                .map_or_else(|_| Interface::Name(front.to_owned()), Interface::Address),
        ),
    };
    let mut live = LiveSource { text: text.to_owned(), address, interface, sender: None };
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let ip = |value: &str| value.parse().map_err(|_| format!("`{option}`: `{value}` is not an address"));
        match option.split_once('=') {
            Some(("localaddr", value)) => live.interface = Some(Interface::Local(ip(value)?)),
            Some(("sources", value)) => live.sender = Some(ip(value)?),
            _ => return Err(format!("`{option}` is not understood; localaddr= and sources= are")),
        }
    }
    check(&live)?;
    Ok(live)
}

fn check(live: &LiveSource) -> Result<(), String> {
    let ip = live.address.ip();
    if live.address.port() == 0 {
        return Err("port 0 is none".to_owned());
    }
    if let IpAddr::V4(group) = ip
        && let [224, 0, 0, _] = group.octets()
    {
        return Err(format!("{group} belongs to the network itself (224.0.0.0/24), not to media"));
    }
    if !ip.is_multicast() && (live.sender.is_some() || live.interface.is_some()) {
        return Err(format!("{ip} is no multicast group: there is nothing to join on an interface"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, Option<Interface>, Option<String>), String> {
        match text.parse()? {
            Source::Live(live) => {
                Ok((live.address.to_string(), live.interface, live.sender.map(|ip| ip.to_string())))
            }
            Source::File(path) => Ok((path.display().to_string(), None, None)),
        }
    }

    #[test]
    fn what_people_type() {
        let name = |name: &str| Some(Interface::Name(name.to_owned()));
        let address = |text: &str| Some(Interface::Address(text.parse().unwrap()));
        for (text, place, interface, sender) in [
            ("a.ts", "a.ts", None, None),
            ("file:///tmp/a.ts", "/tmp/a.ts", None, None),
            ("udp://239.1.2.3:5000", "239.1.2.3:5000", None, None),
            ("rtp://@239.1.2.3:5000", "239.1.2.3:5000", None, None),
            ("udp://@239.1.2.3:5000/", "239.1.2.3:5000", None, None),
            ("udp://eth0@239.1.2.3:5000", "239.1.2.3:5000", name("eth0"), None),
            ("udp://10.0.0.1@232.1.2.3:5000", "232.1.2.3:5000", address("10.0.0.1"), None),
            ("udp://@:5000", "0.0.0.0:5000", None, None),
            ("udp://127.0.0.1:5000", "127.0.0.1:5000", None, None),
            ("udp://vlan.7@[ff0e::9]:5000", "[ff0e::9]:5000", name("vlan.7"), None),
            ("udp://232.1.2.3:5000?sources=10.0.0.9", "232.1.2.3:5000", None, Some("10.0.0.9")),
        ] {
            assert_eq!(parse(text), Ok((place.to_owned(), interface, sender.map(str::to_owned))), "{text}");
        }
        let local = parse("udp://239.1.2.3:5000?localaddr=10.0.0.1&sources=10.0.0.9").unwrap();
        assert_eq!(local.1, Some(Interface::Local("10.0.0.1".parse().unwrap())));
    }

    #[test]
    fn groups_of_captures() {
        for text in ["239.1.2.3:5000", "10.0.0.9@232.1.2.3:5000", "[fe80::1]@[ff0e::9]:5000"] {
            assert_eq!(text.parse::<Group>().unwrap().to_string(), text);
        }
        for (text, say) in [("239.1.2.3", "`239.1.2.3`"), ("x@239.1.2.3:5000", "`x`")] {
            assert!(text.parse::<Group>().unwrap_err().contains(say), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, say) in [
            ("http://a/b.ts", "http://"),
            ("udp://239.1.2.3", "ADDRESS:PORT"),
            ("udp://host.example:5000", "not looked up"),
            ("udp://239.1.2.3:0", "port 0"),
            ("udp://224.0.0.5:5000", "224.0.0.0/24"),
            ("udp://eth0@10.0.0.1:5000", "no multicast"),
            ("udp://239.1.2.3:5000?fifo_size=9", "fifo_size=9"),
            ("udp://239.1.2.3:5000?sources=x", "`x`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(say), "{text}: {error}");
        }
    }
}
