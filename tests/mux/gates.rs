//! Every rate and every usual source held to the gates.

use super::*;

#[test]
fn every_rate_holds_the_gates() {
    for (rate, percent) in
        [(2_000_000, 75), (4_000_000, 80), (8_000_000, 85), (20_000_000, 85), (3_333_333, 60)]
    {
        let mut channel = Channel::of(rate);
        let mut source = usual(rate, percent, rate);
        source.jitter_us = 50_000;
        channel.play(&mut source, 20_000_000);
        let report = channel.read();
        assert_eq!(channel.dropped(), 0, "{rate}: {:?}", channel.mux.tally());
        assert_eq!(channel.raised(), Vec::<&str>::new(), "{rate}");
        let (video, audio) = (&report.units[&0x100], &report.units[&0x200]);
        assert!(video.len() > 19 * 25 - 10 && audio.len() > 19 * 46, "{} {}", video.len(), audio.len());
        // Nothing of what is carried is changed.
        for (pid, units) in &report.units {
            let unit = |n: u8, sent: &channel::Sent| {
                sent.payload.iter().enumerate().all(|(i, byte)| *byte == (i * 7 + usize::from(n)) as u8 | 1)
            };
            assert!(units.iter().enumerate().all(|(n, sent)| unit(n as u8, sent)), "{pid:#x}");
        }
        assert!(report.nulls > 0 && report.run_max < 200, "{rate}: {}", report.run_max);
        let position = channel.mux.tally().packets;
        assert_eq!(position, channel.out.len() as u64 / 188);
    }
}

/// The checker of HTTP-TS reads it too, from the first PAT on.
#[test]
fn another_checker_reads_it() {
    let service = Service { name: "Eins".to_owned(), provider: "Tests".to_owned(), ..Service::default() };
    let mut channel = Channel::new(alone(service));
    let mut source = usual(4_000_000, 70, 5);
    let first = source.entry();
    channel.mux.feed(0, Mono::ZERO, &first.bytes);
    channel.play(&mut source, 10_000_000);
    // Table times are taken from decoding times there, which are up to a second ahead.
    let limits = ts::Limits { tables: 900, names: 2000, pcr: 38, lead: 900 };
    // It ends with a whole unit of each track, which a cut stream does not.
    let mut packets: Vec<[u8; 188]> = channel.out.as_chunks().0.to_vec();
    for pid in [0x100u16, 0x200] {
        let of = |packet: &[u8; 188]| u16::from_be_bytes([packet[1] & 0x1F, packet[2]]) == pid;
        let last = packets.iter().rposition(|packet| of(packet) && packet[1] & 0x40 != 0).unwrap();
        let mut at = 0;
        packets.retain(|packet| {
            at += 1;
            at <= last || !of(packet)
        });
    }
    packets.retain(|packet| packet[1] & 0x1F != 0x1F || packet[2] != 0xFF);
    let report = ts::check(&packets.concat(), limits);
    assert_eq!(report.service, Some(("Tests".to_owned(), "Eins".to_owned())));
    assert!(report.streams[&0x100].units.len() > 200 && report.streams[&0x100].units[0].random_access);
}

/// The main buffer of a decoder for sound of two channels (ISO/IEC 13818-1 section 2.4.2.6).
#[test]
fn usual_sound_fits_into_a_decoder() {
    for rate in [2_000_000, 4_000_000, 20_000_000] {
        let mut channel = Channel::of(rate);
        let sound = |pid| Track::audio(pid, 128_000);
        let mut source = Source::new(vec![Track::video(rate / 2), sound(0x200), sound(0x201)], 21);
        source.jitter_us = 50_000;
        channel.play(&mut source, 10_000_000);
        let report = channel.read();
        assert_eq!(channel.dropped(), 0);
        for pid in [0x200, 0x201] {
            let held = report.held_max(pid);
            assert!(held > 3000 && held <= 3584, "{pid:#x} at {rate}: {held} bytes");
        }
    }
}

#[test]
fn sound_alone_has_the_clock() {
    let mut channel = Channel::of(1_000_000);
    let mut source = Source::new(vec![Track::audio(0x200, 256_000)], 8);
    source.jitter_us = 100_000;
    channel.play(&mut source, 10_000_000);
    let report = channel.read();
    assert_eq!(report.pcr_pids.last(), Some(&0x200));
    assert_eq!((channel.dropped(), channel.raised()), (0, Vec::new()));
    assert!(report.units[&0x200].len() > 400);
}

/// The source's crystal is off: over a quarter of an hour, no jump, and the lead stays. (Hours of it are run without media in
/// the loop's own tests.)
#[test]
fn drift_is_followed() {
    for ppm in [100.0, -100.0] {
        let mut channel = Channel::of(1_000_000);
        let mut source = Source::new(vec![Track::video(500_000), Track::audio(0x200, 64_000)], 9);
        (source.ppm, source.jitter_us) = (ppm, 30_000);
        let mut starts: Vec<i64> = Vec::new();
        for minute in 1..=15 {
            channel.play(&mut source, minute * 60_000_000);
            let report = channel.mux.tally();
            assert_eq!((report.jumps, channel.dropped()), (0, 0));
        }
        let report = channel.read();
        let video = &report.units[&0x100];
        starts.extend(video.iter().map(|unit| (unit.dts - unit.begun) / MS));
        let (least, most) = (starts.iter().min().unwrap(), starts.iter().max().unwrap());
        assert!(*least > 220 && *most < 860, "{least} to {most} ms");
        for two in video.windows(2) {
            let off = (two[1].dts - two[0].dts - 40 * MS).abs();
            assert!(off <= 300 * 2 + 40 * MS * 240 / 1_000_000, "a step of {off} ticks");
        }
        assert!((channel.mux.drift_ppb(0) as f64 / 1e3 + ppm).abs() < 15.0, "{}", channel.mux.drift_ppb(0));
    }
}

/// Packets of 7.5 ms down to 1.2 ms: whatever divides the interval or does not, no clock is late and no table.
#[test]
fn low_rates_hold_the_gates() {
    for rate in (200_000..1_250_000).step_by(12_347) {
        let mut channel = Channel::of(rate);
        // Tables and clocks take 84 kbit/s, and sounds a packet each.
        let video = Track::video((rate - 140_000) * 60 / 100);
        let mut source = Source::new(vec![video, Track::audio(0x200, 24_000)], rate);
        source.jitter_us = 20_000;
        source.tracks[0].mhz = 10_000;
        source.tracks[0].gop = 5;
        channel.play(&mut source, 5_000_000);
        let report = channel.read();
        assert_eq!(
            (channel.dropped(), channel.raised()),
            (0, Vec::new()),
            "{rate}: {:?}",
            channel.mux.tally()
        );
        assert!(report.units[&0x200].len() > 180 && report.units[&0x100].len() > 16, "{rate}");
    }
}

#[test]
fn positions_are_exact() {
    let mux = Mux::new(Multiplex { rate_bps: 4_000_000, ..Multiplex::default() }, Mono::from_micros(500));
    assert_eq!(mux.position(Mono::ZERO), 0);
    assert_eq!(mux.position(Mono::from_micros(500)), 1);
    for n in [1u64, 2, 1000, 1_000_000_007] {
        let due = mux.due(n);
        assert_eq!(mux.position(due), n + 1, "{n}");
        assert_eq!(mux.position(Mono::from_micros(due.as_micros() - 1)), n, "{n}");
    }
}
