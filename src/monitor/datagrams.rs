//! What one datagram tells: what it is, its place in a sequence of RTP, and the packets in it.

use super::indicator::Indicator;
use super::rtp::Place;
use super::{Monitor, PACKET_BITS};
use crate::media::Mono;
use crate::wire::rtp::RtpPacket;
use crate::wire::ts::cut;
use crate::wire::ts::framing::STRIDES;
use crate::wire::ts::{PACKET_BYTES, SYNC_BYTE};

/// What a datagram has in it.
#[derive(Clone, Copy)]
enum Carried<'a> {
    /// Packets from its first byte on.
    Packets,
    /// Packets behind the end of one that began in the datagram before.
    Cut {
        /// Bytes in front of the first that begins here.
        head: usize,
    },
    /// RTP around packets.
    Rtp(RtpPacket<'a>),
    /// Something else.
    Foreign,
}

impl Monitor {
    /// A datagram, in the order of arrival: packets, or RTP around packets, which its bytes tell. Packets that two
    /// datagrams share are put together. What RTP brings twice is looked at once; what it brings late is read late, as
    /// by a receiver that does not reorder. `at` must not go back.
    pub fn handle_datagram(&mut self, at: Mono, datagram: &[u8]) {
        // Whatever it is: where nothing of the stream comes, something else must not hold up the time.
        self.pass_time(at);
        let carried = self.carried(datagram);
        self.bunched = true;
        let network = self.network.get_or_insert_default();
        network.count(at, datagram.len());
        let (mut joined, mut tail) = (None, &[][..]);
        let payload = match carried {
            Carried::Foreign => {
                network.foreign += 1;
                return;
            }
            Carried::Rtp(packet) => match self.follow(at, &packet) {
                true => packet.payload,
                false => return,
            },
            Carried::Packets => datagram,
            Carried::Cut { head } => {
                let (head, rest) = datagram.split_at_checked(head).unwrap_or_default();
                joined = self.seam.join(head);
                network.cut_packets += u64::from(joined.is_some());
                let (whole, rest) = rest.split_at(rest.len() - rest.len() % PACKET_BYTES);
                tail = rest;
                whole
            }
        };
        self.plain = !matches!(carried, Carried::Rtp(_));
        let packets = (payload.len() / PACKET_BYTES + usize::from(joined.is_some())) as u64;
        if packets > 0 {
            self.hear(at);
        }
        if let Some(network) = &mut self.network {
            network.mdi.arrive(at, packets * PACKET_BITS);
        }
        let mut sync = self.sync;
        if let Some(joined) = &joined {
            sync.split(joined, |unit| self.unit(at, unit));
        }
        let left = sync.split(payload, |unit| self.unit(at, unit));
        self.sync = sync;
        if matches!(carried, Carried::Packets) {
            tail = payload.get(payload.len() - left..).unwrap_or_default();
        }
        self.seam.keep(tail);
    }

    /// Whole packets that are sent in one datagram, and have not been on a network: of datagrams nothing is told, and
    /// nothing is looked for but packets one after the other.
    pub fn handle_packets(&mut self, at: Mono, packets: &[[u8; PACKET_BYTES]]) {
        self.bunched = true;
        self.pass_time(at);
        if packets.is_empty() {
            return;
        }
        self.hear(at);
        let mut sync = self.sync;
        sync.split(packets.as_flattened(), |unit| self.unit(at, unit));
        self.sync = sync;
    }

    /// What a datagram is. Where sync bytes are right they decide; a wrong one is told from something else by what the
    /// stream has been so far.
    fn carried<'a>(&self, datagram: &'a [u8]) -> Carried<'a> {
        let begins = |bytes: &[u8]| bytes.first() == Some(&SYNC_BYTE);
        let fits = |bytes: &[u8], stride: usize| bytes.len().is_multiple_of(stride);
        let is_whole = |bytes: &[u8]| fits(bytes, PACKET_BYTES) || fits(bytes, STRIDES[2]);
        if begins(datagram) && is_whole(datagram) {
            return Carried::Packets;
        }
        let rtp = RtpPacket::around_ts(datagram);
        if let Some(packet) = rtp.filter(|packet| begins(packet.payload) && is_whole(packet.payload)) {
            return Carried::Rtp(packet);
        }
        let search = || cut::search(datagram).filter(|_| RtpPacket::parse(datagram).is_none());
        if let Some(head) = self.seam.head(datagram).or_else(search) {
            return Carried::Cut { head };
        }
        match rtp {
            _ if begins(datagram) => Carried::Packets,
            // Its first sync byte is wrong, or all of them; one of those may look like the beginning of RTP.
            _ if self.plain && !datagram.is_empty() && is_whole(datagram) => Carried::Packets,
            Some(packet) if !self.plain || begins(packet.payload) => Carried::Rtp(packet),
            _ => Carried::Foreign,
        }
    }

    /// Follows the sequence of RTP; whether there is something new in this packet.
    fn follow(&mut self, at: Mono, packet: &RtpPacket<'_>) -> bool {
        let network = self.network.get_or_insert_default();
        match network.rtp.observe(at, packet) {
            Place::Duplicate | Place::Stray { contested: false } => return false,
            Place::Stray { contested: true } => {
                self.raise(Indicator::RtpSenders, at, None);
                return false;
            }
            Place::Next | Place::Late { regained: false } => {}
            Place::Late { regained: true } => network.mdi.regain(network.packets_each),
            Place::Restart => self.forget_continuity(),
        }
        if let Some(network) = &mut self.network {
            network.packets_each = (packet.payload.len() / PACKET_BYTES) as u64;
        }
        self.give_up_rtp(at);
        true
    }

    /// Tells of RTP packets that will not come any more: once for each run of them.
    pub(super) fn give_up_rtp(&mut self, at: Mono) {
        while let Some(network) = &mut self.network
            && let Some(lost) = network.rtp.give_up(at)
        {
            network.mdi.lose(lost.packets * network.packets_each, lost.over_us);
            self.raise(Indicator::RtpLoss, at, None);
        }
    }
}
