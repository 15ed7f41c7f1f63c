//! What is seen from outside: metrics that promtool accepts, probes, the page of live streams.

use crate::support::http::{FlvPlayer, get};
use crate::support::process::program;
use crate::support::publisher::{Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::{Config, LIMIT, Server};
use crate::support::{poll, share_machine};
use std::io::Write;
use std::process::{Command, Stdio};

/// Metric names of the contract.
const CONTRACT: [&str; 15] = [
    "headgate_streams",
    "headgate_publishers",
    "headgate_subscribers",
    "headgate_ingest_bytes_total",
    "headgate_egress_bytes_total",
    "headgate_frames_total",
    "headgate_lag_skips_total",
    "headgate_disconnects_total",
    "headgate_payload_copied_bytes_total",
    "headgate_core_busy_ratio",
    "headgate_loop_lag_seconds_count",
    "headgate_stage_latency_seconds_count",
    "headgate_stage_latency_seconds_bucket",
    "headgate_fanout_latency_seconds_count",
    "headgate_fanout_latency_seconds_bucket",
];

/// A server that has worked: frames in, both protocols out, a subscriber gone.
fn worked() -> (Server, Publisher, FlvPlayer, Client) {
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "seen", Shape::default());
    publisher.burst_until(10);
    let mut http = FlvPlayer::open(server.http, "/live/seen.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("seen").unwrap();
    drop(FlvPlayer::open(server.http, "/live/seen.flv"));
    publisher.burst_until(20);
    while http.tag().expect("media").time_ms < publisher.video * 40 - 40 {}
    while rtmp.tag().expect("media").time_ms < publisher.video * 40 - 40 {}
    server.await_metrics("a disconnect", |metrics| metrics.sum("headgate_disconnects_total", &[]) >= 1.0);
    (server, publisher, http, rtmp)
}

#[test]
fn promtool_accepts_the_metrics() {
    let Some(promtool) = program("promtool") else { return };
    let _shared = share_machine();
    let (server, _publisher, _http, _rtmp) = worked();
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let page = server.metrics_page();
    check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let complaints = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&complaints));
}

#[test]
fn the_contract_is_on_the_page() {
    let _shared = share_machine();
    let (server, _publisher, _http, _rtmp) = worked();
    let metrics = server.metrics();
    let missing: Vec<_> = CONTRACT.iter().filter(|name| !metrics.has(name)).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    assert_eq!(metrics.sum("headgate_publishers", &["protocol=\"rtmp\""]), 1.0);
    assert_eq!(metrics.sum("headgate_subscribers", &["protocol=\"rtmp\""]), 1.0);
    assert_eq!(metrics.sum("headgate_subscribers", &[]), 2.0);
    for stage in ["ingest", "append", "flush", "dispatch", "send"] {
        let label = format!("stage=\"{stage}\"");
        // Cores hand their histograms over once a second.
        server.await_metrics(&format!("stage {stage}"), |metrics| {
            metrics.sum("headgate_stage_latency_seconds_count", &[&label]) > 0.0
        });
    }
    let copied = metrics.sum("headgate_payload_copied_bytes_total", &[]);
    let ingested = metrics.sum("headgate_ingest_bytes_total", &[]);
    // Assembled once and written to two logs.
    assert!(copied > 1.5 * ingested && copied < 4.0 * ingested, "copied {copied} of {ingested}");
}

#[test]
fn copies_do_not_depend_on_the_audience() {
    let _shared = share_machine();
    let copied = |subscribers: usize| {
        let server = Server::start();
        let mut publisher = Publisher::start(&server, "copies", Shape::default());
        publisher.burst_until(1);
        let mut players: Vec<_> =
            (0..subscribers).map(|_| FlvPlayer::open(server.http, "/live/copies.flv")).collect();
        server.await_subscribers(subscribers);
        publisher.burst_until(50);
        for player in &mut players {
            while player.tag().expect("media").time_ms < 49 * 40 {}
        }
        server.metrics().sum("headgate_payload_copied_bytes_total", &[])
    };
    assert_eq!(copied(1), copied(40));
}

