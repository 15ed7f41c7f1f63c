//! Groups that are watched by their address, as udpxy gives them.

use super::{broadcast, counters_hold, from_a_place_on, packets};
use crate::support::broadcast::{NO_FRAMES, is_place};
use crate::support::http::{get, request};
use crate::support::lan::Lan;
use crate::support::poll;
use crate::support::process::static_ffmpeg;
use crate::support::server::Config;
use crate::support::share_machine;
use std::io::Read;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Limit of a join or a leave: its linger, and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(90);
const GROUP: &str = "239.255.7.1:5000";

/// How the kernel lists the gateway's memberships of the group: one line, with a number of users if there are several.
fn memberships(lan: &Lan) -> Vec<String> {
    let output =
        Command::new("ip").args(["-n", lan.network.name(), "maddr", "show", "dev", "eth1"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.trim().to_owned()).filter(|line| line.contains("239.255.7.1")).collect()
}

#[test]
fn two_viewers_are_one_join_and_get_every_packet() {
    let (_shared, Some(ffmpeg), Some(lan)) = (share_machine(), static_ffmpeg(), Lan::new()) else { return };
    let sent = broadcast::broadcast(&ffmpeg, &NO_FRAMES, 30);
    let relay =
        "[relay]\nallow = [\"239.255.7.0/24:5000-5001\"]\ninterface = \"eth1\"\ngroups = 1\nlinger_s = 1\n";
    let config = Config::new().wrapped(&lan.network.wrapper()).reached_at(lan.network.calm).table(relay);
    let config = config.set("publish.republish_grace_ms", "500").set("publish.silence_timeout_ms", "4000");
    let server = config.set("publish.takeover_after_ms", "1000").start();
    for (path, status, told) in [
        ("/udp/239.255.8.1:5000", 403, "relay.allow"),
        ("/udp/239.255.7.1:5002", 403, "relay.allow"),
        ("/udp/127.0.0.1:5000", 403, "relay.allow"),
        ("/udp/224.0.0.1:5000", 404, "cannot be joined"),
        ("/rtp/nonsense:5000", 404, ""),
        ("/udp/eth1@239.255.7.1:5000", 404, ""),
    ] {
        let (found, text) = get(server.http, path);
        assert!(found == status && text.contains(told), "{path}: {found} {text}");
    }
    assert_eq!(memberships(&lan), [""; 0], "nobody has asked for it");
    let (socket, stop) = (lan.sender(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (sent, stop) = (&sent, &stop);
        let sending = scope.spawn(move || {
            broadcast::send(&socket, GROUP.parse().unwrap(), sent, || stop.load(Ordering::Relaxed))
        });
        let mut viewers = [0, 1].map(|_| request(server.http, "GET", &format!("/udp/{GROUP}")));
        assert!(viewers.iter().all(|viewer| viewer.status == 200));
        assert_eq!(memberships(&lan).len(), 1);
        assert!(!memberships(&lan)[0].contains("users"), "one join: {:?}", memberships(&lan));
        let (status, why) = get(server.http, "/udp/239.255.7.2:5000");
        assert!(status == 503 && why.contains("relay.groups"), "{status} {why}");
        // Real ones, of both kinds.
        if let Some(curl) = crate::support::process::program("curl") {
            let url = format!("http://{}/udp/{GROUP}", server.http);
            let output = Command::new(curl).args(["-s", "--max-time", "3", &url]).output().unwrap();
            let whole = output.stdout.len() / 188 * 188;
            assert!(
                packets(&output.stdout[..whole]).iter().any(|packet| is_place(packet)),
                "{} bytes",
                whole
            );
        }
        let [first, second] = &mut viewers;
        let mut some = vec![0; 188 * 2000];
        first.socket.read_exact(&mut some).unwrap();
        let got = [&first.early[..], &some].concat();
        counters_hold(packets(&got[..got.len() / 188 * 188]));
        second.early.clear();
        stop.store(true, Ordering::Relaxed);
        let bytes = sending.join().unwrap();
        // The other to the end of what was sent: a join is left when nobody reads, and not before.
        assert!(bytes > 188 * 2000);
        let metrics = server.metrics();
        assert_eq!(metrics.sum("headgate_relay_groups", &[]), 1.0);
        assert!(metrics.sum("headgate_relay_requests_total", &["answer=\"accepted\""]) >= 2.0);
        assert_eq!(metrics.sum("headgate_relay_requests_total", &["answer=\"forbidden\""]), 3.0);
        drop(viewers);
    });
    poll("the group is left", PATIENCE, || memberships(&lan).is_empty().then_some(()));
    server.await_metrics("a free seat", |metrics| metrics.sum("headgate_relay_groups", &[]) == 0.0);
    server.await_metrics("its end", |metrics| metrics.sum("headgate_streams", &[]) == 0.0);
    // And joined again, for whoever comes then; this one stays to the last packet.
    let socket = lan.sender();
    let got = std::thread::scope(|scope| {
        let sent = &sent[..188 * 20_000];
        let sending = scope.spawn(move || broadcast::send(&socket, GROUP.parse().unwrap(), sent, || false));
        let viewer = request(server.http, "GET", &format!("/udp/{GROUP}"));
        assert_eq!(viewer.status, 200);
        let reading = scope.spawn(move || viewer.body());
        sending.join().unwrap();
        reading.join().unwrap()
    });
    from_a_place_on(&got, &sent[..188 * 20_000]);
    let log = server.stop();
    assert!(
        log.contains("relay: somebody watches") && log.contains("relay: nobody watches any more"),
        "{log}"
    );
}
