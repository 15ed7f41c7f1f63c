//! headgate-load: puts load on a live media server and measures what its viewers get.

mod commands;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use commands::{receive, sample, storm};
use headgate_load::clock::{self, SECOND_NS, now_ns};
use headgate_load::media::Profile;
use headgate_load::report::{LiveLine, Report, Watched};
use headgate_load::scrape::{self, Pages};
use headgate_load::target::Target;
use headgate_load::watch::Sample;
use headgate_load::{play, publish};
use std::net::IpAddr;
use std::process::ExitCode;

/// Time between the publishers' first frames and the first subscriber, so that there is something to join.
const HEAD_START_NS: u64 = SECOND_NS / 2;

/// How long before the window its first page is read: a busy server takes its time, which must not shift the window.
const SCRAPE_AHEAD_NS: u64 = 3 * SECOND_NS / 10;

/// Load for live media servers: synthetic publishers, thousands of subscribers, and what they really got.
///
/// Frames carry their sequence and sending time; latency is the publisher's write to the subscriber's read.
/// A line per second goes to stderr, one JSON object to stdout.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish synthetic H.264 and AAC over RTMP.
    Publish {
        /// rtmp://host[:port]/app/stream
        #[arg(long)]
        url: Target,
        #[command(flatten)]
        media: MediaArgs,
        /// How long.
        #[arg(long, default_value_t = 10.0)]
        seconds: f64,
    },
    /// Play a stream many times over RTMP or HTTP-FLV.
    Play {
        /// rtmp://host[:port]/app/stream or http://host[:port]/path.flv
        #[arg(long)]
        url: Target,
        #[command(flatten)]
        media: MediaArgs,
        #[command(flatten)]
        play: PlayArgs,
    },
    /// Publish and play in one process.
    Run {
        /// Where to publish: rtmp://host[:port]/app/stream
        #[arg(long)]
        url: Target,
        /// Where to play; without it, the same URL. Subscribers take turns when it is repeated.
        #[arg(long)]
        play_url: Vec<Target>,
        /// Seconds that subscribers stay behind the last frame, to see that all of them arrive.
        #[arg(long, default_value_t = 2.0)]
        drain: f64,
        #[command(flatten)]
        media: MediaArgs,
        #[command(flatten)]
        play: PlayArgs,
    },
    /// Connections that come at a fixed pace, wait for their first frame, stay a while and leave.
    ///
    /// The pace is kept whatever the server does, and set-up counts from the moment when a connection should have begun.
    Storm(storm::StormArgs),
    /// Receive multicast channels of constant rate and say how far from their grid datagrams come.
    Receive(receive::ReceiveArgs),
    /// Print what a server holds as a line of JSON, again and again: memory, descriptors, processor time, its own numbers.
    Sample(sample::SampleArgs),
    /// Print a server's page of metrics as JSON, and end.
    Scrape {
        /// http://host[:port]/metrics
        #[arg(long)]
        url: Target,
    },
}

#[derive(Args)]
struct MediaArgs {
    /// Audio and video payload together, bit/s; k and M are understood.
    #[arg(long, default_value = "2.5M", value_parser = si)]
    bitrate: f64,
    /// The audio's part of it.
    #[arg(long, default_value = "128k", value_parser = si)]
    audio_bitrate: f64,
    /// Video frames per second; 0 for none.
    #[arg(long, default_value_t = 30.0)]
    fps: f64,
    /// Audio frames per second; 0 for none.
    #[arg(long, default_value_t = 46.875)]
    audio_fps: f64,
    /// Frames from keyframe to keyframe.
    #[arg(long, default_value_t = 60)]
    gop: u32,
    /// Size of a keyframe in inter frames.
    #[arg(long, default_value_t = 8.0)]
    key_ratio: f64,
    /// All video frames of one size.
    #[arg(long)]
    equal_frames: bool,
    /// Streams; with more than one, `_0`, `_1`, … is appended to the stream's name.
    #[arg(long, default_value_t = 1)]
    streams: usize,
}

#[derive(Args)]
struct PlayArgs {
    /// Subscribers, spread evenly over the streams.
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// Connections begun per second.
    #[arg(long, default_value_t = 1000.0)]
    ramp: f64,
    /// Seconds between the ramp's end and the measured window.
    #[arg(long, default_value_t = 3.0)]
    warmup: f64,
    /// Length of the measured window.
    #[arg(long, default_value_t = 10.0, conflicts_with = "phases")]
    seconds: f64,
    /// Lengths of parts of the window that are reported apart; the window is as long as all of them.
    #[arg(long, value_delimiter = ',')]
    phases: Vec<f64>,
    /// Local addresses to connect from, in turn.
    #[arg(long, value_delimiter = ',')]
    from: Vec<IpAddr>,
    /// Subscribers whose every byte is checked.
    #[arg(long, default_value_t = 0)]
    verify: usize,
    /// Subscribers that stop reading.
    #[arg(long, default_value_t = 0)]
    stall: usize,
    /// Seconds after which they stop.
    #[arg(long, default_value_t = 1.0)]
    stall_after: f64,
    /// Subscribers that read slowly.
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// Bytes per second that each of them reads.
    #[arg(long, default_value = "50k", value_parser = si)]
    read_rate: f64,
    /// Threads, each with its own ring.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Process whose processor time in the window is reported (the server's).
    #[arg(long)]
    watch_pid: Option<u32>,
    /// The server's page of metrics, read around the window and at the end: http://host[:port]/metrics
    #[arg(long, value_name = "URL")]
    scrape: Option<Target>,
}

impl MediaArgs {
    fn profile(&self) -> Profile {
        Profile {
            bitrate_bps: self.bitrate,
            audio_bps: self.audio_bitrate,
            fps: self.fps,
            audio_fps: self.audio_fps,
            gop: self.gop,
            key_ratio: if self.equal_frames { 1.0 } else { self.key_ratio },
        }
    }
}

