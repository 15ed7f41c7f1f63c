//! Publishers that come, go, return and compete.

use crate::support::amf::{self, Value};
use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::{poll, share_machine};
use std::net::Shutdown;

/// Reads until video frame `number` has come.
fn read_until(player: &mut FlvPlayer, audit: &mut Audit, number: u32) {
    while audit.video.count == 0 || audit.video.last < number {
        audit.tag(&player.tag().expect("the subscriber stays"));
    }
}

fn try_publish(server: &Server, name: &str) -> bool {
    let mut client = Client::connect(server.rtmp, "live", &[]);
    match client.publish(name) {
        Ok(()) => true,
        Err(refused) => {
            assert_eq!(refused.code, "NetStream.Publish.BadName");
            false
        }
    }
}

engine_tests!(returns_within_the_grace, second_publisher, ends_when_the_grace_is_over);

fn returns_within_the_grace(config: Config) {
    let server = config.set("publish.republish_grace_ms", "20_000").start();
    let shape = Shape::default();
    let mut publisher = Publisher::start(&server, "back", shape);
    publisher.burst_until(20);
    let mut player = FlvPlayer::open(server.http, "/live/back.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("back").unwrap();
    let mut audit = Audit::new(shape);
    read_until(&mut player, &mut audit, 19);
    publisher.client.socket().shutdown(Shutdown::Both).unwrap();
    server.await_no_publisher();
    // The encoder restarts: its clock is at another place, its numbers go on so that the audit can follow.
    let mut back = Publisher::start(&server, "back", shape);
    back.follow(&publisher);
    let mut publisher = back;
    publisher.base_ms = 3_000_000;
    publisher.burst_until(40);
    read_until(&mut player, &mut audit, 39);
    assert!(audit.video.is_gapless(), "{:?}", audit.video);
    let last = audit.checker.track(9).unwrap().last_ms;
    assert!(last < 600_000, "the encoder's new clock shows through: {last} ms");
    publisher.finish();
    drop(player);
    server.await_subscribers(1);
    let mut audit = Audit::new(shape);
    while audit.video.count == 0 || audit.video.last < 39 {
        audit.tag(&rtmp.tag().expect("the RTMP subscriber stays too"));
    }
    assert!(audit.video.is_gapless(), "{:?}", audit.video);
    server.stop();
}

fn second_publisher(config: Config) {
    let server = config.set("publish.takeover_after_ms", "1500").start();
    let mut first = Publisher::start(&server, "rival", Shape::default());
    first.burst_until(5);
    let mut player = FlvPlayer::open(server.http, "/live/rival.flv");
    let mut audit = Audit::new(first.shape);
    read_until(&mut player, &mut audit, 4);
    assert!(!try_publish(&server, "rival"), "the first is alive");
    // It goes silent but keeps its connection; the rival asks until it is let in.
    let mut second = poll("the takeover", LIMIT, || {
        Publisher::try_on(Client::connect(server.rtmp, "live", &[]), "rival", first.shape).ok()
    });
    second.follow(&first);
    second.burst_until(30);
    read_until(&mut player, &mut audit, 29);
    server.stop();
}

fn ends_when_the_grace_is_over(config: Config) {
    let server = config.set("publish.republish_grace_ms", "200").start();
    let mut publisher = Publisher::start(&server, "ends", Shape::default());
    publisher.burst_until(30);
    let mut http = FlvPlayer::open(server.http, "/live/ends.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("ends").unwrap();
    publisher.finish();
    for tags in [http.tags(), rtmp.tags()] {
        Audit::of(publisher.shape, &tags).assert_complete(&publisher);
    }
    server.await_metrics("nothing is left", |metrics| {
        ["streams", "publishers", "subscribers"]
            .iter()
            .all(|name| metrics.sum(&format!("headgate_{name}"), &[]) == 0.0)
    });
    assert!(try_publish(&server, "ends"), "the name is free again");
    server.stop();
}

#[test]
fn a_silent_publisher_is_let_go() {
    let _shared = share_machine();
    let config =
        Config::new().set("publish.silence_timeout_ms", "1000").set("publish.takeover_after_ms", "500");
    let server = config.start();
    let mut publisher = Publisher::start(&server, "mute", Shape::default());
    publisher.burst_until(5);
    let mut player = FlvPlayer::open(server.http, "/live/mute.flv");
    assert!(!player.tags().is_empty());
    server.await_no_publisher();
    server.stop();
}

#[test]
fn a_publisher_that_breaks_the_protocol_hurts_nobody_else() {
    let _shared = share_machine();
    let server = Server::start();
    let mut good = Publisher::start(&server, "good", Shape::default());
    good.burst_until(10);
    let mut player = FlvPlayer::open(server.http, "/live/good.flv");
    for n in 0..4u8 {
        let mut bad = Client::connect(server.rtmp, "live", &[]);
        bad.publish(&format!("bad-{n}")).unwrap();
        // A chunk size of 0; a message with a broken AMF value; media that is empty; a header on an unknown chunk stream.
        let sent = match n {
            0 => bad.send(2, 1, 0, 0, &[0, 0, 0, 0]),
            1 => bad.send(3, 20, 1, 0, &[amf::encode(&[Value::text("publish")]), vec![0x0b; 40]].concat()),
            2 => (0..20).try_for_each(|_| bad.send(6, 9, 1, 0, &[])),
            _ => std::io::Write::write_all(&mut bad.socket(), &[0xd1; 4000]),
        };
        sent.unwrap();
        bad.socket().shutdown(std::net::Shutdown::Write).unwrap();
        while let Ok(Some(_)) = bad.receive() {}
    }
    good.burst_until(40);
    good.finish();
    Audit::of(good.shape, &player.tags()).assert_complete(&good);
    server.stop();
}
