//! multicat, which plays a file by its clock: a sender of one channel that operators know.

use super::super::lab::{Lab, Link, Running, VIEWER};
use super::super::run::words;
use super::PORT;
use super::arrival::{Viewers, summary};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Its group, far from the channels'.
const GROUP: &str = "239.255.250.1";
/// The PID of a channel's clock, by default that of its video.
const CLOCK_PID: &str = "256";
/// Seconds by which the file outlasts the window, so that it does not end within.
pub const LONGER_S: f64 = 8.0;

/// Its programs.
pub struct Programs {
    play: PathBuf,
    index: PathBuf,
}

/// It on the air, with a viewer.
pub struct Beside<'a> {
    viewer: Viewers<'a>,
    _running: Running,
}

/// The programs, if they are installed.
pub fn find() -> Option<Programs> {
    let programs = program("multicat").zip(program("ingests"));
    if programs.is_none() {
        eprintln!("multicat is not installed (Debian's package multicat): no delay factor beside its");
    }
    programs.map(|(play, index)| Programs { play, index })
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Records the channel in `group`, of so many bit/s, for as long as a window of `seconds` needs, and makes the index of its clock.
pub fn record(
    lab: &Lab,
    link: &Link<'_>,
    programs: &Programs,
    group: &str,
    (bitrate_bps, seconds): (u64, f64),
) -> Result<PathBuf> {
    let file = lab.dir.join("channel.ts");
    let mut arguments = words(&format!(
        "receive --interface {VIEWER} --to {group} --bitrate {bitrate_bps} --warmup 0 --seconds {}",
        seconds + LONGER_S
    ));
    arguments.extend(["--record".to_owned(), file.to_string_lossy().into_owned()]);
    link.load("record", &arguments)?.finish()?;
    let mut index = words(&format!("-p {CLOCK_PID}"));
    index.push(file.to_string_lossy().into_owned());
    lab.run_on(lab.cpus().1, "index", &programs.index, &index)?.finish()?;
    let made = file.with_extension("aux");
    ensure!(made.metadata().is_ok_and(|made| made.len() > 0), "ingests made no index of {}", file.display());
    Ok(file)
}

/// Plays `file`, of so many bit/s, on the sender's processor to a viewer with a window of `seconds`.
pub fn play<'a>(
    lab: &'a Lab,
    link: &Link<'_>,
    programs: &Programs,
    file: &Path,
    rate_and_seconds: (u64, f64),
) -> Result<Beside<'a>> {
    let to = format!("{GROUP}:{PORT}");
    let file = file.to_str().context("the file's path")?.to_owned();
    let arguments = ["-U".to_owned(), "-t".to_owned(), "16".to_owned(), file, to.clone()];
    let running = lab.run_on(lab.cpus().0, "multicat", &programs.play, &arguments)?;
    let viewer = Viewers::watch(lab, link, "viewer-multicat", &[to], rate_and_seconds)?;
    Ok(Beside { viewer, _running: running })
}

impl Beside<'_> {
    /// What its viewer saw.
    pub fn finish(self) -> Result<Value> {
        Ok(summary(&self.viewer.finish()?))
    }
}
