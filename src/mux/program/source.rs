//! The source's tables: which program is taken, and what it consists of.

use crate::mux::tally::Tally;
use crate::mux::ticker::MS;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::pid;
use crate::wire::ts::section::{Assembler, Section};
use crate::wire::ts::tables::{Pat, Pmt};

/// Maps that are taken at once; a publisher that comes tells its tracks one by one.
const CHANGES_MAX: i64 = 8;
/// Time in which one more may be taken: a source whose map flips all the time (attack T2) does not become a channel whose
/// map does.
const CHANGE_EACH: i64 = 250 * MS;

/// See the module's description.
#[derive(Debug)]
pub(in crate::mux) struct Source {
    assembler: Assembler,
    /// The program that is taken, with the PID of its map.
    program: Option<(u16, u16)>,
    /// The map that is in force, whole.
    map: Vec<u8>,
    sum: Option<u32>,
    /// It is of what comes now, not of what came before a seam.
    known: bool,
    changes: i64,
    refilled_at: i64,
}

impl Source {
    pub fn new() -> Source {
        let assembler = Assembler::new();
        Source {
            assembler,
            program: None,
            map: Vec::new(),
            sum: None,
            known: false,
            changes: CHANGES_MAX,
            refilled_at: 0,
        }
    }

    /// What follows comes from elsewhere; its map is looked for anew. The one in force stays until then.
    pub fn seam(&mut self) {
        self.known = false;
        self.assembler.reset(pid::PAT);
        if let Some((_, map)) = self.program.take() {
            self.assembler.reset(map);
        }
    }

    /// The program of what comes now is known.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whether packets of a PID belong to tables.
    pub fn carries(&self, on: u16) -> bool {
        on == pid::PAT || self.program.is_some_and(|(_, map)| map == on)
    }

    pub fn heap_bytes(&self) -> usize {
        self.assembler.heap_bytes() + self.map.capacity()
    }

    /// The map that is in force.
    pub fn map(&self) -> Option<Pmt<'_>> {
        Section::new(&self.map).and_then(Pmt::parse)
    }

    /// A packet of one of its PIDs. True if another map is in force now, or the first since the seam.
    pub fn push(&mut self, now: i64, packet: &Packet<'_>, tally: &mut Tally) -> bool {
        let Source { assembler, program, map, sum, known, changes, refilled_at } = self;
        let before = *program;
        let mut changed = false;
        assembler.push(packet, |section| {
            if !section.crc_ok() || !section.is_current() {
                return;
            }
            if packet.pid == pid::PAT {
                if let Some(pat) = Pat::parse(section) {
                    choose(pat, section.last_number() == 0, program);
                }
                return;
            }
            let ours = Pmt::parse(section).is_some_and(|map| Some((map.program, packet.pid)) == *program);
            if !ours {
                return;
            }
            if *sum == Some(section.crc()) {
                changed |= !std::mem::replace(known, true);
                return;
            }
            let more = (now - *refilled_at) / CHANGE_EACH;
            if more > 0 {
                (*changes, *refilled_at) = ((*changes + more).min(CHANGES_MAX), now);
            }
            if *changes == 0 {
                tally.pmt_ignored += 1;
                return;
            }
            *changes -= 1;
            (*sum, *known) = (Some(section.crc()), true);
            map.clear();
            map.extend_from_slice(section.bytes());
            changed = true;
        });
        if let Some((_, old)) = before.filter(|_| before != *program) {
            assembler.reset(old);
        }
        changed
    }
}

/// The program that was taken, as long as it is there; else the first.
fn choose(pat: Pat<'_>, whole: bool, program: &mut Option<(u16, u16)>) {
    // A map on a PID of tables would be read as one, endlessly.
    let programs = || pat.programs().filter(|(number, map)| *number != 0 && (0x10..pid::NULL).contains(map));
    let same = program.and_then(|(number, _)| programs().find(|(found, _)| *found == number));
    if same.is_some() {
        *program = same;
    } else if whole || program.is_none() {
        *program = programs().next().or(*program);
    }
}
