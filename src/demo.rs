//! The built-in publisher of `headgate demo`: a thread that plays a small clip in a loop to `live/demo`, over RTMP
//! like any encoder, so that a newcomer sees something before an encoder is at hand.
//!
//! The clip is `assets/demo.flv` (see `assets/README.md`). Timestamps run on from loop to loop. If the connection
//! breaks it is opened again. Plain blocking sockets: one publisher needs no more, and it exercises the same way in
//! as everybody else's.
#![forbid(unsafe_code)]

mod client;
mod clip;

use crate::config::Secret;
use crate::observe::banner::base_url;
use client::Client;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The application it publishes to.
pub const APP: &str = "live";
/// The stream it publishes.
pub const NAME: &str = "demo";
/// Pause before a broken connection is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// The running publisher.
#[derive(Debug)]
pub struct Demo {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Demo {
    /// Starts to publish to the RTMP listener bound at `rtmp`, showing `key` if there is one.
    pub fn start(rtmp: SocketAddr, key: Option<&Secret>) -> io::Result<Demo> {
        let target = reachable(rtmp);
        let name = match key {
            Some(key) => format!("{NAME}?token={}", key.reveal()),
            None => NAME.to_owned(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::Builder::new().name("demo".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let played =
                    Client::publish(target, APP, &name).and_then(|mut client| client.play(&stopping));
                match played {
                    Ok(()) => return,
                    Err(error) if !stopping.load(Ordering::Relaxed) => {
                        tracing::warn!(%error, "demo: publisher lost, trying again");
                        std::thread::park_timeout(RETRY);
                    }
                    Err(_) => return,
                }
            }
        })?;
        Ok(Demo { stop, thread })
    }

    /// Stops publishing and waits for the thread, a few seconds at most.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // A panicked thread has stopped too.
        let _ = self.thread.join();
    }
}

/// Where to watch, for a person; `token` tells whether playing needs one. Several lines with a final newline.
pub fn where_to_watch(rtmp: SocketAddr, http: SocketAddr, token: bool) -> String {
    let query = if token { "?token=TOKEN" } else { "" };
    let (rtmp, http) = (base_url("rtmp", rtmp), base_url("http", http));
    let mut text = format!("  the demo clip is live as {APP}/{NAME}; watch it with\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "    ffplay \"{rtmp}/{APP}/{NAME}{query}\"");
    let _ = writeln!(text, "    vlc \"{http}/{APP}/{NAME}.flv{query}\"");
    let _ = writeln!(text, "    or open {http}/ in a browser");
    text
}

/// The bound address as a client on this machine reaches it.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

#[cfg(test)]
mod tests;
