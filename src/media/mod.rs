//! The model that everything else talks in: time, codec, track, frame. No I/O, no unsafe.
#![forbid(unsafe_code)]

pub mod codec;
pub mod config_set;
pub mod frame;
pub mod run;
pub mod summary;
pub mod tag;
pub mod time;
pub mod track;
pub mod track_set;

pub use codec::Codec;
pub use config_set::{ConfigEntry, ConfigSet, TrackConfig};
pub use frame::{Frame, Kind};
pub use run::{Demand, Run};
pub use summary::TrackSummary;
pub use tag::{Packet, Tag, TagError};
pub use time::Mono;
pub use track::{Observed, TrackTable};
