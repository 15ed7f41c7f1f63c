//! A transport stream that comes in: packets become the frames of one program, as bodies of FLV tags.
//!
//! [`Demux`] has no socket and no clock. Datagrams go in (RTP is taken off before), frames and events come out. Whatever
//! comes, what it holds is bounded: one packet of pictures of [`PICTURE_BYTES_MAX`], of AV1 as many bytes again for the
//! temporal unit that is put together from it or from several, the sounds of [`AUDIO_TRACKS_MAX`] tracks, unfinished
//! sections of 2 MiB. What has grown doubled its room for it, so twice that may be taken.
//!
//! - The first stream of pictures is taken, and every stream of sound that the media model has a codec for; the first of
//!   these is track 0, the others are tracks of Enhanced RTMP. MPEG audio is layer III or none: FLV has no number for the
//!   layers below. What is not carried is told once and counted.
//! - A unit that lost a packet, or is scrambled, is dropped as a whole. What follows a lost picture is told in `video`.
//! - Times are those of the packets, made endless; a frame's is rounded down to a millisecond.
#![forbid(unsafe_code)]

mod audio;
mod av1;
mod pes;
mod program;
mod tags;
#[cfg(test)]
mod tests;
mod video;

use crate::media::{Frame, Kind, Mono};
use crate::wire::ts::framing::{DatagramSync, Unit};
use crate::wire::ts::packet::Packet;
use crate::wire::ts::pes::Unwrap;
use crate::wire::ts::pid;
use crate::wire::ts::section::Assembler;
use audio::{Audio, Form};
use av1::Av1;
use bytes::Bytes;
use pes::{Did, Reassembly};
use program::{Programs, Read, Spec};
use std::collections::VecDeque;
use std::time::Duration;
use video::{Times, Video};

/// Bytes of one PES packet of pictures (attack T3).
pub const PICTURE_BYTES_MAX: usize = 8 << 20;
/// Bytes of one PES packet of sound: its length has 16 bits, and some leave it open.
const SOUND_BYTES_MAX: usize = 128 << 10;
/// Tracks of sound.
pub const AUDIO_TRACKS_MAX: usize = crate::media::track::TRACKS_PER_KIND_MAX;
/// Time without a map of the program after which that is told.
pub const NO_PROGRAM: Duration = Duration::from_secs(5);
/// How long tracks of sound wait for their numbers until it is known whether those of MPEG audio before them count.
const NUMBERS: Duration = Duration::from_secs(1);
/// Distance of pictures where nothing tells it, in ticks of 90 kHz.
const PICTURE_TICKS: i64 = 3600;
/// A longer distance is a gap.
const PICTURE_TICKS_MAX: i64 = 90_000;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Packets with payload of the streams that are read; if none is, of those of the program.
    pub media: u64,
    /// Packets that a receiver before us has marked as damaged.
    pub errors: u64,
    /// Packets, headers and parameter sets that contradict themselves.
    pub malformed: u64,
    /// Packets and units that are scrambled.
    pub scrambled: u64,
    /// Times that a counter of a stream that is read jumped.
    pub lost: u64,
    /// Packets that came again.
    pub repeated: u64,
    /// Units dropped because a part of them was lost.
    pub damaged: u64,
    /// Units and sets beyond their bounds.
    pub too_large: u64,
    /// Pictures before a keyframe.
    pub before_keyframe: u64,
    /// Keyframes without parameter sets.
    pub before_config: u64,
    /// Units without a time.
    pub untimed: u64,
    /// Frames of sound that have no place in FLV.
    pub not_carried: u64,
    /// Times that the beginning of a frame of sound had to be searched for.
    pub resyncs: u64,
    /// Sections whose sum is wrong.
    pub crc: u64,
}

/// What a frame is for who decides where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Configuration.
    Config,
    /// A picture to begin with.
    Key,
    /// Another picture.
    Picture,
    /// Sound.
    Sound,
}

