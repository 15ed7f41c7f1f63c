//! Transport streams through the demultiplexer: those that real programs wrote (tests/vectors), and our own packager's.

use bytes::Bytes;
use headgate::fanout::log::{Format, LogId, LogKey, LogWriter, Variant};
use headgate::fanout::packager::{About, Packager, Packed};
use headgate::fanout::segment::Entry;
use headgate::media::{Codec, Frame, Kind, Mono, Packet, TrackTable, tag};
use headgate::proto::rtmp::{Event as Rtmp, ServerSession, SessionConfig};
use headgate::proto::ts::{Demux, Event, Options, Output, Role, Tally};
use std::path::Path;

/// Packets of a datagram.
const DATAGRAM_BYTES: usize = 7 * 188;

fn vector(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a stream in datagrams of `bytes_each` comes to.
fn demux(stream: &[u8], bytes_each: usize) -> (Vec<Event>, Vec<(Role, Frame)>, Tally) {
    let (mut demux, mut events, mut frames) =
        (Demux::new(Options::default(), Mono::ZERO), Vec::new(), Vec::new());
    for (at, datagram) in (0..).zip(stream.chunks(bytes_each)) {
        demux.handle_datagram(Mono::from_micros(at * 1000), datagram);
    }
    demux.flush(Mono::from_micros(10_000_000));
    while let Some(output) = demux.poll_output() {
        match output {
            Output::Event(event) => events.push(event),
            Output::Frame(role, frame) => frames.push((role, frame)),
        }
    }
    (events, frames, *demux.tally())
}

/// Frames are counted as ffprobe counts packets in the same files, but for those of the last PES packet, which is cut off.
#[test]
fn heads_by_ffmpeg() {
    for (name, codec, carried, media) in [
        ("aac", Codec::Aac, 1, 17),
        ("aac_latm", Codec::Aac, 1, 17),
        ("ac3", Codec::Ac3, 1, 3),
        ("eac3", Codec::Eac3, 1, 3),
        // Its sound is announced and does not come.
        ("h264", Codec::H264, 2, 2),
        ("hevc", Codec::Hevc, 1, 1),
        ("opus", Codec::Opus, 1, 5),
    ] {
        let (events, frames, tally) = demux(&vector(&format!("ts_{name}_head.ts")), DATAGRAM_BYTES);
        assert_eq!(events, [Event::Program { number: 1, carried }], "{name}");
        let mut count = 0;
        for (role, frame) in &frames {
            let tag = tag::inspect(frame.kind, &frame.body).expect("a tag");
            assert_eq!(tag.codec, codec, "{name}");
            assert_eq!(tag.packet == Packet::Config, *role == Role::Config, "{name}");
            count += usize::from(*role != Role::Config);
        }
        assert_eq!(count, media, "{name}: {tally:?}");
        assert_eq!(
            (tally.malformed, tally.lost, tally.resyncs, tally.crc),
            (0, 0, 0, 0),
            "{name}: {tally:?}"
        );
    }
    // Of layer II nothing is carried; AV1 without a descriptor is no stream of a program.
    let (_, frames, tally) = demux(&vector("ts_mp2_head.ts"), DATAGRAM_BYTES);
    assert!(frames.is_empty() && tally.not_carried > 0, "{tally:?}");
    let (events, frames, _) = demux(&vector("ts_av1_head.ts"), DATAGRAM_BYTES);
    assert!(events.is_empty() && frames.is_empty());
}

/// The frames that a captured publisher sent.
fn published(name: &str) -> Vec<Frame> {
    let mut session = ServerSession::new(SessionConfig::default(), Mono::ZERO, [7; 32]);
    session.handle_input(Mono::ZERO, &vector(&format!("{name}.c2s.bin")));
    let mut frames = Vec::new();
    while let Some(event) = session.poll_event() {
        match event {
            Rtmp::Publish(_) => session.accept_publish(Mono::ZERO),
            Rtmp::Frame(frame) if frame.kind != Kind::Data => frames.push(frame),
            _ => {}
        }
    }
    assert!(frames.len() >= 5, "{name}: {} frames", frames.len());
    frames
}

/// `frames` as our packager writes them.
fn packed(frames: &[Frame]) -> Vec<u8> {
    let (mut table, mut log) = (TrackTable::new(), LogWriter::new(LogId(0)));
    let mut packager = Packager::new(LogKey { format: Format::Ts, variant: Variant::FULL }, "one");
    for frame in frames {
        let tag = tag::inspect(frame.kind, &frame.body).unwrap();
        table.observe(frame, &tag);
        let config = table.snapshot();
        let join = tag.is_join_video();
        let about = About { config: &config, newest: &config, config_epoch: config.epoch, join };
        if let Packed::Entry { .. } = packager.pack(&mut log, frame, about) {
            assert!(log.commit(Mono::ZERO, Entry::default(), None));
        }
    }
    let snapshot = log.snapshot();
    let pieces = snapshot.segments.iter().flat_map(|segment| {
        let end = segment.entry(segment.published() - 1).unwrap().end;
        segment.bytes(0, end).unwrap().to_vec()
    });
    pieces.collect()
}

/// What must come back of a frame: its times, and its payload but for what the packager writes anew: delimiters, and what
/// stands in the record (parameter sets, and a message of HEVC's encoder), come in front of pictures in a transport stream.
fn essence(frame: &Frame) -> Option<(u32, i32, bool, Vec<Vec<u8>>)> {
    let tag = tag::inspect(frame.kind, &frame.body).unwrap();
    if tag.packet != Packet::Frames {
        return None;
    }
    let part = tag.tracks(&frame.body).next().unwrap();
    let mut payload = &frame.body[part.payload];
    let mut pieces = Vec::new();
    let sets: &[u8] = match tag.codec {
        Codec::H264 => &[7, 8, 9],
        Codec::Hevc => &[32, 33, 34, 35, 39],
        _ => return Some((frame.dts_ms, 0, false, vec![payload.to_vec()])),
    };
    while let Some((length, rest)) = payload.split_first_chunk() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let kind = if tag.codec == Codec::H264 { nal[0] & 0x1F } else { nal[0] >> 1 & 0x3F };
        if !sets.contains(&kind) {
            pieces.push(nal.to_vec());
        }
        payload = rest;
    }
    Some((frame.dts_ms, part.cts_ms, tag.keyframe, pieces))
}

