//! Sound: frames are found in the bytes of PES packets, wherever these begin and end, and each gets its time.
//!
//! A packet's time is that of the first frame which begins in it; the others follow by their length. Frames may go on in
//! the next packet. Where a frame should begin and none does, the search goes on byte by byte, until one is found behind
//! which another begins: a short sync word is in the middle of frames, too.

use super::tags::{Role, audio, mp3_head};
use super::{Frames, Tally};
use crate::media::{Codec, Kind};
use crate::wire::opus as opus_packet;
use crate::wire::ts::ac3::{self, Ac3Header};
use crate::wire::ts::adts::{self, AdtsHeader};
use crate::wire::ts::latm::{self, Loas, MuxConfig};
use crate::wire::ts::mpeg_audio::{self, MpegAudioHeader};
use crate::wire::ts::opus;
use bytes::Bytes;
use std::ops::Range;

/// Bytes that wait for the rest of their frame: more than the longest, of LATM.
const CARRY_BYTES_MAX: usize = 16 << 10;
/// Substreams that complete a frame of E-AC-3: eight of each of eight programs (ETSI TS 102 366 section E.1.3.1).
const SUBSTREAMS_MAX: u32 = 64;

/// What stands in the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Adts,
    Latm,
    Mpeg,
    Ac3,
    /// With its channel code.
    Opus(u8),
}

/// Bytes of the frame whose header this begins with.
type Length = fn(&[u8]) -> Option<usize>;

/// What was found where a frame should begin.
enum Found {
    Frame(Piece),
    /// Its end is not here yet.
    More,
    No,
}

/// A frame in the bytes.
struct Piece {
    bytes: usize,
    /// What is passed on of it; empty: nothing can be.
    payload: Range<usize>,
    samples: u32,
    rate_hz: u32,
    codec: Codec,
    legacy: Option<u8>,
    /// The decoder's configuration as far as this frame tells it.
    config: Option<Vec<u8>>,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Audio {
    form: Form,
    carry: Vec<u8>,
    /// The time of the frame that waits in `carry`, if its packet told one.
    carry_pts: Option<i64>,
    /// Substreams that completed the frame before, and those that came too late for it (E-AC-3).
    substreams: u32,
    /// Time of the last frame with a time of its own, in ticks of 90 kHz, and samples since.
    anchor: Option<i64>,
    samples: u64,
    rate_hz: u32,
    latm: Option<MuxConfig>,
    record: Option<Vec<u8>>,
    config: Option<Bytes>,
    /// The next frame is being searched for.
    searching: bool,
    /// MPEG audio: its layer, once that is known.
    pub layer: Option<u8>,
}

impl Audio {
    pub fn new(form: Form) -> Audio {
        Audio {
            form,
            carry: Vec::new(),
            carry_pts: None,
            substreams: 0,
            anchor: None,
            samples: 0,
            rate_hz: 48_000,
            latm: None,
            record: None,
            config: None,
            searching: false,
            layer: None,
        }
    }

    /// The body of the configuration that was told last.
    pub fn config(&self) -> Option<&Bytes> {
        self.config.as_ref()
    }

    pub fn heap_bytes(&self) -> usize {
        self.carry.capacity() + self.record.as_ref().map_or(0, Vec::capacity)
    }

    /// Looks for the layer of MPEG audio in what is about to be read. Returns whether it has become known.
    pub fn foresee(&mut self, payload: &[u8]) -> bool {
        if self.form == Form::Mpeg && self.layer.is_none() {
            self.layer = MpegAudioHeader::parse(payload).map(|header| header.layer);
            return self.layer.is_some();
        }
        false
    }

    /// MPEG audio of a layer that is not carried, for people.
    pub fn lower_layer(&self) -> Option<&'static str> {
        match self.layer? {
            1 => Some("MPEG audio of layer I"),
            2 => Some("MPEG audio of layer II"),
            _ => None,
        }
    }

    /// The configuration goes out again: the track's number is new.
    pub fn tell_again(&mut self) {
        self.record = None;
    }

    /// What comes next does not follow on what was.
    pub fn interrupt(&mut self) {
        self.carry.clear();
        (self.anchor, self.carry_pts, self.searching, self.substreams) = (None, None, false, 0);
    }

