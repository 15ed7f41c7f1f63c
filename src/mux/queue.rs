//! Packets that wait: one slab for all tracks, in it a list for each access unit. What all of them take together is one
//! number.

use crate::wire::ts::PACKET_BYTES;

/// No cell.
const NONE: u32 = u32::MAX;
/// Cells that are made when the first packet comes.
const CELLS_MIN: usize = 64;
/// Cells that a word of the map of free ones is about.
const WORD: usize = u64::BITS as usize;

/// A packet, with the one behind it: three cache lines.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Cell {
    next: u32,
    bytes: [u8; PACKET_BYTES],
}

const _: () = assert!(size_of::<Cell>() == 192);

/// Packets in order. It owns cells of its pool: who drops a list that is not empty loses them.
#[derive(Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    pub const fn new() -> List {
        List { head: NONE, tail: NONE, len: 0 }
    }

    pub const fn len(&self) -> usize {
        self.len as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// All cells. They are made when they are first needed and never given back. Those that are free are taken in the order of
/// their addresses, round and round: packets that follow one another stand side by side, and a processor that reads one
/// fetches the next by itself. Where channels take turns, their queues are in no cache.
#[derive(Debug)]
pub(super) struct Pool {
    cells: Vec<Cell>,
    /// A bit for each cell: it is free.
    free: Vec<u64>,
    /// Where the next cell is looked for.
    cursor: usize,
    used: usize,
    most: usize,
}

impl Pool {
    /// For at most `most` packets.
    pub fn new(most: usize) -> Pool {
        Pool { cells: Vec::new(), free: Vec::new(), cursor: 0, used: 0, most: most.min(NONE as usize) }
    }

    /// Packets in all lists.
    pub fn used(&self) -> usize {
        self.used
    }

    pub fn heap_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>() + self.free.capacity() * size_of::<u64>()
    }

    /// Appends a packet; false if there is no room.
    #[must_use]
    pub fn push(&mut self, list: &mut List, packet: &[u8; PACKET_BYTES]) -> bool {
        let Some(at) = self.take() else { return false };
        match self.cells.get_mut(at) {
            Some(cell) => (cell.next, cell.bytes) = (NONE, *packet),
            None => self.cells.push(Cell { next: NONE, bytes: *packet }),
        }
        let at = at as u32;
        match self.cells.get_mut(list.tail as usize) {
            Some(tail) => tail.next = at,
            None => list.head = at,
        }
        (list.tail, list.len) = (at, list.len + 1);
        self.used += 1;
        true
    }

    /// Moves the first packet to `out`; false if there is none.
    #[must_use]
    pub fn pop(&mut self, list: &mut List, out: &mut [u8; PACKET_BYTES]) -> bool {
        let Some(cell) = self.cells.get(list.head as usize) else { return false };
        *out = cell.bytes;
        let next = cell.next;
        self.give_back(list.head);
        (list.head, list.len) = (next, list.len - 1);
        if next == NONE {
            list.tail = NONE;
        }
        true
    }

    /// Drops all packets of a list; tells how many.
    pub fn clear(&mut self, list: &mut List) -> usize {
        let list = std::mem::replace(list, List::new());
        let mut at = list.head;
        while let Some(cell) = self.cells.get(at as usize) {
            let next = cell.next;
            self.give_back(at);
            at = next;
        }
        list.len()
    }

    /// The next cell that is free, or the one behind all, which is to be made; `None`: there is no room.
    fn take(&mut self) -> Option<usize> {
        let made = self.cells.len();
        if self.used == made {
            if made == self.most {
                return None;
            }
            if made == self.cells.capacity() {
                self.cells.reserve_exact(made.max(CELLS_MIN).min(self.most - made));
                self.free.resize(self.cells.capacity().div_ceil(WORD), 0);
            }
            self.cursor = made + 1;
            return Some(made);
        }
        let (words, from) = (self.free.len(), self.cursor / WORD);
        // The first word twice: in front of the cursor is what comes last.
        for n in 0..=words {
            let at = (from + n) % words;
            let word = self.free.get_mut(at)?;
            let bits = if n == 0 && from < words { *word & u64::MAX << (self.cursor % WORD) } else { *word };
            if bits != 0 {
                let bit = bits.trailing_zeros() as usize;
                *word &= !(1 << bit);
                self.cursor = at * WORD + bit + 1;
                return Some(at * WORD + bit);
            }
        }
        None
    }

    fn give_back(&mut self, at: u32) {
        if let Some(word) = self.free.get_mut(at as usize / WORD) {
            *word |= 1 << (at as usize % WORD);
            self.used -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(n: u8) -> [u8; PACKET_BYTES] {
        [n; PACKET_BYTES]
    }

    fn drain(pool: &mut Pool, list: &mut List) -> Vec<u8> {
        let (mut out, mut seen) = (packet(0), Vec::new());
        while pool.pop(list, &mut out) {
            assert_eq!(out, [out[0]; PACKET_BYTES]);
            seen.push(out[0]);
        }
        seen
    }

    #[test]
    fn lists_share_what_there_is() {
        let mut pool = Pool::new(100);
        let (mut one, mut two) = (List::new(), List::new());
        for n in 0..50 {
            assert!(pool.push(&mut one, &packet(n)) && pool.push(&mut two, &packet(100 + n)));
        }
        assert!(!pool.push(&mut one, &packet(9)), "full");
        assert_eq!((pool.used(), one.len(), pool.heap_bytes() / 192), (100, 50, 100));
        assert_eq!(drain(&mut pool, &mut one), (0..50).collect::<Vec<_>>());
        assert_eq!((pool.clear(&mut two), pool.clear(&mut one), pool.used()), (50, 0, 0));
        for round in 0..5 {
            for n in 0..100 {
                assert!(pool.push(if n % 3 == 0 { &mut one } else { &mut two }, &packet(n)));
            }
            assert!(!pool.push(&mut one, &packet(0)), "round {round}");
            assert_eq!(drain(&mut pool, &mut two), (0..100).filter(|n| n % 3 != 0).collect::<Vec<_>>());
            assert_eq!(pool.clear(&mut one), 34);
        }
        assert_eq!(pool.heap_bytes() / 192, 100, "cells are used again");
    }
    /// Packets stand side by side, also when those before them were sent in another order.
    #[test]
    fn packets_stand_in_the_order_of_their_addresses() {
        let mut pool = Pool::new(1000);
        let (mut one, mut two, mut out) = (List::new(), List::new(), packet(0));
        for n in 0..200u8 {
            assert!(pool.push(&mut one, &packet(n)) && pool.push(&mut two, &packet(n)));
        }
        while pool.pop(&mut two, &mut out) {}
        while pool.pop(&mut one, &mut out) {}
        let mut lists: Vec<List> = (0..20).map(|_| List::new()).collect();
        for list in &mut lists {
            (0..20).for_each(|n| assert!(pool.push(list, &packet(n))));
        }
        let beside = lists.iter().filter(|list| list.tail == list.head + 19).count();
        assert_eq!((pool.cells.len(), beside), (400, 20));
    }
}
