//! AV1: temporal units and their records, whole and in frames.

use super::*;
use crate::media::Packet as Tagged;
use crate::wire::hex;
use crate::wire::ts::write::descriptor::{format, registration};

/// SVT-AV1 of ffmpeg 9: the record, whose unit behind four bytes is the sequence header.
const RECORD: &str = "81000d00 0a0b0200000521e7f66017c012";
pub(super) const DELIMITER: &[u8] = &[0x12, 0];
/// A key frame that is shown; one that is not; an inter frame; one that shows what was decoded before.
pub(super) const KEY: &[u8] = &[0x32, 3, 0x10, 0xAA, 0xBB];
const HIDDEN: &[u8] = &[0x32, 2, 0x20, 0xCC];
pub(super) const INTER: &[u8] = &[0x32, 3, 0x30, 0, 0xDD];
const EXISTING: &[u8] = &[0x1A, 1, 0x80];

pub(super) fn sequence() -> Vec<u8> {
    hex(RECORD)[4..].to_vec()
}

/// Units behind start codes; nothing here has to be kept from looking like one.
pub(super) fn coded(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 1], *unit].concat()).collect()
}

pub(super) fn bench() -> Bench {
    let mut bench = Bench::of(Options { av1: true, ..Options::default() });
    bench.tables(&[(1, MAP)], 0, &[av1()]);
    assert!(matches!(bench.outputs().as_slice(), [Output::Event(Event::Program { carried: 1, .. })]));
    bench
}

/// Decoding times of the frames that came out.
fn dts_ms(outputs: &[Output]) -> Vec<u32> {
    let frame = |output: &Output| match output {
        Output::Frame(_, frame) => Some(frame.dts_ms),
        Output::Event(_) => None,
    };
    outputs.iter().filter_map(frame).collect()
}

pub(super) fn av1() -> Component {
    Component { stream_type: 6, pid: PICTURES, descriptors: registration(format::AV1).to_vec() }
}

#[test]
fn temporal_units_lose_their_delimiters_and_get_a_record() {
    let mut bench = bench();
    bench.pes(PICTURES, 90_000, 90_000, &coded(&[DELIMITER, &sequence(), KEY]));
    bench.pes(PICTURES, 93_600, 93_600, &coded(&[DELIMITER, INTER]));
    // As earlier drafts have it: plain units.
    bench.pes(PICTURES, 97_200, 97_200, &[DELIMITER, INTER].concat());
    let outputs = bench.outputs();
    let expected = [
        (Tagged::Config, hex(RECORD)),
        (Tagged::Frames, [&sequence(), KEY].concat()),
        (Tagged::Frames, INTER.to_vec()),
        (Tagged::Frames, INTER.to_vec()),
    ];
    assert_eq!(payloads(&outputs), expected);
    let tag = |at: usize| match &outputs[at] {
        Output::Frame(role, frame) => (*role, frame.dts_ms, tag::inspect(frame.kind, &frame.body).unwrap()),
        Output::Event(event) => panic!("{event:?}"),
    };
    assert!(matches!(tag(1), (Role::Key, 1000, Tag { codec: Codec::Av1, keyframe: true, .. })));
    assert!(matches!(tag(2), (Role::Picture, 1040, Tag { codec: Codec::Av1, keyframe: false, .. })));
    assert_eq!(bench.demux.configs().count(), 1);
}

