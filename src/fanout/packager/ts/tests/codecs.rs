//! What codecs look like in packets, read by hand.

use super::*;
use crate::wire::hex;

/// SVT-AV1 of ffmpeg 9.
const AV1C: &str = "81000d00 0a0b0200000521e7f66017c012";
const AV1: Variant = Variant { av1: true, ..Variant::FULL };
const LATM: Variant = Variant { latm: true, ..Variant::FULL };

/// The elementary streams' lines of a PMT in one packet: type, PID, descriptors.
fn lines(pmt: &[u8]) -> Vec<(u8, u16, Vec<u8>)> {
    let length = usize::from(u16::from_be_bytes([pmt[2] & 0x0F, pmt[3]]));
    let (mut rest, mut found) = (&pmt[13..4 + length - 4], Vec::new());
    while let [kind, p0, p1, l0, l1, behind @ ..] = rest {
        let (own, next) = behind.split_at(usize::from(u16::from_be_bytes([l0 & 0x0F, *l1])));
        found.push((*kind, u16::from_be_bytes([p0 & 0x1F, *p1]), own.to_vec()));
        rest = next;
    }
    found
}

/// The units of a byte stream as the draft's syntax table reads them: a start code in front, each 3 behind two zeros left
/// out; then what their own headers say: type and contents.
fn units(stream: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let starts: Vec<usize> = (0..stream.len()).filter(|at| stream[*at..].starts_with(&[0, 0, 1])).collect();
    assert_eq!(starts.first(), Some(&0), "it begins with a unit");
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let (mut plain, mut at, coded) = (Vec::new(), 0, &stream[start + 3..end]);
        while at < coded.len() {
            if coded[at..].starts_with(&[0, 0, 3]) {
                plain.extend([0, 0]);
                at += 3;
            } else {
                plain.push(coded[at]);
                at += 1;
            }
        }
        assert_eq!(plain[0] & 0x87, 0x02, "no extension, with a size");
        let length = plain[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let digits = plain[1..=length].iter().rev();
        let size = digits.fold(0usize, |size, byte| size << 7 | usize::from(byte & 0x7F));
        assert_eq!(plain.len(), 1 + length + size, "nothing behind its end");
        (plain[0] >> 3, plain[1 + length..].to_vec())
    };
    starts.iter().zip(ends).map(unit).collect()
}

/// The payload of the packets of a PID.
fn pes(packets: &[Packet], pid: u16) -> Vec<u8> {
    packets.iter().filter(|packet| packet.pid == pid).flat_map(|packet| packet.payload.clone()).collect()
}

#[test]
fn av1_is_what_the_draft_says() {
    let mut bench = Bench::new(AV1);
    let sequence = [b"\x90av01".to_vec(), hex(AV1C)].concat();
    assert!(bench.frame(Kind::Video, 0, &sequence).is_none());
    // A frame of many zeros, longer than the length of a PES packet.
    let tile: Vec<u8> = (0..70_000u32).map(|n| if n % 7 < 4 { 0 } else { n as u8 % 5 }).collect();
    let mut frame = vec![0x32];
    let mut size = tile.len();
    while size >= 0x80 {
        frame.push(size as u8 | 0x80);
        size >>= 7;
    }
    frame.push(size as u8);
    frame.extend(&tile);
    let (join, packets) = bench.frame(Kind::Video, 0, &[&b"\x91av01"[..], &frame].concat()).unwrap();
    assert!(join && pids(&packets[..4]) == [0, 0x1000, 0x11, 0x100]);
    // Section 2: registration first; the descriptor behind the AOM's specifier; no colours are told.
    let descriptors = b"\x05\x04AV01\x5f\x04AOMS\x80\x04\x81\x00\x0d\xc0".to_vec();
    assert_eq!(lines(&packets[1].payload), [(0x06, 0x100, descriptors)]);
    // Section 3.4: private stream 1, aligned; its length is more than can be told.
    let picture = pes(&packets, 0x100);
    assert_eq!(picture[..9], [0, 0, 1, 0xBD, 0, 0, 0x84, 0x80, 5]);
    assert!(packets[3].random_access && packets[3].pcr.is_some());
    // Section 3.2: the record's sequence header and the frame.
    let found = units(&picture[14..]);
    assert_eq!(found, [(1, hex(AV1C)[6..].to_vec()), (6, tile)]);
    let (join, packets) =
        bench.frame(Kind::Video, 40, b"\xa1av01\x12\0\x32\x02\x30\x01").expect("an inter frame");
    assert!(!join && !packets.last().unwrap().random_access);
    let picture = pes(&packets, 0x100);
    let expected = vec![(6, vec![0x30, 1])];
    assert_eq!((picture[4..6].to_vec(), units(&picture[14..])), (vec![0, 15], expected));
}

