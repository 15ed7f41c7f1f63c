//! The watch over the machine: a few times a second, what is used of it becomes the level that the door follows.

use super::Options;
use super::health::Health;
use crate::config::Overload;
use crate::edge::admission::Admission;
use crate::edge::budget::Role;
use crate::edge::pressure::{self, Rate};
use crate::edge::shed::{Level, Shed};
use crate::media::Mono;
use crate::observe::log::Limiters;
use crate::observe::{LoopLag, MemoryBound, OtherDescriptors, PerShedCause, Protocol, Registry, ShedCause};
use crate::shard::engine::clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Looks from one reading of the loops' times to the next: cores publish them once a second.
const LOOKS_PER_LAG: u32 = 4;
const _: () = assert!(Rate::EVERY.as_millis() * LOOKS_PER_LAG as u128 == 1000);

/// What it remembers from look to look.
pub(super) struct Watch {
    registry: Arc<Registry>,
    door: Arc<Admission>,
    health: Arc<Health>,
    limiters: Arc<Limiters>,
    overload: Overload,
    memory: MemoryBound,
    descriptors: OtherDescriptors,
    descriptors_max: u64,
    connections_max: u64,
    wake: Arc<dyn Fn() + Send + Sync>,
    shed: Shed,
    egress: Rate,
    /// What memory was used when it could be read last: reading takes a descriptor.
    memory_part: f64,
    loop_lag: LoopLag,
    lag: Duration,
    looks: u32,
}

impl Watch {
    pub(super) fn new(options: &Options, health: Arc<Health>, now: Mono) -> Watch {
        let overload = options.config.overload.clone();
        let memory = MemoryBound::find(overload.memory_max_bytes);
        if let (MemoryBound::Groups(_), Ok(Some((_, limit)))) = (&memory, memory.read()) {
            tracing::info!(limit_bytes = limit as u64, "memory is bounded by the control group");
        }
        Watch {
            registry: options.registry.clone(),
            door: options.door.clone(),
            health,
            limiters: options.limiters.clone(),
            overload,
            memory,
            descriptors: OtherDescriptors::default(),
            descriptors_max: options.descriptors_max,
            connections_max: options.connections_max,
            wake: options.wake.clone(),
            shed: Shed::default(),
            egress: Rate::new(now, egress_bytes(&options.registry)),
            memory_part: 0.0,
            loop_lag: LoopLag::default(),
            lag: Duration::ZERO,
            looks: 0,
        }
    }

    /// Looks for ever.
    pub(super) async fn run(mut self) {
        let mut every = interval(Rate::EVERY);
        // After a pause of the thread one look is as good as many.
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.look(clock());
        }
    }

    fn look(&mut self, now: Mono) {
        self.health.look(now);
        let pressures = self.pressures(now);
        let change = self.shed.feed(now, &pressures);
        self.door.set_relief(self.shed.relief());
        if let Some(change) = change {
            self.door.set_level(now, change.level);
            (self.wake)();
            let (level, what) = (change.level.number(), describe(change.level));
            match change.cause {
                Some(cause) => {
                    let pressure = format!("{:.2}", pressures[cause]);
                    tracing::warn!(level, %cause, pressure, "overload: {what}");
                }
                None => tracing::info!(level, "overload eases: {what}"),
            }
        }
        for (what, reason, lines) in self.limiters.overdue(now.since(Mono::ZERO)) {
            tracing::warn!(reason, lines, "{what}: lines of this kind were left out");
        }
        self.publish(&pressures);
    }

    fn pressures(&mut self, now: Mono) -> PerShedCause<f64> {
        if self.looks.is_multiple_of(LOOKS_PER_LAG) {
            self.lag = self.loop_lag.look(&self.registry);
        }
        self.looks = self.looks.wrapping_add(1);
        let egress_bits_per_s = 8.0 * self.egress.look(now, egress_bytes(&self.registry));
        let connections = u64::try_from(self.registry.level(|m| &m.connections)).unwrap_or_default();
        let others = self.descriptors.look(now.since(Mono::ZERO), connections);
        if let Ok(read) = self.memory.read() {
            self.memory_part = read.map_or(0.0, |(used, limit)| pressure::part(used, limit));
        }
        PerShedCause::from_fn(|cause| match cause {
            ShedCause::Egress => {
                pressure::part(egress_bits_per_s, self.overload.egress_max_bits_per_s as f64)
            }
            ShedCause::Memory => self.memory_part,
            ShedCause::LoopLag => {
                pressure::of_lag(self.lag, Duration::from_millis(self.overload.loop_lag_ms))
            }
            ShedCause::Descriptors => others.map_or(1.0, |others| {
                pressure::of_descriptors(others, connections, self.connections_max, self.descriptors_max)
            }),
            ShedCause::Connections => self.door.viewers_part(),
        })
    }

    fn publish(&self, pressures: &PerShedCause<f64>) {
        let (shown, table) = (&self.registry.door, self.door.table_stats());
        shown.shed_level.set(self.shed.level().number().into());
        pressures.iter().for_each(|(cause, pressure)| shown.pressure[cause].set(*pressure));
        shown.unauthenticated.set(self.door.count(Role::Fresh).into());
        shown.addresses.set(table.entries as i64);
        shown.address_table_bytes.set(table.bytes as i64);
        for (counter, total) in
            [(&shown.addresses_evicted, table.evicted), (&shown.connections_untracked, table.untracked)]
        {
            counter.add(total - counter.get());
        }
    }
}

