//! One origin of an input: whom it listens to, what its monitor says, what is counted.
//!
//! The first who sends is listened to, until nothing of it came for `failover_ms`: two senders on one group, which happens
//! when somebody starts a spare encoder, would otherwise tear the stream apart. Its monitor sees what it sends before
//! anything is put in order, repaired or left out.
//!
//! Some senders cut packets in two where a datagram is full (ffmpeg without `pkt_size=1316`): these are put together here, and
//! by the monitor for itself.

use super::view::View;
use crate::config;
use crate::media::Mono;
use crate::monitor::{Indicator, Monitor, Options};
use crate::observe::{DatagramRefusal, OriginMetrics};
use crate::proto::{rtp_ts, ts};
use crate::shard::engine::Datagram;
use crate::wire::rtp::RtpPacket;
use crate::wire::ts::cut::{self, Seam};
use crate::wire::ts::{PACKET_BYTES, SYNC_BYTE};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a packet with its error correction.
const WIDE_BYTES: usize = 204;
/// Between two lines about senders that take turns.
const LINES: Duration = Duration::from_secs(10);

/// What a datagram has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Packets.
    Packets,
    /// Packets that were put together from this datagram and the one before: [`Origin::stitched`].
    Stitched,
    /// RTP around packets.
    Rtp,
    /// Nothing for us; it is counted.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
struct Sender {
    address: SocketAddr,
    last_at: Mono,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Origin {
    pub from: config::Origin,
    pub metrics: Arc<OriginMetrics>,
    failover: Duration,
    sender: Option<Sender>,
    /// The sender is another one since [`Origin::take_change`].
    changed: bool,
    /// Of the sender that is listened to, it was said that there is another one.
    told: bool,
    /// Not before senders that take turns have a line again.
    line_at: Mono,
    /// Whole packets of the datagram at hand, if it had to be put together; and the begin of the next packet.
    stitched: Vec<u8>,
    seam: Seam,
    /// Its datagrams cut packets in two, and that was said.
    pub cuts: bool,
    monitor: Monitor,
    /// What the page has of this monitor, by indicator and all together.
    raised: [u64; Indicator::ALL.len()],
    raised_all: u64,
    /// What the log has, likewise; and not before what it raises has a line again.
    said: [u64; Indicator::ALL.len()],
    said_all: u64,
    alarm_at: Mono,
    /// What the page has of the path that begins with this origin.
    rtp: [u64; RTP_FATES.len()],
    faults: [u64; TS_FAULTS.len()],
    bytes: u64,
    rate_at: Mono,
    view: View,
}

impl Origin {
    /// Of which nothing came yet.
    pub fn new(from: config::Origin, metrics: Arc<OriginMetrics>, failover: Duration, now: Mono) -> Origin {
        Origin {
            from,
            metrics,
            failover,
            sender: None,
            changed: false,
            told: false,
            line_at: Mono::ZERO,
            stitched: Vec::new(),
            seam: Seam::default(),
            cuts: false,
            monitor: Monitor::new(Options::default()),
            raised: [0; Indicator::ALL.len()],
            raised_all: 0,
            said: [0; Indicator::ALL.len()],
            said_all: 0,
            alarm_at: Mono::ZERO,
            rtp: [0; RTP_FATES.len()],
            faults: [0; TS_FAULTS.len()],
            bytes: 0,
            rate_at: now,
            view: View::default(),
        }
    }

    /// A datagram of media came.
    pub fn hear(&mut self, now: Mono, datagram: &Datagram<'_>, stream: &str) -> Heard {
        self.count(datagram);
        if datagram.cut {
            self.metrics.refused[DatagramRefusal::TooLong].inc();
            return Heard::Nothing;
        }
        let known = self.sender.is_some_and(|sender| sender.address == datagram.from);
        // What goes on with a packet that was cut may look like anything, RTP too.
        let goes_on = self.seam.head(datagram.payload).is_some()
            || (self.cuts && datagram.payload.len() < PACKET_BYTES);
        let rtp = !(known && goes_on) && RtpPacket::around_ts(datagram.payload).is_some();
        // Who sends nothing that could be meant is nobody: it must not keep the true sender out.
        if !known && !rtp && datagram.payload.first() != Some(&SYNC_BYTE) {
            self.metrics.refused[DatagramRefusal::NotTs].inc();
            return Heard::Nothing;
        }
        if !self.is_heard(now, datagram.from, stream) {
            self.metrics.refused[DatagramRefusal::OtherSender].inc();
            return Heard::Nothing;
        }
        self.monitor.handle_datagram(now, datagram.payload);
        self.tell(now, stream);
        if !rtp && self.stitch(datagram.payload) {
            if !std::mem::replace(&mut self.cuts, true) {
                let origin = &self.from;
                tracing::warn!(stream, %origin, "input: its datagrams cut packets in two, so that one lost datagram is two; with ffmpeg add pkt_size=1316");
            }
            return Heard::Stitched;
        }
        if rtp {
            return Heard::Rtp;
        }
        if datagram.payload.first() == Some(&SYNC_BYTE) {
            return Heard::Packets;
        }
        self.metrics.refused[DatagramRefusal::NotTs].inc();
        Heard::Nothing
    }

