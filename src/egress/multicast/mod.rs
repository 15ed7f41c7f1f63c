//! A channel: a stream that leaves by UDP as a transport stream of constant rate, to groups or hosts.
//!
//! One multiplex feeds all destinations of a channel. Each datagram is written once: seven packets, behind an RTP header
//! that destinations without RTP are not sent. All RTP destinations get the same header, so two of them over two networks
//! are the two paths of SMPTE ST 2022-7. What the channel does never depends on its destinations: a link that is down
//! costs counted errors, and nothing waits for it.
//!
//! [`Output`] is what the pacer ([`crate::shard::pacer`]) runs; `outlet` opens sockets, `repair` makes the packets of
//! SMPTE ST 2022-1, `source` and `alarm` tell operators, `judge` holds what leaves to TR 101 290. [`Announcer`] tells
//! receivers where channels are (SAP); it runs beside the pacer, on a thread with time to spare.
//!
//! **A stall of more than a second is left out**: what was due meanwhile is not sent, and the clock goes on with the time,
//! as receivers' clocks have done. A PCR that says so comes first, and RTP's marker.

mod alarm;
mod announce;
mod judge;
mod outlet;
mod repair;
mod source;
#[cfg(test)]
mod tests;

pub use announce::Announcer;
pub use judge::indicators;
pub use outlet::{Links, OutletError};

use crate::config::headend::{RATE_BPS_MIN, TRACK_PIDS};
use crate::config::{Channel as Configured, Headend, Transport};
use crate::fanout::directory::StreamName;
use crate::media::Mono;
use crate::mux::{self, Alarms, DATAGRAM_BYTES as PAYLOAD_BYTES, Mux, Service, Tally};
use crate::observe::{ChannelAbout, ChannelSlot, MuxAlarm};
use crate::proto::rtp_ts::Sender;
use crate::shard::pacer::{Ahead, Channel, Heard, Outlet, SLOT_BYTES, Taken, To, Tray, fetch};
use crate::wire::fec::FEC_HEADER_BYTES;
use crate::wire::rtp::HEADER_BYTES as RTP_BYTES;
use alarm::Failures;
use bytes::Bytes;
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
    }
}

/// Where PIDs of tracks that are neither pictures nor sound may begin; one of them is free.
const DATA_PIDS: [u16; 4] = [0x0300, 0x0400, 0x0500, 0x0600];

/// The multiplex of a configured channel.
fn service(channel: &Configured, shared: &Headend) -> Service {
    let firsts = [Some(channel.pmt_pid), Some(channel.video_pid), Some(channel.audio_pid), channel.pcr_pid];
    let free = |pid: &u16| firsts.into_iter().flatten().all(|first| first.abs_diff(*pid) >= TRACK_PIDS);
    let data_pid = DATA_PIDS.into_iter().find(free).unwrap_or(Service::default().data_pid);
    Service {
        rate_bps: channel.bitrate_bps,
        stream_id: channel.stream_id,
        network_id: shared.network_id,
        service_id: channel.service_id,
        name: channel.service_name.clone(),
        provider: channel.provider.clone(),
        network_name: shared.provider.clone(),
        pmt_pid: channel.pmt_pid,
        video_pid: channel.video_pid,
        audio_pid: channel.audio_pid,
        data_pid,
        pcr_pid: channel.pcr_pid,
        languages: channel.languages.clone(),
        nit: channel.nit,
        time: channel.tdt,
        ..Service::default()
    }
}

/// See the module's description.
pub struct Output {
    source_name: StreamName,
    mux: Mux,
    rtp: Sender,
    /// Who gets each datagram.
    to: Vec<To>,
    /// Each matrix once.
    repairs: Vec<Repair>,
    /// What they are made from.
    datagram: Box<[u8; DATAGRAM_BYTES]>,
    slot: ChannelSlot,
    source: Source,
    failures: Failures,
    judge: Judge,
    /// Counts at the last second, and when that was.
    counted: (Tally, Mono),
    overloaded: bool,
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
        links: &mut Links,
    ) -> Result<(Output, Vec<Outlet>), OutletError> {
        let service = service(channel, shared);
        if let Some(problem) = service.problem() {
            return Err(OutletError::of_channel(channel, problem));
        }
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
            mux: Mux::new(service, Mono::ZERO),
            rtp: Sender::new((seed >> 32) as u32, seed as u16),
            to,
            repairs,
            datagram: Box::new([0; DATAGRAM_BYTES]),
            slot,
            source: Source::new(Mono::ZERO),
            failures: Failures::default(),
            judge: Judge::new(),
            counted: (Tally::default(), Mono::ZERO),
            overloaded: false,
            written: 0,
        };
        Ok((output, outlets))
    }

    /// What the multiplex has counted since the last second.
    fn count(&mut self, now: Mono) {
        let (tally, metrics) = (self.mux.tally(), &self.slot.metrics);
        let before = std::mem::replace(&mut self.counted, (tally.clone(), now)).0;
        let packets = tally.packets - before.packets;
        if packets > 0 {
            metrics.nulls.set((tally.nulls - before.nulls) as f64 / packets as f64);
        }
        let dropped = tally.units_overload - before.units_overload;
        metrics.units_dropped.add(dropped);
        metrics.units_late.add(tally.units_late - before.units_late);
        let Alarms { source_lost, overload: overloaded, late, no_program } = self.mux.alarms(now);
        for (alarm, raised) in [
            (MuxAlarm::SourceLost, source_lost),
            (MuxAlarm::Overload, overloaded),
            (MuxAlarm::Late, late),
            (MuxAlarm::NoProgram, no_program),
        ] {
            metrics.alarms[alarm].set(raised.into());
        }
        let channel = self.slot.about.name.as_str();
        match (std::mem::replace(&mut self.overloaded, overloaded), overloaded) {
            (false, true) => {
                metrics.overflows.inc();
                tracing::warn!(
                    channel,
                    units = dropped,
                    "channel's source is faster than its rate; units are left out"
                );
            }
            (true, false) => tracing::info!(channel, "channel's rate suffices again"),
            _ => {}
        }
    }
}

