//! The media delivery index (RFC 4445): how much a receiver must buffer, and what is lost, second by second.

use crate::media::Mono;

/// Length of an interval, in microseconds (RFC 4445 section 3.1).
pub(super) const INTERVAL_US: u64 = 1_000_000;
/// An interval in which the machine that measures slept is not one of the network.
const INTERVAL_US_MAX: u64 = 1_500_000;

/// Both components.
#[derive(Clone, Debug, Default)]
pub(super) struct Mdi {
    start: Mono,
    /// Bits of this interval.
    bits: u64,
    /// The virtual buffer's extremes, in bits.
    low: f64,
    high: f64,
    lost: u64,
    /// Bits a second at which the virtual buffer drains: the multiplex's rate, or that of the interval before.
    rate_bps: Option<f64>,
    /// Delay factor of the last interval and the largest, in milliseconds.
    pub df_ms: Option<f64>,
    pub df_ms_max: Option<f64>,
    /// Lost packets of the last interval a second, the largest, and all.
    pub mlr: f64,
    pub mlr_max: f64,
    pub lost_total: u64,
}

impl Mdi {
    /// Transport stream packets with together `bits` arrive in one datagram.
    pub fn arrive(&mut self, at: Mono, bits: u64) {
        let drained = self.rate_bps.map(|rate| rate * at.micros_since(self.start) as f64 / 1e6);
        self.bits += bits;
        if let Some(drained) = drained {
            let after = self.bits as f64 - drained;
            self.low = self.low.min(after - bits as f64);
            self.high = self.high.max(after);
        }
    }

    /// Packets are known to be missing, in whose place nothing came for so many microseconds: of a longer time than an
    /// interval, one gets its share.
    pub fn lose(&mut self, packets: u64, over_us: u64) {
        self.lost +=
            (u128::from(packets) * u128::from(INTERVAL_US) / u128::from(over_us.max(INTERVAL_US))) as u64;
        self.lost_total += packets;
    }

    /// Packets that were thought to be missing have come.
    pub fn regain(&mut self, packets: u64) {
        self.lost = self.lost.saturating_sub(packets);
        self.lost_total = self.lost_total.saturating_sub(packets);
    }

    /// Ends the interval; the next drains at `rate_bps`, or as fast as this one filled.
    pub fn close(&mut self, at: Mono, rate_bps: Option<f64>) {
        let elapsed_us = at.micros_since(self.start);
        let whole = (INTERVAL_US..INTERVAL_US_MAX).contains(&elapsed_us);
        let seconds = elapsed_us as f64 / 1e6;
        if let Some(rate) = self.rate_bps.filter(|rate| whole && *rate > 0.0) {
            let df_ms = (self.high - self.low) / rate * 1000.0;
            self.df_ms = Some(df_ms);
            self.df_ms_max = Some(self.df_ms_max.map_or(df_ms, |max| max.max(df_ms)));
        }
        if elapsed_us >= INTERVAL_US {
            // An outage is long, and what it lost is lost all the same.
            self.mlr = self.lost as f64 / seconds;
            self.mlr_max = self.mlr_max.max(self.mlr);
            self.lost = 0;
        }
        let measured = whole.then(|| self.bits as f64 / seconds);
        self.rate_bps = rate_bps.or(measured).or(self.rate_bps);
        (self.start, self.bits, self.low, self.high) = (at, 0, 0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: u64 = 1316 * 8;

    /// A second of datagrams at 4 Mbit/s, `late` of them held back and sent together; the delay factor.
    fn df(burst: u64) -> f64 {
        let mut mdi = Mdi { rate_bps: Some(4e6), ..Mdi::default() };
        let count = 1_000_000 * 4 / BITS;
        for n in 0..count {
            let due = n - n % burst + burst - 1;
            mdi.arrive(Mono::from_micros(due * BITS / 4), BITS);
        }
        mdi.close(Mono::from_micros(1_000_000), None);
        mdi.df_ms.unwrap()
    }

    #[test]
    fn delay_factor() {
        let one = BITS as f64 / 4e3;
        assert!((df(1) - one).abs() < 0.1, "evenly spaced: one datagram, {} ms", df(1));
        assert!((df(10) - 10.0 * one).abs() < 0.2, "bursts of ten: {} ms", df(10));
    }

    #[test]
    fn loss_rate_and_the_first_interval() {
        let mut mdi = Mdi::default();
        mdi.arrive(Mono::from_micros(10), BITS);
        mdi.close(Mono::from_micros(1_000_000), None);
        assert_eq!((mdi.df_ms, mdi.mlr), (None, 0.0), "nothing to drain it by yet");
        mdi.lose(7, 0);
        mdi.close(Mono::from_micros(2_000_000), Some(4e6));
        assert_eq!((mdi.mlr, mdi.mlr_max), (7.0, 7.0));
        assert!(mdi.df_ms.is_some());
        mdi.close(Mono::from_micros(3_000_000), None);
        assert_eq!((mdi.mlr, mdi.mlr_max, mdi.lost_total), (0.0, 7.0, 7));
        let before = mdi.df_ms;
        mdi.lose(9, 0);
        mdi.close(Mono::from_micros(9_000_000), None);
        assert_eq!((mdi.mlr, mdi.df_ms), (1.5, before), "six seconds have a loss rate and no delay factor");
        mdi.lose(7, 0);
        mdi.regain(7);
        mdi.close(Mono::from_micros(10_000_000), None);
        assert_eq!((mdi.mlr, mdi.lost_total), (0.0, 16));
    }
}
