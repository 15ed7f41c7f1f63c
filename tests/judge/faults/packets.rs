//! What carries packets, and packets themselves, broken in one way each.

use super::Fault;
use crate::captures::{change, ends, has_pcr, inside, inside_sound, is_null, over_rtp, padded, place, udp};
use crate::generator::null;
use crate::support::judge::Gate;

pub const FAULTS: &[Fault] = &[
    ("a datagram of 1315 bytes", |c| udp(c, |d| padded(d).truncate(1315)), &[Gate::DatagramSize]),
    ("a datagram of 1128 bytes", |c| udp(c, |d| padded(d).truncate(1128)), &[Gate::DatagramSize]),
    ("an RTP datagram of 1140 bytes", |c| over_rtp(c, |d| padded(d).truncate(1140)), &[Gate::DatagramSize]),
    ("another payload type", |c| over_rtp(c, |d| d[500][1] = 96), &[Gate::RtpHeader]),
    ("a marker", |c| over_rtp(c, |d| d[500][1] |= 0x80), &[Gate::RtpHeader]),
    ("a header extension", |c| over_rtp(c, |d| d[500][0] |= 0x10), &[Gate::RtpHeader]),
    ("another source", |c| over_rtp(c, |d| d[500][11] ^= 1), &[Gate::RtpHeader]),
    (
        "a sequence number is left out",
        |c| {
            over_rtp(c, |d| {
                for datagram in &mut d[500..] {
                    let next = u16::from_be_bytes([datagram[2], datagram[3]]).wrapping_add(1);
                    datagram[2..4].copy_from_slice(&next.to_be_bytes());
                }
            });
        },
        &[Gate::RtpSequence],
    ),
    (
        "a datagram of nulls is lost",
        |c| {
            over_rtp(c, |d| {
                let nulls =
                    |bytes: &Vec<u8>| bytes[12..].chunks(188).all(|packet| packet[1..3] == [0x1F, 0xFF]);
                let at = d.iter().position(nulls).expect("nulls alone");
                d.remove(at);
            });
        },
        &[Gate::RtpSequence],
    ),
    ("a timestamp 3 ms late", |c| over_rtp(c, |d| d[500][6] ^= 1), &[Gate::RtpTimestamp]),
    ("a sync byte", |c| change(&mut c.packets, [is_null], |p| p[0] = 0x48), &[Gate::Sync]),
    (
        "a sync byte in a datagram",
        |c| {
            udp(c, |_| {});
            change(&mut c.packets, [is_null], |p| p[0] = 0x48);
        },
        &[Gate::Sync],
    ),
    (
        "some bytes of a file are lost",
        |c| {
            c.wire = |file| {
                let nulls = file[0].chunks(188).map(|packet| packet[1..3] == [0x1F, 0xFF]);
                let nulls: Vec<bool> = nulls.collect();
                let at = (1000..).find(|n| nulls[*n..][..3] == [true; 3]).unwrap();
                file[0].drain(at * 188 + 50..at * 188 + 90);
            };
        },
        &[Gate::Sync],
    ),
    (
        "a file ends inside a packet",
        |c| {
            *c.packets.last_mut().unwrap() = null();
            c.wire = |file| {
                file[0].pop();
            };
        },
        &[Gate::Sync],
    ),
    ("the error indicator", |c| change(&mut c.packets, [inside], |p| p[1] |= 0x80), &[Gate::TransportError]),
    ("a scrambled packet", |c| change(&mut c.packets, [inside], |p| p[3] |= 0x80), &[Gate::Scrambling]),
    (
        "a packet is lost",
        |c| {
            c.packets.remove(place(&c.packets, [inside]));
        },
        &[Gate::Continuity],
    ),
    (
        "a packet comes three times",
        |c| {
            let at = place(&c.packets, [inside]);
            let copy = c.packets[at];
            c.packets.splice(at..at, [copy, copy]);
        },
        &[Gate::Continuity],
    ),
    (
        "two packets change places",
        |c| {
            let at = place(&c.packets, [inside, inside]);
            c.packets.swap(at, at + 1);
        },
        &[Gate::Continuity],
    ),
    (
        "a repetition that is not the same",
        |c| {
            let at = place(&c.packets, [ends, is_null]);
            c.packets[at + 1] = c.packets[at];
            c.packets[at + 1][187] ^= 1;
        },
        &[Gate::Continuity],
    ),
    (
        "the counter goes on without a payload",
        |c| {
            change(&mut c.packets, [has_pcr], |p| p[3] = p[3] & 0xF0 | (p[3] + 1) & 0x0F);
        },
        &[Gate::Continuity],
    ),
    (
        "a discontinuity is announced",
        |c| change(&mut c.packets, [has_pcr], |p| p[5] |= 0x80),
        &[Gate::Discontinuity],
    ),
    (
        "neither payload nor adaptation field",
        |c| {
            change(&mut c.packets, [is_null], |p| p[3] = 0);
        },
        &[Gate::Adaptation],
    ),
    (
        "an adaptation field beyond the packet",
        |c| {
            change(&mut c.packets, [is_null], |p| (p[3], p[4]) = (0x30, 183));
        },
        &[Gate::Adaptation],
    ),
    (
        "a packet of a sound is lost",
        |c| {
            c.packets.remove(place(&c.packets, [inside_sound]));
        },
        &[Gate::Continuity],
    ),
    (
        "a scrambled packet of a sound",
        |c| {
            change(&mut c.packets, [inside_sound], |p| p[3] |= 0xC0);
        },
        &[Gate::Scrambling],
    ),
    (
        "a PCR extension of 511",
        |c| {
            change(&mut c.packets, [is_null], |p| (p[3], p[4], p[5]) = (0x20, 183, 0x10));
        },
        &[Gate::Adaptation],
    ),
    (
        "no room for a PCR",
        |c| {
            change(&mut c.packets, [is_null], |p| (p[3], p[4], p[5]) = (0x30, 1, 0x10));
        },
        &[Gate::Adaptation],
    ),
];
