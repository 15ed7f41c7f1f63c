//! A channel: a stream that leaves by UDP as a transport stream of constant rate, to groups or hosts.
//!
//! One multiplex feeds all destinations of a channel. Each datagram is written once: seven packets, behind an RTP header
//! that destinations without RTP are not sent. All RTP destinations get the same header, so two of them over two networks
//! are the two paths of SMPTE ST 2022-7. What the channel does never depends on its destinations: a link that is down
//! costs counted errors, and nothing waits for it.
//!
//! [`Output`] is what the pacer ([`crate::shard::pacer`]) runs; [`outlet`] opens sockets, `source` and `alarm` tell
//! operators, `judge` holds what leaves to TR 101 290.

mod alarm;
mod judge;
mod outlet;
mod source;

pub use judge::indicators;
pub use outlet::{Links, OutletError};

use crate::config::{Channel as Configured, Headend, Transport};
use crate::fanout::directory::StreamName;
use crate::media::Mono;
use crate::mux::{Mux, Service};
use crate::observe::{ChannelAbout, ChannelSlot};
use crate::shard::pacer::{Channel, Heard, Outlet, SLOT_BYTES, Stalled, To, Tray};
use crate::wire::ts::PACKET_BYTES;
use alarm::Failures;
use judge::Judge;
use source::Source;
use std::time::Duration;

/// Packets of a datagram: what fits into an Ethernet frame, and what every receiver expects.
const PACKETS: usize = 7;
/// Their bytes.
const PAYLOAD_BYTES: usize = PACKETS * PACKET_BYTES;
/// Bytes of an RTP header without extras (RFC 3550 section 5.1).
const RTP_BYTES: usize = 12;
/// A datagram with RTP.
const DATAGRAM_BYTES: usize = RTP_BYTES + PAYLOAD_BYTES;
const _: () = assert!(DATAGRAM_BYTES <= SLOT_BYTES);

/// What lists say of a configured channel.
pub fn about(channel: &Configured) -> ChannelAbout {
    ChannelAbout {
        name: channel.name.clone(),
        source: channel.source.clone(),
        to: channel.to.iter().map(|to| to.place().to_string()).collect(),
        bitrate_bps: channel.bitrate_bps,
    }
}

/// See the module's description.
pub struct Output {
    source_name: StreamName,
    service: Service,
    mux: Mux,
    datagram_ns: u64,
    /// Who gets each datagram of the transport stream.
    to: Vec<To>,
    datagram: [u8; DATAGRAM_BYTES],
    slot: ChannelSlot,
    source: Source,
    failures: Failures,
    judge: Judge,
    /// Nulls and packets at the last second, and when that was.
    counted: (u64, u64, Mono),
}
