//! A channel whose writer is held up at random: what leaves keeps its gates by position, whatever was late and whatever was
//! left out, also while its source comes.

#[path = "support/channel.rs"]
#[allow(dead_code, reason = "the parts that other tests need")]
mod channel;
#[path = "support/stream.rs"]
#[allow(dead_code, reason = "the parts that other tests need")]
mod stream;

use channel::{Source, Track, read_with_gaps};
use headgate::media::Mono;
use headgate::mux::{Multiplex, Mux};

/// When the channel begins.
const BEGIN_US: u64 = 1_000_000;
/// When its source does.
const SOURCE_US: u64 = 300_000;
/// How long it goes.
const END_MS: u64 = 5000;

/// Datagrams of one tick, as the pacer lets them out.
const BURST: u64 = 8;

/// What was written, and where and how many packets were left out.
fn play(seed: u64, rate_bps: u64) -> (Vec<u8>, Vec<(usize, i64)>) {
    let at = |us: u64| Mono::from_micros(BEGIN_US + us);
    let mut source = Source::new(vec![Track::video(1_000_000), Track::audio(0x200, 96_000)], seed);
    source.begun_us = SOURCE_US;
    let mut chance = Source::new(Vec::new(), seed ^ 0x5EED);
    let mut mux = Mux::new(Multiplex { rate_bps, nit: true, time: true, ..Multiplex::default() }, at(0));
    mux.seam(0, at(0));
    let (mut ms, mut out, mut gaps, mut next) = (0, Vec::new(), Vec::new(), source.entry());
    while ms < END_MS {
        ms += if chance.random(400) == 0 { 1 + chance.random(2500) } else { 1 };
        while next.at_us <= ms * 1000 {
            mux.feed(0, at(next.at_us), &next.bytes);
            next = source.entry();
        }
        let due = mux.position(at(ms * 1000)) - mux.written();
        if due * 10_528 > rate_bps {
            gaps.push((out.len() / 188, 7 * mux.skip(at(ms * 1000)) as i64));
            continue;
        }
        for _ in 0..due.min(BURST) {
            let mut datagram = [0; 1316];
            mux.write(&mut datagram, 1_800_000_000);
            out.extend(datagram);
        }
    }
    (out, gaps)
}

#[test]
fn gates_hold_however_the_writer_is_held_up() {
    let (mut stalls, mut seeds) = (0, 0);
    for rate_bps in [2_000_000, 4_000_000, 8_000_000, 20_000_000] {
        for seed in 1..=25 {
            let (out, gaps) = play(seed, rate_bps);
            let report = read_with_gaps(&out, rate_bps, &gaps);
            let ms = |ticks: i64| ticks / channel::MS;
            assert!(ms(report.pcr_interval_max) <= 38, "seed {seed} at {rate_bps}: PCR");
            assert!(report.pcr_off_max <= 100.0, "seed {seed} at {rate_bps}: PCR");
            for (table, longest) in [(0x00, 100), (0x02, 100), (0x42, 1000), (0x40, 10_000), (0x70, 10_000)] {
                let Some((_, gap)) = report.tables.get(&table) else { continue };
                assert!(
                    ms(*gap) <= longest,
                    "seed {seed} at {rate_bps}: table {table:#x} after {} ms",
                    ms(*gap)
                );
            }
            (stalls, seeds) = (stalls + gaps.len(), seeds + 1);
        }
    }
    assert!(stalls > seeds / 2, "{stalls} stalls were left out in {seeds} channels");
}
