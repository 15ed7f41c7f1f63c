//! `headgate analyze`: the monitor's report about a file, a capture or a live group (docs/analyze.md).
//!
//! Here are the clock, the sockets and the files that [`crate::monitor`] does without. A file has no arrival times: its
//! packets get the times of its PCRs (`timeline.rs`). A capture has those of the network, and a live group those of
//! this machine.
#![forbid(unsafe_code)]

mod capture;
mod file;
mod input;
mod live;
mod path;
mod progress;
mod source;
mod spots;
mod table;
mod text;
mod timeline;

pub use path::{PathReport, SenderReport};
pub use source::{Group, Interface, LiveSource, Source};
pub use text::render;

use crate::monitor::{Options, Report};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// Version of the JSON report: it grows when a field goes or means something else, not when one comes.
pub const FORMAT: u32 = 1;

/// What is to be analysed, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where the stream is.
    pub source: Source,
    /// The datagrams that are meant, in a capture with several streams.
    pub group: Option<Group>,
    /// How long to listen.
    pub listen: Duration,
    /// Limits.
    pub options: Options,
    /// Whether somebody watches: progress goes to standard error.
    pub progress: bool,
}

/// A finished analysis; its JSON is the command's.
#[derive(Clone, Debug, Serialize)]
pub struct Analysis {
    /// [`FORMAT`].
    pub format: u32,
    /// The source as it was given.
    pub source: String,
    /// Where the times come from.
    pub kind: Kind,
    /// Bytes from packet to packet in a file: 188, 192 or 204.
    pub stride: Option<usize>,
    /// Bytes of a file that belong to no packet.
    pub skipped_bytes: u64,
    /// The destination of the datagrams.
    pub destination: Option<SocketAddr>,
    /// Datagrams of a capture that are cut: their end was not recorded.
    pub cut_datagrams: u64,
    /// The way of the datagrams.
    pub path: Option<PathReport>,
    /// What is to be said about a capture.
    pub capture: Option<CaptureReport>,
    /// What is to be said about this machine's receiving.
    pub live: Option<LiveReport>,
    /// Limit of PCR intervals that was applied, in milliseconds.
    pub pcr_interval_limit_ms: u64,
    /// What it comes to.
    pub verdict: Verdict,
    /// The monitor's report.
    #[serde(flatten)]
    pub report: Report,
}

/// What is to be said about a capture itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CaptureReport {
    /// Datagrams of the stream that were seen elsewhere than their sender's are, on another interface or leaving; left
    /// out.
    pub copies: u64,
    /// Times that the clock was set back. It goes on from there; how long that took is not known.
    pub clock_steps: u64,
    /// Datagrams of the stream without a time; each has that of the frame before.
    pub untimed: u64,
    /// Fragments of UDP datagrams, which are not put together.
    pub fragments: u64,
    /// Frames that could not be read: their link type or their interface is not known.
    pub unread_frames: u64,
    /// Bytes in front of where the file is damaged; what is behind is not in the report.
    pub damaged_at: Option<u64>,
}

/// What is to be said about this machine's receiving of a live group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LiveReport {
    /// Bytes of the receive buffer that the kernel gave.
    pub receive_buffer_bytes: usize,
    /// Bytes that it was asked for.
    pub receive_buffer_wanted_bytes: usize,
    /// Datagrams that this machine dropped because the buffer was full: no loss of the network. `None`: not known.
    pub receive_drops: Option<u64>,
}

/// Where the times of a report come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The PCRs of a file.
    File,
    /// A capture's.
    Capture,
    /// Arrival at this machine.
    Live,
}

/// What an analysis comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing was raised that is an error. There may be indicators of priority 3.
    Clean,
    /// Something of priority 1 or 2 was raised, or the network lost something.
    Errors,
    /// Nothing of that kind was raised, but no time has passed: what a clock decides could not be judged.
    Unjudged,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The system refuses.
    #[error("cannot {what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// There is no transport stream in it.
    #[error("{0}")]
    Nothing(String),
    /// The request does not fit the source.
    #[error("{0}")]
    Request(String),
    /// The capture is damaged from the start.
    #[error("{0}")]
    Capture(#[from] crate::wire::capture::CaptureError),
}

impl AnalyzeError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> AnalyzeError {
        let what = what.into();
        |error| AnalyzeError::Io { what, error }
    }
}

/// Analyses; blocks until the file is read or the time is over.
pub fn run(request: &Request) -> Result<Analysis, AnalyzeError> {
    match &request.source {
        Source::File(path) => file::analyze(request, path),
        Source::Live(live) => live::analyze(request, live),
    }
}

impl Analysis {
    fn new(request: &Request, kind: Kind, report: Report) -> Analysis {
        let verdict = match report.has_errors() {
            true => Verdict::Errors,
            false if report.duration_seconds == 0.0 => Verdict::Unjudged,
            false => Verdict::Clean,
        };
        Analysis {
            format: FORMAT,
            source: request.source.to_string(),
            kind,
            stride: None,
            skipped_bytes: 0,
            destination: None,
            cut_datagrams: 0,
            path: None,
            capture: None,
            live: None,
            pcr_interval_limit_ms: request.options.pcr_interval_max.as_millis() as u64,
            verdict,
            report,
        }
    }
}
