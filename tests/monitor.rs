//! The monitor of transport streams: each fault raises its indicator, and no other.

#[path = "support/damage.rs"]
mod damage;
#[path = "support/stream.rs"]
mod stream;

use damage::{FAULT_MS, FAULTS, find, null, without};

use headgate::media::Mono;
use headgate::monitor::{HEAP_BYTES_MAX, Indicator, Monitor, Options, PROGRAMS_MAX, Report, STREAMS_MAX};
use headgate::wire::ts::framing::Unit;
use std::time::Duration;
use stream::{AUDIO, PMT, Packet, SDT, VIDEO, at_ms, clean, rtp, section, section_packet, set_pcr, ticks};

/// Time of a packet of the constant rate.
fn time_of(n: usize) -> Mono {
    Mono::from_micros(ticks(n) / 27)
}

/// Runs packets, seven to a datagram.
fn watch(options: Options, packets: &[Packet]) -> Monitor {
    let mut monitor = Monitor::new(options);
    for (n, datagram) in packets.chunks(7).enumerate() {
        monitor.handle_datagram(time_of(n * 7 + 6), &stream::bytes(datagram));
    }
    monitor
}

/// The same, but all that was sent in so many milliseconds comes at once.
fn watch_bursts(options: Options, packets: &[Packet], burst_ms: u64) -> Monitor {
    let mut monitor = Monitor::new(options);
    for (n, datagram) in packets.chunks(7).enumerate() {
        let us = time_of(n * 7).as_micros().next_multiple_of(burst_ms * 1000);
        monitor.handle_datagram(Mono::from_micros(us), &stream::bytes(datagram));
    }
    monitor
}

fn raised(report: &Report) -> Vec<&'static str> {
    report.indicators.iter().filter(|entry| entry.count > 0).map(|entry| entry.id).collect()
}

#[test]
fn each_fault_raises_its_indicator_and_no_other() {
    let seconds = 9;
    for (name, fault, indicator, limit_ms) in FAULTS {
        let mut packets = clean(seconds);
        fault(&mut packets);
        let monitor = watch(Options::default(), &packets);
        let report = monitor.report();
        assert_eq!(raised(&report), [indicator.id()], "{name}: {:#?}", report.indicators);
        let found = monitor.tally(*indicator).first.unwrap().at;
        // Packets do not begin at whole milliseconds.
        let span = Duration::from_millis(FAULT_MS - 1)..Duration::from_millis(FAULT_MS + limit_ms + 1000);
        assert!(span.contains(&found.since(Mono::ZERO)), "{name}: found at {found:?}, not in {span:?}");
        assert_eq!(report.has_errors(), indicator.priority() < 3, "{name}");
        let Some(rate) = report.mux_rate.map(|rate| rate.mean_bps) else {
            assert_eq!(*name, "a PCR PID that does not exist");
            assert_eq!(report.pcrs.iter().map(|pcr| (pcr.pid, pcr.count)).collect::<Vec<_>>(), [(0x1ABC, 0)]);
            continue;
        };
        assert!(
            (rate - stream::RATE as f64).abs() < 4.0,
            "{name}: packets that are missing are not its rate: {rate}"
        );
    }
}

#[test]
fn a_clean_stream_raises_nothing_and_is_described() {
    let packets = clean(20);
    let report =
        watch(Options { pcr_interval_max: Duration::from_millis(40), ..Options::default() }, &packets)
            .report();
    assert_eq!(raised(&report), Vec::<&str>::new(), "{:#?}", report.indicators);
    assert_eq!(report.packets, packets.len() as u64);
    let rate = report.mux_rate.as_ref().unwrap();
    assert!((rate.mean_bps - stream::RATE as f64).abs() < 4.0 && rate.constant == Some(true), "{rate:?}");
    let nulls = packets.iter().filter(|packet| packet.what == "null").count();
    assert_eq!(report.null_packets, nulls as u64);

    let [service] = &report.services[..] else { panic!("{:?}", report.services) };
    assert_eq!((service.name.as_deref(), service.provider.as_deref()), (Some("Eins ä"), Some("Tests")));
    assert_eq!((service.id, service.pmt_pid, service.pcr_pid), (1, PMT, Some(VIDEO)));
    let streams: Vec<_> = service.streams.iter().map(|s| (s.pid, s.codec, s.language.as_deref())).collect();
    assert_eq!(streams, [(VIDEO, "H.264", None), (AUDIO, "AAC", Some("deu"))]);

    let [pcr] = &report.pcrs[..] else { panic!("{:?}", report.pcrs) };
    assert!(pcr.accuracy_ns_max.unwrap() < 100.0 && pcr.accuracy_judged > 500, "{pcr:?}");
    let interval = pcr.interval_ms_max.unwrap();
    assert!((34.0..36.0).contains(&interval) && pcr.intervals_above_40_ms == 0, "{pcr:?}");
    let video = report.pids.iter().find(|entry| entry.pid == VIDEO).unwrap();
    assert!((video.mean_bps.unwrap() - 25.0 * 10.0 * 1504.0).abs() < 50_000.0, "{video:?}");
    let lead = (video.pts_lead_ms_min.unwrap(), video.pts_lead_ms_max.unwrap());
    assert!(lead.0 > 480.0 && lead.1 < 502.0, "{lead:?}");
    let network = report.network.unwrap();
    assert_eq!((network.sizes.first().map(|entry| entry.0), network.rtp), (Some(1316), None));
    assert!(network.mdi.df_ms_max.unwrap() < 6.0, "one datagram, evenly spaced: {:?}", network.mdi);
}

