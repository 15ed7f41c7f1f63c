//! A live stream: takes a publisher's frames to every open log. Owned by its home core; moves to another by value.
//!
//! What must stay true: a frame is copied once into each open log and nowhere else (but for a log that opens late and
//! is fed from one that holds the frame in pieces); no reader ever finds a delta
//! frame before a keyframe; a log exists only while it has readers (and a little longer); whoever holds the GOP (a
//! full log that can be read back, or else the GOP cache) holds it once.
//! Not here: sockets, cores, who may publish.

mod gop;
mod runs;

use super::directory::StreamName;
use super::flush::{Flush, Rule};
use super::log::{Feed, LogId, LogKey, LogSnapshot, LogWriter, Retention, Variant};
use super::packager::{About, Packager, Packed};
use super::segment::{Entry, flags};
use super::timeline::{Mapped, Timeline};
use crate::media::config_set::ConfigSet;
use crate::media::tag::{Packet, Tag};
use crate::media::track::{Observed, TrackTable};
use crate::media::{Demand, Frame, Kind, Mono};
use gop::{Gop, Item, Media};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Open logs of one stream and format at most; a further variant is refused.
pub const LOGS_PER_FORMAT_MAX: usize = 8;
/// A track that has sent nothing for this long after the publisher's first frame is absent.
const SETTLE: Duration = Duration::from_secs(1);
/// A publisher that announced video but sent no keyframe for this long is taken for sound alone (a muted camera).
const NO_KEYFRAME: Duration = Duration::from_secs(4);
/// A log without readers is kept this long for the next one.
const LOG_LINGER: Duration = Duration::from_secs(5);

/// A core that reads a log.
pub type CoreId = u16;

/// Why a frame did not reach the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Its tag header cannot be read.
    Malformed,
    /// An equal repeat of the current configuration.
    Repeat,
    /// Configuration beyond its bound.
    Refused,
    /// Media before the first keyframe of this publisher.
    BeforeKeyframe,
    /// No segment can hold it.
    TooLarge,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in every log that wants it.
    Kept {
        /// Whether a configuration changed with it.
        config: bool,
        /// What happened to its timestamp.
        mapped: Mapped,
        /// Whether it is a keyframe of the default track, or any frame of a stream without video.
        join: bool,
    },
    /// It is in none.
    Dropped(Dropped),
}

/// A log with its readers.
#[derive(Debug)]
struct OpenLog {
    key: LogKey,
    packager: Packager,
    writer: LogWriter,
    /// Frames older than the log that it still has to be given.
    backlog: VecDeque<Item>,
    /// Bytes of the backlog that had to be put together again.
    reassembled_bytes: u64,
    readers: Vec<CoreId>,
    idle_since: Mono,
    /// The configuration that was last looked at for something that the format carries.
    judged: u32,
}

/// Why a log cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLog {
    /// The format has too many variants open already, or the process too many logs.
    TooMany,
    /// The format carries no track of the stream; why, for people.
    Codecs(&'static str),
}

/// News of one log for its readers.
#[derive(Debug)]
pub struct LogNews {
    /// Which log.
    pub id: LogId,
    /// The cores to tell.
    pub readers: Vec<CoreId>,
    /// In order.
    pub news: Vec<Feed>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Stream {
    name: StreamName,
    rule: Rule,
    keep: Retention,
    tracks: TrackTable,
    timeline: Timeline,
    flush: Flush,
    logs: Vec<OpenLog>,
    gop: Gop,
    /// Frames taken so far.
    frames: u32,
    /// End of sequence, video and audio, withheld until the stream ends.
    last_words: (Option<Frame>, Option<Frame>),
    /// When this publisher's first media frame came.
    started: Option<Mono>,
    video_seen: bool,
    audio_seen: bool,
    /// When the last picture came; none before this publisher's first keyframe.
    last_video: Option<Mono>,
    /// This publisher has reached a join point.
    joined: bool,
    /// This publisher has a transport stream of its own, and is to be told whether it is read.
    demand: Option<Demand>,
}

impl Stream {
    /// A stream without frames or readers.
    pub fn new(name: StreamName, rule: Rule, keep: Retention) -> Stream {
        Stream {
            name,
            rule,
            keep,
            tracks: TrackTable::new(),
            timeline: Timeline::default(),
            flush: Flush::default(),
            logs: Vec::new(),
            gop: Gop::default(),
            frames: 0,
            last_words: (None, None),
            started: None,
            video_seen: false,
            audio_seen: false,
            last_video: None,
            joined: false,
            demand: None,
        }
    }

