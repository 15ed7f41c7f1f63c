//! R1 to R5, R8, R9: handshakes, chunks, commands and media that nobody honest sends.

use super::{MANNERS_MS, Row, send_all_to_both};
use crate::support::amf::{self, Value};
use crate::support::raw::Stage::{Connected, Publishing, Rtmp, Shaken};
use crate::support::raw::{self, basic, chunk0, message};

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;

fn set_chunk_size(size: u32) -> Vec<u8> {
    message(2, 1, 0, 0, &size.to_be_bytes())
}

#[test]
fn r1_chunk_sizes() {
    let then_a_byte = |size: u32| [set_chunk_size(size), chunk0(5, AUDIO, 1, 0, 1, &[0])].concat();
    let rows = [
        Row::that_goes_on("R1", "chunk size 2^31 - 1", Connected, then_a_byte(0x7fff_ffff)),
        Row::new("R1", "chunk size 0", Connected, "protocol_error", then_a_byte(0)),
        Row::new("R1", "chunk size with bit 31", Connected, "protocol_error", then_a_byte(0x8000_0080)),
        // The most that may be announced, and a message that announces the most.
        Row::new("R1", "message of 16 MiB in one chunk", Connected, "input_limit", {
            [set_chunk_size(0x7fff_ffff), chunk0(5, VIDEO, 1, 0, 0xff_ffff, &[0; 100])].concat()
        }),
    ];
    send_all_to_both(|config| config, &rows);
}

/// One byte on each of `count` chunk streams, of messages that announce `len`.
fn one_byte_each(count: u32, len: usize) -> Vec<u8> {
    let one = |n: u32| chunk0(n + 5, VIDEO, 1, 0, len, &[0x27]);
    [set_chunk_size(1), (0..count).flat_map(one).collect()].concat()
}

#[test]
fn r2_unfinished_messages() {
    let rows = [
        // More than a message may have: the first header is the last that is read.
        Row::new("R2", "16 MiB on a chunk stream", Connected, "input_limit", one_byte_each(1, 0xff_ffff)),
        Row::new("R2", "the same by a publisher", Publishing, "input_limit", one_byte_each(1, 0xff_ffff)),
        Row::new("R2", "1000 bytes on 65 000", Connected, "input_limit", one_byte_each(65_000, 1000)),
        Row::new("R2", "the same by a publisher", Publishing, "input_limit", one_byte_each(65_000, 1000)),
        Row::new("R2", "33 of 1 MiB by a publisher", Publishing, "input_limit", one_byte_each(33, 1 << 20)),
        Row::new("R2", "33 messages begun", Publishing, "input_limit", one_byte_each(33, 1000)),
        Row::new("R2", "32 messages begun", Publishing, "client_closed", one_byte_each(32, 1000)),
    ];
    send_all_to_both(|config| config, &rows);
    // As the one of 1 MiB each it fills a publisher's bound of 8 MiB, and two of them are as much as a table may take.
    let row = Row::new("R2", "9 MiB of three messages", Publishing, "input_limit", {
        let begun = |csid| chunk0(csid, VIDEO, 1, 0, 3 << 20, &vec![0x27; (3 << 20) - 1]);
        [set_chunk_size((3 << 20) - 1), begun(5), begun(6), begun(7)].concat()
    });
    send_all_to_both(|config| config, &[row]);
}

#[test]
fn r3_headers_that_contradict() {
    let begun = chunk0(6, VIDEO, 1, 0, 1000, &[0x27; 128]);
    let other_length = |form: u8| {
        let mut header = basic(form, 6);
        header.extend([0, 0, 0, 0, 0x08, 0, VIDEO]);
        header.extend(if form == 0 { &[1, 0, 0, 0][..] } else { &[] });
        [begun.clone(), header, vec![0; 128]].concat()
    };
    let rows = [
        Row::new("R3", "type 0, 1000 then 2048 bytes", Publishing, "protocol_error", other_length(0)),
        Row::new("R3", "type 1, 1000 then 2048 bytes", Publishing, "protocol_error", other_length(1)),
        Row::new("R3", "type 3 on a new chunk stream", Connected, "protocol_error", basic(3, 9)),
        Row::new("R3", "type 2 on a new chunk stream", Connected, "protocol_error", {
            [basic(2, 9), vec![0, 0, 1]].concat()
        }),
    ];
    send_all_to_both(|config| config, &rows);
}

/// A command whose third value is `value`, written by hand.
fn call(value: &[u8]) -> Vec<u8> {
    let start = amf::encode(&[Value::text("call"), Value::Number(0.0)]);
    message(3, 20, 0, 0, &[start, value.to_vec()].concat())
}

