//! An independent judge of transport streams at a constant rate, in the domain of positions: what a capture of a channel
//! must keep, absolutely, on any machine.
//!
//! It shares no line with `src/` and reads the standards by itself (ISO/IEC 13818-1, ETSI EN 300 468, TR 101 290, RFC
//! 2250); `tests/judge.rs` holds it to that, and shows for every [`Gate`] a capture that misses it and nothing else. Time
//! is a packet's position at the nominal rate; when datagrams came is told, never judged. [`outside`] asks judges by
//! other hands.
//!
//! ```ignore
//! let mut judge = Judge::new(channel);
//! for (at, bytes) in &capture { judge.datagram(Carriage::Rtp, *at, bytes); }
//! judge.finish().assert_clean("channel 1");
//! // The same capture as a file, for the others.
//! let file: Vec<u8> = capture.iter().flat_map(|(_, bytes)| payload(Carriage::Rtp, bytes)).copied().collect();
//! ```

pub mod carriage;
pub mod channel;
pub mod clock;
pub mod gates;
pub mod outside;
pub mod packet;
pub mod picture;
pub mod report;
pub mod section;
pub mod tables;
pub mod units;

pub use carriage::{Carriage, payload};
pub use channel::{Channel, Limits, Program, Stream};
pub use gates::Gate;
pub use report::Report;

use carriage::{Arrival, Piece, Rtp};
use clock::Clock;
use gates::Misses;
use packet::{Counter, NULL_PID, Order, PACKET_BYTES, Packet};
use std::collections::BTreeMap;
use std::time::Duration;
use tables::Tables;
use units::Units;

/// Judges one capture of one channel.
#[derive(Debug)]
pub struct Judge {
    channel: Channel,
    misses: Misses,
    arrival: Arrival,
    rtp: Rtp,
    /// Packets so far.
    packets: u64,
    /// By PID.
    seen: BTreeMap<u16, u64>,
    counters: BTreeMap<u16, Counter>,
    clocks: BTreeMap<u16, Clock>,
    tables: Tables,
    units: BTreeMap<u16, Units>,
    discontinuities: u64,
}

/// Judges a file, or the packets of a capture one after the other.
pub fn file(bytes: &[u8], channel: Channel) -> Report {
    let mut judge = Judge::new(channel);
    for piece in carriage::file(bytes) {
        match piece {
            Piece::Packet(packet) => judge.packet(packet),
            Piece::Lost(at) => {
                judge.misses.note(Gate::Sync, judge.packets, || format!("no packet at byte {at}"));
                judge.cut();
            }
        }
    }
    judge.finish()
}

impl Judge {
    /// A judge that has seen nothing.
    pub fn new(channel: Channel) -> Judge {
        let streams = channel.programs.iter().flat_map(|program| &program.streams);
        Judge {
            misses: Misses::default(),
            arrival: Arrival::default(),
            rtp: Rtp::default(),
            packets: 0,
            seen: BTreeMap::new(),
            counters: BTreeMap::new(),
            clocks: channel.programs.iter().map(|program| (program.pcr_pid, Clock::default())).collect(),
            tables: Tables::new(&channel),
            units: streams.map(|stream| (stream.pid, Units::new(*stream))).collect(),
            discontinuities: 0,
            channel,
        }
    }

    /// Takes a datagram's payload that came at this time, on any clock that goes forward.
    pub fn datagram(&mut self, carriage: Carriage, at: Duration, bytes: &[u8]) {
        self.arrival.take(at);
        let opened =
            carriage::open(carriage, bytes, &mut self.rtp, self.packets, &self.channel, &mut self.misses);
        if opened.cut_before {
            self.cut();
        }
        opened.packets.chunks(PACKET_BYTES).for_each(|packet| self.packet(packet));
        if opened.cut_after {
            self.cut();
        }
    }

    /// Positions are not known across this place.
    fn cut(&mut self) {
        self.clocks.values_mut().for_each(Clock::cut);
    }

