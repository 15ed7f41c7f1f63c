//! `headgate analyze` on captures as people take them: on all interfaces, with a clock that is set, cut short, through
//! a pipe; and on files that come through one.

use crate::analyze::{CLEAN, COULD_NOT_RUN, ERRORS_FOUND, analyze, folder, raised, report, text};
use crate::stream;
use crate::support::share_machine;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;
/// When captures begin, in nanoseconds since 1970.
const BEGIN: u64 = 1_700_000_000_000 * MS;

/// A UDP datagram in an IPv4 packet.
fn ipv4(source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16 + 28;
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![0x45, 34 << 2, high, low, 0, 0, 0, 0, 16, 17, 0, 0];
    packet.extend([source, destination].concat());
    let [high, low] = (length - 20).to_be_bytes();
    packet.extend([0x13, 0x88, 0x13, 0x88, high, low, 0, 0]);
    packet.extend(payload);
    packet
}

/// A pcap file with nanoseconds, little-endian.
struct Pcap(Vec<u8>);

impl Pcap {
    fn new(link: u32) -> Pcap {
        Pcap(
            [0xA1B2_3C4D, 0x0002_0004, 0, 0, 65535, link]
                .iter()
                .flat_map(|n: &u32| n.to_le_bytes())
                .collect(),
        )
    }

    fn frame(&mut self, ns: u64, frame: &[u8]) {
        let length = frame.len() as u32;
        let head = [(ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32, length, length];
        self.0.extend(head.iter().flat_map(|n| n.to_le_bytes()));
        self.0.extend(frame);
    }

    /// `seconds` of the clean stream from an address to 239.0.0.1:5000.
    fn stream(&mut self, begin: u64, seconds: u64, source: [u8; 4]) {
        for (ns, seven) in sevens(seconds) {
            self.frame(begin + ns, &ipv4(source, [239, 0, 0, 1], &seven));
        }
    }

    fn write(&self, folder: &Path, name: &str) -> String {
        let path = folder.join(name);
        std::fs::write(&path, &self.0).unwrap();
        text(&path).to_owned()
    }
}

/// Datagrams of the clean stream with their times in nanoseconds.
fn sevens(seconds: u64) -> Vec<(u64, Vec<u8>)> {
    let packets = stream::clean(seconds);
    let sevens = packets.chunks(7).enumerate();
    sevens.map(|(n, seven)| (stream::ticks(n * 7) * 1000 / 27, stream::bytes(seven))).collect()
}

const RAW: u32 = 101;
const COOKED_2: u32 = 276;
const HOST: [u8; 4] = [10, 0, 0, 1];

fn occurrence<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["indicators"].as_array().unwrap().iter().find(|entry| entry["id"] == id).unwrap()
}

/// Something else goes on being captured: that the stream is silent is heard.
#[test]
fn silence_at_the_end() {
    let _shared = share_machine();
    let folder = folder();
    let mut pcap = Pcap::new(RAW);
    pcap.stream(BEGIN, 3, HOST);
    for n in 0..100 {
        pcap.frame(BEGIN + (3000 + n * 30) * MS, &ipv4(HOST, [10, 0, 0, 2], b"something else"));
    }
    let (code, report) = report(&[&pcap.write(folder.path(), "stops.pcap")]);
    assert_eq!((code, raised(&report)), (ERRORS_FOUND, vec!["silence"]), "{report:#}");
    let at = occurrence(&report, "silence")["first"]["seconds"].as_f64().unwrap();
    assert!((3.4..3.6).contains(&at), "{at}");
    let sender = serde_json::json!({"address": "10.0.0.1", "datagrams": sevens(3).len()});
    assert_eq!(report["path"]["senders"], serde_json::json!([sender]));
    assert_eq!((&report["path"]["ttls"][0], &report["path"]["dscps"][0]), (&16.into(), &34.into()));
}

