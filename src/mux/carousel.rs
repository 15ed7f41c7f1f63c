//! The multiplex's own tables, each again and again in its time, and never in a row: a receiver's buffer for them (TBsys)
//! has 512 bytes and drains at 1 Mbit/s, which is 1.5 ms a packet.
//!
//! What is due goes in the order of the times by which it must have gone, and a long section waits in the middle for
//! another that must not: at the lowest rate three packets are 23 ms.

use super::rewrite;
use super::service::{LocalTime, Service};
use super::ticker::{MS, SECOND};
use crate::wire::ts::crc::crc32;
use crate::wire::ts::write::packet::{Counter, packets_of_section, write_section};
use crate::wire::ts::write::section::{self, Component};
use crate::wire::ts::write::time;
use crate::wire::ts::{PACKET_BYTES, pid};

/// Time from one PAT to the next, and from one PMT to the next, and what is left of 100 ms for what is in front of them.
const TABLES: (i64, i64) = (70 * MS, 30 * MS);
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
const PMT: usize = 1;
const TIME: usize = 4;

/// A table of one section.
#[derive(Clone, Debug)]
struct Table {
    pid: u16,
    /// Counters are put in when they are sent.
    packets: Vec<[u8; PACKET_BYTES]>,
    counter: u8,
    /// Its packet that is next; not 0: a section is under way.
    at: usize,
    period: i64,
    /// What it may be late by.
    slack: i64,
    due: i64,
    begun: i64,
}

impl Table {
    /// When it must have gone: one that takes longer is nearer to the one before by as much.
    fn latest(&self) -> i64 {
        self.due + self.slack + self.packets.len() as i64 * PACKET_LONGEST
    }
}

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Carousel {
    /// PAT, PMT, SDT, NIT, TDT and TOT in turns; one that is not wanted has no packets.
    tables: [Table; 5],
    /// Nothing goes before; and if something else becomes due, it does not before this.
    next_at: i64,
    apart_until: i64,
    /// The PMT that follows the one that is being sent.
    next_map: Option<Vec<[u8; PACKET_BYTES]>>,
    /// Content of the PMT without its version, and that.
    pmt: (u16, Vec<Component>, Vec<u8>),
    version: u8,
    program: u16,
    /// How many PMTs there were, the one that is in the table, and the last one that was sent whole.
    revision: u64,
    going: u64,
    sent: u64,
    local_time: Option<LocalTime>,
    /// It is the TOT's turn.
    offset_next: bool,
}

impl Carousel {
    /// Of a service whose source is not known yet: a PMT without tracks.
    pub fn new(service: &Service, pcr_pid: u16) -> Carousel {
        let id = service.service_id;
        let network = service.nit.then_some((0, pid::NIT));
        let programs: Vec<(u16, u16)> = network.into_iter().chain([(id, service.pmt_pid)]).collect();
        let said = section::Service {
            id,
            service_type: service.service_type,
            provider: &service.provider,
            name: &service.name,
        };
        let pat = versioned(|version| section::pat(service.stream_id, version, &programs));
        let sdt = versioned(|version| section::sdt(service.stream_id, service.network_id, version, &[said]));
        let nit = versioned(|version| {
            let services = [(id, service.service_type)];
            section::nit(service.network_id, version, &service.network_name, service.stream_id, &services)
        });
        let pmt = |version| section::program_map(id, version, pcr_pid, &[], &[]);
        let first = version_of(pmt(0).as_deref().unwrap_or_default());
        let table = |pid, section: Option<Vec<u8>>, (period, slack), due| Table {
            pid,
            packets: packets(pid, &section.unwrap_or_default()),
            counter: 0x0F,
            at: 0,
            period,
            slack,
            due,
            begun: i64::MIN / 2,
        };
        Carousel {
            tables: [
                table(pid::PAT, pat, TABLES, 0),
                table(service.pmt_pid, pmt(first), TABLES, 10 * MS),
                table(pid::SDT, sdt, NAMES, 40 * MS),
                table(pid::NIT, nit.filter(|_| service.nit), SLOW, 50 * MS),
                table(pid::TDT, service.time.then(|| time::tdt(0).into()), SLOW, 60 * MS),
            ],
            next_at: 0,
            apart_until: 0,
            next_map: None,
            pmt: (pcr_pid, Vec::new(), Vec::new()),
            version: first,
            program: id,
            revision: 0,
            going: 0,
            sent: 0,
            local_time: service.local_time,
            offset_next: false,
        }
    }

