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
mod rewrite;
mod service;
mod tally;
mod ticker;

pub use service::{LocalTime, RATE_BPS_MAX, RATE_BPS_MIN, Service};
pub use tally::{Alarms, Tally};

use crate::media::Mono;
use crate::wire::ts::PACKET_BYTES;
use carousel::Carousel;
use program::Program;
use std::time::Duration;
use ticker::{PACKET_BITS, SECOND, Ticker};

/// Packets of a datagram, always.
pub const DATAGRAM_PACKETS: usize = 7;
/// Bytes of a datagram, always.
pub const DATAGRAM_BYTES: usize = DATAGRAM_PACKETS * PACKET_BYTES;
/// Bits of a datagram.
const DATAGRAM_BITS: u64 = DATAGRAM_PACKETS as u64 * PACKET_BITS;
/// Time of the multiplex that may wait: a track may be that far in front of another, and both have their lead.
const QUEUE_SECONDS: u64 = 3;
/// Packets that may wait at any rate.
const QUEUE_PACKETS_MIN: u64 = 512;
/// And at any rate at most: 32 MiB.
const QUEUE_PACKETS_MAX: u64 = (32 << 20) / 192;
/// Longest time from the beginning that is calculated with, in microseconds: 285 years.
const TIME_US_MAX: u64 = 1 << 53;
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
    carousel: Carousel,
    program: Program,
    written: u64,
    /// What is the multiplex's: nulls, tables.
    tally: Tally,
}

impl Mux {
    /// A multiplex whose first packet is due at `at`.
    pub fn new(service: Service, at: Mono) -> Mux {
        let rate = service.rate();
        Mux {
            at,
            ticker: Ticker::new(rate, service.clock),
            carousel: Carousel::new(&service, service.first_pcr_pid()),
            program: Program::new(service.clone(), queue_packets_max(rate)),
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
        let now = self.ticks(now);
        self.program.feed(now, packets, &self.ticker, &mut self.carousel);
    }

    /// What is fed next does not continue what was: a part was skipped, or there is another publisher or source. What
    /// waits is sent; pictures begin again with one that can be started with; the times of what comes go on behind. What
    /// came before `now` may follow, with the times at which it came.
    pub fn seam(&mut self, now: Mono) {
        let now = self.ticks(now);
        self.program.seam(now);
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
        self.program.settle(self.ticker.now(), &self.ticker);
        for packet in out.as_chunks_mut().0 {
            self.put(packet, utc_seconds);
            self.ticker.advance();
            self.tally.packets += 1;
        }
        self.written += 1;
        let fixed = self.tally.tables + self.program.tally.clocks;
        self.program.measure(self.ticker.now(), self.tally.packets, fixed);
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        self.tally.plus(&self.program.tally())
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
        self.program.skip(&self.ticker);
        left_out
    }

    /// What is wrong at `now`.
    pub fn alarms(&self, now: Mono) -> Alarms {
        self.program.alarms(self.ticks(now), &self.ticker)
    }

    /// How much the source's clock was found to be slower than this host's, in parts in 10^9.
    pub fn drift_ppb(&self) -> i64 {
        self.program.clock.frequency_ppb()
    }

    /// Packets that wait; at most [`queue_packets_max`].
    pub fn queued_packets(&self) -> usize {
        self.program.pool.used()
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.carousel.heap_bytes() + self.program.heap_bytes()
    }

    /// A moment in ticks of 27 MHz since the beginning.
    fn ticks(&self, now: Mono) -> i64 {
        (now.micros_since(self.at).min(TIME_US_MAX) * (SECOND as u64 / 1_000_000)) as i64
    }

    /// The next packet.
    fn put(&mut self, out: &mut [u8; PACKET_BYTES], utc_seconds: u64) {
        let Mux { ticker, carousel, program, tally, .. } = self;
        if program.put_clock(ticker, out) {
            return;
        }
        if carousel.put(ticker.now(), utc_seconds, out) {
            tally.tables += 1;
            program.mapped(ticker.now(), carousel.sent());
            return;
        }
        let next = program.next(ticker, carousel.sent());
        if !next.is_some_and(|(_, track)| program.put_media(track, ticker, self.service.clock, out)) {
            *out = rewrite::NULL;
            tally.nulls += 1;
        }
    }
}

#[cfg(test)]
mod tests;
