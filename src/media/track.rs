//! The current configuration of a stream: what a decoder must be told before it can start.
//!
//! Lives here: the newest configuration messages of every track, kept as the publisher's own tag bodies so that
//! outputs stay bit-exact, and immutable snapshots of them ([`ConfigSet`]) that log entries name by epoch.
//! Not here: parsing of what the messages say (only [`ConfigSet::summary`] does, for people to read).
//!
//! What must stay true: sending a snapshot's entries in order leaves a decoder in the state of one that saw the whole
//! stream; equal repeats change nothing; memory is bounded by the constants below.

use super::{
    config_set::{ConfigEntry, ConfigSet, Role, TrackInfo},
    frame::{Frame, Kind},
    tag::{Packet, Tag, TrackPart},
    track_set::TrackSet,
};
use bytes::Bytes;
use std::sync::Arc;

/// Tracks of one kind in a stream, a count. Encoders in use send at most six.
pub const TRACKS_PER_KIND_MAX: usize = 16;
/// One configuration message, in bytes. A multitrack one with large HEVC parameter sets stays under 20 KiB.
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// One `onMetaData` message, in bytes.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;

/// All configuration messages of a stream, `onMetaData` among them, in bytes: what every viewer is sent first.
pub const CONFIG_TOTAL_BYTES_MAX: usize = 256 * 1024;

/// What a frame did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observed {
    /// Configuration that the stream did not have yet.
    New,
    /// Configuration that replaces or resets an earlier one.
    Changed,
    /// Configuration equal to the current one: the stream drops the frame.
    Repeat,
    /// Not configuration.
    Media,
    /// Configuration beyond a bound, or an empty one where the codec needs one, or media of a track beyond the bound:
    /// not kept, and counted. The stream drops the frame, because a later subscriber could not be given what it needs.
    Refused,
}

/// Collects the configuration of one stream, frame by frame.
#[derive(Debug, Default)]
pub struct TrackTable {
    metadata: Option<Bytes>,
    /// In arrival order, which is the order to send them in within a kind and role.
    entries: Vec<ConfigEntry>,
    /// Every track that sent configuration or media.
    tracks: Vec<TrackInfo>,
    /// Newest snapshot; `None` when something changed since.
    snapshot: Option<Arc<ConfigSet>>,
    epoch: u32,
    refused: u64,
}

impl TrackTable {
    /// A table that knows nothing.
    pub fn new() -> TrackTable {
        TrackTable::default()
    }

    /// Takes note of `frame`, whose header is `tag`.
    pub fn observe(&mut self, frame: &Frame, tag: &Tag) -> Observed {
        let observed = match (frame.kind, tag.packet) {
            (Kind::Data, _) if is_on_metadata(&frame.body) => self.on_metadata(&frame.body),
            (Kind::Audio | Kind::Video, Packet::Config) => {
                let role = if tag.mpeg2ts { Role::ConfigMpeg2Ts } else { Role::Config };
                self.on_config(frame, tag, role)
            }
            (Kind::Video, Packet::Metadata) => self.on_config(frame, tag, Role::Colour),
            (Kind::Audio, Packet::Channels) => self.on_config(frame, tag, Role::Channels),
            (Kind::Audio | Kind::Video, Packet::Frames) => self.on_media(frame, tag),
            _ => Observed::Media,
        };
        match observed {
            Observed::New | Observed::Changed => self.snapshot = None,
            Observed::Refused => self.refused += 1,
            Observed::Repeat | Observed::Media => {}
        }
        observed
    }

    /// The current configuration; the same `Arc` until something changes, then one with the next epoch.
    pub fn snapshot(&mut self) -> Arc<ConfigSet> {
        if let Some(snapshot) = &self.snapshot {
            return Arc::clone(snapshot);
        }
        self.epoch = self.epoch.wrapping_add(1);
        let fresh = ConfigSet::new(self.epoch, self.metadata.clone(), &self.entries, &self.tracks);
        Arc::clone(self.snapshot.insert(Arc::new(fresh)))
    }

    /// Forgets all tracks for a new publisher; epochs and counters go on, so that no epoch ever means two things.
    pub fn reset(&mut self) {
        *self = TrackTable { epoch: self.epoch, refused: self.refused, ..TrackTable::default() };
    }

