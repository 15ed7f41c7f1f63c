//! Tables of everything beside the sweep, with their gates.

use super::table::{SERVERS, cell, is_saturated, lost, ms, number, verdict};
use serde_json::{Value, json};
use std::fmt::Write;

/// Gate: user memory of a subscriber beyond the shared log, bytes.
pub const USER_BYTES_MAX: [(&str, f64); 2] = [("rtmp", 2048.0), ("http-flv", 1024.0)];
/// Gate: kernel memory of a stalled subscriber, bytes.
pub const KERNEL_BYTES_MAX: f64 = 32.0 * 1024.0;
/// Gate: p99 of healthy subscribers beside stalled ones over their p99 among themselves.
pub const STALLED_RATIO_MAX: f64 = 1.10;
/// Gate: CPU per message on two cores over that on one.
const CORES_RATIO_MAX: f64 = 1.1;
/// Copied bytes over payload bytes may differ so much from a whole number: a log's copy holds the message's header too, and
/// sequence headers are frames that the load does not count.
const COPIES_TOLERANCE: f64 = 0.02;

/// A field's text; empty when it is none.
pub fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// Memory per subscriber.
pub fn memory(rows: &[Value]) -> String {
    let mut out = String::from(
        "| server | subscribers | user bytes each, resident | user bytes each, own accounting | resident MB with 10 | shared log MB \
         | kernel bytes, server's socket, mean / max | kernel bytes, both ends | gates |\n\
         |---|---|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let value = |field: &str| row[field].as_f64();
        let limit = USER_BYTES_MAX.iter().find(|(server, _)| *server == text(row, "server"));
        let misses = limit.map(|&(_, limit)| {
            let mut misses = Vec::new();
            for field in ["resident_bytes_each", "accounted_bytes_each"] {
                if value(field).is_some_and(|bytes| bytes > limit) {
                    misses.push(field.replace('_', " "));
                }
            }
            let stalled = text(row, "subscribers") == "stalled";
            if stalled && value("kernel_bytes_mean").is_none_or(|bytes| bytes > KERNEL_BYTES_MAX) {
                misses.push("kernel bytes".to_owned());
            }
            misses
        });
        let _ = writeln!(
            out,
            "| {} | {} {} | {} | {} | {} | {} | {} / {} | {} | {} |",
            text(row, "server"),
            row["count"],
            text(row, "subscribers"),
            cell(value("resident_bytes_each"), 0),
            cell(value("accounted_bytes_each"), 0),
            cell(value("resident_bytes_before").map(|bytes| bytes / 1e6), 1),
            cell(value("shared_log_bytes").map(|bytes| bytes / 1e6), 1),
            cell(value("kernel_bytes_mean"), 0),
            cell(value("kernel_bytes_max"), 0),
            cell(value("kernel_bytes_both_ends"), 0),
            verdict(misses, false),
        );
    }
    out
}

/// Healthy subscribers beside stalled ones: every round, and the median ratio that the gate is about.
pub fn stalled(rows: &[Value]) -> String {
    let mut out = String::from(
        "| server | round | p99 ms, 1000 healthy | p99 ms, 900 beside 100 stalled | ratio | core | lost by healthy ones | gate |\n\
         |---|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let value = |field: &str| row[field].as_f64();
        let missing = value("missing").zip(value("incomplete_messages")).map(|(gaps, end)| gaps + end);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} / {} | {} | |",
            text(row, "server"),
            row["round"],
            cell(value("healthy_p99_us").map(|us| us / 1e3), 1),
            cell(value("beside_stalled_p99_us").map(|us| us / 1e3), 1),
            cell(value("ratio"), 2),
            cell(value("healthy_core"), 2),
            cell(value("beside_stalled_core"), 2),
            cell(missing, 0),
        );
    }
    let mut servers: Vec<&str> = rows.iter().map(|row| text(row, "server")).collect();
    servers.dedup();
    for server in servers {
        let of = || rows.iter().filter(|row| text(row, "server") == server);
        let mut ratios: Vec<f64> = of().filter_map(|row| row["ratio"].as_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let median = ratios.get(ratios.len() / 2).copied();
        let lost = of().any(|row| row["missing"] != 0.0 || row["incomplete_messages"] != 0.0);
        let mut misses = Vec::new();
        if median.is_none_or(|median| median > STALLED_RATIO_MAX) {
            misses.push("p99".to_owned());
        }
        if lost {
            misses.push("lost messages".to_owned());
        }
        let misses = SERVERS.contains(&server).then_some(misses);
        let _ =
            writeln!(out, "| {server} | median | | | {} | | | {} |", cell(median, 2), verdict(misses, false));
    }
    out
}

