//! Readers that burden the server, beside viewers whose latency is compared with itself: a thousand that stop reading and
//! stay, and one in five that reads at a tenth of the stream's rate.

use super::lab::Lab;
use super::memory::{kernel_bytes, stuck};
use super::run::{
    Contender, Flush, Load, STREAM, Server, combine, flv_url, load_arguments, rtmp_url, start, words,
};
use super::samples::{Sample, Sampler, between, core, largest, median};
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Viewers that read, beside those who stop.
const HEALTHY: usize = 900;
/// Readers that stop.
const STALLED: usize = 1000;
/// The longest stall timeout there is, so that nobody is closed for being what is measured. The lag policy and the pin budget
/// stay at their defaults: a reader that takes nothing is never asked where it is.
const STALLED_CONFIG: &str = "stall_timeout_ms = 600000\n";
/// Viewers that read, beside those who are slow.
const SWIFT: usize = 800;
/// Readers that are slow.
const SLOW: usize = 200;
/// Bytes per second that each of them reads: a tenth of the stream's 2.5 Mbit/s and its sound.
const SLOW_RATE: &str = "33k";
/// Rounds of the comparison with slow readers, at least: a p99 of one minute moves by itself, by more than the gate allows.
const SLOW_ROUNDS_MIN: usize = 3;
/// The others come from here, so that their sockets are told from those of the viewers.
const FROM: &str = "127.0.0.9";
/// Connections of theirs begun per second.
const RAMP_PER_S: f64 = 500.0;
/// Seconds of the viewers alone, before and behind.
const ALONE_S: f64 = 60.0;
/// Seconds in which the others come, fill their sockets, and leave; what happens then belongs to no side.
const CHANGE_S: f64 = 20.0;
/// headgate-load's start, its head start, the ramp of the viewers and their warm-up.
const WARM_UP_S: f64 = 5.0;

/// Seconds that one contender takes, roughly.
pub fn planned_seconds(seconds: f64) -> f64 {
    WARM_UP_S + 2.0 * (ALONE_S + CHANGE_S) + seconds + 6.0
}

/// The viewers' p99 before, beside and after readers that stop, and what those cost, for `seconds` each contender.
pub fn stalled(lab: &Lab, contenders: &[Contender], seconds: f64) -> Result<Vec<Value>> {
    let row = |contender: &Contender| {
        let mut load = Load::new(Flush::Video, HEALTHY, seconds);
        load.config = STALLED_CONFIG.to_owned();
        let others = format!("--count {STALLED} --stall {STALLED} --stall-after 1");
        // Counted when their time is over, on the server's side: a reader that stopped does not hear of its end.
        let them = format!("dst {FROM}");
        let at_the_end =
            |server: &Server| Ok((kernel_bytes(lab, server, &them)?, stuck(lab, server, &them)?));
        let seen = beside(lab, *contender, &load, &others, seconds, at_the_end)?;
        let (kernel, stuck) = &seen.at_the_end;
        let [before, during, _] = &seen.samples;
        let each = |of: fn(&Sample) -> Option<f64>| each(before, during, STALLED, of);
        Ok(json!({
            "server": contender.name(),
            "healthy": HEALTHY,
            "stalled": STALLED,
            "seconds": seconds,
            "p99_us": seen.p99_us,
            "ratio": ratio(seen.p99_us),
            "core": seen.samples.each_ref().map(|part| core(part)),
            "control": super::run::measured(&seen.viewers),
            "stayed": seen.others["connections"]["stayed"],
            "stalled_errors": seen.others["connections"]["errors"],
            "established_at_the_end": kernel.len(),
            "stuck_at_the_end": stuck,
            "kernel_bytes_mean": kernel.iter().sum::<u64>() as f64 / kernel.len().max(1) as f64,
            "kernel_bytes_max": kernel.iter().max(),
            "accounted_bytes_each": each(|s| s.own("headgate_connection_memory_bytes")),
            "resident_bytes_each": each(|s| Some(s.resident_bytes - shared(s)?)),
            "pinned_bytes_median": median(during.iter().filter_map(|s| s.own("headgate_pinned_bytes"))),
            "pinned_bytes_max": largest(during.iter().filter_map(|s| s.own("headgate_pinned_bytes"))),
            "log_bytes_max": largest(during.iter().filter_map(|s| s.own("headgate_log_bytes"))),
        }))
    };
    contenders.iter().map(row).collect()
}

/// Rounds of [`slow`] when `rounds` were asked for.
pub fn slow_rounds(rounds: usize) -> usize {
    rounds.max(SLOW_ROUNDS_MIN)
}