fn egress_bytes(registry: &Registry) -> u64 {
    Protocol::ALL.into_iter().fold(0, |sum, p| sum.wrapping_add(registry.total(|m| &m.egress_bytes[p])))
}

/// What a level means, for the log.
const fn describe(level: Level) -> &'static str {
    match level {
        Level::Open => "everybody is welcome",
        Level::RefuseViewers => "new viewers are refused",
        Level::DropSlowest => "new viewers are refused, the slowest are closed",
        Level::StopAccepting => "nobody is accepted",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::options;
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn what_is_used_closes_the_door_and_shows() {
        let mut options = options();
        // Nothing of the machine that runs the test may decide.
        let overload = Overload {
            egress_max_bits_per_s: 1_000_000,
            memory_max_bytes: 1 << 50,
            loop_lag_ms: 0,
            ..Overload::default()
        };
        let config = crate::config::Config { overload, ..Default::default() };
        options.config = Arc::new(config);
        options.descriptors_max = 1 << 40;
        options.connections_max = 100;
        options.door = Admission::new(&crate::config::Limits::default(), 100);
        let woken = Arc::new(AtomicU32::new(0));
        let count = woken.clone();
        options.wake = Arc::new(move || _ = count.fetch_add(1, Relaxed));
        let (registry, door) = (options.registry.clone(), options.door.clone());
        let metrics = &registry.cores[0].metrics;
        let mut now = Mono::from_micros(1_000_000);
        let health = Health::new(registry.clone(), door.clone(), Arc::default(), now);
        let mut watch = Watch::new(&options, Arc::new(health), now);
        let begin = now;
        let enter = || door.enter(begin, std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        // Who says nothing closes no door.
        let silent: Vec<_> = (0..50).map(|_| enter()).collect();
        let mut viewers = Vec::new();
        assert!(door.enter(begin, std::net::Ipv4Addr::LOCALHOST.into()).is_err());
        metrics.connections.set(50);
        watch.look(now);
        assert_eq!(door.level(), Level::Open);
        drop(silent);
        let mut look = |egress_bits: u64, viewing: usize| {
            metrics.egress_bytes[Protocol::Rtmp].add(egress_bits / 8);
            while viewers.len() < viewing {
                let mut visit = enter();
                visit.play().unwrap();
                viewers.push(visit);
            }
            viewers.truncate(viewing);
            now = now + Rate::EVERY;
            watch.look(now);
            (door.level().number(), registry.door.shed_level.get())
        };
        assert_eq!(look(0, 76), (0, 0));
        assert_eq!(look(0, 77), (1, 1), "of 90");
        assert_eq!(look(920_000, 0), (2, 2), "over the last second");
        assert_eq!(look(100_000, 0), (3, 3));
        assert!((registry.door.pressure[ShedCause::Egress].get() - 1.02).abs() < 1e-9);
        assert!((0..64).any(|_| look(0, 0) == (0, 0)), "it recovers");
        assert_eq!(woken.load(Relaxed), 6, "cores are woken for each change");
    }
}
