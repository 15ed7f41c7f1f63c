//! Packets that wait: a list for each access unit, of packets that stay where they came, in entries that are shared with
//! whoever else waits for them. What all of them hold together is one number.
//!
//! Channels of one source refer to the same bytes. So what two hundred of them wait for is as much memory as their sources
//! have sent meanwhile, and what one channel has just sent is in the processor's cache for the next.

use super::rewrite::copy;
use crate::wire::ts::PACKET_BYTES;
use bytes::Bytes;

/// No run, or no entry.
const NONE: u32 = u32::MAX;

/// Packets that stand side by side in one entry.
#[derive(Clone, Copy, Debug)]
struct Run {
    entry: u32,
    /// First byte of the first of them.
    at: u32,
    packets: u32,
    /// The run behind it, or the next free one.
    next: u32,
}

/// Packets in order. It owns what its pool holds for it: who drops a list that is not empty loses that.
#[derive(Debug)]
pub(super) struct List {
    /// Most lists have no other: an entry of a log is one unit.
    first: Run,
    /// The last one, if that is another.
    tail: u32,
    len: u32,
}

impl List {
    pub const fn new() -> List {
        List { first: Run { entry: NONE, at: 0, packets: 0, next: NONE }, tail: NONE, len: 0 }
    }

    pub const fn len(&self) -> usize {
        self.len as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Bytes that packets wait in.
#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    /// It was fed so, and is no copy.
    is_shared: bool,
    /// Packets of it that wait; 0: it is free.
    waiting: u32,
    /// The next free one.
    next: u32,
}

/// What lists refer to. An entry is held as a whole while a packet of it waits; where all of them would be more than what
/// may wait, packets are copied instead, one by one, so that as many can wait whatever they stand in.
#[derive(Debug)]
pub(super) struct Pool {
    entries: Vec<Entry>,
    free_entry: u32,
    /// Runs that are not the first of their list.
    runs: Vec<Run>,
    free_run: u32,
    /// What is fed now, and its place once a packet of it waits.
    fed: Bytes,
    fed_entry: u32,
    used: usize,
    most: usize,
    /// Bytes of entries, and of them those that are not copies.
    held: usize,
    shared: usize,
}

impl Pool {
    /// For at most `most` packets. Entries of no more bytes than those have are held; what does not fit into that is copied.
    pub fn new(most: usize) -> Pool {
        Pool {
            entries: Vec::new(),
            free_entry: NONE,
            runs: Vec::new(),
            free_run: NONE,
            fed: Bytes::new(),
            fed_entry: NONE,
            used: 0,
            // Places in an entry have 32 bits.
            most: most.min(NONE as usize / PACKET_BYTES),
            held: 0,
            shared: 0,
        }
    }

    /// Packets in all lists.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes held, with those of entries that others hold as well.
    pub fn heap_bytes(&self) -> usize {
        let (entries, runs) = (self.entries.capacity(), self.runs.capacity());
        self.held + entries * size_of::<Entry>() + runs * size_of::<Run>()
    }

    /// What is pushed until [`Pool::close`] stands in `entry`.
    pub fn open(&mut self, entry: &Bytes) {
        (self.fed, self.fed_entry) = (entry.clone(), NONE);
    }

    /// Nothing more of the entry is pushed.
    pub fn close(&mut self) {
        self.open(&Bytes::new());
    }

    /// Tells what [`Pool::pop`] will read of a list.
    pub fn reads(&self, list: &List, mut tell: impl FnMut(*const u8, usize)) {
        if let Some(entry) = self.entries.get(list.first.entry as usize) {
            tell((&raw const *entry).cast(), size_of::<Entry>());
        }
    }

    /// Appends a packet; false if there is no room.
    #[must_use]
    pub fn push(&mut self, list: &mut List, packet: &[u8; PACKET_BYTES]) -> bool {
        if self.used >= self.most {
            return false;
        }
        let (entry, at) = match self.refer(packet) {
            Some(place) => place,
            None => (self.hold(Bytes::copy_from_slice(packet), false), 0),
        };
        if let Some(entry) = self.entries.get_mut(entry as usize) {
            entry.waiting += 1;
        }
        self.used += 1;
        list.len += 1;
        let new = Run { entry, at, packets: 1, next: NONE };
        let last = self.runs.get_mut(list.tail as usize).unwrap_or(&mut list.first);
        if last.packets == 0 {
            *last = new;
        } else if last.entry == entry
            && u64::from(last.at) + u64::from(last.packets) * PACKET_BYTES as u64 == u64::from(at)
        {
            last.packets += 1;
        } else {
            let free = self.free_run;
            let place = if free == NONE { self.runs.len() as u32 } else { free };
            match self.runs.get_mut(free as usize) {
                Some(run) => self.free_run = std::mem::replace(run, new).next,
                None => self.runs.push(new),
            }
            self.runs.get_mut(list.tail as usize).unwrap_or(&mut list.first).next = place;
            list.tail = place;
        }
        true
    }

