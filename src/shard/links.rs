//! The machine's interfaces as of a moment ago, for all cores: who has joined a group must know when its interface goes
//! down, comes back or is another one, because the kernel forgets memberships together with an interface.
//!
//! One thread [looks](Links::look) now and then; the cores compare a number, and ask only when it has changed.
#![forbid(unsafe_code)]

use super::interfaces::{self, Interface};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module's description.
#[derive(Debug)]
pub struct Links {
    newest: Mutex<Arc<[Interface]>>,
    changes: AtomicU64,
}

impl Links {
    /// As they are now.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn new() -> io::Result<Links> {
        Ok(Links::of(interfaces::list()?))
    }

    /// These, until somebody looks.
    pub fn of(interfaces: Vec<Interface>) -> Links {
        Links { newest: Mutex::new(interfaces.into()), changes: AtomicU64::new(1) }
    }

    /// Asks the kernel again. Returns whether anything has changed.
    ///
    /// # Errors
    /// The kernel does not tell; what was known stays.
    pub fn look(&self) -> io::Result<bool> {
        let interfaces: Arc<[Interface]> = interfaces::list()?.into();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *newest != interfaces;
        if changed {
            *newest = interfaces;
            self.changes.fetch_add(1, Ordering::Release);
        }
        Ok(changed)
    }

    /// Another number than before: something has changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// What was seen last.
    pub fn newest(&self) -> Arc<[Interface]> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_tells_what_has_changed() {
        let links = Links::of(Vec::new());
        let before = links.changes();
        assert!(links.look().unwrap() && links.changes() != before, "there is a loopback");
        assert!(links.newest().iter().any(|interface| interface.name == "lo"));
    }
}
