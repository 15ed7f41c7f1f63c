//! Sends to one destination that fail: counted by reason, told when they begin, while they last, and when they are over.
//!
//! Of a link that does not work there is one line for all its channels ([`crate::shard::links`]); what cannot be sent on it is
//! counted here, and not told for each of them.

use crate::media::Mono;
use crate::observe::{ChannelMetrics, PerSendError, SendError};
use std::time::Duration;

/// While sends go on failing, a line so often.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Failures are over when there was none for this long.
const OVER_AFTER: Duration = Duration::from_secs(2);
/// Who cannot reach anybody waits so long with saying so: the link may be the reason, and whoever looks at links may be held
/// up.
const LINK_WAIT: Duration = Duration::from_secs(2);

/// Failures of one reason.
#[derive(Debug, Default)]
struct Failing {
    since: Option<Mono>,
    newest: bool,
    last: Mono,
    told_at: Option<Mono>,
    /// Since the last line.
    count: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Failures(PerSendError<Failing>);

/// The reason behind the kernel's number.
pub(super) fn reason(number: i32) -> SendError {
    match number {
        libc::EAGAIN => SendError::Full,
        libc::ENOBUFS | libc::ENOMEM => SendError::NoBuffers,
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::ENODEV
        | libc::EADDRNOTAVAIL
        | libc::ENXIO => SendError::Unreachable,
        libc::EPERM | libc::EACCES => SendError::Forbidden,
        libc::EMSGSIZE => SendError::TooLarge,
        _ => SendError::Other,
    }
}

impl Failures {
    /// A datagram was not taken.
    pub fn count(&mut self, number: i32, metrics: &ChannelMetrics) {
        let reason = reason(number);
        metrics.send_errors[reason].inc();
        let failing = &mut self.0[reason];
        failing.count += 1;
        failing.newest = true;
    }

    /// Whether anything was said of sends that fail.
    #[cfg(test)]
    pub fn is_told(&self) -> bool {
        self.0.iter().any(|(_, failing)| failing.told_at.is_some())
    }

    /// Tells what there is to tell, of which channel and destination. `reachable`: its link works, as far as is known.
    pub fn watch(&mut self, now: Mono, (channel, to): (&str, &str), reachable: bool) {
        for (reason, failing) in self.0.iter_mut() {
            if std::mem::take(&mut failing.newest) {
                failing.last = now;
                let since = *failing.since.get_or_insert(now);
                if reason == SendError::Unreachable && failing.told_at.is_none() {
                    if !reachable {
                        failing.since = Some(now);
                    }
                    if !reachable || now.since(since) < LINK_WAIT {
                        continue;
                    }
                }
                if failing.told_at.is_none_or(|at| now.since(at) >= TELL_EVERY) {
                    failing.told_at = Some(now);
                    let datagrams = std::mem::take(&mut failing.count);
                    tracing::warn!(channel, to, %reason, datagrams, "channel's datagrams are not taken by the kernel");
                }
            } else if let Some(since) = failing.since
                && now.since(failing.last) >= OVER_AFTER
            {
                let lasted_ms = failing.last.since(since).as_millis() as u64;
                failing.since = None;
                let datagrams = std::mem::take(&mut failing.count);
                if failing.told_at.take().is_some() {
                    tracing::info!(channel, to, %reason, lasted_ms, datagrams, "channel's datagrams are taken again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: (&str, &str) = ("one", "udp://239.255.1.1:5000");

    #[test]
    fn every_failure_is_counted() {
        let (metrics, mut failures) = (ChannelMetrics::default(), Failures::default());
        for number in [libc::EAGAIN, libc::ENOBUFS, libc::ENETUNREACH, libc::EPERM, libc::EMSGSIZE, libc::EIO]
        {
            failures.count(number, &metrics);
        }
        assert!(metrics.send_errors.iter().all(|(_, count)| count.get() == 1));
        let at = |ms: u64| Mono::from_micros(ms * 1000);
        failures.watch(at(0), ONE, true);
        // Of the link it is not known yet.
        let told = |failing: &Failing| (failing.since.is_some(), failing.told_at.is_some(), failing.count);
        for (reason, failing) in failures.0.iter() {
            let waits = reason == SendError::Unreachable;
            assert_eq!(told(failing), (true, !waits, u64::from(waits)), "{reason}");
        }
        failures.watch(at(2000), ONE, true);
        assert!(failures.0.iter().all(|(_, failing)| told(failing) == (false, false, 0)));
    }

    /// What a link that does not work costs is not told for each channel; what lasts though it works is.
    #[test]
    fn a_dead_link_is_no_line_of_a_channel() {
        let (metrics, mut failures) = (ChannelMetrics::default(), Failures::default());
        let at = |ms: u64| Mono::from_micros(ms * 1000);
        // (from when on the link works, when a line comes)
        for (works_ms, first_told_ms) in [(9999, None), (0, Some(2000)), (2500, Some(4400))] {
            failures.0 = Default::default();
            let mut told = None;
            for ms in (0..5000).step_by(100) {
                failures.count(libc::ENETUNREACH, &metrics);
                failures.watch(at(ms), ONE, ms >= works_ms);
                told = told.or(failures.0[SendError::Unreachable].told_at);
            }
            assert_eq!(told, first_told_ms.map(at), "{works_ms}");
        }
    }
}
