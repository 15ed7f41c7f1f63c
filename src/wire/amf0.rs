//! AMF0, the value notation of RTMP commands and FLV script data (Adobe "Action Message Format -- AMF 0").
//!
//! The decoder is made for hostile input: depth, element count and decoded bytes are bounded, no allocation follows
//! an announced length, and every error carries its byte offset. It forgives what encoders in the wild do wrong: an
//! ECMA array's count is only a hint, an ECMA array that ends with the message may lack its terminator, and text in
//! another encoding than UTF-8 is kept with U+FFFD where it cannot be read.
//! References (marker 7) and what a message may cost: [`super::amf`]. `0x11` switches one value to AMF3, see
//! [`super::amf3`].

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use decode::{Decoder, decode_all, decode_within};
pub use encode::{
    write_boolean, write_ecma_array, write_null, write_number, write_object_end, write_object_key,
};
pub use encode::{write_object_start, write_string, write_undefined};

/// One AMF value. AMF3 values (from `0x11` or AMF3 messages) are expressed in the same set.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Marker 0, and AMF3 integer and double.
    Number(f64),
    /// Marker 1.
    Boolean(bool),
    /// Markers 2 and 12 (long string).
    String(String),
    /// Marker 3: anonymous object, and AMF3 objects without a class name.
    Object(Object),
    /// Marker 5.
    Null,
    /// Marker 6.
    Undefined,
    /// Marker 8, and AMF3 arrays that have named members.
    EcmaArray(Object),
    /// Marker 10, and AMF3 arrays and vectors.
    StrictArray(Vec<Value>),
    /// Marker 11: milliseconds since 1970 UTC, and a time zone in minutes that writers should leave 0.
    Date {
        /// Milliseconds since 1970-01-01T00:00Z.
        unix_ms: f64,
        /// Reserved; as found.
        zone_min: i16,
    },
    /// Marker 13.
    Unsupported,
    /// Marker 15, and AMF3 XML.
    Xml(String),
    /// Marker 16.
    TypedObject {
        /// The class name, e.g. `flex.messaging.messages.CommandMessage`.
        class: String,
        /// Its members.
        object: Object,
    },
    /// AMF3 byte array; AMF0 has none and writes it as unsupported.
    ByteArray(Vec<u8>),
}

impl Value {
    /// The text of a string, else `None`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// A number, else `None`.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// A boolean, else `None`. A number counts as `number != 0`, as Flash coerced it.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(b) => Some(*b),
            Value::Number(n) => Some(*n != 0.0),
            _ => None,
        }
    }

    /// The members of an object, typed object or ECMA array, else `None`.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(o) | Value::EcmaArray(o) | Value::TypedObject { object: o, .. } => Some(o),
            _ => None,
        }
    }

    /// The same, taken out of the value.
    pub fn into_object(self) -> Option<Object> {
        match self {
            Value::Object(o) | Value::EcmaArray(o) | Value::TypedObject { object: o, .. } => Some(o),
            _ => None,
        }
    }

    /// Appends the AMF0 form of this value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode::value(self, out);
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Value {
        Value::String(s.to_owned())
    }
}

/// Members in wire order. Duplicate keys are kept; [`Object::get`] finds the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(pub Vec<(String, Value)>);

impl Object {
    /// The first member named `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
}

/// Why a value could not be decoded, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AMF at byte {offset}: {kind}")]
pub struct AmfError {
    /// Byte offset into the decoded slice.
    pub offset: usize,
    /// What was wrong there.
    pub kind: AmfErrorKind,
}

/// The kinds of [`AmfError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmfErrorKind {
    /// The message ends inside a value.
    #[error("ends inside a value")]
    Truncated,
    /// A marker that the specification does not define here.
    #[error("unknown marker {0:#04x}")]
    UnknownMarker(u8),
    /// Nesting above [`DEPTH_MAX`](super::amf::DEPTH_MAX), also by references.
    #[error("nested too deeply")]
    TooDeep,
    /// More values than the [`Bounds`](super::amf::Bounds) allow.
    #[error("too many values")]
    TooManyElements,
    /// More bytes of text than the [`Bounds`](super::amf::Bounds) allow.
    #[error("too much text")]
    TooMuchText,
    /// A reference to something that has not appeared.
    #[error("reference to nothing")]
    BadReference,
    /// A reference to an object that contains it.
    #[error("reference to an object that contains it")]
    Cycle,
    /// An AMF3 form that only the class's own code could read (externalizable).
    #[error("externalizable object")]
    Externalizable,
}
