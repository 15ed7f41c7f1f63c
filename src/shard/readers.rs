//! What this core reads: logs with their views, the subscribers of each, and the queues of who is to be served.

use super::engine::Key;
use crate::fanout::directory::{StreamId, StreamName, StreamStats};
use crate::fanout::log::{LogId, LogKey, Pos};
use crate::fanout::stream::CoreId;
use crate::fanout::view::View;
use crate::media::config_set::ConfigSet;
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Subscribers of one phase, and how many of them this sweep still has to visit.
#[derive(Debug, Default)]
pub(super) struct Phase {
    pub members: Vec<u32>,
    pub next: usize,
    pub todo: usize,
}

/// A log as this core reads it, with everybody who reads it.
#[derive(Debug)]
pub(super) struct Reader {
    pub name: StreamName,
    pub key: LogKey,
    pub stream: StreamId,
    pub home: CoreId,
    pub stats: Arc<StreamStats>,
    /// `None` until the home has answered.
    pub view: Option<View>,
    pub phases: Vec<Phase>,
    pub slot_rung: u64,
    pub queued: bool,
    /// Connections that wait for the view or a join point.
    pub joiners: Vec<Key>,
    /// Connections that wait for a join point to change to this log.
    pub changers: Vec<Key>,
    /// Connections whose [`Role::Player`] names this reader as the next: changers, and those whose change is planned.
    pub expected: u32,
    /// The join point that nobody on those lists waits for any more.
    pub settled: Option<Pos>,
    /// It stands in [`Readers::crowds`].
    pub crowded: bool,
    /// The newest configuration seen here.
    pub newest: Option<Arc<ConfigSet>>,
    /// Prefaces of the newest join point: of a start, of a resumption.
    pub prefaces: [Option<(Pos, Bytes)>; 2],
    pub goodbye: Option<Bytes>,
}

/// Who waits for a log.
#[derive(Debug)]
pub(super) struct Waiting {
    /// See [`Reader::joiners`].
    pub joiners: Vec<Key>,
    /// See [`Reader::changers`].
    pub changers: Vec<Key>,
}

impl Reader {
    /// Takes those who wait for it off its lists.
    pub fn take_waiting(&mut self) -> Waiting {
        Waiting { joiners: std::mem::take(&mut self.joiners), changers: std::mem::take(&mut self.changers) }
    }

    /// Whoever reads it is visited by the next sweep.
    pub fn all_have_a_turn(&mut self) {
        self.phases.iter_mut().for_each(|phase| phase.todo = phase.members.len());
    }
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Readers {
    list: Vec<Option<Reader>>,
    free: Vec<u32>,
    by_key: HashMap<(StreamName, LogKey), u32>,
    by_log: HashMap<LogId, u32>,
    pub wanted: Wanted,
    /// Readers with sends to make, in turn.
    pub queue: VecDeque<u32>,
    /// Connections whose turn the sweep may have missed, each once ([`hot::LATER`]).
    pub later: VecDeque<Key>,
    /// Readers with more joiners than one turn lets in, each once.
    pub crowds: VecDeque<u32>,
}

/// Names that nobody publishes yet, and who waits.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    by_name: HashMap<StreamName, HashSet<Key>>,
    players: usize,
}

impl Wanted {
    /// `key` waits for `name`. False if `most` players wait already.
    pub fn insert(&mut self, name: StreamName, key: Key, most: usize) -> bool {
        if self.players >= most {
            return false;
        }
        self.players += usize::from(self.by_name.entry(name).or_default().insert(key));
        true
    }

    pub fn remove(&mut self, name: &StreamName, key: Key) {
        let Some(waiting) = self.by_name.get_mut(name) else { return };
        self.players -= usize::from(waiting.remove(&key));
        if waiting.is_empty() {
            self.by_name.remove(name);
        }
    }

    /// Everybody who waits for `name`; they wait no more.
    pub fn take(&mut self, name: &StreamName) -> HashSet<Key> {
        let waiting = self.by_name.remove(name).unwrap_or_default();
        self.players -= waiting.len();
        waiting
    }

