//! What anybody may send: bounded, and nothing panics.

use super::*;
use crate::wire::ts::write::descriptor::{format, registration};
use proptest::prelude::*;

/// Attack T3: a unit that never ends.
#[test]
fn memory_is_bounded() {
    let mut bench = Bench::ready();
    bench.key(0);
    let endless = |pid: u16| {
        let [high, low] = pid.to_be_bytes();
        move |n: usize| {
            let mut packet = [0x55; 188];
            packet[..4].copy_from_slice(&[
                0x47,
                high | if n == 0 { 0x40 } else { 0 },
                low,
                0x10 | ((n + 1) & 15) as u8,
            ]);
            if n == 0 {
                packet[4..13].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0]);
            }
            packet
        }
    };
    let packet = endless(PICTURES);
    for n in 0..2 * PICTURE_BYTES_MAX / 184 {
        bench.demux.handle_datagram(bench.now(), &packet(n));
        assert!(bench.demux.heap_bytes() <= 2 * PICTURE_BYTES_MAX + (2 << 20));
    }
    assert_eq!(bench.demux.tally().too_large, 1);
    assert!(bench.demux.heap_bytes() < 1 << 20, "given back");
    // The next keyframe is taken as ever.
    bench.times();
    bench.key(90_000);
    assert_eq!(bench.times(), [(Role::Key, 1000, 0)]);
}

/// The same of AV1, whose temporal units are put together from packets, here from some nearly as large as they may be.
#[test]
fn memory_is_bounded_with_temporal_units() {
    let mut bench = Bench::of(Options { av1: true, ..Options::default() });
    bench.tables(&[(1, MAP)], 0, &[av1::av1()]);
    bench.pes(PICTURES, 0, 0, &av1::coded(&[av1::DELIMITER, &av1::sequence(), av1::KEY]));
    bench.outputs();
    let mut most = 0;
    let large = |head: u8| [&[0x30, head][..], &vec![0x55; 7 << 20]].concat();
    let (hidden, key) = (large(0x20), large(0x10));
    for (n, units, pictures, too_large) in [
        (1, vec![&hidden[..]], 0, 0),
        // Behind the first it does not fit; the next has its room again.
        (2, vec![&hidden], 0, 1),
        (3, vec![&hidden], 0, 1),
        (4, vec![av1::DELIMITER, &av1::sequence(), &key], 1, 1),
        (5, vec![av1::DELIMITER, av1::INTER], 1, 1),
    ] {
        // Without a length: it is too long for one.
        let head = [0, 0, 1, 0xBD, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, n << 1 | 1, 1];
        bench.unit(PICTURES, false, &[&head[..], &av1::coded(&units)].concat());
        most = most.max(bench.demux.heap_bytes());
        bench.demux.flush(bench.now());
        most = most.max(bench.demux.heap_bytes());
        assert_eq!((bench.times().len(), bench.demux.tally().too_large), (pictures, too_large), "{n}");
    }
    assert!((7 << 20..=4 * PICTURE_BYTES_MAX).contains(&most), "{most}");
}

/// A packet of nothing but the smallest pictures: what comes of it is bounded.
#[test]
fn pictures_of_one_packet_are_bounded() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.times();
    let many = annex_b(&[INTER]).repeat(7000);
    let before = bench.demux.heap_bytes();
    bench.pes(PICTURES, 3600, 3600, &many);
    assert!(bench.demux.heap_bytes() >= before + 64 * size_of::<Output>(), "what waits counts");
    assert_eq!((bench.times().len(), bench.demux.tally().too_large), (64, 1));
    bench.pes(PICTURES, 7200, 7200, &annex_b(&[INTER]));
    assert_eq!(bench.times().len(), 1, "and the next one goes on");
}

proptest! {
    /// Packets whose PIDs are read and whose insides are anything.
    #[test]
    fn nothing_panics(
        packets in proptest::collection::vec(
            (0usize..3, any::<bool>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 184)), 0..60
        ),
        kind in prop::sample::select(vec![(0x1Bu8, 0x0Fu8), (0x24, 0x11), (0x1B, 0x03), (0x24, 0x81), (6, 0x87)]),
    ) {
        let mut bench = Bench::of(Options { av1: true, ..Options::default() });
        let descriptors = if kind.0 == 6 { registration(format::AV1).to_vec() } else { Vec::new() };
        let pictures = Component { stream_type: kind.0, pid: PICTURES, descriptors };
        bench.tables(&[(1, MAP)], 0, &[pictures, component(kind.1, SOUND)]);
        for (which, start, flags, payload) in packets {
            let [high, low] = [PICTURES, SOUND, 0][which].to_be_bytes();
            let mut packet = [0; 188];
            packet[..4].copy_from_slice(&[0x47, high | if start { 0x40 } else { 0 }, low, flags & 0x3F]);
            packet[4..].copy_from_slice(&payload);
            if start && which < 2 {
                packet[4..13].copy_from_slice(&[0, 0, 1, 0xE0, 0, flags, 0x80, flags, flags >> 4]);
            }
            bench.demux.handle_datagram(bench.now(), &packet);
            for output in bench.outputs() {
                if let Output::Frame(_, frame) = output {
                    prop_assert!(tag::inspect(frame.kind, &frame.body).is_ok());
                }
            }
        }
        bench.demux.interrupt(bench.now());
        prop_assert!(bench.demux.heap_bytes() <= 2 * PICTURE_BYTES_MAX + (2 << 20));
    }
}
