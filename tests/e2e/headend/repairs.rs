//! A channel by RTP: numbers, time stamps, repair packets, two paths, announcements.

use super::{Headend, PATIENCE, RATE, counter_faults, judged, prepare};
use crate::support::engine::first_that_works;
use crate::support::lan::GATEWAY;
use crate::support::process::{Process, program, run};
use crate::support::server::LIMIT;
use crate::support::{poll, share_machine};
use headgate::media::Mono;
use headgate::proto::rtp_ts::{Options, Receiver};
use std::collections::BTreeSet;
use std::time::Duration;

const GROUP: &str = "239.255.1.2:5004";
const COLUMNS: &str = "239.255.1.2:5006";
const ROWS: &str = "239.255.1.2:5008";
/// The same packets on another group: the second path.
const SECOND: &str = "239.255.1.3:5004";
/// Datagrams of the capture: twenty matrices.
const CAPTURED: usize = 20 * 64;
/// Those for which there are repair packets.
const REPAIRED: usize = 17 * 64;
/// One datagram in so many is lost on the way to the boxes.
const LOST_EACH: u32 = 23;
/// A burst as long as a row, of so many datagrams; and the matrix around it.
const BURSTS: (u32, u32, u32) = (8, 512, 64);

fn sequence(rtp: &[u8]) -> u16 {
    u16::from_be_bytes([rtp[2], rtp[3]])
}

fn timestamp(rtp: &[u8]) -> u32 {
    u32::from_be_bytes(rtp[4..8].try_into().unwrap())
}

#[test]
fn two_paths_and_repairs_of_what_is_lost_on_one() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    if !prepared.0.lose(5004, LOST_EACH) {
        return;
    }
    let [media, columns, rows] = [GROUP, COLUMNS, ROWS].map(|to| prepared.0.receiver(to));
    let to = [format!("rtp://{GROUP}#fec=8x8"), format!("rtp://{SECOND}#ttl=4")];
    let second = prepared.0.receiver(SECOND);
    let mut headend = Headend::start(first_that_works(), prepared, &to.each_ref().map(String::as_str));
    headend.publish();

    let (media, second) = (media.take(CAPTURED), second.take(CAPTURED));
    let (columns, rows) = (columns.take(REPAIRED / 8), rows.take(REPAIRED / 8));
    // The marker stands behind a pause of the whole machine.
    assert!(media.iter().all(|rtp| rtp.len() == 1328 && rtp[0] == 0x80 && rtp[1] & 0x7F == 33));
    assert!(columns.iter().chain(&rows).all(|rtp| rtp.len() == 1344 && rtp[1] == 96));
    // The rule takes both paths alike, one datagram after the other: what is lost on one has come on the other.
    let numbers = |rtp: &[Vec<u8>]| rtp.iter().map(|rtp| sequence(rtp)).collect::<BTreeSet<u16>>();
    assert_ne!(numbers(&media), numbers(&second), "both paths lose the same");
    let lost = media.windows(2).filter(|two| sequence(&two[1]).wrapping_sub(sequence(&two[0])) != 1).count();
    assert!(lost > 10, "{lost} gaps");
    for two in media.windows(2) {
        let steps = u64::from(sequence(&two[1]).wrapping_sub(sequence(&two[0])));
        let ticks = u64::from(timestamp(&two[1]).wrapping_sub(timestamp(&two[0])));
        assert!(ticks.abs_diff(steps * 10_528 * 90_000 / RATE) <= 1, "{steps} datagrams, {ticks} ticks");
    }
    assert!(media.iter().all(|rtp| rtp[8..12] == media[0][8..12]), "one sender");

    // Repaired, and merged.
    let options = Options { wait: Duration::from_millis(100), fec: true };
    let mut with_repairs = received(Receiver::new(options), &[&media], &[&columns, &rows]);
    // Behind that there are no repairs of what is lost.
    with_repairs.truncate(REPAIRED * 1316);
    let merged = received(Receiver::new(Options { fec: false, ..options }), &[&media, &second], &[]);
    for (what, bytes) in [("repaired", with_repairs), ("merged", merged)] {
        assert!(bytes.len() > CAPTURED * 1316 * 8 / 10, "{what}: {} bytes", bytes.len());
        // From the channel's first datagram on, which is the second path's, or is repaired.
        let report = judged(&bytes, RATE);
        assert!(report.units.len() == 2, "{what}");
    }
    let bare = received(Receiver::new(Options { fec: false, ..options }), &[&media], &[]);
    assert!(
        std::panic::catch_unwind(|| judged(&bare, RATE)).is_err(),
        "the reader does not see what is lost"
    );

    let metrics = headend.server.metrics();
    assert!(metrics.sum("headgate_channel_fec_datagrams_total", &[]) >= 300.0);
    headend.unpublish();
    headend.server.stop();
}

