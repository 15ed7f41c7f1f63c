//! R5, R10, H2: attacks by number, and readers that take a byte at a time.

use super::MANNERS_MS;
use crate::support::engine::{engine_tests, first_that_works};
use crate::support::limits::raise_descriptor_limit;
use crate::support::publisher::{Publisher, Raise, Shape};
use crate::support::raw::Stage::Connected;
use crate::support::raw::{Raw, ask, hello};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{MEMORY_BYTES_MAX, SECRET, Trial, counts};
use crate::support::{own_machine, poll};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Half handshakes at the same time.
const HALVES: u64 = 10_000;
/// Connections that the server has room for, and those of them that may neither publish nor play.
const ROOM: u64 = 12_000;
const FRESH: u64 = ROOM / 10;
/// Descriptors that a server needs which takes [`ROOM`] connections: it keeps a tenth of them for itself, and sheds load
/// from 85 % of the rest on.
const DESCRIPTORS: u64 = 14_000;
/// Long enough that the last of a crowd comes before the first one's time is over, however busy the machine.
const LATER_MS: &str = "30_000";
/// Connections of the other crowds.
const CROWD: u64 = 500;

#[test]
fn r5_ten_thousand_half_handshakes() {
    let _alone = own_machine();
    if !raise_descriptor_limit(DESCRIPTORS) {
        return;
    }
    let config = first_that_works().set("limits.handshake_timeout_ms", LATER_MS);
    let config = config.set("limits.connections_per_core", &ROOM.to_string());
    let trial = Trial::begin(config.arguments(&["--cores", "0"]));
    let half = &hello()[..1000];
    let expected = counts(&[("rtmp handshake_timeout", FRESH), ("rtmp displaced", HALVES - FRESH)]);
    let work = || {
        let open = |_| {
            let mut raw = Raw::open(trial.server.rtmp);
            raw.write(half);
            raw
        };
        let crowd: Vec<Raw> = (0..HALVES).map(open).collect();
        ends(crowd, "a half handshake");
    };
    let more = trial.expect(&expected, work).unwrap();
    println!("{HALVES} half handshakes took {more:.0} bytes");
    assert!(more <= MEMORY_BYTES_MAX, "{more} bytes more at the peak");
    trial.finish();
}

/// Waits for the end of each, beyond [`LATER_MS`] if need be.
fn ends(crowd: Vec<Raw>, what: &str) {
    let deadline = Instant::now() + 4 * LIMIT;
    for mut raw in crowd {
        while !raw.read_to_end() {
            assert!(Instant::now() < deadline, "{what} without an end");
        }
    }
}

/// Players that may wait for streams of one core at the same time, when it is the only one, and those that come beyond.
const WAITING: u64 = 10_000;
const BEYOND: u64 = 200;

#[test]
fn r10_more_players_of_nothing_than_may_wait() {
    let _alone = own_machine();
    if !raise_descriptor_limit(DESCRIPTORS) {
        return;
    }
    // With several cores each has its part of the bound, and the kernel deals connections at random.
    let config = first_that_works().set("fanout.play_wait_ms", LATER_MS).arguments(&["--cores", "0"]);
    let trial = Trial::begin(config);
    let expected = counts(&[("http_flv not_found", WAITING), ("http_flv limit", BEYOND)]);
    let work = || {
        let ask = |n| {
            let mut raw = Raw::open(trial.server.http);
            raw.write(format!("GET /open/none-{n}.flv HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            raw
        };
        let mut crowd = Vec::new();
        while crowd.len() < WAITING as usize {
            let come = crowd.len() as u64;
            crowd.extend((come..come + CROWD).map(ask));
            // Who has not asked yet is one of those that there may be few of.
            trial.server.await_metrics("players", |metrics| {
                metrics.sum("headgate_subscribers", &["http_flv"]) > crowd.len() as f64
            });
        }
        crowd.extend((WAITING..WAITING + BEYOND).map(ask));
        ends(crowd, "a player of nothing");
    };
    let more = trial.expect(&expected, work).unwrap();
    println!("{WAITING} waiting players took {more:.0} bytes");
    assert!(more <= MEMORY_BYTES_MAX, "{more} bytes more at the peak");
    trial.finish();
}

engine_tests!(r10_rivals_and_players_of_nothing, h2_readers_of_single_bytes);

/// Publishers for a name that is taken, players of names that nobody publishes.
fn r10_rivals_and_players_of_nothing(config: Config) {
    if !raise_descriptor_limit(2 * CROWD) {
        return;
    }
    let trial = Trial::begin(config.set("fanout.play_wait_ms", MANNERS_MS));
    let expected =
        counts(&[("rtmp name_taken", CROWD), ("rtmp not_found", CROWD), ("http_flv not_found", CROWD)]);
    let work = || {
        let name = format!("control?token={SECRET}");
        for _ in 0..CROWD {
            let rival = Client::connect(trial.server.rtmp, "live", &[]).publish(&name);
            let refused = rival.expect_err("the name is taken");
            assert_eq!(refused.code, "NetStream.Publish.BadName");
            assert!(refused.description.contains("is taken"), "{refused:?}");
        }
        let mut crowd = Vec::new();
        for n in 0..CROWD {
            let mut player = Raw::at(Connected, trial.server.rtmp, "");
            player.write(&ask("play", &format!("nothing-{n}")));
            let mut http = Raw::open(trial.server.http);
            http.write(format!("GET /open/none-{n}.flv HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            crowd.extend([(player, "NetStream.Play.StreamNotFound"), (http, "HTTP/1.1 404 ")]);
        }
        for (mut waiting, answer) in crowd {
            assert!(waiting.read_to_end() && waiting.has_heard(answer), "{answer}");
        }
    };
    trial.expect(&expected, work).unwrap();
    trial.finish();
}

/// Readers of single bytes.
const READERS: usize = 8;

fn h2_readers_of_single_bytes(config: Config) {
    let config = config.set("fanout.stall_timeout_ms", MANNERS_MS).set("publish.republish_grace_ms", "0");
    let trial = Trial::begin(config);
    let expected = counts(&[("http_flv stalled", READERS as u64), ("rtmp client_closed", 1)]);
    let work = || {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _raise = Raise(&stop);
            let mut publisher =
                Publisher::on(Client::connect(trial.server.rtmp, "open", &[]), "fat", Shape::FAT);
            publisher.burst_until(1);
            let publishing = publisher.run_beside(scope, &stop);
            let open = |_| {
                let mut raw = Raw::open_narrow(trial.server.http);
                raw.write(b"GET /open/fat.flv HTTP/1.1\r\nHost: a\r\n\r\n");
                raw
            };
            let mut readers: Vec<Raw> = (0..READERS).map(open).collect();
            let stalled = || trial.server.metrics().sum("headgate_disconnects_total", &["stalled"]);
            poll("all readers closed", LIMIT, || {
                for reader in &mut readers {
                    // Nothing there yet, or no connection any more.
                    let _none = reader.socket().read(&mut [0]);
                }
                (stalled() >= READERS as f64).then_some(())
            });
            stop.store(true, Ordering::Relaxed);
            drop(publishing.join().unwrap());
        });
    };
    trial.expect(&expected, work).unwrap();
    trial.finish();
}
