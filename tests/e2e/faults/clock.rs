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

/// Hours from 1970 to the newest line of the log, by its own stamp (`2026-01-31T12:…`).
fn stamp(log: &str) -> Option<i64> {
    let line =
        log.lines().rev().find(|line| line.get(10..11) == Some("T") && line.get(13..14) == Some(":"))?;
    let number = |from: usize, to: usize| line.get(from..to)?.parse::<i64>().ok();
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    Some(24 * days + number(11, 13)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let years: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    years + months.iter().take(month as usize - 1).sum::<i64>() + day - 1
}

#[test]
fn stamps_are_hours_over_the_ends_of_days_and_years() {
    let at = |stamp_of: &str| stamp(&format!("{stamp_of}:00:00.0Z  INFO x\n")).unwrap();
    for (one, next) in [
        ("2026-03-01T23", "2026-03-02T00"),
        ("2026-03-31T23", "2026-04-01T00"),
        ("2028-02-28T23", "2028-02-29T00"),
        ("2027-02-28T23", "2027-03-01T00"),
        ("2026-12-31T23", "2027-01-01T00"),
    ] {
        assert_eq!(at(next) - at(one), 1, "{one}");
    }
    assert_eq!(at("2000-03-01T05"), 951_886_800 / 3600);
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
            let mut visits = 0;
            for (offset, hours_moved) in [("+3600", 1), ("-3600", -2), ("+0", 1)] {
                let before = stamp(&trial.server.log()).expect("a stamp");
                set(&file, offset);
                let seen = frames();
                // A visitor of the pages is logged: the clock that the server sees has moved.
                poll("the clock to move", LIMIT, || {
                    http::get(trial.server.http, "/");
                    visits += 1;
                    let moved = stamp(&trial.server.log())? - before;
                    // The real clock may pass a full hour at this moment.
                    (moved == hours_moved || moved == hours_moved + 1).then_some(())
                });
                poll("frames at that time", LIMIT, || (frames() > seen + 20.0).then_some(()));
            }
            counts(&[("http_flv page", visits)])
        };
        trial.expect_told(work).unwrap();
        trial.finish();
    }
}

/// In one step: half a file must not be read.
fn set(file: &Path, offset: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, offset).unwrap();
    std::fs::rename(next, file).unwrap();
}
