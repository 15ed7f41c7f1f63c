//! `cargo xtask bench`: the gateway beside the floor, under the same load, on one machine.
//!
//! Everything runs in a network namespace whose loopback has an Ethernet's MTU; the server is pinned to one processor and the
//! load to another. Numbers are ratios within one run; absolute ones belong to the machine that is named with them. What the
//! gates are stands in `table`, `table_extras`, `table_load` and `table_headend`; what a run is, in `run`.

mod beside;
mod extras;
mod headend;
mod lab;
mod memory;
mod plot;
mod plot_soak;
mod product;
mod progress;
mod render;
mod run;
mod samples;
mod scale;
mod soak;
mod storm;
mod sweep;
mod table;
mod table_extras;
mod table_headend;
mod table_load;

use anyhow::{Result, bail, ensure};
use lab::{Binaries, Lab, Wanted};
use run::{Contender, Load};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use sweep::{Cell, Rounds};

/// Minutes of a soak, and of a thousand stalled readers, unless told otherwise.
const SOAK_MINUTES: f64 = 30.0;
const STALLED_MINUTES: f64 = 5.0;
const SLOW_MINUTES: f64 = 1.0;
/// Minutes of one window of channels, and of one that is only a try.
const HEADEND_MINUTES: f64 = 0.5;
const HEADEND_TRY_MINUTES: f64 = 0.1;
/// Fewest rounds of channels: the median counts.
const HEADEND_ROUNDS_MIN: usize = 3;

/// What to measure. Without a choice: the sweep.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Everything below and the sweep, but what runs on demand: some 40 minutes. Each result is written as soon as it is there.
    #[arg(long)]
    all: bool,
    /// A short sweep, to see that everything runs; writes nothing to docs.
    #[arg(long)]
    quick: bool,
    /// Beside this server, at the default flush.
    #[arg(long, value_name = "SERVER", value_parser = ["nginx"])]
    against: Option<String>,
    /// Memory per subscriber, reading and stalled.
    #[arg(long)]
    memory: bool,
    /// 100 stalled readers beside 900 healthy ones.
    #[arg(long)]
    stalled: bool,
    /// 500 publishers with 4 subscribers each.
    #[arg(long)]
    streams: bool,
    /// 5000 publishers without subscribers.
    #[arg(long)]
    idle_streams: bool,
    /// 6000 subscribers on one core, two cores beside one, copies at 1 and at 1000 subscribers.
    #[arg(long)]
    scale: bool,
    /// On demand: 1000 connections a second for 30 s (--storm-seconds), beside viewers that stay.
    #[arg(long)]
    storm: bool,
    /// How long connections begin.
    #[arg(long, default_value_t = 30.0)]
    storm_seconds: f64,
    /// On demand: 1000 readers that stop for 5 minutes (--minutes), beside 900 that read; 8 minutes a protocol.
    #[arg(long)]
    stalled_1000: bool,
    /// On demand: 200 readers at a tenth of the rate for a minute (--minutes), beside 800 that keep up; three rounds of 4 minutes a
    /// protocol.
    #[arg(long)]
    slow: bool,
    /// On demand: 30 minutes (--minutes) of viewers and publishers that come and go, and readers that are slow or stop.
    #[arg(long)]
    soak: bool,
    /// On demand: 200 channels of 4 Mbit/s (--channels) on one core beside a bare paced loop, and how exactly they arrive;
    /// three rounds of half a minute (--minutes) each, and --arrival: 11 minutes.
    #[arg(long)]
    headend: bool,
    /// On demand: how exactly channels of 2, 4, 8 and 20 Mbit/s arrive beside a calibration and multicat; 5 minutes.
    #[arg(long)]
    arrival: bool,
    /// Channels of --headend.
    #[arg(long, default_value_t = 200)]
    channels: usize,
    /// Length of --soak, --stalled-1000, --slow, and of each window of --headend, in minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Only the floor (and nginx): for work on the instrument itself.
    #[arg(long)]
    no_server: bool,
    /// Only rows of the sweep with this flush mode ("frame", "video", "interval 100").
    #[arg(long)]
    flush: Option<String>,
    /// Only rows of the sweep with so many subscribers.
    #[arg(long)]
    subscribers: Vec<usize>,
    /// Length of the measured window; whole GOPs are 2 s.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// Interleaved rounds of every row; the median counts.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Further rounds of rows of the sweep that miss a gate; the median of all counts.
    #[arg(long, default_value_t = 2)]
    repeat_missed: usize,
    /// The server's processor.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The load's processor.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// Measure nothing: make tables, plot and docs/performance.md anew from the results in docs/bench or --out.
    #[arg(long)]
    render: bool,
    /// Where results go; without it docs/bench, and nowhere for --quick and --no-server.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    binaries: Binaries,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nginx,
    Memory,
    Stalled,
    Streams,
    IdleStreams,
    Scale,
    Sweep,
    Storm,
    Slow,
    Stalled1000,
    Headend,
    Soak,
}

