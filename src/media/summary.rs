//! What a stream's configuration says, track by track, for people to read.
//!
//! Nothing here decides anything: a configuration that cannot be parsed costs the status page a number, never the
//! stream a frame. Sources in order: the codec's own configuration, the channel message, `onMetaData` (default tracks
//! only), the legacy audio header.

use super::{
    codec::Codec,
    config_set::{ConfigSet, Role, TrackInfo},
    frame::Kind,
};
use crate::wire::{
    aac::AacConfig, amf0, av1::Av1Config, flac::StreamInfo, h264, h265::HevcConfig, opus, vp9::VpConfig,
};

/// Pixels a side, samples a second or channels in `onMetaData` above this are not believed.
const METADATA_NUMBER_MAX: f64 = 1_000_000.0;

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
    /// One line for every track seen; video first, then by track number.
    pub fn summary(&self) -> Vec<TrackSummary> {
        let metadata = self.metadata.as_deref().and_then(metadata_members);
        self.tracks.iter().map(|track| self.summarize(track, metadata.as_ref())).collect()
    }

    fn summarize(&self, track: &TrackInfo, metadata: Option<&amf0::Object>) -> TrackSummary {
        let mut summary = TrackSummary {
            kind: track.kind,
            track_id: track.track_id,
            codec: track.codec,
            profile: None,
            width: None,
            height: None,
            sample_rate_hz: None,
            channels: None,
        };
        if let Some(config) = self.payload(track, Role::Config) {
            summary.read_config(&config);
        }
        // Channel order, then the count.
        if let Some(&[_, channels, ..]) = self.payload(track, Role::Channels).as_deref() {
            summary.channels = Some(u32::from(channels));
        }
        if let Some(members) = metadata.filter(|_| track.track_id == 0) {
            summary.read_metadata(members);
        }
        if track.kind == Kind::Audio && !track.enhanced {
            summary.read_legacy_header(track.first_byte);
        }
        summary
    }
}

impl TrackSummary {
    fn read_config(&mut self, config: &[u8]) {
        match self.codec {
            Codec::H264 => {
                if let Some(sps) = h264::sps_of_avcc(config).and_then(h264::Sps::parse) {
                    self.profile = Some(sps.profile_text());
                    self.set_size(Some((sps.width, sps.height)));
                }
            }
            Codec::Hevc => {
                if let Some(hevc) = HevcConfig::parse(config) {
                    self.profile = Some(hevc.profile_text());
                    self.set_size(hevc.size);
                }
            }
            Codec::Av1 => {
                if let Some(av1) = Av1Config::parse(config) {
                    self.profile = Some(av1.profile_text());
                    self.set_size(av1.size);
                }
            }
            Codec::Vp8 | Codec::Vp9 => self.profile = VpConfig::parse(config).map(|vp| vp.profile_text()),
            Codec::Aac => {
                if let Some(aac) = AacConfig::parse(config) {
                    self.profile = Some(aac.profile_text());
                    self.sample_rate_hz = Some(aac.sample_rate_hz);
                    self.channels = Some(if aac.ps { 2 } else { aac.channels });
                }
            }
            Codec::Opus => {
                self.sample_rate_hz = Some(opus::SAMPLE_RATE_HZ);
                self.channels = opus::channels(config);
            }
            Codec::Flac => {
                if let Some(info) = StreamInfo::parse(config) {
                    self.profile = Some(format!("{} bit", info.bits_per_sample));
                    self.sample_rate_hz = Some(info.sample_rate_hz);
                    self.channels = Some(info.channels);
                }
            }
            _ => {}
        }
    }

    fn set_size(&mut self, size: Option<(u32, u32)>) {
        (self.width, self.height) = size.unzip();
    }

    /// Fills in what the configuration left open.
    fn read_metadata(&mut self, members: &amf0::Object) {
        let number = |key| {
            let value = members.get(key)?.as_number()?;
            (1.0..=METADATA_NUMBER_MAX).contains(&value).then_some(value as u32)
        };
        match self.kind {
            Kind::Video if self.width.is_none() => {
                (self.width, self.height) = (number("width"), number("height"))
            }
            Kind::Audio => {
                self.sample_rate_hz = self.sample_rate_hz.or_else(|| number("audiosamplerate"));
                let stereo = || members.get("stereo")?.as_bool().map(|stereo| 1 + u32::from(stereo));
                self.channels = self.channels.or_else(|| number("audiochannels")).or_else(stereo);
            }
            _ => {}
        }
    }

    /// Rate and channels of a legacy audio header (FLV annex E.4.2.1), where they mean something. The rate is the
    /// nearest of four, so anything else is better.
    fn read_legacy_header(&mut self, first_byte: u8) {
        let rate_hz = match (self.codec, first_byte >> 4) {
            (Codec::Aac, _) => return,
            (Codec::Speex, _) | (Codec::Nellymoser, 4) => 16_000,
            (Codec::G711A | Codec::G711U, _) | (_, 5 | 14) => 8_000,
            _ => [5_512, 11_025, 22_050, 44_100][usize::from(first_byte >> 2 & 3)],
        };
        self.sample_rate_hz.get_or_insert(rate_hz);
        let mono = matches!(self.codec, Codec::Speex) || matches!(first_byte >> 4, 4 | 5);
        self.channels.get_or_insert(if mono { 1 } else { 1 + u32::from(first_byte & 1) });
    }
}