/// What comes out.
#[derive(Clone, Debug)]
pub enum Output {
    /// A frame; its `dts_ms` is the stream's own time.
    Frame(Role, Frame),
    /// Something to be told.
    Event(Event),
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A program is taken, consists of something else now, or its map is back after [`Event::NoProgram`].
    Program {
        /// `program_number`.
        number: u16,
        /// Streams that are carried.
        carried: usize,
    },
    /// Something of it is not carried, or something else than before: [`Demux::left_out`]. Of MPEG audio only the frames
    /// tell that, so this may come later than the map.
    NotCarried,
    /// For [`NO_PROGRAM`] there was no map of a program that can be taken.
    NoProgram {
        /// A PAT names it, and its map is missing or has nothing to carry.
        announced: bool,
    },
}

/// Where tracks leave their frames.
pub(crate) struct Frames<'a> {
    out: &'a mut VecDeque<Output>,
    first_byte_at: Mono,
    complete_at: Mono,
}

impl Frames<'_> {
    fn push(&mut self, role: Role, kind: Kind, ticks: i64, body: Bytes) {
        let frame = Frame {
            kind,
            dts_ms: ticks.div_euclid(90) as u32,
            body,
            first_byte_at: self.first_byte_at,
            complete_at: self.complete_at,
        };
        self.out.push_back(Output::Frame(role, frame));
    }

    fn config(&mut self, kind: Kind, ticks: i64, body: Bytes) {
        self.push(Role::Config, kind, ticks, body);
    }

    fn picture(&mut self, dts: i64, key: bool, body: Bytes) {
        self.push(if key { Role::Key } else { Role::Picture }, Kind::Video, dts, body);
    }

    fn sound(&mut self, pts: i64, body: Bytes) {
        self.push(Role::Sound, Kind::Audio, pts, body);
    }
}

#[derive(Debug)]
enum Track {
    Video(Box<Video>),
    Av1(Box<Av1>),
    Audio(Box<Audio>),
}

/// An elementary stream that is read.
#[derive(Debug)]
struct Stream {
    spec: Spec,
    pes: Reassembly,
    track: Track,
    /// Number of a track of sound, once it has one.
    number: Option<u8>,
    /// Pictures: the last decoding time, and the distance to the one before.
    last_dts: Option<i64>,
    step: i64,
}

/// What is read of a transport stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `program_number` of the program that is taken; 0: the first with pictures or sound.
    pub program: u16,
    /// AV1 is read, as the AOM's draft carries it.
    pub av1: bool,
    /// A program of which nothing can be carried is taken as well, if there is no other: somebody passes it on as it comes.
    pub all: bool,
}

/// See the module's description.
#[derive(Debug)]
pub struct Demux {
    sync: DatagramSync,
    assembler: Assembler,
    programs: Programs,
    specs: Vec<Spec>,
    streams: Vec<Stream>,
    clock: Unwrap,
    out: VecDeque<Output>,
    tally: Tally,
    /// When the streams of sound began to wait for their numbers.
    numbers_since: Mono,
    /// When the lack of a program is told.
    missing_at: Mono,
    /// It was told, and no map came since.
    missing: bool,
    /// What is not carried, as it was told.
    left_out: Vec<(u16, &'static str)>,
}

impl Demux {
    /// A stream that begins at `now`.
    pub fn new(options: Options, now: Mono) -> Demux {
        Demux {
            sync: DatagramSync::default(),
            assembler: Assembler::new(),
            programs: Programs::new(options),
            specs: Vec::new(),
            streams: Vec::new(),
            clock: Unwrap::default(),
            out: VecDeque::new(),
            tally: Tally::default(),
            numbers_since: now,
            missing_at: now + NO_PROGRAM,
            missing: false,
            left_out: Vec::new(),
        }
    }