    /// Moves the first packet to `out`; false if there is none.
    #[must_use]
    pub fn pop(&mut self, list: &mut List, out: &mut [u8; PACKET_BYTES]) -> bool {
        let run = &mut list.first;
        let Some(entry) = self.entries.get(run.entry as usize).filter(|_| list.len > 0) else { return false };
        let bytes = entry.bytes.get(run.at as usize..).and_then(|bytes| bytes.first_chunk());
        if let Some(bytes) = bytes {
            copy(out, bytes);
        }
        let from = run.entry;
        run.at += PACKET_BYTES as u32;
        run.packets -= 1;
        list.len -= 1;
        if run.packets == 0 {
            self.next_run(list);
        }
        self.release(from, 1);
        true
    }

    /// Drops all packets of a list; tells how many.
    pub fn clear(&mut self, list: &mut List) -> usize {
        let packets = list.len();
        while list.len > 0 {
            let Run { entry, packets, .. } = list.first;
            list.len -= packets;
            self.next_run(list);
            self.release(entry, packets);
        }
        packets
    }

    /// The first run of a list is through.
    fn next_run(&mut self, list: &mut List) {
        let place = list.first.next;
        match self.runs.get_mut(place as usize) {
            Some(run) => {
                list.first =
                    std::mem::replace(run, Run { entry: NONE, at: 0, packets: 0, next: self.free_run });
                self.free_run = place;
                if list.tail == place {
                    list.tail = NONE;
                }
            }
            None => *list = List::new(),
        }
    }

    /// So many packets of an entry wait no more.
    fn release(&mut self, at: u32, packets: u32) {
        self.used -= packets as usize;
        let Some(entry) = self.entries.get_mut(at as usize) else { return };
        entry.waiting -= packets;
        if entry.waiting == 0 {
            let bytes = std::mem::take(&mut entry.bytes).len();
            self.held -= bytes;
            if entry.is_shared {
                self.shared -= bytes;
            }
            entry.next = std::mem::replace(&mut self.free_entry, at);
            if self.fed_entry == at {
                self.fed_entry = NONE;
            }
        }
    }

    /// Where a packet of the entry that is fed stands. `None`: it is of no entry, or that may not be held.
    fn refer(&mut self, packet: &[u8; PACKET_BYTES]) -> Option<(u32, u32)> {
        let at = (packet.as_ptr() as usize).checked_sub(self.fed.as_ptr() as usize)?;
        let bytes = self.fed.len();
        if at + PACKET_BYTES > bytes {
            return None;
        }
        if self.fed_entry == NONE {
            if bytes > self.most * PACKET_BYTES - self.shared {
                return None;
            }
            self.fed_entry = self.hold(self.fed.clone(), true);
        }
        Some((self.fed_entry, at as u32))
    }