/// The members of an `onMetaData` script tag.
fn metadata_members(body: &[u8]) -> Option<amf0::Object> {
    amf0::decode_all(body).ok()?.into_iter().nth(1)?.into_object()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Frame, Mono, TrackTable};
    use crate::wire::hex;

    /// One line a track: `codec#id profile WxH rate/channels`, a dash for what is unknown.
    fn lines(frames: &[(Kind, Vec<u8>)]) -> Vec<String> {
        let mut table = TrackTable::new();
        for (kind, body) in frames {
            let body = body.clone().into();
            let frame =
                Frame { kind: *kind, dts_ms: 0, body, first_byte_at: Mono::ZERO, complete_at: Mono::ZERO };
            table.observe(&frame, &crate::media::tag::inspect(*kind, &frame.body).unwrap());
        }
        let text = |value: Option<u32>| value.map_or("-".to_owned(), |v| v.to_string());
        let line = |t: &TrackSummary| {
            let (codec, id, profile) = (t.codec, t.track_id, t.profile.as_deref().unwrap_or("-"));
            let (width, height) = (text(t.width), text(t.height));
            format!("{codec}#{id} {profile} {width}x{height} {}/{}", text(t.sample_rate_hz), text(t.channels))
        };
        table.snapshot().summary().iter().map(line).collect()
    }

    fn metadata(members: &[(&str, amf0::Value)]) -> Vec<u8> {
        let members = members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut body = Vec::new();
        amf0::Value::from("onMetaData").encode(&mut body);
        amf0::Value::EcmaArray(amf0::Object(members)).encode(&mut body);
        body
    }

    const AVC: &str =
        "1700000000 0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000468efbcb0";

    #[test]
    fn one_codec_a_row() {
        use Kind::{Audio, Video};
        for (kind, body, line) in [
            (Video, AVC, "H.264#0 High 1.2 320x180 -/-"),
            (Video, "9061763031 81000d00 0a0b0200000521e7f66017c012", "AV1#0 Main 2.0 8 bit 320x180 -/-"),
            (Video, "9076703039 01000000000b820202020000", "VP9#0 Profile 0 1.1 8 bit -x- -/-"),
            (Video, "9068766331 0101600000009000000000003cf000fcfdf8f800000f00", "HEVC#0 Main 2.0 -x- -/-"),
            (Video, "9076766331 ff", "VVC#0 - -x- -/-"),
            (Video, "1700000000 ffff", "H.264#0 - -x- -/-"),
            (Audio, "af00 119056e500", "AAC#0 LC -x- 48000/2"),
            (Audio, "906d703461 1388 56e5a54880", "AAC#0 HE v2 -x- 44100/2"),
            (Audio, "904f707573 4f70757348656164 0106", "Opus#0 - -x- 48000/6"),
            (
                Audio,
                "90664c6143 040004000007cf000f050bb803f0 0000000000000000000000000000000000000000",
                "FLAC#0 32 bit -x- 48000/2",
            ),
            (Audio, "9461632d33 0106 0000003f", "AC-3#0 - -x- -/6"),
            (Audio, "2f ff", "MP3#0 - -x- 44100/2"),
            (Audio, "b2 00", "Speex#0 - -x- 16000/1"),
            (Audio, "72 00", "G.711 A-law#0 - -x- 8000/1"),
        ] {
            assert_eq!(lines(&[(kind, hex(body))]), [line], "{body}");
        }
    }

    #[test]
    fn metadata_fills_gaps_of_the_default_tracks() {
        let number = amf0::Value::Number;
        let meta = metadata(&[
            ("width", number(1280.0)),
            ("height", number(720.0)),
            ("audiosamplerate", number(48_000.0)),
            ("stereo", amf0::Value::Boolean(true)),
        ]);
        let vp9 = hex("9076703039 01000000000b820202020000");
        let vp9_1 = hex("9600 76703039 01 01000000000b820202020000");
        let (audio, video, data) = (Kind::Audio, Kind::Video, Kind::Data);
        assert_eq!(
            lines(&[(data, meta.clone()), (audio, hex("2fff")), (video, vp9_1), (video, vp9)]),
            [
                "VP9#0 Profile 0 1.1 8 bit 1280x720 -/-",
                "VP9#1 Profile 0 1.1 8 bit -x- -/-",
                "MP3#0 - -x- 48000/2",
            ]
        );
        assert_eq!(
            lines(&[(data, meta), (video, hex(AVC))]),
            ["H.264#0 High 1.2 320x180 -/-"],
            "config wins"
        );
        let absurd = metadata(&[("width", number(f64::NAN)), ("height", number(-1.0))]);
        assert_eq!(lines(&[(data, absurd), (video, hex("22"))]), ["Sorenson H.263#0 - -x- -/-"]);
    }
}
