//! Packets of a source with other PIDs and another identity, or those of one of its programs alone; everything else as it
//! came.
//!
//! A machine without clock, socket or thread: a packet goes in, and what becomes of it comes out, at its place
//! ([`Remap::packet`]). Media are never looked into: of their packets the PID is changed, or nothing. What names PIDs and
//! services is made anew, with a counter, a version and a CRC of its own: PAT and PMT, and if identities change or a program is
//! taken out, SDT and EIT. A section leaves in packets of its own where the last packet of the source's came.
//!
//! **One program of several** ([`Plan::program`]) leaves as a stream with one: the PAT names it alone (and the network's table);
//! of the SDT of this stream the service stays, and where that is in no SDT there is none; of the EIT the sections of the
//! service stay; CAT, NIT, TDT and TOT stay as they are, and so do what the program's map names (elementary streams, its clock,
//! messages of conditional access) and what the CAT names. Everything else is left out, null packets with it: the rate of the
//! whole is no rate of a part.
//!
//! **A PID that another one is moved to** is given up by who had it, if no table names it. One that PAT or PMT name (a map, a
//! clock, a stream) and that is not moved itself stays, and the move to it is not made ([`Faults::moves`]).
//!
//! What must stay true: memory is bounded by [`PROGRAMS_MAX`], `versions` and what unfinished sections take; a packet that is
//! damaged is passed on or left out, never read; a table names no PID that was given up. Whatever a source's tables do, where
//! packets go is looked up anew once in `ROUTE_EVERY` packets, and `ROUTES_MAX` times in a row.

mod versions;

use versions::Versions;

use crate::wire::ts::crc::crc32;
use crate::wire::ts::descriptor::tag;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::section::{Assembler, Section};
use crate::wire::ts::tables::{self, Cat, Pat, Pmt};
use crate::wire::ts::write::packet::{Counter, write_section};
use crate::wire::ts::write::section::dvb_text;
use crate::wire::ts::{PACKET_BYTES, PIDS, pid};

/// Programs whose maps are read.
pub const PROGRAMS_MAX: usize = 64;
/// Tables of which the version is known: PAT and SDT, and a map a program.
const VERSIONS_MAX: usize = PROGRAMS_MAX + 4;
/// Packets from one look at where PIDs go to the next, and looks in a row: a stream begins with some, for PAT, CAT and maps.
const ROUTE_EVERY: u32 = 64;
const ROUTES_MAX: u32 = 8;
/// Bytes of a section of PSI or of an SDT at most, and those of its head and its CRC.
const PSI_BYTES_MAX: usize = 1024;
const SECTION_BYTES: usize = 12;
/// Bytes of a name, as a configuration may give it.
const NAME_BYTES_MAX: usize = 121;
/// The PID is left out.
const OUT: u16 = u16::MAX;
/// The first PID that a program may have.
const FIRST_PID: u16 = 0x20;
/// Identifies a stream's own guide, in contrast to that of others: now and next, and the schedule.
const EIT_SCHEDULE: std::ops::RangeInclusive<u8> = 0x50..=0x5F;

/// What is to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// This program alone; `None`: all.
    pub program: Option<u16>,
    /// PIDs that are moved, from and to.
    pub pids: Vec<(u16, u16)>,
    /// Number of the program, which is its service id: of the one that is taken, else of the first of the PAT.
    pub service_id: Option<u16>,
    /// `transport_stream_id`.
    pub stream_id: Option<u16>,
    /// Name of that service.
    pub service_name: Option<String>,
    /// Who provides it.
    pub provider: Option<String>,
}

impl Plan {
    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        *self == Plan::default()
    }

    fn names(&self) -> bool {
        self.service_name.is_some() || self.provider.is_some()
    }
}

/// A program of the source.
#[derive(Clone, Debug)]
struct Program {
    number: u16,
    map_pid: u16,
    /// PIDs that its map names.
    parts: Vec<u16>,
}

