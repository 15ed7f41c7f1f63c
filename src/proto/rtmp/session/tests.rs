//! The session against a scripted client: flows, decisions, deadlines, bounds.

use super::*;
use crate::media::Kind;
use crate::proto::rtmp::commands::{PUBLISHES_MAX, PUBLISHES_WINDOW};
use crate::proto::rtmp::event::{Fault, PlayRefusal, PlayRequest, PublishRefusal, PublishRequest, StopCause};
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
fn a_publisher_may_publish_again() {
    let mut rig = Rig::publishing();
    let ends = [("FCUnpublish", true), ("deleteStream", false), ("closeStream", false)];
    for (round, (end, answered)) in ends.into_iter().cycle().take(usize::from(PUBLISHES_MAX) - 1).enumerate()
    {
        rig.command(end, 7.0, &[Value::Null, Value::Number(1.0)]);
        assert_eq!(rig.replies().len(), if answered { 2 } else { 0 }, "{end}");
        assert_eq!(rig.events().len(), 1, "{end}");
        rig.message(type_id::VIDEO, 9, b"\x17\x01");
        assert_eq!(rig.events(), [""; 0], "between two streams nothing is one's");
        rig.command("createStream", 8.0, &[Value::Null]);
        assert_eq!(rig.replies(), ["_result 8 [Null, Number(1.0)]"]);
        rig.command("publish", 9.0, &[Value::Null, "other?key=k".into(), "live".into()]);
        match rig.session.poll_event() {
            Some(Event::Publish(PublishRequest { app, stream, query, client })) => {
                assert_eq!([app, stream, query, client], ["live", "other", "key=k", "test"]);
            }
            other => panic!("{round}: {other:?}"),
        }
        assert!(rig.session.is_deciding());
        rig.session.accept_publish(rig.now);
        rig.replies();
        rig.message(type_id::VIDEO, 9, b"\x17\x01");
        assert_eq!(rig.events(), ["Video 9 [17, 01]"]);
    }
    rig.command("deleteStream", 0.0, &[Value::Null]);
    rig.command("publish", 9.0, &[Value::Null, "cam".into()]);
    assert_eq!(rig.replies(), ["onStatus 0 NetStream.Publish.BadName"], "not without end");
    assert_eq!(rig.events(), ["Unpublish(DeleteStream)"]);
    rig.now = rig.now + PUBLISHES_WINDOW;
    rig.command("publish", 9.0, &[Value::Null, "cam".into()]);
    assert!(rig.session.is_deciding(), "tomorrow is another day");
    rig.events();
    rig.session.accept_publish(rig.now);
    rig.command("deleteStream", 0.0, &[Value::Null]);
    rig.events();
    rig.now = rig.now + Duration::from_secs(10);
    rig.session.handle_timeout(rig.now);
    assert_eq!(rig.events(), ["Closed(ClientDone)"], "who stays away is done");
}

#[test]
fn one_stream_at_a_time() {
    let mut publisher = Rig::publishing();
    for command in ["publish", "play"] {
        publisher.command(command, 5.0, &[Value::Null, "other".into()]);
    }
    let refused = ["onStatus 0 NetStream.Publish.BadName", "onStatus 0 NetStream.Play.Failed"];
    assert_eq!((publisher.replies(), publisher.events()), (refused.map(str::to_owned).to_vec(), vec![]));
    publisher.command("deleteStream", 0.0, &[Value::Null]);
    publisher.events();
    publisher.command("play", 5.0, &[Value::Null, "cam".into()]);
    assert_eq!(publisher.replies(), ["onStatus 0 NetStream.Play.Failed"], "a publisher stays one");
    let mut player = Rig::playing();
    player.command("closeStream", 0.0, &[Value::Null]);
    player.events();
    for command in ["publish", "play"] {
        player.command(command, 5.0, &[Value::Null, "cam".into()]);
    }
    assert_eq!((player.replies(), player.events()), (refused.map(str::to_owned).to_vec(), vec![]));
}

