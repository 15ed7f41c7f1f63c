//! Every gap that a viewer sees is one that was counted, over publishers that come, go, return and take over.
//!
//! Viewers of every output watch one stream through all of it, some of them too slowly. Each is held to exact bytes,
//! numbers in order and timestamps that never go back; all gaps together are exactly the skips that were counted.

use crate::support::engine::engine_tests;
use crate::support::poll;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::trial::{Trial, counts};
use crate::support::viewer::{Output, Watched};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

engine_tests!(no_gap_without_a_reason);

/// About 700 KB/s.
const SHAPE: Shape = Shape { fps: 25, gop: 10, key_bytes: 100_000, inter_bytes: 20_000, audio: true };
/// Frames of each publisher, three seconds; whole groups of pictures, so that the next one goes on right behind.
const FRAMES: u32 = 80;
/// What a slow viewer takes.
const SLOW_BYTES_PER_S: u64 = 100_000;

/// Viewers, of either protocol in turn; the first of each two pairs keeps up, the other is slow.
const VIEWERS: usize = 8;

fn is_slow(n: usize) -> bool {
    n % 4 >= 2
}

/// What the keenest viewer has seen.
#[derive(Debug, Default)]
struct Seen {
    video: AtomicU32,
    audio: AtomicU32,
}

impl Seen {
    fn note(&self, audit: &Audit) {
        self.video.fetch_max(audit.video.last, Ordering::Relaxed);
        self.audio.fetch_max(audit.audio.last, Ordering::Relaxed);
    }
}

/// Publishes the next frames and waits until a viewer has seen the last of them: a reset would eat what the server has not read.
fn publish(publisher: &mut Publisher, seen: &Seen) {
    let end = publisher.video.next_multiple_of(SHAPE.gop) + FRAMES;
    publisher.run_until(|publisher| publisher.video == end);
    // A video frame may wait for the sound that belongs in front of it.
    publisher.sound_up_to_video();
    poll("the last frames", LIMIT, || {
        let seen = (seen.video.load(Ordering::Relaxed), seen.audio.load(Ordering::Relaxed));
        (seen == (publisher.video - 1, publisher.audio - 1)).then_some(())
    });
}

/// The next publisher of the name, as soon as that is free; `refused` counts how often it was not.
fn successor(server: &Server, before: &Publisher, base_ms: u32, refused: &AtomicU64) -> Publisher {
    let mut next = poll("the name", LIMIT, || {
        let asked = Publisher::try_on(Client::connect(server.rtmp, "open", &[]), "books", SHAPE);
        refused.fetch_add(u64::from(asked.is_err()), Ordering::Relaxed);
        asked.ok()
    });
    next.follow(before);
    next.base_ms = base_ms;
    next
}

fn no_gap_without_a_reason(config: Config) {
    let trial = Trial::begin(
        config
            .set("fanout.max_lag_ms", "5000")
            .set("fanout.stall_timeout_ms", "60_000")
            .set("publish.republish_grace_ms", "5000")
            .set("publish.takeover_after_ms", "500"),
    );
    let mut audits = Vec::new();
    let work = || {
        let (seen, over, refused) = (Seen::default(), AtomicBool::new(false), AtomicU64::new(0));
        let server = &trial.server;
        let watched = Watched { server, app: "open", name: "books", shape: SHAPE, over: &over };
        audits = std::thread::scope(|scope| {
            let raise = Raise(&over);
            let mut publisher = Publisher::on(Client::connect(server.rtmp, "open", &[]), "books", SHAPE);
            publisher.burst_until(1);
            let seen = &seen;
            let viewer = |n: usize| {
                let pace = is_slow(n).then_some(SLOW_BYTES_PER_S);
                scope.spawn(move || watched.watch(Output::ALL[n % 2], pace, |audit| seen.note(audit)))
            };
            let viewers: Vec<_> = (0..VIEWERS).map(viewer).collect();
            // The control has one of each, too.
            server.await_subscribers(VIEWERS + 2);
            publish(&mut publisher, seen);
            // It breaks off, and its encoder's clock is at another place when it returns.
            publisher.client.socket().shutdown(std::net::Shutdown::Both).unwrap();
            server.await_metrics("no other publisher", |m| m.sum("headgate_publishers", &[]) == 1.0);
            let mut second = successor(server, &publisher, 3_000_000, &refused);
            publish(&mut second, seen);
            // It goes silent with its connection open; a rival with a clock that is behind takes over.
            let mut third = successor(server, &second, 7, &refused);
            publish(&mut third, seen);
            // It says goodbye, and returns once more.
            third.finish();
            let mut fourth = successor(server, &third, 0xffff_f000, &refused);
            drop(third);
            publish(&mut fourth, seen);
            fourth.finish();
            drop(raise);
            let audits = viewers.into_iter().map(|viewer| viewer.join().unwrap());
            audits.inspect(|audit| assert_eq!(audit.video.last + 1, fourth.video, "the end")).collect()
        });
        let each = VIEWERS as u64 / 2;
        counts(&[
            ("rtmp stream_ended", each),
            ("http_flv stream_ended", each),
            ("rtmp client_closed", 3),
            ("rtmp takeover", 1),
            ("rtmp name_taken", refused.load(Ordering::Relaxed)),
        ])
    };
    trial.expect_told(work).unwrap();
    let metrics = trial.server.metrics();
    for (at, output) in Output::ALL.into_iter().enumerate() {
        let mut gaps = 0;
        for (n, audit) in audits.iter().enumerate().filter(|(n, _)| n % 2 == at) {
            // On a busy machine one that reads as fast as it can may be skipped as well; that is counted, too.
            gaps += audit.video.gaps;
            assert!(audit.video.gaps > 0 || !is_slow(n), "a slow viewer of {output:?} kept up");
            assert!(audit.audio.gaps <= audit.video.gaps, "{:?}, {:?}", audit.video, audit.audio);
        }
        let skips = output.skips(&metrics);
        println!("{output:?}: {gaps} gaps seen, {skips} skips counted");
        assert_eq!(f64::from(gaps), skips, "gaps seen and skips counted, {output:?}");
    }
    trial.finish();
}
