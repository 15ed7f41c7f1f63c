//! All cores' metrics, and the page made of them.

use super::cells::{Counter, Gauge, Ratio};
use super::channel::{self, ChannelSlot, LinkSlot, PacerSlot};
use super::core::CoreMetrics;
use super::door::DoorMetrics;
use super::families::{Families, Sample};
use super::histogram::{Set, SharedHistograms};
use super::input::{self, InputSlot};
use super::labels::{CopyStage, DisconnectReason, DropReason, FrameKind, Protocol, RefuseReason, Stage};
use super::process;
use super::relay::{self, RelayMetrics};
use prometheus::TextEncoder;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// One core's ends.
#[derive(Clone, Debug, Default)]
pub struct CoreSlot {
    /// Counters and gauges; the core writes them.
    pub metrics: Arc<CoreMetrics>,
    /// Where the core publishes its histograms.
    pub histograms: Arc<SharedHistograms>,
}

/// Everything that is measured in this process.
#[derive(Debug)]
pub struct Registry {
    /// One slot a core; the position is the label `core`.
    pub cores: Vec<CoreSlot>,
    /// Admission and overload; the control thread writes it.
    pub door: DoorMetrics,
    /// The thread that sends the channels.
    pub pacer: Arc<PacerSlot>,
    /// Every channel, in the configuration's order.
    pub channels: Vec<ChannelSlot>,
    /// Every input, in the configuration's order.
    pub inputs: Vec<InputSlot>,
    /// Series that these may have on the page, all together.
    pub input_series_max: usize,
    /// Groups that are watched by their address.
    pub relays: Arc<RelayMetrics>,
    /// The interfaces that they are sent on, as soon as they are known.
    pub links: OnceLock<Vec<Arc<LinkSlot>>>,
    /// CPU numbers behind the positions, as label text.
    names: Vec<String>,
    started: SystemTime,
}

impl Registry {
    /// A registry for these CPUs, one slot each; the CPU number becomes the label `core`.
    pub fn new(cpus: &[usize]) -> Arc<Self> {
        Self::with_headend(cpus, Vec::new(), Vec::new(), usize::MAX)
    }

