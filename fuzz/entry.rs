//! What each fuzz target does with its input, for the fuzzer and for the replay on stable (`tests/fuzz_corpus.rs`).
//!
//! An entry fails by panicking: in the product's code, or in an assertion here about what must hold for any input.

use bytes::Bytes;
use headgate::{
    media::{Frame, Kind, Mono, Packet, Tag, TrackTable, tag},
    proto::{
        http,
        rtmp::{Event, ServerSession, SessionConfig},
    },
    wire::{
        aac::AacConfig,
        amf0, amf3,
        av1::Av1Config,
        flac::StreamInfo,
        flv::{FlvItem, FlvReader},
        h264,
        h265::HevcConfig,
        opus,
        rtmp::chunk::{ChunkReader, Message},
        vp9::VpConfig,
    },
};
use std::time::Duration;

/// An entry function.
pub type Entry = fn(&[u8]);

/// All targets by the name of their corpus folder.
pub const TARGETS: &[(&str, Entry)] = &[
    ("amf", amf),
    ("codec_config", codec_config),
    ("flv_reader", flv_reader),
    ("http_head", http_head),
    ("rtmp_chunk", rtmp_chunk),
    ("rtmp_session", rtmp_session),
    ("tag_inspect", tag_inspect),
    ("track_table", track_table),
];

/// AMF0 and AMF3 values. What AMF0 reads it must be able to write and read again.
pub fn amf(data: &[u8]) {
    let _ = amf3::decode_all(data);
    let Ok(values) = amf0::decode_all(data) else { return };
    let mut encoded = Vec::new();
    for value in &values {
        value.encode(&mut encoded);
    }
    // References expand, so the second reading may meet a bound that the first did not.
    if let Ok(again) = amf0::decode_all(&encoded) {
        assert_eq!(again.len(), values.len());
    }
}

/// Decoder configuration records; the first byte chooses the codec.
pub fn codec_config(data: &[u8]) {
    let Some((codec, record)) = data.split_first() else { return };
    match codec % 7 {
        0 => drop(h264::sps_of_avcc(record).and_then(h264::Sps::parse).map(|sps| sps.profile_text())),
        1 => drop(HevcConfig::parse(record).map(|hevc| hevc.profile_text())),
        2 => drop(Av1Config::parse(record).map(|av1| av1.profile_text())),
        3 => drop(VpConfig::parse(record).map(|vp| vp.profile_text())),
        4 => drop(AacConfig::parse(record).map(|aac| aac.profile_text())),
        5 => drop(opus::channels(record)),
        _ => drop(StreamInfo::parse(record)),
    }
}

/// An FLV byte stream; the first byte is the size of the pieces it comes in. The cut must not matter.
pub fn flv_reader(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let read = |piece: usize| {
        let (mut reader, mut items) = (FlvReader::with_limit(64 * 1024), Vec::new());
        for bytes in stream.chunks(piece.max(1)) {
            reader.push(bytes);
            loop {
                match reader.next_item() {
                    Ok(Some(item)) => items.push(item),
                    Ok(None) => break,
                    Err(error) => return (items, Some(error)),
                }
            }
        }
        (items, None)
    };
    let pieces = read(usize::from(piece));
    assert_eq!(pieces, read(stream.len()));
    for item in pieces.0 {
        if let FlvItem::Tag(header, body) = item {
            assert_eq!(header.size as usize, body.len());
        }
    }
}

/// An HTTP request head.
pub fn http_head(data: &[u8]) {
    match http::parse(data) {
        Ok(Some((head, used))) => {
            assert!(used <= data.len().min(http::HEAD_BYTES_MAX));
            assert!(!head.path.chars().any(char::is_control));
            assert!(!head.path.split('/').any(|segment| segment == ".."));
            head.route();
            head.query_param("token");
            assert!(!head.chunked || head.content_length.is_none());
            // Without its last byte it is not there yet, and it does not depend on what follows.
            assert_eq!(http::parse(&data[..used - 1]), Ok(None));
            assert_eq!(http::parse(&data[..used]), Ok(Some((head, used))));
        }
        Ok(None) => assert!(data.len() < http::HEAD_BYTES_MAX),
        Err(error) => assert!((400..=505).contains(&error.status())),
    }
}

