//! Tables of channels: what one core bears, and how exactly datagrams arrive.

use super::table::{cell, verdict};
use super::table_extras::text;
use serde_json::Value;
use std::fmt::Write;

/// Who is judged; the others are what it is judged by.
const SERVER: &str = "headgate";
/// The bare loop's senders begin so.
const BARE: &str = "bare-";
/// Gate: part of a core that the pacer needs.
const CORE_MAX: f64 = 0.70;
/// Gate: CPU per datagram over the cheaper bare loop's of the same round.
const RATIO_MAX: f64 = 1.3;
/// Gate: how far the rate may be from what the channels have, beside what is not known of the window's ends.
const RATE_TOLERANCE: f64 = 0.001;
/// Gates of deviation: p50 and p99 in us, or this many times the calibration's if that is more.
const P50_US_MAX: f64 = 500.0;
const P99_US_MAX: f64 = 5000.0;
const CALIBRATION_RATIO_MAX: f64 = 2.0;
/// Gate: delay factor over multicat's of the same run.
const DF_RATIO_MAX: f64 = 1.2;
/// Gate: datagrams closer than 100 us, where the first of them is in time.
const RUN_MAX: f64 = 2.0;
/// Gate: datagrams in 100 ms over what the rate has, and a burst that may stand at their beginning.
const BUSY_RATIO_MAX: f64 = 2.0;
const BURST: f64 = 4.0;

fn at(row: &Value, place: &str) -> Option<f64> {
    row.pointer(place).and_then(Value::as_f64)
}

fn ms(row: &Value, place: &str, digits: usize) -> String {
    cell(at(row, place).map(|us| us / 1e3), digits)
}

