//! Where a channel goes: one destination, complete.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// What stands between UDP and the transport stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nothing.
    Udp,
    /// RTP (RFC 2250).
    Rtp,
}

impl Transport {
    /// As it is written in front of `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Rtp => "rtp",
        }
    }
}

/// The matrix of forward error correction (SMPTE ST 2022-1): media packets in the order they are sent fill `rows` rows of
/// `columns` packets. One packet repairs one loss of its column or row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fec {
    /// L, packets in a row: 1 to 20 (4 to 20 with row packets). The longest burst that columns repair.
    pub columns: u8,
    /// D, packets in a column: 4 to 20.
    pub rows: u8,
    /// Whether rows are protected too (on the port + 4), which repairs single losses within a row's time.
    pub row_packets: bool,
    /// Whether the columns begin one row after each other (non-block-aligned), so that their packets come evenly.
    pub staggered: bool,
}

/// Most packets of a matrix, which bounds latency and memory on both ends (ST 2022-1).
pub const FEC_PACKETS_MAX: u16 = 100;

impl Fec {
    /// L with column packets alone.
    pub const COLUMNS: RangeInclusive<u8> = 1..=20;
    /// L with row packets.
    pub const COLUMNS_WITH_ROWS: RangeInclusive<u8> = 4..=20;
    /// D.
    pub const ROWS: RangeInclusive<u8> = 4..=20;

    /// Whether the sizes are those of ST 2022-1.
    pub fn is_valid(self) -> bool {
        let columns = if self.row_packets { Fec::COLUMNS_WITH_ROWS } else { Fec::COLUMNS };
        columns.contains(&self.columns) && Fec::ROWS.contains(&self.rows) && self.packets() <= FEC_PACKETS_MAX
    }

    /// Media packets of one matrix.
    pub fn packets(self) -> u16 {
        u16::from(self.columns) * u16::from(self.rows)
    }

    /// FEC packets of one matrix: one a column, and one a row.
    pub fn repair_packets(self) -> u16 {
        u16::from(self.columns) + if self.row_packets { u16::from(self.rows) } else { 0 }
    }
}

/// One address that a channel is sent to.
///
/// All RTP destinations of a channel carry the same packets (sequence, time stamp, SSRC): two of them over two networks
/// are the two paths of SMPTE ST 2022-7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// RTP or nothing around the transport stream.
    pub transport: Transport,
    /// Interface to send on, by name or by one of its addresses; always there for a group.
    pub interface: Option<String>,
    /// Own address to send from; `None` leaves it to the kernel.
    pub source: Option<IpAddr>,
    /// Group or host, and port.
    pub address: SocketAddr,
    /// Time to live, 1 to 255.
    pub ttl: u8,
    /// Differentiated services code point, 0 to 63.
    pub dscp: u8,
    /// Forward error correction, on port + 2 and port + 4; with RTP only.
    pub fec: Option<Fec>,
    /// Group in which the stream is announced (SAP, RFC 2974).
    pub sap: Option<IpAddr>,
    /// Whether receivers on this machine get it too (`IP_MULTICAST_LOOP`).
    pub loopback: bool,
}

impl Destination {
    /// Ports that belong to it: the stream's, with RTP the next one (RTCP, RFC 3550 section 11), with FEC those two and
    /// four above it.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        let rtp = self.transport == Transport::Rtp;
        let (columns, rows) = (self.fec.is_some(), self.fec.is_some_and(|fec| fec.row_packets));
        let port = self.address.port();
        [(0, true), (1, rtp), (2, columns), (4, rows)]
            .into_iter()
            .filter(|&(_, used)| used)
            .filter_map(move |(step, _)| port.checked_add(step))
    }

    /// Where column packets go.
    pub fn column_address(&self) -> SocketAddr {
        above(self.address, COLUMN_PORT_STEP)
    }

    /// Where row packets go.
    pub fn row_address(&self) -> SocketAddr {
        above(self.address, ROW_PORT_STEP)
    }

    /// `udp://eth1@239.255.1.1:5000`: what names it in logs and metrics.
    pub fn place(&self) -> Place<'_> {
        Place {
            transport: self.transport,
            interface: self.interface.as_deref(),
            source: self.source,
            address: self.address,
        }
    }
}

/// Column packets go to the stream's port and this (ST 2022-1; the parser sees to it that there is such a port).
pub(super) const COLUMN_PORT_STEP: u16 = 2;
/// Row packets go to the stream's port and this.
pub(super) const ROW_PORT_STEP: u16 = 4;

pub(super) fn above(mut address: SocketAddr, step: u16) -> SocketAddr {
    address.set_port(address.port().saturating_add(step));
    address
}

impl fmt::Display for Destination {
    /// The whole URL with every option, whatever the defaults are: read again it is the same destination.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#ttl={}&dscp={}", self.place(), self.ttl, self.dscp)?;
        if let Some(fec) = self.fec {
            write!(f, "&fec={}x{}", fec.columns, fec.rows)?;
            f.write_str(if fec.row_packets { "" } else { "&columns" })?;
            f.write_str(if fec.staggered { "&staggered" } else { "" })?;
        }
        if let Some(group) = self.sap {
            write!(f, "&sap={group}")?;
        }
        f.write_str(if self.loopback { "&loop" } else { "" })
    }
}

/// A URL without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub(super) transport: Transport,
    pub(super) interface: Option<&'a str>,
    pub(super) source: Option<IpAddr>,
    pub(super) address: SocketAddr,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.transport.as_str())?;
        match self.interface {
            Some(interface) if interface.contains(':') => write!(f, "[{interface}]@")?,
            Some(interface) => write!(f, "{interface}@")?,
            None if self.source.is_some() => f.write_str("@")?,
            None => {}
        }
        match self.source {
            Some(IpAddr::V6(source)) => write!(f, "[{source}]@")?,
            Some(source) => write!(f, "{source}@")?,
            None => {}
        }
        write!(f, "{}", self.address)
    }
}
