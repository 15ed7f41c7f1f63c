//! The transport buffer TB of a track's decoder (T-STD, ISO/IEC 13818-1 section 2.4.2.3): 512 bytes that leak at Rx. It is
//! what a packet may have to wait for.
//!
//! Rx is what the level of the pictures says, once a unit has told it, and [`usual_bps`] before. A source that sends more than
//! its level allows is sent all the same: where its units would not all be in time at Rx, as by [`Leak::hurry`], the usual leak
//! goes in its place, and what exceeds TB so is told.
//!
//! The buffers behind it, MB and EB, are not counted, for they cannot overflow where TB does not: what is in them came within
//! the longest lead of a picture at no more than Rx, and of every level they hold more than that. (A test holds the tables of
//! `wire/ts/tstd` to it.) The main buffer of sound is the one that its lead exceeds: see `track`.

use crate::mux::ticker::{PACKET_BITS, SECOND};
use crate::wire::ts::PACKET_BYTES;
use crate::wire::ts::descriptor::Class;
use crate::wire::ts::tstd::{Buffers, TRANSPORT_BYTES};

/// `Rmax` of level 3 of H.264: pictures of which nothing is known need no lower one.
const RMAX_MIN_BPS: u64 = 10_000_000;
/// Bytes of TB.
const BYTES: i64 = TRANSPORT_BYTES as i64;
/// Of them, those that packets of units may fill: a clock cannot wait, and has to fit as well. Four for what is rounded.
const UNIT_BYTES: i64 = BYTES - PACKET_BYTES as i64 - 4;

/// Rx where nothing is known, in bits a second, for a program of at most `rate` bits a second.
fn usual_bps(class: Class, rate: u64) -> u64 {
    match class {
        // Its level is one that allows its rate: 1.2 x Rmax.
        Class::Video => (rate * 4 / 5).max(RMAX_MIN_BPS) * 6 / 5,
        // No sound has a lower one.
        Class::Audio | Class::Data => const { Buffers::of_sound().transport_bps },
    }
}

/// Ticks in which a packet leaves a buffer that leaks at so many bits a second, rounded up.
pub(super) fn ticks(bps: u64) -> u32 {
    u32::try_from(PACKET_BITS * SECOND as u64 / bps.max(1) + 1).unwrap_or(u32::MAX)
}

/// A buffer that leaks.
#[derive(Clone, Copy, Debug)]
struct Buffer {
    /// Ticks in which a packet leaves it.
    packet: i64,
    empty_at: i64,
}

impl Buffer {
    /// Ticks in which so many bytes leave it, at least.
    fn leaks(self, bytes: i64) -> i64 {
        (self.packet - 1) * bytes / PACKET_BYTES as i64
    }

    /// When it has room for a packet of a unit.
    fn room_at(self) -> i64 {
        self.empty_at + self.packet - self.leaks(UNIT_BYTES)
    }

    fn fill(&mut self, now: i64) {
        // What is beyond it is lost, and leaks no more.
        self.empty_at = (self.empty_at.max(now) + self.packet).min(now + self.leaks(BYTES));
    }
}

/// See the module's description.
#[derive(Debug)]
pub(in crate::mux) struct Leak {
    told: Buffer,
    usual: Buffer,
    /// Until then units can wait for what they told: beyond, they would be late.
    due: i64,
    /// How much that moves with each packet that goes.
    step: i64,
}

impl Leak {
    /// Of a track of a program that takes at most `rate` bits a second.
    pub fn new(class: Class, rate: u64) -> Leak {
        let usual = Buffer { packet: i64::from(ticks(usual_bps(class, rate))), empty_at: i64::MIN / 2 };
        Leak { told: usual, usual, due: i64::MAX, step: 0 }
    }

    /// Ticks of a packet where nothing is known.
    pub fn usual(&self) -> u32 {
        self.usual.packet as u32
    }

    /// A packet leaves it in so many ticks from `now` on.
    pub fn tell(&mut self, now: i64, packet: u32) {
        let (before, packet) = (self.told.packet, i64::from(packet));
        if before != packet {
            let full = (self.told.empty_at - now).max(0);
            self.told = Buffer { packet, empty_at: now + full * packet / before };
        }
    }

    /// Nothing is known any more.
    pub fn forget(&mut self) {
        (self.told, self.due) = (self.usual, i64::MAX);
    }

    /// Whether packets may have to wait, in a multiplex in which one takes `packet` ticks.
    pub fn is_slower(&self, packet: i64) -> bool {
        self.told.packet > packet
    }

    /// How long a packet takes here, and until what is in a full TB is through.
    pub fn packet(&self) -> (i64, i64) {
        (self.told.packet, self.told.leaks(BYTES))
    }

