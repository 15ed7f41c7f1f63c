//! What goes out: which log a viewer reads, and the bytes around it. One file a protocol, named as in `ingest`.
//!
//! Nothing here touches media: entries go from the log to the socket in `shard`.
#![forbid(unsafe_code)]

pub mod http_flv;
pub mod http_live;
pub mod http_ts;
pub mod multicast;
pub mod rtmp;

use crate::edge::auth::{Gate, parameter};
use crate::fanout::log::{Format, LogKey, Variant};

/// What `?join=` may be: where to begin.
const JOINS: (&str, [&str; 2]) = ("join", ["keyframe", "live"]);
/// What `?eflv=` may be: whether what some players reject stays in.
const EFLVS: (&str, [&str; 2]) = ("eflv", ["keep", "strip"]);

/// What `?aac=` may be: how AAC stands in a transport stream.
const AACS: (&str, [&str; 2]) = ("aac", ["adts", "latm"]);

/// Which of its two values an option has, and nothing if it is not there.
///
/// # Errors
/// It has another: what it may be, for people.
fn choice(query: &str, (name, [first, second]): (&str, [&str; 2])) -> Result<Option<usize>, String> {
    let Some(given) = parameter(query, name) else { return Ok(None) };
    match [first, second].iter().position(|value| value.as_bytes() == given) {
        Some(at) => Ok(Some(at)),
        None => Err(format!("{name} may be `{first}` or `{second}`")),
    }
}

/// The log that a query asks for, and the one to begin with: `?eflv=strip`, `?join=live`, and `?aac=latm` of a transport
/// stream. What else stands in it is not looked at.
///
/// # Errors
/// An option has a value that it cannot have: what it may be, for people.
pub fn wanted(
    format: Format,
    app: &str,
    query: &str,
    gate: &Gate,
) -> Result<(LogKey, Option<LogKey>), String> {
    let strip = choice(query, EFLVS)?.map_or_else(|| gate.strips(app), |at| at == 1);
    let live = choice(query, JOINS)? == Some(1);
    let variant = match format {
        // Nothing of what is stripped is ever in a transport stream: it would be the same log twice.
        Format::Ts => {
            let latm = choice(query, AACS)? == Some(1);
            Variant { latm, av1: gate.av1_in_ts(), ..Variant::FULL }
        }
        // As it came there is one only.
        Format::Pass => Variant::FULL,
        Format::Rtmp | Format::Flv => Variant { strip, ..Variant::FULL },
    };
    let key = LogKey { format, variant };
    // Sound at once, pictures from the next keyframe.
    let sound = LogKey { variant: Variant { video: false, ..key.variant }, ..key };
    Ok((key, live.then_some(sound)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::sync::Arc;

    #[test]
    fn options_have_the_values_that_they_may_have() {
        let text = "[apps.stripped]\neflv_strip = true\n";
        let gate = Gate::new(Arc::new(Config::parse(text, "test").unwrap()));
        // (app, query, whether it strips, whether it begins live)
        for (app, query, strip, live) in [
            ("live", "", false, false),
            ("live", "token=a&other=b", false, false),
            ("live", "join=keyframe&eflv=keep", false, false),
            ("live", "join=live&eflv=strip", true, true),
            ("live", "join=l%69ve", false, true),
            ("stripped", "", true, false),
            ("stripped", "eflv=keep", false, false),
        ] {
            let (key, first) = wanted(Format::Flv, app, query, &gate).unwrap();
            assert_eq!((key.variant.strip, first.is_some()), (strip, live), "{app}?{query}");
            assert!(first.is_none_or(|first| !first.variant.video && first.variant.strip == strip));
            let (key, _) = wanted(Format::Ts, app, query, &gate).unwrap();
            assert!(!key.variant.strip, "{app}?{query}");
        }
        for (config, query, latm, av1) in [
            ("", "", false, false),
            ("", "join=live&aac=latm", true, false),
            ("[headend]\nav1 = true\n", "aac=adts", false, true),
        ] {
            let gate = Gate::new(Arc::new(Config::parse(config, "test").unwrap()));
            let (key, first) = wanted(Format::Ts, "live", query, &gate).unwrap();
            assert_eq!((key.variant.latm, key.variant.av1), (latm, av1), "{query}");
            let same = Variant { video: false, ..key.variant };
            assert!(first.is_none_or(|first| first.variant == same), "{query}");
            let (key, _) = wanted(Format::Flv, "live", query, &gate).unwrap();
            assert_eq!(key.variant, Variant::FULL, "of no meaning there");
        }
        let told = wanted(Format::Ts, "live", "aac=mp3", &gate).unwrap_err();
        assert_eq!(told, "aac may be `adts` or `latm`");
        for (query, told) in [
            ("join=foo", "join may be `keyframe` or `live`"),
            ("join=", "join may be `keyframe` or `live`"),
            ("join=Live", "join may be `keyframe` or `live`"),
            ("join=live&eflv=1", "eflv may be `keep` or `strip`"),
        ] {
            for format in [Format::Flv, Format::Rtmp, Format::Ts] {
                assert_eq!(wanted(format, "live", query, &gate).unwrap_err(), told, "{query}");
            }
        }
    }
}