/// A packet may hold one frame only. What is not shown belongs to what is shown next, whether or not there are delimiters.
#[test]
fn frames_become_temporal_units() {
    for delimiters in [true, false] {
        let mut bench = bench();
        let first = |units: &[&[u8]]| coded(&[&[DELIMITER][..], units].concat()[usize::from(!delimiters)..]);
        bench.pes(PICTURES, 0, 0, &first(&[&sequence(), KEY]));
        bench.pes(PICTURES, 3599, 3599, &first(&[HIDDEN]));
        bench.pes(PICTURES, 3600, 3600, &coded(&[INTER]));
        bench.pes(PICTURES, 7200, 7200, &first(&[EXISTING]));
        let times: Vec<_> = bench.times().into_iter().map(|(role, ms, _)| (role, ms)).collect();
        let expected = [(Role::Config, 0), (Role::Key, 0), (Role::Picture, 40), (Role::Picture, 80)];
        assert_eq!(times, expected, "{delimiters}");
        // Two temporal units in one packet, each with its time: a distance of pictures apart, whatever comes between.
        bench.pes(PICTURES, 10_710, 10_710, &first(&[HIDDEN]));
        bench.pes(PICTURES, 10_800, 10_800, &coded(&[INTER, DELIMITER, HIDDEN, INTER, DELIMITER, INTER]));
        let outputs = bench.outputs();
        let bodies: Vec<Vec<u8>> = payloads(&outputs).into_iter().map(|frame| frame.1).collect();
        assert_eq!(
            bodies,
            [[HIDDEN, INTER].concat(), [HIDDEN, INTER].concat(), INTER.to_vec()],
            "{delimiters}"
        );
        assert_eq!(dts_ms(&outputs), [120, 160, 200], "{delimiters}");
        assert_eq!(bench.demux.tally().malformed, 0);
    }
}

#[test]
fn nothing_goes_on_before_a_key_frame_with_its_header() {
    let mut bench = bench();
    for (n, units) in [
        (0, &[DELIMITER, INTER][..]),
        (1, &[DELIMITER, KEY]),
        (2, &[DELIMITER, &sequence(), HIDDEN, INTER]),
        (3, &[DELIMITER, &sequence(), EXISTING]),
        (4, &[DELIMITER, &sequence(), KEY]),
        (5, &[DELIMITER, INTER]),
        // The same header again is no news, and without it no place to begin.
        (6, &[DELIMITER, &sequence(), KEY]),
        (7, &[DELIMITER, KEY]),
    ] {
        bench.pes(PICTURES, n * 3600, n * 3600, &coded(units));
    }
    let expected = [
        (Role::Config, 160, 0),
        (Role::Key, 160, 0),
        (Role::Picture, 200, 0),
        (Role::Key, 240, 0),
        (Role::Picture, 280, 0),
    ];
    assert_eq!(bench.times(), expected);
    assert_eq!(bench.demux.tally().before_keyframe, 4);
    // Another size is another record.
    let mut other = sequence();
    other[6] = 0x22;
    bench.pes(PICTURES, 36_000, 36_000, &coded(&[DELIMITER, &other, KEY]));
    assert_eq!(bench.times(), [(Role::Config, 400, 0), (Role::Key, 400, 0)]);
}

#[test]
fn what_is_broken_is_left_out() {
    let mut bench = bench();
    bench.pes(PICTURES, 0, 0, &coded(&[DELIMITER, &sequence(), KEY]));
    bench.times();
    for (n, payload) in [
        (1, coded(&[DELIMITER, HIDDEN, &[0x32, 9, 0x30]])),
        (2, coded(&[DELIMITER, HIDDEN, DELIMITER, INTER])),
        (3, coded(&[DELIMITER, &[0x42, 1, 7], INTER])),
        (4, coded(&[&[INTER, DELIMITER].concat()[..]])),
        (5, coded(&[DELIMITER, INTER])),
    ] {
        bench.pes(PICTURES, n * 3600, n * 3600, &payload);
    }
    assert_eq!(dts_ms(&bench.outputs()), [80, 120], "a hidden frame and a tile list without the rest");
    let tally = *bench.demux.tally();
    assert_eq!((tally.malformed, tally.before_keyframe), (4, 1), "what came in the fourth nobody knows");
    // Without end, and without a frame that is shown.
    for n in 0..PICTURE_BYTES_MAX as u64 / 60_000 + 2 {
        let hidden = [&[0x30, 0x20][..], &[0x55; 60_000]].concat();
        bench.pes(PICTURES, n, n, &coded(&[&hidden]));
    }
    assert_eq!(bench.demux.tally().too_large, 1);
    assert!(bench.demux.heap_bytes() < 1 << 20, "{}", bench.demux.heap_bytes());
}

