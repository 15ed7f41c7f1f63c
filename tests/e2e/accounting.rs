//! Every gap that a viewer sees is one that was counted, over publishers that come, go, return and take over.
//!
//! Viewers of every output watch one stream through all of it, some of them too slowly. Each is held to exact bytes,
//! numbers in order and timestamps that never go back; all gaps together are exactly the skips that were counted.

use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::poll;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::raw::Raw;
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

engine_tests!(no_gap_without_a_reason);

/// About 700 KB/s.
const SHAPE: Shape = Shape { fps: 25, gop: 10, key_bytes: 100_000, inter_bytes: 20_000, audio: true };
/// Frames of each publisher; whole groups of pictures, so that the next one goes on right behind.
const FRAMES: u32 = 50;
/// What a slow viewer takes.
const SLOW_BYTES_PER_S: u64 = 100_000;

/// A way to watch.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    Rtmp,
    HttpFlv,
}

/// One viewer: how it watches, and whether it is slow.
const VIEWERS: [(Output, bool); 8] = [
    (Output::Rtmp, false),
    (Output::HttpFlv, false),
    (Output::Rtmp, true),
    (Output::HttpFlv, true),
    (Output::Rtmp, false),
    (Output::HttpFlv, false),
    (Output::Rtmp, true),
    (Output::HttpFlv, true),
];

/// What the keenest viewer has seen, and whether the slow ones may hurry.
#[derive(Debug, Default)]
struct Progress {
    video: AtomicU32,
    audio: AtomicU32,
    over: AtomicBool,
}

fn connect(address: SocketAddr, slow: bool) -> TcpStream {
    if slow { Raw::narrow(address) } else { TcpStream::connect(address).expect("connect") }
}

fn watch(server: &Server, output: Output, slow: bool, progress: &Progress) -> Audit {
    let mut next: Box<dyn FnMut() -> _> = match output {
        Output::Rtmp => {
            let mut client = Client::over(connect(server.rtmp, slow), "live", &[]).unwrap();
            client.play("books").unwrap();
            Box::new(move || client.tag())
        }
        Output::HttpFlv => {
            let mut player = FlvPlayer::on(connect(server.http, slow), server.http, "/live/books.flv");
            Box::new(move || player.tag())
        }
    };
    let mut audit = Audit::new(SHAPE);
    while let Some(tag) = next() {
        audit.tag(&tag);
        if slow && !progress.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_micros(tag.body.len() as u64 * 1_000_000 / SLOW_BYTES_PER_S));
        }
        progress.video.fetch_max(audit.video.last, Ordering::Relaxed);
        progress.audio.fetch_max(audit.audio.last, Ordering::Relaxed);
    }
    audit
}

/// Publishes the next frames and waits until a viewer has seen the last of them: a reset would eat what the server has not read.
fn publish(publisher: &mut Publisher, progress: &Progress) {
    let end = publisher.video.next_multiple_of(SHAPE.gop) + FRAMES;
    publisher.run_until(|publisher| publisher.video == end);
    // A video frame may wait for the sound that belongs in front of it.
    publisher.sound_up_to_video();
    poll("the last frames", LIMIT, || {
        let seen = (progress.video.load(Ordering::Relaxed), progress.audio.load(Ordering::Relaxed));
        (seen == (publisher.video - 1, publisher.audio - 1)).then_some(())
    });
}

fn successor(server: &Server, before: &Publisher, base_ms: u32) -> Publisher {
    let mut next = poll("the name", LIMIT, || {
        Publisher::try_on(Client::connect(server.rtmp, "live", &[]), "books", SHAPE).ok()
    });
    next.follow(before);
    next.base_ms = base_ms;
    next
}

fn no_gap_without_a_reason(config: Config) {
    let server = config
        .set("fanout.max_lag_ms", "2500")
        .set("fanout.stall_timeout_ms", "60_000")
        .set("publish.republish_grace_ms", "5000")
        .set("publish.takeover_after_ms", "500")
        .start();
    let progress = Progress::default();
    let (publisher, audits) = std::thread::scope(|scope| {
        let raise = Raise(&progress.over);
        let mut publisher = Publisher::start(&server, "books", SHAPE);
        publisher.burst_until(1);
        let (server, progress) = (&server, &progress);
        let viewers =
            VIEWERS.map(|(output, slow)| scope.spawn(move || watch(server, output, slow, progress)));
        server.await_subscribers(VIEWERS.len());
        publish(&mut publisher, progress);
        // It breaks off, and its encoder's clock is at another place when it returns.
        publisher.client.socket().shutdown(std::net::Shutdown::Both).unwrap();
        server.await_no_publisher();
        let mut second = successor(server, &publisher, 3_000_000);
        publish(&mut second, progress);
        // It goes silent with its connection open; a rival with a clock that is behind takes over.
        let mut third = successor(server, &second, 7);
        publish(&mut third, progress);
        // It says goodbye, and returns once more.
        third.finish();
        let mut fourth = successor(server, &third, 0xffff_f000);
        publish(&mut fourth, progress);
        fourth.finish();
        drop(raise);
        (fourth, viewers.map(|viewer| viewer.join().unwrap()))
    });
    let counted = |output: Output| {
        let protocol = if output == Output::Rtmp { "protocol=\"rtmp\"" } else { "protocol=\"http_flv\"" };
        server.metrics().sum("headgate_lag_skips_total", &[protocol])
    };
    for output in [Output::Rtmp, Output::HttpFlv] {
        let mut gaps = 0;
        for ((_, slow), audit) in VIEWERS.iter().zip(&audits).filter(|((o, _), _)| *o == output) {
            // On a busy machine one that reads as fast as it can may be skipped as well; that is counted, too.
            gaps += audit.video.gaps;
            assert_eq!(audit.video.last + 1, publisher.video, "the end of the stream");
            assert!(audit.video.gaps > 0 || !slow, "a slow viewer of {output:?} kept up");
            assert!(audit.audio.gaps <= audit.video.gaps, "{:?}, {:?}", audit.video, audit.audio);
        }
        let skips = counted(output);
        println!("{output:?}: {gaps} gaps seen, {skips} skips counted");
        assert_eq!(f64::from(gaps), skips, "gaps seen and skips counted, {output:?}");
    }
    server.stop();
}
