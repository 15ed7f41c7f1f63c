//! Subcommands with a file of their own.

pub mod receive;
pub mod sample;
pub mod storm;
