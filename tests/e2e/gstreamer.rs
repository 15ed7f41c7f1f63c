//! GStreamer's two RTMP sinks publish; what a player gets is what the muxer wrote beside it into a file.

use crate::support::media::{self, HASH, Join};
use crate::support::process::{Process, program};
use crate::support::server::Server;
use crate::support::share_machine;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn publishes(sink: &str) {
    let (Some(launch), Some(ffmpeg)) = (program("gst-launch-1.0"), program("ffmpeg")) else { return };
    let _shared = share_machine();
    let server = Server::start();
    let url = server.rtmp_url(sink);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("published.flv");
    let pipeline = format!(
        "videotestsrc is-live=true num-buffers=150 ! video/x-raw,width=320,height=180,framerate=25/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! mux. \
         audiotestsrc is-live=true num-buffers=280 ! audio/x-raw,rate=48000,channels=2 ! voaacenc ! aacparse ! mux. \
         flvmux name=mux streamable=true ! tee name=both ! queue ! {sink} location={url} \
         both. ! queue ! filesink location={}",
        file.display()
    );
    let mut command = Command::new(launch);
    command.arg("-q").arg("-e").args(pipeline.split_whitespace());
    let publisher = Process::spawn(sink, &mut command);
    server.await_stream();
    let players = [server.rtmp_url(sink), server.flv_url(sink)].map(|url| {
        let mut command = Command::new(&ffmpeg);
        command.args(["-v", "error", "-i", &url]).args(HASH).arg("-");
        Process::spawn(&url, &mut command)
    });
    publisher.finish(LIMIT);
    let played = players.map(|player| (player.name.clone(), media::parse_hashes(&player.finish(LIMIT))));
    let published = media::hashes(&ffmpeg, &file);
    for (who, streams) in &played {
        media::compare(who, &file, &published, streams, Join::Live);
    }
    server.stop();
}

#[test]
fn rtmp2sink() {
    publishes("rtmp2sink");
}

#[test]
fn rtmpsink() {
    publishes("rtmpsink");
}
