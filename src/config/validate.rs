//! The rules that types cannot say. Each names its key, so that the loader can point at it.

use super::diagnostic::Violation;
use super::name::{NAME_BYTES_MAX, SIGNS, check_app};
use super::{Config, DEFAULT_APP, Flush};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// CPU numbers end here: the kernel's own bound for one machine.
pub(super) const CPU_MAX: usize = 8191;
/// Ten minutes: longer timeouts keep the dead alive.
const TIMEOUT_MAX_MS: u64 = 600_000;

/// The first rule that `config` breaks.
pub(super) fn check(config: &Config) -> Result<(), Violation> {
    listeners(config)?;
    if let Some(cores) = &config.runtime.cores {
        check_cores(cores).map_err(|message| {
            wrong(
                &["runtime", "cores"],
                message,
                "list CPU numbers, or leave the key out to use all".to_owned(),
            )
        })?;
    }
    ranges(config)?;
    super::overload::check(config)?;
    let (gathered, lag) = (config.fanout.flush_ms, config.fanout.max_lag_ms);
    if config.fanout.flush != Flush::Frame && lag <= gathered {
        return Err(wrong(
            &["fanout", "max_lag_ms"],
            format!(
                "{lag} is not above fanout.flush_ms {gathered}: what gathers in that time is behind already"
            ),
            format!("use at least {}, better several times flush_ms", gathered + 1),
        ));
    }
    if config.publish.takeover_after_ms > config.publish.silence_timeout_ms {
        return Err(wrong(
            &["publish", "takeover_after_ms"],
            "is longer than publish.silence_timeout_ms, so no takeover could ever happen".to_owned(),
            format!("use at most {}", config.publish.silence_timeout_ms),
        ));
    }
    super::headend::check(config)?;
    config.apps.keys().try_for_each(|name| app_name(name))
}

/// Reads `0,2-3` into `[0, 2, 3]`; the form of `--cores`.
pub fn parse_cores(list: &str) -> Result<Vec<usize>, String> {
    let number = |text: &str| match text.trim().parse::<usize>() {
        Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
        _ => Err(format!("`{}` is not a CPU number (0 to {CPU_MAX})", text.trim())),
    };
    let mut cores = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            Some((first, last)) => cores.extend(number(first)?..=number(last)?),
            None => cores.push(number(part)?),
        }
        // Ranges may repeat; stop before a long list of them grows.
        if cores.len() > CPU_MAX + 1 {
            break;
        }
    }
    check_cores(&cores).map(|()| cores)
}

fn check_cores(cores: &[usize]) -> Result<(), String> {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    if sorted.is_empty() {
        return Err("names no core".to_owned());
    }
    if let Some(twice) = sorted.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(format!("names core {} twice", twice.first().copied().unwrap_or_default()));
    }
    match sorted.last() {
        Some(&last) if last > CPU_MAX => Err(format!("core {last} does not exist (0 to {CPU_MAX})")),
        _ => Ok(()),
    }
}

