//! The clip itself, and the publisher against a server of a few lines.

use super::clip::{AUDIO, LOOP_MS, VIDEO, tags};
use super::*;
use crate::wire::amf0::{Object, Value, decode_all, write_string};
use crate::wire::rtmp::chunk::ChunkReader;
use crate::wire::rtmp::message::{MessageHeader, write_message};
use crate::wire::rtmp::type_id;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

#[test]
fn the_clip_loops_without_a_seam() {
    for (kind, frame_ms, frames) in [(VIDEO, 40, 200), (AUDIO, 21, 375)] {
        let config: Vec<_> = tags().filter(|tag| tag.kind == kind && tag.is_config()).collect();
        assert_eq!(config.len(), 1);
        let dts: Vec<u32> =
            tags().filter(|tag| tag.kind == kind && !tag.is_config()).map(|tag| tag.dts_ms).collect();
        assert_eq!(dts.len(), frames);
        let next = dts.first().map(|dts| dts + LOOP_MS);
        let steps = dts.iter().zip(dts.iter().skip(1).copied().chain(next)).map(|(a, b)| b - a);
        assert!(steps.clone().all(|step| step.abs_diff(frame_ms) <= 1), "{:?}", steps.collect::<Vec<_>>());
    }
    let first = tags().find(|tag| tag.kind == VIDEO && !tag.is_config()).unwrap();
    assert_eq!(first.body[0] >> 4, 1, "the clip begins with a keyframe");
}

#[test]
fn says_where_to_watch() {
    let text = where_to_watch("0.0.0.0:1935".parse().unwrap(), "0.0.0.0:8080".parse().unwrap(), true);
    assert!(text.contains("rtmp://localhost/live/demo?token=TOKEN"), "{text}");
    assert!(text.contains("http://localhost:8080/live/demo.flv?token=TOKEN"), "{text}");
}

/// Answers one publisher until it has sent `wanted` media messages; returns the publish name and what came.
fn serve(mut stream: TcpStream, wanted: usize) -> (String, Vec<(u8, u32)>) {
    let mut c0c1 = [0; 1537];
    stream.read_exact(&mut c0c1).unwrap();
    stream.write_all(&[&c0c1[..], &c0c1[1..]].concat()).unwrap();
    stream.read_exact(&mut c0c1[1..]).unwrap();
    let (mut reader, mut name, mut media) = (ChunkReader::new(), String::new(), Vec::new());
    let mut buffer = [0; 4096];
    reader.set_limits(crate::wire::rtmp::chunk::Limits::PUBLISHER);
    while media.len() < wanted {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0);
        let mut rest = &buffer[..count];
        loop {
            let (used, message) = reader.read(0, rest).unwrap();
            rest = &rest[used..];
            let Some(message) = message else { break };
            match message.type_id {
                type_id::COMMAND_AMF0 => {
                    answer(&mut stream, &decode_all(&message.payload).unwrap(), &mut name)
                }
                type_id::AUDIO | type_id::VIDEO => {
                    assert_eq!(message.stream_id, 1);
                    media.push((message.type_id, message.timestamp_ms));
                }
                _ => {}
            }
        }
    }
    (name, media)
}

fn answer(stream: &mut TcpStream, command: &[Value], name: &mut String) {
    let mut body = Vec::new();
    let (reply, last) = match command[0].as_str().unwrap() {
        "publish" => {
            *name = command[3].as_str().unwrap().to_owned();
            let code = Value::String("NetStream.Publish.Start".to_owned());
            ("onStatus", Value::Object(Object(vec![("code".to_owned(), code)])))
        }
        _ => ("_result", Value::Number(1.0)),
    };
    write_string(&mut body, reply);
    command[1].encode(&mut body);
    Value::Null.encode(&mut body);
    last.encode(&mut body);
    let length = body.len() as u32;
    let header =
        MessageHeader { csid: 3, timestamp_ms: 0, length, type_id: type_id::COMMAND_AMF0, stream_id: 0 };
    let mut out = Vec::new();
    write_message(&mut out, &header, &body, 128);
    stream.write_all(&out).unwrap();
}

#[test]
fn publishes_with_its_key_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = Secret::new("0123456789ab").unwrap();
    let demo = Demo::start(listener.local_addr().unwrap(), Some(&key)).unwrap();
    for _ in 0..2 {
        let (name, media) = serve(listener.accept().unwrap().0, 20);
        assert_eq!(name, "demo?token=0123456789ab");
        assert!(media.is_sorted_by_key(|(_, dts)| *dts), "{media:?}");
        assert!(media.iter().any(|(kind, _)| *kind == type_id::VIDEO));
    }
    drop(listener);
    demo.stop();
}
