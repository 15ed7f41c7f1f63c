//! The streams that live on this core, and their publishers.

use super::conn::{Role, State};
use super::core::Core;
use super::engine::{Backend, Key};
use super::mailbox::{Command, Hosted, NotOpened};
use super::timers::Timer;
use super::{Answer, App};
use crate::fanout::directory::{Claim, StreamId, StreamName, StreamStats};
use crate::fanout::log::{Format, LogId, LogKey};
use crate::fanout::stream::{Appended, CoreId, Dropped, Stream};
use crate::fanout::timeline::Mapped;
use crate::media::tag::{self, Tag};
use crate::media::{Demand, Frame, Kind, Mono, Packet, Run};
use crate::observe::{CopyStage, DisconnectReason, DropReason, FrameKind, Stage};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Media that waits while its stream moves here, in bytes.
const TRANSIT_BYTES_MAX: usize = 4 << 20;
/// A slice of a late log's backlog.
const CATCH_UP: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Home {
    hosted: Box<Hosted>,
    publisher: Option<Key>,
    /// When to look at it for another reason than its own deadlines: an idle log, a log's backlog.
    look_at: Mono,
    /// The earliest entry in the timer queue; later ones that fire are stale.
    armed_at: Mono,
}

/// A stream that another core still has.
#[derive(Debug, Default)]
struct Awaited {
    publisher: Option<Key>,
    epoch: u32,
    /// Claims of this core that have sent for it. Each is answered: the stream comes, or [`Command::Superseded`].
    asked: Vec<u32>,
    frames: VecDeque<(Frame, Option<Tag>)>,
    /// The publisher has a transport stream of its own.
    runs: Option<Demand>,
    bytes: usize,
    /// It was claimed away again before it came: by whom, and the number of that claim.
    forward: Option<(CoreId, u32)>,
    subscribes: Vec<(StreamName, LogKey, CoreId)>,
    unsubscribes: Vec<(LogId, CoreId)>,
    /// A frame was dropped for want of room: until the next keyframe the rest is of no use.
    broken: bool,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Homes {
    homes: HashMap<StreamId, Home>,
    awaited: HashMap<StreamId, Awaited>,
}

impl Homes {
    pub fn len(&self) -> usize {
        self.homes.len()
    }

    /// Streams that another core still has.
    #[cfg(test)]
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    pub fn held_bytes(&self) -> u64 {
        self.homes.values().map(|h| h.hosted.stream.held_bytes()).sum()
    }
}

impl<B: Backend, A: App> Core<B, A> {
    pub(super) fn publish(&mut self, now: Mono, key: Key, name: StreamName, runs: Option<Demand>) {
        let limits = self.shared.limits;
        let Some(slot) = self.conns.get(key).filter(|slot| slot.hot.state == State::Open) else { return };
        if !slot.cold.as_ref().is_some_and(|c| matches!(c.role, Role::None)) {
            return self.close(now, key, DisconnectReason::ProtocolError);
        }
        let claim = match self.shared.directory.claim(&name, self.id, now, limits.takeover) {
            Ok(claim) => claim,
            Err(refused) => {
                return self.ask(now, key, |app, peer, io| {
                    app.answer(peer, now, Answer::PublishRefused(refused), io)
                });
            }
        };
        if let Some(cold) = self.conns.get(key).and_then(|slot| slot.cold.as_mut()) {
            let silent_at = now + limits.silence;
            cold.role =
                Role::Publisher { stream: claim.id, name: name.clone(), epoch: claim.epoch, silent_at };
            self.observed.metrics.publishers[cold.protocol].inc();
        }
        claim.stats.passes.store(runs.is_some(), Ordering::Relaxed);
        self.take_stream(now, key, &name, &claim, runs);
        self.ask(now, key, |app, peer, io| app.answer(peer, now, Answer::Publishing, io));
        self.arm(key);
    }

