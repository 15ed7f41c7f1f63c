//! A channel by UDP, from its first datagram: what it is made of, and who plays it.

use super::{
    H264, Headend, PATIENCE, PICTURES, RATE, SOUND, judged, judged_by_others, packets_of, prepare, stream_of,
};
use crate::channel::MS;
use crate::support::engine::engine_tests;
use crate::support::http;
use crate::support::judge::Limits;
use crate::support::lan::{BOX, GATEWAY};
use crate::support::process::{Process, program, run};
use crate::support::server::{Config, LIMIT};
use crate::support::{poll, share_machine};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

engine_tests!(a_channel_is_what_a_headend_sends);

const GROUP: &str = "239.255.1.1:5000";
const GROUP_V6: &str = "[ff15::1]:5000";
/// Packets of pictures in a capture: five seconds of them.
const PICTURE_PACKETS: usize = 4000;

fn a_channel_is_what_a_headend_sends(config: Config) {
    let Some(prepared) = prepare() else { return };
    let unicast = format!("{BOX}:6000");
    let places = [GROUP, GROUP_V6, &unicast].map(|to| prepared.0.receiver(to));
    let to =
        [format!("udp://{GROUP}#ttl=8&dscp=40"), format!("udp://{GROUP_V6}"), format!("udp://{unicast}")];
    let mut headend = Headend::start(config, prepared, &to.each_ref().map(String::as_str));
    let first = places[0].datagram();
    headend.publish();

    // Where it comes from, and how.
    assert_eq!((first.from.ip(), first.ttl, first.class), (GATEWAY.into(), 8, 40 << 2));
    let six = places[1].datagram();
    assert_eq!((six.from.ip().to_string().as_str(), six.ttl, six.class), ("fd09::1", 16, 34 << 2));
    let one = places[2].datagram();
    assert_eq!((one.from.ip(), one.ttl, one.class), (GATEWAY.into(), 16, 34 << 2));
    let mut pictures = 0;
    let rest = places[0].until(|all| {
        pictures += all.last().map_or(0, |datagram| packets_of(datagram, PICTURES));
        pictures > PICTURE_PACKETS
    });
    let others = [&places[1], &places[2]].map(|place| place.take(rest.len()));
    assert!(others.iter().all(|other| *other == rest), "one channel at all its places");
    let captured = [vec![first.bytes.clone()], rest].concat();
    assert!(captured.iter().all(|datagram| datagram.len() == 1316), "seven packets, always");
    assert!(six.bytes == first.bytes && one.bytes == first.bytes, "one channel");

    // By position, and by a reader that shares no line with the gateway.
    let bytes = stream_of(&captured, 0);
    let report = judged(&bytes, RATE);
    assert_eq!(report.pcr_pids, [PICTURES]);
    let streams: Vec<(u8, u16)> = report.streams.iter().map(|(kind, pid, _)| (*kind, *pid)).collect();
    assert_eq!(streams, [(0x1B, PICTURES), (0x0F, SOUND)]);
    assert!(report.streams[1].2.windows(3).any(|three| three == b"deu"), "{:?}", report.streams);
    for table in [0x00, 0x02, 0x42, 0x40, 0x70] {
        let gap = report.tables.get(&table);
        assert!(
            [0x40, 0x70].contains(&table) || gap.is_some_and(|gap| gap.1 > 30 * MS),
            "{table:#x}: {gap:?}"
        );
    }
    let units = |pid: u16| report.units[&pid].len();
    assert!(units(PICTURES) > 50 && units(SOUND) > 100, "{} {}", units(PICTURES), units(SOUND));
    assert!(report.nulls > 1000, "{}", report.nulls);

    // By our own report, of the capture as a file: time is position there too.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("channel.ts");
    std::fs::write(&file, &bytes).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    let said = analyzed(command.args(["analyze", "--json"]).arg(&file));
    // A source that its machine held up leaves pictures out, for which it is not the channel that is to blame; neither is
    // it for tables that were left out with everything else.
    let excused: &[&str] = match headend.server.metrics().sum("headgate_channel_jumps_total", &[]) {
        0.0 => &["1.6", "2.5"],
        _ => &["1.3", "1.5", "1.6", "2.3a", "2.5", "3.2"],
    };
    let raised: Vec<_> = raised(&said).into_iter().filter(|id| !excused.contains(id)).collect();
    assert!(raised.is_empty(), "{raised:?}: {said:#}");
    assert_eq!(said["services"][0]["name"], "Eins", "{said:#}");
    assert_eq!(said["services"][0]["provider"], "Tests", "{said:#}");

    if headend.server.metrics().sum("headgate_channel_jumps_total", &[]) == 0.0 {
        // One packet may be the clock.
        let on_air = captured.iter().position(|datagram| packets_of(datagram, PICTURES) > 1).unwrap();
        // A source that its machine holds up leaves pictures out, for which the channel is not to blame.
        let limits = Limits { pts_gap_ms: 10_000.0, ..Limits::default() };
        judged_by_others("the channel", &captured[on_air + 100..], RATE, H264, limits);
    }
    plays(&headend);
    measured_live(&headend);
    let metrics = headend.server.metrics();
    let of = |metric: &str| metrics.sum(&format!("headgate_channel_{metric}"), &["channel=\"one\""]);
    assert_eq!(of("bitrate_bps"), RATE as f64);
    assert_eq!(of("send_errors_total"), 0.0);
    // A machine that held the gateway up is no fault of the channel's.
    let held_up = of("lag_skips_total");
    assert!(
        of("datagrams_total") >= captured.len() as f64 && (1.0..=1.0 + held_up).contains(&of("seams_total"))
    );
    assert!(of("sent_datagrams_total") >= 3.0 * captured.len() as f64, "three places");
    assert!(of("sent_bytes_total") >= of("sent_datagrams_total") * 1316.0 * 0.99);
    headend.server.await_metrics("nulls", |metrics| {
        (0.1..0.9).contains(&metrics.sum("headgate_channel_null_ratio", &[]))
    });
    assert!(metrics.sum("headgate_pacer_ticks_total", &[]) > 0.0);
    assert!(metrics.sum("headgate_pacer_lateness_seconds_count", &[]) > 0.0);
    for probe in ["/livez?verbose", "/readyz?verbose"] {
        // A core that its machine holds up is back in a moment.
        poll(probe, LIMIT, || {
            let (status, said) = http::get(headend.server.admin, probe);
            (status == 200 && said.contains("[+] pacer")).then_some(())
        });
    }
    headend.unpublish();
    let log = headend.server.stop();
    assert!(log.contains("channel  one: live/one at 2 Mbit/s to udp://eth1@239.255.1.1:5000"), "{log}");
    assert!(log.contains("channel ends"), "{log}");
}

