//! `udp://[interface@][source@]group:port[#key=value&flag…]`, and the same with `rtp://`.
//!
//! - One part before the group is the interface, by name or by one of its addresses; with two, the second is the source:
//!   the sender to join (input), the own address to send from (channel). The interface may be empty: `@10.0.0.9@232.1.1.1:5000`.
//! - A lone address before a source-specific group of an input is the source, because such a group cannot be joined
//!   without one; this is what players write.
//! - IPv6 addresses stand in brackets, without a zone: the interface says it, and numbers of interfaces change. IPv4
//!   addresses are not written as IPv6. Names of hosts are not looked up. `?` may stand for `#`, as players write it; one of
//!   them stands once, and options behind it are divided by `&`.

use super::Fault;
use super::address::{announcement_group, is_source_specific, reserved};
use super::place::{COLUMN_PORT_STEP, Destination, FEC_PACKETS_MAX, Fec, ROW_PORT_STEP, Transport};
use super::{Headend, in_range};
use crate::config::load::offer;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Longest name of an interface, in bytes (`IFNAMSIZ` without its zero).
const INTERFACE_BYTES_MAX: usize = 15;
/// Longest URL, in bytes: the longest that means anything has about half of them.
const URL_BYTES_MAX: usize = 256;
/// Whoever is on a network, which may be any.
pub(super) const BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);
/// What a destination may say behind `#`.
const DESTINATION_OPTIONS: [&str; 9] =
    ["ttl", "dscp", "cbr", "bitrate", "fec", "columns", "staggered", "sap", "loop"];
/// Below this a `cbr` without unit is in megabits a second, as other headends write it.
const CBR_MBIT_MAX: f64 = 1000.0;
/// From here on a `cbr` without unit is in bits a second.
const CBR_BITS_MIN: f64 = 100_000.0;

