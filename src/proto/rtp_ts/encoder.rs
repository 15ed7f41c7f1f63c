//! The sending side of SMPTE ST 2022-1.

use crate::config::Fec;
use crate::wire::fec::{Direction, FEC_HEADER_BYTES, FecHeader, PACKET_BYTES_MAX, Parity};
use crate::wire::rtp::RtpPacket;

/// Makes the repair packets of one stream.
///
/// Packets are counted into the matrix as they come. A row's repair packet follows its last packet at once. Columns are
/// either *block-aligned*: all begin with the matrix and end in its last row, so their repair packets wait and leave one
/// every D packets of the next matrix, far from what they repair; or *staggered*: each begins one row after its neighbour,
/// so they end, and leave, one by one. Either way no repair packet comes in a burst that a burst of losses could take.
#[derive(Clone, Debug)]
pub struct FecEncoder {
    fec: Fec,
    /// Place in the matrix of the next packet: 0 to L x D - 1.
    place: u16,
    columns: Vec<Column>,
    row: Sum,
    column_sequence: u16,
    row_sequence: u16,
    /// The repair packet that is handed out.
    datagram: Vec<u8>,
}

/// The packets of one column or row so far.
#[derive(Clone, Debug)]
struct Sum {
    parity: Parity,
    base: u16,
    count: u8,
}

impl Sum {
    fn new() -> Sum {
        Sum { parity: Parity::new(), base: 0, count: 0 }
    }

    fn add(&mut self, sequence: u16, packet: &[u8]) {
        if self.count == 0 {
            self.parity.clear();
            self.base = sequence;
        }
        self.parity.add(packet);
        self.count += 1;
    }
}

#[derive(Clone, Debug)]
struct Column {
    open: Sum,
    /// Full, and waiting for its turn (block-aligned only).
    full: Sum,
}

impl FecEncoder {
    /// An encoder for a matrix; the numbers of the first column and row packet are to be random. A matrix that
    /// [`Fec::is_valid`] refuses makes no repair packets at all.
    pub fn new(fec: Fec, first_column: u16, first_row: u16) -> FecEncoder {
        let columns = if fec.is_valid() { fec.columns } else { 0 };
        FecEncoder {
            fec,
            place: 0,
            columns: (0..columns).map(|_| Column { open: Sum::new(), full: Sum::new() }).collect(),
            row: Sum::new(),
            column_sequence: first_column,
            row_sequence: first_row,
            datagram: Vec::with_capacity(PACKET_BYTES_MAX + FEC_HEADER_BYTES),
        }
    }

    /// Counts the media packet `rtp` in, which has just been sent and whose number follows that of the one before, and hands out what is to follow it: at most one row
    /// and one column packet. What is no RTP packet, or longer than [`PACKET_BYTES_MAX`], is not protected.
    pub fn push(&mut self, rtp: &[u8], mut emit: impl FnMut(Direction, &[u8])) {
        let Some(packet) = RtpPacket::parse(rtp).filter(|_| rtp.len() <= PACKET_BYTES_MAX) else { return };
        let (l, d) = (u16::from(self.fec.columns), u16::from(self.fec.rows));
        let (row, at) = (self.place / l.max(1), self.place % l.max(1));
        let Some(column) = self.columns.get_mut(usize::from(at)) else { return };
        // Time of sending: that of the packet before it.
        let timestamp = packet.timestamp;

        if self.fec.row_packets {
            self.row.add(packet.sequence, rtp);
            if u16::from(self.row.count) == l {
                let header = FecHeader {
                    base: self.row.base,
                    direction: Direction::Row,
                    offset: 1,
                    count: self.row.count,
                };
                self.row.parity.write(header, self.row_sequence, timestamp, &mut self.datagram);
                self.row_sequence = self.row_sequence.wrapping_add(1);
                self.row.count = 0;
                emit(Direction::Row, &self.datagram);
            }
        }

        // A staggered column waits for its row; later it begins wherever the one before ended.
        let begins = !self.fec.staggered || column.open.count > 0 || row == at % d.max(1);
        if begins {
            column.open.add(packet.sequence, rtp);
        }
        let mut due = None;
        if u16::from(column.open.count) == d {
            std::mem::swap(&mut column.open, &mut column.full);
            column.open.count = 0;
            due = Some(at).filter(|_| self.fec.staggered);
        }
        // The columns of a block leave in its successor, one every D packets, before that fills any of them: column c at
        // place c D, and it would be full again at (D - 1) L + c.
        if !self.fec.staggered && self.place.is_multiple_of(d) {
            due = Some(self.place / d);
        }
        self.place = (self.place + 1) % self.fec.packets().max(1);
        let Some(column) = due.and_then(|due| self.columns.get_mut(usize::from(due))) else { return };
        if column.full.count == 0 {
            // The first block has no predecessor.
            return;
        }
        let header = FecHeader {
            base: column.full.base,
            direction: Direction::Column,
            offset: self.fec.columns,
            count: column.full.count,
        };
        column.full.parity.write(header, self.column_sequence, timestamp, &mut self.datagram);
        self.column_sequence = self.column_sequence.wrapping_add(1);
        column.full.count = 0;
        emit(Direction::Column, &self.datagram);
    }
}
