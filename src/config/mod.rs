//! The configuration: TOML text -> one typed, validated tree.
//!
//! - [`load`] and [`Config::parse`] read a file; unknown keys, wrong types and values out of range are errors that
//!   name file, line and column and say what to write instead ([`ConfigError`]).
//! - Command-line flags win over the file: [`Overrides`].
//! - [`headend`]: channels, inputs, and the plan of their addresses.
//! - [`Config::warnings`] lists what is valid but probably not meant (open publishing, a public admin port).
//!
//! Every key stands with its default and unit in `headgate.toml` at the root of the project; `tests/config.rs` holds
//! that file and these types together. Nothing here opens a socket or asks the machine anything.
#![forbid(unsafe_code)]

mod diagnostic;
pub mod headend;
mod load;
pub mod name;
mod network;
mod overload;
pub mod relay;
mod secret;
pub mod sign;
mod validate;

pub use diagnostic::{ConfigError, Diagnostic, Violation};
pub use headend::{Channel, Destination, Fec, Headend, Input, Origin, Service, Transport};
pub use load::load;
pub use name::NAME_BYTES_MAX;
pub use network::Network;
pub use overload::Overload;
pub use relay::Relay;
pub use secret::Secret;
pub use validate::parse_cores;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// The name in `[apps."*"]`: what holds for every application without a table of its own.
pub const DEFAULT_APP: &str = "*";

/// The whole configuration. `Config::default()` is what runs without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Addresses to listen on.
    pub listen: Listen,
    /// Cores and engine.
    pub runtime: Runtime,
    /// How frames reach subscribers.
    pub fanout: Fanout,
    /// What happens around publishers.
    pub publish: Publish,
    /// Applications by name, already completed from [`DEFAULT_APP`]; ask with [`Config::app`].
    pub apps: BTreeMap<String, App>,
    /// Bounds of the whole process and of each address.
    pub limits: Limits,
    /// When the process sheds load.
    pub overload: Overload,
    /// What channels and inputs share.
    pub headend: Headend,
    /// Streams that leave as constant-rate transport streams, in the file's order.
    pub channels: Vec<Channel>,
    /// Streams that come as transport streams, in the file's order.
    pub inputs: Vec<Input>,
    /// Groups that anyone may watch by their address.
    pub relay: Relay,
    /// Log lines.
    pub log: Log,
}

/// Addresses to listen on. Port 0 lets the kernel choose.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// RTMP publish and play.
    pub rtmp: SocketAddr,
    /// HTTP media and the page.
    pub http: SocketAddr,
    /// Health, metrics and the API; not for the public.
    pub admin: SocketAddr,
    /// Host names under which the admin port answers, beside `localhost` and addresses.
    pub admin_hosts: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            rtmp: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1935)),
            http: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 1985)),
            admin_hosts: Vec::new(),
        }
    }
}

/// Cores and engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtime {
    /// CPU numbers to run on, one thread each; `None` means all that the process may use.
    pub cores: Option<Vec<usize>>,
    /// Which system interface sends and receives.
    pub engine: EngineKind,
}

/// Which system interface a core's engine uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// io_uring if the kernel allows it, else epoll.
    #[default]
    Auto,
    /// io_uring or refuse to start.
    Uring,
    /// epoll.
    Epoll,
}

impl EngineKind {
    /// The name as it is written in the file and after `--engine`.
    pub const fn as_str(self) -> &'static str {
        match self {
            EngineKind::Auto => "auto",
            EngineKind::Uring => "uring",
            EngineKind::Epoll => "epoll",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [EngineKind::Auto, EngineKind::Uring, EngineKind::Epoll]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| "expected auto, uring or epoll".to_owned())
    }
}

/// When subscribers are shown new frames (design: "Flush").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flush {
    /// Every frame at once: lowest latency, most sends.
    Frame,
    /// Every video frame at once, audio with it.
    #[default]
    Video,
    /// Everything gathers for `flush_ms`: fewest sends.
    Interval,
}

