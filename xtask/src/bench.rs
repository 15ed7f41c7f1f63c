//! `cargo xtask bench`: the gateway beside the floor, under the same load, on one machine.
//!
//! Everything runs in a network namespace whose loopback has an Ethernet's MTU; the server is pinned to one processor and the
//! load to another. Numbers are ratios within one run; absolute ones belong to the machine that is named with them. What the
//! gates are stands in `table`; what a run is, in `run`.

mod extras;
mod lab;
mod plot;
mod run;
mod sweep;
mod table;

use anyhow::{Context, Result, ensure};
use lab::{Binaries, Lab};
use run::Contender;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use sweep::Cell;

/// What to measure. Without a choice: the whole sweep.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// A short subset, to see that everything runs; writes nothing to docs.
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
    /// Only the floor (and nginx): for work on the instrument itself.
    #[arg(long)]
    no_server: bool,
    /// Only rows of this flush mode ("frame", "video", "interval 100").
    #[arg(long)]
    flush: Option<String>,
    /// Only rows with so many subscribers.
    #[arg(long)]
    subscribers: Vec<usize>,
    /// Length of the measured window; whole GOPs are 2 s.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Interleaved rounds of every row; the median counts.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// The server's processor.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The load's processor.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// Measure nothing: make sweep.md and sweep.svg anew from this sweep.json, beside it or in --out.
    #[arg(long, value_name = "FILE")]
    render: Option<PathBuf>,
    /// Where results go; without it docs/bench, and nowhere for --quick and --no-server.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    binaries: Binaries,
}

impl BenchArgs {
    fn keeps(&self, cell: &Cell) -> bool {
        self.flush.as_ref().is_none_or(|mode| *mode == cell.flush.name())
            && (self.subscribers.is_empty() || self.subscribers.contains(&cell.subscribers))
    }

    fn out(&self) -> Option<PathBuf> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bench");
        self.out.clone().or_else(|| (!self.quick && !self.no_server).then_some(docs))
    }

    fn contenders(&self, all: &[Contender]) -> Vec<Contender> {
        let ours = |c: &Contender| matches!(c, Contender::Rtmp | Contender::HttpFlv);
        all.iter().copied().filter(|c| !(self.no_server && ours(c))).collect()
    }
}

/// Measures and writes what was asked for.
///
/// # Errors
/// Without root, iproute2, or two processors; when something does not build, start or answer.
pub fn run(args: BenchArgs) -> Result<()> {
    if let Some(file) = &args.render {
        return render(file, args.out.as_deref());
    }
    ensure!(args.server_cpu != args.load_cpu, "server and load need a processor each");
    let lab = Lab::new(&args.binaries, !args.no_server, args.server_cpu, args.load_cpu)?;
    measure(&args, &lab).with_context(|| format!("configs and logs are in {}", lab.dir.display()))?;
    let _ = fs::remove_dir_all(&lab.dir);
    Ok(())
}

fn measure(args: &BenchArgs, lab: &Lab) -> Result<()> {
    let gateway = args.contenders(&[Contender::Rtmp, Contender::HttpFlv]);
    let mut chosen = false;
    if args.against.is_some() {
        chosen = true;
        let contenders = args.contenders(&[Contender::FloorUring, Contender::Rtmp, Contender::Nginx]);
        let cells: Vec<Cell> = sweep::against_nginx().into_iter().filter(|cell| args.keeps(cell)).collect();
        let rows = sweep::sweep(lab, &cells, &contenders, args.seconds, args.rounds)?;
        write(args, "nginx", &rows, &table::nginx(&rows), None)?;
    }
    // nginx stands in when there is no gateway, so that the instrument itself can be tried.
    let servers = if args.no_server { vec![Contender::Nginx] } else { gateway.clone() };
    if args.memory {
        chosen = true;
        let rows = extras::memory(lab, &servers)?;
        write(args, "memory", &rows, &table::plain(&rows), None)?;
    }
    if args.stalled {
        chosen = true;
        let rows = extras::stalled(lab, &servers, args.seconds, args.rounds)?;
        write(args, "stalled", &rows, &table::plain(&rows), None)?;
    }
    if args.streams {
        chosen = true;
        let rows = extras::streams(lab, &servers, args.seconds)?;
        write(args, "streams", &rows, &table::plain(&rows), None)?;
    }
    if chosen {
        return Ok(());
    }
    let cells = if args.quick { sweep::quick() } else { sweep::full() };
    let cells: Vec<Cell> = cells.into_iter().filter(|cell| args.keeps(cell)).collect();
    ensure!(!cells.is_empty(), "no row has this flush mode and number of subscribers");
    let contenders = [&[Contender::FloorUring, Contender::FloorSend][..], &gateway].concat();
    let rows = sweep::sweep(lab, &cells, &contenders, args.seconds, args.rounds)?;
    write(args, "sweep", &rows, &sweep_tables(&rows), Some(&plot::sweep(&rows)))
}

fn sweep_tables(rows: &[Value]) -> String {
    format!("{}\n{}", table::sweep(rows), table::scale(rows))
}

fn render(file: &Path, out: Option<&Path>) -> Result<()> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let json: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let rows = json["rows"].as_array().with_context(|| format!("{} has no rows", file.display()))?;
    let out = out.or(file.parent()).unwrap_or(Path::new("."));
    fs::create_dir_all(out)?;
    fs::write(out.join("sweep.md"), sweep_tables(rows))?;
    fs::write(out.join("sweep.svg"), plot::sweep(rows))?;
    Ok(())
}

/// Prints the table; writes `NAME.json`, `NAME.md` and `NAME.svg`.
fn write(args: &BenchArgs, name: &str, rows: &[Value], table: &str, plot: Option<&str>) -> Result<()> {
    println!("{table}");
    let Some(out) = args.out() else { return Ok(()) };
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let json = json!({ "conditions": conditions(args), "rows": rows });
    fs::write(out.join(format!("{name}.json")), serde_json::to_string_pretty(&json)? + "\n")?;
    fs::write(out.join(format!("{name}.md")), table)?;
    if let Some(plot) = plot {
        fs::write(out.join(format!("{name}.svg")), plot)?;
    }
    println!("written to {}", out.display());
    Ok(())
}

/// What a reader needs to know to judge the numbers.
fn conditions(args: &BenchArgs) -> Value {
    let first = |file: &str, start: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        line.split_once(':').map_or(line.clone(), |(_, value)| value.trim().to_owned())
    };
    json!({
        "processor": first("/proc/cpuinfo", "model name"),
        "kernel": first("/proc/sys/kernel/osrelease", ""),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "server_cpu": args.server_cpu,
        "load_cpu": args.load_cpu,
        "loopback_mtu": 1500,
        "load": "2.5 Mbit/s, 30 fps, GOP 60, AAC 46.875 frames/s: 76.9 messages/s",
        "window_seconds": args.seconds,
        "rounds": args.rounds,
        "steal_max": run::STEAL_MAX,
    })
}
