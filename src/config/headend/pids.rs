//! PIDs of services: which are theirs by default, and that no two things have the same one.

use super::Fault;
use super::service::{Parent, SERVICES_MAX, Service, ServiceEntry};
use crate::config::diagnostic::Violation;
use std::ops::RangeInclusive;

/// PIDs that belong to the pictures, to the sound, and to anything else, from the first on: one a track.
pub const TRACK_PIDS: u16 = 8;
/// PIDs that may be used: those below belong to tables, the one above to null packets (ISO 13818-1 table 2-3, EN 300 468
/// table 1).
pub(super) const PIDS: RangeInclusive<u64> = 0x20..=0x1FFE;

pub(super) const PMT_PID: u16 = 0x1000;
pub(super) const VIDEO_PID: u16 = 0x0100;
/// From the first video track to the first of sound, and to the first of anything else.
pub(super) const AUDIO_BEHIND: u16 = 0x10;
pub(super) const DATA_BEHIND: u16 = 0x08;
/// PIDs of a service's tracks, where there are several services.
pub(super) const BLOCK_PIDS: u16 = 0x20;
/// Where PIDs of tracks that are neither pictures nor sound may begin in a channel of one service; one of them is free.
const DATA_PIDS: [u16; 4] = [0x0300, 0x0400, 0x0500, 0x0600];

const _: () = assert!(VIDEO_PID + BLOCK_PIDS * SERVICES_MAX as u16 <= PMT_PID);
const _: () = assert!(DATA_BEHIND >= TRACK_PIDS && AUDIO_BEHIND >= DATA_BEHIND + TRACK_PIDS);
const _: () = assert!(AUDIO_BEHIND + TRACK_PIDS <= BLOCK_PIDS);

impl Service {
    /// A place for what is neither pictures nor sound.
    pub(super) fn free_data_pid(&self) -> u16 {
        let firsts = [Some(self.pmt_pid), Some(self.video_pid), Some(self.audio_pid), self.pcr_pid];
        let free = |pid: &u16| firsts.into_iter().flatten().all(|first| first.abs_diff(*pid) >= TRACK_PIDS);
        let [first, ..] = DATA_PIDS;
        DATA_PIDS.into_iter().find(free).unwrap_or(first)
    }

    /// PIDs are apart, and none belongs to somebody else. The key that is wrong comes with the fault.
    pub(super) fn check_pids(&self) -> Result<(), (&'static str, Fault)> {
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

/// What a service has of PIDs, first to last, with the key that says it.
fn pids(service: &Service) -> impl Iterator<Item = (&'static str, u16, u16)> {
    let tracks = |first: u16| first.saturating_add(TRACK_PIDS - 1);
    let clock = service.pcr_pid.unwrap_or(service.video_pid);
    [
        ("pmt_pid", service.pmt_pid, service.pmt_pid),
        ("video_pid", service.video_pid, tracks(service.video_pid)),
        ("audio_pid", service.audio_pid, tracks(service.audio_pid)),
        ("video_pid", service.data_pid, tracks(service.data_pid)),
        ("pcr_pid", clock, clock),
    ]
    .into_iter()
}

impl ServiceEntry {
    /// Whether it says this of its own accord.
    fn says(&self, key: &str) -> bool {
        match key {
            "pmt_pid" => self.pmt_pid.is_some(),
            "video_pid" => self.video_pid.is_some(),
            "audio_pid" => self.audio_pid.is_some(),
            "pcr_pid" => self.pcr_pid.is_some(),
            _ => self.service_id.is_some(),
        }
    }
}

/// Refuses services of one channel that have an id or a PID in common. The place of the fault is what was written: an id or a PID
/// that nobody wrote is not a mistake, one that was written onto it is.
pub(super) fn check_apart(
    services: &[Service],
    entries: &[ServiceEntry],
    parent: &Parent<'_>,
) -> Result<(), Violation> {
    let said = |at: usize, key: &str| entries.get(at).is_some_and(|entry| entry.says(key));
    for (at, service) in services.iter().enumerate() {
        own_data(service).map_err(|fault| parent.fault(Some(at), &["audio_pid"], fault))?;
        for (before, other) in services.iter().take(at).enumerate() {
            if service.service_id == other.service_id {
                let (place, whose) = if said(at, "service_id") || !said(before, "service_id") {
                    (at, &other.name)
                } else {
                    (before, &service.name)
                };
                let message = format!("service `{whose}` has the service id {} too", service.service_id);
                let hint = "give each service of a channel an id of its own: set-top boxes know it by that";
                return Err(parent.fault(Some(place), &["service_id"], Fault::new(message, hint)));
            }
            let theirs = || pids(other);
            let clash = pids(service).find_map(|(key, first, last)| {
                let (their_key, from, _) = theirs().find(|(_, from, to)| first <= *to && *from <= last)?;
                Some((key, their_key, first.max(from)))
            });
            let Some((key, their_key, pid)) = clash else { continue };
            let (place, key, whose) = if said(at, key) || !said(before, their_key) {
                (at, key, &other.name)
            } else {
                (before, their_key, &service.name)
            };
            let message = format!("PID {pid} belongs to service `{whose}`");
            let hint = format!(
                "leave out the PIDs, or keep {TRACK_PIDS} from audio_pid on and {} from video_pid on apart from all others; \
                 service number N, from 0, has {BLOCK_PIDS} from {VIDEO_PID} + {BLOCK_PIDS} N on, and {PMT_PID} + N",
                DATA_BEHIND + TRACK_PIDS
            );
            return Err(parent.fault(Some(place), &[key], Fault::new(message, hint)));
        }
    }
    Ok(())
}

/// The PIDs behind the pictures' are those of what is neither pictures nor sound: nothing else of the service is there.
fn own_data(service: &Service) -> Result<(), Fault> {
    let last = service.data_pid.saturating_add(TRACK_PIDS - 1);
    let tables = service.data_pid..=last;
    let sound = service.audio_pid..=service.audio_pid.saturating_add(TRACK_PIDS - 1);
    let taken =
        [Some(service.pmt_pid), service.pcr_pid].into_iter().flatten().find(|pid| tables.contains(pid));
    let sound = sound.contains(&service.data_pid) || tables.contains(&service.audio_pid);
    let pid = if sound { Some(service.audio_pid) } else { taken };
    match pid.or((u64::from(last) > *PIDS.end()).then_some(last)) {
        None => Ok(()),
        Some(pid) => Err(Fault::new(
            format!(
                "{pid} is one of the {TRACK_PIDS} PIDs behind the video tracks', for subtitles and other data"
            ),
            format!(
                "keep {} PIDs from video_pid on free, where there are several services",
                DATA_BEHIND + TRACK_PIDS
            ),
        )),
    }
}
