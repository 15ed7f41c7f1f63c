//! The frames since the newest join point, kept while no full log holds them.

use super::Retention;
use crate::fanout::log::{Format, LogWriter};
use crate::fanout::packager;
use crate::fanout::segment::flags;
use crate::media::config_set::ConfigSet;
use crate::media::{Frame, Mono};
use std::collections::VecDeque;
use std::sync::Arc;

/// A frame in stream time, with what its log entry will say.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) frame: Frame,
    pub(super) flags: u8,
    pub(super) config_epoch: u32,
    pub(super) number: u32,
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
    /// Adds `item`; `join` is the configuration if it is a join point.
    pub(super) fn push(&mut self, now: Mono, item: Item, join: Option<Arc<ConfigSet>>, keep: Retention) {
        if join.is_some() {
            *self = Gop { join, since: now, ..Gop::default() };
        } else if self.join.is_none() {
            return;
        }
        self.bytes += item.frame.body.len() as u64;
        self.items.push_back(item);
        if self.bytes > keep.gop_bytes_max || now.since(self.since) > keep.gop_age_max {
            *self = Gop::default();
        }
    }

    /// The same, read back from a full log.
    pub(super) fn from_log(format: Format, log: &LogWriter) -> Gop {
        let mut gop = Gop { join: log.newest_join().map(|j| j.config.clone()), ..Gop::default() };
        for (entry, slice) in log.since_join() {
            let Some((kind, dts_ms, body)) = packager::unpack(format, &slice.into()) else {
                debug_assert!(false, "a log holds entries of its format only");
                return Gop::default();
            };
            let complete_at = Mono::from_micros(entry.complete_us);
            if gop.items.is_empty() {
                gop.since = complete_at;
            }
            gop.bytes += body.len() as u64;
            let frame = Frame { kind, dts_ms, body, first_byte_at: complete_at, complete_at };
            let flags = entry.flags & !flags::LATE;
            gop.items.push_back(Item {
                frame,
                flags,
                config_epoch: entry.config_epoch,
                number: entry.number,
            });
        }
        gop
    }
}
