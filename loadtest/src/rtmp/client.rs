//! A client's conversation: simple handshake, connect, createStream, then publish or play (RTMP 1.0, sections 5.2 and 7.2).
//!
//! Bytes in, bytes out; no socket. Answers are waited for before the next command, as players do.

use super::chunk::{self, Broken, CHUNK_SIZE, Message};
use crate::amf::{self, Value};
use crate::media::{AAC_CONFIG, AVC_CONFIG, Profile, TYPE_AUDIO, TYPE_VIDEO};
use crate::meter::Incoming;
use crate::target::Target;

/// What the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Send a stream.
    Publish,
    /// Receive one.
    Play,
}

/// Why a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The server broke the protocol.
    Broken(&'static str),
    /// The server said no, with this code.
    Refused(String),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken.0)
    }
}

const C1_LEN: usize = 1536;
/// S0, S1 and S2.
const SERVER_HANDSHAKE_LEN: usize = 1 + 2 * C1_LEN;
/// The stream of createStream's answer, in commands that refer to it.
const CSID_CONTROL: u8 = 2;
const CSID_COMMAND: u8 = 3;
/// Chunk streams of media, as encoders use them.
const CSID_AUDIO: u8 = 4;
const CSID_VIDEO: u8 = 6;
/// How much a player says it buffers.
const BUFFER_MS: u32 = 1000;

#[derive(Debug)]
enum Stage {
    Handshake(Vec<u8>),
    Connecting,
    Creating,
    Starting,
    Live,
}

/// One client.
#[derive(Debug)]
pub struct Client {
    dialog: Dialog,
    reader: chunk::Reader,
}

/// Everything but the chunk reader, so that the reader can call into it.
#[derive(Debug)]
struct Dialog {
    role: Role,
    app: String,
    name: String,
    tc_url: String,
    stage: Stage,
    stream_id: u32,
    out: Vec<u8>,
    received: u64,
    acknowledged: u64,
    window: u64,
}

impl Client {
    /// A client of `target` whose first bytes already wait in [`Self::take_output`]; `verify` hashes media payload.
    pub fn new(role: Role, target: &Target, verify: bool) -> Self {
        let (app, name) = target.app_and_name();
        let mut out = vec![3];
        out.resize(1 + 8, 0);
        out.extend((0..C1_LEN - 8).map(|i| (i * 31 % 251) as u8));
        let dialog = Dialog {
            role,
            app: app.to_owned(),
            name: name.to_owned(),
            tc_url: format!("rtmp://{}/{app}", target.authority),
            stage: Stage::Handshake(Vec::new()),
            stream_id: 1,
            out,
            received: 0,
            acknowledged: 0,
            window: u64::MAX,
        };
        Self { dialog, reader: chunk::Reader::new(verify) }
    }

    /// Takes in bytes; `on_media` gets every audio and video message.
    pub fn input(&mut self, bytes: &[u8], mut on_media: impl FnMut(&Incoming)) -> Result<(), Failure> {
        let bytes = self.dialog.handshake(bytes)?;
        let dialog = &mut self.dialog;
        dialog.received += bytes.len() as u64;
        self.reader.input(bytes, |message| match message {
            Message::Media(media) => {
                on_media(media);
                Ok(())
            }
            Message::Other(kind, body) => dialog.control(kind, body),
        })?;
        if dialog.received - dialog.acknowledged >= dialog.window {
            dialog.acknowledged = dialog.received;
            dialog.send(CSID_CONTROL, 3, 0, &(dialog.received as u32).to_be_bytes());
        }
        Ok(())
    }

    /// Whether the server agreed to publish or play.
    pub fn is_live(&self) -> bool {
        matches!(self.dialog.stage, Stage::Live)
    }

