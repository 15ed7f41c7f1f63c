//! Tag heads as real publishers sent them, the grammar's corners, and lies.

use super::*;
use crate::wire::hex;
use proptest::prelude::*;

fn parts(kind: Kind, text: &str) -> Vec<(u8, Codec, i32, Range<usize>)> {
    let body = hex(text);
    let tag = inspect(kind, &body).unwrap();
    tag.tracks(&body).map(|p| (p.track_id, p.codec, p.cts_ms, p.payload)).collect()
}

/// Head, kind, codec, packet, cts in ms, join point, payload of the first track.
#[test]
fn captured_heads() {
    use Codec::*;
    use Kind::{Audio, Video};
    use Packet::*;
    let rows: &[(&str, Kind, Codec, Packet, i32, bool, usize)] = &[
        // ffmpeg 9, H.264 + AAC
        ("17000000000164000cffe1001a6764000cacd941419f9f01", Video, H264, Config, 0, false, 5),
        ("1701000050000002ac0605ffffa8dc45e9bde6d948b7962c", Video, H264, Frames, 80, true, 5),
        ("27010000a00000030c419a231884bfdaefefbdeb2d7a5891", Video, H264, Frames, 160, false, 5),
        ("1702000000", Video, H264, End, 0, false, 5),
        ("af00119056e500", Audio, Aac, Config, 0, false, 2),
        ("af01214a6cfe1f87e1f84c592bb2c97564bab29d37fbf9d5", Audio, Aac, Frames, 0, false, 2),
        // ffmpeg 9, MP3
        ("2ffffb9464000002c505545524600e33c4c820a01c004fa8", Audio, Mp3, Frames, 0, false, 1),
        // ffmpeg 9, HEVC + Opus
        ("90687663310101600000009000000000003cf000fcfdf8f8", Video, Hevc, Config, 0, false, 5),
        ("d468766331020009636f6c6f72496e666f03000b636f6c6f", Video, Hevc, Metadata, 0, false, 5),
        ("916876633100005000000c032801ac2930b834b98f794e32", Video, Hevc, Frames, 80, true, 8),
        ("a1687663310000c80000040e0201d021498812984dba2057", Video, Hevc, Frames, 200, false, 8),
        ("a368766331000000da0001e024fd7a240b4c7d8a43044be3", Video, Hevc, Frames, 0, false, 5),
        ("904f7075734f707573486561640102380180bb0000000000", Audio, Opus, Config, 0, false, 5),
        ("944f707573010200000003", Audio, Opus, Channels, 0, false, 5),
        ("914f707573fcb4065aa7b5e1e04fecd2e5e712c1108bc172", Audio, Opus, Frames, 0, false, 5),
        // ffmpeg 9, AV1
        ("906176303181000d000a0b0200000521e7f66017c012", Video, Av1, Config, 0, false, 5),
        ("91617630310a0b0200000521e7f66257c812329d31100084", Video, Av1, Frames, 0, true, 5),
        ("d461763031020009636f6c6f72496e666f03000b636f6c6f", Video, Av1, Metadata, 0, false, 5),
        // ffmpeg 9, VP9 + FLAC
        ("907670303901000000000b820202020000", Video, Vp9, Config, 0, false, 5),
        ("9176703039824983420013f00b360638241c184200099050", Video, Vp9, Frames, 0, true, 5),
        ("a17670303986004092f0a1250000f07f91e46e8e37f23f4f", Video, Vp9, Frames, 0, false, 5),
        ("90664c6143040004000007cf000f050bb803f00005dc004b", Audio, Flac, Config, 0, false, 5),
        ("91664c6143fff8aaae008b4c00859a5900ebc0ae0170fc3d", Audio, Flac, Frames, 0, false, 5),
        // ffmpeg 9, AC-3 and E-AC-3: the sequence start is empty
        ("9061632d33", Audio, Ac3, Config, 0, false, 5),
        ("9465632d33010200000003", Audio, Eac3, Channels, 0, false, 5),
        ("9165632d330b77017f3487c00020cc290a29008c06060602", Audio, Eac3, Frames, 0, false, 5),
        // GStreamer rtmp2sink
        ("170000000001f4000dffe1001c67f4000d90d9640a37e7c0", Video, H264, Config, 0, false, 5),
        ("17010000000000000209100000001c67f4000d90d9640a37", Video, H264, Frames, 0, true, 5),
    ];
    for &(head, kind, codec, packet, cts_ms, join, payload_at) in rows {
        let body = hex(head);
        let tag = inspect(kind, &body).unwrap_or_else(|e| panic!("{head}: {e}"));
        assert_eq!((tag.codec, tag.packet, tag.cts_ms), (codec, packet, cts_ms), "{head}");
        assert_eq!(tag.is_join_video(), join, "{head}");
        assert!(tag.default_track && tag.multitrack.is_none(), "{head}");
        assert_eq!(
            tag.enhanced,
            head.starts_with('9') || head.starts_with('a') && kind == Video || head.starts_with('d')
        );
        let all: Vec<_> = tag.tracks(&body).collect();
        assert_eq!(
            all,
            [TrackPart { track_id: 0, codec, cts_ms, payload: payload_at..body.len() }],
            "{head}"
        );
        assert_eq!(tag.payload(body.len()), payload_at..body.len(), "{head}");
    }
}

