//! A publisher's own packets: which logs take them, and which logs of a stream would stay empty.

use super::{OpenLog, Stream};
use crate::fanout::log::{Format, LogKey};
use crate::fanout::packager::{self, Packager, Packed};
use crate::fanout::segment::{Entry, flags};
use crate::media::config_set::ConfigSet;
use crate::media::{Demand, Mono, Run};
use std::sync::Arc;

/// What there is of a stream of which nothing can be made into frames.
const ONLY_PASSES: &str = "nothing in it can be carried but by its own transport stream: watch it as .ts";
/// Of a publisher that sends frames.
const NOT_PASSED: &str = "its publisher sends no transport stream of its own";

/// Why a log would stay empty; `passes`: the publisher has a transport stream of its own.
pub(super) fn refusal(key: LogKey, config: &ConfigSet, passes: bool) -> Option<&'static str> {
    match key.format {
        Format::Pass => (!passes).then_some(NOT_PASSED),
        Format::Rtmp | Format::Flv | Format::Ts if passes && config.tracks().next().is_none() => {
            Some(ONLY_PASSES)
        }
        Format::Rtmp | Format::Flv | Format::Ts => packager::refusal(key, config),
    }
}

impl Stream {
    /// Its publisher has a transport stream of its own, whose runs come if `demand` says so.
    pub fn passing(mut self, demand: Option<Demand>) -> Stream {
        self.demand = demand;
        self
    }

    /// Tells the publisher whether its runs are read.
    pub(super) fn ask_for_runs(&self) {
        if let Some(demand) = &self.demand {
            demand.set(self.logs.iter().any(OpenLog::takes_runs));
        }
    }

    /// Tells the publisher that nobody reads its runs, whoever does.
    pub(super) fn ask_for_no_runs(&self) {
        if let Some(demand) = &self.demand {
            demand.set(false);
        }
    }

    /// Takes a run to the logs that pass it on; false if one of them could not take it.
    pub fn append_run(&mut self, now: Mono, run: &Run) -> bool {
        self.lives(now);
        let (config, dts_ms) = (self.tracks.snapshot(), self.timeline.now_ms());
        self.frames = self.frames.wrapping_add(1);
        let mut fits = true;
        for log in self.logs.iter_mut().filter(|log| log.takes_runs()) {
            fits &= log.write_run(now, run, (self.frames, dts_ms), &config);
            log.writer.evict(now, self.keep);
        }
        self.flush.frame(&self.rule, now, false);
        fits
    }

    /// The publisher sends something, whether or not anything of it is a frame.
    pub fn lives(&mut self, now: Mono) {
        self.started.get_or_insert(now);
        let config = self.tracks.snapshot();
        self.judge(now, &config);
    }
}

impl OpenLog {
    /// Whether it has a publisher's packets, and no frames.
    pub(super) fn takes_runs(&self) -> bool {
        self.key.format == Format::Pass
    }

    fn write_run(
        &mut self,
        now: Mono,
        run: &Run,
        (number, dts_ms): (u32, u32),
        config: &Arc<ConfigSet>,
    ) -> bool {
        let Packager::Pass(packager) = &mut self.packager else { return false };
        packager.divide(run);
        let mut fits = true;
        while let Some(packed) = packager.pack(&mut self.writer, run) {
            let Packed::Entry { join } = packed else {
                fits = false;
                continue;
            };
            let entry = Entry {
                dts_ms,
                complete_us: run.complete_at.as_micros(),
                config_epoch: config.epoch,
                number,
                flags: if join { flags::JOIN } else { 0 },
                ..Entry::default()
            };
            fits &= self.writer.commit(now, entry, join.then(|| config.clone()));
        }
        fits
    }
}