/// Five minutes, and the clocks of 33 bits end in the first of them.
#[test]
fn a_long_clean_stream_raises_nothing() {
    let options = Options { pcr_interval_max: Duration::from_millis(40), ..Options::default() };
    let mut monitor = Monitor::new(options);
    let origin = ((1u64 << 33) - 20 * 90_000) * 300;
    for (n, packet) in stream::Clean::from(origin).take(at_ms(300_000)).enumerate() {
        monitor.handle_datagram(time_of(n), &packet.bytes);
    }
    let report = monitor.report();
    assert_eq!(raised(&report), Vec::<&str>::new(), "{:#?}", report.indicators);
    assert!(
        report.duration_seconds > 299.0 && report.pcrs[0].accuracy_ns_max.unwrap() < 100.0,
        "{:?}",
        report.pcrs
    );
    let leads = report.pids.iter().filter_map(|entry| entry.pts_lead_ms_max);
    assert!(leads.into_iter().all(|lead| lead < 502.0), "{:?}", report.pids);
}

/// What the network bunches together has a figure of its own and is no fault of the stream.
#[test]
fn jitter_of_the_network_raises_nothing() {
    let options = Options { pcr_interval_max: Duration::from_millis(40), ..Options::default() };
    let report = watch_bursts(options, &clean(20), 60).report();
    assert_eq!(raised(&report), Vec::<&str>::new(), "{:#?}", report.indicators);
    let df = report.network.unwrap().mdi.df_ms_max.unwrap();
    assert!((50.0..75.0).contains(&df), "{df}");
}

/// A PAT each so many milliseconds, and what is sent in a burst comes at once. At a constant rate packets tell the
/// distance, whatever the network does; else 40 ms of its jitter are allowed for.
#[test]
fn jitter_delays_no_table() {
    for (each_ms, burst_ms, with_nulls, expected) in [
        (500, 40, true, vec![]),
        (500, 40, false, vec![]),
        (500, 70, true, vec![]),
        (500, 70, false, vec!["1.3"]),
        (600, 40, true, vec!["1.3"]),
        (600, 40, false, vec!["1.3"]),
    ] {
        let mut packets = clean(6);
        thin_out(&mut packets, 0, each_ms / 100);
        let mut monitor = Monitor::new(Options::default());
        for (n, packet) in packets.iter().enumerate().filter(|(_, p)| with_nulls || p.what != "null") {
            let us = time_of(n).as_micros().next_multiple_of(burst_ms * 1000);
            monitor.handle_datagram(Mono::from_micros(us), &packet.bytes);
        }
        let report = monitor.report();
        assert_eq!(report.mux_rate.as_ref().unwrap().constant, Some(with_nulls));
        assert_eq!(
            raised(&report),
            expected,
            "each {each_ms} ms, {burst_ms} {with_nulls}: {:#?}",
            report.tables
        );
    }
}

/// Leaves one of so many packets of a PID.
fn thin_out(packets: &mut [Packet], pid: u16, of: usize) {
    let all = packets.iter_mut().filter(|p| p.pid() == pid).enumerate();
    all.filter(|(n, _)| n % of != 0).for_each(|(_, p)| *p = null());
    stream::count_up(packets);
}

/// The first program of two names a clock that never comes: distances are measured by that of the second.
#[test]
fn the_clock_that_goes_on_measures() {
    let mut packets = clean(6);
    let pat = section(0, 1, 0, &[0, 2, 0xF1, 0x00, 0, 1, 0xE0 | (PMT >> 8) as u8, PMT as u8]);
    let map = section_packet(0x1100, &section(2, 2, 0, &[0xFA, 0xBC, 0xF0, 0]));
    packets.iter_mut().filter(|p| p.pid() == 0).for_each(|p| p.bytes = section_packet(0, &pat));
    // Its map comes first too.
    packets.iter_mut().find(|p| p.pid() == PMT).unwrap().bytes = map;
    for ms in (100..6000).step_by(100) {
        let place = (at_ms(ms)..).find(|n| packets[*n].what == "null").unwrap();
        packets[place] = Packet { bytes: map, what: "psi" };
    }
    thin_out(&mut packets, 0, 5);
    let report = watch_bursts(Options::default(), &packets, 70).report();
    let clocks: Vec<_> = report.pcrs.iter().map(|pcr| (pcr.pid, pcr.count > 0)).collect();
    assert_eq!((clocks, raised(&report)), (vec![(0x1ABC, false), (VIDEO, true)], vec!["2.3a"]));
}

