//! One elementary stream: its units that wait, and when its next packet may go.
//!
//! The model is that of a decoder (T-STD, ISO/IEC 13818-1 section 2.4.2): a unit is there when it is decoded, and not so
//! long before that buffers overflow. Pictures are begun at most [`PICTURE_LEAD`] before they are shown and are spread so
//! that each unit is through [`SPREAD_TO`] before its decoding; sound and data, whose main buffers are small, go as late as
//! the lead that receivers want allows: [`LEAD_MIN`] and [`SOUND_WAITS`]. No packet goes faster than the transport buffer
//! of 512 bytes drains, at the rate that the pictures' level says (`level`, `leak`), unless pictures would be late for it.
//!
//! Dropped whole is a picture that cannot be begun [`LEAD_MIN`] in front of its decoding, sound that came in time and
//! cannot be begun [`SOUND_LEAD_MIN`] in front of it, and any unit that cannot be finished in time beside what others were
//! seen to take of the rate; of pictures, all up to the next that one can start with.
//!
//! Where the model and what receivers want disagree: the main buffer for sound of two channels has 3584 bytes, which is
//! 0.2 s of 143 kbit/s. Sound of a higher rate has the lead and exceeds that buffer, as it does from any multiplexer with
//! such leads. Of MPEG-2 nothing is looked up: at main level it would fill its buffer with half a second of 4 Mbit/s.

use super::leak::Leak;
use super::recovery::{EARLY_MAX, LEAD_MIN, Line};
use crate::mux::queue::{List, Pool};
use crate::mux::tally::Tally;
use crate::mux::ticker::{MS, SECOND};
use crate::wire::ts::descriptor::Class;
use crate::wire::ts::{PACKET_BYTES, PCR_TICKS};
use std::collections::VecDeque;

/// Units of a track that wait, at most: two per millisecond of the longest lead would not be more.
pub(in crate::mux) const UNITS_MAX: usize = 1024;
/// Pictures are begun that long before they are shown, at the earliest.
pub(super) const PICTURE_LEAD: i64 = 850 * MS;
/// But that long before they are decoded in any case: reordering may be deep.
const PICTURE_LEAD_MIN: i64 = 350 * MS;
/// Packets that sound and data may have to wait for, when it is time for them, without their lead becoming too short; so many
/// for each service.
const SOUND_WAITS: i64 = 6;
/// They are sent until that long before their decoding: many tracks may have their time at once, and a short lead is
/// better than silence.
const SOUND_LEAD_MIN: i64 = 100 * MS;
/// The packets of a picture are spread up to that long before its decoding.
const SPREAD_TO: i64 = 250 * MS;
/// Longest distance of two packets of pictures that wait.
const SPREAD_MAX: i64 = 20 * MS;
/// A unit must be through that long before its decoding, by what is known when it is begun.
const FINISH: i64 = 20 * MS;
/// Parts that the rate is divided into: the least share, of 100 kbit/s, is a hundred of the highest rate.
pub(in crate::mux) const SHARE: i64 = 1 << 20;
/// Pictures are waited for that long where the source never says which one can start with; in source time.
const KEY_WAIT: i64 = 10 * SECOND;
/// A source that goes back a little in one track is one whose encoder stamps badly: it is given [`STEP_MIN`]. By more, there
/// is no room for it.
const BACK_MAX: i64 = 40 * MS;
/// Least distance of two units of a track: a tick of their stamps.
const STEP_MIN: i64 = PCR_TICKS as i64;
/// Pictures that could not be begun in time by that much do not wait for the transport buffer of their level.
const HURRY: i64 = 10 * MS;

/// An access unit.
#[derive(Debug)]
pub(in crate::mux) struct Unit {
    pub packets: List,
    /// In mux time once it is placed, in source time before.
    pub pts: i64,
    pub dts: i64,
    pub placed: bool,
    /// Its header has the fields that times stand in.
    pub stamped: bool,
    /// A decoder can start with it.
    pub key: bool,
    /// Some of it is sent.
    pub started: bool,
    /// More of it may come.
    pub open: bool,
    /// It came in time, so if it is not sent in time the multiplex is too full.
    pub in_time: bool,
    /// It was more than a decoder of its level has room for.
    pub exceeds: bool,
    /// Bytes of the PES packet that are to come; `None`: it does not say.
    pub missing: Option<u32>,
    /// Ticks in which a packet leaves the transport buffer from it on; `None`: as before.
    pub leak: Option<u32>,
}