    /// A new publisher takes the stream: viewers stay, their clock goes on, its first join point is the next thing
    /// they get. `demand` as for [`Stream::passing`].
    pub fn republish(&mut self, demand: Option<Demand>) {
        self.ask_for_no_runs();
        self.demand = demand;
        self.ask_for_runs();
        self.tracks.reset();
        self.timeline.republish();
        (self.started, self.video_seen, self.audio_seen, self.joined) = (None, false, false, false);
        (self.last_words, self.last_video) = ((None, None), None);
        for log in &mut self.logs {
            log.writer.republish();
            if let Packager::Pass(packager) = &mut log.packager {
                packager.seam();
            }
        }
    }

    /// Configuration as of now.
    pub fn config(&mut self) -> Arc<ConfigSet> {
        self.tracks.snapshot()
    }

    /// Takes one frame to every log that wants it. `tag` is what its body says about itself, `None` if that cannot be read.
    pub fn append(&mut self, now: Mono, mut frame: Frame, tag: Option<Tag>) -> Appended {
        let Some(tag) = tag else { return Appended::Dropped(Dropped::Malformed) };
        if tag.packet == Packet::End && frame.kind != Kind::Data {
            // Encoders say so when they stop, but they may come back: players hear it when the stream ends.
            let last =
                if frame.kind == Kind::Video { &mut self.last_words.0 } else { &mut self.last_words.1 };
            *last = Some(frame);
            return Appended::Kept { config: false, mapped: Mapped::Kept, join: false };
        }
        let config = match self.tracks.observe(&frame, &tag) {
            Observed::Repeat => return Appended::Dropped(Dropped::Repeat),
            Observed::Refused => return Appended::Dropped(Dropped::Refused),
            Observed::New | Observed::Changed => true,
            Observed::Media => false,
        };
        let media = tag.is_coded();
        if media {
            self.started.get_or_insert(now);
        }
        match frame.kind {
            Kind::Video => self.video_seen |= media || config,
            Kind::Audio => self.audio_seen |= media || config,
            Kind::Data => {}
        }
        let join = self.is_join(now, &tag);
        self.joined |= join;
        let picture = media && frame.kind == Kind::Video;
        // Pictures that begin, or begin again after sound alone could be joined, begin with a keyframe.
        if (!self.joined && !config) || (picture && !join && !self.has_video(now) && tag.default_track) {
            return Appended::Dropped(Dropped::BeforeKeyframe);
        }
        if picture {
            self.last_video = Some(now);
        }
        let mapped = if media {
            let (dts_ms, mapped) = self.timeline.map(now, frame.kind, frame.dts_ms);
            frame.dts_ms = dts_ms;
            mapped
        } else {
            frame.dts_ms = self.timeline.now_ms();
            Mapped::Kept
        };
        let snapshot = self.tracks.snapshot();
        self.frames = self.frames.wrapping_add(1);
        let flags = flags_of(&tag, config, join);
        let config_then = join.then(|| snapshot.clone());
        let item = Item {
            media: Media::Frame(frame),
            flags,
            config_epoch: snapshot.epoch,
            number: self.frames,
            config: config_then,
        };
        let mut fits = true;
        for log in &mut self.logs {
            if log.wants(&item) {
                if log.backlog.is_empty() {
                    fits &= log.write(now, &item, &snapshot);
                } else {
                    log.backlog.push_back(item.clone());
                }
            }
            log.writer.evict(now, self.keep);
        }
        self.judge(now, &snapshot);
        self.flush.frame(&self.rule, now, tag.kind == Kind::Video);
        if !self.logs.iter().any(OpenLog::holds_gop) {
            self.gop.push(now, item, self.keep);
        }
        if !fits {
            return Appended::Dropped(Dropped::TooLarge);
        }
        Appended::Kept { config, mapped, join }
    }

