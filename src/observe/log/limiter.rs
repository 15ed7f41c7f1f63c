//! One line a second of each kind: what strangers can cause as often as they like must not fill the log.

use crate::observe::labels::{DisconnectReason, PerDisconnectReason, PerRefuseReason, RefuseReason};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Lines of one kind are so far apart at least.
const APART: Duration = Duration::from_secs(1);

/// Lines of all kinds that were left out, for the metrics.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// How many lines were left out since the start because others of their kind had just been written.
pub fn suppressed_lines() -> u64 {
    SUPPRESSED.load(Relaxed)
}

/// Lets one line a second pass, and counts the others. Shared by threads; the clock is the caller's.
#[derive(Debug, Default)]
pub struct Limiter {
    /// Microseconds from which on the next line may be written.
    next_at_us: AtomicU64,
    suppressed: AtomicU64,
}

impl Limiter {
    /// Asks for a line at `now`, the time since any fixed origin. If it may be written: how many were not since the last
    /// one that was.
    pub fn ask(&self, now: Duration) -> Option<u64> {
        let lines = self.pass(now);
        if lines.is_none() {
            self.suppressed.fetch_add(1, Relaxed);
            SUPPRESSED.fetch_add(1, Relaxed);
        }
        lines
    }

    /// Lines that were left out and wait to be mentioned, if none of their kind has come for a second; mentions them.
    pub fn overdue(&self, now: Duration) -> Option<u64> {
        if self.suppressed.load(Relaxed) == 0 {
            return None;
        }
        self.pass(now)
    }

    fn pass(&self, now: Duration) -> Option<u64> {
        let now_us = now.as_micros() as u64;
        let due = |next: u64| (now_us >= next).then(|| now_us + APART.as_micros() as u64);
        // Of several threads one gets it.
        self.next_at_us.fetch_update(Relaxed, Relaxed, due).ok()?;
        Some(self.suppressed.swap(0, Relaxed))
    }
}

/// A limiter for each reason for which somebody is turned away or closed.
#[derive(Debug, Default)]
pub struct Limiters {
    /// At accept.
    pub refused: PerRefuseReason<Limiter>,
    /// Later.
    pub closed: PerDisconnectReason<Limiter>,
    /// Publishers' sessions that ended with an error of theirs.
    pub broken: Limiter,
    /// Viewers for whom their publisher has nothing any more.
    pub let_go: Limiter,
    /// Streams that ended.
    pub ended: Limiter,
}

impl Limiters {
    /// What lines were left out and are not mentioned yet: what happened, its reason, how many; they are then.
    pub fn overdue(&self, now: Duration) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let refused = self
            .refused
            .iter()
            .map(|(reason, limiter)| ("connection refused", RefuseReason::as_str(reason), limiter));
        let closed = self
            .closed
            .iter()
            .map(|(reason, limiter)| ("request refused", DisconnectReason::as_str(reason), limiter));
        let others = [
            ("publisher's session closed", "error", &self.broken),
            ("viewers let go", "unsupported_codec", &self.let_go),
            ("stream ended", "over", &self.ended),
        ];
        let all = refused.chain(closed).chain(others);
        all.filter_map(move |(what, reason, limiter)| Some((what, reason, limiter.overdue(now)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_a_second_and_the_rest_is_counted() {
        let (limiter, before) = (Limiter::default(), suppressed_lines());
        assert_eq!(limiter.ask(ms(500)), Some(0));
        assert!((501..1500).step_by(100).all(|at| limiter.ask(ms(at)).is_none()));
        assert_eq!(limiter.ask(ms(1500)), Some(10));
        assert_eq!(limiter.ask(ms(2500)), Some(0));
        assert!(suppressed_lines() - before >= 10);
    }

    #[test]
    fn what_was_left_out_is_mentioned_once() {
        let limiters = Limiters::default();
        let limiter = &limiters.closed[DisconnectReason::AddressViewers];
        let overdue = |at| limiters.overdue(ms(at)).collect::<Vec<_>>();
        assert_eq!((limiter.ask(ms(0)), overdue(5000)), (Some(0), vec![]), "nothing was left out");
        assert_eq!((limiter.ask(ms(6000)), limiter.ask(ms(6001)), overdue(6999)), (Some(0), None, vec![]));
        assert_eq!(overdue(7000), [("request refused", "address_viewers", 1)]);
        assert_eq!(overdue(9000), []);
    }

    #[test]
    fn threads_get_one_line_together() {
        let limiter = Limiter::default();
        let ask = || (0..1000).filter(|_| limiter.ask(ms(10)).is_some()).count();
        let lines: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((lines, limiter.overdue(ms(1010))), (1, Some(3999)));
    }
}
