//! Forward error correction of a channel (SMPTE ST 2022-1): one matrix, and who gets its packets.

use crate::config::Fec;
use crate::proto::rtp_ts::FecEncoder;
use crate::shard::pacer::{To, Tray};
use crate::wire::fec::Direction;

/// One matrix. Destinations that ask for the same one share it, as they share the packets that it protects.
#[derive(Debug)]
pub(super) struct Repair {
    fec: Fec,
    encoder: FecEncoder,
    columns: Vec<To>,
    rows: Vec<To>,
}

impl Repair {
    /// The one of `all` for `fec`, made if there is none. The numbers of its packets begin with bits of `seed`.
    pub fn of(all: &mut Vec<Repair>, fec: Fec, seed: u64) -> &mut Repair {
        let at = all.iter().position(|repair| repair.fec == fec).unwrap_or(all.len());
        if at == all.len() {
            let encoder = FecEncoder::new(fec, (seed >> 16) as u16, (seed >> 24) as u16);
            all.push(Repair { fec, encoder, columns: Vec::new(), rows: Vec::new() });
        }
        &mut all[at]
    }

    /// Column packets go to the channel's address number `first` as well, row packets to the one behind it.
    pub fn send_to(&mut self, first: u32) {
        self.columns.push(To { address: first, skip: 0 });
        if self.fec.row_packets {
            self.rows.push(To { address: first + 1, skip: 0 });
        }
    }

    /// Counts the datagram `rtp` in, which was laid on `tray` just now, and lays what follows it beside. Returns how many
    /// those are.
    pub fn push(&mut self, rtp: &[u8], tray: &mut Tray<'_>) -> u64 {
        let Repair { encoder, columns, rows, .. } = self;
        let mut made = 0;
        encoder.push(rtp, |direction, packet| {
            let to = if direction == Direction::Row { &*rows } else { &*columns };
            tray.send(packet, to);
            made += 1;
        });
        made
    }
}
