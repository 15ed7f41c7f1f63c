//! MPEG transport streams (ISO/IEC 13818-1) with the tables of DVB (ETSI EN 300 468): packets, sections, PES.
//!
//! What reads stands beside what writes, in files of one name each: [`crc`] is common to both.

pub mod ac3;
pub mod adts;
pub mod annexb;
pub mod av1;
pub mod crc;
pub mod cut;
pub mod descriptor;
pub mod framing;
pub mod latm;
pub mod mpeg_audio;
pub mod opus;
pub mod packet;
pub mod pes;
pub mod section;
pub mod tables;
pub mod text;
pub mod tstd;
pub mod write;

/// Bytes of a packet.
pub const PACKET_BYTES: usize = 188;
/// First byte of every packet.
pub const SYNC_BYTE: u8 = 0x47;
/// Ticks of the 27 MHz clock that PCR counts, in one tick of the 90 kHz clock of PTS and DTS.
pub const PCR_TICKS: u64 = 300;
/// Values of a PTS, a DTS or the base of a PCR: 33 bits, some 26.5 hours.
pub const CLOCK_MODULUS: u64 = 1 << 33;

/// PIDs that exist: they have 13 bits.
pub const PIDS: usize = 1 << 13;

/// Packet identifiers with a fixed meaning.
pub mod pid {
    /// Program association table.
    pub const PAT: u16 = 0x0000;
    /// Conditional access table.
    pub const CAT: u16 = 0x0001;
    /// Network information table.
    pub const NIT: u16 = 0x0010;
    /// Service description and bouquet association tables.
    pub const SDT: u16 = 0x0011;
    /// Event information table.
    pub const EIT: u16 = 0x0012;
    /// Time and date, and time offset tables.
    pub const TDT: u16 = 0x0014;
    /// The tables of ATSC (A/65 section 4.4): services, events, time.
    pub const ATSC: u16 = 0x1FFB;
    /// Packets that only fill.
    pub const NULL: u16 = 0x1FFF;
}

/// `stream_type` of a PMT (ISO/IEC 13818-1 table 2-34, ATSC A/53 for the two last).
pub mod stream_type {
    /// MPEG-2 video.
    pub const MPEG2_VIDEO: u8 = 0x02;
    /// MPEG-1 audio, layers 1 to 3.
    pub const MPEG1_AUDIO: u8 = 0x03;
    /// MPEG-2 audio with low sampling rates.
    pub const MPEG2_AUDIO: u8 = 0x04;
    /// PES with private data: what it is, descriptors say.
    pub const PRIVATE: u8 = 0x06;
    /// AAC in ADTS.
    pub const AAC_ADTS: u8 = 0x0F;
    /// AAC in LOAS/LATM.
    pub const AAC_LATM: u8 = 0x11;
    /// H.264.
    pub const H264: u8 = 0x1B;
    /// HEVC.
    pub const HEVC: u8 = 0x24;
    /// AC-3.
    pub const AC3: u8 = 0x81;
    /// E-AC-3.
    pub const EAC3: u8 = 0x87;
}
