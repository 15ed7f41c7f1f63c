//! The session against a scripted client: flows, decisions, deadlines, bounds.

use super::*;
use crate::media::Kind;
use crate::proto::rtmp::event::{PlayRefusal, PlayRequest, PublishRefusal, PublishRequest, StopCause};
use crate::wire::amf0::{self, Object, Value, decode_all};
use crate::wire::rtmp::handshake::ClientHandshake;
use crate::wire::rtmp::message::{MessageHeader, write_message};
use proptest::prelude::*;

/// A session behind its handshake, and the client's reader.
struct Rig {
    session: ServerSession,
    reader: ChunkReader,
    now: Mono,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(SessionConfig::default(), Mono::ZERO)
    }

    /// Accepted at zero, behind its handshake at `now`.
    fn with(config: SessionConfig, now: Mono) -> Rig {
        let mut session = ServerSession::new(config, Mono::ZERO, [1; 32]);
        let (mut sent, mut answer) = (vec![], vec![]);
        let mut client = ClientHandshake::new(0, [2; 32], &mut sent);
        session.handle_input(now, &sent);
        session.take_output(&mut answer);
        sent.clear();
        assert_eq!(client.read(0, &answer, &mut sent), Ok((answer.len(), true)));
        session.handle_input(now, &sent);
        Rig { session, reader: ChunkReader::new(), now }
    }

    /// Behind connect with the given extra members.
    fn connected(extra: &[(&str, Value)]) -> Rig {
        let mut rig = Rig::new();
        let mut members =
            vec![("app".to_owned(), Value::from("live")), ("flashVer".to_owned(), "test".into())];
        members.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        rig.command("connect", 1.0, &[Value::Object(Object(members))]);
        rig
    }

    fn publishing() -> Rig {
        let mut rig = Rig::connected(&[]);
        rig.command("publish", 5.0, &[Value::Null, "cam?key=k".into(), "live".into()]);
        assert!(matches!(rig.session.poll_event(), Some(Event::Publish(_))));
        rig.session.accept_publish(rig.now);
        rig.replies();
        rig
    }

    fn playing() -> Rig {
        let mut rig = Rig::connected(&[]);
        rig.command("createStream", 2.0, &[Value::Null]);
        rig.command("play", 3.0, &[Value::Null, "cam".into(), Value::Number(-2000.0)]);
        rig.replies();
        assert!(matches!(rig.session.poll_event(), Some(Event::Play(_))));
        rig.session.accept_play(rig.now);
        assert!(rig.session.poll_event().is_none());
        rig
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.session.handle_input(self.now, bytes);
    }

    fn message(&mut self, type_id: u8, timestamp_ms: u32, payload: &[u8]) {
        self.bytes(&message(type_id, timestamp_ms, payload));
    }

    fn command(&mut self, name: &str, transaction: f64, values: &[Value]) {
        self.message(type_id::COMMAND_AMF0, 0, &command(name, transaction, values));
    }

    /// Everything that the session has to say.
    fn messages(&mut self) -> Vec<Message> {
        let (mut out, mut messages, mut used) = (vec![], vec![], 0);
        self.session.take_output(&mut out);
        while let (n, Some(message)) = self.reader.read(0, &out[used..]).expect("valid") {
            used += n;
            messages.push(message);
        }
        messages
    }

    /// One line a message: command name, transaction and code or values; the number of other types.
    fn replies(&mut self) -> Vec<String> {
        self.messages().iter().map(outline).collect()
    }

    fn events(&mut self) -> Vec<String> {
        let mut events = vec![];
        while let Some(event) = self.session.poll_event() {
            events.push(match event {
                Event::Frame(frame) => format!("{:?} {} {:02x?}", frame.kind, frame.dts_ms, &frame.body[..]),
                other => format!("{other:?}"),
            });
        }
        events
    }

    fn at(&mut self, ms: u64) {
        self.now = Mono::from_micros(ms * 1000);
        self.session.handle_timeout(self.now);
    }
}

fn command(name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
    let mut body = vec![];
    amf0::write_string(&mut body, name);
    amf0::write_number(&mut body, transaction);
    values.iter().for_each(|value| value.encode(&mut body));
    body
}

fn message(type_id: u8, timestamp_ms: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let header = MessageHeader { csid: 3, timestamp_ms, length, type_id, stream_id: 1 };
    let mut out = vec![];
    write_message(&mut out, &header, payload, CHUNK_SIZE_DEFAULT);
    out
}

