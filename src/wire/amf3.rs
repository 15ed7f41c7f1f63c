//! AMF3 (Adobe "Action Message Format -- AMF 3"), decoded only: clients with object encoding 3 embed it in commands
//! and data messages. We answer in AMF0, which such clients accept.
//!
//! The three reference tables (strings, objects, traits) live as long as a message; [`super::amf`] says what a reference
//! costs and why none can go round in a circle.

use super::amf::{Bounds, Input, References};
use super::amf0::{AmfError, AmfErrorKind, Object, Value};
use std::rc::Rc;

/// The reference tables of one message. Nothing is added to them while a reference is decoded again, so that numbers
/// stay what they were.
#[derive(Debug, Default)]
pub(super) struct Tables {
    strings: Vec<String>,
    objects: References,
    traits: Vec<Rc<Traits>>,
}

/// What objects of one class share; the table and its objects hold it together.
#[derive(Debug)]
struct Traits {
    class: String,
    dynamic: bool,
    members: Vec<String>,
}

/// Decodes all values of a message body that is AMF3 from its first byte, within the bounds of metadata.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Value>, AmfError> {
    decode_within(bytes, Bounds::DATA)
}

/// Decodes all values of a message body that is AMF3 from its first byte, within `bounds`.
pub fn decode_within(bytes: &[u8], bounds: Bounds) -> Result<Vec<Value>, AmfError> {
    let (mut input, mut tables) = (Input::new(bytes, bounds), Tables::default());
    let mut values = Vec::new();
    while !input.is_at_end() {
        values.push(decode_value(&mut input, &mut tables, 0)?);
    }
    Ok(values)
}

/// Decodes the next value of `input`, `depth` deep in its message.
pub(super) fn decode_value(
    input: &mut Input<'_>,
    tables: &mut Tables,
    depth: u32,
) -> Result<Value, AmfError> {
    Reader { input, tables }.value(depth)
}

struct Reader<'r, 'a> {
    input: &'r mut Input<'a>,
    tables: &'r mut Tables,
}

/// The U29 before most things: either a table index or a length with the thing inline.
enum Head {
    Reference(usize),
    Inline(usize),
}

