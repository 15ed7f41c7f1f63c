//! One core's view of a log: the segments it may send from, how far, and which of them the kernel still reads.
//!
//! A view is touched by its core only. It keeps an `Arc` of each segment; a send counts in a plain cell
//! ([`View::pin`]), so it costs no atomic. A segment that is evicted but in flight stays until the count is zero.

mod step;

use super::log::{Feed, JoinPoint, LogShared, LogSnapshot, Pos, Unfit};
use super::segment::{Entry, Segment};
use crate::media::Mono;
use std::collections::VecDeque;
use std::sync::Arc;
pub use step::{Cursor, Run, SEND_BYTES_MAX, Step};

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
mod tests;
