//! Once a stream runs, a packet costs neither its sender nor its receiver an allocation: losses and repairs included.

#[path = "support/counting.rs"]
mod counting;

use counting::allocations;
use headgate::config::Fec;
use headgate::media::Mono;
use headgate::proto::rtp_ts::{FecEncoder, Options, Receiver, Sender};
use std::time::Duration;

#[test]
fn packets_cost_no_allocation() {
    let mut sender = Sender::new(7, 60_000);
    let fec = Fec { columns: 10, rows: 10, row_packets: true, staggered: false };
    let mut encoder = FecEncoder::new(fec, 1, 2);
    let mut receiver = Receiver::new(Options { wait: Duration::from_millis(50), fec: true });
    let (mut datagram, mut given) = ([0x47; 12 + 1316], 0u64);
    let mut run = |packets: std::ops::Range<u64>| {
        let before = allocations();
        for n in packets {
            let now = Mono::from_micros(n * 2632);
            datagram[..12].copy_from_slice(&sender.header(n * 2632 * 27));
            // Single losses and bursts: both kinds of repair packets wait for others.
            if n % 97 != 5 && n % 500 > 6 {
                receiver.push(0, now, &datagram);
            }
            encoder.push(&datagram, |_, repair| receiver.push_fec(now, repair));
            while receiver.pop(now).is_some() {
                given += 1;
            }
        }
        (allocations() - before, given)
    };
    assert!(run(0..1000).0 > 0, "the counter counts");
    let (allocations, given) = run(1000..20_000);
    assert_eq!(allocations, 0);
    let tally = receiver.tally();
    assert!(given > 19_900 && tally.repaired > 400, "{tally:?}");
}
