//! What the API and the page say about channels.

use crate::observe::{ChannelSlot, Registry, SourceState};
use serde::Serialize;
use std::collections::BTreeMap;

/// Channels on the page; more are left out there, not from the API.
const LISTED_MAX: usize = 200;

/// One channel as the page shows it: what its playlist says too, and whether there is anything on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    name: String,
    source: String,
    to: Vec<String>,
    bitrate_bps: u64,
    /// `cbr`: made anew; `pass`: its source's own packets.
    mode: &'static str,
    on_air: bool,
}

/// One channel with all that an operator asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ChannelSummary {
    #[serde(flatten)]
    about: Listed,
    /// What the source is doing.
    source_state: &'static str,
    /// Share of null packets in the last second.
    null_ratio: f64,
    datagrams: u64,
    /// Datagrams that the kernel did not take, by reason; those that there were.
    send_errors: BTreeMap<&'static str, u64>,
    /// Indicators of TR 101 290 that were raised on what is sent, and how often.
    indicators: BTreeMap<&'static str, u64>,
}

fn listed(slot: &ChannelSlot) -> Listed {
    Listed {
        name: slot.about.name.clone(),
        source: slot.about.source.clone(),
        to: slot.about.to.clone(),
        bitrate_bps: slot.about.bitrate_bps,
        mode: if slot.about.passes { "pass" } else { "cbr" },
        on_air: slot.metrics.state() == SourceState::OnAir,
    }
}

/// For the page, in the order of the configuration.
pub(super) fn list(registry: &Registry) -> Vec<Listed> {
    let shown = |slot: &ChannelSlot| Listed {
        // Our interfaces and addresses are nobody's business there.
        to: slot.about.to.iter().map(|to| place(to)).collect(),
        ..listed(slot)
    };
    registry.channels.iter().take(LISTED_MAX).map(shown).collect()
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
            about: listed(slot),
            source_state: slot.metrics.state().as_str(),
            null_ratio: slot.metrics.nulls.get(),
            datagrams: slot.metrics.datagrams.get(),
            send_errors: errors.filter(|(_, count)| *count > 0).collect(),
            indicators: raised.filter(|(_, count)| *count > 0).collect(),
        }
    };
    registry.channels.iter().map(summary).collect()
}
