//! Commands and status messages that a server sends, as whole messages appended to a buffer.
//!
//! Those for players depend on nothing but their arguments, so that one buffer serves many players. All times are 0.

use crate::wire::amf0;
use crate::wire::rtmp::control::{Control, UserControl};
use crate::wire::rtmp::message::{MessageHeader, write_message};
use crate::wire::rtmp::{STREAM_ID, csid, type_id};

/// Level of a status object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All is well.
    Status,
    /// The request failed.
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Status => "status",
            Level::Error => "error",
        }
    }
}

/// What a player sees before media: StreamBegin, `Play.Reset`, `Play.Start` and sample access. `stream` is the name for
/// the descriptions; `chunk_size` is what was announced to the player, in bytes.
pub fn play_started(stream: &str, chunk_size: u32, out: &mut Vec<u8>) {
    Control::User(UserControl::StreamBegin(STREAM_ID)).write(out);
    let reset = format!("Playing and resetting {stream}.");
    on_status(Level::Status, "NetStream.Play.Reset", &reset, chunk_size, out);
    on_status(Level::Status, "NetStream.Play.Start", &format!("Started playing {stream}."), chunk_size, out);
    // Flash players may not take snapshots of the media without it
    let mut body = Vec::new();
    amf0::write_string(&mut body, "|RtmpSampleAccess");
    amf0::write_boolean(&mut body, true);
    amf0::write_boolean(&mut body, true);
    write_body(csid::STREAM, type_id::DATA_AMF0, STREAM_ID, &body, chunk_size, out);
}

/// What a player sees when the stream has ended: StreamEOF, `Play.UnpublishNotify` and `Play.Stop`.
pub fn play_ended(stream: &str, chunk_size: u32, out: &mut Vec<u8>) {
    Control::User(UserControl::StreamEof(STREAM_ID)).write(out);
    let gone = format!("{stream} is now unpublished.");
    on_status(Level::Status, "NetStream.Play.UnpublishNotify", &gone, chunk_size, out);
    on_status(Level::Status, "NetStream.Play.Stop", &format!("Stopped playing {stream}."), chunk_size, out);
}

/// What a player sees when nobody published the stream in time.
pub fn play_not_found(stream: &str, chunk_size: u32, out: &mut Vec<u8>) {
    let text = format!("{stream} is not published.");
    on_status(Level::Error, "NetStream.Play.StreamNotFound", &text, chunk_size, out);
}

/// `onStatus` on the stream: null, then an object of level, code and description.
pub fn on_status(level: Level, code: &str, description: &str, chunk_size: u32, out: &mut Vec<u8>) {
    let body = status_body("onStatus", level, code, description);
    write_body(csid::STREAM, type_id::COMMAND_AMF0, STREAM_ID, &body, chunk_size, out);
}

/// A status command of the connection, such as `onFCPublish`.
pub(super) fn on_connection(
    command: &str,
    level: Level,
    code: &str,
    description: &str,
    chunk_size: u32,
    out: &mut Vec<u8>,
) {
    let body = status_body(command, level, code, description);
    write_body(csid::COMMAND, type_id::COMMAND_AMF0, 0, &body, chunk_size, out);
}

/// Enhanced RTMP's request to connect anew, for peers with the reconnect bit of capsEx. `tc_url` is absolute, or relative
/// to the one in use; without it the peer connects where it was.
pub fn reconnect_request(tc_url: Option<&str>, description: &str, chunk_size: u32, out: &mut Vec<u8>) {
    let mut body = command_start("onStatus", 0.0);
    amf0::write_null(&mut body);
    amf0::write_object_start(&mut body);
    let members = [
        ("level", "status"),
        ("code", "NetConnection.Connect.ReconnectRequest"),
        ("description", description),
    ];
    for (key, text) in members.into_iter().chain(tc_url.map(|url| ("tcUrl", url))) {
        amf0::write_object_key(&mut body, key);
        amf0::write_string(&mut body, text);
    }
    amf0::write_object_end(&mut body);
    write_body(csid::COMMAND, type_id::COMMAND_AMF0, 0, &body, chunk_size, out);
}

/// The beginning of a command's body: its name and transaction.
pub(super) fn command_start(command: &str, transaction: f64) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    amf0::write_string(&mut body, command);
    amf0::write_number(&mut body, transaction);
    body
}

/// Appends the three members that every status object has to an open object.
pub(super) fn write_status_members(level: Level, code: &str, description: &str, body: &mut Vec<u8>) {
    for (key, text) in [("level", level.as_str()), ("code", code), ("description", description)] {
        amf0::write_object_key(body, key);
        amf0::write_string(body, text);
    }
}

fn status_body(command: &str, level: Level, code: &str, description: &str) -> Vec<u8> {
    let mut body = command_start(command, 0.0);
    amf0::write_null(&mut body);
    amf0::write_object_start(&mut body);
    write_status_members(level, code, description, &mut body);
    amf0::write_object_end(&mut body);
    body
}

/// Appends `body` as a message at time 0.
pub(super) fn write_body(
    csid: u8,
    type_id: u8,
    stream_id: u32,
    body: &[u8],
    chunk_size: u32,
    out: &mut Vec<u8>,
) {
    let length = body.len() as u32; // status bodies are short: names and descriptions are bounded
    write_message(
        out,
        &MessageHeader { csid, timestamp_ms: 0, length, type_id, stream_id },
        body,
        chunk_size,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::amf0::{Value, decode_all};
    use crate::wire::rtmp::chunk::ChunkReader;

    /// "type csid stream: code" of each message.
    fn outline(bytes: &[u8]) -> Vec<String> {
        let (mut reader, mut rest, mut lines) = (ChunkReader::new(), bytes, vec![]);
        while let (used, Some(message)) = reader.read(0, rest).expect("valid") {
            rest = &rest[used..];
            let values = match message.type_id {
                18 | 20 => decode_all(&message.payload).expect("valid"),
                _ => vec![],
            };
            let code = values.iter().find_map(|v| v.as_object()?.get("code")?.as_str()).unwrap_or("-");
            let first = values.first().and_then(Value::as_str).unwrap_or("-");
            lines.push(format!("{} {} {}: {first} {code}", message.type_id, message.csid, message.stream_id));
        }
        lines
    }

    #[test]
    fn builders_write_whole_messages() {
        let built = |build: &dyn Fn(&mut Vec<u8>)| {
            let mut out = vec![];
            build(&mut out);
            outline(&out)
        };
        // at chunk size 128, which the reader starts with
        assert_eq!(
            built(&|out| play_started(&"long".repeat(60), 128, out)),
            [
                "4 2 0: - -",
                "20 5 1: onStatus NetStream.Play.Reset",
                "20 5 1: onStatus NetStream.Play.Start",
                "18 5 1: |RtmpSampleAccess -",
            ]
        );
        assert_eq!(
            built(&|out| play_ended("live/a", 128, out)),
            [
                "4 2 0: - -",
                "20 5 1: onStatus NetStream.Play.UnpublishNotify",
                "20 5 1: onStatus NetStream.Play.Stop",
            ]
        );
        assert_eq!(
            built(&|out| play_not_found("live/a", 128, out)),
            ["20 5 1: onStatus NetStream.Play.StreamNotFound"]
        );
        assert_eq!(
            built(&|out| reconnect_request(Some("rtmp://b/live"), "moving", 128, out)),
            ["20 3 0: onStatus NetConnection.Connect.ReconnectRequest"]
        );
    }
}
