//! Which program of a transport stream is taken, and what it consists of (PAT and PMT).
//!
//! A number that the configuration gives, or else the first of the PAT whose map names pictures or sound. Its maps are
//! applied when they say something new, ten times in a row and then ten times a second: one that changes all the time
//! (attack T2) settles on what stands in it then.

use super::Options;
use super::audio::Form;
use crate::media::{Codec, Mono};
use crate::wire::ts::descriptor::{Class, Descriptors, classify, tag};
use crate::wire::ts::opus;
use crate::wire::ts::section::Section;
use crate::wire::ts::tables::{self, Pat, Pmt};
use crate::wire::ts::{pid, stream_type};
use std::time::Duration;

/// Programs that are looked at; a multiplex of satellite television has up to 30.
const PROGRAMS_MAX: usize = 64;
/// Elementary streams of a program that are looked at.
const STREAMS_MAX: usize = 32;
/// Time between two maps that are applied, in the long run.
const APPLY_PAUSE: Duration = Duration::from_millis(100);
/// How far ahead of that they may be: a sender that begins adds its tracks one by one.
const APPLY_AHEAD: Duration = Duration::from_secs(1);
/// How long programs in front of one with pictures or sound are waited for.
const CHOICE: Duration = Duration::from_secs(1);
/// The first PID that may carry media.
const FIRST_PID: u16 = 0x10;

/// What an elementary stream is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Video(Codec),
    Av1,
    Audio(Form),
}

/// One elementary stream of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub pid: u16,
    /// `None`: it cannot be carried.
    pub read: Option<Read>,
    /// For people.
    pub what: &'static str,
    pub class: Class,
}

/// What a stream of AV1 is called where it is not read: its operator can have it.
const AV1_NOT_READ: &str = "AV1 (av1 = true in [headend] reads it)";

impl Spec {
    fn of(stream: &tables::Stream<'_>, program: Descriptors<'_>, av1: bool) -> Spec {
        let (what, class) = classify(stream.stream_type, stream.descriptors, program);
        match read_as(stream.stream_type, what, stream.descriptors) {
            Some(Read::Av1) if !av1 => Spec { pid: stream.pid, read: None, what: AV1_NOT_READ, class },
            read => Spec { pid: stream.pid, read, what, class },
        }
    }
}

fn read_as(kind: u8, what: &str, descriptors: Descriptors<'_>) -> Option<Read> {
    Some(match (kind, what) {
        (stream_type::H264, _) => Read::Video(Codec::H264),
        (stream_type::HEVC, _) | (_, "HEVC") => Read::Video(Codec::Hevc),
        (_, "AV1") => Read::Av1,
        (stream_type::AAC_ADTS, _) => Read::Audio(Form::Adts),
        (stream_type::AAC_LATM, _) => Read::Audio(Form::Latm),
        (stream_type::MPEG1_AUDIO | stream_type::MPEG2_AUDIO, _) => Read::Audio(Form::Mpeg),
        (_, "AC-3" | "E-AC-3") => Read::Audio(Form::Ac3),
        (_, "Opus") => Read::Audio(Form::Opus(opus::channel_code(descriptors)?)),
        (stream_type::PRIVATE, _) if descriptors.find(tag::AC3).is_some() => Read::Audio(Form::Ac3),
        _ => return None,
    })
}

/// A program of the PAT.
#[derive(Debug)]
struct Candidate {
    number: u16,
    map_pid: u16,
    /// Section of the PAT that names it.
    section: u8,
    /// What its map says; `None` before it came.
    streams: Option<Vec<Spec>>,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Programs {
    options: Options,
    candidates: Vec<Candidate>,
    chosen: Option<u16>,
    first_at: Option<Mono>,
    /// When the maps that were applied would have been, one each [`APPLY_PAUSE`].
    applied_until: Mono,
}

impl Programs {
    pub fn new(options: Options) -> Programs {
        Programs { options, candidates: Vec::new(), chosen: None, first_at: None, applied_until: Mono::ZERO }
    }

    /// The program that is taken.
    pub fn chosen(&self) -> Option<u16> {
        self.chosen
    }

    /// Whether sections on this PID are to be read.
    pub fn reads(&self, pid: u16) -> bool {
        pid == pid::PAT || self.candidates.iter().any(|c| c.map_pid == pid)
    }

