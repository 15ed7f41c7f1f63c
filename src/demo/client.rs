//! The few words of RTMP that a publisher speaks, over a blocking socket.

use super::clip::{self, AUDIO, LOOP_MS, Tag};
use crate::wire::amf0::{Object, Value, decode_all, write_ecma_array, write_string};
use crate::wire::rtmp::chunk::{ChunkReader, Message};
use crate::wire::rtmp::control::Control;
use crate::wire::rtmp::handshake::ClientHandshake;
use crate::wire::rtmp::message::{MessageHeader, write_message};
use crate::wire::rtmp::{CHUNK_SIZE_DEFAULT, csid, type_id};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time for any single answer, and for any single write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Chunk size that we announce: larger than most of the clip's frames.
const CHUNK_SIZE: u32 = 65_536;
/// Messages read while waiting for one answer; a server says a handful.
const ANSWERS_MAX: usize = 64;

/// A connection that publishes.
pub(super) struct Client {
    stream: TcpStream,
    stream_id: u32,
    chunk_size: u32,
}

impl Client {
    /// Connects to `target` and publishes `name` (with its query) in `app`.
    pub(super) fn publish(target: SocketAddr, app: &str, name: &str) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client { stream, stream_id: 0, chunk_size: CHUNK_SIZE_DEFAULT };
        let mut answers = Answers::behind_handshake(&mut client.stream)?;

        let mut out = Vec::new();
        Control::SetChunkSize(CHUNK_SIZE).write(&mut out);
        client.stream.write_all(&out)?;
        client.chunk_size = CHUNK_SIZE;

        let text = |text: &str| Value::String(text.to_owned());
        let connect = Object(vec![
            ("app".to_owned(), text(app)),
            ("type".to_owned(), text("nonprivate")),
            ("flashVer".to_owned(), text("FMLE/3.0 (compatible; headgate demo)")),
            ("tcUrl".to_owned(), text(&format!("rtmp://{target}/{app}"))),
        ]);
        client.command("connect", 1, &[Value::Object(connect)])?;
        answers.result(&mut client.stream, 1)?;
        client.command("createStream", 2, &[Value::Null])?;
        let created = answers.result(&mut client.stream, 2)?;
        // A message stream id is a small number, whatever its type on the wire.
        client.stream_id = created.iter().rev().find_map(Value::as_number).unwrap_or(1.0) as u32;
        client.command("publish", 3, &[Value::Null, text(name), text("live")])?;
        answers.publish_started(&mut client.stream)?;
        Ok(client)
    }

    /// Plays the clip in a loop until `stop`, or until the connection fails.
    pub(super) fn play(&mut self, stop: &AtomicBool) -> io::Result<()> {
        self.metadata()?;
        let started = Instant::now();
        for round in 0u32.. {
            for tag in clip::tags().filter(|tag| round == 0 || !tag.is_config()) {
                let dts_ms = round.wrapping_mul(LOOP_MS).wrapping_add(tag.dts_ms);
                let since = u64::from(round) * u64::from(LOOP_MS) + u64::from(tag.dts_ms);
                self.wait_until(started + Duration::from_millis(since))?;
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                self.media(&tag, dts_ms)?;
            }
        }
        Ok(())
    }

    /// Waits by reading: what the server says meanwhile is dropped, and its goodbye is noticed at once.
    fn wait_until(&mut self, due: Instant) -> io::Result<()> {
        let mut said = [0; 4096];
        loop {
            let left = due.saturating_duration_since(Instant::now());
            // The socket's clock is in milliseconds at best, and zero would mean for ever.
            if left < Duration::from_millis(1) {
                return Ok(());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut said) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(_) => {}
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn media(&mut self, tag: &Tag, dts_ms: u32) -> io::Result<()> {
        let csid = if tag.kind == AUDIO { csid::AUDIO } else { csid::VIDEO };
        self.send(csid, tag.kind, self.stream_id, dts_ms, tag.body)
    }

    fn metadata(&mut self) -> io::Result<()> {
        let number = |name: &str, value: f64| (name.to_owned(), Value::Number(value));
        let about = Object(vec![
            number("width", 640.0),
            number("height", 360.0),
            number("framerate", 25.0),
            number("videocodecid", 7.0),
            number("audiocodecid", 10.0),
            number("audiosamplerate", 48_000.0),
            ("stereo".to_owned(), Value::Boolean(true)),
        ]);
        let mut body = Vec::new();
        write_string(&mut body, "@setDataFrame");
        write_string(&mut body, "onMetaData");
        write_ecma_array(&mut body, &about);
        self.send(csid::STREAM, type_id::DATA_AMF0, self.stream_id, 0, &body)
    }

    fn command(&mut self, name: &str, transaction: u32, arguments: &[Value]) -> io::Result<()> {
        let mut body = Vec::new();
        write_string(&mut body, name);
        Value::Number(transaction.into()).encode(&mut body);
        arguments.iter().for_each(|argument| argument.encode(&mut body));
        self.send(csid::COMMAND, type_id::COMMAND_AMF0, self.stream_id, 0, &body)
    }

    fn send(
        &mut self,
        csid: u8,
        type_id: u8,
        stream_id: u32,
        timestamp_ms: u32,
        body: &[u8],
    ) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(|_| broken("a message that is too long"))?;
        let header = MessageHeader { csid, timestamp_ms, length, type_id, stream_id };
        let mut out = Vec::new();
        write_message(&mut out, &header, body, self.chunk_size);
        self.stream.write_all(&out)
    }
}

