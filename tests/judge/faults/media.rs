//! The clock, and pictures and sounds, broken in one way each.

use super::Fault;
use crate::captures::{
    FAULT_MS, change, has_pcr, inside, is_null, is_sound, key_starts, not_idr, over_rtp, place, rewrite,
    shift_pcrs, sound_starts, starts, without,
};
use crate::generator::{Maker, VIDEO, at_ms, pid};
use crate::support::judge::Gate;

pub const FAULTS: &[Fault] = &[
    ("no PCR for 110 ms", |c| without(&mut c.packets, 2000..2110, has_pcr), &[Gate::PcrInterval]),
    (
        "a PCR each 45 ms",
        |c| c.packets = Maker { pcr_ms: 45, ..Maker::default() }.make(),
        &[Gate::PcrInterval],
    ),
    ("no PCR at the end", |c| without(&mut c.packets, 11_900..99_000, has_pcr), &[Gate::PcrInterval]),
    (
        "the clock steps by 50 ms",
        |c| {
            let end = c.packets.len();
            shift_pcrs(&mut c.packets, at_ms(FAULT_MS)..end, 50 * 27_000);
        },
        &[Gate::PcrJump],
    ),
    (
        "a PCR 600 ns late",
        |c| {
            let at = place(&c.packets, [has_pcr]);
            shift_pcrs(&mut c.packets, at..at + 1, 16);
        },
        &[Gate::PcrAccuracy],
    ),
    (
        "a PCR 150 ns late",
        |c| {
            let at = place(&c.packets, [has_pcr]);
            shift_pcrs(&mut c.packets, at..at + 1, 4);
        },
        &[Gate::PcrAccuracy],
    ),
    (
        "the clock goes back behind a hole",
        |c| {
            let (at, end) = (place(&c.packets, [inside]), c.packets.len());
            shift_pcrs(&mut c.packets, at..end, (1 << 33) * 300 - 50 * 27_000);
            c.packets.remove(at);
        },
        &[Gate::Continuity, Gate::PcrJump],
    ),
    (
        "a datagram is lost",
        |c| {
            over_rtp(c, |d| {
                let picture = |bytes: &Vec<u8>| {
                    bytes[12..]
                        .chunks(188)
                        .all(|packet| packet[1..4] != [1, 0, 0x20] && packet[1..3] == [1, 0])
                };
                let at = 1 + d[1..].iter().position(picture).expect("a picture alone");
                d.remove(at);
            });
        },
        &[Gate::RtpSequence, Gate::Continuity],
    ),
    (
        "a null is lost",
        |c| {
            c.packets.remove(place(&c.packets, [is_null]));
        },
        &[Gate::PcrAccuracy],
    ),
    ("too short to measure", |c| c.packets.truncate(at_ms(300)), &[Gate::PcrAccuracy]),
    ("30 ppm too fast", |c| c.packets = Maker { ppm: 30.0, ..Maker::default() }.make(), &[Gate::MuxRate]),
    ("11 ppm too slow", |c| c.packets = Maker { ppm: -11.0, ..Maker::default() }.make(), &[Gate::MuxRate]),
    ("a length one too large", |c| change(&mut c.packets, [sound_starts], |p| p[9] += 1), &[Gate::Pes]),
    ("a length one too small", |c| change(&mut c.packets, [sound_starts], |p| p[9] -= 1), &[Gate::Pes]),
    (
        "marks of a header",
        |c| {
            change(&mut c.packets, [sound_starts], |p| p[10] &= 0x3F);
        },
        &[Gate::Pes],
    ),
    (
        "a PTS in front of its DTS",
        |c| {
            change(
                &mut c.packets,
                [|p| pid(p) == VIDEO && starts(p) && p[3] & 0x20 == 0 && p[21] > 0],
                |p| {
                    p.copy_within(18..23, 13);
                    p[13] |= 0x20;
                    p[16] -= 1;
                },
            );
        },
        &[Gate::Pes],
    ),
    ("no start code", |c| change(&mut c.packets, [sound_starts], |p| p[6] = 2), &[Gate::Pes]),
    ("a mark in a time", |c| change(&mut c.packets, [sound_starts], |p| p[15] &= 0xFE), &[Gate::Pes]),
    // 2^14 ticks of 90 kHz, of which the bit is set here.
    (
        "a time goes back",
        |c| {
            change(&mut c.packets, [|p| sound_starts(p) && p[16] & 0x80 != 0], |p| p[16] &= 0x3F);
        },
        &[Gate::Pes],
    ),
    ("no sound for a second", |c| without(&mut c.packets, 2000..3000, is_sound), &[Gate::PtsGap]),
    ("no sound at the end", |c| without(&mut c.packets, 11_200..99_000, is_sound), &[Gate::PtsGap]),
    ("150 ms ahead", |c| c.packets = Maker { lead_ms: 150, ..Maker::default() }.make(), &[Gate::Lead]),
    (
        "850 ms ahead, with B-frames",
        |c| {
            c.packets = Maker { lead_ms: 850, ..Maker::default() }.make();
        },
        &[Gate::Lead],
    ),
    (
        "the end of a sound comes after its time",
        |c| {
            without(&mut c.packets, 11_400..99_000, is_sound);
            let end = c.packets.iter().rposition(is_null).unwrap();
            let last = c.packets.iter().rposition(is_sound).unwrap();
            c.packets.swap(last, end);
        },
        &[Gate::LateUnit],
    ),
    (
        "an IDR picture without the indicator",
        |c| {
            change(&mut c.packets, [key_starts], |p| p[5] = 0);
        },
        &[Gate::RandomAccess],
    ),
    (
        "an indicator without an IDR picture",
        |c| {
            change(&mut c.packets, [key_starts], not_idr);
        },
        &[Gate::RandomAccess],
    ),
    (
        "decoding can begin nowhere",
        |c| {
            for packet in c.packets.iter_mut().filter(|packet| key_starts(packet)) {
                not_idr(packet);
                packet[5] = 0;
            }
        },
        &[Gate::RandomAccess],
    ),
    (
        "no delimiter",
        |c| {
            change(&mut c.packets, [key_starts], |p| rewrite(p, &[9], &[12]));
        },
        &[Gate::AccessUnit],
    ),
    (
        "no parameter sets",
        |c| {
            change(&mut c.packets, [key_starts], |p| rewrite(p, &[0x68], &[0x6C]));
        },
        &[Gate::AccessUnit],
    ),
];
