//! The stream against a reader that checks every promise of the module's description.

use super::*;
use crate::fanout::flush::Mode;
use crate::fanout::log::Format;
use crate::fanout::packager;
use crate::fanout::view::{Step, View};
use crate::media::tag;

const MS: fn(u64) -> Mono = |ms| Mono::from_micros(ms * 1000);
const FLV: LogKey = LogKey { format: Format::Flv, variant: Variant::FULL };
const RTMP: LogKey = LogKey { format: Format::Rtmp, variant: Variant::FULL };
const SOUND: LogKey = LogKey { format: Format::Flv, variant: Variant { video: false, ..Variant::FULL } };

const AVC_HEADER: &[u8] =
    &[0x17, 0, 0, 0, 0, 1, 0x42, 0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0, 0x1e, 1, 0, 2, 0x68, 0xce];
const AAC_HEADER: &[u8] = &[0xaf, 0, 0x11, 0x90];

fn stream() -> Stream {
    let rule =
        Rule { mode: Mode::Frame, flush: Duration::from_millis(40), min_gap: Duration::from_millis(12) };
    let keep = Retention {
        gop_bytes_max: 8 << 20,
        gop_age_max: Duration::from_secs(20),
        lag_max: Duration::from_secs(3),
    };
    Stream::new(StreamName::new("live", "a"), rule, keep)
}

fn frame(kind: Kind, ms: u64, body: &[u8]) -> Frame {
    let at = MS(ms);
    Frame { kind, dts_ms: ms as u32, body: body.to_vec().into(), first_byte_at: at, complete_at: at }
}

fn key(ms: u64) -> Frame {
    frame(Kind::Video, ms, &[0x17, 1, 0, 0, 0, ms as u8, 0xaa])
}

fn delta(ms: u64) -> Frame {
    frame(Kind::Video, ms, &[0x27, 1, 0, 0, 0, ms as u8])
}

fn sound(ms: u64) -> Frame {
    frame(Kind::Audio, ms, &[0xaf, 1, ms as u8])
}

fn append(stream: &mut Stream, now: Mono, frame: Frame) -> Appended {
    let tag = tag::inspect(frame.kind, &frame.body).ok();
    stream.append(now, frame, tag)
}

/// Publishes headers and `gops` GOPs of 5 frames with sound, 40 ms apart from `from` on.
fn publish(stream: &mut Stream, from: u64, gops: u64) {
    append(stream, MS(from), frame(Kind::Video, from, AVC_HEADER));
    append(stream, MS(from), frame(Kind::Audio, from, AAC_HEADER));
    for i in 0..gops * 5 {
        let ms = from + i * 40;
        append(stream, MS(ms), if i % 5 == 0 { key(ms) } else { delta(ms) });
        append(stream, MS(ms), sound(ms));
    }
}

fn open(stream: &mut Stream, now: Mono, key: LogKey, id: u32) -> View {
    let snapshot = stream.subscribe(now, key, 0, || Some(LogId(id))).unwrap();
    View::new(snapshot)
}

fn deliver(stream: &mut Stream, now: Mono, id: u32, view: &mut View) {
    while stream.catch_up(MS(0), || MS(1)) {}
    for log in stream.take_news() {
        if log.id == LogId(id) {
            log.news.into_iter().for_each(|n| view.feed(n));
        }
    }
    stream.flush(now, |_, _| ());
    view.refresh();
}

/// Reads everything from the join point on, as (kind, stream time).
fn read(view: &mut View, format: Format) -> Vec<(Kind, u32)> {
    let Some(join) = view.join().cloned() else { return Vec::new() };
    let mut cursor = view.cursor_at(join.pos).unwrap();
    let mut frames = Vec::new();
    while let Step::Send(run) = view.decide(
        cursor,
        crate::fanout::log::Pos { entry: cursor.pos.entry + 1, ..view.normalise(cursor.pos) }
            .min(view.limit()),
        u64::MAX,
    ) {
        let (kind, dts_ms, _) =
            packager::unpack(format, &bytes::Bytes::copy_from_slice(view.bytes(&run).unwrap())).unwrap();
        frames.push((kind, dts_ms));
        cursor = crate::fanout::view::Cursor { pos: run.next, offset: run.to };
    }
    frames
}

