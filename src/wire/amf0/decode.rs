//! The AMF0 decoder.

use super::{AmfError, AmfErrorKind, Object, Value};
use crate::wire::amf::{Bounds, Input, References};
use crate::wire::amf3;

/// Decodes the values of one message body, one at a time.
#[derive(Debug)]
pub struct Decoder<'a> {
    input: Input<'a>,
    /// The complex values met so far: what marker 7 counts.
    complex: References,
    amf3: amf3::Tables,
    met_amf3: bool,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `bytes`, within `bounds`.
    pub fn new(bytes: &'a [u8], bounds: Bounds) -> Decoder<'a> {
        Decoder {
            input: Input::new(bytes, bounds),
            complex: References::default(),
            amf3: amf3::Tables::default(),
            met_amf3: false,
        }
    }

    /// The offset of the next value.
    pub fn position(&self) -> usize {
        self.input.pos()
    }

    /// Whether any value so far was AMF3 (marker 0x11), so that the bytes are not plain AMF0.
    pub fn met_amf3(&self) -> bool {
        self.met_amf3
    }

    /// The next value, `None` at the end of the bytes.
    pub fn next_value(&mut self) -> Result<Option<Value>, AmfError> {
        if self.input.is_at_end() {
            return Ok(None);
        }
        self.value(0).map(Some)
    }

    fn u16(&mut self) -> Result<u16, AmfError> {
        Ok(u16::from_be_bytes(self.input.array()?))
    }

    fn u32(&mut self) -> Result<u32, AmfError> {
        Ok(u32::from_be_bytes(self.input.array()?))
    }

    fn short_text(&mut self) -> Result<String, AmfError> {
        let len = self.u16()?;
        self.input.text(len as usize)
    }

    fn long_text(&mut self) -> Result<String, AmfError> {
        let len = self.u32()?;
        self.input.text(len as usize)
    }

    fn value(&mut self, depth: u32) -> Result<Value, AmfError> {
        let start = self.input.pos();
        self.input.pay_element(start, depth)?;
        let [marker] = self.input.array()?;
        Ok(match marker {
            0 => Value::Number(self.input.number()?),
            1 => Value::Boolean(self.input.array::<1>()? != [0]),
            2 => Value::String(self.short_text()?),
            3 | 8 | 10 | 16 => {
                let number = self.complex.begin(&self.input, start);
                let value = self.complex(marker, depth)?;
                self.complex.end(number);
                value
            }
            5 => Value::Null,
            6 => Value::Undefined,
            7 => return self.reference(start, depth),
            11 => Value::Date {
                unix_ms: self.input.number()?,
                zone_min: i16::from_be_bytes(self.input.array()?),
            },
            12 => Value::String(self.long_text()?),
            13 => Value::Unsupported,
            15 => Value::Xml(self.long_text()?),
            17 => {
                self.met_amf3 = true;
                amf3::decode_value(&mut self.input, &mut self.amf3, depth + 1)?
            }
            other => return Err(AmfError { offset: start, kind: AmfErrorKind::UnknownMarker(other) }),
        })
    }

    /// What stands behind the markers of values that hold others.
    fn complex(&mut self, marker: u8, depth: u32) -> Result<Value, AmfError> {
        Ok(match marker {
            3 => Value::Object(self.members(depth, false)?),
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
            _ => Value::TypedObject { class: self.short_text()?, object: self.members(depth, false)? },
        })
    }

    /// Members up to `00 00 09`; `open_end` allows the message to end instead, at a key.
    fn members(&mut self, depth: u32, open_end: bool) -> Result<Object, AmfError> {
        let mut members = Vec::new();
        loop {
            if (open_end && self.input.is_at_end()) || self.input.skip(&[0, 0, 9]) {
                return Ok(Object(members));
            }
            let key = self.short_text()?;
            let value = self.value(depth + 1)?;
            members.push((key, value));
        }
    }

    fn reference(&mut self, start: usize, depth: u32) -> Result<Value, AmfError> {
        let number = self.u16()?;
        let target = self.complex.find(number as usize, start)?;
        let behind = self.input.replay(target);
        let value = self.value(depth + 1);
        self.input.resume(behind);
        value
    }
}

/// Decodes all values of a message body, within the bounds of metadata.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    decode_within(bytes, Bounds::DATA)
}

/// Decodes all values of a message body, within `bounds`.
pub fn decode_within(bytes: &[u8], bounds: Bounds) -> Result<Vec<Value>, AmfError> {
    let mut decoder = Decoder::new(bytes, bounds);
    let mut values = Vec::new();
    while let Some(value) = decoder.next_value()? {
        values.push(value);
    }
    Ok(values)
}
