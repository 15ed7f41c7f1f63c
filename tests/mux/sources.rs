//! Sources that are wrong in one thing: what is sent stays right, no more is lost than that thing, and an alarm says so.

use super::channel::{Entry, MS, Source, Track};
use super::{Channel, usual};
use headgate::media::Mono;
use headgate::mux::Alarms;

const SECOND_90K: i64 = 90_000;

/// Changes the header of the unit in an entry, if it is on this PID; tells whether it is.
fn edit(entry: &mut Entry, pid: u16, change: impl FnOnce(&mut [u8])) -> bool {
    let begins = |packet: &&mut [u8]| {
        packet[1] & 0x40 != 0 && u16::from_be_bytes([packet[1] & 0x1F, packet[2]]) == pid
    };
    let Some(packet) = entry.bytes.chunks_mut(188).find(begins) else { return false };
    let from = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
    change(&mut packet[from..]);
    true
}

/// Moves one of the times in a header, in ticks of 90 kHz.
fn move_time(header: &mut [u8], at: usize, by: i64) {
    let field: &mut [u8; 5] = header[at..].first_chunk_mut().unwrap();
    let [a, b, c, d, e] = field.map(i64::from);
    let time = (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1;
    let time = (time + by).rem_euclid(1 << 33);
    let mark = (a & 0xF0) as u8 | 1;
    *field = [
        mark | (time >> 29) as u8 & 14,
        (time >> 22) as u8,
        (time >> 14) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ];
}

/// Moves all times of a header.
fn restamp(header: &mut [u8], by: i64) {
    let both = header[7] >> 6 == 3;
    move_time(header, 9, by);
    if both {
        move_time(header, 14, by);
    }
}

impl Channel {
    /// Feeds units that come until `us`, each as `change` leaves it.
    fn play_as(&mut self, source: &mut Source, us: u64, mut change: impl FnMut(&mut Entry)) {
        loop {
            let mut entry = source.entry();
            change(&mut entry);
            self.run_to(entry.at_us);
            self.mux.feed(0, Mono::from_micros(entry.at_us), &entry.bytes);
            if entry.at_us >= us {
                return;
            }
        }
    }

    fn alarms(&self) -> Alarms {
        self.mux.alarms(Mono::from_micros(self.now_us))
    }
}

/// Sound of a timeline that is over comes while another one begins: it is dropped, and what follows it is sent.
#[test]
fn what_is_left_of_another_timeline_silences_nobody() {
    for by in [3600, 10, -3600] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 31);
        let mut left = 1;
        channel.play_as(&mut source, 5_000_000, |entry| {
            left -= i32::from(left > 0 && edit(entry, 0x200, |header| restamp(header, by * SECOND_90K)));
        });
        assert_eq!(left, 0);
        let report = channel.read();
        assert!(report.units[&0x200].len() > 4 * 46 - 25, "{by} s: {}", report.units[&0x200].len());
        assert_eq!(channel.dropped(), 1, "{:?}", channel.mux.tally());
    }
}

/// What was given to units that a seam drops is free again.
#[test]
fn a_seam_forgets_what_is_not_sent() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 32);
    channel.play(&mut source, 3_000_000);
    // As early as anything may be, and one of them only.
    let mut left = 1;
    channel.play_as(&mut source, 3_200_000, |entry| {
        left -= i32::from(left > 0 && edit(entry, 0x200, |header| restamp(header, 2 * SECOND_90K)));
    });
    channel.mux.seam(0, Mono::from_micros(channel.now_us));
    let mut other = usual(4_000_000, 70, 33);
    // The sound is what was pictures' place before, so that nothing of it waits.
    (other.tracks[1].pid, other.tracks[0].pid) = (0x123, 0x124);
    other.begun_us = channel.now_us;
    other.tracks[1].stream_type = 0x03;
    channel.play(&mut other, 8_000_000);
    let sound = &channel.read().units[&0x200];
    let gap = sound.windows(2).map(|two| two[1].dts - two[0].dts).max().unwrap();
    assert!(gap < 700 * MS, "{} ms", gap / MS);
}

