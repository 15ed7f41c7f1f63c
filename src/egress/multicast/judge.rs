//! A channel's own output under watch (TR 101 290): what a probe behind it would raise is raised here first.

use crate::media::Mono;
use crate::monitor::{Indicator, Monitor, Options};
use crate::observe::{ChannelSlot, SourceState};
use crate::shard::pacer::{Ahead, fetch};
use crate::wire::ts::PACKET_BYTES;
use std::time::Duration;

/// What receivers of DVB alarm at.
const PCR_INTERVAL_MAX: Duration = Duration::from_millis(40);
/// What does not come is missed so much later than it could be: counts are taken once a second anyway.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines about one channel are so far apart at least.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Names of what may be raised, in the order of [`Indicator::ALL`].
pub fn indicators() -> Vec<&'static str> {
    Indicator::ALL.into_iter().map(Indicator::id).collect()
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Judge {
    monitor: Monitor,
    told_at: Option<Mono>,
}

impl Judge {
    /// `passing`: what is sent is the source's, which may be as sparing with its clock as MPEG allows.
    pub fn new(passing: bool) -> Judge {
        let mut options = Options { look_every: LOOK_EVERY, ..Options::default() };
        if !passing {
            options.pcr_interval_max = PCR_INTERVAL_MAX;
        }
        Judge { monitor: Monitor::new(options), told_at: None }
    }

    /// A datagram of the transport stream leaves.
    pub fn datagram(&mut self, now: Mono, packets: &[[u8; PACKET_BYTES]]) {
        self.monitor.handle_packets(now, packets);
    }

    /// Asks for what a datagram will read.
    pub fn ahead(&self, what: Ahead) {
        match what {
            Ahead::Own => self.monitor.reads(fetch),
            Ahead::First => self.monitor.reads_of_pids(fetch),
            Ahead::Second | Ahead::Third | Ahead::Fourth => {}
        }
    }

    /// Counts what was raised since the last time.
    pub fn watch(&mut self, now: Mono, slot: &ChannelSlot) {
        let on_air = slot.services.iter().any(|service| service.state() == SourceState::OnAir);
        for (indicator, (name, count)) in Indicator::ALL.into_iter().zip(slot.indicators.iter()) {
            let tally = self.monitor.tally(indicator);
            let new = tally.count.saturating_sub(count.get());
            if new == 0 {
                continue;
            }
            count.add(new);
            // Tracks without a unit are what a lost source means, and that is told already.
            if !on_air && matches!(indicator, Indicator::Pts | Indicator::Pid) {
                continue;
            }
            if self.told_at.is_none_or(|at| now.since(at) >= TELL_EVERY) {
                self.told_at = Some(now);
                let (channel, pid) = (slot.about.name.as_str(), tally.last.and_then(|last| last.pid));
                let what = indicator.name();
                tracing::warn!(
                    channel,
                    indicator = name,
                    what,
                    pid,
                    times = new,
                    "channel's output is not in order"
                );
            }
        }
    }
}
