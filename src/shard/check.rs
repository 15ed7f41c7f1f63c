//! What must hold between two turns of a core; for the simulation.

use super::App;
use super::conn::Flight;
use super::core::Core;
use super::engine::Backend;
use super::timers::Timer;
use crate::fanout::log::Pos;
use crate::media::Mono;

impl<B: Backend, A: App> Core<B, A> {
    /// The backend, for who plays the kernel.
    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// See [`Core::backend`].
    pub(crate) fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// When a sleeping core wakes by itself.
    pub(crate) fn wakes_at(&self) -> Mono {
        self.timers.next_at()
    }

    /// A sleeping core would miss something that was left for it before this turn's end.
    pub(crate) fn misses_a_bell(&self) -> bool {
        self.shared.bells.pending(self.id)
            || !self.shared.mailboxes.is_empty(self.id)
            || self.app.shedding() != self.shedding
    }

    /// Every send of a log reads a segment that is still held.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        for key in self.conns.keys() {
            let Some(slot) = self.conns.get(key) else { continue };
            if slot.hot.flight != Flight::Run {
                continue;
            }
            let (at, Pos { seg, .. }) = (slot.hot.reader, slot.hot.cursor.pos);
            let view = self.readers.get(at).and_then(|r| r.log.view.as_ref());
            if view.and_then(|view| view.cursor_at(Pos { seg, entry: 0 })).is_none() {
                return Err(format!("{key:?} sends from segment {seg}, which is gone"));
            }
        }
        Ok(())
    }

    /// Nobody is connected and every stream has ended: then nothing is left of them.
    pub(crate) fn check_empty(&mut self) -> Result<(), String> {
        let (connections, streams) = (self.conns.used() as usize, self.homes.len());
        let [logs, waiting] = [self.readers.open(), self.readers.wanted.players()];
        let timers = std::mem::take(&mut self.timers).take_due(Mono::from_micros(u64::MAX - 1));
        let timers = timers.iter().filter(|t| matches!(t, Timer::Stream(_))).count();
        let pinned = self.readers.pinned_bytes() as usize;
        let metrics = &self.observed.metrics;
        let gauges = [
            ("connections", metrics.connections.get()),
            ("publishers", metrics.publishers.iter().map(|(_, g)| g.get()).sum()),
            ("subscribers", metrics.subscribers.iter().map(|(_, g)| g.get()).sum()),
        ];
        let left = [
            ("connections", connections),
            ("streams", streams),
            ("streams on their way", self.homes.awaited()),
            ("readers", logs),
            ("waiting players", waiting),
            ("stream timers", timers),
            ("pinned bytes", pinned),
        ];
        let left: Vec<String> = left.iter().filter(|l| l.1 > 0).map(|l| format!("{} {}", l.1, l.0)).collect();
        let wrong: Vec<String> =
            gauges.iter().filter(|g| g.1 != 0).map(|g| format!("gauge of {} is {}", g.0, g.1)).collect();
        if left.is_empty() && wrong.is_empty() {
            return Ok(());
        }
        Err(format!("core {} keeps {}", self.id, [left, wrong].concat().join(", ")))
    }
}
