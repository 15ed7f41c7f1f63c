//! A small RTMP client: handshake, chunks, commands. Independent of `src/`.
//!
//! It speaks like a careful encoder or player: simple handshake, full (type 0) message headers, type 3 continuations
//! that repeat an extended timestamp. As a reader it takes every header form.

use super::amf::{self, Value};
use super::checker::Tag;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a single answer may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Chunk size the client announces for what it sends.
const CHUNK: usize = 4096;

/// A message as it came off the chunk stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub kind: u8,
    pub stream: u32,
    pub time_ms: u32,
    pub body: Vec<u8>,
}

impl Message {
    /// The command's or data message's values.
    pub fn values(&self) -> Vec<Value> {
        let body = if self.kind == 17 { self.body.get(1..).unwrap_or_default() } else { &self.body };
        amf::decode(body).unwrap_or_default()
    }

    /// The `code` of an `onStatus` or of a `_result`/`_error` info object, with its level.
    pub fn status(&self) -> Option<(String, String)> {
        if self.kind != 20 {
            return None;
        }
        Some((self.info("code")?, self.info("level").unwrap_or_default()))
    }

    /// A text of the object that has the `code`.
    pub fn info(&self, key: &str) -> Option<String> {
        let values = self.values();
        let info = values.iter().rev().find(|value| value.get("code").is_some())?;
        Some(info.get(key).and_then(Value::as_text).unwrap_or_default().to_owned())
    }

    /// The message as a tag, if it is media or script data.
    pub fn tag(&self) -> Option<Tag> {
        matches!(self.kind, 8 | 9 | 18).then(|| Tag {
            kind: self.kind,
            time_ms: self.time_ms,
            body: self.body.clone(),
        })
    }
}

/// State of one chunk stream.
#[derive(Clone, Debug, Default)]
struct Chunks {
    time_ms: u32,
    delta_ms: u32,
    field: u32,
    len: usize,
    kind: u8,
    stream: u32,
    extended: bool,
    body: Vec<u8>,
}

/// Cuts the bytes of a peer into messages.
#[derive(Debug)]
pub struct ChunkReader {
    bytes: Vec<u8>,
    streams: HashMap<u32, Chunks>,
    chunk: usize,
    /// Type 3 chunks that carried an extended timestamp: proof for tests that reach 4 h 40.
    pub extended_continuations: usize,
}

impl ChunkReader {
    fn new() -> Self {
        Self { bytes: Vec::new(), streams: HashMap::new(), chunk: 128, extended_continuations: 0 }
    }

    /// The next complete message among the bytes so far.
    fn next(&mut self) -> Option<Message> {
        loop {
            let message = self.chunk()?;
            if let Some(message) = message {
                if message.kind == 1 {
                    self.chunk = u32::from_be_bytes(message.body[..4].try_into().unwrap()) as usize;
                    assert!(self.chunk > 0 && self.chunk < 1 << 31, "chunk size {}", self.chunk);
                }
                return Some(message);
            }
        }
    }

    /// Takes one chunk: `None` if it is incomplete, `Some(None)` if it does not end a message.
    fn chunk(&mut self) -> Option<Option<Message>> {
        let bytes = &self.bytes;
        let first = *bytes.first()?;
        let (form, mut at) = (first >> 6, 1);
        let id = match first & 63 {
            0 => {
                at = 2;
                64 + u32::from(*bytes.get(1)?)
            }
            1 => {
                at = 3;
                64 + u32::from(*bytes.get(1)?) + 256 * u32::from(*bytes.get(2)?)
            }
            id => u32::from(id),
        };
        let mut state = self.streams.get(&id).cloned().unwrap_or_default();
        let known = self.streams.contains_key(&id);
        assert!(form == 0 || known, "chunk stream {id} starts with header type {form}");
        let begins = state.body.is_empty();
        assert!(form == 3 || begins, "a new header inside a message on chunk stream {id}");
        let be = |slice: &[u8]| slice.iter().fold(0u32, |n, &b| n << 8 | u32::from(b));
        if form < 3 {
            state.field = be(bytes.get(at..at + 3)?);
            state.extended = state.field == 0xFF_FFFF;
            at += 3;
        }
        if form < 2 {
            state.len = be(bytes.get(at..at + 3)?) as usize;
            state.kind = *bytes.get(at + 3)?;
            at += 4;
        }
        if form == 0 {
            state.stream = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
            at += 4;
        }
        let mut continued = false;
        if state.extended {
            let time = be(bytes.get(at..at + 4)?);
            at += 4;
            if form < 3 {
                state.field = time;
            } else {
                assert_eq!(time, state.field, "type 3 chunks repeat the extended timestamp");
                continued = true;
            }
        }
        if begins {
            match form {
                0 => (state.time_ms, state.delta_ms) = (state.field, 0),
                3 => state.time_ms = state.time_ms.wrapping_add(state.delta_ms),
                _ => {
                    state.delta_ms = state.field;
                    state.time_ms = state.time_ms.wrapping_add(state.delta_ms);
                }
            }
        }
        let take = (state.len - state.body.len()).min(self.chunk);
        state.body.extend(bytes.get(at..at + take)?);
        self.bytes.drain(..at + take);
        self.extended_continuations += usize::from(continued && !begins);
        let done = state.body.len() == state.len;
        let message = done.then(|| Message {
            kind: state.kind,
            stream: state.stream,
            time_ms: state.time_ms,
            body: std::mem::take(&mut state.body),
        });
        self.streams.insert(id, state);
        Some(message)
    }
}

