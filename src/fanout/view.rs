//! One core's view of a log: the segments it may send from, how far, and which of them the kernel still reads.
//!
//! A view is touched by its core only. It keeps an `Arc` of each segment; a send counts in a plain cell
//! ([`View::pin`]), so it costs no atomic. A segment that is evicted but in flight stays until the count is zero.

use super::log::{Feed, JoinPoint, LogShared, LogSnapshot, Pos, Unfit};
use super::segment::{Entry, Segment, flags};
use crate::media::Mono;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most bytes of one send: enough to amortise the system call, little enough that a slow reader holds one segment.
pub const SEND_BYTES_MAX: u32 = 192 << 10;

/// Where a subscriber stands, always at an entry boundary: the kernel takes a run whole, or the connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The entry that is sent next.
    pub pos: Pos,
    /// Where it starts in its segment.
    pub offset: u32,
}

/// Bytes for one send: part of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Segment number; to be pinned while the send is in flight.
    pub seg: u32,
    /// First byte.
    pub from: u32,
    /// Behind the last byte; always the end of an entry.
    pub to: u32,
    /// Where the cursor stands when all is sent.
    pub next: Pos,
    /// When the oldest frame in it was complete.
    pub oldest: Mono,
    /// The oldest frame came from a late log's backlog: not for histograms.
    pub late: bool,
    /// Configuration valid behind it.
    pub config_epoch: u32,
}

/// What a subscriber should do now.
#[derive(Clone, Debug)]
pub enum Step {
    /// Everything flushed is sent.
    Idle,
    /// Send this.
    Send(Run),
    /// It lags, or its place was evicted: go to this join point. Only at an entry boundary.
    Skip(JoinPoint),
    /// Its place was evicted and there is no join point: wait for one.
    Wait,
}

#[derive(Debug)]
struct Held {
    /// None: evicted and gone, only its place is kept while an older one is in flight.
    segment: Option<Arc<Segment>>,
    in_flight: u32,
}

