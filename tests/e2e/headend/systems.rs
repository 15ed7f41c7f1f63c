//! What a channel says of its sound: as DVB or as ATSC says AC-3, and AAC in LATM. On this machine's own loopback.

use super::PATIENCE;
use crate::support::media;
use crate::support::process::{Process, program, run, static_ffmpeg};
use crate::support::server::Config;
use crate::support::share_machine;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Packets of a capture that are sound: some seconds of it.
const SOUND_PACKETS: usize = 400;
const SOUND: u16 = 0x110;

/// A capture of a channel of the file: with `keys` in `[headend]` and `table` in its own.
fn captured(ffmpeg: &Path, file: &Path, keys: &[(&str, &str)], table: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let to = socket.local_addr().unwrap();
    let channel = format!(
        "[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 2_000_000\nto = [\"udp://{to}\"]\n{table}\n"
    );
    let config = keys.iter().fold(Config::new(), |config, (key, value)| config.set(key, value));
    let server = config.table(&channel).start();
    let mut command = Command::new(ffmpeg);
    command.args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-re", "-i"]).arg(file);
    command.args(["-c", "copy", "-f", "flv", &server.rtmp_url("one")]);
    let publisher = Process::spawn("publisher", &mut command);
    let (mut bytes, mut sounds, mut datagram) = (Vec::new(), 0, [0; 2048]);
    while sounds < SOUND_PACKETS {
        let len = socket.recv(&mut datagram).expect("the channel sends");
        let is_sound = |packet: &&[u8]| u16::from_be_bytes([packet[1], packet[2]]) & 0x1FFF == SOUND;
        sounds += datagram[..len].chunks(188).filter(is_sound).count();
        bytes.extend(&datagram[..len]);
    }
    drop(publisher);
    server.stop();
    bytes
}

/// Type and descriptors of the sound's line in the last PMT.
fn line_of_sound(stream: &[u8]) -> (u8, Vec<u8>) {
    let mut pmts = stream.chunks(188).filter(|packet| packet[1] & 0x5F == 0x50 && packet[2] == 0);
    let pmt = pmts.next_back().expect("a PMT");
    let field = if pmt[3] & 0x20 != 0 { 1 + usize::from(pmt[4]) } else { 0 };
    let section = &pmt[4 + field + 1..];
    let end = 3 + (usize::from(section[1] & 15) << 8 | usize::from(section[2])) - 4;
    let mut at = 12 + (usize::from(section[10] & 15) << 8 | usize::from(section[11]));
    while at < end {
        let pid = u16::from_be_bytes([section[at + 1] & 0x1F, section[at + 2]]);
        let length = usize::from(section[at + 3] & 15) << 8 | usize::from(section[at + 4]);
        if pid == SOUND {
            return (section[at], section[at + 5..at + 5 + length].to_vec());
        }
        at += 5 + length;
    }
    panic!("no sound in {section:02x?}");
}

/// How ffprobe and GStreamer call the sound of a capture, and whether ffmpeg decodes it without a complaint.
fn read_by_others(ffmpeg: &Path, stream: &[u8], codec: &str, caps: &str) {
    let (Some(ffprobe), Some(launch)) = (program("ffprobe"), program("gst-launch-1.0")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("channel.ts");
    // From the first PAT behind the sound's beginning: what comes before it is of no program yet.
    let begin = stream.chunks(188).position(|packet| packet[1..3] == [0x41, 0x10]).expect("sound");
    std::fs::write(&file, &stream[begin * 188..]).unwrap();
    let mut probe = Command::new(ffprobe);
    probe.args([
        "-v",
        "error",
        "-select_streams",
        "a",
        "-show_entries",
        "stream=codec_name",
        "-of",
        "csv=p=0",
    ]);
    assert_eq!(run("ffprobe", probe.arg(&file), PATIENCE).lines().next(), Some(codec));
    let mut decode = Command::new(ffmpeg);
    decode.args(["-nostdin", "-v", "error", "-i"]).arg(&file).args(["-map", "0:a", "-f", "null", "-"]);
    let process = Process::spawn("ffmpeg", &mut decode);
    let said = process.output.clone();
    process.finish(PATIENCE);
    // The capture ends anywhere.
    let text = said.text();
    let complaints: Vec<&str> =
        text.lines().filter(|line| !line.contains("orrupt") && !line.contains("mismatch")).collect();
    assert!(complaints.len() <= 1, "{codec}: {complaints:?}");
    let pipeline =
        format!("filesrc location={} ! tsdemux name=d d.audio_0_0110 ! {caps} ! fakesink", file.display());
    let mut command = Command::new(launch);
    let process = Process::spawn("GStreamer", command.args(["-q"]).args(pipeline.split_whitespace()));
    let said = process.output.clone();
    process.finish(PATIENCE);
    assert_eq!(said.text(), "", "{codec}: GStreamer complains");
}

const H264: [&str; 4] = ["-c:v", "libx264", "-preset", "veryfast"];

#[test]
fn ac3_as_dvb_and_as_atsc() {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    let dvb: &[(&str, &str)] = &[];
    let atsc: &[(&str, &str)] = &[("headend.system", "\"atsc\"")];
    for (encoder, caps, system, kind, descriptor) in [
        ("ac3", "audio/x-ac3", dvb, 0x06, &[0x6A, 1, 0][..]),
        ("ac3", "audio/x-ac3", atsc, 0x81, b"\x05\x04AC-3"),
        ("eac3", "audio/x-eac3", dvb, 0x06, &[0x7A, 1, 0]),
        ("eac3", "audio/x-eac3", atsc, 0x87, b"\x05\x04EAC3"),
    ] {
        let file =
            media::flv(&ffmpeg, &format!("system-{encoder}"), &[&H264[..], &["-c:a", encoder]].concat());
        let stream = captured(&ffmpeg, &file, system, "");
        let (found, descriptors) = line_of_sound(&stream);
        assert_eq!(found, kind, "{encoder}, {system:?}");
        assert!(descriptors.windows(descriptor.len()).any(|part| part == descriptor), "{descriptors:02x?}");
        let registered = descriptors.starts_with(&[5, 4]);
        assert_eq!(registered, !system.is_empty(), "one way or the other: {descriptors:02x?}");
        read_by_others(&ffmpeg, &stream, encoder, caps);
    }
}

#[test]
fn a_channel_with_aac_in_latm() {
    let Some(ffmpeg) = static_ffmpeg() else { return };
    let _shared = share_machine();
    let file = media::flv(&ffmpeg, "system-aac", &[&H264[..], &["-c:a", "aac"]].concat());
    let stream = captured(&ffmpeg, &file, &[], "aac = \"latm\"\nlanguages = [\"deu\"]");
    let (kind, descriptors) = line_of_sound(&stream);
    assert_eq!((kind, descriptors), (0x11, b"\x7c\x01\x29\x0a\x04deu\0".to_vec()));
    read_by_others(&ffmpeg, &stream, "aac_latm", "audio/mpeg,stream-format=loas");
}