/// What a receiver makes of these datagrams of each path and these repair packets, played in the order of their stamps.
fn received(mut receiver: Receiver, paths: &[&[Vec<u8>]], repairs: &[&[Vec<u8>]]) -> Vec<u8> {
    let mut all: Vec<(u32, bool, usize, &[u8])> = Vec::new();
    for (leg, path) in paths.iter().enumerate() {
        all.extend(path.iter().map(|rtp| (timestamp(rtp), false, leg, &rtp[..])));
    }
    // A repair packet has the stamp of the packet that it follows.
    all.extend(repairs.iter().flat_map(|list| list.iter()).map(|rtp| (timestamp(rtp), true, 0, &rtp[..])));
    all.sort_by_key(|(at, repair, ..)| (*at, *repair));
    let mut bytes = Vec::new();
    for (at, repair, leg, rtp) in all {
        let now = Mono::from_micros(u64::from(at) * 1000 / 90);
        match repair {
            true => receiver.push_fec(now, rtp),
            false => receiver.push(leg, now, rtp),
        }
        while let Some(packet) = receiver.pop(now) {
            bytes.extend_from_slice(packet.payload);
        }
    }
    bytes
}

/// Another decoder of ST 2022-1 repairs one datagram in a hundred, whichever, and bursts as long as a row.
#[test]
fn gstreamer_repairs_what_is_lost_at_random_and_in_bursts() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    if !prepared.0.lose_at_random(5004, BURSTS) {
        return;
    }
    let media = prepared.0.receiver(GROUP);
    let to = format!("rtp://{GROUP}#fec=8x8");
    let mut headend = Headend::start(first_that_works(), prepared, &[&to]);
    headend.publish();
    headend.await_source(true);
    gstreamer_repairs(&headend);
    let numbers: Vec<u16> = media.waiting().iter().map(|rtp| sequence(rtp)).collect();
    let missing = |two: &[u16]| two[1].wrapping_sub(two[0]).wrapping_sub(1);
    let gaps: Vec<u16> = numbers.windows(2).map(missing).filter(|gap| *gap > 0).collect();
    let bursts = gaps.iter().filter(|gap| u32::from(**gap) == BURSTS.0).count();
    assert!(bursts >= 2 && gaps.len() > bursts + 3, "nothing to repair: {gaps:?}");
    headend.unpublish();
    headend.server.stop();
}

