//! The live monitor of inputs: each fault raises its indicator on the metrics page within a second after the indicator's own
//! limit, and no other; a clean stream raises none.
//!
//! Streams are sent by the clock, so a second of them is a second of the gateway's. On a machine that holds either up for so long
//! that the stream looks as if it had paused, a fault is made once more.

use super::{h264_file, port, send_for_ever};
use crate::damage::{FAULT_MS, FAULTS};
use crate::stream::{self, Packet, at_ms, clean, rtp, ticks};
use crate::support::metrics::Metrics;
use crate::support::own_machine;
use crate::support::paced::Paced;
use crate::support::poll;
use crate::support::process::static_ffmpeg;
use crate::support::server::{Config, LIMIT, Server};
use headgate::monitor::Indicator;
use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

/// Faults at a time: their streams are what a debug build bears on one core.
const BESIDE: usize = 10;
/// Times that a fault is made.
const TRIES: usize = 3;
/// Within this time behind its limit an indicator must be there.
const GRACE_MS: u64 = 1000;
/// Seconds of a clean stream, unless [`CLEAN`] says otherwise.
const CLEAN_SECONDS: u64 = 10;
/// The variable that does.
const CLEAN: &str = "HEADGATE_CLEAN_SECONDS";

/// What the log says of what is raised.
const NOT_IN_ORDER: &str = "input: what comes is not in order";

/// A datagram, and when it is sent.
type Timed = (Duration, Vec<u8>);

/// Something to send, the indicator that it must raise, and that one's own limit.
struct Case {
    name: &'static str,
    datagrams: Vec<Timed>,
    indicator: Indicator,
    limit_ms: u64,
}

/// Seven packets a datagram, by the clock.
fn timed(packets: &[Packet]) -> Vec<Timed> {
    let datagrams = packets.chunks(7).enumerate();
    let at = |n: usize| Duration::from_nanos(ticks(n * 7) * 1000 / 27);
    datagrams.map(|(n, packets)| (at(n), stream::bytes(packets))).collect()
}

/// What is damaged in the transport stream, and what only the network can do.
fn cases() -> Vec<Case> {
    let until = |limit_ms: u64| FAULT_MS + limit_ms + GRACE_MS;
    let in_stream = FAULTS.iter().map(|(name, fault, indicator, limit_ms)| {
        // Some faults look for a place further on.
        let mut packets = clean(9);
        fault(&mut packets);
        packets.truncate(at_ms(until(*limit_ms)));
        Case { name, datagrams: timed(&packets), indicator: *indicator, limit_ms: *limit_ms }
    });
    let fault = Duration::from_millis(FAULT_MS);
    let (limit_ms, pause) = (500, Duration::from_millis(700));
    let mut paused = timed(&clean(until(limit_ms) / 1000 + 1));
    paused.retain(|(at, _)| *at < Duration::from_millis(until(limit_ms)) - pause);
    paused.iter_mut().filter(|(at, _)| *at > fault).for_each(|(at, _)| *at += pause);
    let numbered = || {
        let datagrams = timed(&clean(until(0) / 1000)).into_iter().enumerate();
        datagrams.map(|(n, (at, bytes))| (at, rtp(n as u16, &bytes))).collect::<Vec<Timed>>()
    };
    let mut lost = numbered();
    // One of null packets only: what the stream is made of is all there.
    let nulls = |bytes: &[u8]| bytes[12..].chunks(188).all(|packet| packet[1..3] == [0x1F, 0xFF]);
    let place = lost.iter().position(|(at, bytes)| *at > fault && nulls(bytes)).expect("nulls");
    lost.remove(place);
    let mut second = numbered();
    let begun = second.partition_point(|(at, _)| *at < fault);
    let rivals: Vec<Timed> = second[begun..].iter().map(|(at, bytes)| (*at, rival(bytes))).collect();
    second.extend(rivals);
    second.sort_by_key(|(at, _)| *at);
    let in_network = [
        ("nothing comes for 700 ms", paused, Indicator::Silence, limit_ms),
        ("a datagram of RTP is lost", lost, Indicator::RtpLoss, 0),
        ("a second sender of RTP", second, Indicator::RtpSenders, 1000),
    ];
    let in_network = in_network.into_iter().map(|(name, datagrams, indicator, limit_ms)| Case {
        name,
        datagrams,
        indicator,
        limit_ms,
    });
    let mut all: Vec<Case> = in_stream.chain(in_network).collect();
    // Those that take long beside each other.
    all.sort_by_key(|case| case.limit_ms);
    all
}