    /// Another program map, sent as soon as may be. `None`: it does not fit; else whether it is another.
    pub fn set_map(
        &mut self,
        now: i64,
        pcr_pid: u16,
        components: Vec<Component>,
        said: Vec<u8>,
    ) -> Option<bool> {
        let map = (pcr_pid, components, said);
        if map == self.pmt {
            return Some(false);
        }
        let version = (self.version + 1) & 0x1F;
        let section = section::program_map(self.program, version, map.0, &map.2, &map.1)?;
        let table = &mut self.tables[PMT];
        self.next_map = Some(packets(table.pid, &section));
        // One that is under way ends first.
        if table.at == 0 {
            table.due = now.max(table.begun + TABLE_APART);
            self.next_at = self.next_at.min(table.due).max(self.apart_until);
        }
        (self.pmt, self.version) = (map, version);
        self.revision += 1;
        Some(true)
    }

    /// PMTs so far.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The last of them that was sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn heap_bytes(&self) -> usize {
        let next = self.next_map.as_ref().map_or(0, Vec::capacity);
        let packets: usize = next + self.tables.iter().map(|table| table.packets.capacity()).sum::<usize>();
        let components = self.pmt.1.iter().map(|component| component.descriptors.capacity());
        packets * PACKET_BYTES
            + self.pmt.1.capacity() * size_of::<Component>()
            + components.sum::<usize>()
            + self.pmt.2.capacity()
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
        let waiting = |table: &Table| !table.packets.is_empty() && (table.at > 0 || table.due <= now);
        let here = || self.tables.iter().enumerate().filter(|(_, table)| !table.packets.is_empty());
        let first = here().filter(|(_, table)| waiting(table)).min_by_key(|(_, table)| table.latest());
        let Some((which, _)) = first else {
            self.next_at = here().map(|(_, table)| table.due).min().unwrap_or(i64::MAX);
            return false;
        };
        let begins = self.tables.get(which).is_some_and(|table| table.at == 0);
        if begins && which == TIME {
            self.tell_time(utc_s);
        }
        let Some(table) = self.tables.get_mut(which) else { return false };
        if begins {
            if which == PMT
                && let Some(map) = self.next_map.take()
            {
                (table.packets, self.going) = (map, self.revision);
            }
            table.begun = now;
        }
        let Some(packet) = table.packets.get(table.at) else {
            table.at = 0;
            return false;
        };
        *out = *packet;
        table.counter = (table.counter + 1) & 0x0F;
        rewrite::head(out, table.pid, table.counter);
        table.at += 1;
        if table.at < table.packets.len() {
            self.next_at = now + PACKETS_APART;
        } else {
            table.at = 0;
            let changed = which == PMT && self.next_map.is_some();
            // What was late is not made up for.
            let due = if changed { now } else { table.due + table.period };
            table.due = due.max(table.begun + TABLE_APART);
            self.next_at = now + SECTIONS_APART;
            if which == PMT {
                self.sent = self.going;
            }
        }
        self.apart_until = self.next_at;
        true
    }

    fn tell_time(&mut self, utc_s: u64) {
        let offset = self.local_time.filter(|_| self.offset_next);
        self.offset_next = !self.offset_next;
        let table = &mut self.tables[TIME];
        let section = match offset {
            Some(local) => time::tot(utc_s, &local_offset(local)).unwrap_or_default(),
            None => time::tdt(utc_s).into(),
        };
        // With a TOT in between, each comes half as often as one of them.
        table.period = if self.local_time.is_some() { SLOW.0 / 2 } else { SLOW.0 };
        table.packets = packets(table.pid, &section);
    }
}

