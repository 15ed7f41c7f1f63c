//! The multiplex's own tables, each again and again in its time, and never in a row: a receiver's buffer for them (TBsys)
//! has 512 bytes and drains at 1 Mbit/s, which is 1.5 ms a packet.
//!
//! What is due goes in the order of the times by which it must have gone, and a long section waits in the middle for
//! another that must not: at the lowest rate three packets are 23 ms. A receiver's buffer takes the PAT and the PMT of one
//! program; of many services, whose PMTs would not be through in their time otherwise, sections follow more closely.

mod sections;
#[cfg(test)]
mod tests;

use super::multiplex::{LocalTime, Multiplex, SERVICES_MAX};
use super::rewrite;
use super::ticker::{MS, PACKET_BITS, SECOND, clock_each};
use crate::wire::ts::write::section::{self, Component};
use crate::wire::ts::write::time;
use crate::wire::ts::{PACKET_BYTES, pid};
use sections::{local_offset, packets, version_of, versioned};

/// Time from one PAT to the next, and from one PMT to the next, and what is left of 100 ms for what is in front of them.
const TABLES: (i64, i64) = (70 * MS, 30 * MS);
/// In which all of them must be through, so that rarer tables find their time between.
const TABLES_WITHIN: i64 = 60 * MS;
/// SDT: 1 s likewise.
const NAMES: (i64, i64) = (900 * MS, 100 * MS);
/// NIT, TDT and TOT (10 s).
const SLOW: (i64, i64) = (4 * SECOND, 2 * SECOND);
/// From the end of a section to the beginning of another: time for TBsys to become empty.
const SECTIONS_APART: i64 = 5 * MS;
/// Between packets of a section.
const PACKETS_APART: i64 = 2 * MS;
/// What a packet takes at the lowest rate, with clocks in between.
const PACKET_LONGEST: i64 = 10 * MS;
/// Between sections of one table (TR 101 290, 3.2: 25 ms).
const TABLE_APART: i64 = 30 * MS;

const PAT: usize = 0;
/// The first service's; the others' follow.
const PMT: usize = 1;

type Packets = Vec<[u8; PACKET_BYTES]>;

/// A table: its sections in turns, and of each its packets, counters aside.
#[derive(Clone, Debug)]
struct Table {
    pid: u16,
    /// None: it is not wanted.
    sections: Vec<Packets>,
    /// The section that is next, or under way.
    turn: usize,
    counter: u8,
    /// Its packet that is next; not 0: a section is under way.
    at: usize,
    /// When that may go.
    ready_at: i64,
    /// From one section to the next.
    period: i64,
    /// What it may be late by.
    slack: i64,
    due: i64,
    begun: i64,
}

impl Table {
    /// Sent whole in `period`, which it may exceed by `slack`.
    fn new(pid: u16, sections: Vec<Vec<u8>>, (period, slack): (i64, i64), due: i64) -> Table {
        let sections: Vec<Packets> = sections.iter().map(|section| packets(pid, section)).collect();
        Table {
            pid,
            turn: 0,
            counter: 0x0F,
            at: 0,
            ready_at: 0,
            period: period / sections.len().max(1) as i64,
            slack,
            due,
            begun: i64::MIN / 2,
            sections,
        }
    }

    /// The section that is next, or under way.
    fn section(&self) -> &[[u8; PACKET_BYTES]] {
        self.sections.get(self.turn).map_or(&[], Vec::as_slice)
    }

    /// When its next packet may go.
    fn next_at(&self) -> i64 {
        if self.at > 0 { self.ready_at } else { self.due }
    }

    /// When it must have gone: one that takes longer is nearer to the one before by as much.
    fn latest(&self) -> i64 {
        self.due + self.slack + self.section().len() as i64 * PACKET_LONGEST
    }

    /// Packets of all its sections.
    fn packets(&self) -> usize {
        self.sections.iter().map(Vec::len).sum()
    }
}

/// What the PMT of a service says.
#[derive(Clone, Debug)]
struct Map {
    program: u16,
    /// Content without its version, and that.
    said: (u16, Vec<Component>, Vec<u8>),
    version: u8,
    /// The PMT that follows the one that is being sent.
    next: Option<Packets>,
    /// How many PMTs there were, the one that is in the table, and the last one that was sent whole.
    revision: u64,
    going: u64,
    sent: u64,
}

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Carousel {
    /// PAT, the PMT of each service, SDT, NIT, and TDT and TOT in turns.
    tables: Vec<Table>,
    maps: Vec<Map>,
    /// Nothing goes before; and if something else becomes due, it does not before this.
    next_at: i64,
    apart_until: i64,
    /// What a packet takes, rounded down, and how many packets there are in [`TABLES_WITHIN`] beside clocks.
    packet: i64,
    slots: i64,
    /// Between sections, and between packets of one: less where there is much to send.
    sections_apart: i64,
    packets_apart: i64,
    local_time: Option<LocalTime>,
    /// It is the TOT's turn.
    offset_next: bool,
}

