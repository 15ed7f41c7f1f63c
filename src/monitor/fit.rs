//! How exact PCRs are: a constant rate through the last of them, counted in packets, and the distance of the next one
//! from it (TR 101 290, 2.4).

/// PCRs that the fit looks back on: at the usual 25 to 50 a second a bit more than a second.
const FIT_POINTS: usize = 64;
/// PCRs that it takes to know a rate well enough to judge the next one.
const FIT_MIN: usize = 8;
/// Outliers in a row after which the rate is taken for a new one.
const OUTLIERS_MAX: u32 = 16;
/// Ticks that a PCR may be off: 500 ns (2.4).
const ACCURACY_TICKS: f64 = 13.5;
/// Share of the mean interval that the PCRs of a constant rate lie off their line, at most. Frames of a variable one
/// scatter by far more than that.
const CONSTANT_SCATTER: f64 = 0.05;
/// The same in ticks (10 us) for a stream without null packets, which may be variable and only look constant.
const CONSTANT_TICKS: f64 = 270.0;

/// What the fit says about a PCR.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The rate is not constant, or not known yet.
    Unknown,
    /// So many ticks off the line, within the limit.
    Exact(f64),
    /// Off by whole packets: some are missing, or came twice, and the clock is right.
    Shifted,
    /// So many ticks off the line, beyond the limit.
    Off(f64),
}

/// A constant rate through the last PCRs, in the domain of positions: ticks over packets. Arrival times do not matter.
#[derive(Clone, Debug)]
pub struct Fit {
    /// (packets, ticks) since the fit began.
    points: [(i64, i64); FIT_POINTS],
    len: usize,
    next: usize,
    now: (i64, i64),
    outliers: u32,
    /// Null packets of the stream until the newest point, and points since one came: a stream is filled up to a rate if
    /// there is a null among them.
    nulls: u64,
    since_null: usize,
    sums: Sums,
    /// Through the points as they are now: it is asked for far more often than there are new ones.
    line: Option<Line>,
}

/// Sums over the points, as seen from one of them, so that a new one costs no look at all others.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    origin: (i64, i64),
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    /// Adds a point, or takes it away (`sign` -1).
    fn add(&mut self, point: (i64, i64), sign: f64) {
        let (x, y) = ((point.0 - self.origin.0) as f64, (point.1 - self.origin.1) as f64);
        self.x += sign * x;
        self.y += sign * y;
        self.xx += sign * x * x;
        self.xy += sign * x * y;
        self.yy += sign * y * y;
    }
}

/// A line, and how well it goes through the points.
#[derive(Clone, Copy, Debug)]
struct Line {
    centre: (f64, f64),
    /// Ticks a packet.
    slope: f64,
    /// The points scatter as little as those of a constant rate.
    straight: bool,
}

impl Default for Fit {
    fn default() -> Fit {
        Fit {
            points: [(0, 0); FIT_POINTS],
            len: 0,
            next: 0,
            now: (0, 0),
            outliers: 0,
            nulls: 0,
            since_null: FIT_POINTS,
            sums: Sums::default(),
            line: None,
        }
    }
}

impl Fit {
    /// Begins anew with a PCR that nothing connects to those before; `nulls`: null packets in front of it.
    pub fn restart(&mut self, nulls: u64) {
        *self = Fit { nulls, ..Fit::default() };
        self.keep();
    }

    /// The next PCR, by its distance to the one before; `nulls`: null packets in front of it.
    pub fn judge(&mut self, packets: u64, ticks: u64, nulls: u64) -> Verdict {
        let more_nulls = std::mem::replace(&mut self.nulls, nulls) != nulls;
        self.since_null = if more_nulls { 0 } else { (self.since_null + 1).min(FIT_POINTS) };
        self.now.0 += packets as i64;
        self.now.1 += ticks as i64;
        let Some(line) = self.line.filter(|line| self.is_constant_by(line)) else {
            self.keep();
            return Verdict::Unknown;
        };
        let off = self.now.1 as f64 - (line.centre.1 + line.slope * (self.now.0 as f64 - line.centre.0));
        if off.abs() <= ACCURACY_TICKS {
            self.outliers = 0;
            self.keep();
            return Verdict::Exact(off);
        }
        self.outliers += 1;
        let packets = (off / line.slope).round();
        let is_shifted = packets != 0.0 && (off - packets * line.slope).abs() <= ACCURACY_TICKS;
        if self.outliers >= OUTLIERS_MAX {
            // Also where each is off by whole packets: the rate is half of what it was.
            self.restart(nulls);
        } else if is_shifted {
            self.now.0 += packets as i64;
            self.keep();
        }
        if is_shifted { Verdict::Shifted } else { Verdict::Off(off) }
    }

