//! A publisher of numbered frames, and the audit of what a subscriber got of them.
//!
//! Every frame's body follows from its number, so a subscriber can be held to exact bytes, exact counts and exact order.

use super::checker::{AUDIO, Checker, Class, Tag, VIDEO, parts};
use super::http::FlvPlayer;
use super::rtmp::{Client, Refused};
use super::server::Server;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Video frames a second; 0 publishes no video.
    pub fps: u32,
    /// Frames from keyframe to keyframe.
    pub gop: u32,
    /// Body bytes of a keyframe and of another frame.
    pub key_bytes: usize,
    pub inter_bytes: usize,
    /// Whether AAC goes along (1024 samples at 48 kHz a frame).
    pub audio: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { fps: 25, gop: 10, key_bytes: 6000, inter_bytes: 900, audio: true }
    }
}

/// avcC of a 320x180 High profile stream at 25 fps.
const AVC_CONFIG: &str = "0164000cffe1001a6764000cacd941419f9f0110000003001000000303\
                          20f1429960010004 68ef8fcbfdf8f800";
/// AudioSpecificConfig: AAC-LC, 48 kHz, stereo.
const AAC_CONFIG: [u8; 2] = [0x11, 0x90];

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The parameter sets that a [`Publisher`] announces, SPS and PPS.
pub fn parameter_sets() -> [Vec<u8>; 2] {
    let record = unhex(AVC_CONFIG);
    // Eight bytes in front of an SPS of 26; count and length; a PPS of four.
    [record[8..34].to_vec(), record[37..41].to_vec()]
}

/// Bytes in front of the number in a video and in an audio body.
const VIDEO_HEAD: usize = 10;
const AUDIO_HEAD: usize = 2;
const AUDIO_BYTES: usize = 180;

impl Shape {
    /// About 1.3 MB/s: more than the sockets of a slow viewer hold in a second.
    pub const FAT: Shape = Shape { fps: 25, gop: 10, key_bytes: 150_000, inter_bytes: 40_000, audio: false };

    fn is_key(&self, number: u32) -> bool {
        number.is_multiple_of(self.gop)
    }

