//! Channels and inputs on a switch that sends groups only where they were joined: IGMP and MLD with snooping and a querier.
//!
//! How long joining and leaving takes is printed, and stands in docs/headend.md; nothing here depends on it.

use super::{RATE, channel, counter_faults, stream_of, transport_stream};
use crate::support::engine::first_that_works;
use crate::support::paced::{Paced, now};
use crate::support::process::static_ffmpeg;
use crate::support::receiver::{INTERFACE, Receiver, inside, interface};
use crate::support::server::{LIMIT, Server};
use crate::support::switch::{BOXES, GATEWAY, GATEWAY_V6, Switch};
use crate::support::tap::{Frame, Seen, Tap};
use crate::support::{poll, share_machine};
use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

/// Groups by UDP and RTP, of any source and of one, by IPv4 and IPv6.
const UDP: &str = "239.255.1.1:5000";
const RTP: &str = "239.255.1.2:5004";
const SSM: &str = "232.1.1.1:5000";
const SIX: &str = "[ff15::1]:5000";
const SSM_SIX: &str = "[ff35::1]:5000";
/// How often each kind is joined and left.
const ROUNDS: usize = 5;

/// The gateway behind the switch's first port.
fn start(switch: &Switch, tables: &str) -> Server {
    let config = first_that_works().wrapped(&switch.network.wrapper()).reached_at(switch.network.calm);
    config.set("headend.interface", &format!("{INTERFACE:?}")).table(tables).start()
}

/// A box that stays: what comes to it says how the channel goes on, and nothing of that may be missing.
struct Stays {
    receiver: Receiver,
    came: Vec<Vec<u8>>,
}

impl Stays {
    /// Waits until so many datagrams more have come.
    fn see(&mut self, more: usize) {
        self.came.extend(self.receiver.waiting());
        self.came.extend(self.receiver.take(more));
    }

    /// Waits until nothing comes to a port any more while the channel goes on; what came until then.
    fn await_quiet(&mut self, tap: &Tap) -> Vec<Frame> {
        let mut came = Vec::new();
        poll("a port without datagrams", LIMIT, || {
            came.extend(tap.frames());
            self.see(40);
            let more = tap.frames();
            let quiet = more.is_empty();
            came.extend(more);
            quiet.then_some(())
        });
        came
    }
}

/// Where the datagrams on a wire went to.
fn groups(frames: &[Frame]) -> BTreeSet<SocketAddr> {
    frames.iter().map(|frame| frame.to).collect()
}

fn set(groups: &[&str]) -> BTreeSet<SocketAddr> {
    groups.iter().map(|group| group.parse().unwrap()).collect()
}

#[test]
fn a_switch_sends_a_channel_only_where_it_was_joined() {
    let (_shared, Some(switch)) = (share_machine(), Switch::new()) else { return };
    let to = [
        format!("udp://{UDP}#ttl=8&dscp=40"),
        format!("rtp://{RTP}"),
        format!("udp://{SSM}"),
        format!("udp://{SIX}#ttl=5"),
        format!("udp://{SSM_SIX}"),
    ];
    switch.ask(3, 2);
    let server = start(&switch, &channel("one", RATE, &to.each_ref().map(String::as_str)));
    let taps: [Tap; BOXES] = std::array::from_fn(|n| switch.tap(n));
    // One stays to the end, while others come and go.
    let mut stays = Stays { receiver: switch.receiver(0, UDP, None), came: Vec::new() };
    // Until the querier has had time for answers the switch sends to everybody.
    taps[1..].iter().for_each(|tap| drop(stays.await_quiet(tap)));

    let (stranger, stranger_v6) = ("10.9.0.77", "fd09::77");
    let joined = [
        switch.receiver(1, RTP, None),
        switch.receiver(1, SIX, None),
        switch.receiver(2, SSM, Some(GATEWAY)),
        switch.receiver(2, SSM_SIX, Some(GATEWAY_V6)),
    ];
    joined.iter().for_each(|receiver| drop(receiver.next()));
    let mistaken = [(SSM, stranger), (SSM_SIX, stranger_v6)]
        .map(|(group, source)| switch.receiver(3, group, Some(source)));
    // What has joined on the gateway's own machine hears nothing, as `loop` is off.
    let own = Receiver::open(switch.network.name(), UDP, None);
    let elsewhere = Tap::on(&switch.network.far);
    stays.see(40);
    taps.iter().for_each(|tap| drop(tap.drain()));
    stays.see(400);
    let wires = taps.each_ref().map(Tap::frames);
    for (wire, expected) in wires.iter().zip([&[UDP][..], &[RTP, SIX], &[SSM, SSM_SIX], &[]]) {
        assert_eq!(groups(wire), set(expected));
    }
    wires.iter().flatten().for_each(is_as_configured);
    assert!(own.is_empty(), "the gateway's machine gets its own channel");
    assert_eq!(elsewhere.frames(), [], "on an interface that nobody has named");
    assert!(mistaken.iter().all(Receiver::is_empty));
    only_the_source_that_was_asked_for(&switch, &mut stays, &taps);
    drop((joined, mistaken));
    taps[1..].iter().for_each(|tap| drop(stays.await_quiet(tap)));

    switch.fast_leave(3);
    for (kind, n, group, source) in [
        ("fast leave", 3, UDP, None),
        ("fast leave, IPv6", 3, SIX, None),
        ("fast leave, of one source", 3, SSM, Some(GATEWAY)),
        ("last member asked", 2, UDP, None),
        ("last member asked, IPv6", 2, SIX, None),
    ] {
        comes_and_goes(&switch, &mut stays, &taps[n], kind, (n, group, source));
    }
    let bytes = stream_of(&stays.came, 0);
    assert_eq!(counter_faults(&bytes, 0), 0, "of {} packets", bytes.len() / 188);
    server.stop();
}