fn outline(message: &Message) -> String {
    let body = match message.type_id {
        type_id::COMMAND_AMF0 => &message.payload[..],
        type_id::COMMAND_AMF3 => &message.payload[1..],
        other => return format!("type {other} {:?}", Control::decode(other, &message.payload)),
    };
    let values = decode_all(body).expect("valid");
    let code = values.iter().find_map(|v| v.as_object()?.get("code")?.as_str());
    let (name, transaction) = (values[0].as_str().expect("name"), values[1].as_number().expect("number"));
    match code {
        Some(code) => format!("{name} {transaction} {code}"),
        None => format!("{name} {transaction} {:?}", &values[2..]),
    }
}

#[test]
fn connect_is_answered_in_order() {
    let mut rig = Rig::connected(&[]);
    assert_eq!(
        rig.replies(),
        [
            "type 5 Ok(Some(WindowAckSize(2500000)))",
            "type 6 Ok(Some(SetPeerBandwidth { window_bytes: 2500000, limit: 2 }))",
            "type 1 Ok(Some(SetChunkSize(65536)))",
            "_result 1 NetConnection.Connect.Success",
        ]
    );
}

#[test]
fn enhanced_clients_get_an_enhanced_answer_and_reconnect_requests() {
    for (extra, enhanced, reconnects) in [
        (vec![], false, false),
        (vec![("fourCcList", Value::StrictArray(vec!["hvc1".into()]))], true, false),
        (vec![("capsEx", Value::Number(1.0))], true, true),
    ] {
        let mut rig = Rig::connected(&extra);
        let answer = rig.messages().pop().expect("an answer");
        let values = decode_all(&answer.payload).expect("valid");
        let caps = values[3].as_object().expect("info").get("capsEx").and_then(Value::as_number);
        assert_eq!(caps, enhanced.then_some(15.0));
        assert_eq!(rig.session.request_reconnect(Some("rtmp://b/live")), reconnects);
        assert_eq!(rig.session.has_output(), reconnects);
    }
}

#[test]
fn object_encoding_3_is_answered_in_type_17() {
    let mut rig = Rig::connected(&[("objectEncoding", Value::Number(3.0))]);
    let answer = rig.messages().pop().expect("an answer");
    assert_eq!((answer.type_id, answer.payload[0]), (type_id::COMMAND_AMF3, 0));
    let body = [&[0], &command("createStream", 2.0, &[Value::Null])[..]].concat();
    rig.message(type_id::COMMAND_AMF3, 0, &body);
    assert_eq!(rig.replies(), ["_result 2 [Null, Number(1.0)]"]);
}

#[test]
fn a_publisher_comes_and_goes() {
    let mut rig = Rig::connected(&[]);
    rig.replies();
    rig.command("releaseStream", 2.0, &[Value::Null, "cam".into()]);
    rig.command("FCPublish", 3.0, &[Value::Null, "cam".into()]);
    rig.command("createStream", 4.0, &[Value::Null]);
    rig.command("_checkbw", 5.0, &[Value::Null]);
    rig.command("publish", 6.0, &[Value::Null, "cam?key=k".into(), "live".into()]);
    assert_eq!(
        rig.replies(),
        [
            "_result 2 [Null, Undefined]",
            "_result 3 [Null, Undefined]",
            "onFCPublish 0 NetStream.Publish.Start",
            "_result 4 [Null, Number(1.0)]",
        ]
    );
    match rig.session.poll_event() {
        Some(Event::Publish(request)) => assert_eq!(
            request,
            PublishRequest {
                app: "live".into(),
                stream: "cam".into(),
                query: "key=k".into(),
                client: "test".into(),
            }
        ),
        other => panic!("{other:?}"),
    }
    // frames behind the decision wait
    rig.message(type_id::VIDEO, 7, b"\x17\x01");
    assert!(rig.session.poll_event().is_none() && rig.session.is_deciding());
    rig.session.accept_publish(rig.now);
    assert_eq!(
        rig.replies(),
        ["type 4 Ok(Some(User(StreamBegin(1))))", "onStatus 0 NetStream.Publish.Start",]
    );
    assert_eq!(rig.events(), ["Video 7 [17, 01]"]);
    rig.command("FCUnpublish", 7.0, &[Value::Null, "cam".into()]);
    rig.command("deleteStream", 8.0, &[Value::Null, Value::Number(1.0)]);
    rig.message(type_id::VIDEO, 9, b"\x17\x01");
    assert_eq!(
        rig.replies(),
        ["onFCUnpublish 0 NetStream.Unpublish.Success", "onStatus 0 NetStream.Unpublish.Success",]
    );
    assert_eq!(rig.events(), [format!("{:?}", Event::Unpublish(StopCause::FcUnpublish))]);
    rig.at(10_000);
    assert_eq!(rig.events(), ["Closed(ClientDone)"]);
}

