//! The frames since the newest join point, kept while no full log holds them.

use super::Retention;
use crate::fanout::log::{Format, LogWriter};
use crate::fanout::packager;
use crate::fanout::segment::flags;
use crate::fanout::slice::LogSlice;
use crate::media::config_set::ConfigSet;
use crate::media::{Frame, Mono};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// A frame in stream time, or where a log holds it: it is unpacked when it is wanted, since that may copy it.
#[derive(Clone, Debug)]
pub(super) enum Media {
    Frame(Frame),
    Entry { format: Format, slice: LogSlice, complete_at: Mono },
}

/// A frame with what its log entry will say.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) media: Media,
    pub(super) flags: u8,
    pub(super) config_epoch: u32,
    pub(super) number: u32,
    /// Configuration as of a join point.
    pub(super) config: Option<Arc<ConfigSet>>,
}

impl Item {
    /// When the frame was complete.
    pub(super) fn complete_at(&self) -> Mono {
        match &self.media {
            Media::Frame(frame) => frame.complete_at,
            Media::Entry { complete_at, .. } => *complete_at,
        }
    }

    /// Media bytes that it keeps.
    fn bytes(&self) -> u64 {
        match &self.media {
            Media::Frame(frame) => frame.body.len() as u64,
            Media::Entry { slice, .. } => slice.as_ref().len() as u64,
        }
    }

    /// The frame, and how many bytes were copied to make it.
    pub(super) fn frame(&self) -> Option<(Cow<'_, Frame>, u64)> {
        let (format, slice, complete_at) = match &self.media {
            Media::Frame(frame) => return Some((Cow::Borrowed(frame), 0)),
            Media::Entry { format, slice, complete_at } => (*format, slice, *complete_at),
        };
        let unpacked = packager::unpack(format, &slice.clone().into());
        debug_assert!(unpacked.is_some(), "a log holds entries of its format only");
        let (kind, dts_ms, body) = unpacked?;
        let copied = packager::reassembled_bytes(format, &body);
        Some((Cow::Owned(Frame { kind, dts_ms, body, first_byte_at: complete_at, complete_at }), copied))
    }
}

/// See the module's description. Empty until the first join point, and when a GOP outgrew its bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Gop {
    /// Configuration as of the first item.
    pub(super) join: Option<Arc<ConfigSet>>,
    pub(super) items: VecDeque<Item>,
    pub(super) bytes: u64,
    since: Mono,
}

impl Gop {
    /// Adds `item`; a join point begins anew.
    pub(super) fn push(&mut self, now: Mono, item: Item, keep: Retention) {
        if item.config.is_some() {
            *self = Gop { join: item.config.clone(), since: now, ..Gop::default() };
        } else if self.join.is_none() {
            return;
        }
        self.bytes += item.bytes();
        self.items.push_back(item);
        if self.bytes > keep.gop_bytes_max || now.since(self.since) > keep.gop_age_max {
            *self = Gop::default();
        }
    }

    /// The same, read back from a full log; shares its memory.
    pub(super) fn from_log(format: Format, log: &LogWriter) -> Gop {
        let mut gop = Gop { join: log.newest_join().map(|j| j.config.clone()), ..Gop::default() };
        for (entry, slice) in log.since_join() {
            let complete_at = Mono::from_micros(entry.complete_us);
            if gop.items.is_empty() {
                gop.since = complete_at;
            }
            let item = Item {
                media: Media::Entry { format, slice, complete_at },
                flags: entry.flags & !flags::LATE,
                config_epoch: entry.config_epoch,
                number: entry.number,
                config: gop.join.clone().filter(|_| gop.items.is_empty()),
            };
            gop.bytes += item.bytes();
            gop.items.push_back(item);
        }
        gop
    }
}