    /// Tells the readers of a log when the publisher has come back with nothing that its format carries.
    fn judge(&mut self, now: Mono, config: &ConfigSet) {
        if !self.settled(now) {
            return;
        }
        let passes = self.demand.is_some();
        for log in self.logs.iter_mut().filter(|log| log.judged != config.epoch) {
            log.judged = config.epoch;
            if let Some(why) = runs::refusal(log.key, config, passes) {
                log.writer.unfit(why);
            }
        }
    }

    /// Whether pictures flow: one that is older than any GOP may be is no longer waited for.
    fn has_video(&self, now: Mono) -> bool {
        self.last_video.is_some_and(|at| now.since(at) <= self.keep.gop_age_max)
    }

    /// While pictures flow only keyframes join; without them any sound, once it is known that there are none.
    fn is_join(&self, now: Mono, tag: &Tag) -> bool {
        match tag.kind {
            Kind::Video => tag.is_join_video(),
            Kind::Audio => tag.is_coded() && !self.has_video(now) && self.silent_so_long(now),
            Kind::Data => false,
        }
    }

    /// Whether this publisher has had the time to send a keyframe.
    fn silent_so_long(&self, now: Mono) -> bool {
        let wait = if self.video_seen { NO_KEYFRAME } else { SETTLE };
        self.started.is_some_and(|at| now.since(at) >= wait)
    }

    /// Whether it is known which tracks this publisher has, so that a reader can be told.
    pub fn settled(&self, now: Mono) -> bool {
        self.started.is_some_and(|at| (self.video_seen && self.audio_seen) || now.since(at) >= SETTLE)
    }

    /// When [`Stream::settled`] turns true by itself; `Mono::NEVER` before the first frame.
    pub fn settles_at(&self) -> Mono {
        self.started.map_or(Mono::NEVER, |at| at + SETTLE)
    }

    /// Opens `key` for `reader`, or joins it. `new_id` is asked only for a log that is not open, and may refuse.
    ///
    /// # Errors
    /// There are too many logs, or this one would stay empty.
    pub fn subscribe(
        &mut self,
        now: Mono,
        key: LogKey,
        reader: CoreId,
        new_id: impl FnOnce() -> Option<LogId>,
    ) -> Result<LogSnapshot, NoLog> {
        let config = self.tracks.snapshot();
        if let Some(why) = runs::refusal(key, &config, self.demand.is_some()) {
            return Err(NoLog::Codecs(why));
        }
        let at = match self.logs.iter().position(|l| l.key == key) {
            Some(at) => at,
            None => {
                if self.logs.iter().filter(|l| l.key.format == key.format).count() >= LOGS_PER_FORMAT_MAX {
                    return Err(NoLog::TooMany);
                }
                self.open(now, key, new_id().ok_or(NoLog::TooMany)?);
                self.logs.len() - 1
            }
        };
        let log = self.logs.get_mut(at).ok_or(NoLog::TooMany)?;
        if !log.readers.contains(&reader) {
            log.readers.push(reader);
        }
        Ok(log.writer.snapshot())
    }

    fn open(&mut self, now: Mono, key: LogKey, id: LogId) {
        let mut log = OpenLog {
            key,
            packager: Packager::new(key, self.name.stream()),
            writer: LogWriter::new(id),
            backlog: VecDeque::new(),
            reassembled_bytes: 0,
            readers: Vec::new(),
            idle_since: now,
            judged: self.tracks.snapshot().epoch,
        };
        let mut source = match self.logs.iter().find(|l| l.holds_gop()) {
            Some(full) => Gop::from_log(full.key.format, &full.writer, self.keep),
            None => self.gop.clone(),
        };
        log.backlog = source.items.into_iter().filter(|i| log.wants(i)).collect();
        if !key.variant.video {
            // It can be joined at any sound: the newest will do.
            log.backlog.drain(..log.backlog.len().saturating_sub(1));
            source.join = source.join.map(|_| self.tracks.snapshot());
        }
        for item in &mut log.backlog {
            item.flags |= flags::LATE;
        }
        // The first entry makes the log joinable at once; the rest follows in slices.
        if source.join.is_some()
            && let Some(first) = log.backlog.pop_front()
        {
            // Larger than a segment may be: then it was not in a log either.
            let _fits = log.write(now, &first, &self.tracks.snapshot());
            self.flush.wake(&self.rule, now);
        }
        // Its first reader finds all this in the snapshot.
        drop(log.writer.take_news());
        self.logs.push(log);
        self.ask_for_runs();
        self.drop_held_gop();
    }

