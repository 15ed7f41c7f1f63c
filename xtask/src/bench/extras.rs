//! What the sweep does not show: stalled subscribers beside healthy ones, many streams, idle streams.

use super::lab::Lab;
use super::run::{Contender, Flush, Load, run};
use anyhow::Result;
use serde_json::{Value, json};

/// Rounds of the comparison with stalled readers, at least: a p99 of one window moves by itself.
const STALLED_ROUNDS_MIN: usize = 3;
/// Publishers without subscribers.
const IDLE_STREAMS: usize = 5000;
/// The base that they are compared with.
const IDLE_BASE: usize = 100;

fn with(mut load: Load, extra: &[&str]) -> Load {
    load.extra = extra.iter().map(|&word| word.to_owned()).collect();
    load
}

/// Rounds of [`stalled`] when `rounds` were asked for.
pub fn stalled_rounds(rounds: usize) -> usize {
    rounds.max(STALLED_ROUNDS_MIN)
}

/// 1000 healthy subscribers; 900 beside 100 that stop reading.
pub fn stalled_loads(seconds: f64) -> [Load; 2] {
    let load = || Load::new(Flush::Video, 1000, seconds);
    [load(), with(load(), &["--stall", "100", "--stall-after", "1"])]
}

/// The p99 of healthy subscribers without and with stalled ones beside them, in turn.
pub fn stalled(lab: &Lab, contenders: &[Contender], seconds: f64, rounds: usize) -> Result<Vec<Value>> {
    let [all_healthy, beside] = stalled_loads(seconds);
    let mut rows = Vec::new();
    for &contender in contenders {
        for round in 1..=stalled_rounds(rounds) {
            let healthy = run(lab, contender, &all_healthy)?;
            let mixed = run(lab, contender, &beside)?;
            let p99 = |row: &Value| row["video_p99_us"].as_f64().unwrap_or(0.0);
            rows.push(json!({
                "server": contender.name(),
                "round": round,
                "healthy_p99_us": p99(&healthy),
                "beside_stalled_p99_us": p99(&mixed),
                "ratio": p99(&mixed) / p99(&healthy).max(1.0),
                "healthy_core": healthy["core"],
                "beside_stalled_core": mixed["core"],
                "missing": mixed["missing"],
                "incomplete_messages": mixed["incomplete_messages"],
            }));
        }
    }
    Ok(rows)
}

/// 500 publishers with 4 subscribers each, at bitrates that one core can take in and give out.
pub fn streams_loads(seconds: f64) -> Vec<(&'static str, Load)> {
    ["250k", "500k"]
        .map(|bitrate| {
            let media = ["--streams", "500", "--bitrate", bitrate, "--audio-bitrate", "48k"];
            let rates = ["--fps", "15", "--audio-fps", "23.4375", "--gop", "30"];
            (bitrate, with(Load::new(Flush::Video, 2000, seconds), &[&media[..], &rates].concat()))
        })
        .to_vec()
}

/// Measures [`streams_loads`].
pub fn streams(lab: &Lab, contenders: &[Contender], seconds: f64) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for &contender in contenders {
        for (bitrate, load) in streams_loads(seconds) {
            let mut row = run(lab, contender, &load)?;
            row["kind"] = json!("streams");
            row["server"] = json!(contender.name());
            row["publishers"] = json!(500);
            row["subscribers"] = json!(load.subscribers);
            row["bitrate"] = json!(bitrate);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// A few and many publishers that nobody watches, 64 kbit/s in 10 messages a second each.
pub fn idle_loads(seconds: f64) -> [(usize, Load); 2] {
    [IDLE_BASE, IDLE_STREAMS].map(|streams| {
        let media = ["--bitrate", "64k", "--audio-bitrate", "64k", "--fps", "0", "--audio-fps", "10"];
        let mut load = with(Load::new(Flush::Video, 0, seconds), &media);
        load.extra.extend(["--streams".to_owned(), streams.to_string()]);
        (streams, load)
    })
}

/// What live streams without subscribers cost: processor time and memory of each.
pub fn idle_streams(lab: &Lab, contender: Contender, seconds: f64) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut base: Option<(f64, f64, f64)> = None;
    for (streams, load) in idle_loads(seconds) {
        let measured = run(lab, contender, &load)?;
        let number = |name: &str| measured[name].as_f64().unwrap_or(0.0);
        let (count, core, resident) = (streams as f64, number("core"), number("resident_bytes"));
        let (count0, core0, resident0) = *base.get_or_insert((count, core, resident));
        let more = (count - count0).max(1.0);
        rows.push(json!({
            "kind": "idle",
            "server": contender.name(),
            "publishers": streams,
            "held": measured["streams"],
            "failures": measured["publisher_failures"],
            "messages_per_second": 10 * streams,
            "core": core,
            "load_core": measured["load_core"],
            "core_percent_each": if more > 1.0 { json!((core - core0) * 100.0 / more) } else { Value::Null },
            "resident_bytes": resident,
            "resident_bytes_each": if more > 1.0 { json!((resident - resident0) / more) } else { Value::Null },
            "steal": measured["steal"],
        }));
    }
    Ok(rows)
}
