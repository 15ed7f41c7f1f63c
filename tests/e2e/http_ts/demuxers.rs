//! Every codec that MPEG-TS carries, from a file through the gateway to real demuxers.

use super::{PICTURES, SOUND};
use crate::support::checker::{self, AUDIO, Class, VIDEO, flv_tags, parts};
use crate::support::http::request;
use crate::support::media;
use crate::support::process::{Process, program, run, static_ffmpeg};
use crate::support::server::Server;
use crate::support::share_machine;
use crate::support::ts::{Limits, Report, check};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Limit of one publisher or player.
const PATIENCE: Duration = Duration::from_secs(30);

fn ts_url(server: &Server, name: &str) -> String {
    format!("http://{}/live/{name}.ts", server.http)
}

/// What an ffmpeg complains of, but for the end of a response of unknown length.
fn complaints(text: &str) -> Vec<&str> {
    let end = |line: &&str| !line.contains("Stream ends prematurely") && !line.contains("Input/output error");
    text.lines().filter(end).collect()
}

/// Publishes a file while a client of the test's own and an ffmpeg, which both came before, watch over HTTP-TS.
/// Returns the whole body, and the hashes of decoded pictures and of packets of sound.
fn published(ffmpeg: &Path, name: &str, file: &Path, sound: &[&str]) -> (Vec<u8>, Vec<(u64, String)>) {
    let server = Server::start();
    let hashes = file.with_extension("live.hashes");
    let mut player = Command::new(ffmpeg);
    player.args(["-v", "error", "-y", "-i", &ts_url(&server, name)]).args(decode(sound)).arg(&hashes);
    let player = Process::spawn("player", &mut player);
    let body = std::thread::scope(|scope| {
        let own = scope.spawn(|| request(server.http, "GET", &format!("/live/{name}.ts")));
        server.await_subscribers(2);
        let mut command = Command::new(ffmpeg);
        command.args(["-v", "error", "-readrate", "2", "-i"]).arg(file);
        command.args(["-map", "0", "-c", "copy", "-f", "flv", &server.rtmp_url(name)]);
        let publisher = Process::spawn("publisher", &mut command);
        let response = own.join().unwrap();
        assert_eq!((response.status, &*response.headers["content-type"]), (200, "video/mp2t"));
        let body = response.body();
        publisher.finish(PATIENCE);
        body
    });
    let said = player.output.clone();
    player.finish(PATIENCE);
    assert_eq!(complaints(&said.text()), [""; 0], "{name}: ffmpeg over HTTP-TS");
    server.stop();
    (body, read_hashes(&hashes))
}

/// Arguments behind `-i`: pictures decoded, sound copied (ADTS headers taken off), each frame hashed.
fn decode<'a>(sound: &[&'a str]) -> Vec<&'a str> {
    let pictures = ["-map", "0:v?", "-map", "0:a?", "-fps_mode", "passthrough", "-c:a", "copy"];
    [&pictures[..], sound, &["-f", "framehash", "-hash", "md5"]].concat()
}

/// Stream and hash of each frame.
fn read_hashes(file: &Path) -> Vec<(u64, String)> {
    let text = std::fs::read_to_string(file).unwrap();
    let line = |line: &str| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        // Stream, DTS, PTS, duration, size, hash; side data may follow.
        (cells[0].parse().unwrap(), cells[5].to_owned())
    };
    let mut all: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(line).collect();
    // Frames of one stream keep their order.
    all.sort_by_key(|(stream, _)| *stream);
    all
}

/// Presentation times of one kind in an FLV file, in ms from the first of any, and which are keyframes.
fn times(file: &Path, kind: u8) -> Vec<(u64, bool)> {
    let tags = flv_tags(&std::fs::read(file).unwrap());
    let mut found = Vec::new();
    for tag in tags.iter().filter(|tag| tag.kind == kind) {
        let class = parts(tag)[0].class;
        if !matches!(class, Class::Key | Class::Inter | Class::Sound) {
            continue;
        }
        let three =
            |at: usize| i64::from(i32::from_be_bytes([0, tag.body[at], tag.body[at + 1], tag.body[at + 2]]));
        let offset = match (kind, tag.body[0]) {
            (VIDEO, first) if first & 0x80 == 0 => three(2),
            // CodedFrames of hvc1; CodedFramesX has none.
            (VIDEO, first) if first & 15 == 1 => three(5),
            _ => 0,
        };
        found.push(((i64::from(tag.time_ms) + offset) as u64, class == Class::Key));
    }
    found
}

