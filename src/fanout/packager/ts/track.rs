//! A track as an elementary stream: stream type, descriptors, and the form of its frames.

use crate::fanout::log::Variant;
use crate::media::{Codec, Kind, TrackConfig};
use crate::wire::ts::stream_type;
use crate::wire::ts::write::adts::Adts;
use crate::wire::ts::write::annexb::AnnexB;
use crate::wire::ts::write::av1::Av1;
use crate::wire::ts::write::descriptor::{self, format};
use crate::wire::ts::write::latm::Latm;
use crate::wire::ts::write::opus::{self, ControlHeader};
use crate::wire::ts::write::pes::stream_id;
use crate::wire::ts::write::section::Component;

/// PID of video track 0; the others follow. PIDs depend on track numbers alone, so a stream keeps them whatever comes
/// and goes.
const VIDEO_PID: u16 = 0x0100;
/// PID of audio track 0.
const AUDIO_PID: u16 = 0x0200;
/// What is known of the language of a track that comes over RTMP.
const LANGUAGE: [u8; 3] = *b"und";

/// Why a track is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its configuration has not come.
    NotYet,
    /// It cannot be; with the reason for people.
    Never(&'static str),
}

/// What is done with a frame.
#[derive(Clone, Debug)]
enum Form {
    AnnexB(AnnexB),
    Av1(Av1),
    Adts(Adts),
    Latm(Latm),
    Opus,
    AsItIs,
}

/// A track that can be carried.
#[derive(Clone, Debug)]
pub(super) struct Track {
    config: TrackConfig,
    component: Component,
    stream_id: u8,
    form: Form,
}

impl Track {
    /// A track that is configured so, in a log of `variant`.
    pub(super) fn new(config: &TrackConfig, variant: Variant) -> Result<Track, Unfit> {
        use stream_id::{AUDIO, PRIVATE_1, VIDEO};
        let record = config.record.as_deref().unwrap_or_default();
        // The descriptor of AV1 is made from its record.
        let needs = config.codec.needs_config() || config.codec == Codec::Av1;
        if record.is_empty() && needs && refused(config.codec, variant).is_none() {
            return Err(Unfit::NotYet);
        }
        let (stream_type, stream_id, form) = match config.codec {
            Codec::H264 => {
                let of =
                    AnnexB::of_avcc(record).ok_or(Unfit::Never("the H.264 configuration cannot be read"))?;
                (stream_type::H264, VIDEO, Form::AnnexB(of))
            }
            Codec::Hevc => {
                let of =
                    AnnexB::of_hvcc(record).ok_or(Unfit::Never("the HEVC configuration cannot be read"))?;
                (stream_type::HEVC, VIDEO, Form::AnnexB(of))
            }
            Codec::Av1 if variant.av1 => {
                let of =
                    Av1::of_record(record).ok_or(Unfit::Never("the AV1 configuration cannot be read"))?;
                (stream_type::PRIVATE, PRIVATE_1, Form::Av1(of))
            }
            Codec::Aac if variant.latm => {
                let latm = Latm::of_config(record).map_err(Unfit::Never)?;
                (stream_type::AAC_LATM, AUDIO, Form::Latm(latm))
            }
            Codec::Aac => {
                let adts = Adts::of_config(record).map_err(|why| Unfit::Never(why.as_str()))?;
                (stream_type::AAC_ADTS, AUDIO, Form::Adts(adts))
            }
            // Layer III of MPEG-2, with half the sampling rates, is told apart by no decoder.
            Codec::Mp3 => (stream_type::MPEG1_AUDIO, AUDIO, Form::AsItIs),
            // Types of ATSC with registration, as ffmpeg writes them: every player knows these.
            Codec::Ac3 => (stream_type::AC3, PRIVATE_1, Form::AsItIs),
            Codec::Eac3 => (stream_type::EAC3, PRIVATE_1, Form::AsItIs),
            Codec::Opus => (stream_type::PRIVATE, PRIVATE_1, Form::Opus),
            other => {
                let why = refused(other, variant).unwrap_or("this codec has no place in MPEG-TS");
                return Err(Unfit::Never(why));
            }
        };
        let base = if config.kind == Kind::Video { VIDEO_PID } else { AUDIO_PID };
        let component = Component {
            stream_type,
            pid: base + u16::from(config.track_id),
            descriptors: descriptors(config.codec, record, &form)?,
        };
        Ok(Track { config: config.clone(), component, stream_id, form })
    }

