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

/// What an item costs beyond its media, in bytes: itself, and the counts and the allocator's rounding of its body. Else
/// frames of two bytes would fill the memory long before they reach the bound.
const ITEM_BYTES: u64 = size_of::<Item>() as u64 + 64;

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

    /// Bytes that it keeps, and takes itself.
    fn bytes(&self) -> u64 {
        let media = match &self.media {
            Media::Frame(frame) => frame.body.len(),
            Media::Entry { slice, .. } => slice.as_ref().len(),
        };
        media as u64 + ITEM_BYTES
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

    /// The same, read back from a full log; shares its memory. Empty if the items alone would outgrow the bound.
    pub(super) fn from_log(format: Format, log: &LogWriter, keep: Retention) -> Gop {
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
            if gop.items.len() as u64 * ITEM_BYTES > keep.gop_bytes_max {
                return Gop::default();
            }
        }
        gop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::log::LogId;
    use crate::fanout::segment::Entry;
    use crate::media::Kind;
    use std::time::Duration;

    const KEEP: Retention = Retention {
        gop_bytes_max: 100 * ITEM_BYTES,
        gop_age_max: Duration::from_secs(20),
        lag_max: Duration::from_secs(3),
    };

    #[test]
    fn frames_of_two_bytes_are_charged_for_what_they_take() {
        let mut gop = Gop::default();
        let mut config = crate::media::TrackTable::new();
        let mut push = |count: u32| {
            let body = bytes::Bytes::from_static(&[0x27, 1]);
            let (first_byte_at, complete_at) = (Mono::ZERO, Mono::ZERO);
            let frame = Frame { kind: Kind::Video, dts_ms: 0, body, first_byte_at, complete_at };
            let config = (count == 1).then(|| config.snapshot());
            let item = Item { media: Media::Frame(frame), flags: 0, config_epoch: 1, number: count, config };
            gop.push(Mono::ZERO, item, KEEP);
            gop.items.len()
        };
        // A hundred with their two bytes each are more than a hundred costs.
        assert_eq!((1..=98).map(&mut push).last(), Some(98));
        assert_eq!((99..=101).map(&mut push).last(), Some(0), "outgrown");
    }

    #[test]
    fn a_log_of_two_byte_frames_is_not_read_back_beyond_the_bound() {
        let mut log = LogWriter::new(LogId(0));
        let mut config = crate::media::TrackTable::new();
        let mut items = |count: u32| {
            let flags = if count == 1 { flags::JOIN } else { 0 };
            let join = (count == 1).then(|| config.snapshot());
            let entry = Entry { flags, ..Entry::default() };
            assert!(log.reserve(2) && log.put(&[0; 2]) && log.commit(Mono::ZERO, entry, join));
            Gop::from_log(Format::Flv, &log, KEEP).items.len()
        };
        assert_eq!((1..=100).map(&mut items).last(), Some(100));
        assert_eq!(items(101), 0);
    }
}
