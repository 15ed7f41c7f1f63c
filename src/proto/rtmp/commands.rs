//! What commands mean, and the answers that ffmpeg, OBS, librtmp, GStreamer and Flash wait for.
//!
//! Transaction 0 asks for no answer (GStreamer's rtmp2sink sends releaseStream, FCPublish and publish so).
//! There is one message stream, 1, and one publish or play at a time. Encoders that stop and start again without hanging
//! up (deleteStream, createStream, publish) may; who has played may not, because its session has forgotten its connect.

use super::capabilities::PlayerCapabilities;
use super::event::{CloseReason, Event, PlayRequest, PublishRequest, StopCause};
use super::name::{NameError, StreamName};
use super::session::{Connected, Phase, ServerSession, ms};
use super::status::{self, Level};
use crate::media::Mono;
use crate::observe::log::shown;
use crate::wire::amf::Bounds;
use crate::wire::amf0::{self, AmfError, AmfErrorKind, Value};
use crate::wire::rtmp::{STREAM_ID, csid, type_id};
use std::time::Duration;

/// What servers are expected to call themselves; some clients look for a version behind "FMS/".
const SERVER_VERSION: &str = "FMS/3,5,7,7009";
/// Characters of the client's self-description that are kept.
const CLIENT_CHARS_MAX: usize = 64;
/// Values that every command has: name, transaction, object.
const VALUES_NEEDED: usize = 3;
/// Commands that mean something else without their first argument: an app of two levels is a stream by itself.
const SAYS_WHAT: [&str; 6] = ["publish", "play", "pause", "pauseRaw", "receiveAudio", "receiveVideo"];
/// Times that one connection may publish in [`PUBLISHES_WINDOW`], a count. Operators stop and start an encoder a few
/// times, or once a day for months; a loop must not escape what is counted for each connection.
pub(super) const PUBLISHES_MAX: u8 = 16;
/// See [`PUBLISHES_MAX`].
pub(super) const PUBLISHES_WINDOW: Duration = Duration::from_secs(3600);

impl ServerSession {
    /// One command: AMF0 values, the first its name, the second its transaction.
    pub(super) fn command(&mut self, now: Mono, body: &[u8]) {
        let (values, whole) = match read_values(body) {
            Ok(read) => read,
            Err(error) => return self.close_with(CloseReason::MessageSyntax, error),
        };
        self.tally.commands_mended += u64::from(!whole);
        let mut values = values.into_iter();
        let Some(Value::String(name)) = values.next() else {
            return self.close_with(CloseReason::MessageSyntax, "command without a name");
        };
        let transaction = values.next().as_ref().and_then(Value::as_number).unwrap_or(0.0);
        // the command object, then arguments
        let values: Vec<Value> = values.collect();
        let argument = |index: usize| values.get(index + 1);
        if !whole && SAYS_WHAT.contains(&name.as_str()) && argument(0).is_none() {
            return self.close_with(CloseReason::MessageSyntax, "a command whose argument cannot be read");
        }
        if matches!(self.phase, Phase::Connect) {
            match name.as_str() {
                "connect" => self.connect(now, transaction, values.first()),
                _ => self.close_with(CloseReason::CommandBeforeConnect, "a command came before connect"),
            }
            return;
        }
        match name.as_str() {
            "releaseStream" => self.result(transaction, &[Value::Null, Value::Undefined]),
            "FCPublish" => {
                self.result(transaction, &[Value::Null, Value::Undefined]);
                self.notify("onFCPublish", "NetStream.Publish.Start", argument(0));
            }
            "FCSubscribe" => {
                self.result(transaction, &[Value::Null, Value::Undefined]);
                self.notify("onFCSubscribe", "NetStream.Play.Start", argument(0));
            }
            "createStream" => self.result(transaction, &[Value::Null, Value::Number(f64::from(STREAM_ID))]),
            "getStreamLength" => self.result(transaction, &[Value::Null, Value::Number(0.0)]),
            "publish" => self.publish(now, argument(0)),
            "play" => self.play(now, argument(0), argument(1)),
            "play2" => {
                self.status(Level::Error, "NetStream.Play.Failed", "There is one stream a connection.")
            }
            "FCUnpublish" => {
                self.notify("onFCUnpublish", "NetStream.Unpublish.Success", argument(0));
                self.status(Level::Status, "NetStream.Unpublish.Success", "Unpublished.");
                if self.is_publishing() {
                    self.end_stream(now, StopCause::FcUnpublish);
                }
            }
            // with a stream id, a name (GStreamer), or nothing: there is one stream
            "deleteStream" => self.end_stream(now, StopCause::DeleteStream),
            "closeStream" => self.end_stream(now, StopCause::CloseStream),
            "pause" | "pauseRaw" => self.pause(argument(0)),
            "seek" => self.status(Level::Error, "NetStream.Seek.Failed", "A live stream cannot seek."),
            "receiveAudio" => self.receive(argument(0), Event::ReceiveAudio),
            "receiveVideo" => self.receive(argument(0), Event::ReceiveVideo),
            "_result" | "_error" | "onStatus" | "_checkbw" | "checkBandwidth" | "onBWDone" => {}
            _ => self.unknown(transaction),
        }
    }

