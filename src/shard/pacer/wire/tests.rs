//! Both wires on real sockets.

use super::{Plain, SLOTS, Sent, Target, To, Uring, Wire};
use crate::shard::engine::clock;
use crate::shard::runtime::uring_refusal;
use socket2::SockAddr;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Two receivers, and a sender that knows both by one socket, and nobody by number 2.
fn pair() -> ([UdpSocket; 2], Vec<OwnedFd>, Vec<Target>) {
    let receivers = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to =
        |receiver: &UdpSocket| Target { socket: 0, address: SockAddr::from(receiver.local_addr().unwrap()) };
    let targets = receivers.iter().map(to).collect();
    (receivers, vec![sender.into()], targets)
}

fn wires(run: impl Fn(&mut dyn Wire, &[UdpSocket; 2])) {
    let (receivers, sockets, targets) = pair();
    run(&mut Plain::new(sockets, targets), &receivers);
    if uring_refusal().is_none() {
        let (receivers, sockets, targets) = pair();
        run(&mut Uring::new(sockets, targets).unwrap(), &receivers);
    }
}

fn lay(wire: &mut dyn Wire, datagram: &[u8], to: &[To]) {
    wire.lay(datagram.len(), 0, to, &mut |room| room.copy_from_slice(datagram));
}

fn receive(receiver: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2000];
    receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let len = receiver.recv(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

#[test]
fn everybody_gets_its_part_and_no_tick_comes_early() {
    wires(|wire, receivers| {
        for round in 0..100u8 {
            let datagram: Vec<u8> = (0..1328).map(|at| at as u8 ^ round).collect();
            let to = [To { address: 0, skip: 12 }, To { address: 1, skip: 0 }];
            lay(wire, &datagram, &to);
            lay(wire, &[round; 7], &to[1..]);
            let until = clock() + Duration::from_micros(500);
            wire.go(until).unwrap();
            assert!(clock() >= until, "early");
            assert!(receive(&receivers[0]) == datagram[12..]);
            assert!(receive(&receivers[1]) == datagram);
            assert_eq!(receive(&receivers[1]), [round; 7]);
            let sent: Vec<Sent> = std::iter::from_fn(|| wire.next()).collect();
            let ok = |target, bytes| Sent { target, result: Ok(bytes) };
            assert_eq!(sent, [ok(0, 1316), ok(1, 1328), ok(1, 7)]);
        }
    });
}

#[test]
fn more_than_there_are_slots_takes_another_call() {
    wires(|wire, _| {
        for _ in 0..SLOTS + 10 {
            lay(wire, b"x", &[To { address: 0, skip: 0 }]);
        }
        wire.go(clock()).unwrap();
        let sent = std::iter::from_fn(|| wire.next()).count();
        assert_eq!(sent, SLOTS + 10, "each is answered, taken or not");
    });
}

#[test]
fn what_cannot_be_sent_is_an_error_and_nothing_else() {
    wires(|wire, receivers| {
        lay(wire, &[0; super::SLOT_BYTES + 1], &[To { address: 0, skip: 0 }]);
        lay(wire, b"nobody", &[To { address: 2, skip: 0 }]);
        lay(wire, b"somebody", &[To { address: 1, skip: 0 }]);
        wire.go(clock()).unwrap();
        assert_eq!(receive(&receivers[1]), b"somebody");
        let failed = std::iter::from_fn(|| wire.next()).filter(|sent| sent.result.is_err()).count();
        assert_eq!(failed, 2);
    });
}
