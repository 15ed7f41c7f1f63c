//! What a program may take of the rate, and what it can reckon with.
//!
//! Its share is its own: as long as it takes no more, its packets go before all that others send beyond theirs. What nobody
//! needs is anybody's, and taking it costs no credit. So where not everything fits, those lose units who exceed their shares,
//! and a program that was quiet for a while may catch up for [`CREDIT`] at most. Sound and data have a share of their own, the
//! whole of it: only more of them than that is counted as too much, so that a program whose pictures exceed keeps its sound.
//! What they have a right to is taken from what pictures may take, whether those exceed or not: a share is had once.

use super::track::SHARE;
use crate::mux::ticker::{PACKET_BITS, SECOND};
use crate::wire::ts::descriptor::Class;

/// What a program that took less may take more of afterwards, as time of its share.
const CREDIT: i64 = SECOND;
/// Time that is measured over.
const WINDOW: i64 = SECOND;
/// What others take is reckoned as this at least: a ninth.
const LEAST: i64 = SHARE / 9;

/// Packets of a multiplex since the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mux) struct Sent {
    /// When.
    pub at: i64,
    /// All.
    pub packets: u64,
    /// Of them, all but nulls.
    pub busy: u64,
    /// Of them, clocks and tables.
    pub fixed: u64,
}

/// Until when what a program has sent would have taken it at its share.
#[derive(Clone, Copy, Debug)]
struct Account(i64);

impl Account {
    fn exceeds(self, now: i64) -> bool {
        self.0 > now
    }

    fn charge(&mut self, now: i64, cost: i64) {
        self.0 = self.0.max(now - CREDIT) + cost;
    }
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Share {
    /// Time that a packet takes at its share.
    cost: i64,
    /// Of all its packets, and of those of sound and data.
    all: Account,
    beside: Account,
    /// Its share, in parts of [`SHARE`], of what is not clocks and tables.
    part: i64,
    /// What others than its pictures take of the rate, in parts of [`SHARE`]; the least of it until something was sent.
    others: i64,
    /// What was measured last: tables of ten seconds are not in every window.
    last: i64,
    from: Sent,
    /// Packets of sound and data, and of pictures: until now, and at `from`.
    sent: (u64, u64),
    sent_from: (u64, u64),
}

impl Share {
    /// `share_bps` of `all_bps` that there are for all programs of the multiplex, in bits a second.
    pub fn new(share_bps: u64, all_bps: u64) -> Share {
        let part = (share_bps.saturating_mul(SHARE as u64) / all_bps.max(1)).clamp(1, SHARE as u64) as i64;
        Share {
            cost: (PACKET_BITS * SECOND as u64 / share_bps.max(1)) as i64,
            all: Account(i64::MIN / 2),
            beside: Account(i64::MIN / 2),
            part,
            others: LEAST,
            last: 0,
            from: Sent::default(),
            sent: (0, 0),
            sent_from: (0, 0),
        }
    }

    /// Whether a packet of this class goes behind what others have a right to.
    pub fn exceeds(&self, now: i64, class: Class) -> bool {
        match class {
            Class::Video => self.all.exceeds(now),
            Class::Audio | Class::Data => self.beside.exceeds(now),
        }
    }

    /// A packet went. One that went behind what others have a right to costs nothing.
    pub fn charge(&mut self, now: i64, class: Class) {
        let had_a_right = !self.exceeds(now, class);
        if had_a_right {
            self.all.charge(now, self.cost);
        }
        if class == Class::Video {
            self.sent.1 += 1;
            return;
        }
        self.sent.0 += 1;
        if had_a_right {
            self.beside.charge(now, self.cost);
        }
    }

    /// What others than its pictures take of the rate, in parts of [`SHARE`].
    pub fn others(&self) -> i64 {
        self.others
    }

