//! The channel's PID map: which track of the source is sent where, and the PMT that says so.
//!
//! The first map behind a seam (and behind the beginning) numbers the tracks of each kind in its order, whatever was before:
//! a process that was replaced finds the same. From then on a track keeps its number as long as the source has it on the
//! same PID, and one that is new takes the lowest free number of its kind. What PID a number has is decided by the service
//! alone ([`Plan`]), and counters of PIDs run on over everything. Sections (SCTE-35, DSM-CC) are not carried: they have
//! no PES header whose times could be restamped.

use super::Program;
use super::recovery::TRACKS_MAX;
use super::track::Track;
use crate::mux::carousel::Carousel;
use crate::mux::multiplex::TRACK_PIDS;
use crate::mux::service::Service;
use crate::mux::ticker::Ticker;
use crate::wire::ts::descriptor::{Class, Descriptors, classify, tag};
use crate::wire::ts::tables::Stream;
use crate::wire::ts::write::descriptor as write;
use crate::wire::ts::write::section::Component;
use crate::wire::ts::{pid, stream_type};

/// Tracks of video, of sound, and of data.
const VIDEO_MAX: u16 = 8;
const AUDIO_MAX: u16 = 16;
const DATA_MAX: u16 = 8;
const _: () = assert!((VIDEO_MAX + AUDIO_MAX + DATA_MAX) as usize <= TRACKS_MAX);

/// A track as the source tells it.
struct Told {
    pid: u16,
    class: Class,
    stream_type: u8,
    descriptors: Vec<u8>,
}

impl Program {
    /// Follows the source's map. One without anything that can be carried changes nothing.
    pub(super) fn adopt(&mut self, now: i64, ticker: &Ticker, carousel: &mut Carousel) {
        let Some(map) = self.source.map() else { return };
        let whole = plain(map.descriptors);
        let mut told: Vec<Told> = Vec::new();
        let mut left_out = 0;
        for stream in map.streams() {
            let known = told.iter().any(|other| other.pid == stream.pid);
            match carried(&stream, map.descriptors).filter(|_| !known) {
                Some(class) => told.push(Told {
                    pid: stream.pid,
                    class,
                    stream_type: stream.stream_type,
                    descriptors: plain(stream.descriptors),
                }),
                None => left_out += 1,
            }
        }
        if told.is_empty() {
            self.tally.tracks_left_out += left_out;
            return;
        }
        let in_order = std::mem::take(&mut self.renumber);
        for track in &mut self.tracks {
            let stays = |other: &Told| Some(other.pid) == track.source_pid && other.class == track.class;
            if in_order || !told.iter().any(stays) {
                track.source_pid = None;
            }
        }
        let next = carousel.revision(self.number) + 1;
        for told in told {
            left_out += u64::from(self.assign(now, told, next).is_none());
        }
        for at in 0..self.tracks.len() {
            let Some(track) = self.tracks.get_mut(at).filter(|track| track.source_pid.is_none()) else {
                continue;
            };
            track.flush(&mut self.pool, &mut self.tally);
        }
        // At once where it is written, which may be behind what is fed.
        left_out += self.announce(now.min(ticker.now()), whole, carousel);
        self.tally.tracks_left_out += left_out;
        self.pids.clear();
        let here = self.tracks.iter().enumerate();
        self.pids.extend(here.filter_map(|(at, track)| Some((track.source_pid?, at))));
    }

    /// Gives a track its place; `None`: there is none. `next`: number of the PMT that will say so.
    fn assign(&mut self, now: i64, told: Told, next: u64) -> Option<()> {
        let of_class = || self.tracks.iter().enumerate().filter(|(_, track)| track.class == told.class);
        let same = of_class().find(|(_, track)| track.source_pid == Some(told.pid)).map(|(at, _)| at);
        let at = match same {
            Some(at) => at,
            None => {
                let is_free = |(number, _): &(u16, u16)| {
                    of_class().all(|(_, track)| track.number != *number || track.source_pid.is_none())
                };
                let (number, pid) = self.plan.places(told.class).find(is_free)?;
                let before = of_class().find(|(_, track)| track.number == number).map(|(at, _)| at);
                before.unwrap_or_else(|| {
                    self.tracks.push(Track::new(told.class, number, pid, self.most_bps, self.of));
                    self.tracks.len() - 1
                })
            }
        };
        let track = self.tracks.get_mut(at)?;
        if track.source_pid != Some(told.pid) {
            track.seam(&mut self.pool, &mut self.tally);
            track.here_since = now;
        }
        // A type may stand for many codings, which descriptors tell apart.
        let coding = |stream_type, descriptors| {
            classify(stream_type, Descriptors::new(descriptors), Descriptors::new(&[])).0
        };
        let fresh = track.stream_type != told.stream_type
            || coding(track.stream_type, &track.descriptors) != coding(told.stream_type, &told.descriptors);
        if fresh {
            track.flush(&mut self.pool, &mut self.tally);
            // Whoever reads must know first what it is.
            track.revision = next;
        }
        track.source_pid = Some(told.pid);
        (track.stream_type, track.descriptors) = (told.stream_type, told.descriptors);
        Some(())
    }

