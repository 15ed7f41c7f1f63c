//! A channel between its log and the kernel: what is laid for which address.

mod judged;

use super::*;
use crate::config::Config;
use crate::observe::{MuxAlarm, SourceState};
use crate::proto::rtp_ts::{Options, Receiver};
use crate::wire::rtp::RtpPacket;
use std::net::SocketAddr;

/// Every datagram of a channel, with the number of its address.
struct Bench {
    output: Output,
    outlets: Vec<Outlet>,
    laid: Vec<(u32, Vec<u8>)>,
    /// When each of the transport stream's left.
    left: Vec<Mono>,
}

impl Bench {
    /// A channel of 4 Mbit/s to these places.
    fn new(to: &[&str]) -> Bench {
        Bench::configured(&format!(
            "[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 4000000\nto = {to:?}\nservice_name = \"One\"\n"
        ))
    }

    /// The first channel of this text.
    fn configured(text: &str) -> Bench {
        let config = Config::parse(text, "a test").unwrap();
        let channel = &config.channels[0];
        let slot = ChannelSlot::new(about(channel), &indicators());
        let seed = 0x0102_0304_FFF0_FFF0;
        let (mut output, outlets) =
            Output::new(channel, &config.headend, slot, seed, &mut Outlets::default(), &mut Links::default())
                .unwrap();
        output.begin(Mono::ZERO);
        Bench { output, outlets, laid: Vec::new(), left: Vec::new() }
    }

    /// Writes what is due at `ms`.
    fn tick(&mut self, ms: u64) {
        let now = Mono::from_micros(ms * 1000);
        let laid = &mut self.laid;
        let mut lay = |datagram: &[u8], to: &[To]| {
            laid.extend(to.iter().map(|to| (to.address, datagram[usize::from(to.skip)..].to_vec())));
        };
        let mut tray = Tray::new(&mut lay, 1_800_000_000);
        for _ in 0..self.output.due(now) {
            self.output.write(now, &mut tray);
            self.left.push(now);
        }
        self.output.watch(now);
    }

    fn of(&self, address: u32) -> Vec<&[u8]> {
        let its = self.laid.iter().filter(|(to, _)| *to == address);
        its.map(|(_, datagram)| &datagram[..]).collect()
    }

    fn metrics(&self) -> &crate::observe::ChannelMetrics {
        &self.output.slot.metrics
    }

    fn service(&self, n: usize) -> &crate::observe::ServiceMetrics {
        &self.output.slot.services[n]
    }
}

#[test]
fn each_place_gets_its_datagrams() {
    let mut bench = Bench::new(&[
        "udp://127.0.0.1:5000",
        "rtp://127.0.0.1:5004#fec=5x5",
        "rtp://127.0.0.2:6004#fec=5x5",
        "rtp://127.0.0.3:7004#fec=4x4&columns",
    ]);
    let ports: Vec<Vec<u16>> =
        bench.outlets.iter().map(|outlet| outlet.addresses.iter().map(SocketAddr::port).collect()).collect();
    assert_eq!(ports, [vec![5000], vec![5004, 5006, 5008], vec![6004, 6006, 6008], vec![7004, 7006]]);
    (0..1000).for_each(|ms| bench.tick(ms));

    let (plain, rtp) = (bench.of(0), bench.of(1));
    assert_eq!(plain.len(), 1 + 999 * 4000 / 10_528, "one each 2.632 ms");
    assert!(plain.iter().all(|datagram| datagram.len() == 1316 && datagram[0] == 0x47));
    for (n, (datagram, plain)) in rtp.iter().zip(&plain).enumerate() {
        let packet = RtpPacket::parse(datagram).unwrap();
        assert_eq!(packet.payload, *plain);
        assert_eq!((packet.payload_type, packet.ssrc, packet.marker), (33, 0x0102_0304, false));
        assert_eq!(packet.sequence, 0xFFF0u16.wrapping_add(n as u16));
        // 90 kHz of the position, rounded down.
        assert!(u64::from(packet.timestamp).abs_diff(n as u64 * 10_528 * 90 / 4000) <= 1, "{n}");
    }
    assert!(bench.of(1) == bench.of(4) && bench.of(1) == bench.of(7), "two paths carry the same");
    assert!(bench.of(2) == bench.of(5) && bench.of(3) == bench.of(6), "and one matrix is one");
    let blocks = rtp.len() / 25;
    // Columns follow in the block behind theirs.
    assert!((5 * (blocks - 1)..=5 * blocks).contains(&bench.of(2).len()), "{}", bench.of(2).len());
    assert_eq!(bench.of(3).len(), rtp.len() / 5, "rows follow at once");
    assert!(bench.of(8).len() + 4 >= rtp.len() / 16 * 4 - 4 && bench.of(8).len() <= rtp.len() / 4);
    assert_eq!(bench.metrics().datagrams.get(), rtp.len() as u64);
    let made = bench.of(2).len() + bench.of(3).len() + bench.of(8).len();
    assert_eq!(bench.metrics().fec_datagrams.get(), made as u64);
}

