//! The counters and gauges of one core.

use super::cells::{Counter, Gauge, Ratio};
use super::labels::{
    PerCopyStage, PerDisconnectReason, PerDropReason, PerFrameKind, PerProtocol, PerRefuseReason,
};

/// Everything one core counts. Written by that core alone, read by the scraper.
///
/// Aligned to two cache lines (the unit that prefetchers take), so that no two cores write to one line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreMetrics {
    /// Bytes read from peers of any role, protocol included.
    pub ingest_bytes: PerProtocol<Counter>,
    /// Bytes the kernel accepted for peers of any role, handshakes and replies included.
    pub egress_bytes: PerProtocol<Counter>,
    /// Frames of this core's publishers, counted before any is dropped.
    pub frames: PerFrameKind<Counter>,
    /// Runs of packets of this core's publishers, which are passed on as they came.
    pub runs: Counter,
    /// Frames that reached no log.
    pub frames_dropped: PerDropReason<Counter>,
    /// Sends of these that completed; egress bytes over this is the size of a send.
    pub sends: PerProtocol<Counter>,
    /// Skips of subscribers that were behind more than `fanout.max_lag_ms`.
    pub lag_skips: PerProtocol<Counter>,
    /// Ended connections.
    pub disconnects: PerProtocol<PerDisconnectReason<Counter>>,
    /// Payload bytes copied.
    pub payload_copied_bytes: PerCopyStage<Counter>,
    /// RTMP commands with unreadable bytes at their end, taken for what stands before them.
    pub commands_mended: Counter,
    /// Sequence headers equal to the one before, left out.
    pub config_repeats_dropped: Counter,
    /// Times a track's timestamps jumped and were joined to what went before; a returning publisher's are not counted.
    pub timestamps_rebased: Counter,

    /// Turns of the loop; at least one a second while the core is alive.
    pub turns: Counter,

    /// Connections accepted.
    pub connections_accepted: Counter,
    /// Failed accepts.
    pub accept_errors: Counter,
    /// Streams without publisher and viewers that ended early, because a new one needed their place.
    pub streams_displaced: Counter,
    /// Connections closed before they were served.
    pub connections_refused: PerRefuseReason<Counter>,
    /// Submission queue of the ring full: an extra system call each.
    pub ring_sqe_overflows: Counter,
    /// Times that completions did not fit the ring's queue: the kernel kept some aside.
    pub ring_cqe_overflows: Counter,
    /// Receives that found no provided buffer (ENOBUFS) and were armed again.
    pub receive_buffers_exhausted: Counter,
    /// Wakes of other cores.
    pub doorbells: Counter,

    /// Open connections of any kind.
    pub connections: Gauge,
    /// Connected publishers.
    pub publishers: PerProtocol<Gauge>,
    /// Connected subscribers, waiting ones included.
    pub subscribers: PerProtocol<Gauge>,
    /// Streams at home on this core.
    pub streams: Gauge,
    /// Bytes committed to logs of streams at home on this core, and kept beside them while none is open; not capacity.
    pub log_bytes: Gauge,
    /// Bytes of user memory of this core's connections; logs not among them.
    pub connection_memory_bytes: Gauge,
    /// Bytes of evicted segments that slow subscribers of this core keep alive.
    pub pinned_bytes: Gauge,
    /// Players that wait for names nobody publishes.
    pub waiting_players: Gauge,

    /// Share of the last second that this core was not waiting, 0 to 1.
    pub busy: Ratio,
    /// Longest turn of the loop within the last second, in seconds: how late anything can have been.
    pub loop_lag_seconds: Ratio,
}
