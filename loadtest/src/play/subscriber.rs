//! One subscriber without its socket: bytes in, bytes to send out, an account.

use super::Pace;
use crate::flv;
use crate::http;
use crate::meter::{Meter, Totals};
use crate::rtmp::{Client, Failure, Role};
use crate::target::{Protocol, Target};

enum Wire {
    Rtmp(Box<Client>),
    Flv { request: Vec<u8>, response: http::Response, reader: flv::Reader },
}

/// One subscriber.
pub struct Subscriber {
    wire: Wire,
    /// What it got.
    pub meter: Meter,
    /// How it reads.
    pub pace: Pace,
    /// When its connection was begun, ns; 0 before that.
    pub begun_ns: u64,
}

/// The reader's error, so that the response's can join it.
enum FlvError {
    Response(http::BadResponse),
    Flv,
}

impl From<http::BadResponse> for FlvError {
    fn from(bad: http::BadResponse) -> Self {
        Self::Response(bad)
    }
}

impl Subscriber {
    /// A subscriber of `target`, which carries the numbered stream's name already.
    pub fn new(target: &Target, stream: u32, pace: Pace, verify: bool) -> Self {
        let wire = match target.protocol {
            Protocol::Rtmp => Wire::Rtmp(Box::new(Client::new(Role::Play, target, verify))),
            Protocol::HttpFlv => Wire::Flv {
                request: http::request(&target.authority, &target.path, ""),
                response: http::Response::default(),
                reader: flv::Reader::new(verify),
            },
        };
        Self { wire, meter: Meter::new(stream, verify), pace, begun_ns: 0 }
    }

    /// Moves what wants to be sent to the end of `out`.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        match &mut self.wire {
            Wire::Rtmp(client) => client.take_output(out),
            Wire::Flv { request, .. } => out.append(request),
        }
    }

    /// Whether anything wants to be sent.
    pub fn has_output(&self) -> bool {
        match &self.wire {
            Wire::Rtmp(client) => client.has_output(),
            Wire::Flv { request, .. } => !request.is_empty(),
        }
    }

    /// Takes in bytes that were read at `now_ns`; `totals` while the window is open. An error is a reason to leave.
    pub fn input(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        mut totals: Option<&mut Totals>,
    ) -> Result<(), String> {
        let meter = &mut self.meter;
        if self.pace != Pace::Healthy {
            totals = None;
        }
        match &mut self.wire {
            Wire::Rtmp(client) => client
                .input(bytes, |message| meter.message(message, now_ns, totals.as_deref_mut()))
                .map_err(|failure| match failure {
                    Failure::Broken(what) => format!("broken RTMP: {what}"),
                    Failure::Refused(code) => format!("refused: {code}"),
                }),
            Wire::Flv { response, reader, .. } => response
                .input(bytes, |body| {
                    reader
                        .input(body, |message| meter.message(message, now_ns, totals.as_deref_mut()))
                        .map_err(|flv::NotFlv| FlvError::Flv)
                })
                .map_err(|error| match error {
                    FlvError::Response(http::BadResponse::Status(code)) => format!("HTTP status {code}"),
                    FlvError::Response(http::BadResponse::Malformed) => "no HTTP response".to_owned(),
                    FlvError::Flv => "broken FLV".to_owned(),
                }),
        }
    }
}
