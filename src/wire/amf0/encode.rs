//! The AMF0 encoder: small appending functions for messages of fixed shape, and one for any [`Value`].

use super::{Object, Value};

/// Appends a number.
pub fn write_number(out: &mut Vec<u8>, number: f64) {
    out.push(0);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Appends a boolean.
pub fn write_boolean(out: &mut Vec<u8>, boolean: bool) {
    out.extend_from_slice(&[1, u8::from(boolean)]);
}

/// Appends a string, as a long string (marker 12) above 65535 bytes.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    match u16::try_from(text.len()) {
        Ok(len) => {
            out.push(2);
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Err(_) => {
            out.push(12);
            write_long(out, text);
        }
    }
}

/// Appends null.
pub fn write_null(out: &mut Vec<u8>) {
    out.push(5);
}

/// Appends undefined.
pub fn write_undefined(out: &mut Vec<u8>) {
    out.push(6);
}

/// Begins an object: then key, value, key, value …, and [`write_object_end`].
pub fn write_object_start(out: &mut Vec<u8>) {
    out.push(3);
}

/// Appends a member's key; its value must follow. A key has at most 65535 bytes on the wire and is cut there, at a
/// character boundary.
pub fn write_object_key(out: &mut Vec<u8>, key: &str) {
    let mut len = key.len().min(usize::from(u16::MAX));
    while !key.is_char_boundary(len) {
        len -= 1;
    }
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(&key.as_bytes()[..len]);
}

/// Ends an object or ECMA array.
pub fn write_object_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 9]);
}

/// Appends a whole ECMA array with its true count.
pub fn write_ecma_array(out: &mut Vec<u8>, object: &Object) {
    out.push(8);
    out.extend_from_slice(&(object.0.len() as u32).to_be_bytes());
    members(object, out);
}

fn write_long(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn members(object: &Object, out: &mut Vec<u8>) {
    for (key, member) in &object.0 {
        write_object_key(out, key);
        value(member, out);
    }
    write_object_end(out);
}

/// Appends any value. A byte array has no AMF0 form and becomes "unsupported".
pub(super) fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(n) => write_number(out, *n),
        Value::Boolean(b) => write_boolean(out, *b),
        Value::String(s) => write_string(out, s),
        Value::Object(object) => {
            write_object_start(out);
            members(object, out);
        }
        Value::Null => write_null(out),
        Value::Undefined => write_undefined(out),
        Value::EcmaArray(object) => write_ecma_array(out, object),
        Value::StrictArray(items) => {
            out.push(10);
            out.extend_from_slice(&(items.len() as u32).to_be_bytes());
            for item in items {
                self::value(item, out);
            }
        }
        Value::Date { unix_ms, zone_min } => {
            out.push(11);
            out.extend_from_slice(&unix_ms.to_be_bytes());
            out.extend_from_slice(&zone_min.to_be_bytes());
        }
        Value::Unsupported | Value::ByteArray(_) => out.push(13),
        Value::Xml(text) => {
            out.push(15);
            write_long(out, text);
        }
        Value::TypedObject { class, object } => {
            out.push(16);
            write_object_key(out, class); // the class name has the form of a key
            members(object, out);
        }
    }
}
