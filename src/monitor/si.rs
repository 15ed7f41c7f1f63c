//! Repetition of service information (TR 101 290, 3.2): not too rarely, not too often.
//!
//! A table that never came is not missed: an IPTV channel needs neither NIT nor TDT.

use super::indicator::{Indicator, Occurrence, Tallies};
use crate::media::Mono;
use crate::wire::ts::section::Section;
use crate::wire::ts::{pid, tables};

/// Shortest distance of two sections of one sub-table, in microseconds.
const GAP_US_MIN: f64 = 25_000.0;
/// Sub-tables whose distance is watched, the newest: a multiplex has one or two of most kinds and an EIT a service.
const SUB_TABLES_MAX: usize = 256;

/// A kind of table with the longest distance that it may have, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Kind {
    pid: u16,
    table_id: u8,
    interval_us_max: u64,
    last_at: Option<Mono>,
    told: bool,
}

const fn kind(pid: u16, table_id: u8, seconds: u64) -> Kind {
    Kind { pid, table_id, interval_us_max: seconds * 1_000_000, last_at: None, told: false }
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
    at: Mono,
    packet: u64,
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
    /// A section. `packet_us`: how long a packet lasts, where the rate is constant; then distances count in packets, and
    /// what the network bunches together is not held against the sender.
    pub fn observe(
        &mut self,
        on: u16,
        section: Section<'_>,
        now: Occurrence,
        packet_us: Option<f64>,
        tallies: &mut Tallies,
    ) {
        let table_id = section.table_id();
        if !(pid::NIT..=pid::TDT).contains(&on) || !(tables::NIT..=tables::TOT).contains(&table_id) {
            return;
        }
        for kind in self.kinds.iter_mut().filter(|kind| kind.pid == on && kind.table_id == table_id) {
            let late = kind.last_at.is_some_and(|last| now.at.micros_since(last) > kind.interval_us_max);
            if late && !kind.told {
                tallies.raise(Indicator::SiRepetition, now);
            }
            (kind.last_at, kind.told) = (Some(now.at), false);
        }
        let entry = SubTable { key: (on, table_id, section.extension()), at: now.at, packet: now.packet };
        if let Some(known) = self.sub_tables.iter_mut().find(|known| known.key == entry.key) {
            let before = std::mem::replace(known, entry);
            let gap_us = match packet_us {
                Some(us) => (entry.packet - before.packet) as f64 * us,
                None => entry.at.micros_since(before.at) as f64,
            };
            if gap_us < GAP_US_MIN {
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
    pub fn sweep(&mut self, at: Mono, packet: u64, tallies: &mut Tallies) {
        for kind in self.kinds.iter_mut().filter(|kind| !kind.told) {
            if kind.last_at.is_some_and(|last| at.micros_since(last) > kind.interval_us_max) {
                kind.told = true;
                tallies.raise(Indicator::SiRepetition, Occurrence { packet, at, pid: Some(kind.pid) });
            }
        }
    }

    /// Everything is due anew.
    pub fn restart(&mut self) {
        self.kinds.iter_mut().for_each(|kind| (kind.last_at, kind.told) = (None, false));
        self.sub_tables.clear();
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.sub_tables.capacity() * size_of::<SubTable>()
    }
}
