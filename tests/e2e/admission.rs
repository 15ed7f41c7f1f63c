//! Who gets in: limits by address, and what is shed when the machine comes to its end.

use crate::support::amf::Value;
use crate::support::engine::engine_tests;
use crate::support::held::Held;
use crate::support::http::{self, FlvPlayer};
use crate::support::process::{Process, program, run, static_ffmpeg};
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::{poll, share_machine, skip};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

engine_tests!(
    a_full_house_turns_viewers_away_and_loses_nobody,
    at_the_end_nobody_is_accepted_until_it_eases,
    too_much_egress_ends_with_viewers_and_lets_publishers_in,
);

/// Levels end one by one, most of them after five seconds.
const EASE_LIMIT: Duration = Duration::from_secs(90);

/// A connection from a loopback address of the test's choice.
fn from(source: u8, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, source), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

fn rtmp_from(source: u8, server: &Server) -> Client {
    Client::over(from(source, server.rtmp), "live", &[]).expect("connect")
}

fn watch_from(source: u8, server: &Server, name: &str) -> http::Response {
    http::send(from(source, server.http), server.http, "GET", &format!("/live/{name}.flv"))
}

fn closed(server: &Server, reason: &str) -> f64 {
    server.metrics().sum("headgate_disconnects_total", &[&format!("reason=\"{reason}\"")])
}

/// A connection is counted when the kernel is done with it, a moment after its peer has seen the end.
fn await_closed(server: &Server, reason: &str, count: f64) {
    poll(reason, LIMIT, || (closed(server, reason) >= count).then_some(()));
    assert_eq!(closed(server, reason), count, "{reason}");
}

fn shed_level(server: &Server) -> f64 {
    server.metrics().sum("headgate_shed_level", &[])
}

#[test]
fn an_address_has_so_many_viewers_and_publishers() {
    let _shared = share_machine();
    let config = Config::new().set("limits.exempt", "[]").set("overload.retry_after_s", "7");
    let config = config.set("limits.viewers_per_address", "2").set("limits.publishers_per_address", "1");
    let server = config.start();
    let mut publisher = Publisher::on(rtmp_from(2, &server), "a", Shape::default());
    publisher.burst_until(5);
    // One from an address over HTTP, one over RTMP, and the third is one too many over either.
    let watching = watch_from(3, &server, "a");
    assert_eq!(watching.status, 200);
    let mut player = rtmp_from(3, &server);
    player.play("a").expect("the second viewer of an address");
    let refused = watch_from(3, &server, "a");
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (429, "7"));
    assert_eq!(rtmp_from(3, &server).play("a").unwrap_err().code, "NetStream.Play.Failed");
    await_closed(&server, "address_viewers", 2.0);
    // Others, as a real client and as ours.
    assert_eq!(watch_from(4, &server, "a").status, 200);
    if let Some(curl) = program("curl") {
        let mut ask = Command::new(curl);
        ask.args(["-s", "-o", "/dev/null", "-w", "%{http_code} %header{retry-after}", "--interface"]);
        ask.args(["127.0.0.3", &server.flv_url("a")]);
        assert!(run("curl", &mut ask, LIMIT).contains("429 7"));
    }
    // Who leaves makes room.
    drop(watching);
    poll("room for a viewer", LIMIT, || (watch_from(3, &server, "a").status == 200).then_some(()));

    let mut second = rtmp_from(2, &server);
    let refused = second.publish("b").unwrap_err();
    assert_eq!(refused.code, "NetStream.Publish.Failed");
    assert!(refused.description.contains("Your address"), "{refused:?}");
    await_closed(&server, "address_publishers", 1.0);
    rtmp_from(3, &server).publish("b").expect("a publisher of another address");
    drop(publisher);
    server.await_metrics("the publisher to be gone", |m| m.sum("headgate_publishers", &[]) == 0.0);
    rtmp_from(2, &server).publish("c").expect("there is room again");
    assert!(server.metrics().sum("headgate_addresses", &[]) >= 3.0);
    assert!(server.metrics().sum("headgate_address_table_bytes", &[]) > 0.0);
    let log = server.stop();
    assert!(log.contains("limits.exempt"), "the log says what to do:\n{log}");
}

