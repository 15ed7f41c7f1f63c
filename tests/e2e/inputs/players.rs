//! What a sender sends is what players get.

use super::{H264, LIMIT, compare, config, figure, h264_file, play, played, port, send, with_input};
use crate::support::engine::engine_tests;
use crate::support::media;
use crate::support::process::{self, Process, program, static_ffmpeg};
use crate::support::server::Config;
use crate::support::{poll, share_machine};
use std::process::Command;

engine_tests!(udp_to_every_player, rtp_to_every_player);

fn udp_to_every_player(engine: Config) {
    every_player(engine, "udp", "mpegts");
}

fn rtp_to_every_player(engine: Config) {
    every_player(engine, "rtp", "rtp_mpegts");
}

/// ffmpeg sends H.264 with B-frames and AAC; players of RTMP and HTTP-FLV get every packet of the file, byte for byte, and
/// one of HTTP-TS every picture, decoded.
fn every_player(engine: Config, scheme: &str, format: &str) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let file = h264_file(&ffmpeg);
    let url = format!("{scheme}://127.0.0.1:{}", port());
    let server = with_input(engine, &[&url], "").start();
    let line = format!("input    live/in from {url}\n");
    poll("its line in the banner", LIMIT, || server.log().contains(&line).then_some(()));
    let players = [server.rtmp_url("in"), server.flv_url("in")].map(|url| play(&ffmpeg, &url));
    server.await_subscribers(2);
    let sender = send(&ffmpeg, &file, &["-f", format], &format!("{url}?pkt_size=1316"));
    server.await_stream();
    // Asked for while sound is not known yet, the program might be told without it.
    let pictures = decode(&ffmpeg, &format!("http://{}/live/in.ts", server.http));
    sender.finish(LIMIT);
    for player in players {
        let who = player.name.clone();
        compare(&who, &ffmpeg, &file, played(player), scheme);
    }
    let (got, all) = (pictures.finish(LIMIT), decode(&ffmpeg, file.to_str().unwrap()).finish(LIMIT));
    let hashes = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| Some(line.rsplit_once(',')?.1.trim().to_owned())).collect()
    };
    let (got, all) = (hashes(&got), hashes(&all));
    assert!(got.len() >= all.len() / 2, "{} pictures of {}", got.len(), all.len());
    // What RTP's tail keeps is one picture among the last ones, in the order in which they are decoded.
    let sure = got.len() - if scheme == "rtp" { 4 } else { 0 };
    let begin = all.iter().position(|picture| *picture == got[0]).expect("a picture that was sent");
    assert!(all[begin..].starts_with(&got[..sure]), "{} pictures of {}", got.len(), all.len());
    assert!(begin + got.len() + 1 >= all.len(), "{} pictures of {}: not the last ones", got.len(), all.len());
    for name in ["ts_faults_total", "datagrams_refused_total", "kernel_drops_total", "socket_errors_total"] {
        assert_eq!(figure(&server, name, &[]), 0.0, "{name}");
    }
    let rtp = figure(&server, "rtp_packets_total", &["fate=\"delivered\""]);
    assert_eq!(rtp > 0.0, scheme == "rtp", "{rtp}");
    server.stop();
}

/// A player that hashes decoded pictures.
fn decode(ffmpeg: &std::path::Path, url: &str) -> Process {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-i", url, "-map", "0:v", "-fps_mode", "passthrough"]);
    command.args(["-f", "framehash", "-hash", "sha256", "-"]);
    Process::spawn(&format!("decoder of {url}"), &mut command)
}

/// The other codecs that FLV has room for.
#[test]
fn codecs() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    for (name, encode) in [
        (
            "input-hevc-opus",
            &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=1", "-c:a", "libopus"][..],
        ),
        ("input-ac3", &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "ac3"]),
        ("input-eac3", &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "eac3"]),
        ("input-mp3", &["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "libmp3lame"]),
    ] {
        let file = media::flv(&ffmpeg, name, encode);
        let url = format!("udp://127.0.0.1:{}", port());
        let server = config(&[&url], "").start();
        let player = play(&ffmpeg, &server.flv_url("in"));
        server.await_subscribers(1);
        send(&ffmpeg, &file, &["-f", "mpegts"], &url).finish(LIMIT);
        let got = played(player);
        let sent = media::hashes(&ffmpeg, &file);
        for (codec, (_, packets)) in &sent {
            let (_, got) = got.get(codec).unwrap_or_else(|| panic!("{name}: no {codec}: {:?}", got.keys()));
            assert_eq!(packets.len(), got.len(), "{name}: {codec}");
            // What encoders repeat in front of each keyframe stands in the configuration here.
            let same = packets.iter().zip(got).filter(|(sent, got)| sent == got).count();
            let keyframes = if codec == "hevc" { media::SECONDS as usize } else { 0 };
            assert!(same + keyframes >= got.len(), "{name}: {codec}: {same} of {} are the same", got.len());
        }
        server.stop();
    }
}

