//! What a source of a channel is doing, and the alarms about it.

use crate::media::Mono;
use crate::observe::{ServiceMetrics, SourceState};
use crate::shard::pacer::{Heard, WATCH};
use std::time::Duration;

/// A source that brings nothing for this long is lost: with the time until somebody looks, the alarm comes within half a
/// second.
const SILENCE: Duration = Duration::from_millis(400);
const _: () = assert!(SILENCE.as_millis() + WATCH.as_millis() <= 500);

/// Shortest time between two lines about a source: one that comes and goes all the time has one now and then, and the
/// metrics count the rest.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// See the module's description.
#[derive(Debug)]
pub(super) struct Source {
    state: SourceState,
    /// What the log says it is, and when there may be another line.
    said: SourceState,
    line_at: Mono,
    /// What it is while it brings nothing.
    otherwise: SourceState,
    /// Why it is refused, if it is.
    why: Option<&'static str>,
    fed_at: Option<Mono>,
    lost_at: Mono,
    watched_at: Mono,
    /// Its own packets are sent, and nothing without it.
    passes: bool,
}

impl Source {
    pub fn new(now: Mono, passes: bool) -> Source {
        let state = SourceState::NoStream;
        Source {
            state,
            said: state,
            line_at: Mono::ZERO,
            otherwise: state,
            why: None,
            fed_at: None,
            lost_at: now,
            watched_at: now,
            passes,
        }
    }

    /// The channel's clock starts.
    pub fn begin(&mut self, now: Mono) {
        *self = Source::new(now, self.passes);
    }

    /// Something came.
    pub fn fed(&mut self, now: Mono) {
        self.fed_at = Some(now);
    }

    /// News of it.
    pub fn heard(&mut self, heard: Heard) {
        if heard != Heard::Skipped {
            self.why = if let Heard::Refused(why) = heard { Some(why) } else { None };
        }
        self.otherwise = match (heard, self.otherwise) {
            // It is not there because it has just ended.
            (Heard::NoStream, SourceState::Ended) | (Heard::Ended, _) => SourceState::Ended,
            (Heard::NoStream, _) => SourceState::NoStream,
            (Heard::Found, _) => SourceState::Silent,
            (Heard::Refused(_), _) => SourceState::Refused,
            (Heard::Skipped, before) => before,
        };
    }

    /// Looks what has become of it: counts, and tells of changes.
    pub fn watch(
        &mut self,
        now: Mono,
        channel: &str,
        source: impl std::fmt::Display,
        metrics: &ServiceMetrics,
    ) {
        let brings = self.fed_at.is_some_and(|at| now.since(at) < SILENCE);
        let state = if brings { SourceState::OnAir } else { self.otherwise };
        let was = std::mem::replace(&mut self.state, state);
        let passed_ms = now.since(self.watched_at).as_millis() as u64;
        self.watched_at = now;
        if was != SourceState::OnAir {
            metrics.source_lost_ms.add(passed_ms);
        }
        if was != state {
            metrics.source_state.set(state.index() as i64);
            if was == SourceState::OnAir {
                self.lost_at = self.fed_at.unwrap_or(now);
                metrics.source_losses.inc();
            }
        }
        if state != self.said && now >= self.line_at {
            self.line_at = now + LINE_EVERY;
            let was = std::mem::replace(&mut self.said, state);
            self.say(now, channel, source, was);
        }
    }

    /// One line: of what it was, it has become what it is.
    fn say(&self, now: Mono, channel: &str, source: impl std::fmt::Display, was: SourceState) {
        match (was, self.state) {
            (_, SourceState::OnAir) => {
                let after_ms = now.since(self.lost_at).as_millis() as u64;
                tracing::info!(channel, %source, after_ms, "channel's source is on air");
            }
            (SourceState::OnAir, state) => {
                if self.passes {
                    tracing::warn!(channel, %source, cause = %state, why = self.why, "channel's source is lost; nothing is sent until it is back");
                } else {
                    tracing::warn!(channel, %source, cause = %state, why = self.why, "channel's source is lost; nulls, tables and clock go on");
                }
            }
            (_, state @ SourceState::Refused) => {
                tracing::warn!(channel, %source, cause = %state, why = self.why, "channel has nothing to send");
            }
            (_, state) => tracing::info!(channel, %source, cause = %state, "channel waits for its source"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_counted_once_with_its_cause() {
        let metrics = ServiceMetrics::default();
        let at = |ms: u64| Mono::from_micros(ms * 1000);
        let mut source = Source::new(at(0), false);
        // (ms, news, fed, state, losses, seconds lost so far in ms)
        let rows: [(u64, Option<Heard>, bool, SourceState, u64, u64); 11] = [
            (100, Some(Heard::NoStream), false, SourceState::NoStream, 0, 100),
            (200, Some(Heard::Found), false, SourceState::Silent, 0, 200),
            (300, None, true, SourceState::OnAir, 0, 300),
            (600, Some(Heard::Skipped), false, SourceState::OnAir, 0, 300),
            (700, None, false, SourceState::Silent, 1, 300),
            (800, Some(Heard::Ended), false, SourceState::Ended, 1, 400),
            (900, Some(Heard::NoStream), false, SourceState::Ended, 1, 500),
            (1000, Some(Heard::Refused("codecs")), false, SourceState::Refused, 1, 600),
            (1100, Some(Heard::Found), true, SourceState::OnAir, 1, 700),
            (1200, None, true, SourceState::OnAir, 1, 700),
            (5000, Some(Heard::NoStream), false, SourceState::NoStream, 2, 700),
        ];
        for (ms, heard, fed, state, losses, lost_ms) in rows {
            heard.into_iter().for_each(|heard| source.heard(heard));
            if fed {
                source.fed(at(ms));
            }
            source.watch(at(ms), "one", "live/one", &metrics);
            let found = (metrics.state(), metrics.source_losses.get(), metrics.source_lost_ms.get());
            assert_eq!(found, (state, losses, lost_ms), "at {ms} ms");
        }
    }

    /// A source that flaps has a line a second, and the last one says what it is.
    #[test]
    fn a_source_that_flaps_has_few_lines() {
        let (metrics, mut source) = (ServiceMetrics::default(), Source::new(Mono::ZERO, false));
        let at = |ms: u64| Mono::from_micros(ms * 1000);
        let (mut said, mut lines) = (source.said, 0);
        for ms in (0..10_000).step_by(100) {
            // On air for half a second, and away for as long.
            if ms % 1000 < 100 {
                source.fed(at(ms));
            }
            source.watch(at(ms), "one", "live/one", &metrics);
            lines += u32::from(std::mem::replace(&mut said, source.said) != source.said);
        }
        assert_eq!(metrics.source_losses.get(), 10);
        assert!((2..=11).contains(&lines), "{lines}");
        source.watch(at(20_000), "one", "live/one", &metrics);
        assert_eq!((source.said, source.state), (SourceState::NoStream, SourceState::NoStream));
    }
}
