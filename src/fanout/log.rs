//! A log: the bytes of one stream in one wire format, in segments, with one writer.
//!
//! Lives here: the writer with its retention and join points, what it tells the cores that read it ([`Feed`]), and
//! the one word they share ([`LogShared::flushed`]). Segments do not point at each other: each reading core keeps its
//! own deque of them (`super::view`), fed by [`Feed`].

use super::segment::{Entry, Segment, SegmentWriter, flags};
use super::slice::LogSlice;
use crate::media::Mono;
use crate::media::config_set::ConfigSet;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// First segment of a log, in bytes; small, because most logs of a many-stream node stay small.
pub const SEGMENT_BYTES_MIN: u32 = 16 << 10;
/// Where doubling ends, in bytes.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 20;
/// Doubling goes on while a segment fills in less than this. What is kept is kept by whole segments, so a slow stream's
/// must not hold minutes; and hundreds of streams must not make the kernel clear large segments all at once.
const SEGMENT_FILLS_IN: Duration = Duration::from_secs(2);
/// Entries of the first segment; they double by themselves where messages are small.
const SEGMENT_ENTRIES_MIN: u32 = 64;
/// Where that ends.
const SEGMENT_ENTRIES_MAX: u32 = 1 << 10;
/// A message larger than this cannot be stored: offsets in a segment are 32 bits with room to spare.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_MAX && SEGMENT_BYTES_MIN.is_power_of_two());

/// What an entry costs beyond its bytes.
const ENTRY_COST: u64 = size_of::<Entry>() as u64;

/// The format of a log's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RTMP chunks, full headers, chunk size [`super::packager::rtmp::CHUNK_SIZE`].
    Rtmp,
    /// FLV tags with their trailers.
    Flv,
    /// Packets of a transport stream, at a variable rate.
    Ts,
    /// The packets of a publisher's own transport stream, as they came.
    Pass,
}

impl Format {
    /// Whether an entry can be read back as the frame it was made from: only then another format is fed from this log.
    pub const fn unpacks(self) -> bool {
        match self {
            Format::Rtmp | Format::Flv => true,
            Format::Ts | Format::Pass => false,
        }
    }
}

/// A track set and a capability profile: what is left out of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Audio tracks are in.
    pub audio: bool,
    /// Video tracks are in.
    pub video: bool,
    /// Video Metadata and audio MultichannelConfig packets are left out, for players that reject them.
    pub strip: bool,
    /// Of a transport stream: AAC is carried in LOAS/LATM and not in ADTS.
    pub latm: bool,
    /// Of a transport stream: AV1 is carried, as the AOM's draft says, but with a temporal unit in each PES packet, where it
    /// has one for each frame.
    pub av1: bool,
}

impl Variant {
    /// Everything, as the publisher sent it.
    pub const FULL: Variant = Variant { audio: true, video: true, strip: false, latm: false, av1: false };

    /// Whether a frame with these [`flags`] is in. Script frames always are.
    pub fn carries(self, frame: u8) -> bool {
        (self.audio || frame & flags::AUDIO == 0)
            && (self.video || frame & flags::VIDEO == 0)
            && !(self.strip && frame & flags::EXTRA != 0)
    }
}

/// What a log of a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogKey {
    /// Wire format.
    pub format: Format,
    /// Track set and profile.
    pub variant: Variant,
}

/// A position at an entry boundary: segment number, entry in it. Ordered as the log is.
///
/// The end of a sealed segment and the start of the next are two spellings of one place; comparison does not know,
/// [`super::view::View::normalise`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    /// Number of the segment.
    pub seg: u32,
    /// Entries of it that lie before the position.
    pub entry: u32,
}

impl Pos {
    fn pack(self) -> u64 {
        (u64::from(self.seg) << 32) | u64::from(self.entry)
    }

    fn unpack(word: u64) -> Pos {
        Pos { seg: (word >> 32) as u32, entry: word as u32 }
    }
}

/// Identity of a log in this process, index of its dirty bit; reused after the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub u32);

/// What the writer and all readers of a log share.
#[derive(Debug)]
pub struct LogShared {
    /// Index of the dirty bit.
    pub id: LogId,
    flushed: crossbeam::utils::CachePadded<(AtomicU64, AtomicU64)>,
}

impl LogShared {
    /// A log's shared part, nothing flushed.
    pub fn new(id: LogId) -> LogShared {
        LogShared { id, flushed: crossbeam::utils::CachePadded::new((AtomicU64::new(0), AtomicU64::new(0))) }
    }

