//! One way that a program comes: packets put in order, and made into frames. Two origins that are merged are one path.

use super::air::Health;
use super::passage::{Keep, Passage};
use crate::media::{Mono, Run};
use crate::proto::rtp_ts::{self, Receiver};
use crate::proto::ts::{self, Demux, Output, Role};
use std::time::Duration;

/// A unit whose end has not come for this long has none: the sender says how long pictures are by sending the next one.
const UNIT_WAIT: Duration = Duration::from_millis(500);
/// Sound alone is a place to begin with when pictures were announced and none came for this long.
const NO_PICTURES: Duration = Duration::from_secs(10);
/// The same when pictures come, and none to begin with: groups of pictures are shorter.
const NO_KEYFRAME: Duration = Duration::from_secs(30);
/// A path that brings nothing to begin with for this long is no use: longer than groups of pictures are.
const NO_START: Duration = Duration::from_secs(12);
/// A place among the packets is one to begin with where no frame was for this long, and no pictures are read.
const NO_FRAME: Duration = Duration::from_secs(2);
/// Sound alone comes in packets of up to half a second.
const SOUND_PAUSE: Duration = Duration::from_secs(1);
/// Some senders send in bursts (ffmpeg that copies a file): a pause as long as one of their last ones twice is none, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long pauses are remembered, at least.
const PAUSES_KEPT: Duration = Duration::from_secs(20);

/// See the module's description.
#[derive(Debug)]
pub(super) struct Path {
    options: rtp_ts::Options,
    /// None while no RTP came: it has memory.
    receiver: Option<Box<Receiver>>,
    demux: Demux,
    /// Where packets are passed on as they came.
    passage: Option<Box<Passage>>,
    /// It is passed on, whatever it is, and nothing else.
    relay: bool,
    failover: Duration,
    /// When the last packet of the program came, and how many there were.
    media_at: Option<Mono>,
    media: u64,
    pauses: Pauses,
    /// What waited for its end was ended.
    flushed: bool,
    alive: bool,
    clean_since: Option<Mono>,
    /// What was wrong so far.
    faults: u64,
    /// When a frame to begin with came last, or the path did.
    start_at: Mono,
    /// When it came, and whether there was a frame to begin with since.
    came_at: Mono,
    framed: bool,
    /// Since when there is sound and no picture, and how many pictures were left out until then.
    sound_since: Option<(Mono, u64)>,
}

/// The longest pause lately, of those that have ended.
#[derive(Debug)]
pub(super) struct Pauses {
    since: Mono,
    newer: Duration,
    older: Duration,
}

impl Pauses {
    pub fn new(now: Mono) -> Pauses {
        Pauses { since: now, newer: Duration::ZERO, older: Duration::ZERO }
    }

    pub fn ended(&mut self, now: Mono, pause: Duration) {
        if now.since(self.since) >= PAUSES_KEPT {
            (self.since, self.older, self.newer) = (now, self.newer, Duration::ZERO);
        }
        // What is longer is an interruption, not a habit.
        if pause <= PAUSE_MAX {
            self.newer = self.newer.max(pause);
        }
    }

    pub fn longest(&self) -> Duration {
        self.newer.max(self.older)
    }
}

/// What time or a datagram has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    No,
    /// The program comes, for the first time or again.
    Came,
    /// For `failover_ms` nothing of the program came.
    Lost,
}

impl Path {
    /// A path on which nothing came yet. `read` is what is taken of its transport stream; if that is all of it, packets are also
    /// passed on as they came.
    pub fn new(read: ts::Options, failover: Duration, options: rtp_ts::Options, now: Mono) -> Path {
        Path {
            options,
            receiver: None,
            demux: Demux::new(read, now),
            passage: read.all.then(|| Box::new(Passage::new(read.program))),
            relay: false,
            failover,
            media_at: None,
            media: 0,
            pauses: Pauses::new(now),
            flushed: true,
            alive: false,
            clean_since: None,
            faults: 0,
            start_at: now,
            came_at: now,
            framed: false,
            sound_since: None,
        }
    }

