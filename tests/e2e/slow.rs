//! Slow readers are skipped ahead or closed, and nobody else notices.

use crate::support::checker::{Tag, VIDEO};
use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::poll;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::raw::Raw;
use crate::support::server::{Config, LIMIT, Server};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const SHAPE: Shape = Shape { audio: true, ..Shape::FAT };

engine_tests!(
    a_reader_that_falls_behind_skips_to_a_keyframe,
    a_skip_over_a_new_header_brings_it_again,
    a_reader_that_stalls_is_closed,
    a_player_that_vanishes_is_forgotten
);

/// Publishes while `slow` does its work beside two healthy players, who must get everything. A machine that is busy with other
/// tests may leave them behind for seconds: what a test allows slow ones must be more than that.
fn beside_healthy_players(config: Config, slow: impl FnOnce(&Server, &AtomicU32) + Send) {
    let server = config.start();
    let stop = AtomicBool::new(false);
    let seen = AtomicU32::new(0);
    let (publisher, audits) = std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let mut publisher = Publisher::start(&server, "slow", SHAPE);
        publisher.burst_until(1);
        let publishing = publisher.run_beside(scope, &stop);
        let players: Vec<_> = (0..2)
            .map(|_| {
                let (server, seen) = (&server, &seen);
                scope.spawn(move || {
                    let mut player = FlvPlayer::open(server.http, "/live/slow.flv");
                    let mut audit = Audit::new(SHAPE);
                    while let Some(tag) = player.tag() {
                        audit.tag(&tag);
                        seen.store(audit.video.last, Ordering::Relaxed);
                    }
                    audit
                })
            })
            .collect();
        server.await_metrics("the healthy ones to play", |metrics| {
            metrics.sum("headgate_subscribers", &[]) == 2.0 && seen.load(Ordering::Relaxed) > 0
        });
        slow(&server, &seen);
        stop.store(true, Ordering::Relaxed);
        let publisher = publishing.join().unwrap();
        (publisher, players.into_iter().map(|player| player.join().unwrap()).collect::<Vec<_>>())
    });
    audits.iter().for_each(|audit| audit.assert_complete(&publisher));
    server.stop();
}

fn a_reader_that_falls_behind_skips_to_a_keyframe(config: Config) {
    beside_healthy_players(config.set("fanout.max_lag_ms", "5000"), |server, seen| {
        let mut player = FlvPlayer::on(Raw::narrow(server.http), server.http, "/live/slow.flv");
        let mut audit = Audit::new(SHAPE);
        while audit.video.count < 3 {
            audit.tag(&player.tag().expect("a tag"));
        }
        // It stops reading for eight seconds of media, more than is allowed, then reads on.
        let until = audit.video.last + 8 * SHAPE.fps;
        poll("eight seconds of media", LIMIT, || (seen.load(Ordering::Relaxed) >= until).then_some(()));
        while audit.video.last < until {
            audit.tag(&player.tag().expect("it is skipped ahead, not closed"));
        }
        // The audit itself holds that the gap ends at a keyframe and that no tag is torn.
        assert!(audit.video.gaps >= 1, "{:?}", audit.video);
        assert!(server.metrics().sum("headgate_lag_skips_total", &[]) >= 1.0);
    });
}

fn a_skip_over_a_new_header_brings_it_again(config: Config) {
    let server = config.set("fanout.max_lag_ms", "500").start();
    let mut publisher = Publisher::start(&server, "header", SHAPE);
    publisher.burst_until(1);
    let mut player = FlvPlayer::on(Raw::narrow(server.http), server.http, "/live/header.flv");
    let is_header = |tag: &Tag| tag.kind == VIDEO && tag.body.get(..2) == Some(&[0x17, 0]);
    let number = |tag: &Tag| match tag.body.get(..14)? {
        [0x17 | 0x27, 1, .., a, b, c, d] if tag.kind == VIDEO => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    };
    let mut first = player.tag().expect("a tag");
    while !is_header(&first) {
        first = player.tag().expect("a tag");
    }
    // While it does not read, the encoder changes its parameters at frame 30.
    publisher.run_until(|publisher| publisher.video == 30);
    let mut header = first.body.clone();
    header[8] ^= 1;
    publisher.client.send(6, VIDEO, 1, 30 * 40, &header).expect("a new header");
    publisher.run_until(|publisher| publisher.video == 105);
    let mut tags = Vec::new();
    while tags.last().and_then(number).is_none_or(|number| number < 100) {
        tags.push(player.tag().expect("it is skipped ahead, not closed"));
    }
    assert!(!tags.iter().filter_map(number).any(|number| number == 30), "it read across the change");
    let after = tags.iter().position(|tag| number(tag).is_some_and(|number| number > 30)).unwrap();
    let told = tags[..after].iter().rev().find(|tag| is_header(tag)).expect("a header");
    assert_eq!(told.body, header, "the header of what follows");
    server.stop();
}

fn a_reader_that_stalls_is_closed(config: Config) {
    beside_healthy_players(config.set("fanout.stall_timeout_ms", "5000"), |server, _| {
        let player = FlvPlayer::on(Raw::narrow(server.http), server.http, "/live/slow.flv");
        server.await_metrics("a disconnect", |metrics| {
            metrics.sum("headgate_disconnects_total", &["reason=\"stalled\""]) == 1.0
        });
        server.await_subscribers(2);
        drop(player);
    });
}

fn a_player_that_vanishes_is_forgotten(config: Config) {
    beside_healthy_players(config, |server, _| {
        let player = FlvPlayer::open(server.http, "/live/slow.flv");
        server.await_subscribers(3);
        drop(player);
        server.await_subscribers(2);
    });
}
