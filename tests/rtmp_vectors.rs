//! Captured connections of real clients (tests/vectors), replayed byte by byte and in random pieces.

use headgate::media::{Kind, Mono};
use headgate::proto::rtmp::{Event, ServerSession, SessionConfig};
use headgate::wire::amf0::{self, Object, Value};
use headgate::wire::rtmp::chunk::{ChunkReader, Message};
use headgate::wire::rtmp::handshake::{ClientHandshake, Schema, ServerHandshake};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// How an input is cut: in single bytes, whole, or in random pieces from a seed.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Bytes,
    Whole,
    Random(u64),
}

const CUTS: [Cut; 8] = [
    Cut::Bytes,
    Cut::Whole,
    Cut::Random(1),
    Cut::Random(2),
    Cut::Random(3),
    Cut::Random(4),
    Cut::Random(5),
    Cut::Random(6),
];

impl Cut {
    fn pieces(self, bytes: &[u8]) -> Vec<&[u8]> {
        let (mut rest, mut pieces) = (bytes, vec![]);
        let mut state = if let Cut::Random(seed) = self { seed } else { 0 };
        while !rest.is_empty() {
            let len = match self {
                Cut::Bytes => 1,
                Cut::Whole => rest.len(),
                Cut::Random(_) => {
                    // short pieces and long ones
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 40) as usize % (1 << (state >> 60)) + 1
                }
            };
            let (piece, later) = rest.split_at(len.min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        pieces
    }
}

struct Vector {
    stem: String,
    client: Vec<u8>,
    server: Vec<u8>,
    expected: Vec<Json>,
}

fn vectors() -> Vec<Vector> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("tests/vectors exists")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.to_string_lossy().ends_with(".c2s.bin"))
        .collect();
    paths.sort();
    let of_rtmp = paths.iter().filter_map(|path| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".c2s.bin")?;
        let beside = |suffix: &str| folder.join(format!("{stem}{suffix}"));
        let lines = std::fs::read_to_string(beside(".c2s.expected.jsonl")).expect("expected lines");
        stem.starts_with("rtmp_").then(|| Vector {
            stem: stem.to_owned(),
            client: std::fs::read(path).expect("client bytes"),
            server: std::fs::read(beside(".s2c.bin")).expect("server bytes"),
            expected: lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(),
        })
    });
    let vectors: Vec<Vector> = of_rtmp.collect();
    assert!(!vectors.is_empty(), "no vectors in {}", folder.display());
    vectors
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json_object(object: &Object, ecma: bool) -> Json {
    let mark = ecma.then(|| ("__ecma__".to_owned(), json!(1)));
    Json::Object(mark.into_iter().chain(object.0.iter().map(|(k, v)| (k.clone(), json_value(v)))).collect())
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::Number(number) => json!(number),
        Value::Boolean(boolean) => json!(boolean),
        Value::String(text) => json!(text),
        Value::Null => Json::Null,
        Value::Object(object) => json_object(object, false),
        Value::EcmaArray(object) => json_object(object, true),
        Value::StrictArray(items) => items.iter().map(json_value).collect(),
        other => panic!("not in any vector: {other:?}"),
    }
}

fn json_amf(body: &[u8]) -> Json {
    amf0::decode_all(body).expect("valid AMF").iter().map(json_value).collect()
}

/// A message as its line in the expected file; `fmt`, which is no property of a message, is left out.
fn line(message: &Message) -> Json {
    let Message { csid, timestamp_ms, type_id, stream_id, payload, .. } = message;
    match type_id {
        1 => {
            json!(["SetChunkSize", u32::from_be_bytes(payload[..].try_into().expect("4 bytes")), "cid", csid])
        }
        4 => json!(["UserCtl", hex(payload), "cid", csid]),
        5 => json!(["WinAck", hex(payload), "cid", csid]),
        8 | 9 => json!(["MEDIA", {
            "t": type_id, "cid": csid, "sid": stream_id, "ts": timestamp_ms, "len": payload.len(),
            "head": hex(&payload[..payload.len().min(24)]),
        }]),
        18 => {
            json!(["DATA", {"t": 18, "cid": csid, "sid": stream_id, "ts": timestamp_ms}, json_amf(payload)])
        }
        20 => json!(["CMD", {"t": 20, "cid": csid, "sid": stream_id, "ts": timestamp_ms}, json_amf(payload)]),
        other => panic!("message type {other}"),
    }
}

/// Whether this is the first or second message of its kind, which is what the expected files list.
fn is_listed(seen: &mut HashMap<(u8, Vec<u8>), u32>, type_id: u8, payload: &[u8]) -> bool {
    if !matches!(type_id, 8 | 9) {
        return true;
    }
    let count = seen.entry((type_id, payload[..payload.len().min(2)].to_vec())).or_default();
    *count += 1;
    *count <= 2
}

fn read_all(reader: &mut ChunkReader, bytes: &[u8], cut: Cut) -> Vec<Message> {
    let mut messages = vec![];
    for mut piece in cut.pieces(bytes) {
        loop {
            let (used, message) = reader.read(0, piece).expect("a valid chunk stream");
            piece = &piece[used..];
            match message {
                Some(message) => messages.push(message),
                None => break,
            }
        }
    }
    messages
}

/// Expected lines behind the handshake, without `fmt`.
fn expected_lines(vector: &Vector) -> Vec<Json> {
    let mut lines = vector.expected[1..].to_vec();
    for fields in lines.iter_mut().filter_map(|line| line[1].as_object_mut()) {
        fields.remove("fmt");
    }
    lines
}

