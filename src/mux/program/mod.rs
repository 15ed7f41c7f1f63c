//! One program of a multiplex: its source, its tracks and their PIDs, its clock, and what it lost.
//!
//! `source` reads the tables of what is fed, `map` gives its tracks their PIDs and writes the PMT, `intake` makes units of its
//! packets, `recovery` finds their times in the multiplex, and `track` holds them until they go; `level` reads what decoder pictures need
//! and `leak` keeps to its transport buffer; `share` is what it may take of
//! the rate. Which program's packet goes next is not decided here.

mod intake;
mod leak;
mod level;
mod map;
pub(super) mod recovery;
pub(super) mod share;
mod source;
pub(super) mod track;

use super::carousel::Carousel;
use super::multiplex::queue_packets_max;
use super::queue::Pool;
use super::rewrite;
use super::service::Service;
use super::tally::{Alarms, Tally};
use super::ticker::{MS, SECOND, Ticker, clock_each};
use crate::wire::ts::PACKET_BYTES;
use crate::wire::ts::descriptor::Class;
use bytes::Bytes;
use map::Plan;
use recovery::{Recovery, SILENCE};
use share::{Sent, Share};
use source::Source;
use track::{Track, Unit};

/// The first one comes that much behind that of the service before: as its PMT does.
const PCR_BEHIND: i64 = 5 * MS;
/// A caller whose writing is behind what it feeds by more was held up, and what it feeds came earlier than it says.
const HELD_UP: i64 = 250 * MS;
/// Times of a source that begins anew begin at least that long behind those before.
const FRAME: i64 = 20 * MS;
/// Time behind a seam in which what is late is what a source had before the channel joined it, and nobody's fault.
const JOIN: i64 = SECOND;
/// Time without pictures, or sound, after which they are lost though the other goes on: a still each second is in use.
const KIND_SILENCE: i64 = 2 * SECOND;

/// What goes first, of all programs: what they have a right to before what is more; of that, sound before data before pictures,
/// and of each kind what is decoded first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency {
    exceeds: bool,
    rank: u8,
    dts: i64,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Program {
    service: Service,
    /// Its place among the services.
    number: usize,
    /// How many there are.
    of: usize,
    /// What it may take where others leave room, in bits a second.
    most_bps: u64,
    plan: Plan,
    source: Source,
    /// When the last seam was.
    seam_at: i64,
    /// The next map is the first behind a seam: it gives tracks their numbers.
    renumber: bool,
    pub tracks: Vec<Track>,
    /// Where packets of the source's PIDs belong.
    pids: Vec<(u16, usize)>,
    pub pool: Pool,
    pub clock: Recovery,
    pcr_pid: u16,
    /// The PID that the clock has once this PMT is sent.
    pcr_next: (u64, u16),
    pcr_due: i64,
    /// The next PCR does not go on from those before it: it is the first, or datagrams were left out.
    pcr_begins: bool,
    /// When something came last.
    fed_at: i64,
    /// The latest time at which anything that was placed is shown.
    floor: Option<i64>,
    share: Share,
    pub tally: Tally,
}

impl Program {
    /// Service `number` of `of`, which may always take `share_bps` of the `all_bps` that there are for all of them, in bits a second.
    pub fn new(service: Service, (number, of): (usize, usize), share_bps: u64, all_bps: u64) -> Program {
        let pcr_pid = service.first_pcr_pid();
        let most_bps = share_bps.saturating_mul(2).min(all_bps);
        Program {
            plan: Plan::of(&service, of == 1),
            number,
            of,
            most_bps,
            source: Source::new(),
            seam_at: 0,
            renumber: true,
            tracks: Vec::new(),
            pids: Vec::new(),
            pool: Pool::new(queue_packets_max(most_bps)),
            clock: Recovery::new(),
            pcr_pid,
            pcr_next: (0, pcr_pid),
            // Behind the first tables: nobody knows before whose clock it is.
            pcr_due: 15 * MS + number as i64 * PCR_BEHIND,
            pcr_begins: true,
            fed_at: 0,
            floor: None,
            share: Share::new(share_bps, all_bps),
            tally: Tally::default(),
            service,
        }
    }

