//! The monitor's report: a plain value, for people, metrics and JSON alike. docs/analyze.md explains the fields.

use serde::Serialize;

/// Everything that is known about a transport stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Packets, nulls included.
    pub packets: u64,
    /// Length in seconds: from the first packet to the last.
    pub duration_seconds: f64,
    /// Null packets.
    pub null_packets: u64,
    /// Packets whose adaptation field is broken; nothing in them was read.
    pub malformed_packets: u64,
    /// The multiplex's rate.
    pub mux_rate: Option<MuxRate>,
    /// One entry for each indicator, in a fixed order.
    pub indicators: Vec<IndicatorReport>,
    /// What tables say.
    pub tables: TablesReport,
    /// Programs in the order of the PAT.
    pub services: Vec<ServiceReport>,
    /// Every PID that came, ascending.
    pub pids: Vec<PidReport>,
    /// Every clock that a program map names, also one that never came.
    pub pcrs: Vec<PcrReport>,
    /// Datagrams, if the stream came in some.
    pub network: Option<NetworkReport>,
}

/// The rate of the whole multiplex, nulls included, in bits a second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MuxRate {
    /// Over the whole time, by the clock with the most PCRs.
    pub mean_bps: f64,
    /// Lowest and highest of whole seconds.
    pub min_bps: Option<f64>,
    /// See `min_bps`.
    pub max_bps: Option<f64>,
    /// PCRs lie on a line; `None`: too few of them.
    pub constant: Option<bool>,
}

/// How often an indicator was raised.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IndicatorReport {
    /// See [`super::Indicator::id`].
    pub id: &'static str,
    /// See [`super::Indicator::name`].
    pub name: &'static str,
    /// See [`super::Indicator::priority`].
    pub priority: u8,
    /// Occurrences.
    pub count: u64,
    /// The first.
    pub first: Option<OccurrenceReport>,
    /// The last.
    pub last: Option<OccurrenceReport>,
}

/// One occurrence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OccurrenceReport {
    /// Packets in front of it.
    pub packet: u64,
    /// Seconds since the first packet.
    pub seconds: f64,
    /// The PID that it is about.
    pub pid: Option<u16>,
}

/// Tables of the whole stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TablesReport {
    /// `transport_stream_id` of the PAT.
    pub transport_stream_id: Option<u16>,
    /// Name in the NIT.
    pub network_name: Option<String>,
    /// Longest distance between two PATs, in milliseconds.
    pub pat_interval_ms_max: Option<f64>,
    /// Between two SDTs of this stream.
    pub sdt_interval_ms_max: Option<f64>,
    /// Times that a PAT or a program map changed.
    pub changes: u64,
    /// Time of the last TDT or TOT, in seconds since 1970 (UTC).
    pub utc_seconds: Option<u64>,
    /// Sections that were begun and never finished.
    pub sections_dropped: u64,
    /// Programs beyond those that are followed.
    pub programs_ignored: u64,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceReport {
    /// `program_number`, the service's id.
    pub id: u16,
    /// Name in the SDT.
    pub name: Option<String>,
    /// Provider in the SDT.
    pub provider: Option<String>,
    /// PID of its map.
    pub pmt_pid: u16,
    /// Whether its map came.
    pub mapped: bool,
    /// PID of its clock; `None`: without one.
    pub pcr_pid: Option<u16>,
    /// Longest distance between two of its maps, in milliseconds.
    pub pmt_interval_ms_max: Option<f64>,
    /// Its streams.
    pub streams: Vec<StreamReport>,
    /// Streams beyond those that are followed.
    pub streams_ignored: usize,
}

/// An elementary stream of a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamReport {
    /// Its PID.
    pub pid: u16,
    /// `stream_type`.
    pub stream_type: u8,
    /// What that means, with its descriptors.
    pub codec: &'static str,
    /// ISO 639 code.
    pub language: Option<String>,
}

/// A PID.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PidReport {
    /// The PID.
    pub pid: u16,
    /// What it is.
    pub role: &'static str,
    /// Its packets.
    pub packets: u64,
    /// Mean rate in bits a second; `None` without a clock.
    pub mean_bps: Option<f64>,
    /// Highest rate of a whole second, in bits a second.
    pub peak_bps: Option<f64>,
    /// Errors of the continuity counter.
    pub continuity_errors: u64,
    /// Packets that came twice, as is allowed.
    pub repetitions: u64,
    /// Scrambled packets.
    pub scrambled_packets: u64,
    /// Longest distance between two PTS, in milliseconds.
    pub pts_interval_ms_max: Option<f64>,
    /// Shortest distance of a PTS in front of the PCR, in milliseconds.
    pub pts_lead_ms_min: Option<f64>,
    /// Longest.
    pub pts_lead_ms_max: Option<f64>,
}

/// A clock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PcrReport {
    /// Its PID.
    pub pid: u16,
    /// PCRs; 0: the PID has none, or does not exist.
    pub count: u64,
    /// Mean distance between two, in milliseconds.
    pub interval_ms_mean: Option<f64>,
    /// Longest.
    pub interval_ms_max: Option<f64>,
    /// Distances above 40 ms, whichever limit is in force.
    pub intervals_above_40_ms: u64,
    /// Largest distance from the line of a constant rate, in nanoseconds; `None` where the rate is not constant.
    pub accuracy_ns_max: Option<f64>,
    /// PCRs that were held against the line.
    pub accuracy_judged: u64,
}

/// Datagrams.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkReport {
    /// How many.
    pub datagrams: u64,
    /// Bytes of payload and how many have it, most frequent first; at most eight, the rest is added up in
    /// `other_sizes`.
    pub sizes: Vec<(usize, u64)>,
    /// Datagrams of further sizes.
    pub other_sizes: u64,
    /// Datagrams that are neither a transport stream nor RTP around one.
    pub foreign: u64,
    /// Packets that a datagram ended in and the next one went on with.
    pub cut_packets: u64,
    /// Longest distance between two, in milliseconds.
    pub gap_ms_max: f64,
    /// Media delivery index.
    pub mdi: MdiReport,
    /// RTP, if it is.
    pub rtp: Option<RtpReport>,
}

/// The media delivery index (RFC 4445).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MdiReport {
    /// Delay factor of the last whole second, in milliseconds.
    pub df_ms: Option<f64>,
    /// The largest.
    pub df_ms_max: Option<f64>,
    /// Packets lost in the last whole second.
    pub mlr: f64,
    /// In the worst second.
    pub mlr_max: f64,
    /// Packets lost, at all.
    pub lost_packets: u64,
}

/// RTP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RtpReport {
    /// Packets.
    pub packets: u64,
    /// Payload type.
    pub payload_type: u8,
    /// Source.
    pub ssrc: u32,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came twice; the copies were not looked into.
    pub duplicates: u64,
    /// Times that another sender took over.
    pub restarts: u64,
    /// Packets of another sender, or far from the sequence, that did not take over; they were not looked into.
    pub strays: u64,
}

impl Report {
    /// Occurrences of an indicator.
    pub fn count(&self, indicator: super::Indicator) -> u64 {
        self.indicators.iter().find(|entry| entry.id == indicator.id()).map_or(0, |entry| entry.count)
    }

    /// Whether anything was raised that is an error: the network's indicators and priorities 1 and 2.
    pub fn has_errors(&self) -> bool {
        self.indicators.iter().any(|entry| entry.priority < 3 && entry.count > 0)
    }
}
