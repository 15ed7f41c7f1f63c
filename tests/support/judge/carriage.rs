//! What carries packets: a file, plain datagrams, or RTP (RFC 2250, RFC 3550). It gives packets one by one, says where
//! positions are no longer known, and keeps the figures of arrival, which are for reading only.

use super::channel::Channel;
use super::gates::{Gate, Misses};
use super::packet::PACKET_BYTES;
use std::time::Duration;

/// Packets of a datagram.
const DATAGRAM_BYTES: usize = 7 * PACKET_BYTES;
const RTP_HEADER_BYTES: usize = 12;
/// Payload type of MPEG-2 transport streams (RFC 3551).
const MP2T: u8 = 33;
/// Datagrams closer than this came back to back.
const TOGETHER: Duration = Duration::from_micros(100);

/// How a capture came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    Udp,
    Rtp,
}

/// When datagrams came. No gate stands on it: clocks of a shared machine belong to the benches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival {
    pub datagrams: u64,
    pub span: Duration,
    /// The longest time between two.
    pub wait_max: Duration,
    /// The longest run with less than 100 µs between them.
    pub run_max: u64,
    first: Option<Duration>,
    last: Duration,
    run: u64,
}

impl Arrival {
    /// A datagram came.
    pub fn take(&mut self, at: Duration) {
        self.datagrams += 1;
        let wait = at.saturating_sub(self.last);
        if self.first.is_some() {
            self.wait_max = self.wait_max.max(wait);
        }
        let together = self.first.is_some() && wait < TOGETHER;
        self.run = if together { self.run + 1 } else { 1 };
        self.run_max = self.run_max.max(self.run);
        self.span = at.saturating_sub(*self.first.get_or_insert(at));
        self.last = at;
    }
}

/// The state of an RTP flow.
#[derive(Clone, Debug, Default)]
pub struct Rtp {
    last: Option<(u16, [u8; 4])>,
    /// Packet and timestamp that later ones are held against.
    anchor: Option<(u64, u32)>,
}

/// A datagram opened.
#[derive(Debug)]
pub struct Opened<'a> {
    pub packets: &'a [u8],
    /// Positions are not known across its start.
    pub cut_before: bool,
    /// Positions are not known across its end.
    pub cut_after: bool,
}

/// The packets of a datagram, as a file holds them.
pub fn payload(carriage: Carriage, bytes: &[u8]) -> &[u8] {
    let header = if carriage == Carriage::Rtp { RTP_HEADER_BYTES } else { 0 };
    bytes.get(header..).unwrap_or(&[])
}

/// Takes what is around the packets of a datagram whose first packet is the `packet`th.
pub fn open<'a>(
    carriage: Carriage,
    bytes: &'a [u8],
    rtp: &mut Rtp,
    packet: u64,
    channel: &Channel,
    misses: &mut Misses,
) -> Opened<'a> {
    let packets = payload(carriage, bytes);
    let head = &bytes[..bytes.len() - packets.len()];
    // Without room for a header there are no packets either.
    let cut_after = packets.len() != DATAGRAM_BYTES;
    if cut_after {
        misses.note(Gate::DatagramSize, packet, || format!("a datagram of {} bytes", bytes.len()));
    }
    let cut_before = carriage == Carriage::Rtp && rtp.take(head, packet, channel, misses);
    let whole = packets.len() / PACKET_BYTES * PACKET_BYTES;
    Opened { packets: &packets[..whole], cut_before, cut_after }
}

impl Rtp {
    /// Returns whether datagrams are missing in front of this one.
    fn take(&mut self, head: &[u8], packet: u64, channel: &Channel, misses: &mut Misses) -> bool {
        let Ok(head) = <[u8; RTP_HEADER_BYTES]>::try_from(head) else {
            // Its size was missed.
            return true;
        };
        if head[..2] != [0x80, MP2T] {
            misses.note(Gate::RtpHeader, packet, || format!("begins with {:02x} {:02x}", head[0], head[1]));
        }
        let sequence = u16::from_be_bytes([head[2], head[3]]);
        let timestamp = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let source = [head[8], head[9], head[10], head[11]];
        let mut cut = false;
        if let Some((last, before)) = self.last.replace((sequence, source)) {
            if source != before {
                misses.note(Gate::RtpHeader, packet, || format!("source {source:02x?}, was {before:02x?}"));
            }
            cut = sequence != last.wrapping_add(1);
            if cut {
                misses.note(Gate::RtpSequence, packet, || format!("{sequence} follows {last}"));
            }
        }
        // Behind a hole the position says nothing about the time.
        let anchor = self.anchor.filter(|_| !cut);
        let (from, at) = *self.anchor.insert(anchor.unwrap_or((packet, timestamp)));
        let said_ms = f64::from(timestamp.wrapping_sub(at) as i32) / 90.0;
        let off_ms = said_ms - channel.ms(packet - from);
        if off_ms.abs() > channel.limits.rtp_timestamp_ms {
            misses.note(Gate::RtpTimestamp, packet, || format!("{off_ms:+.3} ms off its position"));
            self.anchor = Some((packet, timestamp));
        }
        cut
    }
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// 188 bytes, whatever the first of them is.
    Packet(&'a [u8]),
    /// From this byte on it is no packets.
    Lost(usize),
}

/// Cuts a file into packets. A wrong sync byte between right ones stays a packet; where packets are no longer 188 bytes
/// apart, the next place with three sync bytes in a row is looked for.
pub fn file(bytes: &[u8]) -> Vec<Piece<'_>> {
    let sync = |at: usize| bytes.get(at).is_none_or(|byte| *byte == 0x47);
    let (mut pieces, mut at) = (Vec::new(), 0);
    while let Some(packet) = bytes.get(at..at + PACKET_BYTES) {
        if sync(at) || sync(at + PACKET_BYTES) {
            pieces.push(Piece::Packet(packet));
            at += PACKET_BYTES;
            continue;
        }
        pieces.push(Piece::Lost(at));
        let found = (at + 1..bytes.len()).find(|from| (0..3).all(|n| sync(from + n * PACKET_BYTES)));
        at = found.unwrap_or(bytes.len());
    }
    if at < bytes.len() {
        pieces.push(Piece::Lost(at));
    }
    pieces
}
