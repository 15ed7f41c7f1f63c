//! One stream over two paths (SMPTE ST 2022-7), and repaired (SMPTE ST 2022-1): what is lost on the way is not missed.

use super::{LIMIT, compare, config, figure, h264_file, play, played, port, sender};
use crate::support::process::static_ffmpeg;
use crate::support::share_machine;
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the second of two paths is behind the first.
const SKEW: Duration = Duration::from_millis(30);

/// What passes datagrams on, but for those that are lost.
struct Relay {
    /// Where it takes them.
    from: UdpSocket,
    /// Where it passes the n-th of a kind on to.
    to: fn(u64) -> &'static [usize],
    /// How much later than the first port the second one gets them.
    skew: Duration,
}

/// Passes on until `over`; `ports` are the server's.
fn relay(relay: &Relay, ports: &[u16], over: &AtomicBool) -> u64 {
    let out = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |at: usize, bytes: &[u8]| out.send_to(bytes, ("127.0.0.1", ports[at])).unwrap();
    relay.from.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut late: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut buffer, mut n, mut lost) = ([0; 2048], 0, 0);
    while !over.load(Ordering::Relaxed) {
        while late.front().is_some_and(|(at, _)| *at <= Instant::now()) {
            late.pop_front().map(|(_, bytes)| send(1, &bytes));
        }
        let Ok(len) = relay.from.recv(&mut buffer) else { continue };
        let to = (relay.to)(n);
        lost += u64::from(to.is_empty());
        for at in to {
            match at {
                1 => late.push_back((Instant::now() + relay.skew, buffer[..len].to_vec())),
                _ => drop(send(*at, &buffer[..len])),
            }
        }
        n += 1;
    }
    lost
}

/// Every packet is lost on one of the paths or on none, never on both; one is cut off for a while, then the other one; and the second
/// is 30 ms behind the first.
#[test]
fn two_paths_lose_nothing_together() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let ports = [port(), port()];
    let urls = ports.map(|port| format!("rtp://127.0.0.1:{port}"));
    let server = config(&[&urls[0], &urls[1]], "merge = true\nskew_ms = 450").start();
    let player = play(&ffmpeg, &server.flv_url("in"));
    server.await_subscribers(1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let to: fn(u64) -> &'static [usize] = |n| match n {
            // The first one is cut off, then the second.
            100..200 => &[1],
            200..300 => &[0],
            n if n % 7 == 3 => &[0],
            n if n % 11 == 5 => &[1],
            _ => &[0, 1],
        };
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = from.local_addr().unwrap().port();
        let (relay_of, over_too) = (Relay { from, to, skew: SKEW }, &over);
        let relaying = scope.spawn(move || relay(&relay_of, &ports, over_too));
        let url = format!("rtp://127.0.0.1:{target}?pkt_size=1316");
        sender(&mut Command::new(&ffmpeg), &file, &["-f", "rtp_mpegts"], &url).finish(LIMIT);
        let got = played(player);
        over.store(true, Ordering::Relaxed);
        relaying.join().unwrap();
        compare("the player", &ffmpeg, &file, got, "rtp");
    });
    let fate = |fate: &str| figure(&server, "rtp_packets_total", &[&format!("fate=\"{fate}\"")]);
    assert_eq!((fate("lost"), fate("late"), fate("foreign")), (0.0, 0.0, 0.0));
    assert!(fate("merged") > 0.0 && fate("delivered") > 200.0, "{} {}", fate("merged"), fate("delivered"));
    assert_eq!(figure(&server, "ts_faults_total", &[]), 0.0);
    // The monitors saw each path as it was.
    for origin in ["origin=\"0\"", "origin=\"1\""] {
        assert!(figure(&server, "indicators_total", &[origin, "indicator=\"rtp_loss\""]) > 0.0, "{origin}");
    }
    server.stop();
}

/// Whether the n-th datagram is one of the hundredth part that is lost: at random, and the same ones each time (SplitMix64).
fn is_unlucky(n: u64) -> bool {
    let mut bits = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (bits ^ bits >> 31).is_multiple_of(100)
}

/// ffmpeg's repair packets: one datagram in a hundred, whichever, and a burst as long as a row are made good.
#[test]
fn what_is_lost_is_repaired() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let file = h264_file(&ffmpeg);
    let port = port();
    let url = format!("rtp://127.0.0.1:{port}");
    let server = config(&[&format!("{url}#fec")], "").start();
    let player = play(&ffmpeg, &server.flv_url("in"));
    server.await_subscribers(1);
    // Where ffmpeg sends to: three ports in the same distances.
    let (base, sockets) = loop {
        let base = super::port();
        let sockets: Result<Vec<UdpSocket>, _> =
            [0, 2, 4].iter().map(|step| UdpSocket::bind(("127.0.0.1", base + step))).collect();
        if let Ok(sockets) = sockets {
            break (base, sockets);
        }
    };
    let over = AtomicBool::new(false);
    let lost = std::thread::scope(|scope| {
        let media: fn(u64) -> &'static [usize] =
            |n| if is_unlucky(n) || (150..155).contains(&n) { &[] } else { &[0] };
        let all: fn(u64) -> &'static [usize] = |_| &[0];
        let relays: Vec<_> = sockets
            .into_iter()
            .zip([media, all, all])
            .enumerate()
            .map(|(at, (from, to))| {
                let (relay_of, over) = (Relay { from, to, skew: Duration::ZERO }, &over);
                scope.spawn(move || relay(&relay_of, &[port + 2 * at as u16], over))
            })
            .collect();
        let url = format!("rtp://127.0.0.1:{base}?pkt_size=1316");
        let arguments = ["-f", "rtp_mpegts", "-fec", "prompeg=l=5:d=5"];
        sender(&mut Command::new(&ffmpeg), &file, &arguments, &url).finish(LIMIT);
        let got = played(player);
        over.store(true, Ordering::Relaxed);
        let lost: u64 = relays.into_iter().map(|relay| relay.join().unwrap()).sum();
        compare("the player", &ffmpeg, &file, got, "rtp");
        lost
    });
    let fate = |fate: &str| figure(&server, "rtp_packets_total", &[&format!("fate=\"{fate}\"")]);
    assert!(lost >= 8 && fate("repaired") == lost as f64, "{} repaired of {lost}", fate("repaired"));
    assert_eq!((fate("lost"), figure(&server, "ts_faults_total", &[])), (0.0, 0.0));
    server.stop();
}
