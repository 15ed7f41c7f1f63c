//! Timestamps beyond 24 bits (4 h 40), jumping, going back.

use crate::support::checker::VIDEO;
use crate::support::http::FlvPlayer;
use crate::support::media::{self, HASH, Join};
use crate::support::process::{Process, static_ffmpeg};
use crate::support::publisher::{Audit, Publisher, Shape};
use crate::support::rtmp::Client;
use crate::support::server::Server;
use crate::support::share_machine;
use std::process::Command;
use std::time::Duration;

/// The first timestamp that needs the extended field.
const LIMIT_MS: u32 = 0xFF_FFFF;

/// Messages of several chunks in both directions, so that type 3 headers carry the extended timestamp.
const SHAPE: Shape = Shape { fps: 25, gop: 5, key_bytes: 150_000, inter_bytes: 9000, audio: true };

#[test]
fn a_publisher_crosses_the_limit() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "cross", SHAPE);
    publisher.base_ms = LIMIT_MS - 400;
    publisher.burst_until(1);
    let mut http = FlvPlayer::open(server.http, "/live/cross.flv");
    publisher.burst_until(40);
    publisher.finish();
    let tags = http.tags();
    Audit::of(SHAPE, &tags).assert_complete(&publisher);
    // The stream's own time starts at 0.
    let first = tags.iter().find(|tag| tag.kind == VIDEO).unwrap();
    assert!(first.time_ms < 100, "starts at {} ms", first.time_ms);
    server.stop();
}

#[test]
fn ffmpeg_publishes_from_the_limit_on() {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    let encode = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-c:a", "aac"];
    let source = media::flv(&ffmpeg, "h264-aac", &encode);
    let server = Server::start();
    let url = server.rtmp_url("late");
    let mut command = Command::new(&ffmpeg);
    command.args(["-v", "error", "-readrate", "2", "-i"]).arg(&source);
    command.args(["-c", "copy", "-output_ts_offset", "16776", "-f", "flv", &url]);
    let publisher = Process::spawn("publisher", &mut command);
    server.await_stream();
    let mut command = Command::new(&ffmpeg);
    command.args(["-v", "error", "-i", &server.flv_url("late")]).args(HASH).arg("-");
    let player = Process::spawn("player", &mut command);
    publisher.finish(Duration::from_secs(20));
    let played = media::parse_hashes(&player.finish(Duration::from_secs(20)));
    media::compare("player", &source, &media::hashes(&ffmpeg, &source), &played, Join::Live);
    server.stop();
}

/// Stream time itself gets there by steps just below what counts as a jump.
#[test]
fn subscribers_cross_the_limit() {
    let _shared = share_machine();
    let server = Server::start();
    let shape = Shape { gop: 1, key_bytes: 500, audio: false, ..SHAPE };
    let mut publisher = Publisher::start(&server, "long", shape);
    // One frame each 9 s of stream time, up to 2 s below the limit.
    let steps = (LIMIT_MS - 2000) / 9000;
    for n in 0..=steps {
        publisher.base_ms = n * 9000 - n * 40;
        publisher.step().unwrap();
    }
    publisher.shape = Shape { key_bytes: 150_000, ..shape };
    let shape = publisher.shape;
    let mut http = FlvPlayer::open(server.http, "/live/long.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("long").unwrap();
    let start = publisher.video;
    // 280 frames of 40 ms: about 11 s across the limit, in messages of three chunks.
    publisher.burst_until(start + 280);
    publisher.finish();
    let large = |tags: Vec<_>| -> Vec<_> {
        let coded = |tag: &super::support::checker::Tag| tag.kind == VIDEO && tag.body.len() > 100_000;
        tags.into_iter().filter(coded).collect::<Vec<_>>()
    };
    let (over_http, over_rtmp) = (large(http.tags()), large(rtmp.tags()));
    for (who, tags) in [("http", &over_http), ("rtmp", &over_rtmp)] {
        assert_eq!(tags.len(), 280, "{who}");
        let times: Vec<u32> = tags.iter().map(|tag| tag.time_ms).collect();
        assert!(times[0] < LIMIT_MS && *times.last().unwrap() > LIMIT_MS + 1000, "{who}: {times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 40), "{who}: {times:?}");
        for (tag, number) in tags.iter().zip(start..) {
            assert!(tag.body == shape.video(number), "{who}: frame {number}");
        }
    }
    assert!(rtmp.reader.extended_continuations > 0, "type 3 chunks with an extended timestamp");
    server.stop();
}

/// An encoder whose clock jumps, either way: subscribers see time that goes on.
#[test]
fn jumps_are_smoothed() {
    let _shared = share_machine();
    let server = Server::start();
    let mut publisher = Publisher::start(&server, "jump", Shape::default());
    publisher.burst_until(10);
    let mut player = FlvPlayer::open(server.http, "/live/jump.flv");
    for base in [500_000, 3_000_000_000, 20_000, 4_294_960_000] {
        publisher.base_ms = base;
        publisher.burst_until(publisher.video + 20);
    }
    publisher.finish();
    let audit = Audit::of(publisher.shape, &player.tags());
    audit.assert_complete(&publisher);
    let track = audit.checker.track(VIDEO).unwrap();
    let length = track.last_ms - track.first_ms;
    assert!(length < 60_000, "90 frames became {length} ms");
    server.stop();
}
