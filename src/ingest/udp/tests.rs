//! Inputs without sockets: datagrams in, requests out.

use super::*;
use crate::media::tag;
use crate::observe::{DatagramRefusal, SwitchReason};
use crate::wire::ts::write::packet::{Adaptation, Counter, UnitWriter, write_section};
use crate::wire::ts::write::pes::PesHeader;
use crate::wire::ts::write::section::{Component, pat, pmt};
use std::net::SocketAddr;

const KEY: &[u8] = &[
    0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x05, 0x07, 0xC4, 0, 0, 0, 1, 0x68, 0xCE, 0x3C, 0x80, 0, 0, 0,
    1, 0x65, 0x88, 0x84, 0x21, 0xA0,
];
const INTER: &[u8] = &[0, 0, 0, 1, 0x41, 0x9A, 0x24, 0x6C];

/// What sends to an origin.
#[derive(Default)]
struct Sender {
    counters: [Counter; 3],
    ticks: u64,
}

impl Sender {
    /// A picture every 40 ms, with tables in front of those to begin with.
    fn picture(&mut self, key: bool) -> Vec<u8> {
        let (mut out, ticks) = (Vec::new(), self.ticks);
        self.ticks += 3600;
        let mut put = |part: &[u8]| {
            out.extend_from_slice(part);
            true
        };
        let [first, second, third] = &mut self.counters;
        if key {
            let component = Component { stream_type: 0x1B, pid: 0x100, descriptors: Vec::new() };
            assert!(write_section(0, first, &pat(1, 0, &[(1, 0x1000)]).unwrap(), &mut put));
            assert!(write_section(0x1000, second, &pmt(1, 0, 0x100, &[component]).unwrap(), &mut put));
        }
        let payload = if key { KEY } else { INTER };
        let header = PesHeader { stream_id: 0xE0, pts: ticks, dts: ticks }.encode(payload.len()).unwrap();
        let unit = [header.as_slice(), payload].concat();
        assert!(UnitWriter::new(0x100, third, Adaptation::default(), unit.len()).write(&unit, &mut put));
        out
    }
}

/// An input whose sockets are not there.
struct Bench {
    input: Input,
    now: Mono,
    senders: Vec<Sender>,
    from: Vec<SocketAddr>,
}

/// What an input asks for, in short.
fn said(io: &mut Io) -> Vec<String> {
    let word = |request: Request| match request {
        Request::Publish { name, .. } => format!("publish {name}"),
        Request::Unpublish => "unpublish".to_owned(),
        Request::Frame(frame) => {
            let tag = tag::inspect(frame.kind, &frame.body).unwrap();
            format!("{:?}{}", tag.packet, if tag.is_join_video() { " key" } else { "" })
        }
        other => format!("{other:?}"),
    };
    io.requests.drain(..).map(word).collect()
}

