//! Where packets begin: in a byte stream ([`Framer`]) and in datagrams ([`DatagramSync`]).
//!
//! Synchronisation follows ETSI TR 101 290 section 5.2.1: it is acquired by five sync bytes in a row and lost by two in
//! a row that are wrong. One wrong byte between right ones is reported with its packet, which is still read, because a
//! receiver in lock does the same.

use super::{PACKET_BYTES, SYNC_BYTE};

/// Sync bytes in a row that acquire.
pub const ACQUIRE: usize = 5;
/// Distances between packets: plain; with a time stamp in front (M2TS, 4 bytes); with Reed-Solomon bytes behind (16).
pub const STRIDES: [usize; 3] = [188, 192, 204];
/// Bytes that are looked at to acquire, at the widest stride.
const ACQUIRE_BYTES: usize = (ACQUIRE - 1) * 204 + 1;

/// What framing finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit<'a> {
    /// Synchronisation begins, with packets at this distance.
    Acquired {
        /// Bytes from packet to packet, one of [`STRIDES`].
        stride: usize,
        /// Bytes that belonged to no packet since the start or the loss.
        skipped: u64,
    },
    /// A packet.
    Packet {
        /// The 188 bytes, without what a stride puts around them.
        bytes: &'a [u8; PACKET_BYTES],
        /// Whether the first is the sync byte.
        sync_ok: bool,
    },
    /// Two sync bytes in a row were wrong.
    Lost,
}

/// Finds packets in a byte stream. Holds what [`Framer::push`] gave it and no packet claimed yet; who takes all units
/// after each push leaves less than two strides and a search's worth in it.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    start: usize,
    /// Bytes of the stream in front of the buffer.
    dropped: u64,
    /// `Some`: in lock, with this stride.
    stride: Option<usize>,
    /// Bytes skipped by the search that runs.
    skipped: u64,
    finished: bool,
}

impl Framer {
    /// An empty one, that searches.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Adds the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.dropped += self.start as u64;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The stream has ended: what waits for the byte behind it need not wait any more.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Offset in the stream of what comes next, in bytes.
    pub fn offset(&self) -> u64 {
        self.dropped + self.start as u64
    }

    /// Bytes behind the last packet that belong to none so far.
    pub fn unclaimed(&self) -> u64 {
        let searched = if self.stride.is_none() { self.skipped } else { 0 };
        searched + (self.buffer.len() - self.start) as u64
    }

    /// The next unit; `None`: more bytes are needed.
    pub fn next_unit(&mut self) -> Option<Unit<'_>> {
        let Some(stride) = self.stride else { return self.acquire() };
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let bytes: &[u8; PACKET_BYTES] = rest.first_chunk()?;
        let sync_ok = bytes[0] == SYNC_BYTE;
        if !sync_ok {
            match rest.get(stride) {
                Some(&SYNC_BYTE) => {}
                Some(_) => {
                    self.stride = None;
                    self.skipped = 0;
                    return Some(Unit::Lost);
                }
                None if self.finished => {}
                None => return None,
            }
        }
        // The last packet of a stream may lack what the stride puts behind it.
        if rest.len() < stride && !self.finished {
            return None;
        }
        self.start += stride.min(rest.len());
        Some(Unit::Packet { bytes, sync_ok })
    }

    fn acquire(&mut self) -> Option<Unit<'_>> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        // Near the end of a stream the narrow strides may still fit.
        let last = if self.finished { rest.len() } else { (rest.len() + 1).saturating_sub(ACQUIRE_BYTES) };
        let found = (0..last).find_map(|at| {
            let fits = |stride: &usize| (0..ACQUIRE).all(|n| rest.get(at + n * stride) == Some(&SYNC_BYTE));
            STRIDES.into_iter().find(fits).map(|stride| (at, stride))
        });
        let skip = found.map_or(last, |(at, _)| at);
        self.start += skip;
        self.skipped += skip as u64;
        let (_, stride) = found?;
        self.stride = Some(stride);
        Some(Unit::Acquired { stride, skipped: self.skipped })
    }
}

/// Packets of datagrams. Each datagram begins with a packet, so nothing is searched; what remains of TR 101 290 is the
/// count of right and wrong sync bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DatagramSync {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was lost yet: packets are read from the first on.
    #[default]
    Start,
    Locked {
        /// The last sync byte was wrong.
        wrong: bool,
    },
    Lost {
        right: usize,
    },
}

