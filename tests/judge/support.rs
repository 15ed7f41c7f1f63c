//! The judge, and what it asks others with. It stands here without the rest of the tests' support, which knows the gateway.

#[path = "../support/judge/mod.rs"]
pub mod judge;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "the servers of the end-to-end tests need the rest")]
pub mod process;
#[path = "../support/skips.rs"]
mod skips;

pub use skips::skip;
