//! An immutable snapshot of a stream's configuration, shared by everything that needs to start a decoder.

use super::{codec::Codec, frame::Kind, tag::inspect, track_set::TrackSet};
use bytes::Bytes;

/// What a kept message configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The decoder: sequence header.
    Config,
    /// The decoder, in MPEG-2 TS form (AV1's `MPEG2TSSequenceStart`).
    ConfigMpeg2Ts,
    /// Colour: video Metadata, `colorInfo`.
    Colour,
    /// Speakers: audio MultichannelConfig.
    Channels,
}

/// One kept configuration message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Audio or video.
    pub kind: Kind,
    /// What it configures.
    pub role: Role,
    /// The FLV tag body as the publisher sent it.
    pub body: Bytes,
    /// The tracks that the message names.
    pub named: TrackSet,
    /// Those of them for which nothing newer has come.
    pub current: TrackSet,
}

/// A track that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrackInfo {
    pub kind: Kind,
    pub track_id: u8,
    pub codec: Codec,
    /// Byte 0 of its first tag: a legacy audio header tells rate and channels there.
    pub first_byte: u8,
    pub enhanced: bool,
}

/// What a packager of another format needs to know of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackConfig {
    /// Audio or video.
    pub kind: Kind,
    /// 0 is the default track.
    pub track_id: u8,
    /// What it is coded with.
    pub codec: Codec,
    /// The payload of its current sequence header, such as an `avcC` record; it may be empty. `None` before the first.
    pub record: Option<Bytes>,
}

/// A stream's configuration at one moment. Log entries name it by `epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSet {
    /// Number of this configuration within its stream, from 1; 0 is never used.
    pub epoch: u32,
    /// The newest `onMetaData` script tag body.
    pub metadata: Option<Bytes>,
    /// In sending order: video first; within a kind the sequence headers, then colour or channels, so that each
    /// track's sequence header precedes what refines it. The order matters: a multitrack message may name a track that
    /// a later entry overrides.
    pub entries: Vec<ConfigEntry>,
    /// Whether any audio track was seen, by configuration or media.
    pub has_audio: bool,
    /// Whether any video track was seen.
    pub has_video: bool,
    pub(super) tracks: Vec<TrackInfo>,
}

impl ConfigSet {
    /// Puts `entries` (arrival order) into sending order.
    pub(super) fn new(
        epoch: u32,
        metadata: Option<Bytes>,
        entries: &[ConfigEntry],
        tracks: &[TrackInfo],
    ) -> ConfigSet {
        let mut entries = entries.to_vec();
        // Stable: arrival order stays within a kind and role.
        entries.sort_by_key(|e| (e.kind != Kind::Video, e.role));
        let mut tracks = tracks.to_vec();
        tracks.sort_by_key(|t| (t.kind != Kind::Video, t.track_id));
        let has = |kind| tracks.iter().any(|t| t.kind == kind);
        ConfigSet {
            epoch,
            metadata,
            entries,
            has_audio: has(Kind::Audio),
            has_video: has(Kind::Video),
            tracks,
        }
    }

    /// What the default tracks are coded with; video first.
    pub fn default_codecs(&self) -> impl Iterator<Item = (Kind, Codec)> {
        self.tracks.iter().filter(|t| t.track_id == 0).map(|t| (t.kind, t.codec))
    }

    /// Every track seen; video first, then by track number.
    pub fn tracks(&self) -> impl Iterator<Item = TrackConfig> {
        self.tracks.iter().map(|track| TrackConfig {
            kind: track.kind,
            track_id: track.track_id,
            codec: track.codec,
            record: self.payload(track, Role::Config),
        })
    }

    /// The track's part of its current configuration message in a role.
    pub(super) fn payload(&self, track: &TrackInfo, role: Role) -> Option<Bytes> {
        let holds =
            |e: &&ConfigEntry| e.kind == track.kind && e.role == role && e.current.contains(track.track_id);
        let entry = self.entries.iter().find(holds)?;
        let tag = inspect(entry.kind, &entry.body).ok()?;
        // A message that names a track twice means the last.
        let part = tag.tracks(&entry.body).filter(|p| p.track_id == track.track_id).last()?;
        (part.payload.end <= entry.body.len()).then(|| entry.body.slice(part.payload))
    }

    /// The entries that a variant carries, in sending order.
    pub fn iter_for(&self, audio: bool, video: bool, strip: bool) -> impl Iterator<Item = &ConfigEntry> {
        self.entries.iter().filter(move |e| match e.role {
            Role::Config | Role::ConfigMpeg2Ts if e.kind == Kind::Audio => audio,
            Role::Config | Role::ConfigMpeg2Ts => video,
            Role::Colour => video && !strip,
            Role::Channels => audio && !strip,
        })
    }
}
