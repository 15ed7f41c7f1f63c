//! Times for the packets of a file: those of one program's clock, spread evenly between two PCRs.
//!
//! A packet's time is known when the next PCR is, so packets wait for it.

use crate::media::Mono;
use crate::monitor::{PcrClock, Step};
use crate::wire::ts::{PACKET_BYTES, framing::Unit, packet::Packet};
use std::collections::VecDeque;

/// Units that wait for the next PCR, some 6 MB: two seconds of 25 Mbit/s. Beyond it they get the times of the rate so far,
/// and another PID's clock is taken.
const WAITING_MAX: usize = 32 << 10;

/// Gives times to what framing finds.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    waiting: VecDeque<Held>,
    clock: PcrClock,
    /// PID of the clock that is followed.
    pid: Option<u16>,
    /// It has gone on at least once.
    confirmed: bool,
    /// Another PID with a PCR: it is followed if it goes on and the first has not.
    rival: Option<(u16, PcrClock)>,
    /// Packets that came.
    packets: u64,
    /// Time of the last packet that has got one, in microseconds.
    last_us: Option<f64>,
    /// Microseconds a packet in the last interval.
    packet_us: Option<f64>,
    /// All intervals together.
    total_us: f64,
    total_packets: f64,
}

/// A unit that waits.
#[derive(Debug)]
enum Held {
    Packet { bytes: Box<[u8; PACKET_BYTES]>, sync_ok: bool },
    Acquired { stride: usize, skipped: u64 },
    Lost,
}

