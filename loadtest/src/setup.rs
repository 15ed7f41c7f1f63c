//! What became of every connection that should have begun: set up when, ended how.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// Longest set-up that is told apart, us.
const SETUP_MAX_US: u64 = 60_000_000;

/// Reason of a connection that was due when the run ended but never begun.
pub const NOT_BEGUN: &str = "not begun in time";

/// The account of connections to one address.
#[derive(Clone, Debug)]
pub struct Setups {
    /// From the moment a connection should have begun to its first video frame, us.
    pub setup_us: Histogram<u64>,
    /// From that moment to connect(2): what of it is this process' own lateness, us.
    pub late_us: Histogram<u64>,
    /// Connections begun.
    pub begun: u64,
    /// Those that got their first frame and left by themselves when their time was over.
    pub served: u64,
    /// Those that were there at the end of the run.
    pub stayed: u64,
    /// Those that ended otherwise, by reason.
    pub errors: BTreeMap<String, u64>,
}

impl Default for Setups {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, SETUP_MAX_US, 3).expect("constant bounds are valid");
        Self {
            setup_us: histogram(),
            late_us: histogram(),
            begun: 0,
            served: 0,
            stayed: 0,
            errors: BTreeMap::new(),
        }
    }
}

impl Setups {
    /// A connection that was due at `due_ns` begins now.
    pub fn begin(&mut self, due_ns: u64, now_ns: u64) {
        self.begun += 1;
        self.late_us.saturating_record(us(due_ns, now_ns));
    }

    /// The first frame of a connection that was due at `due_ns` came at `frame_ns`.
    pub fn first_frame(&mut self, due_ns: u64, frame_ns: u64) {
        self.setup_us.saturating_record(us(due_ns, frame_ns));
    }

    /// A connection ended before its time.
    pub fn error(&mut self, reason: &str) {
        self.errors(reason, 1);
    }

    /// As [`Self::error`], for `count` of them.
    pub fn errors(&mut self, reason: &str, count: u64) {
        if count > 0 {
            *self.errors.entry(reason.to_owned()).or_default() += count;
        }
    }

    /// Adds another thread's or another address'.
    pub fn add(&mut self, other: &Setups) {
        // All were made with the same bounds.
        let _ = self.setup_us.add(&other.setup_us);
        let _ = self.late_us.add(&other.late_us);
        self.begun += other.begun;
        self.served += other.served;
        self.stayed += other.stayed;
        other.errors.iter().for_each(|(reason, &count)| self.errors(reason, count));
    }
}

fn us(from_ns: u64, to_ns: u64) -> u64 {
    (to_ns.saturating_sub(from_ns) / 1000).max(1)
}

/// How many connections came to which end. `due` is `served + stayed + failed`, or a connection was lost sight of.
#[derive(Debug, Serialize)]
pub struct Ends {
    /// Should have begun.
    pub due: u64,
    /// Begun.
    pub begun: u64,
    /// Got their first frame, and left when their time was over.
    pub served: u64,
    /// Were still there at the end.
    pub stayed: u64,
    /// Everything else.
    pub failed: u64,
    /// That, by reason.
    pub errors: BTreeMap<String, u64>,
}

impl Ends {
    /// The ends of `due` connections.
    pub fn new(due: u64, setups: &Setups) -> Self {
        Self {
            due,
            begun: setups.begun,
            served: setups.served,
            stayed: setups.stayed,
            failed: setups.errors.values().sum(),
            errors: setups.errors.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_up_counts_from_when_it_should_have_begun() {
        let mut setups = Setups::default();
        // Due at 1 ms, begun 400 ms late because somebody held this process up, served 10 ms later.
        setups.begin(1_000_000, 401_000_000);
        setups.first_frame(1_000_000, 411_000_000);
        assert!(setups.setup_us.max().abs_diff(410_000) < 410, "{}", setups.setup_us.max());
        assert!(setups.late_us.max().abs_diff(400_000) < 400, "{}", setups.late_us.max());
    }

    #[test]
    fn the_slowest_hundredth_is_seen() {
        let (mut one, mut other) = (Setups::default(), Setups::default());
        (0..980).for_each(|_| one.first_frame(0, 5_000_000));
        (0..20).for_each(|_| other.first_frame(0, 700_000_000));
        one.add(&other);
        assert_eq!(one.setup_us.len(), 1000);
        assert!(one.setup_us.value_at_quantile(0.97) < 5_100);
        assert!(one.setup_us.value_at_quantile(0.99) >= 699_000);
        // Longer than the histogram is long counts as its longest, not as nothing.
        one.first_frame(0, u64::MAX);
        assert_eq!(one.setup_us.len(), 1001);
        assert!(one.setup_us.max() >= SETUP_MAX_US);
    }

    #[test]
    fn every_connection_has_one_end() {
        let mut setups = Setups { served: 5, stayed: 2, ..Setups::default() };
        (0..9).for_each(|_| setups.begin(0, 1));
        setups.error("refused: NetStream.Play.StreamNotFound");
        setups.error("HTTP status 503");
        let mut other = Setups::default();
        other.error("HTTP status 503");
        other.errors(NOT_BEGUN, 0);
        other.begin(0, 1);
        setups.add(&other);
        let ends = Ends::new(10, &setups);
        assert_eq!(ends.due, ends.served + ends.stayed + ends.failed);
        assert_eq!((ends.begun, ends.failed, ends.errors["HTTP status 503"]), (10, 3, 2));
        assert_eq!(ends.errors.len(), 2, "no reason without a case");
    }
}
