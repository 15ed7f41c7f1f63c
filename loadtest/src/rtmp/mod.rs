//! RTMP as a client speaks it (Adobe RTMP 1.0): chunk streams in [`chunk`], the command flow in [`client`].

pub mod chunk;
pub mod client;

pub use client::{Client, Failure, Role};
