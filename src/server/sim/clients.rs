//! Encoders and viewers of the simulation, and what a viewer holds its stream to.

use super::ts::TsAudit;
use crate::shard::engine::sim::{Rng, World};
use crate::wire::amf0::{Object, Value};
use crate::wire::flv::{FlvItem, FlvReader};
use crate::wire::rtmp::chunk::{ChunkReader, Limits};
use crate::wire::rtmp::control::Control;
use crate::wire::rtmp::message::{MessageHeader, write_message};
use crate::wire::rtmp::{csid, type_id};
use std::collections::BTreeMap;

/// Bytes of C0 and C1, and of C2; of S0, S1 and S2.
const C0_C1: usize = 1 + 1536;
const HELLO: usize = 1 + 2 * 1536;
/// Chunk size of simulated clients.
const CHUNK: u32 = 4096;
/// Bytes in front of a picture's own: the tag's head, the length of its NAL unit, that unit's head.
const PICTURE_HEAD: usize = 5 + 4 + 1;
/// Between two pictures, and two sounds.
const PICTURE_US: u64 = 40_000;
const SOUND_US: u64 = 21_333;

pub(super) const AVC_CONFIG: [u8; 46] = [
    0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x0c, 0xff, 0xe1, 0, 0x1a, 0x67, 0x64, 0, 0x0c, 0xac, 0xd9, 0x41, 0x41,
    0x9f, 0x9f, 1, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0x20, 0xf1, 0x42, 0x99, 0x60, 1, 0, 4, 0x68, 0xef,
    0x8f, 0xcb,
];
pub(super) const AAC_CONFIG: [u8; 4] = [0xaf, 0, 0x11, 0x90];

/// What stands in front of a picture of `len` bytes in all, a keyframe or not.
fn picture_head(key: bool, len: usize) -> [u8; PICTURE_HEAD] {
    let [a, b, c, d] = ((len - 9) as u32).to_be_bytes();
    let (frame, unit) = if key { (0x17, 0x65) } else { (0x27, 0x41) };
    [frame, 1, 0, 0, 0, a, b, c, d, unit]
}

/// The body of a frame says whose it is: the publisher's number, the frame's, and filling that follows from both.
fn body(head: &[u8], publisher: u16, number: u32, len: usize) -> Vec<u8> {
    let mut body = head.to_vec();
    body.extend(publisher.to_be_bytes());
    body.extend(number.to_be_bytes());
    let first = publisher as u8 ^ number as u8;
    let filling = len.saturating_sub(body.len());
    body.extend((0..filling).map(|i| first.wrapping_add(i as u8)));
    body
}

/// Publishers from here on are senders of an input: what they send may be lost on its way, and they may come back.
const INPUTS: u16 = 0x8000;

/// What a sender's slice says behind the head of its unit: like [`body`], with a number of which no start code can come.
pub(super) fn encoded(publisher: u16, number: u32, len: usize) -> Vec<u8> {
    let digits = [21, 14, 7, 0].map(|shift| 0x80 | (number >> shift & 0x7f) as u8);
    let number = u32::from_be_bytes(digits);
    let mut slice = body(&[], publisher, number, len.max(8));
    // A zero at the end belongs to the next start code.
    if slice.last() == Some(&0) {
        slice = body(&[], publisher, number, len.max(8) + 1);
    }
    slice
}

fn command(name: &str, id: f64, arguments: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    Value::from(name).encode(&mut out);
    Value::Number(id).encode(&mut out);
    arguments.iter().for_each(|a| a.encode(&mut out));
    out
}

pub(super) fn message(
    out: &mut Vec<u8>,
    csid: u8,
    kind: u8,
    stream_id: u32,
    timestamp_ms: u32,
    payload: &[u8],
) {
    let length = payload.len() as u32;
    let header = MessageHeader { csid, timestamp_ms, length, type_id: kind, stream_id };
    write_message(out, &header, payload, CHUNK);
}

/// Everything up to a message stream, in one go: nothing in it depends on the server's answers.
fn hello() -> Vec<u8> {
    let mut out = vec![3; 1];
    out.resize(C0_C1 + 1536, 0);
    Control::SetChunkSize(CHUNK).write(&mut out);
    let app = Value::Object(Object(vec![("app".to_owned(), "live".into())]));
    message(&mut out, csid::COMMAND, type_id::COMMAND_AMF0, 0, 0, &command("connect", 1.0, &[app]));
    message(
        &mut out,
        csid::COMMAND,
        type_id::COMMAND_AMF0,
        0,
        0,
        &command("createStream", 2.0, &[Value::Null]),
    );
    out
}