/// `elementary_stream_priority_indicator` in front of key frames of AV1, and nowhere else.
#[test]
fn key_frames_of_av1_are_marked() {
    let priority = |variant, config: &[u8], body: &[u8]| {
        let (mut bench, mut log) = (Bench::new(variant), LogWriter::new(LogId(0)));
        let set = bench.config(Kind::Video, config);
        let join = tag::inspect(Kind::Video, body).unwrap().is_join_video();
        let about = About { config: &set, newest: &set, config_epoch: set.epoch, join };
        let packed = bench.packager.pack(&mut log, &frame(Kind::Video, 0, body), about);
        assert!(matches!(packed, Packed::Entry { .. }));
        assert!(log.commit(Mono::ZERO, Entry::default(), None));
        let segment = log.snapshot().segments[0].clone();
        let bytes = segment.bytes(0, segment.entry(0).unwrap().end).unwrap().to_vec();
        let picture = bytes.chunks(188).find(|packet| packet[1..3] == [0x41, 0]).unwrap().to_vec();
        picture[5] & 0x20 != 0
    };
    let config = [b"\x90av01".to_vec(), hex(AV1C)].concat();
    assert!(priority(AV1, &config, b"\x91av01\x32\x02\x10\x01"));
    assert!(!priority(AV1, &config, b"\xa1av01\x32\x02\x30\x01"));
    assert!(!priority(AV1, AVC, KEY));
}

#[test]
fn av1_waits_for_its_record_and_without_the_key_is_left_out() {
    let body = b"\x91av01\x32\x02\x10\x01";
    let mut bench = Bench::new(AV1);
    assert!(bench.frame(Kind::Video, 0, body).is_none());
    let refusal =
        |variant, config: &ConfigSet| packager::refusal(LogKey { format: Format::Ts, variant }, config);
    assert_eq!(refusal(AV1, &bench.table.snapshot()), None, "it may come");
    bench.config(Kind::Video, &[b"\x90av01".to_vec(), hex(AV1C)].concat());
    assert!(bench.frame(Kind::Video, 40, body).is_some());
    let why = refusal(Variant::FULL, &bench.table.snapshot()).unwrap();
    assert!(why.contains("av1 = true"), "{why}");
    let sound = Variant { video: false, ..AV1 };
    assert_eq!(refusal(sound, &bench.table.snapshot()), None, "a part has what the whole has");
    bench.config(Kind::Video, b"\x90av01\x80\0");
    assert_eq!(refusal(AV1, &bench.table.snapshot()), Some("the AV1 configuration cannot be read"));
}

/// Enhanced RTMP asks for no record: what keyframes have of it is as good, and another header is another map.
#[test]
fn av1_without_a_record_goes_by_its_keyframes() {
    let mut bench = Bench::new(AV1);
    let record = hex(AV1C);
    let key = |record: &[u8]| [b"\x91av01", &record[4..], b"\x32\x02\x10\x01"].concat();
    assert!(bench.frame(Kind::Video, 0, b"\xa1av01\x32\x02\x30\x01").is_none(), "none to begin with");
    let (join, first) = bench.frame(Kind::Video, 40, &key(&record)).unwrap();
    assert_eq!((join, pids(&first)), (true, vec![0, 0x1000, 0x11, 0x100]));
    let descriptor = &record[..3];
    assert!(first[1].payload.windows(3).any(|part| part == descriptor), "{:02x?}", first[1].payload);
    assert_eq!(pids(&bench.frame(Kind::Video, 80, b"\xa1av01\x32\x02\x30\x01").unwrap().1), [0x100]);
    let (_, same) = bench.frame(Kind::Video, 120, &key(&record)).unwrap();
    assert_eq!(same[1].payload[6], first[1].payload[6], "the version");
    let mut other = record.clone();
    // Level 2.1.
    other[6 + 2] |= 1 << 3;
    let (_, next) = bench.frame(Kind::Video, 160, &key(&other)).unwrap();
    assert_ne!(next[1].payload[6], first[1].payload[6], "the version");
    // One that comes by itself is the publisher's word.
    bench.config(Kind::Video, &[b"\x90av01".to_vec(), record.clone()].concat());
    let (_, told) = bench.frame(Kind::Video, 200, &key(&other)).unwrap();
    assert!(told[1].payload.windows(3).any(|part| part == descriptor));
}

#[test]
fn aac_in_latm_on_request() {
    let mut bench = Bench::new(LATM);
    bench.config(Kind::Video, AVC);
    bench.config(Kind::Audio, AAC);
    let (_, key) = bench.frame(Kind::Video, 0, KEY).unwrap();
    let descriptors = b"\x7c\x01\x29\x0a\x04und\0".to_vec();
    assert_eq!(lines(&key[1].payload)[1..], [(0x11, 0x200, descriptors)]);
    let (_, sound) = bench.frame(Kind::Audio, 10, SOUND).unwrap();
    let element = pes(&sound, 0x200);
    assert_eq!(element[..9], [0, 0, 1, 0xC0, 0, 21, 0x84, 0x80, 5]);
    // Sync word and length; then the configuration and the frame, 45 bits behind.
    assert_eq!(element[14..17], [0x56, 0xE0, 10]);
    let bits: Vec<u8> =
        element[17..].iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |from: usize, to: usize| bits[from..to].iter().fold(0u32, |n, bit| n << 1 | u32::from(*bit));
    assert_eq!([number(0, 16), number(16, 32), number(32, 45), number(45, 53)], [0x2000, 0x1190, 0x3FC, 3]);
    assert_eq!([number(53, 61), number(61, 69), number(69, 77), number(77, 80)], [0x21, 0x10, 0x05, 0]);
    // What it cannot say is refused with its reason.
    let mut bench = Bench::new(LATM);
    bench.config(Kind::Audio, &[0xAF, 0, 0xF8, 0xE6, 0x20, 0]);
    let why = packager::refusal(LogKey { format: Format::Ts, variant: LATM }, &bench.table.snapshot());
    assert!(why.is_some_and(|why| why.contains("LATM")), "{why:?}");
}