#[test]
fn transaction_0_asks_for_no_answer() {
    let mut rig = Rig::connected(&[]);
    rig.replies();
    rig.command("releaseStream", 0.0, &[Value::Null, "cam".into()]);
    rig.command("unheardOf", 0.0, &[Value::Null]);
    assert_eq!(rig.replies(), [""; 0]);
    rig.command("unheardOf", 9.0, &[Value::Null]);
    assert_eq!(rig.replies(), ["_error 9 NetConnection.Call.Failed"]);
}

#[test]
fn media_becomes_frames() {
    let rows: Vec<(u8, &[u8], Option<&str>)> = vec![
        (type_id::AUDIO, b"\xaf\x01", Some("Audio 5 [af, 01]")),
        (type_id::VIDEO, b"\x90hvc1", Some("Video 5 [90, 68, 76, 63, 31]")),
        (type_id::AUDIO, b"", None),
        (type_id::DATA_AMF0, b"\x02\0\x0d@setDataFrame\x02\0\x01a", Some("Data 5 [02, 00, 01, 61]")),
        (type_id::DATA_AMF0, b"\x02\0\x0d@setDataFrame", None),
        (type_id::DATA_AMF3, b"\0\x02\0\x01a", Some("Data 5 [02, 00, 01, 61]")),
        (type_id::AGGREGATE, b"\x08\0\0\x01\0\0\x09\0\0\0\0a\0\0\0\x0c", Some("Audio 5 [61]")),
        (19, b"x", None),
    ];
    for (type_id, payload, want) in rows {
        let mut rig = Rig::publishing();
        let dropped = rig.session.dropped_messages();
        rig.message(type_id, 5, payload);
        assert_eq!(rig.events(), Vec::from_iter(want), "type {type_id}");
        assert_eq!(rig.session.dropped_messages() - dropped, u64::from(want.is_none()));
    }
    let mut player = Rig::playing();
    player.message(type_id::AUDIO, 5, b"\xaf\x01");
    assert_eq!(player.events(), [""; 0], "only publishers have frames");
}

#[test]
fn frames_carry_both_arrival_times_and_the_publishers_clock() {
    let mut rig = Rig::publishing();
    let bytes = message(type_id::VIDEO, u32::MAX, b"\x17\x01");
    rig.now = Mono::from_micros(100);
    rig.bytes(&bytes[..3]);
    rig.now = Mono::from_micros(200);
    rig.bytes(&bytes[3..]);
    match rig.session.poll_event() {
        Some(Event::Frame(frame)) => {
            let times = (frame.first_byte_at.as_micros(), frame.complete_at.as_micros());
            assert_eq!((frame.kind, frame.dts_ms, times), (Kind::Video, u32::MAX, (100, 200)));
        }
        other => panic!("{other:?}"),
    }
    let mut back = Rig::publishing();
    back.message(type_id::VIDEO, 100, b"a");
    back.message(type_id::VIDEO, 20, b"b");
    assert_eq!(back.events(), ["Video 100 [61]", "Video 20 [62]"]);
}

