//! The JSON that a run ends with, and the line per second on the way.

use crate::media::Profile;
use crate::meter::Faults;
use crate::play::{Live, Outcome, Plan};
use crate::publish;
use crate::scrape::Pages;
use crate::target::Protocol;
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

/// Subscribers that lacked frames when everybody left, long after the last frame was sent.
#[derive(Debug, Serialize)]
pub struct Incomplete {
    /// How many.
    pub subscribers: u64,
    /// Frames they lacked.
    pub messages: u64,
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
    /// Messages in the window.
    pub delivered: Delivered,
    /// Publisher's write to subscriber's read, video, us.
    pub video_latency_us: Quantiles,
    /// The same for audio.
    pub audio_latency_us: Quantiles,
    /// Begin of connecting to first video frame, all subscribers, us.
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
    /// Subscribers that ended early, by reason, all.
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
        (window, metrics): (watch::Window, Option<Pages>),
        publisher: Option<publish::Report>,
    ) -> Self {
        let totals = &outcome.totals;
        let total = totals.video + totals.audio;
        let expected = plan.healthy() as f64 * profile.messages_per_second() * window.seconds;
        let incomplete = publisher.as_ref().map(|publisher| incomplete(&outcome, &publisher.sent));
        Self {
            protocol: if plan.target.protocol == Protocol::Rtmp { "rtmp" } else { "http-flv" },
            subscribers: plan.count,
            healthy: plan.healthy(),
            streams: plan.streams,
            messages_per_second: profile.messages_per_second(),
            delivered: Delivered {
                video: totals.video,
                audio: totals.audio,
                total,
                ratio: if expected > 0.0 { total as f64 / expected } else { 0.0 },
                payload_bytes: totals.payload_bytes,
                wire_bytes: outcome.wire_bytes,
            },
            window,
            video_latency_us: (&totals.video_us).into(),
            audio_latency_us: (&totals.audio_us).into(),
            first_frame_us: (&outcome.first_frame_us).into(),
            clean_subscribers: outcome.clean.0,
            faults: outcome.faults,
            verified_subscribers: plan.verify.min(plan.healthy()),
            verified_faults: outcome.verified,
            incomplete,
            disconnects: outcome.disconnects,
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
