//! Single scenes on the simulation's stage: what must happen at one moment, which a seed would meet by chance only.

use super::clients::{self, AAC_CONFIG, AVC_CONFIG, Pace, Publisher, Viewer};
use super::{Run, SimCore};
use crate::fanout::directory::StreamName;
use crate::media::Mono;
use crate::observe::{DisconnectReason, Protocol};
use crate::shard::engine::Backend;
use crate::shard::engine::sim::Rng;
use crate::shard::mailbox::Command;
use crate::wire::rtmp::{csid, type_id};
use std::time::Duration;

/// A gateway of at least `cores` cores on which nobody is, and the time.
fn empty_stage(cores: usize) -> (Run, u64) {
    let empty = |run: &Run| run.silent.0.is_empty() && run.config.inputs.is_empty();
    let mut run = (0..).map(Run::new).find(|run| run.cores.len() >= cores && empty(run)).unwrap();
    (run.unborn, run.levels) = Default::default();
    let now_us = run.world.borrow().now_us;
    (run, now_us)
}

impl Run {
    /// Somebody publishes `name` on core `at` for a long time.
    fn publish_on(&mut self, at: usize, name: &str) {
        let from_us = self.world.borrow().now_us;
        let mut publisher =
            Publisher::new(0, name, usize::MAX, (from_us, from_us + 60_000_000), &mut Rng::new(1));
        publisher.pipe = self.connect_to(at, 0);
        publisher.begin(&mut self.world.borrow_mut());
        self.publishers.push(publisher);
    }

    /// Lets core `at` drain while no client does anything, not even hang up; how long that takes, in microseconds.
    fn drain(&mut self, at: usize) -> u64 {
        assert!(self.shared.mailboxes.send(at as u16, Command::Drain).is_ok());
        let from_us = self.world.borrow().now_us;
        loop {
            self.turn(at).unwrap();
            let SimCore { core, .. } = &self.cores[at];
            let now = core.backend().now();
            if core.drained(now) {
                return now.as_micros() - from_us;
            }
            self.world.borrow_mut().now_us += 1000;
        }
    }
}

/// A stream may end at its old home while its new one still asks for it, if it makes room for another one meanwhile.
#[test]
fn a_stream_that_is_over_is_not_waited_for() {
    let (mut run, begin_us) = empty_stage(2);
    let name = StreamName::new("live", "a");
    // As far as the directory knows core 0 has it, and its publisher has left.
    let (directory, now) = (&run.shared.directory, Mono::from_micros(begin_us));
    let old = directory.claim(&name, 0, now, Duration::ZERO).unwrap();
    assert!(directory.unpublish(now, &name, old.id, old.epoch));
    let mut publisher = Publisher::new(0, "a", usize::MAX, (begin_us, begin_us + 500_000), &mut Rng::new(1));
    publisher.pipe = run.connect_to(1, 0);
    publisher.begin(&mut run.world.borrow_mut());
    run.publishers.push(publisher);
    run.until(begin_us + 10_000_000).unwrap();
    assert_eq!(run.cores[1].slot.metrics.connections_accepted.get(), 1);
    let takeovers = &run.cores[1].slot.metrics.disconnects[Protocol::Rtmp][DisconnectReason::Takeover];
    assert_eq!(takeovers.get(), 1, "core 0 said that it has no such stream");
    for core in &mut run.cores {
        core.core.check_empty().unwrap();
    }
}

/// With room for one stream, one that its publisher and its viewers have left makes room for another; a seed meets that once in
/// hundreds.
#[test]
fn a_stream_that_is_left_makes_room() {
    let fits = |run: &Run| {
        let quiet = run.silent.0.is_empty() && run.config.inputs.is_empty();
        quiet && run.config.limits.streams == 1 && run.config.publish.republish_grace_ms == 400
    };
    let mut run = (0..).map(Run::new).find(fits).unwrap();
    (run.unborn, run.levels) = Default::default();
    let begin_us = run.world.borrow().now_us;
    // The second comes within the grace of the first.
    for (number, name, from_us) in [(1, "b", begin_us + 400_000), (0, "a", begin_us)] {
        let times = (from_us, from_us + 300_000);
        run.unborn.0.push(Publisher::new(number, name, usize::MAX, times, &mut Rng::new(1)));
    }
    run.until(begin_us + 600_000).unwrap();
    let displaced: u64 = run.cores.iter().map(|core| core.slot.metrics.streams_displaced.get()).sum();
    assert_eq!(displaced, 1);
    run.until(begin_us + 10_000_000).unwrap();
    for core in &mut run.cores {
        core.core.check_empty().unwrap();
    }
}

