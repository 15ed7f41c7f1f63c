//! A piece of a log that leaves the engine: to a file, to an HTTP body, to another format.

use super::segment::Segment;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Published bytes of one segment. Keeps the segment alive; costs one atomic to make and copies nothing.
#[derive(Clone, Debug)]
pub struct LogSlice {
    segment: Arc<Segment>,
    range: Range<u32>,
}

impl LogSlice {
    /// The bytes `range` of `segment`; `None` if any of them is not published.
    pub fn new(segment: &Arc<Segment>, range: Range<u32>) -> Option<LogSlice> {
        segment.bytes(range.start, range.end)?;
        Some(LogSlice { segment: segment.clone(), range })
    }
}

impl AsRef<[u8]> for LogSlice {
    fn as_ref(&self) -> &[u8] {
        // Published bytes stay published: checked in `new`.
        self.segment.bytes(self.range.start, self.range.end).unwrap_or_default()
    }
}

/// As a shared buffer, which hyper takes as a body and the runtime as a file's content.
impl From<LogSlice> for Bytes {
    fn from(slice: LogSlice) -> Bytes {
        Bytes::from_owner(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::segment::Entry;

    #[test]
    fn a_slice_outlives_the_log_and_copies_nothing() {
        let (segment, mut writer) = Segment::create(0, 16, 4);
        assert!(writer.put(b"abcdef"));
        assert!(LogSlice::new(&segment, 1..4).is_none(), "not published yet");
        assert!(writer.commit(Entry::default()));
        let bytes = Bytes::from(LogSlice::new(&segment, 1..4).unwrap());
        let place = segment.bytes(1, 4).unwrap().as_ptr();
        drop((segment, writer));
        assert_eq!((&bytes[..], bytes.as_ptr()), (&b"bcd"[..], place));
    }
}
