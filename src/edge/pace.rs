//! How fast somebody may come: so many a second in the long run, so many at once after a pause.
//!
//! A token bucket, kept as the moment at which it will be full again (the generic cell rate algorithm of ITU-T I.371):
//! one number, no refill, and a refusal changes nothing.

use crate::media::Mono;
use std::time::Duration;

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// What one event costs.
    cost: Duration,
    /// What may be owed before an event.
    credit: Duration,
}

impl Pace {
    /// The same with a larger credit: events that happened over a time of `more` are told of at once.
    pub fn late_by(self, more: Duration) -> Pace {
        Pace { credit: self.credit.saturating_add(more), ..self }
    }

    /// `per_s` events a second in the long run and `burst` at once; each at least 1 and at most 1 000 000.
    pub const fn new(per_s: u32, burst: u32) -> Pace {
        let cost_us = 1_000_000 / if per_s == 0 { 1 } else { per_s as u64 };
        let credit_us = cost_us * burst.saturating_sub(1) as u64;
        Pace { cost: Duration::from_micros(cost_us), credit: Duration::from_micros(credit_us) }
    }

    /// Whether an event may happen now. `paid_at` is when everything that happened is paid for; it is moved on.
    pub fn admits(self, paid_at: &mut Mono, now: Mono) -> bool {
        if paid_at.since(now) > self.credit {
            return false;
        }
        *paid_at = (*paid_at).max(now) + self.cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (pace, mut paid_at) = (Pace::new(20, 40), Mono::ZERO);
        let start = Mono::from_micros(5_000_000);
        let mut admitted_at = |ms: u64, tries: u32| {
            let now = start + Duration::from_millis(ms);
            (0..tries).filter(|_| pace.admits(&mut paid_at, now)).count()
        };
        assert_eq!(admitted_at(0, 100), 40);
        assert_eq!(admitted_at(49, 10), 0);
        assert_eq!(admitted_at(50, 10), 1);
        assert_eq!(admitted_at(1050, 100), 20);
        assert_eq!(admitted_at(60_000, 100), 40, "a pause fills it, and not more than that");
        let refused: usize = (0..1000).map(|_| admitted_at(60_000, 1)).sum();
        assert_eq!((refused, admitted_at(60_050, 1)), (0, 1), "who is refused pays nothing");
    }

    #[test]
    fn one_at_a_time() {
        let (pace, mut paid_at) = (Pace::new(1, 1), Mono::ZERO);
        assert!(pace.admits(&mut paid_at, Mono::ZERO));
        assert!(!pace.admits(&mut paid_at, Mono::from_micros(999_999)));
        assert!(pace.admits(&mut paid_at, Mono::from_micros(1_000_000)));
    }
}
