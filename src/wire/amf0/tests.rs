//! Tables for the AMF0 decoder and encoder.

use super::*;
use crate::wire::amf::{Bounds, DEPTH_MAX};
use proptest::prelude::*;

fn object(members: &[(&str, Value)]) -> Object {
    Object(members.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
}

#[test]
fn every_marker_decodes() {
    let rows: Vec<(&[u8], Value)> = vec![
        (b"\x00\x3f\xf0\0\0\0\0\0\0", Value::Number(1.0)),
        (b"\x01\x01", Value::Boolean(true)),
        (b"\x02\0\x02hi", Value::from("hi")),
        (b"\x02\0\x03h\xffi", Value::from("h\u{fffd}i")),
        (b"\x03\0\x01a\x05\0\0\x09", Value::Object(object(&[("a", Value::Null)]))),
        (b"\x05", Value::Null),
        (b"\x06", Value::Undefined),
        (b"\x08\0\0\0\x63\0\x01a\x06\0\0\x09", Value::EcmaArray(object(&[("a", Value::Undefined)]))),
        // the terminator is missing at the message's end
        (b"\x08\0\0\0\x01\0\x01a\x06", Value::EcmaArray(object(&[("a", Value::Undefined)]))),
        // an empty key is a key unless 9 follows
        (b"\x03\0\0\x05\0\0\x09", Value::Object(object(&[("", Value::Null)]))),
        (b"\x0a\0\0\0\x02\x05\x06", Value::StrictArray(vec![Value::Null, Value::Undefined])),
        (b"\x0b\x3f\xf0\0\0\0\0\0\0\xff\xff", Value::Date { unix_ms: 1.0, zone_min: -1 }),
        (b"\x0c\0\0\0\x02hi", Value::from("hi")),
        (b"\x0d", Value::Unsupported),
        (b"\x0f\0\0\0\x01x", Value::Xml("x".into())),
        (b"\x10\0\x01C\0\0\x09", Value::TypedObject { class: "C".into(), object: object(&[]) }),
        (b"\x11\x04\x07", Value::Number(7.0)),
    ];
    for (bytes, want) in rows {
        assert_eq!(decode_all(bytes), Ok(vec![want]), "{bytes:02x?}");
    }
}

#[test]
fn references_point_at_earlier_objects() {
    let bytes = b"\x03\0\x01a\x05\0\0\x09\x07\0\0";
    let one = Value::Object(object(&[("a", Value::Null)]));
    assert_eq!(decode_all(bytes), Ok(vec![one.clone(), one]));
    // what is decoded again gets no new number: after the outer, its inner and the outer again, the array is 2
    let bytes = b"\x03\0\x01a\x03\0\0\x09\0\0\x09\x07\0\0\x0a\0\0\0\0\x07\0\x02";
    let array = Value::StrictArray(vec![]);
    assert_eq!(decode_all(bytes).map(|values| values[2..].to_vec()), Ok(vec![array.clone(), array]));
}

#[test]
fn errors_carry_their_offset() {
    use AmfErrorKind::*;
    let rows: Vec<(Vec<u8>, usize, AmfErrorKind)> = vec![
        (b"\x05\x00\x01".to_vec(), 2, Truncated),
        (b"\x02\0\x09ab".to_vec(), 3, Truncated),
        (b"\x0c\xff\xff\xff\xffab".to_vec(), 5, Truncated),
        (b"\x05\x04".to_vec(), 1, UnknownMarker(4)),
        (b"\x03\0\x01a\x05".to_vec(), 5, Truncated), // only ECMA arrays may lack their terminator
        (b"\x07\0\0".to_vec(), 0, BadReference),
        (b"\x0a\xff\xff\xff\xff\x05".to_vec(), 6, Truncated),
        (b"\x03\0\x01a\x07\0\0\0\0\x09".to_vec(), 4, Cycle), // an object inside itself
        (
            [&b"\x0a\xff\xff\xff\xff"[..], &[5; 9000]].concat(),
            5 + Bounds::DATA.elements as usize - 1,
            TooManyElements,
        ),
        ([b"\x0a\0\0\0\x01".repeat(40), vec![5]].concat(), 5 * DEPTH_MAX as usize, TooDeep),
    ];
    for (bytes, offset, kind) in rows {
        assert_eq!(
            decode_all(&bytes),
            Err(AmfError { offset, kind }),
            "{:02x?}",
            &bytes[..bytes.len().min(20)]
        );
    }
}

/// Nothing in these is finished by going deeper than the bound, taking what was announced, or following a circle.
#[test]
fn r4_hostile_values_cost_no_more_than_their_bounds() {
    use AmfErrorKind::*;
    let objects = b"\x03\0\x01a".repeat(10_000);
    let keys: Vec<u8> =
        (0..100_000).flat_map(|n: u32| [0, 4, b'a', (n >> 16) as u8, (n >> 8) as u8, n as u8, 5]).collect();
    let object = |members: &[u8]| [b"\x03", members, b"\0\0\x09"].concat();
    // Each holds the one before it twice.
    let doubling: Vec<u8> = (0..14u8).flat_map(|n| [10, 0, 0, 0, 2, 7, 0, n, 7, 0, n]).collect();
    let rows = [
        (objects, TooDeep),
        (b"\x0a\0\0\0\x01".repeat(10_000), TooDeep),
        ([&b"\x08\xff\xff\xff\xff"[..], &keys].concat(), TooManyElements),
        (object(&keys), TooManyElements),
        (b"\x0a\xff\xff\xff\xff".to_vec(), Truncated),
        (b"\x0c\xff\xff\xff\xffab".to_vec(), Truncated),
        (b"\x02\xff\xffab".to_vec(), Truncated),
        ([&b"\x0c\0\x01\0\x01"[..], &[b'x'; 0x1_0001]].concat(), TooMuchText),
        (object(b"\0\x01a\x07\0\0"), Cycle),
        // two objects that hold each other
        (object(b"\0\x01a\x03\0\x01b\x07\0\0\0\0\x09"), Cycle),
        ([&b"\x0a\0\0\0\0"[..], &doubling].concat(), TooManyElements),
    ];
    for (bytes, want) in rows {
        let got = decode_within(&bytes, Bounds::COMMAND);
        assert_eq!(got.map_err(|error| error.kind), Err(want), "{:02x?}", &bytes[..bytes.len().min(20)]);
    }
    // Just within the bounds.
    let members = &keys[..7 * (Bounds::COMMAND.elements as usize - 1)];
    assert!(decode_within(&object(members), Bounds::COMMAND).is_ok());
    let deep = b"\x0a\0\0\0\x01".repeat(DEPTH_MAX as usize - 1);
    assert!(decode_within(&[&deep[..], &[5]].concat(), Bounds::COMMAND).is_ok());
}

#[test]
fn r4_references_end() {
    // An array in an array, each level by reference to the one before: as deep as is allowed, no deeper.
    let level = |number: u8| [10, 0, 0, 0, 1, 7, 0, number];
    let chain = |levels: u8| [b"\x0a\0\0\0\0".to_vec(), (0..levels).flat_map(level).collect()].concat();
    assert!(decode_all(&chain(3)).is_ok());
    let error = decode_all(&chain(60)).map_err(|error| error.kind);
    assert_eq!(error, Err(AmfErrorKind::TooDeep));
    // An object in AMF3 that is read again through AMF0 keeps its number there.
    let bytes = b"\x0a\0\0\0\x01\x11\x09\x01\x01\x07\0\0\x11\x09\x03\x01\x01\x11\x09\x02";
    let null = Value::StrictArray(vec![Value::Null]);
    let got = decode_all(bytes).expect("valid");
    assert_eq!(got[2..], [null.clone(), null]);
}

#[test]
fn references_cannot_multiply_text() {
    let mut bytes = b"\x03\0\x01a".to_vec();
    write_string(&mut bytes, &"x".repeat(60_000));
    write_object_end(&mut bytes);
    for _ in 0..1000 {
        bytes.extend_from_slice(&[7, 0, 0]);
    }
    assert!(matches!(decode_all(&bytes), Err(AmfError { kind: AmfErrorKind::TooMuchText, .. })));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (-1e9..1e9).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        "[a-zé]{0,8}".prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
        (0.0..1e12, any::<i16>()).prop_map(|(unix_ms, zone_min)| Value::Date { unix_ms, zone_min }),
        "[a-z]{0,8}".prop_map(Value::Xml),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let members = prop::collection::vec(("[a-z]{1,4}", inner.clone()), 0..5).prop_map(Object);
        prop_oneof![
            members.clone().prop_map(Value::Object),
            members.clone().prop_map(Value::EcmaArray),
            ("[A-Z]{1,4}", members).prop_map(|(class, object)| Value::TypedObject { class, object }),
            prop::collection::vec(inner, 0..5).prop_map(Value::StrictArray),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(values in prop::collection::vec(any_value(), 0..4)) {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| value.encode(&mut bytes));
        prop_assert_eq!(decode_all(&bytes), Ok(values));
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(prop_oneof![0u8..20, any::<u8>()], 0..300)) {
        if let Err(error) = decode_all(&bytes) {
            prop_assert!(error.offset <= bytes.len());
        }
    }
}

#[test]
fn long_strings_are_written_long() {
    let value = Value::String("y".repeat(70_000));
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    assert_eq!(bytes[0], 12);
    assert_eq!(decode_all(&bytes), Ok(vec![value]));
}
