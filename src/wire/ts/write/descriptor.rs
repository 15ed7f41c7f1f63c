//! Descriptors (ISO/IEC 13818-1 section 2.6, ETSI EN 300 468 section 6 and annex D): tag, length, content.

use super::section::dvb_text;

/// `format_identifier` of a registration descriptor.
pub mod format {
    /// HEVC.
    pub const HEVC: [u8; 4] = *b"HEVC";
    /// AC-3 (ATSC A/52 annex A).
    pub const AC3: [u8; 4] = *b"AC-3";
    /// E-AC-3.
    pub const EAC3: [u8; 4] = *b"EAC3";
    /// Opus.
    pub const OPUS: [u8; 4] = *b"Opus";
    /// AV1.
    pub const AV1: [u8; 4] = *b"AV01";
}

/// Descriptor tags.
mod tag {
    pub const REGISTRATION: u8 = 0x05;
    pub const ISO_639_LANGUAGE: u8 = 0x0A;
    pub const HEVC_VIDEO: u8 = 0x38;
    pub const NETWORK_NAME: u8 = 0x40;
    pub const SERVICE_LIST: u8 = 0x41;
    pub const SERVICE: u8 = 0x48;
    pub const AC3: u8 = 0x6A;
    pub const PRIVATE_DATA_SPECIFIER: u8 = 0x5F;
    pub const EAC3: u8 = 0x7A;
    pub const AAC: u8 = 0x7C;
    pub const EXTENSION: u8 = 0x7F;
    /// Private: what it means, the specifier in front of it says.
    pub const AV1_VIDEO: u8 = 0x80;
}

/// `service_type` of digital television: of everything that has pictures, or may get some.
pub const SERVICE_TV: u8 = 0x01;

/// Registration: what a stream of a private type is.
pub const fn registration(format: [u8; 4]) -> [u8; 6] {
    let [a, b, c, d] = format;
    [tag::REGISTRATION, 4, a, b, c, d]
}

/// ISO 639 language: three letters of ISO 639-2, `und` where nobody knows; audio type 0 ("undefined").
pub const fn language(code: [u8; 3]) -> [u8; 6] {
    let [a, b, c] = code;
    [tag::ISO_639_LANGUAGE, 4, a, b, c, 0]
}

/// AC-3 as DVB signals it, with stream type 6 (EN 300 468 annex D.3); none of the optional fields.
pub const fn ac3() -> [u8; 3] {
    [tag::AC3, 1, 0]
}

/// E-AC-3 likewise (annex D.5).
pub const fn eac3() -> [u8; 3] {
    [tag::EAC3, 1, 0]
}

/// AAC in DVB (annex H.2.1): `profile_and_level` of ISO/IEC 14496-3 table 1.14, and nothing more.
pub const fn aac(profile_and_level: u8) -> [u8; 3] {
    [tag::AAC, 1, profile_and_level]
}

/// Opus: extension 0x80 with the channel configuration code (see [`super::opus`]).
pub const fn opus(channel_config: u8) -> [u8; 4] {
    [tag::EXTENSION, 2, 0x80, channel_config]
}

/// HEVC video (ISO/IEC 13818-1 section 2.6.95) as an `hvcC` record says; `None` if it is too short.
pub fn hevc_video(record: &[u8]) -> Option<[u8; 15]> {
    let profile_to_level = record.get(1..13)?.first_chunk::<12>()?;
    let mut out = [0; 15];
    let [tag, length, body @ .., last] = &mut out;
    (*tag, *length) = (tag::HEVC_VIDEO, 13);
    *body = *profile_to_level;
    // No temporal sub-layers of its own, no still or 24-hour pictures; no sub-picture HRD; dynamic range not said.
    *last = 0x1F;
    Some(out)
}

/// AV1 video (AOM, "Carriage of AV1 in MPEG-2 TS", section 2.2) as an `av1C` record says, behind the specifier by which
/// DVB knows whose private descriptor it is (EN 300 468 section 6.2.31, the AOM's number); `None` if it is no such record.
pub fn av1_video(record: &[u8]) -> Option<[u8; 12]> {
    let [a, b, c, d] = super::av1::descriptor_body(record)?;
    let [s0, s1, s2, s3] = *b"AOMS";
    Some([tag::PRIVATE_DATA_SPECIFIER, 4, s0, s1, s2, s3, tag::AV1_VIDEO, 4, a, b, c, d])
}

/// Service: type, provider and name (EN 300 468 section 6.2.33). Texts that do not fit are cut.
pub fn service(service_type: u8, provider: &str, name: &str) -> Vec<u8> {
    // 255 bytes: the type and two lengths, a provider, a name.
    let provider = dvb_text(provider, 64);
    let name = dvb_text(name, 255 - 3 - provider.len());
    let mut out = vec![tag::SERVICE, (3 + provider.len() + name.len()) as u8, service_type];
    for text in [provider, name] {
        out.push(text.len() as u8);
        out.extend(text);
    }
    out
}

/// Network name (section 6.2.27).
pub fn network_name(name: &str) -> Vec<u8> {
    let name = dvb_text(name, 255);
    let mut out = vec![tag::NETWORK_NAME, name.len() as u8];
    out.extend(name);
    out
}

/// Service list (section 6.2.35): services, each with its type; those beyond 85 are left out.
pub fn service_list(services: &[(u16, u8)]) -> Vec<u8> {
    let listed = services.iter().take(255 / 3);
    let mut out = vec![tag::SERVICE_LIST, (listed.len() * 3) as u8];
    for (id, service_type) in listed {
        out.extend(id.to_be_bytes());
        out.push(*service_type);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_ffmpeg_writes_them() {
        assert_eq!(registration(format::AC3), [5, 4, 0x41, 0x43, 0x2D, 0x33]);
        assert_eq!(registration(format::HEVC), [5, 4, 0x48, 0x45, 0x56, 0x43]);
        assert_eq!(language(*b"und"), [0x0A, 4, 0x75, 0x6E, 0x64, 0]);
        assert_eq!(opus(2), [0x7F, 2, 0x80, 2]);
        assert_eq!((ac3(), eac3()), ([0x6A, 1, 0], [0x7A, 1, 0]), "no optional field");
        let seen = b"\x48\x12\x01\x06FFmpeg\x09Service01";
        assert_eq!(service(SERVICE_TV, "FFmpeg", "Service01"), seen);
    }

    #[test]
    fn hevc_takes_profile_tier_and_level() {
        let mut record = [0u8; 23];
        record[..13].copy_from_slice(&[1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3C]);
        let written = hevc_video(&record).unwrap();
        assert_eq!(written, [0x38, 13, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 0x3C, 0x1F]);
        assert_eq!(hevc_video(&record[..12]), None);
    }

    #[test]
    fn texts_that_do_not_fit_are_cut() {
        let long = service(SERVICE_TV, &"p".repeat(300), &"ü".repeat(300));
        assert_eq!(usize::from(long[1]) + 2, long.len());
        assert!((250..=257).contains(&long.len()));
        assert_eq!(service_list(&vec![(1, 1); 100]).len(), 2 + 85 * 3);
    }
}