    /// Whether what was heard just now comes of another sender than before.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The packets of [`Heard::Stitched`].
    pub fn stitched(&self) -> &[u8] {
        &self.stitched
    }

    /// Whether `payload` goes on with what the datagram before it has left, or leaves something to the next one.
    fn stitch(&mut self, payload: &[u8]) -> bool {
        self.stitched.clear();
        if payload.len() < PACKET_BYTES {
            // The end of a packet and no more: what the sender had left when it paused.
            self.stitched.extend(self.seam.join(payload).iter().flatten());
            return !self.stitched.is_empty();
        }
        let head = match (self.seam.head(payload), payload.first()) {
            (Some(head), _) => Some(head),
            (None, Some(&SYNC_BYTE)) => Some(0),
            // Behind a lost one.
            _ => cut::search(payload).filter(|_| self.cuts && RtpPacket::parse(payload).is_none()),
        };
        let Some((head, rest)) = head.and_then(|head| payload.split_at_checked(head)) else {
            self.seam.keep(&[]);
            return false;
        };
        let joined = self.seam.join(head);
        let (packets, tail) = rest.split_at(rest.len() - rest.len() % PACKET_BYTES);
        // Packets with room behind them (204 bytes) are whole.
        let wide = payload.len().is_multiple_of(WIDE_BYTES) && !self.cuts;
        let goes_on = tail.first() == Some(&SYNC_BYTE) && !wide;
        self.seam.keep(if goes_on { tail } else { &[] });
        if head.is_empty() && !goes_on {
            return false;
        }
        self.stitched.extend(joined.iter().flatten());
        self.stitched.extend_from_slice(packets);
        true
    }

    /// A repair packet came; false if it is not to be looked at.
    pub fn hear_repair(&mut self, datagram: &Datagram<'_>) -> bool {
        self.count(datagram);
        // It comes from another port of who sends the media.
        let heard = self.sender.is_some_and(|sender| sender.address.ip() == datagram.from.ip());
        if !heard {
            self.metrics.refused[DatagramRefusal::OtherSender].inc();
        }
        heard && !datagram.cut
    }

    fn count(&mut self, datagram: &Datagram<'_>) {
        self.metrics.datagrams.inc();
        self.metrics.bytes.add(datagram.payload.len() as u64);
        self.bytes += datagram.payload.len() as u64;
    }

    /// Whether `from` is who is listened to, or is from now on.
    fn is_heard(&mut self, now: Mono, from: SocketAddr, stream: &str) -> bool {
        if self.from.source.is_some_and(|source| source != from.ip()) {
            return false;
        }
        match &mut self.sender {
            Some(sender) if sender.address == from => {
                sender.last_at = now;
                return true;
            }
            Some(sender) if now.since(sender.last_at) < self.failover => {
                let (heard, origin) = (sender.address, &self.from);
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(stream, %origin, %heard, other = %from, "input: somebody else sends to the same address; ignored");
                }
                return false;
            }
            _ => {}
        }
        let before = self.sender.replace(Sender { address: from, last_at: now });
        self.told = now < self.line_at;
        if let Some(before) = before {
            if now >= self.line_at {
                self.line_at = now + LINES;
                let origin = &self.from;
                tracing::info!(stream, %origin, before = %before.address, now = %from, "input: another sender");
            }
            // What one sender did says nothing of the next one.
            self.bring_indicators();
            self.seam = Seam::default();
            (self.changed, self.cuts) = (true, false);
            self.monitor = Monitor::new(Options::default());
            (self.raised, self.raised_all) = ([0; Indicator::ALL.len()], 0);
            (self.said, self.said_all) = (self.raised, 0);
            self.view = View::default();
        }
        true
    }

    /// Time has passed.
    pub fn look(&mut self, now: Mono, stream: &str) {
        if now >= self.monitor.deadline() {
            self.monitor.handle_timeout(now);
        }
        self.tell(now, stream);
    }

    /// Nobody has read what came until `now`.
    pub fn held_up(&mut self, now: Mono) {
        self.monitor.held_up(now);
    }

    /// When [`Origin::look`] is due.
    pub fn deadline(&self) -> Mono {
        let line_at = if self.said_all == self.raised_all { Mono::NEVER } else { self.alarm_at };
        self.monitor.deadline().min(line_at)
    }

    pub fn heap_bytes(&self) -> usize {
        self.monitor.heap_bytes() + self.stitched.capacity()
    }

    /// Brings the page up to date, once a second.
    pub fn publish(&mut self, now: Mono) {
        let elapsed = now.micros_since(self.rate_at).max(1);
        self.metrics.bitrate_bps.set(self.bytes as f64 * 8e6 / elapsed as f64);
        self.metrics.reception.put(self.view.look(&self.monitor, Duration::from_micros(elapsed)));
        (self.bytes, self.rate_at) = (0, now);
    }

