//! `[[channel]]`: one stream that leaves as a transport stream, at a constant rate or as its source has sent it.

mod passing;

pub use passing::Passing;

use super::place::Destination;
use super::{Fault, Headend, in_range, required, service_text, stream_name, url};
use crate::config::diagnostic::Violation;
use crate::config::name::check_stream;
use crate::config::validate::wrong;
use serde::Deserialize;
use std::ops::RangeInclusive;

/// Longest name, in bytes: it stands in metrics and log lines.
const NAME_BYTES_MAX: usize = 64;
/// Destinations of one channel.
const DESTINATIONS_MAX: usize = 16;
/// Audio tracks that can have a language of their own.
pub const LANGUAGES_MAX: usize = 8;
/// PIDs that belong to the pictures, and to the sound, from the first on: one a track.
pub const TRACK_PIDS: u16 = 8;
/// PIDs that may be used: those below belong to tables, the one above to null packets (ISO 13818-1 table 2-3, EN 300 468
/// table 1).
const PIDS: RangeInclusive<u64> = 0x20..=0x1FFE;
/// Lowest rate of the whole multiplex, in bits a second: the multiplexer's own bound. Below it one packet takes longer than
/// what is left between the intervals of clock and tables that it aims at and those that it promises.
pub const RATE_BPS_MIN: u64 = 200_000;
/// The rates that can be asked for; above them a tick would be a burst.
const BITRATE: RangeInclusive<u64> = RATE_BPS_MIN..=200_000_000;

const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x0100;
const AUDIO_PID: u16 = 0x0110;

/// One stream that leaves as a transport stream: made anew, at a constant rate and with one service, or as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What metrics and log lines call it; no two channels have one name.
    pub name: String,
    /// The stream, `APP/STREAM`.
    pub source: String,
    /// Where it goes, 1 to 16 places.
    pub to: Vec<Destination>,
    /// Whether its source's own packets are sent, and how; `None`: it is made anew at a constant rate.
    pub passing: Option<Passing>,
    /// Bits a second of the transport stream, null packets included; of one that is passed on what is planned for it, 0 if
    /// nothing is.
    pub bitrate_bps: u64,
    /// Service name (EN 300 468 section 6.2.33), 1 to 120 bytes of UTF-8.
    pub service_name: String,
    /// Service provider, likewise.
    pub provider: String,
    /// Service id, never 0; from the name unless it is given.
    pub service_id: u16,
    /// Transport stream id; from the name unless it is given.
    pub stream_id: u16,
    /// PID of the program's table.
    pub pmt_pid: u16,
    /// PID of the first video track; the next ones follow.
    pub video_pid: u16,
    /// PID of the first audio track; the next ones follow.
    pub audio_pid: u16,
    /// PID of the clock; `None` is the first video track's.
    pub pcr_pid: Option<u16>,
    /// Languages of the audio tracks in their order (ISO 639-2, three small letters each).
    pub languages: Vec<[u8; 3]>,
    /// Whether a network information table is sent.
    pub nit: bool,
    /// Whether the date and time are sent (TDT), from this machine's clock.
    pub tdt: bool,
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
    languages: Vec<String>,
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
        let source = must(self.source.as_ref(), "source", "add source = \"live/one\": the stream it sends")?;
        stream_name(source).map_err(|fault| fault.at(&path("source")))?;
        let (to, bitrate_bps) = self.destinations(&number, shared)?;
        let service_name = self.service_name.as_deref().unwrap_or(name);
        service_text(service_name).map_err(|fault| fault.at(&path("service_name")))?;
        let provider = self.provider.as_deref().unwrap_or(&shared.provider);
        service_text(provider).map_err(|fault| fault.at(&path("provider")))?;
        let passing = self.passing().map_err(|(key, fault)| fault.at(&path(key)))?;
        let (stream_id, service_id) = derived_ids(name);
        let channel = Channel {
            name: name.to_owned(),
            source: source.to_owned(),
            to,
            passing,
            bitrate_bps,
            service_name: service_name.to_owned(),
            provider: provider.to_owned(),
            service_id: self.service_id.unwrap_or(service_id),
            stream_id: self.stream_id.unwrap_or(stream_id),
            pmt_pid: self.pmt_pid.unwrap_or(PMT_PID),
            video_pid: self.video_pid.unwrap_or(VIDEO_PID),
            audio_pid: self.audio_pid.unwrap_or(AUDIO_PID),
            pcr_pid: self.pcr_pid,
            languages: languages(&self.languages).map_err(|(at, fault)| {
                let at = at.map(|at| at.to_string());
                let mut path = path("languages").to_vec();
                path.extend(at.as_deref());
                fault.at(&path)
            })?,
            nit: self.nit,
            tdt: self.tdt,
        };
        // Service 0 is the network's table (ISO 13818-1 section 2.4.4.5).
        in_range(channel.service_id.into(), 1..=0xFFFF).map_err(|fault| fault.at(&path("service_id")))?;
        channel.check_pids().map_err(|(key, fault)| fault.at(&path(key)))?;
        Ok(channel)
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

