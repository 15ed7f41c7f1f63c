//! A segment of a log: append-only bytes with an index of entries, one writer, readers on any core.
//!
//! This is the only unsafe code of the fan-out. The argument:
//!
//! 1. **One writer.** [`Segment::create`] returns the only [`SegmentWriter`] a segment ever has; it is `Send`, not
//!    `Clone`, and all writes go through `&mut self`.
//! 2. **Writes land above the count.** The writer touches only `bytes[tail..]` and `entries[count..]`, where `tail`
//!    is the end of entry `count - 1`. It never forms a reference to memory that a reader may see; it copies through
//!    raw pointers.
//! 3. **Publication.** `published` is stored with Release after bytes and entry are written; readers load it with
//!    Acquire and form slices only below the end of the last published entry. So every byte a reader sees was
//!    written before, and is never written again: published memory is immutable until the segment is dropped.
//! 4. **Life.** Readers hold an `Arc<Segment>`; memory is freed when the last one goes. A send in flight counts in
//!    the reader's view, which keeps its `Arc` as long as the count is not zero (`super::view`).

use super::sync::{Arc, AtomicU32, Ordering, UnsafeCell};
use std::mem::MaybeUninit;

/// Flags of an [`Entry`].
pub mod flags {
    /// Video.
    pub const VIDEO: u8 = 1;
    /// Audio.
    pub const AUDIO: u8 = 1 << 1;
    /// A reader may start here (design, "join points").
    pub const JOIN: u8 = 1 << 2;
    /// A sequence header, colour or channel configuration, or metadata.
    pub const CONFIG: u8 = 1 << 3;
    /// Written from the backlog of a log that opened late; left out of latency histograms.
    pub const LATE: u8 = 1 << 4;
    /// A video Metadata or audio MultichannelConfig packet: left out of variants that strip.
    pub const EXTRA: u8 = 1 << 5;
}

/// One message in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Offset of the first byte behind the entry, from the segment's start.
    pub end: u32,
    /// Decoding time in milliseconds of stream time, modulo 2^32.
    pub dts_ms: u32,
    /// When the frame was complete, in microseconds of the monotonic clock.
    pub complete_us: u64,
    /// The configuration that is valid behind this entry.
    pub config_epoch: u32,
    /// Number of the frame in its stream, modulo 2^32: the same in every log of the stream.
    pub number: u32,
    /// See [`flags`].
    pub flags: u8,
}

/// Keeps what the writer stores and readers load off the lines of neighbours.
#[repr(align(128))]
#[derive(Debug)]
struct Padded<T>(T);

/// A segment. Readers hold it in an `Arc`.
#[derive(Debug)]
pub struct Segment {
    seq: u32,
    entries: Box<[UnsafeCell<MaybeUninit<Entry>>]>,
    bytes: Box<[UnsafeCell<MaybeUninit<u8>>]>,
    published: Padded<AtomicU32>,
}

// SAFETY: shared access is only to published entries and bytes, which are immutable (points 2 and 3 above).
unsafe impl Sync for Segment {}
// SAFETY: a segment owns plain memory.
unsafe impl Send for Segment {}

/// A box of uninitialised cells; allocates, but touches no page.
fn uninit_cells<T>(len: usize) -> Box<[UnsafeCell<MaybeUninit<T>>]> {
    let mut v: Vec<UnsafeCell<MaybeUninit<T>>> = Vec::with_capacity(len);
    #[cfg(not(feature = "loom"))]
    // SAFETY: the capacity is `len`, and an `UnsafeCell<MaybeUninit<T>>` needs no initialisation.
    unsafe {
        v.set_len(len)
    };
    #[cfg(feature = "loom")]
    v.resize_with(len, || UnsafeCell::new(MaybeUninit::uninit()));
    v.into_boxed_slice()
}

impl Segment {
    /// A segment with its one writer. `bytes` and `entries` are the capacities.
    pub fn create(seq: u32, bytes: u32, entries: u32) -> (Arc<Segment>, SegmentWriter) {
        let segment = Arc::new(Segment {
            seq,
            entries: uninit_cells(entries as usize),
            bytes: uninit_cells(bytes as usize),
            published: Padded(AtomicU32::new(0)),
        });
        (segment.clone(), SegmentWriter { segment, count: 0, tail: 0, reserved: 0 })
    }

