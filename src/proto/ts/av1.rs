//! Pictures of AV1: units behind start codes become temporal units as RTMP has them, and the record of their sequence
//! header.
//!
//! - A packet holds a temporal unit, or one frame of it: a temporal unit ends with the packet in which a frame is shown, or
//!   where a delimiter begins the next. Its time is that of the packet with the shown frame. Delimiters go.
//! - A keyframe is a key frame that is shown at once, with its sequence header in front of it. One that is shown later is
//!   none: what comes between refers to frames before it.
//! - Behind a unit that was lost, pictures go on as with H.264 (`video`).

use super::tags::{Role, video_head};
use super::video::Times;
use super::{Frames, PICTURE_BYTES_MAX, Tally};
use crate::media::{Codec, Kind};
use crate::wire::av1::obu::{self, FrameHead, kind};
use crate::wire::av1::{SequenceHeader, av1c};
use crate::wire::ts::av1;
use bytes::Bytes;

/// Temporal units of one packet; senders put one into each.
const UNITS_MAX: u32 = 64;
/// Bytes of a sequence header; those in use have some twenty.
const SEQUENCE_BYTES_MAX: usize = 1024;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Av1 {
    /// Units of the temporal unit at hand.
    unit: Vec<u8>,
    shown: bool,
    key: bool,
    /// A frame header came in it: one that comes again says nothing new.
    headed: bool,
    /// Payload of the sequence header that came last.
    sequence: Vec<u8>,
    /// It came in the temporal unit at hand.
    sequence_here: bool,
    still: bool,
    config: Option<Bytes>,
    /// Of which sequence header that is.
    told: Vec<u8>,
    /// Nothing is passed on before the next keyframe.
    waiting: bool,
    /// Of one unit; kept for its memory.
    scratch: Vec<u8>,
}

impl Av1 {
    pub fn new() -> Av1 {
        Av1 {
            unit: Vec::new(),
            shown: false,
            key: false,
            headed: false,
            sequence: Vec::new(),
            sequence_here: false,
            still: false,
            config: None,
            told: Vec::new(),
            waiting: true,
            scratch: Vec::new(),
        }
    }

    /// The body of the configuration that was told last.
    pub fn config(&self) -> Option<&Bytes> {
        self.config.as_ref()
    }

    /// Nothing goes on before the next keyframe.
    pub fn wait(&mut self) {
        self.clear();
        self.waiting = true;
    }

    /// A packet was lost that was none to begin with.
    pub fn lost(&mut self) {
        self.clear();
    }

    pub fn heap_bytes(&self) -> usize {
        self.unit.capacity() + self.scratch.capacity() + self.sequence.capacity() + self.told.capacity()
    }

    fn clear(&mut self) {
        self.unit.clear();
        (self.shown, self.key, self.headed, self.sequence_here) = (false, false, false, false);
    }

    /// Reads the payload of one PES packet; `times` of the n-th temporal unit that ends in it. Returns how many these are.
    pub fn read(
        &mut self,
        payload: &[u8],
        times: impl Fn(u32) -> Times,
        out: &mut Frames<'_>,
        tally: &mut Tally,
    ) -> u32 {
        let (mut units, mut scratch) = (0, std::mem::take(&mut self.scratch));
        let whole = av1::read(payload, &mut scratch, |unit, bytes| {
            let header = bytes.get(unit.header.clone()).unwrap_or_default();
            let body = bytes.get(unit.payload.clone()).unwrap_or_default();
            if unit.kind == kind::TEMPORAL_DELIMITER {
                units += self.finish(times(units), out, tally);
            } else if units < UNITS_MAX {
                self.take(unit.kind, header, body, tally);
            }
        });
        self.scratch = scratch;
        if !whole || units >= UNITS_MAX {
            tally.malformed += 1;
            self.clear();
            return units;
        }
        if self.shown {
            units += self.finish(times(units), out, tally);
        }
        units
    }

    /// A unit of the temporal unit at hand.
    fn take(&mut self, unit: u8, header: &[u8], body: &[u8], tally: &mut Tally) {
        match unit {
            kind::TILE_LIST => {
                tally.malformed += 1;
                return;
            }
            kind::SEQUENCE_HEADER => match SequenceHeader::parse(body) {
                Some(sequence) if body.len() <= SEQUENCE_BYTES_MAX => {
                    self.still = sequence.still;
                    self.sequence_here = true;
                    self.sequence.clear();
                    self.sequence.extend_from_slice(body);
                }
                _ => tally.malformed += 1,
            },
            kind::FRAME | kind::FRAME_HEADER => {
                if let Some(frame) = FrameHead::parse(body, self.still) {
                    self.key |= frame.key && !self.headed;
                    self.shown |= frame.shown;
                    self.headed = true;
                }
            }
            _ => {}
        }
        if self.unit.len() + header.len() + body.len() > PICTURE_BYTES_MAX {
            tally.too_large += 1;
            self.wait();
            self.unit = Vec::new();
            return;
        }
        obu::append(header, body, &mut self.unit);
    }

    /// The temporal unit at hand ends. Returns how many pictures there were in it: one or none.
    fn finish(&mut self, times: Times, out: &mut Frames<'_>, tally: &mut Tally) -> u32 {
        let picture = self.shown;
        if picture && self.may_go_on(times, out, tally) {
            let mut body = video_head(Codec::Av1, Role::Frames, self.key, 0, self.unit.len());
            body.extend_from_slice(&self.unit);
            out.picture(times.pts, self.key, body.into());
        } else if !picture && self.headed {
            // Frames that nobody sees, and a delimiter behind them.
            tally.malformed += 1;
        }
        self.clear();
        u32::from(picture)
    }

    /// Whether a picture is passed on; in front of a keyframe goes its configuration, if that is new.
    fn may_go_on(&mut self, times: Times, out: &mut Frames<'_>, tally: &mut Tally) -> bool {
        self.key &= self.sequence_here;
        if !self.key && self.waiting {
            tally.before_keyframe += 1;
            return false;
        }
        if self.key && (self.config.is_none() || self.sequence != self.told) {
            let Some(record) = av1c(&self.sequence) else {
                tally.before_config += 1;
                return false;
            };
            let mut body = video_head(Codec::Av1, Role::Config, true, 0, record.len());
            body.extend(record);
            let body = Bytes::from(body);
            self.told.clone_from(&self.sequence);
            self.config = Some(body.clone());
            out.config(Kind::Video, times.pts, body);
        }
        self.waiting &= !self.key;
        true
    }
}