    /// Gets the stream of a claim: makes it, takes it over on this core, or sends for it.
    fn take_stream(&mut self, now: Mono, key: Key, name: &StreamName, claim: &Claim, runs: Option<Demand>) {
        if let Some((stream, home)) = claim.displaced {
            self.observed.metrics.streams_displaced.inc();
            self.tell(home, Command::Displaced { stream });
        }
        if claim.from.is_none() {
            let hosted = Box::new(Hosted {
                name: name.clone(),
                stream: Stream::new(name.clone(), self.shared.rule, self.shared.keep).passing(runs),
                epoch: claim.epoch,
                stats: claim.stats.clone(),
                ends_at: Mono::NEVER,
                displaced: false,
                early: Vec::new(),
            });
            let home = Home { hosted, publisher: Some(key), look_at: Mono::NEVER, armed_at: Mono::NEVER };
            self.homes.homes.insert(claim.id, home);
            for core in 0..self.shared.mailboxes.cores() {
                if core != self.id {
                    self.tell(core, Command::Published(name.clone()));
                }
            }
            return self.published(now, name);
        }
        if let Some(home) = self.homes.homes.get_mut(&claim.id).filter(|_| claim.from == Some(self.id)) {
            home.hosted.stream.republish(runs);
            (home.hosted.epoch, home.hosted.ends_at) = (claim.epoch, Mono::NEVER);
            let old = home.publisher.replace(key);
            // It may have been claimed away and back without ever leaving: nobody waits for it any more.
            let awaited = self.homes.awaited.remove(&claim.id).unwrap_or_default();
            for old in old.into_iter().chain(awaited.publisher) {
                self.close(now, old, DisconnectReason::Takeover);
            }
            if let Some((to, epoch)) = awaited.forward {
                self.tell(to, Command::Superseded { stream: claim.id, epoch });
            }
            return;
        }
        let awaited = self.homes.awaited.entry(claim.id).or_default();
        let old = awaited.publisher.replace(key);
        awaited.epoch = claim.epoch;
        awaited.runs = runs;
        let passed_over = awaited.forward.take();
        awaited.frames.clear();
        (awaited.bytes, awaited.broken) = (0, false);
        let from = claim.from.filter(|from| *from != self.id);
        if from.is_some() {
            awaited.asked.push(claim.epoch);
        }
        if let Some(old) = old {
            self.close(now, old, DisconnectReason::Takeover);
        }
        if let Some(from) = from {
            self.tell(from, Command::Surrender { stream: claim.id, to: self.id, epoch: claim.epoch });
        }
        if let Some((to, epoch)) = passed_over {
            self.tell(to, Command::Superseded { stream: claim.id, epoch });
        }
    }

    pub(super) fn frame(&mut self, now: Mono, key: Key, frame: Frame) {
        let silence = self.shared.limits.silence;
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        let protocol = cold.protocol;
        let Role::Publisher { stream, epoch, silent_at, .. } = &mut cold.role else { return };
        let tag = tag::inspect(frame.kind, &frame.body).ok();
        let media = tag.is_some_and(|tag| tag.brings_media(&frame.body));
        // Who sends headers and what cannot be read, and nothing to see or hear, is as good as silent.
        if media {
            *silent_at = now + silence;
        }
        let (id, epoch) = (*stream, *epoch);
        let metrics = &self.observed.metrics;
        metrics.frames[frame_kind(frame.kind)].inc();
        metrics.payload_copied_bytes[CopyStage::Ingest].add(frame.body.len() as u64);
        if let Some(awaited) = self.homes.awaited.get_mut(&id).filter(|a| a.epoch == epoch) {
            // What is dropped here is dropped to the next keyframe; configuration stays.
            let join = tag.is_some_and(|tag| tag.is_join_video());
            let config = tag.is_some_and(|tag| tag.packet == Packet::Config);
            awaited.broken &= !join;
            let full = awaited.bytes + frame.body.len() > TRANSIT_BYTES_MAX;
            if full || (awaited.broken && !config) {
                awaited.broken = true;
                metrics.frames_dropped[DropReason::TransitFull].inc();
            } else {
                awaited.bytes += frame.body.len();
                awaited.frames.push_back((frame, tag));
            }
            return;
        }
        if self.homes.homes.get(&id).is_none_or(|home| home.hosted.epoch != epoch) {
            metrics.frames_dropped[DropReason::OldEpoch].inc();
            return;
        }
        let complete_at = frame.complete_at;
        self.histograms.record_us(Stage::Ingest, protocol, complete_at.micros_since(frame.first_byte_at));
        self.append(now, id, frame, tag, media);
        self.histograms.record_us(Stage::Append, protocol, self.backend.now().micros_since(complete_at));
    }

