//! Entries as packets of a transport stream (MPEG-TS): one frame an entry, at a variable rate.
//!
//! What must stay true: an entry is a whole number of packets and ends with the end of a PES packet; counters run on
//! from entry to entry; a join point begins with PAT, PMT and SDT and has a PCR; tables and PCR come again in time as long
//! as media does. A reader that comes from elsewhere in the log is sent [`seam`](LogWriter::seam) first. Conversions
//! (length-prefixed NAL units to start codes, headers of ADTS and Opus) write straight into the log. An entry cannot be
//! read back as a frame, so this log is never what another format is rebuilt from.

mod clock;
mod program;
mod track;

use super::{About, Packed};
use crate::fanout::log::{LogWriter, Variant};
use crate::media::config_set::ConfigSet;
use crate::media::tag::{self, Packet, Tag};
use crate::media::{Frame, Kind};
use crate::wire::ts::PACKET_BYTES;
use crate::wire::ts::write::packet::{Adaptation, UnitWriter, packets_of, write_adaptation};
use crate::wire::ts::write::pes::{Encoded, PesHeader};
use clock::Clock;
use program::Program;
use std::ops::Range;
use track::{Track, Unfit};

/// One track's share of a frame: a PES packet.
#[derive(Debug)]
struct Unit {
    /// Which track of the program.
    track: usize,
    pid: u16,
    key: bool,
    /// Where its payload stands in the frame.
    payload: Range<usize>,
    header: Encoded,
    /// Header and converted payload.
    bytes: usize,
    says: Adaptation,
}

/// The state of one log of this format.
#[derive(Debug)]
pub struct Packager {
    program: Program,
    clock: Clock,
    /// The configuration that the program follows.
    config_epoch: Option<u32>,
    /// Of the frame at hand; kept for its memory.
    units: Vec<Unit>,
}

impl Packager {
    /// A log of `variant` that has no entry yet. `service` is the name in the SDT.
    pub fn new(variant: Variant, service: &str) -> Packager {
        Packager {
            program: Program::new(variant, service),
            clock: Clock::default(),
            config_epoch: None,
            units: Vec::new(),
        }
    }

    /// Writes the entry of `frame` without committing it.
    pub fn pack(&mut self, log: &mut LogWriter, frame: &Frame, about: About<'_>) -> Packed {
        if self.config_epoch != Some(about.config_epoch) {
            self.config_epoch = Some(about.config_epoch);
            self.program.configure(about.config, about.newest);
        }
        let Ok(tag) = tag::inspect(frame.kind, &frame.body) else { return Packed::Nothing };
        if tag.packet != Packet::Frames {
            return Packed::Nothing;
        }
        if tag.keyframe && self.program.learn(frame, &tag, about.config) {
            self.program.configure(about.config, about.newest);
        }
        self.divide(frame, &tag);
        if self.units.is_empty() {
            return Packed::Nothing;
        }
        self.clock.advance(frame.dts_ms);
        let pcr_pid = self.program.pcr_pid();
        let has_pcr = self.units.iter().any(|unit| unit.pid == pcr_pid);
        let tables_due = self.clock.tables_due() || self.program.is_new();
        // Pictures say where one may join; without them it is where the tables are, lest they come with every sound.
        let join = match frame.kind {
            Kind::Video => about.join && has_pcr,
            _ => (about.join || !self.program.has_video()) && tables_due,
        };
        let tables = join || tables_due;
        let names = tables && (join || self.clock.names_due());
        let pcr = Adaptation { pcr: Some(self.clock.pcr()), ..Adaptation::default() };
        let lone_pcr = !has_pcr && (join || self.clock.pcr_due());
        for unit in self.units.iter_mut().filter(|unit| unit.pid == pcr_pid) {
            unit.says.pcr = pcr.pcr;
        }
        let packets = if tables { self.program.table_packets(names) } else { 0 }
            + usize::from(lone_pcr)
            + self.units.iter().map(|unit| packets_of(unit.bytes, &unit.says)).sum::<usize>();
        if !log.reserve(packets * PACKET_BYTES) {
            return Packed::TooLarge;
        }
        if join {
            log.seam(self.program.seam());
        }
        let mut put = |part: &[u8]| log.put(part);
        let mut whole = !tables || self.program.write_tables(names, &mut put);
        if lone_pcr {
            let counter = *self.program.counter(pcr_pid);
            whole &= write_adaptation(pcr_pid, counter, &pcr, &mut put);
        }
        for unit in &self.units {
            whole &= write_unit(&mut self.program, unit, frame, &mut put);
        }
        self.clock.written(tables, names, has_pcr || lone_pcr);
        if whole { Packed::Entry { join } } else { Packed::TooLarge }
    }

    /// Fills `units` with what the program carries of a frame.
    fn divide(&mut self, frame: &Frame, tag: &Tag) {
        self.units.clear();
        for part in tag.tracks(&frame.body) {
            let Some((at, track)) = self.program.find(frame.kind, part.track_id, part.codec) else {
                continue;
            };
            let Some(payload) = frame.body.get(part.payload.clone()).filter(|p| !p.is_empty()) else {
                continue;
            };
            let key = tag.keyframe;
            // One that is not whole cannot be decoded.
            let Some(bytes) = track.bytes(payload, key) else { continue };
            let (pts, dts) = clock::times(frame.dts_ms, part.cts_ms, tag.presentation_offset_ns);
            let header = PesHeader { stream_id: track.stream_id(), pts, dts };
            let header = match frame.kind {
                Kind::Video => Some(header.encode_video(bytes)),
                _ => header.encode(bytes),
            };
            // A sound of 64 KiB is none.
            let Some(header) = header else { continue };
            // Where there are no pictures, every sound is a place to begin at.
            let random_access = key || (frame.kind == Kind::Audio && !self.program.has_video());
            self.units.push(Unit {
                track: at,
                pid: track.pid(),
                key,
                payload: part.payload,
                bytes: header.as_slice().len() + bytes,
                header,
                says: Adaptation {
                    random_access,
                    priority: key && track.marks_key_frames(),
                    ..Adaptation::default()
                },
            });
        }
    }
}

fn write_unit(
    program: &mut Program,
    unit: &Unit,
    frame: &Frame,
    put: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    let payload = frame.body.get(unit.payload.clone()).unwrap_or_default();
    let Some((track, counter)) = program.writing(unit.track) else { return false };
    let mut writer = UnitWriter::new(unit.pid, counter, unit.says, unit.bytes);
    writer.write(unit.header.as_slice(), put)
        && track.convert(payload, unit.key, |piece| writer.write(piece, put))
        && writer.is_whole()
}

/// Why nothing of a stream can be carried; `None` if something can, or if it is not known yet what there is. A part of which
/// nothing is known has what the whole has.
pub fn refusal(config: &ConfigSet, variant: Variant) -> Option<&'static str> {
    let known = config.tracks().any(|track| program::wants(variant, track.kind));
    let variant = if known { variant } else { Variant { audio: true, video: true, ..variant } };
    let mut why = None;
    for track in config.tracks().filter(|track| program::wants(variant, track.kind)) {
        match Track::new(&track, variant) {
            Ok(_) | Err(Unfit::NotYet) => return None,
            Err(Unfit::Never(reason)) => why = why.or(Some(reason)),
        }
    }
    why
}

#[cfg(test)]
mod tests;