/// The clock with the most PCRs stops, and behind that everything is sent at half the rate: the clock that goes on
/// measures.
#[test]
fn of_two_clocks_the_one_that_goes_on_measures() {
    const OTHER: u16 = 0x1ABC;
    let (stop_ms, fault_ms) = (3000, 5000);
    let slow_at = at_ms(stop_ms);
    let sent_at = |n: usize| ticks(n) + ticks(n.saturating_sub(slow_at));
    let mut packets = clean(7);
    let pat = section(0, 1, 0, &[0, 2, 0xF1, 0x00, 0, 1, 0xE0 | (PMT >> 8) as u8, PMT as u8]);
    let map = section_packet(0x1100, &section(2, 2, 0, &[0xE0 | (OTHER >> 8) as u8, OTHER as u8, 0xF0, 0]));
    packets.iter_mut().filter(|p| p.pid() == 0).for_each(|p| p.bytes = section_packet(0, &pat));
    for ms in (50..7000).step_by(100) {
        let place = (at_ms(ms)..).find(|n| packets[*n].what == "null").unwrap();
        packets[place] = Packet { bytes: map, what: "psi" };
    }
    for ms in (1500..7000).step_by(45) {
        let place = (at_ms(ms)..).find(|n| packets[*n].what == "null").unwrap();
        let mut packet = packets.iter().find(|p| p.what == "pcr").unwrap().clone();
        packet.bytes[1..3].copy_from_slice(&OTHER.to_be_bytes());
        set_pcr(&mut packet, sent_at(place));
        packets[place] = packet;
    }
    for (n, packet) in packets.iter_mut().enumerate() {
        let has_stopped = n >= slow_at && packet.what == "pcr" && packet.pid() == VIDEO;
        if has_stopped || (n >= at_ms(fault_ms) && packet.pid() == 0) {
            *packet = null();
        }
    }
    stream::count_up(&mut packets);
    let mut monitor = Monitor::new(Options::default());
    for (n, packet) in packets.iter().enumerate() {
        monitor.handle_datagram(Mono::from_micros(sent_at(n) / 27), &packet.bytes);
    }
    let report = monitor.report();
    let counts: Vec<_> = report.pcrs.iter().map(|pcr| (pcr.pid, pcr.count)).collect();
    assert!(
        matches!(counts[..], [(OTHER, 120..125), (VIDEO, 85..87)] | [(VIDEO, 85..87), (OTHER, 120..125)]),
        "{counts:?}"
    );
    assert_eq!(raised(&report), ["1.3", "2.3a"]);
    let told = monitor.tally(Indicator::Pat).first.unwrap().at;
    let since = told.since(Mono::from_micros(sent_at(at_ms(fault_ms)) / 27)).as_millis();
    assert!((300..520).contains(&since), "{since} ms");
}

/// The encoder dies and only the sound of a channel goes on: the packets that still come are no clock.
#[test]
fn a_clock_that_has_stopped_measures_nothing() {
    for pause in [Duration::ZERO, Duration::from_secs(1)] {
        let mut monitor = Monitor::new(Options::default());
        let mut dead_at = Mono::ZERO;
        for (n, packet) in clean(6).iter().enumerate() {
            let is_dead = n >= at_ms(FAULT_MS);
            if !is_dead || packet.pid() == AUDIO {
                let at = time_of(n) + if is_dead { pause } else { Duration::ZERO };
                dead_at = if is_dead && dead_at == Mono::ZERO { at } else { dead_at };
                monitor.handle_datagram(at, &packet.bytes);
            }
        }
        for indicator in [Indicator::Pat, Indicator::Pmt] {
            let found = monitor.tally(indicator).first.map(|found| found.at.since(dead_at));
            let in_time = Duration::from_millis(400)..Duration::from_millis(650);
            assert!(found.is_some_and(|after| in_time.contains(&after)), "{indicator:?}: {found:?}");
        }
    }
}

/// Half a second of a variable rate comes at once: how far apart its tables were sent, arrival does not tell.
#[test]
fn what_comes_together_was_not_sent_together() {
    let mut packets = clean(6);
    for ms in [FAULT_MS, FAULT_MS + 30, FAULT_MS + 60] {
        let place = (at_ms(ms)..).find(|n| packets[*n].what == "null").unwrap();
        packets[place] = Packet { bytes: section_packet(SDT, &stream::sdt()), what: "psi" };
    }
    stream::count_up(&mut packets);
    let mut monitor = Monitor::new(Options::default());
    for (n, packet) in packets.iter().enumerate().filter(|(_, p)| p.what != "null") {
        let us = time_of(n).as_micros().next_multiple_of(500_000);
        monitor.handle_datagram(Mono::from_micros(us), &packet.bytes);
    }
    assert_eq!(monitor.tally(Indicator::SiRepetition).count, 0);
}

