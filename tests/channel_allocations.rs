//! A datagram costs a channel no allocation, from its source's log to what the pacer lays for the kernel: multiplex, RTP,
//! repair packets, its own monitor, counters.

#[path = "support/channel.rs"]
#[allow(dead_code, reason = "nothing is read here")]
mod channel;
#[path = "support/counting.rs"]
mod counting;
#[path = "support/stream.rs"]
#[allow(dead_code, reason = "the parts that other tests need")]
mod stream;

use channel::{Source, Track};
use counting::allocations;
use headgate::config::Config;
use headgate::egress::multicast::{Links, Output, about, indicators};
use headgate::media::Mono;
use headgate::observe::ChannelSlot;
use headgate::shard::pacer::{Channel, Heard, To, Tray};

#[test]
fn datagrams_cost_no_allocation() {
    let text = "[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 4000000\n\
                to = [\"udp://127.0.0.1:5000\", \"rtp://127.0.0.1:5004#fec=8x8\"]\n";
    let config = Config::parse(text, "a test").unwrap();
    let slot = ChannelSlot::new(about(&config.channels[0]), &indicators());
    let (mut output, _outlets) =
        Output::new(&config.channels[0], &config.headend, slot.clone(), 1, &mut Links::default()).unwrap();
    let mut source = Source::new(vec![Track::video(2_800_000), Track::audio(0x200, 192_000)], 1);
    let entries: Vec<_> = (0..1500).map(|_| source.entry()).collect();
    output.begin(Mono::ZERO);
    output.heard(0, Mono::ZERO, Heard::Found);
    output.seam(0, Mono::ZERO);
    let (mut laid, mut ms) = ([0u64; 4], 0);
    let mut play = |range: std::ops::Range<usize>| {
        let before = allocations();
        for entry in &entries[range] {
            while ms * 1000 < entry.at_us {
                ms += 1;
                let now = Mono::from_micros(ms * 1000);
                let mut lay = |_: &[u8], to: &[To]| to.iter().for_each(|to| laid[to.address as usize] += 1);
                let mut tray = Tray::new(&mut lay, 1_800_000_000 + ms / 1000);
                for _ in 0..output.due(now) {
                    output.write(now, &mut tray);
                    output.sent(0, Ok(1316));
                    output.sent(1, Err(libc::ENOBUFS));
                }
                if ms.is_multiple_of(100) {
                    output.watch(now);
                }
            }
            output.feed(0, Mono::from_micros(ms * 1000), Mono::from_micros(entry.at_us), &entry.bytes);
        }
        allocations() - before
    };
    assert!(play(0..700) > 0, "the counter counts");
    assert_eq!(play(700..1500), 0);
    assert!(laid[0] > 2000 && laid[0] == laid[1] && laid[2] > 200 && laid[3] > 200, "{laid:?}");
    assert_eq!(slot.metrics.datagrams.get(), laid[0]);
    assert!(slot.indicators.iter().all(|(_, count)| count.get() == 0), "{:?}", slot.indicators);
}
