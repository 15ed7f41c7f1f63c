//! A core that stands still, and a process that is killed and comes again.

use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::poll;
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{Trial, counts};
use std::time::{Duration, Instant};

engine_tests!(a_process_that_stands_still_for_a_second, killed_and_started_again);

fn a_process_that_stands_still_for_a_second(config: Config) {
    let trial = Trial::begin(config);
    let frames = || trial.server.metrics().sum("headgate_frames_total", &[]);
    let skips = || trial.server.metrics().sum("headgate_lag_skips_total", &[]);
    let work = || {
        let before = frames();
        trial.server.signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_secs(1));
        trial.server.signal(libc::SIGCONT);
        let again = Instant::now();
        // More than came before, and what was sent meanwhile.
        poll("frames again", LIMIT, || (frames() > before + 100.0).then_some(()));
        println!("caught up with a stop of a second after {:?}", again.elapsed());
        assert_eq!(skips(), 0.0, "a second is less than max_lag_ms");
    };
    trial.expect(&counts(&[]), work).unwrap();
    trial.finish();
}

/// How long it may take until it listens again; ten times what docs/reliability.md holds it to.
const LISTENS_WITHIN: Duration = Duration::from_secs(5);

fn killed_and_started_again(config: Config) {
    let shape = Shape::default();
    let mut left = None;
    for round in 0..3 {
        let began = Instant::now();
        let server = config.launch();
        let within = if round == 0 { LIMIT } else { LISTENS_WITHIN };
        let server = server.until_ready(within);
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