    /// A publisher has packets: a run of them, or `bytes` that nobody wants.
    pub(super) fn run_of(&mut self, now: Mono, key: Key, run: Option<Run>, bytes: u64) {
        let silence = self.shared.limits.silence;
        let Some(cold) = self.conns.get(key).and_then(|slot| slot.cold.as_mut()) else { return };
        let protocol = cold.protocol;
        let Role::Publisher { stream, epoch, silent_at, .. } = &mut cold.role else { return };
        // Null packets are runs too: that it lives a publisher without frames says itself.
        if run.is_none() {
            *silent_at = now + silence;
        }
        let (id, epoch) = (*stream, *epoch);
        // What comes while the stream is on its way here is not kept: it is asked for when the stream has come.
        let Some(home) = self.homes.homes.get_mut(&id).filter(|home| home.hosted.epoch == epoch) else {
            return;
        };
        let stats = &home.hosted.stats;
        if run.is_none() {
            stats.last_media_us.store(now.as_micros(), Ordering::Relaxed);
        }
        let copied = run.as_ref().map_or(0, |run| run.packets.len() as u64);
        // Of a stream with frames they are what is counted.
        if stats.frames_in.load(Ordering::Relaxed) == 0 {
            StreamStats::add(&stats.bytes_in, bytes + copied);
        }
        match run {
            None => home.hosted.stream.lives(now),
            Some(run) => {
                let metrics = &self.observed.metrics;
                metrics.runs.inc();
                metrics.payload_copied_bytes[CopyStage::Ingest].add(copied);
                if !home.hosted.stream.append_run(now, &run) {
                    metrics.frames_dropped[DropReason::TooLarge].inc();
                }
                metrics.payload_copied_bytes[CopyStage::Append].add(home.hosted.stream.take_copied_bytes());
                let waited_us = run.complete_at.micros_since(run.first_byte_at);
                self.histograms.record_us(Stage::Ingest, protocol, waited_us);
                let appended_us = self.backend.now().micros_since(run.complete_at);
                self.histograms.record_us(Stage::Append, protocol, appended_us);
            }
        }
        self.arm_stream(id);
    }

    /// `media` is whether the frame has something to see or hear.
    fn append(&mut self, now: Mono, id: StreamId, frame: Frame, tag: Option<Tag>, media: bool) {
        let Some(home) = self.homes.homes.get_mut(&id) else { return };
        let metrics = &self.observed.metrics;
        let stats = &home.hosted.stats;
        StreamStats::add(&stats.bytes_in, frame.body.len() as u64);
        StreamStats::add(&stats.frames_in, 1);
        if media {
            stats.last_media_us.store(now.as_micros(), Ordering::Relaxed);
        }
        let video = frame.kind == Kind::Video;
        match home.hosted.stream.append(now, frame, tag) {
            Appended::Kept { config, mapped, join } => {
                if mapped == Mapped::Rebased {
                    metrics.timestamps_rebased.inc();
                }
                if join && video {
                    StreamStats::add(&stats.keyframes, 1);
                }
                if config {
                    stats.set_config(home.hosted.stream.config());
                }
            }
            Appended::Dropped(Dropped::Repeat) => metrics.config_repeats_dropped.inc(),
            Appended::Dropped(why) => metrics.frames_dropped[drop_reason(why)].inc(),
        }
        metrics.payload_copied_bytes[CopyStage::Append].add(home.hosted.stream.take_copied_bytes());
        self.arm_stream(id);
    }

    /// Makes sure that the timer queue has an entry for the stream's next deadline.
    fn arm_stream(&mut self, id: StreamId) {
        let Some(home) = self.homes.homes.get_mut(&id) else { return };
        let mut at = home.hosted.stream.flush_due().min(home.hosted.ends_at).min(home.look_at);
        if !home.hosted.early.is_empty() {
            at = at.min(home.hosted.stream.settles_at());
        }
        if at < home.armed_at {
            home.armed_at = at;
            self.timers.push(at, Timer::Stream(id));
        }
    }

