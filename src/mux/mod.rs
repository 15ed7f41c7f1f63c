//! A channel at constant rate: transport streams of one source or several, made again for multicast as the services of one.
//!
//! [`Mux`] is a machine like the protocol sessions, without socket, clock or thread: entries of `ts` logs go in as they
//! come ([`Mux::feed_shared`]), datagrams of seven packets come out as they are due ([`Mux::position`], [`Mux::write`]). It changes
//! PIDs, counters, clock, the times of PES headers and the tables, and nothing else of what it carries.
//!
//! What belongs to the whole is here: position and `ticker`, the tables (`carousel`), and which packet is next. What belongs to
//! one service is a `program`: its source with its seams, its tracks and PIDs, the recovery of its source's clock, its own clock,
//! its share of the rate, its losses and alarms. Programs know nothing of each other: what happens to the source of one changes
//! nothing for the others.
//!
//! **Time is position.** Packet `n` is sent at `n * 1504 / rate` and everything is decided for that moment, from what was
//! fed before it was written, and not from the moment at which it is really written: a late caller that feeds what came
//! with the times at which it came sends the same units with the same times. PCRs are exact to one tick of 27 MHz (37 ns),
//! because they are counted from packets and nothing else.
//!
//! **A packet's place is taken** by the first of: a PCR that is due; a table that is due; sound, data, then pictures, each
//! kind by decoding time over all services, as far as the model of a decoder allows (`program::track`); what a service sends beyond
//! its share, likewise; a null.
//!
//! **Too much** for the rate is dropped by rule: a service that exceeds its share gives way to those that do not
//! (`program::share`), and in a service sound is sent before pictures; of those, the unit that could not be there
//! in time is dropped whole, with all up to the next that one can start with ([`Tally::units_overload`],
//! [`Alarms::overload`]). The rate is never stretched, and no packet of a unit is sent after its decoding time.
//!
//! What must stay true:
//! - a datagram is always seven packets; PCRs of each service are at most 38 ms apart, at every rate; PAT and PMTs 100 ms, SDT 1 s,
//!   NIT and TDT 10 s; tables never in a row, unless the rate is below what drains them anyway (1 Mbit/s). Nothing of a source,
//!   nor its absence, moves that. Clocks and tables take some 84 kbit/s of [`RATE_BPS_MIN`], and each unit whole packets;
//! - counters of the multiplex run on over seams, losses and changes of tracks; PIDs follow from the order of a source's
//!   first map behind a seam, and stay while the source has its tracks (`program::map`);
//! - a PTS is 0.2 to 0.9 s in front of the PCR where its unit begins (more only if pictures are reordered over more than
//!   half a second; less only for sound that more than six packets a service of other sound had to go before);
//! - times of a service go on in a line that bends slowly (`program::recovery`); only a seam or a source that jumps breaks it, and then
//!   forward. What would stand behind what was sent is left out, never squeezed in;
//! - the clock never jumps by itself, so nothing has to be announced behind its first packet. Only a caller that was held
//!   up makes it jump ([`Mux::skip`]): it follows real time, as receivers' clocks have done meanwhile, and says so
//!   (`discontinuity_indicator`). To stop it instead would leave the channel late for good, by each stall more;
//! - memory is bounded, whatever comes: of each service [`queue_packets_max`] packets of what it may take wait, which of
//!   several are six seconds of the rate together (or 512 packets each), in units of at most 1024 a track and 32 tracks a
//!   service. What they wait in holds no more bytes than twice as many packets have; beside that there are 2 MiB of unfinished
//!   sections and a map of 1 KiB for each service. They wait in what was fed, which other channels may hold as well; a packet costs no copy but the one
//!   into its datagram, and no allocation once as much waits as usually does.
//!
//! Not here: which part of a log is fed (the channel's), sockets, pacing, RTP, FEC; scrambling.
#![forbid(unsafe_code)]

mod carousel;
mod multiplex;
mod program;
mod queue;
mod reads;
pub mod remap;
pub mod replay;
mod rewrite;
mod service;
mod tally;
mod ticker;

pub use multiplex::{
    LocalTime, Multiplex, RATE_BPS_MAX, RATE_BPS_MIN, SERVICES_MAX, TRACK_PIDS, fixed_bps, queue_packets_max,
};
pub use service::Service;
pub use tally::{Alarms, Tally};

