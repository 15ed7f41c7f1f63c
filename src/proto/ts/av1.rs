//! Pictures of AV1: units behind start codes become temporal units as RTMP has them, and the record of their sequence
//! header.
//!
//! - A packet holds a temporal unit, or one frame of it: a temporal unit ends with the packet in which a frame is shown, or
//!   where a delimiter begins the next. Its time is that of the packet with the shown frame. Delimiters go.
//! - A keyframe is a key frame that is shown at once, with its sequence header in front of it. One that is shown later is
//!   none: what comes between refers to frames before it.
//! - Behind a unit that was lost, pictures go on as with H.264 (`video`), from the next delimiter on if there are any. If it
//!   was a keyframe or brought a sequence header, or may have, nothing goes on before the next keyframe.

use super::tags::{Role, video_head};
use super::video::Times;
use super::{Frames, PICTURE_BYTES_MAX, Tally};
use crate::media::{Codec, Kind};
use crate::wire::av1::obu::{FrameHead, Obu, kind};
use crate::wire::av1::{SequenceHeader, av1c};
use crate::wire::ts::av1::Units;
use bytes::Bytes;

/// Temporal units of one packet; senders put one into each.
const UNITS_MAX: u32 = 64;
/// Bytes of a sequence header; those in use have some twenty.
const SEQUENCE_BYTES_MAX: usize = 1024;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Av1 {
    /// The body of the temporal unit at hand: a head that is filled in at the end, and units.
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
    /// Delimiters come.
    delimited: bool,
    /// Some of the temporal unit at hand was lost.
    torn: bool,
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
            delimited: false,
            torn: false,
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
        self.give_up();
        self.torn = self.delimited;
    }

    pub fn heap_bytes(&self) -> usize {
        self.unit.capacity() + self.sequence.capacity() + self.told.capacity()
    }

    /// Drops the temporal unit at hand. If decoding was to begin with it, or went on with another sequence header, what
    /// follows is of no use.
    fn give_up(&mut self) {
        self.waiting |= self.key || self.sequence_here;
        self.clear();
    }

    fn clear(&mut self) {
        // Its memory goes too: it is as large as the picture was, and the next one may be small.
        self.unit = Vec::new();
        (self.shown, self.key, self.headed, self.sequence_here, self.torn) =
            (false, false, false, false, false);
    }

    /// Reads the payload of one PES packet; `times` of the n-th temporal unit that ends in it. Returns how many these are.
    pub fn read(
        &mut self,
        payload: &[u8],
        times: impl Fn(u32) -> Times,
        out: &mut Frames<'_>,
        tally: &mut Tally,
    ) -> u32 {
        let mut units = 0;
        for unit in Units::new(payload) {
            if units >= UNITS_MAX {
                tally.too_large += 1;
                self.wait();
                return units;
            }
            if self.unit.len() + unit.bytes_max() > PICTURE_BYTES_MAX {
                tally.too_large += 1;
                self.wait();
                continue;
            }
            if self.unit.is_empty() {
                self.unit = video_head(Codec::Av1, Role::Frames, false, 0, unit.bytes_max());
            }
            let begin = self.unit.len();
            let Some(obu) = unit.append(&mut self.unit) else {
                tally.malformed += 1;
                // What it was nobody can say, unless the frame's header came before it.
                self.waiting |= !self.headed;
                self.give_up();
                return units;
            };
            if obu.kind == kind::TEMPORAL_DELIMITER {
                self.unit.truncate(begin);
                self.delimited = true;
                units += self.finish(times(units), out, tally);
            } else if !self.belongs(&obu, tally) {
                self.unit.truncate(begin);
            }
        }
        if self.shown {
            units += self.finish(times(units), out, tally);
        }
        units
    }

    /// Takes note of a unit that stands in the temporal unit at hand. Returns whether it may stay there.
    fn belongs(&mut self, unit: &Obu, tally: &mut Tally) -> bool {
        let body = self.unit.get(unit.payload.clone()).unwrap_or_default();
        match unit.kind {
            kind::TILE_LIST => {
                tally.malformed += 1;
                return false;
            }
            kind::SEQUENCE_HEADER => {
                let sequence = SequenceHeader::parse(body).filter(|_| body.len() <= SEQUENCE_BYTES_MAX);
                let Some(sequence) = sequence else {
                    tally.malformed += 1;
                    self.wait();
                    return false;
                };
                self.still = sequence.still;
                self.sequence_here = true;
                self.sequence.clear();
                self.sequence.extend_from_slice(body);
            }
            kind::FRAME | kind::FRAME_HEADER => {
                if let Some(frame) = FrameHead::parse(body, self.still) {
                    self.key |= frame.key && !self.headed;
                    self.shown |= frame.shown;
                    self.headed = true;
                }
            }
            _ => {}
        }
        true
    }

    /// The temporal unit at hand ends. Returns how many pictures there were in it: one or none.
    fn finish(&mut self, times: Times, out: &mut Frames<'_>, tally: &mut Tally) -> u32 {
        let picture = self.shown;
        if self.headed && !picture {
            // Frames that nobody sees, and a delimiter behind them.
            tally.malformed += 1;
        }
        if !picture || self.torn {
            self.give_up();
        } else if self.may_go_on(times, out, tally) {
            let mut body = std::mem::take(&mut self.unit);
            let head = video_head(Codec::Av1, Role::Frames, self.key, 0, 0);
            if let Some(place) = body.get_mut(..head.len()) {
                place.copy_from_slice(&head);
            }
            out.picture(times.pts, self.key, body.into());
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
                self.waiting = true;
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
