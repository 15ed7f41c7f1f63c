//! AAC in ADTS (ISO/IEC 14496-3 section 1.A.2.2, header of seven bytes, no CRC): what a stream's one
//! AudioSpecificConfig says is repeated in front of every frame.

use crate::wire::aac::AacConfig;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 7;
/// `aac_frame_length` has 13 bits.
const FRAME_BYTES_MAX: usize = (1 << 13) - 1;
/// Sampling frequencies by index (table 1.18).
const FREQUENCIES_HZ: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// Why an AudioSpecificConfig cannot be told in ADTS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdts {
    /// It is not one.
    Malformed,
    /// Two bits hold the object types Main, LC, SSR and LTP (with or without SBR and PS).
    Profile,
    /// The core's sampling frequency is not in the table.
    Frequency,
    /// Three bits hold the channel configurations 1 to 7; others are told in a program config element.
    Channels,
}

impl NotAdts {
    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            NotAdts::Malformed => "the AAC configuration cannot be read",
            NotAdts::Profile => "ADTS has no number for this AAC profile",
            NotAdts::Frequency => "ADTS has no number for this AAC sampling frequency",
            NotAdts::Channels => "ADTS has no number for this AAC channel layout",
        }
    }
}

/// How a track's frames become ADTS frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adts {
    profile: u8,
    frequency_index: u8,
    channel_configuration: u8,
}

impl Adts {
    /// As an AudioSpecificConfig says. SBR and PS are not told: decoders find them in the frames.
    ///
    /// # Errors
    /// ADTS cannot say it.
    pub fn of_config(config: &[u8]) -> Result<Adts, NotAdts> {
        let config = AacConfig::parse(config).ok_or(NotAdts::Malformed)?;
        if !(1..=4).contains(&config.object_type) {
            return Err(NotAdts::Profile);
        }
        let frequency_index = FREQUENCIES_HZ
            .iter()
            .position(|hz| *hz == config.core_sample_rate_hz)
            .ok_or(NotAdts::Frequency)?;
        if !(1..=7).contains(&config.channel_configuration) {
            return Err(NotAdts::Channels);
        }
        Ok(Adts {
            profile: (config.object_type - 1) as u8,
            frequency_index: frequency_index as u8,
            channel_configuration: config.channel_configuration as u8,
        })
    }

    /// The header in front of a frame of `frame` bytes. `None` if it is larger than any AAC frame.
    pub fn header(&self, frame: usize) -> Option<[u8; HEADER_BYTES]> {
        let length = Some(frame + HEADER_BYTES).filter(|length| *length <= FRAME_BYTES_MAX)? as u16;
        let [_, high] = (length >> 11).to_be_bytes();
        Some([
            0xFF,
            // MPEG-4, no CRC.
            0xF1,
            self.profile << 6 | self.frequency_index << 2 | self.channel_configuration >> 2,
            (self.channel_configuration & 3) << 6 | high,
            (length >> 3) as u8,
            // Buffer fullness: variable rate. One block of samples.
            ((length & 7) as u8) << 5 | 0x1F,
            0xFC,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_ffmpeg() {
        // From its AAC file: LC, 48 kHz, stereo; frames of 137 and 125 bytes with their headers.
        let adts = Adts::of_config(&[0x11, 0x90, 0x56, 0xE5, 0]).unwrap();
        assert_eq!(adts.header(130), Some([0xFF, 0xF1, 0x4C, 0x80, 0x11, 0x3F, 0xFC]));
        assert_eq!(adts.header(118), Some([0xFF, 0xF1, 0x4C, 0x80, 0x0F, 0xBF, 0xFC]));
        assert_eq!(adts.header(8184), Some([0xFF, 0xF1, 0x4C, 0x83, 0xFF, 0xFF, 0xFC]));
        assert_eq!(adts.header(8185), None);
    }

    #[test]
    fn the_core_is_told_and_sbr_is_not() {
        for (config, expected) in [
            // Hierarchical SBR, 22.05 kHz core; 5.1 in 48 kHz; 7.1 (configuration 7).
            (&[0x2B, 0x92, 0x08, 0x00][..], Ok([1, 7, 2])),
            (&[0x11, 0xB0], Ok([1, 3, 6])),
            (&[0x11, 0xB8], Ok([1, 3, 7])),
            // A program config element; 47 999 Hz; ELD; nothing.
            (&[0x11, 0x80, 0x04, 0xC4, 0x01, 0x00, 0x20, 0x00], Err(NotAdts::Channels)),
            (&[0x17, 0x80, 0x5D, 0xBF, 0x88, 0x00], Err(NotAdts::Frequency)),
            (&[0xF8, 0xE6, 0x20, 0x00], Err(NotAdts::Profile)),
            (&[], Err(NotAdts::Malformed)),
        ] {
            let told = Adts::of_config(config);
            let told = told.map(|a| [a.profile, a.frequency_index, a.channel_configuration]);
            assert_eq!(told, expected, "{config:02x?}");
        }
    }
}