/// One codec pair through the gateway, held to the file it came from by ffmpeg, by the checker, by ffprobe, GStreamer
/// and tsreport.
fn carries(name: &str, encode: &[&str], types: [u8; 2], codecs: [&str; 2], sound: &[&str]) {
    let (Some(ffmpeg), Some(ffprobe)) = (static_ffmpeg(), program("ffprobe")) else { return };
    let (Some(launch), Some(tsreport)) = (program("gst-launch-1.0"), program("tsreport")) else { return };
    let _shared = share_machine();
    let file = media::flv(&ffmpeg, name, encode);
    let (body, live) = published(&ffmpeg, name, &file, sound);
    let report = check(&body, Limits::default());
    assert_eq!(report.service, Some(("headgate".to_owned(), name.to_owned())));
    assert_eq!(report.streams.keys().copied().collect::<Vec<_>>(), [PICTURES, SOUND]);
    assert_eq!([PICTURES, SOUND].map(|pid| report.streams[&pid].stream_type), types);
    assert_eq!(report.discontinuities, 0);
    // Count and times, by two readings that know nothing of each other: the file's first frame is at stream time 0, and
    // sounds stand on the millisecond.
    let start = times(&file, VIDEO).iter().chain(&times(&file, AUDIO)).map(|t| t.0).min().unwrap();
    for (pid, kind) in [(PICTURES, VIDEO), (SOUND, AUDIO)] {
        let units = &report.streams[&pid].units;
        let origin = report.streams.values().flat_map(|s| &s.units).map(|unit| unit.pts / 90).min().unwrap();
        let played: Vec<_> =
            units.iter().map(|u| (u.pts / 90 - origin, kind == VIDEO && u.random_access)).collect();
        let sent: Vec<_> = times(&file, kind).iter().map(|(at, key)| (at - start, *key)).collect();
        assert_eq!(played, sent, "{name}: times of PID {pid:#x}");
    }
    // Pictures and sounds, bit by bit, live and from the file.
    let hash = |source: &Path, sound: &[&str]| {
        let out = source.with_extension("hashes");
        let mut command = Command::new(&ffmpeg);
        command.args(["-v", "warning", "-y", "-i"]).arg(source).args(decode(sound)).arg(&out);
        let process = Process::spawn("ffmpeg", &mut command);
        let said = process.output.clone();
        process.finish(PATIENCE);
        (read_hashes(&out), said.text())
    };
    let saved = file.with_extension("ts");
    std::fs::write(&saved, &body).unwrap();
    let (sent, _) = hash(&file, &[]);
    let (recorded, said) = hash(&saved, sound);
    assert_eq!(said, "", "{name}: ffmpeg on the recording");
    assert_eq!(sent.len(), live.len(), "{name}: frames");
    assert!(sent == live && sent == recorded, "{name}: other pictures or sounds");
    // The distribution's ffprobe: codecs, service, and every packet without a complaint.
    let mut command = Command::new(ffprobe);
    command
        .args(["-v", "warning", "-count_packets", "-show_entries"])
        .arg("program_tags=service_name,service_provider:stream=codec_name,nb_read_packets");
    command.args(["-of", "csv=p=0"]).arg(&saved);
    let process = Process::spawn("ffprobe", &mut command);
    let said = process.output.clone();
    let probed = process.finish(PATIENCE);
    assert_eq!(said.text(), probed, "{name}: ffprobe complains");
    for (codec, pid) in codecs.into_iter().zip([PICTURES, SOUND]) {
        let line = format!("{codec},{}", report.streams[&pid].units.len());
        assert!(probed.contains(&line), "{name}: no {line} in {probed}");
    }
    assert!(probed.contains(name) && probed.contains("headgate"), "{probed}");
    gstreamer_agrees(&launch, &saved, &report);
    // tstools: the clock.
    let said = run("tsreport", Command::new(tsreport).arg("-b").arg(&saved), PATIENCE);
    let number = |label: &str| -> u64 {
        let (_, rest) = said.split_once(label).unwrap_or_else(|| panic!("no {label} in {said}"));
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    // In ticks of 90 kHz: 40 ms, and times ahead of the clock by 200 to 900 ms.
    assert!(number("gaps: ") == 0 && number("Max gap: ") <= 3600, "{said}");
    let leads =
        said.match_indices("Minimum difference was ").chain(said.match_indices("Maximum difference was "));
    let leads: Vec<u64> = leads
        .map(|(at, label)| said[at + label.len()..].split('t').next().unwrap().trim().parse().unwrap())
        .collect();
    assert!(
        leads.len() >= 4 && leads.iter().all(|lead| (18_000..=81_000).contains(lead)),
        "{leads:?} in {said}"
    );
    assert!(!said.contains("###"), "{said}");
}

/// tsdemux finds the same elementary streams to the last byte.
fn gstreamer_agrees(launch: &Path, file: &Path, report: &Report) {
    let out = |pid: u16| file.with_extension(format!("{pid:x}"));
    let pads: String = [(PICTURES, "video"), (SOUND, "audio")]
        .iter()
        .map(|(pid, kind)| {
            let out = out(*pid);
            format!(" d.{kind}_0_{pid:04x} ! queue max-size-buffers=0 max-size-time=0 max-size-bytes=0 ! filesink location={}", out.display())
        })
        .collect();
    let pipeline = format!("filesrc location={} ! tsdemux name=d{pads}", file.display());
    let mut command = Command::new(launch);
    command.args(["-q"]).args(pipeline.split_whitespace());
    let process = Process::spawn("tsdemux", &mut command);
    let said = process.output.clone();
    process.finish(PATIENCE);
    assert_eq!(said.text(), "", "tsdemux");
    for pid in [PICTURES, SOUND] {
        let (theirs, stream) = (std::fs::read(out(pid)).unwrap(), &report.streams[&pid]);
        let units = stream.units.iter().map(|unit| match stream.stream_type {
            // It takes the control headers of Opus off: two bytes and a size in runs of 255.
            6 => &unit.data[3 + unit.data[2..].iter().take_while(|byte| **byte == 255).count()..],
            _ => &unit.data[..],
        });
        let ours: Vec<u8> = units.flatten().copied().collect();
        assert!(theirs == ours, "PID {pid:#x}: tsdemux has {} bytes, {} came", theirs.len(), ours.len());
    }
}

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2"];
const HEVC: [&str; 4] = ["-c:v", "libx265", "-x265-params", "log-level=error"];

#[test]
fn h264_and_aac() {
    let sound = ["-bsf:a", "aac_adtstoasc"];
    carries("ts-aac", &[&H264[..], &["-c:a", "aac"]].concat(), [0x1B, 0x0F], ["h264", "aac"], &sound);
}

#[test]
fn hevc_and_opus() {
    carries("ts-opus", &[&HEVC[..], &["-c:a", "libopus"]].concat(), [0x24, 0x06], ["hevc", "opus"], &[]);
}

#[test]
fn h264_and_ac3() {
    carries("ts-ac3", &[&H264[..], &["-c:a", "ac3"]].concat(), [0x1B, 0x81], ["h264", "ac3"], &[]);
}

#[test]
fn hevc_and_eac3() {
    carries("ts-eac3", &[&HEVC[..], &["-c:a", "eac3"]].concat(), [0x24, 0x87], ["hevc", "eac3"], &[]);
}

#[test]
fn h264_and_mp3() {
    carries("ts-mp3", &[&H264[..], &["-c:a", "libmp3lame"]].concat(), [0x1B, 0x03], ["h264", "mp3"], &[]);
}

#[test]
fn two_video_and_two_audio_tracks() {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    let tracks = ["-map", "0:v", "-map", "0:v", "-map", "1:a", "-map", "1:a"];
    let video = ["-c:v:0", "libx264", "-preset:v:0", "veryfast", "-c:v:1", "libx265"];
    let audio = ["-x265-params", "log-level=error", "-c:a:0", "aac", "-c:a:1", "libopus"];
    let file = media::flv(&ffmpeg, "ts-tracks", &[&tracks[..], &video, &audio].concat());
    let (body, live) = published(&ffmpeg, "ts-tracks", &file, &["-bsf:a:0", "aac_adtstoasc"]);
    let report = check(&body, Limits::default());
    let types: Vec<_> = report.streams.iter().map(|(pid, stream)| (*pid, stream.stream_type)).collect();
    assert_eq!(types, [(0x100, 0x1B), (0x101, 0x24), (0x200, 0x0F), (0x201, 0x06)]);
    let source = checker::check(&flv_tags(&std::fs::read(&file).unwrap()));
    for (pid, key) in [(0x100, (VIDEO, 0)), (0x101, (VIDEO, 1)), (0x200, (AUDIO, 0)), (0x201, (AUDIO, 1))] {
        assert_eq!(report.streams[&pid].units.len(), source.tracks[&key].frames, "PID {pid:#x}");
    }
    let frames = |stream| live.iter().filter(|(of, _)| *of == stream).count();
    assert_eq!([0, 1].map(frames), [(VIDEO, 0), (VIDEO, 1)].map(|key| source.tracks[&key].frames));
}
