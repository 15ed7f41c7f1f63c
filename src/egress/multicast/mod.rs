//! A channel: streams that leave by UDP as a transport stream, to groups or hosts: made anew at a constant rate, alone or as the
//! services of one, or a source's own packets as they came (`passing`).
//!
//! One multiplex feeds all destinations of a channel. Each datagram is written once: seven packets, behind an RTP header
//! that destinations without RTP are not sent. All RTP destinations get the same header, so two of them over two networks
//! are the two paths of SMPTE ST 2022-7. What the channel does never depends on its destinations: a link that is down
//! costs counted errors, and nothing waits for it.
//!
//! [`Output`] is what the pacer ([`crate::shard::pacer`]) runs; `outlet` opens sockets, `repair` makes the packets of
//! SMPTE ST 2022-1, `body` the transport stream itself, `service`, `source` and `alarm` tell operators, `judge` holds what leaves to TR 101 290. [`Announcer`] tells
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
mod service;
mod source;
#[cfg(test)]
mod tests;

pub use announce::Announcer;
pub use judge::indicators;
pub use outlet::{OutletError, Outlets};

use crate::config::headend;
use crate::config::{Channel as Configured, Headend, Transport};
use crate::fanout::directory::StreamName;
use crate::fanout::log::{JoinPoint, LogKey};
use crate::media::Mono;
use crate::mux::{self, DATAGRAM_BYTES as PAYLOAD_BYTES};
use crate::observe::{ChannelAbout, ChannelSlot, LinkSlot};
use crate::proto::rtp_ts::Sender;
use crate::shard::links::Links;
use crate::shard::pacer::{Ahead, Channel, Heard, Outlet, SLOT_BYTES, Taken, To, Tray, fetch};
use crate::wire::fec::FEC_HEADER_BYTES;
use crate::wire::rtp::HEADER_BYTES as RTP_BYTES;
use alarm::Failures;
use body::Body;
use bytes::Bytes;
use judge::Judge;
use repair::Repair;
use service::Service;
use std::sync::Arc;
use std::time::Duration;

/// A datagram with RTP.
const DATAGRAM_BYTES: usize = RTP_BYTES + PAYLOAD_BYTES;
/// A repair packet is as long as what it protects, and has two headers of its own.
const REPAIR_BYTES: usize = RTP_BYTES + FEC_HEADER_BYTES + PAYLOAD_BYTES;
const _: () = assert!(DATAGRAM_BYTES <= SLOT_BYTES && REPAIR_BYTES <= SLOT_BYTES);
// What a configuration may ask for, the multiplex can do.
const _: () = assert!(headend::RATE_BPS_MIN == mux::RATE_BPS_MIN);
const _: () = assert!(headend::SERVICES_MAX == mux::SERVICES_MAX && headend::TRACK_PIDS == mux::TRACK_PIDS);
const _: () = {
    let mut services = 1;
    while services <= mux::SERVICES_MAX {
        let least = mux::RATE_BPS_MIN * services as u64;
        assert!(headend::fixed_bps(least, services) == mux::fixed_bps(least, services));
        assert!(headend::fixed_bps(50_000_000, services) == mux::fixed_bps(50_000_000, services));
        services += 1;
    }
};

/// How often counts of the multiplex and of the judge are taken.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What lists say of a configured channel.
pub fn about(channel: &Configured) -> ChannelAbout {
    ChannelAbout {
        name: channel.name.clone(),
        services: channel.services.iter().map(service::about).collect(),
        to: channel.to.iter().map(|to| to.place().to_string()).collect(),
        bitrate_bps: channel.bitrate_bps,
        passes: channel.passing.is_some(),
    }
}

/// What becomes of what is sent to one destination.
struct Way {
    /// The first of its addresses, among those of all.
    first: u32,
    /// The link that it is sent on, if one is named.
    link: Option<Arc<LinkSlot>>,
    failures: Failures,
}

/// See the module's description.
pub struct Output {
    /// The stream of each service.
    sources: Vec<StreamName>,
    log: LogKey,
    services: Vec<Service>,
    body: Body,
    rtp: Sender,
    /// Who gets each datagram.
    to: Vec<To>,
    /// Each matrix once.
    repairs: Vec<Repair>,
    /// What they are made from.
    datagram: Box<[u8; DATAGRAM_BYTES]>,
    slot: ChannelSlot,
    /// Its destinations, in the configuration's order.
    ways: Vec<Way>,
    judge: Judge,
    /// When counts were taken last.
    counted_at: Mono,
    /// Datagrams written since they were counted.
    written: u64,
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
        outlets: &mut Outlets,
        links: &mut Links,
    ) -> Result<(Output, Vec<Outlet>), OutletError> {
        let body = Body::new(channel, shared).map_err(|problem| OutletError::of_channel(channel, problem))?;
        let (mut to, mut sockets) = (Vec::with_capacity(channel.to.len()), Vec::new());
        let mut ways = Vec::with_capacity(channel.to.len());
        let (mut repairs, mut addresses) = (Vec::new(), 0);
        for destination in &channel.to {
            let skip = if destination.transport == Transport::Rtp { 0 } else { RTP_BYTES as u16 };
            to.push(To { address: addresses, skip });
            let (socket, link) = outlets.open(links, &channel.name, destination)?;
            ways.push(Way { first: addresses, link, failures: Failures::default() });
            let mut of_socket = vec![destination.address];
            if let Some(fec) = destination.fec {
                of_socket.push(destination.column_address());
                of_socket.extend(fec.row_packets.then(|| destination.row_address()));
                Repair::of(&mut repairs, fec, seed).send_to(addresses + 1);
            }
            addresses += of_socket.len() as u32;
            sockets.push(Outlet { socket, addresses: of_socket });
        }
        let passes = channel.passing.is_some();
        let name = |source: &str| {
            let (app, stream) = source.rsplit_once('/').unwrap_or(("", source));
            StreamName::new(app, stream)
        };
        let output = Output {
            sources: channel.services.iter().map(|service| name(&service.source)).collect(),
            log: Body::log(channel, shared),
            services: channel.services.iter().map(|_| Service::new(Mono::ZERO, passes)).collect(),
            body,
            rtp: Sender::new((seed >> 32) as u32, seed as u16),
            to,
            repairs,
            datagram: Box::new([0; DATAGRAM_BYTES]),
            slot,
            ways,
            judge: Judge::new(passes),
            counted_at: Mono::ZERO,
            written: 0,
        };
        Ok((output, sockets))
    }
}

