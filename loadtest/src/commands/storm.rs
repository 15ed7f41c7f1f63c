//! `storm`: connections that come at a fixed pace and go.

use anyhow::Result;
use clap::Args;
use headgate_load::clock::{self, SECOND_NS, now_ns};
use headgate_load::play::{self, Plan, Visit};
use headgate_load::report::{LiveLine, Storm};
use headgate_load::target::Target;
use headgate_load::watch::Sample;
use std::net::IpAddr;

/// How long a storm lasts beyond its last connection's patience, so that the last visits end by themselves.
const STORM_MARGIN_NS: u64 = SECOND_NS;

/// What comes, where from, and for how long.
#[derive(Args)]
pub struct StormArgs {
    /// rtmp://host[:port]/app/stream or http://host[:port]/path.flv; connections take turns when it is repeated.
    #[arg(long, required = true)]
    url: Vec<Target>,
    /// Connections begun per second.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// For how long connections begin.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Seconds that each stays behind its first video frame.
    #[arg(long, default_value_t = 2.0)]
    life: f64,
    /// Seconds that each waits for that frame.
    #[arg(long, default_value_t = 10.0)]
    patience: f64,
    /// Local addresses to connect from, in turn.
    #[arg(long, value_delimiter = ',')]
    from: Vec<IpAddr>,
    /// Threads, each with its own ring.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Process whose processor time is reported (the server's).
    #[arg(long)]
    watch_pid: Option<u32>,
}

impl StormArgs {
    /// A plan that begins now.
    fn plan(&self) -> Plan {
        let visit = Visit { life_ns: clock::seconds(self.life), patience_ns: clock::seconds(self.patience) };
        let count = (self.rate * self.seconds).round().max(0.0) as usize;
        let start = now_ns();
        let end = start
            + clock::seconds(count as f64 / self.rate.max(1e-3))
            + visit.patience_ns
            + visit.life_ns
            + STORM_MARGIN_NS;
        Plan {
            from: self.from.clone(),
            ramp_per_s: self.rate,
            visit: Some(visit),
            threads: self.threads,
            window: (start, end),
            ..Plan::new(self.url.clone(), count, end)
        }
    }
}

/// Runs a storm with a line per second until everybody has left.
///
/// # Errors
/// Without io_uring, or when a name does not resolve; what becomes of connections is counted.
pub fn run(args: &StormArgs) -> Result<()> {
    let plan = args.plan();
    let players = play::start(&plan)?;
    let first = Sample::take(args.watch_pid);
    let mut line = LiveLine::new();
    let mut next_line = now_ns() + SECOND_NS;
    while !players.are_gone() {
        clock::sleep_until(next_line.min(now_ns() + SECOND_NS / 20));
        if now_ns() >= next_line {
            eprintln!("{}", line.next(&players.live, "storm"));
            next_line += SECOND_NS;
        }
    }
    let window = Sample::take(args.watch_pid).since(&first);
    let outcome = players.finish()?;
    crate::print(&Storm::new(&plan, &outcome, window))
}
