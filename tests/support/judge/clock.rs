//! The clock of a program against the positions of its packets: at a constant rate, each PCR follows from where it stands.
//!
//! Positions are known as long as nothing is missing, so a hole, a datagram of another size or an announced discontinuity
//! ends a run, and each run is fitted for itself.

use super::channel::Channel;
use super::gates::{Gate, Interval, Misses};

/// A PCR counts to here and begins anew, at 27 MHz.
const WRAP: i64 = (1 << 33) * 300;
/// A step beyond this is a jump, not a lack of accuracy; in ticks of 27 MHz (1 ms).
const JUMP_TICKS: f64 = 27_000.0;
/// A fit through fewer points says nothing.
const POINTS_MIN: usize = 10;

/// A PCR: number of its packet, and ticks of 27 MHz since the first of its run.
type Point = (u64, i64);

/// The clock of one PID.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Number and value of the newest PCR.
    newest: Option<(u64, u64)>,
    runs: Vec<Vec<Point>>,
    /// The next PCR begins a run.
    cut: bool,
    /// The next PCR may say anything.
    announced: bool,
    place: Interval,
    /// PCRs.
    pub count: u64,
    /// The longest interval, in ms.
    pub interval_ms_max: f64,
}

/// What the fit through the runs says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// How far a PCR is from where it stands, at most, in ns with its sign.
    pub accuracy_ns: f64,
    /// Number of that packet.
    pub packet: u64,
    /// Of the multiplex against the nominal rate, in parts per million; `None`: no run is long enough.
    pub rate_error_ppm: Option<f64>,
}

impl Clock {
    /// Positions are not known across this place.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// A discontinuity was announced on the clock's PID.
    pub fn announce(&mut self) {
        (self.cut, self.announced) = (true, true);
    }

    /// Ticks of 27 MHz when this packet comes, carried on from the newest PCR; `None` in front of the first.
    pub fn at(&self, packet: u64, channel: &Channel) -> Option<i64> {
        let (number, value) = self.newest?;
        Some(value as i64 + channel.ticks(packet - number).round() as i64)
    }

    /// Takes a PCR.
    pub fn take(&mut self, pid: u16, packet: u64, value: u64, channel: &Channel, misses: &mut Misses) {
        self.count += 1;
        let waited = channel.ticks(self.place.seen(packet));
        let mut cut = std::mem::take(&mut self.cut);
        let announced = std::mem::take(&mut self.announced);
        // The clock's own interval, unless it is no interval.
        let mut interval = waited;
        let mut since_last = 0;
        if let Some((_, last)) = self.newest.replace((packet, value)) {
            since_last = signed(value as i64 - last as i64, WRAP);
            let step = since_last as f64 - waited;
            // Behind a hole nothing is known but that time does not go back.
            let jumped = if cut { since_last <= 0 } else { step.abs() > JUMP_TICKS };
            if jumped && !announced {
                misses.note(Gate::PcrJump, packet, || {
                    format!("the clock of PID {pid:#x} steps by {:+.3} ms", step / 27_000.0)
                });
            }
            cut |= jumped;
            if !jumped && !announced {
                interval = since_last as f64;
            }
        }
        self.interval(pid, packet, interval / 27_000.0, channel, misses);
        match self.runs.last_mut() {
            Some(run) if !cut => {
                let ticks = run.last().map_or(0, |point| point.1) + since_last;
                run.push((packet, ticks));
            }
            _ => self.runs.push(vec![(packet, 0)]),
        }
    }

    fn interval(&mut self, pid: u16, packet: u64, ms: f64, channel: &Channel, misses: &mut Misses) {
        self.interval_ms_max = self.interval_ms_max.max(ms);
        if ms > channel.limits.pcr_interval_ms {
            misses.note(Gate::PcrInterval, packet, || format!("{ms:.1} ms without a PCR on PID {pid:#x}"));
        }
    }

    /// The capture ends in front of this packet.
    pub fn finish(&mut self, pid: u16, end: u64, channel: &Channel, misses: &mut Misses) -> Fit {
        let waited = channel.ms(self.place.seen(end));
        self.interval(pid, end, waited, channel, misses);
        let mut fit = Fit::default();
        let mut longest = 0;
        for run in self.runs.iter().filter(|run| run.len() >= POINTS_MIN) {
            let (slope, worst) = fit_run(run, channel);
            if worst.1.abs() > fit.accuracy_ns.abs() {
                (fit.packet, fit.accuracy_ns) = worst;
            }
            if run.len() > longest {
                longest = run.len();
                // More ticks for the same packets: a slower multiplex.
                fit.rate_error_ppm = Some((channel.ticks(1) / (channel.ticks(1) + slope) - 1.0) * 1e6);
            }
        }
        let Some(ppm) = fit.rate_error_ppm else {
            misses.note(Gate::PcrAccuracy, end, || {
                format!("never {POINTS_MIN} PCRs in a row on PID {pid:#x}: nothing to measure")
            });
            return fit;
        };
        if ppm.abs() > channel.limits.rate_error_ppm {
            misses.note(Gate::MuxRate, end, || format!("{ppm:+.3} ppm by the PCRs of PID {pid:#x}"));
        }
        if fit.accuracy_ns.abs() > channel.limits.pcr_accuracy_ns {
            let ns = fit.accuracy_ns;
            misses
                .note(Gate::PcrAccuracy, fit.packet, || format!("a PCR of PID {pid:#x} is {ns:+.0} ns off"));
        }
        fit
    }
}

/// The shortest way from 0 to `value` on a circle.
pub fn signed(value: i64, circle: i64) -> i64 {
    (value + circle / 2).rem_euclid(circle) - circle / 2
}

/// Slope in ticks a packet beside the nominal one, and the point that is farthest off, in ns.
///
/// The slope is the median over pairs an eighth of the run apart, which a few wrong points or a step do not move; a least
/// squares line through what lies near it then takes the rest of the slope, as small as it is, out of the distances.
fn fit_run(run: &[Point], channel: &Channel) -> (f64, (u64, f64)) {
    let first = run[0].0;
    let points: Vec<(f64, f64)> = run
        .iter()
        .map(|(packet, ticks)| ((packet - first) as f64, *ticks as f64 - channel.ticks(packet - first)))
        .collect();
    let apart = (points.len() / 8).max(1);
    let slope =
        median(points.iter().zip(&points[apart..]).map(|(one, two)| (two.1 - one.1) / (two.0 - one.0)));
    let middle = median(points.iter().map(|(x, y)| y - slope * x));
    let distance = |(x, y): &(f64, f64)| (y - slope * x - middle).abs();
    // Two ticks beside: a PCR is a whole number of them.
    let near = 4.0 * median(points.iter().map(distance)) + 2.0;
    let kept: Vec<(f64, f64)> = points.iter().copied().filter(|point| distance(point) <= near).collect();
    let (rest, offset) = least_squares(&kept, slope);
    let ns = points.iter().map(|(x, y)| (y - (slope + rest) * x - offset) * 1000.0 / 27.0);
    let worst =
        run.iter().map(|point| point.0).zip(ns).max_by(|one, two| one.1.abs().total_cmp(&two.1.abs()));
    (slope + rest, worst.unwrap_or((first, 0.0)))
}

/// Slope that is left beside `slope`, and offset at 0.
fn least_squares(points: &[(f64, f64)], slope: f64) -> (f64, f64) {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|(x, y)| y - slope * x).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let along: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - slope * x - mean_y)).sum();
    let rest = if spread > 0.0 { along / spread } else { 0.0 };
    (rest, mean_y - rest * mean_x)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
