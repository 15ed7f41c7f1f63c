//! Buffers for datagrams: a fixed number, each in an allocation of its own, so that one can be written while the kernel
//! reads others.

use super::{SLOT_BYTES, SLOTS};

/// One buffer.
#[derive(Debug)]
struct Slot {
    bytes: Box<[u8; SLOT_BYTES]>,
    len: u16,
    /// Sends of it that are not over.
    sends: u16,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// What finds no room is written there.
    nobodys: Box<[u8; SLOT_BYTES]>,
}

impl Slots {
    pub fn new() -> Slots {
        let slot = || Slot { bytes: Box::new([0; SLOT_BYTES]), len: 0, sends: 0 };
        Slots {
            slots: (0..SLOTS).map(|_| slot()).collect(),
            free: (0..SLOTS as u32).rev().collect(),
            nobodys: Box::new([0; SLOT_BYTES]),
        }
    }

    /// Takes a free slot for a datagram of so many bytes, which `write` writes, and `sends` sends. `None` if there is none, or
    /// it is too long; it is written all the same, for nobody: a channel's clock goes on.
    pub fn lay(&mut self, bytes: usize, sends: u16, write: &mut dyn FnMut(&mut [u8])) -> Option<u32> {
        let id = self.free.last().copied().filter(|_| sends > 0);
        if let Some(slot) = id.and_then(|id| self.slots.get_mut(id as usize))
            && let Some(place) = slot.bytes.get_mut(..bytes)
        {
            write(place);
            (slot.len, slot.sends) = (bytes as u16, sends);
            self.free.pop();
            return id;
        }
        match self.nobodys.get_mut(..bytes) {
            Some(place) => write(place),
            None => write(&mut vec![0; bytes]),
        }
        None
    }

    /// The datagram of a slot without its first `skip` bytes. It stays where it is until its last send is over.
    pub fn get(&self, id: u32, skip: u16) -> &[u8] {
        let slot = self.slots.get(id as usize);
        slot.and_then(|slot| slot.bytes.get(usize::from(skip)..usize::from(slot.len))).unwrap_or_default()
    }

    /// A send of the slot is over.
    pub fn release(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        debug_assert!(slot.sends > 0);
        slot.sends = slot.sends.saturating_sub(1);
        if slot.sends == 0 {
            self.free.push(id);
        }
    }

    /// Whether a datagram could be laid down.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }
}