/// What was asked for and not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Moves to a PID that the source's tables name: how often one was given up.
    pub moves: u64,
    /// Sections that would have become too long with other names, and kept their own.
    pub sections: u64,
}

/// See the module's description.
#[derive(Debug)]
pub struct Remap {
    plan: Plan,
    /// The PID that each is moved to, or [`OUT`].
    to: Box<[u16; PIDS]>,
    /// PIDs whose sections are made anew.
    anew: Box<[bool; PIDS]>,
    /// Elsewhere while its sections are made anew.
    assembler: Option<Assembler>,
    programs: Vec<Program>,
    /// PIDs that the CAT names.
    managed: Vec<u16>,
    counters: Vec<(u16, Counter)>,
    versions: Versions,
    /// Where each PID is moved, by [`Plan::pids`] without what was refused: itself, mostly.
    moves: Box<[u16; PIDS]>,
    /// Moves that are not made.
    refused: Vec<(u16, u16)>,
    /// Tables have changed where packets go, and that was not looked up yet.
    stale: bool,
    /// Looks that are left, and packets until there is one more.
    routes: u32,
    route_in: u32,
    faults: Faults,
    #[cfg(test)]
    looked: u64,
}

impl Remap {
    /// One that has seen nothing.
    pub fn new(plan: Plan) -> Remap {
        let mut remap = Remap {
            plan,
            to: Box::new([OUT; PIDS]),
            anew: Box::new([false; PIDS]),
            assembler: Some(Assembler::new()),
            programs: Vec::new(),
            managed: Vec::new(),
            counters: Vec::new(),
            versions: Versions::default(),
            moves: Box::new(std::array::from_fn(|pid| pid as u16)),
            refused: Vec::new(),
            stale: false,
            routes: ROUTES_MAX,
            route_in: ROUTE_EVERY,
            faults: Faults::default(),
            #[cfg(test)]
            looked: 0,
        };
        remap.route();
        remap
    }

    /// The source is another one from here on. Counters and versions run on: to who reads this nothing has changed.
    pub fn restart(&mut self) {
        self.assembler = Some(Assembler::new());
        self.programs.clear();
        self.managed.clear();
        self.route();
    }

    /// Appends to `out` what becomes of a packet.
    pub fn packet(&mut self, bytes: &[u8; PACKET_BYTES], out: &mut Vec<u8>) {
        self.route_in -= 1;
        if self.route_in == 0 {
            (self.route_in, self.routes) = (ROUTE_EVERY, (self.routes + 1).min(ROUTES_MAX));
            if self.stale {
                self.changed();
            }
        }
        let packet = Packet::parse(bytes);
        let at = usize::from(packet.pid);
        let to = self.to.get(at).copied().unwrap_or(OUT);
        if packet.pid == pid::CAT && self.plan.program.is_some() {
            self.cat(&packet);
        }
        if to == OUT {
            return;
        }
        if self.anew.get(at).is_some_and(|anew| *anew) {
            if !packet.error && !packet.malformed && packet.scrambling == 0 {
                self.sections(&packet, out);
            }
        } else if to == packet.pid {
            out.extend_from_slice(bytes);
        } else {
            let mut moved = *bytes;
            let [high, low] = to.to_be_bytes();
            (moved[1], moved[2]) = (moved[1] & 0xE0 | high, low);
            out.extend_from_slice(&moved);
        }
    }

    /// What was asked for and not done.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Moves that are not made, from and to.
    pub fn refused(&self) -> &[(u16, u16)] {
        &self.refused
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        let parts: usize = self.programs.iter().map(|program| program.parts.capacity() * 2).sum();
        PIDS * 5
            + self.assembler.as_ref().map_or(0, Assembler::heap_bytes)
            + parts
            + self.versions.heap_bytes()
    }

    /// The program that identities are changed of.
    fn own(&self) -> Option<u16> {
        self.plan.program.or_else(|| self.programs.first().map(|program| program.number))
    }

    /// The number that a program gets.
    fn number(&self, program: u16) -> u16 {
        self.plan.service_id.filter(|_| Some(program) == self.own()).unwrap_or(program)
    }