    /// How far readers should look.
    pub fn flushed(&self) -> Pos {
        Pos::unpack(self.flushed.0.load(Ordering::Acquire))
    }

    /// When that was last moved; may be newer than what [`LogShared::flushed`] just returned (for histograms only).
    pub fn flushed_at(&self) -> Mono {
        Mono::from_micros(self.flushed.1.load(Ordering::Relaxed))
    }
}

/// Where a reader may start.
#[derive(Clone, Debug)]
pub struct JoinPoint {
    /// The entry that is sent first.
    pub pos: Pos,
    /// Its decoding time.
    pub dts_ms: u32,
    /// Configuration as of that entry.
    pub config: Arc<ConfigSet>,
    /// From which byte of `seam` on a reader is sent it first that begins here; its end in most formats.
    pub opening_at: u32,
    /// What a reader is sent first that comes from anywhere but the entry before; empty in most formats.
    pub seam: Bytes,
}

impl JoinPoint {
    /// What a reader is sent first that begins here.
    pub fn opening(&self) -> Bytes {
        self.seam.slice(self.seam.len().min(self.opening_at as usize)..)
    }
}

/// News of a log for the cores that read it, in order.
#[derive(Clone, Debug)]
pub enum Feed {
    /// The next segment; it may already hold entries.
    Segment(Arc<Segment>),
    /// A newer join point, or none because the GOP outgrew retention.
    Join(Option<JoinPoint>),
    /// Segments below this number are evicted.
    Floor(u32),
    /// The format carries nothing of what the publisher sends now: nothing follows before another join point. None: another
    /// publisher has come, of whom that is not known.
    Unfit(Option<Unfit>),
    /// Nothing follows: send what is flushed, say goodbye.
    End,
}

/// Why nothing follows in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What the publisher sends that cannot be carried, for people.
    pub why: &'static str,
    /// Nothing follows behind this; what stands before it is still to be sent.
    pub from: Pos,
}

/// A log as a new reader core finds it.
#[derive(Clone, Debug)]
pub struct LogSnapshot {
    /// The shared word.
    pub shared: Arc<LogShared>,
    /// Retained segments, oldest first; never empty.
    pub segments: Vec<Arc<Segment>>,
    /// Newest join point.
    pub join: Option<JoinPoint>,
}

/// How much of a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Bytes of one log at most, beyond what readers were only just shown; wins over everything else.
    pub gop_bytes_max: u64,
    /// A join point older than this is given up.
    pub gop_age_max: Duration,
    /// Entries younger than this are kept for readers that lag, if the bytes allow.
    pub lag_max: Duration,
}

/// The writer of one log: a value that moves with the stream, never cloned.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<LogShared>,
    segments: VecDeque<Arc<Segment>>,
    writer: SegmentWriter,
    /// Bytes committed in `segments`, and their entries.
    retained_bytes: u64,
    join: Option<JoinPoint>,
    join_at: Mono,
    /// Of the entry that is being put.
    seam: Bytes,
    opening_at: u32,
    /// Readers were told so, and no other publisher has come since.
    unfit: bool,
    news: Vec<Feed>,
    copied_bytes: u64,
}

impl LogWriter {
    /// An empty log.
    pub fn new(id: LogId) -> LogWriter {
        let (segment, writer) = Segment::create(0, SEGMENT_BYTES_MIN, SEGMENT_ENTRIES_MIN);
        LogWriter {
            shared: Arc::new(LogShared::new(id)),
            segments: VecDeque::from([segment]),
            writer,
            retained_bytes: 0,
            join: None,
            join_at: Mono::ZERO,
            seam: Bytes::new(),
            opening_at: 0,
            unfit: false,
            news: Vec::new(),
            copied_bytes: 0,
        }
    }

    /// The word shared with readers.
    pub fn shared(&self) -> &Arc<LogShared> {
        &self.shared
    }

    /// Bytes held, with what their entries take.
    pub fn retained_bytes(&self) -> u64 {
        self.retained_bytes
    }