/// Decoder configuration in the order it was told.
fn configs(frames: &[Frame], kind: Kind) -> Vec<Bytes> {
    let is = |frame: &&Frame| {
        frame.kind == kind && tag::inspect(frame.kind, &frame.body).unwrap().packet == Packet::Config
    };
    frames.iter().filter(is).map(|frame| frame.body.clone()).collect()
}

/// Frames -> packets -> the same frames, however the packets are cut into datagrams.
#[test]
fn what_our_packager_writes_comes_back() {
    for (name, kinds) in [
        ("rtmp_ff_h264_aac", &[Kind::Video, Kind::Audio][..]),
        ("rtmp_ff_hevc_opus", &[Kind::Video, Kind::Audio]),
        ("rtmp_ff_mp3", &[Kind::Audio]),
        ("rtmp_ff_ac3", &[Kind::Audio]),
        ("rtmp_ff_eac3", &[Kind::Audio]),
        ("rtmp_gst_rtmp2", &[Kind::Video]),
    ] {
        let sent = published(name);
        let stream = packed(&sent);
        let (events, got, tally) = demux(&stream, DATAGRAM_BYTES);
        assert!(matches!(events.first(), Some(Event::Program { .. })), "{name}: {events:?}");
        let got: Vec<Frame> = got.into_iter().map(|(_, frame)| frame).collect();
        let of = |frames: &[Frame], kind| -> Vec<_> {
            frames.iter().filter(|frame| frame.kind == kind).filter_map(essence).collect()
        };
        for &kind in kinds {
            let (sent, got) = (of(&sent, kind), of(&got, kind));
            assert!(!sent.is_empty(), "{name}: {kind:?}");
            // Sound in front of the first tables of both tracks has no number yet, and none is given to it.
            let missed = sent.len() - got.len();
            assert!(missed <= 2, "{name}: {} of {} {kind:?}: {tally:?}", got.len(), sent.len());
            // Our packager's clock begins a second above zero.
            let shifted =
                sent.iter().skip(missed).map(|(dts, cts, key, payload)| (dts + 1000, *cts, *key, payload));
            for (at, (sent, got)) in shifted.zip(&got).enumerate() {
                assert!(
                    sent == (got.0, got.1, got.2, &got.3),
                    "{name}: {kind:?} {at}: {:?} and {:?}",
                    (sent.0, sent.1, sent.2, sent.3.iter().map(Vec::len).collect::<Vec<_>>()),
                    (got.0, got.1, got.2, got.3.iter().map(Vec::len).collect::<Vec<_>>())
                );
            }
        }
        for kind in [Kind::Video, Kind::Audio] {
            let (sent, got) = (configs(&sent, kind), configs(&got, kind));
            if let (Some(sent), Some(got)) = (sent.first(), got.first()) {
                let codec = tag::inspect(kind, sent).unwrap().codec;
                // ADTS and the descriptor of Opus say less than a record may.
                if matches!(codec, Codec::H264) {
                    // GStreamer leaves out what stands at the end of a record of this profile.
                    assert!(got.starts_with(sent), "{name}: {sent:?} and {got:?}");
                }
                assert_eq!(codec, tag::inspect(kind, got).unwrap().codec, "{name}");
            }
        }
        assert_eq!(
            (tally.lost, tally.damaged, tally.malformed, tally.resyncs),
            (0, 0, 0, 0),
            "{name}: {tally:?}"
        );
        for bytes_each in [188, 2 * 188, 3 * 188] {
            let again: Vec<Frame> =
                demux(&stream, bytes_each).1.into_iter().map(|(_, frame)| frame).collect();
            assert_eq!(again.len(), got.len(), "{name} in datagrams of {bytes_each}");
            assert!(
                again.iter().zip(&got).all(|(a, b)| (a.dts_ms, &a.body) == (b.dts_ms, &b.body)),
                "{name}"
            );
        }
    }
}