    /// Units can wait until `due`, and that much longer with each packet that goes.
    pub fn hurry(&mut self, due: i64, step: i64) {
        (self.due, self.step) = (due, step);
    }

    /// When there is room for a packet.
    pub fn room_at(&self) -> i64 {
        self.told.room_at().min(self.usual.room_at().max(self.due))
    }

    /// A packet of a unit goes; false if it exceeds what is known of TB.
    pub fn pass(&mut self, now: i64) -> bool {
        let fits = self.told.room_at() <= now;
        self.pass_clock(now);
        self.due = self.due.saturating_add(self.step);
        fits
    }

    /// A packet goes that waits for nothing: a clock.
    pub fn pass_clock(&mut self, now: i64) {
        self.told.fill(now);
        self.usual.fill(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mux::program::track::PICTURE_LEAD;
    use crate::mux::ticker::MS;
    use crate::wire::av1::Av1Config;
    use crate::wire::h264::Sps;
    use crate::wire::h265::HevcConfig;

    /// Packets that go as early as they may, from position to position of a multiplex of 20 Mbit/s: when, and whether they fit.
    fn run(leak: &mut Leak, from: i64, to: i64) -> Vec<(i64, bool)> {
        let slot = i64::from(ticks(20_000_000));
        let mut went = Vec::new();
        for now in (0..).map(|n| from + n * slot).take_while(|now| *now < to) {
            if leak.room_at() <= now {
                went.push((now, leak.pass(now)));
            }
        }
        went
    }

    #[test]
    fn rx_is_what_is_told() {
        let usual = || Leak::new(Class::Video, 20_000_000);
        assert_eq!(usual().usual(), ticks(19_200_000));
        for bps in [921_600, 4_800_000, 12_000_000] {
            let mut leak = usual();
            leak.tell(0, ticks(bps));
            let went = run(&mut leak, 0, SECOND);
            let rate = went.len() as u64 * PACKET_BITS;
            assert!(went.iter().all(|(_, fits)| *fits) && rate <= bps + 2 * PACKET_BITS, "{bps}: {rate}");
            assert!(rate > bps * 97 / 100, "{bps}: {rate}");
            leak.forget();
            assert!(run(&mut leak, SECOND, 2 * SECOND).len() as u64 * PACKET_BITS > 18_500_000, "{bps}");
        }
    }

    /// What MB and EB need not be counted for.
    #[test]
    fn every_level_holds_what_comes_in_the_longest_lead() {
        let sps = Sps::parse(&[0x67, 0x4D, 0, 30, 0xDA, 0x02, 0xD0, 0x49, 0x90]).unwrap();
        let any = |byte: u8, profile: u8, high_tier: bool| {
            let hevc = HevcConfig { profile_idc: profile, high_tier, level_idc: byte, size: None };
            let av1 = Av1Config { profile, level_idx: byte, high_tier, bit_depth: 8, size: None };
            let h264 = [66, 77, 100, 110, 122].map(|profile_idc| {
                Buffers::of_h264(&Sps { profile_idc, level_idc: byte, constraints: profile << 4, ..sps })
            });
            h264.into_iter().chain([Buffers::of_hevc(&hevc), Buffers::of_av1(&av1)]).flatten()
        };
        let levels = (0..=u8::MAX).flat_map(|byte| (0..3).map(move |profile| (byte, profile)));
        let all = levels.flat_map(|(byte, profile)| {
            [false, true].into_iter().flat_map(move |tier| any(byte, profile, tier))
        });
        let mut count = 0;
        for level in all {
            let comes = level.transport_bps * PICTURE_LEAD as u64 / SECOND as u64 / 8 + TRANSPORT_BYTES;
            assert!(comes <= level.multiplex_bytes + level.elementary_bytes, "{level:?}");
            assert!(level.multiplex_bps >= level.transport_bps, "MB fills: {level:?}");
            count += 1;
        }
        assert!(count > 500, "{count}");
    }

    #[test]
    fn who_cannot_wait_exceeds_it_and_is_told_so() {
        let mut leak = Leak::new(Class::Video, 20_000_000);
        leak.tell(0, ticks(921_600));
        leak.hurry(100 * MS, 0);
        let went = run(&mut leak, 0, 200 * MS);
        let (before, behind) = went.split_at(went.partition_point(|(now, _)| *now < 100 * MS));
        assert!(before.len() < 70 && before.iter().all(|(_, fits)| *fits), "{}", before.len());
        assert!(behind.len() > 1000 && behind.iter().skip(1).all(|(_, fits)| !fits), "{}", behind.len());
        // What was lost does not leak: as long as 512 bytes and no longer.
        assert!(leak.told.empty_at <= 200 * MS + leak.packet().1 + i64::from(ticks(20_000_000)));
    }
}
