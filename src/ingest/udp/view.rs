//! What lists show of an origin: its monitor's report, with rates of now instead of means since the beginning.

use crate::monitor::{Indicator, Monitor, ServiceReport, StreamReport};
use crate::observe::{AlarmReception, MdiReception, PidReception, Reception, RtpReception, ServiceReception};
use crate::wire::ts::PACKET_BYTES;
use std::collections::HashMap;
use std::time::Duration;

/// PIDs that are listed; a multiplex has some tens, and somebody may send all 8192.
const PIDS_MAX: usize = 256;

/// Counts of packets as they were at the last look, by PID.
#[derive(Debug, Default)]
pub(super) struct View {
    packets: HashMap<u16, u64>,
}

impl View {
    /// What `monitor` has seen, `elapsed` after the last time.
    pub fn look(&mut self, monitor: &Monitor, elapsed: Duration) -> Reception {
        let report = monitor.report();
        let seconds = elapsed.as_secs_f64().max(1e-6);
        let pids_omitted = report.pids.len().saturating_sub(PIDS_MAX) as u64;
        let streams: HashMap<u16, &StreamReport> =
            report.services.iter().flat_map(|service| &service.streams).map(|s| (s.pid, s)).collect();
        let mut packets = HashMap::with_capacity(report.pids.len().min(PIDS_MAX));
        let pids = report.pids.iter().take(PIDS_MAX).map(|pid| {
            let before = self.packets.get(&pid.pid).copied().unwrap_or(0);
            packets.insert(pid.pid, pid.packets);
            let stream = streams.get(&pid.pid);
            PidReception {
                pid: pid.pid,
                role: pid.role,
                codec: stream.map(|stream| stream.codec),
                language: stream.and_then(|stream| stream.language.clone()),
                bitrate_bps: ((pid.packets.saturating_sub(before) * PACKET_BYTES as u64 * 8) as f64 / seconds)
                    as u64,
                packets: pid.packets,
                continuity_errors: pid.continuity_errors,
                scrambled_packets: pid.scrambled_packets,
            }
        });
        let pids = pids.collect();
        self.packets = packets;
        let network = report.network.as_ref();
        Reception {
            services: report.services.iter().map(service).collect(),
            pids,
            pids_omitted,
            mdi: network.map(|network| MdiReception {
                df_ms: network.mdi.df_ms,
                mlr: network.mdi.mlr,
                df_ms_max: network.mdi.df_ms_max,
                lost_packets: network.mdi.lost_packets,
            }),
            rtp: network.and_then(|network| network.rtp.as_ref()).map(|rtp| RtpReception {
                packets: rtp.packets,
                lost: rtp.lost,
                reordered: rtp.reordered,
                duplicates: rtp.duplicates,
            }),
            alarms: alarms(monitor),
        }
    }
}

fn service(service: &ServiceReport) -> ServiceReception {
    ServiceReception {
        id: service.id,
        name: service.name.clone(),
        provider: service.provider.clone(),
        pcr_pid: service.pcr_pid,
    }
}

/// What was raised, the newest first.
fn alarms(monitor: &Monitor) -> Vec<AlarmReception> {
    let raised = Indicator::ALL.into_iter().filter_map(|indicator| {
        let tally = monitor.tally(indicator);
        let (first, last) = (tally.first?, tally.last?);
        Some(AlarmReception {
            indicator: indicator.id(),
            cause: indicator.name(),
            count: tally.count,
            pid: last.pid,
            first_us: first.at.as_micros(),
            last_us: last.at.as_micros(),
            lasts: monitor.lasts(indicator),
        })
    });
    let mut alarms: Vec<AlarmReception> = raised.collect();
    alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.last_us));
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Mono;
    use crate::monitor::Options;

    #[test]
    fn rates_are_of_now() {
        let (mut monitor, mut view) = (Monitor::new(Options::default()), View::default());
        let packet = |counter: u8| {
            let mut packet = [0xff; 188];
            packet[..4].copy_from_slice(&[0x47, 0x01, 0x23, 0x10 | (counter & 15)]);
            packet
        };
        for n in 0..20u8 {
            // One is lost on its way.
            if n != 10 {
                monitor.handle_datagram(Mono::from_micros(u64::from(n) * 10_000), &packet(n));
            }
        }
        let seen = view.look(&monitor, Duration::from_secs(2));
        assert_eq!(seen.pids.len(), 1);
        let pid = &seen.pids[0];
        assert_eq!((pid.pid, pid.packets, pid.continuity_errors), (0x123, 19, 1));
        assert_eq!(pid.bitrate_bps, 19 * 188 * 8 / 2);
        let lost = seen.alarms.iter().find(|alarm| alarm.indicator == "1.4").expect("continuity");
        assert_eq!((lost.count, lost.pid, lost.last_us), (1, Some(0x123), 110_000));
        assert_eq!(view.look(&monitor, Duration::from_secs(1)).pids[0].bitrate_bps, 0, "nothing since");
        for pid in 0x400..0x600u16 {
            let [high, low] = pid.to_be_bytes();
            let mut packet = packet(0);
            (packet[1], packet[2]) = (high, low);
            monitor.handle_datagram(Mono::from_micros(300_000), &packet);
        }
        let seen = view.look(&monitor, Duration::from_secs(1));
        assert_eq!((seen.pids.len(), seen.pids_omitted), (PIDS_MAX, 512 + 1 - PIDS_MAX as u64));
    }
}
