//! Assembly: from a configuration to running cores, and from a signal to their end.

mod clerk;
pub mod gateway;
mod headend;
mod refusals;
mod signals;
#[cfg(test)]
mod sim;
mod streams;

use crate::config::{self, Config, EngineKind, Flush, LogFormat, Overrides};
use crate::control::{self, Control};
use crate::demo::Demo;
use crate::edge::admission::Admission;
use crate::edge::auth::Gate;
use crate::fanout::directory::Directory;
use crate::fanout::flush::{Mode, Rule};
use crate::fanout::log::Retention;
use crate::fanout::stream::CoreId;
use crate::ingest::udp;
use crate::observe::{self, Registry, banner::Banner};
use crate::shard::Limits;
use crate::shard::bells::Bells;
use crate::shard::core::Shared;
use crate::shard::mailbox::{Command, Mailboxes};
use crate::shard::runtime::{self, Engine, Start};
use anyhow::Context;
use gateway::{Gateway, Surroundings};
use headend::Headend;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use streams::Streams;

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Publish the built-in clip ([`crate::demo`]).
    pub demo: bool,
    /// What SIGHUP reads again.
    pub config_file: Option<PathBuf>,
    /// The flags that lie over the file, then as now.
    pub flags: Overrides,
}

/// A listener that could not be opened; its message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({name}): {error}\n  = help: {}", self.hint())]
pub struct ListenError {
    /// Its key in `[listen]`, and its flag: `rtmp`, `http`, `admin`.
    pub name: &'static str,
    /// The address that was asked for.
    pub address: SocketAddr,
    /// The system's answer.
    pub error: io::Error,
}

impl ListenError {
    fn hint(&self) -> String {
        let name = self.name;
        match self.error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "another program uses this port: stop it, or choose another with --{name} or listen.{name}"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!(
                    "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE), or choose another with --{name}"
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("no interface of this machine has this address; set --{name} or listen.{name}")
            }
            _ => format!("choose another address with --{name} or listen.{name}"),
        }
    }
}

/// What is valid but probably not meant on this machine, one sentence each; for `headgate check`, which may run on another
/// machine than the gateway: then it has nothing to say.
pub fn warnings_here(config: &Config) -> Vec<String> {
    crate::shard::interfaces::list().map(|known| headend::doubled(config, &known)).unwrap_or_default()
}

