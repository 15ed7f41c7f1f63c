//! A packet costs the monitor no allocation: only a PID or a table that was not there before does.

#[path = "support/counting.rs"]
mod counting;

#[path = "support/stream.rs"]
#[allow(dead_code, reason = "faults are made in tests/monitor.rs")]
mod stream;

use counting::allocations;
use headgate::media::Mono;
use headgate::monitor::{Monitor, Options};

#[test]
fn packets_cost_no_allocation() {
    let packets = stream::clean(12);
    let datagrams: Vec<Vec<u8>> = packets
        .chunks(7)
        .enumerate()
        .map(|(n, seven)| stream::rtp(n as u16, &stream::bytes(seven)))
        .collect();
    let mut monitor = Monitor::new(Options::default());
    let mut watch = |from: u64, to: u64| {
        let before = allocations();
        let range = stream::at_ms(from) / 7..stream::at_ms(to) / 7;
        for (n, datagram) in datagrams.iter().enumerate().take(range.end).skip(range.start) {
            monitor.handle_datagram(Mono::from_micros(stream::ticks(n * 7) / 27), datagram);
        }
        allocations() - before
    };
    assert!(watch(0, 1500) > 0, "the counter counts");
    assert_eq!(watch(1500, 12_000), 0);
    assert_eq!(monitor.report().packets, (stream::at_ms(12_000) / 7 * 7) as u64);
}
