//! Publish key and play token, right and wrong; neither ever reaches the log or the metrics.

use crate::support::http::{FlvPlayer, request};
use crate::support::publisher::{Publisher, Shape};
use crate::support::rtmp::{Client, Refused};
use crate::support::server::{Config, Server};
use crate::support::share_machine;

const KEY: &str = "publish-7f3a9c55";
const TOKEN: &str = "watch-b04e11d2";

fn guarded() -> Server {
    Config::new()
        .set("log.level", "\"trace\"")
        .set("apps.live.publish_key", &format!("{KEY:?}"))
        .set("apps.live.play_token", &format!("{TOKEN:?}"))
        .start()
}

fn publish(server: &Server, name: &str) -> Result<Client, Refused> {
    let mut client = Client::connect(server.rtmp, "live", &[]);
    client.publish(name).map(|()| client)
}

fn play(server: &Server, name: &str) -> Result<Client, Refused> {
    let mut client = Client::connect(server.rtmp, "live", &[]);
    client.play(name).map(|()| client)
}

#[test]
fn keys_open_and_nothing_else_does() {
    let _shared = share_machine();
    let server = guarded();
    let wrong = format!("door?token={KEY}x");
    for name in ["door", "door?token=", wrong.as_str(), "door?token=watch-b04e11d2", "door?other=1"] {
        publish(&server, name).map(|_| ()).expect_err(name);
    }
    let mut publisher = Publisher::start(&server, &format!("door?token={KEY}"), Shape::default());
    publisher.burst_until(5);
    for query in ["", "?token=", "?token=watch-b04e11d", &format!("?token={KEY}"), "?other=1"] {
        play(&server, &format!("door{query}")).map(|_| ()).expect_err(query);
        let status = request(server.http, "GET", &format!("/live/door.flv{query}")).status;
        assert!(matches!(status, 401 | 403), "{query}: {status}");
    }
    let mut player = play(&server, &format!("door?token={TOKEN}")).unwrap();
    assert!(player.tag().is_some());
    let mut player = FlvPlayer::open(server.http, &format!("/live/door.flv?token={TOKEN}"));
    assert!(player.tag().is_some());
    assert!(
        FlvPlayer::open(server.http, &format!("/live/door.flv?eflv=strip&token={TOKEN}")).tag().is_some()
    );
    let page = server.metrics_page();
    let log = server.stop();
    for secret in [KEY, TOKEN] {
        assert!(!log.contains(secret), "the log holds {secret}:\n{log}");
        assert!(!page.contains(secret), "the metrics hold {secret}");
    }
    assert!(log.contains("door"), "the log names the stream");
}

/// A token that is wrong is somebody's typing error, often of the right one: it does not reach the log either.
#[test]
fn wrong_keys_stay_out_of_the_log() {
    let _shared = share_machine();
    let server = guarded();
    publish(&server, "door?token=almost-right").map(|_| ()).unwrap_err();
    request(server.http, "GET", "/live/door.flv?token=nearly-right");
    let log = server.stop();
    assert!(!log.contains("almost-right") && !log.contains("nearly-right"), "{log}");
}

/// A slash in the stream's name makes an application below the guarded one; its keys hold there too.
#[test]
fn a_longer_name_is_no_way_around_the_key() {
    let _shared = share_machine();
    let server = guarded();
    for (app, name) in [("live", "room/door"), ("live/room", "door"), ("live", "/room/a/door")] {
        let mut client = Client::connect(server.rtmp, app, &[]);
        client.publish(name).expect_err(name);
        let mut client = Client::connect(server.rtmp, app, &[]);
        client.play(name).expect_err(name);
    }
    let mut publisher = Publisher::start(&server, &format!("room/door?token={KEY}"), Shape::default());
    publisher.burst_until(5);
    assert_eq!(request(server.http, "GET", "/live/room/door.flv").status, 403);
    let mut player = FlvPlayer::open(server.http, &format!("/live/room/door.flv?token={TOKEN}"));
    assert!(player.tag().is_some());
    server.stop();
}

/// OBS puts the query into the stream key, some encoders into the server's URL.
#[test]
fn the_key_may_stand_behind_the_application() {
    let _shared = share_machine();
    let server = guarded();
    let mut client = Client::connect(server.rtmp, &format!("live?token={KEY}"), &[]);
    client.publish("door").unwrap();
    let log = server.stop();
    assert!(!log.contains(KEY), "{log}");
}

#[test]
fn an_open_gateway_says_so() {
    let _shared = share_machine();
    let log = Server::start().stop().to_lowercase();
    assert!(log.contains("anyone") && log.contains("publish"), "no warning that anyone may publish:\n{log}");
}

#[test]
fn a_reload_changes_keys_and_keeps_what_was_good() {
    let _shared = share_machine();
    let server = guarded();
    publish(&server, &format!("before?token={KEY}")).unwrap();
    server.reload(KEY, "another-key");
    publish(&server, &format!("old?token={KEY}")).map(|_| ()).expect_err("the old key");
    publish(&server, "new?token=another-key").unwrap();
    // A mistake in the file changes nothing.
    server.reload("publish_key", "publish_kee");
    publish(&server, "still?token=another-key").unwrap();
    let log = server.stop();
    assert!(log.contains("reload failed") && log.contains("publish_kee"), "{log}");
    assert!(!log.contains("another-key"), "the log holds a key:\n{log}");
}
