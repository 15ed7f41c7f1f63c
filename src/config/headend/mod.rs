//! The headend: streams that leave as constant-rate transport streams, and transport streams that come in.
//!
//! - `[headend]` is what all of them share, `[[channel]]` a stream that leaves, with one service or several, `[[input]]` one that comes
//!   (docs/headend.md). Places are written as headends write them, `udp://eth1@239.255.1.1:5000#ttl=8` (`url.rs`).
//! - `plan.rs` holds the addresses of all channels and inputs against each other, `budget.rs` their rates against the
//!   links. Both run wherever a configuration is read, `headgate check` included; neither asks the machine anything.
//!
//! **What is derived is derived from the channel alone.** Service id and transport stream id, where the file gives none,
//! are a hash of the channel's name (of a service among several: of its stream's too); PIDs are constants, or of several services follow from
//! their order. So no set-top box must scan again because a channel was added,
//! removed or moved in the file, and none can come to share the ids of another unnoticed: equal ones are refused.
#![forbid(unsafe_code)]

mod address;
mod budget;
mod channel;
mod input;
mod pids;
mod place;
mod plan;
mod service;
#[cfg(test)]
mod tests;
mod url;

pub(super) use channel::ChannelEntry;
pub use channel::{Channel, Passing, RATE_BPS_MIN, fixed_bps};
pub(super) use input::InputEntry;
pub use input::{Input, ORIGINS_MAX, Origin};
pub use pids::TRACK_PIDS;
pub use place::{Destination, FEC_PACKETS_MAX, Fec, Place, Transport};
pub(super) use plan::warnings;
pub use service::{LANGUAGES_MAX, SERVICES_MAX, Service};

use super::diagnostic::Violation;
use super::name::{check_app, check_stream};
use super::validate::{CPU_MAX, wrong};
use super::{Config, sign};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Channels of one process: their datagrams stand in one submission a tick.
pub const CHANNELS_MAX: usize = 1024;
/// Inputs of one process: each has a socket or several.
pub const INPUTS_MAX: usize = 1024;
/// Longest service name and provider, in bytes: both stand in one descriptor of at most 255 (EN 300 468 section 6.2.33)
/// with 3 bytes of its own and one that names the alphabet before each.
pub const SERVICE_TEXT_BYTES_MAX: usize = 120;

/// Whose way of naming AC-3 and E-AC-3 a transport stream follows: in stream types and descriptors of the PMT, and in
/// nothing else. Tables of ATSC (PSIP) are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// DVB: AC-3 and E-AC-3 are private streams, named by descriptors 0x6A and 0x7A (ETSI EN 300 468 annex D).
    #[default]
    Dvb,
    /// ATSC: they have stream types of their own, 0x81 and 0x87 (A/53 part 3, A/52 annexes A and G), with
    /// registrations. The audio descriptors of annexes A and G are not written.
    Atsc,
}

/// How AAC stands in a transport stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aac {
    /// Each frame behind an ADTS header (stream type 0x0F).
    #[default]
    Adts,
    /// As elements of LOAS/LATM (stream type 0x11).
    Latm,
}

/// What all channels and inputs share.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Headend {
    /// CPU number that the thread which paces all channels is pinned to; `None` leaves it to the kernel.
    pub core: Option<usize>,
    /// Interface (name or address) of every multicast place that names none.
    pub interface: Option<String>,
    /// Time to live of a channel's datagrams, 1 to 255, where the destination says nothing else.
    pub ttl: u8,
    /// Differentiated services code point of a channel's datagrams, 0 to 63, likewise.
    pub dscp: u8,
    /// Provider in the service description of a channel that names none.
    pub provider: String,
    /// Network id and original network id of all channels, 1 to 65535.
    pub network_id: u16,
    /// Whose rules channels follow where these differ.
    pub system: System,
    /// Whether AV1 stands in transport streams: in those that are sent, HTTP-TS among them, and in those that come.
    pub av1: bool,
    /// Bytes the kernel may hold for one input's socket (`SO_RCVBUF`).
    pub receive_buffer_bytes: u32,
    /// Series that inputs may have on the metrics page, all together.
    pub input_series_max: u32,
    /// Megabits a second that the link behind an interface (as the destinations write it) carries.
    pub link_mbit: BTreeMap<String, u32>,
}

impl Default for Headend {
    fn default() -> Headend {
        Headend {
            core: None,
            interface: None,
            ttl: 16,
            dscp: 34,
            provider: "headgate".to_owned(),
            network_id: 0xFF01,
            system: System::Dvb,
            av1: false,
            receive_buffer_bytes: 4 << 20,
            input_series_max: 20_000,
            link_mbit: BTreeMap::new(),
        }
    }
}

/// What is wrong with a value, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    message: String,
    hint: String,
}

impl Fault {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { message: message.into(), hint: hint.into() }
    }

    /// The fault of the value at `path`.
    fn at(self, path: &[&str]) -> Violation {
        wrong(path, self.message, self.hint)
    }
}

