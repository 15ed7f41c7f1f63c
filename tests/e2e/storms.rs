//! Many at once: sockets that are ready together, publishers that chase each other, players that change their minds.

use crate::support::amf::Value;
use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::poll;
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use std::net::TcpStream;

engine_tests!(
    a_crowd_that_stays_does_not_hold_up_the_stop,
    a_name_that_goes_from_core_to_core,
    a_log_that_was_only_asked_for_closes,
    a_log_whose_reader_left_too_early_closes,
    pauses_of_a_slow_reader_are_not_a_flood,
    a_paused_viewer_hears_the_end,
    a_viewer_of_the_old_stream_leaves_the_new_one_alone,
);

/// More sockets than one look at epoll reports.
const CROWD: usize = 700;
/// Names of the chase, and publishers of each.
const NAMES: usize = 250;
const RIVALS: usize = 6;

/// At the end of the drain all of them are aborted in one turn: they are ready at once, and stay so.
fn a_crowd_that_stays_does_not_hold_up_the_stop(config: Config) {
    let server = config.arguments(&["--cores", "0"]).start();
    let crowd: Vec<TcpStream> = (0..CROWD).map(|_| TcpStream::connect(server.rtmp).unwrap()).collect();
    server.await_metrics("the crowd", |m| m.sum("headgate_connections", &[]) == CROWD as f64);
    let log = server.stop();
    drop(crowd);
    assert!(!log.contains("did not stop in time"), "{log}");
}

/// A stream is claimed back while it is on its way to another core.
fn a_name_that_goes_from_core_to_core(config: Config) {
    let server = config.set("publish.takeover_after_ms", "0").start();
    for n in 0..NAMES {
        let name = format!("chase-{n}");
        std::thread::scope(|scope| {
            for _ in 0..RIVALS {
                scope.spawn(|| {
                    let mut rival = Client::connect(server.rtmp, "live", &[]);
                    let arguments = [Value::Null, Value::text(&name), Value::text("live")];
                    rival.command(1, "publish", 5.0, &arguments);
                });
            }
        });
    }
    server.await_metrics("every stream ends", |m| m.sum("headgate_streams", &[]) == 0.0);
    for n in 0..RIVALS {
        Client::connect(server.rtmp, "live", &[]).publish(&format!("after-{n}")).unwrap();
    }
    server.stop();
}

/// Media bytes copied into logs so far.
fn appended(server: &Server) -> f64 {
    server.metrics().sum("headgate_payload_copied_bytes_total", &["stage=\"append\""])
}

/// Waits until frames are copied into no log any more.
fn await_no_log(server: &Server, publisher: &mut Publisher) {
    poll("no open log", LIMIT, || {
        let (before, next) = (appended(server), publisher.video + 5);
        let seen = server.metrics().sum("headgate_frames_total", &["kind=\"video\""]);
        publisher.burst_until(next);
        server.await_metrics("the frames", |m| {
            m.sum("headgate_frames_total", &["kind=\"video\""]) >= seen + 5.0
        });
        (appended(server) == before).then_some(())
    });
}

/// receiveAudio off and on again before the other variant has a join point.
fn a_log_that_was_only_asked_for_closes(config: Config) {
    let server = config.start();
    let mut publisher = Publisher::start(&server, "asked", Shape { gop: 1 << 20, ..Shape::default() });
    publisher.burst_until(20);
    let mut player = Client::connect(server.rtmp, "live", &[]);
    player.play("asked").unwrap();
    for on in [false, true] {
        player.command(1, "receiveAudio", 0.0, &[Value::Null, Value::Bool(on)]);
    }
    // Pausing is answered: what came before it has been heard.
    player.command(1, "pause", 6.0, &[Value::Null, Value::Bool(true), Value::Number(0.0)]);
    player.await_status(|code| code == "NetStream.Pause.Notify").unwrap();
    drop(player);
    await_no_log(&server, &mut publisher);
    server.stop();
}