    pub(super) fn stream_due(&mut self, now: Mono, id: StreamId) {
        let Some(home) = self.homes.homes.get_mut(&id) else { return };
        if now < home.armed_at {
            return;
        }
        home.armed_at = Mono::NEVER;
        if now >= home.hosted.ends_at {
            if self.shared.directory.end(&home.hosted.name, id, home.hosted.epoch) {
                return self.end_stream(now, id);
            }
            // Somebody claimed it in this moment and will send for it.
            home.hosted.ends_at = Mono::NEVER;
        }
        if !home.hosted.early.is_empty() && home.hosted.stream.settled(now) {
            let name = home.hosted.name.clone();
            for (key, reader) in std::mem::take(&mut home.hosted.early) {
                self.subscribed(now, id, name.clone(), key, reader);
            }
        }
        let Some(home) = self.homes.homes.get_mut(&id) else { return };
        let behind = home.hosted.stream.catch_up(now + CATCH_UP, || self.backend.now());
        if home.hosted.stream.flush_due() <= now {
            self.flush(now, id);
        }
        let directory = &self.shared.directory;
        if let Some(home) = self.homes.homes.get_mut(&id) {
            let idle_at = home.hosted.stream.close_idle(now, |log| directory.free_log(log));
            home.look_at = if behind { now } else { idle_at };
        }
        self.arm_stream(id);
    }

    /// Tells readers what is new and lets them look.
    fn flush(&mut self, now: Mono, id: StreamId) {
        let Some(home) = self.homes.homes.get_mut(&id) else { return };
        let news: Vec<_> = home.hosted.stream.take_news().collect();
        for log in news {
            for reader in log.readers {
                let news = log.news.clone();
                if reader == self.id {
                    self.news(now, id, log.id, news);
                } else {
                    self.tell(reader, Command::News { stream: id, log: log.id, news });
                }
            }
        }
        let Some(home) = self.homes.homes.get_mut(&id) else { return };
        let (own, shared, outbox) = (self.id, &self.shared, &mut self.outbox);
        // Taken, because what follows a look may flush.
        let mut local = std::mem::take(&mut self.spare_logs);
        home.hosted.stream.flush(now, |log, readers| {
            for reader in readers {
                if *reader != own {
                    shared.bells.mark(own, *reader, log);
                    outbox.ring_later(*reader);
                } else {
                    local.push(log);
                }
            }
        });
        for log in local.drain(..) {
            self.look(now, log);
        }
        self.spare_logs = local;
    }

    pub(super) fn unpublish(&mut self, now: Mono, key: Key) {
        let Some(slot) = self.conns.get(key) else { return };
        let Some(cold) = &mut slot.cold else { return };
        if !matches!(cold.role, Role::Publisher { .. }) {
            return;
        }
        let Role::Publisher { stream, name, epoch, .. } = std::mem::take(&mut cold.role) else { return };
        self.observed.metrics.publishers[cold.protocol].dec();
        // False: another publisher has the name, and the stream is its business.
        if !self.shared.directory.unpublish(now, &name, stream, epoch) {
            return;
        }
        let ends_at = now + self.shared.limits.grace;
        if let Some(awaited) = self.homes.awaited.get_mut(&stream).filter(|a| a.epoch == epoch) {
            awaited.publisher = None;
        } else if let Some(home) = self.homes.homes.get_mut(&stream) {
            home.publisher = None;
            home.hosted.ends_at = ends_at;
            self.arm_stream(stream);
        }
    }

    /// The stream made room for another one. One that is on its way here, perhaps from here, ends with the grace that
    /// begins when it comes.
    pub(super) fn displaced(&mut self, now: Mono, id: StreamId) {
        if self.homes.awaited.contains_key(&id) {
            return;
        }
        if let Some(home) = self.homes.homes.get_mut(&id) {
            (home.hosted.ends_at, home.hosted.displaced) = (now, true);
            self.arm_stream(id);
        }
    }

