//! Chores of the project, run as `cargo xtask COMMAND`.
//!
//! | command | does |
//! |---|---|
//! | `test [--yes]` | installs what the tests need (after asking), runs all of them, counts skips |
//! | `sim` | runs the gateway under many seeds of its simulation, or one seed again |
//! | `fuzz` | runs each fuzz target for a minute, where nightly and cargo-fuzz are installed |
//! | `miri` | runs the tests of the log's unsafe code under Miri, where it is installed |
//! | `licenses` | holds the licence and source of every dependency to `deny.toml` |
//! | `bench` | measures the gateway beside the floor, in a network namespace of its own (needs root) |

mod bench;
mod fuzz;
mod licenses;
mod miri;
mod needs;
mod sim;
mod skips;
mod test;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Chores of the project", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the tests need, then run every test of the workspace.
    Test(test::TestArgs),
    /// Run the gateway under many seeds of its simulation.
    Sim(sim::SimArgs),
    /// Run each fuzz target for a while (needs a nightly toolchain and cargo-fuzz).
    Fuzz(fuzz::FuzzArgs),
    /// Run the tests of the log's unsafe code under Miri (needs a nightly toolchain with it).
    Miri,
    /// Check the licence and the source of every dependency against deny.toml.
    Licenses,
    /// Measure the gateway beside the floor, in a network namespace of its own (needs root).
    Bench(Box<bench::BenchArgs>),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Test(arguments) => test::run(&arguments),
        Chore::Sim(arguments) => sim::run(&arguments),
        Chore::Fuzz(arguments) => fuzz::run(&arguments),
        Chore::Miri => miri::run(),
        Chore::Licenses => licenses::run(),
        Chore::Bench(arguments) => bench::run(*arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's top folder.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