    /// Body of video frame `number`: tag header, one NAL unit, the number, filling.
    pub fn video(&self, number: u32) -> Vec<u8> {
        let key = self.is_key(number);
        let len = if key { self.key_bytes } else { self.inter_bytes };
        let mut body = vec![number as u8; len.max(VIDEO_HEAD + 4)];
        let nal = (body.len() - 9) as u32;
        body[..5].copy_from_slice(&[if key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
        body[5..9].copy_from_slice(&nal.to_be_bytes());
        body[9] = if key { 0x65 } else { 0x41 };
        body[VIDEO_HEAD..VIDEO_HEAD + 4].copy_from_slice(&number.to_be_bytes());
        body
    }

    /// Body of audio frame `number`.
    pub fn sound(&self, number: u32) -> Vec<u8> {
        let mut body = vec![number as u8; AUDIO_BYTES];
        body[..2].copy_from_slice(&[0xaf, 1]);
        body[AUDIO_HEAD..AUDIO_HEAD + 4].copy_from_slice(&number.to_be_bytes());
        body
    }
}

/// A connection that publishes.
#[derive(Debug)]
pub struct Publisher {
    pub client: Client,
    pub shape: Shape,
    /// Time of frame 0.
    pub base_ms: u32,
    /// Numbers of the next frames.
    pub video: u32,
    pub audio: u32,
}

impl Publisher {
    /// Connects, publishes `live/NAME` and sends both configurations.
    pub fn start(server: &Server, name: &str, shape: Shape) -> Publisher {
        Self::on(Client::connect(server.rtmp, "live", &[]), name, shape)
    }

    /// Like [`Publisher::start`], on a connection of the caller's.
    pub fn on(client: Client, name: &str, shape: Shape) -> Publisher {
        Self::try_on(client, name, shape).unwrap_or_else(|refused| panic!("publish {name}: {refused:?}"))
    }

    /// Like [`Publisher::on`], with the refusal as a value.
    pub fn try_on(mut client: Client, name: &str, shape: Shape) -> Result<Publisher, Refused> {
        client.publish(name)?;
        let mut publisher = Publisher { client, shape, base_ms: 0, video: 0, audio: 0 };
        publisher.configure();
        Ok(publisher)
    }

    /// Goes on where another left off, so that an audit can follow: audio with its next number, video with the number
    /// of its next keyframe.
    pub fn follow(&mut self, other: &Publisher) {
        (self.video, self.audio) = (other.video.next_multiple_of(self.shape.gop), other.audio);
    }

    /// Sends both sequence headers.
    pub fn configure(&mut self) {
        let base = self.base_ms;
        if self.shape.fps > 0 {
            let config = [&[0x17, 0, 0, 0, 0][..], &unhex(AVC_CONFIG)].concat();
            self.client.send(6, VIDEO, 1, base, &config).expect("video configuration");
        }
        if self.shape.audio {
            self.client
                .send(4, AUDIO, 1, base, &[&[0xaf, 0][..], &AAC_CONFIG].concat())
                .expect("audio configuration");
        }
    }

    /// Stream time of the frame that comes next, from frame 0.
    fn due_ms(&self) -> u32 {
        let video = self.video_ms();
        let audio = self.audio_ms();
        match (self.shape.fps > 0, self.shape.audio) {
            (true, true) => video.min(audio),
            (true, false) => video,
            _ => audio,
        }
    }

    fn video_ms(&self) -> u32 {
        self.video * 1000 / self.shape.fps.max(1)
    }

    fn audio_ms(&self) -> u32 {
        (u64::from(self.audio) * 1024 / 48) as u32
    }

    /// Sends the next frame, audio or video, whichever is due first.
    pub fn step(&mut self) -> std::io::Result<()> {
        let due = self.due_ms();
        let time = self.base_ms.wrapping_add(due);
        if self.shape.fps > 0 && due == self.video_ms() {
            let body = self.shape.video(self.video);
            self.video += 1;
            return self.client.send(6, VIDEO, 1, time, &body);
        }
        let body = self.shape.sound(self.audio);
        self.audio += 1;
        self.client.send(4, AUDIO, 1, time, &body)
    }

    /// Sends frames as fast as they go until video frame (without video: audio frame) `number` is next.
    pub fn burst_until(&mut self, number: u32) {
        while (if self.shape.fps > 0 { self.video } else { self.audio }) < number {
            self.step().expect("publish");
        }
    }

    /// Like [`Publisher::burst_until`], and then waits until `viewer` has seen the last picture: who asks for the stream
    /// now finds all of it.
    pub fn burst_before(&mut self, viewer: &mut FlvPlayer, number: u32) {
        self.burst_until(number);
        let last = (number - 1) * 1000 / self.shape.fps;
        let seen = |tag: Tag| tag.kind == VIDEO && tag.time_ms >= last;
        while !seen(viewer.tag().expect("media")) {}
    }

    /// The same, before a viewer that leaves again.
    pub fn burst_and_see(&mut self, server: &Server, name: &str, number: u32) {
        // It is not answered before there is something to see.
        self.burst_until(number);
        self.burst_before(&mut FlvPlayer::open(server.http, &format!("/live/{name}.flv")), number);
    }

    /// Sends frames at their rhythm until `done`; the rhythm is the publisher's clock, not a wait of the test.
    pub fn run_until(&mut self, done: impl Fn(&Publisher) -> bool) {
        self.try_run_until(done).expect("publish");
    }

    /// Sends frames at their rhythm until the flag rises or the connection ends.
    pub fn run_while_it_can(&mut self, stop: &AtomicBool) {
        // How it ended is for the server to say.
        let _end = self.try_run_until(|_| stop.load(Ordering::Relaxed));
    }

    fn try_run_until(&mut self, done: impl Fn(&Publisher) -> bool) -> std::io::Result<()> {
        let start = Instant::now() - Duration::from_millis(self.due_ms().into());
        while !done(self) {
            let due = Duration::from_millis(self.due_ms().into());
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            self.step()?;
        }
        Ok(())
    }

    /// Sends the sound that belongs in front of the next video frame.
    pub fn sound_up_to_video(&mut self) {
        while self.shape.audio && self.audio_ms() < self.video_ms() {
            self.step().expect("publish");
        }
    }

    /// Runs in its own thread until the flag rises; then ends properly and returns itself.
    pub fn run_beside<'scope>(
        mut self,
        scope: &'scope std::thread::Scope<'scope, '_>,
        stop: &'scope AtomicBool,
    ) -> std::thread::ScopedJoinHandle<'scope, Publisher> {
        scope.spawn(move || {
            self.run_until(|_| stop.load(Ordering::Relaxed));
            self.finish();
            self
        })
    }

