//! `[[channel]]`: a transport stream that leaves, at a constant rate with one service or several (`service.rs`), or as its
//! source has sent it.

mod passing;

pub use passing::Passing;

use super::pids::check_apart;
use super::place::Destination;
use super::service::{Parent, SERVICES_MAX, Service, ServiceEntry};
use super::{Aac, Fault, Headend, in_range, required, url};
use crate::config::diagnostic::Violation;
use crate::config::name::check_stream;
use crate::config::validate::wrong;
use serde::Deserialize;
use std::ops::RangeInclusive;

/// Longest name, in bytes: it stands in metrics and log lines.
const NAME_BYTES_MAX: usize = 64;
/// Destinations of one channel.
const DESTINATIONS_MAX: usize = 16;
/// Lowest rate of the whole multiplex for each of its services, in bits a second: the multiplexer's own bound. Below it one packet takes longer than
/// what is left between the intervals of clock and tables that it aims at and those that it promises.
pub const RATE_BPS_MIN: u64 = 200_000;
/// The rates that can be asked for; above them a tick would be a burst.
const BITRATE: RangeInclusive<u64> = RATE_BPS_MIN..=200_000_000;

/// What PAT, SDT, NIT and TDT take of it, in bits a second, and the PMT of each service.
const TABLES_BPS: u64 = 40_000;
/// See [`TABLES_BPS`].
const MAP_BPS: u64 = 43_000;
/// A packet, in bits, times a million.
const PACKET_MICROBITS: u64 = 188 * 8 * 1_000_000;
/// From one clock of a service to the next at most, in microseconds.
const CLOCK_EACH_US: u64 = 38_000;

/// What clocks and tables take of a multiplex of this rate, in bits a second: what the multiplexer reckons with. A clock is told
/// earlier by as many packets as there are services, for all of them may be due at once.
pub const fn fixed_bps(bitrate_bps: u64, services: usize) -> u64 {
    let (rate, services) =
        (if bitrate_bps < RATE_BPS_MIN { RATE_BPS_MIN } else { bitrate_bps }, services as u64);
    let (others_us, most_us) = (PACKET_MICROBITS * services / rate, CLOCK_EACH_US / 5);
    let clock_us = CLOCK_EACH_US - if others_us < most_us { others_us } else { most_us };
    TABLES_BPS + services * (MAP_BPS + PACKET_MICROBITS.div_ceil(clock_us))
}

/// A transport stream that leaves: made anew, at a constant rate, or as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What metrics and log lines call it; no two channels have one name.
    pub name: String,
    /// Where it goes, 1 to 16 places.
    pub to: Vec<Destination>,
    /// Whether its source's own packets are sent, and how; `None`: it is made anew at a constant rate.
    pub passing: Option<Passing>,
    /// Bits a second of the transport stream, null packets included; of one that is passed on what is planned for it, 0 if
    /// nothing is.
    pub bitrate_bps: u64,
    /// Transport stream id; from the name unless it is given.
    pub stream_id: u16,
    /// How AAC is sent.
    pub aac: Aac,
    /// What is in it, 1 to 16 services.
    pub services: Vec<Service>,
    /// Whether a network information table is sent.
    pub nit: bool,
    /// Whether the date and time are sent (TDT), from this machine's clock.
    pub tdt: bool,
}

impl Channel {
    /// What it is called where only one name is shown, and who offers it: its service, or itself where it has several.
    pub fn title(&self) -> (&str, &str) {
        match &self.services[..] {
            [service] => (&service.name, &service.provider),
            [first, ..] => (&self.name, &first.provider),
            [] => (&self.name, ""),
        }
    }
}

