//! The target `mux`: anything as a channel's log, and what must hold for whatever leaves.

use super::ts_stream;
use headgate::media::Mono;
use headgate::mux::{DATAGRAM_BYTES, DATAGRAM_PACKETS, Multiplex, Mux, Service, queue_packets_max};
use headgate::wire::ts::{PACKET_BYTES, packet::Packet, section::Assembler};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time from one PCR to the next, in ticks of 27 MHz.
const PCR_TICKS_MAX: u64 = 38 * 27_000;
/// Rates of [`mux`], in bits a second.
const MUX_RATES: [u64; 4] = [200_000, 1_000_000, 4_000_000, 20_000_000];
/// Memory of a multiplex beside the packets that wait: unfinished sections, units, tracks, tables.
const MUX_HEAP_BYTES: usize = 4 << 20;

/// Anything as the log of a channel: packets as in [`super::ts_demux`], eight an entry. The first byte says the rate, and what the
/// channel has beside; of the second bit 0 is that of [`ts_stream`], 1: the log is skipped now and then, 2: so are
/// datagrams, the others are the milliseconds from entry to entry. What leaves is whole, counted and timed in any case.
pub fn mux(data: &[u8]) {
    let (media, others) = mux_output(data);
    assert!(media == 0 || others > 0, "tables, clocks and nulls too");
}

/// Packets of tracks, and others, that come out of an input of [`mux`].
pub fn mux_output(data: &[u8]) -> (usize, usize) {
    let Some(&[choice, flags]) = data.first_chunk() else { return (0, 0) };
    let rate_bps = MUX_RATES[usize::from(choice & 3)];
    let service = Service {
        dvb_ac3: choice & 16 != 0,
        languages: if choice & 32 != 0 { vec![*b"deu", *b"eng"] } else { Vec::new() },
        pcr_pid: (choice & 64 != 0).then_some(0x50),
        ..Service::default()
    };
    let multiplex = Multiplex {
        rate_bps,
        nit: choice & 4 != 0,
        time: choice & 8 != 0,
        services: vec![service],
        ..Multiplex::default()
    };
    let (mut mux, mut judge) = (Mux::new(multiplex, Mono::ZERO), MuxJudge::new(rate_bps));
    let step = Duration::from_millis(u64::from(flags >> 3));
    let (mut now, mut datagram) = (Mono::ZERO, [0; DATAGRAM_BYTES]);
    let stream = ts_stream(data);
    // Behind the last entry time goes on until all that waits has had its place.
    let entries = stream.chunks(8 * PACKET_BYTES).map(Some).chain(std::iter::repeat_n(None, 16));
    for (n, entry) in entries.enumerate() {
        let step = if entry.is_some() { step } else { Duration::from_millis(100) };
        now = now + step;
        if let Some(entry) = entry {
            mux.feed(0, now, entry);
        }
        if flags & 2 != 0 && n % 7 == 6 {
            mux.seam(0, now);
        }
        if flags & 4 != 0 && n % 11 == 10 {
            now = now + Duration::from_millis(50);
            judge.skipped(mux.skip(now));
        }
        while mux.written() < mux.position(now) {
            mux.write(&mut datagram, 1_700_000_000);
            judge.read(&datagram);
        }
        assert!(mux.queued_packets() <= queue_packets_max(rate_bps));
        // Those of entries and those that are copied, and what is known of each.
        let packets = queue_packets_max(rate_bps) * (2 * PACKET_BYTES + 128);
        assert!(mux.heap_bytes() <= packets + MUX_HEAP_BYTES, "{} bytes", mux.heap_bytes());
    }
    (judge.media, judge.packets - judge.media)
}

/// Holds what a multiplex sends to what it promises.
struct MuxJudge {
    rate_bps: u64,
    /// Packets read, and those of tracks among them.
    packets: usize,
    media: usize,
    /// How many would have been, with those that were skipped.
    place: u64,
    counters: BTreeMap<u16, u8>,
    /// Place and clock of the last PCR; none behind a skip.
    clock: Option<(u64, u64)>,
    skipped: bool,
    assembler: Assembler,
}

impl MuxJudge {
    /// Of a multiplex at this rate.
    fn new(rate_bps: u64) -> MuxJudge {
        MuxJudge {
            rate_bps,
            packets: 0,
            media: 0,
            place: 0,
            counters: BTreeMap::new(),
            clock: None,
            skipped: false,
            assembler: Assembler::new(),
        }
    }

    /// Datagrams were left out.
    fn skipped(&mut self, datagrams: u64) {
        self.place += datagrams * DATAGRAM_PACKETS as u64;
        self.skipped |= datagrams > 0;
    }

    /// The next datagram.
    fn read(&mut self, datagram: &[u8; DATAGRAM_BYTES]) {
        let (packets, rest) = datagram.as_chunks::<PACKET_BYTES>();
        assert!(packets.len() == DATAGRAM_PACKETS && rest.is_empty());
        for bytes in packets {
            self.packet(bytes);
            self.packets += 1;
            self.place += 1;
        }
    }

    fn packet(&mut self, bytes: &[u8; PACKET_BYTES]) {
        let packet = Packet::parse(bytes);
        assert!(bytes[0] == 0x47 && !packet.error && !packet.malformed && packet.scrambling == 0);
        if packet.pid == 0x1FFF {
            return;
        }
        assert!(packet.pid < 0x20 || packet.pid >= 0x50, "PID {:#x}", packet.pid);
        if packet.has_payload {
            let last = self.counters.insert(packet.pid, packet.continuity);
            assert!(last.is_none_or(|last| (last + 1) & 15 == packet.continuity), "PID {:#x}", packet.pid);
        } else {
            let last = self.counters.get(&packet.pid);
            assert!(last.is_none_or(|last| *last == packet.continuity), "PID {:#x}", packet.pid);
        }
        if let Some(pcr) = packet.adaptation.and_then(|field| field.pcr) {
            self.pcr(pcr, packet.discontinuity());
        }
        if packet.pid < 0x20 || packet.pid == 0x1000 {
            self.assembler.push(&packet, |section| {
                let whole = section.crc_ok() || section.bytes().first() == Some(&0x70);
                assert!(whole, "a table of PID {:#x}", packet.pid);
            });
        } else if packet.has_payload {
            self.media += 1;
        }
    }

    /// Clocks are those of their places, to a tick, and come in time.
    fn pcr(&mut self, pcr: u64, announced: bool) {
        let skipped = std::mem::take(&mut self.skipped);
        if let Some((place, clock)) = self.clock.filter(|_| !skipped) {
            assert!(!announced, "a jump that nobody made");
            let bits = (self.place - place) * PACKET_BYTES as u64 * 8;
            let expected = bits * 27_000_000 / self.rate_bps;
            let found = pcr.wrapping_sub(clock);
            assert!(found.abs_diff(expected) <= 1, "{found} ticks for {expected}");
            assert!(found <= PCR_TICKS_MAX, "{found} ticks without a clock");
        }
        self.clock = Some((self.place, pcr));
    }
}
