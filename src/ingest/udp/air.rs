//! Which origin of an input is on air: the primary, or what took its place. Pure: health and time in, decisions out.
//!
//! - What is on air stays there while it brings media, unless an earlier origin has been clean for long enough.
//! - A change happens at a frame that viewers can begin with, of the origin that is taken: until then the old one goes on, if
//!   it still does.
//! - In the beginning a backup waits as long for the primary as it would if that had been lost.

use crate::media::Mono;
use crate::observe::SwitchReason;
use std::time::Duration;

/// Pause before a name that was not to be had is claimed again.
pub(super) const CLAIM_AGAIN: Duration = Duration::from_secs(1);

/// How an origin does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// It brings media.
    pub alive: bool,
    /// Since when, without a fault.
    pub clean_since: Option<Mono>,
}

/// What a frame to begin with leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Nothing: its origin is on air, or another one should be.
    No,
    /// The stream begins, or begins again, with it.
    Begin,
    /// It takes over.
    Switch(SwitchReason),
}

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Air {
    current: Option<usize>,
    failover: Duration,
    revert: Option<Duration>,
    /// Until when backups wait for the primary.
    patient_until: Mono,
    /// Not before the name may be claimed.
    claim_at: Mono,
}

impl Air {
    /// Nothing is on air at `now`.
    pub fn new(failover: Duration, revert: Option<Duration>, now: Mono) -> Air {
        Air { current: None, failover, revert, patient_until: now + failover, claim_at: Mono::ZERO }
    }

    /// What is on air.
    pub fn current(&self) -> Option<usize> {
        self.current
    }

    /// A frame to begin with came of origin `at`; `health` tells of all.
    pub fn start(&self, now: Mono, at: usize, health: impl Fn(usize) -> Health) -> Start {
        let before_is_alive = (0..at).any(|before| health(before).alive);
        let Some(current) = self.current else {
            let wait = before_is_alive || now < self.claim_at || (at > 0 && now < self.patient_until);
            return if wait { Start::No } else { Start::Begin };
        };
        if at == current {
            return Start::No;
        }
        if !health(current).alive {
            return if before_is_alive { Start::No } else { Start::Switch(SwitchReason::Silence) };
        }
        let clean = health(at).clean_since;
        let long = clean.zip(self.revert).is_some_and(|(since, revert)| now.since(since) >= revert);
        if at < current && long { Start::Switch(SwitchReason::Revert) } else { Start::No }
    }

    /// Origin `at` is put on air.
    pub fn put(&mut self, at: usize) {
        self.current = Some(at);
    }

    /// The name was not to be had, or somebody else has it now.
    pub fn refused(&mut self, now: Mono) {
        (self.current, self.claim_at) = (None, now + CLAIM_AGAIN);
    }

    /// The name is claimed after a while only.
    pub fn wait(&mut self, now: Mono) {
        self.claim_at = self.claim_at.max(now + CLAIM_AGAIN);
    }

    /// Nothing came for too long: whatever comes first is taken, the primary preferred.
    pub fn silent(&mut self, now: Mono) {
        (self.current, self.patient_until) = (None, now + self.failover);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1000)
    }

    /// (alive, clean since in ms) of the origins.
    fn start(air: &Air, ms: u64, origin: usize, health: &[(bool, Option<u64>)]) -> Start {
        air.start(at(ms), origin, |n| {
            let (alive, clean) = health[n];
            Health { alive, clean_since: clean.map(at) }
        })
    }

    const UP: (bool, Option<u64>) = (true, Some(0));
    const DOWN: (bool, Option<u64>) = (false, None);

    fn air(current: Option<usize>) -> Air {
        let mut air = Air::new(Duration::from_millis(200), Some(Duration::from_secs(10)), at(0));
        current.into_iter().for_each(|at| air.put(at));
        air
    }

    #[test]
    fn the_primary_begins_if_it_is_there() {
        assert_eq!(start(&air(None), 10, 0, &[UP, UP]), Start::Begin);
        assert_eq!(start(&air(None), 10, 1, &[DOWN, UP]), Start::No, "the primary may be on its way");
        assert_eq!(start(&air(None), 200, 1, &[DOWN, UP]), Start::Begin);
        assert_eq!(start(&air(None), 200, 1, &[UP, UP]), Start::No, "it is there, its keyframe is to come");
    }

    #[test]
    fn the_first_that_is_left_takes_over() {
        let silence = Start::Switch(SwitchReason::Silence);
        for (origin, health, expected) in [
            (1, [UP, UP, UP], Start::No),
            (1, [DOWN, UP, UP], silence),
            (2, [DOWN, UP, UP], Start::No),
            (2, [DOWN, DOWN, UP], silence),
            (0, [UP, UP, UP], Start::No),
        ] {
            assert_eq!(start(&air(Some(0)), 5000, origin, &health), expected, "{origin} {health:?}");
        }
    }

    #[test]
    fn an_earlier_one_comes_back_when_it_was_clean() {
        let (revert, current) = (Start::Switch(SwitchReason::Revert), air(Some(1)));
        for (ms, clean, expected) in
            [(9_999, 0, Start::No), (10_000, 0, revert), (12_000, 2_001, Start::No), (12_001, 2_001, revert)]
        {
            assert_eq!(start(&current, ms, 0, &[(true, Some(clean)), UP]), expected, "{ms} {clean}");
        }
        assert_eq!(start(&air(Some(0)), 99_999, 1, &[UP, UP]), Start::No, "a later one never");
        let mut stays = Air::new(Duration::from_millis(200), None, at(0));
        stays.put(1);
        assert_eq!(start(&stays, 99_999, 0, &[UP, UP]), Start::No);
        assert_eq!(start(&stays, 99_999, 0, &[UP, DOWN]), Start::Switch(SwitchReason::Silence));
    }

    #[test]
    fn a_name_is_claimed_again_after_a_while() {
        let mut air = air(Some(1));
        air.refused(at(5000));
        assert_eq!((air.current(), start(&air, 5999, 0, &[UP, UP])), (None, Start::No));
        assert_eq!(start(&air, 6000, 0, &[UP, UP]), Start::Begin);
        air.put(0);
        air.silent(at(7000));
        assert_eq!(start(&air, 7100, 1, &[DOWN, UP]), Start::No);
        assert_eq!(start(&air, 7200, 1, &[DOWN, UP]), Start::Begin);
    }
}
