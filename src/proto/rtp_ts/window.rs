//! The packets around the newest one, by number.

use crate::media::Mono;
use crate::wire::fec::{FEC_HEADER_BYTES, PACKET_BYTES_MAX};

/// Bytes of a buffer: the longest packet, or one that repairs it.
pub(super) const BUFFER_BYTES: usize = PACKET_BYTES_MAX + FEC_HEADER_BYTES;

/// What is known of one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing: it is older than the sender, or not sent yet.
    #[default]
    Unknown,
    /// Later ones have come.
    Missing,
    /// It has come, or was repaired.
    Here,
    /// It was missing for too long.
    Lost,
}

/// One number's place.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    /// The number, counted on beyond 16 bits.
    pub number: u64,
    /// When it came, or when it was found missing.
    pub at: Mono,
    pub state: State,
    /// Bit n: path n brought it.
    pub legs: u8,
    /// A new sender begins with it.
    pub first: bool,
    pub repaired: bool,
    /// The datagram while it is kept.
    pub bytes: Vec<u8>,
}

/// A ring of slots: number n lives at n modulo the number of slots, which is a power of two.
#[derive(Clone, Debug)]
pub(super) struct Window {
    slots: Vec<Slot>,
    /// Buffers that no slot needs now; they came from slots, so there are never more than those.
    spare: Vec<Vec<u8>>,
    /// Numbers below have given their buffers back.
    trimmed: u64,
}

impl Window {
    pub fn new(slots: usize) -> Window {
        Window { slots: vec![Slot::default(); slots.next_power_of_two()], spare: Vec::new(), trimmed: 0 }
    }

    pub fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The slot of `number`, if it is still or already that one's.
    pub fn get(&self, number: u64) -> Option<&Slot> {
        let slot = self.slots.get(self.index(number))?;
        (slot.number == number && slot.state != State::Unknown).then_some(slot)
    }

    /// Like [`Window::get`], to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Slot> {
        let index = self.index(number);
        let slot = self.slots.get_mut(index)?;
        (slot.number == number && slot.state != State::Unknown).then_some(slot)
    }

    /// Makes the slot of `number` a missing packet's, whatever it was.
    pub fn open(&mut self, number: u64, at: Mono) {
        let index = self.index(number);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let bytes = std::mem::take(&mut slot.bytes);
        *slot = Slot { number, at, state: State::Missing, ..Slot::default() };
        self.give_back(bytes);
    }

    /// Puts a packet into the slot of `number`.
    pub fn fill(&mut self, number: u64, at: Mono, datagram: &[u8]) {
        let mut bytes = self.buffer();
        bytes.extend_from_slice(datagram);
        self.put(number, at, bytes);
    }

    /// Puts a packet into the slot of `number` that is in a buffer of ours already.
    pub fn put(&mut self, number: u64, at: Mono, bytes: Vec<u8>) {
        let Some(slot) = self.get_mut(number) else { return self.give_back(bytes) };
        (slot.state, slot.at) = (State::Here, at);
        let before = std::mem::replace(&mut slot.bytes, bytes);
        self.give_back(before);
    }

    /// An empty buffer.
    pub fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
        buffer.clear();
        buffer
    }

    pub fn give_back(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 {
            self.spare.push(buffer);
        }
    }

    /// Nobody needs the packets below `number` any more; that they came is remembered.
    pub fn trim(&mut self, number: u64) {
        // A jump passes over more than there are slots.
        self.trimmed = self.trimmed.max(number.saturating_sub(self.len()));
        while self.trimmed < number {
            if let Some(slot) = self.get_mut(self.trimmed) {
                let bytes = std::mem::take(&mut slot.bytes);
                self.give_back(bytes);
            }
            self.trimmed += 1;
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let kept: usize = self.slots.iter().map(|slot| slot.bytes.capacity()).sum();
        let spare: usize = self.spare.iter().map(|buffer| buffer.capacity() + size_of::<Vec<u8>>()).sum();
        kept + spare + self.slots.capacity() * size_of::<Slot>()
    }

    fn index(&self, number: u64) -> usize {
        // The modulus is below the length.
        (number % self.len().max(1)) as usize
    }
}
