//! Channels of constant rate: how many one core bears beside a bare paced loop, and how exactly they arrive.
//!
//! The gateway's pacer has the server's processor for itself. Publishers, the cores that serve them, and viewers have the
//! load's. The bare loop takes the gateway's place, in turn, with the same sockets, groups and viewers.

mod arrival;
mod gateway;
mod multicat;

use super::lab::{INTERFACE, Lab};
use super::run::{STEAL_MAX, words};
use anyhow::{Context, Result, ensure};
use arrival::Viewers;
use gateway::Gateway;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// The rate of a channel among many, bit/s.
const BITRATE_BPS: u64 = 4_000_000;
/// The group of the first channel; the next ones follow.
const FIRST: Ipv4Addr = Ipv4Addr::new(239, 255, 1, 0);
/// Every channel's port.
const PORT: u16 = 5000;
/// Channels whose arrival is looked at, spread over all.
const SAMPLED: usize = 8;
/// Rates at which channels are measured beside multicat, and what they have together, bit/s: little, because it shares their
/// processor.
const BESIDE_MULTICAT_BPS: [u64; 4] = [2_000_000, 4_000_000, 8_000_000, 20_000_000];
const TOGETHER_BPS: u64 = 80_000_000;
/// Longest window of these: four of them are to take less than five minutes.
const BESIDE_MULTICAT_S_MAX: f64 = 20.0;
/// Channels that groups are for.
const CHANNELS_MAX: usize = 10_000;
/// Seconds between the start of viewers and the window.
const WARM_UP_S: f64 = 1.0;
/// Seconds of a run of the gateway, and of the bare loop, beside the window.
const AROUND_GATEWAY_S: f64 = 12.0;
const AROUND_PACED_S: f64 = 3.0;
/// How often a disturbed run is repeated before its numbers are taken as they are.
const REPEATS: usize = 3;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Channels.
    pub channels: usize,
    /// Length of each window.
    pub seconds: f64,
    /// Rounds in which contenders take turns; 0: only what is beside multicat.
    pub rounds: usize,
    /// Whether the gateway takes part.
    pub with_gateway: bool,
}

/// Who sends channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Gateway,
    /// The bare loop with one submission a tick.
    PacedUring,
    /// The bare loop with a call for each socket.
    PacedSendmmsg,
}

impl Sender {
    const ALL: [Self; 3] = [Self::PacedUring, Self::PacedSendmmsg, Self::Gateway];

    /// Its name in the rows.
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "headgate",
            Self::PacedUring => "bare-uring",
            Self::PacedSendmmsg => "bare-sendmmsg",
        }
    }
}

impl Plan {
    fn senders(&self) -> impl Iterator<Item = Sender> {
        let with_gateway = self.with_gateway;
        Sender::ALL.into_iter().filter(move |sender| with_gateway || *sender != Sender::Gateway)
    }

    /// Seconds that everything takes, roughly.
    pub fn planned_seconds(&self) -> f64 {
        let round: f64 = self.senders().map(|sender| self.planned(sender)).sum();
        let beside = if self.with_gateway { self.planned_beside() } else { 0.0 };
        round * self.rounds as f64 + BESIDE_MULTICAT_BPS.len() as f64 * beside
    }

    fn planned(&self, sender: Sender) -> f64 {
        self.seconds + if sender == Sender::Gateway { AROUND_GATEWAY_S } else { AROUND_PACED_S }
    }

    /// Window of a run beside multicat, in seconds.
    fn beside_s(&self) -> f64 {
        self.seconds.min(BESIDE_MULTICAT_S_MAX)
    }

    /// A run beside multicat, with the recording that it plays.
    fn planned_beside(&self) -> f64 {
        AROUND_GATEWAY_S + 2.0 * (self.beside_s() + AROUND_PACED_S) + multicat::LONGER_S
    }
}

/// The groups of viewers that look at `channels` of them.
fn sampled(channels: usize) -> Vec<String> {
    let count = channels.min(SAMPLED);
    (0..count).map(|n| group(n * channels / count.max(1))).collect()
}

/// The group and port of channel `n`.
fn group(n: usize) -> String {
    format!("{}:{PORT}", Ipv4Addr::from(u32::from(FIRST).wrapping_add(n as u32)))
}