impl From<Arc<Segment>> for Held {
    fn from(segment: Arc<Segment>) -> Held {
        Held { segment: Some(segment), in_flight: 0 }
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct View {
    shared: Arc<LogShared>,
    /// Consecutive; the newest always has its segment.
    held: VecDeque<Held>,
    /// Number of the first of `held`.
    first: u32,
    floor: u32,
    join: Option<JoinPoint>,
    limit: Pos,
    head: Mono,
    unfit: Option<Unfit>,
    ended: bool,
    cached: Option<(Cursor, Step)>,
}

impl View {
    /// A view that starts from `snapshot`.
    pub fn new(snapshot: LogSnapshot) -> View {
        let first = snapshot.segments.first().map_or(0, |s| s.seq());
        let mut view = View {
            shared: snapshot.shared,
            held: snapshot.segments.into_iter().map(Held::from).collect(),
            first,
            floor: first,
            join: snapshot.join,
            limit: Pos::default(),
            head: Mono::ZERO,
            unfit: None,
            ended: false,
            cached: None,
        };
        view.refresh();
        view
    }

    /// The word shared with the writer.
    pub fn shared(&self) -> &Arc<LogShared> {
        &self.shared
    }

    /// Takes one piece of news.
    pub fn feed(&mut self, news: Feed) {
        match news {
            Feed::Segment(segment) => {
                // News may come again that the snapshot held already: a second copy would shift all that follow.
                let next = self.first.wrapping_add(self.held.len() as u32);
                debug_assert!(segment.seq() <= next, "news of a segment was lost");
                if segment.seq() == next {
                    self.held.push_back(Held::from(segment));
                }
            }
            Feed::Join(join) => {
                self.unfit = self.unfit.filter(|_| join.is_none());
                self.join = join;
            }
            Feed::Floor(floor) => {
                for seg in self.floor..floor {
                    self.release(seg);
                }
                self.floor = self.floor.max(floor);
                self.cached = None;
                self.trim();
            }
            Feed::Unfit(unfit) => self.unfit = unfit,
            Feed::End => self.ended = true,
        }
    }

    /// Looks how far the log is flushed. Returns whether it moved.
    pub fn refresh(&mut self) -> bool {
        let Some(last) = self.held.back().and_then(|h| h.segment.as_ref()) else { return false };
        // The word may name a segment whose news has not come: the next ring brings both.
        let last = Pos { seg: last.seq(), entry: last.published() };
        let limit = self.shared.flushed().min(last);
        if limit <= self.limit {
            return false;
        }
        self.limit = limit;
        self.head = self.entry_before(limit).map_or(self.head, |e| Mono::from_micros(e.complete_us));
        self.cached = None;
        true
    }

    /// How far this core may send.
    pub fn limit(&self) -> Pos {
        self.limit
    }

    /// Why nothing follows behind what is flushed, if that is known: the publisher sends nothing that the format carries.
    pub fn unfit(&self) -> Option<&'static str> {
        self.unfit.filter(|unfit| unfit.from <= self.limit).map(|unfit| unfit.why)
    }

    /// Whether the writer has ended the log; what is flushed is still to be sent.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The newest join point that is flushed.
    pub fn join(&self) -> Option<&JoinPoint> {
        self.join.as_ref().filter(|j| j.pos < self.limit)
    }

    /// A cursor at `pos`.
    pub fn cursor_at(&self, pos: Pos) -> Option<Cursor> {
        let offset = self.get(pos.seg)?.start_of(pos.entry)?;
        Some(Cursor { pos, offset })
    }

    /// Whether nothing is left to send from `cursor`.
    pub fn drained(&self, cursor: Cursor) -> bool {
        self.normalise(cursor.pos) >= self.normalise(self.limit)
    }

    /// The end of a full segment as the start of the next one, once that is known.
    pub fn normalise(&self, pos: Pos) -> Pos {
        match self.get(pos.seg) {
            // Only behind a later segment is the count final.
            Some(segment) if pos.entry >= segment.published() && self.get(pos.seg + 1).is_some() => {
                Pos { seg: pos.seg + 1, entry: 0 }
            }
            _ => pos,
        }
    }

    /// What the subscriber at `cursor` should do. Subscribers stand together, so the newest answer is kept; the lag
    /// bound is the core's, the same in every call.
    pub fn step(&mut self, cursor: Cursor, lag_max_us: u64) -> Step {
        if let Some((at, step)) = &self.cached
            && *at == cursor
        {
            return step.clone();
        }
        let step = self.decide(cursor, self.limit, lag_max_us);
        self.cached = Some((cursor, step.clone()));
        step
    }

    /// How far behind a reader at `cursor` is, in microseconds: how much older than the newest frame is the oldest that
    /// it has not got. `u64::MAX` if that is evicted and not pinned.
    pub fn lag_us(&self, cursor: Cursor) -> u64 {
        match self.decide(cursor, self.limit, u64::MAX) {
            Step::Send(run) => self.head.micros_since(run.oldest),
            Step::Idle => 0,
            Step::Skip(_) | Step::Wait => u64::MAX,
        }
    }

    /// The same for a subscriber that leaves this log at `limit`, or with a lag bound of its own; nothing is kept.
    pub fn decide(&self, cursor: Cursor, limit: Pos, lag_max_us: u64) -> Step {
        let pos = self.normalise(cursor.pos);
        let Some(segment) = self.get(pos.seg) else {
            return match self.join() {
                Some(join) => Step::Skip(join.clone()),
                None => Step::Wait,
            };
        };
        let offset = if pos == cursor.pos { cursor.offset } else { 0 };
        let last = if limit.seg > pos.seg { segment.published() } else { limit.entry };
        if limit.seg < pos.seg || last <= pos.entry {
            return Step::Idle;
        }
        let (Some(first), Some(start)) = (segment.entry(pos.entry), segment.start_of(pos.entry)) else {
            return Step::Idle;
        };
        let oldest = Mono::from_micros(first.complete_us);
        debug_assert_eq!(offset, start);
        if self.head.micros_since(oldest) > lag_max_us
            && let Some(join) = self.join()
            && join.pos > pos
        {
            return Step::Skip(join.clone());
        }
        let mut end = last;
        let Some(mut tail) = segment.entry(end - 1) else { return Step::Idle };
        if tail.end - offset > SEND_BYTES_MAX {
            // The last entry that ends within the bound; at least one.
            let (mut low, mut high) = (pos.entry + 1, last);
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                match segment.entry(middle - 1) {
                    Some(e) if e.end - offset <= SEND_BYTES_MAX => low = middle,
                    _ => high = middle - 1,
                }
            }
            end = low;
            match segment.entry(end - 1) {
                Some(entry) => tail = entry,
                None => return Step::Idle,
            }
        }
        Step::Send(Run {
            seg: pos.seg,
            from: offset,
            to: tail.end,
            next: Pos { seg: pos.seg, entry: end },
            oldest,
            late: first.flags & flags::LATE != 0,
            config_epoch: tail.config_epoch,
        })
    }

