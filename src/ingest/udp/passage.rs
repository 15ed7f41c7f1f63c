//! What a path passes on as it came, beside the frames that are made of it.
//!
//! Packets are copied only while somebody reads them ([`Keep`]). Of a path that is not on air those since the newest place
//! to begin at are kept then, because it is put on air by a frame, which is known when its last packet is there: viewers
//! are to get it from its first.

use crate::fanout::packager::pass::{self, Places};
use crate::media::{Mono, Run};
use crate::mux::remap::{Plan, Remap};
use crate::wire::ts::PACKET_BYTES;
use crate::wire::ts::framing::{DatagramSync, Unit};
use crate::wire::ts::packet::Packet;
use std::collections::VecDeque;

/// Packets of a path that is not on air: a picture of the largest that are sent (UHD), and what comes between its packets.
const HELD_BYTES_MAX: usize = 4 << 20;

/// What is done with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nobody reads them.
    #[default]
    No,
    /// The path may be put on air.
    SincePlace,
    /// It is on air.
    All,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Passage {
    sync: DatagramSync,
    /// Takes one program out of several.
    program: Option<Box<Remap>>,
    /// What it made of a packet; kept for its memory.
    made: Vec<u8>,
    places: Places,
    keep: Keep,
    packets: Vec<u8>,
    first_at: Mono,
    /// The packets since the newest place were too many.
    outgrown: bool,
    /// What stands in front of `packets`: what came before a seam, and the seam.
    done: VecDeque<Run>,
    /// A place came since [`Passage::take_place`].
    place: bool,
    /// Bytes of packets that came, since [`Passage::take_bytes`].
    bytes: u64,
}

impl Passage {
    /// One that has seen nothing. `program`: this one alone, 0 for all that comes.
    pub fn new(program: u16) -> Passage {
        Passage { program: filter(program), ..Passage::default() }
    }

    /// What is to be done with packets from now on.
    pub fn keep(&mut self, keep: Keep) {
        if std::mem::replace(&mut self.keep, keep) != keep && keep != Keep::All {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.packets = Vec::new();
        self.done.clear();
        self.outgrown = true;
    }

    /// The packets of a datagram.
    pub fn datagram(&mut self, now: Mono, payload: &[u8]) {
        let mut sync = self.sync;
        sync.split(payload, |unit| {
            if let Unit::Packet { bytes, sync_ok: true } = unit {
                self.filtered(now, bytes, payload.len());
            }
        });
        self.sync = sync;
    }

    fn filtered(&mut self, now: Mono, bytes: &[u8; PACKET_BYTES], more: usize) {
        let Some(program) = &mut self.program else { return self.packet(now, bytes, more) };
        let mut made = std::mem::take(&mut self.made);
        program.packet(bytes, &mut made);
        for packet in made.as_chunks::<PACKET_BYTES>().0 {
            self.packet(now, packet, more);
        }
        made.clear();
        self.made = made;
    }

    /// One packet of some `more` bytes.
    fn packet(&mut self, now: Mono, bytes: &[u8; PACKET_BYTES], more: usize) {
        let packet = Packet::parse(bytes);
        if self.places.is_place(now, &packet) {
            self.place = true;
            if self.keep == Keep::SincePlace {
                self.forget();
                self.outgrown = false;
            }
        }
        self.places.learn(&packet, bytes);
        self.bytes += PACKET_BYTES as u64;
        match self.keep {
            Keep::No => return,
            Keep::SincePlace if self.outgrown => return,
            Keep::SincePlace if self.packets.len() >= HELD_BYTES_MAX => return self.forget(),
            Keep::SincePlace | Keep::All => {}
        }
        if self.packets.is_empty() {
            self.first_at = now;
            self.packets.reserve(more.max(PACKET_BYTES));
        }
        self.packets.extend_from_slice(bytes);
    }

    /// What comes next does not go on with what was: another sender.
    pub fn interrupt(&mut self, now: Mono) {
        if self.keep == Keep::All {
            self.close(now);
            self.done.push_back(Run::seam(now));
        } else {
            self.forget();
        }
        (self.sync, self.places) = (DatagramSync::default(), Places::default());
        if let Some(remap) = &mut self.program {
            remap.restart();
        }
    }

    fn close(&mut self, now: Mono) {
        if !self.packets.is_empty() {
            let packets = std::mem::take(&mut self.packets).into();
            self.done.push_back(Run { packets, first_byte_at: self.first_at, complete_at: now });
        }
    }

    /// Whether a place to begin at came since the last call.
    pub fn take_place(&mut self) -> bool {
        std::mem::take(&mut self.place)
    }

    /// How many bytes of packets came since the last call.
    pub fn take_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// The newest tables, as they came; what is handed down begins with them.
    pub fn tables(&self, now: Mono) -> Run {
        pass::tables(&self.places, now)
    }

    /// What is to be handed down next.
    pub fn next_run(&mut self, now: Mono) -> Option<Run> {
        self.close(now);
        self.done.pop_front()
    }

    pub fn heap_bytes(&self) -> usize {
        let done: usize = self.done.iter().map(|run| run.packets.len()).sum();
        let program = self.program.as_ref().map_or(0, |remap| size_of::<Remap>() + remap.heap_bytes());
        self.places.heap_bytes() + self.packets.capacity() + done + program
    }
}

fn filter(program: u16) -> Option<Box<Remap>> {
    let plan = Plan { program: Some(program), ..Plan::default() };
    (program != 0).then(|| Box::new(Remap::new(plan)))
}
