//! Pictures: byte streams of H.264 and HEVC become frames with lengths in front of NAL units, and the record of their
//! parameter sets.
//!
//! - Delimiters go, and so do parameter sets that the record holds. A set that comes between keyframes stays in its
//!   picture, and is in the record from the next keyframe on, so that configuration changes only where viewers can begin.
//! - **A keyframe** is an IDR picture, in HEVC any IRAP picture; in H.264 also one with a recovery point message, or one
//!   with its sequence parameter set that the packet's random access indicator marks: broadcasters send open groups of
//!   pictures, and a stream without any IDR could not be joined at all. What decoders show of the first pictures behind
//!   such a point may be incomplete, as on every broadcast receiver.
//! - Behind a unit that was lost, pictures go on; decoders conceal what is missing. If it was a keyframe, or may have been,
//!   nothing goes on before the next one, because everything until then refers to it.

use super::tags::{Role, video_head};
use super::{Frames, Tally};
use crate::media::Codec;
use crate::wire::ts::annexb::{Nal, Nals};
use crate::wire::{h264, h265};
use bytes::Bytes;
use std::ops::Range;

/// NAL units of one access unit; pictures of 8K in small slices have some hundred.
const NALS_MAX: usize = 8192;
/// Access units of one PES packet; some senders put a group of pictures into one.
const UNITS_MAX: u32 = 64;
/// Bytes of all parameter sets: half of what a stream's configuration may have.
const SETS_BYTES_MAX: usize = crate::media::track::CONFIG_BYTES_MAX / 2;

/// Sequence and picture parameter sets of H.264 that a record can count (ISO/IEC 14496-15 section 5.3.3.1).
const SPS_MAX: usize = 31;
const PPS_MAX: usize = 255;

/// What a composition offset in FLV can be, in ms: 24 bits with a sign (FLV annex E.4.3.1).
const CTS_MS: Range<i64> = -(1 << 23)..1 << 23;

/// One parameter set.
#[derive(Debug)]
struct Set {
    kind: Nal,
    id: u8,
    bytes: Vec<u8>,
    /// The record that was told last holds it.
    told: bool,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Video {
    codec: Codec,
    sets: Vec<Set>,
    config: Option<Bytes>,
    /// Nothing is passed on before the next keyframe.
    waiting: bool,
    /// Of the access unit at hand; kept for its memory.
    nals: Vec<(Nal, Range<usize>)>,
}

/// Times of an access unit in ticks of 90 kHz.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub pts: i64,
    pub dts: i64,
}

impl Video {
    pub fn new(codec: Codec) -> Video {
        Video { codec, sets: Vec::new(), config: None, waiting: true, nals: Vec::new() }
    }

    /// The body of the configuration that was told last.
    pub fn config(&self) -> Option<&Bytes> {
        self.config.as_ref()
    }

    /// Nothing goes on before the next keyframe.
    pub fn wait(&mut self) {
        self.waiting = true;
    }

    /// What comes next is of another source, with parameter sets of its own. Told is its configuration if it differs.
    pub fn interrupt(&mut self) {
        self.waiting = true;
        self.sets.clear();
    }

    pub fn heap_bytes(&self) -> usize {
        let sets: usize = self.sets.iter().map(|set| set.bytes.capacity() + size_of::<Set>()).sum();
        sets + self.nals.capacity() * size_of::<(Nal, Range<usize>)>()
    }

    /// Reads the payload of one PES packet, which holds an access unit or several; `times` of the n-th.
    pub fn read(
        &mut self,
        payload: &[u8],
        random_access: bool,
        times: impl Fn(u32) -> Times,
        out: &mut Frames<'_>,
        tally: &mut Tally,
    ) -> u32 {
        let (mut units, mut pictures, mut field) = (0, false, None);
        for range in Nals::new(payload) {
            let nal = payload.get(range.clone()).unwrap_or_default();
            let kind = if self.codec == Codec::H264 { Nal::of_h264(nal) } else { Nal::of_hevc(nal) };
            let slice_field = match kind {
                Nal::Slice { first: true, .. } => self.field(nal),
                _ => None,
            };
            if pictures && kind.begins_unit() && !self.stays(kind, field, slice_field) {
                units +=
                    u32::from(self.finish(payload, random_access && units == 0, times(units), out, tally));
                (pictures, field) = (false, None);
                if units >= UNITS_MAX {
                    tally.too_large += 1;
                    return units;
                }
            }
            if matches!(kind, Nal::Slice { .. }) {
                // With its second field a frame is complete.
                let second = pictures && slice_field.is_some();
                field = if second { None } else { field.or(slice_field) };
                pictures = true;
            }
            if self.nals.len() < NALS_MAX {
                self.nals.push((kind, range));
            }
        }
        units + u32::from(self.finish(payload, random_access && units == 0, times(units), out, tally))
    }

    /// Whether what would begin an access unit belongs to the one at hand: the second field of its frame, and what stands
    /// in front of it.
    fn stays(&self, kind: Nal, field: Option<(u32, bool)>, next: Option<(u32, bool)>) -> bool {
        match (kind, field, next) {
            (Nal::Slice { .. }, Some((number, bottom)), Some((next_number, next_bottom))) => {
                number == next_number && bottom != next_bottom
            }
            // A lone first field waits for the second, in front of which these may stand.
            (Nal::Delimiter | Nal::Sei | Nal::Pps, Some(_), _) => true,
            _ => false,
        }
    }

