//! Four services in one channel of 20 Mbit/s, from four publishers: judged as a whole and each by itself, played, and one of them
//! killed and brought back.

use super::{Headend, PATIENCE, judged, prepare, stream_of};
use crate::channel::{MS, Report, only};
use crate::support::engine::{engine_tests, first_that_works};
use crate::support::http;
use crate::support::judge::{self, Carriage, Judge, outside};
use crate::support::lan::Receiver;
use crate::support::media;
use crate::support::poll;
use crate::support::process::{Process, program, run};
use crate::support::server::{Config, LIMIT};
use crate::support::share_machine;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

engine_tests!(services_share_a_channel);

const GROUP: &str = "239.255.7.1:5000";
const RATE: u64 = 20_000_000;
/// Seconds that all of them are on air before anything happens, in datagrams.
const SECONDS: usize = 4 * RATE as usize / 10_528;

/// One of them: what is published, and what is in the channel then.
struct Service {
    stream: &'static str,
    name: &'static str,
    id: u16,
    encode: &'static [&'static str],
    /// Type and PID of each stream.
    streams: &'static [(u8, u16)],
}

const H264: [&str; 8] = ["-c:v", "libx264", "-preset", "ultrafast", "-b:v", "3M", "-maxrate", "3M"];

const SERVICES: [Service; 4] = [
    Service {
        stream: "avc",
        name: "Eins ä",
        id: 101,
        encode: &["-bufsize", "1500k", "-c:a", "aac", "-b:a", "128k"],
        streams: &[(0x1B, 0x100), (0x0F, 0x110)],
    },
    Service {
        stream: "hevc",
        name: "Zwei",
        id: 102,
        encode: &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=error",
            "-c:a",
            "aac",
        ],
        streams: &[(0x24, 0x120), (0x0F, 0x130)],
    },
    Service {
        stream: "radio",
        name: "Drei",
        id: 103,
        encode: &["-vn", "-c:a", "aac", "-b:a", "192k"],
        streams: &[(0x0F, 0x150)],
    },
    Service {
        stream: "more",
        name: "Vier",
        id: 104,
        encode: &["-bufsize", "600k", "-c:a", "aac", "-b:a", "96k"],
        streams: &[(0x1B, 0x160), (0x0F, 0x170)],
    },
];

impl Service {
    fn file(&self, ffmpeg: &Path) -> PathBuf {
        let head: &[&str] = if self.streams[0].0 == 0x1B { &H264 } else { &[] };
        media::flv(ffmpeg, &format!("mpts-{}", self.stream), &[head, self.encode].concat())
    }

    /// Publishes, over and over, until it is stopped.
    fn publish(&self, headend: &Headend) -> Process {
        let mut command = Command::new(&headend.ffmpeg);
        command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]);
        command.arg(self.file(&headend.ffmpeg));
        Process::spawn(
            self.stream,
            command.args(["-c", "copy", "-f", "flv", &headend.server.rtmp_url(self.stream)]),
        )
    }

    fn clock(&self) -> u16 {
        self.streams[0].1
    }

    /// The position of this service, of those above.
    fn number(&self) -> u16 {
        self.id - 101
    }

    /// What a receiver of it takes, held to the gates.
    fn judged(&self, bytes: &[u8]) -> Report {
        let first = 0x100 + self.number() * 0x20;
        let its = |pid: u16| pid == 0x1000 + self.number() || (first..first + 0x20).contains(&pid);
        let report = judged(&only(bytes, its), RATE);
        let streams: Vec<(u8, u16)> = report.streams.iter().map(|(kind, pid, _)| (*kind, *pid)).collect();
        assert_eq!(streams, self.streams, "{}", self.name);
        report
    }

    fn up(&self, headend: &Headend) -> bool {
        let labels = ["channel=\"mpts\"".to_owned(), format!("service=\"{}\"", self.id)];
        let labels = labels.each_ref().map(String::as_str);
        headend.server.metrics().sum("headgate_service_source_up", &labels) == 1.0
    }

    /// Waits until its source brings media.
    fn await_up(&self, headend: &Headend) {
        poll(self.name, PATIENCE, || self.up(headend).then_some(()));
    }

    fn counted(&self, headend: &Headend, metric: &str) -> f64 {
        let label = format!("service=\"{}\"", self.id);
        headend.server.metrics().sum(&format!("headgate_service_{metric}_total"), &[&label])
    }
}