const _: () = assert!(PAT < PMT && PMT < TIME);

/// Packets of a section, counters aside.
fn packets(pid: u16, section: &[u8]) -> Vec<[u8; PACKET_BYTES]> {
    if section.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(packets_of_section(section.len()) * PACKET_BYTES);
    let mut put = |part: &[u8]| {
        bytes.extend_from_slice(part);
        true
    };
    // Nothing limits what the vector takes.
    let _whole = write_section(pid, &mut Counter::default(), section, &mut put);
    bytes.as_chunks().0.to_vec()
}

/// A table that never changes while it is sent. Its version depends on its content, so that after a restart receivers
/// see another version where there is another content, and the same one where there is not.
fn versioned(table: impl Fn(u8) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    table(version_of(&table(0)?))
}

fn version_of(section: &[u8]) -> u8 {
    (crc32(section.get(..section.len().saturating_sub(4)).unwrap_or_default()) % 32) as u8
}

/// Local time offset (EN 300 468 section 6.2.20): one region, no change in sight.
fn local_offset(local: LocalTime) -> [u8; 15] {
    let [a, b, c] = local.country;
    let minutes = local.offset_minutes.unsigned_abs().min(13 * 60);
    let bcd = |n: u16| (n / 10 * 16 + n % 10) as u8;
    let (hours, minutes) = (bcd(minutes / 60), bcd(minutes % 60));
    let sign = 2 | u8::from(local.offset_minutes < 0);
    // The time of the next change: the last day that can be said.
    [0x58, 13, a, b, c, sign, hours, minutes, 0xFF, 0xFF, 0x23, 0x59, 0x59, hours, minutes]
}

#[cfg(test)]
mod tests {
    use super::super::ticker::Ticker;
    use super::*;
    use crate::wire::ts::packet::Packet;
    use crate::wire::ts::section::Assembler;
    use crate::wire::ts::tables;

    /// When which table began, in ms, at this rate.
    fn run(service: &Service, seconds: i64, mut each: impl FnMut(i64, &mut Carousel)) -> Vec<(u8, i64)> {
        let mut carousel = Carousel::new(service, 0x100);
        let (mut ticker, mut assembler) = (Ticker::new(service.rate(), 0), Assembler::new());
        let (mut seen, mut out, mut before) = (Vec::new(), [0; PACKET_BYTES], -SECOND);
        while ticker.now() < seconds * SECOND {
            each(ticker.now(), &mut carousel);
            if carousel.put(ticker.now(), 750_516_300, &mut out) {
                assert!(ticker.now() - before >= 2 * MS, "TBsys");
                before = ticker.now();
                assembler.push(&Packet::parse(&out), |section| {
                    assert!(section.crc_ok());
                    seen.push((section.table_id(), ticker.now() / MS));
                });
            }
            ticker.advance();
        }
        assert_eq!(assembler.dropped(), 0);
        seen
    }

    #[test]
    fn every_table_comes_in_its_time() {
        let local_time = Some(LocalTime { country: *b"DEU", offset_minutes: 60 });
        for rate_bps in [200_000, 2_000_000, 20_000_000] {
            let service = Service { rate_bps, nit: true, time: true, local_time, ..Service::default() };
            let seen = run(&service, 60, |_, _| {});
            assert!(seen.windows(2).all(|two| two[1].1 - two[0].1 >= 5), "never in a row");
            for (table, longest) in
                [(tables::PAT, 100), (tables::PMT, 100), (tables::SDT, 1000), (tables::NIT, 10_000)]
                    .into_iter()
                    .chain([(tables::TDT, 10_000), (tables::TOT, 10_000)])
            {
                let at: Vec<i64> = seen.iter().filter(|(id, _)| *id == table).map(|(_, at)| *at).collect();
                let gaps = || at.windows(2).map(|two| two[1] - two[0]);
                assert!(
                    at[0] <= longest && gaps().max().unwrap() <= longest,
                    "{table:#x} at {rate_bps}: {at:?}"
                );
                assert!(gaps().min().unwrap() >= 25, "{table:#x}");
            }
        }
    }