/// Measures the plan; `store` gets all rows whenever there are more.
///
/// # Errors
/// Something does not start, or a source does not reach its channels.
pub fn headend(lab: &Lab, plan: &Plan, mut store: impl FnMut(&[Value]) -> Result<()>) -> Result<Vec<Value>> {
    ensure!((1..=CHANNELS_MAX).contains(&plan.channels), "1 to {CHANNELS_MAX} channels can be measured");
    let mut rows = Vec::new();
    for round in 0..plan.rounds {
        let mut senders: Vec<Sender> = plan.senders().collect();
        if round % 2 == 1 {
            senders.reverse();
        }
        for sender in senders {
            let mut row = calm(|| match sender {
                Sender::Gateway => density(lab, plan),
                Sender::PacedUring => paced(lab, plan, "uring"),
                Sender::PacedSendmmsg => paced(lab, plan, "sendmmsg"),
            })?;
            row["kind"] = json!("density");
            row["sender"] = json!(sender.name());
            row["round"] = json!(round + 1);
            lab.progress.done(plan.planned(sender));
            say(lab, &row);
            rows.push(row);
        }
        store(&rows)?;
    }
    for bitrate_bps in BESIDE_MULTICAT_BPS.into_iter().filter(|_| plan.with_gateway) {
        let mut row = calm(|| beside_multicat(lab, bitrate_bps, plan.beside_s()))?;
        row["kind"] = json!("arrival");
        row["sender"] = json!(Sender::Gateway.name());
        lab.progress.done(plan.planned_beside());
        say(lab, &row);
        rows.push(row);
        store(&rows)?;
    }
    Ok(rows)
}

/// Runs, and again while the host steals too much.
fn calm(mut run: impl FnMut() -> Result<Value>) -> Result<Value> {
    let mut repeats = 0;
    loop {
        let row = run()?;
        if row["steal"].as_f64().is_none_or(|steal| steal <= STEAL_MAX) || repeats == REPEATS {
            return Ok(row);
        }
        repeats += 1;
    }
}

fn say(lab: &Lab, row: &Value) {
    let number = |place: &str| row.pointer(place).and_then(Value::as_f64).unwrap_or(f64::NAN);
    eprintln!(
        "{} {:>13} {} channels: {:.3} core, {:.2} us/datagram, {:.0} datagrams/s, deviation p50 {:.2} p99 {:.2} ms \
         (calibration {:.2}, {:.2}), DF {:.1} ms, steal {:.1} %, waited {:.1} %",
        lab.progress.line(),
        row["sender"].as_str().unwrap_or_default(),
        row["channels"],
        number("/core"),
        number("/us_per_datagram"),
        number("/datagrams_per_s"),
        number("/arrival/p50_us") / 1e3,
        number("/arrival/p99_us") / 1e3,
        number("/arrival/calibration_p50_us") / 1e3,
        number("/arrival/calibration_p99_us") / 1e3,
        number("/arrival/df_ms"),
        number("/steal") * 100.0,
        number("/waited") * 100.0,
    );
}

/// The gateway's channels, all of them at once.
fn density(lab: &Lab, plan: &Plan) -> Result<Value> {
    let link = lab.link()?;
    let gateway = Gateway::start(lab, (plan.channels, BITRATE_BPS), plan.seconds + WARM_UP_S)?;
    let viewers =
        Viewers::watch(lab, &link, "viewers", &sampled(plan.channels), (BITRATE_BPS, plan.seconds))?;
    let mut row = gateway.measure(plan.seconds)?;
    finish(&mut row, viewers)?;
    Ok(row)
}

