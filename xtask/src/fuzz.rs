//! `cargo xtask fuzz`: each fuzz target for a while, with a line now and then that says how it goes.
//!
//! Fuzzing needs a nightly toolchain (for the coverage of the compiler) and cargo-fuzz. New inputs go to
//! `target/fuzz/TARGET`, where the next run goes on; `fuzz/corpus` holds what is worth keeping and is only read.

use anyhow::{Context, Result, bail, ensure};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Which targets, for how long.
#[derive(Clone, Debug, clap::Args)]
pub struct FuzzArgs {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// These targets only; without any all are run, one after the other.
    targets: Vec<String>,
}

/// The toolchain that can instrument.
const TOOLCHAIN: &str = "+nightly";
/// Seconds that one input may take; no parser needs a thousandth of it.
const INPUT_SECONDS_MAX: u32 = 1;
/// Memory that one allocation may take, in MiB. No bound of the product is near it.
const ALLOCATION_MIB_MAX: u32 = 64;
/// Time between two lines about a target.
const REPORT: Duration = Duration::from_secs(10);
/// Lines of a failed run that are shown: the panic, the stack, and where the input was written.
const SHOWN_LINES: usize = 60;

/// Runs the targets. Without the tools it says so and succeeds: the corpora are replayed by the ordinary tests anyway.
pub fn run(args: &FuzzArgs) -> Result<()> {
    let root = crate::root();
    let all = targets(&root)?;
    if let Some(unknown) = args.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no fuzz target `{unknown}`; there are {}", all.join(", "));
    }
    if let Err(why) = probe() {
        eprintln!("warning: NOTHING WAS FUZZED: cargo {TOOLCHAIN} fuzz does not run here: {why}");
        eprintln!("    rustup toolchain install nightly && cargo install cargo-fuzz");
        println!("fuzz: skipped");
        return Ok(());
    }
    let chosen = if args.targets.is_empty() { &all } else { &args.targets };
    println!("building {} targets", chosen.len());
    // All of them in one go, so that they share what takes long; one or few by name.
    let few = if args.targets.is_empty() { vec![None] } else { chosen.iter().map(Some).collect() };
    for target in few {
        ensure!(cargo().arg("build").args(target).status()?.success(), "the targets do not build");
    }
    let mut failed = Vec::new();
    for target in chosen {
        if !fuzz(&root, target, args.seconds)? {
            failed.push(target.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        "{} failed; the inputs lie in fuzz/artifacts, fuzz/README.md says how they become tests",
        failed.join(", ")
    );
    println!("fuzz: {} targets, {} s each, nothing found", chosen.len(), args.seconds);
    Ok(())
}

/// Names of all targets: one file each.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz").join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    ensure!(!names.is_empty(), "{} holds no target", folder.display());
    Ok(names)
}

/// Runs one target; whether it found nothing. An input that was too slow once and is not when it runs again met a busy
/// machine: the clock that judges it is the wall's.
fn fuzz(root: &Path, target: &str, seconds: u64) -> Result<bool> {
    let started = Instant::now();
    loop {
        let left = seconds.saturating_sub(started.elapsed().as_secs()).max(1);
        let Err(said) = run_once(root, target, left)? else { return Ok(true) };
        match said.slow_input() {
            Some(input) if is_quick(target, input)? => {
                println!("{target}: {} was slow once and is not again: the machine is busy", input.display());
                if started.elapsed().as_secs() >= seconds {
                    return Ok(true);
                }
            }
            _ => {
                said.last.iter().for_each(|line| eprintln!("    {line}"));
                eprintln!("{target}: FAILED, see above");
                return Ok(false);
            }
        }
    }
}

/// Whether `input` alone is within the time of one input.
fn is_quick(target: &str, input: &Path) -> Result<bool> {
    let mut command = cargo();
    command.args(["run", target]).arg(input).arg("--").arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(status.context("cannot run cargo fuzz")?.success())
}

