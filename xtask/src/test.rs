//! `cargo xtask test`: everything a test needs, then every test, then an honest count.

use crate::needs::{self, Need};
use crate::skips::{self, Skips};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Threads a test binary uses unless RUST_TEST_THREADS says otherwise: end-to-end tests mostly wait for media.
const TEST_THREADS: &str = "4";

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct TestArgs {
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
    /// Only list what the tests need and whether it is present.
    #[arg(long)]
    list: bool,
    /// Handed to `cargo test` (for example: `-- --test e2e codecs`).
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Lists, asks, installs, runs, counts.
pub fn run(arguments: &TestArgs) -> Result<()> {
    let root = crate::root();
    let survey = needs::survey(&root);
    list(&survey);
    if arguments.list {
        return Ok(());
    }
    let missing: Vec<&Need> = survey.iter().filter(|need| !need.present).collect();
    if !missing.is_empty() {
        if !arguments.yes && !confirmed(missing.len())? {
            bail!("nothing was installed; the tests need what is listed above");
        }
        needs::install(&root, &missing)?;
        let still = needs::survey(&root);
        let still: Vec<&str> = still.iter().filter(|n| !n.present).map(|n| n.name.as_str()).collect();
        if !still.is_empty() {
            bail!("still missing after the installation: {}", still.join(", "));
        }
    }
    let (tally, mut skips) = run_tests(&root, &arguments.cargo)?;
    for (name, reason) in &tally.ignored {
        skips.add(&format!("ignored:{name}"), reason);
    }
    println!();
    skips.print();
    let skipped = skips.count();
    // A test that gives up returns early, so the harness counts it as passed.
    let passed = tally.passed.saturating_sub(skipped - tally.ignored.len());
    println!("{passed} passed, {} failed, {skipped} skipped", tally.failed);
    if std::env::var_os("CI").is_some() {
        let outside = skips.outside(&skips::allowed(&root)?).join(", ");
        if !outside.is_empty() {
            bail!("skipped in CI without standing in docs/testing.md: {outside}");
        }
    }
    if tally.failed > 0 || !tally.success {
        bail!("the tests failed");
    }
    if passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn list(survey: &[Need]) {
    println!("The tests need, beside Rust and a C compiler:");
    for need in survey {
        let state = if need.present { "present" } else { "MISSING" };
        println!("  {state}  {:26} {}", need.name, need.purpose);
    }
}

fn confirmed(missing: usize) -> Result<bool> {
    println!("Debian packages are installed as root or through sudo, without starting any service;");
    print!("all else goes to .tools/. Install the {missing} missing? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What the harness said, summed over all test binaries.
#[derive(Debug, Default, PartialEq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Names and reasons of those that were left out.
    ignored: Vec<(String, String)>,
    /// Whether cargo itself ended well (a test binary that dies prints no summary line).
    pub success: bool,
}

impl Tally {
    /// Takes one line of `cargo test`'s standard output.
    fn line(&mut self, line: &str) {
        if let Some(summary) = line.strip_prefix("test result: ") {
            self.passed += number_before(summary, " passed");
            self.failed += number_before(summary, " failed");
        } else if let Some((name, verdict)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
            && let Some(reason) = verdict.strip_prefix("ignored")
        {
            let reason = reason.trim_start_matches(", ");
            self.ignored.push((name.to_owned(), reason.to_owned()));
        }
    }
}

fn number_before(text: &str, word: &str) -> usize {
    let head = text.split(word).next().unwrap_or_default();
    head.rsplit(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn run_tests(root: &Path, more: &[String]) -> Result<(Tally, Skips)> {
    let log = root.join("target").join("skips.log");
    match std::fs::remove_file(&log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", log.display()));
        }
        _ => {}
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["test", "--workspace", "--no-fail-fast"]).args(more);
    command.env(skips::VARIABLE, &log);
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        command.env("RUST_TEST_THREADS", TEST_THREADS);
    }
    Ok((counted(&mut command)?, Skips::read(&log)))
}

/// Runs `cargo test` or its like, shows what it prints, and counts.
pub fn counted(command: &mut Command) -> Result<Tally> {
    println!("running {command:?}");
    command.stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run cargo")?;
    let mut tally = Tally::default();
    if let Some(output) = child.stdout.take() {
        // Bytes, not lines of text: a failing test may print anything.
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            tally.line(&line);
        }
    }
    tally.success = child.wait()?.success();
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_binaries() {
        let mut tally = Tally::default();
        for line in [
            "test wire::a ... ok",
            "test wire::b ... ignored, by hand",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s",
        ] {
            tally.line(line);
        }
        assert_eq!((tally.passed, tally.failed), (15, 2));
        assert_eq!(tally.ignored, [("wire::b".to_owned(), "by hand".to_owned())]);
    }
}
