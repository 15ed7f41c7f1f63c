//! What nobody should send, in any order.

use super::*;

/// T1 to T3: noise, storms of tables, units without end. The channel does not notice, and memory is what was said.
#[test]
fn t1_to_t3_nothing_moves_the_channel() {
    let mut channel = Channel::of(4_000_000);
    let mut good = usual(4_000_000, 70, 11);
    channel.play(&mut good, 2_000_000);
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    };
    let at = |channel: &Channel| Mono::from_micros(channel.now_us);
    for round in 0..400u32 {
        let mut bytes = vec![0u8; 188 * 40 + (round % 3) as usize];
        bytes.fill_with(|| random() as u8);
        for (n, packet) in
            bytes.chunks_mut(188).enumerate().filter(|(n, packet)| n % 7 > 0 && packet.len() > 4)
        {
            packet[0] = 0x47;
            let pids = [0u16, 0x1000, 0x100, 0x200, 0x1FFF, 0x11];
            let pid = if n % 2 == 0 { pids[random() as usize % 6] } else { random() as u16 & 0x1FFF };
            (packet[1], packet[2]) = (packet[1] & 0x60 | (pid >> 8) as u8, pid as u8);
            if n % 3 == 0 {
                packet[3] = 0x10 | packet[3] & 15;
                packet[4..13].copy_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x84, 0xC0, 10]);
            }
        }
        let now = at(&channel);
        channel.mux.feed(0, now, &bytes);
        let mut pat = stream::section_packet(0, &stream::pat());
        pat[3] |= round as u8 & 15;
        channel.mux.feed(0, now, &pat);
        // Maps that flip.
        let streams: Vec<u8> =
            (0..30 + round % 30).flat_map(|n| [0x1B, 0xE1, (n + round) as u8, 0xF0, 0]).collect();
        let map =
            stream::section(2, 1, round as u8 & 31, &[&[0xE1, 0, 0xF0, 0][..], &streams[..150]].concat());
        let mut packet = stream::section_packet(0x1000, &map);
        packet[3] |= round as u8 & 15;
        channel.mux.feed(0, now, &packet);
        // A picture without end, at many times the rate.
        let mut endless = [0x55; 188];
        endless[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10]);
        for n in 0..100u8 {
            endless[3] = 0x10 | n & 15;
            channel.mux.feed(0, now, &endless);
        }
        if round % 20 == 0 {
            channel.mux.seam(0, now);
        }
        let to = channel.now_us + 10_000;
        channel.run_to(to);
        assert!(channel.mux.queued_packets() <= queue_packets_max(4_000_000));
    }
    let most = queue_packets_max(4_000_000) * (2 * 188 + 128) + (3 << 20);
    assert!(channel.heap_max < most, "{} of {most}", channel.heap_max);
    // A good source is good again.
    channel.mux.seam(0, at(&channel));
    let mut good = usual(4_000_000, 70, 12);
    good.begun_us = channel.now_us;
    let until = channel.now_us + 8_000_000;
    channel.play(&mut good, until);
    let last = &channel.out[channel.out.len() - 5 * 4_000_000 / 8 / 188 * 188..];
    for (high, low, rate) in [(0x41, 0x00, 25), (0x42, 0x00, 46)] {
        let begins = last.chunks(188).filter(|packet| packet[1..3] == [high, low]).count();
        assert!((5 * rate - 10..5 * rate + 10).contains(&begins), "{low:#x}{high:x}: {begins} units in 5 s");
    }
    // Units of noise may be anything; tables, clock and counters may not.
    let raised = channel.raised();
    let allowed = ["2.5", "1.6", "3.4"];
    assert!(raised.iter().all(|id| allowed.contains(id)), "{raised:?}");
    let last = channel.mux.tally();
    assert!(last.pmt_ignored > 100 && last.source_damaged > 1000, "{last:?}");
}

/// T1: a stream with broken bytes, time that leaps by up to years or stands still, seams and skips in any order. Nothing
/// panics (sums are checked in this build), every datagram is seven packets, counters run on, memory is what was said.
#[test]
fn t1_any_calls_in_any_order() {
    let mut units = 0;
    for seed in 1..=60u64 {
        let rate = [200_000, 3_000_000, 1_000_000_000][seed as usize % 3];
        let multiplex = Multiplex { rate_bps: rate, clock: seed << 57, nit: true, ..Multiplex::default() };
        let mut mux = Mux::new(multiplex, Mono::from_micros(seed));
        let mut source = Source::new(vec![Track::video(2_000_000), Track::audio(0x200, 96_000)], seed);
        let (mut now_us, mut out, mut counters) = (0u64, [0; 1316], std::collections::BTreeMap::new());
        for _ in 0..600 {
            let mut entry = source.entry();
            for _ in 0..source.random(4) {
                let at = source.random(entry.bytes.len().min(400) as u64) as usize;
                entry.bytes[at] = source.random(256) as u8;
            }
            if source.random(20) == 0 {
                source.stamp = source.random(1 << 33);
            }
            // Years only now and then: nothing of the source is left behind them.
            let leap = [0, 1, 1000, 40_000, 700_000, 5_000_000, 1 << 45, 1 << 60];
            let most = if seed % 8 == 0 { 40 } else { 38 };
            let leap = leap[source.random(most).saturating_sub(32) as usize];
            now_us = now_us.saturating_add(leap.max(source.random(40_000)));
            let now = Mono::from_micros(now_us);
            match source.random(50) {
                0 => mux.seam(0, now),
                1..4 => drop(mux.skip(now)),
                _ => mux.feed(0, now, &entry.bytes),
            }
            for _ in 0..(mux.position(now).saturating_sub(mux.written())).min(30) {
                mux.write(&mut out, now_us);
                for packet in out.chunks(188) {
                    assert_eq!((packet[0], packet[1] & 0x80, packet[3] & 0xC0), (0x47, 0, 0));
                    let pid = u16::from_be_bytes([packet[1] & 0x1F, packet[2]]);
                    let step = packet[3] >> 4 & 1;
                    if let Some(last) = counters.insert(pid, packet[3] & 15).filter(|_| pid != 0x1FFF) {
                        assert_eq!((last + step) & 15, packet[3] & 15, "seed {seed}: PID {pid:#x}");
                    }
                }
            }
            assert!(mux.queued_packets() <= queue_packets_max(rate));
            let _seen = (mux.alarms(now), mux.clock(), mux.due(mux.written()), mux.drift_ppb(0));
        }
        units += mux.tally().units;
        assert!(mux.heap_bytes() < queue_packets_max(rate) * (2 * 188 + 128) + (3 << 20));
    }
    assert!(units > 2000, "{units}");
}