/// One run of the fuzzer; what it printed, if it found something.
fn run_once(root: &Path, target: &str, seconds: u64) -> Result<Result<(), Said>> {
    let finds = root.join("target").join("fuzz").join(target);
    std::fs::create_dir_all(&finds).with_context(|| finds.display().to_string())?;
    let mut command = cargo();
    command.args(["run", target]).arg(&finds).arg(root.join("fuzz").join("corpus").join(target)).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command.arg(format!("-malloc_limit_mb={ALLOCATION_MIB_MAX}"));
    let started = Instant::now();
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run cargo fuzz")?;
    let said = Arc::new(Mutex::new(Said::default()));
    let listener = child.stderr.take().map(|output| {
        let said = said.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                said.lock().unwrap_or_else(PoisonError::into_inner).hear(line);
            }
        })
    });
    let mut next = REPORT;
    let success = loop {
        if let Some(status) = child.try_wait()? {
            break status.success();
        }
        if started.elapsed() >= next {
            next += REPORT;
            report(target, started, &said);
        }
        thread::sleep(Duration::from_millis(100));
    };
    if let Some(listener) = listener {
        // It ends with the pipe; a panic in it would only lose lines.
        let _ = listener.join();
    }
    report(target, started, &said);
    let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(if success { Ok(()) } else { Err(said) })
}

fn report(target: &str, started: Instant, said: &Mutex<Said>) {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{target}: {:3} s, {}", started.elapsed().as_secs(), said.progress);
}

/// What a run has printed so far.
#[derive(Debug)]
struct Said {
    /// How far it is, in the fuzzer's words.
    progress: String,
    /// Where it has written the input that fails.
    artifact: Option<PathBuf>,
    last: VecDeque<String>,
}

impl Default for Said {
    fn default() -> Said {
        Said { progress: "starting".to_owned(), artifact: None, last: VecDeque::new() }
    }
}

impl Said {
    fn hear(&mut self, line: String) {
        if let Some(progress) = progress(&line) {
            self.progress = progress;
        }
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.artifact = Some(PathBuf::from(path.trim_end()));
        }
        if self.last.len() == SHOWN_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The input that fails, if all that is wrong with it is its time.
    fn slow_input(&self) -> Option<&Path> {
        let path = self.artifact.as_deref()?;
        path.file_name()?.to_str()?.starts_with("timeout-").then_some(path)
    }
}

/// `#4096 NEW cov: 812 ft: 2301 corp: 99/4Kb lim: 48 exec/s: 2048 …` in fewer words.
fn progress(line: &str) -> Option<String> {
    let (runs, rest) = line.strip_prefix('#')?.split_once(|c: char| c.is_whitespace())?;
    let after = |word: &str| rest.split_once(word)?.1.split_whitespace().next();
    let (cov, corpus) = (after("cov: ")?, after("corp: ")?);
    let speed = after("exec/s: ").map(|speed| format!(", {speed} a second")).unwrap_or_default();
    Some(format!("{runs} runs{speed}, {cov} places reached, corpus {corpus}"))
}

/// The first line of what is wrong, if cargo-fuzz or nightly is missing.
fn probe() -> Result<(), String> {
    let output = cargo().arg("--version").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    let why = text.lines().find(|line| !line.is_empty()).unwrap_or("it prints nothing");
    if output.status.success() { Ok(()) } else { Err(why.trim_start_matches("error: ").to_owned()) }
}

/// `cargo +nightly fuzz`: rustup's cargo, found by name, because `$CARGO` is the one that runs this chore.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    // A chore does not install a toolchain that nobody asked for.
    command.current_dir(crate::root()).args([TOOLCHAIN, "fuzz"]).env("RUSTUP_AUTO_INSTALL", "0");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_fewer_words() {
        for (line, want) in [
            (
                "#4096\tNEW    cov: 812 ft: 2301 corp: 99/4Kb lim: 48 exec/s: 2048 rss: 50Mb L: 5/48 MS: 1 CopyPart-",
                Some("4096 runs, 2048 a second, 812 places reached, corpus 99/4Kb"),
            ),
            ("#2\tINITED cov: 5 ft: 6 corp: 1/1b", Some("2 runs, 5 places reached, corpus 1/1b")),
            ("INFO: Seed: 1", None),
            ("#0 0x55 in main", None),
        ] {
            assert_eq!(progress(line).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn slow_inputs_are_told_from_broken_ones() {
        let heard = |line: &str| {
            let mut said = Said::default();
            said.hear(line.to_owned());
            said.slow_input().map(Path::to_owned)
        };
        let line = "artifact_prefix='a/'; Test unit written to a/timeout-12";
        assert_eq!(heard(line), Some(PathBuf::from("a/timeout-12")));
        assert_eq!(heard("artifact_prefix='a/'; Test unit written to a/crash-12"), None);
        assert_eq!(heard("ALARM: working on the last Unit for 1 seconds"), None);
    }

    #[test]
    fn every_target_has_its_file() {
        let names = targets(&crate::root()).unwrap();
        for name in ["amf0", "amf3", "flv_reader", "handshake", "http_head", "rtmp_chunk", "rtmp_session"] {
            assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
        }
    }
}