impl Part {
    /// Short ones first: an interrupted run keeps what it has.
    const ALL: [Self; 12] = [
        Self::Nginx,
        Self::Memory,
        Self::Stalled,
        Self::Streams,
        Self::IdleStreams,
        Self::Scale,
        Self::Sweep,
        Self::Storm,
        Self::Slow,
        Self::Stalled1000,
        Self::Headend,
        Self::Soak,
    ];

    /// Whether it must be asked for by name: what the server bears is measured when that may have changed, and takes long.
    fn is_on_demand(self) -> bool {
        matches!(self, Self::Storm | Self::Slow | Self::Stalled1000 | Self::Headend | Self::Soak)
    }

    /// Its result among [`render::NAMES`].
    fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Memory => "memory",
            Self::Stalled => "stalled",
            Self::Streams | Self::IdleStreams => "streams",
            Self::Scale => "scale",
            Self::Sweep => "sweep",
            Self::Storm => "storm",
            Self::Slow => "slow",
            Self::Stalled1000 => "stalled-1000",
            Self::Headend => "headend",
            Self::Soak => "soak",
        }
    }
}

impl BenchArgs {
    fn keeps(&self, cell: &Cell) -> bool {
        self.flush.as_ref().is_none_or(|mode| *mode == cell.flush.name())
            && (self.subscribers.is_empty() || self.subscribers.contains(&cell.subscribers))
    }

    fn cells(&self) -> Vec<Cell> {
        let cells = if self.quick { sweep::quick() } else { sweep::full() };
        cells.into_iter().filter(|cell| self.keeps(cell)).collect()
    }

    fn out(&self) -> Option<PathBuf> {
        self.out.clone().or_else(|| (!self.quick && !self.no_server).then(render::docs))
    }

    fn rounds(&self) -> usize {
        self.rounds.max(1)
    }

    /// Minutes of a part that lasts so long.
    fn minutes(&self, part: Part) -> f64 {
        self.minutes.unwrap_or(match part {
            Part::Soak => SOAK_MINUTES,
            Part::Slow => SLOW_MINUTES,
            Part::Headend if self.quick => HEADEND_TRY_MINUTES,
            Part::Headend => HEADEND_MINUTES,
            _ => STALLED_MINUTES,
        })
    }

    fn headend(&self) -> headend::Plan {
        headend::Plan {
            channels: self.channels,
            seconds: self.minutes(Part::Headend) * 60.0,
            rounds: match () {
                () if !self.headend => 0,
                () if self.quick => self.rounds(),
                () => self.rounds.max(HEADEND_ROUNDS_MIN),
            },
            with_gateway: !self.no_server,
        }
    }

    fn parts(&self) -> Vec<Part> {
        let chosen = |part: &Part| match part {
            Part::Nginx => self.against.is_some(),
            Part::Memory => self.memory,
            Part::Stalled => self.stalled,
            Part::Streams => self.streams,
            Part::IdleStreams => self.idle_streams,
            Part::Scale => self.scale,
            Part::Sweep => false,
            Part::Storm => self.storm,
            Part::Slow => self.slow,
            Part::Stalled1000 => self.stalled_1000,
            Part::Headend => self.headend || self.arrival,
            Part::Soak => self.soak,
        };
        let wanted = |part: &Part| chosen(part) || self.all && !part.is_on_demand();
        let parts: Vec<Part> = Part::ALL.into_iter().filter(wanted).collect();
        if parts.is_empty() { vec![Part::Sweep] } else { parts }
    }

