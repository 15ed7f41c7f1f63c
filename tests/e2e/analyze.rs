//! `headgate analyze` on what real programs write and send, and on what is broken on the way.

use crate::stream;
use crate::support::network::Network;
use crate::support::process::{self, Process, program, static_ffmpeg};
use crate::support::share_machine;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Limit of one encoding or one analysis.
const LIMIT: Duration = Duration::from_secs(60);
/// Length of encoded files, in seconds.
const SECONDS: &str = "6";

/// Exit codes, as docs/analyze.md lists them.
pub const CLEAN: i32 = 0;
pub const COULD_NOT_RUN: i32 = 1;
const USAGE: i32 = 2;
pub const ERRORS_FOUND: i32 = 3;

/// Runs the command to its end.
pub fn analyze(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    let mut process = Process::spawn("analyze", command.arg("analyze").args(arguments));
    let status = process.wait(LIMIT).unwrap_or_else(|| panic!("hangs: {}", process.output.text()));
    (status.code().unwrap(), process.output.text())
}

/// The JSON report, and the exit code that came with it.
pub fn report(arguments: &[&str]) -> (i32, Value) {
    let (code, text) = analyze(&[&["--json"], arguments].concat());
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Ids of what was raised.
pub fn raised(report: &Value) -> Vec<&str> {
    let entries = report["indicators"].as_array().unwrap().iter();
    entries
        .filter(|entry| entry["count"].as_u64() != Some(0))
        .map(|entry| entry["id"].as_str().unwrap())
        .collect()
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Test pictures and a tone through the static ffmpeg.
fn encode(ffmpeg: &Path, file: &Path, options: &[&str]) {
    let video = format!("testsrc2=size=320x180:rate=25:duration={SECONDS}");
    let audio = format!("sine=frequency=440:sample_rate=48000:duration={SECONDS}");
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio]);
    command.args([
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "25",
        "-c:a",
        "aac",
    ]);
    process::run("encoder", command.args(options).args(["-f", "mpegts"]).arg(file), LIMIT);
}

const CBR: [&str; 8] = ["-b:v", "1M", "-maxrate", "1M", "-bufsize", "1M", "-muxrate", "2M"];

/// What ffmpeg writes is clean; its variable rate has PCRs that come every other picture, which the old limit does not
/// allow, and nothing else.
#[test]
fn files_of_ffmpeg() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let folder = folder();
    let cbr = folder.path().join("cbr.ts");
    encode(
        &ffmpeg,
        &cbr,
        &[&CBR[..], &["-metadata", "service_name=Eins", "-metadata", "service_provider=Tests"]].concat(),
    );
    for limit in ["100", "40"] {
        let (code, report) = report(&["--pcr-limit", limit, text(&cbr)]);
        assert_eq!((code, raised(&report)), (CLEAN, vec![]), "{report:#}");
        assert_eq!(
            (&report["verdict"], &report["kind"], &report["format"]),
            (&"clean".into(), &"file".into(), &1.into())
        );
        assert_eq!(report["mux_rate"]["constant"], true, "{report:#}");
        let rate = report["mux_rate"]["mean_bps"].as_f64().unwrap();
        assert!((rate - 2e6).abs() < 20.0, "{rate}");
        assert!(report["pcrs"][0]["accuracy_ns_max"].as_f64().unwrap() < 100.0, "{report:#}");
        let service = &report["services"][0];
        assert_eq!((&service["name"], &service["provider"]), (&"Eins".into(), &"Tests".into()));
        let codecs: Vec<&Value> =
            service["streams"].as_array().unwrap().iter().map(|s| &s["codec"]).collect();
        assert_eq!(codecs, ["H.264", "AAC"]);
        let seconds = report["duration_seconds"].as_f64().unwrap();
        assert!((5.5..6.5).contains(&seconds), "{seconds}");
    }

    let vbr = folder.path().join("vbr.ts");
    encode(&ffmpeg, &vbr, &[]);
    let (code, clean) = report(&[text(&vbr)]);
    assert_eq!((code, raised(&clean)), (CLEAN, vec![]), "{clean:#}");
    assert_eq!(clean["mux_rate"]["constant"], false);
    assert_eq!(clean["pcrs"][0]["accuracy_ns_max"], Value::Null, "not judged");
    let (code, strict) = report(&["--pcr-limit", "40", text(&vbr)]);
    assert_eq!((code, raised(&strict)), (ERRORS_FOUND, vec!["2.3a"]), "{strict:#}");

    // One picture a second: what ffmpeg writes with it comes once a second too.
    let slow = folder.path().join("slow.ts");
    encode(&ffmpeg, &slow, &["-an", "-r", "1"]);
    let (code, slow) = report(&[text(&slow)]);
    assert_eq!((code, raised(&slow)), (ERRORS_FOUND, vec!["1.3", "1.5", "2.3a", "2.5"]), "{slow:#}");
}