/// A stream's log is opened late, because its tracks are not known yet; by then the player is gone.
fn a_log_whose_reader_left_too_early_closes(config: Config) {
    let server = config.start();
    let shape = Shape { audio: false, gop: 1 << 20, ..Shape::default() };
    let mut publisher = Publisher::start(&server, "early", shape);
    publisher.burst_until(2);
    let mut player = Client::connect(server.rtmp, "live", &[]);
    player.create_stream();
    player.command(1, "play", 5.0, &[Value::Null, Value::text("early"), Value::Number(-2000.0)]);
    server.await_subscribers(1);
    drop(player);
    server.await_subscribers(0);
    // Answered when a missing track counts as absent: the log was opened by then, if it will be.
    drop(FlvPlayer::open(server.http, "/live/early.flv"));
    await_no_log(&server, &mut publisher);
    server.stop();
}

/// A viewer behind a slow line who plays with the pause button; all answers wait for the send under way.
fn pauses_of_a_slow_reader_are_not_a_flood(config: Config) {
    let server = config.start();
    let shape = Shape { key_bytes: 3 << 20, inter_bytes: 1 << 20, ..Shape::default() };
    let mut publisher = Publisher::start(&server, "slow", shape);
    publisher.burst_until(4);
    let mut player = Client::connect(server.rtmp, "live", &[]);
    player.create_stream();
    player.command(1, "play", 5.0, &[Value::Null, Value::text("slow"), Value::Number(-2000.0)]);
    // Its log is open and the socket full: it reads nothing from here on.
    server.await_metrics("bytes", |m| m.sum("headgate_egress_bytes_total", &[]) > 0.0);
    publisher.burst_until(12);
    for _ in 0..4 {
        for paused in [true, false] {
            player.command(1, "pause", 0.0, &[Value::Null, Value::Bool(paused), Value::Number(0.0)]);
        }
    }
    player.await_status(|code| code == "NetStream.Unpause.Notify").unwrap();
    let flood = server.metrics().sum("headgate_disconnects_total", &["reason=\"inbound_flood\""]);
    assert_eq!(flood, 0.0);
    server.stop();
}

/// A player of `name` that has paused.
fn paused(server: &Server, name: &str) -> Client {
    let mut player = Client::connect(server.rtmp, "live", &[]);
    player.play(name).unwrap();
    player.command(1, "pause", 6.0, &[Value::Null, Value::Bool(true), Value::Number(0.0)]);
    player.await_status(|code| code == "NetStream.Pause.Notify").unwrap();
    player
}

fn a_paused_viewer_hears_the_end(config: Config) {
    let server = config.start();
    let mut publisher = Publisher::start(&server, "rest", Shape::default());
    publisher.burst_until(10);
    let mut player = paused(&server, "rest");
    publisher.finish();
    player.tags();
    server.stop();
}

/// The new stream's log gets the old one's number, and the last reader of the old one goes.
fn a_viewer_of_the_old_stream_leaves_the_new_one_alone(config: Config) {
    let server = config.arguments(&["--cores", "0"]).start();
    let mut publisher = Publisher::start(&server, "same", Shape::default());
    publisher.burst_until(10);
    let old = paused(&server, "same");
    publisher.finish();
    poll("the end", LIMIT, || server.log().contains("stream ended").then_some(()));
    let mut publisher = Publisher::start(&server, "same", Shape::default());
    publisher.burst_until(10);
    let mut http = FlvPlayer::open(server.http, "/live/same.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("same").unwrap();
    server.await_metrics("both formats", |m| m.sum("headgate_sends_total", &["http_flv"]) > 0.0);
    drop(old);
    server.await_subscribers(2);
    publisher.burst_until(40);
    for next in [&mut (|| http.tag()) as &mut dyn FnMut() -> _, &mut || rtmp.tag()] {
        let mut audit = Audit::new(publisher.shape);
        while audit.video.count == 0 || audit.video.last < 39 {
            audit.tag(&next().expect("the stream goes on"));
        }
        assert!(audit.video.is_gapless(), "{:?}", audit.video);
    }
    server.stop();
}