/// One `[[channel]]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ChannelEntry {
    name: Option<String>,
    source: Option<String>,
    to: Vec<String>,
    mode: passing::Mode,
    delay_ms: Option<u64>,
    pids: std::collections::BTreeMap<String, u16>,
    bitrate: Option<u64>,
    service_name: Option<String>,
    provider: Option<String>,
    service_id: Option<u16>,
    stream_id: Option<u16>,
    pmt_pid: Option<u16>,
    video_pid: Option<u16>,
    audio_pid: Option<u16>,
    pcr_pid: Option<u16>,
    aac: Aac,
    languages: Vec<String>,
    services: Vec<ServiceEntry>,
    nit: bool,
    tdt: bool,
}

impl ChannelEntry {
    /// Completes the table number `index`.
    pub(super) fn resolve(&self, index: usize, shared: &Headend) -> Result<Channel, Violation> {
        let number = index.to_string();
        let path = |key| ["channel", number.as_str(), key];
        let must = |value, key, hint| required(value, "channel", &number, key, hint);
        let name = must(self.name.as_ref(), "name", "add name = \"one\": what metrics and logs call it")?;
        check_name(name).map_err(|fault| fault.at(&path("name")))?;
        let passing = self.passing().map_err(|(key, fault)| fault.at(&path(key)))?;
        let (stream_id, service_id) = derived_ids(name);
        let provider = self.provider.as_deref().unwrap_or(&shared.provider);
        let parent = Parent { number: &number, channel: name, provider };
        let alone = if self.services.is_empty() {
            let entry = ServiceEntry {
                source: self.source.clone(),
                service_name: self.service_name.clone(),
                provider: self.provider.clone(),
                service_id: self.service_id,
                pmt_pid: self.pmt_pid,
                video_pid: self.video_pid,
                audio_pid: self.audio_pid,
                pcr_pid: self.pcr_pid,
                languages: self.languages.clone(),
                bitrate: None,
            };
            Some(entry.resolve(&parent, None, service_id)?)
        } else {
            self.belongs_to_services(&number)?;
            None
        };
        let (to, bitrate_bps) = self.destinations(&number, shared)?;
        let services = match alone {
            Some(service) => vec![service],
            None => self.several(&parent, bitrate_bps)?,
        };
        let least = RATE_BPS_MIN * services.len() as u64;
        if passing.is_none() && bitrate_bps < least {
            let message = format!("{bitrate_bps} bit/s are too few for {} services", services.len());
            let hint = format!("use at least {least}, {RATE_BPS_MIN} for each");
            return Err(wrong(&path("bitrate"), message, hint));
        }
        Ok(Channel {
            name: name.to_owned(),
            to,
            passing,
            bitrate_bps,
            stream_id: self.stream_id.unwrap_or(stream_id),
            aac: self.aac,
            services,
            nit: self.nit,
            tdt: self.tdt,
        })
    }

    /// Services that are listed, each by itself and held against the others.
    fn several(&self, parent: &Parent<'_>, bitrate_bps: u64) -> Result<Vec<Service>, Violation> {
        let count = self.services.len();
        if count > SERVICES_MAX {
            let hint = format!("one channel has at most {SERVICES_MAX}; use another channel for more");
            return Err(wrong(
                &["channel", parent.number, "services"],
                format!("lists {count} services"),
                hint,
            ));
        }
        let mut services = Vec::with_capacity(count);
        for (at, entry) in self.services.iter().enumerate() {
            // Neither its place in the list nor what it is called: what it sends.
            let source = entry.source.as_deref().unwrap_or_default();
            let (_, service_id) = derived_ids(&format!("{}/{source}", parent.channel));
            services.push(entry.resolve(parent, Some(at), service_id)?);
        }
        check_apart(&services, &self.services, parent)?;
        let stated: u64 = services.iter().filter_map(|service| service.bitrate_bps).sum();
        let fixed = fixed_bps(bitrate_bps, count);
        let media = bitrate_bps.saturating_sub(fixed);
        // Who states none has something too; where nobody does, all have the same, and who is alone has all.
        let rest = RATE_BPS_MIN / 2 * services.iter().filter(|it| it.bitrate_bps.is_none()).count() as u64;
        if count > 1 && stated > 0 && stated + rest > media {
            let message = format!("the services ask for {stated} of {bitrate_bps} bit/s");
            let hint = format!(
                "clocks and tables take {}, which leaves {media}: lower the services' `bitrate`s or raise the channel's",
                bitrate_bps.min(fixed)
            );
            return Err(wrong(&["channel", parent.number, "services"], message, hint));
        }
        Ok(services)
    }

