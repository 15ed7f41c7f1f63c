//! A set of track numbers.

/// Track numbers of one kind, 0..=255, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrackSet([u64; 4]);

impl TrackSet {
    /// The set of one track.
    pub fn of(track_id: u8) -> TrackSet {
        let mut set = TrackSet::default();
        set.insert(track_id);
        set
    }

    /// Adds a track.
    pub fn insert(&mut self, track_id: u8) {
        self.0[usize::from(track_id >> 6)] |= 1 << (track_id & 63);
    }

    /// Whether it holds a track.
    pub fn contains(self, track_id: u8) -> bool {
        self.intersects(TrackSet::of(track_id))
    }

    /// Whether both share a track.
    pub fn intersects(self, other: TrackSet) -> bool {
        self.0.iter().zip(other.0).any(|(a, b)| a & b != 0)
    }

    /// Removes every track of `other`.
    pub fn remove_all(&mut self, other: TrackSet) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a &= !b);
    }

    /// How many tracks it holds.
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }
}
