//! A core whose sends never end still reads and accepts.
//!
//! The runtime submits its own operations (accepts) only when the core's thread truly waits, so an engine that yields
//! in any other way starves them for as long as it has something to send.

use crate::support::engine::Engine;
use crate::support::http::{self, FlvPlayer};
use crate::support::own_machine;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::server::{Config, Server};
use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Viewers of the stream that fills the core: several batches of sends for each frame.
const CROWD: usize = 300;
const CROWD_SHAPE: Shape = Shape { fps: 25, gop: 25, key_bytes: 2000, inter_bytes: 1000, audio: false };
/// Each round is a frame through the other stream, a new viewer of it and a request.
const ROUNDS: u32 = 20;
/// Frames of the crowd's stream after which the attempt is given up: far more than the rounds leave time for.
const FRAMES_MAX: u32 = 20_000_000;

#[test]
fn reads_and_accepts_go_on_uring() {
    let _alone = own_machine();
    if let Some(config) = Engine::Uring.config() {
        reads_and_accepts_go_on(config);
    }
}

#[test]
fn reads_and_accepts_go_on_epoll() {
    let _alone = own_machine();
    if let Some(config) = Engine::Epoll.config() {
        reads_and_accepts_go_on(config);
    }
}

fn reads_and_accepts_go_on(config: Config) {
    // A machine that is this busy may leave some of the crowd far behind; nobody is to be closed for it.
    let config = config.set("limits.pin_budget_bytes", "1_000_000_000");
    let config = config.arguments(&["--cores", "0"]).set("log.level", "\"debug\"");
    // Every frame is flushed by itself.
    let server = config.set("fanout.flush", "\"frame\"").start();
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _raise = Raise(stop);
        let mut filler = Publisher::start(&server, "filler", CROWD_SHAPE);
        filler.burst_until(1);
        let crowd: Vec<_> =
            (0..CROWD).map(|_| http::request(server.http, "GET", "/live/filler.flv").socket).collect();
        server.await_subscribers(CROWD);
        scope.spawn(move || swallow(crowd, stop));
        let filling = scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) && filler.video < FRAMES_MAX {
                filler.step().expect("publish");
            }
        });
        rounds(&server, || {
            // It sends as fast as the core reads, so there is more to read and to send at any time.
            assert!(!filling.is_finished(), "the core was not kept busy to the end");
        });
        stop.store(true, Ordering::Relaxed);
        filling.join().unwrap();
    });
    server.stop();
}

/// Reads and forgets what comes on `sockets`.
fn swallow(mut sockets: Vec<TcpStream>, stop: &AtomicBool) {
    let mut buffer = vec![0; 256 << 10];
    while !stop.load(Ordering::Relaxed) {
        let entry = |s: &TcpStream| libc::pollfd { fd: s.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut events: Vec<libc::pollfd> = sockets.iter().map(entry).collect();
        // SAFETY: a live vector of pollfds and its length.
        unsafe { libc::poll(events.as_mut_ptr(), events.len() as libc::nfds_t, 100) };
        for (socket, event) in sockets.iter_mut().zip(&events) {
            if event.revents != 0 {
                let len = socket.read(&mut buffer).expect("a viewer of the crowd");
                assert!(len > 0, "a viewer of the crowd was closed");
            }
        }
    }
}

/// Frame by frame through a second stream, each sent only when the one before has come through.
fn rounds(server: &Server, busy: impl Fn()) {
    let shape = Shape { audio: false, ..Shape::default() };
    let mut publisher = Publisher::start(server, "steady", shape);
    publisher.burst_until(1);
    let mut player = FlvPlayer::open(server.http, "/live/steady.flv");
    let mut audit = Audit::new(shape);
    for round in 1..=ROUNDS {
        publisher.burst_until(round + 1);
        while audit.video.count == 0 || audit.video.last < round {
            audit.tag(&player.tag().expect("the viewer stays"));
        }
        let (status, _) = http::get(server.http, "/");
        assert_eq!(status, 200);
        busy();
    }
    assert!(audit.video.is_gapless(), "{:?}", audit.video);
}
