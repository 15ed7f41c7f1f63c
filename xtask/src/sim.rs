//! `cargo xtask sim`: the simulation under more seeds than an ordinary test run has time for.

use crate::test::counted;
use anyhow::{Result, ensure};
use std::process::Command;

/// Which seeds.
#[derive(Clone, Debug, clap::Args)]
pub struct SimArgs {
    /// So many seeds, from 0.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// This seed alone.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
}

/// The test that plays the seeds; its module says what they decide and what is checked.
const TEST: &str = "server::sim::no_seed_breaks_a_promise";

/// Plays the seeds, as the tests are built: with all assertions.
pub fn run(args: &SimArgs) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--package", "headgate", "--lib", "--"]);
    command.args(["--exact", TEST, "--nocapture"]).current_dir(crate::root());
    match args.seed {
        Some(seed) => command.env("HEADGATE_SIM_SEED", seed.to_string()),
        None => command.env("HEADGATE_SIM_SEEDS", args.seeds.to_string()),
    };
    let tally = counted(&mut command)?;
    ensure!(tally.success && tally.failed == 0, "a seed breaks a promise; which one stands above");
    ensure!(tally.passed == 1, "the simulation did not run; its name in xtask/src/sim.rs is out of date");
    Ok(())
}
