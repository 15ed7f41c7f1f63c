//! A channel at constant rate: a source's transport stream, made again for multicast.
//!
//! [`Mux`] is a machine like the protocol sessions, without socket, clock or thread: entries of a `ts` log go in as they
//! come ([`Mux::feed`]), datagrams of seven packets come out as they are due ([`Mux::position`], [`Mux::write`]). It changes
//! PIDs, counters, clock, the times of PES headers and the tables, and nothing else of what it carries.
//!
//! **Time is position.** Packet `n` is sent at `n * 1504 / rate` and everything is decided for that moment, from what was
//! fed before it was written, and not from the moment at which it is really written: a late caller that feeds what came
//! with the times at which it came sends the same units with the same times. PCRs are exact to one tick of 27 MHz (37 ns),
//! because they are counted from packets and nothing else.
//!
//! **A packet's place is taken** by the first of: a PCR that is due; a table that is due; sound, data, then pictures, each
//! kind by decoding time, as far as the model of a decoder allows (`track`); a null.
//!
//! **Too much** for the rate is dropped by rule: sound is sent before pictures; of those, the unit that could not be there
//! in time is dropped whole, with all up to the next that one can start with ([`Tally::units_overload`],
//! [`Alarms::overload`]). The rate is never stretched, and no packet of a unit is sent after its decoding time.
//!
//! What must stay true:
//! - a datagram is always seven packets; PCRs are at most 38 ms apart, at every rate; PAT and PMT 100 ms, SDT 1 s, NIT and
//!   TDT 10 s; tables never in a row, unless the rate is below what drains them anyway (1 Mbit/s). Nothing of the source,
//!   nor its absence, moves that. Clocks and tables take some 84 kbit/s of [`RATE_BPS_MIN`], and each unit whole packets;
//! - counters of the multiplex run on over seams, losses and changes of tracks; PIDs follow from the order of the source's
//!   first map behind a seam, and stay while the source has its tracks (`program`);
//! - a PTS is 0.2 to 0.9 s in front of the PCR where its unit begins (more only if pictures are reordered over more than
//!   half a second; less only for sound that more than six packets of other sound had to go before);
//! - times go on in a line that bends slowly (`recovery`); only a seam or a source that jumps breaks it, and then
//!   forward. What would stand behind what was sent is left out, never squeezed in;
//! - the clock never jumps by itself, so nothing has to be announced behind its first packet. Only a caller that was held
//!   up makes it jump ([`Mux::skip`]): it follows real time, as receivers' clocks have done meanwhile, and says so
//!   (`discontinuity_indicator`). To stop it instead would leave the channel late for good, by each stall more;
//! - memory is bounded, whatever comes: [`queue_packets_max`] packets wait, in units of at most 1024 a track and 32 tracks,
//!   with the 2 MiB of unfinished sections and a map of 1 KiB; a packet costs no allocation once as much waits as usually
//!   does.
//!
//! Not here: which part of a log is fed (the channel's), sockets, pacing, RTP, FEC; MPTS; scrambling.
#![forbid(unsafe_code)]

mod carousel;
mod program;
mod queue;
mod recovery;
pub mod remap;
pub mod replay;
mod rewrite;
mod service;
mod source;
mod tally;
mod ticker;
mod track;

pub use service::{LocalTime, RATE_BPS_MAX, RATE_BPS_MIN, Service};
pub use tally::{Alarms, Tally};

use crate::media::Mono;
use crate::wire::ts::descriptor::Class;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::pes::{PesHeader, wrapping_distance};
use crate::wire::ts::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS, SYNC_BYTE, pid};
use carousel::Carousel;
use queue::{List, Pool};
use recovery::{LATENCY, LEAD_MIN, Place, Recovery, SILENCE};
use source::Source;
use std::time::Duration;
use ticker::{MS, PACKET_BITS, SECOND, Ticker};
use track::{SHARE, Track, UNITS_MAX, Unit};

