//! PAT, PMT, SDT, NIT, TDT and TOT (ISO/IEC 13818-1, ETSI EN 300 468): in time, whole, and saying what was ordered.

use super::channel::{Channel, Program};
use super::gates::{Gate, Interval, Misses};
use super::section::{Sections, crc};
use std::collections::BTreeMap;

/// A table that comes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Pat,
    /// Of this program.
    Pmt(u16),
    Sdt,
    Nit,
    Tdt,
}

/// All tables of a multiplex.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    sections: BTreeMap<u16, Sections>,
    pub intervals: BTreeMap<Kind, Interval>,
    /// The newest content, by table, extension and section number.
    known: BTreeMap<(u8, u16, u8), Vec<u8>>,
    /// Provider and name by program.
    pub services: BTreeMap<u16, (String, String)>,
}

impl Tables {
    /// Tables that are waited for from the start on.
    pub fn new(channel: &Channel) -> Tables {
        let wanted = [(Kind::Sdt, channel.sdt), (Kind::Nit, channel.nit), (Kind::Tdt, channel.tdt)];
        let kinds = wanted.into_iter().filter_map(|(kind, sent)| sent.then_some(kind));
        let programs = channel.programs.iter().map(|program| Kind::Pmt(program.number));
        let intervals = kinds.chain(programs).chain([Kind::Pat]).map(|kind| (kind, Interval::default()));
        Tables { intervals: intervals.collect(), ..Tables::default() }
    }

    /// Whether this PID carries tables.
    pub fn reads(pid: u16, channel: &Channel) -> bool {
        matches!(pid, 0 | 0x10 | 0x11 | 0x14) || channel.programs.iter().any(|program| program.pmt_pid == pid)
    }

    /// Something of this PID is missing.
    pub fn hole(&mut self, pid: u16) {
        self.sections.entry(pid).or_default().drop_pending();
    }

    /// Takes a payload of a PID that carries tables.
    pub fn take(
        &mut self,
        pid: u16,
        packet: u64,
        payload: &[u8],
        starts: bool,
        channel: &Channel,
        misses: &mut Misses,
    ) {
        match self.sections.entry(pid).or_default().take(payload, starts) {
            Ok(sections) => {
                for section in sections {
                    self.section(pid, packet, &section, channel, misses);
                }
            }
            Err(what) => misses.note(Gate::Table, packet, || format!("PID {pid:#x}: {what}")),
        }
    }

    fn section(&mut self, pid: u16, packet: u64, section: &[u8], channel: &Channel, misses: &mut Misses) {
        let kind = match (pid, section[0]) {
            (0, 0x00) => Kind::Pat,
            (0x10, 0x40) => Kind::Nit,
            (0x11, 0x42) => Kind::Sdt,
            (0x14, 0x70 | 0x73) => Kind::Tdt,
            // Other networks, other streams, bouquets: theirs is not judged.
            (0x10, 0x41) | (0x11, 0x46 | 0x4A) => return,
            (_, 0x02) if channel.programs.iter().any(|program| program.pmt_pid == pid) => {
                Kind::Pmt(section.get(3..5).map_or(0, |bytes| be(bytes) as u16))
            }
            (_, table) => {
                misses.note(Gate::Table, packet, || format!("table {table:#x} on PID {pid:#x}"));
                return;
            }
        };
        // It came, readable or not: a broken sum is not an interval as well.
        self.came(kind, packet, channel, misses);
        let summed = section[0] != 0x70;
        if summed && crc(section) != 0 {
            misses.note(Gate::Crc, packet, || format!("{kind:?} on PID {pid:#x}"));
            return;
        }
        if let Err((gate, what)) = self.content(kind, pid, section, channel) {
            misses.note(gate, packet, || format!("{kind:?} on PID {pid:#x}: {what}"));
        }
    }

    fn came(&mut self, kind: Kind, packet: u64, channel: &Channel, misses: &mut Misses) {
        let Some(interval) = self.intervals.get_mut(&kind) else { return };
        let ms = channel.ms(interval.seen(packet));
        let limits = &channel.limits;
        let (gate, limit) = match kind {
            Kind::Pat => (Gate::PatInterval, limits.pat_pmt_ms),
            Kind::Pmt(_) => (Gate::PmtInterval, limits.pat_pmt_ms),
            Kind::Sdt => (Gate::SdtInterval, limits.sdt_ms),
            Kind::Nit => (Gate::NitInterval, limits.nit_ms),
            Kind::Tdt => (Gate::TdtInterval, limits.tdt_ms),
        };
        if ms > limit {
            misses.note(gate, packet, || format!("{ms:.1} ms without {kind:?}"));
        }
    }

    fn content(
        &mut self,
        kind: Kind,
        pid: u16,
        section: &[u8],
        channel: &Channel,
    ) -> Result<(), (Gate, String)> {
        let table = |what: &str| (Gate::Table, what.to_owned());
        if kind == Kind::Tdt {
            return time(section).ok_or_else(|| table("no time"));
        }
        let head = section.get(..8).ok_or_else(|| table("too short"))?;
        if head[1] & 0x80 == 0 || section.len() < 12 {
            return Err(table("no long section"));
        }
        if head[5] & 1 == 0 {
            return Ok(());
        }
        let known = (head[0], be(&head[3..5]) as u16, head[6]);
        if let Some(before) = self.known.insert(known, section.to_vec())
            && before[5] == section[5]
            && before != section
        {
            return Err(table("changed without a new version"));
        }
        let body = &section[8..section.len() - 4];
        match kind {
            Kind::Pat => pat(body, channel),
            Kind::Pmt(number) => {
                let ordered = channel.programs.iter().find(|p| p.number == number && p.pmt_pid == pid);
                pmt(body, ordered.ok_or_else(|| (Gate::PidMap, "nobody ordered it here".to_owned()))?)
            }
            Kind::Sdt => self.sdt(body, channel),
            Kind::Nit => nit(body).ok_or_else(|| table("its loops do not fit")),
            Kind::Tdt => Ok(()),
        }
    }

