//! Times: of 33 bits, and where there are none.

use super::*;

#[test]
fn clocks_wrap_and_go_on() {
    let mut bench = Bench::ready();
    let wrap = 1u64 << 33;
    bench.key(wrap - 3600);
    // In the order of decoding, shown later: the presentation has wrapped, the decoding has not.
    bench.pes(PICTURES, wrap + 3600, wrap - 900, &annex_b(&[INTER]));
    bench.pes(PICTURES, wrap, wrap + 2700, &annex_b(&[INTER]));
    let last = ((wrap - 3600) / 90) as u32;
    let times = bench.times();
    let expected = [
        (Role::Config, last, 0),
        (Role::Key, last, 0),
        (Role::Picture, last + 30, 50),
        (Role::Picture, last + 70, -30),
    ];
    assert_eq!(times, expected);
}

#[test]
fn times_that_are_missing_follow_on() {
    let mut bench = Bench::ready();
    bench.key(90_000);
    // No times at all.
    bench.unit(
        PICTURES,
        false,
        &[&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0][..], &annex_b(&[&[9, 0xF0], INTER])].concat(),
    );
    // A presentation time alone is the decoding time.
    bench.pes(PICTURES, 97_200, 97_200, &annex_b(&[&[9, 0xF0], INTER]));
    assert_eq!(bench.times().iter().map(|time| time.1).collect::<Vec<_>>(), [1000, 1000, 1040, 1080]);
    // Nothing tells when the first one is.
    let mut bench = Bench::ready();
    bench.unit(
        PICTURES,
        false,
        &[&[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0][..], &annex_b(&[SPS, PPS, IDR])].concat(),
    );
    bench.unit(SOUND, false, &[&[0, 0, 1, 0xC0, 0, 17, 0x80, 0, 0][..], &adts(&[1; 7])].concat());
    bench.key(90_000);
    assert_eq!(bench.times().len(), 2);
    assert_eq!(bench.demux.tally().untimed, 2);
}

#[test]
fn a_picture_is_not_shown_hours_later() {
    let mut bench = Bench::ready();
    bench.key(0);
    // Three hours; FLV has room for 2 h 19 min.
    bench.pes(PICTURES, 3600 + 3 * 3600 * 90_000, 3600, &annex_b(&[INTER]));
    bench.pes(PICTURES, 7200 + 2 * 3600 * 90_000, 7200, &annex_b(&[INTER]));
    let times = bench.times();
    assert_eq!(times[2..], [(Role::Picture, 40, 0), (Role::Picture, 80, 7_200_000)]);
    assert_eq!(bench.demux.tally().malformed, 1);
}
