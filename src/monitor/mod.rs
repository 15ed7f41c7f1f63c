//! A transport stream under watch: the indicators of ETSI TR 101 290, rates, clocks, the media delivery index,
//! services.
//!
//! [`Monitor`] is a machine like the protocol sessions: datagrams or packets come in with their arrival times, a
//! [`Report`] goes out. It has no socket and no clock, allocates when a PID or a table comes that was not there before
//! and never for a packet, and holds at most 8 MiB whatever comes (attacks T1 and T2). It is for anything that reads or
//! writes a transport stream: a file, a capture, a live input behind its reordering, a multicast output.
//!
//! What is judged by time is judged by the arrival times that it is given. A PCR interval is judged by the PCRs,
//! because a receiver's clock runs by them and the network's jitter has figures of its own; PCR accuracy by packets.
//!
//! Not here: the T-STD buffers (TR 101 290, 3.3, 3.9, 3.10), and event information beyond its repetition.
#![forbid(unsafe_code)]

mod continuity;
mod datagrams;
mod fit;
mod indicator;
mod mdi;
mod network;
mod packets;
mod pcr;
mod pids;
mod psi;
mod report;
mod rtp;
mod ruler;
mod si;
mod snapshot;
mod sweep;
mod window;

pub use indicator::{Indicator, Occurrence, Tally};
pub use pcr::{PcrClock, Step, TICKS_PER_SECOND};
pub use psi::{PROGRAMS_MAX, STREAMS_MAX};
pub use report::*;

use crate::media::Mono;
use crate::wire::ts::cut::Seam;
use crate::wire::ts::framing::{DatagramSync, Unit};
use crate::wire::ts::section::{Assembler, OPEN_SECTIONS_MAX, SECTION_BYTES_MAX};
use crate::wire::ts::{PACKET_BYTES, descriptor::Class, pid};
use fit::Fit;
use network::Network;
use pcr::PcrTrack;
use pids::Pids;
use psi::Psi;
use ruler::{Mark, Ruler};
use si::Repetition;
use std::time::Duration;

/// Time without a packet after which only that is raised.
pub const SILENCE: Duration = Duration::from_millis(500);
/// Longest interval of PATs and program maps (1.3, 1.5), in microseconds.
const PSI_US_MAX: u64 = 500_000;
/// Longest interval of PTS (2.5), in microseconds.
const PTS_US_MAX: u64 = 700_000;
/// A clock whose last PCR came within this time, in microseconds, goes on: twice the longest interval, and what is sent
/// in bursts. Less than what tables are given, so that those which go with it are missed in time.
const CLOCK_ALIVE_US: u64 = 350_000;
const _: () = assert!(CLOCK_ALIVE_US < PSI_US_MAX);
/// Bits of a packet.
const PACKET_BITS: u64 = PACKET_BYTES as u64 * 8;

/// Bytes that a monitor may hold besides names, whatever comes.
pub const HEAP_BYTES_MAX: usize = 8 << 20;
const _: () = assert!(
    pids::PIDS_BYTES_MAX
        + psi::PROGRAMS_BYTES_MAX
        + PROGRAMS_MAX * size_of::<PcrTrack>()
        + OPEN_SECTIONS_MAX * SECTION_BYTES_MAX
        < HEAP_BYTES_MAX * 7 / 8,
    "the rest is for indices, and for what vectors grow by"
);

/// What is judged how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest interval of PCRs (2.3.a): 100 ms in TR 101 290 since version 1.4.1; 40 ms before it and in DVB, and what
    /// many receivers and probes still go by.
    pub pcr_interval_max: Duration,
    /// Longest absence of a stream of pictures or sound (1.6).
    pub absence_max: Duration,
    /// How often what is overdue is looked for: it is raised later by up to so much.
    pub look_every: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            pcr_interval_max: Duration::from_millis(100),
            absence_max: Duration::from_secs(5),
            look_every: sweep::SWEEP,
        }
    }
}

