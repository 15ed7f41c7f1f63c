//! What a transport stream has only where it is asked for: AAC in LATM, AV1.

use super::{PICTURES, SOUND};
use crate::support::checker::{Tag, flv_tags};
use crate::support::http::{FlvPlayer, request};
use crate::support::media;
use crate::support::process::{Process, program, run, static_ffmpeg};
use crate::support::server::{Config, Server};
use crate::support::share_machine;
use crate::support::ts::{Limits, check};
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Limit of one publisher, player or decoder.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes a file to `live/NAME` while a viewer of `target`, who came before, takes everything.
fn watched(server: &Server, ffmpeg: &Path, file: &Path, name: &str, target: &str) -> Vec<u8> {
    std::thread::scope(|scope| {
        let viewer = scope.spawn(|| request(server.http, "GET", target));
        server.await_subscribers(1);
        let mut command = Command::new(ffmpeg);
        command.args(["-v", "error", "-readrate", "1.5", "-i"]).arg(file);
        command.args(["-map", "0", "-c", "copy", "-f", "flv", &server.rtmp_url(name)]);
        let publisher = Process::spawn("publisher", &mut command);
        let response = viewer.join().unwrap();
        assert_eq!((response.status, &*response.headers["content-type"]), (200, "video/mp2t"));
        let body = response.body();
        publisher.finish(PATIENCE);
        body
    })
}

/// Arguments behind `-i`: one kind of stream (`v` or `a`) decoded, each frame hashed.
fn frames(kind: &str) -> [&str; 9] {
    [
        "-map",
        if kind == "v" { "0:v" } else { "0:a" },
        "-fps_mode",
        "passthrough",
        "-f",
        "framehash",
        "-hash",
        "md5",
        "-",
    ]
}

/// The hash of each frame, which stands behind stream, DTS, PTS, duration and size.
fn hashes(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').nth(5).unwrap_or(line).trim().to_owned()).collect()
}

/// Hashes of what a decoder makes of one kind of stream in a file; it must not complain.
fn decoded(ffmpeg: &Path, input: &[&str], file: &Path, kind: &str) -> Vec<String> {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "warning"]).args(input).arg("-i").arg(file).args(frames(kind));
    let process = Process::spawn("decoder", &mut command);
    let said = process.output.clone();
    let text = process.finish(PATIENCE);
    assert_eq!(said.text(), text, "{}: complaints", file.display());
    hashes(&text)
}

#[test]
fn aac_in_latm() {
    let (Some(ffmpeg), Some(debian)) = (static_ffmpeg(), program("ffmpeg")) else { return };
    let (Some(ffprobe), Some(launch)) = (program("ffprobe"), program("gst-launch-1.0")) else { return };
    let _shared = share_machine();
    let encode = ["-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac"];
    let file = media::flv(&ffmpeg, "ts-latm", &encode);
    let server = Server::start();
    let body = watched(&server, &ffmpeg, &file, "latm", "/live/latm.ts?aac=latm");
    let told = request(server.http, "GET", "/live/latm.ts?aac=mp4a");
    assert_eq!(told.status, 400);
    assert!(String::from_utf8(told.body()).unwrap().contains("aac may be `adts` or `latm`"));
    server.stop();
    let report = check(&body, Limits::default());
    assert_eq!([PICTURES, SOUND].map(|pid| report.streams[&pid].stream_type), [0x1B, 0x11]);
    let units = &report.streams[&SOUND].units;
    assert!(units.iter().all(|unit| unit.data[0] == 0x56 && unit.data[1] & 0xE0 == 0xE0), "sync words");
    let saved = file.with_extension("ts");
    std::fs::write(&saved, &body).unwrap();
    for decoder in [&ffmpeg, &debian] {
        let sounds = decoded(decoder, &[], &saved, "a");
        assert_eq!(sounds.len(), units.len());
        assert!(sounds == decoded(decoder, &[], &file, "a"), "{}: other sounds", decoder.display());
    }
    let mut probe = Command::new(ffprobe);
    probe.args([
        "-v",
        "error",
        "-select_streams",
        "a",
        "-show_entries",
        "stream=codec_name",
        "-of",
        "csv=p=0",
    ]);
    assert_eq!(run("ffprobe", probe.arg(&saved), PATIENCE).lines().next(), Some("aac_latm"));
    // GStreamer's own parser of LOAS finds a configuration in it, and a decoder sound.
    let pipeline = format!(
        "filesrc location={} ! tsdemux name=d d.audio_0_0200 ! queue ! aacparse ! \
         audio/mpeg,mpegversion=4,stream-format=loas,rate=48000,channels=1 ! avdec_aac_latm ! fakesink",
        saved.display()
    );
    let mut command = Command::new(launch);
    let process = Process::spawn("GStreamer", command.args(["-q"]).args(pipeline.split_whitespace()));
    let said = process.output.clone();
    process.finish(PATIENCE);
    assert_eq!(said.text(), "", "GStreamer complains");
}

