//! The headend's part of the assembly: channels with their sockets, and the thread that paces them.

use crate::config::Config;
use crate::egress::multicast::{self, Links, Output};
use crate::fanout::stream::CoreId;
use crate::observe::{ChannelSlot, Registry};
use crate::shard::core::Shared;
use crate::shard::pacer::{Outlet, Start};
use crate::shard::runtime::Engine;
use anyhow::Context;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    links: Mutex<(Links, Instant)>,
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
            links = Links::new().context("cannot ask the kernel for its network interfaces")?;
        }
        for (channel, slot) in config.channels.iter().zip(&registry.channels) {
            let output = Output::new(channel, &config.headend, slot.clone(), random()?, &mut links)?;
            outputs.push(output);
        }
        Ok(Channels { outputs, links: Mutex::new((links, Instant::now())) })
    }

    /// What is wrong with the links, for the banner.
    pub fn warnings(&self) -> Vec<String> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).0.warnings()
    }

    /// Looks at the links if it is time to.
    pub fn look(&self) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.1.elapsed() >= LOOK_EVERY {
            links.1 = Instant::now();
            links.0.look();
        }
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

/// A number that nobody else has drawn.
fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}
