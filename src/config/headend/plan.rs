//! The address plan: every place of every channel and input against all others.
//!
//! Refused is what cannot work: two streams on one group and port, a stream that comes back into its own gateway, groups
//! that switches send everywhere, two channels with one identity. Warned of is what works until it hurts: groups that share
//! an Ethernet address, groups outside the ranges of a network's own, RTP ports that leave no room for FEC.

use super::Fault;
use super::address::{GroupMac, is_flooded, is_recommended, is_source_specific};
use super::budget::links;
use super::place::{Destination, Transport};
use crate::config::Config;
use crate::config::diagnostic::Violation;
use crate::config::validate::wrong;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

/// Ports between two RTP streams of one group, so that each has room for RTCP and FEC: the stream's, + 1, + 2, + 4.
const RTP_PORT_STEP: u16 = 6;
/// Warnings of one kind that are listed; the rest is a number.
const LISTED_MAX: usize = 8;

/// One destination, and whose it is.
#[derive(Clone, Copy)]
struct Sent<'a> {
    channel: usize,
    at: usize,
    name: &'a str,
    to: &'a Destination,
}

impl Sent<'_> {
    fn violation(&self, fault: Fault) -> Violation {
        fault.at(&["channel", &self.channel.to_string(), "to", &self.at.to_string()])
    }
}

fn sent(config: &Config) -> impl Iterator<Item = Sent<'_>> {
    config.channels.iter().enumerate().flat_map(|(channel, it)| {
        it.to.iter().enumerate().map(move |(at, to)| Sent { channel, at, name: &it.name, to })
    })
}

/// The first rule that the plan breaks.
pub(super) fn check(config: &Config) -> Result<(), Violation> {
    identities(config)?;
    let mut taken: HashMap<(IpAddr, u16), Vec<Sent<'_>>> = HashMap::new();
    for place in sent(config) {
        let ip = place.to.address.ip();
        if is_flooded(ip) {
            return Err(place.violation(Fault::new(
                format!(
                    "{ip} has the Ethernet address {} of routing protocols: switches send it to every port",
                    GroupMac::of(ip)
                ),
                "use a group whose second and third number are not 0 (or 128 and 0)",
            )));
        }
        for port in place.to.ports() {
            let others = taken.entry((ip, port)).or_default();
            if let Some(other) = others.iter().find(|other| clash(other, &place)) {
                return Err(place.violation(already_sent(other, &place, port)));
            }
            others.push(place);
        }
    }
    for (number, input) in config.inputs.iter().enumerate() {
        for (at, from) in input.from.iter().enumerate() {
            let own = from.listened().find_map(|to| {
                let others = taken.get(&(to.ip(), to.port()))?;
                others.iter().find(|other| one_network(other.to.interface.as_ref(), from.interface.as_ref()))
            });
            if let Some(own) = own {
                let fault = Fault::new(
                    format!("{from} is what channel `{}` sends: the stream would come back", own.name),
                    "use another group or port for one of them",
                );
                return Err(fault.at(&["input", &number.to_string(), "from", &at.to_string()]));
            }
        }
    }
    Ok(())
}

/// Whether two destinations cannot both have an address and port. One channel may send to it over two networks: the two
/// paths of SMPTE ST 2022-7.
fn clash(a: &Sent<'_>, b: &Sent<'_>) -> bool {
    let two_paths =
        a.channel == b.channel && a.to.interface != b.to.interface && a.to.address == b.to.address;
    !two_paths
}

/// Whether two places may be on one network; without an interface nobody knows.
fn one_network(a: Option<&String>, b: Option<&String>) -> bool {
    a.is_none() || b.is_none() || a == b
}

fn already_sent(other: &Sent<'_>, place: &Sent<'_>, port: u16) -> Fault {
    let address = SocketAddr::new(place.to.address.ip(), port);
    let part = |to: &Destination| match port.wrapping_sub(to.address.port()) {
        0 => "the stream",
        1 => "RTCP",
        2 => "column FEC",
        _ => "row FEC",
    };
    Fault::new(
        format!("{address} ({}) is taken by channel `{}` ({})", part(place.to), other.name, part(other.to)),
        format!("use a group of its own for each stream, or ports {RTP_PORT_STEP} apart, better 10"),
    )
}