/// The same, and publish.
pub(super) fn publish(name: &str) -> Vec<u8> {
    let mut out = hello();
    let publish = command("publish", 3.0, &[Value::Null, name.into(), "live".into()]);
    message(&mut out, csid::STREAM, type_id::COMMAND_AMF0, 1, 0, &publish);
    out
}

/// How a publisher goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Says so, and closes.
    Unpublish,
    /// Just closes.
    Close,
    /// Resets the connection in the middle of a message.
    Reset,
}

/// An encoder.
#[derive(Debug)]
pub struct Publisher {
    pub number: u16,
    pub name: String,
    pub pipe: usize,
    pub end: End,
    pub done: bool,
    /// Frames sent so far.
    pub pictures: u32,
    pub sounds: u32,
    gop: u32,
    key_bytes: usize,
    inter_bytes: usize,
    base_ms: u32,
    pub from_us: u64,
    until_us: u64,
}

impl Publisher {
    /// Connects at `from_us` and publishes `name` until `until_us`.
    pub fn new(
        number: u16,
        name: &str,
        pipe: usize,
        (from_us, until_us): (u64, u64),
        rng: &mut Rng,
    ) -> Publisher {
        Publisher {
            number,
            name: name.to_owned(),
            pipe,
            end: rng.pick(&[End::Unpublish, End::Close, End::Reset]),
            done: false,
            pictures: 0,
            sounds: 0,
            gop: rng.within(3..20) as u32,
            key_bytes: rng.pick(&[40, 3000, 30_000, 200_000]),
            inter_bytes: rng.pick(&[30, 900, 8000]),
            base_ms: rng.pick(&[0, 5000, 0xff_ff00, u32::MAX - 300]),
            from_us,
            until_us,
        }
    }

    /// Says hello.
    pub fn begin(&self, world: &mut World) {
        let mut out = publish(&self.name);
        message(&mut out, csid::VIDEO, type_id::VIDEO, 1, self.base_ms, &AVC_CONFIG);
        message(&mut out, csid::AUDIO, type_id::AUDIO, 1, self.base_ms, &AAC_CONFIG);
        world.pipes[self.pipe].to_server.extend(out);
    }

    /// When it does something next.
    pub fn next_at(&self) -> u64 {
        let (picture, sound) = self.due();
        if self.done { u64::MAX } else { picture.min(sound).min(self.until_us) }
    }

    fn due(&self) -> (u64, u64) {
        let (pictures, sounds) = (u64::from(self.pictures), u64::from(self.sounds));
        (self.from_us + pictures * PICTURE_US, self.from_us + sounds * SOUND_US)
    }

    /// Sends what is due.
    pub fn step(&mut self, world: &mut World) {
        let now_us = world.now_us;
        if world.pipes[self.pipe].closed || world.pipes[self.pipe].server_ended {
            // Another one took its name.
            self.done = true;
            world.pipes[self.pipe].client_ended = true;
        }
        let mut out = Vec::new();
        while !self.done && self.next_at() <= now_us {
            let (picture, sound) = self.due();
            if picture.min(sound) >= self.until_us {
                self.leave(&mut out, world);
                break;
            }
            let time = |at_us: u64| self.base_ms.wrapping_add(((at_us - self.from_us) / 1000) as u32);
            if picture <= sound {
                let key = self.pictures.is_multiple_of(self.gop);
                let len = if key { self.key_bytes } else { self.inter_bytes };
                let body = body(&picture_head(key, len), self.number, self.pictures, len);
                message(&mut out, csid::VIDEO, type_id::VIDEO, 1, time(picture), &body);
                self.pictures += 1;
            } else {
                let body = body(&[0xaf, 1], self.number, self.sounds, 150);
                message(&mut out, csid::AUDIO, type_id::AUDIO, 1, time(sound), &body);
                self.sounds += 1;
            }
        }
        world.pipes[self.pipe].to_server.extend(out);
    }

    fn leave(&mut self, out: &mut Vec<u8>, world: &mut World) {
        self.done = true;
        let pipe = &mut world.pipes[self.pipe];
        match self.end {
            End::Unpublish => {
                let unpublish = command("FCUnpublish", 4.0, &[Value::Null, self.name.as_str().into()]);
                message(out, csid::COMMAND, type_id::COMMAND_AMF0, 0, 0, &unpublish);
                pipe.client_ended = true;
            }
            End::Close => pipe.client_ended = true,
            End::Reset => {
                let mut half = Vec::new();
                message(&mut half, csid::VIDEO, type_id::VIDEO, 1, 0, &[0x27; 5000]);
                half.truncate(2000);
                out.extend(half);
                pipe.reset = true;
            }
        }
    }
}

