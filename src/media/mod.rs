//! The model that everything else talks in: time, codec, track, frame. No I/O, no unsafe.
#![forbid(unsafe_code)]

pub mod codec;
pub mod frame;
pub mod tag;
pub mod time;

pub use codec::Codec;
pub use frame::{Frame, Kind};
pub use tag::{Packet, Tag, TagError};
pub use time::Mono;