/// How frames reach subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fanout {
    /// When subscribers are shown new frames.
    pub flush: Flush,
    /// Milliseconds that audio, and everything in `interval`, may gather; 1 to 1000.
    pub flush_ms: u64,
    /// Milliseconds between two flushes of a stream in `video`, at least; 0 to 1000.
    pub min_gap_ms: u64,
    /// Slots of the interval that subscribers are spread over; 1 to 16; `interval` only.
    pub phases: u32,
    /// Bytes of one log that the newest group of pictures may hold.
    pub gop_max_bytes: u64,
    /// Milliseconds that the newest group of pictures may last.
    pub gop_max_ms: u64,
    /// Milliseconds a subscriber may be behind before it skips to the newest join point; more than `flush_ms`, unless every
    /// frame is flushed.
    pub max_lag_ms: u64,
    /// Milliseconds in which a subscriber must have taken one unit, else it is closed.
    pub stall_timeout_ms: u64,
    /// Milliseconds a player waits for its publisher; 100 to 600000.
    pub play_wait_ms: u64,
    /// Bytes the kernel keeps unsent for one subscriber (`TCP_NOTSENT_LOWAT`).
    pub notsent_lowat_bytes: u32,
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            flush: Flush::Video,
            flush_ms: 40,
            min_gap_ms: 12,
            phases: 8,
            gop_max_bytes: 32 << 20,
            gop_max_ms: 20_000,
            max_lag_ms: 3_000,
            stall_timeout_ms: 10_000,
            play_wait_ms: 10_000,
            notsent_lowat_bytes: 16 << 10,
        }
    }
}

/// What happens around publishers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// Milliseconds without a picture or a sound after which a publisher is closed.
    pub silence_timeout_ms: u64,
    /// Milliseconds a stream and its subscribers wait for a publisher that has gone.
    pub republish_grace_ms: u64,
    /// Milliseconds without a picture or a sound after which another publisher may take the name.
    pub takeover_after_ms: u64,
}

impl Default for Publish {
    fn default() -> Self {
        Self { silence_timeout_ms: 10_000, republish_grace_ms: 10_000, takeover_after_ms: 2_000 }
    }
}

/// One application, the first part of `APP/STREAM`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct App {
    /// What a publisher must show; `None` lets anyone publish.
    pub publish_key: Option<Secret>,
    /// What a player must show; `None` lets anyone watch.
    pub play_token: Option<Secret>,
    /// Leave Enhanced RTMP's Metadata and MultichannelConfig packets out for players that do not ask otherwise.
    pub eflv_strip: bool,
}

/// What holds where no table says anything: open, nothing stripped.
static OPEN_APP: App = App { publish_key: None, play_token: None, eflv_strip: false };

/// Bounds of the whole process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections one core accepts before it refuses more.
    pub connections_per_core: u32,
    /// Streams that exist at once: published, or within the grace of a publisher that left.
    pub streams: u32,
    /// Bytes a subscriber may send in 10 s before it is closed.
    pub inbound_bytes_per_10s: u32,
    /// Milliseconds from accept to connect (RTMP), and from there to publish or play; to a complete HTTP request.
    pub handshake_timeout_ms: u64,
    /// Bytes of evicted log, per core, that slow subscribers may keep alive.
    pub pin_budget_bytes: u64,
    /// Viewers of one address at once.
    pub viewers_per_address: u32,
    /// Publishers of one address at once.
    pub publishers_per_address: u32,
    /// New connections a second that one address may make in the long run.
    pub connections_per_s_per_address: u32,
    /// New connections that one address may make at once, after a while without any.
    pub connections_burst_per_address: u32,
    /// Bits of an IPv6 address that make it one address for these limits.
    pub ipv6_prefix_bits: u8,
    /// Networks whose addresses the limits of an address do not concern.
    pub exempt: Vec<Network>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_core: 32_768,
            streams: 16_384,
            inbound_bytes_per_10s: 64 << 10,
            handshake_timeout_ms: 10_000,
            pin_budget_bytes: 64 << 20,
            viewers_per_address: 64,
            publishers_per_address: 8,
            connections_per_s_per_address: 20,
            connections_burst_per_address: 40,
            ipv6_prefix_bits: 64,
            exempt: vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6],
        }
    }
}

/// Log lines; they go to standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Least important level that is written.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}

/// Least important level that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what needs an operator.
    Error,
    /// What may need one.
    Warn,
    /// Streams, publishers, start and stop.
    #[default]
    Info,
    /// Every connection.
    Debug,
    /// Everything.
    Trace,
}

