//! The sockets that channels send by: what a destination asks for, laid on a socket, and held to it when links change.

use crate::config::{Channel, Destination};
use crate::observe::LinkSlot;
use crate::shard::interfaces::{Interface, scoped};
use crate::shard::links::{Links, User};
use crate::shard::sockopt::{set_unicast_interface, tell_of_drops};
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Why a destination cannot be sent to, whatever becomes of the network later; its message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("channel `{channel}` cannot be sent to {to}: {message}\n  = help: {hint}")]
pub struct OutletError {
    channel: String,
    to: String,
    message: String,
    hint: String,
}

impl OutletError {
    /// Something that no destination of the channel is to blame for.
    pub(super) fn of_channel(channel: &Channel, message: &str) -> OutletError {
        OutletError {
            channel: channel.name.clone(),
            to: "any destination".to_owned(),
            message: message.to_owned(),
            hint: "see [[channel]] in docs/headend.md".to_owned(),
        }
    }
}

/// What a socket is to send like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner<'a> {
    pub interface: Option<&'a str>,
    pub source: Option<IpAddr>,
    /// One of the addresses that it sends to: its family, and whether it is a group.
    pub address: SocketAddr,
    pub ttl: u8,
    pub dscp: u8,
    pub loopback: bool,
}

impl<'a> Manner<'a> {
    pub fn of(to: &'a Destination) -> Manner<'a> {
        let Destination { interface, source, address, ttl, dscp, loopback, .. } = to;
        let (interface, source) = (interface.as_deref(), *source);
        Manner { interface, source, address: *address, ttl: *ttl, dscp: *dscp, loopback: *loopback }
    }

    /// The own address to send from, if it is not left to the kernel: an interface that is named by one of its addresses
    /// is to send from that one.
    fn own_address(&self) -> Option<IpAddr> {
        let named = self.interface.and_then(|text| text.parse::<IpAddr>().ok());
        self.source.or(named.filter(|ip| ip.is_ipv4() == self.address.is_ipv4()))
    }

    /// A socket that sends like this on `interface`.
    fn open(&self, interface: Option<&Interface>) -> Result<OwnedFd, (io::Error, &'static str)> {
        let socket = Socket::new(Domain::for_address(self.address), Type::DGRAM, Some(Protocol::UDP))
            .map_err(|error| (error, "the process may be out of file descriptors: raise ulimit -n"))?;
        let socket: OwnedFd = socket.into();
        self.prepare(&socket, interface)
            .map_err(|error| (error, "the kernel refuses an option of the socket"))?;
        if let Some(own) = self.own_address() {
            let index = interface.map(|interface| interface.index);
            let bound = rustix::net::bind(&socket, &scoped(SocketAddr::new(own, 0), index));
            bound.map_err(|error| (error.into(), "the source must be an address of this machine"))?;
        }
        Ok(socket)
    }

    fn prepare(&self, socket: &OwnedFd, interface: Option<&Interface>) -> io::Result<()> {
        let (group, class) = (self.address.ip().is_multicast(), self.dscp << 2);
        // In one piece or not at all: half a datagram is a lost one, and reassembly costs set-top boxes dear.
        match self.address {
            SocketAddr::V4(_) => {
                sockopt::set_ip_tos(socket, class)?;
                sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::DO)?;
                match group {
                    true => sockopt::set_ip_multicast_ttl(socket, self.ttl.into())?,
                    false => sockopt::set_ip_ttl(socket, self.ttl.into())?,
                }
                sockopt::set_ip_multicast_loop(socket, self.loopback)?;
            }
            SocketAddr::V6(_) => {
                sockopt::set_ipv6_tclass(socket, class.into())?;
                sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::DO)?;
                match group {
                    true => sockopt::set_ipv6_multicast_hops(socket, self.ttl.into())?,
                    false => sockopt::set_ipv6_unicast_hops(socket, Some(self.ttl))?,
                }
                sockopt::set_ipv6_multicast_loop(socket, self.loopback)?;
            }
        }
        if group {
            tell_of_drops(socket, self.address)?;
        }
        match interface {
            Some(interface) => set_interface(socket, self.address, interface.index),
            None => Ok(()),
        }
    }
}

/// What is sent to `to` goes out on interface `index`, whatever the routes say.
fn set_interface(socket: &OwnedFd, to: SocketAddr, index: u32) -> io::Result<()> {
    let any = &Ipv4Addr::UNSPECIFIED;
    match (to.ip().is_multicast(), to.is_ipv4()) {
        (true, true) => sockopt::set_ip_multicast_if_with_ifindex(socket, any, any, index)?,
        (true, false) => sockopt::set_ipv6_multicast_if(socket, index)?,
        (false, _) => set_unicast_interface(socket, to, index)?,
    }
    Ok(())
}

