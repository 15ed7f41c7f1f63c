//! The clerk: one thread that does what may have to wait for the kernel's network lock, so that no core does.
//!
//! It has the machine's links, opens and joins the sockets of inputs and hands them to their cores, tells the sockets of
//! channels the number of an interface that was made anew, and announces channels. To the cores it is a post behind them
//! that follows no stream: it has a mailbox and a bell. It wakes when the kernel says that a link has changed, when a core
//! has something to say, and when something is due.

use crate::egress::multicast::{Announcer, Outlets};
use crate::fanout::stream::CoreId;
use crate::ingest::udp::Ears;
use crate::media::Mono;
use crate::shard::core::Shared;
use crate::shard::engine::clock;
use crate::shard::links::Links;
use crate::shard::mailbox::Command;
use crate::shard::outbox::Outbox;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often links are looked at though the kernel has said nothing.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two looks, however much the kernel says: who makes a thousand interfaces says a thousand things.
const LOOK_GAP: Duration = Duration::from_millis(50);
/// How often it is looked which announcements are due.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(500);
/// How soon a full mailbox is tried again.
const POST_AGAIN: Duration = Duration::from_millis(10);

/// See the module's description.
pub(super) struct Clerk {
    pub links: Links,
    pub outlets: Outlets,
    pub announcer: Announcer,
    pub ears: Ears,
}

/// What a turn needs beside what the clerk looks after.
struct Desk {
    id: CoreId,
    shared: Arc<Shared>,
    bell: OwnedFd,
    outbox: Outbox,
    look_at: Mono,
    /// Not before the kernel's events are looked at again.
    events_at: Mono,
    announce_at: Mono,
}

impl Clerk {
    /// Works on this thread, as post `id`, until it is told to stop.
    ///
    /// # Errors
    /// The bell cannot be had, or waiting fails.
    pub fn run(mut self, id: CoreId, shared: Arc<Shared>) -> io::Result<()> {
        let bell = shared.bells.eventfd(id)?;
        let now = clock();
        let (look_at, outbox) = (now + LOOK_EVERY, Outbox::default());
        let mut desk = Desk { id, shared, bell, outbox, look_at, events_at: now, announce_at: now };
        while self.turn(&mut desk, clock()) {
            let due = desk.look_at.min(desk.announce_at).min(self.ears.deadline());
            desk.wait(&self.links, due)?;
        }
        self.ears.end();
        self.announcer.end(&self.links);
        Ok(())
    }

    /// Does what is to be done; false if that is to stop.
    fn turn(&mut self, desk: &mut Desk, now: Mono) -> bool {
        while let Some(command) = desk.shared.mailboxes.take(desk.id) {
            match command {
                Command::SocketFailed { id, error, closed } => self.ears.failed(now, id, error, closed),
                Command::Drain => return false,
                // Nobody else writes here.
                _ => {}
            }
        }
        let due = now >= desk.look_at;
        let changed = match due {
            true => self.links.look(),
            false => now >= desk.events_at && self.links.look_if_changed(),
        };
        if due || changed {
            desk.events_at = clock() + LOOK_GAP;
            self.outlets.look(&self.links);
        }
        if due || self.links.is_behind() {
            desk.look_at = clock() + if self.links.is_behind() { LOOK_GAP } else { LOOK_EVERY };
        }
        let (outbox, mailboxes) = (&mut desk.outbox, &desk.shared.mailboxes);
        self.ears.look(clock, &self.links, |core, command| outbox.tell(mailboxes, core, command));
        // The cores hear of it at once: announcing may wait for the kernel.
        desk.outbox.post(&desk.shared.mailboxes);
        desk.outbox.ring(&desk.shared.bells, desk.id);
        if changed {
            self.announcer.links_changed(clock(), &self.links);
        }
        if changed || now >= desk.announce_at {
            desk.announce_at = clock() + ANNOUNCE_EVERY;
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            self.announcer.beat(clock(), since.map_or(0, |since| since.as_secs()), &self.links);
        }
        true
    }
}

impl Desk {
    /// Until `due`, until a core rings, or until the kernel says that a link has changed.
    fn wait(&self, links: &Links, due: Mono) -> io::Result<()> {
        let Shared { bells, mailboxes, .. } = &*self.shared;
        if !bells.sleep(self.id, || !mailboxes.is_empty(self.id)) {
            return Ok(());
        }
        let now = clock();
        let due = if self.outbox.is_empty() { due } else { due.min(now + POST_AGAIN) };
        // Until events are looked at again they do not wake it.
        let deaf = now < self.events_at;
        let due = if deaf { due.min(self.events_at) } else { due };
        // One more: a wait that ends too early by less than its unit would spin until it is due.
        let wait = Duration::from_micros(due.micros_since(now) + 1);
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let mut polled = vec![PollFd::new(&self.bell, PollFlags::IN)];
        let events = links.events().filter(|_| !deaf);
        polled.extend(events.as_ref().map(|events| PollFd::new(events, PollFlags::IN)));
        let result = poll(&mut polled, Some(&wait));
        bells.awake(self.id);
        match result {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // The machine is short of memory for a moment.
            Err(rustix::io::Errno::NOMEM | rustix::io::Errno::AGAIN) => {
                std::thread::sleep(POST_AGAIN);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        if polled.first().is_some_and(|bell| !bell.revents().is_empty()) {
            rustix::io::read(&self.bell, &mut [0; 8])?;
        }
        Ok(())
    }
}
