//! Files: packets at any stride, and captures of the network.

use super::progress::Progress;
use super::timeline::Timeline;
use super::{Analysis, AnalyzeError, Kind, Request};
use crate::media::Mono;
use crate::monitor::Monitor;
use crate::wire::capture::{CaptureReader, Datagram};
use crate::wire::rtp::RtpPacket;
use crate::wire::ts::SYNC_BYTE;
use crate::wire::ts::framing::{Framer, Unit};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// Packets with a time stamp in front, as Blu-ray discs and some recorders write them.
const STAMPED_STRIDE: usize = 192;
/// Bytes of that stamp.
const STAMP_BYTES: u64 = 4;
/// Destinations of a capture that are told apart when none is named.
const DESTINATIONS_MAX: usize = 256;
/// Destinations that a message lists.
const DESTINATIONS_SHOWN: usize = 10;

pub(super) fn analyze(request: &Request, path: &Path) -> Result<Analysis, AnalyzeError> {
    let mut head = [0; 4];
    let read = open(path)?.read(&mut head).map_err(AnalyzeError::io(format!("read {}", path.display())))?;
    if CaptureReader::knows(head.get(..read).unwrap_or_default()) {
        return capture(request, path);
    }
    if request.group.is_some() {
        return Err(AnalyzeError::Request(format!(
            "{} is no capture: --group means nothing here",
            path.display()
        )));
    }
    packets(request, path)
}

fn open(path: &Path) -> Result<File, AnalyzeError> {
    File::open(path).map_err(AnalyzeError::io(format!("open {}", path.display())))
}

/// Reads a file to its end, piece by piece; `take` says whether it wants to go on.
fn read_all(
    path: &Path,
    progress: bool,
    mut take: impl FnMut(&[u8]) -> Result<bool, AnalyzeError>,
) -> Result<(), AnalyzeError> {
    let mut file = open(path)?;
    let total = file.metadata().map_or(0, |metadata| metadata.len());
    let (mut progress, mut done) = (Progress::new(progress && total > 0), 0u64);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(AnalyzeError::io(format!("read {}", path.display()))(error)),
        };
        done += read as u64;
        if !take(buffer.get(..read).unwrap_or_default())? {
            return Ok(());
        }
        progress.update(|| format!("{}: {} %", path.display(), (done * 100).checked_div(total).unwrap_or(0)));
    }
}

fn packets(request: &Request, path: &Path) -> Result<Analysis, AnalyzeError> {
    let mut monitor = Monitor::new(request.options);
    let (mut framer, mut timeline) = (Framer::new(), Timeline::default());
    let (mut stride, mut skipped_bytes) = (None, 0);
    let mut give = |at: Mono, unit: Unit<'_>| {
        if let Unit::Acquired { stride: found, skipped } = unit {
            stride = Some(found);
            // What stands in front of the first packet's sync byte is part of the packet.
            skipped_bytes += skipped.saturating_sub(if found == STAMPED_STRIDE { STAMP_BYTES } else { 0 });
        }
        monitor.handle_unit(at, unit);
    };
    read_all(path, request.progress, |bytes| {
        framer.push(bytes);
        while let Some(unit) = framer.next_unit() {
            timeline.push(unit, &mut give);
        }
        Ok(true)
    })?;
    framer.finish();
    while let Some(unit) = framer.next_unit() {
        timeline.push(unit, &mut give);
    }
    timeline.finish(&mut give);
    if stride.is_none() {
        return Err(AnalyzeError::Nothing(format!(
            "{} is neither a transport stream nor a capture: no five sync bytes (0x47) at distances of 188, 192 or 204",
            path.display()
        )));
    }
    let analysis = Analysis::new(request, Kind::File, monitor.report());
    Ok(Analysis { stride, skipped_bytes, ..analysis })
}

fn capture(request: &Request, path: &Path) -> Result<Analysis, AnalyzeError> {
    let destination = match request.group {
        Some(group) => group,
        None => only_destination(request, path)?,
    };
    let mut monitor = Monitor::new(request.options);
    let (mut begin_ns, mut last, mut cut_datagrams, mut datagrams) = (None, Mono::ZERO, 0, 0u64);
    each_datagram(request, path, |time_ns, datagram| {
        if datagram.destination == destination {
            let begin_ns = *begin_ns.get_or_insert(time_ns);
            // Captures of several queues may be out of order by a few microseconds.
            last = last.max(Mono::from_micros(time_ns.saturating_sub(begin_ns) / 1000));
            datagrams += 1;
            cut_datagrams += u64::from(datagram.cut);
            monitor.handle_datagram(last, datagram.payload);
        }
    })?;
    let report = monitor.report();
    if report.packets == 0 {
        let what = if datagrams == 0 {
            "no datagram goes to"
        } else {
            "there is no transport stream in what goes to"
        };
        let hint = "without --group the destinations are listed";
        return Err(AnalyzeError::Nothing(format!("{}: {what} {destination}; {hint}", path.display())));
    }
    let analysis = Analysis::new(request, Kind::Capture, report);
    Ok(Analysis { destination: Some(destination), cut_datagrams, ..analysis })
}

/// The destination that carries a transport stream, if it is one.
fn only_destination(request: &Request, path: &Path) -> Result<SocketAddr, AnalyzeError> {
    // Datagrams, and those of them that look like a transport stream.
    let mut seen = BTreeMap::<SocketAddr, (u64, u64)>::new();
    each_datagram(request, path, |_, datagram| {
        if seen.len() < DESTINATIONS_MAX || seen.contains_key(&datagram.destination) {
            let (all, fitting) = seen.entry(datagram.destination).or_default();
            let plain = datagram.payload.first() == Some(&SYNC_BYTE);
            *all += 1;
            *fitting += u64::from(plain || RtpPacket::around_ts(datagram.payload).is_some());
        }
    })?;
    // Error correction beside a stream looks like one now and then.
    let mut found: Vec<_> = seen.into_iter().filter(|(_, (all, fitting))| fitting * 2 > *all).collect();
    match found[..] {
        [] => Err(AnalyzeError::Nothing(format!(
            "{}: no UDP destination carries a transport stream",
            path.display()
        ))),
        [(destination, _)] => Ok(destination),
        _ => {
            found.sort_by_key(|(_, (all, _))| std::cmp::Reverse(*all));
            let shown = found.iter().take(DESTINATIONS_SHOWN);
            let list: String = shown
                .map(|(destination, (all, _))| format!("\n  --group {destination}   ({all} datagrams)"))
                .collect();
            let what = format!("{}: {} transport streams; say which one:", path.display(), found.len());
            Err(AnalyzeError::Request(what + &list))
        }
    }
}

/// Reads all UDP datagrams of a capture with their times. One that is cut off in a record ends there, as when a capture
/// is copied while it runs.
fn each_datagram(
    request: &Request,
    path: &Path,
    mut tell: impl FnMut(u64, Datagram<'_>),
) -> Result<(), AnalyzeError> {
    let mut reader = CaptureReader::new();
    let mut records = 0u64;
    read_all(path, request.progress, |bytes| {
        reader.push(bytes);
        loop {
            match reader.next_record() {
                Ok(Some(record)) => {
                    records += 1;
                    if let Some(datagram) = Datagram::parse(record.link, record.frame) {
                        tell(record.time_ns, datagram);
                    }
                }
                Ok(None) => return Ok(true),
                // What came before the damage is worth a report.
                Err(_) if records > 0 => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    })
}
