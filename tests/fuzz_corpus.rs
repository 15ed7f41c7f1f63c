//! Replays every file of fuzz/corpus through the function that its fuzz target runs.

use std::{collections::BTreeSet, fs, path::Path};

#[path = "../fuzz/entry.rs"]
mod entry;

/// Files of one corpus: enough for seeds and regressions, few enough to be read by people.
const FILES_MAX: usize = 100;

fn names(folder: &Path) -> BTreeSet<String> {
    let listing = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    listing
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.starts_with('.'))
        .collect()
}

#[test]
fn every_corpus_file_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (target, entry) in entry::TARGETS {
        let folder = corpus.join(target);
        let files = names(&folder);
        assert!(!files.is_empty(), "{} holds no seed", folder.display());
        for file in files {
            // A panic inside is the failure; the name tells which file it was.
            println!("{target}/{file}");
            entry(&fs::read(folder.join(file)).unwrap());
        }
        assert!(names(&folder).len() <= FILES_MAX, "{}: keep what finds something new", folder.display());
    }
}

#[test]
fn targets_folders_and_binaries_are_the_same() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let targets: BTreeSet<String> = entry::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz.join("corpus")), targets);
    let binaries = names(&fuzz.join("fuzz_targets"));
    assert_eq!(
        binaries.iter().map(|n| n.trim_end_matches(".rs").to_owned()).collect::<BTreeSet<_>>(),
        targets
    );
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for target in targets {
        assert!(
            manifest.contains(&format!("\nname = \"{target}\"\n")),
            "{target} is missing in fuzz/Cargo.toml"
        );
    }
}

/// What the session of a seed tells, with everything granted.
fn session(seed: &str) -> Vec<&'static str> {
    use headgate::media::Mono;
    use headgate::proto::rtmp::{Event, ServerSession, SessionConfig};
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/rtmp_session").join(seed);
    let mut session = ServerSession::new(SessionConfig::default(), Mono::ZERO, [7; 32]);
    session.handle_input(Mono::ZERO, &[&[3][..], &[0; 2 * 1536]].concat());
    session.handle_input(Mono::ZERO, &fs::read(file).unwrap()[1..]);
    let mut told = Vec::new();
    while let Some(event) = session.poll_event() {
        told.push(match event {
            Event::Publish(_) => {
                session.accept_publish(Mono::ZERO);
                "publish"
            }
            Event::Play(_) => {
                session.accept_play(Mono::ZERO);
                "play"
            }
            Event::Frame(_) => "frame",
            Event::Unpublish(_) => "unpublish",
            Event::PlayStopped(_) => "stop",
            Event::Pause { .. } => "pause",
            Event::ReceiveAudio(_) | Event::ReceiveVideo(_) => "receive",
            Event::Closed(_) => "closed",
        });
    }
    told
}

/// What the monitor says about a seed of transport streams, a millisecond a packet.
fn watched(seed: &[u8]) -> headgate::monitor::Report {
    use headgate::{media::Mono, monitor::Monitor, wire::ts::framing::Framer};
    let mut monitor = Monitor::new(headgate::monitor::Options::default());
    let mut framer = Framer::new();
    framer.push(&entry::ts_stream(seed));
    framer.finish();
    let mut now = 0;
    while let Some(unit) = framer.next_unit() {
        now += 1000;
        monitor.handle_unit(Mono::from_micros(now), unit);
    }
    monitor.report()
}

