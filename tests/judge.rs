//! The judge of transport streams: it passes what is good, and for each of its gates there is a capture that misses that
//! one and no other.

#[path = "judge/captures.rs"]
mod captures;
#[path = "judge/faults/mod.rs"]
mod faults;
#[path = "judge/generator.rs"]
mod generator;
#[path = "support/source.rs"]
mod source;
#[path = "judge/support.rs"]
mod support;

use captures::Capture;
use generator::{Maker, VIDEO, channel};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::judge::{self, Carriage, Gate, Judge, Limits, Program, Stream, outside};
use support::process::{program, run};

/// The three ways in.
#[test]
fn a_clean_channel_passes() {
    for hevc in [false, true] {
        let mut capture = Capture::clean();
        if hevc {
            capture.packets = Maker { video_type: 0x24, ..Maker::default() }.make();
            capture.channel.programs[0].streams[0].stream_type = 0x24;
        }
        for carriage in [None, Some(Carriage::Udp), Some(Carriage::Rtp)] {
            capture.carriage = carriage;
            let report = capture.judge();
            report.assert_clean("clean");
            let (fit, units) = (report.fits[&VIDEO], &report.units[&VIDEO]);
            // A PCR is a whole number of ticks of 37 ns.
            assert!(fit.accuracy_ns.abs() < 20.0 && fit.rate_error_ppm.unwrap().abs() < 0.05, "{report}");
            assert!((30.0..38.0).contains(&report.clocks[&VIDEO].interval_ms_max), "{report}");
            assert!(units.count > 270 && units.random_access == 12 && units.incomplete == 0, "{report}");
            let [pts, dts] = [units.pts_lead_ms, units.dts_lead_ms].map(Option::unwrap);
            assert!((635.0..645.0).contains(&pts.min) || pts.min < 640.0, "{report}");
            assert!(dts.max <= 600.0 && dts.min > 500.0 && pts.max <= 720.0, "{report}");
            assert!((0.3..0.7).contains(&report.null_share()), "{report}");
            assert_eq!(report.arrival.datagrams > 0, carriage.is_some(), "{report}");
        }
    }
}

