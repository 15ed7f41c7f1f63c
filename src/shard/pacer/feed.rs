//! From logs to channels: each stream that channels send is followed once, and each channel that it is a source of has its own
//! place in the log, once for each time it has it.
//!
//! An entry is copied once for all channels that get it in a tick, and they share that. To give them the log's own memory
//! would save one copy a source, and hold a segment of up to 1 MiB for each packet that waits: what a channel holds would
//! have no bound but its source's rate.

use super::thread::Pacer;
use super::{Channel, Heard};
use crate::fanout::directory::{StreamId, StreamName};
use crate::fanout::log::{Feed, Format, LogId, LogKey, LogSnapshot, Pos};
use crate::fanout::stream::NoLog;
use crate::fanout::view::{Cursor, Step};
use crate::media::Mono;
use crate::shard::following::Following;
use crate::shard::mailbox::{Command, NotOpened};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;

/// A stream that has no log for us is asked again after this: its publisher may go on with other codecs.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What it takes to give a channel an entry that is copied already, as bytes that could be copied meanwhile.
const READER_BYTES: usize = 256;

/// A channel's place in the log of its source.
#[derive(Clone, Copy, Debug)]
struct Reader {
    channel: usize,
    /// Its place among the channel's sources.
    source: usize,
    /// `None` until there is a place to begin at.
    cursor: Option<Cursor>,
}

/// One log of a stream that channels send.
#[derive(Debug)]
pub(super) struct Source {
    name: StreamName,
    key: LogKey,
    following: Option<Following>,
    readers: Vec<Reader>,
    ask_at: Mono,
    /// There may be something in its log that not all channels have got.
    gained: bool,
    /// Its publisher sends nothing that can be sent.
    unfit: bool,
}

/// An entry of a log as channels get it.
#[derive(Debug)]
pub(super) struct Made {
    pos: Pos,
    packets: Bytes,
}

/// The entry at `pos` with these packets, made unless it was before, and how many bytes that copied. `made` is in the order of
/// places.
fn share<'a>(made: &'a mut Vec<Made>, pos: Pos, packets: &[u8]) -> Option<(&'a Bytes, usize)> {
    let (at, copied) = match made.binary_search_by_key(&pos, |made| made.pos) {
        Ok(at) => (at, 0),
        Err(at) => {
            made.insert(at, Made { pos, packets: Bytes::copy_from_slice(packets) });
            (at, packets.len())
        }
    };
    made.get(at).map(|made| (&made.packets, copied))
}

/// Whether the entry at `pos` is made.
fn is_made(made: &[Made], pos: Pos) -> bool {
    made.binary_search_by_key(&pos, |made| made.pos).is_ok()
}

/// Where a source stands among all of them: asked with every mark and every word of a core.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A stream may have several logs that channels are made from.
    by_name: HashMap<StreamName, Vec<usize>>,
    /// Of those whose log is followed.
    by_log: HashMap<LogId, usize>,
}

/// The sources of channels, each once, with who reads it.
pub(super) fn sources<'a>(
    channels: impl Iterator<Item = (&'a [StreamName], LogKey)>,
) -> (Vec<Source>, Index) {
    let (mut sources, mut index): (Vec<Source>, Index) = Default::default();
    let all = channels.enumerate().flat_map(|(channel, (names, key))| {
        names.iter().enumerate().map(move |(source, name)| (channel, source, name, key))
    });
    for (channel, source, name, key) in all {
        let reader = Reader { channel, source, cursor: None };
        match index.find(&sources, name, key).and_then(|at| sources.get_mut(at)) {
            Some(source) => source.readers.push(reader),
            None => {
                index.by_name.entry(name.clone()).or_default().push(sources.len());
                sources.push(Source {
                    name: name.clone(),
                    key,
                    following: None,
                    readers: vec![reader],
                    ask_at: Mono::ZERO,
                    gained: false,
                    unfit: false,
                });
            }
        }
    }
    (sources, index)
}

impl Index {
    fn find(&self, sources: &[Source], name: &StreamName, key: LogKey) -> Option<usize> {
        let mut of_stream = self.by_name.get(name)?.iter().copied();
        of_stream.find(|at| sources.get(*at).is_some_and(|source| source.key == key))
    }
}

impl Source {
    /// The log that it reads.
    fn log(&self) -> Option<LogId> {
        Some(self.following.as_ref()?.view.as_ref()?.shared().id)
    }
}