/// An RTMP chunk stream after the handshake; the first byte is the size of the pieces it comes in.
pub fn rtmp_chunk(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let read = |piece: usize| -> (Vec<Message>, bool) {
        let (mut reader, mut messages) = (ChunkReader::new(), Vec::new());
        for mut bytes in stream.chunks(piece.max(1)) {
            while !bytes.is_empty() {
                let Ok((used, message)) = reader.read(0, bytes) else { return (messages, false) };
                bytes = &bytes[used..];
                match message {
                    Some(message) => messages.push(message),
                    None => assert!(bytes.is_empty(), "without a message all input is consumed"),
                }
            }
        }
        (messages, true)
    };
    assert_eq!(read(usize::from(piece)), read(stream.len()));
}

/// Everything a client sends from C0 on; the first byte is the size of the pieces it comes in. Whatever the client asks
/// for is granted, a millisecond passes with each piece, and at the end all deadlines do.
pub fn rtmp_session(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let mut now = Mono::ZERO;
    let mut session = ServerSession::new(SessionConfig::default(), now, [7; 32]);
    let mut output = Vec::new();
    for bytes in stream.chunks(usize::from(piece).max(1)) {
        now = now + Duration::from_millis(1);
        session.handle_input(now, bytes);
        drain(&mut session, now, &mut output);
    }
    while session.deadline() != Mono::NEVER {
        assert!(session.deadline() > now, "a deadline that is handled moves");
        now = session.deadline();
        session.handle_timeout(now);
        drain(&mut session, now, &mut output);
    }
    assert!(session.is_closed(), "only a closed session waits for nothing");
}

fn drain(session: &mut ServerSession, now: Mono, output: &mut Vec<u8>) {
    while let Some(event) = session.poll_event() {
        match event {
            Event::Publish(_) => session.accept_publish(now),
            Event::Play(_) => session.accept_play(now),
            Event::Frame(frame) => {
                assert!(!frame.body.is_empty());
                if let Ok(tag) = tag::inspect(frame.kind, &frame.body) {
                    check_parts(&tag, &frame.body);
                }
            }
            Event::Closed(_) => assert!(session.is_closed() && session.poll_event().is_none()),
            _ => {}
        }
    }
    output.clear();
    session.take_output(output);
}

/// A tag body; the first byte is its FLV tag type (8 audio, 9 video, else script).
pub fn tag_inspect(data: &[u8]) {
    let Some((&tag_type, body)) = data.split_first() else { return };
    let kind = kind(tag_type);
    let Ok(tag) = tag::inspect(kind, body) else { return };
    check_parts(&tag, body);
    if tag.is_join_video() {
        assert!(tag.packet == Packet::Frames && kind == Kind::Video);
    }
}

/// A run of tags: type, size of the body in two bytes, body; the last one may be cut short.
pub fn track_table(mut data: &[u8]) {
    let mut table = TrackTable::new();
    while let Some((&[tag_type, s0, s1], rest)) = data.split_first_chunk::<3>() {
        let (body, rest) = rest.split_at(usize::from(u16::from_be_bytes([s0, s1])).min(rest.len()));
        data = rest;
        let kind = kind(tag_type);
        let Ok(tag) = tag::inspect(kind, body) else { continue };
        let body = Bytes::copy_from_slice(body);
        table.observe(
            &Frame { kind, dts_ms: 0, body, first_byte_at: Mono::ZERO, complete_at: Mono::ZERO },
            &tag,
        );
    }
    let set = table.snapshot();
    assert_eq!(set.iter_for(true, true, false).count(), set.entries.len());
    table.snapshot().summary();
}

fn kind(tag_type: u8) -> Kind {
    match tag_type {
        8 => Kind::Audio,
        9 => Kind::Video,
        _ => Kind::Data,
    }
}

fn check_parts(tag: &Tag, body: &[u8]) {
    let mut end = 0;
    for part in tag.tracks(body) {
        assert!(end <= part.payload.start && part.payload.start <= part.payload.end);
        end = part.payload.end;
    }
    assert!(end == body.len() || tag.packet == Packet::Command);
}
