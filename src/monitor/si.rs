//! Repetition of service information (TR 101 290, 3.2): not too rarely, not too often.
//!
//! A table that never came is not missed: an IPTV channel needs neither NIT nor TDT.

use super::indicator::{Indicator, Occurrence, Tallies};
use super::ruler::{Mark, Ruler};
use crate::media::Mono;
use crate::wire::ts::section::Section;
use crate::wire::ts::{pid, tables};

/// Shortest distance of two sections of one sub-table, in microseconds.
const GAP_US_MIN: u64 = 25_000;
/// Sub-tables whose distance is watched, the newest: a multiplex has one or two of most kinds and an EIT a service.
const SUB_TABLES_MAX: usize = 256;

/// A kind of table with the longest distance that it may have, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Kind {
    pid: u16,
    table_id: u8,
    interval_us_max: u64,
    last: Option<Mark>,
    told: bool,
}

const fn kind(pid: u16, table_id: u8, seconds: u64) -> Kind {
    Kind { pid, table_id, interval_us_max: seconds * 1_000_000, last: None, told: false }
}

/// When tables came.
#[derive(Clone, Debug)]
pub(super) struct Repetition {
    kinds: [Kind; 4],
    sub_tables: Vec<SubTable>,
    /// Where the next one goes once there are enough.
    oldest: usize,
}

#[derive(Clone, Copy, Debug)]
struct SubTable {
    key: (u16, u8, u16),
    last: Mark,
}

impl Default for Repetition {
    fn default() -> Repetition {
        Repetition {
            kinds: [
                kind(pid::NIT, tables::NIT, 10),
                kind(pid::SDT, tables::SDT, 2),
                kind(pid::EIT, tables::EIT, 2),
                kind(pid::TDT, tables::TDT, 30),
            ],
            sub_tables: Vec::new(),
            oldest: 0,
        }
    }
}

impl Repetition {
    /// A section.
    pub fn observe(
        &mut self,
        on: u16,
        section: Section<'_>,
        now: Occurrence,
        ruler: Ruler,
        tallies: &mut Tallies,
    ) {
        let table_id = section.table_id();
        if !(pid::NIT..=pid::TDT).contains(&on) || !(tables::NIT..=tables::TOT).contains(&table_id) {
            return;
        }
        for kind in self.kinds.iter_mut().filter(|kind| kind.pid == on && kind.table_id == table_id) {
            let late = kind.last.is_some_and(|last| ruler.is_late(last, now.into(), kind.interval_us_max));
            if late && !kind.told {
                tallies.raise(Indicator::SiRepetition, now);
            }
            (kind.last, kind.told) = (Some(now.into()), false);
        }
        // Whose section a damaged one is, is not known; and stuffing may come at any time.
        if table_id == tables::STUFFING || !section.crc_ok() {
            return;
        }
        let entry = SubTable { key: (on, table_id, section.extension()), last: now.into() };
        if let Some(known) = self.sub_tables.iter_mut().find(|known| known.key == entry.key) {
            let before = std::mem::replace(known, entry);
            if ruler.is_early(before.last, entry.last, GAP_US_MIN) {
                tallies.raise(Indicator::SiRepetition, now);
            }
        } else if self.sub_tables.len() < SUB_TABLES_MAX {
            self.sub_tables.push(entry);
        } else {
            if let Some(place) = self.sub_tables.get_mut(self.oldest) {
                *place = entry;
            }
            self.oldest = (self.oldest + 1) % SUB_TABLES_MAX;
        }
    }

    /// Tells what is overdue.
    pub fn sweep(&mut self, now: Mark, ruler: Ruler, tallies: &mut Tallies) {
        for kind in self.kinds.iter_mut().filter(|kind| !kind.told) {
            if kind.last.is_some_and(|last| ruler.is_late(last, now, kind.interval_us_max)) {
                kind.told = true;
                let found = Occurrence { packet: now.packet, at: now.at, pid: Some(kind.pid) };
                tallies.raise(Indicator::SiRepetition, found);
            }
        }
    }

    /// Everything is due anew.
    pub fn restart(&mut self) {
        self.kinds.iter_mut().for_each(|kind| (kind.last, kind.told) = (None, false));
        self.sub_tables.clear();
    }

    /// Each moment since which something is waited for.
    pub fn times(&mut self, mut each: impl FnMut(&mut Mono)) {
        self.kinds.iter_mut().filter_map(|kind| kind.last.as_mut()).for_each(|mark| each(&mut mark.at));
    }

    /// Whether a table is overdue, as of the last look.
    pub fn is_late(&self) -> bool {
        self.kinds.iter().any(|kind| kind.told)
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.sub_tables.capacity() * size_of::<SubTable>()
    }
}