/// A transport stream under watch.
#[derive(Clone, Debug)]
pub struct Monitor {
    options: Options,
    /// Rarely touched, and large: what every packet needs stands close together.
    tallies: Box<indicator::Tallies>,
    pids: Pids,
    psi: Psi,
    repetition: Repetition,
    assembler: Assembler,
    tracks: Vec<PcrTrack>,
    sync: DatagramSync,
    seam: Seam,
    /// The last datagram that was read had packets in it, not RTP.
    plain: bool,
    /// Times that tables may be applied before the next sweep.
    applications: u32,
    /// Packets are being read: synchronisation is not lost.
    in_sync: bool,
    silent: bool,
    packets: u64,
    nulls: u64,
    malformed: u64,
    first_at: Option<Mono>,
    /// When the last packet came.
    last_at: Mono,
    /// The same, of whatever is to be the stream, in synchronisation or not.
    heard_at: Mono,
    /// Since when scrambled packets come that wait for a CAT, and when the last one came.
    scrambled_since: Option<Mono>,
    scrambled_at: Mono,
    cat_told: bool,
    /// What distances of tables are measured by, as of the last look.
    ruler: Ruler,
    second: Second,
    next_sweep: Mono,
    next_slow_sweep: Mono,
    network: Option<Box<Network>>,
    /// Times are those of datagrams: what comes at one was not sent at one.
    bunched: bool,
}

/// The second that runs.
#[derive(Clone, Debug, Default)]
struct Second {
    start: Mono,
    packets: u64,
    min_bps: Option<f64>,
    max_bps: Option<f64>,
}

impl Monitor {
    /// A monitor that has seen nothing.
    pub fn new(options: Options) -> Monitor {
        Monitor {
            options,
            tallies: Box::default(),
            pids: Pids::default(),
            psi: Psi::default(),
            repetition: Repetition::default(),
            assembler: Assembler::new(),
            tracks: Vec::new(),
            sync: DatagramSync::default(),
            seam: Seam::default(),
            plain: false,
            applications: sweep::APPLICATIONS,
            in_sync: false,
            silent: false,
            packets: 0,
            nulls: 0,
            malformed: 0,
            first_at: None,
            last_at: Mono::ZERO,
            heard_at: Mono::ZERO,
            scrambled_since: None,
            scrambled_at: Mono::ZERO,
            cat_told: false,
            ruler: Ruler::None,
            second: Second::default(),
            next_sweep: Mono::ZERO,
            next_slow_sweep: Mono::ZERO,
            network: None,
            bunched: false,
        }
    }

    /// What [`crate::wire::ts::framing`] found in a byte stream, with the time at which it came or should come.
    pub fn handle_unit(&mut self, at: Mono, unit: Unit<'_>) {
        self.pass_time(at);
        self.hear(at);
        self.unit(at, unit);
    }

    /// Tells what [`Monitor::handle_packets`] will read, as addresses with so many bytes from there: what stands in the
    /// monitor itself.
    pub fn reads(&self, mut tell: impl FnMut(*const u8, usize)) {
        tell((&raw const self.second).cast(), size_of::<Second>());
        tell((&raw const self.pids).cast(), size_of::<Pids>());
        tell((&raw const self.sync).cast(), 1);
        tell((&raw const self.packets).cast(), 1);
        tell((&raw const self.next_sweep).cast(), 1);
        tell((&raw const self.in_sync).cast(), 1);
        tell((&raw const self.psi.dirty).cast(), 1);
    }

    /// The same: the first clock, and PIDs.
    pub fn reads_of_pids(&self, mut tell: impl FnMut(*const u8, usize)) {
        if let Some(track) = self.tracks.first() {
            track.reads(&mut tell);
        }
        self.pids.reads(tell);
    }

    /// Time passes and nothing comes.
    pub fn handle_timeout(&mut self, at: Mono) {
        self.pass_time(at);
    }

    /// The stream has ended, and there was no clock in it to take times from: all that came had the same. What time
    /// decides could not be judged, but each clock that a program map names is missing (2.3.a).
    pub fn handle_end_without_clock(&mut self) {
        if self.psi.dirty {
            self.apply_tables(self.last_at);
        }
        self.miss_clocks(self.last_at);
    }

    /// When [`Monitor::handle_timeout`] is due if nothing comes before. Once silence has been raised nothing is: only
    /// what comes can change something.
    pub fn deadline(&self) -> Mono {
        if self.first_at.is_some() && !self.silent { self.next_sweep } else { Mono::NEVER }
    }

    /// How often an indicator was raised.
    pub fn tally(&self, indicator: Indicator) -> Tally {
        self.tallies.of(indicator)
    }

