//! `sample`: what a server holds, again and again.

use clap::Args;
use headgate_load::clock::{self, SECOND_NS, now_ns};
use headgate_load::scrape::{self, sums};
use headgate_load::target::Target;
use headgate_load::watch::{Holdings, process_cpu_ns};
use std::collections::BTreeMap;
use std::io::Write;

/// Shortest distance of two lines, s: a look takes some milliseconds of the watched process too.
const EVERY_MIN_S: f64 = 0.01;

/// Which process, and what of its page.
#[derive(Args)]
pub struct SampleArgs {
    /// Its page of metrics: http://host[:port]/metrics
    #[arg(long)]
    url: Target,
    /// Its process.
    #[arg(long)]
    pid: u32,
    /// A metric, summed over its labels; may be repeated.
    #[arg(long, value_name = "METRIC")]
    sum: Vec<String>,
    /// Seconds from line to line.
    #[arg(long, default_value_t = 1.0)]
    every: f64,
    /// How long.
    #[arg(long)]
    seconds: f64,
}

/// A line of what the process holds at every tick, until the time is over or the process is.
/// A page that does not come leaves a hole.
pub fn run(args: &SampleArgs) {
    let start = now_ns();
    let every = clock::seconds(args.every.max(EVERY_MIN_S));
    let mut out = std::io::stdout().lock();
    for due in (0..=clock::seconds(args.seconds) / every).map(|tick| start + tick * every) {
        clock::sleep_until(due);
        let Some(holdings) = Holdings::of(args.pid) else { return };
        let page = scrape::page(&args.url).ok();
        let own: BTreeMap<&String, Option<f64>> =
            args.sum.iter().map(|name| (name, page.as_ref().and_then(|page| sums(page, name)))).collect();
        let line = serde_json::json!({
            "at_s": (now_ns() - start) as f64 / SECOND_NS as f64,
            "resident_bytes": holdings.resident_bytes,
            "descriptors": holdings.descriptors,
            "cpu_s": process_cpu_ns(args.pid).map(|(ran, _)| ran as f64 / SECOND_NS as f64),
            "own": own,
        });
        // Whoever reads has gone.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