    /// Who waits, for whatever.
    pub fn players(&self) -> usize {
        self.players
    }
}

impl Readers {
    pub fn get(&mut self, at: u32) -> Option<&mut Reader> {
        self.list.get_mut(at as usize)?.as_mut()
    }

    pub fn pinned_bytes(&self) -> u64 {
        self.iter().filter_map(|r| r.view.as_ref()).map(View::pinned_evicted_bytes).sum()
    }

    /// Bytes of the lists of subscribers.
    pub fn bytes(&self) -> usize {
        let members =
            |r: &Reader| r.phases.iter().map(|p| p.members.capacity() * size_of::<u32>()).sum::<usize>();
        let waiting = |r: &Reader| (r.joiners.capacity() + r.changers.capacity()) * size_of::<Key>();
        self.iter().map(|r| members(r) + waiting(r)).sum()
    }

    /// Readers that are open.
    #[cfg(test)]
    pub fn open(&self) -> usize {
        self.iter().count()
    }

    /// The reader of log `key` of the stream `name`.
    pub fn find(&self, name: &StreamName, key: LogKey) -> Option<u32> {
        self.by_key.get(&(name.clone(), key)).copied()
    }

    /// The reader of a log that is open.
    pub fn find_log(&self, log: LogId) -> Option<u32> {
        self.by_log.get(&log).copied()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Reader> {
        self.list.iter().flatten()
    }

    /// Adds a reader; its number.
    pub fn insert(&mut self, reader: Reader) -> u32 {
        let name = (reader.name.clone(), reader.key);
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.list.push(None);
                (self.list.len() - 1) as u32
            }
        };
        self.by_key.insert(name, at);
        if let Some(place) = self.list.get_mut(at as usize) {
            *place = Some(reader);
        }
        at
    }

    /// Reader `at` has its view, of log `id`.
    pub fn opened(&mut self, at: u32, id: LogId) {
        self.by_log.insert(id, at);
    }

    /// Reader `at` is not to be found by name any more: who comes now reads another stream of that name.
    pub fn forget_name(&mut self, at: u32) {
        let Some(Some(reader)) = self.list.get(at as usize) else { return };
        let name = (reader.name.clone(), reader.key);
        if self.by_key.get(&name) == Some(&at) {
            self.by_key.remove(&name);
        }
    }

    /// Drops reader `at`. Returns what it read, which the directory is to be told.
    #[must_use]
    pub fn remove(&mut self, at: u32) -> Option<(StreamName, StreamId)> {
        self.forget_name(at);
        let reader = self.list.get_mut(at as usize).and_then(Option::take)?;
        // The id may serve another log by now.
        if let Some(view) = reader.view
            && self.by_log.get(&view.shared().id) == Some(&at)
        {
            self.by_log.remove(&view.shared().id);
        }
        self.queue.retain(|queued| *queued != at);
        self.crowds.retain(|crowd| *crowd != at);
        self.free.push(at);
        Some((reader.name, reader.stream))
    }

    /// Whether connections wait for a sweep.
    pub fn wait_for_sweep(&self) -> bool {
        !self.later.is_empty() || !self.queue.is_empty() || !self.crowds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_players_are_bounded_and_counted() {
        let key = |slot| Key { slot, generation: 0 };
        let name = |text: &str| StreamName::new("live", text);
        let mut wanted = Wanted::default();
        assert!(wanted.insert(name("a"), key(1), 3));
        assert!(wanted.insert(name("a"), key(1), 3), "once is enough");
        assert!(wanted.insert(name("a"), key(2), 3) && wanted.insert(name("b"), key(3), 3));
        assert_eq!(wanted.players(), 3);
        assert!(!wanted.insert(name("c"), key(4), 3));
        wanted.remove(&name("b"), key(9));
        wanted.remove(&name("c"), key(4));
        assert_eq!(wanted.players(), 3);
        wanted.remove(&name("b"), key(3));
        assert!(wanted.insert(name("c"), key(4), 3));
        assert_eq!(wanted.take(&name("a")), HashSet::from([key(1), key(2)]));
        assert_eq!((wanted.players(), wanted.take(&name("a")).len()), (1, 0));
    }
}
