//! Assembly.

use crate::config::Config;
use std::io;
use std::net::SocketAddr;

/// What the command line adds to the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Publish the built-in clip ([`crate::demo`]).
    pub demo: bool,
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

/// Runs the gateway until it is told to stop.
pub fn run(config: Config, options: RunOptions) -> anyhow::Result<()> {
    let _ = options;
    for (name, address) in
        [("rtmp", config.listen.rtmp), ("http", config.listen.http), ("admin", config.listen.admin)]
    {
        std::net::TcpListener::bind(address).map_err(|error| ListenError { name, address, error })?;
    }
    anyhow::bail!("the server is not assembled yet")
}