/// A URL before its options are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub transport: Transport,
    /// Without brackets.
    pub interface: Option<&'a str>,
    pub source: Option<IpAddr>,
    pub address: SocketAddr,
    /// In the order they were written.
    pub options: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> Url<'a> {
    pub fn parse(text: &'a str) -> Result<Url<'a>, Fault> {
        let form = "write udp://INTERFACE@GROUP:PORT or rtp://INTERFACE@GROUP:PORT, \
                    such as \"udp://eth1@239.255.1.1:5000#ttl=8\"";
        if text.len() > URL_BYTES_MAX {
            return Err(Fault::new(format!("has {} bytes", text.len()), form));
        }
        let (transport, rest) = match text.split_once("://") {
            Some(("udp", rest)) => (Transport::Udp, rest),
            Some(("rtp", rest)) => (Transport::Rtp, rest),
            Some((scheme, _)) => return Err(Fault::new(format!("`{scheme}://` is not understood"), form)),
            None => return Err(Fault::new(format!("`{text}` is not a URL"), form)),
        };
        let (place, options) = rest.split_once(['#', '?']).unwrap_or((rest, ""));
        if let Some(sign) = options.chars().find(|sign| ['#', '?'].contains(sign)) {
            return Err(Fault::new(
                format!("`{sign}` stands in the middle of the options"),
                "write one # (or ?) behind the port, and & between options: #ttl=8&dscp=34",
            ));
        }
        // A path behind the port means nothing; players write a slash there.
        let place = place.strip_suffix('/').unwrap_or(place);
        let (front, target) =
            place.rsplit_once('@').map_or((None, place), |(front, target)| (Some(front), target));
        let (interface, source) = match front.map(|front| front.split_once('@').unwrap_or((front, ""))) {
            None | Some(("", "")) => (None, None),
            Some((interface, "")) => (Some(interface), None),
            Some((interface, source)) => (Some(interface).filter(|name| !name.is_empty()), Some(source)),
        };
        let interface = interface.map(without_brackets);
        interface.map_or(Ok(()), check_interface)?;
        let source = source.map(|source| {
            without_brackets(source).parse::<IpAddr>().map_err(|_| {
                Fault::new(
                    format!("the source `{source}` is not an address"),
                    "write INTERFACE@SOURCE@GROUP:PORT",
                )
            })
        });
        let url = Url {
            transport,
            interface,
            source: source.transpose()?.map(not_mapped).transpose()?,
            address: address(target)?,
            options: split_options(options)?,
        };
        url.check_families()?;
        Ok(url)
    }

    /// The interface, else the one of `[headend]`; what means something on one network alone must have one.
    pub fn interface_or(&self, shared: &Headend) -> Result<Option<String>, Fault> {
        let must = match self.address.ip() {
            ip if ip.is_multicast() => Some("group"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("link's address"),
            _ => None,
        };
        let interface = self.interface.or(shared.interface.as_deref().filter(|_| must.is_some()));
        if let Some(what) = must.filter(|_| interface.is_none()) {
            return Err(no_interface(&format!("the {what} {}", self.address), self.transport, self.address));
        }
        self.check_family("interface", interface.and_then(|interface| interface.parse().ok()))?;
        Ok(interface.map(canonical))
    }

    /// All addresses of a place are of one kind.
    fn check_families(&self) -> Result<(), Fault> {
        let interface = self.interface.and_then(|interface| interface.parse::<IpAddr>().ok());
        for (what, ip) in [("interface", interface), ("source", self.source)] {
            let Some(ip) = ip else { continue };
            self.check_family(what, Some(ip))?;
            if ip.is_multicast() || ip.is_unspecified() || ip == BROADCAST {
                let message = format!("the {what} {ip} is not the address of one machine");
                return Err(Fault::new(message, "write INTERFACE@SOURCE@GROUP:PORT"));
            }
        }
        Ok(())
    }

    fn check_family(&self, what: &str, ip: Option<IpAddr>) -> Result<(), Fault> {
        match ip.filter(|ip| ip.is_ipv4() != self.address.is_ipv4()) {
            None => Ok(()),
            Some(ip) => Err(Fault::new(
                format!("the {what} {ip} and {} are IPv4 and IPv6", self.address.ip()),
                "use addresses of one kind, or the name of an interface",
            )),
        }
    }
}

/// What `what`, which is `address` or goes with it, lacks.
fn no_interface(what: &str, transport: Transport, address: SocketAddr) -> Fault {
    let scheme = transport.as_str();
    Fault::new(
        format!("{what} has no interface, and the kernel's choice may be the wrong network"),
        format!("write {scheme}://eth1@{address} with the name of yours, or set `interface` in [headend]"),
    )
}

/// The one way in which an interface is written: addresses have several.
pub(super) fn canonical(interface: &str) -> String {
    interface.parse::<IpAddr>().map_or_else(|_| interface.to_owned(), |ip| ip.to_string())
}

/// An address of IPv4 that is written as one of IPv6 would escape all that is said of groups.
fn not_mapped(ip: IpAddr) -> Result<IpAddr, Fault> {
    let mapped = if let IpAddr::V6(ip) = ip { ip.to_ipv4_mapped() } else { None };
    mapped.map_or(Ok(ip), |v4| {
        Err(Fault::new(format!("{ip} is an IPv4 address written as IPv6"), format!("write {v4}")))
    })
}

/// Whether `interface` can be the name of an interface, or is an address.
pub(super) fn check_interface(interface: &str) -> Result<(), Fault> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"/:@#?[]\"'\\".contains(&b);
    let name = (1..=INTERFACE_BYTES_MAX).contains(&interface.len())
        && interface.bytes().all(plain)
        && ![".", ".."].contains(&interface);
    // What consists of digits and dots is meant as an address.
    let address = interface.contains(':') || interface.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match interface.parse::<IpAddr>() {
        Ok(ip) if not_mapped(ip).is_ok() => Ok(()),
        Err(_) if name && !address => Ok(()),
        _ => Err(Fault::new(
            format!("`{interface}` is not the name or the address of an interface"),
            "`ip -br address` lists both",
        )),
    }
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text)
}

fn address(target: &str) -> Result<SocketAddr, Fault> {
    // Players write an empty address for all of their own.
    let full = match target.strip_prefix(':') {
        Some(port) => format!("{}:{port}", Ipv4Addr::UNSPECIFIED),
        None => target.to_owned(),
    };
    match full.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(Fault::new("port 0 is no port", "use 1 to 65535")),
        Ok(SocketAddr::V6(v6)) if v6.scope_id() != 0 => Err(Fault::new(
            format!("{v6} has a zone, which is the number of an interface in this boot"),
            format!("write [{}]:{}, and the interface in front", v6.ip(), v6.port()),
        )),
        Ok(address) => not_mapped(address.ip()).map(|_| address),
        Err(_) => Err(Fault::new(
            format!("`{target}` is not an address and a port"),
            "write 239.255.1.1:5000, or an IPv6 address in brackets: [ff15::1]:5000; names are not looked up",
        )),
    }
}

