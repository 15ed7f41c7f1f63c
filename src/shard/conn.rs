//! Records of connections: hot ones of at most 80 bytes in pages that never move, the rest in a box beside.

use super::engine::{GENERATION_BITS, Key};
use crate::fanout::directory::{StreamId, StreamName};
use crate::fanout::log::{JoinPoint, LogKey, Pos};
use crate::fanout::segment::Entry;
use crate::fanout::view::{Cursor, Run};
use crate::media::Mono;
use crate::observe::{DisconnectReason, Protocol};
use bytes::Bytes;

/// Records of one page.
const PAGE: usize = 256;
/// No reader.
pub(super) const NONE: u32 = u32::MAX;

/// What the kernel is sending for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    No,
    /// Bytes of the log; the reader's segment is pinned.
    Run,
    /// Bytes that the connection owns.
    Own,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Open,
    /// Sends what waits, then shuts down its side.
    Finishing,
    /// Waits for the peer's end of stream, so that a reset does not eat the last bytes.
    Lingering,
    /// Aborted; waits for outstanding operations.
    Closing,
}

/// What a send touches.
#[derive(Debug)]
pub(super) struct Hot {
    pub generation: u32,
    /// The reader (view and members) it belongs to.
    pub reader: u32,
    pub cursor: Cursor,
    /// While [`Flight::Run`]: the end of the run.
    pub run_to: u32,
    pub run_next: Pos,
    /// While in flight: when it was submitted.
    pub sent_at: Mono,
    /// While [`Flight::Run`]: when its oldest frame was complete; `Mono::NEVER` if not for histograms.
    pub oldest: Mono,
    pub config_epoch: u32,
    /// Place in the reader's list of its phase.
    pub member: u32,
    pub phase: u8,
    pub flight: Flight,
    pub state: State,
    pub flags: u8,
}

/// Bits of [`Hot::flags`].
pub(super) mod hot {
    /// The box has something to send, or a change of log is under way: look there first.
    pub const SIDE: u8 = 1;
    /// The player paused.
    pub const PAUSED: u8 = 1 << 1;
    /// Its turn came while a send was in flight.
    pub const WANT: u8 = 1 << 2;
    /// A receive is outstanding.
    pub const RECEIVING: u8 = 1 << 3;
    /// It has a cursor.
    pub const JOINED: u8 = 1 << 4;
    /// Resume at the newest join point.
    pub const RESUME: u8 = 1 << 5;
    /// It waits for a turn of its own in the sweep.
    pub const LATER: u8 = 1 << 6;
    /// It has no socket of its own, and stays until the core ends.
    pub const RESIDENT: u8 = 1 << 7;
}

const _: () = assert!(size_of::<Hot>() <= 80);

/// What a connection is to the streams of this process.
#[derive(Debug, Default)]
pub(super) enum Role {
    #[default]
    None,
    Publisher {
        stream: StreamId,
        name: StreamName,
        epoch: u32,
        silent_at: Mono,
    },
    /// No connection, but a socket of a resident.
    Socket {
        of: Key,
        number: u32,
        /// When to ask for datagrams again after an error.
        again_at: Mono,
    },
    /// Subscriber; the reader is in the hot record once there is one.
    Player {
        name: StreamName,
        /// The log it reads, or waits for.
        key: LogKey,
        /// The log it wants.
        target: LogKey,
        /// What its client asked for: `target` is what comes closest to that with this publisher.
        asked: LogKey,
        /// Until when it waits for its first byte; `Mono::NEVER` once that came.
        give_up_at: Mono,
        /// The reader of `target`, if that is another log.
        next: Option<u32>,
        /// When the change was asked for; only a younger join point counts.
        asked_at: Mono,
        /// The change itself: send what comes before that frame, then go on at its join point.
        leave: Option<(Entry, JoinPoint)>,
    },
}

/// The rest of a connection.
#[derive(Debug)]
pub(super) struct Cold<P> {
    pub peer: P,
    pub role: Role,
    pub protocol: Protocol,
    /// Waiting bytes.
    pub out: Vec<u8>,
    /// In front of the next run.
    pub preface: Option<Bytes>,
    /// While [`Flight::Own`]: what is being sent.
    pub sending: Bytes,
    /// The earliest entry in the timer queue.
    pub timer_at: Mono,
    /// Lingering or finishing ends here.
    pub linger_until: Mono,
    pub reason: DisconnectReason,
    pub inbound_since: Mono,
    pub inbound_bytes: u32,
    /// Leave this core when nothing is outstanding, with these bytes.
    pub detach: Option<Bytes>,
    /// Its number among those that neither publish nor play.
    pub silent: u32,
}

impl<P> Cold<P> {
    /// Of a connection that has said nothing yet.
    pub fn new(peer: P, role: Role, protocol: Protocol, now: Mono) -> Cold<P> {
        Cold {
            peer,
            role,
            protocol,
            out: Vec::new(),
            preface: None,
            sending: Bytes::new(),
            timer_at: Mono::NEVER,
            linger_until: Mono::NEVER,
            reason: DisconnectReason::ClientClosed,
            inbound_since: now,
            inbound_bytes: 0,
            detach: None,
            silent: 0,
        }
    }