    fn sdt(&mut self, body: &[u8], channel: &Channel) -> Result<(), (Gate, String)> {
        let services = services(body).ok_or((Gate::Table, "its loops do not fit".to_owned()))?;
        self.services.extend(services);
        for program in &channel.programs {
            let said = self.services.get(&program.number);
            if program.service.is_some() && said != program.service.as_ref() {
                return Err((Gate::Service, format!("program {} is {said:?}", program.number)));
            }
        }
        Ok(())
    }

    /// The capture ends in front of this packet.
    pub fn finish(&mut self, end: u64, channel: &Channel, misses: &mut Misses) {
        let kinds: Vec<Kind> = self.intervals.keys().copied().collect();
        kinds.into_iter().for_each(|kind| self.came(kind, end, channel, misses));
    }
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn pid_of(bytes: &[u8]) -> u16 {
    be(bytes) as u16 & 0x1FFF
}

/// A loop with its length of twelve bits in front, and what follows.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = be(bytes.get(..2)?) as usize & 0xFFF;
    bytes[2..].split_at_checked(length)
}

fn pat(body: &[u8], channel: &Channel) -> Result<(), (Gate, String)> {
    if !body.len().is_multiple_of(4) {
        return Err((Gate::Table, format!("{} bytes of programs", body.len())));
    }
    // Number 0 points to the NIT.
    let said: BTreeMap<u16, u16> = body
        .chunks(4)
        .map(|entry| (be(&entry[..2]) as u16, pid_of(&entry[2..])))
        .filter(|e| e.0 != 0)
        .collect();
    let ordered: BTreeMap<u16, u16> = channel.programs.iter().map(|p| (p.number, p.pmt_pid)).collect();
    if said == ordered {
        Ok(())
    } else {
        Err((Gate::PidMap, format!("programs {said:x?}, not {ordered:x?}")))
    }
}

fn pmt(body: &[u8], ordered: &Program) -> Result<(), (Gate, String)> {
    let broken = || (Gate::Table, "its loops do not fit".to_owned());
    let pcr_pid = pid_of(body.get(..2).ok_or_else(broken)?);
    let (_, mut rest) = counted(&body[2..]).ok_or_else(broken)?;
    let mut streams = Vec::new();
    while let Some((&stream_type, after)) = rest.split_first() {
        let pid = pid_of(after.get(..2).ok_or_else(broken)?);
        (_, rest) = counted(&after[2..]).ok_or_else(broken)?;
        streams.push((pid, stream_type));
    }
    let wanted: Vec<(u16, u8)> = ordered.streams.iter().map(|s| (s.pid, s.stream_type)).collect();
    if pcr_pid == ordered.pcr_pid && streams == wanted {
        return Ok(());
    }
    Err((
        Gate::PidMap,
        format!("PCR on {pcr_pid:#x}, streams {streams:x?}, not {:#x}, {wanted:x?}", ordered.pcr_pid),
    ))
}

/// The services of an SDT's body that carry a service descriptor.
fn services(body: &[u8]) -> Option<Vec<(u16, (String, String))>> {
    let mut rest = body.get(3..)?;
    let mut services = Vec::new();
    while !rest.is_empty() {
        let number = be(rest.get(..2)?) as u16;
        let (mut descriptors, next) = counted(rest.get(3..)?)?;
        rest = next;
        while let [tag, length, after @ ..] = descriptors {
            let (content, more) = after.split_at_checked(usize::from(*length))?;
            descriptors = more;
            if *tag == 0x48 {
                let (provider, name) = short(content.get(1..)?)?;
                services.push((number, (text(provider), text(short(name)?.0))));
            }
        }
    }
    Some(services)
}

/// A text with its length of one byte in front, and what follows.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// UTF-8 where the first byte says so, else a character a byte: enough for names that are compared.
fn text(bytes: &[u8]) -> String {
    match bytes.split_first() {
        Some((0x15, utf8)) => String::from_utf8_lossy(utf8).into_owned(),
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn nit(body: &[u8]) -> Option<()> {
    let (_, rest) = counted(body)?;
    let (mut streams, after) = counted(rest)?;
    while !streams.is_empty() {
        (_, streams) = counted(streams.get(4..)?)?;
    }
    after.is_empty().then_some(())
}

/// Five bytes: a day, and hours, minutes and seconds in decimal digits.
fn time(section: &[u8]) -> Option<()> {
    let clock = section.get(5..8)?;
    let below = |byte: u8, limit: u8| byte & 0x0F < 10 && (byte >> 4) * 10 + (byte & 0x0F) < limit;
    (section[0] != 0x70 || section.len() == 8).then_some(())?;
    (below(clock[0], 24) && below(clock[1], 60) && below(clock[2], 60)).then_some(())
}
