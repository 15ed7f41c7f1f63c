//! From the monitor's state to its report.

use super::indicator::{Indicator, Occurrence};
use super::network::Network;
use super::pcr::{PcrTrack, TICKS_PER_SECOND};
use super::pids::{PidState, Role};
use super::psi::Program;
use super::report::*;
use super::{Class, Monitor, PACKET_BITS, pid, reference};

fn ms_of_us(us: u64) -> Option<f64> {
    (us > 0).then(|| us as f64 / 1000.0)
}

fn ms_of_ticks(ticks: f64) -> f64 {
    ticks * 1000.0 / TICKS_PER_SECOND as f64
}

fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl Monitor {
    /// What is known now.
    pub fn report(&self) -> Report {
        let seconds = self.last_at.micros_since(self.first_at.unwrap_or_default()) as f64 / 1e6;
        let mut pids: Vec<PidReport> = self
            .pids
            .iter()
            .filter(|state| state.packets > 0)
            .map(|state| self.pid(state, seconds))
            .collect();
        if self.nulls > 0 {
            pids.push(self.nulls(seconds));
        }
        pids.sort_unstable_by_key(|entry| entry.pid);
        Report {
            packets: self.packets,
            duration_seconds: seconds,
            null_packets: self.nulls,
            malformed_packets: self.malformed,
            mux_rate: self.mux_rate(),
            indicators: Indicator::ALL.into_iter().map(|indicator| self.indicator(indicator)).collect(),
            tables: self.tables(),
            services: self.psi.programs.iter().map(service).collect(),
            pids,
            pcrs: self.tracks.iter().map(pcr).collect(),
            network: self.network.as_deref().map(network),
        }
    }

    fn mux_rate(&self) -> Option<MuxRate> {
        let track = reference(&self.tracks)?;
        Some(MuxRate {
            mean_bps: track.mux_rate_bps()?.round(),
            min_bps: self.second.min_bps.map(f64::round),
            max_bps: self.second.max_bps.map(f64::round),
            constant: track.fit.is_constant(),
        })
    }

    fn indicator(&self, indicator: Indicator) -> IndicatorReport {
        let tally = self.tally(indicator);
        let begin = self.first_at.unwrap_or_default();
        let occurrence = |found: Occurrence| OccurrenceReport {
            packet: found.packet,
            seconds: found.at.micros_since(begin) as f64 / 1e6,
            pid: found.pid,
        };
        IndicatorReport {
            id: indicator.id(),
            name: indicator.name(),
            priority: indicator.priority(),
            count: tally.count,
            first: tally.first.map(occurrence),
            last: tally.last.map(occurrence),
        }
    }

    fn tables(&self) -> TablesReport {
        TablesReport {
            transport_stream_id: self.psi.transport_stream_id,
            network_name: text(&self.psi.network_name),
            pat_interval_ms_max: ms_of_us(self.psi.pat_interval_us_max),
            sdt_interval_ms_max: ms_of_us(self.psi.sdt_interval_us_max),
            changes: self.psi.changes,
            utc_seconds: self.psi.utc_seconds,
            sections_dropped: self.assembler.dropped(),
            programs_ignored: self.psi.more_programs,
        }
    }

    fn pid(&self, state: &PidState, seconds: f64) -> PidReport {
        let pts = &state.pts;
        let lead = |ticks: i64| (pts.lead_min <= pts.lead_max).then(|| ms_of_ticks(ticks as f64));
        PidReport {
            pid: state.pid,
            role: self.role(state),
            packets: state.packets,
            mean_bps: mean_bps(state.packets, seconds),
            peak_bps: (state.peak_bps > 0).then(|| f64::from(state.peak_bps)),
            continuity_errors: state.continuity_errors,
            repetitions: state.repetitions,
            scrambled_packets: state.scrambled,
            pts_interval_ms_max: ms_of_us(pts.interval_us_max),
            pts_lead_ms_min: lead(pts.lead_min),
            pts_lead_ms_max: lead(pts.lead_max),
        }
    }

    fn nulls(&self, seconds: f64) -> PidReport {
        PidReport {
            pid: pid::NULL,
            role: "null",
            packets: self.nulls,
            mean_bps: mean_bps(self.nulls, seconds),
            peak_bps: None,
            continuity_errors: 0,
            repetitions: 0,
            scrambled_packets: 0,
            pts_interval_ms_max: None,
            pts_lead_ms_min: None,
            pts_lead_ms_max: None,
        }
    }

    fn role(&self, state: &PidState) -> &'static str {
        match (state.pid, state.role) {
            (pid::PAT, _) => "PAT",
            (pid::CAT, _) => "CAT",
            (pid::NIT, _) => "NIT",
            (pid::SDT, _) => "SDT",
            (pid::EIT, _) => "EIT",
            (pid::TDT, _) => "TDT",
            (found, Role::Sections) if Some(found) == self.psi.network_pid => "NIT",
            (_, Role::Sections) => "PMT",
            (_, Role::Elementary { class: Class::Video, .. }) => "video",
            (_, Role::Elementary { class: Class::Audio, .. }) => "audio",
            (_, Role::Elementary { class: Class::Data, .. }) => "data",
            (found, Role::Referenced) if self.tracks.iter().any(|track| track.pid == found) => "PCR",
            (_, Role::Referenced) => "other",
            (_, Role::Unreferenced) => "unreferenced",
        }
    }
}

