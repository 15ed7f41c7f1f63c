//! Several services in one channel: each is held to the gates as if it were alone, and what happens to one changes nothing for
//! the others.

use super::channel::{Entry, Sent};
use super::*;
use headgate::mux::{Alarms, SERVICES_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Service `n` as a configuration gives it its PIDs.
fn service(n: usize) -> Service {
    let n = n as u16;
    let first = 0x100 + n * 0x20;
    Service {
        service_id: 101 + n,
        name: format!("Service {n}"),
        pmt_pid: 0x1000 + n,
        video_pid: first,
        audio_pid: first + 0x10,
        data_pid: first + 8,
        ..Service::default()
    }
}

fn multiplex(rate_bps: u64, services: Vec<Service>) -> Multiplex {
    let multiplex = Multiplex { rate_bps, nit: true, time: true, services, ..Multiplex::default() };
    assert_eq!(multiplex.problem(), None);
    multiplex
}

/// Sources that come at the same time, each for the service at its place.
struct Sources(Vec<(Source, Option<Entry>)>);

impl Sources {
    fn new(sources: Vec<Source>) -> Sources {
        Sources(sources.into_iter().map(|source| (source, None)).collect())
    }

    /// Feeds what comes until `us` but for what `keep` leaves out, each when it comes.
    fn play(&mut self, channel: &mut Channel, us: u64, mut keep: impl FnMut(usize, &Entry) -> bool) {
        loop {
            let next = self.0.iter_mut().enumerate().map(|(n, (source, next))| {
                let entry = next.get_or_insert_with(|| source.entry());
                (entry.at_us, n)
            });
            let (at_us, n) = next.min().unwrap();
            if at_us > us {
                return channel.run_to(us);
            }
            let entry = self.0[n].1.take().unwrap();
            channel.run_to(at_us);
            if keep(n, &entry) {
                channel.mux.feed(n, Mono::from_micros(at_us), &entry.bytes);
            }
        }
    }
}

/// What a receiver of service `n` takes of a channel.
fn only(bytes: &[u8], n: usize) -> Vec<u8> {
    let its = service(n);
    super::channel::only(bytes, |pid| {
        pid == its.pmt_pid || (its.video_pid..its.video_pid + 0x20).contains(&pid)
    })
}

/// Holds service `n` to the gates.
fn judged(channel: &Channel, n: usize) -> Report {
    let report = read(&only(&channel.out, n), channel.rate);
    report.holds_gates(&channel.tables());
    report
}

fn dropped(channel: &Channel, n: usize) -> u64 {
    let tally = channel.mux.tally_of(n);
    tally.units_late + tally.units_overload + tally.units_without_key + tally.units_cut
}

fn now(channel: &Channel) -> Mono {
    Mono::from_micros(channel.now_us)
}

/// A unit as a viewer sees it: its times and what it carries.
type Seen = (i64, i64, Vec<u8>);

/// All of them, by PID.
fn seen(report: Report) -> Vec<(u16, Vec<Seen>)> {
    let unit = |unit: Sent| (unit.pts, unit.dts, unit.payload);
    report.units.into_iter().map(|(pid, units)| (pid, units.into_iter().map(unit).collect())).collect()
}

/// H.264 with sound, HEVC with two sounds, sound alone, H.264 with Dolby: at 20 Mbit/s, each from a clock of its own.
fn four(seed: u64) -> Vec<Source> {
    let mut hevc = Track::video(5_000_000);
    hevc.stream_type = 0x24;
    let mut dolby = Track::audio(0x210, 384_000);
    (dolby.stream_type, dolby.stream_id, dolby.mhz) = (0x81, 0xBD, 31_250);
    let tracks = [
        vec![Track::video(4_000_000), Track::audio(0x200, 192_000)],
        vec![hevc, Track::audio(0x200, 128_000), Track::audio(0x201, 128_000)],
        vec![Track::audio(0x200, 256_000)],
        vec![Track::video(3_000_000), dolby],
    ];
    let sources = tracks.into_iter().zip([0.0, 60.0, -80.0, 20.0]).enumerate();
    sources
        .map(|(n, (tracks, ppm))| {
            let mut source = Source::new(tracks, seed + n as u64);
            (source.ppm, source.jitter_us, source.stamp) = (ppm, 30_000, 90_000 * 1000 * (n as u64 + 1));
            source
        })
        .collect()
}

#[test]
fn each_service_is_a_channel_of_its_own() {
    let mut channel = Channel::new(multiplex(20_000_000, (0..4).map(service).collect()));
    let mut sources = Sources::new(four(1));
    sources.play(&mut channel, 20_000_000, |_, _| true);
    assert_eq!(channel.raised(), Vec::<&str>::new());
    assert_eq!(channel.mux.alarms(now(&channel)), Alarms::default());
    let expected = [
        (vec![(0x1B, 0x100), (0x0F, 0x110)], 0x100),
        (vec![(0x24, 0x120), (0x0F, 0x130), (0x0F, 0x131)], 0x120),
        (vec![(0x0F, 0x150)], 0x150),
        (vec![(0x1B, 0x160), (0x81, 0x170)], 0x160),
    ];
    for (n, (streams, clock)) in expected.into_iter().enumerate() {
        let report = judged(&channel, n);
        assert_eq!(dropped(&channel, n), 0, "{n}: {:?}", channel.mux.tally_of(n));
        assert_eq!(report.streams.iter().map(|it| (it.0, it.1)).collect::<Vec<_>>(), streams, "{n}");
        assert_eq!(report.pcr_pids.last(), Some(&clock), "{n}");
        for (_, pid) in streams {
            let units = &report.units[&pid];
            assert!(units.len() > 440, "{pid:#x}: {} units", units.len());
            let unit = |n: u8, sent: &Sent| {
                sent.payload.iter().enumerate().all(|(i, byte)| *byte == (i * 7 + usize::from(n)) as u8 | 1)
            };
            let first = units[0].payload[0];
            let from = (0..=255u8).find(|n| n | 1 == first && unit(*n, &units[0])).unwrap();
            assert!(units.iter().enumerate().all(|(n, sent)| unit(from.wrapping_add(n as u8), sent)));
        }
    }
}

/// A source that dies, and comes back as another: the others' units are the same, at the same times, as if nothing had been; its
/// own tables and clock go on.
#[test]
fn a_source_that_dies_changes_nothing_for_the_others() {
    let mut seen_by_others = Vec::new();
    for dies in [false, true] {
        let mut channel = Channel::new(multiplex(20_000_000, (0..4).map(service).collect()));
        let mut sources = Sources::new(four(5));
        let gone = |at_us: u64| dies && (5_000_000..11_000_000).contains(&at_us);
        sources.play(&mut channel, 10_000_000, |n, entry| n != 1 || !gone(entry.at_us));
        let alarms: Vec<bool> = (0..4).map(|n| channel.mux.alarms_of(n, now(&channel)).source_lost).collect();
        assert_eq!(alarms, [false, dies, false, false]);
        sources.play(&mut channel, 11_000_000, |n, entry| n != 1 || !gone(entry.at_us));
        if dies {
            channel.mux.seam(1, now(&channel));
        }
        sources.play(&mut channel, 18_000_000, |_, _| true);
        assert_eq!(channel.mux.alarms(now(&channel)), Alarms::default());
        let its = judged(&channel, 1);
        assert!(its.units[&0x120].len() > if dies { 200 } else { 420 });
        for n in [0, 2, 3] {
            assert_eq!(dropped(&channel, n), 0, "{n}");
        }
        seen_by_others.push([0, 2, 3].map(|n| seen(judged(&channel, n))));
    }
    let [without, with] = &seen_by_others[..] else { unreachable!() };
    assert!(without == with, "other units, or other times");
    assert!(without.iter().flatten().all(|(_, units)| units.len() > 400));
}

/// Services that together are too much: who takes more than its share loses its pictures, by rule and with an alarm of its own;
/// its sound and its neighbours lose nothing.
#[test]
fn who_exceeds_its_share_loses_units() {
    let shares = [Some(3_000_000), None, Some(2_000_000)];
    let services = (0..3).zip(shares).map(|(n, rate_bps)| Service { rate_bps, ..service(n) }).collect();
    let mut channel = Channel::new(multiplex(8_000_000, services));
    let source = |video: u64, seed: u64| {
        let mut source = Source::new(vec![Track::video(video), Track::audio(0x200, 128_000)], seed);
        source.tracks[0].gop = 12;
        source
    };
    let mut sources = Sources::new(vec![source(2_400_000, 1), source(2_200_000, 2), source(1_500_000, 3)]);
    sources.play(&mut channel, 8_000_000, |_, _| true);
    assert_eq!((0..3).map(|n| dropped(&channel, n)).sum::<u64>(), 0, "{:?}", channel.mux.tally());
    // Three times its share.
    sources.0[2].0.tracks[0].bits_per_second = 6_000_000;
    sources.play(&mut channel, 20_000_000, |_, _| true);
    let alarms: Vec<bool> = (0..3).map(|n| channel.mux.alarms_of(n, now(&channel)).overload).collect();
    assert_eq!(alarms, [false, false, true]);
    assert!(channel.mux.alarms(now(&channel)).overload, "and of the channel as a whole");
    sources.0[2].0.tracks[0].bits_per_second = 1_500_000;
    sources.play(&mut channel, 22_000_000, |_, _| true);
    let then = dropped(&channel, 2);
    sources.play(&mut channel, 32_000_000, |_, _| true);
    assert_eq!((dropped(&channel, 0), dropped(&channel, 1)), (0, 0), "neighbours lose nothing");
    assert!(dropped(&channel, 2) == then && channel.mux.tally_of(2).units_overload > 20, "and it ends");
    assert_eq!(channel.mux.alarms(now(&channel)), Alarms::default());
    for n in 0..3 {
        let report = judged(&channel, n);
        let [pictures, sound] = [0x100, 0x110].map(|pid| &report.units[&(pid + n as u16 * 0x20)]);
        assert!(sound.windows(2).all(|two| two[1].pts - two[0].pts < 22 * MS), "{n}: sound is whole");
        let whole = |two: &[Sent]| two[1].dts - two[0].dts < 41 * MS;
        assert!(pictures.windows(2).all(|two| whole(two) || two[1].key), "{n}");
        assert_eq!(pictures.windows(2).all(whole), n < 2, "{n}");
    }
}

/// What neighbours leave, a service may take beyond its share, and loses nothing.
#[test]
fn what_is_free_is_anybodys() {
    let services = (0..2).map(|n| Service { rate_bps: Some(2_000_000), ..service(n) }).collect();
    let mut channel = Channel::new(multiplex(6_000_000, services));
    let tracks = |video: u64| vec![Track::video(video), Track::audio(0x200, 128_000)];
    let mut sources =
        Sources::new(vec![Source::new(tracks(3_200_000), 1), Source::new(tracks(1_000_000), 2)]);
    sources.play(&mut channel, 20_000_000, |_, _| true);
    assert_eq!((dropped(&channel, 0), dropped(&channel, 1)), (0, 0), "{:?}", channel.mux.tally());
    assert!([0, 1].iter().all(|n| judged(&channel, *n).units.len() == 2));
}

/// Sound that a service has a right to is part of its share, not more of it: with pictures that exceed, and much sound, it takes
/// nothing of what a neighbour needs.
#[test]
fn sound_is_no_second_share() {
    for sound in [640_000, 900_000] {
        let services = (0..2).map(|n| Service { rate_bps: Some(2_000_000), ..service(n) }).collect();
        let mut channel = Channel::new(multiplex(4_300_000, services));
        let mut loud = Track::audio(0x200, sound);
        loud.mhz = 31_250;
        let mut sources = Sources::new(vec![
            Source::new(vec![Track { gop: 1, ..Track::video(16_000_000) }, loud], 1),
            Source::new(vec![Track { gop: 12, ..Track::video(1_850_000) }], 2),
        ]);
        // Of pictures that can each be started with, so many exceed all the time; who begins has a second's credit.
        sources.play(&mut channel, 5_000_000, |_, _| true);
        let before = dropped(&channel, 1);
        sources.play(&mut channel, 20_000_000, |_, _| true);
        assert_eq!(dropped(&channel, 1), before, "{sound}: {:?}", channel.mux.tally_of(1));
        assert!(channel.mux.tally_of(0).units_overload > 20, "{:?}", channel.mux.tally_of(0));
        let report = judged(&channel, 0);
        assert!(report.units[&0x110].windows(2).all(|two| two[1].pts - two[0].pts < 33 * MS), "{sound}");
    }
}

/// A share of a four hundredth between others that take all there is: it is heard.
#[test]
fn a_radio_beside_televisions_that_exceed() {
    let shares = (0..16).map(|n| (n == 15).then_some(192_000));
    let services = (0..16).zip(shares).map(|(n, rate_bps)| Service { rate_bps, ..service(n) }).collect();
    let mut channel = Channel::new(multiplex(51_000_000, services));
    let source = |n: usize| match n {
        15 => Source::new(vec![Track::audio(0x200, 128_000)], 15),
        _ => Source::new(vec![Track::video(4_200_000), Track::audio(0x200, 128_000)], n as u64),
    };
    let mut sources = Sources::new((0..16).map(source).collect());
    sources.play(&mut channel, 8_000_000, |_, _| true);
    assert!((0..15).all(|n| channel.mux.tally_of(n).units_overload > 0));
    assert_eq!(dropped(&channel, 15), 0, "{:?}", channel.mux.tally_of(15));
    assert!(channel.mux.tally_of(15).units > 300);
    // With a share that its whole packets exceed it loses some, and nothing breaks.
    let services = (0..16).map(|n| Service { rate_bps: (n == 15).then_some(128_000), ..service(n) });
    let mut channel = Channel::new(multiplex(51_000_000, services.collect()));
    let mut sources = Sources::new((0..16).map(source).collect());
    sources.play(&mut channel, 8_000_000, |_, _| true);
    assert!(channel.mux.tally_of(15).units > 200, "{:?}", channel.mux.tally_of(15));
}

/// From one service to as many as there may be, from the lowest rates on: tables and clocks of each are in time whatever comes.
#[test]
fn any_number_of_services_holds_the_gates() {
    for (count, rate) in [(2, 400_000), (3, 613_000), (5, 1_000_000), (16, 3_200_000), (16, 24_000_000)] {
        let mut channel = Channel::new(multiplex(rate, (0..count).map(service).collect()));
        // Beside tables and clocks.
        let each = (rate - headgate::mux::fixed_bps(rate, count)) / count as u64 * 6 / 10;
        let source = |n: usize| {
            let mut source = if n % 3 == 2 || each < 100_000 {
                Source::new(vec![Track::audio(0x200, 24_000)], rate + n as u64)
            } else {
                let tracks = vec![Track::video(each - 40_000), Track::audio(0x200, 24_000)];
                Source::new(tracks, rate + n as u64)
            };
            (source.tracks[0].gop, source.jitter_us) = (5, 20_000);
            source.tracks[0].mhz = source.tracks[0].mhz.min(46_875);
            source
        };
        let mut sources = Sources::new((0..count).map(source).collect());
        sources.play(&mut channel, 6_000_000, |_, _| true);
        for n in 0..count {
            let report = judged(&channel, n);
            assert!(!report.units.is_empty(), "{count} at {rate}: {n}");
            let tally = channel.mux.tally_of(n);
            assert_eq!((tally.units_cut, tally.units_overload), (0, 0), "{count} at {rate}: {n}");
        }
        let allowed = ["2.5"];
        assert!(channel.raised().iter().all(|id| allowed.contains(id)), "{count}: {:?}", channel.raised());
    }
}

/// However many tracks sources have, no two are on one PID, and each is where its service's are.
#[test]
fn no_two_tracks_share_a_pid() {
    let mut channel = Channel::new(multiplex(20_000_000, (0..SERVICES_MAX).map(service).collect()));
    let source = |n: usize| {
        // Their map is one packet.
        let sound = |pid: u16| Track { descriptors: Vec::new(), ..Track::audio(pid, 8_000) };
        let sounds = (0..12).map(|at| sound(0x200 + at));
        let pictures = (0..10).map(|at| Track { pid: 0x100 + at, ..Track::video(20_000) });
        let data = (0..9).map(|at| Track { stream_type: 6, stream_id: 0xBD, mhz: 5000, ..sound(0x400 + at) });
        Source::new(sounds.chain(pictures).chain(data).collect(), n as u64)
    };
    let mut sources = Sources::new((0..SERVICES_MAX).map(source).collect());
    sources.play(&mut channel, 1_500_000, |_, _| true);
    let mut owners: BTreeMap<u16, BTreeSet<usize>> = BTreeMap::new();
    for n in 0..SERVICES_MAX {
        let report = read(&only(&channel.out, n), channel.rate);
        assert_eq!(report.streams.len(), 24, "{n}");
        for (_, pid, _) in &report.streams {
            owners.entry(*pid).or_default().insert(n);
            let its = service(n);
            assert!((its.video_pid..its.video_pid + 0x20).contains(pid), "{pid:#x} of {n}");
        }
        assert_eq!(channel.mux.tally_of(n).tracks_left_out, 31 - 24, "{n}");
    }
    assert!(owners.len() == 24 * SERVICES_MAX && owners.values().all(|owners| owners.len() == 1));
}