/// The connection of an encoder is lost, and it is back before anybody misses that.
#[test]
fn an_encoder_at_its_limit_takes_its_name_over() {
    let _shared = share_machine();
    let config = Config::new().set("limits.exempt", "[]").set("limits.publishers_per_address", "1");
    let server = config.set("publish.takeover_after_ms", "0").start();
    let mut lost = rtmp_from(2, &server);
    lost.publish("a").expect("the first publisher of an address");
    let mut back = rtmp_from(2, &server);
    back.publish("a").expect("its own name");
    await_closed(&server, "takeover", 1.0);
    assert_eq!(rtmp_from(2, &server).publish("b").unwrap_err().code, "NetStream.Publish.Failed");
    await_closed(&server, "address_publishers", 1.0);
    server.stop();
}

/// They close the door to nobody: the oldest of them give way.
#[test]
fn an_address_has_so_many_silent_connections() {
    let _shared = share_machine();
    // One core, so that whoever is to give way is always on it.
    let server = Config::new().set("limits.exempt", "[]").arguments(&["--cores", "0"]).start();
    let silent: Vec<_> = (0..34).map(|_| from(2, server.rtmp)).collect();
    await_closed(&server, "displaced", 2.0);
    rtmp_from(3, &server).publish("a").expect("an encoder of another address");
    assert_eq!(closed(&server, "displaced"), 2.0, "it is none of these");
    rtmp_from(2, &server).publish("b").expect("an encoder behind the same address");
    assert_eq!(closed(&server, "displaced"), 3.0);
    for (at, mut socket) in silent.iter().enumerate() {
        socket.set_nonblocking(true).unwrap();
        let ended =
            !matches!(socket.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        assert_eq!(ended, at < 3, "connection {at}: the oldest first");
    }
    drop(silent);
    server.await_metrics("the silent to be gone", |m| {
        m.sum("headgate_connections_unauthenticated", &[]) == 0.0
    });
    server.stop();
}

/// One line when it comes and one when it goes, whatever a publisher does in between.
#[test]
fn a_publisher_that_begins_again_and_again_has_two_lines() {
    let _shared = share_machine();
    let server = Config::new().start();
    let mut client = Client::connect(server.rtmp, "live", &[]);
    for name in ["a", "b", "c", "d"] {
        client.publish(name).expect("publish");
        client.command(0, "deleteStream", 6.0, &[Value::Null, Value::Number(1.0)]);
    }
    drop(client);
    await_closed(&server, "client_closed", 1.0);
    let log = server.stop();
    let told: Vec<&str> = log.lines().filter(|line| line.contains(" INFO publish")).collect();
    assert!(
        matches!(told[..], [first, last] if first.contains("live/a") && last.contains("closed")),
        "{told:?}"
    );
}

/// A connection publishes and leaves name after name, each of which stays for its grace: others still find room.
#[test]
fn names_that_are_left_keep_nobody_out() {
    let _shared = share_machine();
    let config = Config::new().set("limits.streams", "4").set("publish.republish_grace_ms", "60_000");
    let server = config.start();
    let mut watched = Publisher::start(&server, "watched", Shape::default());
    watched.burst_until(5);
    let mut viewer = FlvPlayer::open(server.http, "/live/watched.flv");
    assert!(viewer.tag().is_some());
    server.await_subscribers(1);
    drop(watched);
    server.await_metrics("its publisher to be gone", |m| m.sum("headgate_publishers", &[]) == 0.0);
    let mut client = Client::connect(server.rtmp, "live", &[]);
    for number in 0..12 {
        client.publish(&format!("left{number}")).expect("there is room");
        client.command(0, "deleteStream", 6.0, &[Value::Null, Value::Number(1.0)]);
    }
    drop(client);
    await_closed(&server, "client_closed", 2.0);
    let mut encoders: Vec<_> =
        (0..3).map(|n| Publisher::start(&server, &format!("new{n}"), Shape::default())).collect();
    encoders.iter_mut().for_each(|encoder| encoder.burst_until(5));
    // Three names of the twelve found room beside the one that is watched, then each newcomer took one's.
    assert_eq!(server.metrics().sum("headgate_streams_displaced_total", &[]), 12.0);
    server.await_metrics("the displaced to be gone", |m| m.sum("headgate_streams", &[]) == 4.0);
    let full = Client::connect(server.rtmp, "live", &[]).publish("more");
    let refused = full.unwrap_err();
    assert_eq!(refused.code, "NetStream.Publish.Failed");
    assert!(refused.description.contains("as many streams"), "{refused:?}");
    let mut watched = Publisher::start(&server, "watched", Shape::default());
    watched.burst_until(5);
    server.stop();
}

#[test]
fn an_address_comes_so_fast_and_the_log_stays_small() {
    let _shared = share_machine();
    let config = Config::new().set("limits.exempt", "[\"127.0.0.9/32\"]");
    let config = config.set("limits.connections_per_s_per_address", "1");
    let server = config.set("limits.connections_burst_per_address", "5").start();
    const TRIES: usize = 400;
    // A refused connection ends without an answer.
    let answered = |source: u8| {
        let mut socket = from(source, server.http);
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        // It may be closed before.
        let _ = socket.write_all(b"GET /nothing HTTP/1.0\r\n\r\n");
        matches!(socket.read(&mut [0; 1]), Ok(1))
    };
    let served = (0..TRIES).filter(|_| answered(2)).count();
    let refused = server.metrics().sum("headgate_connections_refused_total", &["address_rate"]);
    assert_eq!(served + refused as usize, TRIES);
    assert!(served >= 5 && refused >= 1.0, "{served} served, {refused} refused");
    assert!(answered(3), "another address");
    assert!((0..50).all(|_| answered(9)), "an exempt network");
    let suppressed = server.metrics().sum("headgate_log_lines_suppressed_total", &[]);
    let log = server.stop();
    let lines = log.matches("connection refused").count();
    assert!(lines >= 1, "{log}");
    assert_eq!(lines + suppressed as usize, refused as usize, "{log}");
}

/// Watches over HTTP and over RTMP until the stream ends, from before `during` to behind it.
fn beside_viewers(server: &Server, during: impl FnOnce(&AtomicBool)) {
    let shape = Shape::default();
    let stop = AtomicBool::new(false);
    let (publisher, audits) = std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let mut publisher = Publisher::start(server, "kept", shape);
        publisher.burst_until(1);
        let mut over_http = FlvPlayer::open(server.http, "/live/kept.flv");
        let mut over_rtmp = Client::connect(server.rtmp, "live", &[]);
        over_rtmp.play("kept").expect("play");
        server.await_subscribers(2);
        let players = [
            scope.spawn(move || Audit::of(shape, &over_http.tags())),
            scope.spawn(move || Audit::of(shape, &over_rtmp.tags())),
        ];
        let publishing = publisher.run_beside(scope, &stop);
        during(&stop);
        stop.store(true, Ordering::Relaxed);
        (publishing.join().unwrap(), players.map(|player| player.join().unwrap()))
    });
    audits.iter().for_each(|audit| audit.assert_complete(&publisher));
}

