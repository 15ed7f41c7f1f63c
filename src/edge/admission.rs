//! The door: who may come in, publish and play, by address, in all, and by how much the machine can still take.
//!
//! Every connection holds a [`Visit`] from accept to close; what it counts for is given back when that is dropped,
//! whatever became of it. Nothing here is asked while media passes.
//!
//! Addresses of exempt networks ([`crate::config::Limits::exempt`]) are not counted; the budgets and levels hold for them
//! as well.

use super::address::Block;
use super::budget::{Budget, Role};
use super::pace::Pace;
use super::shed::Level;
use super::table::{Entered, Place, Table, TableStats};
use crate::config::{Limits, Network};
use crate::media::Mono;
use crate::observe::{DisconnectReason, RefuseReason};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What all cores and the control thread share.
#[derive(Debug)]
pub struct Admission {
    viewers_per_address: u32,
    publishers_per_address: u32,
    pace: Pace,
    exempt: Box<[Network]>,
    table: Table,
    budget: Budget,
    /// [`Level`] as a number; written by the control thread.
    level: AtomicU8,
}

impl Admission {
    /// A door by `limits`, with room for `connections` in all.
    pub fn new(limits: &Limits, connections: u32) -> Arc<Admission> {
        Arc::new(Admission {
            viewers_per_address: limits.viewers_per_address,
            publishers_per_address: limits.publishers_per_address,
            pace: Pace::new(limits.connections_per_s_per_address, limits.connections_burst_per_address),
            exempt: limits.exempt.clone().into(),
            table: Table::default(),
            budget: Budget::new(connections),
            level: AtomicU8::new(Level::Open.number()),
        })
    }

    /// The level that holds now: one relaxed load.
    pub fn level(&self) -> Level {
        Level::of_number(self.level.load(Relaxed))
    }

    /// Sets the level; the control thread's.
    pub fn set_level(&self, level: Level) {
        self.level.store(level.number(), Relaxed);
    }

    /// How many there are of `role` now.
    pub fn count(&self, role: Role) -> u32 {
        self.budget.count(role)
    }

    /// What the table of addresses has and did.
    pub fn table_stats(&self) -> TableStats {
        self.table.stats()
    }

    /// A connection of `address` was accepted.
    ///
    /// # Errors
    /// `Overload`, `Unauthenticated` or `AddressRate`: close it.
    pub fn enter(self: &Arc<Self>, now: Mono, address: IpAddr) -> Result<Visit, RefuseReason> {
        if self.level() >= Level::StopAccepting {
            return Err(RefuseReason::Overload);
        }
        if !self.budget.take(Role::Fresh) {
            return Err(RefuseReason::Unauthenticated);
        }
        let mut visit = Visit { door: self.clone(), place: None, role: Role::Fresh };
        if !self.exempt.iter().any(|network| network.contains(address)) {
            match self.table.enter(now, Block::of(address), self.pace) {
                Entered::At(place) => visit.place = Some(place),
                Entered::Untracked => {}
                Entered::TooFast => return Err(RefuseReason::AddressRate),
            }
        }
        Ok(visit)
    }
}

/// A connection's stay. Dropped, it gives back whatever it counted for.
#[derive(Debug)]
pub struct Visit {
    door: Arc<Admission>,
    /// None if its address is exempt or did not fit the table.
    place: Option<Place>,
    role: Role,
}

impl Visit {
    /// It wants to play.
    ///
    /// # Errors
    /// `Overload`, `AddressViewers` or `Budget`; it then stays what it was.
    pub fn play(&mut self) -> Result<(), DisconnectReason> {
        if self.role == Role::Viewer {
            return Ok(());
        }
        if self.door.level() >= Level::RefuseViewers {
            return Err(DisconnectReason::Overload);
        }
        let (door, place) = (&self.door, self.place);
        if place.is_some_and(|place| !door.table.add_viewer(place, door.viewers_per_address)) {
            return Err(DisconnectReason::AddressViewers);
        }
        if !door.budget.take(Role::Viewer) {
            if let Some(place) = place {
                door.table.remove_viewer(place);
            }
            return Err(DisconnectReason::Budget);
        }
        self.turn_into(Role::Viewer);
        Ok(())
    }

    /// It wants to publish.
    ///
    /// # Errors
    /// `AddressPublishers`; it then stays what it was.
    pub fn publish(&mut self) -> Result<(), DisconnectReason> {
        if self.role == Role::Publisher {
            return Ok(());
        }
        let (door, place) = (&self.door, self.place);
        if place.is_some_and(|place| !door.table.add_publisher(place, door.publishers_per_address)) {
            return Err(DisconnectReason::AddressPublishers);
        }
        // Publishers have no bound of their own: the cores' tables are theirs.
        let _always = door.budget.take(Role::Publisher);
        self.turn_into(Role::Publisher);
        Ok(())
    }

    /// It neither plays nor publishes any more.
    pub fn idle(&mut self) {
        if self.role != Role::Fresh {
            self.door.budget.take_back();
            self.turn_into(Role::Fresh);
        }
    }

