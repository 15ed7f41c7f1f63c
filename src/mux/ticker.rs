//! Where the multiplex is: packets, and the time of each in ticks of 27 MHz since the first.

use crate::wire::ts::{CLOCK_MODULUS, PACKET_BYTES, PCR_TICKS};

/// Bits of a packet.
pub(super) const PACKET_BITS: u64 = PACKET_BYTES as u64 * 8;
/// Ticks in a second.
pub(super) const SECOND: i64 = 27_000_000;
/// Ticks in a millisecond.
pub(super) const MS: i64 = SECOND / 1000;
/// Bits in front of the last one of `program_clock_reference_base`, whose arrival is what a PCR tells (ISO/IEC 13818-1
/// section 2.4.3.5): it is in byte 10 of its packet.
const REFERENCE_BITS: u64 = 10 * 8;

/// From one PCR of a service to the next at most, at any rate.
pub(super) const CLOCK_EACH_MS: u64 = 38;

/// When a service's clock is told again, in ticks after it was: earlier than at the latest by as many packets as there are
/// services, for all may be due at once.
pub(super) fn clock_each(packet: i64, services: usize) -> i64 {
    CLOCK_EACH_MS as i64 * MS - packet * services as i64
}

/// Counts packets. The time of packet `n` is `n * 1504 * 27 MHz / rate`, rounded once: what the division leaves is carried
/// on as a whole number, so after any number of packets no error has gathered.
#[derive(Clone, Debug)]
pub(super) struct Ticker {
    rate: u64,
    ticks: i64,
    /// What is left, in parts of `rate`.
    rest: u64,
    /// Whole ticks of a packet, and what is left.
    step: (i64, u64),
    /// What the clock says at time 0, to the bit that a PCR is about.
    reference: u64,
}

impl Ticker {
    /// At `rate` bits a second, above 0; the clock says `clock` at the first bit.
    pub fn new(rate: u64, clock: u64) -> Ticker {
        let scaled = PACKET_BITS * SECOND as u64;
        Ticker {
            rate,
            ticks: 0,
            // Half a tick: to the nearest.
            rest: rate / 2,
            step: ((scaled / rate) as i64, scaled % rate),
            reference: clock % MODULUS + REFERENCE_BITS * SECOND as u64 / rate,
        }
    }

    /// The time of the next packet.
    pub fn now(&self) -> i64 {
        self.ticks
    }

    /// Bits a second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Ticks that a packet takes, rounded up.
    pub fn packet(&self) -> i64 {
        self.step.0 + 1
    }

    /// The PCR that the next packet would have.
    pub fn pcr(&self) -> u64 {
        (self.reference + self.ticks as u64) % MODULUS
    }

    /// That many packets are left out.
    pub fn skip(&mut self, packets: u64) {
        let (whole, rest) = self.step;
        let rest = u128::from(self.rest) + u128::from(rest) * u128::from(packets);
        let (rate, count) = (u128::from(self.rate), i64::try_from(packets).unwrap_or(i64::MAX));
        let carried = i64::try_from(rest / rate).unwrap_or(i64::MAX);
        self.ticks = self.ticks.saturating_add(whole.saturating_mul(count)).saturating_add(carried);
        self.rest = (rest % rate) as u64;
    }

    /// A packet is written.
    pub fn advance(&mut self) {
        self.ticks += self.step.0;
        self.rest += self.step.1;
        if self.rest >= self.rate {
            self.rest -= self.rate;
            self.ticks += 1;
        }
    }
}

/// Values of a PCR.
pub(super) const MODULUS: u64 = CLOCK_MODULUS * PCR_TICKS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_gathers() {
        for rate in [200_000, 1_999_999, 2_000_000, 3_456_789, 8_000_000, 20_000_000, 1_000_000_000] {
            let mut ticker = Ticker::new(rate, 5);
            for n in 0..2_000_000u128 {
                if n % 1017 == 0 {
                    let exact = n * 1504 * 27_000_000;
                    let off = (ticker.now() as u128 * u128::from(rate)).abs_diff(exact);
                    assert!(off * 2 <= u128::from(rate), "packet {n} at {rate}: {off} / {rate} ticks off");
                }
                ticker.advance();
            }
            let mut skipping = Ticker::new(rate, 5);
            (0..1000).for_each(|n| skipping.skip(n * 4));
            (0..2000).for_each(|_| skipping.advance());
            assert_eq!((skipping.now(), skipping.rest), (ticker.now(), ticker.rest));
        }
    }

    #[test]
    fn the_clock_wraps_and_is_about_byte_ten() {
        let ticker = Ticker::new(8_000_000, MODULUS - 1);
        // Ten bytes are 10 us, 270 ticks.
        assert_eq!(ticker.pcr(), 269);
        assert!(ticker.packet() as u64 >= PACKET_BITS * 27 / 8);
    }
}
