//! The buffers of the system target decoder (T-STD, ISO/IEC 13818-1 section 2.4.2) that a stream may fill, by what its
//! parameter sets say.
//!
//! A byte enters the transport buffer TB, which leaks at Rx into the multiplex buffer MB; that leaks at Rbx into the
//! elementary buffer EB, from which an access unit goes at its decoding time. Sound has one buffer B in place of MB and
//! EB. A multiplexer must let none of them overflow, TB be empty once a second, and all of a unit be there in time.
//!
//! Numbers are those of a stream that says nothing of its own decoder buffer (HRD), whose coded picture buffer is then the
//! largest of its level. One that says less has so much more in MB, so that both together are the same.

use crate::wire::av1::Av1Config;
use crate::wire::h264::Sps;
use crate::wire::h265::HevcConfig;

/// Bytes of TB, of every stream (section 2.4.2.3).
pub const TRANSPORT_BYTES: u64 = 512;
/// Rx of sound where nothing else is said, in bits a second (section 2.4.2.3).
const SOUND_BPS: u64 = 2_000_000;
/// B of sound where nothing else is said, in bytes (section 2.4.2.3).
const SOUND_BYTES: u64 = 3584;
/// B of AC-3 and E-AC-3 in bytes: ATSC (A/52 annex A section A.5), DVB (EN 300 468 annex D).
const AC3_BYTES: (u64, u64) = (2592, 5696);
/// Rates below this count as this where MB is measured, in bits a second (section 2.14.3.1).
const BPS_MIN: u64 = 2_000_000;

/// Rates and sizes of a stream's buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Rx: what leaves TB, in bits a second.
    pub transport_bps: u64,
    /// MB in bytes; 0 of sound, which has none.
    pub multiplex_bytes: u64,
    /// Rbx: what leaves MB, in bits a second; 0 of sound.
    pub multiplex_bps: u64,
    /// EB of pictures, B of sound, in bytes.
    pub elementary_bytes: u64,
}

impl Buffers {
    /// Pictures whose level allows `rate_bps` and a coded picture buffer of `buffer_bits`.
    const fn pictures(rate_bps: u64, buffer_bits: u64) -> Buffers {
        let counted = if rate_bps > BPS_MIN { rate_bps } else { BPS_MIN };
        // BSmux, 4 ms, and BSoh, a 750th of a second.
        let multiplex_bits = counted * 4 / 1000 + counted / 750;
        Buffers {
            transport_bps: rate_bps,
            multiplex_bytes: multiplex_bits / 8,
            multiplex_bps: rate_bps,
            elementary_bytes: buffer_bits / 8,
        }
    }

    /// Sound with a buffer of `bytes` that fills at `transport_bps`.
    const fn sound(transport_bps: u64, bytes: u64) -> Buffers {
        Buffers { transport_bps, multiplex_bytes: 0, multiplex_bps: 0, elementary_bytes: bytes }
    }

    /// H.264 (section 2.14.3.1; H.264 tables ). `None`: a level that there is not.
    pub fn of_h264(sps: &Sps) -> Option<Buffers> {
        /// `level_idc`, MaxBR, MaxCPB.
        const LEVELS: [(u8, u64, u64); 20] = [
            (9, 128, 350),
            (10, 64, 175),
            (11, 192, 500),
            (12, 384, 1000),
            (13, 768, 2000),
            (20, 2000, 2000),
            (21, 4000, 4000),
            (22, 4000, 4000),
            (30, 10_000, 10_000),
            (31, 14_000, 14_000),
            (32, 20_000, 20_000),
            (40, 20_000, 25_000),
            (41, 50_000, 62_500),
            (42, 50_000, 62_500),
            (50, 135_000, 135_000),
            (51, 240_000, 240_000),
            (52, 240_000, 240_000),
            (60, 240_000, 240_000),
            (61, 480_000, 480_000),
            (62, 800_000, 800_000),
        ];
        // Level 1b of the older profiles is 1.1 with a flag.
        let is_1b =
            sps.level_idc == 11 && sps.constraints & 0x10 != 0 && matches!(sps.profile_idc, 66 | 77 | 88);
        let level_idc = if is_1b { 9 } else { sps.level_idc };
        let (_, rate, buffer) = *LEVELS.iter().find(|(level, ..)| *level == level_idc)?;
        // cpbBrNalFactor.
        let factor = match sps.profile_idc {
            100 => 1500,
            110 => 3600,
            122 | 244 | 44 => 4800,
            _ => 1200,
        };
        Some(Buffers::pictures(rate * factor, buffer * factor))
    }

