//! Parts of a stream: audio only, video only, what a player asks for, what `?eflv=strip` leaves out.

use crate::support::amf::Value;
use crate::support::checker::{AUDIO, Class, SCRIPT, Tag, VIDEO, check, parts};
use crate::support::http::FlvPlayer;
use crate::support::media::{self, HASH, Join};
use crate::support::process::{Process, static_ffmpeg};
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::rtmp::Client;
use crate::support::server::Server;
use crate::support::share_machine;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

fn one_kind(shape: Shape) {
    let _shared = share_machine();
    let server = Server::start();
    let stop = AtomicBool::new(false);
    let (publisher, audits) = std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let publishing = Publisher::start(&server, "half", shape).run_beside(scope, &stop);
        let mut http = FlvPlayer::open(server.http, "/live/half.flv");
        let mut rtmp = Client::connect(server.rtmp, "live", &[]);
        rtmp.play("half").unwrap();
        let first = [http.tag().unwrap(), rtmp.tag().unwrap()];
        // Once both have begun, thirty frames more.
        let begun = first.iter().map(|tag| tag.time_ms).max().unwrap();
        let mut audits = first.map(|tag| Audit::of(shape, &[tag]));
        while audits[0].checker.tracks.values().map(|track| track.last_ms).max() < Some(begun + 1200) {
            audits[0].tag(&http.tag().expect("media"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        http.tags().iter().for_each(|tag| audits[0].tag(tag));
        rtmp.tags().iter().for_each(|tag| audits[1].tag(tag));
        (publishing.join().unwrap(), audits)
    });
    for audit in audits {
        audit.assert_complete(&publisher);
        assert_eq!(audit.video.count > 0, shape.fps > 0);
        assert_eq!(audit.audio.count > 0, shape.audio);
    }
    server.stop();
}

#[test]
fn audio_only() {
    one_kind(Shape { fps: 0, ..Shape::default() });
}

#[test]
fn video_only() {
    one_kind(Shape { audio: false, ..Shape::default() });
}

/// ffmpeg publishes one kind and plays it back: its FLV reader hangs on a header that promises more.
fn one_kind_with_ffmpeg(name: &str, encode: &[&str]) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    let source = media::flv(&ffmpeg, name, encode);
    let server = Server::start();
    let url = server.rtmp_url(name);
    let mut command = Command::new(&ffmpeg);
    command
        .args(["-v", "error", "-readrate", "2", "-i"])
        .arg(&source)
        .args(["-c", "copy", "-f", "flv", &url]);
    let publisher = Process::spawn("publisher", &mut command);
    server.await_stream();
    let players = [server.rtmp_url(name), server.flv_url(name)].map(|url| {
        let mut command = Command::new(&ffmpeg);
        command.args(["-v", "error", "-i", &url]).args(HASH).arg("-");
        Process::spawn(&url, &mut command)
    });
    publisher.finish(LIMIT);
    let published = media::hashes(&ffmpeg, &source);
    for player in players {
        let who = player.name.clone();
        let played = media::parse_hashes(&player.finish(LIMIT));
        media::compare(&who, &source, &published, &played, Join::Live);
    }
    server.stop();
}

#[test]
fn ffmpeg_audio_only() {
    one_kind_with_ffmpeg("aac-only", &["-vn", "-c:a", "aac"]);
}

#[test]
fn ffmpeg_video_only() {
    one_kind_with_ffmpeg("h264-only", &["-an", "-c:v", "libx264", "-preset", "veryfast"]);
}

/// Reads until `found`; every tag on the way is handed to it.
fn until(client: &mut Client, mut found: impl FnMut(&Tag) -> bool) {
    while !found(&client.tag().expect("the stream goes on")) {}
}