impl Channel for Output {
    fn sources(&self) -> &[StreamName] {
        &self.sources
    }

    fn log(&self) -> LogKey {
        self.log
    }

    fn datagram_ns(&self) -> u64 {
        self.body.spacing_ns()
    }

    fn begin(&mut self, at: Mono) {
        self.body.begin(at);
        self.services.iter_mut().for_each(|service| service.begin(at));
        self.counted_at = at;
    }

    fn begins(&self, now: Mono, came_at: Mono) -> bool {
        self.body.is_in_time(now, came_at)
    }

    fn feed(&mut self, source: usize, now: Mono, came_at: Mono, packets: &Bytes) {
        if let Some(service) = self.services.get_mut(source) {
            service.source.fed(now);
        }
        self.body.feed(source, came_at, packets);
    }

    fn seam(&mut self, source: usize, now: Mono, came_at: Mono, join: &JoinPoint) {
        if let Some(metrics) = self.slot.services.get(source) {
            metrics.seams.inc();
        }
        self.body.seam(source, now, came_at, join);
    }

    fn heard(&mut self, source: usize, _now: Mono, heard: Heard) {
        if let Some(metrics) = self.slot.services.get(source).filter(|_| heard == Heard::Skipped) {
            metrics.lag_skips.inc();
        }
        if let Some(service) = self.services.get_mut(source) {
            service.source.heard(heard);
        }
    }

    fn due(&mut self, now: Mono) -> u64 {
        self.body.due(now)
    }

    fn next_at(&self) -> Mono {
        self.body.next_at()
    }

    fn ahead(&self, what: Ahead) {
        match what {
            Ahead::Own => {
                fetch((&raw const self.to).cast(), size_of::<Vec<To>>());
                fetch((&raw const self.rtp).cast(), size_of::<Sender>());
                fetch((&raw const self.written).cast(), 1);
            }
            Ahead::First => fetch(self.to.as_ptr().cast(), 1),
            Ahead::Second | Ahead::Third | Ahead::Fourth => {}
        }
        self.body.ahead(what);
        self.judge.ahead(what);
    }

    fn write(&mut self, now: Mono, tray: &mut Tray<'_>) {
        let (clock, utc_s) = (self.body.clock(), tray.utc_s());
        let Output { body, rtp, judge, datagram, to, repairs, written, .. } = self;
        if let (Body::Cbr { mux, .. }, true) = (&mut *body, repairs.is_empty()) {
            let header = rtp.header(clock);
            *written += 1;
            return tray.write(DATAGRAM_BYTES, to, |datagram| {
                let Some((head, packets)) = datagram.split_first_chunk_mut::<RTP_BYTES>() else { return };
                let Ok(packets) = <&mut [u8; PAYLOAD_BYTES]>::try_from(packets) else { return };
                *head = header;
                mux.write(packets, utc_s);
                judge.datagram(now, packets.as_chunks().0);
            });
        }
        // Repair packets are made from it while it is the kernel's already, and what is passed on may have ended.
        let Some((head, packets)) = datagram.split_first_chunk_mut::<RTP_BYTES>() else { return };
        let Ok(packets) = <&mut [u8; PAYLOAD_BYTES]>::try_from(packets) else { return };
        if !body.write(packets, utc_s) {
            return;
        }
        *written += 1;
        *head = rtp.header(clock);
        judge.datagram(now, packets.as_chunks().0);
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

    fn sent(&mut self, taken: Taken) {
        self.slot.metrics.sent_datagrams.add(taken.datagrams);
        self.slot.metrics.sent_bytes.add(taken.bytes);
    }

    fn refused(&mut self, address: u32, error: i32) {
        if let Some(way) = self.ways.iter_mut().rev().find(|way| way.first <= address) {
            way.failures.count(error, &self.slot.metrics);
        }
    }

    fn watch(&mut self, now: Mono) {
        let ChannelSlot { about, metrics, services, .. } = &self.slot;
        metrics.datagrams.add(std::mem::take(&mut self.written));
        for (service, (it, metrics)) in
            self.services.iter_mut().zip(about.services.iter().zip(services.iter()))
        {
            service.source.watch(now, &about.name, &it.source, metrics);
        }
        for (way, to) in self.ways.iter_mut().zip(&about.to) {
            let reachable = way.link.as_ref().is_none_or(|link| link.up.get() == 1);
            way.failures.watch(now, (&about.name, to), reachable);
        }
        if now.since(self.counted_at) >= COUNT_EVERY {
            self.counted_at = now;
            self.body.count(now, &self.slot, &mut self.services);
            self.judge.watch(now, &self.slot);
        }
    }

    fn end(&mut self) {
        self.slot.metrics.datagrams.add(std::mem::take(&mut self.written));
        let channel = self.slot.about.name.as_str();
        tracing::info!(channel, datagrams = self.body.written(), "channel ends");
    }
}
