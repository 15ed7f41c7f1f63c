//! The machine's links: which interfaces there are, which of them work, and who sends or listens on them.
//!
//! One thread has them, beside the cores: it [looks](Links::look) when the kernel says that something has changed, and now
//! and then anyway. A link may go and come back. While its interface is switched off datagrams are not taken; while only
//! the cable is out the kernel takes them and throws them away, so that nothing but [`LinkSlot::up`] says so. The switch at
//! the other end forgets what was joined, and the kernel forgets it with an interface that is removed: who listens compares
//! [`Stand`]s, and joins again.
//!
//! What happens to a link is said in one line, however many channels and inputs it has.
#![forbid(unsafe_code)]

use super::interfaces::{self, Events, Interface};
use crate::observe::{Gauge, LinkSlot};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// How often the kernel is asked at the start while interfaces change faster than they can be told, and the pause between: a
/// machine that boots makes them for seconds.
const START_TRIES: u32 = 50;
const START_PAUSE: Duration = Duration::from_millis(100);

/// Who uses a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// A channel, which sends on it.
    Channel,
    /// An input, which listens on it.
    Input,
}

/// Where a link stands: another one than before means that who has joined on it must join again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The interface's number.
    pub index: u32,
    /// How often it has begun to work since it was first seen.
    pub comings: u32,
    /// Whether it works now.
    pub works: bool,
}

/// Who uses a link, by name.
type Users = BTreeSet<(User, String)>;

/// An interface that somebody uses, as the configuration names it.
#[derive(Debug)]
struct Used {
    slot: Arc<LinkSlot>,
    /// As of the last look.
    stand: Option<Stand>,
    /// Each by its name once, however many places it has there.
    users: Users,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Links {
    known: Vec<Interface>,
    /// By number, of those that have begun to work since they were first seen.
    comings: BTreeMap<u32, u32>,
    used: Vec<Used>,
    /// None where the kernel has none to give: then only what a look shows is seen.
    events: Option<Events>,
    /// Those that did not work for a moment, of which no look has told yet.
    fell: BTreeSet<u32>,
    /// The last look failed.
    behind: bool,
}

impl Links {
    /// As they are now.
    ///
    /// # Errors
    /// The kernel does not tell, for seconds.
    pub fn new() -> io::Result<Links> {
        // Before the first look: what changes behind it is not missed.
        let events = Events::new();
        if let Err(error) = &events {
            tracing::warn!(%error, "the kernel does not tell when links change; they are looked at now and then");
        }
        let mut tries = 0..START_TRIES;
        let known = loop {
            match interfaces::list() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted && tries.next().is_some() => {
                    std::thread::sleep(START_PAUSE);
                }
                known => break known?,
            }
        };
        Ok(Links { events: events.ok(), ..Links::of(known) })
    }

    /// These, until somebody looks.
    pub fn of(known: Vec<Interface>) -> Links {
        Links { known, ..Links::default() }
    }

    /// What is readable when something has changed.
    pub fn events(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(AsFd::as_fd)
    }

    /// All interfaces, as of the last look.
    pub fn all(&self) -> &[Interface] {
        &self.known
    }

    /// The interface that `text` means: its name, or one of its addresses.
    pub fn find(&self, text: &str) -> Option<&Interface> {
        interfaces::find(&self.known, text)
    }

    /// Where the link that `text` means stands; `None` while there is no such interface.
    pub fn stand(&self, text: &str) -> Option<Stand> {
        let interface = self.find(text)?;
        let comings = self.comings.get(&interface.index).copied().unwrap_or(0);
        Some(Stand { index: interface.index, comings, works: interface.works() })
    }

    /// Notes that `name` uses the interface that it calls `text`, and returns where it is said whether that works.
    pub fn use_by(&mut self, text: &str, user: User, name: &str) -> Arc<LinkSlot> {
        let known = self.used.iter_mut().find(|used| used.slot.interface == text);
        if let Some(used) = known {
            used.users.insert((user, name.to_owned()));
            return used.slot.clone();
        }
        let (stand, up) = (self.stand(text), Gauge::default());
        up.set(stand.is_some_and(|stand| stand.works).into());
        let slot = Arc::new(LinkSlot { interface: text.to_owned(), up });
        let users = Users::from([(user, name.to_owned())]);
        self.used.push(Used { slot: slot.clone(), stand, users });
        slot
    }

    /// The interfaces in use; [`Links::look`] keeps what they say true.
    pub fn slots(&self) -> Vec<Arc<LinkSlot>> {
        self.used.iter().map(|used| used.slot.clone()).collect()
    }

    /// Looks again if the kernel says that something has changed; see [`Links::look`].
    pub fn look_if_changed(&mut self) -> bool {
        self.take_events() && self.look_behind(interfaces::list)
    }

