//! `[[input]]`: one stream that comes as a transport stream in datagrams.

use super::address::{is_source_specific, reserved};
use super::place::{COLUMN_PORT_STEP, Place, ROW_PORT_STEP, Transport, above};
use super::url::{BROADCAST, Url, fec_ports, names_sender, wrong_option};
use super::{Fault, Headend, in_range, required, stream_name};
use crate::config::diagnostic::Violation;
use crate::config::validate::wrong;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Origins of one input: a primary and its backups.
pub const ORIGINS_MAX: usize = 4;
/// Paths that are merged (SMPTE ST 2022-7).
const LEGS: usize = 2;
/// Skew budgets of ST 2022-7's receiver classes A, B and C, in milliseconds.
const SKEW_MS: [u64; 3] = [10, 50, 450];
/// Milliseconds that a packet may be late: above it viewers wait longer than any network's own reordering.
const REORDER_MS: RangeInclusive<u64> = 0..=500;
/// Below this the gaps of an ordinary encoder would be failures.
const FAILOVER_MS: RangeInclusive<u64> = 50..=60_000;
/// Seconds: operators revert after ten clean ones at the earliest; a day is the longest.
const REVERT_S: RangeInclusive<u64> = 10..=86_400;
/// What an origin may say behind `#`.
const ORIGIN_OPTIONS: [&str; 1] = ["fec"];

/// One stream that comes as a transport stream in datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The stream it publishes, `APP/STREAM`; no two inputs publish one.
    pub stream: String,
    /// Where it comes from, 1 to 4 places: the primary, then what takes its place.
    pub from: Vec<Origin>,
    /// Program number (service id) to take; 0 is the first with pictures or sound.
    pub program: u16,
    /// Whether `/APP/STREAM.ts` gives the input's own packets; else they are made anew from its frames.
    pub passes: bool,
    /// Whether the two origins carry the same RTP packets over two paths and are merged (SMPTE ST 2022-7).
    pub merge: bool,
    /// Milliseconds that one path may be behind the other: 10, 50 or 450.
    pub skew_ms: u64,
    /// Milliseconds that an RTP packet is waited for.
    pub reorder_ms: u64,
    /// Milliseconds without a packet of the program after which the next origin takes over.
    pub failover_ms: u64,
    /// Seconds that an earlier origin must have been clean before it is taken again; `None`: never.
    pub revert_after_s: Option<u64>,
}

/// One place that an input listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What is meant to come; the first byte of a datagram tells what does.
    pub transport: Transport,
    /// Interface to join on, by name or by one of its addresses; always there for a group.
    pub interface: Option<String>,
    /// The only sender that is meant (source-specific multicast); always there for a source-specific group.
    pub source: Option<IpAddr>,
    /// Group, or own address, and port.
    pub address: SocketAddr,
    /// Whether FEC (SMPTE ST 2022-1) is listened for, on port + 2 and port + 4.
    pub fec: bool,
}

impl Input {
    /// One that nobody has configured: a place that somebody watches by its address.
    pub fn relayed(stream: String, from: Origin) -> Input {
        let InputEntry { skew_ms, reorder_ms, failover_ms, .. } = InputEntry::default();
        let (from, passes) = (vec![from], true);
        let (program, merge, revert_after_s) = (0, false, None);
        Input { stream, from, program, passes, merge, skew_ms, reorder_ms, failover_ms, revert_after_s }
    }
}

impl Origin {
    /// Reads `udp://[interface@][source@]group:port[#fec]`.
    fn parse(text: &str, shared: &Headend) -> Result<Origin, Fault> {
        let mut url = Url::parse(text)?;
        if let Some(sender) = names_sender(&url) {
            (url.interface, url.source) = (None, Some(sender));
        }
        let mut from = Origin {
            transport: url.transport,
            interface: url.interface_or(shared)?,
            source: url.source,
            address: url.address,
            fec: false,
        };
        for &(key, value) in &url.options {
            match (key, value) {
                ("fec", None) => from.fec = true,
                _ => return Err(wrong_option(key, value, &ORIGIN_OPTIONS)),
            }
        }
        from.check()?;
        Ok(from)
    }

    /// The addresses that it listens to: media, and with FEC repair packets of columns and of rows.
    pub fn listened(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let repairs = [self.column_address(), self.row_address()];
        let fec = self.fec;
        std::iter::once(self.address).chain(repairs.into_iter().filter(move |_| fec))
    }

    /// The place that somebody asks for by a URL with its address; what is wrong with it is for people.
    pub(in crate::config) fn relayed(url: &str, shared: &Headend) -> Result<Origin, String> {
        Origin::parse(url, shared).map_err(|fault| fault.message)
    }

    fn check(&self) -> Result<(), Fault> {
        let ip = self.address.ip();
        if let Some(why) = reserved(ip) {
            return Err(Fault::new(format!("{ip} cannot be joined: {why}"), "use the group of a stream"));
        }
        if ip == BROADCAST {
            return Err(Fault::new(
                format!("{ip} is nobody's address"),
                "write the group of a stream, an own address, or 0.0.0.0",
            ));
        }
        if is_source_specific(ip) && self.source.is_none() {
            let (scheme, interface) =
                (self.transport.as_str(), self.interface.as_deref().unwrap_or_default());
            return Err(Fault::new(
                format!("{ip} is a source-specific group and cannot be joined without its source"),
                format!("write {scheme}://{interface}@SOURCE@{} with the sender's address", self.address),
            ));
        }
        match (self.fec, self.transport) {
            (true, Transport::Udp) => {
                Err(Fault::new("FEC needs the sequence numbers of RTP", "write rtp:// instead of udp://"))
            }
            (true, Transport::Rtp) => fec_ports(self.address.port(), true, false),
            (false, _) => Ok(()),
        }
    }

