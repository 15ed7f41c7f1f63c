//! One run: a contender under the load, and the numbers it gives.

use super::lab::{Lab, Running};
use super::product;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

/// The port of RTMP inside the namespace.
pub const RTMP_PORT: u16 = 1935;
/// The port of HTTP-FLV.
pub const HTTP_PORT: u16 = 8080;
/// Where to publish and play `live/NAME` over RTMP.
pub fn rtmp_url(name: &str) -> String {
    format!("rtmp://127.0.0.1:{RTMP_PORT}/live/{name}")
}

/// Where to play it over HTTP-FLV.
pub fn flv_url(name: &str) -> String {
    format!("http://127.0.0.1:{HTTP_PORT}/live/{name}.flv")
}

/// The stream of the benches.
pub const STREAM: &str = "bench";

/// Arguments as people write them.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Where the gateway answers with its own numbers.
pub const METRICS_URL: &str = "http://127.0.0.1:1985/metrics";
/// Stolen time above which a run says nothing.
pub const STEAL_MAX: f64 = 0.03;
/// How often a disturbed run is repeated before its numbers are taken as they are.
const REPEATS: usize = 3;
/// Phase slots of the floor in interval mode: as many as the gateway has.
const FLOOR_SLOTS: usize = 8;

/// Subscribers that headgate-load begins per second.
pub const RAMP_PER_S: f64 = 1000.0;
/// Seconds of a run beside ramp and window: start and end, publisher's head start (0.5), warm-up (3), drain (2).
const AROUND_S: f64 = 6.5;

/// How messages gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Every frame at once.
    Frame,
    /// Every video frame, audio with it: the gateway's default.
    Video,
    /// For so many ms.
    Interval(u32),
}

impl Flush {
    /// As people write it.
    pub fn name(self) -> String {
        match self {
            Self::Frame => "frame".to_owned(),
            Self::Video => "video".to_owned(),
            Self::Interval(ms) => format!("interval {ms}"),
        }
    }

    /// The mode and the gateway's `flush_ms`.
    fn parts(self) -> (&'static str, u32) {
        match self {
            Self::Frame => ("frame", 40),
            Self::Video => ("video", 40),
            Self::Interval(ms) => ("interval", ms),
        }
    }
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The floor with plain sends.
    FloorSend,
    /// The floor with batched ring sends.
    FloorUring,
    /// headgate, subscribers over RTMP.
    Rtmp,
    /// headgate, subscribers over HTTP-FLV.
    HttpFlv,
    /// nginx with the RTMP module.
    Nginx,
}

impl Contender {
    /// Key in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::FloorSend => "floor-send",
            Self::FloorUring => "floor-uring",
            Self::Rtmp => "rtmp",
            Self::HttpFlv => "http-flv",
            Self::Nginx => "nginx",
        }
    }

    /// Whether it is the gateway, over either protocol.
    pub fn is_gateway(self) -> bool {
        matches!(self, Self::Rtmp | Self::HttpFlv)
    }
}

/// The load of one run.
#[derive(Clone, Debug)]
pub struct Load {
    /// How messages gather.
    pub flush: Flush,
    /// Subscribers.
    pub subscribers: usize,
    /// All video frames of one size.
    pub equal_frames: bool,
    /// Length of the measured window.
    pub seconds: f64,
    /// The server runs on the load's processor too.
    pub both_cores: bool,
    /// Further arguments of headgate-load.
    pub extra: Vec<String>,
    /// Further lines of the gateway's configuration, the first of them in `[fanout]`.
    pub config: String,
    /// The gateway's heap is kept from huge pages, which round its resident size to 2 MiB.
    pub small_pages: bool,
}

impl Load {
    /// The usual stream for so many subscribers.
    pub fn new(flush: Flush, subscribers: usize, seconds: f64) -> Self {
        Self {
            flush,
            subscribers,
            equal_frames: false,
            seconds,
            both_cores: false,
            extra: Vec::new(),
            config: String::new(),
            small_pages: false,
        }
    }

    /// What a run takes, roughly: the server's start and end, the ramp, the window, and what lies around it.
    pub fn planned_seconds(&self) -> f64 {
        AROUND_S + self.subscribers as f64 / RAMP_PER_S + self.seconds
    }
}

/// How the numbers of several rounds become one.
#[derive(Clone, Copy)]
enum Pick {
    Median,
    /// Faults are not averaged away.
    Max,
    Min,
}

/// The place of the gateway's own numbers, see [`product::numbers`].
const PRODUCT: &str = "product";

