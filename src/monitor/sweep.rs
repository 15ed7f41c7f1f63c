//! What only time can tell: absences. And what tables change about PIDs, a bounded number of times a second however
//! often they change (attack T2).

use super::indicator::{Indicator, Occurrence};
use super::pcr::PcrTrack;
use super::pids::{NO_TRACK, PidSet, Pids, Role};
use super::ruler::Mark;
use super::{Class, Monitor, PSI_US_MAX, PTS_US_MAX, SILENCE, live_reference, mdi, packet_us, pid};
use crate::media::Mono;
use std::time::Duration;

/// Time between two looks, if nobody asks for another.
pub(super) const SWEEP: Duration = Duration::from_millis(10);
/// Times that changed tables and new PIDs are applied at once between two looks; more of them wait for the next. The
/// start of a stream has some six: two tables and its PIDs.
pub(super) const APPLICATIONS: u32 = 8;
/// Packets after which so many are allowed again, whatever the time is: that of a file without a clock stands still. At
/// 100 Mbit/s this is less often than by time.
pub(super) const APPLICATION_PACKETS: u64 = 1024;
/// Time between two looks at everything that has seconds of time.
const SLOW_SWEEP: Duration = Duration::from_millis(100);
/// While nothing has come for that long, nothing is overdue: either it becomes silence, or it comes together.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
/// What the network may delay a PCR by before its absence is raised without waiting for the next, in microseconds.
const PCR_DELAY_US: u64 = 500_000;
/// A PID that came within this time, in microseconds, is alive: if it has no PTS it does not have one.
const ALIVE_US: u64 = 200_000;
/// Time that a PID may come without being named (3.4), in microseconds.
const UNREFERENCED_US: u64 = 500_000;
/// Time from the first scrambled packet within which a CAT must come (2.6), and for which one lasts, in microseconds.
const CAT_US: u64 = 500_000;
const CAT_LASTS_US: u64 = 10_000_000;

impl Monitor {
    /// Looks at everything that may be overdue.
    pub(super) fn sweep(&mut self, at: Mono) {
        self.next_sweep = at + self.options.look_every;
        self.applications = APPLICATIONS;
        if self.first_at.is_none() {
            return;
        }
        if self.psi.dirty {
            self.apply_tables(at);
        }
        self.ruler = self.ruler_at(at);
        self.give_up_rtp(at);
        if at.micros_since(self.second.start) >= mdi::INTERVAL_US {
            self.close_window(at);
        }
        if at.since(self.heard_at) > SILENCE && !self.silent {
            self.silent = true;
            self.raise(Indicator::Silence, at, None);
        }
        if self.silent || !self.in_sync || at.since(self.last_at) > PAUSE {
            return;
        }
        self.look_for_tables(at);
        self.look_for_clocks(at);
        if at >= self.next_slow_sweep {
            self.next_slow_sweep = at + SLOW_SWEEP;
            self.look_for_streams(at);
            self.look_at_pids(at);
            let (ruler, now) = (self.ruler, Mark { at, packet: self.packets });
            self.repetition.sweep(now, ruler, &mut self.tallies);
        }
    }

    /// Whoever runs it was held up until `at`, and has read nothing since the last look was due: what has come meanwhile waits
    /// to be read. Everything may be as late as it might have been then. To be called before anything else at `at`.
    pub fn held_up(&mut self, at: Mono) {
        let by = Duration::from_micros(at.micros_since(self.next_sweep));
        if self.first_at.is_none() || self.silent || by.is_zero() {
            return;
        }
        let later = |since: &mut Mono| *since = (*since + by).min(at);
        later(&mut self.last_at);
        later(&mut self.heard_at);
        later(&mut self.scrambled_at);
        self.scrambled_since.iter_mut().for_each(later);
        self.psi.times(later);
        self.repetition.times(later);
        self.tracks.iter_mut().for_each(|track| later(&mut track.since));
        for state in self.pids.iter_mut() {
            later(&mut state.last_at);
            state.pts.last_at.iter_mut().chain(&mut state.unreferenced_since).for_each(later);
        }
    }

