//! `cargo xtask miri`: the log's unsafe code under Miri, once for each model of aliasing.
//!
//! Miri needs a nightly toolchain. It sees what loom cannot: that raw pointers stay inside their memory, that nothing
//! is read before it is written, and that no reference is broken by a write beside it.

use crate::test::counted;
use anyhow::{Result, bail};
use std::process::Command;

/// The toolchain that has Miri.
const TOOLCHAIN: &str = "+nightly";

/// Paths of unit tests: the unsafe file, those that stand on it, and the marks. Miri knows no io_uring, and gains
/// nothing from sockets and eventfds, so the rest of the shard stays out.
const TESTS: [&str; 4] = ["fanout::segment::", "fanout::log::", "fanout::view::", "shard::marks::"];

/// Names of models with their flags. Stacked Borrows is the stricter one for most code, not for all.
const MODELS: [(&str, &str); 2] = [("Stacked Borrows", ""), ("Tree Borrows", "-Zmiri-tree-borrows")];

/// Runs the tests under every model. Without Miri it says so and succeeds: the chore is run by hand.
pub fn run() -> Result<()> {
    if let Err(why) = probe() {
        eprintln!("warning: NOTHING WAS CHECKED: cargo {TOOLCHAIN} miri does not run here: {why}");
        eprintln!("    rustup toolchain install nightly --component miri --component rust-src");
        println!("miri: skipped");
        return Ok(());
    }
    for (name, flags) in MODELS {
        println!("== {name}");
        let mut command = cargo();
        command.args(["miri", "test", "--package", "headgate", "--lib", "--"]).args(TESTS);
        command.env("MIRIFLAGS", flags);
        let tally = counted(&mut command)?;
        if !tally.success || tally.failed > 0 {
            bail!("the tests fail under {name}; Miri says why above");
        }
        if tally.passed == 0 {
            bail!("no test ran under {name}; the paths in xtask/src/miri.rs are out of date");
        }
    }
    Ok(())
}

/// The first line of what is wrong, if Miri does not run.
fn probe() -> Result<(), String> {
    let output = cargo().args(["miri", "--version"]).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    let why = text.lines().find(|line| !line.is_empty()).unwrap_or("it prints nothing");
    if output.status.success() { Ok(()) } else { Err(why.trim_start_matches("error: ").to_owned()) }
}

/// The cargo of the nightly toolchain: rustup's, found by name, because `$CARGO` is the one that runs this chore.
fn cargo() -> Command {
    let mut command = Command::new("cargo");
    // A chore does not install a toolchain that nobody asked for.
    command.current_dir(crate::root()).arg(TOOLCHAIN).env("RUSTUP_AUTO_INSTALL", "0");
    command
}
