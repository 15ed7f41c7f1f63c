//! Channels on a network of their own: what leaves the gateway, held to the gates of a headend by position, and played by
//! real receivers.
//!
//! Nothing here asserts when a datagram came: what is judged is a capture from the channel's first datagram on.

mod boxes;
mod faults;
mod gates;
mod receivers;
mod repairs;
mod services;
mod switch;
mod switchover;
mod systems;

use crate::channel::{Report, read_with_gaps};
use crate::support::judge::{self, outside};
use crate::support::lan::{BOX, Lan};
use crate::support::media;
use crate::support::process::{self, Process, static_ffmpeg};
use crate::support::server::{Config, Server};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Limit of one receiver.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rate of every channel here, in bits a second.
const RATE: u64 = 2_000_000;
/// Pictures and sound of half that.
const ENCODE: [&str; 14] = [
    "-c:v", "libx264", "-preset", "veryfast", "-b:v", "1M", "-maxrate", "1M", "-bufsize", "500k", "-c:a",
    "aac", "-b:a", "96k",
];
/// Types of pictures in a program map.
const H264: u8 = 0x1B;
const HEVC: u8 = 0x24;
/// PIDs of its first tracks.
const PICTURES: u16 = 0x100;
const SOUND: u16 = 0x110;

/// A gateway with one channel, `one`, of the stream `live/one`, on a network of its own.
struct Headend {
    // In this order they end.
    publisher: Option<Process>,
    server: Server,
    lan: Lan,
    ffmpeg: PathBuf,
    file: PathBuf,
}

/// What a test needs before its gateway starts; `None` (and a reported skip) where it cannot be had.
fn prepare() -> Option<(Lan, PathBuf)> {
    let ffmpeg = static_ffmpeg()?;
    Some((Lan::new()?, ffmpeg))
}

impl Headend {
    /// Starts it with a channel to these places. Receivers of [`Lan::receiver`] that were there before get all of it.
    fn start(config: Config, prepared: (Lan, PathBuf), to: &[&str]) -> Headend {
        let identity =
            "service_name = \"Eins\"\nprovider = \"Tests\"\nlanguages = [\"deu\"]\nnit = true\ntdt = true\n";
        Headend::start_all(config, prepared, &[channel("one", RATE, to) + identity])
    }

    /// Starts it with these channels, each a table of the configuration.
    fn start_all(config: Config, (lan, ffmpeg): (Lan, PathBuf), channels: &[String]) -> Headend {
        let file = media::flv(&ffmpeg, "headend", &ENCODE);
        let config = config.wrapped(&lan.network.wrapper()).reached_at(lan.network.calm);
        let config = config.set("headend.interface", "\"eth1\"");
        let server = channels.iter().fold(config, |config, table| config.table(table)).start();
        Headend { publisher: None, server, lan, ffmpeg, file }
    }

    /// Publishes, over and over, until it is stopped.
    fn publish(&mut self) {
        let mut command = Command::new(&self.ffmpeg);
        command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(&self.file);
        command.args(["-c", "copy", "-f", "flv", &self.server.rtmp_url("one")]);
        self.publisher = Some(Process::spawn("publisher", &mut command));
    }

    /// The publisher ends on the spot.
    fn unpublish(&mut self) {
        self.publisher = None;
    }

    /// Waits until the channel's source brings media, or does no more.
    fn await_source(&self, up: bool) {
        self.server.await_metrics("the channel's source", |metrics| {
            metrics.sum("headgate_channel_source_up", &[]) == f64::from(u8::from(up))
        });
    }

    /// `udp://` of a group as ffmpeg in a box takes it.
    fn ffmpeg_url(group: &str) -> String {
        // A receiver that was kept waiting by its machine must not lose what the kernel kept.
        format!("udp://{group}?localaddr={BOX}&timeout=30000000&buffer_size=8000000&fifo_size=100000")
    }
}

/// Pictures and sound as a transport stream of [`RATE`].
fn transport_stream(ffmpeg: &Path) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rate = RATE.to_string();
    let mut remux = Command::new(ffmpeg);
    remux.args(["-v", "error", "-y", "-i"]).arg(media::flv(ffmpeg, "headend", &ENCODE));
    remux.args(["-c", "copy", "-f", "mpegts", "-muxrate", &rate]).arg(file.path());
    process::run("remuxer", &mut remux, PATIENCE);
    std::fs::read(file.path()).unwrap()
}

/// A channel of `live/one`.
fn channel(name: &str, rate: u64, to: &[&str]) -> String {
    format!("[[channel]]\nname = \"{name}\"\nsource = \"live/one\"\nbitrate = {rate}\nto = {to:?}\n")
}

/// The transport stream of these datagrams.
fn stream_of(datagrams: &[Vec<u8>], head: usize) -> Vec<u8> {
    datagrams.iter().flat_map(|datagram| &datagram[head..]).copied().collect()
}

