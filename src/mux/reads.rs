//! What the next datagram will read, for who asks the processor for it in time (`shard/pacer`): here are addresses only.

use super::queue::Pool;
use super::ticker::Ticker;
use super::track::{Track, Unit};
use super::{DATAGRAM_PACKETS, Mux};

impl Mux {
    /// Tells what [`Mux::write`] will read, as addresses with so many bytes from there: what stands in the multiplex itself.
    pub fn reads(&self, mut tell: impl FnMut(*const u8, usize)) {
        tell(self.clock.reads(), 1);
        tell((&raw const self.tally).cast(), 1);
        tell((&raw const self.tracks).cast(), size_of::<Vec<Track>>());
        tell((&raw const self.pool).cast(), size_of::<Pool>());
        tell(self.carousel.reads(), 1);
        tell((&raw const self.ticker).cast(), size_of::<Ticker>());
        tell((&raw const self.share_from).cast(), size_of::<(i64, u64, u64)>());
        tell((&raw const self.written).cast(), 1);
    }

    /// The same: its tracks.
    pub fn reads_of_tracks(&self, mut tell: impl FnMut(*const u8, usize)) {
        self.tracks.iter().for_each(|track| track.reads(&mut tell));
    }

    /// The same: the units that are next.
    pub fn reads_of_units(&self, mut tell: impl FnMut(*const u8, usize)) {
        for unit in self.next_units() {
            tell((&raw const *unit).cast(), size_of::<Unit>());
        }
    }

    /// The same: where their packets wait.
    pub fn reads_of_entries(&self, mut tell: impl FnMut(*const u8, usize)) {
        for unit in self.next_units() {
            self.pool.reads(&unit.packets, &mut tell);
        }
    }

    /// The units that may be in the next datagram.
    fn next_units(&self) -> impl Iterator<Item = &Unit> {
        let end = self.ticker.now() + self.ticker.packet() * DATAGRAM_PACKETS as i64;
        self.tracks.iter().filter(move |track| track.may_send(end)).filter_map(|track| track.units.front())
    }
}
