//! What a receiver has counted since it began.

/// Counts of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams of media that came, of all paths, good or bad.
    pub datagrams: u64,
    /// Packets given out.
    pub delivered: u64,
    /// Packets that came on no path in time and were not repaired.
    pub lost: u64,
    /// Packets given out that only a repair packet brought.
    pub repaired: u64,
    /// Packets that overtook others of their path.
    pub reordered: u64,
    /// Packets that one path lost or brought later than the other, and that the other filled in.
    pub merged: u64,
    /// Packets that came again on the same path.
    pub duplicates: u64,
    /// Packets that came after they were given up, or before anything that is remembered.
    pub late: u64,
    /// New senders: another SSRC, or numbers that do not continue.
    pub restarts: u64,
    /// Packets of somebody else on the same address, and of a new sender before it was believed.
    pub foreign: u64,
    /// Datagrams that are no transport stream in RTP, or longer than an Ethernet frame.
    pub malformed: u64,
    /// Packets that were there and had to make room before anybody took them.
    pub overrun: u64,
    /// Repair packets that came.
    pub repair_packets: u64,
    /// Repair packets of an unknown scheme, or that repaired to nonsense.
    pub repair_refused: u64,
    /// The paths; without merging the first alone.
    pub legs: [Leg; super::receiver::LEGS],
}

/// Counts of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leg {
    /// Packets of the stream that came on it, each once.
    pub packets: u64,
    /// Packets that did not come on it, whoever filled them in; those under way are not counted.
    pub lost: u64,
    /// How long it was behind the other one at most, in microseconds, for a packet that both brought.
    pub behind_us_max: u64,
}
