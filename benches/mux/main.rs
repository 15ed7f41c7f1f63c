//! What a datagram of a channel costs the multiplexer, in processor time: one channel alone, and two hundred in turn as the
//! pacer runs them, whose queues do not fit into a cache. Beside it, in the same run, what nobody can do without: copying
//! 1316 bytes, and handing them to the kernel by loopback.
//!
//! `cargo bench --bench mux`; prints nanoseconds a datagram, the median and the range of the rounds.

#[path = "../../tests/support/channel.rs"]
#[allow(dead_code, reason = "nothing is read here")]
mod channel;
#[path = "../../tests/support/stream.rs"]
#[allow(dead_code, reason = "the parts that other tests need")]
mod stream;

use bytes::Bytes;
use channel::{Entry, Source, Track};
use headgate::media::Mono;
use headgate::mux::{DATAGRAM_BYTES, Mux, Service};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::net::UdpSocket;

const RATE_BPS: u64 = 4_000_000;
const ROUNDS: usize = 9;
/// Length of a round, in microseconds of media: 22,800 datagrams of one channel.
const ONE_US: u64 = 60_000_000;
/// Of two hundred channels: 760,000 datagrams.
const MANY_US: u64 = 10_000_000;
const MANY: u64 = 200;

/// Pictures and sound that fill 80 % of the rate.
fn entries(until_us: u64) -> Vec<Entry> {
    let tracks = vec![Track::video(RATE_BPS * 80 / 100 - 128_000), Track::audio(0x200, 128_000)];
    let mut source = Source::new(tracks, 1);
    std::iter::repeat_with(|| source.entry()).take_while(|entry| entry.at_us < until_us).collect()
}

/// Processor time of this thread, in nanoseconds: what others take of the machine does not count.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds a datagram of `count` channels, each a tick of a millisecond at a time.
fn multiplex(entries: &[Entry], until_us: u64, count: u64) -> f64 {
    // As the pacer has them: the same bytes for all channels.
    let entries: Vec<(u64, Bytes)> =
        entries.iter().map(|entry| (entry.at_us, Bytes::copy_from_slice(&entry.bytes))).collect();
    let mut channels: Vec<(Mux, usize)> = (0..count)
        .map(|_| (Mux::new(Service { rate_bps: RATE_BPS, ..Service::default() }, Mono::ZERO), 0))
        .collect();
    let (mut datagram, mut written, begun) = ([0; DATAGRAM_BYTES], 0u64, cpu_ns());
    for now_us in (0..until_us).step_by(1000) {
        let now = Mono::from_micros(now_us);
        for (mux, next) in &mut channels {
            while let Some((_, packets)) = entries.get(*next).filter(|entry| entry.0 <= now_us) {
                mux.feed_shared(now, packets);
                *next += 1;
            }
            while mux.written() < mux.position(now) {
                mux.write(&mut datagram, 0);
                black_box(&datagram);
                written += 1;
            }
        }
    }
    (cpu_ns() - begun) / written as f64
}

fn copy() -> f64 {
    const COUNT: u32 = 1_000_000;
    let ring = vec![[0x47u8; DATAGRAM_BYTES]; 1 << 14];
    let (mut datagram, begun) = ([0; DATAGRAM_BYTES], cpu_ns());
    for from in ring.iter().cycle().take(COUNT as usize) {
        datagram.copy_from_slice(black_box(from));
        black_box(&datagram);
    }
    (cpu_ns() - begun) / f64::from(COUNT)
}

fn send() -> f64 {
    const COUNT: u32 = 100_000;
    let to = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let from = UdpSocket::bind("127.0.0.1:0").expect("a port");
    from.connect(to.local_addr().expect("an address")).expect("a route");
    let (datagram, begun) = ([0x47; DATAGRAM_BYTES], cpu_ns());
    for _ in 0..COUNT {
        from.send(&datagram).expect("sent, or dropped behind the queue");
    }
    (cpu_ns() - begun) / f64::from(COUNT)
}

fn print(what: &str, mut round: impl FnMut() -> f64) {
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    all.sort_by(f64::total_cmp);
    let (least, median, most) = (all[0], all[ROUNDS / 2], all[ROUNDS - 1]);
    println!("{what:<40} {median:>8.0} ns a datagram ({least:.0} to {most:.0})");
}

fn main() {
    let (one, many) = (entries(ONE_US), entries(MANY_US));
    print("multiplexed, one channel", || multiplex(&one, ONE_US, 1));
    print("multiplexed, 200 channels in turn", || multiplex(&many, MANY_US, MANY));
    print("copied", copy);
    print("sent by loopback", send);
}
