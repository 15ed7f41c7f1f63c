//! HTTP-TS: numbered frames arrive whole, in time and without a jump that was not announced.

mod demuxers;
mod variants;

use crate::support::checker::{AUDIO, VIDEO};
use crate::support::engine::engine_tests;
use crate::support::http::{self, request};
use crate::support::publisher::{Publisher, Raise, Shape, parameter_sets};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::ts::{Limits, Report, check};
use crate::support::{poll, share_machine};
use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// PIDs of the default tracks.
const PICTURES: u16 = 0x100;
const SOUND: u16 = 0x200;

engine_tests!(
    numbered_frames_arrive_whole_and_in_time,
    a_viewer_that_falls_behind_skips_without_a_continuity_error,
    a_publisher_that_comes_back_goes_on_in_the_same_stream
);

/// The elementary stream of a numbered picture of [`Publisher`].
fn picture(shape: &Shape, number: u32) -> Vec<u8> {
    let body = shape.video(number);
    let start: &[u8] = &[0, 0, 0, 1];
    let [sps, pps] = parameter_sets();
    let sets = if body[0] == 0x17 { [start, &sps, start, &pps].concat() } else { Vec::new() };
    [start, &[9, 0xF0], &sets, start, &body[9..]].concat()
}

/// The numbers of the pictures that came: each exactly the publisher's, each gap in front of a keyframe.
fn numbers(shape: &Shape, report: &Report) -> Vec<u32> {
    let mut numbers: Vec<u32> = Vec::new();
    for unit in &report.streams[&PICTURES].units {
        let last = numbers.last().copied();
        let found = (last.map_or(0, |n| n + 1)..).take(500).find(|n| picture(shape, *n) == unit.data);
        let number = found.unwrap_or_else(|| panic!("a picture behind {last:?} that nobody sent"));
        assert_eq!(unit.random_access, number.is_multiple_of(shape.gop), "picture {number}");
        assert!(unit.random_access || last == Some(number - 1), "picture {number} behind {last:?}");
        numbers.push(number);
    }
    numbers
}

fn numbered_frames_arrive_whole_and_in_time(config: Config) {
    let server = config.start();
    for (name, shape) in [
        ("both", Shape::default()),
        ("slow", Shape { fps: 12, ..Shape::default() }),
        ("large", Shape { key_bytes: 300_000, inter_bytes: 70_000, ..Shape::default() }),
        ("mute", Shape { audio: false, ..Shape::default() }),
    ] {
        let mut publisher = Publisher::start(&server, name, shape);
        publisher.burst_until(5);
        let response = request(server.http, "GET", &format!("/live/{name}.ts"));
        publisher.burst_until(120);
        publisher.finish();
        let report = check(&response.body(), Limits::default());
        let numbers = numbers(&shape, &report);
        assert_eq!(numbers, (0..120).collect::<Vec<_>>(), "{name}");
        let sounds = report.streams.get(&SOUND).map_or(0, |stream| stream.units.len() as u32);
        assert_eq!(sounds, publisher.audio, "{name}");
        for (n, unit) in report.streams.get(&SOUND).iter().flat_map(|stream| &stream.units).enumerate() {
            assert!(unit.data[7..] == shape.sound(n as u32)[2..], "{name}: sound {n}");
        }
        server.await_subscribers(0);
    }
    server.stop();
}

