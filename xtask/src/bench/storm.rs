//! A storm of connections beside viewers that stay: 1000 a second for half a minute, each gone 2 s after its first frame.

use super::lab::Lab;
use super::run::{Contender, Flush, Load, STREAM, flv_url, rtmp_url, start, words};
use super::samples::{Sampler, between, core, largest};
use super::soak::holdings;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;

/// Connections a second, for how long, and how long each stays behind its first frame.
const RATE_PER_S: f64 = 1000.0;
const LIFE_S: f64 = 2.0;
/// Local addresses that they come from.
pub const FROM: &str = "127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.5,127.0.0.6,127.0.0.7,127.0.0.8,127.0.0.9";
/// Viewers that stay, half of them of each protocol.
const CONTROL: usize = 100;
/// A stream small enough that not its bytes are what is measured: 2000 visitors at a time, each with up to 2 s of past.
const SMALL: &str = "--bitrate 500k --audio-bitrate 48k";
/// Seconds of calm before the storm and behind it.
const CALM_S: f64 = 10.0;
/// Seconds from the last arrival to the calm: the last visits, and what the server has still to do.
const LEAVE_S: f64 = 8.0;
/// Seconds before the viewers that stay, in which the server is looked at alone.
const ALONE_S: f64 = 3.0;
/// headgate-load's start, its head start and warm-up.
const WARM_UP_S: f64 = 3.5;

/// Seconds that a storm takes, roughly.
pub fn planned_seconds(seconds: f64) -> f64 {
    ALONE_S + WARM_UP_S + CALM_S + seconds + LEAVE_S + CALM_S + 5.0
}

/// One storm of `seconds`.
pub fn storm(lab: &Lab, seconds: f64) -> Result<Vec<Value>> {
    let server = start(lab, Contender::Rtmp, &Load::new(Flush::Video, CONTROL, seconds))?;
    let sampler = Sampler::start(lab, server.running.pid(), planned_seconds(seconds))?;
    std::thread::sleep(Duration::from_secs_f64(ALONE_S));
    let (rtmp, flv) = (rtmp_url(STREAM), flv_url(STREAM));
    let pid = server.running.pid();
    let mut control = lab.load(
        "control",
        &words(&format!(
            "run --url {rtmp} --play-url {rtmp} --play-url {flv} --count {CONTROL} --verify 20 {SMALL} --warmup 2 \
             --phases {CALM_S},{},{CALM_S} --watch-pid {pid}",
            seconds + LEAVE_S
        )),
    )?;
    std::thread::sleep(Duration::from_secs_f64(WARM_UP_S + CALM_S));
    let began_s = sampler.at_s();
    let arguments = format!(
        "storm --url {rtmp} --url {flv} --rate {RATE_PER_S} --seconds {seconds} --life {LIFE_S} --from {FROM} --watch-pid {pid}"
    );
    let mut storm = lab.load("storm", &words(&arguments))?;
    storm.finish()?;
    control.finish()?;
    lab.progress.done(planned_seconds(seconds));
    let (control, storm) = (lab.result("control")?, lab.result("storm")?);
    let samples = sampler.so_far();
    let (calm, during, after) = (
        between(&samples, began_s - CALM_S + 1.0, began_s),
        between(&samples, began_s, began_s + seconds),
        between(&samples, began_s + seconds + LEAVE_S, began_s + seconds + LEAVE_S + CALM_S - 1.0),
    );
    let peak = |of: fn(&super::samples::Sample) -> Option<f64>| largest(during.iter().filter_map(of));
    let row = json!({
        "rate_per_s": RATE_PER_S,
        "seconds": seconds,
        "life_s": LIFE_S,
        "addresses": storm["addresses"],
        "stream": "500 kbit/s",
        "connections": ends(&storm),
        "setups": storm["setups"],
        "faults": storm["faults"],
        "steal": storm["window"]["steal"],
        "load_core": storm["window"]["own_cpu_seconds"].as_f64().zip(storm["window"]["seconds"].as_f64())
            .map(|(cpu, seconds)| cpu / seconds),
        "control": super::run::measured(&control),
        "control_phases": control["phases"].as_array().map(|phases| {
            phases.iter().map(|phase| json!({
                "video_p50_us": phase["video_latency_us"]["p50"],
                "video_p99_us": phase["video_latency_us"]["p99"],
            })).collect::<Vec<_>>()
        }),
        "core": { "before": core(calm), "during": core(during), "after": core(after) },
        "before": calm.last().map(holdings),
        "after": after.last().map(holdings),
        "peak": {
            "resident_bytes": peak(|s| Some(s.resident_bytes)),
            "accounted_bytes": peak(|s| s.accounted_bytes()),
            "descriptors": peak(|s| Some(s.descriptors)),
            "connections": peak(|s| s.own("headgate_connections")),
        },
    });
    Ok(vec![row])
}

/// Every connection's end, and whether they add up.
pub fn ends(storm: &Value) -> Value {
    let mut ends = storm["connections"].clone();
    let number = |field: &str| ends[field].as_u64().unwrap_or(0);
    let lost_sight_of = number("due").abs_diff(number("served") + number("stayed") + number("failed"));
    ends["lost_sight_of"] = json!(lost_sight_of);
    ends
}

/// The set-ups of one protocol, or of all.
pub fn setup(storm: &Value, protocol: &str) -> Value {
    let mut setups = storm["setups"].as_array().into_iter().flatten();
    setups.find(|setup| setup["protocol"] == protocol).cloned().unwrap_or_default()
}
