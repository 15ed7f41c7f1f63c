//! What is lost, comes again, or pauses.

use super::*;

/// Whatever the pictures are coded with, the same losses leave the same.
const CODECS: [Codec; 2] = [Codec::H264, Codec::Av1];

/// As [`Bench::ready`].
fn ready(codec: Codec) -> Bench {
    if codec == Codec::H264 { Bench::ready() } else { av1::bench() }
}

/// A keyframe with its sets or header, and `bytes` more; in one packet without those.
fn key(codec: Codec, bytes: usize) -> Vec<u8> {
    let more = vec![0x55; bytes];
    match codec {
        Codec::H264 => annex_b(&[&[9, 0xF0], SPS, PPS, &[IDR, &more].concat()]),
        _ => av1::coded(&[av1::DELIMITER, &av1::sequence(), &[&[0x30, 0x10][..], &more].concat()]),
    }
}

/// A picture that refers to others.
fn inter(codec: Codec, bytes: usize) -> Vec<u8> {
    let more = vec![0x55; bytes];
    match codec {
        Codec::H264 => annex_b(&[&[9, 0xF0], &[INTER, &more].concat()]),
        _ => av1::coded(&[av1::DELIMITER, &[&[0x30, 0x30][..], &more].concat()]),
    }
}

/// A lost packet takes its unit with it: pictures go on behind one that others may refer to, not behind a keyframe.
#[test]
fn a_lost_packet_is_a_lost_frame() {
    for codec in CODECS {
        let mut bench = ready(codec);
        bench.pes(PICTURES, 0, 0, &key(codec, 0));
        bench.pes(PICTURES, 3600, 3600, &inter(codec, 400));
        // The middle one of the next picture's three.
        assert_eq!(bench.sent, 6);
        bench.spoil = |n, packet| (n != 8).then_some(packet);
        for n in 2..5 {
            bench.pes(PICTURES, 3600 * n, 3600 * n, &inter(codec, 400));
        }
        let times = bench.times();
        let at: Vec<u32> = times.iter().map(|time| time.1).collect();
        assert_eq!(at, [0, 0, 40, 120, 160], "{codec} {times:?}");
        let tally = *bench.demux.tally();
        assert_eq!((tally.lost, tally.damaged, tally.before_keyframe), (1, 1, 0), "{codec} {tally:?}");
    }
}

#[test]
fn behind_a_lost_keyframe_nothing_goes_on() {
    for codec in CODECS {
        let mut bench = ready(codec);
        bench.pes(PICTURES, 0, 0, &key(codec, 0));
        bench.times();
        let long = key(codec, 600);
        let header = PesHeader { stream_id: 0xE0, pts: 3600, dts: 3600 }.encode(long.len()).unwrap();
        bench.spoil = |n, packet| (n != 5).then_some(packet);
        assert_eq!(bench.sent, 3);
        bench.unit(PICTURES, true, &[header.as_slice(), &long].concat());
        for n in 2..4 {
            bench.pes(PICTURES, 3600 * n, 3600 * n, &inter(codec, 0));
        }
        bench.pes(PICTURES, 3600 * 4, 3600 * 4, &key(codec, 0));
        assert_eq!(bench.times(), [(Role::Key, 160, 0)], "{codec}");
        assert_eq!(bench.demux.tally().before_keyframe, 2, "{codec}");
    }
}

/// Who loses the first packet of a unit cannot know what it was. Nothing goes on before a keyframe.
#[test]
fn a_unit_without_its_begin_may_have_been_a_keyframe() {
    for codec in CODECS {
        let mut bench = ready(codec);
        bench.pes(PICTURES, 0, 0, &key(codec, 0));
        bench.times();
        assert_eq!(bench.sent, 3);
        // The first of three, and one of the next unit, which changes nothing.
        bench.spoil = |n, packet| (n != 4 && n != 8).then_some(packet);
        bench.pes(PICTURES, 3600, 3600, &key(codec, 400));
        assert_eq!((bench.sent, bench.demux.tally().damaged), (6, 1), "{codec}");
        bench.pes(PICTURES, 7200, 7200, &inter(codec, 400));
        bench.pes(PICTURES, 10_800, 10_800, &inter(codec, 0));
        bench.pes(PICTURES, 14_400, 14_400, &key(codec, 0));
        bench.pes(PICTURES, 18_000, 18_000, &inter(codec, 0));
        assert_eq!(bench.times(), [(Role::Key, 160, 0), (Role::Picture, 200, 0)], "{codec}");
        assert_eq!((bench.demux.tally().damaged, bench.demux.tally().before_keyframe), (2, 1), "{codec}");
    }
}

/// Behind a pause without loss all is well; behind one with loss a keyframe may be missing.
#[test]
fn a_pause_is_doubted_if_it_lost_something() {
    for codec in CODECS {
        let mut bench = ready(codec);
        bench.pes(PICTURES, 0, 0, &key(codec, 0));
        bench.demux.doubt();
        bench.pes(PICTURES, 3600, 3600, &inter(codec, 0));
        assert_eq!(bench.times().len(), 3, "{codec}: nothing was lost");
        bench.demux.doubt();
        bench.spoil = |n, packet| (n != 5).then_some(packet);
        bench.pes(PICTURES, 7200, 7200, &key(codec, 0));
        bench.pes(PICTURES, 10_800, 10_800, &inter(codec, 0));
        bench.pes(PICTURES, 14_400, 14_400, &key(codec, 0));
        assert_eq!(bench.times(), [(Role::Key, 160, 0)], "{codec}");
    }
}

#[test]
fn a_flush_ends_what_waits_and_an_interruption_asks_for_a_keyframe() {
    let mut bench = Bench::ready();
    bench.key(0);
    let open =
        [&[0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0x1C, 0x21][..], &annex_b(&[INTER])].concat();
    bench.unit(PICTURES, false, &open);
    assert_eq!(bench.times().len(), 2);
    bench.demux.flush(bench.now());
    assert_eq!(bench.times(), [(Role::Picture, 40, 0)]);
    bench.pes(PICTURES, 5400, 5400, &annex_b(&[INTER]));
    assert_eq!(bench.times(), [(Role::Picture, 60, 0)]);
    bench.demux.interrupt(bench.now());
    bench.pes(PICTURES, 7200, 7200, &annex_b(&[INTER]));
    bench.key(10_800);
    assert_eq!(bench.times(), [(Role::Key, 120, 0)]);
    let told: Vec<Kind> = bench.demux.configs().map(|(kind, _)| kind).collect();
    assert_eq!(told, [Kind::Video]);
    let (_, body) = bench.demux.configs().next().unwrap();
    assert_eq!(tag::inspect(Kind::Video, &body).unwrap().codec, Codec::H264);
}

/// The same counter with other bytes is sixteen packets later, and not the same packet again.
#[test]
fn packets_that_come_again_are_the_same() {
    let mut bench = Bench::ready();
    bench.key(0);
    let before = bench.counters.clone();
    bench.pes(PICTURES, 3600, 3600, &annex_b(&[INTER]));
    bench.counters = before;
    bench.pes(PICTURES, 3600, 3600, &annex_b(&[INTER]));
    assert_eq!((bench.times().len(), bench.demux.tally().repeated, bench.demux.tally().lost), (3, 1, 0));
    let after = bench.counters.clone();
    bench.pes(PICTURES, 7200, 7200, &annex_b(&[INTER]));
    bench.counters = after;
    bench.pes(PICTURES, 10_800, 10_800, &annex_b(&[INTER]));
    assert_eq!((bench.times().len(), bench.demux.tally().repeated, bench.demux.tally().lost), (2, 1, 1));
}