/// What frames have no place for is named, in one line with its PID; the rest goes on.
#[test]
fn what_is_left_out_is_named() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let url = format!("udp://127.0.0.1:{}", port());
    let server = config(&[&url], "").start();
    let mut command = Command::new(&ffmpeg);
    command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(&file);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"]);
    command.args(["-map", "0:v", "-map", "0:a", "-map", "1:v", "-c:v:0", "copy", "-c:a", "mp2"]);
    command.args(["-c:v:1", "mpeg2video", "-f", "mpegts", &url]);
    let sender = Process::spawn("sender", &mut command);
    server.await_stream();
    let line = |what: &str| {
        poll("its line in the log", LIMIT, || {
            server
                .log()
                .lines()
                .find(|line| line.contains("not carried") && line.contains(what))
                .map(str::to_owned)
        })
    };
    let (first, second) = (line("MPEG-2 video (PID 258)"), line("MPEG audio of layer II (PID 257)"));
    assert!(first.contains(&url) && second.contains("MPEG-2 video (PID 258)"), "{first}\n{second}");
    drop(sender);
    let log = server.stop();
    let lines = log.lines().filter(|line| line.contains("not carried")).count();
    assert!(lines <= 2, "one for the map, one for the frames:\n{log}");
}

/// Two programs in one stream: the one that is asked for is taken, also from a group of services.
#[test]
fn one_program_of_two() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let small = h264_file(&ffmpeg);
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.flv");
    let mut command = Command::new(&ffmpeg);
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=6"]);
    command.args([
        "-f",
        "lavfi",
        "-i",
        "sine=duration=6:sample_rate=48000",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "25",
    ]);
    process::run("encoder", command.args(H264).arg(&large), LIMIT);
    for (program_number, size) in [(1, "320,180"), (2, "640,360")] {
        let url = format!("udp://127.0.0.1:{}", port());
        let server = config(&[&url], &format!("program = {program_number}")).start();
        let mut command = Command::new(&ffmpeg);
        command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(&small);
        command.args(["-stream_loop", "-1", "-re", "-i"]).arg(&large);
        command.args(["-map", "0", "-map", "1", "-c", "copy"]);
        command.args(["-program", "program_num=1:st=0:st=1", "-program", "program_num=2:st=2:st=3"]);
        let sender = Process::spawn("sender", command.args(["-f", "mpegts", &url]));
        server.await_stream();
        let Some(ffprobe) = program("ffprobe") else { return };
        let mut probe = Command::new(ffprobe);
        probe.args(["-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height"]);
        probe.args(["-of", "csv=p=0", "-probesize", "500000"]).arg(server.flv_url("in"));
        let found = process::run("ffprobe", &mut probe, LIMIT);
        assert_eq!(found.trim().trim_end_matches(','), size, "program {program_number}");
        drop(sender);
        server.stop();
    }
}

/// GStreamer's multiplexer, in RTP and without.
#[test]
fn gstreamer_sends() {
    let (_shared, Some(launch), Some(ffmpeg)) =
        (share_machine(), program("gst-launch-1.0"), program("ffmpeg"))
    else {
        return;
    };
    for (scheme, payloader) in [("udp", ""), ("rtp", "! rtpmp2tpay")] {
        let port = port();
        let server = config(&[&format!("{scheme}://127.0.0.1:{port}")], "").start();
        let player = play(&ffmpeg, &server.flv_url("in"));
        server.await_subscribers(1);
        let pipeline = format!(
            "videotestsrc is-live=true num-buffers=100 ! video/x-raw,width=320,height=180,framerate=25/1 \
             ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! mux. \
             audiotestsrc is-live=true num-buffers=190 ! audio/x-raw,rate=48000,channels=2 ! voaacenc ! aacparse ! mux. \
             mpegtsmux name=mux alignment=7 {payloader} ! udpsink host=127.0.0.1 port={port}"
        );
        process::run("GStreamer", Command::new(&launch).arg("-q").args(pipeline.split_whitespace()), LIMIT);
        let got = played(player);
        let counts: Vec<(&str, usize)> =
            got.iter().map(|(codec, (_, p))| (codec.as_str(), p.len())).collect();
        let [("aac", sounds), ("h264", 100)] = counts.as_slice() else { panic!("{scheme}: {counts:?}") };
        assert!((180..=195).contains(sounds), "{scheme}: {counts:?}");
        server.stop();
    }
}