/// The same stream with a time stamp in front of each packet, as recorders write it, and with room behind it.
#[test]
fn strides() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let folder = folder();
    let stamped = folder.path().join("stamped.m2ts");
    encode(&ffmpeg, &stamped, &["-mpegts_m2ts_mode", "1"]);
    let (code, report_192) = report(&[text(&stamped)]);
    assert_eq!((code, raised(&report_192)), (CLEAN, vec![]), "{report_192:#}");
    assert_eq!((&report_192["stride"], &report_192["skipped_bytes"]), (&192.into(), &0.into()));

    let wide = folder.path().join("wide.ts");
    let packets = stream::clean(4);
    std::fs::write(
        &wide,
        packets.iter().flat_map(|p| [&p.bytes[..], &[0xA5; 16]].concat()).collect::<Vec<u8>>(),
    )
    .unwrap();
    let (code, report_204) = report(&[text(&wide)]);
    assert_eq!((code, raised(&report_204)), (CLEAN, vec![]), "{report_204:#}");
    assert_eq!((&report_204["stride"], &report_204["packets"]), (&204.into(), &packets.len().into()));
}

#[test]
fn files_of_gstreamer() {
    let (_shared, Some(gst)) = (share_machine(), program("gst-launch-1.0")) else { return };
    let folder = folder();
    for (name, mux, constant) in
        [("vbr.ts", "mpegtsmux name=m", false), ("cbr.ts", "mpegtsmux name=m bitrate=2000000", true)]
    {
        let file = folder.path().join(name);
        let pipeline = format!(
            "videotestsrc num-buffers=150 ! video/x-raw,width=320,height=180,framerate=25/1 \
             ! x264enc tune=zerolatency key-int-max=25 bitrate=800 ! h264parse ! {mux} ! filesink location={} \
             audiotestsrc num-buffers=281 samplesperbuffer=1024 ! audio/x-raw,rate=48000 ! voaacenc ! aacparse ! m.",
            text(&file)
        );
        process::run("GStreamer", Command::new(&gst).arg("-q").args(pipeline.split_whitespace()), LIMIT);
        let (code, report) = report(&[text(&file)]);
        assert_eq!((code, raised(&report)), (CLEAN, vec![]), "{name}: {report:#}");
        assert_eq!(report["mux_rate"]["constant"], constant, "{name}: {report:#}");
    }
}

