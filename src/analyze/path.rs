//! What stands below the datagrams: who sent them, and how.

use serde::Serialize;
use std::net::IpAddr;

/// Senders that are told apart; a group has one, or two while one takes over.
const SENDERS_MAX: usize = 8;

/// The way of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PathReport {
    /// Senders in the order of their first datagrams, at most eight.
    pub senders: Vec<SenderReport>,
    /// Times that a datagram came from another sender than the one before.
    pub sender_changes: u64,
    /// Times to live (hop limits) that were seen, ascending. A live group does not tell.
    pub ttls: Vec<u8>,
    /// Differentiated services code points that were seen, ascending. A live group does not tell.
    pub dscps: Vec<u8>,
    #[serde(skip)]
    last: Option<IpAddr>,
}

/// One sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SenderReport {
    /// Its address.
    pub address: IpAddr,
    /// Its datagrams.
    pub datagrams: u64,
}

impl PathReport {
    /// A datagram comes from an address.
    pub(super) fn count(&mut self, from: IpAddr) {
        self.sender_changes += u64::from(self.last.replace(from).is_some_and(|last| last != from));
        if let Some(sender) = self.senders.iter_mut().find(|sender| sender.address == from) {
            sender.datagrams += 1;
        } else if self.senders.len() < SENDERS_MAX {
            self.senders.push(SenderReport { address: from, datagrams: 1 });
        }
    }

    /// What its IP header says.
    pub(super) fn mark(&mut self, ttl: u8, dscp: u8) {
        for (list, value) in [(&mut self.ttls, ttl), (&mut self.dscps, dscp)] {
            if let Err(place) = list.binary_search(&value) {
                list.insert(place, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_and_headers() {
        let mut path = PathReport::default();
        for (n, ttl) in [(1, 16), (1, 16), (2, 15), (1, 16)] {
            path.count(IpAddr::from([10, 0, 0, n]));
            path.mark(ttl, 34);
        }
        let senders: Vec<_> = path.senders.iter().map(|s| (s.address.to_string(), s.datagrams)).collect();
        assert_eq!(senders, [("10.0.0.1".to_owned(), 3), ("10.0.0.2".to_owned(), 1)]);
        assert_eq!((path.sender_changes, path.ttls.clone(), path.dscps.clone()), (2, vec![15, 16], vec![34]));
        (0..=255).for_each(|n| path.count(IpAddr::from([10, 0, 1, n])));
        assert_eq!(path.senders.len(), SENDERS_MAX);
    }
}
