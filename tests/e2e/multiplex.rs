//! What the multiplexer of channels writes, from what real programs write, before readers that share nothing with it:
//! `headgate analyze`, ffprobe, ffmpeg's decoders, GStreamer and tstools.

use crate::support::http::request;
use crate::support::media;
use crate::support::process::{Process, program, run, static_ffmpeg};
use crate::support::server::Server;
use crate::support::share_machine;
use headgate::media::Mono;
use headgate::mux::{Multiplex, Mux, Service};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Limit of one program.
const LIMIT: Duration = Duration::from_secs(60);
const SECONDS: u32 = 12;
/// Where the multiplexer puts the first picture and the first sound.
const PICTURES: u16 = 0x100;
const SOUND: u16 = 0x200;

fn pid_of(packet: &[u8; 188]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1F, packet[2]])
}

fn payload_of(packet: &[u8; 188]) -> &[u8] {
    let from = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
    if packet[3] & 0x10 == 0 { &[] } else { &packet[from..] }
}

/// Decoding time of the unit that begins in a packet, in ticks of 90 kHz.
fn decoding_time(packet: &[u8; 188]) -> Option<u64> {
    let payload = payload_of(packet);
    if packet[1] & 0x40 == 0 || !payload.starts_with(&[0, 0, 1]) {
        return None;
    }
    let at = match payload[7] >> 6 {
        2 => 9,
        3 => 14,
        _ => return None,
    };
    let field: Vec<u64> = payload[at..at + 5].iter().map(|byte| u64::from(*byte)).collect();
    Some((field[0] >> 1 & 7) << 30 | field[1] << 22 | (field[2] >> 1) << 15 | field[3] << 7 | field[4] >> 1)
}

/// The elementary stream on a PID, without the headers of its units; and how many those are.
fn elementary(stream: &[u8], pid: u16) -> (usize, Vec<u8>) {
    let (mut units, mut out) = (0, Vec::new());
    for packet in stream.as_chunks().0.iter().filter(|packet| pid_of(packet) == pid) {
        let payload = payload_of(packet);
        if packet[1] & 0x40 == 0 {
            out.extend_from_slice(payload);
        } else {
            units += 1;
            out.extend_from_slice(&payload[9 + usize::from(payload[8])..]);
        }
    }
    (units, out)
}

/// Plays a stream at the pace of its decoding times into a multiplex, and takes another second of it.
fn multiplexed(multiplex: Multiplex, stream: &[u8]) -> (Mux, Vec<u8>) {
    let mut mux = Mux::new(multiplex, Mono::ZERO);
    let (mut out, mut first, mut now_us, mut datagram) = (Vec::new(), None, 0, [0; 1316]);
    let mut run_to = |mux: &mut Mux, us: u64| {
        while mux.written() < mux.position(Mono::from_micros(us)) {
            mux.write(&mut datagram, 1_750_000_000 + us / 1_000_000);
            out.extend(datagram);
        }
    };
    for packet in stream.as_chunks().0 {
        if let Some(dts) = decoding_time(packet) {
            let first = *first.get_or_insert(dts);
            now_us = now_us.max(dts.saturating_sub(first) * 100 / 9);
        }
        run_to(&mut mux, now_us);
        mux.feed(0, Mono::from_micros(now_us), packet);
    }
    run_to(&mut mux, now_us + 1_000_000);
    (mux, out)
}

/// Hashes of all pictures, decoded, and of all sounds; any complaint fails.
fn decoded(ffmpeg: &Path, file: &Path) -> Vec<(String, String)> {
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "warning", "-i"]).arg(file);
    command.args(["-map", "0:v", "-map", "0:a", "-fps_mode", "passthrough", "-c:a", "copy"]);
    let process = Process::spawn("ffmpeg", command.args(["-f", "framehash", "-hash", "md5", "-"]));
    let said = process.output.clone();
    let hashes = process.finish(LIMIT);
    assert_eq!(said.text(), hashes, "ffmpeg complains");
    let cells = |line: &str| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        (cells[0].to_owned(), cells[5].to_owned())
    };
    let mut all: Vec<_> = hashes.lines().filter(|line| !line.starts_with('#')).map(cells).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// A multiplex at `rate_bps` of a stream with pictures and sound on these PIDs, before all judges.