    /// Moves what wants to be sent to the end of `out`.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.dialog.out);
    }

    /// Whether anything wants to be sent.
    pub fn has_output(&self) -> bool {
        !self.dialog.out.is_empty()
    }

    /// Appends what a publisher sends before its frames: metadata and sequence headers.
    pub fn write_preface(&self, out: &mut Vec<u8>, profile: &Profile) {
        let number = |key: &str, value| (key.to_owned(), Value::Number(value));
        let mut fields = Vec::new();
        if profile.fps > 0.0 {
            fields.extend([
                number("width", 1280.0),
                number("height", 720.0),
                number("framerate", profile.fps),
            ]);
            fields.push(number("videocodecid", 7.0));
        }
        if profile.audio_fps > 0.0 {
            fields.extend([number("audiocodecid", 10.0), number("audiosamplerate", 48000.0)]);
        }
        let mut body = Vec::new();
        for value in
            [Value::Text("@setDataFrame".into()), Value::Text("onMetaData".into()), Value::Object(fields)]
        {
            amf::write(&mut body, &value);
        }
        chunk::write(out, CSID_AUDIO, 18, self.dialog.stream_id, 0, &body, CHUNK_SIZE);
        if profile.fps > 0.0 {
            self.write_media(out, TYPE_VIDEO, 0, AVC_CONFIG);
        }
        if profile.audio_fps > 0.0 {
            self.write_media(out, TYPE_AUDIO, 0, AAC_CONFIG);
        }
    }

    /// Appends an audio or video message.
    pub fn write_media(&self, out: &mut Vec<u8>, kind: u8, timestamp_ms: u32, payload: &[u8]) {
        let csid = if kind == TYPE_AUDIO { CSID_AUDIO } else { CSID_VIDEO };
        chunk::write(out, csid, kind, self.dialog.stream_id, timestamp_ms, payload, CHUNK_SIZE);
    }
}

impl Dialog {
    /// Consumes handshake bytes; returns those behind it.
    fn handshake<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Failure> {
        let Stage::Handshake(got) = &mut self.stage else { return Ok(bytes) };
        let n = bytes.len().min(SERVER_HANDSHAKE_LEN - got.len());
        got.extend_from_slice(&bytes[..n]);
        if got.first().is_some_and(|&version| version != 3) {
            return Err(Failure::Broken("the handshake is not RTMP's"));
        }
        if got.len() == SERVER_HANDSHAKE_LEN {
            // C2 echoes S1.
            self.out.extend_from_slice(&got[1..1 + C1_LEN]);
            self.stage = Stage::Connecting;
            self.connect();
        }
        Ok(&bytes[n..])
    }

    fn send(&mut self, csid: u8, kind: u8, stream_id: u32, body: &[u8]) {
        chunk::write(&mut self.out, csid, kind, stream_id, 0, body, CHUNK_SIZE);
    }

    fn command(&mut self, stream_id: u32, values: &[Value]) {
        let mut body = Vec::new();
        values.iter().for_each(|value| amf::write(&mut body, value));
        self.send(CSID_COMMAND, 20, stream_id, &body);
    }

    fn connect(&mut self) {
        self.send(CSID_CONTROL, 1, 0, &(CHUNK_SIZE as u32).to_be_bytes());
        let text = |key: &str, value: &str| (key.to_owned(), Value::Text(value.to_owned()));
        let mut fields = vec![text("app", &self.app)];
        if self.role == Role::Publish {
            fields.push(text("type", "nonprivate"));
        }
        fields.extend([text("flashVer", "LNX 9,0,124,2"), text("tcUrl", &self.tc_url)]);
        self.command(0, &[Value::Text("connect".into()), Value::Number(1.0), Value::Object(fields)]);
    }

    fn control(&mut self, kind: u8, body: &[u8]) -> Result<(), Failure> {
        match (kind, body) {
            (5, &[a, b, c, d]) => self.window = u64::from(u32::from_be_bytes([a, b, c, d])).max(1),
            (4, &[0, 6, ref time @ ..]) => {
                let pong = [&[0, 7], time].concat();
                self.send(CSID_CONTROL, 4, 0, &pong);
            }
            (17, [0, rest @ ..]) => return self.answer(&amf::read_all(rest)),
            (20, body) => return self.answer(&amf::read_all(body)),
            _ => {}
        }
        Ok(())
    }