/// A socket whose interface is watched.
#[derive(Debug)]
struct Held {
    socket: OwnedFd,
    interface: String,
    index: u32,
    /// One of the addresses that it sends to.
    to: SocketAddr,
    /// It has an own address to send from.
    bound: bool,
}

/// The sockets that channels send by and that are told an interface: one that was removed and made anew has another number.
/// A link that goes and comes back needs nothing.
#[derive(Debug, Default)]
pub struct Outlets {
    held: Vec<Held>,
}

impl Outlets {
    /// Opens the socket of a destination of `channel`; with it comes the link that it sends on, if that is known.
    ///
    /// # Errors
    /// The interface does not exist, or takes no groups; the source is no address of ours; the kernel refuses.
    pub(super) fn open(
        &mut self,
        links: &mut Links,
        channel: &str,
        to: &Destination,
    ) -> Result<(OwnedFd, Option<Arc<LinkSlot>>), OutletError> {
        let fail = |message: String, hint: String| OutletError {
            channel: channel.to_owned(),
            to: to.place().to_string(),
            message,
            hint,
        };
        let manner = Manner::of(to);
        let interface = match manner.interface {
            None => None,
            Some(text) => Some(links.find(text).ok_or_else(|| {
                let names: Vec<_> = links.all().iter().map(|interface| interface.name.as_str()).collect();
                fail(format!("there is no interface `{text}`"), format!("there are {}", names.join(", ")))
            })?),
        };
        if let Some(interface) = interface
            && manner.address.ip().is_multicast()
            && !interface.takes_groups()
        {
            let hint = "choose an interface with MULTICAST (ip link show)".to_owned();
            return Err(fail(format!("interface `{}` takes no groups", interface.name), hint));
        }
        let socket =
            manner.open(interface).map_err(|(error, hint)| fail(error.to_string(), hint.to_owned()))?;
        let (Some(index), Some(name)) = (interface.map(|interface| interface.index), manner.interface) else {
            return Ok((socket, None));
        };
        let copy = socket.try_clone().map_err(|error| {
            fail(error.to_string(), "the process may be out of file descriptors".to_owned())
        })?;
        self.held.push(Held {
            socket: copy,
            interface: name.to_owned(),
            index,
            to: manner.address,
            bound: manner.own_address().is_some(),
        });
        Ok((socket, Some(links.use_by(name, User::Channel, channel))))
    }

    /// What is wrong with the links of channels now, one sentence each.
    pub fn warnings(&self, links: &Links) -> Vec<String> {
        let state = |name: &str| match links.find(name) {
            Some(interface) if !interface.is_up() => {
                Some(format!("interface `{name}` is down (ip link set {name} up)"))
            }
            Some(interface) if !interface.has_carrier() => Some(format!("interface `{name}` has no link")),
            _ => None,
        };
        let after = "; channels go out as soon as there is one";
        let names: BTreeSet<&str> = self.held.iter().map(|held| held.interface.as_str()).collect();
        let states = names.into_iter().filter_map(state);
        let mut warnings: Vec<String> = states.map(|warning| warning + after).collect();
        let mut bare: Vec<(&str, bool)> = self.bare(links).collect();
        bare.sort_unstable();
        bare.dedup();
        warnings.extend(bare.into_iter().map(|(name, v4)| {
            let family = if v4 { "IPv4" } else { "IPv6" };
            format!(
                "interface `{name}` has no {family} address; channels leave it with another interface's, or with none \
                 (ip address add … dev {name})"
            )
        }));
        warnings
    }

    /// Interfaces, and whether it is IPv4, that sockets send on without an address of theirs to send from.
    fn bare<'a>(&'a self, links: &'a Links) -> impl Iterator<Item = (&'a str, bool)> {
        let held = self.held.iter().filter(|held| !held.bound);
        held.filter_map(|held| {
            let (interface, v4) = (links.find(&held.interface)?, held.to.is_ipv4());
            let has = interface.addresses.iter().any(|address| address.is_ipv4() == v4);
            // One that is down has no IPv6 address yet.
            (interface.is_up() && !has).then_some((held.interface.as_str(), v4))
        })
    }

    /// Tells sockets the number of an interface that was made anew. To be called when `links` are otherwise than before, and
    /// now and then.
    pub fn look(&mut self, links: &Links) {
        for held in &mut self.held {
            if let Some(interface) = links.find(&held.interface)
                && interface.index != held.index
            {
                match set_interface(&held.socket, held.to, interface.index) {
                    Ok(()) => held.index = interface.index,
                    Err(error) => {
                        tracing::warn!(interface = held.interface, to = %held.to, %error, "cannot send on the new interface; it is tried again")
                    }
                }
            }
        }
    }
}

