//! RTMP as a server speaks it: one [`ServerSession`] per connection, without a socket.
//!
//! Follows Adobe's specification 1.0 section 7, the publish flow as ffmpeg, OBS, librtmp and GStreamer really send it,
//! and Enhanced RTMP v2 (capabilities in connect, reconnect request). Publish and play are decision events: the session
//! stops parsing until the application accepts or rejects.
//!
//! Deliberately not here: what a player sees first (status, metadata, sequence headers). It is the same for many
//! players and is built once by the fan-out from the builders of [`status`].

pub mod capabilities;
mod commands;
mod decisions;
pub mod event;
mod media_messages;
pub mod name;
pub mod session;
pub mod status;

pub use capabilities::{FourCcMask, PlayerCapabilities};
pub use event::{
    CloseReason, Event, Fault, PlayRefusal, PlayRequest, PublishRefusal, PublishRequest, StopCause, Tally,
};
pub use session::{ServerSession, SessionConfig};
