//! An independent reading of FLV tags and Enhanced RTMP headers, and the rules that every player relies on.
//!
//! It shares no line with `src/`. A [`Tag`] comes out of an FLV byte stream ([`FlvReader`]) or out of RTMP messages;
//! [`Checker`] holds a sequence of tags to the rules: configuration before media, a keyframe first, timestamps that
//! never go back on a track.

use std::collections::BTreeMap;

/// One FLV tag or one RTMP media message.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// 8 audio, 9 video, 18 script.
    pub kind: u8,
    pub time_ms: u32,
    pub body: Vec<u8>,
}

pub const AUDIO: u8 = 8;
pub const VIDEO: u8 = 9;
pub const SCRIPT: u8 = 18;

/// Cuts an FLV byte stream into tags; panics where it is not one.
#[derive(Debug, Default)]
pub struct FlvReader {
    rest: Vec<u8>,
    header: Option<u8>,
    offset: usize,
}

impl FlvReader {
    /// Takes bytes as they arrive and hands out every complete tag.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Tag)) {
        self.rest.extend(bytes);
        let mut at = 0;
        if self.header.is_none() {
            let Some(head) = self.rest.get(..13) else { return };
            assert_eq!(&head[..4], b"FLV\x01", "signature and version");
            assert_eq!(head[4] & !5, 0, "reserved flags");
            assert_eq!(&head[5..13], [0, 0, 0, 9, 0, 0, 0, 0], "header size and first trailer");
            self.header = Some(head[4]);
            at = 13;
        }
        while let Some(head) = self.rest.get(at..at + 11) {
            let len = be(&head[1..4]) as usize;
            let Some(tag) = self.rest.get(at..at + 11 + len + 4) else { break };
            let place = self.offset + at;
            assert!(matches!(head[0], AUDIO | VIDEO | SCRIPT), "tag type {} at byte {place}", head[0]);
            assert_eq!(&head[8..11], [0, 0, 0], "stream id at byte {place}");
            assert_eq!(be(&tag[11 + len..]) as usize, 11 + len, "trailer of the tag at byte {place}");
            let time_ms = be(&head[4..7]) | u32::from(head[7]) << 24;
            each(Tag { kind: head[0], time_ms, body: tag[11..11 + len].to_vec() });
            at += 11 + len + 4;
        }
        self.rest.drain(..at);
        self.offset += at;
    }

    /// The flags of the header once it came: 4 audio, 1 video.
    pub fn flags(&self) -> Option<u8> {
        self.header
    }

    /// Bytes of an incomplete tag at the end.
    pub fn unfinished(&self) -> usize {
        self.rest.len()
    }
}

/// Every tag of a whole FLV file or response body.
pub fn flv_tags(bytes: &[u8]) -> Vec<Tag> {
    let (mut reader, mut tags) = (FlvReader::default(), Vec::new());
    reader.push(bytes, |tag| tags.push(tag));
    assert_eq!(reader.unfinished(), 0, "the stream ends inside a tag");
    tags
}

fn be(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |n, &b| n << 8 | u32::from(b))
}

/// What a tag is for its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Sequence header.
    Config,
    /// Video that can be decoded without what was before.
    Key,
    /// Any other coded video.
    Inter,
    /// Coded audio.
    Sound,
    /// Colour or channel configuration.
    Extra,
    /// End of sequence.
    End,
    /// Commands, script data, silence markers.
    Other,
}

/// One track's part of a tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub track: u8,
    pub class: Class,
    /// FourCC; legacy codecs by theirs (`avc1`, `mp4a`, `.mp3`), or `v`/`a` and the number.
    pub codec: String,
}

/// Reads a tag's header: one part a track.
pub fn parts(tag: &Tag) -> Vec<Part> {
    let body = &tag.body;
    let Some(&first) = body.first() else { return Vec::new() };
    match tag.kind {
        VIDEO if first & 0x80 != 0 => enhanced(body, true),
        AUDIO if first >> 4 == 9 => enhanced(body, false),
        VIDEO => vec![legacy_video(body)],
        AUDIO => vec![legacy_audio(body)],
        _ => Vec::new(),
    }
}