fn mean_bps(packets: u64, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| ((packets * PACKET_BITS) as f64 / seconds).round())
}

fn service(program: &Program) -> ServiceReport {
    ServiceReport {
        id: program.number,
        name: text(&program.name),
        provider: text(&program.provider),
        pmt_pid: program.pmt_pid,
        mapped: program.map.is_some(),
        pcr_pid: (program.pcr_pid != pid::NULL).then_some(program.pcr_pid),
        pmt_interval_ms_max: ms_of_us(program.pmt_interval_us_max),
        streams: program.streams.iter().map(stream).collect(),
        streams_ignored: program.more_streams,
    }
}

fn stream(stream: &super::psi::Stream) -> StreamReport {
    // Three letters; whatever else stands there is shown as such.
    let letters = |code: [u8; 3]| code.iter().flat_map(|byte| byte.escape_ascii()).map(char::from).collect();
    StreamReport {
        pid: stream.pid,
        stream_type: stream.stream_type,
        codec: stream.codec,
        language: stream.language.map(letters),
    }
}

fn pcr(track: &PcrTrack) -> PcrReport {
    let ms = |ticks: f64| (track.intervals > 0).then(|| ms_of_ticks(ticks));
    PcrReport {
        pid: track.pid,
        count: track.count,
        interval_ms_mean: ms(track.interval_sum as f64 / track.intervals.max(1) as f64),
        interval_ms_max: ms(track.interval_max as f64),
        intervals_above_40_ms: track.above_40_ms,
        accuracy_ns_max: (track.judged > 0).then(|| track.worst * 1e9 / TICKS_PER_SECOND as f64),
        accuracy_judged: track.judged,
    }
}

fn network(network: &Network) -> NetworkReport {
    let mut sizes: Vec<_> = network.sizes.iter().copied().filter(|(_, count)| *count > 0).collect();
    sizes.sort_unstable_by_key(|(size, count)| (std::cmp::Reverse(*count), *size));
    let (mdi, rtp) = (&network.mdi, &network.rtp);
    NetworkReport {
        datagrams: network.datagrams,
        sizes,
        other_sizes: network.other_sizes,
        foreign: network.foreign,
        cut_packets: network.cut_packets,
        gap_ms_max: network.gap_us_max as f64 / 1000.0,
        mdi: MdiReport {
            df_ms: mdi.df_ms,
            df_ms_max: mdi.df_ms_max,
            mlr: mdi.mlr,
            mlr_max: mdi.mlr_max,
            lost_packets: mdi.lost_total,
        },
        rtp: (rtp.packets > 0).then_some(RtpReport {
            packets: rtp.packets,
            payload_type: rtp.payload_type,
            ssrc: rtp.ssrc,
            lost: rtp.lost,
            reordered: rtp.reordered,
            duplicates: rtp.duplicates,
            restarts: rtp.restarts,
            strays: rtp.strays,
        }),
    }
}
