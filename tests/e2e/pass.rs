//! What is passed on as it came: every packet of a sender, to viewers of HTTP-TS and by channels.

mod channels;
mod programs;
mod relay;

use crate::support::broadcast::{self, EIT, FRAMES, NO_FRAMES, NULL, PRIVATE, RATE, TELETEXT, is_place, pid};
use crate::support::engine::engine_tests;
use crate::support::http::{self, request};
use crate::support::poll;
use crate::support::process::{Process, program, static_ffmpeg};
use crate::support::server::{Config, LIMIT, Server};
use std::collections::HashMap;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What takes seconds on a machine with time to spare.
const PATIENCE: Duration = Duration::from_secs(120);

engine_tests!(
    viewers_get_every_packet_as_it_came,
    what_frames_cannot_carry_is_passed_on,
    a_viewer_that_falls_behind_skips_to_a_place_with_its_tables,
    another_origin_is_announced,
);

/// A port of this machine that is free.
fn port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn config(config: Config, from: &[SocketAddr], keys: &str) -> Config {
    let from: Vec<String> = from.iter().map(|from| format!("udp://{from}")).collect();
    let table = format!("[[input]]\nstream = \"live/in\"\nfrom = {from:?}\n{keys}");
    config
        // A sender on a busy machine pauses for long.
        .set("publish.silence_timeout_ms", "5000")
        .set("publish.takeover_after_ms", "1000")
        .set("publish.republish_grace_ms", "500")
        .table(&table)
}

fn await_on_air(server: &Server) {
    server.await_metrics("the input on air", |metrics| metrics.sum("headgate_input_on_air", &[]) == 1.0);
}

fn sender() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn packets(bytes: &[u8]) -> &[[u8; 188]] {
    let (packets, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "{} bytes that are no packet", rest.len());
    packets
}

/// Fails where a counter goes wrong that nothing announced.
#[track_caller]
fn counters_hold(packets: &[[u8; 188]]) {
    let mut last: HashMap<u16, u8> = HashMap::new();
    for (at, packet) in packets.iter().enumerate().filter(|(_, packet)| pid(&packet[..]) != NULL) {
        let (counter, pid) = (packet[3] & 0x0F, pid(packet));
        let jumps = packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0;
        let expected = last.insert(pid, counter).map(|last| (last + (packet[3] >> 4 & 1)) & 15);
        assert!(
            jumps || expected.is_none_or(|e| e == counter),
            "packet {at} of {pid:#x}: {counter} not {expected:?}"
        );
    }
}

/// Holds what a viewer got against what was sent: tables in front of a place, then every packet to the last.
#[track_caller]
fn from_a_place_on(got: &[u8], sent: &[u8]) {
    let (got, sent) = (packets(got), packets(sent));
    let opening = got.iter().position(|packet| is_place(packet)).expect("a place to begin at");
    let pids: Vec<u16> = got[..opening].iter().map(|packet| pid(packet)).collect();
    assert_eq!(pids, [0, 0x1000], "PAT and PMT");
    assert!(got[..opening].iter().all(|table| sent.contains(table)), "as they came");
    let begin = sent.iter().position(|packet| *packet == got[opening]).expect("a packet that was sent");
    let rest = &got[opening..];
    assert!(rest.len() <= sent.len() - begin, "more than was sent");
    let wrong = rest.iter().zip(&sent[begin..]).position(|(got, sent)| got != sent);
    assert_eq!(wrong, None, "packet of {} from {begin} on", sent.len());
    assert_eq!(rest.len(), sent.len() - begin, "to the last packet");
    for wanted in [EIT, TELETEXT, PRIVATE, NULL] {
        assert!(rest.iter().any(|packet| pid(packet) == wanted), "{wanted:#x}");
    }
    counters_hold(got);
}

fn viewers_get_every_packet_as_it_came(engine: Config) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let (sent, to) = (broadcast::broadcast(&ffmpeg, &FRAMES, 8), port());
    let server = config(engine, &[to], "").start();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| broadcast::send(&sender(), to, &sent, || false));
        await_on_air(&server);
        let viewers = [0, 1].map(|_| scope.spawn(|| request(server.http, "GET", "/live/in.ts").body()));
        // Frames go on beside it.
        let flv = request(server.http, "GET", "/live/in.flv");
        assert_eq!(flv.status, 200);
        for viewer in viewers {
            from_a_place_on(&viewer.join().unwrap(), &sent);
        }
        assert!(flv.body().len() > 100_000);
        sending.join().unwrap();
    });
    assert!(server.metrics().sum("headgate_runs_total", &[]) > 100.0);
    server.stop();
}

fn what_frames_cannot_carry_is_passed_on(engine: Config) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let (sent, to) = (broadcast::broadcast(&ffmpeg, &NO_FRAMES, 12), port());
    let server = config(engine, &[to], "").start();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| broadcast::send(&sender(), to, &sent, || false));
        await_on_air(&server);
        let viewer = scope.spawn(|| request(server.http, "GET", "/live/in.ts").body());
        // Nobody else gets anything, and hears why.
        let (status, why) = http::get(server.http, "/live/in.flv");
        assert!(status == 415 && why.contains("watch it as .ts"), "{status} {why}");
        let got = viewer.join().unwrap();
        from_a_place_on(&got, &sent);
        if let Some(ffprobe) = program("ffprobe") {
            let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            std::fs::write(file.path(), &got).unwrap();
            let mut command = Command::new(ffprobe);
            command
                .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
                .arg(file.path());
            let codecs = Process::spawn("ffprobe", &mut command).finish(LIMIT);
            assert!(codecs.contains("mpeg2video") && codecs.contains("mp2"), "{codecs}");
        }
        sending.join().unwrap();
    });
    server.stop();
}