/// The same packet of another sender.
fn rival(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[8..12].copy_from_slice(&[9, 9, 9, 9]);
    bytes[2] ^= 0x40;
    bytes
}

/// A gateway with so many inputs, `live/0` and on; and their ports.
fn inputs(count: usize) -> (Server, Vec<u16>) {
    let ports: Vec<u16> = (0..count).map(|_| port()).collect();
    let table = |(n, port): (usize, &u16)| {
        format!("[[input]]\nstream = \"live/{n}\"\nfrom = [\"udp://127.0.0.1:{port}\"]\n")
    };
    let tables: String = ports.iter().enumerate().map(table).collect();
    let server = Config::new().table(&tables).start();
    server.await_metrics("the sockets", |metrics| {
        let listening =
            metrics.series("headgate_input_receive_buffer_bytes").filter(|(_, bytes)| *bytes > 0.0);
        listening.count() == count
    });
    (server, ports)
}

/// What an input's monitor has raised so far.
fn raised(server: &Server, n: usize) -> BTreeSet<&'static str> {
    let (metrics, input) = (server.metrics(), format!("input=\"live/{n}\""));
    let count =
        |id: &str| metrics.sum("headgate_input_indicators_total", &[&input, &format!("indicator=\"{id}\"")]);
    Indicator::ALL.into_iter().map(Indicator::id).filter(|id| count(id) > 0.0).collect()
}

/// Sends these, each to an input of its own; what each has raised when its last datagram is there.
fn send_all(cases: &[Case]) -> Vec<BTreeSet<&'static str>> {
    let (server, ports) = inputs(cases.len());
    let watch = |n: usize, case: &Case| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender =
            Paced::start(socket, ([127, 0, 0, 1], ports[n]).into(), case.datagrams.clone().into_iter());
        let count = case.datagrams.len() as u64;
        poll(case.name, 2 * LIMIT, || (sender.sent() == count).then_some(()));
        let input = format!("input=\"live/{n}\"");
        let came = || server.metrics().sum("headgate_input_datagrams_total", &[&input]);
        poll(case.name, LIMIT, || (came() == count as f64).then_some(()));
        raised(&server, n)
    };
    let watch = &watch;
    let found: Vec<BTreeSet<&'static str>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            cases.iter().enumerate().map(|(n, case)| scope.spawn(move || watch(n, case))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let log = server.stop();
    for (n, case) in cases.iter().enumerate() {
        let (stream, indicator) =
            (format!("stream=live/{n} "), format!("indicator={} ", case.indicator.id()));
        let told =
            |line: &str| line.contains(NOT_IN_ORDER) && line.contains(&stream) && line.contains(&indicator);
        let is_there = found.get(n).is_some_and(|found| found.contains(case.indicator.id()));
        assert!(!is_there || log.lines().any(told), "{}: no line in {log}", case.name);
    }
    found
}

#[test]
fn each_fault_raises_its_indicator_and_no_other() {
    let _own = own_machine();
    let mut left = cases();
    assert!(left.len() >= 20);
    for attempt in 1.. {
        let mut missed = Vec::new();
        while !left.is_empty() {
            let batch: Vec<Case> = left.drain(..left.len().min(BESIDE)).collect();
            let found = send_all(&batch);
            for (case, found) in batch.into_iter().zip(found) {
                if found != BTreeSet::from([case.indicator.id()]) {
                    println!("{}: {found:?} and not {}", case.name, case.indicator.id());
                    missed.push(case);
                }
            }
        }
        if missed.is_empty() {
            break;
        }
        assert!(attempt < TRIES, "{:?}", missed.iter().map(|case| case.name).collect::<Vec<_>>());
        left = missed;
    }
}

