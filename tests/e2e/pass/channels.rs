//! Channels that send their source's own packets, on a network of their own.

use super::{await_on_air, broadcast, counters_hold, packets};
use crate::support::broadcast::{FRAMES, RATE, is_place, pid};
use crate::support::judge::{self, Channel, Gate, outside};
use crate::support::lan::Lan;
use crate::support::process::{Process, program, static_ffmpeg};
use crate::support::server::{Config, LIMIT, Server};
use crate::support::share_machine;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Datagrams that are looked at: six seconds.
const ENOUGH: usize = (RATE * 6 / 8 / 1316) as usize;

fn start(lan: &Lan, channels: &[String]) -> (Server, SocketAddr) {
    let from = SocketAddr::new(lan.network.calm, 5900);
    let input = format!("[[input]]\nstream = \"live/in\"\nfrom = [\"udp://{from}\"]\n");
    let config = Config::new().wrapped(&lan.network.wrapper()).reached_at(lan.network.calm);
    let config = config.set("headend.interface", "\"eth1\"").table(&input);
    (channels.iter().fold(config, |config, table| config.table(table)).start(), from)
}

fn channel(name: &str, to: &[&str], keys: &str) -> String {
    format!("[[channel]]\nname = \"{name}\"\nsource = \"live/in\"\nmode = \"pass\"\nto = {to:?}\n{keys}")
}

/// As they came to one receiver.
type Datagrams = Vec<Vec<u8>>;

/// What channels send of a broadcast, a list for each receiver; and what was sent.
fn captured(channels: &[String], groups: &[&str]) -> Option<(Vec<Datagrams>, Vec<u8>, Server)> {
    let (ffmpeg, lan) = (static_ffmpeg()?, Lan::new()?);
    let sent = broadcast::broadcast(&ffmpeg, &FRAMES, 20);
    let (server, to) = start(&lan, channels);
    let (receivers, stop) =
        (groups.iter().map(|group| lan.receiver(group)).collect::<Vec<_>>(), AtomicBool::new(false));
    let captured = std::thread::scope(|scope| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let (sent, stop) = (&sent, &stop);
        let sending =
            scope.spawn(move || broadcast::send(&socket, to, sent, || stop.load(Ordering::Relaxed)));
        await_on_air(&server);
        let captured = receivers.iter().map(|receiver| receiver.take(ENOUGH)).collect();
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap();
        captured
    });
    Some((captured, sent, server))
}

/// Whether the machine held the channel or its sender up for so long that something was left out.
fn is_held_up(server: &Server) -> bool {
    let metrics = server.metrics();
    let of = |metric: &str| metrics.sum(&format!("headgate_channel_{metric}"), &[]);
    (of("jumps_total"), of("lag_skips_total"), of("seams_total")) != (0.0, 0.0, 1.0)
        || metrics.sum("headgate_input_kernel_drops_total", &[]) > 0.0
}

/// `got` is a part of `sent`: in one piece, or at least in order.
#[track_caller]
fn in_order(got: &[[u8; 188]], sent: &[[u8; 188]], exact: bool) {
    let begin = sent.iter().position(|packet| *packet == got[0]).expect("a packet that was sent");
    if exact {
        // Null packets are alike: where they begin is anybody's guess.
        let found = sent.windows(got.len()).any(|window| window == got);
        assert!(found, "{} packets in one piece, from {begin} on", got.len());
        return;
    }
    let mut at = 0;
    for packet in got {
        let next = sent[at..].iter().position(|sent| sent == packet);
        at += 1 + next.unwrap_or_else(|| panic!("not sent behind {at}: {:?}", &packet[..8]));
    }
}

/// Judges by position, ours and others', find nothing that they do not find in the source.
fn judged(got: &[u8], sent: &[u8]) {
    let missed = |bytes: &[u8]| -> Vec<Gate> {
        // Nothing is known of what is in it.
        let channel = Channel { programs: Vec::new(), tdt: false, ..Channel::single(RATE, of_nothing()) };
        judge::file(bytes, channel).missed()
    };
    let of_source = missed(sent);
    let new: Vec<Gate> = missed(got).into_iter().filter(|gate| !of_source.contains(gate)).collect();
    assert!(new.is_empty(), "{new:?} beside {of_source:?}");
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut graves = [sent, got].into_iter().map(|bytes| {
        std::fs::write(file.path(), bytes).unwrap();
        let findings = outside::conformance(file.path(), RATE)?;
        Some(outside::grave(&findings).into_iter().map(|f| f.indicator.clone()).collect::<Vec<_>>())
    });
    if let (Some(Some(of_source)), Some(Some(of_channel))) = (graves.next(), graves.next()) {
        let new: Vec<_> = of_channel.iter().filter(|found| !of_source.contains(found)).collect();
        assert!(new.is_empty(), "{new:?}");
    }
}