    /// Measures that, once a window is over.
    pub fn measure(&mut self, now: Sent) {
        if now.at - self.from.at < WINDOW {
            return;
        }
        let packets = now.packets - self.from.packets;
        let (beside, pictures) = (self.sent.0 - self.sent_from.0, self.sent.1 - self.sent_from.1);
        let taken = (now.busy - self.from.busy).saturating_sub(pictures);
        // Whatever others took, its share was its own.
        let fixed = now.fixed - self.from.fixed;
        let own = packets.saturating_sub(fixed) * self.part as u64 / SHARE as u64;
        let most = (packets + beside).saturating_sub(own);
        let others = (taken.min(most) * SHARE as u64 / packets.max(1)) as i64;
        let before = std::mem::replace(&mut self.last, others);
        // Pictures that have less room than a fourth of its share are sent by chance. Nobody has none.
        self.others = others.max(before).clamp(LEAST, SHARE - (self.part / 4).max(1));
        (self.from, self.sent_from) = (now, self.sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two that want more than there is, each gets its share; what one leaves the other may take, and has to give back at
    /// once.
    #[test]
    fn who_exceeds_goes_behind() {
        let packet = SECOND / 1000;
        let rate = 1000 * PACKET_BITS;
        let mut shares = [Share::new(rate / 4, rate), Share::new(rate * 3 / 4, rate)];
        let mut run = |seconds: i64, from: i64, wants: [bool; 2]| {
            let mut got = [0u32; 2];
            for n in 0..seconds * 1000 {
                let now = from + n * packet;
                let exceeds = |at: usize| shares[at].exceeds(now, Class::Video);
                let next = (0..2).filter(|at| wants[*at]).min_by_key(|at| (exceeds(*at), *at));
                if let Some(at) = next {
                    shares[at].charge(now, Class::Video);
                    got[at] += 1;
                }
            }
            got
        };
        let both = run(20, 0, [true, true]);
        assert!((4900..5400).contains(&both[0]) && both[0] + both[1] == 20_000, "{both:?}");
        assert_eq!(run(10, 20 * SECOND, [true, false]), [10_000, 0], "what is free is anybody's");
        // The other one had a second's credit; the first one owes nothing.
        let again = run(20, 30 * SECOND, [true, true]);
        assert!((4100..5100).contains(&again[0]), "{again:?}");
    }

    #[test]
    fn pictures_that_exceed_leave_the_sound_alone() {
        let rate = 1000 * PACKET_BITS;
        let mut share = Share::new(rate / 2, rate);
        // Packets of the last second that went behind what others have a right to.
        let mut run = |from: i64, class: Class, asked: Class| {
            let mut behind = 0;
            for n in 0..2000 {
                let now = (from * 1000 + n) * SECOND / 1000;
                behind += u32::from(n >= 1000 && share.exceeds(now, asked));
                share.charge(now, class);
            }
            behind
        };
        assert_eq!(run(0, Class::Video, Class::Audio), 0);
        let pictures = run(2, Class::Video, Class::Video);
        assert!((450..550).contains(&pictures), "{pictures}");
        let sound = run(4, Class::Audio, Class::Audio);
        assert!((450..550).contains(&sound), "{sound}");
    }

    /// Sound goes however much its pictures exceed, and they have what it leaves of the share.
    #[test]
    fn a_share_is_had_once() {
        let rate = 1000 * PACKET_BITS;
        let mut share = Share::new(rate / 2, rate);
        let mut within = [0u32; 2];
        // Two packets of five are of sound, the others of pictures; the share is half of all.
        for n in 0..10_000 {
            let (now, class) = (n * SECOND / 1000, if n % 5 < 2 { Class::Audio } else { Class::Video });
            within[usize::from(class == Class::Video)] += u32::from(n >= 5000 && !share.exceeds(now, class));
            share.charge(now, class);
        }
        assert!(within[0] == 2000 && (450..550).contains(&within[1]), "{within:?}");
    }

    /// However little a share is, pictures and sound of it have some room.
    #[test]
    fn no_share_is_none() {
        let mut least = Share::new(1, u64::MAX / SHARE as u64);
        assert_eq!(least.part, 1);
        for n in 1..4u64 {
            least.sent.0 += 900;
            least.measure(Sent { at: n as i64 * SECOND, packets: n * 1000, busy: n * 1000, fixed: 0 });
            assert_eq!(least.others(), SHARE - 1);
        }
        let of = |part: u64| Share::new(128_000, 128_000 * part).part;
        assert_eq!((of(400), of(2000)), (SHARE / 400, SHARE / 2000));
    }

    #[test]
    fn what_others_take_is_what_they_take_and_never_the_own_share() {
        let alone = Share::new(1_000_000, 1_000_000);
        assert_eq!(alone.others(), LEAST);
        let mut half = Share::new(500_000, 1_000_000);
        assert_eq!(half.others(), LEAST);
        // Of 1000 packets 100 are clocks, and others send what they may, and more.
        half.sent = (50, 400);
        half.measure(Sent { at: SECOND, packets: 1000, busy: 1000, fixed: 100 });
        assert_eq!(half.others(), (1000 + 50 - 450) * SHARE / 1000);
        // They send nothing: twice, for one window may miss something.
        for n in 2..4 {
            half.measure(Sent { at: n * SECOND, packets: n as u64 * 1000, busy: 1000, fixed: 100 });
        }
        assert_eq!(half.others(), LEAST);
    }
}