/// A sender that goes on for as long as the test likes: the pictures' counters and all others run on, its times do not.
fn endless(bytes: &[u8], times: usize) -> Vec<u8> {
    let mut last: HashMap<u16, u8> = HashMap::new();
    let mut all = bytes.repeat(times);
    for packet in all.as_chunks_mut::<188>().0 {
        let counter = last.entry(pid(&packet[..])).or_insert(0);
        *counter = (*counter + (packet[3] >> 4 & 1)) & 15;
        packet[3] = packet[3] & 0xF0 | *counter;
    }
    all
}

fn a_viewer_that_falls_behind_skips_to_a_place_with_its_tables(engine: Config) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let sent = endless(&broadcast::broadcast(&ffmpeg, &NO_FRAMES, 4), 40);
    let to = port();
    let server = config(engine, &[to], "").set("fanout.max_lag_ms", "800").start();
    let (stop, socket) = (AtomicBool::new(false), sender());
    let (body, bytes) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            // Ten times as fast as it should: sockets hold much.
            for (number, datagram) in sent.chunks(1316).enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return number * 1316;
                }
                socket.send_to(datagram, to).unwrap();
                if number % 8 == 0 {
                    std::thread::sleep(Duration::from_micros(1316 * 8 * 8 * 1_000_000 / RATE / 10));
                }
            }
            sent.len()
        });
        await_on_air(&server);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.connect(&server.http.into()).unwrap();
        let mut response = http::send(socket.into(), server.http, "GET", "/live/in.ts");
        let mut first = vec![0; 100_000];
        response.socket.read_exact(&mut first).unwrap();
        response.early.extend(first);
        let runs = |server: &Server| server.metrics().sum("headgate_runs_total", &[]);
        let from = runs(&server);
        poll("two seconds of packets", PATIENCE, || (runs(&server) >= from + 3000.0).then_some(()));
        let reading = scope.spawn(|| response.body());
        server.await_metrics("a skip", |m| m.sum("headgate_lag_skips_total", &["http_ts"]) >= 1.0);
        let from = runs(&server);
        poll("what follows", PATIENCE, || (runs(&server) >= from + 1000.0).then_some(()));
        stop.store(true, Ordering::Relaxed);
        (reading.join().unwrap(), sending.join().unwrap())
    });
    let (got, sent) = (packets(&body), packets(&sent[..bytes]));
    counters_hold(got);
    // Between announcements every packet is the next one.
    let is_jump = |packet: &[u8; 188]| packet[3] & 0x30 == 0x20 && packet[5] & 0x80 != 0;
    let pieces: Vec<&[[u8; 188]]> = got.split(is_jump).filter(|piece| !piece.is_empty()).collect();
    assert!(pieces.len() >= 2, "no jump");
    let mut at = 0;
    for piece in pieces {
        let begin = piece.iter().position(|packet| is_place(packet)).expect("a place");
        let pids: Vec<u16> = piece[..begin].iter().map(|packet| pid(packet)).collect();
        assert_eq!(pids, [0, 0x1000], "tables in front of a place");
        let rest = &piece[begin..];
        at += sent[at..].windows(rest.len()).position(|window| window == rest).expect("as it was sent")
            + rest.len();
    }
    server.stop();
}

fn another_origin_is_announced(engine: Config) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let one = broadcast::broadcast(&ffmpeg, &FRAMES, 20);
    // The other encoder's counters are elsewhere.
    let mut other = one.clone();
    for packet in other.as_chunks_mut::<188>().0 {
        packet[3] = packet[3] & 0xF0 | (packet[3] & 15).wrapping_add(5) & 15;
    }
    let (first, second) = (port(), port());
    let server = config(engine, &[first, second], "failover_ms = 1500\nrevert_after_s = 0").start();
    let stop = AtomicBool::new(false);
    let (got, end) = std::thread::scope(|scope| {
        let primary =
            scope.spawn(|| broadcast::send(&sender(), first, &one, || stop.load(Ordering::Relaxed)));
        let backup = scope.spawn(|| broadcast::send(&sender(), second, &other, || false));
        await_on_air(&server);
        let mut response = request(server.http, "GET", "/live/in.ts");
        let mut some = vec![0; 400_000];
        response.socket.read_exact(&mut some).unwrap();
        response.early.extend(some);
        stop.store(true, Ordering::Relaxed);
        let reading = scope.spawn(|| response.body());
        let end = primary.join().unwrap();
        backup.join().unwrap();
        (reading.join().unwrap(), end)
    });
    assert_eq!(server.metrics().sum("headgate_input_failovers_total", &["silence"]), 1.0);
    let (got, one, other) = (packets(&got), packets(&one[..end]), packets(&other));
    counters_hold(got);
    let is_jump = |packet: &[u8; 188]| packet[3] & 0x30 == 0x20 && packet[5] & 0x80 != 0;
    let seam = got.iter().position(is_jump).expect("it is announced");
    assert!(one.ends_with(&got[seam - 100..seam]), "the first one to its last packet");
    // Then the tables of the other, and it from a picture on that one can begin with, to the end.
    let rest: Vec<[u8; 188]> = got[seam..].iter().filter(|packet| !is_jump(packet)).copied().collect();
    let place = rest.iter().position(|packet| is_place(packet)).unwrap();
    let tables: Vec<u16> = rest[..place].iter().map(|packet| pid(packet)).collect();
    assert_eq!(tables, [0, 0x1000]);
    assert!(other.ends_with(&rest[place..]), "{} packets", rest.len() - place);
    server.stop();
}