fn a_viewer_that_falls_behind_skips_without_a_continuity_error(config: Config) {
    let server = config.set("fanout.max_lag_ms", "800").start();
    let shape = Shape { fps: 25, gop: 10, key_bytes: 150_000, inter_bytes: 40_000, audio: true };
    let stop = AtomicBool::new(false);
    let body = std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let mut publisher = Publisher::start(&server, "behind", shape);
        publisher.burst_until(1);
        let publishing = publisher.run_beside(scope, &stop);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.connect(&server.http.into()).unwrap();
        let mut response = http::send(socket.into(), server.http, "GET", "/live/behind.ts");
        // It does not read until it was skipped, then to the end.
        let mut first = vec![0; 100_000];
        response.socket.read_exact(&mut first).unwrap();
        response.early.extend(first);
        let frames = |server: &Server| server.metrics().sum("headgate_frames_total", &["video"]);
        let from = frames(&server);
        poll("two seconds of media", LIMIT, || (frames(&server) >= from + 50.0).then_some(()));
        let reading = scope.spawn(|| response.body());
        server.await_metrics("a skip", |m| m.sum("headgate_lag_skips_total", &["http_ts"]) >= 1.0);
        let from = frames(&server);
        poll("what follows", LIMIT, || (frames(&server) >= from + 20.0).then_some(()));
        stop.store(true, Ordering::Relaxed);
        publishing.join().unwrap();
        reading.join().unwrap()
    });
    // Behind a skip nothing is as it was: the tables' times begin anew too.
    let report = check(&body, Limits { tables: 10_000, names: 10_000, ..Limits::default() });
    assert!(report.discontinuities >= 5, "{} packets announce a jump", report.discontinuities);
    let numbers = numbers(&shape, &report);
    assert!(numbers.windows(2).any(|two| two[1] > two[0] + 1), "no gap: {numbers:?}");
    server.stop();
}

fn a_publisher_that_comes_back_goes_on_in_the_same_stream(config: Config) {
    let server = config.set("publish.republish_grace_ms", "10_000").start();
    let shape = Shape::default();
    let mut publisher = Publisher::start(&server, "back", shape);
    publisher.burst_and_see(&server, "back", 25);
    let response = request(server.http, "GET", "/live/back.ts");
    publisher.client.socket().shutdown(std::net::Shutdown::Both).unwrap();
    server.await_no_publisher();
    let mut next = Publisher::start(&server, "back", shape);
    next.follow(&publisher);
    next.burst_until(60);
    let mut response = response;
    // The grace would take ten seconds: read as far as the last picture, then stop the server.
    let mut body = std::mem::take(&mut response.early);
    let mut buffer = vec![0; 64 << 10];
    while !body
        .windows(14)
        .any(|part| part == [&[0, 0, 0, 1, 0x41][..], &59u32.to_be_bytes(), &[59; 5]].concat())
    {
        let len = response.socket.read(&mut buffer).unwrap();
        assert!(len > 0, "the stream goes on");
        body.extend(&buffer[..len]);
    }
    server.stop();
    response.socket.read_to_end(&mut body).unwrap();
    // The second publisher's clock goes on where the time is, so the clock's gap is the publisher's.
    let report = check(&body, Limits { tables: 20_000, names: 20_000, pcr: 20_000, ..Limits::default() });
    let numbers = numbers(&shape, &report);
    assert_eq!((numbers[0], *numbers.last().unwrap()), (20, 59));
    assert_eq!(report.discontinuities, 0);
    assert_eq!(report.versions.len(), 2, "the tracks were told anew: {:?}", report.versions);
}

#[test]
fn join_live_begins_with_sound_and_goes_over_to_pictures() {
    let _shared = share_machine();
    let server = Server::start();
    let shape = Shape { gop: 25, ..Shape::default() };
    let mut publisher = Publisher::start(&server, "edge", shape);
    publisher.burst_and_see(&server, "edge", 30);
    let response = request(server.http, "GET", "/live/edge.ts?join=live");
    assert_eq!(response.status, 200);
    publisher.run_until(|publisher| publisher.video >= 90);
    publisher.finish();
    let report = check(&response.body(), Limits { tables: 10_000, names: 10_000, ..Limits::default() });
    let numbers = numbers(&shape, &report);
    assert!(numbers[0] >= 50 && numbers.last() == Some(&89), "{numbers:?}");
    let first_sound = &report.streams[&SOUND].units[0].data;
    assert!(first_sound[7..] != shape.sound(0)[2..], "from the live edge");
    assert_eq!(report.streams[&SOUND].units.last().unwrap().data[7..], shape.sound(publisher.audio - 1)[2..]);
    // One table without pictures, one with them, of different versions.
    assert_eq!((report.versions.len(), report.pcr_pid), (2, PICTURES));
    server.stop();
}

