//! Program specific information as the monitor sees it: which programs there are, what they consist of, what they are
//! called, and when their tables came.

use super::indicator::{Indicator, Occurrence, Tallies};
use super::ruler::{Mark, Ruler};
use crate::media::Mono;
use crate::wire::ts::descriptor::{Class, classify};
use crate::wire::ts::section::Section;
use crate::wire::ts::tables::{self, Cat, Nit, Pat, Pmt, Sdt};
use crate::wire::ts::{pid, text};

/// Programs that are followed; a satellite multiplex has some thirty. Further ones are counted.
pub const PROGRAMS_MAX: usize = 512;
/// Elementary streams of a program that are followed.
pub const STREAMS_MAX: usize = 64;

/// The most that programs take, in bytes, without their names: attack T2.
pub(super) const PROGRAMS_BYTES_MAX: usize =
    PROGRAMS_MAX * (size_of::<Program>() + STREAMS_MAX * (size_of::<Stream>() + size_of::<u16>()));

/// A program of the PAT.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub number: u16,
    pub pmt_pid: u16,
    /// Number of the PAT's section that names it.
    section: u8,
    /// Of the map that is in force; `None`: none came yet.
    pub map: Option<u32>,
    pub pcr_pid: u16,
    pub streams: Vec<Stream>,
    /// PIDs of control words.
    pub ca_pids: Vec<u16>,
    /// Streams that are not followed.
    pub more_streams: usize,
    /// When a map came last, or since when one is due.
    pub pmt_at: Mark,
    pub pmt_told: bool,
    pub pmt_interval_us_max: u64,
    pub provider: String,
    pub name: String,
}

/// An elementary stream of a program map.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub pid: u16,
    pub stream_type: u8,
    pub codec: &'static str,
    pub class: Class,
    pub language: Option<[u8; 3]>,
    /// Since when it is due.
    pub since: Mono,
    pub absence_told: bool,
}

/// Everything that tables say.
#[derive(Clone, Debug, Default)]
pub(super) struct Psi {
    pub transport_stream_id: Option<u16>,
    pub programs: Vec<Program>,
    /// Programs that are not followed.
    pub more_programs: u64,
    /// PID of the network's table, if the PAT names one.
    pub network_pid: Option<u16>,
    /// Number of the PAT's section that does.
    network_section: u8,
    pub network_name: String,
    pub emm_pids: Vec<u16>,
    pub utc_seconds: Option<u64>,
    pub pat_at: Option<Mark>,
    pub pat_told: bool,
    pub pat_interval_us_max: u64,
    pub cat_at: Option<Mono>,
    pub sdt_at: Option<Mark>,
    pub sdt_interval_us_max: u64,
    /// PATs and maps that differed from what was in force.
    pub changes: u64,
    /// Roles of PIDs have changed.
    pub dirty: bool,
    pat_version: Option<u8>,
    /// Sums of the PAT's sections that are in force, by number.
    pat_sums: Vec<(u8, u32)>,
    names_sum: Vec<(u8, u32)>,
}

impl Psi {
    /// Whether there are tables that may name PIDs.
    pub fn name_something(&self) -> bool {
        self.transport_stream_id.is_some() || !self.emm_pids.is_empty()
    }