    /// Bytes that the connection holds beyond its box, the peer's own left out. Prefaces that subscribers share
    /// count for each of them, for the moment until they are sent.
    fn heap_bytes(&self) -> usize {
        let name = match &self.role {
            Role::None | Role::Socket { .. } => 0,
            Role::Publisher { name, .. } | Role::Player { name, .. } => name.heap_bytes(),
        };
        let waiting = [self.preface.as_ref(), self.detach.as_ref(), Some(&self.sending)];
        name + self.out.capacity() + waiting.iter().flatten().map(|bytes| bytes.len()).sum::<usize>()
    }
}

/// Bytes of one connection's record and box, with a peer of type `P` in it; what that holds comes on top.
pub const fn connection_bytes<P>() -> usize {
    size_of::<Slot<P>>() + size_of::<Cold<P>>()
}

/// A slot of the table.
#[derive(Debug)]
pub(super) struct Slot<P> {
    pub hot: Hot,
    pub cold: Option<Box<Cold<P>>>,
}

impl<P> Slot<P> {
    fn free() -> Slot<P> {
        let hot = Hot {
            generation: 0,
            reader: NONE,
            cursor: Cursor::default(),
            run_to: 0,
            run_next: Pos::default(),
            sent_at: Mono::ZERO,
            oldest: Mono::NEVER,
            config_epoch: 0,
            member: NONE,
            phase: 0,
            flight: Flight::No,
            state: State::Free,
            flags: 0,
        };
        Slot { hot, cold: None }
    }

    /// Whether the kernel still works for it.
    pub fn outstanding(&self) -> bool {
        self.hot.flight != Flight::No || self.hot.flags & hot::RECEIVING != 0
    }
}

impl Hot {
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    /// Notes that `run` is being sent.
    pub fn depart(&mut self, run: &Run, now: Mono) {
        // What is pinned, even if the cursor spelled it as the end of the segment before.
        if self.cursor.pos.seg != run.seg {
            self.cursor.pos = Pos { seg: run.seg, entry: 0 };
        }
        self.cursor.offset = run.from;
        (self.run_to, self.run_next, self.config_epoch) = (run.to, run.next, run.config_epoch);
        self.oldest = if run.late { Mono::NEVER } else { run.oldest };
        (self.sent_at, self.flight) = (now, Flight::Run);
    }
}

/// Records that stand together.
#[derive(Debug)]
struct Page<P> {
    slots: Box<[Slot<P>]>,
    /// What its connections held beyond record and box when it was last measured, in bytes.
    held_bytes: usize,
}

/// All connections of a core.
#[derive(Debug)]
pub(super) struct Table<P> {
    pages: Vec<Page<P>>,
    /// The page to be measured next.
    measure_at: usize,
    /// Sum of all pages' `held_bytes`.
    held_bytes: usize,
    free: Vec<u32>,
    /// Connections, and the most there may be.
    used: u32,
    max: u32,
    /// Residents and their sockets, and the most there may be.
    kept: u32,
    kept_max: u32,
}

impl<P> Table<P> {
    /// A table of `max` connections, and of `kept_max` residents and sockets of theirs.
    pub fn new(max: u32, kept_max: u32) -> Table<P> {
        let (pages, free) = (Vec::new(), Vec::new());
        Table { pages, measure_at: 0, held_bytes: 0, free, used: 0, max, kept: 0, kept_max }
    }

    /// Connections that there are.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Whether nobody is there, residents neither.
    pub fn is_empty(&self) -> bool {
        self.used == 0 && self.kept == 0
    }

    /// Takes a slot for a connection.
    pub fn insert(&mut self, cold: Cold<P>) -> Option<Key> {
        if self.used >= self.max {
            return None;
        }
        self.used += 1;
        self.place(cold, 0)
    }

    /// Takes one of the slots that are kept for residents and their sockets: however many connections there are, they have
    /// theirs.
    pub fn insert_kept(&mut self, cold: Cold<P>) -> Option<Key> {
        if self.kept >= self.kept_max {
            return None;
        }
        self.kept += 1;
        let flags = if matches!(cold.role, Role::Socket { .. }) { 0 } else { hot::RESIDENT };
        self.place(cold, flags)
    }