    /// Gives late logs a slice of their backlog; `clock` says when the slice is over. Returns whether more waits.
    pub fn catch_up(&mut self, until: Mono, clock: impl Fn() -> Mono) -> bool {
        if self.logs.iter().all(|l| l.backlog.is_empty()) {
            self.drop_held_gop();
            return false;
        }
        let snapshot = self.tracks.snapshot();
        for log in &mut self.logs {
            while let Some(item) = log.backlog.pop_front() {
                let _fits = log.write(item.complete_at(), &item, &snapshot);
                let now = clock();
                self.flush.wake(&self.rule, now);
                if now >= until {
                    return true;
                }
            }
        }
        self.drop_held_gop();
        false
    }

    /// The GOP cache is not needed while a log holds the same.
    fn drop_held_gop(&mut self) {
        if self.gop.join.is_some() && self.logs.iter().any(OpenLog::holds_gop) {
            self.gop = Gop::default();
        }
    }

    /// `reader` has no subscriber of `id` any more.
    pub fn unsubscribe(&mut self, now: Mono, id: LogId, reader: CoreId) {
        if let Some(log) = self.logs.iter_mut().find(|l| l.writer.shared().id == id) {
            log.readers.retain(|r| *r != reader);
            log.idle_since = now;
        }
    }

    /// Closes logs that nobody reads; `free` gets their ids back. Returns when to look again.
    pub fn close_idle(&mut self, now: Mono, mut free: impl FnMut(LogId)) -> Mono {
        let mut next = Mono::NEVER;
        let mut at = 0;
        while let Some(log) = self.logs.get(at) {
            if log.readers.is_empty() && now.since(log.idle_since) >= LOG_LINGER {
                let log = self.logs.swap_remove(at);
                if log.holds_gop() && !self.logs.iter().any(OpenLog::holds_gop) {
                    self.gop = Gop::from_log(log.key.format, &log.writer, self.keep);
                }
                free(log.writer.shared().id);
                self.ask_for_runs();
                continue;
            }
            if log.readers.is_empty() {
                next = next.min(log.idle_since + LOG_LINGER);
            }
            at += 1;
        }
        next
    }

    /// When readers should look next.
    pub fn flush_due(&self) -> Mono {
        self.flush.due()
    }

    /// Moves `flushed` of all logs; calls `ring` for every log whose readers should look.
    pub fn flush(&mut self, now: Mono, mut ring: impl FnMut(LogId, &[CoreId])) {
        let every_slot = self.rule.phases() > 1;
        for log in &mut self.logs {
            if log.writer.flush(now) || every_slot {
                ring(log.writer.shared().id, &log.readers);
            }
        }
        self.flush.done(&self.rule, now);
    }

    /// Takes what readers must be told before the next [`Stream::flush`].
    pub fn take_news(&mut self) -> impl Iterator<Item = LogNews> {
        self.logs.iter_mut().filter(|l| l.writer.has_news()).map(|l| LogNews {
            id: l.writer.shared().id,
            readers: l.readers.clone(),
            news: l.writer.take_news(),
        })
    }