/// How long a stop waits for the cores, which say goodbye to their connections first.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Runs the gateway until it is told to stop. `give_back` is called now and then, on a thread with time to spare and on each
/// core, to give the allocator's unused memory back to the system: a thread's own can be given back by that thread alone.
pub fn run(config: Config, options: RunOptions, give_back: fn()) -> anyhow::Result<()> {
    let _log = observe::log::init(config.log.level.into(), config.log.format == LogFormat::Json)
        .context("cannot start the thread that writes the log")?;
    let config = Arc::new(config);
    let (engine, engine_text) = choose_engine(config.runtime.engine)?;
    let cpus = choose_cpus(config.runtime.cores.as_deref())?;
    let descriptors = runtime::raise_descriptor_limit();
    let inputs: Vec<udp::Plan> = config
        .inputs
        .iter()
        .map(|input| udp::Plan::new(input, &config.headend, cpus.len() as CoreId))
        .collect();
    let slots = inputs.iter().map(|plan| plan.slot().clone()).collect();
    let registry = {
        let most = config.headend.input_series_max as usize;
        Registry::with_headend(&cpus, headend::slots(&config), slots, most)
    };
    let relays = Arc::new(udp::Relays::new(&config, cpus.len() as CoreId, registry.relays.clone()));
    let mut headend = Headend::open(&config, &inputs, &relays, &registry)?;
    let shared = Arc::new(shared(&config, (&inputs, &relays), cpus.len(), descriptors, give_back)?);
    let listeners = listen(&config, cpus.len())?;
    let (rtmp, http) = (listeners.rtmp, listeners.http);

    let ready = Arc::new(AtomicBool::new(false));
    let gate = Gate::new(config.clone());
    let connections_max = shared.limits.connections.saturating_mul(cpus.len() as u32);
    let door = Admission::new(&config.limits, connections_max);
    let limiters = Arc::new(observe::log::Limiters::default());
    let control = Control::start(control::Options {
        config: config.clone(),
        gate: gate.clone(),
        rtmp_port: rtmp.port(),
        registry: registry.clone(),
        streams: Arc::new(Streams::new(shared.clone(), config.headend.av1)),
        ready: ready.clone(),
        door: door.clone(),
        limiters: limiters.clone(),
        descriptors_max: descriptors,
        connections_max: connections_max.into(),
        wake: {
            let shared = shared.clone();
            Arc::new(move || (0..shared.mailboxes.cores()).for_each(|core| _ = shared.bells.ring(core)))
        },
    })
    .map_err(|error| ListenError { name: "admin", address: config.listen.admin, error })?;
    let surroundings = Arc::new(Surroundings {
        gate,
        door,
        limiters,
        pages: control.pages(),
        handshake: Duration::from_millis(config.limits.handshake_timeout_ms),
        retry_after_s: config.overload.retry_after_s,
        inputs,
        relays,
    });

    let (ended, core_ends) = mpsc::channel();
    for (index, (cpu, listeners)) in cpus.iter().zip(listeners.by_core).enumerate() {
        let (id, shared, surroundings, ended) =
            (index as CoreId, shared.clone(), surroundings.clone(), ended.clone());
        let observed = registry.cores.get(index).cloned().context("a core without counters")?;
        let (cpu, in_gateway) = (*cpu, shared.clone());
        std::thread::Builder::new().name(format!("core-{id}")).spawn(move || {
            let app = move || Gateway::new(id, surroundings, in_gateway);
            let result = Start { id, cpu, engine, listeners, shared, observed, app }.run();
            // The main thread may have stopped waiting.
            let _gone = ended.send((id, result));
        })?;
    }
    headend.start(cpus.len() as CoreId, &config, engine, shared.clone(), &registry, ended)?;
    let app = config.app(crate::demo::APP);
    let mut warnings = config.warnings();
    warnings.extend(headend.warnings());
    let (configured, possible) = (config.limits.connections_per_core, shared.limits.connections);
    if possible < configured {
        warnings.push(format!(
            "each core accepts {possible} connections, not limits.connections_per_core = {configured}: the process may \
             have {descriptors} file descriptors; raise that (ulimit -Hn, LimitNOFILE=)"
        ));
    }
    let abouts: Vec<_> = registry.channels.iter().map(|slot| slot.about.clone()).collect();
    let banner = Banner {
        version: env!("CARGO_PKG_VERSION"),
        engine: &engine_text,
        cores: &cpus,
        rtmp,
        http,
        admin: control.admin(),
        publish_key: app.publish_key.is_some(),
        play_token: app.play_token.is_some(),
        channels: &abouts,
        inputs: &registry.inputs,
        warnings: &warnings,
    };
    let mut greeting = banner.to_string();
    let demo = match options.demo {
        true => {
            greeting += &crate::demo::where_to_watch(rtmp, http, app.play_token.is_some());
            Some(Demo::start(rtmp, app.publish_key.as_ref())?)
        }
        false => None,
    };
    // Nobody may be reading, which is no reason to stop.
    let _unread = std::io::stdout().write_all(greeting.as_bytes());

    let listening = || ready.store(true, Ordering::Release);
    let reload = || reload(&options, &config, &surroundings);
    let failed = signals::wait(&core_ends, listening, reload, give_back)?;
    tracing::info!("stopping");
    ready.store(false, Ordering::Release);
    if let Some(demo) = demo {
        demo.stop();
    }
    for core in 0..shared.mailboxes.posts() {
        // A full box belongs to a core that is past help.
        let _full = shared.mailboxes.send(core, Command::Drain);
        shared.bells.ring(core);
    }
    let deadline = Instant::now() + STOP_WAIT;
    let mut left = usize::from(shared.mailboxes.posts()) - usize::from(failed.is_some());
    while left > 0 {
        match core_ends.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((_, Ok(()))) => left -= 1,
            Ok((id, Err(error))) => {
                let thread = name_of(id, &shared, cpus.len());
                tracing::error!(thread, %error, "thread failed while stopping");
                left -= 1;
            }
            Err(_) => {
                tracing::warn!(cores = left, "cores did not stop in time");
                break;
            }
        }
    }
    control.stop();
    match failed {
        Some((id, error)) => {
            Err(error).with_context(|| format!("{} failed", name_of(id, &shared, cpus.len())))
        }
        None => Ok(()),
    }
}

/// What number `id` is called, where there are `cores` cores and perhaps others behind them.
fn name_of(id: CoreId, shared: &Shared, cores: usize) -> String {
    match id {
        id if usize::from(id) < cores => format!("core {id}"),
        id if shared.mailboxes.clerk() == Some(id) => {
            "the thread that looks after sockets and links".to_owned()
        }
        _ => "the thread that sends channels".to_owned(),
    }
}