    /// Whether a PAT came that names the program that is wanted.
    pub fn is_announced(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// Whether there is a program to take, with something to carry or, if that will do, with anything.
    pub fn is_carried(&self) -> bool {
        let chosen = self.candidates.iter().find(|c| Some(c.number) == self.chosen);
        let streams = chosen.and_then(|c| c.streams.as_ref());
        streams.is_some_and(|streams| streams.iter().any(|spec| self.options.all || spec.read.is_some()))
    }

    pub fn heap_bytes(&self) -> usize {
        let streams = |c: &Candidate| c.streams.as_ref().map_or(0, |s| s.capacity() * size_of::<Spec>());
        self.candidates.iter().map(|c| size_of::<Candidate>() + streams(c)).sum()
    }

    /// Whether `section` is the map of the program that is taken.
    pub fn is_map(&self, section: Section<'_>) -> bool {
        section.is_current() && Pmt::parse(section).is_some_and(|pmt| Some(pmt.program) == self.chosen)
    }

    /// Reads a section whose CRC fits. Returns what the chosen program consists of, if that is another thing than `current`
    /// and is to be applied.
    pub fn read(&mut self, now: Mono, section: Section<'_>, current: &[Spec]) -> Option<Vec<Spec>> {
        if !section.is_current() {
            return None;
        }
        if let Some(pat) = Pat::parse(section) {
            self.pat(now, section, pat);
        } else if let Some(pmt) = Pmt::parse(section) {
            self.map(pmt);
        }
        self.choose(now, current)
    }

    fn pat(&mut self, now: Mono, section: Section<'_>, pat: Pat<'_>) {
        let (number, last) = (section.number(), section.last_number());
        let wanted = self.options.program;
        let named: Vec<(u16, u16)> = pat
            .programs()
            .filter(|(program, pid)| *program != 0 && *pid >= FIRST_PID && *pid != pid::NULL)
            .filter(|(program, _)| wanted == 0 || *program == wanted)
            .take(PROGRAMS_MAX)
            .collect();
        self.candidates
            .retain(|c| c.section <= last && (c.section != number || named.contains(&(c.number, c.map_pid))));
        for (program, map_pid) in named {
            let known = self.candidates.iter().any(|c| c.number == program);
            if !known && self.candidates.len() < PROGRAMS_MAX {
                self.candidates.push(Candidate { number: program, map_pid, section: number, streams: None });
            }
        }
        self.first_at.get_or_insert(now);
        if self.chosen.is_some_and(|chosen| self.candidates.iter().all(|c| c.number != chosen)) {
            self.chosen = None;
        }
    }

    fn map(&mut self, pmt: Pmt<'_>) {
        let taken: Vec<u16> = self.candidates.iter().map(|c| c.map_pid).collect();
        let Some(candidate) = self.candidates.iter_mut().find(|c| c.number == pmt.program) else { return };
        let mut streams: Vec<Spec> = Vec::new();
        for stream in pmt.streams().take(STREAMS_MAX) {
            let spec = Spec::of(&stream, pmt.descriptors, self.options.av1);
            let free = spec.pid >= FIRST_PID && spec.pid != pid::NULL && !taken.contains(&spec.pid);
            if free && streams.iter().all(|other| other.pid != spec.pid) {
                streams.push(spec);
            }
        }
        candidate.streams = Some(streams);
    }

    fn choose(&mut self, now: Mono, current: &[Spec]) -> Option<Vec<Spec>> {
        if self.chosen.is_none() {
            let waited = self.first_at.is_some_and(|at| now.since(at) >= CHOICE);
            for candidate in &self.candidates {
                match &candidate.streams {
                    Some(streams) if streams.iter().any(|spec| spec.read.is_some()) => {
                        self.chosen = Some(candidate.number);
                        break;
                    }
                    None if !waited => break,
                    _ => {}
                }
            }
            if self.chosen.is_none() && self.options.all && waited {
                let has_streams = |c: &&Candidate| c.streams.as_ref().is_some_and(|s| !s.is_empty());
                self.chosen = self.candidates.iter().find(has_streams).map(|c| c.number);
            }
        }
        let chosen = self.chosen?;
        let streams = self.candidates.iter().find(|c| c.number == chosen)?.streams.as_ref()?;
        let next = self.applied_until.max(now) + APPLY_PAUSE;
        if streams == current || next > now + APPLY_AHEAD {
            return None;
        }
        let streams = streams.clone();
        self.applied_until = next;
        Some(streams)
    }
}