/// Packets of a datagram, always.
pub const DATAGRAM_PACKETS: usize = 7;
/// Bytes of a datagram, always.
pub const DATAGRAM_BYTES: usize = DATAGRAM_PACKETS * PACKET_BYTES;
/// Bits of a datagram.
const DATAGRAM_BITS: u64 = DATAGRAM_PACKETS as u64 * PACKET_BITS;
/// From one PCR to the next at most, at any rate: a packet earlier if the packet behind it would be later than that.
const PCR_EACH: i64 = 38 * MS;
/// Time of the multiplex that may wait: a track may be that far in front of another, and both have their lead.
const QUEUE_SECONDS: u64 = 3;
/// Packets that may wait at any rate.
const QUEUE_PACKETS_MIN: u64 = 512;
/// And at any rate at most: 32 MiB.
const QUEUE_PACKETS_MAX: u64 = (32 << 20) / 192;
/// A caller whose writing is behind what it feeds by more was held up, and what it feeds came earlier than it says.
const HELD_UP: i64 = 250 * MS;
/// Longest time from the beginning that is calculated with, in microseconds: 285 years.
const TIME_US_MAX: u64 = 1 << 53;
/// Times of a source that begins anew begin at least that long behind those before.
const FRAME: i64 = 20 * MS;
/// A picture that is shown that long after its decoding, or before it, has a stamp that is broken.
const REORDER_MAX: i64 = 2 * SECOND;
/// Time behind a seam in which what is late is what a source had before the channel joined it, and nobody's fault.
const JOIN: i64 = SECOND;
/// Time without pictures, or sound, after which they are lost though the other goes on: a still each second is in use.
const KIND_SILENCE: i64 = 2 * SECOND;
/// Time that what others than pictures take of the rate is measured over.
const SHARE_WINDOW: i64 = SECOND;
/// What it is taken for at least: a ninth. And at most: pictures that have less room are sent by chance.
const SHARE_LEAST: i64 = SHARE / 9;
const SHARE_MOST: i64 = SHARE * 3 / 4;

/// Packets that may wait in a multiplex of this rate: three seconds of it, at least 512, at most 32 MiB. Each takes 192
/// bytes.
pub const fn queue_packets_max(rate_bps: u64) -> usize {
    let packets = (rate_bps / PACKET_BITS).saturating_mul(QUEUE_SECONDS);
    let most = if packets > QUEUE_PACKETS_MAX { QUEUE_PACKETS_MAX } else { packets };
    (if most < QUEUE_PACKETS_MIN { QUEUE_PACKETS_MIN } else { most }) as usize
}

/// See the module's description.
#[derive(Debug)]
pub struct Mux {
    service: Service,
    at: Mono,
    ticker: Ticker,
    source: Source,
    /// When the last seam was.
    seam_at: i64,
    /// The next map is the first behind a seam: it gives tracks their numbers.
    renumber: bool,
    tracks: Vec<Track>,
    /// Where packets of the source's PIDs belong.
    pids: Vec<(u16, usize)>,
    pool: Pool,
    clock: Recovery,
    carousel: Carousel,
    pcr_pid: u16,
    /// The PID that the clock has once this PMT is sent.
    pcr_next: (u64, u16),
    pcr_due: i64,
    /// The next PCR does not go on from those before it: it is the first, or datagrams were left out.
    pcr_begins: bool,
    /// When something came last.
    fed_at: i64,
    /// The latest time at which anything that was placed is shown.
    floor: Option<i64>,
    /// What others than pictures take of the rate, in parts of [`SHARE`] (the least of it until sound was sent); since when it is measured, and packets of others
    /// and of all until then.
    share: i64,
    share_from: (i64, u64, u64),
    /// What was measured last: tables of ten seconds are not in every window.
    share_last: i64,
    /// Packets of sound and data.
    beside: u64,
    written: u64,
    tally: Tally,
}

impl Mux {
    /// A multiplex whose first packet is due at `at`.
    pub fn new(service: Service, at: Mono) -> Mux {
        let rate = service.rate();
        let pcr_pid = service.pcr_pid.unwrap_or(service.video_pid);
        Mux {
            at,
            ticker: Ticker::new(rate, service.clock),
            source: Source::new(),
            seam_at: 0,
            renumber: true,
            tracks: Vec::new(),
            pids: Vec::new(),
            pool: Pool::new(queue_packets_max(rate)),
            clock: Recovery::new(),
            carousel: Carousel::new(&service, pcr_pid),
            pcr_pid,
            pcr_next: (0, pcr_pid),
            // Behind the first tables: nobody knows before whose clock it is.
            pcr_due: 15 * MS,
            pcr_begins: true,
            fed_at: 0,
            floor: None,
            share: SHARE_LEAST,
            share_from: (0, 0, 0),
            share_last: 0,
            beside: 0,
            written: 0,
            tally: Tally::default(),
            service,
        }
    }