/// The engine and what the banner says of it.
fn choose_engine(wanted: EngineKind) -> anyhow::Result<(Engine, String)> {
    if wanted == EngineKind::Epoll {
        return Ok((Engine::Epoll, "epoll".to_owned()));
    }
    match (runtime::uring_refusal(), wanted) {
        (None, _) => Ok((Engine::Uring, "io_uring".to_owned())),
        (Some(error), EngineKind::Uring) => Err(anyhow::anyhow!(
            "io_uring is refused on this machine: {error}\n  = help: use --engine auto, or allow io_uring \
             (sysctl kernel.io_uring_disabled=0, a seccomp profile with io_uring_setup)"
        )),
        (Some(error), _) => {
            tracing::warn!(%error, "io_uring is refused here; running on epoll, which costs more CPU per viewer");
            Ok((Engine::Epoll, format!("epoll, because io_uring is refused: {error}")))
        }
    }
}

fn choose_cpus(wanted: Option<&[usize]>) -> anyhow::Result<Vec<usize>> {
    let allowed = runtime::allowed_cpus().context("cannot read the CPUs of this process")?;
    let Some(wanted) = wanted else { return Ok(allowed) };
    if let Some(missing) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        anyhow::bail!("CPU {missing} is not available here\n  = help: choose from {allowed:?} with --cores");
    }
    Ok(wanted.to_vec())
}

/// Descriptors that connections leave to the rest of the house (listeners, rings, eventfds, admin port, pages), at
/// least; a tenth of them if that is more. The control thread takes an eighth each for pages and the admin port.
const DESCRIPTORS_KEPT_MIN: u64 = 64;
/// And so many more for each core: its listeners, eventfd, ring or epoll, and a few to spare.
const DESCRIPTORS_KEPT_PER_CORE: u64 = 8;

/// Descriptors that channels and inputs keep: two of a destination (the pacer's, and the one by which its interface is
/// watched), two of a socket of an input likewise, and some for the pacer's thread and the clerk's.
fn descriptors_of_headend(config: &Config, (inputs, relays): (&[udp::Plan], &udp::Relays)) -> u64 {
    let destinations: u64 = config.channels.iter().map(|channel| channel.to.len() as u64).sum();
    let sockets: u64 = inputs.iter().map(|plan| u64::from(plan.sockets())).sum();
    let threads = u64::from(headend::has_pacer(config)) + u64::from(headend::has_clerk(config));
    2 * (destinations + sockets + relays.sockets()) + threads * DESCRIPTORS_KEPT_PER_CORE
}

/// Connections that one of `cores` accepts: what is configured, but all of them together never take the last of
/// `descriptors`, so that a limit of ours comes before the kernel's, which would close the admin port too. The headend has
/// `headend` of them before anybody else.
fn connections_per_core(configured: u32, cores: usize, descriptors: u64, headend: u64) -> u32 {
    let descriptors = descriptors.saturating_sub(headend);
    let kept = (descriptors / 10).max(DESCRIPTORS_KEPT_MIN + DESCRIPTORS_KEPT_PER_CORE * cores as u64);
    let share = descriptors.saturating_sub(kept) / cores.max(1) as u64;
    configured.min(u32::try_from(share.max(1)).unwrap_or(u32::MAX))
}

fn shared(
    config: &Config,
    sources: (&[udp::Plan], &udp::Relays),
    cores: usize,
    descriptors: u64,
    give_back: fn(),
) -> anyhow::Result<Shared> {
    let ms = Duration::from_millis;
    let Config { fanout, publish, limits, .. } = config;
    let per_core = connections_per_core(
        limits.connections_per_core,
        cores,
        descriptors,
        descriptors_of_headend(config, sources),
    );
    let mode = match fanout.flush {
        Flush::Frame => Mode::Frame,
        Flush::Video => Mode::Video,
        Flush::Interval => Mode::Interval { phases: fanout.phases },
    };
    // The pacer stands behind the cores, and the clerk behind both.
    let followers = cores + usize::from(headend::has_pacer(config));
    let clerks = usize::from(headend::has_clerk(config));
    Ok(Shared {
        give_back,
        directory: Directory::new(limits.streams as usize),
        bells: Bells::new(followers + clerks).context("cannot make eventfds")?,
        mailboxes: Mailboxes::new(followers, clerks),
        limits: Limits {
            connections: per_core,
            reserved: headend::places(sources.0, cores) + sources.1.places(),
            lag_max: ms(fanout.max_lag_ms),
            stall: ms(fanout.stall_timeout_ms),
            play_wait: ms(fanout.play_wait_ms),
            silence: ms(publish.silence_timeout_ms),
            grace: ms(publish.republish_grace_ms),
            takeover: ms(publish.takeover_after_ms),
            inbound_bytes: limits.inbound_bytes_per_10s,
            pin_budget_bytes: limits.pin_budget_bytes,
            notsent_lowat_bytes: fanout.notsent_lowat_bytes,
        },
        rule: Rule { mode, flush: ms(fanout.flush_ms), min_gap: ms(fanout.min_gap_ms) },
        keep: Retention {
            gop_bytes_max: fanout.gop_max_bytes,
            gop_age_max: ms(fanout.gop_max_ms),
            lag_max: ms(fanout.max_lag_ms),
        },
    })
}