fn of_nothing() -> judge::Program {
    judge::Program { number: 1, pmt_pid: 0x1000, pcr_pid: 0x100, streams: Vec::new(), service: None }
}

#[test]
fn a_channel_sends_every_packet_as_it_came() {
    let _shared = share_machine();
    let channels = [channel("one", &["udp://239.255.1.1:5000", "rtp://239.255.1.2:5004#fec=5x5"], "")];
    let groups = ["239.255.1.1:5000", "239.255.1.2:5004"];
    let Some((captured, sent, server)) = captured(&channels, &groups) else { return };
    let [plain, rtp] = [0, 12].map(|head| {
        let datagrams = &captured[usize::from(head > 0)];
        assert!(datagrams.iter().all(|datagram| datagram.len() == 1316 + head), "seven packets each");
        datagrams.iter().flat_map(|datagram| &datagram[head..]).copied().collect::<Vec<u8>>()
    });
    assert!(plain == rtp, "the same to both");
    let (got, all) = (packets(&plain), packets(&sent));
    let opening = got.iter().position(|packet| is_place(packet)).expect("a place");
    assert_eq!(got[..opening].iter().map(|packet| pid(packet)).collect::<Vec<_>>(), [0, 0x1000]);
    let exact = !is_held_up(&server);
    in_order(&got[opening..], all, exact);
    if exact {
        counters_hold(got);
        judged(&plain, &sent);
    }
    let metrics = server.metrics();
    let of = |metric: &str| metrics.sum(&format!("headgate_channel_{metric}"), &["channel=\"one\""]);
    assert_eq!((of("passes"), of("passed_packets_dropped_total")), (1.0, 0.0));
    let counters = metrics.sum("headgate_channel_indicators_total", &["indicator=\"1.4\""]);
    assert!(counters == 0.0 || !exact, "{counters}");
    assert!(of("fec_datagrams_total") > 100.0);
    // The source ends, and nothing is made up in its place.
    server.await_metrics("a lost source", |m| m.sum("headgate_channel_source_up", &[]) == 0.0);
    let count = |server: &Server| server.metrics().sum("headgate_channel_datagrams_total", &[]);
    let before = count(&server);
    server.await_metrics("two seconds", |m| m.sum("headgate_channel_source_lost_seconds_total", &[]) > 2.0);
    assert!(count(&server) - before <= 1.0, "a gap is a gap");
    let log = server.stop();
    assert!(log.contains("channel  one: live/in as it comes to udp://eth1@239.255.1.1:5000"), "{log}");
    assert!(log.contains("nothing is sent until it is back"), "{log}");
}

#[test]
fn a_channel_moves_pids_and_names_its_service_anew() {
    let _shared = share_machine();
    let keys = "pids = { 256 = 4660, 4096 = 500, 421 = 700 }\nservice_id = 77\nstream_id = 9\nservice_name = \"Neu ä\"\nprovider = \"Wir\"\n";
    let Some((captured, sent, server)) =
        captured(&[channel("two", &["udp://239.255.1.3:5000"], keys)], &["239.255.1.3:5000"])
    else {
        return;
    };
    let got = captured[0].concat();
    let (got, all) = (packets(&got), packets(&sent));
    let exact = !is_held_up(&server);
    // Of every PID that is no table, the packets as they came, and the clock with them.
    for (from, to) in [(0x100u16, 4660u16), (0x101, 0x101), (421, 700), (422, 422), (0x1FFF, 0x1FFF)] {
        let of = |packets: &[[u8; 188]], wanted: u16| -> Vec<[u8; 188]> {
            let its = packets.iter().filter(|packet| pid(&packet[..]) == wanted).copied();
            // Without the PID itself.
            its.map(|mut packet| (packet[1..3].fill(0), packet).1).collect()
        };
        let (got, sent) = (of(got, to), of(all, from));
        assert!(got.len() > 10, "{from}");
        in_order(&got, &sent, exact);
    }
    assert!(got.iter().all(|packet| ![256, 4096, 421].contains(&pid(packet))));
    if exact {
        counters_hold(got);
        judged(got.as_flattened(), &sent);
    }
    if let Some(ffprobe) = program("ffprobe") {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(file.path(), got.as_flattened()).unwrap();
        let mut command = Command::new(ffprobe);
        command.args([
            "-v",
            "error",
            "-show_entries",
            "program=program_id,pmt_pid:program_tags:stream=id,codec_name",
        ]);
        let said = Process::spawn("ffprobe", command.args(["-of", "flat"]).arg(file.path())).finish(LIMIT);
        for wanted in
            ["program_id=77", "pmt_pid=500", "\"Neu ä\"", "\"Wir\"", "id=\"0x1234\"", "\"h264\"", "\"aac\""]
        {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
    }
    server.stop();
}
