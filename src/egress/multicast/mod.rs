//! A channel: a stream that leaves by UDP as a transport stream, to groups or hosts: made anew at a constant rate, or its
//! source's own packets as they came (`passing`).
//!
//! One multiplex feeds all destinations of a channel. Each datagram is written once: seven packets, behind an RTP header
//! that destinations without RTP are not sent. All RTP destinations get the same header, so two of them over two networks
//! are the two paths of SMPTE ST 2022-7. What the channel does never depends on its destinations: a link that is down
//! costs counted errors, and nothing waits for it.
//!
//! [`Output`] is what the pacer ([`crate::shard::pacer`]) runs; `outlet` opens sockets, `repair` makes the packets of
//! SMPTE ST 2022-1, `body` the transport stream itself, `source` and `alarm` tell operators, `judge` holds what leaves to TR 101 290. [`Announcer`] tells
//! receivers where channels are (SAP); it runs beside the pacer, on a thread with time to spare.
//!
//! **A stall of more than a second is left out**: what was due meanwhile is not sent, and the clock goes on with the time,
//! as receivers' clocks have done. A PCR that says so comes first, and RTP's marker.

mod alarm;
mod announce;
mod body;
mod judge;
mod outlet;
mod passing;
mod repair;
mod source;
#[cfg(test)]
mod tests;

pub use announce::Announcer;
pub use judge::indicators;
pub use outlet::{Links, OutletError};

use crate::config::headend::RATE_BPS_MIN;
use crate::config::{Channel as Configured, Headend, Transport};
use crate::fanout::directory::StreamName;
use crate::fanout::log::{JoinPoint, LogKey};
use crate::media::Mono;
use crate::mux::{self, DATAGRAM_BYTES as PAYLOAD_BYTES};
use crate::observe::{ChannelAbout, ChannelSlot};
use crate::proto::rtp_ts::Sender;
use crate::shard::pacer::{Channel, Heard, Outlet, SLOT_BYTES, To, Tray};
use crate::wire::fec::FEC_HEADER_BYTES;
use crate::wire::rtp::HEADER_BYTES as RTP_BYTES;
use alarm::Failures;
use body::Body;
use judge::Judge;
use repair::Repair;
use source::Source;
use std::time::Duration;

/// A datagram with RTP.
const DATAGRAM_BYTES: usize = RTP_BYTES + PAYLOAD_BYTES;
/// A repair packet is as long as what it protects, and has two headers of its own.
const REPAIR_BYTES: usize = RTP_BYTES + FEC_HEADER_BYTES + PAYLOAD_BYTES;
const _: () = assert!(DATAGRAM_BYTES <= SLOT_BYTES && REPAIR_BYTES <= SLOT_BYTES);
// What a configuration may ask for, the multiplex can do.
const _: () = assert!(RATE_BPS_MIN == mux::RATE_BPS_MIN);

/// How often counts of the multiplex and of the judge are taken.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What lists say of a configured channel.
pub fn about(channel: &Configured) -> ChannelAbout {
    ChannelAbout {
        name: channel.name.clone(),
        source: channel.source.clone(),
        to: channel.to.iter().map(|to| to.place().to_string()).collect(),
        bitrate_bps: channel.bitrate_bps,
        passes: channel.passing.is_some(),
    }
}

/// See the module's description.
pub struct Output {
    source_name: StreamName,
    body: Body,
    rtp: Sender,
    /// Who gets each datagram.
    to: Vec<To>,
    /// Each matrix once.
    repairs: Vec<Repair>,
    datagram: Box<[u8; DATAGRAM_BYTES]>,
    slot: ChannelSlot,
    source: Source,
    failures: Failures,
    judge: Judge,
    /// When counts were taken last.
    counted_at: Mono,
}