/// Sender, time to live, DSCP and length of every datagram.
fn is_as_configured(frame: &Frame) {
    let is = |group: &str| frame.to == group.parse().unwrap();
    let (ttl, dscp) = match () {
        () if is(UDP) => (8, 40),
        () if is(SIX) => (5, 34),
        () => (16, 34),
    };
    let from = if frame.to.is_ipv6() { GATEWAY_V6 } else { GATEWAY };
    let len = if is(RTP) { 1328 } else { 1316 };
    let (was, expected) = ((frame.ttl, frame.class, frame.len), (ttl, dscp << 2, len));
    assert!(frame.from.ip().to_string() == from && frame.whole && was == expected, "{frame:?}");
}

/// Somebody else sends to the same group: who has asked for the gateway does not get it, who has asked for it gets nothing else.
fn only_the_source_that_was_asked_for(switch: &Switch, stays: &mut Stays, taps: &[Tap; BOXES]) {
    const RIVAL: &str = "10.9.0.2";
    let rival = inside(switch.name(0), || {
        let socket = UdpSocket::bind((RIVAL, 0)).unwrap();
        socket2::SockRef::from(&socket).set_multicast_if_v4(&RIVAL.parse().unwrap()).unwrap();
        socket
    });
    let asked = switch.receiver(3, SSM, Some(RIVAL));
    poll("the rival's datagrams", LIMIT, || {
        rival.send_to(b"rival", SSM).unwrap();
        asked.waiting().last().map(|last| assert_eq!(last, b"rival"))
    });
    stays.see(100);
    assert!(taps[2].frames().iter().all(|frame| frame.len != 5), "nobody has asked for the rival there");
    assert!(taps[3].frames().iter().all(|frame| frame.len == 5), "nobody has asked for the gateway there");
}

/// Joins and leaves; prints how long it took for the first datagram to come, and the last.
fn comes_and_goes(
    switch: &Switch,
    stays: &mut Stays,
    tap: &Tap,
    kind: &str,
    (n, group, source): (usize, &str, Option<&str>),
) {
    let (mut joins, mut leaves) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        tap.drain();
        let begun = now();
        let receiver = switch.receiver(n, group, source);
        receiver.next();
        let first = tap.frames().first().expect("a frame").at;
        joins.push(first.saturating_sub(begun));
        let left = now();
        drop(receiver);
        let last = stays.await_quiet(tap).last().map_or(left, |frame| frame.at);
        leaves.push(last.saturating_sub(left));
    }
    for (what, times) in [("join to first datagram", &mut joins), ("leave to last datagram", &mut leaves)] {
        times.sort_unstable();
        let ms = times.iter().map(|time| format!("{:.1}", time.as_secs_f64() * 1e3)).collect::<Vec<_>>();
        println!("{kind}: {what}, ms: {}", ms.join(" "));
    }
}