/// Four inputs at once: a clean stream by UDP and by RTP, and by both what another gateway makes of a publisher, which finds nothing
/// wrong with it either.
#[test]
fn what_is_clean_raises_nothing() {
    let (_own, Some(ffmpeg)) = (own_machine(), static_ffmpeg()) else { return };
    let given = std::env::var(CLEAN).ok().map(|text| text.parse().expect("seconds"));
    let seconds: u64 = given.unwrap_or(CLEAN_SECONDS);
    let mut found = BTreeMap::new();
    for _ in 0..if given.is_some() { 1 } else { TRIES } {
        found = watch_clean(&ffmpeg, Duration::from_secs(seconds));
        if found.is_empty() {
            return;
        }
        println!("{found:?}");
    }
    panic!("raised in {seconds} s: {found:?}");
}

/// What was raised in so long, by series.
fn watch_clean(ffmpeg: &Path, long: Duration) -> BTreeMap<String, f64> {
    let (server, ports) = inputs(4);
    let to = [format!("udp://127.0.0.1:{}", ports[2]), format!("rtp://127.0.0.1:{}", ports[3])];
    let channel = format!(
        "[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 4_000_000\nto = {to:?}\ntdt = true\n"
    );
    let headend = Config::new().table(&channel).start();
    let file = h264_file(ffmpeg);
    let _publisher = send_for_ever(ffmpeg, &file, "flv", &headend.rtmp_url("one"));
    let udp = || {
        let mut packets = stream::Clean::from(0);
        let datagram = move || stream::bytes(&packets.by_ref().take(7).collect::<Vec<_>>());
        std::iter::repeat_with(datagram).enumerate()
    };
    let time = |n: usize| Duration::from_nanos(ticks(n * 7) * 1000 / 27);
    let to = |n: usize| ([127, 0, 0, 1], ports[n]).into();
    let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let plain = Paced::start(socket(), to(0), udp().map(move |(n, bytes)| (time(n), bytes)));
    let numbered = udp().map(move |(n, bytes)| (time(n), rtp(n as u16, &bytes)));
    let numbered = Paced::start(socket(), to(1), numbered);
    // A channel that has no source yet has no times in it either.
    headend.await_metrics("its source", |metrics| metrics.sum("headgate_channel_source_up", &[]) == 1.0);
    let count = |metrics: &Metrics, n: usize| {
        metrics.sum("headgate_input_datagrams_total", &[&format!("input=\"live/{n}\"")])
    };
    let begun = server.metrics();
    server.await_metrics("every input", |metrics| {
        (0..4).all(|n| count(metrics, n) > count(&begun, n) + 1000.0)
    });
    let counts = || {
        let (sent, received) = (headend.metrics(), server.metrics());
        let sent = sent.series("headgate_channel_indicators_total");
        let all = sent.chain(received.series("headgate_input_indicators_total"));
        all.map(|(name, count)| (name.to_owned(), count)).collect::<BTreeMap<String, f64>>()
    };
    let before = counts();
    let sent = || plain.sent().min(numbered.sent());
    let enough = sent() + (long.as_nanos() / time(1).as_nanos()) as u64;
    poll("the time to pass", 2 * long + LIMIT, || (sent() >= enough).then_some(()));
    let after = counts();
    let late = plain.late_max().max(numbered.late_max());
    let dropped = server.metrics().sum("headgate_input_kernel_drops_total", &[]);
    println!("{long:?}: the machine held senders up for {late:?} at most, and dropped {dropped} datagrams");
    server.stop();
    headend.stop();
    let new =
        |(name, count): (String, f64)| (count > before[&name]).then(|| (name.clone(), count - before[&name]));
    after.into_iter().filter_map(new).collect()
}
