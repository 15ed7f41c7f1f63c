//! One program of several, passed on alone.

use super::{await_on_air, broadcast, config, counters_hold, packets, port, sender};
use crate::support::broadcast::{EIT, NULL, pid};
use crate::support::engine::first_that_works;
use crate::support::http::request;
use crate::support::process::{Process, program, static_ffmpeg};
use crate::support::server::LIMIT;
use crate::support::share_machine;
use std::collections::BTreeSet;
use std::process::Command;

/// Two programs of the same pictures and sound.
const TWO: [&str; 22] = [
    "-map",
    "0:v",
    "-map",
    "1:a",
    "-map",
    "0:v",
    "-map",
    "1:a",
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-g",
    "12",
    "-c:a",
    "aac",
    "-program",
    "program_num=1:title=Eins:st=0:st=1",
    "-program",
    "program_num=2:title=Zwei:st=2:st=3",
    "-b:a",
    "64k",
];

#[test]
fn a_program_leaves_alone_and_as_it_came() {
    let (_shared, Some(ffmpeg)) = (share_machine(), static_ffmpeg()) else { return };
    let (sent, to) = (broadcast::broadcast(&ffmpeg, &TWO, 10), port());
    let server = config(first_that_works(), &[to], "program = 2").start();
    let got = std::thread::scope(|scope| {
        let sending = scope.spawn(|| broadcast::send(&sender(), to, &sent, || false));
        await_on_air(&server);
        let got = request(server.http, "GET", "/live/in.ts").body();
        sending.join().unwrap();
        got
    });
    let (got, sent) = (packets(&got), packets(&sent));
    counters_hold(got);
    let pids: BTreeSet<u16> = got.iter().map(|packet| pid(packet)).collect();
    assert_eq!(pids, BTreeSet::from([0, 0x11, 0x1001, 0x102, 0x103]), "the program's");
    assert!(sent.iter().any(|packet| pid(packet) == EIT) && sent.iter().any(|packet| pid(packet) == NULL));
    for wanted in [0x102, 0x103] {
        let of = |packets: &[[u8; 188]]| -> Vec<[u8; 188]> {
            packets.iter().filter(|packet| pid(&packet[..]) == wanted).copied().collect()
        };
        let (got, sent) = (of(got), of(sent));
        assert!(got.len() > 20 && sent.ends_with(&got), "{wanted:#x}: {} packets to the last", got.len());
    }
    if let Some(ffprobe) = program("ffprobe") {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(file.path(), got.as_flattened()).unwrap();
        let mut command = Command::new(ffprobe);
        command.args([
            "-v",
            "error",
            "-show_entries",
            "program=program_id,nb_streams:program_tags",
            "-of",
            "flat",
        ]);
        let said = Process::spawn("ffprobe", command.arg(file.path())).finish(LIMIT);
        for wanted in ["programs.program.0.program_id=2", "programs.program.0.nb_streams=2", "\"Zwei\""] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert!(!said.contains("programs.program.1"), "{said}");
    }
    server.stop();
}
