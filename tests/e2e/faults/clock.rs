//! The wall clock jumps; media knows only the monotonic one.

use crate::support::engine::Engine;
use crate::support::trial::{Trial, counts};
use crate::support::{http, poll, server::LIMIT, share_machine, skip};
use std::path::{Path, PathBuf};

/// Where Debian keeps the library, below `/usr/lib/ARCHITECTURE`.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let found =
        folders.filter_map(|folder| Some(folder.ok()?.path().join(LIBRARY))).find(|file| file.exists());
    if found.is_none() {
        skip("no-faketime", "libfaketime is not installed; `cargo xtask test` installs it");
    }
    found
}

/// Hours since 1970 of the newest line of the log, by its own stamp (`2026-01-31T12:…`): day of the month, hour.
fn stamp(log: &str) -> Option<(u32, u32)> {
    let line =
        log.lines().rev().find(|line| line.get(10..11) == Some("T") && line.get(13..14) == Some(":"))?;
    Some((line.get(8..10)?.parse().ok()?, line.get(11..13)?.parse().ok()?))
}

fn hours(from: (u32, u32), to: (u32, u32)) -> i32 {
    let days = if from.0 == to.0 { 0 } else { if to.0 == from.0 + 1 || to.0 == 1 { 1 } else { -1 } };
    24 * days + to.1 as i32 - from.1 as i32
}

#[test]
fn an_hour_forth_and_back() {
    let Some(library) = library() else { return };
    let _shared = share_machine();
    for engine in [Engine::Uring, Engine::Epoll] {
        let Some(config) = engine.config() else { continue };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("offset");
        std::fs::write(&file, "+0").unwrap();
        let trial = Trial::begin(config.wrapped(&[
            "env",
            &format!("LD_PRELOAD={}", library.display()),
            &format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "DONT_FAKE_MONOTONIC=1",
        ]));
        let frames = || trial.server.metrics().sum("headgate_frames_total", &[]);
        let work = || {
            for (offset, hours_moved) in [("+3600", 1), ("-3600", -2), ("+0", 1)] {
                let before = stamp(&trial.server.log()).expect("a stamp");
                set(&file, offset);
                let seen = frames();
                // A visitor of the pages is logged: the clock that the server sees has moved.
                poll("the clock to move", LIMIT, || {
                    http::get(trial.server.http, "/");
                    let moved = hours(before, stamp(&trial.server.log())?);
                    // The real clock may pass a full hour at this moment.
                    (moved == hours_moved || moved == hours_moved + 1).then_some(())
                });
                poll("frames at that time", LIMIT, || (frames() > seen + 20.0).then_some(()));
            }
        };
        trial.expect(&counts(&[]), work).unwrap();
        trial.finish();
    }
}

/// In one step: half a file must not be read.
fn set(file: &Path, offset: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, offset).unwrap();
    std::fs::rename(next, file).unwrap();
}
