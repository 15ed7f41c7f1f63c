//! A viewer of either protocol that is held to what it gets, as fast as it can or at a pace.

use super::checker::Tag;
use super::http::FlvPlayer;
use super::metrics::Metrics;
use super::publisher::{Audit, Shape};
use super::raw::Raw;
use super::rtmp::Client;
use super::server::Server;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A way to watch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Output {
    Rtmp,
    HttpFlv,
}

impl Output {
    /// All of them.
    pub const ALL: [Output; 2] = [Output::Rtmp, Output::HttpFlv];

    /// Skips of its viewers so far.
    pub fn skips(self, metrics: &Metrics) -> f64 {
        let protocol = if self == Output::Rtmp { "protocol=\"rtmp\"" } else { "protocol=\"http_flv\"" };
        metrics.sum("headgate_lag_skips_total", &[protocol])
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug)]
pub struct Watched<'a> {
    pub server: &'a Server,
    pub app: &'a str,
    pub name: &'a str,
    pub shape: Shape,
    /// Slow viewers take the rest as fast as they can.
    pub over: &'a AtomicBool,
}

impl Watched<'_> {
    /// Watches to the end of the stream. A slow one, with a socket whose kernel keeps little for it, takes `bytes_per_s`.
    /// `each` is told the audit behind each tag.
    pub fn watch(&self, output: Output, bytes_per_s: Option<u64>, each: impl Fn(&Audit)) -> Audit {
        let mut next = self.open(output, bytes_per_s.is_some());
        let mut audit = Audit::new(self.shape);
        while let Some(tag) = next() {
            audit.tag(&tag);
            if let Some(bytes_per_s) = bytes_per_s
                && !self.over.load(Ordering::Relaxed)
            {
                let rest = tag.body.len() as u64 * 1_000_000 / bytes_per_s;
                std::thread::sleep(Duration::from_micros(rest));
            }
            each(&audit);
        }
        audit
    }

    /// Tags one by one, until there is none any more.
    fn open(&self, output: Output, slow: bool) -> Box<dyn FnMut() -> Option<Tag>> {
        let connect = |address: SocketAddr| match slow {
            true => Raw::narrow(address),
            false => TcpStream::connect(address).expect("connect"),
        };
        match output {
            Output::Rtmp => {
                let mut client = Client::over(connect(self.server.rtmp), self.app, &[]).expect("connect");
                client.play(self.name).expect("play");
                Box::new(move || client.tag())
            }
            Output::HttpFlv => {
                let http = self.server.http;
                let mut player =
                    FlvPlayer::on(connect(http), http, &format!("/{}/{}.flv", self.app, self.name));
                Box::new(move || player.tag())
            }
        }
    }
}
