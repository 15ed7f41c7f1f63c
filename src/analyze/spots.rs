//! Where in a capture each sender's datagrams are seen, so that what is seen twice is looked at once.

use crate::monitor::SILENCE;
use std::net::IpAddr;

/// Senders whose spots are remembered, and spots of one.
const SPOTS_MAX: usize = 64;

/// Where in the capturing machine a datagram was seen: interface of the file, device, and whether it was leaving. A
/// capture on all devices sees what is passed on several times.
pub(super) type Spot = (u32, u32, bool);

/// Where the datagrams of each sender are seen: what comes elsewhere as well is a copy.
#[derive(Debug, Default)]
pub(super) struct Spots(Vec<Seat>);

/// The spot of one sender.
#[derive(Debug)]
struct Seat {
    source: IpAddr,
    spot: Spot,
    /// Where its datagrams come since none has come there, each with the first one's time in nanoseconds: what is seen
    /// on another interface has another clock.
    elsewhere: Vec<(Spot, Option<u64>)>,
}

impl Spots {
    /// With one sender whose spot is known.
    pub fn of(source: IpAddr, spot: Spot) -> Spots {
        Spots(vec![Seat { source, spot, elsewhere: Vec::new() }])
    }

    /// Whether times are to be taken from an interface: each may have a clock of its own.
    pub fn are_on(&self, interface: u32) -> bool {
        self.0.is_empty() || self.0.iter().any(|seat| seat.spot.0 == interface)
    }

    /// Whether a datagram is a copy of what is seen elsewhere. Where nothing has come for [`SILENCE`] nothing can be
    /// copied: the sender's way has changed.
    pub fn is_copy(&mut self, source: IpAddr, here: Spot, time_ns: Option<u64>) -> bool {
        let Some(seat) = self.0.iter_mut().find(|seat| seat.source == source) else {
            if self.0.len() < SPOTS_MAX {
                self.0.push(Seat { source, spot: here, elsewhere: Vec::new() });
            }
            return false;
        };
        if seat.spot == here {
            seat.elsewhere.clear();
            return false;
        }
        let Some((_, since_ns)) = seat.elsewhere.iter().find(|(spot, _)| *spot == here) else {
            if seat.elsewhere.len() < SPOTS_MAX {
                seat.elsewhere.push((here, time_ns));
            }
            return true;
        };
        let passed_ns = time_ns.zip(*since_ns).map_or(0, |(now, since)| now.saturating_sub(since));
        if u128::from(passed_ns) < SILENCE.as_nanos() {
            return true;
        }
        seat.spot = here;
        seat.elsewhere.clear();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_told_from_a_new_way() {
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let (first, second, third) = ((0, 2, false), (1, 3, false), (1, 4, true));
        let ms = |ms: u64| Some(ms * 1_000_000);
        let mut spots = Spots::default();
        assert!(spots.are_on(7), "not known yet");
        let mut copies = |rows: &[(IpAddr, Spot, u64)]| -> Vec<bool> {
            rows.iter().map(|(source, spot, at)| spots.is_copy(*source, *spot, ms(*at))).collect()
        };
        let both =
            [(one, first, 0), (one, second, 0), (one, first, 400), (one, second, 400), (one, second, 899)];
        assert_eq!(copies(&both), [false, true, false, true, true]);
        // Another sender is seen where it is seen.
        assert_eq!(copies(&[(other, second, 899), (other, third, 899)]), [false, true]);
        // Nothing comes at the first spot any more.
        assert_eq!(
            copies(&[(one, second, 900), (one, first, 901), (one, second, 905)]),
            [false, true, false]
        );
        assert!(spots.are_on(1) && !spots.are_on(0));
        assert!(spots.is_copy(one, first, None) && spots.is_copy(one, first, None), "without times it stays");
        let many = |n: u32| spots.is_copy(IpAddr::from(n.to_be_bytes()), first, ms(0));
        assert!(!(0..1000).any(many) && spots.0.len() == SPOTS_MAX);
    }
}
