//! The headend's part of the assembly: channels with their sockets, and the thread that paces them.

use crate::config::Config;
use crate::egress::multicast::{self, Announcer, Links, Output};
use crate::fanout::stream::CoreId;
use crate::observe::{ChannelSlot, Registry};
use crate::shard::core::Shared;
use crate::shard::engine::clock;
use crate::shard::pacer::{Outlet, Start};
use crate::shard::runtime::{Engine, allowed_cpus};
use anyhow::Context;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often links are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The counters of all channels, for the registry.
pub(super) fn slots(config: &Config) -> Vec<ChannelSlot> {
    let indicators = multicast::indicators();
    config.channels.iter().map(|channel| ChannelSlot::new(multicast::about(channel), &indicators)).collect()
}

/// Whether there is anything to pace; then the pacer is one core more to all others.
pub(super) fn has_pacer(config: &Config) -> bool {
    !config.channels.is_empty()
}

/// Channels that are ready to be sent.
pub(super) struct Channels {
    outputs: Vec<(Output, Vec<Outlet>)>,
    beside: Mutex<Beside>,
}

/// What is done beside the pacer.
struct Beside {
    links: Links,
    looked_at: Instant,
    announcer: Announcer,
}

impl Channels {
    /// Opens the sockets of all channels.
    ///
    /// # Errors
    /// A channel's configuration is a mistake on this machine.
    pub fn open(config: &Config, registry: &Registry) -> anyhow::Result<Channels> {
        let mut links = Links::default();
        let mut outputs = Vec::with_capacity(config.channels.len());
        if has_pacer(config) {
            check_cpu(config.headend.core)?;
            links = Links::new().context("cannot ask the kernel for its network interfaces")?;
        }
        let mut announcer = Announcer::new(random()?);
        for (channel, slot) in config.channels.iter().zip(&registry.channels) {
            let output = Output::new(channel, &config.headend, slot.clone(), random()?, &mut links)?;
            outputs.push(output);
            announcer.add(channel, slot);
        }
        // Nobody else sets it.
        let _set = registry.links.set(links.slots());
        let beside = Mutex::new(Beside { links, looked_at: Instant::now(), announcer });
        Ok(Channels { outputs, beside })
    }

    fn beside(&self) -> MutexGuard<'_, Beside> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the links, for the banner.
    pub fn warnings(&self) -> Vec<String> {
        self.beside().links.warnings()
    }

    /// Looks at the links and announces channels, if it is time to; to be called every half second.
    pub fn beat(&self) {
        let mut beside = self.beside();
        if beside.looked_at.elapsed() >= LOOK_EVERY {
            beside.looked_at = Instant::now();
            beside.links.look();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let Beside { links, announcer, .. } = &mut *beside;
        announcer.beat(clock(), since.map_or(0, |since| since.as_secs()), links);
    }

    /// Ends the announcements: the channels end.
    pub fn end(&self) {
        let Beside { links, announcer, .. } = &mut *self.beside();
        announcer.end(links);
    }

    /// Starts the pacer's thread as core `id`; its end goes to `ended`, like that of a core. Nothing happens without
    /// channels.
    pub fn start(
        &mut self,
        id: CoreId,
        config: &Config,
        engine: Engine,
        shared: Arc<Shared>,
        registry: &Registry,
        ended: Sender<(CoreId, io::Result<()>)>,
    ) -> io::Result<()> {
        let channels = std::mem::take(&mut self.outputs);
        if channels.is_empty() {
            return Ok(());
        }
        let start = Start {
            id,
            cpu: config.headend.core,
            engine,
            shared,
            channels,
            observed: registry.pacer.clone(),
        };
        std::thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            // The main thread may have stopped waiting.
            let _gone = ended.send((id, start.run()));
        })?;
        Ok(())
    }
}

/// The processor that the pacer is to have is one that this process may use.
fn check_cpu(cpu: Option<usize>) -> anyhow::Result<()> {
    let allowed = allowed_cpus().context("cannot read the CPUs of this process")?;
    match cpu.filter(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => anyhow::bail!(
            "CPU {cpu} of [headend] core is not available here\n  = help: choose from {allowed:?}, or leave the key out"
        ),
        None => Ok(()),
    }
}

/// A number that nobody else has drawn.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}