#[test]
fn a_reader_starts_at_the_newest_keyframe_and_misses_nothing() {
    for format in [FLV, RTMP] {
        let mut stream = stream();
        publish(&mut stream, 0, 3);
        let mut view = open(&mut stream, MS(600), format, 7);
        deliver(&mut stream, MS(600), 7, &mut view);
        let frames = read(&mut view, format.format);
        assert_eq!(frames.first(), Some(&(Kind::Video, 400)));
        assert_eq!(frames.len(), 10, "{frames:?}");
    }
}

#[test]
fn a_second_format_is_rebuilt_from_the_first() {
    let mut stream = stream();
    publish(&mut stream, 0, 2);
    let mut flv = open(&mut stream, MS(400), FLV, 1);
    deliver(&mut stream, MS(400), 1, &mut flv);
    append(&mut stream, MS(400), delta(400));
    let mut rtmp = open(&mut stream, MS(440), RTMP, 2);
    deliver(&mut stream, MS(440), 2, &mut rtmp);
    assert_eq!(read(&mut rtmp, Format::Rtmp).len(), 11);
    let bytes = |stream: &mut Stream| stream.take_copied_bytes();
    bytes(&mut stream);
    append(&mut stream, MS(480), delta(480));
    let (flv_entry, rtmp_entry) = (11 + 6 + 4, 12 + 6);
    assert_eq!(bytes(&mut stream), flv_entry + rtmp_entry, "one copy for each open log");
}

#[test]
fn what_lies_in_pieces_is_put_together_when_its_turn_comes_and_counted() {
    const LARGE: usize = 200_000;
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    let mut rtmp = open(&mut stream, MS(200), RTMP, 1);
    deliver(&mut stream, MS(200), 1, &mut rtmp);
    append(&mut stream, MS(200), key(200));
    let mut body = vec![7; LARGE];
    body[..2].copy_from_slice(&[0x27, 1]);
    append(&mut stream, MS(240), frame(Kind::Video, 240, &body));
    stream.take_copied_bytes();
    let mut flv = open(&mut stream, MS(240), FLV, 2);
    assert_eq!(stream.take_copied_bytes(), 11 + 7 + 4, "the first entry only");
    deliver(&mut stream, MS(240), 2, &mut flv);
    assert_eq!(
        stream.take_copied_bytes(),
        (11 + LARGE + 4 + LARGE) as u64,
        "put together, then into the log"
    );
    assert_eq!(read(&mut flv, Format::Flv), [(Kind::Video, 200), (Kind::Video, 240)]);
}

#[test]
fn a_closed_log_leaves_the_gop_behind() {
    let mut stream = stream();
    publish(&mut stream, 0, 2);
    let mut view = open(&mut stream, MS(400), FLV, 1);
    deliver(&mut stream, MS(400), 1, &mut view);
    stream.unsubscribe(MS(400), LogId(1), 0);
    let mut freed = Vec::new();
    assert_eq!(stream.close_idle(MS(401), |id| freed.push(id)), MS(5400));
    stream.close_idle(MS(5400), |id| freed.push(id));
    assert_eq!((freed, stream.log_ids().count()), (vec![LogId(1)], 0));
    let mut again = open(&mut stream, MS(5400), FLV, 3);
    deliver(&mut stream, MS(5400), 3, &mut again);
    assert_eq!(read(&mut again, Format::Flv).len(), 10);
}