    /// Where the line is kept.
    pub fn reads(&self) -> *const u8 {
        (&raw const self.line).cast()
    }

    /// Whether the rate is constant; `None`: not known yet.
    pub fn is_constant(&self) -> Option<bool> {
        self.line.map(|line| self.is_constant_by(&line))
    }

    /// Ticks a packet, if the rate is constant.
    pub fn ticks_per_packet(&self) -> Option<f64> {
        self.line.filter(|line| self.is_constant_by(line)).map(|line| line.slope)
    }

    fn is_constant_by(&self, line: &Line) -> bool {
        let has_nulls = self.since_null < self.len;
        line.straight && (has_nulls || self.worst(line) <= CONSTANT_TICKS)
    }

    fn keep(&mut self) {
        let now = self.now;
        if let Some(point) = self.points.get_mut(self.next) {
            let before = std::mem::replace(point, now);
            if self.len == FIT_POINTS {
                self.sums.add(before, -1.0);
            }
            self.sums.add(now, 1.0);
            self.next = (self.next + 1) % FIT_POINTS;
            self.len = (self.len + 1).min(FIT_POINTS);
        }
        if self.next == 0 {
            // From the newest on, so that no digits are lost however long the stream runs.
            self.sums = Sums { origin: now, ..Sums::default() };
            self.points.iter().for_each(|point| self.sums.add(*point, 1.0));
        }
        self.line = self.through_points();
    }

    /// Least squares.
    fn through_points(&self) -> Option<Line> {
        if self.len < FIT_MIN {
            return None;
        }
        let count = self.len as f64;
        let Sums { origin, x, y, xx, xy, yy } = self.sums;
        let (mean_x, mean_y) = (x / count, y / count);
        let (xx, xy, yy) = (xx - x * mean_x, xy - x * mean_y, yy - y * mean_y);
        if xx <= 0.0 || xy <= 0.0 {
            return None;
        }
        let slope = xy / xx;
        // What the line leaves of the squares; rounding must not make it negative.
        let squares = (yy - slope * xy).max(0.0);
        // Clocks go forward, so the oldest is the lowest.
        let oldest = if self.len == FIT_POINTS { self.next } else { 0 };
        let oldest = self.points.get(oldest).map_or(self.now.1, |point| point.1);
        let interval = (self.now.1 - oldest) as f64 / (count - 1.0);
        let straight = (squares / count).sqrt() <= interval * CONSTANT_SCATTER;
        let centre = (mean_x + origin.0 as f64, mean_y + origin.1 as f64);
        Some(Line { centre, slope, straight })
    }

    /// The points as seen from the newest.
    fn relative(&self) -> impl Iterator<Item = (i64, i64)> {
        let now = self.now;
        self.points.iter().take(self.len).map(move |&(x, y)| (x - now.0, y - now.1))
    }