    /// A whole section, with what raises it.
    pub fn read(
        &mut self,
        on: u16,
        section: Section<'_>,
        now: Occurrence,
        ruler: Ruler,
        tallies: &mut Tallies,
    ) {
        let id = section.table_id();
        match (on, id) {
            // A table that is not whole still came.
            (pid::PAT, tables::PAT) => self.saw_pat(now, ruler, tallies),
            (pid::PAT, _) => tallies.raise(Indicator::Pat, now),
            (pid::CAT, tables::CAT) => self.cat_at = Some(now.at),
            (pid::CAT, _) => tallies.raise(Indicator::Cat, now),
            _ => {}
        }
        let is_long = matches!(id, tables::PAT | tables::CAT | tables::PMT | tables::NIT | tables::NIT_OTHER)
            || matches!(id, tables::SDT | tables::SDT_OTHER | tables::BAT)
            || (tables::EIT..=tables::EIT_LAST).contains(&id);
        // One that says it has no CRC, and must have one, is damaged just there.
        if !section.crc_ok() || (is_long && !section.is_long()) {
            if is_long || id == tables::TOT {
                tallies.raise(Indicator::Crc, now);
            }
            if id == tables::PMT {
                // Whose it is, cannot be trusted; if the PID has one program only, it is clear.
                let mut here = self.programs.iter_mut().filter(|program| program.pmt_pid == on);
                if let (Some(program), None) = (here.next(), here.next()) {
                    program.saw_map(now, ruler, tallies);
                }
            }
            return;
        }
        match (on, id) {
            (pid::PAT, tables::PAT) if section.is_current() => self.read_pat(section, now.into()),
            (pid::CAT, tables::CAT) if section.is_current() => self.read_cat(section),
            (_, tables::PMT) => self.read_pmt(on, section, now, ruler, tallies),
            (pid::SDT, tables::SDT) => {
                if let Some(before) = self.sdt_at.replace(now.into()) {
                    let interval_us = ruler.distance_us(before, now.into());
                    self.sdt_interval_us_max = self.sdt_interval_us_max.max(interval_us);
                }
                if section.is_current() {
                    self.read_sdt(section);
                }
            }
            (_, tables::NIT) if Some(on) == self.network_pid || on == pid::NIT => {
                if let Some(name) = Nit::parse(section).and_then(Nit::name) {
                    self.network_name = text::decode(name);
                }
            }
            (pid::TDT, tables::TDT | tables::TOT) => {
                // All bits set: the sender does not know either.
                self.utc_seconds = tables::utc_seconds(section).or(self.utc_seconds);
            }
            _ => {}
        }
    }

    fn saw_pat(&mut self, now: Occurrence, ruler: Ruler, tallies: &mut Tallies) {
        if let Some(before) = self.pat_at.replace(now.into()) {
            let interval_us = ruler.distance_us(before, now.into());
            self.pat_interval_us_max = self.pat_interval_us_max.max(interval_us);
            if ruler.is_late(before, now.into(), super::PSI_US_MAX) && !self.pat_told {
                tallies.raise(Indicator::Pat, now);
            }
        }
        self.pat_told = false;
    }

    fn read_pat(&mut self, section: Section<'_>, now: Mark) {
        let sum = (section.number(), section.crc());
        let same_version = self.pat_version.replace(section.version()) == Some(section.version());
        if same_version && self.pat_sums.contains(&sum) {
            return;
        }
        let Some(pat) = Pat::parse(section) else { return };
        // Sections of another version are void; those of this one stay.
        self.pat_sums.retain(|(number, _)| same_version && *number != sum.0);
        self.pat_sums.push(sum);
        self.changes += u64::from(self.transport_stream_id.is_some());
        self.transport_stream_id = Some(pat.transport_stream_id);
        let mut before = std::mem::take(&mut self.programs);
        self.more_programs = 0;
        if same_version {
            let (stay, go) = before.into_iter().partition(|program| program.section != sum.0);
            (self.programs, before) = (stay, go);
        }
        if !same_version || self.network_section == sum.0 {
            self.network_pid = None;
        }
        for (number, pid) in pat.programs() {
            if number == 0 {
                (self.network_pid, self.network_section) = (Some(pid), sum.0);
                continue;
            }
            if self.programs.len() >= PROGRAMS_MAX {
                self.more_programs += 1;
                continue;
            }
            let known = before.iter().position(|program| program.number == number && program.pmt_pid == pid);
            let mut program = match known {
                Some(place) => before.swap_remove(place),
                None => Program::new(number, pid, now),
            };
            program.section = sum.0;
            self.programs.push(program);
        }
        self.names_sum.clear();
        self.dirty = true;
    }

    fn read_pmt(
        &mut self,
        on: u16,
        section: Section<'_>,
        now: Occurrence,
        ruler: Ruler,
        tallies: &mut Tallies,
    ) {
        let Some(pmt) = Pmt::parse(section) else { return };
        let mut all = self.programs.iter_mut();
        let Some(program) = all.find(|p| p.pmt_pid == on && p.number == pmt.program) else { return };
        program.saw_map(now, ruler, tallies);
        if section.is_current() && program.map != Some(section.crc()) {
            self.changes += u64::from(program.map.is_some());
            program.apply(pmt, section.crc(), now.at);
            self.dirty = true;
        }
    }

