//! What a session holds, and when that is too much.

use super::*;

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