    /// Packets of the source, which came at `now`.
    pub fn feed(&mut self, now: i64, packets: &Bytes, ticker: &Ticker, carousel: &mut Carousel) {
        // A caller that mixes clock readings does not turn time back.
        self.fed_at = self.fed_at.max(now);
        let now = self.fed_at;
        if now - ticker.now() > HELD_UP {
            self.clock.held_up(now);
        }
        self.settle(now, ticker);
        let (whole, rest) = packets.as_chunks();
        self.tally.source_damaged += u64::from(!rest.is_empty());
        self.pool.open(packets);
        let mut before = None;
        for bytes in whole {
            if before.is_some_and(|(pid, at)| self.goes_on(pid, at, bytes)) {
                continue;
            }
            before = self.take(now, bytes, ticker, carousel);
        }
        self.pool.close();
        // What waits is gone through: not for each sound.
        for track in self.tracks.iter_mut().filter(|track| track.grown) {
            track.pace(ticker.now(), ticker.packet(), self.share.others());
        }
    }

    /// What is fed next does not continue what was.
    pub fn seam(&mut self, now: i64) {
        // What waited behind it may have come before: when, its feeding tells.
        self.seam_at = now;
        self.tally.quiet_until = self.seam_at + JOIN;
        self.renumber = true;
        self.tally.seams += 1;
        self.source.seam();
        self.clock.seam();
        self.tracks.iter_mut().for_each(|track| track.seam(&mut self.pool, &mut self.tally));
    }

    /// Datagrams were left out: the clock jumps, and what is late now is nobody's fault here.
    pub fn skip(&mut self, ticker: &Ticker) {
        (self.pcr_begins, self.pcr_due) = (true, ticker.now());
        self.clock.held_up(ticker.now());
        for track in &mut self.tracks {
            track.held_up();
            track.pace(ticker.now(), ticker.packet(), self.share.others());
        }
    }

    /// Lays the line of times, once enough is known for it, and gives what waits for it its place.
    pub fn settle(&mut self, now: i64, ticker: &Ticker) {
        if !self.clock.is_settling() {
            return;
        }
        let waiting = |track: &Track| track.units.iter().find(|unit| !unit.placed).map(|unit| unit.dts);
        let first = self.tracks.iter().filter(|track| track.class != Class::Data).filter_map(waiting).min();
        let floor = self.floor.map(|floor| floor + FRAME);
        let Some(line) = self.clock.settle(now, first, floor) else { return };
        for track in &mut self.tracks {
            let now = now.max(ticker.now());
            if let Some(shown) = track.settle(line, now, &mut self.pool, &mut self.tally) {
                self.floor = self.floor.max(Some(shown));
            }
            track.pace(ticker.now(), ticker.packet(), self.share.others());
            track.wake();
        }
    }

    /// When its clock is due.
    pub fn clock_due(&self) -> i64 {
        self.pcr_due
    }

    /// The packet of its clock.
    pub fn put_clock(&mut self, ticker: &Ticker, out: &mut [u8; PACKET_BYTES]) {
        let of = self.tracks.iter_mut().find(|track| track.pid == self.pcr_pid);
        let counter = of.map_or(0x0F, |track| {
            track.leak.pass_clock(ticker.now());
            track.counter
        });
        let begins = std::mem::take(&mut self.pcr_begins);
        rewrite::clock(out, self.pcr_pid, counter, ticker.pcr(), begins);
        self.told_time(ticker);
        self.tally.clocks += 1;
    }

    /// A PCR goes: the next one has time.
    fn told_time(&mut self, ticker: &Ticker) {
        self.pcr_due = ticker.now() + clock_each(ticker.packet(), self.of);
    }

    /// PMT number `revision` was sent: the clock may be where that says.
    pub fn mapped(&mut self, now: i64, revision: u64) {
        let (from, pid) = self.pcr_next;
        if revision >= from && pid != self.pcr_pid {
            (self.pcr_pid, self.pcr_due) = (pid, now);
        }
    }

    /// The most urgent packet of what may go, with its track. `sent`: the last PMT that was sent.
    pub fn next(&mut self, ticker: &Ticker, sent: u64) -> Option<(Urgency, usize)> {
        let (now, packet) = (ticker.now(), ticker.packet());
        let (mut best, others): (Option<(Urgency, usize)>, _) = (None, self.share.others());
        for (at, track) in self.tracks.iter_mut().enumerate().filter(|(_, track)| track.revision <= sent) {
            let Some(dts) = track.ready(now, packet, others, &mut self.pool, &mut self.tally) else {
                continue;
            };
            let urgency = Urgency { exceeds: self.share.exceeds(now, track.class), rank: track.rank(), dts };
            if best.is_none_or(|(first, _)| urgency < first) {
                best = Some((urgency, at));
            }
        }
        best
    }

