//! The chunk reader: header forms, corners of real peers, bounds, and round trips from the writer.

use super::super::message::{MessageHeader, write_message};
use super::*;
use proptest::prelude::*;

/// Reads all of `input`, in pieces of `piece` bytes.
fn read_all(reader: &mut ChunkReader, input: &[u8], piece: usize) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    for (now_us, mut part) in (0..).zip(input.chunks(piece.max(1))) {
        loop {
            let (used, message) = reader.read(now_us, part)?;
            part = &part[used..];
            match message {
                Some(message) => messages.push(message),
                None => break,
            }
        }
        assert!(part.is_empty(), "everything is consumed");
    }
    Ok(messages)
}

/// (csid, time, type, stream, payload) of each message, the same for every way to cut the input.
fn check(input: &[u8], want: &[(u32, u32, u8, u32, &[u8])]) {
    for piece in [1, 2, 3, 5, 7, 1000] {
        let mut reader = ChunkReader::new();
        let messages = read_all(&mut reader, input, piece).expect("valid");
        let got: Vec<_> = messages
            .iter()
            .map(|m| (m.csid, m.timestamp_ms, m.type_id, m.stream_id, &m.payload[..]))
            .collect();
        assert_eq!(got, want, "in pieces of {piece}");
        let payload: usize = want.iter().map(|w| w.4.len()).sum();
        assert!(reader.copied_bytes() >= payload as u64, "aborted messages count too");
        assert_eq!(reader.outstanding_bytes, 0);
    }
}

#[test]
fn every_header_form() {
    check(
        b"\x06\0\0\x0a\0\0\x02\x09\x01\0\0\0ab\
          \x46\0\0\x05\0\0\x01\x09c\
          \x86\0\0\x07d\
          \xc6e\
          \x00\x06\0\0\x01\0\0\x01\x08\x02\0\0\0f\
          \x01\x06\x01\0\0\x01\0\0\x01\x08\x03\0\0\0g\
          \x06\0\0\x0b\0\0\x01\x09\x01\0\0\0h\
          \xc6i",
        &[
            (6, 10, 9, 1, b"ab"),
            (6, 15, 9, 1, b"c"),
            (6, 22, 9, 1, b"d"),
            (6, 29, 9, 1, b"e"),
            (70, 1, 8, 2, b"f"),
            (64 + 6 + 256, 1, 8, 3, b"g"),
            (6, 11, 9, 1, b"h"),
            (6, 11, 9, 1, b"i"), // no delta behind type 0
        ],
    );
}

#[test]
fn a_first_chunk_of_type_1_is_accepted() {
    check(b"\x43\0\0\x02\0\0\x01\x14x", &[(3, 2, 20, 0, b"x")]);
}

#[test]
fn zero_length_messages_are_messages() {
    check(b"\x04\0\0\x02\0\0\0\x08\x01\0\0\0\xc4", &[(4, 2, 8, 1, b""), (4, 2, 8, 1, b"")]);
}

#[test]
fn interleaving_chunk_size_and_abort() {
    check(
        b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x02\
          \x06\0\0\0\0\0\x05\x09\x01\0\0\0ab\
          \x04\0\0\0\0\0\x03\x08\x01\0\0\0AB\
          \xc6cd\xc4C\
          \x02\0\0\0\0\0\x04\x02\0\0\0\0\0\0\
          \xc2\0\x06\
          \xc6no\xc6pq\xc6r",
        // the first video message is dropped; type 3 begins a new one
        &[
            (2, 0, 1, 0, b"\0\0\0\x02"),
            (4, 0, 8, 1, b"ABC"),
            (2, 0, 2, 0, b"\0\0\0\x06"),
            (6, 0, 9, 1, b"nopqr"),
        ],
    );
}

#[test]
fn a_partial_message_may_go_on_with_its_header_repeated() {
    let set = b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x02".as_slice();
    let first = b"\x06\0\0\x09\0\0\x03\x09\x01\0\0\0ab".as_slice();
    let again = b"\x46\0\0\x05\0\0\x03\x09c".as_slice();
    check(&[set, first, again].concat(), &[(2, 0, 1, 0, b"\0\0\0\x02"), (6, 9, 9, 1, b"abc")]);
    let other = b"\x46\0\0\x05\0\0\x02\x09c".as_slice();
    let got = read_all(&mut ChunkReader::new(), &[set, first, other].concat(), 100);
    assert_eq!(got, Err(ChunkError::Interrupted { csid: 6 }));
}

