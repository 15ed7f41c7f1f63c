//! The real binary, driven by real clients: one file a behaviour.
//!
//! One test binary on purpose: it links once, and its tests, which mostly wait for media, run beside each other.

#[path = "../support/channel.rs"]
#[allow(dead_code, reason = "sources are made in tests/mux")]
mod channel;
#[path = "../support/damage.rs"]
mod damage;
#[path = "../support/stream.rs"]
#[allow(dead_code, reason = "some faults are made in tests/monitor.rs only")]
mod stream;
#[path = "../support/mod.rs"]
mod support;

mod access;
mod accounting;
mod admission;
mod analyze;
mod answers;
mod attacks;
mod busy;
mod captures;
mod codecs;
mod cores;
mod crowd;
mod engines;
mod faults;
mod flush_rules;
mod gstreamer;
mod headend;
mod http_ts;
mod inputs;
mod librtmp;
mod multiplex;
mod observe;
mod pass;
mod players;
mod publishers;
mod rtp_fec;
mod slow;
mod startup;
mod storms;
mod timestamps;
mod tracks;
mod visits;
mod yardstick;
