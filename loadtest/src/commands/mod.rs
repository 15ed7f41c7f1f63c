//! Subcommands with a file of their own.

pub mod sample;
pub mod storm;
