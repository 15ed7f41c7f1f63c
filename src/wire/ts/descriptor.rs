//! Descriptors (ISO/IEC 13818-1 section 2.6, ETSI EN 300 468 section 6): the small records inside tables.

use super::stream_type;

/// `descriptor_tag` of what is read here.
pub mod tag {
    /// Registration: four characters of whoever defined the stream.
    pub const REGISTRATION: u8 = 0x05;
    /// Conditional access: the PID of control or management messages.
    pub const CA: u8 = 0x09;
    /// Languages of a stream.
    pub const ISO_639: u8 = 0x0A;
    /// Name of a network (DVB).
    pub const NETWORK_NAME: u8 = 0x40;
    /// Type, provider and name of a service (DVB).
    pub const SERVICE: u8 = 0x48;
    /// Teletext (DVB).
    pub const TELETEXT: u8 = 0x56;
    /// Local time offsets (DVB).
    pub const LOCAL_TIME_OFFSET: u8 = 0x58;
    /// Subtitles (DVB).
    pub const SUBTITLING: u8 = 0x59;
    /// AC-3 (DVB).
    pub const AC3: u8 = 0x6A;
    /// E-AC-3 (DVB).
    pub const EAC3: u8 = 0x7A;
    /// DTS audio (DVB).
    pub const DTS: u8 = 0x7B;
    /// What has a tag of its own inside (DVB).
    pub const EXTENSION: u8 = 0x7F;
}

/// A loop of descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptors<'a> {
    rest: &'a [u8],
}

impl<'a> Descriptors<'a> {
    /// Over the bytes of a loop. One that reaches past the end ends it.
    pub fn new(bytes: &'a [u8]) -> Descriptors<'a> {
        Descriptors { rest: bytes }
    }

    /// The contents of the first with this tag.
    pub fn find(self, tag: u8) -> Option<&'a [u8]> {
        self.into_iter().find(|(found, _)| *found == tag).map(|(_, body)| body)
    }

    /// The four characters of a registration descriptor.
    pub fn registration(self) -> Option<[u8; 4]> {
        self.find(tag::REGISTRATION)?.first_chunk().copied()
    }

    /// The first language with its audio type (0 undefined, 1 clean effects, 2 hearing impaired, 3 visually impaired).
    pub fn language(self) -> Option<([u8; 3], u8)> {
        let [l0, l1, l2, audio_type, ..] = *self.find(tag::ISO_639)? else { return None };
        Some(([l0, l1, l2], audio_type))
    }

    /// The PIDs of all conditional access descriptors.
    pub fn ca_pids(self) -> impl Iterator<Item = u16> + 'a {
        self.into_iter().filter(|(found, _)| *found == tag::CA).filter_map(|(_, body)| match *body {
            [_, _, high, low, ..] => Some(u16::from_be_bytes([high & 0x1F, low])),
            _ => None,
        })
    }
}

impl<'a> IntoIterator for Descriptors<'a> {
    type Item = (u8, &'a [u8]);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        Iter { rest: self.rest }
    }
}

/// Tag and contents of each descriptor.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (u8, &'a [u8]);
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, length, rest @ ..] = self.rest else { return None };
        let (body, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some((*tag, body))
    }
}

/// What an elementary stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything that may pause for as long as it likes: subtitles, teletext, cues, data.
    Data,
}

/// Name and class of an elementary stream by its type, its descriptors and those of its program.
pub fn classify(kind: u8, descriptors: Descriptors<'_>, program: Descriptors<'_>) -> (&'static str, Class) {
    use Class::{Audio, Data, Video};
    let registration = descriptors.registration();
    if program.registration() == Some(*b"HDMV")
        && let Some(known) = blu_ray(kind)
    {
        return known;
    }
    match kind {
        0x01 => ("MPEG-1 video", Video),
        stream_type::MPEG2_VIDEO => ("MPEG-2 video", Video),
        stream_type::MPEG1_AUDIO => ("MPEG-1 audio", Audio),
        stream_type::MPEG2_AUDIO => ("MPEG-2 audio", Audio),
        0x10 => ("MPEG-4 video", Video),
        stream_type::AAC_ADTS => ("AAC", Audio),
        stream_type::AAC_LATM => ("AAC LATM", Audio),
        stream_type::H264 => ("H.264", Video),
        stream_type::HEVC => ("HEVC", Video),
        0x1C => ("MPEG-4 audio", Audio),
        0x2D | 0x2E => ("MPEG-H audio", Audio),
        0x33 => ("VVC", Video),
        0x42 => ("AVS video", Video),
        0xD2 => ("AVS2 video", Video),
        0xD4 => ("AVS3 video", Video),
        0xEA => ("VC-1", Video),
        // Anybody's, but for those who say that they go by SCTE or ATSC.
        0x80 if [registration, program.registration()].iter().flatten().any(is_american) => {
            ("DigiCipher II video", Video)
        }
        stream_type::AC3 => ("AC-3", Audio),
        stream_type::EAC3 => ("E-AC-3", Audio),
        0x86 => ("SCTE-35", Data),
        0x15 => ("metadata", Data),
        0x05 => ("private sections", Data),
        stream_type::PRIVATE => match registration.as_ref() {
            Some(b"Opus") => ("Opus", Audio),
            Some(b"AC-3") => ("AC-3", Audio),
            Some(b"EAC3") => ("E-AC-3", Audio),
            Some(b"AC-4") => ("AC-4", Audio),
            Some(b"BSSD") => ("SMPTE 302M", Audio),
            Some(b"AV01") => ("AV1", Video),
            Some(b"HEVC") => ("HEVC", Video),
            Some(b"KLVA") => ("KLV", Data),
            _ => private(descriptors),
        },
        _ => ("unknown", Data),
    }
}