    /// HEVC (section 2.17.2; H.265 tables A.8 and A.9). Of profiles beyond Main 10 it is what Main has, and they more: who
    /// keeps to it keeps to theirs. `None`: a level or tier that there is not.
    pub fn of_hevc(config: &HevcConfig) -> Option<Buffers> {
        /// `general_level_idc`, then MaxBR and MaxCPB of both tiers; each rate is that of its buffer in a second.
        const LEVELS: [(u8, u64, Option<u64>); 13] = [
            (30, 128, None),
            (60, 1500, None),
            (63, 3000, None),
            (90, 6000, None),
            (93, 10_000, None),
            (120, 12_000, Some(30_000)),
            (123, 20_000, Some(50_000)),
            (150, 25_000, Some(100_000)),
            (153, 40_000, Some(160_000)),
            (156, 60_000, Some(240_000)),
            (180, 60_000, Some(240_000)),
            (183, 120_000, Some(480_000)),
            (186, 240_000, Some(800_000)),
        ];
        /// BrNalFactor and CpbNalFactor of Main and Main 10.
        const FACTOR: u64 = 1100;
        let (level, main, high) = *LEVELS.iter().find(|(level, ..)| *level == config.level_idc)?;
        let rate = if config.high_tier { high? } else { main };
        // Level 1 alone has a buffer that is not a second of its rate.
        let buffer = if level == 30 { 350 } else { rate };
        Some(Buffers::pictures(rate * FACTOR, buffer * FACTOR))
    }

    /// AV1 (AOM, "Carriage of AV1 in MPEG-2 TS", section 3.6.2; AV1 annex A.3). `None`: a level that there is not, or that
    /// has no bounds.
    pub fn of_av1(config: &Av1Config) -> Option<Buffers> {
        /// `seq_level_idx`, then MainMbps and HighMbps in hundreds of kbit/s.
        const LEVELS: [(u8, u64, Option<u64>); 14] = [
            (0, 15, None),
            (1, 30, None),
            (4, 60, None),
            (5, 100, None),
            (8, 120, Some(300)),
            (9, 200, Some(500)),
            (12, 300, Some(1000)),
            (13, 400, Some(1600)),
            (14, 600, Some(2400)),
            (15, 600, Some(2400)),
            (16, 600, Some(2400)),
            (17, 1000, Some(4800)),
            (18, 1600, Some(8000)),
            (19, 1600, Some(8000)),
        ];
        let (_, main, high) = *LEVELS.iter().find(|(level, ..)| *level == config.level_idx)?;
        let of_level = if config.high_tier { high? } else { main } * 100_000;
        // BitRateProfileFactor; the buffer is a second of the rate.
        let rate = of_level * (u64::from(config.profile.min(2)) + 1);
        // The draft counts a tenth more for everything in front of EB, and a tenth of EB in MB.
        let around = Buffers::pictures(rate * 11 / 10, rate);
        Some(Buffers { multiplex_bytes: around.multiplex_bytes + rate / 80, ..around })
    }

    /// AAC with so many channels, in ADTS or LATM (section 2.4.2.3).
    pub const fn of_aac(channels: u32) -> Buffers {
        match channels {
            0..=2 => Buffers::sound(SOUND_BPS, SOUND_BYTES),
            3..=8 => Buffers::sound(5_529_600, 8976),
            9..=12 => Buffers::sound(8_294_400, 12_804),
            _ => Buffers::sound(33_177_600, 51_216),
        }
    }