    /// What it sends.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Packets of the source: an entry of a `ts` log, or any whole packets of a transport stream. `now` is when they came to
    /// this host, which a log's entry knows: their delay is measured by it, and with it a backlog is understood at once,
    /// however long. Without, the time of the call will do for as much as may wait ([`queue_packets_max`]). It must not be in
    /// the future.
    pub fn feed(&mut self, now: Mono, packets: &[u8]) {
        // A caller that mixes clock readings does not turn time back.
        self.fed_at = self.fed_at.max(self.ticks(now));
        let now = self.fed_at;
        if now - self.ticker.now() > HELD_UP {
            self.clock.held_up(now);
        }
        self.settle(now);
        let (whole, rest) = packets.as_chunks();
        self.tally.source_damaged += u64::from(!rest.is_empty());
        for bytes in whole {
            self.take(now, bytes);
        }
        // What waits is gone through: not for each sound.
        for track in self.tracks.iter_mut().filter(|track| track.grown) {
            track.pace(self.ticker.now(), self.ticker.packet());
        }
    }

    /// What is fed next does not continue what was: a part was skipped, or there is another publisher or source. What
    /// waits is sent; pictures begin again with one that can be started with; the times of what comes go on behind. What
    /// came before `now` may follow, with the times at which it came.
    pub fn seam(&mut self, now: Mono) {
        // What waited behind it may have come before: when, its feeding tells.
        self.seam_at = self.ticks(now);
        self.tally.quiet_until = self.seam_at + JOIN;
        self.renumber = true;
        self.tally.seams += 1;
        self.source.seam();
        self.clock.seam();
        self.tracks.iter_mut().for_each(|track| track.seam(&mut self.pool, &mut self.tally));
    }

    /// Datagrams that are due by `now`, since the beginning: datagram `n` is due at `n * 10528 / rate`.
    pub fn position(&self, now: Mono) -> u64 {
        let us = now.micros_since(self.at);
        if now < self.at {
            return 0;
        }
        let rate = self.service.rate();
        let bits = (us / 1_000_000).saturating_mul(rate).saturating_add(us % 1_000_000 * rate / 1_000_000);
        bits / DATAGRAM_BITS + 1
    }

    /// When a datagram is due; to the microsecond above.
    pub fn due(&self, datagram: u64) -> Mono {
        let us = u128::from(datagram) * u128::from(DATAGRAM_BITS) * 1_000_000;
        let us = us.div_ceil(u128::from(self.service.rate()));
        self.at + Duration::from_micros(u64::try_from(us).unwrap_or(u64::MAX))
    }

    /// Datagrams written, and left out.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What the clock says at the first byte of the next datagram, in ticks of 27 MHz: RTP stamps are made from it.
    pub fn clock(&self) -> u64 {
        self.service.clock.wrapping_add(self.ticker.now() as u64)
    }

    /// Writes the next datagram. `utc_seconds`: seconds since 1970, for the TDT.
    pub fn write(&mut self, out: &mut [u8; DATAGRAM_BYTES], utc_seconds: u64) {
        self.settle(self.ticker.now());
        for packet in out.as_chunks_mut().0 {
            self.put(packet, utc_seconds);
            self.ticker.advance();
            self.tally.packets += 1;
        }
        self.written += 1;
        self.measure();
    }

    /// Finds what others than pictures take of the rate.
    fn measure(&mut self) {
        let (from, beside, packets) = self.share_from;
        if self.ticker.now() - from < SHARE_WINDOW {
            return;
        }
        let others = self.beside + self.tally.tables + self.tally.clocks;
        let share = (others - beside) * SHARE as u64 / (self.tally.packets - packets).max(1);
        let before = std::mem::replace(&mut self.share_last, share as i64);
        self.share = self.share_last.max(before).clamp(SHARE_LEAST, SHARE_MOST);
        self.share_from = (self.ticker.now(), others, self.tally.packets);
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        Tally { jumps: self.clock.jumps(), ..self.tally.clone() }
    }

    /// Leaves out all datagrams that are due by `now` but the last, and tells how many: what a caller that was held up for
    /// long does instead of sending what nobody waits for any more. Time goes on, so nothing that follows is later than it
    /// was; a PCR that announces the jump is first. Units whose time has passed are dropped as late.
    pub fn skip(&mut self, now: Mono) -> u64 {
        let now = now.min(self.at + Duration::from_micros(TIME_US_MAX));
        let left_out = self.position(now).saturating_sub(1).saturating_sub(self.written);
        if left_out == 0 {
            return 0;
        }
        self.ticker.skip(left_out * DATAGRAM_PACKETS as u64);
        self.written += left_out;
        self.tally.datagrams_skipped += left_out;
        (self.pcr_begins, self.pcr_due) = (true, self.ticker.now());
        self.clock.held_up(self.ticker.now());
        for track in &mut self.tracks {
            track.held_up();
            track.pace(self.ticker.now(), self.ticker.packet());
        }
        left_out
    }

