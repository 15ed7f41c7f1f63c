//! What else comes to a port: anything, from anybody.

use super::{await_figure, config, figure, h264_file, port, send_for_ever, watch};
use crate::support::engine::engine_tests;
use crate::support::http::FlvPlayer;
use crate::support::process::static_ffmpeg;
use crate::support::publisher::{Audit, Publisher, Raise, Shape};
use crate::support::server::{Config, Server};
use crate::support::share_machine;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

engine_tests!(garbage_is_counted_and_the_neighbour_lives);

/// Bytes without sense (xorshift).
fn noise(state: &mut u64, len: usize) -> Vec<u8> {
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Before the sender comes, and beside it: noise, empty datagrams, packets of no program. The stream and its neighbour do
/// not notice.
fn garbage_is_counted_and_the_neighbour_lives(engine: Config) {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let file = h264_file(&ffmpeg);
    let port = port();
    let url = format!("udp://127.0.0.1:{port}");
    let server = super::with_input(engine, &[&url], "").start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _raise = Raise(&stop);
        let http = server.http;
        let viewer = scope.spawn(move || FlvPlayer::open(http, "/live/neighbour.flv").tags());
        server.await_subscribers(1);
        let neighbour = Publisher::start(&server, "neighbour", Shape::default()).run_beside(scope, &stop);
        disturbed(&server, &ffmpeg, &file, port);
        stop.store(true, Ordering::Relaxed);
        let publisher = neighbour.join().unwrap();
        Audit::of(publisher.shape, &viewer.join().unwrap()).assert_complete(&publisher);
    });
    let log = server.stop();
    assert!(log.contains("somebody else sends to the same address"), "{log}");
}

fn disturbed(server: &Server, ffmpeg: &Path, file: &Path, port: u16) {
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut disturb = |rounds: u32| {
        for round in 0..rounds {
            let len = [0, 1, 187, 188, 1316, 1328, 9000, 40_000][round as usize % 8];
            let mut datagram = noise(&mut state, len);
            match (round / 8) % 4 {
                0 => {}
                // As if it were packets, and RTP around such.
                1 => datagram.chunks_mut(188).for_each(|packet| packet[0] = 0x47),
                2 => datagram.iter_mut().zip([0x80, 33]).for_each(|(byte, head)| *byte = head),
                _ => datagram.fill(0x47),
            }
            stranger.send_to(&datagram, ("127.0.0.1", port)).unwrap();
        }
    };
    disturb(400);
    await_figure(server, "datagrams_total", &[], 400.0);
    assert!(figure(server, "datagrams_refused_total", &["not_ts"]) > 50.0);
    assert_eq!(figure(server, "datagrams_refused_total", &["too_long"]), 50.0);
    await_figure(server, "indicators_total", &[], 1.0);
    // The stranger is who is listened to until it has been quiet for a moment.
    let _sender = send_for_ever(ffmpeg, file, "mpegts", &format!("udp://127.0.0.1:{port}"));
    await_figure(server, "on_air", &[], 1.0);
    disturb(800);
    await_figure(server, "datagrams_refused_total", &["other_sender"], 400.0);
    let mut player = watch(server);
    let pictures =
        std::iter::from_fn(|| player.tag()).filter(|tag| tag.kind == crate::support::checker::VIDEO);
    assert_eq!(pictures.take(60).count(), 60);
    assert_eq!(figure(server, "ts_faults_total", &["incomplete_unit"]), 0.0);
}

/// A program that is not there is said and counted, and nothing is published.
#[test]
fn a_program_that_is_not_there() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let url = format!("udp://127.0.0.1:{}", port());
    let server = config(&[&url], "program = 7").start();
    let _sender = send_for_ever(&ffmpeg, &file, "mpegts", &url);
    await_figure(&server, "no_program_total", &[], 2.0);
    assert_eq!(figure(&server, "on_air", &[]), 0.0);
    assert_eq!(server.metrics().sum("headgate_streams", &[]), 0.0);
    let log = server.stop();
    assert_eq!(log.matches("no program to take").count(), 1, "said once");
}

/// A port that somebody else has is tried again and again, and had when it is free.
#[test]
fn a_port_that_is_taken_is_waited_for() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("udp://{}", other.local_addr().unwrap());
    let server = config(&[&url], "").start();
    await_figure(&server, "socket_errors_total", &[], 2.0);
    assert_eq!(figure(&server, "receive_buffer_bytes", &[]), 0.0);
    drop(other);
    await_figure(&server, "receive_buffer_bytes", &[], 1.0);
    let _sender = send_for_ever(&ffmpeg, &file, "mpegts", &url);
    await_figure(&server, "on_air", &[], 1.0);
    let log = server.stop();
    assert_eq!(log.matches("cannot bind: Address already in use").count(), 1, "said once");
}
