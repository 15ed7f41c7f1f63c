//! Pings, windows and deadlines.

use super::*;

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