    /// Whole packets, as datagrams bring them.
    pub fn handle_datagram(&mut self, now: Mono, payload: &[u8]) {
        let mut sync = self.sync;
        sync.split(payload, |unit| {
            if let Unit::Packet { bytes, sync_ok: true } = unit {
                self.packet(now, &Packet::parse(bytes));
            }
        });
        self.sync = sync;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Mono) {
        if now >= self.missing_at {
            (self.missing_at, self.missing) = (now + NO_PROGRAM, true);
            let announced = self.programs.is_announced();
            self.out.push_back(Output::Event(Event::NoProgram { announced }));
        }
    }

    /// When [`Demux::handle_timeout`] is due.
    pub fn deadline(&self) -> Mono {
        self.missing_at
    }

    /// Nothing has come for so long that nothing goes on: what waits for a packet behind it is complete.
    pub fn flush(&mut self, now: Mono) {
        for at in 0..self.streams.len() {
            if self.streams.get_mut(at).is_some_and(|stream| stream.pes.flush() == Did::Whole) {
                self.unit(now, at);
            }
        }
    }

    /// The source is another one from here on: what waits is complete, and pictures begin with a keyframe.
    pub fn interrupt(&mut self, now: Mono) {
        self.flush(now);
        self.assembler = Assembler::new();
        for stream in &mut self.streams {
            stream.pes.restart();
            match &mut stream.track {
                Track::Video(video) => video.interrupt(),
                Track::Av1(av1) => av1.wait(),
                Track::Audio(audio) => audio.interrupt(),
            }
        }
    }

    /// The source has paused for long. If packets are missing when it goes on, pictures begin with a keyframe.
    pub fn doubt(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.pes.doubt());
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Configuration as it was told last, for who begins now.
    pub fn configs(&self) -> impl Iterator<Item = (Kind, Bytes)> + '_ {
        self.streams.iter().filter_map(|stream| match &stream.track {
            Track::Video(video) => video.config().map(|body| (Kind::Video, body.clone())),
            Track::Av1(av1) => av1.config().map(|body| (Kind::Video, body.clone())),
            Track::Audio(audio) => audio.config().map(|body| (Kind::Audio, body.clone())),
        })
    }

    /// Whether anything is read.
    pub fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Whether there are pictures.
    pub fn has_video(&self) -> bool {
        self.streams.iter().any(|stream| matches!(stream.track, Track::Video(_) | Track::Av1(_)))
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        let stream = |stream: &Stream| {
            stream.pes.heap_bytes()
                + match &stream.track {
                    Track::Video(video) => video.heap_bytes(),
                    Track::Av1(av1) => av1.heap_bytes(),
                    Track::Audio(audio) => audio.heap_bytes(),
                }
        };
        let body = |output: &Output| match output {
            Output::Frame(_, frame) => frame.body.len(),
            Output::Event(_) => 0,
        };
        let out = self.out.capacity() * size_of::<Output>() + self.out.iter().map(body).sum::<usize>();
        out + self.assembler.heap_bytes()
            + self.programs.heap_bytes()
            + self.streams.iter().map(stream).sum::<usize>()
    }

    fn packet(&mut self, now: Mono, packet: &Packet<'_>) {
        self.tally.packets += 1;
        if packet.pid == pid::NULL {
            return;
        }
        let bad = [
            (packet.error, &mut self.tally.errors),
            (packet.malformed, &mut self.tally.malformed),
            (packet.scrambling != 0, &mut self.tally.scrambled),
        ];
        for (is, count) in bad {
            if is {
                *count += 1;
                return;
            }
        }
        if !packet.has_payload {
            return;
        }
        if let Some(at) = self.streams.iter().position(|stream| stream.spec.pid == packet.pid) {
            self.tally.media += 1;
            self.media(now, at, packet);
        } else if self.programs.reads(packet.pid) {
            self.tables(now, packet);
        } else if self.streams.is_empty() && self.specs.iter().any(|spec| spec.pid == packet.pid) {
            self.tally.media += 1;
        }
    }