/// Whatever is wrong with the times of a source, and whatever it leaves out: nobody has to look at the picture to see it.
#[test]
fn nothing_is_lost_without_an_alarm() {
    type Fault = fn(&mut Entry, u64);
    let each_elsewhere: Fault = |entry, n| {
        for pid in [0x100, 0x200] {
            edit(entry, pid, |header| restamp(header, (n as i64 * 7919 % 40_000) * SECOND_90K));
        }
    };
    let sound_behind: Fault = |entry, _| {
        edit(entry, 0x200, |header| restamp(header, -5 * SECOND_90K));
    };
    let sound_ahead: Fault = |entry, _| {
        edit(entry, 0x200, |header| restamp(header, 5 * SECOND_90K));
    };
    let no_pictures: Fault = |entry, _| {
        if edit(entry, 0x100, |_| ()) {
            entry.bytes.clear();
        }
    };
    let no_sound: Fault = |entry, _| {
        if edit(entry, 0x200, |_| ()) {
            entry.bytes.clear();
        }
    };
    for (what, fault, late, lost) in [
        ("each elsewhere", each_elsewhere, true, true),
        ("sound behind", sound_behind, true, true),
        ("sound ahead", sound_ahead, true, true),
        ("no pictures", no_pictures, false, true),
        ("no sound", no_sound, false, true),
    ] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 34);
        channel.play(&mut source, 4_000_000);
        assert_eq!(channel.alarms(), Alarms::default());
        let mut n = 0;
        channel.play_as(&mut source, 8_000_000, |entry| {
            n += 1;
            fault(entry, n);
        });
        assert_eq!((channel.alarms().late, channel.alarms().source_lost), (late, lost), "{what}");
        channel.play(&mut source, 20_000_000);
        assert_eq!(channel.alarms(), Alarms::default(), "{what}");
        channel.read();
    }
}

/// What is old where a channel joins a source is no fault; a caller that feeds too late for all of it is one.
#[test]
fn old_units_alarm_nobody_and_late_ones_do() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 48);
    channel.run_to(3_000_000);
    channel.mux.seam(0, Mono::from_micros(channel.now_us));
    channel.play(&mut source, 4_000_000);
    assert!(channel.mux.tally().units_late > 0);
    assert_eq!(channel.alarms(), Alarms::default());
    for _ in 0..100 {
        let entry = source.entry();
        channel.run_to(entry.at_us + 600_000);
        channel.mux.feed(0, Mono::from_micros(entry.at_us), &entry.bytes);
    }
    assert!(channel.alarms().late);
    channel.read();
}

/// A source that is gone is a program that is not known, until another one tells its own.
#[test]
fn a_program_is_known_anew_behind_each_seam() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 35);
    channel.play(&mut source, 2_000_000);
    assert!(!channel.alarms().no_program);
    channel.mux.seam(0, Mono::from_micros(channel.now_us));
    assert!(!channel.alarms().no_program, "it has half a second");
    let until = channel.now_us + 600_000;
    channel.run_to(until);
    assert!(channel.alarms().no_program);
    source.skip(600_000);
    channel.play(&mut source, 4_000_000);
    assert!(!channel.alarms().no_program, "the same as before is one too");
}

/// One decoding time of the pictures is broken, now and then: the picture is dropped, and those made from it.
#[test]
fn a_broken_decoding_time_costs_its_pictures_only() {
    for by in [3600 * SECOND_90K, -3600 * SECOND_90K, 1 << 32] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 36);
        source.tracks[0].gop = 12;
        let mut n = 0;
        channel.play_as(&mut source, 15_000_000, |entry| {
            edit(entry, 0x100, |header| {
                n += 1;
                if n % 100 == 0 {
                    restamp(header, by);
                }
            });
        });
        let (report, tally) = (channel.read(), channel.mux.tally());
        assert_eq!((tally.jumps, tally.units_late), (0, 3), "{tally:?}");
        assert!(report.units[&0x100].len() > 14 * 25 - 3 * 12);
        let sound = &report.units[&0x200];
        assert!(sound.windows(2).all(|two| two[1].pts - two[0].pts < 22 * MS), "sound goes on");
    }
}

