//! The JSON that a run ends with, and the line per second on the way.

use crate::media::Profile;
use crate::meter::Faults;
use crate::play::{Live, Outcome, Plan};
use crate::publish;
use crate::scrape::Pages;
use crate::setup::{Ends, Setups};
use crate::target::Target;
use crate::watch;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Quantiles of one histogram, us.
#[derive(Debug, Serialize)]
pub struct Quantiles {
    /// Values recorded.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// Largest.
    pub max: u64,
}

impl From<&Histogram<u64>> for Quantiles {
    fn from(h: &Histogram<u64>) -> Self {
        let at = |q| h.value_at_quantile(q);
        Self { count: h.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: h.max() }
    }
}

/// Messages that arrived within the window.
#[derive(Debug, Serialize)]
pub struct Delivered {
    /// Video messages.
    pub video: u64,
    /// Audio messages.
    pub audio: u64,
    /// Both.
    pub total: u64,
    /// Both, over what the profile sends in that time.
    pub ratio: f64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// All bytes read, protocol included, slow subscribers too.
    pub wire_bytes: u64,
}

/// One part of the window.
#[derive(Debug, Serialize)]
pub struct Phase {
    /// Processor time and steal.
    pub window: watch::Window,
    /// Video latency, us.
    pub video_latency_us: Quantiles,
    /// Audio latency, us.
    pub audio_latency_us: Quantiles,
    /// Messages over what the profile sends in that time.
    pub delivered_ratio: f64,
}

/// The connections to one address.
#[derive(Debug, Serialize)]
pub struct Setup {
    /// What was played: `rtmp`, `http-flv`; `all` for all addresses together.
    pub protocol: &'static str,
    /// From when a connection should have begun to its first video frame, us.
    pub setup_us: Quantiles,
    /// What of that went by before connect(2): the load's own lateness, us.
    pub late_us: Quantiles,
    /// Connections begun.
    pub begun: u64,
    /// Those that got a frame, and left when their time was over.
    pub served: u64,
    /// Those that ended otherwise before the end, by reason.
    pub errors: BTreeMap<String, u64>,
}

impl Setup {
    fn new(protocol: &'static str, setups: &Setups) -> Self {
        Self {
            protocol,
            setup_us: (&setups.setup_us).into(),
            late_us: (&setups.late_us).into(),
            begun: setups.begun,
            served: setups.served,
            errors: setups.errors.clone(),
        }
    }
}

/// What a run of `storm` found.
#[derive(Debug, Serialize)]
pub struct Storm {
    /// Connections begun per second.
    pub rate_per_s: f64,
    /// Local addresses they came from; 0 when the kernel chose.
    pub addresses: usize,
    /// Every connection's end.
    pub connections: Ends,
    /// All connections, then by address.
    pub setups: Vec<Setup>,
    /// What was wrong with the frames they got.
    pub faults: Faults,
    /// Processor time and steal, from the first arrival to the last departure.
    pub window: watch::Window,
    /// Bytes read.
    pub wire_bytes: u64,
}

impl Storm {
    /// Puts a storm together.
    pub fn new(plan: &Plan, outcome: &Outcome, window: watch::Window) -> Self {
        let all = outcome.all_setups();
        let each = plan.targets.iter().map(Target::protocol_name).zip(&outcome.setups);
        let setups = [("all", &all)].into_iter().chain(each);
        Self {
            rate_per_s: plan.ramp_per_s,
            addresses: plan.from.len(),
            connections: Ends::new(plan.count as u64, &all),
            setups: setups.map(|(protocol, setups)| Setup::new(protocol, setups)).collect(),
            faults: outcome.faults,
            window,
            wire_bytes: outcome.wire_bytes,
        }
    }
}

/// Subscribers that lacked frames when everybody left, long after the last frame was sent.
#[derive(Debug, Serialize)]
pub struct Incomplete {
    /// How many.
    pub subscribers: u64,
    /// Frames they lacked.
    pub messages: u64,
}

/// What the watched process needed: over the window, and over its phases if it has more than one.
pub struct Watched {
    /// The window.
    pub whole: watch::Window,
    /// Its phases.
    pub phases: Vec<watch::Window>,
}