    /// Who takes part. Without the gateway nginx stands in, so that the instrument itself can be tried.
    fn contenders(&self, part: Part) -> Vec<Contender> {
        use Contender::{FloorSend, FloorUring, HttpFlv, Nginx, Rtmp};
        let all: &[Contender] = match part {
            Part::Sweep => &[FloorUring, FloorSend, Rtmp, HttpFlv],
            Part::Scale => &[FloorUring, Rtmp, HttpFlv],
            Part::Nginx => &[FloorUring, Rtmp, Nginx],
            // Both protocols at once; or senders of its own.
            Part::IdleStreams | Part::Storm | Part::Headend | Part::Soak => &[Rtmp],
            Part::Slow | Part::Stalled1000 | Part::Memory | Part::Stalled | Part::Streams => &[Rtmp, HttpFlv],
        };
        let mut chosen: Vec<Contender> =
            all.iter().copied().filter(|c| !(self.no_server && c.is_gateway())).collect();
        if chosen.is_empty() {
            chosen.push(Nginx);
        }
        chosen
    }

    /// Seconds that a part takes, roughly.
    fn planned_seconds(&self, part: Part) -> f64 {
        let seconds = |loads: &[Load]| loads.iter().map(Load::planned_seconds).sum::<f64>();
        let cells = |cells: &[Cell]| {
            let loads: Vec<Load> = cells.iter().map(|cell| cell.load(self.seconds)).collect();
            seconds(&loads) * self.rounds() as f64
        };
        let contenders = self.contenders(part);
        let each = |contender: &Contender| match part {
            Part::Sweep => cells(&self.cells()),
            Part::Nginx => cells(&sweep::against_nginx()),
            Part::Memory => seconds(&memory::loads()),
            Part::Stalled => {
                seconds(&extras::stalled_loads(self.seconds)) * extras::stalled_rounds(self.rounds) as f64
            }
            Part::Streams => {
                extras::streams_loads(self.seconds).iter().map(|(_, l)| l.planned_seconds()).sum()
            }
            Part::IdleStreams => {
                extras::idle_loads(self.seconds).iter().map(|(_, l)| l.planned_seconds()).sum()
            }
            Part::Scale => seconds(&scale::loads(*contender, self.seconds, self.rounds())),
            Part::Storm => storm::planned_seconds(self.storm_seconds),
            Part::Slow => {
                beside::planned_seconds(self.minutes(part) * 60.0) * beside::slow_rounds(self.rounds) as f64
            }
            Part::Stalled1000 => beside::planned_seconds(self.minutes(part) * 60.0),
            Part::Headend => self.headend().planned_seconds(),
            Part::Soak => soak::planned_seconds(self.minutes(part)),
        };
        contenders.iter().map(each).sum()
    }
}

/// Measures and writes what was asked for.
///
/// # Errors
/// Without root, iproute2, or two processors; when something does not build, start or answer.
pub fn run(args: BenchArgs) -> Result<()> {
    if args.render {
        return render::render(&args.out.clone().unwrap_or_else(render::docs));
    }
    ensure!(args.server_cpu != args.load_cpu, "server and load need a processor each");
    let parts = args.parts();
    ensure!(!parts.contains(&Part::Sweep) || !args.cells().is_empty(), "the sweep has no such row");
    let planned_s: f64 = parts.iter().map(|part| args.planned_seconds(*part)).sum();
    let cpus = (args.server_cpu, args.load_cpu);
    let channels = |part: &Part| *part == Part::Headend;
    let wanted = Wanted { server: !args.no_server, floor: !parts.iter().all(channels), paced: args.headend };
    let lab = Lab::new(&args.binaries, wanted, cpus, planned_s)?;
    eprintln!("{} planned", lab.progress.line());
    // What fails must not take the rest with it: a run of 40 minutes keeps what it can get.
    let mut failed = Vec::new();
    for &part in &parts {
        if let Err(error) = measure(&args, &lab, part) {
            eprintln!("{part:?} failed: {error:#}");
            failed.push(format!("{part:?}"));
        }
    }
    if let Some(out) = args.out()
        && failed.len() < parts.len()
    {
        // Tables that use another result, too.
        render::render(&out)?;
    }
    if !failed.is_empty() {
        bail!("failed: {}; configs and logs are in {}", failed.join(", "), lab.dir.display());
    }
    let _ = fs::remove_dir_all(&lab.dir);
    Ok(())
}

