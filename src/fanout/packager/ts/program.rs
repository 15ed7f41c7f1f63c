//! The one program of a log: its tracks, its tables and the counters of all PIDs.

use super::track::Track;
use crate::fanout::log::Variant;
use crate::media::config_set::ConfigSet;
use crate::media::tag::Tag;
use crate::media::{Codec, Frame, Kind, TrackConfig};
use crate::wire::av1::{av1c, sequence_header};
use crate::wire::ts::write::descriptor::SERVICE_TV;
use crate::wire::ts::write::packet::{
    Adaptation, Counter, packets_of_section, write_adaptation, write_section,
};
use crate::wire::ts::write::section::{self, Component, Service};
use crate::wire::ts::{PACKET_BYTES, pid};
use bytes::Bytes;

/// PID of the PMT, where ffmpeg and most muxers have it.
const PMT_PID: u16 = 0x1000;
const STREAM_ID: u16 = 1;
const PROGRAM: u16 = 1;
/// Of the range for networks that are nobody's.
const NETWORK_ID: u16 = 0xFF01;
const PROVIDER: &str = "headgate";
/// Bytes of a sequence header that a record is made of; those in use have some twenty.
const SEQUENCE_BYTES_MAX: usize = 1024;

/// Whether tracks of a kind are in.
pub(super) fn wants(variant: Variant, kind: Kind) -> bool {
    match kind {
        Kind::Video => variant.video,
        Kind::Audio => variant.audio,
        Kind::Data => false,
    }
}

