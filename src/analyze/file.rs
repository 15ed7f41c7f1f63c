//! Files of packets at any stride. Captures are `capture.rs`.

use super::input::Input;
use super::timeline::Timeline;
use super::{Analysis, AnalyzeError, Kind, Request, capture};
use crate::media::Mono;
use crate::monitor::Monitor;
use crate::wire::capture::CaptureReader;
use crate::wire::ts::framing::{Framer, Unit};
use std::path::Path;

/// Packets with a time stamp in front, as Blu-ray discs and some recorders write them.
const STAMPED_STRIDE: usize = 192;
/// Bytes of that stamp.
const STAMP_BYTES: u64 = 4;

pub(super) fn analyze(request: &Request, path: &Path) -> Result<Analysis, AnalyzeError> {
    let mut input = Input::open(path)?;
    if CaptureReader::knows(input.head()) {
        return capture::analyze(request, path, &mut input);
    }
    if request.group.is_some() {
        return Err(AnalyzeError::Request(format!(
            "{} is no capture: --group means nothing here",
            path.display()
        )));
    }
    packets(request, path, &mut input)
}

fn packets(request: &Request, path: &Path, input: &mut Input) -> Result<Analysis, AnalyzeError> {
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
    input.read_all(request.progress, |bytes| {
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
    if !timeline.has_clock() {
        monitor.handle_end_without_clock();
    }
    let analysis = Analysis::new(request, Kind::File, monitor.report());
    Ok(Analysis { stride, skipped_bytes: skipped_bytes + framer.unclaimed(), ..analysis })
}
