//! The transport stream of a channel: a multiplex of constant rate, or its source's own packets.

use super::PAYLOAD_BYTES;
use super::passing::Passing;
use crate::config::headend::TRACK_PIDS;
use crate::config::{Channel as Configured, Headend};
use crate::fanout::log::{Format, JoinPoint, LogKey, Variant};
use crate::media::Mono;
use crate::mux::{Alarms, Mux, Service, Tally, replay};
use crate::observe::{ChannelMetrics, MuxAlarm};

/// Where PIDs of tracks that are neither pictures nor sound may begin; one of them is free.
const DATA_PIDS: [u16; 4] = [0x0300, 0x0400, 0x0500, 0x0600];

/// The multiplex of a configured channel.
fn service(channel: &Configured, shared: &Headend) -> Service {
    let firsts = [Some(channel.pmt_pid), Some(channel.video_pid), Some(channel.audio_pid), channel.pcr_pid];
    let free = |pid: &u16| firsts.into_iter().flatten().all(|first| first.abs_diff(*pid) >= TRACK_PIDS);
    let data_pid = DATA_PIDS.into_iter().find(free).unwrap_or(Service::default().data_pid);
    Service {
        rate_bps: channel.bitrate_bps,
        stream_id: channel.stream_id,
        network_id: shared.network_id,
        service_id: channel.service_id,
        name: channel.service_name.clone(),
        provider: channel.provider.clone(),
        network_name: shared.provider.clone(),
        pmt_pid: channel.pmt_pid,
        video_pid: channel.video_pid,
        audio_pid: channel.audio_pid,
        data_pid,
        pcr_pid: channel.pcr_pid,
        languages: channel.languages.clone(),
        nit: channel.nit,
        time: channel.tdt,
        ..Service::default()
    }
}

/// See the module's description.
#[derive(Debug)]
pub(super) enum Body {
    /// Made anew.
    Cbr {
        mux: Box<Mux>,
        /// Counts at the last second.
        counted: Tally,
        overloaded: bool,
    },
    /// As it came.
    Pass {
        passing: Box<Passing>,
        /// Counts at the last second.
        counted: replay::Counts,
    },
}

