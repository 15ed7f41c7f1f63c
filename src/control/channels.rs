//! What the API and the page say about channels.

use super::page::LISTED_MAX;
use crate::observe::{ChannelSlot, Registry, ServiceAbout, ServiceMetrics, SourceState};
use serde::Serialize;
use std::collections::BTreeMap;

/// One channel as the page shows it: what its playlist says too, and whether there is anything on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    name: String,
    /// The stream, where there is one service.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    services: Vec<ListedService>,
    to: Vec<String>,
    bitrate_bps: u64,
    /// `cbr`: made anew; `pass`: its source's own packets.
    mode: &'static str,
    /// All services are.
    on_air: bool,
}

/// A service of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ListedService {
    id: String,
    name: String,
    source: String,
    on_air: bool,
    #[serde(flatten)]
    detail: Option<ServiceDetail>,
}

/// What of it is the operator's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ServiceDetail {
    /// What the source is doing.
    source_state: &'static str,
    /// Access units left out, because the source is faster than the channel or its share of it.
    units_dropped: u64,
}

/// One channel with all that an operator asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ChannelSummary {
    #[serde(flatten)]
    about: Listed,
    /// What the source is doing, or the first that is not on air of several.
    source_state: &'static str,
    /// Share of null packets in the last second.
    null_ratio: f64,
    datagrams: u64,
    /// Datagrams that the kernel did not take, by reason; those that there were.
    send_errors: BTreeMap<&'static str, u64>,
    /// Indicators of TR 101 290 that were raised on what is sent, and how often.
    indicators: BTreeMap<&'static str, u64>,
}

fn listed(slot: &ChannelSlot, detailed: bool) -> Listed {
    let (one, services) = (slot.about.services.first(), slot.about.services.iter().zip(slot.services.iter()));
    let service = |(about, metrics): (&ServiceAbout, &ServiceMetrics)| ListedService {
        id: about.id.clone(),
        name: about.name.clone(),
        source: about.source.clone(),
        on_air: metrics.state() == SourceState::OnAir,
        detail: detailed.then(|| ServiceDetail {
            source_state: metrics.state().as_str(),
            units_dropped: metrics.units_dropped.get(),
        }),
    };
    Listed {
        name: slot.about.name.clone(),
        source: one.filter(|_| slot.about.services.len() == 1).map(|one| one.source.clone()),
        services: services.map(service).collect(),
        to: slot.about.to.clone(),
        bitrate_bps: slot.about.bitrate_bps,
        mode: if slot.about.passes { "pass" } else { "cbr" },
        on_air: slot.state() == SourceState::OnAir,
    }
}

/// For the page, in the order of the configuration, and how many more there are.
pub(super) fn list(registry: &Registry) -> (Vec<Listed>, usize) {
    let shown = |slot: &ChannelSlot| Listed {
        // Our interfaces and addresses are nobody's business there.
        to: slot.about.to.iter().map(|to| place(to)).collect(),
        ..listed(slot, false)
    };
    let omitted = registry.channels.len().saturating_sub(LISTED_MAX);
    (registry.channels.iter().take(LISTED_MAX).map(shown).collect(), omitted)
}

/// `to` without the interface and the source that stand before its address.
fn place(to: &str) -> String {
    match (to.split_once("://"), to.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, address))) => format!("{scheme}://{address}"),
        _ => to.to_owned(),
    }
}

/// For the API, in the order of the configuration.
pub(super) fn summaries(registry: &Registry) -> Vec<ChannelSummary> {
    let summary = |slot: &ChannelSlot| {
        let errors = slot.metrics.send_errors.iter().map(|(reason, count)| (reason.as_str(), count.get()));
        let raised = slot.indicators.iter().map(|(indicator, count)| (*indicator, count.get()));
        ChannelSummary {
            about: listed(slot, true),
            source_state: slot.state().as_str(),
            null_ratio: slot.metrics.nulls.get(),
            datagrams: slot.metrics.datagrams.get(),
            send_errors: errors.filter(|(_, count)| *count > 0).collect(),
            indicators: raised.filter(|(_, count)| *count > 0).collect(),
        }
    };
    registry.channels.iter().map(summary).collect()
}
