//! What the sweep does not show: memory of subscribers, stalled ones beside healthy ones, many streams.

use super::lab::Lab;
use super::run::{Contender, Flush, Load, Server, load_arguments, measured, run, start};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

/// Subscribers of the small run; what they need is the server's own and the shared log's.
const FEW: usize = 10;
/// Subscribers of the large one.
const MANY: usize = 1010;
/// Subscribers begun per second in both.
const RAMP: usize = 1000;
/// Seconds after the ramp at which memory is read: stalled sockets are full by then.
const SETTLE_S: f64 = 8.0;
/// Seconds by which headgate-load starts subscribers after its publishers, and a margin for its own start.
const HEAD_START_S: f64 = 1.0;

fn load(subscribers: usize, seconds: f64, extra: &[&str]) -> Load {
    let extra = extra.iter().map(|&word| word.to_owned()).collect();
    Load { flush: Flush::Video, subscribers, equal_frames: false, seconds, extra }
}

/// User and kernel memory per subscriber: reading ones and stalled ones, over both protocols.
pub fn memory(lab: &Lab, contenders: &[Contender]) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for &contender in contenders {
        for stalled in [false, true] {
            let few = footprint(lab, contender, FEW, stalled)?;
            let many = footprint(lab, contender, MANY, stalled)?;
            let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / (MANY - FEW) as f64;
            let row = json!({
                "server": contender.name(),
                "subscribers": if stalled { "stalled" } else { "reading" },
                "user_bytes_each": each(many.user_bytes, few.user_bytes),
                "user_bytes_before": few.user_bytes,
                "kernel_bytes_mean": many.kernel_mean,
                "kernel_bytes_max": many.kernel_max,
                "sockets": many.sockets,
            });
            eprintln!("{row}");
            rows.push(row);
        }
    }
    Ok(rows)
}

struct Footprint {
    user_bytes: u64,
    kernel_mean: f64,
    kernel_max: u64,
    sockets: usize,
}

fn footprint(lab: &Lab, contender: Contender, subscribers: usize, stalled: bool) -> Result<Footprint> {
    let count = subscribers.to_string();
    let mut extra = vec!["--ramp", "1000", "--warmup", "0"];
    if stalled {
        extra.extend(["--stall", &count, "--stall-after", "1"]);
    }
    let load = load(subscribers, SETTLE_S + 2.0, &extra);
    let server = start(lab, contender, &load)?;
    let child = lab.start_load(&load_arguments(&server, &load))?;
    let ramp = subscribers as f64 / RAMP as f64;
    std::thread::sleep(Duration::from_secs_f64(HEAD_START_S + ramp + SETTLE_S));
    let user_bytes = user_bytes(server.running.pid())?;
    let kernel = kernel_bytes(lab, &server)?;
    let report = lab.finish_load(child)?;
    let ended: f64 = measured(&report)["disconnects"].as_f64().unwrap_or(0.0);
    if ended > 0.0 {
        eprintln!("{ended} of {subscribers} were disconnected before the end: {}", report["disconnects"]);
    }
    Ok(Footprint {
        user_bytes,
        kernel_mean: kernel.iter().sum::<u64>() as f64 / kernel.len().max(1) as f64,
        kernel_max: kernel.iter().copied().max().unwrap_or(0),
        sockets: kernel.len(),
    })
}

/// Resident anonymous and shared memory of a process: everything but file pages.
fn user_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = field("RssAnon:").context("no RssAnon in /proc/PID/status")? + field("RssShmem:").unwrap_or(0);
    Ok(kib * 1024)
}

/// Kernel memory of every established socket on the server's side of its port.
fn kernel_bytes(lab: &Lab, server: &Server) -> Result<Vec<u64>> {
    let filter = format!("sport = :{}", server.port);
    let output = lab.inside("ss").args(["-Htnm", "state", "established", &filter]).output()?;
    ensure!(output.status.success(), "ss failed");
    Ok(parse_skmem(&String::from_utf8_lossy(&output.stdout)))
}

/// Memory per `skmem:(r…,rb…,t…,tb…,f…,w…,o…,bl…,d…)`: received, queued to be written, reserved in advance, options, backlog.
fn parse_skmem(text: &str) -> Vec<u64> {
    let sockets = text.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
    sockets
        .map(|fields| {
            let value = |field: &str| {
                let at = field.find(|c: char| c.is_ascii_digit())?;
                let (name, digits) = field.split_at(at);
                matches!(name, "r" | "w" | "f" | "o" | "bl").then(|| digits.parse::<u64>().ok())?
            };
            fields.split(',').filter_map(value).sum()
        })
        .collect()
}

/// 1000 healthy readers, and 900 healthy ones beside 100 that stopped reading: the p99 of the healthy in both.
pub fn stalled(lab: &Lab, contenders: &[Contender], seconds: f64, rounds: usize) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for &contender in contenders {
        for round in 0..rounds.max(1) {
            let healthy = run(lab, contender, &load(1000, seconds, &[]))?;
            let mixed = run(lab, contender, &load(1000, seconds, &["--stall", "100", "--stall-after", "1"]))?;
            let p99 = |row: &Value| row["video_p99_us"].as_f64().unwrap_or(0.0);
            rows.push(json!({
                "server": contender.name(),
                "round": round,
                "healthy_p99_ms": p99(&healthy) / 1e3,
                "beside_stalled_p99_ms": p99(&mixed) / 1e3,
                "ratio": p99(&mixed) / p99(&healthy).max(1.0),
                "missing": mixed["missing"],
                "incomplete_messages": mixed["incomplete_messages"],
            }));
        }
    }
    Ok(rows)
}

/// 500 publishers with 4 subscribers each, at a bitrate that one core can take in and give out.
pub fn streams(lab: &Lab, contenders: &[Contender], seconds: f64) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for &contender in contenders {
        for bitrate in ["250k", "500k"] {
            let extra = ["--streams", "500", "--bitrate", bitrate, "--audio-bitrate", "48k", "--fps", "15"];
            let audio = ["--audio-fps", "23.4375", "--gop", "30"];
            let extra: Vec<&str> = extra.into_iter().chain(audio).collect();
            let mut row = run(lab, contender, &load(2000, seconds, &extra))?;
            row["server"] = json!(contender.name());
            row["bitrate"] = json!(bitrate);
            rows.push(row);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_memory_is_summed_without_limits_and_drops() {
        let text = "0 0 127.0.0.1:1935 127.0.0.1:4000\n\t skmem:(r1,rb131072,t5,tb2626560,f20,w300,o4000,bl50000,d7)\n\
                    0 0 a b skmem:(r0,rb1,t0,tb1,f4096,w0,o0,bl0,d0)\n";
        assert_eq!(parse_skmem(text), [54321, 4096]);
    }
}