impl Timeline {
    /// The next unit of the file; `give` gets those whose times are known now.
    pub fn push(&mut self, unit: Unit<'_>, give: &mut impl FnMut(Mono, Unit<'_>)) {
        let Unit::Packet { bytes, sync_ok } = unit else {
            self.waiting.push_back(match unit {
                Unit::Acquired { stride, skipped } => Held::Acquired { stride, skipped },
                _ => Held::Lost,
            });
            return;
        };
        let number = self.packets;
        self.packets += 1;
        self.waiting.push_back(Held::Packet { bytes: Box::new(*bytes), sync_ok });
        let packet = Packet::parse(bytes);
        let pcr = packet.pcr().filter(|_| !packet.error && sync_ok);
        if let Some(pcr) = pcr
            && let Some(step) = self.step(packet.pid, pcr, number, packet.discontinuity())
        {
            match step {
                Step::Continuous { ticks, packets } if packets > 0 && ticks > 0 => {
                    self.confirmed = true;
                    let us = ticks as f64 / 27.0;
                    self.total_us += us;
                    self.total_packets += packets as f64;
                    let packet_us = us / packets as f64;
                    self.packet_us = Some(packet_us);
                    self.release(packet_us, give);
                }
                // The same packet twice, or the first of all: the next one will tell.
                Step::Continuous { .. } => {}
                _ => {
                    if let Some(us) = self.packet_us {
                        self.release(us, give);
                    }
                }
            }
        }
        if self.waiting.len() >= WAITING_MAX {
            self.give_up_clock(give);
        }
    }

    /// What a PCR is to the clock that is followed; `None`: it is another one's.
    fn step(&mut self, pid: u16, pcr: u64, number: u64, announced: bool) -> Option<Step> {
        if *self.pid.get_or_insert(pid) == pid {
            return Some(self.clock.step(pcr, number, None, announced));
        }
        if self.confirmed {
            return None;
        }
        let (rival, clock) = self.rival.get_or_insert_with(|| (pid, PcrClock::default()));
        if *rival != pid {
            return None;
        }
        let step = clock.step(pcr, number, None, announced);
        if !matches!(step, Step::Continuous { .. }) {
            return None;
        }
        (self.pid, self.clock) = (Some(pid), std::mem::take(clock));
        self.rival = None;
        Some(step)
    }

    /// Whether a clock was found that times could be taken from.
    pub fn has_clock(&self) -> bool {
        self.packet_us.is_some()
    }

    /// The file has ended.
    pub fn finish(&mut self, give: &mut impl FnMut(Mono, Unit<'_>)) {
        // What follows the last PCR may be a burst of a variable rate: the faster of what is known is the safer guess.
        let us = self.mean_us().zip(self.packet_us).map_or(0.0, |(mean, last)| mean.min(last));
        self.release(us, give);
    }

    fn mean_us(&self) -> Option<f64> {
        (self.total_packets > 0.0).then(|| self.total_us / self.total_packets)
    }

    fn give_up_clock(&mut self, give: &mut impl FnMut(Mono, Unit<'_>)) {
        let us = self.mean_us().unwrap_or_default();
        self.release(us, give);
        (self.pid, self.rival, self.confirmed) = (None, None, false);
        self.clock.forget();
    }

    /// Gives all that wait times at this distance.
    fn release(&mut self, packet_us: f64, give: &mut impl FnMut(Mono, Unit<'_>)) {
        while let Some(held) = self.waiting.pop_front() {
            let next_us = self.last_us.map_or(0.0, |last| last + packet_us);
            let at = Mono::from_micros(next_us as u64);
            match held {
                Held::Packet { bytes, sync_ok } => {
                    self.last_us = Some(next_us);
                    give(at, Unit::Packet { bytes: &bytes, sync_ok });
                }
                Held::Acquired { stride, skipped } => give(at, Unit::Acquired { stride, skipped }),
                Held::Lost => give(at, Unit::Lost),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of a PID, with a PCR in milliseconds.
    fn packet(pid: u16, pcr_ms: Option<u64>) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xFF; PACKET_BYTES];
        bytes[..4].copy_from_slice(&[0x47, (pid >> 8) as u8, pid as u8, 0x10]);
        if let Some(ms) = pcr_ms {
            let base = ms * 90;
            bytes[3..6].copy_from_slice(&[0x30, 7, 0x10]);
            bytes[6..12].copy_from_slice(&(base << 31 | 0x7E << 24).to_be_bytes()[..6]);
        }
        bytes
    }

    fn times(packets: &[[u8; PACKET_BYTES]]) -> Vec<u64> {
        let (mut timeline, mut times) = (Timeline::default(), Vec::new());
        let mut give = |at: Mono, _: Unit<'_>| times.push((at.as_micros() + 500) / 1000);
        for bytes in packets {
            timeline.push(Unit::Packet { bytes, sync_ok: true }, &mut give);
        }
        timeline.finish(&mut give);
        times
    }

    #[test]
    fn between_and_around_clocks() {
        let media = packet(32, None);
        let at = |ms| packet(33, Some(ms));
        // Two in front of the first, a slower interval, and two behind the last.
        let packets = [media, media, at(1000), media, at(1020), media, media, media, at(1100), media, media];
        assert_eq!(times(&packets), [0, 10, 20, 30, 40, 60, 80, 100, 120, 137, 153]);
        // A step takes the time of the packets, and another program's clock is not asked.
        let packets = [at(0), media, at(20), packet(40, Some(7)), at(9000), media, at(9020)];
        assert_eq!(times(&packets), [0, 10, 20, 30, 40, 50, 60]);
        // One packet has the flag by damage, or its clock has just ended: the one that goes on is followed.
        let packets = [packet(40, Some(7)), at(0), media, at(20), packet(40, Some(9000)), at(40)];
        assert_eq!(times(&packets), [0, 10, 20, 30, 40, 50]);
        assert_eq!(times(&[media, media]), [0, 0], "without a clock there is no time");
    }

    #[test]
    fn a_clock_that_stops_is_given_up() {
        let mut packets = vec![packet(33, Some(0)), packet(33, Some(10))];
        packets.extend(vec![packet(32, None); WAITING_MAX]);
        packets.extend([packet(40, Some(500)), packet(40, Some(520)), packet(40, Some(540))]);
        let times = times(&packets);
        assert_eq!(times.len(), packets.len());
        let last = times.last_chunk::<3>().unwrap();
        assert_eq!([last[1] - last[0], last[2] - last[1]], [20, 20], "{last:?}");
    }
}
