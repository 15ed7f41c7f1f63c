//! Links that fail without saying so.

use crate::support::engine::engine_tests;
use crate::support::network::Network;
use crate::support::poll;
use crate::support::publisher::{Publisher, Raise, Shape};
use crate::support::raw::{Raw, Stage, ask};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{Trial, counts};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

engine_tests!(half_open_peers_are_let_go, a_link_that_is_away_for_five_seconds);

fn inside(network: &Network, config: Config) -> Config {
    config.reached_at(network.calm).wrapped(&network.wrapper())
}

fn half_open_peers_are_let_go(config: Config) {
    let Some(network) = Network::that_swallows() else { return };
    let config = inside(&network, config)
        .set("publish.silence_timeout_ms", "5000")
        .set("fanout.stall_timeout_ms", "5000")
        .set("publish.republish_grace_ms", "0")
        .set("fanout.play_wait_ms", "120_000");
    let trial = Trial::begin(config);
    let rough = |calm: SocketAddr| SocketAddr::new(network.rough, calm.port());
    let (rtmp, http) = (rough(trial.server.rtmp), rough(trial.server.http));
    let expected = counts(&[
        ("rtmp publisher_silent", 1),
        ("rtmp stalled", 1),
        ("http_flv stalled", 1),
        // It waited for a stream that nobody publishes, and was sent nothing.
        ("http_flv io_error", 1),
        // The stream that the viewers were lost from ends by itself.
        ("rtmp client_closed", 1),
    ]);
    let work = || {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _raise = Raise(&stop);
            let mut fat = Publisher::on(Client::connect(trial.server.rtmp, "open", &[]), "fat", Shape::FAT);
            fat.burst_until(1);
            let publishing = fat.run_beside(scope, &stop);
            // All three go on for as long as they can; none of them hears of the cut.
            scope.spawn(|| {
                let client = Client::connect(rtmp, "open", &[]);
                let mut publisher = Publisher::on(client, "lost", Shape::default());
                publisher.run_while_it_can(&stop);
            });
            scope.spawn(|| {
                let mut player = Raw::at(Stage::Connected, rtmp, "");
                player.write(&ask("play", "fat"));
                player.read_to_end();
            });
            scope.spawn(|| {
                let mut player = Raw::open(http);
                player.write(b"GET /open/fat.flv HTTP/1.1\r\nHost: a\r\n\r\n");
                player.read_to_end();
            });
            scope.spawn(|| {
                let mut player = Raw::open(http);
                player.write(b"GET /open/nobody.flv HTTP/1.1\r\nHost: a\r\n\r\n");
                player.read_to_end();
            });
            trial.server.await_metrics("everybody", |metrics| {
                let present = |gauge| metrics.sum(gauge, &[]);
                present("headgate_subscribers") == 5.0 && present("headgate_publishers") == 3.0
            });
            network.swallow();
            let cut = Instant::now();
            let count = |reason: &str| trial.server.metrics().sum("headgate_disconnects_total", &[reason]);
            poll("both viewers let go", LIMIT, || (count("stalled") >= 2.0).then_some(()));
            println!("half-open viewers let go {:?} behind the cut", cut.elapsed());
            poll("the publisher let go", LIMIT, || (count("publisher_silent") >= 1.0).then_some(()));
            println!("half-open publisher let go {:?} behind the cut", cut.elapsed());
            poll("who waits let go", 3 * LIMIT, || (count("io_error") >= 1.0).then_some(()));
            println!("half-open viewer of nothing let go {:?} behind the cut", cut.elapsed());
            stop.store(true, Ordering::Relaxed);
            drop(publishing.join().unwrap());
        });
    };
    trial.expect(&expected, work).unwrap();
    trial.finish();
}

/// The control itself is behind the link: it must lose nothing.
fn a_link_that_is_away_for_five_seconds(config: Config) {
    let Some(network) = Network::new() else { return };
    // Retransmission takes its time behind the outage; nobody is to be skipped or given up meanwhile.
    let config = inside(&network, config)
        .set("publish.silence_timeout_ms", "30_000")
        .set("fanout.stall_timeout_ms", "30_000")
        .set("fanout.max_lag_ms", "30_000")
        .set("fanout.gop_max_ms", "40_000");
    let trial = Trial::begin_over(config, |_| network.rough);
    let frames = || trial.server.metrics().sum("headgate_frames_total", &[]);
    let work = || {
        network.plug(false);
        let down = Instant::now();
        // What was on its way is counted within a second or two.
        poll("the outage to show", LIMIT, || {
            let before = frames();
            std::thread::sleep(Duration::from_millis(1200));
            (frames() == before).then_some(())
        });
        std::thread::sleep(Duration::from_secs(5).saturating_sub(down.elapsed()));
        let before = frames();
        network.plug(true);
        let up = Instant::now();
        poll("frames again", LIMIT, || (frames() > before).then_some(()));
        println!("away for {:?}, frames again {:?} later", up - down, up.elapsed());
    };
    trial.expect(&counts(&[]), work).unwrap();
    trial.finish();
}
