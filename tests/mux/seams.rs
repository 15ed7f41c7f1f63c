//! Sources that come, go, jump and are replaced by others.

use super::*;

/// Before there is a source, and while it is lost: tables, clock and nulls, and nothing that anybody would miss.
#[test]
fn without_a_source_the_channel_goes_on() {
    let mut channel = Channel::of(4_000_000);
    channel.run_to(3_000_000);
    assert!(channel.mux.alarms(Mono::from_micros(3_000_000)).source_lost);
    assert!(channel.mux.alarms(Mono::from_micros(3_000_000)).no_program);
    assert_eq!(channel.raised(), Vec::<&str>::new());
    let mut source = usual(4_000_000, 70, 1);
    source.begun_us = 3_000_000;
    channel.play(&mut source, 10_000_000);
    assert_eq!(channel.mux.alarms(Mono::from_micros(channel.now_us)), Default::default());
    // Four seconds are lost on the way.
    source.skip(4_000_000);
    channel.run_to(11_000_000);
    assert!(channel.mux.alarms(Mono::from_micros(11_000_000)).source_lost);
    channel.play(&mut source, 20_000_000);
    assert!(!channel.mux.alarms(Mono::from_micros(channel.now_us)).source_lost);
    let report = channel.read();
    assert_eq!(channel.mux.tally().jumps, 0, "the source is where it was");
    assert!(channel.raised().iter().all(|id| *id == "2.5"), "pictures that are not there have no PTS");
    assert_eq!(report.pcr_pids, [0x100]);
    assert_eq!(channel.mux.tally().pmt_changes, 1);
}

/// Another publisher: other PIDs, another timeline, another clock. Viewers see one service.
#[test]
fn a_seam_shows_nowhere() {
    for pause_us in [0, 300_000, 2_000_000] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 2);
        channel.play(&mut source, 6_000_000);
        channel.mux.seam(0, Mono::from_micros(channel.now_us));
        let mut other = usual(4_000_000, 70, 3);
        (other.tracks[0].pid, other.tracks[1].pid) = (0x321, 0x123);
        other.begun_us = channel.now_us + pause_us;
        other.stamp = (1 << 33) - 90_000 * 2;
        other.ppm = -50.0;
        channel.play(&mut other, 15_000_000);
        let report = channel.read();
        let pids: Vec<u16> = report.units.keys().copied().collect();
        assert_eq!((pids, report.versions.len(), channel.mux.tally().seams), (vec![0x100, 0x200], 1, 1));
        assert_eq!(channel.dropped(), 0, "{:?}", channel.mux.tally());
        let gap = report.units[&0x100].windows(2).map(|two| (two[1].pts - two[0].pts).abs()).max().unwrap();
        assert!(gap < (pause_us as i64 / 1000 + 700) * MS, "{} ms", gap / MS);
        if pause_us < 500_000 {
            assert!(channel.raised().iter().all(|id| *id == "2.5"), "{:?}", channel.raised());
        }
    }
}

/// A source that jumps without saying so: stamps an hour back, then a day forward, then wrapping.
#[test]
fn jumps_of_the_source_are_survived() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 4);
    source.stamp = 90_000 * 5000;
    let mut until = 6_000_000;
    channel.play(&mut source, until);
    for stamp in [90_000, 90_000 * 86_400, (1 << 33) - 90_000 * 22] {
        source.stamp = stamp;
        until += 6_000_000;
        channel.play(&mut source, until);
    }
    let report = channel.read();
    assert_eq!(channel.mux.tally().jumps, 3);
    assert!(report.units[&0x100].len() > 23 * 25 - 3 * 60);
}

