//! Streams that come as transport streams in datagrams, from real senders to real players.

mod air;
mod hostile;
mod indicators;
mod network;
mod paths;
mod players;

use crate::support::http::FlvPlayer;
use crate::support::media::{self, Join, Streams};
use crate::support::process::Process;
use crate::support::server::{Config, Server};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Limit of one sender or player.
const LIMIT: Duration = Duration::from_secs(60);
/// How much faster than real time files are sent.
const PACE: &str = "1.5";

/// Pictures with B-frames, and sound.
const H264: [&str; 8] = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-c:a", "aac"];

/// A configuration with one input of the stream `live/in`; `keys` stand in its table.
fn config(from: &[&str], keys: &str) -> Config {
    with_input(Config::new(), from, keys)
}

/// Senders on a busy machine pause for longer than an operator would wait, so they may here.
fn with_input(config: Config, from: &[&str], keys: &str) -> Config {
    let patience = if keys.contains("failover_ms") { "" } else { "failover_ms = 3000" };
    let table = format!("[[input]]\nstream = \"live/in\"\nfrom = {from:?}\n{patience}\n{keys}");
    config
        // A sender that has ended is missed soon, so that players end.
        .set("publish.silence_timeout_ms", "5000")
        .set("publish.takeover_after_ms", "3000")
        .table(&table)
}

/// A player of the input's stream that fails when nothing comes, and does not hang.
fn watch(server: &Server) -> FlvPlayer {
    let socket = TcpStream::connect(server.http).expect("connect");
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    FlvPlayer::on(socket, server.http, "/live/in.flv")
}

/// Ports of UDP that are free: an even one, and those two and four above it.
fn port() -> u16 {
    loop {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = one.local_addr().unwrap().port();
        let others = [2, 4].map(|step| UdpSocket::bind(("127.0.0.1", port.saturating_add(step))));
        if port.is_multiple_of(2) && others.iter().all(Result::is_ok) {
            return port;
        }
    }
}

fn h264_file(ffmpeg: &Path) -> PathBuf {
    media::flv(ffmpeg, "input", &H264)
}

/// Sends `file` with `arguments` in front of the URL.
fn send(ffmpeg: &Path, file: &Path, arguments: &[&str], url: &str) -> Process {
    let mut command = Command::new(ffmpeg);
    sender(&mut command, file, arguments, url)
}

/// The same with a command that ends by executing ffmpeg.
fn sender(command: &mut Command, file: &Path, arguments: &[&str], url: &str) -> Process {
    command.args(["-nostdin", "-v", "error", "-readrate", PACE, "-i"]).arg(file);
    command.args(["-map", "0", "-c", "copy"]).args(arguments).arg(url);
    Process::spawn(&format!("sender to {url}"), command)
}

/// Sends `file` again and again, at its own speed.
fn send_for_ever(ffmpeg: &Path, file: &Path, format: &str, url: &str) -> Process {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(file);
    command.args(["-map", "0", "-c", "copy", "-f", format, url]);
    Process::spawn(&format!("sender to {url}"), &mut command)
}

/// A player that hashes what it gets. ffmpeg ends when the server ends the stream.
fn play(ffmpeg: &Path, url: &str) -> Process {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-i", url]).args(media::HASH).arg("-");
    Process::spawn(&format!("player of {url}"), &mut command)
}

fn played(player: Process) -> Streams {
    media::parse_hashes(&player.finish(LIMIT))
}

/// Packets at the end of a stream that ffmpeg keeps to itself when it sends RTP: what does not fill a datagram any more, and
/// a PES packet of sound before it.
const RTP_TAIL: usize = 16;

/// Holds what a player got against the file that was sent, from its first packet to its last.
fn compare(who: &str, ffmpeg: &Path, file: &Path, got: Streams, scheme: &str) {
    let (mut sent, mut got) = (media::hashes(ffmpeg, file), got);
    for (codec, (_, packets)) in sent.iter_mut().filter(|_| scheme == "rtp") {
        let all = packets.len();
        packets.truncate(got.get(codec).map_or(0, |(_, got)| got.len()));
        assert!(packets.len() + RTP_TAIL >= all, "{who}: {codec}: {} packets of {all}", packets.len());
    }
    for streams in [&mut sent, &mut got] {
        // A header of ADTS says less than a configuration may.
        streams.entry("aac".to_owned()).and_modify(|(config, _)| *config = None);
    }
    media::compare(who, file, &sent, &got, Join::Before);
}

/// A counter or gauge of the input `live/in`.
fn figure(server: &Server, name: &str, labels: &[&str]) -> f64 {
    server.metrics().sum(&format!("headgate_input_{name}"), labels)
}

/// Waits until a figure of the input is at least `least`.
fn await_figure(server: &Server, name: &str, labels: &[&str], least: f64) {
    let family = format!("headgate_input_{name}");
    server.await_metrics(&format!("{family} {labels:?} of {least}"), |metrics| {
        metrics.sum(&family, labels) >= least
    });
}