fn properties(count: usize) -> Vec<u8> {
    let one = |n: usize| [&[0, 5][..], format!("{n:05}").as_bytes(), &[5]].concat();
    [vec![3], (0..count).flat_map(one).collect(), vec![0, 0, 9]].concat()
}

#[test]
fn r4_values_without_end() {
    let nested = [3, 0, 1, b'a'].repeat(10_000);
    let amf3 = |value: &[u8]| {
        let start = amf::encode(&[Value::text("call"), Value::Number(0.0)]);
        message(3, 17, 0, 0, &[vec![0], start, vec![0x11], value.to_vec()].concat())
    };
    let rows = [
        Row::new("R4", "10 000 objects in each other", Connected, "protocol_error", call(&nested)),
        Row::that_goes_on("R4", "array of 2^32 - 1", Connected, call(&[8, 255, 255, 255, 255])),
        Row::new("R4", "list of 2^32 - 1", Connected, "protocol_error", call(&[10, 255, 255, 255, 255])),
        Row::new("R4", "string past the end", Connected, "protocol_error", call(&[2, 255, 255, b'a'])),
        Row::new("R4", "long string past the end", Connected, "protocol_error", {
            call(&[12, 255, 255, 255, 255, b'a'])
        }),
        Row::new("R4", "reference to nothing", Connected, "protocol_error", call(&[7, 0, 0])),
        Row::new("R4", "object in itself", Connected, "protocol_error", {
            call(&[3, 0, 1, b'a', 7, 0, 0, 0, 0, 9])
        }),
        Row::new("R4", "AMF3 array in itself", Connected, "protocol_error", amf3(&[9, 3, 1, 9, 0])),
        // Without a class, with members that are named in it: the first is "a".
        Row::new("R4", "AMF3 object in itself", Connected, "protocol_error", {
            amf3(&[10, 11, 1, 3, b'a', 10, 0, 1])
        }),
        // The same with a number of names in front, as many as there can be; two of them are there.
        Row::new("R4", "AMF3 object of 2^25 - 1 names", Connected, "protocol_error", {
            amf3(&[10, 0xff, 0xff, 0xff, 0xf3, 1, 3, b'a', 3, b'b'])
        }),
        Row::new("R4", "AMF3 array of 2^28 - 1", Connected, "protocol_error", {
            amf3(&[9, 0xff, 0xff, 0xff, 0xff, 1, 1, 1])
        }),
        Row::new("R4", "AMF3 externalizable", Connected, "protocol_error", amf3(&[10, 7, 1])),
        // More than a command may be long.
        Row::new("R4", "100 000 properties", Connected, "input_limit", call(&properties(100_000))),
        Row::new("R4", "1100 properties", Connected, "protocol_error", call(&properties(1100))),
    ];
    for log in send_all_to_both(|config| config, &rows) {
        // The bytes mean what they are said to mean: each count is times sent, by the row's own words.
        for (why, rows) in [("reference to an object that contains it", 3), ("externalizable object", 1)] {
            assert_eq!(log.matches(why).count() as u64, rows * super::TIMES, "{why}:\n{log}");
        }
    }
}

#[test]
fn r5_handshakes() {
    let hello = raw::hello();
    let slowly = &hello[..1000];
    let again = [&hello[..], &hello[1..]].concat();
    let rows = [
        Row::new("R5", "version 32", Rtmp, "protocol_error", vec![32; 1537]),
        Row::new("R5", "encrypted", Rtmp, "protocol_error", [&[6], &hello[1..]].concat()),
        Row::new("R5", "HTTP on the RTMP port", Rtmp, "protocol_error", "GET / HTTP/1.1\r\n\r\n"),
        Row::new("R5", "half a handshake", Rtmp, "handshake_timeout", slowly),
        Row::new("R5", "nothing", Rtmp, "handshake_timeout", ""),
        Row::new("R5", "no connect", Shaken, "handshake_timeout", ""),
        Row::new("R5", "no publish or play", Connected, "handshake_timeout", ""),
        // Behind the handshake the same bytes are chunks.
        Row::new("R5", "C1 again", Rtmp, "input_limit", again),
    ];
    send_all_to_both(|config| config.set("limits.handshake_timeout_ms", MANNERS_MS), &rows);
}

/// Bytes of a whole H.264 sequence header and of a keyframe.
const AVC: [&[u8]; 2] =
    [&[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x0c, 0xff, 0xe1, 0, 0, 1, 0, 0], &[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]];