impl DatagramSync {
    /// Splits a payload and tells what it finds. Returns the bytes at its end that are no packet.
    pub fn split<'a>(&mut self, payload: &'a [u8], mut tell: impl FnMut(Unit<'a>)) -> usize {
        // 204 bytes each are rare on networks, and only taken for that if nothing else fits.
        let wide = !payload.len().is_multiple_of(PACKET_BYTES) && payload.len().is_multiple_of(STRIDES[2]);
        let stride = if wide { STRIDES[2] } else { PACKET_BYTES };
        let mut rest = payload;
        while let Some(bytes) = rest.first_chunk::<PACKET_BYTES>() {
            rest = rest.get(stride..).unwrap_or_default();
            let sync_ok = bytes[0] == SYNC_BYTE;
            // The next packet of this datagram tells whether this is one wrong byte or the end of the stream.
            let next_wrong = rest.first().is_some_and(|byte| *byte != SYNC_BYTE);
            match (self.state, sync_ok) {
                (State::Start | State::Locked { .. }, true) => {
                    if self.state == State::Start {
                        tell(Unit::Acquired { stride, skipped: 0 });
                    }
                    self.state = State::Locked { wrong: false };
                    tell(Unit::Packet { bytes, sync_ok });
                }
                (State::Locked { wrong: false }, false) if !next_wrong => {
                    self.state = State::Locked { wrong: true };
                    tell(Unit::Packet { bytes, sync_ok });
                }
                (State::Locked { .. }, false) => {
                    self.state = State::Lost { right: 0 };
                    tell(Unit::Lost);
                }
                (State::Lost { right }, true) if right + 1 >= ACQUIRE => {
                    self.state = State::Locked { wrong: false };
                    tell(Unit::Acquired { stride, skipped: 0 });
                    tell(Unit::Packet { bytes, sync_ok });
                }
                (State::Lost { right }, true) => self.state = State::Lost { right: right + 1 },
                (State::Lost { .. }, false) => self.state = State::Lost { right: 0 },
                (State::Start, false) => {}
            }
        }
        rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of `count` packets whose second byte is their number.
    fn stream(count: usize, stride: usize, before: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for n in 0..count {
            bytes.extend(std::iter::repeat_n(0xEE, before));
            bytes.extend([SYNC_BYTE, n as u8]);
            bytes.extend(std::iter::repeat_n(0x11, stride - 2 - before));
        }
        bytes
    }

    fn tell(unit: Unit<'_>) -> String {
        match unit {
            Unit::Acquired { stride, skipped } => format!("+{stride}/{skipped}"),
            Unit::Packet { bytes, sync_ok: true } => bytes[1].to_string(),
            Unit::Packet { bytes, sync_ok: false } => format!("!{}", bytes[1]),
            Unit::Lost => "-".to_owned(),
        }
    }

    #[track_caller]
    fn check(stream: &[u8], expected: &str) {
        for piece in [1, 100, 188, 1000, stream.len()] {
            let (mut framer, mut seen) = (Framer::new(), Vec::new());
            for bytes in stream.chunks(piece) {
                framer.push(bytes);
                while let Some(unit) = framer.next_unit() {
                    seen.push(tell(unit));
                }
                assert!(framer.buffer.len() - framer.start <= ACQUIRE_BYTES + 2 * STRIDES[2]);
            }
            framer.finish();
            while let Some(unit) = framer.next_unit() {
                seen.push(tell(unit));
            }
            assert_eq!(seen.join(" "), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn strides() {
        check(&stream(6, 188, 0), "+188/0 0 1 2 3 4 5");
        check(&stream(6, 192, 4), "+192/4 0 1 2 3 4 5");
        check(&stream(6, 204, 0), "+204/0 0 1 2 3 4 5");
        check(&stream(4, 188, 0), "");
        check(&[0x47; 300], "");
    }

    #[test]
    fn one_wrong_byte_is_flown_over() {
        let mut bytes = stream(9, 188, 0);
        bytes[6 * 188] = 0x46;
        check(&bytes, "+188/0 0 1 2 3 4 5 !6 7 8");
        bytes[6 * 188] = SYNC_BYTE;
        bytes[8 * 188] = 0;
        check(&bytes, "+188/0 0 1 2 3 4 5 6 7 !8");
        // Not among the first five, which acquire.
        bytes[2 * 188] = 0;
        check(&[bytes, stream(6, 188, 0)].concat(), "+188/564 3 4 5 6 7 !8 0 1 2 3 4 5");
    }

    #[test]
    fn two_lose_and_five_acquire() {
        let mut bytes = stream(14, 188, 0);
        (bytes[6 * 188], bytes[7 * 188]) = (0, 0);
        check(&bytes, "+188/0 0 1 2 3 4 5 - +188/376 8 9 10 11 12 13");
        // A byte is missing: nothing fits any more until the search has found the new place.
        let mut bytes = stream(14, 188, 0);
        bytes.remove(6 * 188 + 50);
        check(&bytes, "+188/0 0 1 2 3 4 5 6 - +188/187 8 9 10 11 12 13");
        let garbage = [vec![0x47, 0, 9], stream(6, 188, 0), vec![1; 500]].concat();
        check(&garbage, "+188/3 0 1 2 3 4 5 -");
    }

    #[test]
    fn datagrams() {
        let mut sync = DatagramSync::default();
        let mut split = |payload: &[u8]| {
            let mut seen = Vec::new();
            let rest = sync.split(payload, |unit| seen.push(tell(unit)));
            (seen.join(" "), rest)
        };
        let good = stream(3, 188, 0);
        assert_eq!(split(&[1; 188]).0, "", "not yet");
        assert_eq!(split(&good), ("+188/0 0 1 2".to_owned(), 0));
        assert_eq!(split(&good[..376 + 5]), ("0 1".to_owned(), 5));
        assert_eq!(split(&stream(2, 204, 0)), ("0 1".to_owned(), 0));
        let mut one_wrong = good.clone();
        one_wrong[188] = 0;
        assert_eq!(split(&one_wrong).0, "0 !1 2");
        one_wrong[188 * 2] = 0;
        assert_eq!(split(&one_wrong).0, "0 -");
        assert_eq!(split(&good).0, "");
        assert_eq!(split(&good).0, "+188/0 1 2");
        // The wrong ones may lie on both sides of a border.
        let mut last_wrong = good.clone();
        last_wrong[376] = 0;
        assert_eq!(split(&last_wrong).0, "0 1 !2");
        assert_eq!(split(&[0; 188]).0, "-");
    }
}