#[test]
fn handshakes_are_recognised() {
    for vector in vectors() {
        for cut in CUTS {
            let (mut server, mut out, mut used) = (ServerHandshake::new([1; 32]), vec![], 0);
            for piece in cut.pieces(&vector.client) {
                let (n, done) = server.read(0, piece, &mut out).expect("a valid handshake");
                used += n;
                if done {
                    break;
                }
            }
            assert_eq!((used, out.len()), (1 + 2 * 1536, 1 + 2 * 1536), "{}", vector.stem);
            let schema = match &vector.expected[0][1]["schema"] {
                Json::Null => None,
                number if *number == 0 => Some(Schema::DigestFirst),
                _ => Some(Schema::DigestSecond),
            };
            assert_eq!(server.schema(), schema, "{}", vector.stem);
        }
    }
}

#[test]
fn the_chunk_reader_agrees_with_the_independent_decoder() {
    for vector in vectors() {
        let want = expected_lines(&vector);
        for cut in CUTS {
            let messages = read_all(&mut ChunkReader::new(), &vector.client[1 + 2 * 1536..], cut);
            let mut seen = HashMap::new();
            let listed = messages.iter().filter(|m| is_listed(&mut seen, m.type_id, &m.payload));
            let got: Vec<Json> = listed.map(line).collect();
            assert_eq!(got, want, "{} cut in {cut:?}", vector.stem);
        }
    }
}

#[test]
fn the_servers_direction_reads_as_a_client_would() {
    for vector in vectors() {
        let (mut client, mut out) = (ClientHandshake::new(0, [2; 32], &mut vec![]), vec![]);
        let (used, done) = client.read(0, &vector.server, &mut out).expect("a valid handshake");
        assert!(done && out.len() == 1536, "{}", vector.stem);
        let messages = read_all(&mut ChunkReader::new(), &vector.server[used..], Cut::Random(9));
        let commands: Vec<String> =
            messages.iter().filter(|m| m.type_id == 20).map(|m| json_amf(&m.payload).to_string()).collect();
        for code in ["NetConnection.Connect.Success", ".Start"] {
            assert!(commands.iter().any(|command| command.contains(code)), "{}: {commands:?}", vector.stem);
        }
    }
}

/// What a session made of a client's bytes.
struct Outcome {
    request: String,
    /// Kind, time, length and head of the listed frames.
    frames: Vec<Json>,
    end: Option<String>,
    copied_bytes: u64,
}

fn run_session(vector: &Vector, cut: Cut) -> Outcome {
    let mut session = ServerSession::new(SessionConfig::default(), Mono::ZERO, [3; 32]);
    let (mut request, mut frames, mut end, mut seen) = (String::new(), vec![], None, HashMap::new());
    for piece in cut.pieces(&vector.client) {
        session.handle_input(Mono::ZERO, piece);
        while let Some(event) = session.poll_event() {
            match event {
                Event::Publish(wish) => {
                    request = format!("publish {} {}", wish.app, wish.stream);
                    session.accept_publish(Mono::ZERO);
                }
                Event::Play(wish) => {
                    request = format!("play {} {} {:?}", wish.app, wish.stream, wish.start_ms);
                    session.accept_play(Mono::ZERO);
                }
                Event::Frame(frame) => {
                    let head = hex(&frame.body[..frame.body.len().min(24)]);
                    let type_id = match frame.kind {
                        Kind::Audio => 8,
                        Kind::Video => 9,
                        Kind::Data => 18,
                    };
                    if is_listed(&mut seen, type_id, &frame.body) {
                        frames.push(match frame.kind {
                            Kind::Data => json!([frame.dts_ms, json_amf(&frame.body)]),
                            _ => json!([frame.dts_ms, frame.body.len(), head]),
                        });
                    }
                }
                other => end = Some(format!("{other:?}")),
            }
        }
        session.take_output(&mut vec![]);
        if request.starts_with("play") {
            let bytes = size_of::<ServerSession>() + session.heap_bytes();
            assert!(bytes <= 1024, "{}: a playing session holds {bytes} bytes", vector.stem);
        }
    }
    Outcome { request, frames, end, copied_bytes: session.copied_bytes() }
}

#[test]
fn a_session_takes_each_client_to_its_media() {
    for vector in vectors() {
        let lines = expected_lines(&vector);
        let command = |name: &str| lines.iter().find(|line| line[0] == "CMD" && line[2][0] == name);
        let (request, end) = match (command("publish"), command("play")) {
            (Some(publish), _) => (format!("publish live {}", publish[2][3].as_str().expect("a name")), None),
            (_, Some(play)) => (
                format!("play live {} Some(0)", play[2][3].as_str().expect("a name")),
                Some("PlayStopped(DeleteStream)".to_owned()),
            ),
            other => panic!("{}: {other:?}", vector.stem),
        };
        let frames: Vec<Json> = lines
            .iter()
            .filter_map(|line| match line[0].as_str() {
                Some("MEDIA") => Some(json!([line[1]["ts"], line[1]["len"], line[1]["head"]])),
                // the first string, @setDataFrame, is taken off
                Some("DATA") => {
                    Some(json!([line[1]["ts"], line[2].as_array().and_then(|values| values.get(1..))]))
                }
                _ => None,
            })
            .collect();
        let mut copied = None;
        for cut in CUTS {
            let outcome = run_session(&vector, cut);
            assert_eq!(outcome.request, request, "{}", vector.stem);
            assert_eq!(outcome.frames, frames, "{} cut in {cut:?}", vector.stem);
            assert_eq!(outcome.end, end, "{}", vector.stem);
            let bytes = *copied.get_or_insert(outcome.copied_bytes);
            assert_eq!(outcome.copied_bytes, bytes, "{}: each payload byte is copied once", vector.stem);
        }
    }
}
