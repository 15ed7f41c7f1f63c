//! Audio, video, data and aggregate messages of a publisher -> frames.

use super::event::{CloseReason, Event};
use super::session::ServerSession;
use crate::media::{Frame, Kind, Mono};
use crate::wire::amf::Bounds;
use crate::wire::rtmp::chunk::{Limits, Message};
use crate::wire::rtmp::message::{AggregateError, AggregateItems};
use crate::wire::rtmp::type_id;
use crate::wire::{amf0, amf3};
use bytes::Bytes;

/// AMF0 strings that open a data message meant for the server.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";
const CLEAR_DATA_FRAME: &[u8] = b"\x02\x00\x0f@clearDataFrame";
/// Largest AMF3 data message that is converted, in bytes.
const CONVERT_BYTES_MAX: usize = Limits::STRANGER.message_bytes as usize;
/// What it may become, in bytes: references are written out, so that little can become much. No stream keeps larger
/// metadata.
const CONVERTED_BYTES_MAX: usize = 64 * 1024;

impl ServerSession {
    /// Audio, video or data; dropped unless the peer publishes.
    pub(super) fn media(&mut self, now: Mono, message: Message) {
        if !self.is_publishing() {
            return self.count_dropped();
        }
        let Message { type_id, timestamp_ms, payload, first_byte_at_us, .. } = message;
        let (kind, body) = match type_id {
            type_id::AUDIO => (Kind::Audio, Some(payload)),
            type_id::VIDEO => (Kind::Video, Some(payload)),
            type_id::DATA_AMF0 => (Kind::Data, data_for_players(payload)),
            _ => (Kind::Data, amf0_from_amf3_data(payload).and_then(data_for_players)),
        };
        match body {
            Some(body) if !body.is_empty() => {
                let first_byte_at = Mono::from_micros(first_byte_at_us);
                let frame = Frame { kind, dts_ms: timestamp_ms, body, first_byte_at, complete_at: now };
                self.push_event(Event::Frame(frame));
            }
            _ => self.count_dropped(),
        }
    }

    /// The messages inside an aggregate, each as if it had come alone.
    pub(super) fn aggregate(&mut self, now: Mono, message: Message) {
        if !self.is_publishing() {
            return self.count_dropped(); // its items would be copied for nothing
        }
        for item in AggregateItems::new(message.payload.clone(), message.timestamp_ms) {
            self.tally.split_bytes += item.as_ref().map_or(0, |item| item.payload.len() as u64);
            match item {
                Ok(item) => match item.type_id {
                    type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF0 | type_id::DATA_AMF3 => {
                        let (type_id, timestamp_ms) = (item.type_id, item.timestamp_ms);
                        self.media(
                            now,
                            Message { type_id, timestamp_ms, payload: item.payload, ..message.clone() },
                        );
                    }
                    _ => self.count_dropped(),
                },
                Err(error) => {
                    let reason = match error {
                        AggregateError::Misfit { .. } => CloseReason::MessageSyntax,
                        AggregateError::TooMany => CloseReason::MessageTooLong,
                    };
                    return self.close_with(reason, error);
                }
            }
        }
    }
}

/// Takes the words to the server off a data message. `None` if nothing is left for players.
fn data_for_players(body: Bytes) -> Option<Bytes> {
    if body.starts_with(SET_DATA_FRAME) {
        return Some(body.slice(SET_DATA_FRAME.len()..));
    }
    (!body.starts_with(CLEAR_DATA_FRAME)).then_some(body)
}

/// A data message of type 15 in the form of type 18: most are AMF0 behind a zero byte, which is taken off; with AMF3 values
/// inside they are written anew. `None` if neither can be read, or it grows beyond [`CONVERTED_BYTES_MAX`].
fn amf0_from_amf3_data(body: Bytes) -> Option<Bytes> {
    if body.len() > CONVERT_BYTES_MAX {
        return None;
    }
    let plain = if body.first() == Some(&0) { body.slice(1..) } else { body.clone() };
    let mut decoder = amf0::Decoder::new(&plain, Bounds::DATA);
    let mut values = Vec::new();
    let readable = loop {
        match decoder.next_value() {
            Ok(Some(value)) => values.push(value),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    if readable && !decoder.met_amf3() {
        return Some(plain);
    }
    if !readable {
        values = amf3::decode_all(&body).ok()?;
    }
    let mut out = Vec::new();
    for value in &values {
        value.encode(&mut out);
        if out.len() > CONVERTED_BYTES_MAX {
            return None;
        }
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_to_the_server_are_taken_off() {
        let rows: [(&'static [u8], Option<&'static [u8]>); 4] = [
            (b"\x02\0\x0d@setDataFrame\x02\0\x01a", Some(b"\x02\0\x01a")),
            (b"\x02\0\x0d@setDataFrame", Some(b"")),
            (b"\x02\0\x0f@clearDataFrame\x02\0\x01a", None),
            (b"\x02\0\x01a", Some(b"\x02\0\x01a")),
        ];
        for (body, want) in rows {
            assert_eq!(data_for_players(Bytes::from_static(body)).as_deref(), want);
        }
    }

    #[test]
    fn type_15_becomes_type_18() {
        let rows: [(&'static [u8], Option<&'static [u8]>); 5] = [
            (b"\0\x02\0\x01a\x05", Some(b"\x02\0\x01a\x05")),
            (b"\x02\0\x01a\x05", Some(b"\x02\0\x01a\x05")),
            (b"\0\x02\0\x01a\x11\x01", Some(b"\x02\0\x01a\x05")),
            (b"\x06\x03a\x04\x01", Some(b"\x02\0\x01a\0\x3f\xf0\0\0\0\0\0\0")),
            (b"\x06\xff", None),
        ];
        for (body, want) in rows {
            assert_eq!(amf0_from_amf3_data(Bytes::from_static(body)).as_deref(), want, "{body:02x?}");
        }
    }

    #[test]
    fn references_do_not_multiply_without_bound() {
        // A string of 1000 bytes, then the same by reference.
        let body = |references: usize| {
            let text = [&b"\x06\x8f\x51"[..], &[b'a'; 1000]].concat();
            Bytes::from([text, b"\x06\0".repeat(references)].concat())
        };
        assert_eq!(amf0_from_amf3_data(body(64)).map(|out| out.len()), Some(65 * 1003));
        assert_eq!(amf0_from_amf3_data(body(65)), None);
    }
}