impl Output {
    /// The channel that `channel` describes, with its sockets; `seed` is any number that other senders do not have.
    ///
    /// # Errors
    /// A destination cannot be sent to, or the multiplex cannot be made.
    pub fn new(
        channel: &Configured,
        shared: &Headend,
        slot: ChannelSlot,
        seed: u64,
        links: &mut Links,
    ) -> Result<(Output, Vec<Outlet>), OutletError> {
        let body = Body::new(channel, shared).map_err(|problem| OutletError::of_channel(channel, problem))?;
        let (mut to, mut outlets) = (Vec::with_capacity(channel.to.len()), Vec::new());
        let (mut repairs, mut addresses) = (Vec::new(), 0);
        for destination in &channel.to {
            let skip = if destination.transport == Transport::Rtp { 0 } else { RTP_BYTES as u16 };
            to.push(To { address: addresses, skip });
            let socket = links.open(&channel.name, destination)?;
            let mut of_socket = vec![destination.address];
            if let Some(fec) = destination.fec {
                of_socket.push(destination.column_address());
                of_socket.extend(fec.row_packets.then(|| destination.row_address()));
                Repair::of(&mut repairs, fec, seed).send_to(addresses + 1);
            }
            addresses += of_socket.len() as u32;
            outlets.push(Outlet { socket, addresses: of_socket });
        }
        let (app, stream) = channel.source.rsplit_once('/').unwrap_or(("", &channel.source));
        let output = Output {
            source_name: StreamName::new(app, stream),
            rtp: Sender::new((seed >> 32) as u32, seed as u16),
            to,
            repairs,
            datagram: Box::new([0; DATAGRAM_BYTES]),
            slot,
            source: Source::new(Mono::ZERO, channel.passing.is_some()),
            failures: Failures::default(),
            judge: Judge::new(channel.passing.is_some()),
            body,
            counted_at: Mono::ZERO,
        };
        Ok((output, outlets))
    }
}

impl Channel for Output {
    fn source(&self) -> &StreamName {
        &self.source_name
    }

    fn log(&self) -> LogKey {
        self.body.log()
    }

    fn datagram_ns(&self) -> u64 {
        self.body.spacing_ns()
    }

    fn begin(&mut self, at: Mono) {
        self.body.begin(at);
        self.source.begin(at);
        self.counted_at = at;
    }

    fn begins(&self, now: Mono, came_at: Mono) -> bool {
        self.body.is_in_time(now, came_at)
    }

    fn feed(&mut self, now: Mono, came_at: Mono, packets: &[u8]) {
        self.source.fed(now);
        self.body.feed(came_at, packets);
    }

    fn seam(&mut self, now: Mono, came_at: Mono, join: &JoinPoint) {
        self.slot.metrics.seams.inc();
        self.body.seam(now, came_at, join);
    }

    fn heard(&mut self, _now: Mono, heard: Heard) {
        if heard == Heard::Skipped {
            self.slot.metrics.lag_skips.inc();
        }
        self.source.heard(heard);
    }

    fn due(&mut self, now: Mono) -> u64 {
        self.body.due(now)
    }

    fn write(&mut self, now: Mono, tray: &mut Tray<'_>) {
        let clock = self.body.clock();
        let Some((head, body)) = self.datagram.split_first_chunk_mut::<RTP_BYTES>() else { return };
        let Ok(body) = <&mut [u8; PAYLOAD_BYTES]>::try_from(body) else { return };
        if !self.body.write(body, tray.utc_s()) {
            return;
        }
        *head = self.rtp.header(clock);
        self.judge.datagram(now, body);
        self.slot.metrics.datagrams.inc();
        tray.send(&*self.datagram, &self.to);
        for repair in &mut self.repairs {
            let made = repair.push(&*self.datagram, tray);
            self.slot.metrics.fec_datagrams.add(made);
        }
    }

    fn jump(&mut self, now: Mono) {
        let (datagrams, metrics) = (self.body.skip(now), &self.slot.metrics);
        self.rtp.discontinuity();
        metrics.jumps.inc();
        metrics.jumped_datagrams.add(datagrams);
        let channel = self.slot.about.name.as_str();
        tracing::warn!(
            channel,
            datagrams,
            "channel was held up for more than a second; what was due is left out"
        );
    }

    fn fell_behind(&mut self, _now: Mono) {
        self.slot.metrics.catch_ups.inc();
    }

    fn sent(&mut self, _address: u32, result: Result<u32, i32>) {
        match result {
            Ok(bytes) => {
                self.slot.metrics.sent_datagrams.inc();
                self.slot.metrics.sent_bytes.add(bytes.into());
            }
            Err(number) => self.failures.count(number, &self.slot.metrics),
        }
    }

    fn watch(&mut self, now: Mono) {
        let ChannelSlot { about, metrics, .. } = &self.slot;
        self.source.watch(now, &about.name, &about.source, metrics);
        self.failures.watch(now, &about.name);
        if now.since(self.counted_at) >= COUNT_EVERY {
            self.counted_at = now;
            self.body.count(now, &about.name, metrics);
            self.judge.watch(now, &self.slot);
        }
    }

    fn end(&mut self) {
        let channel = self.slot.about.name.as_str();
        tracing::info!(channel, datagrams = self.body.written(), "channel ends");
    }
}
