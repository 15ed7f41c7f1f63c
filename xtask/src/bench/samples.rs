//! What the server holds, second by second: written by `headgate-load sample` while something else is measured.

use super::lab::{Lab, Running};
use super::run::METRICS_URL;
use anyhow::Result;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Metrics that are read beside memory, descriptors and processor time.
const METRICS: [&str; 7] = [
    "headgate_connections",
    "headgate_subscribers",
    "headgate_streams",
    "headgate_connection_memory_bytes",
    "headgate_log_bytes",
    "headgate_pinned_bytes",
    "headgate_lag_skips_total",
];
/// The three of them that make the gateway's own account of its memory.
const ACCOUNT: [&str; 3] =
    ["headgate_connection_memory_bytes", "headgate_log_bytes", "headgate_pinned_bytes"];
/// The file of samples in the lab's folder is `NAME.json`.
const NAME: &str = "samples";
/// How often a line is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// One second's line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since sampling began.
    pub at_s: f64,
    /// Resident anonymous and shared memory, bytes.
    pub resident_bytes: f64,
    /// Open descriptors.
    pub descriptors: f64,
    /// Processor seconds of all its threads so far.
    pub cpu_s: f64,
    /// Values of [`METRICS`] in their order; `None` when the page did not come.
    own: Option<[f64; METRICS.len()]>,
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let number = |field: &str| line[field].as_f64();
        let own: Option<Vec<f64>> = METRICS.iter().map(|name| line["own"][name].as_f64()).collect();
        Some(Self {
            at_s: number("at_s")?,
            resident_bytes: number("resident_bytes")?,
            descriptors: number("descriptors")?,
            cpu_s: number("cpu_s")?,
            own: own.and_then(|own| own.try_into().ok()),
        })
    }

    /// One of [`METRICS`].
    pub fn own(&self, name: &str) -> Option<f64> {
        let place = METRICS.iter().position(|metric| *metric == name)?;
        self.own.map(|own| own[place])
    }

    /// What the gateway itself says it keeps: connections, logs, and what slow viewers pin, bytes.
    pub fn accounted_bytes(&self) -> Option<f64> {
        ACCOUNT.iter().map(|name| self.own(name)).sum()
    }
}

/// The lines of `text` that are samples; the last may be half written.
fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter_map(Sample::parse).collect()
}

/// A sampler at work.
pub struct Sampler<'a> {
    lab: &'a Lab,
    began: Instant,
    _running: Running,
}

impl<'a> Sampler<'a> {
    /// Samples process `pid` for `seconds`.
    pub fn start(lab: &'a Lab, pid: u32, seconds: f64) -> Result<Self> {
        let (pid, seconds) = (pid.to_string(), seconds.to_string());
        let mut args = vec!["sample", "--url", METRICS_URL, "--pid", &pid, "--seconds", &seconds];
        args.extend(METRICS.iter().flat_map(|name| ["--sum", name]));
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let running = lab.load(NAME, &args)?;
        Ok(Self { lab, began: Instant::now(), _running: running })
    }

    /// All samples so far.
    pub fn so_far(&self) -> Vec<Sample> {
        parse(&self.lab.printed(NAME))
    }

    /// Seconds since sampling began: the clock of [`Sample::at_s`].
    pub fn at_s(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The first sample from now on that fulfils `wanted`; the last one when `patience` has passed without it.
    pub fn wait(&self, patience: Duration, wanted: impl Fn(&Sample) -> bool) -> Option<Sample> {
        let (since, from) = (Instant::now(), self.at_s());
        loop {
            let samples = self.so_far();
            if let Some(found) = samples.iter().find(|sample| sample.at_s >= from && wanted(sample)) {
                return Some(found.clone());
            }
            if since.elapsed() >= patience {
                return samples.last().cloned();
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// Samples from second `from` up to `to`.
pub fn between(samples: &[Sample], from: f64, to: f64) -> &[Sample] {
    let (first, last) =
        (samples.partition_point(|s| s.at_s < from), samples.partition_point(|s| s.at_s < to));
    samples.get(first..last).unwrap_or_default()
}

/// Cores in use over these samples.
pub fn core(samples: &[Sample]) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    (last.at_s > first.at_s).then(|| (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s))
}

/// The middle value; `None` without any.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The largest value; `None` without any.
pub fn largest(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(f64::max)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A sample without the gateway's own numbers.
    pub fn sample(at_s: f64, resident_bytes: f64, descriptors: f64) -> Sample {
        Sample { at_s, resident_bytes, descriptors, cpu_s: 0.0, own: None }
    }

    fn line(at_s: f64, own: &str) -> String {
        format!(
            "{{\"at_s\":{at_s},\"resident_bytes\":1000,\"descriptors\":20,\"cpu_s\":{},\"own\":{own}}}",
            at_s / 4.0
        )
    }

    const OWN: &str = "{\"headgate_connections\":9,\"headgate_subscribers\":8,\"headgate_streams\":7,\
                       \"headgate_connection_memory_bytes\":100,\"headgate_log_bytes\":20,\"headgate_pinned_bytes\":3,\"headgate_lag_skips_total\":4}";

    #[test]
    fn lines_become_samples_and_a_half_one_waits() {
        let text = format!("{}\n{}\n{{\"at_s\":3.0,\"resi", line(1.0, OWN), line(2.0, "{}"));
        let samples = parse(&text);
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].accounted_bytes(), Some(123.0));
        assert_eq!(samples[0].own("headgate_connections"), Some(9.0));
        assert_eq!(samples[1].accounted_bytes(), None, "its page did not come");
        assert_eq!(samples[1].descriptors, 20.0);
    }

    #[test]
    fn parts_of_a_run() {
        let samples = parse(&(0..10).map(|n| line(f64::from(n), OWN) + "\n").collect::<String>());
        let part = between(&samples, 2.0, 6.0);
        assert_eq!(part.iter().map(|s| s.at_s).collect::<Vec<_>>(), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(core(part), Some(0.25));
        assert!(between(&samples, 9.5, 3.0).is_empty());
        assert_eq!(median([5.0, 1.0, 3.0].into_iter()), Some(3.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