    /// How many messages were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn on_metadata(&mut self, body: &Bytes) -> Observed {
        let entries: usize = self.entries.iter().map(|e| e.body.len()).sum();
        if body.len() > METADATA_BYTES_MAX || entries + body.len() > CONFIG_TOTAL_BYTES_MAX {
            return Observed::Refused;
        }
        match self.metadata.replace(body.clone()) {
            None => Observed::New,
            Some(old) if old == *body => Observed::Repeat,
            Some(_) => Observed::Changed,
        }
    }

    fn on_config(&mut self, frame: &Frame, tag: &Tag, role: Role) -> Observed {
        let (kind, body) = (frame.kind, &frame.body);
        let mut named = TrackSet::default();
        let mut says_nothing = false;
        for part in tag.tracks(body) {
            named.insert(part.track_id);
            says_nothing |= role == Role::Config && part.payload.is_empty() && part.codec.needs_config();
        }
        if says_nothing || body.len() > CONFIG_BYTES_MAX {
            return Observed::Refused;
        }
        if role == Role::Colour && is_reset(tag, body) {
            return if self.withdraw(kind, Some(role), named) { Observed::Changed } else { Observed::Repeat };
        }
        let alike =
            |e: &ConfigEntry| e.kind == kind && e.role == role && e.named == named && e.current == named;
        if self.entries.iter().any(|e| alike(e) && e.body == *body) {
            return Observed::Repeat;
        }
        if !self.has_room_for(kind, named)
            || self.bytes_beside(kind, role, named) + body.len() > CONFIG_TOTAL_BYTES_MAX
        {
            return Observed::Refused;
        }
        let mut replaced = self.note_tracks(frame, tag, matches!(role, Role::Config | Role::ConfigMpeg2Ts));
        let entry = ConfigEntry { kind, role, body: body.clone(), named, current: named };
        // Entries are in such an order that none has a current track that a later one names. Taking the place of one
        // for exactly these tracks keeps that; in all other cases the new entry goes last.
        if let Some(old) = self.entries.iter_mut().find(|e| alike(e)) {
            *old = entry;
            return Observed::Changed;
        }
        replaced |= self.withdraw(kind, Some(role), named);
        self.entries.push(entry);
        if replaced { Observed::Changed } else { Observed::New }
    }

    /// Media of an unknown track, or in another codec than before, changes the snapshot too.
    fn on_media(&mut self, frame: &Frame, tag: &Tag) -> Observed {
        let known = |p: &TrackPart| {
            self.tracks.iter().any(|t| t.kind == frame.kind && t.track_id == p.track_id && t.codec == p.codec)
        };
        if tag.tracks(&frame.body).all(|p| known(&p)) {
            return Observed::Media;
        }
        let mut named = TrackSet::default();
        tag.tracks(&frame.body).for_each(|p| named.insert(p.track_id));
        if !self.has_room_for(frame.kind, named) {
            return Observed::Refused;
        }
        self.note_tracks(frame, tag, true);
        self.snapshot = None;
        Observed::Media
    }

    /// Bytes of all messages that stay when one of a kind and role comes for the tracks `named`.
    fn bytes_beside(&self, kind: Kind, role: Role, named: TrackSet) -> usize {
        let stays = |e: &&ConfigEntry| {
            let mut left = e.current;
            left.remove_all(named);
            e.kind != kind || e.role != role || !left.is_empty()
        };
        let entries: usize = self.entries.iter().filter(stays).map(|e| e.body.len()).sum();
        entries + self.metadata.as_ref().map_or(0, Bytes::len)
    }

    /// Whether `named` keeps the tracks of `kind` within [`TRACKS_PER_KIND_MAX`].
    fn has_room_for(&self, kind: Kind, mut named: TrackSet) -> bool {
        for track in self.tracks.iter().filter(|t| t.kind == kind) {
            named.insert(track.track_id);
        }
        named.len() <= TRACKS_PER_KIND_MAX
    }

    /// Adds the tracks of `tag`. If `binding`, its codec is the track's from now on, and configuration for another is
    /// withdrawn; true if there was any. (Colour and channel messages do not bind: ffmpeg sends those of its second
    /// track without a track number, as if they were about the first, with the second's FourCC.)
    fn note_tracks(&mut self, frame: &Frame, tag: &Tag, binding: bool) -> bool {
        let kind = frame.kind;
        let first_byte = frame.body.first().copied().unwrap_or(0);
        let mut any = false;
        for part in tag.tracks(&frame.body) {
            let found = self.tracks.iter_mut().find(|t| t.kind == kind && t.track_id == part.track_id);
            let Some(track) = found else {
                let (track_id, codec) = (part.track_id, part.codec);
                self.tracks.push(TrackInfo { kind, track_id, codec, first_byte, enhanced: tag.enhanced });
                continue;
            };
            if binding && track.codec != part.codec {
                (track.codec, track.first_byte, track.enhanced) = (part.codec, first_byte, tag.enhanced);
                any |= self.withdraw(kind, None, TrackSet::of(part.track_id));
            }
        }
        any
    }

    /// Takes `tracks` from all entries of a kind and role (or all roles); entries left without a current track go.
    /// True if any entry had one.
    fn withdraw(&mut self, kind: Kind, role: Option<Role>, tracks: TrackSet) -> bool {
        let mut any = false;
        self.entries.retain_mut(|e| {
            if e.kind == kind && role.is_none_or(|r| r == e.role) && e.current.intersects(tracks) {
                any = true;
                e.current.remove_all(tracks);
            }
            !e.current.is_empty()
        });
        any
    }
}

/// Whether a script tag's body starts with the AMF0 string `onMetaData`.
pub fn is_on_metadata(body: &[u8]) -> bool {
    body.starts_with(b"\x02\x00\x0aonMetaData")
}

/// Whether a video Metadata tag is a reset: every track's value is AMF0 undefined (Enhanced RTMP v2, "Metadata Frame").
fn is_reset(tag: &Tag, body: &[u8]) -> bool {
    let reset = |part: &TrackPart| body.get(part.payload.clone()) == Some(b"\x02\x00\x09colorInfo\x06");
    tag.tracks(body).all(|part| reset(&part))
}

#[cfg(test)]
mod tests;