/// A temporal unit as the draft's syntax tables say (AOM, "Carriage of AV1 in MPEG-2 TS", section 3.2), read byte by byte:
/// what stands between start codes, without the 3 of each 00 00 03. Nothing in it may look like a start code.
fn temporal_unit(coded: &[u8]) -> Vec<u8> {
    let starts: Vec<usize> = (0..coded.len()).filter(|at| coded[*at..].starts_with(&[0, 0, 1])).collect();
    assert_eq!(starts.first(), Some(&0));
    let mut plain = Vec::new();
    for (n, start) in starts.iter().enumerate() {
        let unit = &coded[start + 3..starts.get(n + 1).copied().unwrap_or(coded.len())];
        let mut zeros = 0;
        for (at, byte) in unit.iter().enumerate() {
            if zeros >= 2 {
                // A lone zero at the end is part of no start code.
                assert!(*byte >= 3, "00 00 {byte:02x} at {at}");
                assert!(*byte > 3 || unit.get(at + 1).is_none_or(|next| *next <= 3), "00 00 03 for nothing");
            }
            if zeros >= 2 && *byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            plain.push(*byte);
        }
    }
    // Delimiters are left out, and a file of units needs them.
    assert!(plain[0] >> 3 != 2, "a delimiter");
    [&[0x12, 0], &plain[..]].concat()
}

/// Pictures of AV1 go out with the draft's tables, descriptors and start codes, a temporal unit in each PES packet (the draft
/// has one for each frame), judged by a reading of its section 3.2 and by a decoder; and come in again.
#[test]
fn av1_out_and_in() {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    // With alternate frames: temporal units of several frames.
    let encode = ["-c:v", "libsvtav1", "-preset", "12", "-c:a", "aac"];
    let file = media::flv(&ffmpeg, "ts-av1", &encode);
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = format!("[\"udp://127.0.0.1:{port}\"]");
    let channel =
        format!("[[channel]]\nname = \"av1\"\nsource = \"live/av1\"\nbitrate = 4_000_000\nto = {place}\n");
    let input = format!("[[input]]\nstream = \"live/back\"\nfrom = {place}\nfailover_ms = 3000\n");
    let config = || Config::new().set("headend.av1", "true").set("publish.silence_timeout_ms", "5000");
    let (server, next) = (config().table(&channel).start(), config().table(&input).start());
    let (body, back) = std::thread::scope(|scope| {
        let player = scope.spawn(|| FlvPlayer::open(next.http, "/live/back.flv").tags());
        let viewer = scope.spawn(|| request(server.http, "GET", "/live/av1.ts").body());
        server.await_subscribers(1);
        next.await_subscribers(1);
        let mut command = Command::new(&ffmpeg);
        command.args(["-v", "error", "-readrate", "1.5", "-i"]).arg(&file);
        command.args(["-map", "0", "-c", "copy", "-f", "flv", &server.rtmp_url("av1")]);
        Process::spawn("publisher", &mut command).finish(PATIENCE);
        // The channel goes on without a source, with nothing but tables; the input's stream ends.
        (viewer.join().unwrap(), player.join().unwrap())
    });
    server.stop();
    next.stop();

    let report = check(&body, Limits::default());
    let pictures = &report.streams[&PICTURES];
    assert_eq!(pictures.stream_type, 6);
    assert_eq!(pictures.descriptors[..6], *b"\x05\x04AV01");
    assert_eq!(pictures.descriptors[6..15], *b"\x5f\x04AOMS\x80\x04\x81");

    // What a decoder makes of the units is what it makes of the file they came from.
    let units: Vec<u8> = pictures.units.iter().flat_map(|unit| temporal_unit(&unit.data)).collect();
    let raw = file.with_extension("obu");
    std::fs::write(&raw, units).unwrap();
    let sent = decoded(&ffmpeg, &[], &file, "v");
    assert!(sent.len() > 100 && sent == decoded(&ffmpeg, &["-f", "obu"], &raw, "v"), "other pictures");
    // What came back is what was sent, but for the delimiters that ffmpeg leaves in, from a keyframe on; a machine that was
    // held up may have left pictures out.
    let sent = temporal_units(&flv_tags(&std::fs::read(&file).unwrap()));
    let back = temporal_units(&back);
    assert!(back[0].0 && back.len() * 2 > sent.len(), "{} of {}", back.len(), sent.len());
    let mut rest = sent.iter();
    for (n, unit) in back.iter().enumerate() {
        assert!(rest.any(|sent| sent == unit), "picture {n} of {}: nobody sent it, or not then", back.len());
    }
}

/// The frames of AV1 in tags, without delimiters: whether it is a keyframe, and its units.
fn temporal_units(tags: &[Tag]) -> Vec<(bool, Vec<u8>)> {
    let frames = tags.iter().filter_map(|tag| match tag.body.split_first_chunk::<5>() {
        Some((&[first @ (0x91 | 0xA1), b'a', b'v', b'0', b'1'], units)) => Some((first == 0x91, units)),
        _ => None,
    });
    frames.map(|(key, units)| (key, units.strip_prefix(&[0x12, 0]).unwrap_or(units).to_vec())).collect()
}
