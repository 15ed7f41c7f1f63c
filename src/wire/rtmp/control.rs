//! Protocol control messages (section 5.4) and user control messages (section 7.1.7): bodies in, whole messages out.

use super::message::{MessageHeader, write_message};
use super::{csid, type_id};

/// Largest chunk size that makes a difference, in bytes: no message is longer than its 24-bit length says. Section 5.4.1
/// allows up to 0x7fffffff and says that all above this are the same, so they are read as this.
pub const CHUNK_SIZE_MAX: u32 = 0xff_ffff;

/// A control message, read or to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Chunk size of the sender from the next chunk on, 1..=[`CHUNK_SIZE_MAX`] bytes.
    SetChunkSize(u32),
    /// Drop the partial message of a chunk stream.
    Abort {
        /// The chunk stream.
        csid: u32,
    },
    /// Bytes received so far, modulo 2^32.
    Ack(u32),
    /// The receiver of this is asked to acknowledge every so many bytes.
    WindowAckSize(u32),
    /// The receiver of this is asked to announce this window.
    SetPeerBandwidth {
        /// Window in bytes.
        window_bytes: u32,
        /// 0 hard, 1 soft, 2 dynamic.
        limit: u8,
    },
    /// User control.
    User(UserControl),
}

/// User control events. The stream ids are message streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserControl {
    /// Event 0: the stream has data.
    StreamBegin(u32),
    /// Event 1: no more data follows on the stream.
    StreamEof(u32),
    /// Event 3: the client's buffer.
    SetBufferLength {
        /// Message stream.
        stream_id: u32,
        /// Milliseconds.
        buffer_ms: u32,
    },
    /// Event 6, to be answered with the same number.
    PingRequest(u32),
    /// Event 7.
    PingResponse(u32),
    /// Anything else: recognised by its number, otherwise ignored.
    Other(u16),
}

/// A control message whose body cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("control message of type {type_id}: body of {length} bytes is malformed")]
pub struct ControlError {
    /// Message type.
    pub type_id: u8,
    /// Body length.
    pub length: usize,
}

impl Control {
    /// Reads the body of a message of type 1 to 6; `None` for other types. Bytes behind the fields are ignored.
    ///
    /// # Errors
    /// The body is too short, or a chunk size is 0 or has bit 31 set.
    pub fn decode(type_id: u8, body: &[u8]) -> Result<Option<Control>, ControlError> {
        let word = |at: usize| -> Option<u32> { Some(u32::from_be_bytes(*body.get(at..)?.first_chunk()?)) };
        let decoded = match type_id {
            type_id::SET_CHUNK_SIZE => word(0)
                .filter(|size| (1..=0x7fff_ffff).contains(size))
                .map(|size| Control::SetChunkSize(size.min(CHUNK_SIZE_MAX))),
            type_id::ABORT => word(0).map(|csid| Control::Abort { csid }),
            type_id::ACK => word(0).map(Control::Ack),
            type_id::USER_CONTROL => body.first_chunk().and_then(|event| {
                Some(Control::User(match u16::from_be_bytes(*event) {
                    0 => UserControl::StreamBegin(word(2)?),
                    1 => UserControl::StreamEof(word(2)?),
                    3 => UserControl::SetBufferLength { stream_id: word(2)?, buffer_ms: word(6)? },
                    6 => UserControl::PingRequest(word(2)?),
                    7 => UserControl::PingResponse(word(2)?),
                    other => UserControl::Other(other),
                }))
            }),
            type_id::WINDOW_ACK_SIZE => word(0).map(Control::WindowAckSize),
            // some clients leave the limit type out
            type_id::SET_PEER_BANDWIDTH => word(0).map(|window_bytes| Control::SetPeerBandwidth {
                window_bytes,
                limit: body.get(4).copied().unwrap_or(2),
            }),
            _ => return Ok(None),
        };
        decoded.map(Some).ok_or(ControlError { type_id, length: body.len() })
    }

