//! What a channel says of itself, and where its packets are.

use crate::wire::ts::pid;

/// Lowest rate of a multiplex, in bits a second. A packet takes 7.5 ms there, so that each fifth is a clock, and with the
/// tables nearly half of the rate is gone; below, long tables would not come in their time any more.
pub const RATE_BPS_MIN: u64 = 200_000;
/// Highest rate: of a link of 1 Gbit/s.
pub const RATE_BPS_MAX: u64 = 1_000_000_000;
/// PIDs below belong to tables of DVB.
const PID_MIN: u16 = 0x20;
/// PIDs above are for fillers.
const PID_MAX: u16 = pid::NULL - 1;

/// A service and the multiplex that it has for itself.
///
/// Tracks get PIDs by their kind and number: video `n` of the source is at `video_pid + n`, and so are sound and data; a PID
/// that something else has is left out. Numbers follow from the order in the first map that a source tells, so a set-top box
/// finds the same tracks where they were after a change of the source and after a restart. Only tracks that come and go while
/// a source runs are numbered by history: those that stay, stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Rate of the whole multiplex, nulls included, in bits a second; see [`RATE_BPS_MIN`], [`RATE_BPS_MAX`].
    pub rate_bps: u64,
    /// `transport_stream_id`.
    pub stream_id: u16,
    /// `network_id` and `original_network_id`.
    pub network_id: u16,
    /// `service_id`, which is the program's number; not 0.
    pub service_id: u16,
    /// `service_type` of EN 300 468 table 87: 1 television, 2 radio.
    pub service_type: u8,
    /// What viewers choose by.
    pub name: String,
    /// Who offers it.
    pub provider: String,
    /// Name in the NIT.
    pub network_name: String,
    /// PID of the PMT.
    pub pmt_pid: u16,
    /// PID of the first track of video.
    pub video_pid: u16,
    /// PID of the first track of audio.
    pub audio_pid: u16,
    /// PID of the first of anything else: subtitles, teletext.
    pub data_pid: u16,
    /// PID of the clock; `None`: of the first track of video, or of audio where there is no video.
    pub pcr_pid: Option<u16>,
    /// Languages of the tracks of audio (ISO 639-2), in order; they replace what the source says.
    pub languages: Vec<[u8; 3]>,
    /// AC-3 and E-AC-3 as DVB announces them (stream type 6 with descriptors 0x6A, 0x7A) where the source has them as
    /// ATSC does (0x81, 0x87).
    pub dvb_ac3: bool,
    /// With a NIT.
    pub nit: bool,
    /// With a TDT.
    pub time: bool,
    /// With a TOT as well: what local time is.
    pub local_time: Option<LocalTime>,
    /// What the clock says at the first packet, in ticks of 27 MHz. If it follows the wall clock, receivers hardly notice
    /// that a process was replaced.
    pub clock: u64,
}

/// Local time of a country, without daylight saving that begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// ISO 3166 code of three letters.
    pub country: [u8; 3],
    /// What it is ahead of UTC, in minutes; at most 13 hours either way.
    pub offset_minutes: i16,
}

impl Default for Service {
    /// 4 Mbit/s, PIDs as ffmpeg and this gateway's HTTP-TS have them, a network number of those that are nobody's.
    fn default() -> Service {
        Service {
            rate_bps: 4_000_000,
            stream_id: 1,
            network_id: 0xFF01,
            service_id: 1,
            service_type: 1,
            name: String::new(),
            provider: "headgate".to_owned(),
            network_name: "headgate".to_owned(),
            pmt_pid: 0x1000,
            video_pid: 0x100,
            audio_pid: 0x200,
            data_pid: 0x300,
            pcr_pid: None,
            languages: Vec::new(),
            dvb_ac3: false,
            nit: false,
            time: false,
            local_time: None,
            clock: 0,
        }
    }
}

impl Service {
    /// What is wrong with it, for people; `None`: nothing. A [`Mux`](super::Mux) takes any service and panics with none;
    /// what is sent for one with a problem is nothing that a receiver could read.
    pub fn problem(&self) -> Option<&'static str> {
        let firsts = [Some(self.pmt_pid), Some(self.video_pid), Some(self.audio_pid), Some(self.data_pid)];
        let all = || firsts.into_iter().flatten();
        let clock = self.pcr_pid;
        if !(RATE_BPS_MIN..=RATE_BPS_MAX).contains(&self.rate_bps) {
            return Some("the rate is not between 200 kbit/s and 1 Gbit/s");
        }
        if self.service_id == 0 {
            return Some("service 0 is the network's own table");
        }
        if all().chain(clock).any(|pid| !(PID_MIN..=PID_MAX).contains(&pid)) {
            return Some("PIDs below 0x20 and PID 0x1FFF are reserved");
        }
        if all().enumerate().any(|(at, pid)| all().take(at).any(|before| before == pid)) {
            return Some("two things have the same PID");
        }
        if clock == Some(self.pmt_pid) {
            return Some("the clock has the PID of the PMT");
        }
        None
    }

    /// The PID of the clock before anything is known of a source.
    pub(super) fn first_pcr_pid(&self) -> u16 {
        self.pcr_pid.unwrap_or(self.video_pid)
    }

    /// The rate, in any case one that can be calculated with.
    pub(super) fn rate(&self) -> u64 {
        self.rate_bps.clamp(RATE_BPS_MIN, RATE_BPS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_found() {
        let good = Service::default();
        assert_eq!(good.problem(), None);
        let close = Service { pmt_pid: 100, video_pid: 101, audio_pid: 102, data_pid: 103, ..good.clone() };
        assert_eq!(close.problem(), None);
        assert_eq!(Service { pcr_pid: Some(101), ..close.clone() }.problem(), None);
        for bad in [
            Service { rate_bps: RATE_BPS_MIN - 1, ..good.clone() },
            Service { rate_bps: u64::MAX, ..good.clone() },
            Service { service_id: 0, ..good.clone() },
            Service { video_pid: 0x1F, ..good.clone() },
            Service { audio_pid: 0x1FFF, ..good.clone() },
            Service { pcr_pid: Some(0), ..good.clone() },
            Service { pcr_pid: Some(0x1000), ..good.clone() },
            Service { audio_pid: 0x100, ..good.clone() },
            Service { data_pid: 0x1000, ..good.clone() },
        ] {
            assert!(bad.problem().is_some(), "{bad:?}");
        }
    }
}