#[test]
fn r2_unfinished_messages_close_with_their_reason() {
    let open = |csid: u8, length: [u8; 3]| [&[csid, 0, 0, 0][..], &length, &[9, 1, 0, 0, 0, b'x']].concat();
    let rows = [
        // 16 MiB announced: refused at the first header
        (Rig::connected(&[]), [0xff, 0xff, 0xff], 1, "Closed(MessageTooLong)"),
        (Rig::publishing(), [0xff, 0xff, 0xff], 1, "Closed(MessageTooLong)"),
        // as much as is allowed, on ever more chunk streams
        (Rig::connected(&[]), [0, 0xff, 0xff], 33, "Closed(TooMuchOutstanding)"),
        (Rig::publishing(), [0x60, 0, 0], 33, "Closed(TooMuchOutstanding)"),
    ];
    for (mut rig, length, tries, want) in rows {
        rig.message(1, 0, b"\0\0\0\x01");
        for csid in 0..tries {
            assert!(!rig.session.is_closed(), "{want} behind {csid}");
            rig.bytes(&open(10 + csid, length));
            assert!(rig.session.heap_bytes() <= 9 << 20, "{}", rig.session.heap_bytes());
        }
        assert_eq!(rig.events(), [want]);
        assert!(rig.session.heap_bytes() < 16 << 10, "{}", rig.session.heap_bytes());
    }
}