impl Carousel {
    /// Of services whose sources are not known yet: PMTs without tracks.
    pub fn new(multiplex: &Multiplex) -> Carousel {
        let services = || multiplex.services.iter().take(SERVICES_MAX);
        let network = multiplex.nit.then_some((0, pid::NIT));
        let programs =
            network.into_iter().chain(services().map(|service| (service.service_id, service.pmt_pid)));
        let programs: Vec<(u16, u16)> = programs.collect();
        let said: Vec<section::Service<'_>> = services()
            .map(|service| section::Service {
                id: service.service_id,
                service_type: service.service_type,
                provider: &service.provider,
                name: &service.name,
            })
            .collect();
        let types: Vec<(u16, u8)> = said.iter().map(|service| (service.id, service.service_type)).collect();
        let (stream_id, network_id) = (multiplex.stream_id, multiplex.network_id);
        let one = |section: Option<Vec<u8>>| section.map(|section| vec![section]);
        let pat = versioned(|version| one(section::pat(stream_id, version, &programs)));
        let sdt = versioned(|version| section::sdt_sections(stream_id, network_id, version, &said));
        let nit = versioned(|version| {
            one(section::nit(network_id, version, &multiplex.network_name, stream_id, &types))
        });
        let mut tables = vec![Table::new(pid::PAT, pat, TABLES, 0)];
        let mut maps = Vec::with_capacity(types.len());
        for (n, service) in services().enumerate() {
            let pcr_pid = service.first_pcr_pid();
            let pmt = |version| section::program_map(service.service_id, version, pcr_pid, &[], &[]);
            let version = version_of(pmt(0).as_deref().unwrap_or_default());
            let due = 10 * MS + n as i64 * SECTIONS_APART;
            tables.push(Table::new(service.pmt_pid, pmt(version).into_iter().collect(), TABLES, due));
            maps.push(Map {
                program: service.service_id,
                said: (pcr_pid, Vec::new(), Vec::new()),
                version,
                next: None,
                revision: 0,
                going: 0,
                sent: 0,
            });
        }
        let if_wanted = |wanted: bool, sections: Vec<Vec<u8>>| if wanted { sections } else { Vec::new() };
        tables.push(Table::new(pid::SDT, sdt, NAMES, 40 * MS));
        tables.push(Table::new(pid::NIT, if_wanted(multiplex.nit, nit), SLOW, 50 * MS));
        tables.push(Table::new(
            pid::TDT,
            if_wanted(multiplex.time, vec![time::tdt(0).into()]),
            SLOW,
            60 * MS,
        ));
        let packet = (PACKET_BITS * SECOND as u64 / multiplex.rate()) as i64;
        // Each clock is told as often as it fits in whole, and once more.
        let clocks = TABLES_WITHIN / clock_each(packet + 1, types.len()).max(packet) + 1;
        let mut carousel = Carousel {
            packet,
            slots: TABLES_WITHIN / (packet + 1) - clocks * types.len() as i64,
            tables,
            maps,
            next_at: 0,
            apart_until: 0,
            sections_apart: SECTIONS_APART,
            packets_apart: PACKETS_APART,
            local_time: multiplex.local_time,
            offset_next: false,
        };
        carousel.space();
        carousel
    }

    /// Another program map of service `n`, sent as soon as may be. `None`: it does not fit; else whether it is another.
    pub fn set_map(
        &mut self,
        n: usize,
        now: i64,
        pcr_pid: u16,
        components: Vec<Component>,
        said: Vec<u8>,
    ) -> Option<bool> {
        let (map, table) = self.maps.get_mut(n).zip(self.tables.get_mut(PMT + n))?;
        let said = (pcr_pid, components, said);
        if said == map.said {
            return Some(false);
        }
        let version = (map.version + 1) & 0x1F;
        let section = section::program_map(map.program, version, said.0, &said.2, &said.1)?;
        map.next = Some(packets(table.pid, &section));
        // One that is under way ends first.
        if table.at == 0 {
            table.due = now.max(table.begun + TABLE_APART);
            self.next_at = self.next_at.min(table.due).max(self.apart_until);
        }
        (map.said, map.version) = (said, version);
        map.revision += 1;
        self.space();
        Some(true)
    }