    /// Reads the payload of one PES packet. `track` is its number, `None` while it has none.
    pub fn read(
        &mut self,
        payload: &[u8],
        pts: Option<i64>,
        track: Option<u8>,
        out: &mut Frames<'_>,
        tally: &mut Tally,
    ) {
        let carried = self.carry.len();
        let mut data = std::mem::take(&mut self.carry);
        data.extend_from_slice(payload);
        let (mut at, mut pts, mut carry_pts) = (0, pts, self.carry_pts.take());
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let found = match self.searching.then(|| self.is_followed(rest)) {
                Some(None) => Found::More,
                Some(Some(false)) => Found::No,
                _ => self.look(rest),
            };
            match found {
                Found::Frame(piece) => {
                    self.searching = false;
                    let own = if at < carried { carry_pts.take() } else { pts.take() };
                    if let Some(pts) = own {
                        (self.anchor, self.samples) = (Some(pts), 0);
                    }
                    self.rate_hz = piece.rate_hz.max(1);
                    let time = self
                        .anchor
                        .map(|anchor| anchor + (self.samples * 90_000 / u64::from(self.rate_hz)) as i64);
                    self.samples += u64::from(piece.samples);
                    let frame = rest.get(piece.payload.clone()).filter(|frame| !frame.is_empty());
                    match (frame, time, track) {
                        (Some(frame), Some(time), Some(track)) => self.tell(&piece, frame, time, track, out),
                        (None, ..) => tally.not_carried += 1,
                        (_, None, _) => tally.untimed += 1,
                        (_, _, None) => {}
                    }
                    at += piece.bytes.max(1);
                }
                Found::More => break,
                Found::No => {
                    tally.resyncs += u64::from(!std::mem::replace(&mut self.searching, true));
                    at += 1;
                }
            }
        }
        // What goes on waiting began in this packet, or in the one before.
        self.carry_pts = if at < carried { carry_pts } else { pts };
        data.drain(..at.min(data.len()));
        if data.len() > CARRY_BYTES_MAX {
            tally.too_large += 1;
            data.clear();
        }
        self.carry = data;
    }

    fn tell(&mut self, piece: &Piece, frame: &[u8], time: i64, track: u8, out: &mut Frames<'_>) {
        if let Some(record) = piece.config.as_ref().filter(|record| self.record.as_ref() != Some(*record)) {
            let config = audio(piece.codec, piece.legacy, track, Role::Config, record);
            self.record = Some(record.clone());
            self.config = Some(config.clone());
            out.config(Kind::Audio, time, config);
        }
        if let (Form::Latm, Some(mux)) = (self.form, self.latm.take()) {
            // The first element of `frame` tells its frames again, without what surrounds them.
            let (mut again, mut samples) = (Some(mux), 0u64);
            let read = latm::read(frame, &mut again, |mux, frame| {
                let at = time + (samples * 90_000 / u64::from(mux.sample_rate_hz.max(1))) as i64;
                samples += u64::from(mux.frame_samples);
                out.sound(at, audio(piece.codec, piece.legacy, track, Role::Frames, frame));
            });
            self.latm = again.filter(|_| read.is_ok());
            return;
        }
        out.sound(time, audio(piece.codec, piece.legacy, track, Role::Frames, frame));
    }

    /// Whether another frame begins behind the one that seems to begin here, in forms whose sync words are short. `None`:
    /// too little is there to tell.
    fn is_followed(&self, bytes: &[u8]) -> Option<bool> {
        let (length, header_bytes): (Length, usize) = match self.form {
            Form::Adts => {
                (|bytes| AdtsHeader::parse(bytes).map(|header| header.frame_bytes), adts::HEADER_BYTES)
            }
            Form::Latm => (Loas::length, latm::HEADER_BYTES),
            Form::Mpeg => (
                |bytes| MpegAudioHeader::parse(bytes).map(|header| header.frame_bytes),
                mpeg_audio::HEADER_BYTES,
            ),
            Form::Ac3 | Form::Opus(_) => return Some(true),
        };
        let Some(end) = length(bytes) else { return (bytes.len() >= header_bytes).then_some(false) };
        let next = bytes.get(end..).filter(|next| next.len() >= header_bytes)?;
        Some(length(next).is_some())
    }

    fn look(&mut self, bytes: &[u8]) -> Found {
        match self.form {
            Form::Adts => adts_frame(bytes),
            Form::Latm => self.latm_element(bytes),
            Form::Mpeg => self.mpeg_frame(bytes),
            Form::Ac3 => self.ac3_frame(bytes),
            Form::Opus(code) => opus_frame(bytes, code),
        }
    }

    fn latm_element(&mut self, bytes: &[u8]) -> Found {
        let Some(length) = Loas::length(bytes) else { return none_or_more(bytes, latm::HEADER_BYTES) };
        let Some(loas) = Loas::parse(bytes) else { return Found::More };
        let (mut mux, mut frames) = (self.latm.take(), 0);
        let read = latm::read(loas.element, &mut mux, |_, _| frames += 1);
        self.latm = mux;
        let Some(mux) = self.latm.as_ref().filter(|_| read.is_ok()) else {
            return Found::Frame(unusable(length, 0, self.rate_hz));
        };
        Found::Frame(Piece {
            bytes: length,
            payload: latm::HEADER_BYTES..length,
            samples: frames * mux.frame_samples,
            rate_hz: mux.sample_rate_hz,
            codec: Codec::Aac,
            legacy: Some(0xAF),
            config: Some(mux.config.clone()),
        })
    }

    /// A frame of AC-3, or one of E-AC-3 with the substreams that complete it. These may come in the next packets: as many
    /// are waited for as the frame before had. One that comes later than that is left out, and waited for from then on.
    fn ac3_frame(&mut self, bytes: &[u8]) -> Found {
        let Some(header) = Ac3Header::parse(bytes) else { return none_or_more(bytes, ac3::HEADER_BYTES) };
        if header.samples == 0 {
            // Its frame is gone: there is nothing that others could complete, and so nothing to wait for.
            if bytes.len() < header.frame_bytes {
                return Found::More;
            }
            self.substreams = (self.substreams + 1).min(SUBSTREAMS_MAX);
            return Found::Frame(unusable(header.frame_bytes, 0, self.rate_hz));
        }
        let (mut end, mut substreams) = (header.frame_bytes, 0);
        loop {
            let behind = match bytes.get(end..) {
                None => return Found::More,
                Some([]) if substreams < self.substreams => return Found::More,
                Some([]) => break,
                Some(behind) => behind,
            };
            match Ac3Header::parse(behind) {
                None if ac3::may_begin(behind) => return Found::More,
                Some(more) if more.samples == 0 && substreams < SUBSTREAMS_MAX => {
                    (end, substreams) = (end + more.frame_bytes, substreams + 1);
                }
                // The next frame.
                _ => break,
            }
        }
        self.substreams = substreams;
        let codec = if header.enhanced { Codec::Eac3 } else { Codec::Ac3 };
        let base = unusable(end, header.samples, header.sample_rate_hz);
        Found::Frame(Piece { payload: 0..end, codec, ..base })
    }

    fn mpeg_frame(&mut self, bytes: &[u8]) -> Found {
        let Some(header) = MpegAudioHeader::parse(bytes) else {
            return none_or_more(bytes, mpeg_audio::HEADER_BYTES);
        };
        if bytes.len() < header.frame_bytes {
            return Found::More;
        }
        self.layer = Some(header.layer);
        let mut piece = unusable(header.frame_bytes, header.samples, header.sample_rate_hz);
        if header.layer == 3 {
            piece.payload = 0..header.frame_bytes;
        }
        piece.codec = Codec::Mp3;
        piece.legacy = Some(mp3_head(header.sample_rate_hz, header.mono));
        Found::Frame(piece)
    }
}

