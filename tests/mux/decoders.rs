//! A decoder of the level that pictures say (T-STD, ISO/IEC 13818-1 section 2.4.2) takes what is sent: replayed through a
//! model of its buffers, by positions.

use super::*;

/// A level: its name and stream type, what its pictures begin with, and the model's rate in bits a second, TB to MB and MB to
/// EB alike, with the bytes of MB and EB.
struct Level {
    name: &'static str,
    stream_type: u8,
    head: &'static [u8],
    bps: i64,
    multiplex: i64,
    elementary: i64,
}

/// H.264 Main: a delimiter, and a parameter set of 720 x 576.
macro_rules! h264 {
    ($level:literal) => {
        &[0, 0, 0, 1, 9, 0xF0, 0, 0, 0, 1, 0x67, 0x4D, 0, $level, 0xDA, 0x02, 0xD0, 0x49, 0x90, 0, 0, 1, 0x65]
    };
}

/// HEVC Main: a delimiter, and a video parameter set as x265 writes it.
macro_rules! hevc {
    ($level:literal) => {
        &[
            0, 0, 0, 1, 0x46, 1, 0x50, 0, 0, 0, 1, 0x40, 1, 0x0C, 1, 0xFF, 0xFF, 1, 0x60, 0, 0, 3, 0, 0x90,
            0, 0, 3, 0, 0, 3, 0, $level, 0x95, 0x98, 0x09, 0, 0, 1, 0x26, 1,
        ]
    };
}

const fn level(
    name: &'static str,
    stream_type: u8,
    head: &'static [u8],
    bps: i64,
    multiplex: i64,
    elementary: i64,
) -> Level {
    Level { name, stream_type, head, bps, multiplex, elementary }
}

const H264_13: Level = level("H.264 1.3", 0x1B, h264!(13), 921_600, 1333, 300_000);
const H264_21: Level = level("H.264 2.1", 0x1B, h264!(21), 4_800_000, 3200, 600_000);
const H264_30: Level = level("H.264 3.0", 0x1B, h264!(30), 12_000_000, 8000, 1_500_000);
const H264_31: Level = level("H.264 3.1", 0x1B, h264!(31), 16_800_000, 11_200, 2_100_000);
const H264_40: Level = level("H.264 4.0", 0x1B, h264!(40), 24_000_000, 16_000, 3_750_000);
const HEVC_30: Level = level("HEVC 3.0", 0x24, hevc!(90), 6_600_000, 4400, 825_000);
const HEVC_40: Level = level("HEVC 4.0", 0x24, hevc!(120), 13_200_000, 8800, 1_650_000);

/// What went wrong in a decoder, and what it held at most.
#[derive(Debug, Default)]
struct Verdict {
    transport_overflows: usize,
    multiplex_overflows: usize,
    elementary_overflows: usize,
    underflows: usize,
    units: usize,
    held_max: i64,
}

/// Plays the packets of PID 0x100 into a decoder. Times in ticks of 27 MHz, contents of buffers in bits times 27 MHz.
fn decode(bytes: &[u8], rate: i64, level: &Level) -> Verdict {
    const CLOCK: i64 = 27_000_000;
    let be = |bytes: &[u8]| bytes.iter().fold(0i64, |n, &byte| n << 8 | i64::from(byte));
    let packets = || bytes.chunks(188).enumerate().map(|(n, packet)| (n as i64, packet));
    let has_clock = |packet: &[u8]| packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0;
    let (n0, first) = packets().find(|(_, packet)| has_clock(packet)).unwrap();
    // A PCR tells when its byte 10 comes.
    let pcr = (be(&first[6..11]) >> 7) * 300 + (be(&first[10..12]) & 0x1FF) - 80 * CLOCK / rate;
    let time = |n: i64| pcr + (n - n0) * 1504 * CLOCK / rate;

    let mut verdict = Verdict::default();
    // Per packet, when its payload leaves TB at the earliest and at the latest, and its bits.
    let mut arrivals: Vec<(i64, i64)> = Vec::new();
    // Per unit, DTS, bits until its end, and when the last of them left TB.
    let mut units: Vec<(i64, i64, i64)> = Vec::new();
    let (mut transport, mut at, mut sum) = (0i64, i64::MIN / 2, 0i64);
    for (n, packet) in packets().filter(|(_, packet)| be(&packet[1..3]) & 0x1FFF == 0x100) {
        let now = time(n);
        transport = (transport - (now - at).min(CLOCK) * level.bps).max(0);
        at = now;
        let begins_to_leave = now + transport / level.bps;
        transport += 1504 * CLOCK;
        verdict.transport_overflows += usize::from(transport > 512 * 8 * CLOCK);
        if packet[3] & 0x10 == 0 {
            continue;
        }
        let from = 4 + if packet[3] & 0x20 != 0 { 1 + usize::from(packet[4]) } else { 0 };
        let payload = &packet[from..];
        if packet[1] & 0x40 != 0 {
            let stamp = &payload[if payload[7] & 0x40 != 0 { 14 } else { 9 }..];
            let dts =
                (i64::from(stamp[0]) >> 1 & 7) << 30 | be(&stamp[1..3]) >> 1 << 15 | be(&stamp[3..5]) >> 1;
            units.push((dts * 300, sum, 0));
        }
        let bits = payload.len() as i64 * 8;
        sum += bits;
        arrivals.push((begins_to_leave, bits));
        let unit = units.last_mut().unwrap();
        (unit.1, unit.2) = (sum, now + transport / level.bps);
    }
    // The last one is cut.
    units.pop();
    verdict.units = units.len();
    verdict.underflows += units.iter().filter(|(dts, _, through)| through > dts).count();

    let (mut multiplex, mut elementary, mut arrived, mut gone) = (0i64, 0i64, 0i64, 0i64);
    let (mut now, mut next) = (arrivals[0].0, arrivals.into_iter().peekable());
    let mut flow = |to: i64, multiplex: &mut i64, elementary: &mut i64, arrived: &mut i64| {
        let room = level.elementary * 8 * CLOCK - *elementary;
        let moved = (*multiplex).min((to - now).max(0) * level.bps).min(room);
        now = now.max(to);
        (*multiplex, *elementary, *arrived) = (*multiplex - moved, *elementary + moved, *arrived + moved);
    };
    for (dts, until, _) in units {
        while let Some((at, bits)) = next.next_if(|(at, _)| *at < dts) {
            flow(at, &mut multiplex, &mut elementary, &mut arrived);
            multiplex += bits * CLOCK;
            verdict.multiplex_overflows += usize::from(multiplex > level.multiplex * 8 * CLOCK);
            verdict.held_max = verdict.held_max.max((multiplex + elementary) / CLOCK / 8);
        }
        flow(dts, &mut multiplex, &mut elementary, &mut arrived);
        verdict.elementary_overflows += usize::from(elementary >= level.elementary * 8 * CLOCK);
        verdict.underflows += usize::from(arrived < until * CLOCK);
        elementary -= (until - gone) * CLOCK;
        gone = until;
    }
    verdict
}

