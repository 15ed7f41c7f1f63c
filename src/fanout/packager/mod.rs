//! Packagers: how a frame becomes one entry of a log, and back. Every format has the same functions.
//!
//! `entry_len` and `pack` write a frame's entry, `unpack` reads it again (a format that opens late is fed from a log
//! that is already there), `configuration` packs the headers that a reader needs before its first entry. None of
//! them knows a subscriber. What surrounds media on a connection (heads, status messages) is the egress's.

pub mod flv;
pub mod rtmp;

use super::log::{Format, LogWriter, Variant};
use crate::media::config_set::ConfigSet;
use crate::media::{Frame, Kind};
use bytes::Bytes;

/// Whether the entry of `frame` could be written; false only if it is larger than any segment may be.
#[must_use]
pub fn pack(format: Format, log: &mut LogWriter, frame: &Frame) -> bool {
    match format {
        Format::Rtmp => rtmp::pack(log, frame),
        Format::Flv => flv::pack(log, frame),
    }
}

/// Kind, decoding time and body of an entry; the body shares the entry's memory where the format keeps it in one
/// piece. `None` if `entry` is not one of this format.
pub fn unpack(format: Format, entry: &Bytes) -> Option<(Kind, u32, Bytes)> {
    match format {
        Format::Rtmp => rtmp::unpack(entry),
        Format::Flv => flv::unpack(entry),
    }
}

/// How many bytes [`unpack`] had to copy to give `body`.
pub fn reassembled_bytes(format: Format, body: &Bytes) -> u64 {
    match format {
        Format::Rtmp if body.len() > rtmp::CHUNK_SIZE => body.len() as u64,
        Format::Rtmp | Format::Flv => 0,
    }
}

/// Appends metadata, sequence headers and colour/channel configuration, each stamped with `dts_ms`.
pub fn configuration(format: Format, config: &ConfigSet, variant: Variant, dts_ms: u32, out: &mut Vec<u8>) {
    let Variant { audio, video, strip } = variant;
    let metadata = config.metadata.iter().map(|body| (Kind::Data, body));
    let entries = config.iter_for(audio, video, strip).map(|entry| (entry.kind, &entry.body));
    for (kind, body) in metadata.chain(entries) {
        match format {
            Format::Rtmp => rtmp::append(kind, dts_ms, body, out),
            Format::Flv => flv::append(kind, dts_ms, body, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::log::LogId;
    use crate::fanout::segment::Entry;
    use crate::fanout::slice::LogSlice;
    use crate::media::Mono;

    #[test]
    fn what_is_packed_unpacks_to_the_same_frame() {
        for format in [Format::Rtmp, Format::Flv] {
            let mut log = LogWriter::new(LogId(0));
            let mut frames = Vec::new();
            for (i, len) in [1usize, 11, 65_535, 65_536, 65_537, 200_000].into_iter().enumerate() {
                for dts_ms in [0, 0xFF_FFFE, 0xFF_FFFF, 0x0100_0000, u32::MAX] {
                    let kind = [Kind::Audio, Kind::Video, Kind::Data][i % 3];
                    let body: Vec<u8> = (0..len).map(|b| (b * 7 + i) as u8).collect();
                    let frame = Frame {
                        kind,
                        dts_ms,
                        body: body.into(),
                        first_byte_at: Mono::ZERO,
                        complete_at: Mono::ZERO,
                    };
                    assert!(pack(format, &mut log, &frame));
                    assert!(log.commit(Mono::ZERO, Entry::default(), None));
                    frames.push(frame);
                }
            }
            let snapshot = log.snapshot();
            let entries = snapshot.segments.iter().flat_map(|s| {
                (0..s.published()).map(|i| {
                    let range = s.start_of(i).unwrap()..s.entry(i).unwrap().end;
                    Bytes::from(LogSlice::new(s, range).unwrap())
                })
            });
            let mut count = 0;
            for (bytes, frame) in entries.zip(&frames) {
                let (kind, dts_ms, body) = unpack(format, &bytes).unwrap();
                assert_eq!((kind, dts_ms), (frame.kind, frame.dts_ms));
                assert!(body == frame.body, "{format:?} {} bytes at {dts_ms}", frame.body.len());
                assert!(unpack(format, &bytes.slice(..bytes.len() - 1)).is_none(), "truncated");
                count += 1;
            }
            assert_eq!(count, frames.len());
        }
    }
}