/// A file that was damaged on the way: bytes are missing, others were changed.
#[test]
fn a_damaged_file_as_a_person_reads_it() {
    let _shared = share_machine();
    let folder = folder();
    let path = folder.path().join("damaged.ts");
    let mut bytes = stream::bytes(&stream::clean(6));
    bytes.drain(3_000_000 / 8 * 2 + 50..3_000_000 / 8 * 2 + 5000);
    bytes[188 * 2000 + 1] |= 0x80;
    std::fs::write(&path, &bytes).unwrap();
    let (code, text_report) = analyze(&[text(&path)]);
    assert_eq!(code, ERRORS_FOUND, "{text_report}");
    for line in [
        "Verdict  ERRORS: 1.1 TS_sync_loss",
        "2.1 Transport_error",
        "bytes belong to no packet",
        "\"Eins ä\" (Tests)",
    ] {
        assert!(text_report.contains(line), "{line}: {text_report}");
    }
    assert!(!text_report.contains('\x1b'), "colour is for terminals: {text_report}");
    let (_, report) = report(&[text(&path)]);
    assert_eq!(report["verdict"], "errors");
    let first = report["indicators"].as_array().unwrap().iter().find(|entry| entry["id"] == "1.1").unwrap();
    assert!((1.4..1.6).contains(&first["first"]["seconds"].as_f64().unwrap()), "{first}");
}

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

/// RTP with error correction beside it: the stream is found, its correction left alone.
#[test]
fn captures() {
    let _shared = share_machine();
    let fec = vector("rtp_mp2t_fec_5x5.pcap");
    let (code, found) = report(&[text(&fec)]);
    assert_eq!(
        (code, &found["kind"], &found["destination"]),
        (CLEAN, &"capture".into(), &"239.1.1.2:5004".into())
    );
    let network = &found["network"];
    assert_eq!((&network["datagrams"], &network["rtp"]["packets"]), (&46.into(), &46.into()), "{found:#}");
    assert_eq!((&network["rtp"]["lost"], &network["sizes"]), (&0.into(), &serde_json::json!([[1140, 46]])));
    // ffmpeg sends the first half second at once: that two SDTs come within a millisecond says nothing.
    assert_eq!(raised(&found), Vec::<&str>::new(), "{found:#}");
    let (_, named) = report(&["--group", "239.1.1.2:5004", text(&fec)]);
    assert_eq!(named, found);

    let (code, said) = analyze(&["--group", "239.1.1.2:5006", text(&fec)]);
    assert!(code == COULD_NOT_RUN && said.contains("no transport stream"), "{said}");
    let (code, said) = analyze(&["--group", "239.9.9.9:1", text(&fec)]);
    assert!(code == COULD_NOT_RUN && said.contains("no datagram goes to 239.9.9.9:1"), "{said}");
    let (code, said) = analyze(&[text(&vector("sap_announce.pcap"))]);
    assert!(code == COULD_NOT_RUN && said.contains("no UDP destination"), "{said}");
}

/// A capture with two channels must say which, and a nanosecond one is read like any other.
#[test]
fn a_capture_of_two_channels() {
    let _shared = share_machine();
    let folder = folder();
    let path = folder.path().join("two.pcap");
    let mut file: Vec<u8> =
        [0xA1B2_3C4Du32, 0x0002_0004, 0, 0, 65535, 101].iter().flat_map(|n| n.to_le_bytes()).collect();
    let packets = stream::clean(3);
    let lost =
        500 + packets.chunks(7).skip(500).position(|seven| seven.iter().all(|p| p.what == "video")).unwrap();
    for (n, seven) in packets.chunks(7).enumerate() {
        let ns = stream::ticks(n * 7) * 1000 / 27;
        for group in [1, 2] {
            // Of the second channel one datagram is missing.
            if (group, n) == (2, lost) {
                continue;
            }
            let payload = stream::bytes(seven);
            let length = payload.len() as u16 + 28;
            let [high, low] = length.to_be_bytes();
            let mut frame = vec![0x45, 0, high, low, 0, 0, 0, 0, 16, 17, 0, 0, 10, 0, 0, 1, 239, 0, 0, group];
            let [high, low] = (length - 20).to_be_bytes();
            frame.extend([0x13, 0x88, 0x13, 0x88, high, low, 0, 0]);
            frame.extend(payload);
            let head = [
                (ns / 1_000_000_000) as u32,
                (ns % 1_000_000_000) as u32,
                frame.len() as u32,
                frame.len() as u32,
            ];
            file.extend(head.iter().flat_map(|n| n.to_le_bytes()));
            file.extend(frame);
        }
    }
    std::fs::write(&path, file).unwrap();
    let (code, said) = analyze(&[text(&path)]);
    assert!(code == COULD_NOT_RUN && said.contains("2 transport streams"), "{said}");
    assert!(said.contains("--group 239.0.0.1:5000") && said.contains("--group 239.0.0.2:5000"), "{said}");
    let (code, good) = report(&["--group", "239.0.0.1:5000", text(&path)]);
    assert_eq!((code, raised(&good)), (CLEAN, vec![]), "{good:#}");
    assert!(good["network"]["mdi"]["df_ms_max"].as_f64().unwrap() < 6.0, "{good:#}");
    let (code, lossy) = report(&["--group", "239.0.0.2:5000", text(&path)]);
    assert_eq!((code, raised(&lossy)), (ERRORS_FOUND, vec!["1.4"]), "{lossy:#}");
}