/// `tcpdump -i any` on a router sees every datagram twice. It is one stream.
#[test]
fn all_interfaces_at_once() {
    let _shared = share_machine();
    let folder = folder();
    let mut pcap = Pcap::new(COOKED_2);
    for (ns, seven) in sevens(3) {
        let packet = ipv4(HOST, [239, 0, 0, 1], &seven);
        for (device, kind, later) in [(2, 2, 0), (3, 4, 1000)] {
            let head = [8, 0, 0, 0, 0, 0, 0, device, 0, 1, kind, 6, 0, 0, 0, 0, 0, 0, 0, 0];
            pcap.frame(BEGIN + ns + later, &[&head[..], &packet].concat());
        }
    }
    let path = pcap.write(folder.path(), "any.pcap");
    for arguments in [&[path.as_str()][..], &["--group", "239.0.0.1:5000", &path]] {
        let (code, report) = report(arguments);
        assert_eq!((code, raised(&report)), (CLEAN, vec![]), "{report:#}");
        assert_eq!(report["capture"]["copies"], report["network"]["datagrams"], "{report:#}");
    }
}

/// A sender's datagrams come in at another interface from the third second on, and another sender takes over there at
/// the fourth: nothing of that is a copy.
#[test]
fn the_way_changes() {
    let _shared = share_machine();
    let folder = folder();
    let mut pcap = Pcap::new(COOKED_2);
    for (ns, seven) in sevens(6) {
        let (device, source) = match ns / (1000 * MS) {
            0..2 => (2, HOST),
            2..4 => (3, HOST),
            _ => (3, [10, 0, 0, 2]),
        };
        let head = [8, 0, 0, 0, 0, 0, 0, device, 0, 1, 2, 6, 0, 0, 0, 0, 0, 0, 0, 0];
        pcap.frame(BEGIN + ns, &[&head[..], &ipv4(source, [239, 0, 0, 1], &seven)].concat());
    }
    let (_, found) = report(&["--group", "239.0.0.1:5000", &pcap.write(folder.path(), "way.pcap")]);
    // What came in the half second until the new way was believed.
    let half = sevens(1).len() as u64 / 2;
    let copies = found["capture"]["copies"].as_u64().unwrap();
    assert!((half - 2..half + 3).contains(&copies), "{copies} of {half}: {found:#}");
    assert_eq!(found["path"]["senders"].as_array().unwrap().len(), 2, "{found:#}");
    let length = found["duration_seconds"].as_f64().unwrap();
    assert!((5.9..6.1).contains(&length), "{length}");
}