    /// The same, with channels and inputs, which have at most `input_series_max` series.
    pub fn with_headend(
        cpus: &[usize],
        channels: Vec<ChannelSlot>,
        inputs: Vec<InputSlot>,
        input_series_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            cores: cpus.iter().map(|_| CoreSlot::default()).collect(),
            door: DoorMetrics::default(),
            pacer: Arc::default(),
            channels,
            inputs,
            input_series_max,
            relays: Arc::default(),
            links: OnceLock::new(),
            names: cpus.iter().map(usize::to_string).collect(),
            started: SystemTime::now(),
        })
    }

    /// The sum of one counter over all cores.
    pub fn total(&self, cell: impl Fn(&CoreMetrics) -> &Counter) -> u64 {
        self.cores.iter().fold(0, |sum, core| sum.wrapping_add(cell(&core.metrics).get()))
    }

    /// The sum of one gauge over all cores; a moment in which an item changes cores never shows as negative.
    pub fn level(&self, cell: impl Fn(&CoreMetrics) -> &Gauge) -> i64 {
        self.cores.iter().map(|core| cell(&core.metrics).get()).sum::<i64>().max(0)
    }

    /// The page in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        let page = TextEncoder::new().encode_to_string(&self.families().into_vec());
        // Only names of our own making could be refused, and a test renders them all.
        page.unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn families(&self) -> Families {
        let mut page = Families::default();
        let version = env!("CARGO_PKG_VERSION");
        page.gauges(
            "headgate_build_info",
            "Constant 1, labelled with the version.",
            [(vec![("version", version)], 1.0)],
        );
        self.traffic(&mut page);
        self.connections(&mut page);
        self.door.collect(&mut page);
        let links = self.links.get().map(Vec::as_slice).unwrap_or_default();
        channel::collect(&mut page, &self.pacer, &self.channels, links);
        input::collect(&mut page, &self.inputs, self.input_series_max);
        relay::collect(&mut page, &self.relays);
        self.machine(&mut page);
        self.latency(&mut page);
        page.counter(
            "headgate_log_lines_dropped_total",
            "Log lines dropped because standard error took them too slowly.",
            super::log::dropped_lines(),
        );
        page.counter(
            "headgate_log_lines_suppressed_total",
            "Log lines left out because others of their kind had just been written.",
            super::log::suppressed_lines(),
        );
        process::collect(&mut page, self.started);
        page
    }

    /// Streams and the bytes and frames that pass.
    fn traffic(&self, page: &mut Families) {
        page.gauge("headgate_streams", "Streams that exist now.", self.level(|m| &m.streams) as f64);
        page.counters(
            "headgate_ingest_bytes_total",
            "Bytes received from all peers.",
            self.by_protocol(|m, p| &m.ingest_bytes[p]),
        );
        page.counters(
            "headgate_egress_bytes_total",
            "Bytes that the kernel accepted for all peers, handshakes and replies included.",
            self.by_protocol(|m, p| &m.egress_bytes[p]),
        );
        page.counters(
            "headgate_sends_total",
            "Completed sends to all peers; bytes over sends is the size of a send.",
            self.by_protocol(|m, p| &m.sends[p]),
        );
        page.counters(
            "headgate_frames_total",
            "Frames that publishers sent, those dropped afterwards included.",
            FrameKind::ALL.map(|k| (vec![("kind", k.as_str())], self.total(|m| &m.frames[k]) as f64)),
        );
        page.counter(
            "headgate_runs_total",
            "Runs of packets that inputs handed down to be passed on as they came.",
            self.total(|m| &m.runs),
        );
        page.counters(
            "headgate_frames_dropped_total",
            "Frames that reached no log.",
            DropReason::ALL
                .map(|r| (vec![("reason", r.as_str())], self.total(|m| &m.frames_dropped[r]) as f64)),
        );
        page.counters(
            "headgate_payload_copied_bytes_total",
            "Payload bytes copied: out of the socket's chunks, out of aggregates, into each log.",
            CopyStage::ALL
                .map(|s| (vec![("stage", s.as_str())], self.total(|m| &m.payload_copied_bytes[s]) as f64)),
        );
        page.counter(
            "headgate_config_repeats_dropped_total",
            "Sequence headers equal to the one before, left out.",
            self.total(|m| &m.config_repeats_dropped),
        );
        page.counter(
            "headgate_timestamps_rebased_total",
            "Times that a track's timestamps jumped and were joined to what went before.",
            self.total(|m| &m.timestamps_rebased),
        );
        page.counter(
            "headgate_streams_displaced_total",
            "Streams without publisher and viewers that ended early to make room for a new one.",
            self.total(|m| &m.streams_displaced),
        );
        page.gauge(
            "headgate_log_bytes",
            "Bytes of media kept in the shared logs, and beside them while no log is open.",
            self.level(|m| &m.log_bytes) as f64,
        );
        page.gauge(
            "headgate_pinned_bytes",
            "Memory of evicted log segments that slow subscribers keep alive, in bytes.",
            self.level(|m| &m.pinned_bytes) as f64,
        );
    }

    /// Peers: who is there, who came, who left and why.
    fn connections(&self, page: &mut Families) {
        page.gauge(
            "headgate_waiting_players",
            "Players that wait for a stream nobody publishes.",
            self.level(|m| &m.waiting_players) as f64,
        );
        page.gauge("headgate_connections", "Open connections.", self.level(|m| &m.connections) as f64);
        page.gauges(
            "headgate_connection_memory_bytes",
            "User memory of connections and subscribers in bytes, without the shared logs.",
            self.cores.iter().zip(&self.names).map(|(core, name)| {
                (vec![("core", name.as_str())], core.metrics.connection_memory_bytes.get() as f64)
            }),
        );
        page.gauges(
            "headgate_publishers",
            "Connected publishers.",
            Protocol::ALL.map(|p| (vec![("protocol", p.as_str())], self.level(|m| &m.publishers[p]) as f64)),
        );
        page.gauges(
            "headgate_subscribers",
            "Connected subscribers.",
            Protocol::ALL.map(|p| (vec![("protocol", p.as_str())], self.level(|m| &m.subscribers[p]) as f64)),
        );
        page.counter(
            "headgate_connections_accepted_total",
            "Connections accepted.",
            self.total(|m| &m.connections_accepted),
        );
        page.counter("headgate_accept_errors_total", "Failed accepts.", self.total(|m| &m.accept_errors));
        page.counters(
            "headgate_connections_refused_total",
            "Connections closed before they were served.",
            RefuseReason::ALL
                .map(|r| (vec![("reason", r.as_str())], self.total(|m| &m.connections_refused[r]) as f64)),
        );
        page.counter(
            "headgate_rtmp_commands_mended_total",
            "RTMP commands with unreadable bytes at their end, taken for what stands before them.",
            self.total(|m| &m.commands_mended),
        );
        page.counters(
            "headgate_lag_skips_total",
            "Skips to the newest join point by subscribers that were too far behind.",
            self.by_protocol(|m, p| &m.lag_skips[p]),
        );
        let disconnects = Protocol::ALL.into_iter().flat_map(|p| {
            DisconnectReason::ALL.map(|r| {
                (
                    vec![("protocol", p.as_str()), ("reason", r.as_str())],
                    self.total(|m| &m.disconnects[p][r]) as f64,
                )
            })
        });
        page.counters("headgate_disconnects_total", "Ended connections.", disconnects);
    }

    /// Cores and rings.
    fn machine(&self, page: &mut Families) {
        page.gauges(
            "headgate_core_busy_ratio",
            "Share of the last second in which the core was not waiting.",
            self.by_core(|m| &m.busy),
        );
        page.gauges(
            "headgate_loop_lag_peak_seconds",
            "Longest turn of the core's loop within the last second, in seconds.",
            self.by_core(|m| &m.loop_lag_seconds),
        );
        let turns: Vec<_> = self.cores.iter().map(|core| core.histograms.turns()).collect();
        page.histograms(
            "headgate_loop_lag_seconds",
            "Time of one turn of the core's loop: how late anything in it can have been.",
            self.names.iter().zip(&turns).map(|(name, times)| (vec![("core", name.as_str())], times)),
        );
        page.counter(
            "headgate_doorbells_total",
            "Wakes of one core by another.",
            self.total(|m| &m.doorbells).wrapping_add(self.pacer.doorbells.get()),
        );
        page.counter(
            "headgate_ring_sqe_overflows_total",
            "Times that the submission queue of an io_uring was full.",
            self.total(|m| &m.ring_sqe_overflows),
        );
        page.counter(
            "headgate_ring_cqe_overflows_total",
            "Times that an io_uring's completions did not fit their queue and the kernel kept some aside.",
            self.total(|m| &m.ring_cqe_overflows),
        );
        page.counter(
            "headgate_receive_buffers_exhausted_total",
            "Receives that found no provided buffer and were armed again.",
            self.total(|m| &m.receive_buffers_exhausted),
        );
    }

    /// The stage histograms and the whole way.
    fn latency(&self, page: &mut Families) {
        let mut sum = Set::default();
        self.cores.iter().for_each(|core| core.histograms.add_to(&mut sum));
        let stages = Stage::ALL.into_iter().flat_map(|stage| {
            let table = &sum.stages[stage];
            table.iter().map(move |(protocol, times)| {
                (vec![("stage", stage.as_str()), ("protocol", protocol.as_str())], times)
            })
        });
        page.histograms("headgate_stage_latency_seconds", "Time in one stage of the data path.", stages);
        page.histograms(
            "headgate_fanout_latency_seconds",
            "Time from a complete frame to its acceptance by the kernel for a subscriber.",
            sum.fanout.iter().map(|(protocol, times)| (vec![("protocol", protocol.as_str())], times)),
        );
    }

    fn by_protocol<'a>(
        &self,
        cell: impl Fn(&CoreMetrics, Protocol) -> &Counter,
    ) -> [Sample<'a>; Protocol::COUNT] {
        Protocol::ALL.map(|p| (vec![("protocol", p.as_str())], self.total(|m| cell(m, p)) as f64))
    }

    fn by_core(&self, cell: impl Fn(&CoreMetrics) -> &Ratio) -> impl Iterator<Item = Sample<'_>> {
        self.cores
            .iter()
            .zip(&self.names)
            .map(move |(core, name)| (vec![("core", name.as_str())], cell(&core.metrics).get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_merged() {
        let registry = Registry::new(&[0, 3]);
        let [first, second] = registry.cores.as_slice() else { panic!("two cores") };
        first.metrics.ingest_bytes[Protocol::Rtmp].add(40);
        second.metrics.ingest_bytes[Protocol::Rtmp].add(2);
        // A subscriber that came on one core and left on the other.
        first.metrics.subscribers[Protocol::HttpFlv].add(2);
        second.metrics.subscribers[Protocol::HttpFlv].dec();
        second.metrics.busy.set(0.5);
        second.metrics.connection_memory_bytes.set(1000);
        let mut times = super::super::CoreHistograms::new();
        for (core, us) in [(first, 90), (second, 20_000)] {
            times.record_fanout_us(Protocol::Rtmp, us);
            assert!(times.publish(&core.histograms));
        }
        times.record_turn_us(600);
        assert!(times.publish(&second.histograms));
        let page = registry.render();
        for line in [
            "headgate_loop_lag_seconds_count{core=\"0\"} 0",
            "headgate_loop_lag_seconds_bucket{core=\"3\",le=\"0.001\"} 1",
            "headgate_ingest_bytes_total{protocol=\"rtmp\"} 42",
            "headgate_subscribers{protocol=\"http_flv\"} 1",
            "headgate_core_busy_ratio{core=\"3\"} 0.5",
            "headgate_connection_memory_bytes{core=\"3\"} 1000",
            "headgate_fanout_latency_seconds_bucket{protocol=\"rtmp\",le=\"0.01\"} 1",
            "headgate_fanout_latency_seconds_bucket{protocol=\"rtmp\",le=\"0.025\"} 2",
            "headgate_fanout_latency_seconds_count{protocol=\"rtmp\"} 2",
            "headgate_fanout_latency_seconds_sum{protocol=\"rtmp\"} 0.02009",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} not in\n{page}");
        }
    }

    #[test]
    fn the_page_is_whole_and_small() {
        let page = Registry::new(&[0, 1]).render();
        let samples = page.lines().filter(|line| !line.starts_with('#')).count();
        assert!((250..1500).contains(&samples), "{samples} series");
        for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = family.split(' ').next().unwrap_or_default();
            assert!(page.contains(&format!("# HELP {name} ")), "{name} has no help");
            assert_eq!(family.ends_with(" counter"), name.ends_with("_total"), "{family}");
        }
        // No cores is not a reason to fail.
        assert!(Registry::new(&[]).render().contains("headgate_build_info"));
    }
}