#[test]
fn a_player_comes_pauses_and_goes() {
    let maps = Value::Object(Object(vec![("hvc1".into(), Value::Number(1.0))]));
    let mut rig = Rig::connected(&[("videoFourCcInfoMap", maps)]);
    rig.replies();
    rig.command("createStream", 2.0, &[Value::Null]);
    rig.command("getStreamLength", 3.0, &[Value::Null, "cam".into()]);
    rig.command("play", 4.0, &[Value::Null, "cam".into(), Value::Number(-2000.0)]);
    assert_eq!(rig.replies(), ["_result 2 [Null, Number(1.0)]", "_result 3 [Null, Number(0.0)]"]);
    match rig.session.poll_event() {
        Some(Event::Play(PlayRequest { stream, start_ms, capabilities, .. })) => {
            assert_eq!((stream.as_str(), start_ms), ("cam", None));
            assert!(capabilities.accepts_video(*b"hvc1") && !capabilities.accepts_video(*b"av01"));
        }
        other => panic!("{other:?}"),
    }
    rig.session.accept_play(rig.now);
    assert_eq!(rig.replies(), [""; 0], "what players see first is the application's");
    rig.command("pause", 0.0, &[Value::Null, Value::Boolean(true), Value::Number(0.0)]);
    rig.command("pause", 0.0, &[Value::Null, Value::Boolean(false), Value::Number(0.0)]);
    rig.command("receiveAudio", 0.0, &[Value::Null, Value::Boolean(false)]);
    rig.command("receiveVideo", 0.0, &[Value::Null, Value::Boolean(true)]);
    rig.command("seek", 0.0, &[Value::Null, Value::Number(1000.0)]);
    rig.command("play", 5.0, &[Value::Null, "other".into()]);
    rig.command("publish", 5.0, &[Value::Null, "other".into()]);
    rig.command("closeStream", 0.0, &[Value::Null]);
    assert_eq!(
        rig.replies(),
        [
            "onStatus 0 NetStream.Pause.Notify",
            "onStatus 0 NetStream.Unpause.Notify",
            "onStatus 0 NetStream.Seek.Notify",
            "onStatus 0 NetStream.Play.Start",
            "onStatus 0 NetStream.Seek.Failed",
            "onStatus 0 NetStream.Play.Failed",
            "onStatus 0 NetStream.Publish.BadName",
        ]
    );
    assert_eq!(
        rig.events(),
        [
            "Pause { paused: true }",
            "Pause { paused: false }",
            "ReceiveAudio(false)",
            "ReceiveVideo(true)",
            "PlayStopped(CloseStream)",
        ]
    );
}

#[test]
fn refusals_have_a_status_and_a_reason() {
    let publish = [
        (PublishRefusal::BadName, "NetStream.Publish.BadName", "Closed(PublishBadName)"),
        (PublishRefusal::Unauthorized, "NetStream.Publish.Denied", "Closed(PublishUnauthorized)"),
        (PublishRefusal::Unavailable, "NetStream.Publish.Failed", "Closed(PublishUnavailable)"),
    ];
    for (refusal, code, closed) in publish {
        let mut rig = Rig::connected(&[]);
        rig.command("publish", 5.0, &[Value::Null, "cam".into()]);
        rig.replies();
        rig.events();
        rig.session.reject_publish(rig.now, refusal);
        assert_eq!(
            (rig.replies(), rig.events()),
            (vec![format!("onStatus 0 {code}")], vec![closed.to_owned()])
        );
        assert_eq!(rig.session.deadline(), Mono::NEVER);
    }
    let play = [
        (PlayRefusal::StreamNotFound, "NetStream.Play.StreamNotFound", "Closed(PlayNotFound)"),
        (PlayRefusal::Unauthorized, "NetStream.Play.Failed", "Closed(PlayUnauthorized)"),
        (
            PlayRefusal::UnsupportedCodec,
            "NetStream.Play.NoSupportedTrackFound",
            "Closed(PlayUnsupportedCodec)",
        ),
        (PlayRefusal::Busy, "NetStream.Play.Failed", "Closed(PlayBusy)"),
    ];
    for (refusal, code, closed) in play {
        let mut rig = Rig::connected(&[]);
        rig.command("play", 5.0, &[Value::Null, "cam".into()]);
        rig.replies();
        rig.events();
        rig.session.reject_play(rig.now, refusal);
        assert_eq!(
            (rig.replies(), rig.events()),
            (vec![format!("onStatus 0 {code}")], vec![closed.to_owned()])
        );
    }
    let mut rig = Rig::connected(&[]);
    rig.replies();
    rig.command("publish", 5.0, &[Value::Null, "a/../b".into()]);
    let closed = vec!["Closed(InvalidName)".to_owned()];
    assert_eq!(
        (rig.replies(), rig.events()),
        (vec!["onStatus 0 NetStream.Publish.BadName".to_owned()], closed)
    );
}