fn judged(name: &str, stream: &[u8], pids: [u16; 2], codecs: [&str; 2], rate_bps: u64) {
    let (Some(ffmpeg), Some(ffprobe)) = (static_ffmpeg(), program("ffprobe")) else { return };
    let (Some(launch), Some(tsreport)) = (program("gst-launch-1.0"), program("tsreport")) else { return };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (source, file) = (folder.path().join("source.ts"), folder.path().join("channel.ts"));
    let service = Service { name: "Eins ä".to_owned(), provider: "Tests".to_owned(), ..Service::default() };
    let multiplex = Multiplex {
        rate_bps,
        nit: true,
        time: true,
        // The clock wraps on the way.
        clock: ((1 << 33) - 90_000 * 5) * 300,
        services: vec![service],
        ..Multiplex::default()
    };
    let (mux, channel) = multiplexed(multiplex, stream);
    std::fs::write(&source, stream).unwrap();
    std::fs::write(&file, &channel).unwrap();
    let tally = mux.tally();
    let dropped = tally.units_late + tally.units_overload + tally.units_without_key + tally.source_damaged;
    assert_eq!((dropped, tally.jumps, tally.source_gaps), (0, 0, 0), "{name}: {tally:?}");

    // Every byte that came, and no other.
    for (theirs, ours) in pids.into_iter().zip([PICTURES, SOUND]) {
        let (sent, came) = (elementary(stream, theirs), elementary(&channel, ours));
        assert!(sent == came, "{name}: PID {ours:#x} has {} units of {}", came.0, sent.0);
    }

    // TR 101 290, with the limit of 40 ms.
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(["analyze", "--json", "--pcr-limit", "40"]).arg(&file);
    let mut process = Process::spawn("analyze", &mut command);
    let status = process.wait(LIMIT).unwrap_or_else(|| panic!("hangs: {}", process.output.text()));
    let said = process.output.text();
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((status.code(), &report["verdict"]), (Some(0), &"clean".into()), "{name}: {report:#}");
    assert_eq!(report["mux_rate"]["constant"], true, "{name}");
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{name}: {value} in {report:#}"));
    assert!((number(&report["mux_rate"]["mean_bps"]) / rate_bps as f64 - 1.0).abs() < 10e-6, "{name}");
    let pcr = &report["pcrs"][0];
    assert!(number(&pcr["interval_ms_max"]) <= 38.0 && pcr["accuracy_judged"] != 0, "{name}: {pcr}");
    assert!(number(&pcr["accuracy_ns_max"]) <= 100.0, "{name}: {pcr}");
    assert!(number(&report["tables"]["pat_interval_ms_max"]) <= 100.0, "{name}");
    assert!(number(&report["tables"]["sdt_interval_ms_max"]) <= 1000.0, "{name}");
    assert!(number(&report["services"][0]["pmt_interval_ms_max"]) <= 100.0, "{name}");
    for pid in report["pids"].as_array().unwrap().iter().filter(|pid| !pid["pts_lead_ms_min"].is_null()) {
        let lead = (number(&pid["pts_lead_ms_min"]), number(&pid["pts_lead_ms_max"]));
        assert!(lead.0 >= 200.0 && lead.1 <= 900.0, "{name}: {pid}");
    }

    // ffprobe: what is in it, and every packet without a complaint; ffmpeg: every picture and sound as they were.
    let mut command = Command::new(ffprobe);
    command.args(["-v", "warning", "-show_entries", "program_tags=service_name,service_provider"]);
    command.args(["-show_entries", "stream=id,codec_name", "-of", "csv=p=0"]).arg(&file);
    let process = Process::spawn("ffprobe", &mut command);
    let said = process.output.clone();
    let probed = process.finish(LIMIT);
    assert_eq!(said.text(), probed, "{name}: ffprobe complains");
    for (codec, id) in codecs.into_iter().zip(["0x100", "0x200"]) {
        assert!(probed.contains(&format!("{codec},{id}")), "{name}: {probed}");
    }
    assert!(probed.contains("Eins ä") && probed.contains("Tests"), "{name}: {probed}");
    assert_eq!(decoded(&ffmpeg, &file), decoded(&ffmpeg, &source), "{name}: other pictures or sounds");

    // GStreamer finds the same streams to the last byte.
    let out = |pid: u16| folder.path().join(format!("{pid:x}.es"));
    let pads = [(PICTURES, "video"), (SOUND, "audio")].map(|(pid, kind)| {
        let queue = "queue max-size-buffers=0 max-size-time=0 max-size-bytes=0";
        format!(" d.{kind}_0_{pid:04x} ! {queue} ! filesink location={}", out(pid).display())
    });
    let pipeline = format!("filesrc location={} ! tsdemux name=d{}", file.display(), pads.concat());
    let said = {
        let mut command = Command::new(launch);
        let process = Process::spawn("tsdemux", command.arg("-q").args(pipeline.split_whitespace()));
        let said = process.output.clone();
        process.finish(LIMIT);
        said.text()
    };
    assert_eq!(said, "", "{name}: tsdemux complains");
    for pid in [PICTURES, SOUND] {
        assert!(
            std::fs::read(out(pid)).unwrap() == elementary(&channel, pid).1,
            "{name}: {pid:#x} in tsdemux"
        );
    }

    // tstools: the clock goes on as it says, to a tick of 90 kHz.
    let said = run("tsreport", Command::new(tsreport).arg("-b").arg(&file), LIMIT);
    assert!(!said.contains("###") && said.contains("gaps: 0"), "{name}: {said}");
}

/// An ffmpeg's own transport stream of variable rate.
fn encoded(ffmpeg: &Path, encode: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let video = format!("testsrc2=size=640x360:rate=25:duration={SECONDS}");
    let audio = format!("sine=frequency=440:sample_rate=48000:duration={SECONDS}");
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio]);
    command.args(encode).args(["-pix_fmt", "yuv420p", "-g", "25", "-f", "mpegts"]).arg(file.path());
    run("encoder", &mut command, LIMIT);
    std::fs::read(file.path()).unwrap()
}

