//! Every codec goes through intact: packet hashes at the players are those of the publisher.

use crate::support::checker::{check, flv_tags};
use crate::support::http::FlvPlayer;
use crate::support::media::{self, HASH, Join, Streams};
use crate::support::process::{Process, program, static_ffmpeg};
use crate::support::server::Server;
use crate::support::share_machine;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Limit of one publisher or player: three times what the media takes.
const LIMIT: Duration = Duration::from_secs(20);
/// How much faster than real time the files are published.
const PACE: &str = "1.5";

fn publish(ffmpeg: &Path, file: &Path, url: &str) -> Process {
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "error", "-readrate", PACE, "-i"]).arg(file);
    command.args(["-map", "0", "-c", "copy", "-f", "flv", url]);
    Process::spawn("publisher", &mut command)
}

/// A player that hashes what it gets. ffmpeg ends when the server ends the stream.
fn play(ffmpeg: &Path, url: &str) -> Process {
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "error", "-i", url]).args(HASH).arg("-");
    Process::spawn(&format!("player of {url}"), &mut command)
}

fn played(player: Process) -> Streams {
    media::parse_hashes(&player.finish(LIMIT))
}

/// Publishes a file with `publisher` and compares what both kinds of players get from it. `players` reads the streams.
fn round_trip(name: &str, file: &Path, publisher: &Path, players: &Path, join: Join, codecs: &[&str]) {
    let server = Server::start();
    let (rtmp_url, flv_url) = (server.rtmp_url(name), server.flv_url(name));
    let start = || [&rtmp_url, &flv_url].map(|url| play(players, url));
    let (ffmpegs, publishing) = match join {
        Join::Before => {
            let ffmpegs = start();
            server.await_subscribers(2);
            (ffmpegs, publish(publisher, file, &rtmp_url))
        }
        Join::Live => {
            let publishing = publish(publisher, file, &rtmp_url);
            server.await_stream();
            (start(), publishing)
        }
    };
    if join == Join::Before {
        server.await_stream();
    }
    let mut own = FlvPlayer::open(server.http, &format!("/live/{name}.flv"));
    let tags = own.tags();
    publishing.finish(LIMIT);
    let published = media::published(publisher, players, file);
    for player in ffmpegs {
        let who = player.name.clone();
        media::compare(&who, file, &published, &played(player), join);
    }
    let checked = check(&tags);
    assert_eq!(checked.codecs(), codecs, "tracks by the independent parser");
    let source = check(&flv_tags(&std::fs::read(file).unwrap()));
    assert_eq!(source.codecs(), checked.codecs(), "tracks of the source");
    server.stop();
}

fn enhanced(name: &str, encode: &[&str], codecs: &[&str]) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    let file = media::flv(&ffmpeg, name, encode);
    round_trip(name, &file, &ffmpeg, &ffmpeg, Join::Live, codecs);
}

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2"];

fn legacy_file(ffmpeg: &Path, name: &str, audio: &str) -> PathBuf {
    media::flv(ffmpeg, name, &[&H264[..], &["-c:a", audio]].concat())
}

#[test]
fn h264_aac_from_static_ffmpeg_to_debian() {
    let (Some(current), Some(debian)) = (static_ffmpeg(), program("ffmpeg")) else { return };
    let _shared = share_machine();
    let file = legacy_file(&current, "h264-aac", "aac");
    round_trip("h264-aac", &file, &current, &debian, Join::Live, &["avc1", "mp4a"]);
}

#[test]
fn h264_aac_from_debian_to_static_ffmpeg() {
    let (Some(current), Some(debian)) = (static_ffmpeg(), program("ffmpeg")) else { return };
    let _shared = share_machine();
    let file = legacy_file(&current, "h264-aac", "aac");
    round_trip("h264-aac", &file, &debian, &current, Join::Live, &["avc1", "mp4a"]);
}

#[test]
fn players_that_wait_get_everything() {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    let file = legacy_file(&ffmpeg, "h264-aac", "aac");
    round_trip("h264-aac", &file, &ffmpeg, &ffmpeg, Join::Before, &["avc1", "mp4a"]);
}

#[test]
fn h264_mp3_with_debian_ffmpeg() {
    let (Some(current), Some(debian)) = (static_ffmpeg(), program("ffmpeg")) else { return };
    let _shared = share_machine();
    let file = legacy_file(&current, "h264-mp3", "libmp3lame");
    round_trip("h264-mp3", &file, &debian, &debian, Join::Live, &["avc1", ".mp3"]);
}

#[test]
fn hevc_flac() {
    let encode = ["-c:v", "libx265", "-x265-params", "log-level=error", "-c:a", "flac"];
    enhanced("hevc-flac", &encode, &["hvc1", "fLaC"]);
}

#[test]
fn av1_opus() {
    let encode = ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-c:a", "libopus"];
    enhanced("av1-opus", &encode, &["av01", "Opus"]);
}

#[test]
fn svt_av1_opus() {
    let encode = ["-c:v", "libsvtav1", "-preset", "12", "-c:a", "libopus"];
    enhanced("svt-av1-opus", &encode, &["av01", "Opus"]);
}

#[test]
fn vp9_ac3() {
    let encode = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "ac3"];
    enhanced("vp9-ac3", &encode, &["vp09", "ac-3"]);
}

#[test]
fn h264_eac3() {
    enhanced("h264-eac3", &[&H264[..], &["-c:a", "eac3"]].concat(), &["avc1", "ec-3"]);
}

#[test]
fn two_video_and_two_audio_tracks() {
    let tracks = ["-map", "0:v", "-map", "0:v", "-map", "1:a", "-map", "1:a"];
    // Keyframes of both at the same time: whoever joins begins with those of the first track.
    let video =
        ["-c:v:0", "libx264", "-preset:v:0", "veryfast", "-sc_threshold:v:0", "0", "-c:v:1", "libx265"];
    let closed = "log-level=error:scenecut=0:open-gop=0:min-keyint=25:keyint=25";
    let audio = ["-x265-params", closed, "-c:a:0", "aac", "-c:a:1", "libopus"];
    let encode = [&tracks[..], &video, &audio].concat();
    enhanced("multitrack", &encode, &["avc1", "hvc1", "mp4a", "Opus"]);
}