#[test]
fn extended_timestamps_repeated_or_omitted() {
    let set = b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x03".as_slice();
    let head = b"\x06\xff\xff\xff\0\0\x08\x09\x01\0\0\0\x01\x31\x2c\xb0".as_slice();
    let control: (u32, u32, u8, u32, &[u8]) = (2, 0, 1, 0, b"\0\0\0\x03");
    let repeated = b"abc\xc6\x01\x31\x2c\xb0def\xc6\x01\x31\x2c\xb0gh".as_slice();
    check(&[set, head, repeated].concat(), &[control, (6, 0x01312cb0, 9, 1, b"abcdefgh")]);
    let omitted = b"abc\xc6def\xc6gh".as_slice();
    check(&[set, head, omitted].concat(), &[control, (6, 0x01312cb0, 9, 1, b"abcdefgh")]);
    // the payload begins like the number: three bytes are looked at and given back
    let alike = b"abc\xc6\x01\x31\x2c\xc6gh".as_slice();
    check(&[set, head, alike].concat(), &[control, (6, 0x01312cb0, 9, 1, b"abc\x01\x31\x2cgh")]);
    let short = b"abc\xc6def\xc6\x01\x31\x04\0\0\x09\0\0\x01\x08\x01\0\0\0A".as_slice();
    check(
        &[set, head, short].concat(),
        &[control, (6, 0x01312cb0, 9, 1, b"abcdef\x01\x31"), (4, 9, 8, 1, b"A")],
    );
    // with type 1 the field is a difference
    let delta =
        b"\x06\0\0\x10\0\0\x01\x09\x01\0\0\0x\x46\xff\xff\xff\0\0\x04\x09\x01\0\0\0abc\xc6\x01\0\0\0d";
    check(&[set, delta].concat(), &[control, (6, 16, 9, 1, b"x"), (6, 0x01000010, 9, 1, b"abcd")]);
    // some servers repeat the absolute time instead
    let absolute =
        b"\x06\0\0\x10\0\0\x01\x09\x01\0\0\0x\x46\xff\xff\xff\0\0\x04\x09\x01\0\0\0abc\xc6\x01\0\0\x10d";
    check(&[set, absolute].concat(), &[control, (6, 16, 9, 1, b"x"), (6, 0x01000010, 9, 1, b"abcd")]);
}

#[test]
fn times_wrap() {
    check(
        b"\x06\xff\xff\xff\0\0\x01\x09\x01\0\0\0\xff\xff\xff\xf0a\x46\0\0\x20\0\0\x01\x09b",
        &[(6, 0xffff_fff0, 9, 1, b"a"), (6, 0x10, 9, 1, b"b")],
    );
}

#[test]
fn what_breaks_the_stream() {
    let control = |length| ChunkError::Control(ControlError { type_id: 1, length });
    let many: Vec<u8> = (0..=64).flat_map(|id| [&head(64 + id, 1, 8)[..], b"x"].concat()).collect();
    let rows = [
        (b"\x86\0\0\0".to_vec(), ChunkError::NothingToInherit { fmt: 2, csid: 6 }),
        (b"\xc6".to_vec(), ChunkError::NothingToInherit { fmt: 3, csid: 6 }),
        (set_chunk_size(0), control(4)),
        (set_chunk_size(0x8000_0000), control(4)),
        (b"\x02\0\0\0\0\0\x02\x01\0\0\0\0\0\0".to_vec(), control(2)),
        (b"\x06\0\0\0\x01\0\x01\x09\x01\0\0\0".to_vec(), ChunkError::MessageTooLong { length: 65537 }),
        (many, ChunkError::TooManyChunkStreams),
    ];
    for (input, want) in rows {
        assert_eq!(read_all(&mut ChunkReader::new(), &input, 3), Err(want));
    }
}