fn table() -> String {
    let service = |it: &Service| {
        format!(
            "  {{ source = \"live/{}\", service_name = \"{}\", service_id = {}, bitrate = 4_000_000 }},\n",
            it.stream, it.name, it.id
        )
    };
    let services: String = SERVICES.iter().map(service).collect();
    format!(
        "[[channel]]\nname = \"mpts\"\nbitrate = {RATE}\nprovider = \"Tests\"\nnit = true\ntdt = true\n\
         to = [\"udp://{GROUP}\"]\nservices = [\n{services}]\n"
    )
}

/// Ends a capture whatever happens: a thread that goes on would keep a test from failing.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Datagrams from the first one on, taken while the test does other things.
fn captured(receiver: &Receiver, over: &AtomicBool) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !over.load(Ordering::Relaxed) {
        all.push(receiver.next());
    }
    all
}

fn services_share_a_channel(config: Config) {
    let Some(prepared) = prepare() else { return };
    let receiver = prepared.0.receiver(GROUP);
    for service in &SERVICES {
        service.file(&prepared.1);
    }
    let headend = Headend::start_all(config, prepared, &[table()]);
    let over = AtomicBool::new(false);
    let datagrams = std::thread::scope(|scope| {
        let (capture, ended) = (scope.spawn(|| captured(&receiver, &over)), Ended(&over));
        let mut publishers: Vec<Process> = SERVICES.iter().map(|service| service.publish(&headend)).collect();
        SERVICES.iter().for_each(|service| service.await_up(&headend));
        named(&headend);
        told(&headend);
        // The second one dies on the spot, and comes back.
        drop(publishers.remove(1));
        poll("the loss", LIMIT, || (!SERVICES[1].up(&headend)).then_some(()));
        headend.await_source(false);
        // A machine that holds the others up lets them go on.
        [0, 2, 3].iter().for_each(|n| SERVICES[*n].await_up(&headend));
        let again = SERVICES[1].publish(&headend);
        SERVICES[1].await_up(&headend);
        let sent = || headend.server.metrics().sum("headgate_channel_datagrams_total", &[]);
        let from = sent();
        poll("some seconds more", PATIENCE, || (sent() > from + SECONDS as f64).then_some(()));
        drop((again, publishers));
        drop(ended);
        capture.join().unwrap()
    });
    assert!(datagrams.iter().all(|datagram| datagram.len() == 1316));
    let held_up = headend.server.metrics().sum("headgate_channel_jumps_total", &[]) > 0.0;
    let bytes = stream_of(&datagrams, 0);
    for service in &SERVICES {
        let report = service.judged(&bytes);
        assert_eq!(report.pcr_pids.last(), Some(&service.clock()), "{}", service.name);
        let lost = service.counted(&headend, "source_losses");
        if service.number() == 1 {
            assert!(lost >= 1.0);
            continue;
        }
        if held_up || lost > 0.0 || service.counted(&headend, "lag_skips") > 0.0 {
            // The machine held something up.
            continue;
        }
        assert_eq!(service.counted(&headend, "units_dropped"), 0.0, "{}", service.name);
        assert_eq!(service.counted(&headend, "seams"), 1.0, "{}", service.name);
        for (pid, units) in &report.units {
            let gap = units.windows(2).map(|two| two[1].dts - two[0].dts).max().unwrap_or(0);
            assert!(gap < 700 * MS, "{}: {} ms without {pid:#x}", service.name, gap / MS);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("channel.ts");
    std::fs::write(&file, &bytes).unwrap();
    decoded(&headend, &file);
    if !held_up {
        judged_as_a_whole(&datagrams, &file);
    }
    let log = headend.server.stop();
    assert!(log.contains("source=live/hevc") && log.contains("channel's source is lost"), "{log}");
}

/// What lists and players are told of it.
fn told(headend: &Headend) {
    let (status, said) = http::get(headend.server.admin, "/api/v1/channels");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &said["channels"][0]["services"][0]["name"]), (200, &"Eins ä".into()));
    assert_eq!(said["channels"][0]["services"][3]["source"], "live/more", "{said:#}");
}

