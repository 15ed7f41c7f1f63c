//! Scripts of frames and what they leave in the table.

use super::*;
use crate::media::{tag::inspect, time::Mono};
use crate::wire::hex;
use proptest::prelude::*;

use Kind::{Audio, Data, Video};
use Observed::{Changed, Media, New, Refused, Repeat};

fn frame(kind: Kind, body: impl Into<Bytes>) -> Frame {
    Frame { kind, dts_ms: 0, body: body.into(), first_byte_at: Mono::ZERO, complete_at: Mono::ZERO }
}

fn see(table: &mut TrackTable, kind: Kind, body: impl Into<Bytes>) -> Observed {
    let frame = frame(kind, body);
    let tag = inspect(kind, &frame.body).unwrap();
    table.observe(&frame, &tag)
}

/// Feeds `script`, checks each answer, then the bodies of the snapshot in sending order.
fn check(script: &[(Kind, &str, Observed)], expected: &[&str]) -> TrackTable {
    let mut table = TrackTable::new();
    for (kind, body, observed) in script {
        assert_eq!(see(&mut table, *kind, hex(body)), *observed, "{body}");
    }
    let got: Vec<Bytes> = table.snapshot().entries.iter().map(|e| e.body.clone()).collect();
    let expected: Vec<Bytes> = expected.iter().map(|body| hex(body).into()).collect();
    assert_eq!(got, expected);
    table
}

const AVC: &str = "1700000000 0164000c";
const AVC_2: &str = "1700000000 014d0028";
const AVC_KEY: &str = "1701000000 00000001 65";
const AAC: &str = "af00 119056e500";
const COLOUR: &str = "d468766331 020009 636f6c6f72496e666f 03000b";
const RESET: &str = "d468766331 020009 636f6c6f72496e666f 06";
const META: &[u8] = b"\x02\x00\x0aonMetaData\x08\0\0\0\0\0\0\x09";

#[test]
fn newest_configuration_in_sending_order() {
    let (opus, channels) = ("904f707573 4f707573", "944f707573 01020000 0003");
    let script = [
        (Audio, opus, New),
        (Audio, channels, New),
        (Video, "9068766331 01", New),
        (Video, COLOUR, New),
        (Video, "9168766331 000000 26", Media),
        (Audio, opus, Repeat),
        (Video, COLOUR, Repeat),
        (Video, "9068766331 02", Changed),
        (Video, "9268766331", Media),
    ];
    let mut table = check(&script, &["9068766331 02", COLOUR, opus, channels]);
    let set = table.snapshot();
    assert!(set.has_audio && set.has_video);
    let count = |audio, video, strip| set.iter_for(audio, video, strip).count();
    assert_eq!([count(true, true, false), count(true, true, true), count(false, true, true)], [4, 2, 1]);
    assert_eq!([count(true, false, false), count(false, false, false)], [2, 0]);
}

#[test]
fn epochs_move_only_with_content() {
    let mut table = TrackTable::new();
    assert_eq!((table.snapshot().epoch, table.snapshot().epoch), (1, 1));
    see(&mut table, Video, hex(AVC));
    see(&mut table, Audio, hex(AAC));
    let old = table.snapshot();
    assert_eq!(old.epoch, 2, "two changes before one snapshot are one epoch");
    see(&mut table, Video, hex(AVC));
    see(&mut table, Video, hex(AVC_KEY));
    assert!(Arc::ptr_eq(&old, &table.snapshot()), "repeats and media of known tracks change nothing");
    see(&mut table, Video, hex(AVC_2));
    assert_eq!(
        (table.snapshot().epoch, &old.entries[0].body[..]),
        (3, &hex(AVC)[..]),
        "the old one is unchanged"
    );
    table.reset();
    let set = table.snapshot();
    assert_eq!((set.epoch, set.entries.len(), set.has_video), (4, 0, false));
}

#[test]
fn colour_resets() {
    check(&[(Video, COLOUR, New), (Video, RESET, Changed), (Video, RESET, Repeat)], &[]);
}

#[test]
fn colour_of_another_tracks_codec_withdraws_nothing() {
    // ffmpeg multitrack: colour of track 1 (HEVC) arrives unnumbered while track 0 is H.264.
    let track_1 = "960068766331 01 01";
    let script = [(Video, AVC, New), (Video, track_1, New), (Video, COLOUR, New), (Video, AVC_KEY, Media)];
    check(&script, &[AVC, track_1, COLOUR]);
}

#[test]
fn another_codec_withdraws_the_old_configuration() {
    check(&[(Video, AVC, New), (Video, "9068766331 01", Changed)], &["9068766331 01"]);
    // MP3 has no sequence header: its first frame ends the AAC one.
    let mut table = check(&[(Audio, AAC, New), (Audio, "2fff", Media)], &[]);
    assert!(table.snapshot().has_audio);
    // Colour goes with the codec it was for.
    check(&[(Video, "9068766331 01", New), (Video, COLOUR, New), (Video, AVC, Changed)], &[AVC]);
}

#[test]
fn one_message_for_several_tracks() {
    let both = "9610 68766331 00 000001 aa 01 000001 bb";
    let both_2 = "9610 68766331 00 000001 ab 01 000001 bb";
    let (first, second) = ("9600 68766331 00 ac", "9600 68766331 01 bc");
    check(&[(Video, both, New), (Video, both, Repeat), (Video, both_2, Changed)], &[both_2]);
    // A newer message for one of them follows the older one, never precedes it.
    check(&[(Video, both, New), (Video, second, Changed)], &[both, second]);
    check(&[(Video, both, New), (Video, second, Changed), (Video, first, Changed)], &[second, first]);
    check(&[(Video, both, New), (Video, first, Changed), (Video, both, Changed)], &[both]);
    // Its own place stays if only its content changes, so that players number tracks as before.
    let (t0, t0_2, t1) = ("9600 68766331 00 01", "9600 68766331 00 02", "9600 68766331 01 01");
    check(&[(Video, t0, New), (Video, t1, New), (Video, t0_2, Changed)], &[t0_2, t1]);
}