impl<C: Channel> Pacer<C> {
    /// Looks for the stream of source `at` and asks its home for the log.
    pub(super) fn seek(&mut self, now: Mono, at: usize) {
        let Some(source) = self.sources.get_mut(at).filter(|source| source.following.is_none()) else {
            return;
        };
        source.ask_at = Mono::NEVER;
        let Some(following) = Following::find(&self.shared.directory, &source.name, source.key) else {
            return self.tell_channels(now, at, Heard::NoStream);
        };
        self.outbox.tell(&self.shared.mailboxes, following.home, following.subscription(self.id));
        source.following = Some(following);
    }

    /// Looks again for streams that had nothing for us.
    pub(super) fn ask_again(&mut self, now: Mono) {
        for at in 0..self.sources.len() {
            if self.sources.get(at).is_some_and(|source| source.ask_at <= now) {
                self.seek(now, at);
            }
        }
    }

    fn tell_channels(&mut self, now: Mono, at: usize, heard: Heard) {
        let Some(source) = self.sources.get(at) else { return };
        for reader in &source.readers {
            if let Some(lane) = self.lanes.get_mut(reader.channel) {
                lane.channel.heard(reader.source, now, heard);
            }
        }
    }

    fn find(&self, name: &StreamName, key: LogKey) -> Option<usize> {
        self.index.find(&self.sources, name, key)
    }

    pub(super) fn command(&mut self, now: Mono, command: Command) {
        match command {
            Command::Opened { name, key, snapshot } => self.opened(now, (&name, key), snapshot),
            Command::Refused { name, key, why } => self.refused(now, (&name, key), why),
            Command::News { stream, log, news } => self.news(stream, log, news),
            Command::Published(name) => {
                let logs = self.index.by_name.get(&name).map_or(0, Vec::len);
                for n in 0..logs {
                    let at = self.index.by_name.get(&name).and_then(|logs| logs.get(n)).copied();
                    at.into_iter().for_each(|at| self.seek(now, at));
                }
            }
            Command::Drain => self.draining = true,
            // No stream is at home here, and none is given up while it lasts.
            other => debug_assert!(false, "the pacer is no core: {other:?}"),
        }
    }

    fn opened(&mut self, now: Mono, (name, key): (&StreamName, LogKey), snapshot: LogSnapshot) {
        let Some(at) = self.find(name, key) else { return };
        let Some(source) = self.sources.get_mut(at) else { return };
        let before = source.log();
        let following = source.following.as_mut().filter(|following| following.name == *name);
        if following.and_then(|following| following.opened(snapshot)).is_some() {
            source.readers.iter_mut().for_each(|reader| reader.cursor = None);
            before.map(|log| self.index.by_log.remove(&log));
            source.log().map(|log| self.index.by_log.insert(log, at));
            self.tell_channels(now, at, Heard::Found);
            self.look_later(at);
        }
    }

    fn refused(&mut self, now: Mono, (name, key): (&StreamName, LogKey), why: NotOpened) {
        let Some(at) = self.find(name, key) else { return };
        let Some(source) = self.sources.get_mut(at) else { return };
        if source.following.as_ref().is_none_or(|following| following.view.is_some()) {
            return;
        }
        self.leave(at);
        let Some(source) = self.sources.get_mut(at) else { return };
        let why = match why {
            // It has moved, or ended: look it up again.
            NotOpened::Gone => return self.seek(now, at),
            NotOpened::Refused(NoLog::TooMany) => "the process has too many logs open",
            NotOpened::Refused(NoLog::Codecs(why)) => why,
        };
        source.ask_at = now + ASK_AGAIN;
        self.tell_channels(now, at, Heard::Refused(why));
    }

    /// The stream of source `at` is read no more.
    fn leave(&mut self, at: usize) {
        let Some(source) = self.sources.get_mut(at) else { return };
        source.log().map(|log| self.index.by_log.remove(&log));
        if let Some(following) = source.following.take() {
            following.unwatch(&self.shared.directory);
        }
    }

    /// The source that reads log `log`.
    fn find_log(&self, log: LogId) -> Option<usize> {
        self.index.by_log.get(&log).copied()
    }

    fn news(&mut self, stream: StreamId, log: LogId, news: Vec<Feed>) {
        let Some(at) = self.find_log(log) else { return };
        let following = self.sources.get_mut(at).and_then(|source| source.following.as_mut());
        if following.and_then(|following| following.feed(stream, news)).is_some() {
            // The mark may have been taken before the news came.
            self.look_later(at);
        }
    }

