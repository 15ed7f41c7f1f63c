//! Tables of what the server bears: a storm of connections, a thousand stalled readers, half an hour of coming and going.

use super::table::{SERVERS, cell, verdict};
use super::table_extras::{KERNEL_BYTES_MAX, STALLED_RATIO_MAX, USER_BYTES_MAX, text};
use serde_json::Value;
use std::fmt::Write;

/// Gate: p99 of a storm's set-ups, us.
const SETUP_P99_US_MAX: f64 = 300e3;
/// Gate: what the gateway may still account for behind a storm beyond what it did before.
const KEPT_BYTES_MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// Gate: median resident memory of a soak's last third over that of its middle third.
const SOAK_GROWTH_MAX: f64 = 1.01;
/// Descriptors that the medians of two thirds may differ by: viewers come and go, and a handful more or less is no leak.
const SOAK_DESCRIPTORS_MAX: f64 = 5.0;

fn at(row: &Value, place: &str) -> Option<f64> {
    row.pointer(place).and_then(Value::as_f64)
}

fn mb(bytes: Option<f64>) -> String {
    cell(bytes.map(|bytes| bytes / 1e6), 1)
}

/// Frames and connections that viewers who stay have lost.
fn control_lost(row: &Value) -> Option<f64> {
    ["missing", "incomplete_messages", "disconnects"]
        .iter()
        .map(|field| at(row, &format!("/control/{field}")))
        .sum()
}

/// Errors as `kind (count)`.
fn errors(errors: &Value) -> String {
    let kinds = errors.as_object().into_iter().flatten();
    let kinds: Vec<String> =
        kinds.map(|(kind, count)| format!("{kind} ({})", cell(count.as_f64(), 0))).collect();
    if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }
}

/// What a row of a storm misses.
fn storm_misses(row: &Value) -> Vec<String> {
    let mut misses = Vec::new();
    let mut gate = |met: bool, what: &str| {
        if !met {
            misses.push(what.to_owned());
        }
    };
    let over = |place: &str, limit: f64| at(row, place).is_none_or(|value| value > limit);
    gate(!over("/setups/0/setup_us/p99", SETUP_P99_US_MAX), "set-up p99");
    gate(!over("/connections/failed", 0.0), "errors");
    gate(!over("/connections/lost_sight_of", 0.0), "ends do not add up");
    gate(control_lost(row) == Some(0.0), "the control lost messages");
    gate(
        at(row, "/after/descriptors").is_some_and(|d| Some(d) == at(row, "/before/descriptors")),
        "descriptors",
    );
    let kept = at(row, "/after/accounted_bytes").zip(at(row, "/before/accounted_bytes"));
    gate(kept.is_some_and(|(after, before)| after - before <= KEPT_BYTES_MAX), "memory");
    misses
}

/// A storm.
pub fn storm(rows: &[Value]) -> String {
    let mut out = String::new();
    for row in rows {
        let _ = writeln!(
            out,
            "{} connections a second for {} s from {} addresses, each there for {} s behind its first frame; stream of {}. \
             Errors: {}. Gates: {}.\n",
            row["rate_per_s"],
            row["seconds"],
            row["addresses"],
            row["life_s"],
            text(row, "stream"),
            errors(&row["connections"]["errors"]),
            verdict(Some(storm_misses(row)), false),
        );
        out.push_str(
            "| connections over | begun | served | set-up ms p50, p90, p99, max | of it before connect(), p99 |\n|---|--:|--:|--:|--:|\n",
        );
        for setup in row["setups"].as_array().into_iter().flatten() {
            let ms = |place: &str| cell(at(setup, place).map(|us| us / 1e3), 1);
            let quantiles = ["p50", "p90", "p99", "max"].map(|q| ms(&format!("/setup_us/{q}"))).join(", ");
            let (begun, served) = (&setup["begun"], &setup["served"]);
            let _ = writeln!(
                out,
                "| {} | {begun} | {served} | {quantiles} | {} |",
                text(setup, "protocol"),
                ms("/late_us/p99")
            );
        }
        out.push_str("\n| | before | in the storm | after |\n|---|--:|--:|--:|\n");
        let line = |name: &str, cells: [String; 3]| format!("| {name} | {} |\n", cells.join(" | "));
        let all = |field: &str| ["before", "peak", "after"].map(|when| at(row, &format!("/{when}/{field}")));
        let p99 = [0, 1, 2].map(|n| at(row, &format!("/control_phases/{n}/video_p99_us")));
        let core = ["before", "during", "after"].map(|when| at(row, &format!("/core/{when}")));
        out.push_str(&line("core", core.map(|core| cell(core, 2))));
        out.push_str(&line("resident MB (peak)", all("resident_bytes").map(mb)));
        out.push_str(&line("own accounting MB (peak)", all("accounted_bytes").map(mb)));
        out.push_str(&line("descriptors (peak)", all("descriptors").map(|d| cell(d, 0))));
        out.push_str(&line("control viewers' video p99 ms", p99.map(|us| cell(us.map(|us| us / 1e3), 1))));
        let _ = writeln!(
            out,
            "\nLost by {} control viewers: {}.",
            cell(at(row, "/control/healthy"), 0),
            cell(control_lost(row), 0)
        );
    }
    out
}

