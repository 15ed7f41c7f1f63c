//! A view against the log that it follows.

use super::*;
use crate::fanout::log::{LogId, LogWriter, Retention};
use crate::fanout::segment::flags;
use std::time::Duration;

const LAG: u64 = 3_000_000;
const KEEP: Retention = Retention {
    gop_bytes_max: 1 << 20,
    gop_age_max: Duration::from_secs(20),
    lag_max: Duration::from_secs(3),
};

/// Appends an entry of `len` bytes of value `fill`, complete at `ms`.
fn append(log: &mut LogWriter, ms: u64, len: usize, fill: u8, join: bool) {
    let now = Mono::from_micros(ms * 1000);
    assert!(log.reserve(len));
    assert!(log.put(&vec![fill; len]));
    let flags = if join { flags::JOIN } else { 0 };
    let entry = Entry { dts_ms: ms as u32, complete_us: ms * 1000, flags, ..Entry::default() };
    assert!(log.commit(now, entry, join.then(|| crate::media::TrackTable::new().snapshot())));
}

fn bring(log: &mut LogWriter, view: &mut View, ms: u64) {
    for news in log.take_news() {
        view.feed(news);
    }
    log.flush(Mono::from_micros(ms * 1000));
    view.refresh();
}

/// Sends everything from `cursor`; returns the bytes and the number of sends.
fn drain(view: &mut View, cursor: &mut Cursor) -> (Vec<u8>, u32) {
    let (mut out, mut sends) = (Vec::new(), 0);
    while let Step::Send(run) = view.step(*cursor, LAG) {
        let whole = view.bytes(&run).unwrap();
        let entries: Vec<u8> = view.entries(*cursor, &run).flat_map(|(_, bytes)| bytes.to_vec()).collect();
        assert!(entries == whole);
        out.extend_from_slice(whole);
        *cursor = Cursor { pos: run.next, offset: run.to };
        sends += 1;
    }
    (out, sends)
}

#[test]
fn what_stands_before_an_end_is_sent_first() {
    let mut log = LogWriter::new(LogId(0));
    let mut view = View::new(log.snapshot());
    append(&mut log, 0, 10, 1, true);
    log.unfit("why");
    log.take_news().into_iter().for_each(|news| view.feed(news));
    assert_eq!(view.unfit(), None, "an entry is not flushed yet");
    bring(&mut log, &mut view, 1);
    assert_eq!(view.unfit(), Some("why"));
    // Another publisher may send what fits.
    log.republish();
    bring(&mut log, &mut view, 2);
    assert_eq!(view.unfit(), None);
    log.republish();
    assert!(!log.has_news(), "told once");
    log.unfit("why");
    append(&mut log, 3, 10, 2, true);
    bring(&mut log, &mut view, 3);
    assert_eq!(view.unfit(), None, "it does fit");
}

#[test]
fn a_reader_gets_every_byte_once_over_many_segments() {
    let mut log = LogWriter::new(LogId(0));
    let mut view = View::new(log.snapshot());
    let mut cursor = view.cursor_at(Pos::default()).unwrap();
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    for i in 0..400u64 {
        let len = (i as usize * 37) % 3000;
        append(&mut log, i, len, i as u8, i % 60 == 0);
        sent.extend(std::iter::repeat_n(i as u8, len));
        if i % 7 == 0 {
            bring(&mut log, &mut view, i);
            got.extend(drain(&mut view, &mut cursor).0);
        }
    }
    bring(&mut log, &mut view, 400);
    got.extend(drain(&mut view, &mut cursor).0);
    assert!(sent == got);
    assert!(view.drained(cursor));
}

#[test]
fn a_send_ends_at_an_entry_boundary_within_the_bound() {
    let mut log = LogWriter::new(LogId(0));
    for i in 0..40 {
        append(&mut log, i, 50_000, 1, i == 0);
    }
    append(&mut log, 40, 300_000, 2, false);
    let mut view = View::new(log.snapshot());
    bring(&mut log, &mut view, 41);
    let mut cursor = view.cursor_at(Pos::default()).unwrap();
    while let Step::Send(run) = view.step(cursor, u64::MAX) {
        let len = run.to - run.from;
        assert!(len <= SEND_BYTES_MAX && len % 50_000 == 0 || len == 300_000, "{len}");
        cursor = Cursor { pos: run.next, offset: run.to };
    }
    assert!(view.drained(cursor));
}

