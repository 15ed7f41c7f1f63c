//! Packets that datagrams cut in two. None should, and whoever fills datagrams to the last byte does: ffmpeg's UDP
//! output at its own `pkt_size` of 1472 bytes.

use super::framing::ACQUIRE;
use super::{PACKET_BYTES, SYNC_BYTE};

/// What one datagram ended in, until the next begins with the rest of it.
#[derive(Clone, Copy, Debug)]
pub struct Seam {
    held: [u8; PACKET_BYTES],
    length: usize,
}

impl Default for Seam {
    fn default() -> Seam {
        Seam { held: [0; PACKET_BYTES], length: 0 }
    }
}

impl Seam {
    /// Bytes of a datagram in front of the first packet that begins in it, if most of its sync bytes are where the
    /// datagram before lets expect them: a wrong one is damage.
    pub fn head(&self, datagram: &[u8]) -> Option<usize> {
        let expected = (self.length > 0).then_some(PACKET_BYTES - self.length);
        expected.filter(|at| {
            let (right, all) = syncs(datagram, *at);
            right * 2 > all
        })
    }

    /// The packet that ends with these bytes, if the datagram before ended in its beginning.
    pub fn join(&mut self, head: &[u8]) -> Option<[u8; PACKET_BYTES]> {
        let length = std::mem::take(&mut self.length);
        let rest = self.held.get_mut(length..).filter(|rest| length > 0 && rest.len() == head.len())?;
        rest.copy_from_slice(head);
        Some(self.held)
    }

    /// Keeps the end of a datagram; the next call replaces it. Whether a packet begins in it the next datagram tells.
    pub fn keep(&mut self, tail: &[u8]) {
        self.length = 0;
        if let Some(room) = self.held.get_mut(..tail.len()).filter(|room| room.len() < PACKET_BYTES) {
            room.copy_from_slice(tail);
            self.length = tail.len();
        }
    }
}

/// The same for a datagram behind one that is missing: five sync bytes in a row, and none that is wrong. Error
/// correction over an odd number of RTP packets has them too, so that what may be RTP is not to be searched.
pub fn search(datagram: &[u8]) -> Option<usize> {
    (0..PACKET_BYTES).find(|at| {
        let (right, all) = syncs(datagram, *at);
        right == all && all >= ACQUIRE
    })
}

/// Of the packets that begin from `at` on, those with a right sync byte, and all.
fn syncs(datagram: &[u8], at: usize) -> (usize, usize) {
    let first = datagram.iter().skip(at).step_by(PACKET_BYTES);
    (first.clone().filter(|byte| **byte == SYNC_BYTE).count(), first.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of a stream, found in datagrams of this size, of which one may be missing.
    fn found(size: usize, missing: Option<usize>) -> Vec<u8> {
        let packet = |n: u8| [&[SYNC_BYTE, n][..], &[n; 186]].concat();
        let stream: Vec<u8> = (0..100).flat_map(packet).collect();
        let (mut seam, mut seen) = (Seam::default(), Vec::new());
        for (n, datagram) in stream.chunks(size).enumerate() {
            if Some(n) == missing {
                continue;
            }
            let Some(head) = seam.head(datagram).or_else(|| search(datagram)) else {
                seam.keep(&[]);
                continue;
            };
            let (head, rest) = datagram.split_at(head);
            if let Some(joined) = seam.join(head) {
                assert!(joined[1..].iter().all(|byte| *byte == joined[1]), "put together wrongly");
                seen.push(joined[1]);
            }
            let (packets, tail) = rest.as_chunks::<PACKET_BYTES>();
            seen.extend(packets.iter().map(|packet| packet[1]));
            seam.keep(tail);
        }
        seen
    }

    #[test]
    fn packets_are_put_together() {
        let all: Vec<u8> = (0..100).collect();
        for size in [1472, 1400, 1000] {
            assert_eq!(found(size, None), all, "{size}");
        }
        // The fourth datagram has the end of the 23rd packet, seven whole ones, and the beginning of the 31st.
        let without: Vec<u8> = (0..23).chain(32..100).collect();
        assert_eq!(found(1472, Some(3)), without);
        assert_eq!((Seam::default().head(&[SYNC_BYTE; 1472]), search(&[0x55; 1472])), (None, None));
    }
}