/// Connections of a core; 18 of them may be viewers, of which 16 are more than 85 %.
const HOUSE: usize = 20;

fn a_full_house_turns_viewers_away_and_loses_nobody(config: Config) {
    let config = config.arguments(&["--cores", "0"]).set("overload.retry_after_s", "7");
    let server = config.set("limits.connections_per_core", &HOUSE.to_string()).start();
    beside_viewers(&server, |_| {
        let crowd: Vec<_> =
            (0..14).map(|_| http::request(server.http, "GET", "/live/kept.flv").socket).collect();
        server.await_metrics("level 1", |m| m.sum("headgate_shed_level", &[]) == 1.0);
        let (status, text) = http::get(server.admin, "/readyz?verbose");
        assert_eq!(status, 503);
        assert!(text.contains("[+] serving") && text.contains("[-] load"), "{text}");
        assert_eq!(http::get(server.admin, "/livez?verbose"), (200, "[+] core 0\nok\n".to_owned()));
        assert_eq!(http::get(server.admin, "/startupz").0, 200);

        let refused = http::request(server.http, "GET", "/live/kept.flv");
        assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (503, "7"));
        let mut player = Client::connect(server.rtmp, "live", &[]);
        assert_eq!(player.play("kept").unwrap_err().code, "NetStream.Play.Failed");
        drop(player);
        let url = server.rtmp_url("kept");
        let mut refused = 2.0;
        for (player, arguments, shows) in [
            (static_ffmpeg(), &["-v", "error", "-i", &url, "-f", "null", "-"][..], "takes no player now"),
            (program("rtmpdump"), &["--live", "-r", &url, "-o", "/dev/null"], "NetStream.Play.Failed"),
        ] {
            let Some(player) = player else { continue };
            let mut play = Process::spawn("player", Command::new(player).args(arguments));
            assert!(play.wait(LIMIT).is_some_and(|status| !status.success()));
            let said = play.output.text();
            assert!(said.contains(shows), "the player shows why:\n{said}");
            refused += 1.0;
        }
        await_closed(&server, "overload", refused);
        // A publisher is welcome, and keeps its place while the crowd goes.
        let mut newcomer = Publisher::start(&server, "new", Shape::default());
        newcomer.burst_until(5);
        drop(crowd);
        poll("the house to be open again", EASE_LIMIT, || (shed_level(&server) == 0.0).then_some(()));
        assert_eq!(http::get(server.admin, "/readyz").0, 200);
        assert!(FlvPlayer::open(server.http, "/live/new.flv").tag().is_some());
    });
    server.stop();
}