/// ffmpeg decodes pictures, ffprobe reads names, GStreamer's demuxer finds the pictures.
fn plays(headend: &Headend) {
    let url = Headend::ffmpeg_url(GROUP);
    let mut command = headend.lan.command(&headend.ffmpeg);
    command.args(["-nostdin", "-v", "error", "-i", &url, "-map", "0:v", "-frames:v", "75"]);
    let frames = run("ffmpeg", command.args(["-f", "framehash", "-"]), PATIENCE);
    assert_eq!(frames.lines().filter(|line| !line.starts_with('#')).count(), 75, "{frames}");
    if let Some(ffprobe) = program("ffprobe") {
        let mut command = headend.lan.command(&ffprobe);
        command.args(["-v", "error", "-show_entries", "program_tags=service_name,service_provider", &url]);
        let said = run("ffprobe", &mut command, PATIENCE);
        assert!(said.contains("service_name=Eins") && said.contains("service_provider=Tests"), "{said}");
    }
    if let Some(gst) = program("gst-launch-1.0") {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pictures.h264");
        let (address, port) = GROUP.split_once(':').unwrap();
        let pipeline = format!(
            "udpsrc address={address} port={port} multicast-iface=eth1 buffer-size=8000000 ! tsdemux ! \
             video/x-h264 ! filesink buffer-mode=unbuffered location={}",
            file.display()
        );
        let mut command = headend.lan.command(&gst);
        let player = Process::spawn("GStreamer", command.arg("-q").args(pipeline.split_whitespace()));
        poll("pictures from GStreamer", LIMIT, || {
            (std::fs::metadata(&file).ok()?.len() > 400_000).then_some(())
        });
        drop(player);
        let said = run(
            "ffprobe",
            Command::new("ffprobe")
                .args(["-v", "quiet", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0"])
                .arg(&file),
            PATIENCE,
        );
        assert_eq!(said.trim(), "h264,320");
    }
}

/// Our own monitor on the live group. What it measures by arrival belongs to the machine; what is in the packets does not.
fn measured_live(headend: &Headend) {
    let mut command = headend.lan.command(Path::new(env!("CARGO_BIN_EXE_headgate")));
    command.args(["analyze", "--json", "--seconds", "3", &format!("udp://eth1@{GROUP}")]);
    let report = analyzed(&mut command);
    assert_eq!(report["services"][0]["name"], "Eins", "{report:#}");
    let by_content = ["1.1", "1.2", "1.4", "2.1", "2.2", "2.3b", "2.4", "2.6", "3.4"];
    assert!(!raised(&report).iter().any(|id| by_content.contains(id)), "{report:#}");
}

/// The report of `headgate analyze`, whatever it found.
fn analyzed(command: &mut Command) -> Value {
    let mut process = Process::spawn("analyze", command);
    assert!(process.wait(PATIENCE).is_some(), "hangs");
    let said = process.output.text();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Ids of indicators that were raised.
fn raised(report: &Value) -> Vec<&str> {
    let entries = report["indicators"].as_array().unwrap().iter();
    entries.filter(|entry| entry["count"] != 0).map(|entry| entry["id"].as_str().unwrap()).collect()
}

/// Nobody sends to a mistake: it is said before anything starts.
#[test]
fn what_is_wrong_on_this_machine_is_said_at_the_start() {
    let _shared = share_machine();
    for (table, says) in [
        (
            "[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 2000000\nto = [\"udp://nothing0@239.255.1.1:5000\"]\n",
            &[
                "channel `one` cannot be sent to udp://nothing0@239.255.1.1:5000",
                "there is no interface",
                "lo",
            ][..],
        ),
        (
            "[headend]\ncore = 1000\n[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 2000000\nto = [\"udp://127.0.0.1:5000\"]\n",
            &["CPU 1000 of [headend] core is not available", "choose from"],
        ),
    ] {
        let (mut process, _folder) = Config::new().table(table).spawn();
        let status = process.wait(LIMIT).unwrap();
        let said = process.output.text();
        assert!(!status.success() && !said.contains("panicked"), "{said}");
        assert!(says.iter().all(|part| said.contains(part)), "{said}");
    }
}
