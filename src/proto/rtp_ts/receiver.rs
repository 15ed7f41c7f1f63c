//! Datagrams of one or two paths -> packets in order, each once.
//!
//! - **In order** packets are given out as they come: a stream without losses is not delayed.
//! - **A gap** holds back what is behind it until the missing packet comes, on either path, or is repaired, or is given up:
//!   when it has been missing for [`Options::wait`] (reordering, or the skew between the paths) and the repair packets
//!   that could restore it have passed too.
//! - **Another sender** (SSRC, or numbers that do not continue) is believed with its second packet in a row (RFC 3550 appendix
//!   A.1); so a second sender on the same group does not tear the stream apart. What was held back is given out first.
//!
//! SMPTE ST 2022-7 needs nothing more: the paths carry equal packets, and the first of each number is taken.

use super::repairs::{HISTORY, KEPT_MAX, Repairs};
use super::tally::Tally;
use super::window::{BUFFER_BYTES, Slot, State, Window};
use crate::media::Mono;
use crate::wire::fec::{FecHeader, PACKET_BYTES_MAX};
use crate::wire::rtp::RtpPacket;
use std::time::Duration;

/// Paths that are merged.
pub const LEGS: usize = 2;
/// Numbers that are remembered; a gap is waited for while it lies in the newer half, a second at 20 Mbit/s. A power of two.
const WINDOW: usize = 4096;
/// The same where paths may be half a second apart.
const WIDE_WINDOW: usize = 8192;
/// From this wait on the wide window is needed.
const WIDE_WAIT: Duration = Duration::from_millis(200);
/// A larger step is a new sender, not a loss (RFC 3550 appendix A.1). With it what is waited for still has room.
const DROPOUT_MAX: i64 = 1500;
/// So many packets in a row that are all too old are a sender that began again a little earlier.
const STALE_RUN: u32 = 64;
/// The longest that repair packets are waited for: two matrices of 100 packets at half a megabit are 4 s, and nobody waits
/// so long.
const REPAIR_WAIT: Duration = Duration::from_secs(2);
/// The number that the first packet gets, beyond its 16 bits: counting back from it never comes to zero.
const FIRST: u64 = 1 << 32;

/// The most that a receiver holds, in bytes: a buffer for each number and each repair packet, and what keeps account of
/// them. Only a network whose packets are all late and out of order comes near it.
pub const HEAP_BYTES_MAX: usize = (WIDE_WINDOW + KEPT_MAX + 2) * (BUFFER_BYTES + size_of::<Slot>() + 96);

const _: () =
    assert!(DROPOUT_MAX < WINDOW as i64 && WINDOW.is_power_of_two() && WIDE_WINDOW.is_power_of_two());

/// How a stream is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a missing packet is waited for: the reordering of the network (50 to 100 ms is usual), and with two paths
    /// the skew between them (SMPTE ST 2022-7: 10, 50 or 450 ms).
    pub wait: Duration,
    /// Whether repair packets are expected (SMPTE ST 2022-1). Packets are then kept a while after they were given out,
    /// because repairs need them.
    pub fec: bool,
}

/// One packet of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Whole TS packets, if the sender does what RFC 2250 says.
    pub payload: &'a [u8],
    /// When it came, or was repaired.
    pub at: Mono,
    /// Number in its header.
    pub sequence: u16,
    /// Time stamp of its header, 90 kHz.
    pub timestamp: u32,
    /// The sender says that its clock jumps here.
    pub marker: bool,
    /// Packets lost since the one before it.
    pub lost: u64,
    /// A new sender begins here: nothing continues what came before.
    pub restart: bool,
}

/// Receives one stream of RTP packets.
#[derive(Clone, Debug)]
pub struct Receiver {
    options: Options,
    window: Window,
    repairs: Repairs,
    sender: Option<Sender>,
    /// The number that is given out next.
    next: u64,
    /// Lost since the last delivery.
    lost: u64,
    tally: Tally,
}

/// The sender that is believed.
#[derive(Clone, Copy, Debug)]
struct Sender {
    ssrc: u32,
    /// The newest packet: its number, and as it stands in the header.
    newest: u64,
    newest_wire: u16,
    /// The first packet; what is older belongs to nobody.
    first: u64,
    /// Another sender, and the number of its next packet if it goes on.
    candidate: Option<(u32, u16)>,
    /// Packets in a row that were too old.
    stale: u32,
    /// The newest number of each path.
    leg_newest: [Option<u64>; LEGS],
}

impl Receiver {
    /// A receiver that has seen nothing.
    pub fn new(options: Options) -> Receiver {
        let slots = if options.wait >= WIDE_WAIT { WIDE_WINDOW } else { WINDOW };
        Receiver {
            options,
            window: Window::new(slots),
            repairs: Repairs::new(),
            sender: None,
            next: FIRST,
            lost: 0,
            tally: Tally::default(),
        }
    }

