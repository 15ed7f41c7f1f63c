//! What the API and the page say about a stream.

use crate::observe::PerProtocol;
use serde::Serialize;

/// Where the control thread learns which streams there are.
///
/// Called on the control thread, at most a few times a second; it may lock for the time of a copy.
pub trait StreamSource: Send + Sync {
    /// All streams that exist now, in any order.
    fn streams(&self) -> Vec<StreamSummary>;
}

/// One stream at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamSummary {
    /// Application: the first part of `APP/STREAM`.
    pub app: String,
    /// Name: the rest, without any query.
    pub name: String,
    /// Whether somebody publishes.
    pub state: StreamState,
    /// Its tracks as the newest sequence headers describe them.
    pub tracks: Vec<TrackSummary>,
    /// Whether MPEG-TS carries any of them.
    pub mpegts: bool,
    /// Whether its publisher has a transport stream of its own, which is passed on as it came.
    pub passes: bool,
    /// Received media, bits a second, over the last seconds.
    pub bitrate_bps: u64,
    /// Subscribers.
    pub viewers: PerProtocol<u64>,
    /// Seconds since it was first published; 0 while it waits for its first publisher.
    pub age_s: u64,
    /// Media bytes received since then.
    pub bytes_in: u64,
}

/// Whether somebody publishes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamState {
    /// There is a publisher.
    Live,
    /// Players wait for a publisher: its first, or one that has just gone.
    Waiting,
}

/// One track of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackSummary {
    /// `audio`, `video` or `data`.
    pub kind: &'static str,
    /// Codec as people call it: `H.264`, `AAC`.
    pub codec: String,
    /// What else is known, for people: `1920x1080`, `48 kHz stereo`; may be empty.
    pub detail: String,
}
