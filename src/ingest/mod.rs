//! What comes in: a publisher's session -> the stream's frames. One file a protocol, named as in `egress`.
#![forbid(unsafe_code)]

pub mod rtmp;
pub mod udp;