#[test]
fn nothing_before_the_first_keyframe_of_a_publisher_gets_through() {
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    let mut view = open(&mut stream, MS(200), FLV, 1);
    deliver(&mut stream, MS(200), 1, &mut view);
    stream.republish(None);
    let dropped = Appended::Dropped(Dropped::BeforeKeyframe);
    assert_eq!(append(&mut stream, MS(5000), delta(9000)), dropped);
    assert_eq!(append(&mut stream, MS(5000), sound(9000)), dropped);
    assert!(matches!(append(&mut stream, MS(5010), key(9010)), Appended::Kept { join: true, .. }));
    deliver(&mut stream, MS(5010), 1, &mut view);
    // The viewers' clock went on by the time that passed.
    assert_eq!(read(&mut view, Format::Flv), [(Kind::Video, 160 + 4850)]);
}

#[test]
fn sound_alone_joins_anywhere_once_it_is_known_to_be_alone() {
    let mut stream = stream();
    append(&mut stream, MS(0), frame(Kind::Audio, 0, AAC_HEADER));
    assert_eq!(append(&mut stream, MS(0), sound(0)), Appended::Dropped(Dropped::BeforeKeyframe));
    assert!(!stream.settled(MS(999)));
    for ms in [1000, 1020, 1040] {
        assert!(matches!(append(&mut stream, MS(ms), sound(ms)), Appended::Kept { join: true, .. }));
    }
    let mut view = open(&mut stream, MS(1040), FLV, 1);
    deliver(&mut stream, MS(1040), 1, &mut view);
    assert_eq!(read(&mut view, Format::Flv), [(Kind::Audio, 40)]);
}

#[test]
fn a_variant_carries_its_tracks_only_and_joins_at_any_sound() {
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    let mut view = open(&mut stream, MS(160), SOUND, 1);
    deliver(&mut stream, MS(160), 1, &mut view);
    assert_eq!(read(&mut view, Format::Flv), [(Kind::Audio, 160)]);
    // The full GOP is still there for the next format.
    let mut full = open(&mut stream, MS(160), RTMP, 2);
    deliver(&mut stream, MS(160), 2, &mut full);
    assert_eq!(read(&mut full, Format::Rtmp).len(), 10);
}

#[test]
fn a_ninth_variant_is_refused() {
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    let variants = (0..8u32).map(|bits| Variant {
        audio: bits & 1 != 0,
        video: bits & 2 != 0,
        strip: bits & 4 != 0,
        ..Variant::FULL
    });
    for (id, variant) in variants.enumerate() {
        assert!(stream.subscribe(MS(0), LogKey { variant, ..FLV }, 0, || Some(LogId(id as u32))).is_ok());
    }
    assert!(stream.subscribe(MS(0), FLV, 0, || None).is_ok(), "an open one is shared");
    assert_eq!(stream.log_ids().count(), LOGS_PER_FORMAT_MAX);
}

#[test]
fn an_equal_header_is_dropped_and_a_new_one_kept() {
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    assert_eq!(
        append(&mut stream, MS(200), frame(Kind::Video, 200, AVC_HEADER)),
        Appended::Dropped(Dropped::Repeat)
    );
    let mut other = AVC_HEADER.to_vec();
    other[6] = 0x4d;
    let epoch = stream.config().epoch;
    assert!(matches!(
        append(&mut stream, MS(200), frame(Kind::Video, 200, &other)),
        Appended::Kept { config: true, .. }
    ));
    assert!(stream.config().epoch != epoch);
}

#[test]
fn a_muted_camera_does_not_keep_the_sound_from_its_listeners() {
    let mut stream = stream();
    append(&mut stream, MS(0), frame(Kind::Video, 0, AVC_HEADER));
    append(&mut stream, MS(0), frame(Kind::Audio, 0, AAC_HEADER));
    assert_eq!(append(&mut stream, MS(0), sound(0)), Appended::Dropped(Dropped::BeforeKeyframe));
    assert!(matches!(append(&mut stream, MS(4000), sound(4000)), Appended::Kept { join: true, .. }));
    // The camera comes on in the middle of a GOP: nothing until its keyframe.
    assert_eq!(append(&mut stream, MS(4040), delta(4040)), Appended::Dropped(Dropped::BeforeKeyframe));
    assert!(matches!(append(&mut stream, MS(4080), key(4080)), Appended::Kept { join: true, .. }));
    assert!(matches!(append(&mut stream, MS(4100), sound(4100)), Appended::Kept { join: false, .. }));
    assert!(matches!(append(&mut stream, MS(4120), delta(4120)), Appended::Kept { join: false, .. }));
}

