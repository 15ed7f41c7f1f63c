//! From logs to channels: each stream that channels send is followed once, and each of its channels has its own place in
//! the log.

use super::thread::Pacer;
use super::{Channel, Heard};
use crate::fanout::directory::{StreamId, StreamName};
use crate::fanout::log::{Feed, Format, LogId, LogKey, LogSnapshot, Variant};
use crate::fanout::stream::NoLog;
use crate::fanout::view::{Cursor, Step};
use crate::media::Mono;
use crate::shard::following::Following;
use crate::shard::mailbox::{Command, NotOpened};
use std::time::Duration;

/// What channels are made from.
const KEY: LogKey = LogKey { format: Format::Ts, variant: Variant::FULL };
/// A stream that has no log for us is asked again after this: its publisher may go on with other codecs.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A channel's place in the log of its source.
#[derive(Clone, Copy, Debug)]
struct Reader {
    channel: usize,
    /// `None` until there is a place to begin at.
    cursor: Option<Cursor>,
}

/// One stream that channels send.
#[derive(Debug)]
pub(super) struct Source {
    name: StreamName,
    following: Option<Following>,
    readers: Vec<Reader>,
    ask_at: Mono,
    /// There may be something in its log that not all channels have got.
    gained: bool,
    /// Its publisher sends nothing that can be sent.
    unfit: bool,
}

/// The sources of channels, each once, with who reads it.
pub(super) fn sources<'a>(channels: impl Iterator<Item = &'a StreamName>) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for (channel, name) in channels.enumerate() {
        let reader = Reader { channel, cursor: None };
        match sources.iter_mut().find(|source| source.name == *name) {
            Some(source) => source.readers.push(reader),
            None => sources.push(Source {
                name: name.clone(),
                following: None,
                readers: vec![reader],
                ask_at: Mono::ZERO,
                gained: false,
                unfit: false,
            }),
        }
    }
    sources
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
        let Some(following) = Following::find(&self.shared.directory, &source.name, KEY) else {
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
                lane.channel.heard(now, heard);
            }
        }
    }

    fn find(&self, name: &StreamName) -> Option<usize> {
        self.sources.iter().position(|source| source.name == *name)
    }

    pub(super) fn command(&mut self, now: Mono, command: Command) {
        match command {
            Command::Opened { name, key: KEY, snapshot } => self.opened(now, &name, snapshot),
            Command::Refused { name, key: KEY, why } => self.refused(now, &name, why),
            Command::News { stream, log, news } => self.news(stream, log, news),
            Command::Published(name) => {
                if let Some(at) = self.find(&name) {
                    self.seek(now, at);
                }
            }
            Command::Drain => self.draining = true,
            // No stream is at home here, none is given up while it lasts, and no other log is asked for.
            other => debug_assert!(false, "the pacer is no core: {other:?}"),
        }
    }

    fn opened(&mut self, now: Mono, name: &StreamName, snapshot: LogSnapshot) {
        let Some(at) = self.find(name) else { return };
        let Some(source) = self.sources.get_mut(at) else { return };
        let before = source.log();
        let following = source.following.as_mut().filter(|following| following.name == *name);
        if following.and_then(|following| following.opened(snapshot)).is_some() {
            source.readers.iter_mut().for_each(|reader| reader.cursor = None);
            before.map(|log| self.by_log.remove(&log));
            source.log().map(|log| self.by_log.insert(log, at));
            self.tell_channels(now, at, Heard::Found);
            self.look_later(at);
        }
    }

    fn refused(&mut self, now: Mono, name: &StreamName, why: NotOpened) {
        let Some(at) = self.find(name) else { return };
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
        source.log().map(|log| self.by_log.remove(&log));
        if let Some(following) = source.following.take() {
            following.unwatch(&self.shared.directory);
        }
    }

    /// The source that reads log `log`.
    fn find_log(&self, log: LogId) -> Option<usize> {
        self.by_log.get(&log).copied()
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

    /// Feeds channels what their logs have gained, in turn, `room` bytes and what is begun then; the rest is for the next
    /// ticks.
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
        let Some(view) = source.following.as_mut().and_then(|following| following.view.as_mut()) else {
            return room;
        };
        view.refresh();
        for reader in &mut source.readers {
            let Some(lane) = self.lanes.get_mut(reader.channel) else { continue };
            let channel = &mut lane.channel;
            if reader.cursor.is_none() {
                reader.cursor = view.join().and_then(|join| view.cursor_at(join.pos));
                if reader.cursor.is_some() {
                    channel.seam(now);
                }
            }
            while let Some(cursor) = reader.cursor {
                match view.decide(cursor, view.limit(), lag_max_us) {
                    Step::Send(_) if room == 0 => {
                        source.gained = true;
                        return 0;
                    }
                    Step::Send(run) => {
                        for (entry, packets) in view.entries(cursor, &run) {
                            room = room.saturating_sub(packets.len());
                            channel.feed(now, Mono::from_micros(entry.complete_us), packets);
                        }
                        reader.cursor = Some(Cursor { pos: run.next, offset: run.to });
                    }
                    Step::Skip(join) => {
                        reader.cursor = view.cursor_at(join.pos);
                        channel.heard(now, Heard::Skipped);
                        channel.seam(now);
                    }
                    Step::Idle | Step::Wait => break,
                }
            }
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
