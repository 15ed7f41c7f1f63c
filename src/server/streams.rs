//! What the status page learns of the streams.

use crate::control::{StreamSource, StreamState, StreamSummary, TrackSummary};
use crate::fanout::directory::{Listed, StreamName};
use crate::media::summary::TrackSummary as Track;
use crate::media::{Kind, Mono};
use crate::observe::PerProtocol;
use crate::shard::core::Shared;
use crate::shard::engine::clock;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Bitrates are means over at least this, in microseconds.
const RATE_WINDOW_US: u64 = 2_000_000;

#[derive(Clone, Copy, Debug)]
struct Rate {
    at: Mono,
    bytes: u64,
    bps: u64,
}

/// The directory, as the control thread sees it.
#[derive(Debug)]
pub struct Streams {
    shared: Arc<Shared>,
    rates: Mutex<HashMap<StreamName, Rate>>,
}

impl Streams {
    /// A view of `shared`.
    pub fn new(shared: Arc<Shared>) -> Streams {
        Streams { shared, rates: Mutex::default() }
    }
}

impl StreamSource for Streams {
    fn streams(&self) -> Vec<StreamSummary> {
        let (now, listed) = (clock(), self.shared.directory.list());
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.retain(|name, _| listed.binary_search_by(|l| l.name.cmp(name)).is_ok());
        listed.iter().map(|l| summary(l, now, &mut rates)).collect()
    }
}

fn summary(listed: &Listed, now: Mono, rates: &mut HashMap<StreamName, Rate>) -> StreamSummary {
    let stats = &listed.stats;
    let bytes_in = stats.bytes_in.load(Ordering::Relaxed);
    let rate = rates.entry(listed.name.clone()).or_insert(Rate { at: listed.since, bytes: 0, bps: 0 });
    let elapsed = now.micros_since(rate.at);
    if elapsed >= RATE_WINDOW_US || rate.bps == 0 {
        let bits = bytes_in.saturating_sub(rate.bytes).saturating_mul(8);
        *rate = Rate { at: now, bytes: bytes_in, bps: bits.saturating_mul(1_000_000) / elapsed.max(1) };
    }
    let tracks = stats.tracks.lock().unwrap_or_else(PoisonError::into_inner).iter().map(track).collect();
    StreamSummary {
        app: listed.name.app().to_owned(),
        name: listed.name.stream().to_owned(),
        state: if listed.published { StreamState::Live } else { StreamState::Waiting },
        tracks,
        bitrate_bps: rate.bps,
        viewers: PerProtocol::from_fn(|p| {
            stats.viewers.get(p.index()).map_or(0, |v| v.load(Ordering::Relaxed).max(0) as u64)
        }),
        age_s: now.since(listed.since).as_secs(),
        bytes_in,
    }
}

fn track(track: &Track) -> TrackSummary {
    let mut detail: Vec<String> = Vec::new();
    if track.track_id != 0 {
        detail.push(format!("track {}", track.track_id));
    }
    if let (Some(width), Some(height)) = (track.width, track.height) {
        detail.push(format!("{width}x{height}"));
    }
    if let Some(rate) = track.sample_rate_hz {
        detail.push(format!("{} kHz", f64::from(rate) / 1000.0));
    }
    match track.channels {
        Some(1) => detail.push("mono".to_owned()),
        Some(2) => detail.push("stereo".to_owned()),
        Some(n) => detail.push(format!("{n} channels")),
        None => {}
    }
    detail.extend(track.profile.clone());
    let kind = match track.kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
        Kind::Data => "data",
    };
    TrackSummary { kind, codec: track.codec.name().to_string(), detail: detail.join(" ") }
}
