//! Packets of a source sent again as they came, at the pace of the source's own clock.
//!
//! Like [`Mux`](super::Mux) a machine without socket, clock or thread: packets go in with the times at which they came
//! ([`Replay::feed`]), datagrams of seven come out when they are due ([`Replay::due`], [`Replay::write`]). Nothing is changed.
//!
//! **When a packet is due.** The network has moved packets; their clock (PCR) says where they were. A packet with a PCR is due
//! when that says so, a constant delay after it should have come; those between two of them are due in even steps. How the
//! source's clock lies to this host's is followed slowly (100 parts of a million), so that a network's jitter is not sent on and a source
//! that is fast or slow by what it may be (30 ppm) is never lost.
//!
//! **Where the clock says nothing that can be believed** (none within the delay, a jump, one that is off from when packets came
//! by more than half a second), packets are due the delay after they came. A gap of the source is a gap.
//!
//! What must stay true: packets leave in the order in which they came; none is due before it came, nor later than the delay and
//! [`ASTRAY`] after that; memory is bounded by [`PACKETS_MAX`].

use super::{DATAGRAM_BYTES, DATAGRAM_PACKETS};
use crate::media::Mono;
use crate::wire::ts::packet::Packet;
use crate::wire::ts::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS};
use std::collections::VecDeque;
use std::time::Duration;

/// Packets that wait at most: two seconds of 100 Mbit/s, 28 MB. What comes beyond is left out.
pub const PACKETS_MAX: usize = 1 << 17;
/// How far a clock may be from when its packets came, beyond the delay: networks hold no packet back for longer.
pub const ASTRAY: Duration = Duration::from_millis(500);
/// PCRs that are further apart say nothing of the packets between them (ISO 13818-1 section 2.7.2 allows 100 ms).
const PCR_GAP_NS: i64 = 150_000_000;
/// A clock is looked for on another PID when nothing came of it for this long.
const PCR_LOST_NS: i64 = 1_000_000_000;
/// Over such a time the distance of the two clocks is averaged.
const WINDOW_NS: i64 = 1_000_000_000;
/// How fast what is due may be moved to follow the source's clock, in parts of a million: three times what a source may be off.
const SLEW: i64 = 100;
/// So many windows in a row whose packets came the delay or more beside the clock, and it is taken anew: the network has another
/// way, and nothing could be held back for as long as following takes.
const BEYOND_MAX: u32 = 3;
/// A clock that was not believed so often in a row is not for [`DOUBT_NS`].
const JUMPS_MAX: u32 = 3;
const DOUBT_NS: i64 = 10_000_000_000;
/// Datagrams of which the mean distance is found.
const MEAN_OF: i64 = 64;
/// Distance of datagrams that is assumed before anything came, in nanoseconds: 4 Mbit/s.
const FIRST_SPACING_NS: u64 = 2_632_000;
/// Burst at most, in times of the mean rate: what packets without a clock that come at once leave by.
const BURST: u64 = 4;
/// How much slower than the mean a source may be for a while, and still be taken for one that sends.
const SLOWEST: u64 = 2;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came.
    pub packets: u64,
    /// Null packets among those sent.
    pub nulls: u64,
    /// Packets that came later than they were due.
    pub late: u64,
    /// Packets for which there was no room.
    pub overrun: u64,
    /// Times that a clock did not go on, or was not believed.
    pub clock_jumps: u64,
    /// Packets that were due by when they came.
    pub by_arrival: u64,
    /// Datagrams left out by [`Replay::skip`].
    pub skipped: u64,
}

#[derive(Debug)]
struct Slot {
    bytes: [u8; PACKET_BYTES],
    came_ns: i64,
    due_ns: i64,
}

/// A clock that is followed.
#[derive(Clone, Copy, Debug)]
struct Clock {
    pid: u16,
    /// The last PCR, in ticks of 27 MHz, and its time since the first in nanoseconds.
    last: u64,
    elapsed_ns: i64,
    came_ns: i64,
    /// Time of this host at which the clock said 0.
    offset_ns: i64,
    /// Of this window: when it began, the sum of distances and their number.
    window: (i64, i64, i64),
    /// Windows so far.
    windows: u32,
    /// Of which the last so many in a row were beyond the delay.
    beyond: u32,
}

/// See the module's description.
#[derive(Debug)]
pub struct Replay {
    at: Mono,
    delay_ns: i64,
    queue: VecDeque<Slot>,
    /// How many from the front on have their times.
    timed: usize,
    /// The last that was given.
    due_ns: i64,
    clock: Option<Clock>,
    /// How often it jumped in a row, and until when none is believed.
    jumps: u32,
    doubt_until: i64,
    mean_ns: i64,
    sent_ns: Option<i64>,
    written: u64,
    counts: Counts,
}