/// What the server says, message by message.
struct Answers {
    reader: ChunkReader,
    waiting: VecDeque<Message>,
}

impl Answers {
    /// Does the handshake and keeps what the server says behind it.
    fn behind_handshake(stream: &mut TcpStream) -> io::Result<Answers> {
        let mut out = Vec::new();
        // The random part only has to be there; nobody is authenticated by it.
        let mut handshake = ClientHandshake::new(0, [7; 32], &mut out);
        stream.write_all(&out)?;
        let mut answers = Answers { reader: ChunkReader::new(), waiting: VecDeque::new() };
        let mut buffer = [0; 4096];
        loop {
            let received = read_some(stream, &mut buffer)?;
            let mut rest = buffer.get(..received).unwrap_or_default();
            out.clear();
            let (used, done) = handshake.read(0, rest, &mut out).map_err(broken)?;
            stream.write_all(&out)?;
            rest = rest.get(used..).unwrap_or_default();
            if done {
                answers.take(rest)?;
                return Ok(answers);
            }
        }
    }

    /// Cuts `bytes` into messages.
    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let (used, message) = self.reader.read(0, bytes).map_err(broken)?;
            bytes = bytes.get(used..).unwrap_or_default();
            match message {
                Some(message) => self.waiting.push_back(message),
                None => return Ok(()),
            }
        }
    }

    /// The values of the next command.
    fn command(&mut self, stream: &mut TcpStream) -> io::Result<Vec<Value>> {
        let mut buffer = [0; 4096];
        for _ in 0..ANSWERS_MAX {
            while let Some(message) = self.waiting.pop_front() {
                if message.type_id == type_id::COMMAND_AMF0 {
                    return decode_all(&message.payload).map_err(broken);
                }
            }
            let received = read_some(stream, &mut buffer)?;
            self.take(buffer.get(..received).unwrap_or_default())?;
        }
        Err(broken("no answer to a command"))
    }

    /// Waits for the result of a transaction; its refusal is an error.
    fn result(&mut self, stream: &mut TcpStream, transaction: u32) -> io::Result<Vec<Value>> {
        for _ in 0..ANSWERS_MAX {
            let values = self.command(stream)?;
            let name = values.first().and_then(Value::as_str);
            let ours = values.get(1).and_then(Value::as_number) == Some(transaction.into());
            match name {
                Some("_result") if ours => return Ok(values),
                Some("_error") if ours => return Err(refused(&values)),
                _ => {}
            }
        }
        Err(broken("no result of a command"))
    }

    /// Waits for `NetStream.Publish.Start`.
    fn publish_started(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        for _ in 0..ANSWERS_MAX {
            let values = self.command(stream)?;
            if values.first().and_then(Value::as_str) == Some("onStatus") {
                return match info(&values, "code") {
                    Some("NetStream.Publish.Start") => Ok(()),
                    _ => Err(refused(&values)),
                };
            }
        }
        Err(broken("no answer to publish"))
    }
}

/// A text field of the information object, the last argument of results and status messages.
fn info<'a>(values: &'a [Value], field: &str) -> Option<&'a str> {
    values.last()?.as_object()?.get(field)?.as_str()
}

fn refused(values: &[Value]) -> io::Error {
    let why = info(values, "description").or(info(values, "code")).unwrap_or("no reason given");
    io::Error::new(
        ErrorKind::PermissionDenied,
        format!("the server refused: {}", crate::observe::log::clean(why)),
    )
}

fn broken(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unexpected answer: {why}"))
}

/// Reads at least one byte.
fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    match stream.read(buffer) {
        Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
        Err(error) if is_pause(&error) => {
            Err(io::Error::new(ErrorKind::TimedOut, "the server does not answer"))
        }
        other => other,
    }
}

/// Whether a read only ended because its time was over.
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
