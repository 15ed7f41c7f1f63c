//! librtmp (rtmpdump) plays; its file holds the publisher's packets.

use crate::support::checker::{check, flv_tags};
use crate::support::media::{self, Join};
use crate::support::process::{Process, program, static_ffmpeg};
use crate::support::server::Server;
use crate::support::share_machine;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn rtmpdump_plays() {
    let (Some(ffmpeg), Some(rtmpdump)) = (static_ffmpeg(), program("rtmpdump")) else { return };
    let _shared = share_machine();
    let encode = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-c:a", "aac"];
    let source = media::flv(&ffmpeg, "h264-aac", &encode);
    let server = Server::start();
    let url = server.rtmp_url("dump");
    let mut publish = Command::new(&ffmpeg);
    publish
        .args(["-v", "error", "-readrate", "2", "-i"])
        .arg(&source)
        .args(["-c", "copy", "-f", "flv", &url]);
    let publisher = Process::spawn("publisher", &mut publish);
    server.await_stream();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.flv");
    let mut dump = Command::new(rtmpdump);
    dump.args(["--live", "-r", &url, "-o"]).arg(&file);
    let mut dump = Process::spawn("rtmpdump", &mut dump);
    publisher.finish(LIMIT);
    // Its exit code says "incomplete" whenever a live stream ends; the file is what counts.
    assert!(dump.wait(LIMIT).is_some(), "rtmpdump did not end with the stream:\n{}", dump.output.text());
    let checked = check(&flv_tags(&std::fs::read(&file).unwrap()));
    assert_eq!(checked.codecs(), ["avc1", "mp4a"]);
    let (published, played) = (media::hashes(&ffmpeg, &source), media::hashes(&ffmpeg, &file));
    media::compare("rtmpdump", &source, &published, &played, Join::Live);
    server.stop();
}