    /// What the monitor raises is on the page at once, and in the log with its cause, but not more often than lines may come.
    fn tell(&mut self, now: Mono, stream: &str) {
        if self.monitor.raised() != self.raised_all {
            self.bring_indicators();
        }
        if self.said_all == self.raised_all || now < self.alarm_at {
            return;
        }
        self.alarm_at = now + LINES;
        let before = std::mem::replace(&mut self.said, self.raised);
        self.said_all = self.raised_all;
        let news = Indicator::ALL.into_iter().zip(before);
        let news = news.map(|(indicator, before)| (indicator, before, self.monitor.tally(indicator)));
        for (indicator, before, tally) in news.filter(|(_, before, tally)| tally.count > *before) {
            let (origin, pid) = (&self.from, tally.last.and_then(|last| last.pid));
            let (id, what, times) = (indicator.id(), indicator.name(), tally.count - before);
            tracing::warn!(stream, %origin, indicator = id, what, pid, times, "input: what comes is not in order");
        }
    }

    fn bring_indicators(&mut self) {
        let counts = Indicator::ALL.map(|indicator| self.monitor.tally(indicator).count);
        bring(&counts, &mut self.raised, &self.metrics.indicators);
        self.raised_all = self.monitor.raised();
    }

    /// Brings what was counted on the path that begins here to the page.
    pub fn publish_path(&mut self, rtp: &rtp_ts::Tally, ts: &ts::Tally) {
        bring(&rtp_fates(rtp), &mut self.rtp, &self.metrics.rtp);
        bring(&ts_faults(ts), &mut self.faults, &self.metrics.faults);
    }
}

/// Adds what has come since `before` to the counters of the page, which are in the same order.
fn bring(counts: &[u64], before: &mut [u64], page: &crate::observe::Named) {
    for ((count, before), (_, counter)) in counts.iter().zip(before).zip(page) {
        counter.add(count.saturating_sub(std::mem::replace(before, *count)));
    }
}

/// Label values of [`rtp_fates`].
pub(super) const RTP_FATES: [&str; 11] = [
    "delivered",
    "lost",
    "repaired",
    "reordered",
    "merged",
    "duplicate",
    "late",
    "foreign",
    "malformed",
    "overrun",
    "repair",
];

fn rtp_fates(tally: &rtp_ts::Tally) -> [u64; RTP_FATES.len()] {
    [
        tally.delivered,
        tally.lost,
        tally.repaired,
        tally.reordered,
        tally.merged,
        tally.duplicates,
        tally.late,
        tally.foreign,
        tally.malformed,
        tally.overrun,
        tally.repair_packets,
    ]
}

/// Label values of [`ts_faults`].
pub(super) const TS_FAULTS: [&str; 13] = [
    "damaged_packet",
    "malformed",
    "scrambled",
    "lost_packets",
    "repeated_packet",
    "incomplete_unit",
    "too_large",
    "before_keyframe",
    "before_config",
    "untimed",
    "not_carried",
    "resync",
    "crc",
];

fn ts_faults(tally: &ts::Tally) -> [u64; TS_FAULTS.len()] {
    [
        tally.errors,
        tally.malformed,
        tally.scrambled,
        tally.lost,
        tally.repeated,
        tally.damaged,
        tally.too_large,
        tally.before_keyframe,
        tally.before_config,
        tally.untimed,
        tally.not_carried,
        tally.resyncs,
        tally.crc,
    ]
}

/// Label values of the monitor's indicators.
pub(super) fn indicators() -> [&'static str; Indicator::ALL.len()] {
    Indicator::ALL.map(Indicator::id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is raised soon behind a line has one too, when lines may come again, with how often it was since.
    #[test]
    fn every_alarm_has_a_line() {
        let text = "[[input]]\nstream = \"live/in\"\nfrom = [\"udp://127.0.0.1:5000\"]\n";
        let config = config::Config::parse(text, "f").unwrap();
        let metrics = Arc::new(OriginMetrics {
            indicators: indicators().map(|id| (id, Default::default())).into(),
            ..OriginMetrics::default()
        });
        let from = config.inputs[0].from[0].clone();
        let mut origin = Origin::new(from, metrics.clone(), Duration::from_millis(500), Mono::ZERO);
        let (sender, lost) = (SocketAddr::from(([10, 0, 0, 1], 9000)), Indicator::Continuity as usize);
        let mut said = Vec::new();
        for n in 0..1200u64 {
            let now = Mono::from_micros(1_000_000 + n * 10_000);
            let mut packet = [0xff; PACKET_BYTES];
            packet[..4].copy_from_slice(&[0x47, 0x01, 0x23, 0x10 | (n % 16) as u8]);
            // Three are lost on their way.
            if ![10, 20, 30].contains(&n) {
                origin.hear(now, &Datagram { from: sender, payload: &packet, cut: false }, "live/in");
            }
            origin.look(now, "live/in");
            assert!(origin.said_all == origin.raised_all || origin.deadline() <= origin.alarm_at);
            if said.last() != Some(&origin.said[lost]) {
                said.push(origin.said[lost]);
            }
        }
        assert_eq!((said, metrics.indicators[lost].1.get()), (vec![0, 1, 3], 3));
    }
}