    /// Takes a datagram of media that came on path `leg` (0, or 1 with two paths).
    pub fn push(&mut self, leg: usize, now: Mono, datagram: &[u8]) {
        self.tally.datagrams += 1;
        let leg = leg.min(LEGS - 1);
        let fits = |_: &RtpPacket<'_>| datagram.len() <= PACKET_BYTES_MAX;
        let Some(packet) = RtpPacket::around_ts(datagram).filter(fits) else {
            self.tally.malformed += 1;
            return;
        };
        let Some(sender) = &mut self.sender else {
            return self.begin(leg, now, &packet, datagram);
        };
        let ahead = i64::from(packet.sequence.wrapping_sub(sender.newest_wire).cast_signed());
        let remembered = -(self.window.len() as i64) < ahead && ahead <= DROPOUT_MAX;
        if packet.ssrc != sender.ssrc || !remembered {
            let this = (packet.ssrc, packet.sequence);
            if sender.candidate != Some(this) {
                sender.candidate = Some((packet.ssrc, packet.sequence.wrapping_add(1)));
                self.tally.foreign += 1;
                return;
            }
            return self.begin(leg, now, &packet, datagram);
        }
        sender.candidate = None;
        let number = sender.newest.saturating_add_signed(ahead);
        self.take(leg, now, number, datagram);
    }

    /// Takes a repair packet, of columns or rows, of any path. Without [`Options::fec`] it is only counted.
    pub fn push_fec(&mut self, now: Mono, datagram: &[u8]) {
        self.tally.repair_packets += 1;
        let header = FecHeader::parse(datagram).filter(|_| datagram.len() <= BUFFER_BYTES);
        let (Some(header), Some(sender)) = (header, self.sender.filter(|_| self.options.fec)) else {
            // Before the first packet there is nothing to repair.
            self.tally.repair_refused += u64::from(header.is_none());
            return;
        };
        let ahead = i64::from(header.base.wrapping_sub(sender.newest_wire).cast_signed());
        let base = sender.newest.saturating_add_signed(ahead);
        if ahead.unsigned_abs() >= self.window.len() / 2 || base < sender.first {
            return;
        }
        match self.repairs.push(now, header, base, datagram, &mut self.window) {
            true => self.settle(now),
            false => self.tally.repair_refused += 1,
        }
    }