fn at_times(times: &[u32]) -> Vec<u8> {
    let frames = times.iter().map(|&ms| message(6, VIDEO, 1, ms, AVC[1]));
    std::iter::once(message(6, VIDEO, 1, times[0], AVC[0])).chain(frames).flatten().collect()
}

#[test]
fn r8_media_that_makes_no_sense() {
    let aggregate = |body: &[u8]| message(6, 22, 1, 0, body);
    let item = |kind: u8, len: u8| [&[kind, 0, 0, len, 0, 0, 0, 0, 0, 0, 0][..], &[0; 4]].concat();
    let rows = [
        Row::that_goes_on("R8", "empty audio and video", Publishing, {
            [message(4, AUDIO, 1, 0, &[]), message(6, VIDEO, 1, 0, &[])].concat()
        }),
        Row::that_goes_on("R8", "a video of one byte", Publishing, message(6, VIDEO, 1, 0, &[0x17]))
            .dropping(&[("malformed", 1)]),
        Row::that_goes_on("R8", "time wraps", Publishing, {
            at_times(&[0xffff_ffd8, 0, 40, 0xffff_ffff, 80])
        }),
        Row::that_goes_on("R8", "time jumps by 2^31", Publishing, {
            at_times(&[0, 0x8000_0000, 0x7fff_ffff, 5, 0x8000_0005])
        }),
        Row::that_goes_on("R8", "time goes back", Publishing, at_times(&[100_000, 50_000, 40, 0])),
        Row::new("R8", "an aggregate of half an item", Publishing, "protocol_error", aggregate(&[9, 0, 0])),
        Row::new("R8", "an item past the end", Publishing, "protocol_error", aggregate(&item(9, 200))),
        Row::that_goes_on("R8", "an aggregate in an aggregate", Publishing, aggregate(&item(22, 0))),
    ];
    send_all_to_both(|config| config, &rows);
}

/// A name is for what can be seen or heard; what is sent here drops no frame, so that each count is exact.
#[test]
fn r8_publishers_of_nothing() {
    let header = message(6, VIDEO, 1, 0, AVC[0]);
    let metadata = message(6, 18, 1, 0, &amf::encode(&[Value::text("onMetaData"), Value::Object(vec![])]));
    let unknown = message(6, 19, 1, 0, b"x");
    let row = |what, bytes| Row::new("R8", what, Publishing, "publisher_silent", bytes).on_and_on();
    let rows = [
        row("the same header over and over", [header.clone(), header].concat()),
        row("the same metadata over and over", [metadata.clone(), metadata].concat()),
        row("messages of no known type", unknown),
        row("a track without a picture over and over", message(6, VIDEO, 1, 0, b"\x96\x01av01\x00")),
    ];
    send_all_to_both(|config| config.set("publish.silence_timeout_ms", MANNERS_MS), &rows);
}

#[test]
fn r9_enhanced_headers() {
    let video = |body: &[u8]| message(6, VIDEO, 1, 0, body);
    // Key frame, multitrack: many tracks of many codecs, each with its FourCC, number, size and two bytes.
    let tracks = |count: u8| -> Vec<u8> {
        let one = |n: u8| [&b"avc1"[..], &[n, 0, 0, 5, 0, 0, 0, 0xaa, 0xbb]].concat();
        [vec![0x80 | 1 << 4 | 6, 2 << 4 | 1], (0..count).flat_map(one).collect()].concat()
    };
    // ModEx: one byte of data, then type 0 and the next packet type, which is ModEx again.
    let modex = |count: usize| [&[0x80 | 1 << 4 | 7][..], &[0, 0xaa, 0x07].repeat(count), b"avc1"].concat();
    let rows = [
        Row::that_goes_on("R9", "255 tracks", Publishing, video(&tracks(255))).dropping(&[("malformed", 1)]),
        Row::that_goes_on("R9", "10 000 ModEx", Publishing, video(&modex(10_000)))
            .dropping(&[("malformed", 1)]),
        Row::that_goes_on("R9", "a track past the end", Publishing, {
            video(&[0x96, 0x11, b'a', b'v', b'c', b'1', 0, 0xff, 0xff, 0xff, 1])
        })
        .dropping(&[("malformed", 1)]),
        Row::that_goes_on("R9", "ModEx past the end", Publishing, video(&[0x97, 200, 1, 2]))
            .dropping(&[("malformed", 1)]),
        Row::that_goes_on("R9", "half a FourCC", Publishing, video(&[0x91, b'a', b'v']))
            .dropping(&[("malformed", 1)]),
    ];
    send_all_to_both(|config| config, &rows);
}