    /// What is wrong at `now`.
    pub fn alarms(&self, now: Mono) -> Alarms {
        let now = self.ticks(now);
        Alarms {
            source_lost: self.is_lost(now),
            overload: self.tally.is_overloaded(now.max(self.ticker.now())),
            late: self.tally.is_late(now.max(self.ticker.now())),
            no_program: !self.source.is_known() && now - self.seam_at > SILENCE,
        }
    }

    /// Nothing has been given a place for too long, or nothing of a kind that the source has.
    fn is_lost(&self, now: i64) -> bool {
        let mut media = self.tracks.iter().filter(|track| track.class != Class::Data);
        let is_silent = |class: Class| {
            let here = self.tracks.iter().filter(|track| track.class == class && track.source_pid.is_some());
            let last = here.map(|track| track.here_since.max(track.placed_at.unwrap_or(0))).max();
            last.is_some_and(|last| now - last > KIND_SILENCE)
        };
        media.all(|track| track.placed_at.is_none_or(|at| now - at > SILENCE))
            || is_silent(Class::Video)
            || is_silent(Class::Audio)
    }

    /// How much the source's clock was found to be slower than this host's, in parts in 10^9.
    pub fn drift_ppb(&self) -> i64 {
        self.clock.frequency_ppb()
    }

    /// Packets that wait; at most [`queue_packets_max`].
    pub fn queued_packets(&self) -> usize {
        self.pool.used()
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.pool.heap_bytes()
            + self.source.heap_bytes()
            + self.carousel.heap_bytes()
            + self.clock.heap_bytes()
            + self.tracks.capacity() * size_of::<Track>()
            + self.tracks.iter().map(Track::heap_bytes).sum::<usize>()
            + self.pids.capacity() * size_of::<(u16, usize)>()
    }

    /// A moment in ticks of 27 MHz since the beginning.
    fn ticks(&self, now: Mono) -> i64 {
        (now.micros_since(self.at).min(TIME_US_MAX) * (SECOND as u64 / 1_000_000)) as i64
    }

    /// A packet of the source.
    fn take(&mut self, now: i64, bytes: &[u8; PACKET_BYTES]) {
        let packet = Packet::parse(bytes);
        if bytes.first() != Some(&SYNC_BYTE) || packet.error || packet.malformed {
            self.tally.source_damaged += 1;
            return;
        }
        if packet.pid == pid::NULL {
            return;
        }
        if packet.scrambling != 0 {
            self.tally.source_scrambled += 1;
        } else if self.source.carries(packet.pid) {
            if self.source.push(now, &packet, &mut self.tally) {
                self.adopt(now);
            }
        } else if let Some(at) = self.pids.iter().find(|(of, _)| *of == packet.pid).map(|(_, at)| *at) {
            self.take_media(now, at, &packet, bytes);
        } else {
            self.tally.source_unmapped += 1;
        }
    }