    fn moved(&self, pid: u16) -> u16 {
        self.moves.get(usize::from(pid)).copied().unwrap_or(pid)
    }

    /// Tables have changed where packets go: that is looked up at once, unless it was too often.
    fn changed(&mut self) {
        self.stale = self.routes == 0;
        if !self.stale {
            self.routes -= 1;
            self.route();
        }
    }

    /// Refuses the moves to PIDs that the source needs. One of which the target stays because it is not moved away itself is
    /// refused as well.
    fn refuse(&mut self) {
        let named = |pid: u16| self.programs.iter().any(|p| p.map_pid == pid || p.parts.contains(&pid));
        let named: Vec<bool> = self.plan.pids.iter().map(|&(_, to)| named(to)).collect();
        for &(from, to) in &self.plan.pids {
            self.moves.iter_mut().skip(usize::from(from)).take(1).for_each(|it| *it = to);
        }
        let mut refused: Vec<(u16, u16)> = Vec::new();
        loop {
            let before = refused.len();
            for (&(from, to), named) in self.plan.pids.iter().zip(&named) {
                let stays = from != to && *named && self.moved(to) == to;
                if stays && self.moved(from) == to {
                    self.moves.iter_mut().skip(usize::from(from)).take(1).for_each(|it| *it = from);
                    refused.push((from, to));
                }
            }
            if refused.len() == before {
                break;
            }
        }
        let anew = refused.iter().filter(|pair| !self.refused.contains(pair)).count();
        self.faults.moves += anew as u64;
        self.refused = refused;
    }

    /// Where packets go, as far as the tables tell.
    fn route(&mut self) {
        #[cfg(test)]
        {
            self.looked += 1;
        }
        self.refuse();
        let all = self.plan.program.is_none();
        self.to.fill(OUT);
        self.anew.fill(false);
        let mut kept: Vec<u16> = Vec::new();
        if all {
            kept.extend(0..PIDS as u16);
        } else {
            kept.extend([pid::PAT, pid::CAT, pid::NIT, pid::SDT, pid::EIT, pid::TDT]);
            kept.extend(&self.managed);
            let own = self.programs.iter().filter(|program| Some(program.number) == self.plan.program);
            kept.extend(own.flat_map(|program| program.parts.iter().copied().chain([program.map_pid])));
        }
        let mut mark =
            |pid: u16| self.anew.iter_mut().skip(usize::from(pid)).take(1).for_each(|it| *it = true);
        mark(pid::PAT);
        self.programs.iter().for_each(|program| mark(program.map_pid));
        let identity = self.plan.service_id.is_some() || self.plan.stream_id.is_some() || !all;
        if identity || self.plan.names() {
            mark(pid::SDT);
        }
        if identity {
            mark(pid::EIT);
        }
        for from in kept {
            let to = self.moved(from);
            self.to.iter_mut().skip(usize::from(from)).take(1).for_each(|place| *place = to);
        }
        for &(from, to) in &self.plan.pids {
            // Who has the PID that somebody else was moved to.
            if from != to && self.moved(from) == to && self.moved(to) == to {
                self.to.iter_mut().skip(usize::from(to)).take(1).for_each(|place| *place = OUT);
            }
        }
    }

    /// A packet of a PID whose sections are made anew.
    fn sections(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        let Some(mut assembler) = self.assembler.take() else { return };
        assembler.push(packet, |section| {
            // What is damaged is not read.
            let made = if section.crc_ok() { self.section(packet.pid, section) } else { None };
            if let Some(made) = made {
                let to = self.moved(packet.pid);
                let counter = counter(&mut self.counters, to);
                let _whole = write_section(to, counter, &made, &mut |part: &[u8]| {
                    out.extend_from_slice(part);
                    true
                });
            }
        });
        self.assembler = Some(assembler);
    }

