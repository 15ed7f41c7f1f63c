//! A core that stands still, and a process that is killed and comes again.

use crate::support::control::SHAPE;
use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::poll;
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{Trial, counts};
use std::time::Instant;

engine_tests!(a_process_that_stands_still_for_three_seconds, killed_and_started_again);

/// Video frames that are published during the stop: three seconds; and what viewers may be behind.
const STOPPED_FRAMES: u32 = 3 * SHAPE.fps;
const MAX_LAG_MS: &str = "15_000";

fn a_process_that_stands_still_for_three_seconds(config: Config) {
    let trial = Trial::begin(config.set("fanout.max_lag_ms", MAX_LAG_MS));
    let work = || {
        trial.server.signal(libc::SIGSTOP);
        let stopped = trial.progress();
        let missed = poll("frames to be published meanwhile", LIMIT, || {
            let progress = trial.progress();
            (progress.published >= stopped.published + STOPPED_FRAMES).then_some(progress.published)
        });
        // What had been sent before is all that there is to see.
        let seen = trial.progress().seen;
        assert!(seen + STOPPED_FRAMES / 2 < missed, "it stands still: {seen} of {missed} frames seen");
        trial.server.signal(libc::SIGCONT);
        let again = Instant::now();
        poll("the viewers to catch up", LIMIT, || (trial.progress().seen >= missed).then_some(()));
        println!("viewers caught up with {STOPPED_FRAMES} frames after {:?}", again.elapsed());
        let skips = trial.server.metrics().sum("headgate_lag_skips_total", &[]);
        assert_eq!(skips, 0.0, "nobody was behind by more than max_lag_ms");
        counts(&[])
    };
    // Who asks it for its metrics while it stands still may be let go for asking too slowly.
    trial.expect_unseen(work).unwrap();
    trial.finish();
}

fn killed_and_started_again(config: Config) {
    let shape = Shape::default();
    let mut left = None;
    for round in 0..3 {
        let began = Instant::now();
        let server = config.launch();
        let server = server.until_ready(LIMIT);
        println!("round {round}: ready {:?} behind the kill", began.elapsed());
        let mut publisher = Publisher::start(&server, "again", shape);
        publisher.burst_until(20);
        let mut http = FlvPlayer::open(server.http, "/live/again.flv");
        let mut rtmp = Client::connect(server.rtmp, "live", &[]);
        rtmp.play("again").unwrap();
        publisher.burst_until(40);
        for next in [&mut (|| http.tag()) as &mut dyn FnMut() -> _, &mut || rtmp.tag()] {
            let mut audit = Audit::new(shape);
            while audit.video.count == 0 || audit.video.last < 39 {
                audit.tag(&next().expect("media"));
            }
            assert!(audit.video.is_gapless(), "{:?}", audit.video);
        }
        server.kill();
        // The kernel tells them; their ends of the connections stay over the next start.
        left = Some((publisher, http, rtmp));
    }
    drop(left);
}
