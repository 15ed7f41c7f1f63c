//! Both engines serve the same; where io_uring is refused the gateway says so and goes on.

use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::rtmp::Client;
use crate::support::sandbox::Restriction;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::{poll, share_machine};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

engine_tests!(core_behaviour);

/// Four players of each protocol, half of them late: complete, gapless, equal bytes.
fn core_behaviour(config: Config) {
    let server = config.start();
    players_of_both_protocols(&server);
    server.stop();
}

fn players_of_both_protocols(server: &Server) {
    let shape = Shape::default();
    let stop = AtomicBool::new(false);
    let playing = AtomicUsize::new(0);
    let (publisher, audits) = std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let publishing = Publisher::start(server, "core", shape).run_beside(scope, &stop);
        let playing = &playing;
        let players: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn(move || {
                    let mut audit = Audit::new(shape);
                    let mut take = |tag| {
                        audit.tag(&tag);
                        // Counted once it has seen a keyframe and more.
                        if audit.video.count == 5 {
                            playing.fetch_add(1, Ordering::Relaxed);
                        }
                    };
                    if n % 2 == 0 {
                        let mut player = FlvPlayer::open(server.http, "/live/core.flv");
                        std::iter::from_fn(|| player.tag()).for_each(&mut take);
                    } else {
                        let mut player = Client::connect(server.rtmp, "live", &[]);
                        player.play("core").unwrap();
                        std::iter::from_fn(|| player.tag()).for_each(&mut take);
                    }
                    audit
                })
            })
            .collect();
        poll("eight players", LIMIT, || {
            (playing.load(Ordering::Relaxed) >= 8 || players.iter().any(|p| p.is_finished())).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        let publisher = publishing.join().unwrap();
        (publisher, players.into_iter().map(|player| player.join().unwrap()).collect::<Vec<_>>())
    });
    audits.iter().for_each(|audit| audit.assert_complete(&publisher));
}

#[test]
fn refused_io_uring_falls_back_to_epoll() {
    let _shared = share_machine();
    let server = Config::new().restricted(Restriction::NoIoUring).start();
    players_of_both_protocols(&server);
    let log = server.stop();
    let says = log.lines().any(|line| line.contains("io_uring") && line.contains("epoll"));
    assert!(says, "no line says that io_uring is refused and epoll is used:\n{log}");
}

#[test]
fn refused_io_uring_is_an_error_if_it_was_asked_for() {
    let _shared = share_machine();
    let config = Config::new().restricted(Restriction::NoIoUring).arguments(&["--engine", "uring"]);
    let (mut process, _folder) = config.spawn();
    let status = process.wait(LIMIT).expect("it ends");
    let text = process.output.text();
    assert!(!status.success() && text.contains("io_uring"), "{status}:\n{text}");
    assert!(!text.contains("panicked") && !text.contains("stack backtrace"), "{text}");
}
