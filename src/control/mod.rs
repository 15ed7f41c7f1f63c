//! The control thread: admin API, metrics scrape, and the page of live streams.
//!
//! One thread with an ordinary single-threaded tokio runtime, away from the cores: nothing here can delay a frame.
//! What it shows it asks from a [`StreamSource`] and the metrics [`Registry`]; it holds no state of its own.
//!
//! Two doors, never mixed:
//! - the **admin** listener (`listen.admin`): `/livez`, `/readyz`, `/startupz`, `/metrics`, `/api/v1/streams`,
//!   `/api/v1/channels`, `/api/v1/inputs` (`/APP/STREAM` for one);
//! - the **media** HTTP port: a core that reads a request it has no medium for hands the connection over with
//!   [`MediaPages::serve`]; there are `/`, `/api/streams` and `/playlist.m3u` (`.xspf`) only.
//!
//! Beside them it keeps watch (`watch`): a few times a second it looks at what is used of the machine and sets the
//! level of the door.
//!
//! Every connection serves one request: on the media port the next one may be for a core, and without keep-alive no
//! idle connection can be collected. Connections are bounded in number and in time.
#![forbid(unsafe_code)]

mod admin;
mod channels;
mod connection;
mod health;
mod inputs;
mod page;
mod playlist;
mod summary;
mod watch;

pub use connection::MediaPages;
pub use summary::{StreamSource, StreamState, StreamSummary, TrackSummary};

use crate::config::Config;
use crate::edge::admission::Admission;
use crate::edge::auth::Gate;
use crate::observe::Registry;
use crate::observe::log::Limiters;
use crate::shard::engine::clock;
use health::Health;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use watch::Watch;

/// What the control thread needs to know.
pub struct Options {
    /// The configuration; its `listen.admin` is bound here.
    pub config: Arc<Config>,
    /// Which apps need keys, as of now: a reload changes it.
    pub gate: Gate,
    /// The bound RTMP port, for the URLs on the page.
    pub rtmp_port: u16,
    /// Source of `/metrics`.
    pub registry: Arc<Registry>,
    /// Source of the stream lists.
    pub streams: Arc<dyn StreamSource>,
    /// What `/readyz` answers: true from the moment all cores listen until draining begins.
    pub ready: Arc<AtomicBool>,
    /// The door whose level the watch sets.
    pub door: Arc<Admission>,
    /// What the cores leave out of the log, to be mentioned.
    pub limiters: Arc<Limiters>,
    /// File descriptors that the process may have.
    pub descriptors_max: u64,
    /// Connections that all cores together may have.
    pub connections_max: u64,
    /// Wakes the cores: the level has changed.
    pub wake: Arc<dyn Fn() + Send + Sync>,
}

/// The running control thread.
#[derive(Debug)]
pub struct Control {
    admin: SocketAddr,
    pages: MediaPages,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Control {
    /// Binds the admin address and starts the thread. The error is that of binding, or of a machine out of threads.
    pub fn start(options: Options) -> io::Result<Control> {
        let listener = std::net::TcpListener::bind(options.config.listen.admin)?;
        listener.set_nonblocking(true)?;
        let admin = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let kept = options.descriptors_max.saturating_sub(options.connections_max);
        let (page_places, admin_places) = connection::places(kept);
        let (pages, queue) = MediaPages::new(page_places);
        let (stop, stopped) = oneshot::channel();
        let listener = {
            let _in_runtime = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            let (registry, door, ready) = (&options.registry, &options.door, &options.ready);
            let health = Arc::new(Health::new(registry.clone(), door.clone(), ready.clone(), clock()));
            let watch = Watch::new(&options, health.clone(), clock());
            let page = page::routes(&options).merge(playlist::routes(&options));
            let routes = admin::routes(&options, health);
            runtime.block_on(async {
                tokio::select! {
                    () = connection::accept(listener, admin_places, routes) => {}
                    () = connection::take_over(queue, page) => {}
                    () = watch.run() => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Control { admin, pages, stop, thread })
    }

    /// The bound admin address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The way to hand over connections of the media port; to be cloned for each core.
    pub fn pages(&self) -> MediaPages {
        self.pages.clone()
    }

    /// Closes the admin port and all connections, and waits for the thread.
    pub fn stop(self) {
        // Either end may be gone already if the thread has panicked; there is nothing left to stop then.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests;
