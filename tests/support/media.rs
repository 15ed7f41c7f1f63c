//! Short encoded files, made once by the static ffmpeg, and the hashes of their packets.

use super::checker::{self, Class, VIDEO, flv_tags, parts};
use super::process::run;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// Limit of one encoding.
const LIMIT: Duration = Duration::from_secs(60);

/// Length of every file.
pub const SECONDS: u32 = 6;
/// Video frames a second and from keyframe to keyframe.
pub const FPS: u32 = 25;

/// Encodes test pictures and a tone to `NAME.flv` unless this run did so before.
pub fn flv(ffmpeg: &Path, name: &str, encode: &[&str]) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("media-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{name}.flv"));
    if !file.exists() {
        let unfinished = folder.join(format!("{name}.part"));
        let video = format!("testsrc2=size=320x180:rate={FPS}:duration={SECONDS}");
        let audio = format!("sine=frequency=440:sample_rate=48000:duration={SECONDS}");
        let mut command = Command::new(ffmpeg);
        command.args(["-v", "error", "-y", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio]);
        command
            .args(encode)
            .args(["-pix_fmt", "yuv420p", "-g", &FPS.to_string(), "-f", "flv"])
            .arg(&unfinished);
        run("encoder", &mut command, LIMIT);
        std::fs::rename(unfinished, &file).unwrap();
    }
    file
}

/// One packet: size and hash.
pub type Packet = (u64, String);

/// The elementary streams of a recording: codec -> (hash of the decoder's configuration, packets).
pub type Streams = BTreeMap<String, (Option<Packet>, Vec<Packet>)>;

/// Arguments behind `-i`: copy the packets of every video and audio stream into a list of hashes. (Script data that does
/// not come at time 0 appears to ffmpeg as a stream of its own.)
pub const HASH: [&str; 10] =
    ["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "framehash", "-hash", "sha256"];

/// Reads ffmpeg's `framehash`.
pub fn parse_hashes(text: &str) -> Streams {
    let (mut codecs, mut configs, mut streams) = (BTreeMap::new(), BTreeMap::new(), Streams::new());
    let packet = |cells: &[&str]| Some((cells.first()?.parse().ok()?, (*cells.last()?).to_owned()));
    for line in text.lines() {
        if let Some((index, codec)) = line.strip_prefix("#codec_id ").and_then(|rest| rest.split_once(": ")) {
            codecs.insert(index.to_owned(), codec.to_owned());
        } else if let Some((index, rest)) = line.strip_prefix("#extradata ").and_then(|r| r.split_once(',')) {
            let cells: Vec<&str> = rest.split(',').map(str::trim).collect();
            configs.insert(index.to_owned(), packet(&cells));
        } else if !line.starts_with('#') {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let codec = codecs.get(cells[0]).unwrap_or_else(|| panic!("no line of framehash: {line}"));
            assert!(cells.len() >= 6, "no line of framehash: {line}");
            let config = configs.get(cells[0]).cloned().flatten();
            let stream = streams.entry(codec.clone()).or_insert_with(|| (config, Vec::new()));
            stream.1.extend(packet(&cells[4..6]));
        }
    }
    streams
}

/// The hashes of what `publisher` sends when it publishes `file`: its muxer may write a configuration of its own.
pub fn published(publisher: &Path, player: &Path, file: &Path) -> Streams {
    let folder = tempfile::tempdir().unwrap();
    let sent = folder.path().join("sent.flv");
    let mut command = Command::new(publisher);
    command.args(["-v", "error", "-i"]).arg(file).args(["-map", "0", "-c", "copy", "-f", "flv"]).arg(&sent);
    run("remuxer", &mut command, LIMIT);
    hashes(player, &sent)
}

/// The hashes of a file, as `ffmpeg` reads it.
pub fn hashes(ffmpeg: &Path, file: &Path) -> Streams {
    let mut command = Command::new(ffmpeg);
    command.args(["-v", "error", "-i"]).arg(file).args(HASH).arg("-");
    parse_hashes(&run("hashes", &mut command, LIMIT))
}

/// Which packets of the default video track of an FLV file are keyframes.
fn keys(file: &Path) -> Vec<bool> {
    let tags = flv_tags(&std::fs::read(file).unwrap());
    let default = |tag: &checker::Tag| {
        let first = parts(tag).into_iter().find(|part| part.track == 0)?;
        matches!(first.class, Class::Key | Class::Inter).then_some(first.class == Class::Key)
    };
    tags.iter().filter(|tag| tag.kind == VIDEO).filter_map(default).collect()
}

/// What a player may miss at the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Join {
    /// The player waited for the publisher: it has everything.
    Before,
    /// The player came while the stream ran: it has everything from a keyframe on.
    Live,
}

/// Holds what a player got against what was published: for every stream a contiguous run that begins at a keyframe and
/// reaches the end. `source` is the published FLV file.
pub fn compare(who: &str, source: &Path, published: &Streams, played: &Streams, join: Join) {
    let codecs = |streams: &Streams| streams.keys().cloned().collect::<Vec<_>>();
    assert_eq!(codecs(published), codecs(played), "{who}: streams");
    let keys = keys(source);
    for (codec, (config, sent)) in published {
        let (got_config, got) = &played[codec];
        if config.is_some() && got_config.is_some() {
            assert_eq!(config, got_config, "{who}: configuration of {codec}");
        }
        let missed = sent.len().checked_sub(got.len());
        let missed =
            missed.unwrap_or_else(|| panic!("{who}: {codec}: {} packets of {}", got.len(), sent.len()));
        assert!(!got.is_empty(), "{who}: no packet of {codec}");
        let same = sent.iter().zip(got).take_while(|(was, is)| was == is).count();
        assert!(
            missed == 0 || same == 0,
            "{who}: {codec}: packet {same} of {} is lost on the way, {} came before and behind it: {:?}",
            sent.len(),
            got.len(),
            &got[same.saturating_sub(1)..]
        );
        for (at, (was, is)) in sent[missed..].iter().zip(got).enumerate() {
            assert_eq!(
                was,
                is,
                "{who}: {codec}: packet {} of {}, {missed} missed at the start",
                missed + at,
                sent.len()
            );
        }
        if join == Join::Before {
            assert_eq!(missed, 0, "{who}: {codec}: packets missed");
        }
        // Only the default video track's list lines up with the keyframes.
        if sent.len() == keys.len() && published.len() <= 2 && missed > 0 {
            assert!(keys[missed], "{who}: {codec} starts at packet {missed}, not a keyframe");
        }
    }
}

#[test]
fn reads_framehash() {
    let text = "#version: 2\n#extradata 0,    45, aa\n#codec_id 0: h264\n#codec_id 1: aac\n\
                #stream#, dts,        pts, duration,     size, hash\n0, -59, 21, 40, 4196, bb\n1, 0, 0, 21, 7, cc\n0, 1, 2, 40, 12, dd\n";
    let streams = parse_hashes(text);
    assert_eq!(streams["h264"].0, Some((45, "aa".to_owned())));
    assert_eq!(streams["h264"].1, [(4196, "bb".to_owned()), (12, "dd".to_owned())]);
    assert_eq!(streams["aac"], (None, vec![(7, "cc".to_owned())]));
}