    /// A packet of a track.
    fn take_media(&mut self, now: i64, at: usize, packet: &Packet<'_>, bytes: &[u8; PACKET_BYTES]) {
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
            self.begin(now, at, packet, bytes);
            return;
        }
        let Some(unit) = track.units.back_mut().filter(|unit| unit.open) else { return };
        if self.pool.push(&mut unit.packets, bytes) {
            track.grown = true;
            unit.missing = unit.missing.map(|missing| missing.saturating_sub(packet.payload.len()));
            unit.open = unit.missing != Some(0);
            return;
        }
        unit.open = false;
        if !unit.started {
            self.pool.clear(&mut unit.packets);
        }
        self.overflow(at);
    }

    /// A unit of a track begins.
    fn begin(&mut self, now: i64, at: usize, packet: &Packet<'_>, bytes: &[u8; PACKET_BYTES]) {
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
        if place.is_some_and(|place| place != Place::Early) {
            let step = track.last.map_or(2 * FRAME, |(last, _)| (dts - last).clamp(0, SECOND));
            track.last = Some((dts, step));
        }
        let key = packet.adaptation.is_some_and(|said| said.random_access);
        let missing = usize::from(header.length) + 6;
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
            missing: (header.length > 0).then(|| missing.saturating_sub(packet.payload.len())),
        };
        unit.open = unit.missing != Some(0);
        // A caller that was held up feeds what it is too late for, whenever that came.
        let latest = now.max(self.ticker.now());
        let late = match place {
            Some(Place::Late | Place::Early) => true,
            _ if is_video && track.must_wait(key, dts) => {
                self.tally.units_without_key += 1;
                return;
            }
            Some(Place::On(line)) if line.at(dts) - self.ticker.now() < LEAD_MIN => {
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
            self.overflow(at);
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
    fn overflow(&mut self, at: usize) {
        self.tally.units_overflow += 1;
        self.tally.overload(self.ticker.now());
        if let Some(track) = self.tracks.get_mut(at) {
            track.miss();
        }
    }

    /// Lays the line of times, once enough is known for it, and gives what waits for it its place.
    fn settle(&mut self, now: i64) {
        if !self.clock.is_settling() {
            return;
        }
        let waiting = |track: &Track| track.units.iter().find(|unit| !unit.placed).map(|unit| unit.dts);
        let first = self.tracks.iter().filter(|track| track.class != Class::Data).filter_map(waiting).min();
        let floor = self.floor.map(|floor| floor + FRAME);
        let Some(line) = self.clock.settle(now, first, floor) else { return };
        for track in &mut self.tracks {
            let now = now.max(self.ticker.now());
            if let Some(shown) = track.settle(line, now, &mut self.pool, &mut self.tally) {
                self.floor = self.floor.max(Some(shown));
            }
            track.pace(self.ticker.now(), self.ticker.packet());
            track.wake();
        }
    }

    /// The next packet.
    fn put(&mut self, out: &mut [u8; PACKET_BYTES], utc_seconds: u64) {
        let now = self.ticker.now();
        if now >= self.pcr_due {
            let of = |track: &&Track| track.pid == self.pcr_pid;
            let counter = self.tracks.iter().find(of).map_or(0x0F, |track| track.counter);
            let begins = std::mem::take(&mut self.pcr_begins);
            rewrite::clock(out, self.pcr_pid, counter, self.ticker.pcr(), begins);
            self.pcr_due = now + PCR_EACH - self.ticker.packet();
            self.tally.clocks += 1;
        } else if self.carousel.put(now, utc_seconds, out) {
            self.tally.tables += 1;
            let (revision, pid) = self.pcr_next;
            if self.carousel.sent() >= revision && pid != self.pcr_pid {
                (self.pcr_pid, self.pcr_due) = (pid, now);
            }
        } else if !self.put_media(now, out) {
            *out = rewrite::NULL;
            self.tally.nulls += 1;
        }
    }

    /// The most urgent packet of what may go; false if there is none.
    fn put_media(&mut self, now: i64, out: &mut [u8; PACKET_BYTES]) -> bool {
        let (sent, packet) = (self.carousel.sent(), self.ticker.packet());
        let mut best: Option<((u8, i64), &mut Track)> = None;
        for track in self.tracks.iter_mut().filter(|track| track.revision <= sent) {
            let Some(dts) = track.ready(now, packet, self.share, &mut self.pool, &mut self.tally) else {
                continue;
            };
            let key = (track.rank(), dts);
            if best.as_ref().is_none_or(|(least, _)| key < *least) {
                best = Some((key, track));
            }
        }
        let Some((_, track)) = best else { return false };
        let Some(unit) = track.units.front_mut() else { return false };
        if !self.pool.pop(&mut unit.packets, out) {
            return false;
        }
        self.beside += u64::from(track.class != Class::Video);
        track.counter = (track.counter + 1) & 0x0F;
        rewrite::head(out, track.pid, track.counter);
        let pcr = (track.pid == self.pcr_pid).then(|| self.ticker.pcr());
        if rewrite::adaptation(out, pcr) {
            self.pcr_due = now + PCR_EACH - self.ticker.packet();
        }
        if !unit.started {
            unit.started = true;
            self.tally.units += 1;
            if unit.stamped {
                let clock = self.service.clock;
                rewrite::times(out, rewrite::ticks_90k(clock, unit.pts), rewrite::ticks_90k(clock, unit.dts));
            }
        }
        track.sent(now);
        true
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

#[cfg(test)]
mod tests;
