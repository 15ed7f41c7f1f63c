//! What is fed becomes units: each packet to its track, each unit with its times.

use super::leak::ticks;
use super::level;
use super::recovery::{LATENCY, LEAD_MIN, Place};
use super::track::{UNITS_MAX, Unit};
use super::{FRAME, Program};
use crate::mux::carousel::Carousel;
use crate::mux::queue::List;
use crate::mux::ticker::{SECOND, Ticker};
use crate::wire::ts::descriptor::Class;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::pes::{PesHeader, wrapping_distance};
use crate::wire::ts::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS, SYNC_BYTE, pid};

/// A picture that is shown that long after its decoding, or before it, has a stamp that is broken.
const REORDER_MAX: i64 = 2 * SECOND;

impl Program {
    /// Whether the packet has more of the unit that the one before, of this PID and track, is of, and nothing else: most
    /// are so. It is taken then.
    pub(super) fn goes_on(&mut self, pid: u16, at: usize, bytes: &[u8; PACKET_BYTES]) -> bool {
        let Some(track) = self.tracks.get_mut(at) else { return false };
        let [sync, high, low, control, ..] = *bytes;
        // No error, no start, in the clear, payload only, and the next by its counter.
        let expected = track.source_counter.map(|counter| 0x10 | (counter + 1) & 0x0F);
        if sync != SYNC_BYTE || u16::from_be_bytes([high & 0xDF, low]) != pid || Some(control) != expected {
            return false;
        }
        if !track.extend(&mut self.pool, bytes, PACKET_BYTES - 4) {
            return false;
        }
        track.source_counter = Some(control & 0x0F);
        true
    }

    /// A packet of the source. Returns its PID and track, if it has one.
    pub(super) fn take(
        &mut self,
        now: i64,
        bytes: &[u8; PACKET_BYTES],
        ticker: &Ticker,
        carousel: &mut Carousel,
    ) -> Option<(u16, usize)> {
        let packet = Packet::parse(bytes);
        if bytes.first() != Some(&SYNC_BYTE) || packet.error || packet.malformed {
            self.tally.source_damaged += 1;
            return None;
        }
        if packet.pid == pid::NULL {
            return None;
        }
        if packet.scrambling != 0 {
            self.tally.source_scrambled += 1;
        } else if self.source.carries(packet.pid) {
            if self.source.push(now, &packet, &mut self.tally) {
                self.adopt(now, ticker, carousel);
            }
        } else if let Some(at) = self.pids.iter().find(|(of, _)| *of == packet.pid).map(|(_, at)| *at) {
            self.take_media(now, at, &packet, bytes, ticker);
            return Some((packet.pid, at));
        } else {
            self.tally.source_unmapped += 1;
        }
        None
    }

    /// A packet of a track.
    fn take_media(
        &mut self,
        now: i64,
        at: usize,
        packet: &Packet<'_>,
        bytes: &[u8; PACKET_BYTES],
        ticker: &Ticker,
    ) {
        let Some(track) = self.tracks.get_mut(at) else { return };
        // One without payload has a clock or an announcement, and both are of the source.
        if !packet.has_payload || packet.payload.is_empty() {
            if packet.discontinuity() {
                track.source_counter = Some(packet.continuity);
            }
            return;
        }
        let before = track.source_counter.replace(packet.continuity).filter(|_| !packet.discontinuity());
        if before == Some(packet.continuity) {
            return;
        }
        if before.is_some_and(|before| (before + 1) & 0x0F != packet.continuity) {
            self.tally.source_gaps += 1;
        }
        if packet.unit_start {
            if let Some(unit) = track.units.back_mut() {
                unit.open = false;
            }
            self.begin(now, at, packet, bytes, ticker);
            return;
        }
        if track.extend(&mut self.pool, bytes, packet.payload.len()) {
            return;
        }
        let Some(unit) = track.units.back_mut().filter(|unit| unit.open) else { return };
        unit.open = false;
        if !unit.started {
            self.pool.clear(&mut unit.packets);
        }
        self.overflow(at, ticker);
    }