impl Unit {
    /// Gives it its times in the multiplex; false if they are behind those of its track that were given out. `newest`: the
    /// latest of those.
    #[must_use]
    pub fn place(&mut self, newest: &mut Option<i64>, dts: i64, pts: i64, now: i64) -> bool {
        self.dts = match *newest {
            Some(newest) if dts < newest - BACK_MAX => return false,
            // A step back of an encoder's stamps is none of the decoder's.
            Some(newest) => dts.max(newest + STEP_MIN),
            None => dts,
        };
        self.pts = pts.max(self.dts);
        self.placed = true;
        self.in_time = self.dts - now >= LEAD_MIN + 100 * MS;
        *newest = Some(self.dts);
        true
    }

    /// When it may be begun. `ahead`: packets that may be in front of it then.
    fn release(&self, class: Class, packet: i64, ahead: i64) -> i64 {
        match class {
            Class::Video => (self.pts - PICTURE_LEAD).min(self.dts - PICTURE_LEAD_MIN),
            Class::Audio | Class::Data => self.dts - LEAD_MIN - ahead * packet,
        }
    }

    /// When it must be begun.
    fn latest(&self, class: Class) -> i64 {
        match class {
            Class::Audio | Class::Data if self.in_time => self.dts - SOUND_LEAD_MIN,
            _ => self.dts - LEAD_MIN,
        }
    }
}

/// How a unit that is dropped is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    Late,
    Overload,
    NoKey,
    Cut,
}

/// See the module's description.
#[derive(Debug)]
pub(in crate::mux) struct Track {
    pub class: Class,
    /// Its number among those of its class.
    pub number: u16,
    pub pid: u16,
    /// Where it comes from; `None`: the source does not have it now.
    pub source_pid: Option<u16>,
    /// Since when.
    pub here_since: i64,
    pub stream_type: u8,
    /// As the source tells them.
    pub descriptors: Vec<u8>,
    /// PMTs that must have been sent before its packets may.
    pub revision: u64,
    /// `continuity_counter` of the last packet that was sent.
    pub counter: u8,
    /// The source's.
    pub source_counter: Option<u8>,
    pub units: VecDeque<Unit>,
    /// Times of the unit before, in source time: decoding, and how much after the one before it.
    pub last: Option<(i64, i64)>,
    /// Latest decoding time that has been given out.
    pub newest: Option<i64>,
    /// Decoding time of the last unit that was begun.
    begun: Option<i64>,
    /// When a unit was last given a place.
    pub placed_at: Option<i64>,
    /// Pictures are dropped on arrival until one that can be started with; since which decoding time.
    pub waits: Option<i64>,
    /// Those that wait are dropped likewise.
    skips: Option<i64>,
    /// Packets that may have to go before its own, when it is time for them.
    ahead: i64,
    /// Nothing to look at before.
    asleep_until: i64,
    /// More waits than when the distance of packets was decided.
    pub grown: bool,
    /// Distance of packets, and when the next may go.
    spread: i64,
    next_at: i64,
    pub leak: Leak,
}

impl Track {
    /// Number `number` of its class, of a program that takes at most `rate` bits a second of a multiplex of so many services.
    pub fn new(class: Class, number: u16, pid: u16, rate: u64, services: usize) -> Track {
        Track {
            class,
            number,
            pid,
            source_pid: None,
            here_since: 0,
            stream_type: 0,
            descriptors: Vec::new(),
            revision: 0,
            counter: 0x0F,
            source_counter: None,
            units: VecDeque::new(),
            last: None,
            newest: None,
            begun: None,
            placed_at: None,
            waits: None,
            skips: None,
            ahead: SOUND_WAITS * services as i64,
            asleep_until: i64::MIN,
            grown: false,
            spread: SPREAD_MAX,
            next_at: i64::MIN,
            leak: Leak::new(class, rate),
        }
    }