/// Two senders of one group: a receiver that joins without a source gets both, one that names it gets one.
#[test]
fn senders_are_told_apart() {
    let _shared = share_machine();
    let folder = folder();
    let mut pcap = Pcap::new(RAW);
    for (ns, seven) in sevens(3) {
        for source in [HOST, [10, 0, 0, 2]] {
            pcap.frame(BEGIN + ns, &ipv4(source, [239, 0, 0, 1], &seven));
        }
    }
    let path = pcap.write(folder.path(), "senders.pcap");
    let (code, said) = analyze(&[&path]);
    assert_eq!(code, COULD_NOT_RUN, "{said}");
    for line in [
        "2 transport streams",
        "--group 10.0.0.1@239.0.0.1:5000",
        "--group 10.0.0.2@239.0.0.1:5000",
        "--group 239.0.0.1:5000   (all senders",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let (code, one) = report(&["--group", "10.0.0.2@239.0.0.1:5000", &path]);
    assert_eq!((code, raised(&one)), (CLEAN, vec![]), "{one:#}");
    assert_eq!(one["path"]["senders"].as_array().unwrap().len(), 1);
    let (_, both) = report(&["--group", "239.0.0.1:5000", &path]);
    assert!(raised(&both).contains(&"1.4"), "{both:#}");
    assert_eq!(both["path"]["senders"].as_array().unwrap().len(), 2);
    assert!(both["path"]["sender_changes"].as_u64().unwrap() > 2000, "{both:#}");
    let (code, said) = analyze(&["--group", "10.0.0.9@239.0.0.1:5000", &path]);
    assert!(code == COULD_NOT_RUN && said.contains("no datagram goes to 10.0.0.9@239.0.0.1:5000"), "{said}");
}

/// The clock is set back by an hour in the middle: time goes on, and PAT and PMT are missing behind it.
#[test]
fn a_clock_that_is_set_back() {
    let _shared = share_machine();
    let folder = folder();
    let mut pcap = Pcap::new(RAW);
    for (ns, seven) in sevens(4) {
        let mut seven = seven;
        let back = if ns > 2000 * MS { 3600 * 1000 * MS } else { 0 };
        for packet in
            seven.chunks_mut(188).filter(|packet| back > 0 && packet[1] & 0x1F == 0 && packet[2] == 0)
        {
            // Behind it there is no PAT.
            packet[1..4].copy_from_slice(&[0x1F, 0xFF, 0x10]);
        }
        pcap.frame(BEGIN + ns - back, &ipv4(HOST, [239, 0, 0, 1], &seven));
    }
    let path = pcap.write(folder.path(), "set.pcap");
    let (code, found) = report(&[&path]);
    assert_eq!((code, raised(&found)), (ERRORS_FOUND, vec!["1.3"]), "{found:#}");
    assert_eq!(found["capture"]["clock_steps"], 1);
    assert!((3.9..4.1).contains(&found["duration_seconds"].as_f64().unwrap()), "{found:#}");
    assert!(analyze(&[&path]).1.contains("clock was set back"));
}

#[test]
fn a_damaged_capture_is_read_to_the_damage() {
    let _shared = share_machine();
    let folder = folder();
    let mut pcap = Pcap::new(RAW);
    pcap.stream(BEGIN, 2, HOST);
    let whole = pcap.0.len() as u64;
    pcap.0.extend([0xFF; 500]);
    let path = pcap.write(folder.path(), "damaged.pcap");
    let (code, found) = report(&[&path]);
    assert_eq!((code, raised(&found)), (CLEAN, vec![]), "{found:#}");
    assert_eq!(found["capture"]["damaged_at"], whole);
    assert!(analyze(&[&path]).1.contains(&format!("{whole} bytes in, the capture is damaged")));
    // Statistics that are longer than the file, or a block that nobody knows.
    for kind in [5u8, 0x77] {
        let mut file = simple_packets(2);
        let whole = file.len();
        file.extend([kind, 0, 0, 0, 0, 0, 0, 0xF0]);
        file.extend(simple_packets(2));
        let path = folder.path().join("damaged.pcapng");
        std::fs::write(&path, file).unwrap();
        let (_, found) = report(&[text(&path)]);
        assert_eq!(found["capture"]["damaged_at"], whole, "{kind}");
    }
}

/// `seconds` of the clean stream in a pcapng file of simple packets.
fn simple_packets(seconds: u64) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let body = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let mut file =
        block(0x0A0D_0D0A, &[0x1A2B_3C4D_u32.to_le_bytes(), [1, 0, 0, 0], [0xFF; 4], [0xFF; 4]].concat());
    file.extend(block(1, &[RAW as u8, 0, 0, 0, 0, 0, 0, 0]));
    for (_, seven) in sevens(seconds) {
        let frame = ipv4(HOST, [239, 0, 0, 1], &seven);
        file.extend(block(3, &[&(frame.len() as u32).to_le_bytes()[..], &frame].concat()));
    }
    file
}

/// Simple packets of pcapng have no times.
#[test]
fn a_capture_without_times_is_not_clean() {
    let _shared = share_machine();
    let folder = folder();
    let file = simple_packets(2);
    let path = folder.path().join("simple.pcapng");
    std::fs::write(&path, file).unwrap();
    let (code, found) = report(&[text(&path)]);
    assert_eq!(
        (code, raised(&found), &found["verdict"]),
        (ERRORS_FOUND, vec![], &"unjudged".into()),
        "{found:#}"
    );
    assert_eq!(found["capture"]["untimed"], found["network"]["datagrams"]);
    assert!(analyze(&[text(&path)]).1.contains("Verdict  UNJUDGED: there is no clock"));
}

#[test]
fn what_cannot_be_read_is_said() {
    let _shared = share_machine();
    let folder = folder();
    let mut other = Pcap::new(105);
    other.stream(BEGIN, 1, HOST);
    let (code, said) = analyze(&[&other.write(folder.path(), "radio.pcap")]);
    assert!(code == COULD_NOT_RUN && said.contains("link type that is not read"), "{said}");
    let mut fragments = Pcap::new(RAW);
    for (ns, seven) in sevens(1) {
        let mut packet = ipv4(HOST, [239, 0, 0, 1], &seven);
        packet[6] = 0x20;
        fragments.frame(BEGIN + ns, &packet);
    }
    let (code, said) = analyze(&[&fragments.write(folder.path(), "fragments.pcap")]);
    assert!(code == COULD_NOT_RUN && said.contains("fragments of IP packets"), "{said}");
}

