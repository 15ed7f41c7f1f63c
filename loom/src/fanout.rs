//! What is checked of the fan-out.

#[path = "../../src/fanout/segment.rs"]
pub mod segment;
pub mod sync;
