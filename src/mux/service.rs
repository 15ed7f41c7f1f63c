//! What one service says of itself, and where its packets are.

use super::multiplex::{RATE_BPS_MIN, TRACK_PIDS};
use crate::wire::ts::pid;

/// PIDs below belong to tables of DVB.
const PID_MIN: u16 = 0x20;
/// PIDs above are for fillers.
const PID_MAX: u16 = pid::NULL - 1;

/// A service of a [`Multiplex`](super::Multiplex).
///
/// Tracks get PIDs by their kind and number: video `n` of the source is at `video_pid + n`, and so are sound and data; a PID
/// that something else of it has is left out. Where there are several services, each kind has eight PIDs, and nothing is left
/// out: they must be apart. Numbers follow from the order in the first map that a source tells, so a set-top box
/// finds the same tracks where they were after a change of the source and after a restart. Only tracks that come and go while
/// a source runs are numbered by history: those that stay, stay where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `service_id`, which is the program's number; not 0.
    pub service_id: u16,
    /// `service_type` of EN 300 468 table 87: 1 television, 2 radio.
    pub service_type: u8,
    /// What viewers choose by.
    pub name: String,
    /// Who offers it.
    pub provider: String,
    /// What its pictures, sound and data may always take, whole packets, in bits a second; `None`: an equal part of what others
    /// leave. It may take more while others do not need theirs; where not everything fits, it loses what is more.
    pub rate_bps: Option<u64>,
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
}

impl Default for Service {
    /// PIDs as ffmpeg and this gateway's HTTP-TS have them.
    fn default() -> Service {
        Service {
            service_id: 1,
            service_type: 1,
            name: String::new(),
            provider: "headgate".to_owned(),
            rate_bps: None,
            pmt_pid: 0x1000,
            video_pid: 0x100,
            audio_pid: 0x200,
            data_pid: 0x300,
            pcr_pid: None,
            languages: Vec::new(),
            dvb_ac3: false,
        }
    }
}

impl Service {
    /// What is wrong with it alone, for people; `None`: nothing.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let firsts = [Some(self.pmt_pid), Some(self.video_pid), Some(self.audio_pid), Some(self.data_pid)];
        let all = || firsts.into_iter().flatten();
        let clock = self.pcr_pid;
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
        if self.rate_bps.is_some_and(|rate| rate < RATE_BPS_MIN / 2) {
            return Some("a service's rate is below 100 kbit/s");
        }
        None
    }

    /// The PID of the clock before anything is known of a source.
    pub(super) fn first_pcr_pid(&self) -> u16 {
        self.pcr_pid.unwrap_or(self.video_pid)
    }

    /// Its kinds of tracks, its PMT and its clock have PIDs of their own, all of them.
    pub(super) fn is_spread(&self) -> bool {
        let firsts = [self.video_pid, self.audio_pid, self.data_pid];
        let apart = |(at, first): (usize, &u16)| {
            firsts.iter().take(at).all(|other| other.abs_diff(*first) >= TRACK_PIDS)
        };
        let is_track = |pid: u16| firsts.iter().any(|first| (*first..first + TRACK_PIDS).contains(&pid));
        let exists = |first: &u16| first + (TRACK_PIDS - 1) <= PID_MAX;
        firsts.iter().all(exists)
            && firsts.iter().enumerate().all(apart)
            && !is_track(self.pmt_pid)
            && self.pcr_pid.is_none_or(|pid| firsts.contains(&pid) || !is_track(pid))
    }

    /// Whether another service has any of its PIDs.
    pub(super) fn clashes(&self, other: &Service) -> bool {
        let ranges = |of: &Service| {
            let one = |pid| (pid, pid);
            let tracks = |first: u16| (first, first.saturating_add(TRACK_PIDS - 1));
            [
                one(of.pmt_pid),
                tracks(of.video_pid),
                tracks(of.audio_pid),
                tracks(of.data_pid),
                one(of.first_pcr_pid()),
            ]
        };
        let theirs = ranges(other);
        ranges(self).iter().any(|(from, to)| theirs.iter().any(|(first, last)| from <= last && first <= to))
    }
}