/// Runs the command on a pipe into which a file is written.
fn through_a_pipe(folder: &Path, file: &str, arguments: &[&str]) -> (i32, String) {
    let pipe = folder.join("pipe");
    let _ = std::fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (bytes, target) = (std::fs::read(file).unwrap(), pipe.clone());
    // Who closes early is the one under test.
    let writer = std::thread::spawn(move || std::fs::write(target, bytes).is_ok());
    let result = analyze(&[arguments, &[text(&pipe)]].concat());
    writer.join().unwrap();
    result
}

#[test]
fn pipes_are_read_once() {
    let _shared = share_machine();
    let folder = folder();
    let file = folder.path().join("clean.ts");
    std::fs::write(&file, stream::bytes(&stream::clean(3))).unwrap();
    let (code, said) = through_a_pipe(folder.path(), text(&file), &["--json"]);
    let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let (_, direct) = report(&[text(&file)]);
    assert_eq!((code, &found["packets"], &found["skipped_bytes"]), (CLEAN, &direct["packets"], &0.into()));

    let mut pcap = Pcap::new(RAW);
    pcap.stream(BEGIN, 3, HOST);
    let path = pcap.write(folder.path(), "clean.pcap");
    let (code, said) = through_a_pipe(folder.path(), &path, &["--json", "--group", "239.0.0.1:5000"]);
    let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((code, &found["packets"]), (CLEAN, &direct["packets"]));
    let (code, said) = through_a_pipe(folder.path(), &path, &[]);
    assert!(code == COULD_NOT_RUN && said.contains("can be read only once"), "{said}");
}

/// A file in which no PCR comes, and one in which nothing but nulls does.
#[test]
fn files_without_a_clock() {
    let _shared = share_machine();
    let folder = folder();
    let path = folder.path().join("no-clock.ts");
    let mut packets = stream::clean(3);
    packets.retain(|packet| packet.what != "pcr");
    let tail = [0u8; 300];
    std::fs::write(&path, [&stream::bytes(&packets)[..], &tail].concat()).unwrap();
    let (code, found) = report(&[text(&path)]);
    assert_eq!((code, &found["verdict"]), (ERRORS_FOUND, &"errors".into()), "{found:#}");
    assert!(raised(&found).contains(&"2.3a") && !raised(&found).contains(&"3.2"), "{found:#}");
    let roles: Vec<_> = found["pids"].as_array().unwrap().iter().map(|entry| &entry["role"]).collect();
    assert_eq!(roles, ["PAT", "SDT", "video", "audio", "PMT", "null"]);
    packets.retain(|packet| packet.what == "null");
    std::fs::write(&path, stream::bytes(&packets)).unwrap();
    let (code, found) = report(&[text(&path)]);
    assert_eq!((code, &found["verdict"]), (ERRORS_FOUND, &"unjudged".into()), "{found:#}");
}

/// A file that ends in something else, or in the middle of a packet.
#[test]
fn what_is_behind_the_last_packet() {
    let _shared = share_machine();
    let folder = folder();
    let path = folder.path().join("tail.ts");
    let packets = stream::bytes(&stream::clean(2));
    for (tail, skipped) in [(&[0x47; 100][..], 100), (&[0; 1000], 1000), (&[], 0)] {
        std::fs::write(&path, [&packets[..], tail].concat()).unwrap();
        let (_, found) = report(&[text(&path)]);
        assert_eq!(found["skipped_bytes"], skipped, "{found:#}");
    }
}

/// ffmpeg's own size of datagrams: most of them begin within a packet.
#[test]
fn packets_that_datagrams_cut() {
    let _shared = share_machine();
    let folder = folder();
    let mut pcap = Pcap::new(RAW);
    for (n, datagram) in stream::bytes(&stream::clean(3)).chunks(1472).enumerate() {
        let ns = stream::ticks(n * 1472 / 188) * 1000 / 27;
        pcap.frame(BEGIN + ns, &ipv4(HOST, [239, 0, 0, 1], datagram));
    }
    let path = pcap.write(folder.path(), "cut.pcap");
    let (code, found) = report(&[&path]);
    assert_eq!((code, raised(&found)), (CLEAN, vec![]), "{found:#}");
    assert!(found["network"]["cut_packets"].as_u64().unwrap() > 500, "{found:#}");
    assert!(analyze(&[&path]).1.contains("packets are cut in two"));
}
