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
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Connections of an address that neither publish nor play. Those of a house or an office say what they want within a
/// second; what else comes and is silent has to come from many addresses to fill the budget's part for it.
pub const FRESH_PER_ADDRESS: u32 = 32;
/// As many addresses it takes at least, ...
const FRESH_ADDRESSES: u32 = 32;
/// ... unless the budget is so small that an address would have fewer than this.
const FRESH_PER_ADDRESS_MIN: u32 = 4;
/// How long it takes to let in those who waited while the door was shut.
const HURRY: Duration = Duration::from_secs(1);

/// What all cores and the control thread share.
#[derive(Debug)]
pub struct Admission {
    viewers_per_address: u32,
    publishers_per_address: u32,
    fresh_per_address: u32,
    pace: Pace,
    exempt: Box<[Network]>,
    table: Table,
    budget: Budget,
    /// [`Level`] as a number; written by the control thread, like the next one.
    level: AtomicU8,
    /// Viewers who keep up are to go as well.
    relief: AtomicBool,
    /// When the door was shut, and opened again, in microseconds.
    shut_us: AtomicU64,
    opened_us: AtomicU64,
    ipv6_prefix_bits: u8,
}

impl Admission {
    /// A door by `limits`, with room for `connections` in all.
    pub fn new(limits: &Limits, connections: u32) -> Arc<Admission> {
        let budget = Budget::new(connections);
        let fresh = budget.fresh_max() / FRESH_ADDRESSES;
        Arc::new(Admission {
            fresh_per_address: fresh.clamp(FRESH_PER_ADDRESS_MIN, FRESH_PER_ADDRESS),
            viewers_per_address: limits.viewers_per_address,
            publishers_per_address: limits.publishers_per_address,
            pace: Pace::new(limits.connections_per_s_per_address, limits.connections_burst_per_address),
            exempt: limits.exempt.clone().into(),
            table: Table::default(),
            budget,
            level: AtomicU8::new(Level::Open.number()),
            relief: AtomicBool::new(false),
            shut_us: AtomicU64::new(0),
            opened_us: AtomicU64::new(0),
            ipv6_prefix_bits: limits.ipv6_prefix_bits,
        })
    }

    /// The level that holds now: one relaxed load.
    pub fn level(&self) -> Level {
        Level::of_number(self.level.load(Relaxed))
    }

    /// Sets the level; the control thread's.
    pub fn set_level(&self, now: Mono, level: Level) {
        let (was, shut) = (self.level(), Level::StopAccepting);
        if was < shut && level == shut {
            self.shut_us.store(now.as_micros(), Relaxed);
        } else if was == shut && level < shut {
            self.opened_us.store(now.as_micros(), Relaxed);
        }
        self.level.store(level.number(), Relaxed);
    }

    /// How fast an address may come now: when the door opens again, those who came meanwhile are taken all at once.
    fn pace_at(&self, now: Mono) -> Pace {
        let [shut, opened] = [&self.shut_us, &self.opened_us].map(|at| Mono::from_micros(at.load(Relaxed)));
        match now < opened + HURRY {
            true => self.pace.late_by(opened.since(shut)),
            false => self.pace,
        }
    }

    fn block(&self, address: IpAddr) -> Block {
        Block::of(address, self.ipv6_prefix_bits)
    }

    /// Whether two addresses count as one.
    pub fn are_neighbours(&self, one: IpAddr, other: IpAddr) -> bool {
        self.block(one) == self.block(other)
    }

    /// Whether viewers who keep up are to go as well, the slowest first.
    pub fn relief(&self) -> bool {
        self.relief.load(Relaxed)
    }

    /// Sets that; the control thread's.
    pub fn set_relief(&self, relief: bool) {
        self.relief.store(relief, Relaxed);
    }

    /// How many there are of `role` now.
    pub fn count(&self, role: Role) -> u32 {
        self.budget.count(role)
    }

    /// Viewers, as a part of those that there may be.
    pub fn viewers_part(&self) -> f64 {
        self.budget.viewers_part()
    }

    /// How many may neither publish nor play.
    #[cfg(test)]
    pub fn fresh_max(&self) -> u32 {
        self.budget.fresh_max()
    }

    /// Connections that count for an address.
    #[cfg(test)]
    pub fn counted(&self) -> u64 {
        self.table.connections()
    }

    /// What the table of addresses has and did.
    pub fn table_stats(&self) -> TableStats {
        self.table.stats()
    }

