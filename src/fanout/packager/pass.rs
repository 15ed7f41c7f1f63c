//! Entries as a publisher's own packets, as they came: PIDs, tables, guides, null packets and counters are the sender's.
//!
//! What must stay true: no packet is changed, left out or moved; an entry is a whole number of packets, and a place to begin
//! at is the first of its entry. Three things are added, none of them in the middle of what a reader gets in one piece: in
//! front of where a reader begins, the newest tables as they came ([`JoinPoint::opening`](crate::fanout::log::JoinPoint::opening)); in front of where it
//! comes to from elsewhere, also packets without payload that announce the jump ([`JoinPoint::seam`](crate::fanout::log::JoinPoint::seam)); and in the log
//! itself the same announcements where the publisher's packets do not go on (another sender, another origin), each in front
//! of the first packet of its PID, because only that tells which counter it has to announce.

mod counters;
mod places;

pub use places::Places;

use super::Packed;
use crate::fanout::log::LogWriter;
use crate::media::{Mono, Run};
use crate::wire::ts::PACKET_BYTES;
use crate::wire::ts::packet::Packet;
use bytes::Bytes;
use counters::{Counters, announcement};
use std::collections::VecDeque;
use std::ops::Range;

/// Packets of one entry at most: 64 KiB, a third of what one send takes.
const ENTRY_PACKETS_MAX: usize = 348;

/// A packet that announces a jump, and where it stands: in front of the byte `at` of the run.
#[derive(Clone, Copy, Debug)]
struct Announced {
    at: usize,
    pid: u16,
    continuity: u8,
}

/// Part of a run that becomes an entry.
#[derive(Debug)]
struct Piece {
    bytes: Range<usize>,
    /// What a reader gets in front of it, if it is a place to begin at: what announces the jump, and from here on what
    /// a reader gets that begins.
    lead: Option<(Bytes, usize)>,
    /// Of `Packager::announced`.
    announced: usize,
}

/// The state of one log of this format.
#[derive(Debug, Default)]
pub struct Packager {
    places: Places,
    counters: Counters,
    /// Of the run at hand; kept for their memory.
    pieces: VecDeque<Piece>,
    announced: VecDeque<Announced>,
}

impl Packager {
    /// The next run does not go on with the last.
    pub fn seam(&mut self) {
        self.counters.seam();
        self.places = Places::default();
    }

    /// Divides a run into entries, which [`Packager::pack`] writes one after the other.
    pub fn divide(&mut self, run: &Run) {
        self.pieces.clear();
        self.announced.clear();
        if run.is_seam() {
            return self.seam();
        }
        let (mut start, mut lead, mut announced) = (0, None, 0);
        let packets = run.packets.as_chunks::<PACKET_BYTES>().0;
        for (number, bytes) in packets.iter().enumerate() {
            let (at, packet) = (number * PACKET_BYTES, Packet::parse(bytes));
            let place = self.places.is_place(run.complete_at, &packet);
            if at > start && (place || at - start >= ENTRY_PACKETS_MAX * PACKET_BYTES) {
                let before = std::mem::take(&mut announced);
                self.pieces.push_back(Piece { bytes: start..at, lead: lead.take(), announced: before });
                start = at;
            }
            if place {
                lead = Some(self.lead(run.complete_at));
            }
            if let Some(continuity) = self.counters.take(run.complete_at, &packet) {
                announced += 1;
                self.announced.push_back(Announced { at, pid: packet.pid, continuity });
            }
            self.places.learn(&packet, bytes);
        }
        let end = packets.len() * PACKET_BYTES;
        if end > start {
            self.pieces.push_back(Piece { bytes: start..end, lead, announced });
        }
    }

    /// Writes the next entry of the run that was divided last, without committing it; `None` behind the last one.
    pub fn pack(&mut self, log: &mut LogWriter, run: &Run) -> Option<Packed> {
        let piece = self.pieces.pop_front()?;
        let bytes = piece.bytes.len() + piece.announced * PACKET_BYTES;
        let announced = self.announced.drain(..piece.announced);
        if !log.reserve(bytes) {
            return Some(Packed::TooLarge);
        }
        let (mut from, mut whole) = (piece.bytes.start, true);
        let part = |range: Range<usize>| run.packets.get(range).unwrap_or_default();
        for Announced { at, pid, continuity } in announced {
            whole &= log.put(part(from..at)) && log.put(&announcement(pid, continuity));
            from = at;
        }
        whole &= log.put(part(from..piece.bytes.end));
        let join = piece.lead.is_some();
        if let Some((lead, opening)) = piece.lead {
            log.lead(lead, opening);
        }
        Some(if whole { Packed::Entry { join } } else { Packed::TooLarge })
    }

    /// What stands in front of the place that comes now, and where in it a reader that begins is to begin.
    fn lead(&self, now: Mono) -> (Bytes, usize) {
        let mut lead = Vec::new();
        self.counters.announce(now, self.places.tables(), &mut lead);
        let opening = lead.len();
        for table in self.places.tables() {
            lead.extend(table.packets);
            // The beginning of the table behind it went by already.
            if let Some(last) = self.counters.last(table.pid).filter(|last| *last != table.last) {
                lead.extend(announcement(table.pid, last));
            }
        }
        (lead.into(), opening)
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.places.heap_bytes() + self.counters.heap_bytes()
    }
}

/// The newest tables of `places`, as they came: with them begins what a publisher hands down. Where the beginning of a newer
/// one went by, that is announced.
pub fn tables(places: &Places) -> Bytes {
    let mut packets = Vec::new();
    for table in places.tables() {
        packets.extend(table.packets);
        if table.begun != table.last {
            packets.extend(announcement(table.pid, table.begun));
        }
    }
    packets.into()
}

#[cfg(test)]
mod tests;
