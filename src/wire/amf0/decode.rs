//! The AMF0 decoder.

use super::{AmfError, AmfErrorKind, DEPTH_MAX, ELEMENTS_MAX, Object, TEXT_BYTES_MAX, Value};
use crate::wire::amf3;

/// What one message may still cost; shared by AMF0 and the AMF3 values inside it.
#[derive(Debug)]
pub(in crate::wire) struct Budget {
    elements_left: u32,
    text_bytes_left: usize,
}

impl Budget {
    pub(in crate::wire) fn new() -> Budget {
        Budget { elements_left: ELEMENTS_MAX, text_bytes_left: TEXT_BYTES_MAX }
    }

    /// Pays for one value at `offset`, nested `depth` deep.
    pub(in crate::wire) fn element(&mut self, offset: usize, depth: u32) -> Result<(), AmfError> {
        if depth >= DEPTH_MAX {
            return Err(AmfError { offset, kind: AmfErrorKind::TooDeep });
        }
        self.elements_left = self
            .elements_left
            .checked_sub(1)
            .ok_or(AmfError { offset, kind: AmfErrorKind::TooManyElements })?;
        Ok(())
    }

    /// Pays for `len` bytes of text at `offset`.
    pub(in crate::wire) fn text(&mut self, offset: usize, len: usize) -> Result<(), AmfError> {
        self.text_bytes_left = self
            .text_bytes_left
            .checked_sub(len)
            .ok_or(AmfError { offset, kind: AmfErrorKind::TooMuchText })?;
        Ok(())
    }
}

/// Decodes the values of one message body, one at a time.
#[derive(Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    pos: usize,
    budget: Budget,
    /// Offsets of the complex values met so far: what marker 7 counts.
    complex: Vec<usize>,
    /// Nonzero while a reference is decoded again; nothing is added to `complex` then.
    replays: u32,
    amf3: amf3::Tables,
    met_amf3: bool,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder {
            bytes,
            pos: 0,
            budget: Budget::new(),
            complex: Vec::new(),
            replays: 0,
            amf3: amf3::Tables::default(),
            met_amf3: false,
        }
    }

    /// The offset of the next value.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// Whether any value so far was AMF3 (marker 0x11), so that the bytes are not plain AMF0.
    pub fn met_amf3(&self) -> bool {
        self.met_amf3
    }

    /// The next value, `None` at the end of the bytes.
    pub fn next_value(&mut self) -> Result<Option<Value>, AmfError> {
        if self.pos == self.bytes.len() {
            return Ok(None);
        }
        self.value(0).map(Some)
    }

    fn fail<T>(&self, kind: AmfErrorKind) -> Result<T, AmfError> {
        Err(AmfError { offset: self.pos, kind })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], AmfError> {
        match self.bytes.get(self.pos..).and_then(|rest| rest.get(..len)) {
            Some(taken) => {
                self.pos += len;
                Ok(taken)
            }
            None => self.fail(AmfErrorKind::Truncated),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u16(&mut self) -> Result<u16, AmfError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, AmfError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn text(&mut self, len: usize) -> Result<String, AmfError> {
        let at = self.pos;
        let bytes = self.take(len)?;
        self.budget.text(at, len)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let len = self.u16()?;
        self.text(len as usize)
    }

    fn long_text(&mut self) -> Result<String, AmfError> {
        let len = self.u32()?;
        self.text(len as usize)
    }

    fn value(&mut self, depth: u32) -> Result<Value, AmfError> {
        let start = self.pos;
        self.budget.element(start, depth)?;
        let [marker] = self.array()?;
        if matches!(marker, 3 | 8 | 10 | 16) && self.replays == 0 {
            self.complex.push(start);
        }
        Ok(match marker {
            0 => Value::Number(f64::from_be_bytes(self.array()?)),
            1 => Value::Boolean(self.array::<1>()? != [0]),
            2 => Value::String(self.short_text()?),
            3 => Value::Object(self.members(depth, false)?),
            5 => Value::Null,
            6 => Value::Undefined,
            7 => return self.reference(start, depth),
            8 => {
                self.u32()?; // the count: a hint that encoders get wrong
                Value::EcmaArray(self.members(depth, true)?)
            }
            10 => {
                let count = self.u32()?;
                let mut items = Vec::new(); // grows with what arrives, not with what is announced
                for _ in 0..count {
                    items.push(self.value(depth + 1)?);
                }
                Value::StrictArray(items)
            }
            11 => Value::Date {
                unix_ms: f64::from_be_bytes(self.array()?),
                zone_min: i16::from_be_bytes(self.array()?),
            },
            12 => Value::String(self.long_text()?),
            13 => Value::Unsupported,
            15 => Value::Xml(self.long_text()?),
            16 => Value::TypedObject { class: self.short_text()?, object: self.members(depth, false)? },
            17 => {
                self.met_amf3 = true;
                let (value, end) =
                    amf3::decode_value(self.bytes, self.pos, depth + 1, &mut self.budget, &mut self.amf3)?;
                self.pos = end;
                value
            }
            other => return Err(AmfError { offset: start, kind: AmfErrorKind::UnknownMarker(other) }),
        })
    }

    /// Members up to `00 00 09`; `open_end` allows the message to end instead, at a key.
    fn members(&mut self, depth: u32, open_end: bool) -> Result<Object, AmfError> {
        let mut members = Vec::new();
        loop {
            if open_end && self.pos == self.bytes.len() {
                return Ok(Object(members));
            }
            if self.bytes.get(self.pos..).is_some_and(|rest| rest.starts_with(&[0, 0, 9])) {
                self.pos += 3;
                return Ok(Object(members));
            }
            let key = self.short_text()?;
            let value = self.value(depth + 1)?;
            members.push((key, value));
        }
    }

    fn reference(&mut self, start: usize, depth: u32) -> Result<Value, AmfError> {
        let index = self.u16()?;
        let Some(&target) = self.complex.get(index as usize) else {
            return Err(AmfError { offset: start, kind: AmfErrorKind::BadReference });
        };
        let resume = std::mem::replace(&mut self.pos, target);
        self.replays += 1;
        let value = self.value(depth + 1);
        self.replays -= 1;
        self.pos = resume;
        value
    }
}

/// Decodes all values of a message body.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    let mut decoder = Decoder::new(bytes);
    let mut values = Vec::new();
    while let Some(value) = decoder.next_value()? {
        values.push(value);
    }
    Ok(values)
}
