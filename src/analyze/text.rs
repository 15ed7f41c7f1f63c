//! The report as a person reads it: what it is, the verdict, then the evidence.

use super::table::Table;
use super::{Analysis, Kind, PathReport, Verdict};
use crate::monitor::{IndicatorReport, NetworkReport, OccurrenceReport, PidReport, Report, ServiceReport};

/// Entries of a list that are shown; JSON has them all.
const SHOWN_MAX: usize = 40;
/// Sizes of datagrams with seven packets: plain, and behind an RTP header.
const FULL_SIZES: [usize; 2] = [1316, 1328];

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn doubtful(self, text: &str) -> String {
        self.with("33", text)
    }

    fn head(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// The report, with colours or without.
pub fn render(analysis: &Analysis, colour: bool) -> String {
    let paint = Paint(colour);
    let report = &analysis.report;
    let mut lines = summary(analysis, paint);
    section(&mut lines, paint, "Services", services(report));
    section(&mut lines, paint, "Indicators (ETSI TR 101 290)", indicators(report, paint));
    section(&mut lines, paint, "PIDs", pids(report));
    section(&mut lines, paint, "Clocks", clocks(report));
    section(&mut lines, paint, "Tables", tables(report));
    let below = report.network.as_ref().map(|found| network(found, analysis.path.as_ref()));
    section(&mut lines, paint, "Network", below.unwrap_or_default());
    lines.push(String::new());
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, paint: Paint, title: &str, body: Vec<String>) {
    if !body.is_empty() {
        lines.extend([String::new(), paint.head(title)]);
        lines.extend(body);
    }
}

fn pid(pid: u16) -> String {
    format!("0x{pid:04x}")
}

fn mbit(bps: f64) -> String {
    format!("{:.3}", bps / 1e6)
}

fn ms(ms: Option<f64>) -> String {
    ms.map_or(String::new(), |ms| format!("{ms:.1}"))
}

/// A time since the beginning: 12.345 s or 1:02:03.4.
fn clock(seconds: f64) -> String {
    if seconds < 100.0 {
        return format!("{seconds:.3} s");
    }
    let tenths = (seconds * 10.0).round() as u64;
    let whole = tenths / 10;
    format!("{}:{:02}:{:02}.{}", whole / 3600, whole / 60 % 60, whole % 60, tenths % 10)
}

fn summary(analysis: &Analysis, paint: Paint) -> Vec<String> {
    let report = &analysis.report;
    let mut what = match analysis.kind {
        Kind::File => "file".to_owned(),
        Kind::Capture => "capture".to_owned(),
        Kind::Live => "live".to_owned(),
    };
    what += &analysis.stride.map_or(String::new(), |stride| format!(", packets of {stride} bytes"));
    if let (Kind::Capture, Some(destination)) = (analysis.kind, analysis.destination) {
        what += &format!(", to {destination}");
    }
    let rate = report.mux_rate.as_ref().map_or("rate unknown: fewer than two PCRs".to_owned(), |rate| {
        let kind = match rate.constant {
            Some(true) => " constant",
            Some(false) => " variable",
            None => "",
        };
        format!("{} Mbit/s{kind}", mbit(rate.mean_bps))
    });
    let nulls = 100.0 * report.null_packets as f64 / report.packets.max(1) as f64;
    let length = clock(report.duration_seconds);
    let mut lines = vec![
        format!("{}  {} ({what})", paint.head("Source "), analysis.source),
        format!("{}  {length}, {} packets, {nulls:.1} % null, {rate}", paint.head("Length "), report.packets),
        format!("{}  {}", paint.head("Verdict"), verdict(analysis, paint)),
    ];
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            lines.push(format!("{}  {}", paint.head("Note   "), paint.doubtful(&format!("{count} {text}"))));
        }
    };
    note(analysis.skipped_bytes, "bytes belong to no packet");
    note(analysis.cut_datagrams, "datagrams are cut in the capture: record whole frames (tcpdump -s 0)");
    note(report.malformed_packets, "packets have a broken adaptation field");
    if let Some(live) = analysis.live {
        let drops = live.receive_drops.unwrap_or_default();
        note(
            drops,
            "datagrams were dropped by this machine, not by the network: its receive buffer was full",
        );
        let kib = (live.receive_buffer_bytes / 1024) as u64;
        if live.receive_buffer_bytes < live.receive_buffer_wanted_bytes {
            note(kib, "KiB is a small receive buffer: raise net.core.rmem_max to 4194304");
        }
    }
    if let Some(capture) = &analysis.capture {
        note(capture.copies, "copies of datagrams on other interfaces are left out");
        note(capture.clock_steps, "times the capture's clock was set back; it goes on from there");
        note(capture.untimed, "datagrams have no time");
        note(capture.fragments, "frames are fragments of datagrams and left out");
        note(capture.unread_frames, "frames have a link type or an interface that is not known");
        note(
            capture.damaged_at.map_or(0, |at| at.max(1)),
            "bytes in, the capture is damaged; it is read to there",
        );
    }
    lines
}