/// A radio service of 70 kbit/s sends seven packets in 150 ms: what is absent is so between them too.
#[test]
fn who_sends_in_bursts_is_judged() {
    let time_decides = [Indicator::Pat, Indicator::Pmt, Indicator::Pid, Indicator::UnreferencedPid];
    for (name, fault, indicator, _) in FAULTS.iter().filter(|fault| time_decides.contains(&fault.2)) {
        let mut packets = clean(9);
        fault(&mut packets);
        let report = watch_bursts(Options::default(), &packets, 150).report();
        assert_eq!(raised(&report), [indicator.id()], "{name}: {:#?}", report.indicators);
    }
    let report = watch_bursts(Options::default(), &clean(9), 150).report();
    assert_eq!(raised(&report), Vec::<&str>::new(), "{:#?}", report.indicators);
}

#[test]
fn the_limit_of_pcr_intervals_is_an_option() {
    let mut packets = clean(4);
    // Every other PCR is left out: intervals of 70 ms.
    let places: Vec<usize> = (0..packets.len()).filter(|n| packets[*n].what == "pcr").collect();
    places.iter().skip(1).step_by(2).for_each(|n| packets[*n] = null());
    let at = |ms| Options { pcr_interval_max: Duration::from_millis(ms), ..Options::default() };
    assert_eq!(raised(&watch(at(100), &packets).report()), Vec::<&str>::new());
    let report = watch(at(40), &packets).report();
    assert_eq!(raised(&report), ["2.3a"]);
    assert_eq!(report.count(Indicator::PcrRepetition), report.pcrs[0].intervals_above_40_ms);
}

/// Packets of pictures are scrambled in these milliseconds; how often 2.6 is raised without a CAT. With one, never.
#[test]
fn scrambling_needs_a_cat() {
    for (spans, expected) in
        [(&[(2000, 2040)][..], 1), (&[(2000, 5000)], 1), (&[(2000, 2040), (5000, 5040)], 2)]
    {
        for has_cat in [false, true] {
            let mut packets = clean(8);
            for (from, to) in spans {
                let span = packets[at_ms(*from)..at_ms(*to)].iter_mut();
                // The starts too, so that no PTS can be read.
                span.filter(|p| p.what == "video").for_each(|p| p.bytes[3] |= 0x80);
            }
            if has_cat {
                with_cat(&mut packets);
            }
            let report = watch(Options::default(), &packets).report();
            let expected = if has_cat { 0 } else { expected };
            assert_eq!(report.count(Indicator::Cat), expected, "{spans:?}, with a CAT: {has_cat}");
            assert!(raised(&report).iter().all(|id| *id == "2.6"), "{:?}", raised(&report));
            let scrambled: u64 = report.pids.iter().map(|entry| entry.scrambled_packets).sum();
            assert_eq!(scrambled, packets.iter().filter(|p| p.bytes[3] >> 6 != 0).count() as u64);
        }
    }
}

/// A CAT each 400 ms, in the place of nulls.
fn with_cat(packets: &mut [Packet]) {
    let cat = section_packet(1, &section(1, 0xFFFF, 0, &[9, 4, 6, 4, 0xE1, 0x23]));
    let mut due = 0;
    for (n, packet) in packets.iter_mut().enumerate() {
        if n >= at_ms(due) && packet.what == "null" {
            (*packet, due) = (Packet { bytes: cat, what: "psi" }, due + 400);
        }
    }
    stream::count_up(packets);
}

/// Only the beginnings of pictures are clear, as scramblers leave them on request: their PTS are read.
#[test]
fn selective_scrambling_hides_no_pts() {
    let mut packets = clean(6);
    with_cat(&mut packets);
    packets.iter_mut().filter(|p| p.what == "video" && !p.starts()).for_each(|p| p.bytes[3] |= 0x80);
    let interval = |packets: &[Packet]| {
        let report = watch(Options::default(), packets).report();
        let video = report.pids.iter().find(|entry| entry.pid == VIDEO).unwrap();
        (raised(&report), video.pts_interval_ms_max.unwrap_or_default() as u64)
    };
    assert!(matches!(interval(&packets), (raised, 35..45) if raised.is_empty()));
    let starts = packets[at_ms(FAULT_MS)..at_ms(FAULT_MS + 900)].iter_mut();
    starts.filter(|p| p.what == "video" && p.starts()).for_each(|p| p.bytes[11] = 0);
    assert!(matches!(interval(&packets), (raised, 900..1000) if raised == ["2.5"]));
}