fn legacy_video(body: &[u8]) -> Part {
    let (frame, codec) = (body[0] >> 4, body[0] & 15);
    let packet = body.get(1).copied();
    let class = match (frame, codec, packet) {
        (5, ..) => Class::Other,
        (_, 7 | 12, Some(0)) => Class::Config,
        (_, 7 | 12, Some(2)) => Class::End,
        (1 | 4, ..) => Class::Key,
        _ => Class::Inter,
    };
    let codec = match codec {
        7 => "avc1".to_owned(),
        12 => "hvc1".to_owned(),
        other => format!("v{other}"),
    };
    Part { track: 0, class, codec }
}

fn legacy_audio(body: &[u8]) -> Part {
    let (class, codec) = match (body[0] >> 4, body.get(1)) {
        (10, Some(0)) => (Class::Config, "mp4a".to_owned()),
        (10, _) => (Class::Sound, "mp4a".to_owned()),
        (2, _) => (Class::Sound, ".mp3".to_owned()),
        (other, _) => (Class::Sound, format!("a{other}")),
    };
    Part { track: 0, class: if body.len() > 1 { class } else { Class::Other }, codec }
}

fn enhanced(body: &[u8], video: bool) -> Vec<Part> {
    let frame = body[0] >> 4 & 7;
    let (mut packet, mut rest) = (body[0] & 15, &body[1..]);
    while packet == 7 {
        let mut size = usize::from(rest[0]) + 1;
        rest = &rest[1..];
        if size == 256 {
            size = be(&rest[..2]) as usize + 1;
            rest = &rest[2..];
        }
        packet = rest[size] & 15;
        rest = &rest[size + 1..];
    }
    if video && frame == 5 && packet != 4 {
        return vec![Part { track: 0, class: Class::Other, codec: String::new() }];
    }
    let class = |packet: u8| match (packet, video) {
        (0, _) | (5, true) => Class::Config,
        (1, false) => Class::Sound,
        (1 | 3, true) if matches!(frame, 1 | 4) => Class::Key,
        (1 | 3, true) => Class::Inter,
        (2, _) => Class::End,
        (4, _) => Class::Extra,
        _ => Class::Other,
    };
    let name = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..4]).into_owned();
    let multitrack = if video { 6 } else { 5 };
    if packet != multitrack {
        return vec![Part { track: 0, class: class(packet), codec: name(rest) }];
    }
    let (layout, packet) = (rest[0] >> 4, rest[0] & 15);
    rest = &rest[1..];
    let mut codec = String::new();
    if layout != 2 {
        codec = name(rest);
        rest = &rest[4..];
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        if layout == 2 {
            codec = name(rest);
            rest = &rest[4..];
        }
        found.push(Part { track: rest[0], class: class(packet), codec: codec.clone() });
        rest = &rest[1..];
        if layout == 0 {
            break;
        }
        let size = be(&rest[..3]) as usize;
        rest = &rest[3 + size..];
    }
    found
}

/// Codecs whose decoder cannot start without a sequence header.
const NEEDS_CONFIG: [&str; 8] = ["avc1", "hvc1", "vvc1", "av01", "vp08", "vp09", "mp4a", "fLaC"];

/// What is known of one track.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    pub codec: String,
    pub configs: usize,
    pub frames: usize,
    pub keys: usize,
    pub first_ms: u32,
    pub last_ms: u32,
}

/// Holds a player's tags to the rules, one by one, and counts.
#[derive(Debug, Default)]
pub struct Checker {
    /// By (tag kind, track number).
    pub tracks: BTreeMap<(u8, u8), Track>,
    pub tags: usize,
    pub scripts: usize,
    /// Metadata and channel configuration packets.
    pub extras: usize,
    pub ended: bool,
}