    /// Sound before data before pictures: where not everything fits, pictures are what is missing.
    pub fn rank(&self) -> u8 {
        match self.class {
            Class::Audio => 0,
            Class::Data => 1,
            Class::Video => 2,
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.units.capacity() * size_of::<Unit>() + self.descriptors.capacity()
    }

    /// The source begins anew: what has come in part stays only if some of it is sent. Units without a place go.
    pub fn seam(&mut self, pool: &mut Pool, tally: &mut Tally) {
        if let Some(unit) = self.units.back_mut().filter(|unit| unit.open) {
            unit.open = false;
            // One of unknown length ends where the source ended.
            if unit.missing.is_some() && !unit.started {
                pool.clear(&mut unit.packets);
                tally.units_ended += 1;
            }
        }
        self.units.retain_mut(|unit| {
            tally.units_ended += u64::from(!unit.placed && pool.clear(&mut unit.packets) > 0);
            unit.placed
        });
        (self.source_counter, self.last) = (None, None);
        // What was given to units that are not sent is free again.
        let waits = self.units.iter().rev().find(|unit| !unit.packets.is_empty());
        self.newest = waits.map(|unit| unit.dts).or(self.begun);
        if self.class == Class::Video {
            self.waits = Some(i64::MIN);
        }
    }

    /// Drops everything: the track has ended, or is something else now.
    pub fn flush(&mut self, pool: &mut Pool, tally: &mut Tally) {
        for unit in &mut self.units {
            tally.units_ended += u64::from(pool.clear(&mut unit.packets) > 0);
        }
        self.units = VecDeque::new();
        self.seam(pool, tally);
        self.leak.forget();
        self.asleep_until = i64::MIN;
    }

    /// Gives the units that wait for it their places on `line`; returns when the last of them is shown. Those that belong
    /// behind what was given out are dropped, and pictures that are made from them; those further away than anything is kept
    /// are of another timeline, left over.
    pub fn settle(&mut self, line: Line, now: i64, pool: &mut Pool, tally: &mut Tally) -> Option<i64> {
        let (mut shown, mut without_key) = (None, false);
        let Track { units, newest, class, placed_at, .. } = self;
        let given_out = *newest;
        units.retain_mut(|unit| {
            if unit.placed {
                return true;
            }
            let (dts, pts) = (line.at(unit.dts), line.at(unit.pts));
            // Behind what was sent there is no room: to put several at one time would put them in disorder.
            let late = given_out.is_some_and(|given_out| dts < given_out)
                || dts - now > EARLY_MAX
                || !unit.place(newest, dts, pts, now);
            without_key &= !unit.key;
            if !late && !without_key {
                shown = shown.max(Some(unit.pts));
                *placed_at = Some(now);
                return true;
            }
            if late {
                without_key = *class == Class::Video;
                tally.units_late += 1;
            } else {
                tally.units_without_key += 1;
            }
            pool.clear(&mut unit.packets);
            false
        });
        if without_key {
            self.waits = Some(i64::MIN);
        }
        shown
    }

    /// Tells what [`Track::ready`] and [`Track::sent`] will read.
    pub fn reads(&self, mut tell: impl FnMut(*const u8, usize)) {
        tell((&raw const self.units).cast(), size_of::<VecDeque<Unit>>());
        tell((&raw const self.begun).cast(), 1);
        tell((&raw const self.skips).cast(), 1);
        tell((&raw const self.asleep_until).cast(), 1);
        tell((&raw const self.leak).cast(), size_of::<Leak>());
        tell((&raw const self.class).cast(), 1);
    }

    /// Whether it may have something to send before `end`.
    pub fn may_send(&self, end: i64) -> bool {
        self.asleep_until < end
    }

    /// A packet, with so many bytes of payload, of the unit that is open; false if none is, or there is no room for it.
    pub fn extend(&mut self, pool: &mut Pool, packet: &[u8; PACKET_BYTES], payload: usize) -> bool {
        let Some(unit) = self.units.back_mut().filter(|unit| unit.open) else { return false };
        if !pool.push(&mut unit.packets, packet) {
            return false;
        }
        self.grown = true;
        unit.missing = unit.missing.map(|missing| missing.saturating_sub(payload as u32));
        unit.open = unit.missing != Some(0);
        true
    }

    /// The caller was held up: what is late now is not too much for the rate.
    pub fn held_up(&mut self) {
        self.units.iter_mut().for_each(|unit| unit.in_time = false);
    }

    /// A unit is not there: what is made from it is not either.
    pub fn miss(&mut self) {
        if self.class == Class::Video {
            self.waits = Some(i64::MIN);
        }
    }

    /// Whether a picture that begins is to be left out, because those it is made from are.
    pub fn must_wait(&mut self, key: bool, dts: i64) -> bool {
        expired_or(&mut self.waits, key, dts)
    }

    /// Something new waits.
    pub fn wake(&mut self) {
        self.asleep_until = i64::MIN;
    }

    /// Decoding time of the next unit, if a packet of it may go at `now`. Drops what may not go any more. `packet` is how
    /// long one takes, `share` what others take of the rate, in parts of [`SHARE`].
    pub fn ready(
        &mut self,
        now: i64,
        packet: i64,
        share: i64,
        pool: &mut Pool,
        tally: &mut Tally,
    ) -> Option<i64> {
        if now < self.asleep_until {
            return None;
        }
        loop {
            let unit = self.units.front_mut()?;
            if unit.packets.is_empty() {
                if unit.open {
                    return None;
                }
                self.units.pop_front();
                continue;
            }
            if !unit.placed {
                return None;
            }
            if !unit.started {
                let release = unit.release(self.class, packet, self.ahead);
                if now < release {
                    self.asleep_until = release;
                    return None;
                }
            }
            let loss = if unit.started {
                (now + packet > unit.dts).then_some(Loss::Cut)
            } else {
                let whole = unit.packets.len() as i64 * packet;
                let full = now + with_others(whole, share) + FINISH > unit.dts;
                if self.class == Class::Video && expired_or(&mut self.skips, unit.key, unit.dts) {
                    Some(Loss::NoKey)
                } else if now > unit.latest(self.class) || full {
                    Some(if unit.in_time { Loss::Overload } else { Loss::Late })
                } else {
                    None
                }
            };
            let Some(loss) = loss else { break };
            let (dts, in_time) = (unit.dts, unit.in_time);
            pool.clear(&mut unit.packets);
            self.units.pop_front();
            match loss {
                Loss::Late => tally.late(now),
                Loss::Overload => tally.overload(now),
                Loss::NoKey => tally.units_without_key += 1,
                Loss::Cut => {
                    tally.units_cut += 1;
                    if in_time { tally.overload(now) } else { tally.late(now) }
                }
            }
            if self.class == Class::Video && loss != Loss::NoKey {
                self.skips = Some(dts);
            }
        }
        if let Some(leak) = self.units.front_mut().and_then(|unit| unit.leak.take()) {
            self.leak.tell(now, leak);
        }
        let gate = self.gate();
        if now < gate {
            self.asleep_until = gate;
            return None;
        }
        self.units.front().map(|unit| unit.dts)
    }

    /// A packet went at `now`. True if it is the first of its unit that was more than a decoder of its level has room for.
    #[must_use]
    pub fn sent(&mut self, now: i64) -> bool {
        self.begun = self.units.front().map(|unit| unit.dts);
        let fits = self.leak.pass(now);
        let exceeds =
            !fits && self.units.front_mut().is_some_and(|unit| !std::mem::replace(&mut unit.exceeds, true));
        if self.class == Class::Video {
            // One that was kept waiting does not push those behind it back.
            self.next_at = self.next_at.max(now - self.spread) + self.spread;
        }
        if self.units.front().is_some_and(|unit| unit.packets.is_empty() && !unit.open) {
            self.units.pop_front();
        }
        self.asleep_until =
            if self.units.front().is_some_and(|unit| unit.started) { self.gate() } else { i64::MIN };
        exceeds
    }

    /// How pictures that wait are to be spread: slowly enough to last, fast enough for each to be in time. `share` as for
    /// [`Track::ready`].
    pub fn pace(&mut self, now: i64, packet: i64, share: i64) {
        self.grown = false;
        self.wake();
        if self.class != Class::Video {
            return;
        }
        // What a packet takes where it waits for the transport buffer, and until when all of them could wait for it.
        let (leaves, through) = self.leak.packet();
        let each = leaves.max(with_others(packet, share));
        let (mut packets, mut spread, mut due) = (0, SPREAD_MAX, i64::MAX);
        for unit in self.units.iter().filter(|unit| unit.placed && !unit.packets.is_empty()) {
            if !unit.started {
                due = due.min(unit.latest(self.class) - HURRY - packets * each);
            }
            packets += unit.packets.len() as i64;
            due = due.min(unit.dts - FINISH - through - packets * each);
            spread = spread.min((unit.dts - SPREAD_TO - now) / packets);
        }
        // An eighth for what goes in between.
        self.spread = (spread - spread / 8).max(packet);
        self.next_at = self.next_at.min(now + self.spread);
        self.leak.hurry(if self.leak.is_slower(packet) { due } else { i64::MAX }, each);
    }

    /// When the transport buffer has room for a packet, and it is time for one.
    fn gate(&self) -> i64 {
        let room = self.leak.room_at();
        if self.class == Class::Video { room.max(self.next_at) } else { room }
    }
}

/// How long what takes `time` alone takes beside others, which take `share` of the rate.
fn with_others(time: i64, share: i64) -> i64 {
    // They come in bursts: a sixteenth for that.
    (time + time / 16) * SHARE / (SHARE - share).max(1)
}

/// Whether a picture must be left out because one is waited for that can be started with. `waits`: since which decoding
/// time; the lowest there is: since the next.
fn expired_or(waits: &mut Option<i64>, key: bool, dts: i64) -> bool {
    let Some(since) = waits else { return false };
    if *since == i64::MIN {
        *since = dts;
    }
    if key || dts.saturating_sub(*since) > KEY_WAIT {
        *waits = None;
    }
    waits.is_some()
}
