//! The transport stream of a channel: a multiplex of constant rate, or its source's own packets.

use super::PAYLOAD_BYTES;
use super::passing::Passing;
use super::service::{self, Service};
use crate::config::headend::Aac;
use crate::config::{Channel as Configured, Headend};
use crate::fanout::log::{Format, JoinPoint, LogKey, Variant};
use crate::media::Mono;
use crate::mux::{Mux, Tally, replay};
use crate::observe::{ChannelSlot, MuxAlarm};
use crate::shard::pacer::{Ahead, fetch};
use bytes::Bytes;

/// See the module's description.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "what a datagram is made from stands in the channel: one miss less"
)]
pub(super) enum Body {
    /// Made anew.
    Cbr {
        mux: Mux,
        /// Counts at the last second.
        counted: Tally,
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
        let multiplex = service::multiplex(channel, shared);
        match multiplex.problem() {
            Some(problem) => Err(problem),
            None => Ok(Body::Cbr { mux: Mux::new(multiplex, Mono::ZERO), counted: Tally::default() }),
        }
    }

    /// The logs that a configured channel is made from.
    pub fn log(channel: &Configured, shared: &Headend) -> LogKey {
        if channel.passing.is_some() {
            return LogKey { format: Format::Pass, variant: Variant::FULL };
        }
        let variant = Variant { latm: channel.aac == Aac::Latm, av1: shared.av1, ..Variant::FULL };
        LogKey { format: Format::Ts, variant }
    }

    /// The clock starts at `at`.
    pub fn begin(&mut self, at: Mono) {
        match self {
            Body::Cbr { mux, counted } => {
                *mux = Mux::new(mux.multiplex().clone(), at);
                *counted = Tally::default();
            }
            Body::Pass { passing, counted } => {
                passing.begin(at);
                *counted = replay::Counts::default();
            }
        }
    }

    /// Nanoseconds from the next datagram to the one behind it.
    pub fn spacing_ns(&self) -> u64 {
        match self {
            Body::Cbr { mux, .. } => {
                PAYLOAD_BYTES as u64 * 8 * 1_000_000_000 / mux.multiplex().rate_bps.max(1)
            }
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

    /// Packets of the log of source `source`.
    pub fn feed(&mut self, source: usize, came_at: Mono, packets: &Bytes) {
        match self {
            Body::Cbr { mux, .. } => mux.feed_shared(source, came_at, packets),
            Body::Pass { passing, .. } => passing.feed(came_at, packets),
        }
    }

    /// What is fed next of source `source` begins at `join`.
    pub fn seam(&mut self, source: usize, now: Mono, came_at: Mono, join: &JoinPoint) {
        match self {
            Body::Cbr { mux, .. } => mux.seam(source, now),
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

    /// When the next datagram is due, as far as what was fed tells.
    pub fn next_at(&self) -> Mono {
        match self {
            Body::Cbr { mux, .. } => mux.due(mux.written()),
            Body::Pass { passing, .. } => passing.next_at(),
        }
    }

    /// Asks for what the next datagram will read.
    pub fn ahead(&self, what: Ahead) {
        let Body::Cbr { mux, .. } = self else { return };
        match what {
            Ahead::Own => mux.reads(fetch),
            Ahead::First => mux.reads_of_programs(fetch),
            Ahead::Second => mux.reads_of_tracks(fetch),
            Ahead::Third => mux.reads_of_units(fetch),
            Ahead::Fourth => mux.reads_of_entries(fetch),
        }
    }

    /// When the next datagram is due, in ticks of 27 MHz.
    pub fn clock(&self) -> u64 {
        match self {
            Body::Cbr { mux, .. } => mux.clock(),
            Body::Pass { passing, .. } => passing.clock(),
        }
    }

    /// Writes the next datagram; false if there is none, which a multiplex always has.
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
    pub fn count(&mut self, now: Mono, slot: &ChannelSlot, services: &mut [Service]) {
        let metrics = &slot.metrics;
        let of_nulls = |nulls: u64, packets: u64| {
            if packets > 0 {
                metrics.nulls.set(nulls as f64 / packets as f64);
            }
        };
        match self {
            Body::Cbr { mux, counted } => {
                let tally = mux.tally();
                let before = std::mem::replace(counted, tally.clone());
                of_nulls(tally.nulls - before.nulls, tally.packets - before.packets);
                let slots = slot.about.services.iter().zip(slot.services.iter());
                for (n, (service, (about, metrics))) in services.iter_mut().zip(slots).enumerate() {
                    service.count(now, (mux, n), (&slot.about, about), metrics);
                }
            }
            Body::Pass { passing, counted } => {
                let counts = passing.counts();
                let before = std::mem::replace(counted, counts);
                let packets = counts.packets - before.packets;
                of_nulls(counts.nulls - before.nulls, packets);
                metrics.passed_late.add(counts.late - before.late);
                metrics.passed_overrun.add(counts.overrun - before.overrun);
                metrics.clock_jumps.add(counts.clock_jumps - before.clock_jumps);
                metrics.not_remapped.add(passing.not_remapped(&slot.about.name));
                for service in slot.services.iter() {
                    service.alarms[MuxAlarm::Late].set((counts.late > before.late).into());
                    service.alarms[MuxAlarm::SourceLost].set((packets == 0).into());
                }
            }
        }
    }
}