    fn end_stream(&mut self, now: Mono, id: StreamId) {
        if let Some(home) = self.homes.homes.get_mut(&id) {
            home.hosted.stream.finish();
        }
        self.flush(now, id);
        if let Some(home) = self.homes.homes.get_mut(&id) {
            home.hosted.stream.end();
            self.app.stream_ended(now, &home.hosted.name, home.hosted.displaced);
        }
        self.flush(now, id);
        let Some(mut home) = self.homes.homes.remove(&id) else { return };
        let name = home.hosted.name.clone();
        for (key, reader) in std::mem::take(&mut home.hosted.early) {
            self.reply(now, reader, Command::Refused { name: name.clone(), key, why: NotOpened::Gone });
        }
        self.ended_logs.extend(home.hosted.stream.log_ids());
    }

    /// Publisher `epoch`, on core `to`, claimed the stream: close the old one, give it away. Claims are numbered by the
    /// directory; the stream goes from claim to claim, but may skip those that were older than one made here meanwhile.
    pub(super) fn surrender(&mut self, now: Mono, id: StreamId, to: CoreId, epoch: u32) {
        let held = self.homes.homes.get(&id).map(|home| home.hosted.epoch);
        let newest = held.max(self.homes.awaited.get(&id).map(|awaited| awaited.epoch));
        if held.is_some_and(|held| held < epoch) {
            // What readers were told from here must arrive before what they are told from there.
            self.flush(now, id);
            let Some(home) = self.homes.homes.remove(&id) else { return };
            if let Some(old) = home.publisher {
                self.close(now, old, DisconnectReason::Takeover);
            }
            return self.tell(to, Command::Arrive { stream: id, hosted: home.hosted });
        }
        if newest.is_some_and(|newest| newest > epoch) {
            // It was claimed back since, and stays here, or comes to stay.
            return self.tell(to, Command::Superseded { stream: id, epoch });
        }
        // It is still on its way here, or was displaced and is over.
        let Some(awaited) = self.homes.awaited.get_mut(&id) else {
            return self.tell(to, Command::Superseded { stream: id, epoch });
        };
        awaited.forward = Some((to, epoch));
        awaited.frames.clear();
        awaited.bytes = 0;
        let old = awaited.publisher.take();
        for (name, key, reader) in std::mem::take(&mut awaited.subscribes) {
            self.reply(now, reader, Command::Refused { name, key, why: NotOpened::Gone });
        }
        if let Some(old) = old {
            self.close(now, old, DisconnectReason::Takeover);
        }
        self.give_up_awaited(now, id);
    }

    /// The stream does not come for claim `epoch`.
    pub(super) fn superseded(&mut self, now: Mono, id: StreamId, epoch: u32) {
        if let Some(awaited) = self.homes.awaited.get_mut(&id) {
            awaited.asked.retain(|asked| *asked != epoch);
            self.give_up_awaited(now, id);
        }
    }

    /// A stream that comes for no claim of this core is not waited for: it was claimed away, and is not waited for there
    /// either, or it was displaced and is over.
    fn give_up_awaited(&mut self, now: Mono, id: StreamId) {
        if self.homes.awaited.get(&id).is_none_or(|awaited| !awaited.asked.is_empty()) {
            return;
        }
        let Some(awaited) = self.homes.awaited.remove(&id) else { return };
        if let Some((to, epoch)) = awaited.forward {
            self.tell(to, Command::Superseded { stream: id, epoch });
        }
        for (name, key, reader) in awaited.subscribes {
            self.reply(now, reader, Command::Refused { name, key, why: NotOpened::Gone });
        }
        if let Some(publisher) = awaited.publisher {
            self.close(now, publisher, DisconnectReason::Takeover);
        }
    }