/// Publishes one configuration and frame of each kind, and a second later asks for the transport stream.
fn asks_for(
    server: &Server,
    name: &str,
    video: [&[u8]; 2],
    audio: [&[u8]; 2],
    query: &str,
) -> (Client, http::Response) {
    let mut client = Client::connect(server.rtmp, "live", &[]);
    client.publish(name).unwrap();
    for (kind, bodies) in [(VIDEO, video), (AUDIO, audio)] {
        for body in bodies {
            client.send(6, kind, 1, 0, body).unwrap();
        }
    }
    let response = request(server.http, "GET", &format!("/live/{name}.ts{query}"));
    (client, response)
}

const VP9: [&[u8]; 2] = [b"\x90vp09\x01\0\0\0\0\x0b\x82\x02\x02\0\0\0", b"\x91vp09\x82\x49\x83\x42\0"];
const FLAC: [&[u8]; 2] =
    [b"\x90fLaC\x10\0\x10\0\0\0\0\0\0\0\x0a\xc4\x42\xf0\0\0\0\0", b"\x91fLaC\xff\xf8\xc9\x18"];

#[test]
fn what_mpeg_ts_does_not_carry_is_refused_with_the_reason() {
    let _shared = share_machine();
    let server = Server::start();
    for (name, query) in [("neither", ""), ("neither-live", "?join=live")] {
        let (_publisher, response) = asks_for(&server, name, VP9, FLAC, query);
        assert_eq!(response.status, 415, "{name}");
        let text = String::from_utf8(response.body()).unwrap();
        assert!(text.contains("MPEG-TS carries"), "{text}");
        assert_eq!(request(server.http, "GET", &format!("/live/{name}.flv")).status, 200);
    }
    let refused = server.metrics().sum("headgate_disconnects_total", &["http_ts", "unsupported_codec"]);
    assert_eq!(refused, 2.0);
    // What fits goes alone.
    let ac3: [&[u8]; 2] = [b"\x90ac-3", b"\x91ac-3\x0b\x77\x01\x02"];
    let (mut publisher, response) = asks_for(&server, "sound", VP9, ac3, "");
    assert_eq!(response.status, 200);
    for n in 1..60 {
        publisher.send(6, AUDIO, 1, n * 32, ac3[1]).unwrap();
    }
    drop(publisher);
    let report = check(&response.body(), Limits::default());
    assert_eq!(report.streams.keys().copied().collect::<Vec<_>>(), [SOUND]);
    let avc: [&[u8]; 2] = [
        &[0x17, 0, 0, 0, 0, 1, 0x42, 0, 0x1E, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0, 0x1E, 1, 0, 2, 0x68, 0xCE],
        &[0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0x88],
    ];
    for (name, query) in [("pictures", ""), ("pictures-live", "?join=live")] {
        let (mut publisher, response) = std::thread::scope(|scope| {
            let mut client = Client::connect(server.rtmp, "live", &[]);
            client.publish(name).unwrap();
            for (kind, bodies) in [(VIDEO, avc), (AUDIO, FLAC)] {
                bodies.iter().for_each(|body| client.send(6, kind, 1, 0, body).unwrap());
            }
            let asking = scope.spawn(|| request(server.http, "GET", &format!("/live/{name}.ts{query}")));
            server.await_metrics("the viewer", |m| m.sum("headgate_subscribers", &["http_ts"]) >= 1.0);
            // At the live edge it waits for the next keyframe.
            for n in 1..4 {
                client.send(6, VIDEO, 1, n * 40, avc[1]).unwrap();
            }
            (client, asking.join().unwrap())
        });
        assert_eq!(response.status, 200, "{name}");
        publisher.send(6, VIDEO, 1, 160, avc[1]).unwrap();
        drop(publisher);
        let report = check(&response.body(), Limits::default());
        assert_eq!(report.streams.keys().copied().collect::<Vec<_>>(), [PICTURES], "{name}");
        server.await_subscribers(0);
    }
    server.stop();
}

