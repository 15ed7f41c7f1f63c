//! How much load is shed: a level worked out of how close the machine is to its end.
//!
//! A pressure is a number for each [`ShedCause`]: the part of a resource that is used, where 1 is all of it. The
//! highest decides. A level begins at once when its threshold is reached. It ends when every pressure has stayed
//! `RELEASE` below that threshold for the level's [`Level::hold`] without a break, and then only to the next lower
//! one, where the time begins anew: viewers who come back all at once when the door opens do not make it swing.

use crate::media::Mono;
use crate::observe::{PerShedCause, ShedCause};
use std::time::Duration;

/// How far below its threshold a pressure must be for a level to end: 5 % of the resource.
const RELEASE: f64 = 0.05;

/// What is shed; each level includes those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Open,
    /// L1: not ready, and new viewers are refused.
    RefuseViewers,
    /// L2: the slowest viewers are closed.
    DropSlowest,
    /// L3: nobody is accepted.
    StopAccepting,
}

impl Level {
    /// Every level, the lowest first.
    pub const ALL: [Level; 4] = [Level::Open, Level::RefuseViewers, Level::DropSlowest, Level::StopAccepting];

    /// The pressure at which it begins.
    pub const fn threshold(self) -> f64 {
        match self {
            Level::Open => 0.0,
            Level::RefuseViewers => 0.85,
            Level::DropSlowest => 0.92,
            Level::StopAccepting => 0.97,
        }
    }

    /// 0 to 3.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The level of a number; of a larger one the highest.
    pub const fn of_number(number: u8) -> Level {
        match number {
            0 => Level::Open,
            1 => Level::RefuseViewers,
            2 => Level::DropSlowest,
            _ => Level::StopAccepting,
        }
    }

    /// How long it must be calm before the level ends. The highest ends at once: whoever comes then is still turned
    /// away unless it publishes, and publishers should not wait.
    pub const fn hold(self) -> Duration {
        match self {
            Level::Open | Level::StopAccepting => Duration::ZERO,
            Level::RefuseViewers | Level::DropSlowest => Duration::from_secs(5),
        }
    }

    /// The highest level that begins at `pressure` or below.
    fn at(pressure: f64) -> Level {
        Level::ALL.into_iter().rev().find(|level| pressure >= level.threshold()).unwrap_or_default()
    }

    /// The highest level that `cause` can bring about. A full house of connections is refused one by one, by the
    /// budgets and politely: closing slow viewers or the door would only help whoever fills it.
    const fn most(cause: ShedCause) -> Level {
        match cause {
            ShedCause::Connections => Level::RefuseViewers,
            _ => Level::StopAccepting,
        }
    }

    const fn below(self) -> Level {
        Level::of_number(self.number().saturating_sub(1))
    }
}

/// Whether viewers who keep up are to go as well, the slowest first: at the highest level, for what only viewers make and
/// take with them. Nothing else would bring that down, and publishers would find the door shut for ever.
fn relieves(level: Level, pressures: &PerShedCause<f64>) -> bool {
    level == Level::StopAccepting && pressures[ShedCause::Egress] >= level.threshold() - RELEASE
}

/// How high `pressures` raise the level, each taken to be `more` than it is, and which of them does.
fn highest(pressures: &PerShedCause<f64>, more: f64) -> (Level, Option<ShedCause>) {
    let reached = pressures.iter().map(|(cause, pressure)| {
        let level = Level::at(pressure + more).min(Level::most(cause));
        (level, (level > Level::Open).then_some(cause))
    });
    reached.max_by_key(|(level, _)| *level).unwrap_or_default()
}

/// A change of level, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// From now on.
    pub level: Level,
    /// What raised it; none if it fell.
    pub cause: Option<ShedCause>,
}

/// The level and since when it could end.
#[derive(Debug, Default)]
pub struct Shed {
    level: Level,
    relief: bool,
    calm_since: Option<Mono>,
}

impl Shed {
    /// The level that holds.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether viewers who keep up are to go as well.
    pub fn relief(&self) -> bool {
        self.relief
    }

    /// Takes a reading; to be called a few times a second. Returns what changed of the level.
    pub fn feed(&mut self, now: Mono, pressures: &PerShedCause<f64>) -> Option<Change> {
        let change = self.level_after(now, pressures);
        self.relief = relieves(self.level, pressures);
        change
    }