    /// Finds how far apart tables may be sent, so that each of those that come often is through in its time: in whole packets,
    /// for what is due between two goes with the next. At low rates that is not at all, and nothing but clocks goes between.
    fn space(&mut self) {
        let maps = self.maps.iter().zip(self.tables.iter().skip(PMT));
        let longest =
            |(map, table): (&Map, &Table)| table.packets().max(map.next.as_ref().map_or(0, Vec::len));
        let packets = 1 + maps.map(longest).sum::<usize>();
        let each = (self.slots / packets as i64).max(0);
        self.sections_apart = (each * self.packet).min(SECTIONS_APART);
        self.packets_apart = self.sections_apart.min(PACKETS_APART);
    }

    /// PMTs of service `n` so far.
    pub fn revision(&self, n: usize) -> u64 {
        self.maps.get(n).map_or(0, |map| map.revision)
    }

    /// The last of them that was sent.
    pub fn sent(&self, n: usize) -> u64 {
        self.maps.get(n).map_or(0, |map| map.sent)
    }

    pub fn heap_bytes(&self) -> usize {
        let component = |component: &Component| size_of::<Component>() + component.descriptors.capacity();
        let map = |map: &Map| {
            map.next.as_ref().map_or(0, Vec::capacity) * PACKET_BYTES
                + map.said.1.iter().map(component).sum::<usize>()
                + map.said.2.capacity()
        };
        let packets = self.tables.iter().flat_map(|table| &table.sections).map(Vec::capacity).sum::<usize>();
        packets * PACKET_BYTES
            + self.tables.capacity() * size_of::<Table>()
            + self.maps.capacity() * size_of::<Map>()
            + self.maps.iter().map(map).sum::<usize>()
    }

    /// What is looked at for each packet.
    pub fn reads(&self) -> *const u8 {
        (&raw const self.next_at).cast()
    }

    /// The packet of a table, if one is due at `now`. `utc_s`: seconds since 1970.
    #[must_use]
    pub fn put(&mut self, now: i64, utc_s: u64, out: &mut [u8; PACKET_BYTES]) -> bool {
        if now < self.next_at {
            return false;
        }
        let here = || self.tables.iter().enumerate().filter(|(_, table)| !table.sections.is_empty());
        let first =
            here().filter(|(_, table)| table.next_at() <= now).min_by_key(|(_, table)| table.latest());
        let Some((which, _)) = first else {
            self.next_at = here().map(|(_, table)| table.next_at()).min().unwrap_or(i64::MAX);
            return false;
        };
        let begins = self.tables.get(which).is_some_and(|table| table.at == 0);
        if begins && which + 1 == self.tables.len() {
            self.tell_time(utc_s);
        }
        let Some(table) = self.tables.get_mut(which) else { return false };
        let mut map = which.checked_sub(PMT).and_then(|n| self.maps.get_mut(n));
        if begins {
            if let Some(map) = &mut map
                && let Some(next) = map.next.take()
            {
                (table.sections, map.going) = (vec![next], map.revision);
            }
            table.begun = now;
        }
        let Some(packet) = table.section().get(table.at) else {
            table.at = 0;
            return false;
        };
        *out = *packet;
        table.counter = (table.counter + 1) & 0x0F;
        rewrite::head(out, table.pid, table.counter);
        table.at += 1;
        if table.at < table.section().len() {
            table.ready_at = now + PACKETS_APART;
            self.next_at = now + self.packets_apart;
        } else {
            table.at = 0;
            table.turn = (table.turn + 1) % table.sections.len().max(1);
            let changed = map.as_ref().is_some_and(|map| map.next.is_some());
            // What was late is not made up for.
            let due = if changed { now } else { table.due + table.period };
            table.due = due.max(table.begun + TABLE_APART);
            self.next_at = now + self.sections_apart;
            if let Some(map) = map {
                map.sent = map.going;
            }
        }
        self.apart_until = self.next_at;
        true
    }

    fn tell_time(&mut self, utc_s: u64) {
        let offset = self.local_time.filter(|_| self.offset_next);
        self.offset_next = !self.offset_next;
        let Some(table) = self.tables.last_mut() else { return };
        let section = match offset {
            Some(local) => time::tot(utc_s, &local_offset(local)).unwrap_or_default(),
            None => time::tdt(utc_s).into(),
        };
        // With a TOT in between, each comes half as often as one of them.
        table.period = if self.local_time.is_some() { SLOW.0 / 2 } else { SLOW.0 };
        table.sections = vec![packets(table.pid, &section)];
    }
}

const _: () = assert!(PAT < PMT);