impl Replay {
    /// One that has nothing, from `at` on, whose packets leave `delay` after they should have come.
    pub fn new(at: Mono, delay: Duration) -> Replay {
        Replay {
            at,
            delay_ns: delay.as_nanos() as i64,
            queue: VecDeque::new(),
            timed: 0,
            due_ns: 0,
            clock: None,
            jumps: 0,
            doubt_until: 0,
            mean_ns: FIRST_SPACING_NS as i64,
            sent_ns: None,
            written: 0,
            counts: Counts::default(),
        }
    }

    fn ns(&self, now: Mono) -> i64 {
        // 292 years.
        i64::try_from(now.micros_since(self.at).saturating_mul(1000)).unwrap_or(i64::MAX)
    }

    /// Whole packets that came at `came_at`, as they are.
    pub fn feed(&mut self, came_at: Mono, packets: &[u8]) {
        let came_ns = self.ns(came_at);
        for bytes in packets.as_chunks::<PACKET_BYTES>().0 {
            self.counts.packets += 1;
            if self.queue.len() >= PACKETS_MAX {
                self.counts.overrun += 1;
                continue;
            }
            self.queue.push_back(Slot { bytes: *bytes, came_ns, due_ns: 0 });
            let packet = Packet::parse(bytes);
            if let Some(pcr) = packet.pcr().filter(|_| !packet.error && came_ns >= self.doubt_until) {
                self.pcr(came_ns, packet.pid, pcr, packet.discontinuity());
            }
        }
    }

    /// What is fed next does not go on with what was: another place in the source, or another source.
    pub fn seam(&mut self) {
        while self.timed < self.queue.len() {
            self.time_by_arrival();
        }
        // What was wrong with another one's clock says nothing of this one's.
        (self.clock, self.jumps, self.doubt_until) = (None, 0, 0);
    }

    /// Datagrams that are due by `now`.
    pub fn due(&mut self, now: Mono) -> u64 {
        let now_ns = self.ns(now);
        while self.queue.get(self.timed).is_some_and(|slot| slot.came_ns + self.delay_ns <= now_ns) {
            self.time_by_arrival();
        }
        // When its last packet is: none leaves before it is due.
        let is_due = |last: &usize| self.queue.get(*last).is_some_and(|slot| slot.due_ns <= now_ns);
        let whole = self.timed / DATAGRAM_PACKETS;
        (1..=whole).map(|n| n * DATAGRAM_PACKETS - 1).take_while(is_due).count() as u64
    }

    /// When the next datagram is due, or a packet gets its time by when it came: whatever is first. What is fed may be due before.
    pub fn next_at(&self) -> Mono {
        let whole = (self.timed >= DATAGRAM_PACKETS).then(|| self.queue.get(DATAGRAM_PACKETS - 1)).flatten();
        let due_ns = whole.map(|slot| slot.due_ns);
        let timed_ns = self.queue.get(self.timed).map(|slot| slot.came_ns.saturating_add(self.delay_ns));
        match due_ns.into_iter().chain(timed_ns).min() {
            Some(ns) => self.at + Duration::from_micros((ns.max(0) as u64).div_ceil(1000)),
            None => Mono::NEVER,
        }
    }

    /// Writes the next datagram; false, and nothing is written, if there is none whole.
    pub fn write(&mut self, out: &mut [u8; DATAGRAM_BYTES]) -> bool {
        if self.timed < DATAGRAM_PACKETS {
            return false;
        }
        for packet in out.as_chunks_mut::<PACKET_BYTES>().0 {
            if let Some(slot) = self.queue.pop_front() {
                *packet = slot.bytes;
                self.counts.nulls += u64::from(Packet::parse(packet).pid == crate::wire::ts::pid::NULL);
            }
        }
        self.timed -= DATAGRAM_PACKETS;
        self.written += 1;
        true
    }

    /// When the next datagram is due, in ticks of 27 MHz since the beginning: RTP stamps are made from it.
    pub fn clock(&self) -> u64 {
        let due_ns = self.queue.front().filter(|_| self.timed > 0).map_or(self.due_ns, |slot| slot.due_ns);
        (due_ns.max(0) as u64).saturating_mul(27) / 1000
    }

    /// Nanoseconds from the next datagram to the one behind it, as far as they are known: what its rate is just here. What is to
    /// leave at once leaves four times as fast as the mean at most; and a gap is no rate, so it is twice the mean's at most.
    pub fn spacing_ns(&self) -> u64 {
        let mean_ns = self.mean_ns.max(1) as u64;
        let (least, most) = ((mean_ns / BURST).max(1), mean_ns * SLOWEST);
        let next = self.queue.get(DATAGRAM_PACKETS).filter(|_| self.timed > DATAGRAM_PACKETS);
        let here = self.queue.front().zip(next).map(|(this, next)| (next.due_ns - this.due_ns).max(0) as u64);
        here.unwrap_or(mean_ns).clamp(least, most)
    }

    /// Leaves out all datagrams that are due by `now` but the last, and tells how many.
    pub fn skip(&mut self, now: Mono) -> u64 {
        let left_out = self.due(now).saturating_sub(1);
        let packets = left_out as usize * DATAGRAM_PACKETS;
        self.queue.drain(..packets.min(self.queue.len()));
        self.timed = self.timed.saturating_sub(packets);
        self.counts.skipped += left_out;
        left_out
    }