#[test]
fn captured_multitrack_heads() {
    use Kind::{Audio, Video};
    // ffmpeg 9, two video and two audio tracks; track 0 has legacy headers, track 1 is OneTrack.
    for (head, kind, packet, part) in [
        ("960068766331010101600000009000", Video, Packet::Config, (1, Codec::Hevc, 0, 7..15)),
        ("9601687663310100005000000c0328", Video, Packet::Frames, (1, Codec::Hevc, 80, 10..15)),
        ("a6036876633101000000da0001e024", Video, Packet::Frames, (1, Codec::Hevc, 0, 7..15)),
        ("95004f707573014f7075734865616401", Audio, Packet::Config, (1, Codec::Opus, 0, 7..16)),
        ("95044f70757301010200000003", Audio, Packet::Channels, (1, Codec::Opus, 0, 7..13)),
        ("95014f70757301fcb4065aa7b5", Audio, Packet::Frames, (1, Codec::Opus, 0, 7..13)),
    ] {
        let tag = inspect(kind, &hex(head)).unwrap();
        assert_eq!((tag.packet, tag.multitrack), (packet, Some(Multitrack::OneTrack)), "{head}");
        assert!(!tag.default_track && !tag.is_join_video(), "{head}");
        assert_eq!(parts(kind, head), [part], "{head}");
    }
}

#[test]
fn many_tracks() {
    // Two HEVC tracks in one keyframe message, each with its own composition time.
    let two = "96 11 68766331 01 000005 000028 aabb 00 000004 fffff6 cc";
    assert_eq!(parts(Kind::Video, two), [(1, Codec::Hevc, 40, 13..15), (0, Codec::Hevc, -10, 22..23)]);
    let tag = inspect(Kind::Video, &hex(two)).unwrap();
    assert!(tag.is_join_video());
    assert_eq!((tag.cts_ms, tag.multitrack), (-10, Some(Multitrack::ManyTracks)), "the default track's cts");

    // Many codecs: composition time only where the codec has one; an empty payload is legal.
    let codecs = "96 21 61763031 00 000002 0a0b 61766331 05 000003 000001 7a7a7a7a 09 000000";
    let expected =
        [(0, Codec::Av1, 0, 10..12), (5, Codec::H264, 1, 23..23), (9, Codec::Unknown(*b"zzzz"), 0, 31..31)];
    assert_eq!(parts(Kind::Video, codecs), expected);

    let audio = "95 10 4f707573 00 000001 aa 03 000002 bbcc";
    assert_eq!(parts(Kind::Audio, audio), [(0, Codec::Opus, 0, 10..11), (3, Codec::Opus, 0, 15..17)]);
}

#[test]
fn mod_ex_prefixes() {
    // Three bytes of nanoseconds, then CodedFrames.
    let tag = inspect(Kind::Video, &hex("97 02 0f423f 01 61763031 0a0b")).unwrap();
    assert_eq!((tag.codec, tag.packet, tag.presentation_offset_ns), (Codec::Av1, Packet::Frames, 999_999));
    assert!(tag.is_join_video());
    // Beyond the range: clamped.
    assert_eq!(
        inspect(Kind::Audio, &hex("97 02 ffffff 01 4f707573 00")).unwrap().presentation_offset_ns,
        999_999
    );
    // Chained; an unknown ModEx type is skipped.
    let body = hex("97 00 ee 17 02 000007 01 4f707573 aabb");
    let tag = inspect(Kind::Audio, &body).unwrap();
    assert_eq!((tag.presentation_offset_ns, tag.payload(body.len())), (7, 13..15));
    // The size escape: 255 + 1 == 256, then two bytes, here 0x012c + 1 = 301 bytes.
    let long = hex(&format!("97 ff 012c {} 01 61763031 0a", "00".repeat(301)));
    assert_eq!(inspect(Kind::Video, &long).unwrap().payload(long.len()), 310..311);
    // ModEx before a multitrack tag.
    assert_eq!(parts(Kind::Audio, "97 00 00 05 01 4f707573 02 aa"), [(2, Codec::Opus, 0, 10..11)]);
}