/// Sound comes back after six seconds, and no PTS with it.
#[test]
fn what_is_back_without_a_pts() {
    let mut packets = clean(12);
    without(&mut packets, AUDIO, 6000);
    let behind = packets[at_ms(FAULT_MS + 6000)..].iter_mut();
    behind.filter(|p| p.pid() == AUDIO && p.starts()).for_each(|p| p.bytes[11] = 0);
    let monitor = watch(Options::default(), &packets);
    assert_eq!(raised(&monitor.report()), ["1.6", "2.5"]);
    let told = monitor.tally(Indicator::Pts).first.unwrap().at.since(Mono::ZERO).as_millis() as u64;
    assert!((8700..9000).contains(&told), "{told} ms");
}

#[test]
fn silence_is_one_fault_and_everything_is_due_anew() {
    let packets = clean(6);
    for told_by_timeout in [true, false] {
        let mut monitor = Monitor::new(Options::default());
        let mut pause = Duration::ZERO;
        for (n, datagram) in packets.chunks(7).enumerate() {
            let at = time_of(n * 7);
            if n == at_ms(3000) / 7 {
                pause = Duration::from_secs(7);
                while told_by_timeout && monitor.deadline() < at + pause {
                    monitor.handle_timeout(monitor.deadline());
                }
                let told = monitor.tally(Indicator::Silence).first.map(|first| first.at.since(at));
                assert_eq!(told.is_some(), told_by_timeout);
                assert!(told.is_none_or(|after| after < Duration::from_millis(520)), "{told:?}");
            }
            monitor.handle_datagram(at + pause, &stream::bytes(datagram));
        }
        assert_eq!(raised(&monitor.report()), ["silence"]);
        assert_eq!(monitor.tally(Indicator::Silence).count, 1);
    }
    assert_eq!(
        Monitor::new(Options::default()).deadline(),
        Mono::NEVER,
        "before the first packet nothing is due"
    );
}

/// A file without a clock: all of it comes at one time. It has more PIDs than roles are given to at one look, and they
/// are there before the tables are.
#[test]
fn without_a_clock_tables_are_read_and_clocks_are_missed() {
    for long in [true, false] {
        let mut packets = clean(4);
        packets.iter_mut().filter(|p| p.what == "pcr").for_each(|p| *p = null());
        if !long {
            // Less than is looked at between two looks, and the tables at its end.
            packets.truncate(700);
            packets.sort_by_key(|p| p.what == "psi");
        }
        for n in 0..20 {
            let mut bytes = [0x5A; 188];
            bytes[..4].copy_from_slice(&[0x47, 0x03, n, 0x10]);
            packets.insert(0, Packet { bytes, what: "psi" });
        }
        stream::count_up(&mut packets);
        let mut monitor = Monitor::new(Options::default());
        monitor.handle_unit(Mono::ZERO, Unit::Acquired { stride: 188, skipped: 0 });
        for packet in &packets {
            monitor.handle_unit(Mono::ZERO, Unit::Packet { bytes: &packet.bytes, sync_ok: true });
        }
        assert_eq!(raised(&monitor.report()), Vec::<&str>::new());
        monitor.handle_end_without_clock();
        let report = monitor.report();
        assert_eq!((raised(&report), report.count(Indicator::PcrRepetition)), (vec!["2.3a"], 1));
        let role = |pid: u16| report.pids.iter().find(|entry| entry.pid == pid).map(|entry| entry.role);
        assert_eq!(
            [role(0), role(PMT), role(VIDEO), role(AUDIO)],
            [Some("PAT"), Some("PMT"), Some("video"), Some("audio")]
        );
    }
}

/// ffmpeg fills datagrams to the last byte if it is not told otherwise.
#[test]
fn packets_that_datagrams_cut_are_read() {
    let packets = clean(6);
    for (lost, expected) in [(None, vec![]), (Some(500), vec!["1.4"])] {
        let mut monitor = Monitor::new(Options::default());
        for (n, datagram) in
            stream::bytes(&packets).chunks(1472).enumerate().filter(|(n, _)| Some(*n) != lost)
        {
            monitor.handle_datagram(time_of((n + 1) * 1472 / 188), datagram);
        }
        let report = monitor.report();
        assert_eq!(raised(&report), expected, "{:#?}", report.indicators);
        let missing = packets.len() as u64 - report.packets;
        assert_eq!(missing, if lost.is_some() { 9 } else { 0 });
        let network = report.network.unwrap();
        assert!(network.cut_packets > 1000 && network.foreign == 0, "{network:?}");
        assert!(network.mdi.df_ms_max.unwrap() < 7.0, "{:?}", network.mdi);
    }
    // A wrong sync byte, of whichever packet of a datagram: the datagrams are still known, and nothing of them is lost.
    for damaged in 800..812 {
        let mut bytes = stream::bytes(&packets);
        bytes[damaged * 188] = 0x46;
        let mut monitor = Monitor::new(Options::default());
        for (n, datagram) in bytes.chunks(1472).enumerate() {
            monitor.handle_datagram(time_of((n + 1) * 1472 / 188), datagram);
        }
        let report = monitor.report();
        assert_eq!((raised(&report), report.packets), (vec!["1.2"], packets.len() as u64), "{damaged}");
    }
    // Error correction over five RTP packets has a sync byte at every distance of a packet too.
    let mut monitor = watch(Options::default(), &packets);
    let seven = stream::bytes(&packets[..7]);
    let correction = [&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16], &seven].concat();
    monitor.handle_datagram(time_of(packets.len()), &correction);
    assert_eq!(monitor.report().network.unwrap().foreign, 1);
}