#[test]
fn probes_and_pages() {
    let _shared = share_machine();
    let (server, _publisher, _http, _rtmp) = worked();
    assert_eq!(get(server.admin, "/livez").0, 200);
    assert_eq!(get(server.admin, "/readyz").0, 200);
    assert_eq!(get(server.admin, "/nothing").0, 404);
    let (status, page) = get(server.http, "/");
    assert_eq!(status, 200);
    assert!(page.contains("<html"), "{page}");
    // The page fills itself from here.
    let (status, streams) = get(server.http, "/api/streams");
    assert_eq!(status, 200);
    for part in ["seen", ".flv"] {
        assert!(
            page.contains(part) || streams.contains(part),
            "neither page nor list has {part}:\n{streams}"
        );
    }
    let (status, _) = get(server.http, "/metrics");
    assert_ne!(status, 200, "metrics stay on the admin port");
}

/// RTMP names are what stands on the wire; HTTP's are percent-decoded; the page's list follows both.
#[test]
fn odd_names_are_the_same_stream_on_every_protocol() {
    let _shared = share_machine();
    let server = Server::start();
    for (name, flv_path, rtmp) in [
        ("plain-1.a_b~", "/live/plain-1.a_b~.flv", true),
        ("übung", "/live/%C3%BCbung.flv", true),
        ("a b%41$'\"&", "/live/a%20b%2541%24%27%22%26.flv", false),
    ] {
        let mut publisher = Publisher::start(&server, name, Shape::default());
        publisher.burst_until(5);
        assert!(FlvPlayer::open(server.http, flv_path).tag().is_some());
        let mut player = Client::connect(server.rtmp, "live", &[]);
        player.play(name).unwrap();
        let listed = poll("the list", LIMIT, || {
            let list: serde_json::Value = serde_json::from_str(&get(server.http, "/api/streams").1).unwrap();
            list["streams"].as_array()?.iter().find(|stream| stream["name"] == name).cloned()
        });
        assert_eq!(listed["flv_path"], flv_path);
        assert_eq!(listed["rtmp_path"].as_str(), rtmp.then_some(format!("/live/{name}")).as_deref());
    }
    server.stop();
}

/// The promise of docs/performance.md, by the product's own accounting.
#[test]
fn viewers_are_small() {
    const VIEWERS: usize = 100;
    let _shared = share_machine();
    let server = Config::new().arguments(&["--cores", "0"]).start();
    let mut publisher = Publisher::start(&server, "small", Shape::default());
    publisher.burst_until(5);
    let memory = || server.metrics().sum("headgate_connection_memory_bytes", &[]);
    // Until the publisher is measured, and every later second measures all: they are less than four pages.
    poll("a measurement", LIMIT, || (memory() > 0.0).then_some(()));
    let settled = || {
        let uptime = || server.metrics().sum("headgate_loop_lag_seconds_count", &[]);
        let before = uptime();
        poll("another second", LIMIT, || (uptime() > before).then_some(()));
        let before = uptime();
        poll("yet another second", LIMIT, || (uptime() > before).then_some(()));
        memory()
    };
    let alone = settled();
    let http: Vec<FlvPlayer> =
        (0..VIEWERS).map(|_| FlvPlayer::open(server.http, "/live/small.flv")).collect();
    server.await_subscribers(VIEWERS);
    let with_http = settled();
    let rtmp: Vec<Client> = (0..VIEWERS)
        .map(|_| {
            let mut client = Client::connect(server.rtmp, "live", &[]);
            client.play("small").unwrap();
            client
        })
        .collect();
    server.await_subscribers(2 * VIEWERS);
    let with_both = settled();
    let each = [with_http - alone, with_both - with_http].map(|bytes| bytes / VIEWERS as f64);
    assert!(each[0] > 200.0 && each[0] <= 1024.0, "HTTP-FLV: {} bytes each", each[0]);
    assert!(each[1] > each[0] && each[1] <= 2048.0, "RTMP: {} bytes each", each[1]);
    drop((http, rtmp));
    server.stop();
}