fn of_kind<'a>(rows: &'a [Value], kind: &'static str) -> impl Iterator<Item = &'a Value> {
    rows.iter().filter(move |row| text(row, "kind") == kind)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// CPU per datagram of a row over the cheaper bare loop's of its round.
fn ratio(rows: &[Value], row: &Value) -> Option<f64> {
    let bare = of_kind(rows, "density")
        .filter(|other| text(other, "sender").starts_with(BARE) && other["round"] == row["round"]);
    let bare = bare.filter_map(|bare| at(bare, "/us_per_datagram")).reduce(f64::min)?;
    Some(at(row, "/us_per_datagram")? / bare).filter(|ratio| ratio.is_finite())
}

/// What the rounds of the gateway miss together: medians of what costs, the worst of what fails. `None` without any round.
fn density_misses(rows: &[Value]) -> Option<Vec<String>> {
    let own: Vec<&Value> = of_kind(rows, "density").filter(|row| text(row, "sender") == SERVER).collect();
    if own.is_empty() {
        return None;
    }
    let middle = |place: &str| median(own.iter().filter_map(|row| at(row, place)));
    let none = |place: &str| own.iter().all(|row| at(row, place) == Some(0.0));
    let rate = |row: &&Value| {
        let tolerance = RATE_TOLERANCE + at(row, "/of_nominal_error").unwrap_or(0.0);
        at(row, "/of_nominal").is_some_and(|part| (part - 1.0).abs() <= tolerance)
    };
    let ratios = median(own.iter().filter_map(|row| ratio(rows, row)));
    let gates = [
        (middle("/core").is_some_and(|core| core <= CORE_MAX), "core"),
        (ratios.is_some_and(|ratio| ratio <= RATIO_MAX), "CPU per datagram"),
        (own.iter().all(rate), "rate"),
        (none("/send_errors"), "send errors"),
        (none("/jumps"), "left out datagrams"),
        (none("/units_dropped") && none("/units_late"), "left out access units"),
        (none("/source_losses"), "lost a source"),
    ];
    Some(missed(&gates))
}

fn missed(gates: &[(bool, &str)]) -> Vec<String> {
    gates.iter().filter(|(met, _)| !met).map(|(_, what)| (*what).to_owned()).collect()
}

/// What a row's viewers miss. The delay factor has a gate where multicat was there.
fn arrival_misses(row: &Value) -> Vec<String> {
    let of = |field: &str| at(row, &format!("/arrival/{field}"));
    let within = |field: &str, least_us: f64| {
        let limit = of(&format!("calibration_{field}")).map(|us| (CALIBRATION_RATIO_MAX * us).max(least_us));
        of(field).zip(limit).is_some_and(|(us, limit)| us <= limit)
    };
    let busiest = of("busiest_100ms").zip(of("nominal_100ms"));
    let other = at(row, "/multicat/df_ms");
    missed(&[
        (within("p50_us", P50_US_MAX), "deviation p50"),
        (within("p99_us", P99_US_MAX), "deviation p99"),
        (
            other.is_none() || of("df_ms").zip(other).is_some_and(|(own, other)| own <= DF_RATIO_MAX * other),
            "delay factor",
        ),
        (of("longest_run_in_time").is_some_and(|run| run <= RUN_MAX), "bursts"),
        (
            busiest.is_some_and(|(most, nominal)| most <= BUSY_RATIO_MAX * nominal + BURST),
            "catches up too fast",
        ),
        (
            ["missing", "silent", "wrong_sizes"].iter().all(|field| of(field) == Some(0.0)),
            "not all arrived whole",
        ),
    ])
}

/// Both tables.
pub fn headend(rows: &[Value]) -> String {
    [density(rows), arrival(rows)].join("\n")
}

fn density(rows: &[Value]) -> String {
    let mut out = String::from(
        "| sender | round | channels, s | core of its thread (by its metric) | core of the process | datagrams/s (of nominal) | us/datagram \
         | x bare | ticks late ms p50, p99 | send errors | caught up / left out | nulls % | steal, waited % | gates |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in of_kind(rows, "density") {
        let percent = |place: &str, digits: usize| cell(at(row, place).map(|part| part * 100.0), digits);
        let own = text(row, "sender") == SERVER;
        let _ = writeln!(
            out,
            "| {} | {} | {}, {} | {} ({}) | {} | {} ({}) | {} | {} | {}, {} | {} | {} / {} | {} | {}, {} | |",
            text(row, "sender"),
            row["round"],
            row["channels"],
            row["seconds"],
            cell(at(row, "/core"), 3),
            cell(at(row, "/core_by_metric"), 3),
            cell(at(row, "/process_core"), 3),
            cell(at(row, "/datagrams_per_s"), 0),
            cell(at(row, "/of_nominal"), 4),
            cell(at(row, "/us_per_datagram"), 2),
            cell(ratio(rows, row).filter(|_| own), 2),
            ms(row, "/late_p50_us", 2),
            ms(row, "/late_p99_us", 2),
            cell(at(row, "/send_errors"), 0),
            cell(at(row, "/catch_ups"), 0),
            cell(at(row, "/jumps"), 0),
            percent("/null_ratio", 1),
            percent("/steal", 1),
            percent("/waited", 1),
        );
    }
    let own = || of_kind(rows, "density").filter(|row| text(row, "sender") == SERVER);
    let middle = |place: &str| median(own().filter_map(|row| at(row, place)));
    let _ = writeln!(
        out,
        "| {SERVER} | median | | {} | {} | | {} | {} | | | | | | {} |",
        cell(middle("/core"), 3),
        cell(middle("/process_core"), 3),
        cell(middle("/us_per_datagram"), 2),
        cell(median(own().filter_map(|row| ratio(rows, row))), 2),
        verdict(density_misses(rows), false),
    );
    out
}

fn arrival(rows: &[Value]) -> String {
    let mut out = String::from(
        "| sender | channels, looked at | datagrams (missing) | deviation ms p50, p99, max | calibration's p50, p99, max | delay factor ms, middle / worst channel \
         | longest gap ms | closest together: in time / any | most in 100 ms (rate's) | later than 5 ms % | gates |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let own = text(row, "sender") == SERVER;
        let label = match row["round"].as_u64() {
            Some(round) => format!("{}, round {round}", text(row, "sender")),
            None => format!("{}, beside multicat{}", text(row, "sender"), rate_of(row)),
        };
        let misses = own.then(|| arrival_misses(row));
        line(&mut out, &label, &row["channels"], &row["arrival"], verdict(misses, false));
        if row["multicat"].is_object() {
            line(
                &mut out,
                &format!("multicat{}", rate_of(row)),
                &Value::from(1),
                &row["multicat"],
                verdict(None, false),
            );
        } else if text(row, "kind") == "arrival" {
            out.push_str("| multicat | not installed | | | | | | | | | |\n");
        }
    }
    out
}

/// What tells channels of one rate from those of another.
fn rate_of(row: &Value) -> String {
    row["bitrate_bps"].as_f64().map_or(String::new(), |bps| format!(", {} Mbit/s", bps / 1e6))
}

fn line(out: &mut String, label: &str, channels: &Value, arrival: &Value, verdict: String) {
    let number = |field: &str, digits: usize| cell(arrival[field].as_f64(), digits);
    let ms = |field: &str| cell(arrival[field].as_f64().map(|us| us / 1e3), 2);
    let _ = writeln!(
        out,
        "| {label} | {channels}, {} | {} ({}) | {}, {}, {} | {}, {}, {} | {} / {} | {} | {} / {} | {} ({}) | {} | {verdict} |",
        number("channels", 0),
        number("datagrams", 0),
        number("missing", 0),
        ms("p50_us"),
        ms("p99_us"),
        ms("max_us"),
        ms("calibration_p50_us"),
        ms("calibration_p99_us"),
        ms("calibration_max_us"),
        number("df_ms", 1),
        number("df_worst_ms", 1),
        number("longest_gap_ms", 1),
        number("longest_run_in_time", 0),
        number("longest_run", 0),
        number("busiest_100ms", 0),
        number("nominal_100ms", 0),
        cell(arrival["late_ratio"].as_f64().map(|part| part * 100.0), 2),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changed(row: &Value, place: &str, value: Value) -> Value {
        let mut row = row.clone();
        *row.pointer_mut(place).unwrap() = value;
        row
    }

    fn seen() -> Value {
        json!({
            "channels": 8, "datagrams": 9000.0, "silent": 0, "missing": 0.0, "wrong_sizes": 0.0,
            "p50_us": 500.0, "p99_us": 5000.0, "max_us": 9000.0,
            "calibration_p50_us": 100.0, "calibration_p99_us": 2000.0, "calibration_max_us": 4000.0,
            "df_ms": 12.0, "df_worst_ms": 14.0, "longest_gap_ms": 9.0, "longest_run": 4.0, "longest_run_in_time": 2.0,
            "busiest_100ms": 79.0, "nominal_100ms": 38.0, "late_ratio": 0.001,
        })
    }

    fn density_row(sender: &str, round: u64, us: f64) -> Value {
        let core = [0.70, 0.9, 0.5][round as usize - 1];
        json!({
            "kind": "density", "sender": sender, "round": round, "channels": 200, "seconds": 30.0,
            "core": core, "process_core": 0.6, "us_per_datagram": us, "datagrams_per_s": 76e3, "of_nominal": 1.0019, "of_nominal_error": 0.001,
            "send_errors": 0.0, "jumps": 0.0, "units_dropped": 0.0, "units_late": 0.0, "source_losses": 0.0, "arrival": seen(),
        })
    }

    fn rounds() -> Vec<Value> {
        let round = |n: u64, bare: f64, own: f64| {
            [
                density_row("bare-uring", n, bare),
                density_row("bare-sendmmsg", n, 9.0),
                density_row(SERVER, n, own),
            ]
        };
        // Ratios 1.3, 2 and 1.
        [round(1, 4.0, 5.2), round(2, 4.0, 8.0), round(3, 4.0, 4.0)].concat()
    }

    fn check(table: &str) {
        for part in table.split("\n\n").filter(|part| part.starts_with('|')) {
            let columns = |line: &str| line.matches('|').count();
            let first = part.lines().next().map_or(0, columns);
            assert!(part.lines().all(|line| columns(line) == first), "{part}");
        }
    }

    #[test]
    fn density_has_seven_gates() {
        let rows = rounds();
        assert_eq!(density_misses(&rows), Some(Vec::new()));
        check(&headend(&rows));
        // The first round of the gateway is the middle one of both costs.
        for (place, value, misses) in [
            ("/2/us_per_datagram", json!(5.21), 1),
            ("/2/core", json!(0.701), 1),
            ("/2/of_nominal", json!(0.9979), 1),
            ("/5/of_nominal", json!(1.0021), 1),
            ("/8/send_errors", json!(1.0), 1),
            ("/8/jumps", json!(1.0), 1),
            ("/8/units_dropped", json!(1.0), 1),
            ("/8/units_late", json!(1.0), 1),
            ("/8/source_losses", json!(1.0), 1),
            // The dearer loop is not what counts, nor is the dearest round.
            ("/1/us_per_datagram", json!(99.0), 0),
            ("/5/us_per_datagram", json!(99.0), 0),
        ] {
            let Value::Array(rows) = changed(&json!(rows), place, value) else { unreachable!() };
            assert_eq!(density_misses(&rows).map(|misses| misses.len()), Some(misses), "{place}");
        }
        let empty = [json!({ "kind": "density", "sender": SERVER })];
        assert_eq!(
            density_misses(&empty).map(|misses| misses.len()),
            Some(7),
            "what is not there is not met"
        );
        assert_eq!(density_misses(&rows[..2]), None, "the bare loop alone has no gates");
    }

    #[test]
    fn arrival_is_judged_by_its_calibration_and_multicat() {
        let row = json!({ "kind": "arrival", "sender": SERVER, "channels": 20, "bitrate_bps": 4_000_000, "arrival": seen(), "multicat": { "df_ms": 10.0 } });
        assert_eq!(arrival_misses(&row), Vec::<String>::new());
        let table = headend(std::slice::from_ref(&row));
        check(&table);
        assert!(table.contains("| multicat, 4 Mbit/s |"), "{table}");
        for (place, value) in [
            ("/arrival/p50_us", json!(500.1)),
            ("/arrival/p99_us", json!(5000.1)),
            ("/arrival/calibration_p50_us", Value::Null),
            ("/arrival/df_ms", json!(12.1)),
            ("/arrival/longest_run_in_time", json!(3.0)),
            ("/arrival/busiest_100ms", json!(81.0)),
            ("/arrival/missing", json!(1.0)),
            ("/arrival/silent", json!(1)),
            ("/arrival/wrong_sizes", json!(1.0)),
        ] {
            assert_eq!(arrival_misses(&changed(&row, place, value)).len(), 1, "{place}");
        }
        // A machine that wakes nobody in time excuses as much.
        let late = changed(&row, "/arrival/calibration_p99_us", json!(4000.0));
        assert!(arrival_misses(&changed(&late, "/arrival/p99_us", json!(8000.0))).is_empty());
        assert_eq!(arrival_misses(&changed(&late, "/arrival/p99_us", json!(8001.0))).len(), 1);
        // Without multicat there is nothing to hold the delay factor against, and the table says so.
        let alone = changed(&row, "/multicat", Value::Null);
        assert!(arrival_misses(&changed(&alone, "/arrival/df_ms", json!(99.0))).is_empty());
        assert!(headend(std::slice::from_ref(&alone)).contains("not installed"));
        assert_eq!(arrival_misses(&json!({})).len(), 5, "what is not there is not met");
    }
}