    /// Writes the PMT of the tracks that are there, without those for which it has no room; tells how many those are.
    fn announce(&mut self, now: i64, whole: Vec<u8>, carousel: &mut Carousel) -> u64 {
        let mut here: Vec<usize> = (0..self.tracks.len()).collect();
        here.retain(|at| self.tracks.get(*at).is_some_and(|track| track.source_pid.is_some()));
        here.sort_by_key(|at| self.tracks.get(*at).map(|track| (order(track.class), track.number)));
        let mut left_out = 0;
        loop {
            let tracks = || here.iter().filter_map(|at| self.tracks.get(*at));
            let clock = tracks().find(|track| track.class != Class::Data).map(|track| track.pid);
            let pcr_pid = self.service.pcr_pid.or(clock).unwrap_or(self.service.video_pid);
            let components: Vec<Component> = tracks().map(|track| component(track, &self.service)).collect();
            match carousel.set_map(self.number, now, pcr_pid, components, whole.clone()) {
                Some(changed) => {
                    self.tally.pmt_changes += u64::from(changed);
                    self.pcr_next = (carousel.revision(self.number), pcr_pid);
                    // A track that was not named anew is named by what is being sent.
                    let revision = carousel.revision(self.number);
                    self.tracks.iter_mut().for_each(|track| track.revision = track.revision.min(revision));
                    return left_out;
                }
                None => {
                    let Some(track) = here.pop().and_then(|at| self.tracks.get_mut(at)) else {
                        return left_out;
                    };
                    track.source_pid = None;
                    track.flush(&mut self.pool, &mut self.tally);
                    left_out += 1;
                }
            }
        }
    }
}

/// The PIDs of all numbers of each kind, which follow from the service alone: a kind's first PID and those behind it, without
/// those that something else has. Sound is first to have them: there is more of it than of data and of pictures. Where there
/// are other services, a kind has [`TRACK_PIDS`], which are nobody else's.
#[derive(Debug)]
pub(super) struct Plan(Vec<(Class, u16)>);

impl Plan {
    pub fn of(service: &Service, alone: bool) -> Plan {
        let Service { pmt_pid, video_pid, audio_pid, data_pid, pcr_pid, .. } = *service;
        let fixed = [Some(pmt_pid), Some(video_pid), Some(audio_pid), Some(data_pid), pcr_pid];
        let mut plan: Vec<(Class, u16)> = Vec::with_capacity(TRACKS_MAX);
        for (class, first, most) in [
            (Class::Audio, audio_pid, AUDIO_MAX),
            (Class::Data, data_pid, DATA_MAX),
            (Class::Video, video_pid, VIDEO_MAX),
        ] {
            let is_free = |pid: &u16| *pid == first || !fixed.contains(&Some(*pid));
            let free: Vec<u16> = (first..pid::NULL)
                .filter(is_free)
                .filter(|pid| *pid != pmt_pid && plan.iter().all(|(_, other)| other != pid))
                .take(usize::from(if alone { most } else { TRACK_PIDS }))
                .collect();
            plan.extend(free.into_iter().map(|pid| (class, pid)));
        }
        Plan(plan)
    }

    /// Number and PID of all places of a kind.
    fn places(&self, class: Class) -> impl Iterator<Item = (u16, u16)> {
        let pids = self.0.iter().filter(move |(of, _)| *of == class);
        (0..).zip(pids.map(|(_, pid)| *pid))
    }
}

/// What kind of track of a program with these descriptors it is; `None`: it is not carried.
fn carried(stream: &Stream<'_>, program: Descriptors<'_>) -> Option<Class> {
    // Private sections, DSM-CC, MPEG-4 in sections, metadata in sections and carousels, SCTE-35.
    let sections = matches!(stream.stream_type, 0x05 | 0x08 | 0x0A..=0x0D | 0x13 | 0x14 | 0x16..=0x1A | 0x86);
    (!sections).then(|| classify(stream.stream_type, stream.descriptors, program).1)
}

/// The bytes of descriptors, without conditional access: what is carried is in the clear.
fn plain(descriptors: Descriptors<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, body) in descriptors.into_iter().filter(|(tag, _)| *tag != tag::CA) {
        out.extend([tag, body.len() as u8]);
        out.extend_from_slice(body);
    }
    out
}

const fn order(class: Class) -> u8 {
    match class {
        Class::Video => 0,
        Class::Audio => 1,
        Class::Data => 2,
    }
}

/// The line of a track in the PMT: as the source tells it, but for its language and for what DVB says otherwise.
fn component(track: &Track, service: &Service) -> Component {
    let said = Descriptors::new(&track.descriptors);
    let named = service.languages.get(usize::from(track.number)).filter(|_| track.class == Class::Audio);
    let dvb = match track.stream_type {
        stream_type::AC3 if service.dvb_ac3 => Some((tag::AC3, write::ac3())),
        stream_type::EAC3 if service.dvb_ac3 => Some((tag::EAC3, write::eac3())),
        _ => None,
    };
    let mut descriptors = Vec::new();
    for (tag, body) in said {
        let replaced =
            (tag == tag::ISO_639 && named.is_some()) || (tag == tag::REGISTRATION && dvb.is_some());
        if !replaced {
            descriptors.extend([tag, body.len() as u8]);
            descriptors.extend_from_slice(body);
        }
    }
    if let Some(code) = named {
        let mut language = write::language(*code);
        // What the sound is for is the source's to say.
        if let (Some(kind), Some((_, said))) = (language.last_mut(), said.language()) {
            *kind = said;
        }
        descriptors.extend(language);
    }
    if let Some((tag, bytes)) = dvb
        && said.find(tag).is_none()
    {
        descriptors.extend(bytes);
    }
    let stream_type = if dvb.is_some() { stream_type::PRIVATE } else { track.stream_type };
    Component { stream_type, pid: track.pid, descriptors }
}