/// Numbers of a run: name, place in headgate-load's report, pick. Derived ones have no place.
const FIELDS: &[(&str, &str, Pick)] = &[
    ("cpu_us_per_message", "", Pick::Median),
    ("core", "", Pick::Median),
    ("load_core", "", Pick::Median),
    ("steal", "", Pick::Max),
    ("server_wait", "", Pick::Max),
    ("messages", "/delivered/total", Pick::Median),
    ("delivered_ratio", "/delivered/ratio", Pick::Min),
    ("video_p50_us", "/video_latency_us/p50", Pick::Median),
    ("video_p99_us", "/video_latency_us/p99", Pick::Median),
    ("audio_p50_us", "/audio_latency_us/p50", Pick::Median),
    ("audio_p99_us", "/audio_latency_us/p99", Pick::Median),
    ("first_frame_p99_us", "/first_frame_us/p99", Pick::Median),
    ("healthy", "/healthy", Pick::Max),
    ("clean", "/clean_subscribers", Pick::Min),
    ("missing", "/faults/missing", Pick::Max),
    ("incomplete_messages", "/incomplete/messages", Pick::Max),
    ("disconnects", "", Pick::Max),
    ("publisher_failures", "", Pick::Max),
    ("product_p50_us", PRODUCT, Pick::Median),
    ("product_p99_us", PRODUCT, Pick::Median),
    ("product_egress_bytes", PRODUCT, Pick::Median),
    ("product_sends", PRODUCT, Pick::Median),
    ("product_lag_skips", PRODUCT, Pick::Max),
    ("copied_ingest", PRODUCT, Pick::Max),
    ("copied_append", PRODUCT, Pick::Max),
    ("loop_lag_p99_us", PRODUCT, Pick::Median),
    ("ring_overflows", PRODUCT, Pick::Max),
    ("receive_buffers_exhausted", PRODUCT, Pick::Max),
    ("resident_bytes", PRODUCT, Pick::Median),
    ("streams", PRODUCT, Pick::Min),
];

/// The numbers that the tables use, out of headgate-load's report.
pub fn measured(report: &Value) -> Value {
    let number = |place: &str| report.pointer(place).and_then(Value::as_f64).unwrap_or(0.0);
    let largest = |place: &str| {
        let values = report.pointer(place).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        values.iter().filter_map(Value::as_f64).fold(0.0, f64::max)
    };
    let (seconds, cpu) = (number("/window/seconds").max(1e-9), number("/window/watched_cpu_seconds"));
    let ends = report["disconnects"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_f64);
    let product = product::numbers(report);
    let row = FIELDS.iter().filter(|(name, place, _)| *place != PRODUCT || product.contains_key(*name));
    let row = row.map(|&(name, place, _)| {
        if place == PRODUCT {
            return (name.to_owned(), product[name].clone());
        }
        let value = match name {
            // Without subscribers nothing is delivered.
            "cpu_us_per_message" if number("/delivered/total") == 0.0 => 0.0,
            "cpu_us_per_message" => cpu * 1e6 / number("/delivered/total"),
            "core" => cpu / seconds,
            "load_core" => number("/window/own_cpu_seconds") / seconds,
            "server_wait" => number("/window/watched_wait_seconds") / seconds,
            "steal" => largest("/window/steal"),
            "disconnects" => ends.clone().fold(0.0, |sum, n| sum + n),
            "publisher_failures" => report
                .pointer("/publisher/failures")
                .and_then(Value::as_array)
                .map_or(0.0, |f| f.len() as f64),
            _ => number(place),
        };
        (name.to_owned(), json!(value))
    });
    Value::Object(row.collect())
}