/// What refers to a picture that was dropped, or goes by a sequence header that was, is of no use before the next keyframe.
#[test]
fn behind_what_was_dropped_nothing_goes_on_that_needs_it() {
    let mut other = sequence();
    other[6] = 0x22;
    let long = [&[0x0A, 0x81, 8][..], &sequence()[2..], &[0; 1025 - 11]].concat();
    let many = [DELIMITER, INTER].repeat(70);
    let (broken, sequence) = (&[0x32, 9, 0x30][..], sequence());
    for (what, payload, goes_on) in [
        ("a picture whose head is known", coded(&[DELIMITER, HIDDEN, broken]), true),
        ("one whose head is not", coded(&[DELIMITER, broken]), false),
        ("a keyframe", coded(&[DELIMITER, KEY, broken]), false),
        ("another sequence header", coded(&[DELIMITER, &other, broken]), false),
        ("the same, and no picture that is seen", coded(&[DELIMITER, &other, HIDDEN, DELIMITER]), false),
        ("a sequence header that is none", coded(&[DELIMITER, &[0x0A, 1, 0], KEY]), false),
        ("one that is too long", coded(&[DELIMITER, &long, KEY]), false),
        ("nothing", Vec::new(), false),
        ("zeros", vec![0; 50], false),
        ("too many", coded(&many), false),
    ] {
        let mut bench = bench();
        bench.pes(PICTURES, 0, 0, &coded(&[DELIMITER, &sequence, KEY]));
        bench.pes(PICTURES, 3600, 3600, &payload);
        bench.outputs();
        bench.pes(PICTURES, 300_000, 300_000, &coded(&[DELIMITER, INTER]));
        assert_eq!(bench.times().len(), usize::from(goes_on), "{what}");
        let tally = *bench.demux.tally();
        assert_eq!(tally.malformed + tally.too_large, 1, "{what}");
        bench.pes(PICTURES, 303_600, 303_600, &coded(&[DELIMITER, &sequence, KEY]));
        assert_eq!(bench.times(), [(Role::Key, 3373, 0)], "{what}");
    }
}

/// A frame in each packet: what is left of a temporal unit that lost its first is not passed on, where delimiters tell.
#[test]
fn a_temporal_unit_without_its_begin_is_left_out() {
    for (delimiters, expected) in [(true, &[80][..]), (false, &[40, 80])] {
        let mut bench = bench();
        let long = [&[0x30, 0x20][..], &[0x55; 400]].concat();
        let first = |units: &[&[u8]]| coded(&[&[DELIMITER][..], units].concat()[usize::from(!delimiters)..]);
        bench.pes(PICTURES, 0, 0, &first(&[&sequence(), KEY]));
        bench.outputs();
        assert_eq!(bench.sent, 3);
        // The second of the three packets of a frame that is not shown.
        bench.spoil = |n, packet| (n != 5).then_some(packet);
        bench.pes(PICTURES, 3599, 3599, &first(&[&long]));
        assert_eq!((bench.sent, bench.demux.tally().damaged), (6, 1));
        bench.pes(PICTURES, 3600, 3600, &coded(&[INTER]));
        bench.pes(PICTURES, 7200, 7200, &first(&[HIDDEN, INTER]));
        assert_eq!(dts_ms(&bench.outputs()), expected, "{delimiters}");
        assert_eq!(bench.demux.tally().before_keyframe, 0);
    }
}

#[test]
fn it_is_read_only_if_it_is_asked_for() {
    let mut bench = Bench::new(0);
    bench.tables(&[(1, MAP)], 0, &[av1(), component(0x0F, SOUND)]);
    let told = format!("{:?}", bench.outputs());
    assert!(told.contains("carried: 1"), "{told}");
    assert_eq!(bench.demux.left_out(), [(PICTURES, "AV1 (av1 = true in [headend] reads it)")]);
}