#[test]
fn what_is_lost_is_repaired() {
    for (options, step) in [("fec=5x5", 7), ("fec=8x8&staggered", 11), ("fec=10x4&columns", 41)] {
        let mut bench = Bench::new(&[&format!("rtp://127.0.0.1:5004#{options}")]);
        (0..2000).for_each(|ms| bench.tick(ms));
        let mut receiver = Receiver::new(Options { wait: Duration::from_millis(50), fec: true });
        let (mut sent, mut whole, mut lost) = (0u64, Vec::new(), 0);
        for (address, datagram) in &bench.laid {
            // Spread over the time that they took.
            let now = Mono::from_micros(sent * 2632);
            match address {
                0 => {
                    sent += 1;
                    if sent % step != 0 {
                        receiver.push(0, now, datagram);
                    }
                }
                _ => receiver.push_fec(now, datagram),
            }
            while let Some(packet) = receiver.pop(now) {
                lost += packet.lost;
                whole.extend_from_slice(packet.payload);
            }
        }
        let plain: Vec<u8> = bench.of(0).iter().flat_map(|datagram| &datagram[12..]).copied().collect();
        assert_eq!(lost, 0, "{options}");
        assert!(whole.len() > plain.len() / 2 && plain.starts_with(&whole), "{options}: {}", whole.len());
    }
}

#[test]
fn a_stall_that_is_left_out_is_announced() {
    let mut bench = Bench::new(&["rtp://127.0.0.1:5004"]);
    (0..100).for_each(|ms| bench.tick(ms));
    let before = bench.left.len();
    let now = Mono::from_micros(5_000_000);
    let due = bench.output.due(now);
    assert!(due > 1800, "{due}");
    bench.output.jump(now);
    assert_eq!(bench.output.due(now), 1, "but the newest");
    (5000..5100).for_each(|ms| bench.tick(ms));
    let packets: Vec<_> = bench.of(0).into_iter().map(|rtp| RtpPacket::parse(rtp).unwrap()).collect();
    assert!(packets.len().abs_diff(2 * before) <= 1);
    for (n, two) in packets.windows(2).enumerate() {
        let ticks = two[1].timestamp - two[0].timestamp;
        let jumps = n + 1 == before;
        assert_eq!(two[1].sequence, two[0].sequence.wrapping_add(1));
        assert_eq!(two[1].marker, jumps, "{n}");
        assert!((236..=238).contains(&(if jumps { ticks / due as u32 } else { ticks })), "{n}: {ticks}");
    }
    assert_eq!((bench.metrics().jumps.get(), bench.metrics().jumped_datagrams.get()), (1, due - 1));
    // The clock says so too: a PCR with the flag of a discontinuity is in the first packet.
    let first = packets[before].payload;
    assert_eq!((first[3] & 0x20, first[5] & 0x90), (0x20, 0x90));
    let raised = bench.output.slot.indicators.iter().filter(|(_, count)| count.get() > 0);
    let raised: Vec<&str> = raised.map(|(id, _)| *id).collect();
    // Tables were away for five seconds; counters and clock are in order.
    assert!(["1.4", "2.3b", "2.4"].iter().all(|id| !raised.contains(id)), "{raised:?}");
}

#[test]
fn what_the_kernel_and_the_multiplex_say_is_counted() {
    let mut bench = Bench::new(&["udp://127.0.0.1:5000"]);
    bench.output.sent(Taken { datagrams: 1, bytes: 1316 });
    bench.output.refused(0, libc::ENETUNREACH);
    (0..1500).for_each(|ms| bench.tick(ms));
    let metrics = bench.metrics();
    let raised: Vec<_> = bench
        .service(0)
        .alarms
        .iter()
        .filter(|(_, gauge)| gauge.get() == 1)
        .map(|(alarm, _)| alarm)
        .collect();
    assert_eq!(raised, [MuxAlarm::SourceLost, MuxAlarm::NoProgram], "nothing was fed");
    assert_eq!((metrics.sent_datagrams.get(), metrics.sent_bytes.get()), (1, 1316));
    assert_eq!(metrics.send_errors.iter().map(|(_, count)| count.get()).sum::<u64>(), 1);
}