/// One set of numbers out of those of several rounds.
pub fn combine(rounds: &[Value]) -> Value {
    let measured = FIELDS.iter().filter(|(name, ..)| rounds.iter().any(|round| round.get(name).is_some()));
    let row = measured.map(|&(name, _, pick)| {
        let mut values: Vec<f64> = rounds.iter().filter_map(|round| round[name].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        let value = match pick {
            Pick::Median => values.get(values.len() / 2),
            Pick::Max => values.last(),
            Pick::Min => values.first(),
        };
        (name.to_owned(), json!(value))
    });
    Value::Object(row.collect())
}

/// A contender that runs, and how to reach it.
pub struct Server {
    /// The process.
    pub running: Running,
    /// headgate-load's arguments up to the load itself.
    arguments: Vec<String>,
    /// The port that subscribers connect to.
    pub port: u16,
}

/// Starts a contender for this load.
pub fn start(lab: &Lab, contender: Contender, load: &Load) -> Result<Server> {
    let (rtmp, flv) = (rtmp_url(STREAM), flv_url(STREAM));
    let text = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect();
    Ok(match contender {
        Contender::FloorSend | Contender::FloorUring => {
            let running = start_floor(lab, contender == Contender::FloorUring, load)?;
            Server { running, arguments: text(&["play", "--url", &flv]), port: HTTP_PORT }
        }
        Contender::Rtmp | Contender::HttpFlv => {
            let config = lab.dir.join("headgate.toml");
            let (mode, ms) = load.flush.parts();
            fs::write(
                &config,
                format!(
                    "[listen]\nrtmp = \"127.0.0.1:{RTMP_PORT}\"\nhttp = \"127.0.0.1:{HTTP_PORT}\"\n\
                     admin = \"127.0.0.1:1985\"\n\n[fanout]\nflush = \"{mode}\"\nflush_ms = {ms}\n{}",
                    load.config
                ),
            )?;
            let (config, cores) = (config.to_string_lossy(), lab.server_cpus(load.both_cores));
            let mut args = vec!["run", "-c", &config, "--cores", &cores];
            let (server, env) = (lab.server()?, Path::new("env"));
            let program = if load.small_pages {
                args.splice(0..0, ["MIMALLOC_ALLOW_THP=0", server.to_str().context("the server's path")?]);
                env
            } else {
                server
            };
            let running = lab.serve("headgate", program, &args, RTMP_PORT, &cores)?;
            if contender == Contender::Rtmp {
                Server { running, arguments: text(&["run", "--url", &rtmp]), port: RTMP_PORT }
            } else {
                Server {
                    running,
                    arguments: text(&["run", "--url", &rtmp, "--play-url", &flv]),
                    port: HTTP_PORT,
                }
            }
        }
        Contender::Nginx => {
            let running = start_nginx(lab)?;
            Server { running, arguments: text(&["run", "--url", &rtmp]), port: RTMP_PORT }
        }
    })
}

fn start_floor(lab: &Lab, uring: bool, load: &Load) -> Result<Running> {
    let (mode, ms) = load.flush.parts();
    let slots = if matches!(load.flush, Flush::Interval(_)) { FLOOR_SLOTS } else { 1 };
    let listen = format!("127.0.0.1:{HTTP_PORT}");
    let (ms, slots, count) = (ms.to_string(), slots.to_string(), load.subscribers.to_string());
    let engine = if uring { "uring" } else { "send" };
    let mut args = vec!["--listen", &listen, "--engine", engine, "--count", &count, "--flush", mode];
    args.extend(["--flush-ms", &ms, "--slots", &slots]);
    if load.equal_frames {
        args.push("--equal-frames");
    }
    lab.serve("floor", lab.floor()?, &args, HTTP_PORT, &lab.server_cpus(false))
}

fn start_nginx(lab: &Lab) -> Result<Running> {
    let dir = lab.dir.join("nginx");
    fs::create_dir_all(dir.join("logs"))?;
    let config = dir.join("nginx.conf");
    let home = dir.display();
    fs::write(
        &config,
        format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
             daemon off;\nmaster_process off;\nworker_processes 1;\nworker_rlimit_nofile 20000;\n\
             pid {home}/nginx.pid;\nerror_log {home}/error.log;\n\
             events {{ worker_connections 18000; }}\n\
             rtmp {{ server {{ listen 127.0.0.1:{RTMP_PORT}; chunk_size 65536; access_log off;\n\
             application live {{ live on; }} }} }}\n"
        ),
    )?;
    let (config, home) = (config.to_string_lossy(), home.to_string());
    let args = ["-c", &config, "-p", &home];
    lab.serve("nginx", Path::new("/usr/sbin/nginx"), &args, RTMP_PORT, &lab.server_cpus(false))
}

/// headgate-load's arguments for this load against a running contender.
pub fn load_arguments(contender: Contender, server: &Server, load: &Load) -> Vec<String> {
    let mut args = server.arguments.clone();
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("--count", load.subscribers.to_string());
    option("--seconds", load.seconds.to_string());
    option("--verify", load.subscribers.min(20).to_string());
    option("--watch-pid", server.running.pid().to_string());
    option("--ramp", RAMP_PER_S.to_string());
    if contender.is_gateway() {
        option("--scrape", METRICS_URL.to_owned());
    }
    if load.equal_frames {
        args.push("--equal-frames".to_owned());
    }
    args.extend(load.extra.iter().cloned());
    args
}

/// Frames and connections lost on the way, by healthy subscribers.
fn lost(row: &Value) -> f64 {
    ["missing", "incomplete_messages", "disconnects"].iter().filter_map(|field| row[field].as_f64()).sum()
}

/// Runs a contender under the load; again while the host steals too much, or while a floor is none because it lost something.
pub fn run(lab: &Lab, contender: Contender, load: &Load) -> Result<Value> {
    let mut repeats = 0;
    loop {
        let server = start(lab, contender, load)?;
        let report = lab.finish_load(lab.start_load(&load_arguments(contender, &server, load))?)?;
        let row = measured(&report);
        let steal = row["steal"].as_f64().unwrap_or(0.0);
        let number = |name: &str| row[name].as_f64().unwrap_or(0.0);
        lab.progress.done(if repeats == 0 { load.planned_seconds() } else { 0.0 });
        eprintln!(
            "{} {:>11} N {:4} {:12} {:5.2} us/message, {:4.2} core, load {:4.2}, video p50 {:.1} p99 {:.1} ms, \
             delivered {:.4}, lost {}, steal {:.1} %, waited {:.1} %",
            lab.progress.line(),
            contender.name(),
            load.subscribers,
            load.flush.name(),
            number("cpu_us_per_message"),
            number("core"),
            number("load_core"),
            number("video_p50_us") / 1e3,
            number("video_p99_us") / 1e3,
            number("delivered_ratio"),
            lost(&row),
            steal * 100.0,
            number("server_wait") * 100.0,
        );
        let is_floor = matches!(contender, Contender::FloorSend | Contender::FloorUring);
        let disturbed = steal > STEAL_MAX || is_floor && lost(&row) > 0.0;
        if !disturbed || repeats == REPEATS {
            return Ok(row);
        }
        repeats += 1;
    }
}