/// Stamps of sound that go back: a little is smoothed, by more there is no room. No two units have one time.
#[test]
fn stamps_that_go_back_share_no_time() {
    for (by_ms, lost) in [(30, 0), (300, 15)] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 37);
        let mut n = 0;
        channel.play_as(&mut source, 10_000_000, |entry| {
            edit(entry, 0x200, |header| {
                n += 1;
                // Three in a row.
                if n > 100 && n % 60 < 3 {
                    restamp(header, -by_ms * SECOND_90K / 1000);
                }
            });
        });
        let report = channel.read();
        let sound = &report.units[&0x200];
        assert!(sound.windows(2).all(|two| two[0].dts < two[1].dts), "{by_ms}");
        let dropped = channel.dropped();
        assert!(if lost > 0 { dropped >= lost } else { dropped == 0 }, "{by_ms}: {dropped}");
        assert!(channel.alarms().late == (lost > 0));
    }
}

/// Presentation far from decoding is a stamp that is broken, whichever of the two it is.
#[test]
fn a_broken_presentation_time_is_not_sent() {
    for (at, by) in [(9, 13 * 3600), (9, -3600), (14, 3600), (9, 3)] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 38);
        source.tracks[0].gop = 12;
        let mut n = 0;
        channel.play_as(&mut source, 6_000_000, |entry| {
            edit(entry, 0x100, |header| {
                n += 1;
                if n == 30 {
                    move_time(header, at, by * SECOND_90K);
                }
            });
        });
        assert_eq!(channel.mux.tally().source_damaged, 1, "{at}, {by} s");
        // And what follows another seam is not put behind it.
        channel.mux.seam(0, Mono::from_micros(channel.now_us));
        let mut other = usual(4_000_000, 70, 39);
        other.begun_us = channel.now_us;
        channel.play(&mut other, 12_000_000);
        let pictures = &channel.read().units[&0x100];
        assert!(pictures.windows(2).all(|two| two[1].dts - two[0].dts < 700 * MS));
    }
}

/// A time with a marker bit that is wrong is not what goes out: the unit has the time that it should have had.
#[test]
fn a_time_that_cannot_be_read_is_replaced() {
    for (pid, bytes) in [(0x200, &[13][..]), (0x100, &[13]), (0x100, &[18]), (0x100, &[13, 18])] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 40);
        let mut n = 0;
        channel.play_as(&mut source, 6_000_000, |entry| {
            edit(entry, pid, |header| {
                n += 1;
                if n % 20 == 0 {
                    bytes.iter().for_each(|at| header[*at] &= 0xFE);
                }
            });
        });
        // The reader asks for each marker bit.
        let report = channel.read();
        assert_eq!(channel.dropped(), 0);
        let step = if pid == 0x100 { 40 * MS } else { 21 * MS + MS / 3 };
        let even = |two: &[super::channel::Sent]| (two[1].dts - two[0].dts - step).abs() < MS;
        assert!(report.units[&pid].windows(2).all(even), "{pid:#x}, {bytes:?}");
    }
}

/// A packet without payload announces that the counter goes on from its own, whatever that is.
#[test]
fn an_announced_counter_is_no_gap() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 41);
    let mut n = 0u32;
    channel.play_as(&mut source, 6_000_000, |entry| {
        let bytes = &mut entry.bytes;
        let is_sound = |packet: &[u8]| u16::from_be_bytes([packet[1] & 0x1F, packet[2]]) == 0x200;
        let Some(first) = bytes.chunks(188).position(is_sound) else { return };
        n += 1;
        // Counters of this unit and of all behind it are others.
        let jump = if n < 50 { 0 } else { (n / 3) as u8 };
        for packet in bytes.chunks_mut(188).filter(|packet| is_sound(packet)) {
            packet[3] = packet[3] & 0xF0 | (packet[3].wrapping_add(jump)) & 15;
        }
        if jump > 0 && n.is_multiple_of(3) {
            let mut said = [0xFF; 188];
            let before = bytes[first * 188 + 3].wrapping_sub(1) & 15;
            said[..6].copy_from_slice(&[0x47, 0x02, 0x00, 0x20 | before, 183, 0x80]);
            bytes.splice(first * 188..first * 188, said);
        }
    });
    assert!(n > 200);
    assert_eq!(channel.mux.tally().source_gaps, 0);
    let report = channel.read();
    assert!(report.units[&0x200].windows(2).all(|two| two[1].payload.len() == two[0].payload.len()));
    assert_eq!(report.units[&0x200].windows(2).filter(|two| two[1].dts - two[0].dts > 22 * MS).count(), 0);
}