use crate::media::Mono;
use crate::wire::ts::PACKET_BYTES;
use bytes::Bytes;
use carousel::Carousel;
use program::share::Sent;
use program::{Program, Urgency};
use std::time::Duration;
use ticker::{PACKET_BITS, SECOND, Ticker};

/// Packets of a datagram, always.
pub const DATAGRAM_PACKETS: usize = 7;
/// Bytes of a datagram, always.
pub const DATAGRAM_BYTES: usize = DATAGRAM_PACKETS * PACKET_BYTES;
/// Bits of a datagram.
const DATAGRAM_BITS: u64 = DATAGRAM_PACKETS as u64 * PACKET_BITS;
/// Longest time from the beginning that is calculated with, in microseconds: 285 years.
const TIME_US_MAX: u64 = 1 << 53;

/// See the module's description.
#[derive(Debug)]
pub struct Mux {
    multiplex: Multiplex,
    at: Mono,
    ticker: Ticker,
    carousel: Carousel,
    /// One for each service, in their order.
    programs: Vec<Program>,
    written: u64,
    /// What is the multiplex's: nulls, tables.
    tally: Tally,
}

impl Mux {
    /// A multiplex whose first packet is due at `at`.
    pub fn new(multiplex: Multiplex, at: Mono) -> Mux {
        let shares = multiplex.shares();
        // What nobody has a share of is there as well.
        let sum = shares.iter().fold(0, |sum: u64, share| sum.saturating_add(*share));
        let (all, of) = (sum.max(multiplex.media_bps()), shares.len());
        let programs = multiplex.services.iter().zip(&shares).enumerate();
        let programs = programs
            .map(|(n, (service, share))| Program::new(service.clone(), (n, of), *share, all))
            .collect();
        Mux {
            at,
            ticker: Ticker::new(multiplex.rate(), multiplex.clock),
            carousel: Carousel::new(&multiplex),
            programs,
            written: 0,
            tally: Tally::default(),
            multiplex,
        }
    }

    /// What it sends.
    pub fn multiplex(&self) -> &Multiplex {
        &self.multiplex
    }

    /// Packets of the source of service `service`, by its place: an entry of a `ts` log, or any whole packets of a transport
    /// stream. `now` is when they came to this host, which a log's entry knows: their delay is measured by it, and with it a backlog is understood at once,
    /// however long. Without, the time of the call will do for as much as may wait ([`queue_packets_max`]). It must not be in
    /// the future.
    ///
    /// They are copied once; [`Mux::feed_shared`] copies nothing.
    pub fn feed(&mut self, service: usize, now: Mono, packets: &[u8]) {
        self.feed_shared(service, now, &Bytes::copy_from_slice(packets));
    }

    /// The same, and `packets` is held until the last of what waits of it is sent, or dropped.
    pub fn feed_shared(&mut self, service: usize, now: Mono, packets: &Bytes) {
        let now = self.ticks(now);
        if let Some(program) = self.programs.get_mut(service) {
            program.feed(now, packets, &self.ticker, &mut self.carousel);
        }
    }

    /// What is fed next to a service does not continue what was: a part was skipped, or there is another publisher or source. What
    /// waits is sent; pictures begin again with one that can be started with; the times of what comes go on behind. What
    /// came before `now` may follow, with the times at which it came.
    pub fn seam(&mut self, service: usize, now: Mono) {
        let now = self.ticks(now);
        if let Some(program) = self.programs.get_mut(service) {
            program.seam(now);
        }
    }

    /// Datagrams that are due by `now`, since the beginning: datagram `n` is due at `n * 10528 / rate`.
    pub fn position(&self, now: Mono) -> u64 {
        let us = now.micros_since(self.at);
        if now < self.at {
            return 0;
        }
        let rate = self.ticker.rate();
        let bits = (us / 1_000_000).saturating_mul(rate).saturating_add(us % 1_000_000 * rate / 1_000_000);
        bits / DATAGRAM_BITS + 1
    }

    /// When a datagram is due; to the microsecond above.
    pub fn due(&self, datagram: u64) -> Mono {
        let rate = self.ticker.rate();
        let us = match datagram.checked_mul(DATAGRAM_BITS * 1_000_000) {
            Some(bits) => bits.div_ceil(rate),
            // A channel of 4 Mbit/s runs for 53 days until then.
            None => {
                let bits = u128::from(datagram) * u128::from(DATAGRAM_BITS) * 1_000_000;
                u64::try_from(bits.div_ceil(u128::from(rate))).unwrap_or(u64::MAX)
            }
        };
        self.at + Duration::from_micros(us)
    }