#[test]
fn receive_audio_and_receive_video() {
    let _shared = share_machine();
    let server = Server::start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        Publisher::start(&server, "parts", Shape::default()).run_beside(scope, &stop);
        let mut client = Client::connect(server.rtmp, "live", &[]);
        client.create_stream();
        // Before play: the variant from the start.
        client.command(1, "receiveVideo", 0.0, &[Value::Null, Value::Bool(false)]);
        client.command(1, "play", 5.0, &[Value::Null, Value::text("parts")]);
        client.await_status(|code| code == "NetStream.Play.Start").unwrap();
        let mut sounds = 0;
        until(&mut client, |tag| {
            assert_ne!(tag.kind, VIDEO, "video although it is off");
            sounds += u32::from(tag.kind == AUDIO);
            sounds == 40
        });
        // While playing: video begins at a keyframe, with its configuration.
        client.command(1, "receiveVideo", 0.0, &[Value::Null, Value::Bool(true)]);
        let mut classes = Vec::new();
        until(&mut client, |tag| {
            classes.extend(parts(tag).iter().filter(|_| tag.kind == VIDEO).map(|part| part.class));
            classes.len() == 12
        });
        assert_eq!(classes[..2], [Class::Config, Class::Key], "{classes:?}");
        // And the other way round: from some point on no audio is left among thirty frames of video.
        client.command(1, "receiveAudio", 0.0, &[Value::Null, Value::Bool(false)]);
        let mut run = 0;
        until(&mut client, |tag| {
            run = if tag.kind == AUDIO { 0 } else { run + u32::from(tag.kind == VIDEO) };
            run == 30
        });
    });
    server.stop();
}

/// mpegts.js rejects Metadata and MultichannelConfig packets; `?eflv=strip` leaves both out and nothing else.
#[test]
fn strip_leaves_out_what_browsers_reject() {
    let _shared = share_machine();
    let server = Server::start();
    let mut client = Client::connect(server.rtmp, "live", &[]);
    client.publish("strip").unwrap();
    let video = |head: u8, rest: &[u8]| [&[head], b"hvc1".as_slice(), rest].concat();
    let audio = |head: u8, rest: &[u8]| [&[head], b"Opus".as_slice(), rest].concat();
    let color = crate::support::amf::encode(&[Value::text("colorInfo"), Value::Object(vec![])]);
    let mut send = |kind: u8, time: u32, body: Vec<u8>| client.send(6, kind, 1, time, &body).unwrap();
    send(VIDEO, 0, video(0x90, &[1; 23]));
    send(AUDIO, 0, audio(0x90, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"));
    send(VIDEO, 0, video(0xd4, &color));
    send(AUDIO, 0, audio(0x94, &[1, 2, 0, 0, 0, 3]));
    let mut frame = |n: u32| {
        if n == 30 {
            send(VIDEO, n * 40, video(0xd4, &color));
        }
        let head = if n.is_multiple_of(10) { 0x93 } else { 0xa3 };
        send(VIDEO, n * 40, video(head, &[0, 0, 0, 6, 0x26, 1, n as u8, 7, 7, 7]));
        send(AUDIO, n * 40, audio(0x91, &[0xfc, n as u8, 9]));
    };
    (0..3).for_each(&mut frame);
    server.await_stream();
    let mut full = FlvPlayer::open(server.http, "/live/strip.flv");
    let mut stripped = FlvPlayer::open(server.http, "/live/strip.flv?eflv=strip");
    let both = [full.tag().unwrap(), stripped.tag().unwrap()];
    (3..60).for_each(&mut frame);
    drop(client);
    let [first, second] = both;
    let full: Vec<Tag> = std::iter::once(first).chain(full.tags()).collect();
    let stripped: Vec<Tag> = std::iter::once(second).chain(stripped.tags()).collect();
    let (with, without) = (check(&full), check(&stripped));
    assert!(with.extras >= 2, "the full variant carries them: {}", with.extras);
    assert_eq!(without.extras, 0, "the stripped one does not");
    let media = |tags: &[Tag]| -> Vec<Tag> {
        let coded = |tag: &Tag| {
            let classes = parts(tag).into_iter().map(|part| part.class);
            tag.kind != SCRIPT
                && classes.clone().any(|c| matches!(c, Class::Key | Class::Inter | Class::Sound))
        };
        tags.iter().filter(|tag| coded(tag)).cloned().collect()
    };
    assert_eq!(media(&full), media(&stripped));
    assert_eq!(media(&full).len(), 120);
    server.stop();
}