fn channel_of(rate: u64, level: &Level, bits_per_second: u64, key_units: u64) -> Channel {
    let video = Track {
        stream_type: level.stream_type,
        head: level.head.to_vec(),
        key_units,
        ..Track::video(bits_per_second)
    };
    let mut channel = Channel::of(rate);
    let mut source = Source::new(vec![video, Track::audio(0x200, 96_000)], rate + key_units);
    source.jitter_us = 30_000;
    channel.play(&mut source, 15_000_000);
    channel
}

#[test]
fn a_decoder_of_the_level_takes_it() {
    for (level, rate, bits_per_second, key_units) in [
        (H264_13, 2_000_000, 500_000, 12),
        (H264_13, 20_000_000, 600_000, 10),
        (H264_21, 8_000_000, 2_500_000, 14),
        (H264_30, 2_000_000, 1_200_000, 8),
        (H264_30, 4_000_000, 2_800_000, 10),
        (H264_30, 8_000_000, 5_500_000, 12),
        (H264_30, 20_000_000, 8_000_000, 14),
        (H264_31, 2_000_000, 1_300_000, 8),
        (H264_31, 4_000_000, 2_700_000, 10),
        (H264_31, 8_000_000, 5_600_000, 12),
        (H264_40, 2_000_000, 1_200_000, 8),
        (H264_40, 4_000_000, 2_600_000, 10),
        (H264_40, 8_000_000, 5_700_000, 10),
        (HEVC_30, 8_000_000, 4_000_000, 10),
        (HEVC_40, 2_000_000, 1_200_000, 8),
        (HEVC_40, 4_000_000, 2_800_000, 10),
        (HEVC_40, 8_000_000, 5_500_000, 12),
        (HEVC_40, 20_000_000, 9_000_000, 14),
    ] {
        let what = format!("{} at {bits_per_second} of {rate}", level.name);
        let channel = channel_of(rate, &level, bits_per_second, key_units);
        let verdict = decode(&channel.out, rate as i64, &level);
        assert!(
            verdict.transport_overflows == 0
                && verdict.multiplex_overflows == 0
                && verdict.elementary_overflows == 0
                && verdict.underflows == 0,
            "{what}: {verdict:?}"
        );
        // A quarter of a second of it waits there, or the model has seen nothing.
        assert!(verdict.units > 330 && verdict.held_max > bits_per_second as i64 / 32, "{what}: {verdict:?}");
        assert_eq!((channel.dropped(), channel.mux.tally().buffer_exceeded), (0, 0), "{what}");
        channel.read();
    }
}

/// Its source says a level that it does not keep to: it is sent whole all the same, and what exceeds is counted.
#[test]
fn more_than_the_level_is_sent_and_counted() {
    for (level, rate, bits_per_second) in
        [(H264_13, 4_000_000, 3_000_000), (H264_13, 8_000_000, 1_200_000), (H264_21, 8_000_000, 6_500_000)]
    {
        let what = format!("{} at {bits_per_second} of {rate}", level.name);
        let channel = channel_of(rate, &level, bits_per_second, 6);
        let tally = channel.mux.tally();
        assert_eq!(channel.dropped(), 0, "{what}: {tally:?}");
        assert!(tally.buffer_exceeded > 50 && tally.buffer_exceeded <= 15 * 25, "{what}: {tally:?}");
        let verdict = decode(&channel.out, rate as i64, &level);
        assert!(verdict.transport_overflows > 0, "{what}: {verdict:?}");
        channel.read();
    }
}
