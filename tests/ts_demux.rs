//! Transport streams that real programs wrote (tests/vectors), through the demultiplexer.

use headgate::media::{Mono, tag};
use headgate::proto::ts::{Demux, Event, Output};
use std::path::Path;

/// Packets of a datagram.
const DATAGRAM_BYTES: usize = 7 * 188;

/// What a file's head comes to: events, and the codec of each frame.
fn read(name: &str) -> (Vec<Event>, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(format!("ts_{name}_head.ts"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut demux, mut events, mut codecs) = (Demux::new(0, Mono::ZERO), Vec::new(), Vec::new());
    for (at, datagram) in (0..).zip(bytes.chunks(DATAGRAM_BYTES)) {
        demux.handle_datagram(Mono::from_micros(at * 1000), datagram);
    }
    demux.pause(Mono::from_micros(10_000));
    while let Some(output) = demux.poll_output() {
        match output {
            Output::Event(event) => events.push(event),
            Output::Frame(_, frame) => {
                let tag = tag::inspect(frame.kind, &frame.body).expect("a tag");
                codecs.push(tag.codec.to_string());
            }
        }
    }
    (events, codecs)
}

#[test]
fn heads_by_ffmpeg() {
    for (name, codec) in [
        ("aac", "AAC"),
        ("aac_latm", "AAC"),
        ("ac3", "AC-3"),
        ("eac3", "E-AC-3"),
        ("h264", "H.264"),
        ("hevc", "HEVC"),
        ("opus", "Opus"),
    ] {
        let (events, codecs) = read(name);
        assert_eq!(events, [Event::Program { number: 1, carried: 1 }], "{name}");
        assert!(codecs.iter().all(|found| found == codec), "{name}: {codecs:?}");
    }
    // Of layer II nothing is carried; AV1 without a descriptor is no stream of a program.
    assert_eq!(read("mp2").1, [""; 0]);
    assert_eq!(read("av1"), (vec![], vec![]));
}