/// How a viewer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as it comes.
    Fast,
    /// So many bytes a millisecond.
    Slow(u64),
    /// Nothing from this moment on.
    Stalls(u64),
    /// Nothing between these moments.
    Pauses(u64, u64),
    /// Resets its connection at this moment.
    Resets(u64),
}

/// What a viewer may ask for while it watches, by RTMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whim {
    Pause(bool),
    Video(bool),
    Audio(bool),
}

#[derive(Debug)]
enum Reader {
    Http {
        /// What is left of it is not read as the body.
        head: Vec<u8>,
        in_body: bool,
        body: Body,
    },
    Rtmp {
        hello_left: usize,
        chunks: ChunkReader,
    },
}

/// What an HTTP response brings.
#[derive(Debug)]
enum Body {
    Flv(FlvReader),
    Ts(TsAudit),
}

/// A viewer.
#[derive(Debug)]
pub struct Viewer {
    pub name: String,
    pub pipe: usize,
    pub pace: Pace,
    pub audit: Audit,
    /// It has read the server's end of stream, or its connection is gone.
    pub over: bool,
    /// What it will ask for, and when, the last first. By HTTP-FLV one that has any asks to join at once (`?join=live`).
    pub whims: Vec<(u64, Whim)>,
    reader: Reader,
    next_at: u64,
}

impl Whim {
    fn bytes(self) -> Vec<u8> {
        let (name, on) = match self {
            Whim::Pause(on) => ("pause", on),
            Whim::Video(on) => ("receiveVideo", on),
            Whim::Audio(on) => ("receiveAudio", on),
        };
        let mut out = Vec::new();
        let arguments = [Value::Null, Value::Boolean(on), Value::Number(0.0)];
        message(&mut out, csid::STREAM, type_id::COMMAND_AMF0, 1, 0, &command(name, 0.0, &arguments));
        out
    }
}

impl Viewer {
    /// Of `name`, by RTMP or HTTP-FLV.
    pub fn new(name: &str, pipe: usize, pace: Pace, rtmp: bool, from_us: u64) -> Viewer {
        let reader = if rtmp {
            let mut chunks = ChunkReader::new();
            chunks.set_limits(Limits::PUBLISHER);
            Reader::Rtmp { hello_left: HELLO, chunks }
        } else {
            Reader::Http { head: Vec::new(), in_body: false, body: Body::Flv(FlvReader::new()) }
        };
        Viewer {
            name: name.to_owned(),
            pipe,
            pace,
            audit: Audit::default(),
            over: false,
            whims: Vec::new(),
            reader,
            next_at: from_us,
        }
    }

    /// Lets it watch HTTP-TS, if it watches HTTP-FLV.
    pub fn over_ts(mut self) -> Viewer {
        if let Reader::Http { body, .. } = &mut self.reader {
            *body = Body::Ts(TsAudit::default());
        }
        self
    }

    /// Packets of a transport stream that it got.
    pub fn packets(&self) -> u64 {
        match &self.reader {
            Reader::Http { body: Body::Ts(ts), .. } => ts.packets,
            _ => 0,
        }
    }

    /// Gives it whims, some time behind its arrival.
    pub fn with_whims(mut self, rng: &mut Rng) -> Viewer {
        let mut at_us = self.next_at;
        for _ in 0..rng.within(1..6) {
            at_us += rng.pick(&[0, 3000, 50_000, 400_000]) + rng.within(1..50_000);
            let on = rng.chance(50);
            self.whims.push((at_us, rng.pick(&[Whim::Pause(on), Whim::Video(on), Whim::Audio(on)])));
        }
        self.whims.reverse();
        self.audit.fickle = true;
        self
    }

    /// Where it connects, see [`super::super::gateway::LISTENERS`].
    pub fn listener(&self) -> usize {
        usize::from(matches!(self.reader, Reader::Http { .. }))
    }