/// A first chunk header (type 0) of a message of `length` bytes and type `type_id` on chunk stream `csid`.
fn head(csid: u32, length: u32, type_id: u8) -> Vec<u8> {
    let [_, _, high, low] = (csid.wrapping_sub(64)).to_be_bytes();
    let basic = match csid {
        2..=63 => vec![csid as u8],
        64..=319 => vec![0, low],
        _ => vec![1, low, high],
    };
    let [_, l0, l1, l2] = length.to_be_bytes();
    [&basic[..], &[0, 0, 0, l0, l1, l2, type_id, 1, 0, 0, 0]].concat()
}

fn set_chunk_size(size: u32) -> Vec<u8> {
    [&head(2, 4, 1)[..], &size.to_be_bytes()].concat()
}

#[test]
fn r1_a_huge_chunk_size_is_clamped_and_costs_nothing() {
    for (told, taken) in [(0x7fff_ffff, 0xff_ffff), (0x0100_0000, 0xff_ffff), (0xff_ffff, 0xff_ffff), (1, 1)]
    {
        let mut reader = ChunkReader::new();
        read_all(&mut reader, &set_chunk_size(told), 100).expect("valid");
        assert_eq!((reader.chunk_size(), reader.outstanding_bytes), (taken, 0));
        let got = read_all(&mut reader, &[&head(6, 1, 9)[..], b"x"].concat(), 1).expect("valid");
        assert_eq!((&got[0].payload[..], reader.outstanding_bytes), (&b"x"[..], 0));
    }
    for size in [0, 0x8000_0000, 0x8000_0001, 0xffff_ffff] {
        let mut reader = ChunkReader::new();
        let error = ChunkError::Control(ControlError { type_id: 1, length: 4 });
        assert_eq!(read_all(&mut reader, &set_chunk_size(size), 100), Err(error), "{size:#x}");
    }
}

#[test]
fn r2_memory_follows_what_arrives() {
    for limits in [Limits::STRANGER, Limits::PUBLISHER, Limits::PLAYER] {
        let mut reader = ChunkReader::new();
        reader.set_limits(limits);
        read_all(&mut reader, &set_chunk_size(0x7fff_ffff), 100).expect("valid");
        read_all(&mut reader, &head(6, limits.message_bytes, 9), 100).expect("valid");
        assert_eq!(reader.outstanding_bytes, 0, "announced, and nothing of it has come");
        let (mut arrived, mut before) = (0, 0);
        while arrived < limits.message_bytes as usize {
            let piece = (limits.message_bytes as usize - arrived).min(1000);
            let messages = read_all(&mut reader, &vec![7; piece], 1000).expect("valid");
            arrived += piece;
            let whole = arrived == limits.message_bytes as usize;
            assert_eq!(messages.first().map(|m| m.payload.len()), whole.then_some(arrived));
            let bound = limits.reserve_bytes.max(2 * arrived).min(limits.message_bytes as usize);
            assert!(reader.outstanding_bytes <= bound, "{} of {arrived}", reader.outstanding_bytes);
            assert!(reader.outstanding_bytes >= before || whole, "a buffer only grows");
            before = reader.outstanding_bytes;
        }
        assert_eq!(reader.outstanding_bytes, 0);
    }
}