impl PlayArgs {
    /// A plan that begins now; `drain_ns` lies behind the window.
    fn plan(&self, targets: Vec<Target>, streams: usize, drain_ns: u64) -> play::Plan {
        let opens = now_ns() + clock::seconds(self.count as f64 / self.ramp.max(1e-3) + self.warmup);
        let lengths = if self.phases.is_empty() { std::slice::from_ref(&self.seconds) } else { &self.phases };
        let phases: Vec<u64> = lengths
            .iter()
            .scan(opens, |at, &length| {
                *at += clock::seconds(length);
                Some(*at)
            })
            .collect();
        let closes = phases.last().copied().unwrap_or(opens);
        play::Plan {
            targets,
            from: self.from.clone(),
            streams,
            count: self.count,
            ramp_per_s: self.ramp,
            visit: None,
            verify: self.verify,
            stalled: (self.stall, clock::seconds(self.stall_after)),
            slow: (self.slow, self.read_rate),
            threads: self.threads,
            window: (opens, closes),
            phases,
            end_ns: closes + drain_ns,
        }
    }
}

/// A number with k, M or G behind it.
fn si(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.chars().last() {
        Some('k') => (&text[..text.len() - 1], 1e3),
        Some('M') => (&text[..text.len() - 1], 1e6),
        Some('G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let value: f64 = digits.parse().map_err(|_| format!("{text} is no number"))?;
    if value >= 0.0 && value.is_finite() {
        Ok(value * factor)
    } else {
        Err(format!("{text} is out of range"))
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("headgate-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    raise_descriptor_limit();
    match command {
        Command::Publish { url, media, seconds } => {
            let publishers = publish::connect(&url, media.streams)?;
            let end_ns = now_ns() + clock::seconds(seconds);
            print(&publish::run(publishers, media.profile(), end_ns, end_ns))
        }
        Command::Play { url, media, play } => {
            let plan = play.plan(vec![url], media.streams, 0);
            let players = play::start(&plan)?;
            let window = watch(&plan, &players.live, &play)?;
            print(&Report::new(&plan, &media.profile(), players.finish()?, window, None))
        }
        Command::Run { url, play_url, drain, media, play } => {
            let profile = media.profile();
            let publishers = publish::connect(&url, media.streams)?;
            let targets = if play_url.is_empty() { vec![url] } else { play_url };
            let mut plan = play.plan(targets, media.streams, clock::seconds(drain));
            plan.shift(HEAD_START_NS);
            let (end_ns, hold_ns) = (plan.window.1, plan.end_ns);
            let publisher = std::thread::Builder::new()
                .name("publish".to_owned())
                .spawn(move || publish::run(publishers, profile, end_ns, hold_ns))
                .context("cannot start a thread")?;
            clock::sleep_until(now_ns() + HEAD_START_NS);
            let players = play::start(&plan)?;
            let window = watch(&plan, &players.live, &play)?;
            let outcome = players.finish()?;
            let sent = publisher.join().map_err(|_| anyhow::anyhow!("the publishers' thread panicked"))?;
            print(&Report::new(&plan, &profile, outcome, window, Some(sent)))
        }
        Command::Storm(args) => storm::run(&args),
        Command::Receive(args) => receive::run(&args),
        Command::Sample(args) => {
            sample::run(&args);
            Ok(())
        }
        Command::Scrape { url } => print(&scrape::page(&url)?),
    }
}

/// Prints a line per second until the plan's end and takes the samples at the borders of the window and its phases.
fn watch(plan: &play::Plan, live: &play::Live, args: &PlayArgs) -> Result<(Watched, Option<Pages>)> {
    let (opens, closes) = plan.window;
    let page = || args.scrape.as_ref().map(scrape::page).transpose();
    let mut line = LiveLine::new();
    let mut next_line = now_ns() + SECOND_NS;
    let borders: Vec<u64> = std::iter::once(opens).chain(plan.phases.iter().copied()).collect();
    let mut samples: Vec<Sample> = Vec::new();
    let (mut before, mut after) = (None, None);
    loop {
        let now = now_ns();
        if before.is_none() && now >= opens.saturating_sub(SCRAPE_AHEAD_NS) {
            before = Some(page()?);
        }
        while borders.get(samples.len()).is_some_and(|&at| now_ns() >= at) {
            samples.push(Sample::take(args.watch_pid));
        }
        if after.is_none() && samples.len() == borders.len() {
            after = Some(page()?);
        }
        if now >= plan.end_ns
            && let ([first, .., last], Some(after)) = (&samples[..], &mut after)
        {
            let pages = match (before.flatten(), after.take(), page()?) {
                (Some(opens), Some(closes), Some(end)) => Some(Pages { opens, closes, end }),
                _ => None,
            };
            let phases = samples.windows(2).map(|pair| pair[1].since(&pair[0]));
            let phases = if samples.len() > 2 { phases.collect() } else { Vec::new() };
            return Ok((Watched { whole: last.since(first), phases }, pages));
        }
        if now >= next_line {
            let phase = match now {
                now if now < opens => "warm-up",
                now if now < closes => "window",
                _ => "drain",
            };
            eprintln!("{}", line.next(live, phase));
            next_line += SECOND_NS;
        }
        let borders = borders.iter().copied().chain([opens.saturating_sub(SCRAPE_AHEAD_NS), plan.end_ns]);
        let border = borders.filter(|&at| at > now).min().unwrap_or(now);
        clock::sleep_until(next_line.min(border));
    }
}

fn print(report: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(report)?);
    Ok(())
}

/// Thousands of sockets need thousands of descriptors.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