/// A map whose packet has the same counter as the one before: fifteen are missing, and it is no copy.
#[test]
fn what_follows_on_fifteen_missing_is_read() {
    let mut packets = clean(3);
    let before = find(&packets, 0, |p| p.pid() == PMT);
    let next = (before..).find(|n| packets[*n].what == "null").unwrap();
    let mut other = section_packet(PMT, &stream::pmt_with_clock(1, AUDIO));
    other[3] = packets[before].bytes[3];
    packets[next] = Packet { bytes: other, what: "psi" };
    let report = watch(Options::default(), &packets).report();
    assert_eq!((raised(&report), report.tables.changes), (vec!["1.4"], 2), "there and back");
}

/// Stuffing tables come as often as they like, and ATSC's tables are on a PID that no other table names.
#[test]
fn tables_that_are_no_fault() {
    let mut packets = clean(4);
    let stuffing = section_packet(SDT, &[0x72, 0x70, 4, 1, 2, 3, 4]);
    let psip = section_packet(0x1FFB, &section(0xC7, 0, 0, &[0, 0, 0, 0]));
    for bytes in [stuffing, stuffing, psip] {
        for n in (0..packets.len()).step_by(50) {
            if let Some(place) = (n..packets.len()).find(|n| packets[*n].what == "null") {
                packets[place] = Packet { bytes, what: "psi" };
            }
        }
    }
    stream::count_up(&mut packets);
    let report = watch(Options::default(), &packets).report();
    assert_eq!(raised(&report), Vec::<&str>::new(), "{:#?}", report.indicators);
}

