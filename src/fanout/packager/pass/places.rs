//! Where a transport stream can be begun with, and its newest tables as they came.
//!
//! A place is the packet that a picture with `random_access_indicator` begins with, ten times a second at most; of a stream
//! without pictures, the packet that a PAT begins with, twice a second at most. Encoders exist that never set the indicator:
//! where pictures have come without one for [`NO_ACCESS`], a PAT is a place too, and decoders find the next keyframe for
//! themselves; of pictures that have said so, only when twice their longest interval has passed ([`ONCE`] if none is known). In
//! a stream of several programs the first that has pictures decides.

use crate::media::Mono;
use crate::wire::ts::descriptor::{Class, classify};
use crate::wire::ts::packet::Packet;
use crate::wire::ts::section::{Assembler, Section};
use crate::wire::ts::tables::{Pat, Pmt};
use crate::wire::ts::{PACKET_BYTES, PIDS, pid};
use std::time::Duration;

/// Pictures without a place for this long: below what a player waits for its stream, above most groups of pictures.
pub const NO_ACCESS: Duration = Duration::from_secs(5);
/// Pictures that said so once may take so long until they do again.
pub const ONCE: Duration = Duration::from_secs(20);
/// The longest interval that is believed.
const INTERVAL_MAX: Duration = Duration::from_secs(60);
/// Between two places that are pictures: who joins has nothing of more, and each costs its tables.
const PLACES: Duration = Duration::from_millis(100);
/// Between two places that are no pictures.
const TABLE_PLACES: Duration = Duration::from_millis(500);
/// Programs whose maps are kept.
const PROGRAMS_MAX: usize = 64;
/// Packets of one table: maps are 1024 bytes at most.
const TABLE_PACKETS_MAX: usize = 8;
/// The first PID that may carry a map or pictures.
const FIRST_PID: u16 = 0x10;

/// What a PID is for.
mod uses {
    /// PAT or PMT.
    pub const TABLE: u8 = 1;
    /// The pictures that decide.
    pub const PICTURES: u8 = 1 << 1;
}

/// The newest section of a table, with the packets that it came in.
#[derive(Debug)]
struct Kept {
    pid: u16,
    packets: Vec<u8>,
    /// Of the one that is not whole.
    gathered: Vec<u8>,
}

/// A table as it came.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Its PID.
    pub pid: u16,
    /// Whole packets, in order.
    pub packets: &'a [u8],
    /// The counters of the first and the last of them.
    pub first: u8,
    /// See `first`.
    pub last: u8,
    /// The counter of the last packet of the one behind it that has begun; `last` if none has.
    pub begun: u8,
}

#[derive(Clone, Copy, Debug)]
struct Program {
    number: u16,
    map_pid: u16,
    /// Its map came.
    known: bool,
    pictures: Option<u16>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Places {
    assembler: Assembler,
    uses: Box<[u8; PIDS]>,
    /// The PAT first.
    kept: Vec<Kept>,
    programs: Vec<Program>,
    pictures: Option<u16>,
    /// When pictures said so last, or the first packet of them came.
    access_at: Option<Mono>,
    /// They have said so; the longest time between two that did.
    said: bool,
    longest: Option<Duration>,
    place_at: Option<Mono>,
    /// The last that was a picture.
    picture_at: Option<Mono>,
}

impl Default for Places {
    fn default() -> Places {
        let mut places = Places {
            assembler: Assembler::new(),
            uses: Box::new([0; PIDS]),
            kept: Vec::new(),
            programs: Vec::new(),
            pictures: None,
            access_at: None,
            said: false,
            longest: None,
            place_at: None,
            picture_at: None,
        };
        places.keep(pid::PAT);
        places
    }
}

impl Places {
    /// Whether one may begin with this packet, of which [`Places::learn`] is told next.
    pub fn is_place(&mut self, now: Mono, packet: &Packet<'_>) -> bool {
        let uses = self.uses.get(usize::from(packet.pid)).copied().unwrap_or_default();
        // Most packets are here for nothing.
        if uses == 0 || packet.error || packet.malformed {
            return false;
        }
        let place = if uses & uses::PICTURES != 0 {
            let since = *self.access_at.get_or_insert(now);
            let says = packet.adaptation.is_some_and(|field| field.random_access);
            // What a picture goes on with is none, whatever it says.
            let access = says && packet.has_payload && packet.unit_start;
            if access {
                if std::mem::replace(&mut self.said, true) {
                    self.longest = self.longest.max(Some(now.since(since).min(INTERVAL_MAX)));
                }
                self.access_at = Some(now.max(since));
            }
            let place = access && self.picture_at.is_none_or(|at| now.since(at) >= PLACES);
            if place {
                self.picture_at = Some(now);
            }
            place
        } else {
            packet.pid == pid::PAT
                && packet.unit_start
                && self.is_known()
                && self.kept.first().is_some_and(|pat| !pat.packets.is_empty())
                && self.place_at.is_none_or(|at| now.since(at) >= TABLE_PLACES)
                && (self.pictures.is_none()
                    || self.access_at.is_some_and(|at| now.since(at) >= self.patience()))
        };
        if place {
            self.place_at = Some(now);
        }
        place
    }

    /// How long pictures may say nothing.
    fn patience(&self) -> Duration {
        let said = self.longest.map_or(ONCE, |longest| longest * 2);
        if self.said { said.max(NO_ACCESS) } else { NO_ACCESS }
    }