#[test]
fn what_breaks_the_protocol_closes_with_a_reason() {
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (message(20, 0, &command("createStream", 1.0, &[])), "Closed(CommandBeforeConnect)"),
        (message(20, 0, &command("connect", 1.0, &[Value::Null])), "Closed(MessageSyntax)"),
        (message(20, 0, b"\x02\0\x09x"), "Closed(MessageSyntax)"),
        (message(20, 0, b"\x05"), "Closed(MessageSyntax)"),
        (message(17, 0, b"\x02\0\x01x"), "Closed(MessageSyntax)"),
        (message(4, 0, b"\0"), "Closed(MessageSyntax)"),
        (message(22, 0, b"\0"), "Closed(MessageSyntax)"),
        (message(1, 0, b"\0\0\0\0"), "Closed(MessageSyntax)"),
        (b"\xc6".to_vec(), "Closed(ChunkSyntax)"),
        (b"\x03\0\0\0\x01\0\x01\x14\0\0\0\0".to_vec(), "Closed(MessageTooLong)"),
    ];
    for (bytes, want) in rows {
        let mut rig = Rig::new();
        rig.bytes(&bytes);
        assert_eq!(rig.events(), [want], "{bytes:02x?}");
        assert!(rig.session.close_detail().is_some());
        rig.bytes(&bytes);
        assert_eq!(rig.events(), [""; 0], "closed is the end");
    }
    for (first, want) in [(b'G', "Closed(NotRtmp)"), (6, "Closed(RtmpeUnsupported)")] {
        let session = ServerSession::new(SessionConfig::default(), Mono::ZERO, [1; 32]);
        let mut rig = Rig { session, reader: ChunkReader::new(), now: Mono::ZERO };
        rig.bytes(&[first]);
        assert_eq!(rig.events(), [want]);
    }
}

#[test]
fn what_comes_before_a_decision_is_bounded() {
    let mut rig = Rig::connected(&[]);
    rig.command("publish", 5.0, &[Value::Null, "cam".into()]);
    rig.events();
    rig.bytes(&vec![0; HELD_BYTES_MAX]);
    assert_eq!(rig.events(), [""; 0]);
    rig.bytes(&[0]);
    assert_eq!(rig.events(), ["Closed(InputOverflow)"]);
}

#[test]
fn a_peer_that_asks_without_reading_is_closed() {
    let mut rig = Rig::connected(&[]);
    let ping = message(4, 0, b"\0\x06\0\0\0\x01");
    rig.bytes(&ping.repeat(OUTPUT_BYTES_MAX / ping.len() + 1));
    assert_eq!(rig.events(), ["Closed(OutputOverflow)"]);
    assert!(!rig.session.has_output());
}

#[test]
fn pings_windows_and_acknowledgements() {
    let mut rig = Rig::publishing();
    rig.message(4, 0, b"\0\x06\0\0\0\x2a");
    rig.message(6, 0, b"\0\x26\x25\xa0\x02");
    rig.message(6, 0, b"\0\0\x10\0\x02");
    assert_eq!(
        rig.replies(),
        [
            "type 4 Ok(Some(User(PingResponse(42))))",
            "type 5 Ok(Some(WindowAckSize(4096)))", // only when it changes
        ]
    );
    rig.message(5, 0, &5000u32.to_be_bytes());
    rig.replies();
    rig.message(8, 0, &[1; 1000]);
    rig.message(8, 0, &[1; 1000]);
    let bytes_in = rig.session.bytes_in();
    assert_eq!(rig.replies(), [format!("type 3 Ok(Some(Ack({bytes_in})))")]);
    rig.message(8, 0, &[1; 1000]);
    assert_eq!(rig.replies(), [""; 0]);
}

#[test]
fn deadlines() {
    let ms = |ms: u64| Mono::from_micros(ms * 1000);
    let mut session = ServerSession::new(SessionConfig::default(), ms(5), [1; 32]);
    assert_eq!(session.deadline(), ms(10_005));
    session.handle_timeout(ms(10_005));
    assert!(matches!(session.poll_event(), Some(Event::Closed(CloseReason::HandshakeTimeout))));

    let mut rig = Rig::connected(&[]);
    assert_eq!(rig.session.deadline(), ms(10_000));
    rig.at(9_999);
    assert_eq!(rig.events(), [""; 0]);
    rig.at(10_000);
    assert_eq!(rig.events(), ["Closed(RequestTimeout)"]);

    // the handshake does not buy time for connect; connect buys time for publish or play
    let config =
        SessionConfig { handshake_timeout_ms: 3000, request_timeout_ms: 2000, ..SessionConfig::default() };
    let mut rig = Rig::with(config, ms(1000));
    assert_eq!(rig.session.deadline(), ms(3000));
    rig.at(3000);
    assert_eq!(rig.events(), ["Closed(HandshakeTimeout)"]);
    let mut rig = Rig::with(config, ms(1000));
    rig.at(2500);
    let members = vec![("app".to_owned(), Value::from("live"))];
    rig.command("connect", 1.0, &[Value::Object(Object(members))]);
    assert_eq!(rig.session.deadline(), ms(4500));
    rig.at(4500);
    assert_eq!(rig.events(), ["Closed(RequestTimeout)"]);

    for mut rig in [Rig::playing(), Rig::publishing()] {
        assert_eq!(rig.session.deadline(), ms(30_000));
        rig.at(30_000);
        assert_eq!(rig.replies(), ["type 4 Ok(Some(User(PingRequest(30000))))"]);
        rig.at(60_000);
        assert_eq!(rig.session.deadline(), ms(75_000));
        rig.at(75_000);
        assert_eq!(rig.events(), ["Closed(Silent)"]);
        assert_eq!(rig.session.deadline(), Mono::NEVER);
    }
    // the time of a decision is the application's
    let mut rig = Rig::connected(&[]);
    rig.command("publish", 5.0, &[Value::Null, "cam".into()]);
    rig.events();
    rig.at(20_000);
    assert_eq!(rig.events(), [""; 0]);
    // any input is life
    let mut rig = Rig::playing();
    rig.at(70_000);
    rig.message(4, 0, b"\0\x07\0\0\0\0");
    rig.at(144_999);
    assert_eq!(rig.events(), [""; 0]);
}