    fn tables(&mut self, now: Mono, packet: &Packet<'_>) {
        let Demux { programs, tally, specs, assembler, .. } = self;
        let (mut apply, mut mapped) = (None, false);
        assembler.push(packet, |section| {
            if !section.crc_ok() {
                tally.crc += 1;
                return;
            }
            apply = programs.read(now, section, specs).or(apply.take());
            mapped |= programs.is_map(section);
        });
        // A PAT alone is no sign of life: the map that it names may have stopped.
        if mapped && programs.is_carried() {
            self.missing_at = now + NO_PROGRAM;
            if std::mem::take(&mut self.missing) && apply.is_none() {
                let (number, carried) = (programs.chosen().unwrap_or(0), self.streams.len());
                self.out.push_back(Output::Event(Event::Program { number, carried }));
            }
        }
        if let Some(specs) = apply {
            self.apply(now, specs);
        }
    }

    /// The program consists of something else: streams that stay keep what they know.
    fn apply(&mut self, now: Mono, specs: Vec<Spec>) {
        let mut old = std::mem::take(&mut self.streams);
        let (mut pictures, mut sounds) = (false, 0);
        for spec in &specs {
            let room = match spec.read {
                Some(Read::Video(_) | Read::Av1) => !std::mem::replace(&mut pictures, true),
                Some(Read::Audio(_)) => {
                    sounds += 1;
                    sounds <= AUDIO_TRACKS_MAX
                }
                None => false,
            };
            let Some(read) = spec.read.filter(|_| room) else {
                continue;
            };
            let kept = old.iter().position(|stream| stream.spec == *spec);
            self.streams.push(kept.map_or_else(|| Stream::new(*spec, read), |at| old.swap_remove(at)));
        }
        self.streams.iter_mut().for_each(|stream| stream.number = None);
        self.numbers_since = now;
        self.specs = specs;
        self.tell_left_out();
        let (number, carried) = (self.programs.chosen().unwrap_or(0), self.streams.len());
        self.out.push_back(Output::Event(Event::Program { number, carried }));
    }

