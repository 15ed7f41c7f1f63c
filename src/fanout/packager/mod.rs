//! Packagers: how a frame becomes one entry of a log, and back. Every format has the same functions.
//!
//! `pack` writes a frame's entry, `unpack` reads it again (a format that opens late is fed from a log that is already
//! there), `configuration` packs the headers that a reader needs before its first entry. None of them knows a
//! subscriber. What surrounds media on a connection (heads, status messages) is the egress's. A transport stream has
//! its configuration in the log itself and cannot be unpacked. One that passes a publisher's packets on (`pass`) takes runs
//! and no frames.

pub mod flv;
pub mod pass;
pub mod rtmp;
pub mod ts;

use super::log::{Format, LogKey, LogWriter, Variant};
use crate::media::config_set::ConfigSet;
use crate::media::{Frame, Kind};
use bytes::Bytes;

/// What the stream knows of a frame that is packed.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The configuration as of the frame, as far as it is known: of a frame from a backlog that is no join point, the
    /// newest stands for it.
    pub config: &'a ConfigSet,
    /// The newest configuration: it may have tracks that had sent nothing yet when the frame came.
    pub newest: &'a ConfigSet,
    /// Which configuration is valid behind the frame.
    pub config_epoch: u32,
    /// A reader could start here.
    pub join: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packed {
    /// Its entry is written, not committed yet.
    Entry {
        /// A reader may start here.
        join: bool,
    },
    /// The format has nothing to say of it.
    Nothing,
    /// It is larger than any segment may be.
    TooLarge,
}

/// The packager of one log, with what it keeps from entry to entry.
#[derive(Debug)]
pub enum Packager {
    /// [`Format::Rtmp`]; keeps nothing.
    Rtmp,
    /// [`Format::Flv`]; keeps nothing.
    Flv,
    /// [`Format::Ts`].
    Ts(Box<ts::Packager>),
    /// [`Format::Pass`].
    Pass(Box<pass::Packager>),
}

impl Packager {
    /// Of a log that has no entry yet. `stream` is the stream's own name.
    pub fn new(key: LogKey, stream: &str) -> Packager {
        match key.format {
            Format::Rtmp => Packager::Rtmp,
            Format::Flv => Packager::Flv,
            Format::Ts => Packager::Ts(Box::new(ts::Packager::new(key.variant, stream))),
            Format::Pass => Packager::Pass(Box::default()),
        }
    }

    /// Bytes that it keeps from entry to entry, where they may be many.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Packager::Pass(packager) => packager.heap_bytes(),
            Packager::Rtmp | Packager::Flv | Packager::Ts(_) => 0,
        }
    }

    /// Writes the entry of `frame` without committing it.
    #[must_use]
    pub fn pack(&mut self, log: &mut LogWriter, frame: &Frame, about: About<'_>) -> Packed {
        let written = match self {
            Packager::Rtmp => rtmp::pack(log, frame),
            Packager::Flv => flv::pack(log, frame),
            Packager::Ts(packager) => return packager.pack(log, frame, about),
            Packager::Pass(_) => return Packed::Nothing,
        };
        if written { Packed::Entry { join: about.join } } else { Packed::TooLarge }
    }
}

/// Why nothing of a stream that is configured so can be had in this log, for people; `None` if something can.
pub fn refusal(key: LogKey, config: &ConfigSet) -> Option<&'static str> {
    match key.format {
        Format::Rtmp | Format::Flv | Format::Pass => None,
        Format::Ts => ts::refusal(config, key.variant),
    }
}

/// Kind, decoding time and body of an entry; the body shares the entry's memory where the format keeps it in one
/// piece. `None` if `entry` is not one of this format, or the format [cannot be unpacked](Format::unpacks).
pub fn unpack(format: Format, entry: &Bytes) -> Option<(Kind, u32, Bytes)> {
    match format {
        Format::Rtmp => rtmp::unpack(entry),
        Format::Flv => flv::unpack(entry),
        Format::Ts | Format::Pass => None,
    }
}

/// How many bytes [`unpack`] had to copy to give `body`.
pub fn reassembled_bytes(format: Format, body: &Bytes) -> u64 {
    match format {
        Format::Rtmp if body.len() > rtmp::CHUNK_SIZE => body.len() as u64,
        Format::Rtmp | Format::Flv | Format::Ts | Format::Pass => 0,
    }
}

/// Appends metadata, sequence headers and colour/channel configuration, each stamped with `dts_ms`; nothing in a format
/// whose join points bring their own.
pub fn configuration(format: Format, config: &ConfigSet, variant: Variant, dts_ms: u32, out: &mut Vec<u8>) {
    let Variant { audio, video, strip, .. } = variant;
    let metadata = config.metadata.iter().map(|body| (Kind::Data, body));
    let entries = config.iter_for(audio, video, strip).map(|entry| (entry.kind, &entry.body));
    for (kind, body) in metadata.chain(entries) {
        match format {
            Format::Rtmp => rtmp::append(kind, dts_ms, body, out),
            Format::Flv => flv::append(kind, dts_ms, body, out),
            Format::Ts | Format::Pass => {}
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
            let mut packager = Packager::new(LogKey { format, variant: Variant::FULL }, "a");
            let config = crate::media::TrackTable::new().snapshot();
            let about = About { config: &config, newest: &config, config_epoch: 1, join: false };
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
                    assert_eq!(packager.pack(&mut log, &frame, about), Packed::Entry { join: false });
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