#[test]
fn h264_and_aac_of_ffmpeg_at_4_mbit() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let encode = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-c:a", "aac", "-b:a", "128k"];
    let stream = encoded(&ffmpeg, &encode);
    judged("H.264 and AAC", &stream, [0x100, 0x101], ["h264", "aac"], 4_000_000);
}

#[test]
fn hevc_and_ac3_of_ffmpeg_at_an_odd_rate() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let encode = ["-c:v", "libx265", "-preset", "veryfast", "-x265-params", "log-level=error", "-c:a", "ac3"];
    let stream = encoded(&ffmpeg, &[&encode[..], &["-b:a", "384k"]].concat());
    judged("HEVC and AC-3", &stream, [0x100, 0x101], ["hevc", "ac3"], 3_333_333);
}

#[test]
fn mpeg_2_of_ffmpeg_at_20_mbit() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let encode = ["-c:v", "mpeg2video", "-b:v", "3M", "-bf", "2", "-c:a", "mp2", "-b:a", "192k"];
    judged("MPEG-2", &encoded(&ffmpeg, &encode), [0x100, 0x101], ["mpeg2video", "mp2"], 20_000_000);
}

/// The gateway's own log: published by RTMP, taken over HTTP-TS.
#[test]
fn the_log_of_the_gateway_at_2_mbit() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let encode = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-c:a", "aac"];
    let file = media::flv(&ffmpeg, "multiplex", &encode);
    let server = Server::start();
    let stream = std::thread::scope(|scope| {
        let viewer = scope.spawn(|| request(server.http, "GET", "/live/one.ts").body());
        server.await_subscribers(1);
        let mut command = Command::new(&ffmpeg);
        command.args(["-v", "error", "-readrate", "2", "-i"]).arg(&file);
        command.args(["-map", "0", "-c", "copy", "-f", "flv", &server.rtmp_url("one")]);
        let publisher = Process::spawn("publisher", &mut command);
        let stream = viewer.join().unwrap();
        publisher.finish(LIMIT);
        stream
    });
    server.stop();
    judged("the log", &stream, [0x100, 0x200], ["h264", "aac"], 2_000_000);
}
