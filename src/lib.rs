//! headgate: an edge gateway for live media.
//!
//! Frames come in over a live protocol, are written once per wire format into a shared log, and every output is a
//! cursor that ships byte ranges of that log. The modules below stand in layer order: each uses only those above it
//! (`tests/layers.rs` holds the imports to the table of docs/architecture.md).

pub mod config;
pub mod observe;

pub mod wire;

pub mod media;

pub mod monitor;
pub mod mux;

pub mod analyze;

pub mod proto;

pub mod fanout;

pub mod shard;

pub mod edge;

pub mod egress;
pub mod ingest;

pub mod control;

pub mod demo;

pub mod server;
