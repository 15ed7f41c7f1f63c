//! A line on the terminal that says how far it is.

use std::io::Write;
use std::time::{Duration, Instant};

/// Time between two updates, and before the first: what is done sooner needs none.
const EVERY: Duration = Duration::from_millis(200);

/// The line; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    next: Option<Instant>,
}

impl Progress {
    /// `wanted`: somebody watches.
    pub fn new(wanted: bool) -> Progress {
        Progress { shown: false, next: wanted.then(|| Instant::now() + EVERY) }
    }

    /// Says how far it is, now and then.
    pub fn update(&mut self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = Some(now + EVERY);
            self.shown = true;
            // Nobody to tell: nothing to do.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}", line());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