impl Channel for Output {
    fn source(&self) -> &StreamName {
        &self.source_name
    }

    fn datagram_ns(&self) -> u64 {
        PAYLOAD_BYTES as u64 * 8 * 1_000_000_000 / self.mux.service().rate_bps.max(1)
    }

    fn begin(&mut self, at: Mono) {
        self.mux = Mux::new(self.mux.service().clone(), at);
        self.source = Source::new(at);
        self.counted.1 = at;
    }

    fn feed(&mut self, now: Mono, came_at: Mono, packets: &Bytes) {
        self.source.fed(now);
        self.mux.feed_shared(came_at, packets);
    }

    fn seam(&mut self, now: Mono) {
        self.slot.metrics.seams.inc();
        self.mux.seam(now);
    }

    fn heard(&mut self, _now: Mono, heard: Heard) {
        if heard == Heard::Skipped {
            self.slot.metrics.lag_skips.inc();
        }
        self.source.heard(heard);
    }

    fn due(&self, now: Mono) -> u64 {
        self.mux.position(now).saturating_sub(self.mux.written())
    }

    fn next_at(&self) -> Mono {
        self.mux.due(self.mux.written())
    }

    fn ahead(&self, what: Ahead) {
        match what {
            Ahead::Own => {
                fetch((&raw const self.to).cast(), size_of::<Vec<To>>());
                fetch((&raw const self.rtp).cast(), size_of::<Sender>());
                fetch((&raw const self.written).cast(), 1);
                self.mux.reads(fetch);
            }
            Ahead::First => {
                fetch(self.to.as_ptr().cast(), 1);
                self.mux.reads_of_tracks(fetch);
            }
            Ahead::Second => self.mux.reads_of_units(fetch),
            Ahead::Third => self.mux.reads_of_entries(fetch),
        }
        self.judge.ahead(what);
    }

    fn write(&mut self, now: Mono, tray: &mut Tray<'_>) {
        let header = self.rtp.header(self.mux.clock());
        self.written += 1;
        let (mux, judge, utc_s) = (&mut self.mux, &mut self.judge, tray.utc_s());
        let mut make = |datagram: &mut [u8]| {
            let Some((head, body)) = datagram.split_first_chunk_mut::<RTP_BYTES>() else { return };
            let Ok(body) = <&mut [u8; PAYLOAD_BYTES]>::try_from(body) else { return };
            *head = header;
            mux.write(body, utc_s);
            judge.datagram(now, body.as_chunks().0);
        };
        if self.repairs.is_empty() {
            return tray.write(DATAGRAM_BYTES, &self.to, make);
        }
        // Repair packets are made from it while it is the kernel's already.
        make(&mut *self.datagram);
        tray.send(&*self.datagram, &self.to);
        for repair in &mut self.repairs {
            let made = repair.push(&*self.datagram, tray);
            self.slot.metrics.fec_datagrams.add(made);
        }
    }

    fn jump(&mut self, now: Mono) {
        let (datagrams, metrics) = (self.mux.skip(now), &self.slot.metrics);
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

    fn refused(&mut self, _address: u32, error: i32) {
        self.failures.count(error, &self.slot.metrics);
    }

    fn watch(&mut self, now: Mono) {
        let ChannelSlot { about, metrics, .. } = &self.slot;
        metrics.datagrams.add(std::mem::take(&mut self.written));
        self.source.watch(now, &about.name, &about.source, metrics);
        self.failures.watch(now, &about.name);
        if now.since(self.counted.1) >= COUNT_EVERY {
            self.count(now);
            self.judge.watch(now, &self.slot);
        }
    }

    fn end(&mut self) {
        self.slot.metrics.datagrams.add(std::mem::take(&mut self.written));
        let channel = self.slot.about.name.as_str();
        tracing::info!(channel, datagrams = self.mux.written(), "channel ends");
    }
}