/// The viewers' p99 before, beside and after readers that are too slow, for `seconds` each contender and round. All is at its
/// default: the slow ones are skipped, and what is still theirs is bounded. Contenders take turns, each time the other way
/// round.
pub fn slow(lab: &Lab, contenders: &[Contender], seconds: f64, rounds: usize) -> Result<Vec<Value>> {
    let mut seen = vec![Vec::new(); contenders.len()];
    for round in 0..slow_rounds(rounds) {
        let mut turns: Vec<usize> = (0..contenders.len()).collect();
        if !round.is_multiple_of(2) {
            turns.reverse();
        }
        for at in turns {
            seen[at].push(slow_round(lab, contenders[at], seconds)?);
        }
    }
    Ok(seen.iter().map(|rounds| of_rounds(rounds)).collect())
}

fn slow_round(lab: &Lab, contender: Contender, seconds: f64) -> Result<Value> {
    let load = Load::new(Flush::Video, SWIFT, seconds);
    let others = format!("--count {SLOW} --slow {SLOW} --read-rate {SLOW_RATE}");
    let seen = beside(lab, contender, &load, &others, seconds, |_| Ok(()))?;
    let during = &seen.samples[1];
    let most = |name| largest(during.iter().filter_map(|s| s.own(name)));
    Ok(json!({
        "server": contender.name(),
        "healthy": SWIFT,
        "slow": SLOW,
        "seconds": seconds,
        "p99_us": seen.p99_us,
        "ratio": ratio(seen.p99_us),
        "core": seen.samples.each_ref().map(|part| core(part)),
        "control": super::run::measured(&seen.viewers),
        "stayed": seen.others["connections"]["stayed"],
        "slow_bytes_per_s": seen.others["delivered"]["wire_bytes"].as_f64().map(|bytes| bytes / SLOW as f64 / seen.stay_s),
        "lag_skips": during.last().zip(during.first()).and_then(|(last, first)| {
            Some(last.own("headgate_lag_skips_total")? - first.own("headgate_lag_skips_total")?)
        }),
        "resident_bytes_max": largest(during.iter().map(|s| s.resident_bytes)),
        "pinned_bytes_max": most("headgate_pinned_bytes"),
    }))
}

/// One row of several rounds: latency and processor time of the one whose ratio is the median (of the two in the middle the
/// worse), all ratios beside it, and of faults and bounds the worst. A round without a ratio counts as the worst there is.
fn of_rounds(rounds: &[Value]) -> Value {
    let ratio = |round: &Value| round["ratio"].as_f64().unwrap_or(f64::INFINITY);
    let mut sorted: Vec<&Value> = rounds.iter().collect();
    sorted.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let Some(mut row) = sorted.get(sorted.len() / 2).map(|&median| median.clone()) else {
        return Value::Null;
    };
    let numbers =
        |field: &str| rounds.iter().map(|round| round[field].as_f64()).collect::<Option<Vec<f64>>>();
    let least = |field: &str| numbers(field).map(|all| all.into_iter().fold(f64::INFINITY, f64::min));
    for field in ["stayed", "lag_skips"] {
        row[field] = json!(least(field));
    }
    for field in ["resident_bytes_max", "pinned_bytes_max"] {
        row[field] = json!(numbers(field).map(|all| all.into_iter().fold(0.0, f64::max)));
    }
    let controls: Vec<Value> = rounds.iter().map(|round| round["control"].clone()).collect();
    row["control"] = combine(&controls);
    row["ratios"] = json!(sorted.iter().map(|round| &round["ratio"]).collect::<Vec<_>>());
    row
}

/// What was seen of one contender.
struct Seen<T> {
    /// What headgate-load says of the viewers and of the others.
    viewers: Value,
    others: Value,
    /// How long the others were there.
    stay_s: f64,
    /// The viewers' p99 of video before, beside and after the others.
    p99_us: [Option<f64>; 3],
    /// The server in these times.
    samples: [Vec<Sample>; 3],
    /// What was asked when the others' time was over.
    at_the_end: T,
}

