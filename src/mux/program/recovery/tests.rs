//! The loop against sources that drift, jump, pause and are late.

use super::*;

/// A source with frames each 40 ms of its own clock, which is `ppm` fast, and what its units were given.
struct Source {
    recovery: Recovery,
    ppm: f64,
    n: i64,
    /// When the first frame was made, and what its stamp was.
    origin: (i64, i64),
    seed: u64,
    line: Option<Line>,
    /// When the last frame came: none overtakes another.
    came: i64,
}

impl Source {
    fn new(ppm: f64) -> Source {
        let origin = (SECOND, 90_000);
        Source { recovery: Recovery::new(), ppm, n: 0, origin, seed: 1, line: None, came: 0 }
    }

    fn random(&mut self, below: i64) -> i64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as i64 % below.max(1)
    }

    /// The next frame, up to `jitter` late and `delay` behind; its decoding time in mux time, and when it came.
    fn frame(&mut self, delay: i64, jitter: i64) -> (Place, i64, Option<i64>) {
        let made = (self.n * 40 * MS) as f64 / (1.0 + self.ppm / 1e6);
        let late = self.random(jitter);
        let now = self.came.max(self.origin.0 + made as i64 + delay + late);
        self.came = now;
        let stamp = (self.origin.1 + self.n * 3600).rem_euclid(CLOCK_MODULUS as i64) as u64;
        self.n += 1;
        self.line = self.recovery.settle(now, None, None).or(self.line);
        let place = self.recovery.hear(now, 0, true, stamp);
        let out = match place {
            Place::On(line) => Some(line.at(self.recovery.endless(stamp))),
            _ => None,
        };
        (place, now, out)
    }

    /// The next `count` frames, whatever becomes of them.
    fn frames(&mut self, count: usize, delay: i64, jitter: i64) {
        for _ in 0..count {
            self.frame(delay, jitter);
        }
    }
}

/// Drift of up to 100 ppm over hours with jitter: no jump, no step, and the lead stays.
#[test]
fn drift_is_followed_without_a_step() {
    for ppm in [-100.0, -29.0, 0.0, 31.0, 100.0] {
        let mut source = Source::new(ppm);
        let (mut last, mut leads) = (None::<i64>, (i64::MAX, i64::MIN));
        for n in 0..25 * 3600 * 3 {
            let (place, now, out) = source.frame(0, 60 * MS);
            let Some(out) = out else {
                assert!(n < 10, "{ppm} ppm, frame {n}: {place:?}");
                continue;
            };
            if let Some(last) = last.replace(out) {
                let off = (out - last - 40 * MS).abs();
                // 230 ppm of 40 ms, and the roundings.
                assert!(off <= 40 * MS * 230 / 1_000_000 + 310, "{ppm} ppm, frame {n}: {off}");
            }
            leads = (leads.0.min(out - now), leads.1.max(out - now));
        }
        assert_eq!(source.recovery.jumps(), 0);
        assert!(leads.0 > LATENCY - 120 * MS && leads.1 < LATENCY + 60 * MS, "{ppm} ppm: {leads:?}");
        let found = source.recovery.frequency_ppb() as f64 / 1e3;
        assert!((found + ppm).abs() < 5.0, "{ppm} ppm: {found}");
    }
}

#[test]
fn a_longer_path_is_no_drift() {
    let mut source = Source::new(0.0);
    for n in 0..25 * 1800 {
        let delay = if n < 25 * 600 { 0 } else { 80 * MS };
        source.frame(delay, 5 * MS);
        assert!(source.recovery.frequency_ppb().abs() < 10_000, "{}", source.recovery.frequency_ppb());
    }
    assert_eq!(source.recovery.jumps(), 0);
}

#[test]
fn stamps_that_wrap_are_no_discontinuity() {
    let mut source = Source::new(0.0);
    source.origin.1 = CLOCK_MODULUS as i64 - 90_000;
    let outs: Vec<i64> = (0..100).filter_map(|_| source.frame(0, 0).2).collect();
    assert!(outs.len() > 90 && outs.windows(2).all(|two| two[1] - two[0] == 40 * MS));
}

#[test]
fn what_begins_anew_and_what_is_dropped() {
    // Frames of two seconds are lost on the way; after the pause the source is where it was: nothing new.
    let mut source = Source::new(0.0);
    source.frames(100, 0, 0);
    source.n += 50;
    assert!(matches!(source.frame(0, 0).0, Place::On(_)));
    // It comes two seconds late for good, after silence: at once.
    let begins = |source: &mut Source, delay: i64| {
        (0..50).position(|_| matches!(source.frame(delay, 0).0, Place::Settling))
    };
    source.frames(100, 0, 0);
    assert_eq!(begins(&mut source, 2 * SECOND), Some(0));
    assert_eq!(source.recovery.jumps(), 1);
    source.frames(100, 2 * SECOND, 0);
    // Another timeline, forward and back, or as far as can be: with the second unit.
    for by in [90_000 * 60, -90_000 * 3600, 1 << 32] {
        source.origin.1 += by;
        assert_eq!(begins(&mut source, 2 * SECOND), Some(1), "{by}");
        source.frames(100, 2 * SECOND, 0);
    }
    assert_eq!(source.recovery.jumps(), 4);
    // One that jumps with each unit is dropped, and tried where it has been late for long.
    for n in 0..250 {
        source.origin.1 += 90_000 * 600 * (n % 3 + 1);
        source.frame(2 * SECOND, 0);
    }
    assert!(source.recovery.jumps() < 4 + 5, "{}", source.recovery.jumps());
}

