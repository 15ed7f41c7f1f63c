//! What the API and the page say about inputs.

use super::page::LISTED_MAX;
use crate::media::Mono;
use crate::observe::{InputSlot, Named, OriginMetrics, Reception, Registry, SwitchReason};
use crate::shard::engine::clock;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An indicator that was raised within this is still on, whether it lasts or not: who looks now and then sees it.
const ACTIVE: Duration = Duration::from_secs(5);

/// One input as the page shows it: our addresses are nobody's business there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    stream: String,
    on_air: bool,
    /// Another origin than the first is on air.
    backup: bool,
    bitrate_bps: u64,
}

/// One input with all that an operator asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct InputSummary {
    stream: String,
    /// `on_air`; `ready`: it has something to publish, and the name is not to be had or its keyframe is to come; `silent`:
    /// nothing that it could publish comes; `deaf`: it cannot listen.
    state: &'static str,
    on_air: bool,
    /// The origin on air, from 0; of those that are merged always the first.
    origin: Option<usize>,
    /// All origins are one stream.
    merged: bool,
    /// Times that another origin was put on air, by reason.
    failovers: BTreeMap<&'static str, u64>,
    claims_refused: u64,
    deposed: u64,
    no_program: u64,
    origins: Vec<OriginSummary>,
    /// What has happened, the newest last.
    events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct OriginSummary {
    from: String,
    on_air: bool,
    listening: bool,
    receive_buffer_bytes: u64,
    bitrate_bps: u64,
    datagrams: u64,
    kernel_drops: u64,
    socket_errors: u64,
    rejoins: u64,
    /// Datagrams that were left out, by reason; those that there were. The same of the next two.
    refused: BTreeMap<&'static str, u64>,
    rtp_packets: BTreeMap<&'static str, u64>,
    ts_faults: BTreeMap<&'static str, u64>,
    alarms: Vec<Alarm>,
    /// Programs, PIDs, MDI and RTP as the monitor sees them; nothing before the first second.
    #[serde(flatten)]
    reception: Option<Shown>,
}

/// A [`Reception`] without its alarms, which are shown with times of day.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Shown {
    services: Vec<crate::observe::ServiceReception>,
    pids: Vec<crate::observe::PidReception>,
    pids_omitted: u64,
    mdi: Option<crate::observe::MdiReception>,
    rtp: Option<crate::observe::RtpReception>,
}

/// An indicator of TR 101 290 that was raised on what came.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Alarm {
    indicator: &'static str,
    cause: &'static str,
    pid: Option<u16>,
    count: u64,
    /// Seconds since 1970.
    first_unix_s: f64,
    last_unix_s: f64,
    /// It is still so, or was raised within the last seconds.
    active: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Event {
    /// Seconds since 1970.
    unix_s: f64,
    what: &'static str,
    cause: Option<&'static str>,
    origin: Option<usize>,
}

/// Now by both clocks, to say when something was that is known by one of them.
#[derive(Clone, Copy, Debug)]
struct Now {
    mono: Mono,
    unix: Duration,
}

impl Now {
    fn read() -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: clock(), unix }
    }

    /// Seconds since 1970 at a moment of the monotonic clock, to the millisecond.
    fn unix_s(self, us: u64) -> f64 {
        let ago = Duration::from_micros(self.mono.as_micros().saturating_sub(us));
        self.unix.saturating_sub(ago).as_millis() as f64 / 1000.0
    }
}

/// The origin on air.
fn origin(slot: &InputSlot) -> Option<usize> {
    usize::try_from(slot.metrics.origin.get()).ok()
}

fn is_on_air(slot: &InputSlot) -> bool {
    slot.metrics.on_air.get() == 1
}

/// Whether origin `n` is on air while `at` is: of those that are merged, each that brings something.
fn brings(slot: &InputSlot, at: Option<usize>, n: usize) -> bool {
    match slot.about.merged {
        true => slot.origins.get(n).is_some_and(|origin| origin.bitrate_bps.get() > 0.0),
        false => at == Some(n),
    }
}

/// Counters by name that have counted something.
fn counted(named: &Named) -> BTreeMap<&'static str, u64> {
    named.iter().map(|(name, count)| (*name, count.get())).filter(|(_, count)| *count > 0).collect()
}

