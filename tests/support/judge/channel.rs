//! What was ordered: the multiplex as its operator configured it, and the figures that it is held to.

/// A constant-rate multiplex, as it should be.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Bits a second of whole packets, nulls included.
    pub rate_bps: u64,
    pub programs: Vec<Program>,
    /// Whether an SDT is sent (PID 0x11).
    pub sdt: bool,
    /// Whether a NIT is sent (PID 0x10).
    pub nit: bool,
    /// Whether a TDT or TOT is sent (PID 0x14).
    pub tdt: bool,
    pub limits: Limits,
}

/// One program of it.
#[derive(Clone, Debug)]
pub struct Program {
    pub number: u16,
    pub pmt_pid: u16,
    pub pcr_pid: u16,
    /// In the order of the PMT.
    pub streams: Vec<Stream>,
    /// Provider and name that the SDT must give it; `None`: not looked at.
    pub service: Option<(String, String)>,
}

/// One elementary stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub pid: u16,
    pub stream_type: u8,
    /// Pictures or sound, which never pause; subtitles and data may.
    pub continuous: bool,
}

impl Stream {
    /// Pictures or sound.
    pub fn new(pid: u16, stream_type: u8) -> Stream {
        Stream { pid, stream_type, continuous: true }
    }
}

/// The figures of a channel; [`Default`] is what this project promises in the domain of positions.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Between two PCRs of a program, in ms. Old probes complain at 40.
    pub pcr_interval_ms: f64,
    /// Of a PCR against the position of its packet, in ns.
    pub pcr_accuracy_ns: f64,
    /// Of the rate that the PCRs say against the nominal one, in parts per million.
    pub rate_error_ppm: f64,
    /// Between two PATs, and two PMTs of a program, in ms.
    pub pat_pmt_ms: f64,
    /// Between two SDTs, in ms.
    pub sdt_ms: f64,
    /// Between two NITs, in ms.
    pub nit_ms: f64,
    /// Between two TDTs or TOTs, in ms.
    pub tdt_ms: f64,
    /// Between two PTSs of a continuous stream, in ms.
    pub pts_gap_ms: f64,
    /// A DTS is ahead of the clock by this at least when its unit begins, in ms.
    pub lead_ms_min: f64,
    /// A PTS is ahead of the clock by this at most when its unit begins, in ms.
    pub lead_ms_max: f64,
    /// Of an RTP timestamp against the position of its datagram, in ms.
    pub rtp_timestamp_ms: f64,
    /// Packets that announce a discontinuity.
    pub discontinuities: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pcr_interval_ms: 38.0,
            pcr_accuracy_ns: 100.0,
            rate_error_ppm: 10.0,
            pat_pmt_ms: 100.0,
            sdt_ms: 1000.0,
            nit_ms: 10_000.0,
            tdt_ms: 10_000.0,
            pts_gap_ms: 700.0,
            lead_ms_min: 200.0,
            lead_ms_max: 900.0,
            rtp_timestamp_ms: 1.0,
            discontinuities: 0,
        }
    }
}

impl Channel {
    /// A channel of one program with an SDT and a TDT.
    pub fn single(rate_bps: u64, program: Program) -> Channel {
        let limits = Limits::default();
        Channel { rate_bps, programs: vec![program], sdt: true, nit: false, tdt: true, limits }
    }

    /// Milliseconds that `packets` take at the nominal rate.
    pub fn ms(&self, packets: u64) -> f64 {
        packets as f64 * 1_504_000.0 / self.rate_bps as f64
    }

    /// The same in ticks of 27 MHz, not rounded.
    pub fn ticks(&self, packets: u64) -> f64 {
        self.ms(packets) * 27_000.0
    }

    /// Whether packets of this PID belong here; nulls always do.
    pub fn has(&self, pid: u16) -> bool {
        let table = match pid {
            0 | 0x1FFF => true,
            0x10 => self.nit,
            0x11 => self.sdt,
            0x14 => self.tdt,
            _ => false,
        };
        table
            || self.programs.iter().any(|program| {
                program.pmt_pid == pid
                    || program.pcr_pid == pid
                    || program.streams.iter().any(|stream| stream.pid == pid)
            })
    }
}
