//! Overload, and the rules of all admission keys.

use super::diagnostic::Violation;
use super::validate::wrong;
use super::{Config, Limits};
use serde::Deserialize;
use std::ops::RangeInclusive;

/// Networks of `limits.exempt`: each is looked at for every new connection.
const EXEMPT_MAX: usize = 256;
/// Names of `listen.admin_hosts`.
const ADMIN_HOSTS_MAX: usize = 64;
/// Longest host name, in bytes (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// When the process sheds load.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overload {
    /// Bits a second to all peers together; 0 for no bound.
    pub egress_max_bits_per_s: u64,
    /// Bytes of memory; 0 for what the control group may have, if that is limited.
    pub memory_max_bytes: u64,
    /// Milliseconds of one turn of a core's loop at which the first level begins; 0 for no bound.
    pub loop_lag_ms: u64,
    /// What `Retry-After` tells a refused viewer, in seconds.
    pub retry_after_s: u32,
}

impl Default for Overload {
    fn default() -> Self {
        Self { egress_max_bits_per_s: 0, memory_max_bytes: 0, loop_lag_ms: 50, retry_after_s: 5 }
    }
}

/// The first admission rule that `config` breaks.
pub(super) fn check(config: &Config) -> Result<(), Violation> {
    let (limits, overload) = (&config.limits, &config.overload);
    let per_address = |key, value: u32| ("limits", key, value.into(), false, 1..=1_000_000);
    let rows: [(&str, &str, u64, bool, RangeInclusive<u64>); 8] = [
        per_address("viewers_per_address", limits.viewers_per_address),
        per_address("publishers_per_address", limits.publishers_per_address),
        per_address("connections_per_s_per_address", limits.connections_per_s_per_address),
        per_address("connections_burst_per_address", limits.connections_burst_per_address),
        (
            "overload",
            "egress_max_bits_per_s",
            overload.egress_max_bits_per_s,
            true,
            1000..=1_000_000_000_000_000,
        ),
        // Below this the process itself, without a stream, would be an overload.
        ("overload", "memory_max_bytes", overload.memory_max_bytes, true, 16 << 20..=1 << 50),
        ("overload", "loop_lag_ms", overload.loop_lag_ms, true, 1..=10_000),
        ("overload", "retry_after_s", overload.retry_after_s.into(), false, 1..=3600),
    ];
    for (section, key, value, or_zero, range) in rows {
        let good = range.contains(&value) || (or_zero && value == 0);
        if !good {
            let none = if or_zero { "0, or " } else { "" };
            let hint = format!("use {none}{} to {}", range.start(), range.end());
            return Err(wrong(&[section, key], format!("{value} is out of range"), hint));
        }
    }
    exempt(limits)?;
    admin_hosts(&config.listen.admin_hosts)
}

fn exempt(limits: &Limits) -> Result<(), Violation> {
    match limits.exempt.len() {
        0..=EXEMPT_MAX => Ok(()),
        count => Err(wrong(
            &["limits", "exempt"],
            format!("lists {count} networks"),
            format!("use at most {EXEMPT_MAX}; a shorter prefix holds many networks"),
        )),
    }
}

fn admin_hosts(hosts: &[String]) -> Result<(), Violation> {
    let path = ["listen", "admin_hosts"];
    if hosts.len() > ADMIN_HOSTS_MAX {
        let hint = format!("use at most {ADMIN_HOSTS_MAX}");
        return Err(wrong(&path, format!("lists {} names", hosts.len()), hint));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    match hosts.iter().find(|host| host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(plain))
    {
        None => Ok(()),
        Some(host) => Err(wrong(
            &path,
            format!("{host:?} is not a host name"),
            "write names without scheme and port: \"headgate.internal\"; addresses are always allowed"
                .to_owned(),
        )),
    }
}