    /// Bytes held, without what names take.
    pub fn heap_bytes(&self) -> usize {
        let tracks = self.tracks.capacity() * size_of::<PcrTrack>();
        let programs = &self.psi.programs;
        let streams: usize = programs.iter().map(|p| p.streams.capacity() * size_of::<psi::Stream>()).sum();
        let network = self.network.as_ref().map_or(0, |_| size_of::<Network>());
        self.pids.heap_bytes()
            + network
            + size_of::<indicator::Tallies>()
            + self.assembler.heap_bytes()
            + self.repetition.heap_bytes()
            + tracks
            + programs.capacity() * size_of::<psi::Program>()
            + programs.iter().map(|p| p.ca_pids.capacity() * size_of::<u16>()).sum::<usize>()
            + streams
    }

    /// Time goes on to `at`; before the first packet nothing is due.
    fn pass_time(&mut self, at: Mono) {
        if self.first_at.is_none() {
            return;
        }
        // What was overdue before a pause began is told as of then: who sends in bursts is judged between them.
        let pause = self.last_at + sweep::PAUSE;
        if self.next_sweep <= pause && pause < at {
            self.sweep(pause);
        }
        if at >= self.next_sweep {
            self.sweep(at);
        }
    }

    /// Something comes that is to be the stream.
    fn hear(&mut self, at: Mono) {
        if self.first_at.is_none() {
            self.first_at = Some(at);
            (self.last_at, self.heard_at) = (at, at);
            (self.second.start, self.next_sweep) = (at, at + self.options.look_every);
            if let Some(network) = &mut self.network {
                network.mdi.close(at, None);
            }
        }
        if self.silent || at.since(self.heard_at) > SILENCE {
            if !self.silent {
                self.raise(Indicator::Silence, at, None);
            }
            self.silent = false;
            self.restart(at);
        }
        self.heard_at = at;
    }

    /// What comes next does not follow on what was.
    fn forget_continuity(&mut self) {
        for state in self.pids.iter_mut() {
            state.continuity.forget();
            self.assembler.reset(state.pid);
        }
        self.tracks.iter_mut().for_each(|track| track.damaged = true);
    }

    /// After a time without packets everything is due anew.
    fn restart(&mut self, at: Mono) {
        self.psi.restart(Mark { at, packet: self.packets });
        self.repetition.restart();
        for track in &mut self.tracks {
            track.clock.forget();
            track.fit = Fit::default();
            (track.since, track.absence_told) = (at, false);
        }
        for state in self.pids.iter_mut() {
            state.pts.last_at = state.pts.last_at.map(|_| at);
            state.unreferenced_since = None;
        }
    }

    /// What distances of tables are measured by, now.
    fn ruler_at(&self, at: Mono) -> Ruler {
        match packet_us(&self.tracks, at) {
            Some(us) => Ruler::Packets(us),
            None if self.first_at == Some(self.last_at) => Ruler::None,
            None if self.bunched => Ruler::Arrival,
            None => Ruler::Clock,
        }
    }

    fn raise(&mut self, indicator: Indicator, at: Mono, pid: Option<u16>) {
        self.raise_at(indicator, at, self.packets, pid);
    }

    fn raise_at(&mut self, indicator: Indicator, at: Mono, packet: u64, pid: Option<u16>) {
        self.tallies.raise(indicator, Occurrence { packet, at, pid });
    }
}

/// The clock that the rate of the multiplex is taken from: the one with the most PCRs.
fn reference<'a>(tracks: impl IntoIterator<Item = &'a PcrTrack>) -> Option<&'a PcrTrack> {
    tracks.into_iter().max_by_key(|track| track.intervals)
}

/// The same among those that go on: packets of a clock that has stopped have no length.
fn live_reference(tracks: &[PcrTrack], at: Mono) -> Option<&PcrTrack> {
    let is_live = |track: &&PcrTrack| !track.absence_told && at.micros_since(track.since) <= CLOCK_ALIVE_US;
    reference(tracks.iter().filter(is_live))
}

/// Microseconds of a packet, where the rate is constant.
fn packet_us(tracks: &[PcrTrack], at: Mono) -> Option<f64> {
    live_reference(tracks, at)?.fit.ticks_per_packet().map(|ticks| ticks / 27.0)
}