#[test]
fn r2_a_large_keyframe_of_a_publisher_passes() {
    let mut rig = Rig::publishing();
    let body = vec![0x17; 6 << 20];
    for part in message(type_id::VIDEO, 7, &body).chunks(4096) {
        rig.bytes(part);
    }
    match rig.session.poll_event() {
        Some(Event::Frame(frame)) => assert_eq!((frame.body.len(), frame.dts_ms), (body.len(), 7)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn r4_a_command_is_small_whoever_sends_it() {
    let deep = b"\x03\0\x01a".repeat(10_000);
    let many: Vec<u8> = [b"\x08\xff\xff\xff\xff".to_vec(), b"\0\x01a\x05".repeat(10_000)].concat();
    let rows: [(&[u8], &str); 6] = [
        (&deep, "Closed(MessageSyntax)"),
        (&many, "Closed(MessageSyntax)"),
        (b"\x02\xff\xffpublish", "Closed(MessageSyntax)"),
        (b"\x11\x09\x03\x01\x09\x00", "Closed(MessageSyntax)"),
        (b"\x0c\xff\xff\xff\xff", "Closed(MessageSyntax)"),
        (&[5; 70_000], "Closed(MessageTooLong)"),
    ];
    for (tail, want) in rows {
        for mut rig in [Rig::new(), Rig::connected(&[]), Rig::publishing()] {
            let body = [&command("connect", 1.0, &[])[..], tail].concat();
            rig.message(type_id::COMMAND_AMF0, 0, &body);
            assert_eq!(rig.events(), [want], "{:02x?}", &tail[..6]);
        }
    }
    // Metadata is no command: its bound is the stream's.
    let mut rig = Rig::publishing();
    let index: Vec<Value> = (0..4000).map(|n| Value::Number(f64::from(n))).collect();
    let mut body = vec![];
    amf0::write_string(&mut body, "onMetaData");
    Value::StrictArray(index).encode(&mut body);
    rig.message(type_id::DATA_AMF0, 0, &body);
    assert!(rig.events()[0].starts_with("Data 0"));
}

#[test]
fn r5_half_and_double_handshakes() {
    let (mut hello, mut output) = (vec![], vec![]);
    ClientHandshake::new(0, [2; 32], &mut hello);
    // A byte at a time, and never the last one: little memory, and the deadline stands.
    let mut session = ServerSession::new(SessionConfig::default(), Mono::ZERO, [1; 32]);
    for (second, byte) in (0..).zip(&hello[..hello.len() - 1]) {
        session.handle_input(Mono::from_micros(second), &[*byte]);
    }
    assert!(!session.has_output() && session.heap_bytes() <= 3 << 10, "{}", session.heap_bytes());
    assert_eq!(session.deadline(), Mono::from_micros(10_000_000), "bytes buy no time");
    // C1 again counts as C2, whose contents mean nothing; what follows is no chunk stream.
    let mut session = ServerSession::new(SessionConfig::default(), Mono::ZERO, [1; 32]);
    session.handle_input(Mono::ZERO, &hello);
    session.handle_input(Mono::ZERO, &hello[1..]);
    session.take_output(&mut output);
    assert_eq!(output.len(), 1 + 2 * 1536, "answered once");
    for _ in 0..3 {
        session.handle_input(Mono::ZERO, &hello);
    }
    assert!(matches!(session.poll_event(), Some(Event::Closed(reason)) if reason.fault() != Fault::Nobody));
    for version in [0, 1, 2, 4, 5, 0x16, b'G', 0xff] {
        let mut session = ServerSession::new(SessionConfig::default(), Mono::ZERO, [1; 32]);
        session.handle_input(Mono::ZERO, &[version]);
        assert!(matches!(session.poll_event(), Some(Event::Closed(CloseReason::NotRtmp))), "{version}");
        assert!(!session.has_output(), "what is no RTMP gets no answer");
    }
}

#[test]
fn r6_hostile_names_are_refused_and_shown_harmlessly() {
    let long = |len: usize| "n".repeat(len);
    let names = [
        long(256),
        long(4096),
        long(65_000),
        "c\0m".into(),
        "c\r\nlevel=error".into(),
        "%2e%2e".into(),
        "..%2f..".into(),
        "%252e%252e".into(),
        "a/../../b".into(),
        "a\\b".into(),
        "\u{1b}[31m".into(),
        "c\u{fffd}m".into(),
    ];
    for name in names {
        for command in ["publish", "play"] {
            let mut rig = Rig::connected(&[]);
            rig.replies();
            let told = format!("{name}?token=s3cret");
            let value = if told.len() > 65_000 { Value::from(name.as_str()) } else { told.as_str().into() };
            rig.command(command, 5.0, &[Value::Null, value]);
            assert_eq!(rig.events(), ["Closed(InvalidName)"], "{name:?}");
            assert_eq!(rig.replies().len(), 1, "a status says so");
            let detail = rig.session.close_detail().expect("what was wrong").to_owned();
            assert!(!detail.contains("s3cret") && !detail.chars().any(char::is_control), "{detail:?}");
            assert!(detail.contains("live/") && detail.len() < 400, "{detail:?}");
        }
    }
    // Bytes that are no UTF-8.
    let mut rig = Rig::connected(&[]);
    let body = [&command("publish", 5.0, &[Value::Null])[..], b"\x02\0\x04c\xff\xfem"].concat();
    rig.message(type_id::COMMAND_AMF0, 0, &body);
    assert_eq!(rig.events(), ["Closed(InvalidName)"]);
    // Just short enough.
    let mut rig = Rig::connected(&[]);
    rig.command("publish", 5.0, &[Value::Null, long(255).as_str().into()]);
    assert!(matches!(rig.session.poll_event(), Some(Event::Publish(_))));
}

#[test]
fn r8_odd_media_is_dropped_or_passed_on_as_it_came() {
    // Nothing in it: no frame, and the publisher goes on.
    let mut rig = Rig::publishing();
    let dropped = rig.session.dropped_messages();
    let mut nothings = 0;
    for type_id in
        [type_id::AUDIO, type_id::VIDEO, type_id::DATA_AMF0, type_id::DATA_AMF3, type_id::AGGREGATE, 0]
    {
        rig.message(type_id, 5, b"");
        nothings += u64::from(type_id != type_id::AGGREGATE);
    }
    // Video in a message of type 0, and an aggregate of what does not belong into one.
    rig.message(0, 5, b"\x17\x01");
    let tag = |type_id: u8, body: &[u8]| {
        [&[type_id, 0, 0, body.len() as u8, 0, 0, 0, 0, 0, 0, 0][..], body, &[0; 4]].concat()
    };
    let odd = [tag(9, b""), tag(20, b"x"), tag(22, b"x"), tag(0, b""), tag(8, b"a")].concat();
    rig.message(type_id::AGGREGATE, 5, &odd);
    assert_eq!(rig.events(), ["Audio 5 [61]"]);
    assert_eq!(rig.session.dropped_messages() - dropped, nothings + 1 + 4);
    // Wrapping, backwards, half the circle away: the stream's clock (`fanout::timeline`) makes one line of them.
    for time in [u32::MAX, 0, 5, 1 << 31, 4, (1 << 31) + 4, 0] {
        rig.message(type_id::VIDEO, time, b"a");
        assert_eq!(rig.events(), [format!("Video {time} [61]")]);
    }
    for broken in [&b"\0"[..], &tag(9, b"abc")[..12], b"\x09\xff\xff\xff\0\0\0\0\0\0\0"] {
        let mut rig = Rig::publishing();
        rig.message(type_id::AGGREGATE, 5, broken);
        assert_eq!(rig.events(), ["Closed(MessageSyntax)"]);
        let mut rig = Rig::connected(&[]);
        rig.message(type_id::AGGREGATE, 5, broken);
        assert_eq!(rig.events(), [""; 0], "of others not even read");
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