    pub(super) fn arrive(&mut self, now: Mono, id: StreamId, mut hosted: Box<Hosted>) {
        let awaited = self.homes.awaited.remove(&id);
        let awaited = awaited.unwrap_or_else(|| Awaited { epoch: hosted.epoch, ..Awaited::default() });
        if let Some((to, _)) = awaited.forward {
            return self.tell(to, Command::Arrive { stream: id, hosted });
        }
        if awaited.publisher.is_some() || !awaited.frames.is_empty() {
            hosted.stream.republish(awaited.runs);
        }
        hosted.epoch = awaited.epoch;
        hosted.ends_at = match awaited.publisher {
            Some(_) => Mono::NEVER,
            None => now + self.shared.limits.grace,
        };
        let name = hosted.name.clone();
        let publisher = awaited.publisher;
        let home = Home { hosted, publisher, look_at: now, armed_at: Mono::NEVER };
        self.homes.homes.insert(id, home);
        tracing::info!(stream = name.to_string(), core = self.id, "stream moved to its publisher's core");
        for (frame, tag) in awaited.frames {
            let media = tag.is_some_and(|tag| tag.brings_media(&frame.body));
            self.append(now, id, frame, tag, media);
        }
        for (log, reader) in awaited.unsubscribes {
            self.unsubscribed(now, id, log, reader);
        }
        for (name, key, reader) in awaited.subscribes {
            self.subscribed(now, id, name, key, reader);
        }
        self.arm_stream(id);
    }

    /// `reader` wants a log of a stream that should be here.
    pub(super) fn subscribed(
        &mut self,
        now: Mono,
        id: StreamId,
        name: StreamName,
        key: LogKey,
        reader: CoreId,
    ) {
        let Some(home) = self.homes.homes.get_mut(&id) else {
            if let Some(awaited) = self.homes.awaited.get_mut(&id).filter(|a| a.forward.is_none()) {
                awaited.subscribes.push((name, key, reader));
                return;
            }
            return self.reply(now, reader, Command::Refused { name, key, why: NotOpened::Gone });
        };
        // Packets that are passed on are there whatever they are.
        if !home.hosted.stream.settled(now) && key.format != Format::Pass {
            home.hosted.early.push((key, reader));
            return self.arm_stream(id);
        }
        // Readers must not hear twice of what the snapshot holds.
        self.flush(now, id);
        let directory = &self.shared.directory;
        let Some(home) = self.homes.homes.get_mut(&id) else { return };
        let command = match home.hosted.stream.subscribe(now, key, reader, || directory.new_log()) {
            Ok(snapshot) => Command::Opened { name, key, snapshot },
            Err(why) => Command::Refused { name, key, why: NotOpened::Refused(why) },
        };
        // A log that opened now has a backlog.
        home.look_at = now;
        self.arm_stream(id);
        self.reply(now, reader, command);
    }

    pub(super) fn unsubscribed(&mut self, now: Mono, id: StreamId, log: LogId, reader: CoreId) {
        if let Some(home) = self.homes.homes.get_mut(&id) {
            home.hosted.stream.unsubscribe(now, log, reader);
            home.look_at = now;
            self.arm_stream(id);
        } else if let Some(awaited) = self.homes.awaited.get_mut(&id).filter(|a| a.forward.is_none()) {
            awaited.unsubscribes.push((log, reader));
        } else if self.shared.directory.home_of(id).is_some() {
            // It left this core before the word came. Passed on, the word could overtake a newer subscription: the
            // reader itself is to say whether it still holds.
            self.tell(reader, Command::Unsubscribe { stream: id, log, reader });
        }
    }

    fn reply(&mut self, now: Mono, reader: CoreId, command: Command) {
        match command {
            Command::Opened { name, key, snapshot } if reader == self.id => {
                self.opened(now, name, key, snapshot);
            }
            // By the mailbox, also to this core: whoever is refused looks again, and must not do so in here.
            command => self.tell(reader, command),
        }
    }
}

fn frame_kind(kind: Kind) -> FrameKind {
    match kind {
        Kind::Audio => FrameKind::Audio,
        Kind::Video => FrameKind::Video,
        Kind::Data => FrameKind::Data,
    }
}

fn drop_reason(why: Dropped) -> DropReason {
    match why {
        Dropped::Malformed | Dropped::Repeat => DropReason::Malformed,
        Dropped::Refused => DropReason::ConfigRefused,
        Dropped::BeforeKeyframe => DropReason::BeforeKeyframe,
        Dropped::TooLarge => DropReason::TooLarge,
    }
}