    /// A connection of `address` was accepted.
    ///
    /// # Errors
    /// `Overload`, `Unauthenticated`, `AddressSilent` or `AddressRate`: close it.
    pub fn enter(self: &Arc<Self>, now: Mono, address: IpAddr) -> Result<Visit, RefuseReason> {
        if self.level() >= Level::StopAccepting {
            return Err(RefuseReason::Overload);
        }
        // The address first: whoever comes too fast must not make others give way.
        let mut place = None;
        if !self.exempt.iter().any(|network| network.contains(address)) {
            match self.table.enter(now, self.block(address), self.pace_at(now), self.fresh_per_address) {
                Entered::At(at) => place = Some(at),
                Entered::Untracked => {}
                Entered::TooFast => return Err(RefuseReason::AddressRate),
                Entered::TooMany => return Err(RefuseReason::AddressSilent),
            }
        }
        if !self.budget.take(Role::Fresh) {
            if let Some(place) = place {
                self.table.leave(place, Role::Fresh);
            }
            return Err(RefuseReason::Unauthenticated);
        }
        Ok(Visit { door: self.clone(), place, role: Role::Fresh })
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
        let old = self.role;
        if !self.count_as(Role::Viewer, self.door.viewers_per_address) {
            return Err(DisconnectReason::AddressViewers);
        }
        if !self.door.budget.take(Role::Viewer) {
            self.count_as(old, u32::MAX);
            return Err(DisconnectReason::Budget);
        }
        self.door.budget.give(old);
        Ok(())
    }

    /// It wants to publish a stream, which `exists` already or not. An encoder that lost its connection comes back
    /// before the old one is missed: it takes the name over, and the old one goes. So for streams that exist an address
    /// may have twice as many publishers as else; whether it gets the name is then the directory's decision.
    ///
    /// # Errors
    /// `AddressPublishers`; it then stays what it was.
    pub fn publish(&mut self, exists: bool) -> Result<(), DisconnectReason> {
        if self.role == Role::Publisher {
            return Ok(());
        }
        let (old, max) = (self.role, self.door.publishers_per_address);
        if !self.count_as(Role::Publisher, if exists { max.saturating_mul(2) } else { max }) {
            return Err(DisconnectReason::AddressPublishers);
        }
        self.change_budget(old);
        Ok(())
    }

    /// It wants a page, for which it leaves its core. Its address may read `max` at once.
    ///
    /// # Errors
    /// `Pages`; it then stays what it was.
    pub fn page(&mut self, max: u32) -> Result<(), RefuseReason> {
        let old = self.role;
        if !self.count_as(Role::Page, max) {
            return Err(RefuseReason::Pages);
        }
        self.change_budget(old);
        Ok(())
    }

    /// It neither plays nor publishes any more.
    pub fn idle(&mut self) {
        self.become_at_once(Role::Fresh);
    }

    /// It was turned away: until its peer has heard why it takes nobody's place.
    pub fn leave(&mut self) {
        self.become_at_once(Role::Leaving);
    }

    fn become_at_once(&mut self, role: Role) {
        if self.role != role {
            let old = self.role;
            self.count_as(role, u32::MAX);
            self.change_budget(old);
        }
    }

    /// Is of `role` from now on, at its address; false if that has `max` of these.
    fn count_as(&mut self, role: Role, max: u32) -> bool {
        let counted = self.place.is_none_or(|place| self.door.table.turn(place, self.role, role, max));
        if counted {
            self.role = role;
        }
        counted
    }

