//! Rows of the list of attacks (docs/reliability.md).

use super::*;

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
fn r6_hostile_names_are_refused_and_shown_shortly() {
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
            assert!(!detail.contains("s3cret"), "{detail:?}");
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