/// The bare loop in the gateway's place.
fn paced(lab: &Lab, plan: &Plan, engine: &str) -> Result<Value> {
    let link = lab.link()?;
    let viewers =
        Viewers::watch(lab, &link, "viewers", &sampled(plan.channels), (BITRATE_BPS, plan.seconds))?;
    let arguments = format!(
        "--interface {INTERFACE} --channels {} --to {} --bitrate {BITRATE_BPS} --engine {engine} --warmup {WARM_UP_S} --seconds {}",
        plan.channels,
        group(0),
        plan.seconds,
    );
    let mut running = lab.run_on(lab.cpus().0, "paced", lab.paced()?, &words(&arguments))?;
    running.finish()?;
    let report = lab.result("paced")?;
    let number = |place: &str| report.pointer(place).and_then(Value::as_f64);
    let per_s = |place: &str| Some(number(place)? / number("/seconds").filter(|s| *s > 0.0)?);
    let rate = per_s("/datagrams").context("the paced loop says nothing")?;
    let mut row = json!({
        "channels": plan.channels,
        "seconds": plan.seconds,
        "core": number("/core"),
        "process_core": number("/core"),
        "waited": per_s("/wait_seconds"),
        "datagrams_per_s": rate,
        "of_nominal": rate / nominal_per_s(plan.channels, BITRATE_BPS),
        "us_per_datagram": number("/cpu_us_per_datagram"),
        "ticks_per_s": per_s("/ticks"),
        "late_p50_us": number("/late_us/p50"),
        "late_p99_us": number("/late_us/p99"),
        "send_errors": number("/errors"),
    });
    finish(&mut row, viewers)?;
    Ok(row)
}

/// A few channels of the gateway and one of multicat on one processor, at the same time.
fn beside_multicat(lab: &Lab, bitrate_bps: u64, seconds: f64) -> Result<Value> {
    let link = lab.link()?;
    let channels = (TOGETHER_BPS / bitrate_bps) as usize;
    let gateway = Gateway::start(lab, (channels, bitrate_bps), 3.0 * (seconds + multicat::LONGER_S))?;
    let window = (bitrate_bps, seconds);
    let other = multicat::find().map(|programs| {
        let file = multicat::record(lab, &link, &programs, &group(0), window)?;
        multicat::play(lab, &link, &programs, &file, window)
    });
    let other = other.transpose()?;
    let viewers = Viewers::watch(lab, &link, "viewers", &sampled(channels), window)?;
    let mut row = gateway.measure(seconds)?;
    finish(&mut row, viewers)?;
    row["multicat"] = other.map_or(Ok(Value::Null), multicat::Beside::finish)?;
    Ok(row)
}

/// Puts what viewers saw into the row.
fn finish(row: &mut Value, viewers: Viewers) -> Result<()> {
    let report = viewers.finish()?;
    row["steal"] = arrival::steal(&report);
    row["arrival"] = arrival::summary(&report);
    Ok(())
}

/// Datagrams a second of so many channels of this rate.
fn nominal_per_s(channels: usize, bitrate_bps: u64) -> f64 {
    channels as f64 * bitrate_bps as f64 / (7.0 * 188.0 * 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_look_at_channels_from_all_over() {
        let groups = sampled(200);
        assert_eq!(groups.len(), SAMPLED);
        assert_eq!([groups[0].as_str(), groups[7].as_str()], ["239.255.1.0:5000", "239.255.1.175:5000"]);
        assert_eq!(sampled(3), ["239.255.1.0:5000", "239.255.1.1:5000", "239.255.1.2:5000"]);
        assert_eq!(group(CHANNELS_MAX - 1), "239.255.40.15:5000");
    }

    #[test]
    fn four_megabits_are_380_datagrams() {
        assert!((nominal_per_s(200, BITRATE_BPS) - 75_987.8).abs() < 0.1);
    }

    #[test]
    fn what_is_beside_multicat_takes_less_than_five_minutes() {
        let plan = Plan { channels: 200, seconds: 30.0, rounds: 0, with_gateway: true };
        assert!(plan.planned_seconds() < 300.0, "{}", plan.planned_seconds());
        assert!(BESIDE_MULTICAT_BPS.iter().all(|bps| TOGETHER_BPS.is_multiple_of(*bps)));
    }

    #[test]
    fn a_disturbed_run_is_repeated_a_few_times() {
        let mut steals = [0.2, 0.04, 0.01].into_iter();
        let row = calm(|| Ok(json!({ "steal": steals.next() }))).unwrap();
        assert_eq!(row["steal"], 0.01);
        let mut runs = 0;
        let row = calm(|| {
            runs += 1;
            Ok(json!({ "steal": 0.5 }))
        });
        assert_eq!((row.unwrap()["steal"].as_f64(), runs), (Some(0.5), 1 + REPEATS));
    }
}