#[test]
fn r2_open_messages_are_bounded_in_number_and_bytes() {
    // Lengths that are just allowed, one byte each.
    for limits in [Limits::STRANGER, Limits::PUBLISHER, Limits::PLAYER] {
        let mut reader = ChunkReader::new();
        reader.set_limits(limits);
        let open = |reader: &mut ChunkReader, csid| {
            read_all(reader, &[&head(csid, limits.message_bytes, 9)[..], b"a"].concat(), 100)
        };
        assert_eq!(read_all(&mut reader, &set_chunk_size(1), 100).map(|m| m.len()), Ok(1));
        // The chunk stream of Set Chunk Size is one of them.
        for csid in 0..limits.partial_messages.min(limits.chunk_streams - 1) as u32 {
            assert_eq!(open(&mut reader, 65_599 - csid), Ok(vec![]));
        }
        assert!(reader.outstanding_bytes <= limits.outstanding_bytes);
        let error = match limits.partial_messages < limits.chunk_streams {
            true => ChunkError::TooManyPartial,
            false => ChunkError::TooManyChunkStreams,
        };
        assert_eq!(open(&mut reader, 3), Err(error));
    }
    // Finished messages leave headers to inherit from, also bounded.
    let mut reader = ChunkReader::new();
    let one = |csid| [&head(csid, 1, 8)[..], b"a"].concat();
    for csid in 0..Limits::STRANGER.chunk_streams as u32 {
        read_all(&mut reader, &one(65_599 - csid), 100).expect("valid");
    }
    assert_eq!(read_all(&mut reader, &one(3), 100), Err(ChunkError::TooManyChunkStreams));
    // Two large messages interleaved: more than all may hold.
    let mut reader = ChunkReader::new();
    reader.set_limits(Limits::PUBLISHER);
    let length = Limits::PUBLISHER.message_bytes;
    let piece = 1 << 20;
    let mut bytes = set_chunk_size(piece);
    for round in 0..6 {
        for csid in [6, 7] {
            bytes.extend(if round == 0 { head(csid, length, 9) } else { vec![0xc0 | csid as u8] });
            bytes.extend(vec![0; piece as usize]);
        }
    }
    assert_eq!(read_all(&mut reader, &bytes, 4096), Err(ChunkError::TooMuchOutstanding));
    assert!(reader.outstanding_bytes <= Limits::PUBLISHER.outstanding_bytes);
    assert!(reader.copied_bytes() > 7 << 20, "the bound is used before it is enforced");
}

#[test]
fn r2_lengths_above_the_bound_are_refused_at_the_header() {
    let rows = [
        (Limits::STRANGER, 9, (64 << 10) + 1),
        (Limits::STRANGER, 20, (64 << 10) + 1),
        (Limits::PUBLISHER, 9, (7 << 20) + 1),
        (Limits::PUBLISHER, 18, (7 << 20) + 1),
        (Limits::PUBLISHER, 22, (7 << 20) + 1),
        (Limits::PUBLISHER, 20, COMMAND_BYTES_MAX + 1), // also of somebody who may send large frames
        (Limits::PUBLISHER, 17, COMMAND_BYTES_MAX + 1),
        (Limits::PUBLISHER, 3, COMMAND_BYTES_MAX + 1),
        (Limits::PLAYER, 20, (4 << 10) + 1),
    ];
    for (limits, type_id, length) in rows {
        let mut reader = ChunkReader::new();
        reader.set_limits(limits);
        let error = ChunkError::MessageTooLong { length };
        assert_eq!(read_all(&mut reader, &head(6, length, type_id), 100), Err(error), "type {type_id}");
        assert!(read_all(&mut reader, &head(6, 0xff_ffff, type_id), 100).is_err());
        assert_eq!(reader.outstanding_bytes, 0);
        let mut reader = ChunkReader::new();
        reader.set_limits(limits);
        assert_eq!(read_all(&mut reader, &head(6, length - 1, type_id), 100), Ok(vec![]));
    }
}

#[test]
fn r3_another_length_inside_a_message_breaks_the_stream() {
    let begin = [&set_chunk_size(2)[..], &head(6, 5, 9), b"ab"].concat();
    let fmt1 = |length: u8, type_id: u8| vec![0x46, 0, 0, 5, 0, 0, length, type_id, b'c'];
    let rows = [
        (fmt1(6, 9), false),
        (fmt1(4, 9), false),
        (fmt1(0, 9), false),
        (fmt1(5, 8), false),
        ([&head(6, 200, 9)[..], b"c"].concat(), false),
        ([&head(6, 1, 9)[..], b"c"].concat(), false),
        (fmt1(5, 9), true),
        (b"\x86\0\0\x01c".to_vec(), true),
        (b"\xc6c".to_vec(), true),
    ];
    for (next, fits) in rows {
        for piece in [1, 100] {
            let got = read_all(&mut ChunkReader::new(), &[&begin[..], &next].concat(), piece);
            match fits {
                true => assert!(got.is_ok(), "{next:02x?}"),
                false => assert_eq!(got, Err(ChunkError::Interrupted { csid: 6 }), "{next:02x?}"),
            }
        }
    }
    // Between messages the length may change with any header that has one.
    check(
        &[&head(6, 2, 9)[..], b"ab", &fmt1(1, 9), b"\xc6d"].concat(),
        &[(6, 0, 9, 1, b"ab"), (6, 5, 9, 1, b"c"), (6, 10, 9, 1, b"d")],
    );
}