#[test]
fn subscribers_on_every_core_get_identical_bytes() {
    let _shared = share_machine();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(2);
    let list = if cores == 2 { "0,1" } else { "0" };
    let server = Config::new().arguments(&["--cores", list]).set("publish.republish_grace_ms", "300").start();
    let shape = Shape::default();
    let mut publisher = Publisher::start(&server, "same", shape);
    publisher.burst_until(3);
    let bodies: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..16)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    super::cores::pin(n % cores);
                    request(server.http, "GET", "/live/same.ts")
                })
            })
            .collect();
        let responses: Vec<_> = players.into_iter().map(|player| player.join().unwrap()).collect();
        server.await_subscribers(16);
        publisher.run_until(|publisher| publisher.video >= 60);
        publisher.finish();
        let readers: Vec<_> = responses.into_iter().map(|response| scope.spawn(|| response.body())).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    for (n, body) in bodies.iter().enumerate() {
        assert!(*body == bodies[0], "subscriber {n}: {} bytes against {}", body.len(), bodies[0].len());
    }
    assert_eq!(numbers(&shape, &check(&bodies[0], Limits::default())), (0..60).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn a_late_format_is_not_made_of_packets() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "mixed", Shape::default());
    publisher.burst_until(3);
    let ts = request(server.http, "GET", "/live/mixed.ts");
    publisher.burst_until(7);
    let mut flv = http::FlvPlayer::open(server.http, "/live/mixed.flv");
    publisher.burst_until(30);
    publisher.finish();
    let tags = flv.tags();
    crate::support::publisher::Audit::of(publisher.shape, &tags).assert_complete(&publisher);
    assert_eq!(numbers(&publisher.shape, &check(&ts.body(), Limits::default())), (0..30).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn copies_do_not_depend_on_the_audience() {
    let _shared = share_machine();
    let copied = |viewers: usize| {
        let server = Server::start();
        let mut publisher = Publisher::start(&server, "copies", Shape::default());
        publisher.burst_until(1);
        let players: Vec<_> = (0..viewers).map(|_| request(server.http, "GET", "/live/copies.ts")).collect();
        server.await_subscribers(viewers);
        publisher.burst_until(50);
        publisher.finish();
        let bodies: Vec<_> = players.into_iter().map(|player| player.body()).collect();
        assert!(bodies.iter().all(|body| *body == bodies[0]));
        let copied = server.metrics().sum("headgate_payload_copied_bytes_total", &["append"]);
        assert!(copied > 0.0);
        copied
    };
    assert_eq!(copied(1), copied(40));
}

#[test]
fn the_rules_of_http_flv_hold() {
    let _shared = share_machine();
    let config = Config::new().set("fanout.play_wait_ms", "300").set("apps.live.play_token", "\"sesame\"");
    let server = config.start();
    let mut publisher = Publisher::start(&server, "door", Shape::default());
    publisher.burst_until(5);
    let status = |method: &str, target: &str| request(server.http, method, target).status;
    assert_eq!(status("GET", "/live/door.ts"), 403);
    assert_eq!(status("GET", "/live/door.ts?token=wrong"), 403);
    assert_eq!(status("POST", "/live/door.ts?token=sesame"), 405);
    assert_eq!(status("OPTIONS", "/live/door.ts"), 204);
    let head = request(server.http, "HEAD", "/live/door.ts?token=sesame");
    assert_eq!((head.status, &*head.headers["content-type"]), (200, "video/mp2t"));
    assert!(head.body().is_empty(), "HEAD has no body");
    let none = request(server.http, "GET", "/live/none.ts?token=sesame");
    assert!(none.status == 404 && none.headers.contains_key("retry-after"));
    let played = request(server.http, "GET", "/live/door.ts?token=sesame&eflv=strip");
    assert_eq!(played.status, 200);
    let mut byte = [0];
    let mut socket: &TcpStream = &played.socket;
    assert!(!played.early.is_empty() || socket.read(&mut byte).is_ok());
    server.await_metrics("the viewer by its protocol", |metrics| {
        metrics.sum("headgate_subscribers", &["http_ts"]) == 1.0
            && metrics.sum("headgate_subscribers", &["http_flv"]) == 0.0
            && metrics.sum("headgate_egress_bytes_total", &["http_ts"]) > 188.0
            && metrics.sum("headgate_disconnects_total", &["http_ts", "unauthorized"]) == 2.0
            && metrics.sum("headgate_disconnects_total", &["http_ts", "not_found"]) == 1.0
    });
    let list = http::get(server.http, "/api/streams").1;
    assert!(list.contains("\"ts_path\":\"/live/door.ts\""), "{list}");
    assert!(list.contains("\"http_ts\":1"), "{list}");
    server.stop();
}