/// Completes the tables of the file.
pub(super) fn resolve(
    headend: &Headend,
    channels: &[ChannelEntry],
    inputs: &[InputEntry],
) -> Result<(Vec<Channel>, Vec<Input>), Violation> {
    check_shared(headend)?;
    for (table, count, most) in
        [("channel", channels.len(), CHANNELS_MAX), ("input", inputs.len(), INPUTS_MAX)]
    {
        if count > most {
            let hint = format!("one process has at most {most}");
            return Err(wrong(&[table, &most.to_string()], format!("is one of {count}"), hint));
        }
    }
    let channels = channels
        .iter()
        .enumerate()
        .map(|(at, entry)| entry.resolve(at, headend))
        .collect::<Result<_, _>>()?;
    let inputs =
        inputs.iter().enumerate().map(|(at, entry)| entry.resolve(at, headend)).collect::<Result<_, _>>()?;
    Ok((channels, inputs))
}

/// The first rule that the channels and inputs of `config` break together.
pub(super) fn check(config: &Config) -> Result<(), Violation> {
    plan::check(config)?;
    check_relay(config)?;
    budget::check(config)
}

fn check_relay(config: &Config) -> Result<(), Violation> {
    let (relay, at) = (&config.relay, |key| ["relay", key]);
    if let Some(interface) = &relay.interface {
        url::check_interface(interface).map_err(|fault| fault.at(&at("interface")))?;
    } else if relay.is_on() && config.headend.interface.is_none() {
        let hint = "add interface = \"eth1\": where its groups are joined";
        return Err(wrong(&at("allow"), "has no interface".to_owned(), hint.to_owned()));
    }
    for (key, value, range) in [
        ("groups", u64::from(relay.groups), 1..=u64::from(super::relay::GROUPS_MAX)),
        ("linger_s", relay.linger_s, 0..=3600),
    ] {
        in_range(value, range).map_err(|fault| fault.at(&at(key)))?;
    }
    Ok(())
}

fn check_shared(headend: &Headend) -> Result<(), Violation> {
    let at = |key| ["headend", key];
    if let Some(cpu) = headend.core.filter(|&cpu| cpu > CPU_MAX) {
        let hint = format!("use a CPU number of 0 to {CPU_MAX}, or leave the key out");
        return Err(wrong(&at("core"), format!("core {cpu} does not exist"), hint));
    }
    if let Some(interface) = &headend.interface {
        url::check_interface(interface).map_err(|fault| fault.at(&at("interface")))?;
    }
    let rows: [(&str, u64, RangeInclusive<u64>); 5] = [
        ("ttl", headend.ttl.into(), 1..=255),
        ("dscp", headend.dscp.into(), 0..=63),
        ("network_id", headend.network_id.into(), 1..=65_535),
        // None at all may be wanted; with a million the page has some 100 MB.
        ("input_series_max", headend.input_series_max.into(), 0..=1_000_000),
        // One datagram with its bookkeeping at least; the kernel has a bound of its own (net.core.rmem_max).
        ("receive_buffer_bytes", headend.receive_buffer_bytes.into(), 65_536..=1 << 30),
    ];
    for (key, value, range) in rows {
        in_range(value, range).map_err(|fault| fault.at(&at(key)))?;
    }
    service_text(&headend.provider).map_err(|fault| fault.at(&at("provider")))?;
    for (interface, &mbit) in &headend.link_mbit {
        let path = ["headend", "link_mbit", interface];
        url::check_interface(interface).map_err(|fault| fault.at(&path))?;
        in_range(mbit.into(), 1..=1_000_000).map_err(|fault| fault.at(&path))?;
    }
    Ok(())
}

fn in_range(value: u64, range: RangeInclusive<u64>) -> Result<(), Fault> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(Fault::new(
            format!("{value} is out of range"),
            format!("use {} to {}", range.start(), range.end()),
        )),
    }
}

/// Words that viewers read: nothing in them acts.
fn service_text(text: &str) -> Result<(), Fault> {
    let hint = format!("use 1 to {SERVICE_TEXT_BYTES_MAX} bytes of text in one line");
    if text.is_empty() || text.len() > SERVICE_TEXT_BYTES_MAX {
        return Err(Fault::new(format!("has {} bytes", text.len()), hint));
    }
    match text.chars().find(|&c| !sign::is_harmless(c)) {
        Some(c) => Err(Fault::new(format!("holds the character U+{:04X}", u32::from(c)), hint)),
        None => Ok(()),
    }
}

/// The name of a stream, `APP/STREAM`.
fn stream_name(name: &str) -> Result<(), Fault> {
    let fault = |message| Fault::new(message, "write APP/STREAM, such as \"live/one\"");
    let (app, stream) =
        name.rsplit_once('/').ok_or_else(|| fault("is not the name of a stream".to_owned()))?;
    check_app(app).and_then(|()| check_stream(stream)).map_err(|error| fault(error.to_string()))
}

/// The value of a key that must be there.
fn required<'a>(
    value: Option<&'a String>,
    table: &str,
    at: &str,
    key: &str,
    hint: &str,
) -> Result<&'a str, Violation> {
    value.map(String::as_str).ok_or_else(|| wrong(&[table, at], format!("has no `{key}`"), hint.to_owned()))
}
