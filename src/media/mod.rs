//! The model that everything else talks in: time, codec, track, frame. No I/O, no unsafe.
#![forbid(unsafe_code)]

pub mod frame;
pub mod time;

pub use frame::{Frame, Kind};
pub use time::Mono;