fn split_options(options: &str) -> Result<Vec<(&str, Option<&str>)>, Fault> {
    let mut found: Vec<(&str, Option<&str>)> = Vec::new();
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
        if found.iter().any(|(known, _)| *known == key) {
            return Err(Fault::new(format!("`{key}` is given twice"), "give each option once"));
        }
        found.push((key, value));
    }
    Ok(found)
}

/// Reads a destination; with it comes the rate that it asks for, in bits a second.
pub(super) fn destination(text: &str, shared: &Headend) -> Result<(Destination, Option<u64>), Fault> {
    let url = Url::parse(text)?;
    let mut to = Destination {
        transport: url.transport,
        interface: url.interface_or(shared)?,
        source: url.source,
        address: url.address,
        ttl: shared.ttl,
        dscp: shared.dscp,
        fec: None,
        sap: None,
        loopback: false,
    };
    let (mut rate, mut columns_only, mut staggered) = (None, false, false);
    for &(key, value) in &url.options {
        match (key, value) {
            ("ttl", Some(value)) => to.ttl = small(key, value, 1, 255)?,
            ("dscp", Some(value)) => to.dscp = small(key, value, 0, 63)?,
            ("cbr" | "bitrate", Some(_)) if rate.is_some() => {
                return Err(Fault::new("`cbr` and `bitrate` both say the rate", "give one of them"));
            }
            ("cbr" | "bitrate", Some(value)) => rate = Some(bits_per_s(value)?),
            ("fec", Some(value)) => to.fec = Some(fec(value)?),
            ("columns", None) => columns_only = true,
            ("staggered", None) => staggered = true,
            ("sap", None) => to.sap = Some(announcement_group(url.address.ip())),
            ("sap", Some(value)) => to.sap = Some(sap_group(value, url.address)?),
            ("loop", None) => to.loopback = true,
            _ => return Err(wrong_option(key, value, &DESTINATION_OPTIONS)),
        }
    }
    match &mut to.fec {
        Some(fec) => (fec.row_packets, fec.staggered) = (!columns_only, staggered),
        None if columns_only || staggered => {
            return Err(Fault::new(
                "`columns` and `staggered` say how `fec` is sent, which is not there",
                "add fec=8x8",
            ));
        }
        None => {}
    }
    check_destination(&to)?;
    Ok((to, rate))
}

fn check_destination(to: &Destination) -> Result<(), Fault> {
    let (ip, port) = (to.address.ip(), to.address.port());
    if let Some(why) = reserved(ip) {
        return Err(Fault::new(format!("{ip} cannot be used: {why}"), "use a group of 239.255.0.0/16"));
    }
    if ip.is_unspecified() || ip == BROADCAST {
        return Err(Fault::new(
            format!("{ip} is nobody's address"),
            "write a group or the address of a receiver",
        ));
    }
    if let Some(group) = to.sap.filter(|_| to.interface.is_none()) {
        return Err(no_interface(&format!("the announcement in {group}"), to.transport, to.address));
    }
    if to.transport == Transport::Rtp && port % 2 == 1 {
        let hint = format!(
            "use {} or another even port: receivers round odd ones down (RFC 3550 section 11)",
            port - 1
        );
        return Err(Fault::new(format!("RTP on the odd port {port}"), hint));
    }
    let Some(fec) = to.fec else { return Ok(()) };
    if to.transport == Transport::Udp {
        return Err(Fault::new("FEC needs the sequence numbers of RTP", "write rtp:// instead of udp://"));
    }
    if !fec.is_valid() {
        let least = if fec.row_packets { Fec::COLUMNS_WITH_ROWS } else { Fec::COLUMNS };
        return Err(Fault::new(
            format!("a matrix of {}x{} is none of SMPTE ST 2022-1", fec.columns, fec.rows),
            format!(
                "use fec=LxD with {} to {} columns, {} to {} rows, and at most {FEC_PACKETS_MAX} packets in all",
                least.start(),
                least.end(),
                Fec::ROWS.start(),
                Fec::ROWS.end()
            ),
        ));
    }
    fec_ports(port, fec.row_packets, true)
}