    fn connect(&mut self, now: Mono, transaction: f64, command: Option<&Value>) {
        let Some(command) = command.and_then(Value::as_object) else {
            return self.close_with(CloseReason::MessageSyntax, "connect without its object");
        };
        let text = |key| command.get(key).and_then(Value::as_str).unwrap_or_default();
        let encoding = command.get("objectEncoding").and_then(Value::as_number).unwrap_or(0.0);
        let connected = Connected {
            app: text("app").to_owned(),
            client: text("flashVer").chars().filter(|c| !c.is_control()).take(CLIENT_CHARS_MAX).collect(),
            capabilities: PlayerCapabilities::from_connect(command),
            publishes: 0,
            publishes_from: now,
        };
        self.replies_in_amf3 = encoding == 3.0;
        self.reconnects = connected.capabilities.reconnects();
        self.announce();
        let mut body = status::command_start("_result", transaction);
        amf0::write_object_start(&mut body);
        amf0::write_object_key(&mut body, "fmsVer");
        amf0::write_string(&mut body, SERVER_VERSION);
        amf0::write_object_key(&mut body, "capabilities");
        amf0::write_number(&mut body, 31.0);
        amf0::write_object_key(&mut body, "mode");
        amf0::write_number(&mut body, 1.0);
        amf0::write_object_end(&mut body);
        amf0::write_object_start(&mut body);
        let (code, text) = ("NetConnection.Connect.Success", "Connection succeeded.");
        status::write_status_members(Level::Status, code, text, &mut body);
        amf0::write_object_key(&mut body, "objectEncoding");
        amf0::write_number(&mut body, if self.replies_in_amf3 { 3.0 } else { 0.0 });
        connected.capabilities.write_answer(&mut body);
        amf0::write_object_end(&mut body);
        self.reply(&body);
        self.phase = Phase::Idle(Box::new(connected));
        self.phase_ends_at = now + ms(self.config.request_timeout_ms);
        self.next_ping_at = now + ms(self.config.ping_interval_ms);
    }

    fn publish(&mut self, now: Mono, name: Option<&Value>) {
        match self.take_request(now, name, true) {
            Request::Valid(StreamName { app, stream, query }, mut connected) => {
                connected.publishes += 1;
                let client = connected.client.clone();
                self.phase = Phase::DecidingPublish(connected);
                self.push_event(Event::Publish(PublishRequest { app, stream, query, client }));
            }
            Request::Second => {
                let text = "There is one stream a connection.";
                self.status(Level::Error, "NetStream.Publish.BadName", text);
            }
            Request::Exhausted => {
                let text = "Connect anew to publish again.";
                self.status(Level::Error, "NetStream.Publish.BadName", text);
            }
            Request::Invalid { error, shown } => {
                let text = format!("The stream name is not allowed: {error}.");
                self.status(Level::Error, "NetStream.Publish.BadName", &text);
                self.close_with(CloseReason::InvalidName, format_args!("{error}: {shown}"));
            }
        }
    }

    fn play(&mut self, now: Mono, name: Option<&Value>, start: Option<&Value>) {
        match self.take_request(now, name, false) {
            Request::Valid(StreamName { app, stream, query }, connected) => {
                self.phase = Phase::DecidingPlay;
                let Connected { client, capabilities, .. } = *connected;
                // -1, -2 (specification) and -1000, -2000 (librtmp, ffmpeg) all mean live
                let start_ms = start.and_then(Value::as_number).filter(|ms| *ms >= 0.0).map(|ms| ms as u32);
                self.push_event(Event::Play(PlayRequest {
                    app,
                    stream,
                    query,
                    client,
                    start_ms,
                    capabilities,
                }));
            }
            Request::Second | Request::Exhausted => {
                let text = "There is one stream a connection.";
                self.status(Level::Error, "NetStream.Play.Failed", text);
            }
            Request::Invalid { error, shown } => {
                self.status(Level::Error, "NetStream.Play.StreamNotFound", &error.to_string());
                self.close_with(CloseReason::InvalidName, format_args!("{error}: {shown}"));
            }
        }
    }

    /// The normalised name and what connect told, if the connection is free for a stream. `again` lets in who has published
    /// before.
    fn take_request(&mut self, now: Mono, name: Option<&Value>, again: bool) -> Request {
        let connected = match &mut self.phase {
            Phase::Idle(connected) => connected,
            Phase::Ended(Some(connected)) if again => connected,
            _ => return Request::Second,
        };
        if now.since(connected.publishes_from) >= PUBLISHES_WINDOW {
            (connected.publishes, connected.publishes_from) = (0, now);
        }
        if connected.publishes >= PUBLISHES_MAX {
            return Request::Exhausted;
        }
        let name = name.and_then(Value::as_str).unwrap_or_default();
        match StreamName::parse(&connected.app, name) {
            Ok(name) => match std::mem::replace(&mut self.phase, Phase::Ended(None)) {
                Phase::Idle(connected) | Phase::Ended(Some(connected)) => {
                    self.phase_ends_at = Mono::NEVER; // from here the application's time runs, not the peer's
                    Request::Valid(name, connected)
                }
                _ => Request::Second,
            },
            Err(error) => {
                let shown = format!("{}/{}", shown(&connected.app), shown(name));
                Request::Invalid { error, shown }
            }
        }
    }

