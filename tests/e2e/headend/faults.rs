//! What happens to a channel when its source or its link goes, and comes back.

use super::{Headend, PICTURES, RATE, SOUND, channel, judged, packets_of, pcr_of, prepare, stream_of};
use crate::support::engine::{engine_tests, first_that_works};
use crate::support::held::Held;
use crate::support::http;
use crate::support::lan::BOX;
use crate::support::server::{Config, LIMIT};
use crate::support::{poll, share_machine, skip};

engine_tests!(a_source_goes_and_another_one_comes);

const GROUP: &str = "239.255.1.1:5000";

fn carries_pictures(datagram: &[u8]) -> bool {
    packets_of(datagram, PICTURES) > 1
}

/// The channel never stops: tables, clock and nulls go on, and what comes next goes on behind what was.
fn a_source_goes_and_another_one_comes(config: Config) {
    let Some(prepared) = prepare() else { return };
    let receiver = prepared.0.receiver(GROUP);
    let mut headend = Headend::start(config, prepared, &[&format!("udp://{GROUP}")]);
    // Nothing to send, and it is sent.
    let mut captured = receiver.take(200);
    assert!(!captured.iter().any(|datagram| carries_pictures(datagram)));
    for round in 1..=2 {
        headend.publish();
        headend.await_source(true);
        let mut pictures = 0;
        captured.extend(receiver.until(|all| {
            pictures += usize::from(all.last().is_some_and(|datagram| carries_pictures(datagram)));
            pictures > 300
        }));
        headend.unpublish();
        headend.await_source(false);
        // Until what waits is sent, and so much more.
        let empty = |all: &[Vec<u8>]| all.iter().rev().take_while(|d| !carries_pictures(d)).count();
        captured.extend(receiver.until(|all| empty(all) >= 200));
        let metrics = headend.server.metrics();
        let of = |metric: &str| metrics.sum(&format!("headgate_channel_{metric}_total"), &[]);
        // A machine that held the gateway up makes more of both.
        let held_up = of("lag_skips");
        assert!(of("source_losses") >= f64::from(round) && of("seams") >= f64::from(round));
        assert!(held_up > 0.0 || of("seams") == f64::from(round), "{}", of("seams"));
        assert!(of("source_lost_seconds") > 0.0);
    }
    let bytes = stream_of(&captured, 0);
    // Counters, clock, order of the units: over both seams.
    let report = judged(&bytes, RATE);
    assert_eq!(report.pcr_pids, [PICTURES]);
    assert!([PICTURES, SOUND].iter().all(|pid| report.units[pid].len() > 40));
    let log = headend.server.stop();
    assert!(log.matches("channel's source is lost; nulls, tables and clock go on").count() >= 2, "{log}");
    assert!(log.matches("channel's source is on air").count() >= 2, "{log}");
}

/// A link that is down costs counted errors; when it is there again, so is the channel.
#[test]
fn a_link_goes_and_comes_back() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let receiver = prepared.0.receiver(GROUP);
    let headend = Headend::start(first_that_works(), prepared, &[&format!("udp://{GROUP}")]);
    receiver.take(10);
    let errors = || {
        let metrics = headend.server.metrics();
        let of = |labels: &[&str]| metrics.sum("headgate_channel_send_errors_total", labels);
        (of(&["unreachable"]), of(&[]))
    };
    assert_eq!(errors().1, 0.0);
    headend.lan.plug(false);
    let (unreachable, all) = poll("errors", LIMIT, || Some(errors()).filter(|errors| errors.0 > 20.0));
    assert_eq!(unreachable, all, "one reason");
    poll("what is lost", LIMIT, || headend.server.log().contains("link lost").then_some(()));
    headend.lan.plug(true);
    poll("link is there", LIMIT, || headend.server.log().contains("link is there").then_some(()));
    let sent = || headend.server.metrics().sum("headgate_channel_sent_datagrams_total", &[]);
    let before = sent();
    poll("datagrams", LIMIT, || (sent() > before + 100.0).then_some(()));
    // What the receiver has kept from before ends somewhere.
    let after = receiver.until(|all| all.len() > 300);
    assert!(after.iter().all(|datagram| datagram.len() == 1316 && datagram[0] == 0x47));
    let log = headend.server.stop();
    for line in ["link lost", "link is there"] {
        assert_eq!(log.matches(line).count(), 1, "{line}\n{log}");
    }
    // The link's own line says it.
    assert_eq!(log.matches("datagrams are not taken by the kernel").count(), 0, "{log}");
}

/// Fifty channels on one link: what becomes of it is one line, and they all announce themselves again when it is back.
#[test]
fn a_dead_link_is_one_line() {
    const CHANNELS: usize = 50;
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let table = |n: usize| channel(&format!("c{n}"), 200_000, &[&format!("udp://239.255.2.{n}:5000#sap")]);
    let tables: Vec<String> = (1..=CHANNELS).map(table).collect();
    let headend = Headend::start_all(first_that_works(), prepared, &tables);
    let of = |metric: &str| headend.server.metrics().sum(&format!("headgate_channel_{metric}_total"), &[]);
    // The first three come soon, and then none for minutes.
    let announced = 3.0 * CHANNELS as f64;
    poll("announcements", LIMIT, || (of("announcements") == announced).then_some(()));
    headend.lan.plug(false);
    // Until all of them have failed for longer than they wait with telling it.
    let rate = 200_000.0 / (8.0 * 1316.0);
    poll("errors", LIMIT, || (of("send_errors") > 4.0 * rate * CHANNELS as f64).then_some(()));
    headend.lan.plug(true);
    poll("announcements of all", LIMIT, || {
        (of("announcements") >= announced + CHANNELS as f64).then_some(())
    });
    let log = headend.server.stop();
    for line in ["link lost", "link is there"] {
        let lines: Vec<&str> = log.lines().filter(|found| found.contains(line)).collect();
        assert!(lines.len() == 1 && lines[0].contains("channels=50"), "{line}: {lines:#?}");
    }
    for line in ["datagrams are not taken", "datagrams are taken again", "cannot be announced"] {
        assert!(!log.contains(line), "{line}\n{log}");
    }
}

