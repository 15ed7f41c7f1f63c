//! What ffmpeg's encoder of SMPTE ST 2022-1 sends repairs what is lost on the way to the receiver.

use crate::support::process::{Process, program};
use crate::support::share_machine;
use headgate::media::Mono;
use headgate::proto::rtp_ts::{Options, Receiver, Tally};
use headgate::wire::rtp::RtpPacket;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Limit of one encoding.
const LIMIT: Duration = Duration::from_secs(60);
/// Behind the sender's end nothing came for so long: nothing will.
const QUIET: Duration = Duration::from_millis(200);
/// Columns of the matrix, which is as long as the burst that is lost.
const COLUMNS: usize = 8;

/// One datagram: when it came, on which of the ports + 0, + 2 and + 4, and what it is.
type Arrival = (Mono, usize, Vec<u8>);

/// Sockets on a free port of this machine, the second above it and the fourth.
fn sockets() -> [UdpSocket; 3] {
    let bound = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let three = |_| {
        let media = bound(0)?;
        let port = media.local_addr().ok()?.port();
        // RTP has even ports.
        (port % 2 == 0).then_some(())?;
        Some([media, bound(port.checked_add(2)?)?, bound(port.checked_add(4)?)?])
    };
    (0..100).find_map(three).expect("three free ports")
}

/// Everything that comes on `socket` until `done` is set and nothing more comes.
fn follow(kind: usize, socket: UdpSocket, begun: Instant, done: Arc<AtomicBool>) -> JoinHandle<Vec<Arrival>> {
    socket.set_read_timeout(Some(QUIET)).unwrap();
    std::thread::spawn(move || {
        let (mut arrivals, mut buffer) = (Vec::new(), [0; 2048]);
        loop {
            let last = done.load(Ordering::Acquire);
            match socket.recv(&mut buffer) {
                Ok(size) => {
                    let now = Mono::from_micros(begun.elapsed().as_micros() as u64);
                    arrivals.push((now, kind, buffer[..size].to_vec()));
                }
                Err(_) if last => return arrivals,
                Err(_) => {}
            }
        }
    })
}

/// What a receiver gives out of `arrivals` without the media packets that `drops` says, by their sequence numbers.
fn received(
    arrivals: &[Arrival],
    fec: bool,
    drops: impl Fn(usize) -> bool,
) -> (BTreeMap<u16, Vec<u8>>, Tally) {
    let mut receiver = Receiver::new(Options { wait: Duration::from_millis(60), fec });
    let (mut given, mut media) = (BTreeMap::new(), 0);
    let end = arrivals.last().map(|(at, ..)| *at + Duration::from_secs(10)).unwrap();
    for (at, kind, datagram) in arrivals {
        match kind {
            0 => {
                if !drops(media) {
                    receiver.push(0, *at, datagram);
                }
                media += 1;
            }
            _ => receiver.push_fec(*at, datagram),
        }
        while let Some(packet) = receiver.pop(*at) {
            given.insert(packet.sequence, packet.payload.to_vec());
        }
    }
    while let Some(packet) = receiver.pop(end) {
        given.insert(packet.sequence, packet.payload.to_vec());
    }
    (given, *receiver.tally())
}

#[test]
fn ffmpeg_repairs_what_is_lost() {
    let Some(ffmpeg) = program("ffmpeg") else { return };
    let _shared = share_machine();
    let sockets = sockets();
    let port = sockets[0].local_addr().unwrap().port();
    let (begun, done) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let follow = |(kind, socket)| follow(kind, socket, begun, done.clone());
    let followers: Vec<_> = sockets.into_iter().enumerate().map(follow).collect();
    let mut command = Command::new(ffmpeg);
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i"]);
    command.args(["testsrc2=size=320x240:rate=25:duration=5", "-c:v", "mpeg2video", "-b:v", "2M"]);
    command.args(["-minrate", "2M", "-maxrate", "2M", "-bufsize", "500k", "-f", "rtp_mpegts"]);
    command.args(["-fec", &format!("prompeg=l={COLUMNS}:d=4"), &format!("rtp://127.0.0.1:{port}")]);
    let mut process = Process::spawn("ffmpeg", &mut command);
    let status = process.wait(LIMIT).unwrap_or_else(|| panic!("hangs: {}", process.output.text()));
    assert!(status.success(), "{}", process.output.text());
    done.store(true, Ordering::Release);
    let mut arrivals: Vec<Arrival> =
        followers.into_iter().flat_map(|follower| follower.join().expect("a reader")).collect();
    arrivals.sort_by_key(|(at, ..)| *at);
    let sent: Vec<RtpPacket<'_>> = arrivals
        .iter()
        .filter(|(_, kind, _)| *kind == 0)
        .map(|(.., datagram)| RtpPacket::parse(datagram).expect("RTP"))
        .collect();
    assert!(sent.len() > 500, "{} packets: {}", sent.len(), process.output.text());

    // Singles, and a burst as long as a row; the ends have no whole matrix around them.
    let drops = |n: usize| (100..400).contains(&n) && n % 40 == 7 || (200..200 + COLUMNS).contains(&n);
    let dropped = (0..sent.len()).filter(|&n| drops(n)).count() as u64;
    let (given, tally) = received(&arrivals, true, drops);
    assert_eq!(
        (tally.lost, tally.malformed, tally.repair_refused, tally.restarts),
        (0, 0, 0, 0),
        "{tally:?}"
    );
    assert!(tally.repaired >= dropped && dropped > 10, "{dropped}: {tally:?}");
    for packet in &sent {
        assert!(
            given.get(&packet.sequence).is_some_and(|given| given == packet.payload),
            "{}",
            packet.sequence
        );
    }
    // The same without repairs loses what was dropped.
    let (_, plain) = received(&arrivals, false, drops);
    assert!(plain.lost >= dropped && plain.repaired == 0, "{plain:?}");
}
