//! Memory per subscriber: a small run and a large one against one server under the same load, and what the difference costs.

use super::lab::Lab;
use super::product::Page;
use super::run::{Contender, Flush, Load, METRICS_URL, RAMP_PER_S, Server, load_arguments, measured, start};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

/// Subscribers of the small run; what they need is the server's own.
const FEW: usize = 10;
/// Subscribers of the large one.
const MANY: usize = FEW + 2000;
/// Seconds after the ramp at which memory is read: stalled sockets are full by then, and none has reached its stall timeout
/// (10 s) yet.
const SETTLE_S: f64 = 6.0;
/// Seconds by which headgate-load starts subscribers after its publishers, and a margin for its own start.
const HEAD_START_S: f64 = 1.0;
/// Bytes in a page of `/proc/net/sockstat`.
const PAGE_BYTES: u64 = 4096;
/// A stream that fills a stalled socket within seconds and whose log is small beside what is measured.
const STREAM: [&str; 4] = ["--bitrate", "500k", "--audio-bitrate", "48k"];

fn load(subscribers: usize, stalled: bool) -> Load {
    let mut load = Load::new(Flush::Video, subscribers, SETTLE_S + 1.0);
    load.small_pages = true;
    let words = ["--warmup", "0", "--drain", "0"].into_iter().chain(STREAM);
    load.extra = words.map(str::to_owned).collect();
    if stalled {
        let count = subscribers.to_string();
        load.extra.extend(["--stall", &count, "--stall-after", "1"].map(str::to_owned));
    }
    load
}

/// The runs that [`memory`] makes for one contender.
pub fn loads() -> Vec<Load> {
    [false, true].into_iter().flat_map(|stalled| [load(FEW, stalled), load(MANY, stalled)]).collect()
}

/// User and kernel memory per subscriber: reading ones and stalled ones, over both protocols.
pub fn memory(lab: &Lab, contenders: &[Contender]) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for &contender in contenders {
        for stalled in [false, true] {
            // One process for both: two that differ in nothing hold up to 2 MB more or less than each other.
            let server = start(lab, contender, &load(FEW, stalled))?;
            let few = footprint(lab, contender, &server, &load(FEW, stalled))?;
            let many = footprint(lab, contender, &server, &load(MANY, stalled))?;
            let each = |now: f64, then: f64| (now - then) / (MANY - FEW) as f64;
            let own = many.accounted.zip(few.accounted).map(|(now, then)| each(now, then));
            rows.push(json!({
                "server": contender.name(),
                "subscribers": if stalled { "stalled" } else { "reading" },
                "count": MANY,
                "resident_bytes_each": each(many.user_bytes - many.shared, few.user_bytes - few.shared),
                "accounted_bytes_each": own,
                "resident_bytes_before": few.user_bytes,
                "shared_log_bytes": many.shared,
                "kernel_bytes_mean": many.kernel_mean,
                "kernel_bytes_max": many.kernel_max,
                "kernel_bytes_both_ends": each(many.sockstat, few.sockstat),
                "sockets": many.sockets,
                "disconnects": many.disconnects,
            }));
        }
    }
    Ok(rows)
}

struct Footprint {
    user_bytes: f64,
    /// Bytes of the shared logs, with those that slow subscribers keep.
    shared: f64,
    /// What the gateway says its connections take.
    accounted: Option<f64>,
    kernel_mean: f64,
    kernel_max: u64,
    /// TCP memory of the whole machine, both ends of every connection.
    sockstat: f64,
    sockets: usize,
    disconnects: f64,
}