fn at_the_end_nobody_is_accepted_until_it_eases(config: Config) {
    let config = config.arguments(&["--cores", "0"]).set("overload.memory_max_bytes", "150_000_000");
    let config = config.set("fanout.gop_max_bytes", "1_000_000_000").set("publish.republish_grace_ms", "0");
    let server = config.start();
    // An encoder that never sends a second keyframe, and more than there is room for.
    let hog = Shape { fps: 50, gop: 1 << 20, key_bytes: 1 << 20, inter_bytes: 1 << 20, audio: false };
    let mut waiting = Vec::new();
    beside_viewers(&server, |_| {
        let mut hog = Publisher::start(&server, "hog", hog);
        let level = (1..600).map(|frames| {
            hog.burst_until(frames);
            shed_level(&server)
        });
        assert_eq!(level.into_iter().find(|level| *level == 3.0), Some(3.0), "its memory is all used");
        // The core follows with its next turn: a few frames later it has.
        let frames = || server.metrics().sum("headgate_frames_total", &[]);
        let pass = |count: f64| {
            let before = frames();
            server.await_metrics("frames", |m| m.sum("headgate_frames_total", &[]) >= before + count);
        };
        pass(5.0);
        let accepted = || server.metrics().sum("headgate_connections_accepted_total", &[]);
        let before = accepted();
        for address in [server.http, server.http, server.rtmp] {
            let mut socket = TcpStream::connect(address).expect("the kernel's queue takes it");
            socket.write_all(b"GET /live/kept.flv HTTP/1.0\r\n\r\n").unwrap();
            waiting.push(socket);
        }
        pass(20.0);
        assert_eq!((shed_level(&server), accepted()), (3.0, before));
        assert_eq!((http::get(server.admin, "/livez").0, http::get(server.admin, "/readyz").0), (200, 503));
    });
    // Who waited is heard as soon as the level falls, and told that there is no room yet.
    let mut answer = [0; 12];
    for mut socket in waiting.into_iter().take(2) {
        socket.set_read_timeout(Some(EASE_LIMIT)).unwrap();
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 503");
    }
    poll("all levels to end", EASE_LIMIT, || (shed_level(&server) == 0.0).then_some(()));
    let mut publisher = Publisher::start(&server, "again", Shape::default());
    publisher.burst_until(5);
    assert!(FlvPlayer::open(server.http, "/live/again.flv").tag().is_some());
    let log = server.stop();
    assert!(log.contains("cause=memory") && log.contains("overload eases"), "{log}");
}