fn measure(args: &BenchArgs, lab: &Lab, part: Part) -> Result<()> {
    let contenders = args.contenders(part);
    let (seconds, rounds) = (args.seconds, args.rounds());
    let sweep_rounds = Rounds { all: rounds, missed: args.repeat_missed };
    let conditions = conditions(args, part, &lab.commit);
    let out = args.out();
    let store = |rows: &[Value]| match &out {
        Some(out) => render::store(out, part.name(), &conditions, rows),
        None => Ok(()),
    };
    let rows = match part {
        Part::Sweep => sweep::sweep(lab, &args.cells(), &contenders, seconds, sweep_rounds, store)?,
        Part::Nginx => sweep::sweep(lab, &sweep::against_nginx(), &contenders, seconds, sweep_rounds, store)?,
        Part::Memory => memory::memory(lab, &contenders)?,
        Part::Stalled => extras::stalled(lab, &contenders, seconds, rounds)?,
        Part::Streams => extras::streams(lab, &contenders, seconds)?,
        Part::IdleStreams => extras::idle_streams(lab, contenders[0], seconds)?,
        Part::Scale => scale::scale(lab, &contenders, seconds, rounds)?,
        Part::Storm => storm::storm(lab, args.storm_seconds)?,
        Part::Slow => beside::slow(lab, &contenders, args.minutes(part) * 60.0, rounds)?,
        Part::Stalled1000 => beside::stalled(lab, &contenders, args.minutes(part) * 60.0)?,
        Part::Headend => headend::headend(lab, &args.headend(), store)?,
        Part::Soak => soak::soak(lab, args.minutes(part))?,
    };
    store(&rows)?;
    let shown = out.clone().unwrap_or_default();
    println!("{}", render::table(&shown, part.name(), &conditions, &rows));
    Ok(())
}

/// What a reader needs to know to judge the numbers.
fn conditions(args: &BenchArgs, part: Part, commit: &str) -> Value {
    let first = |file: &str, start: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        line.split_once(':').map_or(line.clone(), |(_, value)| value.trim().to_owned())
    };
    let mut conditions = json!({
        "processor": first("/proc/cpuinfo", "model name"),
        "kernel": first("/proc/sys/kernel/osrelease", ""),
        "processors": fs::read_to_string("/proc/cpuinfo").map_or(0, |t| t.matches("processor\t").count()),
        "commit": commit,
        "server_cpu": args.server_cpu,
        "load_cpu": args.load_cpu,
        "loopback_mtu": 1500,
        "congestion_control": lab::CONGESTION,
    });
    if !part.is_on_demand() {
        conditions["load"] = json!("2.5 Mbit/s, 30 fps, GOP 60, AAC 46.875 frames/s: 76.9 messages/s");
        conditions["window_seconds"] = json!(args.seconds);
        conditions["rounds"] = json!(args.rounds());
        conditions["repeat_missed"] = json!(args.repeat_missed);
        conditions["steal_max"] = json!(run::STEAL_MAX);
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parts(words: &[&str]) -> Vec<Part> {
        Line::parse_from([&["bench"], words].concat()).bench.parts()
    }

    #[test]
    fn what_runs_on_demand_is_asked_for_by_name() {
        assert_eq!(parts(&[]), [Part::Sweep]);
        assert_eq!(parts(&["--storm", "--soak"]), [Part::Storm, Part::Soak]);
        assert_eq!(parts(&["--stalled-1000"]), [Part::Stalled1000]);
        assert_eq!(parts(&["--slow"]), [Part::Slow]);
        assert_eq!(parts(&["--arrival"]), [Part::Headend]);
        assert!(parts(&["--all"]).iter().all(|part| !part.is_on_demand()));
        assert_eq!(parts(&["--all", "--soak"]).last(), Some(&Part::Soak));
    }

    #[test]
    fn every_part_has_a_result_with_a_table() {
        assert!(Part::ALL.iter().all(|part| render::NAMES.contains(&part.name())));
    }
}