/// Names, service identities and streams are nobody's but one's.
fn identities(config: &Config) -> Result<(), Violation> {
    let (mut names, mut services, mut streams) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (index, channel) in config.channels.iter().enumerate() {
        let number = index.to_string();
        if names.insert(channel.name.as_str(), index).is_some() {
            let message = format!("a channel before it is called `{}` too", channel.name);
            return Err(wrong(
                &["channel", &number, "name"],
                message,
                "give each channel a name of its own".to_owned(),
            ));
        }
        for (at, service) in channel.services.iter().enumerate() {
            let ids = (channel.stream_id, service.service_id);
            if let Some(other) = services.insert(ids, channel.name.as_str()) {
                let message =
                    format!("channel `{other}` has stream id {} and service id {} too", ids.0, ids.1);
                let hint = "set another service_id here: a set-top box takes equal ones for one service";
                let at = at.to_string();
                let of_service = ["channel", &number, "services", &at, "service_id"];
                let of_channel = ["channel", &number, "service_id"];
                let path = if channel.services.len() > 1 { &of_service[..] } else { &of_channel };
                return Err(wrong(path, message, hint.to_owned()));
            }
        }
    }
    for (index, input) in config.inputs.iter().enumerate() {
        if streams.insert(input.stream.as_str(), index).is_some() {
            let message = format!("an input before it publishes `{}` too", input.stream);
            let hint = "list a backup in `from` of the first one".to_owned();
            return Err(wrong(&["input", &index.to_string(), "stream"], message, hint));
        }
    }
    unicast_inputs(config)
}

/// A port of this machine can be read by one input alone; a group by any number, for instance one a program. Who takes a
/// port of all addresses takes it of groups too: the kernel gives it to one of them, whichever comes first.
fn unicast_inputs(config: &Config) -> Result<(), Violation> {
    let mut taken: Vec<SocketAddr> = Vec::new();
    let origins = config.inputs.iter().flat_map(|input| input.from.iter().map(move |from| (input, from)));
    let groups: Vec<(&str, SocketAddr)> = origins
        .filter(|(_, from)| from.address.ip().is_multicast())
        .flat_map(|(input, from)| from.listened().map(move |address| (input.stream.as_str(), address)))
        .collect();
    for (index, input) in config.inputs.iter().enumerate() {
        for (at, from) in input.from.iter().enumerate().filter(|(_, from)| !from.address.ip().is_multicast())
        {
            for address in from.listened() {
                let path = ["input", &index.to_string(), "from", &at.to_string()];
                // All addresses of IPv6 are those of IPv4 too.
                let beside = |group: &SocketAddr| {
                    address.ip().is_unspecified()
                        && group.port() == address.port()
                        && (group.is_ipv4() == address.is_ipv4() || address.is_ipv6())
                };
                if let Some((stream, group)) = groups.iter().find(|(_, group)| beside(group)) {
                    let message =
                        format!("{address} takes the port of the group {group} of input `{stream}`");
                    let hint = "write the address of the interface that it comes to, or use another port";
                    return Err(Fault::new(message, hint).at(&path));
                }
                let same = |other: &&SocketAddr| {
                    other.port() == address.port()
                        && (other.ip() == address.ip()
                            || other.ip().is_unspecified()
                            || address.ip().is_unspecified())
                };
                if taken.iter().find(same).is_some() {
                    let fault = Fault::new(
                        format!("{address} is read by an input already, and what comes there is no group"),
                        "use another port",
                    );
                    return Err(fault.at(&path));
                }
                taken.push(address);
            }
        }
    }
    Ok(())
}