    /// What a section becomes; `None`: it is left out.
    fn section(&mut self, pid: u16, section: Section<'_>) -> Option<Vec<u8>> {
        match (pid, section.table_id()) {
            (pid::PAT, tables::PAT) => self.pat(section),
            (pid::SDT, tables::SDT) => self.sdt(section),
            (pid::EIT, tables::EIT) => self.eit(section),
            (pid::EIT, table) if EIT_SCHEDULE.contains(&table) => self.eit(section),
            // Of other streams, or of bouquets.
            (pid::SDT | pid::EIT, _) => self.plan.program.is_none().then(|| section.bytes().to_vec()),
            (_, tables::PMT) if self.is_map(pid, section) => self.pmt(section),
            // What else a map's PID carries names nothing that was moved.
            _ if self.plan.program.is_none() => Some(section.bytes().to_vec()),
            _ => None,
        }
    }

    fn is_map(&self, pid: u16, section: Section<'_>) -> bool {
        self.programs.iter().any(|p| (p.number, p.map_pid) == (section.extension(), pid))
    }

    fn pat(&mut self, section: Section<'_>) -> Option<Vec<u8>> {
        let pat = Pat::parse(section)?;
        let named: Vec<(u16, u16)> = pat.programs().collect();
        if section.is_current() {
            self.associate(&named, section.last_number() == 0);
        }
        let wanted = self.plan.program;
        if wanted.is_some_and(|wanted| named.iter().all(|(number, _)| *number != wanted)) {
            return None;
        }
        let mut body = Vec::new();
        for (number, pid) in named {
            if number == 0 || wanted.is_none_or(|wanted| wanted == number) {
                let number = if number == 0 { 0 } else { self.number(number) };
                body.extend(number.to_be_bytes());
                body.extend((0xE000 | self.moved(pid)).to_be_bytes());
            }
        }
        let stream_id = self.plan.stream_id.unwrap_or(pat.transport_stream_id);
        self.make(section, stream_id, &body)
    }

    /// The programs that a PAT names; `alone`: it has no other section.
    fn associate(&mut self, named: &[(u16, u16)], alone: bool) {
        let fits = |(number, pid): &&(u16, u16)| *number != 0 && *pid >= FIRST_PID && *pid != pid::NULL;
        let before: Vec<(u16, u16)> = self.programs.iter().map(|p| (p.number, p.map_pid)).collect();
        if alone {
            self.programs.retain(|p| named.contains(&(p.number, p.map_pid)));
        }
        for &(number, map_pid) in named.iter().filter(fits) {
            let known = self.programs.iter().any(|p| (p.number, p.map_pid) == (number, map_pid));
            if !known && self.programs.len() < PROGRAMS_MAX {
                self.programs.push(Program { number, map_pid, parts: Vec::new() });
            }
        }
        if !self.programs.iter().map(|p| (p.number, p.map_pid)).eq(before) {
            self.changed();
        }
    }

    fn pmt(&mut self, section: Section<'_>) -> Option<Vec<u8>> {
        let pmt = Pmt::parse(section)?;
        if self.plan.program.is_some_and(|wanted| wanted != pmt.program) {
            return None;
        }
        let streams = || pmt.streams().filter(|stream| stream.pid >= FIRST_PID);
        let mut parts: Vec<u16> = streams().map(|stream| stream.pid).collect();
        parts.extend([pmt.pcr_pid].into_iter().filter(|pid| *pid != pid::NULL));
        parts.extend(pmt.descriptors.ca_pids());
        parts.extend(streams().flat_map(|stream| stream.descriptors.ca_pids()));
        parts.sort_unstable();
        parts.dedup();
        let program = self.programs.iter_mut().find(|p| p.number == pmt.program)?;
        if section.is_current() && program.parts != parts {
            program.parts = parts;
            // With all programs they say only where nothing may be moved.
            if self.plan.program.is_some() || !self.plan.pids.is_empty() {
                self.changed();
            }
        }
        let [_, _, i0, i1, rest @ ..] = section.body() else { return None };
        let (about, mut rest) = rest.split_at_checked(length(*i0, *i1))?;
        let mut body: Vec<u8> = (0xE000 | self.moved(pmt.pcr_pid)).to_be_bytes().into();
        body.extend([*i0, *i1]);
        body.extend(self.descriptors(about));
        while let [stream_type, p0, p1, i0, i1, behind @ ..] = rest {
            let (about, behind) = behind.split_at_checked(length(*i0, *i1))?;
            let pid = u16::from_be_bytes([*p0 & 0x1F, *p1]);
            body.push(*stream_type);
            body.extend((0xE000 | self.moved(pid)).to_be_bytes());
            body.extend([*i0, *i1]);
            body.extend(self.descriptors(about));
            rest = behind;
        }
        self.make(section, self.number(pmt.program), &body)
    }