#[test]
fn both_forms_of_an_av1_configuration_live_side_by_side() {
    let (own, ts) = ("9061763031 81", "9561763031 80");
    check(&[(Video, own, New), (Video, ts, New), (Video, own, Repeat), (Video, ts, Repeat)], &[own, ts]);
}

#[test]
fn metadata() {
    let mut table = TrackTable::new();
    assert_eq!(see(&mut table, Data, META), New);
    assert_eq!(see(&mut table, Data, META), Repeat);
    assert_eq!(see(&mut table, Data, &b"\x02\x00\x0aonTextData"[..]), Media);
    assert_eq!(table.snapshot().metadata.as_deref(), Some(META));
    let mut large = META.to_vec();
    large.resize(METADATA_BYTES_MAX, 0);
    assert_eq!(see(&mut table, Data, large.clone()), Changed);
    large.push(0);
    assert_eq!(see(&mut table, Data, large), Refused);
    assert_eq!((table.refused(), table.snapshot().metadata.as_ref().unwrap().len()), (1, METADATA_BYTES_MAX));
}

#[test]
fn bounds() {
    let mut table = TrackTable::new();
    let config = |id: u8| hex(&format!("9600 61763031 {id:02x} 81"));
    for id in 0..TRACKS_PER_KIND_MAX as u8 {
        assert_eq!(see(&mut table, Video, config(id)), New);
    }
    assert_eq!(see(&mut table, Video, config(200)), Refused);
    assert_eq!(see(&mut table, Video, hex("9601 61763031 c8 0a")), Refused, "nor is its media passed on");
    assert_eq!(see(&mut table, Video, hex("9601 61763031 0f 0a")), Media, "that of the last one is");
    assert_eq!(see(&mut table, Audio, hex(AAC)), New, "the other kind has its own room");
    let mut body = hex(AVC);
    body.resize(CONFIG_BYTES_MAX + 1, 0);
    assert_eq!(see(&mut table, Video, body), Refused);
    assert_eq!(see(&mut table, Audio, hex("af00")), Refused, "an empty one would wipe the current one");
    assert_eq!(see(&mut table, Audio, hex("9061632d33")), Changed, "AC-3 has an empty one by design");
    assert_eq!(table.refused(), 4);
    assert_eq!(table.snapshot().entries.len(), TRACKS_PER_KIND_MAX + 1);
}

#[test]
fn all_configuration_together_is_bounded() {
    let mut table = TrackTable::new();
    let config = |id: u8, content: u8| {
        let mut body = hex(&format!("9600 61763031 {id:02x}"));
        body.resize(CONFIG_BYTES_MAX, content);
        body
    };
    let mut metadata = META.to_vec();
    metadata.resize(METADATA_BYTES_MAX, 0);
    assert_eq!(see(&mut table, Data, metadata.clone()), New);
    for id in 0..3 {
        assert_eq!(see(&mut table, Video, config(id, 1)), New);
    }
    assert_eq!(see(&mut table, Audio, hex(AAC)), Refused, "full");
    assert_eq!(see(&mut table, Video, config(1, 2)), Changed, "what it replaces makes room for it");
    assert_eq!(see(&mut table, Data, META), Changed);
    assert_eq!(see(&mut table, Audio, hex(AAC)), New);
    assert_eq!(see(&mut table, Data, metadata), Refused);
    let set = table.snapshot();
    assert_eq!((set.entries.len(), set.metadata.as_deref()), (4, Some(META)));
}

/// What a decoder knows of each track after a run of configuration messages.
fn state<'a>(bodies: impl Iterator<Item = &'a Bytes>) -> std::collections::BTreeMap<u8, Vec<u8>> {
    let mut tracks = std::collections::BTreeMap::new();
    for body in bodies {
        let tag = inspect(Video, body).unwrap();
        tracks.extend(tag.tracks(body).map(|p| (p.track_id, body[p.payload].to_vec())));
    }
    tracks
}

proptest! {
    /// A late joiner ends with the same configuration as one who saw it all.
    #[test]
    fn a_snapshot_is_as_good_as_the_history(
        messages in proptest::collection::vec(proptest::collection::vec((0u8..5, 0u8..3), 1..4), 1..24)
    ) {
        let mut table = TrackTable::new();
        let mut history = Vec::new();
        for parts in messages {
            let mut body = hex("9610 61763031");
            for (track_id, content) in parts {
                body.extend([track_id, 0, 0, 1, content]);
            }
            let body = Bytes::from(body);
            see(&mut table, Video, body.clone());
            history.push(body);
        }
        let set = table.snapshot();
        prop_assert_eq!(state(history.iter()), state(set.entries.iter().map(|e| &e.body)));
        prop_assert!(set.entries.len() <= 5, "no more messages than tracks");
    }

    #[test]
    fn arbitrary_frames_never_panic(
        bodies in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 1..40)), 0..20)
    ) {
        let mut table = TrackTable::new();
        for (video, body) in bodies {
            let kind = if video { Video } else { Audio };
            let frame = frame(kind, body);
            if let Ok(tag) = inspect(kind, &frame.body) {
                table.observe(&frame, &tag);
            }
        }
        table.snapshot().summary();
    }
}