    /// Number in the log, counted from 0.
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// Bytes it can hold.
    pub fn capacity(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// Entries it can hold.
    pub fn entries_max(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Published entries; grows only.
    pub fn published(&self) -> u32 {
        self.published.0.load(Ordering::Acquire)
    }

    /// Entry `index`, if it is published.
    pub fn entry(&self, index: u32) -> Option<Entry> {
        if index >= self.published() {
            return None;
        }
        let cell = self.entries.get(index as usize)?;
        // SAFETY: below the count, so it is initialised and immutable (point 3).
        Some(cell.with(|p| unsafe { (*p).assume_init_read() }))
    }

    /// Offset of the first byte of entry `index` (the end of the one before); `None` above the published count.
    pub fn start_of(&self, index: u32) -> Option<u32> {
        if index == 0 { Some(0) } else { self.entry(index - 1).map(|e| e.end) }
    }

    /// The published bytes `from..to`; `None` if any of them is not published.
    pub fn bytes(&self, from: u32, to: u32) -> Option<&[u8]> {
        let published_end = self.start_of(self.published())?;
        if from > to || to > published_end {
            return None;
        }
        let cells = self.bytes.get(from as usize..to as usize)?;
        #[cfg(feature = "loom")]
        // SAFETY: as below. The checker's cells do not lie side by side as bytes, so the model leaks a copy.
        return Some(
            cells.iter().map(|c| c.with(|p| unsafe { (*p).assume_init_read() })).collect::<Vec<_>>().leak(),
        );
        #[cfg(not(feature = "loom"))]
        // SAFETY: `to <= published_end`: initialised, immutable (point 3); a cell of one byte has that byte's layout.
        Some(unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) })
    }
}

/// The one writer of a segment.
#[derive(Debug)]
pub struct SegmentWriter {
    segment: Arc<Segment>,
    count: u32,
    tail: u32,
    /// Written behind `tail` by [`SegmentWriter::put`], not yet an entry.
    reserved: u32,
}

impl SegmentWriter {
    /// Whether an entry of `len` bytes fits.
    pub fn fits(&self, len: u32) -> bool {
        (self.count as usize) < self.segment.entries.len()
            && len <= self.segment.capacity() - self.tail - self.reserved
    }

    /// The segment itself.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Entries written so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes committed so far.
    pub fn tail(&self) -> u32 {
        self.tail
    }

    /// Copies `part` behind what was put before; returns false, and copies nothing, if it does not fit.
    #[must_use]
    pub fn put(&mut self, part: &[u8]) -> bool {
        let at = (self.tail + self.reserved) as usize;
        let Some(cells) = self.segment.bytes.get(at..).and_then(|c| c.get(..part.len())) else {
            return false;
        };
        #[cfg(feature = "loom")]
        for (cell, byte) in cells.iter().zip(part) {
            // SAFETY: as below.
            cell.with_mut(|p| unsafe { (*p).write(*byte) });
        }
        #[cfg(not(feature = "loom"))]
        // SAFETY: `cells` lies above the published end, so no reader looks at it (points 1 and 2); the lengths are
        // equal; `part` cannot overlap memory that only this writer may touch.
        unsafe {
            std::ptr::copy_nonoverlapping(part.as_ptr(), cells.as_ptr().cast_mut().cast::<u8>(), part.len())
        };
        self.reserved += part.len() as u32;
        true
    }

    /// Makes all that was put since the last commit one entry and publishes it. `entry.end` is filled in here.
    /// Returns false, and forgets what was put, if the index is full.
    #[must_use]
    pub fn commit(&mut self, mut entry: Entry) -> bool {
        let put = std::mem::take(&mut self.reserved);
        let Some(cell) = self.segment.entries.get(self.count as usize) else {
            return false;
        };
        self.tail += put;
        entry.end = self.tail;
        // SAFETY: entry `count` is not published: only this writer touches it (points 1 and 2).
        cell.with_mut(|p| unsafe {
            (*p).write(entry);
        });
        self.count += 1;
        self.segment.published.0.store(self.count, Ordering::Release);
        true
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn entries_are_seen_whole_or_not_at_all() {
        let (segment, mut writer) = Segment::create(7, 16, 2);
        assert!(writer.put(b"ab") && writer.put(b"cd"));
        assert_eq!(segment.bytes(0, 4), None, "not committed yet");
        assert!(writer.commit(Entry { dts_ms: 5, ..Entry::default() }));
        assert_eq!(segment.bytes(0, 4), Some(&b"abcd"[..]));
        assert_eq!(segment.entry(0).map(|e| (e.end, e.dts_ms)), Some((4, 5)));
        assert_eq!(segment.entry(1), None);
        assert_eq!(segment.bytes(0, 5), None);
        assert_eq!(segment.bytes(3, 2), None);
    }

    #[test]
    fn a_full_segment_refuses() {
        let (_, mut writer) = Segment::create(0, 4, 1);
        assert!(writer.fits(4) && !writer.fits(5));
        assert!(!writer.put(b"12345"));
        assert!(writer.put(b"1234") && writer.commit(Entry::default()));
        assert!(!writer.fits(0), "the index is full");
        assert!(writer.put(b"") && !writer.commit(Entry::default()));
    }

    #[test]
    fn a_reader_on_another_thread_sees_only_whole_entries() {
        let (segment, mut writer) = Segment::create(0, 4096, 256);
        let reader = std::thread::spawn(move || {
            let mut seen = 0;
            while seen < 256 {
                let n = segment.published();
                for i in seen..n {
                    let (from, to) = (segment.start_of(i).unwrap(), segment.entry(i).unwrap().end);
                    assert_eq!(segment.bytes(from, to).unwrap(), [i as u8; 16]);
                }
                seen = n;
                std::hint::spin_loop();
            }
        });
        for i in 0..256u32 {
            assert!(writer.put(&[i as u8; 16]) && writer.commit(Entry::default()));
        }
        reader.join().unwrap();
    }
}