    /// The next packet, if it is there or there is nothing more to wait for. To be called until it gives `None`, after each
    /// datagram and at [`Receiver::deadline`].
    pub fn pop(&mut self, now: Mono) -> Option<Delivery<'_>> {
        let history = if self.options.fec { HISTORY } else { 0 };
        self.window.trim(self.next.saturating_sub(history));
        let sender = self.sender?;
        while self.next <= sender.newest {
            let number = self.next;
            match self.window.get(number).map(|slot| slot.state) {
                Some(State::Here) => {
                    self.next += 1;
                    return self.deliver(number);
                }
                Some(State::Missing) if now < self.due(number, now) => return None,
                _ => {
                    if let Some(slot) = self.window.get_mut(number) {
                        slot.state = State::Lost;
                    }
                    self.next += 1;
                    self.lost += 1;
                    self.tally.lost += 1;
                }
            }
        }
        None
    }

    /// When [`Receiver::pop`] has something to do without a datagram; [`Mono::NEVER`] if it has not.
    pub fn deadline(&self, now: Mono) -> Mono {
        match self.sender {
            Some(sender) if self.next <= sender.newest => self.due(self.next, now),
            _ => Mono::NEVER,
        }
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Bytes on the heap, at most [`HEAP_BYTES_MAX`].
    pub fn heap_bytes(&self) -> usize {
        self.window.heap_bytes() + self.repairs.heap_bytes()
    }

    fn deliver(&mut self, number: u64) -> Option<Delivery<'_>> {
        self.tally.delivered += 1;
        let lost = std::mem::take(&mut self.lost);
        let slot = self.window.get(number)?;
        self.tally.repaired += u64::from(slot.repaired);
        // It was read before it was put there.
        let packet = RtpPacket::around_ts(&slot.bytes)?;
        Some(Delivery {
            payload: packet.payload,
            at: slot.at,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            lost,
            restart: slot.first,
        })
    }

    /// When `number` is given up, if it is missing.
    fn due(&self, number: u64, now: Mono) -> Mono {
        let Some(slot) = self.window.get(number).filter(|slot| slot.state == State::Missing) else {
            return Mono::ZERO;
        };
        let behind = self.sender.map_or(0, |sender| sender.newest.saturating_sub(number));
        if behind > self.window.len() / 2 {
            return Mono::ZERO;
        }
        let may_be_repaired = behind < self.repairs.span(now);
        slot.at + if may_be_repaired { self.options.wait.max(REPAIR_WAIT) } else { self.options.wait }
    }

    /// A sender's first packet. What is held back of the one before stays in front of it, and its gaps are losses.
    fn begin(&mut self, leg: usize, now: Mono, packet: &RtpPacket<'_>, datagram: &[u8]) {
        let number = match self.sender {
            Some(before) => {
                for number in self.next..=before.newest {
                    if let Some(slot) =
                        self.window.get_mut(number).filter(|slot| slot.state == State::Missing)
                    {
                        slot.state = State::Lost;
                    }
                }
                self.tally.restarts += 1;
                before.newest + 1
            }
            None => FIRST,
        };
        self.repairs.clear(&mut self.window);
        self.sender = Some(Sender {
            ssrc: packet.ssrc,
            newest: number - 1,
            newest_wire: packet.sequence.wrapping_sub(1),
            first: number,
            candidate: None,
            stale: 0,
            leg_newest: [None; LEGS],
        });
        self.take(leg, now, number, datagram);
        if let Some(slot) = self.window.get_mut(number) {
            slot.first = self.tally.restarts > 0;
        }
    }

    /// A packet of the sender that is believed.
    fn take(&mut self, leg: usize, now: Mono, number: u64, datagram: &[u8]) {
        let Some(sender) = &mut self.sender else { return };
        if number > sender.newest {
            let step = number - sender.newest;
            sender.newest_wire = sender.newest_wire.wrapping_add(step as u16);
            let before = std::mem::replace(&mut sender.newest, number);
            self.make_room(number);
            (before + 1..=number).for_each(|number| self.window.open(number, now));
        }
        let Some(sender) = &mut self.sender else { return };
        let overtaken = sender.leg_newest.get(leg).copied().flatten().is_some_and(|newest| number < newest);
        let bit = 1u8 << leg;
        let slot = self.window.get(number).filter(|_| number >= sender.first);
        match slot.map(|slot| (slot.state, slot.legs, slot.at)) {
            Some((State::Missing, ..)) => {
                if overtaken {
                    self.tally.reordered += 1;
                } else if number < sender.newest {
                    // The other path has gone on without it.
                    self.tally.merged += 1;
                }
                sender.stale = 0;
                self.window.fill(number, now, datagram);
                self.observe(leg, number, bit);
            }
            Some((State::Here, legs, _)) if legs & bit != 0 => {
                self.tally.duplicates += 1;
                sender.stale += 1;
            }
            Some((State::Here, legs, at)) => {
                // The other path, or a repair, was quicker.
                if legs != 0
                    && let Some(leg) = self.tally.legs.get_mut(leg)
                {
                    leg.behind_us_max = leg.behind_us_max.max(now.micros_since(at));
                }
                sender.stale = 0;
                self.observe(leg, number, bit);
            }
            _ => {
                self.tally.late += 1;
                sender.stale += 1;
            }
        }
        if self.sender.is_some_and(|sender| sender.stale >= STALE_RUN)
            && let Some(packet) = RtpPacket::around_ts(datagram)
        {
            return self.begin(leg, now, &packet, datagram);
        }
        if !self.repairs.is_empty() {
            self.settle(now);
        }
    }

    /// `leg` brought `number` for the first time.
    fn observe(&mut self, leg: usize, number: u64, bit: u8) {
        if let Some(slot) = self.window.get_mut(number) {
            slot.legs |= bit;
        }
        let Some(newest) = self.sender.as_mut().and_then(|sender| sender.leg_newest.get_mut(leg)) else {
            return;
        };
        let Some(tally) = self.tally.legs.get_mut(leg) else { return };
        tally.packets += 1;
        match *newest {
            Some(before) if number < before => tally.lost = tally.lost.saturating_sub(1),
            Some(before) => tally.lost += number - before - 1,
            None => {}
        }
        *newest = Some(newest.map_or(number, |before| before.max(number)));
    }

    /// Numbers that `newest` pushes out of the window are over, taken or not.
    fn make_room(&mut self, newest: u64) {
        let oldest = (newest + 1).saturating_sub(self.window.len());
        while self.next < oldest {
            match self.window.get(self.next).map(|slot| slot.state) {
                Some(State::Here) => self.tally.overrun += 1,
                _ => self.tally.lost += 1,
            }
            self.lost += 1;
            self.next += 1;
        }
    }

    fn settle(&mut self, now: Mono) {
        let Some(sender) = self.sender else { return };
        let Sender { newest, newest_wire, ssrc, .. } = sender;
        let refused = self.repairs.settle(now, newest, newest_wire, ssrc, &mut self.window);
        self.tally.repair_refused += refused;
    }
}