/// Many streams with few subscribers, and idle ones.
pub fn streams(rows: &[Value]) -> String {
    let mut out = String::new();
    if kind(rows, "streams").next().is_some() {
        out.push_str(
            "| server | publishers x subscribers | bitrate of each | us/msg | core | video p50, p99 ms | delivered | lost | gate |\n\
             |---|---|---|--:|--:|--:|--:|--:|---|\n",
        );
    }
    for row in kind(rows, "streams") {
        let wrapped = json!({ "row": row });
        let mut misses = Vec::new();
        if lost(&wrapped, "row") > 0.0 {
            misses.push("lost messages".to_owned());
        }
        if row["publisher_failures"].as_f64().is_some_and(|failed| failed > 0.0) {
            misses.push("lost publishers".to_owned());
        }
        let _ = writeln!(
            out,
            "| {} | {} x {} | {} | {} | {} | {}, {} | {} | {} | {} |",
            text(row, "server"),
            row["publishers"],
            row["subscribers"].as_u64().unwrap_or(0) / row["publishers"].as_u64().unwrap_or(1).max(1),
            text(row, "bitrate"),
            cell(row["cpu_us_per_message"].as_f64(), 2),
            cell(row["core"].as_f64(), 2),
            ms(&wrapped, "row", "video_p50_us"),
            ms(&wrapped, "row", "video_p99_us"),
            cell(row["delivered_ratio"].as_f64(), 3),
            lost(&wrapped, "row"),
            verdict(Some(misses), false),
        );
    }
    if kind(rows, "idle").next().is_some() {
        out.push_str(
            "\n| idle streams | held | messages/s in | core | core %, each further one | resident MB | bytes, each further one |\n\
             |--:|--:|--:|--:|--:|--:|--:|\n",
        );
    }
    for row in kind(rows, "idle") {
        let value = |field: &str| row[field].as_f64();
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row["publishers"],
            cell(value("held"), 0),
            row["messages_per_second"],
            cell(value("core"), 3),
            cell(value("core_percent_each"), 4),
            cell(value("resident_bytes").map(|bytes| bytes / 1e6), 1),
            cell(value("resident_bytes_each"), 0),
        );
    }
    out
}

/// Capacity of one core, cost per message from 1000 to 4000 (out of the sweep), two cores, copies.
pub fn scale(rows: &[Value], sweep: &[Value]) -> String {
    let parts = [capacity(rows), rise(sweep), cores(rows), copies(rows)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn kind<'a>(rows: &'a [Value], kind: &'static str) -> impl Iterator<Item = &'a Value> {
    rows.iter().filter(move |row| text(row, "kind") == kind)
}

fn capacity(rows: &[Value]) -> String {
    let mut out = String::new();
    for row in kind(rows, "capacity") {
        if out.is_empty() {
            out.push_str(
                "| 1 core | N | flush | core | us/msg | video p50, p99 ms | delivered | lost | gate |\n\
                 |---|--:|---|--:|--:|--:|--:|--:|---|\n",
            );
        }
        let wrapped = json!({ "row": row });
        let lost = lost(&wrapped, "row");
        let misses = SERVERS.contains(&text(row, "server"));
        let misses = misses.then(|| if lost > 0.0 { vec!["lost messages".to_owned()] } else { Vec::new() });
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {}, {} | {} | {lost} | {} |",
            text(row, "server"),
            row["subscribers"],
            text(row, "flush"),
            cell(row["core"].as_f64(), 2),
            cell(row["cpu_us_per_message"].as_f64(), 2),
            ms(&wrapped, "row", "video_p50_us"),
            ms(&wrapped, "row", "video_p99_us"),
            cell(row["delivered_ratio"].as_f64(), 3),
            verdict(misses, false),
        );
    }
    out
}

fn cores(rows: &[Value]) -> String {
    let mut out = String::new();
    for row in kind(rows, "cores") {
        if out.is_empty() {
            out.push_str(
                "| server | N | flush | us/msg, 1 core | us/msg, 2 cores | ratio | lost, 2 cores | throughput | gate |\n\
                 |---|--:|---|--:|--:|--:|--:|---|---|\n",
            );
        }
        let cost = |cores| number(row, cores, "cpu_us_per_message").filter(|cost| *cost > 0.0);
        let ratio = cost("two").zip(cost("one")).map(|(two, one)| two / one);
        let mut misses = Vec::new();
        if ratio.is_none_or(|ratio| ratio > CORES_RATIO_MAX) {
            misses.push("cpu".to_owned());
        }
        if lost(row, "two") > 0.0 {
            misses.push("lost messages".to_owned());
        }
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | not measured | {} |",
            text(row, "server"),
            row["subscribers"],
            text(row, "flush"),
            cell(cost("one"), 2),
            cell(cost("two"), 2),
            cell(ratio, 2),
            lost(row, "two"),
            verdict(Some(misses), false),
        );
    }
    out
}

