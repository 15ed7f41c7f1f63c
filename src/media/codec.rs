//! Codecs as FLV and Enhanced FLV name them: a number of four bits in the legacy headers, a FourCC in the enhanced.
//!
//! Follows the FLV file format (SoundFormat, CodecID) and Enhanced RTMP v2 (FourCC tables). Nothing here decodes.

use std::fmt;

/// What a track is coded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 / AVC: legacy CodecID 7, `avc1`.
    H264,
    /// H.265 / HEVC: `hvc1`, and CodecID 12 in a widespread dialect that reuses the AVC layout.
    Hevc,
    /// H.266 / VVC: `vvc1`.
    Vvc,
    /// AV1: `av01`.
    Av1,
    /// VP8: `vp08`.
    Vp8,
    /// VP9: `vp09`.
    Vp9,
    /// Sorenson H.263, CodecID 2.
    Sorenson,
    /// Screen video, CodecID 3.
    Screen,
    /// Screen video version 2, CodecID 6.
    Screen2,
    /// On2 VP6, CodecID 4.
    Vp6,
    /// On2 VP6 with alpha channel, CodecID 5.
    Vp6Alpha,
    /// AAC: SoundFormat 10, `mp4a`.
    Aac,
    /// MP3: SoundFormat 2 and 14 (8 kHz), `.mp3`.
    Mp3,
    /// Opus: `Opus`.
    Opus,
    /// FLAC: `fLaC`.
    Flac,
    /// AC-3: `ac-3`.
    Ac3,
    /// Enhanced AC-3: `ec-3`.
    Eac3,
    /// Speex, SoundFormat 11.
    Speex,
    /// G.711 A-law, SoundFormat 7.
    G711A,
    /// G.711 mu-law, SoundFormat 8.
    G711U,
    /// ADPCM, SoundFormat 1.
    Adpcm,
    /// Linear PCM, SoundFormat 0 (platform byte order) and 3 (little endian).
    Pcm,
    /// Nellymoser, SoundFormat 4 (16 kHz), 5 (8 kHz) and 6.
    Nellymoser,
    /// Device-specific sound, SoundFormat 15.
    DeviceSpecific,
    /// Not media: an AMF0 script tag.
    Script,
    /// A legacy number (0..=15) that no specification assigns.
    Legacy(u8),
    /// A FourCC that this program does not know; carried as it is.
    Unknown([u8; 4]),
}

impl Codec {
    /// The codec of a legacy video header's CodecID (low nibble of byte 0).
    pub const fn from_video_id(id: u8) -> Codec {
        match id {
            2 => Codec::Sorenson,
            3 => Codec::Screen,
            4 => Codec::Vp6,
            5 => Codec::Vp6Alpha,
            6 => Codec::Screen2,
            7 => Codec::H264,
            12 => Codec::Hevc,
            other => Codec::Legacy(other),
        }
    }

    /// The codec of a legacy audio header's SoundFormat (high nibble of byte 0; 9 is the enhanced header, no codec).
    pub const fn from_sound_format(format: u8) -> Codec {
        match format {
            0 | 3 => Codec::Pcm,
            1 => Codec::Adpcm,
            2 | 14 => Codec::Mp3,
            4..=6 => Codec::Nellymoser,
            7 => Codec::G711A,
            8 => Codec::G711U,
            10 => Codec::Aac,
            11 => Codec::Speex,
            15 => Codec::DeviceSpecific,
            other => Codec::Legacy(other),
        }
    }

    /// The codec of an Enhanced RTMP FourCC, audio or video.
    pub const fn from_fourcc(fourcc: [u8; 4]) -> Codec {
        match &fourcc {
            b"avc1" => Codec::H264,
            b"hvc1" => Codec::Hevc,
            b"vvc1" => Codec::Vvc,
            b"av01" => Codec::Av1,
            b"vp08" => Codec::Vp8,
            b"vp09" => Codec::Vp9,
            b"mp4a" => Codec::Aac,
            b".mp3" => Codec::Mp3,
            b"Opus" => Codec::Opus,
            b"fLaC" => Codec::Flac,
            b"ac-3" => Codec::Ac3,
            b"ec-3" => Codec::Eac3,
            _ => Codec::Unknown(fourcc),
        }
    }