    /// Frame number and parity of a slice of H.264 that is of a field.
    fn field(&self, nal: &[u8]) -> Option<(u32, bool)> {
        if self.codec != Codec::H264 {
            return None;
        }
        let (pps, slice) = h264::pps_of_slice(nal)?;
        let find = |kind, id| self.sets.iter().find(|set| set.kind == kind && set.id == id);
        let (_, sps) = h264::pps_ids(&find(Nal::Pps, pps)?.bytes)?;
        h264::Sps::parse(&find(Nal::Sps, sps)?.bytes)?.field_of(slice)
    }

    /// Takes note of a parameter set.
    fn keep(&mut self, kind: Nal, nal: &[u8], tally: &mut Tally) {
        let id = match (self.codec, kind) {
            (Codec::H264, Nal::Sps) => h264::Sps::parse(nal).map(|sps| sps.id),
            (Codec::H264, _) => h264::pps_ids(nal).map(|ids| ids.0),
            _ => h265::set_id(nal),
        };
        let Some(id) = id else {
            tally.malformed += 1;
            return;
        };
        let held: usize = self.sets.iter().map(|set| set.bytes.len()).sum();
        let count = self.sets.iter().filter(|set| set.kind == kind).count();
        let room = match (self.codec, kind) {
            (Codec::H264, Nal::Sps) => count < SPS_MAX,
            (Codec::H264, _) => count < PPS_MAX,
            // Its record counts more than there are identifiers.
            _ => true,
        };
        match self.sets.iter_mut().find(|set| set.kind == kind && set.id == id) {
            Some(set) if set.bytes == nal => {}
            Some(set) if held - set.bytes.len() + nal.len() <= SETS_BYTES_MAX => {
                (set.bytes, set.told) = (nal.to_vec(), false);
            }
            None if room && held + nal.len() <= SETS_BYTES_MAX => {
                self.sets.push(Set { kind, id, bytes: nal.to_vec(), told: false });
            }
            _ => tally.too_large += 1,
        }
    }

    /// The record of all sets as a tag body.
    fn record(&self) -> Option<Bytes> {
        let of = |kind| -> Vec<&[u8]> {
            self.sets.iter().filter(|set| set.kind == kind).map(|set| set.bytes.as_slice()).collect()
        };
        let record = match self.codec {
            Codec::H264 => h264::avcc(&of(Nal::Sps), &of(Nal::Pps))?,
            _ => h265::hvcc(&of(Nal::Vps), &of(Nal::Sps), &of(Nal::Pps))?,
        };
        let mut body = video_head(self.codec, Role::Config, true, 0, record.len());
        body.extend(record);
        Some(body.into())
    }

    /// The access unit at hand is complete. Returns whether there was a picture in it.
    fn finish(
        &mut self,
        payload: &[u8],
        random_access: bool,
        times: Times,
        out: &mut Frames<'_>,
        tally: &mut Tally,
    ) -> bool {
        let nals = std::mem::take(&mut self.nals);
        let is = |of: fn(Nal) -> bool| nals.iter().any(|(kind, _)| of(*kind));
        let bytes = |range: &Range<usize>| payload.get(range.clone()).unwrap_or_default();
        for (kind, range) in nals.iter().filter(|(kind, _)| matches!(kind, Nal::Vps | Nal::Sps | Nal::Pps)) {
            self.keep(*kind, bytes(range), tally);
        }
        let picture = is(|kind| matches!(kind, Nal::Slice { .. }));
        let mut key = is(|kind| matches!(kind, Nal::Slice { random_access: true, .. }));
        if self.codec == Codec::H264 && !key {
            key = random_access && is(|kind| kind == Nal::Sps)
                || nals
                    .iter()
                    .any(|(kind, range)| *kind == Nal::Sei && h264::has_recovery_point(bytes(range)));
        }
        if picture && self.may_go_on(key, times, out, tally) {
            let size: usize = nals.iter().map(|(_, range)| range.len() + 4).sum();
            let offset_ms = times.pts.div_euclid(90) - times.dts.div_euclid(90);
            let cts_ms = i32::try_from(offset_ms).ok().filter(|_| CTS_MS.contains(&offset_ms));
            tally.malformed += u64::from(cts_ms.is_none());
            let cts_ms = cts_ms.unwrap_or(0);
            let mut body = video_head(self.codec, Role::Frames, key, cts_ms, size);
            for (kind, range) in &nals {
                let nal = bytes(range);
                let set = matches!(kind, Nal::Vps | Nal::Sps | Nal::Pps);
                let told = set && self.sets.iter().any(|set| set.told && set.bytes == nal);
                if *kind != Nal::Delimiter && !told {
                    body.extend((nal.len() as u32).to_be_bytes());
                    body.extend_from_slice(nal);
                }
            }
            out.picture(times.dts, key, body.into());
        }
        self.nals = nals;
        self.nals.clear();
        picture
    }

    /// Whether a picture is passed on; in front of a keyframe goes its configuration, if that is new.
    fn may_go_on(&mut self, key: bool, times: Times, out: &mut Frames<'_>, tally: &mut Tally) -> bool {
        if !key && self.waiting {
            tally.before_keyframe += 1;
            return false;
        }
        if key && (self.config.is_none() || self.sets.iter().any(|set| !set.told)) {
            let Some(config) = self.record() else {
                tally.before_config += 1;
                return false;
            };
            self.sets.iter_mut().for_each(|set| set.told = true);
            if self.config.as_ref() != Some(&config) {
                self.config = Some(config.clone());
                out.config(crate::media::Kind::Video, times.dts, config);
            }
        }
        self.waiting &= !key;
        true
    }
}
