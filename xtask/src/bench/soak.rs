//! Half an hour of coming and going, after which the server holds what it held before.
//!
//! All at once on one server: a crowd of viewers that stays and checks every byte; viewers of both protocols that come and go;
//! publishers that end, are cut off in mid-stream, come back within the grace and behind it, and their viewers; readers that
//! are too slow and readers that stop. The rhythms have no common period, so that every third of the run sees all of it.

use super::lab::{Lab, Running};
use super::product::Page;
use super::run::{Contender, Flush, Load, METRICS_URL, STREAM, Server, flv_url, rtmp_url, start, words};
use super::samples::{Sample, Sampler, between, largest, median};
use super::storm::{FROM, ends, setup};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Viewers that stay.
const CONTROL: usize = 20;
/// Viewers that come per second, and how long each stays behind its first frame.
const CHURN_PER_S: f64 = 20.0;
const CHURN_LIFE_S: f64 = 8.0;
/// Seconds before the load, in which the server is looked at alone.
const ALONE_S: f64 = 4.0;
/// Seconds from the start of those who stay to that of the others.
const SETTLE_S: f64 = 3.0;
/// Seconds by which those who stay outlive the others.
const OUTLIVE_S: f64 = 12.0;
/// How long the server has to give everything back.
const RETURN: Duration = Duration::from_secs(30);
/// The streams of the publishers that come and go; their numbers follow.
const AGAIN: &str = "again";
/// Points of each line in the plot.
const PLOT_POINTS: usize = 300;
/// Turns of the loop that starts and ends jobs.
const TURN: Duration = Duration::from_millis(100);

/// Something that begins anew every `period_s`, and is ended in the middle if it lasts longer.
struct Job {
    name: &'static str,
    period_s: f64,
    arguments: fn(usize) -> Vec<String>,
    running: Option<Running>,
    rounds: usize,
}

impl Job {
    fn new(name: &'static str, period_s: f64, arguments: fn(usize) -> Vec<String>) -> Self {
        Self { name, period_s, arguments, running: None, rounds: 0 }
    }

    /// Begins the next round if it is due `at_s` seconds after the start.
    fn turn(&mut self, lab: &Lab, at_s: f64) -> Result<()> {
        if at_s < self.rounds as f64 * self.period_s {
            return Ok(());
        }
        self.end(lab)?;
        self.running = Some(lab.load(self.name, &(self.arguments)(self.rounds))?);
        self.rounds += 1;
        Ok(())
    }

    /// Ends the round, in the middle of what it sends or reads if it is not over.
    ///
    /// # Errors
    /// When it had ended by itself and failed: the load would not have been what the tables say.
    fn end(&mut self, lab: &Lab) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        if running.has_ended()? {
            let report = lab.result(self.name)?;
            // Players have none: whom they lose here, they lose to what the publishers do.
            let failures = report["failures"].as_array().map_or(&[][..], Vec::as_slice);
            ensure!(failures.is_empty(), "{}, round {}: {failures:?}", self.name, self.rounds);
        }
        Ok(())
    }
}

/// Four publishers. Every fifth round is over long before the next and its streams end; of the others every second is cut off
/// in mid-stream and the rest end by themselves, both to be back within the grace (10 s).
fn publishers(round: usize) -> Vec<String> {
    let seconds = match round {
        _ if round % 5 == 4 => 8,
        _ if round.is_multiple_of(2) => 17,
        _ => 60,
    };
    words(&format!(
        "publish --url {} --streams 4 --bitrate 300k --audio-bitrate 48k --seconds {seconds}",
        rtmp_url(AGAIN)
    ))
}

/// Their viewers, in turn over both protocols; cut off in every third round.
fn watchers(round: usize) -> Vec<String> {
    let seconds = if round % 3 == 2 { 60 } else { 14 };
    let url = if round.is_multiple_of(2) { flv_url(AGAIN) } else { rtmp_url(AGAIN) };
    words(&format!("play --url {url} --streams 4 --count 12 --ramp 50 --warmup 0 --seconds {seconds}"))
}

/// Readers below the stream's rate, who are skipped ahead, and readers that stop, who are closed.
fn slow(round: usize) -> Vec<String> {
    let url = if round.is_multiple_of(2) { rtmp_url(STREAM) } else { flv_url(STREAM) };
    words(&format!(
        "play --url {url} --count 40 --stall 20 --slow 20 --read-rate 40k --ramp 100 --warmup 0 --seconds 26"
    ))
}