#[test]
fn a_large_frame_of_a_trusted_peer_is_assembled_in_place() {
    let mut reader = ChunkReader::new();
    reader.set_limits(Limits::PUBLISHER);
    let payload: Vec<u8> = (0..80_000u32).map(|i| i as u8).collect();
    let header = MessageHeader { csid: 6, timestamp_ms: 0, length: 80_000, type_id: 9, stream_id: 1 };
    let mut bytes = vec![];
    write_message(&mut bytes, &header, &payload, CHUNK_SIZE_DEFAULT);
    let (used, message) = reader.read(1, &bytes[..20_000]).expect("valid");
    assert_eq!((used, message), (20_000, None));
    assert_eq!(reader.outstanding_bytes, 80_000, "one allocation of the exact size");
    let place = reader.streams[0].payload.as_ptr();
    let (_, message) = reader.read(2, &bytes[20_000..]).expect("valid");
    let message = message.expect("whole");
    assert_eq!((&message.payload[..], message.first_byte_at_us), (&payload[..], 1));
    assert_eq!(message.payload.as_ptr(), place, "nothing moved");
    assert_eq!(reader.outstanding_bytes, 0);
    assert_eq!(reader.copied_bytes(), 80_000);
}

#[derive(Clone, Debug)]
enum Step {
    Message { csid: u8, timestamp_ms: u32, payload: Vec<u8> },
    ChunkSize(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![0..100u32, 0xff_fff0..0x100_0010u32, u32::MAX - 20..=u32::MAX, any::<u32>()];
    // payload bytes that look like extended timestamps and headers
    let payload = prop::collection::vec(prop_oneof![Just(0xff_u8), Just(0), Just(1), any::<u8>()], 0..600);
    prop_oneof![
        6 => (3..=63u8, time, payload)
            .prop_map(|(csid, timestamp_ms, payload)| Step::Message { csid, timestamp_ms, payload }),
        1 => (1..300u32).prop_map(Step::ChunkSize),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(steps in prop::collection::vec(any_step(), 0..12), piece in 1..700usize) {
        let (mut bytes, mut want, mut chunk_size) = (vec![], vec![], CHUNK_SIZE_DEFAULT);
        for step in steps {
            match step {
                Step::ChunkSize(size) => {
                    // written by hand: at chunk sizes below 4 even this message is chunked
                    let header =
                        MessageHeader { csid: 2, timestamp_ms: 0, length: 4, type_id: 1, stream_id: 0 };
                    write_message(&mut bytes, &header, &size.to_be_bytes(), chunk_size);
                    chunk_size = size;
                }
                Step::Message { csid, timestamp_ms, payload } => {
                    let length = payload.len() as u32;
                    let header = MessageHeader { csid, timestamp_ms, length, type_id: 9, stream_id: 1 };
                    write_message(&mut bytes, &header, &payload, chunk_size);
                    want.push((u32::from(csid), timestamp_ms, payload));
                }
            }
        }
        let got: Vec<_> = read_all(&mut ChunkReader::new(), &bytes, piece)
            .expect("valid")
            .into_iter()
            .filter(|m| m.type_id == 9)
            .map(|m| (m.csid, m.timestamp_ms, m.payload.to_vec()))
            .collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1..100usize, who in 0..3usize) {
        let mut reader = ChunkReader::new();
        let limits = [Limits::STRANGER, Limits::PUBLISHER, Limits::PLAYER][who];
        reader.set_limits(limits);
        let _ = read_all(&mut reader, &bytes, piece);
        prop_assert!(reader.outstanding_bytes <= limits.outstanding_bytes);
    }
}