    fn answer(&mut self, values: &[Value]) -> Result<(), Failure> {
        let [Value::Text(name), Value::Number(transaction), rest @ ..] = values else { return Ok(()) };
        match (name.as_str(), &self.stage) {
            ("_error", _) => return Err(refused(rest)),
            ("_result", Stage::Connecting) if *transaction == 1.0 => {
                self.stage = Stage::Creating;
                self.command(0, &[Value::Text("createStream".into()), Value::Number(2.0), Value::Null]);
            }
            ("_result", Stage::Creating) if *transaction == 2.0 => {
                let Some(Value::Number(id)) = rest.get(1) else {
                    return Err(Failure::Broken("createStream's answer has no stream id"));
                };
                self.stream_id = *id as u32;
                self.stage = Stage::Starting;
                self.start();
            }
            ("onStatus", stage) => {
                let level = rest.iter().find_map(|v| v.text_field("level"));
                let code = rest.iter().find_map(|v| v.text_field("code")).unwrap_or_default();
                if level == Some("error") {
                    return Err(refused(rest));
                }
                let starts = matches!(code, "NetStream.Publish.Start" | "NetStream.Play.Start");
                if starts && matches!(stage, Stage::Starting) {
                    self.stage = Stage::Live;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self) {
        let name = Value::Text(self.name.clone());
        let (id, tx) = (self.stream_id, Value::Number(3.0));
        if self.role == Role::Publish {
            let kind = Value::Text("live".into());
            return self.command(id, &[Value::Text("publish".into()), tx, Value::Null, name, kind]);
        }
        self.command(id, &[Value::Text("play".into()), tx, Value::Null, name, Value::Number(-1000.0)]);
        let buffer = [&[0, 3], &id.to_be_bytes()[..], &BUFFER_MS.to_be_bytes()].concat();
        self.send(CSID_CONTROL, 4, 0, &buffer);
    }
}

fn refused(values: &[Value]) -> Failure {
    let code = values.iter().find_map(|v| v.text_field("code")).unwrap_or("without a code");
    Failure::Refused(code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(tx_id: f64) -> Vec<Vec<u8>> {
        let command = |values: &[Value]| {
            let (mut body, mut out) = (Vec::new(), Vec::new());
            values.iter().for_each(|v| amf::write(&mut body, v));
            chunk::write(&mut out, 3, 20, 0, 0, &body, 128);
            out
        };
        let info = |level: &str, code: &str| {
            Value::Object(vec![
                ("level".into(), Value::Text(level.into())),
                ("code".into(), Value::Text(code.into())),
            ])
        };
        let mut handshake = vec![3];
        handshake.resize(SERVER_HANDSHAKE_LEN, 7);
        let text = |t: &str| Value::Text(t.into());
        vec![
            handshake,
            command(&[text("_result"), Value::Number(1.0), Value::Null, info("status", "ok")]),
            command(&[text("_result"), Value::Number(2.0), Value::Null, Value::Number(tx_id)]),
            command(&[
                text("onStatus"),
                Value::Number(0.0),
                Value::Null,
                info("status", "NetStream.Play.Start"),
            ]),
            command(&[
                text("onStatus"),
                Value::Number(0.0),
                Value::Null,
                info("error", "NetStream.Play.StreamNotFound"),
            ]),
        ]
    }

    #[test]
    fn a_player_waits_for_each_answer_and_then_is_live() {
        let target = "rtmp://h/live/s".parse().unwrap();
        let mut client = Client::new(Role::Play, &target, false);
        let mut out = Vec::new();
        for (i, bytes) in server(5.0)[..4].iter().enumerate() {
            out.clear();
            client.take_output(&mut out);
            assert!(!out.is_empty(), "step {i} sends something");
            assert!(!client.is_live());
            // Byte by byte, so that every state is cut.
            bytes.iter().for_each(|b| client.input(&[*b], |_| panic!("no media")).unwrap());
        }
        assert!(client.is_live());
        assert_eq!(client.dialog.stream_id, 5);
        assert_eq!(
            client.input(&server(5.0)[4], |_| ()),
            Err(Failure::Refused("NetStream.Play.StreamNotFound".into()))
        );
    }

    #[test]
    fn acknowledges_a_window_and_answers_a_ping() {
        let target = "rtmp://h/live/s".parse().unwrap();
        let mut client = Client::new(Role::Play, &target, false);
        client.input(&server(1.0)[0], |_| ()).unwrap();
        client.take_output(&mut Vec::new());
        let mut wire = Vec::new();
        chunk::write(&mut wire, 2, 5, 0, 0, &20u32.to_be_bytes(), 128);
        chunk::write(&mut wire, 2, 4, 0, 0, &[0, 6, 1, 2, 3, 4], 128);
        client.input(&wire, |_| ()).unwrap();
        let mut out = Vec::new();
        client.take_output(&mut out);
        let mut kinds = Vec::new();
        let mut reader = chunk::Reader::new(false);
        let seen = reader.input(&out, |m| {
            if let Message::Other(kind, body) = m {
                kinds.push((kind, body.to_vec()));
            }
            Ok::<_, Broken>(())
        });
        assert_eq!(seen, Ok(()));
        assert_eq!(kinds, [(4, vec![0, 7, 1, 2, 3, 4]), (3, (wire.len() as u32).to_be_bytes().to_vec())]);
    }
}
