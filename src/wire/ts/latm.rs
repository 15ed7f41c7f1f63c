//! AAC in LOAS/LATM (ISO/IEC 14496-3 sections 1.7.2 and 1.7.3): the audio sync stream, whose elements tell their own
//! configuration, as broadcasters send it.
//!
//! Read is what they use: one program with one layer, frames that tell their length. Of the configuration the object
//! types Main, LC, SSR and LTP are understood, with or without SBR and PS.

use crate::wire::aac::FREQUENCIES_HZ;
use crate::wire::bits::BitReader;

/// Bytes of the sync word and the length in front of an element.
pub const HEADER_BYTES: usize = 3;
/// Bytes of an AudioSpecificConfig that are kept; those in use have 2 to 7.
const CONFIG_BYTES_MAX: u32 = 64;
/// Bytes of one frame: as many as one of ADTS can have.
const FRAME_BYTES_MAX: usize = 1 << 13;

/// One element of an audio sync stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loas<'a> {
    /// The AudioMuxElement.
    pub element: &'a [u8],
    /// Bytes of both.
    pub bytes: usize,
}

impl<'a> Loas<'a> {
    /// Bytes of the element that `bytes` begins with, its header included. `None`: it is none, or less than
    /// [`HEADER_BYTES`].
    pub fn length(bytes: &[u8]) -> Option<usize> {
        let &[b0, b1, b2] = bytes.first_chunk()?;
        let synced = b0 == 0x56 && b1 & 0xE0 == 0xE0;
        synced.then_some(HEADER_BYTES + (usize::from(b1 & 0x1F) << 8 | usize::from(b2)))
    }

    /// Reads the element that `bytes` begins with. `None`: it is none, or not whole.
    pub fn parse(bytes: &'a [u8]) -> Option<Loas<'a>> {
        let length = Loas::length(bytes)?;
        Some(Loas { element: bytes.get(HEADER_BYTES..length)?, bytes: length })
    }
}

/// Why an element cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLatm {
    /// It ends early, or contradicts itself.
    Malformed,
    /// It uses the configuration of an element before, and there was none.
    NotYet,
    /// It is of a kind that is not read: several programs or layers, a fixed frame length, another audio object type.
    Unsupported,
}

/// What the elements of a stream are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MuxConfig {
    /// The AudioSpecificConfig.
    pub config: Vec<u8>,
    /// Samples a second of the core coder.
    pub sample_rate_hz: u32,
    /// Samples of a frame at that rate: 1024 or 960.
    pub frame_samples: u32,
    /// Frames of an element.
    frames: u32,
}

/// Reads an element, whose configuration replaces `config` if it has one. `tell` gets each frame.
///
/// # Errors
/// It cannot be read; frames that were told before that are whole.
pub fn read(
    element: &[u8],
    config: &mut Option<MuxConfig>,
    mut tell: impl FnMut(&MuxConfig, &[u8]),
) -> Result<(), NotLatm> {
    let mut r = BitReader::new(element);
    if !r.bit().ok_or(NotLatm::Malformed)? {
        *config = None;
        *config = Some(mux_config(&mut r)?);
    }
    let mux = config.as_ref().ok_or(NotLatm::NotYet)?;
    let mut frame = Vec::new();
    for _ in 0..mux.frames {
        let mut length = 0;
        loop {
            let more = r.bits(8).ok_or(NotLatm::Malformed)?;
            length += more as usize;
            if length > FRAME_BYTES_MAX {
                return Err(NotLatm::Malformed);
            }
            if more < 255 {
                break;
            }
        }
        frame.clear();
        for _ in 0..length {
            frame.push(r.bits(8).ok_or(NotLatm::Malformed)? as u8);
        }
        if !frame.is_empty() {
            tell(mux, &frame);
        }
    }
    Ok(())
}