/// What one run of `play` or `run` found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `rtmp` or `http-flv`.
    pub protocol: &'static str,
    /// Subscribers, all.
    pub subscribers: usize,
    /// Those that read as fast as they can; everything below is about them unless it says otherwise.
    pub healthy: usize,
    /// Streams.
    pub streams: usize,
    /// Messages per second that each should get.
    pub messages_per_second: f64,
    /// Processor time and steal in the measured window.
    pub window: watch::Window,
    /// The window's parts, if it has more than one.
    pub phases: Vec<Phase>,
    /// Messages in the window.
    pub delivered: Delivered,
    /// Publisher's write to subscriber's read, video, us.
    pub video_latency_us: Quantiles,
    /// The same for audio.
    pub audio_latency_us: Quantiles,
    /// From when a connection should have begun to its first video frame, all subscribers, us.
    pub first_frame_us: Quantiles,
    /// Subscribers that got one gapless run from a keyframe.
    pub clean_subscribers: u64,
    /// Faults over the whole run.
    pub faults: Faults,
    /// How many were summed byte by byte.
    pub verified_subscribers: usize,
    /// Their faults.
    pub verified_faults: Faults,
    /// Compared with what the publishers sent; absent without publishers in this process.
    pub incomplete: Option<Incomplete>,
    /// Every connection's end.
    pub connections: Ends,
    /// Subscribers that never came or ended early, by reason, all.
    pub disconnects: BTreeMap<String, u64>,
    /// Times the receive buffers ran out.
    pub buffer_shortages: u64,
    /// What the publishers did; absent without publishers in this process.
    pub publisher: Option<publish::Report>,
    /// The server's own numbers, if its page was named.
    pub metrics: Option<Pages>,
}

impl Report {
    /// Puts a run together.
    pub fn new(
        plan: &Plan,
        profile: &Profile,
        outcome: Outcome,
        (windows, metrics): (Watched, Option<Pages>),
        publisher: Option<publish::Report>,
    ) -> Self {
        let (totals, setups) = (outcome.totals(), outcome.all_setups());
        let total = totals.video + totals.audio;
        let Watched { whole: window, phases } = windows;
        let ratio = |messages: u64, seconds: f64| {
            let expected = plan.healthy() as f64 * profile.messages_per_second() * seconds;
            if expected > 0.0 { messages as f64 / expected } else { 0.0 }
        };
        let phases = phases.into_iter().zip(&outcome.phases).map(|(window, totals)| Phase {
            video_latency_us: (&totals.video_us).into(),
            audio_latency_us: (&totals.audio_us).into(),
            delivered_ratio: ratio(totals.video + totals.audio, window.seconds),
            window,
        });
        let incomplete = publisher.as_ref().map(|publisher| incomplete(&outcome, &publisher.sent));
        Self {
            protocol: plan.targets.first().map_or("", Target::protocol_name),
            subscribers: plan.count,
            healthy: plan.healthy(),
            streams: plan.streams,
            messages_per_second: profile.messages_per_second(),
            delivered: Delivered {
                video: totals.video,
                audio: totals.audio,
                total,
                ratio: ratio(total, window.seconds),
                payload_bytes: totals.payload_bytes,
                wire_bytes: outcome.wire_bytes,
            },
            window,
            phases: phases.collect(),
            video_latency_us: (&totals.video_us).into(),
            audio_latency_us: (&totals.audio_us).into(),
            first_frame_us: (&setups.setup_us).into(),
            clean_subscribers: outcome.clean.0,
            faults: outcome.faults,
            verified_subscribers: plan.verify.min(plan.healthy()),
            verified_faults: outcome.verified,
            incomplete,
            connections: Ends::new(plan.count as u64, &setups),
            disconnects: setups.errors,
            buffer_shortages: outcome.buffer_shortages,
            publisher,
            metrics,
        }
    }
}

fn incomplete(outcome: &Outcome, sent: &[(u32, u32)]) -> Incomplete {
    let mut incomplete = Incomplete { subscribers: 0, messages: 0 };
    for &(stream, video, audio) in &outcome.ends {
        let Some(&(video_sent, audio_sent)) = sent.get(stream as usize) else { continue };
        let lack = |sent: u32, next: Option<u32>| u64::from(sent.saturating_sub(next.unwrap_or(0)));
        let lacking = lack(video_sent, video) + lack(audio_sent, audio);
        incomplete.subscribers += u64::from(lacking > 0);
        incomplete.messages += lacking;
    }
    incomplete
}

/// The line per second.
pub struct LiveLine {
    messages: u64,
    bytes: u64,
    second: u64,
}

impl LiveLine {
    /// At the start.
    pub fn new() -> Self {
        Self { messages: 0, bytes: 0, second: 0 }
    }

    /// The line for the second that just ended.
    pub fn next(&mut self, live: &Live, phase: &str) -> String {
        let load = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
        let (messages, bytes) = (load(&live.messages), load(&live.wire_bytes));
        self.second += 1;
        let line = format!(
            "{:4} s {phase:7} connected {} messages/s {} Mbit/s {:.1} lost connections {}",
            self.second,
            load(&live.connected),
            messages - self.messages,
            (bytes - self.bytes) as f64 * 8e-6,
            load(&live.disconnects),
        );
        (self.messages, self.bytes) = (messages, bytes);
        line
    }
}

impl Default for LiveLine {
    fn default() -> Self {
        Self::new()
    }
}
