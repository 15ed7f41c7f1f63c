//! A channel of an input whose primary goes: the backup takes over, and receivers see one stream.
//!
//! How soon that is noticed is printed, and stands in docs/headend.md; nothing here depends on it.

use super::{PICTURES, RATE, SOUND, channel, judged, packets_of, prepare, stream_of, transport_stream};
use crate::support::engine::first_that_works;
use crate::support::paced::Paced;
use crate::support::server::{LIMIT, Server};
use crate::support::{poll, share_machine};
use std::net::UdpSocket;
use std::time::Duration;

const GROUP: &str = "239.255.1.1:5000";
/// Where the input listens for its origins.
const PORTS: [u16; 2] = [5100, 5200];
/// Times that the origin on air goes.
const ROUNDS: usize = 2;
/// What the log says when it is missed, at least.
const MISSED: &str = "nothing comes from the origin on air";

#[test]
fn a_channel_stays_whole_over_switches_of_its_input() {
    let (_shared, Some((lan, ffmpeg))) = (share_machine(), prepare()) else { return };
    let calm = lan.network.calm;
    let bytes = transport_stream(&ffmpeg);
    let from = PORTS.map(|port| format!("udp://{calm}:{port}"));
    let input = format!("[[input]]\nstream = \"live/one\"\nfrom = {from:?}\n");
    let tables = channel("one", RATE, &[&format!("udp://{GROUP}")]) + &input;
    let receiver = lan.receiver(GROUP);
    let config = first_that_works().wrapped(&lan.network.wrapper()).reached_at(calm);
    let server = config.set("headend.interface", "\"eth1\"").table(&tables).start();
    let send = |n: usize| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        Paced::over_and_over(socket, (calm, PORTS[n]).into(), bytes.clone(), RATE)
    };
    let mut senders = [0, 1].map(|n| Some(send(n)));
    let metric = |name: &str, labels: &[&str]| server.metrics().sum(name, labels);
    poll("the channel's source", LIMIT, || (metric("headgate_channel_source_up", &[]) == 1.0).then_some(()));
    let mut captured = Vec::new();
    for round in 1..=ROUNDS {
        // Both come, and one has for long enough to be a backup.
        for n in ["origin=\"0\"", "origin=\"1\""] {
            let datagrams = || metric("headgate_input_datagrams_total", &[n]);
            let before = datagrams();
            poll(n, LIMIT, || (datagrams() > before + 400.0).then_some(()));
        }
        let on_air = metric("headgate_input_origin", &[]) as usize;
        let switches = metric("headgate_input_failovers_total", &["silence"]);
        let told = server.log().matches(MISSED).count();
        let last = senders[on_air].take().expect("it was on air").stop();
        poll("the backup", LIMIT, || {
            (metric("headgate_input_failovers_total", &["silence"]) > switches).then_some(())
        });
        println!(
            "round {round}: missed after {:?} ms",
            missed_after(&server, told, last).map(|d| d.as_millis())
        );
        // Pictures of the backup, and then the other one is back.
        let mut pictures = 0;
        captured.extend(receiver.waiting());
        captured.extend(receiver.until(|all| {
            pictures += all.last().map_or(0, |datagram| packets_of(datagram, PICTURES));
            pictures > 500
        }));
        senders[on_air] = Some(send(on_air));
    }
    // From the channel's first datagram on: counters, clock, tables, order of the units, over all switches.
    let report = judged(&stream_of(&captured, 0), RATE);
    assert!([PICTURES, SOUND].iter().all(|pid| report.units[pid].len() > 100));
    let longest = report.units[&PICTURES].windows(2).map(|two| two[1].dts - two[0].dts).max().unwrap();
    println!("longest time between two pictures: {} ms", longest / crate::channel::MS);
    drop(senders);
    server.stop();
}

/// How long behind the primary's last datagram the log has it, if it has.
fn missed_after(server: &Server, before: usize, last: Duration) -> Option<Duration> {
    let log = server.log();
    let line = log.lines().filter(|line| line.contains(MISSED)).nth(before)?;
    // 2026-11-23T16:50:13.048674Z
    let (_, time) = line.split_once('T')?;
    let mut parts = time.split_once('Z')?.0.split(':').map(str::parse::<f64>);
    let mut part = || parts.next()?.ok();
    let seconds = part()? * 3600.0 + part()? * 60.0 + part()?;
    Some(Duration::from_secs_f64((seconds - last.as_secs_f64() % 86_400.0).max(0.0)))
}
