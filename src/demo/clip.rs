//! The clip: FLV tags of a file that is compiled in.

/// Milliseconds after which the clip begins again: 200 frames at 25 a second, 375 AAC frames at 48 kHz.
pub(super) const LOOP_MS: u32 = 8000;

static FILE: &[u8] = include_bytes!("../../assets/demo.flv");
/// FLV file header and the first PreviousTagSize (FLV specification 1.0, annex E.2 and E.3).
const FILE_HEADER_BYTES: usize = 9 + 4;
/// FLV tag header (annex E.4.1).
const TAG_HEADER_BYTES: usize = 11;
/// AVCPacketType and AACPacketType of a sequence header.
const SEQUENCE_HEADER: u8 = 0;
/// AVCPacketType of the end of a sequence, which a loop has not.
const SEQUENCE_END: u8 = 2;

/// FLV tag type and RTMP message type of audio.
pub(super) const AUDIO: u8 = 8;
/// FLV tag type and RTMP message type of video.
pub(super) const VIDEO: u8 = 9;

/// One audio or video tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    /// [`AUDIO`] or [`VIDEO`].
    pub(super) kind: u8,
    /// Milliseconds within the clip, below [`LOOP_MS`].
    pub(super) dts_ms: u32,
    /// Tag body.
    pub(super) body: &'static [u8],
}

impl Tag {
    /// Whether it only configures the decoder.
    pub(super) fn is_config(&self) -> bool {
        self.packet_type() == Some(SEQUENCE_HEADER)
    }

    fn packet_type(&self) -> Option<u8> {
        self.body.get(1).copied()
    }
}

/// The clip's tags in file order. What lies at or behind the loop point (the encoder's padding) is left out.
pub(super) fn tags() -> impl Iterator<Item = Tag> {
    let mut rest = FILE.get(FILE_HEADER_BYTES..).unwrap_or_default();
    let all = std::iter::from_fn(move || {
        let &[kind, s0, s1, s2, t0, t1, t2, t3, ..] = rest.first_chunk::<TAG_HEADER_BYTES>()?;
        let length = u32::from_be_bytes([0, s0, s1, s2]) as usize;
        let body = rest.get(TAG_HEADER_BYTES..TAG_HEADER_BYTES + length)?;
        rest = rest.get(TAG_HEADER_BYTES + length + 4..).unwrap_or_default();
        Some(Tag { kind, dts_ms: u32::from_be_bytes([t3, t0, t1, t2]), body })
    });
    all.filter(|tag| {
        let media = tag.kind == AUDIO || tag.kind == VIDEO;
        let end = tag.kind == VIDEO && tag.packet_type() == Some(SEQUENCE_END);
        media && !end && tag.dts_ms < LOOP_MS
    })
}
