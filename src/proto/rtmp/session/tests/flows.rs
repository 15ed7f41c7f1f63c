//! What publishers and players do when all goes well.

use super::*;

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
    assert_eq!(rig.events(), ["Closed(RequestTimeout)"]);
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
    assert_eq!(rig.events(), ["Closed(RequestTimeout)"], "who stays away has had its time");
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
fn what_is_copied_out_of_an_aggregate_is_told() {
    let mut rig = Rig::publishing();
    let tag = |body: &[u8]| [&[8, 0, 0, body.len() as u8, 0, 0, 0, 0, 0, 0, 0][..], body, &[0; 4]].concat();
    rig.message(type_id::AUDIO, 5, b"\xaf\x01abc");
    assert_eq!(rig.session.take_tally().split_bytes, 0, "a message of its own is copied once");
    rig.message(type_id::AGGREGATE, 5, &[tag(b"\xaf\x01abc"), tag(b"\xaf\x01d")].concat());
    assert_eq!(rig.events().len(), 3);
    assert_eq!(rig.session.take_tally().split_bytes, 5 + 3);
}

/// Some encoders leave something behind a command; it is no reason to close a publisher in the middle of a stream.
#[test]
fn what_is_left_behind_a_command_is_left_out() {
    let rows: [(&[u8], u64); 5] = [
        (b"", 0),
        // A stray object end, filling, what no specification knows, half a value.
        (b"\0\0\x09", 1),
        (&[0; 7], 1),
        (&[0xff; 4], 1),
        (b"\x02\0\x05liv", 1),
    ];
    for (tail, mended) in rows {
        let mut rig = Rig::connected(&[]);
        assert_eq!(rig.session.take_tally().commands_mended, 0);
        let body = [&command("publish", 5.0, &[Value::Null, "cam".into(), "live".into()])[..], tail].concat();
        rig.message(type_id::COMMAND_AMF0, 0, &body);
        assert_eq!(rig.events(), ["Publish(PublishRequest(live/cam by \"test\"))"], "{tail:02x?}");
        assert_eq!(rig.session.take_tally().commands_mended, mended, "{tail:02x?}");
        assert_eq!(rig.session.take_tally().commands_mended, 0, "told once");
        rig.session.accept_publish(rig.now);
        rig.replies();
        let body = [&command("FCUnpublish", 7.0, &[Value::Null])[..], tail].concat();
        rig.message(type_id::COMMAND_AMF0, 0, &body);
        assert_eq!(rig.events(), ["Unpublish(FcUnpublish)"]);
    }
    // What cannot be read where a command says what it wants is: the app alone may be the name of another stream.
    for (name, half) in [("publish", &b"\x02\0\x05liv"[..]), ("pause", b"\x01"), ("receiveVideo", b"\x01")] {
        let mut rig = Rig::connected(&[]);
        let body = [&command(name, 5.0, &[Value::Null])[..], half].concat();
        rig.message(type_id::COMMAND_AMF0, 0, &body);
        assert_eq!(rig.events(), ["Closed(MessageSyntax)"], "{name}");
    }
    // What costs too much is not forgiven either: rows R4.
    let mut rig = Rig::connected(&[]);
    let publish = command("publish", 5.0, &[Value::Null, "cam".into()]);
    rig.message(type_id::COMMAND_AMF0, 0, &[publish, b"\x03\0\x01a".repeat(100)].concat());
    assert_eq!(rig.events(), ["Closed(MessageSyntax)"]);
}