    /// Takes the place of its role, for which there is always one, and gives up that of `old`.
    fn change_budget(&self, old: Role) {
        self.door.budget.take_anyway(self.role);
        self.door.budget.give(old);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.door.budget.give(self.role);
        if let Some(place) = self.place {
            self.door.table.leave(place, self.role);
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
        assert_eq!(
            (first.publish(false), second.publish(false)),
            (Ok(()), Err(DisconnectReason::AddressPublishers))
        );
        assert_eq!(third.play(), Ok(()), "who publishes plays no more");
        assert_eq!(counts(&door), [0, 2, 1]);
        first.idle();
        assert_eq!((second.publish(false), counts(&door)), (Ok(()), [1, 1, 1]));
        assert_eq!(
            (second.publish(false), third.play(), counts(&door)),
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
        assert_eq!((last.publish(false), door.table_stats().entries), (Ok(()), 0));
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
        let silent = |n| door.enter(NOW, IpAddr::from([198, 51, 100, n])).unwrap();
        let mut waiting: Vec<Visit> = (0..10).map(silent).collect();
        assert_eq!(door.enter(NOW, a).err(), Some(RefuseReason::Unauthenticated));
        waiting.clear();
        let refused = (0..100).filter_map(|_| door.enter(NOW, a).err()).collect::<Vec<_>>();
        assert_eq!(
            refused,
            [RefuseReason::AddressRate; 61],
            "behind a burst of 40, of which one found no place"
        );
        // Whoever comes too fast is told so, and has nobody closed, also when all places are taken.
        let full: Vec<Visit> = (20..30).map(silent).collect();
        assert_eq!(door.enter(NOW, a).err(), Some(RefuseReason::AddressRate));
        drop(full);
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
            door.set_level(NOW, Level::Open);
            let mut early = door.enter(NOW, address("127.0.0.1")).unwrap();
            door.set_level(NOW, level);
            assert_eq!(door.level(), level);
            assert_eq!(door.enter(NOW, address("127.0.0.1")).is_ok(), accept, "{level:?}");
            assert_eq!(early.play().is_ok(), play, "{level:?}");
            assert_eq!((early.publish(false), guest.play()), (Ok(()), Ok(())), "{level:?}");
        }
    }

    /// Those who waited in the kernel's queue came at their own pace.
    #[test]
    fn who_waited_has_not_come_too_fast() {
        let limits = Limits { connections_burst_per_address: 5, ..limits() };
        let door = Admission::new(&limits, 10_000);
        let a = address("192.0.2.1");
        let admitted = |now: Mono| (0..30).filter_map(|_| door.enter(now, a).ok()).count();
        assert_eq!(admitted(NOW), 5);
        door.set_level(NOW, Level::StopAccepting);
        assert_eq!(admitted(NOW), 0);
        let opened = NOW + Duration::from_secs(1);
        door.set_level(opened, Level::DropSlowest);
        assert_eq!(admitted(opened), 25, "20 a second, and those that it may at once");
        assert_eq!(admitted(opened + HURRY), 0, "they are paid for");
        assert_eq!(admitted(opened + 2 * HURRY), 5);
    }

    /// With 8 addresses it would take 125 silent connections each to fill 1000 places.
    #[test]
    fn silent_connections_of_some_addresses_lock_nobody_out() {
        let limits = Limits { connections_burst_per_address: 10_000, ..limits() };
        let door = Admission::new(&limits, 10_000);
        let silent = |n: u8| {
            let address = IpAddr::from([198, 51, 100, n]);
            (0..200).filter_map(|_| door.enter(NOW, address).ok()).collect::<Vec<Visit>>()
        };
        let mut visits: Vec<Vec<Visit>> = (0..8).map(silent).collect();
        assert!(visits.iter().all(|visits| visits.len() == FRESH_PER_ADDRESS as usize));
        let mut encoder = door.enter(NOW, address("192.0.2.1")).unwrap();
        assert_eq!(encoder.publish(false), Ok(()));
        let refused = door.enter(NOW, address("198.51.100.0")).err();
        assert_eq!(refused, Some(RefuseReason::AddressSilent));
        // Who is turned away is not silent any more.
        let before = door.count(Role::Fresh);
        visits[0][0].leave();
        assert_eq!(door.count(Role::Fresh), before - 1);
        assert!(door.enter(NOW, address("198.51.100.0")).is_ok());
        drop((visits, encoder));
        assert_eq!((door.counted(), Role::ALL.map(|role| door.count(role))), (0, [0; 5]));
    }

    /// Two encoders behind one address lose their connections and come back before that is noticed.
    #[test]
    fn who_comes_back_may_take_over() {
        let door = Admission::new(&Limits { publishers_per_address: 2, ..limits() }, 1000);
        let enter = || door.enter(NOW, address("192.0.2.1")).unwrap();
        let (mut lost, mut back, mut other) = ([enter(), enter()], [enter(), enter()], enter());
        assert!(lost.iter_mut().all(|visit| visit.publish(false).is_ok()));
        assert_eq!(other.publish(false), Err(DisconnectReason::AddressPublishers));
        assert!(back.iter_mut().all(|visit| visit.publish(true).is_ok()));
        assert_eq!(other.publish(true), Err(DisconnectReason::AddressPublishers), "it has an end");
        drop(lost);
        assert_eq!(other.publish(false), Err(DisconnectReason::AddressPublishers));
    }

    #[test]
    fn an_address_reads_so_many_pages() {
        let door = Admission::new(&limits(), 1000);
        let read = |n: u8| {
            let mut visit = door.enter(NOW, IpAddr::from([192, 0, 2, n])).unwrap();
            visit.page(3).map(|()| visit)
        };
        let mut pages: Vec<Visit> = (0..3).map(|_| read(1).unwrap()).collect();
        assert_eq!(read(1).err(), Some(RefuseReason::Pages));
        assert!(read(2).is_ok());
        assert_eq!(counts(&door), [0; 3], "a page is not a silent connection");
        pages.pop();
        assert!(read(1).is_ok());
    }
}
