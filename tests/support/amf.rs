//! AMF0 as far as a test client needs it. Independent of `src/`.

/// A value of AMF0.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Bool(bool),
    Text(String),
    /// Objects and ECMA arrays.
    Object(Vec<(String, Value)>),
    List(Vec<Value>),
    Null,
}

impl Value {
    pub fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// The property of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Writes values one after the other.
pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    values.iter().for_each(|value| write(&mut out, value));
    out
}

fn write_key(out: &mut Vec<u8>, key: &str) {
    out.extend((key.len() as u16).to_be_bytes());
    out.extend(key.as_bytes());
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Number(number) => {
            out.push(0);
            out.extend(number.to_be_bytes());
        }
        Value::Bool(flag) => out.extend([1, u8::from(*flag)]),
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
            out.extend([0, 0, 9]);
        }
        Value::List(items) => {
            out.push(10);
            out.extend((items.len() as u32).to_be_bytes());
            items.iter().for_each(|item| write(out, item));
        }
        Value::Null => out.push(5),
    }
}

/// Reads values until the bytes end; `None` if they are no AMF0.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(read(&mut bytes)?);
    }
    Some(values)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    Some(head)
}

fn read_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
}

fn read_key(bytes: &mut &[u8]) -> Option<String> {
    let len = u16::from_be_bytes(take(bytes, 2)?.try_into().ok()?);
    String::from_utf8(take(bytes, len.into())?.to_vec()).ok()
}

fn read_fields(bytes: &mut &[u8]) -> Option<Value> {
    let mut fields = Vec::new();
    loop {
        let key = read_key(bytes)?;
        if key.is_empty() && bytes.first() == Some(&9) {
            take(bytes, 1)?;
            return Some(Value::Object(fields));
        }
        fields.push((key, read(bytes)?));
    }
}

fn read(bytes: &mut &[u8]) -> Option<Value> {
    Some(match take(bytes, 1)?[0] {
        0 => Value::Number(f64::from_be_bytes(take(bytes, 8)?.try_into().ok()?)),
        1 => Value::Bool(take(bytes, 1)?[0] != 0),
        2 => Value::Text(read_key(bytes)?),
        3 => read_fields(bytes)?,
        5 | 6 => Value::Null,
        8 => {
            take(bytes, 4)?;
            read_fields(bytes)?
        }
        10 => {
            let count = read_u32(bytes)?;
            Value::List((0..count).map(|_| read(bytes)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