/// A sender that is there when it is listened to: ffmpeg at its own speed, plain and in RTP.
#[test]
fn live_on_a_unicast_port() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let folder = folder();
    let file = folder.path().join("cbr.ts");
    encode(&ffmpeg, &file, &CBR);
    for (format, scheme) in [("mpegts", "udp"), ("rtp_mpegts", "rtp")] {
        // A port that was free a moment ago.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let target = format!("{scheme}://127.0.0.1:{port}?pkt_size=1316");
        let mut command = Command::new(&ffmpeg);
        command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(&file);
        let sender = Process::spawn("sender", command.args(["-c", "copy", "-f", format, &target]));
        let (code, report) = report(&["--seconds", "4", &format!("{scheme}://@127.0.0.1:{port}")]);
        drop(sender);
        assert!([CLEAN, ERRORS_FOUND].contains(&code), "{report:#}");
        assert_eq!(
            (&report["kind"], &report["services"][0]["streams"][0]["codec"]),
            (&"live".into(), &"H.264".into())
        );
        let network = &report["network"];
        assert!(network["datagrams"].as_u64().unwrap() > 50, "{report:#}");
        assert_eq!(network["rtp"].is_object(), scheme == "rtp", "{report:#}");
        // On loopback nothing is lost, however busy the machine is: the receive buffer holds seconds of it.
        for id in ["rtp_loss", "1.1", "1.2", "1.4", "2.1", "2.2", "2.6", "3.4"] {
            assert!(!raised(&report).contains(&id), "{id}: {report:#}");
        }
    }
}

/// Two channels on one port in a namespace of its own: each way of naming the interface joins the group, and only its
/// datagrams come.
#[test]
fn live_groups() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let Some(network) = Network::new() else { return };
    let folder = folder();
    let inside = |program: &Path| {
        let [ip, arguments @ ..] = network.wrapper();
        let mut command = Command::new(ip);
        command.args(arguments).arg(program);
        command
    };
    let device = network.calm;
    let file = folder.path().join("cbr.ts");
    encode(&ffmpeg, &file, &CBR);
    let senders = [("232.1.1.1", "Eins"), ("239.1.1.2", "Zwei")].map(|(group, name)| {
        let mut command = inside(&ffmpeg);
        command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(&file);
        command.args(["-c", "copy", "-metadata", &format!("service_name={name}"), "-f", "mpegts"]);
        let target = format!("udp://{group}:5000?pkt_size=1316&localaddr={device}");
        Process::spawn(name, command.args(["-muxrate", "2M", &target]))
    });
    for (source, name) in [
        ("udp://calm@239.1.1.2:5000".to_owned(), "Zwei"),
        (format!("udp://{device}@239.1.1.2:5000"), "Zwei"),
        ("udp://calm@232.1.1.1:5000".to_owned(), "Eins"),
        (format!("udp://232.1.1.1:5000?localaddr={device}&sources={device}"), "Eins"),
    ] {
        let mut command = inside(Path::new(env!("CARGO_BIN_EXE_headgate")));
        let mut process =
            Process::spawn("analyze", command.args(["analyze", "--json", "--seconds", "2", &source]));
        let status = process.wait(LIMIT).unwrap();
        let said = process.output.text();
        assert!([CLEAN, ERRORS_FOUND].contains(&status.code().unwrap()), "{source}: {said}");
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(report["services"].as_array().unwrap().len(), 1, "{source}: {report:#}");
        assert_eq!(report["services"][0]["name"], name, "{source}");
        // Datagrams of the other group would break the counters of PIDs that both have.
        assert!(!raised(&report).contains(&"1.4"), "{source}: {report:#}");
    }
    // A sender that is another one's: the group is joined, and nothing comes.
    let mut command = inside(Path::new(env!("CARGO_BIN_EXE_headgate")));
    let nobody = format!("udp://232.1.1.1:5000?localaddr={device}&sources=198.51.100.1");
    let mut process = Process::spawn("analyze", command.args(["analyze", "--seconds", "1", &nobody]));
    assert_eq!(
        process.wait(LIMIT).and_then(|status| status.code()),
        Some(COULD_NOT_RUN),
        "{}",
        process.output.text()
    );
    assert!(process.output.text().contains("nothing came to"), "{}", process.output.text());
    drop(senders);
}