    /// Whether what raised `indicator` last is still so, as far as it is something that lasts: that is raised once.
    pub fn lasts(&self, indicator: Indicator) -> bool {
        let alive = |at: Mono| self.last_at.micros_since(at) <= ALIVE_US;
        let (mut programs, mut pids) = (self.psi.programs.iter(), self.pids.iter());
        match indicator {
            Indicator::Silence => self.silent,
            Indicator::SyncLoss => self.first_at.is_some() && !self.in_sync,
            Indicator::Pat => self.psi.pat_told,
            Indicator::Pmt => programs.any(|program| program.pmt_told),
            Indicator::Pid => programs.flat_map(|program| &program.streams).any(|stream| stream.absence_told),
            Indicator::PcrRepetition => self.tracks.iter().any(|track| track.absence_told),
            Indicator::Pts => pids.any(|state| state.pts.told && alive(state.last_at)),
            Indicator::Cat => self.cat_told,
            Indicator::SiRepetition => self.repetition.is_late(),
            Indicator::UnreferencedPid => pids.any(|state| state.unreferenced_told && alive(state.last_at)),
            Indicator::RtpLoss
            | Indicator::RtpSenders
            | Indicator::SyncByte
            | Indicator::Continuity
            | Indicator::Transport
            | Indicator::Crc
            | Indicator::PcrDiscontinuity
            | Indicator::PcrAccuracy => false,
        }
    }

    fn look_for_tables(&mut self, at: Mono) {
        let packet = self.packets;
        let (ruler, now) = (self.ruler, Mark { at, packet });
        // Before the first PAT the stream's beginning counts.
        let begin = Mark { at: self.first_at.unwrap_or(at), packet: 0 };
        let since = *self.psi.pat_at.get_or_insert(begin);
        if !self.psi.pat_told && ruler.is_late(since, now, PSI_US_MAX) {
            self.psi.pat_told = true;
            self.tallies.raise(Indicator::Pat, Occurrence { packet, at, pid: Some(pid::PAT) });
        }
        for program in self.psi.programs.iter_mut().filter(|program| !program.pmt_told) {
            if ruler.is_late(program.pmt_at, now, PSI_US_MAX) {
                program.pmt_told = true;
                self.tallies.raise(Indicator::Pmt, Occurrence { packet, at, pid: Some(program.pmt_pid) });
            }
        }
        let covered = self.psi.cat_at.is_some_and(|cat_at| at.micros_since(cat_at) <= CAT_LASTS_US);
        if covered || at.micros_since(self.scrambled_at) > 2 * CAT_US {
            self.cat_told = false;
        }
        let Some(since) = self.scrambled_since else { return };
        if covered {
            self.scrambled_since = None;
        } else if at.micros_since(since) > CAT_US {
            self.scrambled_since = None;
            if !std::mem::replace(&mut self.cat_told, true) {
                self.tallies.raise(Indicator::Cat, Occurrence { packet, at, pid: Some(pid::CAT) });
            }
        }
    }

    fn look_for_clocks(&mut self, at: Mono) {
        let limit_us = self.options.pcr_interval_max.as_micros() as u64 + PCR_DELAY_US;
        for track in self.tracks.iter_mut().filter(|track| !track.absence_told) {
            if at.micros_since(track.since) > limit_us {
                track.absence_told = true;
                let found = Occurrence { packet: self.packets, at, pid: Some(track.pid) };
                self.tallies.raise(Indicator::PcrRepetition, found);
            }
        }
    }

    /// Raises 2.3.a for each clock that has not gone on once.
    pub(super) fn miss_clocks(&mut self, at: Mono) {
        for track in self.tracks.iter_mut().filter(|track| track.intervals == 0 && !track.absence_told) {
            track.absence_told = true;
            let found = Occurrence { packet: self.packets, at, pid: Some(track.pid) };
            self.tallies.raise(Indicator::PcrRepetition, found);
        }
    }

    /// 1.6, for pictures and sound: anything else may pause.
    fn look_for_streams(&mut self, at: Mono) {
        let limit_us = self.options.absence_max.as_micros() as u64;
        for stream in self.psi.programs.iter_mut().flat_map(|program| &mut program.streams) {
            if stream.class == Class::Data {
                continue;
            }
            let state = self.pids.get_mut(stream.pid);
            let seen = state.as_ref().map_or(stream.since, |state| state.last_at.max(stream.since));
            if at.micros_since(seen) <= limit_us {
                stream.absence_told = false;
            } else if !stream.absence_told {
                stream.absence_told = true;
                if let Some(state) = state {
                    state.absence_told = true;
                }
                let found = Occurrence { packet: self.packets, at, pid: Some(stream.pid) };
                self.tallies.raise(Indicator::Pid, found);
            }
        }
    }

