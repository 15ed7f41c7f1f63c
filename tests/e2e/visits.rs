//! Connections that come at a fixed pace, stay for a moment and leave: everybody is served, and nothing is left of them.
//!
//! The storm of the benches (`cargo xtask bench --storm`) in small, with its own tool; how long set-up takes is measured there.

use crate::support::engine::engine_tests;
use crate::support::metrics::Metrics;
use crate::support::sandbox::io_uring_works;
use crate::support::server::{Config, Server};
use crate::support::skip;
use headgate_load::clock::{SECOND_NS, now_ns};
use headgate_load::media::Profile;
use headgate_load::play::{Outcome, Plan, Visit, start};
use headgate_load::publish;
use std::net::IpAddr;

engine_tests!(a_storm_is_served_and_leaves_nothing, visitors_of_nothing_are_counted_by_reason);

const VISITORS: usize = 200;

/// Whether the load, which knows no other way, can run here, whichever engine the server has.
fn load_works() -> bool {
    let works = io_uring_works();
    if !works {
        skip("no-io-uring", "the kernel refuses io_uring to the load");
    }
    works
}

/// Longer than any of these tests: plans end when nobody is left.
const PLAN_NS: u64 = 60 * SECOND_NS;

/// 200 a second from three addresses, half of them over each protocol.
fn plan(server: &Server, name: &str, count: usize, visit: Visit) -> Plan {
    let targets = [server.rtmp_url(name), server.flv_url(name)].map(|url| url.parse().unwrap());
    Plan {
        from: (2..5).map(|last| IpAddr::from([127, 0, 0, last])).collect(),
        ramp_per_s: 200.0,
        visit: Some(visit),
        verify: count,
        ..Plan::new(targets.to_vec(), count, now_ns() + PLAN_NS)
    }
}

fn play(plan: &Plan) -> Outcome {
    start(plan).unwrap().finish().unwrap()
}

/// Publishes until the server ends.
fn publish(server: &Server, name: &str) -> std::thread::JoinHandle<publish::Report> {
    let profile = Profile { bitrate_bps: 300e3, ..Profile::default() };
    let publishers = publish::connect(&server.rtmp_url(name).parse().unwrap(), 1).unwrap();
    let publisher = std::thread::spawn(move || publish::run(publishers, profile, now_ns() + 2 * PLAN_NS, 0));
    server.await_metrics("a keyframe", |m| m.sum("headgate_frames_total", &["kind=\"video\""]) >= 1.0);
    publisher
}

fn a_storm_is_served_and_leaves_nothing(config: Config) {
    if !load_works() {
        return;
    }
    let server = config.start();
    let publisher = publish(&server, "visited");
    let held = |m: &Metrics| (m.sum("headgate_connections", &[]), m.sum("process_open_fds", &[]));
    let before = held(&server.metrics());
    let visit = Visit { life_ns: SECOND_NS / 5, patience_ns: 20 * SECOND_NS };
    let outcome = play(&plan(&server, "visited", VISITORS, visit));
    let ends = outcome.all_setups();
    assert_eq!((ends.begun, ends.served), (VISITORS as u64, VISITORS as u64), "{:?}", ends.errors);
    assert!(ends.errors.is_empty(), "{:?}", ends.errors);
    assert_eq!(ends.setup_us.len(), VISITORS as u64);
    for setups in &outcome.setups {
        assert_eq!(setups.served, VISITORS as u64 / 2, "half of them over each protocol");
    }
    assert!(outcome.faults.is_clean(), "{:?}", outcome.faults);
    server.await_metrics("everybody is gone", |m| held(m) == before);
    server.stop();
    publisher.join().unwrap();
}

fn visitors_of_nothing_are_counted_by_reason(config: Config) {
    if !load_works() {
        return;
    }
    let server = config.start();
    let visits = Visit { life_ns: 0, patience_ns: SECOND_NS / 2 };
    let ends = play(&plan(&server, "nobody-publishes-this", 20, visits)).all_setups();
    assert_eq!((ends.begun, ends.served, ends.setup_us.len()), (20, 0, 0));
    assert_eq!(ends.errors.into_iter().collect::<Vec<_>>(), [("no frame in time".to_owned(), 20)]);
    server.await_metrics("everybody is gone", |m| m.sum("headgate_connections", &[]) == 0.0);
    server.stop();
}