    /// Keeps bytes.
    fn hold(&mut self, bytes: Bytes, is_shared: bool) -> u32 {
        self.held += bytes.len();
        if is_shared {
            self.shared += bytes.len();
        }
        let new = Entry { bytes, is_shared, waiting: 0, next: NONE };
        let free = self.free_entry;
        match self.entries.get_mut(free as usize) {
            Some(entry) => {
                self.free_entry = std::mem::replace(entry, new).next;
                free
            }
            None => {
                self.entries.push(new);
                self.entries.len() as u32 - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(n: u8) -> [u8; PACKET_BYTES] {
        [n; PACKET_BYTES]
    }

    /// An entry of packets that are filled with these.
    fn entry(contents: impl IntoIterator<Item = u8>) -> Bytes {
        contents.into_iter().flat_map(packet).collect()
    }

    /// Pushes packet `n` of an entry.
    fn push(pool: &mut Pool, list: &mut List, entry: &Bytes, n: usize) -> bool {
        pool.push(list, &entry.as_chunks().0[n])
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
        assert_eq!((pool.used(), one.len(), pool.held), (100, 50, 100 * 188));
        assert_eq!(drain(&mut pool, &mut one), (0..50).collect::<Vec<_>>());
        assert_eq!((pool.clear(&mut two), pool.clear(&mut one), pool.used(), pool.held), (50, 0, 0, 0));
        for round in 0..5 {
            for n in 0..100 {
                assert!(pool.push(if n % 3 == 0 { &mut one } else { &mut two }, &packet(n)));
            }
            assert!(!pool.push(&mut one, &packet(0)), "round {round}");
            assert_eq!(drain(&mut pool, &mut two), (0..100).filter(|n| n % 3 != 0).collect::<Vec<_>>());
            assert_eq!((pool.clear(&mut one), pool.held), (34, 0));
        }
        assert!(pool.entries.len() <= 100 && pool.runs.len() <= 100, "places are used again");
    }

    /// Packets of an entry are not copied, and it is given back with the last of them.
    #[test]
    fn an_entry_is_shared_and_given_back() {
        let (mut pool, mut other) = (Pool::new(100), Pool::new(100));
        let shared = entry(0..20);
        let (mut one, mut two, mut three) = (List::new(), List::new(), List::new());
        pool.open(&shared);
        other.open(&shared);
        for n in 0..20 {
            let list = if n < 10 || n % 2 == 0 { &mut one } else { &mut two };
            assert!(push(&mut pool, list, &shared, n) && push(&mut other, &mut three, &shared, n));
        }
        pool.close();
        other.close();
        assert_eq!((pool.entries.len(), pool.held), (1, 20 * 188));
        // Side by side is one run, which costs no place.
        assert_eq!((pool.runs.len(), other.runs.len(), two.len()), (4 + 4, 0, 5));
        assert_eq!(drain(&mut pool, &mut one), (0..10).chain((10..20).step_by(2)).collect::<Vec<_>>());
        let mut out = packet(0);
        assert!((0..4).all(|_| pool.pop(&mut two, &mut out)) && pool.held == 20 * 188);
        assert!(!shared.is_unique());
        assert!(pool.pop(&mut two, &mut out) && out == packet(19) && pool.held == 0);
        assert_eq!(other.clear(&mut three), 20);
        assert!(shared.is_unique(), "nobody holds it any more");
    }

    /// However little waits of each entry, what is held has a bound, and what waits is what was pushed.
    #[test]
    fn one_packet_of_each_entry_does_not_hold_them_all() {
        let mut pool = Pool::new(100);
        let mut list = List::new();
        for n in 0..90 {
            let fed = entry((0..30).map(|_| n));
            pool.open(&fed);
            assert!(push(&mut pool, &mut list, &fed, 7), "{n}");
            pool.close();
            assert!(pool.shared <= 100 * 188 && pool.held <= 200 * 188, "{n}: {}", pool.held);
            if n % 4 == 3 {
                let mut out = packet(0);
                assert!(pool.pop(&mut list, &mut out) && out == packet(n / 4));
            }
        }
        assert_eq!(drain(&mut pool, &mut list), (22..90).collect::<Vec<_>>());
        assert_eq!((pool.used(), pool.held, pool.shared), (0, 0, 0));
        // One that is larger than all that may be held.
        let large = entry((0..=150).map(|n| n as u8));
        pool.open(&large);
        assert!(
            (0..100).all(|n| push(&mut pool, &mut list, &large, n))
                && !push(&mut pool, &mut list, &large, 100)
        );
        pool.close();
        assert!(large.is_unique() && pool.held == 100 * 188);
        assert_eq!(pool.clear(&mut list), 100);
    }

    /// An entry whose packets were all sent while it was still fed is held again if more of it comes.
    #[test]
    fn an_entry_may_be_sent_while_it_is_fed() {
        let mut pool = Pool::new(100);
        let (mut list, fed, mut out) = (List::new(), entry(1..4), packet(0));
        pool.open(&fed);
        for n in 0..3 {
            assert!(push(&mut pool, &mut list, &fed, n) && pool.held == 3 * 188);
            assert!(pool.pop(&mut list, &mut out) && out == packet(n as u8 + 1) && pool.held == 0);
        }
    }
}