/// The PAT stops naming a NIT, and a TDT without a time does not take away the one that was known.
#[test]
fn what_tables_take_back_and_what_they_do_not() {
    let mut packets = clean(4);
    let pat = |version: u8, network: &[u8]| {
        let program = [0, 1, 0xE0 | (PMT >> 8) as u8, PMT as u8];
        section_packet(0, &section(0, 1, version, &[network, &program].concat()))
    };
    let (with, without) = (pat(1, &[0, 0, 0xE1, 0x23]), pat(2, &[]));
    for (n, packet) in packets.iter_mut().enumerate().filter(|(_, p)| p.pid() == 0) {
        packet.bytes = if n < at_ms(FAULT_MS) { with } else { without };
    }
    let known = section_packet(0x14, &[0x70, 0x70, 5, 0xC0, 0x79, 0x12, 0x45, 0x00]);
    let undefined = section_packet(0x14, &[0x70, 0x70, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    let network = section_packet(0x123, &section(0x40, 1, 0, &[0xF0, 0, 0xF0, 0]));
    let tables = [(500, known), (1000, undefined)].into_iter();
    for (ms, bytes) in tables.chain((2500..3900).step_by(100).map(|ms| (ms, network))) {
        let place = (at_ms(ms)..).find(|n| packets[*n].what == "null").unwrap();
        packets[place] = Packet { bytes, what: "psi" };
    }
    stream::count_up(&mut packets);
    let report = watch(Options::default(), &packets).report();
    assert_eq!(report.tables.utc_seconds, Some(750_516_300));
    let left_over = report.pids.iter().find(|entry| entry.pid == 0x123).unwrap();
    assert_eq!((left_over.role, raised(&report)), ("unreferenced", vec!["3.4"]));
}

/// Nobody calls `handle_timeout` here: something else comes all the time, in place of the stream.
#[test]
fn something_else_does_not_hold_up_the_time() {
    let mut monitor = watch(Options::default(), &clean(3));
    let end = time_of(at_ms(3000));
    for n in 1..=400 {
        monitor.handle_datagram(end + Duration::from_millis(5 * n), b"\x16 not a transport stream");
    }
    let report = monitor.report();
    assert_eq!(raised(&report), ["silence"]);
    assert_eq!(report.network.unwrap().foreign, 400);
    let told = monitor.tally(Indicator::Silence).first.unwrap().at.since(end);
    assert!(told < Duration::from_millis(520), "{told:?}");
}

/// While synchronisation is lost there are no packets, but there is no silence either.
#[test]
fn what_is_no_packet_breaks_the_silence() {
    let mut packets = clean(5);
    let span = at_ms(2000).next_multiple_of(7)..at_ms(4000);
    // The first of each datagram is left: it tells that these are to be packets.
    packets[span].iter_mut().enumerate().filter(|(n, _)| n % 7 > 0).for_each(|(_, p)| p.bytes[0] = 0);
    let report = watch(Options::default(), &packets).report();
    assert_eq!(raised(&report), ["1.1"], "{:#?}", report.indicators);
}

/// A map that was missing before a silence and is missing behind it is missing twice.
#[test]
fn silence_ends_every_absence() {
    let mut packets = clean(6);
    packets.iter_mut().skip(at_ms(1000)).filter(|p| p.pid() == PMT).for_each(|p| *p = null());
    let mut monitor = Monitor::new(Options::default());
    for (n, datagram) in packets.chunks(7).enumerate() {
        let pause = Duration::from_secs(if n * 7 > at_ms(3000) { 2 } else { 0 });
        monitor.handle_datagram(time_of(n * 7) + pause, &stream::bytes(datagram));
    }
    let counts = [Indicator::Silence, Indicator::Pmt].map(|indicator| monitor.tally(indicator).count);
    assert_eq!(counts, [1, 2]);
    assert_eq!(raised(&monitor.report()), ["silence", "1.5"]);
}

/// RTP datagrams: what is done to their order, and what the report says then.
#[test]
fn rtp_is_counted() {
    let packets = clean(6);
    let datagrams: Vec<Vec<u8>> = (packets.chunks_exact(7).enumerate())
        .map(|(n, seven)| rtp((65_000 + n) as u16, &stream::bytes(seven)))
        .collect();
    let nulls = packets.chunks_exact(7).skip(400).position(|seven| seven.iter().all(|p| p.what == "null"));
    let nulls = 400 + nulls.unwrap();
    let watch = |order: &mut dyn FnMut(&mut Vec<Vec<u8>>)| {
        let mut sent = datagrams.clone();
        order(&mut sent);
        let mut monitor = Monitor::new(Options::default());
        for (n, datagram) in sent.iter().enumerate() {
            monitor.handle_datagram(time_of(n * 7), datagram);
        }
        let report = monitor.report();
        let network = report.network.clone().unwrap();
        (raised(&report), network.rtp.unwrap(), network.mdi, network.sizes)
    };
    let (raised, rtp, mdi, sizes) = watch(&mut |_| {});
    assert_eq!((raised.len(), rtp.lost, rtp.reordered, rtp.duplicates), (0, 0, 0, 0));
    assert_eq!((rtp.payload_type, rtp.ssrc, mdi.lost_packets, sizes[0].0), (33, 0x0102_0304, 0, 1328));

    // Nothing but nulls is missing: continuity counters cannot tell, sequence numbers can.
    let (raised, rtp, mdi, _) = watch(&mut |sent| drop(sent.remove(nulls)));
    assert_eq!((raised, rtp.lost, mdi.lost_packets), (vec!["rtp_loss"], 1, 7));
    assert!((mdi.mlr_max - 7.0).abs() < 0.1, "{mdi:?}");

    let (raised, rtp, ..) = watch(&mut |sent| sent.insert(nulls, sent[nulls].clone()));
    assert_eq!((raised.len(), rtp.duplicates, rtp.lost), (0, 1, 0));

    // Two datagrams of one picture, swapped: a receiver without a buffer for that sees wrong counters.
    let has_video = |n: usize| packets[n * 7..n * 7 + 7].iter().any(|packet| packet.what == "video");
    let busy = (400..).find(|n| has_video(*n) && has_video(n + 1)).unwrap();
    let (raised, rtp, ..) = watch(&mut |sent| sent.swap(busy, busy + 1));
    assert_eq!((raised, rtp.reordered, rtp.lost), (vec!["1.4"], 1, 0));

    let (raised, rtp, ..) = watch(&mut |sent| sent.iter_mut().skip(500).for_each(|d| d[11] = 9));
    assert_eq!((raised.len(), rtp.restarts, rtp.lost, rtp.strays), (0, 1, 0, 1));

    // A datagram of nulls that comes when it has been given up is not lost after all.
    let (raised, rtp, mdi, _) = watch(&mut |sent| {
        let late = sent.remove(nulls);
        sent.insert(nulls + 70, late);
    });
    assert_eq!((raised, rtp.lost, rtp.reordered), (vec!["rtp_loss"], 0, 1));
    assert_eq!((mdi.lost_packets, mdi.mlr_max), (0, 0.0));

    // Another sender with the same packets beside the first.
    let (raised, rtp, ..) = watch(&mut |sent| {
        let both = sent.iter().flat_map(|datagram| {
            let mut other = datagram.clone();
            (other[2], other[11]) = (datagram[2] ^ 0x40, 9);
            [datagram.clone(), other]
        });
        *sent = both.collect();
    });
    assert_eq!((raised, rtp.restarts, rtp.lost), (vec!["rtp_senders"], 0, 0));
    assert_eq!((rtp.strays as usize, rtp.packets as usize), (datagrams.len(), 2 * datagrams.len()));
}

/// Thousands of datagrams are missing: they are lost, and no new sender makes that be forgotten.
#[test]
fn an_outage_is_a_loss() {
    let mut monitor = Monitor::new(Options::default());
    for (n, seven) in clean(20).chunks_exact(7).enumerate().filter(|(n, _)| !(1500..5000).contains(n)) {
        monitor.handle_datagram(time_of(n * 7), &rtp(n as u16, &stream::bytes(seven)));
    }
    let report = monitor.report();
    assert_eq!(raised(&report), ["silence", "rtp_loss", "1.4"]);
    assert_eq!(report.count(Indicator::RtpLoss), 1);
    let network = report.network.unwrap();
    assert_eq!((network.rtp.unwrap().lost, network.mdi.lost_packets), (3500, 24_500));
    // 24 500 in 9.2 seconds.
    assert!((2500.0..2800.0).contains(&network.mdi.mlr_max), "{:?}", network.mdi);
}

/// T1, T2: whatever comes, memory is bounded, and a good stream behind it is read.
#[test]
fn t1_t2_storms_are_bounded_and_survived() {
    let mut monitor = Monitor::new(Options::default());
    let mut now = Mono::ZERO;
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32
    };
    let mut sent = 0u32;
    let mut send = |monitor: &mut Monitor, bytes: &[u8]| {
        now = now + Duration::from_micros(376);
        monitor.handle_datagram(now, bytes);
        sent += 1;
        assert!(
            !sent.is_multiple_of(64) || monitor.heap_bytes() <= HEAP_BYTES_MAX,
            "{} bytes",
            monitor.heap_bytes()
        );
    };
    // A PAT with the most programs that fit, in several sections, each map on a PID of its own, changing all the time.
    for round in 0..200u16 {
        for number in 0..4u16 {
            let entries = (0..250).flat_map(|n| {
                let (program, pid) = (number * 250 + n + 1, 0xE020 + number * 250 + n + round);
                [(program >> 8) as u8, program as u8, (pid >> 8) as u8, pid as u8]
            });
            let entries: Vec<u8> = entries.collect();
            let whole = stream::numbered_section(0, 1, (round % 32) as u8, (number as u8, 3), &entries);
            for (n, piece) in [&[0][..], &whole].concat().chunks(184).enumerate() {
                let mut bytes = [0xFF; 188];
                bytes[..4].copy_from_slice(&[
                    0x47,
                    if n == 0 { 0x40 } else { 0 },
                    0,
                    0x10 | ((round * 24 + number * 6 + n as u16) & 15) as u8,
                ]);
                bytes[4..4 + piece.len()].copy_from_slice(piece);
                send(&mut monitor, &bytes);
            }
        }
    }
    // Their maps, each with far more streams than are followed, and a clock of its own.
    let streams: Vec<u8> = (0..190u16).flat_map(|n| [0x1B, 0xE1, n as u8, 0xF0, 0]).collect();
    for program in 1..=PROGRAMS_MAX as u16 {
        let pid = 0x20 + program - 1 + 199;
        let head = [0xE0 | (pid >> 8) as u8, pid as u8, 0xF0, 0];
        let map = section(2, program, 0, &[&head[..], &streams].concat());
        for (n, piece) in [&[0][..], &map].concat().chunks(184).enumerate() {
            let mut bytes = [0xFF; 188];
            let start = if n == 0 { 0x40 } else { 0 };
            bytes[..4].copy_from_slice(&[0x47, start | (pid >> 8) as u8, pid as u8, 0x10 | n as u8]);
            bytes[4..4 + piece.len()].copy_from_slice(piece);
            send(&mut monitor, &bytes);
        }
    }
    let mapped = monitor.report();
    assert!(mapped.services.iter().all(|s| s.streams.len() == STREAMS_MAX && s.streams_ignored == 126));
    // Sections that never end on every PID, and noise.
    for n in 0..30_000u32 {
        let mut bytes = [0u8; 188];
        bytes.fill_with(|| random() as u8);
        bytes[0] = 0x47;
        if n % 2 == 0 {
            let pid = (n / 2 % 8192) as u16;
            bytes[..8].copy_from_slice(&[
                0x47,
                0x40 | (pid >> 8) as u8,
                pid as u8,
                0x10,
                0,
                0x42,
                0xBF,
                0xFD,
            ]);
        }
        send(&mut monitor, &bytes);
    }
    let before = monitor.report();
    assert_eq!(before.services.len(), PROGRAMS_MAX);
    assert!(before.tables.programs_ignored > 0 && before.tables.changes > 100, "{:?}", before.tables);
    assert!(before.pids.len() > 8000 && before.count(Indicator::Continuity) > 0);
    // The good stream.
    for datagram in clean(2).chunks(7) {
        for packet in datagram {
            send(&mut monitor, &packet.bytes);
        }
    }
    let report = monitor.report();
    assert_eq!(report.services.len(), 1);
    assert_eq!(report.services[0].name.as_deref(), Some("Eins ä"));
}
