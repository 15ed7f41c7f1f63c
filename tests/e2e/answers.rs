//! Commands that live servers answer in their own way: pause, seek, getStreamLength, unknown ones; capabilities.

use crate::support::amf::Value;
use crate::support::checker::{Class, VIDEO, parts};
use crate::support::http::{get, request};
use crate::support::publisher::{Publisher, Raise, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::{poll, share_machine};
use std::sync::atomic::AtomicBool;

/// The next answer to `transaction`: its name and last value.
fn answer(client: &mut Client, transaction: f64) -> (String, Value) {
    loop {
        let message = client.receive().expect("an answer").expect("an open connection");
        let values = message.values();
        let name = values.first().and_then(Value::as_text).unwrap_or_default();
        if message.kind == 20 && values.get(1) == Some(&Value::Number(transaction)) && name.starts_with('_') {
            return (name.to_owned(), values.last().cloned().unwrap());
        }
    }
}

#[test]
fn length_seek_and_unknown_commands() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "answers", Shape::default());
    publisher.burst_until(5);
    let mut client = Client::connect(server.rtmp, "live", &[]);
    client.create_stream();
    client.command(0, "getStreamLength", 11.0, &[Value::Null, Value::text("answers")]);
    assert_eq!(answer(&mut client, 11.0), ("_result".to_owned(), Value::Number(0.0)));
    client.command(0, "makeCoffee", 12.0, &[Value::Null]);
    assert_eq!(answer(&mut client, 12.0).0, "_error");
    client.command(1, "play", 5.0, &[Value::Null, Value::text("answers")]);
    client.await_status(|code| code == "NetStream.Play.Start").unwrap();
    client.command(1, "seek", 0.0, &[Value::Null, Value::Number(0.0)]);
    client.await_status(|code| code.starts_with("NetStream.Seek.")).ok();
    publisher.burst_until(20);
    assert!(client.tag().is_some(), "seeking a live stream does not end it");
    server.stop();
}

#[test]
fn pause_and_resume_at_a_keyframe() {
    let _shared = share_machine();
    let server = Server::start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let shape = Shape { audio: false, ..Shape::default() };
        Publisher::start(&server, "pause", shape).run_beside(scope, &stop);
        let mut client = Client::connect(server.rtmp, "live", &[]);
        client.play("pause").unwrap();
        while client.tag().expect("media").kind != VIDEO {}
        client.command(1, "pause", 0.0, &[Value::Null, Value::Bool(true), Value::Number(0.0)]);
        client.await_status(|code| code == "NetStream.Pause.Notify").unwrap();
        let frames = || server.metrics().sum("headgate_frames_total", &[]);
        let paused_at = frames();
        poll("ten frames", LIMIT, || (frames() >= paused_at + 10.0).then_some(()));
        client.command(1, "pause", 0.0, &[Value::Null, Value::Bool(false), Value::Number(0.0)]);
        // From Pause.Notify to Unpause.Notify no media; then a keyframe first.
        loop {
            let message = client.receive().unwrap().expect("open");
            if message.status().is_some_and(|(code, _)| code == "NetStream.Unpause.Notify") {
                break;
            }
            assert_ne!(message.kind, VIDEO, "video while paused");
        }
        let classes = std::iter::from_fn(|| client.tag()).flat_map(|tag| parts(&tag));
        let first = classes.map(|p| p.class).find(|class| matches!(class, Class::Key | Class::Inter));
        assert_eq!(first, Some(Class::Key), "resumes at a keyframe");
    });
    server.stop();
}