/// StreamMuxConfig (table 1.42).
fn mux_config(r: &mut BitReader<'_>) -> Result<MuxConfig, NotLatm> {
    let version = r.bit().ok_or(NotLatm::Malformed)?;
    if version && r.bit().ok_or(NotLatm::Malformed)? {
        return Err(NotLatm::Unsupported); // audioMuxVersionA
    }
    if version {
        value(r).ok_or(NotLatm::Malformed)?; // taraBufferFullness
    }
    let same_framing = r.bit().ok_or(NotLatm::Malformed)?;
    let frames = r.bits(6).ok_or(NotLatm::Malformed)? + 1;
    let (programs, layers) = (r.bits(4), r.bits(3));
    match (programs, layers) {
        (Some(0), Some(0)) if same_framing => {}
        (_, None) => return Err(NotLatm::Malformed),
        _ => return Err(NotLatm::Unsupported),
    }
    let told_bits = if version { Some(value(r).ok_or(NotLatm::Malformed)?) } else { None };
    let (mut copy, before) = (r.clone(), r.left());
    let (sample_rate_hz, frame_samples) = audio_config(r)?;
    let used = (before - r.left()) as u32;
    let bits = told_bits.unwrap_or(used);
    if bits > CONFIG_BYTES_MAX * 8 {
        return Err(NotLatm::Malformed);
    }
    r.skip(bits.checked_sub(used).ok_or(NotLatm::Malformed)?).ok_or(NotLatm::Malformed)?;
    let mut config = Vec::new();
    let mut left = bits;
    while left > 0 {
        let take = left.min(8);
        let part = copy.bits(take).ok_or(NotLatm::Malformed)?;
        config.push((part << (8 - take)) as u8);
        left -= take;
    }
    // frameLengthType 0: each frame tells its own.
    match r.bits(3) {
        Some(0) => r.skip(8).ok_or(NotLatm::Malformed)?, // latmBufferFullness
        Some(_) => return Err(NotLatm::Unsupported),
        None => return Err(NotLatm::Malformed),
    }
    behind_layers(r, version).ok_or(NotLatm::Malformed)?;
    Ok(MuxConfig { config, sample_rate_hz, frame_samples, frames })
}

/// The end of a StreamMuxConfig: how much other data stands behind the frames, where nothing is read any more, and a sum.
fn behind_layers(r: &mut BitReader<'_>, version: bool) -> Option<()> {
    if r.bit()? {
        if version {
            value(r)?;
        } else {
            while r.bit()? {
                r.skip(8)?;
            }
            r.skip(8)?;
        }
    }
    if r.bit()? {
        r.skip(8)?;
    }
    Some(())
}

/// LatmGetValue (table 1.43).
fn value(r: &mut BitReader<'_>) -> Option<u32> {
    let bytes = r.bits(2)? + 1;
    r.bits(bytes * 8)
}

/// Reads past an AudioSpecificConfig (table 1.15) and says the core's rate and the samples of a frame.
fn audio_config(r: &mut BitReader<'_>) -> Result<(u32, u32), NotLatm> {
    let mut object_type = r.bits(5).ok_or(NotLatm::Malformed)?;
    let rate = frequency(r)?;
    let channels = r.bits(4).ok_or(NotLatm::Malformed)?;
    if matches!(object_type, 5 | 29) {
        frequency(r)?;
        object_type = r.bits(5).ok_or(NotLatm::Malformed)?;
    }
    // A program config element, and what other object types have here, is not read.
    if !(1..=4).contains(&object_type) || channels == 0 {
        return Err(NotLatm::Unsupported);
    }
    let short = r.bit().ok_or(NotLatm::Malformed)?;
    if r.bit().ok_or(NotLatm::Malformed)? {
        r.skip(14).ok_or(NotLatm::Malformed)?; // coreCoderDelay
    }
    r.bit().ok_or(NotLatm::Malformed)?; // extensionFlag, which means nothing for these types
    Ok((rate, if short { 960 } else { 1024 }))
}

