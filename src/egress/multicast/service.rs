//! One service of a channel: how it is configured for the multiplex, what its source is doing, and what it lost.

use super::source::Source;
use crate::config::headend::System;
use crate::config::{Channel as Configured, Headend, Service as ConfiguredService};
use crate::media::Mono;
use crate::mux::{Alarms, Multiplex, Mux, Service as Muxed, Tally};
use crate::observe::{ChannelAbout, MuxAlarm, ServiceAbout, ServiceMetrics};

/// The multiplex of a configured channel.
pub(super) fn multiplex(channel: &Configured, shared: &Headend) -> Multiplex {
    Multiplex {
        rate_bps: channel.bitrate_bps,
        stream_id: channel.stream_id,
        network_id: shared.network_id,
        network_name: shared.provider.clone(),
        nit: channel.nit,
        time: channel.tdt,
        services: channel.services.iter().map(|service| muxed(service, shared)).collect(),
        ..Multiplex::default()
    }
}

fn muxed(service: &ConfiguredService, shared: &Headend) -> Muxed {
    Muxed {
        service_id: service.service_id,
        name: service.name.clone(),
        provider: service.provider.clone(),
        rate_bps: service.bitrate_bps,
        pmt_pid: service.pmt_pid,
        video_pid: service.video_pid,
        audio_pid: service.audio_pid,
        data_pid: service.data_pid,
        pcr_pid: service.pcr_pid,
        languages: service.languages.clone(),
        dvb_ac3: shared.system == System::Dvb,
        ..Muxed::default()
    }
}

/// What lists say of it.
pub(super) fn about(service: &ConfiguredService) -> ServiceAbout {
    ServiceAbout {
        id: service.service_id.to_string(),
        name: service.name.clone(),
        source: service.source.clone(),
    }
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Service {
    pub source: Source,
    /// Counts at the last second.
    counted: Tally,
    overloaded: bool,
}

impl Service {
    pub fn new(at: Mono, passes: bool) -> Service {
        Service { source: Source::new(at, passes), counted: Tally::default(), overloaded: false }
    }

    /// The channel's clock starts.
    pub fn begin(&mut self, at: Mono) {
        self.source.begin(at);
        (self.counted, self.overloaded) = (Tally::default(), false);
    }

    /// What the multiplex has counted of it since the last second. `n`: its place in the channel.
    pub fn count(
        &mut self,
        now: Mono,
        (mux, n): (&Mux, usize),
        (channel, service): (&ChannelAbout, &ServiceAbout),
        metrics: &ServiceMetrics,
    ) {
        let tally = mux.tally_of(n);
        let before = std::mem::replace(&mut self.counted, tally.clone());
        let dropped = tally.units_overload - before.units_overload;
        metrics.units_dropped.add(dropped);
        metrics.units_late.add(tally.units_late - before.units_late);
        metrics.units_exceeding.add(tally.buffer_exceeded - before.buffer_exceeded);
        let Alarms { source_lost, overload: overloaded, late, no_program } = mux.alarms_of(n, now);
        for (alarm, raised) in [
            (MuxAlarm::SourceLost, source_lost),
            (MuxAlarm::Overload, overloaded),
            (MuxAlarm::Late, late),
            (MuxAlarm::NoProgram, no_program),
        ] {
            metrics.alarms[alarm].set(raised.into());
        }
        let (channel, source, service) =
            (channel.name.as_str(), service.source.as_str(), service.id.as_str());
        match (std::mem::replace(&mut self.overloaded, overloaded), overloaded) {
            (false, true) => {
                metrics.overflows.inc();
                tracing::warn!(
                    channel,
                    service,
                    source,
                    units = dropped,
                    "channel's source is faster than its rate or share; units are left out"
                );
            }
            (true, false) => tracing::info!(channel, service, source, "channel's rate suffices again"),
            _ => {}
        }
    }
}
