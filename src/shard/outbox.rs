//! What a core has to say to the others: commands that wait for room in a mailbox, and who is to be rung for them.

use super::bells::Bells;
use super::mailbox::{Command, Mailboxes};
use crate::fanout::stream::CoreId;
use std::collections::VecDeque;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<(CoreId, Command)>,
    /// To be rung at the end of the turn, each once.
    to_ring: Vec<CoreId>,
}

impl Outbox {
    /// Sends a command, now or as soon as its box has room.
    pub fn tell(&mut self, mailboxes: &Mailboxes, to: CoreId, command: Command) {
        self.ring_later(to);
        // Behind what waits for the same core: order matters.
        if self.waiting.iter().any(|(waits_for, _)| *waits_for == to) {
            return self.waiting.push_back((to, command));
        }
        if let Err(command) = mailboxes.send(to, command) {
            self.waiting.push_back((to, command));
        }
    }

    /// `to` is rung at the end of the turn.
    pub fn ring_later(&mut self, to: CoreId) {
        if !self.to_ring.contains(&to) {
            self.to_ring.push(to);
        }
    }

    /// Whether nothing waits for room.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tries again what waits; returns whether nothing does any more.
    pub fn post(&mut self, mailboxes: &Mailboxes) -> bool {
        let mut full: Vec<CoreId> = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some((to, command)) = self.waiting.pop_front() else { break };
            self.ring_later(to);
            let sent = if full.contains(&to) { Err(command) } else { mailboxes.send(to, command) };
            if let Err(command) = sent {
                full.push(to);
                self.waiting.push_back((to, command));
            }
        }
        self.waiting.is_empty()
    }

    /// Rings whoever is to be rung by core `own`; returns how many had to be woken.
    pub fn ring(&mut self, bells: &Bells, own: CoreId) -> u64 {
        let rung = self.to_ring.drain(..).filter(|core| *core != own && bells.ring(*core));
        rung.count() as u64
    }
}
