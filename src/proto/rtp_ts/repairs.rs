//! Repair packets that wait until all but one of their packets are there.

use super::window::{State, Window};
use crate::config::headend::FEC_PACKETS_MAX;
use crate::media::Mono;
use crate::wire::fec::{Direction, FecHeader, Parity};
use crate::wire::rtp::RtpPacket;

/// Repair packets that are kept: those of two matrices of 20 columns and 20 rows, more than ST 2022-1 has.
pub(super) const KEPT_MAX: usize = 80;
/// Largest L and D that are believed: a lie about them would be waited for.
const SIDE_MAX: u8 = 20;
/// Numbers behind the next one whose packets are kept for repairs: two of the largest matrices and a row.
pub(super) const HISTORY: u64 = 2 * FEC_PACKETS_MAX as u64 + SIDE_MAX as u64;
/// Microseconds without a repair packet after which none is waited for.
const SILENCE_US: u64 = 2_000_000;

/// Repair packets of one stream.
#[derive(Clone, Debug)]
pub(super) struct Repairs {
    kept: Vec<Kept>,
    parity: Parity,
    /// Numbers from a packet's own to the last one before which the column that repairs it has come: two matrices, because
    /// the columns of one may be sent beside the next. 0: none has come yet.
    columns: u64,
    seen_at: Option<Mono>,
}

#[derive(Clone, Debug)]
struct Kept {
    header: FecHeader,
    /// Number of its first packet.
    base: u64,
    datagram: Vec<u8>,
}

impl Kept {
    fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let (base, offset) = (self.base, u64::from(self.header.offset));
        (0..u64::from(self.header.count)).map(move |n| base + n * offset)
    }
}

/// What can be done with a repair packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// All its packets are there, or one is not remembered: nothing any more.
    None,
    /// This one is missing alone.
    Repair(u64),
    /// Several are missing, or not sent yet.
    Wait,
}

impl Repairs {
    pub fn new() -> Repairs {
        Repairs { kept: Vec::with_capacity(KEPT_MAX), parity: Parity::new(), columns: 0, seen_at: None }
    }

    /// How long a missing packet may yet be repaired, in numbers behind it; 0 while no repair packets come.
    pub fn span(&self, now: Mono) -> u64 {
        match self.seen_at {
            // Where rows have come, columns will: no matrix is without them.
            Some(at) if now.micros_since(at) < SILENCE_US && self.columns == 0 => HISTORY,
            Some(at) if now.micros_since(at) < SILENCE_US => self.columns,
            _ => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Another sender: what was kept repairs nothing of it.
    pub fn clear(&mut self, window: &mut Window) {
        for kept in self.kept.drain(..) {
            window.give_back(kept.datagram);
        }
        (self.columns, self.seen_at) = (0, None);
    }

    /// Takes a repair packet; `base` is the number of its first packet. False if it is none that is believed.
    pub fn push(
        &mut self,
        now: Mono,
        header: FecHeader,
        base: u64,
        datagram: &[u8],
        window: &mut Window,
    ) -> bool {
        let sides = [header.offset, header.count];
        if sides.iter().any(|&side| side > SIDE_MAX)
            || (header.direction == Direction::Row && header.offset != 1)
        {
            return false;
        }
        let (offset, count) = (u64::from(header.offset), u64::from(header.count));
        if offset * count > FEC_PACKETS_MAX.into() {
            return false;
        }
        if header.direction == Direction::Column {
            self.columns = self.columns.max(2 * offset * count + offset);
        }
        self.seen_at = Some(now);
        if self.kept.len() >= KEPT_MAX
            && let Some(oldest) =
                (0..self.kept.len()).min_by_key(|&at| self.kept.get(at).map(|kept| kept.base))
        {
            window.give_back(self.kept.swap_remove(oldest).datagram);
        }
        let mut bytes = window.buffer();
        bytes.extend_from_slice(datagram);
        self.kept.push(Kept { header, base, datagram: bytes });
        true
    }

    /// Repairs until nothing more can be: each packet that is restored may be the last but one of another repair packet.
    /// `newest` is the newest number and `wire` how that stands in the header. The answer is how many repair packets
    /// restored nonsense.
    pub fn settle(&mut self, now: Mono, newest: u64, wire: u16, ssrc: u32, window: &mut Window) -> u64 {
        let mut refused = 0;
        let mut at = 0;
        while let Some(kept) = self.kept.get(at) {
            match use_of(kept, newest, window) {
                Use::Wait => at += 1,
                Use::None => window.give_back(self.kept.swap_remove(at).datagram),
                Use::Repair(number) => {
                    let kept = self.kept.swap_remove(at);
                    // Not newer than the newest; its low bits count.
                    let sequence = wire.wrapping_sub((newest - number) as u16);
                    match self.restore(&kept, number, sequence, ssrc, window) {
                        Some(bytes) => {
                            window.put(number, now, bytes);
                            if let Some(slot) = window.get_mut(number) {
                                slot.repaired = true;
                            }
                            at = 0;
                        }
                        None => refused += 1,
                    }
                    window.give_back(kept.datagram);
                }
            }
        }
        refused
    }

    /// The packet `number` from a repair packet of which it is the only one that is missing.
    fn restore(
        &mut self,
        kept: &Kept,
        number: u64,
        sequence: u16,
        ssrc: u32,
        window: &mut Window,
    ) -> Option<Vec<u8>> {
        self.parity.load(&kept.datagram)?;
        for other in kept.numbers().filter(|&other| other != number) {
            self.parity.add(&window.get(other)?.bytes);
        }
        let mut bytes = window.buffer();
        let whole = self.parity.restore(sequence, ssrc, &mut bytes) && RtpPacket::around_ts(&bytes).is_some();
        if !whole {
            window.give_back(bytes);
            return None;
        }
        Some(bytes)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let kept: usize = self.kept.iter().map(|kept| kept.datagram.capacity()).sum();
        kept + self.kept.capacity() * size_of::<Kept>() + crate::wire::fec::PACKET_BYTES_MAX
    }
}

fn use_of(kept: &Kept, newest: u64, window: &Window) -> Use {
    let (mut missing, mut ahead) = (None, false);
    let mut several = false;
    for number in kept.numbers() {
        if number > newest {
            ahead = true;
            continue;
        }
        match window.get(number) {
            Some(slot) if !slot.bytes.is_empty() => {}
            Some(slot) if slot.state == State::Missing || slot.state == State::Lost => {
                several |= missing.replace(number).is_some();
            }
            // It came and was let go, or nobody has ever waited for it.
            _ => return Use::None,
        }
    }
    match missing {
        _ if ahead || several => Use::Wait,
        Some(number) => Use::Repair(number),
        None => Use::None,
    }
}
