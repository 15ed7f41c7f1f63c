//! What waits refers to what was fed, and holds it as a whole: that has a bound, nothing is held for longer than it waits, and
//! what is sent does not depend on it.

#[path = "support/channel.rs"]
#[allow(dead_code, reason = "nothing is read here")]
mod channel;
#[path = "support/stream.rs"]
#[allow(dead_code, reason = "the parts that other tests need")]
mod stream;

use bytes::Bytes;
use channel::{Source, Track};
use headgate::media::Mono;
use headgate::mux::{Mux, Service, queue_packets_max};

const RATE_BPS: u64 = 4_000_000;

/// Ten seconds of a source, each entry with so many null packets behind it; what was sent, the most that was held, and
/// entries that are held five seconds later.
fn play(nulls: usize) -> (Vec<u8>, usize, usize) {
    let mut source = Source::new(vec![Track::video(2_800_000), Track::audio(0x200, 192_000)], 1);
    let mut mux = Mux::new(Service { rate_bps: RATE_BPS, ..Service::default() }, Mono::ZERO);
    let (mut sent, mut held_max, mut fed) = (Vec::new(), 0, Vec::new());
    let mut null = [0xFF; 188];
    null[..4].copy_from_slice(&[0x47, 0x1F, 0xFF, 0x10]);
    let mut run = |mux: &mut Mux, until_us: u64| {
        while mux.due(mux.written()) <= Mono::from_micros(until_us) {
            let mut datagram = [0; 1316];
            mux.write(&mut datagram, 0);
            sent.extend(datagram);
        }
    };
    loop {
        let entry = source.entry();
        run(&mut mux, entry.at_us);
        if entry.at_us >= 10_000_000 {
            run(&mut mux, entry.at_us + 5_000_000);
            let held = fed.iter().filter(|packets: &&Bytes| !packets.is_unique()).count();
            return (sent, held_max, held);
        }
        let packets = Bytes::from([entry.bytes, null.repeat(nulls)].concat());
        mux.feed_shared(Mono::from_micros(entry.at_us), &packets);
        held_max = held_max.max(mux.heap_bytes());
        fed.push(packets);
    }
}

#[test]
fn what_is_held_has_a_bound_and_shows_nowhere() {
    let (plain, usually, left) = play(0);
    assert_eq!(left, 0, "nothing is held behind its last packet");
    assert!(usually < 1 << 20, "a second of the rate, and little beside it: {usually}");
    // A segment's worth in each: one entry more would exceed what may be held, and most are not held at all.
    let (sent, most, left) = play((1 << 20) / 188);
    assert!(sent == plain, "the same packets at the same places");
    let packets = queue_packets_max(RATE_BPS);
    assert!(most > 1 << 20 && most <= packets * (2 * 188 + 128) + (1 << 20), "{most}");
    assert_eq!(left, 0);
}