impl Reader<'_, '_> {
    /// Section 1.3.1: seven bits a byte, the fourth byte gives eight.
    fn u29(&mut self) -> Result<u32, AmfError> {
        let mut value = 0;
        for index in 0..4 {
            let [byte] = self.input.array()?;
            if index == 3 {
                return Ok(value << 8 | u32::from(byte));
            }
            value = value << 7 | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    fn head(&mut self) -> Result<Head, AmfError> {
        let word = self.u29()?;
        let rest = (word >> 1) as usize;
        Ok(if word & 1 == 0 { Head::Reference(rest) } else { Head::Inline(rest) })
    }

    /// A string through the string table; the empty string is never in it.
    fn string(&mut self) -> Result<String, AmfError> {
        let at = self.input.pos();
        match self.head()? {
            Head::Reference(index) => {
                let Some(text) = self.tables.strings.get(index) else {
                    return Err(AmfError { offset: at, kind: AmfErrorKind::BadReference });
                };
                self.input.pay_text(at, text.len())?;
                Ok(text.clone())
            }
            Head::Inline(0) => Ok(String::new()),
            Head::Inline(len) => {
                let text = self.input.text(len)?;
                if !self.input.is_replaying() {
                    self.input.pay_text(at, len)?; // the table's own copy
                    self.tables.strings.push(text.clone());
                }
                Ok(text)
            }
        }
    }

    fn value(&mut self, depth: u32) -> Result<Value, AmfError> {
        let start = self.input.pos();
        self.input.pay_element(start, depth)?;
        let [marker] = self.input.array()?;
        Ok(match marker {
            0 => Value::Undefined,
            1 => Value::Null,
            2 => Value::Boolean(false),
            3 => Value::Boolean(true),
            // 29 bits, two's complement
            4 => Value::Number(f64::from((self.u29()? << 3) as i32 >> 3)),
            5 => Value::Number(self.input.number()?),
            6 => Value::String(self.string()?),
            7..=17 => match self.head()? {
                Head::Reference(index) => return self.reference(start, index, marker, depth),
                Head::Inline(word) => {
                    let number = self.tables.objects.begin(self.input, start);
                    let value = self.complex(marker, word, start, depth)?;
                    self.tables.objects.end(number);
                    value
                }
            },
            other => return Err(AmfError { offset: start, kind: AmfErrorKind::UnknownMarker(other) }),
        })
    }

    fn reference(&mut self, start: usize, index: usize, marker: u8, depth: u32) -> Result<Value, AmfError> {
        let target = self.tables.objects.find(index, start)?;
        if self.input.byte_at(target) != Some(marker) {
            return Err(AmfError { offset: start, kind: AmfErrorKind::BadReference });
        }
        let behind = self.input.replay(target);
        let value = self.value(depth + 1);
        self.input.resume(behind);
        value
    }

    fn complex(&mut self, marker: u8, word: usize, start: usize, depth: u32) -> Result<Value, AmfError> {
        Ok(match marker {
            8 => Value::Date { unix_ms: self.input.number()?, zone_min: 0 },
            9 => self.mixed_array(word, depth)?,
            10 => self.object(word, start, depth)?,
            12 => {
                let at = self.input.pos();
                let bytes = self.input.take(word)?;
                self.input.pay_text(at, word)?;
                Value::ByteArray(bytes.to_vec())
            }
            13..=16 => self.vector(marker, word, depth)?,
            17 => self.dictionary(word, depth)?,
            _ => Value::Xml(self.input.text(word)?), // 7 and 11
        })
    }

    /// Section 3.11: named members up to an empty name, then `dense` items.
    fn mixed_array(&mut self, dense: usize, depth: u32) -> Result<Value, AmfError> {
        let mut members = Vec::new();
        self.named_members(&mut members, depth)?;
        if members.is_empty() {
            let mut items = Vec::new();
            for _ in 0..dense {
                items.push(self.value(depth + 1)?);
            }
            return Ok(Value::StrictArray(items));
        }
        for index in 0..dense {
            members.push((index.to_string(), self.value(depth + 1)?));
        }
        Ok(Value::EcmaArray(Object(members)))
    }

    /// Names and values up to an empty name.
    fn named_members(&mut self, members: &mut Vec<(String, Value)>, depth: u32) -> Result<(), AmfError> {
        loop {
            let name = self.string()?;
            if name.is_empty() {
                return Ok(());
            }
            members.push((name, self.value(depth + 1)?));
        }
    }

    /// Section 3.12. `word` is the U29 without its lowest bit.
    fn object(&mut self, word: usize, start: usize, depth: u32) -> Result<Value, AmfError> {
        let traits = if word & 1 == 0 {
            let bad = AmfError { offset: start, kind: AmfErrorKind::BadReference };
            self.tables.traits.get(word >> 1).ok_or(bad)?.clone()
        } else if word & 2 != 0 {
            return Err(AmfError { offset: start, kind: AmfErrorKind::Externalizable });
        } else {
            self.traits(word, depth)?
        };
        // Each object has copies of its own, of the class as well: a reference of two bytes must pay for them.
        self.input.pay_text(start, traits.class.len())?;
        let class = traits.class.clone();
        let mut members = Vec::new();
        for name in &traits.members {
            self.input.pay_text(start, name.len())?;
            members.push((name.clone(), self.value(depth + 1)?));
        }
        if traits.dynamic {
            self.named_members(&mut members, depth)?;
        }
        let object = Object(members);
        Ok(if class.is_empty() { Value::Object(object) } else { Value::TypedObject { class, object } })
    }

    fn traits(&mut self, word: usize, depth: u32) -> Result<Rc<Traits>, AmfError> {
        let class = self.string()?;
        let mut members = Vec::new();
        for _ in 0..word >> 3 {
            self.input.pay_element(self.input.pos(), depth)?; // a name costs memory even if no value follows
            members.push(self.string()?);
        }
        let traits = Rc::new(Traits { class, dynamic: word & 4 != 0, members });
        if !self.input.is_replaying() {
            self.tables.traits.push(traits.clone());
        }
        Ok(traits)
    }

    /// Vectors of int, uint, double and object (markers 13 to 16), as strict arrays.
    fn vector(&mut self, marker: u8, count: usize, depth: u32) -> Result<Value, AmfError> {
        self.input.take(1)?; // fixed-length flag
        if marker == 16 {
            self.string()?; // the items' class
        }
        let mut items = Vec::new();
        for _ in 0..count {
            if marker == 16 {
                items.push(self.value(depth + 1)?);
                continue;
            }
            self.input.pay_element(self.input.pos(), depth)?;
            items.push(Value::Number(match marker {
                13 => f64::from(i32::from_be_bytes(self.input.array()?)),
                14 => f64::from(u32::from_be_bytes(self.input.array()?)),
                _ => self.input.number()?,
            }));
        }
        Ok(Value::StrictArray(items))
    }

    /// A dictionary, as pairs: its keys need not be strings.
    fn dictionary(&mut self, count: usize, depth: u32) -> Result<Value, AmfError> {
        self.input.take(1)?; // weak-keys flag
        let mut pairs = Vec::new();
        for _ in 0..count {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            pairs.push(Value::StrictArray(vec![key, value]));
        }
        Ok(Value::StrictArray(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::amf0;
    use proptest::prelude::*;

    fn object(members: &[(&str, Value)]) -> Object {
        Object(members.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    }

    #[test]
    fn values_decode() {
        let rows: Vec<(&[u8], Vec<Value>)> = vec![
            (
                b"\x00\x01\x02\x03",
                vec![Value::Undefined, Value::Null, Value::Boolean(false), Value::Boolean(true)],
            ),
            (b"\x04\x81\x00", vec![Value::Number(128.0)]),
            (b"\x04\xff\xff\xff\xff", vec![Value::Number(-1.0)]),
            (b"\x04\x8f\xff\xff\xff", vec![Value::Number(67_108_863.0)]),
            (b"\x05\x3f\xf0\0\0\0\0\0\0", vec![Value::Number(1.0)]),
            (b"\x06\x05hi\x06\x00", vec!["hi".into(), "hi".into()]),
            (b"\x09\x05\x01\x01\x01", vec![Value::StrictArray(vec![Value::Null, Value::Null])]),
            (
                b"\x09\x03\x03a\x02\x01\x03",
                vec![Value::EcmaArray(object(&[("a", Value::Boolean(false)), ("0", Value::Boolean(true))]))],
            ),
            // dynamic, anonymous; then the same object by reference
            (b"\x0a\x0b\x01\x03k\x06\x03v\x01\x0a\x00", {
                let one = Value::Object(object(&[("k", "v".into())]));
                vec![one.clone(), one]
            }),
            // sealed class C with one member, then a second one through its traits
            (
                b"\x0a\x13\x03C\x03m\x04\x01\x0a\x01\x04\x02",
                vec![
                    Value::TypedObject { class: "C".into(), object: object(&[("m", Value::Number(1.0))]) },
                    Value::TypedObject { class: "C".into(), object: object(&[("m", Value::Number(2.0))]) },
                ],
            ),
            // what is decoded again gets no new number: an array in an array, both again, then bytes, number 2
            (b"\x09\x03\x01\x09\x01\x01\x09\x00\x0c\x03\x07\x0c\x04", {
                let outer = Value::StrictArray(vec![Value::StrictArray(vec![])]);
                let bytes = Value::ByteArray(vec![7]);
                vec![outer.clone(), outer, bytes.clone(), bytes]
            }),
            (b"\x0c\x05\x01\x02", vec![Value::ByteArray(vec![1, 2])]),
            (b"\x0d\x03\x00\xff\xff\xff\xff", vec![Value::StrictArray(vec![Value::Number(-1.0)])]),
            (b"\x0e\x03\x00\xff\xff\xff\xff", vec![Value::StrictArray(vec![Value::Number(4_294_967_295.0)])]),
            (
                b"\x11\x03\x00\x01\x03",
                vec![Value::StrictArray(vec![Value::StrictArray(vec![Value::Null, Value::Boolean(true)])])],
            ),
        ];
        for (bytes, want) in rows {
            assert_eq!(decode_all(bytes), Ok(want), "{bytes:02x?}");
        }
    }

    #[test]
    fn errors_carry_their_offset() {
        use AmfErrorKind::*;
        let rows: Vec<(&[u8], usize, AmfErrorKind)> = vec![
            (b"\x06\x09a", 2, Truncated),
            (b"\x06\x00", 1, BadReference),
            (b"\x01\x0a\x00", 1, BadReference),
            (b"\x0a\x07\x01", 0, Externalizable),
            (b"\x12", 0, UnknownMarker(0x12)),
            (b"\x0a\x0b\x01\x03k\x0a\x00\x01", 5, Cycle), // an object inside itself
            (b"\x09\xff\xff\xff\xff\x01", 6, Truncated),
        ];
        for (bytes, offset, kind) in rows {
            assert_eq!(decode_all(bytes), Err(AmfError { offset, kind }), "{bytes:02x?}");
        }
    }

    #[test]
    fn r4_hostile_values_cost_no_more_than_their_bounds() {
        use AmfErrorKind::*;
        let long_text = [&b"\x06\x84\x80\x03"[..], &[b'x'; 0x1_0001]].concat();
        let class = [&b"\x0a\x03\x8f\x51"[..], &[b'C'; 1000]].concat();
        let member = [&b"\x0a\x13\x01\x8f\x51"[..], &[b'm'; 1000], b"\x01"].concat();
        // Each array holds the one before it twice.
        let doubling: Vec<u8> = (0..14u8).flat_map(|n| [9, 5, 1, 9, n << 1, 9, n << 1]).collect();
        let rows = [
            (b"\x09\x03\x01".repeat(10_000), TooDeep),
            (b"\x0a\x0b\x01\x03a".repeat(10_000), TooDeep),
            ([&b"\x0a\x0b\x01"[..], &b"\x03a\x01".repeat(100_000)].concat(), TooManyElements),
            ([&b"\x09\xff\xff\xff\xff\x01"[..], &[1; 100_000]].concat(), TooManyElements),
            ([&b"\x0d\xff\xff\xff\xff\0"[..], &[0; 400_000]].concat(), TooManyElements),
            // members that a class announces, each with an empty name
            ([&b"\x0a\xff\xff\xff\xf3\x01"[..], &[1; 100_000]].concat(), TooManyElements),
            (b"\x0a\xff\xff\xff\xf3\x01".to_vec(), Truncated),
            (b"\x06\xff\xff\xff\xff".to_vec(), Truncated),
            (b"\x0c\xff\xff\xff\xff".to_vec(), Truncated),
            (long_text, TooMuchText),
            // one long class, and one long member, of a thousand objects by reference
            ([class, b"\x0a\x01".repeat(1000)].concat(), TooMuchText),
            ([member, b"\x0a\x01\x01".repeat(500)].concat(), TooMuchText),
            (b"\x09\x03\x01\x09\x00".to_vec(), Cycle),
            // two arrays that hold each other
            (b"\x09\x03\x01\x09\x03\x01\x09\x00".to_vec(), Cycle),
            ([&b"\x09\x01\x01"[..], &doubling].concat(), TooManyElements),
        ];
        for (bytes, want) in rows {
            let got = decode_within(&bytes, Bounds::COMMAND).map_err(|error| error.kind);
            assert_eq!(got.map(|values| values.len()), Err(want), "{:02x?}", &bytes[..bytes.len().min(20)]);
        }
        // Inside AMF0 the budget is the same one.
        let nested = [&b"\x0a\0\0\x04\0"[..], &b"\x11\x09\x03\x01\x01".repeat(1024)].concat();
        let got = amf0::decode_within(&nested, Bounds::COMMAND).map_err(|error| error.kind);
        assert_eq!(got, Err(TooManyElements));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(prop_oneof![0u8..20, any::<u8>()], 0..300)) {
            if let Err(error) = decode_all(&bytes) {
                prop_assert!(error.offset <= bytes.len());
            }
        }
    }
}