#[test]
fn roles_that_are_never_join_points() {
    for (head, packet) in [
        ("9068766331", Packet::Config),
        ("9268766331", Packet::End),
        ("9468766331", Packet::Metadata),
        ("9561763031 80", Packet::Config),
        ("9868766331", Packet::Reserved(8)),
        ("d001", Packet::Command),
        ("d101", Packet::Command),
        ("5700", Packet::Command),
        ("1702", Packet::End),
        ("1703000000", Packet::Reserved(3)),
    ] {
        let tag = inspect(Kind::Video, &hex(head)).unwrap_or_else(|e| panic!("{head}: {e}"));
        assert_eq!((tag.packet, tag.is_join_video()), (packet, false), "{head}");
    }
    assert!(inspect(Kind::Video, &hex("9561763031 80")).unwrap().mpeg2ts);
    assert!(inspect(Kind::Video, &hex("41 00")).unwrap().is_join_video(), "generated keyframe");
    assert_eq!(parts(Kind::Video, "d001"), [], "a command has no tracks");
}

#[test]
fn dialects_and_unknowns_are_carried() {
    let hevc = inspect(Kind::Video, &hex("1c 01 ffffff 00000001 26")).unwrap();
    assert_eq!((hevc.codec, hevc.cts_ms, hevc.is_join_video()), (Codec::Hevc, -1, true));
    let unknown = inspect(Kind::Video, &hex("91 7a7a7a7a")).unwrap();
    assert_eq!((unknown.codec, unknown.packet), (Codec::Unknown(*b"zzzz"), Packet::Frames));
    assert_eq!(inspect(Kind::Video, &[0x22]).unwrap().codec, Codec::Sorenson);
    assert_eq!(inspect(Kind::Video, &[0x1d]).unwrap().codec, Codec::Legacy(13));
    assert_eq!(inspect(Kind::Audio, &[0xb2]).unwrap().codec, Codec::Speex);
    assert_eq!(inspect(Kind::Audio, &hex("af01")).unwrap().packet, Packet::Frames, "an empty frame");
    assert_eq!(inspect(Kind::Data, &[2]).unwrap().packet, Packet::Script);
}

