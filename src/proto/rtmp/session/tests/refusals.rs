//! Who is turned away, and what breaks the protocol: each with its status and its reason.

use super::*;

#[test]
fn refusals_have_a_status_and_a_reason() {
    let publish = [
        (PublishRefusal::NameTaken, "NetStream.Publish.BadName", "Closed(PublishNameTaken)"),
        (PublishRefusal::Unauthorized, "NetStream.Publish.Denied", "Closed(PublishUnauthorized)"),
        (PublishRefusal::Unavailable("full"), "NetStream.Publish.Failed", "Closed(PublishUnavailable)"),
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
        (PlayRefusal::Option("join may be".to_owned()), "NetStream.Play.Failed", "Closed(PlayOption)"),
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

/// One code says that a name is not to be had; whoever looks at an encoder's screen must know what to do about it.
#[test]
fn a_name_that_is_taken_and_one_that_is_not_allowed_are_told_apart() {
    let told = |name: &str, refusal: Option<PublishRefusal>| {
        let mut rig = Rig::connected(&[]);
        rig.replies();
        rig.command("publish", 5.0, &[Value::Null, name.into()]);
        refusal.into_iter().for_each(|refusal| rig.session.reject_publish(rig.now, refusal));
        let answer = rig.messages().pop().expect("an answer");
        let values = decode_all(&answer.payload).expect("valid");
        let status = values[3].as_object().expect("a status");
        let text = |key| status.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        assert_eq!(text("code"), "NetStream.Publish.BadName");
        text("description")
    };
    assert!(told("cam", Some(PublishRefusal::NameTaken)).contains("is taken"));
    for (name, why) in [("a#b", "`#`"), ("", "no stream name"), ("a/../b", "a level `.` or `..`")] {
        let told = told(name, None);
        assert!(told.contains("not allowed") && told.contains(why), "{name}: {told}");
    }
}
