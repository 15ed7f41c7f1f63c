//! The verdict, and the page that a person reads.

use super::carriage::Arrival;
use super::clock::{Clock, Fit};
use super::gates::{Gate, Misses};
use super::packet::NULL_PID;
use super::tables::Tables;
use super::units::Units;
use std::collections::BTreeMap;
use std::fmt;

/// What a judge found; its [`Display`](fmt::Display) is the page.
#[derive(Debug)]
pub struct Report {
    pub rate_bps: u64,
    pub packets: u64,
    /// How long they take at the nominal rate.
    pub ms: f64,
    /// Packets by PID.
    pub seen: BTreeMap<u16, u64>,
    pub misses: Misses,
    pub arrival: Arrival,
    /// By PID of the PCR.
    pub clocks: BTreeMap<u16, Clock>,
    pub fits: BTreeMap<u16, Fit>,
    pub tables: Tables,
    /// By PID.
    pub units: BTreeMap<u16, Units>,
    /// Packets that announced a discontinuity.
    pub discontinuities: u64,
}

impl Report {
    /// The gates that were missed, in the order of [`Gate::ALL`].
    pub fn missed(&self) -> Vec<Gate> {
        self.misses.0.keys().copied().collect()
    }

    /// Share of packets that are nulls.
    pub fn null_share(&self) -> f64 {
        self.seen.get(&NULL_PID).copied().unwrap_or(0) as f64 / self.packets.max(1) as f64
    }

    /// Panics with the whole page if a gate was missed, or if there was nothing to judge.
    pub fn assert_clean(&self, what: &str) {
        assert!(self.packets > 0 && self.misses.0.is_empty(), "{what}:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.ms / 1000.0;
        let nulls = self.null_share() * 100.0;
        writeln!(
            f,
            "{} packets, {seconds:.1} s at {} bit/s, {nulls:.1} % nulls",
            self.packets, self.rate_bps
        )?;
        if self.misses.0.is_empty() {
            writeln!(f, "no gate missed")?;
        }
        for (gate, miss) in &self.misses.0 {
            writeln!(f, "MISSED {gate:?}: {miss}")?;
        }
        for (pid, clock) in &self.clocks {
            let fit = self.fits.get(pid).copied().unwrap_or_default();
            let rate = fit.rate_error_ppm.map_or("not measured".to_owned(), |ppm| format!("{ppm:+.3} ppm"));
            write!(
                f,
                "clock {pid:#06x}: {} PCRs, {:.2} ms apart at most, ",
                clock.count, clock.interval_ms_max
            )?;
            writeln!(f, "{:+.0} ns off their position at most, rate {rate}", fit.accuracy_ns)?;
        }
        for (kind, interval) in &self.tables.intervals {
            let ms = interval.longest as f64 * self.ms / self.packets.max(1) as f64;
            writeln!(f, "{kind:?}: {ms:.1} ms apart at most")?;
        }
        for (program, (provider, name)) in &self.tables.services {
            writeln!(f, "program {program}: {name:?} by {provider:?}")?;
        }
        for (pid, units) in &self.units {
            write!(f, "stream {pid:#06x}: {} units, {} to begin at, ", units.count, units.random_access)?;
            write!(f, "{} incomplete, PTS {:.1} ms apart at most", units.incomplete, units.pts_gap_ms_max)?;
            for (name, lead) in [("PTS", units.pts_lead_ms), ("DTS", units.dts_lead_ms)] {
                if let Some(lead) = lead {
                    write!(f, ", {name} {:.1} to {:.1} ms ahead", lead.min, lead.max)?;
                }
            }
            writeln!(f)?;
        }
        writeln!(f, "{} discontinuities announced", self.discontinuities)?;
        for (pid, count) in &self.seen {
            writeln!(f, "PID {pid:#06x}: {count} packets")?;
        }
        let arrival = &self.arrival;
        if arrival.datagrams > 0 {
            write!(f, "{} datagrams in {:.3?}, ", arrival.datagrams, arrival.span)?;
            writeln!(f, "at most {:.3?} apart, {} together", arrival.wait_max, arrival.run_max)?;
        }
        Ok(())
    }
}