    /// Takes the marks that the cores left.
    pub(super) fn take_marks(&mut self) {
        let mut marked = std::mem::take(&mut self.marked);
        self.shared.bells.take(self.id, |log| marked.push(log));
        for log in marked.drain(..) {
            if let Some(at) = self.find_log(log) {
                self.look_later(at);
            }
        }
        self.marked = marked;
    }

    /// Feeds channels what their logs have gained, in turn: `room` bytes of copies and what is begun then, which all channels of a
    /// source get; the rest is for the next ticks.
    pub(super) fn feed(&mut self, now: Mono, mut room: usize) {
        let count = self.sources.len();
        for step in 0..count {
            let at = (self.feed_from + step) % count;
            if self.sources.get(at).is_some_and(|source| source.gained) {
                room = self.feed_source(now, at, room);
            }
            if room == 0 {
                self.feed_from = at;
                return;
            }
        }
    }

    /// The log of source `at` may have gained something.
    fn look_later(&mut self, at: usize) {
        if let Some(source) = self.sources.get_mut(at) {
            source.gained = true;
        }
    }

    /// Feeds the channels of source `at` what they have not got; returns how much of `room` is left.
    fn feed_source(&mut self, now: Mono, at: usize, mut room: usize) -> usize {
        let lag_max_us = self.shared.limits.lag_max.as_micros() as u64;
        let Some(source) = self.sources.get_mut(at) else { return room };
        source.gained = false;
        // Those that pass packets on have their own copy of each.
        let passes = source.key.format == Format::Pass;
        let Some(view) = source.following.as_mut().and_then(|following| following.view.as_mut()) else {
            return room;
        };
        view.refresh();
        for reader in &mut source.readers {
            let Some(lane) = self.lanes.get_mut(reader.channel) else { continue };
            let (channel, mut is_fed) = (&mut lane.channel, false);
            if reader.cursor.is_none()
                && let Some(join) = view.join()
                && let Some(came_at) = view.entry(join.pos).map(|entry| Mono::from_micros(entry.complete_us))
                && channel.begins(now, came_at)
            {
                reader.cursor = view.cursor_at(join.pos);
                if reader.cursor.is_some() {
                    channel.seam(reader.source, now, came_at, join);
                    is_fed = true;
                }
            }
            while let Some(cursor) = reader.cursor {
                match view.decide(cursor, view.limit(), lag_max_us) {
                    Step::Send(_) if room == 0 && !is_made(&self.made, view.normalise(cursor.pos)) => {
                        source.gained = true;
                        break;
                    }
                    Step::Send(run) => {
                        let mut pos = view.normalise(cursor.pos);
                        for (entry, packets) in view.entries(cursor, &run) {
                            let came_at = Mono::from_micros(entry.complete_us);
                            if let Some((shared, copied)) = share(&mut self.made, pos, packets) {
                                let own = if passes { packets.len() } else { 0 };
                                room = room.saturating_sub(copied + own + READER_BYTES);
                                channel.feed(reader.source, now, came_at, shared);
                                is_fed = true;
                            }
                            pos.entry += 1;
                        }
                        reader.cursor = Some(Cursor { pos: run.next, offset: run.to });
                    }
                    Step::Skip(join) => {
                        reader.cursor = view.cursor_at(join.pos);
                        channel.heard(reader.source, now, Heard::Skipped);
                        let entry = view.entry(join.pos);
                        let came_at = entry.map_or(now, |entry| Mono::from_micros(entry.complete_us));
                        channel.seam(reader.source, now, came_at, &join);
                        is_fed = true;
                    }
                    Step::Idle | Step::Wait => break,
                }
            }
            // What came may be due before anything that was known.
            if let Some(next_at) = self.next_at.get_mut(reader.channel).filter(|_| is_fed) {
                *next_at = channel.next_at();
            }
        }
        self.made.clear();
        if source.gained {
            return 0;
        }
        let unfit = view.unfit();
        let ended = view.ended();
        if unfit.is_some() != std::mem::replace(&mut source.unfit, unfit.is_some()) {
            // Another publisher may send what fits.
            self.tell_channels(now, at, unfit.map_or(Heard::Found, Heard::Refused));
        }
        if ended {
            self.leave(at);
            self.tell_channels(now, at, Heard::Ended);
            // The name may be published anew already: that is another stream.
            self.seek(now, at);
        }
        room
    }
}