    fn end_stream(&mut self, now: Mono, cause: StopCause) {
        match std::mem::replace(&mut self.phase, Phase::Ended(None)) {
            Phase::Publishing(connected) => {
                self.phase = Phase::Ended(Some(connected));
                self.push_event(Event::Unpublish(cause));
            }
            Phase::Playing => self.push_event(Event::PlayStopped(cause)),
            other => return self.phase = other, // librtmp deletes streams that it never used
        }
        self.phase_ends_at = now + ms(self.config.request_timeout_ms);
    }

    fn pause(&mut self, paused: Option<&Value>) {
        if !matches!(self.phase, Phase::Playing) {
            return;
        }
        let paused = paused.and_then(Value::as_bool).unwrap_or(true);
        let (code, text) = match paused {
            true => ("NetStream.Pause.Notify", "Paused."),
            false => ("NetStream.Unpause.Notify", "Playing on."),
        };
        self.status(Level::Status, code, text);
        self.push_event(Event::Pause { paused });
    }

    /// With true, Flash clients expect the statuses of a seek and a start.
    fn receive(&mut self, wanted: Option<&Value>, event: impl Fn(bool) -> Event) {
        let Some(wanted) = wanted.and_then(Value::as_bool) else { return };
        // Before play it says how to begin; during play FMS announces the seek that it makes of it.
        if !matches!(self.phase, Phase::Idle(_) | Phase::Playing) {
            return;
        }
        if wanted && matches!(self.phase, Phase::Playing) {
            self.status(Level::Status, "NetStream.Seek.Notify", "Seeking to the live edge.");
            self.status(Level::Status, "NetStream.Play.Start", "Playing on.");
        }
        self.push_event(event(wanted));
    }

    fn unknown(&mut self, transaction: f64) {
        if transaction == 0.0 {
            return;
        }
        let mut body = status::command_start("_error", transaction);
        amf0::write_null(&mut body);
        amf0::write_object_start(&mut body);
        status::write_status_members(Level::Error, "NetConnection.Call.Failed", "No such method.", &mut body);
        amf0::write_object_end(&mut body);
        self.reply(&body);
    }

    /// `onFCPublish` and its like, with the name as the client gave it, cut to a readable length.
    fn notify(&mut self, command: &str, code: &str, name: Option<&Value>) {
        let name = name.and_then(Value::as_str).unwrap_or_default();
        // the query may hold a token: it is not echoed
        let shown: String = name.split('?').next().unwrap_or_default().chars().take(64).collect();
        let chunk_size = self.config.chunk_size_out;
        status::on_connection(command, Level::Status, code, &shown, chunk_size, &mut self.out);
    }

    /// `_result`, unless the transaction is 0.
    fn result(&mut self, transaction: f64, values: &[Value]) {
        if transaction != 0.0 {
            let mut body = status::command_start("_result", transaction);
            values.iter().for_each(|value| value.encode(&mut body));
            self.reply(&body);
        }
    }

    /// Appends a reply on the connection, in the message type of the client's object encoding.
    fn reply(&mut self, body: &[u8]) {
        let (chunk_size, out) = (self.config.chunk_size_out, &mut self.out);
        if self.replies_in_amf3 {
            let body = [&[0], body].concat();
            status::write_body(csid::COMMAND, type_id::COMMAND_AMF3, 0, &body, chunk_size, out);
        } else {
            status::write_body(csid::COMMAND, type_id::COMMAND_AMF0, 0, body, chunk_size, out);
        }
    }
}

/// The values of a command, and whether they are all: encoders in the wild leave a stray object end, filling or half a
/// value behind what a command needs, and players of theirs never minded. What contradicts itself or costs too much is not
/// forgiven, wherever it stands.
fn read_values(body: &[u8]) -> Result<(Vec<Value>, bool), AmfError> {
    let mut decoder = amf0::Decoder::new(body, Bounds::COMMAND);
    let mut values = Vec::new();
    loop {
        match decoder.next_value() {
            Ok(Some(value)) => values.push(value),
            Ok(None) => return Ok((values, true)),
            Err(AmfError { kind: AmfErrorKind::Truncated | AmfErrorKind::UnknownMarker(_), .. })
                if values.len() >= VALUES_NEEDED =>
            {
                return Ok((values, false));
            }
            Err(error) => return Err(error),
        }
    }
}

/// What became of a publish or play.
enum Request {
    Valid(StreamName, Box<Connected>),
    /// The connection has a stream, or has played.
    Second,
    /// It has published [`PUBLISHES_MAX`] times.
    Exhausted,
    Invalid {
        error: NameError,
        /// App and name, cut short and without what may be a secret; whatever else they hold.
        shown: String,
    },
}