    /// The bytes of `run`.
    pub fn bytes(&self, run: &Run) -> Option<&[u8]> {
        self.get(run.seg)?.bytes(run.from, run.to)
    }

    /// The first position, from `from` on, of frame `number` or a later one: the same place in a sibling log.
    pub fn first_since(&self, from: Pos, number: u32) -> Pos {
        let mut pos = self.normalise(from);
        while pos < self.limit {
            let Some(segment) = self.get(pos.seg) else { break };
            match segment.entry(pos.entry) {
                Some(e) if e.number.wrapping_sub(number) as i32 >= 0 => break,
                Some(_) => pos = self.normalise(Pos { entry: pos.entry + 1, ..pos }),
                None => break,
            }
        }
        pos
    }

    /// Whether frame `number` or a later one lies before `pos`.
    pub fn passed(&self, pos: Pos, number: u32) -> bool {
        self.entry_before(pos).is_some_and(|e| e.number.wrapping_sub(number) as i32 >= 0)
    }

    /// The entry at `pos`.
    pub fn entry(&self, pos: Pos) -> Option<Entry> {
        self.get(pos.seg)?.entry(pos.entry)
    }

    /// Segment `seg` is read by the kernel until [`View::unpin`].
    pub fn pin(&mut self, seg: u32) {
        if let Some(held) = self.get_mut(seg) {
            held.in_flight += 1;
        }
    }

    /// One read less; drops the segment if it was only waiting for that.
    pub fn unpin(&mut self, seg: u32) {
        if let Some(held) = self.get_mut(seg) {
            debug_assert!(held.in_flight > 0);
            held.in_flight = held.in_flight.saturating_sub(1);
        }
        if seg < self.floor {
            self.release(seg);
            self.trim();
        }
    }

    /// Whether a send from any segment is in flight: the view must stay.
    pub fn pinned(&self) -> bool {
        self.held.iter().any(|h| h.in_flight > 0)
    }

    /// Whether segment `seg` is kept only because it is in flight.
    pub fn evicted(&self, seg: u32) -> bool {
        seg < self.floor
    }

    /// Bytes of segments that are evicted but still in flight.
    pub fn pinned_evicted_bytes(&self) -> u64 {
        let evicted = self.held.iter().take(self.floor.saturating_sub(self.first) as usize);
        evicted.filter_map(|h| h.segment.as_ref()).map(|s| u64::from(s.capacity())).sum()
    }

    /// Lets go of `seg`, which is evicted, unless it is in flight. The newest stays: it says how far the log goes.
    fn release(&mut self, seg: u32) {
        let Some(index) = self.index(seg).filter(|i| i + 1 < self.held.len()) else { return };
        if let Some(held) = self.held.get_mut(index).filter(|h| h.in_flight == 0) {
            held.segment = None;
            self.cached = None;
        }
    }

    /// Forgets the places in front that hold nothing.
    fn trim(&mut self) {
        while self.held.front().is_some_and(|h| h.segment.is_none()) {
            self.held.pop_front();
            self.first += 1;
        }
    }

    fn entry_before(&self, pos: Pos) -> Option<Entry> {
        let pos = match pos.entry {
            0 => {
                let seg = pos.seg.checked_sub(1)?;
                Pos { seg, entry: self.get(seg)?.published() }
            }
            _ => pos,
        };
        self.entry(Pos { entry: pos.entry.checked_sub(1)?, ..pos })
    }

    fn index(&self, seg: u32) -> Option<usize> {
        Some(seg.checked_sub(self.first)? as usize)
    }

    /// Segment `seg`; none if it is evicted and gone, or its news has not come.
    fn get(&self, seg: u32) -> Option<&Arc<Segment>> {
        self.held.get(self.index(seg)?)?.segment.as_ref()
    }

    fn get_mut(&mut self, seg: u32) -> Option<&mut Held> {
        let index = self.index(seg)?;
        self.held.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::log::{LogId, LogWriter, Retention};
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
            out.extend_from_slice(view.bytes(&run).unwrap());
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
}