/// They all keep up and nothing else would bring it down: for a publisher the door would be shut for ever.
fn too_much_egress_ends_with_viewers_and_lets_publishers_in(config: Config) {
    // Two viewers' beginnings are much less, what they get in a second is more.
    let server = config.arguments(&["--cores", "0"]).set("overload.egress_max_bits_per_s", "500_000").start();
    let (shape, stop) = (Shape::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let mut publisher = Publisher::start(&server, "kept", shape);
        publisher.burst_until(1);
        let players = [(), ()].map(|()| {
            let mut player = FlvPlayer::open(server.http, "/live/kept.flv");
            scope.spawn(move || Audit::of(shape, &player.tags()))
        });
        server.await_subscribers(2);
        publisher.run_beside(scope, &stop);
        server.await_metrics("level 3", |m| m.sum("headgate_shed_level", &[]) == 3.0);
        poll("viewers to be closed", EASE_LIMIT, || (closed(&server, "slowest") >= 1.0).then_some(()));
        poll("the door to open", EASE_LIMIT, || (shed_level(&server) < 3.0).then_some(()));
        Publisher::start(&server, "new", shape).burst_until(5);
        stop.store(true, Ordering::Relaxed);
        let audits = players.map(|player| player.join().unwrap());
        assert!(audits.iter().all(|audit| audit.video.is_gapless()), "closed, not thinned out: {audits:?}");
    });
    assert_eq!(server.metrics().sum("headgate_lag_skips_total", &[]), 0.0, "they kept up");
    let log = server.stop();
    assert!(log.contains("cause=egress"), "{log}");
}

/// The one that takes nothing goes, those that keep up stay.
#[test]
fn the_slowest_viewer_goes_first() {
    let _shared = share_machine();
    let shape = Shape { fps: 25, gop: 10, key_bytes: 60_000, inter_bytes: 40_000, audio: true };
    // Nothing but the level may close the slow one.
    let config = Config::new().set("overload.egress_max_bits_per_s", "4_000_000");
    let config = config.set("fanout.max_lag_ms", "6000").set("fanout.stall_timeout_ms", "300_000");
    let server = config.arguments(&["--cores", "0"]).start();
    let stop = AtomicBool::new(false);
    let (publisher, audit) = std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let mut publisher = Publisher::start(&server, "slowest", shape);
        publisher.burst_until(1);
        let slow = FlvPlayer::open(server.http, "/live/slowest.flv");
        let mut healthy = FlvPlayer::open(server.http, "/live/slowest.flv");
        server.await_subscribers(2);
        let healthy = scope.spawn(move || Audit::of(shape, &healthy.tags()));
        let publishing = publisher.run_beside(scope, &stop);
        poll("the slow viewer to be closed", EASE_LIMIT, || {
            (closed(&server, "slowest") == 1.0).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        drop(slow);
        (publishing.join().unwrap(), healthy.join().unwrap())
    });
    audit.assert_complete(&publisher);
    assert_eq!(closed(&server, "slowest"), 1.0);
    server.stop();
}

#[test]
fn a_core_that_hangs_is_named() {
    let _shared = share_machine();
    let server = Config::new().arguments(&["--cores", "0"]).start();
    assert_eq!(http::get(server.admin, "/livez"), (200, "ok\n".to_owned()));
    let held = match Held::thread(server.id(), "core-0") {
        Ok(held) => held,
        Err(error) => return skip("no-ptrace", &format!("no thread can be held here: {error}")),
    };
    let live = || http::get(server.admin, "/livez");
    poll("a core to be missed", EASE_LIMIT, || (live().0 == 503).then_some(()));
    let (_, text) = live();
    assert!(text.starts_with("[-] core 0: no turn for "), "{text}");
    // The rest of the port answers as ever.
    assert_eq!((http::get(server.admin, "/metrics").0, http::get(server.admin, "/startupz").0), (200, 200));
    drop(held);
    poll("the core to be back", LIMIT, || (live().0 == 200).then_some(()));
    server.stop();
}