    /// Bytes copied into the log since the last call; each frame's once.
    pub fn take_copied_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.copied_bytes)
    }

    /// Where a reader would start now.
    pub fn newest_join(&self) -> Option<&JoinPoint> {
        self.join.as_ref()
    }

    /// Behind the last committed entry.
    pub fn committed(&self) -> Pos {
        Pos { seg: self.writer.segment().seq(), entry: self.writer.count() }
    }

    /// Everything a new reader core needs; later [`Feed`]s continue from here.
    pub fn snapshot(&self) -> LogSnapshot {
        LogSnapshot {
            shared: self.shared.clone(),
            segments: self.segments.iter().cloned().collect(),
            join: self.join.clone(),
        }
    }

    /// Makes room for an entry of `len` bytes. Returns false if no segment can hold it.
    #[must_use]
    pub fn reserve(&mut self, len: usize) -> bool {
        if len > ENTRY_BYTES_MAX {
            return false;
        }
        let len = len as u32;
        if !self.writer.fits(len) {
            let full = self.writer.segment();
            let (bytes, entries) = next_capacity(full, len);
            let (segment, writer) = Segment::create(full.seq().wrapping_add(1), bytes, entries);
            self.news.push(Feed::Segment(segment.clone()));
            self.segments.push_back(segment);
            self.writer = writer;
        }
        true
    }

    /// Copies `part` into the reserved room: the one place where the fan-out copies media, and counts it.
    #[must_use]
    pub fn put(&mut self, part: &[u8]) -> bool {
        self.copied_bytes += part.len() as u64;
        self.writer.put(part)
    }

    /// What goes in front of the entry that is being put, if it becomes a join point: see [`JoinPoint::seam`].
    pub fn seam(&mut self, seam: Bytes) {
        self.opening_at = seam.len() as u32;
        self.seam = seam;
    }

    /// The same, if a reader that begins here is to get what stands from byte `opening_at` on.
    pub fn lead(&mut self, seam: Bytes, opening_at: usize) {
        self.opening_at = opening_at as u32;
        self.seam = seam;
    }

    /// Commits what was put as one entry; `join` makes it the newest join point. Returns false, and
    /// forgets what was put, if the segment's index is full.
    #[must_use]
    pub fn commit(&mut self, now: Mono, entry: Entry, join: Option<Arc<ConfigSet>>) -> bool {
        let before = self.writer.tail();
        let pos = self.committed();
        let (seam, opening_at) = (std::mem::take(&mut self.seam), std::mem::take(&mut self.opening_at));
        if !self.writer.commit(entry) {
            return false;
        }
        self.retained_bytes += u64::from(self.writer.tail() - before) + ENTRY_COST;
        if let Some(config) = join {
            debug_assert!(entry.flags & flags::JOIN != 0);
            let join = JoinPoint { pos, dts_ms: entry.dts_ms, config, opening_at, seam };
            // Audio-only logs join anywhere: one piece of news a flush, not one an entry.
            match self.news.last_mut() {
                Some(Feed::Join(last)) => *last = Some(join.clone()),
                _ => self.news.push(Feed::Join(Some(join.clone()))),
            }
            self.join = Some(join);
            self.join_at = now;
        }
        true
    }

    /// Drops what retention no longer wants.
    pub fn evict(&mut self, now: Mono, keep: Retention) {
        if self.join.is_some() && now.since(self.join_at) > keep.gop_age_max {
            self.forget_join();
        }
        let mut dropped = false;
        // What readers were not shown yet, or only just, stays whatever it costs: they could not have sent it.
        let shown = self.shared.flushed().seg.saturating_sub(1);
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.front().filter(|oldest| oldest.seq() < shown) else { break };
            let over = self.retained_bytes > keep.gop_bytes_max;
            let joins_here = self.join.as_ref().is_some_and(|j| j.pos.seg == oldest.seq());
            let count = oldest.published();
            let newest = count.checked_sub(1).and_then(|i| oldest.entry(i));
            let young = newest.is_some_and(|e| now.since(Mono::from_micros(e.complete_us)) < keep.lag_max);
            if !over && (joins_here || young) {
                break;
            }
            if joins_here {
                self.forget_join();
            }
            self.retained_bytes -= u64::from(newest.map_or(0, |e| e.end)) + u64::from(count) * ENTRY_COST;
            self.segments.pop_front();
            dropped = true;
        }
        if dropped && let Some(oldest) = self.segments.front() {
            self.news.push(Feed::Floor(oldest.seq()));
        }
    }

    fn forget_join(&mut self) {
        self.join = None;
        self.news.push(Feed::Join(None));
    }

    /// Tells readers that there is nothing for them in what the publisher sends now, and why.
    pub fn unfit(&mut self, why: &'static str) {
        self.unfit = true;
        self.news.push(Feed::Unfit(Some(Unfit { why, from: self.committed() })));
    }

    /// Another publisher sends from now on.
    pub fn republish(&mut self) {
        if std::mem::take(&mut self.unfit) {
            self.news.push(Feed::Unfit(None));
        }
    }

    /// Ends the log for its readers.
    pub fn end(&mut self) {
        self.news.push(Feed::End);
    }

    /// Whether readers must be told something.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What readers must be told, in order; to be sent before [`LogWriter::flush`] moves the word.
    pub fn take_news(&mut self) -> Vec<Feed> {
        std::mem::take(&mut self.news)
    }

    /// Moves `flushed` to what is committed. Returns whether it moved.
    pub fn flush(&mut self, now: Mono) -> bool {
        let committed = self.committed();
        if self.shared.flushed() == committed {
            return false;
        }
        self.shared.flushed.1.store(now.as_micros(), Ordering::Relaxed);
        self.shared.flushed.0.store(committed.pack(), Ordering::Release);
        true
    }

    /// The entries from the newest join point on, oldest first: what a late format starts from.
    pub fn since_join(&self) -> impl Iterator<Item = (Entry, LogSlice)> {
        let from = self.join.as_ref().map(|j| j.pos);
        self.segments.iter().filter(move |s| from.is_some_and(|p| s.seq() >= p.seg)).flat_map(
            move |segment| {
                let first = from.filter(|p| p.seg == segment.seq()).map_or(0, |p| p.entry);
                (first..segment.published()).filter_map(move |i| {
                    let entry = segment.entry(i)?;
                    Some((entry, LogSlice::new(segment, segment.start_of(i)?..entry.end)?))
                })
            },
        )
    }
}

