//! Publishers that are torn away in the middle of a chunk, and readers that are too slow.

use crate::support::engine::{Engine, engine_tests};
use crate::support::http::FlvPlayer;
use crate::support::own_machine;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::raw::{Raw, ask, chunk0, connect, hello};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT};
use crate::support::trial::{Trial, counts};
use crate::support::viewer::{Output, Watched};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Publishers torn away on each engine.
const REPEATS: [(Engine, u64); 2] = [(Engine::Uring, 10_000), (Engine::Epoll, 2000)];
/// By so many threads beside each other.
const THREADS: u64 = 4;
/// The smallest leak that must show, in bytes a publisher, beyond what a queue of deadlines may grow in one step.
const LEAK_BYTES: f64 = 32.0;
const GROWTH_BYTES: f64 = 128.0 * 1024.0;

#[test]
fn publishers_torn_away_leave_nothing() {
    let _alone = own_machine();
    for (engine, repeats) in REPEATS {
        let Some(config) = engine.config() else { continue };
        // Deadlines of connections that are gone stay in their queue until they are due: the first round fills it.
        let config = config.set("limits.handshake_timeout_ms", "5000");
        // Nothing but the reset frees a name.
        let config =
            config.set("publish.silence_timeout_ms", "60_000").set("publish.takeover_after_ms", "60_000");
        let trial = Trial::begin(config.set("log.level", "\"warn\""));
        let gauge = |name: &str| trial.server.metrics().sum(name, &[]);
        let look = || ["process_open_fds", "process_resident_memory_bytes"].map(gauge);
        let connections = || gauge("headgate_connection_memory_bytes") + gauge("headgate_pinned_bytes");
        tear(&trial, repeats);
        let (before, held) = (look(), connections());
        let waits = tear(&trial, repeats);
        let (after, more) = (look(), connections() - held);
        println!("{engine:?}: a name is free after {waits}");
        println!("{engine:?}: descriptors and resident bytes {before:?}, then {after:?}");
        assert_eq!(before[0], after[0], "descriptors");
        println!("{engine:?}: {held} bytes of connections, then {more} more");
        assert!(more < repeats as f64 * LEAK_BYTES + GROWTH_BYTES, "{more} bytes more");
        trial.finish();
    }
}

/// Tears away `repeats` publishers, each name again and again, and waits until all of that is counted and measured. Returns
/// quantiles of the time until a name was free.
fn tear(trial: &Trial, repeats: u64) -> String {
    let (waits, taken) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    let work = || {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (waits, taken) = (&waits, &taken);
                scope.spawn(move || {
                    let name = format!("torn-{thread}");
                    let mut torn_at = None;
                    for _ in 0..repeats / THREADS {
                        let raw = publish(trial, &name, torn_at, taken);
                        waits.lock().unwrap().extend(torn_at.map(|at: Instant| at.elapsed()));
                        torn_at = Some(reset_in_mid_chunk(raw));
                    }
                });
            }
        });
        // Each reset, and who came before it was heard.
        counts(&[("rtmp client_closed", repeats), ("rtmp name_taken", taken.load(Ordering::Relaxed))])
    };
    trial.expect_told(work).unwrap();
    let mut waits = waits.into_inner().unwrap();
    waits.sort();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    format!("p50 {:?}, p99 {:?}, at most {:?}", at(0.5), at(0.99), at(1.0))
}

/// A publisher of `name`, whose last one was reset at `torn_at`. Asks again while the name is taken, and counts that.
fn publish(trial: &Trial, name: &str, torn_at: Option<Instant>, taken: &AtomicU64) -> Raw {
    loop {
        let mut raw = Raw::open(trial.server.rtmp);
        raw.write(&[hello(), connect("open"), ask("publish", name)].concat());
        if raw.reads_either("NetStream.Publish.Start", "NetStream.Publish.BadName") {
            return raw;
        }
        taken.fetch_add(1, Ordering::Relaxed);
        let waited = torn_at.map_or(Duration::ZERO, |at| at.elapsed());
        assert!(waited < LIMIT, "the name is taken {waited:?} behind the reset");
    }
}