/// What works and is probably not meant, one sentence each.
pub(in crate::config) fn warnings(config: &Config) -> Vec<String> {
    let mut found = aliases(config);
    let flooded: Vec<String> =
        origins(config).filter(|ip| is_flooded(*ip)).map(|ip| ip.to_string()).collect();
    if !flooded.is_empty() {
        found.push(format!("switches send these groups of inputs to every port: {}", listed(&flooded)));
    }
    let outside: BTreeSet<IpAddr> = sent(config)
        .map(|place| place.to.address.ip())
        .filter(|ip| ip.is_multicast() && !is_recommended(*ip))
        .collect();
    if !outside.is_empty() {
        found.push(format!(
            "groups outside 232.0.0.0/8, 239.192.0.0/14 and 239.255.0.0/16 may be in use elsewhere: {}",
            listed(&outside.iter().map(IpAddr::to_string).collect::<Vec<_>>())
        ));
    }
    let nobody: BTreeSet<IpAddr> = sent(config)
        .filter(|place| place.to.source.is_none() && place.to.sap.is_none())
        .map(|place| place.to.address.ip())
        .filter(|ip| is_source_specific(*ip))
        .collect();
    if !nobody.is_empty() {
        found.push(format!(
            "source-specific groups that no INTERFACE@SOURCE@GROUP gives a sender, which their viewers must name: {}",
            listed(&nobody.iter().map(IpAddr::to_string).collect::<Vec<_>>())
        ));
    }
    let narrow = narrow_ports(config);
    if !narrow.is_empty() {
        found.push(format!(
            "RTP streams of one group less than {RTP_PORT_STEP} ports apart leave no room for FEC: {}",
            listed(&narrow)
        ));
    }
    for interface in links(config)
        .keys()
        .filter(|name| !sent(config).any(|place| place.to.interface.as_ref() == Some(*name)))
    {
        found.push(format!("`headend.link_mbit` names {interface}, on which no channel is sent"));
    }
    found
}

fn origins(config: &Config) -> impl Iterator<Item = IpAddr> {
    config.inputs.iter().flat_map(|input| &input.from).map(|from| from.address.ip())
}

/// Groups that share an Ethernet address on one interface: a switch that knows only those sends a viewer of one both.
fn aliases(config: &Config) -> Vec<String> {
    let outputs = sent(config).map(|place| (&place.to.interface, place.to.address.ip()));
    let inputs =
        config.inputs.iter().flat_map(|input| &input.from).map(|from| (&from.interface, from.address.ip()));
    let mut groups: BTreeMap<(&str, GroupMac), BTreeSet<IpAddr>> = BTreeMap::new();
    for (interface, ip) in outputs.chain(inputs).filter(|(_, ip)| ip.is_multicast()) {
        groups.entry((interface.as_deref().unwrap_or_default(), GroupMac::of(ip))).or_default().insert(ip);
    }
    let shared: Vec<String> = groups
        .iter()
        .filter(|(_, ips)| ips.len() > 1)
        .map(|((interface, mac), ips)| {
            let ips: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
            format!(
                "{} have one Ethernet address ({mac}) on {interface}: switches cannot tell them apart",
                listed(&ips)
            )
        })
        .collect();
    let more = shared.len().saturating_sub(LISTED_MAX);
    let mut found: Vec<String> = shared.into_iter().take(LISTED_MAX).collect();
    if more > 0 {
        found.push(format!("{more} more Ethernet addresses are shared by groups"));
    }
    found
}

/// Pairs of neighbours in one group that are too near for FEC, one of them RTP.
fn narrow_ports(config: &Config) -> Vec<String> {
    let mut by_group: BTreeMap<(IpAddr, &str), BTreeMap<u16, Transport>> = BTreeMap::new();
    for place in sent(config).filter(|place| place.to.address.ip().is_multicast()) {
        let interface = place.to.interface.as_deref().unwrap_or_default();
        let ports = by_group.entry((place.to.address.ip(), interface)).or_default();
        ports.insert(place.to.address.port(), place.to.transport);
    }
    let mut found = Vec::new();
    for ((group, _), ports) in &by_group {
        for ((&low, &transport), (&high, _)) in ports.iter().zip(ports.iter().skip(1)) {
            if high - low < RTP_PORT_STEP && transport == Transport::Rtp {
                found.push(format!("{group} {low} and {high}"));
            }
        }
    }
    found
}

/// At most [`LISTED_MAX`] of `items`.
fn listed(items: &[String]) -> String {
    let shown = items.get(..LISTED_MAX).unwrap_or(items).join(", ");
    match items.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