    /// What is said of a service is said where that stands.
    fn belongs_to_services(&self, number: &str) -> Result<(), Violation> {
        let given = [
            ("source", self.source.is_some()),
            ("service_name", self.service_name.is_some()),
            ("service_id", self.service_id.is_some()),
            ("pmt_pid", self.pmt_pid.is_some()),
            ("video_pid", self.video_pid.is_some()),
            ("audio_pid", self.audio_pid.is_some()),
            ("pcr_pid", self.pcr_pid.is_some()),
            ("languages", !self.languages.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((key, _)) => Err(wrong(
                &["channel", number, key],
                format!("`{key}` stands beside `services`, and nobody knows whose it is"),
                format!(
                    "write {key} inside of a service: services = [{{ source = \"live/one\", {key} = … }}]"
                ),
            )),
        }
    }

    /// The destinations, and the rate that they or `bitrate` ask for.
    fn destinations(&self, number: &str, shared: &Headend) -> Result<(Vec<Destination>, u64), Violation> {
        let path = ["channel", number, "to"];
        if self.to.is_empty() || self.to.len() > DESTINATIONS_MAX {
            let message = format!("has {} destinations", self.to.len());
            let hint = format!("list 1 to {DESTINATIONS_MAX}: to = [\"udp://eth1@239.255.1.1:5000\"]");
            return Err(wrong(&path, message, hint));
        }
        let (mut rate, mut found) = (self.bitrate, Vec::with_capacity(self.to.len()));
        for (at, text) in self.to.iter().enumerate() {
            let place = |fault: Fault| fault.at(&["channel", number, "to", &at.to_string()]);
            let (to, asked) = url::destination(text, shared).map_err(place)?;
            if let (Some(asked), Some(rate)) = (asked, rate)
                && asked != rate
            {
                let message = format!("asks for {asked} bit/s where {rate} bit/s was asked for already");
                return Err(place(Fault::new(
                    message,
                    "one channel has one rate: say it once, with `bitrate`",
                )));
            }
            rate = rate.or(asked);
            found.push(to);
        }
        if rate.is_none() && self.mode == passing::Mode::Pass {
            return Ok((found, 0));
        }
        let rate = rate.ok_or_else(|| {
            let hint = "add bitrate = 4_000_000: bits a second, null packets included";
            wrong(&["channel", number], "has no `bitrate`".to_owned(), hint.to_owned())
        })?;
        let key = if self.bitrate.is_some() { "bitrate" } else { "to" };
        in_range(rate, BITRATE).map_err(|fault| fault.at(&["channel", number, key]))?;
        Ok((found, rate))
    }
}

/// Transport stream id and service id of a channel that gives none: a hash of its name (of a service among others: of the
/// channel's name and its stream's) (FNV-1a, 32 bits), half each and
/// never 0 nor 65535. Nothing else goes in, so that they stay when other channels come and go.
fn derived_ids(name: &str) -> (u16, u16) {
    let hash =
        name.bytes().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let id = |half: u32| (half % 0xFFFE + 1) as u16;
    (id(hash >> 16), id(hash & 0xFFFF))
}

fn check_name(name: &str) -> Result<(), Fault> {
    let hint = format!("use 1 to {NAME_BYTES_MAX} bytes of letters, digits and signs such as - and _");
    if name.len() > NAME_BYTES_MAX {
        return Err(Fault::new(format!("has {} bytes", name.len()), hint));
    }
    check_stream(name).map_err(|error| Fault::new(error.to_string(), hint))
}
