//! Joining: newest keyframe by default, `?join=live`, waiting for a publisher, leaving.

use crate::support::amf::Value;
use crate::support::checker::{AUDIO, Class, Tag, VIDEO, parts};
use crate::support::http::FlvPlayer;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, Server};
use crate::support::share_machine;
use std::sync::atomic::AtomicBool;

/// A GOP in which nothing else happens while a test looks.
const SHAPE: Shape = Shape { fps: 25, gop: 50, key_bytes: 5000, inter_bytes: 800, audio: true };

fn is_coded_video(tag: &Tag) -> bool {
    parts(tag).iter().any(|part| matches!(part.class, Class::Key | Class::Inter))
}

#[test]
fn joins_at_the_newest_keyframe_with_its_timestamps() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "join", SHAPE);
    publisher.burst_and_see(&server, "join", 75);
    let mut http = FlvPlayer::open(server.http, "/live/join.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("join").unwrap();
    publisher.burst_until(100);
    publisher.finish();
    for (who, tags) in [("http", http.tags()), ("rtmp", rtmp.tags())] {
        let audit = Audit::of(SHAPE, &tags);
        audit.assert_complete(&publisher);
        assert_eq!((audit.video.first, audit.video.last), (50, 99), "{who}");
        let configs = tags.iter().filter(|tag| parts(tag).iter().any(|part| part.class == Class::Config));
        // Configuration is stamped with the join entry's time, so that no player sees time go back.
        assert!(configs.clone().count() >= 2 && configs.clone().all(|tag| tag.time_ms == 2000), "{who}");
    }
    server.stop();
}

#[test]
fn join_live_waits_for_the_next_keyframe() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "live-edge", SHAPE);
    publisher.burst_until(20);
    let mut player = FlvPlayer::open(server.http, "/live/live-edge.flv?join=live");
    publisher.burst_until(100);
    publisher.finish();
    let tags = player.tags();
    let audit = Audit::of(SHAPE, &tags);
    assert_eq!(audit.video.first, 50, "video from the next keyframe");
    audit.assert_complete(&publisher);
    let first = tags.iter().find(|tag| is_coded_video(tag)).unwrap();
    assert!(audit.checker.track(8).unwrap().first_ms < first.time_ms, "audio at once");
    server.stop();
}

#[test]
fn join_live_beside_a_plain_viewer() {
    let _shared = share_machine();
    // One core, so that the log with the pictures is already read there.
    let server = Config::new().arguments(&["--cores", "0"]).start();
    let mut publisher = Publisher::start(&server, "beside", SHAPE);
    publisher.burst_until(20);
    let mut plain = FlvPlayer::open(server.http, "/live/beside.flv");
    let mut seen = vec![plain.tag().expect("media")];
    let mut live = FlvPlayer::open(server.http, "/live/beside.flv?join=live");
    publisher.burst_until(100);
    publisher.finish();
    let audit = Audit::of(SHAPE, &live.tags());
    assert_eq!(audit.video.first, 50, "video from the next keyframe, not the newest");
    audit.assert_complete(&publisher);
    seen.extend(plain.tags());
    Audit::of(SHAPE, &seen).assert_complete(&publisher);
    server.stop();
}

#[test]
fn join_live_without_sound() {
    let _shared = share_machine();
    let server = Server::start();
    let shape = Shape { audio: false, ..SHAPE };
    let mut publisher = Publisher::start(&server, "mute", shape);
    publisher.burst_until(20);
    let mut player = std::thread::scope(|scope| {
        let player = scope.spawn(|| FlvPlayer::open(server.http, "/live/mute.flv?join=live"));
        server.await_subscribers(1);
        // It is answered when there is a keyframe, and when it is known that no sound comes.
        publisher.burst_until(99);
        player.join().unwrap()
    });
    publisher.burst_until(100);
    publisher.finish();
    let audit = Audit::of(shape, &player.tags());
    assert_eq!(audit.video.first, 50, "the next keyframe");
    audit.assert_complete(&publisher);
    server.stop();
}

#[test]
fn play_and_stop_in_one_breath() {
    let _shared = share_machine();
    let server = Config::new().arguments(&["--cores", "0"]).start();
    let mut publisher = Publisher::start(&server, "breath", SHAPE);
    publisher.burst_until(20);
    let mut plain = FlvPlayer::open(server.http, "/live/breath.flv");
    let mut seen = vec![plain.tag().expect("media")];
    for _ in 0..20 {
        let mut client = Client::connect(server.rtmp, "live", &[]);
        client.create_stream();
        client.command(1, "play", 5.0, &[Value::Null, Value::text("breath")]);
        client.command(1, "receiveVideo", 0.0, &[Value::Null, Value::Bool(false)]);
        client.command(1, "closeStream", 0.0, &[Value::Null]);
    }
    server.await_subscribers(1);
    publisher.burst_until(100);
    publisher.finish();
    seen.extend(plain.tags());
    Audit::of(SHAPE, &seen).assert_complete(&publisher);
    server.await_subscribers(0);
    server.stop();
}

#[test]
fn every_protocol_sees_the_same_media() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "equal", SHAPE);
    publisher.burst_until(1);
    let mut http = FlvPlayer::open(server.http, "/live/equal.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("equal").unwrap();
    publisher.burst_until(60);
    publisher.finish();
    let media = |tags: Vec<Tag>| -> Vec<Tag> {
        let coded = tags.into_iter().skip_while(|tag| !is_coded_video(tag));
        coded.filter(|tag| tag.kind != 18).collect()
    };
    assert_eq!(media(http.tags()), media(rtmp.tags()));
    server.stop();
}

#[test]
fn a_player_that_comes_first_waits_for_its_publisher() {
    let _shared = share_machine();
    let server = Server::start();
    std::thread::scope(|scope| {
        let http = scope.spawn(|| FlvPlayer::open(server.http, "/live/later.flv").tags());
        let rtmp = scope.spawn(|| {
            let mut client = Client::connect(server.rtmp, "live", &[]);
            client.play("later").unwrap();
            client.tags()
        });
        server.await_subscribers(2);
        let mut publisher = Publisher::start(&server, "later", SHAPE);
        publisher.burst_until(60);
        publisher.finish();
        for tags in [http.join().unwrap(), rtmp.join().unwrap()] {
            let audit = Audit::of(SHAPE, &tags);
            audit.assert_complete(&publisher);
        }
    });
    server.stop();
}

#[test]
fn flags_of_the_header_are_true() {
    let _shared = share_machine();
    let server = Server::start();
    let kinds = [(25, true, 5), (25, false, 1), (0, true, 4)];
    for (n, (fps, audio, flags)) in kinds.into_iter().enumerate() {
        let name = format!("flags-{n}");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _raise = Raise(&stop);
            Publisher::start(&server, &name, Shape { fps, audio, ..SHAPE }).run_beside(scope, &stop);
            let mut player = FlvPlayer::open(server.http, &format!("/live/{name}.flv"));
            // A flag for a track that never comes makes browsers wait for it forever.
            let (mut kinds, mut left) = (0, 60);
            while left > 0 {
                let tag = player.tag().expect("media");
                kinds |= match tag.kind {
                    VIDEO => 1,
                    AUDIO => 4,
                    _ => 0,
                };
                left -= 1;
            }
            assert_eq!((player.reader.flags(), kinds), (Some(flags), flags), "fps {fps}, audio {audio}");
        });
    }
    server.stop();
}
