//! Maps: which program, and what of it.

use super::*;

#[test]
fn a_new_map_is_applied_and_what_stays_stays() {
    let mut bench = Bench::ready();
    bench.key(0);
    assert_eq!(bench.times().len(), 2);
    bench.tables(&[(1, MAP)], 1, &[component(0x1B, PICTURES), component(0x03, 0x102)]);
    let events = bench.outputs();
    assert!(
        matches!(events.as_slice(), [Output::Event(Event::Program { number: 1, carried: 2 })]),
        "{events:?}"
    );
    // Its configuration was told and is not told again.
    bench.key(3600);
    assert_eq!(bench.times(), [(Role::Key, 40, 0)]);
    // The sound that left is not read any more.
    bench.pes(SOUND, 3600, 3600, &adts(&[1; 10]));
    assert_eq!(bench.times(), []);
    // The same again is nothing new; a map that counts only from some later moment on is none yet.
    bench.tables(&[(1, MAP)], 1, &[component(0x1B, PICTURES), component(0x03, 0x102)]);
    let mut later = pmt(1, 2, PICTURES, &[component(0x0F, SOUND)]).unwrap();
    later[5] &= 0xFE;
    let end = later.len() - 4;
    let sum = crate::wire::ts::crc::crc32(&later[..end]);
    later.truncate(end);
    later.extend(sum.to_be_bytes());
    bench.section(MAP, &later);
    assert!(bench.outputs().is_empty());
}

/// Attack T2: maps without end.
#[test]
fn maps_that_change_all_the_time_are_applied_ten_times_a_second() {
    let mut bench = Bench::new(0);
    for n in 0..1000u16 {
        bench.tables(&[(1, MAP)], (n % 32) as u8, &[component(0x1B, 0x100 + n)]);
    }
    let applied = bench.outputs().len();
    // Two seconds, and what may come ahead.
    assert!((25..=31).contains(&applied), "{applied}");
    assert!(bench.demux.heap_bytes() < 100_000, "{}", bench.demux.heap_bytes());
}

#[test]
fn the_program_that_is_asked_for_is_taken() {
    for (wanted, taken) in [(0, Some(1)), (2, Some(2)), (7, None)] {
        let mut bench = Bench::new(wanted);
        bench.tables(&[(1, MAP), (2, MAP + 1)], 0, &[component(0x1B, PICTURES)]);
        let number = bench.outputs().into_iter().find_map(|output| match output {
            Output::Event(Event::Program { number, .. }) => Some(number),
            _ => None,
        });
        assert_eq!(number, taken, "{wanted}");
        let announced = wanted != 7;
        // Nothing is said while all is well.
        let now = bench.now() + NO_PROGRAM;
        assert!(bench.demux.deadline() <= now);
        bench.demux.handle_timeout(now);
        let events = bench.outputs();
        assert!(
            matches!(events.as_slice(), [Output::Event(Event::NoProgram { announced: a })] if *a == announced),
            "{wanted}: {events:?}"
        );
    }
}

/// A PAT that names a map which does not come any more; and the map, when it is back, although nothing in it is new.
#[test]
fn a_map_that_stops_is_missed() {
    let mut bench = Bench::ready();
    for _ in 0..6 {
        bench.at_us += 1_000_000;
        bench.section(0, &pat(1, 0, &[(1, MAP)]).unwrap());
    }
    assert!(bench.demux.deadline() <= bench.now());
    bench.demux.handle_timeout(bench.now());
    let events = bench.outputs();
    assert!(matches!(events.as_slice(), [Output::Event(Event::NoProgram { announced: true })]), "{events:?}");
    for expected in [1, 0] {
        bench.tables(&[(1, MAP)], 0, &[component(0x1B, PICTURES), component(0x0F, SOUND)]);
        let events = bench.outputs();
        let told = Output::Event(Event::Program { number: 1, carried: 2 });
        assert_eq!(format!("{events:?}"), format!("{:?}", vec![told; expected]));
    }
    assert!(bench.demux.deadline() > bench.now());
}

#[test]
fn what_is_scrambled_is_counted_and_left_out() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.times();
    bench.spoil = |_, mut packet| {
        packet[3] |= 0x80;
        Some(packet)
    };
    bench.key(3600);
    assert_eq!((bench.times(), bench.demux.tally().scrambled), (vec![], 1));
    // Or in the PES packet alone, whose header says so.
    bench.spoil = |_, packet| Some(packet);
    let header = PesHeader { stream_id: 0xE0, pts: 7200, dts: 7200 }.encode(20).unwrap();
    let mut unit = [header.as_slice(), &[0; 20]].concat();
    unit[6] |= 0x20;
    bench.unit(PICTURES, false, &unit);
    assert_eq!((bench.times(), bench.demux.tally().scrambled), (vec![], 2));
}

/// Events that came out.
fn events(bench: &mut Bench) -> Vec<Event> {
    let event = |output| match output {
        Output::Event(event) => Some(event),
        Output::Frame(..) => None,
    };
    bench.outputs().into_iter().filter_map(event).collect()
}

#[test]
fn streams_that_cannot_be_carried_are_named() {
    let mut bench = Bench::new(0);
    let teletext = Component { descriptors: vec![0x56, 0], ..component(0x06, 0x112) };
    let of_map = [component(0x02, 0x110), component(0x1B, PICTURES), component(0x1B, 0x111), teletext];
    bench.tables(&[(1, MAP)], 0, &[&of_map[..], &[component(0x03, SOUND)]].concat());
    let program = Event::Program { number: 1, carried: 2 };
    assert_eq!(events(&mut bench), [Event::NotCarried, program]);
    let mut left_out = vec![(0x110, "MPEG-2 video"), (0x111, "H.264"), (0x112, "teletext")];
    assert_eq!(bench.demux.left_out(), left_out);
    // Of MPEG audio only a frame tells: layer II, 192 kbit/s at 48 kHz.
    let frame = [&[0xFF, 0xFD, 0xA4, 0][..], &[0x55; 572]].concat();
    for _ in 0..2 {
        bench.pes(SOUND, 0, 0, &frame);
    }
    assert_eq!(events(&mut bench), [Event::NotCarried], "once");
    left_out.push((SOUND, "MPEG audio of layer II"));
    assert_eq!(bench.demux.left_out(), left_out);
    // It still is, and that is no news, when the map says something else.
    bench.tables(&[(1, MAP)], 1, &[component(0x1B, PICTURES), component(0x03, SOUND)]);
    assert_eq!(events(&mut bench), [Event::NotCarried, program]);
    assert_eq!(bench.demux.left_out(), [(SOUND, "MPEG audio of layer II")]);
    bench.tables(&[(1, MAP)], 2, &[component(0x1B, PICTURES)]);
    assert_eq!(events(&mut bench), [Event::Program { number: 1, carried: 1 }], "nothing is left out");
    assert_eq!(bench.demux.left_out(), []);
}
