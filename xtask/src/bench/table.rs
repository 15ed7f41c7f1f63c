//! Rows of JSON as Markdown, with the gates that they meet or miss.

use serde_json::Value;
use std::fmt::Write;

/// The floor's core use above which a row is called saturated and its ratio means nothing.
pub const SATURATED_CORE: f64 = 0.8;
/// Gate: CPU per message over the floor's.
const CPU_RATIO_MAX: f64 = 1.15;
/// Gate: latency over the floor's, and what is allowed on top in us.
const LATENCY_RATIO_MAX: f64 = 1.3;
const LATENCY_EXTRA_US: f64 = 2000.0;
/// Gates against nginx: CPU, and latency of video messages.
const NGINX_CPU_RATIO_MAX: f64 = 0.45;
const NGINX_LATENCY_RATIO_MAX: f64 = 1.0;

/// The gateway's contenders in a row.
pub const SERVERS: [&str; 2] = ["rtmp", "http-flv"];

/// A number of one contender in a row.
pub fn number(row: &Value, contender: &str, field: &str) -> Option<f64> {
    row[contender][field].as_f64()
}

/// Whether the floor itself needs most of the core.
pub fn is_saturated(row: &Value) -> bool {
    number(row, "floor", "core").is_some_and(|core| core > SATURATED_CORE)
}

/// What a contender lost: frames missing in the middle, at the end, and connections.
pub fn lost(row: &Value, contender: &str) -> f64 {
    ["missing", "incomplete_messages", "disconnects"].iter().filter_map(|f| number(row, contender, f)).sum()
}

/// Every gate of the sweep that a row misses, in words; `None` where the row has no gateway in it.
pub fn misses(row: &Value) -> Option<Vec<String>> {
    let mut misses = Vec::new();
    let mut seen = false;
    for server in SERVERS {
        let Some(cost) = number(row, server, "cpu_us_per_message") else { continue };
        seen = true;
        if lost(row, server) > 0.0 {
            misses.push(format!("{server} lost {}", lost(row, server)));
        }
        if number(row, server, "product_lag_skips").is_some_and(|skips| skips > 0.0) {
            misses.push(format!("{server} lag skips"));
        }
        if is_saturated(row) {
            continue;
        }
        if number(row, "floor", "cpu_us_per_message").is_some_and(|floor| cost > floor * CPU_RATIO_MAX) {
            misses.push(format!("{server} cpu"));
        }
        for field in ["video_p50_us", "video_p99_us", "audio_p50_us", "audio_p99_us"] {
            let both = number(row, server, field).zip(number(row, "floor", field));
            if both.is_some_and(|(got, floor)| got > floor * LATENCY_RATIO_MAX + LATENCY_EXTRA_US) {
                misses.push(format!("{server} {}", field.trim_end_matches("_us")));
            }
        }
    }
    seen.then_some(misses)
}

/// A row's last column: gates that it misses, if it has any gate.
pub fn verdict(misses: Option<Vec<String>>, saturated: bool) -> String {
    match misses {
        None => "–".to_owned(),
        Some(misses) if !misses.is_empty() => format!("**missed**: {}", misses.join(", ")),
        Some(_) if saturated => "saturated".to_owned(),
        Some(_) => "met".to_owned(),
    }
}

/// A number, or a dash.
pub fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |v| format!("{v:.digits$}"))
}

/// A latency of one contender in ms.
pub fn ms(row: &Value, contender: &str, field: &str) -> String {
    cell(number(row, contender, field).map(|us| us / 1e3), 1)
}

/// The sweep's table.
pub fn sweep(rows: &[Value]) -> String {
    let mut out = String::from(
        "| flush | N | frames | rounds | floor us/msg | floor core | RTMP us/msg (x floor) | FLV us/msg (x floor) \
         | video p50 ms floor / RTMP / FLV | video p99 ms floor / RTMP / FLV \
         | own fan-out p50, p99 ms RTMP | own fan-out p50, p99 ms FLV | delivered RTMP / FLV | gates |\n\
         |---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let cost = |server| {
            let cost = number(row, server, "cpu_us_per_message");
            let floor = number(row, "floor", "cpu_us_per_message").filter(|f| *f > 0.0);
            match (cost, floor) {
                (Some(cost), _) if is_saturated(row) => format!("{cost:.2}"),
                (Some(cost), Some(floor)) => format!("{cost:.2} ({:.2})", cost / floor),
                (cost, _) => cell(cost, 2),
            }
        };
        let own = |who| format!("{}, {}", ms(row, who, "product_p50_us"), ms(row, who, "product_p99_us"));
        let latency = |field| ["floor", "rtmp", "http-flv"].map(|who| ms(row, who, field)).join(" / ");
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row["flush"].as_str().unwrap_or_default(),
            row["subscribers"],
            row["frames"].as_str().unwrap_or_default(),
            row["rounds"],
            cell(number(row, "floor", "cpu_us_per_message"), 2),
            cell(number(row, "floor", "core"), 2),
            cost("rtmp"),
            cost("http-flv"),
            latency("video_p50_us"),
            latency("video_p99_us"),
            own("rtmp"),
            own("http-flv"),
            SERVERS.map(|who| cell(number(row, who, "delivered_ratio"), 3)).join(" / "),
            verdict(misses(row), is_saturated(row)),
        );
    }
    out
}