/// A stamp of a master that is broken: it is dropped, and nothing else is.
#[test]
fn one_broken_stamp_is_no_timeline() {
    for broken in [90_000 * 3600, -90_000 * 3600, 1 << 32, 90_000 * 4] {
        let mut source = Source::new(0.0);
        source.frames(100, 0, 0);
        for _ in 0..20 {
            source.origin.1 += broken;
            assert!(matches!(source.frame(0, 0).0, Place::Early | Place::Late), "{broken}");
            source.origin.1 -= broken;
            assert!(matches!(source.frame(0, 0).0, Place::On(_)), "{broken}");
        }
        // Two of them that have nothing to do with one another.
        for more in [broken, broken * 2 / 3] {
            source.origin.1 += more;
            assert!(matches!(source.frame(0, 0).0, Place::Early | Place::Late), "{broken}");
            source.origin.1 -= more;
        }
        assert!((0..50).all(|_| matches!(source.frame(0, 0).0, Place::On(_))), "{broken}");
        assert_eq!(source.recovery.jumps(), 0);
    }
}

/// Sound whose first unit is of another timeline is waited for as the others say.
#[test]
fn one_that_is_left_of_before_does_not_settle() {
    for left in [3600 * SECOND, -3600 * SECOND] {
        let mut recovery = Recovery::new();
        for n in 0..4i64 {
            let (now, made) = (SECOND + n * 40 * MS, (900_000 + n * 3600) as u64);
            recovery.hear(now, 0, true, made);
            let sound = made - 36_000;
            let sound = if n == 0 { (sound as i64 + left / 300).rem_euclid(1 << 33) as u64 } else { sound };
            recovery.hear(now, 1, false, sound);
        }
        let line = recovery.settle(SECOND + SETTLE, None, None).unwrap();
        assert_eq!(line.at(900_000 * 300), SECOND + LATENCY + 400 * MS, "{left}");
    }
}

#[test]
fn lateness_that_lasts_is_followed_and_that_passes_is_not() {
    let mut source = Source::new(0.0);
    source.frames(200, 0, 0);
    // For 0.8 s everything comes 0.6 s late, without a pause that is long enough to count as one.
    source.frames(5, 300 * MS, 0);
    for _ in 0..20 {
        assert_eq!(source.frame(600 * MS, 0).0, Place::Late);
    }
    // What was held up comes at once.
    source.frames(5, 0, 0);
    assert!((0..100).all(|_| matches!(source.frame(0, 0).0, Place::On(_))));
    assert_eq!(source.recovery.jumps(), 0);
    source.frames(5, 300 * MS, 0);
    let places: Vec<Place> = (0..60).map(|_| source.frame(600 * MS, 0).0).collect();
    assert_eq!(places.iter().position(|place| *place == Place::Settling), Some(25));
    assert!(matches!(places[59], Place::On(_)));
}

/// Sound that comes later than pictures is waited for; one that has another clock is not.
#[test]
fn the_slowest_track_sets_the_delay() {
    for (behind, waits) in [(400 * MS, true), (1400 * MS, true), (9 * SECOND, false)] {
        let mut recovery = Recovery::new();
        let mut lines = Vec::new();
        for n in 0..100i64 {
            let now = 20 * SECOND + n * 40 * MS;
            lines.extend(recovery.settle(now, None, None));
            recovery.hear(now, 0, true, (n * 3600 + 900_000) as u64);
            recovery.hear(now, 1, false, (n * 3600 + 900_000 - behind / 300) as u64);
        }
        let [line] = lines[..] else { panic!("{lines:?}") };
        let lead = line.at(900_000 * 300) - 20 * SECOND;
        assert_eq!(lead, if waits { LATENCY + behind } else { LATENCY }, "{behind}");
    }
}

/// Units of a backlog come at once: the newest is what is live.
#[test]
fn a_backlog_is_not_kept() {
    let mut recovery = Recovery::new();
    for n in 0..50u64 {
        assert_eq!(recovery.hear(SECOND, 0, true, n * 3600), Place::Settling);
    }
    let line = recovery.settle(SECOND + SETTLE, Some(0), None).unwrap();
    assert_eq!(line.at(49 * 3600 * 300), SECOND + LATENCY);
}

#[test]
fn what_follows_closely_goes_on_behind_it() {
    for (floor, shift) in [(0, 0), (100, 100), (1000, 1000), (1001, 0)] {
        let mut recovery = Recovery::new();
        recovery.hear(SECOND, 0, true, 0);
        let floor = SECOND + LATENCY + floor * MS;
        let line = recovery.settle(SECOND + SETTLE, Some(0), Some(floor)).unwrap();
        assert_eq!(line.at(0), SECOND + LATENCY + shift * MS);
    }
}

#[test]
fn no_time_overflows() {
    let mut recovery = Recovery::new();
    let mut seed = 7u64;
    for n in 0..200_000i64 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let now = n * 30 * MS;
        recovery.hear(now, (seed >> 60) as usize * 3, seed & 1 == 0, seed >> 20);
        let endless = recovery.endless(seed >> 7);
        recovery.settle(now, Some(endless), Some(now));
    }
    assert!(recovery.endless(0).abs() < 1 << 50);
}
