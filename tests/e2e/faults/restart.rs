//! A core that stands still, and a process that is killed and comes again.

use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::metrics::Metrics;
use crate::support::poll;
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{Trial, counts};
use std::time::{Duration, Instant};

engine_tests!(a_process_that_stands_still_for_a_second, killed_and_started_again);

/// Media of the control in a second, bytes at the least: two keyframes, 23 other pictures, 46 sounds.
const SECOND_BYTES: f64 = (2 * 6000 + 23 * 900 + 46 * 180) as f64;

fn a_process_that_stands_still_for_a_second(config: Config) {
    let trial = Trial::begin(config.set("fanout.max_lag_ms", "3000"));
    let sent = |metrics: &Metrics| {
        let to = |protocol| metrics.sum("headgate_egress_bytes_total", &[protocol]);
        [to("protocol=\"rtmp\""), to("protocol=\"http_flv\"")]
    };
    let skips = || trial.server.metrics().sum("headgate_lag_skips_total", &[]);
    let work = || {
        let before = sent(&trial.server.metrics());
        trial.server.signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_secs(1));
        trial.server.signal(libc::SIGCONT);
        let again = Instant::now();
        // Both viewers have what was published meanwhile.
        poll("the viewers to catch up", LIMIT, || {
            let now = sent(&trial.server.metrics());
            before.iter().zip(now).all(|(before, now)| now - before > SECOND_BYTES).then_some(())
        });
        println!("viewers caught up with a stop of a second after {:?}", again.elapsed());
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
