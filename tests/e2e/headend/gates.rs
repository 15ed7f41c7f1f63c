//! The gates of a headend by position: every rate of every way in, judged by three hands.

use super::{
    ENCODE, H264, HEVC, Headend, PICTURES, channel, judged_by_others, ordered, packets_of, prepare, service,
    stream_of,
};
use crate::support::engine::first_that_works;
use crate::support::judge::{Carriage, Judge, Limits};
use crate::support::media;
use crate::support::process::Process;
use crate::support::receiver::Receiver;
use crate::support::share_machine;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const RATES: [u64; 4] = [2_000_000, 4_000_000, 8_000_000, 20_000_000];
/// Length of a capture, in seconds.
const SECONDS: u64 = 3;
/// Captures of a machine that holds the gateway or its source up, until one is whole.
const TRIES: usize = 5;
/// Bytes of an RTP header.
const RTP_HEAD: usize = 12;
/// Where the input listens that one of them comes by.
const PORT: u16 = 5100;
/// HEVC of half of the slowest channel.
const ENCODE_HEVC: [&str; 12] = [
    "-c:v",
    "libx265",
    "-preset",
    "ultrafast",
    "-b:v",
    "1M",
    "-x265-params",
    "log-level=1:vbv-maxrate=1000:vbv-bufsize=500",
    "-c:a",
    "aac",
    "-b:a",
    "96k",
];

#[test]
fn every_rate_of_rtmp() {
    every_rate("RTMP", H264, &ENCODE, "headend", "flv");
}

#[test]
fn every_rate_of_enhanced_rtmp() {
    every_rate("Enhanced RTMP", HEVC, &ENCODE_HEVC, "headend-hevc", "flv");
}

#[test]
fn every_rate_of_datagrams() {
    every_rate("UDP", H264, &ENCODE, "headend", "mpegts");
}

/// A stream that comes one way leaves as four channels beside each other.
fn every_rate(way: &str, pictures: u8, encode: &[&str], name: &str, format: &str) {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let (ffmpeg, calm) = (prepared.1.clone(), prepared.0.network.calm);
    let group = |rate: u64| format!("239.255.1.{}:5000", rate / 1_000_000);
    let rtp = |rate: u64| format!("239.255.2.{}:5004", rate / 1_000_000);
    let identity = "service_name = \"Eins\"\nprovider = \"Tests\"\nnit = true\ntdt = true\n";
    let mut tables = RATES
        .map(|rate| {
            let to = [format!("udp://{}", group(rate)), format!("rtp://{}", rtp(rate))];
            channel(&format!("c{rate}"), rate, &to.each_ref().map(String::as_str)) + identity
        })
        .to_vec();
    if format == "mpegts" {
        tables.push(format!("[[input]]\nstream = \"live/one\"\nfrom = [\"udp://{calm}:{PORT}\"]\n"));
    }
    let headend = Headend::start_all(first_that_works(), prepared, &tables);
    let url = match format {
        "mpegts" => format!("udp://{calm}:{PORT}?pkt_size=1316"),
        _ => headend.server.rtmp_url("one"),
    };
    let _publisher = publish(&ffmpeg, &media::flv(&ffmpeg, name, encode), format, &url);
    let on_air = RATES.len() as f64;
    headend
        .server
        .await_metrics("the channels' source", |m| m.sum("headgate_channel_source_up", &[]) == on_air);
    for _ in 0..TRIES {
        let held_up = || {
            let metrics = headend.server.metrics();
            let of = |name: &str| metrics.sum(&format!("headgate_channel_{name}_total"), &[]);
            ["jumps", "lag_skips", "source_losses", "units_late", "units_dropped"].map(of)
        };
        let before = held_up();
        // All at once: the fastest fills its socket's buffer while another one is read.
        let captured = std::thread::scope(|scope| {
            let places =
                RATES.iter().flat_map(|rate| [(group(*rate), 0, *rate), (rtp(*rate), RTP_HEAD, *rate)]);
            let one = |(place, head, rate): (String, usize, u64)| {
                let receiver = headend.lan.receiver(&place);
                scope.spawn(move || capture(&receiver, head, rate))
            };
            let threads: Vec<_> = places.map(one).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        if held_up() != before {
            continue;
        }
        for (two, rate) in captured.chunks(2).zip(RATES) {
            judged_by_others(&format!("{way} at {rate}"), &two[0], rate, pictures, Limits::default());
            let order = ordered(rate, service(&stream_of(&two[1], RTP_HEAD)), pictures);
            let mut judge = Judge::new(order);
            let each = Duration::from_nanos(10_528 * 1_000_000_000 / rate);
            for (n, datagram) in two[1].iter().enumerate() {
                judge.datagram(Carriage::Rtp, each * n as u32, datagram);
            }
            judge.finish().assert_clean(&format!("{way} at {rate} by RTP"));
        }
        headend.server.stop();
        return;
    }
    panic!("the gateway or its source is held up again and again: {}", headend.server.log());
}

/// Publishes a file over and over.
fn publish(ffmpeg: &Path, file: &Path, format: &str, url: &str) -> Process {
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(file);
    Process::spawn("publisher", command.args(["-c", "copy", "-f", format, url]))
}

/// So much of a channel behind its first pictures; `head`: bytes in front of packets.
fn capture(receiver: &Receiver, head: usize, rate: u64) -> Vec<Vec<u8>> {
    // One packet may be the clock.
    receiver.until(|all| all.last().is_some_and(|datagram| packets_of(&datagram[head..], PICTURES) > 1));
    receiver.take((SECONDS * rate / 10_528) as usize)
}