    fn look_at_pids(&mut self, at: Mono) {
        let packet = self.packets;
        // Without all maps nobody can say what belongs to nothing.
        let known = self.psi.transport_stream_id.is_some()
            && self.psi.programs.iter().all(|program| program.map.is_some() && program.more_streams == 0)
            && self.psi.more_programs == 0;
        for state in self.pids.iter_mut() {
            let found = Occurrence { packet, at, pid: Some(state.pid) };
            let alive = at.micros_since(state.last_at) <= ALIVE_US;
            if state.role == Role::Unreferenced && known {
                let since = *state.unreferenced_since.get_or_insert(at);
                if alive && !state.unreferenced_told && at.micros_since(since) > UNREFERENCED_US {
                    state.unreferenced_told = true;
                    self.tallies.raise(Indicator::UnreferencedPid, found);
                }
            } else {
                (state.unreferenced_since, state.unreferenced_told) = (None, false);
            }
            let overdue = state.pts.last_at.is_some_and(|last| at.micros_since(last) > PTS_US_MAX);
            if overdue && alive && !state.pts.told && matches!(state.role, Role::Elementary { .. }) {
                state.pts.told = true;
                self.tallies.raise(Indicator::Pts, found);
            }
        }
    }

    /// Ends a second.
    fn close_window(&mut self, at: Mono) {
        let seconds = at.micros_since(self.second.start) as f64 / 1e6;
        let bps = |packets: u64| (packets * super::PACKET_BITS) as f64 / seconds;
        // A window that a pause has made long says nothing about rates.
        let whole = seconds < 1.1;
        for state in self.pids.iter_mut() {
            let packets = std::mem::take(&mut state.window_packets);
            if whole {
                state.peak_bps = state.peak_bps.max(bps(u64::from(packets)) as u32);
            }
        }
        if whole {
            let rate = bps(self.second.packets);
            self.second.min_bps = Some(self.second.min_bps.map_or(rate, |min| min.min(rate)));
            self.second.max_bps = Some(self.second.max_bps.map_or(rate, |max| max.max(rate)));
        }
        (self.second.start, self.second.packets) = (at, 0);
        let constant = packet_us(&self.tracks, at).is_some();
        let rate_bps = live_reference(&self.tracks, at).and_then(PcrTrack::mux_rate_bps).filter(|_| constant);
        if let Some(network) = &mut self.network {
            network.mdi.close(at, rate_bps);
        }
    }

    /// Gives each PID the role that tables give it now, and each clock a track.
    pub(super) fn apply_tables(&mut self, at: Mono) {
        self.psi.dirty = false;
        for state in self.pids.iter_mut() {
            state.role = Role::fixed(state.pid);
            state.track = NO_TRACK;
        }
        let (psi, pids) = (&self.psi, &mut self.pids);
        let (mut clocks, mut followed) = (PidSet::new(), PidSet::new());
        let may_come = |pids: &mut Pids, named: u16| {
            if let Some(state) = pids.get_mut(named).filter(|state| state.role == Role::Unreferenced) {
                state.role = Role::Referenced;
            }
        };
        psi.emm_pids.iter().for_each(|named| may_come(pids, *named));
        for program in &psi.programs {
            program.ca_pids.iter().for_each(|named| may_come(pids, *named));
            may_come(pids, program.pcr_pid);
            if program.pcr_pid != pid::NULL {
                clocks.insert(program.pcr_pid);
            }
            for stream in &program.streams {
                if let Some(state) = pids.get_mut(stream.pid).filter(|state| state.role != Role::Sections) {
                    state.role = Role::Elementary { class: stream.class, pcr_pid: program.pcr_pid };
                }
            }
        }
        self.tracks.retain(|track| clocks.contains(track.pid) && followed.insert(track.pid));
        let missing = psi.programs.iter().map(|program| program.pcr_pid);
        for missing in missing.filter(|pid| clocks.contains(*pid)) {
            if followed.insert(missing) {
                self.tracks.push(PcrTrack::new(missing, at));
            }
        }
        // Last, because a map is a map whatever else names its PID.
        for map in psi.programs.iter().map(|program| program.pmt_pid).chain(psi.network_pid) {
            // Made before it comes, so that its first packet is read.
            if let Some((state, new)) = pids.touch(map, at) {
                state.role = Role::Sections;
                if new {
                    state.last_at = Mono::ZERO;
                }
            }
        }
        for (place, track) in self.tracks.iter().enumerate() {
            if let Some(state) = self.pids.get_mut(track.pid) {
                state.track = place as u16;
            }
        }
    }
}