/// For the page, in the order of the configuration, and how many more there are.
pub(super) fn list(registry: &Registry) -> (Vec<Listed>, usize) {
    let listed = |slot: &InputSlot| {
        let at = origin(slot).filter(|_| is_on_air(slot));
        let heard = slot.origins.iter().enumerate().filter(|(n, _)| at.is_some() && brings(slot, at, *n));
        let rate = heard.map(|(_, origin)| origin.bitrate_bps.get()).fold(0.0, f64::max);
        Listed {
            stream: slot.about.stream.clone(),
            on_air: is_on_air(slot),
            backup: at.is_some_and(|at| at > 0),
            bitrate_bps: rate as u64,
        }
    };
    let omitted = registry.inputs.len().saturating_sub(LISTED_MAX);
    (registry.inputs.iter().take(LISTED_MAX).map(listed).collect(), omitted)
}

/// For the API, in the order of the configuration.
pub(super) fn summaries(registry: &Registry) -> Vec<InputSummary> {
    let now = Now::read();
    registry.inputs.iter().map(|slot| summary(slot, now)).collect()
}

/// The one that publishes `stream`.
pub(super) fn of(registry: &Registry, stream: &str) -> Option<InputSummary> {
    let slot = registry.inputs.iter().find(|slot| slot.about.stream == stream)?;
    Some(summary(slot, Now::read()))
}

fn summary(slot: &InputSlot, now: Now) -> InputSummary {
    let (on_air, at) = (is_on_air(slot), origin(slot));
    let any = |is: fn(&OriginMetrics) -> bool| slot.origins.iter().any(|origin| is(origin));
    let state = match on_air {
        true => "on_air",
        false if !any(|origin| origin.buffer_bytes.get() > 0) => "deaf",
        false if slot.metrics.alive.get() == 1 => "ready",
        false => "silent",
    };
    let failovers = SwitchReason::ALL.map(|reason| (reason.as_str(), slot.metrics.failovers[reason].get()));
    let origins = slot.about.from.iter().zip(&slot.origins).enumerate();
    let event = |event: crate::observe::InputEvent| Event {
        unix_s: now.unix_s(event.at_us),
        what: event.what,
        cause: event.cause,
        origin: event.origin,
    };
    InputSummary {
        stream: slot.about.stream.clone(),
        state,
        on_air,
        origin: at.filter(|_| on_air),
        merged: slot.about.merged,
        failovers: failovers.into(),
        claims_refused: slot.metrics.claims_refused.get(),
        deposed: slot.metrics.deposed.get(),
        no_program: slot.metrics.no_program.get(),
        origins: origins
            .map(|(n, (from, origin))| of_origin(from, origin, on_air && brings(slot, at, n), now))
            .collect(),
        events: slot.diary.events().into_iter().map(event).collect(),
    }
}

fn of_origin(from: &str, origin: &OriginMetrics, on_air: bool, now: Now) -> OriginSummary {
    let reception = origin.reception.get();
    let alarms = reception.iter().flat_map(|reception| &reception.alarms).map(|alarm| Alarm {
        indicator: alarm.indicator,
        cause: alarm.cause,
        pid: alarm.pid,
        count: alarm.count,
        first_unix_s: now.unix_s(alarm.first_us),
        last_unix_s: now.unix_s(alarm.last_us),
        active: alarm.lasts || now.mono.since(Mono::from_micros(alarm.last_us)) < ACTIVE,
    });
    let refused = origin.refused.iter().map(|(reason, count)| (reason.as_str(), count.get()));
    let buffer_bytes = origin.buffer_bytes.get().max(0) as u64;
    let shown = |reception: &Arc<Reception>| Shown {
        services: reception.services.clone(),
        pids: reception.pids.clone(),
        pids_omitted: reception.pids_omitted,
        mdi: reception.mdi,
        rtp: reception.rtp,
    };
    OriginSummary {
        from: from.to_owned(),
        on_air,
        listening: buffer_bytes > 0,
        receive_buffer_bytes: buffer_bytes,
        bitrate_bps: origin.bitrate_bps.get() as u64,
        datagrams: origin.datagrams.get(),
        kernel_drops: origin.kernel_drops.get(),
        socket_errors: origin.socket_errors.get(),
        rejoins: origin.rejoins.get(),
        refused: refused.filter(|(_, count)| *count > 0).collect(),
        rtp_packets: counted(&origin.rtp),
        ts_faults: counted(&origin.faults),
        alarms: alarms.collect(),
        reception: reception.as_ref().map(shown),
    }
}
