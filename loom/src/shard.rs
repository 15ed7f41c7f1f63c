//! What is checked of the shard.

#[path = "../../src/shard/marks.rs"]
pub mod marks;