/// A frame that is passed over.
fn unusable(bytes: usize, samples: u32, rate_hz: u32) -> Piece {
    Piece { bytes, payload: 0..0, samples, rate_hz, codec: Codec::Aac, legacy: None, config: None }
}

/// No header stands here, or too little is there to tell.
fn none_or_more(bytes: &[u8], header_bytes: usize) -> Found {
    if bytes.len() < header_bytes { Found::More } else { Found::No }
}

fn adts_frame(bytes: &[u8]) -> Found {
    let Some(header) = AdtsHeader::parse(bytes) else { return none_or_more(bytes, adts::HEADER_BYTES) };
    if bytes.len() < header.frame_bytes {
        return Found::More;
    }
    let mut piece = unusable(header.frame_bytes, header.samples(), header.sample_rate_hz());
    // Where its blocks begin is told only with a sum for each; and a program config element is not read.
    if header.blocks == 1 && header.channel_configuration != 0 {
        piece.payload = header.header_bytes..header.frame_bytes;
    }
    piece.legacy = Some(0xAF);
    piece.config = Some(header.config().to_vec());
    Found::Frame(piece)
}

fn opus_frame(bytes: &[u8], code: u8) -> Found {
    let Some(unit) = opus::Unit::parse(bytes) else {
        let begins = matches!(bytes, [0x7F] | [0x7F, 0xE0..=0xFF, ..]);
        return if begins { Found::More } else { Found::No };
    };
    let samples = opus_packet::samples(unit.packet).unwrap_or(0);
    let mut piece = unusable(unit.bytes, samples, opus_packet::SAMPLE_RATE_HZ);
    let head = opus::head(code);
    if samples > 0 && head.is_some() {
        piece.payload = unit.bytes - unit.packet.len()..unit.bytes;
    }
    (piece.codec, piece.config) = (Codec::Opus, head);
    Found::Frame(piece)
}
