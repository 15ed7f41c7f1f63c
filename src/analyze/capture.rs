//! Captures of the network: which datagrams are the stream, and when they came.

use super::input::Input;
use super::path::PathReport;
use super::source::Group;
use super::spots::{Spot, Spots};
use super::{Analysis, AnalyzeError, CaptureReport, Kind, Request};
use crate::media::Mono;
use crate::monitor::Monitor;
use crate::wire::capture::{CaptureError, CaptureReader, Datagram, NotRead, Record};
use crate::wire::rtp::RtpPacket;
use crate::wire::ts::{SYNC_BYTE, cut};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

/// Flows of a capture that are told apart when none is named.
const FLOWS_MAX: usize = 256;
/// Streams that a message lists.
const FLOWS_SHOWN: usize = 10;
/// A step back by more is one of the clock, in nanoseconds: records of several queues are out of order by microseconds.
const STEP_BACK_NS: u64 = 100_000_000;

/// What is one stream: datagrams that one sender sends to one destination, seen at one spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    group: Group,
    spot: Spot,
}

pub(super) fn analyze(request: &Request, path: &Path, input: &mut Input) -> Result<Analysis, AnalyzeError> {
    let (group, mut spots) = match request.group {
        Some(group) => (group, Spots::default()),
        None => {
            let flow = only_flow(request, path, input)?;
            (flow.group, flow.group.source.map_or_else(Spots::default, |source| Spots::of(source, flow.spot)))
        }
    };
    let mut monitor = Monitor::new(request.options);
    let (mut clock, mut way, mut told) = (Clock::default(), PathReport::default(), CaptureReport::default());
    let (mut cut_datagrams, mut datagrams) = (0, 0u64);
    let ending = each_record(request, input, |record| {
        if spots.are_on(record.interface) {
            let now = clock.read(record.time_ns);
            // Time passes whatever was captured; that is how silence is heard.
            while monitor.deadline() <= now {
                monitor.handle_timeout(monitor.deadline());
            }
        }
        let datagram = match Datagram::parse(record.link, record.frame) {
            Ok(datagram) => datagram,
            Err(why) => return told.count(why),
        };
        if !group.has(datagram.source.ip(), datagram.destination) {
            return;
        }
        let here = (record.interface, datagram.device, datagram.outgoing);
        if spots.is_copy(datagram.source.ip(), here, record.time_ns) {
            told.copies += 1;
            return;
        }
        datagrams += 1;
        cut_datagrams += u64::from(datagram.cut);
        told.untimed += u64::from(record.time_ns.is_none());
        way.count(datagram.source.ip());
        way.mark(datagram.ttl, datagram.dscp);
        monitor.handle_datagram(clock.now(), datagram.payload);
    })?;
    ending.tell(&mut told);
    told.clock_steps = clock.steps;
    let report = monitor.report();
    if report.packets == 0 {
        let what = if datagrams == 0 {
            "no datagram goes to"
        } else {
            "there is no transport stream in what goes to"
        };
        let hint = told.hint().unwrap_or("without --group the destinations are listed");
        return Err(AnalyzeError::Nothing(format!("{}: {what} {group}; {hint}", path.display())));
    }
    let analysis = Analysis::new(request, Kind::Capture, report);
    Ok(Analysis {
        destination: Some(group.destination),
        cut_datagrams,
        path: Some(way),
        capture: Some(told),
        ..analysis
    })
}

