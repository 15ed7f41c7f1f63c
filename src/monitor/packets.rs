//! What one packet tells.

use super::continuity::Order;
use super::fit::Verdict;
use super::indicator::{Indicator, Occurrence};
use super::pcr::Step;
use super::pids::Role;
use super::sweep::{APPLICATION_PACKETS, APPLICATIONS};
use super::{Class, Monitor, PTS_US_MAX};
use crate::media::Mono;
use crate::wire::ts::framing::Unit;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::pes::{PesHeader, wrapping_distance};
use crate::wire::ts::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS, pid};

impl Monitor {
    /// What framing found.
    pub(super) fn unit(&mut self, at: Mono, unit: Unit<'_>) {
        match unit {
            Unit::Packet { bytes, sync_ok: true } if self.plain_packet(at, bytes) => {}
            Unit::Packet { bytes, sync_ok } => self.packet(at, bytes, sync_ok),
            Unit::Acquired { .. } => {
                if !self.in_sync {
                    self.in_sync = true;
                    self.restart(at);
                }
            }
            Unit::Lost => {
                self.raise(Indicator::SyncLoss, at, None);
                self.in_sync = false;
                self.forget_continuity();
            }
        }
    }

    /// Most packets have nothing to tell but that they came: payload and nothing else, in the clear, of a stream that is known
    /// and in the order of its counter. Whether this is one of them; else nothing has changed.
    fn plain_packet(&mut self, at: Mono, bytes: &[u8; PACKET_BYTES]) -> bool {
        let [_, high, low, control, ..] = *bytes;
        // No error, no start of a unit.
        if high & 0xC0 != 0 || self.psi.dirty || self.packets.is_multiple_of(APPLICATION_PACKETS) {
            return false;
        }
        let number = u16::from_be_bytes([high & 0x1F, low]);
        if number == pid::NULL {
            self.nulls += 1;
        } else {
            if control & 0xF0 != 0x10 {
                return false;
            }
            let Some(state) = self.pids.get_mut(number).filter(|state| !state.absence_told) else {
                return false;
            };
            let payload = &bytes[4..];
            if !matches!(state.role, Role::Elementary { .. })
                || !state.continuity.goes_on(control & 0x0F, payload)
            {
                return false;
            }
            state.packets += 1;
            state.window_packets += 1;
            state.last_at = at;
        }
        self.in_sync = true;
        self.last_at = at;
        self.packets += 1;
        self.second.packets += 1;
        true
    }