    /// Descriptors of a map with the PIDs of conditional access moved.
    fn descriptors(&self, about: &[u8]) -> Vec<u8> {
        let mut moved = about.to_vec();
        let mut rest = &mut moved[..];
        while let [name, count, behind @ ..] = rest {
            let Some((body, behind)) = behind.split_at_mut_checked(usize::from(*count)) else { break };
            if let (tag::CA, [_, _, p0, p1, ..]) = (*name, &mut *body) {
                let to = self.moved(u16::from_be_bytes([*p0 & 0x1F, *p1])).to_be_bytes();
                (*p0, *p1) = (*p0 & 0xE0 | to[0], to[1]);
            }
            rest = behind;
        }
        moved
    }

    /// The CAT is passed on as it is; what it names belongs to whatever is left.
    fn cat(&mut self, packet: &Packet<'_>) {
        if packet.error || packet.malformed || packet.scrambling != 0 {
            return;
        }
        let (mut managed, Some(assembler)) = (None, &mut self.assembler) else { return };
        assembler.push(packet, |section| {
            if let Some(cat) = Cat::parse(section).filter(|_| section.crc_ok() && section.is_current()) {
                managed = Some(cat.descriptors.ca_pids().filter(|pid| *pid >= FIRST_PID).collect());
            }
        });
        if let Some(managed) = managed.filter(|managed| *managed != self.managed) {
            self.managed = managed;
            self.changed();
        }
    }

    fn sdt(&mut self, section: Section<'_>) -> Option<Vec<u8>> {
        let body = self.services(section, true)?;
        let body = if SECTION_BYTES + body.len() <= PSI_BYTES_MAX {
            body
        } else {
            // Names that are too long are none.
            self.faults.sections += 1;
            self.services(section, false)?
        };
        let stream_id = self.plan.stream_id.unwrap_or(section.extension());
        self.make(section, stream_id, &body)
    }

    /// The body of an SDT, in which this stream's own service has other names if it is `renamed`.
    fn services(&self, section: Section<'_>, renamed: bool) -> Option<Vec<u8>> {
        let [n0, n1, reserved, rest @ ..] = section.body() else { return None };
        let (mut body, mut rest, mut any) = (vec![*n0, *n1, *reserved], rest, false);
        while let [s0, s1, flags, i0, i1, behind @ ..] = rest {
            let (about, behind) = behind.split_at_checked(length(*i0, *i1))?;
            rest = behind;
            let id = u16::from_be_bytes([*s0, *s1]);
            if self.plan.program.is_some_and(|wanted| wanted != id) {
                continue;
            }
            let own = renamed && Some(id) == self.own();
            let about = if own { self.renamed(about) } else { about.to_vec() };
            let [l0, l1] = (about.len() as u16).to_be_bytes();
            body.extend(self.number(id).to_be_bytes());
            body.extend([*flags, *i0 & 0xF0 | l0 & 0x0F, l1]);
            body.extend(about);
            any = true;
        }
        any.then_some(body)
    }