fn footprint(lab: &Lab, contender: Contender, server: &Server, load: &Load) -> Result<Footprint> {
    let child = lab.start_load(&load_arguments(contender, server, load))?;
    let ramp = load.subscribers as f64 / RAMP_PER_S;
    std::thread::sleep(Duration::from_secs_f64(HEAD_START_S + ramp + SETTLE_S));
    let user_bytes = user_bytes(server.running.pid())? as f64;
    let page = if contender.is_gateway() { lab.scrape(METRICS_URL)? } else { Value::Null };
    let kernel = kernel_bytes(lab, server, "")?;
    let sockstat = sockstat(lab)? as f64;
    let report = lab.finish_load(child)?;
    let page = Page::new(&page);
    let sum = |name: &str| page.as_ref().and_then(|page| page.sum(name, ""));
    let shared = ["headgate_log_bytes", "headgate_pinned_bytes"].into_iter().filter_map(sum).sum();
    let disconnects = measured(&report)["disconnects"].as_f64().unwrap_or(0.0);
    lab.progress.done(load.planned_seconds());
    eprintln!(
        "{} {:>11} memory, N {:4}: resident {:.1} MB, shared {shared} B, {} sockets, {disconnects} disconnected",
        lab.progress.line(),
        contender.name(),
        load.subscribers,
        user_bytes / 1e6,
        kernel.len(),
    );
    Ok(Footprint {
        user_bytes,
        shared,
        accounted: sum("headgate_connection_memory_bytes"),
        kernel_mean: kernel.iter().sum::<u64>() as f64 / kernel.len().max(1) as f64,
        kernel_max: kernel.iter().copied().max().unwrap_or(0),
        sockstat,
        sockets: kernel.len(),
        disconnects,
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

/// Kernel memory of every established socket on the server's side of its port, as far as `ss` keeps it with `filter` (all
/// when it is empty).
pub fn kernel_bytes(lab: &Lab, server: &Server, filter: &str) -> Result<Vec<u64>> {
    Ok(parse_skmem(&sockets(lab, server, filter)?))
}

/// How many of them hold bytes that their peer does not take.
pub fn stuck(lab: &Lab, server: &Server, filter: &str) -> Result<usize> {
    Ok(count_stuck(&sockets(lab, server, filter)?))
}

fn sockets(lab: &Lab, server: &Server, filter: &str) -> Result<String> {
    let filter = format!("sport = :{} {filter}", server.port);
    let output = lab.inside("ss").args(["-OHtnmi", "state", "established", filter.trim_end()]).output()?;
    ensure!(output.status.success(), "ss failed");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines whose Send-Q, the second column, is not empty.
fn count_stuck(text: &str) -> usize {
    let queued = |line: &&str| line.split_whitespace().nth(1).is_some_and(|queued| queued != "0");
    text.lines().filter(queued).count()
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

fn sockstat(lab: &Lab) -> Result<u64> {
    let output = lab.inside("cat").arg("/proc/net/sockstat").output()?;
    ensure!(output.status.success(), "cannot read /proc/net/sockstat");
    parse_sockstat(&String::from_utf8_lossy(&output.stdout)).context("no TCP memory in /proc/net/sockstat")
}

/// Bytes of `TCP: … mem PAGES`.
fn parse_sockstat(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    Some(words.nth(1)?.parse::<u64>().ok()? * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_memory_is_summed_without_limits_and_drops() {
        let text = "0 0 127.0.0.1:1935 127.0.0.1:4000\n\t skmem:(r1,rb131072,t5,tb2626560,f20,w300,o4000,bl50000,d7) cubic\n\
                    0 0 a b skmem:(r0,rb1,t0,tb1,f4096,w0,o0,bl0,d0)\n";
        assert_eq!(parse_skmem(text), [54321, 4096]);
    }

    #[test]
    fn a_socket_with_unsent_bytes_is_stuck() {
        let text = "0 26000 127.0.0.1:1935 127.0.0.9:4000 skmem:(r0)\n0 0 127.0.0.1:1935 127.0.0.9:4001 skmem:(r0)\n";
        assert_eq!(count_stuck(text), 1);
    }

    #[test]
    fn sockstat_counts_pages() {
        let text = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3\nUDP: inuse 1 mem 8\n";
        assert_eq!(parse_sockstat(text), Some(12288));
        assert_eq!(parse_sockstat("UDP: mem 8\n"), None);
    }
}