#[test]
fn limits_follow_the_decision() {
    let long = vec![1; 70_000];
    let mut publisher = Rig::publishing();
    publisher.message(type_id::VIDEO, 0, &long);
    assert!(publisher.events()[0].starts_with("Video 0 "));
    for (mut rig, length) in [(Rig::connected(&[]), 70_000), (Rig::playing(), 5_000)] {
        rig.message(type_id::VIDEO, 0, &long[..length]);
        assert_eq!(rig.events(), ["Closed(MessageTooLong)"]);
    }
}

/// Bytes of user memory that one playing peer's session may hold, the struct itself included.
const PLAYING_BYTES_MAX: usize = 1024;

#[test]
fn a_playing_session_is_small() {
    let mut rig = Rig::playing();
    for _ in 0..3 {
        rig.command("pause", 0.0, &[Value::Null, Value::Boolean(true)]);
        rig.message(4, 0, b"\0\x06\0\0\0\x2a");
    }
    rig.replies();
    rig.events();
    let bytes = size_of::<ServerSession>() + rig.session.heap_bytes();
    assert!(bytes <= PLAYING_BYTES_MAX, "{bytes} bytes");
    let copied = rig.session.copied_bytes();
    rig.bytes(b"\xff");
    rig.bytes(b"\xff\xff");
    assert!(rig.session.is_closed() && copied > 0);
    assert_eq!(rig.session.copied_bytes(), copied, "counters outlive the session's memory");
}

proptest! {
    #[test]
    fn no_input_panics_and_garbage_ends(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        piece in 1..300usize,
        phase in 0..4,
    ) {
        let mut rig = match phase {
            0 => Rig::new(),
            1 => Rig::connected(&[]),
            2 => Rig::publishing(),
            _ => Rig::playing(),
        };
        for part in bytes.chunks(piece) {
            rig.bytes(part);
        }
        let closed = rig.events().iter().any(|event| event.starts_with("Closed("));
        prop_assert_eq!(closed, rig.session.is_closed());
        // whatever was read, the session ends by its deadlines
        for _ in 0..10 {
            let deadline = rig.session.deadline();
            rig.session.handle_timeout(deadline);
        }
        prop_assert!(rig.session.is_closed());
    }

    #[test]
    fn every_split_gives_the_same_events(cuts in prop::collection::vec(1..200usize, 1..60)) {
        let mut script = command("connect", 1.0, &[Value::Object(Object(vec![("app".into(), "live".into())]))]);
        script = message(20, 0, &script);
        script.extend(message(20, 0, &command("publish", 5.0, &[Value::Null, "cam".into()])));
        for time in 0..20 {
            script.extend(message(8 + (time % 2) as u8, 0xff_fff0 + time * 3, &vec![7; 40 * time as usize + 1]));
        }
        let run = |cuts: &[usize]| {
            let (mut rig, mut rest, mut events) = (Rig::new(), &script[..], vec![]);
            for cut in cuts.iter().chain(&[usize::MAX]) {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                rig.bytes(now);
                loop {
                    events.extend(rig.events());
                    if !rig.session.is_deciding() {
                        break;
                    }
                    rig.session.accept_publish(rig.now);
                }
            }
            (events, rig.session.copied_bytes())
        };
        let (events, copied) = run(&cuts);
        prop_assert_eq!(events.len(), 21);
        prop_assert_eq!((events, copied), run(&[]));
    }
}