    /// Datagrams written, and left out.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What the clock says at the first byte of the next datagram, in ticks of 27 MHz: RTP stamps are made from it.
    pub fn clock(&self) -> u64 {
        self.multiplex.clock.wrapping_add(self.ticker.now() as u64)
    }

    /// Writes the next datagram. `utc_seconds`: seconds since 1970, for the TDT.
    pub fn write(&mut self, out: &mut [u8; DATAGRAM_BYTES], utc_seconds: u64) {
        let ticker = &self.ticker;
        self.programs.iter_mut().for_each(|program| program.settle(ticker.now(), ticker));
        for packet in out.as_chunks_mut().0 {
            self.put(packet, utc_seconds);
            self.ticker.advance();
            self.tally.packets += 1;
        }
        self.written += 1;
        let clocks: u64 = self.programs.iter().map(|program| program.tally.clocks).sum();
        let Tally { packets, nulls, tables, .. } = self.tally;
        let sent = Sent { at: self.ticker.now(), packets, busy: packets - nulls, fixed: clocks + tables };
        self.programs.iter_mut().for_each(|program| program.measure(sent));
    }

    /// What was counted, of all services together.
    pub fn tally(&self) -> Tally {
        self.programs.iter().fold(self.tally.clone(), |all, program| all.plus(&program.tally()))
    }

    /// What was counted of one service; there is none of packets of tables and nulls, which are nobody's.
    pub fn tally_of(&self, service: usize) -> Tally {
        self.programs.get(service).map(Program::tally).unwrap_or_default()
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
        self.programs.iter_mut().for_each(|program| program.skip(&self.ticker));
        left_out
    }

    /// What is wrong at `now`, with any of the services.
    pub fn alarms(&self, now: Mono) -> Alarms {
        (0..self.programs.len()).fold(Alarms::default(), |all, service| all.or(self.alarms_of(service, now)))
    }

    /// What is wrong with one service at `now`.
    pub fn alarms_of(&self, service: usize, now: Mono) -> Alarms {
        let now = self.ticks(now);
        self.programs.get(service).map(|program| program.alarms(now, &self.ticker)).unwrap_or_default()
    }

    /// How much the clock of a service's source was found to be slower than this host's, in parts in 10^9.
    pub fn drift_ppb(&self, service: usize) -> i64 {
        self.programs.get(service).map_or(0, |program| program.clock.frequency_ppb())
    }

    /// Packets that wait; of each service at most [`queue_packets_max`].
    pub fn queued_packets(&self) -> usize {
        self.programs.iter().map(|program| program.pool.used()).sum()
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.carousel.heap_bytes()
            + self.programs.capacity() * size_of::<Program>()
            + self.programs.iter().map(Program::heap_bytes).sum::<usize>()
    }

    /// A moment in ticks of 27 MHz since the beginning.
    fn ticks(&self, now: Mono) -> i64 {
        (now.micros_since(self.at).min(TIME_US_MAX) * (SECOND as u64 / 1_000_000)) as i64
    }

    /// The next packet: a clock, a table, the most urgent of all services, or a null.
    fn put(&mut self, out: &mut [u8; PACKET_BYTES], utc_seconds: u64) {
        let Mux { multiplex, ticker, carousel, programs, tally, .. } = self;
        let now = ticker.now();
        let due = programs.iter_mut().filter(|program| program.clock_due() <= now);
        if let Some(program) = due.min_by_key(|program| program.clock_due()) {
            program.put_clock(ticker, out);
            return;
        }
        if carousel.put(now, utc_seconds, out) {
            tally.tables += 1;
            for (n, program) in programs.iter_mut().enumerate() {
                program.mapped(now, carousel.sent(n));
            }
            return;
        }
        let mut best: Option<(Urgency, &mut Program, usize)> = None;
        for (n, program) in programs.iter_mut().enumerate() {
            if let Some((urgency, track)) = program.next(ticker, carousel.sent(n))
                && best.as_ref().is_none_or(|(first, ..)| urgency < *first)
            {
                best = Some((urgency, program, track));
            }
        }
        if !best.is_some_and(|(_, program, track)| program.put_media(track, ticker, multiplex.clock, out)) {
            rewrite::copy(out, &rewrite::NULL);
            tally.nulls += 1;
        }
    }
}

#[cfg(test)]
mod tests;