/// A cable that is out at its other end costs no error: the kernel takes what it then throws away. The link says so.
#[test]
fn a_cable_is_pulled() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let receiver = prepared.0.receiver(GROUP);
    let headend = Headend::start(first_that_works(), prepared, &[&format!("udp://{GROUP}")]);
    receiver.take(10);
    let up = || headend.server.metrics().sum("headgate_link_up", &["eth1"]);
    assert_eq!(up(), 1.0);
    for (plugged, line) in [(false, "link lost"), (true, "link is there")] {
        headend.lan.plug_boxes(plugged);
        poll(line, LIMIT, || headend.server.log().contains(line).then_some(()));
        assert_eq!(up(), f64::from(u8::from(plugged)));
    }
    // More than it had before.
    let after = receiver.until(|all| all.len() > 2000);
    assert!(after.iter().all(|datagram| datagram.len() == 1316 && datagram[0] == 0x47));
    headend.server.stop();
}

/// An interface that is made anew has another number, and the channel is on it again: to a group, and to a host.
#[test]
fn an_interface_is_replaced() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let host = format!("{BOX}:6000");
    let to = [format!("udp://{GROUP}"), format!("udp://eth1@{host}")];
    let headend = Headend::start(first_that_works(), prepared, &to.each_ref().map(String::as_str));
    for place in [GROUP, &host] {
        headend.lan.receiver(place).take(10);
    }
    headend.lan.replace();
    for place in [GROUP, &host] {
        headend.lan.receiver(place).take(100);
    }
    headend.server.stop();
}

/// A link that is slower than the channel costs datagrams, each counted, and neither delays the others nor stops anything:
/// where much may wait in its queue the socket is full, and where little may, the queue drops what comes.
#[test]
fn a_link_is_too_slow() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let headend = Headend::start(first_that_works(), prepared, &[&format!("udp://{GROUP}")]);
    let receiver = headend.lan.receiver(GROUP);
    let errors = |labels: &[&str]| headend.server.metrics().sum("headgate_channel_send_errors_total", labels);
    for (round, (wait, reason)) in [("64mb", "full"), ("32kb", "no_buffers")].into_iter().enumerate() {
        let before = errors(&[]);
        if !headend.lan.slow(Some(wait)) {
            return;
        }
        poll(reason, LIMIT, || (errors(&[reason]) > 50.0).then_some(()));
        receiver.take(100);
        headend.lan.slow(None);
        poll("what was wrong", LIMIT, || {
            let again = headend.server.log().matches("datagrams are taken again").count();
            (again > round).then_some(())
        });
        assert_eq!(errors(&[]) - before, errors(&[reason]), "no other reason than {reason}");
        receiver.take(100);
    }
    let log = headend.server.stop();
    assert!(["reason=full", "reason=no_buffers"].iter().all(|line| log.contains(line)), "{log}");
}

/// A pacer that hangs is named, and when it goes on what was due meanwhile is left out, with an announced jump of the clock.
#[test]
fn a_pacer_that_hangs_is_named_and_goes_on_in_time() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let receiver = prepared.0.receiver(GROUP);
    let mut headend = Headend::start(first_that_works(), prepared, &[&format!("udp://{GROUP}")]);
    headend.publish();
    headend.await_source(true);
    let admin = headend.server.admin;
    let held = match Held::thread(headend.server.id(), "pacer") {
        Ok(held) => held,
        Err(error) => return skip("no-ptrace", &format!("no thread can be held here: {error}")),
    };
    let live = || http::get(admin, "/livez");
    poll("the pacer to be missed", LIMIT, || (live().0 == 503).then_some(()));
    assert!(live().1.starts_with("[-] pacer: no turn for "), "{}", live().1);
    drop(held);
    poll("the pacer to be back", LIMIT, || (live().0 == 200).then_some(()));
    let of = |metric: &str| headend.server.metrics().sum(&format!("headgate_channel_{metric}"), &[]);
    poll("what was left out", LIMIT, || (of("jumps_total") > 0.0).then_some(()));
    assert!(of("jumped_datagrams_total") >= 150.0, "a second of it, at least");
    headend.await_source(true);
    // The jump is behind what had come before, and pictures are back.
    let captured = receiver.until(|all| {
        let jump = all.iter().rposition(|datagram| pcr_of(datagram).is_some_and(|_| datagram[5] & 0x80 != 0));
        jump.is_some_and(|at| {
            at > 0 && all[at..].iter().filter(|datagram| carries_pictures(datagram)).count() > 200
        })
    });
    judged(&stream_of(&captured, 0), RATE);
    headend.unpublish();
    let log = headend.server.stop();
    assert!(log.contains("channel was held up for more than a second"), "{log}");
}