/// Two listeners on one address would share its connections at random.
fn listeners(config: &Config) -> Result<(), Violation> {
    let listen = &config.listen;
    let pairs = [
        ("http", listen.http, "rtmp", listen.rtmp),
        ("admin", listen.admin, "rtmp", listen.rtmp),
        ("admin", listen.admin, "http", listen.http),
    ];
    for (name, address, other_name, other) in pairs {
        if overlap(address, other) {
            return Err(wrong(
                &["listen", name],
                format!("{address} overlaps with listen.{other_name} {other}"),
                "give each listener a port of its own".to_owned(),
            ));
        }
    }
    Ok(())
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn ranges(config: &Config) -> Result<(), Violation> {
    let (fanout, publish, limits) = (&config.fanout, &config.publish, &config.limits);
    let rows: [(&str, &str, u64, RangeInclusive<u64>); 18] = [
        ("fanout", "flush_ms", fanout.flush_ms, 1..=1000),
        ("fanout", "min_gap_ms", fanout.min_gap_ms, 0..=1000),
        ("fanout", "phases", fanout.phases.into(), 1..=16),
        // One segment at least; a position is 64 bits, memory is what ends it.
        ("fanout", "gop_max_bytes", fanout.gop_max_bytes, 1 << 20..=4 << 30),
        ("fanout", "gop_max_ms", fanout.gop_max_ms, 1000..=TIMEOUT_MAX_MS),
        ("fanout", "max_lag_ms", fanout.max_lag_ms, 100..=TIMEOUT_MAX_MS),
        ("fanout", "stall_timeout_ms", fanout.stall_timeout_ms, 1000..=TIMEOUT_MAX_MS),
        // A log's first viewer waits while the log is opened, which must not look like a stream that is not there.
        ("fanout", "play_wait_ms", fanout.play_wait_ms, 100..=TIMEOUT_MAX_MS),
        ("fanout", "notsent_lowat_bytes", fanout.notsent_lowat_bytes.into(), 4096..=16 << 20),
        ("publish", "silence_timeout_ms", publish.silence_timeout_ms, 1000..=TIMEOUT_MAX_MS),
        ("publish", "republish_grace_ms", publish.republish_grace_ms, 0..=TIMEOUT_MAX_MS),
        ("publish", "takeover_after_ms", publish.takeover_after_ms, 0..=TIMEOUT_MAX_MS),
        ("limits", "connections_per_core", limits.connections_per_core.into(), 1..=1 << 20),
        ("limits", "streams", limits.streams.into(), 1..=1 << 20),
        ("limits", "ipv6_prefix_bits", limits.ipv6_prefix_bits.into(), 32..=64),
        // Below this a player's own handshake and commands would close it.
        ("limits", "inbound_bytes_per_10s", limits.inbound_bytes_per_10s.into(), 8192..=1 << 30),
        ("limits", "handshake_timeout_ms", limits.handshake_timeout_ms, 1000..=60_000),
        ("limits", "pin_budget_bytes", limits.pin_budget_bytes, 1 << 20..=1 << 40),
    ];
    for (section, key, value, range) in rows {
        if !range.contains(&value) {
            let hint = format!("use {} to {}", range.start(), range.end());
            return Err(wrong(&[section, key], format!("{value} is out of range"), hint));
        }
    }
    Ok(())
}

/// A table for a name that nobody can come with would never hold.
fn app_name(name: &str) -> Result<(), Violation> {
    if name == DEFAULT_APP {
        return Ok(());
    }
    check_app(name).map_err(|error| {
        let message = format!("is not a name that a publisher could use: {error}");
        let hint = format!(
            "1 to {NAME_BYTES_MAX} bytes of letters, digits, blanks and {} with / only inside; \"*\" alone means all others",
            SIGNS.trim_start()
        );
        wrong(&["apps", name], message, hint)
    })
}

pub(super) fn wrong(path: &[&str], message: String, hint: String) -> Violation {
    Violation { path: path.iter().map(|&part| part.to_owned()).collect(), message, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_for_an_app_lists_what_may_be() {
        let found = app_name("a[b").unwrap_err();
        assert!(found.message.contains("`[`"), "{}", found.message);
        for sign in SIGNS.chars() {
            assert!(found.hint.contains(sign), "{sign:?}: {}", found.hint);
        }
    }

    #[test]
    fn core_lists() {
        for (text, expected) in [
            ("0", Some(vec![0])),
            ("0,1", Some(vec![0, 1])),
            ("0-2, 5", Some(vec![0, 1, 2, 5])),
            ("", None),
            ("0,0", None),
            ("0-1,1", None),
            ("3-1", None),
            ("a", None),
            ("-1", None),
            ("99999", None),
        ] {
            assert_eq!(parse_cores(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn listeners_overlap() {
        for (a, b, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:81", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            assert_eq!(overlap(a.parse().unwrap(), b.parse().unwrap()), expected, "{a} {b}");
        }
    }
}
