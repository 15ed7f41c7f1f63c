//! Streams of packets as networks bring them, against what a receiver gives out of them.

mod order;
mod others;
mod repairs;
mod senders;

use super::receiver::HEAP_BYTES_MAX;
use super::*;
use crate::config::Fec;
use crate::media::Mono;
use crate::wire::fec::Direction;
use crate::wire::rtp::RtpPacket;
use std::time::Duration;

const OPTIONS: Options = Options { wait: Duration::from_millis(60), fec: true };
/// Microseconds from packet to packet: some 4 Mbit/s.
const STEP_US: u64 = 2632;

/// Numbers that are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// `count` packets of one sender from `first` on, of different lengths and contents.
fn packets(ssrc: u32, first: u16, count: usize) -> Vec<Vec<u8>> {
    let (mut sender, mut dice) = (Sender::new(ssrc, first), Dice(u64::from(ssrc) | 1));
    (0..count as u64)
        .map(|n| {
            let mut packet = sender.header(n * STEP_US * 27).to_vec();
            let whole = if n % 11 == 3 { 1 } else { 2 };
            for _ in 0..whole {
                packet.push(0x47);
                packet.extend((1..188).map(|_| dice.roll(256) as u8));
            }
            packet
        })
        .collect()
}

fn sequence(packet: &[u8]) -> u16 {
    RtpPacket::parse(packet).unwrap().sequence
}

/// What a receiver has given out.
#[derive(Default)]
struct Given {
    payloads: Vec<Vec<u8>>,
    lost: u64,
    restarts: usize,
    /// The longest that a packet waited, in microseconds.
    waited_us: u64,
}

impl Given {
    fn take(&mut self, receiver: &mut Receiver, now: Mono) {
        while let Some(packet) = receiver.pop(now) {
            self.payloads.push(packet.payload.to_vec());
            self.lost += packet.lost;
            self.restarts += usize::from(packet.restart);
            self.waited_us = self.waited_us.max(now.micros_since(packet.at));
        }
        assert!(receiver.deadline(now) > now, "what is due was done");
    }
}

/// Datagrams in the order they come: when, on which path, and what (a repair packet has none).
type Arrivals = Vec<(u64, Option<usize>, Vec<u8>)>;

/// Gives `arrivals` to a receiver as time goes by, each deadline at its time, and lets all waits end.
fn receive(options: Options, arrivals: &Arrivals) -> (Given, Tally) {
    let (mut receiver, mut given) = (Receiver::new(options), Given::default());
    let mut last = 0;
    for (at, leg, datagram) in arrivals {
        let now = Mono::from_micros(*at);
        loop {
            let due = receiver.deadline(Mono::from_micros(last));
            if due >= now {
                break;
            }
            last = due.as_micros();
            given.take(&mut receiver, due);
        }
        last = *at;
        match leg {
            Some(leg) => receiver.push(*leg, now, datagram),
            None => receiver.push_fec(now, datagram),
        }
        given.take(&mut receiver, now);
    }
    given.take(&mut receiver, Mono::from_micros(last + 60_000_000));
    assert!(receiver.heap_bytes() <= HEAP_BYTES_MAX);
    let tally = *receiver.tally();
    assert_eq!((tally.delivered, tally.lost + tally.overrun), (given.payloads.len() as u64, given.lost));
    (given, tally)
}

/// The stream and its repair packets as a sender emits them; what `drops` says of a datagram's index is not there.
fn protected(
    media: &[Vec<u8>],
    fec: Fec,
    mut drops: impl FnMut(Option<Direction>, usize) -> bool,
) -> Arrivals {
    let (mut encoder, mut arrivals) = (FecEncoder::new(fec, 0xFFFE, 7), Arrivals::new());
    for (n, packet) in media.iter().enumerate() {
        let at = n as u64 * STEP_US;
        if !drops(None, n) {
            arrivals.push((at, Some(0), packet.clone()));
        }
        encoder.push(packet, |direction, repair| {
            if !drops(Some(direction), n) {
                arrivals.push((at + 100, None, repair.to_vec()));
            }
        });
    }
    arrivals
}

fn fec(columns: u8, rows: u8, row_packets: bool, staggered: bool) -> Fec {
    Fec { columns, rows, row_packets, staggered }
}

fn payloads(media: &[Vec<u8>]) -> Vec<Vec<u8>> {
    media.iter().map(|packet| RtpPacket::parse(packet).unwrap().payload.to_vec()).collect()
}