impl Channel {
    /// PIDs are apart, and none belongs to somebody else. The key that is wrong comes with the fault.
    fn check_pids(&self) -> Result<(), (&'static str, Fault)> {
        let tracks = |first: u16| first..=first.saturating_add(TRACK_PIDS - 1);
        let (video, audio) = (tracks(self.video_pid), tracks(self.audio_pid));
        for (key, pid, last) in [
            ("pmt_pid", self.pmt_pid, self.pmt_pid),
            ("video_pid", self.video_pid, *video.end()),
            ("audio_pid", self.audio_pid, *audio.end()),
            ("pcr_pid", self.pcr_pid.unwrap_or(self.video_pid), self.pcr_pid.unwrap_or(self.video_pid)),
        ] {
            if !PIDS.contains(&pid.into()) || !PIDS.contains(&last.into()) {
                let tracks = if last > pid {
                    format!("; it and the {} behind it are the tracks'", TRACK_PIDS - 1)
                } else {
                    String::new()
                };
                let hint = format!("use {} to {}{tracks}", PIDS.start(), PIDS.end() - u64::from(last - pid));
                return Err((key, Fault::new(format!("{pid} is out of range"), hint)));
            }
        }
        let apart = || {
            format!(
                "the {TRACK_PIDS} PIDs from video_pid on, those from audio_pid on and pmt_pid must be apart"
            )
        };
        let clash =
            |key, pid: u16, other: &str| Err((key, Fault::new(format!("{pid} is also {other}"), apart())));
        if video.contains(&self.audio_pid) || audio.contains(&self.video_pid) {
            return clash("audio_pid", self.audio_pid, "one of the video tracks'");
        }
        if video.contains(&self.pmt_pid) || audio.contains(&self.pmt_pid) {
            return clash("pmt_pid", self.pmt_pid, "one of the tracks'");
        }
        match self.pcr_pid {
            Some(pid) if pid == self.pmt_pid => clash("pcr_pid", pid, "that of the program's table"),
            Some(pid) if pid != self.video_pid && video.contains(&pid) => {
                clash("pcr_pid", pid, "that of a track which may not be there")
            }
            Some(pid) if pid != self.audio_pid && audio.contains(&pid) => {
                clash("pcr_pid", pid, "that of a track which may not be there")
            }
            _ => Ok(()),
        }
    }
}

/// Transport stream id and service id of a channel that gives none: a hash of its name (FNV-1a, 32 bits), half each and
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

/// The languages; where one is wrong, its place in the list.
fn languages(list: &[String]) -> Result<Vec<[u8; 3]>, (Option<usize>, Fault)> {
    if list.len() > LANGUAGES_MAX {
        let hint = format!("use at most {LANGUAGES_MAX}, one for each audio track");
        return Err((None, Fault::new(format!("lists {} languages", list.len()), hint)));
    }
    let code = |text: &String| {
        <[u8; 3]>::try_from(text.as_bytes()).ok().filter(|code| code.iter().all(u8::is_ascii_lowercase))
    };
    list.iter()
        .enumerate()
        .map(|(at, text)| {
            let hint = "write three small letters of ISO 639-2: \"eng\", \"deu\", \"und\"";
            code(text).ok_or_else(|| (Some(at), Fault::new(format!("{text:?} is not a language"), hint)))
        })
        .collect()
}