    fn level_after(&mut self, now: Mono, pressures: &PerShedCause<f64>) -> Option<Change> {
        let (level, cause) = highest(pressures, 0.0);
        if level > self.level {
            (self.level, self.calm_since) = (level, None);
            return Some(Change { level, cause });
        }
        if self.level == Level::Open || highest(pressures, RELEASE).0 >= self.level {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.since(since) < self.level.hold() {
            return None;
        }
        (self.level, self.calm_since) = (self.level.below(), None);
        Some(Change { level: self.level, cause: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressures(cause: ShedCause, pressure: f64) -> PerShedCause<f64> {
        let mut all = PerShedCause::default();
        all[ShedCause::Memory] = 0.3;
        all[cause] = pressure;
        all
    }

    /// Readings every 250 ms of one cause, as (pressure, readings, level behind them).
    #[track_caller]
    fn check(cause: ShedCause, rows: &[(f64, usize, u8)]) {
        let (mut shed, mut now) = (Shed::default(), Mono::ZERO);
        for (row, (pressure, readings, level)) in rows.iter().enumerate() {
            for _ in 0..*readings {
                let before = shed.level();
                let change = shed.feed(now, &pressures(cause, *pressure));
                assert_eq!(change.is_some(), before != shed.level(), "row {row}");
                now = now + Duration::from_millis(250);
            }
            assert_eq!(shed.level().number(), *level, "row {row}");
        }
    }

    #[test]
    fn levels_begin_at_once() {
        for cause in [ShedCause::Egress, ShedCause::Memory, ShedCause::LoopLag, ShedCause::Descriptors] {
            check(cause, &[(0.84, 4, 0), (0.85, 1, 1), (0.91, 4, 1), (0.92, 1, 2), (0.97, 1, 3)]);
            check(cause, &[(2.0, 1, 3)]);
        }
        check(ShedCause::Connections, &[(0.84, 4, 0), (0.85, 1, 1), (1.0, 4, 1)]);
    }

    #[test]
    fn levels_end_slowly_and_one_by_one() {
        // The highest at the first calm reading. Five seconds are 20 readings, and one that begins them.
        check(ShedCause::Egress, &[(1.0, 1, 3), (0.93, 9, 3), (0.91, 1, 2), (0.91, 40, 2)]);
        let down = [(0.1, 1, 2), (0.1, 20, 2), (0.1, 1, 1), (0.1, 20, 1), (0.1, 1, 0)];
        check(ShedCause::Egress, &[&[(1.0, 1, 3)], &down[..]].concat());
        check(ShedCause::Egress, &[(0.85, 1, 1), (0.1, 20, 1), (0.1, 1, 0), (0.1, 100, 0)]);
        // Too close to the threshold is not calm; nor is a calm that is broken.
        check(ShedCause::Egress, &[(0.85, 1, 1), (0.81, 100, 1), (0.79, 20, 1), (0.81, 1, 1), (0.79, 20, 1)]);
        check(ShedCause::Egress, &[(0.93, 1, 2), (0.86, 21, 1), (0.86, 100, 1)]);
        // Up again in the middle.
        check(ShedCause::Egress, &[(0.97, 1, 3), (0.5, 9, 2), (0.97, 1, 3), (0.5, 21, 2), (0.5, 1, 1)]);
    }

    #[test]
    fn the_highest_decides() {
        let mut shed = Shed::default();
        let mut all = pressures(ShedCause::Egress, 0.86);
        all[ShedCause::LoopLag] = 0.93;
        all[ShedCause::Connections] = 1.0;
        let change = shed.feed(Mono::ZERO, &all);
        assert_eq!(change, Some(Change { level: Level::DropSlowest, cause: Some(ShedCause::LoopLag) }));
    }

    #[test]
    fn only_what_viewers_make_closes_those_who_keep_up() {
        for cause in ShedCause::ALL {
            let mut shed = Shed::default();
            let mut relief = |pressure| {
                shed.feed(Mono::ZERO, &pressures(cause, pressure));
                shed.relief()
            };
            let made_by_viewers = cause == ShedCause::Egress;
            assert_eq!(
                [0.96, 0.97, 0.93, 0.91, 0.96].map(&mut relief).to_vec(),
                [false, made_by_viewers, made_by_viewers, false, false],
                "{cause:?}"
            );
        }
    }

    #[test]
    fn numbers_are_levels() {
        for number in 0..=3 {
            assert_eq!(Level::of_number(number).number(), number);
        }
        assert_eq!(Level::of_number(200), Level::StopAccepting);
    }

    #[test]
    fn what_is_no_number_sheds_nothing() {
        check(ShedCause::Egress, &[(f64::NAN, 4, 0), (-1.0, 4, 0), (0.85, 1, 1)]);
    }
}
