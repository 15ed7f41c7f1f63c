//! A channel at constant rate: a source's transport stream, made again for multicast.
//!
//! [`Mux`] is a machine like the protocol sessions, without socket, clock or thread: entries of a `ts` log go in as they
//! come ([`Mux::feed`]), datagrams of seven packets come out as they are due ([`Mux::position`], [`Mux::write`]). It changes
//! PIDs, counters, clock, the times of PES headers and the tables, and nothing else of what it carries.
//!
//! **Time is position.** Packet `n` is sent at `n * 1504 / rate` and everything is decided for that moment, whatever the
//! moment is at which it is really written: what a late caller catches up with are the same bytes. PCRs are exact to one
//! tick of 27 MHz (37 ns), because they are counted from packets and nothing else.
//!
//! **A packet's place is taken** by the first of: a PCR that is due; a table that is due; sound, data, then pictures, each
//! kind by decoding time, as far as the model of a decoder allows (`track`); a null.
//!
//! **Too much** for the rate is dropped by rule: sound is sent before pictures; of those, the unit that could not be there in time is
//! dropped whole, with all up to the next that one can start with ([`Tally::units_overload`], [`Alarms::overload`]). The
//! rate is never stretched, and no packet of a unit is sent after its decoding time.
//!
//! What must stay true:
//! - a datagram is always seven packets; PCRs are at most 38 ms apart, at every rate; PAT and PMT 100 ms, SDT 1 s, NIT and
//!   TDT 10 s; tables never in a row, unless the rate is below what drains them anyway (1 Mbit/s). Nothing of the source,
//!   nor its absence, moves that. Clocks and tables take some 84 kbit/s of [`RATE_BPS_MIN`], and each unit whole packets;
//! - counters of the multiplex run on over seams, losses and changes of tracks; PIDs depend on kinds and numbers alone;
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
use crate::wire::ts::pes::PesHeader;
use crate::wire::ts::{PACKET_BYTES, SYNC_BYTE, pid};
use carousel::Carousel;
use queue::{List, Pool};
use recovery::{LEAD_MIN, Place, Recovery, SILENCE};
use source::Source;
use std::time::Duration;
use ticker::{MS, PACKET_BITS, SECOND, Ticker};
use track::{Track, UNITS_MAX, Unit};

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
    /// waits is sent; pictures begin again with one that can be started with; the times of what comes go on behind.
    pub fn seam(&mut self, now: Mono) {
        self.fed_at = self.fed_at.max(self.ticks(now));
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
            source_lost: now - self.clock.heard_at().unwrap_or(0) > SILENCE,
            overload: self.tally.is_overloaded(now.max(self.ticker.now())),
            no_program: !self.source.is_known(),
        }
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
        let Some(track) = self.tracks.get_mut(at) else { return };
        let header = PesHeader::parse(packet.payload).filter(|header| header.scrambling == 0);
        let Some(header) = header else {
            self.tally.source_damaged += 1;
            return;
        };
        let is_video = track.class == Class::Video;
        let jumps = self.clock.jumps();
        let (place, dts, pts) = match (header.dts.or(header.pts), track.last) {
            (Some(time), _) => {
                let place = match track.class {
                    Class::Data => self.clock.place(now, self.clock.endless(time)),
                    Class::Video | Class::Audio => self.clock.hear(now, at, is_video, time),
                };
                let dts = self.clock.endless(time);
                (place, dts, header.pts.map_or(dts, |pts| self.clock.endless(pts)))
            }
            // Not every picture has to be stamped: it follows the one before as that followed another.
            (None, Some((last, step))) => (self.clock.place(now, last + step), last + step, last + step),
            (None, None) => {
                self.tally.source_damaged += 1;
                return;
            }
        };
        if self.clock.jumps() != jumps {
            // Who knows what was between.
            for track in self.tracks.iter_mut().filter(|track| track.class == Class::Video) {
                track.waits = Some(i64::MIN);
            }
        }
        let Some(track) = self.tracks.get_mut(at) else { return };
        let step = track.last.map_or(2 * FRAME, |(last, _)| (dts - last).clamp(0, SECOND));
        track.last = Some((dts, step));
        let key = packet.adaptation.is_some_and(|said| said.random_access);
        let missing = usize::from(header.length) + 6;
        let mut unit = Unit {
            packets: List::new(),
            pts,
            dts,
            placed: false,
            stamped: header.pts.is_some(),
            key,
            started: false,
            open: true,
            in_time: false,
            missing: (header.length > 0).then(|| missing.saturating_sub(packet.payload.len())),
        };
        unit.open = unit.missing != Some(0);
        if matches!(place, Place::Late | Place::Early) {
            self.tally.units_late += 1;
            if is_video {
                track.waits = Some(i64::MIN);
            }
            return;
        }
        if is_video && track.must_wait(key, dts) {
            self.tally.units_without_key += 1;
            return;
        }
        if let Place::On(line) = place {
            // A caller that was held up feeds what it is too late for, whenever that came.
            let missed = line.at(dts) - self.ticker.now() < LEAD_MIN;
            let now = now.max(self.ticker.now());
            if missed || !unit.place(&mut track.newest, line.at(dts), line.at(pts), now) {
                self.tally.units_late += 1;
                if is_video {
                    track.waits = Some(i64::MIN);
                }
                return;
            }
            self.floor = self.floor.max(Some(unit.pts));
        }
        if track.units.len() >= UNITS_MAX || !self.pool.push(&mut unit.packets, bytes) {
            self.overflow(at);
            return;
        }
        track.units.push_back(unit);
        track.grown = true;
        track.wake();
    }

    /// Something of a track found no room.
    fn overflow(&mut self, at: usize) {
        self.tally.units_overflow += 1;
        self.tally.overload(self.ticker.now());
        if let Some(track) = self.tracks.get_mut(at).filter(|track| track.class == Class::Video) {
            track.waits = Some(i64::MIN);
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
            let Some(dts) = track.ready(now, packet, &mut self.pool, &mut self.tally) else { continue };
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

#[cfg(test)]
mod tests;
