//! Pictures: their records and their frames.

use super::*;

#[test]
fn pictures_get_lengths_and_a_record() {
    let mut bench = Bench::ready();
    bench.key(90_000);
    bench.pes(PICTURES, 90_000 + 7200, 90_000 + 3600, &annex_b(&[&[9, 0xF0], &[6, 5, 1, 0x80], INTER]));
    let outputs = bench.outputs();
    let record =
        [&[1, SPS[1], SPS[2], SPS[3], 0xFF, 0xE1, 0, SPS.len() as u8], SPS, &[1, 0, PPS.len() as u8], PPS];
    assert_eq!(
        payloads(&outputs),
        [
            (Tagged::Config, record.concat()),
            (Tagged::Frames, lengths(&[IDR])),
            (Tagged::Frames, lengths(&[&[6, 5, 1, 0x80], INTER])),
        ]
    );
}

#[test]
fn hevc_has_its_own_record_and_head() {
    let mut bench = Bench::new(0);
    bench.tables(&[(1, MAP)], 0, &[component(0x24, PICTURES)]);
    let vps: &[u8] =
        &[0x40, 1, 0x0C, 1, 0xFF, 0xFF, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3C, 0x95, 0x98, 9];
    let sps: &[u8] = &[
        0x42, 1, 1, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3C, 0xA0, 0x0A, 8, 0x0B, 0x9F, 0x79,
        0x65, 0x79, 0x24, 0xCA, 0xE0, 0x10, 0, 0, 6, 0x40, 0, 0, 0xBB, 0x50, 0x80,
    ];
    let (pps, idr): (&[u8], &[u8]) = (&[0x44, 1, 0xC1, 0x73, 0xD1, 0x89], &[0x26, 1, 0xAF, 0x12, 0x34]);
    bench.pes(PICTURES, 0, 0, &annex_b(&[&[0x46, 1, 0x50], vps, sps, pps, idr]));
    let outputs = bench.outputs();
    let frames: Vec<_> = payloads(&outputs);
    let [(Tagged::Config, record), (Tagged::Frames, picture)] = frames.as_slice() else {
        panic!("{frames:?}")
    };
    assert_eq!((record[0], record[22], picture), (1, 3, &lengths(&[idr])));
    for set in [vps, sps, pps] {
        assert!(record.windows(set.len()).any(|part| part == set), "{set:?} in {record:?}");
    }
}

/// The sets of the source before are not in the record of the next one; and no set makes a record impossible.
#[test]
fn sets_are_those_of_the_source() {
    let mut bench = Bench::ready();
    // With number 1 instead of 0.
    let other: &[u8] = &[0x68, 0x5B, 0xC7, 0x80];
    bench.pes(PICTURES, 0, 0, &annex_b(&[SPS, PPS, other, IDR]));
    let holds = |outputs: &[Output]| {
        let frames = payloads(outputs);
        let (Tagged::Config, record) = &frames[0] else { panic!("{frames:?}") };
        record.windows(other.len()).any(|part| part == other)
    };
    assert!(holds(&bench.outputs()));
    bench.demux.interrupt(bench.now());
    bench.key(3600);
    assert!(!holds(&bench.outputs()));
    // All numbers that there are: one more than a record can count.
    let many: Vec<Vec<u8>> = (0..256u32)
        .map(|id| {
            // ue(id), ue(0), and ones.
            let (code, bits) = (id + 1, (id + 1).ilog2());
            let word = (u64::from(code) << 1 | 1) << (64 - 2 * bits - 2) | 0xFF << (64 - 2 * bits - 10);
            [&[0x68][..], &word.to_be_bytes()[..4]].concat()
        })
        .collect();
    let sets: Vec<&[u8]> = std::iter::once(SPS).chain(many.iter().map(Vec::as_slice)).chain([IDR]).collect();
    bench.pes(PICTURES, 7200, 7200, &annex_b(&sets));
    assert_eq!(bench.times(), [(Role::Config, 80, 0), (Role::Key, 80, 0)]);
    assert_eq!(bench.demux.tally().too_large, 1);
}