#[test]
fn end_of_sequence_waits_for_the_end() {
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    let mut view = open(&mut stream, MS(160), FLV, 1);
    deliver(&mut stream, MS(160), 1, &mut view);
    let before = read(&mut view, Format::Flv).len();
    append(&mut stream, MS(200), frame(Kind::Video, 200, &[0x17, 2, 0, 0, 0]));
    deliver(&mut stream, MS(200), 1, &mut view);
    assert_eq!(read(&mut view, Format::Flv).len(), before, "the publisher may come back");
    stream.finish();
    deliver(&mut stream, MS(210), 1, &mut view);
    assert_eq!(read(&mut view, Format::Flv).len(), before + 1);
    stream.end();
    deliver(&mut stream, MS(210), 1, &mut view);
    assert!(view.ended());
}

#[test]
fn a_new_header_is_no_join_point() {
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    let mut view = open(&mut stream, MS(160), FLV, 1);
    deliver(&mut stream, MS(160), 1, &mut view);
    let join = view.join().unwrap().pos;
    let mut header = AVC_HEADER.to_vec();
    header[6] = 0x4d;
    append(&mut stream, MS(200), frame(Kind::Video, 200, &header));
    deliver(&mut stream, MS(200), 1, &mut view);
    assert_eq!(view.join().unwrap().pos, join, "its frame type says keyframe, but nothing can start there");
}

#[test]
fn what_a_variant_carries() {
    // Video, its colorInfo, sound, its MultichannelConfig, a script.
    let bodies: [(Kind, &[u8]); 5] = [
        (Kind::Video, &[0x91, b'a', b'v', b'0', b'1', 0]),
        (Kind::Video, &[0xd4, b'a', b'v', b'0', b'1', 0]),
        (Kind::Audio, &[0x91, b'O', b'p', b'u', b's', 0]),
        (Kind::Audio, &[0x94, b'O', b'p', b'u', b's', 1, 2]),
        (Kind::Data, &[2]),
    ];
    let flags = bodies.map(|(kind, body)| flags_of(&tag::inspect(kind, body).unwrap(), false, false));
    for (audio, video, strip, expected) in [
        (true, true, false, [true, true, true, true, true]),
        (true, true, true, [true, false, true, false, true]),
        (false, true, false, [true, true, false, false, true]),
        (true, false, true, [false, false, true, false, true]),
    ] {
        let variant = Variant { audio, video, strip, ..Variant::FULL };
        assert_eq!(flags.map(|f| variant.carries(f)), expected, "{variant:?}");
    }
}

const TS: LogKey = LogKey { format: Format::Ts, variant: Variant::FULL };

/// Entries and packets from the join point on, and where they start.
fn packets(view: &View) -> (u32, usize) {
    let Some(join) = view.join().cloned() else { return (0, 0) };
    let cursor = view.cursor_at(join.pos).unwrap();
    let Step::Send(run) = view.decide(cursor, view.limit(), u64::MAX) else { return (join.dts_ms, 0) };
    let bytes = view.bytes(&run).unwrap();
    assert_eq!((bytes.len() % 188, bytes[0]), (0, 0x47));
    (join.dts_ms, bytes.len() / 188)
}

