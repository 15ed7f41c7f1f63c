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

/// A frame has the time of the packet that it begins in, wherever it ends.
#[test]
fn a_frame_that_goes_on_in_the_next_packet_keeps_its_time() {
    let mut bench = Bench::ready();
    bench.key(0);
    bench.outputs();
    let frames: Vec<Vec<u8>> = (1..=3).map(|n| adts(&[n; 300])).collect();
    // The clock jumps with the second packet: its time is that of the second frame.
    bench.pes(SOUND, 90_000, 90_000, &frames[0][..100]);
    bench.pes(SOUND, 180_000, 180_000, &[&frames[0][100..], &frames[1][..10]].concat());
    bench.pes(SOUND, 270_000, 270_000, &[&frames[1][10..], &frames[2]].concat());
    let times: Vec<u32> = bench.times().into_iter().skip(1).map(|(_, ms, _)| ms).collect();
    assert_eq!(times, [1000, 2000, 3000]);
    assert_eq!(bench.demux.tally().untimed, 0);
}

/// A frame of E-AC-3, 48 kHz, six blocks: independent, or one that completes the frame before.
fn eac3(dependent: bool, fill: u8) -> Vec<u8> {
    let kind = if dependent { 0x40 } else { 0 };
    let mut frame = vec![0x0B, 0x77, kind, 0x1F, 0x3F, 0x86];
    frame.resize(64, fill);
    frame
}

/// Bodies of the frames of sound that came out, with their times in ms.
fn sounds(bench: &mut Bench) -> Vec<(u32, Vec<u8>)> {
    let outputs = bench.outputs();
    let frames = outputs.iter().filter_map(|output| match output {
        Output::Frame(Role::Sound, frame) => Some(frame),
        _ => None,
    });
    let body = |frame: &Frame| {
        let tag = tag::inspect(frame.kind, &frame.body).unwrap();
        (frame.dts_ms, frame.body[tag.payload(frame.body.len())].to_vec())
    };
    frames.map(body).collect()
}

#[test]
fn a_substream_in_the_next_packet_completes_the_frame_before() {
    let listen = || {
        let mut bench = Bench::new(0);
        bench.tables(&[(1, MAP)], 0, &[component(0x1B, PICTURES), component(0x87, SOUND)]);
        bench.key(0);
        bench.outputs();
        bench
    };
    let mut bench = listen();
    let (one, two) = (eac3(false, 1), eac3(true, 2));
    let whole = [&one[..], &two].concat();
    // The first frame is gone when its substream comes; from then on it is waited for. 32 ms are 2880 ticks.
    for n in 0..4 {
        bench.pes(SOUND, 90_000 + n * 2880, 90_000 + n * 2880, &one);
        bench.pes(SOUND, 90_000 + n * 2880, 90_000 + n * 2880, &two);
    }
    let expected = [(1000, one.clone()), (1032, whole.clone()), (1064, whole.clone()), (1096, whole.clone())];
    assert_eq!(sounds(&mut bench), expected);
    assert_eq!(bench.demux.tally().not_carried, 1);
    // Without substreams nothing waits any more, but for the frame that had to be held to see it.
    for n in 4..7 {
        bench.pes(SOUND, 90_000 + n * 2880, 90_000 + n * 2880, &one);
        let times: Vec<u32> = sounds(&mut bench).into_iter().map(|(ms, _)| ms).collect();
        assert_eq!(times, [&[][..], &[1128, 1160], &[1192]][n as usize - 4], "{n}");
    }
    // In one packet with what they complete they never waited; nor does a header in two pieces tear one off.
    let mut bench = listen();
    bench.pes(SOUND, 90_000, 90_000, &whole);
    assert_eq!(sounds(&mut bench), [(1000, whole.clone())]);
    bench.pes(SOUND, 92_880, 92_880, &[&one[..], &two[..4]].concat());
    assert_eq!(sounds(&mut bench), []);
    bench.pes(SOUND, 95_760, 95_760, &[&two[4..], &whole].concat());
    assert_eq!(sounds(&mut bench), [(1032, whole.clone()), (1064, whole)]);
    assert_eq!(bench.demux.tally().not_carried + bench.demux.tally().resyncs, 0);
}

/// Each in a packet of its own: however many there are, from the second frame on all are waited for.
#[test]
fn several_substreams_complete_a_frame() {
    let mut bench = Bench::new(0);
    bench.tables(&[(1, MAP)], 0, &[component(0x1B, PICTURES), component(0x87, SOUND)]);
    bench.key(0);
    bench.outputs();
    let parts = [eac3(false, 1), eac3(true, 2), eac3(true, 3)];
    let send = |bench: &mut Bench, n: u64, which: &[usize]| {
        for part in which.iter().filter_map(|part| parts.get(*part)) {
            bench.pes(SOUND, 90_000 + n * 2880, 90_000 + n * 2880, part);
        }
    };
    (0..4).for_each(|n| send(&mut bench, n, &[0, 1, 2]));
    let whole = parts.concat();
    let expected =
        [(1000, parts[0].clone()), (1032, whole.clone()), (1064, whole.clone()), (1096, whole.clone())];
    assert_eq!(sounds(&mut bench), expected);
    assert_eq!(bench.demux.tally().not_carried, 2);
    // Without the first of them the others are nothing, and what comes behind is as before.
    send(&mut bench, 4, &[1, 2]);
    (5..8).for_each(|n| send(&mut bench, n, &[0, 1, 2]));
    assert_eq!(sounds(&mut bench), [(1160, whole.clone()), (1192, whole.clone()), (1224, whole)]);
    assert_eq!(bench.demux.tally().not_carried, 4);
    // Another source need not have any.
    bench.demux.interrupt(bench.now());
    send(&mut bench, 8, &[0]);
    assert_eq!(sounds(&mut bench), [(1256, parts[0].clone())]);
}

/// A sender of nothing but substreams costs no memory.
#[test]
fn substreams_without_end_are_bounded() {
    let mut bench = Bench::new(0);
    bench.tables(&[(1, MAP)], 0, &[component(0x1B, PICTURES), component(0x87, SOUND)]);
    bench.key(0);
    bench.pes(SOUND, 90_000, 90_000, &eac3(false, 1));
    for n in 0..2000 {
        bench.pes(SOUND, 90_000 + n, 90_000 + n, &eac3(true, 2));
    }
    assert!(bench.demux.heap_bytes() < 100_000, "{}", bench.demux.heap_bytes());
}