/// Of two networks one is down: what is wrong on the other one is said.
#[test]
fn a_dead_link_hides_nothing_of_another() {
    let mut bench =
        Bench::new(&["udp://127.0.0.1:5000", "rtp://127.0.0.1:6000#fec=4x4", "udp://127.0.0.1:7000"]);
    let link = |up| {
        let gauge = crate::observe::Gauge::default();
        gauge.set(up);
        Some(std::sync::Arc::new(crate::observe::LinkSlot { interface: String::new(), up: gauge }))
    };
    (bench.output.ways[0].link, bench.output.ways[1].link) = (link(0), link(1));
    let last = bench.output.ways[2].first;
    assert!(last > 2, "addresses for repair packets are between");
    for ms in 0..5000 {
        for address in [0, last - 1] {
            bench.output.refused(address, libc::ENETUNREACH);
        }
        bench.tick(ms);
    }
    let told: Vec<bool> = bench.output.ways.iter().map(|way| way.failures.is_told()).collect();
    assert_eq!(told, [false, true, false]);
}

#[test]
fn what_cannot_be_sent_is_said_with_what_to_do() {
    let text = |to: &str| {
        format!("[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 4000000\nto = [{to:?}]\n")
    };
    for (to, says) in [
        ("udp://nothing0@239.255.1.1:5000", "there is no interface `nothing0`"),
        ("udp://@192.0.2.77@127.0.0.1:5000", "the source must be an address of this machine"),
    ] {
        let config = Config::parse(&text(to), "a test").unwrap();
        let mut links = Links::new().unwrap();
        let (channel, slot) = (&config.channels[0], ChannelSlot::default());
        let made = Output::new(channel, &config.headend, slot, 1, &mut Outlets::default(), &mut links);
        let error = made.err().unwrap().to_string();
        assert!(error.contains(says) && error.contains("channel `one` cannot be sent to"), "{error}");
    }
}

/// Sources of one channel are known apart: what one does is counted of its service, and the channel is on air when all are.
#[test]
fn each_service_has_its_own_source() {
    let mut bench = Bench::configured(
        "[[channel]]\nname = \"one\"\nbitrate = 8000000\nto = [\"udp://127.0.0.1:5000\"]\nservices = [\n\
         { source = \"live/a\", service_id = 5 }, { source = \"live/b/c\" },\n]\n",
    );
    let names = [("live", "a"), ("live/b", "c")].map(|(app, stream)| StreamName::new(app, stream));
    assert_eq!(bench.output.sources(), names);
    let about = bench.output.slot.about.clone();
    assert_eq!((about.services[0].id.as_str(), about.sources().as_str()), ("5", "live/a + live/b/c"));
    let config = crate::media::TrackTable::new().snapshot();
    let join = JoinPoint { pos: Default::default(), dts_ms: 0, config, opening_at: 0, seam: Bytes::new() };
    let null = [0x47u8, 0x1F, 0xFF, 0x10].into_iter().chain([0; 184]).collect::<Bytes>();
    for ms in 0..2000 {
        let now = Mono::from_micros(ms * 1000);
        if ms == 100 {
            (0..2).for_each(|source| bench.output.heard(source, now, Heard::Found));
            bench.output.seam(1, now, now, &join);
        }
        if ms >= 100 {
            bench.output.feed(1, now, now, &null);
        }
        if ms >= 1500 {
            bench.output.feed(0, now, now, &null);
        }
        if ms % 100 == 0 {
            let states = [0, 1].map(|n| bench.service(n).state());
            match ms {
                200..1500 => assert_eq!(states, [SourceState::Silent, SourceState::OnAir], "{ms}"),
                1700.. => assert_eq!(states, [SourceState::OnAir; 2], "{ms}"),
                _ => {}
            }
        }
        bench.tick(ms);
    }
    assert_eq!(bench.output.slot.state(), SourceState::OnAir);
    assert_eq!([0, 1].map(|n| bench.service(n).seams.get()), [0, 1]);
    // One that no channel has is nobody's.
    bench.output.feed(2, Mono::ZERO, Mono::ZERO, &null);
    bench.output.heard(2, Mono::ZERO, Heard::Skipped);
    bench.output.seam(2, Mono::ZERO, Mono::ZERO, &join);
}