    fn read_cat(&mut self, section: Section<'_>) {
        let Some(cat) = Cat::parse(section) else { return };
        if !cat.descriptors.ca_pids().eq(self.emm_pids.iter().copied()) {
            self.emm_pids = cat.descriptors.ca_pids().collect();
            self.dirty = true;
        }
    }

    fn read_sdt(&mut self, section: Section<'_>) {
        let sum = (section.number(), section.crc());
        if self.names_sum.contains(&sum) {
            return;
        }
        self.names_sum.retain(|(number, _)| *number != sum.0);
        self.names_sum.push(sum);
        let Some(sdt) = Sdt::parse(section) else { return };
        for service in sdt.services() {
            let program = self.programs.iter_mut().find(|program| program.number == service.id);
            if let (Some(program), Some((_, provider, name))) = (program, service.names()) {
                (program.provider, program.name) = (text::decode(provider), text::decode(name));
            }
        }
    }

    /// Time that passed without packets counts for nothing: everything is due anew.
    pub fn restart(&mut self, now: Mark) {
        if let Some(pat_at) = &mut self.pat_at {
            *pat_at = now;
        }
        for program in &mut self.programs {
            (program.pmt_at, program.pmt_told) = (now, false);
            program.streams.iter_mut().for_each(|stream| stream.since = now.at);
        }
        (self.sdt_at, self.pat_told) = (None, false);
    }

    /// Each moment since which something is waited for.
    pub fn times(&mut self, mut each: impl FnMut(&mut Mono)) {
        self.pat_at.iter_mut().chain(&mut self.sdt_at).for_each(|mark| each(&mut mark.at));
        self.cat_at.iter_mut().for_each(&mut each);
        for program in &mut self.programs {
            each(&mut program.pmt_at.at);
            program.streams.iter_mut().for_each(|stream| each(&mut stream.since));
        }
    }
}

impl Program {
    fn new(number: u16, pmt_pid: u16, now: Mark) -> Program {
        Program {
            number,
            pmt_pid,
            section: 0,
            map: None,
            pcr_pid: pid::NULL,
            streams: Vec::new(),
            ca_pids: Vec::new(),
            more_streams: 0,
            pmt_at: now,
            pmt_told: false,
            pmt_interval_us_max: 0,
            provider: String::new(),
            name: String::new(),
        }
    }

    fn saw_map(&mut self, now: Occurrence, ruler: Ruler, tallies: &mut Tallies) {
        if self.map.is_some() {
            let interval_us = ruler.distance_us(self.pmt_at, now.into());
            self.pmt_interval_us_max = self.pmt_interval_us_max.max(interval_us);
        }
        if ruler.is_late(self.pmt_at, now.into(), super::PSI_US_MAX) && !self.pmt_told {
            tallies.raise(Indicator::Pmt, now);
        }
        (self.pmt_at, self.pmt_told) = (now.into(), false);
    }

    fn apply(&mut self, pmt: Pmt<'_>, sum: u32, at: Mono) {
        let before = std::mem::take(&mut self.streams);
        self.map = Some(sum);
        self.pcr_pid = pmt.pcr_pid;
        self.ca_pids.clear();
        self.ca_pids.extend(pmt.descriptors.ca_pids().take(STREAMS_MAX));
        self.more_streams = 0;
        for stream in pmt.streams() {
            if self.streams.len() >= STREAMS_MAX {
                self.more_streams += 1;
                continue;
            }
            self.ca_pids
                .extend(stream.descriptors.ca_pids().take(STREAMS_MAX - self.ca_pids.len().min(STREAMS_MAX)));
            let (codec, class) = classify(stream.stream_type, stream.descriptors, pmt.descriptors);
            let known = before.iter().find(|known| known.pid == stream.pid);
            self.streams.push(Stream {
                pid: stream.pid,
                stream_type: stream.stream_type,
                codec,
                class,
                language: stream.descriptors.language().map(|(language, _)| language),
                since: known.map_or(at, |known| known.since),
                absence_told: known.is_some_and(|known| known.absence_told),
            });
        }
    }
}
