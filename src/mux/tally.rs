//! What a multiplex counts, for metrics and alarms.

use super::ticker::SECOND;

/// Time that an alarm stays after its last cause.
const ALARM: i64 = 5 * SECOND;

/// Counters since the beginning. Units are access units; those that are dropped are dropped whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets written, of all kinds.
    pub packets: u64,
    /// Of them, nulls.
    pub nulls: u64,
    /// Of them, with tables.
    pub tables: u64,
    /// Of them, with nothing but a PCR.
    pub clocks: u64,
    /// Units begun to be sent.
    pub units: u64,
    /// Units that came too late to be sent, or too early to be kept, or behind what was sent before them.
    pub units_late: u64,
    /// Units dropped because the rate does not suffice: alarm [`Alarms::overload`].
    pub units_overload: u64,
    /// Units cut short when their decoding time came; each is in `units_overload` as well, or in `units_late` if a stall
    /// of the caller was the reason.
    pub units_cut: u64,
    /// Pictures dropped because one before them, that they need, was.
    pub units_without_key: u64,
    /// Units dropped because their track ended, or at a seam when nobody knew their time yet.
    pub units_ended: u64,
    /// Units dropped because too much waits already; each is in `units_overload` as well.
    pub units_overflow: u64,
    /// Units that were sent in time although they are more than the transport buffer of a decoder of their level takes: their
    /// source exceeds it.
    pub buffer_exceeded: u64,
    /// Datagrams left out, because the caller was held up.
    pub datagrams_skipped: u64,
    /// Seams that were announced.
    pub seams: u64,
    /// Jumps of the source's timeline, or of its delay, that were not.
    pub jumps: u64,
    /// PMTs of another content.
    pub pmt_changes: u64,
    /// PMTs of the source that were left out because they change too often.
    pub pmt_ignored: u64,
    /// Tracks that a source had and that have no place in the multiplex.
    pub tracks_left_out: u64,
    /// Gaps in the source's continuity counters.
    pub source_gaps: u64,
    /// Source packets that are no packets, or broken, or of units without a header or with times that are broken.
    pub source_damaged: u64,
    /// Source packets that are scrambled.
    pub source_scrambled: u64,
    /// Source packets of PIDs that are not carried.
    pub source_unmapped: u64,
    /// When the rate last did not suffice, in mux time.
    pub(super) overload_at: Option<i64>,
    /// When a unit last was dropped for its time, in mux time.
    pub(super) late_at: Option<i64>,
    /// Until then that is no reason for an alarm.
    pub(super) quiet_until: i64,
}

/// What is wrong now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Nothing came for half a second that can be sent: tables, clock and nulls go on. Or for two seconds nothing of a kind,
    /// pictures or sound, that the source says it has.
    pub source_lost: bool,
    /// Units were dropped in the last five seconds because the rate does not suffice.
    pub overload: bool,
    /// Units were dropped in the last five seconds because their times are not those of what else comes, or they came too
    /// late to be sent. What is old where a channel joins a source raises nothing, nor does anything in the second behind a
    /// seam.
    pub late: bool,
    /// No program of the source is known, half a second after it began.
    pub no_program: bool,
}

impl Alarms {
    /// What is wrong with either.
    pub(super) fn or(self, other: Alarms) -> Alarms {
        Alarms {
            source_lost: self.source_lost || other.source_lost,
            overload: self.overload || other.overload,
            late: self.late || other.late,
            no_program: self.no_program || other.no_program,
        }
    }
}

impl Tally {
    /// Both together; times of alarms are left out.
    pub(super) fn plus(&self, other: &Tally) -> Tally {
        Tally {
            packets: self.packets + other.packets,
            nulls: self.nulls + other.nulls,
            tables: self.tables + other.tables,
            clocks: self.clocks + other.clocks,
            units: self.units + other.units,
            units_late: self.units_late + other.units_late,
            units_overload: self.units_overload + other.units_overload,
            units_cut: self.units_cut + other.units_cut,
            units_without_key: self.units_without_key + other.units_without_key,
            units_ended: self.units_ended + other.units_ended,
            units_overflow: self.units_overflow + other.units_overflow,
            buffer_exceeded: self.buffer_exceeded + other.buffer_exceeded,
            datagrams_skipped: self.datagrams_skipped + other.datagrams_skipped,
            seams: self.seams + other.seams,
            jumps: self.jumps + other.jumps,
            pmt_changes: self.pmt_changes + other.pmt_changes,
            pmt_ignored: self.pmt_ignored + other.pmt_ignored,
            tracks_left_out: self.tracks_left_out + other.tracks_left_out,
            source_gaps: self.source_gaps + other.source_gaps,
            source_damaged: self.source_damaged + other.source_damaged,
            source_scrambled: self.source_scrambled + other.source_scrambled,
            source_unmapped: self.source_unmapped + other.source_unmapped,
            ..Tally::default()
        }
    }

    // Rare: what it changes is not to be read for every packet.
    #[cold]
    #[inline(never)]
    pub(super) fn overload(&mut self, now: i64) {
        self.units_overload += 1;
        self.overload_at = Some(now);
    }

    /// A unit is dropped for its time.
    #[cold]
    #[inline(never)]
    pub(super) fn late(&mut self, now: i64) {
        self.units_late += 1;
        if now > self.quiet_until {
            self.late_at = Some(now);
        }
    }

    pub(super) fn is_late(&self, now: i64) -> bool {
        self.late_at.is_some_and(|at| now - at <= ALARM)
    }

    pub(super) fn is_overloaded(&self, now: i64) -> bool {
        self.overload_at.is_some_and(|at| now - at <= ALARM)
    }
}