    /// A unit of a track begins.
    fn begin(
        &mut self,
        now: i64,
        at: usize,
        packet: &Packet<'_>,
        bytes: &[u8; PACKET_BYTES],
        ticker: &Ticker,
    ) {
        let Some(track) = self.tracks.get(at) else { return };
        let is_video = track.class == Class::Video;
        let header = PesHeader::parse(packet.payload).filter(|header| header.scrambling == 0);
        let Some((header, stamps)) =
            header.and_then(|header| Some((header, Stamps::of(&header, packet.payload)?)))
        else {
            self.damaged(at);
            return;
        };
        let jumps = self.clock.jumps();
        let (place, dts, pts) = match (stamps.decoding, track.last) {
            (Some(time), _) => {
                let place = match track.class {
                    Class::Data => self.clock.place(now, self.clock.endless(time)),
                    Class::Video | Class::Audio => self.clock.hear(now, at, is_video, time),
                };
                let dts = self.clock.endless(time);
                (Some(place), dts, header.pts.map_or(dts, |pts| self.clock.endless(pts)))
            }
            // Data may be without times: it goes as what comes with it.
            (None, _) if track.class == Class::Data => (None, 0, 0),
            // Not every picture has to be stamped: it follows the one before as that followed another.
            (None, Some((last, step))) => {
                let dts = last + step;
                let pts = header.pts.map(|pts| self.clock.endless(pts));
                let pts = pts.filter(|pts| (pts - dts).abs() <= REORDER_MAX).unwrap_or(dts);
                (Some(self.clock.place(now, dts)), dts, pts)
            }
            (None, None) => {
                self.damaged(at);
                return;
            }
        };
        if self.clock.jumps() != jumps && self.clock.is_master(now, at) {
            // Who knows what was between. Where other tracks are late, pictures go on.
            for track in self.tracks.iter_mut().filter(|track| track.class == Class::Video) {
                track.waits = Some(i64::MIN);
            }
        }
        let Some(track) = self.tracks.get_mut(at) else { return };
        let first = track.last.is_none();
        if place.is_some_and(|place| place != Place::Early) {
            let step = track.last.map_or(2 * FRAME, |(last, _)| (dts - last).clamp(0, SECOND));
            track.last = Some((dts, step));
        }
        let key = packet.adaptation.is_some_and(|said| said.random_access);
        let missing = u32::from(header.length) + 6;
        // A source that begins and does not say what it needs may be any other.
        let usual = track.leak.usual();
        let leak = (is_video && key).then(|| {
            let bytes = packet.payload.get(header.header_bytes..).unwrap_or_default();
            let said = level::buffers(track.stream_type, &track.descriptors, bytes);
            said.map(|said| said.map_or(usual, |said| ticks(said.transport_bps))).or(first.then_some(usual))
        });
        let mut unit = Unit {
            packets: List::new(),
            pts,
            dts,
            placed: false,
            stamped: stamps.fields,
            key,
            started: false,
            open: true,
            in_time: false,
            exceeds: false,
            missing: (header.length > 0).then(|| missing.saturating_sub(packet.payload.len() as u32)),
            leak: leak.flatten(),
        };
        unit.open = unit.missing != Some(0);
        // A caller that was held up feeds what it is too late for, whenever that came.
        let latest = now.max(ticker.now());
        let late = match place {
            Some(Place::Late | Place::Early) => true,
            _ if is_video && track.must_wait(key, dts) => {
                self.tally.units_without_key += 1;
                return;
            }
            Some(Place::On(line)) if line.at(dts) - ticker.now() < LEAD_MIN => {
                self.tally.late(latest);
                track.miss();
                return;
            }
            Some(Place::On(line)) => !unit.place(&mut track.newest, line.at(dts), line.at(pts), latest),
            None => {
                let time = (latest + LATENCY).max(track.newest.unwrap_or(i64::MIN));
                !unit.place(&mut track.newest, time, time, latest)
            }
            Some(Place::Settling) => false,
        };
        if late {
            self.tally.late(latest);
            track.miss();
            return;
        }
        if unit.placed {
            track.placed_at = Some(latest);
            self.floor = self.floor.max(place.map(|_| unit.pts));
        }
        if track.units.len() >= UNITS_MAX || !self.pool.push(&mut unit.packets, bytes) {
            self.overflow(at, ticker);
            return;
        }
        track.units.push_back(unit);
        track.grown = true;
        track.wake();
    }

    /// A unit of a track cannot be read.
    fn damaged(&mut self, at: usize) {
        self.tally.source_damaged += 1;
        if let Some(track) = self.tracks.get_mut(at) {
            track.miss();
        }
    }

    /// Something of a track found no room.
    fn overflow(&mut self, at: usize, ticker: &Ticker) {
        self.tally.units_overflow += 1;
        self.tally.overload(ticker.now());
        if let Some(track) = self.tracks.get_mut(at) {
            track.miss();
        }
    }
}

/// What the header of a unit says of its time.
struct Stamps {
    /// When it is decoded, in ticks of 90 kHz; `None`: it does not say, or not so that it could be read.
    decoding: Option<u64>,
    /// It has fields for times, readable or not.
    fields: bool,
}

impl Stamps {
    /// `None`: they are broken.
    fn of(header: &PesHeader, payload: &[u8]) -> Option<Stamps> {
        // Without flags there are no times either.
        let [.., flags, count] = *payload.get(..9).filter(|_| header.header_bytes > 6).unwrap_or(&[0, 0])
        else {
            return None;
        };
        let (decoding, bytes) = match flags >> 6 {
            0b10 => (header.pts, 5),
            0b11 => (header.dts, 10),
            _ => (None, 0),
        };
        // Behind a header that is too short for them there is media, and no field.
        if count < bytes {
            return None;
        }
        let apart =
            header.pts.zip(header.dts).map_or(0, |(pts, dts)| wrapping_distance(dts, pts, CLOCK_MODULUS));
        (apart.abs() <= REORDER_MAX / PCR_TICKS as i64).then_some(Stamps { decoding, fields: bytes > 0 })
    }
}