/// Versions of IGMP and MLD that the switch asks in, an input's place and its group, and what its host then answers with (RFC 3376
/// section 7.2.1, RFC 3810 section 8.2.1). Old versions last: who has heard an old querier stays with that for minutes.
const INPUTS: [(u8, u8, &str, &str, &[u8]); 5] = [
    (3, 2, "udp://eth1@239.255.7.1:5000", "239.255.7.1:5000", &[0x22]),
    (3, 2, "udp://eth1@10.9.0.2@232.7.1.1:5000", "232.7.1.1:5000", &[0x22]),
    (3, 2, "udp://eth1@[ff15::7:1]:5000", "[ff15::7:1]:5000", &[143]),
    (2, 1, "udp://eth1@239.255.7.1:5000", "239.255.7.1:5000", &[0x16, 0x17]),
    (2, 1, "udp://eth1@[ff15::7:1]:5000", "[ff15::7:1]:5000", &[131, 132]),
];

/// An input behind a switch gets its group and nothing else, from when it begins to when it ends, and again when its link
/// comes back.
#[test]
fn a_switch_sends_an_input_its_group_and_nothing_else() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let Some(switch) = Switch::new() else { return };
    let bytes = transport_stream(&ffmpeg);
    let all: BTreeSet<&str> = INPUTS.iter().map(|row| row.3).chain(["239.255.7.2:5000"]).collect();
    let _senders: Vec<Paced> = all
        .iter()
        .map(|to| {
            let to: SocketAddr = to.parse().unwrap();
            let socket = inside(switch.name(0), move || sender(to));
            Paced::over_and_over(socket, to, bytes.clone(), RATE)
        })
        .collect();
    // Which goes on while others come and go.
    let mut stays = Stays { receiver: switch.receiver(1, "239.255.7.2:5000", None), came: Vec::new() };
    let tap = Tap::new(switch.network.name());
    for (igmp, mld, from, group, answers) in INPUTS {
        switch.ask(igmp, mld);
        stays.await_quiet(&tap);
        let server = start(&switch, &format!("[[input]]\nstream = \"live/in\"\nfrom = [{from:?}]\n"));
        let on_air = |server: &Server| server.metrics().sum("headgate_input_on_air", &[]) == 1.0;
        poll("the input", LIMIT, || on_air(&server).then_some(()));
        stays.see(200);
        assert_eq!(groups(&tap.frames()), set(&[group]), "{from}");
        if from == INPUTS[0].2 {
            rejoins(&switch, &server, &tap);
        }
        tap.drain();
        let left = now();
        server.stop();
        let (mut said, mut last) = (BTreeSet::new(), left);
        poll("a port without datagrams", LIMIT, || {
            stays.see(40);
            let seen = tap.drain();
            for seen in &seen {
                match seen {
                    Seen::Datagram(frame) => last = frame.at,
                    Seen::Membership(kind) => drop(said.insert(*kind)),
                }
            }
            seen.iter().all(|seen| matches!(seen, Seen::Membership(_))).then_some(())
        });
        println!("{from}: leave to last datagram, ms: {:.1}", last.saturating_sub(left).as_secs_f64() * 1e3);
        // A host has groups of IPv6 of its own.
        said.retain(|kind| (*kind < 128) == group.starts_with(char::is_numeric));
        assert!(said.iter().all(|kind| answers.contains(kind)) && !said.is_empty(), "{from}: {said:x?}");
    }
}

/// A socket that sends to a group from this namespace's box.
fn sender(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(if to.is_ipv4() { "10.9.0.2:0" } else { "[::]:0" }).unwrap();
    match (to, socket2::SockRef::from(&socket)) {
        (SocketAddr::V4(_), options) => options.set_multicast_if_v4(&"10.9.0.2".parse().unwrap()).unwrap(),
        (SocketAddr::V6(_), options) => options.set_multicast_if_v6(interface(INTERFACE)).unwrap(),
    }
    socket
}

/// The switch forgets who has joined behind a link that goes down.
fn rejoins(switch: &Switch, server: &Server, tap: &Tap) {
    let of = |name: &str| server.metrics().sum(&format!("headgate_input_{name}"), &[]);
    switch.plug(false);
    poll("the link to be missed", LIMIT, || (of("bitrate_bps") == 0.0).then_some(()));
    tap.drain();
    let rejoins = of("rejoins_total");
    switch.plug(true);
    poll("the group again", LIMIT, || (of("rejoins_total") > rejoins).then_some(()));
    poll("its datagrams", LIMIT, || (of("bitrate_bps") > 1e6).then_some(()));
}