/// Viewers of `load` alone, then for `seconds` beside `others`, then alone again.
fn beside<T>(
    lab: &Lab,
    contender: Contender,
    load: &Load,
    others: &str,
    seconds: f64,
    at_the_end: impl FnOnce(&Server) -> Result<T>,
) -> Result<Seen<T>> {
    let server = start(lab, contender, load)?;
    let sampler = Sampler::start(lab, server.running.pid(), planned_seconds(seconds))?;
    let mut arguments = load_arguments(contender, &server, load);
    // Phases instead of one window.
    let at = arguments.iter().position(|word| word == "--seconds").unwrap_or_default();
    arguments.splice(
        at..at + 2,
        ["--phases".to_owned(), format!("{ALONE_S},{CHANGE_S},{seconds},{CHANGE_S},{ALONE_S}")],
    );
    let mut viewers = lab.load("healthy", &arguments)?;
    let began = Instant::now();
    let until = |s: f64| std::thread::sleep(Duration::from_secs_f64(s).saturating_sub(began.elapsed()));
    let opens_s = sampler.at_s() + WARM_UP_S;
    until(WARM_UP_S + ALONE_S + 1.0);
    let url = match contender {
        Contender::Rtmp => rtmp_url(STREAM),
        _ => flv_url(STREAM),
    };
    let stay_s = CHANGE_S - 2.0 + seconds + 3.0;
    let arguments =
        format!("play --url {url} {others} --ramp {RAMP_PER_S} --warmup 0 --seconds {stay_s} --from {FROM}");
    let mut others = lab.load("others", &words(&arguments))?;
    until(WARM_UP_S + ALONE_S + CHANGE_S + seconds);
    let at_the_end = at_the_end(&server)?;
    others.finish()?;
    viewers.finish()?;
    lab.progress.done(planned_seconds(seconds));
    let (viewers, others) = (lab.result("healthy")?, lab.result("others")?);
    let samples = sampler.so_far();
    let part = |from: f64, lasts: f64| {
        between(&samples, opens_s + from + 1.0, opens_s + from + lasts - 1.0).to_vec()
    };
    let samples = [
        part(0.0, ALONE_S),
        part(ALONE_S + CHANGE_S, seconds),
        part(ALONE_S + 2.0 * CHANGE_S + seconds, ALONE_S),
    ];
    let p99_us = [0, 2, 4].map(|phase| viewers["phases"][phase]["video_latency_us"]["p99"].as_f64());
    Ok(Seen { viewers, others, stay_s, p99_us, samples, at_the_end })
}

/// p99 beside the others over that without them: the mean of before and after, as the machine drifts.
fn ratio([before, beside, after]: [Option<f64>; 3]) -> Option<f64> {
    let alone = (before? + after?) / 2.0;
    (alone > 0.0).then(|| beside.map(|beside| beside / alone))?
}

/// Media that all viewers share, and what slow ones keep of it.
fn shared(sample: &Sample) -> Option<f64> {
    Some(sample.own("headgate_log_bytes")? + sample.own("headgate_pinned_bytes")?)
}

/// What each of `count` others adds to a median.
fn each(before: &[Sample], during: &[Sample], count: usize, of: fn(&Sample) -> Option<f64>) -> Option<f64> {
    let of = |samples: &[Sample]| median(samples.iter().filter_map(of));
    Some((of(during)? - of(before)?) / count as f64)
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
    fn the_median_round_counts_and_the_worst_fault() {
        let round = |ratio: Value, stayed: u32, missing: f64, resident: f64| {
            json!({
                "server": "rtmp", "ratio": ratio, "p99_us": [1.0, 2.0, stayed], "stayed": stayed, "lag_skips": 10 * stayed,
                "resident_bytes_max": resident, "pinned_bytes_max": 1.0, "control": { "missing": missing },
            })
        };
        let rounds = [
            round(json!(1.3), 200, 0.0, 7.0),
            round(json!(1.0), 199, 2.0, 9.0),
            round(json!(1.1), 198, 1.0, 8.0),
        ];
        let row = of_rounds(&rounds);
        assert_eq!(
            (&row["ratio"], &row["p99_us"][2], &row["ratios"]),
            (&json!(1.1), &json!(198), &json!([1.0, 1.1, 1.3]))
        );
        assert_eq!((&row["stayed"], &row["lag_skips"]), (&json!(198.0), &json!(1980.0)));
        assert_eq!((&row["resident_bytes_max"], &row["control"]["missing"]), (&json!(9.0), &json!(2.0)));
        // What was not measured is not good.
        let row = of_rounds(&[round(Value::Null, 1, 0.0, 0.0), rounds[0].clone()]);
        assert_eq!((&row["ratio"], &row["ratios"]), (&Value::Null, &json!([1.3, null])));
    }

    #[test]
    fn each_is_the_difference_of_medians() {
        let samples =
            |bytes: f64| (0..9).map(|n| sample(n as f64, bytes + n as f64, 0.0)).collect::<Vec<_>>();
        let (before, during) = (samples(5e6), samples(7e6));
        assert_eq!(each(&before, &during, 1000, |s| Some(s.resident_bytes)), Some(2000.0));
        assert_eq!(each(&before, &[], 1000, |s| Some(s.resident_bytes)), None);
    }
}