/// Packets of a PID.
fn packets_of(datagram: &[u8], pid: u16) -> usize {
    let is = |packet: &&[u8]| u16::from_be_bytes([packet[1], packet[2]]) & 0x1FFF == pid;
    datagram.chunks(188).filter(is).count()
}

/// Holds a capture of a channel of this rate, from its first datagram on, to the gates. Where the machine has held the gateway up for more than a
/// second it has left datagrams out: the clock says where, and by how much.
fn judged(bytes: &[u8], rate: u64) -> Report {
    let mut gaps: Vec<(usize, i64)> = Vec::new();
    for (n, packet) in bytes.chunks(188).enumerate() {
        let Some(pcr) = pcr_of(packet).filter(|_| packet[5] & 0x80 != 0) else { continue };
        // It counts from the channel's first packet.
        let place = (pcr as f64 * rate as f64 / (1504.0 * 27e6)).round() as i64;
        let gone: i64 = gaps.iter().map(|(_, gone)| gone).sum();
        let more = place - n as i64 - gone;
        gaps.extend((more > 0).then_some((n, more)));
    }
    let report = read_with_gaps(bytes, rate, &gaps);
    // A short one holds some tables once, or never.
    let twice: Vec<u8> = report.tables.keys().copied().collect();
    assert!([0x00, 0x02].iter().all(|table| twice.contains(table)), "{twice:x?}");
    report.holds_gates(&twice);
    report
}

/// What was ordered, for the independent judge: pictures of this type, and AAC. The service id is a hash of the name.
fn ordered(rate_bps: u64, number: u16, pictures: u8) -> judge::Channel {
    let program = judge::Program {
        number,
        pmt_pid: 0x1000,
        pcr_pid: PICTURES,
        streams: vec![judge::Stream::new(PICTURES, pictures), judge::Stream::new(SOUND, 0x0F)],
        service: Some(("Tests".to_owned(), "Eins".to_owned())),
    };
    judge::Channel { nit: true, ..judge::Channel::single(rate_bps, program) }
}

/// The service's id, from the first PAT: behind the network's own entry.
fn service(bytes: &[u8]) -> u16 {
    let pat = bytes.chunks(188).find(|packet| packet[1..3] == [0x40, 0]).expect("a PAT");
    u16::from_be_bytes([pat[17], pat[18]])
}

/// The independent judge, and judges by other hands.
fn judged_by_others(who: &str, datagrams: &[Vec<u8>], rate_bps: u64, pictures: u8, limits: judge::Limits) {
    let bytes = stream_of(datagrams, 0);
    let has_pauses = limits.pts_gap_ms > judge::Limits::default().pts_gap_ms;
    let channel = judge::Channel { limits: limits.clone(), ..ordered(rate_bps, service(&bytes), pictures) };
    let mut judge = judge::Judge::new(channel);
    let each = Duration::from_nanos(10_528 * 1_000_000_000 / rate_bps);
    for (n, datagram) in datagrams.iter().enumerate() {
        judge.datagram(judge::Carriage::Udp, each * n as u32, datagram);
    }
    judge.finish().assert_clean(who);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("channel.ts");
    std::fs::write(&file, &bytes).unwrap();
    if let Some(report) = outside::tsreport(&file) {
        assert_eq!(report.beyond(&limits), [""; 0], "{who}: {}", report.text);
    }
    if let Some(findings) = outside::conformance(&file, rate_bps) {
        let mut grave = outside::grave(&findings);
        grave.retain(|finding| !(has_pauses && finding.indicator == "PTS_error"));
        assert!(grave.is_empty(), "{who}: {grave:?}");
    }
}

/// The clock in a packet, in ticks of 27 MHz.
fn pcr_of(packet: &[u8]) -> Option<i64> {
    if packet[3] & 0x20 == 0 || packet[4] < 7 || packet[5] & 0x10 == 0 {
        return None;
    }
    let all = packet[6..12].iter().fold(0i64, |all, byte| all << 8 | i64::from(*byte));
    Some((all >> 15) * 300 + (all & 0x1FF))
}

/// Steps of continuity counters that are none (ISO 13818-1 section 2.4.3.3), behind the first so many packets.
fn counter_faults(bytes: &[u8], settled: usize) -> usize {
    let mut counters = BTreeMap::new();
    let mut faults = 0;
    for (n, packet) in bytes.chunks(188).enumerate() {
        let pid = u16::from_be_bytes([packet[1], packet[2]]) & 0x1FFF;
        if pid == 0x1FFF {
            continue;
        }
        let (counter, payload) = (packet[3] & 15, packet[3] & 0x10 != 0);
        let last = counters.insert(pid, counter);
        let expected = |last: u8| if payload { (last + 1) & 15 } else { last };
        faults += usize::from(n >= settled && last.is_some_and(|last| expected(last) != counter));
    }
    faults
}
