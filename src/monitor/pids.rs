//! What is kept for each PID: found by its number, made when it first comes, at most 8192.

use super::continuity::Continuity;
use crate::media::Mono;
use crate::wire::ts::{PIDS, descriptor::Class, pid};

/// The PID has not come.
const NONE: u16 = u16::MAX;
/// PIDs below have a fixed meaning or are reserved for one (ISO/IEC 13818-1 table 2-3, EN 300 468 table 1).
const FIRST_FREE_PID: u16 = 0x20;
/// No PCR of this PID is followed.
pub(super) const NO_TRACK: u16 = u16::MAX;

/// What tables say that a PID is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// No table names it.
    #[default]
    Unreferenced,
    /// It may come: fixed by the standard, conditional access, a network's table.
    Referenced,
    /// It carries sections that are read.
    Sections,
    /// An elementary stream, with the PID of its program's clock.
    Elementary { class: Class, pcr_pid: u16 },
}

impl Role {
    /// What a PID is before any table says something.
    pub fn fixed(pid: u16) -> Role {
        match pid {
            pid::PAT | pid::CAT | pid::NIT | pid::SDT | pid::EIT | pid::TDT => Role::Sections,
            _ if pid < FIRST_FREE_PID || pid == pid::ATSC => Role::Referenced,
            _ => Role::Unreferenced,
        }
    }
}

/// One PID. What each of its packets changes is in the first cache line, and nothing else.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct PidState {
    pub pid: u16,
    /// Place of its PCRs, or [`NO_TRACK`].
    pub track: u16,
    pub role: Role,
    /// Its absence has been raised, and it has not been back since.
    pub absence_told: bool,
    pub unreferenced_told: bool,
    pub window_packets: u32,
    pub continuity: Continuity,
    pub packets: u64,
    pub last_at: Mono,
    pub pts: PtsState,
    /// Since when it comes without being named.
    pub unreferenced_since: Option<Mono>,
    pub peak_bps: u32,
    pub continuity_errors: u64,
    pub repetitions: u64,
    pub scrambled: u64,
}

const _: () = assert!(std::mem::offset_of!(PidState, pts) <= 64);

/// The time stamps of one PID.
#[derive(Clone, Debug)]
pub(super) struct PtsState {
    /// When the last one came, where it could be read.
    pub last_at: Option<Mono>,
    pub told: bool,
    /// Longest distance between two, in microseconds.
    pub interval_us_max: u64,
    /// PTS in front of the PCR, shortest and longest, in ticks of 27 MHz.
    pub lead_min: i64,
    pub lead_max: i64,
}

impl Default for PtsState {
    fn default() -> PtsState {
        PtsState { last_at: None, told: false, interval_us_max: 0, lead_min: i64::MAX, lead_max: i64::MIN }
    }
}

/// A storm on all PIDs (attack T1).
pub(super) const PIDS_BYTES_MAX: usize = PIDS * (size_of::<PidState>() + size_of::<u16>());

/// A set of PIDs.
#[derive(Clone, Debug)]
pub(super) struct PidSet([u64; PIDS / u64::BITS as usize]);

impl PidSet {
    pub fn new() -> PidSet {
        PidSet([0; PIDS / u64::BITS as usize])
    }

    /// Adds a PID; whether it is new.
    pub fn insert(&mut self, pid: u16) -> bool {
        let Some(word) = self.0.get_mut(usize::from(pid) / u64::BITS as usize) else { return false };
        let bit = 1 << (u32::from(pid) % u64::BITS);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub fn contains(&self, pid: u16) -> bool {
        let word = self.0.get(usize::from(pid) / u64::BITS as usize);
        word.is_some_and(|word| word >> (u32::from(pid) % u64::BITS) & 1 == 1)
    }
}

/// Places that are found without the table of all.
const RECENT: usize = 16;
/// States that are worth asking for: the first PIDs of a stream are its tables and tracks.
const READS: usize = 6;

/// All PIDs that came.
#[derive(Clone, Debug)]
pub(super) struct Pids {
    places: Box<[u16; PIDS]>,
    /// PIDs with their places, the last of each remainder.
    recent: [(u16, u16); RECENT],
    states: Vec<PidState>,
}

/// Where a PID's place is kept: round numbers, which people choose, are apart.
fn recent(pid: u16) -> usize {
    usize::from(pid.wrapping_mul(0x9E35) >> 12) % RECENT
}

impl Default for Pids {
    fn default() -> Pids {
        Pids { places: Box::new([NONE; PIDS]), recent: [(NONE, NONE); RECENT], states: Vec::new() }
    }
}

impl Pids {
    /// The state of a PID, if it came.
    pub fn get(&self, pid: u16) -> Option<&PidState> {
        self.states.get(self.place(pid)?)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, pid: u16) -> Option<&mut PidState> {
        let place = self.place(pid)?;
        self.states.get_mut(place)
    }

    fn place(&self, pid: u16) -> Option<usize> {
        match self.recent.get(recent(pid)) {
            Some((of, place)) if *of == pid => Some(usize::from(*place)),
            _ => self.places.get(usize::from(pid)).map(|place| usize::from(*place)),
        }
    }

    /// Tells what the first PIDs' packets will read.
    pub fn reads(&self, mut tell: impl FnMut(*const u8, usize)) {
        for state in self.states.iter().take(READS) {
            tell((&raw const *state).cast(), 1);
        }
    }

    /// The state of a PID that comes now, and whether it is the first time. `None` above 13 bits.
    pub fn touch(&mut self, pid: u16, at: Mono) -> Option<(&mut PidState, bool)> {
        let known = self.recent.get_mut(recent(pid))?;
        if known.0 == pid {
            return self.states.get_mut(usize::from(known.1)).map(|state| (state, false));
        }
        let place = self.places.get_mut(usize::from(pid))?;
        let new = *place == NONE;
        if new {
            *place = self.states.len() as u16;
            self.states.push(PidState {
                pid,
                role: Role::fixed(pid),
                track: NO_TRACK,
                continuity: Continuity::default(),
                packets: 0,
                window_packets: 0,
                peak_bps: 0,
                continuity_errors: 0,
                repetitions: 0,
                scrambled: 0,
                last_at: at,
                unreferenced_since: None,
                unreferenced_told: false,
                absence_told: false,
                pts: PtsState::default(),
            });
        }
        *known = (pid, *place);
        self.states.get_mut(usize::from(*place)).map(|state| (state, new))
    }

    pub fn iter(&self) -> impl Iterator<Item = &PidState> {
        self.states.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut PidState> {
        self.states.iter_mut()
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        PIDS * size_of::<u16>() + self.states.capacity() * size_of::<PidState>()
    }
}