/// The stream of a capture, if it is one. Of copies that were seen at several spots, that with the most datagrams.
fn only_flow(request: &Request, path: &Path, input: &mut Input) -> Result<Flow, AnalyzeError> {
    if !input.is_regular() {
        return Err(AnalyzeError::Request(format!(
            "{} can be read only once: say which stream is meant (--group GROUP:PORT)",
            path.display()
        )));
    }
    let (mut seen, mut told) = (Seen::default(), CaptureReport::default());
    let ending = each_record(request, input, |record| match Datagram::parse(record.link, record.frame) {
        Ok(datagram) => {
            let group = Group { source: Some(datagram.source.ip()), destination: datagram.destination };
            let spot = (record.interface, datagram.device, datagram.outgoing);
            seen.count(Flow { group, spot }, is_stream(datagram.payload));
        }
        Err(why) => told.count(why),
    })?;
    ending.tell(&mut told);
    let mut found = seen.streams();
    match found[..] {
        [] => {
            let hint = told.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
            Err(AnalyzeError::Nothing(format!(
                "{}: no UDP destination carries a transport stream{hint}",
                path.display()
            )))
        }
        [(flow, _)] => Ok(flow),
        _ => {
            found.sort_by_key(|(_, all)| std::cmp::Reverse(*all));
            let destinations = |flow: &Flow| {
                found.iter().filter(|(other, _)| other.group.destination == flow.group.destination).count()
            };
            let mut list = format!("{}: {} transport streams; say which one:", path.display(), found.len());
            let mut shared = Vec::new();
            for (flow, all) in found.iter().take(FLOWS_SHOWN) {
                // The sender is named where the destination does not say enough.
                let source = flow.group.source.filter(|_| destinations(flow) > 1);
                list += &format!("\n  --group {}   ({all} datagrams)", Group { source, ..flow.group });
                if source.is_some() && !shared.contains(&flow.group.destination) {
                    shared.push(flow.group.destination);
                }
            }
            // One sender that takes over from another is one stream to a receiver.
            for destination in shared {
                list += &format!("\n  --group {destination}   (all senders, as a receiver gets them)");
            }
            Err(AnalyzeError::Request(list))
        }
    }
}

/// Whether a datagram looks like a transport stream.
fn is_stream(payload: &[u8]) -> bool {
    let is_rtp = RtpPacket::parse(payload).is_some();
    payload.first() == Some(&SYNC_BYTE)
        || RtpPacket::around_ts(payload).is_some()
        || (!is_rtp && cut::search(payload).is_some())
}

/// Datagrams of each flow, and those of them that look like a transport stream.
#[derive(Debug, Default)]
struct Seen(BTreeMap<Flow, (u64, u64)>);

impl Seen {
    fn count(&mut self, flow: Flow, fits: bool) {
        if self.0.len() >= FLOWS_MAX && !self.0.contains_key(&flow) {
            // What looks like no stream makes room.
            let unfit =
                self.0.iter().filter(|(_, counts)| !is_fit(**counts)).min_by_key(|(_, counts)| counts.0);
            let Some((unfit, _)) = unfit else { return };
            let unfit = *unfit;
            self.0.remove(&unfit);
        }
        let (all, fitting) = self.0.entry(flow).or_default();
        *all += 1;
        *fitting += u64::from(fits);
    }

    /// The streams with their datagrams, each at its best spot.
    fn streams(self) -> Vec<(Flow, u64)> {
        let mut best = BTreeMap::<Group, (Spot, u64)>::new();
        for (flow, counts) in self.0.into_iter().filter(|(_, counts)| is_fit(*counts)) {
            let known = best.entry(flow.group).or_insert((flow.spot, 0));
            if counts.0 > known.1 {
                *known = (flow.spot, counts.0);
            }
        }
        best.into_iter().map(|(group, (spot, all))| (Flow { group, spot }, all)).collect()
    }
}

/// Error correction beside a stream looks like one now and then.
fn is_fit((all, fitting): (u64, u64)) -> bool {
    fitting * 2 > all
}

/// The capture's clock, made one that does not go back.
#[derive(Debug, Default)]
struct Clock {
    last_ns: Option<u64>,
    now_ns: u64,
    steps: u64,
}

