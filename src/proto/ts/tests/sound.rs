//! Sound: frames in packets, wherever they begin.

use super::*;

#[test]
fn sound_of_several_frames_and_frames_of_several_packets() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.outputs();
    let frames: Vec<Vec<u8>> = (1..=4).map(|n| adts(&[n; 300])).collect();
    // Two and a half in the first packet; the third ends in the second, whose own time is that of the fourth.
    let (front, back) = frames[2].split_at(100);
    bench.pes(SOUND, 90_000, 90_000, &[&frames[0][..], &frames[1], front].concat());
    bench.pes(SOUND, 90_000 + 5760, 90_000 + 5760, &[back, &frames[3]].concat());
    let outputs = bench.outputs();
    let expected = (1..=4).map(|n| (Tagged::Frames, vec![n; 300]));
    assert_eq!(
        payloads(&outputs),
        std::iter::once((Tagged::Config, vec![0x11, 0x90])).chain(expected).collect::<Vec<_>>()
    );
    let times: Vec<u32> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Frame(Role::Sound, frame) => Some(frame.dts_ms),
            _ => None,
        })
        .collect();
    // 1024 samples are 1920 ticks.
    assert_eq!(times, [1000, 1021, 1042, 1064]);
    assert_eq!(bench.demux.tally().resyncs, 0);
}

/// What looks like the begin of a frame in the middle of one is none.
#[test]
fn a_frame_is_found_by_two_headers() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.outputs();
    let (one, two) = (adts(&[1; 300]), adts(&[2; 300]));
    let half = [&[0x55; 50][..], &adts(&[])[..3], &adts(&[0; 60])[3..27]].concat();
    bench.pes(SOUND, 90_000, 90_000, &[&half[..], &one, &two].concat());
    let frames = |bench: &mut Bench| -> Vec<Vec<u8>> {
        let frames = payloads(&bench.outputs());
        frames.into_iter().filter(|frame| frame.0 == Tagged::Frames).map(|frame| frame.1).collect()
    };
    assert_eq!(frames(&mut bench), [vec![1; 300], vec![2; 300]]);
    assert_eq!(bench.demux.tally().resyncs, 1);
    // The second header may be that of the next packet.
    bench.pes(SOUND, 93_840, 93_840, &[&half[..], &one].concat());
    assert_eq!(frames(&mut bench), [[0; 0]; 0]);
    bench.pes(SOUND, 95_760, 95_760, &two);
    assert_eq!(frames(&mut bench), [vec![1; 300], vec![2; 300]]);
    assert_eq!(bench.demux.tally().resyncs, 2);
}