fn copies(rows: &[Value]) -> String {
    let mut out = String::new();
    for row in kind(rows, "copies") {
        if out.is_empty() {
            out.push_str(
                "| server | N | bytes copied to assemble a frame / its bytes | into logs / its bytes (1 log open) | gate |\n\
                 |---|--:|--:|--:|---|\n",
            );
        }
        let ratios = ["copied_ingest", "copied_append"].map(|field| row[field].as_f64());
        let exact = |ratio: &Option<f64>| ratio.is_some_and(|ratio| (ratio - 1.0).abs() <= COPIES_TOLERANCE);
        let misses = if ratios.iter().all(exact) { Vec::new() } else { vec!["copies".to_owned()] };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            text(row, "server"),
            row["subscribers"],
            cell(ratios[0], 3),
            cell(ratios[1], 3),
            verdict(Some(misses), false),
        );
    }
    out
}

/// Subscribers between which the cost per message must not rise more than the floor's.
pub const RISE: [u64; 2] = [1000, 4000];

/// How the cost per message of one flush mode changes between [`RISE`].
struct Rise {
    flush: String,
    floor: Option<f64>,
    servers: [Option<f64>; 2],
    saturated: bool,
}

impl Rise {
    fn all(rows: &[Value]) -> Vec<Rise> {
        let at = |n: u64| rows.iter().filter(move |r| r["subscribers"] == n && r["frames"] != "equal");
        let rise = |small: &Value| {
            let large = at(RISE[1]).find(|large| large["flush"] == small["flush"])?;
            let change = |who: &str| {
                let cost = |row: &Value| number(row, who, "cpu_us_per_message").filter(|cost| *cost > 0.0);
                cost(large).zip(cost(small)).map(|(large, small)| large / small)
            };
            Some(Rise {
                flush: text(small, "flush").to_owned(),
                floor: change("floor"),
                servers: SERVERS.map(change),
                saturated: is_saturated(large),
            })
        };
        at(RISE[0]).filter_map(rise).collect()
    }

    /// Servers whose cost rises more than the floor's. One that falls does not rise, however much more the floor's falls;
    /// a full core costs what a core costs, whoever fills it: nothing is asked of a ratio there.
    fn misses(&self) -> Option<Vec<String>> {
        let allowed = self.floor?.max(1.0);
        let over = |rise: &Option<f64>| !self.saturated && rise.is_some_and(|rise| rise > allowed);
        let servers = SERVERS.into_iter().zip(&self.servers);
        let misses = servers.filter(|(_, rise)| over(rise)).map(|(server, _)| server.to_owned()).collect();
        self.servers.iter().any(Option::is_some).then_some(misses)
    }
}

/// Flush modes whose cost per message rises more than the floor's.
pub fn rising(rows: &[Value]) -> Vec<String> {
    let missed = |rise: &Rise| rise.misses().is_some_and(|misses| !misses.is_empty());
    Rise::all(rows).into_iter().filter(missed).map(|rise| rise.flush).collect()
}