/// A thousand stalled readers beside healthy ones.
pub fn stalled_many(rows: &[Value]) -> String {
    let mut out = String::from(
        "| server | stalled, s | sockets still there | p99 ms of 900 healthy before / beside / after | ratio | core before / beside / after \
         | lost by healthy ones | kernel bytes each, mean / max | user bytes each, resident / own accounting | pinned MB, median / max | gates |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let number = |field: &str| row[field].as_f64();
        let _ = writeln!(
            out,
            "| {} | {}, {} | {} | {} | {} | {} | {} | {} / {} | {} / {} | {} / {} | {} |",
            text(row, "server"),
            row["stalled"],
            row["seconds"],
            row["established_at_the_end"],
            triple(row, "p99_us", 1e3, 1),
            cell(number("ratio"), 2),
            triple(row, "core", 1.0, 2),
            cell(control_lost(row), 0),
            cell(number("kernel_bytes_mean"), 0),
            cell(number("kernel_bytes_max"), 0),
            cell(number("resident_bytes_each"), 0),
            cell(number("accounted_bytes_each"), 0),
            mb(number("pinned_bytes_median")),
            mb(number("pinned_bytes_max")),
            verdict(SERVERS.contains(&text(row, "server")).then(|| stalled_misses(row)), false),
        );
    }
    out
}

/// Slow readers beside healthy ones.
pub fn slow(rows: &[Value]) -> String {
    let mut out = String::from(
        "| server | slow beside healthy, s | slow still there | kbit/s each | skips | p99 ms of the healthy before / beside / after | ratio, median (all) \
         | core before / beside / after | lost by healthy ones | resident MB, max | pinned MB, max | gates |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let number = |field: &str| row[field].as_f64();
        let _ = writeln!(
            out,
            "| {} | {} beside {}, {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            text(row, "server"),
            row["slow"],
            row["healthy"],
            row["seconds"],
            cell(number("stayed"), 0),
            cell(number("slow_bytes_per_s").map(|bytes| bytes * 8.0 / 1e3), 0),
            cell(number("lag_skips"), 0),
            triple(row, "p99_us", 1e3, 1),
            ratios(row),
            triple(row, "core", 1.0, 2),
            cell(control_lost(row), 0),
            mb(number("resident_bytes_max")),
            mb(number("pinned_bytes_max")),
            verdict(SERVERS.contains(&text(row, "server")).then(|| slow_misses(row)), false),
        );
    }
    out
}

/// The ratio that counts, and those of all rounds.
fn ratios(row: &Value) -> String {
    let all = row["ratios"].as_array().map_or(&[][..], Vec::as_slice);
    let all: Vec<String> = all.iter().map(|ratio| cell(ratio.as_f64(), 2)).collect();
    let median = cell(row["ratio"].as_f64(), 2);
    if all.is_empty() { median } else { format!("{median} ({})", all.join(", ")) }
}