fn has_record(track: &TrackConfig) -> bool {
    track.record.as_ref().is_some_and(|record| !record.is_empty())
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Program {
    variant: Variant,
    tracks: Vec<Track>,
    pcr_pid: u16,
    pat: Vec<u8>,
    pmt: Vec<u8>,
    sdt: Vec<u8>,
    /// How often the PMT has changed.
    revision: u8,
    /// The PMT has not been written since it changed.
    new: bool,
    counters: Vec<(u16, Counter)>,
    /// Records of tracks of AV1 that none was sent for, by their numbers: RTMP wants none, if keyframes have the header.
    in_band: Vec<(u8, Bytes)>,
}

impl Program {
    pub(super) fn new(variant: Variant, service: &str) -> Program {
        let service = Service { id: PROGRAM, service_type: SERVICE_TV, provider: PROVIDER, name: service };
        Program {
            variant,
            tracks: Vec::new(),
            pcr_pid: pid::NULL,
            pat: section::pat(STREAM_ID, 0, &[(PROGRAM, PMT_PID)]).unwrap_or_default(),
            pmt: Vec::new(),
            sdt: section::sdt(STREAM_ID, NETWORK_ID, 0, &[service]).unwrap_or_default(),
            revision: 0,
            new: true,
            counters: Vec::new(),
            in_band: Vec::new(),
        }
    }

    /// Takes note of the sequence headers in a keyframe of AV1 whose tracks have no record. Returns whether there is
    /// something new in that: [`Program::configure`] is due.
    pub(super) fn learn(&mut self, frame: &Frame, tag: &Tag, config: &ConfigSet) -> bool {
        if frame.kind != Kind::Video || !self.variant.av1 || tag.codec != Codec::Av1 {
            return false;
        }
        let mut new = false;
        for track in config.tracks().filter(|track| track.codec == Codec::Av1 && !has_record(track)) {
            let part = tag.tracks(&frame.body).find(|part| part.track_id == track.track_id);
            let units = part.and_then(|part| frame.body.get(part.payload));
            let sequence = units.and_then(sequence_header).filter(|all| all.len() <= SEQUENCE_BYTES_MAX);
            let Some(record) = sequence.and_then(av1c) else { continue };
            let known = self.in_band.iter().position(|(of, _)| *of == track.track_id);
            if known.and_then(|at| self.in_band.get(at)).is_none_or(|(_, old)| *old != record) {
                known.map(|at| self.in_band.swap_remove(at));
                self.in_band.push((track.track_id, record.into()));
                new = true;
            }
        }
        new
    }

    /// Follows a configuration, with those tracks of the newest that it does not have: a log that begins with an older
    /// frame names them from the start. Tracks that cannot be carried are left out; while none can be, the old ones
    /// stay, since a publisher that comes back tells its tracks one by one.
    pub(super) fn configure(&mut self, config: &ConfigSet, newest: &ConfigSet) {
        let mut tracks: Vec<Track> = Vec::new();
        let newer = Some(newest).filter(|newest| newest.epoch != config.epoch);
        let all = config.tracks().chain(newer.into_iter().flat_map(ConfigSet::tracks));
        for mut track in all.filter(|track| wants(self.variant, track.kind)) {
            if track.codec == Codec::Av1 && !has_record(&track) {
                let known = self.in_band.iter().find(|(of, _)| *of == track.track_id);
                track.record = known.map(|(_, record)| record.clone());
            }
            let known =
                tracks.iter().any(|t| (t.kind(), t.config().track_id) == (track.kind, track.track_id));
            tracks.extend(Track::new(&track, self.variant).ok().filter(|_| !known));
        }
        // Video first, by its lower PIDs.
        tracks.sort_by_key(Track::pid);
        let same = tracks.iter().map(Track::config).eq(self.tracks.iter().map(Track::config));
        let Some(pcr_pid) = tracks.first().map(Track::pid).filter(|_| !same) else { return };
        if !self.new {
            self.revision = self.revision.wrapping_add(1);
            self.new = true;
        }
        let components: Vec<Component> = tracks.iter().map(|track| track.component().clone()).collect();
        // A viewer may go from the log without pictures to the full one: what one of them calls version n, the other
        // never does.
        let version = (self.revision << 1 | u8::from(!self.variant.video)) & 0x1F;
        // At most 32 tracks with 26 bytes each.
        let Some(pmt) = section::pmt(PROGRAM, version, pcr_pid, &components) else { return };
        (self.tracks, self.pcr_pid, self.pmt) = (tracks, pcr_pid, pmt);
    }

    /// Whether the PMT is another than the last one written.
    pub(super) fn is_new(&self) -> bool {
        self.new
    }

    pub(super) fn has_video(&self) -> bool {
        self.tracks.iter().any(|track| track.kind() == Kind::Video)
    }

    pub(super) fn pcr_pid(&self) -> u16 {
        self.pcr_pid
    }

    /// The track that frames of a kind, number and codec belong to, with its index.
    pub(super) fn find(&self, kind: Kind, track_id: u8, codec: Codec) -> Option<(usize, &Track)> {
        self.tracks.iter().enumerate().find(|(_, track)| track.is(kind, track_id, codec))
    }

    /// Track `at` and its counter.
    pub(super) fn writing(&mut self, at: usize) -> Option<(&Track, &mut Counter)> {
        let track = self.tracks.get(at)?;
        Some((track, counter(&mut self.counters, track.pid())))
    }

    pub(super) fn counter(&mut self, pid: u16) -> &mut Counter {
        counter(&mut self.counters, pid)
    }

    /// Packets of PAT and PMT, and of the SDT if `names`.
    pub(super) fn table_packets(&self, names: bool) -> usize {
        let names = if names { packets_of_section(self.sdt.len()) } else { 0 };
        packets_of_section(self.pat.len()) + packets_of_section(self.pmt.len()) + names
    }

    pub(super) fn write_tables(&mut self, names: bool, put: &mut impl FnMut(&[u8]) -> bool) -> bool {
        self.new = false;
        let Program { counters, pat, pmt, sdt, .. } = self;
        write_section(pid::PAT, counter(counters, pid::PAT), pat, put)
            && write_section(PMT_PID, counter(counters, PMT_PID), pmt, put)
            && (!names || write_section(pid::SDT, counter(counters, pid::SDT), sdt, put))
    }

    /// For a reader that comes from elsewhere: packets without payload that announce a discontinuity of every PID, each
    /// with the counter that the PID's next packet follows.
    pub(super) fn seam(&mut self) -> Bytes {
        let pids: Vec<u16> =
            [pid::PAT, PMT_PID, pid::SDT].into_iter().chain(self.tracks.iter().map(Track::pid)).collect();
        let mut out = Vec::with_capacity(pids.len() * PACKET_BYTES);
        let says = Adaptation { discontinuity: true, ..Adaptation::default() };
        for pid in pids {
            let counter = *self.counter(pid);
            // Nothing limits what the vector takes.
            let _whole = write_adaptation(pid, counter, &says, &mut |part: &[u8]| {
                out.extend(part);
                true
            });
        }
        out.into()
    }
}

fn counter(counters: &mut Vec<(u16, Counter)>, pid: u16) -> &mut Counter {
    let at = counters.iter().position(|(of, _)| *of == pid).unwrap_or_else(|| {
        counters.push((pid, Counter::default()));
        counters.len() - 1
    });
    &mut counters[at].1
}
