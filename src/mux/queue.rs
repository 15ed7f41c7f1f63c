//! Packets that wait: one slab for all tracks, in it a list for each access unit. To drop a unit takes as long as to drop
//! a packet, and what all of them take together is one number.

use crate::wire::ts::PACKET_BYTES;

/// No cell.
const NONE: u32 = u32::MAX;
/// Cells that are made when the first packet comes.
const CELLS_MIN: usize = 64;

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

/// All cells. They are made when they are first needed and never given back.
#[derive(Debug)]
pub(super) struct Pool {
    cells: Vec<Cell>,
    free: u32,
    used: usize,
    most: usize,
}

impl Pool {
    /// For at most `most` packets.
    pub fn new(most: usize) -> Pool {
        Pool { cells: Vec::new(), free: NONE, used: 0, most: most.min(NONE as usize) }
    }

    /// Packets in all lists.
    pub fn used(&self) -> usize {
        self.used
    }

    pub fn heap_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>()
    }

    /// Appends a packet; false if there is no room.
    #[must_use]
    pub fn push(&mut self, list: &mut List, packet: &[u8; PACKET_BYTES]) -> bool {
        let used = self.cells.len();
        let at = if let Some(cell) = self.cells.get_mut(self.free as usize) {
            let at = self.free;
            (self.free, cell.next, cell.bytes) = (cell.next, NONE, *packet);
            at
        } else if used < self.most {
            if used == self.cells.capacity() {
                self.cells.reserve_exact(used.max(CELLS_MIN).min(self.most - used));
            }
            self.cells.push(Cell { next: NONE, bytes: *packet });
            used as u32
        } else {
            return false;
        };
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
        let Some(cell) = self.cells.get_mut(list.head as usize) else { return false };
        *out = cell.bytes;
        let next = std::mem::replace(&mut cell.next, self.free);
        self.free = list.head;
        (list.head, list.len) = (next, list.len - 1);
        if next == NONE {
            list.tail = NONE;
        }
        self.used -= 1;
        true
    }

    /// Drops all packets of a list; tells how many.
    pub fn clear(&mut self, list: &mut List) -> usize {
        let list = std::mem::replace(list, List::new());
        if let Some(tail) = self.cells.get_mut(list.tail as usize) {
            tail.next = self.free;
            self.free = list.head;
        }
        self.used -= list.len();
        list.len()
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
        assert_eq!((pool.used(), one.len(), pool.heap_bytes()), (100, 50, 100 * 192));
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
        assert_eq!(pool.heap_bytes(), 100 * 192, "cells are used again");
    }
}
