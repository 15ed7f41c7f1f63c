//! The headend's part of the assembly: channels and inputs with their sockets, the thread that paces channels, and the one
//! that looks after sockets and links.

use super::clerk::Clerk;
use crate::config::Config;
use crate::egress::multicast::{self, Announcer, Outlets, Output};
use crate::fanout::stream::CoreId;
use crate::ingest::udp::{self, Ears};
use crate::observe::{ChannelSlot, Registry};
use crate::shard::core::Shared;
use crate::shard::interfaces::{Interface, find};
use crate::shard::links::Links;
use crate::shard::pacer::{Outlet, Start};
use crate::shard::runtime::{Engine, allowed_cpus};
use anyhow::Context;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// The counters of all channels, for the registry.
pub(super) fn slots(config: &Config) -> Vec<ChannelSlot> {
    let indicators = multicast::indicators();
    config.channels.iter().map(|channel| ChannelSlot::new(multicast::about(channel), &indicators)).collect()
}

/// Whether there is anything to pace; then the pacer is one core more to all others.
pub(super) fn has_pacer(config: &Config) -> bool {
    !config.channels.is_empty()
}

/// Whether there are sockets and links to look after; then the clerk is a post behind the cores and the pacer.
pub(super) fn has_clerk(config: &Config) -> bool {
    !config.channels.is_empty() || !config.inputs.is_empty() || config.relay.is_on()
}

/// Places that a core needs for the inputs that live on it: theirs, and two for each of their sockets, because the next one
/// may come while the kernel still works for the last.
pub(super) fn places(inputs: &[udp::Plan], cores: usize) -> u32 {
    let of = |core| inputs.iter().filter(move |plan| usize::from(plan.core()) == core);
    let places = (0..cores).map(|core| of(core).map(|plan| 1 + 2 * plan.sockets()).sum());
    places.max().unwrap_or(0)
}

/// Interfaces of this machine that `config` calls by several names, one sentence each: address plan and link budget are made
/// from what is written, and take them for several.
pub(super) fn doubled(config: &Config, known: &[Interface]) -> Vec<String> {
    let of_channels = config.channels.iter().flat_map(|channel| &channel.to).map(|to| to.interface.as_ref());
    let of_inputs = config.inputs.iter().flat_map(|input| &input.from).map(|from| from.interface.as_ref());
    let of_links = config.headend.link_mbit.keys().map(Some);
    let mut names: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for text in of_channels.chain(of_inputs).chain(of_links).flatten() {
        if let Some(interface) = find(known, text) {
            names.entry(interface.index).or_default().insert(text);
        }
    }
    let several = names.values().filter(|names| names.len() > 1);
    let warning = |names: &BTreeSet<&str>| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!(
            "{} are one interface: call it one name, or clashes and its budget are not seen",
            names.join(" and ")
        )
    };
    several.map(warning).collect()
}

/// Channels that are ready to be sent, and inputs that are to be listened to.
pub(super) struct Headend {
    outputs: Vec<(Output, Vec<Outlet>)>,
    clerk: Option<Clerk>,
    warnings: Vec<String>,
}

impl Headend {
    /// Opens the sockets of all channels.
    ///
    /// # Errors
    /// A channel's configuration is a mistake on this machine.
    pub fn open(
        config: &Config,
        inputs: &[udp::Plan],
        relays: &Arc<udp::Relays>,
        registry: &Registry,
    ) -> anyhow::Result<Headend> {
        if !has_clerk(config) {
            return Ok(Headend { outputs: Vec::new(), clerk: None, warnings: Vec::new() });
        }
        if has_pacer(config) {
            check_cpu(config.headend.core)?;
        }
        let mut links = Links::new().context("cannot ask the kernel for its network interfaces")?;
        let (mut outlets, mut announcer) = (Outlets::default(), Announcer::new(random()?));
        let mut outputs = Vec::with_capacity(config.channels.len());
        for (channel, slot) in config.channels.iter().zip(&registry.channels) {
            let (shared, seed) = (&config.headend, random()?);
            outputs.push(Output::new(channel, shared, slot.clone(), seed, &mut outlets, &mut links)?);
            announcer.add(channel, slot, &links);
        }
        let ears = Ears::new(inputs, relays.clone(), &mut links);
        // Nobody else sets it.
        let _set = registry.links.set(links.slots());
        let mut warnings = outlets.warnings(&links);
        warnings.extend(doubled(config, links.all()));
        Ok(Headend { outputs, clerk: Some(Clerk { links, outlets, announcer, ears }), warnings })
    }

    /// What is wrong with the links, for the banner.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    /// Starts the pacer's thread and the clerk's behind the `cores` cores; their ends go to `ended`, like that of a core.
    pub fn start(
        &mut self,
        cores: CoreId,
        config: &Config,
        engine: Engine,
        shared: Arc<Shared>,
        registry: &Registry,
        ended: Sender<(CoreId, io::Result<()>)>,
    ) -> io::Result<()> {
        let channels = std::mem::take(&mut self.outputs);
        if !channels.is_empty() {
            let start = Start {
                id: cores,
                cpu: config.headend.core,
                engine,
                shared: shared.clone(),
                channels,
                observed: registry.pacer.clone(),
            };
            let ended = ended.clone();
            std::thread::Builder::new().name("pacer".to_owned()).spawn(move || {
                // The main thread may have stopped waiting.
                let _gone = ended.send((cores, start.run()));
            })?;
        }
        if let (Some(clerk), Some(id)) = (self.clerk.take(), shared.mailboxes.clerk()) {
            std::thread::Builder::new().name("clerk".to_owned()).spawn(move || {
                let _gone = ended.send((id, clerk.run(id, shared)));
            })?;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_with_two_names_is_said() {
        let text = "[headend]\nlink_mbit = { eth1 = 100 }\n[[channel]]\nname = \"a\"\nsource = \"a/b\"\nbitrate = 4000000\n\
                    to = [\"udp://10.9.0.1@239.255.1.1:5000\", \"udp://eth2@239.255.1.2:5000\"]\n\
                    [[input]]\nstream = \"a/c\"\nfrom = [\"udp://eth2@239.255.1.3:5000\"]\n";
        let config = Config::parse(text, "f").unwrap();
        let machine =
            [Interface::of("eth1", 1, true, &["10.9.0.1"]), Interface::of("eth2", 2, true, &["10.9.1.1"])];
        let found = doubled(&config, &machine);
        assert!(
            found.len() == 1 && found[0].starts_with("`10.9.0.1` and `eth1` are one interface"),
            "{found:?}"
        );
        assert_eq!(doubled(&config, &machine[1..]), [""; 0], "on a machine without it nobody knows");
    }
}