impl Body {
    /// That of a configured channel.
    ///
    /// # Errors
    /// Its multiplex cannot be made; why, for people.
    pub fn new(channel: &Configured, shared: &Headend) -> Result<Body, &'static str> {
        if let Some(configured) = &channel.passing {
            let passing = Box::new(Passing::new(configured, Mono::ZERO));
            return Ok(Body::Pass { passing, counted: replay::Counts::default() });
        }
        let service = service(channel, shared);
        match service.problem() {
            Some(problem) => Err(problem),
            None => {
                let mux = Box::new(Mux::new(service, Mono::ZERO));
                Ok(Body::Cbr { mux, counted: Tally::default(), overloaded: false })
            }
        }
    }

    /// The log that it is made from.
    pub fn log(&self) -> LogKey {
        let format = if matches!(self, Body::Cbr { .. }) { Format::Ts } else { Format::Pass };
        LogKey { format, variant: Variant::FULL }
    }

    /// The clock starts at `at`.
    pub fn begin(&mut self, at: Mono) {
        match self {
            Body::Cbr { mux, .. } => **mux = Mux::new(mux.service().clone(), at),
            Body::Pass { passing, .. } => passing.begin(at),
        }
    }

    /// Nanoseconds from the next datagram to the one behind it.
    pub fn spacing_ns(&self) -> u64 {
        match self {
            Body::Cbr { mux, .. } => PAYLOAD_BYTES as u64 * 8 * 1_000_000_000 / mux.service().rate_bps.max(1),
            Body::Pass { passing, .. } => passing.spacing_ns(),
        }
    }

    /// Whether one may begin with what came at `came_at`: a multiplex makes sense of anything.
    pub fn is_in_time(&self, now: Mono, came_at: Mono) -> bool {
        match self {
            Body::Cbr { .. } => true,
            Body::Pass { passing, .. } => passing.is_in_time(now, came_at),
        }
    }

    /// Packets of the log.
    pub fn feed(&mut self, came_at: Mono, packets: &[u8]) {
        match self {
            Body::Cbr { mux, .. } => mux.feed(came_at, packets),
            Body::Pass { passing, .. } => passing.feed(came_at, packets),
        }
    }

    /// What is fed next begins at `join`.
    pub fn seam(&mut self, now: Mono, came_at: Mono, join: &JoinPoint) {
        match self {
            Body::Cbr { mux, .. } => mux.seam(now),
            Body::Pass { passing, .. } => passing.seam(came_at, join),
        }
    }

    /// Datagrams that are due and not written.
    pub fn due(&mut self, now: Mono) -> u64 {
        match self {
            Body::Cbr { mux, .. } => mux.position(now).saturating_sub(mux.written()),
            Body::Pass { passing, .. } => passing.due(now),
        }
    }

    /// When the next datagram is due, in ticks of 27 MHz.
    pub fn clock(&self) -> u64 {
        match self {
            Body::Cbr { mux, .. } => mux.clock(),
            Body::Pass { passing, .. } => passing.clock(),
        }
    }

    /// Writes the next datagram; false if there is none.
    pub fn write(&mut self, out: &mut [u8; PAYLOAD_BYTES], utc_s: u64) -> bool {
        match self {
            Body::Cbr { mux, .. } => {
                mux.write(out, utc_s);
                true
            }
            Body::Pass { passing, .. } => passing.write(out),
        }
    }

    /// Leaves out what is due but the newest of it; how many datagrams that were.
    pub fn skip(&mut self, now: Mono) -> u64 {
        match self {
            Body::Cbr { mux, .. } => mux.skip(now),
            Body::Pass { passing, .. } => passing.skip(now),
        }
    }

    /// Datagrams so far.
    pub fn written(&self) -> u64 {
        match self {
            Body::Cbr { mux, .. } => mux.written(),
            Body::Pass { passing, .. } => passing.written(),
        }
    }

    /// Brings what was counted since the last call to the page, and tells what is to be told.
    pub fn count(&mut self, now: Mono, channel: &str, metrics: &ChannelMetrics) {
        match self {
            Body::Cbr { mux, counted, overloaded } => {
                count_cbr(now, channel, metrics, mux, counted, overloaded)
            }
            Body::Pass { passing, counted } => {
                let counts = passing.counts();
                let before = std::mem::replace(counted, counts);
                let packets = counts.packets - before.packets;
                if packets > 0 {
                    metrics.nulls.set((counts.nulls - before.nulls) as f64 / packets as f64);
                }
                metrics.passed_late.add(counts.late - before.late);
                metrics.passed_overrun.add(counts.overrun - before.overrun);
                metrics.clock_jumps.add(counts.clock_jumps - before.clock_jumps);
                metrics.alarms[MuxAlarm::Late].set((counts.late > before.late).into());
                metrics.alarms[MuxAlarm::SourceLost].set((packets == 0).into());
            }
        }
    }
}

fn count_cbr(
    now: Mono,
    channel: &str,
    metrics: &ChannelMetrics,
    mux: &Mux,
    counted: &mut Tally,
    was_overloaded: &mut bool,
) {
    let tally = mux.tally();
    let before = std::mem::replace(counted, tally.clone());
    let packets = tally.packets - before.packets;
    if packets > 0 {
        metrics.nulls.set((tally.nulls - before.nulls) as f64 / packets as f64);
    }
    let dropped = tally.units_overload - before.units_overload;
    metrics.units_dropped.add(dropped);
    metrics.units_late.add(tally.units_late - before.units_late);
    let Alarms { source_lost, overload: overloaded, late, no_program } = mux.alarms(now);
    for (alarm, raised) in [
        (MuxAlarm::SourceLost, source_lost),
        (MuxAlarm::Overload, overloaded),
        (MuxAlarm::Late, late),
        (MuxAlarm::NoProgram, no_program),
    ] {
        metrics.alarms[alarm].set(raised.into());
    }
    match (std::mem::replace(was_overloaded, overloaded), overloaded) {
        (false, true) => {
            metrics.overflows.inc();
            tracing::warn!(
                channel,
                units = dropped,
                "channel's source is faster than its rate; units are left out"
            );
        }
        (true, false) => tracing::info!(channel, "channel's rate suffices again"),
        _ => {}
    }
}