/// How the cost per message changes from 1000 to 4000 subscribers.
pub fn rise(rows: &[Value]) -> String {
    let mut out = String::new();
    for rise in Rise::all(rows) {
        if out.is_empty() {
            out.push_str("| flush | floor, 1000 to 4000 | RTMP | FLV | gate |\n|---|--:|--:|--:|---|\n");
        }
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            rise.flush,
            cell(rise.floor, 2),
            cell(rise.servers[0], 2),
            cell(rise.servers[1], 2),
            verdict(rise.misses(), rise.saturated),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str, wanted: &[&str]) {
        for part in table.split("\n\n") {
            let columns = |line: &str| line.matches('|').count();
            let first = part.lines().next().map_or(0, columns);
            assert!(part.lines().all(|line| columns(line) == first), "{part}");
        }
        wanted.iter().for_each(|text| assert!(table.contains(text), "no {text} in\n{table}"));
    }

    #[test]
    fn memory_gates_depend_on_protocol_and_pace() {
        let row = |server: &str, subscribers: &str, user: f64, kernel: f64| {
            json!({ "server": server, "subscribers": subscribers, "count": 2000,
                    "resident_bytes_each": user, "kernel_bytes_mean": kernel })
        };
        check(&memory(&[row("rtmp", "reading", 2000.0, 9e9)]), &["met"]);
        check(&memory(&[row("http-flv", "reading", 2000.0, 0.0)]), &["**missed**: resident bytes each"]);
        check(&memory(&[row("rtmp", "stalled", 1.0, 33e3)]), &["**missed**: kernel bytes"]);
        check(&memory(&[row("nginx", "stalled", 1e9, 33e9)]), &["| – |"]);
    }

    #[test]
    fn the_median_round_counts() {
        let row = |ratio: f64| json!({ "server": "rtmp", "round": 1, "ratio": ratio, "missing": 0.0, "incomplete_messages": 0.0 });
        check(&stalled(&[row(1.0), row(9.0), row(1.1)]), &["| 1.10 | | | met |"]);
        check(&stalled(&[row(1.0), row(9.0), row(1.2)]), &["**missed**: p99"]);
        let mut lossy = row(1.0);
        lossy["missing"] = json!(1.0);
        check(&stalled(&[lossy]), &["**missed**: lost messages"]);
    }

    #[test]
    fn every_part_of_scale_has_its_gate() {
        let cost = |us: f64| json!({ "cpu_us_per_message": us });
        let rows = [
            json!({ "kind": "capacity", "server": "rtmp", "subscribers": 6000, "missing": 2.0 }),
            json!({ "kind": "cores", "server": "rtmp", "subscribers": 1000, "one": cost(2.0), "two": cost(2.3) }),
            json!({ "kind": "copies", "server": "rtmp", "subscribers": 1, "copied_ingest": 1.0, "copied_append": 1.5 }),
        ];
        let sweep = [(1000, 2.0, 2.0), (4000, 3.0, 3.1)].map(|(n, floor, ours)| {
            json!({ "flush": "video", "frames": "keyframes 8x", "subscribers": n, "floor": cost(floor), "rtmp": cost(ours) })
        });
        let wanted =
            ["**missed**: lost messages", "**missed**: cpu", "**missed**: copies", "**missed**: rtmp"];
        check(&scale(&rows, &sweep), &wanted);
    }

    #[test]
    fn a_cost_that_falls_or_fills_a_core_does_not_rise() {
        let rows = |floor: f64, ours: f64, core: f64| {
            [(1000, 2.0, 2.0), (4000, floor, ours)].map(|(n, floor, ours)| {
                let cost = |us: f64| json!({ "cpu_us_per_message": us, "core": core });
                json!({ "flush": "video", "subscribers": n, "floor": cost(floor), "http-flv": cost(ours) })
            })
        };
        assert_eq!(rising(&rows(3.0, 3.1, 0.5)), ["video"]);
        assert!(rising(&rows(3.0, 3.0, 0.5)).is_empty());
        assert_eq!(rising(&rows(1.0, 2.1, 0.5)), ["video"]);
        assert!(rising(&rows(1.0, 1.9, 0.5)).is_empty());
        assert!(rising(&rows(1.0, 9.0, 0.9)).is_empty());
        check(&rise(&rows(1.0, 9.0, 0.9)), &["| saturated |"]);
    }

    #[test]
    fn streams_and_idle_ones() {
        let rows = [
            json!({ "kind": "streams", "server": "rtmp", "publishers": 500, "subscribers": 2000, "bitrate": "250k" }),
            json!({ "kind": "idle", "publishers": 5000, "held": 5000.0, "messages_per_second": 50000 }),
        ];
        check(&streams(&rows), &["| 500 x 4 | 250k |", "| 5000 | 5000 | 50000 |", "met"]);
    }
}