#[test]
fn a_transport_stream_is_never_what_a_late_format_is_made_of() {
    let mut stream = stream();
    publish(&mut stream, 0, 1);
    // One with NAL units in its pictures.
    let picture = |ms, head: u8, nal: u8| frame(Kind::Video, ms, &[head, 1, 0, 0, 0, 0, 0, 0, 2, nal, 7]);
    for i in 0..5 {
        let ms = 200 + i * 40;
        append(&mut stream, MS(ms), if i == 0 { picture(ms, 0x17, 0x65) } else { picture(ms, 0x27, 0x41) });
        append(&mut stream, MS(ms), sound(ms));
    }
    // Whoever opens first and last, the other finds the whole GOP.
    let mut ts = open(&mut stream, MS(400), TS, 1);
    deliver(&mut stream, MS(400), 1, &mut ts);
    let (start, whole) = packets(&ts);
    assert!(start == 200 && whole >= 3 + 10, "{start} ms, {whole} packets");
    append(&mut stream, MS(400), sound(400));
    let mut flv = open(&mut stream, MS(410), FLV, 2);
    deliver(&mut stream, MS(410), 2, &mut flv);
    assert_eq!(read(&mut flv, Format::Flv).len(), 11, "from the frames that were kept beside the packets");
    // From here on the FLV log holds the GOP, the packets come from it, and it may close.
    append(&mut stream, MS(420), picture(420, 0x27, 0x41));
    stream.unsubscribe(MS(430), LogId(2), 0);
    stream.close_idle(MS(430) + LOG_LINGER, |_| ());
    assert_eq!(stream.log_ids().collect::<Vec<_>>(), [LogId(1)]);
    let mut rtmp = open(&mut stream, MS(440), RTMP, 3);
    deliver(&mut stream, MS(440), 3, &mut rtmp);
    assert_eq!(read(&mut rtmp, Format::Rtmp).len(), 12);
    for id in [1, 3] {
        stream.unsubscribe(MS(450), LogId(id), 0);
    }
    stream.close_idle(MS(450) + LOG_LINGER, |_| ());
    let mut again = open(&mut stream, MS(6000), TS, 4);
    deliver(&mut stream, MS(6000), 4, &mut again);
    let (start, packets) = packets(&again);
    assert!(start == 200 && packets >= whole + 2, "{start} ms, {packets} packets");
}

#[test]
fn a_format_that_carries_nothing_of_a_stream_is_refused() {
    let mut stream = stream();
    let body = |head: &[u8]| [head, b"vp09\x01\0\0\0\0\x0b\x82\x02\x02\0\0\0"].concat();
    append(&mut stream, MS(0), frame(Kind::Video, 0, &body(&[0x90])));
    append(&mut stream, MS(0), frame(Kind::Video, 0, &body(&[0x91])));
    let refused = stream.subscribe(MS(0), TS, 0, || Some(LogId(1))).unwrap_err();
    assert!(matches!(refused, NoLog::Codecs(why) if why.contains("VP9")), "{refused:?}");
    assert_eq!(stream.log_ids().count(), 0);
    assert!(stream.subscribe(MS(0), FLV, 0, || Some(LogId(1))).is_ok());
    assert_eq!(stream.subscribe(MS(0), RTMP, 0, || None).unwrap_err(), NoLog::TooMany);
}

/// A publisher may come back with other codecs; who reads a format that carries none of them must not wait for ever.
#[test]
fn readers_hear_when_a_publisher_comes_back_with_nothing_for_them() {
    let ts = LogKey { format: Format::Ts, variant: Variant::FULL };
    for (key, with_sound, unfit) in [(ts, false, true), (ts, true, false), (FLV, false, false)] {
        let mut stream = stream();
        publish(&mut stream, 0, 3);
        let mut view = open(&mut stream, MS(600), key, 1);
        let mut come_back = |stream: &mut Stream, from: u64, until: u64| {
            for ms in (from..until).step_by(40) {
                append(stream, MS(ms), frame(Kind::Video, ms, b"\x91vp09\x82\x49\x83"));
                if with_sound {
                    append(stream, MS(ms), sound(ms));
                }
            }
            deliver(stream, MS(until), 1, &mut view);
            view.unfit().is_some()
        };
        stream.republish(None);
        append(
            &mut stream,
            MS(1000),
            frame(Kind::Video, 1000, b"\x90vp09\x01\0\0\0\0\x0b\x82\x02\x02\0\0\0"),
        );
        if with_sound {
            append(&mut stream, MS(1000), frame(Kind::Audio, 1000, AAC_HEADER));
        }
        assert!(!come_back(&mut stream, 1000, 2000), "sound may still come");
        assert_eq!(come_back(&mut stream, 2000, 2200), unfit, "{key:?} {with_sound}");
        stream.republish(None);
        append(&mut stream, MS(3000), frame(Kind::Video, 3000, AVC_HEADER));
        for ms in [3000, 3040] {
            append(&mut stream, MS(ms), frame(Kind::Video, ms, &[0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0xaa]));
        }
        assert!(!come_back(&mut stream, 3080, 3080), "something fits again");
    }
}