    /// Whether frames of this kind, track and codec are its own.
    pub(super) fn is(&self, kind: Kind, track_id: u8, codec: Codec) -> bool {
        (self.config.kind, self.config.track_id, self.config.codec) == (kind, track_id, codec)
    }

    pub(super) fn kind(&self) -> Kind {
        self.config.kind
    }

    pub(super) fn pid(&self) -> u16 {
        self.component.pid
    }

    pub(super) fn stream_id(&self) -> u8 {
        self.stream_id
    }

    /// Whether the packet with which a unit of a key frame begins has `elementary_stream_priority_indicator`, as AV1's must
    /// (AOM, "Carriage of AV1 in MPEG-2 TS", section 3.4). Of other codecs nothing is told apart by that.
    pub(super) fn marks_key_frames(&self) -> bool {
        matches!(self.form, Form::Av1(_))
    }

    /// What it was made from.
    pub(super) fn config(&self) -> &TrackConfig {
        &self.config
    }

    /// Its line in the PMT.
    pub(super) fn component(&self) -> &Component {
        &self.component
    }

    /// Bytes that [`Track::convert`] makes of a frame; `None` if it cannot be converted. Costs less than converting.
    pub(super) fn bytes(&self, payload: &[u8], key: bool) -> Option<usize> {
        match &self.form {
            Form::Av1(of) => of.bytes(payload, key),
            Form::Latm(latm) => latm.bytes(payload.len()),
            // Few parts, each of which is told by its ends.
            Form::AnnexB(_) | Form::Adts(_) | Form::Opus | Form::AsItIs => {
                let mut bytes = 0;
                let whole = self.convert(payload, key, |piece| {
                    bytes += piece.len();
                    true
                });
                whole.then_some(bytes)
            }
        }
    }

    /// Hands the elementary stream of one frame to `put`, in parts. False if `put` said so, or if it cannot be
    /// converted.
    pub(super) fn convert(&self, payload: &[u8], key: bool, mut put: impl FnMut(&[u8]) -> bool) -> bool {
        match &self.form {
            Form::AnnexB(of) => of.convert(payload, key, put),
            Form::Av1(of) => of.convert(payload, key, put),
            Form::Latm(latm) => latm.convert(payload, put),
            Form::Adts(adts) => adts.header(payload.len()).is_some_and(|header| put(&header) && put(payload)),
            Form::Opus => {
                ControlHeader::new(payload.len()).is_some_and(|header| put(header.as_slice()) && put(payload))
            }
            Form::AsItIs => put(payload),
        }
    }
}

fn descriptors(codec: Codec, record: &[u8], form: &Form) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::new();
    match codec {
        Codec::Hevc => {
            out.extend(descriptor::registration(format::HEVC));
            out.extend(descriptor::hevc_video(record).into_iter().flatten());
        }
        // The registration must be the first.
        Codec::Av1 => {
            out.extend(descriptor::registration(format::AV1));
            out.extend(descriptor::av1_video(record).into_iter().flatten());
        }
        Codec::Ac3 => out.extend(descriptor::registration(format::AC3)),
        Codec::Eac3 => out.extend(descriptor::registration(format::EAC3)),
        Codec::Opus => {
            let code = opus::channel_config(record);
            let code = code.ok_or(Unfit::Never("this Opus channel layout has no number in MPEG-TS"))?;
            out.extend(descriptor::registration(format::OPUS));
            out.extend(descriptor::opus(code));
        }
        _ => {}
    }
    if let Form::Latm(latm) = form {
        out.extend(descriptor::aac(latm.profile_and_level()));
    }
    if !matches!(codec, Codec::H264 | Codec::Hevc | Codec::Av1) {
        out.extend(descriptor::language(LANGUAGE));
    }
    Ok(out)
}

/// What is left out on purpose, with the reason for people.
const fn refused(codec: Codec, variant: Variant) -> Option<&'static str> {
    Some(match codec {
        // The specification of the AOM wants start codes, earlier drafts plain OBUs, and ffmpeg 9 writes them without
        // the descriptors by which either could be told: few players read any of them.
        Codec::Av1 if !variant.av1 => {
            "players do not agree on how MPEG-TS carries AV1, so it is sent only with `av1 = true` in [headend]"
        }
        Codec::Vp8 => "no specification says how MPEG-TS carries VP8",
        Codec::Vp9 => "no specification says how MPEG-TS carries VP9",
        Codec::Flac => "no specification says how MPEG-TS carries FLAC",
        Codec::Vvc => "VVC is not written to MPEG-TS",
        _ => return None,
    })
}