/// Seconds that a soak takes, roughly.
pub fn planned_seconds(minutes: f64) -> f64 {
    ALONE_S + SETTLE_S + minutes * 60.0 + OUTLIVE_S + 10.0
}

/// Loads the server for `minutes` and compares thirds.
pub fn soak(lab: &Lab, minutes: f64) -> Result<Vec<Value>> {
    let seconds = minutes * 60.0;
    let mut load = Load::new(Flush::Video, CONTROL, seconds);
    // With huge pages resident memory moves by several per cent at a time, and one per cent is to be seen.
    load.small_pages = true;
    let server = start(lab, Contender::Rtmp, &load)?;
    let sampler = Sampler::start(lab, server.running.pid(), planned_seconds(minutes) + RETURN.as_secs_f64())?;
    std::thread::sleep(Duration::from_secs_f64(ALONE_S));
    let alone = sampler.so_far().last().cloned();
    let mut control = lab.load("control", &control(&server, SETTLE_S + seconds + OUTLIVE_S))?;
    std::thread::sleep(Duration::from_secs_f64(SETTLE_S));
    let began_s = sampler.at_s();
    let mut churn = lab.load("churn", &churn(seconds))?;
    let jobs = work(lab, &sampler, seconds)?;
    let ended_s = began_s + seconds;
    churn.finish()?;
    control.finish()?;
    let page = lab.scrape(METRICS_URL)?;
    let reasons =
        Page::new(&page).context("no page of metrics")?.by_label("headgate_disconnects_total", "reason");
    let after = alone.as_ref().and_then(|alone| {
        sampler.wait(RETURN, |sample| {
            sample.descriptors <= alone.descriptors && sample.own("headgate_streams") == Some(0.0)
        })
    });
    lab.progress.done(planned_seconds(minutes));
    let samples = sampler.so_far();
    let (control, churn) = (lab.result("control")?, lab.result("churn")?);
    let mut row = summary(between(&samples, began_s, ended_s));
    let held = |sample: &Option<Sample>| sample.as_ref().map(holdings);
    for (name, value) in [
        ("minutes", json!(minutes)),
        ("before", json!(held(&alone))),
        ("after", json!(held(&after))),
        ("control", super::run::measured(&control)),
        ("visits", ends(&churn)),
        ("visits_setup", setup(&churn, "all")),
        ("rounds_of", jobs),
        ("visits_faults", churn["faults"].clone()),
        ("disconnects", Value::Object(reasons)),
    ] {
        row[name] = value;
    }
    Ok(vec![row])
}

fn jobs() -> [Job; 3] {
    [
        Job::new("publishers", 23.0, publishers),
        Job::new("watchers", 19.0, watchers),
        Job::new("slow", 31.0, slow),
    ]
}

/// Keeps the jobs going for `seconds`; how many rounds each had.
fn work(lab: &Lab, sampler: &Sampler, seconds: f64) -> Result<Value> {
    let mut jobs = jobs();
    let (since, mut next_line_s) = (Instant::now(), 60.0);
    while since.elapsed().as_secs_f64() < seconds {
        let at_s = since.elapsed().as_secs_f64();
        for job in &mut jobs {
            job.turn(lab, at_s)?;
        }
        if at_s >= next_line_s {
            next_line_s += 60.0;
            if let Some(last) = sampler.so_far().last() {
                eprintln!(
                    "{:5.0} s soak: resident {:.2} MB, accounted {:.2} MB, {} descriptors",
                    at_s,
                    last.resident_bytes / 1e6,
                    last.accounted_bytes().unwrap_or(0.0) / 1e6,
                    last.descriptors
                );
            }
        }
        std::thread::sleep(TURN);
    }
    for job in &mut jobs {
        job.end(lab)?;
    }
    Ok(Value::Object(jobs.iter().map(|job| (job.name.to_owned(), json!(job.rounds))).collect()))
}

fn control(server: &Server, seconds: f64) -> Vec<String> {
    let (rtmp, flv) = (rtmp_url(STREAM), flv_url(STREAM));
    let urls = format!("run --url {rtmp} --play-url {rtmp} --play-url {flv}");
    let count = format!("--count {CONTROL} --verify {CONTROL} --warmup 1 --bitrate 1M --audio-bitrate 64k");
    words(&format!("{urls} {count} --seconds {seconds} --watch-pid {}", server.running.pid()))
}