fn verdict(analysis: &Analysis, paint: Paint) -> String {
    let raised: Vec<&IndicatorReport> = analysis.report.indicators.iter().filter(|i| i.count > 0).collect();
    let named = |errors: bool| {
        let names = raised.iter().filter(|i| (i.priority < 3) == errors).map(|i| match i.priority {
            0 => i.name.to_owned(),
            _ => format!("{} {}", i.id, i.name),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let remarks = named(false);
    let remarks =
        if remarks.is_empty() { remarks } else { paint.doubtful(&format!("; to look at: {remarks}")) };
    match analysis.verdict {
        Verdict::Clean => format!("{}: no errors{remarks}", paint.good("CLEAN")),
        Verdict::Unjudged => {
            format!("{}: there is no clock, neither of arrival nor PCRs{remarks}", paint.bad("UNJUDGED"))
        }
        Verdict::Errors => format!("{}: {}{remarks}", paint.bad("ERRORS"), named(true)),
    }
}

fn services(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for service in report.services.iter().take(SHOWN_MAX) {
        lines.push(format!("  {}", service_line(service)));
        let mut streams = Table::new(&["", "", "", ""], &[]);
        for stream in service.streams.iter().take(SHOWN_MAX) {
            let language = stream.language.clone().unwrap_or_default();
            let kind = format!("type 0x{:02x}", stream.stream_type);
            streams.row(vec![pid(stream.pid), stream.codec.to_owned(), language, kind]);
        }
        lines.extend(streams.lines().into_iter().skip(1).map(|line| format!("    {line}")));
    }
    more(&mut lines, report.services.len());
    lines
}

fn service_line(service: &ServiceReport) -> String {
    let name = service.name.as_deref().map_or("without a name".to_owned(), |name| format!("\"{name}\""));
    let provider = service.provider.as_deref().map_or(String::new(), |provider| format!(" ({provider})"));
    let map = match (service.mapped, service.pcr_pid) {
        (false, _) => ", which never came".to_owned(),
        (true, None) => ", no PCR".to_owned(),
        (true, Some(found)) => format!(", PCR {}", pid(found)),
    };
    format!("{}  {name}{provider}, PMT {}{map}", service.id, pid(service.pmt_pid))
}

fn more(lines: &mut Vec<String>, count: usize) {
    if count > SHOWN_MAX {
        lines.push(format!("  … and {} more; --json has them all", count - SHOWN_MAX));
    }
}

fn indicators(report: &Report, paint: Paint) -> Vec<String> {
    let mut table = Table::new(&["", "Indicator", "Count", "First", "Last", "PID"], &[2, 3, 4]);
    for entry in &report.indicators {
        let id = if entry.priority == 0 { String::new() } else { entry.id.to_owned() };
        let at = |found: &Option<OccurrenceReport>| {
            found.as_ref().map_or(String::new(), |found| clock(found.seconds))
        };
        let found = entry.last.as_ref().and_then(|last| last.pid).map_or(String::new(), pid);
        table.row(vec![
            id,
            entry.name.to_owned(),
            entry.count.to_string(),
            at(&entry.first),
            at(&entry.last),
            found,
        ]);
    }
    let lines = table.lines().into_iter().enumerate().map(|(n, line)| {
        match n.checked_sub(1).and_then(|n| report.indicators.get(n)) {
            Some(entry) if entry.count > 0 && entry.priority < 3 => paint.bad(&line),
            Some(entry) if entry.count > 0 => paint.doubtful(&line),
            _ => line,
        }
    });
    lines.collect()
}

fn pids(report: &Report) -> Vec<String> {
    let head = [
        "PID",
        "",
        "",
        "Mbit/s",
        "peak",
        "share",
        "CC errors",
        "twice",
        "scrambled",
        "PTS gap ms",
        "PTS-PCR ms",
    ];
    let mut table = Table::new(&head, &[3, 4, 5, 6, 7, 8, 9, 10]);
    // What is most of the stream comes first if not everything can be shown.
    let mut shown: Vec<&PidReport> = report.pids.iter().collect();
    shown.sort_by_key(|entry| std::cmp::Reverse(entry.packets));
    shown.truncate(SHOWN_MAX);
    shown.sort_by_key(|entry| entry.pid);
    for entry in shown {
        let some = |count: u64| if count > 0 { count.to_string() } else { String::new() };
        let streams = report.services.iter().flat_map(|service| &service.streams);
        let codec = streams.filter(|stream| stream.pid == entry.pid).map(|stream| stream.codec).next();
        let lead = entry.pts_lead_ms_min.zip(entry.pts_lead_ms_max);
        table.row(vec![
            pid(entry.pid),
            entry.role.to_owned(),
            codec.unwrap_or_default().to_owned(),
            entry.mean_bps.map_or(String::new(), mbit),
            entry.peak_bps.map_or(String::new(), mbit),
            format!("{:.1} %", 100.0 * entry.packets as f64 / report.packets.max(1) as f64),
            some(entry.continuity_errors),
            some(entry.repetitions),
            some(entry.scrambled_packets),
            ms(entry.pts_interval_ms_max),
            lead.map_or(String::new(), |(min, max)| format!("{min:.0} to {max:.0}")),
        ]);
    }
    let mut lines = table.lines();
    more(&mut lines, report.pids.len());
    lines
}

fn clocks(report: &Report) -> Vec<String> {
    if report.pcrs.is_empty() {
        return Vec::new();
    }
    let head = ["PCR PID", "PCRs", "interval ms", "longest", "above 40 ms", "accuracy ns"];
    let mut table = Table::new(&head, &[1, 2, 3, 4, 5]);
    for entry in report.pcrs.iter().take(SHOWN_MAX) {
        let accuracy = match entry.accuracy_ns_max {
            Some(ns) => format!("{ns:.0}"),
            None if entry.count == 0 => "none came".to_owned(),
            None => "not constant".to_owned(),
        };
        table.row(vec![
            pid(entry.pid),
            entry.count.to_string(),
            ms(entry.interval_ms_mean),
            ms(entry.interval_ms_max),
            entry.intervals_above_40_ms.to_string(),
            accuracy,
        ]);
    }
    let mut lines = table.lines();
    more(&mut lines, report.pcrs.len());
    lines
}

fn tables(report: &Report) -> Vec<String> {
    let tables = &report.tables;
    let longest = |name: &str, interval: Option<f64>| interval.map(|ms| format!("{name} {ms:.1} ms"));
    let maps = report.services.iter().filter_map(|service| service.pmt_interval_ms_max).reduce(f64::max);
    let intervals = [
        longest("PAT", tables.pat_interval_ms_max),
        longest("PMT", maps),
        longest("SDT", tables.sdt_interval_ms_max),
    ];
    let intervals: Vec<String> = intervals.into_iter().flatten().collect();
    let mut lines = Vec::new();
    if !intervals.is_empty() {
        lines.push(format!("  longest intervals: {}", intervals.join(", ")));
    }
    lines.extend(tables.network_name.as_ref().map(|name| format!("  network \"{name}\"")));
    let mut count = |count: u64, text: &str| {
        if count > 0 {
            lines.push(format!("  {count} {text}"));
        }
    };
    count(tables.changes, "changes of PAT or PMT");
    count(tables.sections_dropped, "sections never finished");
    count(tables.programs_ignored, "programs too many, not looked at");
    lines
}

fn network(network: &NetworkReport, path: Option<&PathReport>) -> Vec<String> {
    let sizes = network.sizes.iter().map(|(size, count)| format!("{count} of {size} bytes"));
    let mut sizes: Vec<String> = sizes.collect();
    if network.other_sizes > 0 {
        sizes.push(format!("{} of other sizes", network.other_sizes));
    }
    let uneven = network.sizes.len() > 1 || network.sizes.iter().any(|(size, _)| !FULL_SIZES.contains(size));
    let remark =
        if uneven { " (some set-top boxes want seven packets in each: 1316 or 1328 bytes)" } else { "" };
    let mut lines = vec![format!("  datagrams: {}{remark}", sizes.join(", "))];
    lines.push(format!("  longest gap between datagrams: {:.1} ms", network.gap_ms_max));
    let mdi = &network.mdi;
    if let Some(worst) = mdi.df_ms_max {
        let (worst, mlr, lost) = (format!("{worst:.1}"), mdi.mlr_max, mdi.lost_packets);
        lines.push(format!(
            "  MDI: delay factor at most {worst} ms, loss rate at most {mlr:.0}/s, {lost} packets lost"
        ));
    }
    if let Some(rtp) = &network.rtp {
        lines.push(format!(
            "  RTP: {} packets (type {}, source 0x{:08x}), {} lost, {} out of order, {} twice, {} new senders, {} strays",
            rtp.packets, rtp.payload_type, rtp.ssrc, rtp.lost, rtp.reordered, rtp.duplicates, rtp.restarts, rtp.strays
        ));
    }
    lines.extend(path.into_iter().flat_map(way));
    if network.cut_packets > 0 {
        let cut = network.cut_packets;
        lines.push(format!(
            "  {cut} packets are cut in two: set-top boxes want whole ones (ffmpeg: pkt_size=1316)"
        ));
    }
    if network.foreign > 0 {
        lines.push(format!("  {} datagrams are something else", network.foreign));
    }
    lines
}

/// Who sent, and how.
fn way(path: &PathReport) -> Vec<String> {
    let senders = path.senders.iter().map(|sender| format!("{} ({})", sender.address, sender.datagrams));
    let mut lines = vec![format!("  senders (datagrams): {}", senders.collect::<Vec<_>>().join(", "))];
    if path.sender_changes > 0 {
        lines.push(format!("  the sender changed {} times", path.sender_changes));
    }
    let list = |values: &[u8]| values.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    if !path.ttls.is_empty() {
        lines.push(format!("  TTL {}, DSCP {}", list(&path.ttls), list(&path.dscps)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, text) in
            [(0.0, "0.000 s"), (12.3456, "12.346 s"), (3723.46, "1:02:03.5"), (119.96, "0:02:00.0")]
        {
            assert_eq!(clock(seconds), text);
        }
    }
}
