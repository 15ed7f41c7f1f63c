//! What the status page learns of the streams.

use crate::control::{StreamSource, StreamState, StreamSummary, TrackSummary};
use crate::fanout::directory::{Listed, StreamName};
use crate::fanout::log::{Format, LogKey, Variant};
use crate::fanout::packager;
use crate::media::config_set::ConfigSet;
use crate::media::summary::TrackSummary as Track;
use crate::media::{Kind, Mono};
use crate::observe::PerProtocol;
use crate::proto::http;
use crate::shard::core::Shared;
use crate::shard::engine::clock;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Bitrates are means over at least this, in microseconds.
const RATE_WINDOW_US: u64 = 2_000_000;
/// A stream's first moments count as at least this long: its first keyframe is no bitrate. In microseconds.
const RATE_EARLY_US: u64 = 1_000_000;

/// Bytes of one stream over time, as bits a second.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// When the window began, and what had come by then.
    at: Mono,
    bytes: u64,
    /// Of the last full window; none before the first ends.
    bps: Option<u64>,
}

impl Rate {
    /// Takes the count of `now` and says the rate: of the last full window, or, before there is one, of what there is.
    fn look(&mut self, now: Mono, bytes: u64) -> u64 {
        let elapsed = now.micros_since(self.at);
        let bits = bytes.saturating_sub(self.bytes).saturating_mul(8);
        let bps = bits.saturating_mul(1_000_000) / elapsed.max(RATE_EARLY_US);
        if elapsed >= RATE_WINDOW_US {
            *self = Rate { at: now, bytes, bps: Some(bps) };
        }
        self.bps.unwrap_or(bps)
    }
}

/// What a stream's configuration says. It is read when somebody looks, once for each that was looked at: the publisher's
/// core has no time for it.
#[derive(Debug, Default)]
struct Tracks {
    of: Option<Arc<ConfigSet>>,
    said: Vec<TrackSummary>,
    mpegts: bool,
}

impl Tracks {
    /// `av1`: that stands in transport streams.
    fn look(&mut self, config: Option<Arc<ConfigSet>>, av1: bool) -> &[TrackSummary] {
        // The very same, not only the same number: a stream that ends and one that begins may share a name.
        if self.of.as_ref().map(Arc::as_ptr) != config.as_ref().map(Arc::as_ptr) {
            self.said = config.iter().flat_map(|config| config.summary()).map(|t| track(&t)).collect();
            let key = LogKey { format: Format::Ts, variant: Variant { av1, ..Variant::FULL } };
            self.mpegts = config.as_ref().is_some_and(|config| packager::refusal(key, config).is_none());
            self.of = config;
        }
        &self.said
    }
}

/// What is remembered of a stream from look to look.
#[derive(Debug)]
struct Memory {
    rate: Rate,
    tracks: Tracks,
}

/// The directory, as the control thread sees it.
#[derive(Debug)]
pub struct Streams {
    shared: Arc<Shared>,
    /// AV1 stands in transport streams.
    av1: bool,
    memories: Mutex<HashMap<StreamName, Memory>>,
}

impl Streams {
    /// A view of `shared`; `av1`: that stands in transport streams.
    pub fn new(shared: Arc<Shared>, av1: bool) -> Streams {
        Streams { shared, av1, memories: Mutex::default() }
    }
}

impl StreamSource for Streams {
    fn streams(&self) -> Vec<StreamSummary> {
        let (now, listed) = (clock(), self.shared.directory.list());
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.retain(|name, _| listed.binary_search_by(|l| l.name.cmp(name)).is_ok());
        listed.iter().map(|l| summary(l, now, self.av1, &mut memories)).collect()
    }
}

fn summary(
    listed: &Listed,
    now: Mono,
    av1: bool,
    memories: &mut HashMap<StreamName, Memory>,
) -> StreamSummary {
    let stats = &listed.stats;
    let bytes_in = stats.bytes_in.load(Ordering::Relaxed);
    let memory = memories.entry(listed.name.clone()).or_insert_with(|| Memory {
        rate: Rate { at: listed.since, bytes: 0, bps: None },
        tracks: Tracks::default(),
    });
    let bitrate_bps = memory.rate.look(now, bytes_in);
    let passes = stats.passes.load(Ordering::Relaxed);
    let tracks = memory.tracks.look(stats.config(), av1).to_vec();
    StreamSummary {
        app: listed.name.app().to_owned(),
        name: listed.name.stream().to_owned(),
        state: if listed.published { StreamState::Live } else { StreamState::Waiting },
        tracks,
        // A group by its address has no file name.
        mpegts: (memory.tracks.mpegts || passes) && !http::is_group(listed.name.app(), listed.name.stream()),
        passes,
        bitrate_bps,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::track::TrackTable;
    use crate::media::{Frame, tag};

    #[test]
    fn tracks_are_those_of_the_configuration_at_hand() {
        let (mut table, mut tracks) = (TrackTable::new(), Tracks::default());
        let mut config = |kind, body: &'static [u8]| {
            let body = bytes::Bytes::from_static(body);
            let tag = tag::inspect(kind, &body).unwrap();
            let (first_byte_at, complete_at) = (Mono::ZERO, Mono::ZERO);
            table.observe(&Frame { kind, dts_ms: 0, body, first_byte_at, complete_at }, &tag);
            table.snapshot()
        };
        let sound = config(Kind::Audio, b"\xaf\0\x11\x90");
        let both = config(Kind::Video, b"\x17\0\0\0\0\x01");
        let mut look =
            |config| tracks.look(config, false).iter().map(|t| t.codec.clone()).collect::<Vec<_>>();
        assert_eq!(look(Some(sound.clone())), ["AAC"]);
        assert_eq!(look(Some(both)), ["H.264", "AAC"]);
        assert_eq!(look(Some(sound)), ["AAC"]);
        assert!(look(None).is_empty());
        let mut carried = |config| {
            tracks.look(config, false);
            tracks.mpegts
        };
        let vp9 = config(Kind::Video, b"\x90vp09\x01\0\0\0\0\x0b\x82\x02\x02\0\0\0");
        assert!(carried(Some(vp9)), "the sound is");
        assert!(!carried(None));
    }

    #[test]
    fn a_rate_is_of_a_full_window_once_there_is_one() {
        let mut rate = Rate { at: Mono::from_micros(0), bytes: 0, bps: None };
        // (ms, bytes so far, bits a second)
        for (ms, bytes, bps) in [
            (5, 50_000, 400_000),
            (1000, 100_000, 800_000),
            (2000, 250_000, 1_000_000),
            // 5 ms behind the last look, a keyframe: not a window.
            (2005, 500_000, 1_000_000),
            (4000, 500_000, 1_000_000),
            // Silent.
            (6000, 500_000, 0),
            // Again, behind a window without a byte.
            (6005, 750_000, 0),
            (8000, 750_000, 1_000_000),
        ] {
            assert_eq!(rate.look(Mono::from_micros(ms * 1000), bytes), bps, "at {ms} ms");
        }
    }
}