/// A drain is over when everybody has been told: who reads nothing has nothing to be told.
#[test]
fn a_drain_waits_for_nobody_who_has_nothing_to_read() {
    let (mut run, begin_us) = empty_stage(1);
    run.publish_on(0, "a");
    // One who has said nothing, and never will.
    run.connect_to(0, 1);
    run.until(begin_us + 500_000).unwrap();
    let ends =
        |run: &Run| run.cores[0].slot.metrics.disconnects[Protocol::Rtmp][DisconnectReason::Shutdown].get();
    assert_eq!((run.cores[0].slot.metrics.connections.get(), ends(&run)), (2, 0));
    let took_us = run.drain(0);
    assert!(took_us < 100_000, "{took_us} us");
    assert_eq!((run.cores[0].slot.metrics.connections.get(), ends(&run)), (0, 1));
}

/// Viewers get their last words; one that does not hang up behind them is waited for, but not for long.
#[test]
fn a_drain_lets_viewers_read_to_the_end() {
    let (mut run, begin_us) = empty_stage(1);
    run.publish_on(0, "a");
    let mut viewer = Viewer::new("a", usize::MAX, Pace::Fast, true, begin_us);
    viewer.pipe = run.connect_to(0, 0);
    viewer.begin(&mut run.world.borrow_mut());
    let pipe = viewer.pipe;
    run.viewers.push(viewer);
    run.until(begin_us + 500_000).unwrap();
    assert!(run.viewers[0].audit.frames > 0);
    run.world.borrow_mut().pipes[pipe].room = usize::MAX;
    let took_us = run.drain(0);
    let left: Vec<u8> = run.world.borrow().pipes[pipe].to_client.iter().copied().collect();
    assert!(left.windows(19).any(|words| words == b"NetStream.Play.Stop"), "no goodbye");
    assert!((400_000..1_000_000).contains(&took_us), "{took_us} us");
}

/// What there is nothing to see or hear in, by message type.
const NOTHINGS: [(u8, &[u8]); 7] = [
    // Cut short.
    (type_id::VIDEO, &[0x17]),
    // Of no bytes.
    (type_id::VIDEO, &[0x17, 1, 0, 0, 0]),
    (type_id::AUDIO, &[0xaf, 1]),
    // The same headers again and again.
    (type_id::VIDEO, &AVC_CONFIG),
    (type_id::AUDIO, &AAC_CONFIG),
    (type_id::DATA_AMF0, b"\x02\0\x0aonMetaData\x08\0\0\0\0\0\0\x09"),
    // Of no known type.
    (19, b"x"),
];

/// Publishes `live/a` and sends nothings, for so long or until the connection is closed; how long that was, in microseconds.
fn publish_nothing(run: &mut Run, most_us: u64) -> u64 {
    let begin_us = run.world.borrow().now_us;
    let pipe = run.connect_to(0, 0);
    let mut out = clients::publish("a");
    loop {
        let mut world = run.world.borrow_mut();
        world.pipes[pipe].to_server.extend(std::mem::take(&mut out));
        let passed_us = world.now_us - begin_us;
        if passed_us >= most_us || world.pipes[pipe].closed {
            return passed_us;
        }
        let until_us = world.now_us + 250_000;
        drop(world);
        run.until(until_us).unwrap();
        for (kind, body) in NOTHINGS {
            clients::message(&mut out, csid::VIDEO, kind, 1, (passed_us / 1000) as u32, body);
        }
    }
}

#[test]
fn r8_a_name_is_not_held_by_nothing() {
    let (mut run, _) = empty_stage(1);
    let took_us = publish_nothing(&mut run, 60_000_000);
    assert!((10_000_000..11_000_000).contains(&took_us), "{took_us} us");
    let ends = &run.cores[0].slot.metrics.disconnects[Protocol::Rtmp];
    assert_eq!(ends[DisconnectReason::PublisherSilent].get(), 1);
}

#[test]
fn r8_a_publisher_of_nothing_gives_way_to_another() {
    for (for_us, free) in [(1_000_000, false), (3_000_000, true)] {
        let (mut run, _) = empty_stage(1);
        publish_nothing(&mut run, for_us);
        let now = Mono::from_micros(run.world.borrow().now_us);
        let claim = run.shared.directory.claim(&StreamName::new("live", "a"), 0, now, Duration::from_secs(2));
        assert_eq!(claim.is_ok(), free, "behind {for_us} us");
    }
}

/// What core 0 has sent to a client, which reads it here.
fn read(run: &Run, pipe: usize) -> Vec<u8> {
    run.world.borrow_mut().pipes[pipe].to_client.drain(..).collect()
}