/// The streams of repair packets need a port each: columns, and `rows` if there are any. Where `even` ports alone are taken,
/// the help names one.
pub(super) fn fec_ports(port: u16, rows: bool, even: bool) -> Result<(), Fault> {
    let step = if rows { ROW_PORT_STEP } else { COLUMN_PORT_STEP };
    let most = u16::MAX - step;
    in_range(port.into(), 1..=most.into()).map_err(|_| {
        let taken = match rows {
            true => format!("the ports {COLUMN_PORT_STEP} and {ROW_PORT_STEP} above {port}"),
            false => format!("the port {COLUMN_PORT_STEP} above {port}"),
        };
        let most = if even { most - most % 2 } else { most };
        Fault::new(
            format!("FEC takes {taken}, and ports end at {}", u16::MAX),
            format!("use a port of at most {most}"),
        )
    })
}

fn small(key: &str, value: &str, least: u8, most: u8) -> Result<u8, Fault> {
    // The integer's own parser takes a sign.
    let number = value.parse::<u8>().ok().filter(|_| value.bytes().all(|b| b.is_ascii_digit()));
    match number {
        Some(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Fault::new(
            format!("`{key}={value}` is out of range"),
            format!("use {key}={least} to {key}={most}"),
        )),
    }
}

/// `4`, `4.5`, `4M`, `4500k`, `4500000`.
fn bits_per_s(value: &str) -> Result<u64, Fault> {
    let fault = || Fault::new(format!("`{value}` is not a rate"), "write cbr=4M, cbr=4500k or cbr=4500000");
    let unit = value.trim_end_matches(['k', 'K', 'm', 'M']);
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.len() <= 12;
    let number: f64 = unit.parse().ok().filter(|_| digits(unit)).ok_or_else(fault)?;
    let scale = match value.get(unit.len()..) {
        Some("k" | "K") => 1e3,
        Some("m" | "M") => 1e6,
        Some("") if number < CBR_MBIT_MAX => 1e6,
        Some("") if number >= CBR_BITS_MIN => 1.0,
        _ => return Err(fault()),
    };
    Ok((number * scale).round() as u64)
}

fn fec(value: &str) -> Result<Fec, Fault> {
    let fault = || {
        Fault::new(
            format!("`fec={value}` is not a matrix"),
            "write fec=LxD: columns and rows, such as fec=8x8",
        )
    };
    let (columns, rows) = value.split_once(['x', 'X', ':']).ok_or_else(fault)?;
    let number = |text: &str| small("fec", text, 1, u8::MAX).map_err(|_| fault());
    Ok(Fec { columns: number(columns)?, rows: number(rows)?, row_packets: true, staggered: false })
}

fn sap_group(value: &str, address: SocketAddr) -> Result<IpAddr, Fault> {
    match without_brackets(value).parse::<IpAddr>() {
        Ok(group) if group.is_multicast() && group.is_ipv4() == address.is_ipv4() => Ok(group),
        _ => Err(Fault::new(
            format!("`{value}` is not a group that {} can be announced in", address.ip()),
            "leave the address out, or write sap=224.2.127.254 or sap=239.255.255.255",
        )),
    }
}

pub(super) fn wrong_option(key: &str, value: Option<&str>, known: &[&str]) -> Fault {
    if known.contains(&key) {
        let message = match value {
            Some(value) => format!("`{key}` takes no value, and `{value}` is given"),
            None => format!("`{key}` needs a value"),
        };
        let hint = if value.is_some() { format!("write {key} alone") } else { format!("write {key}=VALUE") };
        return Fault::new(message, hint);
    }
    Fault::new(format!("unknown option `{key}`"), offer(key, known))
}

/// Whether a lone address before this group is the sender's.
pub(super) fn names_sender(url: &Url<'_>) -> Option<IpAddr> {
    let lone = url.interface.filter(|_| url.source.is_none() && is_source_specific(url.address.ip()))?;
    lone.parse().ok()
}