/// A socket that sends to `to` as the interfaces are now, and that nobody looks after.
pub(super) fn open_once(links: &Links, to: &Destination) -> io::Result<OwnedFd> {
    let manner = Manner::of(to);
    let interface = match manner.interface {
        None => None,
        // It is away for now.
        Some(text) => Some(links.find(text).ok_or(io::ErrorKind::NetworkUnreachable)?),
    };
    manner.open(interface).map_err(|(error, _)| error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn an_interface_without_an_address_is_a_warning() {
        let mut machine = Links::new().unwrap();
        let mut outlets = Outlets::default();
        let held = |to: &str, bound| Held {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap().into(),
            interface: "lo".to_owned(),
            index: 1,
            to: to.parse().unwrap(),
            bound,
        };
        outlets.held = vec![held("239.255.1.1:5000", false), held("239.255.1.2:5000", false)];
        assert_eq!(outlets.warnings(&machine), [""; 0]);
        let bare = machine.all().iter().map(|known| Interface::of(&known.name, known.index, true, &[]));
        let bare = bare.collect();
        machine.take_for_test(bare);
        let warnings = outlets.warnings(&machine);
        assert!(warnings.len() == 1 && warnings[0].contains("`lo` has no IPv4 address"), "{warnings:?}");
        outlets.held = vec![held("239.255.1.1:5000", true)];
        assert_eq!(outlets.warnings(&machine), [""; 0], "it has its own");
    }

    /// What a destination asks for is what the kernel has: no copy for this machine unless `loop` says so, never in pieces,
    /// from the address that is written before the group.
    #[test]
    fn sockets_send_as_destinations_say() {
        let links = Links::new().unwrap();
        for (to, looped, from) in [
            ("udp://lo@239.255.1.1:5000", false, "0.0.0.0"),
            ("udp://lo@239.255.1.1:5000#loop", true, "0.0.0.0"),
            ("udp://lo@127.0.0.1@239.255.1.1:5000", false, "127.0.0.1"),
            ("udp://lo@127.0.0.2@232.1.1.1:5000", false, "127.0.0.2"),
            ("udp://127.0.0.1@239.255.1.1:5000", false, "127.0.0.1"),
            ("udp://lo@[ff15::1]:5000", false, "::"),
            ("udp://lo@[ff15::1]:5000#loop", true, "::"),
            ("udp://lo@[::1]@[ff35::1]:5000", false, "::1"),
        ] {
            let text = format!(
                "[[channel]]\nname = \"one\"\nsource = \"a/b\"\nbitrate = 4000000\nto = [\"{to}&ttl=7&dscp=46\"]\n"
            );
            let text = if to.contains('#') { text } else { text.replace("&ttl", "#ttl") };
            let config = crate::config::Config::parse(&text, "f").unwrap();
            let socket =
                open_once(&links, &config.channels[0].to[0]).unwrap_or_else(|error| panic!("{to}: {error}"));
            let own = socket2::SockRef::from(&socket).local_addr().unwrap().as_socket().unwrap().ip();
            assert_eq!(own.to_string(), from, "{to}");
            // (copies here, hops, class)
            let found = match config.channels[0].to[0].address.is_ipv4() {
                true => {
                    assert_eq!(sockopt::ip_mtu_discover(&socket).unwrap(), sockopt::Ipv4PathMtuDiscovery::DO);
                    (
                        sockopt::ip_multicast_loop(&socket).unwrap(),
                        sockopt::ip_multicast_ttl(&socket).unwrap(),
                        sockopt::ip_tos(&socket).unwrap().into(),
                    )
                }
                false => {
                    assert_eq!(
                        sockopt::ipv6_mtu_discover(&socket).unwrap(),
                        sockopt::Ipv6PathMtuDiscovery::DO
                    );
                    (
                        sockopt::ipv6_multicast_loop(&socket).unwrap(),
                        sockopt::ipv6_multicast_hops(&socket).unwrap(),
                        sockopt::ipv6_tclass(&socket).unwrap(),
                    )
                }
            };
            assert_eq!(found, (looped, 7, 46 << 2), "{to}");
        }
    }
}