/// A viewer of transport stream asks for `path` on core 0, and reads.
fn watch_ts(run: &mut Run, path: &str) -> usize {
    let pipe = run.connect_to(0, 1);
    let mut world = run.world.borrow_mut();
    world.pipes[pipe].to_server.extend(format!("GET {path} HTTP/1.1\r\nHost: sim\r\n\r\n").bytes());
    world.pipes[pipe].room = usize::MAX;
    pipe
}

/// Messages of media: type and tag body.
type Tags<'a> = &'a [(u8, &'a [u8])];

/// Another takes the name `a` over and sends `headers`; then, 25 times a second, each of `parts` for so many seconds.
fn take_over(run: &mut Run, headers: Tags<'_>, parts: &[(u32, Tags<'_>)]) {
    let other = run.connect_to(0, 0);
    run.world.borrow_mut().pipes[other].room = usize::MAX;
    let mut out = clients::publish("a");
    headers.iter().for_each(|(kind, body)| clients::message(&mut out, csid::VIDEO, *kind, 1, 0, body));
    let media = parts.iter().flat_map(|(seconds, media)| (0..seconds * 25).map(move |_| media));
    for (time_ms, media) in (0..).step_by(40).zip(media) {
        media
            .iter()
            .for_each(|(kind, body)| clients::message(&mut out, csid::VIDEO, *kind, 1, time_ms, body));
        run.world.borrow_mut().pipes[other].to_server.extend(std::mem::take(&mut out));
        let until_us = run.world.borrow().now_us + 40_000;
        run.until(until_us).unwrap();
    }
}

#[test]
fn viewers_of_a_format_that_carries_nothing_any_more_are_let_go() {
    for path in ["/live/a.ts", "/live/a.ts?join=live"] {
        let (mut run, begin_us) = empty_stage(1);
        run.publish_on(0, "a");
        run.until(begin_us + 100_000).unwrap();
        let viewer = watch_ts(&mut run, path);
        run.until(begin_us + 2_000_000).unwrap();
        // One that is in the midst of what another begins with.
        let young = watch_ts(&mut run, path);
        run.until(begin_us + 2_010_000).unwrap();
        assert!(read(&run, viewer).starts_with(b"HTTP/1.1 200 "));
        let vp9 = (type_id::VIDEO, &b"\x90vp09\x01\0\0\0\0\x0b\x82\x02\x02\0\0\0"[..]);
        take_over(&mut run, &[vp9], &[(5, &[(type_id::VIDEO, b"\x91vp09\x82\x49\x83")])]);
        let ends = &run.cores[0].slot.metrics.disconnects[Protocol::HttpTs];
        for pipe in [viewer, young] {
            assert!(run.world.borrow().pipes[pipe].server_ended, "{path}: it waits for what never comes");
        }
        assert_eq!(ends[DisconnectReason::UnsupportedCodec].get(), 2, "{path}");
        // And nobody is let in to wait behind it.
        let late = watch_ts(&mut run, path);
        run.until(begin_us + 9_000_000).unwrap();
        let answer = read(&run, late);
        assert!(answer.starts_with(b"HTTP/1.1 415 "), "{path}: {}", String::from_utf8_lossy(&answer));
    }
}

/// Sound that does not fit is no reason to send those away who wait for pictures that do.
#[test]
fn who_is_about_to_change_to_what_fits_is_not_let_go() {
    let (mut run, begin_us) = empty_stage(1);
    run.publish_on(0, "a");
    run.until(begin_us + 2_000_000).unwrap();
    let viewer = watch_ts(&mut run, "/live/a.ts?join=live");
    run.until(begin_us + 2_010_000).unwrap();
    assert!(read(&run, viewer).starts_with(b"HTTP/1.1 200 "));
    let flac = b"\x90fLaC\x43\x04\x04\0\0\0\x07\xcf\0\x0f\x05\x0b\xb8\x03\xf0\0\x05\xdc\0\x4b";
    let key = [0x17, 1, 0, 0, 0, 0, 0, 0, 2, 0x65, 0xaa];
    let headers = [(type_id::AUDIO, &flac[..]), (type_id::VIDEO, &AVC_CONFIG[..])];
    // The first keyframe comes so late that those who can have nothing but sound would be let in before.
    let sound = (type_id::AUDIO, &b"\x91fLaCxx"[..]);
    take_over(&mut run, &headers, &[(6, &[sound]), (3, &[sound, (type_id::VIDEO, &key)])]);
    assert!(!run.world.borrow().pipes[viewer].server_ended);
    assert!(read(&run, viewer).len() > 20 * 188, "pictures");
}
