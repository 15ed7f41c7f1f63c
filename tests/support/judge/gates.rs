//! The gates by name, and the books of those that were missed.

use std::collections::BTreeMap;
use std::fmt;

/// What a channel must keep. One fault has one name: what follows from it is not counted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// 1316 bytes, or 1328 with RTP.
    DatagramSize,
    /// Version 2, nothing optional, payload type 33, one source, no marker.
    RtpHeader,
    RtpSequence,
    /// Goes on with the position at the mux rate.
    RtpTimestamp,
    Sync,
    /// The transport error indicator.
    TransportError,
    Scrambling,
    Continuity,
    /// Announced discontinuities, more than allowed.
    Discontinuity,
    /// Adaptation fields as ISO/IEC 13818-1 draws them.
    Adaptation,
    Crc,
    /// Tables on their PIDs, well-formed, with a new version when something changed.
    Table,
    /// PIDs, programs, streams and their types as ordered.
    PidMap,
    /// Provider and name in the SDT.
    Service,
    PatInterval,
    PmtInterval,
    SdtInterval,
    NitInterval,
    TdtInterval,
    PcrInterval,
    /// A step of the clock of more than 1 ms that nobody announced.
    PcrJump,
    PcrAccuracy,
    MuxRate,
    /// PES headers, lengths, times that go forward.
    Pes,
    PtsGap,
    /// PTS and DTS ahead of the clock.
    Lead,
    /// The last byte of a unit came at its decoding time or later.
    LateUnit,
    /// The indicator where decoding can begin, and nowhere else; at least once.
    RandomAccess,
    /// A delimiter first, parameter sets in front of the picture that needs them.
    AccessUnit,
}

impl Gate {
    pub const ALL: [Gate; 29] = [
        Gate::DatagramSize,
        Gate::RtpHeader,
        Gate::RtpSequence,
        Gate::RtpTimestamp,
        Gate::Sync,
        Gate::TransportError,
        Gate::Scrambling,
        Gate::Continuity,
        Gate::Discontinuity,
        Gate::Adaptation,
        Gate::Crc,
        Gate::Table,
        Gate::PidMap,
        Gate::Service,
        Gate::PatInterval,
        Gate::PmtInterval,
        Gate::SdtInterval,
        Gate::NitInterval,
        Gate::TdtInterval,
        Gate::PcrInterval,
        Gate::PcrJump,
        Gate::PcrAccuracy,
        Gate::MuxRate,
        Gate::Pes,
        Gate::PtsGap,
        Gate::Lead,
        Gate::LateUnit,
        Gate::RandomAccess,
        Gate::AccessUnit,
    ];
}

/// A gate that was missed.
#[derive(Clone, Debug)]
pub struct Miss {
    pub count: u64,
    /// Number of the packet at which it was first seen.
    pub packet: u64,
    /// What was seen first, with its figure.
    pub first: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} times, first at packet {}: {}", self.count, self.packet, self.first)
    }
}

/// Misses by gate.
#[derive(Clone, Debug, Default)]
pub struct Misses(pub BTreeMap<Gate, Miss>);

impl Misses {
    /// Counts one; the words are made for the first only.
    pub fn note(&mut self, gate: Gate, packet: u64, words: impl FnOnce() -> String) {
        let miss = self.0.entry(gate).or_insert_with(|| Miss { count: 0, packet, first: words() });
        miss.count += 1;
    }
}

/// How long something was away, by position; the start and the end of a capture count as if it had just been there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interval {
    last: u64,
    /// The longest, in packets.
    pub longest: u64,
}

impl Interval {
    /// It is here; how many packets after the last time.
    pub fn seen(&mut self, packet: u64) -> u64 {
        let gap = packet.saturating_sub(self.last);
        self.last = packet;
        self.longest = self.longest.max(gap);
        gap
    }
}
