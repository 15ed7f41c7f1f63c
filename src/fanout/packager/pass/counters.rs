//! The counters of all PIDs of a log, and the packets that announce where they jump.

use super::places::Table;
use crate::media::Mono;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::{PACKET_BYTES, PIDS, SYNC_BYTE, pid};
use std::time::Duration;

/// PIDs that are known at a time: a multiplex of satellite television has some 200. With more, the one that was silent for
/// longest is forgotten, and its jump is not announced.
const PIDS_MAX: usize = 250;
/// A PID of which nothing came for so long is no part of the stream any more: the rarest tables are repeated within it.
const RECENT: Duration = Duration::from_secs(60);
/// The PID has no place in the list.
const NONE: u8 = u8::MAX;
const _: () = assert!(PIDS_MAX < NONE as usize);

#[derive(Clone, Copy, Debug)]
struct Known {
    pid: u16,
    /// Counter of its last packet.
    last: u8,
    /// Its next packet does not go on with that.
    jumps: bool,
    seen_at: Mono,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Counters {
    /// Index into `known` by PID.
    slots: Box<[u8; PIDS]>,
    known: Vec<Known>,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { slots: Box::new([NONE; PIDS]), known: Vec::new() }
    }
}

impl Counters {
    /// No PID goes on.
    pub fn seam(&mut self) {
        self.known.iter_mut().for_each(|known| known.jumps = true);
    }

    /// Takes note of a packet that came at `now`. Returns the counter to announce in front of it, if it does not go on.
    pub fn take(&mut self, now: Mono, packet: &Packet<'_>) -> Option<u8> {
        if packet.pid == pid::NULL || packet.error {
            return None;
        }
        let slot = self.slots.get(usize::from(packet.pid)).copied().unwrap_or(NONE);
        let Some(known) = self.known.get_mut(usize::from(slot)) else {
            self.add(Known { pid: packet.pid, last: packet.continuity, jumps: false, seen_at: now });
            return None;
        };
        (known.last, known.seen_at) = (packet.continuity, now);
        let jumps = std::mem::take(&mut known.jumps) && !packet.discontinuity();
        jumps.then(|| before(packet.continuity, packet.has_payload))
    }

    fn add(&mut self, known: Known) {
        let at = if self.known.len() < PIDS_MAX {
            self.known.push(known);
            self.known.len() - 1
        } else {
            let silent = self.known.iter().enumerate().min_by_key(|(_, known)| known.seen_at);
            let at = silent.map_or(0, |(at, _)| at);
            if let Some(place) = self.known.get_mut(at) {
                let old = std::mem::replace(place, known);
                self.slots.iter_mut().skip(usize::from(old.pid)).take(1).for_each(|slot| *slot = NONE);
            }
            at
        };
        self.slots.iter_mut().skip(usize::from(known.pid)).take(1).for_each(|slot| *slot = at as u8);
    }

    /// Counter of the last packet of a PID.
    pub fn last(&self, pid: u16) -> Option<u8> {
        let slot = self.slots.get(usize::from(pid)).copied().unwrap_or(NONE);
        self.known.get(usize::from(slot)).map(|known| known.last)
    }

    /// Appends what announces to a reader from elsewhere that every PID that still comes jumps: `tables` come
    /// first, then what is next.
    pub fn announce<'a>(&self, now: Mono, tables: impl Iterator<Item = Table<'a>>, out: &mut Vec<u8>) {
        let firsts: Vec<(u16, u8)> = tables.map(|table| (table.pid, before(table.first, true))).collect();
        for known in self.known.iter().filter(|known| now.since(known.seen_at) < RECENT) {
            let table = firsts.iter().find(|(pid, _)| *pid == known.pid);
            out.extend(announcement(known.pid, table.map_or(known.last, |(_, before)| *before)));
        }
    }

    pub fn heap_bytes(&self) -> usize {
        PIDS + self.known.capacity() * size_of::<Known>()
    }
}

/// The counter in front of a packet with `continuity`.
fn before(continuity: u8, has_payload: bool) -> u8 {
    continuity.wrapping_sub(u8::from(has_payload)) & 0x0F
}

/// A packet without payload that says that its PID does not go on (`discontinuity_indicator`), and repeats a counter.
pub(super) fn announcement(pid: u16, continuity: u8) -> [u8; PACKET_BYTES] {
    let mut packet = [0xFF; PACKET_BYTES];
    let [high, low] = (pid & 0x1FFF).to_be_bytes();
    // Adaptation field only; it fills the packet and has but its flags.
    let head = [SYNC_BYTE, high, low, 0x20 | (continuity & 0x0F), (PACKET_BYTES - 5) as u8, 0x80];
    packet.iter_mut().zip(head).for_each(|(byte, said)| *byte = said);
    packet
}