    /// A packet.
    fn packet(&mut self, at: Mono, bytes: &[u8; PACKET_BYTES], sync_ok: bool) {
        self.in_sync = true;
        self.last_at = at;
        let number = self.packets;
        self.packets += 1;
        self.second.packets += 1;
        if number.is_multiple_of(APPLICATION_PACKETS) {
            self.applications = APPLICATIONS;
            self.ruler = self.ruler_at(at);
        }
        if !sync_ok {
            self.raise_at(Indicator::SyncByte, at, number, None);
        }
        let packet = Packet::parse(bytes);
        if packet.error {
            self.raise_at(Indicator::Transport, at, number, Some(packet.pid));
            // Not even its PID is certain; if it is right, the counter must not be held against the next.
            if let Some(state) = self.pids.get_mut(packet.pid) {
                state.continuity.forget();
                self.assembler.reset(packet.pid);
            }
            return;
        }
        if packet.pid == pid::NULL {
            self.nulls += 1;
            return;
        }
        self.malformed += u64::from(packet.malformed);
        let Some((_, new)) = self.pids.touch(packet.pid, at) else { return };
        // Before there are tables nothing names it.
        self.psi.dirty |= new && self.psi.name_something();
        if self.psi.dirty && self.applications > 0 {
            self.applications -= 1;
            self.apply_tables(at);
        }
        let Some(state) = self.pids.get_mut(packet.pid) else { return };
        state.packets += 1;
        state.window_packets += 1;
        state.last_at = at;
        if std::mem::take(&mut state.absence_told) {
            // That it was away has been raised as such; from now on a PTS is due.
            (state.pts.last_at, state.pts.told) = (state.pts.last_at.map(|_| at), false);
        }
        if packet.scrambling != 0 && packet.unit_start {
            // There may be one, and it cannot be read.
            (state.pts.last_at, state.pts.told) = (None, false);
        }
        let now = Occurrence { packet: number, at, pid: Some(packet.pid) };
        match state.continuity.check(&packet) {
            Order::Right => {}
            Order::Repetition => {
                state.repetitions += 1;
                return;
            }
            Order::Wrong { missing } => {
                state.continuity_errors += 1;
                self.tallies.raise(Indicator::Continuity, now);
                // Also where exactly fifteen are missing, or the counter stands still: this is no copy.
                self.assembler.reset(packet.pid);
                // Where RTP counts what is lost it counts better.
                if let Some(network) = self.network.as_mut().filter(|network| network.rtp.packets == 0) {
                    network.mdi.lose(u64::from(missing), 0);
                }
                self.tracks.iter_mut().for_each(|track| track.damaged = true);
            }
        }
        let (role, track) = (state.role, usize::from(state.track));
        if packet.scrambling != 0 {
            state.scrambled += 1;
            self.scrambled(packet.pid, role, now);
        }
        if let (Some(pcr), Some(track)) = (packet.pcr(), self.tracks.get_mut(track)) {
            let (step, verdict) = track.observe(pcr, number, at, packet.discontinuity(), self.nulls);
            let limit_ticks = self.options.pcr_interval_max.as_micros() as u64 * 27;
            match step {
                Step::Continuous { ticks, .. } if ticks > limit_ticks && !track.absence_told => {
                    self.tallies.raise(Indicator::PcrRepetition, now);
                }
                Step::Jump => self.tallies.raise(Indicator::PcrDiscontinuity, now),
                _ => {}
            }
            track.absence_told = false;
            if matches!(verdict, Verdict::Off(_)) {
                self.tallies.raise(Indicator::PcrAccuracy, now);
            }
        }
        match role {
            Role::Sections if packet.scrambling == 0 => {
                let ruler = self.ruler;
                let (psi, repetition, tallies) = (&mut self.psi, &mut self.repetition, &mut self.tallies);
                self.assembler.push(&packet, |section| {
                    repetition.observe(packet.pid, section, now, ruler, tallies);
                    psi.read(packet.pid, section, now, ruler, tallies);
                });
            }
            Role::Elementary { class: Class::Video | Class::Audio, pcr_pid }
                if packet.unit_start && packet.scrambling == 0 =>
            {
                self.time_stamp(&packet, pcr_pid, now);
            }
            _ => {}
        }
    }

    /// A PES packet of pictures or sound begins.
    fn time_stamp(&mut self, packet: &Packet<'_>, pcr_pid: u16, now: Occurrence) {
        let Some(pts) = PesHeader::parse(packet.payload).and_then(|header| header.pts) else { return };
        let clock = self.pids.get(pcr_pid).map(|state| usize::from(state.track));
        let clock = clock.and_then(|track| self.tracks.get(track));
        let clock = clock.and_then(|track| track.at(now.packet, now.at));
        let Some(state) = self.pids.get_mut(packet.pid) else { return };
        let stamps = &mut state.pts;
        if let Some(clock) = clock {
            let lead = wrapping_distance(clock, pts * PCR_TICKS, CLOCK_MODULUS * PCR_TICKS);
            stamps.lead_min = stamps.lead_min.min(lead);
            stamps.lead_max = stamps.lead_max.max(lead);
        }
        if let Some(before) = stamps.last_at.replace(now.at) {
            let interval = now.at.micros_since(before);
            stamps.interval_us_max = stamps.interval_us_max.max(interval);
            if interval > PTS_US_MAX && !stamps.told {
                self.tallies.raise(Indicator::Pts, now);
            }
        }
        stamps.told = false;
    }

    /// A scrambled packet.
    fn scrambled(&mut self, on: u16, role: Role, now: Occurrence) {
        match role {
            _ if on == pid::PAT => self.tallies.raise(Indicator::Pat, now),
            Role::Sections if self.psi.programs.iter().any(|program| program.pmt_pid == on) => {
                self.tallies.raise(Indicator::Pmt, now);
            }
            _ => {
                self.scrambled_since.get_or_insert(now.at);
                self.scrambled_at = now.at;
            }
        }
    }
}