#[test]
fn what_cannot_be_analysed_is_said() {
    let _shared = share_machine();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = format!("udp://{}", port.local_addr().unwrap());
    let folder = folder();
    let noise = folder.path().join("noise.bin");
    std::fs::write(&noise, [0x12; 5000]).unwrap();
    for (arguments, code, say) in [
        (&["/nowhere.ts"][..], COULD_NOT_RUN, "cannot open /nowhere.ts"),
        (&[text(&noise)], COULD_NOT_RUN, "neither a transport stream nor a capture"),
        (&["--group", "239.1.1.1:1", text(&noise)], COULD_NOT_RUN, "no capture"),
        (&["--seconds", "1", "udp://127.0.0.1:9"], COULD_NOT_RUN, "nothing came to"),
        (&[&taken], COULD_NOT_RUN, "cannot listen on"),
        (&["udp://no-such-device@239.1.1.1:5000"], COULD_NOT_RUN, "no network interface `no-such-device`"),
        (&["udp://224.0.0.1:5000"], USAGE, "224.0.0.0/24"),
        (&["http://a/b.ts"], USAGE, "not understood"),
        (&["--pcr-limit", "0", "a.ts"], USAGE, "--pcr-limit"),
        (&[], USAGE, "<SOURCE>"),
    ] {
        let (exit, said) = analyze(arguments);
        assert!(
            exit == code && said.contains(say) && said.starts_with("error: "),
            "{arguments:?}: {exit}\n{said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// Names of all fields, at any depth.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, inner)| {
            found.insert(name.clone());
            fields(inner, found);
        }),
        Value::Array(list) => list.iter().for_each(|inner| fields(inner, found)),
        _ => {}
    }
}

/// The page that people read names every field and every indicator.
#[test]
fn everything_is_documented() {
    let _shared = share_machine();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/analyze.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, report) = report(&[text(&vector("rtp_mp2t_fec_5x5.pcap"))]);
    let mut names = BTreeSet::new();
    fields(&report, &mut names);
    assert!(names.len() > 60, "{names:?}");
    let unknown: Vec<_> = names
        .iter()
        .filter(|name| ![format!("`{name}`"), format!("`{name}[]`")].iter().any(|n| page.contains(n)))
        .collect();
    assert!(unknown.is_empty(), "docs/analyze.md does not name {unknown:?}");
    for entry in report["indicators"].as_array().unwrap() {
        let id = entry["id"].as_str().filter(|_| entry["priority"] != 0).unwrap_or_default();
        let row = format!("| {id} {} |", entry["name"].as_str().unwrap()).replace("|  ", "| ");
        assert!(page.contains(&row), "docs/analyze.md has no row {row}");
    }
}