const PASS: LogKey = LogKey { format: Format::Pass, variant: Variant::FULL };

/// A run of null packets.
fn run(ms: u64) -> crate::media::Run {
    let packets = [&[0x47, 0x1F, 0xFF, 0x10][..], &[0xFF; 184]].concat().repeat(7).into();
    crate::media::Run { packets, first_byte_at: MS(ms), complete_at: MS(ms) }
}

#[test]
fn runs_are_asked_for_while_somebody_reads_them() {
    let demand = Demand::default();
    let mut stream = stream().passing(Some(demand.clone()));
    publish(&mut stream, 0, 1);
    drop(open(&mut stream, MS(300), FLV, 1));
    assert!(!demand.is_there(), "frames are not runs");
    let mut view = open(&mut stream, MS(300), PASS, 2);
    assert!(demand.is_there());
    assert!(stream.append_run(MS(310), &run(310)) && stream.take_copied_bytes() >= 7 * 188);
    append(&mut stream, MS(320), key(320));
    stream.flush(MS(320), |_, _| {});
    stream
        .take_news()
        .filter(|news| news.id == LogId(2))
        .flat_map(|news| news.news)
        .for_each(|piece| view.feed(piece));
    view.refresh();
    let cursor = view.cursor_at(crate::fanout::log::Pos::default()).unwrap();
    let Step::Send(sent) = view.decide(cursor, view.limit(), u64::MAX) else { panic!("a run") };
    assert_eq!(view.bytes(&sent), Some(&run(0).packets[..]), "the run and no frame");
    stream.unsubscribe(MS(400), LogId(2), 0);
    stream.close_idle(MS(400) + LOG_LINGER, |_| {});
    assert!(!demand.is_there(), "nobody does any more");
    let _view = open(&mut stream, MS(6000), PASS, 3);
    assert!(demand.is_there());
    stream.republish(None);
    assert!(!demand.is_there(), "another publisher has come");
}

#[test]
fn who_has_no_packets_or_nothing_else_is_refused_with_the_reason() {
    let refused = |stream: &mut Stream, key| match stream.subscribe(MS(2000), key, 0, || Some(LogId(9))) {
        Err(NoLog::Codecs(why)) => why,
        other => panic!("{other:?}"),
    };
    let mut frames = stream();
    publish(&mut frames, 0, 1);
    assert!(refused(&mut frames, PASS).contains("no transport stream of its own"));
    // Nothing of it is a frame.
    let mut packets = stream().passing(Some(Demand::default()));
    packets.lives(MS(0));
    assert!(!packets.settled(MS(999)) && packets.settled(MS(1000)));
    for key in [FLV, RTMP, LogKey { format: Format::Ts, ..FLV }] {
        assert!(refused(&mut packets, key).contains("watch it as .ts"));
    }
    let mut view = open(&mut packets, MS(2000), PASS, 1);
    // A publisher of frames comes in its place: readers of packets hear that nothing follows.
    packets.republish(None);
    publish(&mut packets, 3000, 10);
    packets.flush(MS(5000), |_, _| {});
    packets.take_news().flat_map(|news| news.news).for_each(|piece| view.feed(piece));
    view.refresh();
    assert!(view.unfit().is_some_and(|why| why.contains("no transport stream of its own")));
}