    /// Whatever comes lives, and is passed on alone.
    pub fn relayed(mut self, relay: bool) -> Path {
        self.relay = relay;
        self
    }

    /// Packets without anything around them.
    pub fn packets(&mut self, now: Mono, payload: &[u8]) -> Turn {
        self.demux.handle_datagram(now, payload);
        if let Some(passage) = &mut self.passage {
            passage.datagram(now, payload);
        }
        self.settle(now)
    }

    /// A datagram of RTP of leg `leg`.
    pub fn rtp(&mut self, leg: usize, now: Mono, datagram: &[u8]) -> Turn {
        let options = self.options;
        self.receiver.get_or_insert_with(|| Box::new(Receiver::new(options))).push(leg, now, datagram);
        self.drain(now)
    }

    /// A repair packet.
    pub fn repair(&mut self, now: Mono, datagram: &[u8]) -> Turn {
        if let Some(receiver) = &mut self.receiver {
            receiver.push_fec(now, datagram);
        }
        self.drain(now)
    }

    /// Time has passed.
    pub fn look(&mut self, now: Mono) -> Turn {
        let turn = self.drain(now);
        self.demux.handle_timeout(now);
        let silence = self.media_at.map_or(Duration::ZERO, |at| now.since(at));
        if silence >= UNIT_WAIT && !std::mem::replace(&mut self.flushed, true) {
            self.demux.flush(now);
        }
        // What waits for a repair, or for the other path, is not lost yet.
        if self.alive && silence >= self.patience() && self.held_until(now) == Mono::NEVER {
            (self.alive, self.clean_since, self.sound_since) = (false, None, None);
            self.demux.doubt();
            return Turn::Lost;
        }
        turn
    }

    /// Another sender begins.
    pub fn interrupt(&mut self, now: Mono) {
        self.demux.interrupt(now);
        if let Some(passage) = &mut self.passage {
            passage.interrupt(now);
        }
    }

    /// What is to be done with packets that are passed on.
    pub fn keep(&mut self, keep: Keep) {
        if let Some(passage) = &mut self.passage {
            passage.keep(keep);
        }
    }

    /// What is to be handed down next as it came.
    pub fn next_run(&mut self, now: Mono) -> Option<Run> {
        self.passage.as_mut()?.next_run(now)
    }

    /// What is handed down first.
    pub fn tables(&mut self, now: Mono) -> Option<Run> {
        self.passage.as_mut().map(|passage| passage.tables(now)).filter(|run| !run.packets.is_empty())
    }

    /// Bytes of packets since the last call, if they are passed on and the program comes.
    pub fn take_bytes(&mut self) -> Option<u64> {
        let bytes = self.passage.as_mut()?.take_bytes();
        self.alive.then_some(bytes)
    }

    /// Whether viewers can begin with a packet that came just now: where there is nothing that can be made into frames.
    pub fn begins_passing(&mut self, now: Mono) -> bool {
        let place = self.passage.as_mut().is_some_and(|passage| passage.take_place());
        if self.relay && place {
            self.start_at = now;
            return true;
        }
        if !place || !self.alive || self.framed || self.demux.has_video() {
            return false;
        }
        let waited = !self.demux.has_streams() || now.since(self.came_at) >= NO_FRAME;
        if waited {
            self.start_at = now;
        }
        waited
    }

    /// When [`Path::look`] is due.
    pub fn deadline(&self, now: Mono) -> Mono {
        let after = |open: bool, wait| self.media_at.filter(|_| open).map_or(Mono::NEVER, |at| at + wait);
        let held_until = self.held_until(now);
        let lost_at = after(self.alive && held_until == Mono::NEVER, self.patience());
        let flush_at = after(!self.flushed, UNIT_WAIT);
        lost_at.min(flush_at).min(held_until).min(self.demux.deadline())
    }

