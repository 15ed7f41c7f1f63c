//! A packet costs a channel no allocation: only more that waits than ever did, a table that changes, and the time.

#[path = "support/counting.rs"]
mod counting;

#[path = "support/channel.rs"]
#[allow(dead_code, reason = "nothing is read here")]
mod channel;
#[path = "support/stream.rs"]
#[allow(dead_code, reason = "the parts that other tests need")]
mod stream;

use channel::{Source, Track};
use counting::allocations;
use headgate::media::Mono;
use headgate::mux::{Multiplex, Mux, Service};

#[test]
fn packets_cost_no_allocation() {
    let mut source = Source::new(vec![Track::video(2_800_000), Track::audio(0x200, 192_000)], 1);
    let entries: Vec<_> = (0..1500).map(|_| source.entry()).collect();
    let another = Service {
        service_id: 2,
        pmt_pid: 0x1001,
        video_pid: 0x120,
        audio_pid: 0x130,
        data_pid: 0x128,
        ..Service::default()
    };
    for (rate_bps, services) in
        [(4_000_000, vec![Service::default()]), (8_000_000, vec![Service::default(), another])]
    {
        let count = services.len();
        let mut mux = Mux::new(Multiplex { rate_bps, services, ..Multiplex::default() }, Mono::ZERO);
        let mut datagram = [0; 1316];
        let mut play = |range: std::ops::Range<usize>| {
            let before = allocations();
            for entry in &entries[range] {
                let now = Mono::from_micros(entry.at_us);
                (0..count).for_each(|service| mux.feed(service, now, &entry.bytes));
                while mux.written() < mux.position(now) {
                    mux.write(&mut datagram, 0);
                }
            }
            allocations() - before
        };
        assert!(play(0..700) > 0, "the counter counts");
        assert_eq!(play(700..1500), 0, "{count} services");
        assert!(mux.tally().units > 1300 * count as u64 && mux.tally().nulls > 0);
    }
}
