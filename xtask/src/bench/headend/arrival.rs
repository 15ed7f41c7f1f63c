//! Viewers of a sample of channels, and what they say.

use super::super::lab::{Lab, Link, Running, VIEWER};
use super::super::run::words;
use super::WARM_UP_S;
use anyhow::Result;
use serde_json::{Value, json};

/// Viewers at work.
pub struct Viewers<'a> {
    lab: &'a Lab,
    name: &'static str,
    running: Running,
}

impl<'a> Viewers<'a> {
    /// Viewers of these groups, which have so many bit/s each, for a window of `seconds` behind the warm-up, with a calibration
    /// on the sender's processor. What they print goes by `name`.
    pub fn watch(
        lab: &'a Lab,
        link: &Link<'_>,
        name: &'static str,
        groups: &[String],
        (bitrate_bps, seconds): (u64, f64),
    ) -> Result<Self> {
        let mut arguments = words(&format!(
            "receive --interface {VIEWER} --bitrate {bitrate_bps} --warmup {WARM_UP_S} --seconds {seconds} --calibrate {}",
            lab.cpus().0
        ));
        arguments.extend(groups.iter().flat_map(|group| ["--to".to_owned(), group.clone()]));
        Ok(Self { lab, name, running: link.load(name, &arguments)? })
    }

    /// What they saw.
    pub fn finish(mut self) -> Result<Value> {
        self.running.finish()?;
        self.lab.result(self.name)
    }
}

/// The largest part of a processor that the host gave to others meanwhile.
pub fn steal(report: &Value) -> Value {
    let parts = report.pointer("/window/steal").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    json!(parts.iter().filter_map(Value::as_f64).reduce(f64::max))
}

/// The numbers that the tables use. The delay factor is that of the channel in the middle, beside the worst one; runs and
/// bursts are the longest of all channels.
pub fn summary(report: &Value) -> Value {
    let channels = report["channels"].as_array().map_or(&[][..], Vec::as_slice);
    let all = |field: &str| -> Vec<f64> {
        let mut values: Vec<f64> =
            channels.iter().filter_map(|channel| channel["verdict"][field].as_f64()).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    // An empty sum of floats is -0.
    let sum = |values: Vec<f64>| values.into_iter().fold(0.0, |sum, value| sum + value);
    let (middle, largest) =
        (|values: Vec<f64>| values.get(values.len() / 2).copied(), |values: Vec<f64>| values.last().copied());
    let place = |place: &str| report.pointer(place).and_then(Value::as_f64);
    let wrong = channels.iter().filter_map(|channel| channel["wrong_sizes"].as_f64()).collect();
    json!({
        "channels": channels.len(),
        "silent": channels.iter().filter(|channel| channel["verdict"].is_null()).count(),
        "datagrams": sum(all("datagrams")),
        "missing": sum(all("missing")),
        "wrong_sizes": sum(wrong),
        "p50_us": place("/deviation_us/p50"),
        "p99_us": place("/deviation_us/p99"),
        "p999_us": place("/deviation_us/p999"),
        "max_us": place("/deviation_us/max"),
        "calibration_p50_us": place("/calibration/deviation_us/p50"),
        "calibration_p99_us": place("/calibration/deviation_us/p99"),
        "calibration_max_us": place("/calibration/deviation_us/max"),
        "calibration_df_ms": place("/calibration/df_max_ms"),
        "df_ms": middle(all("df_max_ms")),
        "df_worst_ms": largest(all("df_max_ms")),
        "longest_gap_ms": largest(all("longest_gap_ms")),
        "longest_run": largest(all("longest_run")),
        "longest_run_in_time": largest(all("longest_run_in_time")),
        "late_ratio": middle(all("late_ratio")),
        "busiest_100ms": largest(all("busiest_100ms")),
        "nominal_100ms": largest(all("nominal_100ms")),
        "clock_step_us": place("/clock_step_us"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_runs_and_the_middle_of_delay_factors() {
        let verdict = |df: f64, run: u64| json!({ "verdict": { "df_max_ms": df, "longest_run": run, "missing": 1, "datagrams": 100 }, "wrong_sizes": 0 });
        let report = json!({
            "channels": [verdict(9.0, 1), verdict(3.0, 4), verdict(5.0, 2), { "verdict": null, "wrong_sizes": 2 }],
            "deviation_us": { "p50": 250.0 },
            "window": { "steal": [0.01, 0.02] },
        });
        let summary = summary(&report);
        assert_eq!((summary["df_ms"].as_f64(), summary["df_worst_ms"].as_f64()), (Some(5.0), Some(9.0)));
        assert_eq!((summary["longest_run"].as_f64(), summary["missing"].as_f64()), (Some(4.0), Some(3.0)));
        assert_eq!((summary["silent"].as_u64(), summary["wrong_sizes"].as_f64()), (Some(1), Some(2.0)));
        assert_eq!((summary["p50_us"].as_f64(), &summary["p99_us"]), (Some(250.0), &Value::Null));
        assert_eq!(steal(&report), 0.02);
        assert_eq!(steal(&json!({})), Value::Null);
    }
}
