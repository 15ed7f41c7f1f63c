//! What an operator sees of the running process: counters, HDR histograms, the metrics page, logs, the banner.
//!
//! - Each core owns one [`CoreMetrics`] (counters and gauges that only it writes) and one [`CoreHistograms`] (plain
//!   values that nobody else sees). The data path never takes a lock and never executes an atomic read-modify-write.
//! - Once a second a core hands its histograms over with [`CoreHistograms::publish`], which gives up at once when the
//!   scraper holds the lock.
//! - [`Registry`] holds all cores' ends and renders the page in Prometheus' text format.
//!
//! Labels are the bounded enums of [`labels`], and the names that the configuration gives to its channels and inputs; no
//! name, address or id of a peer is ever a label. Names and units
//! follow Prometheus' conventions; docs/metrics.md explains each family.
#![forbid(unsafe_code)]

pub mod banner;
mod cells;
mod channel;
mod core;
mod door;
mod families;
mod histogram;
mod input;
pub mod labels;
mod lag;
pub mod log;
mod memory;
mod process;
mod reception;
mod registry;
mod relay;

pub use cells::{Counter, Gauge, Ratio};
pub use channel::{
    ChannelAbout, ChannelMetrics, ChannelSlot, LinkSlot, PacerSlot, PacerTimes, ServiceAbout, ServiceMetrics,
};
pub use core::CoreMetrics;
pub use door::DoorMetrics;
pub use histogram::{CoreHistograms, SharedHistograms};
pub use input::{InputAbout, InputMetrics, InputSlot, Named, OriginMetrics};
pub use labels::{
    CopyStage, DatagramRefusal, DisconnectReason, DropReason, FrameKind, MuxAlarm, PerMuxAlarm, PerProtocol,
    PerSendError, PerShedCause, Protocol, RefuseReason, RelayAnswer, SendError, ShedCause, SourceState,
    Stage, SwitchReason,
};
pub use lag::LoopLag;
pub use memory::MemoryBound;
pub use process::OtherDescriptors;
pub use reception::{
    AlarmReception, Board, Diary, InputEvent, MdiReception, Notes, PidReception, Reception, RtpReception,
    ServiceReception,
};
pub use registry::{CoreSlot, Registry};
pub use relay::RelayMetrics;
