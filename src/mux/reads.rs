//! What the next datagram will read, for who asks the processor for it in time (`shard/pacer`): here are addresses only.

use super::program::Program;
use super::program::track::Unit;
use super::queue::Pool;
use super::ticker::Ticker;
use super::{DATAGRAM_PACKETS, Mux};

impl Mux {
    /// Tells what [`Mux::write`] will read, as addresses with so many bytes from there: what stands in the multiplex itself.
    pub fn reads(&self, mut tell: impl FnMut(*const u8, usize)) {
        tell((&raw const self.programs).cast(), size_of::<Vec<Program>>());
        tell(self.carousel.reads(), 1);
        tell((&raw const self.ticker).cast(), size_of::<Ticker>());
        tell((&raw const self.tally).cast(), 1);
        tell((&raw const self.written).cast(), 1);
    }

    /// The same: its programs.
    pub fn reads_of_programs(&self, mut tell: impl FnMut(*const u8, usize)) {
        self.programs.iter().for_each(|program| program.reads(&mut tell));
    }

    /// The same: their tracks.
    pub fn reads_of_tracks(&self, mut tell: impl FnMut(*const u8, usize)) {
        self.programs.iter().flat_map(|program| &program.tracks).for_each(|track| track.reads(&mut tell));
    }

    /// The same: the units that are next.
    pub fn reads_of_units(&self, mut tell: impl FnMut(*const u8, usize)) {
        for (_, unit) in self.next_units() {
            tell((&raw const *unit).cast(), size_of::<Unit>());
        }
    }

    /// The same: where their packets wait.
    pub fn reads_of_entries(&self, mut tell: impl FnMut(*const u8, usize)) {
        for (pool, unit) in self.next_units() {
            pool.reads(&unit.packets, &mut tell);
        }
    }

    /// The units that may be in the next datagram.
    fn next_units(&self) -> impl Iterator<Item = (&Pool, &Unit)> {
        let end = self.ticker.now() + self.ticker.packet() * DATAGRAM_PACKETS as i64;
        self.programs.iter().flat_map(move |program| program.next_units(end))
    }
}