/// Bytes and entries of the segment behind `full`, which had no room for `len` more bytes: what ran out is doubled, if
/// it ran out within [`SEGMENT_FILLS_IN`]. An entry larger than a segment gets one of its own.
fn next_capacity(full: &Segment, len: u32) -> (u32, u32) {
    let count = full.published();
    let time = |i: Option<u32>| {
        i.and_then(|i| full.entry(i)).map_or(Mono::ZERO, |e| Mono::from_micros(e.complete_us))
    };
    let quick = time(count.checked_sub(1)).since(time(Some(0))) < SEGMENT_FILLS_IN;
    let by_index = count == full.entries_max();
    let double = |now: u32, wanted: bool| if wanted { now * 2 } else { now };
    let bytes = double(full.capacity().min(SEGMENT_BYTES_MAX), quick && !by_index);
    let entries = double(full.entries_max(), quick && by_index);
    (bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX).max(len), entries.min(SEGMENT_ENTRIES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest segment after 20 s of 100 entries a second of `len` bytes each.
    fn grown(len: usize) -> u32 {
        let mut log = LogWriter::new(LogId(0));
        for i in 0..2000 {
            assert!(log.reserve(len) && log.put(&vec![0; len]));
            let entry = Entry { complete_us: i * 10_000, ..Entry::default() };
            assert!(log.commit(Mono::from_micros(i * 10_000), entry, None));
        }
        log.snapshot().segments.iter().map(|s| s.capacity()).max().unwrap()
    }

    #[test]
    fn entries_of_two_bytes_are_charged_for_what_they_take() {
        let mut log = LogWriter::new(LogId(0));
        let long = Duration::from_secs(3600);
        let keep = Retention { gop_bytes_max: 100_000, gop_age_max: long, lag_max: long };
        for _ in 0..20_000 {
            assert!(log.reserve(2) && log.put(&[0; 2]) && log.commit(Mono::ZERO, Entry::default(), None));
            log.flush(Mono::ZERO);
            log.evict(Mono::ZERO, keep);
        }
        let held: u64 = log.segments.iter().map(|s| u64::from(s.published())).sum();
        assert_eq!(log.retained_bytes(), held * (2 + ENTRY_COST));
        let segment = u64::from(SEGMENT_ENTRIES_MAX) * (2 + ENTRY_COST);
        assert!(log.retained_bytes() <= keep.gop_bytes_max + segment, "{held} entries");
    }

    #[test]
    fn segments_grow_until_they_hold_two_seconds() {
        assert_eq!(grown(20), SEGMENT_BYTES_MIN, "more entries, not more bytes");
        assert_eq!(grown(2000), 512 << 10);
        assert_eq!(grown(40_000), SEGMENT_BYTES_MAX);
    }
}