    /// Where column packets come.
    pub fn column_address(&self) -> SocketAddr {
        above(self.address, COLUMN_PORT_STEP)
    }

    /// Where row packets come.
    pub fn row_address(&self) -> SocketAddr {
        above(self.address, ROW_PORT_STEP)
    }

    /// `udp://eth1@239.255.1.1:5000`: what names it in logs and metrics.
    pub fn place(&self) -> Place<'_> {
        Place {
            transport: self.transport,
            interface: self.interface.as_deref(),
            source: self.source,
            address: self.address,
        }
    }
}

impl fmt::Display for Origin {
    /// The whole URL: read again it is the same origin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place(), if self.fec { "#fec" } else { "" })
    }
}

/// One `[[input]]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct InputEntry {
    stream: Option<String>,
    from: Vec<String>,
    program: u16,
    ts: TsOutput,
    merge: bool,
    skew_ms: u64,
    reorder_ms: u64,
    failover_ms: u64,
    revert_after_s: u64,
}

/// What an input's transport stream is made of where it is watched as one.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum TsOutput {
    /// The input's packets.
    #[default]
    Pass,
    /// Its frames.
    Frames,
}

impl Default for InputEntry {
    fn default() -> InputEntry {
        InputEntry {
            stream: None,
            from: Vec::new(),
            program: 0,
            ts: TsOutput::default(),
            merge: false,
            skew_ms: 50,
            reorder_ms: 60,
            failover_ms: 200,
            revert_after_s: 10,
        }
    }
}

impl InputEntry {
    /// Completes the table number `index`.
    pub(super) fn resolve(&self, index: usize, shared: &Headend) -> Result<Input, Violation> {
        let number = index.to_string();
        let path = |key| ["input", number.as_str(), key];
        let hint = "add stream = \"live/one\": the stream it publishes";
        let stream = required(self.stream.as_ref(), "input", &number, "stream", hint)?;
        stream_name(stream).map_err(|fault| fault.at(&path("stream")))?;
        if self.from.is_empty() || self.from.len() > ORIGINS_MAX {
            let message = format!("has {} origins", self.from.len());
            let hint = format!("list 1 to {ORIGINS_MAX}: from = [\"udp://eth1@239.255.1.1:5000\"]");
            return Err(wrong(&path("from"), message, hint));
        }
        let mut from: Vec<Origin> = Vec::with_capacity(self.from.len());
        for (at, text) in self.from.iter().enumerate() {
            let here = |fault: Fault| fault.at(&["input", &number, "from", &at.to_string()]);
            let origin = Origin::parse(text, shared).map_err(here)?;
            // What comes there does not depend on what is said of it.
            let place = |from: &Origin| (from.interface.clone(), from.source, from.address);
            if from.iter().any(|other| place(other) == place(&origin)) {
                return Err(here(Fault::new(format!("{origin} is listed twice"), "list each origin once")));
            }
            from.push(origin);
        }
        if self.merge && (from.len() != LEGS || from.iter().any(|from| from.transport != Transport::Rtp)) {
            let hint = format!("list the {LEGS} paths of one RTP stream in `from`, both as rtp://");
            return Err(wrong(&path("merge"), "cannot merge these origins".to_owned(), hint));
        }
        if !SKEW_MS.contains(&self.skew_ms) {
            let message = format!("{} is none of the classes of SMPTE ST 2022-7", self.skew_ms);
            return Err(wrong(&path("skew_ms"), message, "use 10, 50 or 450".to_owned()));
        }
        in_range(self.reorder_ms, REORDER_MS).map_err(|fault| fault.at(&path("reorder_ms")))?;
        in_range(self.failover_ms, FAILOVER_MS).map_err(|fault| fault.at(&path("failover_ms")))?;
        if from.len() > 1 && !self.merge && self.failover_ms <= self.reorder_ms {
            let message =
                format!("{} is no longer than what a missing packet is waited for", self.failover_ms);
            let hint = format!("use more than {}, or a shorter reorder_ms", self.reorder_ms);
            return Err(wrong(&path("failover_ms"), message, hint));
        }
        if self.revert_after_s != 0 && !REVERT_S.contains(&self.revert_after_s) {
            let message = format!("{} is out of range", self.revert_after_s);
            let hint = format!("use {} to {}, or 0 to stay where it is", REVERT_S.start(), REVERT_S.end());
            return Err(wrong(&path("revert_after_s"), message, hint));
        }
        Ok(Input {
            stream: stream.to_owned(),
            from,
            program: self.program,
            passes: self.ts == TsOutput::Pass,
            merge: self.merge,
            skew_ms: self.skew_ms,
            reorder_ms: self.reorder_ms,
            failover_ms: self.failover_ms,
            revert_after_s: Some(self.revert_after_s).filter(|&seconds| seconds != 0),
        })
    }
}