/// ffprobe finds all of them by name, on the group.
fn named(headend: &Headend) {
    let Some(ffprobe) = program("ffprobe") else { return };
    let mut command = headend.lan.command(&ffprobe);
    command.args(["-v", "error", "-of", "compact=p=0"]);
    command.args(["-show_entries", "program=program_num,nb_streams:program_tags=service_name"]);
    let said = run("ffprobe", command.arg(Headend::ffmpeg_url(GROUP)), PATIENCE);
    for service in &SERVICES {
        assert!(said.contains(&format!("program_num={}", service.id)), "{said}");
        assert!(said.contains(&format!("service_name={}", service.name)), "{said}");
    }
}

/// ffmpeg decodes each of them out of all.
fn decoded(headend: &Headend, file: &Path) {
    for service in &SERVICES {
        let mut command = Command::new(&headend.ffmpeg);
        command.args(["-nostdin", "-v", "error", "-i"]).arg(file);
        command.args(["-map", &format!("0:p:{}", service.id), "-f", "framehash", "-"]);
        let frames = run("ffmpeg", &mut command, PATIENCE);
        let of =
            |stream: usize| frames.lines().filter(|line| line.starts_with(&format!("{stream},"))).count();
        let counts: Vec<usize> = (0..=service.streams.len()).map(of).collect();
        let (last, each) = counts.split_last().unwrap();
        assert!(*last == 0 && each.iter().all(|count| *count > 40), "{}: {counts:?}", service.name);
    }
}

/// The independent judge on the time in which all are on air, and judges by other hands.
fn judged_as_a_whole(datagrams: &[Vec<u8>], file: &Path) {
    let programs = SERVICES.iter().map(|service| judge::Program {
        number: service.id,
        pmt_pid: 0x1000 + service.number(),
        pcr_pid: service.clock(),
        streams: service.streams.iter().map(|(kind, pid)| judge::Stream::new(*pid, *kind)).collect(),
        service: Some(("Tests".to_owned(), service.name.to_owned())),
    });
    let limits = judge::Limits { pts_gap_ms: 10_000.0, ..judge::Limits::default() };
    let channel = judge::Channel {
        rate_bps: RATE,
        programs: programs.collect(),
        sdt: true,
        nit: true,
        tdt: true,
        limits,
    };
    let limits = channel.limits.clone();
    let mut judge = Judge::new(channel);
    let each = Duration::from_nanos(10_528 * 1_000_000_000 / RATE);
    let last = &datagrams[datagrams.len() - SECONDS..];
    for (n, datagram) in last.iter().enumerate() {
        judge.datagram(Carriage::Udp, each * n as u32, datagram);
    }
    judge.finish().assert_clean("the channel");
    std::fs::write(file, stream_of(last, 0)).unwrap();
    if let Some(report) = outside::tsreport(file) {
        assert_eq!(report.beyond(&limits), [""; 0], "{}", report.text);
    }
    if let Some(findings) = outside::conformance(file, RATE) {
        let grave: Vec<_> =
            outside::grave(&findings).into_iter().filter(|found| found.indicator != "PTS_error").collect();
        assert!(grave.is_empty(), "{grave:?}");
    }
}

/// A channel whose services ask for more than it has is a mistake that is said before anything starts.
#[test]
fn shares_that_do_not_fit_are_refused() {
    let _shared = share_machine();
    let table = table().replace("4_000_000", "5_000_000").replace("udp://", "udp://lo@");
    let (mut process, _folder) = first_that_works().table(&table).spawn();
    assert!(!process.wait(LIMIT).unwrap().success());
    let said = process.output.text();
    assert!(said.contains("the services ask for 20000000 of 20000000 bit/s"), "{said}");
}