    /// Descriptors of a service with its names changed.
    fn renamed(&self, about: &[u8]) -> Vec<u8> {
        if !self.plan.names() {
            return about.to_vec();
        }
        let (mut made, mut rest) = (Vec::new(), about);
        while let [name, count, behind @ ..] = rest {
            let Some((body, behind)) = behind.split_at_checked(usize::from(*count)) else { break };
            rest = behind;
            match self.service(body).filter(|_| *name == tag::SERVICE) {
                Some(service) => made.extend(service),
                None => {
                    made.extend([*name, *count]);
                    made.extend_from_slice(body);
                }
            }
        }
        made
    }

    /// A service descriptor (EN 300 468 section 6.2.33) with other names, of which those that are not given stay.
    fn service(&self, body: &[u8]) -> Option<Vec<u8>> {
        let (&kind, rest) = body.split_first()?;
        let (&count, rest) = rest.split_first()?;
        let (provider, rest) = rest.split_at_checked(usize::from(count))?;
        let (&count, rest) = rest.split_first()?;
        let name = rest.get(..usize::from(count))?;
        let given = |text: &Option<String>, old: &[u8]| {
            text.as_ref().map_or_else(|| old.to_vec(), |text| dvb_text(text, NAME_BYTES_MAX))
        };
        let (provider, name) = (given(&self.plan.provider, provider), given(&self.plan.service_name, name));
        let bytes = 3 + provider.len() + name.len();
        let mut out = vec![tag::SERVICE, u8::try_from(bytes).ok()?, kind, provider.len() as u8];
        out.extend_from_slice(&provider);
        out.push(name.len() as u8);
        out.extend_from_slice(&name);
        Some(out)
    }

    /// A section of the guide keeps its version: what stands in it is what stood there.
    fn eit(&mut self, section: Section<'_>) -> Option<Vec<u8>> {
        let id = section.extension();
        if self.plan.program.is_some_and(|wanted| wanted != id) {
            return None;
        }
        let mut body = section.body().to_vec();
        if let (Some(stream_id), [s0, s1, ..]) = (self.plan.stream_id, &mut body[..]) {
            [*s0, *s1] = stream_id.to_be_bytes();
        }
        let numbers = (section.number(), section.last_number());
        self.assemble(section, self.number(id), section.version(), numbers, &body)
    }

    /// A section with the version of its table, which is one for all of them and another when the source's is, or what stands
    /// in a section. Of a table that was filtered there is one section.
    fn make(&mut self, section: Section<'_>, extension: u16, body: &[u8]) -> Option<Vec<u8>> {
        let filtered = self.plan.program.is_some();
        let numbers = if filtered { (0, 0) } else { (section.number(), section.last_number()) };
        let sum = crc32(body) ^ u32::from(numbers.1);
        let version = self.versions.of(section, extension, numbers.0, sum);
        self.assemble(section, extension, version, numbers, body)
    }

    fn assemble(
        &self,
        section: Section<'_>,
        extension: u16,
        version: u8,
        (number, last): (u8, u8),
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let &[table, flags, ..] = section.bytes() else { return None };
        let length = SECTION_BYTES - 3 + body.len();
        // No body is longer than that of a section that came, or than what was looked at.
        if length > 0x0FFF {
            return None;
        }
        let [high, low] = (length as u16).to_be_bytes();
        let [e0, e1] = extension.to_be_bytes();
        let current = u8::from(section.is_current());
        let mut made =
            vec![table, flags & 0xF0 | high, low, e0, e1, 0xC0 | version << 1 | current, number, last];
        made.extend_from_slice(body);
        made.extend(crc32(&made).to_be_bytes());
        Some(made)
    }
}

/// 12 bits of length.
fn length(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high & 0x0F, low]))
}

fn counter(counters: &mut Vec<(u16, Counter)>, pid: u16) -> &mut Counter {
    let at = counters.iter().position(|(of, _)| *of == pid).unwrap_or_else(|| {
        // PIDs of maps that are no more.
        if counters.len() >= VERSIONS_MAX {
            counters.clear();
        }
        counters.push((pid, Counter::default()));
        counters.len() - 1
    });
    &mut counters[at].1
}

#[cfg(test)]
mod tests;
