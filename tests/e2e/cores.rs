//! Several cores: a subscriber on any core gets the same bytes, and a stream survives its publisher's move.

use crate::support::http::{FlvPlayer, request};
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::Config;
use crate::support::server::LIMIT;
use crate::support::{poll, share_machine, skip};
use std::net::Shutdown;

/// Pins the calling thread; the core that runs a handshake on loopback is the caller's.
pub fn pin(cpu: usize) {
    // SAFETY: an all-zero cpu_set_t is the empty set; the pointer is to a live local.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0, "pin to {cpu}");
    }
}

fn two_cores() -> Option<Config> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        skip("one-cpu", "this machine has one processor");
        return None;
    }
    Some(Config::new().arguments(&["--cores", "0,1"]))
}

#[test]
fn subscribers_on_every_core_get_identical_bytes() {
    let Some(config) = two_cores() else { return };
    let _shared = share_machine();
    let server = config.set("publish.republish_grace_ms", "300").start();
    let mut publisher = Publisher::start(&server, "same", Shape::default());
    publisher.burst_until(3);
    // All join in the first GOP, from threads on either core, so every response must be the same to the last byte.
    let bodies: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let players: Vec<_> = (0..32)
            .map(|n| {
                let server = &server;
                scope.spawn(move || {
                    pin(n % 2);
                    request(server.http, "GET", "/live/same.flv")
                })
            })
            .collect();
        let responses: Vec<_> = players.into_iter().map(|player| player.join().unwrap()).collect();
        server.await_subscribers(32);
        for core in 0..2 {
            let label = format!("core=\"{core}\"");
            assert!(
                server
                    .metrics_page()
                    .lines()
                    .any(|line| { line.starts_with("headgate_core_busy_ratio{") && line.contains(&label) })
            );
        }
        publisher.run_until(|publisher| publisher.video >= 60);
        publisher.finish();
        let readers: Vec<_> = responses.into_iter().map(|response| scope.spawn(|| response.body())).collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    for (n, body) in bodies.iter().enumerate() {
        assert!(
            *body == bodies[0],
            "subscriber {n} got other bytes: {} against {}",
            body.len(),
            bodies[0].len()
        );
    }
    let tags = crate::support::checker::flv_tags(&bodies[0]);
    Audit::of(publisher.shape, &tags).assert_complete(&publisher);
    server.stop();
}

#[test]
fn a_publisher_that_returns_on_another_core_keeps_its_subscribers() {
    let Some(config) = two_cores() else { return };
    let _shared = share_machine();
    let server = config.set("publish.republish_grace_ms", "10_000").start();
    let shape = Shape { gop: 5, ..Shape::default() };
    let mut publisher = Publisher::start(&server, "moves", shape);
    publisher.burst_until(5);
    let mut player = FlvPlayer::open(server.http, "/live/moves.flv");
    let mut audit = Audit::new(shape);
    for turn in 1..=6u32 {
        let end = turn * 20;
        publisher.burst_until(end);
        while audit.video.count == 0 || audit.video.last + 1 < end {
            audit.tag(&player.tag().expect("the subscriber stays"));
        }
        publisher.client.socket().shutdown(Shutdown::Both).unwrap();
        server.await_no_publisher();
        pin(turn as usize % 2);
        let mut next = Publisher::start(&server, "moves", shape);
        next.follow(&publisher);
        publisher = next;
    }
    // Frames of all seven connections: none lost, none twice, and timestamps that never went back.
    assert!(audit.video.is_gapless(), "{:?}", audit.video);
    assert_eq!(audit.video.last, 119);
    server.stop();
}

#[test]
fn a_rival_on_another_core_takes_over() {
    let Some(config) = two_cores() else { return };
    let _shared = share_machine();
    let server = config.set("publish.takeover_after_ms", "1000").start();
    let shape = Shape::default();
    pin(0);
    let mut silent = Publisher::start(&server, "rivals", shape);
    silent.burst_until(10);
    let mut player = FlvPlayer::open(server.http, "/live/rivals.flv");
    let mut audit = Audit::new(shape);
    pin(1);
    let mut rival = poll("the takeover", LIMIT, || {
        Publisher::try_on(Client::connect(server.rtmp, "live", &[]), "rivals", shape).ok()
    });
    rival.follow(&silent);
    // What the silenced one still sends must not reach anybody; its connection may already be closed.
    let _ = silent.step();
    rival.burst_until(30);
    while audit.video.count == 0 || audit.video.last < 29 {
        audit.tag(&player.tag().expect("the subscriber stays"));
    }
    assert!(audit.video.is_gapless(), "{:?}", audit.video);
    server.stop();
}
