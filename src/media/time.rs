//! Clocks and timestamps. Sessions and the fan-out never ask a clock: the caller hands in [`Mono`].

use std::time::Duration;

/// A point of the monotonic clock, in microseconds since an origin of the process's choosing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The origin itself.
    pub const ZERO: Mono = Mono(0);
    /// Later than any time that is reached: "no deadline".
    pub const NEVER: Mono = Mono(u64::MAX);

    /// From microseconds since the origin.
    pub const fn from_micros(us: u64) -> Mono {
        Mono(us)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds from `earlier` to `self`; zero if `earlier` is later.
    pub const fn micros_since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, d: Duration) -> Mono {
        Mono(self.0.saturating_add(d.as_micros() as u64))
    }
}