/// What follows a seam may come with less delay than what was before it: it begins with its first picture.
#[test]
fn a_quicker_source_is_waited_for() {
    for behind_ms in [200, 500, 800] {
        let mut channel = Channel::of(4_000_000);
        let mut source = usual(4_000_000, 70, 42);
        // Sound that is behind delays all.
        channel.play_as(&mut source, 6_000_000, |entry| {
            edit(entry, 0x200, |header| restamp(header, -behind_ms * SECOND_90K / 1000));
        });
        channel.mux.seam(0, Mono::from_micros(channel.now_us));
        let mut other = usual(4_000_000, 70, 43);
        other.begun_us = channel.now_us;
        channel.play(&mut other, 12_000_000);
        assert_eq!(channel.dropped(), 0, "{behind_ms} ms: {:?}", channel.mux.tally());
        channel.read();
    }
}

/// What was between is not known where a source goes on later: pictures begin with one that can be started with.
#[test]
fn a_source_that_paused_begins_with_a_key() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 47);
    channel.play(&mut source, 5_300_000);
    source.begun_us += 2_000_000;
    channel.play(&mut source, 15_000_000);
    assert_eq!(channel.mux.tally().jumps, 1);
    let pictures = &channel.read().units[&0x100];
    let gap = pictures.windows(2).find(|two| two[1].dts - two[0].dts > 41 * MS).unwrap();
    assert!(gap[1].key && pictures.len() > 200);
}

/// Sound alone comes late from some moment on: it is waited for, and no picture is dropped for that.
#[test]
fn late_sound_costs_no_picture() {
    let mut channel = Channel::of(4_000_000);
    let mut source = usual(4_000_000, 70, 44);
    channel.play(&mut source, 5_000_000);
    channel.play_as(&mut source, 15_000_000, |entry| {
        edit(entry, 0x200, |header| restamp(header, -SECOND_90K * 7 / 10));
    });
    let (report, tally) = (channel.read(), channel.mux.tally());
    assert_eq!((tally.jumps, tally.units_without_key), (1, 0), "{tally:?}");
    assert!(report.units[&0x100].len() > 14 * 25 - 5);
    assert!(!channel.alarms().late);
}

/// Much sound beside few pictures: those that do not fit are dropped whole, none is begun and cut.
#[test]
fn beside_much_sound_pictures_are_dropped_whole() {
    let mut channel = Channel::of(1_000_000);
    let tracks = vec![Track::video(900_000), Track::audio(0x200, 192_000), Track::audio(0x201, 192_000)];
    let mut source = Source::new(tracks, 45);
    source.tracks[0].gop = 12;
    // What sound takes is measured first.
    channel.play(&mut source, 4_000_000);
    let first = channel.mux.tally().units_cut;
    channel.play(&mut source, 60_000_000);
    let (report, tally) = (channel.read(), channel.mux.tally());
    assert!(tally.units_overload > 100 && tally.units_cut == first && first <= 1, "{first}, {tally:?}");
    assert!(report.units[&0x100].len() > 100, "{}", report.units[&0x100].len());
}

/// Data without times goes with what comes with it.
#[test]
fn data_without_times_is_carried() {
    let mut data = Track::audio(0x300, 20_000);
    (data.stream_type, data.stream_id, data.mhz, data.descriptors) = (0x06, 0xBD, 5_000, Vec::new());
    let mut channel = Channel::of(4_000_000);
    let mut source = Source::new(vec![Track::video(2_000_000), Track::audio(0x200, 96_000), data], 46);
    let mut fed = 0;
    channel.play_as(&mut source, 6_000_000, |entry| {
        // What was the time is stuffing.
        fed += usize::from(edit(entry, 0x300, |header| {
            header[7] = 0;
            header[9..14].fill(0xFF);
        }));
    });
    let begins = |packet: &&[u8]| packet[1..3] == [0x43, 0x00];
    let sent: Vec<&[u8]> = channel.out.chunks(188).filter(begins).collect();
    assert!(fed > 25 && sent.len() + 5 > fed, "{} of {fed}", sent.len());
    assert!(sent.iter().all(|packet| {
        let from = if packet[3] & 0x20 != 0 { 5 + usize::from(packet[4]) } else { 4 };
        packet[from + 7] == 0 && packet[from + 9..from + 14] == [0xFF; 5]
    }));
    assert_eq!((channel.mux.tally().source_damaged, channel.dropped()), (0, 0));
}
