//! A channel that sends its source's own packets: what becomes of them between the log and the clock.

use crate::config::headend::Passing as Configuration;
use crate::fanout::log::JoinPoint;
use crate::media::Mono;
use crate::mux::DATAGRAM_BYTES;
use crate::mux::remap::{Faults, Plan, Remap};
use crate::mux::replay::{Counts, Replay};
use crate::wire::ts::PACKET_BYTES;
use std::time::Duration;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Passing {
    replay: Replay,
    delay: Duration,
    plan: Plan,
    /// Where PIDs or identities are changed.
    remap: Option<Box<Remap>>,
    /// Kept for its memory.
    made: Vec<u8>,
    /// Of what could not be remapped: what was told, and of which kinds there was a line.
    faults: Faults,
    said: (bool, bool),
    /// Something was fed: what comes from elsewhere is a jump to receivers.
    begun: bool,
}

impl Passing {
    /// As it is configured; its clock starts at `at`.
    pub fn new(passing: &Configuration, at: Mono) -> Passing {
        let Configuration { delay_ms, pids, service_id, stream_id, service_name, provider } = passing.clone();
        let plan = Plan { program: None, pids, service_id, stream_id, service_name, provider };
        let delay = Duration::from_millis(delay_ms);
        let remap = (!plan.is_empty()).then(|| Box::new(Remap::new(plan.clone())));
        Passing {
            replay: Replay::new(at, delay),
            delay,
            plan,
            remap,
            made: Vec::new(),
            faults: Faults::default(),
            said: (false, false),
            begun: false,
        }
    }

    /// The clock starts anew.
    pub fn begin(&mut self, at: Mono) {
        self.replay = Replay::new(at, self.delay);
        self.remap = (!self.plan.is_empty()).then(|| Box::new(Remap::new(self.plan.clone())));
        (self.faults, self.begun) = (Faults::default(), false);
    }

    /// Whether what came at `came_at` can still leave in time.
    pub fn is_in_time(&self, now: Mono, came_at: Mono) -> bool {
        now.since(came_at) < self.delay
    }

    /// Packets of the log.
    pub fn feed(&mut self, came_at: Mono, packets: &[u8]) {
        let Some(remap) = &mut self.remap else { return self.replay.feed(came_at, packets) };
        self.made.clear();
        for packet in packets.as_chunks::<PACKET_BYTES>().0 {
            remap.packet(packet, &mut self.made);
        }
        self.replay.feed(came_at, &self.made);
    }

    /// What comes next begins at `join`, and came at `came_at`.
    pub fn seam(&mut self, came_at: Mono, join: &JoinPoint) {
        self.replay.seam();
        // It may be another source: what its PIDs are, its own tables say, which are in front of it.
        if let Some(remap) = &mut self.remap {
            remap.restart();
        }
        let first = if std::mem::replace(&mut self.begun, true) { join.seam.clone() } else { join.opening() };
        self.feed(came_at, &first);
    }

    /// Datagrams that are due.
    pub fn due(&mut self, now: Mono) -> u64 {
        self.replay.due(now)
    }

    /// When there is something to do: see [`Replay::next_at`].
    pub fn next_at(&self) -> Mono {
        self.replay.next_at()
    }

    /// Nanoseconds to the datagram behind the next.
    pub fn spacing_ns(&self) -> u64 {
        self.replay.spacing_ns()
    }

    /// When the next is due, in ticks of 27 MHz.
    pub fn clock(&self) -> u64 {
        self.replay.clock()
    }

    /// Writes the next; false if there is none.
    pub fn write(&mut self, out: &mut [u8; DATAGRAM_BYTES]) -> bool {
        self.replay.write(out)
    }

    /// Leaves out what is due but the last; how many datagrams that were.
    pub fn skip(&mut self, now: Mono) -> u64 {
        self.replay.skip(now)
    }

    /// Datagrams written.
    pub fn written(&self) -> u64 {
        self.replay.written()
    }

    /// What could not be remapped since the last call. The first of each kind is said of `channel`.
    pub fn not_remapped(&mut self, channel: &str) -> u64 {
        let Some(remap) = &self.remap else { return 0 };
        let faults = remap.faults();
        let before = std::mem::replace(&mut self.faults, faults);
        let (moves, sections) = (faults.moves - before.moves, faults.sections - before.sections);
        if moves > 0 && !std::mem::replace(&mut self.said.0, true) {
            let refused: Vec<String> =
                remap.refused().iter().map(|(from, to)| format!("{from} = {to}")).collect();
            let pids = refused.join(", ");
            tracing::warn!(
                channel,
                pids,
                "channel's PIDs are not moved: its source needs those that they would take"
            );
        }
        if sections > 0 && !std::mem::replace(&mut self.said.1, true) {
            tracing::warn!(
                channel,
                "channel's service keeps its names: with others its table would be too long"
            );
        }
        moves + sections
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.replay.counts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::TrackTable;
    use crate::wire::ts::write::packet::{Counter, write_section};
    use crate::wire::ts::write::section::pat;
    use bytes::Bytes;

    /// What was a map's PID is a picture's of the source that comes next.
    #[test]
    fn another_source_is_not_read_by_the_tables_of_the_one_before() {
        let configured = Passing::new(
            &Configuration { delay_ms: 100, service_id: Some(9), ..Configuration::default() },
            Mono::ZERO,
        );
        let (mut passing, mut tables) = (configured, Vec::new());
        let at = Mono::from_micros(1_000_000);
        assert!(write_section(
            0,
            &mut Counter::default(),
            &pat(1, 0, &[(1, 0x100)]).unwrap(),
            &mut |part: &[u8]| {
                tables.extend(part);
                true
            }
        ));
        passing.feed(at, &tables);
        let mut picture = [0x55; PACKET_BYTES];
        (picture[0], picture[1], picture[2], picture[3]) = (0x47, 0x01, 0x00, 0x10);
        let before = passing.counts().packets;
        passing.feed(at, &picture.repeat(7));
        assert_eq!(passing.counts().packets, before, "they are no sections");
        let config = TrackTable::new().snapshot();
        let join =
            JoinPoint { pos: Default::default(), dts_ms: 0, config, opening_at: 0, seam: Bytes::new() };
        passing.seam(at, &join);
        passing.feed(at, &picture.repeat(7));
        assert_eq!(passing.counts().packets, before + 7);
    }
}
