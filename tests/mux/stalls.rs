//! Callers that are held up.

use super::*;

/// A caller that stalls for a second, then feeds what came with its times, and then writes what is due: the same units are
/// sent with the same times, and every gate is held. (Which packet is where may differ: what waits decides that.)
#[test]
fn a_stall_of_the_caller_is_no_stall_of_the_channel() {
    let mut sent = Vec::new();
    for stall in [false, true] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 13);
        channel.play(&mut source, 3_000_000);
        if stall {
            let until = channel.now_us + 1_000_000;
            while {
                let entry = source.entry();
                channel.mux.feed(0, Mono::from_micros(entry.at_us), &entry.bytes);
                entry.at_us < until
            } {}
        }
        channel.play(&mut source, 8_000_000);
        let report = channel.read();
        assert_eq!(channel.dropped(), 0);
        let unit = |unit: channel::Sent| (unit.pts, unit.dts, unit.payload);
        let units =
            |(pid, units): (u16, Vec<channel::Sent>)| (pid, units.into_iter().map(unit).collect::<Vec<_>>());
        sent.push(report.units.into_iter().map(units).collect::<Vec<_>>());
    }
    assert!(sent[0].iter().all(|(_, units)| units.len() > 7 * 25));
    assert!(sent[0] == sent[1], "other units, or other times");
}

/// A caller that was held up for long leaves out what was due meanwhile: the clock says so and is right at once, nothing
/// that follows is later than it would have been, and sound and pictures go on where they are.
#[test]
fn what_a_long_stall_delayed_is_left_out() {
    // What came meanwhile is read at once, with or without the time at which it came.
    for (stall_us, knows) in [(1_500_000u64, false), (5_000_000, false), (1_500_000, true), (5_000_000, true)]
    {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 15);
        source.tracks[0].gop = 12;
        channel.play(&mut source, 5_000_000);
        let (before, packets) = (channel.mux.queued_packets(), channel.out.len() / 188);
        channel.now_us += stall_us;
        let now = Mono::from_micros(channel.now_us);
        let due = channel.mux.position(now);
        let left_out = channel.mux.skip(now);
        assert_eq!((channel.mux.written(), channel.mux.skip(now)), (due - 1, 0), "the last is still sent");
        assert!(left_out.abs_diff(stall_us * 4 / 10_528) < 2);
        assert_eq!(channel.mux.tally().datagrams_skipped, left_out);
        loop {
            let entry = source.entry();
            channel.mux.feed(0, if knows { Mono::from_micros(entry.at_us) } else { now }, &entry.bytes);
            if entry.at_us >= channel.now_us {
                break;
            }
        }
        let until = channel.now_us + 8_000_000;
        channel.play(&mut source, until);
        let tally = channel.mux.tally();
        assert!(tally.units_late > 0 && tally.units_overload == 0 && tally.jumps == 0, "{tally:?}");
        assert!(!channel.mux.alarms(Mono::from_micros(channel.now_us)).overload);
        let report = read_with_gaps(&channel.out, 4_000_000, &[(packets, left_out as i64 * 7)]);
        report.holds_gates(&channel.tables());
        assert!(channel.mux.queued_packets() < before * 2 + 100, "no delay is left");
        let pictures = &report.units[&0x100];
        let jump = pictures.windows(2).position(|two| two[1].dts - two[0].dts > 100 * MS).unwrap();
        let (last, next) = (&pictures[jump], &pictures[jump + 1]);
        assert!(next.key && next.dts - last.dts < (stall_us as i64 / 1000 + 700) * MS);
        assert!(pictures[jump + 1..].windows(2).all(|two| two[1].dts - two[0].dts < 41 * MS));
    }
}