/// The table of headgate beside nginx with the RTMP module.
pub fn nginx(rows: &[Value]) -> String {
    let mut out = String::from(
        "| N | nginx core | headgate core | CPU per message, headgate / nginx | video p50 ms nginx / headgate \
         | video p99 ms nginx / headgate | audio p50, p99 ms nginx | audio p50, p99 ms headgate | audio's added wait p50, p99 ms | delivered nginx / headgate | gates |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for row in rows {
        let ratio = |field| {
            let both = number(row, "rtmp", field).zip(number(row, "nginx", field));
            both.filter(|(_, nginx)| *nginx > 0.0).map(|(ours, nginx)| ours / nginx)
        };
        let gates = [
            ("cpu_us_per_message", NGINX_CPU_RATIO_MAX),
            ("video_p50_us", NGINX_LATENCY_RATIO_MAX),
            ("video_p99_us", NGINX_LATENCY_RATIO_MAX),
        ];
        let misses = number(row, "rtmp", "core").map(|_| {
            let over = gates.iter().filter(|(field, limit)| ratio(field).is_none_or(|r| r > *limit));
            over.map(|(field, _)| field.trim_end_matches("_us").to_owned()).collect()
        });
        let pair = |field| format!("{} / {}", ms(row, "nginx", field), ms(row, "rtmp", field));
        let added = |field| {
            let both = number(row, "rtmp", field).zip(number(row, "nginx", field));
            cell(both.map(|(ours, nginx)| (ours - nginx) / 1e3), 1)
        };
        let audio = |who| format!("{}, {}", ms(row, who, "audio_p50_us"), ms(row, who, "audio_p99_us"));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row["subscribers"],
            cell(number(row, "nginx", "core"), 2),
            cell(number(row, "rtmp", "core"), 2),
            cell(ratio("cpu_us_per_message"), 2),
            pair("video_p50_us"),
            pair("video_p99_us"),
            audio("nginx"),
            audio("rtmp"),
            ["audio_p50_us", "audio_p99_us"].map(added).join(", "),
            ["nginx", "rtmp"].map(|who| cell(number(row, who, "delivered_ratio"), 3)).join(" / "),
            verdict(misses, false),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(floor_core: f64, cost: f64, p99: f64, incomplete: u64) -> Value {
        let latency = |p99: f64| json!({ "cpu_us_per_message": 2.0, "core": floor_core, "video_p50_us": 1000.0, "video_p99_us": p99 });
        let mut row = json!({ "flush": "video", "subscribers": 1000, "frames": "equal", "floor": latency(5000.0), "rtmp": latency(p99) });
        row["rtmp"]["cpu_us_per_message"] = json!(cost);
        row["rtmp"]["incomplete_messages"] = json!(incomplete);
        row
    }

    #[test]
    fn gates() {
        assert_eq!(misses(&row(0.5, 2.29, 8499.0, 0)), Some(vec![]));
        assert_eq!(
            misses(&row(0.5, 2.31, 8501.0, 0)),
            Some(vec!["rtmp cpu".into(), "rtmp video_p99".into()])
        );
        assert_eq!(misses(&row(0.9, 9.0, 90000.0, 0)), Some(vec![]), "saturated rows have no ratio");
        assert_eq!(misses(&row(0.9, 9.0, 90000.0, 3)), Some(vec!["rtmp lost 3".into()]));
        assert_eq!(misses(&json!({ "floor": { "core": 0.1 } })), None);
    }

    #[test]
    fn tables_have_one_line_a_row() {
        let rows = [row(0.5, 2.0, 5000.0, 0), row(0.9, 2.0, 5000.0, 0)];
        let table = sweep(&rows);
        assert_eq!(table.lines().count(), 4);
        assert!(table.contains("2.00 (1.00)") && table.contains("saturated"), "{table}");
        let columns = |line: &str| line.matches('|').count();
        assert!(table.lines().all(|line| columns(line) == 15), "{table}");
        assert!(nginx(&rows).lines().all(|line| columns(line) == 12));
    }
}