/// Broken seeds must reach the error paths and whole ones the success paths, or the corpus tests nothing.
#[test]
fn seeds_are_what_their_names_say() {
    let read =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)).unwrap();
    let status = |name: &str| {
        headgate::proto::http::parse(&read(name)).map(|head| head.is_some()).map_err(|e| e.status())
    };
    assert_eq!(status("http_head/play"), Ok(true));
    assert_eq!(status("http_head/smuggle"), Err(400));
    let inspect = |name: &str| headgate::media::tag::inspect(headgate::media::Kind::Video, &read(name)[1..]);
    assert!(inspect("tag_inspect/many-tracks").is_ok_and(|tag| tag.multitrack.is_some()));
    assert!(inspect("tag_inspect/size-lies").is_err());
    for seed in ["on-meta-data", "all-markers", "reference", "avm-plus"] {
        let values = headgate::wire::amf0::decode_all(&read(&format!("amf0/{seed}")));
        assert!(values.as_ref().is_ok_and(|values| !values.is_empty()), "{seed}: {values:?}");
    }
    assert!(headgate::wire::amf0::decode_all(&read("amf0/self-reference")).is_err());
    for seed in ["object", "simple", "class-twice", "reference", "vectors", "date-xml"] {
        let values = headgate::wire::amf3::decode_all(&read(&format!("amf3/{seed}")));
        assert!(values.as_ref().is_ok_and(|values| !values.is_empty()), "{seed}: {values:?}");
    }
    assert!(headgate::wire::amf3::decode_all(&read("amf3/self-reference")).is_err());
    assert_eq!(session("publish-again"), ["publish", "frame", "unpublish", "publish", "frame"]);
    assert_eq!(session("play"), ["play", "pause", "stop"]);
    assert_eq!(session("bad-name"), ["closed"]);
    assert_eq!(session("aggregate"), ["publish", "frame"]);
    for (seed, delivered, lost, told) in [
        ("capture", 46, 0, "repaired: 0,"),
        ("losses", 46, 0, "repaired: 4,"),
        ("a-row-lost", 46, 0, "repaired: 5,"),
        ("not-repaired", 42, 4, "repaired: 0,"),
        ("two-paths", 46, 0, "merged: 15,"),
        ("encoded", 46, 0, "repair_packets: 30,"),
        ("reordered", 37, 0, "late: 3,"),
        ("again-and-again", 6, 0, "restarts: 1,"),
        ("other-sender", 34, 0, "restarts: 4,"),
        ("far-away", 46, 62_955, "late: 0,"),
        ("repairs-that-lie", 45, 1, "repair_refused: 1,"),
    ] {
        let tally = entry::rtp_tally(&read(&format!("rtp_receiver/{seed}")));
        assert_eq!((tally.delivered, tally.lost + tally.overrun), (delivered, lost), "{seed}: {tally:?}");
        assert!(format!("{tally:?}").contains(told), "{seed}: {tally:?}");
    }
    for (seed, streams, raised) in [
        ("tables", 3, vec![]),
        ("ts_opus_head", 1, vec![]),
        ("t2-map-of-everything", headgate::monitor::STREAMS_MAX, vec![]),
        ("t2-clock-jumps", 3, vec!["2.3b"]),
        ("lost-sync", 0, vec!["1.1"]),
    ] {
        let report = watched(&read(&format!("ts_demux/{seed}")));
        assert_eq!(
            report.services.iter().map(|s| s.streams.len()).sum::<usize>(),
            streams,
            "{seed}: {report:#?}"
        );
        let found: Vec<_> = report.indicators.iter().filter(|i| i.count > 0).map(|i| i.id).collect();
        assert_eq!(found, raised, "{seed}");
    }
    for (seed, frames, told) in [
        ("ts_h264_head", 2, "damaged: 0,"),
        ("picture-and-sound", 6, "resyncs: 0,"),
        ("sound-across", 5, "resyncs: 1,"),
        ("scrambled", 2, "scrambled: 1,"),
    ] {
        let (found, tally) = entry::ts_program(&read(&format!("ts_frames/{seed}")));
        assert_eq!(found.len(), frames, "{seed}: {tally:?}");
        assert!(format!("{tally:?}").contains(told), "{seed}: {tally:?}");
    }
    for (seed, carried) in [
        ("ts_h264_head", true),
        ("ts_ac3_head", true),
        ("too-much", true),
        ("seams-and-skips", true),
        ("no-program", false),
    ] {
        let (media, others) = entry::multiplex::mux_output(&read(&format!("mux/{seed}")));
        assert!((media > 0) == carried && others > 0, "{seed}: {media} packets of tracks, {others} others");
    }
    for (seed, frames) in [("av1", 3), ("av1-frames", 3), ("av1-plain", 4), ("eac3-substreams", 4)] {
        let (found, tally) = entry::ts_program(&read(&format!("ts_frames/{seed}")));
        assert_eq!(found.len(), frames, "{seed}: {tally:?}");
    }
    let tables = watched(&read("ts_demux/tables"));
    assert_eq!(tables.services[0].provider.as_deref(), Some("ä€"));
    for (seed, whole) in [("rtmp_ff_extts", true), ("rtmp_gst_rtmp2", true), ("half", false)] {
        let mut server = headgate::wire::rtmp::handshake::ServerHandshake::new([1; 32]);
        let done = server.read(0, &read(&format!("handshake/{seed}"))[1..], &mut Vec::new());
        assert_eq!(done.map(|(_, done)| done), Ok(whole), "{seed}");
    }
}