#[test]
fn tracks_come_and_go() {
    let service = Service {
        languages: vec![*b"deu", *b"eng"],
        pcr_pid: Some(0x1FFE),
        dvb_ac3: true,
        ..Service::default()
    };
    let mut channel = Channel::new(alone(service));
    let mut source = usual(4_000_000, 60, 7);
    channel.play(&mut source, 3_000_000);
    let begun_us = channel.now_us;
    let mut tracks = source.tracks.clone();
    let mut surround = Track::audio(0x201, 192_000);
    (surround.stream_type, surround.stream_id) = (0x81, 0xBD);
    surround.descriptors = b"\x05\x04AC-3\x0A\x04und\x03".to_vec();
    tracks.push(surround);
    let again = |tracks: Vec<Track>, version: u8, begun_us: u64, stamp: u64| {
        let mut source = Source::new(tracks, u64::from(version));
        (source.version, source.begun_us, source.stamp) = (version, begun_us, stamp);
        source
    };
    channel.mux.seam(0, Mono::from_micros(begun_us));
    channel.play(&mut again(tracks.clone(), 1, begun_us, 90_000), 8_000_000);
    let both = channel.read();
    let of = |pid: u16| both.streams.iter().find(|stream| stream.1 == pid).cloned().unwrap();
    assert_eq!(of(0x200), (0x0F, 0x200, b"\x0A\x04deu\0".to_vec()));
    assert_eq!(of(0x201), (0x06, 0x201, b"\x0A\x04eng\x03\x6A\x01\0".to_vec()), "as DVB says it");
    assert_eq!((both.streams.len(), &both.pcr_pids[..]), (3, &[0x1FFE][..]));
    assert!(both.units[&0x201].len() > 200);
    // The first sound goes, behind a seam: the second is the first now, as for a channel that begins here.
    tracks.remove(1);
    let begun_us = channel.now_us;
    channel.mux.seam(0, Mono::from_micros(begun_us));
    channel.play(&mut again(tracks, 2, begun_us, 90_000), 13_000_000);
    let one = channel.read();
    assert_eq!(
        one.streams.iter().map(|stream| (stream.0, stream.1)).collect::<Vec<_>>(),
        [(0x1B, 0x100), (0x06, 0x200)]
    );
    assert!(one.units[&0x201].len() > 150 && one.units[&0x200].len() > 320 + 150);
    assert_eq!(one.versions.len(), 3);
    assert!(channel.raised().iter().all(|id| *id == "2.5"), "{:?}", channel.raised());
}

/// What waits in the log when a channel begins comes at once: what is live is sent, what is old is not. As much as may wait
/// is understood without a word of when it came, any amount with it.
#[test]
fn a_backlog_is_not_sent_late() {
    for (live, knows, seam) in [
        (1_500_000, false, false),
        (1_500_000, true, false),
        (9_000_000, true, false),
        (1_500_000, false, true),
        (9_000_000, true, true),
    ] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 10);
        channel.run_to(live);
        // A caller says that it begins, and then feeds what was before that.
        if seam {
            channel.mux.seam(0, Mono::from_micros(live));
        }
        let next = loop {
            let entry = source.entry();
            if entry.at_us > live {
                break entry;
            }
            channel.mux.feed(0, Mono::from_micros(if knows { entry.at_us } else { live }), &entry.bytes);
        };
        channel.run_to(next.at_us);
        channel.mux.feed(0, Mono::from_micros(next.at_us), &next.bytes);
        channel.play(&mut source, live + 10_500_000);
        let (report, tally) = (channel.read(), channel.mux.tally());
        assert!(report.units[&0x100][0].key && tally.units_late > 0);
        assert_eq!((tally.jumps, tally.units_overload), (0, 0), "{live}: {tally:?}");
        assert!(!channel.mux.alarms(Mono::from_micros(channel.now_us)).overload);
        let queued = channel.mux.queued_packets();
        assert!(queued < 4_000_000 / 1504, "not later than live: {queued}");
    }
}

/// Another source whose times would stand behind those that were sent: units never share a time, and pictures begin with
/// one that can be started with.
#[test]
fn what_would_be_behind_is_left_out() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 16);
    channel.play(&mut source, 5_000_000);
    channel.mux.seam(0, Mono::from_micros(channel.now_us));
    // It comes with what it had: a second of it at once, as from a publisher that sends its last GOP first.
    let mut other = usual(4_000_000, 70, 17);
    other.tracks[0].gop = 30;
    other.begun_us = channel.now_us - 1_000_000;
    let now = Mono::from_micros(channel.now_us);
    let next = loop {
        let entry = other.entry();
        if entry.at_us > channel.now_us {
            break entry;
        }
        channel.mux.feed(0, now, &entry.bytes);
    };
    channel.run_to(next.at_us);
    channel.mux.feed(0, Mono::from_micros(next.at_us), &next.bytes);
    channel.play(&mut other, 12_000_000);
    assert!(channel.mux.tally().units_late > 0 && channel.mux.tally().units_without_key > 0);
    for (pid, units) in channel.read().units {
        assert!(units.windows(2).all(|two| two[0].dts < two[1].dts), "{pid:#x}: two at one time");
        let frame = 41 * MS;
        assert!(units.windows(2).all(|two| two[1].dts - two[0].dts < frame || two[1].key), "{pid:#x}");
    }
}
