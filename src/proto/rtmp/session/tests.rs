//! The session against a scripted client: the rig; what it is put to stands in the files beside.

mod any_input;
mod bounds;
mod flows;
mod hostile;
mod refusals;
mod time;

use super::*;
use crate::media::Kind;
use crate::proto::rtmp::commands::{PUBLISHES_MAX, PUBLISHES_WINDOW};
use crate::proto::rtmp::event::{Fault, PlayRefusal, PlayRequest, PublishRefusal, PublishRequest, StopCause};
use crate::wire::amf0::{self, Object, Value, decode_all};
use crate::wire::rtmp::handshake::ClientHandshake;
use crate::wire::rtmp::message::{MessageHeader, write_message};

/// A session behind its handshake, and the client's reader.
struct Rig {
    session: ServerSession,
    reader: ChunkReader,
    now: Mono,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(SessionConfig::default(), Mono::ZERO)
    }

    /// Accepted at zero, behind its handshake at `now`.
    fn with(config: SessionConfig, now: Mono) -> Rig {
        let mut session = ServerSession::new(config, Mono::ZERO, [1; 32]);
        let (mut sent, mut answer) = (vec![], vec![]);
        let mut client = ClientHandshake::new(0, [2; 32], &mut sent);
        session.handle_input(now, &sent);
        session.take_output(&mut answer);
        sent.clear();
        assert_eq!(client.read(0, &answer, &mut sent), Ok((answer.len(), true)));
        session.handle_input(now, &sent);
        Rig { session, reader: ChunkReader::new(), now }
    }

    /// Behind connect with the given extra members.
    fn connected(extra: &[(&str, Value)]) -> Rig {
        let mut rig = Rig::new();
        let mut members =
            vec![("app".to_owned(), Value::from("live")), ("flashVer".to_owned(), "test".into())];
        members.extend(extra.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        rig.command("connect", 1.0, &[Value::Object(Object(members))]);
        rig
    }

    fn publishing() -> Rig {
        let mut rig = Rig::connected(&[]);
        rig.command("publish", 5.0, &[Value::Null, "cam?key=k".into(), "live".into()]);
        assert!(matches!(rig.session.poll_event(), Some(Event::Publish(_))));
        rig.session.accept_publish(rig.now);
        rig.replies();
        rig
    }

    fn playing() -> Rig {
        let mut rig = Rig::connected(&[]);
        rig.command("createStream", 2.0, &[Value::Null]);
        rig.command("play", 3.0, &[Value::Null, "cam".into(), Value::Number(-2000.0)]);
        rig.replies();
        assert!(matches!(rig.session.poll_event(), Some(Event::Play(_))));
        rig.session.accept_play(rig.now);
        assert!(rig.session.poll_event().is_none());
        rig
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.session.handle_input(self.now, bytes);
    }

    fn message(&mut self, type_id: u8, timestamp_ms: u32, payload: &[u8]) {
        self.bytes(&message(type_id, timestamp_ms, payload));
    }

    fn command(&mut self, name: &str, transaction: f64, values: &[Value]) {
        self.message(type_id::COMMAND_AMF0, 0, &command(name, transaction, values));
    }

    /// Everything that the session has to say.
    fn messages(&mut self) -> Vec<Message> {
        let (mut out, mut messages, mut used) = (vec![], vec![], 0);
        self.session.take_output(&mut out);
        while let (n, Some(message)) = self.reader.read(0, &out[used..]).expect("valid") {
            used += n;
            messages.push(message);
        }
        messages
    }

    /// One line a message: command name, transaction and code or values; the number of other types.
    fn replies(&mut self) -> Vec<String> {
        self.messages().iter().map(outline).collect()
    }

    fn events(&mut self) -> Vec<String> {
        let mut events = vec![];
        while let Some(event) = self.session.poll_event() {
            events.push(match event {
                Event::Frame(frame) => format!("{:?} {} {:02x?}", frame.kind, frame.dts_ms, &frame.body[..]),
                other => format!("{other:?}"),
            });
        }
        events
    }

    fn at(&mut self, ms: u64) {
        self.now = Mono::from_micros(ms * 1000);
        self.session.handle_timeout(self.now);
    }
}

fn command(name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
    let mut body = vec![];
    amf0::write_string(&mut body, name);
    amf0::write_number(&mut body, transaction);
    values.iter().for_each(|value| value.encode(&mut body));
    body
}

fn message(type_id: u8, timestamp_ms: u32, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let header = MessageHeader { csid: 3, timestamp_ms, length, type_id, stream_id: 1 };
    let mut out = vec![];
    write_message(&mut out, &header, payload, CHUNK_SIZE_DEFAULT);
    out
}

fn outline(message: &Message) -> String {
    let body = match message.type_id {
        type_id::COMMAND_AMF0 => &message.payload[..],
        type_id::COMMAND_AMF3 => &message.payload[1..],
        other => return format!("type {other} {:?}", Control::decode(other, &message.payload)),
    };
    let values = decode_all(body).expect("valid");
    let code = values.iter().find_map(|v| v.as_object()?.get("code")?.as_str());
    let (name, transaction) = (values[0].as_str().expect("name"), values[1].as_number().expect("number"));
    match code {
        Some(code) => format!("{name} {transaction} {code}"),
        None => format!("{name} {transaction} {:?}", &values[2..]),
    }
}
