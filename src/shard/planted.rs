//! Bugs that the simulation must find: a simulation that cannot fail checks nothing. Compiled into its tests only.

/// A bug of the kind that this code is most at risk of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A segment that the kernel still reads is not pinned.
    EarlyEviction,
    /// A sleeping core is not rung.
    LostWakeUp,
    /// The cursor moves twice as far as the send.
    DoubledOffset,
}

#[cfg(not(test))]
pub(super) const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(test)]
pub(crate) use live::{is_planted, plant};

#[cfg(test)]
mod live {
    use super::Bug;
    use std::cell::Cell;

    thread_local!(static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) });

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants `bug`, or none, into what this thread runs.
    pub(crate) fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}