    /// Whether the last look failed, so that another one is due soon.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    fn take_events(&mut self) -> bool {
        let Links { events, fell, .. } = self;
        events.as_ref().is_some_and(|events| events.take(|index| fell.extend([index])))
    }

    /// Looks at the links again and logs those that went and came. Returns whether anything is otherwise. To be called now
    /// and then, on a thread with time to spare: the kernel may let it wait.
    pub fn look(&mut self) -> bool {
        self.take_events();
        self.look_behind(interfaces::list)
    }

    /// Takes what `list` tells, and with it what fell since it told something last.
    fn look_behind(&mut self, list: impl FnOnce() -> io::Result<Vec<Interface>>) -> bool {
        let listed = list();
        self.behind = listed.is_err();
        match listed {
            Ok(now) => {
                let fell = std::mem::take(&mut self.fell);
                self.take(now, &fell)
            }
            Err(error) => {
                tracing::debug!(%error, "cannot look at the interfaces");
                false
            }
        }
    }

    /// As if a look had shown these.
    #[cfg(test)]
    pub(crate) fn take_for_test(&mut self, now: Vec<Interface>) {
        self.take(now, &BTreeSet::new());
    }

    /// The links of `fell` did not work for a moment since the last look.
    fn take(&mut self, now: Vec<Interface>, fell: &BTreeSet<u32>) -> bool {
        let before = std::mem::replace(&mut self.known, now);
        for interface in self.known.iter().filter(|interface| interface.works()) {
            let known = before.iter().find(|known| known.index == interface.index);
            // One that is new is another one by its number.
            let fell = |known: &Interface| interface.has_flapped(known) || fell.contains(&known.index);
            if known.is_some_and(|known| !known.works() || fell(known)) {
                *self.comings.entry(interface.index).or_default() += 1;
            }
        }
        let known = &self.known;
        self.comings.retain(|index, _| known.iter().any(|interface| interface.index == *index));
        // What has two names in the configuration is one link, and has one line.
        let mut lines: BTreeMap<u32, (Stand, Stand, Arc<LinkSlot>, Users)> = BTreeMap::new();
        for at in 0..self.used.len() {
            let is = self.used.get(at).and_then(|used| self.stand(&used.slot.interface));
            let Some(used) = self.used.get_mut(at) else { continue };
            let was = std::mem::replace(&mut used.stand, is);
            used.slot.up.set(is.is_some_and(|is| is.works).into());
            let Some(index) = is.or(was).map(|stand| stand.index).filter(|_| was != is) else { continue };
            // What is not there does not work, and has begun to work as often as what is.
            let nothing = Stand { index, comings: 0, works: false };
            let line = (was.unwrap_or(nothing), is.unwrap_or(nothing), used.slot.clone(), Users::new());
            lines.entry(index).or_insert(line).3.extend(used.users.iter().cloned());
        }
        for (was, is, slot, users) in lines.values() {
            let channels = users.iter().filter(|(user, _)| *user == User::Channel).count();
            tell(&slot.interface, *was, *is, channels, users.len() - channels);
        }
        before != self.known || !fell.is_empty()
    }
}

/// One line about a link that went, came, or went and came.
fn tell(interface: &str, was: Stand, is: Stand, channels: usize, inputs: usize) {
    match (was.works, is.works) {
        (true, false) => {
            tracing::warn!(interface, channels, inputs, "link lost; nothing is sent or received on it");
        }
        (false, true) => {
            tracing::info!(
                interface,
                channels,
                inputs,
                "link is there; channels are sent on it, inputs are joined again"
            );
        }
        (true, true) => {
            tracing::warn!(
                interface,
                channels,
                inputs,
                "link was lost for a moment; inputs are joined again"
            );
        }
        (false, false) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loopback, and a link of this number that works or not.
    fn machine(index: u32, works: bool) -> Vec<Interface> {
        let mut all: Vec<Interface> =
            interfaces::list().unwrap().into_iter().filter(|i| i.name == "lo").collect();
        all.push(Interface::of("eth1", index, works, &["10.9.0.1"]));
        all
    }

    #[test]
    fn a_link_that_comes_back_stands_otherwise() {
        let mut links = Links::of(machine(7, true));
        let stand = |links: &Links| links.stand("eth1").map(|s| (s.index, s.comings, s.works));
        assert_eq!(stand(&links), Some((7, 0, true)));
        assert_eq!(links.stand("10.9.0.1"), links.stand("eth1"));
        let slot = links.use_by("eth1", User::Channel, "one");
        assert_eq!(links.use_by("eth1", User::Channel, "one").up.get(), 1);
        // (number, works, did not work for a moment), and where it stands then.
        for (index, works, fell, expected) in [
            (7, true, false, (7, 0, true)),
            (7, false, false, (7, 0, false)),
            (7, true, false, (7, 1, true)),
            (7, true, true, (7, 2, true)),
            (9, true, false, (9, 0, true)),
        ] {
            let fell = fell.then_some(7).into_iter().collect();
            links.take(machine(index, works), &fell);
            assert_eq!((stand(&links), slot.up.get()), (Some(expected), works.into()));
        }
        links.take(Vec::new(), &BTreeSet::new());
        assert_eq!((stand(&links), slot.up.get(), links.slots().len()), (None, 0, 1));
    }

    /// Neither a look that fails, nor a flap of which no event was kept, leaves members behind at a switch that forgot them.
    #[test]
    fn no_fall_is_forgotten() {
        let machine = |changes| vec![Interface::of("eth1", 7, true, &[]).with_changes(changes)];
        let mut links = Links::of(machine(1));
        let comings = |links: &Links| links.stand("eth1").map(|stand| stand.comings);
        links.fell.insert(7);
        assert!(!links.look_behind(|| Err(io::ErrorKind::Interrupted.into())));
        assert!(links.is_behind());
        assert!(links.look_behind(|| Ok(machine(1))));
        assert_eq!((comings(&links), links.is_behind(), links.fell.len()), (Some(1), false, 0));
        assert!(links.look_behind(|| Ok(machine(3))), "it fell and came back");
        assert!(!links.look_behind(|| Ok(machine(3))));
        assert_eq!(comings(&links), Some(2));
    }

    #[test]
    fn a_look_tells_what_has_changed() {
        let mut links = Links::of(Vec::new());
        assert!(links.look(), "there is a loopback");
        assert!(links.find("lo").is_some_and(Interface::works));
    }
}