    fn components(n: usize) -> Vec<Component> {
        let pid = |at: usize| 0x100 + at as u16;
        (0..n)
            .map(|at| Component { stream_type: 6, pid: pid(at), descriptors: vec![5, 4, 1, 2, 3, 4] })
            .collect()
    }

    /// The longest tables at the lowest rates, where a packet takes up to 7.5 ms and a fifth of them are clocks.
    #[test]
    fn long_tables_keep_no_other_waiting() {
        let local_time = Some(LocalTime { country: *b"DEU", offset_minutes: 60 });
        for rate_bps in [super::super::RATE_BPS_MIN, 214_000, 216_000, 251_000, 303_000, 502_000] {
            let service = Service {
                rate_bps,
                name: "n".repeat(240),
                provider: "p".repeat(240),
                network_name: "w".repeat(240),
                nit: true,
                time: true,
                local_time,
                ..Service::default()
            };
            let mut carousel = Carousel::new(&service, 0x100);
            assert_eq!(carousel.set_map(0, 0x100, components(90), Vec::new()), Some(true));
            let lengths: Vec<usize> = carousel.tables.iter().map(|table| table.packets.len()).collect();
            assert_eq!((lengths, carousel.next_map.as_ref().unwrap().len()), (vec![1, 1, 2, 2, 1], 6));
            let (mut ticker, mut assembler) = (Ticker::new(rate_bps, 0), Assembler::new());
            let (mut out, mut ended) = ([0; PACKET_BYTES], std::collections::BTreeMap::<u8, Vec<i64>>::new());
            let mut clock_due = 0;
            while ticker.now() < 60 * SECOND {
                if ticker.now() + ticker.packet() > clock_due {
                    clock_due = ticker.now() + 38 * MS;
                } else if carousel.put(ticker.now(), 0, &mut out) {
                    assembler.push(&Packet::parse(&out), |section| {
                        ended.entry(section.table_id()).or_default().push(ticker.now() / MS);
                    });
                }
                ticker.advance();
            }
            let limits = [(tables::PAT, 100), (tables::PMT, 100), (tables::SDT, 1000), (tables::NIT, 10_000)];
            for (table, longest) in limits {
                let gaps = || ended[&table].windows(2).map(|two| two[1] - two[0]);
                let (least, most) = (gaps().min().unwrap(), gaps().max().unwrap());
                assert!(least >= 25 && most <= longest, "{table:#x} at {rate_bps}: {least} to {most} ms");
            }
        }
    }

    #[test]
    fn a_map_that_changes_is_sent_soon_and_not_too_soon() {
        let mut last = 0;
        let service = Service::default();
        let seen = run(&service, 20, |now, carousel| {
            let n = (now / (7 * MS)) as usize % 80;
            if now < 10 * SECOND && n != last {
                assert_eq!(carousel.set_map(now, 0x100, components(n), Vec::new()), Some(true));
                assert_eq!(carousel.set_map(now, 0x100, components(n), Vec::new()), Some(false));
                last = n;
            }
            assert_eq!(carousel.set_map(now, 0x100, components(200), Vec::new()), None, "does not fit");
            if now > 19 * SECOND {
                assert_eq!(carousel.sent(), carousel.revision());
            }
        });
        let at: Vec<i64> = seen.iter().filter(|(id, _)| *id == tables::PAT).map(|(_, at)| *at).collect();
        assert!(at.windows(2).all(|two| two[1] - two[0] <= 100), "{at:?}");
    }

    #[test]
    fn versions_follow_content() {
        let of = |name: &str| {
            let service = Service { name: name.to_owned(), ..Service::default() };
            Carousel::new(&service, 0x100).tables[2].packets[0][10]
        };
        assert_eq!(of("one"), of("one"));
        let versions: std::collections::BTreeSet<u8> = (0..20).map(|n| of(&format!("name {n}"))).collect();
        assert!(versions.len() > 5);
    }
}