#[test]
fn lag_skips_to_the_newest_join_point() {
    let mut log = LogWriter::new(LogId(0));
    append(&mut log, 0, 100, 0, true);
    append(&mut log, 10, 100, 1, false);
    append(&mut log, 4000, 100, 2, true);
    append(&mut log, 4010, 100, 3, false);
    let mut view = View::new(log.snapshot());
    bring(&mut log, &mut view, 4010);
    let start = view.cursor_at(Pos::default()).unwrap();
    let Step::Skip(join) = view.step(start, LAG) else { panic!() };
    assert_eq!(join.pos, Pos { seg: 0, entry: 2 });
    let at_join = view.cursor_at(join.pos).unwrap();
    assert!(matches!(view.step(at_join, 0), Step::Send(_)), "a join point is never skipped to itself");
}

#[test]
fn what_is_evicted_stays_while_it_is_in_flight() {
    let mut log = LogWriter::new(LogId(0));
    append(&mut log, 0, 16_000, 0, true);
    let mut view = View::new(log.snapshot());
    bring(&mut log, &mut view, 0);
    let start = view.cursor_at(Pos::default()).unwrap();
    let Step::Send(run) = view.step(start, LAG) else { panic!() };
    view.pin(run.seg);
    for i in 1..4 {
        // Each in a segment of its own.
        append(&mut log, i * 9000, 100_000, 1, true);
        bring(&mut log, &mut view, i * 9000);
    }
    log.evict(Mono::from_micros(27_000_000), KEEP);
    bring(&mut log, &mut view, 27_000);
    assert!(view.bytes(&run).is_some() && view.pinned_evicted_bytes() > 0);
    view.unpin(run.seg);
    assert!(view.bytes(&run).is_none() && view.pinned_evicted_bytes() == 0);
    assert!(matches!(view.step(start, LAG), Step::Skip(_)));
}

#[test]
fn a_stalled_send_keeps_its_own_segment_only() {
    let mut log = LogWriter::new(LogId(0));
    append(&mut log, 0, 16_000, 0, true);
    let mut view = View::new(log.snapshot());
    bring(&mut log, &mut view, 0);
    let Step::Send(run) = view.step(view.cursor_at(Pos::default()).unwrap(), LAG) else { panic!() };
    let pinned = u64::from(view.get(run.seg).unwrap().capacity());
    view.pin(run.seg);
    for i in 1..20 {
        append(&mut log, i * 9000, 100_000, i as u8, true);
        bring(&mut log, &mut view, i * 9000);
        log.evict(Mono::from_micros(i * 9_000_000), KEEP);
        bring(&mut log, &mut view, i * 9000);
        let evicted = if i < 2 { 0 } else { pinned };
        assert_eq!(view.pinned_evicted_bytes(), evicted, "{i}");
    }
    let held = view.held.iter().filter(|h| h.segment.is_some()).count();
    assert_eq!(held, 3, "the pinned one, the newest, and the one before it");
    // What lies between is evicted like anything else, and what is newest is found where it belongs.
    let gone = Cursor { pos: Pos { seg: run.seg + 5, entry: 0 }, offset: 0 };
    let Step::Skip(join) = view.step(gone, LAG) else { panic!() };
    let Step::Send(newest) = view.step(view.cursor_at(join.pos).unwrap(), LAG) else { panic!() };
    assert_eq!(view.bytes(&newest).unwrap(), [19; 100_000]);
    assert_eq!(view.bytes(&run).unwrap(), [0; 16_000]);
    view.unpin(run.seg);
    assert_eq!((view.pinned_evicted_bytes(), view.held.len()), (0, 2));
    assert_eq!(view.bytes(&newest).unwrap(), [19; 100_000]);
}

#[test]
fn a_segment_that_is_fed_twice_counts_once() {
    let mut log = LogWriter::new(LogId(0));
    append(&mut log, 0, 16_000, 0, true);
    let mut view = View::new(log.snapshot());
    for i in 1..4 {
        append(&mut log, i, 16_000, i as u8, false);
        for news in log.take_news() {
            view.feed(news.clone());
            view.feed(news);
        }
    }
    bring(&mut log, &mut view, 4);
    assert_eq!((view.held.len(), view.held.len() > 2), (log.snapshot().segments.len(), true));
    let mut cursor = view.cursor_at(Pos::default()).unwrap();
    let sent: Vec<u8> = (0..4).flat_map(|i| [i; 16_000]).collect();
    assert!(drain(&mut view, &mut cursor).0 == sent);
}

#[test]
fn the_byte_cap_wins_over_the_join_point() {
    let mut log = LogWriter::new(LogId(0));
    let keep = Retention { gop_bytes_max: 100_000, ..KEEP };
    append(&mut log, 0, 1000, 0, true);
    for i in 1..100 {
        append(&mut log, i, 10_000, 0, false);
        log.flush(Mono::from_micros(i * 1000));
        log.evict(Mono::from_micros(i * 1000), keep);
    }
    assert!(log.snapshot().join.is_none());
    let mut view = View::new(log.snapshot());
    bring(&mut log, &mut view, 100);
    assert!(matches!(view.step(Cursor::default(), LAG), Step::Wait));
}
