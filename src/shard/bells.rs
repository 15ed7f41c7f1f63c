//! How cores wake each other: dirty marks, a sleeping flag, an eventfd.
//!
//! A Dekker pattern, whose halves stand in [`super::marks`]: the ringer stores its mark (and what it stands for),
//! fences, and reads the flag; the sleeper stores the flag, fences, and looks at all marks before it pends. Either the
//! ringer sees the flag and rings, or the sleeper sees the mark. Marks are one bit a log for each pair of cores, set
//! once until taken: they cannot overflow. A ring costs two context switches, so it is made once per core and turn,
//! never per frame or stream.

use super::marks::{Marks, Sleeping};
use crate::fanout::directory::LOGS_MAX;
use crate::fanout::log::LogId;
use crate::fanout::stream::CoreId;
use crossbeam::utils::CachePadded;
use std::io;
use std::os::fd::OwnedFd;

#[derive(Debug)]
struct Bell {
    sleeping: CachePadded<Sleeping>,
    eventfd: OwnedFd,
    /// By the core that left them.
    marks: Box<[Marks]>,
}

/// The bells of all cores.
#[derive(Debug)]
pub struct Bells {
    bells: Box<[Bell]>,
}

impl Bells {
    /// Bells for `cores` cores.
    pub fn new(cores: usize) -> io::Result<Bells> {
        let bells = (0..cores).map(|_| {
            use rustix::event::{EventfdFlags, eventfd};
            Ok(Bell {
                sleeping: CachePadded::new(Sleeping::default()),
                // Blocking: the ring only polls it, and the epoll backend reads when told that it may.
                eventfd: eventfd(0, EventfdFlags::CLOEXEC)?,
                marks: (0..cores).map(|_| Marks::new(LOGS_MAX)).collect(),
            })
        });
        Ok(Bells { bells: bells.collect::<io::Result<_>>()? })
    }

    /// The eventfd of `core`, for its backend.
    pub fn eventfd(&self, core: CoreId) -> io::Result<OwnedFd> {
        let bell = self.bells.get(usize::from(core)).ok_or(io::ErrorKind::NotFound)?;
        bell.eventfd.try_clone()
    }

    /// Core `from` tells core `to` that log `id` was flushed. To be followed by [`Bells::ring`].
    pub fn mark(&self, from: CoreId, to: CoreId, id: LogId) {
        if let Some(marks) = self.bells.get(usize::from(to)).and_then(|b| b.marks.get(usize::from(from))) {
            marks.set(id.0);
        }
    }

    /// Wakes `to` if it sleeps. Call after everything it should see is stored. Returns whether it was rung.
    pub fn ring(&self, to: CoreId) -> bool {
        let Some(bell) = self.bells.get(usize::from(to)) else { return false };
        if !bell.sleeping.rouse() {
            return false;
        }
        // Fails only if the counter would overflow, and then it is readable anyway.
        let _full = rustix::io::write(&bell.eventfd, &1u64.to_ne_bytes());
        true
    }

    /// `core` is about to pend. False if there are marks; `busy` says whether anything else came (a mailbox).
    pub fn sleep(&self, core: CoreId, busy: impl FnOnce() -> bool) -> bool {
        let Some(bell) = self.bells.get(usize::from(core)) else { return false };
        bell.sleeping.begin(|| busy() || bell.marks.iter().any(Marks::any))
    }

    /// `core` runs again.
    pub fn awake(&self, core: CoreId) {
        if let Some(bell) = self.bells.get(usize::from(core)) {
            bell.sleeping.end();
        }
    }

    /// Whether marks are left for `core` that it was not rung for.
    #[cfg(test)]
    pub(super) fn pending(&self, core: CoreId) -> bool {
        self.bells.get(usize::from(core)).is_some_and(|b| b.marks.iter().any(Marks::any))
    }

    /// Takes all marks left for `core`.
    pub fn take(&self, core: CoreId, mut each: impl FnMut(LogId)) {
        if let Some(bell) = self.bells.get(usize::from(core)) {
            bell.marks.iter().for_each(|m| m.take(|id| each(LogId(id))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn marks_are_set_once_and_taken_once() {
        let bells = Bells::new(2).unwrap();
        for id in [0, 63, 64, 4096, LOGS_MAX - 1, 63] {
            bells.mark(1, 0, LogId(id));
        }
        let mut taken = Vec::new();
        bells.take(0, |id| taken.push(id.0));
        assert_eq!(taken, [0, 63, 64, 4096, LOGS_MAX - 1]);
        bells.take(0, |_| panic!("taken twice"));
        bells.take(1, |_| panic!("left for the other core"));
    }

    #[test]
    fn a_mark_before_sleep_keeps_awake_and_a_ring_after_it_wakes() {
        let bells = Bells::new(2).unwrap();
        bells.mark(1, 0, LogId(5));
        assert!(!bells.sleep(0, || false));
        assert!(!bells.ring(0), "nobody sleeps");
        bells.take(0, |_| ());
        assert!(!bells.sleep(0, || true));
        assert!(bells.sleep(0, || false));
        bells.mark(1, 0, LogId(5));
        assert!(bells.ring(0));
        assert!(!bells.ring(0), "rung once");
        let mut word = [0; 8];
        assert_eq!(rustix::io::read(bells.eventfd(0).unwrap(), &mut word), Ok(8));
    }

    #[test]
    fn no_wake_up_is_lost_between_two_threads() {
        let bells = Arc::new(Bells::new(2).unwrap());
        let sleeper = std::thread::spawn({
            let bells = bells.clone();
            move || {
                let eventfd = bells.eventfd(0).unwrap();
                let mut seen = 0;
                while seen < 2000 {
                    bells.take(0, |_| seen += 1);
                    if seen < 2000 && bells.sleep(0, || false) {
                        let mut word = [0; 8];
                        rustix::io::read(&eventfd, &mut word).unwrap();
                        bells.awake(0);
                    }
                }
            }
        });
        for id in 0..2000 {
            bells.mark(1, 0, LogId(id));
            bells.ring(0);
        }
        sleeper.join().unwrap();
    }
}