/// Decoded by GStreamer where the boxes are, until there is enough: nothing is missing.
fn gstreamer_repairs(headend: &Headend) {
    let Some(gst) = program("gst-launch-1.0") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("repaired.ts");
    let source = |to: &str, caps: &str| {
        let (address, port) = to.split_once(':').unwrap();
        format!(
            "udpsrc address={address} port={port} multicast-iface=eth1 buffer-size=8000000 caps={caps} ! queue ! "
        )
    };
    let media = "application/x-rtp,media=video,clock-rate=90000,encoding-name=MP2T,payload=33";
    let fec = "application/x-rtp,payload=96";
    let decoder = "fec-decoders=fec,0=\"rtpst2022-1-fecdec\\ size-time\\=2000000000\";";
    let pipeline = [
        format!("rtpbin name=rtp latency=1500 {decoder} "),
        source(GROUP, media) + "rtp.recv_rtp_sink_0 ",
        source(COLUMNS, fec) + "rtp.recv_fec_sink_0_0 ",
        source(ROWS, fec) + "rtp.recv_fec_sink_0_1 ",
        format!("rtp. ! rtpmp2tdepay ! filesink buffer-mode=unbuffered location={}", file.display()),
    ]
    .concat();
    // rtpbin's property has a space of its own.
    let words =
        pipeline.split(' ').filter(|word| !word.is_empty()).fold(Vec::<String>::new(), |mut words, word| {
            match words.last_mut() {
                Some(last) if last.ends_with('\\') => *last += &format!(" {word}"),
                _ => words.push(word.to_owned()),
            }
            words
        });
    let mut command = headend.lan.command(&gst);
    let player = Process::spawn("GStreamer", command.arg("-q").args(&words));
    let said = player.output.clone();
    let enough = (CAPTURED * 1316) as u64;
    poll(&format!("a repaired stream: {}", said.text()), 2 * LIMIT, || {
        (std::fs::metadata(&file).ok()?.len() > enough).then_some(())
    });
    drop(player);
    let bytes = std::fs::read(&file).unwrap();
    let whole = &bytes[..bytes.len() / 188 * 188];
    let faults = counter_faults(whole, RATE as usize / 8 / 188);
    assert_eq!(faults, 0, "of {} packets; it said: {}", whole.len() / 188, said.text());
}

/// Announced at once, in words by which ffmpeg finds and plays it; and taken back at the end.
#[test]
fn a_channel_is_announced_and_taken_back() {
    let (_shared, Some(prepared)) = (share_machine(), prepare()) else { return };
    let announcements = prepared.0.receiver("239.255.255.255:9875");
    let to = format!("rtp://{GROUP}#sap&ttl=8");
    let mut headend = Headend::start(first_that_works(), prepared, &[&to]);
    headend.publish();

    let first = announcements.datagram();
    assert_eq!((first.from.ip(), first.ttl), (GATEWAY.into(), 8), "as far as the channel goes");
    // RFC 2974 section 6: version 1, IPv4, announcement, no authentication; hash; origin; type.
    assert_eq!(first.bytes[..2], [0x20, 0]);
    assert_ne!(first.bytes[2..4], [0, 0]);
    assert_eq!(first.bytes[4..8], GATEWAY.octets());
    assert_eq!(&first.bytes[8..24], b"application/sdp\0");
    let text = std::str::from_utf8(&first.bytes[24..]).unwrap();
    let origin = text.lines().find(|line| line.starts_with("o=")).unwrap();
    assert!(origin.ends_with(&format!(" IN IP4 {GATEWAY}")), "{text}");
    for line in
        ["v=0", "s=Eins", "c=IN IP4 239.255.1.2/8", "m=video 5004 RTP/AVP 33", "a=rtpmap:33 MP2T/90000"]
    {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert_eq!(announcements.next(), first.bytes, "the second follows soon, and says the same");
    headend.await_source(true);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one.sdp");
    std::fs::write(&file, text).unwrap();
    let mut command = headend.lan.command(&headend.ffmpeg);
    command.args(["-nostdin", "-v", "error", "-protocol_whitelist", "file,udp,rtp", "-i"]).arg(&file);
    let frames =
        run("ffmpeg", command.args(["-map", "0:v", "-frames:v", "25", "-f", "framehash", "-"]), PATIENCE);
    assert_eq!(frames.lines().filter(|line| !line.starts_with('#')).count(), 25, "{frames}");
    headend.server.await_metrics("announcements", |metrics| {
        metrics.sum("headgate_channel_announcements_total", &[]) >= 2.0
    });
    headend.unpublish();
    let log = headend.server.stop();
    assert!(log.contains("channel is announced"), "{log}");
    let end = announcements.until(|all| all.last().is_some_and(|last| last[0] & 4 != 0)).pop().unwrap();
    assert_eq!((end[0], &end[2..24]), (0x24, &first.bytes[2..24]), "the same session ends");
    assert_eq!(&end[24..], format!("{origin}\r\n").as_bytes());
}