    /// What of the program is not carried: PID, and what it is for people.
    pub fn left_out(&self) -> &[(u16, &'static str)] {
        &self.left_out
    }

    fn tell_left_out(&mut self) {
        let what = |spec: &Spec| match self.streams.iter().find(|stream| stream.spec.pid == spec.pid) {
            None => Some(spec.what),
            Some(Stream { track: Track::Audio(audio), .. }) => audio.lower_layer(),
            Some(_) => None,
        };
        let now: Vec<_> = self.specs.iter().filter_map(|spec| Some((spec.pid, what(spec)?))).collect();
        if now != self.left_out && !now.is_empty() {
            self.out.push_back(Output::Event(Event::NotCarried));
        }
        self.left_out = now;
    }

    fn media(&mut self, now: Mono, at: usize, packet: &Packet<'_>) {
        let Some(stream) = self.streams.get_mut(at) else { return };
        let (fresh, did) = stream.pes.count(packet, &mut self.tally);
        stream.lost(did);
        if !fresh {
            return;
        }
        let mut did = stream.pes.push(now, packet, &mut self.tally);
        if did == Did::WholeBefore {
            self.unit(now, at);
            let Some(stream) = self.streams.get_mut(at) else { return };
            did = stream.pes.push(now, packet, &mut self.tally);
        }
        match did {
            Did::Whole => self.unit(now, at),
            did => self.streams.iter_mut().skip(at).take(1).for_each(|stream| stream.lost(did)),
        }
    }

    /// Reads the unit of stream `at` that is whole.
    fn unit(&mut self, now: Mono, at: usize) {
        if let Some(Stream { pes, track: Track::Audio(audio), .. }) = self.streams.get_mut(at)
            && let Some(payload) = pes.peek()
            && audio.foresee(payload)
        {
            self.tell_left_out();
        }
        self.give_numbers(now);
        let Some(stream) = self.streams.get_mut(at) else { return };
        let Some(unit) = stream.pes.take(&mut self.tally) else { return };
        let mut out = Frames { out: &mut self.out, first_byte_at: unit.first_at, complete_at: now };
        let mut endless = |time: Option<u64>| time.map(|time| self.clock.unwrap_time(time));
        let dts = endless(unit.header.dts.or(unit.header.pts));
        let pts = endless(unit.header.pts);
        match &mut stream.track {
            Track::Audio(audio) => audio.read(unit.payload, pts, stream.number, &mut out, &mut self.tally),
            track => {
                let step = stream.step;
                let dts = dts.or_else(|| stream.last_dts.map(|last| last + step));
                let Some(dts) = dts else {
                    self.tally.untimed += 1;
                    return;
                };
                let lead = pts.map_or(0, |pts| pts - dts);
                // The times of pictures behind the first of a packet are nobody's: one distance each.
                let times = |n: u32| {
                    let dts = dts + i64::from(n) * step;
                    Times { dts, pts: dts + lead }
                };
                let tally = &mut self.tally;
                let pictures = match track {
                    Track::Video(video) => {
                        video.read(unit.payload, unit.random_access, times, &mut out, tally)
                    }
                    Track::Av1(av1) => av1.read(unit.payload, times, &mut out, tally),
                    Track::Audio(_) => 0,
                };
                // A packet of AV1 may hold a frame that is not shown: its time is no picture's.
                if pictures > 0 || matches!(track, Track::Video(_)) {
                    let distance = stream.last_dts.map(|last| dts - last);
                    stream.step = distance.filter(|d| (1..PICTURE_TICKS_MAX).contains(d)).unwrap_or(step);
                    stream.last_dts = Some(dts + i64::from(pictures.saturating_sub(1)) * step);
                }
            }
        }
    }

    /// Numbers the tracks of sound in the order of the map, those of MPEG audio left out that are of lower layers.
    fn give_numbers(&mut self, now: Mono) {
        let waited = now.since(self.numbers_since) >= NUMBERS;
        let taken = self.streams.iter().filter_map(|stream| stream.number).max();
        let mut next = taken.map_or(0, |number| number.saturating_add(1));
        for stream in &mut self.streams {
            let Track::Audio(audio) = &mut stream.track else { continue };
            let counts = match (stream.spec.read, audio.layer) {
                (Some(Read::Audio(Form::Mpeg)), Some(layer)) => layer == 3,
                (Some(Read::Audio(Form::Mpeg)), None) if waited => false,
                (Some(Read::Audio(Form::Mpeg)), None) => return,
                _ => true,
            };
            if counts && stream.number.is_none() {
                stream.number = Some(next);
                audio.tell_again();
                next = next.saturating_add(1);
            }
        }
    }
}

impl Stream {
    fn new(spec: Spec, read: Read) -> Stream {
        let (track, bytes_max) = match read {
            Read::Av1 => (Track::Av1(Box::new(Av1::new())), PICTURE_BYTES_MAX),
            Read::Video(codec) => (Track::Video(Box::new(Video::new(codec))), PICTURE_BYTES_MAX),
            Read::Audio(form) => (Track::Audio(Box::new(Audio::new(form))), SOUND_BYTES_MAX),
        };
        let pes = Reassembly::new(bytes_max);
        Stream { spec, pes, track, number: None, last_dts: None, step: PICTURE_TICKS }
    }

    /// A unit may have been lost.
    fn lost(&mut self, did: Did) {
        match (&mut self.track, did) {
            (Track::Video(video), Did::LostKey) => video.wait(),
            (Track::Av1(av1), Did::LostKey) => av1.wait(),
            (Track::Av1(av1), Did::Lost) => av1.lost(),
            (Track::Audio(audio), Did::Lost | Did::LostKey) => audio.interrupt(),
            _ => {}
        }
    }
}
