//! A thousand readers that stop reading and stay, beside viewers whose latency is compared with itself.

use super::lab::Lab;
use super::memory::{kernel_bytes, stuck};
use super::run::{Contender, Flush, Load, STREAM, flv_url, load_arguments, rtmp_url, start, words};
use super::samples::{Sample, Sampler, between, core, largest, median};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Viewers that read.
const HEALTHY: usize = 900;
/// Readers that stop.
const STALLED: usize = 1000;
/// They come from here, so that their sockets are told from the others.
const STALLED_FROM: &str = "127.0.0.9";
/// Connections of theirs begun per second.
const STALLED_RAMP_PER_S: f64 = 500.0;
/// Seconds of the healthy viewers alone, before and behind.
const ALONE_S: f64 = 60.0;
/// Seconds in which the others come, fill their sockets, and leave; what happens then belongs to no side.
const CHANGE_S: f64 = 20.0;
/// headgate-load's start, its head start, the ramp of the healthy ones and their warm-up.
const WARM_UP_S: f64 = 5.0;
/// The longest stall timeout there is, so that nobody is closed for being what is measured. The lag policy and the pin budget
/// stay at their defaults: a reader that takes nothing is never asked where it is.
const CONFIG: &str = "stall_timeout_ms = 600000\n";

/// Seconds that one contender takes, roughly.
pub fn planned_seconds(seconds: f64) -> f64 {
    WARM_UP_S + 2.0 * (ALONE_S + CHANGE_S) + seconds + 6.0
}

/// The healthy viewers' p99 before, beside and after, and what the stalled ones cost, for `seconds` each contender.
pub fn stalled_many(lab: &Lab, contenders: &[Contender], seconds: f64) -> Result<Vec<Value>> {
    contenders.iter().map(|&contender| beside(lab, contender, seconds)).collect()
}

fn beside(lab: &Lab, contender: Contender, seconds: f64) -> Result<Value> {
    let mut load = Load::new(Flush::Video, HEALTHY, seconds);
    load.config = CONFIG.to_owned();
    let server = start(lab, contender, &load)?;
    let sampler = Sampler::start(lab, server.running.pid(), planned_seconds(seconds))?;
    let mut arguments = load_arguments(contender, &server, &load);
    // Phases instead of one window.
    let at = arguments.iter().position(|word| word == "--seconds").unwrap_or_default();
    arguments.splice(
        at..at + 2,
        ["--phases".to_owned(), format!("{ALONE_S},{CHANGE_S},{seconds},{CHANGE_S},{ALONE_S}")],
    );
    let mut healthy = lab.load("healthy", &arguments)?;
    let began = Instant::now();
    let until = |s: f64| std::thread::sleep(Duration::from_secs_f64(s).saturating_sub(began.elapsed()));
    let opens_s = sampler.at_s() + WARM_UP_S;
    until(WARM_UP_S + ALONE_S + 1.0);
    let url = match contender {
        Contender::Rtmp => rtmp_url(STREAM),
        _ => flv_url(STREAM),
    };
    let stay_s = CHANGE_S - 2.0 + seconds + 3.0;
    let arguments = format!(
        "play --url {url} --count {STALLED} --stall {STALLED} --stall-after 1 --ramp {STALLED_RAMP_PER_S} --warmup 0 \
         --seconds {stay_s} --from {STALLED_FROM}"
    );
    let mut stalled = lab.load("stalled", &words(&arguments))?;
    // Counted when their time is over, from both sides.
    until(WARM_UP_S + ALONE_S + CHANGE_S + seconds);
    let from_them = format!("dst {STALLED_FROM}");
    let (kernel, stuck) = (kernel_bytes(lab, &server, &from_them)?, stuck(lab, &server, &from_them)?);
    stalled.finish()?;
    healthy.finish()?;
    lab.progress.done(planned_seconds(seconds));
    let (healthy, stalled) = (lab.result("healthy")?, lab.result("stalled")?);
    let samples = sampler.so_far();
    let part = |from: f64, lasts: f64| between(&samples, opens_s + from + 1.0, opens_s + from + lasts - 1.0);
    let [before, during, after] = [
        part(0.0, ALONE_S),
        part(ALONE_S + CHANGE_S, seconds),
        part(ALONE_S + 2.0 * CHANGE_S + seconds, ALONE_S),
    ];
    let p99 = |phase: usize| healthy["phases"][phase]["video_latency_us"]["p99"].as_f64();
    let phases = [p99(0), p99(2), p99(4)];
    Ok(json!({
        "server": contender.name(),
        "healthy": HEALTHY,
        "stalled": STALLED,
        "seconds": seconds,
        "p99_us": phases,
        "ratio": ratio(phases),
        "core": [core(before), core(during), core(after)],
        "control": super::run::measured(&healthy),
        "stayed": stalled["connections"]["stayed"],
        "stalled_errors": stalled["connections"]["errors"],
        "established_at_the_end": kernel.len(),
        "stuck_at_the_end": stuck,
        "kernel_bytes_mean": kernel.iter().sum::<u64>() as f64 / kernel.len().max(1) as f64,
        "kernel_bytes_max": kernel.iter().max(),
        "accounted_bytes_each": each(before, during, |s| s.own("headgate_connection_memory_bytes")),
        "resident_bytes_each": each(before, during, |s| Some(s.resident_bytes - shared(s)?)),
        "pinned_bytes_median": median(during.iter().filter_map(|s| s.own("headgate_pinned_bytes"))),
        "pinned_bytes_max": largest(during.iter().filter_map(|s| s.own("headgate_pinned_bytes"))),
        "log_bytes_max": largest(during.iter().filter_map(|s| s.own("headgate_log_bytes"))),
    }))
}

/// p99 beside the stalled ones over that without them: the mean of before and after, as the machine drifts.
fn ratio([before, beside, after]: [Option<f64>; 3]) -> Option<f64> {
    let alone = (before? + after?) / 2.0;
    (alone > 0.0).then(|| beside.map(|beside| beside / alone))?
}

/// Media that all viewers share, and what slow ones keep of it.
fn shared(sample: &Sample) -> Option<f64> {
    Some(sample.own("headgate_log_bytes")? + sample.own("headgate_pinned_bytes")?)
}

/// What each stalled reader adds to a median.
fn each(before: &[Sample], during: &[Sample], of: fn(&Sample) -> Option<f64>) -> Option<f64> {
    let of = |samples: &[Sample]| median(samples.iter().filter_map(of));
    Some((of(during)? - of(before)?) / STALLED as f64)
}

#[cfg(test)]
mod tests {
    use super::super::samples::tests::sample;
    use super::*;

    #[test]
    fn the_machine_may_drift_between_before_and_after() {
        assert_eq!(ratio([Some(10.0), Some(16.5), Some(20.0)]), Some(1.1));
        assert_eq!(ratio([Some(10.0), None, Some(20.0)]), None);
        assert_eq!(ratio([Some(0.0), Some(1.0), Some(0.0)]), None);
    }

    #[test]
    fn each_is_the_difference_of_medians() {
        let samples =
            |bytes: f64| (0..9).map(|n| sample(n as f64, bytes + n as f64, 0.0)).collect::<Vec<_>>();
        let (before, during) = (samples(5e6), samples(7e6));
        assert_eq!(each(&before, &during, |s| Some(s.resident_bytes)), Some(2000.0));
        assert_eq!(each(&before, &[], |s| Some(s.resident_bytes)), None);
    }
}
