//! Publication: what a reader of a segment sees while the writer goes on.

use headgate_loom::fanout::segment::{Entry, Segment};
use loom::thread;

/// What the writer puts, entry by entry; of different lengths, so that an end of one entry is never right for another.
const ENTRIES: [&[u8]; 2] = [b"ab", b"cde"];
const BYTES: u32 = 5;

fn written(index: u32) -> Entry {
    let bytes: usize = ENTRIES[..=index as usize].iter().map(|e| e.len()).sum();
    Entry { end: bytes as u32, dts_ms: 40 * index, config_epoch: index, ..Entry::default() }
}

/// Looks once: everything below the count must be there, whole and right, and nothing above it.
fn look(segment: &Segment) -> u32 {
    let count = segment.published();
    if let Some(last) = count.checked_sub(1) {
        for index in 0..count {
            assert_eq!(segment.entry(index), Some(written(index)));
        }
        let end = written(last).end;
        assert_eq!(segment.bytes(0, end), Some(&ENTRIES[..count as usize].concat()[..]));
    }
    count
}

fn publish(readers: usize) {
    let (segment, mut writer) = Segment::create(0, BYTES, ENTRIES.len() as u32);
    let readers: Vec<_> = (0..readers)
        .map(|_| {
            let segment = segment.clone();
            thread::spawn(move || {
                let before = look(&segment);
                assert!(look(&segment) >= before, "the count only grows");
            })
        })
        .collect();
    for (index, bytes) in (0..).zip(ENTRIES) {
        let (first, rest) = bytes.split_at(1);
        assert!(writer.put(first) && writer.put(rest));
        assert!(writer.commit(Entry { end: 0, ..written(index) }));
    }
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(look(&segment), ENTRIES.len() as u32);
}

/// A reader sees whole entries with the right bytes, or nothing, and may look again while the writer goes on.
///
/// Fails when `commit` stores the count with Relaxed, when `published` loads it with Relaxed, when `commit` counts
/// before it writes the entry, and when `put` begins at 0 in place of the tail.
#[test]
fn entries_are_published_whole() {
    loom::model(|| publish(1));
}

/// The same for two readers on two cores, which do not meet each other. Fails for the same reasons.
#[test]
fn two_readers_see_the_same() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| publish(2));
}
