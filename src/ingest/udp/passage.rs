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
use bytes::Bytes;
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
    /// The tables that hold where what is held begins, before anything of it is handed down.
    front: Option<Bytes>,
    /// It was begun to hand down.
    begun: bool,
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
            self.begun = false;
        }
    }

    fn forget(&mut self) {
        self.packets = Vec::new();
        self.done.clear();
        (self.front, self.outgrown) = (None, true);
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
        let kept = match self.keep {
            Keep::No => false,
            Keep::SincePlace if self.outgrown => false,
            Keep::SincePlace if self.packets.len() >= HELD_BYTES_MAX => {
                self.forget();
                false
            }
            Keep::SincePlace | Keep::All => true,
        };
        if kept {
            if self.packets.is_empty() {
                if !self.begun && self.done.is_empty() {
                    self.front = Some(pass::tables(&self.places));
                }
                self.first_at = now;
                self.packets.reserve(more.max(PACKET_BYTES));
            }
            self.packets.extend_from_slice(bytes);
        }
        self.places.learn(&packet, bytes);
        self.bytes += PACKET_BYTES as u64;
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

    /// The tables, as they came, that hold where what is handed down begins, with which it begins.
    pub fn tables(&mut self, now: Mono) -> Run {
        self.begun = true;
        let packets = self.front.take().unwrap_or_else(|| pass::tables(&self.places));
        Run { packets, first_byte_at: now, complete_at: now }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ts::write::packet::{Adaptation, Counter, UnitWriter, write_section};
    use crate::wire::ts::write::section::{Component, pat, pmt};
    use std::collections::HashMap;

    /// A sender whose map takes two packets.
    #[derive(Default)]
    struct Sender([Counter; 3]);

    impl Sender {
        fn tables(&mut self) -> Vec<u8> {
            let (mut out, [first, second, _]) = (Vec::new(), &mut self.0);
            let component = Component { stream_type: 0x1B, pid: 0x100, descriptors: vec![0xFE; 240] };
            let mut put = |part: &[u8]| {
                out.extend_from_slice(part);
                true
            };
            assert!(write_section(0, first, &pat(1, 0, &[(1, 0x1000)]).unwrap(), &mut put));
            assert!(write_section(0x1000, second, &pmt(1, 0, 0x100, &[component]).unwrap(), &mut put));
            assert_eq!(out.len(), 3 * PACKET_BYTES);
            out
        }

        fn picture(&mut self, random_access: bool) -> Vec<u8> {
            let (mut out, says) = (Vec::new(), Adaptation { random_access, ..Adaptation::default() });
            let unit = [&[0, 0, 1, 0xE0][..], &[7; 300]].concat();
            assert!(UnitWriter::new(0x100, &mut self.0[2], says, unit.len()).write(
                &unit,
                &mut |part: &[u8]| {
                    out.extend_from_slice(part);
                    true
                }
            ));
            out
        }
    }

    /// PIDs and whether each packet announces a jump; fails where a counter goes wrong.
    #[track_caller]
    fn read(bytes: &[u8]) -> Vec<u16> {
        let mut last = HashMap::new();
        let packets: Vec<Packet<'_>> = bytes.as_chunks().0.iter().map(Packet::parse).collect();
        for (at, packet) in packets.iter().enumerate() {
            let before = last.insert(packet.pid, packet.continuity);
            let fits =
                before.is_none_or(|b: u8| (b + u8::from(packet.has_payload)) & 15 == packet.continuity);
            assert!(fits || packet.discontinuity(), "packet {at}: {packet:?} behind {before:?}");
        }
        packets.iter().map(|packet| packet.pid).collect()
    }

    fn handed(passage: &mut Passage, now: Mono) -> Vec<u8> {
        let mut all = passage.tables(now).packets.to_vec();
        while let Some(run) = passage.next_run(now) {
            all.extend(&run.packets);
        }
        all
    }

    #[test]
    fn what_was_held_begins_with_the_tables_of_its_first_packet() {
        let (mut sender, mut passage, now) = (Sender::default(), Passage::new(0), Mono::from_micros(1));
        passage.keep(Keep::SincePlace);
        passage.datagram(now, &sender.tables());
        passage.datagram(now, &sender.picture(true));
        // They come again before somebody is put on air.
        for _ in 0..3 {
            passage.datagram(now, &sender.tables());
            passage.datagram(now, &sender.picture(false));
        }
        passage.keep(Keep::All);
        let pids = read(&handed(&mut passage, now));
        assert_eq!(pids[..5], [0, 0x1000, 0x1000, 0x100, 0x100]);
        assert_eq!(pids.len(), 3 + 2 + 3 * 5);
        // Nothing is held: the newest.
        assert_eq!(read(&handed(&mut passage, now)), [0, 0x1000, 0x1000]);
    }

    #[test]
    fn a_table_that_had_begun_goes_on() {
        let (mut sender, mut passage, now) = (Sender::default(), Passage::new(0), Mono::from_micros(1));
        passage.keep(Keep::SincePlace);
        passage.datagram(now, &sender.tables());
        let again = sender.tables();
        let (begin, rest) = again.split_at(2 * PACKET_BYTES);
        passage.datagram(now, begin);
        passage.datagram(now, &sender.picture(true));
        passage.datagram(now, rest);
        passage.keep(Keep::All);
        let pids = read(&handed(&mut passage, now));
        assert_eq!(pids, [0, 0x1000, 0x1000, 0x1000, 0x100, 0x100, 0x1000], "with what announces the jump");
    }

    #[test]
    fn who_comes_while_it_is_on_air_begins_with_what_was_before() {
        let (mut sender, mut passage, now) = (Sender::default(), Passage::new(0), Mono::from_micros(1));
        passage.datagram(now, &sender.tables());
        passage.keep(Keep::All);
        passage.datagram(now, &[sender.tables(), sender.picture(true)].concat());
        assert_eq!(read(&handed(&mut passage, now)).len(), 3 + 3 + 2);
    }
}