    /// Unpublishes as encoders do.
    pub fn finish(&mut self) {
        use super::amf::Value;
        self.client.command(0, "FCUnpublish", 6.0, &[Value::Null, Value::text("s")]);
        self.client.command(0, "deleteStream", 7.0, &[Value::Null, Value::Number(1.0)]);
    }
}

/// Raises a flag at the end of a scope, also when the test fails: a thread that waits for it would hang otherwise.
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Numbers of one kind that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    pub first: u32,
    pub last: u32,
    pub count: u32,
    /// Places where numbers are missing.
    pub gaps: u32,
}

impl Run {
    fn take(&mut self, number: u32) -> bool {
        let gap = self.count > 0 && number != self.last + 1;
        assert!(self.count == 0 || number > self.last, "frame {number} came behind {}", self.last);
        if self.count == 0 {
            self.first = number;
        }
        self.gaps += u32::from(gap);
        self.last = number;
        self.count += 1;
        gap
    }

    /// Whether everything from `first` to `last` came.
    pub fn is_gapless(&self) -> bool {
        self.count > 0 && self.count == self.last - self.first + 1
    }
}

/// What one subscriber got: exact bytes, numbers in order, video resumed at keyframes only.
#[derive(Debug)]
pub struct Audit {
    shape: Shape,
    pub checker: Checker,
    pub video: Run,
    pub audio: Run,
    /// Where video is missing: the last frame in front, the first behind, and its stream time.
    pub missing: Vec<(u32, u32, u32)>,
}

impl Audit {
    pub fn new(shape: Shape) -> Audit {
        Audit {
            shape,
            checker: Checker::default(),
            video: Run::default(),
            audio: Run::default(),
            missing: Vec::new(),
        }
    }

    /// The audit of a whole sequence.
    pub fn of(shape: Shape, tags: &[Tag]) -> Audit {
        let mut audit = Audit::new(shape);
        tags.iter().for_each(|tag| audit.tag(tag));
        audit
    }

    /// Takes the next tag.
    pub fn tag(&mut self, tag: &Tag) {
        self.checker.tag(tag);
        let number = |head: usize| u32::from_be_bytes(tag.body[head..head + 4].try_into().unwrap());
        match parts(tag).first().map(|part| part.class) {
            Some(Class::Key | Class::Inter) => {
                let number = number(VIDEO_HEAD);
                assert!(tag.body == self.shape.video(number), "video frame {number} differs");
                let last = self.video.last;
                let gap = self.video.take(number);
                if gap {
                    self.missing.push((last, number, tag.time_ms));
                }
                assert!(!gap || self.shape.is_key(number), "a gap ends at frame {number}, not at a keyframe");
            }
            Some(Class::Sound) => {
                let number = number(AUDIO_HEAD);
                assert!(tag.body == self.shape.sound(number), "audio frame {number} differs");
                self.audio.take(number);
            }
            _ => {}
        }
    }