impl From<LogLevel> for tracing::level_filters::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What the command line says; each `Some` wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--rtmp`
    pub rtmp: Option<SocketAddr>,
    /// `--http`
    pub http: Option<SocketAddr>,
    /// `--admin`
    pub admin: Option<SocketAddr>,
    /// `--cores`
    pub cores: Option<Vec<usize>>,
    /// `--engine`
    pub engine: Option<EngineKind>,
}

impl Config {
    /// Parses and validates `text`; `origin` (a file name) only appears in messages.
    pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
        load::parse(text, origin)
    }

    /// Lays flags over the file and checks the result again (two listeners may now share an address).
    pub fn with_overrides(mut self, flags: Overrides) -> Result<Config, ConfigError> {
        let Overrides { rtmp, http, admin, cores, engine } = flags;
        self.listen.rtmp = rtmp.unwrap_or(self.listen.rtmp);
        self.listen.http = http.unwrap_or(self.listen.http);
        self.listen.admin = admin.unwrap_or(self.listen.admin);
        self.runtime.engine = engine.unwrap_or(self.runtime.engine);
        if cores.is_some() {
            self.runtime.cores = cores;
        }
        validate::check(&self).map_err(ConfigError::Flags)?;
        Ok(self)
    }

    /// What holds for the application `name`: its own table, else that of the nearest application above it (`live`
    /// for `live/room`), else `[apps."*"]`, else open. A publisher that puts a slash into its stream's name is in an
    /// application below the one of its URL, and must not come out from under that one's key.
    pub fn app(&self, name: &str) -> &App {
        levels(name).find_map(|level| self.apps.get(level)).unwrap_or(&OPEN_APP)
    }

    /// Sections in which `other` differs and that only a restart puts into effect; the apps follow a reload.
    pub fn restart_sections(&self, other: &Config) -> Vec<&'static str> {
        let differs = [
            ("listen", self.listen != other.listen),
            ("runtime", self.runtime != other.runtime),
            ("fanout", self.fanout != other.fanout),
            ("publish", self.publish != other.publish),
            ("limits", self.limits != other.limits),
            ("overload", self.overload != other.overload),
            ("headend", self.headend != other.headend),
            ("channel", self.channels != other.channels),
            ("input", self.inputs != other.inputs),
            ("log", self.log != other.log),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    /// What is valid but probably not meant, one sentence each; for the banner and `headgate check`.
    pub fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.app(DEFAULT_APP).publish_key.is_none() {
            found.push(match self.apps.iter().any(|(_, app)| app.publish_key.is_some()) {
                false => "anyone may publish: set `publish_key` in [apps.\"*\"]".to_owned(),
                true => "anyone may publish to any app that has no table: set `publish_key` in [apps.\"*\"]"
                    .to_owned(),
            });
        }
        for (name, app) in self.apps.iter().filter(|(name, _)| *name != DEFAULT_APP) {
            if app.publish_key.is_none() {
                found.push(format!(
                    "anyone may publish to app `{name}`: set `publish_key` in [apps.{name:?}]"
                ));
            }
        }
        for (name, app) in &self.apps {
            for (what, secret) in [("publish_key", &app.publish_key), ("play_token", &app.play_token)] {
                if secret.as_ref().is_some_and(|secret| secret.len() < secret::SHORT_BYTES) {
                    let least = secret::SHORT_BYTES;
                    found.push(format!(
                        "`{what}` of app `{name}` is short: use at least {least} random characters"
                    ));
                }
            }
        }
        if !self.listen.admin.ip().is_loopback() {
            let admin = self.listen.admin;
            found.push(format!("the admin port {admin} asks for no password: keep it behind a firewall"));
        }
        let gops = self.fanout.gop_max_bytes.saturating_mul(self.limits.publishers_per_address.into());
        if (1..gops).contains(&self.overload.memory_max_bytes) {
            found.push(format!(
                "the publishers of one address may keep {gops} bytes of media, more than `overload.memory_max_bytes`: \
                 lower `fanout.gop_max_bytes` or `limits.publishers_per_address`"
            ));
        }
        found.extend(headend::warnings(self));
        found
    }
}

/// The tables that say something of application `name`, the nearest first: its own, those above it, the default's.
fn levels(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |level| level.rsplit_once('/').map(|(above, _)| above))
        .chain([DEFAULT_APP])
}
