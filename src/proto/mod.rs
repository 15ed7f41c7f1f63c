//! Sans-IO protocol machines, one peer each: bytes and time in; bytes, events and the next deadline out.
#![forbid(unsafe_code)]

pub mod http;
pub mod rtmp;
pub mod rtp_ts;
pub mod ts;
