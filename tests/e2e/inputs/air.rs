//! What is on air: the primary, a backup in its place, the primary again; and who has the stream's name.

use super::{await_figure, config, figure, h264_file, port, send_for_ever, watch};
use crate::support::checker::{Class, VIDEO, parts};
use crate::support::http::{self, FlvPlayer};
use crate::support::process::static_ffmpeg;
use crate::support::publisher::{Publisher, Raise, Shape};
use crate::support::server::Server;
use crate::support::share_machine;

/// Keyframes, one a second, that an origin may take to be clean for ten seconds.
const PATIENCE: usize = 120;

/// Reads a player's tags until `enough` keyframes more have come. The clock must not go back.
fn see(player: &mut FlvPlayer, time_ms: &mut u32, enough: usize) {
    let mut keys = 0;
    while keys < enough {
        let tag = player.tag().expect("the stream goes on");
        if tag.kind == VIDEO {
            assert!(tag.time_ms >= *time_ms, "{} behind {time_ms}", tag.time_ms);
            *time_ms = tag.time_ms;
            keys += parts(&tag).iter().filter(|part| part.class == Class::Key).count();
        }
    }
}

/// The primary dies, the backup takes over; it comes back, and takes over again when it was clean for long enough. One
/// viewer watches through all of it.
#[test]
fn a_backup_takes_over_and_gives_back() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let urls = [0, 1].map(|_| format!("udp://127.0.0.1:{}", port()));
    let server = config(&[&urls[0], &urls[1]], "failover_ms = 1500\nrevert_after_s = 10").start();
    let [primary, backup] = [0, 1].map(|n| {
        let sender = send_for_ever(&ffmpeg, &file, "mpegts", &urls[n]);
        let origin = format!("origin=\"{n}\"");
        await_figure(&server, "datagrams_total", &[&origin], 10.0);
        sender
    });
    let mut player = watch(&server);
    let mut time_ms = 0;
    see(&mut player, &mut time_ms, 2);
    await_figure(&server, "origin", &[], 0.0);
    drop(primary);
    await_figure(&server, "failovers_total", &["silence"], 1.0);
    see(&mut player, &mut time_ms, 3);
    await_figure(&server, "origin", &[], 1.0);
    tells_operators(&server, &urls);
    let _primary = send_for_ever(&ffmpeg, &file, "mpegts", &urls[0]);
    // The player reads on, so that it is not let go of; a sender may have to be clean more than once.
    let reverted = || figure(&server, "failovers_total", &["revert"]) > 0.0;
    assert!(
        (0..PATIENCE).any(|_| reverted() || {
            see(&mut player, &mut time_ms, 1);
            false
        }),
        "never again"
    );
    see(&mut player, &mut time_ms, 2);
    assert_eq!(figure(&server, "origin", &[]), 0.0);
    assert_eq!(server.metrics().sum("headgate_streams", &[]), 1.0, "one stream all the time");
    drop(backup);
    let log = server.stop();
    for line in ["nothing comes from the origin on air", "reason=silence", "reason=revert"] {
        assert!(log.contains(line), "{line}");
    }
}

/// The API says what an operator asks, of an input on its backup.
fn tells_operators(server: &Server, urls: &[String; 2]) {
    let (status, body) = http::get(server.admin, "/api/v1/inputs/live/in");
    assert_eq!(status, 200, "{body}");
    let input: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&input["state"], &input["origin"]), (&"on_air".into(), &1.into()), "{body}");
    assert_eq!(input["failovers"]["silence"], 1, "{body}");
    for (n, url) in urls.iter().enumerate() {
        let origin = &input["origins"][n];
        let told = (origin["from"].as_str(), origin["on_air"].as_bool(), origin["listening"].as_bool());
        assert_eq!(told, (Some(url.as_str()), Some(n == 1), Some(true)), "{body}");
        let pids = origin["pids"].as_array().expect("PIDs");
        let rate = |role: &str| -> u64 {
            let of = pids.iter().filter(|pid| pid["role"] == role);
            of.filter_map(|pid| pid["bitrate_bps"].as_u64()).sum()
        };
        assert_eq!(rate("video") > 0, n == 1, "what does not come has no rate: {body}");
        assert!(pids.iter().any(|pid| pid["codec"] == "H.264"), "{body}");
    }
    let events: Vec<&str> =
        input["events"].as_array().unwrap().iter().filter_map(|e| e["what"].as_str()).collect();
    let at = |what: &str| events.iter().position(|event| *event == what);
    assert!(at("on_air") < at("lost") && at("lost") < at("switched"), "{events:?}");
    assert!(input["origins"][1]["mdi"]["df_ms"].is_number(), "{body}");
}

/// Without a backup the stream ends after its grace, and begins again when the sender does.
#[test]
fn a_lone_origin_comes_back() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let url = format!("udp://127.0.0.1:{}", port());
    let server = config(&[&url], "").start();
    let sender = send_for_ever(&ffmpeg, &file, "mpegts", &url);
    let mut player = watch(&server);
    see(&mut player, &mut 0, 2);
    drop(sender);
    while player.tag().is_some() {}
    await_figure(&server, "deposed_total", &[], 1.0);
    assert_eq!(figure(&server, "on_air", &[]), 0.0);
    let _sender = send_for_ever(&ffmpeg, &file, "mpegts", &url);
    let mut player = watch(&server);
    see(&mut player, &mut 0, 2);
    assert_eq!(figure(&server, "on_air", &[]), 1.0);
    server.stop();
}

/// A publisher who was there first keeps the name; the input takes it when it is free.
#[test]
fn a_name_that_is_taken_is_waited_for() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let url = format!("udp://127.0.0.1:{}", port());
    let server = config(&[&url], "").start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let publisher = Publisher::start(&server, "in", Shape::default());
        let publishing = publisher.run_beside(scope, &stop);
        server.await_stream();
        let _sender = send_for_ever(&ffmpeg, &file, "mpegts", &url);
        await_figure(&server, "claims_refused_total", &[], 2.0);
        assert_eq!(figure(&server, "on_air", &[]), 0.0);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        publishing.join().unwrap();
        await_figure(&server, "on_air", &[], 1.0);
        let mut player = watch(&server);
        see(&mut player, &mut 0, 2);
    });
    let log = server.stop();
    assert_eq!(log.matches("another publisher has its name").count(), 1, "said once");
}