/// Why a client was turned away.
#[derive(Debug, PartialEq)]
pub struct Refused {
    /// Status code, or `closed` when the connection just ended.
    pub code: String,
    /// What it says to people.
    pub description: String,
}

/// A connection to an RTMP server.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    pub reader: ChunkReader,
    received: u64,
    acknowledged: u64,
    window: u64,
    app: String,
}

impl Client {
    /// Connects, shakes hands and waits for NetConnection.Connect.Success. `more` is added to the command object.
    pub fn connect(addr: SocketAddr, app: &str, more: &[(&str, Value)]) -> Client {
        Self::try_connect(addr, app, more).unwrap_or_else(|refused| panic!("connect to {app}: {refused:?}"))
    }

    /// Like [`Client::connect`], with the refusal as a value.
    pub fn try_connect(addr: SocketAddr, app: &str, more: &[(&str, Value)]) -> Result<Client, Refused> {
        Self::over(TcpStream::connect(addr).expect("connect"), app, more)
    }

    /// Like [`Client::try_connect`], on a socket of the caller's.
    pub fn over(mut socket: TcpStream, app: &str, more: &[(&str, Value)]) -> Result<Client, Refused> {
        let addr = socket.peer_addr().expect("a connected socket");
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut hello = vec![3];
        hello.extend([0; 8]);
        hello.extend((0..1528u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
        socket.write_all(&hello).unwrap();
        let mut answer = vec![0; 1 + 1536 + 1536];
        socket.read_exact(&mut answer).expect("S0 S1 S2");
        assert_eq!(answer[0], 3, "S0");
        assert_eq!(answer[1537 + 8..], hello[1 + 8..], "S2 echoes C1");
        socket.write_all(&answer[1..1537]).unwrap();
        let (reader, app) = (ChunkReader::new(), app.to_owned());
        let mut client = Client { socket, reader, received: 0, acknowledged: 0, window: u64::MAX, app };
        let size = (CHUNK as u32).to_be_bytes();
        client.send_chunked(2, 1, 0, 0, &size, 128).unwrap();
        let mut fields = vec![
            ("app".to_owned(), Value::text(&client.app)),
            ("flashVer".to_owned(), Value::text("LNX 9,0,124,2")),
            ("tcUrl".to_owned(), Value::Text(format!("rtmp://{addr}/{}", client.app))),
        ];
        fields.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        client.command(0, "connect", 1.0, &[Value::Object(fields)]);
        client.await_status(|code| code == "NetConnection.Connect.Success")?;
        Ok(client)
    }

    /// Sends a command on the message stream.
    pub fn command(&mut self, stream: u32, name: &str, transaction: f64, arguments: &[Value]) {
        let mut values = vec![Value::text(name), Value::Number(transaction)];
        values.extend(arguments.iter().cloned());
        self.send(3, 20, stream, 0, &amf::encode(&values)).expect("send a command");
    }

    /// Sends a message in chunks of the announced size.
    pub fn send(&mut self, csid: u8, kind: u8, stream: u32, time_ms: u32, body: &[u8]) -> io::Result<()> {
        self.send_chunked(csid, kind, stream, time_ms, body, CHUNK)
    }

    fn send_chunked(
        &mut self,
        csid: u8,
        kind: u8,
        stream: u32,
        time_ms: u32,
        body: &[u8],
        chunk: usize,
    ) -> io::Result<()> {
        let long = time_ms >= 0xFF_FFFF;
        let extended = if long { time_ms.to_be_bytes().to_vec() } else { Vec::new() };
        let mut out = vec![csid];
        out.extend(&if long { 0xFF_FFFF } else { time_ms }.to_be_bytes()[1..]);
        out.extend(&(body.len() as u32).to_be_bytes()[1..]);
        out.push(kind);
        out.extend(stream.to_le_bytes());
        out.extend(&extended);
        for (n, piece) in body.chunks(chunk).enumerate() {
            if n > 0 {
                out.push(0xC0 | csid);
                out.extend(&extended);
            }
            out.extend(piece);
        }
        self.socket.write_all(&out)
    }

    /// The next message; `Ok(None)` when the server closed the connection. Answers pings and acknowledges.
    pub fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.reader.next() {
                match message.kind {
                    4 if message.body.starts_with(&[0, 6]) => {
                        let pong = [&[0, 7], &message.body[2..]].concat();
                        self.send(2, 4, 0, 0, &pong)?;
                    }
                    5 => self.window = u64::from(u32::from_be_bytes(message.body[..4].try_into().unwrap())),
                    _ => {}
                }
                return Ok(Some(message));
            }
            let mut buffer = [0; 64 << 10];
            let len = match self.socket.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                other => other?,
            };
            self.reader.bytes.extend(&buffer[..len]);
            self.received += len as u64;
            if self.received - self.acknowledged >= self.window {
                self.acknowledged = self.received;
                self.send(2, 3, 0, 0, &(self.received as u32).to_be_bytes())?;
            }
        }
    }

    /// Waits for a status that `wanted` accepts; any status of level error, and the end, is a refusal.
    pub fn await_status(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String, Refused> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.receive() {
                Ok(Some(message)) => match message.status() {
                    Some((code, _)) if wanted(&code) => return Ok(code),
                    Some((code, level)) if level == "error" => {
                        let description = message.info("description").unwrap_or_default();
                        return Err(Refused { code, description });
                    }
                    _ => {}
                },
                Ok(None) => {
                    return Err(Refused { code: "closed".to_owned(), description: String::new() });
                }
                Err(error) => panic!("waiting for a status: {error}"),
            }
        }
        panic!("no status came within {PATIENCE:?}");
    }

    /// createStream; the server's answer is stream 1.
    pub fn create_stream(&mut self) {
        self.command(0, "createStream", 4.0, &[Value::Null]);
        loop {
            let message = self.receive().expect("createStream").expect("open connection");
            let values = message.values();
            if message.kind == 20
                && values.first() == Some(&Value::text("_result"))
                && values.get(1) == Some(&Value::Number(4.0))
            {
                assert_eq!(values.last(), Some(&Value::Number(1.0)), "createStream answers 1");
                return;
            }
        }
    }

    /// Publishes `name` (it may carry a query) as stream 1.
    pub fn publish(&mut self, name: &str) -> Result<(), Refused> {
        self.command(0, "releaseStream", 2.0, &[Value::Null, Value::text(name)]);
        self.command(0, "FCPublish", 3.0, &[Value::Null, Value::text(name)]);
        self.create_stream();
        self.command(1, "publish", 5.0, &[Value::Null, Value::text(name), Value::text("live")]);
        self.await_status(|code| code == "NetStream.Publish.Start").map(|_| ())
    }

    /// Plays `name` as stream 1 and waits for Play.Start.
    pub fn play(&mut self, name: &str) -> Result<(), Refused> {
        self.create_stream();
        self.command(1, "play", 5.0, &[Value::Null, Value::text(name), Value::Number(-2000.0)]);
        self.await_status(|code| code == "NetStream.Play.Start").map(|_| ())
    }

    /// The next audio, video or script message; `None` when the stream or the connection ended.
    pub fn tag(&mut self) -> Option<Tag> {
        loop {
            let message = self.receive().unwrap_or_else(|error| panic!("waiting for media: {error}"))?;
            if let Some(tag) = message.tag() {
                return Some(tag);
            }
            if message.status().is_some_and(|(code, _)| {
                matches!(code.as_str(), "NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop")
            }) {
                return None;
            }
        }
    }

    /// Everything until the stream ends.
    pub fn tags(&mut self) -> Vec<Tag> {
        std::iter::from_fn(|| self.tag()).collect()
    }

    /// The socket, for tests that stop reading or break the connection.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}