/// What a row of slow readers misses. They must be there and skipped, or they were not slow.
fn slow_misses(row: &Value) -> Vec<String> {
    let number = |field: &str| row[field].as_f64();
    [
        (number("ratio").is_some_and(|ratio| ratio <= STALLED_RATIO_MAX), "p99"),
        (number("stayed").is_some_and(|stayed| Some(stayed) == number("slow")), "slow readers closed"),
        (number("lag_skips").is_some_and(|skips| skips >= number("slow").unwrap_or(f64::MAX)), "not slow"),
        (control_lost(row) == Some(0.0), "lost messages"),
    ]
    .into_iter()
    .filter(|(met, _)| !met)
    .map(|(_, what)| what.to_owned())
    .collect()
}

/// Three values of a list in a cell.
fn triple(row: &Value, field: &str, unit: f64, digits: usize) -> String {
    [0, 1, 2].map(|n| cell(at(row, &format!("/{field}/{n}")).map(|v| v / unit), digits)).join(" / ")
}

/// What a row of stalled readers misses.
fn stalled_misses(row: &Value) -> Vec<String> {
    let mut misses = Vec::new();
    let number = |field: &str| row[field].as_f64();
    let user_max =
        USER_BYTES_MAX.iter().find(|(server, _)| *server == text(row, "server")).map(|(_, max)| *max);
    for (field, limit, what) in [
        ("ratio", Some(STALLED_RATIO_MAX), "p99"),
        ("kernel_bytes_mean", Some(KERNEL_BYTES_MAX), "kernel bytes"),
        ("resident_bytes_each", user_max, "resident bytes each"),
        ("accounted_bytes_each", user_max, "accounted bytes each"),
    ] {
        if number(field).zip(limit).is_none_or(|(value, limit)| value > limit) {
            misses.push(what.to_owned());
        }
    }
    // A thousand is a thousand, and all of them must have stopped. Whether they are still connected only the server's side
    // knows: a reader hears of its end when it reads.
    for (field, what) in [
        ("stayed", "readers failed"),
        ("established_at_the_end", "sockets closed"),
        ("stuck_at_the_end", "not all stalled"),
    ] {
        if number(field) != number("stalled") {
            misses.push(what.to_owned());
        }
    }
    if control_lost(row) != Some(0.0) {
        misses.push("lost messages".to_owned());
    }
    misses
}

/// What a soak misses.
pub fn soak_misses(row: &Value) -> Vec<String> {
    let mut misses = Vec::new();
    let third = |n: usize, field: &str| at(row, &format!("/thirds/{n}/{field}"));
    let pair = |field: &str| third(1, field).zip(third(2, field));
    if pair("resident_bytes").is_none_or(|(middle, last)| last > middle * SOAK_GROWTH_MAX) {
        misses.push("resident memory grows".to_owned());
    }
    if pair("descriptors").is_none_or(|(middle, last)| (last - middle).abs() > SOAK_DESCRIPTORS_MAX) {
        misses.push("descriptors are not flat".to_owned());
    }
    let ends = at(row, "/before/descriptors").zip(at(row, "/after/descriptors"));
    if ends.is_none_or(|(before, after)| after > before) {
        misses.push("descriptors are left".to_owned());
    }
    if control_lost(row) != Some(0.0) {
        misses.push("the control lost messages".to_owned());
    }
    for (field, what) in [("failed", "errors"), ("lost_sight_of", "ends do not add up")] {
        if at(row, &format!("/visits/{field}")).is_none_or(|count| count > 0.0) {
            misses.push(what.to_owned());
        }
    }
    let faults =
        row["visits_faults"].as_object().map(|faults| faults.values().filter_map(Value::as_f64).sum());
    if faults != Some(0.0) {
        misses.push("faults of visits".to_owned());
    }
    // What the load is for must have happened: streams that ended, readers that were closed.
    for reason in ["stream_ended", "stalled"] {
        if at(row, &format!("/disconnects/{reason}")).is_none_or(|count| count <= 0.0) {
            misses.push(format!("nobody was {reason}"));
        }
    }
    misses
}