#[test]
fn a_player_that_cannot_decode_the_stream_is_told() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "codec", Shape::default());
    publisher.burst_until(5);
    let only = |codec: &str| [("fourCcList", Value::List(vec![Value::text(codec)]))];
    let mut client = Client::connect(server.rtmp, "live", &only("avc1"));
    client.play("codec").unwrap();
    drop(publisher);
    // An Enhanced HEVC stream under another name, by hand: a sequence start and a keyframe.
    let mut hevc = Client::connect(server.rtmp, "live", &[]);
    hevc.publish("hevc").unwrap();
    let config = [&[0x90], b"hvc1".as_slice(), &[1; 23]].concat();
    let frame = [&[0x93], b"hvc1".as_slice(), &[0, 0, 0, 2, 0x26, 1]].concat();
    hevc.send(6, 9, 1, 0, &config).unwrap();
    hevc.send(6, 9, 1, 0, &frame).unwrap();
    server.await_stream();
    for (codec, plays) in [("*", true), ("hvc1", true), ("vp09", false)] {
        let mut client = Client::connect(server.rtmp, "live", &only(codec));
        let outcome = client.play("hevc");
        assert_eq!(outcome.is_ok(), plays, "{codec}: {outcome:?}");
        assert!(plays || outcome.unwrap_err().code.starts_with("NetStream."), "a clear status");
    }
    server.stop();
}

/// A player that mistypes an option hears what there is, rather than waiting for what it did not get.
#[test]
fn options_that_there_are_not() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "options", Shape::default());
    publisher.burst_until(5);
    for (query, told) in [("join=foo", "`keyframe` or `live`"), ("eflv=yes", "`keep` or `strip`")] {
        let mut client = Client::connect(server.rtmp, "live", &[]);
        let refused = client.play(&format!("options?{query}")).unwrap_err();
        assert_eq!(refused.code, "NetStream.Play.Failed");
        assert!(refused.description.contains(told), "{refused:?}");
        for medium in ["flv", "ts"] {
            let (status, text) = get(server.http, &format!("/live/options.{medium}?{query}"));
            assert_eq!(status, 400, "{medium} {query}");
            assert!(text.contains(told), "{medium} {query}: {text}");
        }
    }
    server.await_metrics("six refusals", |metrics| {
        metrics.sum("headgate_disconnects_total", &["reason=\"protocol_error\""]) == 6.0
    });
    let mut client = Client::connect(server.rtmp, "live", &[]);
    client.play("options?join=keyframe&eflv=keep&anything=else").unwrap();
    server.stop();
}

#[test]
fn a_stream_that_never_comes() {
    let _shared = share_machine();
    let server = Config::new().set("fanout.play_wait_ms", "300").start();
    let mut client = Client::connect(server.rtmp, "live", &[]);
    // Play.Start may come at once; the refusal follows it.
    let refused = client.play("never").err();
    let refused = refused.or_else(|| client.await_status(|_| false).err()).unwrap();
    assert_eq!(refused.code, "NetStream.Play.StreamNotFound");
    let response = request(server.http, "GET", "/live/never.flv");
    assert_eq!(response.status, 404);
    assert!(response.headers.contains_key("retry-after"), "{:?}", response.headers);
    server.stop();
}

#[test]
fn http_methods_and_browsers() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "web", Shape::default());
    publisher.burst_until(5);
    let get = request(server.http, "GET", "/live/web.flv");
    let header = |name: &str| get.headers.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!((get.status, header("content-type")), (200, "video/x-flv"));
    assert_eq!(header("access-control-allow-origin"), "*");
    assert!(header("cache-control").contains("no-store"), "{:?}", get.headers);
    assert!(!get.headers.contains_key("transfer-encoding") && !get.headers.contains_key("content-length"));
    let head = request(server.http, "HEAD", "/live/web.flv");
    assert_eq!(head.status, 200);
    assert!(head.body().is_empty(), "HEAD has no body");
    assert!(matches!(request(server.http, "OPTIONS", "/live/web.flv").status, 200 | 204));
    let post = request(server.http, "POST", "/live/web.flv");
    assert_eq!((post.status, post.headers["allow"].as_str()), (405, "GET, HEAD, OPTIONS"));
    let none = request(server.http, "HEAD", "/live/none.flv");
    assert!(none.status == 404 && none.headers.contains_key("retry-after") && none.early.is_empty());
    assert!(matches!(request(server.http, "DELETE", "/live/web.flv").status, 405 | 501));
    assert_eq!(request(server.http, "GET", "/live/web.exe").status, 404);
    server.stop();
}