/// The proof that none of the checks is idle.
#[test]
fn each_fault_is_named_and_no_other() {
    let clean = Capture::clean();
    let mut wrong = Vec::new();
    for (name, spoil, missed) in faults::all() {
        let mut capture = clean.clone();
        spoil(&mut capture);
        let report = capture.judge();
        if report.missed() != *missed {
            wrong.push(format!("{name}: {missed:?} expected\n{report}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let alone = faults::all().filter(|(_, _, missed)| missed.len() == 1);
    let shown: BTreeSet<Gate> = alone.map(|(_, _, missed)| missed[0]).collect();
    let idle: Vec<Gate> = Gate::ALL.into_iter().filter(|gate| !shown.contains(gate)).collect();
    assert!(idle.is_empty(), "no capture misses just {idle:?}");
}

/// What is legal is not a miss.
#[test]
fn what_the_standard_allows_passes() {
    for (name, change) in faults::LEGAL {
        let mut capture = Capture::clean();
        change(&mut capture);
        capture.judge().assert_clean(name);
    }
}

/// The figures of what was missed, and the page.
#[test]
fn figures_are_exact() {
    let fault = |name: &str| {
        let mut capture = Capture::clean();
        faults::named(name)(&mut capture);
        capture.judge()
    };
    let late = fault("a PCR 600 ns late");
    assert!((late.fits[&VIDEO].accuracy_ns - 600.0).abs() < 25.0, "{late}");
    let fast = fault("30 ppm too fast");
    assert!((fast.fits[&VIDEO].rate_error_ppm.unwrap() - 30.0).abs() < 0.05, "{fast}");
    let gap = fault("no PCR for 110 ms");
    assert!((108.0..145.0).contains(&gap.clocks[&VIDEO].interval_ms_max), "{gap}");
    let pause = fault("no sound for a second");
    assert!((1000.0..1130.0).contains(&pause.units[&generator::AUDIO].pts_gap_ms_max), "{pause}");
    let page = late.to_string();
    assert!(page.contains("MISSED PcrAccuracy: 1 times, first at packet"), "{page}");
    assert!(page.contains("program 7: \"Über 7\" by \"Judges\""), "{page}");
}

/// Written to a folder of its own.
fn saved(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("judge");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The clean channel is clean in the eyes of others as well, and they see what is wrong with others.
#[test]
fn tsreport_measures_the_same() {
    let mut clean = Capture::clean();
    clean.packets = Maker { origin: 27_000_000, ..Maker::default() }.make();
    let datagrams = clean.datagrams(Carriage::Rtp);
    let packets = datagrams.iter().flat_map(|bytes| judge::payload(Carriage::Rtp, bytes));
    let clean = saved("clean.ts", &packets.copied().collect::<Vec<u8>>());
    let Some(said) = outside::tsreport(&clean) else { return };
    let limits = Limits::default();
    assert_eq!(said.beyond(&limits), [""; 0], "{}", said.text);
    let mut spoiled = Capture::clean();
    spoiled.packets = Maker { origin: 27_000_000, lead_ms: 950, pcr_ms: 60, ..Maker::default() }.make();
    captures::shift_pcrs(&mut spoiled.packets, 3000..3500, 27_000);
    let said = outside::tsreport(&saved("spoiled.ts", spoiled.packets.as_flattened())).unwrap();
    assert_eq!(said.beyond(&limits), ["prediction errors", "PCR gap", "too far ahead"], "{}", said.text);
    let late = Maker { origin: 27_000_000, lead_ms: 150, ..Maker::default() }.make();
    let said = outside::tsreport(&saved("late.ts", late.as_flattened())).unwrap();
    assert_eq!(said.beyond(&limits), ["too little ahead"], "{}", said.text);
}

#[test]
fn dvb_conformance_finds_the_same() {
    let clean = Capture::clean();
    let path = saved("conformance.ts", clean.packets.as_flattened());
    let Some(findings) = outside::conformance(&path, generator::RATE) else { return };
    assert!(outside::grave(&findings).is_empty(), "{findings:#?}");
    for (name, indicator) in [
        ("a packet is lost", "Continuity_count_error"),
        ("the error indicator", "Transport_error"),
        ("a broken sum", "CRC_error"),
        ("no PAT for 0.6 s", "PAT_error_2"),
        ("no PCR for 110 ms", "PCR_repetition_error"),
        ("no sound for a second", "PTS_error"),
    ] {
        let mut capture = clean.clone();
        faults::named(name)(&mut capture);
        let path = saved("conformance_spoiled.ts", capture.packets.as_flattened());
        let findings = outside::conformance(&path, generator::RATE).unwrap();
        let grave = outside::grave(&findings);
        assert!(grave.iter().any(|finding| finding.indicator == indicator), "{name}: {findings:#?}");
    }
}

/// Made by another hand. What ffmpeg does by itself is no channel: its tables are a packet later than each 100 ms, and
/// without a mux rate there is none.
#[test]
fn ffmpeg_misses_what_it_is_known_to_miss() {
    let Some(ffmpeg) = program("ffmpeg") else { return };
    let sources = "-v error -y -f lavfi -i testsrc2=s=320x240:r=25 -f lavfi -i sine -t 12";
    let codecs = "-c:v libx264 -preset veryfast -g 25 -maxrate 800k -bufsize 400k -c:a aac -b:a 96k";
    let mut ordered = channel();
    (ordered.nit, ordered.tdt) = (false, false);
    ordered.programs = vec![Program {
        number: 1,
        pmt_pid: 0x1000,
        pcr_pid: 0x100,
        streams: vec![Stream::new(0x100, 0x1B), Stream::new(0x101, 0x0F)],
        service: Some(("FFmpeg".to_owned(), "Service01".to_owned())),
    }];
    let judged = |name: &str, options: &str| {
        let path = saved(&format!("ffmpeg_{name}.ts"), &[]);
        let words = [sources, codecs, options, "-f mpegts"].join(" ");
        let mut command = Command::new(&ffmpeg);
        command.args(words.split_whitespace()).arg(&path);
        run("ffmpeg", &mut command, Duration::from_secs(60));
        judge::file(&std::fs::read(&path).unwrap(), ordered.clone())
    };
    let constant = "-muxrate 2000000 -sdt_period 0.9";
    judged("careful", &format!("{constant} -pat_period 0.09 -pcr_period 35")).assert_clean("careful");
    let report = judged("constant", constant);
    assert_eq!(report.missed(), [Gate::PatInterval, Gate::PmtInterval], "{report}");
    let report = judged("variable", "");
    assert!(report.missed().contains(&Gate::PcrJump), "{report}");
}

/// A judge that dies says nothing.
#[test]
fn whatever_comes_is_judged() {
    let clean = Capture::clean();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as usize % below
    };
    for round in 0..60 {
        let mut bytes = clean.packets[..1500].as_flattened().to_vec();
        for _ in 0..300 {
            // Headers more often than what they carry.
            let at = next(1500) * 188 + next([188, 24][round % 2]);
            bytes[at] = next(256) as u8;
        }
        let report = judge::file(&bytes, clean.channel.clone());
        assert!(!report.missed().is_empty(), "{report}");
        for carriage in [Carriage::Udp, Carriage::Rtp] {
            let mut judge = Judge::new(clean.channel.clone());
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(next(1400).min(rest.len()));
                judge.datagram(carriage, Duration::ZERO, now);
                rest = later;
            }
            assert!(judge.finish().missed().contains(&Gate::DatagramSize));
        }
    }
}

/// A parser that checks itself agrees with its own mistakes.
#[test]
fn the_judge_shares_no_line_with_the_gateway() {
    let judged = source::files("tests/support/judge");
    assert!(judged.len() > 10, "{} files", judged.len());
    let helpers = source::files("tests/support").into_iter();
    let helpers = helpers
        .filter(|(path, _)| path.ends_with("support/process.rs") || path.ends_with("support/skips.rs"));
    for (path, code) in judged.into_iter().chain(helpers) {
        assert_eq!(foreign(&code), [""; 0], "{path}");
    }
    for (code, words) in [
        ("use headgate::wire::ts;", &["headgate"][..]),
        ("use headgate_load::stamp;", &["headgate"]),
        ("#[path = \"../../../src/wire/ts/mod.rs\"] mod ts;", &["#[path"]),
        ("include!(\"../../src/lib.rs\");", &["include!"]),
        ("use super::super::super::monitor;", &["super::super::super"]),
        ("use crate::support::ts;", &["crate::"]),
        ("// headgate\nuse super::super::process;", &[]),
    ] {
        assert_eq!(foreign(&source::code(code)), words, "{code}");
    }
}

/// What would lead out of the judge.
fn foreign(code: &str) -> Vec<&'static str> {
    let leads = ["headgate", "#[path", "include!", "super::super::super", "crate::"];
    leads.into_iter().filter(|lead| code.contains(lead)).collect()
}