    /// Gives up the old role; the new one's counts are taken.
    fn turn_into(&mut self, role: Role) {
        let old = std::mem::replace(&mut self.role, role);
        self.door.budget.give(old);
        let Some(place) = self.place else { return };
        match old {
            Role::Fresh => {}
            Role::Viewer => self.door.table.remove_viewer(place),
            Role::Publisher => self.door.table.remove_publisher(place),
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.idle();
        self.door.budget.give(Role::Fresh);
        if let Some(place) = self.place {
            self.door.table.leave(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono::from_micros(1_000_000);

    fn limits() -> Limits {
        Limits { viewers_per_address: 2, publishers_per_address: 1, ..Limits::default() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn counts(door: &Admission) -> [u32; 3] {
        [Role::Fresh, Role::Viewer, Role::Publisher].map(|role| door.count(role))
    }

    #[test]
    fn limits_hold_for_an_address_and_its_network() {
        let door = Admission::new(&limits(), 1000);
        let enter = |text: &str| door.enter(NOW, address(text)).unwrap();
        let mut visits = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(enter);
        let played: Vec<_> = visits.iter_mut().map(Visit::play).collect();
        assert_eq!(played, [Ok(()), Ok(()), Err(DisconnectReason::AddressViewers)]);
        assert_eq!(enter("2001:db8:0:1::1").play(), Ok(()), "another network");
        let [first, second, third] = &mut visits;
        assert_eq!((first.publish(), second.publish()), (Ok(()), Err(DisconnectReason::AddressPublishers)));
        assert_eq!(third.play(), Ok(()), "who publishes plays no more");
        assert_eq!(counts(&door), [0, 2, 1]);
        first.idle();
        assert_eq!((second.publish(), counts(&door)), (Ok(()), [1, 1, 1]));
        assert_eq!(
            (second.publish(), third.play(), counts(&door)),
            (Ok(()), Ok(()), [1, 1, 1]),
            "twice is once"
        );
        drop(visits);
        assert_eq!(counts(&door), [0; 3]);
    }

    #[test]
    fn exempt_addresses_have_budgets_only() {
        let door = Admission::new(&limits(), 10);
        let mut visits: Vec<_> = (0..9)
            .map(|_| {
                let mut visit = door.enter(NOW, address("127.0.0.1")).unwrap();
                visit.play().unwrap();
                visit
            })
            .collect();
        let mut last = door.enter(NOW, address("::ffff:127.9.9.9")).unwrap();
        assert_eq!(last.play(), Err(DisconnectReason::Budget));
        assert_eq!((last.publish(), door.table_stats().entries), (Ok(()), 0));
        visits.pop();
        assert_eq!((last.play(), counts(&door)), (Ok(()), [0, 9, 0]));
        let none = Admission::new(&Limits { exempt: vec![], ..limits() }, 10);
        let _visit = none.enter(NOW, address("127.0.0.1")).unwrap();
        assert_eq!(none.table_stats().entries, 1);
    }

    #[test]
    fn a_refused_budget_leaves_the_address_as_it_was() {
        let door = Admission::new(&limits(), 2);
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(address);
        let mut first = door.enter(NOW, a).unwrap();
        assert_eq!(first.play(), Ok(()));
        let mut second = door.enter(NOW, b).unwrap();
        assert_eq!(second.play(), Ok(()));
        let mut third = door.enter(NOW, b).unwrap();
        for _ in 0..3 {
            assert_eq!(third.play(), Err(DisconnectReason::Budget));
        }
        drop(first);
        assert_eq!(third.play(), Ok(()));
    }

    #[test]
    fn who_comes_too_fast_or_only_stands_there() {
        let door = Admission::new(&limits(), 20);
        let a = address("192.0.2.1");
        let mut waiting: Vec<Visit> = (0..10).map(|_| door.enter(NOW, a).unwrap()).collect();
        assert_eq!(door.enter(NOW, a).err(), Some(RefuseReason::Unauthenticated));
        waiting.clear();
        let refused = (0..100).filter_map(|_| door.enter(NOW, a).err()).collect::<Vec<_>>();
        assert_eq!(refused, [RefuseReason::AddressRate; 70], "10 of the burst of 40 are used");
        assert_eq!(counts(&door), [0; 3]);
    }

    #[test]
    fn levels_close_the_door_by_and_by() {
        let door = Admission::new(&limits(), 100);
        let mut guest = door.enter(NOW, address("127.0.0.1")).unwrap();
        guest.play().unwrap();
        for (level, accept, play) in [
            (Level::Open, true, true),
            (Level::RefuseViewers, true, false),
            (Level::DropSlowest, true, false),
            (Level::StopAccepting, false, false),
        ] {
            door.set_level(Level::Open);
            let mut early = door.enter(NOW, address("127.0.0.1")).unwrap();
            door.set_level(level);
            assert_eq!(door.level(), level);
            assert_eq!(door.enter(NOW, address("127.0.0.1")).is_ok(), accept, "{level:?}");
            assert_eq!(early.play().is_ok(), play, "{level:?}");
            assert_eq!((early.publish(), guest.play()), (Ok(()), Ok(())), "{level:?}");
        }
    }
}