/// Registered by ANSI/SCTE or ATSC.
fn is_american(registration: &[u8; 4]) -> bool {
    matches!(registration, b"SCTE" | b"GA94")
}

/// What types mean on Blu-ray discs and in files of cameras: the program is registered as HDMV.
fn blu_ray(kind: u8) -> Option<(&'static str, Class)> {
    use Class::{Audio, Data};
    Some(match kind {
        0x80 => ("LPCM", Audio),
        0x82 => ("DTS", Audio),
        0x83 => ("TrueHD", Audio),
        0x84 | 0xA1 => ("E-AC-3", Audio),
        0x85 | 0x86 | 0xA2 => ("DTS-HD", Audio),
        0x90 => ("PGS subtitles", Data),
        0x91 => ("menus", Data),
        0x92 => ("text subtitles", Data),
        _ => return None,
    })
}

/// A private stream by its DVB descriptors.
fn private(descriptors: Descriptors<'_>) -> (&'static str, Class) {
    /// `descriptor_tag_extension` of AC-4.
    const AC4: u8 = 0x15;
    let known = descriptors.into_iter().find_map(|(found, body)| match found {
        tag::AC3 => Some(("AC-3", Class::Audio)),
        tag::EAC3 => Some(("E-AC-3", Class::Audio)),
        tag::DTS => Some(("DTS", Class::Audio)),
        tag::EXTENSION if body.first() == Some(&AC4) => Some(("AC-4", Class::Audio)),
        tag::TELETEXT => Some(("teletext", Class::Data)),
        tag::SUBTITLING => Some(("DVB subtitles", Class::Data)),
        _ => None,
    });
    known.unwrap_or(("private data", Class::Data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_and_their_ends() {
        let bytes = [0x0A, 4, b'd', b'e', b'u', 3, 0x05, 4, b'O', b'p', b'u', b's', 0x7F, 2, 0x80, 2];
        let descriptors = Descriptors::new(&bytes);
        assert_eq!(descriptors.into_iter().count(), 3);
        assert_eq!(descriptors.language(), Some((*b"deu", 3)));
        assert_eq!(descriptors.registration(), Some(*b"Opus"));
        let none = Descriptors::default();
        assert_eq!(classify(6, descriptors, none), ("Opus", Class::Audio));
        assert_eq!(Descriptors::new(&bytes[..8]).into_iter().count(), 1, "one that is cut ends the loop");
        assert_eq!(Descriptors::new(&[0x0A, 2, b'd', b'e']).language(), None);
        let ca = [0x09, 4, 6, 4, 0xE1, 0x23, 0x09, 1, 0, 0x09, 5, 6, 4, 0xFF, 0xFE, 0];
        assert_eq!(Descriptors::new(&ca).ca_pids().collect::<Vec<_>>(), [0x123, 0x1FFE]);
    }

    #[test]
    fn streams() {
        let hdmv = Descriptors::new(&[0x05, 4, b'H', b'D', b'M', b'V']);
        let none = Descriptors::default();
        for (bytes, expected) in [
            (&[0x59, 0][..], ("DVB subtitles", Class::Data)),
            (&[0x52, 1, 9, 0x6A, 1, 0], ("AC-3", Class::Audio)),
            (&[0x05, 4, b'B', b'S', b'S', b'D'], ("SMPTE 302M", Class::Audio)),
            (&[0x7F, 2, 0x15, 0], ("AC-4", Class::Audio)),
            (&[0x7F, 2, 0x06, 0], ("private data", Class::Data)),
            (&[], ("private data", Class::Data)),
        ] {
            assert_eq!(classify(6, Descriptors::new(bytes), none), expected);
        }
        for (kind, usual, on_disc) in [
            (0x1B, "H.264", "H.264"),
            (0x80, "unknown", "LPCM"),
            (0x81, "AC-3", "AC-3"),
            (0x83, "unknown", "TrueHD"),
            (0x86, "SCTE-35", "DTS-HD"),
            (0xEA, "VC-1", "VC-1"),
            (0x42, "AVS video", "AVS video"),
            (0x2D, "MPEG-H audio", "MPEG-H audio"),
            (0x1C, "MPEG-4 audio", "MPEG-4 audio"),
        ] {
            assert_eq!((classify(kind, none, none).0, classify(kind, none, hdmv).0), (usual, on_disc));
        }
        assert_eq!(classify(0x80, none, hdmv).1, Class::Audio);
        let scte = Descriptors::new(&[0x05, 4, b'S', b'C', b'T', b'E']);
        for (own, program, class) in
            [(none, none, Class::Data), (scte, none, Class::Video), (none, scte, Class::Video)]
        {
            assert_eq!(classify(0x80, own, program).1, class);
        }
    }
}