    fn packet(&mut self, bytes: &[u8]) {
        let number = self.packets;
        self.packets += 1;
        let Ok(bytes) = <&[u8; PACKET_BYTES]>::try_from(bytes) else { return };
        if bytes[0] != 0x47 {
            self.misses.note(Gate::Sync, number, || format!("sync byte {:#04x}", bytes[0]));
            return;
        }
        let packet = match Packet::read(bytes) {
            Ok(packet) => packet,
            Err(what) => return self.misses.note(Gate::Adaptation, number, || what),
        };
        let pid = packet.pid;
        *self.seen.entry(pid).or_default() += 1;
        if packet.error {
            self.misses.note(Gate::TransportError, number, || format!("on PID {pid:#x}"));
        }
        if packet.scrambled {
            self.misses.note(Gate::Scrambling, number, || format!("on PID {pid:#x}"));
        }
        if !self.channel.has(pid) {
            self.misses.note(Gate::PidMap, number, || format!("PID {pid:#x}, which nobody ordered"));
        }
        if pid == NULL_PID {
            return;
        }
        match self.counters.entry(pid).or_default().take(bytes, &packet) {
            Order::Next => {}
            Order::Duplicate => return,
            Order::Hole => {
                self.misses.note(Gate::Continuity, number, || format!("PID {pid:#x} at {}", packet.counter));
                self.hole(pid);
                self.cut();
            }
        }
        if packet.discontinuity {
            self.announced(number, pid);
        }
        if let (Some(value), Some(clock)) = (packet.pcr, self.clocks.get_mut(&pid)) {
            clock.take(pid, number, value, &self.channel, &mut self.misses);
        }
        if packet.scrambled {
            self.hole(pid);
        } else if packet.has_payload {
            self.payload(number, &packet);
        }
    }

    fn payload(&mut self, number: u64, packet: &Packet<'_>) {
        let pid = packet.pid;
        let (channel, misses) = (&self.channel, &mut self.misses);
        if Tables::reads(pid, channel) {
            self.tables.take(pid, number, packet.payload, packet.starts, channel, misses);
        } else if let Some(units) = self.units.get_mut(&pid) {
            let of_stream = |program: &&Program| program.streams.iter().any(|stream| stream.pid == pid);
            let clock = channel.programs.iter().find(of_stream).and_then(|p| self.clocks.get(&p.pcr_pid));
            let now = clock.and_then(|clock| clock.at(number, channel));
            let starts = packet.starts.then_some(packet.random_access);
            units.take(number, packet.payload, starts, now, channel, misses);
        }
    }

    /// Something of this PID is missing.
    fn hole(&mut self, pid: u16) {
        self.tables.hole(pid);
        if let Some(units) = self.units.get_mut(&pid) {
            units.hole();
        }
    }

    fn announced(&mut self, number: u64, pid: u16) {
        self.discontinuities += 1;
        if self.discontinuities > self.channel.limits.discontinuities {
            self.misses.note(Gate::Discontinuity, number, || format!("announced on PID {pid:#x}"));
        }
        if let Some(clock) = self.clocks.get_mut(&pid) {
            clock.announce();
        }
        if let Some(units) = self.units.get_mut(&pid) {
            units.announce(number, &self.channel, &mut self.misses);
        }
    }

    /// The capture is over.
    pub fn finish(mut self) -> Report {
        let (end, channel, misses) = (self.packets, &self.channel, &mut self.misses);
        self.tables.finish(end, channel, misses);
        self.units.values_mut().for_each(|units| units.finish(end, channel, misses));
        let clocks = self.clocks.iter_mut();
        let fits = clocks.map(|(pid, clock)| (*pid, clock.finish(*pid, end, channel, misses))).collect();
        let streams = channel.programs.iter().flat_map(|program| &program.streams);
        for stream in streams.filter(|stream| stream.continuous && !self.seen.contains_key(&stream.pid)) {
            misses.note(Gate::PidMap, end, || format!("never PID {:#x}", stream.pid));
        }
        Report {
            ms: channel.ms(end),
            rate_bps: channel.rate_bps,
            packets: end,
            seen: self.seen,
            misses: self.misses,
            arrival: self.arrival,
            clocks: self.clocks,
            fits,
            tables: self.tables,
            units: self.units,
            discontinuities: self.discontinuities,
        }
    }
}
