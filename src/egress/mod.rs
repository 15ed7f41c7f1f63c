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

/// The log that a query asks for, and the one to begin with: `?eflv=strip`, `?join=live`.
pub fn wanted(format: Format, app: &str, query: &str, gate: &Gate) -> (LogKey, Option<LogKey>) {
    let strip = match parameter(query, "eflv").as_deref() {
        // Nothing of what is stripped is ever in a transport stream: it would be the same log twice.
        _ if format == Format::Ts => false,
        Some(b"strip") => true,
        Some(_) => false,
        None => gate.strips(app),
    };
    let key = LogKey { format, variant: Variant { strip, ..Variant::FULL } };
    // Sound at once, pictures from the next keyframe.
    let sound = LogKey { variant: Variant { video: false, ..key.variant }, ..key };
    let live = parameter(query, "join").as_deref() == Some(b"live");
    (key, live.then_some(sound))
}