    /// Datagrams written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.queue.capacity() * size_of::<Slot>()
    }

    /// Gives the next packet without a time one, by when it came.
    fn time_by_arrival(&mut self) {
        let (at, delay_ns) = (self.timed, self.delay_ns);
        self.counts.by_arrival += 1;
        let came_ns = self.queue.get(at).map_or(0, |slot| slot.came_ns);
        self.time(came_ns + delay_ns);
    }

    /// The next packet without a time is due at `due_ns`, or when the one before it is.
    fn time(&mut self, due_ns: i64) {
        let due_ns = due_ns.max(self.due_ns);
        if let Some(slot) = self.queue.get_mut(self.timed) {
            slot.due_ns = due_ns;
            self.counts.late += u64::from(due_ns < slot.came_ns);
            (self.due_ns, self.timed) = (due_ns, self.timed + 1);
            if self.timed.is_multiple_of(DATAGRAM_PACKETS) {
                let step = self.sent_ns.map_or(self.mean_ns, |before| due_ns - before);
                // A gap says nothing of the rate.
                self.mean_ns += (step.min(PCR_GAP_NS) - self.mean_ns) / MEAN_OF;
                self.sent_ns = Some(due_ns);
            }
        }
    }

    /// The packet that came just now has a PCR.
    fn pcr(&mut self, came_ns: i64, pid: u16, pcr: u64, announced: bool) {
        let Some(mut clock) = self.clock else { return self.begin(came_ns, pid, pcr) };
        if clock.pid != pid {
            // That of another program; or this one is no more.
            if came_ns - clock.came_ns > PCR_LOST_NS {
                self.jump(came_ns, pid, pcr);
            }
            return;
        }
        let modulus = CLOCK_MODULUS * PCR_TICKS;
        let ticks = (pcr + modulus - clock.last) % modulus;
        let step_ns = (ticks / 27 * 1000 + ticks % 27 * 1000 / 27) as i64;
        let elapsed_ns = clock.elapsed_ns.saturating_add(step_ns);
        let distance = came_ns.saturating_sub(clock.offset_ns.saturating_add(elapsed_ns));
        if announced || distance.abs() > ASTRAY.as_nanos() as i64 {
            return self.jump(came_ns, pid, pcr);
        }
        self.jumps = 0;
        (clock.last, clock.elapsed_ns, clock.came_ns) = (pcr, elapsed_ns, came_ns);
        clock.follow(came_ns, distance, self.delay_ns);
        if clock.beyond >= BEYOND_MAX {
            // It leads nowhere to follow it: that would take an hour.
            self.counts.clock_jumps += 1;
            return self.begin(came_ns, pid, pcr);
        }
        let due_ns = clock.offset_ns + elapsed_ns + self.delay_ns;
        self.clock = Some(clock);
        let count = (self.queue.len() - self.timed) as i64;
        if step_ns > PCR_GAP_NS {
            while self.timed < self.queue.len() {
                self.time_by_arrival();
            }
            return;
        }
        let from = self.due_ns.max(due_ns - step_ns);
        for n in 1..=count {
            self.time(from + (due_ns - from).max(0) * n / count);
        }
    }

    /// A clock begins.
    fn begin(&mut self, came_ns: i64, pid: u16, pcr: u64) {
        while self.timed < self.queue.len() {
            self.time_by_arrival();
        }
        let window = (came_ns, 0, 0);
        let (offset_ns, elapsed_ns) = (came_ns, 0);
        self.clock =
            Some(Clock { pid, last: pcr, elapsed_ns, came_ns, offset_ns, window, windows: 0, beyond: 0 });
    }

    /// A clock does not go on.
    fn jump(&mut self, came_ns: i64, pid: u16, pcr: u64) {
        self.counts.clock_jumps += 1;
        self.jumps += 1;
        self.begin(came_ns, pid, pcr);
        if self.jumps >= JUMPS_MAX {
            (self.clock, self.jumps, self.doubt_until) = (None, 0, came_ns + DOUBT_NS);
        }
    }
}

impl Clock {
    /// It is `distance` later here than it should be.
    fn follow(&mut self, came_ns: i64, distance: i64, delay_ns: i64) {
        let (since, sum, count) = &mut self.window;
        *sum += distance;
        *count += 1;
        let lasted = came_ns - *since;
        if lasted < WINDOW_NS {
            return;
        }
        let mean = *sum / (*count).max(1);
        // What the first PCR happened to be moved by is not kept.
        let most = if self.windows == 0 { i64::MAX } else { lasted / 1_000_000 * SLEW };
        self.offset_ns += mean.clamp(-most, most);
        self.beyond = if self.windows > 0 && mean.abs() >= delay_ns { self.beyond + 1 } else { 0 };
        self.windows = self.windows.saturating_add(1);
        self.window = (came_ns, 0, 0);
    }
}

#[cfg(test)]
mod tests;