    /// A gapless run from a keyframe to the publisher's last frame, of everything it published.
    pub fn assert_complete(&self, publisher: &Publisher) {
        self.assert_reaches(publisher.video, publisher.audio);
    }

    /// The same, for who published these numbers of frames.
    fn assert_reaches(&self, video: u32, audio: u32) {
        if self.shape.fps > 0 {
            assert!(self.video.is_gapless(), "video {:?}, missing {:?}", self.video, self.missing);
            assert!(self.shape.is_key(self.video.first), "starts at frame {}", self.video.first);
            assert_eq!(self.video.last + 1, video, "last video frame");
        }
        if self.shape.audio {
            assert!(self.audio.is_gapless(), "audio {:?}", self.audio);
            assert_eq!(self.audio.last + 1, audio, "last audio frame");
        }
    }
}

#[test]
fn an_audit_that_cannot_fail_checks_nothing() {
    /// Frames of each kind: two groups of pictures and a half.
    const FRAMES: u32 = 25;
    type Change<'a> = &'a dyn Fn(&mut Vec<Tag>);
    let shape = Shape::default();
    let config = |kind, body: &[u8]| Tag { kind, time_ms: 0, body: body.to_vec() };
    let configs = [config(VIDEO, &[0x17, 0, 0, 0, 0, 1]), config(AUDIO, &[0xaf, 0, 0x11, 0x90])];
    let frame = |number: u32| {
        let tag = |kind, body| Tag { kind, time_ms: number * 40, body };
        [tag(VIDEO, shape.video(number)), tag(AUDIO, shape.sound(number))]
    };
    // Behind the configurations, picture and sound in turn.
    let (picture, sound) = (|number: usize| 2 + 2 * number, |number: usize| 3 + 2 * number);
    let all: Vec<Tag> = configs.into_iter().chain((0..FRAMES).flat_map(frame)).collect();
    let passes = |change: Change<'_>| {
        let mut tags = all.clone();
        change(&mut tags);
        let audit = || Audit::of(shape, &tags).assert_reaches(FRAMES, FRAMES);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(audit)).is_ok()
    };
    assert!(passes(&|_| {}));
    assert!(passes(&|tags| drop(tags.drain(picture(0)..picture(10)))), "who comes later");
    let remove = |at: usize| move |tags: &mut Vec<Tag>| drop(tags.remove(at));
    let alter = |at: usize| move |tags: &mut Vec<Tag>| *tags[at].body.last_mut().unwrap() ^= 1;
    let repeat = |at: usize| move |tags: &mut Vec<Tag>| tags.insert(at, tags[at].clone());
    let rows: [(&str, Change<'_>); 14] = [
        ("a picture is missing", &remove(picture(5))),
        ("the one in front of a keyframe is missing", &remove(picture(9))),
        ("the last picture is missing", &remove(picture(24))),
        ("a sound is missing", &remove(sound(5))),
        ("the last sound is missing", &remove(sound(24))),
        ("a picture is altered", &alter(picture(5))),
        ("a sound is altered", &alter(sound(5))),
        ("a picture comes twice", &repeat(picture(5))),
        ("a sound comes twice", &repeat(sound(5))),
        ("pictures change places", &|tags| tags.swap(picture(5), picture(6))),
        ("it begins in the middle of a group", &|tags| drop(tags.drain(picture(0)..picture(5)))),
        ("it ends a frame later than it was published", &|tags| tags.extend(frame(FRAMES))),
        ("there is no picture", &|tags| tags.retain(|tag| tag.kind != VIDEO)),
        ("there is no sound", &|tags| tags.retain(|tag| tag.kind != AUDIO)),
    ];
    for (what, change) in rows {
        assert!(!passes(change), "{what}, and was not found");
    }
}
