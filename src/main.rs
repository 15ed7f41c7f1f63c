//! The thin binary: arguments -> command -> exit code.
//!
//! Exit codes: 0 done, 1 could not run (busy port, missing permission), 2 wrong arguments or configuration, 3 `analyze`
//! found errors.
#![deny(unsafe_code)]

use clap::{Args, Parser, Subcommand};
use headgate::analyze::{self, Group, Request, Source, Verdict};
use headgate::config::{self, Config, ConfigError, EngineKind, Overrides};
use headgate::monitor::Options;
use headgate::server::{self, RunOptions};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// The allocator of the process.
mod allocator {
    #[global_allocator]
    static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

    /// Gives memory that has been free for a while back to the system. The allocator does so by itself only while it is
    /// asked for more: what a storm of connections leaves behind would stay until the next one.
    #[allow(unsafe_code)]
    pub fn give_back() {
        // SAFETY: it takes no memory of ours and may be called on any thread at any time.
        unsafe { libmimalloc_sys::mi_collect(false) }
    }
}

/// The arguments or the configuration are wrong; clap exits with the same code.
const EXIT_USAGE: u8 = 2;
/// `analyze` found errors in the stream, or could not judge it.
const EXIT_ERRORS_FOUND: u8 = 3;

/// An edge gateway for live media: RTMP in; RTMP and HTTP-FLV out, to thousands.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway; what happens without a command
    Run(RunArgs),
    /// Run the gateway and publish a built-in clip to live/demo
    Demo(RunArgs),
    /// Say whether a config file is valid, and what it leaves open
    Check {
        /// The config file
        file: PathBuf,
    },
    /// Judge a transport stream by TR 101 290: a file, a network capture, or a live group
    #[command(after_help = ANALYZE_HELP)]
    Analyze(AnalyzeArgs),
}

const ANALYZE_HELP: &str = "\
Examples:
  headgate analyze recording.ts
  headgate analyze --pcr-limit 40 --json channel.ts
  headgate analyze --group 239.1.2.3:5000 probe.pcapng
  headgate analyze --seconds 30 udp://eth0@239.1.2.3:5000
  headgate analyze rtp://@239.1.2.3:5000
  headgate analyze udp://@:5000

Exit codes: 0 clean, 1 could not run, 2 wrong arguments, 3 errors found.
What each indicator means and what to do about it: docs/analyze.md";

#[derive(Args)]
struct AnalyzeArgs {
    /// A file, or udp://[IFACE@]GROUP:PORT, rtp://[IFACE@]GROUP:PORT
    source: Source,
    /// Which datagrams of a capture; without it the only ones that are a transport stream
    #[arg(long, value_name = "[SOURCE@]ADDR:PORT")]
    group: Option<Group>,
    /// How long to listen to a live group
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Longest PCR interval in milliseconds: 100 (TR 101 290) or 40 (DVB, and many receivers)
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pcr_limit: u32,
    /// The report as JSON
    #[arg(long)]
    json: bool,
}

// The same before the command and behind it; what stands behind it holds. (A doc comment would become the help text.)
#[derive(Args, Default, PartialEq)]
struct RunArgs {
    /// Config file; every key is explained in headgate.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// RTMP address [default: 0.0.0.0:1935]
    #[arg(long, value_name = "ADDR")]
    rtmp: Option<SocketAddr>,
    /// HTTP address for media and the page [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Address for health, metrics and the API [default: 127.0.0.1:1985]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// CPUs to run on, such as 0,2-3 [default: all]
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreList>,
    /// auto, uring or epoll [default: auto]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<EngineKind>,
}

impl RunArgs {
    fn or(self, before: RunArgs) -> RunArgs {
        RunArgs {
            config: self.config.or(before.config),
            rtmp: self.rtmp.or(before.rtmp),
            http: self.http.or(before.http),
            admin: self.admin.or(before.admin),
            cores: self.cores.or(before.cores),
            engine: self.engine.or(before.engine),
        }
    }
}

/// A parsed `--cores`.
#[derive(Clone, PartialEq)]
struct CoreList(Vec<usize>);

impl FromStr for CoreList {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        config::parse_cores(list).map(CoreList)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Check { .. }) if cli.run != RunArgs::default() => {
            fail(&"check takes the config file alone: headgate check FILE", EXIT_USAGE)
        }
        Some(Command::Check { file }) => check(&file),
        Some(Command::Analyze(_)) if cli.run != RunArgs::default() => {
            fail(&"analyze takes the flags behind it alone: headgate analyze --help", EXIT_USAGE)
        }
        Some(Command::Analyze(args)) => judge(args),
        Some(Command::Demo(args)) => run(args.or(cli.run), true),
        Some(Command::Run(args)) => run(args.or(cli.run), false),
        None => run(cli.run, false),
    }
}

fn run(args: RunArgs, demo: bool) -> ExitCode {
    let RunArgs { config: config_file, rtmp, http, admin, cores, engine } = args;
    let flags = Overrides { rtmp, http, admin, cores: cores.map(|list| list.0), engine };
    let config = match configured(config_file.as_deref(), flags.clone()) {
        Ok(config) => config,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    match server::run(config, RunOptions { demo, config_file, flags }, allocator::give_back) {
        Ok(()) => ExitCode::SUCCESS,
        // The whole chain in one line.
        Err(error) => fail(&format_args!("{error:#}"), 1),
    }
}

/// The config file, or the defaults, under the flags.
fn configured(file: Option<&Path>, flags: Overrides) -> Result<Config, ConfigError> {
    file.map_or_else(|| Ok(Config::default()), config::load)?.with_overrides(flags)
}

fn check(file: &Path) -> ExitCode {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => return fail(&error, EXIT_USAGE),
    };
    let mut text = format!("{}: valid\n", file.display());
    for warning in config.warnings().into_iter().chain(server::warnings_here(&config)) {
        text += &format!("warning: {warning}\n");
    }
    // A reader that has gone away needs no answer.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn judge(args: AnalyzeArgs) -> ExitCode {
    let terminal = std::io::stdout().is_terminal();
    let request = Request {
        source: args.source,
        group: args.group,
        listen: Duration::from_secs(args.seconds.into()),
        options: Options {
            pcr_interval_max: Duration::from_millis(args.pcr_limit.into()),
            ..Options::default()
        },
        progress: std::io::stderr().is_terminal(),
    };
    let analysis = match analyze::run(&request) {
        Ok(analysis) => analysis,
        Err(error) => return fail(&error, 1),
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let text = if args.json {
        serde_json::to_string_pretty(&analysis).map(|json| json + "\n")
    } else {
        Ok(analyze::render(&analysis, colour))
    };
    match text {
        // A reader that has gone away needs no answer.
        Ok(text) => drop(std::io::stdout().write_all(text.as_bytes())),
        Err(error) => return fail(&error, 1),
    }
    match analysis.verdict {
        Verdict::Clean => ExitCode::SUCCESS,
        Verdict::Errors | Verdict::Unjudged => ExitCode::from(EXIT_ERRORS_FOUND),
    }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}
