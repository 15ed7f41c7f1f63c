//! Judges by other hands, for a file of whole packets: tstools' `tsreport` and the package `dvb-conformance`.
//!
//! Each is asked where it is installed; where it is not, the caller's test is skipped aloud.

use super::super::process::{program, run, tool};
use super::channel::Limits;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Hang guard; a minute of 20 Mbit/s takes neither of them ten seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `tsreport` measured of a file with one program.
#[derive(Clone, Debug, PartialEq)]
pub struct TsReport {
    /// Of a PCR against the line through those in front of it, in ticks of 90 kHz: the smallest and the largest.
    pub prediction_error: [i64; 2],
    /// The longest time between PCRs, in ticks of 90 kHz.
    pub pcr_gap: i64,
    /// PTS and DTS ahead of the PCR over all streams, in ticks of 90 kHz: the smallest and the largest.
    pub lead: [i64; 2],
    /// All that it printed.
    pub text: String,
}

/// Asks `tsreport`; `None`: skipped.
pub fn tsreport(file: &Path) -> Option<TsReport> {
    let tsreport = program("tsreport")?;
    let text = run("tsreport", Command::new(tsreport).args(["-b"]).arg(file), PATIENCE);
    Some(TsReport::read(text))
}

impl TsReport {
    fn read(text: String) -> TsReport {
        let one =
            |label: &str| numbers(&text, label).next().unwrap_or_else(|| panic!("no {label:?} in {text}"));
        let prediction = "Linear PCR prediction errors: min=";
        let (_, behind) =
            text.split_once(prediction).unwrap_or_else(|| panic!("no {prediction:?} in {text}"));
        let largest_error = numbers(behind, "max=").next().unwrap_or_else(|| panic!("{behind}"));
        let smallest = numbers(&text, "Minimum difference was ").min();
        let largest = numbers(&text, "Maximum difference was ").max();
        let lead = smallest.zip(largest).unwrap_or_else(|| panic!("no difference in {text}"));
        TsReport {
            prediction_error: [one(prediction), largest_error],
            pcr_gap: one("Max gap: "),
            lead: lead.into(),
            text,
        }
    }
}

impl TsReport {
    /// What is beyond these limits; a prediction may be one tick off, as a PCR is a whole number of them.
    pub fn beyond(&self, limits: &Limits) -> Vec<&'static str> {
        let ms = |ticks: i64| ticks as f64 / 90.0;
        let facts = [
            (self.prediction_error.iter().any(|error| error.abs() > 1), "prediction errors"),
            (ms(self.pcr_gap) > limits.pcr_interval_ms, "PCR gap"),
            (ms(self.lead[0]) < limits.lead_ms_min, "too little ahead"),
            (ms(self.lead[1]) > limits.lead_ms_max, "too far ahead"),
        ];
        facts.iter().filter(|fact| fact.0).map(|fact| fact.1).collect()
    }
}

/// The whole numbers that follow a label.
fn numbers<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = i64> + 'a {
    text.match_indices(label).filter_map(move |(at, _)| {
        let rest = text[at + label.len()..].trim_start();
        let sign = usize::from(rest.starts_with(['-', '+']));
        let digits = rest[sign..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| end + sign);
        rest[..digits].trim_start_matches('+').parse().ok()
    })
}

/// An indicator of TR 101 290 that `dvb-conformance` raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// 1, 2 or 3.
    pub priority: u8,
    /// As the package calls it: `Continuity_count_error`.
    pub indicator: String,
    pub count: u64,
    /// Of the first.
    pub detail: String,
}

/// Asks `dvb-conformance`, with the time of each packet by its position at the nominal rate; `None`: skipped.
pub fn conformance(file: &Path, rate_bps: u64) -> Option<Vec<Finding>> {
    let tool = tool("headgate-conformance", "no-dvb-conformance")?;
    let text = run("conformance", Command::new(tool).arg(rate_bps.to_string()).arg(file), PATIENCE);
    let mut lines = text.lines();
    assert!(lines.next_back().is_some_and(|last| last.ends_with(" packets")), "cut off: {text}");
    Some(lines.map(finding).collect())
}

fn finding(line: &str) -> Finding {
    let fields: Vec<&str> = line.splitn(4, '\t').collect();
    let [priority, indicator, count, detail] = fields[..] else { panic!("{line:?}") };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{line:?}"));
    Finding {
        priority: number(priority) as u8,
        indicator: indicator.to_owned(),
        count: number(count),
        detail: detail.to_owned(),
    }
}

/// Priorities 1 and 2, and what overflows the buffer of the system tables: none of them may be raised.
pub fn grave(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.priority < 3 || finding.indicator == "Buffer_error").collect()
}