    /// Appends the whole message, on chunk stream 2 and message stream 0, time 0.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut body = [0; 10];
        let mut len = 0;
        let mut put = |bytes: &[u8]| {
            for byte in bytes {
                body[len] = *byte;
                len += 1;
            }
        };
        let type_id = match *self {
            Control::SetChunkSize(size) => (type_id::SET_CHUNK_SIZE, put(&size.to_be_bytes())).0,
            Control::Abort { csid } => (type_id::ABORT, put(&csid.to_be_bytes())).0,
            Control::Ack(bytes) => (type_id::ACK, put(&bytes.to_be_bytes())).0,
            Control::WindowAckSize(bytes) => (type_id::WINDOW_ACK_SIZE, put(&bytes.to_be_bytes())).0,
            Control::SetPeerBandwidth { window_bytes, limit } => {
                put(&window_bytes.to_be_bytes());
                put(&[limit]);
                type_id::SET_PEER_BANDWIDTH
            }
            Control::User(user) => {
                let (event, first, second) = match user {
                    UserControl::StreamBegin(id) => (0, Some(id), None),
                    UserControl::StreamEof(id) => (1, Some(id), None),
                    UserControl::SetBufferLength { stream_id, buffer_ms } => {
                        (3, Some(stream_id), Some(buffer_ms))
                    }
                    UserControl::PingRequest(stamp) => (6, Some(stamp), None),
                    UserControl::PingResponse(stamp) => (7, Some(stamp), None),
                    UserControl::Other(event) => (event, None, None),
                };
                put(&u16::to_be_bytes(event));
                first.into_iter().chain(second).for_each(|word| put(&u32::to_be_bytes(word)));
                type_id::USER_CONTROL
            }
        };
        let length = len as u32;
        let header = MessageHeader { csid: csid::CONTROL, timestamp_ms: 0, length, type_id, stream_id: 0 };
        write_message(out, &header, &body[..len], super::CHUNK_SIZE_DEFAULT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_messages_read_back() {
        let rows = [
            (Control::SetChunkSize(65536), &b"\x00\x01\x00\x00"[..]),
            (Control::Abort { csid: 6 }, b"\0\0\0\x06"),
            (Control::Ack(7), b"\0\0\0\x07"),
            (Control::WindowAckSize(2_500_000), b"\x00\x26\x25\xa0"),
            (Control::SetPeerBandwidth { window_bytes: 2_500_000, limit: 2 }, b"\x00\x26\x25\xa0\x02"),
            (Control::User(UserControl::StreamBegin(1)), b"\0\0\0\0\0\x01"),
            (Control::User(UserControl::StreamEof(1)), b"\0\x01\0\0\0\x01"),
            (
                Control::User(UserControl::SetBufferLength { stream_id: 1, buffer_ms: 3000 }),
                b"\0\x03\0\0\0\x01\0\0\x0b\xb8",
            ),
            (Control::User(UserControl::PingRequest(9)), b"\0\x06\0\0\0\x09"),
            (Control::User(UserControl::PingResponse(9)), b"\0\x07\0\0\0\x09"),
            (Control::User(UserControl::Other(32)), b"\0\x20"),
        ];
        for (control, body) in rows {
            let mut out = vec![];
            control.write(&mut out);
            assert_eq!(&out[..7], [2, 0, 0, 0, 0, 0, body.len() as u8], "{control:?}");
            assert_eq!(&out[12..], body, "{control:?}");
            assert_eq!(Control::decode(out[7], body), Ok(Some(control)));
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let rows: [(u8, &[u8]); 6] = [
            (1, b"\0\0\0\0"),
            (1, b"\x80\0\0\x01"),
            (1, b"\0\0"),
            (4, b"\0"),
            (4, b"\0\x06\0"),
            (4, b"\0\x03\0\0\0\x01"),
        ];
        for (type_id, body) in rows {
            assert_eq!(Control::decode(type_id, body), Err(ControlError { type_id, length: body.len() }));
        }
        assert_eq!(Control::decode(8, b""), Ok(None));
    }
}