/// A soak.
pub fn soak(rows: &[Value]) -> String {
    let mut out = String::new();
    for row in rows {
        let rounds = |job: &str| row["rounds_of"][job].to_string();
        let _ = writeln!(
            out,
            "{} minutes: {} visits (set-up p99 {} ms, errors: {}), {} rounds of four publishers, {} of their viewers, {} of slow and \
             stopping readers; {} samples. Lost by {} control viewers: {}. Gates: {}.\n",
            row["minutes"],
            row["visits"]["due"],
            cell(at(row, "/visits_setup/setup_us/p99").map(|us| us / 1e3), 1),
            errors(&row["visits"]["errors"]),
            rounds("publishers"),
            rounds("watchers"),
            rounds("slow"),
            row["samples"],
            cell(at(row, "/control/healthy"), 0),
            cell(control_lost(row), 0),
            verdict(Some(soak_misses(row)), false),
        );
        out.push_str(
            "| | before | first third | middle third | last third | last / middle | after |\n|---|--:|--:|--:|--:|--:|--:|\n",
        );
        for (name, field, unit, digits) in [
            ("resident MB, median", "resident_bytes", 1e6, 2),
            ("own accounting MB, median", "accounted_bytes", 1e6, 2),
            ("descriptors, median", "descriptors", 1.0, 0),
            ("descriptors, most", "descriptors_max", 1.0, 0),
        ] {
            let third = |n: usize| at(row, &format!("/thirds/{n}/{field}"));
            let growth = third(1).zip(third(2)).filter(|(middle, _)| *middle > 0.0).map(|(m, l)| l / m);
            let value = |value: Option<f64>| cell(value.map(|value| value / unit), digits);
            let [before, after] = ["before", "after"].map(|when| value(at(row, &format!("/{when}/{field}"))));
            let thirds = [0, 1, 2].map(|n| value(third(n))).join(" | ");
            let _ = writeln!(out, "| {name} | {before} | {thirds} | {} | {after} |", cell(growth, 4));
        }
        let _ = writeln!(out, "\nHow connections ended: {}.", errors(&row["disconnects"]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn control() -> Value {
        json!({ "missing": 0.0, "incomplete_messages": 0.0, "disconnects": 0.0, "healthy": 100.0 })
    }

    fn check(table: &str) {
        for part in table.split("\n\n").filter(|part| part.starts_with('|')) {
            let columns = |line: &str| line.matches('|').count();
            let first = part.lines().next().map_or(0, columns);
            assert!(part.lines().all(|line| columns(line) == first), "{part}");
        }
    }

    fn changed(row: &Value, place: &str, value: Value) -> Value {
        let mut row = row.clone();
        *row.pointer_mut(place).unwrap() = value;
        row
    }

    #[test]
    fn a_storm_has_six_gates() {
        let setup = json!({ "protocol": "all", "begun": 30000, "served": 30000, "setup_us": { "p99": 299000 }, "late_us": { "p99": 1 } });
        let held = json!({ "descriptors": 140.0, "accounted_bytes": 1e6, "resident_bytes": 2e7 });
        let row = json!({
            "rate_per_s": 1000.0, "seconds": 30.0, "setups": [setup], "control": control(), "before": held, "after": held,
            "connections": { "failed": 0, "lost_sight_of": 0, "errors": {} },
        });
        assert_eq!(storm_misses(&row), Vec::<String>::new());
        check(&storm(std::slice::from_ref(&row)));
        for (place, value) in [
            ("/setups/0/setup_us/p99", json!(300_001)),
            ("/connections/failed", json!(1)),
            ("/connections/lost_sight_of", json!(1)),
            ("/control/missing", json!(1.0)),
            ("/after/descriptors", json!(141.0)),
            ("/after/accounted_bytes", json!(1e6 + 17.0 * 1024.0 * 1024.0)),
        ] {
            assert_eq!(storm_misses(&changed(&row, place, value)).len(), 1, "{place}");
        }
        assert_eq!(storm_misses(&json!({})).len(), 6, "what is not there is not met");
    }

    #[test]
    fn all_thousand_must_still_be_there() {
        let row = json!({
            "server": "rtmp", "stalled": 1000, "stayed": 1000, "established_at_the_end": 1000, "stuck_at_the_end": 1000,
            "ratio": 1.1, "kernel_bytes_mean": 32768.0, "resident_bytes_each": 2048.0, "accounted_bytes_each": 900.0,
            "p99_us": [1.0, 2.0, 3.0], "core": [0.1, 0.2, 0.3], "control": control(),
        });
        assert_eq!(stalled_misses(&row), Vec::<String>::new());
        check(&stalled_many(std::slice::from_ref(&row)));
        for (place, value) in [
            ("/stayed", json!(999)),
            ("/established_at_the_end", json!(999)),
            ("/stuck_at_the_end", json!(999)),
            ("/ratio", json!(1.101)),
            ("/kernel_bytes_mean", json!(32769.0)),
            ("/resident_bytes_each", json!(2049.0)),
            ("/server", json!("http-flv")),
            ("/control/disconnects", json!(1.0)),
        ] {
            assert_eq!(stalled_misses(&changed(&row, place, value)).len(), 1, "{place}");
        }
    }

    #[test]
    fn slow_readers_must_be_slow() {
        let row = json!({
            "server": "rtmp", "slow": 200, "healthy": 800, "stayed": 200, "ratio": 1.1, "lag_skips": 200.0, "seconds": 60.0,
            "p99_us": [1.0, 2.0, 3.0], "core": [0.1, 0.2, 0.3], "control": control(),
        });
        assert_eq!(slow_misses(&row), Vec::<String>::new());
        check(&slow(std::slice::from_ref(&row)));
        let rounds = slow(&[json!({ "ratio": 1.1, "ratios": [1.0, 1.1, null] })]);
        assert!(rounds.contains("| 1.10 (1.00, 1.10, –) |"), "{rounds}");
        for (place, value) in [
            ("/stayed", json!(199)),
            ("/ratio", json!(1.101)),
            ("/lag_skips", json!(199.0)),
            ("/control/missing", json!(1.0)),
        ] {
            assert_eq!(slow_misses(&changed(&row, place, value)).len(), 1, "{place}");
        }
        assert_eq!(slow_misses(&json!({})).len(), 4, "what is not there is not met");
    }

    #[test]
    fn a_soak_may_grow_by_a_hundredth() {
        let third = json!({ "resident_bytes": 30e6, "accounted_bytes": 5e6, "descriptors": 250.0 });
        let held = json!({ "descriptors": 20.0, "resident_bytes": 12e6, "accounted_bytes": 100.0 });
        let row = json!({
            "minutes": 30.0, "thirds": [third, third, third], "before": held, "after": held, "control": control(),
            "visits": { "due": 36000, "failed": 0, "lost_sight_of": 0, "errors": {} },
            "visits_faults": { "gaps": 0, "missing": 0 }, "rounds_of": {},
            "disconnects": { "stalled": 40.0, "stream_ended": 8.0 },
        });
        assert_eq!(soak_misses(&row), Vec::<String>::new());
        let table = soak(std::slice::from_ref(&row));
        check(&table);
        assert!(
            table.contains("| resident MB, median | 12.00 | 30.00 | 30.00 | 30.00 | 1.0000 | 12.00 |"),
            "{table}"
        );
        let grown = changed(&row, "/thirds/2/resident_bytes", json!(30.29e6));
        assert_eq!(soak_misses(&grown), Vec::<String>::new());
        for (place, value) in [
            ("/thirds/2/resident_bytes", json!(30.31e6)),
            ("/thirds/2/descriptors", json!(256.0)),
            ("/after/descriptors", json!(21.0)),
            ("/visits/failed", json!(1)),
            ("/visits_faults/gaps", json!(1)),
            ("/disconnects/stalled", json!(0.0)),
            ("/disconnects", json!({ "stalled": 1.0 })),
            ("/control/missing", json!(1.0)),
        ] {
            assert_eq!(soak_misses(&changed(&row, place, value)).len(), 1, "{place}");
        }
        // The first third is the way to the level, not the level.
        assert!(soak_misses(&changed(&row, "/thirds/0/resident_bytes", json!(1.0))).is_empty());
        assert_eq!(soak_misses(&json!({})).len(), 9);
    }
}