    /// The FourCC by which Enhanced RTMP names it; `None` for what only the legacy headers have.
    pub const fn fourcc(self) -> Option<[u8; 4]> {
        Some(match self {
            Codec::H264 => *b"avc1",
            Codec::Hevc => *b"hvc1",
            Codec::Vvc => *b"vvc1",
            Codec::Av1 => *b"av01",
            Codec::Vp8 => *b"vp08",
            Codec::Vp9 => *b"vp09",
            Codec::Aac => *b"mp4a",
            Codec::Mp3 => *b".mp3",
            Codec::Opus => *b"Opus",
            Codec::Flac => *b"fLaC",
            Codec::Ac3 => *b"ac-3",
            Codec::Eac3 => *b"ec-3",
            Codec::Unknown(fourcc) => fourcc,
            _ => return None,
        })
    }

    /// What people call it. [`Display`](fmt::Display) adds the number or FourCC of an unknown one.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::H264 => "H.264",
            Codec::Hevc => "HEVC",
            Codec::Vvc => "VVC",
            Codec::Av1 => "AV1",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Sorenson => "Sorenson H.263",
            Codec::Screen => "Screen video",
            Codec::Screen2 => "Screen video 2",
            Codec::Vp6 => "VP6",
            Codec::Vp6Alpha => "VP6 with alpha",
            Codec::Aac => "AAC",
            Codec::Mp3 => "MP3",
            Codec::Opus => "Opus",
            Codec::Flac => "FLAC",
            Codec::Ac3 => "AC-3",
            Codec::Eac3 => "E-AC-3",
            Codec::Speex => "Speex",
            Codec::G711A => "G.711 A-law",
            Codec::G711U => "G.711 mu-law",
            Codec::Adpcm => "ADPCM",
            Codec::Pcm => "PCM",
            Codec::Nellymoser => "Nellymoser",
            Codec::DeviceSpecific => "device-specific",
            Codec::Script => "script",
            Codec::Legacy(_) | Codec::Unknown(_) => "unknown",
        }
    }

    /// Whether CodedFrames of this codec start with a composition time of three bytes (Enhanced RTMP: AVC, HEVC, VVC).
    pub const fn has_composition_time(self) -> bool {
        matches!(self, Codec::H264 | Codec::Hevc | Codec::Vvc)
    }

    /// Whether nothing can be decoded without a non-empty sequence header.
    pub const fn needs_config(self) -> bool {
        matches!(self, Codec::H264 | Codec::Hevc | Codec::Vvc | Codec::Aac)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::Legacy(id) => write!(f, "unknown codec {id}"),
            Codec::Unknown(fourcc) => write!(f, "unknown codec '{}'", fourcc.escape_ascii()),
            known => f.write_str(known.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourcc_round_trips() {
        for fourcc in
            [b"avc1", b"hvc1", b"vvc1", b"av01", b"vp08", b"vp09", b"mp4a", b".mp3", b"Opus", b"fLaC"]
        {
            let codec = Codec::from_fourcc(*fourcc);
            assert!(!matches!(codec, Codec::Unknown(_)), "{}", fourcc.escape_ascii());
            assert_eq!(codec.fourcc(), Some(*fourcc));
        }
        assert_eq!(Codec::from_fourcc(*b"ac-3").fourcc(), Some(*b"ac-3"));
        assert_eq!(Codec::from_fourcc(*b"ec-3"), Codec::Eac3);
        assert_eq!(Codec::from_fourcc(*b"zz\0\xff").fourcc(), Some(*b"zz\0\xff"));
        assert_eq!(Codec::Speex.fourcc(), None);
    }

    #[test]
    fn display_escapes_what_a_peer_chose() {
        assert_eq!(Codec::from_fourcc(*b"a\nb\x1b").to_string(), "unknown codec 'a\\nb\\x1b'");
        assert_eq!(Codec::from_video_id(13).to_string(), "unknown codec 13");
        assert_eq!(Codec::from_video_id(12).to_string(), "HEVC");
        assert_eq!(Codec::from_sound_format(14), Codec::Mp3);
    }
}
