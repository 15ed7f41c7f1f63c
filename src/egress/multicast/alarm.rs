//! Sends that fail: counted by reason, told when they begin, while they last, and when they are over.

use crate::media::Mono;
use crate::observe::{ChannelMetrics, PerSendError, SendError};
use std::time::Duration;

/// While sends go on failing, a line so often.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// Failures are over when there was none for this long.
const OVER_AFTER: Duration = Duration::from_secs(2);

/// Failures of one reason.
#[derive(Debug, Default)]
struct Failing {
    since: Option<Mono>,
    newest: bool,
    last: Mono,
    told_at: Mono,
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

    /// Tells what there is to tell.
    pub fn watch(&mut self, now: Mono, channel: &str) {
        for (reason, failing) in self.0.iter_mut() {
            if std::mem::take(&mut failing.newest) {
                failing.last = now;
                let began = failing.since.is_none();
                failing.since.get_or_insert(now);
                if began || now.since(failing.told_at) >= TELL_EVERY {
                    failing.told_at = now;
                    let datagrams = std::mem::take(&mut failing.count);
                    tracing::warn!(channel, %reason, datagrams, "channel's datagrams are not taken by the kernel");
                }
            } else if let Some(since) = failing.since
                && now.since(failing.last) >= OVER_AFTER
            {
                let lasted_ms = failing.last.since(since).as_millis() as u64;
                failing.since = None;
                let datagrams = std::mem::take(&mut failing.count);
                tracing::info!(channel, %reason, lasted_ms, datagrams, "channel's datagrams are taken again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_counted() {
        let (metrics, mut failures) = (ChannelMetrics::default(), Failures::default());
        for number in [libc::EAGAIN, libc::ENOBUFS, libc::ENETUNREACH, libc::EPERM, libc::EMSGSIZE, libc::EIO]
        {
            failures.count(number, &metrics);
        }
        assert!(metrics.send_errors.iter().all(|(_, count)| count.get() == 1));
        failures.watch(Mono::from_micros(1), "one");
        assert!(failures.0.iter().all(|(_, failing)| failing.since.is_some() && failing.count == 0));
        failures.watch(Mono::from_micros(2_000_001), "one");
        assert!(failures.0.iter().all(|(_, failing)| failing.since.is_none()));
    }
}