    /// Until when packets are held back.
    fn held_until(&self, now: Mono) -> Mono {
        self.receiver.as_ref().map_or(Mono::NEVER, |receiver| receiver.deadline(now))
    }

    /// How long nothing may come.
    fn patience(&self) -> Duration {
        let pause = if self.demux.has_video() { self.pauses.longest() * 2 } else { SOUND_PAUSE };
        self.failover.max(pause.min(PAUSE_MAX))
    }

    /// Whether its program comes.
    pub fn is_alive(&self) -> bool {
        self.alive
    }

    pub fn health(&self, now: Mono) -> Health {
        Health { alive: self.alive && now.since(self.start_at) < NO_START, clean_since: self.clean_since }
    }

    /// The next frame or event.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.demux.poll_output()
    }

    /// Whether viewers can begin with a frame of `role` that came at `now`.
    pub fn begins(&mut self, now: Mono, role: Role) -> bool {
        let begins = match role {
            Role::Key | Role::Picture => {
                self.sound_since = None;
                role == Role::Key
            }
            Role::Sound if self.demux.has_video() => {
                let tally = self.demux.tally();
                let left_out = tally.before_keyframe + tally.before_config;
                let (since, before) = *self.sound_since.get_or_insert((now, left_out));
                now.since(since) >= if left_out == before { NO_PICTURES } else { NO_KEYFRAME }
            }
            Role::Sound => true,
            Role::Config => false,
        };
        if begins {
            (self.start_at, self.framed) = (now, true);
        }
        begins
    }

    pub fn demux(&self) -> &Demux {
        &self.demux
    }

    /// What became of packets of RTP; nothing if none came.
    pub fn rtp_tally(&self) -> rtp_ts::Tally {
        self.receiver.as_ref().map(|receiver| *receiver.tally()).unwrap_or_default()
    }

    pub fn heap_bytes(&self) -> usize {
        let receiver = self.receiver.as_ref().map_or(0, |r| size_of::<Receiver>() + r.heap_bytes());
        let passage = self.passage.as_ref().map_or(0, |passage| size_of::<Passage>() + passage.heap_bytes());
        self.demux.heap_bytes() + receiver + passage
    }

    fn drain(&mut self, now: Mono) -> Turn {
        if let Some(receiver) = &mut self.receiver {
            while let Some(delivery) = receiver.pop(now) {
                let passage = self.passage.as_mut();
                if delivery.restart {
                    self.demux.interrupt(now);
                }
                self.demux.handle_datagram(now, delivery.payload);
                if let Some(passage) = passage {
                    if delivery.restart {
                        passage.interrupt(now);
                    }
                    passage.datagram(now, delivery.payload);
                }
            }
        }
        self.settle(now)
    }

    /// Takes note of what was counted since.
    fn settle(&mut self, now: Mono) -> Turn {
        let faults = faults(self.demux.tally()) + self.receiver.as_ref().map_or(0, |r| r.tally().lost);
        // Of what is only passed on every packet counts: it may be scrambled, or of any kind.
        let tally = self.demux.tally();
        let media = if self.relay { tally.packets } else { tally.media };
        let came = std::mem::replace(&mut self.media, media) != self.media;
        let faulty = std::mem::replace(&mut self.faults, faults) != faults;
        if came {
            let before = self.media_at.replace(now);
            self.pauses.ended(now, before.map_or(Duration::ZERO, |at| now.since(at)));
            self.flushed = false;
        }
        if (came && !self.alive) || (faulty && self.alive) {
            self.clean_since = Some(now);
        }
        if came && !std::mem::replace(&mut self.alive, true) {
            (self.start_at, self.came_at, self.framed) = (now, now, false);
            return Turn::Came;
        }
        Turn::No
    }
}

/// What makes a path no clean one.
fn faults(tally: &ts::Tally) -> u64 {
    tally.errors + tally.malformed + tally.lost + tally.damaged + tally.too_large + tally.crc
}