    /// Moves the next packet of track `at` to `out`; `clock` is what the multiplex's says at its beginning.
    #[must_use]
    pub fn put_media(
        &mut self,
        at: usize,
        ticker: &Ticker,
        clock: u64,
        out: &mut [u8; PACKET_BYTES],
    ) -> bool {
        let Some(track) = self.tracks.get_mut(at) else { return false };
        let Some(unit) = track.units.front_mut() else { return false };
        if !self.pool.pop(&mut unit.packets, out) {
            return false;
        }
        self.share.charge(ticker.now(), track.class);
        track.counter = (track.counter + 1) & 0x0F;
        rewrite::head(out, track.pid, track.counter);
        let pcr = (track.pid == self.pcr_pid).then(|| ticker.pcr());
        let tells_time = rewrite::adaptation(out, pcr);
        if !unit.started {
            unit.started = true;
            self.tally.units += 1;
            if unit.stamped {
                rewrite::times(out, rewrite::ticks_90k(clock, unit.pts), rewrite::ticks_90k(clock, unit.dts));
            }
        }
        self.tally.buffer_exceeded += u64::from(track.sent(ticker.now()));
        if tells_time {
            self.told_time(ticker);
        }
        true
    }

    /// Tells what is read of it itself for a datagram, as addresses with so many bytes from there.
    pub fn reads(&self, mut tell: impl FnMut(*const u8, usize)) {
        tell(self.clock.reads(), 1);
        tell((&raw const self.tally).cast(), 1);
        tell((&raw const self.tracks).cast(), size_of::<Vec<Track>>());
        tell((&raw const self.pool).cast(), size_of::<Pool>());
        tell((&raw const self.pcr_pid).cast(), 1);
        tell((&raw const self.pcr_due).cast(), 1);
        tell((&raw const self.share).cast(), size_of::<Share>());
    }

    /// The units of which something may be sent before `end`, and where that waits.
    pub fn next_units(&self, end: i64) -> impl Iterator<Item = (&Pool, &Unit)> {
        let tracks = self.tracks.iter().filter(move |track| track.may_send(end));
        tracks.filter_map(|track| Some((&self.pool, track.units.front()?)))
    }

    /// Finds what others take of the rate.
    pub fn measure(&mut self, sent: Sent) {
        self.share.measure(sent);
    }

    /// What was counted.
    pub fn tally(&self) -> Tally {
        Tally { jumps: self.clock.jumps(), ..self.tally.clone() }
    }

    /// What is wrong at `now`, which what was written may be ahead of.
    pub fn alarms(&self, now: i64, ticker: &Ticker) -> Alarms {
        Alarms {
            source_lost: self.is_lost(now),
            overload: self.tally.is_overloaded(now.max(ticker.now())),
            late: self.tally.is_late(now.max(ticker.now())),
            no_program: !self.source.is_known() && now - self.seam_at > SILENCE,
        }
    }

    /// Nothing has been given a place for too long, or nothing of a kind that the source has.
    fn is_lost(&self, now: i64) -> bool {
        let mut media = self.tracks.iter().filter(|track| track.class != Class::Data);
        let is_silent = |class: Class| {
            let here = self.tracks.iter().filter(|track| track.class == class && track.source_pid.is_some());
            let last = here.map(|track| track.here_since.max(track.placed_at.unwrap_or(0))).max();
            last.is_some_and(|last| now - last > KIND_SILENCE)
        };
        media.all(|track| track.placed_at.is_none_or(|at| now - at > SILENCE))
            || is_silent(Class::Video)
            || is_silent(Class::Audio)
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.pool.heap_bytes()
            + self.source.heap_bytes()
            + self.clock.heap_bytes()
            + self.tracks.capacity() * size_of::<Track>()
            + self.tracks.iter().map(Track::heap_bytes).sum::<usize>()
            + self.pids.capacity() * size_of::<(u16, usize)>()
    }
}