/// Sends half a chunk, then a reset instead of an end. Returns when.
fn reset_in_mid_chunk(mut raw: Raw) -> Instant {
    raw.write(&chunk0(6, 9, 1, 0, 5000, &[0x17, 1, 0, 0, 0, 7, 7, 7]));
    socket2::SockRef::from(&*raw.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(raw);
    Instant::now()
}

engine_tests!(a_reset_in_mid_chunk_is_counted, slow_readers_cost_the_others_nothing);

fn a_reset_in_mid_chunk_is_counted(config: Config) {
    let trial = Trial::begin(config.set("publish.republish_grace_ms", "0"));
    let expected = counts(&[("rtmp client_closed", 20), ("http_flv stream_ended", 20)]);
    let work = || {
        for n in 0..20 {
            let name = format!("torn-{n}");
            let mut publisher =
                Publisher::on(Client::connect(trial.server.rtmp, "open", &[]), &name, Shape::default());
            publisher.burst_until(12);
            let mut player = FlvPlayer::open(trial.server.http, &format!("/open/{name}.flv"));
            let mut audit = Audit::new(publisher.shape);
            while audit.video.count == 0 || audit.video.last < 11 {
                audit.tag(&player.tag().expect("media"));
            }
            let torn = chunk0(6, 9, 1, 480, 5000, &[0x27; 100]);
            std::io::Write::write_all(&mut publisher.client.socket(), &torn).unwrap();
            socket2::SockRef::from(publisher.client.socket()).set_linger(Some(Duration::ZERO)).unwrap();
            drop(publisher);
            // Its viewer sees a clean end: whole tags, and nothing of the torn message.
            player.tags().iter().for_each(|tag| audit.tag(tag));
            assert_eq!(audit.video.last, 11);
        }
    };
    trial.expect(&expected, work).unwrap();
    trial.finish();
}

/// About 350 KB/s.
const SHAPE: Shape = Shape { fps: 25, gop: 10, key_bytes: 50_000, inter_bytes: 10_000, audio: true };
/// Viewers, of either protocol in turn. Every fifth reads at a tenth of the rate.
const VIEWERS: usize = 20;
const SLOW_BYTES_PER_S: u64 = 35_000;
/// Frames that are published: eight seconds, more than who is slow may be behind.
const FRAMES: u32 = 200;

fn slow_readers_cost_the_others_nothing(config: Config) {
    let config = config.set("fanout.max_lag_ms", "5000").set("publish.republish_grace_ms", "0");
    let trial = Trial::begin(config.set("fanout.stall_timeout_ms", "60_000"));
    let each = VIEWERS as u64 / 2;
    let expected =
        counts(&[("rtmp stream_ended", each), ("http_flv stream_ended", each), ("rtmp client_closed", 1)]);
    let over = AtomicBool::new(false);
    let watched = Watched { server: &trial.server, app: "open", name: "mixed", shape: SHAPE, over: &over };
    let mut gaps = [0, 0];
    let work = || {
        let (publisher, audits) = std::thread::scope(|scope| {
            let raise = Raise(&over);
            let mut publisher =
                Publisher::on(Client::connect(trial.server.rtmp, "open", &[]), "mixed", SHAPE);
            publisher.burst_until(1);
            let viewer = |n: usize| {
                let pace = n.is_multiple_of(5).then_some(SLOW_BYTES_PER_S);
                scope.spawn(move || watched.watch(Output::ALL[n % 2], pace, |_| {}))
            };
            let viewers: Vec<_> = (0..VIEWERS).map(viewer).collect();
            let present = (VIEWERS + 2) as f64;
            trial.server.await_metrics("viewers", |m| m.sum("headgate_subscribers", &[]) == present);
            publisher.run_until(|publisher| publisher.video == FRAMES);
            publisher.finish();
            drop(raise);
            let audits: Vec<_> = viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect();
            (publisher, audits)
        });
        for (n, audit) in audits.iter().enumerate() {
            match n.is_multiple_of(5) {
                true => gaps[n % 2] += audit.video.gaps,
                false => audit.assert_complete(&publisher),
            }
        }
    };
    trial.expect(&expected, work).unwrap();
    let metrics = trial.server.metrics();
    for (output, gaps) in Output::ALL.into_iter().zip(gaps) {
        assert!(gaps > 0, "slow viewers of {output:?} kept up");
        assert_eq!(f64::from(gaps), output.skips(&metrics), "gaps seen and skips counted, {output:?}");
    }
    trial.finish();
}
