//! The counters of groups that are watched by their address.

use super::cells::{Counter, Gauge};
use super::families::Families;
use super::labels::{PerRelayAnswer, RelayAnswer};

/// Written by all cores: once a request.
#[derive(Debug, Default)]
pub struct RelayMetrics {
    /// Groups that are joined, or are about to be.
    pub groups: Gauge,
    /// Requests, by what became of them.
    pub requests: PerRelayAnswer<Counter>,
}

/// Puts them on the page.
pub(super) fn collect(page: &mut Families, relays: &RelayMetrics) {
    page.gauge(
        "headgate_relay_groups",
        "Groups that are joined because somebody watches them by their address.",
        relays.groups.get() as f64,
    );
    page.counters(
        "headgate_relay_requests_total",
        "Requests for groups by their address, and what became of them.",
        RelayAnswer::ALL
            .map(|answer| (vec![("answer", answer.as_str())], relays.requests[answer].get() as f64)),
    );
}