impl Clock {
    /// The time of a record; one without a time has that of the record before.
    fn read(&mut self, time_ns: Option<u64>) -> Mono {
        if let Some(time_ns) = time_ns {
            let last_ns = *self.last_ns.get_or_insert(time_ns);
            if time_ns >= last_ns {
                self.now_ns = self.now_ns.saturating_add(time_ns - last_ns);
                self.last_ns = Some(time_ns);
            } else if last_ns - time_ns > STEP_BACK_NS {
                // It was set back; how long it took nobody knows.
                self.steps += 1;
                self.last_ns = Some(time_ns);
            }
        }
        self.now()
    }

    fn now(&self) -> Mono {
        Mono::from_micros(self.now_ns / 1000)
    }
}

/// How a capture ended.
struct Ending {
    damaged_at: Option<u64>,
    unread: u64,
}

impl Ending {
    fn tell(self, report: &mut CaptureReport) {
        report.damaged_at = self.damaged_at;
        report.unread_frames += self.unread;
    }
}

impl CaptureReport {
    /// A frame that is no datagram.
    fn count(&mut self, why: NotRead) {
        match why {
            NotRead::Link => self.unread_frames += 1,
            NotRead::Fragment => self.fragments += 1,
            NotRead::Other => {}
        }
    }

    /// Why there may be no stream.
    fn hint(&self) -> Option<&'static str> {
        match (self.unread_frames, self.fragments) {
            (1.., _) => Some(
                "frames have a link type that is not read (Ethernet, raw IP, loopback and Linux cooked are), or an interface \
                 that the file does not name",
            ),
            (_, 1..) => Some("there are fragments of IP packets, which are not put together"),
            _ => None,
        }
    }
}

/// Reads all records of a capture. One that is cut off in a record ends there, as when a capture is copied while it
/// runs; what comes before damage is worth a report too.
fn each_record(
    request: &Request,
    input: &mut Input,
    mut tell: impl FnMut(Record<'_>),
) -> Result<Ending, AnalyzeError> {
    let mut reader = CaptureReader::new();
    let (mut records, mut damaged_at) = (0u64, None);
    input.read_all(request.progress, |bytes| {
        reader.push(bytes);
        loop {
            match reader.next_record() {
                Ok(Some(record)) => {
                    records += 1;
                    tell(record);
                }
                Ok(None) => return Ok(true),
                Err(CaptureError::Damaged { offset, .. }) if records > 0 => {
                    damaged_at = Some(offset);
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
    })?;
    Ok(Ending { damaged_at: damaged_at.or(reader.damaged_at_end()), unread: reader.unread() })
}

impl Group {
    /// Whether a datagram is meant.
    fn has(self, source: IpAddr, destination: std::net::SocketAddr) -> bool {
        self.destination == destination && self.source.is_none_or(|meant| meant == source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let mut clock = Clock::default();
        let ms = |clock: &mut Clock, ms: u64| clock.read(Some(ms * 1_000_000)).as_micros() / 1000;
        let read = [5000, 5010, 5009, 5020, 2000, 2010, 2030].map(|at| ms(&mut clock, at));
        assert_eq!(read, [0, 10, 10, 20, 20, 30, 50], "out of order by little, then set back");
        assert_eq!((clock.read(None).as_micros(), clock.steps), (50_000, 1));
    }

    #[test]
    fn streams_are_not_crowded_out() {
        let flow = |source: u16, spot: u32| {
            let source = IpAddr::from([10, 0, (source >> 8) as u8, source as u8]);
            let group = Group { source: Some(source), destination: ([239, 0, 0, 1], 5000).into() };
            Flow { group, spot: (spot, 0, false) }
        };
        let mut seen = Seen::default();
        (0..1000).for_each(|n| seen.count(flow(n, 0), false));
        for n in 0..10 {
            seen.count(flow(2000, 0), n > 3);
            seen.count(flow(2000, 1), true);
            (0..1000).for_each(|n| seen.count(flow(n, 0), false));
        }
        seen.count(flow(2000, 1), true);
        assert!(seen.0.len() <= FLOWS_MAX);
        assert_eq!(seen.streams(), [(flow(2000, 1), 11)]);
    }
}
