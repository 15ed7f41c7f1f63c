//! What goes wrong with a transport stream, one fault at a time, and the indicator that says so.

use crate::stream::{self, AUDIO, PMT, Packet, SDT, at_ms, section, section_packet, set_pcr, ticks};
use headgate::monitor::Indicator;

/// When the fault is made, in milliseconds.
pub const FAULT_MS: u64 = 2000;
/// Longer than any stream here.
const FOREVER_MS: u64 = 3_600_000;

/// The `nth` packet from the fault's time on that is of this kind.
pub fn find(packets: &[Packet], nth: usize, fits: impl Fn(&Packet) -> bool) -> usize {
    let mut places = (at_ms(FAULT_MS)..packets.len()).filter(|n| fits(&packets[*n]));
    places.nth(nth).expect("such a packet")
}

pub fn null() -> Packet {
    let mut bytes = [0xFF; 188];
    bytes[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
    Packet { bytes, what: "null" }
}

/// Replaces packets of a PID by nulls for a time, and counts anew.
pub fn without(packets: &mut [Packet], pid: u16, ms: u64) {
    for n in at_ms(FAULT_MS)..at_ms(FAULT_MS + ms).min(packets.len()) {
        if packets[n].pid() == pid {
            packets[n] = null();
        }
    }
    stream::count_up(packets);
}

/// Puts a packet in the place of the first null after the fault's time.
fn insert(packets: &mut [Packet], nth: usize, bytes: [u8; 188]) {
    let place = find(packets, nth, |packet| packet.what == "null");
    packets[place] = Packet { bytes, what: "psi" };
    stream::count_up(packets);
}

pub type Fault = fn(&mut Vec<Packet>);

/// Name, what is done to the stream, the indicator, its own limit in milliseconds.
pub const FAULTS: &[(&str, Fault, Indicator, u64)] = &[
    (
        "a packet is lost",
        |p| {
            p.remove(find(p, 3, |p| p.what == "video"));
        },
        Indicator::Continuity,
        0,
    ),
    (
        "a packet comes three times",
        |p| {
            let place = find(p, 3, |p| p.what == "video");
            let copy = p[place].clone();
            p.splice(place..place, [copy.clone(), copy]);
        },
        Indicator::Continuity,
        0,
    ),
    (
        "two packets are swapped",
        |p| {
            let place = find(p, 3, |p| p.what == "video");
            let next = (place + 1..).find(|n| p[*n].what == "video").unwrap();
            p.swap(place, next);
        },
        Indicator::Continuity,
        0,
    ),
    (
        "the transport error bit",
        |p| {
            let n = find(p, 3, |p| p.what == "video");
            p[n].bytes[1] |= 0x80;
        },
        Indicator::Transport,
        0,
    ),
    (
        "a PAT with a wrong CRC",
        |p| {
            let n = find(p, 0, |p| p.pid() == 0);
            p[n].bytes[20] ^= 1;
        },
        Indicator::Crc,
        0,
    ),
    (
        "a program map with a wrong CRC",
        |p| {
            let n = find(p, 0, |p| p.pid() == PMT);
            p[n].bytes[20] ^= 1;
        },
        Indicator::Crc,
        0,
    ),
    (
        "an SDT with a wrong CRC",
        |p| {
            let n = find(p, 0, |p| p.pid() == SDT);
            p[n].bytes[30] ^= 1;
        },
        Indicator::Crc,
        1000,
    ),
    ("no PAT for 700 ms", |p| without(p, 0, 700), Indicator::Pat, 500),
    ("no PAT any more", |p| without(p, 0, FOREVER_MS), Indicator::Pat, 500),
    (
        "another table on the PID of the PAT",
        |p| insert(p, 0, section_packet(0, &section(2, 1, 0, &[0xE1, 0, 0xF0, 0]))),
        Indicator::Pat,
        0,
    ),
    (
        "a scrambled PAT",
        |p| {
            let n = find(p, 0, |p| p.pid() == 0);
            p[n].bytes[3] |= 0x80;
        },
        Indicator::Pat,
        0,
    ),
    (
        "a PAT whose counter stands still",
        |p| {
            let pats = p.iter_mut().skip(at_ms(FAULT_MS)).filter(|p| p.pid() == 0);
            pats.for_each(|p| p.bytes[3] = 0x15);
        },
        Indicator::Continuity,
        200,
    ),
    (
        "a PAT that says that it has no CRC",
        |p| {
            let n = find(p, 0, |p| p.pid() == 0);
            p[n].bytes[6] &= 0x7F;
        },
        Indicator::Crc,
        0,
    ),
    (
        "a damaged SDT right behind a good one",
        |p| {
            let n = find(p, 0, |p| p.pid() == SDT);
            let next = (n..).find(|n| p[*n].what == "null").unwrap();
            p[next] = p[n].clone();
            p[next].bytes[30] ^= 1;
            stream::count_up(p);
        },
        Indicator::Crc,
        1000,
    ),
    ("no program map any more", |p| without(p, PMT, FOREVER_MS), Indicator::Pmt, 500),
    (
        "a scrambled program map",
        |p| {
            let n = find(p, 0, |p| p.pid() == PMT);
            p[n].bytes[3] |= 0xC0;
        },
        Indicator::Pmt,
        0,
    ),
    ("no sound any more", |p| without(p, AUDIO, FOREVER_MS), Indicator::Pid, 5000),
    (
        "no sound for six seconds, then the end of a PES packet",
        |p| {
            without(p, AUDIO, 6000);
            let back = (at_ms(FAULT_MS + 6000)..).find(|n| p[*n].pid() == AUDIO && p[*n].starts()).unwrap();
            p[back] = null();
            stream::count_up(p);
        },
        Indicator::Pid,
        5000,
    ),
    (
        "one wrong sync byte",
        |p| {
            let n = find(p, 3, |p| p.what == "video");
            p[n].bytes[0] = 0x46;
        },
        Indicator::SyncByte,
        0,
    ),
    (
        "two wrong sync bytes",
        |p| {
            // In the middle of a datagram.
            let n = at_ms(FAULT_MS).next_multiple_of(7) + 2;
            (p[n].bytes[0], p[n + 1].bytes[0]) = (0, 0);
        },
        Indicator::SyncLoss,
        0,
    ),
    (
        "a wrong sync byte at the beginning of a datagram",
        |p| p[at_ms(FAULT_MS).next_multiple_of(7)].bytes[0] = 0x80,
        Indicator::SyncByte,
        0,
    ),
    (
        "a wrong sync byte that makes the beginning of a datagram look like RTP",
        |p| {
            let begins = |n: &usize| n.is_multiple_of(7) && p[*n].what == "video" && !p[*n].starts();
            let n = (at_ms(FAULT_MS)..p.len()).find(begins).unwrap();
            // With the priority bit, so that the second byte is the payload type.
            (p[n].bytes[0], p[n].bytes[1]) = (0x80, 0x21);
        },
        Indicator::SyncByte,
        0,
    ),
    (
        "two wrong sync bytes at the beginning of a datagram",
        |p| {
            let n = at_ms(FAULT_MS).next_multiple_of(7);
            (p[n].bytes[0], p[n + 1].bytes[0]) = (0, 0);
        },
        Indicator::SyncLoss,
        0,
    ),
    (
        "three datagrams of something else",
        |p| {
            let n = at_ms(FAULT_MS).next_multiple_of(7);
            p[n..n + 21].iter_mut().for_each(|p| p.bytes = [0x12; 188]);
        },
        Indicator::SyncLoss,
        0,
    ),
    (
        "a PCR that is 600 ns late",
        |p| {
            let n = find(p, 0, |p| p.what == "pcr");
            set_pcr(&mut p[n], ticks(n) + 16);
        },
        Indicator::PcrAccuracy,
        0,
    ),
    (
        "no PCR for 140 ms",
        |p| {
            (0..3).for_each(|_| {
                let n = find(p, 0, |p| p.what == "pcr");
                p[n] = null();
            })
        },
        Indicator::PcrRepetition,
        100,
    ),
    (
        "no PCR any more",
        |p| p.iter_mut().skip(at_ms(FAULT_MS)).filter(|p| p.what == "pcr").for_each(|p| *p = null()),
        Indicator::PcrRepetition,
        100,
    ),
    (
        "a PCR PID that does not exist",
        |p| {
            let map = section_packet(PMT, &stream::pmt_with_clock(1, 0x1ABC));
            p.iter_mut().skip(at_ms(FAULT_MS)).filter(|p| p.pid() == PMT).for_each(|p| p.bytes = map);
            stream::count_up(p);
        },
        Indicator::PcrRepetition,
        100,
    ),
    (
        "a clock that steps by five seconds",
        |p| {
            for n in (at_ms(FAULT_MS)..p.len()).filter(|n| p[*n].what == "pcr").collect::<Vec<_>>() {
                set_pcr(&mut p[n], ticks(n) + 5 * 27_000_000);
            }
        },
        Indicator::PcrDiscontinuity,
        0,
    ),
    (
        "a clock that steps back by a second",
        |p| {
            for n in (at_ms(FAULT_MS)..p.len()).filter(|n| p[*n].what == "pcr").collect::<Vec<_>>() {
                set_pcr(&mut p[n], ticks(n) - 27_000_000);
            }
        },
        Indicator::PcrDiscontinuity,
        0,
    ),
    (
        "no PTS for 900 ms",
        |p| {
            let range = at_ms(FAULT_MS)..at_ms(FAULT_MS + 900);
            for packet in p[range].iter_mut().filter(|p| p.what == "video" && p.starts()) {
                packet.bytes[11] = 0;
            }
        },
        Indicator::Pts,
        700,
    ),
    (
        "a scrambled picture without a CAT",
        |p| {
            let n = find(p, 3, |p| p.what == "video");
            p[n].bytes[3] |= 0x80;
        },
        Indicator::Cat,
        500,
    ),
    (
        "another table on the PID of the CAT",
        |p| insert(p, 0, section_packet(1, &section(2, 1, 0, &[0xE1, 0, 0xF0, 0]))),
        Indicator::Cat,
        0,
    ),
    ("no SDT any more", |p| without(p, SDT, FOREVER_MS), Indicator::SiRepetition, 2000),
    (
        "two SDTs close together",
        |p| {
            insert(p, 0, section_packet(SDT, &stream::sdt()));
            insert(p, 3, section_packet(SDT, &stream::sdt()));
        },
        Indicator::SiRepetition,
        0,
    ),
    (
        "a PID that nobody names",
        |p| {
            let range = at_ms(FAULT_MS)..at_ms(FAULT_MS + 1500);
            for packet in p[range].iter_mut().filter(|p| p.what == "null") {
                (packet.bytes[1], packet.bytes[2], packet.what) = (0x02, 0x34, "psi");
            }
            stream::count_up(p);
        },
        Indicator::UnreferencedPid,
        500,
    ),
];