#[test]
fn lies_name_their_offset() {
    use Kind::{Audio, Video};
    let truncated = |at, expected| TagError::Truncated { at, expected };
    for (kind, head, error) in [
        (Video, "", truncated(0, "the tag header")),
        (Video, "17", truncated(1, "the AVC packet type")),
        (Video, "1701 0000", truncated(4, "the composition time")),
        (Video, "1700 0000", truncated(4, "the composition time")),
        (Video, "57", truncated(1, "the video command")),
        (Video, "d0", truncated(1, "the video command")),
        (Video, "90 687663", truncated(4, "a FourCC")),
        (Video, "91 68766331 0000", truncated(7, "the composition time")),
        (Audio, "af", truncated(1, "the AAC packet type")),
        (Audio, "9f", truncated(1, "a FourCC")),
        (Video, "97", truncated(1, "the ModEx size")),
        (Video, "97 ff 00", truncated(3, "the ModEx size")),
        (Video, "97 02 0000", TagError::Overlong { at: 1, claimed: 3, left: 2 }),
        (Video, "97 ff ffff 00", TagError::Overlong { at: 1, claimed: 65_536, left: 1 }),
        (Video, "97 00 00", truncated(3, "the ModEx type")),
        (Video, "96", truncated(1, "the multitrack type")),
        (Video, "96 06 68766331 00", TagError::Nested { at: 1, packet_type: 6 }),
        (Audio, "95 05 4f707573 00", TagError::Nested { at: 1, packet_type: 5 }),
        (Video, "96 07 68766331 00", TagError::Nested { at: 1, packet_type: 7 }),
        (Video, "96 31 68766331 00", TagError::ReservedMultitrack { at: 1, form: 3 }),
        (Video, "96 01 68766331", truncated(6, "a track number")),
        (Video, "96 11 68766331 00 0000", truncated(9, "a track size")),
        (Video, "96 11 61763031 00 000001", TagError::Overlong { at: 7, claimed: 1, left: 0 }),
        (Video, "96 11 61763031 00 ffffff 00", TagError::Overlong { at: 7, claimed: 0xff_ffff, left: 1 }),
        // The second part of two is short, and a composition time may not reach into the next part.
        (Video, "96 11 61763031 00 000000 01 00", truncated(12, "a track size")),
        (Video, "96 11 68766331 00 000002 0000 01 000000", truncated(12, "the composition time")),
        (Video, "96 21 68766331 00 000003 000000 6876", truncated(15, "a FourCC")),
    ] {
        assert_eq!(inspect(kind, &hex(head)), Err(error), "{head}");
    }
    let chain = hex(&format!("97 {} 01 61763031", "0000 07".repeat(MODEX_MAX)));
    assert_eq!(inspect(Video, &chain), Err(TagError::ModExChain { at: 1 + 3 * MODEX_MAX }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(head in 0u8.., mut body in proptest::collection::vec(any::<u8>(), 0..64)) {
        // Half of all inputs start like an enhanced tag, or few would reach its grammar.
        if let Some(first) = body.first_mut() {
            *first = if head & 1 == 0 { 0x90 | head >> 4 } else { head };
        }
        for kind in [Kind::Audio, Kind::Video, Kind::Data] {
            let Ok(tag) = inspect(kind, &body) else { continue };
            let mut end = 0;
            for part in tag.tracks(&body) {
                prop_assert!(part.payload.start <= part.payload.end && part.payload.end <= body.len());
                prop_assert!(end <= part.payload.start, "parts do not overlap");
                end = part.payload.end;
            }
            if tag.packet != Packet::Command {
                prop_assert_eq!(end, body.len(), "the last part ends the body");
            }
            // Another body than its own must not panic either.
            tag.tracks(&body[..body.len() / 2]).for_each(drop);
        }
    }
}

#[test]
fn a_tag_has_no_more_parts_than_a_stream_has_tracks() {
    let tag = |parts: u8| {
        let mut body = b"\x96\x10av01".to_vec();
        (0..parts).for_each(|id| body.extend([id, 0, 0, 1, 0x81]));
        inspect(Kind::Video, &body).map(|tag| tag.tracks(&body).count())
    };
    assert_eq!((tag(16), tag(17)), (Ok(16), Err(TagError::TooManyTracks { at: 6 + 16 * 5 })));
}

#[test]
fn r9_hostile_enhanced_heads_are_refused() {
    let many =
        |form: u8, parts: usize, each: &[u8]| [&[0x96, form][..], b"hvc1", &each.repeat(parts)].concat();
    let (part, empty) = ([1, 0, 0, 1, 0x26], [1, 0, 0, 0]);
    for parts in [17, 255, 10_000] {
        for each in [&part[..], &empty] {
            let got = inspect(Kind::Video, &many(0x13, parts, each));
            assert_eq!(got, Err(TagError::TooManyTracks { at: 6 + 16 * each.len() }), "{parts}");
        }
    }
    let fourcc_parts = [&[0x95, 0x21][..], &b"Opus\x01\0\0\0".repeat(255)].concat();
    assert!(matches!(inspect(Kind::Audio, &fourcc_parts), Err(TagError::TooManyTracks { .. })));
    for (prefixes, kind, first) in
        [(9, Kind::Video, 0x97), (10_000, Kind::Video, 0x97), (10_000, Kind::Audio, 0x97)]
    {
        let chain = [&[first][..], &[0, 0, 7].repeat(prefixes), b"\x01av01"].concat();
        assert_eq!(inspect(kind, &chain), Err(TagError::ModExChain { at: 1 + 3 * MODEX_MAX }));
    }
    let whole = [&[0x97][..], &[0, 0, 7].repeat(MODEX_MAX - 1), b"\0\0\x01av01"].concat();
    assert!(inspect(Kind::Video, &whole).is_ok());
    // Sizes that say more than there is, at each place that has one.
    for lie in [
        &b"\x97\xff\xff\xff\0"[..],
        b"\x97\xfe\0",
        b"\x97",
        b"\x96\x11hvc1\x01\xff\xff\xff",
        b"\x96\x11hvc1\x01\0\0",
        b"\x96\x11hvc",
        b"\x96\x21hvc1\x01\0\0\x01",
        b"\x96\x11hvc1\x01\0\0\x02\0\0",
        b"\x96",
    ] {
        assert!(inspect(Kind::Video, lie).is_err(), "{lie:02x?}");
    }
}