/// Bits of an AudioSpecificConfig up to the end of its core: without extensions behind a sync word.
///
/// # Errors
/// It is one of those that are not read here.
pub fn config_bits(config: &[u8]) -> Result<u32, NotLatm> {
    let mut r = BitReader::new(config);
    let before = r.left();
    audio_config(&mut r)?;
    Ok((before - r.left()) as u32)
}

fn frequency(r: &mut BitReader<'_>) -> Result<u32, NotLatm> {
    match r.bits(4) {
        Some(15) => r.bits(24).filter(|hz| *hz > 0).ok_or(NotLatm::Malformed),
        Some(index) => FREQUENCIES_HZ.get(index as usize).copied().ok_or(NotLatm::Malformed),
        None => Err(NotLatm::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bits, written as text, as bytes; what is missing to a whole one is zero.
    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        bits.chunks(8).map(|c| c.iter().enumerate().fold(0, |byte, (i, bit)| byte | bit << (7 - i))).collect()
    }

    /// An element with its own configuration: one frame of three bytes.
    fn element(version: &str, config: &str) -> Vec<u8> {
        bytes(&format!(
            "0 {version} 1 000000 0000 000 {config} 000 11111111 0 0 00000011 00000001 00000010 00000100"
        ))
    }

    fn frames(elements: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, NotLatm> {
        let (mut config, mut found) = (None, Vec::new());
        for element in elements {
            read(element, &mut config, |_, frame| found.push(frame.to_vec()))?;
        }
        Ok(found)
    }

    #[test]
    fn configurations() {
        // LC, 48 kHz, stereo; then the same with SBR in front, and in version 1 with its length.
        for (what, version, config, expected, rate) in [
            ("LC", "0", "00010 0011 0010 000", &[0x11, 0x90][..], 48_000),
            ("HE", "0", "00101 0110 0010 0011 00010 000", &[0x2B, 0x11, 0x88, 0x00], 24_000),
            (
                "LC, longer than it is",
                "1 0 00 11111111",
                "00 00011000 00010 0011 0010 000 00000000",
                &[0x11, 0x90, 0],
                48_000,
            ),
        ] {
            // The length of the configuration stands behind the numbers of programs and layers.
            let (mut mux, mut found) = (None, Vec::new());
            let element = element(version, config);
            read(&element, &mut mux, |_, frame| found.push(frame.to_vec())).unwrap();
            let mux = mux.unwrap();
            assert_eq!(
                (mux.config.as_slice(), mux.sample_rate_hz, mux.frame_samples),
                (expected, rate, 1024),
                "{what}"
            );
            assert_eq!(found, [[1, 2, 4]], "{what}");
        }
    }

    #[test]
    fn later_elements_use_the_configuration_before() {
        let same = bytes("1 00000010 00001010 00001011");
        let first = element("0", "00010 0011 0010 000");
        assert_eq!(frames(&[first.clone(), same.clone()]).unwrap(), [vec![1, 2, 4], vec![10, 11]]);
        assert_eq!(frames(&[same]), Err(NotLatm::NotYet));
        assert_eq!(frames(&[first[..6].to_vec()]), Err(NotLatm::Malformed));
        assert_eq!(frames(&[element("0", "11100 0011 0010 000")]), Err(NotLatm::Unsupported));
        assert_eq!(
            frames(&[element("0", "00010 0011 0000 000")]),
            Err(NotLatm::Unsupported),
            "elements tell"
        );
        assert_eq!(frames(&[element("0", "00010 1101 0010 000")]), Err(NotLatm::Malformed));
    }

    #[test]
    fn sync() {
        let stream = [0x56, 0xE0, 2, 9, 8, 0x56];
        assert_eq!(Loas::parse(&stream), Some(Loas { element: &[9, 8], bytes: 5 }));
        assert_eq!((Loas::parse(&stream[..4]), Loas::length(&stream)), (None, Some(5)));
        assert_eq!(Loas::parse(&[0x56, 0xC0, 0]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(elements in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4)) {
            let _ = frames(&elements);
        }
    }
}
