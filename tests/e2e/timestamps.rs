//! Timestamps beyond 24 bits (4 h 40), jumping, going back.

use crate::support::checker::{Tag, VIDEO};
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
    let every_frame_a_key = Shape { gop: 1, key_bytes: 500, audio: false, ..SHAPE };
    let mut publisher = Publisher::start(&server, "long", every_frame_a_key);
    // One frame each 9 s of stream time, then one just below the limit.
    for n in 0..=(LIMIT_MS - 2000) / 9000 {
        publisher.base_ms = n * (9000 - 40);
        publisher.step().unwrap();
    }
    let mut http = FlvPlayer::open(server.http, "/live/long.flv");
    let mut rtmp = Client::connect(server.rtmp, "live", &[]);
    rtmp.play("long").unwrap();
    // 75 frames of 40 ms cross it, every fifth in messages of two chunks and more.
    let start = publisher.video;
    publisher.base_ms = LIMIT_MS - 1500 - start * 40;
    let shape = Shape { key_bytes: 100_000, inter_bytes: 500, audio: false, ..SHAPE };
    publisher.shape = shape;
    let (over_http, over_rtmp) = std::thread::scope(|scope| {
        let over_http = scope.spawn(|| http.tags());
        let over_rtmp = scope.spawn(|| rtmp.tags());
        publisher.run_until(|publisher| publisher.video >= start + 75);
        publisher.finish();
        (over_http.join().unwrap(), over_rtmp.join().unwrap())
    });
    for (who, tags) in [("http", over_http), ("rtmp", over_rtmp)] {
        let number = |tag: &Tag| u32::from_be_bytes(tag.body[10..14].try_into().unwrap());
        let coded = tags.iter().filter(|tag| tag.kind == VIDEO && tag.body[1] == 1 && number(tag) >= start);
        let coded: Vec<&Tag> = coded.collect();
        assert_eq!(coded.len(), 75, "{who}");
        for (tag, expected) in coded.iter().zip(start..) {
            assert!(tag.body == shape.video(expected), "{who}: frame {expected}");
        }
        let times: Vec<u32> = coded.iter().map(|tag| tag.time_ms).collect();
        assert!(times[0] < LIMIT_MS && times[74] > LIMIT_MS + 1000, "{who}: {} to {}", times[0], times[74]);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 40), "{who}: {times:?}");
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