    /// Takes note of a packet.
    pub fn learn(&mut self, packet: &Packet<'_>, bytes: &[u8; PACKET_BYTES]) {
        let uses = self.uses.get(usize::from(packet.pid)).copied().unwrap_or_default();
        if uses & uses::TABLE == 0 || !packet.has_payload {
            return;
        }
        if packet.error || packet.malformed || packet.scrambling != 0 {
            return;
        }
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.pid == packet.pid) else { return };
        // Nothing of what was before ends here.
        if packet.unit_start && packet.payload.first() == Some(&0) {
            kept.gathered.clear();
        }
        let starts = packet.unit_start || !kept.gathered.is_empty();
        if starts && kept.gathered.len() < TABLE_PACKETS_MAX * PACKET_BYTES {
            kept.gathered.extend(bytes);
        }
        let (mut whole, mut pat, mut map) = (false, None, None);
        self.assembler.push(packet, |section: Section<'_>| {
            if !section.crc_ok() || !section.is_current() {
                return;
            }
            if let Some(table) = Pat::parse(section).filter(|_| packet.pid == pid::PAT) {
                whole = true;
                // Those of a long table come in several sections: each names its own.
                pat = Some((named(table), section.last_number() == 0));
            } else if let Some(table) = Pmt::parse(section) {
                whole = true;
                map = Some((table.program, pictures(table)));
            }
        });
        if whole {
            kept.packets.clear();
            std::mem::swap(&mut kept.packets, &mut kept.gathered);
            // A table behind it may have begun in its last packet.
            if packet.unit_start && packet.payload.first() != Some(&0) {
                kept.gathered.extend(bytes);
            }
        }
        if let Some((named, alone)) = pat {
            self.associate(&named, alone);
        }
        if let Some((number, pictures)) = map {
            self.map(packet.pid, number, pictures);
        }
    }

    /// The newest tables: the PAT, then maps.
    pub fn tables(&self) -> impl Iterator<Item = Table<'_>> {
        let counter = |packet: Option<&[u8; PACKET_BYTES]>| packet.map_or(0, |packet| packet[3] & 0x0F);
        self.kept.iter().filter(|kept| !kept.packets.is_empty()).map(move |kept| {
            let packets = kept.packets.as_chunks().0;
            let last = counter(packets.last());
            let begun = kept.gathered.as_chunks().0.last().map_or(last, |packet| counter(Some(packet)));
            Table { pid: kept.pid, packets: &kept.packets, first: counter(packets.first()), last, begun }
        })
    }

    /// Whether a map was seen.
    fn is_known(&self) -> bool {
        self.programs.iter().any(|program| program.known)
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        let kept = |kept: &Kept| kept.packets.capacity() + kept.gathered.capacity();
        let tables: usize = self.kept.iter().map(kept).sum();
        PIDS + self.assembler.heap_bytes() + tables
    }

    fn keep(&mut self, pid: u16) {
        if self.kept.iter().all(|kept| kept.pid != pid) {
            self.kept.push(Kept { pid, packets: Vec::new(), gathered: Vec::new() });
        }
        self.mark(pid, uses::TABLE, true);
    }

    fn mark(&mut self, pid: u16, what: u8, is: bool) {
        if let Some(uses) = self.uses.get_mut(usize::from(pid)) {
            *uses = if is { *uses | what } else { *uses & !what };
        }
    }

    /// A PAT came; `alone`: it is the only section of its table.
    fn associate(&mut self, named: &[(u16, u16)], alone: bool) {
        let is_named = |p: &Program| named.contains(&(p.number, p.map_pid));
        if alone && self.programs.iter().any(|program| !is_named(program)) {
            self.programs.retain(is_named);
            let gone: Vec<u16> = self.kept.iter().map(|kept| kept.pid).collect();
            for pid in gone.into_iter().filter(|pid| *pid != pid::PAT) {
                if self.programs.iter().all(|program| program.map_pid != pid) {
                    self.kept.retain(|kept| kept.pid != pid);
                    self.mark(pid, uses::TABLE, false);
                }
            }
        }
        for &(number, map_pid) in named {
            let known = self.programs.iter().any(|p| (p.number, p.map_pid) == (number, map_pid));
            if !known && self.programs.len() < PROGRAMS_MAX {
                self.programs.push(Program { number, map_pid, known: false, pictures: None });
                self.keep(map_pid);
            }
        }
        self.choose();
    }

    fn map(&mut self, map_pid: u16, number: u16, pictures: Option<u16>) {
        let program = self.programs.iter_mut().find(|p| (p.number, p.map_pid) == (number, map_pid));
        if let Some(program) = program {
            (program.known, program.pictures) = (true, pictures);
            self.choose();
        }
    }

    fn choose(&mut self) {
        let pictures = self.programs.iter().find_map(|program| program.pictures);
        if pictures != self.pictures {
            let before = std::mem::replace(&mut self.pictures, pictures);
            before.into_iter().for_each(|pid| self.mark(pid, uses::PICTURES, false));
            pictures.into_iter().for_each(|pid| self.mark(pid, uses::PICTURES, true));
            (self.access_at, self.said, self.longest) = (None, false, None);
        }
    }
}

/// The programs that a PAT names, with the PIDs of their maps.
fn named(pat: Pat<'_>) -> Vec<(u16, u16)> {
    let fits = |(number, pid): &(u16, u16)| *number != 0 && *pid >= FIRST_PID && *pid != pid::NULL;
    pat.programs().filter(fits).take(PROGRAMS_MAX).collect()
}

/// The PID of a program's first pictures.
fn pictures(pmt: Pmt<'_>) -> Option<u16> {
    let is_video = |stream: &crate::wire::ts::tables::Stream<'_>| {
        classify(stream.stream_type, stream.descriptors, pmt.descriptors).1 == Class::Video
    };
    let fits = |pid: &u16| *pid >= FIRST_PID && *pid != pid::NULL;
    pmt.streams().filter(is_video).map(|stream| stream.pid).find(fits)
}
