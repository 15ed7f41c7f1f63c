//! The little of AMF0 that a client needs: writing commands, reading their answers (Action Message Format AMF0, section 2).

/// A decoded value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// An object or an ECMA array, in order.
    Object(Vec<(String, Value)>),
    /// Null, undefined, or a kind no answer depends on.
    Null,
}

impl Value {
    /// The text of field `key`, if this is an object that has it.
    pub fn text_field(&self, key: &str) -> Option<&str> {
        let Value::Object(fields) = self else { return None };
        fields.iter().find_map(|(k, v)| match v {
            Value::Text(text) if k == key => Some(text.as_str()),
            _ => None,
        })
    }
}

/// Appends `value` to `out`. Strings over 65535 bytes are cut.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(n) => {
            out.push(0);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Value::Bool(b) => out.extend_from_slice(&[1, u8::from(*b)]),
        Value::Text(text) => {
            out.push(2);
            write_key(out, text);
        }
        Value::Object(fields) => {
            out.push(3);
            for (key, value) in fields {
                write_key(out, key);
                write(out, value);
            }
            out.extend_from_slice(&[0, 0, 9]);
        }
        Value::Null => out.push(5),
    }
}

fn write_key(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Nesting that answers may have; real ones have two levels.
const DEPTH_MAX: u32 = 8;

/// Reads every value in `bytes`; stops at the first that it cannot read.
pub fn read_all(mut bytes: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    while let Some(value) = read(&mut bytes, DEPTH_MAX) {
        values.push(value);
    }
    values
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    Some(head)
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let len = u16::from_be_bytes(*take(bytes, 2)?.first_chunk()?);
    Some(String::from_utf8_lossy(take(bytes, usize::from(len))?).into_owned())
}

fn read(bytes: &mut &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    Some(match take(bytes, 1)?[0] {
        0 => Value::Number(f64::from_be_bytes(*take(bytes, 8)?.first_chunk()?)),
        1 => Value::Bool(take(bytes, 1)?[0] != 0),
        2 => Value::Text(text(bytes)?),
        marker @ (3 | 8) => {
            if marker == 8 {
                take(bytes, 4)?;
            }
            let mut fields = Vec::new();
            loop {
                let key = text(bytes)?;
                if key.is_empty() && bytes.first() == Some(&9) {
                    take(bytes, 1)?;
                    break;
                }
                fields.push((key, read(bytes, depth)?));
            }
            Value::Object(fields)
        }
        5 | 6 => Value::Null,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let values = vec![
            Value::Text("_result".into()),
            Value::Number(4.0),
            Value::Null,
            Value::Object(vec![("code".into(), Value::Text("x".into())), ("b".into(), Value::Bool(true))]),
        ];
        let mut bytes = Vec::new();
        values.iter().for_each(|v| write(&mut bytes, v));
        assert_eq!(read_all(&bytes), values);
        assert_eq!(values[3].text_field("code"), Some("x"));
        for cut in 0..bytes.len() {
            assert!(read_all(&bytes[..cut]).len() < values.len());
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested: Vec<u8> = [3, 0, 1, b'a'].repeat(1000);
        assert!(read_all(&nested).is_empty());
    }
}