fn churn(seconds: f64) -> Vec<String> {
    let (rtmp, flv) = (rtmp_url(STREAM), flv_url(STREAM));
    let urls = format!("storm --url {rtmp} --url {flv}");
    words(&format!("{urls} --rate {CHURN_PER_S} --life {CHURN_LIFE_S} --seconds {seconds} --from {FROM}"))
}

/// What one sample says, as the tables use it.
pub fn holdings(sample: &Sample) -> Value {
    json!({
        "resident_bytes": sample.resident_bytes,
        "accounted_bytes": sample.accounted_bytes(),
        "descriptors": sample.descriptors,
        "connections": sample.own("headgate_connections"),
    })
}

/// The thirds of a soak and the line of its plot.
fn summary(samples: &[Sample]) -> Value {
    let third = |n: usize| {
        let at = |n: usize| samples.len() * n / 3;
        let part = samples.get(at(n)..at(n + 1)).unwrap_or_default();
        json!({
            "resident_bytes": median(part.iter().map(|s| s.resident_bytes)),
            "accounted_bytes": median(part.iter().filter_map(Sample::accounted_bytes)),
            "descriptors": median(part.iter().map(|s| s.descriptors)),
            "descriptors_max": largest(part.iter().map(|s| s.descriptors)),
        })
    };
    // Every n-th sample, never a mean: a peak that is there may be missed by the plot, but none is made up.
    let points = samples.iter().step_by(samples.len().div_ceil(PLOT_POINTS).max(1));
    let start_s = samples.first().map_or(0.0, |first| first.at_s);
    let points =
        points.map(|s| json!([s.at_s - start_s, s.resident_bytes, s.accounted_bytes(), s.descriptors]));
    json!({
        "samples": samples.len(),
        "pages_missing": samples.iter().filter(|s| s.accounted_bytes().is_none()).count(),
        "thirds": [third(0), third(1), third(2)],
        "plot": points.collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::tests::sample;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn thirds_have_their_own_medians() {
        // A peak of ten samples in each third moves no median.
        let resident = |n: usize| if n % 100 < 10 { 9e9 } else { 1e6 * (1 + n / 100) as f64 };
        let samples: Vec<Sample> = (0..300).map(|n| sample(n as f64, resident(n), 40.0)).collect();
        let row = summary(&samples);
        let medians = [0, 1, 2].map(|n| row["thirds"][n]["resident_bytes"].as_f64());
        assert_eq!(medians, [Some(1e6), Some(2e6), Some(3e6)]);
        assert_eq!(row["thirds"][2]["descriptors"], 40.0);
        assert_eq!(row["samples"], 300);
    }

    #[test]
    fn the_plot_has_few_points_of_any_length() {
        for count in [0, 1, 299, 301, 1800] {
            let samples: Vec<Sample> = (0..count).map(|n| sample(f64::from(n), 1.0, 2.0)).collect();
            let points = summary(&samples)["plot"].as_array().map_or(0, Vec::len);
            assert!(
                points <= PLOT_POINTS && points >= (count as usize).min(PLOT_POINTS / 2),
                "{count}: {points}"
            );
        }
    }

    #[test]
    fn every_kind_of_round_happens_in_every_third() {
        let third_s = super::super::SOAK_MINUTES * 60.0 / 3.0;
        for job in jobs() {
            // A round is what its arguments say: protocol and length.
            let kinds = |from_s: f64, to_s: f64| -> BTreeSet<Vec<String>> {
                let rounds = (from_s / job.period_s).ceil() as usize..(to_s / job.period_s) as usize;
                rounds.map(job.arguments).collect()
            };
            let all = kinds(0.0, 3.0 * third_s);
            assert!(all.len() > 1, "{}", job.name);
            for third in [0.0, 1.0, 2.0] {
                assert_eq!(kinds(third * third_s, (third + 1.0) * third_s), all, "{}, {third}", job.name);
            }
        }
        let seconds = |arguments: Vec<String>| arguments.last().cloned();
        let ends: BTreeSet<_> = (0..10).map(|round| seconds(publishers(round))).collect();
        assert_eq!(ends.len(), 3, "over for longer than the grace, by itself, cut off");
    }
}