    /// Asks for the stream.
    pub fn begin(&self, world: &mut World) {
        let bytes = match &self.reader {
            Reader::Http { body, .. } => {
                let query = if self.whims.is_empty() { "" } else { "?join=live" };
                let medium = if matches!(body, Body::Ts(_)) { "ts" } else { "flv" };
                format!("GET /live/{}.{medium}{query} HTTP/1.1\r\nHost: sim\r\n\r\n", self.name).into_bytes()
            }
            Reader::Rtmp { .. } => {
                let mut out = hello();
                let play = [Value::Null, self.name.as_str().into(), Value::Number(-2000.0)];
                message(&mut out, csid::STREAM, type_id::COMMAND_AMF0, 1, 0, &command("play", 3.0, &play));
                out
            }
        };
        world.pipes[self.pipe].to_server.extend(bytes);
    }

    /// When it does something next.
    pub fn next_at(&self) -> u64 {
        if self.over { u64::MAX } else { self.next_at }
    }

    /// Reads what its pace allows.
    pub fn step(&mut self, world: &mut World) -> Result<(), String> {
        let (now_us, rng) = (world.now_us, &mut world.rng);
        let pipe = &mut world.pipes[self.pipe];
        let wait_us = rng.within(200..4000);
        self.next_at = now_us + wait_us;
        while matches!(self.reader, Reader::Rtmp { .. })
            && let Some((_, whim)) = self.whims.pop_if(|(at_us, _)| *at_us <= now_us)
        {
            pipe.to_server.extend(whim.bytes());
        }
        let len = match self.pace {
            Pace::Fast => pipe.to_client.len(),
            Pace::Slow(bytes_per_ms) => pipe.to_client.len().min((bytes_per_ms * wait_us / 1000) as usize),
            Pace::Stalls(from) if now_us >= from => 0,
            Pace::Pauses(from, to) if (from..to).contains(&now_us) => 0,
            Pace::Resets(at) if now_us >= at => {
                pipe.reset = true;
                self.over = true;
                return Ok(());
            }
            _ => pipe.to_client.len(),
        };
        let bytes: Vec<u8> = pipe.to_client.drain(..len).collect();
        let stays_silent = matches!(self.pace, Pace::Stalls(from) if now_us >= from);
        let to_the_end = pipe.server_ended && pipe.to_client.is_empty();
        if (pipe.server_ended || pipe.closed) && (pipe.to_client.is_empty() || stays_silent) {
            pipe.client_ended = true;
            self.over = true;
        }
        self.read(&bytes)?;
        match &self.reader {
            Reader::Http { body: Body::Ts(ts), .. } if to_the_end && !ts.is_whole() => {
                Err("the response ends within a packet".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        let audit = &mut self.audit;
        match &mut self.reader {
            Reader::Http { head, in_body, body } => {
                head.extend(bytes);
                if !*in_body {
                    let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(()) };
                    *in_body = true;
                    if !head.starts_with(b"HTTP/1.1 200") {
                        audit.refused = true;
                    }
                    head.drain(..end + 4);
                }
                if audit.refused {
                    return Ok(());
                }
                let flv = match body {
                    Body::Flv(flv) => flv,
                    Body::Ts(ts) => {
                        ts.read(&std::mem::take(head))?;
                        audit.skips = if audit.fickle { 0 } else { ts.jumps };
                        return Ok(());
                    }
                };
                flv.push(head);
                head.clear();
                while let Some(item) = flv.next_item().map_err(|e| e.to_string())? {
                    if let FlvItem::Tag(header, body) = item {
                        audit.tag(header.tag_type as u8, header.timestamp_ms, &body)?;
                    }
                }
                Ok(())
            }
            Reader::Rtmp { hello_left, chunks } => {
                let skipped = bytes.len().min(*hello_left);
                *hello_left -= skipped;
                bytes = &bytes[skipped..];
                loop {
                    let (used, message) = chunks.read(0, bytes).map_err(|e| e.to_string())?;
                    bytes = &bytes[used..];
                    let Some(message) = message else { return Ok(()) };
                    audit.tag(message.type_id, message.timestamp_ms, &message.payload)?;
                }
            }
        }
    }
}

/// What a viewer got, and whether it may look like that.
#[derive(Debug, Default)]
pub struct Audit {
    /// The stream was not to be had.
    pub refused: bool,
    /// Publisher and number of the last picture and the last sound.
    pub last: [Option<(u16, u32)>; 2],
    /// Gaps, each in front of a keyframe.
    pub skips: u32,
    pub frames: u32,
    times: [u32; 2],
    /// Publishers whose pictures, whose sounds were followed by another's.
    over: [Vec<u16>; 2],
    configs: [bool; 2],
    /// A keyframe came, and no sound since.
    pub behind_key: bool,
    /// The gap in front of that keyframe is counted already.
    counted: bool,
    /// Frames of inputs among [`Audit::frames`], and the last one of each of their senders.
    pub of_inputs: u32,
    senders: BTreeMap<u16, u32>,
    /// It pauses, or leaves pictures or sounds out: gaps are of its own making, and sound may come alone.
    pub fickle: bool,
}

impl Audit {
    fn tag(&mut self, kind: u8, time_ms: u32, bytes: &[u8]) -> Result<(), String> {
        let (at, head) = match kind {
            type_id::VIDEO => (0, PICTURE_HEAD),
            type_id::AUDIO => (1, 2),
            _ => return Ok(()),
        };
        match bytes.get(1) {
            Some(0) => self.configs[at] = true,
            Some(1) => return self.frame(at, head, time_ms, bytes),
            _ => {}
        }
        Ok(())
    }

    fn frame(&mut self, at: usize, head: usize, time_ms: u32, bytes: &[u8]) -> Result<(), String> {
        let what = ["picture", "sound"][at];
        let word = bytes.get(head..head + 6).ok_or_else(|| format!("a {what} of {} bytes", bytes.len()))?;
        let publisher = u16::from_be_bytes([word[0], word[1]]);
        let number = u32::from_be_bytes([word[2], word[3], word[4], word[5]]);
        let this = format!("{what} {number} of publisher {publisher}");
        if bytes != body(&bytes[..head], publisher, number, bytes.len()) {
            return Err(format!("{this} has other bytes than were sent"));
        }
        if !self.configs[at] {
            return Err(format!("{this} comes before its configuration"));
        }
        if time_ms < self.times[at] {
            return Err(format!("{this}: time goes back from {} to {time_ms}", self.times[at]));
        }
        self.times[at] = time_ms;
        let key = at == 0 && bytes[0] == 0x17;
        let before = self.last[at].replace((publisher, number));
        if publisher >= INPUTS {
            return self.of_input(at, publisher, number, key, before);
        }
        let follows = before == Some((publisher, number.wrapping_sub(1)));
        let returned =
            before.is_some_and(|(other, _)| other != publisher) && self.over[at].contains(&publisher);
        if returned || before.is_some_and(|(of, n)| of == publisher && n >= number) {
            return Err(format!("{this} comes again, or behind {before:?}"));
        }
        self.over[at].extend(before.filter(|(of, _)| *of != publisher && *of < INPUTS).map(|(of, _)| of));
        if key {
            (self.behind_key, self.counted) = (true, false);
        }
        self.frames += 1;
        let from_another = before.is_some_and(|(other, _)| other != publisher);
        if at == 0 {
            if !follows && !key {
                return Err(format!("{this} is no keyframe and comes behind {before:?}"));
            }
            if !follows && before.is_some() && !from_another {
                self.count_gap();
            }
            return Ok(());
        }
        let behind_key = std::mem::take(&mut self.behind_key);
        if self.last[0].is_none() && !self.fickle {
            return Err(format!("{this} comes before any picture"));
        }
        if !follows && before.is_some() && !from_another {
            if !behind_key && !self.fickle {
                return Err(format!("{this} comes behind {before:?}, and no keyframe between them"));
            }
            self.count_gap();
        }
        Ok(())
    }

    /// A picture of an input: in order for each sender, and the first behind somebody else's a keyframe.
    fn of_input(
        &mut self,
        at: usize,
        publisher: u16,
        number: u32,
        key: bool,
        before: Option<(u16, u32)>,
    ) -> Result<(), String> {
        let this = format!("picture {number:#x} of sender {publisher:#x}");
        if at != 0 {
            return Err(format!("{this} is a sound"));
        }
        if self.senders.insert(publisher, number).is_some_and(|last| last >= number) {
            return Err(format!("{this} comes again"));
        }
        if !key && before.is_none_or(|(of, _)| of != publisher) {
            return Err(format!("{this} is no keyframe and comes behind {before:?}"));
        }
        self.over[at].extend(before.filter(|(of, _)| *of < INPUTS).map(|(of, _)| of));
        (self.frames, self.of_inputs) = (self.frames + 1, self.of_inputs + 1);
        Ok(())
    }

    fn count_gap(&mut self) {
        self.skips += u32::from(!std::mem::replace(&mut self.counted, true) && !self.fickle);
    }
}