    /// The stream is about to end: what was withheld, and what late logs still lack, is written. Flush behind it.
    pub fn finish(&mut self) {
        while self.catch_up(Mono::NEVER, || Mono::ZERO) {}
        let dts_ms = self.timeline.now_ms();
        let (config, (video, audio)) = (self.tracks.snapshot(), std::mem::take(&mut self.last_words));
        let flagged = [(video, flags::VIDEO), (audio, flags::AUDIO)];
        for (frame, flags) in flagged.into_iter().filter_map(|(frame, flags)| Some((frame?, flags))) {
            self.frames = self.frames.wrapping_add(1);
            let frame = Frame { dts_ms, ..frame };
            // Marked as configuration, which is never a join point.
            let flags = flags | flags::CONFIG;
            let (media, number) = (Media::Frame(frame), self.frames);
            let item = Item { media, flags, config_epoch: config.epoch, number, config: None };
            for log in self.logs.iter_mut().filter(|l| l.wants(&item)) {
                // Too large for a log: then it is no end of sequence that anybody knows.
                let _fits = log.write(item.complete_at(), &item, &config);
            }
        }
    }

    /// Readers are told that nothing follows. What they should send before must be flushed already: a reader that
    /// hears of the end first would take what it has for all.
    pub fn end(&mut self) {
        self.ask_for_no_runs();
        self.logs.iter_mut().for_each(|log| log.writer.end());
    }

    /// Identities of the open logs.
    pub fn log_ids(&self) -> impl Iterator<Item = LogId> {
        self.logs.iter().map(|l| l.writer.shared().id)
    }

    /// Bytes held in logs and GOP cache, with what their entries take.
    pub fn held_bytes(&self) -> u64 {
        let of = |log: &OpenLog| log.writer.retained_bytes() + log.packager.heap_bytes() as u64;
        self.logs.iter().map(of).sum::<u64>() + self.gop.bytes
    }

    /// Bytes copied into logs, or on the way from one to another, since the last call.
    pub fn take_copied_bytes(&mut self) -> u64 {
        let of = |l: &mut OpenLog| l.writer.take_copied_bytes() + std::mem::take(&mut l.reassembled_bytes);
        self.logs.iter_mut().map(of).sum()
    }
}

fn flags_of(tag: &Tag, config: bool, join: bool) -> u8 {
    let kind = match tag.kind {
        Kind::Video => flags::VIDEO,
        Kind::Audio => flags::AUDIO,
        Kind::Data => 0,
    };
    let extra =
        matches!((tag.kind, tag.packet), (Kind::Video, Packet::Metadata) | (Kind::Audio, Packet::Channels));
    kind | if config { flags::CONFIG } else { 0 }
        | if join { flags::JOIN } else { 0 }
        | if extra { flags::EXTRA } else { 0 }
}

impl OpenLog {
    /// Whether the newest GOP can be read back from this log.
    fn holds_gop(&self) -> bool {
        self.key.format.unpacks() && self.key.variant == Variant::FULL && self.backlog.is_empty()
    }

    fn wants(&self, item: &Item) -> bool {
        !self.takes_runs() && self.key.variant.carries(item.flags)
    }

    /// `newest` is the configuration as of now; an item without one of its own had no other, as far as is known.
    fn write(&mut self, now: Mono, item: &Item, newest: &Arc<ConfigSet>) -> bool {
        let Some((frame, copied)) = item.frame() else { return false };
        self.reassembled_bytes += copied;
        // Without its video a variant can be joined at any sound.
        let audio_joins =
            !self.key.variant.video && item.flags & (flags::AUDIO | flags::CONFIG) == flags::AUDIO;
        let about = About {
            config: item.config.as_ref().unwrap_or(newest),
            newest,
            config_epoch: item.config_epoch,
            join: item.flags & flags::JOIN != 0 || audio_joins,
        };
        let join = match self.packager.pack(&mut self.writer, &frame, about) {
            Packed::Entry { join } => join,
            Packed::Nothing => return true,
            Packed::TooLarge => return false,
        };
        let entry = Entry {
            dts_ms: frame.dts_ms,
            complete_us: frame.complete_at.as_micros(),
            config_epoch: item.config_epoch,
            number: item.number,
            flags: if join { item.flags | flags::JOIN } else { item.flags & !flags::JOIN },
            ..Entry::default()
        };
        let config = join.then(|| item.config.as_ref().unwrap_or(newest).clone());
        self.writer.commit(now, entry, config)
    }
}

#[cfg(test)]
mod tests;