    fn place(&mut self, cold: Cold<P>, flags: u8) -> Option<Key> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let first = (self.pages.len() * PAGE) as u32;
                let slots = (0..PAGE).map(|_| Slot::free()).collect();
                self.pages.push(Page { slots, held_bytes: 0 });
                self.free.extend((first + 1..first + PAGE as u32).rev());
                first
            }
        };
        let place = self.at(slot)?;
        let generation = place.hot.generation;
        *place = Slot::free();
        (place.hot.generation, place.hot.state, place.cold) = (generation, State::Open, Some(Box::new(cold)));
        place.hot.flags = flags;
        Some(Key { slot, generation })
    }

    /// Gives a slot back; later completions of this occupant are ignored.
    pub fn remove(&mut self, slot: u32) -> Option<Box<Cold<P>>> {
        let place = self.at(slot)?;
        let cold = place.cold.take()?;
        let kept = place.hot.is(hot::RESIDENT) || matches!(cold.role, Role::Socket { .. });
        place.hot.state = State::Free;
        place.hot.generation = (place.hot.generation + 1) & ((1 << GENERATION_BITS) - 1);
        match kept {
            true => self.kept -= 1,
            false => self.used -= 1,
        }
        self.free.push(slot);
        Some(cold)
    }

    pub fn at(&mut self, slot: u32) -> Option<&mut Slot<P>> {
        self.pages.get_mut(slot as usize / PAGE)?.slots.get_mut(slot as usize % PAGE)
    }

    /// The slot of `key`, if that occupant is still there.
    pub fn get(&mut self, key: Key) -> Option<&mut Slot<P>> {
        self.at(key.slot).filter(|s| s.hot.generation == key.generation && s.hot.state != State::Free)
    }

    /// Adds up what the connections of the next `pages` pages hold; `peer_bytes` tells what a peer does. Called again
    /// and again it comes round, so that no call looks at all connections.
    pub fn measure(&mut self, pages: usize, peer_bytes: impl Fn(&P) -> usize) {
        for _ in 0..pages.min(self.pages.len()) {
            let at = self.measure_at % self.pages.len();
            self.measure_at = at + 1;
            let Some(page) = self.pages.get_mut(at) else { return };
            let boxes = page.slots.iter().filter_map(|slot| slot.cold.as_ref());
            let held = boxes.map(|cold| cold.heap_bytes() + peer_bytes(&cold.peer)).sum();
            self.held_bytes = self.held_bytes - std::mem::replace(&mut page.held_bytes, held) + held;
        }
    }

    /// Bytes of all records and boxes, and of what was held at the last look.
    pub fn bytes(&self) -> usize {
        let records =
            self.pages.len() * PAGE * size_of::<Slot<P>>() + self.free.capacity() * size_of::<u32>();
        records + (self.used + self.kept) as usize * size_of::<Cold<P>>() + self.held_bytes
    }

    /// Keys of all occupants.
    pub fn keys(&self) -> Vec<Key> {
        let slots = self.pages.iter().flat_map(|p| p.slots.iter()).enumerate();
        slots
            .filter(|(_, s)| s.hot.state != State::Free)
            .map(|(i, s)| Key { slot: i as u32, generation: s.hot.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cold(out: usize) -> Cold<usize> {
        let out_bytes = Vec::with_capacity(out);
        Cold { out: out_bytes, ..Cold::new(out, Role::None, Protocol::Rtmp, Mono::ZERO) }
    }

    #[test]
    fn memory_is_measured_page_by_page() {
        let mut table = Table::new(1000, 0);
        assert_eq!(table.bytes(), 0);
        table.measure(4, |_| 1);
        let keys: Vec<Key> = (0..2 * PAGE + 10).map(|_| table.insert(cold(100)).expect("room")).collect();
        let fixed = |table: &Table<usize>, n: usize| {
            3 * PAGE * size_of::<Slot<usize>>() + 4 * table.free.capacity() + n * size_of::<Cold<usize>>()
        };
        let all = keys.len();
        assert_eq!(table.bytes(), fixed(&table, all), "nothing is looked at yet");
        for (looks, seen) in [(1, PAGE), (1, 2 * PAGE), (1, all), (1, all), (7, all)] {
            table.measure(looks, |_| 5);
            assert_eq!(table.bytes(), fixed(&table, all) + seen * 105);
        }
        for key in keys {
            table.remove(key.slot);
        }
        table.measure(3, |_| 5);
        assert_eq!(table.bytes(), fixed(&table, 0));
    }

    /// However full it is of connections, residents and their sockets have their places; and no connection takes them.
    #[test]
    fn places_are_kept_for_residents() {
        let mut table = Table::new(2, 2);
        let socket = |of| Cold { role: Role::Socket { of, number: 0, again_at: Mono::NEVER }, ..cold(0) };
        let guests = [(); 3].map(|()| table.insert(cold(0)));
        assert!(guests[1].is_some() && guests[2].is_none());
        let resident = table.insert_kept(cold(0)).expect("a place");
        let ear = table.insert_kept(socket(resident)).expect("a place");
        assert!(table.insert_kept(cold(0)).is_none() && table.insert(cold(0)).is_none());
        assert!(
            table.get(resident).unwrap().hot.is(hot::RESIDENT)
                && !table.get(ear).unwrap().hot.is(hot::RESIDENT)
        );
        table.remove(ear.slot);
        assert!(table.insert(cold(0)).is_none() && table.insert_kept(cold(0)).is_some());
        guests.into_iter().flatten().for_each(|guest| _ = table.remove(guest.slot));
        assert!(table.used() == 0 && !table.is_empty());
    }
}