/// The listeners of all cores, in the order of [`gateway::LISTENERS`], and the addresses they got.
struct Listeners {
    by_core: Vec<Vec<TcpListener>>,
    rtmp: SocketAddr,
    http: SocketAddr,
}

fn listen(config: &Config, cores: usize) -> anyhow::Result<Listeners> {
    let mut by_core: Vec<Vec<TcpListener>> = (0..cores).map(|_| Vec::new()).collect();
    let mut bound = |name, address: SocketAddr| -> anyhow::Result<SocketAddr> {
        let fail = |error| ListenError { name, address, error };
        drop(bind_alone(address).map_err(fail)?);
        let mut actual = address;
        for listeners in &mut by_core {
            let listener = runtime::listen(actual).map_err(fail)?;
            actual = listener.local_addr().map_err(fail)?;
            listeners.push(listener);
        }
        Ok(actual)
    };
    let rtmp = bound("rtmp", config.listen.rtmp)?;
    let http = bound("http", config.listen.http)?;
    Ok(Listeners { by_core, rtmp, http })
}

/// How long a port may be taken by a process that is gone: one that was killed leaves its listeners to the kernel's side
/// of its ring, which closes them some milliseconds later.
const PORT_WAIT: Duration = Duration::from_secs(1);
/// Pause between two tries.
const PORT_PAUSE: Duration = Duration::from_millis(10);

/// A plain bind, in front of those that share the port: sharing must not hide that somebody else has it.
fn bind_alone(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + PORT_WAIT;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(PORT_PAUSE);
            }
            done => return done,
        }
    }
}

/// SIGHUP: reads the file again. Keys take effect at once; for the rest it says that a restart is needed.
fn reload(options: &RunOptions, running: &Config, surroundings: &Surroundings) {
    let Some(path) = &options.config_file else {
        return tracing::warn!("reload: there is no config file to read again");
    };
    match config::load(path).and_then(|file| file.with_overrides(options.flags.clone())) {
        Ok(new) => {
            for section in running.restart_sections(&new) {
                tracing::warn!(section, "reload: a change here needs a restart");
            }
            surroundings.gate.replace(Arc::new(new));
            tracing::info!("reload: keys and apps are in effect");
        }
        Err(error) => tracing::error!("reload failed, the old configuration stays: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors() {
        // (configured, cores, descriptors, connections per core)
        for (configured, cores, descriptors, expected) in [
            (32_768, 2, 1 << 20, 32_768),
            (32_768, 2, u64::MAX, 32_768),
            (32_768, 64, 1 << 20, 14_745),
            (32_768, 4, 1024, 230),
            (32_768, 1, 256, 184),
            (32_768, 64, 1024, 7),
            (100, 4, 1024, 100),
            (100, 4, 10, 1),
        ] {
            assert_eq!(
                connections_per_core(configured, cores, descriptors, 0),
                expected,
                "{cores} {descriptors}"
            );
        }
        let text = "[[channel]]\nname = \"one\"\nsource = \"live/one\"\nbitrate = 4000000\n\
                    to = [\"udp://127.0.0.1:5000\", \"udp://127.0.0.1:5002\"]\n";
        let input = "[[input]]\nstream = \"live/in\"\nfrom = [\"rtp://127.0.0.1:5010#fec\", \"udp://127.0.0.1:5020\"]\n";
        let config = Config::parse(&format!("{text}{input}"), "a test").unwrap();
        let inputs = [udp::Plan::new(&config.inputs[0], &config.headend, 1)];
        let relays = udp::Relays::new(&config, 1, Arc::default());
        let channels = descriptors_of_headend(&config, (&inputs, &relays));
        assert_eq!(channels, 2 * 2 + 2 * 4 + 2 * 8);
        assert_eq!((headend::places(&inputs, 1), headend::places(&[], 1)), (1 + 2 * 4, 0));
        assert_eq!(connections_per_core(32_768, 1, 256 + channels, channels), 184);
        assert_eq!(connections_per_core(32_768, 1, 8, channels), 1);
    }
}