    /// Largest distance of a point from the line, in ticks.
    fn worst(&self, line: &Line) -> f64 {
        let centre = (line.centre.0 - self.now.0 as f64, line.centre.1 - self.now.1 as f64);
        let off = |(x, y): (i64, i64)| ((y as f64 - centre.1) - line.slope * (x as f64 - centre.0)).abs();
        self.relative().map(off).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pcr::TICKS_PER_SECOND;
    use super::*;

    /// Intervals of 100 packets at 4 Mbit/s, with this many nanoseconds added to each PCR.
    fn verdicts(offs_ns: &[i64], lost: &[(usize, i64)]) -> Vec<Verdict> {
        verdicts_with(offs_ns, lost, |n| n as u64 + 1)
    }

    /// The same with so many null packets in front of each PCR.
    fn verdicts_with(offs_ns: &[i64], lost: &[(usize, i64)], nulls: impl Fn(usize) -> u64) -> Vec<Verdict> {
        let ticks_at = |packet: i64| packet * 1504 * 27 / 4;
        let (mut fit, mut last, mut seen) = (Fit::default(), (0, 0), Vec::new());
        fit.restart(0);
        for (n, off) in offs_ns.iter().enumerate() {
            let packet = (n as i64 + 1) * 100;
            let missing: i64 = lost.iter().filter(|(at, _)| *at <= n).map(|(_, count)| count).sum();
            let now = (packet - missing, ticks_at(packet) + off * 27 / 1000);
            seen.push(fit.judge((now.0 - last.0) as u64, (now.1 - last.1) as u64, nulls(n)));
            last = now;
        }
        seen
    }

    fn is_off(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Off(_))
    }

    #[test]
    fn exact_off_and_shifted() {
        let clean = verdicts(&[0; 200], &[]);
        assert!(clean.iter().take(7).all(|v| *v == Verdict::Unknown));
        assert!(
            clean.iter().skip(7).all(|v| matches!(v, Verdict::Exact(off) if off.abs() < 1.0)),
            "{clean:?}"
        );

        let mut one = [0; 200];
        one[100] = 600;
        let seen = verdicts(&one, &[]);
        assert_eq!(seen.iter().filter(|v| is_off(v)).count(), 1);
        assert!(matches!(seen[100], Verdict::Off(off) if (off - 16.2).abs() < 1.0), "{:?}", seen[100]);
        one[100] = 400;
        assert!(!verdicts(&one, &[]).iter().any(is_off));

        for missing in [1, 7, 70, -1] {
            let seen = verdicts(&[0; 200], &[(100, missing)]);
            assert_eq!(seen.iter().position(|v| *v == Verdict::Shifted), Some(100), "{missing} packets");
            assert!(!seen.iter().any(is_off));
        }
    }

    #[test]
    fn a_variable_rate_is_not_judged() {
        let offs: Vec<i64> = (0..200i64).map(|n| (n * n * 7919 % 40_000 - 20_000) * 1000).collect();
        let seen = verdicts(&offs, &[]);
        assert!(seen.iter().all(|v| *v == Verdict::Unknown));
        // Jitter of a millisecond is one of a constant rate, and far too much.
        let offs: Vec<i64> = offs.iter().map(|off| off / 20).collect();
        assert!(verdicts(&offs, &[]).iter().filter(|v| is_off(v)).count() > 50);
        // It is that of a variable one, once the only null packet is out of sight.
        let seen = verdicts_with(&offs, &[], |n| u64::from(n >= 20));
        let judged: Vec<_> = (0..200).filter(|n| seen[*n] != Verdict::Unknown).collect();
        assert!(judged.iter().all(|n| (20..20 + FIT_POINTS).contains(n)) && judged.len() > 10, "{judged:?}");
    }

    #[test]
    fn a_new_rate_is_found() {
        // Half of the rate looks as if as many packets were missing each time.
        for (new, off_at_first) in [(4_100_000, 1..=OUTLIERS_MAX as usize), (2_000_000, 0..=0)] {
            let mut fit = Fit::default();
            fit.restart(0);
            let interval = |rate: u64| 100 * 1504 * TICKS_PER_SECOND / rate;
            for n in 1..=100 {
                fit.judge(100, interval(4_000_000), n);
            }
            let off = (101..=200).filter(|n| is_off(&fit.judge(100, interval(new), *n))).count();
            assert!(off_at_first.contains(&off), "{off}");
            let rate = 1504.0 * 27e6 / fit.ticks_per_packet().unwrap();
            assert!((rate - new as f64).abs() < 1.0, "{rate}");
        }
    }
}
