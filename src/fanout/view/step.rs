//! What a subscriber at a place of the log does next: which bytes it sends, whether it skips, and where its like stands in
//! a sibling log.

use super::View;
use crate::fanout::log::{JoinPoint, Pos};
use crate::fanout::segment::{Entry, flags};
use crate::media::Mono;

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

impl View {
    /// A cursor at `pos`.
    pub fn cursor_at(&self, pos: Pos) -> Option<Cursor> {
        let offset = self.get(pos.seg)?.start_of(pos.entry)?;
        Some(Cursor { pos, offset })
    }

    /// Whether nothing is left to send from `cursor`.
    pub fn drained(&self, cursor: Cursor) -> bool {
        self.normalise(cursor.pos) >= self.normalise(self.limit)
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

    /// The entries of `run`, which starts at `cursor`, one by one with their bytes.
    pub fn entries<'a>(&'a self, cursor: Cursor, run: &Run) -> impl Iterator<Item = (Entry, &'a [u8])> {
        let (mut at, mut from) = (self.normalise(cursor.pos).entry, run.from);
        let (segment, end) = (self.get(run.seg), run.next.entry);
        std::iter::from_fn(move || {
            let segment = segment.filter(|_| at < end)?;
            let entry = segment.entry(at)?;
            let bytes = segment.bytes(from, entry.end)?;
            (at, from) = (at + 1, entry.end);
            Some((entry, bytes))
        })
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
}
