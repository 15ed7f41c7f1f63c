//! `mode = "pass"`: a channel that sends its source's own packets, as they came or with other PIDs and another identity.

use super::super::pids::PIDS;
use super::super::{Aac, Fault, in_range};
use super::ChannelEntry;
use serde::Deserialize;
use std::ops::RangeInclusive;

/// Milliseconds that packets are held: what networks move them by, and the longest interval of PCRs, which is 100; two seconds
/// are more than any network needs.
const DELAY_MS: RangeInclusive<u64> = 100..=2000;
/// The default.
const DELAY_MS_DEFAULT: u64 = 200;
/// PIDs that one channel may move.
const PIDS_MAX: usize = 64;

/// What a channel is made of.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Mode {
    /// Made anew, at a constant rate.
    #[default]
    Cbr,
    /// Its source's own packets.
    Pass,
}

/// How a source's own packets are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passing {
    /// Milliseconds that packets are held, so that they leave evenly.
    pub delay_ms: u64,
    /// PIDs that are moved, from and to.
    pub pids: Vec<(u16, u16)>,
    /// The service's new number, if it is to have one.
    pub service_id: Option<u16>,
    /// The stream's new id.
    pub stream_id: Option<u16>,
    /// The service's new name.
    pub service_name: Option<String>,
    /// Its new provider.
    pub provider: Option<String>,
}

impl ChannelEntry {
    /// What the keys say of passing; one that belongs to the other mode comes with the fault.
    pub(super) fn passing(&self) -> Result<Option<Passing>, (&'static str, Fault)> {
        let pass = self.mode == Mode::Pass;
        let (of, wrong) = match pass {
            true => (
                "cbr",
                [
                    ("pmt_pid", self.pmt_pid.is_some()),
                    ("video_pid", self.video_pid.is_some()),
                    ("audio_pid", self.audio_pid.is_some()),
                    ("pcr_pid", self.pcr_pid.is_some()),
                    ("languages", !self.languages.is_empty()),
                    ("nit", self.nit),
                    ("tdt", self.tdt),
                    ("services", !self.services.is_empty()),
                    ("aac", self.aac != Aac::default()),
                ],
            ),
            false => {
                let none = ("mode", false);
                // What says nothing new may stand anywhere.
                let delayed = self.delay_ms.is_some_and(|ms| ms != DELAY_MS_DEFAULT);
                let keys = [("delay_ms", delayed), ("pids", !self.pids.is_empty())];
                ("pass", [keys[0], keys[1], none, none, none, none, none, none, none])
            }
        };
        if let Some((key, _)) = wrong.into_iter().find(|(_, given)| *given) {
            let hint =
                format!("leave it out, or set mode = \"{of}\"; `pids` moves PIDs of what is passed on");
            return Err((key, Fault::new(format!("belongs to mode \"{of}\""), hint)));
        }
        if !pass {
            return Ok(None);
        }
        let delay_ms = self.delay_ms.unwrap_or(DELAY_MS_DEFAULT);
        in_range(delay_ms, DELAY_MS).map_err(|fault| ("delay_ms", fault))?;
        let pids = self.moved().map_err(|fault| ("pids", fault))?;
        Ok(Some(Passing {
            delay_ms,
            pids,
            service_id: self.service_id,
            stream_id: self.stream_id,
            service_name: self.service_name.clone(),
            provider: self.provider.clone(),
        }))
    }

    fn moved(&self) -> Result<Vec<(u16, u16)>, Fault> {
        let hint = format!("write pids = {{ 256 = 512 }}: PIDs from {} to {}", PIDS.start(), PIDS.end());
        if self.pids.len() > PIDS_MAX {
            return Err(Fault::new(format!("moves {} PIDs", self.pids.len()), format!("at most {PIDS_MAX}")));
        }
        let mut pids: Vec<(u16, u16)> = Vec::new();
        for (from, to) in &self.pids {
            let wrong = |what: &str| Fault::new(format!("{from} = {to}: {what}"), &hint);
            let from: u16 = from.parse().map_err(|_| wrong("the first is no PID"))?;
            if [from, *to].iter().any(|pid| !PIDS.contains(&u64::from(*pid))) {
                return Err(wrong("PIDs of tables and of null packets stay where they are"));
            }
            if pids.iter().any(|(_, other)| other == to) {
                return Err(wrong("another PID is moved there too"));
            }
            pids.push((from, *to));
        }
        Ok(pids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(keys: &str) -> Result<Option<Passing>, String> {
        let head = "[[channel]]\nname = \"a\"\nsource = \"live/a\"\nto = [\"udp://127.0.0.1:5000\"]\n";
        let config = Config::parse(&format!("{head}{keys}"), "f").map_err(|error| error.to_string())?;
        Ok(config.channels[0].passing.clone())
    }

    #[test]
    fn what_is_not_said_is_not_changed() {
        let plain = Passing { delay_ms: DELAY_MS_DEFAULT, ..Passing::default() };
        assert_eq!(parse("mode = \"pass\""), Ok(Some(plain.clone())));
        assert_eq!(parse("mode = \"pass\"\nbitrate = 4000000"), Ok(Some(plain)));
        assert_eq!(parse("mode = \"cbr\"\nbitrate = 4000000"), Ok(None));
        assert_eq!(parse("bitrate = 4000000"), Ok(None));
        let keys = "mode = \"pass\"\ndelay_ms = 500\npids = { 256 = 4096, 257 = 4097 }\nservice_id = 7\nservice_name = \"Sieben\"";
        let expected = Passing {
            delay_ms: 500,
            pids: vec![(256, 4096), (257, 4097)],
            service_id: Some(7),
            service_name: Some("Sieben".to_owned()),
            ..Passing::default()
        };
        assert_eq!(parse(keys), Ok(Some(expected)));
    }

    #[test]
    fn keys_of_the_other_mode_are_refused() {
        for (keys, told) in [
            ("mode = \"cbr\"", "has no `bitrate`"),
            ("mode = \"pas\"", "unknown value"),
            ("mode = \"pass\"\nvideo_pid = 300", "belongs to mode \"cbr\""),
            ("mode = \"pass\"\nlanguages = [\"deu\"]", "belongs to mode \"cbr\""),
            ("mode = \"pass\"\ntdt = true", "belongs to mode \"cbr\""),
            ("mode = \"pass\"\naac = \"latm\"", "belongs to mode \"cbr\""),
            ("bitrate = 4000000\npids = { 256 = 4096 }", "belongs to mode \"pass\""),
            ("bitrate = 4000000\ndelay_ms = 300", "belongs to mode \"pass\""),
            ("mode = \"pass\"\ndelay_ms = 99", "out of range"),
            ("mode = \"pass\"\npids = { 256 = 17 }", "stay where they are"),
            ("mode = \"pass\"\npids = { 256 = 4096, 257 = 4096 }", "another PID is moved there too"),
            ("mode = \"pass\"\npids = { video = 4096 }", "is no PID"),
        ] {
            let error = parse(keys).unwrap_err();
            assert!(error.contains(told), "{keys}: {error}");
        }
    }
}
