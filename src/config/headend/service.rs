//! A service of a channel: the only one, as the keys of `[[channel]]` say it, or one of `services`.
//!
//! Where there are several, those that name no PIDs have a block each, by their place in the list: service `n` has 32 PIDs from
//! 0x100 + 32 n on for its tracks, and its table on 0x1000 + n. The first one has the PIDs of a channel with one service.

use super::channel::RATE_BPS_MIN;
use super::pids::{AUDIO_BEHIND, BLOCK_PIDS, DATA_BEHIND, PMT_PID, VIDEO_PID};
use super::{Fault, in_range, service_text, stream_name};
use crate::config::diagnostic::Violation;
use serde::Deserialize;

/// Services of one channel: as many as the multiplexer can send the tables of in their time.
pub const SERVICES_MAX: usize = 16;
/// Audio tracks that can have a language of their own.
pub const LANGUAGES_MAX: usize = 8;

/// One service of a channel, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The stream, `APP/STREAM`.
    pub source: String,
    /// Service name (EN 300 468 section 6.2.33), 1 to 120 bytes of UTF-8.
    pub name: String,
    /// Service provider, likewise.
    pub provider: String,
    /// Service id, never 0; from the channel's name (and the stream's, where there are several) unless it is given.
    pub service_id: u16,
    /// Bits a second that its pictures and sound may always take; `None` is an equal part of what others leave.
    pub bitrate_bps: Option<u64>,
    /// PID of the program's table.
    pub pmt_pid: u16,
    /// PID of the first video track; the next ones follow.
    pub video_pid: u16,
    /// PID of the first audio track; the next ones follow.
    pub audio_pid: u16,
    /// PID of the first track of anything else; the next ones follow.
    pub data_pid: u16,
    /// PID of the clock; `None` is the first video track's.
    pub pcr_pid: Option<u16>,
    /// Languages of the audio tracks in their order (ISO 639-2, three small letters each).
    pub languages: Vec<[u8; 3]>,
}

/// One of `services` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct ServiceEntry {
    pub source: Option<String>,
    pub service_name: Option<String>,
    pub provider: Option<String>,
    pub service_id: Option<u16>,
    pub bitrate: Option<u64>,
    pub pmt_pid: Option<u16>,
    pub video_pid: Option<u16>,
    pub audio_pid: Option<u16>,
    pub pcr_pid: Option<u16>,
    pub languages: Vec<String>,
}

/// The channel that a service belongs to.
pub(super) struct Parent<'a> {
    /// Its place among channels, as paths have it.
    pub number: &'a str,
    pub channel: &'a str,
    pub provider: &'a str,
}

impl Parent<'_> {
    /// The fault of a key of service `at`, or of the channel's only one.
    pub fn fault(&self, at: Option<usize>, rest: &[&str], fault: Fault) -> Violation {
        let at = at.map(|at| at.to_string());
        let mut path = vec!["channel", self.number];
        path.extend(at.as_deref().into_iter().flat_map(|at| ["services", at]));
        path.extend(rest);
        fault.at(&path)
    }
}

impl ServiceEntry {
    /// Completes service `at` of its channel, or the only one; `service_id` is for one that gives none.
    pub fn resolve(
        &self,
        parent: &Parent<'_>,
        at: Option<usize>,
        service_id: u16,
    ) -> Result<Service, Violation> {
        let wrong_at = |key: &str, fault: Fault| parent.fault(at, &[key], fault);
        let source = self.source.as_deref().ok_or_else(|| {
            let hint = "add source = \"live/one\": the stream it sends";
            parent.fault(at, &[], Fault::new("has no `source`", hint))
        })?;
        stream_name(source).map_err(|fault| wrong_at("source", fault))?;
        let stream = source.rsplit_once('/').map_or(source, |(_, stream)| stream);
        let name = self.service_name.as_deref().unwrap_or(if at.is_some() { stream } else { parent.channel });
        service_text(name).map_err(|fault| wrong_at("service_name", fault))?;
        let provider = self.provider.as_deref().unwrap_or(parent.provider);
        service_text(provider).map_err(|fault| wrong_at("provider", fault))?;
        let service_id = self.service_id.unwrap_or(service_id);
        // Service 0 is the network's table (ISO 13818-1 section 2.4.4.5).
        in_range(service_id.into(), 1..=0xFFFF).map_err(|fault| wrong_at("service_id", fault))?;
        if let Some(rate) = self.bitrate {
            in_range(rate, RATE_BPS_MIN / 2..=200_000_000).map_err(|fault| wrong_at("bitrate", fault))?;
        }
        let place = at.unwrap_or(0) as u16;
        let video_pid = self.video_pid.unwrap_or(VIDEO_PID + place * BLOCK_PIDS);
        // Beside pictures that were placed stands the sound.
        let behind = |pids: u16| match self.video_pid.filter(|_| at.is_some()) {
            Some(video_pid) => video_pid.saturating_add(pids),
            None => VIDEO_PID + place * BLOCK_PIDS + pids,
        };
        let mut service = Service {
            source: source.to_owned(),
            name: name.to_owned(),
            provider: provider.to_owned(),
            service_id,
            bitrate_bps: self.bitrate,
            pmt_pid: self.pmt_pid.unwrap_or(PMT_PID + place),
            video_pid,
            audio_pid: self.audio_pid.unwrap_or(behind(AUDIO_BEHIND)),
            data_pid: behind(DATA_BEHIND),
            pcr_pid: self.pcr_pid,
            languages: languages(&self.languages).map_err(|(which, fault)| {
                let which = which.map(|which| which.to_string());
                let path: Vec<&str> = ["languages"].into_iter().chain(which.as_deref()).collect();
                parent.fault(at, &path, fault)
            })?,
        };
        if at.is_none() {
            service.data_pid = service.free_data_pid();
        }
        service.check_pids().map_err(|(key, fault)| wrong_at(key, fault))?;
        Ok(service)
    }
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
