//! A transport stream as a broadcaster sends it, at a constant rate: real pictures and sound, with a guide (EIT), teletext and
//! packets of a PID that no table names in the places of null packets. And who sends it by UDP, at the pace of its clock.

use super::process::run;
use crate::stream::{section, section_packet};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Bits a second.
pub const RATE: u64 = 3_000_000;
/// What no table names.
pub const PRIVATE: u16 = 0x1A5;
pub const TELETEXT: u16 = 0x1A6;
pub const EIT: u16 = 0x12;
pub const NULL: u16 = 0x1FFF;
/// Where ffmpeg has the first pictures.
pub const PICTURES: u16 = 0x100;
/// Limit of the encoder.
const LIMIT: Duration = Duration::from_secs(120);

/// Pictures and sound that frames carry: keyframes twice a second.
pub const FRAMES: [&str; 8] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-c:a", "aac"];
/// Pictures and sound that they do not.
pub const NO_FRAMES: [&str; 6] = ["-c:v", "mpeg2video", "-g", "12", "-c:a", "mp2"];

pub fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1F, packet[2]])
}

/// Whether the pictures can be begun with at this packet.
pub fn is_place(packet: &[u8]) -> bool {
    pid(packet) == PICTURES && packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x40 != 0
}

/// `seconds` of it.
pub fn broadcast(ffmpeg: &Path, encode: &[&str], seconds: u32) -> Vec<u8> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("broadcast.ts");
    let mut command = Command::new(ffmpeg);
    let (video, audio) =
        (format!("testsrc2=size=320x240:rate=25:duration={seconds}"), format!("sine=d={seconds}"));
    command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &video, "-f", "lavfi", "-i", &audio]);
    command.args(encode).args(["-pix_fmt", "yuv420p", "-b:v", "1M", "-maxrate", "1M", "-bufsize", "500k"]);
    command.args(["-f", "mpegts", "-muxrate", &RATE.to_string(), "-pcr_period", "30"]).arg(&file);
    run("encoder", &mut command, LIMIT);
    let mut bytes = std::fs::read(&file).unwrap();
    let (mut counters, mut nulls) = ([0u8; 3], 0usize);
    let event = section(0x4E, 1, 3, &[&[0, 1, 0xFF, 0x01, 0, 0x4E][..], &[0; 24]].concat());
    for packet in bytes.as_chunks_mut::<188>().0.iter_mut().filter(|packet| pid(&**packet) == NULL) {
        nulls += 1;
        let at = match nulls % 10 {
            1 => 0,
            4 => 1,
            7 => 2,
            _ => continue,
        };
        *packet = match at {
            0 => section_packet(EIT, &event),
            at => {
                let mut packet = [nulls as u8; 188];
                let pid = [PRIVATE, TELETEXT][at - 1];
                packet[..4].copy_from_slice(&[0x47, (pid >> 8) as u8, pid as u8, 0x10]);
                packet
            }
        };
        packet[3] |= counters[at];
        counters[at] = (counters[at] + 1) & 15;
    }
    assert!(nulls > 100, "{nulls} null packets");
    bytes
}

/// Sends packets to `to`, seven a datagram, when their positions are due; `stop` says when that is enough. Returns how many
/// bytes were sent.
pub fn send(socket: &UdpSocket, to: SocketAddr, bytes: &[u8], stop: impl Fn() -> bool) -> usize {
    let begun = Instant::now();
    for (number, datagram) in bytes.chunks(7 * 188).enumerate() {
        let due = Duration::from_nanos(number as u64 * 1316 * 8 * 1_000_000_000 / RATE);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        if stop() {
            return number * 1316;
        }
        socket.send_to(datagram, to).unwrap();
    }
    bytes.len()
}