impl Checker {
    /// Panics with the tag's number when a rule is broken.
    pub fn tag(&mut self, tag: &Tag) {
        let number = self.tags;
        self.tags += 1;
        assert!(!tag.body.is_empty(), "tag {number} is empty");
        self.scripts += usize::from(tag.kind == SCRIPT);
        for part in parts(tag) {
            match part.class {
                Class::Extra => self.extras += 1,
                Class::End => self.ended = true,
                Class::Config => {
                    let track = self.tracks.entry((tag.kind, part.track)).or_default();
                    track.configs += 1;
                    track.codec = part.codec;
                }
                Class::Key | Class::Inter | Class::Sound => self.frame(tag, &part, number),
                Class::Other => {}
            }
        }
    }

    fn frame(&mut self, tag: &Tag, part: &Part, number: usize) {
        assert!(!self.ended, "tag {number}: media behind the end of the sequence");
        let key = (tag.kind, part.track);
        let fresh = self.tracks.get(&key).is_none_or(|track| track.frames == 0);
        let track = self.tracks.entry(key).or_default();
        if fresh {
            let needs = NEEDS_CONFIG.contains(&part.codec.as_str());
            assert!(track.configs > 0 || !needs, "tag {number}: {} without its configuration", part.codec);
            assert_ne!(part.class, Class::Inter, "tag {number}: track {key:?} starts with a delta frame");
            track.first_ms = tag.time_ms;
            track.codec.clone_from(&part.codec);
        } else {
            let step = tag.time_ms.wrapping_sub(track.last_ms) as i32;
            assert!(step >= 0, "tag {number}: track {key:?} goes back by {} ms", -i64::from(step));
        }
        track.frames += 1;
        track.keys += usize::from(part.class == Class::Key);
        track.last_ms = tag.time_ms;
    }

    /// The default track of a kind.
    pub fn track(&self, kind: u8) -> Option<&Track> {
        self.tracks.get(&(kind, 0)).filter(|track| track.frames > 0)
    }

    /// The codecs that came, video first.
    pub fn codecs(&self) -> Vec<&str> {
        let mut found: Vec<_> =
            self.tracks.iter().map(|((kind, n), t)| (*kind != VIDEO, *n, &*t.codec)).collect();
        found.sort();
        found.into_iter().map(|(.., codec)| codec).collect()
    }
}

/// Checks a sequence of tags as a whole.
pub fn check(tags: &[Tag]) -> Checker {
    let mut checker = Checker::default();
    tags.iter().for_each(|tag| checker.tag(tag));
    checker
}

#[test]
fn a_checker_that_cannot_fail_checks_nothing() {
    let tag = |kind, time_ms, body: &[u8]| Tag { kind, time_ms, body: body.to_vec() };
    let config = tag(VIDEO, 0, &[0x17, 0, 0, 0, 0, 1]);
    let key = |time_ms| tag(VIDEO, time_ms, &[0x17, 1, 0, 0, 0, 9]);
    let inter = |time_ms| tag(VIDEO, time_ms, &[0x27, 1, 0, 0, 0, 9]);
    let hevc = tag(VIDEO, 0, &[0x91, b'h', b'v', b'c', b'1', 0, 0, 0, 9]);
    assert_eq!(
        check(&[config.clone(), key(0), inter(40)]).track(VIDEO).map(|t| (t.frames, t.keys)),
        Some((2, 1))
    );
    for (what, tags) in [
        ("no configuration", vec![key(0)]),
        ("no Enhanced configuration", vec![hevc]),
        ("delta first", vec![config.clone(), inter(0)]),
        ("back in time", vec![config.clone(), key(40), inter(0)]),
        ("media behind the end", vec![config.clone(), key(0), tag(VIDEO, 0, &[0x17, 2, 0, 0, 0]), key(40)]),
        ("empty", vec![tag(AUDIO, 0, &[])]),
    ] {
        assert!(std::panic::catch_unwind(|| check(&tags)).is_err(), "{what} was not found");
    }
    let mut flv = b"FLV\x01\x01\0\0\0\x09\0\0\0\0\x09\0\0\x02\0\0\0\0\0\0\0\x17\0\0\0\0\x0d".to_vec();
    assert_eq!(flv_tags(&flv).len(), 1);
    flv[29] = 12;
    assert!(std::panic::catch_unwind(|| flv_tags(&flv)).is_err(), "a wrong trailer was not found");
}