impl Bench {
    fn new(origins: usize, keys: &str) -> Bench {
        let from: Vec<String> = (0..origins).map(|n| format!("udp://127.0.0.1:{}", 5000 + n)).collect();
        let text = format!("[[input]]\nstream = \"live/in\"\nfrom = {from:?}\n{keys}");
        let config = config::Config::parse(&text, "f").unwrap();
        let plan = Plan::new(&config.inputs[0], &config.headend, 4);
        let now = Mono::from_micros(1_000_000);
        let input = Input::new(&plan, now);
        let from = (0..origins).map(|n| ([10, 0, 0, 1 + n as u8], 9000).into()).collect();
        Bench { input, now, senders: (0..origins).map(|_| Sender::default()).collect(), from }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn datagram(&mut self, origin: usize, from: SocketAddr, payload: &[u8]) -> Vec<String> {
        let mut io = Io::default();
        let datagram = Datagram { from, payload, cut: false };
        self.input.handle_datagram(self.now, 3 * origin as u32, datagram, &mut io);
        let said = said(&mut io);
        // The core gives the name.
        if said.iter().any(|word| word.starts_with("publish")) {
            self.input.handle_answer(self.now, &Answer::Publishing);
        }
        said
    }

    fn picture(&mut self, origin: usize, key: bool) -> Vec<String> {
        let bytes = self.senders[origin].picture(key);
        self.datagram(origin, self.from[origin], &bytes)
    }

    /// So many pictures of each of `origins`, 40 ms apart, a keyframe every tenth; what was asked for.
    fn run(&mut self, origins: &[usize], pictures: usize) -> Vec<String> {
        let mut all = Vec::new();
        for n in 0..pictures {
            self.pass(40);
            for &origin in origins {
                all.extend(self.picture(origin, n % 10 == 0));
            }
            // Without the sockets, which are not to be had here.
            for at in 0..self.input.paths.len() {
                let turn = self.input.paths[at].look(self.now);
                self.input.turned(at, turn);
            }
        }
        all
    }

    fn switches(&self, reason: SwitchReason) -> u64 {
        self.input.slot.metrics.failovers[reason].get()
    }
}

#[test]
fn a_stream_begins_with_its_configuration() {
    let mut bench = Bench::new(1, "");
    // Not with a picture that refers to others, and not before there are tables.
    assert_eq!(bench.picture(0, false), [""; 0]);
    assert_eq!(bench.picture(0, true), ["publish live/in", "Config", "Frames key"]);
    assert_eq!(bench.picture(0, false), ["Frames"]);
    assert_eq!(bench.input.slot.metrics.on_air.get(), 1);
}

#[test]
fn plans_follow_from_names() {
    let config =
        config::Config::parse("[[input]]\nstream = \"live/in\"\nfrom = [\"udp://127.0.0.1:5000\"]\n", "f")
            .unwrap();
    let core = |cores| Plan::new(&config.inputs[0], &config.headend, cores).core();
    assert_eq!((core(1), core(7), core(7) < 7), (0, core(7), true));
}

#[test]
fn a_backup_takes_over_at_its_keyframe_and_gives_back() {
    let mut bench = Bench::new(2, "failover_ms = 200\nrevert_after_s = 10");
    let said = bench.run(&[0, 1], 20);
    assert_eq!(said.iter().filter(|word| *word == "publish live/in").count(), 1);
    assert_eq!(bench.input.air.current(), Some(0));
    // The primary stops: six pictures of the backup are too early, and then no keyframe.
    let said = bench.run(&[1], 9);
    assert_eq!(said, ["unpublish"; 0], "{said:?}");
    let said = bench.run(&[1], 2);
    assert_eq!(said[..4], ["unpublish", "publish live/in", "Config", "Frames key"]);
    assert_eq!((bench.input.air.current(), bench.switches(SwitchReason::Silence)), (Some(1), 1));
    // It is back; ten seconds later, and at a keyframe, it is taken again.
    bench.senders[0] = Sender::default();
    let said = bench.run(&[0, 1], 245);
    assert_eq!(said.iter().filter(|word| *word == "unpublish").count(), 0);
    let said = bench.run(&[0, 1], 20);
    assert_eq!(said.iter().filter(|word| *word == "unpublish").count(), 1);
    assert_eq!((bench.input.air.current(), bench.switches(SwitchReason::Revert)), (Some(0), 1));
}

#[test]
fn a_name_is_claimed_again_every_second() {
    let mut bench = Bench::new(1, "");
    let mut claims = 0;
    for n in 0..100 {
        bench.pass(40);
        let bytes = bench.senders[0].picture(n % 5 == 0);
        let mut io = Io::default();
        let datagram = Datagram { from: bench.from[0], payload: &bytes, cut: false };
        bench.input.handle_datagram(bench.now, 0, datagram, &mut io);
        if said(&mut io).iter().any(|word| word.starts_with("publish")) {
            claims += 1;
            bench.input.handle_answer(bench.now, &Answer::PublishRefused(Refused::NameTaken));
        }
    }
    // Four seconds, a keyframe every fifth of one.
    assert_eq!(claims, 4);
    assert_eq!(bench.input.slot.metrics.claims_refused.get(), 4);
    bench.pass(1400);
    assert_eq!(bench.picture(0, true)[0], "publish live/in");
    // Somebody takes it over, and later it falls silent.
    bench.input.handle_answer(bench.now, &Answer::Deposed(DisconnectReason::Takeover));
    assert_eq!(bench.picture(0, true), [""; 0]);
    bench.pass(1000);
    assert_eq!(bench.picture(0, true)[0], "publish live/in");
    bench.input.handle_answer(bench.now, &Answer::Deposed(DisconnectReason::PublisherSilent));
    assert_eq!(bench.picture(0, true)[0], "publish live/in", "at once");
}

/// Behind a pause of the whole process whoever publishes has sent, too, and was not heard yet.
#[test]
fn who_stood_still_takes_no_name_from_others() {
    let mut bench = Bench::new(1, "");
    bench.pass(3000);
    assert_eq!(bench.picture(0, true), [""; 0]);
    bench.pass(999);
    assert_eq!(bench.picture(0, true), [""; 0]);
    bench.pass(1);
    assert_eq!(bench.picture(0, true)[0], "publish live/in");
}

#[test]
fn one_sender_is_heard_until_it_is_silent() {
    let mut bench = Bench::new(1, "failover_ms = 200");
    let stranger = SocketAddr::from(([10, 0, 0, 99], 7));
    let refused = |bench: &Bench| {
        DatagramRefusal::ALL.map(|reason| bench.input.origins[0].metrics.refused[reason].get())
    };
    // Somebody who sends no packets keeps nobody out.
    bench.datagram(0, stranger, b"noise");
    assert_eq!(refused(&bench), [0, 1, 0]);
    bench.picture(0, true);
    let mut other = Sender::default();
    for _ in 0..5 {
        bench.pass(40);
        bench.picture(0, false);
        assert_eq!(bench.datagram(0, stranger, &other.picture(true)), [""; 0]);
    }
    assert_eq!(refused(&bench), [5, 1, 0]);
    bench.pass(200);
    // What others of it came before was never read.
    let said = bench.datagram(0, stranger, &other.picture(true));
    assert!(said.contains(&"Frames key".to_owned()), "{said:?}");
    bench.datagram(0, stranger, b"neither");
    assert_eq!(refused(&bench), [5, 2, 0]);
}

/// Packets that were cut in two between datagrams; one datagram that is lost takes those of its own packets with it.
#[test]
fn packets_that_are_cut_are_put_together() {
    for (size, lost, expected) in
        [(1472, None, 120), (1400, None, 120), (1000, None, 120), (1472, Some(5), 113)]
    {
        let mut bench = Bench::new(1, "");
        let mut stream = Vec::new();
        for n in 0..120 {
            stream.extend(bench.senders[0].picture(n % 10 == 0));
        }
        let mut pictures = 0;
        // Senders pause in the middle, and send what they have.
        let (front, back) = stream.split_at(stream.len() / 188 / 2 * 188);
        let pieces = front.chunks(size).chain(back.chunks(size));
        for (n, piece) in pieces.enumerate().filter(|(n, _)| Some(*n) != lost) {
            bench.pass(n as u64 % 2);
            let said = bench.datagram(0, bench.from[0], piece);
            pictures += said.iter().filter(|word| word.starts_with("Frames")).count();
        }
        assert!((expected - 1..=expected).contains(&pictures), "{pictures} pictures in pieces of {size}");
        assert!(bench.input.origins[0].cuts && bench.input.heap_bytes() < 1 << 20);
    }
}

/// Merged origins are one path: what one loses the other brings.
#[test]
fn two_paths_are_one_stream() {
    let text = "[[input]]\nstream = \"live/in\"\nmerge = true\nfrom = [\"rtp://127.0.0.1:5000\", \"rtp://127.0.0.1:5002\"]\n";
    let config = config::Config::parse(text, "f").unwrap();
    let plan = Plan::new(&config.inputs[0], &config.headend, 1);
    let mut now = Mono::from_micros(1_000_000);
    let mut input = Input::new(&plan, now);
    assert_eq!((input.paths.len(), input.origins.len()), (1, 2));
    let (mut sender, mut io, mut pictures) = (Sender::default(), Io::default(), 0);
    for n in 0..100u16 {
        now = now + Duration::from_millis(40);
        let [high, low] = n.to_be_bytes();
        let head = [0x80, 33, high, low, 0, 0, 0, 0, 1, 2, 3, 4];
        let datagram = [&head[..], &sender.picture(n % 10 == 0)].concat();
        for leg in 0..2u32 {
            if n % 5 != 2 + leg as u16 {
                let from = SocketAddr::from(([10, 0, 0, 1 + leg as u8], 9000));
                let datagram = Datagram { from, payload: &datagram, cut: false };
                input.handle_datagram(now, 3 * leg, datagram, &mut io);
            }
        }
        pictures += said(&mut io).iter().filter(|word| word.starts_with("Frames")).count();
    }
    assert_eq!((pictures, input.paths[0].rtp_tally().lost), (100, 0));
    input.publish(now);
    let delivered = &input.origins[0].metrics.rtp[0];
    assert_eq!((delivered.0, delivered.1.get()), ("delivered", 100));
    let rtp_loss = |origin: usize| {
        input.origins[origin].metrics.indicators.iter().find(|i| i.0 == "rtp_loss").unwrap().1.get()
    };
    assert!(rtp_loss(0) > 0 && rtp_loss(1) > 0);
}

/// The second half of a packet may look like RTP around packets; it is the second half of a packet.
#[test]
fn what_goes_on_with_a_packet_is_no_rtp() {
    let mut bench = Bench::new(1, "");
    let first: Vec<u8> = (0..10).flat_map(|n| bench.senders[0].picture(n == 0)).collect();
    let packets: Vec<&[u8]> = first.chunks(188).collect();
    let (cut, mut whole) = (packets.len() - 1, packets.concat());
    // Behind the cut: version 2, payload type 33.
    whole[cut * 188 + 100] = 0x80;
    whole[cut * 188 + 101] = 33;
    let (front, back) = whole.split_at(cut * 188 + 100);
    bench.datagram(0, bench.from[0], front);
    bench.datagram(0, bench.from[0], back);
    let tally = bench.input.paths[0].demux().tally();
    assert_eq!((tally.packets, tally.lost), (packets.len() as u64, 0));
    assert!(bench.input.paths[0].rtp_tally().datagrams == 0);
}

/// A primary that brings packets, and nothing to begin with, does not keep its backup out.
#[test]
fn a_primary_without_keyframes_is_none() {
    let mut bench = Bench::new(2, "failover_ms = 200");
    // Tables, and pictures that refer to what never came.
    let begin = bench.senders[0].picture(true);
    bench.datagram(0, bench.from[0], &begin[..2 * 188]);
    let mut first = None;
    for n in 0..500 {
        bench.pass(40);
        bench.picture(0, false);
        let said = bench.picture(1, n % 10 == 0);
        if said.contains(&"publish live/in".to_owned()) {
            first.get_or_insert(n);
        }
    }
    assert!(first.is_some_and(|n| (290..320).contains(&n)), "{first:?}");
    assert_eq!(bench.input.air.current(), Some(1));
}

/// A sender that sends in bursts is lost once at most, and one that sends evenly is missed as soon as before.
#[test]
fn pauses_of_a_sender_are_learned() {
    let turns = |pause_ms: u64, times: u64| {
        let mut bench = Bench::new(1, "failover_ms = 200");
        let mut lost = 0;
        for n in 0..times {
            for ms in 0..pause_ms {
                bench.pass(1);
                lost += u64::from(bench.input.paths[0].look(bench.now) == Turn::Lost);
                assert!(lost <= 1, "pause {n} at {ms} ms");
            }
            bench.picture(0, n % 3 == 0);
        }
        let mut missed_ms = 0;
        while bench.input.paths[0].look(bench.now) != Turn::Lost {
            bench.pass(1);
            missed_ms += 1;
        }
        (lost, missed_ms)
    };
    assert_eq!(turns(40, 100), (0, 200));
    assert_eq!(turns(150, 100), (0, 300));
    assert_eq!(turns(341, 100), (1, 682));
    assert_eq!(turns(900, 20), (1, 1000));
    // What was long once is forgotten.
    let mut pauses = path::Pauses::new(Mono::ZERO);
    let second = Duration::from_secs(1);
    pauses.ended(Mono::ZERO + second, Duration::from_millis(400));
    for s in 2..60 {
        pauses.ended(Mono::ZERO + second * s, Duration::from_millis(40));
    }
    assert_eq!(pauses.longest(), Duration::from_millis(40));
}

/// Sound alone comes in few packets; that is no silence.
#[test]
fn sound_alone_has_longer_pauses() {
    let mut path = Path::new(
        ts::Options { all: true, ..ts::Options::default() },
        Duration::from_millis(200),
        rtp_ts::Options { wait: Duration::ZERO, fec: false },
        Mono::ZERO,
    );
    let mut out = Vec::new();
    let mut put = |part: &[u8]| {
        out.extend_from_slice(part);
        true
    };
    let mut counters = [Counter::default(); 3];
    let component = Component { stream_type: 0x0F, pid: 0x101, descriptors: Vec::new() };
    assert!(write_section(0, &mut counters[0], &pat(1, 0, &[(1, 0x1000)]).unwrap(), &mut put));
    assert!(write_section(0x1000, &mut counters[1], &pmt(1, 0, 0x101, &[component]).unwrap(), &mut put));
    assert!(UnitWriter::new(0x101, &mut counters[2], Adaptation::default(), 20).write(&[0; 20], &mut put));
    let at = |ms: u64| Mono::from_micros(ms * 1000);
    assert_eq!(path.packets(at(0), &out), Turn::Came);
    assert_eq!((path.look(at(999)), path.look(at(1000))), (Turn::No, Turn::Lost));
}

/// Pictures that wait for their keyframe are on their way; only without any sound alone is a place to begin with.
#[test]
fn sound_waits_for_a_keyframe() {
    for (pictures, expected_s) in [(false, 10), (true, 30)] {
        let options = rtp_ts::Options { wait: Duration::ZERO, fec: false };
        let read = ts::Options { all: true, ..ts::Options::default() };
        let mut path = Path::new(read, Duration::from_millis(200), options, Mono::ZERO);
        let mut counters = [Counter::default(); 4];
        let mut first = None;
        for second in 0..40u64 {
            let mut out = Vec::new();
            let mut put = |part: &[u8]| {
                out.extend_from_slice(part);
                true
            };
            let components = [(0x1B, 0x100), (0x0F, 0x101)].map(|(stream_type, pid)| Component {
                stream_type,
                pid,
                descriptors: Vec::new(),
            });
            let [one, two, three, four] = &mut counters;
            assert!(write_section(0, one, &pat(1, 0, &[(1, 0x1000)]).unwrap(), &mut put));
            assert!(write_section(0x1000, two, &pmt(1, 0, 0x100, &components).unwrap(), &mut put));
            let mut unit = |stream_id, pid, counter: &mut Counter, payload: &[u8]| {
                let ticks = second * 90_000;
                let header = PesHeader { stream_id, pts: ticks, dts: ticks }.encode(payload.len()).unwrap();
                let unit = [header.as_slice(), payload].concat();
                assert!(
                    UnitWriter::new(pid, counter, Adaptation::default(), unit.len()).write(&unit, &mut put)
                );
            };
            if pictures {
                unit(0xE0, 0x100, three, INTER);
            }
            unit(0xC0, 0x101, four, &[0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x1F, 0xFC, 0x21]);
            let now = Mono::from_micros(second * 1_000_000);
            path.packets(now, &out);
            while let Some(output) = path.poll_output() {
                if let Output::Frame(role, _) = output
                    && path.begins(now, role)
                {
                    first.get_or_insert(second);
                }
            }
        }
        assert_eq!(first, Some(expected_s), "pictures: {pictures}");
    }
}

/// How often indicators of what is absent were raised on the first origin.
fn absences(bench: &Bench) -> [u64; 3] {
    let indicators = &bench.input.slot.origins[0].indicators;
    ["silence", "1.3", "1.5"].map(|id| indicators.iter().find(|(name, _)| *name == id).unwrap().1.get())
}

/// A gateway that is held up has not read what came meanwhile, and says of nothing that it is absent.
#[test]
fn what_waits_to_be_read_is_not_absent() {
    let mut io = Io::default();
    for held_up_ms in [200, 480, 1200] {
        let mut bench = Bench::new(1, "");
        bench.run(&[0], 30);
        bench.pass(held_up_ms);
        // Time passes first, as after a pause of the whole machine.
        bench.input.handle_timeout(bench.now, &mut io);
        for n in 0..held_up_ms / 40 {
            bench.picture(0, n % 10 == 0);
        }
        bench.input.handle_timeout(bench.now, &mut io);
        assert_eq!(absences(&bench), [0, 0, 0], "{held_up_ms} ms");
        // What comes no more is told of in time.
        for _ in 0..60 {
            bench.pass(10);
            bench.input.handle_timeout(bench.now, &mut io);
        }
        assert_eq!(absences(&bench)[0], 1, "{held_up_ms} ms");
    }
}

/// A path that is lost at once behind the line that it came is noted, and said as soon as lines may come.
#[test]
fn a_loss_is_noted_and_said_whenever_it_is() {
    let mut bench = Bench::new(1, "failover_ms = 100\n");
    let mut io = Io::default();
    bench.run(&[0], 3);
    assert!(bench.input.said_alive[0]);
    for _ in 0..30 {
        bench.pass(10);
        bench.input.handle_timeout(bench.now, &mut io);
    }
    let noted = |bench: &Bench| -> Vec<&str> {
        let events = bench.input.slot.diary.events();
        events.iter().map(|event| event.what).filter(|what| ["came", "lost"].contains(what)).collect()
    };
    assert!(!bench.input.paths[0].is_alive() && bench.input.said_alive[0], "its line is to come");
    assert_eq!(noted(&bench), ["came", "lost"]);
    for _ in 0..100 {
        bench.pass(10);
        bench.input.handle_timeout(bench.now, &mut io);
    }
    assert!(!bench.input.said_alive[0]);
    assert_eq!(noted(&bench), ["came", "lost"]);
}