    /// AC-3 and E-AC-3, as DVB says or else ATSC.
    pub const fn of_ac3(dvb: bool) -> Buffers {
        Buffers::sound(SOUND_BPS, if dvb { AC3_BYTES.1 } else { AC3_BYTES.0 })
    }

    /// MPEG audio, and sound of which nothing is said.
    pub const fn of_sound() -> Buffers {
        Buffers::sound(SOUND_BPS, SOUND_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::h264::sps_of_avcc;
    use crate::wire::hex;

    #[test]
    fn pictures_of_h264() {
        let record =
            hex("0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000468efbcb0fdf8f800");
        let any = Sps::parse(sps_of_avcc(&record).unwrap()).unwrap();
        let of = |profile_idc, constraints, level_idc| {
            Buffers::of_h264(&Sps { profile_idc, constraints, level_idc, ..any })
        };
        // Main 4.0: 24 Mbit/s, a buffer of 30 Mbit, 96 kbit and 32 kbit around it.
        let main = Buffers {
            transport_bps: 24_000_000,
            multiplex_bytes: (96_000 + 32_000) / 8,
            multiplex_bps: 24_000_000,
            elementary_bytes: 3_750_000,
        };
        assert_eq!(of(77, 0, 40), Some(main));
        let rates = [(66, 0, 10), (66, 0x10, 11), (66, 0, 11), (100, 0x10, 11), (100, 0, 9), (100, 0, 41)]
            .map(|(profile, flags, level)| of(profile, flags, level).unwrap().transport_bps);
        assert_eq!(rates, [76_800, 153_600, 230_400, 288_000, 192_000, 75_000_000]);
        assert_eq!(
            [of(122, 0, 51).unwrap().elementary_bytes, of(110, 0, 30).unwrap().elementary_bytes],
            [144_000_000, 4_500_000]
        );
        // A slow one has as much around it as one of 2 Mbit/s.
        assert_eq!(of(66, 0, 10).unwrap().multiplex_bytes, (8000 + 2666) / 8);
        assert_eq!((of(77, 0, 0), of(77, 0, 33)), (None, None));
    }

    #[test]
    fn pictures_of_hevc_and_av1() {
        let hevc = |level_idc, high_tier| {
            let of = Buffers::of_hevc(&HevcConfig { profile_idc: 1, high_tier, level_idc, size: None })?;
            Some((of.transport_bps, of.elementary_bytes))
        };
        assert_eq!(hevc(30, false), Some((140_800, 350 * 1100 / 8)));
        assert_eq!(hevc(120, false), Some((13_200_000, 1_650_000)));
        assert_eq!(hevc(153, true), Some((176_000_000, 22_000_000)));
        assert_eq!((hevc(93, true), hevc(94, false)), (None, None), "no such tier, no such level");
        let av1 = |profile, level_idx, high_tier| {
            let config = Av1Config { profile, level_idx, high_tier, bit_depth: 8, size: None };
            let of = Buffers::of_av1(&config)?;
            Some((of.transport_bps, of.multiplex_bytes, of.elementary_bytes))
        };
        // 4.0 of the Main profile: 12 Mbit/s; 13.2 into MB, which has 52 800 + 17 600 bits, and 150 kB of EB.
        assert_eq!(av1(0, 8, false), Some((13_200_000, 8800 + 150_000, 1_500_000)));
        assert_eq!(av1(1, 8, true).map(|of| of.2), Some(7_500_000));
        assert_eq!((av1(0, 31, false), av1(0, 2, false), av1(0, 5, true)), (None, None, None));
    }

    #[test]
    fn sound() {
        let bytes = [2, 6, 12, 13].map(|channels| Buffers::of_aac(channels).elementary_bytes);
        assert_eq!(bytes, [3584, 8976, 12_804, 51_216]);
        let ac3 = [false, true].map(|dvb| Buffers::of_ac3(dvb).elementary_bytes);
        assert_eq!((ac3, Buffers::of_sound()), ([2592, 5696], Buffers::of_aac(2)));
        assert_eq!((TRANSPORT_BYTES, Buffers::of_aac(6).transport_bps), (512, 5_529_600));
    }
}
